/* schema_columns_autoscaling: columns of HorizontalPodAutoscalers, in kubectl's format: "cpu: 12%/80%". */
#include <string.h>

#include "schema/schema_columns.h"

static const cJSON *source_of(const cJSON *metric)
{
    static const char *const fields[] = {"resource", "containerResource", "pods", "object"};
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        const cJSON *source = json_get(metric, fields[i]);
        if (source)
            return source;
    }
    return NULL;
}

static const char *name_of(const cJSON *source)
{
    const char *name = json_string(source, "name");
    return name ? name : json_string_or(source, "metric.name", "");
}

/* The current figures of the same metric. */
static const cJSON *current_of(const cJSON *object, const cJSON *metric)
{
    json_each (current, json_at(object, "status.currentMetrics")) {
        const cJSON *source = source_of(current);
        if (str_eq(json_string(current, "type"), json_string(metric, "type")) &&
            str_eq(name_of(source), name_of(source_of(metric))) &&
            str_eq(json_string(source, "container"), json_string(source_of(metric), "container")))
            return json_get(source, "current");
    }
    return NULL;
}

static void add_figure(struct str *text, const cJSON *figures, const char *percent, const char *quantity)
{
    int64_t value = json_int(figures, percent, -1);
    const char *amount = json_string(figures, quantity);
    if (percent[0] && value >= 0)
        str_addf(text, "%lld%%", (long long)value);
    else
        str_add(text, amount ? amount : "<unknown>");
}

static cJSON *column_targets(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    json_each (metric, json_at(object, "spec.metrics")) {
        const cJSON *source = source_of(metric), *target = json_get(source, "target");
        const cJSON *current = current_of(object, metric);
        const char *type = json_string_or(target, "type", "");
        bool share = strcmp(type, "Utilization") == 0;
        const char *percent = share ? "averageUtilization" : "";
        const char *quantity = strcmp(type, "Value") == 0 ? "value" : "averageValue";
        str_addf(&text, "%s%s: ", text.len ? ", " : "", name_of(source));
        add_figure(&text, current, percent, quantity);
        str_add_char(&text, '/');
        add_figure(&text, target, percent, quantity);
        if (!share && strcmp(type, "Value") != 0)
            str_add(&text, " (avg)");
    }
    return cell_from(&text, "<none>");
}

static cJSON *column_reference(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    const cJSON *reference = json_at(object, "spec.scaleTargetRef");
    str_addf(&text, "%s/%s", json_string_or(reference, "kind", ""), json_string_or(reference, "name", ""));
    return cell_from(&text, "");
}

const struct schema_named_column schema_columns_autoscaling[] = {
    {"autoscaler.targets", column_targets},
    {"autoscaler.reference", column_reference},
    {NULL, NULL},
};
