/* How pods end: hooks, grace periods and their deadlines, what is said last of them. */
#include "harness.h"

#include <signal.h>

#define STUBBORN(name) "{\"name\":\"" name "\",\"image\":\"app:1\",\"command\":[\"stubborn\"]}"

static size_t terms(struct world *w, const char *container)
{
    return fake_machine_signals(w->machine, fake_machine_find(w->machine, "p", container)->name, SIGTERM);
}

/* A hook that uses up the grace period: the application is asked all the same, and has two seconds. */
static void test_hook_uses_up_the_grace(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 8);
    for (int64_t hook = 4; hook <= 30; hook += 26) {
        auto_free char *spec =
            mem_printf("{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"command\":[\"stubborn\"],"
                       "\"lifecycle\":{\"preStop\":{\"sleep\":{\"seconds\":%lld}}}}]}",
                       (long long)hook);
        int64_t asked = hook < 5 ? hook * 1000 : 5000;
        put_pod(&w, "p", spec);
        run_ms(&w, 500);
        auto_free char *name = mem_strdup(fake_machine_find(w.machine, "p", "c")->name);
        delete_pod(&w, "p", 5);
        run_ms(&w, asked - 500);
        assert_int_equal(fake_machine_signals(w.machine, name, SIGTERM), 0);
        run_ms(&w, 1000);
        assert_int_equal(fake_machine_signals(w.machine, name, SIGTERM), 1);
        run_ms(&w, 1000);
        assert_true(runs(&w, "p", "c"));
        run_ms(&w, 1000);
        assert_null(pod_of(&w, "p"));
    }
    run_ms(&w, 30000); /* the hook's own sleep ends */
    world_end(&w);
}

/* Another delete, with less time: kubectl delete --now on a pod that is ending. */
static void test_deleted_again(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 2);
    put_pod(&w, "p", "{\"containers\":[" STUBBORN("c") "]}");
    run_ms(&w, 500);
    delete_pod(&w, "p", 60);
    run_ms(&w, 2000);
    assert_int_equal(terms(&w, "c"), 1);
    delete_pod(&w, "p", 90); /* more time does not count */
    delete_pod(&w, "p", 2);
    run_ms(&w, 1500);
    assert_true(runs(&w, "p", "c"));
    run_ms(&w, 1000);
    assert_null(pod_of(&w, "p"));
    world_end(&w);
}

/* The delete comes while a probe's failure ends the container, with a longer time. */
static void test_deleted_while_a_probe_ends_it(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 3);
    fake_machine_set_exec(w.machine, "bad", 1);
    put_pod(&w, "p",
            "{\"terminationGracePeriodSeconds\":60,\"containers\":[{\"name\":\"c\",\"image\":\"app:1\","
            "\"command\":[\"stubborn\"],\"livenessProbe\":{\"exec\":{\"command\":[\"bad\"]},"
            "\"periodSeconds\":1,\"failureThreshold\":1}}]}");
    run_ms(&w, 3000);
    assert_int_equal(terms(&w, "c"), 1);
    delete_pod(&w, "p", 2);
    run_ms(&w, 3000);
    assert_null(pod_of(&w, "p"));
    world_end(&w);
}

/* One grace period for the pod: sidecars that use it up one after another have two seconds each then. */
static void test_sidecars_share_the_grace(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 4);
    put_pod(&w, "p",
            "{\"initContainers\":["
            "{\"name\":\"a\",\"image\":\"app:1\",\"restartPolicy\":\"Always\",\"command\":[\"stubborn\"]},"
            "{\"name\":\"b\",\"image\":\"app:1\",\"restartPolicy\":\"Always\",\"command\":[\"stubborn\"]}],"
            "\"containers\":[" STUBBORN("c") "]}");
    run_ms(&w, 1000);
    delete_pod(&w, "p", 6);
    run_ms(&w, 5500);
    assert_true(runs(&w, "p", "c"));
    run_ms(&w, 1000);
    assert_true(!runs(&w, "p", "c") && runs(&w, "p", "b"));
    run_ms(&w, 1000);
    assert_true(runs(&w, "p", "b"));
    run_ms(&w, 1000);
    assert_true(!runs(&w, "p", "b") && runs(&w, "p", "a"));
    run_ms(&w, 2500);
    assert_null(pod_of(&w, "p"));
    world_end(&w);
}

#define ONCE(more)                                                                                           \
    "{\"restartPolicy\":\"Never\"," more                                                                     \
    "\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"command\":[\"exit\",\"0\",\"100\"]}]}"

/* Addresses of pods that have ended go to others; what their status says stays. */
static void test_ended_pods_free_their_addresses(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 5);
    for (int i = 0; i < 260; i++) { /* of 253 addresses */
        auto_free char *name = mem_printf("p%d", i);
        put_pod(&w, name, ONCE(""));
    }
    run_ms(&w, 10000);
    auto_free char *first = mem_strdup(json_string(pod_of(&w, "p0"), "status.podIP"));
    assert_non_null(first);
    for (int i = 0; i < 260; i++) {
        auto_free char *name = mem_printf("p%d", i);
        assert_string_equal(phase(&w, name), "Succeeded");
    }
    kill_agent(&w);
    start_agent(&w);
    put_pod(&w, "p", "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}]}");
    run_ms(&w, 3000);
    assert_true(runs(&w, "p", "c"));
    assert_string_equal(json_string_or(pod_of(&w, "p0"), "status.podIP", ""), first);
    assert_string_equal(json_string_or(pod_of(&w, "p"), "status.podIP", ""), first); /* the lowest is free */
    delete_pod(&w, "p0", 0);
    run_ms(&w, 1000);
    assert_null(pod_of(&w, "p0"));
    for (int i = 300; i < 560; i++) { /* and is nobody else's while p has it */
        auto_free char *name = mem_printf("p%d", i);
        put_pod(&w, name, ONCE(""));
        run_ms(&w, 300);
        assert_string_not_equal(json_string_or(pod_of(&w, name), "status.podIP", ""), first);
    }
    world_end(&w);
}

/* Other nodes may still send to a pod that has ended: its address is not given away before they have
 * followed. */
static void test_address_waits_for_others(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 6);
    static const char slice[] =
        "{\"metadata\":{\"name\":\"s\",\"namespace\":\"default\",\"uid\":\"s\",\"labels\":{"
        "\"kubernetes.io/service-name\":\"web\"}},\"endpoints\":[%s]}";
    auto_free char *held = mem_printf(slice, "{\"addresses\":[\"10.244.1.2\"],\"nodeName\":\"n1\","
                                             "\"targetRef\":{\"kind\":\"Pod\",\"uid\":\"uid-p\"}}");
    auto_free char *left = mem_printf(slice, "");
    put_json(&w, "endpointslices.discovery.k8s.io", held);
    put_pod(&w, "p", ONCE(""));
    run_ms(&w, 2000);
    assert_string_equal(phase(&w, "p"), "Succeeded");
    auto_free char *path = mem_printf("%s/pods/uid-p.json", w.directory);
    for (int step = 0; step < 3; step++) {
        auto_free char *saved = NULL;
        assert_int_equal(file_read(path, 1 << 20, &saved, NULL, NULL), 0);
        assert_int_equal(strstr(saved, "addressLeft") != NULL, step == 2);
        if (step == 0)
            put_json(&w, "endpointslices.discovery.k8s.io", left);
        auto_free char *drain =
            mem_printf("{\"metadata\":{\"name\":\"cluster\",\"uid\":\"d\"},\"status\":{\"revision\":%llu}}",
                       (unsigned long long)(step ? w.server.revision : 1));
        put_json(&w, "drains.minik8s.io", drain);
        run_ms(&w, 500);
    }
    world_end(&w);
}

/* Succeeded only when the sidecars have ended too, in their own time. */
static void test_phase_waits_for_sidecars(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 7);
    put_pod(&w, "p",
            ONCE("\"terminationGracePeriodSeconds\":5,\"initContainers\":[{\"name\":\"side\",\"image\":"
                 "\"app:1\",\"restartPolicy\":\"Always\",\"command\":[\"stubborn\"]}],"));
    run_ms(&w, 3000);
    assert_int_equal(terms(&w, "side"), 1);
    assert_true(runs(&w, "p", "side"));
    assert_string_equal(phase(&w, "p"), "Running");
    kill_agent(&w);
    start_agent(&w); /* which sees how far it is */
    run_ms(&w, 3000);
    assert_string_equal(phase(&w, "p"), "Running");
    run_ms(&w, 4000);
    assert_false(runs(&w, "p", "side"));
    assert_string_equal(phase(&w, "p"), "Succeeded");
    assert_int_equal(json_int(pod_of(&w, "p"), "status.initContainerStatuses[0].restartCount", -1), 0);
    world_end(&w);
}

/* The newer object comes before the answer that the status was made from an older one. */
static void test_conflict_told_late(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 8);
    put_pod(&w, "p",
            "{\"restartPolicy\":\"Never\",\"readinessGates\":[{\"conditionType\":\"a/b\"}],"
            "\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}]}");
    run_ms(&w, 2000);
    assert_string_equal(phase(&w, "p"), "Running");
    w.server.hold_batches = w.server.conflict = true;
    assert_true(fake_machine_kill(w.machine, fake_machine_find(w.machine, "p", "c")->name, 0, false));
    run_ms(&w, 100);
    assert_non_null(w.server.held);
    w.server.conflict = false;
    cJSON *changed = json_copy(pod_of(&w, "p"));
    cJSON *gate = json_push(json_at(changed, "status.conditions"), cJSON_CreateObject());
    json_set_string(gate, "type", "a/b");
    json_set_string(gate, "status", "True");
    server_put(&w.server, "pods", changed);
    run_ms(&w, 3000);
    server_release(&w.server);
    run_ms(&w, 1000);
    assert_string_equal(phase(&w, "p"), "Succeeded");
    assert_string_equal(condition(&w, "p", "a/b"), "True");
    world_end(&w);
}

/* How it ended stays to be seen while a finalizer holds it, whoever looks at it again. */
static void test_last_status(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 9);
    put_pod(&w, "p", "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}]}");
    run_ms(&w, 1000);
    cJSON *held = json_copy(pod_of(&w, "p"));
    json_push_string(json_ensure_array(json_get(held, "metadata"), "finalizers"), "a/b");
    server_put(&w.server, "pods", held);
    delete_pod(&w, "p", 30);
    run_ms(&w, 3000);
    assert_int_equal(fake_machine_count(w.machine, false), 0);
    for (int round = 0; round < 3; round++) {
        const cJSON *status = json_at(pod_of(&w, "p"), "status.containerStatuses[0]");
        assert_int_equal(json_int(status, "state.terminated.exitCode", -1), 143);
        assert_int_equal(json_int(status, "restartCount", -1), 0);
        if (round == 1) {
            kill_agent(&w);
            start_agent(&w);
        }
        cJSON *changed = json_copy(pod_of(&w, "p"));
        json_set_int(json_ensure_object(json_get(changed, "metadata"), "labels"), "round", round);
        server_put(&w.server, "pods", changed);
        run_ms(&w, 3000);
    }
    server_drop(&w.server, "pods", "default", "p");
    run_ms(&w, 500);
    world_end(&w);
}

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hook_uses_up_the_grace),
                                       cmocka_unit_test(test_deleted_again),
                                       cmocka_unit_test(test_deleted_while_a_probe_ends_it),
                                       cmocka_unit_test(test_sidecars_share_the_grace),
                                       cmocka_unit_test(test_ended_pods_free_their_addresses),
                                       cmocka_unit_test(test_address_waits_for_others),
                                       cmocka_unit_test(test_phase_waits_for_sidecars),
                                       cmocka_unit_test(test_conflict_told_late),
                                       cmocka_unit_test(test_last_status)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
