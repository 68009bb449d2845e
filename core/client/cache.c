/*
 * The informer cache: what the stream said, by resource and key, with projected columns and indexes. Objects
 * stay JSON text; only the projected paths are kept parsed (contract 20). One loop; nothing here asks the
 * server. Invariant: an item is in its table's ordered set, in the set of each of its index values, and in
 * by_uid.
 */
#include <string.h>

#include "base/map.h"
#include "client/client.h"
#include "client/ordered.h"

struct table {
    char *resource;
    char **paths; /* projected */
    size_t n_paths;
    char **indexes; /* paths that are indexes */
    size_t n_indexes;
    struct map items; /* key → struct held */
    struct ordered all;
    struct map buckets; /* "path=value" → struct ordered */
};

struct held { /* an item and what only the cache knows of it */
    struct cache_item item;
    struct table *table;
    bool seen; /* since cache_begin_list */
};

struct cache {
    struct map tables;
    struct map by_uid; /* uid → struct held */
    cache_on_change *on_change;
    void *arg;
    uint64_t revision;
    bool listing;
    char **everywhere; /* paths that every resource projects */
    size_t n_everywhere;
};

static void strings_free(char **strings, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(strings[i]);
    free(strings);
}

static void held_free(struct held *held)
{
    struct cache_item *item = &held->item;
    free(item->resource);
    free(item->key);
    free(item->namespace);
    free(item->name);
    free(item->uid);
    free(item->owner_uid);
    for (char **uid = item->owner_uids; uid && *uid; uid++)
        free(*uid);
    free(item->owner_uids);
    bytes_unref(item->bytes);
    cJSON_Delete(item->columns);
    free(held);
}

static void held_free_value(void *value)
{
    held_free(value);
}

static void bucket_free(void *value)
{
    ordered_fini(value);
    free(value);
}

static void table_free(void *value)
{
    struct table *table = value;
    map_fini(&table->buckets);
    ordered_fini(&table->all);
    map_fini(&table->items);
    strings_free(table->paths, table->n_paths);
    strings_free(table->indexes, table->n_indexes);
    free(table->resource);
    free(table);
}

struct cache *cache_new(void)
{
    struct cache *cache = NEW(struct cache);
    map_init(&cache->tables, table_free);
    return cache;
}

void cache_free(struct cache *cache)
{
    if (!cache)
        return;
    map_fini(&cache->by_uid);
    map_fini(&cache->tables);
    strings_free(cache->everywhere, cache->n_everywhere);
    free(cache);
}

static void add_string(char ***strings, size_t *count, const char *text)
{
    for (size_t i = 0; i < *count; i++)
        if (str_eq((*strings)[i], text))
            return;
    *strings = mem_resize(*strings, *count + 1, sizeof(char *));
    (*strings)[(*count)++] = mem_strdup(text);
}

static struct table *table_ensure(struct cache *cache, const char *resource)
{
    struct table *table = map_get(&cache->tables, resource);
    if (table)
        return table;
    table = NEW(struct table);
    table->resource = mem_strdup(resource);
    map_init(&table->items, held_free_value);
    map_init(&table->buckets, bucket_free);
    ordered_init(&table->all);
    for (size_t i = 0; i < cache->n_everywhere; i++)
        add_string(&table->paths, &table->n_paths, cache->everywhere[i]);
    map_set(&cache->tables, resource, table);
    return table;
}

static void project_everywhere(struct cache *cache, const char *const *paths)
{
    for (; *paths; paths++) {
        add_string(&cache->everywhere, &cache->n_everywhere, *paths);
        map_each (t, &cache->tables) {
            struct table *table = t->value;
            add_string(&table->paths, &table->n_paths, *paths);
        }
    }
}

void cache_project(struct cache *cache, const char *resource, const char *const *paths)
{
    if (str_eq(resource, "*")) {
        project_everywhere(cache, paths);
        return;
    }
    struct table *table = table_ensure(cache, resource);
    must(table->items.count == 0); /* columns are made when an object arrives */
    for (; *paths; paths++)
        add_string(&table->paths, &table->n_paths, *paths);
}

void cache_index(struct cache *cache, const char *resource, const char *path)
{
    struct table *table = table_ensure(cache, resource);
    must(table->items.count == 0);
    add_string(&table->paths, &table->n_paths, path);
    add_string(&table->indexes, &table->n_indexes, path);
}

void cache_set_on_change(struct cache *cache, cache_on_change *on_change, void *arg)
{
    cache->on_change = on_change;
    cache->arg = arg;
}

/* ---- indexes ---- */

static void bucket_add(struct table *table, const char *path, const char *value,
                       const struct cache_item *item)
{
    if (!value)
        return;
    auto_free char *name = mem_printf("%s=%s", path, value);
    struct ordered *bucket = map_get(&table->buckets, name);
    if (!bucket) {
        bucket = NEW(struct ordered);
        ordered_init(bucket);
        map_set(&table->buckets, name, bucket);
    }
    ordered_add(bucket, item);
}

static void bucket_remove(struct table *table, const char *path, const char *value,
                          const struct cache_item *item)
{
    if (!value)
        return;
    auto_free char *name = mem_printf("%s=%s", path, value);
    struct ordered *bucket = map_get(&table->buckets, name);
    if (!bucket)
        return;
    ordered_remove(bucket, item->key);
    if (bucket->count == 0)
        map_remove(&table->buckets, name);
}

#define EACH "[*]."

/* "spec.rules[*].host": the different strings there, as a list. Caller owns. */
static cJSON *column_each(const cJSON *object, const char *path, const char *each)
{
    auto_free char *list = mem_strndup(path, (size_t)(each - path));
    cJSON *column = cJSON_CreateArray();
    json_each (item, json_at(object, list)) {
        const char *text = json_string(item, each + sizeof(EACH) - 1);
        bool known = !text;
        json_each (before, column)
            known = known || str_eq(before->valuestring, text);
        if (!known)
            json_push_string(column, text);
    }
    return column;
}

static cJSON *column_of(const cJSON *object, const char *path)
{
    const char *each = strstr(path, EACH);
    if (each)
        return column_each(object, path, each);
    const cJSON *value = json_at(object, path);
    return value ? json_copy(value) : NULL;
}

static void index_item(struct held *held, void (*change)(struct table *table, const char *path,
                                                         const char *value, const struct cache_item *item))
{
    struct table *table = held->table;
    const struct cache_item *item = &held->item;
    change(table, "owner", item->owner_uid, item);
    for (char **uid = item->owner_uids; uid && *uid; uid++)
        change(table, "owners", *uid, item);
    change(table, "namespace", item->namespace, item);
    for (size_t i = 0; i < table->n_indexes; i++) {
        const cJSON *column = json_get(item->columns, table->indexes[i]);
        if (!cJSON_IsArray(column))
            change(table, table->indexes[i], cJSON_GetStringValue(column), item);
        else
            json_each (value, column)
                change(table, table->indexes[i], cJSON_GetStringValue(value), item);
    }
}

/* ---- items ---- */

static char *controller_uid(const cJSON *metadata)
{
    json_each (owner, json_get(metadata, "ownerReferences")) {
        if (json_bool(owner, "controller", false))
            return mem_strdup(json_string(owner, "uid"));
    }
    return NULL;
}

static char **all_owner_uids(const cJSON *metadata)
{
    const cJSON *owners = json_get(metadata, "ownerReferences");
    int count = cJSON_GetArraySize(owners);
    if (count == 0)
        return NULL;
    char **uids = mem_array((size_t)count + 1, sizeof(char *));
    char **next = uids;
    json_each (owner, owners) {
        const char *uid = json_string(owner, "uid");
        if (uid)
            *next++ = mem_strdup(uid);
    }
    return uids;
}

/* NULL when the text is no object with a name. */
static struct held *held_new(struct table *table, const struct client_event *event)
{
    auto_json object = json_parse_trusted(event->object, event->len);
    const cJSON *metadata = json_get(object, "metadata");
    const char *name = json_string(metadata, "name");
    if (!name)
        return NULL;
    struct held *held = NEW(struct held);
    held->table = table;
    held->seen = true;
    struct cache_item *item = &held->item;
    item->resource = mem_strdup(event->resource);
    item->namespace = mem_strdup(json_string(metadata, "namespace"));
    item->name = mem_strdup(name);
    item->key = item->namespace ? mem_printf("%s/%s", item->namespace, name) : mem_strdup(name);
    item->uid = mem_strdup(json_string_or(metadata, "uid", ""));
    item->revision = strtoull(json_string_or(metadata, "resourceVersion", "0"), NULL, 10);
    item->bytes = bytes_from(event->object, event->len);
    item->owner_uid = controller_uid(metadata);
    item->owner_uids = all_owner_uids(metadata);
    item->deleting = json_string(metadata, "deletionTimestamp") != NULL;
    item->columns = cJSON_CreateObject();
    for (size_t i = 0; i < table->n_paths; i++) {
        cJSON *value = column_of(object, table->paths[i]);
        if (value)
            json_set(item->columns, table->paths[i], value);
    }
    return held;
}

static void tell(struct cache *cache, const char *resource, const struct held *previous,
                 const struct held *held)
{
    if (cache->on_change)
        cache->on_change(cache->arg, resource, previous ? &previous->item : NULL, held ? &held->item : NULL);
}

static void forget(struct cache *cache, struct held *held)
{
    index_item(held, bucket_remove);
    ordered_remove(&held->table->all, held->item.key);
    if (map_get(&cache->by_uid, held->item.uid) == held)
        map_remove(&cache->by_uid, held->item.uid);
    (void)map_take(&held->table->items, held->item.key);
}

static void drop(struct cache *cache, struct held *held)
{
    forget(cache, held);
    tell(cache, held->table->resource, held, NULL);
    held_free(held);
}

static void put(struct cache *cache, const struct client_event *event)
{
    struct table *table = table_ensure(cache, event->resource);
    struct held *held = held_new(table, event);
    if (soft_fails(held != NULL))
        return;
    struct held *previous = map_get(&table->items, held->item.key);
    if (previous && previous->item.revision == held->item.revision) {
        previous->seen = true;
        held_free(held);
        return;
    }
    if (previous &&
        !str_eq(previous->item.uid, held->item.uid)) { /* deleted and made again while we did not look */
        drop(cache, previous);
        previous = NULL;
    }
    if (previous)
        forget(cache, previous);
    map_set(&table->items, held->item.key, held);
    map_set(&cache->by_uid, held->item.uid, held);
    ordered_add(&table->all, &held->item);
    index_item(held, bucket_add);
    tell(cache, table->resource, previous, held);
    if (previous)
        held_free(previous);
}

static void delete_object(struct cache *cache, const struct client_event *event)
{
    struct table *table = table_ensure(cache, event->resource);
    auto_json object = json_parse_trusted(event->object, event->len);
    const char *name = json_string(object, "metadata.name"),
               *namespace = json_string(object, "metadata.namespace");
    if (soft_fails(name != NULL))
        return;
    auto_free char *key = namespace ? mem_printf("%s/%s", namespace, name) : mem_strdup(name);
    struct held *held = map_get(&table->items, key);
    if (held)
        drop(cache, held);
}

static void end_list(struct cache *cache)
{
    cache->listing = false;
    map_each (t, &cache->tables) {
        struct table *table = t->value;
        struct ordered_node *node = ordered_first(&table->all);
        while (node) {
            struct held *held =
                CONTAINER_OF((struct cache_item *)(uintptr_t)ordered_item(node), struct held, item);
            node = ordered_next(node);
            if (!held->seen)
                drop(cache, held);
        }
    }
}

void cache_apply(struct cache *cache, const struct client_event *event)
{
    switch (event->type) {
    case CLIENT_ADDED:
    case CLIENT_MODIFIED:
        put(cache, event);
        break;
    case CLIENT_DELETED:
        delete_object(cache, event);
        break;
    case CLIENT_INITIAL_END:
        if (cache->listing)
            end_list(cache);
        cache->revision = event->revision;
        return;
    case CLIENT_BOOKMARK:
        break;
    }
    if (!cache->listing && event->revision > cache->revision)
        cache->revision = event->revision;
}

void cache_begin_list(struct cache *cache)
{
    cache->listing = true;
    map_each (t, &cache->tables) {
        struct table *table = t->value;
        map_each (i, &table->items)
            ((struct held *)i->value)->seen = false;
    }
}

const struct cache_item *cache_get(const struct cache *cache, const char *resource, const char *key)
{
    struct table *table = map_get(&cache->tables, resource);
    struct held *held = table ? map_get(&table->items, key) : NULL;
    return held ? &held->item : NULL;
}

const struct cache_item *cache_get_uid(const struct cache *cache, const char *uid)
{
    struct held *held = map_get(&cache->by_uid, uid);
    return held ? &held->item : NULL;
}

size_t cache_count(const struct cache *cache, const char *resource)
{
    struct table *table = map_get(&cache->tables, resource);
    return table ? table->items.count : 0;
}

const char **cache_resources(const struct cache *cache)
{
    return map_sorted_keys(&cache->tables);
}

void cache_begin(const struct cache *cache, const char *resource, const char *index, const char *value,
                 struct cache_cursor *cursor)
{
    *cursor = (struct cache_cursor){{NULL}};
    struct table *table = map_get(&cache->tables, resource);
    if (!table)
        return;
    const struct ordered *set = &table->all;
    if (index) {
        auto_free char *name = mem_printf("%s=%s", index, value ? value : "");
        set = map_get(&table->buckets, name);
    }
    cursor->private[0] = set ? ordered_first(set) : NULL;
}

const struct cache_item *cache_next(struct cache_cursor *cursor)
{
    struct ordered_node *node = cursor->private[0];
    if (!node)
        return NULL;
    cursor->private[0] = ordered_next(node);
    return ordered_item(node);
}

uint64_t cache_revision(const struct cache *cache)
{
    return cache->revision;
}
