/*
 * script_replay: many recorded decisions taken again, in slices, and what came of it. One thread; nothing of
 * it has an effect.
 */
#ifndef M8_SCRIPT_REPLAY_H
#define M8_SCRIPT_REPLAY_H

#include "script/script_trial.h"

struct replay_options {
    const char *source; /* of a candidate, or NULL: the versions that decided */
    size_t len;
    const cJSON *settings;     /* of the candidate, over its own */
    const char *point;         /* only decisions at it; NULL: all; of a candidate: its own */
    const char *kind, *object; /* only those about it; NULL: all */
    int64_t since_ns;          /* wall clock */
};

struct replay;
/* ERR_INVALID: the candidate is refused, with line and reason. */
struct replay *replay_new(const struct policies *policies, const struct placement *placement,
                          const struct replay_options *options, struct err **err);
void replay_free(struct replay *replay);
/* Goes on for about so many milliseconds of CPU time; true: done. */
bool replay_step(struct replay *replay, int64_t budget_ms);
/* {candidate, decisions, same, differ, failed, gone, from, to, differences: [{seq, time, point, object, was,
 * would, failure}], meaning: {…}}; at most so many differences. Caller owns. */
cJSON *replay_report(const struct replay *replay);

#endif
