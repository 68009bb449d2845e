/* fake_net: see fake_net.h. State per node in plain maps; a connection is a walk over them. */
#include "fake_net.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/map.h"
#include "base/str.h"

struct fake_service {
    struct net_service_port *ports; /* endpoints are owned */
    size_t n_ports;
};

struct fake_names {
    struct net_name *records; /* names are owned */
    size_t count;
};

struct fake_node {
    struct fake_world *world;
    char *name;
    struct in_addr address;
    struct net_cidr range;
    struct map pods; /* uid → struct in_addr */
    struct map services, names;
    struct net_peer *peers;
    size_t n_peers, changes;
    unsigned failures;
    bool cut, ready, lost;
    net_lost *on_lost;
    void *on_lost_arg;
    unsigned turn; /* round robin over everything: fair, and deterministic */
};

struct fake_world {
    const struct random *random;
    struct map nodes;
};

struct fake_net {
    struct net base;
    struct fake_node *node;
};

static struct fake_node *node_of(struct net *net)
{
    return CONTAINER_OF(net, struct fake_net, base)->node;
}

static int fails(struct fake_node *node, struct err **err)
{
    if (node->lost)
        return err_set(err, ERR_NOT_FOUND, "the table of %s is gone", node->name);
    if (!node->failures)
        return 0;
    node->failures--;
    return err_set(err, ERR_UNAVAILABLE, "injected network failure on %s", node->name);
}

static void service_free(void *value)
{
    struct fake_service *service = value;
    for (size_t i = 0; i < service->n_ports; i++)
        free((void *)service->ports[i].endpoints);
    free(service->ports);
    free(service);
}

static void names_free(void *value)
{
    struct fake_names *names = value;
    for (size_t i = 0; i < names->count; i++)
        free((char *)names->records[i].name);
    free(names->records);
    free(names);
}

/* ---- operations ---- */

static int net_op_setup(struct net *net, struct err **err)
{
    node_of(net)->lost = false;
    if (fails(node_of(net), err))
        return -1;
    node_of(net)->ready = true;
    return 0;
}

static int net_op_pod_attach(struct net *net, const struct net_pod *pod, struct err **err)
{
    struct fake_node *node = node_of(net);
    if (fails(node, err))
        return -1;
    if (pod->pid <= 0)
        return err_set(err, ERR_INVALID, "pod %s has no process to attach to", pod->uid);
    map_set(&node->pods, pod->uid, mem_copy(&pod->address, sizeof(pod->address)));
    return 0;
}

static int net_op_pod_detach(struct net *net, const char *uid, struct in_addr address UNUSED,
                             struct err **err)
{
    if (fails(node_of(net), err))
        return -1;
    map_remove(&node_of(net)->pods, uid);
    return 0;
}

static int net_op_pods_keep(struct net *net, const char *const *uids, size_t count, struct err **err)
{
    struct fake_node *node = node_of(net);
    if (fails(node, err))
        return -1;
    map_each (entry, &node->pods) {
        bool keep = false;
        for (size_t i = 0; i < count; i++)
            keep |= str_eq(uids[i], entry->key);
        if (!keep)
            map_remove(&node->pods, entry->key);
    }
    return 0;
}

static int net_op_peers(struct net *net, enum net_routing routing UNUSED, const struct net_peer *peers,
                        size_t count, struct err **err)
{
    struct fake_node *node = node_of(net);
    if (fails(node, err))
        return -1;
    free(node->peers);
    node->peers = count ? mem_copy(peers, count * sizeof(*peers)) : NULL;
    node->n_peers = count;
    return 0;
}

static void put_service(struct fake_node *node, const struct net_service *change)
{
    node->changes++;
    if (change->n_ports == 0) {
        map_remove(&node->services, change->key);
        return;
    }
    struct fake_service *service = NEW(struct fake_service);
    service->ports = mem_copy(change->ports, change->n_ports * sizeof(*change->ports));
    service->n_ports = change->n_ports;
    for (size_t i = 0; i < change->n_ports; i++) {
        size_t size = change->ports[i].n_endpoints * sizeof(struct net_endpoint);
        service->ports[i].endpoints = size ? mem_copy(change->ports[i].endpoints, size) : NULL;
    }
    map_set(&node->services, change->key, service);
}

static int net_op_services(struct net *net, const struct net_service *changes, size_t count, struct err **err)
{
    if (fails(node_of(net), err))
        return -1;
    for (size_t i = 0; i < count; i++)
        put_service(node_of(net), &changes[i]);
    return 0;
}

static int net_op_services_all(struct net *net, const struct net_service *services, size_t count,
                               struct err **err)
{
    if (fails(node_of(net), err))
        return -1;
    map_fini(&node_of(net)->services);
    return net_op_services(net, services, count, err);
}

static int net_op_names(struct net *net, const struct net_names *changes, size_t count, struct err **err)
{
    struct fake_node *node = node_of(net);
    if (fails(node, err))
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (changes[i].keep)
            continue;
        if (changes[i].n_records == 0) {
            map_remove(&node->names, changes[i].key);
            continue;
        }
        struct fake_names *names = NEW(struct fake_names);
        names->count = changes[i].n_records;
        names->records = mem_copy(changes[i].records, names->count * sizeof(*names->records));
        for (size_t k = 0; k < names->count; k++)
            names->records[k].name = mem_strdup(changes[i].records[k].name);
        for (size_t k = 0; k < names->count; k++)
            names->records[k].target =
                changes[i].records[k].target ? names->records[k].name : NULL; /* only whether */
        map_set(&node->names, changes[i].key, names);
    }
    return 0;
}

static int net_op_names_all(struct net *net, const struct net_names *names, size_t count, struct err **err)
{
    if (fails(node_of(net), err))
        return -1;
    auto_map wanted = {0};
    for (size_t i = 0; i < count; i++)
        map_set(&wanted, names[i].key, NULL);
    map_each (entry, &node_of(net)->names) {
        if (!map_has(&wanted, entry->key))
            map_remove(&node_of(net)->names, entry->key);
    }
    return net_op_names(net, names, count, err);
}

static cJSON *net_op_state(struct net *net)
{
    cJSON *state = cJSON_CreateObject();
    json_set_int(state, "services", (int64_t)node_of(net)->services.count);
    json_set_int(state, "links", (int64_t)node_of(net)->pods.count);
    return state;
}

static void net_op_watch(struct net *net, net_lost *on_lost, void *arg)
{
    node_of(net)->on_lost = on_lost;
    node_of(net)->on_lost_arg = arg;
}

static void net_op_free(struct net *net)
{
    free(CONTAINER_OF(net, struct fake_net, base));
}

/* ---- the world ---- */

static void node_free_value(void *value)
{
    struct fake_node *node = value;
    map_fini(&node->pods);
    map_fini(&node->services);
    map_fini(&node->names);
    free(node->peers);
    free(node->name);
    free(node);
}

struct fake_world *fake_world_new(const struct random *random)
{
    struct fake_world *world = NEW(struct fake_world);
    world->random = random;
    map_init(&world->nodes, node_free_value);
    return world;
}

void fake_world_free(struct fake_world *world)
{
    map_fini(&world->nodes);
    free(world);
}

struct net *fake_net_new(struct fake_world *world, const char *name, const char *address,
                         const char *pod_range)
{
    static const struct net_ops ops = {.setup = net_op_setup,
                                       .pod_attach = net_op_pod_attach,
                                       .pod_detach = net_op_pod_detach,
                                       .pods_keep = net_op_pods_keep,
                                       .peers = net_op_peers,
                                       .services = net_op_services,
                                       .services_all = net_op_services_all,
                                       .names = net_op_names,
                                       .names_all = net_op_names_all,
                                       .state = net_op_state,
                                       .watch = net_op_watch,
                                       .free = net_op_free};
    struct fake_node *node = map_get(&world->nodes, name);
    if (!node) {
        node = NEW(struct fake_node);
        node->world = world;
        node->name = mem_strdup(name);
        map_init(&node->pods, free);
        map_init(&node->services, service_free);
        map_init(&node->names, names_free);
        map_set(&world->nodes, name, node);
    }
    must(inet_pton(AF_INET, address, &node->address) == 1);
    must(net_cidr_parse(pod_range, &node->range, NULL) == 0);
    struct fake_net *net = NEW(struct fake_net);
    net->base.ops = &ops;
    net->node = node;
    return &net->base;
}

void fake_world_fail(struct fake_world *world, const char *name, unsigned count)
{
    struct fake_node *node = map_get(&world->nodes, name);
    must(node != NULL);
    node->failures = count;
}

void fake_world_lose(struct fake_world *world, const char *name, bool told)
{
    struct fake_node *node = map_get(&world->nodes, name);
    must(node != NULL);
    node->lost = true;
    node->n_peers = 0;
    map_fini(&node->services);
    map_init(&node->services, service_free);
    map_fini(&node->pods);
    map_init(&node->pods, free);
    if (told && node->on_lost)
        node->on_lost(node->on_lost_arg, "a test took it away");
}

void fake_world_cut(struct fake_world *world, const char *name, bool cut)
{
    struct fake_node *node = map_get(&world->nodes, name);
    must(node != NULL);
    node->cut = cut;
}

static bool has_route(const struct fake_node *from, const struct fake_node *to)
{
    if (from == to)
        return true;
    if (from->cut || to->cut)
        return false;
    for (size_t i = 0; i < from->n_peers; i++)
        if (from->peers[i].pod_range.address.s_addr == to->range.address.s_addr &&
            from->peers[i].node_address.s_addr == to->address.s_addr)
            return true;
    return false;
}

static bool reaches_pod(struct fake_world *world, const struct fake_node *from, struct in_addr address)
{
    map_each (n, &world->nodes) {
        struct fake_node *to = n->value;
        map_each (entry, &to->pods)
            if (((struct in_addr *)entry->value)->s_addr == address.s_addr)
                return has_route(from, to);
    }
    return false;
}

static const struct net_service_port *find_port(const struct fake_node *node, struct in_addr address,
                                                uint8_t protocol, uint16_t port)
{
    map_each (entry, &node->services) {
        const struct fake_service *service = entry->value;
        for (size_t i = 0; i < service->n_ports; i++)
            if (service->ports[i].address.s_addr == address.s_addr &&
                service->ports[i].protocol == protocol && service->ports[i].port == port)
                return &service->ports[i];
    }
    return NULL;
}

enum fake_reach fake_world_connect(struct fake_world *world, const char *name, struct in_addr address,
                                   uint8_t protocol, uint16_t port, struct in_addr *endpoint)
{
    struct fake_node *node = map_get(&world->nodes, name);
    must(node != NULL);
    const struct net_service_port *virtual = find_port(node, address, protocol, port);
    if (virtual && virtual->n_endpoints == 0)
        return FAKE_REFUSED;
    if (virtual)
        address = virtual
                      ->endpoints[virtual->balance == NET_BALANCE_RANDOM
                                      ? random_below(world->random, virtual->n_endpoints)
                                      : node->turn++ % virtual->n_endpoints]
                      .address;
    if (endpoint)
        *endpoint = address;
    return reaches_pod(world, node, address) ? FAKE_REACHED : FAKE_UNREACHABLE;
}

size_t fake_world_resolve(struct fake_world *world, const char *node_name, const char *name,
                          struct in_addr *addresses, size_t max)
{
    struct fake_node *node = map_get(&world->nodes, node_name);
    must(node != NULL);
    size_t count = 0;
    map_each (entry, &node->names) {
        const struct fake_names *names = entry->value;
        for (size_t i = 0; i < names->count && count < max; i++)
            if (str_eq(names->records[i].name, name) && !names->records[i].target)
                addresses[count++] = names->records[i].address;
    }
    return count;
}

bool fake_world_attached(struct fake_world *world, const char *node_name, const char *uid)
{
    struct fake_node *node = map_get(&world->nodes, node_name);
    return node && map_has(&node->pods, uid);
}

void fake_world_each_endpoint(struct fake_world *world, const char *node_name,
                              void (*each)(void *, const char *, const struct net_service_port *,
                                           const struct net_endpoint *),
                              void *arg)
{
    struct fake_node *node = map_get(&world->nodes, node_name);
    if (!node)
        return;
    map_each (entry, &node->services) {
        const struct fake_service *service = entry->value;
        for (size_t i = 0; i < service->n_ports; i++) {
            const struct net_service_port *port = &service->ports[i];
            if (port->n_endpoints == 0)
                each(arg, entry->key, port, NULL);
            for (size_t k = 0; k < port->n_endpoints; k++)
                each(arg, entry->key, port, &port->endpoints[k]);
        }
    }
}

size_t fake_world_changes(struct fake_world *world, const char *node_name)
{
    struct fake_node *node = map_get(&world->nodes, node_name);
    return node ? node->changes : 0;
}
