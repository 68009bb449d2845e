/*
 * schema_fields: the protobuf field table of Kubernetes' messages, generated at build time from
 * protobuf_fields.tsv. Constant data; two uses: decoding bodies, and telling fields that Kubernetes knows
 * from typing mistakes.
 */
#ifndef M8_SCHEMA_SCHEMA_FIELDS_H
#define M8_SCHEMA_SCHEMA_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum schema_field_type {
    FIELD_NONE,
    FIELD_BOOL,
    FIELD_INT,
    FIELD_STRING,
    FIELD_BYTES,
    FIELD_MESSAGE,
    FIELD_MAP
};

struct schema_message_field {
    const char *name;
    uint16_t number;
    uint8_t type;
    uint8_t value_type; /* of FIELD_MAP */
    bool repeated;
    bool embedded; /* its fields stand in the parent's JSON object */
    int16_t
        message; /* index into schema_messages for FIELD_MESSAGE and maps of messages; -1: an empty message */
};

struct schema_message {
    const char *name; /* "core.v1.Pod" */
    uint16_t first, count;
};

extern const struct schema_message_field schema_message_fields[];
extern const struct schema_message schema_messages[]; /* sorted by name */
extern const size_t schema_n_messages;

/* NULL if unknown. */
const struct schema_message *schema_message_find(const char *name);
/* "apps/v1" + "Deployment" → its message; kinds of apimachinery (DeleteOptions) are found under any group. */
const struct schema_message *schema_message_of_kind(const char *api_version, const char *kind);
/* By JSON name, also inside embedded messages; NULL message or unknown name: NULL. */
const struct schema_message_field *schema_message_field_named(const struct schema_message *message,
                                                              const char *name);
const struct schema_message_field *schema_message_field_numbered(const struct schema_message *message,
                                                                 uint64_t number);

#endif
