/*
 * yaml_print: cJSON to YAML through libyaml's emitter (yaml.h). Block style, two spaces, lists not indented
 * below their key, text of several lines as a literal block: what kubectl -o yaml prints. Invariant: what it
 * prints, yaml_parse reads back as an equal value.
 */
#include <string.h>
#include <yaml.h>

#include "base/base_utf8.h"
#include "base/yaml.h"
#include "base/yaml_internal.h"

static int write_to(void *out, unsigned char *data, size_t len)
{
    str_add_n(out, data, len);
    return 1;
}

static void emit(yaml_emitter_t *emitter, yaml_event_t *event, int made)
{
    must(made);
    must(yaml_emitter_emit(emitter, event));
}

/* Readers of YAML 1.1 that are not ours take these for booleans too. */
static bool is_ambiguous(const char *text)
{
    return strlen(text) == 1 && strchr("yYnN=", *text);
}

/* 1:20 is a number in base 60 to some readers. */
static bool is_base_60(const char *text)
{
    text += *text == '-' || *text == '+';
    return *text >= '0' && *text <= '9' && strchr(text, ':') && text[strspn(text, "0123456789:_.")] == '\0';
}

/* 2026-01-02 and 2026-01-02T03:04:05Z are times, not text, to YAML 1.1. */
static bool is_timestamp(const char *text)
{
    return strspn(text, "0123456789") == 4 && text[4] == '-' &&
           text[5 + strspn(text + 5, "0123456789")] == '-' &&
           text[strspn(text, "0123456789-:.+TtZz ")] == '\0';
}

static bool is_plain(const char *text)
{
    if (is_ambiguous(text) || is_timestamp(text) || is_base_60(text) || strcmp(text, "<<") == 0)
        return false;
    auto_json resolved = yaml_resolve(text);
    return cJSON_IsString(resolved);
}

/* A literal block cannot begin with a blank line's worth of space without an indentation hint that readers
 * disagree about, nor hold carriage returns. */
static bool is_literal(const char *text)
{
    return strchr(text, '\n') && *text != ' ' && *text != '\n' && *text != '\t' && !strchr(text, '\r');
}

static void emit_string(yaml_emitter_t *emitter, const char *text)
{
    auto_str valid = {0};
    size_t len = strlen(text);
    for (size_t i = 0, n; i < len; i += n ? n : 1) {
        n = utf8_length(text + i, len - i);
        str_add_n(&valid, n ? text + i : "\xef\xbf\xbd", n ? n : 3);
    }
    text = str_c(&valid);
    yaml_scalar_style_t style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    if (is_literal(text))
        style = YAML_LITERAL_SCALAR_STYLE;
    else if (!strchr(text, '\n') && is_plain(text))
        style = YAML_PLAIN_SCALAR_STYLE;
    yaml_event_t event;
    emit(emitter, &event,
         yaml_scalar_event_initialize(&event, NULL, NULL, (const unsigned char *)text, (int)valid.len, 1, 1,
                                      style));
}

static void emit_word(yaml_emitter_t *emitter, const char *text)
{
    yaml_event_t event;
    emit(emitter, &event,
         yaml_scalar_event_initialize(&event, NULL, NULL, (const unsigned char *)text, (int)strlen(text), 1,
                                      1, YAML_PLAIN_SCALAR_STYLE));
}

static void emit_node(yaml_emitter_t *emitter, const cJSON *json);

static void emit_object(yaml_emitter_t *emitter, const cJSON *json)
{
    yaml_event_t event;
    emit(emitter, &event,
         yaml_mapping_start_event_initialize(
             &event, NULL, NULL, 1, json->child ? YAML_BLOCK_MAPPING_STYLE : YAML_FLOW_MAPPING_STYLE));
    json_each (child, json) {
        emit_string(emitter, child->string);
        emit_node(emitter, child);
    }
    emit(emitter, &event, yaml_mapping_end_event_initialize(&event));
}

static void emit_array(yaml_emitter_t *emitter, const cJSON *json)
{
    yaml_event_t event;
    emit(emitter, &event,
         yaml_sequence_start_event_initialize(
             &event, NULL, NULL, 1, json->child ? YAML_BLOCK_SEQUENCE_STYLE : YAML_FLOW_SEQUENCE_STYLE));
    json_each (child, json)
        emit_node(emitter, child);
    emit(emitter, &event, yaml_sequence_end_event_initialize(&event));
}

static void emit_node(yaml_emitter_t *emitter, const cJSON *json)
{
    if (cJSON_IsObject(json)) {
        emit_object(emitter, json);
    } else if (cJSON_IsArray(json)) {
        emit_array(emitter, json);
    } else if (cJSON_IsString(json)) {
        emit_string(emitter, json->valuestring);
    } else {
        auto_free char *text = json_print(json);
        emit_word(emitter, text);
    }
}

char *yaml_print(const cJSON *json)
{
    struct str out = {0};
    yaml_emitter_t emitter;
    yaml_event_t event;
    must(yaml_emitter_initialize(&emitter));
    yaml_emitter_set_output(&emitter, write_to, &out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    emit(&emitter, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
    emit(&emitter, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1));
    emit_node(&emitter, json);
    emit(&emitter, &event, yaml_document_end_event_initialize(&event, 1));
    emit(&emitter, &event, yaml_stream_end_event_initialize(&event));
    yaml_emitter_delete(&emitter);
    return str_take(&out);
}
