/* Output of whole objects: yaml, json, name, jsonpath, custom-columns; errors in kubectl's words. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/yaml.h"
#include "kubectl.h"

static const struct {
    const char *name;
    enum kubectl_format format;
    bool expression;
} formats[] = {{"custom-columns", FORMAT_COLUMNS, true},
               {"json", FORMAT_JSON, false},
               {"jsonpath", FORMAT_JSONPATH, true},
               {"name", FORMAT_NAME, false},
               {"wide", FORMAT_WIDE, false},
               {"yaml", FORMAT_YAML, false}};

int kubectl_format(struct kubectl *k, enum kubectl_format *format, const char **expression, struct err **err)
{
    const char *output = k->flags.output;
    *expression = NULL;
    *format = FORMAT_TABLE;
    if (str_empty(output))
        return 0;
    auto_free char *name = mem_strndup(output, strcspn(output, "="));
    const char *names[COUNT_OF(formats)];
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        names[i] = formats[i].name;
        if (!str_eq(name, formats[i].name))
            continue;
        *format = formats[i].format;
        *expression = strchr(output, '=') ? strchr(output, '=') + 1 : NULL;
        if (formats[i].expression && str_empty(*expression))
            return err_set(err, ERR_BAD_REQUEST, "%s format specified but no %s given: -o %s=…", name,
                           *format == FORMAT_COLUMNS ? "custom columns" : "template", name);
        return 0;
    }
    if (str_starts(name, "go-template") || str_starts(name, "template"))
        return err_set(err, ERR_BAD_REQUEST,
                       "-o %s is not supported; jsonpath says the same, e.g. -o "
                       "jsonpath='{.items[*].metadata.name}'",
                       name);
    const char *nearest = str_nearest(name, names, COUNT_OF(formats));
    return err_set(err, ERR_BAD_REQUEST,
                   "unable to match a printer suitable for the output format \"%s\", allowed formats are: "
                   "custom-columns,json,jsonpath,name,wide,yaml%s%s",
                   output, nearest ? "; did you mean " : "", nearest ? nearest : "");
}

char *kubectl_singular(const struct kubectl_resource *r)
{
    return mem_printf("%s%s%s", *r->singular ? r->singular : r->plural, *r->group ? "." : "", r->group);
}

/* Of an object that is only asked for and cannot be got, such as a SelfSubjectReview. */
static char *name_of_unlisted(const cJSON *object, const char *name)
{
    auto_free char *kind = mem_strdup(json_string_or(object, "kind", "object"));
    const char *version = json_string_or(object, "apiVersion", ""), *slash = strchr(version, '/');
    for (char *p = kind; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return mem_printf("%s%s%.*s/%s", kind, slash ? "." : "", slash ? (int)(slash - version) : 0, version,
                      name);
}

char *kubectl_display_name(struct kubectl *k, const cJSON *object)
{
    const struct kubectl_resource *r = kubectl_find_kind(k, json_string_or(object, "apiVersion", ""),
                                                         json_string_or(object, "kind", ""), NULL);
    const char *name = json_string_or(object, "metadata.name", "<unknown>");
    if (!r)
        return name_of_unlisted(object, name);
    auto_free char *singular = kubectl_singular(r);
    return mem_printf("%s/%s", singular, name);
}

/* What a path leads to: several values with commas between, or "<none>". */
static char *column_text(const cJSON *item, const char *path)
{
    auto_free char *template = mem_printf("{range %s%s}{@}{\"\\n\"}{end}", *path == '.' ? "" : ".", path);
    struct str text = {0};
    if (json_path_print(item, template, &text, NULL) < 0)
        str_clear(&text);
    if (text.len && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == '\n')
            text.data[i] = ',';
    if (!text.len)
        str_add(&text, "<none>");
    return str_take(&text);
}

static int print_columns(struct kubectl *k, const cJSON *object, const char *expression, struct err **err)
{
    size_t count;
    auto_free char **columns = str_split(expression, ',', &count);
    for (size_t i = 0; i < count; i++)
        if (!strchr(columns[i], ':'))
            return err_set(err, ERR_BAD_REQUEST,
                           "unexpected custom-columns spec: %s, expected <header>:<json-path-expr>",
                           columns[i]);
    struct kubectl_grid grid = {.columns = count};
    auto_free char **cells = mem_array(count + 1, sizeof(char *));
    for (size_t i = 0; i < count; i++) {
        cells[i] = strchr(columns[i], ':');
        *cells[i]++ = '\0';
    }
    if (!k->flags.no_headers)
        kubectl_grid_row(&grid, (const char *const *)columns);
    const cJSON *items = json_get(object, "items");
    for (const cJSON *item = items ? items->child : object; item; item = items ? item->next : NULL) {
        auto_free char **texts = mem_array(count + 1, sizeof(char *));
        for (size_t i = 0; i < count; i++)
            texts[i] = column_text(item, cells[i]);
        kubectl_grid_row(&grid, (const char *const *)texts);
        for (size_t i = 0; i < count; i++)
            free(texts[i]);
    }
    kubectl_grid_print(&grid, NULL, NULL);
    return 0;
}

static void print_names(struct kubectl *k, const cJSON *object)
{
    const cJSON *items = json_get(object, "items");
    if (!cJSON_IsArray(items)) {
        auto_free char *name = kubectl_display_name(k, object);
        printf("%s\n", name);
        return;
    }
    json_each (item, items)
        print_names(k, item);
}

static void hide_managed_fields(cJSON *object)
{
    json_remove(json_get(object, "metadata"), "managedFields");
    const cJSON *items = json_get(object, "items");
    json_each (item, cJSON_IsArray(items) ? items : NULL)
        json_remove(json_get(item, "metadata"), "managedFields");
}

int kubectl_print_object(struct kubectl *k, const cJSON *object, struct err **err)
{
    enum kubectl_format format;
    const char *expression;
    if (kubectl_format(k, &format, &expression, err) < 0)
        return -1;
    auto_json sorted = json_copy(object);
    json_sort_keys(sorted);
    if ((format == FORMAT_YAML || format == FORMAT_JSON) && !k->flags.show_managed)
        hide_managed_fields(sorted);
    auto_free char *text = NULL;
    auto_str out = {0};
    switch (format) {
    case FORMAT_YAML:
        text = yaml_print(sorted);
        printf("%s", text);
        return 0;
    case FORMAT_JSON:
        text = json_print_pretty(sorted);
        printf("%s\n", text);
        return 0;
    case FORMAT_JSONPATH:
        if (json_path_print(sorted, expression, &out, err) < 0)
            return -1;
        printf("%s", str_c(&out));
        return 0;
    case FORMAT_COLUMNS:
        return print_columns(k, sorted, expression, err);
    case FORMAT_NAME:
    case FORMAT_TABLE:
    case FORMAT_WIDE:
        print_names(k, object);
        return 0;
    }
    return 0;
}

int kubectl_fail(const struct err *err, const char *what)
{
    fflush(stdout);
    auto_free char *prefix = what ? mem_printf("%s: ", what) : mem_strdup("");
    const char *message = err_message(err);
    switch (err_code(err)) {
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_CANCELLED:
        fprintf(stderr, "error: %s%s\n", prefix, message);
        break;
    case ERR_UNAUTHORIZED:
        fprintf(stderr, "error: You must be logged in to the server (%s)\n", message);
        break;
    case ERR_INVALID:
        if (err->n_causes > 1) {
            int len =
                strstr(message, " is invalid") ? (int)(strstr(message, " is invalid") - message) + 11 : 0;
            fprintf(stderr, "The %.*s: \n", len, message);
            for (size_t i = 0; i < err->n_causes; i++)
                fprintf(stderr, "* %s: %s\n", err->causes[i].field, err->causes[i].message);
        } else {
            fprintf(stderr, "The %s\n", message);
        }
        break;
    default:
        fprintf(stderr, "Error from server (%s): %s%s\n", err_reason(err_code(err)), prefix, message);
    }
    return 1;
}

int kubectl_fail_named(struct kubectl *k, const struct err *err, const char *what,
                       const struct kubectl_reference *reference)
{
    kubectl_fail(err, what);
    if (err_code(err) != ERR_NOT_FOUND || !reference->name)
        return 1;
    auto_free char *target = kubectl_target(k, reference->resource, reference->namespace, NULL, NULL);
    auto_json list = kubectl_request(k, "GET", target, NULL, NULL, NULL, NULL);
    const cJSON *items = json_get(list, "items");
    size_t count = (size_t)cJSON_GetArraySize(items), i = 0;
    auto_free const char **names = mem_array(count + 1, sizeof(*names));
    json_each (item, items)
        names[i++] = json_string_or(item, "metadata.name", "");
    const char *nearest = str_nearest(reference->name, names, count);
    if (nearest && !str_eq(nearest, reference->name))
        fprintf(stderr, "Did you mean \"%s\"?\n", nearest);
    return 1;
}

int kubectl_refuse(const struct err *err)
{
    if (err_code(err) == ERR_UNAUTHORIZED)
        return kubectl_fail(err, NULL);
    fflush(stdout);
    fprintf(stderr, "error: %s\n", err_message(err));
    return 1;
}

int kubectl_refuse_text(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fprintf(stderr, "error: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    return 1;
}
