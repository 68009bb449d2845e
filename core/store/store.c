/*
 * store: the values that every store implementation shares: terms, objects, lists, events.
 *
 * Terms are one allocation: the struct, the pointers, then the strings one after the other in the same order.
 * So their text can be copied to and from disk as one block (store_private.h). It does not interpret terms.
 */
#include "store/store.h"

#include <string.h>

#include "store/store_private.h"

static int compare_terms(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct store_terms *store_terms_alloc(uint16_t schema_version, size_t count, size_t text_len)
{
    struct store_terms *terms = mem_alloc(sizeof(*terms) + count * sizeof(char *) + text_len);
    atomic_init(&terms->refs, 1);
    terms->schema_version = schema_version;
    terms->count = (uint16_t)count;
    return terms;
}

struct store_terms *store_terms_new(uint16_t schema_version, const char *const *from, size_t count)
{
    if (count > STORE_MAX_TERMS)
        return NULL;
    auto_free const char **sorted = mem_array(count + 1, sizeof(*sorted));
    size_t kept = 0, text_len = 0;
    for (size_t i = 0; i < count; i++)
        sorted[i] = from[i];
    qsort(sorted, count, sizeof(*sorted), compare_terms);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && strcmp(sorted[kept - 1], sorted[i]) == 0)
            continue;
        sorted[kept++] = sorted[i];
        text_len += strlen(sorted[i]) + 1;
    }
    struct store_terms *terms = store_terms_alloc(schema_version, kept, text_len);
    char *text = (char *)&terms->at[kept];
    for (size_t i = 0; i < kept; i++) {
        size_t len = strlen(sorted[i]) + 1;
        terms->at[i] = memcpy(text, sorted[i], len);
        text += len;
    }
    return terms;
}

struct store_terms *store_terms_from_text(uint16_t schema_version, size_t count, const char *text, size_t len)
{
    struct store_terms *terms = store_terms_alloc(schema_version, count, len);
    char *copy = (char *)&terms->at[count];
    memcpy(copy, text, len);
    for (size_t i = 0; i < count; i++) {
        terms->at[i] = copy;
        copy += strlen(copy) + 1;
    }
    return terms;
}

const char *store_terms_text(const struct store_terms *terms, size_t *len)
{
    if (terms->count == 0) {
        *len = 0;
        return "";
    }
    const char *last = terms->at[terms->count - 1];
    *len = (size_t)(last + strlen(last) + 1 - terms->at[0]);
    return terms->at[0];
}

struct store_terms *store_terms_ref(struct store_terms *terms)
{
    if (terms)
        atomic_fetch_add_explicit(&terms->refs, 1, memory_order_relaxed);
    return terms;
}

void store_terms_unref(struct store_terms *terms)
{
    if (terms && atomic_fetch_sub_explicit(&terms->refs, 1, memory_order_acq_rel) == 1)
        free(terms);
}

/* The first term that is not before `text`. */
static size_t terms_lower_bound(const struct store_terms *terms, const char *text)
{
    size_t low = 0, high = terms->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(terms->at[middle], text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const char *store_terms_get(const struct store_terms *terms, const char *prefix)
{
    if (!terms)
        return NULL;
    size_t at = terms_lower_bound(terms, prefix), len = strlen(prefix);
    if (at == terms->count || strncmp(terms->at[at], prefix, len) != 0)
        return NULL;
    return terms->at[at] + len;
}

bool store_terms_has(const struct store_terms *terms, const char *term)
{
    if (!terms)
        return false;
    size_t at = terms_lower_bound(terms, term);
    return at < terms->count && strcmp(terms->at[at], term) == 0;
}

void store_object_fini(struct store_object *object)
{
    free(object->key);
    bytes_unref(object->bytes);
    store_terms_unref(object->terms);
    *object = (struct store_object){0};
}

void store_list_fini(struct store_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        store_object_fini(&list->objects[i]);
    free(list->objects);
    *list = (struct store_list){0};
}

struct store_event *store_event_new(enum store_event_type type, const char *key, size_t key_len)
{
    struct store_event *event = mem_alloc(sizeof(*event) + key_len + 1);
    atomic_init(&event->refs, 1);
    event->type = type;
    event->key = (char *)(event + 1);
    memcpy(event->key, key, key_len);
    return event;
}

struct store_event *store_event_ref(struct store_event *event)
{
    if (event)
        atomic_fetch_add_explicit(&event->refs, 1, memory_order_relaxed);
    return event;
}

void store_event_unref(struct store_event *event)
{
    if (!event || atomic_fetch_sub_explicit(&event->refs, 1, memory_order_acq_rel) != 1)
        return;
    bytes_unref(event->bytes);
    store_terms_unref(event->terms);
    store_terms_unref(event->previous_terms);
    free(event);
}
