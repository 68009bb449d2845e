/*
 * json_patch: RFC 6902. Works on a copy, which replaces the target when all operations have succeeded.
 * Invariants: the result is never deeper than JSON_MAX_DEPTH (checked at each insertion, so that no recursion
 * here can be driven deeper), `copy` adds at most COPIED_MAX bytes, and all operations together look at no
 * more than WORK_MAX nodes: a small patch can neither make a huge object nor take long. A malformed operation
 * is ERR_BAD_REQUEST; one that does not fit the target, or a failed test, ERR_INVALID; one too many
 * ERR_TOO_LARGE.
 */
#include <string.h>

#include "base/json_internal.h"

#define OPERATIONS_MAX 10000
#define COPIED_MAX (8u << 20) /* bytes of memory */
#define WORK_MAX 20000000

struct patch {
    cJSON *root;
    size_t copied, work;
    size_t number; /* of the operation, for messages */
    struct err **err;
};

/* A JSON pointer (RFC 6901) taken apart: tokens are unescaped. */
struct pointer {
    char **tokens; /* one allocation */
    size_t n;
};

static void pointer_cleanup(struct pointer *pointer)
{
    free(pointer->tokens);
}
#define auto_pointer __attribute__((cleanup(pointer_cleanup))) struct pointer

static int malformed(struct patch *patch, const char *problem)
{
    return err_set(patch->err, ERR_BAD_REQUEST, "JSON patch: operation %zu: %s", patch->number, problem);
}

static int does_not_fit(struct patch *patch, const char *path, const char *problem)
{
    return err_set(patch->err, ERR_INVALID, "JSON patch: operation %zu: \"%.200s\": %s", patch->number, path,
                   problem);
}

static bool unescape(char *token)
{
    char *out = token;
    for (const char *p = token; *p; p++) {
        if (*p == '~' && (p[1] == '0' || p[1] == '1'))
            *out++ = *++p == '0' ? '~' : '/';
        else if (*p == '~')
            return false;
        else
            *out++ = *p;
    }
    *out = '\0';
    return true;
}

static int parse_pointer(struct patch *patch, const cJSON *operation, const char *member,
                         struct pointer *pointer)
{
    const cJSON *text = json_get(operation, member);
    if (!cJSON_IsString(text) || (*text->valuestring && *text->valuestring != '/'))
        return malformed(patch, "\"path\" and \"from\" must be \"\" or begin with '/'");
    if (!*text->valuestring)
        return 0;
    pointer->tokens = str_split(text->valuestring + 1, '/', &pointer->n);
    for (size_t i = 0; i < pointer->n; i++)
        if (!unescape(pointer->tokens[i]))
            return malformed(patch, "'~' must be followed by 0 or 1");
    return 0;
}

/* -1 if the token is no index ("0", "12", but not "01" or "-1"). */
static int index_of(const char *token)
{
    size_t digits = strspn(token, "0123456789");
    if (!digits || token[digits] || digits > 9 || (*token == '0' && digits > 1))
        return -1;
    return atoi(token);
}

/* Counts nodes that are looked at. False, with an error, when they are too many: what was found or not is
 * then of no matter, as json_apply_patch ends there. */
static bool spend(struct patch *patch, size_t nodes)
{
    patch->work += nodes;
    if (patch->work <= WORK_MAX)
        return true;
    err_set(patch->err, ERR_TOO_LARGE, "JSON patch: operation %zu: too much work", patch->number);
    return false;
}

/* The array's element or the object's field. Not cJSON's or json_get: their searches would not be counted. */
static cJSON *step_into(struct patch *patch, const cJSON *parent, const char *token)
{
    bool array = cJSON_IsArray(parent);
    int index = array ? index_of(token) : -1;
    if (array && index < 0)
        return NULL;
    json_each (child, parent) {
        if (!spend(patch, 1))
            return NULL;
        if (array ? index-- == 0 : child->string && strcmp(child->string, token) == 0)
            return child;
    }
    return NULL;
}

/* The node that the first n tokens lead to. */
static cJSON *resolve(struct patch *patch, const struct pointer *pointer, size_t n)
{
    cJSON *json = patch->root;
    for (size_t i = 0; json && i < n; i++)
        json = step_into(patch, json, pointer->tokens[i]);
    return json;
}

static size_t count_nodes(const cJSON *json)
{
    size_t n = 1;
    json_each (child, json)
        n += count_nodes(child);
    return n;
}

static size_t count_bytes(const cJSON *json)
{
    size_t n = sizeof(*json) + (json->string ? strlen(json->string) : 0) +
               (json->valuestring ? strlen(json->valuestring) : 0);
    json_each (child, json)
        n += count_bytes(child);
    return n;
}

/* Debian's cJSON 1.7.15 refuses each insertion but the first place (a check of a security patch that comes
 * too soon). */
static void insert_before(cJSON *array, cJSON *following, cJSON *item)
{
    item->next = following;
    item->prev = following->prev;
    if (following == array->child)
        array->child = item;
    else
        following->prev->next = item;
    following->prev = item;
}

/* Takes ownership of value. */
static int insert(struct patch *patch, const struct pointer *pointer, const char *path, cJSON *value)
{
    auto_json owned = value;
    if (pointer->n + json_depth(owned) > JSON_MAX_DEPTH)
        return does_not_fit(patch, path, "would be nested too deeply");
    if (pointer->n == 0) {
        cJSON_Delete(patch->root);
        patch->root = steal(&owned);
        return 0;
    }
    cJSON *parent = resolve(patch, pointer, pointer->n - 1);
    const char *token = pointer->tokens[pointer->n - 1];
    if (cJSON_IsObject(parent)) {
        json_put(parent, step_into(patch, parent, token), token, steal(&owned));
        return 0;
    }
    if (!cJSON_IsArray(parent))
        return does_not_fit(patch, path, "the parent does not exist");
    bool last = strcmp(token, "-") == 0;
    cJSON *following = last ? NULL : step_into(patch, parent, token);
    if (following)
        insert_before(parent, following, steal(&owned));
    else if (last || index_of(token) == cJSON_GetArraySize(parent))
        json_push(parent, steal(&owned));
    else
        return does_not_fit(patch, path, "no such place in the array");
    return 0;
}

/* Takes the node out of the tree: the caller owns it. NULL with an error if there is none. */
static cJSON *take_out(struct patch *patch, const struct pointer *pointer, const char *path)
{
    if (pointer->n == 0) {
        does_not_fit(patch, path, "the whole document cannot be removed");
        return NULL;
    }
    cJSON *parent = resolve(patch, pointer, pointer->n - 1);
    cJSON *json = parent ? step_into(patch, parent, pointer->tokens[pointer->n - 1]) : NULL;
    if (!json) {
        does_not_fit(patch, path, "does not exist");
        return NULL;
    }
    return cJSON_DetachItemViaPointer(parent, json);
}

static int replace(struct patch *patch, const struct pointer *pointer, const char *path, const cJSON *value)
{
    cJSON *old = resolve(patch, pointer, pointer->n);
    if (!old)
        return does_not_fit(patch, path, "does not exist");
    cJSON *parent = pointer->n ? resolve(patch, pointer, pointer->n - 1) : NULL;
    if (!cJSON_IsArray(parent))
        return insert(patch, pointer, path, json_copy(value));
    if (pointer->n + json_depth(value) > JSON_MAX_DEPTH)
        return does_not_fit(patch, path, "would be nested too deeply");
    cJSON_ReplaceItemViaPointer(parent, old, json_copy(value));
    return 0;
}

static int copy(struct patch *patch, const struct pointer *from, const struct pointer *to,
                const cJSON *operation)
{
    const char *path = json_string(operation, "path"), *source = json_string(operation, "from");
    cJSON *json = resolve(patch, from, from->n);
    if (!json)
        return does_not_fit(patch, source, "does not exist");
    patch->copied += count_bytes(json);
    if (patch->copied > COPIED_MAX)
        return err_set(patch->err, ERR_TOO_LARGE, "JSON patch: operation %zu copies too much", patch->number);
    return insert(patch, to, path, json_copy(json));
}

static int move(struct patch *patch, const struct pointer *from, const struct pointer *to,
                const cJSON *operation)
{
    const char *path = json_string(operation, "path"), *source = json_string(operation, "from");
    size_t common = 0;
    while (common < from->n && common < to->n && strcmp(from->tokens[common], to->tokens[common]) == 0)
        common++;
    if (common == from->n && to->n > from->n)
        return does_not_fit(patch, path, "a value cannot be moved into itself");
    if (common == from->n && to->n == from->n)
        return resolve(patch, from, from->n) ? 0 : does_not_fit(patch, source, "does not exist");
    cJSON *json = take_out(patch, from, source);
    if (!json)
        return -1;
    spend(patch, count_nodes(json)); /* insert looks how deep it is */
    return insert(patch, to, path, json);
}

static int apply_with_value(struct patch *patch, const char *name, const struct pointer *to,
                            const cJSON *operation)
{
    const cJSON *value = json_get(operation, "value");
    const char *path = json_string(operation, "path");
    if (!value)
        return malformed(patch, "\"value\" is missing");
    if (str_eq(name, "add"))
        return insert(patch, to, path, json_copy(value));
    if (str_eq(name, "replace"))
        return replace(patch, to, path, value);
    const cJSON *actual = resolve(patch, to, to->n);
    if (actual && !spend(patch, count_nodes(actual)))
        return -1;
    /* The API's own clients test for a field to be absent by comparing with null. */
    if (actual ? json_equal(actual, value) : cJSON_IsNull(value))
        return 0;
    return does_not_fit(patch, path, "test failed");
}

static int apply(struct patch *patch, const cJSON *operation)
{
    const char *name = json_string(operation, "op");
    auto_pointer to = {0}, from = {0};
    if (!name)
        return malformed(patch, "\"op\" is missing");
    if (parse_pointer(patch, operation, "path", &to) < 0)
        return -1;
    if (str_eq(name, "add") || str_eq(name, "replace") || str_eq(name, "test"))
        return apply_with_value(patch, name, &to, operation);
    if (str_eq(name, "remove")) {
        auto_json removed = take_out(patch, &to, json_string(operation, "path"));
        return removed ? 0 : -1;
    }
    if (!str_eq(name, "copy") && !str_eq(name, "move"))
        return malformed(patch, "\"op\" must be add, remove, replace, move, copy or test");
    if (parse_pointer(patch, operation, "from", &from) < 0)
        return -1;
    return str_eq(name, "copy") ? copy(patch, &from, &to, operation) : move(patch, &from, &to, operation);
}

int json_apply_patch(cJSON **target, const cJSON *operations, struct err **err)
{
    if (!cJSON_IsArray(operations))
        return err_set(err, ERR_BAD_REQUEST, "JSON patch: must be an array of operations");
    if (cJSON_GetArraySize(operations) > OPERATIONS_MAX)
        return err_set(err, ERR_TOO_LARGE, "JSON patch: more than %d operations", OPERATIONS_MAX);
    struct patch patch = {.root = json_copy(*target), .err = err};
    json_each (operation, operations) {
        patch.number++;
        if (apply(&patch, operation) < 0 || patch.work > WORK_MAX) {
            cJSON_Delete(patch.root);
            return -1;
        }
    }
    cJSON_Delete(*target);
    *target = patch.root;
    return 0;
}
