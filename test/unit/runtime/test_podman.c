/*
 * The runtime against a real podman: a pod's whole life, how containers end, what a restart of the service or
 * of this process changes (nothing), and that every operation may be repeated.
 */
#include "runtime_world.h"

#include <signal.h>

static void test_pod_life(void **state)
{
    struct world *w = *state;
    double t0 = world_ms();
    assert_ok(world_create(w, world_sandbox(w, "p1")));
    double t1 = world_ms();
    assert_ok(world_start(w, "sandbox_p1"));
    double t2 = world_ms();
    int sandbox_pid = w->container->pid;
    assert_int_equal(w->container->state, RUNTIME_RUNNING);
    assert_true(sandbox_pid > 0);
    assert_ok(world_create(w, world_shell(w, "p1", "app", "echo ready; hostname; exec sleep 1000")));
    double t3 = world_ms();
    assert_ok(world_start(w, "app_p1"));
    double t4 = world_ms();
    print_message("sandbox create %.1f start %.1f, app create %.1f start %.1f: %.1f ms\n", t1 - t0, t2 - t1,
                  t3 - t2, t4 - t3, t4 - t0);
    assert_string_equal(runtime_container_label(w->container, "io.minik8s.pod.name"), "p1");

    /* one network namespace for both */
    char a[64], b[64];
    auto_free char *pa = mem_printf("/proc/%d/ns/net", sandbox_pid),
                   *pb = mem_printf("/proc/%d/ns/net", w->container->pid);
    ssize_t na = readlink(pa, a, sizeof(a)), nb = readlink(pb, b, sizeof(b));
    assert_true(na > 0 && na == nb && memcmp(a, b, (size_t)na) == 0);

    assert_ok(world_list(w));
    assert_int_equal(w->n_list, 2);
    auto_free char *log = world_log(w, "app_p1", " stdout F p1\n"); /* the pod's host name */
    assert_non_null(strstr(log, " stdout F ready\n"));

    double r0 = world_ms();
    assert_ok(world_remove(w, "app_p1"));
    assert_int_equal(w->events[world_event(w, RUNTIME_DIED, "app_p1")].exit_code, 137);
    double r1 = world_ms();
    assert_ok(world_remove(w, "sandbox_p1"));
    print_message("remove app %.1f sandbox %.1f ms\n", r1 - r0, world_ms() - r1);
    assert_ok(world_list(w));
    assert_int_equal(w->n_list, 0);
}

static void test_operations_repeat(void **state)
{
    struct world *w = *state;
    assert_ok(world_create(w, world_shell(w, NULL, "twice", "sleep 1000")));
    assert_ok(world_create(w, world_shell(w, NULL, "twice", "sleep 1000")));
    assert_ok(world_start(w, "twice_alone"));
    int pid = w->container->pid;
    assert_ok(world_start(w, "twice_alone"));
    assert_int_equal(w->container->pid, pid);
    assert_ok(world_remove(w, "twice_alone"));
    assert_ok(world_remove(w, "twice_alone"));
    assert_ok(world_signal(w, "twice_alone", SIGTERM));
    assert_int_equal(world_inspect(w, "twice_alone"), ERR_NOT_FOUND);
}

static void test_exit_codes(void **state)
{
    struct world *w = *state;
    assert_ok(world_create(w, world_shell(w, NULL, "seven", "exit 7")));
    assert_ok(world_start(w, "seven_alone"));
    assert_int_equal(w->events[world_event(w, RUNTIME_DIED, "seven_alone")].exit_code, 7);
    assert_ok(world_inspect(w, "seven_alone"));
    assert_int_equal(w->container->state, RUNTIME_EXITED);
    assert_int_equal(w->container->exit_code, 7);
    assert_false(w->container->oom_killed);
    assert_true(w->container->finished_ns >= w->container->started_ns);

    assert_ok(
        world_create(w, world_shell(w, NULL, "term", "trap 'exit 3' TERM; while :; do sleep 0.05; done")));
    assert_ok(world_start(w, "term_alone"));
    assert_ok(world_exec(w, "term_alone", "true", 5000)); /* the shell has set its trap by now */
    double t0 = world_ms();
    assert_ok(world_signal(w, "term_alone", SIGTERM));
    size_t i = world_event(w, RUNTIME_DIED, "term_alone");
    print_message("end seen %.1f ms after SIGTERM\n", world_ms() - t0);
    assert_int_equal(w->events[i].exit_code, 3);
    assert_int_equal(world_count_events(w, RUNTIME_DIED, "term_alone"), 1);
    assert_ok(world_remove(w, "seven_alone"));
    assert_ok(world_remove(w, "term_alone"));
}

static void test_memory_limit(void **state)
{
    struct world *w = *state;
    struct runtime_spec *spec = world_shell(w, NULL, "hungry", "exec tail /dev/zero");
    spec->limits.memory_bytes = 16 << 20;
    assert_ok(world_create(w, spec));
    assert_ok(world_start(w, "hungry_alone"));
    assert_int_equal(w->events[world_event(w, RUNTIME_DIED, "hungry_alone")].exit_code, 137);
    assert_ok(world_inspect(w, "hungry_alone"));
    assert_true(w->container->oom_killed);
    /* the next process knows it too */
    world_close(w);
    world_open(w);
    assert_ok(world_inspect(w, "hungry_alone"));
    assert_true(w->container->oom_killed);
    assert_ok(world_remove(w, "hungry_alone"));

    assert_ok(world_create(w, world_shell(w, NULL, "killed", "exec sleep 1000")));
    assert_ok(world_start(w, "killed_alone"));
    assert_ok(world_signal(w, "killed_alone", SIGKILL));
    assert_int_equal(w->events[world_event(w, RUNTIME_DIED, "killed_alone")].exit_code, 137);
    assert_ok(world_inspect(w, "killed_alone"));
    assert_false(w->container->oom_killed);
    assert_ok(world_remove(w, "killed_alone"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_pod_life, world_between),
        cmocka_unit_test_teardown(test_operations_repeat, world_between),
        cmocka_unit_test_teardown(test_exit_codes, world_between),
        cmocka_unit_test_teardown(test_memory_limit, world_between),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
