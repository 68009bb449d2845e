/* From the spec of a GPUJob to the script that sbatch reads, and to the body that slurmrestd takes. */
#include "slurm_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "submitter/script.h"
#include "submitter/site.h"

static const struct slurm_place place = {.name = "mm", .uid = "u-1", .folder = "/srv/jobs/default.mm.u-1"};

static char *script_of(const char *spec_text)
{
    auto_json spec = parsed(spec_text);
    struct str out = {0};
    slurm_script(&out, spec, &place);
    return str_take(&out);
}

static void every_field_has_its_option(void **state)
{
    (void)state;
    auto_free char *script = script_of("{\"partition\":\"gpu\",\"account\":\"lab\",\"qos\":\"high\","
                                       "\"constraint\":\"a100\",\"nodes\":2,\"tasks\":4,"
                                       "\"cpusPerTask\":8,\"memory\":\"1Gi\",\"gpus\":2,\"gpuType\":\"h100\","
                                       "\"timeLimit\":\"1-02:00\",\"array\":\"0-3%2\","
                                       "\"dependency\":\"afterok:17\",\"run\":\"srun ./mm\"}");
    const char *const lines[] = {"#!/bin/bash\n#SBATCH --job-name=mm\n",
                                 "--comment=minik8s:u-1\n",
                                 "--chdir=/srv/jobs/default.mm.u-1\n",
                                 "--output=/srv/jobs/default.mm.u-1/.minik8s/stdout.%a\n",
                                 "--error=/srv/jobs/default.mm.u-1/.minik8s/stderr.%a\n",
                                 "--no-requeue\n",
                                 "--nodes=2\n",
                                 "--ntasks=4\n",
                                 "--cpus-per-task=8\n",
                                 "--mem=1024M\n",
                                 "--gres=gpu:h100:2\n",
                                 "--partition=gpu\n",
                                 "--account=lab\n",
                                 "--qos=high\n",
                                 "--constraint=a100\n",
                                 "--time=1-02:00\n",
                                 "--array=0-3%2\n",
                                 "--dependency=afterok:17\n"};
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        assert_has(script, lines[i]);
}

static void what_is_not_given_is_left_to_slurm(void **state)
{
    (void)state;
    auto_free char *script = script_of("{\"run\":\"true\"}");
    const char *const absent[] = {"--partition", "--account", "--qos",   "--mem",
                                  "--gres",      "--time",    "--array", "module"};
    for (size_t i = 0; i < COUNT_OF(absent); i++)
        assert_lacks(script, absent[i]);
    auto_free char *other = script_of("{\"gres\":\"gpu:a100:1,license:2\",\"run\":\"true\"}");
    assert_has(other, "--gres=gpu:a100:1,license:2\n");
}

static void rest_gets_the_same(void **state)
{
    (void)state;
    auto_json spec = parsed(
        "{\"partition\":\"gpu\",\"account\":\"lab\",\"qos\":\"high\",\"constraint\":\"a100\",\"nodes\":2,"
        "\"tasks\":4,\"cpusPerTask\":8,\"memory\":\"1500k\",\"gpus\":1,\"timeLimit\":\"90\",\"array\":\"1,"
        "3\","
        "\"dependency\":\"singleton\",\"run\":\"true\"}");
    auto_json body = slurm_submission(spec, &place);
    auto_json wanted = parsed("{\"name\":\"mm\",\"comment\":\"minik8s:u-1\",\"current_working_directory\":\"/"
                              "srv/jobs/default.mm.u-1\","
                              "\"standard_output\":\"/srv/jobs/default.mm.u-1/.minik8s/stdout.%a\","
                              "\"standard_error\":\"/srv/jobs/default.mm.u-1/.minik8s/stderr.%a\","
                              "\"environment\":{\"PATH\":\"/usr/local/cuda/bin:/usr/local/bin:/usr/bin:/"
                              "bin\"},\"no_requeue\":true,\"open_mode\":\"append\",\"tasks\":4,"
                              "\"cpus_per_task\":8,\"nodes\":\"2\",\"memory_per_node\":2,\"gres\":\"gpu:1\","
                              "\"time_limit\":90,\"partition\":\"gpu\","
                              "\"account\":\"lab\",\"qos\":\"high\",\"constraints\":\"a100\",\"array\":\"1,"
                              "3\",\"dependency\":\"singleton\"}");
    auto_free char *got = json_print(json_get(body, "job"));
    if (!json_equal(json_get(body, "job"), wanted))
        fail_msg("%s", got);
    assert_has(json_string(body, "script"), "#SBATCH --time=90\n");
}

static void cuda_sources_are_built_by_themselves(void **state)
{
    (void)state;
    auto_free char *script =
        script_of("{\"sources\":{\"inline\":{\"mm.cu\":\"\",\"more.cu\":\"\",\"note.txt\":\"\"}}}");
    assert_has(script, "-o program 'mm.cu' 'more.cu'\n");
    assert_has(script, "\n./program\n");
    auto_free char *own =
        script_of("{\"sources\":{\"inline\":{\"mm.cu\":\"\"}},\"build\":\"make\",\"run\":\"./mm\"}");
    assert_lacks(own, "nvcc");
}

/* Runs a script as Slurm would, in a folder of its own; its output lies there in `out`. */
static int run(const char *folder, const char *spec_text, const char *id)
{
    auto_json spec = parsed(spec_text);
    const struct slurm_place here = {.name = "t", .uid = "u", .folder = folder};
    struct str script = {0};
    struct err *err = NULL;
    slurm_script(&script, spec, &here);
    auto_free char *private = file_join(folder, SLURM_PRIVATE), *file = file_join(private, "job.sh");
    if (file_make_dirs(private, 0700, &err) < 0 ||
        file_write_atomic(file, str_c(&script), script.len, 0700, &err) < 0)
        fail_msg("%s", err_message(err));
    str_free(&script);
    pid_t pid = fork();
    if (pid == 0) {
        auto_free char *out = file_join(folder, "out");
        setenv("SLURM_JOB_ID", id, 1);
        setenv("SLURM_EXPORT_ENV", "NONE", 1);
        if (!freopen(out, "w", stdout) || dup2(1, 2) < 0)
            _exit(99);
        execl("/bin/bash", "bash", file, (char *)NULL);
        _exit(98);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static char *content(const char *folder, const char *name)
{
    auto_free char *path = file_join(folder, name);
    char *data = NULL;
    return file_read(path, 65536, &data, NULL, NULL) < 0 ? mem_strdup("(absent)") : data;
}

static void the_script_does_what_it_says(void **state)
{
    (void)state;
    char folder[] = "/tmp/m8-slurm-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const char *spec = "{\"environment\":{\"WORD\":\"it's $HOME "
                       "\\\"x\\\"\\nEND_OF_SCRIPT\"},\"build\":\"echo built >>b\\nEND_OF_SCRIPT=1\","
                       "\"run\":\"echo \\\"$WORD\\\" ${SLURM_EXPORT_ENV-unset}\\nfalse\\nexit 7\"}";
    assert_int_equal(run(folder, spec, "12"), 7);
    auto_free char *out = content(folder, "out"), *rc = content(folder, ".minik8s/rc"),
                   *phase = content(folder, ".minik8s/phase");
    assert_string_equal(out, "it's $HOME \"x\"\nEND_OF_SCRIPT unset\n");
    assert_string_equal(rc, "7\n");
    assert_string_equal(phase, "running\n");
    /* A second start of the same job does nothing again, and has the first one's end; another job has none.
     */
    assert_int_equal(run(folder, spec, "12"), 7);
    auto_free char *built = content(folder, "b"), *again = content(folder, "out");
    assert_string_equal(built, "built\n");
    assert_string_equal(again, "");
    assert_int_equal(run(folder, spec, "13"), 0);
    auto_free char *second = content(folder, "out"), *still = content(folder, ".minik8s/rc");
    assert_string_equal(second, "minik8s: job 12 does this already\n");
    assert_string_equal(still, "7\n");
    file_remove_tree(folder, NULL);
}

static void a_build_that_fails_ends_it(void **state)
{
    (void)state;
    char folder[] = "/tmp/m8-slurm-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(run(folder, "{\"build\":\"(exit 3)\\necho not here\",\"run\":\"echo ran\"}", "5"), 3);
    auto_free char *out = content(folder, "out"), *phase = content(folder, ".minik8s/phase"),
                   *rc = content(folder, ".minik8s/rc");
    assert_string_equal(out, "");
    assert_string_equal(phase, "building\n");
    assert_string_equal(rc, "3\n");
    auto_free char *started = mem_printf("%s/.minik8s/started", folder),
                   *end = mem_printf("%s/.minik8s/rc", folder);
    unlink(end);
    assert_int_equal(run(folder, "{\"run\":\"echo ran\"}", "5"), 1); /* the first run left no exit code */
    auto_free char *second = content(folder, "out");
    auto_free char *lost = content(folder, ".minik8s/lost");
    assert_has(second, "left no exit code");
    assert_string_equal(lost, "\n");
    unlink(started);
    assert_int_equal(run(folder, "{\"modules\":[\"cuda/12\"],\"run\":\"echo ran\"}", "5"), 127);
    file_remove_tree(folder, NULL);
}

/* A node that goes down ends all its processes: whoever looks later must not find a 0. */
static void what_a_signal_ends_has_not_ended_well(void **state)
{
    (void)state;
    char folder[] = "/tmp/m8-slurm-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(run(folder, "{\"run\":\"kill $PPID; sleep 0.1; exit 0\"}", "5"), 255);
    auto_free char *rc = content(folder, ".minik8s/rc");
    assert_string_equal(rc, "143\n");
    file_remove_tree(folder, NULL);
}

static void times_are_read_as_slurm_reads_them(void **state)
{
    (void)state;
    const struct {
        const char *text;
        long minutes;
    } all[] = {{"5", 5},      {"5:00", 5},       {"0:01", 1},    {"1:30", 2}, {"2:00:00", 120},
               {"1-0", 1440}, {"1-12:30", 2190}, {"0-0:0:1", 1}, {"", -1},    {"x", -1},
               {"1-", -1},    {"1:2:3:4", -1},   {"1:", -1}};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (slurm_minutes(all[i].text) != all[i].minutes)
            fail_msg("%s is %ld", all[i].text, slurm_minutes(all[i].text));
}

static void a_token_is_a_jwt(void **state)
{
    (void)state;
    /* Checked against openssl dgst -sha256 -hmac key. */
    auto_free char *token = slurm_token("key", 3, "root", 1000, 600);
    assert_string_equal(
        token, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE2MDAsImlhdCI6MTAwMCwic3VuIjoicm9vdCJ9."
               "P6GRzmirdsYnrPxcyBEo6rgbgSqHWPyj7LWLNNmgmf8");
}

static void only_what_matches_is_collected(void **state)
{
    (void)state;
    char from[] = "/tmp/m8-slurm-XXXXXX", to[] = "/tmp/m8-slurm-XXXXXX";
    assert_true(mkdtemp(from) && mkdtemp(to));
    auto_free char *a = file_join(from, "a.dat"), *big = file_join(from, "big.dat"),
                   *sub = file_join(from, "sub"), *deep = file_join(from, "sub/c.dat"),
                   *link = file_join(from, "link.dat");
    assert_int_equal(file_make_dirs(sub, 0700, NULL), 0);
    assert_int_equal(file_write_atomic(a, "one", 3, 0600, NULL), 0);
    assert_int_equal(file_write_atomic(big, "0123456789", 10, 0600, NULL), 0);
    assert_int_equal(file_write_atomic(deep, "deep", 4, 0600, NULL), 0);
    assert_int_equal(symlink("/etc/shadow", link), 0);
    auto_json globs = parsed("[\"*.dat\"]");
    auto_json more = parsed("[\"sub/*\"]");
    struct str refused = {0};
    assert_int_equal(files_collect(from, globs, 5, to, &refused, NULL), 0);
    assert_string_equal(str_c(&refused), "big.dat (10 bytes)\n");
    size_t n = 0;
    auto_free char **names = file_list(to, &n, NULL);
    assert_int_equal(n, 1);
    assert_string_equal(names[0], "a.dat");
    assert_int_equal(files_collect(from, more, 5, to, &refused, NULL), 0);
    auto_free char *taken = content(to, "sub/c.dat");
    assert_string_equal(taken, "deep");
    str_free(&refused);
    file_remove_tree(from, NULL);
    file_remove_tree(to, NULL);
}

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_has_its_option),
        cmocka_unit_test(what_is_not_given_is_left_to_slurm),
        cmocka_unit_test(rest_gets_the_same),
        cmocka_unit_test(cuda_sources_are_built_by_themselves),
        cmocka_unit_test(the_script_does_what_it_says),
        cmocka_unit_test(a_build_that_fails_ends_it),
        cmocka_unit_test(what_a_signal_ends_has_not_ended_well),
        cmocka_unit_test(times_are_read_as_slurm_reads_them),
        cmocka_unit_test(a_token_is_a_jwt),
        cmocka_unit_test(only_what_matches_is_collected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
