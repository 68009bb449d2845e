/*
 * Tunnels: an HTTP upgrade whose connection then carries raw bytes. libcurl's multi interface cannot send
 * after a 101, but a connection made with CONNECT_ONLY can be read and written directly, TLS included
 * (contract 6). Each tunnel has a multi handle of its own, so it may outlive the client that opened it.
 *
 * Order: connect (curl on the loop) → write head and body → read the answer's head → 101: hand out the
 * duplex; else read the body to its end by Content-Length, chunks or close, and hand out the response. One
 * deadline for all of it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "http/client_private.h"

#define TUNNEL_MAX_BODY (1u << 20)
#define TUNNEL_ANSWER_MS 30000

struct tunnel {
    struct http_duplex base;
    struct list node;
    struct client_identity *identity;
    struct client_multi multi;
    CURL *easy;
    struct loop_fd *watch;
    struct loop_timer *deadline, *soon;
    char *method, *target;
    char error[CURL_ERROR_SIZE];
    CURLcode result;
    int fd;
    bool connected;
    struct str request;
    size_t sent;
    struct str answer; /* raw; what follows the head of a 101 is the duplex's first bytes */
    size_t head_len;   /* 0: not complete yet */
    size_t read_at;    /* of answer, by the duplex */
    int status;
    struct client_head head;
    bool at_end;
    void (*ready)(void *arg, const struct http_response *response, struct http_duplex *duplex,
                  struct err *err);
    void *arg;
};

static void tunnel_free(struct tunnel *t)
{
    list_remove(&t->node);
    loop_fd_remove(t->watch);
    loop_timer_free(t->deadline);
    loop_timer_free(t->soon);
    if (t->easy) {
        curl_multi_remove_handle(t->multi.multi, t->easy); /* disconnects */
        curl_easy_cleanup(t->easy);
    }
    client_multi_fini(&t->multi);
    client_identity_unref(t->identity);
    str_free(&t->request);
    str_free(&t->answer);
    str_free(&t->head.names);
    free(t->method);
    free(t->target);
    free(t);
}

/* ---- the duplex ---- */

static ssize_t tunnel_read(struct http_duplex *base, void *data, size_t len)
{
    struct tunnel *t = CONTAINER_OF(base, struct tunnel, base);
    size_t kept = t->answer.len - t->read_at;
    if (kept > 0) {
        size_t n = kept < len ? kept : len;
        memcpy(data, t->answer.data + t->read_at, n);
        t->read_at += n;
        if (t->read_at == t->answer.len) {
            str_free(&t->answer);
            t->read_at = 0;
        }
        return (ssize_t)n;
    }
    size_t n = 0;
    CURLcode code = curl_easy_recv(t->easy, data, len, &n);
    if (code == CURLE_OK)
        return (ssize_t)n;
    errno = code == CURLE_AGAIN ? EAGAIN : EIO;
    return -1;
}

static ssize_t tunnel_write(struct http_duplex *base, const void *data, size_t len)
{
    struct tunnel *t = CONTAINER_OF(base, struct tunnel, base);
    size_t n = 0;
    CURLcode code = curl_easy_send(t->easy, data, len, &n);
    if (code == CURLE_OK && (n > 0 || len == 0))
        return (ssize_t)n;
    errno = code == CURLE_AGAIN || code == CURLE_OK ? EAGAIN : EIO;
    return -1;
}

static int tunnel_fd(struct http_duplex *base)
{
    return CONTAINER_OF(base, struct tunnel, base)->fd;
}

static void tunnel_shutdown_write(struct http_duplex *base)
{
    struct tunnel *t = CONTAINER_OF(base, struct tunnel, base);
    /* Over TLS this leaves out the close_notify, which curl cannot send without closing altogether. The front
     * takes it as the end of that direction. */
    shutdown(t->fd, SHUT_WR);
}

static void tunnel_close(struct http_duplex *base)
{
    tunnel_free(CONTAINER_OF(base, struct tunnel, base));
}

static const struct http_duplex_ops tunnel_ops = {
    .read = tunnel_read,
    .write = tunnel_write,
    .fd = tunnel_fd,
    .shutdown_write = tunnel_shutdown_write,
    .close = tunnel_close,
};

/* ---- the answer ---- */

static void fail(struct tunnel *t, enum err_code code, const char *what)
{
    auto_err err = NULL;
    err_set(&err, code, "%s %.*s: %s", t->method, (int)strcspn(t->target, "?"), t->target, what);
    t->ready(t->arg, NULL, NULL, err);
    tunnel_free(t);
}

static const char *head_value(const struct http_pair *pairs, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(pairs[i].name, name) == 0)
            return pairs[i].value;
    }
    return NULL;
}

/* Decodes a chunked body in place. 1: complete, 0: more to come, -1: malformed. */
static int unchunk(const char *in, size_t len, struct str *out)
{
    size_t at = 0;
    for (;;) {
        const char *line_end = memmem(in + at, len - at, "\r\n", 2);
        if (!line_end)
            return len - at > 64 ? -1 : 0;
        char *end;
        unsigned long size = strtoul(in + at, &end, 16);
        if (end == in + at || (*end != '\r' && *end != ';') || size > TUNNEL_MAX_BODY)
            return -1;
        at = (size_t)(line_end - in) + 2;
        if (size == 0)
            return 1;
        if (len - at < size + 2)
            return 0;
        str_add_n(out, in + at, size);
        at += size + 2;
    }
}

static bool parse_head(struct tunnel *t)
{
    const char *start = str_c(&t->answer);
    const char *end = memmem(start, t->answer.len, "\r\n\r\n", 4);
    if (!end)
        return false;
    t->head_len = (size_t)(end - start) + 4;
    if (sscanf(start, "HTTP/1.%*1[01] %3d", &t->status) != 1)
        t->status = 0;
    const char *line = (const char *)memmem(start, t->head_len, "\r\n", 2) + 2;
    while (line < start + t->head_len - 2) {
        const char *line_end = memmem(line, t->head_len - (size_t)(line - start), "\r\n", 2);
        client_head_add_line(&t->head, line, (size_t)(line_end - line));
        line = line_end + 2;
    }
    return true;
}

static void deliver_duplex(struct tunnel *t, const struct http_response *response)
{
    list_remove(&t->node);
    loop_fd_remove(t->watch);
    t->watch = NULL;
    loop_timer_stop(t->deadline);
    loop_timer_stop(t->soon);
    str_free(&t->request);
    t->read_at = t->head_len;
    if (t->read_at == t->answer.len) {
        str_free(&t->answer);
        t->read_at = 0;
    }
    t->ready(t->arg, response, &t->base, NULL);
}

/* True: delivered or failed, t is not ours any more. */
static bool answer_complete(struct tunnel *t)
{
    if (t->head_len == 0 && !parse_head(t)) {
        if (!t->at_end && t->answer.len < HTTP_MAX_HEADERS)
            return false;
        fail(t, ERR_UNAVAILABLE, "the connection ended before the answer");
        return true;
    }
    if (t->status >= 100 && t->status < 200 && t->status != 101) {
        str_free(&t->head.names);
        t->head.count = 0;
        memmove(t->answer.data, t->answer.data + t->head_len, t->answer.len - t->head_len + 1);
        t->answer.len -= t->head_len;
        t->head_len = 0;
        return answer_complete(t);
    }
    auto_free struct http_pair *pairs = client_head_pairs(&t->head);
    struct http_response response = {
        .status = t->status, .headers = pairs, .n_headers = t->head.count, .body = ""};
    response.content_type = head_value(pairs, t->head.count, "content-type");
    if (t->status == 101) {
        deliver_duplex(t, &response);
        return true;
    }
    auto_str decoded = {0};
    const char *length = head_value(pairs, t->head.count, "content-length");
    const char *encoding = head_value(pairs, t->head.count, "transfer-encoding");
    response.body = t->answer.data + t->head_len;
    response.len = t->answer.len - t->head_len;
    int chunks = encoding ? unchunk(response.body, response.len, &decoded) : 0;
    bool whole = length && response.len >= strtoull(length, NULL, 10);
    if (t->status == 0 || chunks < 0 || response.len > TUNNEL_MAX_BODY) {
        fail(t, ERR_UNAVAILABLE, "the answer is malformed or too large");
        return true;
    }
    if (!whole && chunks == 0 && !t->at_end)
        return false;
    if (encoding) {
        response.body = str_c(&decoded);
        response.len = decoded.len;
    } else if (whole) {
        response.len = strtoull(length, NULL, 10);
    }
    t->ready(t->arg, &response, NULL, NULL);
    tunnel_free(t);
    return true;
}

static void tunnel_run(void *arg)
{
    struct tunnel *t = arg;
    while (t->sent < t->request.len) {
        ssize_t n = tunnel_write(&t->base, t->request.data + t->sent, t->request.len - t->sent);
        if (n < 0 && errno != EAGAIN) {
            fail(t, ERR_UNAVAILABLE, "the connection ended while the request was sent");
            return;
        }
        if (n < 0)
            break;
        t->sent += (size_t)n;
    }
    for (;;) {
        char chunk[16384];
        size_t n = 0;
        CURLcode code = curl_easy_recv(t->easy, chunk, sizeof chunk, &n);
        if (code == CURLE_AGAIN)
            break;
        t->at_end = code != CURLE_OK || n == 0;
        str_add_n(&t->answer, chunk, n);
        if (answer_complete(t))
            return;
    }
    loop_fd_events(t->watch, EPOLLIN | (t->sent < t->request.len ? EPOLLOUT : 0));
}

static void on_fd(void *arg, unsigned events UNUSED)
{
    tunnel_run(arg);
}

/* ---- connecting ---- */

/* Outside of curl, which must not be inside its own call when the connection is used. */
static void after_connect(void *arg)
{
    struct tunnel *t = arg;
    if (t->result != CURLE_OK) {
        auto_err err = NULL;
        client_error_set(&err, t->result, t->error, t->method, t->target);
        t->ready(t->arg, NULL, NULL, err);
        tunnel_free(t);
        return;
    }
    curl_socket_t fd = -1;
    curl_easy_getinfo(t->easy, CURLINFO_ACTIVESOCKET, &fd);
    t->fd = fd;
    t->watch = fd < 0 ? NULL : loop_fd_add(t->multi.loop, fd, 0, on_fd, t, NULL);
    if (!t->watch) {
        fail(t, ERR_UNAVAILABLE, "the connection cannot be used");
        return;
    }
    tunnel_run(t);
}

static void on_curl_event(void *arg)
{
    struct tunnel *t = arg;
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(t->multi.multi, &left));) {
        if (message->msg != CURLMSG_DONE || t->connected)
            continue;
        t->connected = true;
        t->result = message->data.result;
        loop_timer_start(t->soon, 0);
    }
}

static void on_deadline(void *arg)
{
    fail(arg, ERR_TIMEOUT, "no answer in time");
}

static void write_request(struct tunnel *t, const struct http_call *call)
{
    struct str *out = &t->request;
    str_addf(out, "%s %s HTTP/1.1\r\nHost: %s\r\n", call->method, call->target, t->identity->host);
    for (char **line = t->identity->lines; *line; line++)
        str_addf(out, "%s\r\n", *line);
    bool connection = false;
    for (size_t i = 0; i < call->n_headers; i++) {
        connection |= strcasecmp(call->headers[i].name, "connection") == 0;
        str_addf(out, "%s: %s\r\n", call->headers[i].name, call->headers[i].value);
    }
    if (!connection)
        str_add(out, "Connection: Upgrade\r\n");
    if (call->content_type)
        str_addf(out, "Content-Type: %s\r\n", call->content_type);
    if (call->body_len > 0 || strcmp(call->method, "GET") != 0)
        str_addf(out, "Content-Length: %zu\r\n", call->body_len);
    str_add(out, "\r\n");
    if (call->body_len)
        str_add_n(out, call->body, call->body_len);
}

void client_tunnel(struct loop *loop, struct client_identity *identity, const struct http_call *call,
                   void (*ready)(void *arg, const struct http_response *response, struct http_duplex *duplex,
                                 struct err *err),
                   void *arg, struct list *tunnels)
{
    struct tunnel *t = NEW(struct tunnel);
    t->base.ops = &tunnel_ops;
    t->identity = client_identity_ref(identity);
    t->method = mem_strdup(call->method);
    t->target = mem_strdup(call->target);
    t->fd = -1;
    t->ready = ready;
    t->arg = arg;
    list_init(&t->node);
    list_add_tail(tunnels, &t->node);
    write_request(t, call);
    t->deadline = loop_timer_new(loop, on_deadline, t);
    t->soon = loop_timer_new(loop, after_connect, t);
    loop_timer_start(t->deadline, call->timeout_ms > 0 ? call->timeout_ms : TUNNEL_ANSWER_MS);
    if (client_multi_init(&t->multi, loop, on_curl_event, t, NULL) < 0 || !(t->easy = curl_easy_init())) {
        t->connected = true;
        t->result = CURLE_FAILED_INIT;
        loop_timer_start(t->soon, 0);
        return;
    }
    client_identity_apply(identity, t->easy);
    curl_easy_setopt(t->easy, CURLOPT_URL, identity->base_url);
    curl_easy_setopt(t->easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->error);
    curl_multi_add_handle(t->multi.multi, t->easy);
}

void client_tunnels_cancel(struct list *tunnels)
{
    struct tunnel *t, *next;
    list_each_safe (t, next, tunnels, node)
        tunnel_free(t);
}
