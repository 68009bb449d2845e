/*
 * script_record_past: the scheduler's engine as it was at a decision of an earlier process, from the file
 * that the decision stands in. Going on in a file costs what happened between; going back, or to another
 * file, begins at its start. One thread.
 */
#ifndef M8_SCRIPT_RECORD_PAST_H
#define M8_SCRIPT_RECORD_PAST_H

#include "script/script_record.h"

struct policies;

/* Whether a line of such a file is about the nodes; about all of them. */
bool record_past_is(const char *line);
bool record_past_is_world(const char *line);

struct record_past;
/* The engines decide by `policies`; it and like are borrowed. */
struct record_past *record_past_new(const struct placement *like, struct policies *policies);
void record_past_free(struct record_past *past); /* NULL is fine */
/* Borrowed until the next call. NULL: the file is gone, or has not all of it. */
struct placement *record_past_bring(struct record_past *past, const struct decision *decision);

#endif
