/* explain: what a kind or one of its fields is for, from the server's OpenAPI documents. */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

#define WIDTH 76

static const cJSON *resolve(const cJSON *document, const cJSON *schema)
{
    for (int depth = 0; schema && depth < 8; depth++) {
        const char *ref = json_string(schema, "$ref");
        if (!ref)
            ref = json_string(schema, "allOf[0]['$ref']");
        if (!ref)
            return schema;
        schema = json_get(json_at(document, "components.schemas"), strrchr(ref, '/') + 1);
    }
    return schema;
}

static const cJSON *schema_of(const cJSON *document, const struct kubectl_resource *r)
{
    json_each (schema, json_at(document, "components.schemas"))
        json_each (gvk, json_get(schema, "x-kubernetes-group-version-kind"))
            if (str_eq(json_string(gvk, "kind"), r->kind) &&
                str_eq(json_string_or(gvk, "group", ""), r->group))
                return schema;
    return NULL;
}

/* "string", "[]Container", "map[string]string", "Object". */
static char *type_of(const cJSON *document, const cJSON *schema)
{
    const cJSON *whole = resolve(document, schema);
    const char *ref = json_string(schema, "$ref"), *type = json_string(whole, "type");
    if (!ref)
        ref = json_string(schema, "allOf[0]['$ref']");
    if (str_eq(type, "array")) {
        auto_free char *inner = type_of(document, json_get(whole, "items"));
        return mem_printf("[]%s", inner);
    }
    if (json_get(whole, "additionalProperties") && !json_get(whole, "properties")) {
        auto_free char *inner = type_of(document, json_get(whole, "additionalProperties"));
        return mem_printf("map[string]%s", inner);
    }
    if (ref)
        return mem_strdup(strrchr(ref, '.') ? strrchr(ref, '.') + 1 : ref);
    if (json_get(whole, "x-kubernetes-int-or-string"))
        return mem_strdup("IntOrString");
    return mem_strdup(!type || str_eq(type, "object") ? "Object" : type);
}

static void print_wrapped(const char *text, int indent)
{
    int column = 0;
    for (const char *at = text ? text : ""; *at;) {
        size_t len = strcspn(at, " \n");
        if (column && column + (int)len + 1 > WIDTH - indent) {
            printf("\n");
            column = 0;
        }
        if (!column)
            printf("%*s", indent, "");
        printf("%s%.*s", column ? " " : "", (int)len, at);
        column += (int)len + (column ? 1 : 0);
        at += len;
        while (*at == ' ' || *at == '\n')
            at++;
    }
    printf("\n");
}

static bool is_required(const cJSON *schema, const char *name)
{
    json_each (required, json_get(schema, "required"))
        if (str_eq(cJSON_GetStringValue(required), name))
            return true;
    return false;
}

/* The object that a list or map holds, else the schema itself. */
static const cJSON *inside(const cJSON *document, const cJSON *schema)
{
    const cJSON *whole = resolve(document, schema);
    while (whole && !json_get(whole, "properties") &&
           (json_get(whole, "items") || cJSON_IsObject(json_get(whole, "additionalProperties"))))
        whole = resolve(document, json_get(whole, "items") ? json_get(whole, "items")
                                                           : json_get(whole, "additionalProperties"));
    return whole;
}

static void print_fields(const cJSON *document, const cJSON *schema, int indent, bool recursive, int depth)
{
    const cJSON *whole = inside(document, schema), *properties = json_get(whole, "properties");
    auto_json sorted = json_copy(properties);
    json_sort_keys(sorted);
    json_each (field, sorted) {
        auto_free char *type = type_of(document, field);
        printf("%*s%s\t<%s>%s\n", indent, "", field->string, type,
               is_required(whole, field->string) ? " -required-" : "");
        if (recursive && depth < 12) {
            print_fields(document, field, indent + 2, true, depth + 1);
        } else if (!recursive) {
            print_wrapped(json_string_or(field, "description", "<no description>"), indent + 2);
            printf("\n");
        }
    }
}

/* Walks "spec.template.spec"; NULL with the nearest name. */
static const cJSON *walk(const cJSON *document, const cJSON *schema, char **parts, struct err **err)
{
    for (size_t i = 1; parts[i]; i++) {
        const cJSON *properties = json_get(inside(document, schema), "properties");
        const cJSON *field = json_get(properties, parts[i]);
        if (field) {
            schema = field;
            continue;
        }
        size_t count = (size_t)cJSON_GetArraySize(properties), n = 0;
        auto_free const char **names = mem_array(count + 1, sizeof(*names));
        json_each (known, properties)
            names[n++] = known->string;
        const char *nearest = str_nearest(parts[i], names, n);
        err_set(err, ERR_NOT_FOUND, "field \"%s\" does not exist%s%s", parts[i],
                nearest ? "; did you mean " : "", nearest ? nearest : "");
        return NULL;
    }
    return schema;
}

static void print_all(struct kubectl *k, const struct kubectl_resource *r, const cJSON *document,
                      const cJSON *schema, char **parts, size_t count)
{
    if (*r->group)
        printf("GROUP:      %s\n", r->group);
    printf("KIND:       %s\nVERSION:    %s\n\n", r->kind, r->version);
    const cJSON *whole = resolve(document, schema);
    if (count > 1) {
        auto_free char *type = type_of(document, schema);
        printf("FIELD: %s <%s>\n\n", parts[count - 1], type);
    }
    const char *description = json_string(schema, "description");
    printf("\nDESCRIPTION:\n");
    print_wrapped(description ? description : json_string_or(whole, "description", "<no description>"), 4);
    const cJSON *values = json_get(whole, "enum");
    if (values) {
        printf("ENUM:\n");
        json_each (value, values)
            printf("    %s\n", cJSON_GetStringValue(value) ? cJSON_GetStringValue(value) : "");
    }
    printf("    \n");
    if (json_get(inside(document, schema), "properties")) {
        printf("FIELDS:\n");
        print_fields(document, schema, 2, k->flags.recursive, 0);
    }
}

int verb_explain(struct kubectl *k)
{
    auto_err err = NULL;
    if (k->n_args != 1)
        return kubectl_refuse_text(
            "You must specify the type of resource to explain, e.g. explain pod.spec.containers");
    size_t count;
    auto_free char **parts = str_split(k->args[0], '.', &count);
    const struct kubectl_resource *r = kubectl_find_resource(k, parts[0], &err);
    if (!r)
        return kubectl_refuse(err);
    auto_free char *path = *r->group ? mem_printf("/openapi/v3/apis/%s/%s", r->group, r->version)
                                     : mem_printf("/openapi/v3/api/%s", r->version);
    auto_json document = kubectl_request(k, "GET", path, NULL, NULL, NULL, &err);
    if (!document)
        return kubectl_fail(err, NULL);
    const cJSON *schema = schema_of(document, r);
    if (!schema)
        return kubectl_refuse_text("the server does not describe %s", r->kind);
    schema = walk(document, schema, parts, &err);
    if (!schema)
        return kubectl_refuse(err);
    print_all(k, r, document, schema, parts, count);
    return 0;
}
