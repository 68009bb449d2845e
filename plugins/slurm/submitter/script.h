/*
 * script: from the spec of a GPUJob (checked and defaulted by the server) to what Slurm gets. Pure.
 *
 * The script lets only one Slurm job work in a folder: the first that links `claim`. So a job that was handed
 * over twice after a lost answer still runs once; .minik8s/job names the one that works. It writes
 * .minik8s/phase (building, running) and, at its end, its exit code to .minik8s/rc (rc.INDEX of an array). A
 * second start that finds the first one gone without an exit code says so in .minik8s/lost (lost.INDEX).
 */
#ifndef M8_SLURM_SCRIPT_H
#define M8_SLURM_SCRIPT_H

#include <cjson/cJSON.h>

#include "base/str.h"

#define SLURM_PRIVATE ".minik8s" /* below the job's folder */
#define SLURM_CLAIM SLURM_PRIVATE "/claim"

struct slurm_place {
    const char *name;   /* of the GPUJob */
    const char *uid;    /* makes the comment by which the job is found again */
    const char *folder; /* absolute, on the cluster */
};

/* What sbatch reads: #SBATCH lines, environment, modules, build, run. */
void slurm_script(struct str *out, const cJSON *spec, const struct slurm_place *place);
/* Body of POST job/submit with that script. Caller owns. */
cJSON *slurm_submission(const cJSON *spec, const struct slurm_place *place);
char *slurm_comment(const char *uid); /* caller frees */
/* "D-HH:MM:SS" and the shorter forms → minutes, rounded up; -1 if malformed. */
long slurm_minutes(const char *time_limit);
/* The indexes of a job array: slurm_tasks_of(spec.array), then slurm_next_task as often as it is true. */
struct slurm_tasks {
    const char *rest;
    long next, last, step;
};
struct slurm_tasks slurm_tasks_of(const char *array); /* borrowed; NULL: none */
bool slurm_next_task(struct slurm_tasks *tasks, char *index, size_t size);
bool slurm_has_build(const cJSON *spec);
void slurm_quote(struct str *out, const char *text); /* for the shell */

#endif
