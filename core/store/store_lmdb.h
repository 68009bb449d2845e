/* store_lmdb: the embedded store. Source of behaviour: store.h. */
#ifndef M8_STORE_STORE_LMDB_H
#define M8_STORE_STORE_LMDB_H

#include "base/random.h"
#include "loop/loop.h"
#include "store/store.h"

struct store_lmdb_options {
    const char *directory; /* made if absent, 0700 */
    size_t map_bytes;      /* sparse; 0: 64 GiB */
    bool sync;             /* false only in simulations: no fsync */
    struct loop
        *inline_loop; /* NULL: own writer thread. Else commits run as tasks on this loop, one group a task. */
    uint64_t log_keep_events;      /* compaction: keep at least this many (0: 100,000) … */
    uint64_t log_keep_bytes;       /* … unless they exceed this (0: 256 MiB) */
    const struct clock *clock;     /* NULL: system */
    const struct random *random;   /* NULL: system; for the cluster id */
    const struct store_seal *seal; /* NULL: STORE_SEALED writes are refused */
    void (*on_fatal)(void *arg, const char *message); /* fsync or disk failure; NULL: log and _exit(70) */
    void *on_fatal_arg;
};

/* ERR_CONFLICT when another process holds the directory, ERR_INVALID when the format is newer than this
 * program. */
struct store *store_lmdb_open(const struct store_lmdb_options *options, struct err **err);

/* What SIGKILL leaves, for simulations: frees the store; queued writes are neither committed nor told. */
void store_lmdb_abandon(struct store *store);

struct store_lmdb_stats {
    uint64_t commits;         /* disk transactions, each with its fsync */
    uint64_t groups;          /* with or without one */
    uint64_t writes;          /* that succeeded, volatile ones included */
    uint64_t volatile_writes; /* that succeeded */
    uint64_t refused;         /* by back-pressure */
    uint64_t queued;          /* now */
    uint64_t log_events, log_bytes;
    uint64_t disk_bytes; /* pages in use */
};
void store_lmdb_stats(struct store *store, struct store_lmdb_stats *stats);

#endif
