/* Upgrades through the real server and the real client: raw tunnels, splices, WebSocket end to end, refused
 * upgrades. */
#include "http_test.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

struct world {
    struct test_pki pki;
    struct http_server *server;
    struct loop *loop;
    struct http_client *client;
    char *socket_path;
    /* server side */
    struct http_duplex *server_end;
    struct websocket *server_ws;
    pthread_t echo_thread;
    int echo_fd;
    bool websocket;
    /* client side */
    struct http_duplex *tunnel;
    bool answered;
    int status;
    char *body;
    enum err_code code;
    struct websocket *ws;
    size_t messages, bytes;
    bool done;
    int ends;
};

/* ---- server ---- */

static void echo_message(void *arg, enum websocket_type type, const char *data, size_t len)
{
    struct world *w = arg;
    if (type == WEBSOCKET_CLOSED) {
        w->server_ws = NULL;
        w->ends++;
        loop_stop(w->loop);
    } else {
        websocket_send(w->server_ws, type, data, len);
    }
}

static void one_end(void *arg)
{
    struct world *w = arg;
    w->ends++;
    loop_stop(w->loop);
}

static void *echo(void *arg)
{
    struct world *w = arg;
    char block[50000];
    ssize_t n;
    while ((n = read(w->echo_fd, block, sizeof block)) > 0)
        must(send(w->echo_fd, block, (size_t)n, MSG_NOSIGNAL) == n);
    close(w->echo_fd);
    return NULL;
}

static void take_server_end(void *arg)
{
    struct world *w = arg;
    if (w->websocket) {
        const struct websocket_options options = {.on_message = echo_message, .arg = w};
        w->server_ws = websocket_new(w->loop, w->server_end, &options);
        return;
    }
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    http_duplex_splice(w->loop, w->server_end, http_duplex_from_fd(pair[0]), one_end, w);
    w->echo_fd = pair[1];
    must(pthread_create(&w->echo_thread, NULL, echo, w) == 0);
}

static void on_upgraded(void *arg, struct http_duplex *duplex, struct err *err)
{
    struct world *w = arg;
    must(duplex && !err);
    w->server_end = duplex;
    loop_post(w->loop, take_server_end, w);
}

static void handle(void *arg, struct http_exchange *x)
{
    struct world *w = arg;
    if (str_eq(x->request.path, "/upgrade")) {
        const struct http_pair headers[] = {{"Upgrade", "websocket"},
                                            {"X-Stream-Protocol-Version", "v5.channel.k8s.io"}};
        http_upgrade(x, headers, 2, on_upgraded, w);
    } else {
        http_respond(x, 403, "application/json", bytes_from("{\"kind\":\"Status\"}", 17), NULL, 0);
    }
}

enum kind { TLS, UNIX };

static int setup(void **state, enum kind kind)
{
    struct world *w = NEW(struct world);
    w->pki = test_pki_new();
    w->loop = loop_new(NULL);
    struct http_server_options options = {.address = "127.0.0.1", .handler = handle, .handler_arg = w};
    struct http_client_options client = {.base_url = "http://d"};
    char url[64];
    if (kind == UNIX) {
        w->socket_path = mem_printf("/tmp/http-test-%d.sock", getpid());
        options.unix_path = client.unix_path = w->socket_path;
    } else {
        options.certificate_pem = w->pki.server;
        options.key_pem = w->pki.server_key;
        client.ca_pem = w->pki.ca;
        client.base_url = url;
    }
    w->server = http_server_new(&options, NULL);
    must(w->server);
    snprintf(url, sizeof url, "https://127.0.0.1:%u", http_server_port(w->server));
    w->client = http_client_curl_new(w->loop, &client, NULL);
    must(w->client);
    *state = w;
    return 0;
}

static int setup_tls(void **state)
{
    return setup(state, TLS);
}

static int setup_unix(void **state)
{
    return setup(state, UNIX);
}

static int teardown(void **state)
{
    struct world *w = *state;
    w->client->ops->free(w->client);
    http_server_free(w->server);
    loop_free(w->loop);
    test_pki_fini(&w->pki);
    free(w->socket_path);
    free(w->body);
    free(w);
    return 0;
}

/* ---- client ---- */

static void on_ready(void *arg, const struct http_response *response, struct http_duplex *duplex,
                     struct err *err)
{
    struct world *w = arg;
    assert_false(w->answered);
    w->answered = true;
    w->code = err_code(err);
    w->tunnel = duplex;
    if (response) {
        w->status = response->status;
        w->body = mem_strndup(response->body, response->len);
        for (size_t i = 0; w->status == 101 && i < response->n_headers; i++) {
            if (str_eq(response->headers[i].name, "x-stream-protocol-version"))
                assert_string_equal(response->headers[i].value, "v5.channel.k8s.io");
        }
    }
    loop_stop(w->loop);
}

static void open_tunnel(struct world *w, const char *target)
{
    const struct http_pair upgrade = {"Upgrade", "websocket"};
    const struct http_call call = {.method = "POST", .target = target, .headers = &upgrade, .n_headers = 1};
    w->client->ops->tunnel(w->client, &call, on_ready, w);
    test_run_until(w->loop, &w->answered);
}

#define VOLUME (16u << 20)

struct pour {
    struct world *w;
    int fd;
    size_t sent, got;
    struct loop_fd *watch;
};

static char pattern(size_t i)
{
    return (char)(i * 31 + i / 4099);
}

/* Writes VOLUME bytes, then half-closes if the transport can, and checks what comes back. */
static void pour(void *arg, unsigned events)
{
    struct pour *p = arg;
    char block[32768];
    while (events & EPOLLOUT && p->sent < VOLUME) {
        size_t n = VOLUME - p->sent < sizeof block ? VOLUME - p->sent : sizeof block;
        for (size_t i = 0; i < n; i++)
            block[i] = pattern(p->sent + i);
        ssize_t wrote = write(p->fd, block, n);
        if (wrote < 0)
            break;
        p->sent += (size_t)wrote;
    }
    for (;;) {
        ssize_t n = read(p->fd, block, sizeof block);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++) {
            if (block[i] != pattern(p->got + (size_t)i))
                fail_msg("byte %zu is wrong", p->got + (size_t)i);
        }
        p->got += (size_t)n;
    }
    loop_fd_events(p->watch, EPOLLIN | (p->sent < VOLUME ? EPOLLOUT : 0));
    if (p->got == VOLUME) {
        p->w->done = true;
        loop_stop(p->w->loop);
    }
}

static void bytes_go_both_ways_unchanged(void **state)
{
    struct world *w = *state;
    open_tunnel(w, "/upgrade");
    assert_int_equal(w->status, 101);
    assert_non_null(w->tunnel);
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    http_duplex_splice(w->loop, w->tunnel, http_duplex_from_fd(pair[0]), one_end, w);
    struct pour p = {.w = w, .fd = pair[1]};
    p.watch = loop_fd_add(w->loop, pair[1], EPOLLIN | EPOLLOUT, pour, &p, NULL);
    test_run_until(w->loop, &w->done);
    loop_fd_remove(p.watch);
    close(pair[1]); /* both splices and the echo end by themselves */
    struct loop_timer *late = loop_timer_new(w->loop, test_loop_late, w->loop);
    loop_timer_start(late, 8000);
    while (w->ends < 2 && loop_timer_running(late))
        loop_run(w->loop);
    loop_timer_free(late);
    assert_int_equal(w->ends, 2);
    pthread_join(w->echo_thread, NULL);
}

static void a_refused_upgrade_gives_the_answer(void **state)
{
    struct world *w = *state;
    open_tunnel(w, "/other");
    assert_int_equal(w->status, 403);
    assert_null(w->tunnel);
    assert_string_equal(w->body, "{\"kind\":\"Status\"}");
}

static void an_unreachable_server_is_an_error(void **state)
{
    struct world *w = *state;
    http_server_free(w->server);
    w->server = NULL;
    open_tunnel(w, "/upgrade");
    assert_int_equal(w->code, ERR_UNAVAILABLE);
    assert_null(w->tunnel);
}

static void count_message(void *arg, enum websocket_type type, const char *data, size_t len)
{
    struct world *w = arg;
    if (type == WEBSOCKET_CLOSED) {
        w->ws = NULL;
        w->done = true;
        loop_stop(w->loop);
        return;
    }
    assert_int_equal(len, w->messages * 1500);
    assert_true(len == 0 || (data[0] == (char)w->messages && data[len - 1] == (char)w->messages));
    w->bytes += len;
    if (++w->messages == 200) {
        w->done = true;
        loop_stop(w->loop);
    }
}

static void websockets_talk_through_it(void **state)
{
    struct world *w = *state;
    w->websocket = true;
    open_tunnel(w, "/upgrade");
    const struct websocket_options options = {.client = true, .on_message = count_message, .arg = w};
    w->ws = websocket_new(w->loop, w->tunnel, &options);
    for (size_t i = 0; i < 200; i++) {
        auto_free char *data = mem_alloc(i * 1500 + 1);
        memset(data, (char)i, i * 1500);
        websocket_send(w->ws, WEBSOCKET_BINARY, data, i * 1500);
    }
    test_run_until(w->loop, &w->done);
    websocket_close(w->ws, 1000);
    struct loop_timer *late = loop_timer_new(w->loop, test_loop_late, w->loop);
    loop_timer_start(late, 5000);
    while (w->ends < 1 && loop_timer_running(late))
        loop_run(w->loop);
    assert_int_equal(w->ends, 1); /* the server's end saw it close */
    loop_timer_start(late, 50);   /* and the client's end has gone */
    loop_run(w->loop);
    loop_timer_free(late);
}

static void the_last_certificate_can_be_fetched(void **state)
{
    struct world *w = *state;
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%u", http_server_port(w->server));
    auto_free char *pem = http_fetch_ca(url, NULL);
    assert_non_null(pem);
    assert_non_null(strstr(pem, "BEGIN CERTIFICATE"));
    auto_err err = NULL;
    assert_null(http_fetch_ca("https://127.0.0.1:1", &err));
    assert_int_equal(err_code(err), ERR_UNAVAILABLE);
}

int main(void)
{
    log_set_silent(1);
#define BOTH(test)                                                                                           \
    cmocka_unit_test_setup_teardown(test, setup_tls, teardown),                                              \
        cmocka_unit_test_setup_teardown(test, setup_unix, teardown)
    const struct CMUnitTest tests[] = {
        BOTH(bytes_go_both_ways_unchanged),
        BOTH(a_refused_upgrade_gives_the_answer),
        BOTH(an_unreachable_server_is_an_error),
        BOTH(websockets_talk_through_it),
        cmocka_unit_test_setup_teardown(the_last_certificate_can_be_fetched, setup_tls, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
