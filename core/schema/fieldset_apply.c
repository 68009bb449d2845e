/*
 * fieldset_apply: what server-side apply makes of an object. Lists are merged by their keys, in the order of
 * the one who applies; what he applied before, leaves out now and nobody else owns goes with all below it.
 * Does not decide who owns what: core/api/api_managers.c does.
 */
#include <string.h>

#include "schema/fieldset_private.h"

/* ---- what cannot be merged ---- */

static void check(const struct fieldset_place *place, const cJSON *value, const struct schema_path *path,
                  struct err **err);

static void check_element(const struct schema_type *list, const cJSON *element, const cJSON *seen,
                          const struct schema_path *path, struct err **err)
{
    auto_free char *key = fieldset_element_key(list, element), *text = schema_path_print(path);
    if (!key) {
        auto_free char *names = list->map_keys ? json_print(list->map_keys) : mem_strdup(list->merge_key);
        err_add_cause(err, "FieldValueRequired", text, "Required value: elements are told apart by %s",
                      names);
    } else if (json_get(seen, key)) {
        err_add_cause(err, "FieldValueDuplicate", text, "Duplicate value: %s", key + 2);
    }
}

static bool too_long(const struct schema_type *type, const cJSON *list, const struct schema_path *path,
                     struct err **err)
{
    int count = cJSON_GetArraySize(list);
    if (count <= type->max_items)
        return false;
    auto_free char *text = schema_path_print(path);
    err_add_cause(err, "FieldValueTooMany", text, "Too many: %d: must have at most %lld items", count,
                  (long long)type->max_items);
    return true;
}

/* Every element is looked up among those before it: the length has a bound. */
static void check_list(const struct fieldset_place *place, const cJSON *list, const struct schema_path *path,
                       struct err **err)
{
    if (too_long(place->type, list, path, err))
        return;
    auto_json seen = cJSON_CreateObject();
    int i = 0;
    json_each (element, list) {
        struct fieldset_place below = {.type = place->type->items, .depth = place->depth + 1};
        const struct schema_path *here = SCHEMA_INDEX(path, i++);
        check_element(place->type, element, seen, here, err);
        auto_free char *key = fieldset_element_key(place->type, element);
        if (key)
            json_set(seen, key, cJSON_CreateTrue());
        check(&below, element, here, err);
    }
}

static void check(const struct fieldset_place *place, const cJSON *value, const struct schema_path *path,
                  struct err **err)
{
    if (!fieldset_granular(place, value))
        return;
    if (cJSON_IsArray(value)) {
        check_list(place, value, path, err);
        return;
    }
    auto_members members = fieldset_members(place, value);
    for (size_t i = 0; i < members.count; i++) {
        const struct fieldset_member *member = &members.items[i];
        check(&member->place, member->value,
              &(struct schema_path){
                  .up = path, .key = member->value->string, .in_map = place->type && member->item},
              err);
    }
}

int fieldset_check(const struct schema_kind *kind, const cJSON *config, struct err **err)
{
    auto_err found = NULL;
    const struct fieldset_place whole = {.type = kind->root};
    check(&whole, config, NULL, &found);
    return found ? err_move(err, &found) : 0;
}

/* ---- laying one over the other ---- */

static void lay(const struct fieldset_place *place, cJSON *object, const cJSON *config);

static bool both_granular(const struct fieldset_place *place, const cJSON *a, const cJSON *b)
{
    return a && cJSON_IsArray(a) == cJSON_IsArray(b) && fieldset_granular(place, a) &&
           fieldset_granular(place, b);
}

static const struct fieldset_member *find(const struct fieldset_members *members, const char *key)
{
    size_t low = 0, high = members->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(members->items[middle].key, key);
        if (order == 0)
            return &members->items[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Moves what stands before `end` and is nobody's in config: so it keeps its place among its neighbours. */
static void move_others(const struct schema_type *type, cJSON *from, const cJSON *end,
                        const struct fieldset_members *named, cJSON *to)
{
    for (cJSON *element = from->child, *next; element && element != end; element = next) {
        next = element->next;
        auto_free char *key = fieldset_element_key(type, element);
        if (!key || !find(named, key))
            json_push(to, cJSON_DetachItemViaPointer(from, element));
    }
}

static void lay_list(const struct fieldset_place *place, cJSON *list, const cJSON *config)
{
    auto_members before = fieldset_members(place, list), named = fieldset_members(place, config);
    const struct fieldset_place below = {.type = place->type->items, .depth = place->depth + 1};
    auto_json merged = cJSON_CreateArray();
    json_each (element, config) {
        auto_free char *key = fieldset_element_key(place->type, element);
        const struct fieldset_member *present = key ? find(&before, key) : NULL;
        if (!present) {
            json_push(merged, json_copy(element));
            continue;
        }
        move_others(place->type, list, present->value, &named, merged);
        auto_json old = cJSON_DetachItemViaPointer(list, present->value);
        if (both_granular(&below, old, element))
            lay(&below, json_push(merged, steal(&old)), element);
        else
            json_push(merged, json_copy(element));
    }
    move_others(place->type, list, NULL, &named, merged);
    while (list->child) /* a second one with a key of config: the first was meant */
        cJSON_Delete(cJSON_DetachItemViaPointer(list, list->child));
    list->child = merged->child;
    merged->child = NULL;
}

/* Takes value; without looking for the place again. */
static void replace(cJSON *object, cJSON *old, cJSON *value)
{
    free(value->string);
    value->string = mem_strdup(old->string);
    cJSON_ReplaceItemViaPointer(object, old, value);
}

static void lay(const struct fieldset_place *place, cJSON *object, const cJSON *config)
{
    if (cJSON_IsArray(config)) {
        lay_list(place, object, config);
        return;
    }
    auto_members wanted = fieldset_members(place, config), present = fieldset_members(place, object);
    for (size_t i = 0; i < wanted.count; i++) {
        const struct fieldset_member *member = &wanted.items[i], *old = find(&present, member->key);
        if (!old)
            cJSON_AddItemToObject(object, member->value->string, json_copy(member->value));
        else if (both_granular(&member->place, old->value, member->value))
            lay(&member->place, old->value, member->value);
        else
            replace(object, old->value, json_copy(member->value));
    }
}

/* ---- taking away ---- */

static void drop(const struct fieldset_place *place, cJSON *container, const cJSON *dropped,
                 const cJSON *owned)
{
    auto_members members = fieldset_members(place, container);
    const cJSON *dropped_at = dropped ? dropped->child : NULL, *owned_at = owned ? owned->child : NULL;
    for (size_t i = 0; i < members.count; i++) {
        const struct fieldset_member *member = &members.items[i];
        const cJSON *gone = fieldset_seek(&dropped_at, member->key),
                    *kept = fieldset_seek(&owned_at, member->key);
        bool server_s = member->place.meta; /* has more in it than anybody owns */
        /* of an object that is one thing or another, what a default left of the other */
        bool left_over = owned && place->type && place->type->patch == PATCH_RETAIN_KEYS;
        if (!kept && ((gone && !server_s) || left_over))
            cJSON_Delete(cJSON_DetachItemViaPointer(container, member->value));
        else if (fieldset_granular(&member->place, member->value))
            drop(&member->place, member->value, gone, kept);
    }
}

void fieldset_apply(const struct schema_kind *kind, cJSON *object, const cJSON *config, const cJSON *dropped,
                    const cJSON *owned)
{
    const struct fieldset_place whole = {.type = kind->root};
    lay(&whole, object, config);
    drop(&whole, object, dropped, owned);
}
