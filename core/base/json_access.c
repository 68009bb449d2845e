/*
 * json_access: look-ups, writes, equality and RFC 7386 merge of json.h.
 * Keys are compared byte by byte; an object that came through json_parse has no key twice.
 * Invariant: a node is linked in at most one tree; what a write replaces is freed.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json_internal.h"

static cJSON *get_n(const cJSON *object, const char *key, size_t len)
{
    if (!cJSON_IsObject(object))
        return NULL;
    json_each (child, object) {
        if (child->string && strncmp(child->string, key, len) == 0 && !child->string[len])
            return child;
    }
    return NULL;
}

cJSON *json_get(const cJSON *object, const char *key)
{
    if (!cJSON_IsObject(object))
        return NULL;
    json_each (child, object) {
        if (child->string && strcmp(child->string, key) == 0)
            return child;
    }
    return NULL;
}

/* One step of a dotted path: a key, or an index when key is NULL. */
struct step {
    const char *key;
    size_t len;
    int index;
};

/* Takes the next step off *path; false at its end or if it is malformed (a programming error, not input). */
static bool next_step(const char **path, struct step *step)
{
    const char *p = *path;
    if (*p == '.')
        p++;
    if (!*p)
        return false;
    *step = (struct step){0};
    if (*p != '[') {
        step->key = p;
        step->len = strcspn(p, ".[");
        *path = p + step->len;
        return step->len > 0;
    }
    p++;
    if (*p == '\'') {
        const char *end = strstr(p + 1, "']");
        if (!end)
            return false;
        step->key = p + 1;
        step->len = (size_t)(end - step->key);
        *path = end + 2;
        return true;
    }
    char *end;
    long index = strtol(p, &end, 10);
    if (end == p || *end != ']' || index < 0 || index > INT32_MAX)
        return false;
    step->index = (int)index;
    *path = end + 1;
    return true;
}

static cJSON *take_step(const cJSON *json, const struct step *step)
{
    if (step->key)
        return get_n(json, step->key, step->len);
    return cJSON_IsArray(json) ? cJSON_GetArrayItem(json, step->index) : NULL;
}

cJSON *json_at(const cJSON *json, const char *path)
{
    struct step step;
    while (json && next_step(&path, &step))
        json = take_step(json, &step);
    return (cJSON *)json;
}

const char *json_string(const cJSON *json, const char *path)
{
    const cJSON *value = json_at(json, path);
    return cJSON_IsString(value) ? value->valuestring : NULL;
}

const char *json_string_or(const cJSON *json, const char *path, const char *fallback)
{
    const char *text = json_string(json, path);
    return text ? text : fallback;
}

bool json_is_integer_text(const char *text)
{
    if (!text)
        return false;
    text += *text == '-';
    if (*text == '0')
        return !text[1];
    size_t digits = strspn(text, "0123456789");
    return digits && !text[digits];
}

/* The integer that a Number or Raw node holds; false if it is none or does not fit. */
static bool integer_of(const cJSON *json, int64_t *value)
{
    long long number;
    if (cJSON_IsRaw(json) && json_is_integer_text(json->valuestring)) {
        if (str_to_int64(json->valuestring, &number) < 0)
            return false;
        *value = number;
        return true;
    }
    if (!cJSON_IsNumber(json) || !(fabs(json->valuedouble) < 9223372036854775808.0) ||
        floor(json->valuedouble) != json->valuedouble)
        return false;
    *value = (int64_t)json->valuedouble;
    return true;
}

int64_t json_int(const cJSON *json, const char *path, int64_t fallback)
{
    int64_t value;
    return integer_of(json_at(json, path), &value) ? value : fallback;
}

bool json_bool(const cJSON *json, const char *path, bool fallback)
{
    const cJSON *value = json_at(json, path);
    return cJSON_IsBool(value) ? cJSON_IsTrue(value) : fallback;
}

bool json_is_integer(const cJSON *json)
{
    int64_t value;
    return integer_of(json, &value);
}

bool json_is_null(const cJSON *json)
{
    return !json || cJSON_IsNull(json);
}

static void rename_node(cJSON *node, const char *key, size_t len)
{
    char *copy = mem_strndup(key, len); /* first: the key may be the node's own */
    if (node->string && !(node->type & cJSON_StringIsConst))
        cJSON_free(node->string);
    node->string = copy;
    node->type &= ~cJSON_StringIsConst;
}

void json_link_last(cJSON *parent, cJSON *node)
{
    node->next = NULL;
    if (!parent->child) {
        parent->child = node->prev = node;
        return;
    }
    node->prev = parent->child->prev;
    parent->child->prev->next = node;
    parent->child->prev = node;
}

/* Puts value (NULL: nothing) into the place of old (NULL: none; then at the end). */
static void put_n(cJSON *object, cJSON *old, const char *key, size_t len, cJSON *value)
{
    if (value == old)
        return;
    if (value)
        rename_node(value, key, len);
    if (value && old)
        cJSON_ReplaceItemViaPointer(object, old, value);
    else if (value)
        json_link_last(object, value);
    else
        cJSON_Delete(cJSON_DetachItemViaPointer(object, old));
}

void json_put(cJSON *object, cJSON *old, const char *key, cJSON *value)
{
    put_n(object, old, key, strlen(key), value);
}

static cJSON *set_n(cJSON *object, const char *key, size_t len, cJSON *value)
{
    must(cJSON_IsObject(object));
    put_n(object, get_n(object, key, len), key, len, value);
    return value;
}

cJSON *json_set(cJSON *object, const char *key, cJSON *value)
{
    return set_n(object, key, strlen(key), value);
}

cJSON *json_set_string(cJSON *object, const char *key, const char *value)
{
    return json_set(object, key, value ? cJSON_CreateString(value) : NULL);
}

static cJSON *new_integer(int64_t value)
{
    char text[24];
    if (value > -1000000000000000 && value < 1000000000000000)
        return cJSON_CreateNumber((double)value);
    snprintf(text, sizeof(text), "%lld", (long long)value);
    cJSON *json = cJSON_CreateRaw(text);
    json->valuedouble = (double)value;
    return json;
}

cJSON *json_set_int(cJSON *object, const char *key, int64_t value)
{
    return json_set(object, key, new_integer(value));
}

cJSON *json_set_bool(cJSON *object, const char *key, bool value)
{
    return json_set(object, key, cJSON_CreateBool(value));
}

/* Puts value (NULL: removes) where the step leads; false if an array has no such place. */
static bool put_step(cJSON *parent, const struct step *step, cJSON *value)
{
    if (step->key) {
        set_n(parent, step->key, step->len, value);
        return true;
    }
    cJSON *old = cJSON_GetArrayItem(parent, step->index);
    if (old && value)
        return cJSON_ReplaceItemViaPointer(parent, old, value);
    if (old)
        cJSON_Delete(cJSON_DetachItemViaPointer(parent, old));
    if (old || !value)
        return true;
    if (step->index != cJSON_GetArraySize(parent))
        return false;
    json_link_last(parent, value);
    return true;
}

cJSON *json_set_at(cJSON *json, const char *path, cJSON *value)
{
    struct step step, following;
    cJSON *parent = json;
    bool good = next_step(&path, &step);
    while (good && next_step(&path, &following)) {
        cJSON *child = take_step(parent, &step);
        bool fits = following.key ? cJSON_IsObject(child) : cJSON_IsArray(child);
        if (!fits) {
            child = following.key ? cJSON_CreateObject() : cJSON_CreateArray();
            good =
                (step.key ? cJSON_IsObject(parent) : cJSON_IsArray(parent)) && put_step(parent, &step, child);
            if (!good)
                cJSON_Delete(child);
        }
        parent = child;
        step = following;
    }
    if (good && (step.key ? cJSON_IsObject(parent) : cJSON_IsArray(parent)) && put_step(parent, &step, value))
        return value;
    cJSON_Delete(value);
    return NULL;
}

cJSON *json_ensure_object(cJSON *object, const char *key)
{
    cJSON *value = json_get(object, key);
    return cJSON_IsObject(value) ? value : json_set(object, key, cJSON_CreateObject());
}

cJSON *json_ensure_array(cJSON *object, const char *key)
{
    cJSON *value = json_get(object, key);
    return cJSON_IsArray(value) ? value : json_set(object, key, cJSON_CreateArray());
}

void json_remove(cJSON *object, const char *key)
{
    cJSON *old = json_get(object, key);
    if (old)
        cJSON_Delete(cJSON_DetachItemViaPointer(object, old));
}

cJSON *json_copy(const cJSON *json)
{
    return json ? cJSON_Duplicate(json, 1) : NULL;
}

cJSON *json_push(cJSON *array, cJSON *value)
{
    must(cJSON_IsArray(array) && value);
    json_link_last(array, value);
    return value;
}

cJSON *json_push_string(cJSON *array, const char *value)
{
    return json_push(array, cJSON_CreateString(value));
}

static bool is_numeric(const cJSON *json)
{
    return cJSON_IsNumber(json) || (cJSON_IsRaw(json) && json_is_integer_text(json->valuestring));
}

static bool equal_numbers(const cJSON *a, const cJSON *b)
{
    int64_t left, right;
    bool left_fits = integer_of(a, &left), right_fits = integer_of(b, &right);
    if (left_fits && right_fits)
        return left == right;
    if (left_fits != right_fits)
        return false;
    if (cJSON_IsRaw(a) && cJSON_IsRaw(b))
        return str_eq(a->valuestring, b->valuestring);
    double x = cJSON_IsRaw(a) ? strtod(a->valuestring, NULL) : a->valuedouble;
    double y = cJSON_IsRaw(b) ? strtod(b->valuestring, NULL) : b->valuedouble;
    return x == y;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp((*(cJSON *const *)a)->string, (*(cJSON *const *)b)->string);
}

static const cJSON **sorted_children(const cJSON *first, size_t count)
{
    const cJSON **children = mem_array(count, sizeof(*children));
    size_t n = 0;
    for (; first; first = first->next)
        children[n++] = first;
    qsort(children, n, sizeof(*children), compare_keys);
    return children;
}

static size_t count_from(const cJSON *node)
{
    size_t n = 0;
    for (; node; node = node->next)
        n++;
    return n;
}

void json_sort_keys(cJSON *json)
{
    json_each (child, json)
        json_sort_keys(child);
    size_t count = json ? count_from(json->child) : 0;
    if (!cJSON_IsObject(json) || count < 2)
        return;
    auto_free const cJSON **sorted = sorted_children(json->child, count);
    cJSON **fields = (cJSON **)sorted;
    /* cJSON's list: next ends with NULL, prev of the first is the last. */
    for (size_t i = 0; i < count; i++) {
        fields[i]->prev = fields[i ? i - 1 : count - 1];
        fields[i]->next = i + 1 < count ? fields[i + 1] : NULL;
    }
    json->child = fields[0];
}

/* In step as long as the keys come in the same order (they nearly always do), then sorted: never quadratic.
 */
static bool equal_objects(const cJSON *a, const cJSON *b)
{
    const cJSON *x = a->child, *y = b->child;
    for (; x && y && strcmp(x->string, y->string) == 0; x = x->next, y = y->next)
        if (!json_equal(x, y))
            return false;
    size_t n = count_from(x);
    if (n != count_from(y))
        return false;
    if (n == 0)
        return true;
    auto_free const cJSON **left = sorted_children(x, n), **right = sorted_children(y, n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(left[i]->string, right[i]->string) != 0)
            return false;
    for (size_t i = 0; i < n; i++)
        if (!json_equal(left[i], right[i]))
            return false;
    return true;
}

bool json_equal(const cJSON *a, const cJSON *b)
{
    if (a == b)
        return true;
    if (!a || !b)
        return false;
    if (is_numeric(a) && is_numeric(b))
        return equal_numbers(a, b);
    if ((a->type & 0xff) != (b->type & 0xff))
        return false;
    const cJSON *x = a->child, *y = b->child;
    switch (a->type & 0xff) {
    case cJSON_String:
    case cJSON_Raw:
        return str_eq(a->valuestring, b->valuestring);
    case cJSON_Object:
        return equal_objects(a, b);
    case cJSON_Array:
        for (; x && y; x = x->next, y = y->next)
            if (!json_equal(x, y))
                return false;
        return !x && !y;
    default:
        return true;
    }
}

cJSON *json_merge_patch(cJSON *target, const cJSON *patch)
{
    if (!cJSON_IsObject(patch)) {
        cJSON_Delete(target);
        return json_copy(patch);
    }
    if (!cJSON_IsObject(target)) {
        cJSON_Delete(target);
        target = cJSON_CreateObject();
    }
    auto_json_keys keys;
    json_keys_init(&keys, target, count_from(patch->child));
    json_each (child, patch) {
        cJSON *old = json_keys_get(&keys, child->string);
        if (cJSON_IsNull(child))
            json_keys_set(&keys, child->string, NULL);
        else if (cJSON_IsObject(child) && cJSON_IsObject(old))
            json_merge_patch(old, child);
        else
            json_keys_set(&keys, child->string, json_merge_patch(NULL, child));
    }
    return target;
}
