/*
 * net: the network of one node, behind a vtable: pod interfaces, routes to other nodes, the Service table in
 * nftables, stale flows, resolver files. net_linux_new is the real one; test/support has a fake with a
 * reachability model.
 *
 * Calls are synchronous and run on the agent's worker pool, one at a time per node. All are idempotent: they
 * describe what should be, the implementation knows or finds out what is, and changes only the difference
 * (contract 23).
 */
#ifndef M8_NET_NET_H
#define M8_NET_NET_H

#include "base/json.h"
#include "loop/loop.h"
#include "net/netlink.h"

/* How other nodes' pods are reached: by routes where the node is on the same network and through a tunnel
 * where a router lies between (AUTO), by routes only, or through the tunnel always. */
enum net_routing { NET_ROUTING_AUTO, NET_ROUTING_ROUTES, NET_ROUTING_VXLAN };

struct net_config {
    const char *directory; /* node's folder: resolver files, pid files */
    const char
        *table; /* nftables table name, e.g. "minik8s" (per network namespace, so it may be constant) */
    const char *bridge;            /* pod bridge, e.g. "m8pods" */
    struct net_cidr pod_range;     /* this node's, e.g. 10.244.1.0/24; .1 is the bridge */
    struct net_cidr cluster_range; /* all pods */
    struct net_cidr service_range;
    struct in_addr node_address;
    struct in_addr dns_address; /* of the resolver: an address on the bridge, local to the node */
    struct in_addr dns_spare;   /* of a second one that answers while the first is away; 0: none */
    const char *cluster_domain; /* "cluster.local" */
    const char
        *resolv_conf; /* whose servers are asked for names from outside; NULL: none, they get REFUSED */
    unsigned mtu;     /* 0: the uplink's */
    enum net_routing routing; /* until `peers` says otherwise */
    struct loop *loop;        /* for the resolver's helper and `watch` */
};

struct net_pod {
    const char *uid; /* identity; the host-side interface name is derived from it */
    int pid;         /* of the sandbox */
    struct in_addr address;
};

/* Another node's pods. */
struct net_peer {
    char name[64];
    struct in_addr node_address;
    struct net_cidr pod_range;
    unsigned char vxlan_mac[6];
};

enum net_balance { NET_BALANCE_RANDOM, NET_BALANCE_ROUND_ROBIN, NET_BALANCE_SOURCE_HASH };

struct net_endpoint {
    struct in_addr address;
    uint16_t port; /* host byte order */
};
/* One virtual (address, protocol, port). No endpoints: refused at once (TCP RST, ICMP port unreachable). */
struct net_service_port {
    struct in_addr address;
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
    uint16_t port;
    enum net_balance balance;
    uint32_t affinity_seconds;            /* 0: none */
    const struct net_endpoint *endpoints; /* one that is listed n times gets n times the share */
    size_t n_endpoints;
    bool foreign; /* neither in the Service range nor the node's: refused here while it has no endpoint */
};
/* All ports of one Service, replacing what was there for `key` ("namespace/name"). No ports: the Service is
 * gone. */
struct net_service {
    const char *key;
    const struct net_service_port *ports;
    size_t n_ports;
};
/* Addresses of one name set, replacing what was there for `key`. No records: gone. */
struct net_name {
    const char *name; /* full: web.default.svc.cluster.local; *.DOMAIN: each name with one label more */
    struct in_addr address;
    /* Instead of an address: another name that this one stands for (CNAME; A records of the same key and name
     * are what a name from outside has), or, with a port, where a service is (SRV). */
    const char *target;
    uint16_t port;
};
struct net_names {
    const char *key;
    const struct net_name *records;
    size_t n_records;
    bool keep; /* nothing new is known: what is there stays, also in a complete list */
};

/* what: for people. */
typedef void net_lost(void *arg, const char *what);

struct net;
struct net_ops {
    /* Bridge, forwarding, base table and resolver, as the config says; run first, and again after any error.
     */
    int (*setup)(struct net *net, struct err **err);
    int (*pod_attach)(struct net *net, const struct net_pod *pod, struct err **err);
    int (*pod_detach)(struct net *net, const char *uid, struct in_addr address, struct err **err);
    /* Removes interfaces of pods that are not in the list (agent start). */
    int (*pods_keep)(struct net *net, const char *const *uids, size_t count, struct err **err);
    /* ERR_UNAVAILABLE: some peer cannot be reached; the others are served. */
    int (*peers)(struct net *net, enum net_routing routing, const struct net_peer *peers, size_t count,
                 struct err **err);
    /* Applies the changes in one nftables transaction, then removes stale flows of endpoints that went. */
    int (*services)(struct net *net, const struct net_service *changes, size_t count, struct err **err);
    /* The same with the complete list: what is not in it goes (agent start: lists the kernel's table once).
     */
    int (*services_all)(struct net *net, const struct net_service *services, size_t count, struct err **err);
    int (*names)(struct net *net, const struct net_names *changes, size_t count, struct err **err);
    int (*names_all)(struct net *net, const struct net_names *names, size_t count, struct err **err);
    /* From now on on_lost hears, on the loop's thread, when somebody else took away what setup, peers or
     * pod_attach made: each of them is to be called again. NULL: nobody listens any more. */
    void (*watch)(struct net *net, net_lost *on_lost, void *arg);
    /* {links, services, elements, resolver:{pids}} for doctor and debugging. */
    cJSON *(*state)(struct net *net);
    void (*free)(struct net *net); /* everything stays in force; helpers go on */
};
struct net {
    const struct net_ops *ops;
};

struct net *net_linux_new(const struct net_config *config, struct err **err);
/* Takes everything back that net_linux made in this namespace (table, links, resolver). Blocking; for
 * commands only. */
int net_linux_shutdown(const struct net_config *config, struct err **err);
cJSON *net_linux_doctor(void); /* list of {check, ok, found, remedy} */

/* IPAM: addresses of a range, network, first (gateway) and broadcast addresses left out; next-fit so that an
 * address is not reused at once. In memory; the agent restores it from its pod files. */
struct ipam;
struct ipam *ipam_new(const struct net_cidr *range);
int ipam_take(struct ipam *ipam, struct in_addr *address,
              struct err **err);                              /* ERR_UNAVAILABLE: range exhausted */
bool ipam_reserve(struct ipam *ipam, struct in_addr address); /* false: outside or taken */
void ipam_release(struct ipam *ipam, struct in_addr address);
void ipam_free(struct ipam *ipam);

#endif
