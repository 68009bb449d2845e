/*
 * api: request → response or stream (contract 24): the Kubernetes-style REST surface as a function over
 * store, watch hub and schema. No sockets here: api_handle is an http_handler, given exchanges by http_server
 * or by a simulation.
 *
 * Threads: api_handle may be called from any thread; it parses, checks, submits to the store and answers from
 * the writer's `done`; it never blocks. Calls to nodes (logs, exec, proxy) run on `loop`.
 */
#ifndef M8_API_API_H
#define M8_API_API_H

#include "base/random.h"
#include "http/http.h"
#include "loop/loop.h"
#include "metrics/metrics.h"
#include "schema/schema.h"
#include "store/store.h"
#include "watch/watch.h"

struct auth_authority; /* auth.h */
struct blobs;          /* store/blobs.h */

struct api_options {
    struct loop *loop;
    const struct clock *clock;
    const struct random *random;
    struct store *store;
    struct watch_hub *hub;
    struct schema *schema;
    struct metrics *metrics;
    struct auth_authority *auth; /* CA, tokens, authorizer; see auth/auth.h */
    const char *git_version;     /* "v1.35.0" */
    const char *product_version; /* of minik8s */
    /* Client for one node's agent at "https://ADDRESS:PORT"; cached by api, freed at the end. NULL: no node
     * access. */
    struct http_client *(*node_client)(void *arg, const char *url, struct err **err);
    void *node_client_arg;
    size_t list_bytes_in_flight; /* 0: 64 MiB, then 429 */
    const char *service_range;   /* "10.96.0.0/16": cluster IPs are given out from it at admission */
    const char *pod_range;       /* "10.244.0.0/16": /24 per Node, given out when a Node is created */
    const char *public_address; /* how nodes and pods reach this server: endpoint of the Service kubernetes */
    struct blobs *blobs;      /* for the subresource blobs; NULL: none. Closed by its owner after api_free */
    const char *backups;      /* folder of backups; NULL (or no blobs): none are made */
    int64_t node_validity_ns; /* of the certificates that nodes get; 0: a year */
    unsigned public_port;     /* 0: unknown, no endpoint is written */
};
struct api;
struct api *api_new(const struct api_options *options, struct err **err);
/* Makes what every cluster has (namespaces default, kube-system, kube-public, kube-node-lease; priority
 * classes; ClusterRoles cluster-admin, admin, edit, view; service kubernetes). Call once after start, on the
 * loop. done: everything is there. */
void api_bootstrap(struct api *api, void (*done)(void *arg, struct err *err), void *arg);
void api_handle(void *api, struct http_exchange *exchange); /* http_handler */
void api_free(struct api *api);                             /* after the server that calls it is gone */

#endif
