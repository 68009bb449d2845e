/* What slurmrestd and scontrol say → one picture; broken answers never crash, and never look like an end. */
#include "slurm_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "submitter/answer.h"

#define REST(jobs) "{\"meta\":{},\"errors\":[],\"jobs\":[" jobs "]}"
#define JOB(state, reason, code)                                                                             \
    "{\"job_id\":5,\"array_job_id\":0,\"comment\":\"minik8s:u\",\"job_state\":\"" state                      \
    "\",\"state_reason\":\"" reason "\",\"exit_code\":" code                                                 \
    ",\"nodes\":\"gpu0\",\"submit_time\":100,\"start_time\":110,\"end_time\":150,\"cpus\":2,"                \
    "\"tres_alloc_str\":\"cpu=2\",\"gres_detail\":[\"gpu:h100:1(IDX:0)\"]}"

static struct slurm_view view_of(const char *body)
{
    struct slurm_view view;
    struct err *err = NULL;
    if (slurm_view_rest(&view, NULL, 200, body, strlen(body), &err) < 0)
        fail_msg("%s: %s", err_message(err), body);
    return view;
}

static void states_become_ours(void **state)
{
    (void)state;
    const struct {
        const char *body, *state, *reason;
        int code, signal;
    } all[] = {
        {REST(JOB("PENDING", "Resources", "0")), "Pending", "Resources", 0, 0},
        {REST(JOB("CONFIGURING", "None", "0")), "Pending", "", 0, 0},
        {REST(JOB("RUNNING", "None", "0")), "Running", "", 0, 0},
        {REST(JOB("COMPLETING", "None", "0")), "Running", "", 0, 0},
        {REST(JOB("SUSPENDED", "None", "0")), "Running", "", 0, 0},
        {REST(JOB("COMPLETED", "None", "0")), "Succeeded", "", 0, 0},
        {REST(JOB("FAILED", "NonZeroExitCode", "1792")), "Failed", "NonZeroExitCode", 7, 0},
        {REST(JOB("FAILED", "JobLaunchFailure", "9")), "Failed", "JobLaunchFailure", 0, 9},
        {REST(JOB("OUT_OF_MEMORY", "OutOfMemory", "9")), "Failed", "OutOfMemory", 0, 9},
        {REST(JOB("NODE_FAIL", "None", "0")), "Failed", "NodeFail", 0, 0},
        {REST(JOB("CANCELLED", "None", "15")), "Cancelled", "", 0, 15},
        {REST(JOB("NODE_FAIL", "NodeDown", "1")), "Failed", "NodeFail", 0, 0},
        {REST(JOB("FAILED", "None", "0")), "Failed", "Unknown", 0, 0},
        {REST(JOB("FAILED", "None", "256")), "Failed", "NonZeroExitCode", 1, 0},
        {REST(JOB("TIMEOUT", "TimeLimit", "0")), "Timeout", "TimeLimit", 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        struct slurm_view view = view_of(all[i].body);
        if (strcmp(slurm_view_state(&view), all[i].state) != 0 ||
            strcmp(slurm_view_reason(&view), all[i].reason) != 0 || view.exit_code != all[i].code ||
            view.signal != all[i].signal)
            fail_msg("%s: %s %s %d %d", all[i].body, slurm_view_state(&view), slurm_view_reason(&view),
                     view.exit_code, view.signal);
    }
    struct slurm_view view = view_of(REST(JOB("FAILED", "NonZeroExitCode", "256")));
    assert_string_equal(view.nodes, "gpu0");
    assert_string_equal(view.gres, "gpu:h100:1(IDX:0)");
    assert_int_equal(view.ended - view.started, 40);
}

static void an_array_is_one_job(void **state)
{
    (void)state;
    struct slurm_view view = view_of(REST(JOB("COMPLETED", "None", "0") "," JOB(
        "FAILED", "NonZeroExitCode", "256") "," JOB("PENDING", "JobArrayTaskLimit", "0")));
    assert_string_equal(slurm_view_state(&view), "Running");
    assert_int_equal(view.ended, 0);
    view = view_of(REST(JOB("COMPLETED", "None", "0") "," JOB("FAILED", "NonZeroExitCode",
                                                              "512") "," JOB("CANCELLED", "None", "15")));
    assert_string_equal(slurm_view_state(&view), "Failed");
    assert_int_equal(view.exit_code, 2);
    assert_int_equal(view.tasks, 3);
    assert_int_equal(view.cancelled, 1);
    assert_int_equal(view.cpus, 6);
}

static void a_start_that_was_lost_is_in_doubt(void **state)
{
    (void)state;
    assert_int_equal(view_of(REST(JOB("PENDING", "launch_failed_requeued_held", "0"))).doubtful, 1);
    assert_int_equal(view_of(REST(JOB("PENDING", "Priority", "0"))).doubtful, 0);
}

#define TASK(index, state, reason)                                                                           \
    "{\"job_id\":9,\"array_job_id\":5,\"array_task_id\":" index                                              \
    ",\"comment\":\"minik8s:u\",\"job_state\":\"" state "\",\"state_reason\":\"" reason                      \
    "\",\"exit_code\":0}"
#define LOST "launch_failed_requeued_held"

static void know(struct slurm_known *known, const char *task, int code)
{
    int *own = NEW(int);
    *own = code;
    map_set(&known->ends, task, own);
}

/* Slurm lost the starts of tasks 1 and 3; 3 has left its exit code. */
static void each_task_of_an_array_decides_by_itself(void **state)
{
    (void)state;
    struct slurm_view view;
    struct slurm_known known = {.comment = "minik8s:u"};
    map_init(&known.ends, free);
    const char *body = REST(TASK("0", "COMPLETED", "None") "," TASK("1", "PENDING", LOST) "," TASK(
        "2", "RUNNING", "None") "," TASK("3", "PENDING", LOST));
    const char *lines =
        "JobId=6 ArrayJobId=5 ArrayTaskId=1 Comment=minik8s:u JobState=REQUEUE_HOLD Reason=None\n"
        "JobId=8 ArrayJobId=5 ArrayTaskId=3 Comment=minik8s:u JobState=REQUEUE_HOLD Reason=None\n";
    know(&known, "3", 0);
    assert_int_equal(slurm_view_rest(&view, &known, 200, body, strlen(body), NULL), 0);
    assert_string_equal(slurm_view_state(&view), "Running");
    assert_int_equal(view.doubtful, 1);
    assert_int_equal(view.succeeded, 2);
    assert_int_equal(slurm_view_scontrol(&view, &known, lines, NULL), 0);
    assert_int_equal(view.doubtful, 1);
    assert_int_equal(view.succeeded, 1);
    know(&known, "1", 7);
    assert_int_equal(slurm_view_scontrol(&view, &known, lines, NULL), 0);
    assert_int_equal(view.phase, SLURM_ENDED);
    assert_string_equal(slurm_view_state(&view), "Failed");
    assert_string_equal(slurm_view_reason(&view), "NonZeroExitCode");
    assert_int_equal(view.exit_code, 7);
    map_fini(&known.ends);
}

/* Slurm says that it failed: how its script ended, the script says. */
static void what_slurm_did_not_see_the_job_says(void **state)
{
    (void)state;
    const struct {
        const char *body;
        int left;
        const char *state, *reason;
        int code;
    } all[] = {
        {REST(JOB("NODE_FAIL", "NodeDown", "1")), 0, "Succeeded", "", 0},
        {REST(JOB("NODE_FAIL", "NodeDown", "1")), 143, "Failed", "NodeFail", 0},
        {REST(JOB("NODE_FAIL", "NodeDown", "1")), 7, "Failed", "NonZeroExitCode", 7},
        {REST(JOB("NODE_FAIL", "NodeDown", "1")), SLURM_LOST, "Failed", "NodeFail", 0},
        {REST(JOB("FAILED", "None", "0")), 3, "Failed", "NonZeroExitCode", 3},
        {REST(JOB("FAILED", "NonZeroExitCode", "256")), SLURM_LOST, "Failed", "Unknown", 0},
        {REST(JOB("FAILED", "NonZeroExitCode", "256")), 3, "Failed", "NonZeroExitCode", 1},
        {REST(JOB("FAILED", "JobLaunchFailure", "9")), 0, "Failed", "JobLaunchFailure", 0},
        {REST(JOB("CANCELLED", "None", "15")), 0, "Cancelled", "", 0},
        {REST(JOB("PENDING", "launch_failed_requeued_held", "0")), SLURM_LOST, "Failed", "Unknown", 0},
    };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        struct slurm_view view;
        struct slurm_known known = {0};
        map_init(&known.ends, free);
        know(&known, "", all[i].left);
        assert_int_equal(slurm_view_rest(&view, &known, 200, all[i].body, strlen(all[i].body), NULL), 0);
        if (strcmp(slurm_view_state(&view), all[i].state) != 0 ||
            strcmp(slurm_view_reason(&view), all[i].reason) != 0 || view.exit_code != all[i].code)
            fail_msg("%s, %d left: %s %s %d", all[i].body, all[i].left, slurm_view_state(&view),
                     slurm_view_reason(&view), view.exit_code);
        map_fini(&known.ends);
    }
}

static void a_forgotten_job_is_what_its_tasks_left(void **state)
{
    (void)state;
    struct slurm_view view;
    struct slurm_known known = {0};
    map_init(&known.ends, free);
    slurm_view_forgotten(&view, &known, NULL);
    assert_int_equal(view.tasks, 1);
    assert_int_equal(view.doubtful, 1);
    know(&known, "", 0);
    slurm_view_forgotten(&view, &known, NULL);
    assert_string_equal(slurm_view_state(&view), "Succeeded");
    const char *const tasks[] = {"0", "4", "8", "20"};
    for (size_t i = 0; i < COUNT_OF(tasks); i++) {
        slurm_view_forgotten(&view, &known, "0-9:4,20%2");
        assert_int_equal(view.tasks, 4);
        assert_int_equal(view.doubtful, 4 - i);
        assert_int_not_equal(view.phase, SLURM_ENDED);
        know(&known, tasks[i], 0);
    }
    slurm_view_forgotten(&view, &known, "0-9:4,20%2");
    assert_string_equal(slurm_view_state(&view), "Succeeded");
    slurm_view_forgotten(&view, &known, "0-9:4,20-21%2");
    slurm_view_give_up(&view);
    assert_string_equal(slurm_view_state(&view), "Failed");
    assert_string_equal(slurm_view_reason(&view), "Unknown");
    assert_int_equal(view.succeeded, 4);
    assert_int_equal(view.failed, 1);
    map_fini(&known.ends);
}

static enum err_code error_of(int status, const char *body)
{
    struct slurm_view view;
    auto_err err = NULL;
    assert_int_equal(slurm_view_rest(&view, NULL, status, body, strlen(body), &err), -1);
    return err_code(err);
}

static void errors_say_whether_they_may_pass(void **state)
{
    (void)state;
    assert_int_equal(
        error_of(500,
                 "{\"errors\":[{\"error_number\":2017,\"error\":\"Invalid job id specified\"}],\"jobs\":[]}"),
        ERR_NOT_FOUND);
    assert_int_equal(error_of(200, REST("")), ERR_NOT_FOUND);
    assert_int_equal(error_of(401, "{\"errors\":[{\"error\":\"Authentication failure\"}]}"),
                     ERR_UNAUTHORIZED);
    assert_int_equal(
        error_of(500,
                 "{\"errors\":[{\"error_number\":-1,\"error\":\"slurmctld config is unable to load\"}]}"),
        ERR_UNAVAILABLE);
    assert_int_equal(error_of(503, "<html>"), ERR_UNAVAILABLE);
    auto_err err = NULL;
    int64_t id = 0;
    const char *refused =
        "{\"errors\":[{\"error_code\":2014,\"error\":\"Requested node configuration is not available\"}]}";
    assert_int_equal(slurm_submitted_rest(&id, 500, refused, strlen(refused), &err), -1);
    assert_int_equal(err_code(err), ERR_INVALID);
    assert_has(err_message(err), "Requested node configuration is not available");
    const char *standby =
        "{\"errors\":[{\"error_code\":2027,\"error\":\"Slurm backup controller in standby mode\"}]}";
    auto_err later = NULL;
    assert_int_equal(slurm_submitted_rest(&id, 500, standby, strlen(standby), &later), -1);
    assert_int_equal(err_code(later), ERR_UNAVAILABLE);
    /* Its nodes are down: it waits for them. */
    const char *waits =
        "{\"errors\":[{\"error_code\":2068,\"error\":\"Required node not available\"}],\"job_id\":8}";
    assert_int_equal(slurm_submitted_rest(&id, 200, waits, strlen(waits), NULL), 0);
    assert_int_equal(id, 8);
    const char *taken = "{\"errors\":[],\"job_id\":17}";
    assert_int_equal(slurm_submitted_rest(&id, 200, taken, strlen(taken), NULL), 0);
    assert_int_equal(id, 17);
}

/* A controller that has lost its state gives numbers again. */
static void anothers_job_under_our_number_is_not_ours(void **state)
{
    (void)state;
    struct slurm_view view;
    const struct slurm_known ours = {.comment = "minik8s:u"}, other = {.comment = "minik8s:v"};
    auto_err err = NULL;
    const char *body = REST(JOB("FAILED", "NonZeroExitCode", "256"));
    assert_int_equal(slurm_view_rest(&view, &ours, 200, body, strlen(body), NULL), 0);
    assert_int_equal(slurm_view_rest(&view, &other, 200, body, strlen(body), &err), -1);
    assert_int_equal(err_code(err), ERR_NOT_FOUND);
    assert_int_equal(slurm_view_scontrol(&view, &ours, "JobId=1 Comment=minik8s:u JobState=RUNNING\n", NULL),
                     0);
    assert_int_equal(slurm_view_scontrol(&view, &other, "JobId=1 Comment=minik8s:u JobState=RUNNING\n", NULL),
                     -1);
}

static void a_job_is_found_by_its_comment(void **state)
{
    (void)state;
    int64_t id = -1;
    const char *jobs = REST("{\"job_id\":9,\"array_job_id\":7,\"comment\":\"minik8s:u\"},{\"job_id\":3,"
                            "\"comment\":\"minik8s:other\"},"
                            "{\"job_id\":8,\"array_job_id\":0,\"comment\":\"minik8s:u\"}");
    assert_int_equal(slurm_find_rest(&id, "minik8s:u", 200, jobs, strlen(jobs), NULL), 0);
    assert_int_equal(id, 7);
    assert_int_equal(slurm_find_rest(&id, "minik8s:nobody", 200, jobs, strlen(jobs), NULL), 0);
    assert_int_equal(id, 0);
    assert_int_equal(slurm_find_lines("4|x\n6_1|minik8s:u\n5|minik8s:u\n", "minik8s:u"), 5);
    assert_int_equal(slurm_find_lines("", "minik8s:u"), 0);
}

static void scontrol_says_the_same(void **state)
{
    (void)state;
    struct slurm_view view;
    assert_int_equal(slurm_view_scontrol(&view, NULL,
                                         "JobId=12 JobName=mm UserId=root(0) Comment=minik8s:u "
                                         "JobState=FAILED Reason=NonZeroExitCode Dependency=(null) "
                                         "ExitCode=7:0 SubmitTime=2026-11-29T10:00:00 "
                                         "StartTime=2026-11-29T10:00:01 EndTime=2026-11-29T10:00:05 "
                                         "ReqNodeList=(null) NodeList=gpu1 NumNodes=1 NumCPUs=2 NumTasks=1 "
                                         "TRES=cpu=2,mem=200M Command=/x y\n",
                                         NULL),
                     0);
    assert_string_equal(slurm_view_state(&view), "Failed");
    assert_int_equal(view.exit_code, 7);
    assert_string_equal(view.nodes, "gpu1");
    assert_int_equal(view.ended - view.started, 4);
    assert_int_equal(view.cpus, 2);
    assert_int_equal(slurm_view_scontrol(&view, NULL, "", NULL), -1);
}

/* Mutated answers: no crash, and what is not JSON is never an end. */
static void broken_answers_do_no_harm(void **state)
{
    (void)state;
    const char *whole = REST(JOB("COMPLETED", "None", "0") "," JOB("RUNNING", "None", "0"));
    size_t len = strlen(whole);
    unsigned seed = 7;
    for (int round = 0; round < 5000; round++) {
        auto_free char *text = mem_strdup(whole);
        size_t n = round % 2 ? len : (size_t)rand_r(&seed) % len;
        for (int i = 0; i < 1 + round % 3; i++)
            text[(size_t)rand_r(&seed) % len] = (char)rand_r(&seed);
        struct slurm_view view;
        auto_err err = NULL;
        int64_t id;
        if (slurm_view_rest(&view, NULL, 200, text, n, &err) == 0)
            assert_true(view.tasks > 0);
        else
            assert_non_null(err);
        slurm_find_rest(&id, "minik8s:u", 200, text, n, NULL);
        slurm_submitted_rest(&id, 200, text, n, NULL);
        text[n] = 0;
        slurm_view_scontrol(&view, NULL, text, NULL);
    }
    const char *const odd[] = {
        "[]",
        "null",
        "{\"jobs\":{}}",
        "{\"jobs\":[null,1,\"x\",[]]}",
        "{\"jobs\":[{\"job_state\":5}]}",
        REST("{\"job_state\":\"COMPLETED\",\"exit_code\":1e99,\"start_time\":-5,\"gres_detail\":[1]}"),
        ""};
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        struct slurm_view view;
        slurm_view_rest(&view, NULL, 200, odd[i], strlen(odd[i]), NULL);
    }
}

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_become_ours),
        cmocka_unit_test(an_array_is_one_job),
        cmocka_unit_test(a_start_that_was_lost_is_in_doubt),
        cmocka_unit_test(each_task_of_an_array_decides_by_itself),
        cmocka_unit_test(what_slurm_did_not_see_the_job_says),
        cmocka_unit_test(a_forgotten_job_is_what_its_tasks_left),
        cmocka_unit_test(errors_say_whether_they_may_pass),
        cmocka_unit_test(anothers_job_under_our_number_is_not_ours),
        cmocka_unit_test(a_job_is_found_by_its_comment),
        cmocka_unit_test(scontrol_says_the_same),
        cmocka_unit_test(broken_answers_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
