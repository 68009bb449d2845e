/*
 * time: the clock that everything is given (contract 24), RFC 3339, durations.
 * Monotonic time judges leases and timers; wall time is for display and cron only (contract 10).
 */
#ifndef M8_BASE_TIME_H
#define M8_BASE_TIME_H

#include <stdint.h>

#include "base/err.h"

struct clock {
    int64_t (*monotonic_ns)(void *arg);
    int64_t (*wall_ns)(void *arg); /* since the epoch, UTC */
    void *arg;
};
extern const struct clock clock_system;

static inline int64_t clock_monotonic_ms(const struct clock *clock)
{
    return clock->monotonic_ns(clock->arg) / 1000000;
}
static inline int64_t clock_wall_ns(const struct clock *clock)
{
    return clock->wall_ns(clock->arg);
}

#define TIME_TEXT 32
void time_print(int64_t wall_ns, char out[TIME_TEXT]);       /* 2026-01-02T03:04:05Z */
void time_print_micro(int64_t wall_ns, char out[TIME_TEXT]); /* 2026-01-02T03:04:05.000006Z */
int time_parse(const char *text, int64_t *wall_ns,
               struct err **err); /* RFC 3339 with optional fraction, Z or offset */
/* kubectl's short form of an age: 5s, 3m2s, 4h, 2d, 1y10d (k8s.io/apimachinery duration.HumanDuration). */
void time_print_age(int64_t age_ns, char out[TIME_TEXT]);
int time_parse_duration(const char *text, int64_t *ns, struct err **err); /* Go: 300ms, 1.5s, 2m, 1h30m */

/* Days since 1970-01-01 of a civil date (proleptic Gregorian; month and day from 1), and back. */
int64_t time_days_from_civil(int64_t year, int64_t month, int64_t day);
void time_civil_from_days(int64_t days, int *year, int *month, int *day);

#endif
