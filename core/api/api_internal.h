/* api_internal: private to core/api. The structs that its files share: the api, one request (call), one write
 * (op). */
#ifndef M8_API_INTERNAL_H
#define M8_API_INTERNAL_H

#include <netinet/in.h>
#include <pthread.h>

#include "api/api.h"
#include "auth/auth.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "store/keys.h"

#define API_RETRIES 64 /* of a read-modify-write that meets another writer */

struct api_streams; /* api_streams.c: deadlines and bookmarks of open watches */
struct api_ranges;  /* api_ranges.c */
struct api_nodes;   /* api_nodes.c: clients to agents */
struct api_counters;
struct api_metrics; /* api_metrics.c */
struct api_quotas;  /* api_quota.c */
struct quota_hold;
struct usage;    /* api_usage.h */
struct api_repl; /* api_repl.c */

struct api {
    struct api_options options; /* strings are borrowed from copies below */
    struct store *store;
    const struct clock *clock;
    const struct random *random;
    struct schema *schema;
    char *git_version, *product_version;
    struct api_ranges *ranges;
    struct api_streams *streams;
    struct api_nodes *nodes;
    struct api_counters *counters;
    struct api_metrics *collector;
    struct pool *blob_pool;   /* api_blobs.c: what waits for the disk; NULL without blobs */
    struct pool *backup_pool; /* NULL: no backups */
    struct api_quotas *quotas;
    struct api_repl *repl;
    atomic_size_t list_bytes; /* of answers to LIST that are being sent */
    size_t list_bytes_max;
    atomic_uint kinds_epoch;  /* moves when a resource comes that was not there (api_kinds.c) */
    const char **node_shared; /* resources that every node streams as a whole, NULL-terminated */
};

/* ---- who asks ---- */
struct identity {
    struct auth_identity who;
    const char *node; /* NAME of system:node:NAME in group system:nodes (points into who), else NULL */
};
void identity_fini(struct identity *identity);
/* ERR_UNAUTHORIZED for credentials that are wrong; no credentials: system:anonymous. With those headers, whom
 * it acts as. */
int identity_read(struct api *api, const struct http_request *request, struct identity *identity,
                  struct err **err);
/* Becomes the user of the headers Impersonate-…, if there are any. ERR_BAD_REQUEST, ERR_FORBIDDEN. */
int identity_impersonate(struct api *api, const struct http_request *request, struct identity *identity,
                         struct err **err);

/* Who a token is, for those of that audience. ERR_UNAUTHORIZED. */
int identity_of_token(struct api *api, const char *token, const char *audience, struct identity *identity,
                      struct err **err);
/* Is there an object of that name, and is it the one with that uid? */
bool identity_is_present(struct api *api, const char *resource, const char *namespace, const char *name,
                         const char *uid);
/* Is what a service account's token is bound to still there? (api_token.c) */
bool token_binding_holds(struct api *api, const char *namespace, const struct auth_identity *who);
/* Copies; sets node. */
void identity_fill(struct identity *identity, const char *user, const char *const *groups, const char *uid);

struct access { /* what is asked for; strings borrowed */
    const char *verb, *group, *resource, *subresource, *namespace, *name;
    const char *path; /* non-resource URL; then only verb counts */
};
/* ERR_FORBIDDEN with Kubernetes' message. */
int identity_allows(struct api *api, const struct identity *identity, const struct access *access,
                    struct err **err);

/* Status of a SelfSubjectRulesReview. */
cJSON *identity_rules(struct api *api, const struct identity *identity, const char *namespace);
const char *request_bearer(const struct http_request *request); /* NULL if there is none */
auth_rule rbac_rule;                                            /* api_rbac.c; arg: the api */
/* What bindings give the identity: rules that hold everywhere, and those of the namespace (may be NULL).
 * Caller owns. */
cJSON *rbac_held(struct api *api, const struct auth_identity *identity, const char *namespace);
/* What a roleRef names, of a binding in that namespace (NULL: one of the cluster). Caller owns; NULL: none.
 */
cJSON *rbac_role(struct api *api, const char *namespace, const cJSON *reference);
/* api_scope.c: a node's agent. */
bool scope_owns_pod(void *api, const char *node, const char *namespace, const char *name);
bool scope_refers(void *api, const char *node, const char *resource, const char *namespace, const char *name);
bool scope_owns_volume(void *api, const char *node, const char *name);
struct op;
int scope_allows_create(const struct op *op, const char *node, struct err **err);

/* ---- one request ---- */
enum call_form { FORM_JSON, FORM_TABLE, FORM_PARTIAL };

struct call {
    struct api *api;
    struct http_exchange *x;
    const struct http_request *request;
    char **segments;
    size_t n_segments;
    struct identity identity;
    const struct schema_kind *kind; /* NULL: not about objects */
    const struct schema_kind_info *info;
    const char *verb; /* get list watch create update patch delete deletecollection */
    const char *group, *version, *plural, *namespace, *name, *subresource;
    const struct conversion *conversion; /* asked for in another version than it is stored in; NULL: no */
    enum call_form form;
    bool form_beta; /* meta.k8s.io/v1beta1 */
    cJSON *warnings;
};
typedef void call_handler(struct call *call); /* must answer, now or later; answering frees the call */

/* Answering: exactly one of these, from any thread; each frees the call. */
void call_answer(struct call *call, int status, struct bytes *body); /* JSON; takes body */
void call_answer_text(struct call *call, int status, const char *content_type, struct str *body);
void call_warn(struct call *call, const char *text); /* told in a Warning header of the answer */
void call_answer_json(struct call *call, int status, cJSON *body); /* takes body */
void call_stream(struct call *call, const char *content_type, const struct http_stream_ops *ops, void *arg);
void call_fail(struct call *call, struct err *error); /* takes error */
void call_success(struct call *call, int status, const char *uid);
void call_free(struct call *call); /* for those who took the exchange over */

/* Status objects; info, name may be NULL. */
cJSON *status_failure(const struct err *error, const struct schema_kind_info *info, const char *name);
cJSON *status_success(const struct schema_kind_info *info, const char *name, const char *uid);

/* Routing (api_route.c): fills group … subresource, kind, verb. */
int route_parse(struct call *call, struct err **err);
void call_read_accept(struct call *call);

/* Bodies and query (api_body.c). */
enum body_type {
    BODY_JSON,
    BODY_YAML,
    BODY_PROTOBUF,
    BODY_STRATEGIC,
    BODY_MERGE,
    BODY_JSON_PATCH,
    BODY_APPLY,
    BODY_OTHER
};
enum body_type body_type(const struct call *call);
/* An object in JSON, YAML or protobuf; ERR_UNSUPPORTED_MEDIA_TYPE, ERR_BAD_REQUEST, ERR_TOO_LARGE. Caller
 * owns. */
cJSON *body_object(const struct call *call, struct err **err);
/* The document of a PATCH; *type says which. */
cJSON *body_patch(const struct call *call, enum body_type *type, struct err **err);
/* Sets *dry_run if the query asks for it; else it stays, as the body may have asked. */
int query_dry_run(const struct call *call, bool *dry_run, struct err **err);
int query_strictness(const struct call *call, enum schema_strictness *strictness, struct err **err);
bool manager_is_valid(const char *name); /* at most 128 printable characters */
/* What the client calls itself: kubectl of "kubectl/v1.35.0 (linux/amd64)". NULL if it says nothing usable.
 */
char *call_agent(const struct call *call);
/* Who writes: fieldManager, else what the client calls itself; and whether by force. ERR_INVALID. */
int query_manager(const struct call *call, struct op *op, struct err **err);
int op_set_manager(const struct call *call, struct op *op, const char *name, bool force, struct err **err);
/* 0 when absent; ERR_BAD_REQUEST if not a number. */
int query_revision(const struct call *call, const char *name, uint64_t *revision, bool *given,
                   struct err **err);
int query_int(const struct call *call, const char *name, int64_t *value, bool *given, struct err **err);
int revision_parse(const char *text, uint64_t *revision); /* -1 if malformed */

/* api_versions.c: before the kind is looked for; a body or patch as it came; an answer (takes and gives
 * bytes). */
void versions_find(struct call *call);
int versions_take(const struct call *call, cJSON *object, struct err **err);
struct bytes *versions_give(const struct call *call, struct bytes *body);

/* ---- selecting ---- */
struct selection {
    struct selector *labels, *fields;
    const char *name;      /* metadata.name=… or NULL; borrowed from fields */
    const char *namespace; /* metadata.namespace=… */
    char **terms;          /* NULL-terminated store terms that must hold */
    size_t n_terms;
};
int selection_read(const struct call *call, struct selection *selection, struct err **err);
bool selection_matches(void *selection, const struct store_object *object);
void selection_fini(struct selection *selection);

/* ---- printing objects ---- */
/* Kind, apiVersion and metadata first; *revision_at is the gap. Without revision: no resourceVersion at all
 * (dry run). */
void object_print(const cJSON *object, struct str *out, size_t *revision_at, bool with_revision);
/* A stored object as one of that kind: bytes as they lie, but for the apiVersion of a custom kind. */
void object_add_as(struct str *out, const struct schema_kind_info *info, const char *text, size_t len);
struct bytes *object_bytes_as(const struct schema_kind_info *info, struct bytes *bytes); /* a reference */
void object_add_partial(struct str *out, const cJSON *object, bool beta);
/* "metadata":{…} of a list; remaining 0: not told. */
void list_meta_add(struct str *out, uint64_t revision, const char *continue_token, uint64_t remaining);
struct table;
/* Table text (api_table.c). include: NULL or "Metadata", "Object", "None". */
struct table *table_new(const struct call *call, struct err **err);
void table_begin(struct table *table, struct str *out, uint64_t revision, const char *continue_token,
                 uint64_t remaining, bool columns);
void table_row(struct table *table, struct str *out, const char *text, size_t len, bool first);
void table_end(struct str *out);
void table_set_now(struct table *table, int64_t now);
void table_free(struct table *table);

/* ---- one write ---- */
enum op_verb { OP_CREATE, OP_UPDATE, OP_PATCH, OP_DELETE, OP_BIND };
enum op_next { OP_FAILED = -1, OP_ANSWERED, OP_WRITE };

/* Addresses, ports and ranges taken from api_ranges. */
enum range_kind { RANGE_ADDRESS, RANGE_PORT, RANGE_POD_CIDR, RANGE_KINDS };
struct grant_item {
    enum range_kind kind;
    uint32_t index;
};
struct grant {
    struct grant_item *items;
    size_t count;
};

struct op {
    struct api *api;
    enum op_verb verb;
    const struct schema_kind *kind;
    const struct schema_kind_info *info;
    char *namespace, *name;  /* name NULL until generateName has made one */
    const char *subresource; /* static or outlives the op; NULL: the object itself */
    char *manager;           /* who writes, for metadata.managedFields; NULL: the server */
    struct identity *writer; /* whose rights a grant is judged by; NULL: the server, or no grant */
    bool force;              /* apply: takes fields from other managers */
    struct err
        *create_refused; /* apply: the client may not create, should the object not be there; NULL: it may */
    cJSON *body;         /* object, patch document or options */
    enum body_type patch_type;
    enum schema_strictness strictness;
    bool dry_run;
    bool beside_namespace; /* created in one unit with its namespace */
    cJSON *warnings;       /* borrowed; may be NULL */
    char *expect_uid;
    uint64_t expect_revision; /* 0: any */
    char *propagation;        /* delete */
    int64_t grace;            /* delete; -1: default */
    char *disruption,
        *disruption_text; /* delete of a pod: reason and message of its condition DisruptionTarget */

    /* private to api_op.c and the files that prepare */
    unsigned attempts;
    bool retryable;
    char *key;
    struct str text;
    struct store_terms *terms;
    struct store_write write;
    struct store_guard *guards; /* of the write; the strings belong to it */
    size_t n_guards;
    struct grant granted; /* given back unless the write succeeds */
    struct grant dropped; /* given back when the write succeeds */
    cJSON *applied;       /* apply: the set of fields */
    struct usage *usage;  /* of the object that is written, if a quota counts it */
    struct quota_hold *hold;

    /* result, valid in finished */
    struct err *error; /* NULL: fine */
    int code;          /* HTTP status */
    uint64_t revision;
    struct bytes *bytes; /* the object; NULL after a delete that removed it */
    char uid[RANDOM_UID];
    bool removed;
    void (*finished)(struct op *op); /* any thread, exactly once; frees the op */
    void *arg;
};
struct op *op_new(struct api *api, enum op_verb verb, const struct schema_kind *kind, const char *namespace,
                  const char *name);
void op_free(struct op *op);
void op_run(struct op *op); /* prepares, submits, finishes */
/* Prepares all, submits what is to be written as one unit. Every op is finished. */
void op_run_all(struct op *const *ops, size_t count);
/* Submits ops that op_put has made ready, as one unit: for what the server itself writes. */
void op_submit_all(struct op *const *ops, size_t count);

enum op_next op_prepare(struct op *op, struct err **err);
enum op_next op_prepare_create(struct op *op, cJSON *object, struct err **err); /* takes object */
enum op_next op_prepare_change(struct op *op, struct err **err);
enum op_next op_prepare_delete(struct op *op, struct err **err);
/* Makes the write from an object: text with gap, terms, key. */
void op_put(struct op *op, enum store_verb verb, const cJSON *object, uint64_t expect);
/* Nothing to write: the object as it is. bytes is borrowed. */
enum op_next op_answer(struct op *op, struct bytes *bytes, uint64_t revision, const cJSON *object);
/* As if it had been written; revision: the present one, 0 if there is none. */
enum op_next op_answer_dry(struct op *op, const cJSON *object, uint64_t revision);
int op_conflict(const struct op *op, struct err **err); /* "the object has been modified" */
int op_check_preconditions(const struct op *op, const struct store_object *old, const char *uid,
                           struct err **err);
bool object_finalized(const struct op *op, const cJSON *object); /* deleting, and nothing holds it any more */
int object_check_kind(const struct schema_kind_info *info, cJSON *object, struct err **err);
/* No reader takes more than JSON_MAX_DEPTH, so nothing deeper is stored: whatever patches, defaults and the
 * server added. An old object that is deeper may stay as deep. */
int object_check_depth(const cJSON *object, const cJSON *old, struct err **err);
int object_check_place(const struct op *op, const cJSON *meta, struct err **err);
cJSON *op_read(struct op *op, struct store_object *old,
               struct err **err);                  /* present object, parsed; also in *old */
void kinds_written(const struct op *op);           /* a CustomResourceDefinition changes the registry */
int kinds_load(struct api *api, struct err **err); /* those that the store holds */
#define CRDS "customresourcedefinitions.apiextensions.k8s.io"
void kinds_accept(const struct api *api, cJSON *crd); /* its status: what a client waits for */
void kinds_ending(const struct api *api, cJSON *crd); /* its objects go first */
void kinds_check(struct api *api); /* the same for those that an earlier version has stored */

/* Who owns which field (api_managers.c). Of an apply: the object that is to be made; what the stored one
 * becomes. Both note the set of fields in op->applied. Caller owns; NULL on failure. */
cJSON *managers_create(struct op *op, struct err **err);
cJSON *managers_apply(struct op *op, const cJSON *old, struct err **err);
void managers_scale(struct op *op); /* the same for an apply of a Scale */
/* metadata.managedFields that a client sends is kept if it makes sense, else what is stored. */
void managers_keep(const struct op *op, cJSON *meta, const cJSON *old_meta);
/* With its defaults, before it is written: ERR_CONFLICT if an apply takes what others own. old NULL: created.
 */
int managers_follow(struct op *op, const cJSON *old, cJSON *object, struct err **err);

cJSON *scale_from(const struct schema_kind_info *info, const cJSON *object, uint64_t revision);

/* Admission (api_admission.c): rules of single kinds that need the store or randomness. */
void admission_normalize(const struct op *op, cJSON *object);         /* before defaults; create and change */
int admission_create(struct op *op, cJSON *object, struct err **err); /* after defaults */
int admission_change(struct op *op, const cJSON *old, cJSON *object, struct err **err);
int admission_delete(const struct op *op, struct err **err);

/* api_grant.c: a Role, ClusterRole or binding gives nothing that its writer does not hold. set_writer copies
 * the identity, for kinds where it matters; old NULL: created. ERR_FORBIDDEN; ERR_NOT_FOUND: no such role. */
void op_set_writer(struct op *op, const struct identity *identity);
void writer_free(struct identity *writer); /* NULL: nothing */
int grant_admit(const struct op *op, const cJSON *old, const cJSON *object, struct err **err);

/* api_limits.c: fills in a new pod's resources, and refuses a pod or claim that is out of bounds. */
int limits_admit(const struct op *op, cJSON *object, struct err **err);

/* Quotas (api_quota_admit.c, api_quota.c): thread-safe. admit takes the op's part of them, ERR_FORBIDDEN if
 * there is not enough; release gives it back; written, on the writer thread, counts what was committed. */
struct api_quotas *quotas_new(struct api *api, struct err **err);
void quotas_free(struct api_quotas *quotas);
int quota_admit(struct op *op, bool create, const cJSON *object, struct err **err);
void quota_release(struct op *op);
void quota_written(struct op *op);

/* api_guard.c: what must be so of other objects in the moment of the write */
void guard_endpoints(struct op *op, const cJSON *old, const cJSON *slice); /* old: NULL at a create */
int guard_failed(const struct op *op, struct err **err); /* ERR_CONFLICT that names the object */
void guards_free(struct op *op);

/* api_defaults.c: what every namespace has. The ops (at most DEFAULTS) to be written in one unit with a
 * prepared op that creates a namespace; a write of one of these objects; all that is missing, at start. */
#define DEFAULTS 2
size_t defaults_beside(const struct op *namespace, struct op **ops);
void defaults_written(const struct op *op);
void defaults_check(struct api *api);
void bootstrap_written(const struct op *op); /* api_bootstrap.c: what every cluster has comes back */
cJSON *first_role(size_t at); /* api_roles.c: ClusterRoles that every cluster has; NULL after the last */
bool first_role_is(const char *name);

/* api_token_secret.c: a Secret of type kubernetes.io/service-account-token gets what it lacks */
int account_secret(const struct op *op, cJSON *secret, struct err **err); /* ERR_INVALID */

/* api_account.c: what a new pod gets from its service account */
int account_admit(const struct op *op, cJSON *pod, struct err **err); /* ERR_FORBIDDEN */

/* Ranges (api_ranges.c): thread-safe. The grant gets what was newly taken. */
struct api_ranges *ranges_new(struct api *api, struct err **err);
void ranges_free(struct api_ranges *ranges);
int ranges_service(struct api_ranges *ranges, cJSON *service, const cJSON *old, struct grant *granted,
                   struct err **err);
int ranges_node(struct api_ranges *ranges, cJSON *node, struct grant *granted, struct err **err);
/* What an object holds; `except` (may be NULL) holds it still. */
void ranges_held(struct api_ranges *ranges, const char *resource, const cJSON *object, const cJSON *except,
                 struct grant *grant);
void ranges_release(struct api_ranges *ranges, struct grant *grant); /* leaves grant empty */

/* ---- streams ---- */
struct api_streams *streams_new(struct api *api);
void streams_free(struct api_streams *streams);
struct stream_due { /* inside a stream; wakes its exchange at a time */
    struct list node;
    int64_t at_ms; /* monotonic */
    struct http_exchange *x;
};
void streams_add(struct api_streams *streams, struct stream_due *due);
void streams_set(struct api_streams *streams, struct stream_due *due, int64_t at_ms);
void streams_wake_all(struct api_streams *streams);                       /* those that wait for their time */
void streams_remove(struct api_streams *streams, struct stream_due *due); /* after it no wake is under way */

/* ---- handlers ---- */
call_handler handle_get, handle_list, handle_watch, handle_write, handle_delete_collection;
call_handler handle_batch, handle_stream, handle_join, handle_join_token, handle_node_proxy, handle_review,
    handle_token;
call_handler handle_repl, handle_repl_host, handle_past;
call_handler handle_non_resource;                        /* discovery, version, health, metrics, openapi */
void eviction_run(struct call *call, struct op *delete); /* takes both */
bool review_is(const struct call *call);                 /* one of the Self…Review resources */

/* ---- nodes ---- */
struct api_nodes *nodes_new(struct api *api);
void nodes_free(struct api_nodes *nodes);
/* On the loop. The client of the agent at that URL, kept; ERR_UNAVAILABLE: this server reaches no nodes. */
struct http_client *nodes_client(struct api *api, const char *url, struct err **err);
bool address_read(const char *text, struct in6_addr *address); /* an IPv4 address as a mapped one */
/* Where the Node says that its agent is: an IP address, and never this server itself. Caller frees;
 * ERR_UNAVAILABLE. */
char *nodes_url_of(const struct api *api, const cJSON *node, struct err **err);

/* ---- sessions of the REPL (api_repl.c) ---- */
struct api_repl *repl_new(struct api *api);
void repl_free(struct api_repl *repl);

/* ---- usage: metrics.k8s.io (api_metrics.c) ---- */
struct api_metrics *metrics_collector_new(struct api *api);
void metrics_collector_free(struct api_metrics *collector);
void metrics_written(const struct op *op); /* an autoscaler came, changed or went */
bool metrics_is(const struct call *call);  /* about NodeMetrics or PodMetrics */
call_handler handle_metrics;               /* makes sure that the figures are fresh, then as any other kind */
/* api_metrics_objects.c: parts of an agent's summary → objects of the API; NULL: no figure yet. Caller owns.
 */
cJSON *metrics_node_object(const cJSON *node, const cJSON *summary);
cJSON *metrics_pod_object(const cJSON *pod);

/* ---- blobs (api_blobs.c) ---- */
call_handler handle_blobs, handle_backup;
void blobs_init(struct api *api);        /* drops what belongs to nobody any more */
void blobs_written(const struct op *op); /* what is gone takes its blobs with it */

/* ---- counting ---- */
struct api_counters *counters_new(struct api *api);
void counters_free(struct api_counters *counters);
void counters_request(struct api_counters *counters, const struct call *call, int status);

/* Small helpers. */
cJSON *object_meta(const cJSON *object);
bool meta_has_finalizers(const cJSON *object);
int64_t api_wall(const struct api *api);
/* Errors in Kubernetes' words. */
int fail_not_found(struct err **err, const struct schema_kind_info *info, const char *name);

#endif
