/*
 * node_host_ports: ports of the node that lead into one pod (hostPort, hostIP). To net each pod is one more
 * Service with a single endpoint; what differs is who may have the port: a port that is this node's own
 * agent's or a Service's nodePort stays with them, and the pod's Events say so.
 */
#include <arpa/inet.h>
#include <string.h>

#include "node/node_internal.h"

#define LOOPBACK "127.0.0.1"

/* "@UID": no Service's key begins so. */
char *node_host_ports_key(const struct pod *pod)
{
    return mem_printf("@%s", pod->uid);
}

bool node_host_ports_wanted(const struct pod *pod)
{
    if (pod_host_network(pod)) /* its containers listen on the node themselves */
        return false;
    json_each (container, json_at(pod->object, "spec.containers"))
        json_each (port, json_get(container, "ports"))
            if (json_int(port, "hostPort", 0))
                return true;
    return false;
}

/* From its first sandbox until its interface goes; a pod that has ended gives its ports back. */
static bool serves(const struct pod *pod)
{
    bool ending = pod->gone || json_at(pod->object, "metadata.deletionTimestamp");
    return pod->node && pod->object && pod->address.s_addr && !pod->phase &&
           (!ending || pod->attached || pod->adopted);
}

static uint8_t protocol_of(const cJSON *port)
{
    const char *protocol = json_string_or(port, "protocol", "TCP");
    return str_eq(protocol, "UDP") ? IPPROTO_UDP : str_eq(protocol, "TCP") ? IPPROTO_TCP : 0;
}

static void add_rule(struct node_service *out, const struct pod *pod, const cJSON *port,
                     struct in_addr address)
{
    struct net_endpoint *endpoint = NEW(struct net_endpoint);
    *endpoint = (struct net_endpoint){pod->address, (uint16_t)json_int(port, "containerPort", 0)};
    out->ports = mem_resize(out->ports, out->n_ports + 1, sizeof(*out->ports));
    out->ports[out->n_ports++] = (struct net_service_port){.address = address,
                                                           .protocol = protocol_of(port),
                                                           .port = (uint16_t)json_int(port, "hostPort", 0),
                                                           .endpoints = endpoint,
                                                           .n_endpoints = 1};
}

/* Why the pod does not get this port at the node's own address, or NULL. Caller frees. */
static char *obstacle(const struct pod *pod, const cJSON *port, const struct map *node_ports)
{
    const struct node_options *options = &pod->node->options;
    int64_t number = json_int(port, "hostPort", 0);
    const char *protocol = json_string_or(port, "protocol", "TCP");
    if (protocol_of(port) == IPPROTO_TCP && number == options->port)
        return mem_printf("port %lld/TCP is the node agent's own", (long long)number);
    auto_free char *name = mem_printf("%u/%lld", protocol_of(port), (long long)number);
    const char *service = map_get(node_ports, name);
    return service ? mem_printf("port %lld/%s is the node port of Service %s, which keeps it",
                                (long long)number, protocol, service)
                   : NULL;
}

static void add_port(struct node_service *out, const struct pod *pod, const cJSON *port,
                     const struct map *node_ports, struct str *problems)
{
    struct in_addr own, loopback, address = {0};
    const char *text = json_string_or(port, "hostIP", "");
    if (!json_int(port, "hostPort", 0) || !protocol_of(port))
        return;
    inet_pton(AF_INET, pod->node->options.internal_ip, &own);
    inet_pton(AF_INET, LOOPBACK, &loopback);
    bool any = str_empty(text) || inet_pton(AF_INET, text, &address) != 1 || !address.s_addr;
    if (any || address.s_addr == own.s_addr) {
        auto_free char *why = obstacle(pod, port, node_ports);
        if (why)
            str_addf(problems, "%s%s", problems->len ? "; " : "", why);
        else
            add_rule(out, pod, port, own);
    }
    if (any)
        add_rule(out, pod, port, loopback);
    else if (address.s_addr != own.s_addr)
        add_rule(out, pod, port, address);
}

static void tell(struct pod *pod, const struct str *problems)
{
    if (str_eq(pod->host_ports_problem, problems->len ? problems->data : NULL))
        return;
    free(pod->host_ports_problem);
    pod->host_ports_problem = problems->len ? mem_strdup(problems->data) : NULL;
    if (problems->len)
        pod_event(pod, NULL, "Warning", "HostPortConflict", "%s", problems->data);
}

void node_host_ports_render(struct node_service *out, struct pod *pod, const char *key,
                            const struct map *node_ports)
{
    auto_str problems = {0};
    *out = (struct node_service){.key = mem_strdup(key)};
    if (!pod || !serves(pod) || !node_host_ports_wanted(pod))
        return;
    json_each (container, json_at(pod->object, "spec.containers"))
        json_each (port, json_get(container, "ports"))
            add_port(out, pod, port, node_ports, &problems);
    tell(pod, &problems);
}
