/*
 * The api as a whole: making it, and taking one request from exchange to handler: route, identity, kind,
 * permission, verb. No verb's own work is here.
 */
#include <string.h>

#include "api/api_internal.h"

#define LIST_BYTES_DEFAULT (64u << 20)

static void add_shared(void *arg, const struct schema_kind *kind)
{
    struct api *api = arg;
    const struct schema_kind_info *info = schema_kind_info(kind);
    size_t count = 0;
    if (!info->every_node)
        return;
    while (api->node_shared && api->node_shared[count])
        count++;
    api->node_shared = mem_resize(api->node_shared, count + 2, sizeof(*api->node_shared));
    api->node_shared[count] = info->resource;
    api->node_shared[count + 1] = NULL;
}

struct api *api_new(const struct api_options *options, struct err **err)
{
    struct api *api = NEW(struct api);
    api->options = *options;
    api->store = options->store;
    api->clock = options->clock;
    api->random = options->random;
    api->schema = options->schema;
    api->git_version = mem_strdup(options->git_version ? options->git_version : "v1.35.0");
    api->product_version = mem_strdup(options->product_version ? options->product_version : "0");
    api->list_bytes_max = options->list_bytes_in_flight ? options->list_bytes_in_flight : LIST_BYTES_DEFAULT;
    api->counters = counters_new(api);
    api->streams = streams_new(api);
    api->nodes = nodes_new(api);
    api->collector = metrics_collector_new(api);
    api->node_shared = mem_array(1, sizeof(*api->node_shared));
    schema_each(api->schema, add_shared, api);
    api->repl = repl_new(api);
    if (kinds_load(api, err) < 0 || !(api->ranges = ranges_new(api, err)) ||
        !(api->quotas = quotas_new(api, err))) {
        api_free(api);
        return NULL;
    }
    blobs_init(api);
    return api;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    pool_free(api->blob_pool);
    pool_free(api->backup_pool);
    metrics_collector_free(api->collector);
    repl_free(api->repl);
    nodes_free(api->nodes);
    streams_free(api->streams);
    ranges_free(api->ranges);
    quotas_free(api->quotas);
    counters_free(api->counters);
    free(api->node_shared);
    free(api->git_version);
    free(api->product_version);
    free(api);
}

/* ---- verbs ---- */

static int fail_unknown(struct err **err)
{
    return err_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
}

static int fail_method(struct err **err)
{
    return err_set(err, ERR_METHOD_NOT_ALLOWED,
                   "the server does not allow this method on the requested resource");
}

static bool verb_in(const struct call *call, const char *verbs)
{
    const char *at = strstr(verbs, call->verb);
    size_t len = strlen(call->verb);
    return at && (at == verbs || at[-1] == ' ') && (at[len] == ' ' || at[len] == 0);
}

struct subresource {
    const char *resource, *name, *verbs; /* resource NULL: every kind that declares it */
    call_handler *handler;               /* NULL: get or write by verb */
};

static const struct subresource *find_subresource(const struct call *call)
{
    static const struct subresource known[] = {
        {NULL, "status", "get update patch", NULL},
        {NULL, "scale", "get update patch", NULL},
        {"namespaces", "finalize", "update", NULL},
        {"pods", "binding", "create", NULL},
        {"pods", "eviction", "create", NULL},
        {"pods", "ephemeralcontainers", "get update patch", NULL},
        {"pods", "log", "get", handle_node_proxy},
        {"pods", "exec", "get create", handle_node_proxy},
        {"pods", "attach", "get create", handle_node_proxy},
        {"pods", "portforward", "get create", handle_node_proxy},
        {"nodes", "proxy", "get", handle_node_proxy},
        {"serviceaccounts", "token", "create", handle_token},
        {NULL, "blobs", "get update", handle_blobs},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (!str_eq(known[i].name, call->subresource))
            continue;
        if (known[i].resource && !str_eq(known[i].resource, call->info->resource))
            continue;
        if (str_eq(known[i].name, "status") && !call->info->has_status)
            continue;
        if (str_eq(known[i].name, "scale") && !call->info->has_scale)
            continue;
        if (str_eq(known[i].name, "blobs") && !schema_blob_limit(call->kind))
            continue;
        return &known[i];
    }
    return NULL;
}

static call_handler *handler_of_object(const struct call *call, struct err **err)
{
    if (str_eq(call->verb, "get"))
        return handle_get;
    if (str_eq(call->verb, "list"))
        return handle_list;
    if (str_eq(call->verb, "watch"))
        return handle_watch;
    if (str_eq(call->verb, "deletecollection"))
        return handle_delete_collection;
    if (!call->subresource && (str_eq(call->verb, "create") ? call->name != NULL : call->name == NULL)) {
        fail_method(err);
        return NULL;
    }
    return handle_write;
}

static call_handler *choose_handler(struct call *call, struct err **err)
{
    if (call->info->read_only && !verb_in(call, "get list")) {
        fail_method(err);
        return NULL;
    }
    if (metrics_is(call) && !call->subresource && call->api->collector)
        return handle_metrics;
    if (!call->subresource)
        return handler_of_object(call, err);
    const struct subresource *sub = find_subresource(call);
    if (!sub) {
        fail_unknown(err);
        return NULL;
    }
    if (!verb_in(call, sub->verbs)) {
        fail_method(err);
        return NULL;
    }
    return sub->handler ? sub->handler : handler_of_object(call, err);
}

/* ---- places ---- */

/* Objects of namespaced kinds live in a namespace; only reading and watching may span all of them. */
static int check_place(const struct call *call, struct err **err)
{
    if (!call->info->namespaced && call->namespace)
        return fail_unknown(err);
    if (!call->info->namespaced || call->namespace)
        return 0;
    if (call->name)
        return fail_unknown(err);
    return str_eq(call->verb, "create") ? fail_method(err) : 0;
}

static int find_kind(struct call *call, struct err **err)
{
    versions_find(call);
    if (call->conversion && str_eq(call->verb, "watch"))
        return fail_method(err);
    call->kind = schema_find(call->api->schema, call->group, call->version, call->plural);
    if (!call->kind)
        return fail_unknown(err);
    call->info = schema_kind_info(call->kind);
    if (call->info->deprecation)
        call_warn(call, call->info->deprecation);
    return 0;
}

/* One name is asked for, also where it is selected by fieldSelector metadata.name=NAME: a role that names
 * objects then covers list and watch. */
static int check_access(struct call *call, struct err **err)
{
    struct selection selection = {0};
    struct access access = {.verb = call->verb,
                            .group = call->group,
                            .resource = call->plural,
                            .subresource = call->subresource,
                            .namespace = call->namespace,
                            .name = call->name};
    if (!*call->group && str_eq(call->plural, "namespaces"))
        access.namespace = call->name;
    bool selects = !call->name && verb_in(call, "list watch deletecollection") &&
                   selection_read(call, &selection, NULL) == 0;
    if (selects && selection.name)
        access.name = selection.name;
    int result = identity_allows(call->api, &call->identity, &access, err);
    if (selects)
        selection_fini(&selection);
    return result;
}

/* The product's own endpoints, which are no kinds. */
static call_handler *own_handler(const struct call *call)
{
    static const struct {
        const char *plural, *method;
        call_handler *handler;
    } own[] = {{"backups", "POST", handle_backup},     {"batches", "POST", handle_batch},
               {"stream", "GET", handle_stream},       {"join", "POST", handle_join},
               {"past", "GET", handle_past},           {"repl", "GET", handle_repl},
               {"replhosts", "GET", handle_repl_host}, {"jointokens", "POST", handle_join_token}};
    if (!str_eq(call->group, "minik8s.io") || !str_eq(call->version, "v1") || call->name)
        return NULL;
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        if (str_eq(call->plural, own[i].plural) && str_eq(call->request->method, own[i].method))
            return own[i].handler;
    }
    return NULL;
}

static call_handler *route(struct call *call, struct err **err)
{
    if (route_parse(call, err) < 0)
        return NULL;
    bool join =
        str_eq(call->plural, "join") && str_eq(call->group, "minik8s.io"); /* its token is no user's */
    if (!join && identity_read(call->api, call->request, &call->identity, err) < 0)
        return NULL;
    if (!call->plural)
        return handle_non_resource;
    call_handler *own = own_handler(call);
    if (own)
        return own;
    if (review_is(call))
        return check_access(call, err) < 0 ? NULL : handle_review;
    call_read_accept(call);
    if (find_kind(call, err) < 0 || check_place(call, err) < 0 || check_access(call, err) < 0)
        return NULL;
    return choose_handler(call, err);
}

void api_handle(void *arg, struct http_exchange *exchange)
{
    struct call *call = NEW(struct call);
    struct err *err = NULL;
    call->api = arg;
    call->x = exchange;
    call->request = &exchange->request;
    call_handler *handler = route(call, &err);
    if (handler)
        handler(call);
    else
        call_fail(call, err);
}
