/* The operator's folder of policies, on a real loop with real inotify; no server is needed to see what is
 * active. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "http/http.h"
#include "loop/loop.h"
#include "script/script.h"

struct fixture {
    char directory[64], *drop, *sub;
    struct loop *loop;
    struct loop_timer *tick;
    struct http_client *http;
    struct script_manager *manager;
    const char *wanted, *unwanted;
    int ticks;
    bool met;
};

static char *active_of(const struct fixture *fixture)
{
    auto_json statistics = script_manager_statistics(fixture->manager);
    return mem_strdup(cJSON_GetStringValue(json_get(json_get(statistics, "policies"), "scheduler.score")));
}

static void on_tick(void *arg)
{
    struct fixture *fixture = arg;
    auto_free char *active = active_of(fixture);
    fixture->met = (!fixture->wanted || strstr(active, fixture->wanted)) &&
                   (!fixture->unwanted || !strstr(active, fixture->unwanted));
    if (fixture->met || ++fixture->ticks > 500)
        loop_stop(fixture->loop);
    else
        loop_timer_start(fixture->tick, 10);
}

/* Runs the loop until the active policies hold `wanted` and not `unwanted`. */
static void wait_until(struct fixture *fixture, const char *wanted, const char *unwanted)
{
    fixture->wanted = wanted;
    fixture->unwanted = unwanted;
    fixture->ticks = 0;
    loop_timer_start(fixture->tick, 1);
    loop_run(fixture->loop);
    auto_free char *active = active_of(fixture);
    if (!fixture->met)
        fail_msg("wanted %s, not %s; active: %s", wanted ? wanted : "-", unwanted ? unwanted : "-", active);
}

/* "spread@HASH" as it stands now. */
static char *spread_of(struct fixture *fixture)
{
    auto_free char *active = active_of(fixture);
    const char *at = strstr(active, "spread@");
    assert_non_null(at);
    return mem_strndup(at, strcspn(at, ","));
}

static void write_policy(const char *directory, const char *name, const char *run)
{
    auto_free char *path = file_join(directory, name);
    auto_free char *text = mem_printf("return { api = 1, point = \"scheduler.score\", name = \"spread\",\n"
                                      "run = function(ctx) %s end,\n"
                                      "examples = { { ctx = {}, candidate = {}, min = 0 } } }\n",
                                      run);
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0644, NULL), 0);
}

static void start(struct fixture *fixture, const char *drop)
{
    static const char *const lua[] = {MINIK8S_SOURCE_DIR "/lua", NULL};
    static const char *const shipped[] = {MINIK8S_SOURCE_DIR "/policies", NULL};
    const char *const policies[] = {drop, NULL};
    auto_err err = NULL;
    const struct http_client_options http = {.base_url = "http://127.0.0.1:9"};
    fixture->loop = loop_new(&err);
    fixture->tick = loop_timer_new(fixture->loop, on_tick, fixture);
    fixture->http = http_client_curl_new(fixture->loop, &http, &err);
    assert_non_null(fixture->http);
    const struct script_manager_options options = {.loop = fixture->loop,
                                                   .http = fixture->http,
                                                   .random = &random_system,
                                                   .lua_directories = lua,
                                                   .shipped_policies = shipped,
                                                   .policy_directories = policies,
                                                   .host = "test"};
    fixture->manager = script_manager_new(&options, &err);
    if (!fixture->manager)
        fail_msg("%s", err_message(err));
}

static int setup(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/minik8s-policies-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    fixture->drop = file_join(fixture->directory, "a/policies"); /* neither exists yet */
    fixture->sub = file_join(fixture->drop, "scheduler");
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    script_manager_free(fixture->manager);
    if (fixture->http)
        fixture->http->ops->free(fixture->http);
    loop_timer_free(fixture->tick);
    if (fixture->loop)
        loop_free(fixture->loop);
    file_remove_tree(fixture->directory, NULL);
    free(fixture->drop);
    free(fixture->sub);
    free(fixture);
    return 0;
}

static void test_follows_the_folder(void **state)
{
    struct fixture *fixture = *state;
    start(fixture, fixture->drop);
    auto_free char *shipped = spread_of(fixture);
    assert_int_equal(file_make_dirs(fixture->sub, 0755, NULL), 0);
    write_policy(fixture->sub, "spread.lua", "return 7");
    wait_until(fixture, "spread@", shipped);
    auto_free char *first = spread_of(fixture);

    write_policy(fixture->sub, "spread.lua", "return 8");
    wait_until(fixture, "spread@", first);
    auto_free char *second = spread_of(fixture);

    auto_free char *path = file_join(fixture->sub, "spread.lua");
    assert_int_equal(unlink(path), 0);
    wait_until(fixture, shipped, NULL);
    assert_string_not_equal(first, second);
}

static void test_a_broken_file_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(file_make_dirs(fixture->drop, 0755, NULL), 0);
    write_policy(fixture->drop, "spread.lua", "return 7");
    write_policy(fixture->drop, "other.lua", "retrn 7"); /* must not keep the manager from starting */
    start(fixture, fixture->drop);
    auto_free char *first = spread_of(fixture);
    write_policy(fixture->drop, "spread.lua", "while true do end");
    write_policy(fixture->drop, "spread_test.lua", "error()");
    write_policy(fixture->drop, "spread.lua", "retrn 9");
    loop_timer_start(fixture->tick, 300); /* longer than it takes to look at them */
    fixture->wanted = first;
    fixture->unwanted = NULL;
    loop_run(fixture->loop);
    assert_true(fixture->met);
    write_policy(fixture->drop, "spread.lua", "return 9");
    wait_until(fixture, "spread@", first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_follows_the_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_broken_file_changes_nothing, setup, teardown),
    };
    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
