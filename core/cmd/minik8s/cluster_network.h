/*
 * cluster_network: the network of a single-VM cluster: a bridge in the caller's network namespace, one
 * namespace per node (bind-mounted at a path of the caller's choice), a veth pair between them.
 *
 * Names follow from the cluster's directory, so everything is found again without a state file: links begin
 * with network.prefix. All functions are synchronous and may be repeated; "already so" is success. No `ip`
 * process.
 */
#ifndef M8_CMD_CLUSTER_NETWORK_H
#define M8_CMD_CLUSTER_NETWORK_H

#include "net/netlink.h"

struct cluster_network {
    char prefix[10]; /* "m8c" and 6 hex digits of the directory's hash */
    char bridge[16];
    struct net_cidr range; /* /24; node N has address .N (1..250) */
    struct in_addr host;   /* the VM's own address on the bridge: .254, the nodes' default gateway */
};

/* The bridge with an address in a range that nothing on this machine uses (10.100-199.x.0/24), or the one
 * that is there already. directory: an absolute path, also while it does not exist. ERR_UNAVAILABLE: no free
 * range. */
int cluster_network_create(const char *directory, struct cluster_network *network, struct err **err);
/* The network of that directory as it is; ERR_NOT_FOUND. */
int cluster_network_find(const char *directory, struct cluster_network *network, struct err **err);
/* Namespace at netns_path, eth0 inside with *address = range.N, default route, lo; heals a cut.
 * index: 1..250. */
int cluster_network_attach_node(const struct cluster_network *network, unsigned index, const char *netns_path,
                                struct in_addr *address, struct err **err);
/* The node neither sends nor receives; its addresses, routes and processes stay. */
int cluster_network_cut(const struct cluster_network *network, unsigned index, struct err **err);
int cluster_network_heal(const struct cluster_network *network, unsigned index, struct err **err);
bool cluster_network_is_cut(const struct cluster_network *network, unsigned index);
/* Removes link and namespace name; the namespace ends with its last process. */
int cluster_network_detach_node(const struct cluster_network *network, unsigned index, const char *netns_path,
                                struct err **err);
/* Lets the VM's own programs reach a range (pods, Services) through a node. Goes with the bridge. */
int cluster_network_route(const struct cluster_network *network, const struct net_cidr *range,
                          struct in_addr via, struct err **err);
/* Lets nodes and their pods reach what the VM reaches, by the VM's addresses. Turns forwarding on in the VM;
 * how it was is kept in directory/ip_forward, and destroy restores it. */
int cluster_network_open_outside(const struct cluster_network *network, const char *directory,
                                 struct err **err);
/* Removes every link of the directory's prefix and what cluster_network_open_outside did. Namespaces are the
 * caller's to detach (or netns_delete). */
int cluster_network_destroy(const char *directory, struct err **err);

#endif
