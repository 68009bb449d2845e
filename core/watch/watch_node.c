/*
 * watch_node: the scope of one node: its pods, and what its pods refer to ("r:" terms).
 *
 * References are counted twice. `references` follows the reader's own position and decides what it is told;
 * `hub_references` follows what was published and decides what is dispatched to it, so that the events of an
 * object which a pod still in the queue refers to are not missed. What was dropped too early (the queue may
 * refer to an object, not, and again) is subscribed again before the object is looked up.
 * An object is told as the store has it at that
 * time, which may be newer than the pod's event; `seen` then leaves out its events up to there. It does not
 * look into objects.
 */
#include <string.h>

#include "store/keys.h"
#include "watch/watch_private.h"

#define REWIND_PAGE 128

/* Terms as they count: NULL unless they are of an object of this node. */
static const struct store_terms *scoped_terms(const struct watch_reader *reader,
                                              const struct store_terms *terms)
{
    return terms && store_terms_has(terms, reader->node_term) ? terms : NULL;
}

static const struct store_terms *terms_after(const struct watch_reader *reader,
                                             const struct store_event *event)
{
    return event->type == STORE_DELETED ? NULL : scoped_terms(reader, event->terms);
}

static const struct store_terms *terms_before(const struct watch_reader *reader,
                                              const struct store_event *event)
{
    return scoped_terms(reader, event->previous_terms);
}

/* The next key that `in` refers to and `not_in` does not; caller frees. */
static char *next_reference(const struct watch_reader *reader, const struct store_terms *in,
                            const struct store_terms *not_in, size_t *at)
{
    while (in && *at < in->count) {
        const char *term = in->at[(*at)++];
        size_t len = strlen(term);
        if (!str_starts(term, "r:") || term[len - 1] != '=' || store_terms_has(not_in, term))
            continue;
        char *key = mem_strndup(term + 2, len - 3);
        if (!filter_lists_resource(reader->shared, key) &&
            (!reader->resources || filter_lists_resource(reader->resources, key)))
            return key;
        free(key);
    }
    return NULL;
}

static struct watch_reference *reference_at(struct watch_reader *reader, const char *key)
{
    struct watch_reference *reference = map_get(&reader->references, key);
    if (!reference) {
        reference = NEW(struct watch_reference);
        map_set(&reader->references, key, reference);
    }
    return reference;
}

static void reference_push(struct watch_reader *reader, enum store_event_type type,
                           struct store_object *object, uint64_t revision)
{
    struct store_event *event = store_event_new(type, object->key, strlen(object->key));
    event->revision = revision;
    event->created_revision = object->created_revision;
    event->flags = object->flags;
    event->bytes = steal(&object->bytes);
    event->terms = steal(&object->terms);
    reader_push(reader, type == STORE_DELETED ? WATCH_DELETED : WATCH_ADDED, revision, event);
}

/* 1: there; 0: absent. */
static int reference_get(struct watch_reader *reader, const char *key, struct store_object *object,
                         struct err **err)
{
    struct store *store = reader->hub->store;
    auto_err error = NULL;
    if (store->ops->get(store, key, object, &error) == 0)
        return 1;
    if (err_code(error) == ERR_NOT_FOUND)
        return 0;
    return err_move(err, &error);
}

static struct watch_reference *published_at(struct watch_reader *reader, const char *key)
{
    struct watch_reference *published = map_get(&reader->hub_references, key);
    if (!published) {
        published = NEW(struct watch_reference);
        map_set(&reader->hub_references, key, published);
        hub_subscribe(reader, key);
    }
    return published;
}

/* Before the object is looked up, so that whatever happens after the look-up is dispatched to us. */
static void reference_subscribe(struct watch_reader *reader, const char *key)
{
    if (reader->mode != WATCH_LIVE)
        return; /* node_going_live does it */
    pthread_mutex_lock(&reader->hub->lock);
    published_at(reader, key);
    pthread_mutex_unlock(&reader->hub->lock);
}

/* revision 0: that of the object itself. */
static int reference_add(struct watch_reader *reader, const char *key, uint64_t revision, struct err **err)
{
    struct watch_reference *reference = reference_at(reader, key);
    if (reference->count++ > 0 || reference->present)
        return 0;
    struct store_object object = {0};
    reference_subscribe(reader, key);
    int found = reference_get(reader, key, &object, err);
    if (found < 1)
        return found;
    reference->present = true;
    reference->seen = object.revision;
    reference_push(reader, STORE_ADDED, &object, revision ? revision : object.revision);
    store_object_fini(&object);
    return 0;
}

static void reference_forget(struct watch_reader *reader, const char *key)
{
    struct watch_hub *hub = reader->hub;
    auto_free char *copy = mem_strdup(key); /* key may be the entry's own */
    map_remove(&reader->references, copy);
    if (reader->mode != WATCH_LIVE)
        return; /* node_going_live puts the hub's side in order */
    pthread_mutex_lock(&hub->lock);
    struct watch_reference *published = map_get(&reader->hub_references, copy);
    if (published && published->count == 0) {
        map_remove(&reader->hub_references, copy);
        hub_unsubscribe(reader, copy);
    }
    pthread_mutex_unlock(&hub->lock);
}

static int reference_drop(struct watch_reader *reader, const char *key, uint64_t revision, struct err **err)
{
    struct watch_reference *reference = map_get(&reader->references, key);
    if (!reference || reference->count == 0 || --reference->count > 0)
        return 0;
    if (reference->present) {
        struct store_object object = {0};
        int found = reference_get(reader, key, &object, err);
        if (found < 0)
            return -1;
        /* Absent, or one made since under the same name: what was told of has its own DELETED on the way. */
        bool other = object.created_revision > revision && object.created_revision > reference->seen;
        if (found > 0 && !other)
            reference_push(reader, STORE_DELETED, &object, revision);
        store_object_fini(&object);
        if (found == 0 || other)
            return 0;
    }
    reference_forget(reader, key);
    return 0;
}

/* An event of an object that is referred to. */
static void reference_process(struct watch_reader *reader, struct watch_reference *reference,
                              struct store_event *event)
{
    if (event->revision <= reference->seen)
        return;
    if (event->type == STORE_DELETED) {
        if (reference->present)
            reader_push(reader, WATCH_DELETED, event->revision, store_event_ref(event));
        reference->present = false;
        if (reference->count == 0)
            reference_forget(reader, event->key);
        return;
    }
    if (reference->count == 0) { /* what waited for its DELETED has none to come */
        if (event->type == STORE_ADDED)
            reference_forget(reader, event->key);
        return;
    }
    bool modified = reference->present && event->type != STORE_ADDED;
    reference->present = true;
    reader_push(reader, modified ? WATCH_MODIFIED : WATCH_ADDED, event->revision, store_event_ref(event));
}

int node_process(struct watch_reader *reader, struct store_event *event, struct err **err)
{
    const struct store_terms *before = terms_before(reader, event), *after = terms_after(reader, event);
    struct watch_reference *reference = map_get(&reader->references, event->key);
    enum watch_item_type type;
    int result = 0;
    size_t at = 0;
    char *key;
    if (reference) {
        reference_process(reader, reference, event);
        return 0;
    }
    while (result == 0 && (key = next_reference(reader, after, before, &at))) {
        result = reference_add(reader, key, event->revision, err);
        free(key);
    }
    if (result == 0 && filter_event(reader, event, &type))
        reader_push(reader, type, event->revision, store_event_ref(event));
    at = 0;
    while (result == 0 && (key = next_reference(reader, before, after, &at))) {
        result = reference_drop(reader, key, event->revision, err);
        free(key);
    }
    return result;
}

int node_listed(struct watch_reader *reader, const struct store_object *object, struct err **err)
{
    const struct store_terms *terms = scoped_terms(reader, object->terms);
    int result = 0;
    size_t at = 0;
    char *key;
    while (result == 0 && (key = next_reference(reader, terms, NULL, &at))) {
        result = reference_add(reader, key, 0, err);
        free(key);
    }
    return result;
}

/* Counts that may be below zero while events are taken back. */
static void rewind_count(struct watch_reader *reader, const struct store_terms *in,
                         const struct store_terms *not_in, int change)
{
    size_t at = 0;
    char *key;
    while ((key = next_reference(reader, in, not_in, &at))) {
        reference_at(reader, key)->count += (unsigned)change;
        free(key);
    }
}

/* `first` gets for each key the type + 1 of its first event after `processed`. */
static int rewind_log(struct watch_reader *reader, uint64_t until, struct map *first, struct err **err)
{
    struct store *store = reader->hub->store;
    struct store_event *events[REWIND_PAGE];
    uint64_t after = reader->processed;
    size_t count = 0;
    do {
        if (store->ops->log_read(store, after, REWIND_PAGE, events, &count, err) != 0)
            return -1;
        for (size_t i = 0; i < count; i++) {
            after = events[i]->revision;
            if (after <= until) {
                const struct store_terms *old = terms_before(reader, events[i]);
                const struct store_terms *new = terms_after(reader, events[i]);
                rewind_count(reader, new, old, -1);
                rewind_count(reader, old, new, 1);
                if (!map_has(first, events[i]->key))
                    map_set(first, events[i]->key, (void *)(uintptr_t)(events[i]->type + 1));
            }
            store_event_unref(events[i]);
        }
    } while (count > 0 && after < until);
    return 0;
}

/* Was it there at `processed`? Its first event since then tells, or, if there was none, whether it is there
 * now. */
static void rewind_present(const char *key, const struct map *first, struct watch_reference *reference)
{
    /* Without an event it is there now, or went after the log was read, or was never there: its DELETED must
     * not be lost in the second case, and there is none to come in the third. */
    reference->present = (uintptr_t)map_get(first, key) != STORE_ADDED + 1;
}

int node_rewind(struct watch_reader *reader, struct err **err)
{
    struct store *store = reader->hub->store;
    const char *const terms[] = {reader->node_term, NULL};
    struct store_list_request request = {.prefix = "pods/", .terms = terms, .keys_only = true};
    struct store_list list;
    if (store->ops->list(store, &request, &list, err) != 0)
        return -1;
    for (size_t i = 0; i < list.count; i++)
        rewind_count(reader, list.objects[i].terms, NULL, 1);
    uint64_t until = list.revision;
    store_list_fini(&list);
    auto_map first = {0};
    if (rewind_log(reader, until, &first, err) != 0)
        return -1;
    map_each (entry, &reader->references) {
        struct watch_reference *reference = entry->value;
        if (reference->count == 0)
            map_remove(&reader->references, entry->key);
        else
            rewind_present(entry->key, &first, reference);
    }
    return 0;
}

void node_published(struct watch_reader *reader, const struct store_event *event)
{
    const struct store_terms *before = terms_before(reader, event), *after = terms_after(reader, event);
    size_t at = 0;
    char *key;
    while ((key = next_reference(reader, after, before, &at))) {
        published_at(reader, key)->count++;
        free(key);
    }
    at = 0;
    while ((key = next_reference(reader, before, after, &at))) {
        struct watch_reference *published = map_get(&reader->hub_references, key);
        if (published && published->count > 0)
            published->count--;
        free(key);
    }
}

void node_going_live(struct watch_reader *reader)
{
    map_each (old, &reader->hub_references) {
        if (map_has(&reader->references, old->key))
            continue;
        hub_unsubscribe(reader, old->key);
        map_remove(&reader->hub_references, old->key);
    }
    map_each (entry, &reader->references) {
        const struct watch_reference *reference = entry->value;
        published_at(reader, entry->key)->count = reference->count;
    }
}

void node_subscribe(struct watch_reader *reader)
{
    auto_free char *scope = mem_printf("@%s", reader->node);
    auto_free char *node = mem_printf("nodes\001%s", reader->node);
    auto_free char *lease = mem_printf("leases.coordination.k8s.io\001%s", reader->node);
    hub_subscribe(reader, scope);
    hub_subscribe(reader, node);
    hub_subscribe(reader, lease);
    for (size_t i = 0; reader->shared && reader->shared[i]; i++) {
        auto_free char *channel = store_key_prefix(reader->shared[i], NULL);
        hub_subscribe(reader, channel);
    }
}
