/*
 * net_linux: the real network of a node: puts the parts together behind the vtable of net.h.
 * Does not start programs itself but the resolver (through its helper).
 * Invariants: setup may be repeated at any time and loses no Service; freeing changes nothing in the kernel.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "net/net_internal.h"

#define DEFAULT_MTU 1500
/* The kernel's default without bit 3: "port unreachable" is sent for every datagram, not six in a row and
 * then one a second. Clients go on to the second resolver, and see that a Service has no endpoint, by nothing
 * else. */
#define ICMP_RATE_MASK "6160"

static struct net_linux *self(struct net *net)
{
    return CONTAINER_OF(net, struct net_linux, net);
}

struct in_addr net_gateway(const struct net_cidr *range)
{
    uint32_t mask = range->prefix ? ~0u << (32 - range->prefix) : 0;
    return (struct in_addr){htonl((ntohl(range->address.s_addr) & mask) + 1)};
}

unsigned net_pod_mtu(const struct net_linux *net)
{
    return net->tunnel_used && net->mtu > NET_VXLAN_OVERHEAD ? net->mtu - NET_VXLAN_OVERHEAD : net->mtu;
}

struct uplink {
    struct in_addr address;
    int index;
};

static void match_uplink(void *arg, int index, const struct net_cidr *address)
{
    struct uplink *uplink = arg;
    if (address->address.s_addr == uplink->address.s_addr)
        uplink->index = index;
}

static int setup_uplink(struct net_linux *net, struct err **err)
{
    struct uplink uplink = {.address = net->config.node_address};
    struct nl_link link = {0};
    int failed = nl_address_each(&net->nl, match_uplink, &uplink);
    if (!failed && !uplink.index)
        return err_set(err, ERR_INVALID, "the node's address %s is on no link",
                       inet_ntoa(net->config.node_address));
    if (!failed)
        failed = nl_link_at(&net->nl, uplink.index, &link);
    if (failed)
        return err_errno(err, failed, "finding the uplink");
    atomic_store(&net->uplink, uplink.index);
    net->mtu = net->config.mtu ? net->config.mtu : link.mtu > UINT16_MAX ? DEFAULT_MTU : link.mtu;
    /* Until the peers are known: what the last agent found. */
    net->tunnel_used = net->config.routing == NET_ROUTING_VXLAN ||
                       (net->config.routing == NET_ROUTING_AUTO && netlink_link_exists(-1, NET_VXLAN_LINK));
    /* Else an outsider who reaches a virtual address by way of this node is told to go to the pod's node
     * directly, where nobody translates the answer back; and the redirect eats the allowance for ICMP
     * refusals. */
    auto_free char *redirects = mem_printf("net/ipv4/conf/%s/send_redirects", link.name);
    if (net_sysctl(-1, redirects, "0", err) < 0 ||
        net_sysctl(-1, "net/ipv4/conf/all/send_redirects", "0", err) < 0 ||
        net_sysctl(-1, "net/ipv4/icmp_ratemask", ICMP_RATE_MASK, err) < 0)
        return -1;
    return net_sysctl(-1, "net/ipv4/ip_forward", "1", err);
}

/* A bridge without ports: it carries the gateway's and the resolver's addresses, and the route that gives
 * programs of the node itself a source address for virtual IPs. (Dummy links are not in every kernel.) */
static int setup_anchor(struct net_linux *net, struct err **err)
{
    const struct net_config *config = &net->config;
    const struct net_cidr addresses[] = {
        {net_gateway(&config->pod_range), 32}, {config->dns_address, 32}, {config->dns_spare, 32}};
    struct nl_route services = {.destination = config->service_range, .source = config->node_address};
    struct nl_link loopback;
    int failed = nl_link_get(&net->nl, "lo", &loopback);
    if (!failed)
        failed = nl_link_up(&net->nl, loopback.index, true);
    if (failed)
        return err_errno(err, failed, "bringing lo up");
    if (netlink_ensure_bridge(-1, config->bridge, net->mtu, err) < 0)
        return -1;
    services.index = nl_link_index(&net->nl, config->bridge, err);
    if (services.index < 0)
        return -1;
    for (size_t i = 0; i < COUNT_OF(addresses) && !failed; i++)
        if (addresses[i].address.s_addr)
            failed = nl_address_add(&net->nl, services.index, &addresses[i]);
    if (!failed)
        failed = nl_route_replace(&net->nl, &services);
    return failed ? err_errno(err, failed, "configuring %s", config->bridge) : 0;
}

static int load_base(struct net_linux *net, struct err **err)
{
    auto_str text = {0}, again = {0};
    struct err *error = NULL;
    nft_base_render(&text, &net->config);
    if (nft_run(net->nft, str_c(&text), &error) == 0)
        return 0;
    /* A table of another version whose maps have other types: replace it in one transaction. */
    log_warn("net", "replacing table %s: %s", net->config.table, err_message(error));
    err_free(error);
    str_addf(&again, "add table ip %s\ndelete table ip %s\n%s", net->config.table, net->config.table,
             str_c(&text));
    return nft_run(net->nft, str_c(&again), err);
}

/* Read once more after it is known to whoever watches: a table that went before is noticed here, one that
 * goes later there. */
static int note_table(struct net_linux *net, struct err **err)
{
    uint64_t handle, again;
    int failed = nft_table_handle(&net->netfilter, net->config.table, &handle);
    if (!failed) {
        atomic_store(&net->table, handle);
        failed = nft_table_handle(&net->netfilter, net->config.table, &again);
    }
    if (!failed && handle != again)
        failed = ENOENT;
    return failed ? err_errno(err, failed, "reading table %s", net->config.table) : 0;
}

/* Nothing inside the Service range ever went untranslated: it was refused. */
static void drop_needless(const struct net_linux *net, struct flow_targets *stale)
{
    size_t kept = 0;
    for (size_t i = 0; i < stale->count; i++) {
        const struct flow_target *target = &stale->at[i];
        if (target->endpoint.address.s_addr ||
            !net_cidr_contains(&net->config.service_range, target->address))
            stale->at[kept++] = *target;
    }
    stale->count = kept;
}

static int apply(struct net_linux *net, const struct net_service *changes, size_t count, bool complete,
                 struct err **err)
{
    struct flow_targets stale = {0};
    int result = services_apply(net->services, net->nft, changes, count, complete, &stale, err);
    drop_needless(net, &stale);
    if (result == 0 && conntrack_forget_targets(&stale, err) < 0)
        result = -1;
    free(stale.at);
    return result;
}

/* Once: it is for people. */
static void warn_of_firewalls(struct net_linux *net)
{
    auto_err err = NULL;
    char address[INET_ADDRSTRLEN];
    if (net->warned)
        return;
    net->warned = true;
    inet_ntop(AF_INET, &net->config.cluster_range.address, address, sizeof address);
    auto_free char *range = mem_printf("%s/%u", address, net->config.cluster_range.prefix);
    auto_json chains = nft_foreign_drops(&net->netfilter, &err);
    if (!chains)
        log_warn("net", "%s", err_message(err));
    json_each (chain, chains) {
        auto_free char *remedy = nft_foreign_remedy(chain, range);
        log_warn("net", "chain %s of table %s %s may drop what pods send; to let it through: %s",
                 json_string(chain, "chain"), json_string(chain, "family"), json_string(chain, "table"),
                 remedy);
    }
}

static int linux_setup(struct net *base, struct err **err)
{
    struct net_linux *net = self(base);
    net->is_set_up = false;
    services_forget_kernel(net->services);
    atomic_store(&net->table, 0);
    if (setup_uplink(net, err) < 0 || setup_anchor(net, err) < 0 || load_base(net, err) < 0 ||
        note_table(net, err) < 0)
        return err_wrap(err, "setting up the node's network");
    net->is_set_up = true;
    warn_of_firewalls(net);
    if (services_loaded(net->services) && apply(net, NULL, 0, false, err) < 0)
        return -1;
    return net->resolver ? resolver_setup(net->resolver, err) : 0;
}

static int need_setup(const struct net_linux *net, struct err **err)
{
    return net->is_set_up ? 0 : err_set(err, ERR_UNAVAILABLE, "the node's network is not set up");
}

static int linux_pod_attach(struct net *net, const struct net_pod *pod, struct err **err)
{
    return need_setup(self(net), err) < 0 ? -1 : net_pod_attach(self(net), pod, err);
}

static int linux_pod_detach(struct net *net, const char *uid, struct in_addr address, struct err **err)
{
    return net_pod_detach(self(net), uid, address, err);
}

static int linux_pods_keep(struct net *net, const char *const *uids, size_t count, struct err **err)
{
    return net_pods_keep(self(net), uids, count, err);
}

static int linux_peers(struct net *net, enum net_routing routing, const struct net_peer *peers, size_t count,
                       struct err **err)
{
    return need_setup(self(net), err) < 0 ? -1 : net_peers_apply(self(net), routing, peers, count, err);
}

static int linux_services(struct net *net, const struct net_service *changes, size_t count, struct err **err)
{
    return need_setup(self(net), err) < 0 ? -1 : apply(self(net), changes, count, false, err);
}

static int linux_services_all(struct net *net, const struct net_service *services, size_t count,
                              struct err **err)
{
    if (need_setup(self(net), err) < 0)
        return -1;
    services_forget_kernel(self(net)->services);
    return apply(self(net), services, count, true, err);
}

static int linux_names(struct net *base, const struct net_names *changes, size_t count, struct err **err)
{
    struct net_linux *net = self(base);
    return net->resolver ? resolver_names(net->resolver, changes, count, err) : 0;
}

static int linux_names_all(struct net *base, const struct net_names *names, size_t count, struct err **err)
{
    struct net_linux *net = self(base);
    return net->resolver ? resolver_names_all(net->resolver, names, count, err) : 0;
}

static void linux_watch(struct net *base, net_lost *on_lost, void *arg)
{
    struct net_linux *net = self(base);
    auto_err err = NULL;
    net_watch_free(steal(&net->watch));
    if (on_lost && net->config.loop && !(net->watch = net_watch_new(net, on_lost, arg, &err)))
        log_warn("net", "what others take away is not noticed: %s", err_message(err));
}

static cJSON *linux_state(struct net *base)
{
    struct net_linux *net = self(base);
    cJSON *state = cJSON_CreateObject();
    cJSON *links = json_ensure_array(state, "links");
    size_t count = 0;
    auto_free char **names = netlink_list_links(-1, "m8", &count, NULL);
    for (size_t i = 0; i < count; i++)
        json_push_string(links, names[i]);
    json_set_int(state, "services", (int64_t)services_count(net->services));
    json_set_int(state, "elements", (int64_t)services_elements(net->services));
    json_set_int(state, "peers", (int64_t)net->n_peers);
    json_set_bool(state, "setUp", net->is_set_up);
    json_set(state, "resolver", net->resolver ? resolver_state(net->resolver) : cJSON_CreateObject());
    return state;
}

static void linux_free(struct net *base)
{
    struct net_linux *net = self(base);
    net_watch_free(net->watch);
    resolver_free(net->resolver);
    services_free(net->services);
    nft_free(net->nft);
    nl_close(&net->nl);
    nl_close(&net->netfilter);
    free((void *)net->config.directory);
    free((void *)net->config.table);
    free((void *)net->config.bridge);
    free((void *)net->config.cluster_domain);
    free((void *)net->config.resolv_conf);
    free(net);
}

static const struct net_ops linux_ops = {
    .setup = linux_setup,
    .pod_attach = linux_pod_attach,
    .pod_detach = linux_pod_detach,
    .pods_keep = linux_pods_keep,
    .peers = linux_peers,
    .services = linux_services,
    .services_all = linux_services_all,
    .names = linux_names,
    .names_all = linux_names_all,
    .watch = linux_watch,
    .state = linux_state,
    .free = linux_free,
};

static int check_config(const struct net_config *config, struct err **err)
{
    if (str_empty(config->table) || str_empty(config->bridge) || strlen(config->bridge) > 15)
        return err_set(err, ERR_INVALID,
                       "the network needs the names of a table and of a link (up to 15 bytes)");
    if (strspn(config->table, "abcdefghijklmnopqrstuvwxyz0123456789_-") != strlen(config->table))
        return err_set(err, ERR_INVALID, "\"%s\" is no name for an nftables table", config->table);
    if (net_is_pod_link(config->bridge))
        return err_set(err, ERR_INVALID, "\"%s\" looks like a pod's link", config->bridge);
    if (config->pod_range.prefix < 8 || config->pod_range.prefix > 30 || config->cluster_range.prefix < 1 ||
        config->service_range.prefix < 1 || config->service_range.prefix > 30)
        return err_set(err, ERR_INVALID,
                       "a pod, cluster or Service range is missing, too wide or too narrow");
    if (!net_cidr_contains(&config->cluster_range, config->pod_range.address) ||
        config->pod_range.prefix < config->cluster_range.prefix)
        return err_set(err, ERR_INVALID, "this node's pod range is not inside the cluster's");
    if (!config->node_address.s_addr)
        return err_set(err, ERR_INVALID, "the node's address is missing");
    return 0;
}

struct net *net_linux_new(const struct net_config *config, struct err **err)
{
    if (check_config(config, err) < 0)
        return NULL;
    struct net_linux *net = NEW(struct net_linux);
    net->net.ops = &linux_ops;
    net->config = *config;
    net->config.directory = mem_strdup(config->directory);
    net->config.table = mem_strdup(config->table);
    net->config.bridge = mem_strdup(config->bridge);
    net->config.cluster_domain = mem_strdup(config->cluster_domain);
    net->config.resolv_conf = mem_strdup(config->resolv_conf);
    net->services = services_new();
    net->nft = nft_new(config->table, err);
    if (!net->nft || nl_open(&net->nl, NETLINK_ROUTE, -1, err) < 0 ||
        nl_open(&net->netfilter, NETLINK_NETFILTER, -1, err) < 0) {
        linux_free(&net->net);
        return NULL;
    }
    if (config->loop && config->directory && config->dns_address.s_addr)
        net->resolver = resolver_new(&net->config);
    return &net->net;
}
