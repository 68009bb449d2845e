/* Files: replacement, trees with links, mounts and great depth; helper programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

static int make_directory(void **state)
{
    char path[] = "/tmp/m8-test-file-XXXXXX";
    *state = mem_strdup(mkdtemp(path));
    return *state ? 0 : -1;
}

static int remove_directory(void **state)
{
    auto_free char *path = *state;
    return file_remove_tree(path, NULL);
}

static void files_are_replaced_whole(void **state)
{
    auto_free char *path = file_join(*state, "f"), *text = NULL;
    size_t len;
    auto_err error = NULL;
    assert_int_equal(file_read(path, 100, &text, &len, &error), -1);
    assert_int_equal(err_code(error), ERR_NOT_FOUND);
    assert_int_equal(file_write_durable(path, "one\0two", 7, 0640, NULL), 0);
    assert_int_equal(file_read(path, 7, &text, &len, NULL), 0);
    assert_int_equal(len, 7);
    assert_memory_equal(text, "one\0two", 8);
    struct stat info;
    stat(path, &info);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(file_write_atomic(path, "", 0, 0600, NULL), 0);
    auto_free char *empty = NULL;
    assert_int_equal(file_read(path, 0, &empty, &len, NULL), 0);
    assert_int_equal(len, 0);
    size_t count;
    auto_free char **names = file_list(*state, &count, NULL);
    assert_int_equal(count, 1); /* no temporary file is left */
    auto_free char *nowhere = file_join(*state, "absent/f");
    assert_int_equal(file_write_durable(nowhere, "x", 1, 0600, NULL), -1);
}

static void reading_is_bounded(void **state)
{
    auto_free char *path = file_join(*state, "large"), *data = mem_alloc(300000), *text = NULL;
    assert_int_equal(file_write_atomic(path, data, 300000, 0600, NULL), 0);
    auto_err error = NULL;
    assert_int_equal(file_read(path, 299999, &text, NULL, &error), -1);
    assert_int_equal(err_code(error), ERR_TOO_LARGE);
    assert_null(text);
    auto_err directory = NULL;
    assert_int_equal(file_read(*state, 100, &text, NULL, &directory), -1);
    assert_int_equal(file_read("/proc/self/status", 1 << 20, &text, NULL, NULL), 0); /* says size 0 */
    assert_true(str_starts(text, "Name:"));
}

static void directories(void **state)
{
    auto_free char *path = file_join(*state, "a/b//c/"), *file = file_join(*state, "file"),
                   *below = file_join(file, "x");
    assert_int_equal(file_make_dirs(path, 0755, NULL), 0);
    assert_int_equal(file_make_dirs(path, 0755, NULL), 0);
    assert_true(file_exists(path));
    assert_int_equal(file_write_atomic(file, "", 0, 0600, NULL), 0);
    assert_int_equal(file_make_dirs(below, 0755, NULL), -1);
    size_t count;
    auto_free char **names = file_list(*state, &count, NULL);
    assert_int_equal(count, 2);
    assert_string_equal(names[0], "a");
    assert_string_equal(names[1], "file");
    assert_null(names[2]);
    auto_err error = NULL;
    assert_null(file_list(below, &count, &error));
    assert_non_null(error);
}

static void trees_go_but_links_are_not_followed(void **state)
{
    auto_free char *tree = file_join(*state, "tree"), *inner = file_join(tree, "d/e"),
                   *link = file_join(inner, "l"), *kept = file_join(*state, "kept"),
                   *top_link = file_join(*state, "top");
    auto_free char *kept_file = file_join(kept, "f");
    assert_int_equal(file_make_dirs(inner, 0755, NULL), 0);
    assert_int_equal(file_make_dirs(kept, 0755, NULL), 0);
    assert_int_equal(file_write_atomic(kept_file, "x", 1, 0600, NULL), 0);
    assert_int_equal(symlink(kept, link), 0);
    assert_int_equal(symlink(kept, top_link), 0);
    assert_int_equal(file_remove_tree(tree, NULL), 0);
    assert_int_equal(file_remove_tree(top_link, NULL), 0);
    assert_false(file_exists(tree));
    assert_false(file_exists(top_link));
    assert_true(file_exists(kept_file));
    assert_int_equal(file_remove_tree(tree, NULL), 0); /* absent is fine */
}

static void deep_trees_need_few_descriptors(void **state)
{
    auto_free char *tree = file_join(*state, "deep");
    assert_int_equal(mkdir(tree, 0755), 0);
    int fd = open(tree, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(mkdirat(fd, "dddddddd", 0755), 0);
        int below = openat(fd, "dddddddd", O_RDONLY | O_DIRECTORY);
        close(openat(fd, "file", O_CREAT | O_WRONLY, 0600));
        close(fd);
        fd = below;
    }
    close(fd);
    auto_err error = NULL;
    if (file_remove_tree(tree, &error) < 0)
        fail_msg("%s", err_message(error));
    assert_false(file_exists(tree));
}

static void mounts_are_not_crossed(void **state)
{
    auto_free char *tree = file_join(*state, "m"), *point = file_join(tree, "point"),
                   *file = file_join(point, "f");
    assert_int_equal(file_make_dirs(point, 0755, NULL), 0);
    pid_t pid = fork();
    if (pid == 0) { /* the mount lives in this child's namespace only */
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("none", point, "tmpfs", 0, NULL) < 0)
            _exit(77);
        bool good = file_write_atomic(file, "x", 1, 0600, NULL) == 0 && file_remove_tree(tree, NULL) < 0 &&
                    file_remove_tree(point, NULL) < 0 && file_exists(file);
        _exit(good ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    if (WEXITSTATUS(status) == 77)
        skip(); /* not root */
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void programs_are_started(void **state)
{
    auto_free char *log = file_join(*state, "log");
    assert_int_equal(mkfifo(log, 0600), 0); /* so that the program's lines are events */
    auto_fd reader = open(log, O_RDWR | O_CLOEXEC);
    const char *argv[] = {"sh", "-c", "echo $X; echo err >&2; cat; ls /proc/self/fd | wc -l; exec sleep 60",
                          NULL};
    const char *environment[] = {"X=y", "PATH=/usr/bin:/bin", NULL};
    signal(SIGPIPE, SIG_IGN);
    auto_err error = NULL;
    pid_t pid = file_spawn(argv, environment, log, &error);
    if (pid < 0)
        fail_msg("%s", err_message(error));
    unsigned long long start = file_process_start_time(pid);
    assert_true(start > 0);
    assert_int_equal(getsid(pid), pid);
    char text[64] = "";
    for (size_t n = 0; n < strlen("y\nerr\n4\n");)
        n += (size_t)read(reader, text + n, sizeof(text) - 1 - n);
    assert_string_equal(text, "y\nerr\n4\n"); /* 0, 1, 2 and ls's own */
    assert_true(file_process_start_time(pid) == start);
    kill(pid, SIGKILL);
    siginfo_t info;
    waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    assert_true(file_process_start_time(pid) == 0); /* a zombie is gone */
    waitpid(pid, NULL, 0);
    assert_true(file_process_start_time(pid) == 0);
    const char *absent[] = {"/nonexistent/program", NULL};
    assert_int_equal(file_spawn(absent, NULL, NULL, &error), -1);
    assert_int_equal(err_code(error), ERR_NOT_FOUND);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

int main(void)
{
#define FILE_TEST(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        FILE_TEST(files_are_replaced_whole),
        FILE_TEST(reading_is_bounded),
        FILE_TEST(directories),
        FILE_TEST(trees_go_but_links_are_not_followed),
        FILE_TEST(deep_trees_need_few_descriptors),
        FILE_TEST(mounts_are_not_crossed),
        FILE_TEST(programs_are_started),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
