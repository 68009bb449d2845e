/* Calendars of CronJobs: the grammar, the two kinds of days, and what happens when clocks change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cron.h"
#include "base/mem.h"
#include "base/time.h"

static int64_t at(const char *text)
{
    int64_t ns = 0;
    assert_int_equal(time_parse(text, &ns, NULL), 0);
    return ns / 1000000000;
}

/* The first n times after `from` are those of the list, in UTC. */
static void assert_times(const char *schedule, const char *zone_name, const char *from,
                         const char *const *wanted)
{
    struct cron cron;
    auto_err err = NULL;
    auto_zone zone = zone_open(zone_name, &err);
    if (!zone || cron_parse(schedule, &cron, &err) < 0)
        fail_msg("%s %s: %s", schedule, zone_name, err_message(err));
    int64_t now = at(from);
    for (; *wanted; wanted++) {
        char text[TIME_TEXT];
        now = cron_next(&cron, zone, now);
        time_print(now * 1000000000, text);
        assert_string_equal(text, *wanted);
    }
}
#define TIMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void grammar(void **state)
{
    (void)state;
    static const char *const good[] = {"* * * * *",     "*/15 0-6,20 1,15 jan-MAR,12 mon-fri",
                                       "0 0 ? * SUN",   "5/20 * * * *",
                                       "@hourly",       "@every 1h30m",
                                       "59 23 31 12 6", "0\t0  1 1 *"};
    static const char *const bad[][2] = {{"* * * *", "expected exactly 5 fields, found 4"},
                                         {"* * * * * *", "found 6"},
                                         {"60 * * * *", "minute: \"60\" is not within 0-59"},
                                         {"* 24 * * *", "hour"},
                                         {"* * 0 * *", "day of month"},
                                         {"* * * 13 *", "month"},
                                         {"* * * * 7", "day of week"},
                                         {"5-1 * * * *", "minute"},
                                         {"*/0 * * * *", "step"},
                                         {"a * * * *", "failed to parse \"a\""},
                                         {"1,,2 * * * *", "failed to parse \"\""},
                                         {"1- * * * *", "failed to parse"},
                                         {"-1 * * * *", "failed to parse"},
                                         {"@often", "unrecognized descriptor"},
                                         {"@every 0s", "at least one second"},
                                         {"TZ=UTC * * * * *", "use timeZone"},
                                         {"", "found 0"}};
    struct cron cron;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_int_equal(cron_parse(good[i], &cron, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        auto_err err = NULL;
        assert_int_equal(cron_parse(bad[i][0], &cron, &err), -1);
        if (!strstr(err_message(err), bad[i][1]))
            fail_msg("%s: %s", bad[i][0], err_message(err));
    }
}

static void days(void **state)
{
    (void)state;
    assert_times("30 4 1,15 * 5", NULL, "2026-01-01T00:00:00Z", /* either day will do */
                 TIMES("2026-01-01T04:30:00Z", "2026-01-02T04:30:00Z", "2026-01-09T04:30:00Z",
                       "2026-01-15T04:30:00Z"));
    assert_times("0 0 13 * *", NULL, "2026-01-01T00:00:00Z",
                 TIMES("2026-01-13T00:00:00Z", "2026-02-13T00:00:00Z"));
    assert_times("0 0 * * sun", NULL, "2026-01-01T00:00:00Z",
                 TIMES("2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"));
    assert_times("0 12 29 2 *", NULL, "2025-01-01T00:00:00Z",
                 TIMES("2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"));
    assert_times("0 12 29 2 *", NULL, "2096-03-01T00:00:00Z", TIMES("2104-02-29T12:00:00Z"));
    assert_times("*/20 * * * *", NULL, "2026-01-01T00:00:00Z",
                 TIMES("2026-01-01T00:20:00Z", "2026-01-01T00:40:00Z"));
    assert_times("@every 90s", NULL, "2026-01-01T00:00:00Z",
                 TIMES("2026-01-01T00:01:30Z", "2026-01-01T00:03:00Z"));
    struct cron never;
    auto_zone utc = zone_open(NULL, NULL);
    assert_int_equal(cron_parse("0 0 31 2 *", &never, NULL), 0);
    assert_int_equal(cron_next(&never, utc, at("2026-01-01T00:00:00Z")), 0);
}

/* Berlin: on 2026-03-29 the clock goes from 02:00 to 03:00, on 2026-10-25 from 03:00 back to 02:00. */
static void clock_changes(void **state)
{
    (void)state;
    assert_times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", /* 02:30 does not come on the 29th */
                 TIMES("2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"));
    assert_times("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", /* and comes twice on the 25th */
                 TIMES("2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z",
                       "2026-10-26T01:30:00Z"));
    assert_times("0 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", /* every hour stays every hour */
                 TIMES("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"));
    assert_times("0 0 * * *", "America/New_York", "2050-03-12T00:00:00Z", /* beyond the table: by the rule */
                 TIMES("2050-03-12T05:00:00Z", "2050-03-13T05:00:00Z", "2050-03-14T04:00:00Z"));
    assert_times("15 2 * * *", "Australia/Lord_Howe",
                 "2026-04-04T00:00:00Z", /* half an hour, southern summer */
                 TIMES("2026-04-04T15:45:00Z", "2026-04-05T15:45:00Z"));
    assert_times("0 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", TIMES("2026-01-01T03:30:00Z"));
}

static void zones(void **state)
{
    (void)state;
    static const char *const bad[] = {"Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "Europe/",
                                      "a b",          "zone.tab"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        auto_err err = NULL;
        assert_null(zone_open(bad[i], &err));
        assert_non_null(strstr(err_message(err), "unknown time zone"));
    }
    auto_zone tokyo = zone_open("Asia/Tokyo", NULL);
    assert_int_equal(zone_offset(tokyo, at("2026-06-01T00:00:00Z")), 9 * 3600);
    auto_zone sydney = zone_open("Australia/Sydney", NULL);
    assert_int_equal(zone_offset(sydney, at("2060-01-01T00:00:00Z")), 11 * 3600);
    assert_int_equal(zone_offset(sydney, at("2060-06-01T00:00:00Z")), 10 * 3600);
}

static void counting(void **state)
{
    (void)state;
    struct cron cron;
    int64_t last;
    auto_zone utc = zone_open(NULL, NULL);
    cron_parse("*/5 * * * *", &cron, NULL);
    assert_int_equal(cron_count(&cron, utc, at("2026-01-01T00:00:00Z"), at("2026-01-01T00:14:59Z"), &last),
                     2);
    assert_int_equal(last, at("2026-01-01T00:10:00Z"));
    assert_int_equal(cron_count(&cron, utc, at("2026-01-01T00:00:00Z"), at("2026-01-01T00:04:59Z"), &last),
                     0);
    assert_int_equal(last, 0);
    cron_parse("@every 10s", &cron, NULL);
    assert_int_equal(cron_count(&cron, utc, 0, 35, &last), 3);
    assert_int_equal(last, 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(grammar), cmocka_unit_test(days),
                                       cmocka_unit_test(clock_changes), cmocka_unit_test(zones),
                                       cmocka_unit_test(counting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
