/* Paths in a folder that somebody else writes into: links planted before and meanwhile, parts that are made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/file_beneath.h"
#include "base/str.h"

/* base/volume (the root), base/outside (what must not be touched) */
struct place {
    char base[64];
    char *volume, *outside;
    int root;
};

static int make_place(void **state)
{
    struct place *p = NEW(struct place);
    snprintf(p->base, sizeof(p->base), "/tmp/m8-test-beneath-XXXXXX");
    if (!mkdtemp(p->base))
        return -1;
    p->volume = file_join(p->base, "volume");
    p->outside = file_join(p->base, "outside");
    mkdir(p->volume, 0700);
    mkdir(p->outside, 0755);
    p->root = open(p->volume, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *state = p;
    return p->root < 0 ? -1 : 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    close(p->root);
    int result = file_remove_tree(p->base, NULL);
    free(p->volume);
    free(p->outside);
    free(p);
    return result;
}

/* Where the descriptor is; "": none. */
static void place_of(int fd, char text[4096])
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, text, 4095);
    text[len < 0 ? 0 : len] = 0;
}

static enum err_code make(struct place *p, const char *path, const char *expected)
{
    auto_err err = NULL;
    auto_fd fd = file_make_beneath(p->root, path, &err);
    if (fd >= 0 && expected) {
        char is[4096];
        place_of(fd, is);
        auto_free char *full = file_join(p->volume, expected);
        assert_string_equal(is, full);
    }
    return fd < 0 ? err_code(err) : ERR_NONE;
}

static void plant(struct place *p, const char *target, const char *name)
{
    auto_free char *path = file_join(p->volume, name);
    assert_int_equal(symlink(target, path), 0);
}

static bool untouched(struct place *p)
{
    size_t count = 1;
    auto_free char **names = file_list(p->outside, &count, NULL);
    struct stat st;
    return names && count == 0 && stat(p->outside, &st) == 0 && (st.st_mode & 07777) == 0755;
}

static void parts_are_made_with_the_roots_rights(void **state)
{
    struct place *p = *state;
    struct stat st;
    assert_int_equal(chmod(p->volume, 02773), 0);
    umask(077);
    assert_int_equal(make(p, "a//./b/c/", "a/b/c"), ERR_NONE);
    umask(022);
    assert_int_equal(make(p, "a/b", "a/b"), ERR_NONE);
    for (int i = 0; i < 3; i++) {
        auto_free char *path = file_join(p->volume, ((const char *[]){"a", "a/b", "a/b/c"})[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 02773);
    }
    auto_free char *file = file_join(p->volume, "a/file");
    assert_int_equal(file_write_atomic(file, "", 0, 0600, NULL), 0);
    assert_int_equal(make(p, "a/file", "a/file"), ERR_NONE);
    assert_int_not_equal(make(p, "a/file/below", NULL), ERR_NONE);
}

static void links_that_stay_inside_are_followed(void **state)
{
    struct place *p = *state;
    assert_int_equal(make(p, "..v1/deep", "..v1/deep"), ERR_NONE); /* as the files of a configMap lie */
    auto_free char *key = file_join(p->volume, "..v1/key");
    assert_int_equal(file_write_atomic(key, "x", 1, 0600, NULL), 0);
    plant(p, "..v1", "..data");
    plant(p, "..data/key", "key");
    plant(p, "../..v1", "..v1/deep/up");
    assert_int_equal(make(p, "key", "..v1/key"), ERR_NONE);
    plant(p, "deep", "..v1/same");
    assert_int_equal(make(p, "..data/same/new", "..v1/deep/new"), ERR_NONE);
}

static void links_that_lead_out_are_refused(void **state)
{
    struct place *p = *state;
    plant(p, p->outside, "x");
    plant(p, "../outside", "y");
    plant(p, "..", "z");
    plant(p, "nowhere", "dangling");
    plant(p, "/proc/self/root", "magic");
    plant(p, "loop", "loop");
    const char *const bad[] = {"x",        "x/new/deep", "y",     "y/new/deep", "z/outside/new",
                               "dangling", "magic/new",  "loop",  "../outside", "a/../../outside/new",
                               "/tmp",     "dangling/n", "x/../a"};
    assert_int_equal(make(p, "a", "a"), ERR_NONE);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (make(p, bad[i], NULL) != ERR_INVALID)
            fail_msg("%s: not refused", bad[i]);
    assert_true(untouched(p));
    auto_free char *nowhere = file_join(p->volume, "nowhere");
    assert_false(file_exists(nowhere));
}

/* ---- the race ---- */

struct swapper {
    int root;
    atomic_bool end;
    unsigned swaps;
};

static void *swap(void *arg)
{
    struct swapper *s = arg;
    while (!s->end)
        s->swaps += syscall(SYS_renameat2, s->root, "x", s->root, "link", 2 /* RENAME_EXCHANGE */) == 0;
    return NULL;
}

static void swapped_while_it_is_opened(void **state)
{
    struct place *p = *state;
    struct swapper swapper = {.root = open(p->volume, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    auto_free char *beneath = file_join(p->volume, "");
    unsigned opened = 0, refused = 0;
    pthread_t thread;
    assert_int_equal(make(p, "x", "x"), ERR_NONE);
    plant(p, p->outside, "link");
    assert_int_equal(pthread_create(&thread, NULL, swap, &swapper), 0);
    for (int i = 0; i < 10000; i++) {
        char path[64], is[4096];
        snprintf(path, sizeof(path), "x/new-%d/deep", i % 500);
        auto_err err = NULL;
        auto_fd fd = file_make_beneath(p->root, path, &err);
        opened += fd >= 0;
        refused += fd < 0;
        place_of(fd, is);
        if (fd >= 0 && !str_starts(is, beneath))
            fail_msg("opened %s", is);
    }
    swapper.end = true;
    pthread_join(thread, NULL);
    close(swapper.root);
    print_message("%u swaps, %u opened, %u refused\n", swapper.swaps, opened, refused);
    assert_true(swapper.swaps > 0 && opened > 0);
    assert_true(untouched(p));
}

/* ---- a kernel without openat2 ---- */

static bool forbid_openat2(void)
{
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
                                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {COUNT_OF(code), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 &&
           syscall(SYS_openat2, -1, "", NULL, 0) < 0 && errno == ENOSYS;
}

static void without_openat2_no_link_is_followed(void **state)
{
    struct place *p = *state;
    plant(p, p->outside, "x");
    assert_int_equal(make(p, "a/b", "a/b"), ERR_NONE);
    plant(p, "a", "inside");
    pid_t pid = fork();
    if (pid == 0) {
        if (!forbid_openat2())
            _exit(77);
        bool good = make(p, "x/new", NULL) == ERR_INVALID && make(p, "inside/b", NULL) == ERR_INVALID &&
                    make(p, "x", NULL) == ERR_INVALID && make(p, "a/b", "a/b") == ERR_NONE &&
                    make(p, "a/new/deep", "a/new/deep") == ERR_NONE;
        _exit(good ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
    assert_true(untouched(p));
}

int main(void)
{
#define PLACE_TEST(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)
    const struct CMUnitTest tests[] = {
        PLACE_TEST(parts_are_made_with_the_roots_rights), PLACE_TEST(links_that_stay_inside_are_followed),
        PLACE_TEST(links_that_lead_out_are_refused),      PLACE_TEST(swapped_while_it_is_opened),
        PLACE_TEST(without_openat2_no_link_is_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
