/* The part of describe that only autoscalers have: targets as the server shows them, what was wanted when as
 * a chart, and the last changes with their reasons. */
#include <stdio.h>
#include <string.h>

#include "base/time.h"
#include "describe.h"

#define CHART_LINES 20
#define CHART_WIDTH 40
#define CHANGES 10

static const char *ago(int64_t at_ms, char out[TIME_TEXT])
{
    time_print_age(clock_wall_ns(&clock_system) - at_ms * 1000000, out);
    return out;
}

/* The cell of the server's table: how metrics are written is the server's to say. */
static void print_targets(struct kubectl *k, const cJSON *object)
{
    auto_err err = NULL;
    auto_free char *path = client_path("horizontalpodautoscalers.autoscaling", "v2",
                                       json_string_or(object, "metadata.namespace", ""),
                                       json_string_or(object, "metadata.name", ""), NULL);
    auto_json table = kubectl_request(k, "GET", path, KUBECTL_TABLE, NULL, NULL, &err);
    int i = 0;
    json_each (column, json_get(table, "columnDefinitions")) {
        const cJSON *cell = cJSON_GetArrayItem(json_at(table, "rows[0].cells"), i++);
        if (str_eq(json_string(column, "name"), "Targets") && cJSON_IsString(cell))
            printf("%-20s %s\n", "Metrics:", cell->valuestring);
    }
}

static void print_bar(const cJSON *entry, int64_t most)
{
    char bar[CHART_WIDTH + 1], age[TIME_TEXT];
    int64_t wanted = json_int(entry, "wanted", 0);
    int64_t width = most > CHART_WIDTH ? wanted * CHART_WIDTH / most : wanted;
    width = width < 0 ? 0 : width > CHART_WIDTH ? CHART_WIDTH : width;
    memset(bar, '#', (size_t)width);
    bar[width] = 0;
    printf("  %-8s %5lld %%  |%s %lld\n", ago(json_int(entry, "at", 0), age),
           (long long)json_int(entry, "load", 0), bar, (long long)wanted);
}

/* One line for each time that what was wanted, or the load, changed; the newest last. */
static void print_chart(const cJSON *history)
{
    int64_t most = 1;
    int count = cJSON_GetArraySize(history), i = 0;
    json_each (entry, history)
        most = json_int(entry, "wanted", 0) > most ? json_int(entry, "wanted", 0) : most;
    printf("Wanted:%s\n", count ? "" : "              <nothing yet>");
    if (count)
        printf("  %-8s %7s  %s\n", "Age", "Load", "Pods before limits");
    json_each (entry, history) {
        if (i++ >= count - CHART_LINES)
            print_bar(entry, most);
    }
}

void describe_scaling(struct kubectl *k, const cJSON *object)
{
    printf("%-20s %s/%s\n", "Reference:", json_string_or(object, "spec.scaleTargetRef.kind", ""),
           json_string_or(object, "spec.scaleTargetRef.name", ""));
    print_targets(k, object);
    printf("%-20s %lld\n", "Min replicas:", (long long)json_int(object, "spec.minReplicas", 1));
    printf("%-20s %lld\n", "Max replicas:", (long long)json_int(object, "spec.maxReplicas", 0));
    printf("%-20s %lld current / %lld desired\n",
           "Pods:", (long long)json_int(object, "status.currentReplicas", 0),
           (long long)json_int(object, "status.desiredReplicas", 0));
}

void describe_decisions(const cJSON *object)
{
    const cJSON *changes = json_at(object, "status.changes");
    int count = cJSON_GetArraySize(changes), i = 0;
    print_chart(json_at(object, "status.history"));
    printf("Decisions:%s\n", count ? "" : "           <none>");
    json_each (change, changes) {
        char age[TIME_TEXT];
        if (i++ >= count - CHANGES)
            printf("  %-8s %lld -> %lld  %s\n", ago(json_int(change, "at", 0), age),
                   (long long)json_int(change, "from", 0), (long long)json_int(change, "to", 0),
                   json_string_or(change, "reason", ""));
    }
}
