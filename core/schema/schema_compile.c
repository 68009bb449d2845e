/*
 * schema_compile: definition JSON → compiled type tree. Understands the vocabulary of OpenAPI v3 / CRD
 * schemas plus the words of README.md (ref, mergeKey, rule, hook, pending, refused …). Does not look at
 * objects. Invariants: every field table is sorted and hashed; a named type is compiled once and may contain
 * itself.
 */
#include <string.h>

#include "schema/schema_private.h"

struct compile {
    struct schema *schema;
    struct err *err;
    int depth;
    bool custom; /* the definition is a user's: no word of ours counts */
};

static struct schema_type *compile_type(struct compile *c, const cJSON *json,
                                        const struct schema_message *message, const struct schema_path *path);

static void wrong(struct compile *c, const struct schema_path *path, const char *message, const char *word)
{
    auto_free char *text = schema_path_print(path);
    err_add_cause(&c->err, "FieldValueInvalid", text, "%s%s%s", message, word ? ": " : "", word ? word : "");
}

static struct schema_type *type_new(struct schema *schema)
{
    struct schema_type *type = NEW(struct schema_type);
    type->next_allocated = schema->types;
    schema->types = type;
    type->max_length = INT64_MAX;
    type->max_properties = SCHEMA_MAX_PROPERTIES;
    return type;
}

void schema_type_free(struct schema_type *type)
{
    if (type->pattern) {
        regfree(type->pattern);
        free(type->pattern);
    }
    free(type->fields);
    free(type->slots);
    free(type);
}

/* Looks at the length and three characters: field names of one object rarely agree in all of them, and a
 * collision costs one comparison. */
static size_t name_hash(const char *name, size_t len)
{
    const unsigned char *c = (const unsigned char *)name;
    uint32_t mixed = (uint32_t)len;
    if (len)
        mixed ^= (uint32_t)c[0] << 6 ^ (uint32_t)c[len / 2] << 14 ^ (uint32_t)c[len - 1] << 22;
    mixed *= 2654435769u;
    return mixed ^ mixed >> 15;
}

const struct schema_field *schema_type_field(const struct schema_type *type, const char *name)
{
    if (!type->n_fields)
        return NULL;
    size_t len = strlen(name);
    for (size_t slot = name_hash(name, len) & type->slot_mask;; slot = (slot + 1) & type->slot_mask) {
        uint16_t index = type->slots[slot];
        if (!index)
            return NULL;
        const struct schema_field *field = &type->fields[index - 1];
        if (field->name_len == len && memcmp(field->name, name, len) == 0)
            return field;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct schema_field *)a)->name, ((const struct schema_field *)b)->name);
}

static void hash_fields(struct schema_type *type)
{
    qsort(type->fields, type->n_fields, sizeof(*type->fields), by_name);
    size_t n_slots = 4;
    while (n_slots < type->n_fields * 2)
        n_slots *= 2;
    type->slots = mem_array(n_slots, sizeof(*type->slots));
    type->slot_mask = n_slots - 1;
    for (size_t i = 0; i < type->n_fields; i++) {
        size_t slot = name_hash(type->fields[i].name, type->fields[i].name_len) & type->slot_mask;
        while (type->slots[slot])
            slot = (slot + 1) & type->slot_mask;
        type->slots[slot] = (uint16_t)(i + 1);
    }
}

static const struct schema_message *message_of_field(const struct schema_message *message, const char *name)
{
    const struct schema_message_field *field = schema_message_field_named(message, name);
    return field && field->type == FIELD_MESSAGE && field->message >= 0 ? &schema_messages[field->message]
                                                                        : NULL;
}

static struct schema_type *compile_ref(struct compile *c, const char *name, const struct schema_path *path)
{
    struct schema_type *done = map_get(&c->schema->type_compiled, name);
    if (done)
        return done;
    const cJSON *source = map_get(&c->schema->type_sources, name);
    if (!source) {
        wrong(c, path, "no type of this name", name);
        return NULL;
    }
    bool custom = c->custom;
    c->custom = false;
    struct schema_type *type = compile_type(c, source, NULL, &(struct schema_path){.key = name});
    c->custom = custom;
    return type;
}

static void compile_field(struct compile *c, struct schema_field *field, const cJSON *json,
                          const struct schema_message *message, const struct schema_path *path)
{
    field->name = json->string;
    field->name_len = strlen(json->string);
    field->description = json_string(json, "description");
    field->fallback = json_get(json, "default");
    field->keep_empty = c->custom || json_bool(json, "keepEmpty", false);
    if (!c->custom) {
        field->refused = json_string(json, "refused");
        field->required = json_bool(json, "required", false);
        field->immutable = json_bool(json, "immutable", false);
        field->pending = json_bool(json, "pending", false);
        field->zero_unset = json_bool(json, "zeroUnset", false);
        field->empty_unset = json_bool(json, "emptyUnset", false);
        field->type_name = json_string(json, "ref");
    }
    field->type = compile_type(c, json, message_of_field(message, json->string), path);
}

static void compile_object(struct compile *c, struct schema_type *type, const cJSON *json,
                           const struct schema_path *path)
{
    const cJSON *properties = json_get(json, "properties");
    type->open = json_bool(json, "x-kubernetes-preserve-unknown-fields", false);
    size_t count = 0;
    json_each (child, properties)
        count++;
    if (count > SCHEMA_MAX_FIELDS) {
        wrong(c, path, "too many properties", NULL);
        return;
    }
    type->fields = mem_array(count + 1, sizeof(*type->fields));
    json_each (child, properties)
        compile_field(c, &type->fields[type->n_fields++], child, type->message,
                      SCHEMA_FIELD(path, child->string));
    hash_fields(type);
    const cJSON *required = json_get(json, "required");
    if (!cJSON_IsArray(required))
        return;
    json_each (name, required) {
        struct schema_field *field =
            cJSON_IsString(name) ? (struct schema_field *)schema_type_field(type, name->valuestring) : NULL;
        if (field)
            field->required = true;
    }
}

static void compile_list(struct compile *c, struct schema_type *type, const cJSON *json,
                         const struct schema_message *message, const struct schema_path *path)
{
    const cJSON *items = json_get(json, "items");
    if (!items) {
        wrong(c, path, "a list needs items", NULL);
        return;
    }
    type->items_name = json_string(items, "ref");
    type->items = compile_type(c, items, message, SCHEMA_INDEX(path, 0));
    type->merge_key = c->custom ? NULL : json_string(json, "mergeKey");
    type->unique = !c->custom && json_bool(json, "unique", false);
    type->min_items = json_int(json, "minItems", 0);
    const char *list_type = json_string(json, "x-kubernetes-list-type");
    const char *list_key = json_string(json, "x-kubernetes-list-map-keys[0]");
    if (str_eq(list_type, "map") && list_key) {
        type->merge_key = list_key;
        type->unique = !json_at(json, "x-kubernetes-list-map-keys[1]");
    }
    if (type->merge_key || str_eq(list_type, "set"))
        type->patch = PATCH_MERGE;
    if (type->merge_key && json_at(json, "x-kubernetes-list-map-keys[1]"))
        type->map_keys = json_get(json, "x-kubernetes-list-map-keys");
    type->max_items =
        json_int(json, "maxItems", type->patch == PATCH_MERGE ? SCHEMA_MAX_KEYED_ITEMS : SCHEMA_MAX_ITEMS);
}

static void compile_map(struct compile *c, struct schema_type *type, const cJSON *json,
                        const struct schema_path *path)
{
    const cJSON *values = json_get(json, "additionalProperties");
    type->max_properties = json_int(json, "maxProperties", SCHEMA_MAX_PROPERTIES);
    if (values)
        type->items = compile_type(c, values, NULL, SCHEMA_FIELD(path, "*"));
}

static void compile_pattern(struct compile *c, struct schema_type *type, const cJSON *json,
                            const struct schema_path *path)
{
    type->pattern_text = json_string(json, "pattern");
    if (!type->pattern_text)
        return;
    auto_str text = {0}; /* definitions are written for RE2: the class that POSIX lacks is spelled out */
    for (const char *p = type->pattern_text; *p; p++) {
        if (p[0] == '\\' && p[1] == 'd') {
            str_add(&text, "[0-9]");
            p++;
        } else if (p[0] == '(' && p[1] == '?' && p[2] == ':') {
            str_add_char(&text, '(');
            p += 2;
        } else {
            str_add_char(&text, *p);
            if (p[0] == '\\' && p[1])
                str_add_char(&text, *++p);
        }
    }
    type->pattern = NEW(regex_t);
    if (regcomp(type->pattern, str_c(&text), REG_EXTENDED | REG_NOSUB)) {
        free(type->pattern);
        type->pattern = NULL;
        wrong(c, path, "the pattern is not a regular expression", type->pattern_text);
    }
}

static void compile_scalar(struct compile *c, struct schema_type *type, const cJSON *json,
                           const struct schema_path *path)
{
    type->values = json_get(json, "enum");
    type->min_length = json_int(json, "minLength", 0);
    type->max_length = json_int(json, "maxLength", INT64_MAX);
    const cJSON *min = json_get(json, "minimum"), *max = json_get(json, "maximum");
    type->has_min = cJSON_IsNumber(min);
    type->has_max = cJSON_IsNumber(max);
    type->min = type->has_min ? min->valuedouble : 0;
    type->max = type->has_max ? max->valuedouble : 0;
    if (type->kind == TYPE_STRING)
        compile_pattern(c, type, json, path);
}

static int kind_of(const char *word, const cJSON *json)
{
    static const struct {
        const char *word;
        enum schema_type_kind kind;
    } words[] = {{"any", TYPE_ANY},         {"object", TYPE_OBJECT}, {"list", TYPE_LIST},
                 {"array", TYPE_LIST},      {"map", TYPE_MAP},       {"string", TYPE_STRING},
                 {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER}, {"boolean", TYPE_BOOLEAN}};
    if (json_bool(json, "x-kubernetes-int-or-string", false))
        return TYPE_STRING;
    if (!word)
        return json_get(json, "properties") ? TYPE_OBJECT : json_get(json, "items") ? TYPE_LIST : TYPE_ANY;
    if (str_eq(word, "object") && cJSON_IsObject(json_get(json, "additionalProperties")))
        return TYPE_MAP;
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (strcmp(words[i].word, word) == 0)
            return (int)words[i].kind;
    }
    return -1;
}

static void compile_names(struct compile *c, struct schema_type *type, const cJSON *json,
                          const struct schema_path *path)
{
    const char *format = json_string(json, "format");
    int number = format ? schema_format_named(format) : FORMAT_NONE;
    if (json_bool(json, "x-kubernetes-int-or-string", false))
        number = FORMAT_INT_OR_STRING;
    type->format =
        number < 0 ? FORMAT_NONE : (enum schema_format)number; /* other formats of OpenAPI only describe */
    type->atomic = str_eq(json_string(json, "x-kubernetes-map-type"), "atomic");
    const char *key_format = c->custom ? NULL : json_string(json, "keyFormat");
    if (key_format && schema_format_named(key_format) < 0)
        wrong(c, path, "unknown keyFormat", key_format);
    else if (key_format)
        type->key_format = (enum schema_format)schema_format_named(key_format);
    if (c->custom)
        return;
    const char *hook = json_string(json, "hook"), *rule = json_string(json, "rule");
    if (hook && !(type->hook = schema_hook_named(hook)))
        wrong(c, path, "unknown hook", hook);
    if (rule && !(type->rule = schema_rule_named(rule)))
        wrong(c, path, "unknown rule", rule);
    const char *patch = json_string(json, "patch");
    if (str_eq(patch, "replace"))
        type->patch = PATCH_REPLACE;
    else if (str_eq(patch, "retainKeys"))
        type->patch = PATCH_RETAIN_KEYS;
    else if (patch)
        wrong(c, path, "unknown patch strategy", patch);
    type->message_name = json_string(json, "message");
    if (type->message_name && !(type->message = schema_message_find(type->message_name)))
        wrong(c, path, "no message of this name in the field table", type->message_name);
}

static struct schema_type *compile_type(struct compile *c, const cJSON *json,
                                        const struct schema_message *message, const struct schema_path *path)
{
    const char *ref = json_string(json, "ref");
    bool is_metadata = path->up && path->up->up && !path->up->up->up && str_eq(path->key, "metadata");
    if (ref && (!c->custom || is_metadata)) /* the server's own metadata is in every kind */
        return compile_ref(c, ref, path);
    int kind = cJSON_IsObject(json) || json_is_null(json) ? kind_of(json_string(json, "type"), json) : -1;
    if (kind < 0) {
        wrong(c, path, "unknown type", json_string(json, "type"));
        return NULL;
    }
    if (c->depth >= JSON_MAX_DEPTH) {
        wrong(c, path, "nested too deeply", NULL);
        return NULL;
    }
    c->depth++;
    struct schema_type *type = type_new(c->schema);
    type->kind = (enum schema_type_kind)kind;
    type->message = message;
    type->description = json_string(json, "description");
    if (!path->up && path->key) { /* a named type: known before its fields, so that it may contain itself */
        type->name = path->key;
        map_set(&c->schema->type_compiled, path->key, type);
    }
    compile_names(c, type, json, path);
    if (kind == TYPE_OBJECT)
        compile_object(c, type, json, path);
    else if (kind == TYPE_LIST)
        compile_list(c, type, json, message, path);
    else if (kind == TYPE_MAP)
        compile_map(c, type, json, path);
    else
        compile_scalar(c, type, json, path);
    c->depth--;
    return type;
}

struct schema_type *schema_compile_root(struct schema *schema, struct schema_kind *kind, struct err **err)
{
    struct compile c = {.schema = schema, .custom = kind->custom};
    const struct schema_message *message = schema_message_of_kind(kind->info.api_version, kind->info.kind);
    struct schema_path root = {.up = &(struct schema_path){.key = "schema"}, .key = kind->info.kind};
    struct schema_type *type = compile_type(&c, json_get(kind->definition, "schema"), message, &root);
    if (type && type->kind != TYPE_OBJECT)
        wrong(&c, &root, "the schema of a kind must be of type object", NULL);
    if (c.err) {
        map_fini(&schema->type_compiled); /* may hold half a type; the next kind compiles again */
        err_move(err, &c.err);
        return NULL;
    }
    return type;
}
