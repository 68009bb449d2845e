/*
 * store_queue: the writes that wait for the writer, and its thread. Whatever is queued becomes one group;
 * volatile writes are a group of their own and go first.
 */
#include "base/log.h"
#include "store/store_group.h"

/* Volatile writes overtake durable ones, so that a heart-beat waits for one slow fsync at most, not for two.
 */
static void queue_take_volatile(struct store_lmdb *store, struct list *writes)
{
    struct store_write *write, *following;
    list_each_safe (write, following, &store->queue, queue_node) {
        if (!(write->flags & STORE_VOLATILE))
            continue;
        list_remove(&write->queue_node);
        list_add_tail(writes, &write->queue_node);
        store->n_queued--;
        store->bytes_queued -= write->len;
    }
}

static void queue_take_all(struct store_lmdb *store, struct list *writes)
{
    if (list_empty(&store->queue))
        return;
    *writes = store->queue;
    writes->next->prev = writes->prev->next = writes;
    list_init(&store->queue);
    store->n_queued = store->bytes_queued = 0;
}

bool commit_group(struct store_lmdb *store)
{
    static void (*const takes[])(struct store_lmdb * store, struct list * writes) = {queue_take_volatile,
                                                                                     queue_take_all};
    bool any = false;
    for (size_t i = 0; i < COUNT_OF(takes); i++) {
        struct list writes;
        list_init(&writes);
        pthread_mutex_lock(&store->lock);
        takes[i](store, &writes);
        pthread_mutex_unlock(&store->lock);
        if (list_empty(&writes))
            continue;
        commit_writes(store, &writes);
        any = true;
    }
    return any;
}

void commit_task(void *arg)
{
    commit_group(arg);
}

void *commit_thread(void *arg)
{
    struct store_lmdb *store = arg;
    bool closing = false;
    while (!closing) {
        pthread_mutex_lock(&store->lock);
        while (list_empty(&store->queue) && !store->closing) {
            store->writer_waits = true;
            pthread_cond_wait(&store->queued, &store->lock);
        }
        store->writer_waits = false;
        closing = store->closing && list_empty(&store->queue);
        pthread_mutex_unlock(&store->lock);
        commit_group(store);
    }
    return NULL;
}

int commit_submit(struct store *base, struct store_write *const *writes, size_t count, struct err **err)
{
    struct store_lmdb *store = CONTAINER_OF(base, struct store_lmdb, base);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += writes[i]->len;
    pthread_mutex_lock(&store->lock);
    /* A unit that is larger than the queue by itself passes when the queue is empty, else it never could. */
    bool full = store->n_queued > 0 && (store->n_queued + count > STORE_QUEUE_OPERATIONS ||
                                        store->bytes_queued + bytes > STORE_QUEUE_BYTES);
    bool first = store->n_queued == 0;
    for (size_t i = 0; i < count && !full; i++)
        list_add_tail(&store->queue, &writes[i]->queue_node);
    if (!full) {
        store->n_queued += count;
        store->bytes_queued += bytes;
    }
    bool wake = store->writer_waits && !full;
    if (wake) {
        store->writer_waits = false;
        pthread_cond_signal(&store->queued);
    }
    pthread_mutex_unlock(&store->lock);
    if (full) {
        atomic_fetch_add_explicit(&store->n_refused, 1, memory_order_relaxed);
        return err_set(err, ERR_TOO_MANY_REQUESTS, "the store's queue is full, try again");
    }
    if (store->timer && first && count > 0)
        loop_timer_start(store->timer, 0);
    return 0;
}
