/*
 * selector: label selectors ("a=b,c in (x,y),!d"), LabelSelector objects, and field selectors
 * ("metadata.name=x"). Immutable after parsing; matching is thread-safe. Source: Kubernetes label and field
 * selector grammar.
 */
#ifndef M8_BASE_SELECTOR_H
#define M8_BASE_SELECTOR_H

#include "base/json.h"

enum selector_operator {
    SELECTOR_IN,
    SELECTOR_NOT_IN,
    SELECTOR_EXISTS,
    SELECTOR_NOT_EXISTS,
    SELECTOR_GT,
    SELECTOR_LT
};

struct selector_term {
    char *key;
    enum selector_operator operator;
    char **values; /* n_values strings */
    size_t n_values;
};

struct selector {
    struct selector_term *terms; /* all must hold; none: everything matches */
    size_t n_terms;
};

/* Looks a key up in the object at hand: NULL if absent. */
typedef const char *selector_lookup(void *arg, const char *key);

struct selector *selector_parse(const char *text, struct err **err);        /* query form; ERR_BAD_REQUEST */
struct selector *selector_parse_fields(const char *text, struct err **err); /* a=b, a==b, a!=b only */
/* {matchLabels, matchExpressions}, or a plain map as in Service.spec.selector; NULL/empty matches everything.
 */
struct selector *selector_from_json(const cJSON *label_selector, struct err **err);
struct selector *selector_from_map(const cJSON *map);
bool selector_matches(const struct selector *selector, selector_lookup *lookup, void *arg); /* NULL: true */
bool selector_matches_labels(const struct selector *selector, const cJSON *labels);
char *selector_print(const struct selector *selector); /* query form; caller frees */
/* The value of the first `key = value` term (single-valued IN), for choosing an index; NULL if none. */
const char *selector_equality(const struct selector *selector, const char *key);
void selector_free(struct selector *selector);
static inline void selector_cleanup(struct selector **selector)
{
    selector_free(*selector);
}
#define auto_selector __attribute__((cleanup(selector_cleanup))) struct selector *

#endif
