/*
 * yaml_parse: libyaml's events to cJSON (yaml.h). Does not keep comments, styles or anchors.
 * Invariants: every anchor holds a finished node of its own, so an alias can be neither recursive nor
 * dangling; what anchors and aliases copy is charged against a budget, so the result is at most EXPANSION_MAX
 * larger than the text.
 */
#include <string.h>
#include <yaml.h>

#include "base/base_utf8.h"
#include "base/json_internal.h"
#include "base/map.h"
#include "base/yaml.h"
#include "base/yaml_internal.h"

#define EXPANSION_MAX (32u << 20)

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the one at hand */
    bool has_event;
    struct map anchors; /* name → cJSON, of this document */
    size_t expanded;    /* bytes that anchors and aliases have cost */
    struct err **err;
};

static void *refuse(struct reader *r, yaml_mark_t mark, const char *problem)
{
    err_set(r->err, ERR_BAD_REQUEST, "invalid YAML: %s at line %zu column %zu", problem, mark.line + 1,
            mark.column + 1);
    return NULL;
}

static bool next_event(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->parser, &r->event);
    if (r->has_event)
        return true;
    yaml_mark_t mark = r->parser.problem_mark;
    if (r->parser.error == YAML_READER_ERROR)
        mark = r->parser.mark;
    const char *problem = r->parser.problem ? r->parser.problem : "not understood";
    auto_free char *text =
        r->parser.context ? mem_printf("%s, %s", r->parser.context, problem) : mem_strdup(problem);
    refuse(r, mark, text);
    return false;
}

static size_t cost_of(const cJSON *json)
{
    size_t cost = 0;
    for (; json; json = json->next) {
        cost += sizeof(cJSON) + 16;
        cost += json->string ? strlen(json->string) + 16 : 0;
        cost += json->valuestring ? strlen(json->valuestring) + 16 : 0;
        cost += json->child ? cost_of(json->child) : 0;
    }
    return cost;
}

/* A copy of one node (not of what follows it) within the budget. */
static cJSON *copy_charged(struct reader *r, const cJSON *json, yaml_mark_t mark)
{
    r->expanded +=
        sizeof(cJSON) + 16 + cost_of(json->child) + (json->valuestring ? strlen(json->valuestring) : 0);
    if (r->expanded > EXPANSION_MAX)
        return refuse(r, mark, "anchors and aliases expand to too much data");
    return json_copy(json);
}

static void delete_node(void *json)
{
    cJSON_Delete(json);
}

static bool remember(struct reader *r, const char *anchor, const cJSON *json, yaml_mark_t mark)
{
    if (!anchor)
        return true;
    cJSON *copy = copy_charged(r, json, mark);
    if (!copy)
        return false;
    map_set(&r->anchors, anchor, copy);
    return true;
}

static bool is_tag(const char *tag, const char *name)
{
    return str_starts(tag, "tag:yaml.org,2002:") && str_eq(tag + strlen("tag:yaml.org,2002:"), name);
}

static cJSON *tagged_binary(const char *text, size_t len)
{
    unsigned char *data;
    size_t n;
    if (str_unbase64(text, len, &data, &n) < 0)
        return NULL;
    bool good = !memchr(data, '\0', n);
    for (size_t i = 0, step; good && i < n; i += step)
        good = (step = utf8_length((char *)data + i, n - i)) > 0;
    cJSON *json = good ? cJSON_CreateString((char *)data) : NULL;
    free(data);
    return json;
}

static cJSON *tagged_number(const char *text)
{
    cJSON *json = yaml_resolve(text);
    if (cJSON_IsNumber(json) || cJSON_IsRaw(json))
        return json;
    cJSON_Delete(json);
    return NULL;
}

static cJSON *tagged_scalar(const char *tag, const char *text, size_t len)
{
    if (is_tag(tag, "int") || is_tag(tag, "float"))
        return tagged_number(text);
    if (is_tag(tag, "bool")) {
        cJSON *json = yaml_resolve(text);
        if (cJSON_IsBool(json))
            return json;
        cJSON_Delete(json);
        return NULL;
    }
    if (is_tag(tag, "null"))
        return cJSON_CreateNull();
    if (is_tag(tag, "binary"))
        return tagged_binary(text, len);
    return cJSON_CreateString(text);
}

static cJSON *read_scalar(struct reader *r)
{
    const char *text = (const char *)r->event.data.scalar.value;
    const char *tag = (const char *)r->event.data.scalar.tag;
    size_t len = r->event.data.scalar.length;
    if (memchr(text, '\0', len))
        return refuse(r, r->event.start_mark, "a string with a NUL byte");
    auto_json json = NULL;
    if (tag)
        json = tagged_scalar(tag, text, len);
    else if (r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        json = yaml_resolve(text);
    else
        json = cJSON_CreateString(text);
    if (!json)
        return refuse(r, r->event.start_mark, "a scalar that JSON cannot hold or that does not fit its tag");
    if (!remember(r, (const char *)r->event.data.scalar.anchor, json, r->event.start_mark))
        return NULL;
    return steal(&json);
}

static cJSON *read_alias(struct reader *r)
{
    const cJSON *anchored = map_get(&r->anchors, (const char *)r->event.data.alias.anchor);
    if (!anchored)
        return refuse(r, r->event.start_mark, "an alias without its anchor");
    return copy_charged(r, anchored, r->event.start_mark);
}

static cJSON *read_node(struct reader *r, unsigned depth);

static cJSON *read_sequence(struct reader *r, unsigned depth)
{
    yaml_mark_t mark = r->event.start_mark;
    auto_free char *anchor = mem_strdup((const char *)r->event.data.sequence_start.anchor);
    auto_json array = cJSON_CreateArray();
    for (;;) {
        if (!next_event(r))
            return NULL;
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        cJSON *item = read_node(r, depth);
        if (!item)
            return NULL;
        json_push(array, item);
    }
    return remember(r, anchor, array, mark) ? steal(&array) : NULL;
}

/* A mapping that is being read. */
struct mapping {
    cJSON *object;
    cJSON *merges; /* array of the objects of its merge keys, the first one wins; NULL: none */
    struct place {
        const cJSON *node;
        yaml_mark_t mark;
    } * places; /* where its keys stand */
    size_t n, capacity;
};

static void mapping_cleanup(struct mapping *mapping)
{
    cJSON_Delete(mapping->object);
    cJSON_Delete(mapping->merges);
    free(mapping->places);
}

/* The text of a key: the events at hand must be a scalar or an alias to one. */
static char *read_key(struct reader *r, bool *merge)
{
    yaml_mark_t mark = r->event.start_mark;
    *merge = r->event.type == YAML_SCALAR_EVENT && !r->event.data.scalar.tag &&
             r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
             str_eq((const char *)r->event.data.scalar.value, "<<");
    auto_json key = r->event.type == YAML_SCALAR_EVENT  ? read_scalar(r)
                    : r->event.type == YAML_ALIAS_EVENT ? read_alias(r)
                                                        : refuse(r, mark, "a key that is not a scalar");
    if (!key)
        return NULL;
    if (cJSON_IsString(key))
        return mem_strdup(key->valuestring);
    if (cJSON_IsNull(key) || cJSON_IsArray(key) || cJSON_IsObject(key))
        return refuse(r, mark, "a key that is not a string");
    return json_print(key);
}

static bool add_merge(struct reader *r, struct mapping *mapping, cJSON *value, yaml_mark_t mark)
{
    auto_json owned = value;
    if (!mapping->merges)
        mapping->merges = cJSON_CreateArray();
    if (cJSON_IsObject(owned)) {
        json_push(mapping->merges, steal(&owned));
        return true;
    }
    bool good = cJSON_IsArray(owned);
    while (good && owned->child) {
        good = cJSON_IsObject(owned->child);
        json_push(mapping->merges, cJSON_DetachItemViaPointer(owned, owned->child));
    }
    if (!good)
        refuse(r, mark, "a merge key (<<) whose value is not a mapping");
    return good;
}

static int compare_places(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    int order = strcmp(a->node->string, b->node->string);
    return order ? order : a->mark.index < b->mark.index ? -1 : a->mark.index > b->mark.index;
}

static bool check_duplicates(struct reader *r, struct mapping *mapping)
{
    if (mapping->n > 1)
        qsort(mapping->places, mapping->n, sizeof(*mapping->places), compare_places);
    for (size_t i = 1; i < mapping->n; i++) {
        const char *key = mapping->places[i].node->string;
        if (strcmp(key, mapping->places[i - 1].node->string) != 0)
            continue;
        auto_free char *problem = mem_printf("duplicate key \"%.100s\"", key);
        refuse(r, mapping->places[i].mark, problem);
        return false;
    }
    return true;
}

/* Keys that the mapping has itself stay; of several merged mappings the first that has a key gives it. */
static void merge(struct mapping *mapping)
{
    auto_map seen = {0};
    json_each (own, mapping->object)
        map_set(&seen, own->string, own);
    json_each (source, mapping->merges) {
        while (source->child) {
            cJSON *item = cJSON_DetachItemViaPointer(source, source->child);
            if (map_has(&seen, item->string)) {
                cJSON_Delete(item);
                continue;
            }
            map_set(&seen, item->string, item);
            json_link_last(mapping->object, item);
        }
    }
}

static bool add_pair(struct reader *r, struct mapping *mapping, unsigned depth)
{
    yaml_mark_t mark = r->event.start_mark;
    bool is_merge;
    auto_free char *key = read_key(r, &is_merge);
    if (!key || !next_event(r))
        return false;
    cJSON *value = read_node(r, depth);
    if (!value)
        return false;
    if (is_merge)
        return add_merge(r, mapping, value, mark);
    value->string = steal(&key);
    json_link_last(mapping->object, value);
    if (mapping->n == mapping->capacity) {
        mapping->capacity = mapping->capacity ? mapping->capacity * 2 : 8;
        mapping->places = mem_resize(mapping->places, mapping->capacity, sizeof(*mapping->places));
    }
    mapping->places[mapping->n++] = (struct place){value, mark};
    return true;
}

static cJSON *read_mapping(struct reader *r, unsigned depth)
{
    yaml_mark_t mark = r->event.start_mark;
    auto_free char *anchor = mem_strdup((const char *)r->event.data.mapping_start.anchor);
    __attribute__((cleanup(mapping_cleanup))) struct mapping mapping = {.object = cJSON_CreateObject()};
    for (;;) {
        if (!next_event(r))
            return NULL;
        if (r->event.type == YAML_MAPPING_END_EVENT)
            break;
        if (!add_pair(r, &mapping, depth))
            return NULL;
    }
    if (!check_duplicates(r, &mapping))
        return NULL;
    if (mapping.merges)
        merge(&mapping);
    return remember(r, anchor, mapping.object, mark) ? steal(&mapping.object) : NULL;
}

/* The node that the event at hand begins. */
static cJSON *read_node(struct reader *r, unsigned depth)
{
    bool collection = r->event.type == YAML_SEQUENCE_START_EVENT || r->event.type == YAML_MAPPING_START_EVENT;
    if (collection && depth >= JSON_MAX_DEPTH)
        return refuse(r, r->event.start_mark, "nested too deeply");
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(r);
    case YAML_ALIAS_EVENT:
        return read_alias(r);
    case YAML_SEQUENCE_START_EVENT:
        return read_sequence(r, depth + 1);
    case YAML_MAPPING_START_EVENT:
        return read_mapping(r, depth + 1);
    default:
        return refuse(r, r->event.start_mark, "unexpected structure");
    }
}

static bool read_documents(struct reader *r, cJSON *documents)
{
    for (;;) {
        if (!next_event(r))
            return false;
        if (r->event.type == YAML_STREAM_END_EVENT)
            return true;
        if (r->event.type != YAML_DOCUMENT_START_EVENT)
            continue;
        yaml_mark_t mark = r->event.start_mark;
        if (!next_event(r))
            return false;
        auto_json document = read_node(r, 0);
        map_fini(&r->anchors);
        if (!document)
            return false;
        /* Aliases may have stacked what was flat enough by itself. */
        if (json_depth(document) > JSON_MAX_DEPTH) {
            refuse(r, mark, "nested too deeply");
            return false;
        }
        if (!cJSON_IsNull(document))
            json_push(documents, steal(&document));
    }
}

static cJSON *read_stream(const char *text, size_t len, struct err **err)
{
    struct reader r = {.err = err};
    map_init(&r.anchors, delete_node);
    must(yaml_parser_initialize(&r.parser));
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    auto_json documents = cJSON_CreateArray();
    bool good = read_documents(&r, documents);
    if (r.has_event)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    map_fini(&r.anchors);
    return good ? steal(&documents) : NULL;
}

cJSON *yaml_parse_all(const char *text, size_t len, struct err **err)
{
    if (len > YAML_MAX_BYTES) {
        err_set(err, ERR_TOO_LARGE, "YAML of more than %u bytes", YAML_MAX_BYTES);
        return NULL;
    }
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        len -= 3;
    }
    size_t blank = 0;
    while (blank < len && strchr(" \t\r\n", text[blank]) && text[blank])
        blank++;
    /* JSON allows what YAML does not (tabs, surrogate pairs); what is not JSON may still be YAML's flow
     * style. */
    if (blank < len && (text[blank] == '{' || text[blank] == '[')) {
        cJSON *json = json_parse(text, len, NULL);
        if (json) {
            cJSON *documents = cJSON_CreateArray();
            json_push(documents, json);
            return documents;
        }
    }
    return read_stream(text, len, err);
}

cJSON *yaml_parse(const char *text, size_t len, struct err **err)
{
    auto_json documents = yaml_parse_all(text, len, err);
    if (!documents)
        return NULL;
    if (!documents->child || documents->child->next) {
        err_set(err, ERR_BAD_REQUEST, "invalid YAML: %s",
                documents->child ? "more than one document" : "no document");
        return NULL;
    }
    return cJSON_DetachItemViaPointer(documents, documents->child);
}
