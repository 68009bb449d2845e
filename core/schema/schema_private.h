/*
 * schema_private: the compiled form of kinds, shared by the files of this folder only.
 *
 * Strings in compiled types are borrowed from the definition's JSON, which the registry keeps for ever, so a
 * compiled type may be used without a lock from any thread.
 */
#ifndef M8_SCHEMA_SCHEMA_PRIVATE_H
#define M8_SCHEMA_SCHEMA_PRIVATE_H

#include <pthread.h>
#include <regex.h>

#include "schema/schema.h"
#include "schema/schema_fields.h"

#define SCHEMA_MAX_FIELDS 512 /* per object type: passes keep a bit per field on the stack */
/* Bounds where a definition sets none, so that a hostile body cannot make quadratic work expensive. */
#define SCHEMA_MAX_ITEMS 10000      /* of a list */
#define SCHEMA_MAX_KEYED_ITEMS 1000 /* of a list with a merge key */
#define SCHEMA_MAX_PROPERTIES 10000 /* of a map */

enum schema_type_kind {
    TYPE_ANY,
    TYPE_OBJECT,
    TYPE_LIST,
    TYPE_MAP,
    TYPE_STRING,
    TYPE_INTEGER,
    TYPE_NUMBER,
    TYPE_BOOLEAN
};

enum schema_format {
    FORMAT_NONE,
    FORMAT_QUANTITY,
    FORMAT_INT_OR_STRING,
    FORMAT_INT_OR_PERCENT,
    FORMAT_PORT_OR_NAME,
    FORMAT_PORT,
    FORMAT_DNS_LABEL,
    FORMAT_DNS_SUBDOMAIN,
    FORMAT_LABEL_KEY,
    FORMAT_LABEL_VALUE,
    FORMAT_CONFIG_KEY,
    FORMAT_ENV_NAME,
    FORMAT_TIME,
    FORMAT_DURATION,
    FORMAT_IP,
    FORMAT_IPV4,
    FORMAT_CIDR,
    FORMAT_BYTE,
    FORMAT_ABSOLUTE_PATH,
    FORMAT_COUNT
};

enum schema_patch {
    PATCH_NONE,
    PATCH_REPLACE,
    PATCH_RETAIN_KEYS,
    PATCH_MERGE /* a set of scalars, or by merge_key */
};

struct schema_type;
struct schema_path;
struct validation;

/* Named rules in C: cross-field defaults and checks that data cannot say. */
typedef void schema_default_hook(cJSON *object);
typedef void schema_rule(struct validation *v, const cJSON *json, const cJSON *old,
                         const struct schema_path *path);

struct schema_field {
    const char *name;
    size_t name_len;
    struct schema_type *type;
    const char *description;
    const char *type_name; /* the named type it refers to, or NULL */
    const cJSON *fallback; /* default value */
    const char *refused;   /* message: using the field is an error */
    bool required, immutable;
    bool pending;     /* accepted, takes effect in a later version: a warning */
    bool zero_unset;  /* 0 and false mean "not set", as for Go's non-pointer fields */
    bool empty_unset; /* an empty list or map means "not set", as Go leaves it out */
    bool keep_empty;  /* "" is a value; otherwise an empty string means "not set" */
};

struct schema_type {
    enum schema_type_kind kind;
    enum schema_format format;
    enum schema_patch patch;
    const char *name; /* named type, or NULL */
    const char *description;
    const char *message_name;
    const struct schema_message *message; /* Kubernetes' message behind it, or NULL */
    schema_default_hook *hook;
    schema_rule *rule;
    bool atomic; /* has one owner as a whole (server-side apply) */

    /* object */
    struct schema_field *fields; /* sorted by name */
    size_t n_fields;
    uint16_t *slots; /* open addressing: field index + 1 */
    size_t slot_mask;
    bool open; /* unknown fields are kept without a word */

    /* list and map */
    struct schema_type *items;
    const char *items_name;
    const char *merge_key;
    const cJSON *map_keys; /* names of fields that together tell elements apart, if not merge_key alone */
    bool unique;           /* two items with the same merge_key are an error */
    int64_t min_items, max_items;

    /* map */
    enum schema_format key_format;
    int64_t max_properties;

    /* string and integer */
    const cJSON *values; /* enum */
    regex_t *pattern;
    const char *pattern_text;
    bool has_min, has_max;
    double min, max;
    int64_t min_length, max_length;

    struct schema_type *next_allocated;
};

/* A field path such as spec.containers[*].env[*].name, taken apart. */
struct schema_steps {
    const char *text; /* as given */
    char **names;     /* "*" for all items of a list or map */
    size_t count;
};

struct schema_reference {
    const char *resource;
    struct schema_steps steps;
    const char *beside; /* only where this field stands beside the last step; the name is then OBJECT-VALUE */
};

/* now: wall clock. Appends nothing; returns the cell's value (owned). */
typedef cJSON *schema_column_function(const cJSON *object, int64_t now_wall_ns);

struct schema_column {
    const char *name, *type, *format, *description, *path, *empty;
    const char *json_path; /* of a user's column that is more than a path; NULL: path it is */
    int64_t priority;
    bool count;
    schema_column_function *function;
};

struct schema_kind {
    struct schema_kind_info info;
    struct schema *schema;
    const cJSON *definition;
    struct schema_type *root;
    const cJSON *subresources;
    const char *name_rule;
    bool custom; /* written by a user: no word of ours counts */
    bool served; /* false: parsed from files only */

    struct schema_steps *indexed, *matched;
    size_t n_indexed, n_matched;
    struct schema_reference *references;
    size_t n_references;
    const char *node; /* path of the name of the node that an object of this kind is for; NULL: of none */
    struct schema_column *columns;
    size_t n_columns;
    const char **generation; /* paths */
    size_t n_generation;
    schema_rule **rules;
    size_t n_rules;

    bool replaced;   /* by a later definition of the same kind */
    char *owned[4];  /* strings of info that were made here */
    void *arrays[2]; /* short names and categories */
    struct schema_kind *next;
};

struct schema {
    pthread_rwlock_t lock;
    struct schema_kind *kinds, *last_kind; /* in order of addition, also replaced ones */
    struct map by_path;                    /* "group/version/plural" */
    struct map by_kind;                    /* "apiVersion/Kind" */
    struct map by_resource;                /* "deployments.apps" */
    struct map type_sources;               /* name → definition of a named type */
    struct map type_compiled;              /* name → struct schema_type */
    struct schema_type *types;             /* all, for freeing */
    cJSON *definitions;                    /* array of every definition ever added */
};

/* --- paths: built on the stack while walking, printed only for a message --- */
struct schema_path {
    const struct schema_path *up;
    const char *key; /* field or map key; NULL: index */
    int index;
    bool in_map;
};
char *schema_path_print(const struct schema_path *path); /* caller frees; "" for the root */
#define SCHEMA_FIELD(parent, name) (&(struct schema_path){.up = (parent), .key = (name)})
#define SCHEMA_INDEX(parent, i) (&(struct schema_path){.up = (parent), .index = (int)(i)})

/* --- types --- */
const struct schema_field *schema_type_field(const struct schema_type *type, const char *name);
const char *
schema_type_word(const struct schema_type *type); /* "string", "Object", "[]string": for explain */
struct schema_type *schema_compile_root(struct schema *schema, struct schema_kind *kind, struct err **err);
void schema_type_free(struct schema_type *type);
/* Whether the schema of a user's definition compiles. */
int schema_try_json_path(const char *json_path,
                         struct err **err); /* of a user's column: can it be evaluated? */
int schema_try_custom(const cJSON *openapi_schema, struct err **err);
int schema_compile_columns(struct schema_kind *kind, struct err **err);

/* --- named functions; NULL if unknown --- */
schema_default_hook *schema_hook_named(const char *name);
schema_rule *schema_rule_named(const char *name);
schema_column_function *schema_column_named(const char *name);

/* --- formats --- */
int schema_format_named(const char *name); /* -1 if unknown */
/* NULL when fine, else what it must be (static text). */
const char *schema_format_check(enum schema_format format, const cJSON *value);
bool schema_format_takes_number(
    enum schema_format format); /* the JSON value may be a number as well as a string */

/* --- validation --- */
struct validation {
    const struct schema_kind *kind;
    struct err *err; /* collected causes */
    const cJSON *root, *old_root;
    bool skip_status; /* its faults are not this writer's */
    bool too_many;    /* something is too long: rules are not run on it */
};
void invalid_value(struct validation *v, const struct schema_path *path, const cJSON *value,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));
void invalid_required(struct validation *v, const struct schema_path *path, const char *detail);
void invalid_forbidden(struct validation *v, const struct schema_path *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void invalid_not_found(struct validation *v, const struct schema_path *path, const cJSON *value);
void invalid_too_long(struct validation *v, const struct schema_path *path, long long max_bytes);
void invalid_duplicate(struct validation *v, const struct schema_path *path, const cJSON *value);
void invalid_unsupported(struct validation *v, const struct schema_path *path, const cJSON *value,
                         const cJSON *supported);
void invalid_immutable(struct validation *v, const struct schema_path *path, const cJSON *value);

/* Tables of rules and hooks, one per source file, ended by a NULL name. */
struct schema_named_rule {
    const char *name;
    schema_rule *rule;
};
extern const struct schema_named_rule schema_rules_meta[], schema_rules_pod[], schema_rules_container[],
    schema_rules_kinds[], schema_rules_storage[], schema_rules_workloads[], schema_rules_scheduling[],
    schema_rules_autoscaling[], schema_rules_quota[], schema_rules_ingress[], schema_rules_slurm[];
struct schema_named_column {
    const char *name;
    schema_column_function *function;
};
extern const struct schema_named_column schema_columns_pod[], schema_columns_kinds[],
    schema_columns_storage[], schema_columns_workloads[], schema_columns_autoscaling[],
    schema_columns_quota[], schema_columns_ingress[];

/* One bit per field of the type at hand. */
struct schema_seen {
    uint64_t bits[SCHEMA_MAX_FIELDS / 64];
};
static inline void seen_set(struct schema_seen *seen, size_t i)
{
    seen->bits[i / 64] |= UINT64_C(1) << (i % 64);
}
static inline bool seen_has(const struct schema_seen *seen, size_t i)
{
    return seen->bits[i / 64] >> (i % 64) & 1;
}

#endif
