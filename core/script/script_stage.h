/*
 * script_stage: from a policy's source to a version that may be used: compile, evaluate in a fresh
 * environment under budget, check the shape, run the examples. And the one way in which a version's `run` is
 * called.
 */
#ifndef M8_SCRIPT_STAGE_H
#define M8_SCRIPT_STAGE_H

#include "script/script_policies.h"

/* NULL: refused, with "NAME:LINE: reason" in err. name NULL: any. */
struct policy_version *stage_version(struct policies *policies, const char *name, const char *source,
                                     size_t len, struct err **err);
void stage_version_free(struct policy_version *version); /* NULL is fine */

struct stage_call { /* what one run is given; candidate may be NULL */
    const cJSON *ctx, *settings, *candidate;
    const cJSON *state;  /* ctx.state, or NULL: an empty one */
    cJSON **state_after; /* NULL: not asked for; may be set to NULL: empty. Caller owns */
    double now;
    uint64_t seed;
};
/* Calls version's run; one budget must have begun. ctx and two results on the stack (value, reason). */
int stage_run(struct policies *policies, struct policy_version *version, const struct stage_call *call,
              struct err **err);
/* Reads the two results by shape and pops all three. FILTER: *result true, or false with the reason as a
 * string; SCORE: a number in 0…100; FIRST: any data or NULL; ONE: an object. ERR_INVALID for anything else.
 */
int stage_result(struct policies *policies, const struct policy_point *point, const cJSON *ctx,
                 cJSON **result, struct err **err);
/* Both, with the state: what one policy says to one question. */
int stage_ask(struct policies *policies, const struct policy_point *point, struct policy_version *version,
              const struct stage_call *call, cJSON **result, struct err **err);

struct ask { /* one decision under way (script_ask.c) */
    struct policies *policies;
    struct policy_point *point;
    const cJSON *ctx, *candidates;
    double now;
    uint64_t seed;
    const cJSON *states; /* of policies before it, by name; NULL: none */
    cJSON *after;        /* of policies after it, by name; owned; null: empty now */
    cJSON *record;       /* {point, policy, version, reasons, fallback}; borrowed */
    struct policy_version *failed;
    uint64_t left_out; /* places in the list of optional ones that failed */
};
/* By the list's policies: FILTER and SCORE an array over the candidates, else the value or NULL. */
int ask_list(struct ask *ask, const struct policy_list *list, cJSON **result, struct err **err);

#endif
