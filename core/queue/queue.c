/*
 * The deduplicating work queue. An entry exists while its key waits, is delayed, gated or in work, or has
 * retries to remember; it is on at most one of: the ready list, the gated list, the heap of delays. It does
 * not run anything: `ready` tells the owner, who takes keys when it likes.
 */
#include "queue/queue.h"

#include "base/list.h"
#include "base/map.h"

#define BACKOFF_FIRST_MS 5
#define BACKOFF_MAX_MS 60000

enum place { NOWHERE, READY, GATED };

struct entry {
    char *key;
    struct list node;
    enum place place;
    size_t heap_at; /* index + 1, 0: not delayed */
    int64_t due_ms;
    uint64_t heap_order;
    uint64_t wait_for;
    unsigned retries;
    bool in_work, again;
};

struct queue {
    struct loop *loop;
    void (*ready)(void *arg);
    void *arg;
    struct map entries;
    struct list ready_list, gated_list;
    size_t n_ready;
    uint64_t gated_minimum; /* smallest wait_for on the gated list */
    uint64_t reached;
    struct entry **heap;
    size_t heap_count, heap_capacity;
    uint64_t next_order;
    struct loop_timer *timer, *notify;
};

/* ---- heap of delays, by (due, order) ---- */

static bool heap_before(const struct entry *a, const struct entry *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->heap_order < b->heap_order;
}

static void heap_put(struct queue *q, size_t at, struct entry *entry)
{
    q->heap[at] = entry;
    entry->heap_at = at + 1;
}

static void heap_up(struct queue *q, size_t at)
{
    struct entry *entry = q->heap[at];
    while (at > 0 && heap_before(entry, q->heap[(at - 1) / 2])) {
        heap_put(q, at, q->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(q, at, entry);
}

static void heap_down(struct queue *q, size_t at)
{
    struct entry *entry = q->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= q->heap_count)
            break;
        if (child + 1 < q->heap_count && heap_before(q->heap[child + 1], q->heap[child]))
            child++;
        if (!heap_before(q->heap[child], entry))
            break;
        heap_put(q, at, q->heap[child]);
        at = child;
    }
    heap_put(q, at, entry);
}

static void heap_remove(struct queue *q, struct entry *entry)
{
    if (!entry->heap_at)
        return;
    size_t at = entry->heap_at - 1;
    entry->heap_at = 0;
    struct entry *last = q->heap[--q->heap_count];
    if (last == entry)
        return;
    heap_put(q, at, last);
    heap_up(q, at);
    heap_down(q, last->heap_at - 1);
}

static void heap_add(struct queue *q, struct entry *entry, int64_t due_ms)
{
    if (q->heap_count == q->heap_capacity) {
        q->heap_capacity = q->heap_capacity ? q->heap_capacity * 2 : 16;
        q->heap = mem_resize(q->heap, q->heap_capacity, sizeof(q->heap[0]));
    }
    entry->due_ms = due_ms;
    entry->heap_order = q->next_order++;
    heap_put(q, q->heap_count++, entry);
    heap_up(q, q->heap_count - 1);
}

static void timer_rearm(struct queue *q)
{
    if (q->heap_count)
        loop_timer_start_at(q->timer, q->heap[0]->due_ms);
    else
        loop_timer_stop(q->timer);
}

/* ---- entries ---- */

static void entry_free(void *value)
{
    struct entry *entry = value;
    free(entry->key);
    free(entry);
}

static struct entry *entry_find(const struct queue *q, const char *key)
{
    return map_get(&q->entries, key);
}

static struct entry *entry_ensure(struct queue *q, const char *key)
{
    struct entry *entry = entry_find(q, key);
    if (entry)
        return entry;
    entry = NEW(struct entry);
    entry->key = mem_strdup(key);
    list_init(&entry->node);
    map_set(&q->entries, key, entry);
    return entry;
}

static void entry_drop_if_idle(struct queue *q, struct entry *entry)
{
    if (entry->place == NOWHERE && !entry->heap_at && !entry->in_work && !entry->retries &&
        entry->wait_for <= q->reached)
        map_remove(&q->entries, entry->key);
}

static void leave_place(struct queue *q, struct entry *entry)
{
    if (entry->place == READY)
        q->n_ready--;
    list_remove(&entry->node);
    entry->place = NOWHERE;
}

static void notify(struct queue *q)
{
    if (!loop_timer_running(q->notify))
        loop_timer_start(q->notify, 0);
}

static void make_ready(struct queue *q, struct entry *entry)
{
    if (entry->wait_for > q->reached) {
        entry->place = GATED;
        list_add_tail(&q->gated_list, &entry->node);
        if (entry->wait_for < q->gated_minimum)
            q->gated_minimum = entry->wait_for;
        return;
    }
    entry->place = READY;
    list_add_tail(&q->ready_list, &entry->node);
    q->n_ready++;
    notify(q);
}

static void on_notify(void *arg)
{
    struct queue *q = arg;
    if (q->n_ready)
        q->ready(q->arg);
}

static void on_timer(void *arg)
{
    struct queue *q = arg;
    int64_t now = loop_now_ms(q->loop);
    while (q->heap_count && q->heap[0]->due_ms <= now) {
        struct entry *entry = q->heap[0];
        heap_remove(q, entry);
        queue_add(q, entry->key);
    }
    timer_rearm(q);
}

struct queue *queue_new(struct loop *loop, void (*ready)(void *arg), void *arg)
{
    struct queue *q = NEW(struct queue);
    q->loop = loop;
    q->ready = ready;
    q->arg = arg;
    q->gated_minimum = UINT64_MAX;
    map_init(&q->entries, entry_free);
    list_init(&q->ready_list);
    list_init(&q->gated_list);
    q->timer = loop_timer_new(loop, on_timer, q);
    q->notify = loop_timer_new(loop, on_notify, q);
    return q;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    loop_timer_free(q->timer);
    loop_timer_free(q->notify);
    map_fini(&q->entries);
    free(q->heap);
    free(q);
}

void queue_add(struct queue *q, const char *key)
{
    struct entry *entry = entry_ensure(q, key);
    if (entry->in_work) {
        entry->again = true;
        return;
    }
    if (entry->place != NOWHERE)
        return;
    make_ready(q, entry);
}

void queue_add_after(struct queue *q, const char *key, int64_t delay_ms)
{
    if (delay_ms <= 0) {
        queue_add(q, key);
        return;
    }
    struct entry *entry = entry_ensure(q, key);
    int64_t due = loop_now_ms(q->loop) + delay_ms;
    if (entry->heap_at) {
        if (entry->due_ms <= due)
            return;
        heap_remove(q, entry);
    }
    heap_add(q, entry, due);
    timer_rearm(q);
}

char *queue_take(struct queue *q)
{
    struct entry *entry;
    while ((entry = list_first(&q->ready_list, struct entry, node))) {
        leave_place(q, entry);
        if (entry->wait_for > q->reached) { /* gated after it had become ready */
            make_ready(q, entry);
            continue;
        }
        entry->in_work = true;
        entry->again = false;
        return mem_strdup(entry->key);
    }
    return NULL;
}

void queue_done(struct queue *q, const char *key)
{
    struct entry *entry = entry_find(q, key);
    if (!entry || soft_fails(entry->in_work))
        return;
    entry->in_work = false;
    if (entry->again)
        make_ready(q, entry);
    else
        entry_drop_if_idle(q, entry);
}

void queue_retry(struct queue *q, const char *key)
{
    struct entry *entry = entry_find(q, key);
    if (!entry || soft_fails(entry->in_work))
        return;
    int64_t delay = BACKOFF_MAX_MS;
    if (entry->retries < 14)
        delay = (int64_t)BACKOFF_FIRST_MS << entry->retries;
    entry->retries++;
    /* Changes that came in meanwhile wait for the back-off too: they would meet the same failure. */
    entry->in_work = false;
    entry->again = false;
    queue_add_after(q, entry->key, delay < BACKOFF_MAX_MS ? delay : BACKOFF_MAX_MS);
}

unsigned queue_retries(const struct queue *q, const char *key)
{
    struct entry *entry = entry_find(q, key);
    return entry ? entry->retries : 0;
}

void queue_forget(struct queue *q, const char *key)
{
    struct entry *entry = entry_find(q, key);
    if (!entry)
        return;
    entry->retries = 0;
    entry_drop_if_idle(q, entry);
}

void queue_wait_for(struct queue *q, const char *key, uint64_t revision)
{
    if (revision <= q->reached)
        return;
    struct entry *entry = entry_ensure(q, key);
    if (revision > entry->wait_for)
        entry->wait_for = revision;
}

void queue_reached(struct queue *q, uint64_t revision)
{
    if (revision <= q->reached)
        return;
    q->reached = revision;
    if (revision < q->gated_minimum)
        return;
    q->gated_minimum = UINT64_MAX;
    struct list gated;
    list_init(&gated);
    struct entry *entry, *following;
    list_each_safe (entry, following, &q->gated_list, node) {
        leave_place(q, entry);
        list_add_tail(&gated, &entry->node);
    }
    list_each_safe (entry, following, &gated, node) {
        list_remove(&entry->node);
        make_ready(q, entry);
    }
}

size_t queue_length(const struct queue *q)
{
    return q->n_ready;
}
