/*
 * time: see time.h. Calendar arithmetic is done here (proleptic Gregorian, UTC) and not by the C library, so
 * that it depends neither on TZ nor on locks. Leap seconds: ":60" is accepted and counts as the next second.
 */
#include "base/time.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

#define NS 1000000000ll

static int64_t now_ns(clockid_t id)
{
    struct timespec now;
    must(clock_gettime(id, &now) == 0);
    return now.tv_sec * NS + now.tv_nsec;
}

static int64_t system_monotonic(void *arg)
{
    (void)arg;
    return now_ns(CLOCK_MONOTONIC);
}

static int64_t system_wall(void *arg)
{
    (void)arg;
    return now_ns(CLOCK_REALTIME);
}

const struct clock clock_system = {.monotonic_ns = system_monotonic, .wall_ns = system_wall};

/* The year begins in March, so that the leap day is the last. */
int64_t time_days_from_civil(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void time_civil_from_days(int64_t days, int *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t rest = days - era * 146097;
    int64_t of_era = (rest - rest / 1460 + rest / 36524 - rest / 146096) / 365;
    int64_t of_year = rest - (365 * of_era + of_era / 4 - of_era / 100);
    int64_t shifted = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * shifted + 2) / 5 + 1);
    *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = (int)(of_era + era * 400 + (*month <= 2));
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int print_seconds(int64_t wall_ns, char out[TIME_TEXT])
{
    int64_t seconds = floor_divide(wall_ns, NS), days = floor_divide(seconds, 86400);
    int second = (int)(seconds - days * 86400), year, month, day;
    time_civil_from_days(days, &year, &month, &day);
    return snprintf(out, TIME_TEXT, "%04u-%02u-%02uT%02u:%02u:%02u", (unsigned)year % 10000,
                    (unsigned)month % 100, (unsigned)day % 100, (unsigned)second / 3600 % 100,
                    (unsigned)second / 60 % 60, (unsigned)second % 60);
}

void time_print(int64_t wall_ns, char out[TIME_TEXT])
{
    int n = print_seconds(wall_ns, out);
    snprintf(out + n, TIME_TEXT - (size_t)n, "Z");
}

void time_print_micro(int64_t wall_ns, char out[TIME_TEXT])
{
    int n = print_seconds(wall_ns, out);
    int64_t rest = wall_ns - floor_divide(wall_ns, NS) * NS;
    snprintf(out + n, TIME_TEXT - (size_t)n, ".%06uZ", (unsigned)(rest / 1000) % 1000000);
}

/* Reads exactly n digits and then `after` (0: nothing). */
static bool digits(const char **p, int n, char after, int *value)
{
    *value = 0;
    for (int i = 0; i < n; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return false;
        *value = *value * 10 + (**p - '0');
    }
    if (after && *(*p)++ != after)
        return false;
    return true;
}

static bool fraction(const char **p, int64_t *ns)
{
    *ns = 0;
    if (**p != '.')
        return true;
    int64_t unit = NS / 10;
    const char *begin = ++*p;
    for (; **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
        *ns += (**p - '0') * unit;
    return *p > begin;
}

static bool offset(const char **p, int64_t *seconds)
{
    *seconds = 0;
    if (**p == 'Z' || **p == 'z') {
        (*p)++;
        return true;
    }
    int sign = **p == '+' ? 1 : **p == '-' ? -1 : 0, hour, minute;
    if (!sign)
        return false;
    (*p)++;
    if (!digits(p, 2, ':', &hour) || !digits(p, 2, 0, &minute) || hour > 23 || minute > 59)
        return false;
    *seconds = sign * (hour * 3600 + minute * 60);
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

int time_parse(const char *text, int64_t *wall_ns, struct err **err)
{
    const char *p = text ? text : "";
    int year, month, day, hour, minute, second;
    int64_t ns, east, total;
    bool good = digits(&p, 4, '-', &year) && digits(&p, 2, '-', &month) && digits(&p, 2, 0, &day) &&
                (*p == 'T' || *p == 't' || *p == ' ') && p++ && digits(&p, 2, ':', &hour) &&
                digits(&p, 2, ':', &minute) && digits(&p, 2, 0, &second) && fraction(&p, &ns) &&
                offset(&p, &east) && !*p;
    if (!good || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 ||
        minute > 59 || second > 60)
        return err_set(err, ERR_INVALID, "\"%.64s\" is not a time (RFC 3339, e.g. 2026-01-02T03:04:05Z)",
                       text ? text : "");
    int64_t seconds =
        time_days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - east;
    if (__builtin_mul_overflow(seconds, NS, &total) || __builtin_add_overflow(total, ns, &total))
        return err_set(err, ERR_INVALID, "time \"%.64s\" is out of range", text);
    *wall_ns = total;
    return 0;
}

static void print_two(char out[TIME_TEXT], int64_t a, char a_unit, int64_t b, char b_unit)
{
    if (b)
        snprintf(out, TIME_TEXT, "%d%c%d%c", (int)a, a_unit, (int)b, b_unit);
    else
        snprintf(out, TIME_TEXT, "%d%c", (int)a, a_unit);
}

void time_print_age(int64_t age_ns, char out[TIME_TEXT])
{
    int64_t seconds = age_ns / NS, minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
    if (seconds < -1)
        snprintf(out, TIME_TEXT, "<invalid>");
    else if (seconds < 0)
        snprintf(out, TIME_TEXT, "0s");
    else if (seconds < 120)
        print_two(out, seconds, 's', 0, 0);
    else if (minutes < 10)
        print_two(out, minutes, 'm', seconds % 60, 's');
    else if (minutes < 180)
        print_two(out, minutes, 'm', 0, 0);
    else if (hours < 8)
        print_two(out, hours, 'h', minutes % 60, 'm');
    else if (hours < 48)
        print_two(out, hours, 'h', 0, 0);
    else if (days < 8)
        print_two(out, days, 'd', hours % 24, 'h');
    else if (days < 2 * 365)
        print_two(out, days, 'd', 0, 0);
    else if (days < 8 * 365)
        print_two(out, days / 365, 'y', days % 365, 'd');
    else
        print_two(out, days / 365, 'y', 0, 0);
}

static int64_t duration_unit(const char **p)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {{"ns", 1},       {"us", 1000}, {"\xc2\xb5s", 1000}, {"\xce\xbcs", 1000},
                 {"ms", 1000000}, {"s", NS},    {"m", 60 * NS},      {"h", 3600 * NS}};
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        size_t len = strlen(units[i].name);
        if (strncmp(*p, units[i].name, len) == 0) {
            *p += len;
            return units[i].ns;
        }
    }
    return 0;
}

/* One "1.5h" step; false if malformed or out of range. */
static bool duration_step(const char **p, int64_t *total)
{
    int64_t whole = 0, part = 0, scale = 1;
    const char *begin = *p;
    for (; **p >= '0' && **p <= '9'; (*p)++)
        if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, **p - '0', &whole))
            return false;
    bool any = *p > begin;
    if (**p == '.') {
        for ((*p)++; **p >= '0' && **p <= '9'; (*p)++, any = true) {
            if (scale < 100000000000000ll) { /* further digits are below a nanosecond */
                part = part * 10 + (**p - '0');
                scale *= 10;
            }
        }
    }
    int64_t unit = any ? duration_unit(p) : 0, ns;
    if (!unit || __builtin_mul_overflow(whole, unit, &ns))
        return false;
    int64_t below = (int64_t)((__int128)part * unit / scale);
    return !__builtin_add_overflow(ns, below, &ns) && !__builtin_add_overflow(*total, ns, total);
}

int time_parse_duration(const char *text, int64_t *ns, struct err **err)
{
    const char *p = text ? text : "";
    bool negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    int64_t total = 0;
    bool good = *p != '\0';
    if (strcmp(p, "0") != 0)
        while (good && *p)
            good = duration_step(&p, &total);
    if (!good)
        return err_set(err, ERR_INVALID, "\"%.64s\" is not a duration (e.g. 300ms, 1.5s, 1h30m)",
                       text ? text : "");
    *ns = negative ? -total : total;
    return 0;
}
