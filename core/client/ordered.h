/*
 * ordered: a set of cache items in key order (skip list), for pulled iteration in a stable order. Levels come
 * from the key's hash, so the structure is the same in every run. An item may be in many sets.
 */
#ifndef M8_CLIENT_ORDERED_H
#define M8_CLIENT_ORDERED_H

#include "client/client.h"

struct ordered_node;
struct ordered {
    struct ordered_node *head;
    size_t count;
};

void ordered_init(struct ordered *set);
void ordered_fini(struct ordered *set);
void ordered_add(struct ordered *set, const struct cache_item *item); /* replaces an item of the same key */
bool ordered_remove(struct ordered *set, const char *key);
struct ordered_node *ordered_first(const struct ordered *set);
struct ordered_node *ordered_next(const struct ordered_node *node);
const struct cache_item *ordered_item(const struct ordered_node *node);

#endif
