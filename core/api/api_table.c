/*
 * Table answers (kubernetes-api: Table): columns and cells come from the kind; a row also carries the
 * object's metadata, which kubectl needs for -A, --show-labels and -L. Rows are printed one by one, never as
 * one big tree.
 */
#include <inttypes.h>
#include <string.h>

#include "api/api_internal.h"

enum include { INCLUDE_METADATA, INCLUDE_OBJECT, INCLUDE_NONE };

struct table {
    const struct schema_kind *kind;
    enum include include;
    bool beta;
    int64_t now;
};

struct table *table_new(const struct call *call, struct err **err)
{
    const char *include = http_request_query(call->request, "includeObject");
    struct table *table = NEW(struct table);
    table->kind = call->kind;
    table->beta = call->form_beta;
    table->now = api_wall(call->api);
    if (str_empty(include) || str_eq(include, "Metadata"))
        return table;
    if (str_eq(include, "Object")) {
        table->include = INCLUDE_OBJECT;
        return table;
    }
    if (str_eq(include, "None")) {
        table->include = INCLUDE_NONE;
        return table;
    }
    table_free(table);
    err_set(err, ERR_BAD_REQUEST, "unrecognized includeObject value: \"%.64s\"", include);
    return NULL;
}

void list_meta_add(struct str *out, uint64_t revision, const char *continue_token, uint64_t remaining)
{
    str_addf(out, "\"metadata\":{\"resourceVersion\":\"%" PRIu64 "\"", revision);
    if (continue_token)
        str_addf(out, ",\"continue\":\"%s\"", continue_token);
    if (continue_token && remaining)
        str_addf(out, ",\"remainingItemCount\":%" PRIu64, remaining);
    str_add_char(out, '}');
}

void table_begin(struct table *table, struct str *out, uint64_t revision, const char *continue_token,
                 uint64_t remaining, bool columns)
{
    str_addf(out, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1%s\",", table->beta ? "beta1" : "");
    list_meta_add(out, revision, continue_token, remaining);
    str_add(out, ",\"columnDefinitions\":");
    if (columns) {
        auto_json definitions = schema_columns(table->kind);
        json_print_to(out, definitions);
    } else {
        str_add(out, "[]");
    }
    str_add(out, ",\"rows\":[");
}

void table_row(struct table *table, struct str *out, const char *text, size_t len, bool first)
{
    auto_json object = json_parse_trusted(text, len);
    if (soft_fails(object != NULL))
        return;
    auto_json cells = schema_cells(table->kind, object, table->now);
    str_add(out, first ? "{\"cells\":" : ",{\"cells\":");
    json_print_to(out, cells);
    if (table->include != INCLUDE_NONE) {
        str_add(out, ",\"object\":");
        if (table->include == INCLUDE_OBJECT)
            object_add_as(out, schema_kind_info(table->kind), text, len);
        else
            object_add_partial(out, object, table->beta);
    }
    str_add_char(out, '}');
}

void table_end(struct str *out)
{
    str_add(out, "]}");
}

void table_set_now(struct table *table, int64_t now)
{
    table->now = now;
}

void table_free(struct table *table)
{
    free(table);
}
