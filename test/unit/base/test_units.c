/* Quantities, times and durations.  */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/quantity.h"
#include "base/time.h"

static void assert_milli(const char *text, int64_t expected)
{
    int64_t milli = -1;
    auto_err error = NULL;
    if (quantity_milli(text, &milli, &error) < 0)
        fail_msg("%s: %s", text, err_message(error));
    if (milli != expected)
        fail_msg("%s: %lld", text, (long long)milli);
}

static void assert_value(const char *text, int64_t expected)
{
    int64_t value = -1;
    assert_int_equal(quantity_value(text, &value, NULL), 0);
    if (value != expected)
        fail_msg("%s: %lld", text, (long long)value);
}

static void quantities(void **state)
{
    (void)state;
    assert_milli("100m", 100);
    assert_milli("1.5", 1500);
    assert_milli("2", 2000);
    assert_milli(".5", 500);
    assert_milli("5.", 5000);
    assert_milli("+1", 1000);
    assert_milli("-1500m", -1500);
    assert_milli("1u", 1); /* rounded up */
    assert_milli("0n", 0);
    assert_milli("1500u", 2);
    assert_milli("-1u", -1); /* away from zero */
    assert_milli("1k", 1000000);
    assert_milli("1e3", 1000000);
    assert_milli("1E-3", 1);
    assert_milli("1E", INT64_MAX); /* 10^21 thousandths do not fit */
    assert_value("64Mi", 64ll << 20);
    assert_value("1.5Gi", 3ll << 29);
    assert_value("0.1Ki", 103);
    assert_value("1E", 1000000000000000000);
    assert_value("7Ei", 7ll << 60);
    assert_value("8Ei", INT64_MAX);
    assert_value("-8Ei", -INT64_MAX);
    assert_value("100m", 1);
    assert_value("1e99999999999", INT64_MAX);
    assert_value("1e-99999999999", 1);
    assert_value("0e99999", 0);
    assert_value("9223372036854775807", 9223372036854775807);
    assert_value("99999999999999999999999999", INT64_MAX);
    assert_value("0.000000000000000000000000001", 1);
    assert_value("00000000000000000000000000012", 12);
    static const char *const bad[] = {"",   "m",   ".",     "1x", "1 Ki", "1KI",  "1K",  "--1",
                                      "1e", "1e+", "1.2.3", " 1", "1mm",  "0x10", "1e3k"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        int64_t value;
        auto_err error = NULL;
        if (quantity_value(bad[i], &value, &error) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(err_code(error), ERR_INVALID);
    }
    assert_int_equal(quantity_value(NULL, &(int64_t){0}, NULL), -1);
}

static void quantities_print_canonically(void **state)
{
    (void)state;
    static const struct {
        int64_t milli;
        const char *text;
    } rows[] = {{1500, "1500m"}, {2000, "2"}, {0, "0"}, {-100, "-100m"}, {5000000, "5k"}, {1234000, "1234"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        auto_free char *text = quantity_print_milli(rows[i].milli);
        assert_string_equal(text, rows[i].text);
        assert_milli(text, rows[i].milli);
    }
    auto_free char *mib = quantity_print_bytes(64 << 20), *odd = quantity_print_bytes(1025),
                   *none = quantity_print_bytes(0);
    assert_string_equal(mib, "64Mi");
    assert_string_equal(odd, "1025");
    assert_string_equal(none, "0");
}

static void assert_time(const char *text, int64_t seconds, int64_t ns)
{
    int64_t wall = -1;
    auto_err error = NULL;
    if (time_parse(text, &wall, &error) < 0)
        fail_msg("%s: %s", text, err_message(error));
    if (wall != seconds * 1000000000 + ns)
        fail_msg("%s: %lld", text, (long long)wall);
}

static void times(void **state)
{
    (void)state;
    assert_time("1970-01-01T00:00:00Z", 0, 0);
    assert_time("2026-01-02T03:04:05Z", 1767323045, 0);
    assert_time("2026-01-02T03:04:05.000006Z", 1767323045, 6000);
    assert_time("2026-01-02T03:04:05.1234567891Z", 1767323045, 123456789);
    assert_time("2026-01-02T05:04:05+02:00", 1767323045, 0);
    assert_time("2026-01-01T19:34:05-07:30", 1767323045, 0);
    assert_time("2000-02-29T00:00:00z", 951782400, 0);
    assert_time("1969-12-31T23:59:59Z", -1, 0);
    assert_time("2016-12-31T23:59:60Z", 1483228800, 0);
    static const char *const bad[] = {"",
                                      "2026-01-02",
                                      "2026-01-02T03:04:05",
                                      "2026-02-29T00:00:00Z",
                                      "2026-13-01T00:00:00Z",
                                      "2026-00-01T00:00:00Z",
                                      "2026-01-02T24:00:00Z",
                                      "2026-01-02T03:04:05.Z",
                                      "2026-01-02T03:04:05Zx",
                                      "2026-01-02T03:04:05+2:00",
                                      "1600-01-01T00:00:00Z",
                                      "9999-01-01T00:00:00Z"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        int64_t wall;
        if (time_parse(bad[i], &wall, NULL) == 0)
            fail_msg("accepted: %s", bad[i]);
    }
    /* every day over four centuries, and back */
    for (int64_t day = -100000; day < 100000; day += 13) {
        char text[TIME_TEXT];
        int64_t wall = day * 86400000000000 + 86399999999000, again;
        time_print_micro(wall, text);
        assert_int_equal(time_parse(text, &again, NULL), 0);
        assert_true(again == wall);
    }
    char text[TIME_TEXT];
    time_print(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59Z");
}

static void ages(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *text;
    } rows[] = {{0, "0s"},
                {-1, "0s"},
                {-5, "<invalid>"},
                {5, "5s"},
                {119, "119s"},
                {120, "2m"},
                {182, "3m2s"},
                {600, "10m"},
                {10799, "179m"},
                {10800, "3h"},
                {14460, "4h1m"},
                {28800, "8h"},
                {172799, "47h"},
                {172800, "2d"},
                {176400, "2d1h"},
                {691200, "8d"},
                {375 * 86400, "375d"},
                {730 * 86400, "2y"},
                {740 * 86400, "2y10d"},
                {3650 * 86400, "10y"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[TIME_TEXT];
        time_print_age(rows[i].seconds * 1000000000, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {{"0", 0},
                {"300ms", 300000000},
                {"1.5s", 1500000000},
                {"1h30m", 5400000000000},
                {"-2m", -120000000000},
                {"1us", 1000},
                {"1\xc2\xb5s", 1000},
                {".5s", 500000000},
                {"1.0000000000000000000001s", 1000000000},
                {"2562047h47m16.854775807s", INT64_MAX}};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        int64_t ns = -1;
        assert_int_equal(time_parse_duration(good[i].text, &ns, NULL), 0);
        if (ns != good[i].ns)
            fail_msg("%s: %lld", good[i].text, (long long)ns);
    }
    static const char *const bad[] = {
        "",   "5", "s",           "1x",          "1s ",   "1.2.3s",
        ".s", "-", "9999999999h", "2562047h48m", "1h-5m", "99999999999999999999s"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        int64_t ns;
        auto_err error = NULL;
        if (time_parse_duration(bad[i], &ns, &error) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(err_code(error), ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantities), cmocka_unit_test(quantities_print_canonically),
        cmocka_unit_test(times),      cmocka_unit_test(ages),
        cmocka_unit_test(durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
