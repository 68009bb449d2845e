/*
 * fieldset: the set of an object, the difference of two objects, and the algebra of sets. Everything is a
 * walk of two sorted lists side by side.
 */
#include <string.h>

#include "schema/fieldset_private.h"

/* ---- members of an object ---- */

static bool is_server_s(const struct fieldset_place *place, const char *name)
{
    static const char *const of_object[] = {"apiVersion", "kind", NULL};
    static const char *const of_meta[] = {
        "name",     "namespace", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
        "selfLink", "uid",       "generation",        "managedFields",     "resourceVersion",
        NULL};
    if (place->depth > 0 && !place->meta)
        return false;
    for (const char *const *own = place->meta ? of_meta : of_object; *own; own++) {
        if (strcmp(*own, name) == 0)
            return true;
    }
    return false;
}

bool fieldset_granular(const struct fieldset_place *place, const cJSON *value)
{
    const struct schema_type *type = place->type;
    if (place->depth >= FIELDSET_DEPTH || (type && type->atomic))
        return false;
    if (cJSON_IsObject(value))
        return true;
    return cJSON_IsArray(value) && type && type->kind == TYPE_LIST && type->patch == PATCH_MERGE;
}

static const cJSON *key_value(const struct schema_type *list, const cJSON *element, const char *name)
{
    const cJSON *value = json_get(element, name);
    const struct schema_field *field = list->items ? schema_type_field(list->items, name) : NULL;
    bool unset =
        json_is_null(value) || (field && !field->keep_empty && str_eq(cJSON_GetStringValue(value), ""));
    if (!unset)
        return value;
    return field ? field->fallback : NULL;
}

static bool add_key(const struct schema_type *list, const cJSON *element, cJSON *keys, const char *name)
{
    const cJSON *value = key_value(list, element, name);
    if (!value || cJSON_IsObject(value) || cJSON_IsArray(value))
        return false;
    json_set(keys, name, json_copy(value));
    return true;
}

char *fieldset_element_key(const struct schema_type *list, const cJSON *element)
{
    if (!list->merge_key) {
        auto_free char *text = json_print(element);
        return mem_printf("v:%s", text);
    }
    auto_json keys = cJSON_CreateObject();
    bool whole = cJSON_IsObject(element);
    if (whole && !list->map_keys)
        whole = add_key(list, element, keys, list->merge_key);
    json_each (name, list->map_keys)
        whole = whole && cJSON_IsString(name) && add_key(list, element, keys, name->valuestring);
    if (!whole)
        return NULL;
    json_sort_keys(keys);
    auto_free char *text = json_print(keys);
    return mem_printf("k:%s", text);
}

static struct fieldset_place place_below(const struct fieldset_place *place, const char *name)
{
    const struct schema_type *type = place->type;
    struct fieldset_place below = {.depth = place->depth + 1,
                                   .meta = place->depth == 0 && strcmp(name, "metadata") == 0};
    if (type && type->kind == TYPE_MAP) {
        below.type = type->items;
    } else if (type && type->kind == TYPE_OBJECT) {
        const struct schema_field *field = schema_type_field(type, name);
        below.type = field ? field->type : NULL;
    }
    return below;
}

static bool is_field(const struct fieldset_place *place, const char *name)
{
    return place->type && place->type->kind == TYPE_OBJECT && schema_type_field(place->type, name);
}

static int by_key(const void *a, const void *b)
{
    const struct fieldset_member *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    return order ? order : x->index < y->index ? -1 : 1;
}

/* The first of those with one key stays. */
static void sort_members(struct fieldset_members *members)
{
    qsort(members->items, members->count, sizeof(*members->items), by_key);
    size_t n = 0;
    for (size_t i = 0; i < members->count; i++) {
        if (n && strcmp(members->items[n - 1].key, members->items[i].key) == 0)
            free(members->items[i].key);
        else
            members->items[n++] = members->items[i];
    }
    members->count = n;
}

struct fieldset_members fieldset_members(const struct fieldset_place *place, const cJSON *container)
{
    struct fieldset_members members = {0};
    size_t count = 0;
    json_each (child, container)
        count++;
    members.items = mem_array(count + 1, sizeof(*members.items));
    bool list = cJSON_IsArray(container);
    size_t index = 0;
    json_each (child, container) {
        struct fieldset_member member = {.value = child, .index = index};
        index++;
        if (!list && (cJSON_IsNull(child) || is_server_s(place, child->string)))
            continue;
        if (list) {
            member.key = fieldset_element_key(place->type, child);
            member.place = (struct fieldset_place){.type = place->type->items, .depth = place->depth + 1};
            member.item = true;
        } else {
            member.key = mem_printf("f:%s", child->string);
            member.place = place_below(place, child->string);
            member.item = !is_field(place, child->string);
        }
        if (member.key)
            members.items[members.count++] = member;
    }
    sort_members(&members);
    return members;
}

void fieldset_members_free(struct fieldset_members *members)
{
    for (size_t i = 0; i < members->count; i++)
        free(members->items[i].key);
    free(members->items);
}

/* ---- the set of an object ---- */

static bool is_member(const cJSON *step)
{
    return step && (!step->child || strcmp(step->child->string, ".") == 0);
}

/* The steps below, without the mark of the step itself. */
static const cJSON *steps_of(const cJSON *step)
{
    if (!step || !step->child)
        return NULL;
    return strcmp(step->child->string, ".") == 0 ? step->child->next : step->child;
}

static void fill(cJSON *set, const struct fieldset_place *place, const cJSON *container);

static void add_member(cJSON *set, const struct fieldset_member *member)
{
    cJSON *step = cJSON_CreateObject();
    bool below =
        fieldset_granular(&member->place, member->value) && (member->value->child || member->place.meta);
    if (below && member->item)
        cJSON_AddItemToObject(step, ".", cJSON_CreateObject());
    if (below)
        fill(step, &member->place, member->value);
    if (below && !step->child) /* of all that is below nothing counts */
        cJSON_Delete(step);
    else
        cJSON_AddItemToObject(set, member->key, step);
}

static void fill(cJSON *set, const struct fieldset_place *place, const cJSON *container)
{
    auto_members members = fieldset_members(place, container);
    for (size_t i = 0; i < members.count; i++)
        add_member(set, &members.items[i]);
}

static struct fieldset_place whole(const struct schema_kind *kind)
{
    return (struct fieldset_place){.type = kind->root};
}

cJSON *fieldset_of(const struct schema_kind *kind, const cJSON *object)
{
    cJSON *set = cJSON_CreateObject();
    struct fieldset_place place = whole(kind);
    fill(set, &place, object);
    return set;
}

/* ---- two objects ---- */

static void compare(const struct fieldset_place *place, const cJSON *old, const cJSON *object, cJSON *changed,
                    cJSON *removed);

static void add_step(cJSON *set, const char *key, cJSON *step)
{
    if (step->child)
        cJSON_AddItemToObject(set, key, step);
    else
        cJSON_Delete(step);
}

static void compare_member(const struct fieldset_member *old, const struct fieldset_member *now,
                           cJSON *changed, cJSON *removed)
{
    bool inside = fieldset_granular(&now->place, old->value) && fieldset_granular(&now->place, now->value) &&
                  cJSON_IsArray(old->value) == cJSON_IsArray(now->value);
    if (inside && (old->value->child || now->value->child)) {
        cJSON *more = cJSON_CreateObject(), *less = cJSON_CreateObject();
        compare(&now->place, old->value, now->value, more, less);
        add_step(changed, now->key, more);
        add_step(removed, now->key, less);
    } else if (!json_equal(old->value, now->value)) {
        add_member(changed, now);
    }
}

static void compare(const struct fieldset_place *place, const cJSON *old, const cJSON *object, cJSON *changed,
                    cJSON *removed)
{
    auto_members before = fieldset_members(place, old), after = fieldset_members(place, object);
    size_t i = 0, k = 0;
    while (i < before.count || k < after.count) {
        const struct fieldset_member *was = &before.items[i], *is = &after.items[k];
        int order = i == before.count ? 1 : k == after.count ? -1 : strcmp(was->key, is->key);
        if (order < 0)
            add_member(removed, was);
        else if (order > 0)
            add_member(changed, is);
        else
            compare_member(was, is, changed, removed);
        i += order <= 0;
        k += order >= 0;
    }
}

void fieldset_compare(const struct schema_kind *kind, const cJSON *old, const cJSON *object, cJSON **changed,
                      cJSON **removed)
{
    struct fieldset_place place = whole(kind);
    *changed = cJSON_CreateObject();
    *removed = cJSON_CreateObject();
    compare(&place, old, object, *changed, *removed);
}

/* ---- algebra ---- */

typedef bool choice(bool a, bool b);

static bool either(bool a, bool b)
{
    return a || b;
}

static bool both(bool a, bool b)
{
    return a && b;
}

static bool first_only(bool a, bool b)
{
    return a && !b;
}

/* Fills `out` with the steps below a and b that are chosen. */
static void combine(cJSON *out, const cJSON *a, const cJSON *b, choice *chosen)
{
    const cJSON *x = steps_of(a), *y = steps_of(b);
    while (x || y) {
        int order = !x ? 1 : !y ? -1 : strcmp(x->string, y->string);
        const cJSON *left = order <= 0 ? x : NULL, *right = order >= 0 ? y : NULL;
        bool member = chosen(is_member(left), is_member(right));
        cJSON *step = cJSON_CreateObject();
        if (member)
            cJSON_AddItemToObject(step, ".", cJSON_CreateObject());
        combine(step, left, right, chosen);
        if (member && !step->child->next)
            json_remove(step, ".");
        if (member || step->child)
            cJSON_AddItemToObject(out, (left ? left : right)->string, step);
        else
            cJSON_Delete(step);
        x = left ? x->next : x;
        y = right ? y->next : y;
    }
}

static cJSON *combined(const cJSON *a, const cJSON *b, choice *chosen)
{
    cJSON *out = cJSON_CreateObject();
    combine(out, a, b, chosen);
    return out;
}

cJSON *fieldset_union(const cJSON *a, const cJSON *b)
{
    return combined(a, b, either);
}

cJSON *fieldset_intersection(const cJSON *a, const cJSON *b)
{
    return combined(a, b, both);
}

cJSON *fieldset_difference(const cJSON *a, const cJSON *b)
{
    return combined(a, b, first_only);
}

bool fieldset_is_empty(const cJSON *set)
{
    return !set || !set->child;
}

static bool is_step(const char *key)
{
    if (!key[0] || key[1] != ':')
        return false;
    if (key[0] == 'f')
        return true;
    auto_json value = key[0] == 'k' || key[0] == 'v' ? json_parse(key + 2, strlen(key + 2), NULL) : NULL;
    return value && (key[0] == 'v' || cJSON_IsObject(value));
}

static cJSON *accepted(const cJSON *set, int depth)
{
    cJSON *out = cJSON_CreateObject();
    json_each (step, set) {
        bool mark = strcmp(step->string, ".") == 0;
        if (!mark && !is_step(step->string))
            continue;
        bool leaf = mark || !cJSON_IsObject(step) || depth == FIELDSET_DEPTH;
        cJSON_AddItemToObject(out, step->string, leaf ? cJSON_CreateObject() : accepted(step, depth + 1));
    }
    return out;
}

cJSON *fieldset_accept(const cJSON *set)
{
    cJSON *out = accepted(set, 1);
    json_sort_keys(out);
    return out;
}

const cJSON *fieldset_seek(const cJSON **at, const char *key)
{
    while (*at && strcmp((*at)->string, key) < 0)
        *at = (*at)->next;
    return *at && strcmp((*at)->string, key) == 0 ? *at : NULL;
}

/* ---- paths ---- */

static void add_text(struct str *path, const char *key)
{
    auto_json keys = key[0] == 'k' ? json_parse_trusted(key + 2, strlen(key + 2)) : NULL;
    if (key[0] == 'f') {
        str_addf(path, ".%s", key + 2);
    } else if (key[0] == 'v') {
        str_addf(path, "[=%s]", key + 2);
    } else {
        str_add_char(path, '[');
        json_each (each, keys) {
            auto_free char *value = json_print(each);
            str_addf(path, "%s%s=%s", each->prev->next ? "," : "", each->string, value);
        }
        str_add_char(path, ']');
    }
}

static void each_below(const cJSON *set, struct str *path, void (*visit)(void *, const char *), void *arg)
{
    for (const cJSON *step = steps_of(set); step; step = step->next) {
        size_t len = path->len;
        add_text(path, step->string);
        if (is_member(step))
            visit(arg, str_c(path));
        each_below(step, path, visit, arg);
        path->len = len;
        path->data[len] = 0;
    }
}

void fieldset_each(const cJSON *set, void (*visit)(void *arg, const char *path), void *arg)
{
    auto_str path = {0};
    each_below(set, &path, visit, arg);
}
