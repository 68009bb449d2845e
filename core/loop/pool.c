/*
 * pool: threads for calls that block; or none, and the work runs on the loop (simulation).
 *
 * Work is taken in the order of submission. It does not grow, cancel or time out: the callers bound what they
 * submit. Invariant: an item belongs to exactly one of the queue, a thread, or (n_threads == 0) the task
 * posted to the loop.
 */
#include <pthread.h>
#include <signal.h>

#include "loop/loop_private.h"

struct pool_item {
    struct pool *pool;
    struct loop *loop;
    loop_task *work, *done;
    void *arg;
    struct list node;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct list queue;
    bool closing;
    size_t n_threads;
    pthread_t threads[];
};

static void *pool_thread(void *arg)
{
    struct pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->closing && list_empty(&pool->queue))
            pthread_cond_wait(&pool->changed, &pool->lock);
        if (pool->closing)
            break;
        struct pool_item *item = list_first(&pool->queue, struct pool_item, node);
        list_remove(&item->node);
        pthread_mutex_unlock(&pool->lock);
        item->work(item->arg);
        if (item->done)
            loop_post(item->loop, item->done, item->arg);
        free(item);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

struct pool *pool_new(size_t n_threads)
{
    struct pool *pool = mem_alloc(sizeof(*pool) + n_threads * sizeof(pthread_t));
    must(pthread_mutex_init(&pool->lock, NULL) == 0);
    must(pthread_cond_init(&pool->changed, NULL) == 0);
    list_init(&pool->queue);
    pool->n_threads = n_threads;
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous); /* signals are the loop's */
    for (size_t i = 0; i < n_threads; i++)
        must(pthread_create(&pool->threads[i], NULL, pool_thread, pool) == 0);
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    return pool;
}

/* False: the pool was freed, the item is dropped. */
static bool inline_take(struct pool_item *item)
{
    if (!item->pool)
        return false;
    pthread_mutex_lock(&item->pool->lock);
    list_remove(&item->node);
    pthread_mutex_unlock(&item->pool->lock);
    return true;
}

static void inline_drop(void *arg)
{
    struct pool_item *item = arg;
    inline_take(item);
    free(item);
}

static void inline_run(void *arg)
{
    struct pool_item *item = arg;
    if (inline_take(item)) {
        item->work(item->arg);
        if (item->done)
            loop_post(item->loop, item->done, item->arg);
    }
    free(item);
}

void pool_run(struct pool *pool, struct loop *loop, loop_task *work, loop_task *done, void *arg)
{
    struct pool_item *item = NEW(struct pool_item);
    *item = (struct pool_item){.pool = pool, .loop = loop, .work = work, .done = done, .arg = arg};
    pthread_mutex_lock(&pool->lock);
    list_add_tail(&pool->queue, &item->node);
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    if (pool->n_threads == 0)
        loop_post_droppable(loop, inline_run, inline_drop, item);
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    struct pool_item *item, *following;
    list_each_safe (item, following, &pool->queue, node) {
        list_remove(&item->node);
        if (pool->n_threads == 0)
            item->pool = NULL; /* the posted task frees it */
        else
            free(item);
    }
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
