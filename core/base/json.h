/*
 * json: cJSON behind a strict gate (contract 22).
 *
 * json_parse refuses what cJSON lets pass: bad UTF-8, \u0000, unpaired surrogates, duplicate keys, `012`,
 * trailing text, raw control bytes, depth over 64. Integers of more than 15 digits keep their text (a
 * cJSON_Raw node). Only case-sensitive look-ups exist here; cJSON_GetObjectItem is refused by ci/lint. Paths
 * are dotted: "spec.containers[0].image"; a key with a dot or slash is written ['app.io/x'].
 */
#ifndef M8_BASE_JSON_H
#define M8_BASE_JSON_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

#define JSON_MAX_DEPTH 64
/* Installs nothing; call once per process before threads (makes cJSON use mem_alloc, so that failure aborts).
 */
void json_init(void);

/* ERR_BAD_REQUEST with line and column. The caller owns the result (cJSON_Delete or auto_json). */
cJSON *json_parse(const char *text, size_t len, struct err **err);
/* For text that this program wrote itself (store, own files): no strict scan. NULL if it does not parse. */
cJSON *json_parse_trusted(const char *text, size_t len);
char *json_print(const cJSON *json); /* compact; caller frees; never NULL */
void json_print_to(struct str *out, const cJSON *json);
char *json_print_pretty(const cJSON *json); /* indented by 4 spaces like kubectl -o json */
static inline void json_cleanup(cJSON **json)
{
    cJSON_Delete(*json);
}
#define auto_json __attribute__((cleanup(json_cleanup))) cJSON *

/* Look-ups. All accept NULL and return NULL / the fallback when a step is absent or of another type.
 * Borrowed. */
cJSON *json_get(const cJSON *object, const char *key);
cJSON *json_at(const cJSON *json, const char *path);
const char *json_string(const cJSON *json, const char *path); /* NULL if absent or not a string */
const char *json_string_or(const cJSON *json, const char *path, const char *fallback);
int64_t json_int(const cJSON *json, const char *path, int64_t fallback); /* also from Raw integers */
bool json_bool(const cJSON *json, const char *path, bool fallback);
bool json_is_integer(const cJSON *json);
bool json_is_null(const cJSON *json); /* absent (NULL) or JSON null */

/* Writes. `json_set*` replace or add and take ownership of `value`; they return it (borrowed). */
cJSON *json_set(cJSON *object, const char *key, cJSON *value);
cJSON *json_set_string(cJSON *object, const char *key, const char *value); /* NULL value: removes the key */
cJSON *json_set_int(cJSON *object, const char *key, int64_t value);        /* exact over the whole range */
cJSON *json_set_bool(cJSON *object, const char *key, bool value);
cJSON *json_set_at(cJSON *json, const char *path, cJSON *value); /* makes missing objects on the way */
cJSON *json_ensure_object(cJSON *object, const char *key);       /* makes it if absent or of another type */
cJSON *json_ensure_array(cJSON *object, const char *key);
void json_remove(cJSON *object, const char *key);
cJSON *json_copy(const cJSON *json);
cJSON *json_push_string(cJSON *array, const char *value);
cJSON *json_push(cJSON *array, cJSON *value);

/* Deep equality; the order of object keys does not matter, the order of arrays does. 1 and 1.0 are equal. */
bool json_equal(const cJSON *a, const cJSON *b);
/* Keys of objects in the order of their bytes, at every depth. */
void json_sort_keys(cJSON *json);
/* RFC 7386. Returns the merged target (which may be a new node); takes ownership of target, copies from
 * patch. */
cJSON *json_merge_patch(cJSON *target, const cJSON *patch);
/* RFC 6902 on *target in place; atomic: on failure the target is unchanged. ERR_BAD_REQUEST / ERR_INVALID. */
int json_apply_patch(cJSON **target, const cJSON *operations, struct err **err);
/* kubectl's jsonpath ("{.items[*].metadata.name}", range/end, filters ?(@.a=="b"), wildcards, quoted text).
 */
int json_path_print(const cJSON *json, const char *expression, struct str *out, struct err **err);
/* ERR_TOO_LARGE beyond so many nodes on the way, or more than so many bytes in `out`. */
int json_path_print_bounded(const cJSON *json, const char *expression, size_t results_max, size_t output_max,
                            struct str *out, struct err **err);

/* Look-ups and writes by key in one object: never quadratic, however many. While it stands the object's
 * fields change only through json_keys_set, and a key that was not there at first is looked up or set once
 * (as keys of one parsed object are). Must end before the object does. */
struct json_key;
struct json_keys {
    cJSON *object;
    struct json_key *sorted; /* NULL: few enough for plain search */
    size_t n;
    char *text;
};
void json_keys_init(struct json_keys *keys, const cJSON *object,
                    size_t n); /* n: about so many keys to come */
void json_keys_fini(struct json_keys *keys);
cJSON *json_keys_get(const struct json_keys *keys, const char *key);         /* like json_get */
cJSON *json_keys_set(struct json_keys *keys, const char *key, cJSON *value); /* like json_set */
/* The fields of `from` that are strings, each as json_set_string would. */
void json_set_strings(cJSON *object, const cJSON *from);
#define auto_json_keys __attribute__((cleanup(json_keys_fini))) struct json_keys

/* Objects and arrays within each other; 0: a scalar. */
unsigned json_depth(const cJSON *json);

#define json_each(item, parent) for (cJSON *item = (parent) ? (parent)->child : NULL; item; item = item->next)

#endif
