/*
 * schema_columns: server-side printing. A column is a path into the object, or a named function for what has
 * to be computed. Every kind has Name first; a kind without columns has Name and Age. Invariant: as many
 * cells as columns, whatever the object looks like.
 */
#include <string.h>

#include "schema/schema_columns.h"

static const struct schema_named_column *const tables[] = {
    schema_columns_pod,         schema_columns_kinds, schema_columns_storage, schema_columns_workloads,
    schema_columns_autoscaling, schema_columns_quota, schema_columns_ingress};

schema_column_function *schema_column_named(const char *name)
{
    for (size_t t = 0; t < COUNT_OF(tables); t++) {
        for (const struct schema_named_column *entry = tables[t]; entry->name; entry++) {
            if (strcmp(entry->name, name) == 0)
                return entry->function;
        }
    }
    return NULL;
}

/* json_at knows steps and indexes. */
static bool is_plain_path(const char *json_path)
{
    return !json_path[strcspn(json_path, "?*@:,\\\"() ")] && !strstr(json_path, "..") &&
           !strstr(json_path, "[-");
}

/* A user's column is printed for each row of anybody's list. */
#define CELL_NODES_MAX 10000
#define CELL_BYTES_MAX 4096

static int print_json_path(const cJSON *object, const char *json_path, struct str *out, struct err **err)
{
    auto_free char *template = mem_printf("{%s}", json_path);
    return json_path_print_bounded(object, template, CELL_NODES_MAX, CELL_BYTES_MAX, out, err);
}

int schema_try_json_path(const char *json_path, struct err **err)
{
    auto_json nothing = cJSON_CreateObject();
    auto_str text = {0};
    if (json_path[strcspn(json_path, "{}")]) /* the rest of the template language: no column needs it */
        return err_set(err, ERR_INVALID, "must be one path");
    return print_json_path(nothing, json_path, &text, err);
}

static int compile_column(struct schema_column *column, const cJSON *json, bool custom, struct err **err)
{
    *column = (struct schema_column){
        .name = json_string(json, "name"),
        .type = json_string_or(json, "type", "string"),
        .format = json_string_or(json, "format", ""),
        .description = json_string_or(json, "description", ""),
        .path = json_string(json, "path"),
        .empty = json_string_or(json, "empty", ""),
        .priority = json_int(json, "priority", 0),
        .count = json_bool(json, "count", false),
    };
    const char *json_path = json_string(json, "jsonPath"); /* as in a CRD: ".status.phase" */
    if (!column->path && json_path && !is_plain_path(json_path))
        column->json_path = json_path;
    if (!column->path && json_path)
        column->path = *json_path == '.' ? json_path + 1 : json_path;
    const char *function = custom ? NULL : json_string(json, "column");
    if (!column->name)
        return err_add_cause(err, "FieldValueRequired", "columns", "Required value: name");
    if (function && !(column->function = schema_column_named(function)))
        return err_add_cause(err, "FieldValueInvalid", "columns", "no column function %s", function);
    if (!function && !column->path)
        return err_add_cause(err, "FieldValueRequired", "columns",
                             "column %s needs a path or a column function", column->name);
    return 0;
}

int schema_compile_columns(struct schema_kind *kind, struct err **err)
{
    const cJSON *columns = json_get(kind->definition, "columns");
    kind->columns =
        mem_array((size_t)(columns ? cJSON_GetArraySize(columns) : 0) + 2, sizeof(*kind->columns));
    if (!columns || !str_eq(json_string(columns->child, "format"), "name"))
        if (!json_bool(kind->definition, "ownName", false))
            kind->columns[kind->n_columns++] = (struct schema_column){.name = "Name",
                                                                      .type = "string",
                                                                      .format = "name",
                                                                      .description = "Name of the object",
                                                                      .path = "metadata.name",
                                                                      .empty = ""};
    json_each (column, columns) {
        if (compile_column(&kind->columns[kind->n_columns++], column, kind->custom, err))
            return -1;
    }
    if (!columns)
        kind->columns[kind->n_columns++] = (struct schema_column){.name = "Age",
                                                                  .type = "string",
                                                                  .format = "",
                                                                  .description = "Time since its creation",
                                                                  .empty = "<unknown>",
                                                                  .function = schema_column_named("age")};
    return 0;
}

cJSON *schema_columns(const struct schema_kind *kind)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < kind->n_columns; i++) {
        const struct schema_column *column = &kind->columns[i];
        cJSON *json = json_push(array, cJSON_CreateObject());
        json_set_string(json, "name", column->name);
        json_set_string(json, "type", strcmp(column->type, "date") == 0 ? "string" : column->type);
        json_set_string(json, "format", column->format);
        json_set_string(json, "description", column->description);
        json_set_int(json, "priority", column->priority);
    }
    return array;
}

char *schema_age_text(const char *timestamp, int64_t now_wall_ns)
{
    int64_t then;
    char text[TIME_TEXT];
    if (!timestamp || time_parse(timestamp, &then, NULL))
        return mem_strdup("<unknown>");
    int64_t age = now_wall_ns - then;
    time_print_age(age < 0 ? 0 : age, text);
    return mem_strdup(text);
}

static int64_t count_of(const cJSON *value)
{
    int64_t n = 0;
    if (cJSON_IsArray(value) || cJSON_IsObject(value)) {
        json_each (child, value)
            n++;
    }
    return n;
}

static cJSON *json_path_cell(const struct schema_column *column, const cJSON *object, int64_t now_wall_ns)
{
    auto_str text = {0};
    bool found = print_json_path(object, column->json_path, &text, NULL) == 0 && text.len;
    if (strcmp(column->type, "date") == 0) {
        auto_free char *age = schema_age_text(found ? str_c(&text) : NULL, now_wall_ns);
        return cJSON_CreateString(age);
    }
    bool numeric = strcmp(column->type, "integer") == 0 || strcmp(column->type, "number") == 0;
    auto_json number = found && numeric ? json_parse(str_c(&text), text.len, NULL) : NULL;
    if (cJSON_IsNumber(number) || cJSON_IsRaw(number))
        return steal(&number);
    return cJSON_CreateString(found ? str_c(&text) : column->empty);
}

static cJSON *path_cell(const struct schema_column *column, const cJSON *object, int64_t now_wall_ns)
{
    if (column->json_path)
        return json_path_cell(column, object, now_wall_ns);
    const cJSON *value = json_at(object, column->path);
    if (column->count)
        return cJSON_CreateNumber((double)count_of(value));
    if (strcmp(column->type, "date") == 0) {
        auto_free char *age = schema_age_text(cJSON_IsString(value) ? value->valuestring : NULL, now_wall_ns);
        return cJSON_CreateString(age);
    }
    if (cJSON_IsString(value) && *value->valuestring)
        return json_copy(value);
    if (cJSON_IsNumber(value) || cJSON_IsRaw(value))
        return json_copy(value);
    if (cJSON_IsBool(value))
        return cJSON_CreateString(cJSON_IsTrue(value) ? "true" : "false");
    if (cJSON_IsObject(value) || cJSON_IsArray(value)) {
        auto_free char *text = json_print(value);
        return cJSON_CreateString(text);
    }
    return strcmp(column->type, "integer") == 0 ? cJSON_CreateNumber(0) : cJSON_CreateString(column->empty);
}

cJSON *schema_cells(const struct schema_kind *kind, const cJSON *object, int64_t now_wall_ns)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < kind->n_columns; i++) {
        const struct schema_column *column = &kind->columns[i];
        cJSON *cell =
            column->function ? column->function(object, now_wall_ns) : path_cell(column, object, now_wall_ns);
        json_push(array, cell ? cell : cJSON_CreateString(column->empty));
    }
    return array;
}
