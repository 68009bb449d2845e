/*
 * netlink: rtnetlink operations that the agent and the single-VM cluster need; no `ip` process. Synchronous,
 * thread-safe (a socket per call). "Already so" is success for every ensure_ and delete_ call. netns_fd -1:
 * the caller's namespace. Source: rtnetlink(7), linux/if_link.h.
 */
#ifndef M8_NET_NETLINK_H
#define M8_NET_NETLINK_H

#include <netinet/in.h>

#include "base/err.h"
#include "base/mem.h"

/* Addresses in this folder are IPv4, network byte order in struct in_addr. */
struct net_cidr {
    struct in_addr address;
    unsigned prefix;
};
int net_cidr_parse(const char *text, struct net_cidr *cidr, struct err **err);
bool net_cidr_contains(const struct net_cidr *cidr, struct in_addr address);

/* Named namespaces are bind mounts of /proc/self/ns/net at `path` (any folder). */
int netns_create(const char *path, struct err **err);
int netns_delete(const char *path, struct err **err);
int netns_open(const char *path, struct err **err); /* fd, or -1 */
/* Runs `call` on a fresh thread inside the namespace. */
int netns_run(int netns_fd, int (*call)(void *arg, struct err **err), void *arg, struct err **err);
int netns_enter(int netns_fd, struct err **err); /* the calling thread, for good */
/* A TCP socket (not blocking) that belongs to the namespace, wherever it is used; fd, or -1. */
int netns_socket(int netns_fd, struct err **err);

int netlink_ensure_bridge(int netns_fd, const char *name, unsigned mtu, struct err **err);
/* A pair, `name` in netns_fd and `peer` in peer_netns_fd, both up and passing packets. */
int netlink_ensure_veth(int netns_fd, const char *name, int peer_netns_fd, const char *peer, unsigned mtu,
                        struct err **err);
int netlink_ensure_vxlan(int netns_fd, const char *name, unsigned id, struct in_addr local, unsigned port,
                         unsigned mtu, struct err **err);
int netlink_set_master(int netns_fd, const char *name, const char *bridge, bool hairpin,
                       struct err **err); /* NULL: none */
int netlink_set_up(int netns_fd, const char *name, bool up, struct err **err);
int netlink_set_mac(int netns_fd, const char *name, const unsigned char mac[6], struct err **err);
int netlink_ensure_address(int netns_fd, const char *name, const struct net_cidr *address, struct err **err);
int netlink_delete_address(int netns_fd, const char *name, const struct net_cidr *address, struct err **err);
/* gateway.s_addr 0: on-link; name NULL: found by the gateway. */
int netlink_ensure_route(int netns_fd, const struct net_cidr *destination, struct in_addr gateway,
                         const char *name, struct err **err);
int netlink_delete_route(int netns_fd, const struct net_cidr *destination, struct err **err);
int netlink_ensure_fdb(int netns_fd, const char *name, const unsigned char mac[6], struct in_addr remote,
                       struct err **err);
int netlink_ensure_neighbour(int netns_fd, const char *name, struct in_addr address,
                             const unsigned char mac[6], struct err **err);
int netlink_delete_link(int netns_fd, const char *name, struct err **err);
bool netlink_link_exists(int netns_fd, const char *name);
bool netlink_link_is_up(int netns_fd, const char *name); /* administratively; false if there is none */
/* Names of links whose name begins with prefix; NULL-terminated, one allocation. */
char **netlink_list_links(int netns_fd, const char *prefix, size_t *count, struct err **err);
/* First IPv4 address of a link; ERR_NOT_FOUND. */
int netlink_get_address(int netns_fd, const char *name, struct net_cidr *address, struct err **err);
/* The address that this machine has on `name`, or (NULL) on the link of its default route. ERR_NOT_FOUND:
 * there is no such link, route or address. */
int netlink_own_address(const char *name, struct in_addr *address, struct err **err);
/* True if any address or route on this machine (caller's namespace) overlaps the range. */
bool netlink_range_used(const struct net_cidr *range);
/* Programs behind `source` reach what this namespace (the caller's) reaches, by its addresses; not what
 * leaves through `except` (their own bridge). One nftables table of that name. */
int net_masquerade(const char *table, const struct net_cidr *source, const char *except, struct err **err);
int net_masquerade_delete(const char *table, struct err **err);
int net_sysctl(int netns_fd, const char *path, const char *value,
               struct err **err); /* "net/ipv4/ip_forward" */

#endif
