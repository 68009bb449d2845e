/*
 * schema_rules_workloads: cross-field checks of ReplicaSet, Deployment, DaemonSet, StatefulSet, Job and
 * CronJob. Wording after Kubernetes' validation of these kinds.
 */
#include <stdio.h>
#include <string.h>

#include "base/cron.h"
#include "base/selector.h"
#include "schema/schema_private.h"

/* The selector is not empty and selects the template's pods. */
static void check_selector(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    const cJSON *selector_json = json_get(spec, "selector");
    const struct schema_path at_template = {.up = path, .key = "template"};
    const struct schema_path metadata = {.up = &at_template, .key = "metadata"};
    const struct schema_path labels = {.up = &metadata, .key = "labels"};
    auto_err error = NULL;
    auto_selector selector = selector_json ? selector_from_json(selector_json, &error) : NULL;
    if (error)
        invalid_value(v, SCHEMA_FIELD(path, "selector"), selector_json, "%s", err_message(error));
    else if (selector && selector->n_terms == 0)
        invalid_value(v, SCHEMA_FIELD(path, "selector"), selector_json, "empty selector is invalid");
    else if (selector && !selector_matches_labels(selector, json_at(spec, "template.metadata.labels")))
        invalid_value(v, &labels, json_at(spec, "template.metadata.labels"),
                      "`selector` does not match template `labels`");
}

/* As deep as a template lies, for messages about its fields. */
struct template_path {
    struct schema_path template, metadata, spec;
};
static struct template_path *template_at(struct template_path *at, const struct schema_path *path)
{
    at->template = (struct schema_path){.up = path, .key = "template"};
    at->metadata = (struct schema_path){.up = &at->template, .key = "metadata"};
    at->spec = (struct schema_path){.up = &at->template, .key = "spec"};
    return at;
}

static void check_restart_policy(struct validation *v, const cJSON *spec, const struct schema_path *path,
                                 const char *const *allowed)
{
    const cJSON *restart = json_at(spec, "template.spec.restartPolicy");
    auto_json supported = cJSON_CreateArray();
    for (; *allowed; allowed++) {
        if (cJSON_IsString(restart) && strcmp(restart->valuestring, *allowed) == 0)
            return;
        json_push_string(supported, *allowed);
    }
    struct template_path at;
    if (cJSON_IsString(restart))
        invalid_unsupported(v, SCHEMA_FIELD(&template_at(&at, path)->spec, "restartPolicy"), restart,
                            supported);
}

static void rule_workload_spec(struct validation *v, const cJSON *spec, UNUSED const cJSON *old,
                               const struct schema_path *path)
{
    static const char *const allowed[] = {"Always", NULL};
    check_selector(v, spec, path);
    check_restart_policy(v, spec, path, allowed);
}

static bool is_nothing(const cJSON *value)
{
    return cJSON_IsString(value) ? strspn(value->valuestring, "0") > 0 && str_ends(value->valuestring, "%") &&
                                       strspn(value->valuestring, "0%") == strlen(value->valuestring)
                                 : value && json_int(value, "", 1) == 0;
}

static void check_strategy(struct validation *v, const cJSON *strategy, const struct schema_path *path)
{
    const cJSON *rolling = json_get(strategy, "rollingUpdate");
    const struct schema_path here = {.up = path, .key = "rollingUpdate"};
    if (str_eq(json_string(strategy, "type"), "Recreate")) {
        if (rolling)
            invalid_forbidden(v, &here, "may not be specified when strategy `type` is 'Recreate'");
        return;
    }
    const cJSON *unavailable = json_get(rolling, "maxUnavailable");
    if (is_nothing(unavailable) && is_nothing(json_get(rolling, "maxSurge")))
        invalid_value(v, SCHEMA_FIELD(&here, "maxUnavailable"), unavailable,
                      "may not be 0 when `maxSurge` is 0");
    if (cJSON_IsString(unavailable) && atoi(unavailable->valuestring) > 100)
        invalid_value(v, SCHEMA_FIELD(&here, "maxUnavailable"), unavailable,
                      "must not be greater than 100%%");
}

static void rule_deployment_spec(struct validation *v, const cJSON *spec, const cJSON *old,
                                 const struct schema_path *path)
{
    rule_workload_spec(v, spec, old, path);
    check_strategy(v, json_get(spec, "strategy"), SCHEMA_FIELD(path, "strategy"));
    const cJSON *deadline = json_get(spec, "progressDeadlineSeconds");
    if (deadline && json_int(deadline, "", 0) <= json_int(spec, "minReadySeconds", 0))
        invalid_value(v, SCHEMA_FIELD(path, "progressDeadlineSeconds"), deadline,
                      "must be greater than minReadySeconds");
}

/* --- DaemonSet --- */

static void rule_daemon_set_spec(struct validation *v, const cJSON *spec, const cJSON *old,
                                 const struct schema_path *path)
{
    rule_workload_spec(v, spec, old, path);
    const cJSON *rolling = json_at(spec, "updateStrategy.rollingUpdate");
    const struct schema_path strategy = {.up = path, .key = "updateStrategy"};
    const struct schema_path here = {.up = &strategy, .key = "rollingUpdate"};
    const cJSON *unavailable = json_get(rolling, "maxUnavailable"), *surge = json_get(rolling, "maxSurge");
    if (unavailable && surge && is_nothing(unavailable) && is_nothing(surge))
        invalid_value(v, SCHEMA_FIELD(&here, "maxUnavailable"), unavailable,
                      "cannot be 0 when maxSurge is 0");
    else if (unavailable && surge && !is_nothing(unavailable) && !is_nothing(surge))
        invalid_value(v, SCHEMA_FIELD(&here, "maxSurge"), surge,
                      "may not be set when maxUnavailable is non-zero");
}

/* --- StatefulSet --- */

static void check_claims(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    const struct schema_path claims = {.up = path, .key = "volumeClaimTemplates"};
    int i = 0;
    json_each (claim, json_get(spec, "volumeClaimTemplates")) {
        const struct schema_path here = {.up = &claims, .index = i++};
        const struct schema_path metadata = {.up = &here, .key = "metadata"};
        const cJSON *name = json_at(claim, "metadata.name");
        const char *problem = cJSON_IsString(name) ? str_check_dns_label(name->valuestring) : NULL;
        if (!cJSON_IsString(name))
            invalid_required(v, SCHEMA_FIELD(&metadata, "name"), NULL);
        else if (problem)
            invalid_value(v, SCHEMA_FIELD(&metadata, "name"), name, "%s", problem);
        json_each (before, json_get(spec, "volumeClaimTemplates")) {
            if (before == claim)
                break;
            if (name && json_equal(json_at(before, "metadata.name"), name))
                invalid_duplicate(v, SCHEMA_FIELD(&metadata, "name"), name);
        }
    }
}

static void rule_stateful_set_spec(struct validation *v, const cJSON *spec, const cJSON *old,
                                   const struct schema_path *path)
{
    static const char *const fixed[] = {"selector", "serviceName", "podManagementPolicy",
                                        "volumeClaimTemplates"};
    rule_workload_spec(v, spec, old, path);
    check_claims(v, spec, path);
    const cJSON *service = json_get(spec, "serviceName");
    const char *problem =
        cJSON_IsString(service) && *service->valuestring ? str_check_dns_label(service->valuestring) : NULL;
    if (problem)
        invalid_value(v, SCHEMA_FIELD(path, "serviceName"), service, "%s", problem);
    for (size_t i = 0; old && i < COUNT_OF(fixed); i++) {
        if (json_equal(json_get(old, fixed[i]), json_get(spec, fixed[i])))
            continue;
        invalid_forbidden(v, path,
                          "updates to statefulset spec for fields other than 'replicas', 'ordinals', "
                          "'template', 'updateStrategy', 'revisionHistoryLimit', "
                          "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
        break;
    }
}

/* The pods are NAME-ORDINAL, and the name is a label of theirs. */
static void rule_stateful_set(struct validation *v, const cJSON *set, UNUSED const cJSON *old,
                              UNUSED const struct schema_path *path)
{
    const struct schema_path metadata = {.key = "metadata"};
    const cJSON *name = json_at(set, "metadata.name");
    if (cJSON_IsString(name) && strlen(name->valuestring) > 52)
        invalid_value(v, SCHEMA_FIELD(&metadata, "name"), name,
                      "must be no more than 52 characters: pods and revisions add to it");
}

/* --- Job and CronJob --- */

static void rule_pod_failure_rule(struct validation *v, const cJSON *rule, UNUSED const cJSON *old,
                                  const struct schema_path *path)
{
    const cJSON *codes = json_get(rule, "onExitCodes"), *conditions = json_get(rule, "onPodConditions");
    if (!codes && !(conditions && conditions->child))
        invalid_value(v, path, rule, "specifying one of OnExitCodes and OnPodConditions is required");
    else if (codes && conditions && conditions->child)
        invalid_value(v, path, rule, "specifying both OnExitCodes and OnPodConditions is not supported");
    const struct schema_path here = {.up = path, .key = "onExitCodes"},
                             values = {.up = &here, .key = "values"};
    int i = 0;
    json_each (value, json_get(codes, "values")) {
        if (json_int(value, "", 1) == 0 && str_eq(json_string(codes, "operator"), "In"))
            invalid_value(v, SCHEMA_INDEX(&values, i), value, "must not be 0 for the In operator");
        i++;
    }
}

/* "0,2-4": numbers and ranges in ascending order below `limit`. */
static bool is_index_list(const char *text, long long limit)
{
    long long last = -1;
    while (*text) {
        char *end;
        long long from = strtoll(text, &end, 10), to = from;
        if (end == text || *text == '-' || *text == '+')
            return false;
        if (*end == '-') {
            text = end + 1;
            to = strtoll(text, &end, 10);
            if (end == text)
                return false;
        }
        if (from <= last || to < from || to >= limit || (*end && *end != ',') || (*end && !end[1]))
            return false;
        last = to;
        text = *end ? end + 1 : end;
    }
    return last >= 0;
}

static void check_success_policy(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    const struct schema_path here = {.up = path, .key = "successPolicy"},
                             rules = {.up = &here, .key = "rules"};
    const cJSON *policy = json_get(spec, "successPolicy");
    if (policy && !str_eq(json_string(spec, "completionMode"), "Indexed"))
        invalid_value(v, &here, policy, "requires indexed completion mode");
    int i = 0;
    json_each (rule, json_get(policy, "rules")) {
        const struct schema_path at = {.up = &rules, .index = i++};
        const cJSON *indexes = json_get(rule, "succeededIndexes");
        if (!indexes && !json_get(rule, "succeededCount"))
            invalid_required(v, &at, "at least one of succeededCount or succeededIndexes must be specified");
        if (cJSON_IsString(indexes) && !is_index_list(indexes->valuestring, json_int(spec, "completions", 0)))
            invalid_value(v, SCHEMA_FIELD(&at, "succeededIndexes"), indexes,
                          "must be numbers below completions, ascending, as 0,2-4");
    }
}

static void check_never_restarts(struct validation *v, const cJSON *spec, const struct schema_path *path,
                                 const char *with)
{
    const struct schema_path here = {.up = path, .key = "template"}, at_spec = {.up = &here, .key = "spec"};
    if (json_get(spec, with) && !str_eq(json_string(spec, "template.spec.restartPolicy"), "Never"))
        invalid_value(v, SCHEMA_FIELD(&at_spec, "restartPolicy"),
                      json_at(spec, "template.spec.restartPolicy"),
                      "only \"Never\" is supported when %s is specified", with);
}

static void check_indexes(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    static const char *const fields[] = {"backoffLimitPerIndex", "maxFailedIndexes"};
    bool indexed = str_eq(json_string(spec, "completionMode"), "Indexed");
    const cJSON *limit = json_get(spec, fields[0]), *most = json_get(spec, fields[1]);
    for (size_t i = 0; !indexed && i < COUNT_OF(fields); i++)
        if (json_get(spec, fields[i]))
            invalid_value(v, SCHEMA_FIELD(path, fields[i]), json_get(spec, fields[i]),
                          "requires indexed completion mode");
    if (most && !limit)
        invalid_required(v, SCHEMA_FIELD(path, fields[0]), "when maxFailedIndexes is specified");
    if (indexed && most && json_int(spec, fields[1], 0) > json_int(spec, "completions", 0))
        invalid_value(v, SCHEMA_FIELD(path, fields[1]), most, "must be less than or equal to completions");
    check_never_restarts(v, spec, path, fields[0]);
    const struct schema_path here = {.up = path, .key = "podFailurePolicy"},
                             rules = {.up = &here, .key = "rules"};
    int i = 0;
    json_each (rule, json_at(spec, "podFailurePolicy.rules")) {
        const struct schema_path at = {.up = &rules, .index = i++};
        if (!limit && str_eq(json_string(rule, "action"), "FailIndex"))
            invalid_value(v, SCHEMA_FIELD(&at, "action"), json_get(rule, "action"),
                          "requires the backoffLimitPerIndex to be set");
    }
}

static void rule_job_spec(struct validation *v, const cJSON *spec, UNUSED const cJSON *old,
                          const struct schema_path *path)
{
    static const char *const allowed[] = {"OnFailure", "Never", NULL};
    check_restart_policy(v, spec, path, allowed);
    if (str_eq(json_string(spec, "completionMode"), "Indexed") && !json_get(spec, "completions"))
        invalid_required(v, SCHEMA_FIELD(path, "completions"), "when completion mode is Indexed");
    check_never_restarts(v, spec, path, "podFailurePolicy");
    check_indexes(v, spec, path);
    if (json_get(spec, "podFailurePolicy") &&
        str_eq(json_string(spec, "podReplacementPolicy"), "TerminatingOrFailed"))
        invalid_value(v, SCHEMA_FIELD(path, "podReplacementPolicy"), json_get(spec, "podReplacementPolicy"),
                      "when using podFailurePolicy only \"Failed\" is supported");
    check_success_policy(v, spec, path);
}

static void check_fixed(struct validation *v, const cJSON *spec, const cJSON *old,
                        const struct schema_path *path, const char *name)
{
    if (!json_equal(json_get(old, name), json_get(spec, name)))
        invalid_immutable(v, SCHEMA_FIELD(path, name), json_get(spec, name));
}

/* A Job as a whole; in the template of a CronJob none of this is fixed. */
static void rule_job(struct validation *v, const cJSON *job, const cJSON *old,
                     UNUSED const struct schema_path *path)
{
    static const char *const fixed[] = {
        "selector",       "completionMode",      "template", "podFailurePolicy", "successPolicy",
        "manualSelector", "backoffLimitPerIndex"};
    const struct schema_path here = {.key = "spec"}, metadata = {.key = "metadata"};
    const cJSON *spec = json_get(job, "spec"), *before = json_get(old, "spec"),
                *name = json_at(job, "metadata.name");
    if (cJSON_IsString(name) && strlen(name->valuestring) > 63)
        invalid_value(v, SCHEMA_FIELD(&metadata, "name"), name,
                      "must be no more than 63 characters: it is a label of the pods");
    if (json_bool(spec, "manualSelector", false) && !json_get(spec, "selector"))
        invalid_required(v, SCHEMA_FIELD(&here, "selector"), NULL);
    else if (json_get(spec, "selector"))
        check_selector(v, spec, &here);
    if (!before)
        return;
    for (size_t i = 0; i < COUNT_OF(fixed); i++)
        check_fixed(v, spec, before, &here, fixed[i]);
    bool indexed = str_eq(json_string(spec, "completionMode"), "Indexed");
    if (!indexed || json_int(spec, "completions", 0) != json_int(spec, "parallelism", 0))
        check_fixed(v, spec, before, &here, "completions");
}

static void rule_cron_job_spec(struct validation *v, const cJSON *spec, UNUSED const cJSON *old,
                               const struct schema_path *path)
{
    const cJSON *schedule = json_get(spec, "schedule"), *zone_name = json_get(spec, "timeZone");
    struct cron cron;
    auto_err error = NULL;
    auto_err zone_error = NULL;
    if (cJSON_IsString(schedule) && *schedule->valuestring &&
        cron_parse(schedule->valuestring, &cron, &error) < 0)
        invalid_value(v, SCHEMA_FIELD(path, "schedule"), schedule, "%s", err_message(error));
    if (!cJSON_IsString(zone_name))
        return;
    auto_zone zone = strcasecmp(zone_name->valuestring, "local") == 0
                         ? NULL
                         : zone_open(zone_name->valuestring, &zone_error);
    if (!zone)
        invalid_value(v, SCHEMA_FIELD(path, "timeZone"), zone_name, "%s",
                      zone_error ? err_message(zone_error) : "unknown time zone Local");
    else if (!*zone_name->valuestring)
        invalid_value(v, SCHEMA_FIELD(path, "timeZone"), zone_name,
                      "timeZone must be nil or non-empty string");
}

/* Names of Jobs add eleven characters and have to fit into a label. */
static void rule_cron_job(struct validation *v, const cJSON *object, UNUSED const cJSON *old,
                          UNUSED const struct schema_path *path)
{
    const struct schema_path metadata = {.key = "metadata"};
    const cJSON *name = json_at(object, "metadata.name");
    if (cJSON_IsString(name) && strlen(name->valuestring) > 52)
        invalid_value(v, SCHEMA_FIELD(&metadata, "name"), name, "must be no more than 52 characters");
}

const struct schema_named_rule schema_rules_workloads[] = {
    {"workloadSpec", rule_workload_spec},
    {"deploymentSpec", rule_deployment_spec},
    {"daemonSetSpec", rule_daemon_set_spec},
    {"statefulSetSpec", rule_stateful_set_spec},
    {"statefulSet", rule_stateful_set},
    {"podFailureRule", rule_pod_failure_rule},
    {"jobSpec", rule_job_spec},
    {"job", rule_job},
    {"cronJobSpec", rule_cron_job_spec},
    {"cronJob", rule_cron_job},
    {NULL, NULL},
};
