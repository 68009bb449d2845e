/*
 * schema_protobuf: a request body in Kubernetes' protobuf form → JSON. Driven by the field table; special
 * messages (Time, Quantity, IntOrString, RawExtension …) become their JSON forms. Never encodes. Input is
 * hostile: every length is checked, nesting is bounded, unknown fields are skipped, text must be UTF-8.
 * Invariants: empty strings are dropped, numbers and booleans stay (Go writes both whether set or not).
 */
#include <stdio.h>
#include <string.h>

#include "schema/schema_private.h"

#define MAX_MAP_ENTRIES 1024 /* each is looked up among those before */

static const unsigned char magic[4] = {'k', '8', 's', 0};

struct span {
    const unsigned char *at, *end;
};

struct wire {
    uint64_t number, value; /* value: of varints and fixed; else the bytes are in `data` */
    unsigned type;
    struct span data;
};

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static cJSON *decode_message(const struct schema_message *message, struct span span, int depth,
                             struct err **err);

bool schema_protobuf_is(const void *data, size_t len)
{
    return len >= sizeof(magic) && memcmp(data, magic, sizeof(magic)) == 0;
}

static int malformed(struct err **err)
{
    return err_set(err, ERR_BAD_REQUEST, "the protobuf body is malformed");
}

static int too_deep(struct err **err)
{
    return err_set(err, ERR_BAD_REQUEST, "the protobuf body is nested too deeply");
}

static int read_varint(struct span *span, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && span->at < span->end; shift += 7) {
        unsigned char byte = *span->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return 0;
    }
    return -1;
}

static int read_fixed(struct span *span, size_t bytes, uint64_t *value)
{
    *value = 0;
    if ((size_t)(span->end - span->at) < bytes)
        return -1;
    for (size_t i = 0; i < bytes; i++)
        *value |= (uint64_t)span->at[i] << (8 * i);
    span->at += bytes;
    return 0;
}

/* 1: a field was read; 0: end; -1: malformed. */
static int next_field(struct span *span, struct wire *wire, struct err **err)
{
    uint64_t key;
    if (span->at == span->end)
        return 0;
    if (read_varint(span, &key))
        return malformed(err);
    *wire = (struct wire){.number = key >> 3, .type = (unsigned)(key & 7)};
    switch (wire->type) {
    case WIRE_VARINT:
        return read_varint(span, &wire->value) ? malformed(err) : 1;
    case WIRE_FIXED64:
        return read_fixed(span, 8, &wire->value) ? malformed(err) : 1;
    case WIRE_FIXED32:
        return read_fixed(span, 4, &wire->value) ? malformed(err) : 1;
    case WIRE_BYTES:
        if (read_varint(span, &wire->value) || wire->value > (uint64_t)(span->end - span->at))
            return malformed(err);
        wire->data = (struct span){span->at, span->at + wire->value};
        span->at += wire->value;
        return 1;
    default:
        return malformed(err);
    }
}

static size_t span_len(struct span span)
{
    return (size_t)(span.end - span.at);
}

/* Bad UTF-8 and NUL bytes are refused: quoting replaces what is not UTF-8, so a text that comes back changed
 * was bad. */
static cJSON *text_node(struct span span, struct err **err)
{
    auto_str quoted = {0};
    if (memchr(span.at, 0, span_len(span))) {
        malformed(err);
        return NULL;
    }
    auto_free char *text = mem_strndup((const char *)span.at, span_len(span));
    bool plain = true; /* ASCII without anything to escape: the usual case needs no second look */
    for (const unsigned char *p = span.at; p < span.end; p++)
        plain &= *p >= 0x20 && *p < 0x80;
    if (plain)
        return cJSON_CreateString(text);
    str_add_json(&quoted, text);
    auto_json node = json_parse(str_c(&quoted), quoted.len, err);
    if (node && strcmp(node->valuestring, text) != 0)
        malformed(err);
    else if (node)
        return steal(&node);
    return NULL;
}

static cJSON *integer_node(uint64_t value)
{
    auto_json holder = cJSON_CreateObject();
    json_set_int(holder, "n", (int64_t)value);
    return cJSON_DetachItemViaPointer(holder, holder->child);
}

/* The single field `number` of a message, last one wins; *found is false if it is absent. */
static int find_field(struct span span, uint64_t number, struct wire *wire, bool *found, struct err **err)
{
    struct wire here;
    int more;
    *found = false;
    while ((more = next_field(&span, &here, err)) > 0) {
        if (here.number == number) {
            *wire = here;
            *found = true;
        }
    }
    return more;
}

/* Absent when it is the zero time. */
static cJSON *decode_time(struct span span, bool micro, struct err **err)
{
    struct wire seconds = {0}, nanos = {0};
    bool has_seconds, has_nanos;
    if (find_field(span, 1, &seconds, &has_seconds, err) || find_field(span, 2, &nanos, &has_nanos, err))
        return NULL;
    int64_t s = (int64_t)seconds.value;
    if (!has_seconds || s > 253402300799 || s < -62135596800) {
        if (has_seconds)
            malformed(err);
        return NULL;
    }
    if (s > INT64_MAX / 1000000000 - 1 ||
        s < INT64_MIN / 1000000000 + 1) /* outside what a clock here can hold */
        return NULL;
    char text[TIME_TEXT];
    int64_t ns = s * 1000000000 + (micro ? (int64_t)(nanos.value % 1000000000) : 0);
    if (micro)
        time_print_micro(ns, text);
    else
        time_print(ns, text);
    return cJSON_CreateString(text);
}

static cJSON *decode_int_or_string(struct span span, struct err **err)
{
    struct wire type = {0}, number = {0}, text = {0};
    bool has_type, has_number, has_text;
    if (find_field(span, 1, &type, &has_type, err) || find_field(span, 2, &number, &has_number, err) ||
        find_field(span, 3, &text, &has_text, err))
        return NULL;
    if (type.value == 1)
        return has_text && text.type == WIRE_BYTES ? text_node(text.data, err) : cJSON_CreateString("");
    return integer_node(number.value);
}

static cJSON *decode_raw(struct span span, struct err **err)
{
    struct wire raw = {0};
    bool found;
    if (find_field(span, 1, &raw, &found, err) || !found || raw.type != WIRE_BYTES ||
        raw.data.at == raw.data.end)
        return NULL;
    return json_parse((const char *)raw.data.at, span_len(raw.data), err);
}

static cJSON *decode_items(struct span span, struct err **err)
{
    auto_json list = cJSON_CreateArray();
    struct wire wire;
    int more;
    while ((more = next_field(&span, &wire, err)) > 0) {
        if (wire.number != 1 || wire.type != WIRE_BYTES)
            continue;
        cJSON *text = text_node(wire.data, err);
        if (!text)
            return NULL;
        json_push(list, text);
    }
    return more ? NULL : steal(&list);
}

/* Messages with a JSON form of their own. *special: whether it is one. NULL without error: absent. */
static cJSON *decode_special(const char *name, struct span span, bool *special, struct err **err)
{
    *special = true;
    if (strcmp(name, "meta.v1.Time") == 0 || strcmp(name, "meta.v1.MicroTime") == 0)
        return decode_time(span, name[8] == 'M', err);
    if (strcmp(name, "util.intstr.IntOrString") == 0)
        return decode_int_or_string(span, err);
    if (strcmp(name, "api.resource.Quantity") == 0) {
        struct wire text = {0};
        bool found;
        if (find_field(span, 1, &text, &found, err) || !found || text.type != WIRE_BYTES)
            return NULL;
        return text_node(text.data, err);
    }
    if (strcmp(name, "runtime.RawExtension") == 0 || strcmp(name, "meta.v1.FieldsV1") == 0)
        return decode_raw(span, err);
    if (str_ends(name, ".ExtraValue"))
        return decode_items(span, err);
    *special = false;
    return NULL;
}

static cJSON *base64_node(struct span span)
{
    auto_free char *text = str_base64(span.at, span_len(span));
    return cJSON_CreateString(text);
}

/* NULL without error: absent (the zero time, an empty string). */
static cJSON *decode_value(unsigned type, int message, const struct wire *wire, bool keep_empty, int depth,
                           struct err **err)
{
    bool bytes = type == FIELD_STRING || type == FIELD_BYTES || type == FIELD_MESSAGE;
    if (bytes != (wire->type == WIRE_BYTES)) {
        malformed(err);
        return NULL;
    }
    switch (type) {
    case FIELD_BOOL:
        return cJSON_CreateBool(wire->value != 0);
    case FIELD_INT:
        return integer_node(wire->value);
    case FIELD_STRING:
        return wire->data.at == wire->data.end && !keep_empty ? NULL : text_node(wire->data, err);
    case FIELD_BYTES:
        return base64_node(wire->data);
    default:
        break;
    }
    if (message < 0) /* a message without fields: present or absent is all it says */
        return cJSON_CreateObject();
    bool special;
    cJSON *node = decode_special(schema_messages[message].name, wire->data, &special, err);
    return special ? node : decode_message(&schema_messages[message], wire->data, depth + 1, err);
}

static int decode_map_entry(const struct schema_message_field *field, cJSON *object, const struct wire *wire,
                            int depth, struct err **err)
{
    struct wire key = {0}, value = {0};
    bool has_key, has_value;
    if (wire->type != WIRE_BYTES)
        return malformed(err);
    if (find_field(wire->data, 1, &key, &has_key, err) || find_field(wire->data, 2, &value, &has_value, err))
        return -1;
    if (!has_key || key.type != WIRE_BYTES)
        return malformed(err);
    auto_json name = text_node(key.data, err);
    if (!name)
        return -1;
    if (!has_value)
        value = (struct wire){.type = WIRE_BYTES, .data = {wire->data.end, wire->data.end}};
    struct err *problem = NULL;
    cJSON *node = decode_value(field->value_type, field->message, &value, true, depth, &problem);
    if (problem)
        return err_move(err, &problem);
    if (!node)
        return 0;
    cJSON *map = json_ensure_object(object, field->name);
    json_set(map, name->valuestring, node);
    if (cJSON_GetArraySize(map) > MAX_MAP_ENTRIES)
        return err_set(err, ERR_BAD_REQUEST, "%s: too many entries for a protobuf body; send JSON",
                       field->name);
    return 0;
}

/* A packed run of numbers, or one number or message of a repeated field. */
static int decode_repeated(const struct schema_message_field *field, cJSON *object, const struct wire *wire,
                           int depth, struct err **err)
{
    cJSON *list = json_ensure_array(object, field->name);
    if ((field->type == FIELD_INT || field->type == FIELD_BOOL) && wire->type == WIRE_BYTES) {
        struct span span = wire->data;
        while (span.at < span.end) {
            uint64_t value;
            if (read_varint(&span, &value))
                return malformed(err);
            json_push(list, field->type == FIELD_INT ? integer_node(value) : cJSON_CreateBool(value != 0));
        }
        return 0;
    }
    struct err *problem = NULL;
    cJSON *node = decode_value(field->type, field->message, wire, true, depth, &problem);
    if (problem)
        return err_move(err, &problem);
    if (node)
        json_push(list, node);
    return 0;
}

/* An embedded message: its fields go into the parent. */
static int decode_embedded(const struct schema_message_field *field, cJSON *object, const struct wire *wire,
                           int depth, struct err **err)
{
    if (wire->type != WIRE_BYTES)
        return malformed(err);
    if (field->message < 0)
        return 0;
    auto_json inner = decode_message(&schema_messages[field->message], wire->data, depth + 1, err);
    if (!inner)
        return -1;
    while (inner->child) {
        cJSON *child = cJSON_DetachItemViaPointer(inner, inner->child);
        auto_free char *name = mem_strdup(child->string);
        json_set(object, name, child);
    }
    return 0;
}

static int decode_field(const struct schema_message_field *field, cJSON *object, const struct wire *wire,
                        int depth, struct err **err)
{
    if (field->type == FIELD_MAP)
        return decode_map_entry(field, object, wire, depth, err);
    if (field->repeated)
        return decode_repeated(field, object, wire, depth, err);
    if (field->embedded)
        return decode_embedded(field, object, wire, depth, err);
    struct err *problem = NULL;
    bool keep_empty =
        strcmp(field->name, "storageClassName") == 0; /* the one text where empty differs from absent */
    cJSON *node = decode_value(field->type, field->message, wire, keep_empty, depth, &problem);
    if (problem)
        return err_move(err, &problem);
    if (node)
        json_set(object, field->name, node);
    return 0;
}

static cJSON *decode_message(const struct schema_message *message, struct span span, int depth,
                             struct err **err)
{
    if (depth > JSON_MAX_DEPTH) {
        too_deep(err);
        return NULL;
    }
    auto_json object = cJSON_CreateObject();
    struct wire wire;
    int more;
    while ((more = next_field(&span, &wire, err)) > 0) {
        const struct schema_message_field *field = schema_message_field_numbered(message, wire.number);
        if (field && decode_field(field, object, &wire, depth, err))
            return NULL;
    }
    return more ? NULL : steal(&object);
}

static char *envelope_text(struct span span, uint64_t number, struct err **err)
{
    struct wire wire = {0};
    bool found;
    if (find_field(span, number, &wire, &found, err) || !found || wire.type != WIRE_BYTES)
        return NULL;
    auto_json node = text_node(wire.data, err);
    return node ? mem_strdup(node->valuestring) : NULL;
}

cJSON *schema_protobuf_decode(const void *data, size_t len, struct err **err)
{
    if (!schema_protobuf_is(data, len)) {
        err_set(err, ERR_BAD_REQUEST, "the body does not begin like a Kubernetes protobuf message");
        return NULL;
    }
    const unsigned char *bytes = data;
    struct span span = {bytes + sizeof(magic), bytes + len};
    struct wire meta = {0}, raw = {0};
    bool has_meta, has_raw;
    if (find_field(span, 1, &meta, &has_meta, err) || find_field(span, 2, &raw, &has_raw, err))
        return NULL;
    if (!has_meta || meta.type != WIRE_BYTES || (has_raw && raw.type != WIRE_BYTES)) {
        malformed(err);
        return NULL;
    }
    auto_free char *api_version = envelope_text(meta.data, 1, err);
    auto_free char *kind = envelope_text(meta.data, 2, err);
    const struct schema_message *message =
        api_version && kind ? schema_message_of_kind(api_version, kind) : NULL;
    if (!message) {
        err_set(err, ERR_BAD_REQUEST, "no protobuf form is known of kind %s in %s", kind ? kind : "(none)",
                api_version ? api_version : "(none)");
        return NULL;
    }
    auto_json object = cJSON_CreateObject();
    json_set_string(object, "kind", kind);
    json_set_string(object, "apiVersion", api_version);
    if (!has_raw)
        return steal(&object);
    auto_json decoded = decode_message(message, raw.data, 0, err);
    if (!decoded)
        return NULL;
    if (json_depth(decoded) > JSON_MAX_DEPTH) { /* a message may hold JSON, which has a depth of its own */
        too_deep(err);
        return NULL;
    }
    while (decoded->child) {
        cJSON *child = cJSON_DetachItemViaPointer(decoded, decoded->child);
        auto_free char *name = mem_strdup(child->string);
        json_set(object, name, child);
    }
    return steal(&object);
}
