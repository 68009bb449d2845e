/*
 * watch_private: hub, reader, and what the parts of watch share.
 *
 * Locks: hub.lock, then reader.lock; reader.wake_lock alone. The consumer of a reader owns everything that is
 * not said to be guarded; only one thread uses a reader at a time.
 */
#ifndef M8_WATCH_WATCH_PRIVATE_H
#define M8_WATCH_WATCH_PRIVATE_H

#include <pthread.h>

#include "base/map.h"
#include "base/str.h"
#include "watch/watch.h"

#define NODE_TERM "f:spec.nodeName="
#define VOLATILE_KEEP_EVENTS 8192
#define VOLATILE_KEEP_BYTES (4u << 20)

/* Readers that want the events of one dispatch key; see channel_keys in watch_hub.c. */
struct watch_channel {
    struct list subscriptions;
};

struct watch_subscription {
    struct watch_reader *reader;
    char *channel;
    struct list in_channel, in_reader;
};

struct watch_hub {
    struct store *store;
    const struct clock *clock;
    pthread_mutex_t lock;
    pthread_cond_t published;
    struct map channels;
    uint64_t last_revision; /* of the last event that was dispatched */
    size_t queue_limit;
    struct map volatile_resources;
    /* recent volatile events, oldest first: what the log is for the others */
    struct store_event **recent;
    size_t recent_begin, recent_count, recent_capacity, recent_bytes; /* a ring */
    uint64_t recent_lost; /* the newest volatile revision that is no more in it */
    size_t n_readers;
    int64_t dispatch_ns;
    _Atomic uint64_t n_published, n_delivered, n_overflowed;
};

/* One listing that `initial` asks for: everything of a prefix, page after page, each page at its own
 * revision. */
struct watch_page {
    char *bound; /* the last key that it covers; NULL: to the end of the prefix */
    uint64_t revision;
};
struct watch_listing {
    char *prefix;
    bool exact;  /* prefix is a key */
    bool scoped; /* only the node's */
    bool ended;
    char *after;
    struct watch_page *pages;
    size_t n_pages;
};

enum watch_mode { WATCH_LISTING, WATCH_LAGGING, WATCH_LIVE };

/* An object that pods of the node refer to. */
struct watch_reference {
    unsigned count;
    bool present;  /* the reader was told of it */
    uint64_t seen; /* its events up to this revision are known already */
};

struct watch_reader {
    struct watch_hub *hub;
    atomic_uint refs;
    /* the filter, copied */
    char **resources; /* NULL: all */
    char *namespace, *name, *node, *node_term;
    char **shared; /* NULL: none */
    const struct selector *labels, *fields;
    bool wants_volatile;

    enum watch_mode mode;
    uint64_t processed; /* everything up to here has been looked at */
    struct watch_item *out;
    size_t out_begin, out_count, out_capacity; /* out[begin .. count) are to be handed out */

    struct watch_listing *listings;
    size_t n_listings, next_listing;
    bool initial_pending; /* INITIAL_END is to come */
    uint64_t first_listed, last_listed;
    bool rewind_references;    /* a node's reader that resumes: its references must be those of `processed` */
    struct map references;     /* key → struct watch_reference */
    struct map hub_references; /* key → count as of the last published event; guarded by hub.lock */

    pthread_mutex_t lock; /* guards the following */
    bool live, overflowed, waiting;
    uint64_t live_from; /* only newer events are queued */
    uint64_t overflow_base;
    struct store_event **queue; /* ring */
    size_t queue_begin, queue_count, queue_capacity, queue_limit;

    struct list subscriptions;      /* guarded by hub.lock */
    struct watch_reader *next_wake; /* both are the publishing thread's */
    bool chained;
    pthread_mutex_t wake_lock;
    bool closed; /* guarded by wake_lock */
    void (*wake)(void *arg);
    void *arg;
};

/* ---- watch_filter.c ---- */

/* What the event is for this reader; false: nothing. Not for a node's references. */
bool filter_event(const struct watch_reader *reader, const struct store_event *event,
                  enum watch_item_type *type);
bool filter_matches(const struct watch_reader *reader, const char *key, const struct store_terms *terms);
bool filter_lists_resource(char *const *resources, const char *key);
/* Terms that every match has, for the index: NULL-terminated, caller frees with filter_free_terms. */
char **filter_index_terms(const struct watch_reader *reader, bool scoped);
void filter_free_strings(char **strings);
char **filter_copy_strings(const char *const *strings);

/* ---- watch_hub.c ---- */

void hub_subscribe(struct watch_reader *reader, const char *channel);   /* hub.lock held */
void hub_unsubscribe(struct watch_reader *reader, const char *channel); /* hub.lock held */
void reader_unref(struct watch_reader *reader);

/* ---- watch_reader.c ---- */

void reader_free(struct watch_reader *reader);
void reader_push(struct watch_reader *reader, enum watch_item_type type, uint64_t revision,
                 struct store_event *event); /* takes the event */

/* ---- watch_initial.c ---- */

void initial_plan(struct watch_reader *reader);
int initial_step(struct watch_reader *reader, struct err **err);
bool initial_knows(const struct watch_reader *reader, const struct store_event *event);
void initial_free(struct watch_reader *reader);

/* ---- watch_node.c ---- */

/* Puts what the event is for a node's reader into `out`. */
int node_process(struct watch_reader *reader, struct store_event *event, struct err **err);
/* Counts the references of an object that the initial listing told, and tells those that are new. */
int node_listed(struct watch_reader *reader, const struct store_object *object, struct err **err);
/* References as of `processed`, from what is stored now and the log. */
int node_rewind(struct watch_reader *reader, struct err **err);
void node_published(struct watch_reader *reader, const struct store_event *event); /* hub.lock held */
void node_going_live(struct watch_reader *reader);                                 /* hub.lock held */
void node_subscribe(struct watch_reader *reader);                                  /* hub.lock held */

#endif
