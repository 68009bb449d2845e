/*
 * map: see map.h. Chained buckets, doubled when there are more entries than buckets; order is kept by a list
 * through the entries. Does not shrink. Invariants: count entries hang in buckets and in the list; n_buckets
 * is 0 or a power of two; an entry's key lies in the entry's own allocation.
 */
#include "base/map.h"

#include <string.h>

#include "base/str.h"

void map_init(struct map *map, void (*free_value)(void *value))
{
    *map = (struct map){.free_value = free_value};
}

static void free_entry(const struct map *map, struct map_entry *entry)
{
    if (map->free_value && entry->value)
        map->free_value(entry->value);
    free(entry);
}

void map_fini(struct map *map)
{
    /* Detached first, so that a free function that looks at the map sees an empty one. */
    struct map old = *map;
    map_init(map, old.free_value);
    for (struct map_entry *entry = old.first, *after; entry; entry = after) {
        after = entry->after;
        free_entry(&old, entry);
    }
    free(old.buckets);
}

/* FNV leaves the high bits better mixed than the low ones that choose the bucket. */
static unsigned long long hash_key(const char *key, size_t len)
{
    unsigned long long hash = str_hash(key, len);
    return hash ^ hash >> 32;
}

static struct map_entry **find(const struct map *map, const char *key, unsigned long long hash)
{
    struct map_entry **link = &map->buckets[hash & (map->n_buckets - 1)];
    while (*link && ((*link)->hash != hash || strcmp((*link)->key, key) != 0))
        link = &(*link)->next_in_bucket;
    return link;
}

static struct map_entry *lookup(const struct map *map, const char *key)
{
    if (!map->count || !key)
        return NULL;
    return *find(map, key, hash_key(key, strlen(key)));
}

void *map_get(const struct map *map, const char *key)
{
    struct map_entry *entry = lookup(map, key);
    return entry ? entry->value : NULL;
}

bool map_has(const struct map *map, const char *key)
{
    return lookup(map, key) != NULL;
}

static void grow(struct map *map)
{
    size_t n = map->n_buckets ? map->n_buckets * 2 : 8;
    struct map_entry **buckets = mem_array(n, sizeof(struct map_entry *));
    for (struct map_entry *entry = map->first; entry; entry = entry->after) {
        struct map_entry **bucket = &buckets[entry->hash & (n - 1)];
        entry->next_in_bucket = *bucket;
        *bucket = entry;
    }
    free(map->buckets);
    map->buckets = buckets;
    map->n_buckets = n;
}

void map_set(struct map *map, const char *key, void *value)
{
    size_t len = strlen(key);
    unsigned long long hash = hash_key(key, len);
    if (map->count >= map->n_buckets)
        grow(map);
    struct map_entry **link = find(map, key, hash), *entry = *link;
    if (entry) {
        void *old = entry->value;
        entry->value = value;
        if (map->free_value && old && old != value)
            map->free_value(old);
        return;
    }
    entry = mem_alloc(sizeof(*entry) + len + 1);
    entry->key = memcpy(entry + 1, key, len + 1);
    entry->value = value;
    entry->hash = hash;
    entry->before = map->last;
    if (map->last)
        map->last->after = entry;
    else
        map->first = entry;
    map->last = entry;
    *link = entry;
    map->count++;
}

static struct map_entry *detach(struct map *map, const char *key)
{
    if (!map->count || !key)
        return NULL;
    struct map_entry **link = find(map, key, hash_key(key, strlen(key))), *entry = *link;
    if (!entry)
        return NULL;
    *link = entry->next_in_bucket;
    *(entry->before ? &entry->before->after : &map->first) = entry->after;
    *(entry->after ? &entry->after->before : &map->last) = entry->before;
    map->count--;
    return entry;
}

bool map_remove(struct map *map, const char *key)
{
    struct map_entry *entry = detach(map, key);
    if (!entry)
        return false;
    free_entry(map, entry);
    return true;
}

void *map_take(struct map *map, const char *key)
{
    struct map_entry *entry = detach(map, key);
    void *value = entry ? entry->value : NULL;
    free(entry);
    return value;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **map_sorted_keys(const struct map *map)
{
    const char **keys = mem_array(map->count + 1, sizeof(*keys));
    size_t n = 0;
    for (struct map_entry *entry = map->first; entry; entry = entry->after)
        keys[n++] = entry->key;
    qsort(keys, n, sizeof(*keys), compare_keys);
    return keys;
}
