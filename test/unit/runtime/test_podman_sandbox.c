/*
 * What the runtime does in podman's stead. Sandboxes: what a pod's containers share through them, their end,
 * and that whoever is killed between any two steps finds them again. Tidying up after containers that are
 * removed.
 */
#include "runtime_world.h"

#include <signal.h>

#include "loop/helper.h"

static char *sandbox_file(const struct world *w, const char *pod, const char *file)
{
    return mem_printf("%s/sandboxes/sandbox_%s/%s", w->storage, pod, file);
}

static void up(struct world *w, const char *pod)
{
    auto_free char *name = mem_printf("sandbox_%s", pod);
    assert_ok(world_create(w, world_sandbox(w, pod)));
    assert_ok(world_start(w, name));
    assert_int_equal(w->container->state, RUNTIME_RUNNING);
}

static void run_app(struct world *w, const char *pod, const char *name, bool share_pid)
{
    struct runtime_spec *spec = world_shell(w, pod, name, "exec sleep 1000");
    auto_free char *full = mem_strdup(spec->name);
    spec->share_pid = share_pid;
    assert_ok(world_create(w, spec));
    assert_ok(world_start(w, full));
}

static void says(struct world *w, const char *container, const char *script, const char *expected)
{
    assert_ok(world_exec(w, container, script, 5000));
    assert_string_equal(w->text, expected);
}

static void test_what_is_shared(void **state)
{
    struct world *w = *state;
    up(w, "s1");
    run_app(w, "s1", "a", true);
    run_app(w, "s1", "b", true);
    says(w, "a_s1", "echo hello >/dev/shm/x; hostname; echo $HOSTNAME", "s1\ns1\n");
    says(w, "b_s1", "cat /dev/shm/x", "hello\n");
    says(w, "a_s1", "cat /proc/1/cmdline | cat -v", "/pause^@");
    /* its process gives nobody a way out: no right, a root that holds nothing else, which cannot be written
     */
    says(w, "a_s1", "while read k v; do [ $k = CapBnd: ] && echo $v; done </proc/1/status",
         "0000000000000000\n");
    says(w, "a_s1", "ls /proc/1/root/etc/passwd 2>/dev/null || echo none", "none\n");
    assert_ok(world_remove(w, "a_s1"));
    assert_ok(world_remove(w, "b_s1"));
    assert_ok(world_remove(w, "sandbox_s1"));
    assert_int_equal(world_inspect(w, "sandbox_s1"), ERR_NOT_FOUND);
    assert_ok(world_remove(w, "sandbox_s1"));
    auto_free char *folder = sandbox_file(w, "s1", "");
    assert_false(file_exists(folder));
}

static void test_end(void **state)
{
    struct world *w = *state;
    up(w, "s2");
    assert_int_equal(kill(w->container->pid, SIGKILL), 0);
    world_event(w, RUNTIME_DIED, "sandbox_s2");
    assert_int_equal(world_count_events(w, RUNTIME_DIED, "sandbox_s2"), 1);
    assert_ok(world_inspect(w, "sandbox_s2"));
    assert_int_equal(w->container->state, RUNTIME_EXITED);
    assert_int_equal(world_create(w, world_shell(w, "s2", "late", "sleep 1")), ERR_CONFLICT);
    world_close(w);
    world_open(w);
    assert_ok(world_list(w));
    assert_int_equal(w->n_list, 1);
    assert_int_equal(w->list[0]->state, RUNTIME_EXITED);
    assert_ok(world_signal(w, "sandbox_s2", SIGTERM));
    assert_ok(world_remove(w, "sandbox_s2"));
    assert_ok(world_list(w));
    assert_int_equal(w->n_list, 0);
}

/* Lines of the file cgroup.procs of all cgroups below the node's. */
static size_t processes_in_cgroups(const struct world *w)
{
    auto_free char *command =
        mem_printf("cat $(find /sys/fs/cgroup/memory/minik8s/%s /sys/fs/cgroup/minik8s/%s "
                   "-name cgroup.procs 2>/dev/null) /dev/null | wc -l",
                   w->cluster, w->cluster);
    FILE *pipe = popen(command, "r");
    size_t count = 0;
    assert_int_equal(fscanf(pipe, "%zu", &count), 1);
    pclose(pipe);
    return count;
}

static void test_killed_between_steps(void **state)
{
    struct world *w = *state;
    assert_ok(world_create(w, world_sandbox(w, "s3")));
    world_close(w);
    world_open(w);
    assert_ok(world_inspect(w, "sandbox_s3"));
    assert_int_equal(w->container->state, RUNTIME_CREATED);
    /* started, and killed before the answer: the next one's start finds it or makes it, once */
    world_forget(w);
    w->runtime->ops->start(w->runtime, "sandbox_s3", world_on_container, w);
    w->runtime->ops->free(steal(&w->runtime));
    assert_int_equal(err_code(w->error), ERR_CANCELLED);
    world_close(w);
    world_open(w);
    assert_ok(world_start(w, "sandbox_s3"));
    int pid = w->container->pid;
    assert_ok(world_start(w, "sandbox_s3"));
    assert_int_equal(w->container->pid, pid);
    assert_int_equal(processes_in_cgroups(w), 1);
    /* killed while it removed it: the folder without its description goes with the next list */
    auto_free char *spec = sandbox_file(w, "s3", "spec.json"), *folder = sandbox_file(w, "s3", "");
    assert_ok(world_remove(w, "sandbox_s3"));
    assert_int_equal(file_make_dirs(folder, 0700, NULL), 0);
    assert_ok(world_list(w));
    assert_int_equal(w->n_list, 0);
    assert_false(file_exists(folder));
    assert_int_equal(processes_in_cgroups(w), 0);
}

static void test_number_of_another(void **state)
{
    struct world *w = *state;
    up(w, "s4");
    int pid = w->container->pid;
    auto_free char *number = sandbox_file(w, "s4", "pid"), *own = mem_printf("%d\n", (int)getpid());
    assert_int_equal(kill(pid, SIGKILL), 0);
    world_event(w, RUNTIME_DIED, "sandbox_s4");
    assert_int_equal(file_write_atomic(number, own, strlen(own), 0600, NULL), 0); /* the number came round */
    world_close(w);
    world_open(w);
    assert_ok(world_inspect(w, "sandbox_s4"));
    assert_int_equal(w->container->state, RUNTIME_EXITED);
    assert_ok(world_remove(w, "sandbox_s4")); /* and this process lives */
}

static void test_sysctls(void **state)
{
    struct world *w = *state;
    struct runtime_spec *spec = world_sandbox(w, "s5");
    spec->sysctls = mem_array(1, sizeof(*spec->sysctls));
    spec->sysctls[0] = (struct runtime_pair){mem_strdup("net.ipv4.no_such_thing"), mem_strdup("1")};
    spec->n_sysctls = 1;
    assert_ok(world_create(w, spec));
    assert_int_equal(world_start(w, "sandbox_s5"), ERR_INTERNAL);
    assert_non_null(strstr(err_message(w->error), "set net.ipv4.no_such_thing=1: No such file or directory"));
    assert_ok(world_remove(w, "sandbox_s5"));
}

/* conmon, and what it starts at the end. */
static bool is_busy(const char *id)
{
    auto_free char *command = mem_printf("pgrep -f '[c]leanup %s|[c]onmon .*%s' >/dev/null", id, id);
    return system(command) == 0;
}

static bool has_layer_mounted(const struct world *w)
{
    auto_free char *text = NULL, *layers = mem_printf("%s/graph/overlay/", w->storage);
    assert_int_equal(file_read("/proc/self/mounts", 4 << 20, &text, NULL, NULL), 0);
    return strstr(text, layers) != NULL;
}

/* Ends the container that was just started, and waits until nobody works on it any more. */
static void end(struct world *w, const char *name)
{
    auto_free char *id = mem_strdup(w->container->id);
    assert_ok(world_signal(w, name, SIGKILL));
    world_event(w, RUNTIME_DIED, name);
    for (int i = 0; i < 400 && is_busy(id); i++)
        usleep(25000);
    assert_false(is_busy(id));
}

/* podman tidies up after a container that stays; where it is to be removed, the removal does. */
static void test_leaving(void **state)
{
    struct world *w = *state;
    auto_free char *marks = file_join(w->storage, "leaving");
    size_t count;
    assert_ok(world_create(w, world_shell(w, NULL, "stays", "exec sleep 1000")));
    assert_ok(world_start(w, "stays_alone"));
    end(w, "stays_alone");
    assert_false(has_layer_mounted(w));
    assert_ok(world_create(w, world_shell(w, NULL, "leaves", "exec sleep 1000")));
    assert_ok(world_start(w, "leaves_alone"));
    w->runtime->ops->leaving(w->runtime, "leaves_alone");
    end(w, "leaves_alone");
    assert_true(has_layer_mounted(w));
    assert_ok(world_inspect(w, "leaves_alone"));
    assert_int_equal(w->container->state, RUNTIME_EXITED);
    assert_int_equal(w->container->exit_code, 137);
    assert_ok(world_remove(w, "leaves_alone"));
    assert_false(has_layer_mounted(w));
    free(file_list(marks, &count, NULL));
    assert_int_equal(count, 0);
    assert_ok(world_remove(w, "stays_alone"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_what_is_shared, world_between),
        cmocka_unit_test_teardown(test_end, world_between),
        cmocka_unit_test_teardown(test_killed_between_steps, world_between),
        cmocka_unit_test_teardown(test_number_of_another, world_between),
        cmocka_unit_test_teardown(test_sysctls, world_between),
        cmocka_unit_test_teardown(test_leaving, world_between),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
