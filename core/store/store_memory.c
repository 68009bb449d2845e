/*
 * store_memory: volatile objects in a skip list in key order, so that lists of a prefix are walks.
 *
 * The height of a node comes from the hash of its key, not from randomness: the same keys give the same list.
 * It does no locking: the writer changes it under visible_lock held exclusively, readers hold it shared.
 */
#include <string.h>

#include "base/str.h"
#include "store/store_private.h"

static unsigned memory_height(const char *key, size_t len)
{
    uint64_t hash =
        str_hash(key, len) * 0x9e3779b97f4a7c15u; /* FNV's low bits alone are poor for short keys */
    unsigned levels = 1;
    for (hash >>= 20; levels < MEMORY_LEVELS && (hash & 3) == 0; hash >>= 2)
        levels++;
    return levels;
}

/* For each level the pointer that leads to the first object not before key. */
static struct memory_object *memory_path(const struct store_memory *memory, const char *key,
                                         struct memory_object **path[MEMORY_LEVELS])
{
    struct memory_object *const *next = memory->first;
    for (int level = MEMORY_LEVELS - 1; level >= 0; level--) {
        while (next[level] && strcmp(next[level]->key, key) < 0)
            next = next[level]->next;
        path[level] = (struct memory_object **)&next[level];
    }
    return *path[0];
}

struct memory_object *memory_seek(const struct store_memory *memory, const char *key)
{
    struct memory_object **path[MEMORY_LEVELS];
    return memory_path(memory, key, path);
}

struct memory_object *memory_find(const struct store_memory *memory, const char *key)
{
    struct memory_object *found = memory_seek(memory, key);
    return found && strcmp(found->key, key) == 0 ? found : NULL;
}

struct memory_object *memory_put(struct store_memory *memory, const char *key)
{
    struct memory_object **path[MEMORY_LEVELS];
    struct memory_object *found = memory_path(memory, key, path);
    if (found && strcmp(found->key, key) == 0)
        return found;
    size_t len = strlen(key);
    unsigned levels = memory_height(key, len);
    struct memory_object *made = mem_alloc(sizeof(*made) + levels * sizeof(made->next[0]) + len + 1);
    made->key = memcpy(&made->next[levels], key, len + 1);
    made->levels = levels;
    for (unsigned level = 0; level < levels; level++) {
        made->next[level] = *path[level];
        *path[level] = made;
    }
    return made;
}

static void memory_free(struct memory_object *object)
{
    bytes_unref(object->bytes);
    store_terms_unref(object->terms);
    free(object);
}

void memory_remove(struct store_memory *memory, const char *key)
{
    struct memory_object **path[MEMORY_LEVELS];
    struct memory_object *found = memory_path(memory, key, path);
    if (!found || strcmp(found->key, key) != 0)
        return;
    for (unsigned level = 0; level < found->levels; level++)
        *path[level] = found->next[level];
    memory_free(found);
}

void memory_fini(struct store_memory *memory)
{
    struct memory_object *object = memory->first[0];
    while (object) {
        struct memory_object *following = object->next[0];
        memory_free(object);
        object = following;
    }
    *memory = (struct store_memory){0};
}
