/*
 * json: parsing and printing (json.h). The strict gate is json_scan.c, look-ups and edits json_access.c.
 * Does not use cJSON's printer, which loses integers above 2^53 and allocates twice.
 * Invariant: what json_print writes, json_parse reads back as an equal value.
 */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json_internal.h"

static void *allocate(size_t size)
{
    void *memory = malloc(size ? size : 1);
    must(memory);
    return memory;
}

void json_init(void)
{
    cJSON_Hooks hooks = {.malloc_fn = allocate, .free_fn = free};
    cJSON_InitHooks(&hooks);
}

/* Turns the numbers that the scan noted into Raw nodes. *index counts numbers in document order. */
static void keep_big(cJSON *json, const struct json_scan *scan, size_t *index, size_t *next)
{
    for (; json && *next < scan->n_big; json = json->next) {
        if (json->child)
            keep_big(json->child, scan, index, next);
        if (!cJSON_IsNumber(json) || (*index)++ != scan->big[*next].index)
            continue;
        json->type = cJSON_Raw;
        json->valuestring = mem_strndup(scan->big[*next].text, scan->big[*next].len);
        ++*next;
    }
}

static bool has_large(const cJSON *json)
{
    for (; json; json = json->next)
        if ((cJSON_IsNumber(json) && fabs(json->valuedouble) >= 1e15) ||
            (json->child && has_large(json->child)))
            return true;
    return false;
}

static cJSON *finish(cJSON *json, struct json_scan *scan)
{
    size_t index = 0, next = 0;
    keep_big(json, scan, &index, &next);
    must(next == scan->n_big);
    free(scan->big);
    return json;
}

cJSON *json_parse(const char *text, size_t len, struct err **err)
{
    struct json_scan scan;
    cJSON *json = NULL;
    if (json_scan_text(text, len, JSON_MAX_DEPTH, &scan, err) == 0) {
        json = cJSON_ParseWithLengthOpts(text, len, NULL, 0);
        if (json)
            return finish(json, &scan);
        err_set(err, ERR_BAD_REQUEST, "invalid JSON");
    }
    free(scan.big);
    return NULL;
}

cJSON *json_parse_trusted(const char *text, size_t len)
{
    const char *end = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts(text, len, &end, 0);
    if (!json)
        return NULL;
    while (end < text + len && (*end == ' ' || *end == '\n' || *end == '\r' || *end == '\t'))
        end++;
    struct json_scan scan = {0};
    bool good = end == text + len;
    /* Only a text with a large number needs the scan, which tells which of them a double does not hold. What
     * cJSON read is never too deep for it: an object at the limit comes in lists, which are deeper. */
    if (good && has_large(json))
        good = json_scan_text(text, len, CJSON_NESTING_LIMIT, &scan, NULL) == 0;
    if (good)
        return finish(json, &scan);
    free(scan.big);
    cJSON_Delete(json);
    return NULL;
}

static void add_integer(struct str *out, int64_t value)
{
    char digits[24], *p = digits + sizeof(digits);
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do
        *--p = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--p = '-';
    str_add_n(out, p, (size_t)(digits + sizeof(digits) - p));
}

static void add_number(struct str *out, double value)
{
    if (isnan(value) || isinf(value)) {
        str_add_n(out, "null", 4);
    } else if (fabs(value) < 9007199254740992.0 && value == (double)(int64_t)value) {
        add_integer(out, (int64_t)value);
    } else {
        char text[40];
        snprintf(text, sizeof(text), "%.15g", value);
        if (strtod(text, NULL) != value)
            snprintf(text, sizeof(text), "%.17g", value);
        str_add(out, text);
    }
}

static void add_line(struct str *out, unsigned depth)
{
    str_add_char(out, '\n');
    for (unsigned i = 0; i < depth; i++)
        str_add_n(out, "    ", 4);
}

/* pretty: 0 compact, else the depth + 1. */
static void print(struct str *out, const cJSON *json, unsigned pretty)
{
    switch (json->type & 0xff) {
    case cJSON_False:
        str_add_n(out, "false", 5);
        return;
    case cJSON_True:
        str_add_n(out, "true", 4);
        return;
    case cJSON_Number:
        add_number(out, json->valuedouble);
        return;
    case cJSON_String:
        str_add_json(out, json->valuestring);
        return;
    case cJSON_Raw:
        str_add(out, json->valuestring);
        return;
    case cJSON_Array:
    case cJSON_Object:
        break;
    default:
        str_add_n(out, "null", 4);
        return;
    }
    bool object = cJSON_IsObject(json);
    str_add_char(out, object ? '{' : '[');
    json_each (child, json) {
        if (child != json->child)
            str_add_char(out, ',');
        if (pretty)
            add_line(out, pretty);
        if (object) {
            str_add_json(out, child->string);
            str_add_n(out, ": ", pretty ? 2 : 1);
        }
        print(out, child, pretty ? pretty + 1 : 0);
    }
    if (pretty && json->child)
        add_line(out, pretty - 1);
    str_add_char(out, object ? '}' : ']');
}

void json_print_to(struct str *out, const cJSON *json)
{
    if (json)
        print(out, json, 0);
    else
        str_add_n(out, "null", 4);
}

char *json_print(const cJSON *json)
{
    struct str out = {0};
    str_reserve(&out, 512);
    json_print_to(&out, json);
    return str_take(&out);
}

char *json_print_pretty(const cJSON *json)
{
    struct str out = {0};
    if (json)
        print(&out, json, 1);
    else
        str_add(&out, "null");
    return str_take(&out);
}

unsigned json_depth(const cJSON *json)
{
    unsigned deepest = 0;
    json_each (child, json) {
        unsigned depth = json_depth(child);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + (cJSON_IsArray(json) || cJSON_IsObject(json));
}
