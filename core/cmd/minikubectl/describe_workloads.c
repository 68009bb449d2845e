/* describe of the kinds that make pods: how many there are of how many, and the template. */
#include <stdio.h>
#include <string.h>

#include "base/selector.h"
#include "describe.h"

static void selected(const cJSON *object)
{
    auto_selector selector = selector_from_json(json_at(object, "spec.selector"), NULL);
    auto_free char *text = selector ? selector_print(selector) : NULL;
    printf("%-20s %s\n", "Selector:", text && *text ? text : "<none>");
}

static void replicas(const cJSON *object)
{
    printf("%-20s %lld desired | %lld updated | %lld total | %lld available | %lld ready\n",
           "Replicas:", (long long)json_int(object, "spec.replicas", 0),
           (long long)json_int(object, "status.updatedReplicas", 0),
           (long long)json_int(object, "status.replicas", 0),
           (long long)json_int(object, "status.availableReplicas", 0),
           (long long)json_int(object, "status.readyReplicas", 0));
}

void describe_workload(struct kubectl *k UNUSED, const cJSON *object)
{
    selected(object);
    replicas(object);
    describe_block("Strategy", json_at(object, "spec.strategy"), 2);
    describe_block("Pod Template", json_at(object, "spec.template"), 2);
    describe_conditions(object);
}

void describe_stateful_set(struct kubectl *k UNUSED, const cJSON *object)
{
    selected(object);
    describe_path("Service Name", object, "spec.serviceName");
    describe_path("Pod Management", object, "spec.podManagementPolicy");
    replicas(object);
    describe_block("Update Strategy", json_at(object, "spec.updateStrategy"), 2);
    describe_block("Pod Template", json_at(object, "spec.template"), 2);
    describe_block("Volume Claims", json_at(object, "spec.volumeClaimTemplates"), 2);
    describe_conditions(object);
}

void describe_daemon_set(struct kubectl *k UNUSED, const cJSON *object)
{
    selected(object);
    describe_map("Node-Selector", json_at(object, "spec.template.spec.nodeSelector"));
    printf("%-20s %lld should run it | %lld have it | %lld updated | %lld ready | %lld available | %lld "
           "should not\n",
           "Nodes:", (long long)json_int(object, "status.desiredNumberScheduled", 0),
           (long long)json_int(object, "status.currentNumberScheduled", 0),
           (long long)json_int(object, "status.updatedNumberScheduled", 0),
           (long long)json_int(object, "status.numberReady", 0),
           (long long)json_int(object, "status.numberAvailable", 0),
           (long long)json_int(object, "status.numberMisscheduled", 0));
    describe_block("Update Strategy", json_at(object, "spec.updateStrategy"), 2);
    describe_block("Pod Template", json_at(object, "spec.template"), 2);
    describe_conditions(object);
}

void describe_job(struct kubectl *k UNUSED, const cJSON *object)
{
    selected(object);
    describe_path("Controlled By", object, "metadata.ownerReferences[0].name");
    static const char *const fields[][2] = {{"Parallelism", "spec.parallelism"},
                                            {"Completions", "spec.completions"},
                                            {"Completion Mode", "spec.completionMode"},
                                            {"Backoff Limit", "spec.backoffLimit"},
                                            {"Backoff Limit Per Index", "spec.backoffLimitPerIndex"},
                                            {"Max Failed Indexes", "spec.maxFailedIndexes"},
                                            {"Suspend", "spec.suspend"},
                                            {"Start Time", "status.startTime"},
                                            {"Completed At", "status.completionTime"},
                                            {"Completed Indexes", "status.completedIndexes"},
                                            {"Failed Indexes", "status.failedIndexes"}};
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        describe_path(fields[i][0], object, fields[i][1]);
    printf("%-20s %lld Active (%lld Ready) / %lld Succeeded / %lld Failed\n",
           "Pods Statuses:", (long long)json_int(object, "status.active", 0),
           (long long)json_int(object, "status.ready", 0), (long long)json_int(object, "status.succeeded", 0),
           (long long)json_int(object, "status.failed", 0));
    describe_block("Pod Failure Policy", json_at(object, "spec.podFailurePolicy"), 2);
    describe_block("Pod Template", json_at(object, "spec.template"), 2);
    describe_conditions(object);
}

void describe_cron_job(struct kubectl *k UNUSED, const cJSON *object)
{
    static const char *const fields[][2] = {{"Schedule", "spec.schedule"},
                                            {"Time Zone", "spec.timeZone"},
                                            {"Concurrency Policy", "spec.concurrencyPolicy"},
                                            {"Suspend", "spec.suspend"},
                                            {"Successful History", "spec.successfulJobsHistoryLimit"},
                                            {"Failed History", "spec.failedJobsHistoryLimit"},
                                            {"Starting Deadline", "spec.startingDeadlineSeconds"},
                                            {"Last Schedule", "status.lastScheduleTime"},
                                            {"Last Success", "status.lastSuccessfulTime"}};
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        describe_path(fields[i][0], object, fields[i][1]);
    auto_str active = {0};
    json_each (job, json_at(object, "status.active"))
        str_addf(&active, "%s%s", active.len ? ", " : "", json_string_or(job, "name", ""));
    describe_field("Active Jobs", str_c(&active));
    describe_block("Job Template", json_at(object, "spec.jobTemplate"), 2);
}
