/*
 * client: how manager, agent and minikubectl talk to the server: requests on objects, batches, the one stream
 * (contract 2), an informer cache with projected columns and indexes (contract 20), Events, and a leader
 * lease. On one loop, over an http_client (curl or in-process).
 *
 * The one stream: GET /apis/minik8s.io/v1/stream?resourceVersion=N[&sendInitialEvents=true][&resources=a,b]
 * answers one JSON line per event: {"type":"ADDED|MODIFIED|DELETED|BOOKMARK|INITIAL_END|ERROR","revision":N,
 * "resource":"pods","object":{…}} in global revision order, scoped to what the identity may see. ERROR
 * carries a Status. The first line is {"type":"HELLO","revision":N,"cluster":"ID"}: another cluster id means
 * another store (contract 15).
 */
#ifndef M8_CLIENT_CLIENT_H
#define M8_CLIENT_CLIENT_H

#include "base/json.h"
#include "base/random.h"
#include "http/http.h"
#include "loop/loop.h"

struct client;
struct client *client_new(struct loop *loop, struct http_client *http,
                          const struct random *random); /* borrows both */
void client_free(struct client *client);                /* what is under way ends with ERR_CANCELLED */

/* object: the answer (an object or a Status), owned by the callee; err set for failures and Status answers ≥
 * 400 (with causes). Exactly once, on the loop. */
typedef void client_on_object(void *arg, cJSON *object, struct err *err);

/* Path of an object or collection: client_path("deployments.apps", "v1", "default", "web", "status"); caller
 * frees. */
char *client_path(const char *resource, const char *version, const char *namespace, const char *name,
                  const char *subresource);
/* body may be NULL; content_type NULL: application/json. timeout 30 s. */
void client_request(struct client *client, const char *method, const char *target, const char *content_type,
                    const cJSON *body, client_on_object *done, void *arg);

/* ---- batches (contract 3): POST /apis/minik8s.io/v1/batches
 * {"steps":[{"verb":"create|update|patch|status|delete|bind","resource":"pods","namespace":…,"name":…,"object":{…},
 *   "resourceVersion":"…","uid":"…","propagationPolicy":…,"gracePeriodSeconds":…}]}  ≤ 256 steps
 * → {"results":[{"code":201,"revision":N,"uid":…,"name":…} | {"code":409,"status":{Status}}]}. One commit,
 * not atomic. */
#define CLIENT_BATCH_MAX 256
typedef void client_on_batch(void *arg, cJSON *results,
                             struct err *err); /* results: the array, owned by the callee */
/* Steps are queued and sent together; at most two batches in flight. Takes `step`. done gets that step's
 * result. */
void client_batch_step(struct client *client, cJSON *step, client_on_object *done, void *arg);
void client_batch_flush(
    struct client *client); /* sends what waits now (otherwise at the end of this loop turn) */

/* ---- the stream ---- */
enum client_event_type { CLIENT_ADDED, CLIENT_MODIFIED, CLIENT_DELETED, CLIENT_INITIAL_END, CLIENT_BOOKMARK };
struct client_event {
    enum client_event_type type;
    uint64_t revision;
    const char *resource; /* "pods" */
    const char *object;   /* JSON text, valid during the call; NULL for INITIAL_END and BOOKMARK */
    size_t len;
};
struct client_stream_options {
    const char *resources;  /* "pods,services" or NULL: everything one may see */
    uint64_t from;          /* 0: initial list */
    const char *cluster_id; /* known one or NULL; another answer → on_cluster_changed and a fresh list */
    void (*on_event)(void *arg, const struct client_event *event);
    /* The stream begins (again) with a complete list: what is not seen before INITIAL_END is gone. */
    void (*on_restart)(void *arg, const char *cluster_id);
    /* Reachability as it changes. While false the stream retries with back-off (50 ms … 2 s). */
    void (*on_connected)(void *arg, bool connected, const char *reason);
    void *arg;
};
struct client_stream;
struct client_stream *client_stream_open(struct client *client, const struct client_stream_options *options);
uint64_t client_stream_revision(const struct client_stream *stream);
/* The server's revision as the stream was connected last: what it had until then has been seen once an event
 * of this revision or a later one has come. */
uint64_t client_stream_hello(const struct client_stream *stream);
/* Drops the connection and resumes at once: for a caller that knows the path was cut and is back. */
void client_stream_reconnect(struct client_stream *stream);
void client_stream_close(struct client_stream *stream);

/* ---- informer cache ---- */
/* Objects by resource and key "namespace/name" ("name" for cluster scope), as shared bytes plus projected
 * columns. */
struct cache;
struct cache_item {
    char *resource, *key; /* key: "namespace/name" or "name" */
    char *namespace, *name, *uid;
    uint64_t revision;
    struct bytes *bytes; /* JSON text */
    cJSON *columns;      /* projected fields: {path: value}, see cache_project */
    char *owner_uid;     /* controller owner or NULL */
    char **owner_uids;   /* of all ownerReferences, NULL-terminated; NULL: none */
    bool deleting;       /* has deletionTimestamp */
};
struct cache *cache_new(void);
void cache_free(struct cache *cache);
/* Paths that are kept parsed for a resource ("*": for every one), e.g. {"spec.nodeName", "status.phase",
 * "metadata.labels", NULL}. */
void cache_project(struct cache *cache, const char *resource, const char *const *paths);
/* Makes `path` (a projected one, string value) a look-up index; "spec.rules[*].host": of each of a list's
 * items; "owner" (controller), "owners" (each ownerReference's uid) and "namespace" always are. */
void cache_index(struct cache *cache, const char *resource, const char *path);
/* Applies one stream event. previous: the item before (NULL: none), item: after (NULL: deleted); both valid
 * in on_change. */
typedef void cache_on_change(void *arg, const char *resource, const struct cache_item *previous,
                             const struct cache_item *item);
void cache_set_on_change(struct cache *cache, cache_on_change *on_change, void *arg);
void cache_apply(struct cache *cache, const struct client_event *event);
void cache_begin_list(
    struct cache *cache); /* on_restart: marks everything; INITIAL_END in cache_apply drops the rest */
const struct cache_item *cache_get(const struct cache *cache, const char *resource, const char *key);
const struct cache_item *cache_get_uid(const struct cache *cache, const char *uid);
size_t cache_count(const struct cache *cache, const char *resource);
const char **cache_resources(const struct cache *cache); /* sorted, NULL-terminated; free() the array only */
/* Pulled iteration in key order; the cache must not change meanwhile. index NULL: all of the resource. */
struct cache_cursor {
    void *private[4];
};
void cache_begin(const struct cache *cache, const char *resource, const char *index, const char *value,
                 struct cache_cursor *cursor);
const struct cache_item *cache_next(struct cache_cursor *cursor);
uint64_t cache_revision(const struct cache *cache);

/* ---- Events: aggregated (same object, reason, message → count), rate-bounded, never blocking ---- */
struct recorder;
struct recorder *recorder_new(struct client *client, const char *component, const char *host);
void recorder_free(struct recorder *recorder);
/* type: "Normal" or "Warning". involved: {apiVersion, kind, namespace, name, uid[, fieldPath]} (copied). */
void recorder_event(struct recorder *recorder, const cJSON *involved, const char *type, const char *reason,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));

/* ---- leader lease in kube-system, judged by the monotonic clock (contract 10) ---- */
struct leader;
struct leader_options {
    const char *name, *identity;
    int64_t duration_ms; /* 0: 15,000 */
    void (*on_leading)(void *arg, bool leading);
    void *arg;
};
struct leader *leader_new(struct client *client, const struct leader_options *options);
void leader_free(struct leader *leader); /* gives the lease up */

/* ---- kubeconfig ---- */
struct kubeconfig {
    char *server, *ca_pem, *certificate_pem, *key_pem, *token, *namespace, *context;
};
int kubeconfig_load(const char *path, struct kubeconfig *config, struct err **err);
/* Writes one cluster/user/context named `name`, mode 0600, durable. */
int kubeconfig_write(const char *path, const char *name, const struct kubeconfig *config, struct err **err);
void kubeconfig_fini(struct kubeconfig *config);

#endif
