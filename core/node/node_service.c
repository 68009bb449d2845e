/*
 * node_service: what one Service means on a node: its virtual addresses with their endpoints, and its names.
 * Pure in the Service and its EndpointSlices; whoever decides which pods are in a slice, and whether they are
 * ready, is the manager.
 */
#include <arpa/inet.h>
#include <string.h>

#include "node/node_internal.h"

#define DEFAULT_AFFINITY_S 10800

bool node_service_is_headless(const cJSON *service)
{
    const char *address = json_string(service, "spec.clusterIP");
    return str_empty(address) || str_eq(address, "None");
}

static bool is_ready(const cJSON *endpoint)
{
    return json_bool(endpoint, "conditions.ready", true);
}

/* A port that a Service has just got, or under another name, stands in the slices of its selector a moment
 * later. Where it leads to in the pods is clear before if that is a number, or a name that is known of them.
 */
static uint16_t port_in_pods(const cJSON *service, const cJSON *slice, const cJSON *port)
{
    const cJSON *target = json_get(port, "targetPort");
    bool ours = str_eq(json_string(slice, "metadata.labels['endpointslice.kubernetes.io/managed-by']"),
                       "endpointslice-controller.minik8s.io");
    if (!ours || !json_at(service, "spec.selector"))
        return 0;
    if (cJSON_IsString(target)) {
        const char *text = json_string(slice, "metadata.annotations['minik8s.io/target-ports']");
        auto_json known = text ? json_parse(text, strlen(text), NULL) : NULL;
        return (uint16_t)json_int(known, target->valuestring, 0);
    }
    return (uint16_t)json_int(port, target ? "targetPort" : "port", 0);
}

/* The number of the Service's port in this slice; 0: it has none. */
static uint16_t slice_port(const cJSON *service, const cJSON *slice, const cJSON *port)
{
    const char *name = json_string_or(port, "name", ""), *protocol = json_string_or(port, "protocol", "TCP");
    json_each (candidate, json_get(slice, "ports"))
        if (str_eq(json_string_or(candidate, "name", ""), name) &&
            str_eq(json_string_or(candidate, "protocol", "TCP"), protocol))
            return (uint16_t)json_int(candidate, "port", 0);
    return port_in_pods(service, slice, port);
}

/* ---- virtual addresses */

struct rendering {
    struct node_service *out;
    const struct node *node;
    const cJSON *service, *slices;
    const struct node_balance *balance;
};

/* own: only pods of this node (traffic policy Local); NULL: of all. */
static size_t add_endpoints(struct net_endpoint **endpoints, const struct rendering *r, const cJSON *port,
                            const char *own)
{
    size_t count = 0;
    json_each (slice, r->slices) {
        uint16_t number = slice_port(r->service, slice, port);
        json_each (endpoint, number ? json_get(slice, "endpoints") : NULL) {
            struct in_addr address;
            const char *text = json_string(endpoint, "addresses[0]");
            if (!is_ready(endpoint) || !text || inet_pton(AF_INET, text, &address) != 1 ||
                (own && !str_eq(json_string(endpoint, "nodeName"), own)))
                continue;
            for (unsigned i = node_balance_weight(r->balance, endpoint); i > 0; i--) {
                *endpoints = mem_resize(*endpoints, count + 1, sizeof(**endpoints));
                (*endpoints)[count++] = (struct net_endpoint){address, number};
            }
        }
    }
    return count;
}

enum reach {
    INSIDE,
    NODE_PORT,
    OUTSIDE
}; /* cluster address; the node's own; another that is led to the nodes */

static void add_port(struct rendering *r, const cJSON *port, struct in_addr address, int64_t number,
                     enum reach reach)
{
    const char *protocol = json_string_or(port, "protocol", "TCP");
    const cJSON *service = r->service;
    struct node_service *out = r->out;
    if (number <= 0 || (!str_eq(protocol, "TCP") && !str_eq(protocol, "UDP")))
        return;
    struct net_endpoint *endpoints = NULL;
    const char *policy =
        json_string(service, reach == INSIDE ? "spec.internalTrafficPolicy" : "spec.externalTrafficPolicy");
    size_t count = add_endpoints(&endpoints, r, port, str_eq(policy, "Local") ? r->node->options.name : NULL);
    bool affinity = str_eq(json_string(service, "spec.sessionAffinity"), "ClientIP");
    out->ports = mem_resize(out->ports, out->n_ports + 1, sizeof(*out->ports));
    out->ports[out->n_ports++] = (struct net_service_port){
        .address = address,
        .protocol = str_eq(protocol, "UDP") ? IPPROTO_UDP : IPPROTO_TCP,
        .port = (uint16_t)number,
        .balance = r->balance->mode,
        .affinity_seconds =
            affinity ? (uint32_t)json_int(service, "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                                          DEFAULT_AFFINITY_S)
                     : 0,
        .endpoints = endpoints,
        .n_endpoints = count,
        .foreign = reach == OUTSIDE};
}

static void add_outside(struct rendering *r, const cJSON *port, const char *text)
{
    struct in_addr address;
    if (text && inet_pton(AF_INET, text, &address) == 1)
        add_port(r, port, address, json_int(port, "port", 0), OUTSIDE);
}

static void add_ports(struct rendering *r)
{
    struct in_addr cluster, own;
    const cJSON *service = r->service;
    const char *type = json_string_or(service, "spec.type", "ClusterIP");
    bool balancer = str_eq(type, "LoadBalancer");
    if (str_eq(type, "ExternalName") ||
        inet_pton(AF_INET, json_string_or(service, "spec.clusterIP", ""), &cluster) != 1)
        return;
    inet_pton(AF_INET, r->node->options.internal_ip, &own);
    json_each (port, json_at(service, "spec.ports")) {
        add_port(r, port, cluster, json_int(port, "port", 0), INSIDE);
        if (balancer || str_eq(type, "NodePort"))
            add_port(r, port, own, json_int(port, "nodePort", 0), NODE_PORT);
        json_each (address, json_at(service, "spec.externalIPs"))
            add_outside(r, port, cJSON_IsString(address) ? address->valuestring : NULL);
        json_each (ingress, balancer ? json_at(service, "status.loadBalancer.ingress") : NULL)
            add_outside(r, port, json_string(ingress, "ip"));
    }
}

/* ---- names */

static void add_record(struct node_service *out, char *name, const char *address)
{
    struct in_addr parsed;
    if (!address || inet_pton(AF_INET, address, &parsed) != 1) {
        free(name);
        return;
    }
    for (size_t i = 0; i < out->n_records; i++) {
        if (str_eq(out->records[i].name, name) && out->records[i].address.s_addr == parsed.s_addr) {
            free(name);
            return;
        }
    }
    out->records = mem_resize(out->records, out->n_records + 1, sizeof(*out->records));
    out->records[out->n_records++] = (struct net_name){.name = name, .address = parsed};
}

/* Takes both names. */
static void add_target(struct node_service *out, char *name, char *target, uint16_t port)
{
    out->records = mem_resize(out->records, out->n_records + 1, sizeof(*out->records));
    out->records[out->n_records++] = (struct net_name){.name = name, .target = target, .port = port};
}

/* _PORT._PROTOCOL of each port that has a name. */
static void add_services(struct node_service *out, const cJSON *ports, const char *base, const char *target)
{
    json_each (port, ports) {
        const char *name = json_string(port, "name");
        int64_t number = json_int(port, "port", 0);
        bool udp = str_eq(json_string_or(port, "protocol", "TCP"), "UDP");
        if (!str_empty(name) && number > 0)
            add_target(out, mem_printf("_%s._%s.%s", name, udp ? "udp" : "tcp", base), mem_strdup(target),
                       (uint16_t)number);
    }
}

static char *name_of(const struct node *node, const cJSON *service)
{
    return mem_printf("%s.%s.svc.%s", json_string_or(service, "metadata.name", ""),
                      json_string_or(service, "metadata.namespace", ""), node->options.cluster_domain);
}

/* Its address under the Service's name and under its own: its host name's, else that of its address. */
static void add_endpoint_names(struct node_service *out, const cJSON *slice, const cJSON *endpoint,
                               const char *base)
{
    const char *address = json_string(endpoint, "addresses[0]");
    struct in_addr parsed;
    if (!address || inet_pton(AF_INET, address, &parsed) != 1)
        return;
    auto_free char *host = mem_strdup(json_string_or(endpoint, "hostname", address));
    for (char *dot = host; (dot = strchr(dot, '.'));)
        *dot = '-';
    auto_free char *own = mem_printf("%s.%s", host, base);
    add_record(out, mem_strdup(base), address);
    add_record(out, mem_strdup(own), address);
    add_services(out, json_get(slice, "ports"), base, own);
}

static void add_names(struct rendering *r)
{
    struct node_service *out = r->out;
    auto_free char *base = name_of(r->node, r->service);
    if (str_eq(json_string(r->service, "spec.type"), "ExternalName")) {
        add_target(out, steal(&base), mem_strdup(json_string_or(r->service, "spec.externalName", "")), 0);
        return;
    }
    if (!node_service_is_headless(r->service)) {
        add_record(out, mem_strdup(base), json_string(r->service, "spec.clusterIP"));
        add_services(out, json_at(r->service, "spec.ports"), base, base);
        return;
    }
    json_each (slice, r->slices)
        json_each (endpoint, json_get(slice, "endpoints"))
            if (is_ready(endpoint))
                add_endpoint_names(out, slice, endpoint, base);
}

char *node_service_target(const struct node *node, const char *external_name)
{
    auto_free char *ending = mem_printf(".svc.%s", node->options.cluster_domain);
    if (!str_ends(external_name, ending))
        return NULL;
    size_t count;
    auto_free char *name = mem_strndup(external_name, strlen(external_name) - strlen(ending));
    auto_free char **labels = str_split(name, '.', &count); /* [HOSTNAME.]SERVICE.NAMESPACE */
    return count < 2 ? NULL : mem_printf("%s/%s", labels[count - 1], labels[count - 2]);
}

void node_service_addresses(struct node_service *out, const struct node *node, const cJSON *service,
                            const struct in_addr *addresses, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[INET_ADDRSTRLEN];
        add_record(out, name_of(node, service), inet_ntop(AF_INET, &addresses[i], text, sizeof(text)));
    }
}

void node_service_render(struct node_service *out, const struct node *node, const char *key,
                         const cJSON *service, const cJSON *slices, const struct node_balance *balance)
{
    *out = (struct node_service){.key = mem_strdup(key)};
    if (!service)
        return;
    struct rendering rendering = {out, node, service, slices, balance};
    add_ports(&rendering);
    add_names(&rendering);
}

void node_service_fini(struct node_service *service)
{
    for (size_t i = 0; i < service->n_ports; i++)
        free((void *)service->ports[i].endpoints);
    for (size_t i = 0; i < service->n_records; i++) {
        free((char *)service->records[i].name);
        free((char *)service->records[i].target);
    }
    free(service->ports);
    free(service->records);
    free(service->key);
    *service = (struct node_service){0};
}
