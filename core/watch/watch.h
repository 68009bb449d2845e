/*
 * watch: from committed events to many readers (contracts 2, 9; architecture "Watch").
 *
 * A hub takes store events in revision order (watch_hub_publish is the store's on_commit) and gives each
 * reader exactly the events that its filter selects: no gap, no repeat, no reorder. It dispatches by index
 * (resource, namespace, name, nodeName), never by scanning readers. A reader has a bounded queue; when it
 * overflows the reader is served from the store's log until it has caught up, and gets ERR_GONE only if the
 * log was compacted beyond it. The bytes of an event are shared by all readers (references).
 *
 * Threads: everything may be called from any thread; one reader is used by one thread at a time (watch_close
 * may race with publish). `wake` is called on the publishing thread, without locks of the hub held by others
 * for long; it must only signal. After watch_close returned, wake is not running and is never called again.
 */
#ifndef M8_WATCH_WATCH_H
#define M8_WATCH_WATCH_H

#include "base/selector.h"
#include "base/time.h"
#include "store/store.h"

struct watch_hub;
struct watch_reader;

/* What a reader sees. Strings are copied. */
struct watch_filter {
    const char *const *resources;           /* NULL-terminated list, e.g. {"pods"}; NULL: every resource */
    const char *namespace;                  /* NULL: all */
    const char *name;                       /* NULL: all */
    const struct selector *labels, *fields; /* NULL: all; copied by reference: must outlive the reader */
    /* A node's scope: only objects with term f:spec.nodeName=NODE, the Node/Lease NAMED so, what those pods
     * refer to
     * ("r:" terms), and the resources listed in node_shared. NULL: no such scope. */
    const char *node;
    const char *const *node_shared; /* NULL-terminated */
};

enum watch_item_type { WATCH_ADDED, WATCH_MODIFIED, WATCH_DELETED, WATCH_INITIAL_END, WATCH_BOOKMARK };

/* What the reader is told; type is relative to its filter (stopped matching → DELETED). */
struct watch_item {
    enum watch_item_type type;
    uint64_t revision;
    struct store_event *event; /* NULL for INITIAL_END and BOOKMARK; owned by the item */
};
void watch_item_fini(struct watch_item *item);

struct watch_hub *watch_hub_new(struct store *store, const struct clock *clock);
void watch_hub_free(struct watch_hub *hub); /* no reader may be left */
void watch_hub_publish(void *hub, struct store_event *const *events, size_t count); /* a store_on_commit */

/* from: revision after which to begin; with `initial` first ADDED for everything that matches at one
 * snapshot, then INITIAL_END, then live (from is ignored). ERR_GONE: too old, newer than the server knows, or
 * a resource that is volatile (see watch_hub_set_volatile) and before this boot. A reader of every resource
 * (resources NULL) and a node's may resume across a boot: volatile objects from before it are then neither
 * repeated nor deleted. If something is written while the initial objects are read, its events (also MODIFIED
 * and DELETED) come before INITIAL_END; what was told up to INITIAL_END is exactly the state at its revision.
 * A node's reader: an object that a pod of the node newly refers to comes as ADDED, with the revision of the
 * pod's event, before that event; when no pod refers to it any more it comes as DELETED after it. */
struct watch_reader *watch_open(struct watch_hub *hub, const struct watch_filter *filter, uint64_t from,
                                bool initial, void (*wake)(void *arg), void *arg, struct err **err);
/* 1: *item is filled. 0: nothing now, wake will be called. -1: err set (ERR_GONE), the reader is finished. */
int watch_next(struct watch_reader *reader, struct watch_item *item, struct err **err);
/* The revision up to which this reader has seen everything (for bookmarks). */
uint64_t watch_position(struct watch_reader *reader);
void watch_close(struct watch_reader *reader);

/* Resources whose events are volatile; data from the kinds. */
void watch_hub_set_volatile(struct watch_hub *hub, const char *const *resources);

/* Events that may wait for one reader before it is served from the log (default 4,096). For readers opened
 * later. */
void watch_hub_set_queue_limit(struct watch_hub *hub, size_t events);

struct watch_stats {
    uint64_t published, delivered, overflowed, readers;
    int64_t dispatch_ns; /* from the beginning of the last group's commit to the end of its dispatch */
};
void watch_hub_stats(struct watch_hub *hub, struct watch_stats *stats);

#endif
