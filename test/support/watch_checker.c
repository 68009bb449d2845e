/*
 * watch_checker: see watch_checker.h. The expectation is computed here from the plain history, not with
 * watch's own filter, so that a fault there shows. Invariant: `next` is the first event of the history that
 * the reader has not accounted for.
 */
#include "watch_checker.h"

#include <pthread.h>
#include <string.h>

#include "base/map.h"
#include "base/str.h"

struct watch_history {
    pthread_mutex_t lock;
    struct store_event **events;
    size_t count, capacity;
};

struct watch_checker {
    struct watch_history *history;
    watch_checker_selects *selects;
    void *arg;
    size_t next;
    bool initial;
    struct map told; /* before INITIAL_END: key → revision + 1 as a pointer */
    char *wrong;
};

struct watch_history *watch_history_new(void)
{
    struct watch_history *history = NEW(struct watch_history);
    must(pthread_mutex_init(&history->lock, NULL) == 0);
    return history;
}

void watch_history_free(struct watch_history *history)
{
    for (size_t i = 0; i < history->count; i++)
        store_event_unref(history->events[i]);
    free(history->events);
    pthread_mutex_destroy(&history->lock);
    free(history);
}

void watch_history_add(struct watch_history *history, struct store_event *event)
{
    pthread_mutex_lock(&history->lock);
    must(history->count == 0 || history->events[history->count - 1]->revision < event->revision);
    if (history->count == history->capacity) {
        history->capacity = history->capacity ? history->capacity * 2 : 64;
        history->events = mem_resize(history->events, history->capacity, sizeof(*history->events));
    }
    history->events[history->count++] = store_event_ref(event);
    pthread_mutex_unlock(&history->lock);
}

size_t watch_history_count(struct watch_history *history)
{
    pthread_mutex_lock(&history->lock);
    size_t count = history->count;
    pthread_mutex_unlock(&history->lock);
    return count;
}

static struct store_event *history_at(struct watch_history *history, size_t index)
{
    pthread_mutex_lock(&history->lock);
    struct store_event *event = index < history->count ? history->events[index] : NULL;
    pthread_mutex_unlock(&history->lock);
    return event;
}

static size_t history_after(struct watch_history *history, uint64_t revision)
{
    size_t low = 0, high = watch_history_count(history);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (history_at(history, middle)->revision <= revision)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct watch_checker *watch_checker_new(struct watch_history *history, watch_checker_selects *selects,
                                        void *arg, uint64_t from, bool initial)
{
    struct watch_checker *checker = NEW(struct watch_checker);
    checker->history = history;
    checker->selects = selects;
    checker->arg = arg;
    checker->initial = initial;
    checker->next = initial ? 0 : history_after(history, from);
    return checker;
}

void watch_checker_free(struct watch_checker *checker)
{
    if (!checker)
        return;
    map_fini(&checker->told);
    free(checker->wrong);
    free(checker);
}

static const char *say(struct watch_checker *checker, const char *what, const struct watch_item *item,
                       const struct store_event *expected)
{
    free(checker->wrong);
    checker->wrong = mem_printf(
        "%s: got type %d revision %llu %s, expected %s revision %llu", what, item ? (int)item->type : -1,
        (unsigned long long)(item ? item->revision : 0), item && item->event ? item->event->key : "-",
        expected ? expected->key : "nothing", (unsigned long long)(expected ? expected->revision : 0));
    return checker->wrong;
}

/* What the event is for this filter: -1 nothing. */
static int expected_type(const struct watch_checker *checker, const struct store_event *event)
{
    bool before =
        event->type != STORE_ADDED && checker->selects(checker->arg, event->key, event->previous_terms);
    bool after = event->type != STORE_DELETED && checker->selects(checker->arg, event->key, event->terms);
    if (!before && !after)
        return -1;
    return !after ? WATCH_DELETED : before ? WATCH_MODIFIED : WATCH_ADDED;
}

/* The state at a revision, as the history has it, must be what was told. */
static const char *check_state(struct watch_checker *checker, const struct watch_item *end)
{
    auto_map state = {0};
    struct store_event *event;
    for (checker->next = 0;
         (event = history_at(checker->history, checker->next)) && event->revision <= end->revision;
         checker->next++) {
        if (event->type == STORE_DELETED || !checker->selects(checker->arg, event->key, event->terms))
            map_remove(&state, event->key);
        else
            map_set(&state, event->key, event);
    }
    map_each (entry, &state) {
        const struct store_event *expected = entry->value;
        if ((uint64_t)(uintptr_t)map_get(&checker->told, entry->key) != expected->revision + 1)
            return say(checker, "the initial state misses an object", end, expected);
    }
    if (state.count != checker->told.count)
        return say(checker, "the initial state has too many objects", end, NULL);
    return NULL;
}

static const char *feed_initial(struct watch_checker *checker, const struct watch_item *item)
{
    if (item->type == WATCH_INITIAL_END) {
        checker->initial = false;
        return check_state(checker, item);
    }
    if (!item->event)
        return say(checker, "an item without an event", item, NULL);
    bool there = map_has(&checker->told, item->event->key);
    if (item->type == WATCH_DELETED) {
        if (!map_remove(&checker->told, item->event->key))
            return say(checker, "a deletion of something never told", item, NULL);
        return NULL;
    }
    if (there != (item->type == WATCH_MODIFIED))
        return say(checker, there ? "told twice" : "modified before it was told", item, NULL);
    map_set(&checker->told, item->event->key, (void *)(uintptr_t)(item->revision + 1));
    return NULL;
}

const char *watch_checker_feed(struct watch_checker *checker, const struct watch_item *item)
{
    if (item->type == WATCH_BOOKMARK)
        return NULL;
    if (checker->initial)
        return feed_initial(checker, item);
    struct store_event *event;
    while ((event = history_at(checker->history, checker->next)) && expected_type(checker, event) < 0)
        checker->next++;
    if (!event || !item->event)
        return say(checker, "an item that nothing caused", item, event);
    if (item->revision != event->revision)
        return say(checker, item->revision > event->revision ? "a gap" : "a repeat", item, event);
    if (item->type != (enum watch_item_type)expected_type(checker, event))
        return say(checker, "another type", item, event);
    if (item->event->bytes->len != event->bytes->len ||
        memcmp(item->event->bytes->data, event->bytes->data, event->bytes->len) != 0)
        return say(checker, "other bytes", item, event);
    checker->next++;
    return NULL;
}

const char *watch_checker_end(struct watch_checker *checker, uint64_t position)
{
    struct store_event *event;
    if (checker->initial)
        return say(checker, "no end of the initial state", NULL, NULL);
    for (; (event = history_at(checker->history, checker->next)) && event->revision <= position;
         checker->next++)
        if (expected_type(checker, event) >= 0)
            return say(checker, "missing at the end", NULL, event);
    return NULL;
}
