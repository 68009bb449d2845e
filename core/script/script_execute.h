/*
 * script_execute: carries out a plan: steps through the client's batches, Events through the recorder. Gives
 * every result a verdict, once all are in.
 */
#ifndef M8_SCRIPT_EXECUTE_H
#define M8_SCRIPT_EXECUTE_H

#include "script/script_private.h"

enum execute_verdict {
    EXECUTE_DONE,     /* all steps took effect */
    EXECUTE_CONFLICT, /* the world had moved: try again */
    EXECUTE_FAILED,   /* refused for another reason: err says which */
};

struct execute_result {
    enum execute_verdict verdict;
    uint64_t revision; /* the highest of the results */
    size_t steps, conflicts, failures;
    const char *failed_verb; /* "Create" …, of the first failure; static */
    struct err *err;         /* of the first failure; borrowed */
    bool unknown;            /* the server could not be asked: a step may or may not have taken effect */
};
typedef void execute_on_done(void *arg, const struct execute_result *result);

/* Sends the plan's steps (at least one); done exactly once, on the loop, not before this returns. */
void execute_plan(struct client *client, struct recorder *recorder, cJSON *plan, const char *controller,
                  execute_on_done *done, void *arg);
/* The Events of a plan that follow no step; execute_plan sends the others when their step has taken effect.
 * recorder NULL: quiet. */
void execute_events(struct recorder *recorder, const cJSON *plan);

#endif
