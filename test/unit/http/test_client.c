/* The client's hard parts: many calls at once, cancelling and freeing inside callbacks, pausing, limits in
 * time, restarts. */
#include "http_test.h"

#include <pthread.h>
#include <stdio.h>

#include "base/log.h"

#define STREAM_BYTES (8u << 20)

struct world {
    struct http_server *server;
    struct http_server_options options;
    struct loop *loop;
    struct http_client *client;
    size_t answered, failed, bytes;
    size_t want;
    struct http_pending *pending, *other;
    enum err_code code;
    int status;
    bool done, in_data;
    void (*in_response)(struct world *w);
    bool (*on_chunk)(struct world *w);
    pthread_mutex_t lock;
    struct http_exchange *held[64];
    size_t n_held;
    size_t streamed;
};

/* ---- server ---- */

static enum http_pull pull(void *arg, struct str *out)
{
    struct world *w = arg;
    char block[32768];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)(w->streamed + i);
    str_add_n(out, block, sizeof block);
    w->streamed += sizeof block;
    return w->streamed < STREAM_BYTES ? HTTP_PULL_MORE : HTTP_PULL_END;
}

static void closed(void *arg UNUSED)
{
}

static void handle(void *arg, struct http_exchange *x)
{
    static const struct http_stream_ops ops = {.pull = pull, .closed = closed};
    struct world *w = arg;
    if (str_eq(x->request.path, "/never")) {
        pthread_mutex_lock(&w->lock);
        w->held[w->n_held++] = x;
        pthread_mutex_unlock(&w->lock);
    } else if (str_eq(x->request.path, "/stream")) {
        w->streamed = 0;
        http_stream(x, 200, "text/plain", NULL, 0, &ops, w);
    } else {
        http_respond(x, 200, "text/plain", bytes_from(x->request.body, x->request.body_len), NULL, 0);
    }
}

static int setup(void **state)
{
    struct world *w = NEW(struct world);
    pthread_mutex_init(&w->lock, NULL);
    w->options = (struct http_server_options){.address = "127.0.0.1", .handler = handle, .handler_arg = w};
    w->server = http_server_new(&w->options, NULL);
    w->loop = loop_new(NULL);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u", http_server_port(w->server));
    const struct http_client_options options = {.base_url = url};
    w->client = http_client_curl_new(w->loop, &options, NULL);
    *state = w;
    return w->client ? 0 : -1;
}

static int teardown(void **state)
{
    struct world *w = *state;
    if (w->client)
        w->client->ops->free(w->client);
    http_server_free(w->server);
    for (size_t i = 0; i < w->n_held; i++)
        http_respond(w->held[i], 200, NULL, NULL, NULL, 0);
    loop_free(w->loop);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return 0;
}

/* ---- client ---- */

static void on_response(void *arg, const struct http_response *response, struct err *err)
{
    struct world *w = arg;
    w->code = err_code(err);
    w->status = response ? response->status : 0;
    w->answered += response != NULL;
    w->failed += err != NULL;
    if (w->in_response)
        w->in_response(w);
    if (w->answered + w->failed >= w->want) {
        w->done = true;
        loop_stop(w->loop);
    }
}

static bool on_data(void *arg, int status, const char *data, size_t len)
{
    struct world *w = arg;
    assert_int_equal(status, 200);
    for (size_t i = 0; i < len; i++) {
        if (data[i] != (char)(w->bytes + i))
            fail_msg("byte %zu of the stream is wrong", w->bytes + i);
    }
    w->bytes += len;
    return !w->on_chunk || w->on_chunk(w);
}

static struct http_pending *get(struct world *w, const char *target, bool stream, int timeout_ms)
{
    const struct http_call call = {.method = "GET",
                                   .target = target,
                                   .timeout_ms = timeout_ms,
                                   .on_data = stream ? on_data : NULL,
                                   .on_response = on_response,
                                   .arg = w};
    return w->client->ops->call(w->client, &call);
}

static void turn(struct world *w, int ms)
{
    struct loop_timer *timer = loop_timer_new(w->loop, test_loop_late, w->loop);
    loop_timer_start(timer, ms);
    loop_run(w->loop);
    loop_timer_free(timer);
}

static void many_calls_share_few_connections(void **state)
{
    struct world *w = *state;
    w->want = 1000;
    for (size_t i = 0; i < w->want; i++)
        get(w, "/x", false, 9000);
    test_run_until(w->loop, &w->done);
    assert_int_equal(w->answered, 1000);
}

static void time_is_limited(void **state)
{
    struct world *w = *state;
    w->want = 1;
    get(w, "/never", false, 60);
    test_run_until(w->loop, &w->done);
    assert_int_equal(w->code, ERR_TIMEOUT);
}

static bool cancel_both(struct world *w)
{
    w->client->ops->cancel(w->client, w->other);
    w->client->ops->cancel(w->client, w->pending);
    loop_stop(w->loop);
    return true;
}

static void cancelling_inside_a_callback(void **state)
{
    struct world *w = *state;
    w->on_chunk = cancel_both;
    w->pending = get(w, "/stream", true, 0);
    w->other = get(w, "/never", false, 0);
    loop_run(w->loop);
    w->on_chunk = NULL;
    turn(w, 30);
    assert_int_equal(w->answered + w->failed, 0); /* not told after cancel */
    w->want = 1;
    get(w, "/x", false, 5000);
    test_run_until(w->loop, &w->done);
    assert_int_equal(w->status, 200);
}

static bool stop_after_enough(struct world *w)
{
    return w->bytes < 100000;
}

static void a_stream_can_be_ended(void **state)
{
    struct world *w = *state;
    w->want = 1;
    w->on_chunk = stop_after_enough;
    get(w, "/stream", true, 0);
    test_run_until(w->loop, &w->done);
    assert_int_equal(w->code, ERR_NONE);
    assert_int_equal(w->status, 200);
    assert_true(w->bytes >= 100000 && w->bytes < STREAM_BYTES);
}

static bool pause_now(struct world *w)
{
    w->client->ops->pause(w->client, w->pending, true);
    loop_stop(w->loop);
    return true;
}

static void a_paused_stream_waits(void **state)
{
    struct world *w = *state;
    w->want = 1;
    w->on_chunk = pause_now;
    w->pending = get(w, "/stream", true, 0);
    loop_run(w->loop);
    for (int i = 0; i < 20; i++) {
        size_t before = w->bytes;
        turn(w, 2);
        assert_int_equal(w->bytes, before);
        w->client->ops->pause(w->client, w->pending, false); /* gets some, pauses again from inside */
        turn(w, 10);
        assert_true(w->bytes > before);
    }
    assert_false(w->done);
    w->on_chunk = NULL;
    w->client->ops->pause(w->client, w->pending, false);
    test_run_until(w->loop, &w->done);
    assert_int_equal(w->bytes, STREAM_BYTES);
    assert_int_equal(w->code, ERR_NONE);
}

static void free_client(struct world *w)
{
    w->client->ops->free(w->client);
    w->client = NULL;
}

static void freeing_inside_a_callback(void **state)
{
    struct world *w = *state;
    w->in_response = free_client;
    w->want = 1;
    get(w, "/never", false, 0);
    for (int i = 0; i < 20; i++)
        get(w, "/x", false, 0);
    test_run_until(w->loop, &w->done);
    turn(w, 30);
    assert_int_equal(w->answered + w->failed, 1);
}

static void call_again(struct world *w)
{
    if (w->answered < 50)
        get(w, "/x", false, 5000);
}

static void calling_inside_a_callback(void **state)
{
    struct world *w = *state;
    w->in_response = call_again;
    w->want = 50;
    get(w, "/x", false, 5000);
    test_run_until(w->loop, &w->done);
    assert_int_equal(w->answered, 50);
}

static void a_restarted_server_is_found_again(void **state)
{
    struct world *w = *state;
    w->want = 1;
    get(w, "/x", false, 5000);
    test_run_until(w->loop, &w->done);
    w->options.port = http_server_port(w->server);
    http_server_free(w->server);
    w->done = false;
    w->want++;
    get(w, "/x", false, 5000);
    test_run_until(w->loop, &w->done);
    assert_int_equal(w->code, ERR_UNAVAILABLE);
    w->server = http_server_new(&w->options, NULL);
    assert_non_null(w->server);
    w->done = false;
    w->want++;
    get(w, "/x", false, 5000);
    test_run_until(w->loop, &w->done);
    assert_int_equal(w->status, 200);
}

static void targets_are_encoded(void **state UNUSED)
{
    auto_str target = {0};
    http_path_add(&target, "api");
    http_path_add(&target, "a/b c");
    http_query_add(&target, "labelSelector", "a=b,c in (x)");
    http_query_add(&target, "x", "&?#\xc3\xa4");
    assert_string_equal(str_c(&target),
                        "/api/a%2Fb%20c?labelSelector=a%3Db%2Cc%20in%20%28x%29&x=%26%3F%23%C3%A4");
}

int main(void)
{
    log_set_silent(1);
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(many_calls_share_few_connections),
        CASE(time_is_limited),
        CASE(cancelling_inside_a_callback),
        CASE(a_stream_can_be_ended),
        CASE(a_paused_stream_waits),
        CASE(freeing_inside_a_callback),
        CASE(calling_inside_a_callback),
        CASE(a_restarted_server_is_found_again),
        cmocka_unit_test(targets_are_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
