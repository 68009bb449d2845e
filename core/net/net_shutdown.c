/*
 * net_shutdown: takes everything back that the Linux implementation made in this namespace. For commands:
 * blocking. Goes on after an error and reports the first, so that one thing in the way does not keep the
 * rest.
 */
#include "net/net_internal.h"

static void delete_link(const char *name, int *result, struct err **err)
{
    struct err *error = NULL;
    if (netlink_delete_link(-1, name, &error) < 0)
        *result = err_move(err, &error);
}

static void delete_pod_links(int *result, struct err **err)
{
    size_t count = 0;
    struct err *error = NULL;
    auto_free char **links = netlink_list_links(-1, "m8", &count, &error);
    if (!links)
        *result = err_move(err, &error);
    for (size_t i = 0; i < count; i++) {
        if (net_is_pod_link(links[i]))
            delete_link(links[i], result, err);
    }
}

struct own_routes {
    struct nl_route *at;
    size_t count;
};

static void collect_own(void *arg, const struct nl_route *route)
{
    struct own_routes *routes = arg;
    if (route->protocol != NETLINK_ROUTE_PROTOCOL || !route->gateway.s_addr)
        return;
    routes->at = mem_resize(routes->at, routes->count + 1, sizeof *routes->at);
    routes->at[routes->count++] = *route;
}

static void delete_peer_routes(const struct net_config *config, int *result, struct err **err)
{
    struct own_routes routes = {0};
    struct err *error = NULL;
    auto_nl nl = {0};
    if (nl_open(&nl, NETLINK_ROUTE, -1, &error) < 0) {
        *result = err_move(err, &error);
        return;
    }
    int failed = nl_route_each(&nl, collect_own, &routes);
    for (size_t i = 0; !failed && i < routes.count; i++) {
        if (net_cidr_contains(&config->cluster_range, routes.at[i].destination.address))
            failed = nl_route_delete(&nl, &routes.at[i]);
    }
    free(routes.at);
    if (failed)
        *result = err_errno(err, failed, "deleting routes to other nodes");
}

static void delete_table(const struct net_config *config, int *result, struct err **err)
{
    struct err *error = NULL;
    auto_str text = {0};
    struct nft *nft = nft_new(config->table, &error);
    /* add before delete: deleting what is not there would fail */
    str_addf(&text, "add table ip %s\ndelete table ip %s\n", config->table, config->table);
    if (!nft || nft_run(nft, str_c(&text), &error) < 0)
        *result = err_move(err, &error);
    nft_free(nft);
}

int net_linux_shutdown(const struct net_config *config, struct err **err)
{
    int result = 0;
    struct err *error = NULL;
    if (config->directory && resolver_shutdown(config, &error) < 0)
        result = err_move(err, &error);
    delete_table(config, &result, err);
    delete_pod_links(&result, err);
    delete_peer_routes(config, &result, err);
    delete_link(NET_VXLAN_LINK, &result, err);
    delete_link(config->bridge, &result, err);
    return result;
}
