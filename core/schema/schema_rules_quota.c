/*
 * schema_rules_quota: cross-field checks of ResourceQuota and LimitRange, and their columns. Wording after
 * Kubernetes' core validation of these kinds. What is counted and refused is core/api's.
 */
#include <string.h>

#include "base/quantity.h"
#include "schema/schema_columns.h"

#define CLAIM_OF_CLASS ".storageclass.storage.k8s.io/"

static bool one_of(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(text, *list) == 0)
            return true;
    return false;
}

static const char *const object_counts[] = {
    "pods",           "services", "services.nodeports", "services.loadbalancers", "replicationcontrollers",
    "resourcequotas", "secrets",  "configmaps",         "persistentvolumeclaims", NULL};
static const char *const pod_amounts[] = {"cpu",
                                          "memory",
                                          "ephemeral-storage",
                                          "requests.cpu",
                                          "requests.memory",
                                          "requests.ephemeral-storage",
                                          "limits.cpu",
                                          "limits.memory",
                                          "limits.ephemeral-storage",
                                          NULL};

static bool is_huge_page(const char *name)
{
    return str_starts(name, "hugepages-") || str_starts(name, "requests.hugepages-");
}

static bool is_count(const char *name)
{
    const char *of_class = strstr(name, CLAIM_OF_CLASS);
    return one_of(name, object_counts) || str_starts(name, "count/") ||
           (of_class && strcmp(of_class + sizeof(CLAIM_OF_CLASS) - 1, "persistentvolumeclaims") == 0);
}

static void check_hard(struct validation *v, const cJSON *hard, const struct schema_path *path)
{
    const struct schema_path at = {.up = path, .key = "hard"};
    json_each (limit, hard) {
        const char *name = limit->string;
        const struct schema_path here = {.up = &at, .key = name, .in_map = true};
        auto_json key = cJSON_CreateString(name);
        const char *fault = schema_format_check(FORMAT_LABEL_KEY, key);
        int64_t milli = 0;
        if (fault)
            invalid_value(v, &here, key, "%s", fault);
        else if (!strchr(name, '/') && !is_count(name) && !one_of(name, pod_amounts) && !is_huge_page(name) &&
                 strcmp(name, "requests.storage") != 0)
            invalid_value(v, &here, key, "must be a standard resource for quotas");
        if (!cJSON_IsString(limit) || quantity_milli(limit->valuestring, &milli, NULL) < 0)
            continue; /* told of already */
        if (milli < 0)
            invalid_value(v, &here, limit, "must be greater than or equal to 0");
        else if (is_count(name) && milli % 1000)
            invalid_value(v, &here, limit, "must be an integer");
    }
}

/* ---- scopes ---- */

/* What a scope may be combined with: only what pods ask for; BestEffort pods ask for nothing. */
static bool scope_fits(const char *scope, const char *name)
{
    if (strcmp(name, "pods") == 0 || strcmp(name, "count/pods") == 0)
        return true;
    return strcmp(scope, "BestEffort") != 0 && (one_of(name, pod_amounts) || is_huge_page(name));
}

static void check_scopes_fit(struct validation *v, const cJSON *spec, const cJSON *scope, const cJSON *all,
                             const struct schema_path *path)
{
    json_each (limit, json_get(spec, "hard"))
        if (cJSON_IsString(scope) && !scope_fits(scope->valuestring, limit->string)) {
            invalid_value(v, path, all, "unsupported scope applied to resource");
            return;
        }
}

struct scope_set {
    bool terminating, not_terminating, best_effort, not_best_effort;
};

static void add_scope(struct scope_set *set, const char *scope)
{
    set->terminating |= str_eq(scope, "Terminating");
    set->not_terminating |= str_eq(scope, "NotTerminating");
    set->best_effort |= str_eq(scope, "BestEffort");
    set->not_best_effort |= str_eq(scope, "NotBestEffort");
}

static bool conflict(const struct scope_set *set)
{
    return (set->terminating && set->not_terminating) || (set->best_effort && set->not_best_effort);
}

static void check_scopes(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    const cJSON *scopes = json_get(spec, "scopes");
    const struct schema_path here = {.up = path, .key = "scopes"};
    struct scope_set set = {0};
    json_each (scope, scopes) {
        check_scopes_fit(v, spec, scope, scopes, &here);
        add_scope(&set, cJSON_GetStringValue(scope));
    }
    if (conflict(&set))
        invalid_value(v, &here, scopes, "conflicting scopes");
}

static void check_expression(struct validation *v, const cJSON *expression, const struct schema_path *path)
{
    const char *scope = json_string_or(expression, "scopeName", "");
    const char *how = json_string_or(expression, "operator", "");
    const cJSON *values = json_get(expression, "values");
    bool lists = strcmp(how, "In") == 0 || strcmp(how, "NotIn") == 0;
    if (strcmp(scope, "PriorityClass") != 0 && strcmp(how, "Exists") != 0 && *how)
        invalid_value(v, SCHEMA_FIELD(path, "operator"), json_get(expression, "operator"),
                      "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, "
                      "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
                      "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity");
    if (lists && (!values || !values->child))
        invalid_required(v, SCHEMA_FIELD(path, "values"),
                         "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
    if (!lists && values && values->child)
        invalid_value(v, SCHEMA_FIELD(path, "values"), values,
                      "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector");
}

static void check_selector(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    const struct schema_path selector = {.up = path, .key = "scopeSelector"};
    const struct schema_path list = {.up = &selector, .key = "matchExpressions"};
    const cJSON *expressions = json_at(spec, "scopeSelector.matchExpressions");
    struct scope_set set = {0};
    int i = 0;
    json_each (expression, expressions) {
        const struct schema_path at = {.up = &list, .index = i++};
        check_expression(v, expression, &at);
        check_scopes_fit(v, spec, json_get(expression, "scopeName"), json_get(expression, "scopeName"),
                         SCHEMA_FIELD(&at, "scopeName"));
        add_scope(&set, json_string(expression, "scopeName"));
    }
    if (conflict(&set))
        invalid_value(v, &list, expressions, "conflicting scopes");
}

static void check_immutable(struct validation *v, const cJSON *spec, const cJSON *old, const char *field,
                            const struct schema_path *path)
{
    const cJSON *now = json_get(spec, field), *before = json_get(old, field);
    if (now && !now->child)
        now = NULL;
    if (before && !before->child)
        before = NULL;
    if (!now != !before || (now && !json_equal(now, before)))
        invalid_immutable(v, SCHEMA_FIELD(path, field), now ? now : before);
}

static void rule_quota(struct validation *v, const cJSON *quota, const cJSON *old,
                       const struct schema_path *path)
{
    const cJSON *spec = json_get(quota, "spec");
    const struct schema_path here = {.up = path, .key = "spec"};
    check_hard(v, json_get(spec, "hard"), &here);
    check_scopes(v, spec, &here);
    check_selector(v, spec, &here);
    if (old) {
        check_immutable(v, spec, json_get(old, "spec"), "scopes", &here);
        check_immutable(v, spec, json_get(old, "spec"), "scopeSelector", &here);
    }
}

/* ---- limit ranges ---- */

static const char *amount(const cJSON *map, const char *name, int64_t *milli)
{
    const cJSON *value = json_get(map, name);
    if (!cJSON_IsString(value) || quantity_milli(value->valuestring, milli, NULL) < 0)
        return NULL;
    return value->valuestring;
}

/* `low` must not be above `high`; the fault is told of the field `at`. */
struct pair {
    const char *low, *low_words, *high, *high_words, *at;
};

static void check_pairs(struct validation *v, const cJSON *item, const char *name,
                        const struct schema_path *path)
{
    static const struct pair pairs[] = {
        {"min", "min value", "max", "max value", "min"},
        {"min", "min value", "defaultRequest", "default request value", "defaultRequest"},
        {"defaultRequest", "default request value", "max", "max value", "defaultRequest"},
        {"defaultRequest", "default request value", "default", "default limit value", "defaultRequest"},
        {"min", "min value", "default", "default value", "default"},
        {"default", "default value", "max", "max value", "default"}};
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        int64_t low = 0, high = 0;
        const char *low_text = amount(json_get(item, pairs[i].low), name, &low);
        const char *high_text = amount(json_get(item, pairs[i].high), name, &high);
        const struct schema_path field = {.up = path, .key = pairs[i].at};
        const struct schema_path here = {.up = &field, .key = name, .in_map = true};
        if (low_text && high_text && low > high)
            invalid_value(v, &here, json_get(json_get(item, pairs[i].at), name),
                          "%s %s is greater than %s %s", pairs[i].low_words, low_text, pairs[i].high_words,
                          high_text);
    }
}

static void check_ratio(struct validation *v, const cJSON *item, const char *name,
                        const struct schema_path *path)
{
    int64_t ratio = 0, min = 0, max = 0;
    const cJSON *ratios = json_get(item, "maxLimitRequestRatio");
    const char *text = amount(ratios, name, &ratio);
    const struct schema_path field = {.up = path, .key = "maxLimitRequestRatio"};
    const struct schema_path here = {.up = &field, .key = name, .in_map = true};
    if (!text)
        return;
    if (ratio < 1000)
        invalid_value(v, &here, json_get(ratios, name), "ratio %s is less than 1", text);
    if (amount(json_get(item, "min"), name, &min) && amount(json_get(item, "max"), name, &max) && min > 0 &&
        (double)ratio / 1000 > (double)max / (double)min)
        invalid_value(v, &here, json_get(ratios, name), "ratio %s is greater than max/min = %f", text,
                      (double)max / (double)min);
}

static void check_forbidden(struct validation *v, const cJSON *item, const char *type,
                            const struct schema_path *path)
{
    static const char *const fields[] = {"default", "defaultRequest"};
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        const cJSON *map = json_get(item, fields[i]);
        if (map && map->child && strcmp(type, "Pod") == 0)
            invalid_forbidden(v, SCHEMA_FIELD(path, fields[i]), "may not be specified when `type` is 'Pod'");
    }
}

static void check_limit(struct validation *v, const cJSON *item, const struct schema_path *path)
{
    static const char *const maps[] = {"min", "max", "default", "defaultRequest", "maxLimitRequestRatio"};
    const char *type = json_string_or(item, "type", "");
    check_forbidden(v, item, type, path);
    if (strcmp(type, "PersistentVolumeClaim") == 0 && !json_at(item, "min.storage") &&
        !json_at(item, "max.storage"))
        invalid_required(v, path,
                         "either minimum or maximum storage value is required, but neither was provided");
    auto_map seen = {0};
    for (size_t i = 0; i < COUNT_OF(maps); i++) {
        const struct schema_path field = {.up = path, .key = maps[i]};
        json_each (entry, json_get(item, maps[i])) {
            const struct schema_path here = {.up = &field, .key = entry->string, .in_map = true};
            int64_t milli = 0;
            if (amount(json_get(item, maps[i]), entry->string, &milli) && milli < 0)
                invalid_value(v, &here, entry, "must be greater than or equal to 0");
            if (map_has(&seen, entry->string))
                continue;
            map_set(&seen, entry->string, entry);
            check_pairs(v, item, entry->string, path);
            check_ratio(v, item, entry->string, path);
        }
    }
}

static void rule_limit_range(struct validation *v, const cJSON *range, UNUSED const cJSON *old,
                             const struct schema_path *path)
{
    const struct schema_path spec = {.up = path, .key = "spec"};
    const struct schema_path limits = {.up = &spec, .key = "limits"};
    auto_map types = {0};
    int i = 0;
    json_each (item, json_at(range, "spec.limits")) {
        const struct schema_path at = {.up = &limits, .index = i++};
        const char *type = json_string_or(item, "type", "");
        if (map_has(&types, type))
            invalid_duplicate(v, SCHEMA_FIELD(&at, "type"), json_get(item, "type"));
        map_set(&types, type, item);
        check_limit(v, item, &at);
    }
}

/* ---- columns: "cpu: 1/2, pods: 3/10" ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

static cJSON *column(const cJSON *quota, bool limits)
{
    const cJSON *hard = json_at(quota, "status.hard"), *used = json_at(quota, "status.used");
    auto_free const cJSON **sorted =
        mem_array((size_t)(hard ? cJSON_GetArraySize(hard) : 0) + 1, sizeof(*sorted));
    size_t n = 0;
    json_each (limit, hard)
        if (str_starts(limit->string, "limits.") == limits)
            sorted[n++] = limit;
    qsort(sorted, n, sizeof(*sorted), by_name);
    struct str text = {0};
    for (size_t i = 0; i < n; i++) {
        const cJSON *taken = json_get(used, sorted[i]->string);
        str_addf(&text, "%s%s: %s/%s", i ? ", " : "", sorted[i]->string,
                 cJSON_IsString(taken) ? taken->valuestring : "0",
                 cJSON_IsString(sorted[i]) ? sorted[i]->valuestring : "");
    }
    return cell_from(&text, "");
}

static cJSON *column_request(const cJSON *quota, UNUSED int64_t now_wall_ns)
{
    return column(quota, false);
}

static cJSON *column_limit(const cJSON *quota, UNUSED int64_t now_wall_ns)
{
    return column(quota, true);
}

const struct schema_named_rule schema_rules_quota[] = {
    {"quota", rule_quota}, {"limitRange", rule_limit_range}, {NULL, NULL}};
const struct schema_named_column schema_columns_quota[] = {
    {"quota.request", column_request}, {"quota.limit", column_limit}, {NULL, NULL}};
