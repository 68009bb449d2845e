/*
 * schema_check: unknown fields, fields without effect, wrong JSON types. Removes unknown fields; changes
 * nothing else. Does not look at values. Invariant: path text is built only when there is something to say.
 */
#include <string.h>

#include "schema/schema_private.h"

#define MAX_UNKNOWN 100

struct check {
    enum schema_strictness strictness;
    cJSON *warnings;    /* NULL: nobody listens */
    struct str unknown; /* of STRICT, comma-separated */
    size_t n_unknown;
    struct err *err;
};

static void check_value(struct check *c, const struct schema_type *type, cJSON *value,
                        const struct schema_path *path);

static void warn(struct check *c, const struct schema_path *path, const char *before, const char *after)
{
    if (!c->warnings || c->strictness == SCHEMA_IGNORE)
        return;
    auto_free char *text = schema_path_print(path);
    auto_free char *message = mem_printf("%s%s%s", before, text, after);
    json_push_string(c->warnings, message);
}

/* Warnings on fields without an effect are given whatever the strictness. */
static void warn_always(struct check *c, const struct schema_path *path, const char *after)
{
    if (!c->warnings)
        return;
    auto_free char *text = schema_path_print(path);
    auto_free char *message = mem_printf("%s%s", text, after);
    json_push_string(c->warnings, message);
}

static void unknown_field(struct check *c, const struct schema_path *path)
{
    if (c->strictness == SCHEMA_STRICT) {
        if (++c->n_unknown > MAX_UNKNOWN)
            return;
        auto_free char *text = schema_path_print(path);
        str_addf(&c->unknown, "%sunknown field \"%s\"", c->unknown.len ? ", " : "", text);
    } else {
        warn(c, path, "unknown field \"", "\"");
    }
}

static bool carries_nothing(const cJSON *value)
{
    return json_is_null(value) || cJSON_IsFalse(value) || (cJSON_IsString(value) && !*value->valuestring) ||
           (cJSON_IsNumber(value) && value->valuedouble == 0) ||
           ((cJSON_IsArray(value) || cJSON_IsObject(value)) && !value->child);
}

static void check_object(struct check *c, const struct schema_type *type, cJSON *object,
                         const struct schema_path *path)
{
    for (cJSON *child = object->child, *next; child; child = next) {
        next = child->next;
        const struct schema_path here = {.up = path, .key = child->string};
        const struct schema_field *field = schema_type_field(type, child->string);
        if (field) {
            if (field->pending && !carries_nothing(child))
                warn_always(c, &here, ": not yet in effect in this version of minik8s");
            check_value(c, field->type, child, &here);
        } else if (schema_message_field_named(type->message, child->string)) {
            if (!carries_nothing(child))
                warn_always(c, &here, ": has no effect in minik8s");
        } else if (!type->open) {
            unknown_field(c, &here);
            cJSON_Delete(cJSON_DetachItemViaPointer(object, child));
        }
    }
}

static const char *word_of(const cJSON *value)
{
    if (cJSON_IsString(value))
        return "a string";
    if (cJSON_IsBool(value))
        return "a boolean";
    if (cJSON_IsNumber(value) || cJSON_IsRaw(value))
        return "a number";
    return cJSON_IsArray(value) ? "a list" : "an object";
}

static void wrong_type(struct check *c, const struct schema_path *path, const char *wanted,
                       const cJSON *value)
{
    auto_free char *text = schema_path_print(path);
    err_set(&c->err, ERR_BAD_REQUEST, "%s: must be %s, not %s", *text ? text : "the object", wanted,
            word_of(value));
}

static void check_value(struct check *c, const struct schema_type *type, cJSON *value,
                        const struct schema_path *path)
{
    if (cJSON_IsNull(value))
        return;
    switch (type->kind) {
    case TYPE_ANY:
        return;
    case TYPE_OBJECT:
        if (!cJSON_IsObject(value))
            wrong_type(c, path, "an object", value);
        else
            check_object(c, type, value, path);
        return;
    case TYPE_MAP:
        if (!cJSON_IsObject(value)) {
            wrong_type(c, path, "an object", value);
        } else if (type->items) {
            json_each (child, value)
                check_value(c, type->items, child,
                            &(struct schema_path){.up = path, .key = child->string, .in_map = true});
        }
        return;
    case TYPE_LIST:
        if (!cJSON_IsArray(value)) {
            wrong_type(c, path, "a list", value);
        } else {
            int i = 0;
            json_each (child, value)
                check_value(c, type->items, child, SCHEMA_INDEX(path, i++));
        }
        return;
    case TYPE_STRING:
        if (!cJSON_IsString(value) &&
            !(schema_format_takes_number(type->format) && (cJSON_IsNumber(value) || cJSON_IsRaw(value))))
            wrong_type(c, path, "a string", value);
        return;
    case TYPE_INTEGER:
        if (!json_is_integer(value))
            wrong_type(c, path, "an integer", value);
        return;
    case TYPE_NUMBER:
        if (!cJSON_IsNumber(value) && !cJSON_IsRaw(value))
            wrong_type(c, path, "a number", value);
        return;
    case TYPE_BOOLEAN:
        if (!cJSON_IsBool(value))
            wrong_type(c, path, "a boolean", value);
        return;
    }
}

int schema_check(const struct schema_kind *kind, cJSON *object, enum schema_strictness strictness,
                 cJSON *warnings, struct err **err)
{
    struct check c = {.strictness = strictness, .warnings = warnings};
    check_value(&c, kind->root, object, NULL);
    if (!c.err && c.n_unknown)
        err_set(&c.err, ERR_BAD_REQUEST, "strict decoding error: %s", str_c(&c.unknown));
    str_free(&c.unknown);
    return c.err ? err_move(err, &c.err) : 0;
}
