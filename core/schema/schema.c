/*
 * schema: the registry. Adds kinds, finds them by path, Kind, resource or a word that a user types. Compiling
 * types is schema_compile.c. Invariants: definitions, kinds and types are never freed before the registry, so
 * a borrowed kind stays good without a lock; the maps only ever point to the newest definition.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/quantity.h"
#include "schema/schema_private.h"

struct schema *schema_new(void)
{
    struct schema *schema = NEW(struct schema);
    must(pthread_rwlock_init(&schema->lock, NULL) == 0);
    schema->definitions = cJSON_CreateArray();
    return schema;
}

static void steps_fini(struct schema_steps *steps)
{
    free(steps->names);
}

static void kind_free(struct schema_kind *kind)
{
    for (size_t i = 0; i < kind->n_indexed; i++)
        steps_fini(&kind->indexed[i]);
    for (size_t i = 0; i < kind->n_matched; i++)
        steps_fini(&kind->matched[i]);
    for (size_t i = 0; i < kind->n_references; i++)
        steps_fini(&kind->references[i].steps);
    for (size_t i = 0; i < COUNT_OF(kind->owned); i++)
        free(kind->owned[i]);
    for (size_t i = 0; i < COUNT_OF(kind->arrays); i++)
        free(kind->arrays[i]);
    free(kind->indexed);
    free(kind->matched);
    free(kind->references);
    free(kind->columns);
    free(kind->generation);
    free(kind->rules);
    free(kind);
}

void schema_free(struct schema *schema)
{
    if (!schema)
        return;
    map_fini(&schema->by_path);
    map_fini(&schema->by_kind);
    map_fini(&schema->by_resource);
    map_fini(&schema->type_sources);
    map_fini(&schema->type_compiled);
    for (struct schema_kind *kind = schema->kinds, *next; kind; kind = next) {
        next = kind->next;
        kind_free(kind);
    }
    for (struct schema_type *type = schema->types, *next; type; type = next) {
        next = type->next_allocated;
        schema_type_free(type);
    }
    cJSON_Delete(schema->definitions);
    pthread_rwlock_destroy(&schema->lock);
    free(schema);
}

static const char **string_array(struct schema_kind *kind, int slot, const cJSON *json)
{
    const char **array = mem_array((size_t)(json ? cJSON_GetArraySize(json) : 0) + 1, sizeof(*array));
    size_t n = 0;
    json_each (item, json) {
        if (cJSON_IsString(item))
            array[n++] = item->valuestring;
    }
    kind->arrays[slot] = array;
    return array;
}

static void lower(char *text)
{
    for (; *text; text++)
        *text = (char)tolower((unsigned char)*text);
}

static int require_words(const cJSON *definition, struct err **err)
{
    static const char *const words[] = {"version", "kind", "plural", "scope"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (str_empty(json_string(definition, words[i])))
            return err_add_cause(err, "FieldValueRequired", words[i], "Required value");
    }
    const char *scope = json_string(definition, "scope");
    if (strcmp(scope, "Namespaced") != 0 && strcmp(scope, "Cluster") != 0)
        return err_add_cause(err, "FieldValueNotSupported", "scope",
                             "Unsupported value: \"%s\": supported values: \"Namespaced\", \"Cluster\"",
                             scope);
    return 0;
}

static void fill_info(struct schema_kind *kind)
{
    const cJSON *definition = kind->definition;
    struct schema_kind_info *info = &kind->info;
    info->group = json_string_or(definition, "group", "");
    info->version = json_string(definition, "version");
    info->kind = json_string(definition, "kind");
    info->plural = json_string(definition, "plural");
    kind->owned[0] = mem_strdup(json_string_or(definition, "singular", info->kind));
    lower(kind->owned[0]);
    info->singular = kind->owned[0];
    kind->owned[1] = mem_printf("%sList", info->kind);
    info->list_kind = json_string_or(definition, "listKind", kind->owned[1]);
    kind->owned[2] =
        *info->group ? mem_printf("%s/%s", info->group, info->version) : mem_strdup(info->version);
    info->api_version = kind->owned[2];
    kind->owned[3] = *info->group ? mem_printf("%s.%s", info->plural, info->group) : mem_strdup(info->plural);
    info->resource = kind->owned[3];
    info->short_names = string_array(kind, 0, json_get(definition, "shortNames"));
    info->categories = string_array(kind, 1, json_get(definition, "categories"));
    info->namespaced = strcmp(json_string(definition, "scope"), "Namespaced") == 0;
    const cJSON *is_volatile = json_get(definition, "volatile");
    info->is_volatile = cJSON_IsTrue(is_volatile) || cJSON_IsArray(is_volatile);
    info->every_node = json_bool(definition, "everyNode", false) && !kind->custom;
    info->custom = kind->custom;
    info->deprecation = json_string(definition, "deprecation");
    info->has_references = json_get(definition, "references") != NULL;
    info->read_only = json_bool(definition, "readOnly", false);
    info->sealed = json_bool(definition, "sealed", false);
    kind->subresources = json_get(definition, "subresources");
    info->has_status = json_get(kind->subresources, "status") != NULL;
    info->has_scale = json_get(kind->subresources, "scale") != NULL;
    info->schema_version = (uint16_t)json_int(definition, "schemaVersion", 1);
    kind->name_rule = json_string_or(definition, "nameRule", "subdomain");
    kind->served = json_bool(definition, "served", true);
}

/* "spec.containers[*].name" or "spec.containers.*.name" → names; one allocation. */
static struct schema_steps steps_new(const char *text)
{
    struct schema_steps steps = {.text = text};
    auto_str plain = {0};
    for (const char *p = *text == '.' ? text + 1 : text; *p; p++) {
        if (*p == '[')
            str_add_char(&plain, '.');
        else if (*p != ']')
            str_add_char(&plain, *p);
    }
    steps.names = str_split(str_c(&plain), '.', &steps.count);
    return steps;
}

static struct schema_steps *steps_array(const cJSON *json, size_t *count)
{
    struct schema_steps *array = mem_array((size_t)(json ? cJSON_GetArraySize(json) : 0) + 1, sizeof(*array));
    json_each (item, json) {
        if (cJSON_IsString(item))
            array[(*count)++] = steps_new(item->valuestring);
    }
    return array;
}

static int fill_paths(struct schema_kind *kind, struct err **err)
{
    const cJSON *definition = kind->definition;
    kind->indexed = steps_array(json_get(definition, "indexed"), &kind->n_indexed);
    kind->matched = steps_array(json_get(definition, "matched"), &kind->n_matched);
    const cJSON *references = json_get(definition, "references");
    kind->references =
        mem_array((size_t)(references ? cJSON_GetArraySize(references) : 0) + 1, sizeof(*kind->references));
    json_each (item, references) {
        const char *resource = json_string(item, "resource"), *path = json_string(item, "path");
        if (!resource || !path)
            return err_add_cause(err, "FieldValueRequired", "references",
                                 "Required value: resource and path");
        kind->references[kind->n_references++] =
            (struct schema_reference){resource, steps_new(path), json_string(item, "beside")};
    }
    kind->node = kind->custom ? NULL : json_string(definition, "node");
    const cJSON *generation = json_get(definition, "generation");
    kind->generation =
        mem_array((size_t)(generation ? cJSON_GetArraySize(generation) : 0) + 1, sizeof(*kind->generation));
    json_each (item, generation) {
        if (cJSON_IsString(item))
            kind->generation[kind->n_generation++] = item->valuestring;
    }
    if (!generation)
        kind->generation[kind->n_generation++] = "spec";
    const cJSON *rules = kind->custom ? NULL : json_get(definition, "validators");
    kind->rules = mem_array((size_t)(rules ? cJSON_GetArraySize(rules) : 0) + 1, sizeof(*kind->rules));
    json_each (item, rules) {
        schema_rule *rule = cJSON_IsString(item) ? schema_rule_named(item->valuestring) : NULL;
        if (!rule)
            return err_add_cause(err, "FieldValueInvalid", "validators", "unknown validator %s",
                                 cJSON_IsString(item) ? item->valuestring : "(not a string)");
        kind->rules[kind->n_rules++] = rule;
    }
    return 0;
}

static void enter(struct schema *schema, struct schema_kind *kind)
{
    const struct schema_kind_info *info = &kind->info;
    auto_free char *path = mem_printf("%s/%s/%s", info->group, info->version, info->plural);
    auto_free char *by_kind = mem_printf("%s/%s", info->api_version, info->kind);
    struct schema_kind *old = map_get(&schema->by_path, path);
    if (old)
        old->replaced = true;
    map_set(&schema->by_path, path, kind);
    map_set(&schema->by_kind, by_kind, kind);
    struct schema_kind *same_resource = map_get(&schema->by_resource, info->resource);
    if (!same_resource || same_resource->replaced)
        map_set(&schema->by_resource, info->resource, kind);
    if (schema->last_kind)
        schema->last_kind->next = kind;
    else
        schema->kinds = kind;
    schema->last_kind = kind;
}

/* Every object has these, so no definition needs to say them. */
static void complete_root(cJSON *definition)
{
    cJSON *schema = json_get(definition, "schema");
    if (!schema) {
        schema = json_ensure_object(definition, "schema");
        json_set_bool(schema, "x-kubernetes-preserve-unknown-fields", true);
    }
    static const char *const texts[] = {"apiVersion", "Group and version of the kind.", "kind",
                                        "Name of the kind."};
    cJSON *properties = json_ensure_object(schema, "properties");
    for (size_t i = 0; i < COUNT_OF(texts); i += 2) {
        cJSON *field = json_ensure_object(properties, texts[i]);
        json_set_string(field, "type", "string");
        json_set_string(field, "description", texts[i + 1]);
    }
    cJSON *metadata = cJSON_CreateObject();
    json_set_string(metadata, "ref", "ObjectMeta");
    json_set_string(metadata, "description", "Name, labels and what the server notes about the object.");
    json_set(properties, "metadata", metadata);
}

static int add_kind(struct schema *schema, cJSON *definition, bool custom, struct err **err)
{
    if (require_words(definition, err))
        return -1;
    complete_root(definition);
    struct schema_kind *kind = NEW(struct schema_kind);
    kind->schema = schema;
    kind->definition = definition;
    kind->custom = custom;
    fill_info(kind);
    kind->root = schema_compile_root(schema, kind, err);
    if (!kind->root || fill_paths(kind, err) || schema_compile_columns(kind, err)) {
        err_wrap(err, "kind %s", kind->info.kind);
        kind_free(kind);
        return -1;
    }
    enter(schema, kind);
    return 0;
}

static void add_types(struct schema *schema, const cJSON *types)
{
    json_each (type, types)
        map_set(&schema->type_sources, type->string, type);
    map_fini(&schema->type_compiled);
}

static int add(struct schema *schema, const cJSON *definition, bool custom, struct err **err)
{
    if (!cJSON_IsObject(definition))
        return err_set(err, ERR_INVALID, "a kind's definition must be an object");
    pthread_rwlock_wrlock(&schema->lock);
    cJSON *kept = json_push(schema->definitions, json_copy(definition));
    const cJSON *types = custom ? NULL : json_get(kept, "types");
    if (types)
        add_types(schema, types);
    int result = types && !json_get(kept, "kind") ? 0 : add_kind(schema, kept, custom, err);
    pthread_rwlock_unlock(&schema->lock);
    return result;
}

int schema_add(struct schema *schema, const cJSON *definition, struct err **err)
{
    return add(schema, definition, false, err);
}

int schema_add_custom(struct schema *schema, const cJSON *definition, struct err **err)
{
    return add(schema, definition, true, err);
}

int schema_try_custom(const cJSON *openapi_schema, struct err **err)
{
    struct schema *schema = schema_new();
    auto_json types = json_parse_trusted("{\"types\":{\"ObjectMeta\":{\"type\":\"object\"}}}", 42);
    auto_json definition = cJSON_CreateObject();
    static const char *const words[] = {"version", "v1",    "kind",  "Kind",
                                        "plural",  "kinds", "scope", "Cluster"};
    for (size_t i = 0; i < COUNT_OF(words); i += 2)
        json_set_string(definition, words[i], words[i + 1]);
    json_set(definition, "schema", json_copy(openapi_schema));
    int result = schema_add(schema, types, err);
    if (result == 0)
        result = schema_add_custom(schema, definition, err);
    schema_free(schema);
    return result;
}

/* As if it were replaced, by nothing. */
static void withdraw(struct schema *schema, struct schema_kind *kind)
{
    const struct schema_kind_info *info = &kind->info;
    auto_free char *path = mem_printf("%s/%s/%s", info->group, info->version, info->plural);
    auto_free char *by_kind = mem_printf("%s/%s", info->api_version, info->kind);
    kind->replaced = true;
    map_remove(&schema->by_path, path);
    if (map_get(&schema->by_kind, by_kind) == kind)
        map_remove(&schema->by_kind, by_kind);
    if (map_get(&schema->by_resource, info->resource) == kind)
        map_remove(&schema->by_resource, info->resource);
}

static bool has_word(const char *const *words, const char *word)
{
    while (*words && !str_eq(*words, word))
        words++;
    return *words != NULL;
}

void schema_keep_versions(struct schema *schema, const char *resource, const char *const *versions)
{
    pthread_rwlock_wrlock(&schema->lock);
    struct schema_kind *stays = NULL;
    for (struct schema_kind *kind = schema->kinds; kind; kind = kind->next) {
        if (kind->replaced || !kind->custom || !str_eq(kind->info.resource, resource))
            continue;
        if (!has_word(versions, kind->info.version))
            withdraw(schema, kind);
        else if (!stays)
            stays = kind;
    }
    if (stays && !map_has(&schema->by_resource, resource))
        map_set(&schema->by_resource, resource, stays);
    pthread_rwlock_unlock(&schema->lock);
}

cJSON *schema_definitions(struct schema *schema)
{
    cJSON *list = cJSON_CreateArray();
    pthread_rwlock_rdlock(&schema->lock);
    cJSON *types = json_ensure_object(json_push(list, cJSON_CreateObject()), "types");
    map_each (type, &schema->type_sources)
        json_set(types, type->key, json_copy(type->value));
    for (const struct schema_kind *kind = schema->kinds; kind; kind = kind->next) {
        if (kind->replaced)
            continue;
        cJSON *definition = json_push(list, json_copy(kind->definition));
        json_remove(definition, "types");
        if (kind->custom)
            json_set_bool(definition, "custom", true);
    }
    pthread_rwlock_unlock(&schema->lock);
    return list;
}

int schema_add_all(struct schema *schema, const cJSON *definitions, struct err **err)
{
    for (int pass = 0; pass < 2; pass++) {
        json_each (definition, definitions) {
            bool only_types = json_get(definition, "types") && !json_get(definition, "kind");
            if (only_types == (pass == 0) &&
                add(schema, definition, json_bool(definition, "custom", false), err))
                return -1;
        }
    }
    return 0;
}

const struct schema_kind_info *schema_kind_info(const struct schema_kind *kind)
{
    return &kind->info;
}

static const struct schema_kind *find(struct schema *schema, const struct map *map, const char *key)
{
    pthread_rwlock_rdlock(&schema->lock);
    const struct schema_kind *kind = map_get(map, key);
    pthread_rwlock_unlock(&schema->lock);
    return kind && kind->served ? kind : NULL;
}

const struct schema_kind *schema_find(struct schema *schema, const char *group, const char *version,
                                      const char *plural)
{
    auto_free char *key = mem_printf("%s/%s/%s", group, version, plural);
    return find(schema, &schema->by_path, key);
}

const struct schema_kind *schema_find_kind(struct schema *schema, const char *api_version, const char *kind)
{
    if (!api_version || !kind)
        return NULL;
    auto_free char *key = mem_printf("%s/%s", api_version, kind);
    pthread_rwlock_rdlock(&schema->lock);
    const struct schema_kind *found = map_get(&schema->by_kind, key);
    pthread_rwlock_unlock(&schema->lock);
    return found;
}

const struct schema_kind *schema_find_resource(struct schema *schema, const char *resource)
{
    return find(schema, &schema->by_resource, resource);
}

static bool is_word(const struct schema_kind_info *info, const char *word, size_t len)
{
    const char *const names[] = {info->plural, info->singular, info->kind};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strlen(names[i]) == len && strncasecmp(names[i], word, len) == 0)
            return true;
    }
    for (const char *const *name = info->short_names; *name; name++) {
        if (strlen(*name) == len && strncasecmp(*name, word, len) == 0)
            return true;
    }
    return false;
}

const struct schema_kind *schema_find_word(struct schema *schema, const char *word)
{
    size_t len = strcspn(word, ".");
    const char *group = word[len] ? word + len + 1 : NULL; /* "deployments.apps", "deployments.v1.apps" */
    const struct schema_kind *found = NULL;
    pthread_rwlock_rdlock(&schema->lock);
    for (const struct schema_kind *kind = schema->kinds; kind && !found; kind = kind->next) {
        if (kind->replaced || !kind->served || !is_word(&kind->info, word, len))
            continue;
        size_t version_len = strlen(kind->info.version);
        bool versioned =
            group && strncmp(group, kind->info.version, version_len) == 0 && group[version_len] == '.';
        if (!group || strcmp(group, kind->info.group) == 0 ||
            (versioned && strcmp(group + version_len + 1, kind->info.group) == 0))
            found = kind;
    }
    pthread_rwlock_unlock(&schema->lock);
    return found;
}

void schema_each(struct schema *schema, void (*visit)(void *arg, const struct schema_kind *kind), void *arg)
{
    pthread_rwlock_rdlock(&schema->lock);
    for (const struct schema_kind *kind = schema->kinds; kind; kind = kind->next) {
        if (!kind->replaced && kind->served)
            visit(arg, kind);
    }
    pthread_rwlock_unlock(&schema->lock);
}

bool schema_has_subresource(const struct schema_kind *kind, const char *name)
{
    return json_get(kind->subresources, name) != NULL;
}

bool schema_is_volatile(const struct schema_kind *kind, const char *namespace, const char *name)
{
    const cJSON *which = json_get(kind->definition, "volatile");
    if (!cJSON_IsArray(which))
        return cJSON_IsTrue(which);
    auto_free char *full = mem_printf("%s/%s", namespace ? namespace : "", name);
    json_each (entry, which) {
        if (cJSON_IsString(entry) &&
            (str_eq(entry->valuestring, namespace) || str_eq(entry->valuestring, full)))
            return true;
    }
    return false;
}

int64_t schema_blob_limit(const struct schema_kind *kind)
{
    int64_t bytes = 0;
    const char *limit = json_string(json_get(kind->subresources, "blobs"), "maxBytes");
    return limit && quantity_value(limit, &bytes, NULL) == 0 ? bytes : 0;
}

char *schema_path_print(const struct schema_path *path)
{
    if (!path || (!path->up && !path->key))
        return mem_strdup("");
    auto_free char *up = schema_path_print(path->up);
    if (!path->key)
        return mem_printf("%s[%d]", up, path->index);
    if (path->in_map)
        return mem_printf("%s[%s]", up, path->key);
    return *up ? mem_printf("%s.%s", up, path->key) : mem_strdup(path->key);
}
