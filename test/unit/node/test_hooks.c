/* Hooks and probes of containers: when they run, and what follows. */
#include "harness.h"

#define POST_START "\"lifecycle\":{\"postStart\":{\"exec\":{\"command\":[\"hook\"]}}}"

struct counted {
    unsigned execs, starts;
};

static void count(void *arg, const char *operation)
{
    struct counted *counted = arg;
    counted->execs += str_eq(operation, "exec");
    counted->starts += str_eq(operation, "start");
}

static bool started(struct world *w, const char *pod)
{
    return json_bool(pod_of(w, pod), "status.containerStatuses[0].started", false);
}

/* While postStart runs the container is neither started nor ready, and nothing is asked of it. */
static void test_not_ready_before_post_start(void **state UNUSED)
{
    const struct fake_runtime_faults slow = {.delay_ms_min = 1, .delay_ms_max = 5, .exec_ms = 5000};
    struct counted counted = {0};
    struct world w;
    world_begin(&w, 1);
    fake_machine_set_faults(w.machine, &slow);
    fake_machine_set_on_operation(w.machine, count, &counted);
    put_pod(&w, "p", "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"," POST_START "}]}");
    put_pod(&w, "q",
            "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"," POST_START
            ",\"livenessProbe\":{\"periodSeconds\":1,"
            "\"exec\":{\"command\":[\"live\"]}}}]}");
    run_ms(&w, 4000);
    assert_true(runs(&w, "p", "c") && runs(&w, "q", "c"));
    assert_false(started(&w, "p") || started(&w, "q"));
    assert_string_equal(condition(&w, "p", "Ready"), "False");
    assert_string_equal(condition(&w, "q", "Ready"), "False");
    assert_int_equal(counted.execs, 2);
    run_ms(&w, 3000);
    assert_true(started(&w, "p") && started(&w, "q"));
    assert_string_equal(condition(&w, "p", "Ready"), "True");
    assert_string_equal(condition(&w, "q", "Ready"), "True");
    assert_int_equal(counted.execs, 3);
    world_end(&w);
}

/* An agent that dies between creating and starting a container leaves the hook to the next one. */
static void test_post_start_of_another_agent(void **state UNUSED)
{
    const struct fake_runtime_faults slow = {.delay_ms_min = 50, .delay_ms_max = 60};
    struct counted counted = {0};
    struct world w;
    world_begin(&w, 2);
    fake_machine_set_faults(w.machine, &slow);
    fake_machine_set_on_operation(w.machine, count, &counted);
    put_pod(&w, "p", "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"," POST_START "}]}");
    for (int i = 0; i < 5000 && counted.starts < 2; i++) /* the sandbox's and its own */
        run_ms(&w, 1);
    kill_agent(&w);
    assert_int_equal(fake_machine_find(w.machine, "p", "c")->state, RUNTIME_CREATED);
    assert_int_equal(counted.execs, 0);
    start_agent(&w);
    run_ms(&w, 3000);
    assert_true(runs(&w, "p", "c"));
    assert_int_equal(counted.execs, 1);
    assert_string_equal(condition(&w, "p", "Ready"), "True");
    world_end(&w);
}

static const struct fake_runtime_faults well = {.delay_ms_min = 1, .delay_ms_max = 5};
static const struct fake_runtime_faults away = {
    .delay_ms_min = 1, .delay_ms_max = 5, .exec_unavailable = true};

/* A runtime that cannot run a probe says nothing of the container; one that runs it does. */
static void test_probes_without_a_runtime(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 3);
    put_pod(
        &w, "p",
        "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"livenessProbe\":{\"periodSeconds\":1,"
        "\"failureThreshold\":1,\"exec\":{\"command\":[\"live\"]}},\"readinessProbe\":{\"periodSeconds\":1,"
        "\"failureThreshold\":1,\"exec\":{\"command\":[\"ready\"]}}}]}");
    run_ms(&w, 3000);
    assert_string_equal(condition(&w, "p", "Ready"), "True");
    fake_machine_set_faults(w.machine, &away);
    run_ms(&w, 10000);
    assert_string_equal(condition(&w, "p", "Ready"), "True");
    assert_false(saw_event(&w, "Unhealthy"));
    assert_int_equal(json_int(pod_of(&w, "p"), "status.containerStatuses[0].restartCount", -1), 0);
    fake_machine_set_faults(w.machine, &well);
    fake_machine_set_exec(w.machine, "live", 1);
    run_ms(&w, 3000);
    assert_true(json_int(pod_of(&w, "p"), "status.containerStatuses[0].restartCount", 0) > 0);
    world_end(&w);
}

/* A hook runs when the runtime can again, but holds nothing up beyond its time. */
static void test_hooks_without_a_runtime(void **state UNUSED)
{
    struct counted counted = {0};
    struct world w;
    world_begin(&w, 4);
    fake_machine_set_faults(w.machine, &away);
    put_pod(&w, "p",
            "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"lifecycle\":{\"postStart\":{\"exec\":{"
            "\"command\":["
            "\"hook\"]}},\"preStop\":{\"exec\":{\"command\":[\"hook\"]}}}}]}");
    put_pod(&w, "q",
            "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"lifecycle\":{\"preStop\":{\"exec\":{"
            "\"command\":[\"hook\"]}}}}]}");
    run_ms(&w, 5000);
    assert_true(runs(&w, "p", "c"));
    assert_false(started(&w, "p"));
    fake_machine_set_faults(w.machine, &well);
    run_ms(&w, 2000);
    assert_string_equal(condition(&w, "p", "Ready"), "True");
    assert_int_equal(json_int(pod_of(&w, "p"), "status.containerStatuses[0].restartCount", -1), 0);
    fake_machine_set_faults(w.machine, &away);
    delete_pod(&w, "p", 30);
    delete_pod(&w, "q", 10);
    run_ms(&w, 9000);
    assert_true(runs(&w, "p", "c") && runs(&w, "q", "c"));
    run_ms(&w, 4000);
    assert_null(pod_of(&w, "q")); /* its grace period is over */
    assert_true(runs(&w, "p", "c"));
    fake_machine_set_on_operation(w.machine, count, &counted);
    fake_machine_set_faults(w.machine, &well);
    run_ms(&w, 3000);
    assert_int_equal(counted.execs, 1);
    assert_null(pod_of(&w, "p"));
    world_end(&w);
}

/* The agent ends, or the pod goes, while a hook waits to run again. */
static void test_hook_that_nobody_waits_for(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 5);
    fake_machine_set_faults(w.machine, &away);
    put_pod(&w, "p", "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"," POST_START "}]}");
    put_pod(&w, "q", "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"," POST_START "}]}");
    run_ms(&w, 2500);
    server_drop(&w.server, "pods", "default", "q");
    run_ms(&w, 3000);
    assert_null(fake_machine_find(w.machine, "q", ""));
    world_end(&w);
}

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_ready_before_post_start),
        cmocka_unit_test(test_post_start_of_another_agent), cmocka_unit_test(test_probes_without_a_runtime),
        cmocka_unit_test(test_hooks_without_a_runtime), cmocka_unit_test(test_hook_that_nobody_waits_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
