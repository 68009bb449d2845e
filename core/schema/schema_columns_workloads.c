/*
 * schema_columns_workloads: computed columns of the kinds that make pods: ready counts, images and selectors
 * of the template, progress of Jobs. Formats as kubectl's users know them.
 */
#include <string.h>

#include "base/selector.h"
#include "base/time.h"
#include "schema/schema_columns.h"

static cJSON *column_replicas_ready(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    str_addf(&text, "%lld/%lld", (long long)json_int(object, "status.readyReplicas", 0),
             (long long)json_int(object, "spec.replicas", 1));
    return cell_from(&text, "");
}

static cJSON *template_words(const cJSON *object, const char *key)
{
    struct str text = {0};
    const cJSON *list = json_at(object, "spec.template.spec.containers");
    json_each (container, list ? list : json_at(object, "spec.jobTemplate.spec.template.spec.containers"))
        cell_comma(&text, json_string_or(container, key, ""));
    return cell_from(&text, "<none>");
}

static cJSON *column_containers(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    return template_words(object, "name");
}

static cJSON *column_images(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    return template_words(object, "image");
}

static cJSON *selector_cell(const cJSON *json)
{
    if (!json || !json->child)
        return cell_text("<none>");
    auto_selector selector = selector_from_json(json, NULL);
    auto_free char *text = selector ? selector_print(selector) : mem_strdup("<error>");
    return cell_text(str_empty(text) ? "<none>" : text);
}

static cJSON *column_selector(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    return selector_cell(json_at(object, "spec.selector"));
}

static cJSON *column_cron_job_selector(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    return selector_cell(json_at(object, "spec.jobTemplate.spec.selector"));
}

static cJSON *column_node_selector(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    return selector_cell(json_at(object, "spec.template.spec.nodeSelector"));
}

/* ---- Job, CronJob ---- */

static bool has_condition(const cJSON *object, const char *type)
{
    json_each (condition, json_at(object, "status.conditions"))
        if (str_eq(json_string(condition, "type"), type) && str_eq(json_string(condition, "status"), "True"))
            return true;
    return false;
}

static cJSON *column_job_status(const cJSON *job, UNUSED int64_t now_wall_ns)
{
    static const char *const states[] = {"Complete", "Failed", "FailureTarget", "SuccessCriteriaMet",
                                         "Suspended"};
    if (json_at(job, "metadata.deletionTimestamp") && !has_condition(job, "Complete") &&
        !has_condition(job, "Failed"))
        return cell_text("Terminating");
    for (size_t i = 0; i < COUNT_OF(states); i++)
        if (has_condition(job, states[i]))
            return cell_text(states[i]);
    return cell_text("Running");
}

static cJSON *column_job_completions(const cJSON *job, UNUSED int64_t now_wall_ns)
{
    long long succeeded = json_int(job, "status.succeeded", 0),
              parallelism = json_int(job, "spec.parallelism", 0);
    struct str text = {0};
    if (json_at(job, "spec.completions"))
        str_addf(&text, "%lld/%lld", succeeded, (long long)json_int(job, "spec.completions", 0));
    else if (parallelism > 1)
        str_addf(&text, "%lld/1 of %lld", succeeded, parallelism);
    else
        str_addf(&text, "%lld/1", succeeded);
    return cell_from(&text, "");
}

static const char *job_end(const cJSON *job)
{
    const char *end = json_string(job, "status.completionTime");
    if (end)
        return end;
    json_each (condition, json_at(job, "status.conditions"))
        if (str_eq(json_string(condition, "type"), "Failed"))
            return json_string(condition, "lastTransitionTime");
    return NULL;
}

static cJSON *column_job_duration(const cJSON *job, int64_t now_wall_ns)
{
    int64_t end = now_wall_ns;
    const char *start = json_string(job, "status.startTime"), *ended = job_end(job);
    if (!start)
        return cell_text("");
    if (ended && time_parse(ended, &end, NULL) < 0)
        end = now_wall_ns;
    auto_free char *text = schema_age_text(start, end);
    return cell_text(text);
}

static cJSON *column_suspend(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    return cell_text(json_bool(object, "spec.suspend", false) ? "True" : "False");
}

static cJSON *column_last_schedule(const cJSON *object, int64_t now_wall_ns)
{
    const char *last = json_string(object, "status.lastScheduleTime");
    auto_free char *text = last ? schema_age_text(last, now_wall_ns) : mem_strdup("<none>");
    return cell_text(text);
}

const struct schema_named_column schema_columns_workloads[] = {
    {"replicas.ready", column_replicas_ready},
    {"template.containers", column_containers},
    {"template.images", column_images},
    {"template.nodeSelector", column_node_selector},
    {"selector", column_selector},
    {"job.status", column_job_status},
    {"job.completions", column_job_completions},
    {"job.duration", column_job_duration},
    {"cronjob.suspend", column_suspend},
    {"cronjob.lastSchedule", column_last_schedule},
    {"cronjob.selector", column_cron_job_selector},
    {NULL, NULL},
};
