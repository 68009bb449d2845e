/*
 * HTTP without sockets: see exchange.h. One struct local per call is both the client's pending call and the
 * handler's exchange; it goes when both sides have let go of it.
 *
 * Invariants: the client's callbacks run on the loop only, never inside `call`; `pull` runs on the loop only,
 * never inside `wake`; after `closed` the handler is not called again.
 */
#include "exchange.h"

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "base/list.h"

struct local_client {
    struct http_client client;
    struct loop *loop;
    http_handler *handler;
    void *handler_arg;
    char *user, *token, *remote;
    char **groups, **addresses;
    http_local_decide *decide;
    void *decide_arg;
    bool cut;
    struct list locals;  /* with a client side */
    struct list orphans; /* only the handler's side is left */
};

struct local {
    struct http_exchange x;
    struct list node;
    struct local_client *owner; /* NULL once the client is freed */
    struct loop *loop;
    pthread_mutex_t lock; /* guards what the handler's threads touch: refs, posted, answer */
    unsigned refs;        /* client's side, handler's side, posted tasks */
    bool pump_posted;

    /* the call */
    struct http_call call; /* strings are copies */
    struct http_pair *headers, *query;
    char *path, *copies;
    struct loop_timer *timer; /* delay, then timeout */
    struct http_local_fault fault;
    bool client_gone, paused, shadow; /* shadow: the duplicate; nobody waits */
    void (*tunnel)(void *arg, const struct http_response *response, struct http_duplex *duplex,
                   struct err *err);
    void *tunnel_arg;

    /* the answer */
    int status;
    char *content_type;
    struct http_pair *answer_headers;
    size_t n_answer_headers;
    struct bytes *body;
    const struct http_stream_ops *stream;
    void *stream_arg;
    bool answered, stream_closed;
    struct str collected;
    http_on_duplex *upgrade_ready;
    void *upgrade_arg;
};

static void pairs_free(struct http_pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((void *)pairs[i].name);
        free((void *)pairs[i].value);
    }
    free(pairs);
}

static void local_free(struct local *l)
{
    list_remove(&l->node);
    loop_timer_free(l->timer);
    pairs_free(l->headers, l->x.request.n_headers);
    pairs_free(l->query, l->x.request.n_query);
    pairs_free(l->answer_headers, l->n_answer_headers);
    free((void *)l->call.method);
    free((void *)l->call.target);
    free((void *)l->call.body);
    free(l->path);
    free(l->content_type);
    bytes_unref(l->body);
    str_free(&l->collected);
    free((void *)l->x.request.certificate_user);
    free((void *)l->x.request.certificate_groups);
    free((void *)l->x.request.certificate_addresses);
    free((void *)l->x.request.remote);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static void unref(struct local *l)
{
    pthread_mutex_lock(&l->lock);
    bool last = --l->refs == 0;
    pthread_mutex_unlock(&l->lock);
    if (last)
        local_free(l);
}

static void post(struct local *l, loop_task *task)
{
    pthread_mutex_lock(&l->lock);
    l->refs++;
    pthread_mutex_unlock(&l->lock);
    loop_post(l->loop, task, l);
}

/* ---- the client's side ends ---- */

/* Lets go of the client's side; afterwards no callback of the client is called. */
static void client_leaves(struct local *l)
{
    l->client_gone = true;
    if (l->timer)
        loop_timer_stop(l->timer);
    list_remove(&l->node);
    if (l->owner)
        list_add_tail(&l->owner->orphans, &l->node);
    unref(l);
}

static void close_stream(struct local *l)
{
    if (!l->stream || l->stream_closed)
        return;
    l->stream_closed = true;
    l->stream->closed(l->stream_arg);
    unref(l); /* the handler's side */
}

static void client_fails(struct local *l, enum err_code code, const char *message)
{
    if (l->client_gone)
        return;
    auto_err err = NULL;
    err_set(&err, code, "%s", message);
    http_on_response *on_response = l->call.on_response;
    void *arg = l->call.arg;
    pthread_mutex_lock(&l->lock);
    l->refs++;
    pthread_mutex_unlock(&l->lock);
    if (!l->shadow && l->tunnel)
        l->tunnel(l->tunnel_arg, NULL, NULL, err);
    else if (!l->shadow && on_response)
        on_response(arg, NULL, err);
    client_leaves(l);
    close_stream(l);
    unref(l);
}

static void client_done(struct local *l, const char *body, size_t len)
{
    if (l->client_gone)
        return;
    if (l->fault.lose_answer) {
        client_fails(l, ERR_UNAVAILABLE, "the connection was reset");
        return;
    }
    const struct http_response response = {.status = l->status,
                                           .content_type = l->content_type,
                                           .body = body ? body : "",
                                           .len = len,
                                           .headers = l->answer_headers,
                                           .n_headers = l->n_answer_headers};
    if (!l->shadow && l->tunnel)
        l->tunnel(l->tunnel_arg, &response, NULL, NULL);
    else if (!l->shadow && l->call.on_response)
        l->call.on_response(l->call.arg, &response, NULL);
    client_leaves(l);
}

/* ---- the handler answers ---- */

static void keep_headers(struct local *l, int status, const char *content_type,
                         const struct http_pair *headers, size_t n)
{
    must(!l->answered); /* exactly one answer */
    l->answered = true;
    l->status = status;
    l->content_type = mem_strdup(content_type);
    l->answer_headers = mem_array(n + 1, sizeof(*headers));
    l->n_answer_headers = n;
    for (size_t i = 0; i < n; i++) {
        char *name = mem_strdup(headers[i].name);
        for (char *c = name; *c; c++) {
            if (*c >= 'A' && *c <= 'Z')
                *c = (char)(*c + ('a' - 'A'));
        }
        l->answer_headers[i] = (struct http_pair){name, mem_strdup(headers[i].value)};
    }
}

static void deliver(void *arg)
{
    struct local *l = arg;
    const char *body = l->body ? l->body->data : "";
    size_t len = l->body ? l->body->len : 0;
    if (!l->client_gone && !l->shadow && l->call.on_data && len && !l->fault.lose_answer)
        l->call.on_data(l->call.arg, l->status, body, len);
    client_done(l, l->call.on_data ? NULL : body, l->call.on_data ? 0 : len);
    unref(l); /* the task's */
    unref(l); /* the handler's side */
}

static void local_respond(struct http_exchange *x, int status, const char *content_type, struct bytes *body,
                          const struct http_pair *headers, size_t n_headers)
{
    struct local *l = CONTAINER_OF(x, struct local, x);
    keep_headers(l, status, content_type, headers, n_headers);
    l->body = body;
    post(l, deliver);
}

static void pump(void *arg);

static void post_pump(struct local *l)
{
    pthread_mutex_lock(&l->lock);
    bool already = l->pump_posted;
    l->pump_posted = true;
    if (!already)
        l->refs++;
    pthread_mutex_unlock(&l->lock);
    if (!already)
        loop_post(l->loop, pump, l);
}

/* True while the client wants more. */
static bool hand_on(struct local *l, struct str *out)
{
    if (l->shadow)
        return true;
    if (!l->call.on_data) {
        str_add_n(&l->collected, str_c(out), out->len);
        return true;
    }
    if (l->call.on_data(l->call.arg, l->status, out->data, out->len))
        return !l->client_gone;
    return false;
}

static void pump(void *arg)
{
    struct local *l = arg;
    pthread_mutex_lock(&l->lock);
    l->pump_posted = false;
    pthread_mutex_unlock(&l->lock);
    while (!l->client_gone && !l->paused && !l->stream_closed) {
        auto_str out = {0};
        enum http_pull next = l->stream->pull(l->stream_arg, &out);
        if (out.len && !hand_on(l, &out)) {
            if (!l->client_gone)
                client_done(l, NULL, 0); /* on_response follows also when the client stops */
            close_stream(l);
        } else if (next == HTTP_PULL_END) {
            client_done(l, str_c(&l->collected), l->collected.len);
            close_stream(l);
        } else if (next == HTTP_PULL_WAIT) {
            break;
        }
    }
    if (l->client_gone)
        close_stream(l);
    unref(l);
}

static void local_stream(struct http_exchange *x, int status, const char *content_type,
                         const struct http_pair *headers, size_t n_headers, const struct http_stream_ops *ops,
                         void *arg)
{
    struct local *l = CONTAINER_OF(x, struct local, x);
    keep_headers(l, status, content_type, headers, n_headers);
    l->stream = ops;
    l->stream_arg = arg;
    post_pump(l);
}

static void local_wake(struct http_exchange *x)
{
    post_pump(CONTAINER_OF(x, struct local, x));
}

static void upgrade(void *arg)
{
    struct local *l = arg;
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    l->upgrade_ready(l->upgrade_arg, http_duplex_from_fd(ends[0]), NULL);
    const struct http_response response = {
        .status = 101, .headers = l->answer_headers, .n_headers = l->n_answer_headers, .body = ""};
    struct http_duplex *duplex = http_duplex_from_fd(ends[1]);
    if (!l->client_gone && l->tunnel) {
        l->tunnel(l->tunnel_arg, &response, duplex, NULL);
        client_leaves(l);
    } else {
        duplex->ops->close(duplex);
    }
    unref(l);
    unref(l); /* the handler's side */
}

static void local_upgrade(struct http_exchange *x, const struct http_pair *headers, size_t n_headers,
                          http_on_duplex *ready, void *arg)
{
    struct local *l = CONTAINER_OF(x, struct local, x);
    keep_headers(l, 101, NULL, headers, n_headers);
    l->upgrade_ready = ready;
    l->upgrade_arg = arg;
    post(l, upgrade);
}

static const struct http_exchange_ops exchange_ops = {local_respond, local_stream, local_wake, local_upgrade};

/* ---- making the request ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static char *decode(const char *text, size_t len, bool plus)
{
    char *out = mem_alloc(len + 1), *to = out;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '%' && i + 2 < len && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
            *to++ = (char)(hex(text[i + 1]) * 16 + hex(text[i + 2]));
            i += 2;
        } else {
            *to++ = plus && text[i] == '+' ? ' ' : text[i];
        }
    }
    *to = 0;
    return out;
}

static void parse_target(struct local *l, const char *target)
{
    struct http_request *request = &l->x.request;
    size_t path_len = strcspn(target, "?");
    l->path = decode(target, path_len, false);
    request->path = l->path;
    request->target = target;
    const char *at = target[path_len] ? target + path_len + 1 : "";
    while (*at) {
        size_t len = strcspn(at, "&"), key = strcspn(at, "=&");
        l->query = mem_resize(l->query, request->n_query + 1, sizeof(*l->query));
        l->query[request->n_query++] = (struct http_pair){
            decode(at, key, true), decode(at + key + (key < len), len - key - (key < len), true)};
        at += len + (at[len] == '&');
    }
    request->query = l->query;
}

static void add_header(struct local *l, const char *name, const char *value)
{
    struct http_request *request = &l->x.request;
    l->headers = mem_resize(l->headers, request->n_headers + 1, sizeof(*l->headers));
    char *lower = mem_strdup(name);
    for (char *c = lower; *c; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + ('a' - 'A'));
    }
    l->headers[request->n_headers++] = (struct http_pair){lower, mem_strdup(value)};
    request->headers = l->headers;
}

static const char **copy_groups(char **groups)
{
    size_t count = 0, bytes = 0;
    for (; groups && groups[count]; count++)
        bytes += strlen(groups[count]) + 1;
    const char **copy = mem_alloc((count + 1) * sizeof(char *) + bytes);
    char *text = (char *)(copy + count + 1);
    for (size_t i = 0; i < count; i++) {
        copy[i] = strcpy(text, groups[i]);
        text += strlen(text) + 1;
    }
    return copy;
}

static struct local *local_new(struct local_client *client, const struct http_call *call)
{
    struct local *l = NEW(struct local);
    l->owner = client;
    l->loop = client->loop;
    l->refs = 1;
    pthread_mutex_init(&l->lock, NULL);
    l->x.ops = &exchange_ops;
    l->call = *call;
    char *body = mem_alloc(call->body_len + 1);
    if (call->body_len)
        memcpy(body, call->body, call->body_len);
    l->call.body = body;
    l->call.method = mem_strdup(call->method);
    l->call.target = mem_strdup(call->target);
    struct http_request *request = &l->x.request;
    request->method = l->call.method;
    request->body = body;
    request->body_len = call->body_len;
    request->remote = mem_strdup(client->remote ? client->remote : "local:0");
    request->certificate_user = mem_strdup(client->user);
    request->certificate_groups = copy_groups(client->groups);
    request->certificate_addresses = copy_groups(client->addresses);
    request->received_ns = loop_clock(client->loop)->monotonic_ns(loop_clock(client->loop)->arg);
    parse_target(l, l->call.target);
    for (size_t i = 0; i < call->n_headers; i++)
        add_header(l, call->headers[i].name, call->headers[i].value);
    if (call->content_type)
        add_header(l, "content-type", call->content_type);
    else if (call->body_len)
        add_header(l, "content-type", "application/json");
    if (client->token) {
        auto_free char *value = mem_printf("Bearer %s", client->token);
        add_header(l, "authorization", value);
    }
    list_add_tail(&client->locals, &l->node);
    return l;
}

static void on_timeout(void *arg)
{
    client_fails(arg, ERR_TIMEOUT, "no answer in time");
}

static void arrive(void *arg)
{
    struct local *l = arg;
    struct local_client *client = l->owner;
    if (!client || l->client_gone) {
        unref(l);
        return;
    }
    if (client->cut || !client->handler || l->fault.refuse) {
        client_fails(l, ERR_UNAVAILABLE, "connection refused");
        unref(l);
        return;
    }
    if (l->call.timeout_ms > 0) {
        loop_timer_free(l->timer);
        l->timer = loop_timer_new(l->loop, on_timeout, l);
        loop_timer_start(l->timer, l->call.timeout_ms);
    }
    pthread_mutex_lock(&l->lock);
    l->refs++; /* the handler's side */
    pthread_mutex_unlock(&l->lock);
    client->handler(client->handler_arg, &l->x);
    unref(l);
}

static void arrive_late(void *arg)
{
    post(arg, arrive);
}

static void start(struct local *l)
{
    if (l->fault.delay_ms <= 0) {
        post(l, arrive);
        return;
    }
    l->timer = loop_timer_new(l->loop, arrive_late, l);
    loop_timer_start(l->timer, l->fault.delay_ms);
}

static struct local *begin(struct http_client *http, const struct http_call *call)
{
    struct local_client *client = CONTAINER_OF(http, struct local_client, client);
    struct local *l = local_new(client, call);
    if (client->decide)
        l->fault = client->decide(client->decide_arg, call->method, call->target);
    if (l->fault.duplicate) {
        struct local *shadow = local_new(client, call);
        shadow->shadow = true;
        start(shadow);
    }
    return l;
}

static struct http_pending *local_call(struct http_client *http, const struct http_call *call)
{
    struct local *l = begin(http, call);
    start(l);
    return (struct http_pending *)l;
}

static void local_tunnel(struct http_client *http, const struct http_call *call,
                         void (*ready)(void *arg, const struct http_response *response,
                                       struct http_duplex *duplex, struct err *err),
                         void *arg)
{
    struct local *l = begin(http, call);
    l->tunnel = ready;
    l->tunnel_arg = arg;
    l->call.on_data = NULL;
    start(l);
}

static void local_cancel(struct http_client *http UNUSED, struct http_pending *pending)
{
    struct local *l = (struct local *)pending;
    pthread_mutex_lock(&l->lock);
    l->refs++;
    pthread_mutex_unlock(&l->lock);
    if (!l->client_gone)
        client_leaves(l);
    if (l->stream)
        post_pump(l); /* closes the stream there: cancel may be called from inside on_data */
    unref(l);
}

static void local_pause(struct http_client *http UNUSED, struct http_pending *pending, bool paused)
{
    struct local *l = (struct local *)pending;
    l->paused = paused;
    if (!paused && l->stream)
        post_pump(l);
}

static void end_all(struct local_client *client, bool close)
{
    while (!list_empty(&client->locals))
        client_fails(list_first(&client->locals, struct local, node), ERR_UNAVAILABLE,
                     "the connection was reset");
    struct local *l, *following;
    list_each_safe (l, following, &client->orphans, node) {
        if (close)
            close_stream(l);
    }
}

static void local_client_free(struct http_client *http)
{
    struct local_client *client = CONTAINER_OF(http, struct local_client, client);
    struct local *l, *following;
    list_each_safe (l, following, &client->locals, node) {
        pthread_mutex_lock(&l->lock);
        l->refs++;
        pthread_mutex_unlock(&l->lock);
        client_leaves(l);
        close_stream(l);
        unref(l);
    }
    list_each_safe (l, following, &client->orphans, node) {
        list_remove(&l->node);
        l->owner = NULL;
    }
    free(client->user);
    free(client->token);
    free(client->groups);
    free(client->addresses);
    free(client->remote);
    free(client);
}

static const struct http_client_ops client_ops = {local_call, local_cancel, local_pause, local_tunnel,
                                                  local_client_free};

struct http_client *http_local_client_new(struct loop *loop, http_handler *handler, void *handler_arg,
                                          const struct http_local_identity *identity)
{
    struct local_client *client = NEW(struct local_client);
    client->client.ops = &client_ops;
    client->loop = loop;
    client->handler = handler;
    client->handler_arg = handler_arg;
    list_init(&client->locals);
    list_init(&client->orphans);
    if (identity) {
        client->user = mem_strdup(identity->user);
        client->token = mem_strdup(identity->bearer_token);
        client->remote = mem_strdup(identity->remote);
        if (identity->groups)
            client->groups = (char **)copy_groups((char **)identity->groups);
        if (identity->addresses)
            client->addresses = (char **)copy_groups((char **)identity->addresses);
    }
    return &client->client;
}

void http_local_client_set_handler(struct http_client *http, http_handler *handler, void *handler_arg)
{
    struct local_client *client = CONTAINER_OF(http, struct local_client, client);
    client->handler = NULL;
    end_all(client, true);
    client->handler = handler;
    client->handler_arg = handler_arg;
}

void http_local_client_cut(struct http_client *http, bool cut)
{
    struct local_client *client = CONTAINER_OF(http, struct local_client, client);
    client->cut = cut;
    if (cut)
        end_all(client, true);
}

void http_local_client_set_faults(struct http_client *http, http_local_decide *decide, void *arg)
{
    struct local_client *client = CONTAINER_OF(http, struct local_client, client);
    client->decide = decide;
    client->decide_arg = arg;
}

size_t http_local_client_open(const struct http_client *http)
{
    const struct local_client *client = CONTAINER_OF(http, const struct local_client, client);
    size_t count = 0;
    const struct local *l;
    list_each (l, &client->locals, node)
        count++;
    list_each (l, &client->orphans, node)
        count++;
    return count;
}
