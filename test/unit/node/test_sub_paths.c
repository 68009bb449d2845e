/* Parts of volumes (subPath) as mounts of the agent's own, in a mount namespace of this program's: where they
 * lead, what is refused, when they go. */
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "harness.h"
#include "node/node_internal.h"

static bool may_mount;

/* A world with DIRECTORY/host (the volume) and DIRECTORY/outside. */
static int world_make(void **state)
{
    struct world *w = NEW(struct world);
    world_begin(w, 31);
    for (int i = 0; i < 2; i++) {
        auto_free char *path = file_join(w->directory, i ? "outside" : "host");
        mkdir(path, 0755);
    }
    *state = w;
    return 0;
}

static int world_drop(void **state)
{
    world_end(*state);
    free(*state);
    return 0;
}

static char *in(const struct world *w, const char *path)
{
    return file_join(w->directory, path);
}

static bool there(const struct world *w, const char *path)
{
    auto_free char *full = in(w, path);
    return file_exists(full);
}

static void put_file(const struct world *w, const char *path)
{
    auto_free char *full = in(w, path);
    assert_int_equal(file_write_atomic(full, "x", 1, 0644, NULL), 0);
}

static void link_to(const struct world *w, const char *target, const char *path)
{
    auto_free char *full = in(w, path), *to = *target == '/' ? mem_strdup(target) : in(w, target);
    assert_int_equal(symlink(to, full), 0);
}

/* A pod "p" whose container "c" has part `sub` of the hostPath `root` at /v, and ends soon or never. */
static void put_sub_pod(struct world *w, const char *root, const char *sub, bool ends)
{
    auto_free char *spec = mem_printf(
        "{\"volumes\":[{\"name\":\"v\",\"hostPath\":{\"path\":\"%s\"}}],\"restartPolicy\":\"%s\","
        "\"containers\":"
        "[{\"name\":\"c\",\"image\":\"app:1\",\"command\":%s,\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":"
        "\"/v\",\"subPath\":\"%s\"}]}]}",
        root, ends ? "Never" : "Always", ends ? "[\"exit\",\"0\",\"100\"]" : "[\"run\"]", sub);
    put_pod(w, "p", spec);
    run_ms(w, 3000);
}

/* Where the container's /v comes from, and below; NULL: it does not run. */
static char *source_of(struct world *w, const char *below)
{
    const struct runtime_container *c = fake_machine_find(w->machine, "p", "c");
    if (!c || c->state != RUNTIME_RUNNING)
        return NULL;
    const struct runtime_mount *mount = &fake_machine_spec(w->machine, c->name)->mounts[0];
    assert_string_equal(mount->destination, "/v");
    assert_null(mount->sub_path);
    return file_join(mount->source, below);
}

static bool has(struct world *w, const char *below)
{
    auto_free char *path = source_of(w, below);
    return path && file_exists(path);
}

static void a_part_is_mounted_while_it_runs(void **state)
{
    struct world *w = *state;
    if (!may_mount)
        skip();
    put_file(w, "host/top");
    auto_free char *root = in(w, "host");
    put_sub_pod(w, root, "made/deep", false);
    put_file(w, "host/made/deep/file");
    assert_true(has(w, "file"));
    auto_free char *point = source_of(w, "");
    point[strlen(point) - 1] = 0;
    assert_true(file_is_mounted(point));
    auto_free char *pods = in(w, "volumes/uid-p");
    assert_int_equal(file_remove_tree(pods, NULL), -1); /* what is mounted is not deleted through */
    assert_true(there(w, "host/made/deep/file"));

    kill_agent(w);
    start_agent(w);
    run_ms(w, 3000);
    assert_true(has(w, "file")); /* it runs on with it */
    const char *name = fake_machine_find(w->machine, "p", "c")->name;
    assert_true(fake_machine_kill(w->machine, name, 1, false));
    run_ms(w, 5000);
    assert_true(has(w, "file")); /* the next attempt; */
    assert_false(file_is_mounted(point));
    assert_false(there(w, "volumes/uid-p/sub/c-0"));

    delete_pod(w, "p", 0);
    run_ms(w, 5000);
    assert_false(there(w, "volumes/uid-p"));
    assert_true(there(w, "host/made/deep/file"));
}

static void an_end_undoes_it(void **state)
{
    struct world *w = *state;
    if (!may_mount)
        skip();
    auto_free char *root = in(w, "host");
    put_sub_pod(w, root, "part", true);
    assert_string_equal(phase(w, "p"), "Succeeded");
    assert_false(there(w, "volumes/uid-p/sub/c-0"));
    assert_true(there(w, "host/part"));
}

static void any_root_and_a_file(void **state)
{
    struct world *w = *state;
    if (!may_mount)
        skip();
    put_file(w, "host/file");
    auto_free char *sub = in(w, "host/file"), *file = NULL;
    put_sub_pod(w, "/", sub + 1, false); /* "//" was once the mark between root and part */
    assert_non_null(file = source_of(w, ""));
    file[strlen(file) - 1] = 0;
    auto_free char *text = NULL;
    assert_int_equal(file_read(file, 10, &text, NULL, NULL), 0);
    assert_string_equal(text, "x");
    delete_pod(w, "p", 0);
    run_ms(w, 5000);
    assert_false(there(w, "volumes/uid-p"));
    assert_true(there(w, "host/file"));

    auto_free char *doubled = mem_printf("%s//host", w->directory);
    put_sub_pod(w, doubled, "", false); /* no part of anything */
    auto_free char *whole = source_of(w, "");
    assert_non_null(whole);
    assert_false(there(w, "volumes/uid-p/sub"));
}

static void a_link_that_leads_out_is_refused(void **state)
{
    struct world *w = *state;
    link_to(w, "outside", "host/x");
    auto_free char *root = in(w, "host"), *outside = in(w, "outside");
    struct stat before, after;
    assert_int_equal(stat(outside, &before), 0);
    put_sub_pod(w, root, "x/new/deep", false);
    assert_string_equal(waiting(w, "p"), "CreateContainerError");
    assert_string_equal(
        json_string_or(pod_of(w, "p"), "status.containerStatuses[0].state.waiting.message", ""),
        "subPath \"x/new/deep\" leads out of the volume");
    assert_false(there(w, "outside/new"));
    assert_int_equal(stat(outside, &after), 0);
    assert_int_equal(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec);
    delete_pod(w, "p", 0);
    run_ms(w, 5000);
    assert_false(there(w, "volumes/uid-p"));
}

/* Every agent dies somewhere: what it left is found by the next. */
static void what_was_left_goes(void **state)
{
    struct world *w = *state;
    if (!may_mount)
        skip();
    auto_free char *root = in(w, "host"), *directory = in(w, "volumes/uid-p");
    struct runtime_spec *spec = NEW(struct runtime_spec);
    spec->mounts = mem_array(1, sizeof(*spec->mounts));
    spec->n_mounts = 1;
    spec->mounts[0] = (struct runtime_mount){.source = mem_strdup(root), .sub_path = mem_strdup("part")};
    assert_int_equal(pod_sub_paths_mount(spec, directory, "c", 7, NULL), 0);
    put_file(w, "host/part/file");
    auto_free char *lost = in(w, "volumes/uid-p/sub/c-9/0"); /* the machine was off: its mount is no more */
    assert_int_equal(file_make_dirs(lost, 0700, NULL), 0);
    assert_int_equal(pod_sub_paths_clear_left(directory, NULL), 0);
    assert_false(there(w, "volumes/uid-p/sub/c-9"));
    assert_true(there(w, "volumes/uid-p/sub/c-7/0/file"));
    runtime_spec_free(spec);

    put_sub_pod(w, root, "part", false);
    assert_true(has(w, "file"));
    assert_false(there(w, "volumes/uid-p/sub/c-7"));
    delete_pod(w, "p", 0);
    run_ms(w, 5000);
    assert_false(there(w, "volumes/uid-p"));
    assert_true(there(w, "host/part/file"));
}

/* Shared mounts: what is mounted in the volume shows in the part, and stays when the part goes. */
static void mounts_below_stay(void **state)
{
    struct world *w = *state;
    if (!may_mount)
        skip();
    auto_free char *root = in(w, "host"), *below = in(w, "host/part/below"), *late = in(w, "host/part/late");
    assert_int_equal(mount("none", root, "tmpfs", 0, NULL), 0);
    assert_int_equal(mount(NULL, root, NULL, MS_SHARED, NULL), 0);
    assert_int_equal(file_make_dirs(below, 0755, NULL), 0);
    assert_int_equal(file_make_dirs(late, 0755, NULL), 0);
    assert_int_equal(mount("none", below, "tmpfs", 0, NULL), 0);
    put_file(w, "host/part/below/file");
    for (int both = 0; both < 2; both++) {
        struct runtime_spec *spec = NEW(struct runtime_spec);
        spec->mounts = mem_array(1, sizeof(*spec->mounts));
        spec->n_mounts = 1;
        spec->mounts[0] = (struct runtime_mount){.source = mem_strdup(root), .sub_path = mem_strdup("part")};
        spec->mounts[0].propagation = both ? RUNTIME_PROPAGATE_BOTH : RUNTIME_PROPAGATE_NONE;
        auto_free char *directory = in(w, "volumes/uid-q");
        assert_int_equal(pod_sub_paths_mount(spec, directory, "c", 0, NULL), 0);
        auto_free char *seen = file_join(spec->mounts[0].source, "below/file"),
                       *here = file_join(spec->mounts[0].source, "late");
        assert_true(file_exists(seen));
        const char *at = both ? here : late; /* a Bidirectional part gives back, others only follow */
        assert_int_equal(mount("none", at, "tmpfs", 0, NULL), 0);
        assert_true(file_is_mounted(late) && file_is_mounted(here));
        assert_int_equal(pod_sub_paths_unmount_all(directory, NULL), 0);
        assert_false(file_is_mounted(here));
        assert_true(file_is_mounted(late) && there(w, "host/part/below/file"));
        umount2(late, MNT_DETACH);
        runtime_spec_free(spec);
        assert_int_equal(file_remove_tree(directory, NULL), 0);
    }
    assert_int_equal(umount2(root, MNT_DETACH), 0);
}

int main(void)
{
    json_init();
    may_mount = unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, world_make, world_drop)
    const struct CMUnitTest tests[] = {WORLD_TEST(a_part_is_mounted_while_it_runs),
                                       WORLD_TEST(an_end_undoes_it),
                                       WORLD_TEST(any_root_and_a_file),
                                       WORLD_TEST(a_link_that_leads_out_is_refused),
                                       WORLD_TEST(what_was_left_goes),
                                       WORLD_TEST(mounts_below_stay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
