/*
 * Policies of an agent: the default, one from a Policy object chosen by the profile, what is kept on the
 * disk, what the manager took out of use, and one that fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "client/client.h"
#include "script/script_node.h"

static const char *const lua[] = {MINIK8S_SOURCE_DIR "/lua", NULL};
static const char *const shipped[] = {MINIK8S_SOURCE_DIR "/policies", NULL};
static char directory[] = "/tmp/m8-node-policies-XXXXXX";
static char *file;
static unsigned troubles;
static char *in_force; /* as the agent would say it in its Lease */

static void on_trouble(void *arg UNUSED, const char *reason, const char *message)
{
    assert_non_null(strstr(reason, "Policy"));
    assert_non_null(strstr(message, "default"));
    troubles++;
}

static void on_in_force(void *arg UNUSED, const char *versions)
{
    free(in_force);
    in_force = mem_strdup(versions);
}

static const struct node_policy_listener listener = {.on_trouble = on_trouble, .on_in_force = on_in_force};

static struct script_node *start(void)
{
    const struct script_node_options options = {
        .lua_directories = lua, .shipped_policies = shipped, .file = file, .clock = &clock_system};
    auto_err err = NULL;
    struct script_node *node = script_node_new(&options, &err);
    if (!node)
        fail_msg("%s", err_message(err));
    struct node_policies policies = script_node_policies(node);
    policies.listen(policies.arg, &listener);
    return node;
}

static struct node_backoff ask(struct script_node *node, unsigned crashes, int64_t ran_ms)
{
    static const char text[] = "{\"metadata\":{\"namespace\":\"default\",\"name\":\"p\"}}";
    auto_json pod = json_parse_trusted(text, strlen(text));
    const struct node_restart restart = {
        .pod = pod, .container = "c", .crashes = crashes, .ran_ms = ran_ms, .exit_code = 1};
    struct node_policies policies = script_node_policies(node);
    return policies.restart_backoff(policies.arg, &restart);
}

static void put(struct cache *cache, const char *resource, cJSON *object)
{
    static uint64_t revision;
    revision++;
    auto_free char *version = mem_printf("%llu", (unsigned long long)revision);
    json_set_string(json_get(object, "metadata"), "resourceVersion", version);
    auto_free char *text = json_print(object);
    const struct client_event event = {.type = CLIENT_MODIFIED,
                                       .revision = revision,
                                       .resource = resource,
                                       .object = text,
                                       .len = strlen(text)};
    cache_apply(cache, &event);
}

/* body: of run. status: of the object, JSON. */
static void put_policy(struct cache *cache, const char *body, const char *status)
{
    auto_json object = cJSON_CreateObject();
    auto_free char *source =
        mem_printf("return { api = 1, point = 'restart.backoff', name = 'mine',"
                   " run = function(ctx) if ctx.calm then return { wait = 0 } end %s end,"
                   " examples = { { ctx = { calm = true }, expect = { wait = 0 } } } }",
                   body);
    json_set_string(object, "apiVersion", "minik8s.io/v1");
    json_set_string(object, "kind", "Policy");
    cJSON *metadata = json_ensure_object(object, "metadata");
    json_set_string(metadata, "name", "mine");
    json_set_string(metadata, "uid", "u");
    json_set_string(json_ensure_object(object, "spec"), "point", "restart.backoff");
    json_set_string(json_ensure_object(object, "spec"), "source", source);
    json_set(object, "status", json_parse_trusted(status, strlen(status)));
    put(cache, "policies.minik8s.io", object);
}

static void use(struct cache *cache, const char *name)
{
    auto_free char *text = mem_printf(
        "{\"apiVersion\":\"minik8s.io/"
        "v1\",\"kind\":\"PolicyProfile\",\"metadata\":{\"name\":\"cluster\",\"uid\":"
        "\"pp\"},\"spec\":{\"points\":[{\"point\":\"restart.backoff\",\"policies\":[{\"name\":\"%s\"}]},"
        "{\"point\":\"scheduler.score\",\"policies\":[{\"name\":\"binpack\"}]}]}}",
        name);
    auto_json profile = json_parse_trusted(text, strlen(text));
    put(cache, "policyprofiles.minik8s.io", profile);
}

static void follow(struct script_node *node, struct cache *cache)
{
    struct node_policies policies = script_node_policies(node);
    policies.sync(policies.arg, cache);
}

static void test_default(void **state UNUSED)
{
    struct script_node *node = start();
    assert_int_equal(ask(node, 0, 100).wait_ms, 1000);
    assert_int_equal(ask(node, 3, 100).wait_ms, 8000);
    assert_int_equal(ask(node, 60, 100).wait_ms, 60000);
    assert_false(ask(node, 3, 59000).reset);
    assert_true(ask(node, 3, 60000).reset);
    assert_int_equal(ask(node, 3, 60000).wait_ms, 1000);
    script_node_free(node);
}

static void test_chosen_and_kept(void **state UNUSED)
{
    struct script_node *node = start();
    struct cache *cache = cache_new();
    put_policy(cache, "return { wait = 7 }", "{}");
    use(cache, "mine");
    follow(node, cache);
    assert_int_equal(ask(node, 3, 100).wait_ms, 7000);
    script_node_free(node);
    node = start(); /* no server, no objects: as before */
    assert_int_equal(ask(node, 3, 100).wait_ms, 7000);
    put_policy(cache, "return { wait = 2 }",
               "{\"hash\":\"0123456789abcdef\"}"); /* the manager uses another */
    follow(node, cache);
    assert_int_equal(ask(node, 3, 100).wait_ms, 8000);
    put_policy(cache, "return { wait = 2 }", "{}");
    follow(node, cache);
    assert_int_equal(ask(node, 3, 100).wait_ms, 2000);
    use(cache, "steady");
    follow(node, cache);
    assert_int_equal(ask(node, 3, 100).wait_ms, 5000);
    cache_free(cache);
    script_node_free(node);
    assert_int_equal(unlink(file), 0);
}

/* A file of the operator's folder comes in the profile's status; a Policy object of its name wins. */
static void test_from_a_file(void **state UNUSED)
{
    static const char source[] = "return { api = 1, point = 'restart.backoff', name = 'mine', run = "
                                 "function() return { wait = 3 } end,"
                                 " examples = { { ctx = {}, expect = { wait = 3 } } } }";
    struct script_node *node = start();
    struct cache *cache = cache_new();
    assert_non_null(strstr(in_force, "restart.backoff=doubling@"));
    auto_free char *text = mem_printf(
        "{\"apiVersion\":\"minik8s.io/v1\",\"kind\":\"PolicyProfile\",\"metadata\":{\"name\":\"cluster\","
        "\"uid\":\"pp\"},\"spec\":{\"points\":[{\"point\":\"restart.backoff\",\"policies\":[{\"name\":"
        "\"mine\"}]}]},"
        "\"status\":{\"files\":[{\"name\":\"mine\",\"point\":\"restart.backoff\",\"source\":\"%s\"},"
        "{\"name\":\"other\",\"point\":\"scheduler.score\",\"source\":\"\"}]}}",
        source);
    auto_json profile = json_parse_trusted(text, strlen(text));
    put(cache, "policyprofiles.minik8s.io", profile);
    follow(node, cache);
    assert_int_equal(ask(node, 3, 100).wait_ms, 3000);
    auto_free char *wanted =
        mem_printf("restart.backoff=mine@%08llx", (unsigned long long)str_hash(source, strlen(source)) >> 32);
    assert_string_equal(in_force, wanted);
    script_node_free(node);
    node = start(); /* without a server: from the disk */
    assert_int_equal(ask(node, 3, 100).wait_ms, 3000);
    assert_string_equal(in_force, wanted);
    put_policy(cache, "return { wait = 9 }", "{}");
    follow(node, cache);
    assert_int_equal(ask(node, 3, 100).wait_ms, 9000);
    assert_string_not_equal(in_force, wanted);
    json_remove(profile, "status");
    put(cache, "policyprofiles.minik8s.io", profile);
    follow(node, cache);
    assert_int_equal(ask(node, 3, 100).wait_ms, 9000);
    cache_free(cache);
    script_node_free(node);
    assert_int_equal(unlink(file), 0);
}

static void test_failing(void **state UNUSED)
{
    struct script_node *node = start();
    struct cache *cache = cache_new();
    put_policy(cache, "while true do end", "{}");
    use(cache, "mine");
    follow(node, cache);
    troubles = 0;
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(node, 2, 100).wait_ms, 4000); /* the default, each time */
    assert_int_equal(troubles, 3);                         /* then it is not asked any more */
    assert_non_null(strstr(in_force, "restart.backoff=doubling@"));
    cache_free(cache);
    script_node_free(node);
    assert_int_equal(unlink(file), 0);
}

int main(void)
{
    json_init();
    log_set_silent(1);
    assert_non_null(mkdtemp(directory));
    file = file_join(directory, "policies.json");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_default), cmocka_unit_test(test_chosen_and_kept),
                                       cmocka_unit_test(test_from_a_file), cmocka_unit_test(test_failing)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(directory);
    free(file);
    free(in_force);
    return failed;
}
