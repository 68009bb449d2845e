/*
 * submit: hands the job to Slurm. Order: files → the attempt is recorded in the job's status → Slurm is asked
 * whether it has a job with our comment → submission → its number is recorded. Whoever finds an attempt whose
 * answer nobody knows asks first, and submits again only when no earlier request can still be on its way.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/time.h"
#include "submitter/run.h"

#define RETRY_MS 1000
#define NO_JOB 2147483646 /* above any number that Slurm gives (MaxJobId) */
#define DOUBT_MS                                                                                             \
    15000 /* a request that was sent before may still arrive: longer than any time-out on its way */

static bool is_final(const struct err *error)
{
    return err_code(error) == ERR_INVALID;
}

/* An end without Slurm. */
static bool give_up(struct run *run, const char *state, const char *reason, const char *message)
{
    char now[TIME_TEXT];
    time_print(clock_wall_ns(run->clock), now);
    cJSON *status = cJSON_CreateObject();
    json_set_string(status, "state", state);
    json_set_string(status, "reason", reason);
    json_set_string(status, "message", message);
    json_set_string(status, "completionTime", now);
    json_set_bool(status, "done", true);
    run_report(run, status);
    return false;
}

static bool prepare_files(struct run *run)
{
    for (;;) {
        auto_err error = NULL;
        auto_free char *staged = run_stage(run, &error);
        int result = staged ? run->site->ops->prepare(run->site, staged, run->folder, &error) : -1;
        if (staged)
            file_remove_tree(staged, NULL);
        if (result == 0)
            return true;
        if (is_final(error))
            return give_up(run, "Failed", "BadSources", err_message(error));
        run_tell(run, "Pending", "FilesNotSent", err_message(error));
        if (home_wait(run->home, RETRY_MS) != HOME_GO_ON)
            return give_up(run, "Cancelled", "Cancelled", "cancelled before it was handed to Slurm");
    }
}

/* Notes that a submission begins now. ERR_CONFLICT: the job has changed, read it again. */
static int record_attempt(struct run *run, struct err **err)
{
    char now[TIME_TEXT];
    const char *pod = getenv("POD_UID");
    time_print(clock_wall_ns(run->clock), now);
    auto_json status = cJSON_CreateObject();
    cJSON *attempt = json_ensure_object(status, "attempt");
    json_set_string(attempt, "pod", pod ? pod : "");
    json_set_string(attempt, "time", now);
    return home_report(run->home, status, json_string(run->job, "metadata.resourceVersion"), err);
}

/* False: the job is gone, or another submitter has brought it to its end. */
static bool read_again(struct run *run)
{
    auto_err error = NULL;
    cJSON *job = home_job(run->home, &error);
    if (job) {
        cJSON_Delete(run->job);
        run->job = job;
        run->place.uid = json_string(job, "metadata.uid");
        run->id = json_int(job, "status.slurmId", 0);
    }
    return job ? !json_bool(job, "status.done", false) : err_code(error) != ERR_NOT_FOUND;
}

/* How long ago the last attempt began; -1: there was none. */
static int64_t attempt_age_ms(const struct run *run)
{
    int64_t at = 0;
    const char *time = json_string(run->job, "status.attempt.time");
    if (!time || time_parse(time, &at, NULL) < 0)
        return -1;
    int64_t age = (clock_wall_ns(run->clock) - at) / 1000000;
    return age < 0 ? 0 : age;
}

static void record_id(struct run *run, int64_t id)
{
    cJSON *status = cJSON_CreateObject();
    run->id = id;
    json_set_int(status, "slurmId", id);
    json_set_string(status, "reason", "Submitted");
    cJSON_AddNullToObject(status, "message");
    run_report(run, status);
}

/* An attempt whose answer nobody knows: true when it is settled (run->id, or none can come any more). */
static bool settle_attempt(struct run *run)
{
    auto_err error = NULL;
    int64_t id = 0, age = attempt_age_ms(run);
    if (run->site->ops->find(run->site, run->known.comment, &id, &error) < 0) {
        run_tell(run, "Pending", "SlurmUnavailable", err_message(error));
        return false;
    }
    if (id) {
        record_id(run, id);
        return true;
    }
    return age >= DOUBT_MS;
}

/* One submission. */
static bool submit_now(struct run *run)
{
    auto_err error = NULL;
    int64_t id = 0;
    if (record_attempt(run, &error) < 0) {
        if (err_code(error) != ERR_CONFLICT) {
            log_warn("submitter", "recording the attempt: %s", err_message(error));
            home_pause(run->home, RETRY_MS);
        }
        return true; /* the job is read again */
    }
    if (run->site->ops->submit(run->site, run_spec(run), &run->place, &id, &error) == 0)
        record_id(run, id);
    else if (is_final(error))
        return give_up(run, "Failed", "Refused", err_message(error));
    else
        run_tell(run, "Pending", "SlurmUnavailable", err_message(error));
    return true;
}

/* Slurm answers us: asked for a job that it cannot have, before anything is noted that would need its answer
 * to be undone. */
static bool wait_for_slurm(struct run *run)
{
    for (;;) {
        auto_err error = NULL;
        struct slurm_view view;
        if (run->site->ops->look(run->site, NO_JOB, &run->known, &view, &error) == 0 ||
            err_code(error) == ERR_NOT_FOUND)
            return true;
        run_tell(run, "Pending", "SlurmUnavailable", err_message(error));
        if (home_wait(run->home, RETRY_MS) != HOME_GO_ON)
            return give_up(run, "Cancelled", "Cancelled", "cancelled before it was handed to Slurm");
    }
}

bool run_submit(struct run *run)
{
    /* Who finds an attempt finds the files too, and perhaps Slurm at work with them. */
    if (attempt_age_ms(run) < 0 && !(wait_for_slurm(run) && prepare_files(run)))
        return false;
    for (;;) {
        bool doubt = attempt_age_ms(run) >= 0 && !settle_attempt(run);
        if (run->id)
            return true;
        enum home_wish wish = home_wait(run->home, doubt ? RETRY_MS : 0);
        if (!doubt && wish != HOME_GO_ON)
            return give_up(run, "Cancelled", "Cancelled", "cancelled before Slurm had it");
        if (doubt && wish != HOME_GO_ON)
            home_pause(run->home, RETRY_MS);
        if (!doubt && !submit_now(run))
            return false;
        if (run->id)
            return true;
        if (!read_again(run))
            return false;
    }
}
