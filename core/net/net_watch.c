/*
 * net_watch: notices what others take away: our nftables table (`nft flush ruleset`), routes, the node's
 * address, the uplink that went down and is up again. Says so and repairs nothing. Invariant: a filter in the
 * kernel drops all announcements but the few kinds that may matter, so that a busy table of somebody else's
 * or a router's routes cost nothing; of a foreign nftables transaction arrives one message, whatever its
 * size.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stddef.h>
#include <sys/epoll.h>

#include "net/net_internal.h"

#define RECEIVE_BYTES 16384
#define ROUNDS 64 /* of reading, before others on the loop have their turn */

struct net_watch {
    const struct net_linux *net;
    net_lost *on_lost;
    void *arg;
    struct nl links, tables, query;
    struct loop_fd *links_fd, *tables_fd;
    bool uplink_down;
    const char *lost; /* found while reading */
};

/* ---- what is let through ---- */

#define LOAD_TYPE BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type))
#define IS(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise)
#define TAKE BPF_STMT(BPF_RET | BPF_K, 0xffffffff)
#define DROP BPF_STMT(BPF_RET | BPF_K, 0)

static int filter(struct nl *nl, const struct sock_filter *code, size_t count)
{
    const struct sock_fprog program = {(unsigned short)count, (struct sock_filter *)(uintptr_t)code};
    return setsockopt(mnl_socket_get_fd(nl->socket), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static int join(struct nl *nl, int group)
{
    return mnl_socket_setsockopt(nl->socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof group);
}

/* The end of each transaction: what it did is asked for. */
static int listen_tables(struct nl *nl)
{
    const struct sock_filter code[] = {
        LOAD_TYPE,
        IS(htons(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN), 0, 1),
        TAKE,
        DROP,
    };
    return filter(nl, code, COUNT_OF(code)) < 0 ? -1 : join(nl, NFNLGRP_NFTABLES);
}

static int listen_links(struct nl *nl)
{
    const struct sock_filter code[] = {
        LOAD_TYPE,
        IS(htons(RTM_DELADDR), 4, 0),
        IS(htons(RTM_NEWLINK), 3, 0),
        IS(htons(RTM_DELROUTE), 0, 3),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_protocol)),
        IS(NETLINK_ROUTE_PROTOCOL, 0, 1),
        TAKE,
        DROP,
    };
    return filter(nl, code, COUNT_OF(code)) < 0 || join(nl, RTNLGRP_LINK) < 0 ||
                   join(nl, RTNLGRP_IPV4_ROUTE) < 0 || join(nl, RTNLGRP_IPV4_IFADDR) < 0
               ? -1
               : 0;
}

/* ---- what it means ---- */

/* The kernel drops the routes of a link that goes down, and says nothing of them. */
static void on_link(struct net_watch *watch, const struct nlmsghdr *header)
{
    struct nl_link link;
    nl_link_read(header, &link);
    if (link.index != atomic_load(&watch->net->uplink))
        return;
    bool down = !(link.flags & IFF_UP);
    if (watch->uplink_down && !down)
        watch->lost = "the link of the node's address was down";
    watch->uplink_down = down;
}

/* Not by this agent: it takes routes away through one socket. */
static void on_route(struct net_watch *watch, const struct nlmsghdr *header)
{
    const struct net_config *config = &watch->net->config;
    struct nl_route route;
    nl_route_read(header, &route);
    if (header->nlmsg_pid != watch->net->nl.port && route.destination.prefix &&
        (net_cidr_contains(&config->cluster_range, route.destination.address) ||
         net_cidr_contains(&config->service_range, route.destination.address)))
        watch->lost = "a route to pods or Services was deleted";
}

static void on_address(struct net_watch *watch, const struct nlmsghdr *header)
{
    struct net_cidr address;
    if (nl_address_read(header, &address) && address.address.s_addr == watch->net->config.node_address.s_addr)
        watch->lost = "the node's address was deleted";
}

static int on_message(const struct nlmsghdr *header, void *arg)
{
    if (header->nlmsg_type == RTM_NEWLINK)
        on_link(arg, header);
    else if (header->nlmsg_type == RTM_DELROUTE)
        on_route(arg, header);
    else if (header->nlmsg_type == RTM_DELADDR)
        on_address(arg, header);
    return MNL_CB_OK;
}

/* Reads what is there. False: some was dropped, as it came faster than it was read. */
static bool read_all(struct nl *nl, mnl_cb_t each, void *arg)
{
    char buffer[RECEIVE_BYTES];
    bool complete = true;
    for (int i = 0; i < ROUNDS; i++) {
        ssize_t got = recv(mnl_socket_get_fd(nl->socket), buffer, sizeof buffer, MSG_DONTWAIT);
        if (got < 0 && errno == ENOBUFS)
            complete = false;
        else if (got < 0)
            break;
        else if (each)
            mnl_cb_run(buffer, (size_t)got, 0, 0, each, arg);
    }
    return complete;
}

static void tell(struct net_watch *watch)
{
    const char *lost = watch->lost;
    watch->lost = NULL;
    if (lost)
        watch->on_lost(watch->arg, lost);
}

static void on_links(void *arg, unsigned events UNUSED)
{
    struct net_watch *watch = arg;
    if (!read_all(&watch->links, on_message, watch))
        watch->lost = "announcements of links and routes were missed";
    tell(watch);
}

static void on_tables(void *arg, unsigned events UNUSED)
{
    struct net_watch *watch = arg;
    uint64_t handle, known = atomic_load(&watch->net->table);
    read_all(&watch->tables, NULL, NULL);
    int failed = nft_table_handle(&watch->query, watch->net->config.table, &handle);
    if (known && known == atomic_load(&watch->net->table) &&
        (failed == ENOENT || (!failed && handle != known)))
        watch->lost = "the nftables table was deleted";
    tell(watch);
}

struct net_watch *net_watch_new(const struct net_linux *net, net_lost *on_lost, void *arg, struct err **err)
{
    struct net_watch *watch = NEW(struct net_watch);
    struct loop *loop = net->config.loop;
    *watch = (struct net_watch){.net = net, .on_lost = on_lost, .arg = arg};
    if (nl_open(&watch->links, NETLINK_ROUTE, -1, err) < 0 ||
        nl_open(&watch->tables, NETLINK_NETFILTER, -1, err) < 0 ||
        nl_open(&watch->query, NETLINK_NETFILTER, -1, err) < 0)
        goto failed;
    if (listen_links(&watch->links) < 0 || listen_tables(&watch->tables) < 0) {
        err_errno(err, errno, "listening to announcements of the kernel");
        goto failed;
    }
    watch->links_fd =
        loop_fd_add(loop, mnl_socket_get_fd(watch->links.socket), EPOLLIN, on_links, watch, err);
    watch->tables_fd = watch->links_fd ? loop_fd_add(loop, mnl_socket_get_fd(watch->tables.socket), EPOLLIN,
                                                     on_tables, watch, err)
                                       : NULL;
    if (watch->tables_fd)
        return watch;
failed:
    net_watch_free(watch);
    return NULL;
}

void net_watch_free(struct net_watch *watch)
{
    if (!watch)
        return;
    loop_fd_remove(watch->links_fd);
    loop_fd_remove(watch->tables_fd);
    nl_close(&watch->links);
    nl_close(&watch->tables);
    nl_close(&watch->query);
    free(watch);
}
