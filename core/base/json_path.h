/*
 * json_path: private to core/base. A JSONPath template of kubectl as a tree; json_path_parse.c makes it,
 * json_path.c evaluates it.
 */
#ifndef M8_BASE_JSON_PATH_H
#define M8_BASE_JSON_PATH_H

#include "base/json.h"

#define PATH_NESTING_MAX 16

enum path_kind {
    PATH_FIELD,    /* .key */
    PATH_WILDCARD, /* .* and [*] */
    PATH_RECURSE,  /* .. : the node and all that is below it */
    PATH_SLICE,    /* [begin:end:step] */
    PATH_FILTER,   /* [?(...)] */
    PATH_UNION     /* [a,b] */
};

struct path_step {
    enum path_kind kind;
    char *key;
    long begin, end, step;
    bool has_begin, has_end, single; /* single: [n], where nothing is found out of range */
    struct path_filter *filter;
    struct path *members; /* of a union: n_members paths */
    size_t n_members;
};

struct path {
    bool from_root;
    struct path_step *steps;
    size_t n_steps;
};

struct path_operand {
    struct path path;
    cJSON *literal; /* NULL: the path counts */
};

struct path_filter {
    char operator[3]; /* == != < <= > >= ; empty: the left path leads somewhere */
    struct path_operand left, right;
};

struct path_item {
    char *text; /* literal text when not NULL */
    struct path path;
    bool range;
    struct path_template *body; /* of a range */
};

struct path_template {
    struct path_item *items;
    size_t n_items;
};

/* ERR_BAD_REQUEST with the position. */
struct path_template *path_template_parse(const char *expression, struct err **err);
void path_template_free(struct path_template *template);

#endif
