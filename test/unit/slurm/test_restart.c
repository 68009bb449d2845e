/*
 * A submitter that is killed, cut off, or left without an answer at every single step of a job, against a
 * pretended cluster and a pretended Slurm with a clock of their own: the job is worked on once, and ends
 * once, as the work did.
 */
#include "slurm_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "submitter/run.h"

#define KILLED 99
#define MAX_JOBS 4
#define QUEUED_MS 2000
#define WORK_MS 3000
#define MAX_STEPS 2000 /* more: it goes round in circles */

struct slurm_job {
    int64_t arrives, starts, ends; /* ms */
    bool cancelled, idle;          /* idle: left the work to another */
};
enum failing { FAILS_BEFORE, FAILS_AFTER }; /* its effect: the request or the answer is lost */
enum broken { WHOLE, NODE_FAILED, STARTED_TWICE };

/* Shared by the processes: all that outlives a submitter. */
static struct world {
    char job[16384]; /* JSON of the GPUJob */
    int revision;
    int64_t now;
    struct slurm_job slurm[MAX_JOBS];
    int submitted, worker, starts; /* worker: 1 + index, 0: none yet */
    bool prepared, removed;
    int blobs;
    int64_t cancel_at;    /* 0: never */
    int64_t forgotten_at; /* Slurm and the nodes are killed, and know no job any more; 0: never */
    int64_t late;         /* the answer of a submission is lost, and it arrives this much later */
    int step, kill_at, stop_at, fail_at, fail_for;
    enum failing failing;
    enum broken broken; /* how Slurm or its nodes end the work before it has left an exit code */
    bool refuse;
} * world;

static char scratch[] = "/dev/shm/m8-sim-restart-XXXXXX";

/* ---- time ---- */

static void start_what_is_due(void)
{
    for (int i = 0; i < world->submitted; i++) {
        struct slurm_job *job = &world->slurm[i];
        if (job->starts || job->cancelled || world->now < job->arrives + QUEUED_MS)
            continue;
        job->starts = job->arrives + QUEUED_MS;
        job->idle = world->worker || world->removed;
        job->ends = job->starts + (job->idle ? 0 : WORK_MS);
        if (job->idle)
            continue;
        world->worker = i + 1;
        world->starts++;
    }
}

static void pass(int64_t ms)
{
    world->now += ms;
    start_what_is_due();
}

static int64_t wall_ns(void *arg)
{
    (void)arg;
    return (1700000000000 + world->now) * 1000000;
}
static const struct clock clock_of_world = {.wall_ns = wall_ns, .monotonic_ns = wall_ns};

/* Every request goes through here before and after its effect. */
static void step(void)
{
    if (++world->step == world->kill_at)
        _exit(KILLED);
    if (world->step == world->stop_at)
        raise(SIGSTOP);
    if (world->step > MAX_STEPS)
        _exit(1);
    pass(10);
}

static int lost(enum failing when, struct err **err)
{
    int from = world->fail_at;
    if (world->failing != when || !from || world->step < from || world->step >= from + world->fail_for)
        return 0;
    return err_set(err, ERR_UNAVAILABLE, "the network is away");
}

static int begin_call(struct err **err)
{
    step();
    return lost(FAILS_BEFORE, err);
}
static int end_call(struct err **err)
{
    step();
    return lost(FAILS_AFTER, err);
}

/* ---- the cluster ---- */

cJSON *home_job(struct home *home, struct err **err)
{
    (void)home;
    if (begin_call(err) < 0)
        return NULL;
    auto_json job = parsed(world->job);
    auto_free char *revision = mem_printf("%d", world->revision);
    json_set_at(job, "metadata.resourceVersion", cJSON_CreateString(revision));
    return end_call(err) < 0 ? NULL : steal(&job);
}

int home_report(struct home *home, const cJSON *status, const char *revision, struct err **err)
{
    (void)home;
    if (begin_call(err) < 0)
        return -1;
    if (revision && atoi(revision) != world->revision)
        return err_set(err, ERR_CONFLICT, "the object has been modified");
    auto_json job = parsed(world->job);
    auto_json patch = cJSON_CreateObject();
    if (json_bool(job, "status.done", false))
        return err_set(err, ERR_INVALID, "the job has ended");
    json_set(patch, "status", json_copy(status));
    job = json_merge_patch(steal(&job), patch);
    auto_free char *text = json_print(job);
    assert_true(strlen(text) < sizeof world->job);
    memcpy(world->job, text, strlen(text) + 1);
    world->revision++;
    return end_call(err);
}

int home_put_blob(struct home *home, const char *digest, const void *data, size_t len, struct err **err)
{
    (void)home, (void)digest, (void)data, (void)len;
    if (begin_call(err) < 0)
        return -1;
    world->blobs++;
    return end_call(err);
}

int home_get_blob(struct home *home, const char *digest, char **data, size_t *len, struct err **err)
{
    (void)home, (void)digest, (void)data, (void)len;
    return err_set(err, ERR_NOT_FOUND, "no blob");
}

enum home_wish home_wait(struct home *home, int64_t ms)
{
    (void)home;
    step();
    int64_t left = world->cancel_at ? world->cancel_at - world->now : ms;
    pass(left < 0 ? 0 : left < ms ? left : ms);
    return world->cancel_at && world->now >= world->cancel_at ? HOME_CANCEL : HOME_GO_ON;
}

void home_pause(struct home *home, int64_t ms)
{
    (void)home;
    step();
    pass(ms);
}

/* ---- Slurm ---- */

static int fake_prepare(struct slurm_site *site, const char *staged, const char *folder, struct err **err)
{
    (void)site, (void)staged, (void)folder;
    if (begin_call(err) < 0)
        return -1;
    world->prepared = true;
    return end_call(err);
}

static int fake_submit(struct slurm_site *site, const cJSON *spec, const struct slurm_place *place,
                       int64_t *id, struct err **err)
{
    (void)site, (void)spec, (void)place;
    if (begin_call(err) < 0)
        return -1;
    if (world->refuse)
        return err_set(err, ERR_INVALID, "Invalid partition");
    assert_true(world->prepared && world->submitted < MAX_JOBS);
    int64_t late = world->late;
    world->late = 0;
    world->slurm[world->submitted].arrives = world->now + late;
    *id = ++world->submitted;
    return late ? err_set(err, ERR_TIMEOUT, "no answer") : end_call(err);
}

static void add_job(struct str *body, int id)
{
    const struct slurm_job *job = &world->slurm[id - 1];
    const char *state = job->cancelled                ? "CANCELLED"
                        : !job->starts                ? "PENDING"
                        : world->now < job->ends      ? "RUNNING"
                        : job->idle && world->removed ? "FAILED"
                        : job->idle                   ? "COMPLETED"
                                                      : "FAILED";
    int code = strcmp(state, "FAILED") == 0 ? (job->idle || world->broken ? 1 : 5) << 8 : 0;
    if (world->broken == NODE_FAILED && strcmp(state, "FAILED") == 0)
        state = "NODE_FAIL";
    str_addf(body,
             "%s{\"job_id\":%d,\"comment\":\"minik8s:u-1\",\"job_state\":\"%s\",\"state_reason\":\"None\","
             "\"exit_code\":%d,\"nodes\":\"n1\",\"start_time\":%lld,\"end_time\":%lld}",
             str_ends(str_c(body), "[") ? "" : ",", id, state, code,
             (long long)(job->starts ? 1700000000 + job->starts / 1000 : 0),
             (long long)(job->ends ? 1700000000 + job->ends / 1000 : 0));
}

static bool forgotten(void)
{
    return world->forgotten_at && world->now >= world->forgotten_at;
}

static void list_jobs(struct str *body, int64_t only)
{
    str_add(body, "{\"errors\":[],\"jobs\":[");
    for (int id = 1; id <= world->submitted && !forgotten(); id++)
        if (world->slurm[id - 1].arrives <= world->now && (!only || only == id))
            add_job(body, id);
    str_add(body, "]}");
}

static int fake_find(struct slurm_site *site, const char *comment, int64_t *id, struct err **err)
{
    (void)site;
    auto_str body = {0};
    if (begin_call(err) < 0)
        return -1;
    list_jobs(&body, 0);
    int result = slurm_find_rest(id, comment, 200, str_c(&body), body.len, err);
    return result < 0 ? result : end_call(err);
}

static int fake_look(struct slurm_site *site, int64_t id, const struct slurm_known *known,
                     struct slurm_view *view, struct err **err)
{
    (void)site;
    auto_str body = {0};
    if (begin_call(err) < 0)
        return -1;
    list_jobs(&body, id);
    int result = slurm_view_rest(view, known, 200, str_c(&body), body.len, err);
    return result < 0 ? result : end_call(err);
}

static int fake_cancel(struct slurm_site *site, int64_t id, struct err **err)
{
    (void)site;
    if (begin_call(err) < 0)
        return -1;
    struct slurm_job *job = &world->slurm[id - 1];
    if (!job->starts || world->now < job->ends) {
        job->cancelled = true;
        job->ends = world->now;
    }
    return end_call(err);
}

/* What the job has written by now. */
static char *text_of(const char *file)
{
    const struct slurm_job *job = world->worker ? &world->slurm[world->worker - 1] : NULL;
    if (!job || world->removed)
        return NULL;
    if (strcmp(file, SLURM_PRIVATE "/job") == 0)
        return mem_printf("%d\n", world->worker);
    if (strcmp(file, SLURM_PRIVATE "/phase") == 0)
        return mem_strdup("running\n");
    if (strcmp(file, SLURM_PRIVATE "/stdout") == 0)
        return mem_strdup(world->now < job->starts + WORK_MS / 2 ? "one\n" : "one\ntwo\n");
    if (strcmp(file, SLURM_PRIVATE "/rc") == 0 && world->now >= job->ends && !job->cancelled &&
        !forgotten() && !world->broken)
        return mem_strdup("5\n");
    return strcmp(file, SLURM_PRIVATE "/stderr") == 0 ? mem_strdup("") : NULL;
}

static int fake_read(struct slurm_site *site, const char *folder, const char *file, int64_t offset,
                     size_t max, struct str *out, struct err **err)
{
    (void)site, (void)folder, (void)max;
    if (begin_call(err) < 0)
        return -1;
    auto_free char *text = text_of(file);
    if (!text)
        return err_set(err, ERR_NOT_FOUND, "it is not there");
    if (offset < (int64_t)strlen(text))
        str_add(out, text + offset);
    return end_call(err);
}

static int fake_list(struct slurm_site *site, const char *folder, struct str *out, struct err **err)
{
    (void)site, (void)folder;
    if (begin_call(err) < 0)
        return -1;
    if (world->broken == STARTED_TWICE)
        str_add(out, "1 lost\n");
    return end_call(err);
}

static int fake_collect(struct slurm_site *site, const char *folder, const cJSON *globs, int64_t max,
                        const char *into, struct str *refused, struct err **err)
{
    (void)site, (void)folder, (void)max, (void)refused;
    if (begin_call(err) < 0)
        return -1;
    auto_free char *path = file_join(into, SLURM_PRIVATE "/stdout"),
                   *private = file_join(into, SLURM_PRIVATE);
    auto_free char *text = text_of(SLURM_PRIVATE "/stdout");
    if (text && files_match(globs, SLURM_PRIVATE "/stdout") &&
        (file_make_dirs(private, 0700, err) < 0 ||
         file_write_atomic(path, text, strlen(text), 0600, err) < 0))
        return -1;
    return end_call(err);
}

static int fake_remove(struct slurm_site *site, const char *folder, struct err **err)
{
    (void)site, (void)folder;
    if (begin_call(err) < 0)
        return -1;
    world->removed = true;
    return end_call(err);
}

static const struct slurm_site_ops ops = {.prepare = fake_prepare,
                                          .submit = fake_submit,
                                          .find = fake_find,
                                          .look = fake_look,
                                          .cancel = fake_cancel,
                                          .read = fake_read,
                                          .list = fake_list,
                                          .collect = fake_collect,
                                          .remove = fake_remove};

/* ---- submitters ---- */

static void begin(void)
{
    *world = (struct world){.revision = 1};
    snprintf(world->job, sizeof world->job,
             "{\"metadata\":{\"name\":\"j\",\"uid\":\"u-1\"},\"spec\":{\"run\":\"exit "
             "5\",\"outputs\":[\"*.dat\"]}}");
}

static pid_t start_submitter(void)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    struct slurm_site site = {.ops = &ops};
    auto_json cluster = parsed("{\"directory\":\"/srv/jobs\",\"pollSeconds\":1}");
    struct run run = {.site = &site, .cluster = cluster, .clock = &clock_of_world, .scratch = scratch};
    int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, 1);
    dup2(nowhere, 2);
    log_set_level(LOG_ERROR);
    _exit(run_job(&run, "d", "j"));
}

/* Its exit code, or SIGSTOP + 256. */
static int wait_for(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    if (WIFSTOPPED(status))
        return 256 + WSTOPSIG(status);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int run_one(void)
{
    world->step = 0;
    return wait_for(start_submitter());
}

/* Steps of a job without any disturbance. */
static int steps_of_all(void)
{
    begin();
    assert_int_equal(run_one(), 0);
    return world->step;
}

/* name, at: which disturbance, for the message. */
static void expect_end(const char *name, int at, const char *state, int code, int submissions)
{
    auto_json job = parsed(world->job);
    const cJSON *status = json_get(job, "status");
    bool once = world->starts <= 1 && world->submitted <= submissions;
    bool worker = !world->worker || json_int(status, "slurmId", 0) == world->worker;
    bool kept = !world->submitted ||
                (json_string(status, "results.digest") && !json_string(status, "results.message"));
    if (!once || !worker || !kept || !json_bool(status, "done", false) ||
        !str_eq(json_string(status, "state"), state) || json_int(status, "exitCode", 0) != code ||
        (code == 5 && !str_eq(json_string(status, "stdout"), "one\ntwo\n"))) {
        auto_free char *text = json_print(status);
        fail_msg("%s at step %d: submitted %d, started %d, worker %d: %s", name, at, world->submitted,
                 world->starts, world->worker, text);
    }
}

/* ---- */

static void without_a_disturbance(void **state)
{
    (void)state;
    assert_in_range(steps_of_all(), 30, 300);
    expect_end("nothing", 0, "Failed", 5, 1);
    assert_true(world->removed);
}

static void killed_at_each_step(void **state)
{
    (void)state;
    int n = steps_of_all();
    for (int at = 1; at <= n; at++) {
        begin();
        world->kill_at = at;
        assert_int_equal(run_one(), KILLED);
        world->kill_at = 0;
        assert_int_equal(run_one(), 0);
        expect_end("killed", at, "Failed", 5, 1);
    }
}

static void killed_twice(void **state)
{
    (void)state;
    int n = steps_of_all();
    for (int at = 1; at <= n; at += 3)
        for (int again = 1 + at % 11; again <= n; again += 11) {
            begin();
            world->kill_at = at;
            assert_int_equal(run_one(), KILLED);
            world->kill_at = again;
            int code = run_one();
            world->kill_at = 0;
            assert_true(code == 0 || code == KILLED);
            if (code == KILLED)
                assert_int_equal(run_one(), 0);
            expect_end("killed twice", at * 1000 + again, "Failed", 5, 1);
        }
}

/* For one step, and for half a minute, the network or a server is away. */
static void no_answer_at_each_step(void **state)
{
    (void)state;
    const int lengths[] = {1, 40};
    int n = steps_of_all();
    for (int failing = FAILS_BEFORE; failing <= FAILS_AFTER; failing++)
        for (size_t i = 0; i < COUNT_OF(lengths); i++)
            for (int at = 1; at <= n; at++) {
                begin();
                world->fail_at = at;
                world->fail_for = lengths[i];
                world->failing = (enum failing)failing;
                assert_int_equal(run_one(), 0);
                expect_end(failing == FAILS_BEFORE ? "request lost" : "answer lost", at, "Failed", 5, 1);
            }
}

/* Nobody can know how it ended: it is told so, without an exit code. */
static void forgotten_by_slurm(void **state)
{
    (void)state;
    begin();
    world->forgotten_at = QUEUED_MS + WORK_MS / 2;
    assert_int_equal(run_one(), 0);
    expect_end("forgotten", 0, "Failed", 0, 1);
    auto_json job = parsed(world->job);
    assert_string_equal(json_string(job, "status.reason"), "Unknown");
    assert_null(json_at(job, "status.exitCode"));
}

/* The same, if Slurm does say that it failed: never a failure with an exit code that is none. */
static void failed_without_an_exit_code(void **state)
{
    (void)state;
    const char *const reasons[] = {[NODE_FAILED] = "NodeFail", [STARTED_TWICE] = "Unknown"};
    for (enum broken broken = NODE_FAILED; broken <= STARTED_TWICE; broken++) {
        begin();
        world->broken = broken;
        assert_int_equal(run_one(), 0);
        expect_end("broken", (int)broken, "Failed", 0, 1);
        auto_json job = parsed(world->job);
        assert_string_equal(json_string(job, "status.reason"), reasons[broken]);
        assert_has(json_string(job, "status.message"), "left no exit code");
        assert_null(json_at(job, "status.exitCode"));
    }
}

/* A node that is cut off: its submitter is stopped, another takes the job to its end, then the first goes on.
 */
static void stopped_while_another_ends_it(void **state)
{
    (void)state;
    int n = steps_of_all();
    for (int at = 1; at <= n; at++) {
        begin();
        world->stop_at = at;
        pid_t first = start_submitter();
        assert_int_equal(wait_for(first), 256 + SIGSTOP);
        world->stop_at = 0;
        assert_int_equal(run_one(), 0);
        expect_end("stopped", at, "Failed", 5, 1);
        world->step = 0;
        kill(first, SIGCONT);
        assert_int_equal(wait_for(first), 0);
        expect_end("went on", at, "Failed", 5, 2);
    }
}

/* The same, but both go on at the same time. */
static void two_at_once(void **state)
{
    (void)state;
    int n = steps_of_all();
    for (int at = 1; at <= n; at += 3)
        for (int other = 1 + at % 11; other <= n; other += 11) {
            begin();
            world->stop_at = at;
            pid_t first = start_submitter();
            assert_int_equal(wait_for(first), 256 + SIGSTOP);
            world->step = 0;
            world->stop_at = other;
            pid_t second = start_submitter();
            int code = wait_for(second);
            world->stop_at = 0;
            world->step = 0;
            kill(first, SIGCONT);
            assert_int_equal(wait_for(first), 0);
            if (code != 0) {
                world->step = 0;
                kill(second, SIGCONT);
                assert_int_equal(wait_for(second), 0);
            }
            expect_end("two at once", at * 1000 + other, "Failed", 5, 2);
        }
}

static void a_submission_that_arrives_late(void **state)
{
    (void)state;
    begin();
    world->late = 9000;
    assert_int_equal(run_one(), 0);
    expect_end("9 s late", 0, "Failed", 5, 1);
    const int64_t lates[] = {16000, 17000, 18000, 30000}; /* longer than is waited for */
    for (size_t i = 0; i < COUNT_OF(lates); i++) {
        begin();
        world->late = lates[i];
        assert_int_equal(run_one(), 0);
        expect_end("late", (int)lates[i], "Failed", 5, 2);
    }
}

static void a_refusal_is_told_once(void **state)
{
    (void)state;
    begin();
    world->refuse = true;
    assert_int_equal(run_one(), 0);
    int n = world->step;
    for (int at = 1; at <= n; at++) {
        begin();
        world->refuse = true;
        world->kill_at = at;
        assert_int_equal(run_one(), KILLED);
        world->kill_at = 0;
        assert_int_equal(run_one(), 0);
        expect_end("refused", at, "Failed", 0, 0);
    }
}

static void cancelled_and_killed_at_each_step(void **state)
{
    (void)state;
    int n = steps_of_all();
    const int64_t when[] = {1, 1000, 4000}; /* before Slurm has it, while it waits, while it runs */
    for (size_t i = 0; i < COUNT_OF(when); i++)
        for (int at = 1; at <= n; at++) {
            begin();
            world->cancel_at = when[i];
            world->kill_at = at;
            int code = run_one();
            world->kill_at = 0;
            if (code == KILLED)
                assert_int_equal(run_one(), 0);
            expect_end("cancelled", at, "Cancelled", 0, 1);
            for (int job = 0; job < world->submitted; job++)
                assert_true(world->slurm[job].cancelled);
        }
}

static int setup(void **state)
{
    (void)state;
    json_init();
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return world == MAP_FAILED || !mkdtemp(scratch) ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(scratch, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_disturbance),
        cmocka_unit_test(killed_at_each_step),
        cmocka_unit_test(killed_twice),
        cmocka_unit_test(no_answer_at_each_step),
        cmocka_unit_test(forgotten_by_slurm),
        cmocka_unit_test(failed_without_an_exit_code),
        cmocka_unit_test(stopped_while_another_ends_it),
        cmocka_unit_test(two_at_once),
        cmocka_unit_test(a_submission_that_arrives_late),
        cmocka_unit_test(a_refusal_is_told_once),
        cmocka_unit_test(cancelled_and_killed_at_each_step),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
