/*
 * watch_hub: dispatch of committed events to the readers that may want them, opening and closing of readers.
 *
 * Readers subscribe to channels, text keys that an event leads to without a scan (channel_keys): everything,
 * its resource, its namespace, its own key, its name in any namespace, its node. A reader has one kind of
 * channel for a resource; where two overlap (a node's), the second copy is dropped by its revision. It does
 * no filtering for nodes: their events are decided when taken out (watch_node.c), because that needs state
 * that must follow the reader's own position. Invariant: while a reader is live, its queue holds every
 * candidate after `live_from`; when the queue would overflow it is dropped whole and the reader goes back to
 * the log at the event before the first dropped one.
 */
#include <stdio.h>
#include <string.h>

#include "store/keys.h"
#include "watch/watch_private.h"

#define MAX_CHANNELS 8

void hub_subscribe(struct watch_reader *reader, const char *key)
{
    struct watch_hub *hub = reader->hub;
    struct watch_channel *channel = map_get(&hub->channels, key);
    if (!channel) {
        channel = NEW(struct watch_channel);
        list_init(&channel->subscriptions);
        map_set(&hub->channels, key, channel);
    }
    struct watch_subscription *subscription = NEW(struct watch_subscription);
    subscription->reader = reader;
    subscription->channel = mem_strdup(key);
    list_add_tail(&channel->subscriptions, &subscription->in_channel);
    list_add_tail(&reader->subscriptions, &subscription->in_reader);
}

static void subscription_free(struct watch_subscription *subscription)
{
    struct watch_hub *hub = subscription->reader->hub;
    struct watch_channel *channel = map_get(&hub->channels, subscription->channel);
    list_remove(&subscription->in_channel);
    list_remove(&subscription->in_reader);
    if (channel && list_empty(&channel->subscriptions))
        map_remove(&hub->channels, subscription->channel);
    free(subscription->channel);
    free(subscription);
}

void hub_unsubscribe(struct watch_reader *reader, const char *key)
{
    struct watch_subscription *subscription, *following;
    list_each_safe (subscription, following, &reader->subscriptions, in_reader) {
        if (strcmp(subscription->channel, key) != 0)
            continue;
        subscription_free(subscription);
        return;
    }
}

/* One channel for each way of wanting this event; `text` backs the strings. */
static size_t channel_keys(const struct store_event *event, char text[MAX_CHANNELS][640],
                           const char *keys[MAX_CHANNELS])
{
    struct store_key_parts parts;
    size_t count = 0;
    keys[count++] = "";
    if (!store_key_split(event->key, &parts) || strlen(event->key) > STORE_MAX_KEY)
        return count;
    int resource = (int)parts.resource_len;
    snprintf(text[count], 640, "%.*s/", resource, event->key);
    keys[count] = text[count];
    count++;
    if (parts.namespace_len > 0) {
        snprintf(text[count], 640, "%.*s", (int)(parts.name - event->key), event->key);
        keys[count] = text[count];
        count++;
    }
    keys[count++] = event->key;
    snprintf(text[count], 640, "%.*s\001%s", resource, event->key, parts.name);
    keys[count] = text[count];
    count++;
    return count;
}

static void reader_enqueue(struct watch_reader *reader, struct store_event *event, struct watch_reader **wake)
{
    pthread_mutex_lock(&reader->lock);
    bool wanted = reader->live && event->revision > reader->live_from;
    if (wanted && reader->queue_count == reader->queue_limit) {
        reader->overflow_base = reader->queue[reader->queue_begin]->revision - 1;
        for (size_t i = 0; i < reader->queue_count; i++)
            store_event_unref(reader->queue[(reader->queue_begin + i) % reader->queue_capacity]);
        reader->queue_begin = reader->queue_count = 0;
        reader->live = false;
        reader->overflowed = true;
        atomic_fetch_add_explicit(&reader->hub->n_overflowed, 1, memory_order_relaxed);
    } else if (wanted) {
        if (reader->queue_count == reader->queue_capacity) {
            size_t capacity = reader->queue_capacity ? reader->queue_capacity * 2 : 8;
            struct store_event **queue = mem_array(capacity, sizeof(*queue));
            for (size_t i = 0; i < reader->queue_count; i++)
                queue[i] = reader->queue[(reader->queue_begin + i) % reader->queue_capacity];
            free(reader->queue);
            reader->queue = queue;
            reader->queue_begin = 0;
            reader->queue_capacity = capacity;
        }
        size_t at = (reader->queue_begin + reader->queue_count++) % reader->queue_capacity;
        reader->queue[at] = store_event_ref(event);
        reader->live_from = event->revision; /* it may come by a second channel */
    }
    if (wanted && reader->waiting) {
        reader->waiting = false;
        /* the consumer may have emptied the queue since this group's first event: still one place in the
         * chain */
        if (!reader->chained) {
            reader->chained = true;
            atomic_fetch_add(&reader->refs, 1);
            reader->next_wake = *wake;
            *wake = reader;
        }
    }
    pthread_mutex_unlock(&reader->lock);
}

/* `live` changes from false to true only under hub.lock, which we hold. */
static bool reader_awaits(struct watch_reader *reader, const struct store_event *event)
{
    pthread_mutex_lock(&reader->lock);
    bool awaits = reader->live && event->revision > reader->live_from;
    pthread_mutex_unlock(&reader->lock);
    return awaits;
}

static void channel_dispatch(struct watch_hub *hub, const char *key, struct store_event *event,
                             struct watch_reader **wake)
{
    struct watch_channel *channel = map_get(&hub->channels, key);
    if (!channel)
        return;
    struct watch_subscription *subscription;
    list_each (subscription, &channel->subscriptions, in_channel) {
        enum watch_item_type type;
        if (subscription->reader->node || filter_event(subscription->reader, event, &type))
            reader_enqueue(subscription->reader, event, wake);
    }
}

/* Readers of one node, as a scope ("@NODE") or as a field selector ("RESOURCE@NODE"). */
static void node_dispatch(struct watch_hub *hub, const char *node, struct store_event *event,
                          struct watch_reader **wake)
{
    if (str_empty(node))
        return;
    auto_free char *scope = mem_printf("@%s", node);
    auto_free char *selected =
        mem_printf("%.*s@%s", (int)(strchrnul(event->key, '/') - event->key), event->key, node);
    struct watch_channel *channel = map_get(&hub->channels, scope);
    struct watch_subscription *subscription;
    if (channel)
        list_each (subscription, &channel->subscriptions, in_channel) {
            if (reader_awaits(subscription->reader, event))
                node_published(subscription->reader, event);
        }
    channel_dispatch(hub, scope, event, wake);
    channel_dispatch(hub, selected, event, wake);
}

static void hub_dispatch(struct watch_hub *hub, struct store_event *event, struct watch_reader **wake)
{
    char text[MAX_CHANNELS][640];
    const char *keys[MAX_CHANNELS];
    size_t count = channel_keys(event, text, keys);
    for (size_t i = 0; i < count; i++)
        channel_dispatch(hub, keys[i], event, wake);
    const char *node = store_terms_get(event->terms, NODE_TERM);
    const char *before = store_terms_get(event->previous_terms, NODE_TERM);
    node_dispatch(hub, node, event, wake);
    if (before && !str_eq(node, before))
        node_dispatch(hub, before, event, wake);
}

static void recent_add(struct watch_hub *hub, struct store_event *event)
{
    if (!(event->flags & STORE_VOLATILE))
        return;
    if (!hub->recent) {
        hub->recent_capacity = VOLATILE_KEEP_EVENTS;
        hub->recent = mem_array(hub->recent_capacity, sizeof(struct store_event *));
    }
    while (hub->recent_count > 0 &&
           (hub->recent_count == hub->recent_capacity || hub->recent_bytes > VOLATILE_KEEP_BYTES)) {
        struct store_event *oldest = hub->recent[hub->recent_begin];
        hub->recent_lost = oldest->revision;
        hub->recent_bytes -= oldest->bytes->len;
        hub->recent_begin = (hub->recent_begin + 1) % hub->recent_capacity;
        hub->recent_count--;
        store_event_unref(oldest);
    }
    hub->recent[(hub->recent_begin + hub->recent_count++) % hub->recent_capacity] = store_event_ref(event);
    hub->recent_bytes += event->bytes->len;
}

void watch_hub_publish(void *arg, struct store_event *const *events, size_t count)
{
    struct watch_hub *hub = arg;
    struct watch_reader *wake = NULL;
    if (count == 0)
        return;
    pthread_mutex_lock(&hub->lock);
    for (size_t i = 0; i < count; i++) {
        recent_add(hub, events[i]);
        if (hub->n_readers > 0)
            hub_dispatch(hub, events[i], &wake);
        hub->last_revision = events[i]->revision;
    }
    if (events[count - 1]->commit_ns > 0)
        hub->dispatch_ns = hub->clock->monotonic_ns(hub->clock->arg) - events[count - 1]->commit_ns;
    pthread_cond_broadcast(&hub->published);
    pthread_mutex_unlock(&hub->lock);
    atomic_fetch_add_explicit(&hub->n_published, count, memory_order_relaxed);
    while (wake) {
        struct watch_reader *reader = wake;
        wake = reader->next_wake;
        reader->chained = false;
        pthread_mutex_lock(&reader->wake_lock);
        if (!reader->closed)
            reader->wake(reader->arg);
        pthread_mutex_unlock(&reader->wake_lock);
        reader_unref(reader);
    }
}

struct watch_hub *watch_hub_new(struct store *store, const struct clock *clock)
{
    struct watch_hub *hub = NEW(struct watch_hub);
    hub->store = store;
    hub->clock = clock ? clock : &clock_system;
    hub->queue_limit = 4096;
    hub->channels.free_value = free;
    hub->last_revision = store->ops->revision(store);
    must(pthread_mutex_init(&hub->lock, NULL) == 0);
    must(pthread_cond_init(&hub->published, NULL) == 0);
    return hub;
}

void watch_hub_free(struct watch_hub *hub)
{
    if (!hub)
        return;
    must(hub->n_readers == 0);
    for (size_t i = 0; i < hub->recent_count; i++)
        store_event_unref(hub->recent[(hub->recent_begin + i) % hub->recent_capacity]);
    free(hub->recent);
    map_fini(&hub->channels);
    map_fini(&hub->volatile_resources);
    pthread_mutex_destroy(&hub->lock);
    pthread_cond_destroy(&hub->published);
    free(hub);
}

void watch_hub_set_volatile(struct watch_hub *hub, const char *const *resources)
{
    pthread_mutex_lock(&hub->lock);
    map_fini(&hub->volatile_resources);
    for (size_t i = 0; resources && resources[i]; i++)
        map_set(&hub->volatile_resources, resources[i], hub);
    pthread_mutex_unlock(&hub->lock);
}

void watch_hub_set_queue_limit(struct watch_hub *hub, size_t events)
{
    pthread_mutex_lock(&hub->lock);
    hub->queue_limit = events > 0 ? events : 1;
    pthread_mutex_unlock(&hub->lock);
}

void watch_hub_stats(struct watch_hub *hub, struct watch_stats *stats)
{
    pthread_mutex_lock(&hub->lock);
    *stats = (struct watch_stats){.published = atomic_load(&hub->n_published),
                                  .delivered = atomic_load(&hub->n_delivered),
                                  .overflowed = atomic_load(&hub->n_overflowed),
                                  .readers = hub->n_readers,
                                  .dispatch_ns = hub->dispatch_ns};
    pthread_mutex_unlock(&hub->lock);
}

static void reader_subscribe(struct watch_reader *reader)
{
    const char *node = reader->fields ? selector_equality(reader->fields, "spec.nodeName") : NULL;
    if (reader->node) {
        node_subscribe(reader);
        return;
    }
    if (!reader->resources)
        hub_subscribe(reader, "");
    for (size_t i = 0; reader->resources && reader->resources[i]; i++) {
        const char *resource = reader->resources[i];
        auto_free char *channel = NULL;
        if (filter_lists_resource(reader->resources + i + 1, resource))
            continue; /* named twice */
        if (!str_empty(node))
            channel = mem_printf("%s@%s", resource, node);
        else if (reader->name && reader->namespace)
            channel = store_key(resource, reader->namespace, reader->name);
        else if (reader->name)
            channel = mem_printf("%s\001%s", resource, reader->name);
        else
            channel = store_key_prefix(resource, str_empty(reader->namespace) ? NULL : reader->namespace);
        hub_subscribe(reader, channel);
    }
}

static struct watch_reader *reader_new(struct watch_hub *hub, const struct watch_filter *filter)
{
    struct watch_reader *reader = NEW(struct watch_reader);
    atomic_init(&reader->refs, 1);
    reader->hub = hub;
    reader->resources = filter_copy_strings(filter->resources);
    reader->namespace = mem_strdup(filter->namespace);
    reader->name = mem_strdup(filter->name);
    reader->node = mem_strdup(filter->node);
    reader->node_term = filter->node ? mem_printf(NODE_TERM "%s", filter->node) : NULL;
    reader->shared = filter->node ? filter_copy_strings(filter->node_shared) : NULL;
    reader->labels = filter->labels;
    reader->fields = filter->fields;
    reader->references.free_value = free;
    reader->hub_references.free_value = free;
    list_init(&reader->subscriptions);
    must(pthread_mutex_init(&reader->lock, NULL) == 0);
    must(pthread_mutex_init(&reader->wake_lock, NULL) == 0);
    return reader;
}

static int open_check(struct watch_reader *reader, uint64_t from, struct err **err)
{
    struct store *store = reader->hub->store;
    unsigned long long newest = store->ops->revision(store), oldest = store->ops->resume_revision(store);
    if (from > newest)
        return err_set(err, ERR_GONE, "revision %llu is newer than the newest, %llu",
                       (unsigned long long)from, newest);
    if (from < oldest)
        return err_set(err, ERR_GONE, "too old resource version: %llu (%llu)", (unsigned long long)from,
                       oldest);
    if (reader->resources && !reader->node && reader->wants_volatile &&
        from < store->ops->boot_revision(store))
        return err_set(err, ERR_GONE, "revision %llu is from before the server's start",
                       (unsigned long long)from);
    return 0;
}

struct watch_reader *watch_open(struct watch_hub *hub, const struct watch_filter *filter, uint64_t from,
                                bool initial, void (*wake)(void *arg), void *arg, struct err **err)
{
    struct watch_reader *reader = reader_new(hub, filter);
    reader->wake = wake;
    reader->arg = arg;
    pthread_mutex_lock(&hub->lock);
    reader->queue_limit = hub->queue_limit;
    reader->wants_volatile = !reader->resources && hub->volatile_resources.count > 0;
    for (size_t i = 0; reader->resources && reader->resources[i]; i++)
        reader->wants_volatile |= map_has(&hub->volatile_resources, reader->resources[i]);
    pthread_mutex_unlock(&hub->lock);
    if (!initial && open_check(reader, from, err) != 0) {
        reader_unref(reader);
        return NULL;
    }
    reader->processed = from;
    reader->mode = WATCH_LAGGING;
    reader->rewind_references = reader->node && !initial;
    if (initial)
        initial_plan(reader);
    pthread_mutex_lock(&hub->lock);
    hub->n_readers++;
    reader_subscribe(reader);
    pthread_mutex_unlock(&hub->lock);
    return reader;
}

void reader_unref(struct watch_reader *reader)
{
    if (atomic_fetch_sub(&reader->refs, 1) == 1)
        reader_free(reader);
}

void watch_close(struct watch_reader *reader)
{
    if (!reader)
        return;
    struct watch_hub *hub = reader->hub;
    struct watch_subscription *subscription, *following;
    pthread_mutex_lock(&hub->lock);
    list_each_safe (subscription, following, &reader->subscriptions, in_reader)
        subscription_free(subscription);
    hub->n_readers--;
    pthread_mutex_unlock(&hub->lock);
    pthread_mutex_lock(&reader->wake_lock);
    reader->closed = true;
    pthread_mutex_unlock(&reader->wake_lock);
    reader_unref(reader);
}
