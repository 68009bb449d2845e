/*
 * Recorded decisions through the API: the log, replays, shadows; swaps of a policy under load, after which
 * every pod has a node and every recorded decision equals its replay; and ten thousand swaps in the engine.
 * SWAPS=10000 in the environment: so many through the API, too (half a minute).
 */
#include "manager_test.h"

#include <signal.h>
#include <sys/resource.h>

#include "base/file.h"
#include "script/script_node.h"
#include "script/script_record_file.h"
#include "script/script_replay.h"

#define QUERIES "/apis/minik8s.io/v1/policyqueries"

/* Asks and waits for the answer; spec in single quotes. */
static struct reply query(struct cluster *cluster, const char *name, const char *spec)
{
    auto_free char *body = mem_printf("{'apiVersion':'minik8s.io/v1','kind':'PolicyQuery','metadata':{'name':"
                                      "'%s'},'spec':%s}",
                                      name, spec);
    auto_free char *target = mem_printf(QUERIES "/%s", name);
    expect(cluster->api, 201, "POST", QUERIES, body);
    pass(cluster, 1);
    return ask(cluster->api, "GET", target, NULL);
}

static struct reply query_source(struct cluster *cluster, const char *name, const char *source,
                                 const char *settings, int since)
{
    auto_json object = cJSON_CreateObject();
    json_set_string(object, "apiVersion", "minik8s.io/v1");
    json_set_string(object, "kind", "PolicyQuery");
    json_set_string(json_ensure_object(object, "metadata"), "name", name);
    cJSON *spec = json_ensure_object(object, "spec");
    json_set_string(spec, "action", "test");
    json_set_string(spec, "source", source);
    json_set_int(spec, "sinceSeconds", since);
    if (settings)
        json_set(spec, "settings", json_parse_trusted(settings, strlen(settings)));
    auto_free char *body = json_print(object), *target = mem_printf(QUERIES "/%s", name);
    assert_int_equal(post_raw(cluster, QUERIES, body), 201);
    pass(cluster, 1);
    return ask(cluster->api, "GET", target, NULL);
}

static int64_t number_at(const struct reply *reply, const char *path)
{
    return json_int(reply->json, path, -1);
}

static struct cluster *cluster_with_pods(int pods)
{
    struct cluster *cluster = cluster_new(only_scheduler);
    add_node(cluster, "n1", "4");
    add_node(cluster, "n2", "4");
    for (int i = 0; i < pods; i++) {
        auto_free char *name = mem_printf("p%d", i);
        add_pod(cluster, name, "100m");
        pass(cluster, 1);
    }
    return cluster;
}

static void test_log(void **state UNUSED)
{
    struct cluster *cluster = cluster_with_pods(3);
    auto_reply all = query(cluster, "all", "{'action':'log','point':'scheduler.score'}");
    assert_at(all, "status.state", "Done");
    assert_int_equal(number_at(&all, "status.answer.matching"), 3);
    assert_int_equal(number_at(&all, "status.answer.record.mostDecisions"), 36000);
    assert_int_equal(number_at(&all, "status.answer.record.decisions"),
                     6); /* whose turn it is, and where to */
    assert_at(all, "status.answer.decisions[0].object", "default/p0");
    assert_at(all, "status.answer.decisions[0].point", "scheduler.score");
    assert_at(all, "status.answer.decisions[0].kind", "Pod");
    assert_at(all, "status.answer.decisions[0].ctx", "(absent)");
    assert_non_null(strstr(text_at(&all, "status.answer.decisions[0].by"), "spread@"));
    assert_true(number_at(&all, "status.answer.decisions[0].revision") > 0);
    auto_reply one = query(cluster, "one",
                           "{'action':'log','object':'default/p1','inputs':true,'point':'scheduler.score'}");
    assert_int_equal(number_at(&one, "status.answer.matching"), 1);
    assert_int_equal(number_at(&one, "status.answer.decisions[0].ctx.requests.cpu"), 100);
    auto_reply kinds = query(cluster, "kinds", "{'action':'log','object':'default/p1','kind':'pod'}");
    assert_int_equal(number_at(&kinds, "status.answer.matching"), 2);
    assert_at(kinds, "status.answer.decisions[0].point", "scheduler.first");
    assert_non_null(strstr(text_at(&kinds, "status.answer.decisions[0].by"), "priority@"));
    auto_reply namesake =
        query(cluster, "namesake", "{'action':'log','object':'default/p1','kind':'Service'}");
    assert_int_equal(number_at(&namesake, "status.answer.matching"), 0);
    auto_reply last = query(cluster, "last", "{'action':'log','limit':1,'point':'scheduler.filter'}");
    assert_int_equal(number_at(&last, "status.answer.matching"), 3);
    assert_at(last, "status.answer.decisions[0].object", "default/p2");
    auto_reply none = query(cluster, "none", "{'action':'log','point':'rollout'}");
    assert_int_equal(number_at(&none, "status.answer.matching"), 0);
    pass(cluster, 5);
    auto_reply recent = query(cluster, "recent", "{'action':'log','sinceSeconds':2}");
    assert_int_equal(number_at(&recent, "status.answer.matching"), 0);
    auto_reply typo = query(cluster, "typo", "{'action':'log','point':'scheduler.scor'}");
    assert_at(typo, "status.state", "Refused");
    assert_at(typo, "status.message",
              "there is no point \"scheduler.scor\"; did you mean \"scheduler.score\"?");
    auto_reply show = query(cluster, "show", "{'action':'show','name':'binpack'}");
    assert_at(show, "status.answer.from", "shipped");
    assert_non_null(strstr(text_at(&show, "status.answer.source"), "name = \"binpack\""));
    auto_reply nobody = query(cluster, "nobody", "{'action':'show','name':'nobody'}");
    assert_at(nobody, "status.state", "Refused");
    pass(cluster, 61); /* what nobody takes away goes by itself */
    expect(cluster->api, 404, "GET", QUERIES "/all", NULL);
    cluster_free(cluster);
}

static const char prefers[] =
    "return { api = 1, point = 'scheduler.score', name = 'prefers', settings = { node = 'n1' },"
    " run = function(ctx, node) return node.name == ctx.settings.node and 100 or 0 end,"
    " examples = { { candidate = { name = 'n1' }, expect = 100 } } }";

static void test_replay(void **state UNUSED)
{
    struct cluster *cluster = cluster_with_pods(4);
    auto_reply exact = query(cluster, "exact", "{'action':'test','sinceSeconds':3600}");
    assert_int_equal(number_at(&exact, "status.answer.decisions"), 8);
    assert_int_equal(number_at(&exact, "status.answer.same"), 8);
    auto_reply other = query_source(cluster, "other", prefers, NULL, 3600);
    assert_at(other, "status.answer.point", "scheduler.score");
    assert_int_equal(number_at(&other, "status.answer.differ"), 2); /* spread: two on each */
    assert_at(other, "status.answer.differences[0].was.node", "n2");
    assert_at(other, "status.answer.differences[0].would.node", "n1");
    assert_int_equal(number_at(&other, "status.answer.meaning.would.nodes"), 1);
    auto_reply set = query_source(cluster, "set", prefers, "{\"node\":\"n2\"}", 3600);
    assert_at(set, "status.answer.differences[0].would.node", "n2");
    auto_reply checked = query_source(cluster, "checked", prefers, NULL, 0);
    assert_at(checked, "status.state", "Done");
    assert_int_equal(number_at(&checked, "status.answer.decisions"), 0);
    auto_reply refused = query_source(cluster, "refused", "retrn 1", NULL, 0);
    assert_at(refused, "status.state", "Refused");
    assert_non_null(strstr(text_at(&refused, "status.message"), "policy:1:"));
    cluster_free(cluster);
}

static void set_shadow(struct cluster *cluster, const char *name)
{
    auto_free char *patch = mem_printf("{'spec':{'points':[{'point':'scheduler.score','shadow':%s}]}}", name);
    auto_reply reply = ask_type(cluster->api, "PATCH", PROFILE, "application/merge-patch+json", patch);
    if (reply.status != 200)
        fail_msg("%d %s", reply.status, reply.text);
    pass(cluster, 1);
}

static void test_shadow(void **state UNUSED)
{
    struct cluster *cluster = cluster_with_pods(1);
    add_policy(cluster, "second", "return node.name == \"n2\" and 100 or 0");
    set_shadow(cluster, "'second'");
    expect_policy(cluster, "second", "Shadow", "");
    for (int i = 0; i < 4; i++) {
        auto_free char *name = mem_printf("q%d", i);
        add_pod(cluster, name, "200m");
        pass(cluster, 1);
    }
    auto_reply log = query(cluster, "log", "{'action':'log','point':'scheduler.score'}");
    int differ = 0;
    json_each (decision, json_at(log.json, "status.answer.decisions")) {
        if (!str_starts(json_string_or(decision, "object", ""), "default/q"))
            continue;
        assert_string_equal(json_string_or(decision, "shadowResult.node", "?"), "n2");
        differ += json_bool(decision, "shadowDiffers", false);
    }
    assert_int_equal(differ, 2); /* without effect: they are spread over both */
    auto_reply two =
        ask_type(cluster->api, "PATCH", PROFILE, "application/merge-patch+json",
                 "{'spec':{'points':[{'point':'scheduler.score','shadows':['second','binpack']}]}}");
    assert_int_equal(two.status, 200);
    pass(cluster, 1);
    add_pod(cluster, "both", "200m");
    pass(cluster, 1);
    auto_reply beside =
        query(cluster, "beside", "{'action':'log','object':'default/both','point':'scheduler.score'}");
    assert_non_null(strstr(text_at(&beside, "status.answer.decisions[0].shadows[0].by"), "second@"));
    assert_non_null(strstr(text_at(&beside, "status.answer.decisions[0].shadows[1].by"), "binpack@"));
    auto_reply listed = ask(cluster->api, "GET", PROFILE, NULL);
    assert_non_null(strstr(listed.text, "\"shadows\":[\"second\",\"binpack\"]"));
    set_shadow(cluster, "'nobody'");
    auto_reply profile = ask(cluster->api, "GET", PROFILE, NULL);
    assert_at(profile, "status.state", "Degraded");
    assert_non_null(strstr(text_at(&profile, "status.message"), "shadow: no policy \"nobody\""));
    cluster_free(cluster);
}

/* ---- namespaces ---- */

static void add_pod_in(struct cluster *cluster, const char *namespace, const char *name)
{
    auto_free char *target = mem_printf("/api/v1/namespaces/%s/pods", namespace);
    auto_free char *body =
        mem_printf("{'apiVersion':'v1','kind':'Pod','metadata':{'name':'%s'},'spec':{'containers'"
                   ":[{'name':'c','image':'i'}]}}",
                   name);
    expect(cluster->api, 201, "POST", target, body);
    pass(cluster, 1);
}

static void expect_node_in(struct cluster *cluster, const char *namespace, const char *pod, const char *by)
{
    auto_free char *target = mem_printf("/api/v1/namespaces/%s/pods/%s", namespace, pod);
    auto_reply reply = ask(cluster->api, "GET", target, NULL);
    if (!strstr(text_at(&reply, "metadata.annotations['minik8s.io/scheduled-by']"), by))
        fail_msg("%s", reply.text);
}

static void test_profile_of_a_namespace(void **state UNUSED)
{
    struct cluster *cluster = cluster_with_pods(1);
    expect(cluster->api, 201, "POST", "/api/v1/namespaces",
           "{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'team'}}");
    expect(cluster->api, 201, "POST", "/apis/minik8s.io/v1/policyprofiles",
           "{'apiVersion':'minik8s.io/"
           "v1','kind':'PolicyProfile','metadata':{'name':'team'},'spec':{'namespaces':["
           "'team'],'points':[{'point':'scheduler.score','policies':[{'name':'binpack'}]},{'point':'nowhere',"
           "'policies':[{'name':'x'}]}]}}");
    pass(cluster, 1);
    auto_reply profile = ask(cluster->api, "GET", "/apis/minik8s.io/v1/policyprofiles/team", NULL);
    assert_at(profile, "status.state", "Degraded");
    assert_at(profile, "status.message", "spec.points[nowhere]: there is no such point");
    assert_at(profile, "status.points[0].point", "scheduler.score");
    assert_at(profile, "status.points[0].shape", "score");
    assert_at(profile, "status.points[0].policies[0].name", "binpack");
    assert_at(profile, "status.points[0].policies[0].state", "Active");
    add_pod_in(cluster, "team", "a");
    expect_node_in(cluster, "team", "a", "score binpack@");
    add_pod_in(cluster, "default", "b");
    expect_node_in(cluster, "default", "b", "score spread@");
    auto_reply exact = query(cluster, "exact", "{'action':'test','sinceSeconds':3600}");
    assert_int_equal(number_at(&exact, "status.answer.same"), 6);
    assert_int_equal(number_at(&exact, "status.answer.differ"), 0);
    auto_reply there = query(cluster, "there", "{'action':'log','object':'team/','point':'scheduler.score'}");
    assert_int_equal(number_at(&there, "status.answer.matching"), 1);
    assert_at(there, "status.answer.decisions[0].object", "team/a");
    expect(cluster->api, 200, "DELETE", "/apis/minik8s.io/v1/policyprofiles/team", NULL);
    pass(cluster, 1);
    add_pod_in(cluster, "team", "c");
    expect_node_in(cluster, "team", "c", "score spread@");
    cluster_free(cluster);
}

/* What a profile of namespaces cannot set is told, not passed over in silence. */
static void test_not_in_a_namespace(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(only_scheduler);
    expect(cluster->api, 201, "POST", "/apis/minik8s.io/v1/policyprofiles",
           "{'apiVersion':'minik8s.io/v1','kind':'PolicyProfile','metadata':{'name':'team'},'spec':{"
           "'namespaces':['team'],'points':["
           "{'point':'evict.choose','policies':[{'name':'youngest'}]},"
           "{'point':'scheduler.first','policies':[{'name':'small-first'}]},"
           "{'point':'scheduler.score','policies':[{'name':'binpack'}],'shadows':['spread']}]}}");
    pass(cluster, 1);
    auto_reply profile = ask(cluster->api, "GET", "/apis/minik8s.io/v1/policyprofiles/team", NULL);
    const char *message = text_at(&profile, "status.message");
    assert_at(profile, "status.state", "Degraded");
    if (!strstr(message, "spec.points[evict.choose]: is decided for the whole cluster") ||
        !strstr(message, "spec.points[scheduler.first]: is decided for the whole cluster") ||
        !strstr(message, "spec.points[scheduler.score].shadows: policies decide beside in the whole cluster"))
        fail_msg("%s", message);
    cluster_free(cluster);
}

static void expect_message(struct cluster *cluster, const char *patch, const char *message)
{
    auto_reply reply = ask_type(cluster->api, "PATCH", PROFILE, "application/merge-patch+json", patch);
    assert_int_equal(reply.status, 200);
    pass(cluster, 1);
    auto_reply profile = ask(cluster->api, "GET", PROFILE, NULL);
    assert_at(profile, "status.message", message);
}

/* A mistyped setting, or one of another kind, is told; the policies decide all the same. */
static void test_settings_that_nobody_reads(void **state UNUSED)
{
    struct cluster *cluster = cluster_with_pods(1);
    expect_message(
        cluster,
        "{'spec':{'points':[{'point':'scheduler.score','policies':[{'name':'gpu','settings':{"
        "'resorce':'x'}}]}]}}",
        "spec.points[scheduler.score].policies[gpu].settings.resorce: gpu has no such setting; it has "
        "resource");
    add_pod(cluster, "packed", "100m");
    pass(cluster, 1);
    auto_reply pod = ask(cluster->api, "GET", "/api/v1/namespaces/default/pods/packed", NULL);
    if (!strstr(text_at(&pod, "metadata.annotations['minik8s.io/scheduled-by']"), "score gpu@"))
        fail_msg("%s", pod.text);
    expect_message(cluster,
                   "{'spec':{'points':[{'point':'autoscale.decide','policies':[{'name':'step','settings':{"
                   "'high':'much'}}]}]}}",
                   "spec.points[autoscale.decide].policies[step].settings.high: must be a number");
    expect_message(cluster,
                   "{'spec':{'points':[{'point':'autoscale.decide','policies':[{'name':'step','settings':{"
                   "'high':130}}]}]}}",
                   "(absent)");
    add_policy(cluster, "mine", "return 1");
    auto_reply settings = ask_type(cluster->api, "PATCH", POLICIES "/mine", "application/merge-patch+json",
                                   "{'spec':{'settings':{'x':1}}}");
    assert_int_equal(settings.status, 200);
    pass(cluster, 1);
    expect_policy(cluster, "mine", "Inactive", "spec.settings.x: mine has no such setting; it has none");
    auto_reply profile = ask(cluster->api, "GET", PROFILE, NULL);
    assert_int_equal(number_at(&profile, "status.points[0].policies[0].settings.high"), 130);
    assert_int_equal(number_at(&profile, "status.points[0].policies[0].settings.low"), 60);
    cluster_free(cluster);
}

static void set_pressure(struct cluster *cluster, const char *status)
{
    auto_free char *patch = mem_printf("{'status':{'conditions':[{'type':'Ready','status':'True'},{'type':'"
                                       "MemoryPressure','status':'%s'}]}}",
                                       status);
    auto_reply reply =
        ask_type(cluster->api, "PATCH", "/api/v1/nodes/n1/status", "application/merge-patch+json", patch);
    assert_int_equal(reply.status, 200);
    pass(cluster, 1);
}

/* While a node runs short the figures are collected by which the pod is chosen that has to go. */
static void test_figures_under_pressure(void **state UNUSED)
{
    struct cluster *cluster = cluster_with_pods(1);
    set_pressure(cluster, "True");
    auto_reply before = ask(cluster->api, "GET", PROFILE, NULL);
    assert_at(before, "status.metrics[0]", "usage");
    set_pressure(cluster, "False");
    auto_reply after = ask(cluster->api, "GET", PROFILE, NULL);
    assert_at(after, "status.metrics[0]", "(absent)");
    cluster_free(cluster);
}

/* ---- of agents ---- */

static void on_decision(void *arg)
{
    ++*(unsigned *)arg;
}

static void put_node_decisions(struct cluster *cluster, struct script_node *agent, bool create)
{
    struct node_policies policies = script_node_policies(agent);
    auto_json object = cJSON_CreateObject();
    json_set_string(object, "apiVersion", "minik8s.io/v1");
    json_set_string(object, "kind", "NodeDecisions");
    json_set_string(json_ensure_object(object, "metadata"), "name", "n1");
    json_set(object, "spec", policies.decisions(policies.arg));
    auto_free char *body = json_print(object);
    if (create) {
        assert_int_equal(post_raw(cluster, "/apis/minik8s.io/v1/nodedecisions", body), 201);
    } else {
        auto_reply reply = ask_type(cluster->api, "PATCH", "/apis/minik8s.io/v1/nodedecisions/n1",
                                    "application/merge-patch+json", body);
        assert_int_equal(reply.status, 200);
    }
    pass(cluster, 1);
}

static void crash(struct script_node *agent, unsigned crashes)
{
    static const char text[] = "{\"metadata\":{\"namespace\":\"default\",\"name\":\"p\"}}";
    auto_json pod = json_parse_trusted(text, strlen(text));
    struct node_policies policies = script_node_policies(agent);
    const struct node_restart restart = {
        .pod = pod, .container = "c", .crashes = crashes, .ran_ms = 100, .exit_code = 1};
    policies.restart_backoff(policies.arg, &restart);
}

static struct script_node *agent_new(struct cluster *cluster, unsigned *told)
{
    static const char *const lua[] = {MINIK8S_SOURCE_DIR "/lua", NULL};
    static const char *const shipped[] = {MINIK8S_SOURCE_DIR "/policies", NULL};
    const struct script_node_options options = {.lua_directories = lua,
                                                .shipped_policies = shipped,
                                                .clock = loop_clock(cluster->api->loop),
                                                .simulated = true};
    struct script_node *agent = script_node_new(&options, NULL);
    struct node_policies policies = script_node_policies(agent);
    const struct node_policy_listener listener = {.on_decision = on_decision, .arg = told};
    policies.listen(policies.arg, &listener);
    return agent;
}

static void test_of_agents(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(only_scheduler);
    unsigned told = 0;
    struct script_node *agent = agent_new(cluster, &told);
    crash(agent, 0);
    crash(agent, 1);
    put_node_decisions(cluster, agent, true);
    auto_reply object = ask(cluster->api, "GET", "/apis/minik8s.io/v1/nodedecisions/n1", NULL);
    assert_at(object, "spec.lists[0].point", "restart.backoff");
    assert_at(object, "spec.sources[0].name", "doubling");
    assert_at(object, "spec.sources[1].name", "(absent)");
    crash(agent, 2);
    put_node_decisions(cluster, agent, false); /* the two of before come once more */
    assert_int_equal(told, 3);
    auto_reply log =
        query(cluster, "log", "{'action':'log','object':'default/p','kind':'Pod','inputs':true}");
    assert_int_equal(number_at(&log, "status.answer.matching"), 3);
    assert_at(log, "status.answer.decisions[2].point", "restart.backoff");
    assert_at(log, "status.answer.decisions[2].object", "default/p/c");
    assert_at(log, "status.answer.decisions[2].node", "n1");
    assert_int_equal(number_at(&log, "status.answer.decisions[2].result.wait"), 4);
    assert_int_equal(number_at(&log, "status.answer.decisions[2].ctx.crashes"), 2);
    assert_non_null(strstr(text_at(&log, "status.answer.decisions[2].by"), "doubling@"));
    auto_reply exact = query(cluster, "exact", "{'action':'test','sinceSeconds':3600}");
    assert_int_equal(number_at(&exact, "status.answer.same"), 3);
    static const char source[] =
        "return { api = 1, point = 'restart.backoff', name = 'two', run = function() return "
        "{ wait = 2, reset = false } end, examples = { { ctx = {}, expect = { wait = 2 } } } }";
    auto_reply other = query_source(cluster, "other", source, NULL, 3600);
    assert_int_equal(number_at(&other, "status.answer.differ"), 2); /* 1, 2, 4 s */
    script_node_free(agent);
    pass(cluster, 1);
    agent = agent_new(cluster, &told); /* it counts from 1 again */
    crash(agent, 0);
    put_node_decisions(cluster, agent, false);
    auto_reply again = query(cluster, "again", "{'action':'log','object':'default/p'}");
    assert_int_equal(number_at(&again, "status.answer.matching"), 4);
    script_node_free(agent);
    cluster_free(cluster);
}

/* ---- over restarts ---- */

static void start_again(struct cluster *cluster)
{
    manager_stop(cluster);
    manager_start(cluster);
    pass(cluster, 1);
}

static void test_kept_over_restarts(void **state UNUSED)
{
    char directory[] = "/tmp/m8-record-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct cluster *cluster = cluster_new(only_scheduler);
    cluster->record = directory;
    start_again(cluster);
    unsigned told = 0;
    struct script_node *agent = agent_new(cluster, &told);
    add_node(cluster, "n1", "4");
    add_pod(cluster, "p0", "100m");
    pass(cluster, 1);
    crash(agent, 0);
    put_node_decisions(cluster, agent, true);
    auto_reply before = query(cluster, "before", "{'action':'log','inputs':true}");
    start_again(cluster);
    auto_reply after = query(cluster, "after", "{'action':'log','inputs':true}");
    assert_int_equal(number_at(&after, "status.answer.matching"), 3);
    assert_true(json_equal(json_at(before.json, "status.answer.decisions"),
                           json_at(after.json, "status.answer.decisions")));
    assert_true(number_at(&after, "status.answer.record.bytesOnDisk") > 500);
    auto_reply exact = query(cluster, "exact", "{'action':'test','sinceSeconds':3600}");
    assert_int_equal(number_at(&exact, "status.answer.same"), 3);
    assert_int_equal(number_at(&exact, "status.answer.gone"), 0);

    /* Killed in the middle of a line. */
    auto_free char *path = file_join(directory, "0000000000000001.decisions");
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fputs("{\"decision\":9,\"point\":\"sched", file);
    fclose(file);
    start_again(cluster);
    crash(agent, 1);
    put_node_decisions(cluster, agent, false);
    start_again(cluster);
    auto_reply last = query(cluster, "last", "{'action':'log'}");
    assert_int_equal(number_at(&last, "status.answer.matching"), 4);
    assert_at(last, "status.answer.decisions[3].point", "restart.backoff");
    script_node_free(agent);
    cluster_free(cluster);
    file_remove_tree(directory, NULL);
}

static void placements(struct cluster *cluster, const char *prefix, int count)
{
    for (int i = 0; i < count; i++) {
        auto_free char *name = mem_printf("%s%d", prefix, i);
        add_pod(cluster, name, i % 2 ? "100m" : "300m");
        if (i % 3 == 2)
            pass(cluster, 1);
    }
    pass(cluster, 1);
}

/* The answer of a replay without what is about the question itself. */
static cJSON *tried(struct cluster *cluster, const char *name, const char *source, size_t same, size_t differ)
{
    auto_reply reply = query_source(cluster, name, source, NULL, 3600);
    assert_int_equal(number_at(&reply, "status.answer.gone"), 0);
    assert_int_equal(number_at(&reply, "status.answer.same"), same);
    assert_int_equal(number_at(&reply, "status.answer.differ"), differ);
    cJSON *differences = json_copy(json_at(reply.json, "status.answer.differences"));
    cJSON *sorted = cJSON_CreateObject(); /* processes come in their own order */
    json_each (difference, differences)
        json_set(sorted, json_string(difference, "object"), json_copy(json_get(difference, "would")));
    cJSON_Delete(differences);
    return sorted;
}

/* Placements of earlier processes are taken again exactly, and tried with a candidate: pods come and go,
 * nodes change and come, each process goes on in the file of the one before it. */
static void test_placements_over_restarts(void **state UNUSED)
{
    char directory[] = "/tmp/m8-record-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct cluster *cluster = cluster_new(only_scheduler);
    cluster->record = directory;
    start_again(cluster);
    add_node(cluster, "n1", "16");
    add_node(cluster, "n2", "16");
    placements(cluster, "a", 9);
    expect(cluster->api, 200, "DELETE", "/api/v1/namespaces/default/pods/a1?gracePeriodSeconds=0", NULL);
    add_node(cluster, "n3", "8");
    placements(cluster, "b", 9);
    auto_reply patched =
        ask_type(cluster->api, "PATCH", "/api/v1/nodes/n2", "application/merge-patch+json",
                 "{\"metadata\":{\"labels\":{\"zone\":\"z\"}},\"spec\":{\"unschedulable\":true}}");
    assert_int_equal(patched.status, 200);
    pass(cluster, 1);
    placements(cluster, "c", 9);
    auto_reply exact = query(cluster, "exact", "{'action':'test','point':'scheduler.score'}");
    int64_t all = number_at(&exact, "status.answer.same");
    assert_int_equal(all, 27);
    auto_reply other = query_source(cluster, "other", prefers, NULL, 3600);
    size_t differ = (size_t)number_at(&other, "status.answer.differ");
    assert_true(differ > 5);
    auto_json before = tried(cluster, "first", prefers, 27 - differ, differ);
    for (int process = 0; process < 2; process++) {
        start_again(cluster);
        auto_free char *name = mem_printf("exact%d", process);
        auto_reply again = query(cluster, name, "{'action':'test','point':'scheduler.score'}");
        assert_int_equal(number_at(&again, "status.answer.same"), all);
        assert_int_equal(number_at(&again, "status.answer.gone"), 0);
        auto_free char *candidate = mem_printf("candidate%d", process);
        if (!process) {
            auto_json after = tried(cluster, candidate, prefers, 27 - differ, differ);
            assert_true(json_equal(before, after));
        }
        auto_free char *prefix = mem_printf("d%d", process);
        placements(cluster, prefix, 6);
        all += 6;
    }
    start_again(cluster);
    auto_reply last = query(cluster, "last", "{'action':'test','point':'scheduler.score'}");
    assert_int_equal(number_at(&last, "status.answer.same"), all);
    assert_int_equal(number_at(&last, "status.answer.differ"), 0);
    assert_int_equal(number_at(&last, "status.answer.gone"), 0);

    /* The file is gone: it is said, and nothing else is lost. */
    auto_free char *path = file_join(directory, "0000000000000001.decisions");
    assert_int_equal(unlink(path), 0);
    auto_reply gone = query(cluster, "gone", "{'action':'test','point':'scheduler.score'}");
    assert_int_equal(number_at(&gone, "status.answer.gone"), all);
    cluster_free(cluster);
    file_remove_tree(directory, NULL);
}

/* A record that is kept in a folder, with decisions of one policy, half a MiB each. */
struct kept {
    char directory[32];
    struct cluster *cluster; /* for its loop */
    struct policies policies;
    const struct policy_point *point;
    struct record_list *list;
    struct record record;
    struct record_file *file;
};

static void kept_open(struct kept *kept, size_t bytes)
{
    record_init(&kept->record, 1000, bytes);
    kept->file = record_file_open(kept->directory, kept->cluster->api->loop, &kept->record, &kept->policies);
    assert_non_null(kept->file);
}

static void kept_close(struct kept *kept)
{
    record_file_close(kept->file);
    record_fini(&kept->record);
}

static struct kept *kept_new(void)
{
    struct kept *kept = NEW(struct kept);
    strcpy(kept->directory, "/tmp/m8-record-XXXXXX");
    assert_non_null(mkdtemp(kept->directory));
    kept->cluster = cluster_new(only_scheduler);
    policies_init(&kept->policies, true, 1, &(struct policies_hooks){0});
    assert_int_equal(policies_add_point(&kept->policies, "test.one", "one", "Pod", "x", NULL), 0);
    kept->point = policies_point(&kept->policies, "test.one");
    kept->list = record_list_new(kept->point, 1);
    kept->list->entries[kept->list->count++] = (struct record_entry){
        .source = record_source_new("x", "0123456789abcdef", "", 0), .settings = cJSON_CreateObject()};
    kept_open(kept, 64u << 20);
    return kept;
}

static void kept_free(struct kept *kept)
{
    kept_close(kept);
    record_list_unref(kept->list);
    policies_fini(&kept->policies);
    cluster_free(kept->cluster);
    file_remove_tree(kept->directory, NULL);
    free(kept);
}

static void kept_add(struct kept *kept, int first, int count)
{
    for (int i = first; i < first + count; i++) {
        struct decision *decision = NEW(struct decision);
        decision->point = kept->point->name;
        decision->object = mem_printf("default/p%d", i);
        decision->lists[0] = record_list_ref(kept->list);
        decision->result = mem_alloc((512u << 10) + 3);
        memset(decision->result, 'x', (512u << 10) + 2);
        decision->result[0] = decision->result[(512u << 10) + 1] = '"';
        decision->result[(512u << 10) + 2] = 0;
        record_add(&kept->record, decision);
    }
}

/* Segments go when there are too many, and what is left can be read by itself. */
static void test_bounded_on_disk(void **state UNUSED)
{
    struct kept *kept = kept_new();
    const struct record *record = &kept->record;
    assert_null(record_file_open(kept->directory, kept->cluster->api->loop, &kept->record,
                                 &kept->policies)); /* it is taken */
    kept_add(kept, 0, 160);
    kept_close(kept);
    kept_open(kept, 128u << 20);
    assert_true(record_file_bytes(kept->file) <= 65u << 20);
    assert_true(record->count > 100 && record->count < 135);
    assert_string_equal(record_at(record, record->count - 1)->object, "default/p159");
    assert_string_equal(record_at(record, 0)->lists[0]->entries[0].source->name, "x");
    kept_free(kept);
}

static void limit_files(bool none)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = none ? 0 : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* What cannot be written pushes nothing out, and later decisions are kept again. */
static void test_no_room_on_disk(void **state UNUSED)
{
    struct kept *kept = kept_new();
    const struct record *record = &kept->record;
    kept_add(kept, 0, 20);
    signal(SIGXFSZ, SIG_IGN);
    limit_files(true);
    for (int i = 0; i < 10; i++) { /* each after a while, so each is tried */
        kept_add(kept, 20 + i * 10, 10);
        pass(kept->cluster, 6);
    }
    limit_files(false);
    kept_add(kept, 120, 1);
    kept_close(kept);
    kept_open(kept, 128u << 20);
    assert_true(record->count >= 10 && record->count < 30);
    assert_string_equal(record_at(record, 0)->object, "default/p0");
    assert_string_equal(record_at(record, record->count - 1)->object, "default/p120");
    kept_free(kept);
}

/* ---- swaps ---- */

#define SWAPS 400
#define SWAPS_PER_POD 4
#define SWAPS_IN_ENGINE 10000

static void swap(struct cluster *cluster, int number)
{
    auto_free char *run = mem_printf("return %d", number % 97);
    auto_free char *text = policy_body("swapped", run);
    auto_json body = json_parse_trusted(text, strlen(text));
    auto_json patch = cJSON_CreateObject();
    json_set_string(json_ensure_object(patch, "spec"), "source", json_string(body, "spec.source"));
    auto_free char *patched = json_print(patch);
    auto_reply reply =
        ask_type(cluster->api, "PATCH", POLICIES "/swapped", "application/merge-patch+json", patched);
    if (reply.status != 200)
        fail_msg("%d %s", reply.status, reply.text);
}

static void test_swaps_under_load(void **state UNUSED)
{
    const char *wish = getenv("SWAPS");
    int swaps = wish ? atoi(wish) : SWAPS, expected = 0;
    struct cluster *cluster = cluster_new(only_scheduler);
    for (int i = 0; i < 10; i++) {
        auto_free char *name = mem_printf("n%d", i);
        add_node(cluster, name, "100");
    }
    add_policy(cluster, "swapped", "return 50");
    use_policy(cluster, "swapped");
    for (int i = 0; i < swaps; i++) {
        swap(cluster, i);
        if (i % SWAPS_PER_POD == 0) {
            auto_free char *name = mem_printf("p%d", i);
            add_pod(cluster, name, "1m");
            expected++;
        }
    }
    pass(cluster, 2);
    auto_reply pods = ask(cluster->api, "GET", "/api/v1/namespaces/default/pods", NULL);
    int bound = 0;
    json_each (pod, json_get(pods.json, "items"))
        bound += json_string(pod, "spec.nodeName") != NULL;
    assert_int_equal(bound, expected); /* no event was missed */
    auto_reply replay = query(cluster, "replay", "{'action':'test'}");
    assert_at(replay, "status.state", "Done");
    assert_true(number_at(&replay, "status.answer.decisions") >= 2 * expected); /* turns and placements */
    assert_int_equal(number_at(&replay, "status.answer.same"), number_at(&replay, "status.answer.decisions"));
    auto_reply log = query(cluster, "log", "{'action':'log','limit':10000}");
    auto_map versions = {0};
    json_each (decision, json_at(log.json, "status.answer.decisions"))
        map_set(&versions, json_string_or(decision, "by", ""), cluster);
    assert_true(versions.count >= 50); /* decisions were taken by many of them */
    expect_policy(cluster, "swapped", "Active", "");
    cluster_free(cluster);
}

static void test_swaps_in_engine(void **state UNUSED)
{
    struct policies policies;
    struct record record;
    static const char use[] = "{\"test.one\":{\"policies\":[{\"name\":\"swapped\"}]}}";
    auto_json points = json_parse_trusted(use, strlen(use));
    const struct policies_hooks hooks = {0};
    auto_err err = NULL;
    policies_init(&policies, true, 1, &hooks);
    record_init(&record, RECORD_DECISIONS, RECORD_BYTES);
    policies.record = &record;
    assert_int_equal(policies_add_point(&policies, "test.one", "one", NULL, "swapped", &err), 0);
    for (int i = 0; i < SWAPS_IN_ENGINE; i++) {
        auto_free char *source =
            mem_printf("return { api = 1, point = 'test.one', name = 'swapped', run = function(ctx)"
                       " ctx.state.n = (ctx.state.n or 0) + %d return { v = ctx.state.n * ctx.k } end,"
                       " examples = { { ctx = { k = 1 }, expect = { v = %d } } } }",
                       i % 1000, i % 1000);
        assert_int_equal(policies_apply(&policies, NULL, source, strlen(source), i == 0, NULL, &err), 0);
        if (i == 0)
            assert_int_equal(policies_use(&policies, points, &err), 0);
        auto_json ctx = cJSON_CreateObject();
        auto_json said = NULL;
        json_set_int(ctx, "k", i);
        json_set_string(ctx, "object", i % 2 ? "a" : "b");
        auto_json result = policies_ask(&policies, "test.one", ctx, NULL, i, &said, &err);
        assert_non_null(result);
        assert_false(json_bool(said, "fallback", false));
    }
    const struct replay_options all = {0};
    struct replay *replay = replay_new(&policies, NULL, &all, &err);
    while (!replay_step(replay, 1000))
        continue;
    auto_json report = replay_report(replay);
    assert_int_equal(json_int(report, "decisions", -1), SWAPS_IN_ENGINE);
    assert_int_equal(json_int(report, "same", -1), SWAPS_IN_ENGINE);
    replay_free(replay);
    record_fini(&record);
    policies_fini(&policies);
}

int main(void)
{
    json_init();
    log_set_silent(1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_log),
                                       cmocka_unit_test(test_replay),
                                       cmocka_unit_test(test_shadow),
                                       cmocka_unit_test(test_profile_of_a_namespace),
                                       cmocka_unit_test(test_not_in_a_namespace),
                                       cmocka_unit_test(test_settings_that_nobody_reads),
                                       cmocka_unit_test(test_figures_under_pressure),
                                       cmocka_unit_test(test_of_agents),
                                       cmocka_unit_test(test_kept_over_restarts),
                                       cmocka_unit_test(test_placements_over_restarts),
                                       cmocka_unit_test(test_bounded_on_disk),
                                       cmocka_unit_test(test_no_room_on_disk),
                                       cmocka_unit_test(test_swaps_under_load),
                                       cmocka_unit_test(test_swaps_in_engine)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
