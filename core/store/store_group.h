/*
 * store_group: one group of writes on its way to the disk, shared by the writer's files: store_check.c (may a
 * write happen?), store_commit.c (apply, commit, publish), store_queue.c (what waits, and the thread).
 * Everything here is the writer's alone.
 */
#ifndef M8_STORE_GROUP_H
#define M8_STORE_GROUP_H

#include "store/store_private.h"

struct group {
    struct store_lmdb *store;
    MDB_txn *txn;           /* begun at the first durable write */
    int rc;                 /* first failure of the disk */
    bool changed;           /* something durable */
    uint64_t revision;      /* last given out */
    struct store_meta meta; /* what will be on disk */
    size_t n_events;        /* in store->events */
    struct map pending;     /* key → the last volatile event of this group (borrowed) */
    int64_t now_ns;
};

/* What is there before a write. */
struct current {
    bool exists;
    uint64_t revision, created_revision;
    unsigned flags;
    size_t revision_at, size; /* size: of the record on disk */
    struct store_terms *terms;
    struct bytes *bytes; /* only when asked for */
};

/* Offset of the revision in bytes of the store's own making: it was put there by event_bytes. */
struct pending {
    struct store_event *event;
    size_t revision_at;
};

/* ---- store_check.c ---- */

bool group_ready(struct group *group); /* a transaction is begun; false: group->rc is set */
/* What there is of the key at this place of the group; current_fini in any case. */
void current_volatile(struct group *group, const char *key, struct current *current);
/* False: group->rc is set, or the bytes cannot be unsealed (*code). */
bool current_durable(struct group *group, const struct store_write *write, struct current *current,
                     enum err_code *code);
void current_fini(struct current *current);
bool write_is_volatile(struct group *group, const struct store_write *write);
/* ERR_NONE, or why the write may not happen: by itself, by what is there, by what it says of other objects.
 */
enum err_code write_check(const struct store_lmdb *store, const struct store_write *write);
enum err_code write_precondition(const struct store_write *write, const struct current *current);
enum err_code write_guards(struct group *group, struct store_write *write);

/* ---- store_commit.c ---- */

/* One group: to the disk, visible, told; calls every `done`. */
void commit_writes(struct store_lmdb *store, struct list *writes);

#endif
