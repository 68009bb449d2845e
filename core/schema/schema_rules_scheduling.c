/*
 * schema_rules_scheduling: cross-field checks of priority classes and disruption budgets. Wording after
 * Kubernetes' validation of these kinds.
 */
#include <string.h>

#include "schema/schema_private.h"

#define HIGHEST_USER_PRIORITY 1000000000

static bool is_system_class(const char *name, int64_t value)
{
    return (str_eq(name, "system-cluster-critical") && value == 2000000000) ||
           (str_eq(name, "system-node-critical") && value == 2000001000);
}

static void rule_priority_class(struct validation *v, const cJSON *class, UNUSED const cJSON *old,
                                const struct schema_path *path)
{
    const char *name = json_string_or(class, "metadata.name", "");
    const struct schema_path metadata = {.up = path, .key = "metadata"};
    int64_t value = json_int(class, "value", 0);
    if (is_system_class(name, value))
        return;
    if (str_starts(name, "system-"))
        invalid_forbidden(v, SCHEMA_FIELD(&metadata, "name"),
                          "priority class names with 'system-' prefix are reserved for system use only");
    if (value > HIGHEST_USER_PRIORITY)
        invalid_forbidden(v, SCHEMA_FIELD(path, "value"),
                          "maximum allowed value of a user defined priority is %d", HIGHEST_USER_PRIORITY);
}

static void rule_disruption_budget(struct validation *v, const cJSON *spec, UNUSED const cJSON *old,
                                   const struct schema_path *path)
{
    static const char *const amounts[] = {"minAvailable", "maxUnavailable"};
    if (json_get(spec, amounts[0]) && json_get(spec, amounts[1]))
        invalid_value(v, path, spec, "minAvailable and maxUnavailable cannot be both set");
    for (size_t i = 0; i < COUNT_OF(amounts); i++) {
        const cJSON *amount = json_get(spec, amounts[i]);
        if (cJSON_IsString(amount) && strchr(amount->valuestring, '%') && atoi(amount->valuestring) > 100)
            invalid_value(v, SCHEMA_FIELD(path, amounts[i]), amount, "must not be greater than 100%%");
    }
}

const struct schema_named_rule schema_rules_scheduling[] = {
    {"priorityClass", rule_priority_class},
    {"disruptionBudget", rule_disruption_budget},
    {NULL, NULL},
};
