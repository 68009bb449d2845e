/*
 * map: hash map from string keys (copied) to pointers (borrowed unless a free function is given).
 * Iteration is in insertion order (determinism); the body of map_each may remove the current entry only.
 * Not thread-safe.
 */
#ifndef M8_BASE_MAP_H
#define M8_BASE_MAP_H

#include "base/mem.h"

struct map_entry {
    char *key;
    void *value;
    struct map_entry *next_in_bucket;
    struct map_entry *before, *after; /* insertion order */
    unsigned long long hash;
};

struct map {
    struct map_entry **buckets;
    size_t n_buckets, count;
    struct map_entry *first, *last;
    void (*free_value)(void *value); /* NULL: values are borrowed */
};

void map_init(struct map *map,
              void (*free_value)(void *value));        /* a zeroed struct is a valid empty map too */
void map_fini(struct map *map);                        /* leaves an empty map */
void *map_get(const struct map *map, const char *key); /* borrowed or NULL */
bool map_has(const struct map *map, const char *key);
void map_set(struct map *map, const char *key, void *value); /* frees the value it replaces */
bool map_remove(struct map *map, const char *key);           /* frees the value; false if absent */
void *map_take(struct map *map, const char *key);            /* removes without freeing */
const char **map_sorted_keys(const struct map *map);         /* NULL-terminated; free() the array only */

#define map_each(entry, map)                                                                                 \
    for (struct map_entry *entry = (map)->first, *entry##_after = entry ? entry->after : NULL; entry;        \
         entry = entry##_after, entry##_after = entry ? entry->after : NULL)

static inline void map_cleanup(struct map *map)
{
    map_fini(map);
}
#define auto_map __attribute__((cleanup(map_cleanup))) struct map

#endif
