/*
 * netlink_internal: what the files of core/net share about netlink sockets and messages. Private to the
 * folder.
 */
#ifndef M8_NET_NETLINK_INTERNAL_H
#define M8_NET_NETLINK_INTERNAL_H

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include "net/netlink.h"

/* Marks the routes that are ours (rtm_protocol; numbers below 128 are free for programs that ask nobody). */
#define NETLINK_ROUTE_PROTOCOL 109

struct nl {
    struct mnl_socket *socket;
    unsigned sequence, port;
};
int nl_open(struct nl *nl, int bus, int netns_fd, struct err **err);
void nl_close(struct nl *nl); /* a zeroed or closed one is fine */
#define auto_nl __attribute__((cleanup(nl_close))) struct nl

struct nl_message {
    char data[2048];
    struct nlmsghdr *header;
};
/* Starts a message; returns its zeroed extra header of `size` bytes. */
void *nl_begin(struct nl_message *message, uint16_t type, uint16_t flags, size_t size);
/* Sends, waits for the acknowledgement (or the end of the dump). Returns 0 or the kernel's errno; `each` may
 * be NULL.
 */
int nl_call(struct nl *nl, struct nl_message *message, mnl_cb_t each, void *arg);

/* A link as the kernel describes it. */
struct nl_link {
    int index, peer_index, master;
    unsigned flags, mtu;
    bool
        running; /* both ends up, and the kernel has let its queue go: before, packets are dropped silently */
    char name[16], kind[16];
    unsigned char mac[6];
    struct nl_vxlan {
        uint32_t id;
        struct in_addr local;
        uint16_t port;
    } vxlan; /* where that is its kind */
};
/* 0, or errno (ENODEV: there is none). */
int nl_link_get(struct nl *nl, const char *name, struct nl_link *link);
int nl_link_index(struct nl *nl, const char *name, struct err **err); /* > 0, or -1 */
int nl_link_at(struct nl *nl, int index, struct nl_link *link);       /* 0, or errno */

/* One end of a pair and what it shall have; mac NULL: the kernel's choice. */
struct nl_veth_end {
    const char *name;
    const unsigned char *mac;
};
/* Makes the pair, the peer inside peer_netns_fd; both down. EEXIST if either name is taken. */
int nl_veth_create(struct nl *nl, const struct nl_veth_end *end, const struct nl_veth_end *peer,
                   int peer_netns_fd, unsigned mtu);
int nl_link_up(struct nl *nl, int index, bool up);
int nl_link_delete(struct nl *nl, int index);
/* Waits until the link is running: the kernel does that in a work item of its own, some time after "up". */
int nl_link_wait(struct nl *nl, int netns_fd, int index, int timeout_ms);

struct nl_route {
    struct net_cidr destination;
    struct in_addr gateway, source; /* 0: none */
    int index;                      /* 0: found by the gateway */
    bool onlink;                    /* the gateway need not be in a connected range */
    unsigned mtu;                   /* 0: the link's */
    uint8_t protocol;               /* filled by dumps; NETLINK_ROUTE_PROTOCOL is written always */
};
/* What an announcement says. */
void nl_link_read(const struct nlmsghdr *header, struct nl_link *link);
void nl_route_read(const struct nlmsghdr *header, struct nl_route *route);
int nl_address_read(const struct nlmsghdr *header,
                    struct net_cidr *address); /* the link's index; 0: it is not IPv4 */
int nl_route_replace(struct nl *nl, const struct nl_route *route);
int nl_route_delete(struct nl *nl, const struct nl_route *route); /* index and gateway 0: any */
/* Routes of the main table. */
int nl_route_each(struct nl *nl, void (*each)(void *arg, const struct nl_route *route), void *arg);
/* How a packet to `to` would leave: 0 or errno. */
int nl_route_to(struct nl *nl, struct in_addr to, struct nl_route *route);
int nl_address_add(struct nl *nl, int index, const struct net_cidr *address);
int nl_neighbour_replace(struct nl *nl, int index, struct in_addr address, const unsigned char mac[6]);
/* Addresses of all links. */
int nl_address_each(struct nl *nl, void (*each)(void *arg, int index, const struct net_cidr *address),
                    void *arg);

#endif
