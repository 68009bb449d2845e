/*
 * cluster_network: bridge, namespaces and links of a single-VM cluster.
 * Keeps no state of its own: the bridge's address is the cluster's range. Invariant: two clusters that are
 * created at the same time in one namespace do not get the same range.
 */
#include "cmd/minik8s/cluster_network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

#define FIRST_NET 100u
#define NETS 100u /* 10.100.x.0/24 .. 10.199.x.0/24 */
#define LAST_INDEX 250u
#define HOST 254u
#define NODE_END "eth0"

static void name_network(const char *directory, struct cluster_network *network)
{
    unsigned long long hash = str_hash(directory, strlen(directory));
    *network = (struct cluster_network){0};
    snprintf(network->prefix, sizeof network->prefix, "m8c%06llx", hash >> 40);
    snprintf(network->bridge, sizeof network->bridge, "%sbr", network->prefix);
}

static void name_link(const struct cluster_network *network, unsigned index, char name[16])
{
    snprintf(name, 16, "%sn%u", network->prefix, index);
}

static struct in_addr address_in(const struct cluster_network *network, unsigned index)
{
    return (struct in_addr){htonl((ntohl(network->range.address.s_addr) & ~0xffu) | index)};
}

static void take_address(struct cluster_network *network, const struct net_cidr *address)
{
    network->range = (struct net_cidr){{htonl(ntohl(address->address.s_addr) & ~0xffu)}, 24};
    network->host = address->address;
}

int cluster_network_find(const char *directory, struct cluster_network *network, struct err **err)
{
    struct net_cidr address;
    name_network(directory, network);
    if (netlink_get_address(-1, network->bridge, &address, err) < 0)
        return err_wrap(err, "network of the cluster in %s", directory);
    take_address(network, &address);
    return 0;
}

/* Searches from a place that the directory decides, so that a cluster tends to get its range again. */
static int find_range(const char *directory, struct cluster_network *network, struct err **err)
{
    uint32_t start = (uint32_t)(str_hash(directory, strlen(directory)) % (NETS * 256));
    for (uint32_t i = 0; i < NETS * 256; i++) {
        uint32_t candidate = (start + i) % (NETS * 256);
        struct net_cidr range = {{htonl((10u << 24) + (FIRST_NET << 16) + (candidate << 8))}, 24};
        if (netlink_range_used(&range))
            continue;
        network->range = range;
        network->host = address_in(network, HOST);
        return 0;
    }
    return err_set(err, ERR_UNAVAILABLE, "no free range in 10.%u-%u.x.0/24", FIRST_NET, FIRST_NET + NETS - 1);
}

static int create_locked(const char *directory, struct cluster_network *network, struct err **err)
{
    if (netlink_ensure_bridge(-1, network->bridge, 0, err) < 0)
        return -1;
    struct err *error = NULL;
    if (cluster_network_find(directory, network, &error) == 0)
        return 0;
    if (err_code(error) != ERR_NOT_FOUND)
        return err_move(err, &error);
    err_free(error);
    if (find_range(directory, network, err) < 0)
        return -1;
    const struct net_cidr host = {network->host, 24};
    return netlink_ensure_address(-1, network->bridge, &host, err);
}

int cluster_network_create(const char *directory, struct cluster_network *network, struct err **err)
{
    /* The namespace itself is the lock: all that search in it see the same file. */
    auto_fd lock = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        return err_errno(err, errno, "locking the network namespace");
    name_network(directory, network);
    if (create_locked(directory, network, err) < 0)
        return err_wrap(err, "creating the network of the cluster in %s", directory);
    return 0;
}

int cluster_network_attach_node(const struct cluster_network *network, unsigned index, const char *netns_path,
                                struct in_addr *address, struct err **err)
{
    char link[16];
    const struct net_cidr everything = {{0}, 0};
    if (index < 1 || index > LAST_INDEX)
        return err_set(err, ERR_INVALID, "node number %u is not between 1 and %u", index, LAST_INDEX);
    const struct net_cidr own = {address_in(network, index), 24};
    name_link(network, index, link);
    if (netns_create(netns_path, err) < 0)
        return -1;
    auto_fd netns = netns_open(netns_path, err);
    if (netns < 0 || netlink_set_up(netns, "lo", true, err) < 0 ||
        netlink_ensure_veth(-1, link, netns, NODE_END, 0, err) < 0 ||
        netlink_set_master(-1, link, network->bridge, false, err) < 0 ||
        netlink_ensure_address(netns, NODE_END, &own, err) < 0 ||
        netlink_ensure_route(netns, &everything, network->host, NODE_END, err) < 0)
        return err_wrap(err, "attaching node %u to %s", index, network->bridge);
    *address = own.address;
    return 0;
}

int cluster_network_cut(const struct cluster_network *network, unsigned index, struct err **err)
{
    char link[16];
    name_link(network, index, link);
    return netlink_set_up(-1, link, false, err);
}

int cluster_network_heal(const struct cluster_network *network, unsigned index, struct err **err)
{
    char link[16];
    name_link(network, index, link);
    return netlink_set_up(-1, link, true, err);
}

bool cluster_network_is_cut(const struct cluster_network *network, unsigned index)
{
    char link[16];
    name_link(network, index, link);
    return netlink_link_exists(-1, link) && !netlink_link_is_up(-1, link);
}

int cluster_network_detach_node(const struct cluster_network *network, unsigned index, const char *netns_path,
                                struct err **err)
{
    char link[16];
    name_link(network, index, link);
    if (netlink_delete_link(-1, link, err) < 0)
        return -1;
    return netns_delete(netns_path, err);
}

int cluster_network_route(const struct cluster_network *network, const struct net_cidr *range,
                          struct in_addr via, struct err **err)
{
    return netlink_ensure_route(-1, range, via, network->bridge, err);
}

static char *read_forwarding(const char *path, struct err **err)
{
    char *text;
    size_t length;
    if (file_read(path, 64, &text, &length, err) < 0)
        return NULL;
    text[strcspn(text, "\n")] = 0;
    return text;
}

int cluster_network_open_outside(const struct cluster_network *network, const char *directory,
                                 struct err **err)
{
    auto_free char *saved = file_join(directory, "ip_forward");
    if (!file_exists(saved)) {
        auto_free char *now = read_forwarding("/proc/sys/net/ipv4/ip_forward", err);
        if (!now || file_write_durable(saved, now, strlen(now), 0644, err) < 0)
            return -1;
    }
    if (net_sysctl(-1, "net/ipv4/ip_forward", "1", err) < 0)
        return -1;
    return net_masquerade(network->prefix, &network->range, network->bridge, err);
}

/* Another cluster may still need forwarding; the last one restores what it found. */
static int close_outside(const char *directory, const struct cluster_network *network, struct err **err)
{
    size_t others;
    auto_free char *saved = file_join(directory, "ip_forward");
    if (!file_exists(saved))
        return 0;
    auto_free char *before = read_forwarding(saved, err);
    auto_free char **links = netlink_list_links(-1, "m8c", &others, err);
    if (!before || !links || net_masquerade_delete(network->prefix, err) < 0)
        return -1;
    if (others == 0 && net_sysctl(-1, "net/ipv4/ip_forward", before, err) < 0)
        return -1;
    return unlink(saved) < 0 ? err_errno(err, errno, "removing %s", saved) : 0;
}

int cluster_network_destroy(const char *directory, struct err **err)
{
    struct cluster_network network;
    size_t count;
    int result = 0;
    name_network(directory, &network);
    auto_free char **links = netlink_list_links(-1, network.prefix, &count, err);
    if (!links)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct err *error = NULL;
        if (netlink_delete_link(-1, links[i], &error) < 0)
            result = err_move(err, &error);
    }
    return result < 0 ? result : close_outside(directory, &network, err);
}
