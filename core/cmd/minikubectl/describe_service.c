/* describe service: addresses, ports, the endpoints behind each, and who spreads connections how. */
#include <stdio.h>
#include <string.h>

#include "describe.h"

/* ---- who spreads connections how: the Service itself, or a policy on each node ---- */

#define NODES_ASKED 5 /* of all that are ready: the same question has the same answer everywhere */
#define NODE_TIMEOUT_MS 2000

static bool is_ready(const cJSON *node)
{
    json_each (condition, json_at(node, "status.conditions"))
        if (str_eq(json_string(condition, "type"), "Ready"))
            return str_eq(json_string(condition, "status"), "True");
    return false;
}

static bool on_line(void *arg, const char *line, size_t len)
{
    cJSON **answer = arg;
    *answer = json_parse(line, len, NULL);
    return false;
}

/* "round-robin (policy round-robin@1a2b3c4d): why"; NULL: the node does not say. Caller frees. */
static char *balance_at(struct kubectl *k, const char *node, const cJSON *service)
{
    auto_json answer = NULL;
    auto_str text = {0};
    auto_free char *target = mem_printf("/api/v1/nodes/%s/proxy/balance/%s/%s", node,
                                        json_string_or(service, "metadata.namespace", ""),
                                        json_string_or(service, "metadata.name", ""));
    kubectl_stream_lines(k, target, NULL, NODE_TIMEOUT_MS, on_line, &answer, NULL);
    const char *mode = json_string(answer, "mode"), *policy = json_string(answer, "policy");
    if (!mode)
        return NULL;
    str_addf(&text, policy ? "%s (policy %s)" : "%s", mode, policy);
    const cJSON *reasons = json_get(answer, "reasons");
    json_each (reason, reasons)
        if (cJSON_IsString(reason))
            str_addf(&text, "%s %s", reason == reasons->child ? ":" : ",", reason->valuestring);
    if (json_string(answer, "failure"))
        str_addf(&text, "; another failed: %s", json_string(answer, "failure"));
    return str_take(&text);
}

static void service_balance(struct kubectl *k, const cJSON *service)
{
    const cJSON *own = json_get(json_at(service, "metadata.annotations"), "minik8s.io/balance");
    if (cJSON_IsString(own)) {
        describe_field("Balance", own->valuestring);
        return;
    }
    auto_json nodes = kubectl_request(k, "GET", "/api/v1/nodes", NULL, NULL, NULL, NULL);
    auto_map said = {0}; /* what → names of nodes */
    map_init(&said, free);
    int asked = 0;
    json_each (node, json_get(nodes, "items")) {
        const char *name = json_string_or(node, "metadata.name", "");
        if (!is_ready(node) || asked == NODES_ASKED)
            continue;
        asked++;
        auto_free char *text = balance_at(k, name, service);
        const char *others = text ? map_get(&said, text) : NULL;
        if (text)
            map_set(&said, text, others ? mem_printf("%s, %s", others, name) : mem_strdup(name));
    }
    map_each (entry, &said) {
        auto_free char *text = mem_printf("%s%s%s", entry->key, said.count > 1 ? " on " : "",
                                          said.count > 1 ? (const char *)entry->value : "");
        describe_field("Balance", text);
    }
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
    service_balance(k, service);
}
