/*
 * watch_reader: the consumer's side. A reader is listing, lagging (served from the log and the hub's recent
 * volatile events), or live (served from its queue).
 *
 * Invariant: `processed` only grows; every event after it that the filter selects is still to come from the
 * log, or (live) from the queue. A reader goes live under hub.lock, at a moment when it has processed
 * everything dispatched.
 */
#include <string.h>

#include "watch/watch_private.h"

#define LOG_PAGE 128

void watch_item_fini(struct watch_item *item)
{
    store_event_unref(item->event);
    *item = (struct watch_item){0};
}

void reader_push(struct watch_reader *reader, enum watch_item_type type, uint64_t revision,
                 struct store_event *event)
{
    if (reader->out_count == reader->out_capacity) {
        reader->out_capacity = reader->out_capacity ? reader->out_capacity * 2 : 8;
        reader->out = mem_resize(reader->out, reader->out_capacity, sizeof(*reader->out));
    }
    reader->out[reader->out_count++] = (struct watch_item){type, revision, event};
}

void reader_free(struct watch_reader *reader)
{
    for (size_t i = reader->out_begin; i < reader->out_count; i++)
        watch_item_fini(&reader->out[i]);
    free(reader->out);
    for (size_t i = 0; i < reader->queue_count; i++)
        store_event_unref(reader->queue[(reader->queue_begin + i) % reader->queue_capacity]);
    free(reader->queue);
    initial_free(reader);
    map_fini(&reader->references);
    map_fini(&reader->hub_references);
    filter_free_strings(reader->resources);
    filter_free_strings(reader->shared);
    free(reader->namespace);
    free(reader->name);
    free(reader->node);
    free(reader->node_term);
    pthread_mutex_destroy(&reader->lock);
    pthread_mutex_destroy(&reader->wake_lock);
    free(reader);
}

static void reader_end_initial(struct watch_reader *reader)
{
    if (!reader->initial_pending)
        return;
    reader->initial_pending = false;
    initial_free(reader);
    reader_push(reader, WATCH_INITIAL_END, reader->last_listed, NULL);
}

/* Looks at one event in revision order; takes the reference. */
static int reader_process(struct watch_reader *reader, struct store_event *event, struct err **err)
{
    enum watch_item_type type;
    int result = 0;
    if (reader->initial_pending && event->revision > reader->last_listed)
        reader_end_initial(reader);
    bool known = reader->initial_pending && initial_knows(reader, event);
    if (!known && reader->node)
        result = node_process(reader, event, err);
    else if (!known && filter_event(reader, event, &type))
        reader_push(reader, type, event->revision, store_event_ref(event));
    if (result == 0)
        reader->processed = event->revision;
    store_event_unref(event);
    return result;
}

/* The volatile events in (after, until], referenced; hub.lock held. */
static size_t recent_copy(struct watch_hub *hub, uint64_t after, uint64_t until, struct store_event **into)
{
    size_t count = 0;
    for (size_t i = 0; i < hub->recent_count; i++) {
        struct store_event *event = hub->recent[(hub->recent_begin + i) % hub->recent_capacity];
        if (event->revision > after && event->revision <= until)
            into[count++] = store_event_ref(event);
    }
    return count;
}

static size_t merge_events(struct store_event **a, size_t n_a, struct store_event **b, size_t n_b,
                           struct store_event **into)
{
    size_t i = 0, j = 0, count = 0;
    while (i < n_a || j < n_b) {
        bool first = j == n_b || (i < n_a && a[i]->revision < b[j]->revision);
        into[count++] = first ? a[i++] : b[j++];
    }
    return count;
}

/* Everything in (processed, until]; sets processed to until. */
static int lag_process(struct watch_reader *reader, uint64_t until, struct store_event **log, size_t n_log,
                       struct err **err)
{
    struct watch_hub *hub = reader->hub;
    auto_free struct store_event **recent = NULL;
    size_t n_recent = 0;
    bool lost = false;
    pthread_mutex_lock(&hub->lock);
    if (reader->wants_volatile || reader->node) {
        uint64_t boot = hub->store->ops->boot_revision(hub->store);
        lost = hub->recent_lost > reader->processed && reader->processed >= boot && reader->wants_volatile;
        recent = mem_array(hub->recent_count + 1, sizeof(struct store_event *));
        n_recent = recent_copy(hub, reader->processed, until, recent);
    }
    pthread_mutex_unlock(&hub->lock);
    auto_free struct store_event **all = mem_array(n_log + n_recent + 1, sizeof(struct store_event *));
    size_t count = merge_events(log, n_log, recent, n_recent, all);
    int result = lost ? err_set(err, ERR_GONE, "too far behind for volatile objects") : 0;
    for (size_t i = 0; i < count; i++) {
        if (result == 0)
            result = reader_process(reader, all[i], err);
        else
            store_event_unref(all[i]);
    }
    if (result == 0)
        reader->processed = until;
    return result;
}

/* True: the reader is live. Else *until is the last dispatched revision. */
static bool reader_try_live(struct watch_reader *reader, uint64_t *until)
{
    struct watch_hub *hub = reader->hub;
    pthread_mutex_lock(&hub->lock);
    /* the listing may have seen a group that the store is about to dispatch */
    while (reader->initial_pending && hub->last_revision < reader->last_listed)
        pthread_cond_wait(&hub->published, &hub->lock);
    *until = hub->last_revision;
    bool live = reader->processed >= hub->last_revision;
    if (live) {
        pthread_mutex_lock(&reader->lock);
        reader->live = true;
        reader->live_from = reader->processed;
        pthread_mutex_unlock(&reader->lock);
        if (reader->node)
            node_going_live(reader);
    }
    pthread_mutex_unlock(&hub->lock);
    return live;
}

static int lag_step(struct watch_reader *reader, struct err **err)
{
    struct store *store = reader->hub->store;
    struct store_event *events[LOG_PAGE];
    size_t count = 0, kept = 0;
    uint64_t until = 0;
    if (reader->rewind_references) {
        if (node_rewind(reader, err) != 0)
            return -1;
        reader->rewind_references = false;
    }
    if (reader->initial_pending && reader->processed >= reader->last_listed) {
        reader_end_initial(reader);
        return 0;
    }
    if (reader_try_live(reader, &until)) {
        reader->mode = WATCH_LIVE;
        return 0;
    }
    if (store->ops->log_read(store, reader->processed, LOG_PAGE, events, &count, err) != 0)
        return -1;
    bool full = count == LOG_PAGE;
    while (kept < count && events[kept]->revision <= until)
        kept++;
    if (full && kept == count)
        until = events[count - 1]->revision;
    for (size_t i = kept; i < count; i++)
        store_event_unref(events[i]);
    return lag_process(reader, until, events, kept, err);
}

/* 1: an event was taken out and looked at; 0: nothing now, wake will come. */
static int live_step(struct watch_reader *reader, struct err **err)
{
    struct store_event *event = NULL;
    pthread_mutex_lock(&reader->lock);
    if (reader->overflowed) {
        reader->overflowed = false;
        if (reader->overflow_base > reader->processed)
            reader->processed = reader->overflow_base;
        reader->mode = WATCH_LAGGING;
        pthread_mutex_unlock(&reader->lock);
        return 1;
    }
    if (reader->queue_count > 0) {
        event = reader->queue[reader->queue_begin];
        reader->queue_begin = (reader->queue_begin + 1) % reader->queue_capacity;
        reader->queue_count--;
    } else {
        reader->waiting = true;
    }
    pthread_mutex_unlock(&reader->lock);
    if (!event)
        return 0;
    return reader_process(reader, event, err) == 0 ? 1 : -1;
}

int watch_next(struct watch_reader *reader, struct watch_item *item, struct err **err)
{
    while (reader->out_begin == reader->out_count) {
        int result = 1;
        reader->out_begin = reader->out_count = 0;
        if (reader->mode == WATCH_LISTING)
            result = initial_step(reader, err) == 0 ? 1 : -1;
        else if (reader->mode == WATCH_LAGGING)
            result = lag_step(reader, err) == 0 ? 1 : -1;
        else
            result = live_step(reader, err);
        if (result < 1)
            return result;
    }
    *item = reader->out[reader->out_begin++];
    atomic_fetch_add_explicit(&reader->hub->n_delivered, 1, memory_order_relaxed);
    return 1;
}

uint64_t watch_position(struct watch_reader *reader)
{
    if (reader->initial_pending)
        return 0;
    if (reader->out_begin < reader->out_count)
        return reader->out[reader->out_begin].revision - 1;
    if (reader->mode != WATCH_LIVE)
        return reader->processed;
    struct watch_hub *hub = reader->hub;
    pthread_mutex_lock(&hub->lock);
    pthread_mutex_lock(&reader->lock);
    uint64_t position = reader->processed;
    if (reader->live && reader->queue_count == 0 && hub->last_revision > position)
        position = hub->last_revision;
    pthread_mutex_unlock(&reader->lock);
    pthread_mutex_unlock(&hub->lock);
    return position;
}
