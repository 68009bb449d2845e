/* /containerLogs: options, lines in parts, the previous container, following over an end and over a new file.
 */
#include "harness.h"

#include "node/node_internal.h"

#include <sys/stat.h>

#define T(n) "2025-06-15T15:06:" n ".000000000+00:00" /* as the runtime writes it */
#define Z(n) "2025-06-15T15:06:" n ".000000000Z"      /* as Kubernetes shows it */

struct answer {
    struct str text;
    int status;
    bool ended, cut; /* cut: the line may break */
};

static struct http_client *agent_client(struct world *w)
{
    static const char *const groups[] = {"system:minik8s:server", NULL};
    const struct http_local_identity identity = {.user = "server", .groups = groups};
    return http_local_client_new(w->loop, node_handle, w->node, &identity);
}

static bool on_data(void *arg, int status UNUSED, const char *data, size_t len)
{
    struct answer *answer = arg;
    str_add_n(&answer->text, data, len);
    return true;
}

static void on_response(void *arg, const struct http_response *response, struct err *err)
{
    struct answer *answer = arg;
    answer->ended = true;
    if (answer->cut && err)
        return;
    assert_null(err);
    answer->status = response->status;
    if (response->status != 200 && answer->text.len == 0)
        str_add_n(&answer->text, response->body, response->len);
}

static void ask(struct http_client *client, const char *query, struct answer *answer)
{
    auto_free char *target = mem_printf("/containerLogs/default/p/c%s", query);
    const struct http_call call = {
        .method = "GET", .target = target, .on_data = on_data, .on_response = on_response, .arg = answer};
    client->ops->call(client, &call);
}

static char *log_path(struct world *w, unsigned attempt)
{
    return mem_printf("%s/logs/default_p_uid-p/c/%u.log", w->directory, attempt);
}

static void write_log(struct world *w, unsigned attempt, const char *mode, const char *text)
{
    auto_free char *path = log_path(w, attempt);
    FILE *file = fopen(path, mode);
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void begin_world(struct world *w)
{
    world_begin(w, 1);
    put_pod(w, "p", "{\"containers\":[{\"name\":\"c\",\"image\":\"app:1\"}]}");
    run_ms(w, 2000);
    assert_true(runs(w, "p", "c"));
}

static void expect_log(struct world *w, const char *query, const char *expected)
{
    struct http_client *client = agent_client(w);
    struct answer answer = {0};
    ask(client, query, &answer);
    run_ms(w, 100);
    assert_true(answer.ended);
    assert_int_equal(answer.status, 200);
    assert_string_equal(str_c(&answer.text), expected);
    str_free(&answer.text);
    client->ops->free(client);
}

static void test_options(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    /* The world begins at 15:06:40; "two" is said in three parts. */
    write_log(&w, 0, "w",
              T("10") " stdout F one\n" T("20") " stderr P tw\n" T("20") " stderr P o of \n" T(
                  "20") " stderr F three\n" T("30") " stdout F \n" T("40") " stdout F last\n");
    expect_log(&w, "", "one\ntwo of three\n\nlast\n");
    expect_log(&w, "?tailLines=1", "last\n");
    expect_log(&w, "?tailLines=2", "\nlast\n");
    expect_log(&w, "?tailLines=0", "");
    expect_log(&w, "?tailLines=99", "one\ntwo of three\n\nlast\n");
    expect_log(&w, "?limitBytes=6", "one\ntw");
    expect_log(&w, "?limitBytes=4", "one\n");
    expect_log(&w, "?limitBytes=1000", "one\ntwo of three\n\nlast\n");
    expect_log(&w, "?timestamps=true&tailLines=2", Z("30") " \n" Z("40") " last\n");
    expect_log(&w, "?timestamps=true&limitBytes=74",
               Z("10") " one\n" Z("20") " two of t"); /* one stamp for the parts of a line */
    expect_log(&w, "?sinceTime=2025-06-15T15:06:20Z", "two of three\n\nlast\n");
    expect_log(&w, "?sinceTime=2025-06-15T15:06:20.5Z", "\nlast\n");
    expect_log(&w, "?sinceTime=2030-01-01T00:00:00Z", "");
    expect_log(&w, "?sinceSeconds=100000", "one\ntwo of three\n\nlast\n");
    expect_log(&w, "?sinceTime=2025-06-15T15:06:20Z&tailLines=1&limitBytes=3", "las");
    expect_log(&w, "?tailLines=-1", "one\ntwo of three\n\nlast\n");
    expect_log(&w, "?tailLines=x&limitBytes=&sinceTime=never", "one\ntwo of three\n\nlast\n");
    world_end(&w);
}

static void test_strange_files(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    write_log(&w, 0, "w", "");
    expect_log(&w, "", "");
    expect_log(&w, "?tailLines=5", "");
    write_log(&w, 0, "w",
              "no line of ours\n\nx y\n" T("10") " stdout F good\n" T("11") " stdout F unfinished");
    expect_log(&w, "", "good\n");
    auto_str long_line = {0}, expected = {0};
    for (int i = 0; i < 2000; i++) { /* longer than any buffer on the way, in parts and in lines */
        str_addf(&long_line, T("10") " stdout %s %0100d\n", i % 50 == 49 ? "F" : "P", i);
        str_addf(&expected, "%0100d%s", i, i % 50 == 49 ? "\n" : "");
    }
    write_log(&w, 0, "w", str_c(&long_line));
    expect_log(&w, "", str_c(&expected));
    world_end(&w);
}

static void test_previous(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    struct http_client *client = agent_client(&w);
    struct answer answer = {0};
    ask(client, "?previous=true", &answer);
    run_ms(&w, 100);
    assert_int_equal(answer.status, 400);
    assert_non_null(strstr(str_c(&answer.text), "previous terminated container"));
    str_free(&answer.text);
    write_log(&w, 0, "w", T("10") " stdout F first life\n");
    fake_machine_kill(w.machine, fake_machine_find(w.machine, "p", "c")->name, 1, false);
    run_ms(&w, 200);
    expect_log(&w, "", "first life\n"); /* between two lives: the last one's */
    run_ms(&w, 3000);
    assert_true(runs(&w, "p", "c"));
    write_log(&w, 1, "w", T("20") " stdout F second life\n");
    expect_log(&w, "", "second life\n");
    expect_log(&w, "?previous=true", "first life\n");
    expect_log(&w, "?previous=true&follow=true", "first life\n"); /* it will not grow */
    client->ops->free(client);
    world_end(&w);
}

static void test_follow(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    write_log(&w, 0, "w", T("10") " stdout F one\n" T("10") " stdout F two\n");
    struct http_client *client = agent_client(&w);
    struct answer all = {0}, tail = {0}, limited = {0};
    ask(client, "?follow=true", &all);
    ask(client, "?follow=true&tailLines=1", &tail);
    ask(client, "?follow=true&limitBytes=9", &limited);
    run_ms(&w, 100);
    assert_string_equal(str_c(&all.text), "one\ntwo\n");
    assert_string_equal(str_c(&tail.text), "two\n");
    assert_false(all.ended || tail.ended || limited.ended);
    write_log(&w, 0, "a", T("11") " stdout P thr");
    write_log(&w, 0, "a", "ee\n" T("11") " stdout F  more\n" T("12") " stdout F end\n");
    fake_machine_kill(w.machine, fake_machine_find(w.machine, "p", "c")->name, 0, false);
    run_ms(&w, 200);
    assert_true(all.ended && tail.ended && limited.ended); /* with the container, after all that it wrote */
    assert_string_equal(str_c(&all.text), "one\ntwo\nthree more\nend\n");
    assert_string_equal(str_c(&tail.text), "two\nthree more\nend\n");
    assert_string_equal(str_c(&limited.text), "one\ntwo\nt");
    str_free(&all.text);
    str_free(&tail.text);
    str_free(&limited.text);
    client->ops->free(client);
    world_end(&w);
}

/* The runtime puts a new file in the place of a log that is too long. */
static void test_rotation(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    write_log(&w, 0, "w", T("10") " stdout F one\n");
    struct http_client *client = agent_client(&w);
    struct answer answer = {0};
    ask(client, "?follow=true", &answer);
    run_ms(&w, 100);
    assert_string_equal(str_c(&answer.text), "one\n");
    write_log(&w, 0, "a", T("11") " stdout F last of the old file\n");
    auto_free char *path = log_path(&w, 0), *old = mem_printf("%s.old", path);
    assert_int_equal(rename(path, old), 0);
    write_log(&w, 0, "w", T("12") " stdout F first of the new file\n");
    fake_machine_kill(w.machine, fake_machine_find(w.machine, "p", "c")->name, 0, false);
    run_ms(&w, 200);
    assert_true(answer.ended);
    assert_string_equal(str_c(&answer.text), "one\nlast of the old file\nfirst of the new file\n");
    str_free(&answer.text);
    client->ops->free(client);
    world_end(&w);
}

/* As conmon begins a new file. */
static void turn_over(struct world *w)
{
    auto_free char *path = log_path(w, 0), *next = mem_printf("%s.tmp", path);
    FILE *file = fopen(next, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(next, path), 0);
}

static void keep(struct world *w, int64_t max_bytes)
{
    auto_free char *path = log_path(w, 0);
    assert_true(node_log_files_keep(path, max_bytes) >= 0);
}

static void expect_files(struct world *w, size_t expected)
{
    auto_free char *path = log_path(w, 0);
    struct node_log_files files;
    node_log_files_list(path, &files);
    assert_int_equal(files.count, expected);
    free(files.files);
}

/* The monitor turned the log over after somebody looked: the number that is to be given is the log's own. */
static void test_live_file_is_never_cut(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    write_log(&w, 0, "w", T("10") " stdout F one\n");
    keep(&w, 1000);
    turn_over(&w);
    write_log(&w, 0, "a", T("20") " stdout F two\n");
    auto_free char *path = log_path(&w, 0), *second = mem_printf("%s.2", path),
                   *third = mem_printf("%s.3", path);
    assert_false(node_log_files_make_spare(path, 2));
    expect_log(&w, "", "one\ntwo\n");
    FILE *stale = fopen(third, "w"); /* of an agent that was killed before it gave the second name */
    assert_non_null(stale);
    fputs("stale", stale);
    assert_int_equal(fclose(stale), 0);
    keep(&w, 1000);
    struct stat st;
    assert_int_equal(stat(third, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_true(file_exists(second));
    expect_log(&w, "", "one\ntwo\n");
    world_end(&w);
}

static void test_several_files(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    write_log(&w, 0, "w", T("10") " stdout F one\n" T("11") " stdout F two\n");
    keep(&w, 1000);
    expect_files(&w, 1);
    turn_over(&w);
    write_log(&w, 0, "a", T("20") " stdout F three\n" T("21") " stderr P fo");
    expect_log(&w, "", "one\ntwo\nthree\n"); /* nobody has looked since */
    keep(&w, 1000);
    write_log(&w, 0, "a", "\n" T("21") " stderr F ur\n");
    expect_files(&w, 2);
    turn_over(&w);
    keep(&w, 1000);
    expect_files(&w, 3); /* the last is empty yet */
    expect_log(&w, "", "one\ntwo\nthree\nfour\n");
    expect_log(&w, "?tailLines=0", "");
    expect_log(&w, "?tailLines=1", "ur\n");
    expect_log(&w, "?tailLines=3", "three\nfour\n");
    write_log(&w, 0, "a", T("30") " stdout F five\n");
    expect_log(&w, "?tailLines=1", "five\n");
    expect_log(&w, "?tailLines=4", "three\nfour\nfive\n");
    expect_log(&w, "?tailLines=5", "two\nthree\nfour\nfive\n");
    expect_log(&w, "?tailLines=6", "one\ntwo\nthree\nfour\nfive\n");
    expect_log(&w, "?tailLines=60", "one\ntwo\nthree\nfour\nfive\n");
    expect_log(&w, "?sinceTime=2025-06-15T15:06:11Z", "two\nthree\nfour\nfive\n");
    expect_log(&w, "?sinceTime=2025-06-15T15:06:25Z", "five\n");
    expect_log(&w, "?limitBytes=15", "one\ntwo\nthree\nf");
    expect_log(&w, "?timestamps=true&tailLines=3", Z("21") " four\n" Z("30") " five\n");
    turn_over(&w);
    write_log(&w, 0, "a", T("40") " stdout F six\n");
    keep(&w, 51); /* 50 bytes, as the last full file has, are not enough: the next one stays too */
    expect_files(&w, 3);
    expect_log(&w, "", "three\nfour\nfive\nsix\n");
    keep(&w, 50);
    expect_log(&w, "", "five\nsix\n");
    keep(&w, 0);
    expect_log(&w, "", "six\n");
    fake_machine_kill(w.machine, fake_machine_find(w.machine, "p", "c")->name, 1, false);
    run_ms(&w, 4000);
    assert_true(runs(&w, "p", "c"));
    write_log(&w, 1, "w", T("50") " stdout F second life\n");
    expect_log(&w, "?previous=true", "six\n");
    expect_log(&w, "", "second life\n");
    world_end(&w);
}

/* More than one file was begun while nobody looked: nobody knows how many, and what is older goes. */
static void test_no_hole(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    write_log(&w, 0, "w", T("10") " stdout F one\n");
    keep(&w, 1000);
    turn_over(&w);
    write_log(&w, 0, "a", T("11") " stdout F two\n");
    turn_over(&w);
    write_log(&w, 0, "a", T("12") " stdout F three\n");
    expect_log(&w, "", "three\n");
    keep(&w, 1000);
    expect_log(&w, "", "three\n");
    turn_over(&w);
    write_log(&w, 0, "a", T("13") " stdout F four\n");
    expect_log(&w, "", "three\nfour\n");
    keep(&w, 1000);
    turn_over(&w);
    turn_over(&w);
    turn_over(&w);
    write_log(&w, 0, "a", T("15") " stdout F seven\n");
    keep(&w, 1000);
    expect_log(&w, "", "seven\n");
    expect_files(&w, 1);
    world_end(&w);
}

static void test_follow_over_files(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    write_log(&w, 0, "w", T("10") " stdout F 0\n");
    keep(&w, 100000);
    struct http_client *client = agent_client(&w);
    struct answer all = {0}, tail = {0};
    ask(client, "?follow=true", &all);
    ask(client, "?follow=true&tailLines=0", &tail);
    run_ms(&w, 10);
    auto_str expected = {0};
    for (int i = 1; i < 50; i++) {
        auto_free char *line = mem_printf(T("11") " stdout F %d\n", i);
        write_log(&w, 0, "a", line);
        str_addf(&expected, "%d\n", i);
        if (i % 13 == 0) /* four files: fewer than are kept */
            turn_over(&w);
        if (i % 13 == 5)
            keep(&w, 100000);
        run_ms(&w, 10);
    }
    fake_machine_kill(w.machine, fake_machine_find(w.machine, "p", "c")->name, 0, false);
    run_ms(&w, 200);
    assert_true(all.ended && tail.ended);
    assert_string_equal(str_c(&all.text) + 2, str_c(&expected));
    assert_string_equal(str_c(&tail.text), str_c(&expected));
    str_free(&all.text);
    str_free(&tail.text);
    client->ops->free(client);
    world_end(&w);
}

static bool log_exists(struct world *w, unsigned attempt, const char *suffix)
{
    auto_free char *path = log_path(w, attempt), *full = mem_printf("%s%s", path, suffix);
    return file_exists(full);
}

/* An agent that comes back finds a log that is too long; logs of attempts before the previous one go. */
static void test_agent_turns_over(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    kill_agent(&w);
    auto_str text = {0};
    for (int i = 0; i < 110000; i++)
        str_addf(&text, T("10") " stdout F line %0100d\n", i);
    write_log(&w, 0, "w", str_c(&text));
    start_agent(&w);
    run_ms(&w, 3000);
    expect_files(&w, 2);
    assert_true(log_exists(&w, 0, ".1") && log_exists(&w, 0, ".2") && log_exists(&w, 0, ".tmp"));
    write_log(&w, 0, "a", T("20") " stdout F after\n");
    auto_free char *last = mem_printf("line %0100d\nafter\n", 109999);
    expect_log(&w, "?tailLines=2", last);
    for (unsigned attempt = 1; attempt <= 2; attempt++) {
        fake_machine_kill(w.machine, fake_machine_find(w.machine, "p", "c")->name, 1, false);
        run_ms(&w, 5000);
        assert_true(runs(&w, "p", "c"));
        assert_true(log_exists(&w, attempt, "") && log_exists(&w, attempt - 1, ""));
        assert_false(log_exists(&w, attempt - 1, ".tmp")); /* it does not grow any more */
    }
    assert_false(log_exists(&w, 0, "") || log_exists(&w, 0, ".1"));
    world_end(&w);
}

/* The agent ends while somebody follows: the stream ends too, nothing is freed twice. */
static void test_agent_ends(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    write_log(&w, 0, "w", T("10") " stdout F one\n");
    struct http_client *client = agent_client(&w);
    struct answer answer = {.cut = true};
    ask(client, "?follow=true", &answer);
    run_ms(&w, 100);
    http_local_client_set_handler(client, NULL, NULL);
    kill_agent(&w);
    run_ms(&w, 100);
    assert_true(answer.ended);
    str_free(&answer.text);
    client->ops->free(client);
    world_end(&w);
}

static void test_strangers(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    static const char *const groups[] = {"system:masters", NULL};
    const struct http_local_identity others[] = {{.user = NULL}, {.user = "admin", .groups = groups}};
    const int statuses[] = {401, 403};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        struct http_client *client = http_local_client_new(w.loop, node_handle, w.node, &others[i]);
        struct answer answer = {0};
        ask(client, "", &answer);
        run_ms(&w, 100);
        assert_int_equal(answer.status, statuses[i]);
        str_free(&answer.text);
        client->ops->free(client);
    }
    world_end(&w);
}

/* The Node object was deleted: its pods go, nothing is registered or renewed until the agent starts again. */
static void test_node_deleted(void **state UNUSED)
{
    struct world w;
    begin_world(&w);
    server_drop(&w.server, "nodes", "", "n1");
    server_drop(&w.server, "pods", "default", "p"); /* as the manager does for a node that does not exist */
    run_ms(&w, 2000);
    unsigned beats = w.server.beats;
    run_ms(&w, 10000);
    assert_int_equal(w.server.beats, beats);
    assert_null(server_get(&w.server, "nodes", "", "n1"));
    assert_int_equal(fake_machine_count(w.machine, false), 0);
    kill_agent(&w);
    start_agent(&w);
    run_ms(&w, 3000);
    assert_non_null(server_get(&w.server, "nodes", "", "n1"));
    assert_true(w.server.beats > beats);
    world_end(&w);
}

/* terminationMessagePolicy, and messages longer than what is shown. */
static void test_last_words(void **state UNUSED)
{
    struct world w;
    world_begin(&w, 1);
    put_pod(&w, "p",
            "{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"c\",\"image\":\"app:1\","
            "\"terminationMessagePolicy\":\"FallbackToLogsOnError\"}]}");
    run_ms(&w, 2000);
    auto_str lines = {0};
    for (int i = 0; i < 200; i++)
        str_addf(&lines, T("10") " stderr F line %03d of the log, %080d\n", i, i);
    write_log(&w, 0, "w", str_c(&lines));
    fake_machine_kill(w.machine, fake_machine_find(w.machine, "p", "c")->name, 1, false);
    run_ms(&w, 1000);
    const char *message =
        json_string(pod_of(&w, "p"), "status.containerStatuses[0].state.terminated.message");
    assert_non_null(message);
    assert_int_equal(strlen(message), 2048);
    assert_non_null(strstr(message, "line 199 of"));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_strange_files),
        cmocka_unit_test(test_previous),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_agent_ends),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_node_deleted),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_several_files),
        cmocka_unit_test(test_live_file_is_never_cut),
        cmocka_unit_test(test_no_hole),
        cmocka_unit_test(test_follow_over_files),
        cmocka_unit_test(test_agent_turns_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
