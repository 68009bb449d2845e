/*
 * http_client over libcurl's multi interface.
 *
 * Invariants: curl's handles are added and removed only when curl is not running (it refuses otherwise), so a
 * call made in one of curl's callbacks waits in `queued`, and a cancelled one is only marked. on_response is
 * called outside of curl, after the handle has gone back, so a callback may call, cancel, or free the client.
 *
 * Does not: retry, follow redirects, or read proxies from the environment.
 */
#include <string.h>

#include "http/client_private.h"

#define SPARE_HANDLES 8

struct curl_client {
    struct http_client base;
    struct client_multi multi;
    struct client_identity *identity;
    struct list running; /* of struct http_pending, also those queued */
    struct list queued;  /* waiting until curl may be touched */
    struct list tunnels;
    CURL *spare[SPARE_HANDLES];
    size_t n_spare;
    unsigned delivering; /* depth of callbacks to the user */
    bool freed, sweep;
};

struct http_pending {
    struct list node, queue_node;
    struct curl_client *client;
    CURL *easy;
    struct curl_slist *headers;
    char *method, *target, *body;
    http_on_data *on_data;
    http_on_response *on_response;
    void *arg;
    struct str received;
    struct client_head head;
    char *content_type;
    int status;
    bool added, cancelled, ended_by_user, too_large;
    bool paused, broken;
    char error[CURL_ERROR_SIZE];
};

static void pending_free(struct http_pending *p)
{
    struct curl_client *client = p->client;
    list_remove(&p->node);
    list_remove(&p->queue_node);
    if (p->added)
        curl_multi_remove_handle(client->multi.multi, p->easy);
    if (client->n_spare < SPARE_HANDLES && !client->freed) {
        curl_easy_reset(p->easy);
        client->spare[client->n_spare++] = p->easy;
    } else {
        curl_easy_cleanup(p->easy);
    }
    curl_slist_free_all(p->headers);
    free(p->method);
    free(p->target);
    free(p->body);
    str_free(&p->received);
    str_free(&p->head.names);
    free(p);
}

/* ---- curl's callbacks ---- */

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    struct http_pending *p = arg;
    size_t len = size * count;
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
        client_head_clear(&p->head); /* of a 100 before */
    else
        client_head_add_line(&p->head, line, len);
    return len;
}

static int status_of(CURL *easy)
{
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct http_pending *p = arg;
    size_t len = size * count;
    if (p->cancelled)
        return 0;
    if (p->on_data) {
        p->client->delivering++;
        bool more = p->on_data(p->arg, status_of(p->easy), data, len);
        p->client->delivering--;
        p->ended_by_user = !more && !p->cancelled;
        return more && !p->cancelled ? len : 0;
    }
    p->too_large = p->received.len + len > CLIENT_MAX_BODY;
    if (p->too_large)
        return 0;
    if (p->received.len == 0) {
        curl_off_t total = -1;
        curl_easy_getinfo(p->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &total);
        if (total > 0 && total <= (curl_off_t)CLIENT_MAX_BODY)
            str_reserve(&p->received, (size_t)total + 1);
    }
    str_add_n(&p->received, data, len);
    return len;
}

/* ---- the end of a call ---- */

static void finish(struct http_pending *p, CURLcode code)
{
    struct curl_client *client = p->client;
    if (p->cancelled) {
        pending_free(p);
        return;
    }
    struct err *err = NULL;
    auto_free struct http_pair *pairs = NULL;
    struct http_response response = {
        .status = status_of(p->easy), .body = str_c(&p->received), .len = p->received.len};
    if (p->too_large)
        err_set(&err, ERR_TOO_LARGE, "%s: the answer is larger than %u MiB", p->target,
                CLIENT_MAX_BODY >> 20);
    else if (code != CURLE_OK && !p->ended_by_user)
        client_error_set(&err, code, p->error, p->method, p->target);
    pairs = client_head_pairs(&p->head);
    response.headers = pairs;
    response.n_headers = p->head.count;
    for (size_t i = 0; i < response.n_headers; i++) {
        if (strcmp(pairs[i].name, "content-type") == 0)
            response.content_type = pairs[i].value;
    }
    client->delivering++;
    p->on_response(p->arg, err ? NULL : &response, err);
    client->delivering--;
    err_free(err);
    pending_free(p);
}

static void client_destroy(struct curl_client *client)
{
    struct http_pending *p, *next;
    list_each_safe (p, next, &client->running, node)
        pending_free(p);
    client_tunnels_cancel(&client->tunnels);
    while (client->n_spare > 0)
        curl_easy_cleanup(client->spare[--client->n_spare]);
    client_multi_fini(&client->multi);
    client_identity_unref(client->identity);
    free(client);
}

static void add_queued(struct curl_client *client)
{
    struct http_pending *p;
    while ((p = list_first(&client->queued, struct http_pending, queue_node))) {
        list_remove(&p->queue_node);
        p->added = curl_multi_add_handle(client->multi.multi, p->easy) == CURLM_OK;
        must(p->added);
    }
}

/* Ends what could not be ended while curl was running. */
static void sweep(struct curl_client *client)
{
    struct http_pending *p;
    client->sweep = false;
    bool found;
    do {
        found = false;
        list_each (p, &client->running, node) {
            found = p->cancelled || p->broken;
            if (found)
                break;
        }
        if (found)
            finish(p, CURLE_WRITE_ERROR);
    } while (found && !client->freed);
}

static void on_event(void *arg)
{
    struct curl_client *client = arg;
    int left;
    for (CURLMsg *message; !client->freed && (message = curl_multi_info_read(client->multi.multi, &left));) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct http_pending *p = NULL;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &p);
        finish(p, code);
    }
    if (client->freed) {
        client_destroy(client);
        return;
    }
    if (client->sweep)
        sweep(client);
    if (client->freed) {
        client_destroy(client);
        return;
    }
    add_queued(client);
}

/* ---- operations ---- */

static void prepare(struct http_pending *p, const struct http_call *call)
{
    struct client_identity *identity = p->client->identity;
    CURL *easy = p->easy;
    client_identity_apply(identity, easy);
    auto_free char *url = mem_printf("%s%s", identity->base_url, call->target);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, p);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, p->error);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, p);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, p);
    if (call->timeout_ms > 0)
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
    bool get = strcmp(call->method, "GET") == 0, head = strcmp(call->method, "HEAD") == 0;
    bool with_body = call->body_len > 0 || (!get && !head && strcmp(call->method, "DELETE") != 0);
    if (head)
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    if (with_body) {
        p->body = mem_copy(call->body_len ? call->body : "", call->body_len ? call->body_len : 1);
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, p->body);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
    }
    if (!head)
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, p->method);
}

static void add_header(struct http_pending *p, const char *line)
{
    p->headers = curl_slist_append(p->headers, line);
    must(p->headers);
}

static void prepare_headers(struct http_pending *p, const struct http_call *call)
{
    add_header(p, "Expect:");
    auto_free char *type = mem_printf("Content-Type:%s%s", call->content_type ? " " : "",
                                      call->content_type ? call->content_type : "");
    add_header(p, type);
    for (char **line = p->client->identity->lines; *line; line++)
        add_header(p, *line);
    for (size_t i = 0; i < call->n_headers; i++) {
        auto_free char *line = mem_printf("%s%s%s", call->headers[i].name,
                                          *call->headers[i].value ? ": " : ";", call->headers[i].value);
        add_header(p, line);
    }
    curl_easy_setopt(p->easy, CURLOPT_HTTPHEADER, p->headers);
}

static struct http_pending *client_call(struct http_client *base, const struct http_call *call)
{
    struct curl_client *client = CONTAINER_OF(base, struct curl_client, base);
    struct http_pending *p = NEW(struct http_pending);
    p->client = client;
    p->easy = client->n_spare > 0 ? client->spare[--client->n_spare] : curl_easy_init();
    must(p->easy);
    p->method = mem_strdup(call->method);
    p->target = mem_strdup(call->target);
    p->on_data = call->on_data;
    p->on_response = call->on_response;
    p->arg = call->arg;
    list_init(&p->queue_node);
    list_init(&p->node);
    list_add_tail(&client->running, &p->node);
    prepare(p, call);
    prepare_headers(p, call);
    list_add_tail(&client->queued, &p->queue_node);
    if (!client->multi.inside)
        add_queued(client);
    return p;
}

static void client_cancel(struct http_client *base, struct http_pending *p)
{
    struct curl_client *client = CONTAINER_OF(base, struct curl_client, base);
    p->cancelled = true;
    client->sweep = true;
    if (!client->multi.inside && client->delivering == 0)
        pending_free(p);
    /* else on_event does it */
}

static void client_pause(struct http_client *base UNUSED, struct http_pending *p, bool paused)
{
    if (p->paused == paused || p->cancelled)
        return;
    p->paused = paused;
    struct client_multi *m = &p->client->multi;
    bool was_inside = m->inside;
    m->inside = true; /* un-pausing may deliver what was held back, here and now */
    p->broken |= curl_easy_pause(p->easy, paused ? CURLPAUSE_RECV : CURLPAUSE_CONT) != CURLE_OK;
    p->client->sweep |= p->broken;
    m->inside = was_inside;
    if (!paused && !was_inside)
        loop_timer_start(m->timer, 0); /* on_event looks after what the callback asked for */
}

static void client_open_tunnel(struct http_client *base, const struct http_call *call,
                               void (*ready)(void *arg, const struct http_response *response,
                                             struct http_duplex *duplex, struct err *err),
                               void *arg)
{
    struct curl_client *client = CONTAINER_OF(base, struct curl_client, base);
    client_tunnel(client->multi.loop, client->identity, call, ready, arg, &client->tunnels);
}

static void client_free(struct http_client *base)
{
    struct curl_client *client = CONTAINER_OF(base, struct curl_client, base);
    struct http_pending *p;
    list_each (p, &client->running, node)
        p->cancelled = true;
    client->freed = true;
    if (!client->multi.inside && client->delivering == 0)
        client_destroy(client);
    else
        client_tunnels_cancel(&client->tunnels);
}

static const struct http_client_ops client_ops = {
    .call = client_call,
    .cancel = client_cancel,
    .pause = client_pause,
    .tunnel = client_open_tunnel,
    .free = client_free,
};

static void client_global_init(void)
{
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

struct http_client *http_client_curl_new(struct loop *loop, const struct http_client_options *options,
                                         struct err **err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, client_global_init);
    struct client_identity *identity = client_identity_new(options, err);
    if (!identity)
        return NULL;
    struct curl_client *client = NEW(struct curl_client);
    client->base.ops = &client_ops;
    client->identity = identity;
    list_init(&client->running);
    list_init(&client->queued);
    list_init(&client->tunnels);
    if (client_multi_init(&client->multi, loop, on_event, client, err) < 0) {
        client_identity_unref(identity);
        free(client);
        return NULL;
    }
    long limit = options->max_connections ? (long)options->max_connections : 8;
    curl_multi_setopt(client->multi.multi, CURLMOPT_MAX_HOST_CONNECTIONS, limit);
    curl_multi_setopt(client->multi.multi, CURLMOPT_MAXCONNECTS, limit);
    return &client->base;
}
