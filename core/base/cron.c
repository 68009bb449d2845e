/*
 * cron: see cron.h. The search walks in UTC and looks at the local clock, in steps that end at a full local
 * hour at the latest, so that no change of the clock is stepped over.
 */
#include "base/cron.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"

#define DAY 86400
#define HORIZON ((int64_t)9 * 366 * DAY) /* 29 February may be eight years away */
#define MAX_COUNT 1000000

struct field {
    const char *name;
    int low, high;
    const char *words; /* three letters each, from `low` on */
};
static const struct field fields[] = {
    {"minute", 0, 59, NULL},
    {"hour", 0, 23, NULL},
    {"day of month", 1, 31, NULL},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    {"day of week", 0, 6, "sunmontuewedthufrisat"},
};

static bool read_value(const struct field *field, const char **p, int *value)
{
    if (isdigit((unsigned char)**p)) {
        for (*value = 0; isdigit((unsigned char)**p) && *value < 10000; (*p)++)
            *value = *value * 10 + (**p - '0');
        return true;
    }
    for (int i = 0; field->words && field->words[i * 3]; i++) {
        if (strncasecmp(*p, field->words + (ptrdiff_t)i * 3, 3) == 0) {
            *value = field->low + i;
            *p += 3;
            return true;
        }
    }
    return false;
}

/* One entry of a list: *, ?, a, a-b, each with /step. */
static int read_range(const struct field *field, const char *text, uint64_t *set, int *any, struct err **err)
{
    const char *p = text;
    int from = field->low, to = field->high, step = 1;
    bool star = *p == '*' || *p == '?';
    bool readable = true;
    if (star) {
        p++;
    } else if ((readable = read_value(field, &p, &from))) {
        if (*p == '-') {
            p++;
            readable = read_value(field, &p, &to);
        } else {
            to = *p == '/' ? field->high : from;
        }
    }
    if (readable && *p == '/') {
        const struct field plain = {.low = 1};
        p++;
        if (!read_value(&plain, &p, &step) || step < 1)
            return err_set(err, ERR_INVALID, "%s: step of \"%.64s\" should be a positive number", field->name,
                           text);
    }
    if (!readable || *p)
        return err_set(err, ERR_INVALID, "%s: failed to parse \"%.64s\"", field->name, text);
    if (from < field->low || to > field->high || from > to)
        return err_set(err, ERR_INVALID, "%s: \"%.64s\" is not within %d-%d", field->name, text, field->low,
                       field->high);
    for (int i = from; i <= to; i += step)
        *set |= UINT64_C(1) << i;
    *any |= star && step == 1;
    return 0;
}

static int read_field(const struct field *field, const char *text, uint64_t *set, int *any, struct err **err)
{
    size_t n;
    auto_free char **parts = str_split(text, ',', &n);
    for (size_t i = 0; i < n; i++)
        if (read_range(field, parts[i], set, any, err) < 0)
            return -1;
    return 0;
}

static int read_descriptor(const char *text, struct cron *cron, struct err **err)
{
    static const struct {
        const char *name, *meaning;
    } known[] = {{"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
                 {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
                 {"@hourly", "0 * * * *"}};
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(text, known[i].name))
            return cron_parse(known[i].meaning, cron, err);
    if (!str_starts(text, "@every "))
        return err_set(err, ERR_INVALID, "unrecognized descriptor: %.64s", text);
    int64_t ns;
    if (time_parse_duration(text + 7, &ns, err) < 0)
        return -1;
    cron->every_s = ns / 1000000000;
    return cron->every_s >= 1 ? 0 : err_set(err, ERR_INVALID, "@every: at least one second");
}

int cron_parse(const char *text, struct cron *cron, struct err **err)
{
    *cron = (struct cron){0};
    if (str_starts(text, "TZ=") || str_starts(text, "CRON_TZ="))
        return err_set(err, ERR_INVALID, "a time zone in the schedule is not supported; use timeZone");
    if (*text == '@')
        return read_descriptor(text, cron, err);
    uint64_t *const sets[] = {&cron->minutes, &cron->hours, &cron->days, &cron->months, &cron->weekdays};
    int ignored = 0, *const any[] = {&ignored, &ignored, &cron->any_day, &ignored, &cron->any_weekday};
    size_t n = 0;
    auto_free char *copy = mem_strdup(text);
    char *rest = NULL;
    for (char *word = strtok_r(copy, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest), n++)
        if (n < 5 && read_field(&fields[n], word, sets[n], any[n], err) < 0)
            return -1;
    return n == 5 ? 0 : err_set(err, ERR_INVALID, "expected exactly 5 fields, found %zu", n);
}

static bool has(uint64_t set, int bit)
{
    return set >> bit & 1;
}

static bool is_day(const struct cron *cron, int64_t days)
{
    int year, month, day, weekday = (int)(((days + 4) % 7 + 7) % 7);
    time_civil_from_days(days, &year, &month, &day);
    if (!has(cron->months, month))
        return false;
    bool by_day = has(cron->days, day), by_weekday = has(cron->weekdays, weekday);
    return cron->any_day || cron->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after_s)
{
    if (cron->every_s)
        return after_s + cron->every_s;
    int64_t at = after_s + 1, end = after_s + HORIZON;
    while (at < end) {
        int64_t local = at + zone_offset(zone, at);
        int64_t days = local / DAY - (local % DAY < 0), second = local - days * DAY;
        int hour = (int)(second / 3600), minute = (int)(second / 60 % 60);
        if (second % 60)
            at += 60 - second % 60;
        else if (!is_day(cron, days) || !has(cron->hours, hour))
            at += 3600 - second % 3600;
        else if (!has(cron->minutes, minute))
            at += 60;
        else
            return at;
    }
    return 0;
}

int64_t cron_count(const struct cron *cron, const struct zone *zone, int64_t after_s, int64_t until_s,
                   int64_t *last)
{
    int64_t count = 0;
    *last = 0;
    if (cron->every_s && until_s > after_s) {
        count = (until_s - after_s) / cron->every_s;
        *last = count ? after_s + count * cron->every_s : 0;
        return count < MAX_COUNT ? count : MAX_COUNT;
    }
    for (int64_t at = cron_next(cron, zone, after_s); at && at <= until_s && count < MAX_COUNT;
         at = cron_next(cron, zone, at)) {
        *last = at;
        count++;
    }
    return count;
}
