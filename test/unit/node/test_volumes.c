/* Volumes and files of pods: tokens, maps, limits, what hangs; and the pod's own file on the node's disk. */
#include <fcntl.h>
#include <sys/stat.h>

#include "harness.h"

#define ONE "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}]}"

/* What the pod refers to makes its file larger than any single object may be. */
static void test_large_pod_file(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 12);
    auto_free char *value = mem_alloc((1 << 20) + 1);
    memset(value, 'x', 1 << 20);
    auto_str spec = {0};
    str_add(&spec, "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}],\"volumes\":[");
    for (int i = 0; i < 9; i++) {
        auto_free char *map = mem_printf("{\"metadata\":{\"name\":\"m%d\",\"namespace\":\"default\",\"uid\":"
                                         "\"u%d\"},\"data\":{\"k\":\"%s\"}}",
                                         i, i, value);
        put_json(&w, "configmaps", map);
        str_addf(&spec, "%s{\"name\":\"v%d\",\"configMap\":{\"name\":\"m%d\"}}", i ? "," : "", i, i);
    }
    str_add(&spec, "]}");
    put_pod(&w, "p", str_c(&spec));
    run_ms(&w, 2000);
    assert_true(runs(&w, "p", "c"));
    http_local_client_cut(w.http, true);
    kill_agent(&w);
    start_agent(&w);
    fake_machine_reboot(w.machine);
    kill_agent(&w);
    start_agent(&w);
    run_ms(&w, 5000);
    assert_true(runs(&w, "p", "c"));
    world_end(&w);
}

/* Makes `depth` directories in one another below the volume of the pod, and a file of 2 MiB in the last. */
static void fill_deep(struct world *w, const char *pod, unsigned depth, const char *name)
{
    auto_free char *path = mem_printf("%s/volumes/uid-%s/v/v", w->directory, pod);
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < depth; i++) {
        assert_int_equal(mkdirat(fd, name, 0700), 0);
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(fd);
        fd = next;
    }
    int file = openat(fd, "file", O_WRONLY | O_CREAT, 0600);
    assert_int_equal(posix_fallocate(file, 0, 2 << 20), 0);
    close(file);
    close(fd);
}

/* A limit of a volume cannot be passed by hiding what is in it. */
static void test_deep_volumes(void **state UNUSED)
{
    static const char spec[] = "{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{\"sizeLimit\":\"1Mi\"}}],"
                               "\"containers\":[{\"name\":\"c\",\"image\":\"app:1\",\"volumeMounts\":[{"
                               "\"name\":\"v\",\"mountPath\":\"/v\"}]}]}";
    struct world w;
    world_begin(&w, 12);
    put_pod(&w, "long", spec);
    put_pod(&w, "deep", spec);
    put_pod(&w, "empty", spec);
    run_ms(&w, 2000);
    auto_free char *name = mem_alloc(201);
    memset(name, 'd', 200);
    fill_deep(&w, "long", 25, name); /* beyond PATH_MAX */
    fill_deep(&w, "deep", 1000, "d");
    run_ms(&w, 60000);
    assert_string_equal(phase(&w, "long"), "Failed");
    assert_string_equal(phase(&w, "deep"), "Failed");
    assert_string_equal(json_string_or(pod_of(&w, "deep"), "status.reason", ""), "Evicted");
    assert_string_equal(phase(&w, "empty"), "Running");
    world_end(&w);
}

static char *read_in_volume(struct world *w, const char *path)
{
    char *text = NULL;
    auto_free char *full = mem_printf("%s/volumes/uid-p/v/%s", w->directory, path);
    file_read(full, 4096, &text, NULL, NULL);
    return text;
}

static void expect_in_volume(struct world *w, const char *path, const char *wanted)
{
    auto_free char *text = read_in_volume(w, path);
    assert_string_equal(text ? text : "(absent)", wanted);
}

#define TOKEN_POD                                                                                            \
    "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}],\"volumes\":[{\"name\":\"t\",\"projected\":{"    \
    "\"sources\":[{\"serviceAccountToken\":{\"path\":\"token\",\"expirationSeconds\":600}}]}}]}"

/* A token is there before the container starts, is renewed before it ends, and stays while the server
 * refuses. */
static void test_token(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 21);
    w.server.refuse_tokens = true;
    put_pod(&w, "p", TOKEN_POD);
    run_ms(&w, 3000);
    assert_false(runs(&w, "p", "c"));
    assert_true(saw_event(&w, "FailedMount"));
    w.server.refuse_tokens = false;
    run_ms(&w, 6000);
    assert_true(runs(&w, "p", "c"));
    auto_free char *first = read_in_volume(&w, "t/token");
    assert_string_equal(first, "token-1");
    run_ms(&w, 470000);
    assert_int_equal(w.server.tokens, 1);
    w.server.refuse_tokens = true;
    run_ms(&w, 20000); /* 480 s of 600 have passed */
    auto_free char *kept = read_in_volume(&w, "t/token");
    assert_string_equal(kept, "token-1");
    w.server.refuse_tokens = false;
    run_ms(&w, 6000);
    auto_free char *second = read_in_volume(&w, "t/token");
    assert_string_equal(second, "token-2");
    run_ms(&w, 470000);
    assert_int_equal(w.server.tokens, 2);
    auto_free char *disk = mem_printf("%s/pods/uid-p.json", w.directory);
    auto_free char *saved = NULL;
    assert_int_equal(file_read(disk, 1 << 20, &saved, NULL, NULL), 0);
    assert_null(strstr(saved, "token-"));
    world_end(&w);
}

/* The server is away when an agent begins: the token that lies there stays, and after a time without power
 * the pod begins without one, which comes with the server. */
static void test_token_without_server(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 24);
    put_pod(&w, "p", TOKEN_POD);
    run_ms(&w, 2000);
    http_local_client_cut(w.http, true);
    kill_agent(&w);
    assert_true(fake_machine_kill(w.machine, fake_machine_find(w.machine, "p", "c")->name, 1, false));
    start_agent(&w);
    run_ms(&w, 4000); /* the server may begin with the agent */
    assert_false(runs(&w, "p", "c"));
    run_ms(&w, 4000);
    assert_true(runs(&w, "p", "c"));
    expect_in_volume(&w, "t/token", "token-1");
    kill_agent(&w);
    fake_machine_reboot(w.machine);
    auto_free char *volume = mem_printf("%s/volumes/uid-p/v/t", w.directory);
    assert_int_equal(file_remove_tree(volume, NULL), 0); /* it was in memory */
    start_agent(&w);
    run_ms(&w, 8000);
    assert_true(runs(&w, "p", "c"));
    expect_in_volume(&w, "t/token", "(absent)");
    http_local_client_cut(w.http, false);
    run_ms(&w, 10000);
    expect_in_volume(&w, "t/token", "token-2");
    world_end(&w);
}

static void put_map(struct world *w, const char *data)
{
    auto_free char *text = mem_printf(
        "{\"metadata\":{\"name\":\"m\",\"namespace\":\"default\",\"uid\":\"u\"},\"data\":%s}", data);
    put_json(w, "configmaps", text);
}

/* A change that could not be written is tried again while the containers run; and an agent that was killed
 * before the links were made makes them. */
static void test_config_volume(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 23);
    put_map(&w, "{\"a\":\"1\",\".hidden\":\"x\"}");
    put_pod(&w, "p",
            "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}],\"volumes\":[{\"name\":\"m\","
            "\"configMap\":{\"name\":"
            "\"m\"}}]}");
    run_ms(&w, 1000);
    assert_true(runs(&w, "p", "c"));
    expect_in_volume(&w, "m/a", "1");
    expect_in_volume(&w, "m/.hidden", "x");
    auto_free char *obstacle = mem_printf("%s/volumes/uid-p/v/m/..data_next", w.directory);
    auto_free char *link = mem_printf("%s/volumes/uid-p/v/m/a", w.directory);
    auto_free char *hidden = mem_printf("%s/volumes/uid-p/v/m/.hidden", w.directory);
    assert_int_equal(mkdir(obstacle, 0700), 0);
    put_map(&w, "{\"a\":\"2\"}");
    run_ms(&w, 1000);
    assert_true(saw_event(&w, "FailedMount"));
    expect_in_volume(&w, "m/a", "1");
    assert_int_equal(rmdir(obstacle), 0);
    run_ms(&w, 10000);
    expect_in_volume(&w, "m/a", "2");
    struct stat st;
    assert_int_equal(lstat(hidden, &st), -1); /* no link to what is gone */
    kill_agent(&w);
    assert_int_equal(unlink(link), 0);
    start_agent(&w);
    run_ms(&w, 3000);
    expect_in_volume(&w, "m/a", "2");
    world_end(&w);
}

/* Real threads: the loop's time goes on while they work. */
static bool runs_soon(struct world *w, const char *pod)
{
    for (int i = 0; i < 5000 && !runs(w, pod, "c"); i++) {
        run_ms(w, 1);
        usleep(1000);
    }
    return runs(w, pod, "c");
}

/* The files of one pod lie on something that hangs: another one starts. */
static void test_hanging_files(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 24);
    kill_agent(&w);
    w.file_pool = pool_new(2);
    start_agent(&w);
    auto_free char *folder = mem_printf("%s/volumes/uid-stuck/etc", w.directory);
    auto_free char *hosts = mem_printf("%s/hosts", folder);
    assert_int_equal(file_make_dirs(folder, 0755, NULL), 0);
    assert_int_equal(mkfifo(hosts, 0600), 0); /* whoever opens it waits for a writer */
    put_pod(&w, "stuck", ONE);
    run_ms(&w, 500);
    put_pod(&w, "p", ONE);
    assert_true(runs_soon(&w, "p"));
    assert_false(runs(&w, "stuck", "c"));
    int fd = open(hosts, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(unlink(hosts), 0);
    close(fd);
    assert_true(runs_soon(&w, "stuck"));
    world_end(&w);
}

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large_pod_file), cmocka_unit_test(test_deep_volumes),
        cmocka_unit_test(test_token),          cmocka_unit_test(test_token_without_server),
        cmocka_unit_test(test_config_volume),  cmocka_unit_test(test_hanging_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
