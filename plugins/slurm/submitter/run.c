/*
 * run: the job from where the last submitter left it to its end. What is done anew at each start may have
 * been done before: the order in submit.c and end.c is what makes that safe.
 */
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "submitter/run.h"

#define RETRY_MS 1000
#define TRIES 120 /* for a job that is to go */

void run_report(struct run *run, cJSON *status)
{
    auto_json own = status;
    auto_json next = json_merge_patch(json_copy(run->reported), status);
    if (json_equal(next, run->reported))
        return;
    for (;;) {
        auto_err error = NULL;
        if (home_report(run->home, status, NULL, &error) == 0)
            break;
        log_warn("submitter", "reporting: %s", err_message(error));
        if (err_code(error) == ERR_NOT_FOUND || err_code(error) == ERR_INVALID)
            break; /* the GPUJob is gone, or another submitter has brought it to its end */
        home_pause(run->home, RETRY_MS);
    }
    cJSON_Delete(run->reported);
    run->reported = steal(&next);
}

static bool passes(const struct err *error)
{
    switch (err_code(error)) {
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_UNAUTHORIZED:
    case ERR_TOO_MANY_REQUESTS:
    case ERR_INTERNAL:
        return true;
    default:
        return false;
    }
}

bool run_try_again(struct run *run, unsigned *tries, const struct err *error)
{
    if (!run->ended || !passes(error))
        return false;
    if (*tries % 60 == 0)
        log_warn("submitter", "results: %s", err_message(error));
    (*tries)++;
    if (home_wait(run->home, RETRY_MS) == HOME_GO_ON)
        return true;
    home_pause(run->home, RETRY_MS);
    return *tries < TRIES;
}

void run_tell(struct run *run, const char *state, const char *reason, const char *message)
{
    cJSON *status = cJSON_CreateObject();
    json_set_string(status, "state", state);
    json_set_string(status, "reason", reason);
    json_set_string(status, "message", message);
    run_report(run, status);
}

/* The job as it is; NULL: it is gone. */
static cJSON *read_job(struct home *home)
{
    for (;;) {
        auto_err error = NULL;
        cJSON *job = home_job(home, &error);
        if (job || err_code(error) == ERR_NOT_FOUND)
            return job;
        log_warn("submitter", "reading the GPUJob: %s", err_message(error));
        home_pause(home, RETRY_MS);
    }
}

static int run_prepare(struct run *run, const char *namespace, const char *name, struct err **err)
{
    const char *directory = json_string(run->cluster, "directory"),
               *uid = json_string(run->job, "metadata.uid");
    if (!directory || !uid)
        return err_set(err, ERR_INVALID, "the SlurmCluster has no directory, or the job no uid");
    run->folder = mem_printf("%s/%s.%s.%s", directory, namespace, name, uid);
    run->known.comment = slurm_comment(uid);
    map_init(&run->known.ends, free);
    run->place = (struct slurm_place){.name = name, .uid = uid, .folder = run->folder};
    run->poll_ms = json_int(run->cluster, "pollSeconds", 1) * 1000;
    run->id = json_int(run->job, "status.slurmId", 0);
    const cJSON *status = json_get(run->job, "status");
    run->reported = status ? json_copy(status) : cJSON_CreateObject();
    run_open_streams(run);
    return 0;
}

/* What is to be kept is kept; what could not be stays where it is. */
static void remove_folder(struct run *run)
{
    auto_err error = NULL;
    if (json_string(run->reported, "results.message") || !json_string(run->reported, "results.digest"))
        return;
    if (run->site->ops->remove(run->site, run->folder, &error) < 0)
        log_warn("submitter", "removing %s: %s", run->folder, err_message(error));
}

int run_job(struct run *run, const char *namespace, const char *name)
{
    auto_err error = NULL;
    run->job = read_job(run->home);
    if (!run->job || json_bool(run->job, "status.done", false))
        return 0;
    if (run_prepare(run, namespace, name, &error) < 0) {
        run_tell(run, "Pending", "SubmitterFailed", err_message(error));
        return 1;
    }
    if (run->id || run_submit(run)) {
        run_follow(run);
        run_conclude(run);
        remove_folder(run);
    }
    return 0;
}
