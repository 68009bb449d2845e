/*
 * Counting of requests for /metrics: how many by verb and class of status, how long they took until they were
 * answered. All metrics are made at start, so that counting is two atomic additions.
 */
#include <string.h>

#include "api/api_internal.h"

#define CLASSES 6 /* "1xx" … "5xx"; the first is for statuses that are none */

static const char *const verbs[] = {
    "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "other"};

struct api_counters {
    const struct clock *clock;
    struct metric *requests[COUNT_OF(verbs)][CLASSES];
    struct metric *seconds[COUNT_OF(verbs)];
};

struct api_counters *counters_new(struct api *api)
{
    struct metrics *metrics = api->options.metrics;
    struct api_counters *counters = NEW(struct api_counters);
    counters->clock = api->clock;
    for (size_t verb = 0; verb < COUNT_OF(verbs); verb++) {
        for (size_t class = 0; class < CLASSES; class ++) {
            auto_free char *labels = mem_printf("verb=\"%s\",code=\"%zuxx\"", verbs[verb], class);
            counters->requests[verb][class] =
                metrics_counter(metrics, "minik8s_api_requests_total", "Answered requests.", labels);
        }
        auto_free char *label = mem_printf("verb=\"%s\"", verbs[verb]);
        counters->seconds[verb] =
            metrics_histogram(metrics, "minik8s_api_request_duration_seconds",
                              "Time from the arrival of a request to its answer.", label);
    }
    return counters;
}

void counters_free(struct api_counters *counters)
{
    free(counters); /* the metrics live as long as the registry */
}

static size_t verb_index(const char *verb)
{
    size_t last = COUNT_OF(verbs) - 1;
    for (size_t i = 0; verb && i < last; i++) {
        if (strcmp(verbs[i], verb) == 0)
            return i;
    }
    return last;
}

void counters_request(struct api_counters *counters, const struct call *call, int status)
{
    size_t verb = verb_index(call->verb), class = status >= 100 && status < 600 ? (size_t)status / 100 : 0;
    metric_add(counters->requests[verb][class], 1);
    int64_t started = call->request->received_ns;
    if (started > 0)
        metric_observe(counters->seconds[verb],
                       counters->clock->monotonic_ns(counters->clock->arg) - started);
}
