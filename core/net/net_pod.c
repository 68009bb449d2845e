/*
 * net_pod: the interface of one pod: a veth pair whose inner end is eth0 with address/32, a default route
 * through the gateway address with a fixed neighbour, and a host route to the outer end. No bridge: see
 * README. Does not choose addresses, does not start anything in the pod. Invariants: names and hardware
 * addresses follow from the uid, so no ARP is needed and a reused address answers at once; each step may be
 * repeated, so a crash between any two is repaired by calling again.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "net/net_internal.h"

#define POD_END "eth0"
#define RUNNING_TIMEOUT_MS 2000

struct attachment {
    struct net_linux *net;
    const struct net_pod *pod;
    int netns_fd;
    struct nl *inner; /* a socket in the pod's namespace */
    char link[NET_POD_LINK];
    unsigned char mac[6], inner_mac[6];
    int index, inner_index;
};

void net_pod_link(const char *uid, char name[NET_POD_LINK])
{
    unsigned long long hash = str_hash(uid, strlen(uid));
    snprintf(name, NET_POD_LINK, "m8%011llx", hash >> 20);
}

bool net_is_pod_link(const char *name)
{
    if (strlen(name) != NET_POD_LINK - 1 || !str_starts(name, "m8"))
        return false;
    for (const char *at = name + 2; *at; at++) {
        if (!isxdigit((unsigned char)*at))
            return false;
    }
    return true;
}

/* 02: locally administered, not a group. */
static void derive_mac(const char *uid, unsigned char first, unsigned char mac[6])
{
    unsigned long long hash = str_hash(uid, strlen(uid));
    mac[0] = first;
    for (int i = 1; i < 6; i++)
        mac[i] = (unsigned char)(hash >> (8 * i));
}

struct address_check {
    int index;
    struct in_addr wanted;
    bool other;
};

static void check_address(void *arg, int index, const struct net_cidr *address)
{
    struct address_check *check = arg;
    if (index == check->index && address->address.s_addr != check->wanted.s_addr)
        check->other = true;
}

/* True if both ends are there, belong together and carry no foreign address. What does not fit is deleted. */
static int find_pair(struct attachment *a, bool *found, struct err **err)
{
    struct nl_link outer, inner;
    struct nl *nl = &a->net->nl;
    *found = false;
    int no_outer = nl_link_get(nl, a->link, &outer), no_inner = nl_link_get(a->inner, POD_END, &inner);
    if ((no_outer && no_outer != ENODEV) || (no_inner && no_inner != ENODEV))
        return err_errno(err, no_outer != ENODEV && no_outer ? no_outer : no_inner, "looking up links");
    if (!no_outer && !no_inner && outer.peer_index == inner.index && inner.peer_index == outer.index &&
        memcmp(inner.mac, a->inner_mac, 6) == 0) {
        struct address_check check = {.index = inner.index, .wanted = a->pod->address};
        int failed = nl_address_each(a->inner, check_address, &check);
        if (failed)
            return err_errno(err, failed, "listing the pod's addresses");
        a->index = outer.index;
        a->inner_index = inner.index;
        *found = !check.other;
        if (*found)
            return 0;
    }
    int failed = no_inner ? 0 : nl_link_delete(a->inner, inner.index);
    if (!failed && !no_outer)
        failed = nl_link_delete(nl, outer.index);
    return failed ? err_errno(err, failed, "deleting a link that does not fit") : 0;
}

static int create_pair(struct attachment *a, struct err **err)
{
    const struct nl_veth_end outer = {a->link, a->mac}, inner = {POD_END, a->inner_mac};
    int failed = nl_veth_create(&a->net->nl, &outer, &inner, a->netns_fd, net_pod_mtu(a->net));
    if (failed)
        return err_errno(err, failed, "creating the veth pair %s", a->link);
    a->index = nl_link_index(&a->net->nl, a->link, err);
    a->inner_index = a->index < 0 ? -1 : nl_link_index(a->inner, POD_END, err);
    return a->inner_index < 0 ? -1 : 0;
}

static int configure_inner(struct attachment *a, struct err **err)
{
    const struct net_cidr address = {a->pod->address, 32};
    const struct in_addr gateway = net_gateway(&a->net->config.pod_range);
    struct nl_route route = {.gateway = gateway, .index = a->inner_index, .onlink = true};
    struct nl_link loopback;
    int failed = nl_link_get(a->inner, "lo", &loopback);
    if (!failed)
        failed = nl_link_up(a->inner, loopback.index, true);
    if (!failed)
        failed = nl_address_add(a->inner, a->inner_index, &address);
    if (!failed)
        failed = nl_link_up(a->inner, a->inner_index, true);
    if (!failed)
        failed = nl_neighbour_replace(a->inner, a->inner_index, gateway, a->mac);
    if (!failed)
        failed = nl_route_replace(a->inner, &route);
    return failed ? err_errno(err, failed, "configuring the pod's end") : 0;
}

static int configure_outer(struct attachment *a, struct err **err)
{
    struct nl *nl = &a->net->nl;
    struct nl_route route = {
        .destination = {a->pod->address, 32}, .source = a->net->config.node_address, .index = a->index};
    /* A strict reverse path check (1) would drop what comes from pods; 2 wins over it, 0 would not. */
    auto_free char *filter = mem_printf("net/ipv4/conf/%s/rp_filter", a->link);
    /* Ports of the node at 127.0.0.1 that lead to this pod: see render_loopback. */
    auto_free char *loopback = mem_printf("net/ipv4/conf/%s/route_localnet", a->link);
    auto_free char *no_ipv6 = mem_printf("net/ipv6/conf/%s/disable_ipv6", a->link);
    auto_free char *no_ipv6_path = mem_printf("/proc/sys/%s", no_ipv6);
    if (net_sysctl(-1, filter, "2", err) < 0 || net_sysctl(-1, loopback, "1", err) < 0)
        return -1;
    if (file_exists(no_ipv6_path) && net_sysctl(-1, no_ipv6, "1", err) < 0)
        return -1;
    int failed = nl_link_up(nl, a->index, true);
    if (!failed)
        failed = nl_neighbour_replace(nl, a->index, a->pod->address, a->inner_mac);
    if (!failed)
        failed = nl_route_replace(nl, &route);
    if (!failed)
        failed = nl_link_wait(a->inner, a->netns_fd, a->inner_index, RUNNING_TIMEOUT_MS);
    if (!failed)
        failed = nl_link_wait(nl, -1, a->index, RUNNING_TIMEOUT_MS);
    return failed ? err_errno(err, failed, "configuring the node's end") : 0;
}

int net_pod_attach(struct net_linux *net, const struct net_pod *pod, struct err **err)
{
    struct attachment a = {.net = net, .pod = pod};
    auto_nl inner = {0};
    auto_free char *path = mem_printf("/proc/%d/ns/net", pod->pid);
    auto_fd netns_fd = netns_open(path, err);
    bool found;
    if (!net_cidr_contains(&net->config.pod_range, pod->address))
        return err_set(err, ERR_INVALID, "pod address %s is not in this node's range",
                       inet_ntoa(pod->address));
    if (netns_fd < 0 || nl_open(&inner, NETLINK_ROUTE, netns_fd, err) < 0)
        return err_wrap(err, "attaching pod %s", pod->uid);
    a.netns_fd = netns_fd;
    a.inner = &inner;
    net_pod_link(pod->uid, a.link);
    derive_mac(pod->uid, 0x02, a.mac);
    derive_mac(pod->uid, 0x06, a.inner_mac);
    if (find_pair(&a, &found, err) < 0 || (!found && create_pair(&a, err) < 0) ||
        configure_inner(&a, err) < 0 || configure_outer(&a, err) < 0)
        return err_wrap(err, "attaching pod %s", pod->uid);
    return 0;
}

int net_pod_detach(struct net_linux *net, const char *uid, struct in_addr address, struct err **err)
{
    struct nl_link link;
    char name[NET_POD_LINK];
    net_pod_link(uid, name);
    int failed = nl_link_get(&net->nl, name, &link);
    if (!failed)
        failed = nl_link_delete(&net->nl, link.index); /* its route and neighbour go with it */
    if (failed && failed != ENODEV)
        return err_errno(err, failed, "detaching pod %s", uid);
    const struct net_cidr range = {address, 32};
    return address.s_addr && conntrack_forget_range(&range, err) < 0 ? -1 : 0;
}

int net_pods_keep(struct net_linux *net, const char *const *uids, size_t count, struct err **err)
{
    auto_map keep = {0};
    char name[NET_POD_LINK];
    size_t n_links;
    for (size_t i = 0; i < count; i++) {
        net_pod_link(uids[i], name);
        map_set(&keep, name, NULL);
    }
    auto_free char **links = netlink_list_links(-1, "m8", &n_links, err);
    if (!links)
        return -1;
    for (size_t i = 0; i < n_links; i++) {
        struct nl_link link;
        if (!net_is_pod_link(links[i]) || map_has(&keep, links[i]) || nl_link_get(&net->nl, links[i], &link))
            continue;
        int failed = nl_link_delete(&net->nl, link.index);
        if (failed)
            return err_errno(err, failed, "deleting link %s", links[i]);
    }
    return 0;
}
