/*
 * answer: what Slurm says about a job → one picture of it. Pure; any input, however broken, gives a picture
 * or an error.
 */
#ifndef M8_SLURM_ANSWER_H
#define M8_SLURM_ANSWER_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/map.h"

enum slurm_phase { SLURM_PENDING, SLURM_RUNNING, SLURM_ENDED };

/* A job; of an array all its tasks together. */
struct slurm_view {
    enum slurm_phase phase;
    char state[32];  /* Slurm's word: PENDING … of the task that decides */
    char reason[64]; /* Slurm's word, "" if it has none */
    char nodes[256];
    char resources[256], gres[256];
    int64_t submitted, started, ended; /* seconds since the epoch, 0: not yet */
    int exit_code, signal;             /* of the first task that failed */
    int64_t cpus;
    size_t tasks;
    size_t pending, running, succeeded, failed, cancelled, timed_out;
    size_t doubtful; /* of the pending ones: Slurm lost track of them, and they have left no exit code */
    size_t unknown;  /* of the failed ones: nobody can know how they ended */
};

#define SLURM_LOST (-1) /* instead of an exit code: it was begun, it is gone, and has left none */

/* What is known of the job without Slurm. */
struct slurm_known {
    const char *comment; /* ours; a job of another comment is not the job that was meant: a controller that
                            has lost its state gives numbers again. NULL: any */
    struct map ends; /* index of a task, "" if there is no array → int *, the exit code that it has left: it
                        decides where Slurm lost track */
};

/* The answer of GET job/ID. ERR_NOT_FOUND: Slurm does not know it (any more); ERR_INVALID: what it refused,
 * in its words; ERR_UNAVAILABLE: anything that may pass. */
int slurm_view_rest(struct slurm_view *view, const struct slurm_known *known, int status, const char *body,
                    size_t len, struct err **err);
/* Lines of scontrol -o show job ID. */
int slurm_view_scontrol(struct slurm_view *view, const struct slurm_known *known, const char *text,
                        struct err **err);
/* Of a job that Slurm does not know any more; array: its indexes, NULL: none. */
void slurm_view_forgotten(struct slurm_view *view, const struct slurm_known *known, const char *array);
/* Nobody will know any more how the doubtful ones ended: the job has failed. */
void slurm_view_give_up(struct slurm_view *view);
/* The answer of POST job/submit. */
int slurm_submitted_rest(int64_t *id, int status, const char *body, size_t len, struct err **err);
/* In the answer of GET jobs: the job with that comment; *id 0: none. The oldest, if there are several. */
int slurm_find_rest(int64_t *id, const char *comment, int status, const char *body, size_t len,
                    struct err **err);
/* Lines "ID|COMMENT" of squeue. */
int64_t slurm_find_lines(const char *text, const char *comment);
/* "Succeeded", "Failed", "Cancelled", "Timeout", "Running", "Pending". */
const char *slurm_view_state(const struct slurm_view *view);
/* A word for the reason column, e.g. "NonZeroExitCode", "OutOfMemory", "Resources"; "" if there is none. */
const char *slurm_view_reason(const struct slurm_view *view);

#endif
