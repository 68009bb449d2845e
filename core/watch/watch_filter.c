/*
 * watch_filter: what an event is for a reader. Everything is decided from the key and the terms; nothing is
 * parsed.
 *
 * "Stopped matching" is DELETED and "began to match" is ADDED because the event carries the terms from before
 * (contract 9). It does not know the references of a node's pods: those need the reader's state
 * (watch_node.c).
 */
#include <stdio.h>
#include <string.h>

#include "store/keys.h"
#include "watch/watch_private.h"

struct looked_up {
    const struct store_terms *terms;
    const struct store_key_parts *parts;
    char text[512];
};

static const char *lookup_label(void *arg, const char *key)
{
    struct looked_up *looked_up = arg;
    int len = snprintf(looked_up->text, sizeof(looked_up->text), "l:%s=", key);
    if (len < 0 || (size_t)len >= sizeof(looked_up->text))
        return NULL;
    return store_terms_get(looked_up->terms, looked_up->text);
}

static const char *lookup_field(void *arg, const char *key)
{
    struct looked_up *looked_up = arg;
    const struct store_key_parts *parts = looked_up->parts;
    bool name = strcmp(key, "metadata.name") == 0;
    if (name || strcmp(key, "metadata.namespace") == 0) {
        size_t len = name ? parts->name_len : parts->namespace_len;
        const char *from = name ? parts->name : parts->namespace;
        if (len >= sizeof(looked_up->text))
            return NULL;
        memcpy(looked_up->text, from, len);
        looked_up->text[len] = '\0';
        return looked_up->text;
    }
    int len = snprintf(looked_up->text, sizeof(looked_up->text), "f:%s=", key);
    if (len < 0 || (size_t)len >= sizeof(looked_up->text))
        return NULL;
    const char *value = store_terms_get(looked_up->terms, looked_up->text);
    if (value)
        return value;
    looked_up->text[0] = 'F';
    value = store_terms_get(looked_up->terms, looked_up->text);
    return value ? value : ""; /* an unset field is the empty string in Kubernetes' field selectors */
}

bool filter_lists_resource(char *const *resources, const char *key)
{
    size_t len = (size_t)(strchrnul(key, '/') - key);
    for (size_t i = 0; resources && resources[i]; i++)
        if (strlen(resources[i]) == len && memcmp(resources[i], key, len) == 0)
            return true;
    return false;
}

static bool part_is(const char *part, size_t len, const char *wanted)
{
    return !wanted || (strlen(wanted) == len && memcmp(part, wanted, len) == 0);
}

static bool node_scope(const struct watch_reader *reader, const char *key,
                       const struct store_key_parts *parts, const struct store_terms *terms)
{
    if (store_terms_has(terms, reader->node_term) || filter_lists_resource(reader->shared, key))
        return true;
    bool named = part_is(parts->resource, parts->resource_len, "nodes") ||
                 part_is(parts->resource, parts->resource_len, "leases.coordination.k8s.io");
    return named && part_is(parts->name, parts->name_len, reader->node);
}

bool filter_matches(const struct watch_reader *reader, const char *key, const struct store_terms *terms)
{
    struct store_key_parts parts;
    if (!terms || !store_key_split(key, &parts))
        return false;
    if (reader->resources && !filter_lists_resource(reader->resources, key))
        return false;
    if (!part_is(parts.namespace, parts.namespace_len, reader->namespace) ||
        !part_is(parts.name, parts.name_len, reader->name))
        return false;
    if (reader->node && !node_scope(reader, key, &parts, terms))
        return false;
    if (!reader->labels && !reader->fields)
        return true;
    struct looked_up looked_up = {.terms = terms, .parts = &parts};
    return selector_matches(reader->labels, lookup_label, &looked_up) &&
           selector_matches(reader->fields, lookup_field, &looked_up);
}

bool filter_event(const struct watch_reader *reader, const struct store_event *event,
                  enum watch_item_type *type)
{
    bool after = event->type != STORE_DELETED && filter_matches(reader, event->key, event->terms);
    bool before;
    if (event->terms == event->previous_terms && event->type != STORE_DELETED)
        before = after;
    else
        before = event->type != STORE_ADDED && filter_matches(reader, event->key, event->previous_terms);
    *type = after ? (before ? WATCH_MODIFIED : WATCH_ADDED) : WATCH_DELETED;
    return after || before;
}

char **filter_copy_strings(const char *const *strings)
{
    size_t count = 0;
    if (!strings)
        return NULL;
    while (strings[count])
        count++;
    char **copy = mem_array(count + 1, sizeof(*copy));
    for (size_t i = 0; i < count; i++)
        copy[i] = mem_strdup(strings[i]);
    return copy;
}

void filter_free_strings(char **strings)
{
    for (size_t i = 0; strings && strings[i]; i++)
        free(strings[i]);
    free(strings);
}

char **filter_index_terms(const struct watch_reader *reader, bool scoped)
{
    size_t n_labels = reader->labels ? reader->labels->n_terms : 0, count = 0;
    char **terms = mem_array(n_labels + 3, sizeof(*terms));
    if (scoped)
        terms[count++] = mem_strdup(reader->node_term);
    const char *node = reader->fields ? selector_equality(reader->fields, "spec.nodeName") : NULL;
    if (!str_empty(node))
        terms[count++] = mem_printf(NODE_TERM "%s", node);
    for (size_t i = 0; i < n_labels; i++) {
        const struct selector_term *term = &reader->labels->terms[i];
        if (term->operator== SELECTOR_IN && term->n_values == 1)
            terms[count++] = mem_printf("l:%s=%s", term->key, term->values[0]);
    }
    return terms;
}
