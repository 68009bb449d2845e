/*
 * schema_rules_meta: checks on what all kinds share: metadata, label selectors, node selectors, tolerations,
 * taints. Wording after Kubernetes' apimachinery and core validation. A rule sees one value and never changes
 * it.
 */
#include <stdio.h>
#include <string.h>

#include "base/quantity.h"
#include "schema/schema_private.h"

#define MAX_ANNOTATIONS (256 * 1024)

static void rule_metadata(struct validation *v, const cJSON *metadata, UNUSED const cJSON *old,
                          const struct schema_path *path)
{
    size_t size = 0;
    json_each (annotation, json_get(metadata, "annotations"))
        size +=
            strlen(annotation->string) + (cJSON_IsString(annotation) ? strlen(annotation->valuestring) : 0);
    if (size > MAX_ANNOTATIONS)
        invalid_too_long(v, SCHEMA_FIELD(path, "annotations"), MAX_ANNOTATIONS);
    const struct schema_path owners = {.up = path, .key = "ownerReferences"};
    int i = 0, controllers = 0;
    json_each (owner, json_get(metadata, "ownerReferences")) {
        i++;
        if (json_bool(owner, "controller", false) && ++controllers == 2)
            invalid_value(v, SCHEMA_INDEX(&owners, i - 1), json_get(owner, "controller"),
                          "Only one reference can have Controller set to true");
    }
}

static bool has_values(const cJSON *requirement)
{
    const cJSON *values = json_get(requirement, "values");
    return values && values->child;
}

static void rule_label_requirement(struct validation *v, const cJSON *requirement, UNUSED const cJSON *old,
                                   const struct schema_path *path)
{
    const char *operator= json_string_or(requirement, "operator", "");
    if ((strcmp(operator, "In") == 0 || strcmp(operator, "NotIn") == 0) && !has_values(requirement))
        invalid_required(v, SCHEMA_FIELD(path, "values"),
                         "must be specified when `operator` is 'In' or 'NotIn'");
    if ((strcmp(operator, "Exists") == 0 || strcmp(operator, "DoesNotExist") == 0) && has_values(requirement))
        invalid_forbidden(v, SCHEMA_FIELD(path, "values"),
                          "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
}

static void rule_node_requirement(struct validation *v, const cJSON *requirement, const cJSON *old,
                                  const struct schema_path *path)
{
    const char *operator= json_string_or(requirement, "operator", "");
    if (strcmp(operator, "Gt") != 0 && strcmp(operator, "Lt") != 0) {
        rule_label_requirement(v, requirement, old, path);
        return;
    }
    const cJSON *values = json_get(requirement, "values");
    long long number;
    if (!has_values(requirement) || values->child->next)
        invalid_required(v, SCHEMA_FIELD(path, "values"),
                         "must be specified single value when `operator` is 'Lt' or 'Gt'");
    else if (cJSON_IsString(values->child) && str_to_int64(values->child->valuestring, &number))
        invalid_value(v, SCHEMA_FIELD(path, "values"), values->child, "must be an integer");
}

static void rule_toleration(struct validation *v, const cJSON *toleration, UNUSED const cJSON *old,
                            const struct schema_path *path)
{
    const char *operator= json_string_or(toleration, "operator", "Equal");
    const struct schema_path at_operator = {.up = path, .key = "operator"};
    if (str_empty(json_string(toleration, "key")) && strcmp(operator, "Exists") != 0)
        invalid_value(
            v, &at_operator, json_get(toleration, "operator"),
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
    if (strcmp(operator, "Exists") == 0 && !str_empty(json_string(toleration, "value")))
        invalid_value(v, &at_operator, toleration, "value must be empty when `operator` is 'Exists'");
    if (json_get(toleration, "tolerationSeconds") && !str_eq(json_string(toleration, "effect"), "NoExecute"))
        invalid_value(v, SCHEMA_FIELD(path, "effect"), json_get(toleration, "effect"),
                      "effect must be 'NoExecute' when `tolerationSeconds` is set");
}

/* Node.spec.taints: key and effect together are unique. */
static void rule_taints(struct validation *v, const cJSON *taints, UNUSED const cJSON *old,
                        const struct schema_path *path)
{
    int i = 0;
    json_each (taint, taints) {
        for (const cJSON *before = taints->child; before != taint; before = before->next) {
            if (json_equal(json_get(before, "key"), json_get(taint, "key")) &&
                json_equal(json_get(before, "effect"), json_get(taint, "effect"))) {
                invalid_duplicate(v, SCHEMA_INDEX(path, i), taint);
                break;
            }
        }
        i++;
    }
}

/* A map from resource names to quantities: none negative. */
static void rule_resource_list(struct validation *v, const cJSON *list, UNUSED const cJSON *old,
                               const struct schema_path *path)
{
    json_each (item, list) {
        int64_t milli = 0;
        if (cJSON_IsString(item))
            (void)quantity_milli(item->valuestring, &milli, NULL); /* a malformed one is the format's fault */
        else
            milli = json_int(item, "", 0);
        if (milli < 0)
            invalid_value(v, &(struct schema_path){.up = path, .key = item->string, .in_map = true}, item,
                          "must be greater than or equal to 0");
    }
}

/* Devices ("nvidia.com/gpu") are whole, and what is requested is the limit: none can be promised twice.
 * Source: Kubernetes' ValidateResourceRequirements. */
static void check_devices(struct validation *v, const cJSON *resources, const char *part,
                          const struct schema_path *path)
{
    const cJSON *limits = json_get(resources, "limits");
    const struct schema_path list = {.up = path, .key = part};
    json_each (amount, json_get(resources, part)) {
        int64_t milli = 0, limit = 0;
        const struct schema_path here = {.up = &list, .key = amount->string, .in_map = true};
        const char *allowed = cJSON_GetStringValue(json_get(limits, amount->string));
        if (!strchr(amount->string, '/') || !cJSON_IsString(amount) ||
            quantity_milli(amount->valuestring, &milli, NULL))
            continue;
        if (milli % 1000)
            invalid_value(v, &here, amount, "must be an integer");
        else if (!allowed)
            invalid_required(v, SCHEMA_FIELD(path, "limits"),
                             "Limit must be set for non overcommitable resources");
        else if (quantity_milli(allowed, &limit, NULL) == 0 && milli < limit)
            invalid_value(v, &here, amount, "must be equal to %s limit of %s", amount->string, allowed);
    }
}

/* {limits, requests}: what is requested must not exceed the limit. */
static void rule_resources(struct validation *v, const cJSON *resources, UNUSED const cJSON *old,
                           const struct schema_path *path)
{
    const cJSON *limits = json_get(resources, "limits");
    const struct schema_path requests = {.up = path, .key = "requests"};
    check_devices(v, resources, "limits", path);
    check_devices(v, resources, "requests", path);
    json_each (request, json_get(resources, "requests")) {
        const cJSON *limit = json_get(limits, request->string);
        int64_t asked, allowed;
        if (!cJSON_IsString(request) || !cJSON_IsString(limit) ||
            quantity_milli(request->valuestring, &asked, NULL) ||
            quantity_milli(limit->valuestring, &allowed, NULL))
            continue;
        if (asked > allowed)
            invalid_value(v, &(struct schema_path){.up = &requests, .key = request->string, .in_map = true},
                          request, "must be less than or equal to %s limit of %s", request->string,
                          limit->valuestring);
    }
}

const struct schema_named_rule schema_rules_meta[] = {
    {"metadata", rule_metadata},
    {"labelRequirement", rule_label_requirement},
    {"nodeRequirement", rule_node_requirement},
    {"toleration", rule_toleration},
    {"taints", rule_taints},
    {"resourceList", rule_resource_list},
    {"resources", rule_resources},
    {NULL, NULL},
};
