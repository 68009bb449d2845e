/*
 * zone: time zones of the tz database (RFC 8536 files under /usr/share/zoneinfo), for calendars such as a
 * CronJob's. Not by the C library, whose time zone is one global of the process.
 */
#ifndef M8_BASE_ZONE_H
#define M8_BASE_ZONE_H

#include <stdint.h>

#include "base/err.h"

struct zone;

/* NULL, "" and "UTC" are UTC. ERR_INVALID for a name that the database lacks or that is no name, ERR_IO for a
 * file that cannot be read. */
struct zone *zone_open(const char *name, struct err **err);
void zone_close(struct zone *zone);
static inline void zone_cleanup(struct zone **zone)
{
    zone_close(*zone);
}
#define auto_zone __attribute__((cleanup(zone_cleanup))) struct zone *

/* Seconds that local time is ahead of UTC at that moment (seconds since the epoch). Pure; any thread. */
int64_t zone_offset(const struct zone *zone, int64_t utc_s);

#endif
