/*
 * The runtime against a real podman: what a spec asks for is in force in the container; programs inside it;
 * images and their errors; the service and this process are killed while containers run.
 */
#include "runtime_world.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>

#include "loop/helper.h"

/* ---- specs ---- */

static void test_spec_in_force(void **state)
{
    struct world *w = *state;
    world_run("mkdir -p %s/vol && echo one > %s/vol/file", w->base, w->base);
    struct runtime_spec *spec = world_shell(
        w, NULL, "spec",
        "exec 2>&1; id -u; id -g; id -G; pwd; echo $GREETING; touch /vol/x; touch /x; echo end; sleep 1000");
    spec->security.user = 1234;
    spec->security.group = 2345;
    spec->security.supplemental_groups = mem_array(1, sizeof(int64_t));
    spec->security.supplemental_groups[spec->security.n_supplemental_groups++] = 3456;
    spec->security.read_only_root = true;
    spec->security.no_new_privileges = true;
    spec->security.capabilities_drop = world_words((const char *const[]){"ALL", NULL});
    spec->working_directory = mem_strdup("/tmp");
    spec->environment = mem_array(1, sizeof(*spec->environment));
    spec->environment[spec->n_environment++] =
        (struct runtime_pair){mem_strdup("GREETING"), mem_strdup("hello \"world\" $x")};
    spec->mounts = mem_array(2, sizeof(*spec->mounts));
    spec->mounts[spec->n_mounts++] = (struct runtime_mount){
        .source = mem_printf("%s/vol", w->base), .destination = mem_strdup("/vol"), .read_only = true};
    spec->mounts[spec->n_mounts++] =
        (struct runtime_mount){.destination = mem_strdup("/scratch"), .tmpfs_bytes = 1 << 20};
    spec->limits = (struct runtime_limits){
        .memory_bytes = 64 << 20, .cpu_milli_limit = 250, .cpu_milli_request = 100, .pids = 20};
    assert_ok(world_create(w, spec));
    assert_ok(world_start(w, "spec_alone"));
    auto_free char *log = world_log(w, "spec_alone", " F end\n");
    static const char *const said[] = {"stdout F 1234\n",
                                       "stdout F 2345\n",
                                       " 3456\n",
                                       "stdout F /tmp\n",
                                       "stdout F hello \"world\" $x\n",
                                       "Read-only file system"};
    for (size_t i = 0; i < COUNT_OF(said); i++)
        if (!strstr(log, said[i]))
            fail_msg("no \"%s\" in: %s", said[i], log);

    /* what the kernel says about the process */
    auto_free char *path = mem_printf("/proc/%d/status", w->container->pid), *status = NULL;
    assert_int_equal(file_read(path, 65536, &status, NULL, NULL), 0);
    static const char *const facts[] = {"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"};
    for (size_t i = 0; i < COUNT_OF(facts); i++)
        if (!strstr(status, facts[i]))
            fail_msg("no \"%s\" in: %s", facts[i], status);
    auto_free char *cgroups = mem_printf("/proc/%d/cgroup", w->container->pid), *text = NULL;
    assert_int_equal(file_read(cgroups, 65536, &text, NULL, NULL), 0);
    auto_free char *wanted = mem_printf("/minik8s/%s/n1/podalone/libpod-", w->cluster);
    assert_non_null(strstr(text, wanted));
    assert_ok(
        world_exec(w, "spec_alone",
                   "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us "
                   "2>/dev/null || cat memory.max pids.max cpu.max; mount",
                   5000));
    assert_non_null(strstr(w->text, "67108864\n20\n25000"));
    assert_non_null(strstr(w->text, "size=1024k"));
    assert_ok(world_remove(w, "spec_alone"));
}

static void test_specs_that_cannot_work(void **state)
{
    struct world *w = *state;
    struct runtime_spec *spec = world_shell(w, NULL, "bad", "true");
    spec->mounts = mem_array(1, sizeof(*spec->mounts));
    spec->mounts[spec->n_mounts++] =
        (struct runtime_mount){.source = mem_strdup("/no/such/place"), .destination = mem_strdup("/x")};
    assert_int_equal(world_create(w, spec), ERR_INVALID);
    assert_non_null(strstr(err_message(w->error), "/no/such/place"));

    spec = world_shell(w, NULL, "bad", "true");
    free(spec->image);
    spec->image = mem_strdup("localhost/none:1");
    assert_int_equal(world_create(w, spec), ERR_NOT_FOUND);

    spec = world_shell(w, NULL, "bad", "true");
    free(spec->command[0]);
    spec->command[0] = mem_strdup("/no/such/program");
    assert_ok(world_create(w, spec));
    assert_int_equal(world_start(w, "bad_alone"), ERR_INVALID);
    assert_non_null(strstr(err_message(w->error), "/no/such/program"));
    assert_int_equal(world_count_events(w, RUNTIME_DIED, "bad_alone"), 0);
    assert_ok(world_remove(w, "bad_alone"));

    spec = world_shell(w, NULL, "bad", "true");
    spec->working_directory = mem_strdup("/no/such/folder");
    assert_ok(world_create(w, spec));
    assert_int_equal(world_start(w, "bad_alone"), ERR_INVALID);
    assert_ok(world_remove(w, "bad_alone"));
    assert_int_equal(world_start(w, "nobody"), ERR_NOT_FOUND);
}

/* ---- programs inside ---- */

static void test_exec(void **state)
{
    struct world *w = *state;
    assert_ok(world_create(w, world_shell(w, NULL, "ex", "exec sleep 1000")));
    assert_ok(world_start(w, "ex_alone"));
    assert_ok(world_exec(w, "ex_alone", "echo out; echo err >&2; exit 5", 5000));
    assert_int_equal(w->exit_code, 5);
    assert_true(str_eq(w->text, "out\nerr\n") || str_eq(w->text, "err\nout\n"));
    double t0 = world_ms();
    assert_ok(world_exec(w, "ex_alone", "true", 5000));
    print_message("exec of true %.1f ms\n", world_ms() - t0);
    assert_int_equal(w->exit_code, 0);

    /* more output than is kept must neither block the program nor grow the answer */
    assert_ok(world_exec(w, "ex_alone",
                         "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; "
                         "i=$((i+1)); done; exit 9",
                         10000));
    assert_int_equal(w->exit_code, 9);
    assert_int_equal(strlen(w->text), 65536);

    t0 = world_ms();
    assert_int_equal(world_exec(w, "ex_alone", "sleep 777", 200), ERR_TIMEOUT);
    assert_true(world_ms() - t0 < 2000);
    assert_ok(world_exec(w, "ex_alone", "ps", 5000));
    assert_null(strstr(w->text, "sleep 777")); /* it was ended, not left behind */

    assert_int_equal(world_exec(w, "nobody", "true", 1000), ERR_NOT_FOUND);
    assert_ok(world_remove(w, "ex_alone"));
}

struct talk {
    struct world *world;
    struct http_duplex *duplex;
    struct loop_fd *watch;
    struct str said;
};

static void on_talk(void *arg, unsigned events UNUSED)
{
    struct talk *t = arg;
    char buffer[4096];
    ssize_t n = t->duplex->ops->read(t->duplex, buffer, sizeof(buffer));
    if (n > 0)
        str_add_n(&t->said, buffer, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        loop_stop(t->world->loop);
}

static void on_talk_started(void *arg, const char *exec_id, struct http_duplex *duplex, struct err *err)
{
    struct world *w = arg;
    w->duplex = duplex;
    w->text = mem_strdup(exec_id);
    world_done(arg, err);
}

static void on_exit_code(void *arg, int exit_code, struct err *err)
{
    ((struct world *)arg)->exit_code = exit_code;
    world_done(arg, err);
}

static void on_attached(void *arg, struct http_duplex *duplex, struct err *err)
{
    ((struct world *)arg)->duplex = duplex;
    world_done(arg, err);
}

/* Says `line` and listens until the other end closes. */
static char *converse(struct world *w, const char *line)
{
    struct talk t = {.world = w, .duplex = steal(&w->duplex)};
    t.watch = loop_fd_add(w->loop, t.duplex->ops->fd(t.duplex), EPOLLIN, on_talk, &t, NULL);
    assert_int_equal(t.duplex->ops->write(t.duplex, line, strlen(line)), strlen(line));
    world_wait(w);
    loop_fd_remove(t.watch);
    t.duplex->ops->close(t.duplex);
    return str_take(&t.said);
}

static void test_streams(void **state)
{
    struct world *w = *state;
    assert_ok(world_create(w, world_shell(w, NULL, "talk", "exec sleep 1000")));
    assert_ok(world_start(w, "talk_alone"));
    const char *const command[] = {"sh", "-c", "read a; echo got $a; exit 4", NULL};
    for (int tty = 0; tty < 2; tty++) {
        struct runtime_exec exec = {
            .container = "talk_alone", .command = command, .stdin_open = true, .tty = tty};
        world_forget(w);
        w->runtime->ops->exec_stream(w->runtime, &exec, on_talk_started, w);
        assert_ok(world_wait(w));
        auto_free char *id = mem_strdup(w->text);
        if (tty)
            w->runtime->ops->exec_resize(w->runtime, id, 100, 40);
        auto_free char *said = converse(w, "word\n");
        if (tty)
            assert_non_null(strstr(said, "got word\r\n"));
        else
            assert_memory_equal(said, "\1\0\0\0\0\0\0\11got word\n", 17);
        w->runtime->ops->exec_exit(w->runtime, id, on_exit_code, w);
        assert_ok(world_wait(w));
        assert_int_equal(w->exit_code, 4);
    }
    assert_ok(world_remove(w, "talk_alone"));

    struct runtime_spec *spec = world_shell(w, NULL, "reader", "read a; echo heard $a");
    spec->stdin_open = true;
    assert_ok(world_create(w, spec));
    assert_ok(world_start(w, "reader_alone"));
    w->runtime->ops->attach(w->runtime, "reader_alone", true, on_attached, w);
    assert_ok(world_wait(w));
    auto_free char *heard = converse(w, "this\n");
    assert_memory_equal(heard, "\1\0\0\0\0\0\0\13heard this\n", 19);
    assert_int_equal(w->events[world_event(w, RUNTIME_DIED, "reader_alone")].exit_code, 0);
    assert_ok(world_remove(w, "reader_alone"));
}

/* ---- images ---- */

static enum err_code image(struct world *w, const char *reference, enum runtime_pull policy)
{
    world_forget(w);
    w->runtime->ops->image(w->runtime, reference, policy, NULL, world_on_image, w);
    return world_wait(w);
}

static void test_images(void **state)
{
    struct world *w = *state;
    assert_ok(image(w, WORLD_IMAGE, RUNTIME_PULL_IF_NOT_PRESENT));
    auto_free char *id = mem_strdup(w->text);
    assert_int_equal(strlen(id), 64);
    assert_ok(image(w, WORLD_IMAGE, RUNTIME_PULL_NEVER));
    assert_string_equal(w->text, id);
    assert_ok(image(w, WORLD_IMAGE, RUNTIME_PULL_ALWAYS)); /* localhost/ has no registry */
    assert_int_equal(image(w, "localhost/none:1", RUNTIME_PULL_NEVER), ERR_NOT_FOUND);
    assert_string_equal(err_message(w->error),
                        "container image \"localhost/none:1\" is not present with pull policy of Never");
    assert_int_equal(image(w, "UPPER/case:1", RUNTIME_PULL_IF_NOT_PRESENT), ERR_INVALID);
    assert_int_equal(image(w, "a b", RUNTIME_PULL_IF_NOT_PRESENT), ERR_INVALID);
    assert_int_equal(image(w, "", RUNTIME_PULL_IF_NOT_PRESENT), ERR_INVALID);
    world_forget(w);
    w->runtime->ops->images(w->runtime, world_on_json, w);
    assert_ok(world_wait(w));
    assert_string_equal(json_string(w->json, "[0].names[0]"), WORLD_IMAGE);
    assert_true(json_int(w->json, "[0].sizeBytes", 0) > 100000);
}

static void test_shared_images(void **state)
{
    struct world *w = *state;
    auto_free char *folder = file_join(w->base, "archives"), *archive = file_join(folder, "one.tar");
    auto_free char *shared = file_join(w->base, "shared");
    assert_int_equal(file_make_dirs(folder, 0755, NULL), 0);
    world_run("%s/podman save -q -o %s " WORLD_IMAGE, w->directory, archive);
    auto_free char *directory = file_join(w->base, "n2"), *storage = file_join(w->base, "s2");
    struct world second = {
        .base = w->base, .cluster = w->cluster, .directory = directory, .storage = storage};
    second.options = w->options;
    second.options.directory = directory;
    second.options.storage = storage;
    second.options.node = "n2";
    second.options.shared_images = shared;
    auto_err error = NULL;
    world_open(&second); /* before the folder is filled: images appear without a restart */
    assert_int_equal(image(&second, WORLD_IMAGE, RUNTIME_PULL_NEVER), ERR_NOT_FOUND);
    double t0 = world_ms();
    if (runtime_podman_load(&second.options, folder, &error) < 0)
        fail_msg("%s", err_message(error));
    print_message("load into the shared folder %.1f ms\n", world_ms() - t0);
    if (image(&second, WORLD_IMAGE, RUNTIME_PULL_NEVER) != ERR_NONE)
        fail_msg("%s", err_message(second.error));
    struct runtime_spec *spec = world_shell(&second, NULL, "shared", "echo here; exec sleep 1000");
    if (world_create(&second, spec) != ERR_NONE || world_start(&second, "shared_alone") != ERR_NONE)
        fail_msg("%s", err_message(second.error));
    auto_free char *log = world_log(&second, "shared_alone", " F here\n");
    assert_int_equal(world_remove(&second, "shared_alone"), ERR_NONE);
    world_close(&second);
    if (runtime_podman_shutdown(&second.options, true, &error) < 0)
        fail_msg("%s", err_message(error));
    assert_int_equal(runtime_podman_load(&w->options, "/no/such/archive", &error), -1);
    assert_int_equal(err_code(error), ERR_NOT_FOUND);
}

/* ---- failures ---- */

static void kill_service(void *arg)
{
    const struct world *w = arg;
    auto_free char *pid_file = file_join(w->directory, "podman.pid");
    helper_terminate(pid_file, 0, NULL);
}

static void test_service_killed(void **state)
{
    struct world *w = *state;
    assert_ok(world_create(w, world_sandbox(w, "f1")));
    assert_ok(world_start(w, "sandbox_f1"));
    assert_ok(world_create(w, world_shell(w, "f1", "app", "exec sleep 1000")));
    assert_ok(world_start(w, "app_f1"));
    int pid = w->container->pid;
    auto_free char *pid_file = file_join(w->directory, "podman.pid");
    double t0 = world_ms();
    assert_int_equal(helper_terminate(pid_file, 0, NULL), 0); /* SIGKILL */
    world_event(w, RUNTIME_RESYNC, NULL);
    print_message("service back after %.1f ms\n", world_ms() - t0);
    assert_ok(world_inspect(w, "app_f1"));
    assert_int_equal(w->container->pid, pid);
    assert_int_equal(world_count_events(w, RUNTIME_DIED, "app_f1"), 0);
    /* a program in a container has not failed, nor taken too long, when the service is killed meanwhile */
    struct loop_timer *soon = loop_timer_new(w->loop, kill_service, w);
    loop_timer_start(soon, 500);
    assert_int_equal(world_exec(w, "app_f1", "sleep 4", 20000), ERR_UNAVAILABLE);
    loop_timer_free(soon);
    /* an end that happens while the service is away is told all the same */
    assert_int_equal(helper_terminate(pid_file, 0, NULL), 0);
    kill(pid, SIGKILL);
    assert_int_equal(w->events[world_event(w, RUNTIME_DIED, "app_f1")].exit_code, 137);
    assert_ok(world_remove(w, "app_f1"));
    assert_ok(world_remove(w, "sandbox_f1"));
}

static void test_agent_restart(void **state)
{
    struct world *w = *state;
    assert_ok(world_create(w, world_shell(w, NULL, "stays", "exec sleep 1000")));
    assert_ok(world_start(w, "stays_alone"));
    int pid = w->container->pid;
    world_close(w);
    world_open(w);
    assert_ok(world_list(w));
    assert_int_equal(w->n_list, 1);
    assert_int_equal(w->list[0]->pid, pid);
    assert_int_equal(w->list[0]->state, RUNTIME_RUNNING);
    /* known from the list alone, its end is seen */
    kill(pid, SIGKILL);
    assert_int_equal(w->events[world_event(w, RUNTIME_DIED, "stays_alone")].exit_code, 137);
    assert_ok(world_remove(w, "stays_alone"));
}

static void test_removed_behind_our_back(void **state)
{
    struct world *w = *state;
    assert_ok(world_create(w, world_shell(w, NULL, "victim", "exec sleep 1000")));
    assert_ok(world_start(w, "victim_alone"));
    world_run("%s/podman rm -f -t 0 %s >/dev/null", w->directory, "victim_alone");
    assert_int_equal(w->events[world_event(w, RUNTIME_DIED, "victim_alone")].exit_code, 137);
    assert_int_equal(world_inspect(w, "victim_alone"), ERR_NOT_FOUND);
}

struct pending {
    enum err_code code;
    unsigned calls;
};

static void on_pending(void *arg, struct runtime_container *container, struct err *err)
{
    struct pending *p = arg;
    p->calls++;
    p->code = err_code(err);
    runtime_container_free(container);
}

static void test_close_answers_all(void **state)
{
    struct world *w = *state;
    struct pending pending[20] = {0};
    for (size_t i = 0; i < COUNT_OF(pending); i++)
        w->runtime->ops->start(w->runtime, "nobody", on_pending, &pending[i]);
    w->runtime->ops->free(steal(&w->runtime));
    for (size_t i = 0; i < COUNT_OF(pending); i++) {
        assert_int_equal(pending[i].calls, 1);
        assert_int_equal(pending[i].code, ERR_CANCELLED);
    }
    world_close(w);
    world_open(w);
}

static void test_stats(void **state)
{
    struct world *w = *state;
    assert_ok(world_create(w, world_shell(w, NULL, "busy",
                                          "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo end; "
                                          "exec sleep 1000")));
    assert_ok(world_start(w, "busy_alone"));
    auto_free char *log = world_log(w, "busy_alone", " F end\n");
    world_forget(w);
    w->runtime->ops->stats(w->runtime, world_on_json, w);
    assert_ok(world_wait(w));
    assert_int_equal(cJSON_GetArraySize(w->json), 2);
    assert_string_equal(json_string(w->json, "[0].name"), "busy_alone");
    assert_true(json_int(w->json, "[0].cpuNano", 0) > 1000000);
    assert_in_range(json_int(w->json, "[0].memoryBytes", 0), 4096, 64 << 20);
    assert_string_equal(json_string(w->json, "[1].name"), ""); /* all together */
    assert_true(json_int(w->json, "[1].cpuNano", 0) >= json_int(w->json, "[0].cpuNano", 0));
    assert_true(json_int(w->json, "[1].memoryBytes", 0) >= 4096);
    assert_ok(world_remove(w, "busy_alone"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_spec_in_force, world_between),
        cmocka_unit_test_teardown(test_specs_that_cannot_work, world_between),
        cmocka_unit_test_teardown(test_exec, world_between),
        cmocka_unit_test_teardown(test_streams, world_between),
        cmocka_unit_test_teardown(test_images, world_between),
        cmocka_unit_test_teardown(test_shared_images, world_between),
        cmocka_unit_test_teardown(test_service_killed, world_between),
        cmocka_unit_test_teardown(test_agent_restart, world_between),
        cmocka_unit_test_teardown(test_removed_behind_our_back, world_between),
        cmocka_unit_test_teardown(test_close_answers_all, world_between),
        cmocka_unit_test_teardown(test_stats, world_between),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
