/*
 * net_peers: routes to the pods of other nodes: through the node's address where that is on the same network,
 * through VXLAN where a router lies between. Invariants: routes of ours inside the cluster range that no peer
 * wants are removed; the set @nodes holds the addresses of peers that are reached by routes (what pods send
 * to them keeps its source; through routers it would not arrive). A peer that cannot be reached does not keep
 * the others from being served.
 */
#include <errno.h>
#include <string.h>

#include "net/net_internal.h"

/* Every node can compute every other's, so it needs not be published. */
static void vxlan_mac(const struct net_peer *peer, struct in_addr address, unsigned char mac[6])
{
    static const unsigned char none[6];
    if (peer && memcmp(peer->vxlan_mac, none, sizeof none) != 0) {
        memcpy(mac, peer->vxlan_mac, 6);
        return;
    }
    mac[0] = 0x02;
    mac[1] = 0x6d;
    memcpy(mac + 2, &address.s_addr, 4);
}

static int ensure_vxlan(struct net_linux *net, struct err **err)
{
    unsigned char mac[6];
    vxlan_mac(NULL, net->config.node_address, mac);
    if (netlink_ensure_vxlan(-1, NET_VXLAN_LINK, NET_VXLAN_ID, net->config.node_address, NET_VXLAN_PORT,
                             net->mtu > NET_VXLAN_OVERHEAD ? net->mtu - NET_VXLAN_OVERHEAD : 0, err) < 0 ||
        netlink_set_mac(-1, NET_VXLAN_LINK, mac, err) < 0)
        return -1;
    return nl_link_index(&net->nl, NET_VXLAN_LINK, err);
}

static int plan_vxlan(struct net_linux *net, const struct net_peer *peer, struct nl_route *route,
                      struct err **err)
{
    unsigned char mac[6];
    struct in_addr far = net_gateway(&peer->pod_range);
    int index = ensure_vxlan(net, err);
    if (index < 0)
        return -1;
    vxlan_mac(peer, peer->node_address, mac);
    if (netlink_ensure_fdb(-1, NET_VXLAN_LINK, mac, peer->node_address, err) < 0 ||
        netlink_ensure_neighbour(-1, NET_VXLAN_LINK, far, mac, err) < 0)
        return -1;
    route->gateway = far;
    route->index = index;
    route->onlink = true;
    return 0;
}

/* Sets *tunnel whether the peer is reached through it. */
static int apply_peer(struct net_linux *net, enum net_routing routing, const struct net_peer *peer,
                      bool *tunnel, struct err **err)
{
    struct nl_route to_node;
    struct nl_route route = {.destination = peer->pod_range, .source = net->config.node_address};
    int failed = nl_route_to(&net->nl, peer->node_address, &to_node);
    if (failed)
        return err_errno(err, failed, "finding the way to node %s (%s)", peer->name,
                         inet_ntoa(peer->node_address));
    bool behind_router = to_node.gateway.s_addr != 0;
    *tunnel = false;
    if (behind_router && routing == NET_ROUTING_ROUTES)
        return err_set(
            err, ERR_UNAVAILABLE,
            "node %s (%s) is behind a router: its pods cannot be reached by routes; network: auto or "
            "vxlan would",
            peer->name, inet_ntoa(peer->node_address));
    if (behind_router || routing == NET_ROUTING_VXLAN) {
        *tunnel = true;
        route.source = net_gateway(&net->config.pod_range); /* answers come back through the tunnel, too */
        if (plan_vxlan(net, peer, &route, err) < 0)
            return err_wrap(err, "tunnel to node %s", peer->name);
    } else {
        route.gateway = peer->node_address;
        route.index = to_node.index;
    }
    failed = nl_route_replace(&net->nl, &route);
    return failed ? err_errno(err, failed, "route to the pods of node %s", peer->name) : 0;
}

struct stale_routes {
    const struct net_linux *net;
    const struct net_peer *peers;
    size_t n_peers;
    struct nl_route *at;
    size_t count;
};

static bool same_range(const struct net_cidr *a, const struct net_cidr *b)
{
    return a->prefix == b->prefix && net_cidr_contains(a, b->address);
}

static void collect_stale(void *arg, const struct nl_route *route)
{
    struct stale_routes *stale = arg;
    if (route->protocol != NETLINK_ROUTE_PROTOCOL || !route->gateway.s_addr || !route->destination.prefix ||
        !net_cidr_contains(&stale->net->config.cluster_range, route->destination.address))
        return;
    for (size_t i = 0; i < stale->n_peers; i++) {
        if (same_range(&route->destination, &stale->peers[i].pod_range))
            return;
    }
    stale->at = mem_resize(stale->at, stale->count + 1, sizeof *stale->at);
    stale->at[stale->count++] = *route;
}

static int remove_stale(struct net_linux *net, const struct net_peer *peers, size_t count, struct err **err)
{
    struct stale_routes stale = {.net = net, .peers = peers, .n_peers = count};
    int failed = nl_route_each(&net->nl, collect_stale, &stale);
    for (size_t i = 0; !failed && i < stale.count; i++)
        failed = nl_route_delete(&net->nl, &stale.at[i]);
    int result = failed ? err_errno(err, failed, "removing routes to nodes that are gone") : 0;
    /* Flows to pods of a node that is gone would hang until they time out. */
    for (size_t i = 0; !result && i < stale.count; i++)
        result = conntrack_forget_range(&stale.at[i].destination, err) < 0 ? -1 : 0;
    free(stale.at);
    return result;
}

static int apply_nodes_set(struct net_linux *net, const struct net_peer *peers, const bool *tunnels,
                           size_t count, struct err **err)
{
    auto_str text = {0};
    auto_map seen = {0};
    str_addf(&text, "flush set ip %s nodes\n", net->config.table);
    for (size_t i = 0; i < count; i++) {
        char address[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &peers[i].node_address, address, sizeof address);
        if (tunnels[i] || map_has(&seen, address))
            continue;
        if (seen.count)
            str_addf(&text, ", %s", address);
        else
            str_addf(&text, "add element ip %s nodes { %s", net->config.table, address);
        map_set(&seen, address, NULL);
    }
    if (seen.count)
        str_add(&text, " }\n");
    return nft_run(net->nft, str_c(&text), err);
}

int net_peers_apply(struct net_linux *net, enum net_routing routing, const struct net_peer *peers,
                    size_t count, struct err **err)
{
    int result = 0;
    auto_free bool *tunnels = mem_array(count + 1, sizeof *tunnels);
    struct err *unreached = NULL;
    net->config.routing = routing;
    net->tunnel_used = routing == NET_ROUTING_VXLAN;
    for (size_t i = 0; i < count; i++) {
        struct err *error = NULL;
        if (apply_peer(net, routing, &peers[i], &tunnels[i], &error) < 0)
            err_set(&unreached, ERR_UNAVAILABLE, "%s", err_message(error));
        err_free(error);
        net->tunnel_used |= tunnels[i];
    }
    if (!net->tunnel_used && netlink_delete_link(-1, NET_VXLAN_LINK, err) < 0)
        result = -1;
    if (remove_stale(net, peers, count, err) < 0 || apply_nodes_set(net, peers, tunnels, count, err) < 0)
        result = -1;
    net->n_peers = count;
    if (result == 0 && unreached)
        return err_move(err, &unreached);
    err_free(unreached);
    return result;
}
