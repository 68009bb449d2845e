/*
 * schema_default: fills in defaults and drops what means "not set" (null, and "", 0 or an empty list
 * where Go would not tell them from absent). Quantities given as numbers become text, and null in a map of
 * strings the empty one (`KEY:` in YAML). Does not refuse
 * anything. Invariant: idempotent — a second run changes nothing, so a repeated apply is a no-op.
 */
#include <stdio.h>
#include <string.h>

#include "schema/schema_private.h"

static void default_value(const struct schema_type *type, cJSON *value);

static bool is_zero(const cJSON *value)
{
    return cJSON_IsFalse(value) || (cJSON_IsNumber(value) && value->valuedouble == 0);
}

static bool means_unset(const struct schema_field *field, const cJSON *value)
{
    if (cJSON_IsNull(value))
        return true;
    if (cJSON_IsString(value))
        return !*value->valuestring && field && field->type->kind == TYPE_STRING && !field->keep_empty;
    if (cJSON_IsArray(value) || cJSON_IsObject(value))
        return field && field->empty_unset && !value->child;
    return field && field->zero_unset && is_zero(value);
}

/* A number where text is the form to keep: cpu: 1 → "1". Percentages and ports stay numbers. */
static void number_to_text(const struct schema_type *type, cJSON *value)
{
    if (type->format != FORMAT_QUANTITY || !(cJSON_IsNumber(value) || cJSON_IsRaw(value)))
        return;
    char *text = json_print(value);
    free(value->valuestring);
    value->type = (value->type & ~0xff) | cJSON_String;
    value->valuestring = text;
}

static void default_object(const struct schema_type *type, cJSON *object)
{
    struct schema_seen seen = {0};
    for (cJSON *child = object->child, *next; child; child = next) {
        next = child->next;
        const struct schema_field *field = schema_type_field(type, child->string);
        if (means_unset(field, child))
            cJSON_Delete(cJSON_DetachItemViaPointer(object, child));
        else if (field)
            seen_set(&seen, (size_t)(field - type->fields));
    }
    for (size_t i = 0; i < type->n_fields; i++) {
        if (type->fields[i].fallback && !seen_has(&seen, i))
            cJSON_AddItemToObject(object, type->fields[i].name, json_copy(type->fields[i].fallback));
    }
    if (type->hook)
        type->hook(object);
    json_each (child, object) {
        if (cJSON_IsString(child) || cJSON_IsBool(child)) /* nothing below it, and the right type already */
            continue;
        const struct schema_field *field = schema_type_field(type, child->string);
        if (field)
            default_value(field->type, child);
    }
}

static void drop_nulls(const struct schema_type *type, cJSON *map)
{
    for (cJSON *child = map->child, *next; child; child = next) {
        next = child->next;
        if (!cJSON_IsNull(child))
            continue;
        if (type->items && type->items->kind == TYPE_STRING && type->items->format == FORMAT_NONE) {
            child->type = (child->type & ~0xff) | cJSON_String;
            child->valuestring = mem_strdup("");
        } else {
            cJSON_Delete(cJSON_DetachItemViaPointer(map, child));
        }
    }
}

static void default_value(const struct schema_type *type, cJSON *value)
{
    if (type->kind == TYPE_OBJECT && cJSON_IsObject(value)) {
        default_object(type, value);
    } else if (type->kind == TYPE_LIST && cJSON_IsArray(value)) {
        json_each (child, value)
            default_value(type->items, child);
    } else if (type->kind == TYPE_MAP && cJSON_IsObject(value)) {
        drop_nulls(type, value);
        if (!type->items)
            return;
        json_each (child, value)
            default_value(type->items, child);
    } else {
        number_to_text(type, value);
    }
}

void schema_default(const struct schema_kind *kind, cJSON *object)
{
    default_value(kind->root, object);
}

static void nulls_below(const struct schema_type *type, cJSON *value)
{
    if (type && type->kind == TYPE_MAP && cJSON_IsObject(value))
        drop_nulls(type, value);
    for (cJSON *child = value->child, *next; child; child = next) {
        next = child->next;
        const struct schema_field *field = NULL;
        const struct schema_type *below = NULL;
        if (type && type->kind == TYPE_OBJECT && child->string)
            field = schema_type_field(type, child->string);
        else if (type && (type->kind == TYPE_MAP || type->kind == TYPE_LIST))
            below = type->items;
        if (cJSON_IsNull(child) && child->string)
            cJSON_Delete(cJSON_DetachItemViaPointer(value, child));
        else
            nulls_below(field ? field->type : below, child);
    }
}

void schema_drop_nulls(const struct schema_kind *kind, cJSON *object)
{
    nulls_below(kind->root, object);
}

cJSON *schema_initial_status(const struct schema_kind *kind)
{
    const cJSON *status = json_get(kind->definition, "initialStatus");
    return status ? json_copy(status) : NULL;
}
