/*
 * store: key → JSON bytes under one global revision, durable by group commit (contracts 7, 8, 9; architecture
 * "Store").
 *
 * A store is reached through its vtable only; store_lmdb_open (store_lmdb.h) makes the default one.
 *
 * Keys: "RESOURCE/NAMESPACE/NAME" where RESOURCE is "pods" or "deployments.apps"; NAMESPACE is empty for
 * cluster scope ("nodes//node-1"). See store/keys.h for making and taking apart.
 *
 * Objects: the stored bytes are the wire bytes. The writer hands in JSON text with a gap: `revision_at` is
 * the offset at which the decimal revision is inserted (inside "resourceVersion":"…"), so that a commit
 * copies and never parses.
 *
 * Terms: what selecting needs without parsing (contract 8). Each is one string "KIND:KEY=VALUE":
 *   "u:=UID"  uid      "l:app=web"  label      "f:spec.nodeName=node-1"  field
 *   "o:=UID"  owner uid (one per ownerReference)      "r:secrets/NS/NAME=" object that this one refers to
 *   "d:="  it is being deleted
 * All terms are indexed except "u:", "d:" and fields that the kind does not mark as indexed ("F:…", capital):
 * those are matched, not indexed.
 *
 * Revisions: one counter for everything, +1 per write, never repeats, also not for volatile kinds and after
 * SIGKILL (it jumps past a persisted high-water mark at start). Volatile writes live in memory only and
 * vanish at restart.
 *
 * Threads: every function may be called from any thread. One writer thread owns all writing; it calls
 * `on_commit` once per group after fsync and before any `done` of that group.
 */
#ifndef M8_STORE_STORE_H
#define M8_STORE_STORE_H

#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"

#define STORE_ANY 0                    /* expect: whatever is there, also nothing */
#define STORE_ABSENT UINT64_MAX        /* expect: must not exist → ERR_ALREADY_EXISTS */
#define STORE_PRESENT (UINT64_MAX - 1) /* expect: must exist → ERR_NOT_FOUND */
/* any other value: the object's present revision must equal it → ERR_CONFLICT, or ERR_NOT_FOUND if it is gone
 */

#define STORE_MAX_OBJECT (2u << 20)
#define STORE_MAX_KEY 500 /* longer: ERR_TOO_LARGE */
#define STORE_MAX_TERMS 4096
#define STORE_QUEUE_OPERATIONS 1024
#define STORE_QUEUE_BYTES (16u << 20)

enum store_verb { STORE_PUT, STORE_DELETE };
enum store_flags { STORE_VOLATILE = 1, STORE_SEALED = 2 /* bytes and log entry are encrypted on disk */ };

/* Immutable header that travels with an object: sorted terms. One allocation; reference-counted like bytes.
 */
struct store_terms {
    atomic_uint refs;
    uint16_t schema_version;
    uint16_t count;
    const char *at[]; /* `count` strings, inside this allocation */
};
/* Sorts, removes doubles. NULL above STORE_MAX_TERMS; a PUT with NULL terms ends with ERR_TOO_LARGE. */
struct store_terms *store_terms_new(uint16_t schema_version, const char *const *terms, size_t count);
struct store_terms *store_terms_ref(struct store_terms *terms);
void store_terms_unref(struct store_terms *terms);
const char *store_terms_get(const struct store_terms *terms,
                            const char *prefix); /* "f:spec.nodeName=" → value, or NULL */
bool store_terms_has(const struct store_terms *terms, const char *term);

struct store_object {
    char *key;
    struct bytes *bytes; /* wire bytes with the revision in place */
    struct store_terms *terms;
    uint64_t revision;         /* of the last write */
    uint64_t created_revision; /* of the write that made it */
    unsigned flags;
};
void store_object_fini(struct store_object *object);

enum store_event_type { STORE_ADDED, STORE_MODIFIED, STORE_DELETED };

/* One committed change. DELETED carries the last bytes with the new revision. previous_terms is NULL for
 * ADDED (contract 9: "stopped matching" is decided from it, also from the log after a restart). */
struct store_event {
    atomic_uint refs;
    enum store_event_type type;
    uint64_t revision;
    char *key;
    struct bytes *bytes;
    struct store_terms *terms;
    struct store_terms *previous_terms;
    unsigned flags;
    uint64_t created_revision;
    int64_t commit_ns; /* monotonic, 0 when read from the log: for latency figures */
};
/* With one reference; the rest is zero and to be filled before it is shared. For stores, and for events that
 * a watch makes itself. */
struct store_event *store_event_new(enum store_event_type type, const char *key, size_t key_len);
struct store_event *store_event_ref(struct store_event *event);
void store_event_unref(struct store_event *event);

/* What must be so of another object in the moment of a write: it is there, has the one term and lacks the
 * other; either may be NULL. */
struct store_guard {
    const char *key, *has, *lacks;
};

/* One write. The caller fills the first part, keeps the struct alive until `done`, and frees it. */
struct store_write {
    enum store_verb verb;
    unsigned flags;
    const char *key;
    uint64_t expect;
    const char *expect_uid; /* NULL: any; else the present object's uid must equal it → ERR_CONFLICT */
    const struct store_guard *guards; /* all must hold → ERR_CONFLICT and `failed`; borrowed until done */
    size_t n_guards;
    const char
        *data; /* PUT: JSON text with the gap; DELETE: NULL (the last bytes are used) or a last state */
    size_t len, revision_at;
    struct store_terms *terms; /* PUT; borrowed until done */
    void (*done)(struct store_write
                     *write); /* on the writer thread; must be short and must not call the store's writes */
    void *arg;

    /* filled before done */
    enum err_code
        result; /* ERR_NONE, ALREADY_EXISTS, NOT_FOUND, CONFLICT, TOO_MANY_REQUESTS, TOO_LARGE, IO */
    const struct store_guard *failed; /* the guard that did not hold, or NULL */
    uint64_t revision;   /* of this write; on a failed precondition the present revision (0: absent) */
    struct bytes *bytes; /* the object as committed; ownership passes to the caller */

    struct list queue_node; /* private */
};

/* A page of a list. Objects in key order, all of one snapshot `revision`. */
struct store_list_request {
    const char *prefix; /* "pods/default/" or "pods/"; "": everything */
    const char *const
        *terms;            /* NULL-terminated or NULL: all must be present; the rarest indexed one is used */
    const char *after_key; /* continue after this key, or NULL */
    size_t limit;          /* 0: no limit */
    /* false: leave it out; may be NULL. Sees key, terms and revisions; bytes is NULL here. Must be quick: it
     * runs inside the snapshot. */
    bool (*match)(void *arg, const struct store_object *object);
    void *match_arg;
    bool keys_only; /* bytes is NULL in the results */
};
struct store_list {
    struct store_object *objects;
    size_t count;
    uint64_t revision;  /* of the snapshot: watching from it misses nothing */
    bool more;          /* limit was reached and more would match */
    uint64_t remaining; /* how many more (counted without matching when `match` is set: then 0) */
};
void store_list_fini(struct store_list *list);

/* Called on the writer thread after a group is durable (or, for volatile writes, visible), in revision order.
 */
typedef void store_on_commit(void *arg, struct store_event *const *events, size_t count);

struct store;
struct store_ops {
    /* Queues writes as one unit: all are queued or none (ERR_TOO_MANY_REQUESTS: back-pressure, nothing was
     * queued). They share a commit but succeed or fail each for itself, in order; volatile ones go before
     * durable ones. Never blocks on the disk.
     */
    int (*submit)(struct store *store, struct store_write *const *writes, size_t count, struct err **err);
    /* ERR_NOT_FOUND. Copies nothing but references. */
    int (*get)(struct store *store, const char *key, struct store_object *object, struct err **err);
    int (*list)(struct store *store, const struct store_list_request *request, struct store_list *list,
                struct err **err);
    /* Events after `after` in order, at most max; *count == 0: none yet. ERR_GONE when `after` is older than
     * the log (or newer than any revision given out). Volatile events are not in the log. Caller unrefs the
     * events. */
    int (*log_read)(struct store *store, uint64_t after, size_t max, struct store_event **events,
                    size_t *count, struct err **err);
    /* The object that the event of this revision changed or deleted, as it was before, if that was written
     * before the log begins; else ERR_NOT_FOUND (it is in the log, or there was none). */
    int (*former)(struct store *store, uint64_t revision, struct store_object *object, struct err **err);
    uint64_t (*revision)(struct store *store);        /* last revision given out and visible */
    uint64_t (*oldest_revision)(struct store *store); /* log_read(after >= this) works */
    /* Whoever has followed the store up to an earlier one must begin anew: its events are gone from the log,
     * or the store went back to a copy since, and what was seen between never was. */
    uint64_t (*resume_revision)(struct store *store);
    uint64_t (*boot_revision)(
        struct store *store); /* first revision of this process: volatile watches before it get 410 */
    const char *(*cluster_id)(struct store *store);
    void (*set_on_commit)(struct store *store, store_on_commit *on_commit,
                          void *arg); /* before the first submit */
    /* A consistent copy, live. A store that is opened on it begins above all revisions of this one. */
    int (*backup)(struct store *store, const char *path, struct err **err);
    void (*close)(struct store *store); /* finishes queued writes, frees */
};
struct store {
    const struct store_ops *ops;
};

/* Sealing of STORE_SEALED bytes; the implementation is auth's (AES-256-GCM), handed in. Both return new bytes
 * or NULL. */
struct store_seal {
    struct bytes *(*seal)(void *arg, const void *data, size_t len);
    struct bytes *(*unseal)(void *arg, const void *data, size_t len, struct err **err);
    void *arg;
};

#endif
