/*
 * store_disk: the LMDB environment: opening, the lock against a second process, the meta record, read
 * transactions.
 *
 * LMDB writes pages with pwrite, syncs, then writes the meta page through an O_DSYNC descriptor: two flushes
 * a commit, and a torn or lost write leaves the previous root. It does not migrate formats yet: there is one.
 * Invariants: one process has the directory (flock); pages are zeroed before use (no MDB_NOMEMINIT), so that
 * no clear text of a Secret reaches the disk by way of recycled memory; a read transaction is never kept over
 * anything slow.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "store/store_private.h"

#define DEFAULT_MAP_BYTES ((size_t)64 << 30)
#define META_KEY "meta"
#define RESTORED_KEY "restored" /* 0 in a copy that no store was opened on; absent: this is no copy */

int disk_error(struct err **err, int rc, const char *what)
{
    if (rc == MDB_MAP_FULL)
        return err_set(err, ERR_IO, "%s: the store's map is full", what);
    if (rc == MDB_READERS_FULL)
        return err_set(err, ERR_UNAVAILABLE, "%s: too many readers at once", what);
    return err_set(err, ERR_IO, "%s: %s", what, mdb_strerror(rc));
}

void disk_fatal(struct store_lmdb *store, const char *what, int rc)
{
    auto_free char *message = mem_printf("%s: %s", what, mdb_strerror(rc));
    atomic_store(&store->dead, true);
    if (store->on_fatal) {
        store->on_fatal(store->on_fatal_arg, message);
        return;
    }
    log_error("store", "the disk failed, ending: %s", message);
    _exit(70);
}

int disk_put_meta(struct store_lmdb *store, MDB_txn *txn, const struct store_meta *meta)
{
    MDB_val key = {strlen(META_KEY), META_KEY}, value = {sizeof(*meta), (void *)meta};
    return mdb_put(txn, store->main_dbi, &key, &value, 0);
}

int disk_get_meta(struct store_lmdb *store, MDB_txn *txn, struct store_meta *meta)
{
    MDB_val key = {strlen(META_KEY), META_KEY}, value;
    int rc = mdb_get(txn, store->main_dbi, &key, &value);
    if (rc != 0)
        return rc;
    uint32_t format = 0;
    if (value.mv_size < sizeof(format))
        return MDB_CORRUPTED;
    memcpy(&format, value.mv_data, sizeof(format));
    *meta = (struct store_meta){.format = format};
    if (format <= STORE_FORMAT) { /* a newer one may have another shape */
        if (value.mv_size != sizeof(*meta))
            return MDB_CORRUPTED;
        memcpy(meta, value.mv_data, sizeof(*meta));
        meta->cluster_id[sizeof(meta->cluster_id) - 1] = '\0';
    }
    return 0;
}

static int disk_lock(struct store_lmdb *store, const char *directory, struct err **err)
{
    auto_free char *path = file_join(directory, "lock");
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->lock_fd < 0)
        return err_errno(err, errno, "cannot open %s", path);
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(err, ERR_CONFLICT, "%s is in use by another process", directory);
    return err_errno(err, errno, "cannot lock %s", path);
}

/* The name of a new file is durable only when its directory is. */
static int disk_sync_directory(const char *directory, struct err **err)
{
    auto_free char *parent = file_join(directory, "..");
    const char *const paths[] = {directory, parent};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        auto_fd fd = open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) != 0)
            return err_errno(err, errno, "cannot sync %s", paths[i]);
    }
    return 0;
}

static int disk_environment(struct store_lmdb *store, const struct store_lmdb_options *options,
                            struct err **err)
{
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | (store->sync ? 0 : MDB_NOSYNC | MDB_NOMETASYNC);
    int rc = mdb_env_create(&store->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(store->env, options->map_bytes ? options->map_bytes : DEFAULT_MAP_BYTES);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(store->env, 4);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(store->env, STORE_READERS);
    if (rc == 0)
        rc = mdb_env_open(store->env, store->path, flags, 0600);
    return rc == 0 ? 0 : disk_error(err, rc, store->path);
}

static int disk_open_databases(struct store_lmdb *store, MDB_txn *txn)
{
    int rc = mdb_dbi_open(txn, NULL, 0, &store->main_dbi);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "objects", MDB_CREATE, &store->objects);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "log", MDB_CREATE, &store->log);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "index", MDB_CREATE, &store->index);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "former", MDB_CREATE, &store->former);
    return rc;
}

static int disk_new_meta(struct store_lmdb *store, MDB_txn *txn, const struct random *random)
{
    store->meta = (struct store_meta){.format = STORE_FORMAT};
    random_uid(random ? random : &random_system, store->meta.cluster_id);
    return disk_put_meta(store, txn, &store->meta);
}

static int put_restored(MDB_txn *txn, MDB_dbi dbi, uint64_t revision)
{
    MDB_val key = {strlen(RESTORED_KEY), RESTORED_KEY}, value = {sizeof(revision), &revision};
    return mdb_put(txn, dbi, &key, &value, 0);
}

/* Others have seen revisions that came after the copy, and the same copy may serve again later: the clock,
 * not only a step, takes this start above all that any start before it gave out. */
static int disk_restore(struct store_lmdb *store, MDB_txn *txn)
{
    int64_t seconds = clock_wall_ns(&store->clock) / 1000000000 - RESTORE_EPOCH;
    uint64_t by_clock = seconds > 0 ? (uint64_t)seconds * RESTORE_RATE : 0;
    uint64_t by_step = store->meta.high_water + RESTORE_STEP;
    store->meta.high_water = by_clock > by_step ? by_clock : by_step;
    store->restored = store->meta.high_water + 1;
    int rc = disk_put_meta(store, txn, &store->meta);
    return rc == 0 ? put_restored(txn, store->main_dbi, store->restored) : rc;
}

static int disk_load_restored(struct store_lmdb *store, MDB_txn *txn)
{
    MDB_val key = {strlen(RESTORED_KEY), RESTORED_KEY}, value;
    int rc = mdb_get(txn, store->main_dbi, &key, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    if (value.mv_size != sizeof(store->restored))
        return MDB_CORRUPTED;
    memcpy(&store->restored, value.mv_data, sizeof(store->restored));
    return store->restored ? 0 : disk_restore(store, txn);
}

static int mark_copy(MDB_env *env, size_t map_bytes, const char *path)
{
    MDB_txn *txn = NULL;
    MDB_dbi dbi;
    int rc = mdb_env_set_mapsize(env, map_bytes);
    if (rc == 0)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (rc == 0)
        rc = mdb_txn_begin(env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &dbi);
    if (rc == 0)
        rc = put_restored(txn, dbi, 0);
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

/* Whoever opens the copy at path knows that it is one. */
int disk_mark_copy(struct store_lmdb *store, const char *path, struct err **err)
{
    MDB_envinfo info = {0};
    MDB_env *copy = NULL;
    mdb_env_info(store->env, &info);
    int rc = mdb_env_create(&copy);
    if (rc == 0) {
        rc = mark_copy(copy, info.me_mapsize, path);
        mdb_env_close(copy);
    }
    return rc == 0 ? 0 : disk_error(err, rc, path);
}

/* Opens the databases and reads, or makes, the meta record. *made: the store is new. */
static int disk_load(struct store_lmdb *store, const struct random *random, bool *made, struct err **err)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (rc != 0)
        return disk_error(err, rc, store->path);
    MDB_stat stat = {0};
    rc = mdb_dbi_open(txn, NULL, 0, &store->main_dbi);
    if (rc == 0)
        rc = mdb_stat(txn, store->main_dbi, &stat);
    if (rc == 0)
        rc = disk_get_meta(store, txn, &store->meta);
    *made = rc == MDB_NOTFOUND && stat.ms_entries == 0;
    if (rc == 0 && store->meta.format > STORE_FORMAT) {
        mdb_txn_abort(txn);
        return err_set(err, ERR_INVALID, "%s has format %u, this program knows formats up to %d", store->path,
                       store->meta.format, STORE_FORMAT);
    }
    if (rc == 0 || *made)
        rc = disk_open_databases(store, txn);
    if (rc == 0 && *made)
        rc = disk_new_meta(store, txn, random);
    if (rc == 0)
        rc = disk_load_restored(store, txn);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return disk_error(err, rc, store->path);
    }
    rc = mdb_txn_commit(txn); /* nothing is written when nothing was made */
    return rc == 0 ? 0 : disk_error(err, rc, store->path);
}

/* A new file gets its name only when it is whole and synced: a loss of power during the first start must not
 * leave one that can never be opened. */
static int disk_make(struct store_lmdb *store, const struct store_lmdb_options *options, const char *path,
                     struct err **err)
{
    bool made = false;
    auto_free char *lock_path = mem_printf("%s-lock", store->path);
    unlink(store->path);
    if (disk_environment(store, options, err) != 0 || disk_load(store, options->random, &made, err) != 0)
        return -1;
    int rc = mdb_env_sync(store->env, 1);
    mdb_env_close(steal(&store->env));
    if (rc != 0)
        return disk_error(err, rc, store->path);
    if (rename(store->path, path) != 0)
        return err_errno(err, errno, "cannot rename %s", store->path);
    unlink(lock_path);
    return disk_sync_directory(options->directory, err);
}

int disk_open(struct store_lmdb *store, const struct store_lmdb_options *options, struct err **err)
{
    bool made = false;
    if (file_make_dirs(options->directory, 0700, err) != 0)
        return -1;
    if (disk_lock(store, options->directory, err) != 0)
        return -1;
    auto_free char *path = file_join(options->directory, "store.mdb");
    if (store->sync && !file_exists(path)) {
        store->path = file_join(options->directory, "store.new");
        if (disk_make(store, options, path, err) != 0)
            return -1;
        free(store->path);
    }
    store->path = steal(&path);
    if (disk_environment(store, options, err) != 0)
        return -1;
    return disk_load(store, options->random, &made, err);
}

void disk_close(struct store_lmdb *store)
{
    for (size_t i = 0; i < store->n_readers; i++)
        mdb_txn_abort(store->readers[i]);
    if (store->env)
        mdb_env_close(store->env);
    fd_cleanup(&store->lock_fd);
    free(store->path);
}

MDB_txn *disk_read_begin(struct store_lmdb *store, struct err **err)
{
    MDB_txn *txn = NULL;
    pthread_mutex_lock(&store->readers_lock);
    if (store->n_readers > 0)
        txn = store->readers[--store->n_readers];
    pthread_mutex_unlock(&store->readers_lock);
    int rc = txn ? mdb_txn_renew(txn) : mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        return txn;
    if (txn)
        mdb_txn_abort(txn);
    disk_error(err, rc, "cannot read the store");
    return NULL;
}

void disk_read_end(struct store_lmdb *store, MDB_txn *txn)
{
    mdb_txn_reset(txn);
    pthread_mutex_lock(&store->readers_lock);
    if (store->n_readers < COUNT_OF(store->readers)) {
        store->readers[store->n_readers++] = txn;
        txn = NULL;
    }
    pthread_mutex_unlock(&store->readers_lock);
    if (txn)
        mdb_txn_abort(txn);
}

struct bytes *disk_clear_bytes(struct store_lmdb *store, struct bytes *stored, unsigned flags,
                               struct err **err)
{
    if (!stored || !(flags & STORE_SEALED))
        return stored;
    struct bytes *clear = NULL;
    if (store->seal.unseal)
        clear = store->seal.unseal(store->seal.arg, stored->data, stored->len, err);
    else
        err_set(err, ERR_INTERNAL, "a sealed object, and no key to open it");
    bytes_unref(stored);
    return clear;
}
