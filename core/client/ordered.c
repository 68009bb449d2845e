/* The skip list behind ordered.h. Keys are compared by strcmp; the key belongs to the item. */
#include "client/ordered.h"

#include <string.h>

#define LEVELS 16

struct ordered_node {
    const struct cache_item *item;
    unsigned levels;
    struct ordered_node *next[];
};

static struct ordered_node *node_new(const struct cache_item *item, unsigned levels)
{
    struct ordered_node *node = mem_alloc(sizeof(*node) + levels * sizeof(node->next[0]));
    node->item = item;
    node->levels = levels;
    return node;
}

static unsigned levels_of(const char *key)
{
    unsigned long long hash = str_hash(key, strlen(key));
    hash ^= hash >> 29; /* FNV's low bits are weak for keys that differ in the last character */
    hash *= 0xbf58476d1ce4e5b9ull;
    hash ^= hash >> 32;
    unsigned levels = 1;
    while (levels < LEVELS && (hash & 3) == 0) {
        hash >>= 2;
        levels++;
    }
    return levels;
}

void ordered_init(struct ordered *set)
{
    set->head = node_new(NULL, LEVELS);
    set->count = 0;
}

void ordered_fini(struct ordered *set)
{
    struct ordered_node *node = set->head;
    while (node) {
        struct ordered_node *next = node->next[0];
        free(node);
        node = next;
    }
    *set = (struct ordered){0};
}

/* Fills before[] with the last node whose key is smaller, per level; returns the node with the key or NULL.
 */
static struct ordered_node *find(const struct ordered *set, const char *key,
                                 struct ordered_node *before[LEVELS])
{
    struct ordered_node *node = set->head;
    for (int level = LEVELS - 1; level >= 0; level--) {
        while (node->next[level] && strcmp(node->next[level]->item->key, key) < 0)
            node = node->next[level];
        before[level] = node;
    }
    struct ordered_node *found = node->next[0];
    return found && strcmp(found->item->key, key) == 0 ? found : NULL;
}

void ordered_add(struct ordered *set, const struct cache_item *item)
{
    struct ordered_node *before[LEVELS];
    struct ordered_node *node = find(set, item->key, before);
    if (node) {
        node->item = item;
        return;
    }
    node = node_new(item, levels_of(item->key));
    for (unsigned level = 0; level < node->levels; level++) {
        node->next[level] = before[level]->next[level];
        before[level]->next[level] = node;
    }
    set->count++;
}

bool ordered_remove(struct ordered *set, const char *key)
{
    struct ordered_node *before[LEVELS];
    struct ordered_node *node = find(set, key, before);
    if (!node)
        return false;
    for (unsigned level = 0; level < node->levels; level++)
        before[level]->next[level] = node->next[level];
    free(node);
    set->count--;
    return true;
}

struct ordered_node *ordered_first(const struct ordered *set)
{
    return set->head ? set->head->next[0] : NULL;
}

struct ordered_node *ordered_next(const struct ordered_node *node)
{
    return node->next[0];
}

const struct cache_item *ordered_item(const struct ordered_node *node)
{
    return node->item;
}
