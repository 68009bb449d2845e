/*
 * schema_openapi: OpenAPI v3 as kubectl and helm need it: one document per group and version with the kinds'
 * schemas (descriptions, types, merge keys) and the PATCH parameter fieldValidation, which makes kubectl
 * leave validation to the server. Paths beyond those are left out. Named types are components; everything
 * else stands in place.
 */
#include <string.h>

#include "schema/schema_private.h"

#define REF "#/components/schemas/"

struct openapi {
    cJSON *paths, *schemas;
    const char *group_version;
    bool found;
};

static cJSON *type_schema(struct openapi *api, const struct schema_type *type);

static char *component_name(const char *type_name)
{
    return mem_printf("io.minik8s.types.%s", type_name);
}

/* The type in place, or a reference to its component (which is added when it is met first). */
static cJSON *type_or_ref(struct openapi *api, const struct schema_type *type)
{
    if (!type->name || type->kind != TYPE_OBJECT)
        return type_schema(api, type);
    auto_free char *name = component_name(type->name);
    if (!json_get(api->schemas, name)) {
        json_set(api->schemas, name, cJSON_CreateObject()); /* first, so that a type may contain itself */
        json_set(api->schemas, name, type_schema(api, type));
    }
    auto_free char *ref = mem_printf(REF "%s", name);
    cJSON *object = cJSON_CreateObject();
    json_set_string(object, "$ref", ref);
    return object;
}

static cJSON *field_schema(struct openapi *api, const struct schema_field *field)
{
    cJSON *schema = type_or_ref(api, field->type);
    if (json_get(schema, "$ref")) { /* nothing may stand beside a $ref */
        cJSON *wrapped = cJSON_CreateObject();
        json_push(json_ensure_array(wrapped, "allOf"), schema);
        schema = wrapped;
    }
    if (field->description)
        json_set_string(schema, "description", field->description);
    if (field->fallback)
        json_set(schema, "default", json_copy(field->fallback));
    return schema;
}

static void add_patch_words(cJSON *schema, const struct schema_type *type)
{
    const char *strategy = NULL;
    if (type->kind == TYPE_LIST && (type->merge_key || type->patch == PATCH_MERGE))
        strategy = "merge";
    else if (type->kind == TYPE_LIST)
        json_set_string(schema, "x-kubernetes-list-type", "atomic");
    if (type->merge_key) {
        json_set_string(schema, "x-kubernetes-patch-merge-key", type->merge_key);
        json_set_string(schema, "x-kubernetes-list-type", "map");
        if (type->map_keys)
            json_set(schema, "x-kubernetes-list-map-keys", json_copy(type->map_keys));
        else
            json_push_string(json_ensure_array(schema, "x-kubernetes-list-map-keys"), type->merge_key);
    } else if (strategy) {
        json_set_string(schema, "x-kubernetes-list-type", "set");
    }
    if (type->atomic)
        json_set_string(schema, "x-kubernetes-map-type", "atomic");
    if (type->patch == PATCH_RETAIN_KEYS)
        strategy = strategy ? "merge,retainKeys" : "retainKeys";
    else if (type->patch == PATCH_REPLACE)
        strategy = "replace";
    if (strategy)
        json_set_string(schema, "x-kubernetes-patch-strategy", strategy);
}

static void object_schema(struct openapi *api, cJSON *schema, const struct schema_type *type)
{
    json_set_string(schema, "type", "object");
    if (type->open)
        json_set_bool(schema, "x-kubernetes-preserve-unknown-fields", true);
    cJSON *properties = type->n_fields ? json_ensure_object(schema, "properties") : NULL;
    for (size_t i = 0; i < type->n_fields; i++) {
        json_set(properties, type->fields[i].name, field_schema(api, &type->fields[i]));
        if (type->fields[i].required)
            json_push_string(json_ensure_array(schema, "required"), type->fields[i].name);
    }
}

static cJSON *type_schema(struct openapi *api, const struct schema_type *type)
{
    cJSON *schema = cJSON_CreateObject();
    if (type->description)
        json_set_string(schema, "description", type->description);
    switch (type->kind) {
    case TYPE_OBJECT:
        object_schema(api, schema, type);
        break;
    case TYPE_MAP:
        json_set_string(schema, "type", "object");
        if (type->items)
            json_set(schema, "additionalProperties", type_or_ref(api, type->items));
        break;
    case TYPE_LIST:
        json_set_string(schema, "type", "array");
        json_set(schema, "items", type_or_ref(api, type->items));
        break;
    case TYPE_ANY:
        json_set_bool(schema, "x-kubernetes-preserve-unknown-fields", true);
        break;
    case TYPE_STRING:
        if (schema_format_takes_number(type->format)) {
            json_set_string(schema, "format", "int-or-string");
            json_push(json_ensure_array(schema, "oneOf"), json_parse_trusted("{\"type\":\"integer\"}", 18));
            json_push(json_ensure_array(schema, "oneOf"), json_parse_trusted("{\"type\":\"string\"}", 17));
        } else {
            json_set_string(schema, "type", "string");
        }
        break;
    default:
        json_set_string(schema, "type", schema_type_word(type));
        break;
    }
    if (type->values)
        json_set(schema, "enum", json_copy(type->values));
    add_patch_words(schema, type);
    return schema;
}

static cJSON *gvk(const struct schema_kind *kind)
{
    cJSON *object = cJSON_CreateObject();
    json_set_string(object, "group", kind->info.group);
    json_set_string(object, "version", kind->info.version);
    json_set_string(object, "kind", kind->info.kind);
    return object;
}

static void add_parameter(cJSON *parameters, const char *name)
{
    cJSON *parameter = json_push(parameters, cJSON_CreateObject());
    json_set_string(parameter, "name", name);
    json_set_string(parameter, "in", "query");
    json_set_string(json_ensure_object(parameter, "schema"), "type", "string");
}

static void add_path(struct openapi *api, const struct schema_kind *kind)
{
    auto_free char *path =
        mem_printf("/%s/%s%s%s/{name}", *kind->info.group ? "apis" : "api", kind->info.api_version,
                   kind->info.namespaced ? "/namespaces/{namespace}/" : "/", kind->info.plural);
    cJSON *patch = json_ensure_object(json_set(api->paths, path, cJSON_CreateObject()), "patch");
    cJSON *parameters = json_ensure_array(patch, "parameters");
    add_parameter(parameters, "dryRun");
    add_parameter(parameters, "fieldManager");
    add_parameter(parameters, "fieldValidation");
    json_set(patch, "x-kubernetes-group-version-kind", gvk(kind));
    json_set_string(json_ensure_object(json_ensure_object(patch, "responses"), "200"), "description", "OK");
}

/* io.k8s.api.apps.v1.Deployment */
static char *kind_component(const struct schema_kind *kind)
{
    size_t group_len = strcspn(kind->info.group, ".");
    return mem_printf("io.k8s.api.%.*s.%s.%s", group_len ? (int)group_len : 4,
                      group_len ? kind->info.group : "core", kind->info.version, kind->info.kind);
}

static void add_kind(void *arg, const struct schema_kind *kind)
{
    struct openapi *api = arg;
    if (strcmp(kind->info.api_version, api->group_version) != 0)
        return;
    api->found = true;
    add_path(api, kind);
    auto_free char *name = kind_component(kind);
    cJSON *schema = json_set(api->schemas, name, type_schema(api, kind->root));
    json_push(json_ensure_array(schema, "x-kubernetes-group-version-kind"), gvk(kind));
}

cJSON *schema_openapi_v3(struct schema *schema, const char *path)
{
    bool core = str_starts(path, "api/");
    if (!core && !str_starts(path, "apis/"))
        return NULL;
    auto_json document = cJSON_CreateObject();
    json_set_string(document, "openapi", "3.0.0");
    cJSON *info = json_ensure_object(document, "info");
    json_set_string(info, "title", "minik8s");
    json_set_string(info, "version", "v1");
    struct openapi api = {.paths = json_ensure_object(document, "paths"),
                          .schemas =
                              json_ensure_object(json_ensure_object(document, "components"), "schemas"),
                          .group_version = path + (core ? 4 : 5)};
    if (core == (strchr(api.group_version, '/') != NULL))
        return NULL;
    schema_each(schema, add_kind, &api);
    return api.found ? steal(&document) : NULL;
}

struct index {
    cJSON *paths;
    unsigned long long hash;
};

static void hash_kind(void *arg, const struct schema_kind *kind)
{
    struct index *index = arg;
    auto_free char *text = json_print(kind->definition);
    index->hash = index->hash * 1099511628211u ^ str_hash(text, strlen(text));
}

static void add_to_index(void *arg, const struct schema_kind *kind)
{
    struct index *index = arg;
    auto_free char *path = mem_printf("%s/%s", *kind->info.group ? "apis" : "api", kind->info.api_version);
    if (json_get(index->paths, path))
        return;
    auto_free char *url = mem_printf("/openapi/v3/%s?hash=%016llX", path, index->hash);
    json_set_string(json_set(index->paths, path, cJSON_CreateObject()), "serverRelativeURL", url);
}

cJSON *schema_openapi_v3_index(struct schema *schema)
{
    cJSON *document = cJSON_CreateObject();
    struct index index = {.paths = json_ensure_object(document, "paths")};
    schema_each(schema, hash_kind, &index);
    schema_each(schema, add_to_index, &index);
    return document;
}
