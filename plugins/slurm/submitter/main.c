/*
 * submitter: the program of a GPUJob's pod. It hands the job to Slurm once, follows it, and keeps what comes
 * out; it may end at any step and be started again.
 *
 *   submitter NAMESPACE NAME      SLURM_CLUSTER: spec of the SlurmCluster as JSON; POD_UID
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/time.h"
#include "submitter/run.h"

#define SECRET "/slurm/secret"
#define JOBS "/slurm/jobs"
#define RETRY_MS 1000

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
        if (err_code(error) == ERR_NOT_FOUND) {
            log_warn("submitter", "the GPUJob is gone");
            break;
        }
        log_warn("submitter", "reporting: %s", err_message(error));
        usleep(RETRY_MS * 1000);
    }
    cJSON_Delete(run->reported);
    run->reported = steal(&next);
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
        usleep(RETRY_MS * 1000);
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
    run->site = json_get(run->cluster, "ssh") ? slurm_ssh_new(run->cluster, SECRET, err)
                                              : slurm_rest_new(run->cluster, SECRET, JOBS, err);
    return run->site ? 0 : -1;
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

int main(int argc, char **argv)
{
    auto_err error = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: submitter NAMESPACE NAME\n");
        return 2;
    }
    json_init();
    log_set_process("submitter");
    log_set_level(LOG_WARN); /* what it prints is the job's output */
    const char *cluster = getenv("SLURM_CLUSTER");
    auto_json spec = cluster ? json_parse(cluster, strlen(cluster), &error) : NULL;
    struct run run = {.cluster = spec};
    if (!spec || !(run.home = home_new(argv[1], argv[2], &error))) {
        fprintf(stderr, "submitter: %s\n", error ? err_message(error) : "SLURM_CLUSTER is not set");
        return 1;
    }
    run.job = read_job(run.home);
    if (!run.job || json_bool(run.job, "status.done", false))
        return 0;
    if (run_prepare(&run, argv[1], argv[2], &error) < 0) {
        run_tell(&run, "Pending", "SubmitterFailed", err_message(error));
        return 1;
    }
    if (run.id || run_submit(&run)) {
        run_follow(&run);
        run_conclude(&run);
        remove_folder(&run);
    }
    return 0;
}
