/*
 * The registry behind metrics.h. The lock guards the list only; values are atomics. Families (equal names)
 * are printed together, in the order in which they were first made, as the format demands.
 */
#include "metrics/metrics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"

enum type { COUNTER, GAUGE, HISTOGRAM, FUNCTION };

static const int64_t bounds_us[] = {100,   250,    500,    1000,   2500,    5000,    10000,    25000,
                                    50000, 100000, 250000, 500000, 1000000, 2500000, 10000000, 30000000};
#define N_BOUNDS COUNT_OF(bounds_us)

struct metric {
    struct list node;
    enum type type;
    char *name, *help, *labels;
    atomic_int_fast64_t value;
    atomic_uint_fast64_t buckets[N_BOUNDS], count, sum_ns;
    double (*read)(void *arg);
    void *arg;
};

struct metrics {
    pthread_mutex_t lock;
    struct list all;
};

struct metrics *metrics_new(void)
{
    struct metrics *metrics = NEW(struct metrics);
    pthread_mutex_init(&metrics->lock, NULL);
    list_init(&metrics->all);
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics)
        return;
    struct metric *metric, *following;
    list_each_safe (metric, following, &metrics->all, node) {
        free(metric->name);
        free(metric->help);
        free(metric->labels);
        free(metric);
    }
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

/* Keeps families together: a new member goes behind the last one of its name. */
static struct metric *make(struct metrics *metrics, enum type type, const char *name, const char *help,
                           const char *labels)
{
    pthread_mutex_lock(&metrics->lock);
    struct metric *metric, *last_of_family = NULL;
    list_each (metric, &metrics->all, node) {
        if (!str_eq(metric->name, name))
            continue;
        last_of_family = metric;
        if (str_eq(metric->labels, labels))
            goto out;
    }
    metric = NEW(struct metric);
    metric->type = type;
    metric->name = mem_strdup(name);
    metric->help = mem_strdup(help);
    metric->labels = mem_strdup(labels);
    if (last_of_family)
        list_add_head(&last_of_family->node, &metric->node);
    else
        list_add_tail(&metrics->all, &metric->node);
out:
    must(metric->type == type); /* one name, one type */
    pthread_mutex_unlock(&metrics->lock);
    return metric;
}

struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                               const char *labels)
{
    return make(metrics, COUNTER, name, help, labels);
}

struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help, const char *labels)
{
    return make(metrics, GAUGE, name, help, labels);
}

struct metric *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                 const char *labels)
{
    return make(metrics, HISTOGRAM, name, help, labels);
}

void metrics_function(struct metrics *metrics, const char *name, const char *help, const char *labels,
                      double (*read)(void *arg), void *arg)
{
    struct metric *metric = make(metrics, FUNCTION, name, help, labels);
    metric->arg = arg;
    metric->read = read;
}

void metric_add(struct metric *metric, uint64_t count)
{
    atomic_fetch_add_explicit(&metric->value, (int64_t)count, memory_order_relaxed);
}

void metric_set(struct metric *metric, int64_t value)
{
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void metric_observe(struct metric *metric, int64_t nanoseconds)
{
    for (size_t i = 0; i < N_BOUNDS; i++) {
        if (nanoseconds <= bounds_us[i] * 1000) {
            atomic_fetch_add_explicit(&metric->buckets[i], 1, memory_order_relaxed);
            break;
        }
    }
    atomic_fetch_add_explicit(&metric->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&metric->sum_ns, (uint64_t)(nanoseconds > 0 ? nanoseconds : 0),
                              memory_order_relaxed);
}

uint64_t metric_value(const struct metric *metric)
{
    if (metric->type == HISTOGRAM)
        return atomic_load(&metric->count);
    return (uint64_t)atomic_load(&metric->value);
}

/* ---- text ---- */

static void add_labels(struct str *out, const char *labels, const char *more)
{
    if (str_empty(labels) && !more)
        return;
    str_addf(out, "{%s%s%s}", labels ? labels : "", !str_empty(labels) && more ? "," : "", more ? more : "");
}

static void print_histogram(struct str *out, const struct metric *metric)
{
    uint64_t below = 0;
    for (size_t i = 0; i <= N_BOUNDS; i++) {
        auto_free char *bound =
            i < N_BOUNDS ? mem_printf("le=\"%g\"", (double)bounds_us[i] / 1e6) : mem_strdup("le=\"+Inf\"");
        below = i < N_BOUNDS ? below + atomic_load(&metric->buckets[i]) : atomic_load(&metric->count);
        str_addf(out, "%s_bucket", metric->name);
        add_labels(out, metric->labels, bound);
        str_addf(out, " %" PRIu64 "\n", below);
    }
    str_addf(out, "%s_sum", metric->name);
    add_labels(out, metric->labels, NULL);
    str_addf(out, " %.9g\n%s_count", (double)atomic_load(&metric->sum_ns) / 1e9, metric->name);
    add_labels(out, metric->labels, NULL);
    str_addf(out, " %" PRIu64 "\n", below);
}

static void print_metric(struct str *out, const struct metric *metric)
{
    if (metric->type == HISTOGRAM) {
        print_histogram(out, metric);
        return;
    }
    str_add(out, metric->name);
    add_labels(out, metric->labels, NULL);
    if (metric->type == FUNCTION)
        str_addf(out, " %.15g\n", metric->read(metric->arg));
    else
        str_addf(out, " %" PRId64 "\n", (int64_t)atomic_load(&metric->value));
}

void metrics_print(struct metrics *metrics, struct str *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram", "gauge"};
    const char *family = "";
    pthread_mutex_lock(&metrics->lock);
    struct metric *metric;
    list_each (metric, &metrics->all, node) {
        if (!str_eq(metric->name, family))
            str_addf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                     types[metric->type]);
        family = metric->name;
        print_metric(out, metric);
    }
    pthread_mutex_unlock(&metrics->lock);
}
