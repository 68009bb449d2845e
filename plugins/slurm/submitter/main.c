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
#include "submitter/run.h"

#define SECRET "/slurm/secret"
#define JOBS "/slurm/jobs"

static struct slurm_site *site_of(const cJSON *cluster, struct err **err)
{
    if (json_get(cluster, "ssh"))
        return slurm_ssh_new(cluster, SECRET, err);
    return slurm_rest_new(cluster, SECRET, JOBS, err);
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
    struct run run = {.cluster = spec, .clock = &clock_system, .scratch = "/tmp"};
    if (!spec || !(run.site = site_of(spec, &error)) || !(run.home = home_new(argv[1], argv[2], &error))) {
        fprintf(stderr, "submitter: %s\n", error ? err_message(error) : "SLURM_CLUSTER is not set");
        return 1;
    }
    return run_job(&run, argv[1], argv[2]);
}
