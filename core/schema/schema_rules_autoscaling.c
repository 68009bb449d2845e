/* schema_rules_autoscaling: cross-field checks of HorizontalPodAutoscalers. Wording after Kubernetes'
 * validation.
 */
#include <string.h>

#include "base/quantity.h"
#include "schema/schema_private.h"

static void rule_autoscaler_spec(struct validation *v, const cJSON *spec, UNUSED const cJSON *old,
                                 const struct schema_path *path)
{
    if (json_int(spec, "maxReplicas", 0) < json_int(spec, "minReplicas", 1))
        invalid_value(v, SCHEMA_FIELD(path, "maxReplicas"), json_get(spec, "maxReplicas"),
                      "must be greater than or equal to `minReplicas`");
}

static const struct {
    const char *type, *field, *targets;
} sources[] = {{"Resource", "resource", " Utilization AverageValue "},
               {"ContainerResource", "containerResource", " Utilization AverageValue "},
               {"Pods", "pods", " AverageValue "},
               {"Object", "object", " Value AverageValue "}};

static void rule_metric(struct validation *v, const cJSON *metric, UNUSED const cJSON *old,
                        const struct schema_path *path)
{
    const char *type = json_string(metric, "type");
    if (str_eq(type, "External"))
        invalid_value(v, SCHEMA_FIELD(path, "type"), json_get(metric, "type"),
                      "nothing outside of the cluster is measured; use Pods or Object");
    for (size_t i = 0; i < COUNT_OF(sources); i++) {
        const struct schema_path here = {.up = path, .key = sources[i].field};
        const cJSON *source = json_get(metric, sources[i].field);
        bool chosen = str_eq(type, sources[i].type);
        if (chosen && !source)
            invalid_required(v, &here, "must populate information for the given metric source");
        if (source && !chosen)
            invalid_forbidden(v, &here, "must populate the given metric source only");
        const char *target = json_string(source, "target.type");
        const struct schema_path at_target = {.up = &here, .key = "target"};
        auto_free char *word = mem_printf(" %s ", target ? target : "");
        if (chosen && target && !strstr(sources[i].targets, word))
            invalid_value(v, SCHEMA_FIELD(&at_target, "type"), json_at(source, "target.type"),
                          "must be one of:%s", sources[i].targets);
    }
}

static void rule_target(struct validation *v, const cJSON *target, UNUSED const cJSON *old,
                        const struct schema_path *path)
{
    static const struct {
        const char *type, *field;
    } fields[] = {
        {"Utilization", "averageUtilization"}, {"AverageValue", "averageValue"}, {"Value", "value"}};
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        const cJSON *value = json_get(target, fields[i].field);
        bool chosen = str_eq(json_string(target, "type"), fields[i].type);
        int64_t milli = 1;
        if (chosen && !value)
            invalid_required(v, SCHEMA_FIELD(path, fields[i].field), "must be set for this type of target");
        if (value && !chosen)
            invalid_forbidden(v, SCHEMA_FIELD(path, fields[i].field),
                              "may not be set for this type of target");
        if (cJSON_IsString(value) && quantity_milli(value->valuestring, &milli, NULL) == 0 && milli <= 0)
            invalid_value(v, SCHEMA_FIELD(path, fields[i].field), value, "must be positive");
    }
}

const struct schema_named_rule schema_rules_autoscaling[] = {
    {"autoscalerSpec", rule_autoscaler_spec},
    {"metricSpec", rule_metric},
    {"metricTarget", rule_target},
    {NULL, NULL},
};
