/*
 * Which cluster, and requests to it. The kubeconfig is, in this order: --kubeconfig, $KUBECONFIG,
 * $MINIK8S_DIR/kubeconfig, the demo cluster's, ~/.kube/config.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "kubectl.h"

#define DEMO_KUBECONFIG "/var/lib/minik8s/demo/kubeconfig"

char *kubectl_config_path(const struct kubectl *k)
{
    const char *from_environment = getenv("KUBECONFIG"), *directory = getenv("MINIK8S_DIR"),
               *home = getenv("HOME");
    if (k->flags.kubeconfig)
        return mem_strdup(k->flags.kubeconfig);
    if (!str_empty(from_environment))
        return mem_strdup(from_environment);
    if (!str_empty(directory))
        return file_join(directory, "kubeconfig");
    if (file_exists(DEMO_KUBECONFIG) || str_empty(home))
        return mem_strdup(DEMO_KUBECONFIG);
    return file_join(home, ".kube/config");
}

static const char *server_of(const struct kubectl *k)
{
    return k->flags.server ? k->flags.server : k->config.server;
}

static int no_cluster(const char *path, struct err **err)
{
    if (file_exists(path))
        return err_wrap(err, "the kubeconfig %s cannot be used", path);
    err_free(*err);
    *err = NULL;
    return err_set(
        err, ERR_NOT_FOUND,
        "no cluster to talk to: there is no kubeconfig %s. Start one with ci/demo or 'minik8s cluster "
        "up', or name one by --kubeconfig, KUBECONFIG or MINIK8S_DIR",
        path);
}

/* --as, --as-group, --as-uid; for the caller to free. */
static struct http_pair *impersonation(const struct kubectl_flags *flags, size_t *count)
{
    struct http_pair *headers = mem_array(flags->n_as_groups + 2, sizeof *headers);
    if (flags->as)
        headers[(*count)++] = (struct http_pair){"Impersonate-User", flags->as};
    if (flags->as_uid)
        headers[(*count)++] = (struct http_pair){"Impersonate-Uid", flags->as_uid};
    for (size_t i = 0; i < flags->n_as_groups; i++)
        headers[(*count)++] = (struct http_pair){"Impersonate-Group", flags->as_groups[i]};
    return headers;
}

int kubectl_connect(struct kubectl *k, struct err **err)
{
    auto_free char *path = kubectl_config_path(k);
    auto_err failed = NULL;
    if (kubeconfig_load(path, &k->config, &failed) < 0) {
        no_cluster(path, &failed);
        return err_move(err, &failed);
    }
    if (k->flags.namespace)
        k->namespace = mem_strdup(k->flags.namespace);
    else
        k->namespace = mem_strdup(str_empty(k->config.namespace) ? "default" : k->config.namespace);
    k->loop = loop_new(err);
    if (!k->loop)
        return -1;
    size_t n_headers = 0;
    auto_free struct http_pair *headers = impersonation(&k->flags, &n_headers);
    /* A token that is given stands for itself: the certificate of the kubeconfig would win on the server. */
    const struct http_client_options options = {
        .base_url = server_of(k),
        .ca_pem = k->config.ca_pem,
        .certificate_pem = k->flags.token ? NULL : k->config.certificate_pem,
        .key_pem = k->flags.token ? NULL : k->config.key_pem,
        .bearer_token = k->flags.token ? k->flags.token : k->config.token,
        .agent = "minikubectl",
        .headers = headers,
        .n_headers = n_headers,
        .max_connections = KUBECTL_STREAMS_MAX + 4,
    };
    k->http = http_client_curl_new(k->loop, &options, err);
    return k->http ? 0 : -1;
}

void kubectl_disconnect(struct kubectl *k)
{
    if (k->http)
        k->http->ops->free(k->http);
    if (k->loop)
        loop_free(k->loop);
    for (size_t i = 0; i < k->n_resources; i++)
        free(k->resources[i].name);
    free(k->resources);
    for (size_t i = 0; i < k->n_sources; i++)
        free(k->sources[i]);
    free(k->sources);
    cJSON_Delete(k->discovery);
    kubeconfig_fini(&k->config);
    free(k->namespace);
}

/* ---- one answer ---- */

struct answer {
    struct loop *loop;
    int status;
    struct str body;
    struct err *err;
};

/* Warning: 299 - "text" */
static void print_warnings(const struct http_response *response)
{
    for (size_t i = 0; i < response->n_headers; i++) {
        if (!str_eq(response->headers[i].name, "warning"))
            continue;
        const char *text = strchr(response->headers[i].value, '"');
        auto_str plain = {0};
        for (text = text ? text + 1 : ""; *text && *text != '"'; text++) {
            text += *text == '\\' && text[1];
            str_add_char(&plain, *text);
        }
        if (plain.len)
            fprintf(stderr, "Warning: %s\n", str_c(&plain));
    }
}

/* What a failed connection is called: the address belongs to it. */
static int unreachable(struct kubectl *k, struct err **failed, struct err **err)
{
    if (err_code(*failed) == ERR_TIMEOUT)
        err_set(err, ERR_TIMEOUT, "the server %s did not answer in time (%s)", server_of(k),
                err_message(*failed));
    else
        err_set(err, err_code(*failed),
                "the connection to the server %s failed (%s) - is the cluster up, and is this its address?",
                server_of(k), err_message(*failed));
    err_free(*failed);
    *failed = NULL;
    return -1;
}

static void on_response(void *arg, const struct http_response *response, struct err *err)
{
    struct answer *answer = arg;
    if (err) {
        answer->err = err_copy(err);
    } else {
        answer->status = response->status;
        str_add_n(&answer->body, response->body, response->len);
        print_warnings(response);
    }
    loop_stop(answer->loop);
}

static struct err *status_error(const char *text, size_t len, int http_status)
{
    auto_json status = json_parse_trusted(text, len);
    struct err *err = NULL;
    const cJSON *causes = json_at(status, "details.causes");
    json_each (cause, causes)
        err_add_cause(&err, json_string_or(cause, "reason", ""), json_string_or(cause, "field", ""), "%s",
                      json_string_or(cause, "message", ""));
    enum err_code code = err_code_from_status(http_status, json_string(status, "reason"));
    if (!err) {
        err_set(&err, code ? code : ERR_INTERNAL, "%s", json_string_or(status, "message", text ? text : ""));
        return err;
    }
    free(err->message);
    err->message = mem_strdup(json_string_or(status, "message", ""));
    err->code = code ? code : ERR_INTERNAL;
    return err;
}

static int ask_bytes(struct kubectl *k, const char *method, const char *target, const char *accept,
                     const char *content_type, const void *body, size_t len, struct str *out,
                     struct err **err)
{
    const struct http_pair headers[] = {{"Accept", accept ? accept : "application/json"}};
    struct answer answer = {.loop = k->loop};
    const struct http_call call = {
        .method = method,
        .target = target,
        .content_type = content_type,
        .body = body,
        .body_len = len,
        .headers = headers,
        .n_headers = 1,
        .timeout_ms = k->flags.request_timeout_s > 0 ? k->flags.request_timeout_s * 1000 : 60000,
        .on_response = on_response,
        .arg = &answer,
    };
    k->http->ops->call(k->http, &call);
    loop_run(k->loop);
    if (answer.err) {
        str_free(&answer.body);
        return unreachable(k, &answer.err, err);
    }
    if (answer.status >= 400) {
        struct err *refused = status_error(str_c(&answer.body), answer.body.len, answer.status);
        str_free(&answer.body);
        return err_move(err, &refused);
    }
    *out = answer.body;
    return 0;
}

static int ask(struct kubectl *k, const char *method, const char *target, const char *accept,
               const char *content_type, const cJSON *body, struct str *out, struct err **err)
{
    auto_free char *text = body ? json_print(body) : NULL;
    const char *type = !body ? NULL : content_type ? content_type : "application/json";
    return ask_bytes(k, method, target, accept, type, text, text ? strlen(text) : 0, out, err);
}

int kubectl_request_bytes(struct kubectl *k, const char *method, const char *target, const void *data,
                          size_t len, struct str *out, struct err **err)
{
    return ask_bytes(k, method, target, NULL, data ? "application/octet-stream" : NULL, data, len, out, err);
}

cJSON *kubectl_request(struct kubectl *k, const char *method, const char *target, const char *accept,
                       const char *content_type, const cJSON *body, struct err **err)
{
    auto_str text = {0};
    if (ask(k, method, target, accept, content_type, body, &text, err) < 0)
        return NULL;
    cJSON *answer = json_parse_trusted(str_c(&text), text.len);
    if (!answer)
        err_set(err, ERR_INTERNAL, "the server's answer to %s %s is not JSON", method, target);
    return answer;
}

char *kubectl_request_text(struct kubectl *k, const char *target, struct err **err)
{
    struct str text = {0};
    return ask(k, "GET", target, NULL, NULL, NULL, &text, err) < 0 ? NULL : str_take(&text);
}

/* ---- streams ---- */

struct line_stream {
    struct streams *all;
    const char *prefix;
    struct str line; /* an unfinished line, or the body of a refusal */
    int status;
    struct err *err;
    struct http_pending *pending;
};

struct streams {
    struct kubectl *k;
    bool (*on_line)(void *arg, const char *line, size_t len); /* NULL: to stdout */
    void *arg;
    bool raw; /* bytes as they come: one stream without a prefix */
    struct line_stream *list;
    size_t count, running;
    bool timed_out;
};

static bool take_line(struct line_stream *stream)
{
    struct streams *all = stream->all;
    if (all->on_line)
        return all->on_line(all->arg, str_c(&stream->line), stream->line.len);
    printf("%s", stream->prefix ? stream->prefix : "");
    fwrite(str_c(&stream->line), 1, stream->line.len, stdout);
    return putchar('\n') != EOF && fflush(stdout) == 0;
}

static bool on_data(void *arg, int status, const char *data, size_t len)
{
    struct line_stream *stream = arg;
    stream->status = status;
    if (status >= 400) {
        str_add_n(&stream->line, data, len);
        return true;
    }
    if (stream->all->raw)
        return fwrite(data, 1, len, stdout) == len && fflush(stdout) == 0;
    while (len) {
        const char *end = memchr(data, '\n', len);
        size_t part = end ? (size_t)(end - data) : len;
        str_add_n(&stream->line, data, part);
        data += part + (end != NULL);
        len -= part + (end != NULL);
        if (!end)
            return true;
        bool go_on = take_line(stream);
        str_clear(&stream->line);
        if (!go_on)
            return false;
    }
    return true;
}

static void on_stream_end(void *arg, const struct http_response *response, struct err *err)
{
    struct line_stream *stream = arg;
    stream->pending = NULL;
    if (response)
        stream->status = response->status;
    if (err && err_code(err) != ERR_CANCELLED)
        stream->err = err_copy(err);
    if (--stream->all->running == 0)
        loop_stop(stream->all->k->loop);
}

static void on_timeout(void *arg)
{
    struct streams *all = arg;
    for (size_t i = 0; i < all->count; i++) {
        if (all->list[i].pending)
            all->k->http->ops->cancel(all->k->http, all->list[i].pending);
        all->list[i].pending = NULL;
    }
    all->timed_out = true;
    loop_stop(all->k->loop);
}

/* What became of a stream; the first failure counts. */
static void conclude(struct line_stream *stream, struct err **err)
{
    struct err *failed = NULL;
    if (stream->err)
        unreachable(stream->all->k, &stream->err, &failed);
    else if (stream->status >= 400)
        failed = status_error(str_c(&stream->line), stream->line.len, stream->status);
    else if (stream->line.len)
        take_line(stream);
    if (failed)
        err_move(err, &failed);
    str_free(&stream->line);
}

static int run_streams(struct streams *all, const char *const *targets, const char *const *prefixes,
                       const char *accept, int64_t timeout_ms, struct err **err)
{
    struct kubectl *k = all->k;
    const struct http_pair headers[] = {{"Accept", accept ? accept : "application/json"}};
    auto_free struct line_stream *list = mem_array(all->count, sizeof(*list));
    struct loop_timer *timer = loop_timer_new(k->loop, on_timeout, all);
    if (timeout_ms > 0)
        loop_timer_start(timer, timeout_ms);
    all->list = list;
    all->running = all->count;
    for (size_t i = 0; i < all->count; i++) {
        list[i] = (struct line_stream){.all = all, .prefix = prefixes ? prefixes[i] : NULL};
        const struct http_call call = {.method = "GET",
                                       .target = targets[i],
                                       .headers = headers,
                                       .n_headers = 1,
                                       .on_data = on_data,
                                       .on_response = on_stream_end,
                                       .arg = &list[i]};
        list[i].pending = k->http->ops->call(k->http, &call);
    }
    if (all->running)
        loop_run(k->loop);
    loop_timer_free(timer);
    auto_err failed = NULL;
    for (size_t i = 0; i < all->count; i++)
        conclude(&list[i], &failed);
    if (all->timed_out)
        return err_set(err, ERR_TIMEOUT, "timed out");
    return failed ? err_move(err, &failed) : 0;
}

int kubectl_stream_lines(struct kubectl *k, const char *target, const char *accept, int64_t timeout_ms,
                         bool (*on_line)(void *arg, const char *line, size_t len), void *arg,
                         struct err **err)
{
    struct streams all = {.k = k, .on_line = on_line, .arg = arg, .count = 1};
    return run_streams(&all, &target, NULL, accept, timeout_ms, err);
}

int kubectl_stream_text(struct kubectl *k, const char *const *targets, const char *const *prefixes,
                        size_t count, struct err **err)
{
    struct streams all = {.k = k, .count = count, .raw = count == 1 && !prefixes[0]};
    return run_streams(&all, targets, prefixes, "*/*", 0, err);
}
