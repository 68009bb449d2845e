/* The parts of describe about Ingress and DNS: addresses, hosts, paths, the Services behind them with their
 * endpoints, and what of it is not as it should be. */
#include <stdio.h>
#include <string.h>

#include "describe.h"

static void print_addresses(const cJSON *object)
{
    auto_str text = {0};
    json_each (address, json_at(object, "status.loadBalancer.ingress"))
        str_addf(&text, "%s%s", text.len ? "," : "", json_string_or(address, "ip", ""));
    describe_field("Address", str_c(&text));
}

/* "10.244.1.2:8080,…" of the ready endpoints of a Service, or a word that says why there are none. */
static void endpoints_of(struct kubectl *k, const char *namespace, const char *service, const char *port,
                         struct str *out)
{
    auto_free char *list = client_path("endpointslices.discovery.k8s.io", "v1", namespace, NULL, NULL);
    auto_free char *path = mem_printf("%s?labelSelector=kubernetes.io%%2Fservice-name%%3D%s", list, service);
    auto_free char *own = client_path("services", "v1", namespace, service, NULL);
    auto_json object = kubectl_request(k, "GET", own, NULL, NULL, NULL, NULL);
    auto_json slices = object ? kubectl_request(k, "GET", path, NULL, NULL, NULL, NULL) : NULL;
    if (!object) {
        str_add(out, "<error: Service not found>");
        return;
    }
    json_each (candidate, json_at(object, "spec.ports")) {
        auto_free char *number = mem_printf("%lld", (long long)json_int(candidate, "port", 0));
        const char *name = json_string_or(candidate, "name", "");
        if (!str_eq(name, port) && !str_eq(number, port))
            continue;
        json_each (slice, json_get(slices, "items"))
            json_each (endpoint, json_get(slice, "endpoints"))
                json_each (of_slice, json_get(slice, "ports"))
                    if (json_bool(endpoint, "conditions.ready", true) &&
                        str_eq(json_string_or(of_slice, "name", ""), name))
                        str_addf(out, "%s%s:%lld", out->len ? "," : "",
                                 json_string_or(endpoint, "addresses[0]", ""),
                                 (long long)json_int(of_slice, "port", 0));
        if (!out->len)
            str_add(out, "<no ready pod>");
        return;
    }
    str_addf(out, "<error: the Service has no port %s>", port);
}

static void print_backend(struct kubectl *k, const cJSON *object, const char *service, const char *port,
                          const char *lead)
{
    auto_str endpoints = {0};
    endpoints_of(k, json_string_or(object, "metadata.namespace", ""), service, port, &endpoints);
    printf("%s %s:%s (%s)\n", lead, service, port, str_c(&endpoints));
}

static void print_ingress_backend(struct kubectl *k, const cJSON *object, const cJSON *backend,
                                  const char *lead)
{
    int64_t number = json_int(backend, "service.port.number", 0);
    auto_free char *port = number ? mem_printf("%lld", (long long)number)
                                  : mem_strdup(json_string_or(backend, "service.port.name", ""));
    print_backend(k, object, json_string_or(backend, "service.name", ""), port, lead);
}

static void print_rules(struct kubectl *k, const cJSON *object)
{
    printf("Rules:\n  %-28s %-22s %s\n", "Host", "Path", "Backends");
    json_each (rule, json_at(object, "spec.rules")) {
        const char *host = json_string_or(rule, "host", "*");
        printf("  %s\n", *host ? host : "*");
        json_each (path, json_at(rule, "http.paths")) {
            const char *type = json_string_or(path, "pathType", "");
            auto_free char *shown = mem_printf("%s%s", json_string_or(path, "path", "/"),
                                               str_eq(type, "Prefix")  ? ""
                                               : str_eq(type, "Exact") ? " (exact)"
                                                                       : " (regex)");
            auto_free char *lead = mem_printf("  %-28s %-22s", "", shown);
            print_ingress_backend(k, object, json_get(path, "backend"), lead);
        }
    }
}

static void print_problems(struct kubectl *k, const cJSON *object)
{
    auto_free char *path =
        client_path("ingressroutes.minik8s.io", "v1", json_string_or(object, "metadata.namespace", ""),
                    json_string_or(object, "metadata.name", ""), NULL);
    auto_json route = kubectl_request(k, "GET", path, NULL, NULL, NULL, NULL);
    const cJSON *problems = json_at(route, "spec.problems");
    if (!route)
        describe_field("Problems", "it is not served: no route (another class, or the manager is away)");
    else
        printf("Problems:%s\n", problems && problems->child ? "" : "            <none>");
    json_each (problem, problems)
        printf("  %s: %s\n", json_string_or(problem, "reason", ""), json_string_or(problem, "message", ""));
}

void describe_ingress(struct kubectl *k, const cJSON *object)
{
    const cJSON *fallback = json_at(object, "spec.defaultBackend"), *tls = json_at(object, "spec.tls");
    print_addresses(object);
    describe_field("Ingress Class", json_string(object, "spec.ingressClassName"));
    if (fallback)
        print_ingress_backend(k, object, fallback, "Default backend:    ");
    else
        describe_field("Default backend", "<default>");
    if (tls && tls->child)
        printf("TLS:\n");
    json_each (entry, tls) {
        auto_str hosts = {0};
        json_each (host, json_get(entry, "hosts"))
            str_addf(&hosts, "%s%s", hosts.len ? "," : "", cJSON_IsString(host) ? host->valuestring : "");
        printf("  %s terminates %s\n", json_string_or(entry, "secretName", "SNI routes"),
               hosts.len ? hosts.data : "the hosts of the rules");
    }
    print_rules(k, object);
    print_problems(k, object);
}

void describe_dns(struct kubectl *k, const cJSON *object)
{
    print_addresses(object);
    describe_field("Host", json_string(object, "spec.host"));
    if (json_at(object, "spec.rewrite"))
        describe_field("Rewritten to", json_string(object, "spec.rewrite"));
    if (json_at(object, "spec.secretName"))
        describe_field("Certificate", json_string(object, "spec.secretName"));
    printf("Paths:\n");
    json_each (path, json_at(object, "spec.paths")) {
        auto_free char *port = mem_printf("%lld", (long long)json_int(path, "port", 0));
        auto_free char *lead = mem_printf("  %-22s", json_string_or(path, "path", "/"));
        print_backend(k, object, json_string_or(path, "service", ""), port, lead);
    }
    describe_field("Ingress", json_string(object, "metadata.name"));
    print_problems(k, object);
}
