/*
 * store_lmdb: opening and closing the embedded store, and its vtable.
 *
 * The revision of a start is one above the persisted high-water mark, so that no revision of an earlier
 * process, stored or volatile, comes again (contract 7). The first start from a copy jumps far past it, as
 * the process that went on after the copy was made has given out more.
 */
#include "store/store_lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "store/store_private.h"

static struct store_lmdb *lmdb_of(struct store *base)
{
    return CONTAINER_OF(base, struct store_lmdb, base);
}

static uint64_t lmdb_revision(struct store *base)
{
    return atomic_load(&lmdb_of(base)->visible);
}

static uint64_t lmdb_oldest_revision(struct store *base)
{
    return atomic_load(&lmdb_of(base)->oldest);
}

static uint64_t lmdb_resume_revision(struct store *base)
{
    uint64_t oldest = lmdb_oldest_revision(base), restored = lmdb_of(base)->restored;
    return oldest > restored ? oldest : restored;
}

static uint64_t lmdb_boot_revision(struct store *base)
{
    return lmdb_of(base)->boot_revision;
}

static const char *lmdb_cluster_id(struct store *base)
{
    return lmdb_of(base)->meta.cluster_id;
}

static void lmdb_set_on_commit(struct store *base, store_on_commit *on_commit, void *arg)
{
    struct store_lmdb *store = lmdb_of(base);
    store->on_commit = on_commit;
    store->on_commit_arg = arg;
}

static int lmdb_backup(struct store *base, const char *path, struct err **err)
{
    struct store_lmdb *store = lmdb_of(base);
    int rc = mdb_env_copy2(store->env, path, MDB_CP_COMPACT); /* refuses an existing file */
    if (rc != 0) {
        if (rc != EEXIST)
            unlink(path);
        return disk_error(err, rc, path);
    }
    if (disk_mark_copy(store, path, err) != 0) {
        unlink(path);
        return -1;
    }
    auto_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_errno(err, errno, "cannot sync %s", path);
    return 0;
}

static void lmdb_free(struct store_lmdb *store)
{
    loop_timer_free(store->timer);
    disk_close(store);
    memory_fini(&store->memory);
    pthread_cond_destroy(&store->queued);
    pthread_cond_destroy(&store->published);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->readers_lock);
    pthread_rwlock_destroy(&store->visible_lock);
    free(store->events);
    free(store);
}

static void lmdb_join(struct store_lmdb *store)
{
    if (!store->threaded)
        return;
    pthread_mutex_lock(&store->lock);
    store->closing = true;
    pthread_cond_signal(&store->queued);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->writer, NULL);
}

static void lmdb_close(struct store *base)
{
    if (!base)
        return;
    struct store_lmdb *store = lmdb_of(base);
    lmdb_join(store);
    while (commit_group(store))
        ;
    commit_high_water(store);
    lmdb_free(store);
}

void store_lmdb_abandon(struct store *base)
{
    struct store_lmdb *store = lmdb_of(base);
    pthread_mutex_lock(&store->lock);
    list_init(&store->queue);
    pthread_mutex_unlock(&store->lock);
    lmdb_join(store);
    lmdb_free(store);
}

void store_lmdb_stats(struct store *base, struct store_lmdb_stats *stats)
{
    struct store_lmdb *store = lmdb_of(base);
    MDB_envinfo info = {0};
    MDB_stat stat = {0};
    mdb_env_info(store->env, &info);
    mdb_env_stat(store->env, &stat);
    pthread_mutex_lock(&store->lock);
    *stats = (struct store_lmdb_stats){.commits = atomic_load(&store->n_commits),
                                       .groups = atomic_load(&store->n_groups),
                                       .writes = atomic_load(&store->n_writes),
                                       .volatile_writes = atomic_load(&store->n_volatile),
                                       .refused = atomic_load(&store->n_refused),
                                       .queued = store->n_queued,
                                       .log_events = atomic_load(&store->n_log_events),
                                       .log_bytes = atomic_load(&store->n_log_bytes),
                                       .disk_bytes = (info.me_last_pgno + 1) * stat.ms_psize};
    pthread_mutex_unlock(&store->lock);
}

static const struct store_ops lmdb_ops = {
    .submit = commit_submit,
    .get = read_get,
    .list = read_list,
    .log_read = read_log,
    .former = read_former,
    .revision = lmdb_revision,
    .oldest_revision = lmdb_oldest_revision,
    .resume_revision = lmdb_resume_revision,
    .boot_revision = lmdb_boot_revision,
    .cluster_id = lmdb_cluster_id,
    .set_on_commit = lmdb_set_on_commit,
    .backup = lmdb_backup,
    .close = lmdb_close,
};

static struct store_lmdb *lmdb_alloc(const struct store_lmdb_options *options)
{
    struct store_lmdb *store = NEW(struct store_lmdb);
    store->base.ops = &lmdb_ops;
    store->lock_fd = -1;
    store->clock = options->clock ? *options->clock : clock_system;
    store->sync = options->sync;
    store->log_keep_events = options->log_keep_events ? options->log_keep_events : 100000;
    store->log_keep_bytes = options->log_keep_bytes ? options->log_keep_bytes : 256u << 20;
    store->on_fatal = options->on_fatal;
    store->on_fatal_arg = options->on_fatal_arg;
    if (options->seal)
        store->seal = *options->seal;
    list_init(&store->queue);
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes); /* else a stream of readers could hold up the writer for ever */
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    must(pthread_rwlock_init(&store->visible_lock, &attributes) == 0);
    pthread_rwlockattr_destroy(&attributes);
    must(pthread_mutex_init(&store->lock, NULL) == 0);
    must(pthread_mutex_init(&store->readers_lock, NULL) == 0);
    must(pthread_cond_init(&store->queued, NULL) == 0);
    must(pthread_cond_init(&store->published, NULL) == 0);
    return store;
}

struct store *store_lmdb_open(const struct store_lmdb_options *options, struct err **err)
{
    struct store_lmdb *store = lmdb_alloc(options);
    if (disk_open(store, options, err) != 0) {
        lmdb_free(store);
        err_wrap(err, "cannot open the store in %s", options->directory);
        return NULL;
    }
    store->boot_revision = store->revision = store->meta.high_water + 1;
    atomic_store(&store->visible, store->revision);
    atomic_store(&store->oldest, store->meta.oldest);
    atomic_store(&store->n_log_events, store->meta.log_events);
    atomic_store(&store->n_log_bytes, store->meta.log_bytes);
    if (options->inline_loop) {
        store->timer = loop_timer_new(options->inline_loop, commit_task, store);
        return &store->base;
    }
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous); /* signals are the loop's */
    must(pthread_create(&store->writer, NULL, commit_thread, store) == 0);
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    store->threaded = true;
    log_info("store", "opened %s, cluster %s, revision %llu", store->path, store->meta.cluster_id,
             (unsigned long long)store->revision);
    return &store->base;
}
