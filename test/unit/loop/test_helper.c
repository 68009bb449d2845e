/*
 * helper: the program outlives its starter, is adopted by the next one, comes back when it is killed, is
 * replaced when its command changes; a stale pid file never costs a foreign process its life.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "loop/holder.h"

struct world {
    struct loop *loop;
    char directory[64];
    char *pid_file, *log;
    int starts, adoptions, exits, wanted_starts;
    pid_t pid;
};

static void on_start(void *arg, pid_t pid, bool adopted)
{
    struct world *w = arg;
    w->pid = pid;
    w->adoptions += adopted;
    if (++w->starts == w->wanted_starts)
        loop_stop(w->loop);
}

static void on_exit_(void *arg)
{
    ((struct world *)arg)->exits++;
}

static void on_late(void *arg)
{
    (void)arg;
    fail_msg("nothing happened in time");
}

static struct helper *make(struct world *w, const char *seconds, struct err **err)
{
    const char *argv[] = {"sleep", seconds, NULL};
    struct helper_options options = {.name = "sleeper",
                                     .argv = argv,
                                     .pid_file = w->pid_file,
                                     .log_path = w->log,
                                     .loop = w->loop,
                                     .on_start = on_start,
                                     .on_exit = on_exit_,
                                     .arg = w};
    return helper_new(&options, err);
}

static int setup(void **state)
{
    struct world *w = NEW(struct world);
    strcpy(w->directory, "/tmp/m8-helper-XXXXXX");
    must(mkdtemp(w->directory));
    w->pid_file = file_join(w->directory, "pid");
    w->log = file_join(w->directory, "log");
    w->loop = loop_new(NULL);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    helper_terminate(w->pid_file, 1000, NULL);
    loop_free(w->loop);
    file_remove_tree(w->directory, NULL);
    free(w->pid_file);
    free(w->log);
    free(w);
    return 0;
}

static void test_adopted_by_the_next(void **state)
{
    struct world *w = *state;
    struct helper *first = make(w, "1000", NULL);
    assert_non_null(first);
    pid_t pid = helper_pid(first);
    helper_free(first);
    assert_int_equal(kill(pid, 0), 0);
    struct helper *second = make(w, "1000", NULL);
    assert_int_equal(helper_pid(second), pid);
    assert_int_equal(w->adoptions, 1);
    helper_free(second);
    assert_int_equal(helper_terminate(w->pid_file, 1000, NULL), 0);
    assert_int_equal(file_process_start_time(pid), 0);
    assert_false(file_exists(w->pid_file));
    assert_int_equal(helper_terminate(w->pid_file, 1000, NULL), 0); /* nothing there: fine */
}

static void test_comes_back_after_sigkill(void **state)
{
    struct world *w = *state;
    w->wanted_starts = 2;
    struct helper *h = make(w, "1000", NULL);
    pid_t first = helper_pid(h);
    struct loop_timer *late = loop_timer_new(w->loop, on_late, NULL);
    loop_timer_start(late, 5000);
    assert_int_equal(helper_signal(h, SIGKILL, NULL), 0);
    loop_run(w->loop);
    assert_int_equal(w->exits, 1);
    assert_int_not_equal(helper_pid(h), first);
    assert_int_not_equal(file_process_start_time(helper_pid(h)), 0);
    loop_timer_free(late);
    helper_free(h);
}

/* What the program has as 3 and 4, also when it is started again; nothing else reaches it. */
static void test_descriptors_are_passed(void **state)
{
    struct world *w = *state;
    int first[2], second[2];
    assert_int_equal(pipe(first) | pipe(second), 0);
    const char *argv[] = {"sh", "-c", "echo three >&3; echo four >&4; (echo five >&5) 2>&-; exec sleep 1000",
                          NULL};
    const int fds[] = {second[1], first[1]}; /* in an order that would overwrite one with the other */
    const struct helper_options options = {.name = "writer",
                                           .argv = argv,
                                           .pid_file = w->pid_file,
                                           .log_path = w->log,
                                           .fds = fds,
                                           .n_fds = 2,
                                           .loop = w->loop,
                                           .on_start = on_start,
                                           .on_exit = on_exit_,
                                           .arg = w};
    struct helper *h = helper_new(&options, NULL);
    assert_non_null(h);
    for (int round = 0; round < 2; round++) {
        char text[16] = {0};
        assert_int_equal(read(second[0], text, sizeof(text)), 6);
        assert_string_equal(text, "three\n");
        assert_int_equal(read(first[0], text, sizeof(text)), 5);
        w->wanted_starts = w->starts + 1;
        if (round == 0)
            assert_int_equal(helper_signal(h, SIGKILL, NULL), 0), loop_run(w->loop);
    }
    helper_free(h);
    for (int i = 0; i < 2; i++)
        close(first[i]), close(second[i]);
}

/* It is known before it can do anything: one killed between the two would leave a program that nobody finds.
 */
static void test_known_before_it_runs(void **state)
{
    struct world *w = *state;
    auto_free char *seen = mem_printf("%s/seen", w->directory);
    auto_free char *script = mem_printf("cat %s >%s", w->pid_file, seen);
    const char *const argv[] = {"sh", "-c", script, NULL}, *const absent[] = {"/no/such/program", NULL};
    const struct file_program program = {
        .argv = argv, .log_path = w->log, .pid_file = w->pid_file, .tag = 0xabcdef};
    for (int i = 0; i < 20; i++) {
        auto_free char *text = NULL;
        int own = 0;
        unsigned long long start = 0, tag = 0;
        pid_t pid = file_spawn_program(&program, NULL);
        unsigned long long expected = file_process_start_time(pid); /* 0: it has ended already */
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(file_read(seen, 256, &text, NULL, NULL), 0);
        assert_int_equal(sscanf(text, "%d %llu %llx", &own, &start, &tag), 3);
        assert_int_equal(own, pid);
        assert_true(start && (start == expected || !expected));
        assert_true(tag == program.tag);
        unlink(seen);
    }
    const struct file_program none = {.argv = absent, .log_path = w->log, .pid_file = w->pid_file};
    assert_int_equal(file_spawn_program(&none, NULL), -1);
    assert_false(file_exists(w->pid_file));
}

static void test_changed_command_replaces(void **state)
{
    struct world *w = *state;
    struct helper *h = make(w, "1000", NULL);
    pid_t first = helper_pid(h);
    helper_free(h);
    h = make(w, "1001", NULL);
    assert_int_not_equal(helper_pid(h), first);
    assert_int_equal(file_process_start_time(first), 0);
    assert_int_equal(w->adoptions, 0);
    helper_free(h);
}

static void test_reused_pid_is_left_alone(void **state)
{
    struct world *w = *state;
    pid_t bystander = fork();
    if (bystander == 0) {
        execlp("sleep", "sleep", "1000", NULL);
        _exit(127);
    }
    char text[64];
    int n = snprintf(text, sizeof(text), "%d %llu 0\n", bystander, file_process_start_time(bystander) - 1);
    assert_int_equal(file_write_atomic(w->pid_file, text, (size_t)n, 0644, NULL), 0);
    assert_int_equal(helper_terminate(w->pid_file, 100, NULL), 0);
    struct helper *h = make(w, "1000", NULL);
    assert_non_null(h);
    assert_int_not_equal(file_process_start_time(bystander), 0);
    helper_free(h);
    kill(bystander, SIGKILL);
    waitpid(bystander, NULL, 0);
}

static void test_missing_program_is_an_error(void **state)
{
    struct world *w = *state;
    const char *argv[] = {"/no/such/program", NULL};
    struct helper_options options = {.name = "ghost", .argv = argv, .pid_file = w->pid_file, .loop = w->loop};
    auto_err error = NULL;
    assert_null(helper_new(&options, &error));
    assert_int_equal(err_code(error), ERR_NOT_FOUND);
    assert_non_null(strstr(err_message(error), "/no/such/program"));
}

/* A socket on any port of 127.0.0.1. */
static int listening(struct sockaddr_in *address)
{
    socklen_t len = sizeof(*address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    assert_int_equal(bind(fd, (struct sockaddr *)address, sizeof(*address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &len), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static int connected(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Who listened is gone: a connection waits, and the next one that takes the socket accepts it. */
static void test_sockets_are_held(void **state)
{
    struct world *w = *state;
    struct sockaddr_in address;
    int fd = listening(&address);
    const struct holder_options options = {.directory = w->directory,
                                           .name = "sockets",
                                           .what = "any port",
                                           .fds = &fd,
                                           .n_fds = 1,
                                           .loop = w->loop};
    assert_int_equal(holder_take(w->directory, "sockets", 0), -1);
    struct helper *holder = holder_new(&options, NULL);
    assert_non_null(holder);
    pid_t pid = helper_pid(holder);
    helper_free(holder);
    close(fd);
    int client = connected(&address);
    assert_true(client >= 0);
    fd = holder_take(w->directory, "sockets", 0);
    assert_true(fd >= 0);
    assert_int_equal(holder_take(w->directory, "sockets", 1), -1);
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    holder = holder_new(&options, NULL);
    assert_int_equal(helper_pid(holder), pid);
    helper_free(holder);
    close(fd), close(accepted), close(client);
    assert_int_equal(holder_shutdown(w->directory, "sockets", NULL), 0);
    assert_int_equal(connected(&address), -1);
    size_t count;
    auto_free char **left = file_list(w->directory, &count, NULL);
    assert_int_equal(count, 0);
    assert_int_equal(holder_take(w->directory, "sockets", 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_adopted_by_the_next, setup, teardown),
        cmocka_unit_test_setup_teardown(test_comes_back_after_sigkill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_descriptors_are_passed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sockets_are_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_known_before_it_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changed_command_replaces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reused_pid_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_program_is_an_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
