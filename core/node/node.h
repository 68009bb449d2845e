/*
 * node: the agent of one machine. From the one stream it knows its pods, what they refer to, Services and
 * slices; it makes the machine agree: sandboxes and containers through `runtime`, interfaces and Service
 * table through `net`, files for volumes; it reports pod status, its Node object and its Lease, and serves
 * logs, exec, attach, port-forward.
 *
 * Contract: level-triggered. Any step may be the last before a SIGKILL: a new agent lists the runtime, reads
 * its own pod files and arrives at the same plan without restarting a container. Losing the server changes
 * nothing that runs; only a complete list from the same cluster id at a revision not older than the last one
 * seen removes a pod (contract 15). Threads: everything on `loop`; net and file calls on the pools, one
 * at a time per kind, or per pod for its files; the heart-beat has its own loop and client where the caller
 * gives one (real process), else shares (simulation).
 */
#ifndef M8_NODE_NODE_H
#define M8_NODE_NODE_H

#include "base/random.h"
#include "client/client.h"
#include "http/http.h"
#include "loop/loop.h"
#include "net/net.h"
#include "runtime/runtime.h"

struct metrics;

/* How mounts of the agent's end that belong to the volume's own (a subPath that is Bidirectional): whoever
 * unmounts one makes it private first, or the volume loses what is mounted in it. */
#define NODE_SHARED_PART "-shared"

/* ---- extensions: the data plane that a bundle brings (plugin/plugin.h) ----
 * An extension follows objects of kinds that every node streams (everyNode of a kind) and makes the machine
 * agree with them, as the agent does with its own kinds: level-triggered, idempotent, ready to be killed at
 * any step. Everything is called on the loop; what blocks belongs on the pool. */
struct node_extension_host { /* what the agent offers; lives until `stop` has returned */
    struct loop *loop;
    struct pool *pool;
    struct client *client;
    struct recorder *recorder;
    const struct cache *cache;
    struct metrics *metrics;
    const char *node, *address, *directory; /* directory: the extension's own, made */
    const char *dns_address, *dns_spare;    /* of the node's name servers; dns_spare may be NULL */
};
struct node_extension {
    const char *name;
    const char *const *resources; /* NULL-terminated */
    /* Returns the instance; NULL: the agent does not start. */
    void *(*start)(struct node_extension_host *host, struct err **err);
    /* previous NULL: new; item NULL: gone. Also during the first list. */
    void (*changed)(void *self, const char *resource, const struct cache_item *previous,
                    const struct cache_item *item);
    /* The list is complete and may be believed: what was not told of is gone. Nothing of an earlier run may
     * be taken away before. */
    void (*complete)(void *self);
    /* Adds to the agent's /metrics (Prometheus text); on a pool thread, may wait for a moment. NULL: nothing.
     * Samples with the labels namespace and KIND (in lower case) are figures about that object, which
     * autoscalers may use. */
    void (*metrics)(const char *directory, struct str *out);
    void (*stop)(void *self); /* the agent ends, what it started goes on */
    /* The machine leaves the cluster: takes everything back that lies in or was started from `directory`.
     * Blocking, without an instance. */
    int (*shutdown)(const char *directory, struct err **err);
    /* NULL, or: adds what the machine has ("vendor/device": "2") to the Node's capacity and its labels (NULL:
     * not asked for). A label that is null is taken away from the Node. */
    void (*capacity)(void *self, cJSON *amounts, cJSON *labels);
    /* NULL, or: takes away from what pods may ask for what the machine has and nobody may use just now. */
    void (*withhold)(void *self, cJSON *allocatable);
    /* NULL, or: gives a container, just before it is created, what its pod (the object) asks for of that:
     * devices, mounts, environment. The same for the same pod and container, also after a restart. An error
     * is told on the pod, and tried again. */
    int (*container)(void *self, const cJSON *pod, const char *container, struct runtime_spec *spec,
                     struct err **err);
};
/* Names that this node answers, instead of those told before under this key (text of the extension's own);
 * copied; none: they go. */
void node_extension_names(struct node_extension_host *host, const char *key, const struct net_name *records,
                          size_t count);

/* What `capacity` or `withhold` say has changed: the Node is told. */
void node_extension_update(struct node_extension_host *host);
/* An Event on the Node object; not before `start` has returned. */
void node_extension_event(struct node_extension_host *host, const char *type, const char *reason,
                          const char *message);

/* Decisions that a policy takes on the node (contract 21): no strategy is in this folder. All of them must be
 * there except sync, listen and decisions; decisions is there if listen is. */
struct node_restart { /* of a container that ended */
    const cJSON *pod;
    const char *container;
    unsigned crashes; /* ends in a row before this one */
    int64_t ran_ms;
    int exit_code;
    bool out_of_memory;
};
struct node_backoff {
    int64_t wait_ms; /* from its end on */
    bool reset;      /* ends in a row are counted from here */
};
struct node_balanced { /* a Service whose new connections are to be spread over its endpoints */
    const char *key;
    const cJSON *service; /* NULL: it is gone, or asks nobody (any more) */
    const cJSON *slices;  /* array of its EndpointSlices */
    const char *node;     /* where */
    uint64_t revision;    /* of the store, that these are of */
};
/* What an endpoint is called in a question about balance and its answer: the pod's name, else its address. */
const char *node_endpoint_name(const cJSON *endpoint);
struct node_policy_listener {
    /* reason: of an Event on the Node. */
    void (*on_trouble)(void *arg, const char *reason, const char *message);
    /* Which versions decide here: "POINT=NAME@HASH", those of single namespaces "POINT/NAMESPACE=…",
     * separated by spaces. Called at once and whenever it changes. */
    void (*on_in_force)(void *arg, const char *versions);
    void (*on_decision)(void *arg); /* `decisions` has one more */
    void (*on_balance)(void *arg);  /* others than before decide on balance; perhaps inside of `balance` */
    void *arg;
};
struct node_policies {
    struct node_backoff (*restart_backoff)(void *arg, const struct node_restart *restart);
    /* {mode: random | round-robin | source-hash, weights: {endpoint's name: 1…100}, policy, reasons,
     * failure}, all but mode may be absent; borrowed until the next question about this Service. The same
     * question to the same policies is asked once. NULL: it has no endpoints. */
    const cJSON *(*balance)(void *arg, const struct node_balanced *balanced);
    /* The objects of kind Policy and PolicyProfile in the cache are complete, or changed since. */
    void (*sync)(void *arg, const struct cache *cache);
    /* What was decided since somebody listens, the last ones: spec of a NodeDecisions; caller owns. */
    cJSON *(*decisions)(void *arg);
    void (*listen)(void *arg, const struct node_policy_listener *listener); /* copied; NULL: no longer */
    void *arg;
};

/* What a node's configuration file says and may say anew while the agent runs. Maps are {resource: quantity};
 * everything may be NULL or 0: the default. */
struct node_settings {
    bool managed;                 /* labels and taints of the Node follow these; else they are given once */
    const cJSON *labels, *taints; /* of the Node object */
    const char *pod_range;        /* asked for when the Node registers itself */
    const cJSON *capacity;        /* instead of what was found */
    const cJSON *reserved;        /* allocatable = capacity − reserved */
    int64_t max_pods;             /* 0: 110 */
    int64_t heartbeat_ms;         /* 0: 1,000 */
    int64_t log_max_bytes;        /* of one file of a container's log; 0: 10 MiB */
    int64_t log_max_files;        /* of a container's log; 0: 5 */
    enum net_routing routing;
    const char *restart; /* names of settings that differ from those the agent runs with: said on the Node */
    const char *wrong;   /* why the file is not followed: said on the Node; the rest is as it was */
};

struct node_options {
    const char *name;       /* of the Node object; the runtime's label "node" must be the same */
    const char *cluster;    /* value of the label io.minik8s.cluster, the same that the runtime was given */
    const char *directory;  /* pods/, logs/, volumes/, state */
    const char *persistent; /* where folders of provisioned volumes lie; NULL: this node keeps none */
    struct loop *loop;
    struct pool *pool;
    struct pool *file_pool; /* for the files of pods, which may lie on what hangs; NULL: `pool` */
    const struct random *random;
    struct http_client *http;           /* to the server, as system:node:NAME */
    struct loop *heartbeat_loop;        /* NULL: `loop` */
    struct http_client *heartbeat_http; /* NULL: `http` */
    struct runtime *runtime;
    struct net *net; /* made by cmd once the pod range is known: see net_new */
    /* The pod range is the server's to give (Node.spec.podCIDR): called once it is known, also from disk at
     * start. */
    struct net *(*net_new)(void *arg, const char *pod_range, struct err **err);
    void *net_new_arg;
    struct metrics *metrics;
    struct node_policies policies;
    const char *version; /* of minik8s */
    const char *internal_ip;
    uint16_t port;      /* of the agent's own HTTPS server, for Node.status.daemonEndpoints */
    const char *ca_pem; /* the API server's, for pods that speak to it; or NULL */
    const char *dns_address, *dns_spare,
        *cluster_domain;                           /* for the pods' resolv.conf; dns_spare may be NULL */
    const char *sandbox_image;                     /* of runtime's pause program */
    int64_t system_memory_bytes, system_cpu_milli; /* capacity; 0: read from /proc */
    struct node_settings settings;                 /* copied */
    const char *storage; /* of images and containers: looked at for DiskPressure, besides directory */
    bool watch_pressure; /* report memory, disk and PIDs that run short (simulations do not) */
    bool shares_machine; /* with other agents: its usage is that of its own containers */
    const struct node_extension *const *extensions; /* NULL-terminated, or NULL */
    const char *certificate_problem; /* said once as an Event of the Node; NULL: nothing is wrong */
    /* The Node object was deleted and its pods have ended; or (again) it has another pod range than this
     * machine was set up for. The caller ends the agent, takes back what it made on the machine and, if
     * again, starts anew. */
    void (*on_left)(void *arg, bool again);
    void *on_left_arg;
};
struct node;
struct node *node_new(const struct node_options *options, struct err **err);
/* Other settings from now on. */
void node_configure(struct node *node, const struct node_settings *settings);
/* The agent's own HTTP surface: /healthz, /metrics, /containerLogs/…, /exec/…, /attach/…, /portForward/…,
 * /pods, /stats/summary. Only for the API server's identity (certificate group system:minik8s:server) except
 * /healthz. An http_handler. */
void node_handle(void *node, struct http_exchange *exchange);
void node_free(struct node *node); /* containers go on */

#endif
