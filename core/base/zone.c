/*
 * zone: see zone.h. Reads the 64-bit block of a TZif file: transitions, and behind them a rule in POSIX form
 * ("CET-1CEST,M3.5.0,M10.5.0/3") for the time after the last one. Leap seconds are not applied, as in POSIX.
 */
#include "base/zone.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"

#define FOLDER "/usr/share/zoneinfo"
#define MAX_FILE (256 * 1024)
#define HEADER 44
#define DAY 86400

/* When a switch happens: day of a week in a month (M), day of the year without (J) or with 29 February. */
struct change {
    char form; /* 'M', 'J' or '0' */
    int month, week, day;
    int64_t second; /* of the local day; may be negative or above a day */
};

struct rule {
    bool present, daylight;
    int64_t standard_s, daylight_s;
    struct change begin, end;
};

struct zone {
    size_t count;
    int64_t *moments; /* ascending; offsets[i] holds from moments[i] on */
    int64_t *offsets;
    int64_t first_offset;
    struct rule rule;
};

static int64_t big_endian(const unsigned char *p, size_t bytes)
{
    uint64_t value = *p & 0x80 ? ~UINT64_C(0) : 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | p[i];
    return (int64_t)value;
}

/* ---- the rule behind the transitions ---- */

static bool skip_name(const char **p)
{
    const char *begin = *p;
    if (**p == '<') {
        while (**p && **p != '>')
            (*p)++;
        return *(*p)++ == '>';
    }
    while (isalpha((unsigned char)**p))
        (*p)++;
    return *p - begin >= 3;
}

static bool number(const char **p, int64_t *value)
{
    if (!isdigit((unsigned char)**p))
        return false;
    for (*value = 0; isdigit((unsigned char)**p) && *value < 100000; (*p)++)
        *value = *value * 10 + (**p - '0');
    return true;
}

/* [+-]hh[:mm[:ss]] */
static bool seconds(const char **p, int64_t *value)
{
    int64_t sign = 1, part, unit = 3600;
    if (**p == '+' || **p == '-')
        sign = *(*p)++ == '-' ? -1 : 1;
    *value = 0;
    do {
        if (!number(p, &part))
            return false;
        *value += part * unit;
        unit /= 60;
    } while (unit && **p == ':' && (*p)++);
    *value *= sign;
    return true;
}

static bool change(const char **p, struct change *out)
{
    int64_t month = 0, week = 0, day = 0;
    *out = (struct change){.form = '0', .second = 2 * 3600};
    if (*(*p)++ != ',')
        return false;
    if (**p == 'M' || **p == 'J')
        out->form = *(*p)++;
    if (out->form == 'M' &&
        (!number(p, &month) || *(*p)++ != '.' || !number(p, &week) || *(*p)++ != '.' || !number(p, &day)))
        return false;
    if (out->form != 'M' && !number(p, &day))
        return false;
    out->month = (int)month, out->week = (int)week, out->day = (int)day;
    if (out->form == 'M' && (month < 1 || month > 12 || week < 1 || week > 5 || day > 6))
        return false;
    return **p != '/' || ((*p)++, seconds(p, &out->second));
}

static bool parse_rule(const char *text, struct rule *rule)
{
    const char *p = text;
    int64_t west;
    if (!skip_name(&p) || !seconds(&p, &west))
        return false;
    *rule = (struct rule){.present = true, .standard_s = -west, .daylight_s = -west + 3600};
    if (!*p)
        return true;
    rule->daylight = true;
    if (!skip_name(&p))
        return false;
    if (*p != ',' && *p) {
        if (!seconds(&p, &west))
            return false;
        rule->daylight_s = -west;
    }
    return change(&p, &rule->begin) && change(&p, &rule->end) && !*p;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* The local second (as if UTC) at which the change happens in that year. */
static int64_t change_in(const struct change *c, int year)
{
    int64_t day;
    if (c->form == 'M') {
        int64_t first = time_days_from_civil(year, c->month, 1);
        int64_t next = time_days_from_civil(c->month == 12 ? year + 1 : year, c->month % 12 + 1, 1);
        int64_t weekday = ((first + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
        day = first + (c->day - weekday + 7) % 7 + (int64_t)(c->week - 1) * 7;
        if (day >= next)
            day -= 7;
    } else {
        int of_year = c->form == 'J' ? c->day - 1 + (is_leap(year) && c->day >= 60) : c->day;
        day = time_days_from_civil(year, 1, 1) + of_year;
    }
    return day * DAY + c->second;
}

static int64_t rule_offset(const struct rule *rule, int64_t utc_s)
{
    if (!rule->daylight)
        return rule->standard_s;
    int year, month, day;
    int64_t local = utc_s + rule->standard_s;
    time_civil_from_days(local / DAY - (local % DAY < 0), &year, &month, &day);
    int64_t begin = change_in(&rule->begin, year) - rule->standard_s;
    int64_t end = change_in(&rule->end, year) - rule->daylight_s;
    bool inside = begin < end ? utc_s >= begin && utc_s < end : utc_s >= begin || utc_s < end;
    return inside ? rule->daylight_s : rule->standard_s;
}

/* ---- the file ---- */

struct counts {
    size_t utc, standard, leap, moments, types, text;
};

static bool read_header(const unsigned char *data, size_t len, struct counts *n)
{
    if (len < HEADER || memcmp(data, "TZif", 4) != 0)
        return false;
    size_t *const fields[] = {&n->utc, &n->standard, &n->leap, &n->moments, &n->types, &n->text};
    for (size_t i = 0; i < 6; i++) {
        int64_t value = big_endian(data + 20 + 4 * i, 4);
        if (value < 0 || value > MAX_FILE)
            return false;
        *fields[i] = (size_t)value;
    }
    return n->types > 0;
}

static size_t block_size(const struct counts *n, size_t moment_bytes)
{
    return n->moments * (moment_bytes + 1) + n->types * 6 + n->text + n->leap * (moment_bytes + 4) +
           n->standard + n->utc;
}

static bool read_block(struct zone *zone, const unsigned char *data, const struct counts *n)
{
    const unsigned char *indexes = data + n->moments * 8, *types = indexes + n->moments;
    zone->moments = mem_array(n->moments + 1, sizeof(*zone->moments));
    zone->offsets = mem_array(n->moments + 1, sizeof(*zone->offsets));
    zone->count = n->moments;
    zone->first_offset = big_endian(types, 4);
    for (size_t i = 0; i < n->moments; i++) {
        if (indexes[i] >= n->types)
            return false;
        zone->moments[i] = big_endian(data + i * 8, 8);
        zone->offsets[i] = big_endian(types + indexes[i] * (size_t)6, 4);
        if (i && zone->moments[i] <= zone->moments[i - 1])
            return false;
    }
    return true;
}

static bool parse_file(struct zone *zone, const unsigned char *data, size_t len)
{
    struct counts n;
    if (!read_header(data, len, &n) || data[4] < '2')
        return false;
    size_t skip = HEADER + block_size(&n, 4); /* the 32-bit block, for old readers */
    if (skip > len || !read_header(data + skip, len - skip, &n))
        return false;
    size_t size = HEADER + block_size(&n, 8);
    if (size > len - skip || !read_block(zone, data + skip + HEADER, &n))
        return false;
    const char *rule = (const char *)data + skip + size; /* the file is NUL-terminated in memory */
    if (*rule != '\n')
        return true;
    auto_free char *text = mem_strndup(rule + 1, strcspn(rule + 1, "\n"));
    return !*text || parse_rule(text, &zone->rule);
}

/* Area/City: nothing that leads out of the database. */
static bool is_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/";
    return *name != '/' && !strstr(name, "//") && strspn(name, letters) == strlen(name) && strlen(name) < 128;
}

struct zone *zone_open(const char *name, struct err **err)
{
    struct zone *zone = NEW(struct zone);
    if (str_empty(name) || str_eq(name, "UTC"))
        return zone;
    auto_free char *path = file_join(FOLDER, name), *data = NULL;
    size_t len = 0;
    auto_err failure = NULL;
    if (!is_name(name) || !file_exists(path)) {
        err_set(err, ERR_INVALID, "unknown time zone %.128s", name);
    } else if (file_read(path, MAX_FILE, &data, &len, &failure) < 0) {
        err_set(err, ERR_INVALID, "unknown time zone %.128s: %s", name, err_message(failure));
    } else if (!parse_file(zone, (const unsigned char *)data, len)) {
        err_set(err, ERR_INVALID, "unknown time zone %.128s: %s is no file of time zones", name, path);
    } else {
        return zone;
    }
    zone_close(zone);
    return NULL;
}

void zone_close(struct zone *zone)
{
    if (!zone)
        return;
    free(zone->moments);
    free(zone->offsets);
    free(zone);
}

int64_t zone_offset(const struct zone *zone, int64_t utc_s)
{
    size_t low = 0, high = zone->count;
    if (zone->rule.present && (!high || utc_s >= zone->moments[high - 1]))
        return rule_offset(&zone->rule, utc_s);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (zone->moments[middle] <= utc_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? zone->offsets[low - 1] : zone->first_offset;
}
