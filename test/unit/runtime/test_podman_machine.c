/*
 * The runtime against a real podman: what touches the machine: the node's own network, devices, logs that are
 * limited, a service that hangs.
 */
#include "runtime_world.h"

#include <signal.h>

#include "runtime/podman_internal.h"

static void same_namespace(int pid, const char *kind, bool same)
{
    char a[64] = "", b[64] = "";
    auto_free char *pa = mem_printf("/proc/%d/ns/%s", pid, kind), *pb = mem_printf("/proc/self/ns/%s", kind);
    assert_true(readlink(pa, a, sizeof(a) - 1) > 0 && readlink(pb, b, sizeof(b) - 1) > 0);
    assert_int_equal(strcmp(a, b) == 0, same);
}

static void test_host_network(void **state)
{
    struct world *w = *state;
    struct runtime_spec *spec = world_sandbox(w, "h1");
    spec->host_network = true;
    assert_ok(world_create(w, spec));
    assert_ok(world_start(w, "sandbox_h1"));
    assert_ok(world_create(w, world_shell(w, "h1", "app", "exec sleep 1000")));
    assert_ok(world_start(w, "app_h1"));
    same_namespace(w->container->pid, "net", true);
    same_namespace(w->container->pid, "uts", true);
    same_namespace(w->container->pid, "pid", false);
    same_namespace(w->container->pid, "mnt", false);
    assert_ok(world_remove(w, "app_h1"));
    assert_ok(world_remove(w, "sandbox_h1"));
}

static void test_devices_and_signal(void **state)
{
    struct world *w = *state;
    struct runtime_spec *spec =
        world_shell(w, NULL, "dev", "exec 2>&1; ls -l /dev/other; echo end; exec sleep 1000");
    spec->devices = world_words((const char *const[]){"/dev/zero:/dev/other:r", NULL});
    spec->stop_signal = SIGQUIT;
    assert_ok(world_create(w, spec));
    assert_ok(world_start(w, "dev_alone"));
    assert_int_equal(w->container->stop_signal, SIGQUIT);
    auto_free char *log = world_log(w, "dev_alone", " F end\n");
    assert_non_null(strstr(log, "1,   5")); /* /dev/zero's numbers */
    assert_ok(world_remove(w, "dev_alone"));
    assert_ok(world_create(w, world_shell(w, NULL, "plain", "exec sleep 1000")));
    assert_ok(world_start(w, "plain_alone"));
    assert_int_equal(w->container->stop_signal, SIGTERM);
    assert_ok(world_remove(w, "plain_alone"));
}

static void test_log_is_limited(void **state)
{
    struct world *w = *state;
    struct runtime_spec *spec =
        world_shell(w, NULL, "chatty",
                    "i=0; while [ $i -lt 5000 ]; do echo line $i of a log that is too long; "
                    "i=$((i+1)); done; printf 'no line end'");
    spec->log_max_bytes = 20000;
    auto_free char *path = mem_strdup(spec->log_path);
    assert_ok(world_create(w, spec));
    assert_ok(world_start(w, "chatty_alone"));
    assert_int_equal(w->events[world_event(w, RUNTIME_DIED, "chatty_alone")].exit_code, 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, 1, 20000 + 4096);
    auto_free char *log = world_log(w, "chatty_alone", " stdout P no line end"); /* the newest lines stay */
    assert_null(strstr(log, "line 0 of"));
    assert_ok(world_remove(w, "chatty_alone"));
}

static void test_hanging_service(void **state)
{
    struct world *w = *state;
    struct podman *p = CONTAINER_OF(w->runtime, struct podman, base);
    assert_ok(world_create(w, world_shell(w, NULL, "calm", "exec sleep 1000")));
    assert_ok(world_start(w, "calm_alone"));
    int pid = w->container->pid, service = helper_pid(p->helper);
    podman_health_start(p, 100);
    kill(service, SIGSTOP);
    world_event(w, RUNTIME_RESYNC, NULL);
    assert_int_not_equal(helper_pid(p->helper), service);
    podman_health_start(p, 0);
    assert_ok(world_inspect(w, "calm_alone"));
    assert_int_equal(w->container->pid, pid);
    assert_ok(world_remove(w, "calm_alone"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_host_network, world_between),
        cmocka_unit_test_teardown(test_devices_and_signal, world_between),
        cmocka_unit_test_teardown(test_log_is_limited, world_between),
        cmocka_unit_test_teardown(test_hanging_service, world_between),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
