/*
 * What a client asks before it asks for objects: /version, health, /metrics, discovery in its two forms,
 * OpenAPI. All of it is built from the registry of kinds; nothing is configured here. Source: kubernetes-api,
 * discovery and OpenAPI.
 */
#include <string.h>

#include "api/api_internal.h"

/* With a dot where clients ask with an @, which Go's media type parser refuses in an answer (kubectl 1.28).
 */
#define OPENAPI_V2_TYPE "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
#define AGGREGATED_TYPE "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

static void answer_found(struct call *call, cJSON *document)
{
    if (document) {
        call_answer_json(call, 200, document);
        return;
    }
    struct err *err = NULL;
    err_set(&err, ERR_NOT_FOUND, "the server could not find the requested resource");
    call_fail(call, err);
}

static void answer_version(struct call *call)
{
    const char *version = call->api->git_version;
    const char *dot = strchr(version, '.');
    int minor = dot ? atoi(dot + 1) : 0;
    cJSON *document = cJSON_CreateObject();
    auto_free char *text = mem_printf("%d", minor);
    json_set_string(document, "major", "1");
    json_set_string(document, "minor", text);
    json_set_string(document, "gitVersion", version);
    json_set_string(document, "gitCommit", "");
    json_set_string(document, "gitTreeState", "clean");
    json_set_string(document, "buildDate", "1970-01-01T00:00:00Z");
    json_set_string(document, "goVersion", "");
    json_set_string(document, "compiler", "gcc");
    json_set_string(document, "platform", "linux/amd64");
    json_set_string(document, "minik8sVersion", call->api->product_version);
    call_answer_json(call, 200, document);
}

static cJSON *legacy_versions(void)
{
    cJSON *document = cJSON_CreateObject();
    json_set_string(document, "kind", "APIVersions");
    json_push_string(json_ensure_array(document, "versions"), "v1");
    cJSON *address =
        json_push(json_ensure_array(document, "serverAddressByClientCIDRs"), cJSON_CreateObject());
    json_set_string(address, "clientCIDR", "0.0.0.0/0");
    json_set_string(address, "serverAddress", "");
    return document;
}

static void answer_groups(struct call *call, bool core)
{
    const char *accept = http_request_header(call->request, "accept");
    struct schema *schema = call->api->schema;
    if (accept && strstr(accept, "as=APIGroupDiscoveryList") && strstr(accept, "v=v2;")) {
        struct str text = {0};
        auto_json document = schema_discovery_aggregated(schema, core);
        json_print_to(&text, document);
        call_answer_text(call, 200, AGGREGATED_TYPE, &text);
        return;
    }
    call_answer_json(call, 200, core ? legacy_versions() : schema_discovery_groups(schema));
}

static void answer_health(struct call *call)
{
    struct str text = {0};
    str_add(&text, "ok");
    call_answer_text(call, 200, "text/plain; charset=utf-8", &text);
}

static void answer_metrics(struct call *call)
{
    struct str text = {0};
    metrics_print(call->api->options.metrics, &text);
    call_answer_text(call, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

static void answer_openapi(struct call *call)
{
    const char *path = call->request->path;
    if (str_eq(path, "/openapi/v2")) {
        struct str empty = {0};
        call_answer_text(call, 200, OPENAPI_V2_TYPE, &empty);
    } else if (str_eq(path, "/openapi/v3")) {
        answer_found(call, schema_openapi_v3_index(call->api->schema));
    } else {
        answer_found(call, schema_openapi_v3(call->api->schema, path + strlen("/openapi/v3/")));
    }
}

static void answer_apis(struct call *call)
{
    struct schema *schema = call->api->schema;
    size_t n = call->n_segments;
    bool core = str_eq(call->segments[0], "api");
    if (n == 1)
        answer_groups(call, core);
    else if (core)
        answer_found(call, n == 2 ? schema_discovery_resources(schema, "", call->segments[1]) : NULL);
    else if (n == 2)
        answer_found(call, schema_discovery_group(schema, call->segments[1]));
    else
        answer_found(call, schema_discovery_resources(schema, call->segments[1], call->segments[2]));
}

static bool is_health(const char *first)
{
    return str_eq(first, "healthz") || str_eq(first, "livez") || str_eq(first, "readyz");
}

/* Health and version are for everybody, as Kubernetes' system:public-info-viewer; the rest is asked of RBAC.
 */
static bool allowed(struct call *call, bool public)
{
    if (public)
        return true;
    struct access access = {.verb = "get", .path = call->request->path};
    struct err *err = NULL;
    if (identity_allows(call->api, &call->identity, &access, &err) == 0)
        return true;
    call_fail(call, err);
    return false;
}

void handle_non_resource(struct call *call)
{
    const char *first = call->segments[0];
    const char *path = call->request->path;
    bool health = is_health(first), version = str_eq(first, "version") && call->n_segments == 1;
    if (!str_eq(call->request->method, "GET") && !str_eq(call->request->method, "HEAD")) {
        struct err *err = NULL;
        err_set(&err, ERR_METHOD_NOT_ALLOWED,
                "the server does not allow this method on the requested resource");
        call_fail(call, err);
        return;
    }
    if (!allowed(call, health || version))
        return;
    if (health)
        answer_health(call);
    else if (version)
        answer_version(call);
    else if (str_eq(first, "metrics"))
        answer_metrics(call);
    else if (str_eq(path, "/openapi/v2") || str_eq(path, "/openapi/v3") || str_starts(path, "/openapi/v3/"))
        answer_openapi(call);
    else if (str_eq(first, "api") || str_eq(first, "apis"))
        answer_apis(call);
    else
        answer_found(call, NULL);
}
