/* get: objects as a table or whole, once or watching. */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

static char *list_target(struct kubectl *k, const struct kubectl_reference *ref, const char *watch_from)
{
    struct str target = {0};
    bool collection = !ref->name || watch_from;
    auto_free char *path =
        kubectl_target(k, ref->resource, ref->namespace, collection ? NULL : ref->name, NULL);
    str_add(&target, path);
    if (k->flags.sort_by && !watch_from)
        http_query_add(&target, "includeObject", "Object");
    if (!collection)
        return str_take(&target);
    if (k->flags.selector)
        http_query_add(&target, "labelSelector", k->flags.selector);
    auto_free char *by_name = ref->name ? mem_printf("metadata.name=%s", ref->name) : NULL;
    if (by_name || k->flags.field_selector)
        http_query_add(&target, "fieldSelector", by_name ? by_name : k->flags.field_selector);
    if (watch_from) {
        http_query_add(&target, "watch", "true");
        http_query_add(&target, "resourceVersion", watch_from);
    }
    return str_take(&target);
}

/* ---- --sort-by ---- */

struct sort_entry {
    cJSON *item;
    struct str key;
};

static int by_sort_key(const void *a, const void *b)
{
    const char *x = str_c(&((const struct sort_entry *)a)->key),
               *y = str_c(&((const struct sort_entry *)b)->key);
    char *x_end, *y_end;
    double x_number = strtod(x, &x_end), y_number = strtod(y, &y_end);
    if (*x && *y && !*x_end && !*y_end)
        return (x_number > y_number) - (x_number < y_number);
    return strcmp(x, y);
}

/* Sorts an array by --sort-by; `inner` leads from an entry to the object ("object" in a Table's row). */
static int sort_items(struct kubectl *k, cJSON *items, const char *inner, struct err **err)
{
    size_t count = (size_t)cJSON_GetArraySize(items);
    const char *by = k->flags.sort_by;
    if (!by || count < 2)
        return 0;
    auto_free char *path = *by == '{' ? mem_strdup(by) : mem_printf("{%s%s}", *by == '.' ? "" : ".", by);
    auto_free struct sort_entry *entries = mem_array(count, sizeof(*entries));
    int result = 0;
    for (size_t i = 0; i < count; i++) {
        entries[i].item = cJSON_DetachItemFromArray(items, 0);
        const cJSON *object = inner ? json_get(entries[i].item, inner) : entries[i].item;
        if (result == 0)
            result = json_path_print(object, path, &entries[i].key, err);
    }
    if (result == 0)
        qsort(entries, count, sizeof(*entries), by_sort_key);
    for (size_t i = 0; i < count; i++) {
        json_push(items, entries[i].item);
        str_free(&entries[i].key);
    }
    return result;
}

/* ---- watching ---- */

struct watching {
    struct kubectl *k;
    struct kubectl_columns *columns; /* NULL: whole objects */
    const cJSON *definitions;        /* of the list: they come with the first event of a watch only */
    bool failed;
};

static bool on_event(void *arg, const char *line, size_t len)
{
    struct watching *watching = arg;
    auto_json event = json_parse_trusted(line, len);
    cJSON *object = json_get(event, "object");
    const char *type = json_string_or(event, "type", "");
    auto_err err = NULL;
    if (str_eq(type, "BOOKMARK"))
        return true;
    if (str_eq(type, "ERROR")) {
        err_set(&err, err_code_from_status((int)json_int(object, "code", 500), json_string(object, "reason")),
                "%s", json_string_or(object, "message", "the watch failed"));
        kubectl_fail(err, NULL);
        watching->failed = true;
        return false;
    }
    if (watching->columns && str_eq(json_string(object, "kind"), "Table")) {
        const cJSON *definitions = json_get(object, "columnDefinitions");
        if (!definitions || !definitions->child)
            json_set(object, "columnDefinitions", json_copy(watching->definitions));
        kubectl_print_table(watching->k, object, watching->columns);
        watching->columns->headers = false;
        return true;
    }
    if (str_eq(watching->k->flags.output, "yaml"))
        printf("---\n");
    if (kubectl_print_object(watching->k, object, &err) < 0) {
        kubectl_refuse(err);
        watching->failed = true;
    }
    return fflush(stdout) == 0 && !watching->failed;
}

static int watch(struct kubectl *k, const struct kubectl_reference *ref, const cJSON *first,
                 struct kubectl_columns *columns)
{
    const char *revision = json_string_or(first, "metadata.resourceVersion", "0");
    auto_free char *target = list_target(k, ref, revision);
    struct watching state = {k, columns, json_get(first, "columnDefinitions"), false};
    auto_err err = NULL;
    int64_t timeout_ms = k->flags.timeout_s > 0           ? k->flags.timeout_s * 1000
                         : k->flags.request_timeout_s > 0 ? k->flags.request_timeout_s * 1000
                                                          : 0;
    int result =
        kubectl_stream_lines(k, target, columns ? KUBECTL_TABLE : NULL, timeout_ms, on_event, &state, &err);
    if (result < 0 && err_code(err) != ERR_TIMEOUT)
        return kubectl_fail(err, NULL);
    return state.failed;
}

/* ---- tables ---- */

static void move_rows(cJSON *to, cJSON *from)
{
    cJSON *row, *rows = json_ensure_array(to, "rows"), *source = json_get(from, "rows");
    while ((row = source ? cJSON_DetachItemFromArray(source, 0) : NULL))
        json_push(rows, row);
}

/* The rows of one kind: of all its references that follow each other. NULL: nothing (reported in *code). */
static cJSON *read_table(struct kubectl *k, const struct kubectl_reference *refs, size_t count, int *code)
{
    cJSON *table = NULL;
    for (size_t i = 0; i < count; i++) {
        auto_free char *target = list_target(k, &refs[i], NULL);
        auto_err err = NULL;
        auto_json answer = kubectl_request(k, "GET", target, KUBECTL_TABLE, NULL, NULL, &err);
        if (!answer && !(k->flags.ignore_not_found && refs[i].name && err_code(err) == ERR_NOT_FOUND))
            *code = kubectl_fail_named(k, err, NULL, &refs[i]);
        if (answer && table)
            move_rows(table, answer);
        else if (answer)
            table = steal(&answer);
    }
    return table;
}

static int get_tables(struct kubectl *k, const struct kubectl_reference *refs, size_t count, bool wide)
{
    int code = 0;
    bool printed = false, several = k->flags.show_kind;
    for (size_t i = 0; i < count; i++)
        several = several || refs[i].resource != refs[0].resource;
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && refs[i + n].resource == refs[i].resource; n++)
            ;
        auto_json table = read_table(k, &refs[i], n, &code);
        cJSON *rows = json_get(table, "rows");
        auto_err err = NULL;
        if (sort_items(k, rows, "object", &err) < 0)
            return kubectl_refuse(err);
        auto_free char *singular = kubectl_singular(refs[i].resource);
        auto_free char *prefix = several ? mem_printf("%s/", singular) : NULL;
        struct kubectl_columns columns = {.headers = true,
                                          .wide = wide,
                                          .with_namespace =
                                              k->flags.all_namespaces && refs[i].resource->namespaced,
                                          .name_prefix = prefix};
        if (rows && rows->child && !k->flags.watch_only) {
            printf("%s", printed ? "\n" : "");
            kubectl_print_table(k, table, &columns);
            printed = true;
            columns.headers = false;
        }
        if (table && k->flags.watch) {
            printed = true;
            code |= watch(k, &refs[i], table, &columns);
        }
        free(columns.widths);
    }
    if (printed || code || k->flags.ignore_not_found)
        return code;
    if (refs[0].resource->namespaced && !k->flags.all_namespaces)
        fprintf(stderr, "No resources found in %s namespace.\n", k->namespace);
    else
        fprintf(stderr, "No resources found\n");
    return 0;
}

/* ---- whole objects ---- */

/* One named object as it is; everything else as a List, as kubectl prints it. */
static int get_objects(struct kubectl *k, const struct kubectl_reference *refs, size_t count)
{
    int code = 0;
    auto_err err = NULL;
    auto_json items = kubectl_read_all(k, refs, count, &code, &err);
    if (!items)
        return kubectl_fail(err, NULL);
    if (sort_items(k, items, NULL, &err) < 0)
        return kubectl_refuse(err);
    if (count == 1 && refs[0].name) {
        if (!items->child)
            return code;
        return kubectl_print_object(k, items->child, &err) < 0 ? kubectl_refuse(err) : code;
    }
    auto_json list = cJSON_CreateObject();
    json_set_string(list, "apiVersion", "v1");
    json_set_string(list, "kind", "List");
    json_set_string(json_ensure_object(list, "metadata"), "resourceVersion", "");
    json_set(list, "items", steal(&items));
    return kubectl_print_object(k, list, &err) < 0 ? kubectl_refuse(err) : code;
}

static int watch_objects(struct kubectl *k, const struct kubectl_reference *ref)
{
    auto_err err = NULL;
    auto_free char *target = list_target(k, ref, NULL);
    auto_json first = kubectl_request(k, "GET", target, NULL, NULL, NULL, &err);
    if (!first)
        return kubectl_fail_named(k, err, NULL, ref);
    const cJSON *items = json_get(first, "items");
    for (const cJSON *item = ref->name ? first
                             : items   ? items->child
                                       : NULL;
         item && !k->flags.watch_only; item = ref->name ? NULL : item->next)
        if (kubectl_print_object(k, item, &err) < 0)
            return kubectl_refuse(err);
    fflush(stdout);
    return watch(k, ref, first, NULL);
}

static int get_raw(struct kubectl *k)
{
    auto_err err = NULL;
    const char *prefix = NULL;
    return kubectl_stream_text(k, &k->flags.raw, &prefix, 1, &err) < 0 ? kubectl_fail(err, NULL) : 0;
}

static int references(struct kubectl *k, cJSON *manifests, struct kubectl_reference **refs, size_t *count,
                      struct err **err)
{
    if (!manifests)
        return kubectl_references(k, 0, refs, count, err);
    *refs = mem_array((size_t)cJSON_GetArraySize(manifests) + 1, sizeof(**refs));
    *count = 0;
    json_each (object, manifests) {
        if (!kubectl_find_kind(k, json_string(object, "apiVersion"), json_string(object, "kind"), err))
            return -1;
        (*refs)[(*count)++] = kubectl_reference_of(k, object);
    }
    return 0;
}

int verb_get(struct kubectl *k)
{
    auto_err err = NULL;
    enum kubectl_format format;
    const char *expression;
    auto_free struct kubectl_reference *refs = NULL;
    size_t count;
    if (k->flags.raw)
        return get_raw(k);
    k->flags.watch = k->flags.watch || k->flags.watch_only;
    auto_json manifests = k->flags.n_files ? kubectl_load_manifests(k, &err) : NULL;
    if (err || kubectl_format(k, &format, &expression, &err) < 0 ||
        references(k, manifests, &refs, &count, &err) < 0)
        return kubectl_refuse(err);
    if (k->flags.watch && count > 1)
        return kubectl_refuse_text("you may only specify a single resource type, or one name, with --watch");
    if (format == FORMAT_TABLE || format == FORMAT_WIDE)
        return get_tables(k, refs, count, format == FORMAT_WIDE);
    return k->flags.watch ? watch_objects(k, &refs[0]) : get_objects(k, refs, count);
}
