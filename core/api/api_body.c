/*
 * Request bodies and query parameters → values. Everything that comes from a client goes through the strict
 * parsers; the media type decides which (kubernetes-api: no Content-Type means JSON).
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "api/api_internal.h"
#include "base/yaml.h"

enum body_type body_type(const struct call *call)
{
    static const struct {
        const char *media;
        enum body_type type;
    } types[] = {{"application/json", BODY_JSON},
                 {"application/yaml", BODY_YAML},
                 {"application/x-yaml", BODY_YAML},
                 {"application/vnd.kubernetes.protobuf", BODY_PROTOBUF},
                 {"application/strategic-merge-patch+json", BODY_STRATEGIC},
                 {"application/merge-patch+json", BODY_MERGE},
                 {"application/json-patch+json", BODY_JSON_PATCH},
                 {"application/apply-patch+yaml", BODY_APPLY}};
    const char *media = http_request_header(call->request, "content-type");
    if (str_empty(media) || str_eq(media, "*/*"))
        return BODY_JSON;
    size_t len = strcspn(media, "; ");
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (strlen(types[i].media) == len && strncasecmp(media, types[i].media, len) == 0)
            return types[i].type;
    }
    return BODY_OTHER;
}

static int check_size(const struct call *call, struct err **err)
{
    if (call->request->body_len > HTTP_MAX_BODY)
        return err_set(err, ERR_TOO_LARGE, "Request entity too large: limit is %u", HTTP_MAX_BODY);
    return 0;
}

cJSON *body_object(const struct call *call, struct err **err)
{
    if (check_size(call, err) < 0)
        return NULL;
    const char *body = call->request->body;
    size_t len = call->request->body_len;
    enum body_type type = body_type(call);
    if (type != BODY_JSON && type != BODY_YAML && type != BODY_PROTOBUF) {
        err_set(err, ERR_UNSUPPORTED_MEDIA_TYPE,
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json, "
                "application/yaml, application/vnd.kubernetes.protobuf");
        return NULL;
    }
    if (!body || len == 0) {
        err_set(err, ERR_BAD_REQUEST, "the request has no body");
        return NULL;
    }
    cJSON *object = type == BODY_JSON   ? json_parse(body, len, err)
                    : type == BODY_YAML ? yaml_parse(body, len, err)
                                        : schema_protobuf_decode(body, len, err);
    if (object && !cJSON_IsObject(object)) {
        cJSON_Delete(object);
        err_set(err, ERR_BAD_REQUEST, "the body of the request is not an object");
        return NULL;
    }
    if (object && versions_take(call, object, err) < 0) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

/* Strategic patches are for kinds whose Go types every client has; custom kinds get 415 as in Kubernetes. */
static bool has_strategic(const struct schema_kind_info *info)
{
    return !strchr(info->group, '.') || str_ends(info->group, ".k8s.io") || str_eq(info->group, "minik8s.io");
}

cJSON *body_patch(const struct call *call, enum body_type *type, struct err **err)
{
    *type = body_type(call);
    bool fine = *type == BODY_MERGE || *type == BODY_JSON_PATCH || *type == BODY_APPLY ||
                (*type == BODY_STRATEGIC && has_strategic(call->info));
    if (!fine) {
        err_set(err, ERR_UNSUPPORTED_MEDIA_TYPE,
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml%s",
                has_strategic(call->info) ? ", application/strategic-merge-patch+json" : "");
        return NULL;
    }
    if (check_size(call, err) < 0)
        return NULL;
    const char *body = call->request->body ? call->request->body : "";
    size_t len = call->request->body_len;
    cJSON *patch = *type == BODY_APPLY ? yaml_parse(body, len, err) : json_parse(body, len, err);
    if (!patch)
        return NULL;
    if (*type == BODY_JSON_PATCH ? !cJSON_IsArray(patch) : !cJSON_IsObject(patch)) {
        cJSON_Delete(patch);
        err_set(err, ERR_BAD_REQUEST, "the patch is not %s",
                *type == BODY_JSON_PATCH ? "an array" : "an object");
        return NULL;
    }
    if (versions_take(call, patch, err) < 0) {
        cJSON_Delete(patch);
        return NULL;
    }
    return patch;
}

int query_dry_run(const struct call *call, bool *dry_run, struct err **err)
{
    const char *value = http_request_query(call->request, "dryRun");
    if (str_eq(value, "All"))
        *dry_run = true;
    else if (!str_empty(value))
        return err_set(err, ERR_BAD_REQUEST,
                       "dryRun: Unsupported value: \"%.64s\": supported values: \"All\"", value);
    return 0;
}

int query_strictness(const struct call *call, enum schema_strictness *strictness, struct err **err)
{
    const char *value = http_request_query(call->request, "fieldValidation");
    *strictness = SCHEMA_WARN;
    if (str_empty(value) || str_eq(value, "Warn"))
        return 0;
    if (str_eq(value, "Strict"))
        *strictness = SCHEMA_STRICT;
    else if (str_eq(value, "Ignore"))
        *strictness = SCHEMA_IGNORE;
    else
        return err_set(
            err, ERR_BAD_REQUEST,
            "fieldValidation: Unsupported value: \"%.64s\": supported values: \"\", \"Ignore\", \"Strict\", "
            "\"Warn\"",
            value);
    return 0;
}

#define MAX_MANAGER 128

static bool is_printable(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    }
    return true;
}

bool manager_is_valid(const char *name)
{
    return strlen(name) <= MAX_MANAGER && is_printable(name);
}

char *call_agent(const struct call *call)
{
    const char *agent = http_request_header(call->request, "user-agent");
    size_t len = agent ? strcspn(agent, "/") : 0;
    auto_free char *name = len ? mem_strndup(agent, len) : NULL;
    return name && manager_is_valid(name) ? steal(&name) : NULL;
}

int query_manager(const struct call *call, struct op *op, struct err **err)
{
    return op_set_manager(call, op, http_request_query(call->request, "fieldManager"),
                          http_request_flag(call->request, "force"), err);
}

/* A client that applies what is not there creates it. */
static void note_creating(const struct call *call, struct op *op)
{
    const struct access create = {.verb = "create",
                                  .group = op->info->group,
                                  .resource = op->info->plural,
                                  .namespace = op->namespace,
                                  .name = op->name};
    if (!op->subresource)
        identity_allows(call->api, &call->identity, &create, &op->create_refused);
}

int op_set_manager(const struct call *call, struct op *op, const char *name, bool force, struct err **err)
{
    bool apply = op->verb == OP_PATCH && op->patch_type == BODY_APPLY;
    auto_err wrong = NULL;
    op->force = force;
    if (op->force && op->verb == OP_PATCH && !apply)
        err_add_cause(&wrong, "FieldValueForbidden", "force",
                      "Forbidden: may not be specified for non-apply patch");
    if (apply && str_empty(name))
        err_add_cause(&wrong, "FieldValueRequired", "fieldManager",
                      "Required value: is required for apply patch");
    else if (!str_empty(name) && !manager_is_valid(name))
        err_add_cause(&wrong, "FieldValueInvalid", "fieldManager",
                      "Invalid value: may not be more than %d printable characters", MAX_MANAGER);
    op->manager = str_empty(name) ? call_agent(call) : mem_strdup(name);
    if (apply)
        note_creating(call, op);
    return wrong ? err_move(err, &wrong) : 0;
}

int revision_parse(const char *text, uint64_t *revision)
{
    if (str_empty(text) || strspn(text, "0123456789") != strlen(text))
        return -1;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno || value >= STORE_PRESENT)
        return -1;
    *revision = value;
    return 0;
}

int query_revision(const struct call *call, const char *name, uint64_t *revision, bool *given,
                   struct err **err)
{
    const char *text = http_request_query(call->request, name);
    *revision = 0;
    *given = !str_empty(text);
    if (*given && revision_parse(text, revision) < 0)
        return err_set(err, ERR_BAD_REQUEST, "%s: Invalid value: \"%.64s\": must be a number", name, text);
    return 0;
}

int query_int(const struct call *call, const char *name, int64_t *value, bool *given, struct err **err)
{
    const char *text = http_request_query(call->request, name);
    long long number = 0;
    *value = 0;
    *given = !str_empty(text);
    if (*given && (str_to_int64(text, &number) < 0 || number < 0))
        return err_set(err, ERR_BAD_REQUEST, "%s: Invalid value: \"%.64s\": must be a number of at least 0",
                       name, text);
    *value = number;
    return 0;
}
