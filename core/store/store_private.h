/*
 * store_private: the parts of the LMDB store, in reading order: disk (environment, records), memory (volatile
 * objects), queue, check and commit (the writer), read (get, list, log), lmdb (open, close, the vtable).
 *
 * On disk, one LMDB environment:
 *   main     "meta" → struct store_meta (and LMDB's own entries for the named databases below)
 *   objects  key → revision of the record that is its present state
 *   log      revision (big endian) → record: an event, and the only copy of the object's bytes. A record
 * stays after it is compacted from the log while it is the present state of its key. index    hash of
 * "RESOURCE/TERM" (big endian) + key → nothing. Hits are checked against the record's terms. Events of the
 * log are the records with a revision above meta.oldest.
 *   former   revision (big endian) of an event → revision of the record that it replaced, when that had left
 * the log. Such a record stays as long as the event is in the log, so that the past can be told back to
 * oldest.
 */
#ifndef M8_STORE_STORE_PRIVATE_H
#define M8_STORE_STORE_PRIVATE_H

#include <lmdb.h>
#include <pthread.h>

#include "base/map.h"
#include "base/random.h"
#include "store/store.h"
#include "store/store_lmdb.h"

#define STORE_FORMAT 1
#define STORE_RESERVE 50000 /* revisions that may be given out beyond those on disk */
#define STORE_READERS 256

struct store_terms *store_terms_alloc(uint16_t schema_version, size_t count, size_t text_len);
struct store_terms *store_terms_from_text(uint16_t schema_version, size_t count, const char *text,
                                          size_t len);
const char *store_terms_text(const struct store_terms *terms, size_t *len); /* the strings with their NULs */

/* ---- volatile objects: a skip list in key order ---- */

#define MEMORY_LEVELS 12

struct memory_object {
    char *key; /* inside this allocation */
    struct bytes *bytes;
    struct store_terms *terms;
    uint64_t revision, created_revision;
    unsigned flags;
    size_t revision_at;
    unsigned levels;
    struct memory_object *next[];
};

struct store_memory {
    struct memory_object *first[MEMORY_LEVELS];
};

struct memory_object *memory_find(const struct store_memory *memory, const char *key);
struct memory_object *memory_seek(const struct store_memory *memory,
                                  const char *key);                             /* first not before key */
struct memory_object *memory_put(struct store_memory *memory, const char *key); /* finds or makes */
void memory_remove(struct store_memory *memory, const char *key);
void memory_fini(struct store_memory *memory);

/* ---- disk ---- */

struct store_meta {
    uint32_t format, padding;
    char cluster_id[40];
    uint64_t high_water; /* no revision above this was ever given out */
    uint64_t oldest;     /* records up to this are not events of the log any more */
    uint64_t log_events, log_bytes;
};

#define RESTORE_STEP 1000000000 /* revisions that a store jumps at least when it goes back to a copy */
#define RESTORE_RATE 100000     /* revisions a second, above what any store gives out in the long run */
#define RESTORE_EPOCH                                                                                        \
    1735689600 /* 2025: what is counted from here stays below 10^14, which Lua prints exactly */

#define RECORD_PREVIOUS_NONE 0xffff
#define RECORD_PREVIOUS_SAME 0xfffe

struct record_head {
    uint64_t created_revision;
    uint32_t terms_len, previous_len, bytes_len, revision_at;
    uint16_t key_len, schema_version, n_terms, n_previous, previous_schema_version;
    uint8_t type, flags;
    uint32_t padding;
};

/* A record as it lies in the map: the pointers end with the transaction. */
struct record {
    struct record_head head;
    const char *key, *terms, *previous, *bytes;
};

struct store_lmdb {
    struct store base;
    struct store_seal seal;
    struct clock clock;
    bool sync;
    uint64_t log_keep_events, log_keep_bytes;
    void (*on_fatal)(void *arg, const char *message);
    void *on_fatal_arg;
    store_on_commit *on_commit;
    void *on_commit_arg;

    MDB_env *env;
    MDB_dbi main_dbi, objects, log, index, former;
    int lock_fd;
    char *path;
    uint64_t boot_revision;
    uint64_t restored; /* revision at which the store last went back to a copy; 0: never */
    atomic_bool dead;  /* after a fatal error: writes fail, reads go on */

    pthread_mutex_t lock; /* guards the queue and the waiting */
    pthread_cond_t queued, published;
    struct list queue;
    size_t n_queued, bytes_queued;
    bool closing, writer_waits;
    unsigned publish_waiters;

    bool threaded;
    pthread_t writer;
    struct loop_timer *timer; /* inline mode */

    /* the writer's */
    struct store_meta meta; /* as on disk */
    uint64_t revision;      /* last given out */
    struct store_event **events;
    size_t events_capacity;

    /* Held shared while a snapshot is taken, exclusively while a group becomes visible. */
    pthread_rwlock_t visible_lock;
    struct store_memory memory;
    _Atomic uint64_t visible;
    _Atomic uint64_t oldest;

    pthread_mutex_t readers_lock;
    MDB_txn *readers[32]; /* reset, to be renewed */
    size_t n_readers;

    _Atomic uint64_t n_commits, n_groups, n_writes, n_volatile, n_refused, n_log_events, n_log_bytes;
};

int disk_open(struct store_lmdb *store, const struct store_lmdb_options *options, struct err **err);
void disk_close(struct store_lmdb *store);
int disk_mark_copy(struct store_lmdb *store, const char *path, struct err **err);
int disk_error(struct err **err, int rc, const char *what);
void disk_fatal(struct store_lmdb *store, const char *what, int rc);
int disk_put_meta(struct store_lmdb *store, MDB_txn *txn, const struct store_meta *meta);
int disk_get_meta(struct store_lmdb *store, MDB_txn *txn, struct store_meta *meta); /* MDB_NOTFOUND: new */

MDB_txn *disk_read_begin(struct store_lmdb *store, struct err **err);
void disk_read_end(struct store_lmdb *store, MDB_txn *txn);

/* LMDB codes; MDB_NOTFOUND and MDB_CORRUPTED included. */
int disk_get_revision(struct store_lmdb *store, MDB_txn *txn, const char *key, size_t key_len,
                      uint64_t *revision);
int disk_get_record(struct store_lmdb *store, MDB_txn *txn, uint64_t revision, struct record *record);
bool record_parse(const MDB_val *value, struct record *record);
size_t record_size(const struct record_head *head);
struct store_terms *record_terms(const struct record *record);
struct store_terms *record_previous_terms(const struct record *record, struct store_terms *terms);
bool record_has_term(const struct record *record, const char *term);

static inline uint64_t revision_key(uint64_t revision) /* also its inverse */
{
    return __builtin_bswap64(revision);
}

bool index_is_indexed(const char *term);
uint64_t index_hash(const char *key, const char *term); /* big endian */
int index_change(struct store_lmdb *store, MDB_txn *txn, const char *key, const struct store_terms *from,
                 const struct store_terms *to);

/* Clear bytes of a stored object; NULL and err set when they cannot be unsealed. Takes ownership of `stored`.
 */
struct bytes *disk_clear_bytes(struct store_lmdb *store, struct bytes *stored, unsigned flags,
                               struct err **err);

/* ---- commit ---- */

void *commit_thread(void *store);
void commit_task(void *store);               /* inline: one group */
bool commit_group(struct store_lmdb *store); /* false: nothing was queued */
int commit_submit(struct store *store, struct store_write *const *writes, size_t count, struct err **err);
void commit_high_water(
    struct store_lmdb *store); /* at close: the exact one, so that the next start need not jump */
int compact_some(struct store_lmdb *store, MDB_txn *txn, struct store_meta *meta, size_t budget);

/* ---- read ---- */

int read_get(struct store *store, const char *key, struct store_object *object, struct err **err);
int read_list(struct store *store, const struct store_list_request *request, struct store_list *list,
              struct err **err);
int read_log(struct store *store, uint64_t after, size_t max, struct store_event **events, size_t *count,
             struct err **err);
int read_former(struct store *base, uint64_t revision, struct store_object *object, struct err **err);
void read_wait_visible(struct store_lmdb *store, uint64_t revision);

#endif
