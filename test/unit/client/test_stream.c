/* The stream's consumer against a scripted server: lines cut anywhere, resuming, 410, another cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "client/client.h"

/* An http_client that remembers the calls and is told what to answer. */
struct script {
    struct http_client base;
    struct loop *loop;
    char targets[32][256];
    int n_targets;
    http_on_data *on_data;
    http_on_response *on_response;
    void *arg;
    bool pending;
};

static struct http_pending *script_call(struct http_client *client, const struct http_call *call)
{
    struct script *script = (struct script *)client;
    assert_false(script->pending);
    snprintf(script->targets[script->n_targets++ % 32], 256, "%s", call->target);
    script->on_data = call->on_data;
    script->on_response = call->on_response;
    script->arg = call->arg;
    script->pending = true;
    return (struct http_pending *)script;
}

static void script_cancel(struct http_client *client, struct http_pending *pending UNUSED)
{
    ((struct script *)client)->pending = false;
}

static const struct http_client_ops script_ops = {.call = script_call, .cancel = script_cancel};

struct world {
    struct loop *loop;
    struct script script;
    struct client *client;
    struct client_stream *stream;
    char seen[4096];
};

static void note(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct world *w, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t used = strlen(w->seen);
    vsnprintf(w->seen + used, sizeof(w->seen) - used, format, arguments);
    va_end(arguments);
}

static void on_event(void *arg, const struct client_event *event)
{
    static const char *const names[] = {"add", "mod", "del", "end", "book"};
    note(arg, "%s %s@%d %.*s;", names[event->type], event->resource, (int)event->revision, (int)event->len,
         event->object ? event->object : "");
}

static void on_restart(void *arg, const char *cluster)
{
    note(arg, "list of %s;", cluster);
}

static void on_connected(void *arg, bool connected, const char *reason UNUSED)
{
    note(arg, connected ? "up;" : "down;");
}

static void run(struct world *w, int64_t ms)
{
    loop_run_until(w->loop, loop_now_ms(w->loop) + ms);
}

static int set_up(void **state)
{
    struct world *w = NEW(struct world);
    w->loop = loop_new_virtual(0);
    w->script.base.ops = &script_ops;
    w->client = client_new(w->loop, &w->script.base, &random_system);
    const struct client_stream_options options = {
        .on_event = on_event, .on_restart = on_restart, .on_connected = on_connected, .arg = w};
    w->stream = client_stream_open(w->client, &options);
    run(w, 1);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    client_stream_close(w->stream);
    client_free(w->client);
    loop_free(w->loop);
    free(w);
    return 0;
}

static void give(struct world *w, const char *text)
{
    assert_true(w->script.on_data(w->script.arg, 200, text, strlen(text)));
}

static void end(struct world *w, int status)
{
    const struct http_response response = {.status = status, .body = ""};
    w->script.pending = false;
    w->script.on_response(w->script.arg, &response, NULL);
}

#define HELLO(id) "{\"type\":\"HELLO\",\"revision\":5,\"cluster\":\"" id "\"}\n"
#define POD(type, revision)                                                                                  \
    "{\"type\":\"" type "\",\"revision\":" revision ",\"resource\":\"pods\",\"object\":{\"a\":1}}\n"
#define INITIAL_END(revision) "{\"type\":\"INITIAL_END\",\"revision\":" revision "}\n"

static void test_lists_then_follows(void **state)
{
    struct world *w = *state;
    assert_non_null(strstr(w->script.targets[0], "sendInitialEvents=true"));
    give(w, HELLO("c1"));
    const char *text = POD("ADDED", "3") INITIAL_END("5") POD("MODIFIED", "6");
    for (const char *c = text; *c; c++) { /* one byte at a time */
        char one[2] = {*c, 0};
        give(w, one);
    }
    assert_string_equal(w->seen, "up;list of c1;add pods@3 {\"a\":1};end @5 ;mod pods@6 {\"a\":1};");
    assert_int_equal(client_stream_revision(w->stream), 6);
}

static void test_resumes_from_the_last_revision(void **state)
{
    struct world *w = *state;
    give(w, HELLO("c1") POD("ADDED", "3") INITIAL_END("5") POD("MODIFIED", "8") "{\"type\":\"MODI");
    end(w, 200);
    run(w, 100);
    assert_non_null(strstr(w->script.targets[1], "resourceVersion=8"));
    w->seen[0] = 0;
    give(w, HELLO("c1") POD("DELETED", "9"));
    assert_string_equal(w->seen, "up;del pods@9 {\"a\":1};");
}

static void test_an_unfinished_list_begins_again(void **state)
{
    struct world *w = *state;
    give(w, HELLO("c1") POD("ADDED", "3"));
    end(w, 200);
    run(w, 100);
    assert_non_null(strstr(w->script.targets[1], "sendInitialEvents=true"));
}

static void test_too_old_means_a_new_list(void **state)
{
    struct world *w = *state;
    give(w, HELLO("c1") INITIAL_END("5"));
    const char *gone = "{\"type\":\"ERROR\",\"revision\":0,\"object\":{\"code\":410,\"reason\":\"Expired\","
                       "\"message\":\"old\"}}\n";
    assert_false(w->script.on_data(w->script.arg, 200, gone, strlen(gone)));
    end(w, 200);
    run(w, 1);
    assert_non_null(strstr(w->script.targets[1], "sendInitialEvents=true"));
}

static void test_another_cluster_means_a_new_list(void **state)
{
    struct world *w = *state;
    give(w, HELLO("c1") INITIAL_END("5"));
    end(w, 200);
    run(w, 100);
    assert_non_null(strstr(w->script.targets[1], "resourceVersion=5"));
    assert_false(w->script.on_data(w->script.arg, 200, HELLO("c2"), strlen(HELLO("c2"))));
    end(w, 200);
    run(w, 1);
    assert_non_null(strstr(w->script.targets[2], "sendInitialEvents=true"));
    w->seen[0] = 0;
    give(w, HELLO("c2"));
    assert_string_equal(w->seen, "list of c2;");
}

static void test_backs_off_while_the_server_is_away(void **state)
{
    struct world *w = *state;
    int64_t began = loop_now_ms(w->loop);
    for (int i = 0; i < 8; i++) {
        w->script.pending = false;
        auto_err refused = NULL;
        err_set(&refused, ERR_UNAVAILABLE, "refused");
        w->script.on_response(w->script.arg, NULL, refused);
        while (!w->script.pending)
            run(w, 10);
    }
    int64_t took = loop_now_ms(w->loop) - began;
    assert_in_range(took, 50 + 100 + 200 + 400 + 800 + 1600 + 2000 + 2000 - 200, 7400);
    assert_string_equal(w->seen, "down;");
}

int main(void)
{
    json_init();
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_lists_then_follows),
        TEST(test_resumes_from_the_last_revision),
        TEST(test_an_unfinished_list_begins_again),
        TEST(test_too_old_means_a_new_list),
        TEST(test_another_cluster_means_a_new_list),
        TEST(test_backs_off_while_the_server_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
