/*
 * schema_rules_scheduling: cross-field checks of priority classes, disruption budgets, spread constraints and
 * terms of pod affinity. Wording after Kubernetes' validation of these.
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

/* ---- spreading, and pods near pods ---- */

static bool selects_by(const cJSON *selector, const char *key)
{
    json_each (expression, json_get(selector, "matchExpressions"))
        if (str_eq(json_string(expression, "key"), key))
            return true;
    return json_get(json_get(selector, "matchLabels"), key) != NULL;
}

static bool has_text(const cJSON *list, const char *text)
{
    json_each (item, list)
        if (str_eq(cJSON_GetStringValue(item), text))
            return true;
    return false;
}

/* A list of keys whose values come from the pod narrows a selector down, so there must be one. */
static bool label_keys_have_selector(struct validation *v, const cJSON *term, const char *list,
                                     const struct schema_path *path)
{
    const cJSON *keys = json_get(term, list);
    if (!keys || !keys->child || json_get(term, "labelSelector"))
        return true;
    invalid_forbidden(v, SCHEMA_FIELD(path, list), "must not be specified when labelSelector is not set");
    return false;
}

/* mismatchLabelKeys may name a key of the selector: "has the label, with another value than mine". */
static void check_label_keys(struct validation *v, const cJSON *term, const struct schema_path *path)
{
    const struct schema_path list = {.up = path, .key = "matchLabelKeys"};
    int i = 0;
    if (!label_keys_have_selector(v, term, "matchLabelKeys", path))
        return;
    json_each (key, json_get(term, "matchLabelKeys")) {
        const struct schema_path here = {.up = &list, .index = i++};
        if (!cJSON_IsString(key))
            continue;
        if (selects_by(json_get(term, "labelSelector"), key->valuestring))
            invalid_value(v, &here, key, "exists in both matchLabelKeys and labelSelector");
        if (has_text(json_get(term, "mismatchLabelKeys"), key->valuestring))
            invalid_value(v, &here, key, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

static void rule_affinity_term(struct validation *v, const cJSON *term, UNUSED const cJSON *old,
                               const struct schema_path *path)
{
    check_label_keys(v, term, path);
    (void)label_keys_have_selector(v, term, "mismatchLabelKeys", path);
}

static void rule_spread_constraint(struct validation *v, const cJSON *constraint, UNUSED const cJSON *old,
                                   const struct schema_path *path)
{
    if (json_get(constraint, "minDomains") &&
        str_eq(json_string(constraint, "whenUnsatisfiable"), "ScheduleAnyway"))
        invalid_value(v, SCHEMA_FIELD(path, "minDomains"), json_get(constraint, "minDomains"),
                      "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway");
    check_label_keys(v, constraint, path);
}

static bool same_spread(const cJSON *a, const cJSON *b)
{
    return json_equal(json_get(a, "topologyKey"), json_get(b, "topologyKey")) &&
           json_equal(json_get(a, "whenUnsatisfiable"), json_get(b, "whenUnsatisfiable"));
}

/* Topology and hardness together are unique. */
static void rule_spread_constraints(struct validation *v, const cJSON *constraints, UNUSED const cJSON *old,
                                    const struct schema_path *path)
{
    int i = 0;
    json_each (constraint, constraints) {
        const struct schema_path here = {.up = path, .index = i++};
        const cJSON *before = constraints->child;
        while (before != constraint && !same_spread(before, constraint))
            before = before->next;
        if (before == constraint)
            continue;
        auto_free char *pair = mem_printf("{%s, %s}", json_string_or(constraint, "topologyKey", ""),
                                          json_string_or(constraint, "whenUnsatisfiable", ""));
        auto_json shown = cJSON_CreateString(pair);
        invalid_duplicate(v, SCHEMA_FIELD(&here, "{topologyKey, whenUnsatisfiable}"), shown);
    }
}

const struct schema_named_rule schema_rules_scheduling[] = {
    {"affinityTerm", rule_affinity_term},           {"spreadConstraint", rule_spread_constraint},
    {"spreadConstraints", rule_spread_constraints}, {"priorityClass", rule_priority_class},
    {"disruptionBudget", rule_disruption_budget},   {NULL, NULL},
};
