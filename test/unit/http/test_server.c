/* The real server and the real client against each other, plain and over TLS. */
#include "http_test.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

struct world {
    struct test_pki pki;
    struct http_server *server;
    struct loop *loop;
    struct http_client *client;
    bool tls;
    /* what the last call gave */
    bool done;
    int status;
    char *body, *type;
    enum err_code code;
    /* the stream under test */
    struct http_exchange *stream;
    pthread_mutex_t lock;
    struct str feed;
    bool feed_end;
    sem_t opened, closed;
    atomic_int n_closed;
    struct str seen;
    size_t want_seen;
    struct loop *deferred_loop;
};

/* ---- server side ---- */

static enum http_pull pull(void *arg, struct str *out)
{
    struct world *w = arg;
    pthread_mutex_lock(&w->lock);
    str_add_n(out, str_c(&w->feed), w->feed.len);
    str_clear(&w->feed);
    enum http_pull result = w->feed_end ? HTTP_PULL_END : HTTP_PULL_WAIT;
    pthread_mutex_unlock(&w->lock);
    return result;
}

static void closed(void *arg)
{
    struct world *w = arg;
    w->n_closed++;
    sem_post(&w->closed);
}

static const struct http_stream_ops stream_ops = {.pull = pull, .closed = closed};

static void respond_text(struct http_exchange *x, int status, const char *text)
{
    http_respond(x, status, "text/plain", bytes_from(text, strlen(text)), NULL, 0);
}

static void *answer_later(void *arg)
{
    struct http_exchange *x = arg;
    http_respond(x, 201, "application/octet-stream", bytes_from(x->request.body, x->request.body_len), NULL,
                 0);
    return NULL;
}

static void handle(void *arg, struct http_exchange *x)
{
    struct world *w = arg;
    const struct http_request *r = &x->request;
    if (str_eq(r->path, "/later")) {
        pthread_t thread;
        must(pthread_create(&thread, NULL, answer_later, x) == 0);
        pthread_detach(thread);
    } else if (str_eq(r->path, "/stream")) {
        w->stream = x;
        http_stream(x, 200, "application/json", NULL, 0, &stream_ops, w);
        sem_post(&w->opened);
    } else if (str_eq(r->path, "/never")) {
        w->stream = x;
        sem_post(&w->opened);
    } else if (str_eq(r->path, "/big")) {
        struct bytes *big = bytes_new(20u << 20);
        memset(big->data, 'x', big->len);
        http_respond(x, 200, "text/plain", big, NULL, 0);
    } else if (str_eq(r->path, "/empty")) {
        struct http_pair header = {"X-Test", "yes"};
        http_respond(x, 204, NULL, NULL, &header, 1);
    } else {
        auto_str text = {0};
        str_addf(&text, "%s %s", r->method, r->path);
        for (size_t i = 0; i < r->n_query; i++)
            str_addf(&text, " %s=%s", r->query[i].name, r->query[i].value);
        str_addf(&text, " user=%s", r->certificate_user ? r->certificate_user : "-");
        for (size_t i = 0; r->certificate_groups && r->certificate_groups[i]; i++)
            str_addf(&text, " group=%s", r->certificate_groups[i]);
        for (size_t i = 0; r->certificate_addresses && r->certificate_addresses[i]; i++)
            str_addf(&text, " at=%s", r->certificate_addresses[i]);
        const char *echo = http_request_header(r, "x-echo");
        str_addf(&text, " echo=%s flag=%d", echo ? echo : "-", http_request_flag(r, "flag"));
        respond_text(x, 200, str_c(&text));
    }
}

static int setup(void **state, bool tls)
{
    struct world *w = NEW(struct world);
    w->tls = tls;
    w->pki = test_pki_new();
    pthread_mutex_init(&w->lock, NULL);
    sem_init(&w->opened, 0, 0);
    sem_init(&w->closed, 0, 0);
    struct http_server_options options = {.address = "127.0.0.1", .handler = handle, .handler_arg = w};
    if (tls) {
        options.certificate_pem = w->pki.server;
        options.key_pem = w->pki.server_key;
        options.client_ca_pem = w->pki.ca;
    }
    w->server = http_server_new(&options, NULL);
    w->loop = loop_new(NULL);
    char url[64];
    snprintf(url, sizeof url, "http%s://127.0.0.1:%u", tls ? "s" : "", http_server_port(w->server));
    struct http_client_options client = {.base_url = url};
    if (tls) {
        client.ca_pem = w->pki.ca;
        client.certificate_pem = w->pki.client;
        client.key_pem = w->pki.client_key;
    }
    w->client = http_client_curl_new(w->loop, &client, NULL);
    *state = w;
    return w->server && w->client ? 0 : -1;
}

static int setup_plain(void **state)
{
    return setup(state, false);
}

static int setup_tls(void **state)
{
    return setup(state, true);
}

static int teardown(void **state)
{
    struct world *w = *state;
    if (w->client)
        w->client->ops->free(w->client);
    http_server_free(w->server);
    loop_free(w->loop);
    test_pki_fini(&w->pki);
    str_free(&w->feed);
    str_free(&w->seen);
    free(w->body);
    free(w->type);
    sem_destroy(&w->opened);
    sem_destroy(&w->closed);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return 0;
}

/* ---- client side ---- */

static void on_response(void *arg, const struct http_response *response, struct err *err)
{
    struct world *w = arg;
    free(w->body);
    free(w->type);
    w->code = err_code(err);
    w->status = response ? response->status : 0;
    w->body = response ? mem_strndup(response->body, response->len) : NULL;
    w->type = response ? mem_strdup(response->content_type) : NULL;
    w->done = true;
    loop_stop(w->loop);
}

static bool on_data(void *arg, int status, const char *data, size_t len)
{
    struct world *w = arg;
    assert_int_equal(status, 200);
    str_add_n(&w->seen, data, len);
    if (w->want_seen && w->seen.len >= w->want_seen) {
        w->done = true;
        loop_stop(w->loop);
    }
    return true;
}

static void call(struct world *w, const char *method, const char *target, const void *body, size_t len)
{
    struct http_pair header = {"X-Echo", "hello"};
    struct http_call c = {.method = method,
                          .target = target,
                          .body = body,
                          .body_len = len,
                          .headers = &header,
                          .n_headers = 1,
                          .content_type = len ? "application/json" : NULL,
                          .timeout_ms = 9000,
                          .on_response = on_response,
                          .arg = w};
    w->done = false;
    w->client->ops->call(w->client, &c);
    test_run_until(w->loop, &w->done);
}

static void requests_arrive_whole(void **state)
{
    struct world *w = *state;
    call(w, "GET", "/a%20b/c?x=1&y=%2f+z&x=2&flag=True", NULL, 0);
    assert_int_equal(w->status, 200);
    char expected[256];
    snprintf(expected, sizeof expected, "GET /a b/c x=1 y=/ z x=2 flag=True user=%s echo=hello flag=1",
             w->tls ? "system:node:n1 group=system:nodes at=127.0.0.1" : "-");
    assert_string_equal(w->body, expected);
    call(w, "DELETE", "/x", NULL, 0);
    assert_true(str_starts(w->body, "DELETE /x "));
    call(w, "GET", "/empty", NULL, 0);
    assert_int_equal(w->status, 204);
    call(w, "GET", "/big", NULL, 0);
    assert_int_equal(strlen(w->body), 20u << 20);
}

static void answers_from_another_thread(void **state)
{
    struct world *w = *state;
    auto_free char *body = mem_alloc(HTTP_MAX_BODY + 1);
    memset(body, 'b', HTTP_MAX_BODY);
    for (size_t i = 0; i < 300; i++) {
        size_t len = i == 299 ? HTTP_MAX_BODY : i * 7 + 1;
        call(w, "POST", "/later", body, len);
        assert_int_equal(w->status, 201);
        assert_int_equal(strlen(w->body), len);
    }
}

static void refusals_are_status_objects(void **state)
{
    struct world *w = *state;
    auto_free char *big = mem_alloc(HTTP_MAX_BODY + 1);
    call(w, "POST", "/x", big, HTTP_MAX_BODY + 1);
    assert_int_equal(w->status, 413);
    assert_string_equal(w->type, "application/json");
    assert_non_null(strstr(w->body, "\"reason\":\"RequestEntityTooLarge\",\"code\":413"));
    static const char *const bad[] = {"/a//b", "/a/../b", "/a/.",    "/a%2f%2e%2e/b",
                                      "/%zz",  "/%00",    "/x?a=%f", "/%ff"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        call(w, "GET", bad[i], NULL, 0);
        assert_int_equal(w->status, 400);
        assert_non_null(strstr(w->body, "\"kind\":\"Status\""));
    }
    auto_str target = {0};
    str_add_char(&target, '/');
    for (int i = 0; i < HTTP_MAX_TARGET; i++)
        str_add_char(&target, 'a');
    call(w, "GET", str_c(&target), NULL, 0);
    assert_int_equal(w->status, 414);
    call(w, "GET", "/after", NULL, 0);
    assert_int_equal(w->status, 200);
}

/* What no client library sends. Plain only: the bytes are ours. */
static void raw_rubbish_gets_a_status_object(void **state)
{
    struct world *w = *state;
    auto_free char *long_value = mem_alloc(60001), *long_target = mem_alloc(60001);
    memset(long_value, 'a', 60000);
    memset(long_target, 'b', 60000);
    const struct {
        const char *head, *more, *tail;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", "", "", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\nA: ", long_value, "\r\n\r\n", 431},
        {"GET /", long_target, " HTTP/1.1\r\nHost: x\r\n\r\n", 414},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", "", "", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", "", "", 413},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "", "", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "",
         "", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", "", "", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n", "", "",
         413},
        {"GET http://x/y HTTP/1.1\r\nHost: x\r\n\r\n", "", "", 400},
        {"GET / HTTP/7.7\r\nHost: x\r\n\r\n", "", "", 505},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct sockaddr_in to = {.sin_family = AF_INET,
                                 .sin_port = htons(http_server_port(w->server)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        auto_fd fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
        auto_free char *text = mem_printf("%s%s%s", cases[i].head, cases[i].more, cases[i].tail);
        assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
        auto_str answer = {0};
        char block[4096];
        for (ssize_t n; (n = recv(fd, block, sizeof block, 0)) > 0;)
            str_add_n(&answer, block, (size_t)n);
        char expected[32];
        snprintf(expected, sizeof expected, "HTTP/1.1 %d ", cases[i].status);
        assert_true(str_starts(str_c(&answer), expected));
        snprintf(expected, sizeof expected, "\"code\":%d}\n", cases[i].status);
        assert_true(str_ends(str_c(&answer), expected));
        assert_non_null(strstr(answer.data, "\r\n\r\n{\"kind\":\"Status\""));
    }
}

/* The server has said all and closed; what the kernel holds for a client that reads late is not lost because
 * the client says something meanwhile. */
static void who_reads_late_gets_the_rest(void **state)
{
    struct world *w = *state;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(http_server_port(w->server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    auto_fd fd = socket(AF_INET, SOCK_STREAM, 0);
    int small = 8192;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    static const char text[] = "GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_int_equal(send(fd, text, sizeof text - 1, MSG_NOSIGNAL), sizeof text - 1);
    size_t got = 0;
    char block[4096];
    ssize_t n = 0;
    while (got < (20u << 20) - (40u << 10) && (n = recv(fd, block, sizeof block, 0)) > 0)
        got += (size_t)n;
    sleep(4);
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    usleep(100000);
    while ((n = recv(fd, block, sizeof block, 0)) > 0)
        got += (size_t)n;
    assert_int_equal(n, 0);
    assert_true(got > 20u << 20);
}

static void feed(struct world *w, const char *text, bool end)
{
    pthread_mutex_lock(&w->lock);
    str_add(&w->feed, text);
    w->feed_end = end;
    pthread_mutex_unlock(&w->lock);
    http_stream_wake(w->stream);
}

static void wait_for(sem_t *semaphore)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    assert_int_equal(sem_timedwait(semaphore, &until), 0);
}

static struct http_pending *open_stream(struct world *w)
{
    struct http_call c = {
        .method = "GET", .target = "/stream", .on_data = on_data, .on_response = on_response, .arg = w};
    w->done = false;
    return w->client->ops->call(w->client, &c);
}

static void streams_sleep_and_wake(void **state)
{
    struct world *w = *state;
    open_stream(w);
    str_add(&w->feed, "first\n");
    w->want_seen = 6;
    test_run_until(w->loop, &w->done);
    wait_for(&w->opened);
    for (int i = 0; i < 500; i++) {
        w->done = false;
        w->want_seen += 5;
        feed(w, "more\n", false);
        test_run_until(w->loop, &w->done);
    }
    w->want_seen = 0;
    w->done = false;
    feed(w, "last\n", true);
    test_run_until(w->loop, &w->done);
    wait_for(&w->closed);
    assert_int_equal(w->status, 200);
    assert_int_equal(w->seen.len, 6 + 500 * 5 + 5);
    assert_int_equal(w->n_closed, 1);
}

static void a_dead_client_of_a_sleeping_stream_is_noticed(void **state)
{
    struct world *w = *state;
    struct http_pending *p = open_stream(w);
    str_add(&w->feed, "x");
    w->want_seen = 1;
    test_run_until(w->loop, &w->done);
    w->client->ops->cancel(w->client, p); /* closes the connection */
    wait_for(&w->closed);
    assert_int_equal(w->n_closed, 1);
}

static void ending_the_server_ends_everything(void **state)
{
    struct world *w = *state;
    open_stream(w);
    str_add(&w->feed, "x");
    w->want_seen = 1;
    test_run_until(w->loop, &w->done);
    wait_for(&w->opened);
    struct http_call c = {.method = "GET", .target = "/never", .on_response = on_response, .arg = w};
    w->client->ops->call(w->client, &c);
    struct loop_timer *tick = loop_timer_new(w->loop, test_loop_late, w->loop);
    while (sem_trywait(&w->opened) != 0) {
        loop_timer_start(tick, 1);
        loop_run(w->loop);
    }
    loop_timer_free(tick);
    http_server_free(w->server);
    w->server = NULL;
    wait_for(&w->closed);
    assert_int_equal(w->n_closed, 1);
    respond_text(w->stream, 200, "nobody hears this"); /* must neither crash nor leak */
    w->done = false;
    w->want_seen = 0;
    test_run_until(w->loop, &w->done);
    assert_int_equal(w->code, ERR_UNAVAILABLE);
}

static void strangers_are_refused(void **state)
{
    struct world *w = *state;
    struct test_pki other = test_pki_new();
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%u", http_server_port(w->server));
    struct http_call get = {.method = "GET", .target = "/who", .timeout_ms = 5000};
    struct http_client_options options = {.base_url = url, .ca_pem = other.ca};
    auto_err err = NULL;
    assert_null(http_client_call_blocking(&options, &get, &err));
    assert_int_equal(err_code(err), ERR_UNAUTHORIZED);

    options.ca_pem = w->pki.ca;
    struct http_response *anonymous = http_client_call_blocking(&options, &get, NULL);
    assert_non_null(anonymous);
    assert_non_null(strstr(anonymous->body, "user=- "));
    http_response_free(anonymous);

    options.certificate_pem = other.client;
    options.key_pem = other.client_key;
    assert_null(http_client_call_blocking(&options, &get, NULL));
    options.certificate_pem = w->pki.server; /* right CA, but not a client's certificate */
    options.key_pem = w->pki.server_key;
    assert_null(http_client_call_blocking(&options, &get, NULL));
    test_pki_fini(&other);
}

int main(void)
{
    log_set_silent(1);
#define BOTH(test)                                                                                           \
    cmocka_unit_test_setup_teardown(test, setup_plain, teardown),                                            \
        cmocka_unit_test_setup_teardown(test, setup_tls, teardown)
    const struct CMUnitTest tests[] = {
        BOTH(requests_arrive_whole),
        BOTH(answers_from_another_thread),
        BOTH(refusals_are_status_objects),
        cmocka_unit_test_setup_teardown(raw_rubbish_gets_a_status_object, setup_plain, teardown),
        cmocka_unit_test_setup_teardown(who_reads_late_gets_the_rest, setup_plain, teardown),
        BOTH(streams_sleep_and_wake),
        BOTH(a_dead_client_of_a_sleeping_stream_is_noticed),
        BOTH(ending_the_server_ends_everything),
        cmocka_unit_test_setup_teardown(strangers_are_refused, setup_tls, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
