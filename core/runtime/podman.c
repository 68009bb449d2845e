/*
 * podman: the service process and the calls to it; the vtable.
 *
 * Calls wait while the service is starting; those that were under way when it went fail with ERR_UNAVAILABLE.
 * A bounded number of creates and starts is under way at a time (a storm of them slows every single one).
 * Once the service answers again after it was lost, the owner is told to list.
 *
 * Invariants: every request is answered exactly once and never from inside the call that made it; a freed
 * runtime answers all that is open with ERR_CANCELLED and leaves the service and the containers alone.
 */
#include <stdarg.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define PING_MS 15        /* between two looks at a service that is starting: there is no event for it */
#define MAX_DOWN_MS 30000 /* then waiting calls fail */
#define CALL_TIMEOUT_MS 60000
#define DEFAULT_CONCURRENCY 4
#define CONNECTIONS 128

struct podman_call {
    struct list node;
    struct podman *podman;
    char *method, *target, *body, *registry_auth;
    bool heavy;
    unsigned priority;
    int64_t timeout_ms;
    http_on_data *on_data;
    podman_on_reply *reply;
    void *arg;
    struct http_pending *pending;
    struct err *error; /* ready calls */
};

char *podman_target(const char *format, ...)
{
    auto_str text = {0};
    va_list arguments;
    va_start(arguments, format);
    str_vaddf(&text, format, arguments);
    va_end(arguments);
    return str_take(&text);
}

void podman_emit(struct podman *p, enum runtime_event_type type, const char *name, int exit_code)
{
    struct runtime_event event = {.type = type, .name = name, .exit_code = exit_code};
    if (p->on_event && !p->closing)
        p->on_event(p->on_event_arg, &event);
}

/* ---- calls ---- */

static void call_free(struct podman_call *call)
{
    list_remove(&call->node);
    free(call->method);
    free(call->target);
    free(call->body);
    free(call->registry_auth);
    err_free(call->error);
    free(call);
}

static void start_waiting(struct podman *p);

/* Frees the call, then answers: the answer may free the runtime or make new calls. */
static void call_answer(struct podman_call *call, const struct http_response *response, cJSON *json,
                        struct err *error)
{
    struct podman *p = call->podman;
    podman_on_reply *reply = call->reply;
    void *arg = call->arg;
    if (call->pending && call->heavy)
        p->heavy--;
    call_free(call);
    if (!p->closing)
        start_waiting(p); /* before the answer, which may be the last thing that p lives to see */
    reply(arg, response, json, error);
}

static void on_response(void *arg, const struct http_response *response, struct err *err)
{
    struct podman_call *call = arg;
    if (err) {
        auto_err wrapped = err_copy(err);
        err_wrap(&wrapped, "podman");
        call_answer(call, NULL, NULL, wrapped);
        return;
    }
    auto_json json = response->len ? json_parse_trusted(response->body, response->len) : NULL;
    call_answer(call, response, json, NULL);
}

static bool on_call_data(void *arg, int status, const char *data, size_t len)
{
    struct podman_call *call = arg;
    return call->on_data(call->arg, status, data, len);
}

static void call_send(struct podman_call *call)
{
    struct podman *p = call->podman;
    auto_free char *target = mem_printf(PODMAN_API "%s", call->target);
    struct http_pair header = {"X-Registry-Auth", call->registry_auth};
    struct http_call http = {.method = call->method,
                             .target = target,
                             .content_type = call->body ? "application/json" : NULL,
                             .body = call->body,
                             .body_len = call->body ? strlen(call->body) : 0,
                             .headers = &header,
                             .n_headers = call->registry_auth ? 1 : 0,
                             .timeout_ms = call->timeout_ms,
                             .on_data = call->on_data ? on_call_data : NULL,
                             .on_response = on_response,
                             .arg = call};
    list_remove(&call->node);
    list_add_tail(&p->active, &call->node);
    if (call->heavy)
        p->heavy++;
    call->pending = p->http->ops->call(p->http, &http);
}

static void start_waiting(struct podman *p)
{
    struct podman_call *call, *following;
    if (!p->up)
        return;
    list_each_safe (call, following, &p->waiting, node) {
        if (!call->heavy || p->heavy < p->options.concurrency)
            call_send(call);
    }
}

static struct podman_call *call_new(struct podman *p, podman_on_reply *reply, void *arg)
{
    struct podman_call *call = NEW(struct podman_call);
    list_init(&call->node);
    call->podman = p;
    call->reply = reply;
    call->arg = arg;
    return call;
}

void podman_request(struct podman *p, const struct podman_request *request)
{
    struct podman_call *call = call_new(p, request->reply, request->arg);
    call->method = mem_strdup(request->method);
    call->target = request->target;
    call->body = request->body ? json_print(request->body) : NULL;
    cJSON_Delete(request->body);
    call->registry_auth = mem_strdup(request->registry_auth);
    call->heavy = request->heavy;
    call->priority = request->priority;
    call->on_data = request->on_data;
    call->timeout_ms = request->timeout_ms ? request->timeout_ms : CALL_TIMEOUT_MS;
    struct podman_call *other;
    struct list *before = &p->waiting;
    list_each (other, &p->waiting, node) {
        if (other->priority < call->priority) {
            before = &other->node;
            break;
        }
    }
    list_add_tail(before, &call->node);
    if (!p->closing)
        start_waiting(p);
}

static void on_later(void *arg)
{
    struct podman *p = arg;
    struct podman_call *call = list_first(&p->ready, struct podman_call, node);
    if (!call)
        return;
    if (call->node.next != &p->ready)
        loop_timer_start(p->later, 0); /* one at a time: an answer may free the runtime */
    auto_err error = steal(&call->error);
    call_answer(call, NULL, NULL, error);
}

void podman_reply_later(struct podman *p, podman_on_reply *reply, void *arg, struct err *error)
{
    struct podman_call *call = call_new(p, reply, arg);
    call->error = error;
    list_add_tail(&p->ready, &call->node);
    loop_timer_start(p->later, 0);
}

/* ---- the service ---- */

static void fail_waiting(struct podman *p)
{
    auto_free char *log = podman_log_path(&p->options);
    while (!list_empty(&p->waiting)) {
        struct podman_call *call = list_first(&p->waiting, struct podman_call, node);
        auto_err error = NULL;
        err_set(&error, ERR_UNAVAILABLE, "podman's service has not answered for %d s (log: %s)",
                MAX_DOWN_MS / 1000, log);
        list_remove(&call->node);
        list_add_tail(&p->ready, &call->node);
        call->error = steal(&error);
    }
    if (!list_empty(&p->ready))
        loop_timer_start(p->later, 0);
}

static void on_pong(void *arg, const struct http_response *response, struct err *err)
{
    struct podman *p = arg;
    if (p->up)
        return; /* the answer to an earlier, slower one */
    if (err || response->status != 200) {
        if (loop_now_ms(p->loop) - p->down_since_ms > MAX_DOWN_MS) {
            p->down_since_ms = loop_now_ms(p->loop);
            fail_waiting(p);
        }
        loop_timer_start(p->ping, PING_MS);
        return;
    }
    bool lost = p->was_up;
    p->up = p->was_up = true;
    podman_facts_read(helper_pid(p->helper), &p->facts);
    log_info("runtime", "podman's service answers (process %d)", (int)helper_pid(p->helper));
    start_waiting(p);
    if (lost)
        podman_emit(p, RUNTIME_RESYNC, NULL, 0);
}

static void ping(void *arg)
{
    struct podman *p = arg;
    struct http_call call = {
        .method = "GET", .target = PODMAN_API "/_ping", .timeout_ms = 2000, .on_response = on_pong, .arg = p};
    p->http->ops->call(p->http, &call);
}

static void on_service_start(void *arg, pid_t pid, bool adopted)
{
    struct podman *p = arg;
    log_info("runtime", "podman's service %s (process %d)", adopted ? "found running" : "started", (int)pid);
    p->down_since_ms = loop_now_ms(p->loop);
    loop_timer_start(p->ping, 0);
}

static void on_service_exit(void *arg)
{
    struct podman *p = arg;
    p->up = false;
    p->down_since_ms = loop_now_ms(p->loop);
}

static int start_service(struct podman *p, struct err **err)
{
    auto_free char *pid_file = podman_pid_path(&p->options), *log = podman_log_path(&p->options);
    char **argv = podman_service_argv(&p->options), **environment = podman_service_environment(&p->options);
    struct helper_options options = {.name = "podman's service",
                                     .argv = (const char *const *)argv,
                                     .environment = (const char *const *)environment,
                                     .pid_file = pid_file,
                                     .log_path = log,
                                     .loop = p->loop,
                                     .on_start = on_service_start,
                                     .on_exit = on_service_exit,
                                     .arg = p};
    p->helper = helper_new(&options, err);
    podman_texts_free(argv);
    podman_texts_free(environment);
    return p->helper ? 0 : -1;
}

struct wait_up {
    struct podman *podman;
    struct err *error;
};

static void on_waited(void *arg, const struct http_response *response UNUSED, cJSON *json UNUSED,
                      struct err *err)
{
    struct wait_up *wait = arg;
    wait->error = err ? err_copy(err) : NULL;
    loop_stop(wait->podman->loop);
}

int podman_wait_up(struct runtime *r, struct err **err)
{
    struct wait_up wait = {.podman = CONTAINER_OF(r, struct podman, base)};
    struct podman_request request = {
        .method = "GET", .target = mem_strdup("/_ping"), .reply = on_waited, .arg = &wait};
    podman_request(wait.podman, &request);
    loop_run(wait.podman->loop);
    return wait.error ? err_move(err, &wait.error) : 0;
}

/* ---- the vtable ---- */

static void set_on_event(struct runtime *r, runtime_on_event *on_event, void *arg)
{
    struct podman *p = CONTAINER_OF(r, struct podman, base);
    p->on_event = on_event;
    p->on_event_arg = arg;
}

static void cancel_all(struct podman *p, struct list *calls)
{
    while (!list_empty(calls)) {
        struct podman_call *call = list_first(calls, struct podman_call, node);
        auto_err error = NULL;
        err_set(&error, ERR_CANCELLED, "the runtime was closed");
        if (call->pending)
            p->http->ops->cancel(p->http, call->pending);
        call_answer(call, NULL, NULL, error);
    }
}

static void free_options(struct runtime_podman_options *options)
{
    free((char *)options->directory);
    free((char *)options->storage);
    free((char *)options->cluster);
    free((char *)options->node);
    free((char *)options->oci_runtime);
    free((char *)options->socket);
    free((char *)options->driver);
    free((char *)options->shared_images);
    podman_texts_free((char **)options->insecure_registries);
}

static void podman_free(struct runtime *r)
{
    struct podman *p = CONTAINER_OF(r, struct podman, base);
    p->closing = true;
    map_fini(&p->records);
    while (!list_empty(&p->active) || !list_empty(&p->waiting) || !list_empty(&p->ready) ||
           !list_empty(&p->sandbox_waiting) || !list_empty(&p->sandbox_starting)) {
        podman_sandbox_cancel(p);
        cancel_all(p, &p->active);
        cancel_all(p, &p->waiting);
        cancel_all(p, &p->ready);
    }
    podman_streams_cancel(p);
    podman_pulls_free(p);
    helper_free(p->helper);
    podman_watch_close(p);
    map_fini(&p->images);
    loop_timer_free(p->ping);
    loop_timer_free(p->health);
    loop_timer_free(p->later);
    if (p->http)
        p->http->ops->free(p->http);
    free_options(&p->options);
    free(p);
}

static const struct runtime_ops podman_ops = {.set_on_event = set_on_event,
                                              .list = podman_op_list,
                                              .image = podman_op_image,
                                              .images = podman_op_images,
                                              .create = podman_op_create,
                                              .start = podman_op_start,
                                              .inspect = podman_op_inspect,
                                              .signal = podman_op_signal,
                                              .leaving = podman_op_leaving,
                                              .remove = podman_op_remove,
                                              .exec = podman_op_exec,
                                              .exec_stream = podman_op_exec_stream,
                                              .exec_resize = podman_op_exec_resize,
                                              .exec_exit = podman_op_exec_exit,
                                              .attach = podman_op_attach,
                                              .resize = podman_op_resize,
                                              .reopen_log = podman_op_reopen_log,
                                              .stats = podman_op_stats,
                                              .info = podman_op_info,
                                              .free = podman_free};

static const char *const *copy_texts(const char *const *texts)
{
    size_t count = 0;
    while (texts && texts[count])
        count++;
    char **copy = texts ? mem_array(count + 1, sizeof(char *)) : NULL;
    for (size_t i = 0; i < count; i++)
        copy[i] = mem_strdup(texts[i]);
    return (const char *const *)copy;
}

struct runtime *runtime_podman_new(const struct runtime_podman_options *options, struct err **err)
{
    if (podman_config_write(options, err) < 0)
        return NULL;
    struct podman *p = NEW(struct podman);
    p->base.ops = &podman_ops;
    p->options = (struct runtime_podman_options){
        .directory = mem_strdup(options->directory),
        .storage = mem_strdup(options->storage),
        .cluster = mem_strdup(options->cluster),
        .node = mem_strdup(options->node),
        .oci_runtime = mem_strdup(options->oci_runtime),
        .socket = mem_strdup(options->socket),
        .driver = mem_strdup(options->driver),
        .shared_images = mem_strdup(options->shared_images),
        .insecure_registries = copy_texts(options->insecure_registries),
        .concurrency = options->concurrency ? options->concurrency : DEFAULT_CONCURRENCY};
    p->loop = options->loop;
    p->inotify = -1;
    list_init(&p->waiting);
    list_init(&p->active);
    list_init(&p->ready);
    list_init(&p->pulls);
    list_init(&p->streams);
    list_init(&p->sandbox_waiting);
    list_init(&p->sandbox_starting);
    map_init(&p->records, podman_record_free);
    map_init(&p->images, free);
    p->ping = loop_timer_new(p->loop, ping, p);
    p->later = loop_timer_new(p->loop, on_later, p);
    podman_facts_read(0, &p->facts);
    auto_free char *socket = podman_socket_path(&p->options);
    struct http_client_options http = {
        .base_url = "http://d", .unix_path = socket, .max_connections = CONNECTIONS};
    p->http = http_client_curl_new(p->loop, &http, err);
    if (p->http && podman_watch_open(p, err) == 0 && start_service(p, err) == 0) {
        podman_health_start(p, 0);
        return &p->base;
    }
    podman_free(&p->base);
    return NULL;
}
