/*
 * schema_validate: values against the compiled type, required and immutable fields, the kind's named rules.
 * Collects every fault as one cause with its path (Kubernetes' field errors). Changes nothing. Invariant:
 * `old` follows the same path as the value as long as the path leads through objects only.
 */
#include <stdio.h>
#include <string.h>

#include "schema/schema_private.h"

#define MAX_CAUSES 64
#define MAX_SHOWN 256 /* bytes of a bad value that a message repeats */

static void validate_value(struct validation *v, const struct schema_type *type, const cJSON *value,
                           const cJSON *old, const struct schema_path *path);

static void add(struct validation *v, const struct schema_path *path, const char *reason, const char *message)
{
    if (v->err && v->err->n_causes >= MAX_CAUSES)
        return;
    auto_free char *text = schema_path_print(path);
    err_add_cause(&v->err, reason, text, "%s", message);
}

/* The value as Kubernetes shows it; a long one is cut, and what a sealed kind holds is never shown. */
static char *shown(const struct validation *v, const struct schema_path *path, const cJSON *value)
{
    while (path && path->up)
        path = path->up;
    if (v->kind->info.sealed && path && path->key && strcmp(path->key, "metadata") != 0 &&
        strcmp(path->key, "type") != 0)
        return mem_strdup("\"<hidden>\"");
    if (!value)
        return mem_strdup("\"\"");
    char *text = json_print(value);
    size_t len = strlen(text);
    if (len <= MAX_SHOWN)
        return text;
    len = MAX_SHOWN;
    while (len && ((unsigned char)text[len] & 0xc0) == 0x80) /* not inside a character */
        len--;
    char *cut = mem_printf("%.*s...", (int)len, text);
    free(text);
    return cut;
}

void invalid_value(struct validation *v, const struct schema_path *path, const cJSON *value,
                   const char *format, ...)
{
    auto_str detail = {0};
    va_list arguments;
    va_start(arguments, format);
    str_vaddf(&detail, format, arguments);
    va_end(arguments);
    auto_free char *text = shown(v, path, value);
    auto_free char *message = mem_printf("Invalid value: %s: %s", text, str_c(&detail));
    add(v, path, "FieldValueInvalid", message);
}

void invalid_required(struct validation *v, const struct schema_path *path, const char *detail)
{
    auto_free char *message = mem_printf("Required value%s%s", detail ? ": " : "", detail ? detail : "");
    add(v, path, "FieldValueRequired", message);
}

void invalid_forbidden(struct validation *v, const struct schema_path *path, const char *format, ...)
{
    auto_str detail = {0};
    va_list arguments;
    va_start(arguments, format);
    str_vaddf(&detail, format, arguments);
    va_end(arguments);
    auto_free char *message = mem_printf("Forbidden: %s", str_c(&detail));
    add(v, path, "FieldValueForbidden", message);
}

void invalid_duplicate(struct validation *v, const struct schema_path *path, const cJSON *value)
{
    auto_free char *text = shown(v, path, value);
    auto_free char *message = mem_printf("Duplicate value: %s", text);
    add(v, path, "FieldValueDuplicate", message);
}

void invalid_not_found(struct validation *v, const struct schema_path *path, const cJSON *value)
{
    auto_free char *text = shown(v, path, value);
    auto_free char *message = mem_printf("Not found: %s", text);
    add(v, path, "FieldValueNotFound", message);
}

void invalid_too_long(struct validation *v, const struct schema_path *path, long long max_bytes)
{
    auto_free char *message = mem_printf("Too long: may not be more than %lld bytes", max_bytes);
    add(v, path, "FieldValueTooLong", message);
}

void invalid_unsupported(struct validation *v, const struct schema_path *path, const cJSON *value,
                         const cJSON *supported)
{
    auto_free char *text = shown(v, path, value);
    auto_str message = {0};
    str_addf(&message, "Unsupported value: %s: supported values: ", text);
    json_each (item, supported) {
        auto_free char *one = json_print(item);
        str_addf(&message, "%s%s", item == supported->child ? "" : ", ", one);
    }
    add(v, path, "FieldValueNotSupported", str_c(&message));
}

void invalid_immutable(struct validation *v, const struct schema_path *path, const cJSON *value)
{
    invalid_value(v, path, value, "field is immutable");
}

static bool in_enum(const cJSON *values, const cJSON *value)
{
    json_each (item, values) {
        if (cJSON_IsString(item) && cJSON_IsString(value) ? strcmp(item->valuestring, value->valuestring) == 0
                                                          : json_equal(item, value))
            return true;
    }
    return false;
}

static size_t count_characters(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void validate_string(struct validation *v, const struct schema_type *type, const cJSON *value,
                            const struct schema_path *path)
{
    if (!cJSON_IsString(value))
        return;
    const char *text = value->valuestring;
    if ((type->min_length || type->max_length != INT64_MAX)) {
        int64_t length = (int64_t)count_characters(text);
        if (length < type->min_length)
            invalid_value(v, path, value, "should be at least %lld chars long", (long long)type->min_length);
        if (length > type->max_length)
            invalid_value(v, path, value, "may not be longer than %lld", (long long)type->max_length);
    }
    if (type->pattern && regexec(type->pattern, text, 0, NULL, 0) != 0)
        invalid_value(v, path, value, "should match '%s'", type->pattern_text);
}

static void validate_range(struct validation *v, const struct schema_type *type, const cJSON *value,
                           const struct schema_path *path)
{
    double number = cJSON_IsNumber(value) ? value->valuedouble : (double)json_int(value, "", 0);
    if (type->has_min && type->has_max && (number < type->min || number > type->max))
        invalid_value(v, path, value, "must be between %.15g and %.15g, inclusive", type->min, type->max);
    else if (type->has_min && number < type->min)
        invalid_value(v, path, value, "must be greater than or equal to %.15g", type->min);
    else if (type->has_max && number > type->max)
        invalid_value(v, path, value, "must be less than or equal to %.15g", type->max);
}

static void validate_scalar(struct validation *v, const struct schema_type *type, const cJSON *value,
                            const struct schema_path *path)
{
    if (type->values && !in_enum(type->values, value)) {
        invalid_unsupported(v, path, value, type->values);
        return;
    }
    if (type->format) {
        const char *message = schema_format_check(type->format, value);
        if (message)
            invalid_value(v, path, value, "%s", message);
    }
    if (type->kind == TYPE_STRING)
        validate_string(v, type, value, path);
    else if (type->kind != TYPE_BOOLEAN)
        validate_range(v, type, value, path);
}

/* Clients write structures without anything in them, too: kubectl debug's "resources": {}. */
static bool uses(const cJSON *value)
{
    bool holder = cJSON_IsArray(value) || cJSON_IsObject(value);
    return value && !cJSON_IsNull(value) && !cJSON_IsFalse(value) &&
           !(cJSON_IsString(value) && !*value->valuestring) && !(holder && !value->child);
}

static void validate_object(struct validation *v, const struct schema_type *type, const cJSON *object,
                            const cJSON *old, const struct schema_path *path)
{
    struct schema_seen seen = {0};
    json_each (child, object) {
        const struct schema_field *field = schema_type_field(type, child->string);
        if (!field || cJSON_IsNull(child) ||
            (!path && v->skip_status && strcmp(child->string, "status") == 0))
            continue;
        const struct schema_path here = {.up = path, .key = child->string};
        const cJSON *old_child = old ? json_get(old, child->string) : NULL;
        seen_set(&seen, (size_t)(field - type->fields));
        if (field->refused && uses(child))
            invalid_forbidden(v, &here, "%s", field->refused);
        else if (field->immutable && old && !json_equal(old_child, child))
            invalid_immutable(v, &here, child);
        else
            validate_value(v, field->type, child, old_child, &here);
        if (field->required && cJSON_IsString(child) && !*child->valuestring && !field->keep_empty)
            invalid_required(v, &here, NULL);
    }
    for (size_t i = 0; i < type->n_fields; i++) {
        const struct schema_field *field = &type->fields[i];
        if (seen_has(&seen, i) || (!field->required && !(field->immutable && old)))
            continue;
        const struct schema_path here = {.up = path, .key = field->name};
        const cJSON *old_child = field->immutable && old ? json_get(old, field->name) : NULL;
        if (field->required)
            invalid_required(v, &here, NULL);
        else if (!json_is_null(old_child))
            invalid_immutable(v, &here, NULL);
    }
}

static bool too_many(struct validation *v, int64_t max, const cJSON *parent, const struct schema_path *path)
{
    int64_t count = 0;
    json_each (child, parent)
        count++;
    if (count <= max)
        return false;
    auto_free char *message =
        mem_printf("Too many: %lld: must have at most %lld items", (long long)count, (long long)max);
    add(v, path, "FieldValueTooMany", message);
    v->too_many = true;
    return true;
}

static void validate_list(struct validation *v, const struct schema_type *type, const cJSON *list,
                          const struct schema_path *path)
{
    int64_t i = 0;
    if (too_many(v, type->max_items, list, path))
        return;
    json_each (item, list) {
        const struct schema_path here = {.up = path, .index = (int)i++};
        validate_value(v, type->items, item, NULL, &here);
        if (!type->unique || !type->merge_key)
            continue;
        const cJSON *key = json_get(item, type->merge_key);
        for (const cJSON *before = list->child; key && before != item; before = before->next) {
            if (json_equal(json_get(before, type->merge_key), key)) {
                invalid_duplicate(v, SCHEMA_FIELD(&here, type->merge_key), key);
                break;
            }
        }
    }
    if (i < type->min_items)
        invalid_required(v, path, NULL);
}

static void validate_map(struct validation *v, const struct schema_type *type, const cJSON *map,
                         const struct schema_path *path)
{
    if (too_many(v, type->max_properties, map, path))
        return;
    json_each (child, map) {
        const struct schema_path here = {.up = path, .key = child->string, .in_map = true};
        if (type->key_format) {
            const cJSON key = {.type = cJSON_String, .valuestring = child->string};
            const char *message = schema_format_check(type->key_format, &key);
            if (message)
                invalid_value(v, type->key_format == FORMAT_LABEL_KEY ? path : &here, &key, "%s", message);
        }
        if (type->items)
            validate_value(v, type->items, child, NULL, &here);
    }
}

static void validate_value(struct validation *v, const struct schema_type *type, const cJSON *value,
                           const cJSON *old, const struct schema_path *path)
{
    if (type->kind == TYPE_OBJECT && cJSON_IsObject(value))
        validate_object(v, type, value, old, path);
    else if (type->kind == TYPE_LIST && cJSON_IsArray(value))
        validate_list(v, type, value, path);
    else if (type->kind == TYPE_MAP && cJSON_IsObject(value))
        validate_map(v, type, value, path);
    else if (type->kind != TYPE_ANY)
        validate_scalar(v, type, value, path);
    if (type->rule && !v->too_many)
        type->rule(v, value, old, path);
}

static void validate_name(struct validation *v, const cJSON *object)
{
    const cJSON *name = json_at(object, "metadata.name");
    const struct schema_path metadata = {.key = "metadata"};
    const struct schema_path here = {.up = &metadata, .key = "name"};
    if (!cJSON_IsString(name) || !*name->valuestring) {
        if (str_empty(json_string(object, "metadata.generateName")))
            invalid_required(v, &here, "name or generateName is required");
        return;
    }
    const char *rule = v->kind->name_rule;
    const char *message = NULL;
    if (str_eq(rule, "label"))
        message = str_check_dns_label(name->valuestring);
    else if (str_eq(rule, "path"))
        message = strchr(name->valuestring, '/') || strchr(name->valuestring, '%')
                      ? "may not contain '/' or '%'"
                      : NULL;
    else
        message = str_check_dns_subdomain(name->valuestring);
    if (message)
        invalid_value(v, &here, name, "%s", message);
}

schema_rule *schema_rule_named(const char *name)
{
    static const struct schema_named_rule *const tables[] = {
        schema_rules_meta,    schema_rules_pod,       schema_rules_container,  schema_rules_kinds,
        schema_rules_storage, schema_rules_workloads, schema_rules_scheduling, schema_rules_autoscaling,
        schema_rules_quota,   schema_rules_ingress,   schema_rules_slurm};
    for (size_t t = 0; t < COUNT_OF(tables); t++) {
        for (const struct schema_named_rule *entry = tables[t]; entry->name; entry++) {
            if (strcmp(entry->name, name) == 0)
                return entry->rule;
        }
    }
    return NULL;
}

int schema_validate(const struct schema_kind *kind, const cJSON *object, const cJSON *old, bool status,
                    struct err **err)
{
    struct validation v = {.kind = kind, .root = object, .old_root = old, .skip_status = !status};
    validate_name(&v, object);
    validate_value(&v, kind->root, object, old, NULL);
    for (size_t i = 0; i < kind->n_rules && !v.too_many; i++)
        kind->rules[i](&v, object, old, NULL);
    return v.err ? err_move(err, &v.err) : 0;
}

bool schema_spec_changed(const struct schema_kind *kind, const cJSON *old, const cJSON *object)
{
    for (size_t i = 0; i < kind->n_generation; i++) {
        if (!json_equal(json_at(old, kind->generation[i]), json_at(object, kind->generation[i])))
            return true;
    }
    return false;
}
