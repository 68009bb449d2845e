/*
 * metrics: counters, gauges and latency histograms, and their Prometheus text (exposition format 0.0.4). A
 * metric is made once and kept by whoever counts; counting is one atomic operation from any thread and
 * allocates nothing.
 */
#ifndef M8_METRICS_METRICS_H
#define M8_METRICS_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct metrics;
struct metric;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics); /* and all metrics made of it */

/* labels: `verb="get",resource="pods"`, or NULL. The same name and labels give the same metric. Lives as long
 * as metrics. */
struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                               const char *labels);
struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help, const char *labels);
/* Seconds, in buckets from 100 µs to 30 s. */
struct metric *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                 const char *labels);
/* A gauge that is read when somebody asks. `read` may be called on any thread. */
void metrics_function(struct metrics *metrics, const char *name, const char *help, const char *labels,
                      double (*read)(void *arg), void *arg);

void metric_add(struct metric *metric, uint64_t count);          /* counter */
void metric_set(struct metric *metric, int64_t value);           /* gauge */
void metric_observe(struct metric *metric, int64_t nanoseconds); /* histogram */
uint64_t metric_value(const struct metric *metric); /* counter or gauge; histogram: number of observations */

void metrics_print(struct metrics *metrics, struct str *out);

/* Figures of this process (CPU time, resident memory, open files, start), under Prometheus' usual names. */
void metrics_add_process(struct metrics *metrics);

/* Every sample of a page in that form, somebody else's. Lines that are none are passed over. */
struct metrics_sample {
    const char *name;   /* comes once for each set of labels */
    const char *labels; /* what stands between the braces, as it was written; "" if nothing does */
    double value;
    bool counter; /* it only grows, by its TYPE line or a name in _total */
};
typedef void metrics_on_sample(void *arg, const struct metrics_sample *sample);
void metrics_scan(const char *text, size_t len, metrics_on_sample *on_sample, void *arg);
/* Value of one label, or NULL; the caller frees. */
char *metrics_label(const struct metrics_sample *sample, const char *name);
/* True if a figure that somebody calls `wanted` is made of this sample: it has that name, or is the counter
 * X_total or X and wanted is "X_per_second". */
bool metrics_is_wanted(const struct metrics_sample *sample, const char *wanted);

#endif
