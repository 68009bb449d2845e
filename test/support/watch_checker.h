/*
 * watch_checker: proves that a watch told exactly what happened: no gap, no repeat, no reorder (requirements,
 * "what users of other systems suffer from", 4).
 *
 * A history records every committed event (call watch_history_add from on_commit, before watch_hub_publish).
 * A checker follows one reader: from a revision, each item must be the next that the history and the filter
 * yield; with `initial` the items up to INITIAL_END must add up to exactly the state at its revision. A new
 * checker that begins where a reader stopped proves that resuming misses nothing.
 */
#ifndef M8_TEST_SUPPORT_WATCH_CHECKER_H
#define M8_TEST_SUPPORT_WATCH_CHECKER_H

#include "watch/watch.h"

struct watch_history;
struct watch_history *watch_history_new(void);
void watch_history_free(struct watch_history *history);
void watch_history_add(struct watch_history *history, struct store_event *event); /* any thread, in order */
size_t watch_history_count(struct watch_history *history);

typedef bool watch_checker_selects(void *arg, const char *key, const struct store_terms *terms);

struct watch_checker;
struct watch_checker *watch_checker_new(struct watch_history *history, watch_checker_selects *selects,
                                        void *arg, uint64_t from, bool initial);
void watch_checker_free(struct watch_checker *checker);
/* NULL: as expected. Else what is wrong; the text belongs to the checker. */
const char *watch_checker_feed(struct watch_checker *checker, const struct watch_item *item);
/* NULL if nothing that the filter selects up to `position` is missing. */
const char *watch_checker_end(struct watch_checker *checker, uint64_t position);

#endif
