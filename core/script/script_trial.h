/*
 * script_trial: decisions taken a second time: recorded ones exactly as they were, or with another policy in
 * the place where it would be (replay), and live ones beside the active policies, without effect (shadow).
 *
 * A trial has a sandbox, versions and, for scheduling, a copy of the engine of its own: nothing that it does
 * reaches the active policies, and a failure in it is a finding, not a trouble. One thread.
 */
#ifndef M8_SCRIPT_TRIAL_H
#define M8_SCRIPT_TRIAL_H

#include "script/script_stage.h"

struct placement;
struct trial;

struct candidate { /* a policy on trial */
    struct record_source *source;
    char *point;
    cJSON *settings;
};

struct trial *trial_new(const struct policies *of, const struct placement *placement);
void trial_free(struct trial *trial);
/* Staged with all checks, in the trial. NULL and the same errors as policies_apply. */
struct candidate *trial_candidate(struct trial *trial, const char *name, const char *source, size_t len,
                                  const cJSON *settings, struct err **err);
void candidate_free(struct candidate *candidate); /* NULL is fine */
/* The decision again. candidate NULL: by those who took it. *result: caller owns. *failure: what failed, or
 * that its inputs are gone; caller owns. */
void trial_replay(struct trial *trial, const struct decision *decision, const struct candidate *candidate,
                  cJSON **result, char **failure);
/* Whether two results are the same decision (words that differ do not count). */
bool trial_same(const struct decision *decision, const cJSON *result);

/* Whether those who took it refused this node (a filter candidate let it through). */
bool trial_refuses(struct trial *trial, const struct decision *decision, const char *node);

/* ---- live ---- */

struct shadow {
    struct shadow *next; /* of the same point, SHADOWS_MAX at most */
    struct trial *trial;
    struct candidate *candidate;
    cJSON *uses; /* figures that it wants */
    uint64_t asked, differed, failed;
};
/* Which policies decide beside the active ones at the point, an array of names. Those that are not known are
 * left out: ERR_NOT_FOUND; what is too many, too: ERR_INVALID. Those that were there before go on. */
int shadow_set(struct policies *policies, const struct placement *placement, const char *point,
               const cJSON *names, struct err **err);
const struct shadow *shadow_of(const struct policies *policies, const char *point); /* the first, or NULL */
void shadow_free(void *shadow);                                                     /* with those after it */
/* Asks the shadows of the point, if any, and notes in the decision what they say. */
void shadow_decision(struct policies *policies, const char *point, struct decision *decision);

#endif
