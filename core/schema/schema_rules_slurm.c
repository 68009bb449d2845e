/*
 * schema_rules_slurm: cross-field checks of GPUJob and SlurmCluster (plugins/slurm): what sbatch would refuse
 * is refused here, with its path. Source: sbatch(1) of Slurm 22.05.
 */
#include <stdlib.h>
#include <string.h>

#include "base/quantity.h"
#include "schema/schema_private.h"

#define MAX_NAME 52u /* the submitter's objects are named NAME-submitter */
#define MAX_OUTPUT (INT64_C(256) << 20)

static const char *file_fault(const char *name)
{
    if (!*name || *name == '/' || strlen(name) > 255)
        return "must be the name of a file below the job's folder, at most 255 bytes";
    if (str_eq(name, "..") || str_starts(name, "../") || strstr(name, "/../") || str_ends(name, "/..") ||
        str_ends(name, "/"))
        return "must not lead out of the job's folder nor name a folder";
    if (str_starts(name, ".minik8s"))
        return "must not begin with .minik8s";
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return "must not contain control characters";
    return NULL;
}

static bool has_cuda(const cJSON *spec)
{
    json_each (file, json_at(spec, "sources.inline"))
        if (str_ends(file->string, ".cu"))
            return true;
    return false;
}

static void check_sources(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    const struct schema_path sources = {.up = path, .key = "sources"};
    const struct schema_path files = {.up = &sources, .key = "inline"};
    json_each (file, json_at(spec, "sources.inline")) {
        const char *fault = file_fault(file->string);
        const struct schema_path here = {.up = &files, .key = file->string, .in_map = true};
        auto_json name = cJSON_CreateString(file->string);
        if (fault)
            invalid_value(v, &here, name, "%s", fault);
    }
    if (str_empty(json_string(spec, "run")) && (!has_cuda(spec) || json_get(spec, "build")))
        invalid_required(v, SCHEMA_FIELD(path, "run"),
                         "a program is needed: run, or sources.inline with a .cu file and no build");
}

static void check_globs(struct validation *v, const cJSON *outputs, const struct schema_path *path)
{
    size_t index = 0;
    json_each (glob, outputs) {
        const struct schema_path here = {.up = path, .index = (int)index};
        const char *fault = cJSON_IsString(glob) ? file_fault(glob->valuestring) : NULL;
        if (fault)
            invalid_value(v, &here, glob, "%s", fault);
        index++;
    }
}

static void check_environment(struct validation *v, const cJSON *environment, const struct schema_path *path)
{
    json_each (entry, environment) {
        const char *p = entry->string;
        size_t len = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");
        const struct schema_path here = {.up = path, .key = p, .in_map = true};
        auto_json name = cJSON_CreateString(p);
        if (!len || p[len] || (*p >= '0' && *p <= '9'))
            invalid_value(v, &here, name,
                          "a variable's name is made of letters, digits and _, not a digit first");
        else if (str_starts(p, "SLURM_"))
            invalid_forbidden(v, &here, "names that begin with SLURM_ are Slurm's own");
    }
}

/* max 0: none. What is no quantity at all has been told already. */
static void check_amount(struct validation *v, const cJSON *json, int64_t max, const struct schema_path *path)
{
    int64_t amount = 0;
    if (!cJSON_IsString(json) || quantity_value(json->valuestring, &amount, NULL) < 0)
        return;
    if (amount <= 0)
        invalid_value(v, path, json, "must be greater than zero");
    else if (max && amount > max)
        invalid_value(v, path, json, "must be at most 256Mi");
}

static void check_amounts(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    check_amount(v, json_get(spec, "memory"), 0, SCHEMA_FIELD(path, "memory"));
    check_amount(v, json_get(spec, "maxOutputSize"), MAX_OUTPUT, SCHEMA_FIELD(path, "maxOutputSize"));
    const cJSON *gpus = json_get(spec, "gpus"), *gres = json_get(spec, "gres"),
                *type = json_get(spec, "gpuType");
    if (gres && json_int(gpus, "", 0) > 0)
        invalid_forbidden(v, SCHEMA_FIELD(path, "gres"), "may not be given together with gpus");
    if (type && json_int(gpus, "", 0) == 0)
        invalid_forbidden(v, SCHEMA_FIELD(path, "gpuType"), "needs gpus of at least 1");
    int64_t nodes = json_int(spec, "nodes", 1), tasks = json_int(spec, "tasks", 1);
    if (tasks < nodes)
        invalid_value(v, SCHEMA_FIELD(path, "tasks"), json_get(spec, "tasks"),
                      "must not be below nodes: each node runs a task");
    const cJSON *limit = json_get(spec, "timeLimit");
    if (cJSON_IsString(limit) && strspn(limit->valuestring, "0:-") == strlen(limit->valuestring))
        invalid_value(v, SCHEMA_FIELD(path, "timeLimit"), limit, "must be greater than zero");
}

/* "0-9:2,20%3": every range ends where it begins or later, its step is not 0. */
static const char *array_fault(const char *text)
{
    for (const char *p = text; *p;) {
        char *end;
        long first = strtol(p, &end, 10), last = first;
        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        if (*end == ':' && strtol(end + 1, &end, 10) <= 0)
            return "a step must not be 0";
        if (last < first)
            return "a range must not end before it begins";
        if (*end == '%')
            return strtol(end + 1, NULL, 10) > 0 ? NULL : "at least one task must be allowed to run";
        p = *end ? end + 1 : end;
    }
    return NULL;
}

static void check_dependency(struct validation *v, const cJSON *dependency, const struct schema_path *path)
{
    if (cJSON_IsString(dependency) && strchr(dependency->valuestring, ',') &&
        strchr(dependency->valuestring, '?'))
        invalid_value(v, path, dependency, "either ',' (all of them) or '?' (any of them), not both");
}

static void check_change(struct validation *v, const cJSON *spec, const cJSON *old,
                         const struct schema_path *path)
{
    static const char *const free_fields[] = {"cancel", "ttlSecondsAfterFinished"};
    auto_json before = json_copy(old);
    auto_json after = json_copy(spec);
    for (size_t i = 0; i < COUNT_OF(free_fields); i++) {
        json_remove(before, free_fields[i]);
        json_remove(after, free_fields[i]);
    }
    if (!json_equal(before, after))
        invalid_forbidden(v, path, "only cancel and ttlSecondsAfterFinished may change: make another job");
    if (json_bool(old, "cancel", false) && !json_bool(spec, "cancel", false))
        invalid_forbidden(v, SCHEMA_FIELD(path, "cancel"), "what is cancelled stays so");
}

static void rule_gpu_job_spec(struct validation *v, const cJSON *spec, const cJSON *old,
                              const struct schema_path *path)
{
    check_sources(v, spec, path);
    check_globs(v, json_get(spec, "outputs"), SCHEMA_FIELD(path, "outputs"));
    check_environment(v, json_get(spec, "environment"), SCHEMA_FIELD(path, "environment"));
    check_amounts(v, spec, path);
    const cJSON *array = json_get(spec, "array");
    const char *fault = cJSON_IsString(array) ? array_fault(array->valuestring) : NULL;
    if (fault)
        invalid_value(v, SCHEMA_FIELD(path, "array"), array, "%s", fault);
    check_dependency(v, json_get(spec, "dependency"), SCHEMA_FIELD(path, "dependency"));
    if (old)
        check_change(v, spec, old, path);
}

/* A submitter that was cut off may still report: what has ended stays as it ended. */
static void check_ended(struct validation *v, const cJSON *job, const cJSON *old,
                        const struct schema_path *path)
{
    static const char *const fields[] = {"state", "slurmId", "exitCode", "completionTime", "results", "done"};
    const struct schema_path status = {.up = path, .key = "status"};
    if (v->skip_status || !json_bool(old, "status.done", false))
        return;
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        if (!json_equal(json_get(json_get(old, "status"), fields[i]),
                        json_get(json_get(job, "status"), fields[i])))
            invalid_forbidden(v, SCHEMA_FIELD(&status, fields[i]), "the job has ended");
}

static void rule_gpu_job(struct validation *v, const cJSON *job, const cJSON *old,
                         const struct schema_path *path)
{
    const cJSON *name = json_at(job, "metadata.name");
    const struct schema_path metadata = {.up = path, .key = "metadata"};
    if (cJSON_IsString(name) && strlen(name->valuestring) > MAX_NAME)
        invalid_too_long(v, SCHEMA_FIELD(&metadata, "name"), MAX_NAME);
    check_ended(v, job, old, path);
}

static void rule_slurm_cluster(struct validation *v, const cJSON *cluster, UNUSED const cJSON *old,
                               const struct schema_path *path)
{
    const cJSON *spec = json_get(cluster, "spec"), *directory = json_get(spec, "directory");
    const struct schema_path here = {.up = path, .key = "spec"};
    const struct schema_path volume = {.up = &here, .key = "volume"};
    if (!spec)
        return;
    if (!json_get(spec, "rest") && !json_get(spec, "ssh"))
        invalid_required(v, SCHEMA_FIELD(&here, "rest"), "one of rest and ssh is needed");
    if (json_get(spec, "rest") && json_get(spec, "ssh"))
        invalid_forbidden(v, SCHEMA_FIELD(&here, "ssh"), "may not be given together with rest");
    if (json_get(spec, "ssh") && json_get(spec, "volume"))
        invalid_forbidden(v, &volume, "is for rest: over ssh files travel through it");
    if (json_at(spec, "volume.hostPath") && json_at(spec, "volume.persistentVolumeClaim"))
        invalid_forbidden(v, SCHEMA_FIELD(&volume, "persistentVolumeClaim"),
                          "may not be given together with hostPath");
    if (cJSON_IsString(directory) && strstr(directory->valuestring, ".."))
        invalid_value(v, SCHEMA_FIELD(&here, "directory"), directory, "must not contain '..'");
}

const struct schema_named_rule schema_rules_slurm[] = {
    {"gpuJobSpec", rule_gpu_job_spec},
    {"gpuJob", rule_gpu_job},
    {"slurmCluster", rule_slurm_cluster},
    {NULL, NULL},
};
