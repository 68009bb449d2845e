/* metrics: the text form with families and buckets, values read when asked, and counting from several
 * threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "metrics/metrics.h"

static double read_depth(void *arg)
{
    return *(double *)arg;
}

static void test_text(void **state UNUSED)
{
    struct metrics *metrics = metrics_new();
    auto_str text = {0};
    double depth = 7.5;
    struct metric *gets = metrics_counter(metrics, "m8_requests_total", "by verb", "verb=\"get\"");
    metrics_function(metrics, "m8_depth", "now", NULL, read_depth, &depth);
    struct metric *puts = metrics_counter(metrics, "m8_requests_total", "by verb", "verb=\"put\"");
    metric_add(gets, 2);
    metric_add(puts, 1);
    assert_ptr_equal(gets, metrics_counter(metrics, "m8_requests_total", "by verb", "verb=\"get\""));
    struct metric *pods = metrics_gauge(metrics, "m8_pods", "there", NULL);
    metric_set(pods, -3);
    metrics_print(metrics, &text);
    assert_string_equal(str_c(&text), "# HELP m8_requests_total by verb\n"
                                      "# TYPE m8_requests_total counter\n"
                                      "m8_requests_total{verb=\"get\"} 2\n"
                                      "m8_requests_total{verb=\"put\"} 1\n"
                                      "# HELP m8_depth now\n"
                                      "# TYPE m8_depth gauge\n"
                                      "m8_depth 7.5\n"
                                      "# HELP m8_pods there\n"
                                      "# TYPE m8_pods gauge\n"
                                      "m8_pods -3\n");
    metrics_free(metrics);
}

static void test_histogram(void **state UNUSED)
{
    struct metrics *metrics = metrics_new();
    auto_str text = {0};
    struct metric *metric = metrics_histogram(metrics, "m8_seconds", "how long", "verb=\"get\"");
    metric_observe(metric, 100000); /* a bound belongs to its bucket */
    metric_observe(metric, 100001);
    metric_observe(metric, 60000000000); /* beyond the last bound */
    assert_int_equal(metric_value(metric), 3);
    metrics_print(metrics, &text);
    assert_non_null(strstr(str_c(&text), "m8_seconds_bucket{verb=\"get\",le=\"0.0001\"} 1\n"));
    assert_non_null(strstr(str_c(&text), "m8_seconds_bucket{verb=\"get\",le=\"0.00025\"} 2\n"));
    assert_non_null(strstr(str_c(&text), "m8_seconds_bucket{verb=\"get\",le=\"30\"} 2\n"));
    assert_non_null(strstr(str_c(&text), "m8_seconds_bucket{verb=\"get\",le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(str_c(&text), "m8_seconds_sum{verb=\"get\"} 60.0002\n"));
    assert_non_null(strstr(str_c(&text), "m8_seconds_count{verb=\"get\"} 3\n"));
    metrics_free(metrics);
}

enum { THREADS = 4, TIMES = 50000 };

static void *count_thread(void *arg)
{
    for (int i = 0; i < TIMES; i++) {
        metric_add(metrics_counter(arg, "m8_total", "", i % 2 ? "a=\"b\"" : NULL), 1);
        metric_observe(metrics_histogram(arg, "m8_seconds", "", NULL), 1000);
    }
    return NULL;
}

static void test_threads(void **state UNUSED)
{
    struct metrics *metrics = metrics_new();
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_thread, metrics), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metric_value(metrics_counter(metrics, "m8_total", "", NULL)), THREADS * TIMES / 2);
    assert_int_equal(metric_value(metrics_counter(metrics, "m8_total", "", "a=\"b\"")), THREADS * TIMES / 2);
    assert_int_equal(metric_value(metrics_histogram(metrics, "m8_seconds", "", NULL)), THREADS * TIMES);
    metrics_free(metrics);
}

struct sums {
    double counter, gauge;
    unsigned samples;
};

static void on_sample(void *arg, const struct metrics_sample *sample)
{
    struct sums *sums = arg;
    sums->samples++;
    if (metrics_is_wanted(sample, "a_per_second") || strcmp(sample->name, "b") == 0)
        *(sample->counter ? &sums->counter : &sums->gauge) += sample->value;
}

static struct sums scan(const char *text)
{
    struct sums sums = {0};
    metrics_scan(text, strlen(text), on_sample, &sums);
    return sums;
}

static void test_scan(void **state UNUSED)
{
    struct sums sums = scan("# HELP a_total text\n# TYPE a_total counter\na_total{x=\"1\"} 3\n"
                            "a_total{x=\"}\\\"{\",y=\"2\"} 4.5 1700000000000\nb 1e3\nc{} 7\n");
    assert_int_equal(sums.samples, 4);
    assert_true(sums.counter == 7.5 && sums.gauge == 1000);
    sums = scan("# TYPE b counter\n  b\t2"); /* a type makes a counter of any name; no end of line */
    assert_true(sums.counter == 2 && sums.gauge == 0);
}

static void test_scan_strangers(void **state UNUSED)
{
    static const char *const pages[] = {"",       "\n\n#",  "# TYPE",          "# TYPE b",      "b",
                                        "b{",     "b{x=\"", "b{x=\"}\" 1",     "b x",           "b NaN",
                                        "b +Inf", "{} 1",   "<html>\n</html>", "\x01\xff\x00 1"};
    for (size_t i = 0; i < COUNT_OF(pages); i++)
        assert_int_equal(scan(pages[i]).samples, 0);
    assert_int_equal(scan("{\nb 1\n<\n").samples, 1); /* what is fine on the same page counts */
}

static void check_label(const char *labels, const char *name, const char *expected)
{
    const struct metrics_sample sample = {.name = "a", .labels = labels};
    auto_free char *value = metrics_label(&sample, name);
    if (expected)
        assert_string_equal(value, expected);
    else
        assert_null(value);
}

static void test_labels(void **state UNUSED)
{
    check_label("a=\"1\",b=\"2\"", "b", "2");
    check_label(" a = \"x,b=\\\"3\\\"\" , b=\"2\",", "b", "2"); /* a value may hold anything */
    check_label("a=\"x\\ny\\\\\"", "a", "x\ny\\");
    check_label("ab=\"1\"", "a", NULL);
    check_label("", "a", NULL);
    check_label("a=1,b=\"2\"", "b", NULL);
    check_label("a=\"never ended", "b", NULL);
    const struct metrics_sample counter = {.name = "x_total", .labels = "", .counter = true},
                                gauge = {.name = "x_total", .labels = ""};
    assert_true(metrics_is_wanted(&counter, "x_per_second") && metrics_is_wanted(&counter, "x_total"));
    assert_false(metrics_is_wanted(&gauge, "x_per_second") || metrics_is_wanted(&counter, "_per_second"));
}

static void test_process(void **state UNUSED)
{
    struct metrics *metrics = metrics_new();
    metrics_add_process(metrics);
    auto_str text = {0};
    metrics_print(metrics, &text);
    const char *resident = strstr(str_c(&text), "\nprocess_resident_memory_bytes ");
    const char *files = strstr(str_c(&text), "\nprocess_open_fds ");
    assert_true(resident && atof(strchr(resident, ' ')) > 100000);
    assert_true(files && atof(strchr(files, ' ')) >= 3);
    assert_non_null(strstr(str_c(&text), "\nprocess_cpu_seconds_total "));
    metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),   cmocka_unit_test(test_histogram),      cmocka_unit_test(test_threads),
        cmocka_unit_test(test_scan),   cmocka_unit_test(test_scan_strangers), cmocka_unit_test(test_labels),
        cmocka_unit_test(test_process)};
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
