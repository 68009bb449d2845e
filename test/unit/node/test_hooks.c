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
            "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"," POST_START ",\"livenessProbe\":{\"periodSeconds\":1,"
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

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_not_ready_before_post_start),
                                       cmocka_unit_test(test_post_start_of_another_agent)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
