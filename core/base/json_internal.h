/* json_internal: private to core/base. What the strict scan tells the parser. */
#ifndef M8_BASE_JSON_INTERNAL_H
#define M8_BASE_JSON_INTERNAL_H

#include "base/json.h"

/* An integer of more than JSON_EXACT_DIGITS digits: the index counts all numbers of the text in document
 * order. */
struct json_big {
    size_t index;
    const char *text;
    size_t len;
};

struct json_scan {
    struct json_big *big; /* freed by the caller */
    size_t n_big;
};

#define JSON_EXACT_DIGITS 15

/* Checks the whole text; ERR_BAD_REQUEST with line and column. scan->big is set on success and on failure. */
int json_scan_text(const char *text, size_t len, unsigned max_depth, struct json_scan *scan,
                   struct err **err);
/* True if the Raw node (or text) is a JSON integer. */
bool json_is_integer_text(const char *text);

/* Appends to an object or array without looking whether the key is there; constant time. */
void json_link_last(cJSON *parent, cJSON *node);
/* json_set without the search: old is the field that has the key, or NULL. value NULL removes it. */
void json_put(cJSON *object, cJSON *old, const char *key, cJSON *value);

#endif
