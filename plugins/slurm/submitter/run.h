/* run: one GPUJob under way, shared by the submitter's files. One thread but home's watch. */
#ifndef M8_SLURM_RUN_H
#define M8_SLURM_RUN_H

#include "base/json.h"
#include "base/time.h"
#include "submitter/home.h"
#include "submitter/site.h"

#define RUN_TAIL 4096u /* bytes of stdout and stderr in the status */

/* Text of the job that goes on to a descriptor: of a file as it grows, or of all tasks of an array. */
struct run_stream {
    const char *name; /* "stdout" */
    int fd;
    int64_t offset;
    struct str tail;
};

struct run {
    struct home *home;
    struct slurm_site *site;
    const struct clock *clock;
    const char *scratch;  /* folder for files on their way */
    const cJSON *cluster; /* spec of the SlurmCluster */
    cJSON *job;           /* as last read */
    char *folder;
    struct slurm_known known;
    struct slurm_place place;
    int64_t id; /* Slurm's; 0: none yet */
    int64_t poll_ms;
    bool building, cancelling;
    bool ended; /* there is no other pass: what fails is tried again */
    struct run_stream out, errors;
    struct map task_streams; /* of an array: file → its state, of streams.c */
    bool any_grew;           /* in the present pass over them */
    struct slurm_view view;
    cJSON *reported; /* last status that the server took */
};

static inline const cJSON *run_spec(const struct run *run)
{
    return cJSON_GetObjectItemCaseSensitive(run->job, "spec");
}
/* Reports until the server takes it, or the job is gone or has been brought to its end by another submitter;
 * what has been reported already is left out. Takes status. */
void run_report(struct run *run, cJSON *status);
/* State, reason and message; the rest of the status stays. */
void run_tell(struct run *run, const char *state, const char *reason, const char *message);

/* After a failure: waits and says whether to try once more, as long as it may pass and the job is wanted. */
bool run_try_again(struct run *run, unsigned *tries, const struct err *error);

/* run.c: from where the last submitter left it to its end. home, site, cluster, clock and scratch are set.
 * The program's exit code. */
int run_job(struct run *run, const char *namespace, const char *name);
/* submit.c: leaves run->id set, or an end that has been reported (false). Never hands the job over twice. */
bool run_submit(struct run *run);
/* follow.c: reports until Slurm has ended it. */
void run_follow(struct run *run);
bool run_file_is(struct run *run, const char *file, const char *word); /* it begins with that word */
/* end.c: results, accounting, last report. */
void run_conclude(struct run *run);
char *run_tail(const struct str *text); /* the last lines, as valid text; caller frees */
/* streams.c: what the job prints goes to our own output; true: there was something new. */
void run_open_streams(struct run *run);
bool run_read_streams(struct run *run);
void run_end_streams(struct run *run); /* the rest, with lines that have no end */
/* The lines "SIZE NAME" of site's list. */
void run_each_file(struct run *run, const struct str *list,
                   void (*visit)(struct run *run, const char *name, int64_t size));
/* results.c: stdout, stderr, accounting and outputs become blobs of the job; says so in the status. */
void run_keep_results(struct run *run, cJSON *status);
/* stage.c: the sources as a local folder; caller frees the path. */
char *run_stage(struct run *run, struct err **err);

#endif
