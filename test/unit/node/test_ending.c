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

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hook_uses_up_the_grace),
                                       cmocka_unit_test(test_deleted_again),
                                       cmocka_unit_test(test_deleted_while_a_probe_ends_it),
                                       cmocka_unit_test(test_sidecars_share_the_grace)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
