/*
 * schema_merge: strategic merge patch with the kind's merge keys. Directives: $patch (merge, replace,
 * delete), $retainKeys, $deleteFromPrimitiveList/x, $setElementOrder/x. Lists without a merge key are
 * replaced as a whole. Does not check types or values: schema_check and schema_validate see the result.
 * Invariant: no directive ever reaches the result. Source: Kubernetes strategic merge patch, kubectl apply.
 */
#include <string.h>

#include "schema/schema_private.h"

#define MAX_MERGED 2048 /* elements of one list, order or deletion: merging is quadratic */
#define MAX_RETAINED 256
#define ORDER "$setElementOrder/"
#define DELETE_FROM "$deleteFromPrimitiveList/"

/* One object that is merged: its type, if known, and the fields of both sides. */
struct merge {
    const struct schema_type *type;
    struct json_keys target, patch;
};

static cJSON *merge_object(const struct schema_type *type, cJSON *target, const cJSON *patch,
                           struct err **err);

static const struct schema_type *type_below(const struct schema_type *type, const char *key)
{
    if (!type)
        return NULL;
    if (type->kind == TYPE_MAP)
        return type->items;
    const struct schema_field *field = type->kind == TYPE_OBJECT ? schema_type_field(type, key) : NULL;
    return field ? field->type : NULL;
}

static bool has_directive(const cJSON *patch, const char *value)
{
    return str_eq(json_string(patch, "$patch"), value);
}

/* A copy of what a patch brings where nothing was: without directives and nulls. NULL on failure. */
static cJSON *clean_copy(const struct schema_type *type, const cJSON *patch, struct err **err)
{
    if (cJSON_IsObject(patch))
        return merge_object(type, cJSON_CreateObject(), patch, err);
    if (!cJSON_IsArray(patch))
        return json_copy(patch);
    auto_json list = cJSON_CreateArray();
    json_each (item, patch) {
        if (has_directive(item, "delete") || has_directive(item, "replace"))
            continue;
        cJSON *copy = clean_copy(type ? type->items : NULL, item, err);
        if (!copy)
            return NULL;
        json_push(list, copy);
    }
    return steal(&list);
}

/* Merges into an object that stays where it is in its parent. */
static int merge_in_place(const struct schema_type *type, cJSON *object, const cJSON *patch, struct err **err)
{
    cJSON *moved = cJSON_CreateObject();
    moved->child = object->child;
    object->child = NULL;
    cJSON *merged = merge_object(type, moved, patch, err);
    if (!merged)
        return -1;
    object->child = merged->child;
    merged->child = NULL;
    cJSON_Delete(merged);
    return 0;
}

static bool same_element(const cJSON *a, const cJSON *b, const char *key)
{
    if (!key)
        return json_equal(a, b);
    const cJSON *a_key = json_get(a, key), *b_key = json_get(b, key);
    return a_key && b_key && json_equal(a_key, b_key);
}

static cJSON *find_element(const cJSON *list, const cJSON *like, const char *key)
{
    json_each (item, list) {
        if (same_element(item, like, key))
            return item;
    }
    return NULL;
}

static int index_of(const cJSON *list, const cJSON *like, const char *key)
{
    int i = 0;
    json_each (item, list) {
        if (same_element(item, like, key))
            return i;
        i++;
    }
    return -1;
}

/* Puts the list into the order asked for; elements that are not named keep their place relative to the old
 * order. */
static void reorder(cJSON *list, const cJSON *order, const cJSON *before, const char *key)
{
    auto_json named = cJSON_CreateArray();
    json_each (wanted, order) {
        cJSON *item = find_element(list, wanted, key);
        if (item)
            json_push(named, cJSON_DetachItemViaPointer(list, item));
    }
    auto_json others = cJSON_CreateArray();
    while (list->child)
        json_push(others, cJSON_DetachItemViaPointer(list, list->child));
    while (named->child || others->child) {
        bool take_other = !named->child;
        if (named->child && others->child) {
            int other = index_of(before, others->child, key), next = index_of(before, named->child, key);
            take_other = other >= 0 && next >= 0 && other < next;
        }
        cJSON *from = take_other ? others : named;
        json_push(list, cJSON_DetachItemViaPointer(from, from->child));
    }
}

static int merge_element(const struct schema_type *type, cJSON *list, const cJSON *item, struct err **err)
{
    const char *key = type->merge_key;
    if (!cJSON_IsObject(item) || !json_get(item, key)) {
        if (has_directive(item, "replace"))
            return 0;
        return err_set(err, ERR_BAD_REQUEST, "an element of the patched list lacks its merge key %s", key);
    }
    cJSON *present = find_element(list, item, key);
    if (has_directive(item, "delete")) {
        while (present) {
            cJSON_Delete(cJSON_DetachItemViaPointer(list, present));
            present = find_element(list, item, key);
        }
        return 0;
    }
    if (cJSON_IsObject(present))
        return merge_in_place(type->items, present, item, err);
    cJSON *copy = clean_copy(type->items, item, err);
    if (!copy)
        return -1;
    json_push(list, copy);
    return 0;
}

static int merge_list(const struct schema_type *type, cJSON *list, const cJSON *patch, struct err **err)
{
    json_each (item, patch) {
        if (has_directive(item, "replace")) {
            cJSON *fresh = clean_copy(type, patch, err);
            if (!fresh)
                return -1;
            while (list->child)
                cJSON_Delete(cJSON_DetachItemViaPointer(list, list->child));
            while (fresh->child)
                json_push(list, cJSON_DetachItemViaPointer(fresh, fresh->child));
            cJSON_Delete(fresh);
            return 0;
        }
    }
    json_each (item, patch) {
        if (type->merge_key) {
            if (merge_element(type, list, item, err))
                return -1;
        } else if (!find_element(list, item, NULL)) {
            json_push(list, json_copy(item));
        }
    }
    return 0;
}

static void delete_from_list(cJSON *list, const cJSON *gone)
{
    json_each (value, gone) {
        cJSON *item;
        while ((item = find_element(list, value, NULL)))
            cJSON_Delete(cJSON_DetachItemViaPointer(list, item));
    }
}

static bool too_long(const cJSON *list)
{
    return cJSON_IsArray(list) && cJSON_GetArraySize(list) > MAX_MERGED;
}

/* Everything that a patch says about one list: values, deletions, order. */
static int merge_list_field(struct merge *m, const char *name, struct err **err)
{
    const struct schema_type *type = type_below(m->type, name);
    auto_free char *order_name = mem_printf(ORDER "%s", name);
    auto_free char *delete_name = mem_printf(DELETE_FROM "%s", name);
    const cJSON *values = json_keys_get(&m->patch, name), *order = json_keys_get(&m->patch, order_name);
    const cJSON *gone = json_keys_get(&m->patch, delete_name);
    bool merges = type && type->kind == TYPE_LIST && type->patch != PATCH_REPLACE &&
                  (type->merge_key || type->patch == PATCH_MERGE);
    if (values && (!merges || !cJSON_IsArray(values))) {
        cJSON *copy = clean_copy(type, values, err);
        if (!copy)
            return -1;
        json_keys_set(&m->target, name, copy);
        return 0;
    }
    cJSON *list = json_keys_get(&m->target, name);
    if (!cJSON_IsArray(list)) {
        if (!values)
            return 0;
        list = json_keys_set(&m->target, name, cJSON_CreateArray());
    }
    if (too_long(values) || too_long(order) || too_long(gone) || too_long(list))
        return err_set(err, ERR_BAD_REQUEST, "too many elements in the list %s of a strategic merge patch",
                       name);
    auto_json before = order ? json_copy(list) : NULL;
    if (gone)
        delete_from_list(list, gone);
    if (values && merge_list(type, list, values, err))
        return -1;
    if (order && cJSON_IsArray(order))
        reorder(list, order, before, type ? type->merge_key : NULL);
    return 0;
}

static int merge_field(struct merge *m, const cJSON *field, struct err **err)
{
    const char *name = field->string;
    if (strcmp(name, "$patch") == 0 || strcmp(name, "$retainKeys") == 0)
        return 0;
    if (*name == '$') {
        const char *slash = strchr(name, '/');
        if (!str_starts(name, ORDER) && !str_starts(name, DELETE_FROM))
            return err_set(err, ERR_BAD_REQUEST, "unknown directive %s in the patch", name);
        if (json_keys_get(&m->patch, slash + 1)) /* comes with its list */
            return 0;
        return merge_list_field(m, slash + 1, err);
    }
    const struct schema_type *below = type_below(m->type, name);
    if (cJSON_IsNull(field)) {
        json_keys_set(&m->target, name, NULL);
    } else if (cJSON_IsArray(field)) {
        return merge_list_field(m, name, err);
    } else if (cJSON_IsObject(field) &&
               !(below && below->patch == PATCH_REPLACE && below->kind == TYPE_OBJECT)) {
        if (has_directive(field, "delete")) {
            json_keys_set(&m->target, name, NULL);
            return 0;
        }
        cJSON *present = json_keys_get(&m->target, name);
        if (!cJSON_IsObject(present))
            present = json_keys_set(&m->target, name, cJSON_CreateObject());
        return merge_in_place(below, present, field, err);
    } else {
        cJSON *copy = clean_copy(below, field, err);
        if (!copy)
            return -1;
        json_keys_set(&m->target, name, copy);
    }
    return 0;
}

static int merge_fields(const struct schema_type *type, cJSON *target, const cJSON *patch, struct err **err)
{
    struct merge m = {.type = type};
    size_t n = (size_t)cJSON_GetArraySize(patch);
    json_keys_init(&m.target, target, n);
    json_keys_init(&m.patch, patch, n);
    int result = 0;
    for (const cJSON *field = patch->child; field && result == 0; field = field->next)
        result = merge_field(&m, field, err);
    json_keys_fini(&m.target);
    json_keys_fini(&m.patch);
    return result;
}

static int retain_keys(cJSON *target, const cJSON *keys, struct err **err)
{
    if (!cJSON_IsArray(keys))
        return err_set(err, ERR_BAD_REQUEST, "$retainKeys in the patch must be a list");
    if (cJSON_GetArraySize(keys) > MAX_RETAINED)
        return err_set(err, ERR_BAD_REQUEST, "too many keys in $retainKeys");
    for (cJSON *child = target->child, *next; child; child = next) {
        next = child->next;
        bool keep = false;
        json_each (key, keys)
            keep |= cJSON_IsString(key) && strcmp(key->valuestring, child->string) == 0;
        if (!keep)
            cJSON_Delete(cJSON_DetachItemViaPointer(target, child));
    }
    return 0;
}

/* Takes target; NULL on failure (target is freed). */
static cJSON *merge_object(const struct schema_type *type, cJSON *target, const cJSON *patch,
                           struct err **err)
{
    auto_json object = target;
    const char *directive = json_string(patch, "$patch");
    if (directive && strcmp(directive, "merge") != 0 && strcmp(directive, "replace") != 0 &&
        strcmp(directive, "delete") != 0) {
        err_set(err, ERR_BAD_REQUEST, "unknown value %s of $patch", directive);
        return NULL;
    }
    if (str_eq(directive, "replace")) {
        cJSON_Delete(object);
        object = cJSON_CreateObject();
    }
    const cJSON *retain = json_get(patch, "$retainKeys");
    if (retain && retain_keys(object, retain, err))
        return NULL;
    return merge_fields(type, object, patch, err) ? NULL : steal(&object);
}

cJSON *schema_strategic_merge(const struct schema_kind *kind, cJSON *target, const cJSON *patch,
                              struct err **err)
{
    if (!cJSON_IsObject(patch) || !cJSON_IsObject(target)) {
        cJSON_Delete(target);
        err_set(err, ERR_BAD_REQUEST, "a strategic merge patch must be an object");
        return NULL;
    }
    return merge_object(kind->root, target, patch, err);
}
