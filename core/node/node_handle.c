/*
 * node_handle: the agent's own HTTP surface. Requests come on the server's threads; all but /healthz and
 * /metrics is answered on the agent's loop. Only the API server's certificate is let in: whoever may see logs
 * is the API server's to decide.
 */
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "metrics/metrics.h"
#include "node/node_internal.h"

#define SERVER_GROUP "system:minik8s:server"

struct node_requests {
    pthread_mutex_t lock;
    unsigned refs;
    struct node *node; /* NULL once the agent ended */
};

struct request {
    struct node_requests *requests;
    struct http_exchange *x;
};

void node_answer_text(struct http_exchange *x, int status, const char *type, char *text)
{
    http_respond(x, status, type, bytes_from(text, strlen(text)), NULL, 0);
    free(text);
}

void node_answer_error(struct http_exchange *x, enum err_code code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    auto_str message = {0};
    str_vaddf(&message, format, arguments);
    va_end(arguments);
    auto_json status = cJSON_CreateObject();
    json_set_string(status, "kind", "Status");
    json_set_string(status, "apiVersion", "v1");
    json_ensure_object(status, "metadata");
    json_set_string(status, "status", "Failure");
    json_set_string(status, "message", str_c(&message));
    json_set_string(status, "reason", err_reason(code));
    json_set_int(status, "code", err_http_status(code));
    node_answer_text(x, err_http_status(code), "application/json", json_print(status));
}

static bool is_server(const struct http_request *request)
{
    for (size_t i = 0; request->certificate_groups && request->certificate_groups[i]; i++)
        if (str_eq(request->certificate_groups[i], SERVER_GROUP))
            return true;
    return false;
}

/* ---- on the loop ---- */

static struct pod *find_pod(struct node *node, const char *namespace, const char *name)
{
    struct pod *found = NULL;
    map_each (entry, &node->pods) {
        struct pod *pod = entry->value;
        if (!str_eq(pod->namespace, namespace) || !str_eq(pod->name, name) || !pod->object)
            continue;
        if (!found || found->gone)
            found = pod;
    }
    return found;
}

static void handle_pods(struct node *node, struct http_exchange *x)
{
    auto_json list = cJSON_CreateObject();
    json_set_string(list, "kind", "PodList");
    json_set_string(list, "apiVersion", "v1");
    cJSON *items = json_ensure_array(list, "items");
    map_each (entry, &node->pods) {
        struct pod *pod = entry->value;
        if (!pod->object)
            continue;
        cJSON *item = json_push(items, json_copy(pod->object));
        json_set(item, "status", pod_status_build(pod));
    }
    node_answer_text(x, 200, "application/json", json_print(list));
}

static void handle_pod(struct node *node, struct http_exchange *x, char **parts, size_t count)
{
    struct pod *pod = find_pod(node, parts[2], parts[3]);
    if (!pod) {
        node_answer_error(x, ERR_NOT_FOUND, "pods \"%s\" not found on node \"%s\"", parts[3],
                          node->options.name);
        return;
    }
    if (str_eq(parts[1], "portForward")) {
        node_forward_handle(node, x, pod);
        return;
    }
    struct container *c = count > 4 ? pod_container(pod, parts[4]) : NULL;
    if (!c)
        node_answer_error(x, ERR_BAD_REQUEST, "container %s is not valid for pod %s",
                          count > 4 ? parts[4] : "", pod->name);
    else if (str_eq(parts[1], "containerLogs"))
        node_logs_handle(node, x, pod, c);
    else
        node_exec_handle(node, x, pod, c, str_eq(parts[1], "attach"));
}

static void handle(struct node *node, struct http_exchange *x)
{
    size_t count;
    auto_free char **parts = str_split(x->request.path, '/', &count);
    const char *first = count > 1 ? parts[1] : "";
    bool of_pod = str_eq(first, "containerLogs") || str_eq(first, "exec") || str_eq(first, "attach") ||
                  str_eq(first, "portForward");
    if (of_pod && count >= 4)
        handle_pod(node, x, parts, count);
    else if (str_eq(first, "pods"))
        handle_pods(node, x);
    else if (str_eq(first, "stats"))
        node_stats_handle(node, x);
    else if (str_eq(first, "balance") && count == 4)
        node_balance_handle(node, x, parts[2], parts[3]);
    else
        node_answer_error(x, ERR_NOT_FOUND, "the agent has no %s", x->request.path);
}

/* ---- from any thread ---- */

static void requests_unref(struct node_requests *requests)
{
    pthread_mutex_lock(&requests->lock);
    bool last = --requests->refs == 0;
    pthread_mutex_unlock(&requests->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&requests->lock);
    free(requests);
}

static void on_request(void *arg)
{
    struct request *request = arg;
    struct node_requests *requests = request->requests;
    struct http_exchange *x = request->x;
    free(request);
    if (requests->node)
        handle(requests->node, x);
    else
        node_answer_error(x, ERR_UNAVAILABLE, "the agent is ending");
    requests_unref(requests);
}

struct metrics_call {
    struct http_exchange *x;
    const struct node_extension *const *types;
    char *directory;
    struct str text;
};

static void metrics_work(void *arg)
{
    struct metrics_call *call = arg;
    node_extensions_metrics(call->types, call->directory, &call->text);
}

static void metrics_done(void *arg)
{
    struct metrics_call *call = arg;
    node_answer_text(call->x, 200, "text/plain; version=0.0.4", str_take(&call->text));
    free(call->directory);
    free(call);
}

/* Extensions are asked on the pool: theirs may be figures of other processes. */
static void handle_metrics(struct node *node, struct http_exchange *x)
{
    struct metrics_call *call = NEW(struct metrics_call);
    *call = (struct metrics_call){
        .x = x, .types = node->options.extensions, .directory = mem_strdup(node->options.directory)};
    if (node->options.metrics)
        metrics_print(node->options.metrics, &call->text);
    if (call->types && *call->types)
        pool_run(node->options.pool, node->loop, metrics_work, metrics_done, call);
    else
        metrics_done(call);
}

void node_handle(void *arg, struct http_exchange *x)
{
    struct node *node = arg;
    if (str_eq(x->request.path, "/healthz")) {
        node_answer_text(x, 200, "text/plain", mem_strdup("ok"));
        return;
    }
    if (!is_server(&x->request)) {
        node_answer_error(x, x->request.certificate_user ? ERR_FORBIDDEN : ERR_UNAUTHORIZED,
                          "only the API server may ask the agent");
        return;
    }
    if (str_eq(x->request.path, "/metrics")) {
        handle_metrics(node, x);
        return;
    }
    struct request *request = NEW(struct request);
    *request = (struct request){node->requests, x};
    pthread_mutex_lock(&node->requests->lock);
    node->requests->refs++;
    pthread_mutex_unlock(&node->requests->lock);
    loop_post(node->loop, on_request, request);
}

struct node_requests *node_requests_new(struct node *node)
{
    struct node_requests *requests = NEW(struct node_requests);
    pthread_mutex_init(&requests->lock, NULL);
    requests->refs = 1;
    requests->node = node;
    return requests;
}

void node_requests_free(struct node_requests *requests)
{
    if (!requests)
        return;
    requests->node = NULL;
    requests_unref(requests);
}
