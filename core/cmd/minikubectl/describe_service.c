/* describe service: addresses, ports, the endpoints behind each, and who spreads connections how. */
#include <stdio.h>
#include <string.h>

#include "describe.h"

/* Who decided how new connections are spread, and how: the Service itself, or a policy by way of the slices.
 */
static void service_balance(const cJSON *service, const cJSON *slices)
{
    static const char mode_key[] = "minik8s.io/balance", by_key[] = "minik8s.io/balance-policy";
    const cJSON *own = json_get(json_at(service, "metadata.annotations"), mode_key);
    const cJSON *asked = json_at(slices, "items[0].metadata.annotations");
    const cJSON *mode = own ? own : json_get(asked, mode_key), *by = own ? NULL : json_get(asked, by_key);
    if (!cJSON_IsString(mode))
        return;
    auto_free char *text = cJSON_IsString(by)
                               ? mem_printf("%s (policy %s)", mode->valuestring, by->valuestring)
                               : mem_strdup(mode->valuestring);
    describe_field("Balance", text);
}

static void add_endpoints(struct str *text, const cJSON *slice, int64_t number)
{
    json_each (endpoint, json_get(slice, "endpoints")) {
        if (!json_bool(endpoint, "conditions.ready", true))
            continue;
        str_addf(text, "%s%s", text->len ? "," : "", json_string_or(endpoint, "addresses[0]", ""));
        if (number)
            str_addf(text, ":%lld", (long long)number);
    }
}

/* The ready endpoints of one port; port NULL: of a Service that has none. */
static void port_endpoints(const cJSON *slices, const cJSON *port)
{
    auto_str text = {0};
    json_each (slice, json_get(slices, "items")) {
        if (!port)
            add_endpoints(&text, slice, 0);
        json_each (candidate, json_get(slice, "ports"))
            if (port && str_eq(json_string_or(candidate, "name", ""), json_string_or(port, "name", "")) &&
                str_eq(json_string_or(candidate, "protocol", "TCP"), json_string_or(port, "protocol", "TCP")))
                add_endpoints(&text, slice, json_int(candidate, "port", 0));
    }
    describe_field("Endpoints", str_c(&text));
}

static cJSON *slices_of(struct kubectl *k, const cJSON *service)
{
    auto_free char *selector =
        mem_printf("kubernetes.io/service-name=%s", json_string_or(service, "metadata.name", ""));
    auto_free char *path = client_path("endpointslices.discovery.k8s.io", "v1",
                                       json_string(service, "metadata.namespace"), NULL, NULL);
    auto_str target = {0};
    str_add(&target, path);
    http_query_add(&target, "labelSelector", selector);
    return kubectl_request(k, "GET", str_c(&target), NULL, NULL, NULL, NULL);
}

static void service_port(const cJSON *port, const cJSON *slices)
{
    auto_free char *target_port = describe_text(json_get(port, "targetPort"));
    printf("%-20s %s %lld/%s -> %s", "Port:", json_string_or(port, "name", "<unset>"),
           (long long)json_int(port, "port", 0), json_string_or(port, "protocol", "TCP"), target_port);
    if (json_int(port, "nodePort", 0))
        printf(", on every node %lld", (long long)json_int(port, "nodePort", 0));
    printf("\n");
    port_endpoints(slices, port);
}

void describe_service(struct kubectl *k, const cJSON *service)
{
    auto_json slices = slices_of(k, service);
    const cJSON *ports = json_at(service, "spec.ports");
    describe_map("Selector", json_at(service, "spec.selector"));
    describe_path("Type", service, "spec.type");
    describe_path("IP", service, "spec.clusterIP");
    if (json_at(service, "spec.externalName"))
        describe_path("External Name", service, "spec.externalName");
    json_each (address, json_at(service, "spec.externalIPs"))
        describe_field("External IP", cJSON_IsString(address) ? address->valuestring : "");
    json_each (ingress, json_at(service, "status.loadBalancer.ingress"))
        describe_field("LoadBalancer Ingress",
                       json_string_or(ingress, "ip", json_string_or(ingress, "hostname", "")));
    json_each (port, ports)
        service_port(port, slices);
    if (!ports || !ports->child)
        port_endpoints(slices, NULL);
    describe_path("Session Affinity", service, "spec.sessionAffinity");
    service_balance(service, slices);
}
