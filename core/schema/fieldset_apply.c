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

#define MAX_CAUSES 64
#define MAX_SHOWN 100

static bool enough(struct err *const *err)
{
    return *err && (*err)->n_causes >= MAX_CAUSES;
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

static void lacks_key(const struct schema_type *list, const struct schema_path *path, struct err **err)
{
    auto_free char *text = schema_path_print(path);
    auto_free char *names = list->map_keys ? json_print(list->map_keys) : mem_strdup(list->merge_key);
    err_add_cause(err, "FieldValueRequired", text, "Required value: elements are told apart by %s", names);
}

static void has_key_of_another(const char *key, const struct schema_path *path, struct err **err)
{
    auto_free char *text = schema_path_print(path);
    err_add_cause(err, "FieldValueDuplicate", text, "Duplicate value: %.*s", MAX_SHOWN, key + 2);
}

static void check_list(const struct fieldset_place *place, const cJSON *list, const struct schema_path *path,
                       struct err **err)
{
    if (too_long(place->type, list, path, err))
        return;
    const struct fieldset_place below = {.type = place->type->items, .depth = place->depth + 1};
    auto_members members = fieldset_members(place, list); /* of those with one key the first */
    auto_free bool *known = mem_array((size_t)cJSON_GetArraySize(list) + 1, sizeof(*known));
    for (size_t i = 0; i < members.count; i++)
        known[members.items[i].index] = true;
    size_t i = 0;
    json_each (element, list) {
        if (enough(err))
            return;
        const struct schema_path *here = SCHEMA_INDEX(path, i);
        auto_free char *key = known[i++] ? NULL : fieldset_element_key(place->type, element);
        if (key)
            has_key_of_another(key, here, err);
        else if (!known[i - 1])
            lacks_key(place->type, here, err);
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
    for (size_t i = 0; i < members.count && !enough(err); i++) {
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

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct fieldset_member *)a)->key, ((const struct fieldset_member *)b)->key);
}

static const struct fieldset_member *find(const struct fieldset_members *members, const char *key)
{
    const struct fieldset_member wanted = {.key = (char *)key};
    return bsearch(&wanted, members->items, members->count, sizeof(wanted), by_key);
}

/* The elements of a list by their place, and which of them config does not name. */
struct others {
    cJSON **elements;
    bool *other;
    size_t count, next; /* those before next are done with */
};

static struct others others_of(const cJSON *list, const struct fieldset_members *present,
                               const struct fieldset_members *named)
{
    struct others others = {.count = (size_t)cJSON_GetArraySize(list)};
    others.elements = mem_array(others.count + 1, sizeof(*others.elements));
    others.other = mem_array(others.count + 1, sizeof(*others.other));
    size_t i = 0;
    json_each (element, list) {
        others.other[i] = true;
        others.elements[i++] = element;
    }
    for (i = 0; i < present->count; i++)
        others.other[present->items[i].index] = !find(named, present->items[i].key);
    return others;
}

/* Moves those before that place: so an element that config does not name keeps it among its neighbours. */
static void move_others(struct others *others, size_t end, cJSON *from, cJSON *to)
{
    for (; others->next < end; others->next++) {
        if (others->other[others->next])
            json_push(to, cJSON_DetachItemViaPointer(from, others->elements[others->next]));
    }
}

static void lay_list(const struct fieldset_place *place, cJSON *list, const cJSON *config)
{
    auto_members before = fieldset_members(place, list), named = fieldset_members(place, config);
    const struct fieldset_place below = {.type = place->type->items, .depth = place->depth + 1};
    struct others others = others_of(list, &before, &named);
    auto_json merged = cJSON_CreateArray();
    json_each (element, config) {
        auto_free char *key = fieldset_element_key(place->type, element);
        const struct fieldset_member *present = key ? find(&before, key) : NULL;
        if (!present) {
            json_push(merged, json_copy(element));
            continue;
        }
        move_others(&others, present->index, list, merged);
        auto_json old = cJSON_DetachItemViaPointer(list, present->value);
        if (both_granular(&below, old, element))
            lay(&below, json_push(merged, steal(&old)), element);
        else
            json_push(merged, json_copy(element));
    }
    move_others(&others, others.count, list, merged);
    list->child = merged->child; /* everything has left it */
    merged->child = NULL;
    free(others.elements);
    free(others.other);
}

static void drop_null_members(cJSON *object)
{
    for (cJSON *child = object->child, *next; child; child = next) {
        next = child->next;
        if (cJSON_IsNull(child))
            cJSON_Delete(cJSON_DetachItemViaPointer(object, child));
    }
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
    drop_null_members(object); /* no members, and in the way of one with their name */
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
        bool goes = gone && !kept && !member->place.meta; /* metadata has more in it than anybody owns */
        /* of an object that is one thing or another, what a default left of the other */
        bool left_over = owned && !kept && place->type && place->type->patch == PATCH_RETAIN_KEYS;
        bool inside = fieldset_granular(&member->place, member->value);
        if (inside && !left_over && (!goes || cJSON_IsArray(member->value)))
            drop(&member->place, member->value, gone, kept);
        /* a list may have elements that the server put there: they stay */
        bool stays = inside && cJSON_IsArray(member->value) && member->value->child;
        if (left_over || (goes && !stays))
            cJSON_Delete(cJSON_DetachItemViaPointer(container, member->value));
    }
}

void fieldset_apply(const struct schema_kind *kind, cJSON *object, const cJSON *config, const cJSON *dropped,
                    const cJSON *owned)
{
    const struct fieldset_place whole = {.type = kind->root};
    lay(&whole, object, config);
    drop(&whole, object, dropped, owned);
}
