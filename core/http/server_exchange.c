/*
 * Exchanges over libmicrohttpd: its callbacks on one side, http_exchange_ops on the other.
 *
 * Invariants: the state of an exchange is guarded by its link's lock, and a connection is suspended only
 * under that lock, so an answer either finds the connection suspended and resumes it, or is found by the
 * callback before it would suspend. An exchange is freed when it is both answered (its user has let go) and
 * completed (libmicrohttpd has let go), in either order. Handlers, pull and closed are called without the
 * lock.
 *
 * Does not: limit concurrency, authenticate, or know paths.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "http/http_private.h"

#define DISCARD_LIMIT (16u << 20) /* of a body that is too large; then the connection is cut */
#define KEEP_BUFFER 4096          /* an idle stream keeps at most this much */

struct exchange {
    struct http_exchange base;
    struct http_link *link;
    struct MHD_Connection *connection; /* NULL once completed */
    char *target;
    struct request_text text;
    struct str body;
    size_t discarded;
    int refuse; /* a status, decided while the body is still coming */
    const char *why;
    bool begun; /* the head was seen */

    /* under link->lock */
    bool dispatched, answered, completed, suspended, woken;
    struct MHD_Response *response;
    int status;

    const struct http_stream_ops *stream_ops;
    void *stream_arg;
    struct str out;
    size_t out_at;
    bool ended;

    http_on_duplex *upgrade_ready;
    void *upgrade_arg;
};

static const struct http_exchange_ops exchange_ops;

static struct http_link *link_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void exchange_free(struct exchange *x)
{
    if (x->response)
        MHD_destroy_response(x->response);
    free(x->target);
    free(x->text.strings);
    free(x->text.pairs);
    str_free(&x->body);
    str_free(&x->out);
    link_unref(x->link);
    free(x);
}

void *exchange_begin(void *server UNUSED, const char *target, struct MHD_Connection *connection)
{
    struct exchange *x = NEW(struct exchange);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    x->base.ops = &exchange_ops;
    x->base.request.received_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    x->link = link_of(connection);
    link_ref(x->link);
    x->connection = connection;
    if (strlen(target) > HTTP_MAX_TARGET) {
        x->refuse = 414;
        x->why = "the request target is too long";
    } else {
        x->target = mem_strdup(target);
    }
    pthread_mutex_lock(&x->link->lock);
    x->link->exchange = x;
    pthread_mutex_unlock(&x->link->lock);
    return x;
}

/* ---- answering ---- */

static const char *refusal_reason(int status)
{
    switch (status) {
    case 413:
        return "RequestEntityTooLarge";
    case 414:
        return "RequestURITooLong";
    case 431:
        return "RequestHeaderFieldsTooLarge";
    default:
        return "BadRequest";
    }
}

static void unref_body(void *body)
{
    bytes_unref(body);
}

static struct MHD_Response *response_of(struct bytes *body)
{
    struct MHD_Response *response =
        body ? MHD_create_response_from_buffer_with_free_callback_cls(body->len, body->data, unref_body, body)
             : MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    must(response);
    return response;
}

static enum MHD_Result refuse(struct exchange *x)
{
    struct MHD_Response *response =
        response_of(http_status_body(x->refuse, refusal_reason(x->refuse), x->why));
    MHD_add_response_header(response, "Content-Type", "application/json");
    MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)x->refuse, response);
    MHD_destroy_response(response);
    pthread_mutex_lock(&x->link->lock);
    x->answered = true;
    pthread_mutex_unlock(&x->link->lock);
    return result;
}

static void add_headers(struct MHD_Response *response, const char *content_type,
                        const struct http_pair *headers, size_t n_headers)
{
    if (content_type)
        MHD_add_response_header(response, "Content-Type", content_type);
    for (size_t i = 0; i < n_headers; i++) {
        if (MHD_add_response_header(response, headers[i].name, headers[i].value) != MHD_YES)
            log_warn("http", "a response header was refused: %s", headers[i].name);
    }
}

/* Makes the answer known; true when nobody will send it any more (the caller cleans up and frees). */
static bool deliver(struct exchange *x, int status, struct MHD_Response *response, bool user_lets_go)
{
    pthread_mutex_lock(&x->link->lock);
    must(!x->answered && !x->response);
    bool lost = x->completed;
    if (!lost) {
        x->answered = user_lets_go;
        x->status = status;
        x->response = response;
        if (x->suspended) {
            x->suspended = false;
            MHD_resume_connection(x->connection);
        }
    }
    pthread_mutex_unlock(&x->link->lock);
    if (lost)
        MHD_destroy_response(response);
    return lost;
}

static void exchange_respond(struct http_exchange *base, int status, const char *content_type,
                             struct bytes *body, const struct http_pair *headers, size_t n_headers)
{
    struct exchange *x = CONTAINER_OF(base, struct exchange, base);
    struct MHD_Response *response = response_of(body);
    add_headers(response, content_type, headers, n_headers);
    if (deliver(x, status, response, true))
        exchange_free(x);
}

/* ---- streams ---- */

static ssize_t stream_read(void *arg, uint64_t position UNUSED, char *buffer, size_t max)
{
    struct exchange *x = arg;
    for (;;) {
        size_t rest = x->out.len - x->out_at;
        if (rest > 0) {
            size_t n = rest < max ? rest : max;
            memcpy(buffer, x->out.data + x->out_at, n);
            x->out_at += n;
            return (ssize_t)n;
        }
        x->out_at = 0;
        str_clear(&x->out);
        if (x->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;

        pthread_mutex_lock(&x->link->lock);
        bool gone = x->link->gone;
        x->woken = false;
        pthread_mutex_unlock(&x->link->lock);
        if (gone)
            return MHD_CONTENT_READER_END_WITH_ERROR;

        enum http_pull pull = x->stream_ops->pull(x->stream_arg, &x->out);
        x->ended = pull == HTTP_PULL_END;
        if (x->out.len > 0 || pull != HTTP_PULL_WAIT)
            continue;
        if (x->out.capacity > KEEP_BUFFER)
            str_free(&x->out);
        pthread_mutex_lock(&x->link->lock);
        bool sleep = !x->woken && !x->link->gone;
        if (sleep) {
            MHD_suspend_connection(x->connection);
            x->suspended = true;
        }
        pthread_mutex_unlock(&x->link->lock);
        if (sleep)
            return 0;
    }
}

static void exchange_stream(struct http_exchange *base, int status, const char *content_type,
                            const struct http_pair *headers, size_t n_headers,
                            const struct http_stream_ops *ops, void *arg)
{
    struct exchange *x = CONTAINER_OF(base, struct exchange, base);
    pthread_mutex_lock(&x->link->lock); /* link_gone looks at them */
    x->stream_ops = ops;
    x->stream_arg = arg;
    pthread_mutex_unlock(&x->link->lock);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, stream_read, x, NULL);
    must(response);
    add_headers(response, content_type, headers, n_headers);
    if (deliver(x, status, response, true)) {
        ops->closed(arg);
        exchange_free(x);
    }
}

static void exchange_wake(struct http_exchange *base)
{
    struct exchange *x = CONTAINER_OF(base, struct exchange, base);
    pthread_mutex_lock(&x->link->lock);
    x->woken = true;
    if (x->suspended) {
        x->suspended = false;
        MHD_resume_connection(x->connection);
    }
    pthread_mutex_unlock(&x->link->lock);
}

void exchange_wake_gone(struct exchange *x)
{
    if (x->stream_ops && x->suspended) {
        x->suspended = false;
        MHD_resume_connection(x->connection);
    }
}

void exchange_wake_stopping(struct exchange *x)
{
    if (x->suspended) {
        x->suspended = false;
        MHD_resume_connection(x->connection);
    }
}

/* ---- upgrades ---- */

/* The socket is duplicated and libmicrohttpd let go of at once: a duplex must be able to outlive the server.
 */
static void upgraded(void *arg, struct MHD_Connection *connection UNUSED, void *context UNUSED,
                     const char *extra, size_t extra_len, MHD_socket socket,
                     struct MHD_UpgradeResponseHandle *handle)
{
    struct exchange *x = arg;
    http_on_duplex *ready = x->upgrade_ready;
    void *ready_arg = x->upgrade_arg;
    int fd = fcntl(socket, F_DUPFD_CLOEXEC, 3);
    int errnum = errno;
    x->upgrade_ready = NULL;
    struct http_duplex *duplex = fd < 0 ? NULL : duplex_from_fd_with(fd, extra, extra_len);
    MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
    struct err *err = NULL;
    if (!duplex)
        err_errno(&err, errnum, "taking over an upgraded connection");
    ready(ready_arg, duplex, err);
    err_free(err);
}

static void fail_upgrade(http_on_duplex *ready, void *arg)
{
    struct err *err = NULL;
    err_set(&err, ERR_UNAVAILABLE, "the client went away before the upgrade");
    ready(arg, NULL, err);
    err_free(err);
}

static void exchange_upgrade(struct http_exchange *base, const struct http_pair *headers, size_t n_headers,
                             http_on_duplex *ready, void *arg)
{
    struct exchange *x = CONTAINER_OF(base, struct exchange, base);
    x->upgrade_ready = ready;
    x->upgrade_arg = arg;
    struct MHD_Response *response = MHD_create_response_for_upgrade(upgraded, x);
    must(response);
    add_headers(response, NULL, headers, n_headers);
    if (deliver(x, MHD_HTTP_SWITCHING_PROTOCOLS, response, true)) {
        fail_upgrade(ready, arg);
        exchange_free(x);
    }
}

static const struct http_exchange_ops exchange_ops = {
    .respond = exchange_respond,
    .stream = exchange_stream,
    .wake = exchange_wake,
    .upgrade = exchange_upgrade,
};

/* ---- libmicrohttpd's side ---- */

static enum MHD_Result see_head(struct exchange *x, const char *method)
{
    struct http_request *request = &x->base.request;
    x->begun = true;
    if (!x->refuse)
        x->refuse = request_build(request, &x->text, x->connection, method, x->target, &x->why);
    const char *length = x->refuse ? NULL : http_request_header(request, "content-length");
    if (length && strtoull(length, NULL, 10) > HTTP_MAX_BODY) {
        x->refuse = 413;
        x->why = "the request body is too large";
    }
    const char *encoding = x->refuse ? NULL : http_request_header(request, "transfer-encoding");
    if (encoding &&
        (length || strcasecmp(encoding, "chunked") != 0)) { /* two readers could disagree where it ends */
        x->refuse = 400;
        x->why = "the length of the request body is ambiguous";
    }
    if (x->refuse)
        return refuse(x);
    if (length)
        str_reserve(&x->body, strtoull(length, NULL, 10) + 1);
    request->remote = x->link->remote;
    request->certificate_user = x->link->user;
    request->certificate_groups = (const char *const *)x->link->groups;
    request->certificate_addresses = (const char *const *)x->link->addresses;
    return MHD_YES;
}

static enum MHD_Result take_body(struct exchange *x, const char *data, size_t *len)
{
    if (x->refuse || x->body.len + *len > HTTP_MAX_BODY) {
        x->refuse = 413;
        x->why = "the request body is too large";
        x->discarded += *len;
        str_free(&x->body);
        if (x->discarded > DISCARD_LIMIT)
            return MHD_NO;
    } else {
        str_add_n(&x->body, data, *len);
    }
    *len = 0;
    return MHD_YES;
}

static enum MHD_Result dispatch(struct exchange *x, struct http_server *server)
{
    x->base.request.body = str_c(&x->body);
    x->base.request.body_len = x->body.len;
    x->dispatched = true;
    server->handler(server->handler_arg, &x->base);
    /* From here x may be answered, but not freed: it is not completed. */
    enum MHD_Result result = MHD_YES;
    pthread_mutex_lock(&x->link->lock);
    bool ready = x->response != NULL;
    if (!ready && x->link->stopping) {
        result = MHD_NO;
    } else if (!ready) {
        MHD_suspend_connection(x->connection);
        x->suspended = true;
    }
    pthread_mutex_unlock(&x->link->lock);
    return ready ? MHD_queue_response(x->connection, (unsigned)x->status, x->response) : result;
}

enum MHD_Result exchange_access(void *arg, struct MHD_Connection *connection UNUSED, const char *url UNUSED,
                                const char *method, const char *version UNUSED, const char *upload,
                                size_t *upload_len, void **context)
{
    struct http_server *server = arg;
    struct exchange *x = *context;
    if (!x->begun)
        return see_head(x, method);
    if (*upload_len > 0)
        return take_body(x, upload, upload_len);
    if (x->refuse)
        return refuse(x);
    if (!x->dispatched)
        return dispatch(x, server);
    pthread_mutex_lock(&x->link->lock);
    bool ready = x->response != NULL;
    pthread_mutex_unlock(&x->link->lock);
    return ready ? MHD_queue_response(x->connection, (unsigned)x->status, x->response) : MHD_NO;
}

void exchange_completed(void *server UNUSED, struct MHD_Connection *connection UNUSED, void **context,
                        enum MHD_RequestTerminationCode why UNUSED)
{
    struct exchange *x = *context;
    if (!x)
        return;
    *context = NULL;
    pthread_mutex_lock(&x->link->lock);
    x->link->exchange = NULL;
    x->completed = true;
    x->suspended = false;
    x->connection = NULL;
    bool free_it = x->answered || !x->dispatched;
    pthread_mutex_unlock(&x->link->lock);
    if (!free_it)
        return;
    if (x->stream_ops)
        x->stream_ops->closed(x->stream_arg);
    if (x->upgrade_ready)
        fail_upgrade(x->upgrade_ready, x->upgrade_arg);
    exchange_free(x);
}
