/*
 * cron: the times of a CronJob. Five fields (minute, hour, day of month, month, day of week) with *, ?, a-b,
 * /step, lists and names; or @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, @every
 * DURATION. As in Kubernetes: when both days are restricted either will do; a local time that a clock change
 * skips does not come, one that comes twice counts twice.
 */
#ifndef M8_BASE_CRON_H
#define M8_BASE_CRON_H

#include <stdint.h>

#include "base/err.h"
#include "base/zone.h"

struct cron {
    uint64_t minutes, hours, days, months, weekdays; /* bit sets; days and months from bit 1 */
    int any_day, any_weekday;                        /* the field is a star */
    int64_t every_s;                                 /* @every; 0: by the fields */
};

/* ERR_INVALID with what is wrong. */
int cron_parse(const char *text, struct cron *cron, struct err **err);

/* The first time after `after_s` (UTC seconds since the epoch), or 0: none within nine years. @every counts
 * from `after_s`. Pure. */
int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after_s);

/* How many times lie in (after_s, until_s], at most 1,000,000; the last of them in *last (0: none). */
int64_t cron_count(const struct cron *cron, const struct zone *zone, int64_t after_s, int64_t until_s,
                   int64_t *last);

#endif
