/* The worker against a fake machine: start, restart, failure, deletion, and the agent's death between any two
 * steps. */
#include "harness.h"

#define ONE "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}]}"
#define RUN(w) run_ms(&(w), 3000)

static void test_start(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 1);
    put_pod(&w, "p", ONE);
    run_ms(&w, 500);
    assert_true(runs(&w, "p", "c"));
    assert_true(runs(&w, "p", ""));
    assert_string_equal(phase(&w, "p"), "Running");
    assert_string_equal(condition(&w, "p", "Ready"), "True");
    assert_string_equal(json_string_or(pod_of(&w, "p"), "status.podIP", ""), "10.244.1.2");
    assert_true(fake_world_attached(w.net_world, "n1", "uid-p"));
    assert_true(saw_event(&w, "Pulled") && saw_event(&w, "Created") && saw_event(&w, "Started"));
    unsigned writes = w.server.status_writes;
    run_ms(&w, 60000);
    assert_int_equal(w.server.status_writes, writes); /* nothing is said when nothing changes */
    assert_true(w.server.beats >= 59);
    world_end(&w);
}

static void test_crash_backs_off(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 2);
    put_pod(&w, "p",
            "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"command\":[\"exit\",\"3\",\"10\"]}]}");
    run_ms(&w, 900);
    assert_string_equal(
        json_string_or(pod_of(&w, "p"), "status.containerStatuses[0].state.terminated.reason", ""), "Error");
    run_ms(&w, 1000);
    assert_string_equal(waiting(&w, "p"), "CrashLoopBackOff");
    assert_int_equal(
        json_int(pod_of(&w, "p"), "status.containerStatuses[0].lastState.terminated.exitCode", -1), 3);
    assert_string_equal(condition(&w, "p", "Ready"), "False");
    size_t before = fake_machine_starts(w.machine);
    run_ms(&w, 30000); /* after 1, and now 2, 4, 8, 16 seconds */
    assert_int_equal(fake_machine_starts(w.machine) - before, 4);
    assert_int_equal(json_int(pod_of(&w, "p"), "status.containerStatuses[0].restartCount", -1), 5);
    assert_true(saw_event(&w, "BackOff"));
    assert_true(fake_machine_count(w.machine, false) <= 3); /* sandbox, this one, the previous one */
    world_end(&w);
}

static void test_killed_is_restarted(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 3);
    put_pod(&w, "p", ONE);
    run_ms(&w, 70000);
    const char *name = fake_machine_find(w.machine, "p", "c")->name;
    assert_true(fake_machine_kill(w.machine, name, 137, true));
    run_ms(&w, 500);
    assert_string_equal(
        json_string_or(pod_of(&w, "p"), "status.containerStatuses[0].state.terminated.reason", ""),
        "OOMKilled");
    run_ms(&w, 2000);
    assert_true(runs(&w, "p", "c"));
    assert_string_equal(condition(&w, "p", "Ready"), "True");
    world_end(&w);
}

static void test_sandbox_dies(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 4);
    put_pod(&w, "p", ONE);
    run_ms(&w, 1000);
    fake_machine_kill(w.machine, fake_machine_find(w.machine, "p", "")->name, 137, false);
    run_ms(&w, 3000);
    assert_true(runs(&w, "p", "c") && runs(&w, "p", ""));
    assert_string_equal(json_string_or(pod_of(&w, "p"), "status.podIP", ""), "10.244.1.2");
    assert_true(fake_world_attached(w.net_world, "n1", "uid-p"));
    assert_int_equal(json_int(pod_of(&w, "p"), "status.containerStatuses[0].restartCount", -1), 1);
    world_end(&w);
}

static void test_completes(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 5);
    put_pod(&w, "good",
            "{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"command\":"
            "[\"exit\",\"0\",\"100\"]}]}");
    put_pod(&w, "bad",
            "{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"command\":"
            "[\"exit\",\"7\",\"100\"]},{\"name\":\"d\",\"image\":\"app:1\",\"command\":[\"exit\",\"0\"]}]}");
    RUN(w);
    assert_string_equal(phase(&w, "good"), "Succeeded");
    assert_string_equal(phase(&w, "bad"), "Failed");
    assert_string_equal(
        json_string_or(pod_of(&w, "good"), "status.containerStatuses[0].state.terminated.reason", ""),
        "Completed");
    assert_false(runs(&w, "good", "")); /* the sandbox is not kept running for nothing */
    kill_agent(&w);
    start_agent(&w);
    RUN(w);
    assert_string_equal(phase(&w, "bad"), "Failed"); /* it sticks */
    assert_false(runs(&w, "bad", "c"));
    world_end(&w);
}

static void test_reasons(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 6);
    put_pod(&w, "image", "{\"containers\":[{\"name\":\"c\",\"image\":\"absent:1\"}]}");
    put_pod(&w, "never",
            "{\"containers\":[{\"name\":\"c\",\"image\":\"other:1\",\"imagePullPolicy\":\"Never\"}]}");
    put_pod(&w, "config",
            "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"env\":[{\"name\":\"A\",\"valueFrom\":"
            "{\"configMapKeyRef\":{\"name\":\"m\",\"key\":\"k\"}}}]}]}");
    put_pod(&w, "command",
            "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"command\":[\"missing\"]}]}");
    run_ms(&w, 600);
    assert_string_equal(waiting(&w, "image"), "ErrImagePull");
    assert_string_equal(waiting(&w, "never"), "ErrImageNeverPull");
    assert_string_equal(waiting(&w, "config"), "CreateContainerConfigError");
    assert_string_equal(waiting(&w, "command"), "RunContainerError");
    run_ms(&w, 4000);
    assert_string_equal(waiting(&w, "image"), "ImagePullBackOff");
    assert_string_equal(waiting(&w, "command"), "CrashLoopBackOff");
    put_json(
        &w, "configmaps",
        "{\"metadata\":{\"name\":\"m\",\"namespace\":\"default\",\"uid\":\"u\"},\"data\":{\"k\":\"v\"}}");
    run_ms(&w, 500); /* at once, not after the back-off */
    assert_true(runs(&w, "config", "c"));
    const struct runtime_spec *spec =
        fake_machine_spec(w.machine, fake_machine_find(w.machine, "config", "c")->name);
    assert_string_equal(spec->environment[0].name, "A");
    assert_string_equal(spec->environment[0].value, "v");
    world_end(&w);
}

static void put_secret(struct world *w, const char *name, const char *key, const char *value)
{
    auto_free char *data = str_base64(value, strlen(value));
    auto_free char *text =
        mem_printf("{\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\",\"uid\":\"%s\"},"
                   "\"data\":{\"%s\":\"%s\"}}",
                   name, name, key, data);
    put_json(w, "secrets", text);
}

/* Every Secret's log-ins are offered, those of the old form too; one that is not there or holds nothing stops
 * none. */
static void test_pull_secrets(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 6);
    put_secret(&w, "one", ".dockerconfigjson", "{\"auths\":{\"a\":{\"auth\":\"1\"},\"b\":{\"auth\":\"2\"}}}");
    put_secret(&w, "broken", ".dockerconfigjson", "{");
    put_secret(&w, "list", ".dockerconfigjson", "{\"auths\":[{}]}");
    put_secret(&w, "oldlist", ".dockercfg", "[1]");
    put_secret(&w, "two", ".dockerconfigjson", "{\"auths\":{\"b\":{\"auth\":\"3\"},\"c\":{\"auth\":\"4\"}}}");
    put_secret(&w, "old", ".dockercfg", "{\"d\":{\"auth\":\"5\"}}");
    put_pod(&w, "p",
            "{\"imagePullSecrets\":[{\"name\":\"absent\"},{\"name\":\"list\"},{\"name\":\"oldlist\"},{"
            "\"name\":\"one\"},{\"name\":\"broken\"},{\"name\":"
            "\"two\"},{\"name\":\"old\"}],\"containers\":[{\"name\":\"c\",\"image\":\"new:1\"}]}");
    run_ms(&w, 1000);
    assert_true(runs(&w, "p", "c"));
    assert_string_equal(fake_machine_auth(w.machine),
                        "{\"auths\":{\"a\":{\"auth\":\"1\"},\"b\":{\"auth\":\"2\"},\"c\":{\"auth\":\"4\"},"
                        "\"d\":{\"auth\":\"5\"}}}");
    assert_true(saw_event(&w, "FailedToRetrieveImagePullSecret"));
    put_pod(&w, "q", "{\"containers\":[{\"name\":\"c\",\"image\":\"new:2\"}]}");
    run_ms(&w, 1000);
    assert_true(runs(&w, "q", "c"));
    assert_null(fake_machine_auth(w.machine));
    world_end(&w);
}

static void test_init_order(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 7);
    put_pod(&w, "p",
            "{\"initContainers\":[{\"name\":\"a\",\"image\":\"app:1\",\"command\":[\"exit\",\"0\",\"300\"]},"
            "{\"name\":\"side\",\"image\":\"app:1\",\"restartPolicy\":\"Always\"},"
            "{\"name\":\"b\",\"image\":\"app:1\",\"command\":[\"exit\",\"0\",\"300\"]}],"
            "\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}]}");
    run_ms(&w, 200);
    assert_true(runs(&w, "p", "a"));
    assert_null(fake_machine_find(w.machine, "p", "side"));
    assert_string_equal(waiting(&w, "p"), "PodInitializing");
    assert_string_equal(phase(&w, "p"), "Pending");
    run_ms(&w, 300);
    assert_true(runs(&w, "p", "side") && runs(&w, "p", "b"));
    assert_null(fake_machine_find(w.machine, "p", "c"));
    run_ms(&w, 600);
    assert_true(runs(&w, "p", "c") && runs(&w, "p", "side"));
    assert_string_equal(condition(&w, "p", "Initialized"), "True");
    fake_machine_kill(w.machine, fake_machine_find(w.machine, "p", "side")->name, 1, false);
    run_ms(&w, 2000);
    assert_true(runs(&w, "p", "side"));
    delete_pod(&w, "p", 30);
    RUN(w);
    assert_null(pod_of(&w, "p"));
    assert_int_equal(fake_machine_count(w.machine, false), 0);
    world_end(&w);
}

static void test_deletion(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 8);
    put_pod(&w, "p", "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"command\":[\"stubborn\"]}]}");
    run_ms(&w, 500);
    auto_free char *name = mem_strdup(fake_machine_find(w.machine, "p", "c")->name);
    delete_pod(&w, "p", 5);
    run_ms(&w, 1000);
    assert_int_equal(fake_machine_signals(w.machine, name, SIGTERM), 1);
    assert_int_equal(fake_machine_signals(w.machine, name, SIGKILL), 0);
    assert_non_null(pod_of(&w, "p"));
    run_ms(&w, 4500);
    assert_null(pod_of(&w, "p"));
    assert_int_equal(fake_machine_count(w.machine, false), 0);
    assert_false(fake_world_attached(w.net_world, "n1", "uid-p"));
    auto_free char *file = mem_printf("%s/pods/uid-p.json", w.directory),
                   *volumes = mem_printf("%s/volumes/uid-p", w.directory);
    assert_false(file_exists(file));
    assert_false(file_exists(volumes));
    world_end(&w);
}

/* Its end is seen before the answer to SIGTERM comes: nobody waits for the grace period. */
static void test_ends_before_the_answer(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 8);
    for (char name[] = "a"; *name <= 'h'; ++*name)
        put_pod(&w, name, ONE);
    run_ms(&w, 500);
    const struct fake_runtime_faults late = {.delay_ms_min = 1, .delay_ms_max = 5, .answer_ms_max = 500};
    fake_machine_set_faults(w.machine, &late);
    for (char name[] = "a"; *name <= 'h'; ++*name)
        delete_pod(&w, name, 30);
    run_ms(&w, 4000);
    assert_int_equal(fake_machine_count(w.machine, false), 0);
    world_end(&w);
}

static void put_slice(struct world *w, const char *uid, const char *address)
{
    auto_free char *endpoint = uid ? mem_printf("{\"addresses\":[\"%s\"],\"conditions\":{\"ready\":true},"
                                                "\"nodeName\":\"n1\",\"targetRef\":{\"kind\":"
                                                "\"Pod\",\"uid\":\"%s\"}}",
                                                address, uid)
                                   : mem_strdup("");
    auto_free char *text =
        mem_printf("{\"metadata\":{\"name\":\"web-1\",\"namespace\":\"default\",\"uid\":\"s1\",\"labels\":{"
                   "\"kubernetes.io/"
                   "service-name\":\"web\"}},\"endpoints\":[%s],\"ports\":[{\"name\":\"\",\"port\":8080}]}",
                   endpoint);
    server_put(&w->server, "endpointslices.discovery.k8s.io", json_parse(text, strlen(text), NULL));
}

static void put_drain(struct world *w, uint64_t revision)
{
    auto_free char *text =
        mem_printf("{\"metadata\":{\"name\":\"cluster\",\"uid\":\"d\"},\"status\":{\"revision\":%llu}}",
                   (unsigned long long)revision);
    put_json(w, "drains.minik8s.io", text);
}

#define WEB                                                                                                  \
    "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\",\"uid\":\"v1\"},\"spec\":{\"clusterIP\":"     \
    "\"10.96.0.5\","                                                                                         \
    "\"ports\":[{\"port\":80,\"targetPort\":8080}]}}"

struct balance_seen {
    enum net_balance mode;
    size_t endpoints;
};

static void see_balance(void *arg, const char *service UNUSED, const struct net_service_port *port,
                        const struct net_endpoint *endpoint)
{
    struct balance_seen *seen = arg;
    seen->mode = port->balance;
    seen->endpoints += endpoint != NULL;
}

static void expect_balance(struct world *w, enum net_balance mode, size_t endpoints)
{
    struct balance_seen seen = {0};
    fake_world_each_endpoint(w->net_world, "n1", see_balance, &seen);
    assert_int_equal(seen.mode, mode);
    assert_int_equal(seen.endpoints, endpoints);
}

/* Who decides on balance is swapped: no Service changed, and the network has the new mode. */
static void test_balance(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 9);
    put_json(&w, "services", WEB);
    run_ms(&w, 500);
    put_slice(&w, "uid-p", "10.244.1.2");
    run_ms(&w, 500);
    expect_balance(&w, NET_BALANCE_RANDOM, 1);
    balance_said = "{\"mode\":\"source-hash\",\"weights\":{\"10.244.1.2\":2}}";
    policy_listener.on_balance(policy_listener.arg);
    run_ms(&w, 500);
    expect_balance(&w, NET_BALANCE_SOURCE_HASH, 2);
    cJSON *web = json_copy(server_get(&w.server, "services", "default", "web"));
    json_set_string(json_ensure_object(json_get(web, "metadata"), "annotations"), "minik8s.io/balance",
                    "round-robin");
    server_put(&w.server, "services", web);
    run_ms(&w, 500);
    expect_balance(&w, NET_BALANCE_ROUND_ROBIN, 1); /* its own word */
    balance_said = "{\"mode\":\"random\"}";
    world_end(&w);
}

/* The slices know the port by its old name, or not at all: its number says where it leads to, and a name that
 * is known of the pods. */
static void test_renamed_port(void **state UNUSED)
{
    struct world w;
    struct in_addr vip, reached;
    inet_pton(AF_INET, "10.96.0.5", &vip);
    world_begin(&w, 9);
    cJSON *web = json_parse(WEB, strlen(WEB), NULL);
    json_set_string(json_ensure_object(json_get(web, "spec"), "selector"), "app", "web");
    cJSON *port = json_at(web, "spec.ports[0]");
    put_pod(&w, "p", ONE);
    run_ms(&w, 500);
    put_slice(&w, "uid-p", "10.244.1.2");
    cJSON *slice = json_copy(server_get(&w.server, "endpointslices.discovery.k8s.io", "default", "web-1"));
    json_set_string(json_at(slice, "metadata.labels"), "endpointslice.kubernetes.io/managed-by",
                    "endpointslice-controller.minik8s.io");
    json_set_string(port, "name", "front");
    server_put(&w.server, "services", json_copy(web));
    run_ms(&w, 500);
    assert_int_equal(fake_world_connect(w.net_world, "n1", vip, IPPROTO_TCP, 80, &reached), FAKE_REFUSED);
    server_put(&w.server, "endpointslices.discovery.k8s.io", slice);
    run_ms(&w, 500);
    assert_int_equal(fake_world_connect(w.net_world, "n1", vip, IPPROTO_TCP, 80, &reached), FAKE_REACHED);
    json_set_string(port, "targetPort", "http");
    server_put(&w.server, "services", web);
    run_ms(&w, 500);
    assert_int_equal(fake_world_connect(w.net_world, "n1", vip, IPPROTO_TCP, 80, &reached), FAKE_REFUSED);
    slice = json_copy(server_get(&w.server, "endpointslices.discovery.k8s.io", "default", "web-1"));
    json_set_string(json_ensure_object(json_get(slice, "metadata"), "annotations"), "minik8s.io/target-ports",
                    "{\"http\":8080}");
    server_put(&w.server, "endpointslices.discovery.k8s.io", slice);
    run_ms(&w, 500);
    assert_int_equal(fake_world_connect(w.net_world, "n1", vip, IPPROTO_TCP, 80, &reached), FAKE_REACHED);
    world_end(&w);
}

/* SIGTERM only after all nodes have applied the change that took the pod out of its Service. */
static void test_drain(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 9);
    put_pod(&w, "p", ONE);
    put_json(&w, "services", WEB);
    run_ms(&w, 500);
    put_slice(&w, "uid-p", "10.244.1.2");
    run_ms(&w, 500);
    struct in_addr vip, reached;
    inet_pton(AF_INET, "10.96.0.5", &vip);
    assert_int_equal(fake_world_connect(w.net_world, "n1", vip, IPPROTO_TCP, 80, &reached), FAKE_REACHED);
    assert_true(w.server.applied > 100);
    delete_pod(&w, "p", 30);
    run_ms(&w, 300);
    assert_true(runs(&w, "p", "c")); /* still in the slice */
    put_slice(&w, NULL, NULL);
    uint64_t left_at = w.server.revision;
    run_ms(&w, 300);
    assert_int_equal(w.server.applied, left_at);
    assert_int_equal(fake_world_connect(w.net_world, "n1", vip, IPPROTO_TCP, 80, &reached), FAKE_REFUSED);
    assert_true(runs(&w, "p", "c")); /* another node has not followed yet */
    put_drain(&w, left_at - 1);
    run_ms(&w, 100);
    assert_true(runs(&w, "p", "c"));
    put_drain(&w, left_at);
    run_ms(&w, 50);
    assert_false(runs(&w, "p", "c"));
    RUN(w);
    assert_null(pod_of(&w, "p"));
    world_end(&w);
}

static void test_drain_is_bounded(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 10);
    put_pod(&w, "p", ONE);
    run_ms(&w, 500);
    put_slice(&w, "uid-p", "10.244.1.2");
    run_ms(&w, 100);
    delete_pod(&w, "p", 30);
    run_ms(&w, 9900);
    assert_true(runs(&w, "p", "c"));
    run_ms(&w, 300);
    assert_false(runs(&w, "p", "c"));
    world_end(&w);
}

static void test_forced(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 11);
    put_pod(&w, "p", "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"command\":[\"stubborn\"]}]}");
    run_ms(&w, 500);
    server_drop(&w.server, "pods", "default", "p");
    run_ms(&w, 200);
    assert_int_equal(fake_machine_count(w.machine, false), 0);
    world_end(&w);
}

static void test_server_away(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 12);
    put_pod(&w, "p", ONE);
    run_ms(&w, 500);
    size_t starts = fake_machine_starts(w.machine);
    http_local_client_cut(w.http, true);
    run_ms(&w, 10000);
    kill_agent(&w);
    start_agent(&w); /* from its own disk */
    run_ms(&w, 5000);
    assert_int_equal(fake_machine_starts(w.machine), starts);
    fake_machine_reboot(w.machine);
    kill_agent(&w);
    start_agent(&w); /* the machine rebooted, and still no server */
    run_ms(&w, 5000);
    assert_true(runs(&w, "p", "c"));
    http_local_client_cut(w.http, false);
    run_ms(&w, 5000);
    assert_string_equal(phase(&w, "p"), "Running");
    assert_string_equal(json_string_or(pod_of(&w, "p"), "status.podIP", ""), "10.244.1.2");
    world_end(&w);
}

/* An empty store, another cluster, a restored store: nothing is removed. */
static void test_untrusted_server(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 13);
    put_pod(&w, "p", ONE);
    run_ms(&w, 500);
    size_t starts = fake_machine_starts(w.machine);
    kill_agent(&w);
    auto_json kept = json_copy(pod_of(&w, "p"));
    map_fini(&w.server.objects);
    map_init(&w.server.objects, object_free);
    uint64_t revision = w.server.revision;
    w.server.revision = 1;
    start_agent(&w);
    run_ms(&w, 5000);
    assert_true(runs(&w, "p", "c"));
    kill_agent(&w);
    w.server.revision = revision + 1000;
    free(w.server.cluster);
    w.server.cluster = mem_strdup("c2");
    start_agent(&w);
    run_ms(&w, 5000);
    assert_true(runs(&w, "p", "c"));
    assert_int_equal(fake_machine_starts(w.machine), starts);
    kill_agent(&w);
    free(w.server.cluster);
    w.server.cluster = mem_strdup("c1"); /* the right one, newer, and it says that the pod is gone */
    start_agent(&w);
    run_ms(&w, 5000);
    assert_int_equal(fake_machine_count(w.machine, false), 0);
    world_end(&w);
}

static const cJSON *ready_of_node(struct world *w)
{
    json_each (condition, json_at(server_get(&w->server, "nodes", "", "n1"), "status.conditions"))
        if (str_eq(json_string(condition, "type"), "Ready"))
            return condition;
    return NULL;
}

/* The stream must begin anew, with a list. */
static void stream_lost(struct world *w)
{
    add_line(&w->server, mem_strdup("{\"type\":\"ERROR\",\"revision\":0,\"object\":{\"code\":410,"
                                    "\"reason\":\"Expired\",\"message\":\"gone\"}}\n"));
}

/* The Node is where somebody looks who wonders why nothing starts. */
static void test_untrusted_server_is_said(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 13);
    put_pod(&w, "p", ONE);
    run_ms(&w, 6000);
    assert_string_equal(json_string(ready_of_node(&w), "status"), "True");
    uint64_t revision = w.server.revision;
    for (int restarted = 0; restarted < 2; restarted++) {
        w.server.revision = 1;
        if (restarted) {
            kill_agent(&w);
            start_agent(&w);
        } else {
            stream_lost(&w);
        }
        run_ms(&w, 3000);
        assert_string_equal(json_string(ready_of_node(&w), "status"), "False");
        assert_string_equal(json_string(ready_of_node(&w), "reason"), "ServerWentBack");
        assert_true(runs(&w, "p", "c"));
        w.server.revision = revision += 1000;
        stream_lost(&w);
        run_ms(&w, 8000);
        assert_string_equal(json_string(ready_of_node(&w), "status"), "True");
    }
    world_end(&w);
}

/* ---- SIGKILL between any two steps */

struct killer {
    size_t at, seen;
    bool due;
};

static void count_operation(void *arg, const char *operation UNUSED)
{
    struct killer *killer = arg;
    killer->due |= ++killer->seen == killer->at;
}

static void run_with_kill(struct world *w, struct killer *killer, int64_t ms)
{
    int64_t until = loop_now_ms(w->loop) + ms;
    while (loop_now_ms(w->loop) < until) {
        run_ms(w, 1);
        if (!killer->due)
            continue;
        killer->due = false;
        kill_agent(w);
        start_agent(w);
    }
}

/* True when the kill came before the story was over. */
static bool story(size_t kill_at, uint64_t seed, const struct fake_runtime_faults *faults)
{
    struct world w;
    struct killer killer = {.at = kill_at};
    world_begin(&w, seed);
    if (faults)
        fake_machine_set_faults(w.machine, faults);
    fake_machine_set_on_operation(w.machine, count_operation, &killer);
    put_pod(&w, "p",
            "{\"initContainers\":[{\"name\":\"i\",\"image\":\"app:1\",\"command\":[\"exit\",\"0\",\"20\"]}],"
            "\"volumes\":[{\"name\":"
            "\"v\",\"emptyDir\":{}}],\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"volumeMounts\":[{"
            "\"name\":\"v\","
            "\"mountPath\":\"/v\"}]},{\"name\":\"d\",\"image\":\"new:1\"}]}");
    run_with_kill(&w, &killer, faults ? 40000 : 6000);
    assert_true(runs(&w, "p", "c") && runs(&w, "p", "d"));
    assert_string_equal(phase(&w, "p"), "Running");
    assert_string_equal(condition(&w, "p", "Ready"), "True");
    assert_true(fake_world_attached(w.net_world, "n1", "uid-p"));
    if (!faults) {
        assert_int_equal(fake_machine_starts(w.machine), 4); /* nothing was started twice */
        assert_int_equal(json_int(pod_of(&w, "p"), "status.containerStatuses[0].restartCount", -1), 0);
    }
    delete_pod(&w, "p", 2);
    run_with_kill(&w, &killer, faults ? 60000 : 6000);
    assert_null(pod_of(&w, "p"));
    assert_int_equal(fake_machine_count(w.machine, false), 0);
    auto_free char *volumes = mem_printf("%s/volumes/uid-p", w.directory);
    assert_false(file_exists(volumes));
    bool killed = killer.seen >= kill_at;
    world_end(&w);
    return killed;
}

static void test_kill_between_steps(void **state UNUSED)
{
    size_t at = 1;
    while (story(at, 100 + at, NULL))
        at++;
    print_message("the agent was killed at each of %zu operations\n", at - 1);
    assert_true(at > 15);
}

static void test_faults(void **state UNUSED)
{
    const struct fake_runtime_faults faults = {.delay_ms_min = 1,
                                               .delay_ms_max = 200,
                                               .error_permille = 100,
                                               .half_permille = 100,
                                               .lose_event_permille = 200,
                                               .repeat_event_permille = 200};
    const char *only = getenv("M8_SEED"); /* replay one, with its log */
    for (uint64_t seed = only ? strtoull(only, NULL, 10) : 1; seed <= (only ? strtoull(only, NULL, 10) : 60);
         seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        story(1 + seed % 17, seed, &faults);
    }
}

/* Pods end while their images are on the way; when these have come nobody wants them any more. */
static void test_slow_pull(void **state UNUSED)
{
    const struct fake_runtime_faults slow = {.delay_ms_min = 1, .delay_ms_max = 5, .pull_ms = 1800000};
    struct world w;
    world_begin(&w, 25);
    fake_machine_set_faults(w.machine, &slow);
    put_pod(&w, "p",
            "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"},{\"name\":\"d\",\"image\":\"new:1\"}]}");
    put_pod(&w, "forced", "{\"containers\":[{\"name\":\"c\",\"image\":\"new:2\"}]}");
    put_pod(&w, "late",
            "{\"activeDeadlineSeconds\":5,\"containers\":[{\"name\":\"c\",\"image\":\"absent:1\"}]}");
    put_pod(&w, "stays", "{\"containers\":[{\"name\":\"c\",\"image\":\"new:1\"}]}");
    run_ms(&w, 1000);
    assert_true(runs(&w, "p", "c"));
    delete_pod(&w, "p", 2);
    server_drop(&w.server, "pods", "default", "forced");
    run_ms(&w, 6000);
    assert_null(pod_of(&w, "p"));
    assert_null(fake_machine_find(w.machine, "p", ""));
    assert_null(fake_machine_find(w.machine, "forced", ""));
    assert_string_equal(phase(&w, "late"), "Failed");
    assert_string_equal(phase(&w, "stays"), "Pending");
    size_t starts = fake_machine_starts(w.machine);
    run_ms(&w, 1800000);
    assert_int_equal(fake_machine_starts(w.machine), starts + 1);
    assert_true(runs(&w, "stays", "c"));
    assert_string_equal(phase(&w, "late"), "Failed");
    assert_false(saw_event(&w, "Failed"));
    world_end(&w);
}

static void test_deadline(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 22);
    put_pod(&w, "p", "{\"activeDeadlineSeconds\":5,\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}]}");
    run_ms(&w, 3000);
    assert_string_equal(phase(&w, "p"), "Running");
    kill_agent(&w); /* the next one knows when it began */
    start_agent(&w);
    run_ms(&w, 3000);
    assert_string_equal(phase(&w, "p"), "Failed");
    assert_string_equal(json_string_or(pod_of(&w, "p"), "status.reason", ""), "DeadlineExceeded");
    assert_false(runs(&w, "p", "c"));
    world_end(&w);
}

#define SERVICE(name, ip)                                                                                    \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"default\"},\"spec\":{\"clusterIP\":\"" ip          \
    "\",\"selector\":{\"app\":\"p\"},\"ports\":[{\"port\":80,\"protocol\":\"TCP\"}]}}"

static const char *node_ready(struct world *w, const char *field)
{
    json_each (c, json_at(server_get(&w->server, "nodes", "", "n1"), "status.conditions"))
        if (str_eq(json_string(c, "type"), "Ready"))
            return json_string_or(c, field, "");
    return "";
}

/* Somebody flushes the rules of the machine, deletes routes or the node's address: the agent brings all back,
 * when it is told and when only a change shows it; meanwhile the node says why it is not ready. */
static void test_network_taken_away(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 23);
    put_json(&w, "nodes",
             "{\"metadata\":{\"name\":\"n2\"},\"spec\":{\"podCIDR\":\"10.244.2.0/24\"},\"status\":{"
             "\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"10.0.0.2\"}]}}");
    put_pod(&w, "p", "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}]}");
    put_json(&w, "services", SERVICE("web", "10.96.0.20"));
    run_ms(&w, 3000);
    const struct fake_node *net = map_get(&w.net_world->nodes, "n1");
    for (int told = 0; told < 2; told++) {
        assert_true(fake_world_attached(w.net_world, "n1", "uid-p"));
        assert_int_equal(net->services.count, 1 + (size_t)told);
        assert_int_equal(net->n_peers, 1);
        fake_world_lose(w.net_world, "n1", !told);
        if (told)
            break;
        run_ms(&w, 1500);
        put_json(&w, "services", SERVICE("more", "10.96.0.21"));
        run_ms(&w, 1500);
        assert_string_equal(node_ready(&w, "status"), "True");
    }
    put_json(&w, "services", SERVICE("third", "10.96.0.22"));
    run_ms(&w, 1500);
    assert_int_equal(net->services.count, 3);
    assert_int_equal(net->n_peers, 1);
    assert_string_equal(node_ready(&w, "status"), "True");

    fake_world_fail(w.net_world, "n1", 100);
    fake_world_lose(w.net_world, "n1", true);
    run_ms(&w, 2500);
    assert_string_equal(node_ready(&w, "status"), "True"); /* it may pass */
    run_ms(&w, 5500);
    assert_string_equal(node_ready(&w, "status"), "False");
    assert_non_null(strstr(node_ready(&w, "message"), "injected network failure"));
    fake_world_fail(w.net_world, "n1", 0);
    run_ms(&w, 1500);
    assert_string_equal(node_ready(&w, "status"), "True");
    assert_int_equal(net->services.count, 3);
    assert_true(fake_world_attached(w.net_world, "n1", "uid-p"));
    assert_string_equal(phase(&w, "p"), "Running");
    world_end(&w);
}

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_start),
                                       cmocka_unit_test(test_slow_pull),
                                       cmocka_unit_test(test_deadline),
                                       cmocka_unit_test(test_crash_backs_off),
                                       cmocka_unit_test(test_killed_is_restarted),
                                       cmocka_unit_test(test_sandbox_dies),
                                       cmocka_unit_test(test_completes),
                                       cmocka_unit_test(test_reasons),
                                       cmocka_unit_test(test_pull_secrets),
                                       cmocka_unit_test(test_init_order),
                                       cmocka_unit_test(test_deletion),
                                       cmocka_unit_test(test_ends_before_the_answer),
                                       cmocka_unit_test(test_balance),
                                       cmocka_unit_test(test_renamed_port),
                                       cmocka_unit_test(test_drain),
                                       cmocka_unit_test(test_drain_is_bounded),
                                       cmocka_unit_test(test_forced),
                                       cmocka_unit_test(test_server_away),
                                       cmocka_unit_test(test_untrusted_server),
                                       cmocka_unit_test(test_untrusted_server_is_said),
                                       cmocka_unit_test(test_kill_between_steps),
                                       cmocka_unit_test(test_network_taken_away),
                                       cmocka_unit_test(test_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
