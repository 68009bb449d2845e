/*
 * fake_net: the networks of all nodes of a simulated cluster, behind struct net_ops, with a model of who
 * reaches whom. What is in force survives the agent (as links and nftables do): a new handle for the same
 * node finds it. Loop thread only (simulations run the pool inline).
 */
#ifndef M8_TEST_SUPPORT_FAKE_NET_H
#define M8_TEST_SUPPORT_FAKE_NET_H

#include "base/random.h"
#include "net/net.h"

struct fake_world;
struct fake_world *fake_world_new(const struct random *random);
void fake_world_free(struct fake_world *world); /* after all nets */
/* pod_range as "10.244.1.0/24", address the node's. */
struct net *fake_net_new(struct fake_world *world, const char *node, const char *address,
                         const char *pod_range);

/* The next `count` calls on this node fail. */
void fake_world_fail(struct fake_world *world, const char *node, unsigned count);
/* Somebody else deletes all that this node has; told: as the kernel's announcements say. Else calls fail
 * until the next setup. */
void fake_world_lose(struct fake_world *world, const char *node, bool told);
/* A node that is cut off reaches no other and is reached by none. */
void fake_world_cut(struct fake_world *world, const char *node, bool cut);

enum fake_reach { FAKE_REACHED, FAKE_REFUSED, FAKE_UNREACHABLE };
/* A connection from a pod or the host of `node` to address:port. Virtual addresses are resolved by the node's
 * table; *endpoint (may be NULL) is the pod that was reached. A pod address that no sandbox has is
 * unreachable. */
enum fake_reach fake_world_connect(struct fake_world *world, const char *node, struct in_addr address,
                                   uint8_t protocol, uint16_t port, struct in_addr *endpoint);
/* Addresses of a name as the node's resolver answers; the number found, at most max. */
size_t fake_world_resolve(struct fake_world *world, const char *node, const char *name,
                          struct in_addr *addresses, size_t max);
bool fake_world_attached(struct fake_world *world, const char *node, const char *uid);
/* Every (Service port, endpoint) of the node's table in force; endpoint NULL: the port has none. */
void fake_world_each_endpoint(struct fake_world *world, const char *node,
                              void (*each)(void *arg, const char *service,
                                           const struct net_service_port *port,
                                           const struct net_endpoint *endpoint),
                              void *arg);
size_t fake_world_changes(struct fake_world *world, const char *node); /* Services handed over so far */

#endif
