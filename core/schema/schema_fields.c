/*
 * schema_fields: look-ups in the generated protobuf field table. Reads constant data only; allocates nothing
 * that outlives a call. Invariant: schema_messages is sorted by name (the generator sorts it).
 */
#include "schema/schema_fields.h"

#include <stdio.h>
#include <string.h>

const struct schema_message *schema_message_find(const char *name)
{
    size_t low = 0, high = schema_n_messages;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, schema_messages[middle].name);
        if (order == 0)
            return &schema_messages[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct schema_message *schema_message_of_kind(const char *api_version, const char *kind)
{
    const char *slash = strchr(api_version, '/');
    const char *version = slash ? slash + 1 : api_version;
    /* package of the group: its first label; "core" for the empty group */
    int group_len = slash ? (int)strcspn(api_version, "./") : 4;
    const char *group = slash ? api_version : "core";
    char name[256];
    snprintf(name, sizeof(name), "%.*s.%s.%s", group_len, group, version, kind);
    const struct schema_message *message = schema_message_find(name);
    if (message)
        return message;
    snprintf(name, sizeof(name), "meta.v1.%s", kind);
    return schema_message_find(name);
}

const struct schema_message_field *schema_message_field_named(const struct schema_message *message,
                                                              const char *name)
{
    if (!message)
        return NULL;
    const struct schema_message_field *fields = &schema_message_fields[message->first];
    for (size_t i = 0; i < message->count; i++) {
        if (fields[i].embedded) {
            const struct schema_message_field *inner =
                fields[i].message < 0 ? NULL
                                      : schema_message_field_named(&schema_messages[fields[i].message], name);
            if (inner)
                return inner;
        } else if (strcmp(fields[i].name, name) == 0) {
            return &fields[i];
        }
    }
    return NULL;
}

const struct schema_message_field *schema_message_field_numbered(const struct schema_message *message,
                                                                 uint64_t number)
{
    const struct schema_message_field *fields = &schema_message_fields[message->first];
    for (size_t i = 0; i < message->count; i++) {
        if (fields[i].number == number)
            return &fields[i];
    }
    return NULL;
}
