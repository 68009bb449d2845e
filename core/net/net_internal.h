/*
 * net_internal: the parts of the Linux implementation and what they share. Private to core/net.
 */
#ifndef M8_NET_NET_INTERNAL_H
#define M8_NET_NET_INTERNAL_H

#include <arpa/inet.h>
#include <stdatomic.h>

#include "base/map.h"
#include "base/str.h"
#include "net/net.h"
#include "net/netlink_internal.h"

/* ---- nftables text and listing (nft.c) ---- */
struct nft;
struct nft *nft_new(const char *table, struct err **err); /* in the caller's namespace */
void nft_free(struct nft *nft);
int nft_run(struct nft *nft, const char *commands, struct err **err); /* one transaction */
const char *nft_table(const struct nft *nft);
/* One element of a map: key and data as the kernel holds them; chain: where the data is a jump. */
typedef void nft_element(void *arg, const unsigned char *key, size_t key_len, const unsigned char *data,
                         size_t data_len, const char *chain);
/* Calls each for every element; ERR_NOT_FOUND if there is no such table or map. */
int nft_list(struct nft *nft, const char *map, nft_element *each, void *arg, struct err **err);

/* Which table this is: one that was deleted and made again has another handle. 0, or errno (ENOENT: there is
 * none). */
int nft_table_handle(struct nl *nl, const char *table, uint64_t *handle);

/* ---- chains of others (nft_foreign.c) ---- */
#define NFT_FOREIGN_COMMENT "minik8s" /* of a rule that lets pods through such a chain */
/* Those that drop what pods send or get: [{family, table, chain, hook: forward or input}]; NULL: error. */
cJSON *nft_foreign_drops(struct nl *nl, struct err **err);
char *nft_foreign_remedy(const cJSON *chain, const char *range); /* a command; range: of all pods */

/* ---- base table (nft_base.c): pure rendering ---- */
void nft_base_render(struct str *out, const struct net_config *config);

/* Packet marks between two of our own hooks: the top byte tells them from everybody else's. */
#define MARK_BASE 0x6d000000u
#define MARK_STICKY 0x6d800000u /* | 23 bits that name an endpoint of an affinity port */
#define MARK_HAIRPIN 0x6dffffffu
#define MARK_REFUSE 0x6dfffffeu

/* ---- Service table (services.c, services_pick.c) ---- */
struct flow_target { /* flows to forget: those whose original destination was this and that went to `endpoint`
                      */
    struct in_addr address;
    uint8_t protocol;
    uint16_t port;
    struct net_endpoint endpoint; /* address 0: those that were not translated */
};
struct flow_targets {
    struct flow_target *at;
    size_t count, capacity;
};
void flow_targets_add(struct flow_targets *targets, const struct flow_target *target);

struct services;
struct services *services_new(void);
void services_free(struct services *services);
void services_forget_kernel(
    struct services *services); /* the next apply lists the kernel's table and repairs */
bool services_loaded(const struct services *services);
/* complete: what is not in changes goes. Adds to `stale` what conntrack should forget. */
int services_apply(struct services *services, struct nft *nft, const struct net_service *changes,
                   size_t count, bool complete, struct flow_targets *stale, struct err **err);
size_t services_count(const struct services *services);
size_t services_elements(const struct services *services);

/* How an endpoint is picked: one chain per distinct (balance, count, affinity, lane). */
struct pick {
    enum net_balance balance;
    unsigned count, affinity_seconds, lane;
    uint32_t mark;
    unsigned refs;
    bool in_kernel;
    char name[48];
};
struct picks {
    struct map by_name;
    uint32_t last_mark;
};
void picks_init(struct picks *picks);
void picks_fini(struct picks *picks);
struct pick *picks_take(struct picks *picks, const struct net_service_port *port); /* a reference */
void picks_release(struct pick *pick);
/* Text that makes the chains which are referenced and not in the kernel; `sent` marks them as being there. */
void picks_render_new(struct picks *picks, const char *table, struct str *out);
void picks_sent(struct picks *picks);
/* Reads the kernel's picks, takes over their marks, renders repairs and the deletion of unused ones: the
 * latter must follow the elements. */
int picks_resync(struct picks *picks, struct nft *nft, struct str *before, struct str *after,
                 struct err **err);

/* ---- conntrack (conntrack.c) ---- */
/* Each walks the namespace's flows once and deletes the matching ones; returns their number or -1. */
int conntrack_forget_targets(const struct flow_targets *targets, struct err **err);
int conntrack_forget_range(const struct net_cidr *range,
                           struct err **err); /* either end of the flow in the range */

/* ---- pods (net_pod.c) ---- */
struct net_linux;
int net_pod_attach(struct net_linux *net, const struct net_pod *pod, struct err **err);
int net_pod_detach(struct net_linux *net, const char *uid, struct in_addr address, struct err **err);
int net_pods_keep(struct net_linux *net, const char *const *uids, size_t count, struct err **err);
#define NET_POD_LINK 14
void net_pod_link(const char *uid, char name[NET_POD_LINK]); /* "m8" and 11 hex digits */
bool net_is_pod_link(const char *name);

/* ---- other nodes (net_peers.c) ---- */
int net_peers_apply(struct net_linux *net, enum net_routing routing, const struct net_peer *peers,
                    size_t count, struct err **err);

/* ---- resolver (resolver.c) ---- */
struct resolver;
struct resolver *resolver_new(const struct net_config *config);
int resolver_setup(struct resolver *resolver,
                   struct err **err); /* any thread; the helper starts on the loop */
int resolver_names(struct resolver *resolver, const struct net_names *changes, size_t count,
                   struct err **err);
int resolver_names_all(struct resolver *resolver, const struct net_names *names, size_t count,
                       struct err **err);
cJSON *resolver_state(struct resolver *resolver);
void resolver_free(struct resolver *resolver); /* on the loop's thread */
int resolver_shutdown(const struct net_config *config, struct err **err);

/* ---- what others take away (net_watch.c) ---- */
struct net_watch;
struct net_watch *net_watch_new(const struct net_linux *net, net_lost *on_lost, void *arg, struct err **err);
void net_watch_free(struct net_watch *watch);

/* ---- the whole ---- */
struct net_linux {
    struct net net;
    struct net_config config; /* strings are own copies */
    struct nl nl, netfilter;  /* rtnetlink and nfnetlink, this namespace */
    struct nft *nft;
    struct services *services;
    struct resolver *resolver; /* NULL: none configured */
    size_t n_peers;            /* as applied last */
    struct net_watch *watch;   /* on the loop's thread, which reads the two that follow */
    atomic_ullong table;       /* handle of our nftables table; 0: not known */
    atomic_int uplink;         /* index of the link that has the node's address; 0: not known */
    unsigned mtu;              /* of the uplink */
    bool tunnel_used;          /* by some peer: pods' packets must leave room for its header */
    bool is_set_up, warned;
};
unsigned net_pod_mtu(const struct net_linux *net);
struct in_addr net_gateway(const struct net_cidr *range); /* the first address */
#define NET_VXLAN_LINK "m8vx"
#define NET_VXLAN_ID 109
#define NET_VXLAN_PORT 4789
#define NET_VXLAN_OVERHEAD 50

#endif
