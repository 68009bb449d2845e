/*
 * schema: kinds as pure data (contract 11). A definition is a JSON object (from lua/kinds, later a CRD); the
 * registry compiles it once. Everything that depends on a kind's shape is here: defaults, validation with
 * field paths, unknown and unsupported fields, immutability, merge keys, terms for the store, table columns,
 * discovery, OpenAPI, protobuf. No policy, no storage, no HTTP.
 *
 * Definition (all optional unless marked *): *group, *version, *kind, *plural, singular, shortNames[],
 * categories[], *scope ("Namespaced"/"Cluster"), types {named types, for all later kinds}, volatile (true, or
 * the NAMESPACEs and NAMESPACE/NAMEs whose objects are), everyNode (each node streams all objects of the
 * kind), readOnly (clients get and list only), sealed, subresources {status, scale{specReplicasPath,
 * statusReplicasPath, labelSelectorPath}, names like log, exec, binding, eviction}, *schema (type tree, see
 * README.md of this folder), indexed [field paths], matched [field paths], references [{resource, path}],
 * columns [...], validators [names], generation (paths whose change counts; default spec), nameRule
 * ("subdomain"|"label"|"path"), initialStatus, deprecation (what a user of this version is told), served
 * (false: only read from files, not part of the API).
 *
 * Threads: look-ups and all functions on a kind are safe from any thread; schema_add takes a write lock.
 * Kinds live as long as the registry (a replaced definition is kept until schema_free).
 */
#ifndef M8_SCHEMA_SCHEMA_H
#define M8_SCHEMA_SCHEMA_H

#include "base/json.h"
#include "base/map.h"
#include "base/time.h"

struct schema;
struct schema_kind;

struct schema *schema_new(void);
void schema_free(struct schema *schema);
/* Adds or replaces a kind. ERR_INVALID with causes when the definition is wrong. */
int schema_add(struct schema *schema, const cJSON *definition, struct err **err);
/* The same for a definition that a user wrote (CustomResourceDefinition): only the words of OpenAPI count;
 * ref, hook, rule, refused, column and the like are ignored. */
int schema_add_custom(struct schema *schema, const cJSON *definition, struct err **err);
/* Of a user's definitions of that resource ("widgets.example.com") only these versions stay; NULL-terminated.
 */
void schema_keep_versions(struct schema *schema, const char *resource, const char *const *versions);
/* All of an array of definitions: those with only named types first. Stops at the first wrong one. */
int schema_add_all(struct schema *schema, const cJSON *definitions, struct err **err);

struct schema_kind_info { /* borrowed from the kind */
    const char *group, *version, *kind, *plural, *singular, *list_kind;
    const char *api_version;                            /* "v1", "apps/v1" */
    const char *resource;                               /* store and error name: "pods", "deployments.apps" */
    const char *const *short_names, *const *categories; /* NULL-terminated */
    const char *deprecation; /* what who uses this version is told; NULL: nothing */
    bool is_volatile;        /* at least some of its objects: see schema_is_volatile */
    bool namespaced, every_node, has_references, read_only, sealed, has_status, has_scale;
    bool custom; /* of a user's definition: may be served in several versions, which are the same object */
    uint16_t schema_version;
};
const struct schema_kind_info *schema_kind_info(const struct schema_kind *kind);

const struct schema_kind *schema_find(struct schema *schema, const char *group, const char *version,
                                      const char *plural);
const struct schema_kind *schema_find_kind(struct schema *schema, const char *api_version, const char *kind);
const struct schema_kind *schema_find_resource(struct schema *schema,
                                               const char *resource); /* "deployments.apps" */
/* For commands: plural, singular, short name, Kind, with optional ".group"; NULL if unknown. */
const struct schema_kind *schema_find_word(struct schema *schema, const char *word);
void schema_each(struct schema *schema, void (*visit)(void *arg, const struct schema_kind *kind), void *arg);
bool schema_has_subresource(const struct schema_kind *kind, const char *name);
/* Whether the object lives in memory only: always the same answer for the same namespace and name. */
bool schema_is_volatile(const struct schema_kind *kind, const char *namespace, const char *name);
/* Bytes of blobs that an object of the kind may have (subresource blobs); 0: it has none. */
int64_t schema_blob_limit(const struct schema_kind *kind);

enum schema_strictness { SCHEMA_IGNORE, SCHEMA_WARN, SCHEMA_STRICT };

/* Unknown fields: STRICT → ERR_BAD_REQUEST `strict decoding error: unknown field "spec.x"` (all of them);
 * WARN → one warning each; always removed. Known Kubernetes fields that have no effect here: a warning each,
 * kept. Wrong JSON types → ERR_BAD_REQUEST with path. warnings: array of strings, may be NULL. */
int schema_check(const struct schema_kind *kind, cJSON *object, enum schema_strictness strictness,
                 cJSON *warnings, struct err **err);
/* Fills in defaults, drops nulls; idempotent. */
void schema_default(const struct schema_kind *kind, cJSON *object);
/* Only the part about nulls, at every depth. */
void schema_drop_nulls(const struct schema_kind *kind, cJSON *object);
/* stringData of a Secret is write-only: it moves into data. One of the defaults too. */
void schema_secret_strings(cJSON *secret);
/* The status that a new object of the kind begins with (Pod: phase Pending), or NULL. Caller owns. */
cJSON *schema_initial_status(const struct schema_kind *kind);
/* ERR_INVALID with one cause per wrong field. `old` NULL: create; else also immutability. Validates spec and
 * metadata (and status if status is true). */
int schema_validate(const struct schema_kind *kind, const cJSON *object, const cJSON *old, bool status,
                    struct err **err);
/* True when a part that counts for metadata.generation differs. */
bool schema_spec_changed(const struct schema_kind *kind, const cJSON *old, const cJSON *object);

/* Strategic merge patch with the kind's merge keys and directives; takes target, returns the merged object or
 * NULL. */
cJSON *schema_strategic_merge(const struct schema_kind *kind, cJSON *target, const cJSON *patch,
                              struct err **err);

/* Terms as in store/store.h ("u:=…", "l:k=v", "f:…", "F:…", "o:=…", "r:resource/ns/name="), for the caller to
 * hand on. NULL-terminated array of strings, one allocation. */
char **schema_terms(const struct schema_kind *kind, const cJSON *object, size_t *count);
/* Whether a field selector key is one of the kind's indexed or matched fields (metadata.name/namespace always
 * are). */
bool schema_field_selectable(const struct schema_kind *kind, const char *path);

/* Table (kubernetes-api: server-side printing). Returns the columnDefinitions array / one row's cells array.
 */
cJSON *schema_columns(const struct schema_kind *kind);
cJSON *schema_cells(const struct schema_kind *kind, const cJSON *object, int64_t now_wall_ns);

/* Every definition in force, in the form that schema_add_all takes: for a client that wants the same
 * registry. */
cJSON *schema_definitions(struct schema *schema);

/* Discovery and OpenAPI documents, built from the registry as it is now. Caller owns. */
cJSON *schema_discovery_groups(struct schema *schema);                   /* APIGroupList */
cJSON *schema_discovery_group(struct schema *schema, const char *group); /* APIGroup; NULL if unknown */
cJSON *schema_discovery_resources(struct schema *schema, const char *group,
                                  const char *version);               /* APIResourceList; NULL */
cJSON *schema_discovery_aggregated(struct schema *schema, bool core); /* APIGroupDiscoveryList v2 */
cJSON *schema_openapi_v3_index(struct schema *schema);
cJSON *schema_openapi_v3(struct schema *schema,
                         const char *path); /* "api/v1", "apis/apps/v1"; NULL if unknown */
/* Text of `explain`: kind, field types and descriptions below path ("" or "spec.containers"). ERR_NOT_FOUND
 * with nearest. */
char *schema_explain(const struct schema_kind *kind, const char *path, bool recursive, struct err **err);

/* Protobuf body (k8s\0 envelope) → JSON object with apiVersion and kind. ERR_BAD_REQUEST. The field table is
 * data. */
cJSON *schema_protobuf_decode(const void *data, size_t len, struct err **err);
bool schema_protobuf_is(const void *data, size_t len);

#endif
