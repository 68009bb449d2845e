/*
 * Answers: objects, texts, and Status (kubernetes-api: errors), with the headers that every answer carries.
 * Answering ends a call and frees it; nothing here decides anything.
 */
#include <stdio.h>
#include <string.h>

#include "api/api_internal.h"

#define JSON_TYPE "application/json"
#define MAX_WARNINGS 16
#define MAX_WARNING_BYTES 256

void call_free(struct call *call)
{
    identity_fini(&call->identity);
    cJSON_Delete(call->warnings);
    free(call->segments);
    free(call);
}

void call_warn(struct call *call, const char *text)
{
    if (!call->warnings)
        call->warnings = cJSON_CreateArray();
    json_push_string(call->warnings, text);
}

struct headers {
    struct http_pair pairs[MAX_WARNINGS + 3];
    size_t count;
    struct str warnings[MAX_WARNINGS];
    size_t n_warnings;
};

static void add_warning(struct headers *headers, const char *text)
{
    struct str *line = &headers->warnings[headers->n_warnings++];
    str_add(line, "299 - \"");
    for (const char *c = text; *c && line->len < MAX_WARNING_BYTES; c++) {
        if (*c == '"' || *c == '\\')
            str_add_char(line, '\\');
        str_add_char(line, (unsigned char)*c < 0x20 ? ' ' : *c);
    }
    str_add_char(line, '"');
    headers->pairs[headers->count++] = (struct http_pair){"Warning", str_c(line)};
}

static void headers_init(struct headers *headers, const struct call *call, int status)
{
    *headers = (struct headers){0};
    struct store *store = call->api->store;
    headers->pairs[headers->count++] = (struct http_pair){"minik8s-cluster", store->ops->cluster_id(store)};
    if (status == 429 || status == 503)
        headers->pairs[headers->count++] = (struct http_pair){"Retry-After", "1"};
    if (status == 401)
        headers->pairs[headers->count++] = (struct http_pair){"WWW-Authenticate", "Bearer realm=\"minik8s\""};
    json_each (warning, call->warnings) {
        if (headers->n_warnings < MAX_WARNINGS && cJSON_IsString(warning))
            add_warning(headers, warning->valuestring);
    }
}

static void headers_fini(struct headers *headers)
{
    for (size_t i = 0; i < headers->n_warnings; i++)
        str_free(&headers->warnings[i]);
}

static void answer(struct call *call, int status, const char *content_type, struct bytes *body)
{
    struct headers headers;
    headers_init(&headers, call, status);
    counters_request(call->api->counters, call, status);
    http_respond(call->x, status, content_type, body, headers.pairs, headers.count);
    headers_fini(&headers);
    call_free(call);
}

void call_answer(struct call *call, int status, struct bytes *body)
{
    answer(call, status, JSON_TYPE, versions_give(call, body));
}

void call_answer_text(struct call *call, int status, const char *content_type, struct str *body)
{
    struct bytes *bytes = bytes_from(str_c(body), body->len);
    str_free(body);
    answer(call, status, content_type ? content_type : JSON_TYPE,
           content_type ? bytes : versions_give(call, bytes));
}

void call_answer_json(struct call *call, int status, cJSON *body)
{
    struct str text = {0};
    json_print_to(&text, body);
    cJSON_Delete(body);
    call_answer_text(call, status, NULL, &text);
}

void call_stream(struct call *call, const char *content_type, const struct http_stream_ops *ops, void *arg)
{
    struct headers headers;
    headers_init(&headers, call, 200);
    counters_request(call->api->counters, call, 200);
    http_stream(call->x, 200, content_type ? content_type : JSON_TYPE, headers.pairs, headers.count, ops,
                arg);
    headers_fini(&headers);
    call_free(call);
}

void call_fail(struct call *call, struct err *error)
{
    cJSON *status = status_failure(error, call->info, call->name);
    int code = err_http_status(err_code(error));
    err_free(error);
    call_answer_json(call, code, status);
}

void call_success(struct call *call, int status, const char *uid)
{
    call_answer_json(call, status, status_success(call->info, call->name, uid));
}

/* ---- Status ---- */

static cJSON *status_new(const char *outcome)
{
    cJSON *status = cJSON_CreateObject();
    json_set_string(status, "kind", "Status");
    json_set_string(status, "apiVersion", "v1");
    json_set(status, "metadata", cJSON_CreateObject());
    json_set_string(status, "status", outcome);
    return status;
}

static cJSON *status_details(cJSON *status, const struct schema_kind_info *info, const char *name,
                             bool use_kind)
{
    cJSON *details = json_set(status, "details", cJSON_CreateObject());
    if (!str_empty(name))
        json_set_string(details, "name", name);
    if (info && *info->group)
        json_set_string(details, "group", info->group);
    if (info)
        json_set_string(details, "kind", use_kind ? info->kind : info->plural);
    return details;
}

static void add_causes(cJSON *details, const struct err *error)
{
    cJSON *causes = json_set(details, "causes", cJSON_CreateArray());
    for (size_t i = 0; i < error->n_causes; i++) {
        cJSON *cause = json_push(causes, cJSON_CreateObject());
        if (!str_empty(error->causes[i].reason))
            json_set_string(cause, "reason", error->causes[i].reason);
        json_set_string(cause, "message", error->causes[i].message ? error->causes[i].message : "");
        if (!str_empty(error->causes[i].field))
            json_set_string(cause, "field", error->causes[i].field);
    }
}

/* `Deployment.apps "web" is invalid: spec.x: Required value`, several in brackets: field.ErrorList's text. */
static void add_invalid_message(cJSON *status, const struct err *error, const struct schema_kind_info *info,
                                const char *name)
{
    auto_str text = {0};
    str_addf(&text, "%s%s%s \"%s\" is invalid: ", info->kind, *info->group ? "." : "", info->group,
             name ? name : "");
    if (error->n_causes > 1)
        str_add_char(&text, '[');
    for (size_t i = 0; i < error->n_causes; i++) {
        const struct err_cause *cause = &error->causes[i];
        str_addf(&text, "%s%s%s%s", i ? ", " : "", cause->field ? cause->field : "", cause->field ? ": " : "",
                 cause->message ? cause->message : "");
    }
    if (error->n_causes > 1)
        str_add_char(&text, ']');
    json_set_string(status, "message", str_c(&text));
}

cJSON *status_failure(const struct err *error, const struct schema_kind_info *info, const char *name)
{
    cJSON *status = status_new("Failure");
    enum err_code code = err_code(error);
    bool invalid = code == ERR_INVALID && info && error->n_causes > 0;
    if (invalid)
        add_invalid_message(status, error, info, name);
    else
        json_set_string(status, "message", err_message(error));
    json_set_string(status, "reason", err_reason(code));
    if (info || error->n_causes || code == ERR_TOO_MANY_REQUESTS) {
        cJSON *details = status_details(status, info, name, invalid);
        if (error->n_causes)
            add_causes(details, error);
        if (code == ERR_TOO_MANY_REQUESTS)
            json_set_int(details, "retryAfterSeconds", 1);
    }
    json_set_int(status, "code", err_http_status(code));
    return status;
}

cJSON *status_success(const struct schema_kind_info *info, const char *name, const char *uid)
{
    cJSON *status = status_new("Success");
    if (info) {
        cJSON *details = status_details(status, info, name, false);
        if (!str_empty(uid))
            json_set_string(details, "uid", uid);
    }
    return status;
}

int fail_not_found(struct err **err, const struct schema_kind_info *info, const char *name)
{
    return err_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", info->resource, name);
}
