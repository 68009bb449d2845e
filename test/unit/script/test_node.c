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
    assert_true(str_starts(in_force, wanted));
    script_node_free(node);
    node = start(); /* without a server: from the disk */
    assert_int_equal(ask(node, 3, 100).wait_ms, 3000);
    assert_true(str_starts(in_force, wanted));
    put_policy(cache, "return { wait = 9 }", "{}");
    follow(node, cache);
    assert_int_equal(ask(node, 3, 100).wait_ms, 9000);
    assert_false(str_starts(in_force, wanted));
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

/* ---- balance ---- */

#define BODY                                                                                                 \
    "return { mode = 'round-robin', weights = { [ctx.endpoints[1].name] = 3 },"                              \
    " reasons = { ctx.node .. ' ' .. ctx.endpoints[1].labels.app .. (ctx.endpoints[2].labels.colour or '') " \
    "} }"

static void on_told(void *arg)
{
    ++*(unsigned *)arg;
}

static unsigned told, others;

static const struct node_policy_listener counting = {
    .on_trouble = on_trouble, .on_in_force = on_in_force, .on_decision = on_told, .arg = &told};

static void on_balance(void *arg UNUSED)
{
    others++;
}

static void count_decisions(struct script_node *node)
{
    struct node_policies policies = script_node_policies(node);
    struct node_policy_listener all = counting;
    all.on_balance = on_balance;
    policies.listen(policies.arg, &all);
    told = others = 0;
}

static void put_balance(struct cache *cache, const char *name, const char *body, const char *settings)
{
    auto_json object = cJSON_CreateObject();
    auto_free char *source = mem_printf(
        "return { api = 1, point = 'balance', name = '%s', run = function(ctx) if ctx.calm then return "
        "{ mode = 'random' } end %s end,"
        " examples = { { ctx = { calm = true }, expect = { mode = 'random' } } } }",
        name, body);
    cJSON *metadata = json_ensure_object(object, "metadata"), *spec = json_ensure_object(object, "spec");
    json_set_string(object, "apiVersion", "minik8s.io/v1");
    json_set_string(object, "kind", "Policy");
    json_set_string(metadata, "name", name);
    json_set_string(metadata, "uid", name);
    json_set_string(spec, "point", "balance");
    json_set_string(spec, "source", source);
    json_set(spec, "settings", json_parse_trusted(settings, strlen(settings)));
    put(cache, "policies.minik8s.io", object);
}

static void use_balance(struct cache *cache, const char *name, const char *namespaces)
{
    auto_free char *text =
        mem_printf("{\"apiVersion\":\"minik8s.io/v1\",\"kind\":\"PolicyProfile\",\"metadata\":{\"name\":"
                   "\"%s\",\"uid\":\"%s\"},\"spec\":{\"namespaces\":%s,\"points\":[{\"point\":\"balance\","
                   "\"policies\":[{\"name\":\"%s\"}]}]}}",
                   namespaces ? "team" : "cluster", namespaces ? "team" : "cluster",
                   namespaces ? namespaces : "[]", name);
    auto_json profile = json_parse_trusted(text, strlen(text));
    put(cache, "policyprofiles.minik8s.io", profile);
}

/* Endpoints: a on n1, b on n2. labels: annotation of the slice. where: the node that asks. */
static const cJSON *balance(struct script_node *node, const char *namespace, const char *labels,
                            const char *where)
{
    static const char slice_text[] =
        "[{\"metadata\":{\"annotations\":{}},\"endpoints\":["
        "{\"addresses\":[\"10.0.0.2\"],\"nodeName\":\"n2\",\"targetRef\":{\"name\":\"b\"}},"
        "{\"addresses\":[\"10.0.0.1\"],\"nodeName\":\"n1\",\"targetRef\":{\"name\":\"a\"}}]}]";
    auto_free char *key = mem_printf("%s/web", namespace);
    auto_free char *text = mem_printf("{\"metadata\":{\"namespace\":\"%s\",\"name\":\"web\"}}", namespace);
    auto_json service = json_parse_trusted(text, strlen(text));
    auto_json slices = json_parse_trusted(slice_text, strlen(slice_text));
    json_set_string(json_at(slices, "[0].metadata.annotations"), "minik8s.io/endpoint-labels", labels);
    const struct node_balanced balanced = {
        .key = key, .service = service, .slices = slices, .node = where, .revision = 7};
    struct node_policies policies = script_node_policies(node);
    return policies.balance(policies.arg, &balanced);
}

#define LABELS "{\"common\":{\"app\":\"web\"},\"pods\":{\"b\":{\"colour\":\"red\"}}}"

static const char *mode(struct script_node *node, const char *namespace)
{
    return json_string(balance(node, namespace, LABELS, "n1"), "mode");
}

/* What is asked, that the same is asked once, and who tells it. */
static void test_balance(void **state UNUSED)
{
    struct script_node *node = start();
    struct cache *cache = cache_new();
    count_decisions(node);
    assert_string_equal(mode(node, "default"), "random");
    assert_int_equal(told, 1);
    put_balance(cache, "mine", BODY, "{}");
    use_balance(cache, "mine", NULL);
    follow(node, cache);
    assert_int_equal(others, 1);
    const cJSON *answer = balance(node, "default", LABELS, "n1");
    assert_string_equal(json_string(answer, "mode"), "round-robin");
    assert_int_equal(json_int(answer, "weights.a", 0), 3);
    assert_string_equal(json_string(answer, "reasons[0]"), "n1 webred");
    assert_memory_equal(json_string(answer, "policy"), "mine@", 5);
    assert_non_null(strstr(in_force, " balance=mine@"));
    assert_int_equal(told, 2);
    for (int i = 0; i < 5; i++)
        assert_ptr_equal(balance(node, "default", LABELS, "n1"), answer);
    assert_int_equal(told, 2); /* it was not asked again */
    answer = balance(node, "default", "{\"common\":{\"app\":\"web\"}}", "n1");
    assert_string_equal(json_string(answer, "reasons[0]"), "n1 web");
    assert_int_equal(told, 3);
    put_balance(cache, "mine", BODY, "{\"one\":1}"); /* settings count, too */
    follow(node, cache);
    assert_int_equal(others, 2);
    use(cache, "steady"); /* of another point */
    use_balance(cache, "mine", NULL);
    follow(node, cache);
    assert_int_equal(others, 2);

    struct node_policies policies = script_node_policies(node);
    auto_json spec = policies.decisions(policies.arg);
    assert_string_equal(json_string(spec, "decisions[2].object"), "default/web");
    assert_string_equal(json_string(spec, "decisions[2].point"), "balance");
    assert_int_equal(json_int(spec, "decisions[2].revision", 0), 7);
    assert_string_equal(json_string(spec, "decisions[2].ctx.endpoints[0].name"), "a");
    cache_free(cache);
    script_node_free(node);
    assert_int_equal(unlink(file), 0);
}

/* One node tells what is the same everywhere; the others what is new to them. */
static void test_balance_told(void **state UNUSED)
{
    struct script_node *node = start();
    struct cache *cache = cache_new();
    count_decisions(node);
    balance(node, "default", LABELS, "n3");
    balance(node, "default", "{}", "n3");
    assert_int_equal(told, 0);
    use_balance(cache, "round-robin", NULL);
    follow(node, cache);
    balance(node, "default", "{}", "n3");
    assert_int_equal(told, 1);
    balance(node, "other", LABELS, "n2"); /* it has an endpoint, and has never decided about it */
    assert_int_equal(told, 2);
    balance(node, "other", "{}", "n2");
    assert_int_equal(told, 2);
    put_balance(cache, "mine", "return { mode = 'best' }", "{}");
    use_balance(cache, "mine", NULL);
    follow(node, cache);
    troubles = 0;
    const cJSON *answer = balance(node, "other", "{}", "n3");
    assert_string_equal(json_string(answer, "mode"), "random");
    assert_non_null(strstr(json_string(answer, "failure"), "mode must be"));
    assert_int_equal(told, 3);
    assert_int_equal(troubles, 1);
    cache_free(cache);
    script_node_free(node);
    assert_int_equal(unlink(file), 0);
}

/* A namespace's own choice, without a server, and what the manager took back. */
static void test_balance_kept(void **state UNUSED)
{
    struct script_node *node = start();
    struct cache *cache = cache_new();
    put_balance(cache, "mine", BODY, "{}");
    use_balance(cache, "mine", "[\"team\"]");
    follow(node, cache);
    assert_string_equal(mode(node, "team"), "round-robin");
    assert_string_equal(mode(node, "default"), "random");
    script_node_free(node);
    node = start(); /* no server, no objects: as before */
    assert_string_equal(mode(node, "team"), "round-robin");
    assert_string_equal(mode(node, "default"), "random");
    use_balance(cache, "source-hash", "[\"team\"]");
    follow(node, cache);
    assert_string_equal(mode(node, "team"), "source-hash");
    cache_free(cache);
    script_node_free(node);
    assert_int_equal(unlink(file), 0);
}

/* An endless loop: the default each time, then others decide and everything is asked again. */
static void test_balance_failing(void **state UNUSED)
{
    struct script_node *node = start();
    struct cache *cache = cache_new();
    put_balance(cache, "mine", "while true do end", "{}");
    use_balance(cache, "mine", NULL);
    follow(node, cache);
    count_decisions(node);
    troubles = 0;
    static const char *const spaces[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < COUNT_OF(spaces); i++)
        assert_string_equal(mode(node, spaces[i]), "random");
    assert_int_equal(troubles, 3);
    assert_int_equal(others, 1);
    assert_null(json_get(balance(node, "a", LABELS, "n1"), "failure")); /* by the default itself */
    assert_non_null(strstr(in_force, " balance=random@"));
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),      cmocka_unit_test(test_chosen_and_kept),
        cmocka_unit_test(test_from_a_file),  cmocka_unit_test(test_failing),
        cmocka_unit_test(test_balance),      cmocka_unit_test(test_balance_told),
        cmocka_unit_test(test_balance_kept), cmocka_unit_test(test_balance_failing)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(directory);
    free(file);
    free(in_force);
    return failed;
}
