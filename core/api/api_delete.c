/*
 * Deleting one object: at once, or first by marking it: finalizers, foreground and orphan deletion, a pod's
 * grace period, a namespace's contents. Who removes the last hold is the agent (pods, with grace 0) or a
 * controller (finalizers). Source: kubernetes-api, DELETE; Kubernetes' registry/rest delete.
 */
#include <string.h>

#include "api/api_internal.h"

#define FOREGROUND "foregroundDeletion"
#define ORPHAN "orphan"
#define DEFAULT_GRACE 30

static void drop_finalizer(cJSON *meta, const char *name)
{
    cJSON *finalizers = json_get(meta, "finalizers");
    cJSON *next = finalizers ? finalizers->child : NULL;
    while (next) {
        cJSON *item = next;
        next = item->next;
        if (cJSON_IsString(item) && str_eq(item->valuestring, name))
            cJSON_Delete(cJSON_DetachItemViaPointer(finalizers, item));
    }
    if (finalizers && !finalizers->child)
        json_remove(meta, "finalizers");
}

static int set_propagation(const struct op *op, cJSON *meta, struct err **err)
{
    const char *policy = op->propagation;
    if (!policy)
        return 0;
    bool foreground = str_eq(policy, "Foreground"), orphan = str_eq(policy, "Orphan");
    if (!foreground && !orphan && !str_eq(policy, "Background"))
        return err_set(err, ERR_BAD_REQUEST,
                       "propagationPolicy: Unsupported value: \"%.64s\": supported values: \"Foreground\", "
                       "\"Background\", "
                       "\"Orphan\"",
                       policy);
    drop_finalizer(meta, FOREGROUND);
    drop_finalizer(meta, ORPHAN);
    if (foreground || orphan)
        json_push_string(json_ensure_array(meta, "finalizers"), foreground ? FOREGROUND : ORPHAN);
    return 0;
}

/* A pod that no agent runs, or that has ended, needs no grace. */
static int64_t pod_grace(const struct op *op, const cJSON *pod)
{
    const char *phase = json_string(pod, "status.phase");
    if (str_empty(json_string(pod, "spec.nodeName")) || str_eq(phase, "Succeeded") || str_eq(phase, "Failed"))
        return 0;
    return op->grace >= 0 ? op->grace : json_int(pod, "spec.terminationGracePeriodSeconds", DEFAULT_GRACE);
}

/* Marks the object; a second delete may only shorten a pod's grace. */
static void mark(const struct op *op, cJSON *object, int64_t grace)
{
    cJSON *meta = object_meta(object);
    bool marked = json_string(meta, "deletionTimestamp") != NULL;
    if (marked && json_int(meta, "deletionGracePeriodSeconds", 0) <= grace)
        return;
    char when[TIME_TEXT];
    time_print(api_wall(op->api) + grace * 1000000000, when);
    json_set_string(meta, "deletionTimestamp", when);
    json_set_int(meta, "deletionGracePeriodSeconds", grace);
    if (!marked && json_get(meta, "generation"))
        json_set_int(meta, "generation", json_int(meta, "generation", 0) + 1);
    if (str_eq(op->info->resource, "namespaces"))
        json_set_string(json_ensure_object(object, "status"), "phase", "Terminating");
    if (!marked && str_eq(op->info->resource, CRDS))
        kinds_ending(op->api, object);
}

/* Why the pod goes before its time, for those who count failures (Job's podFailurePolicy). */
static void set_disrupted(const struct op *op, cJSON *pod)
{
    cJSON *conditions = json_ensure_array(json_ensure_object(pod, "status"), "conditions");
    json_each (each, conditions)
        if (str_eq(json_string(each, "type"), "DisruptionTarget"))
            return; /* the first reason stays */
    char now[TIME_TEXT];
    time_print(api_wall(op->api), now);
    cJSON *condition = json_push(conditions, cJSON_CreateObject());
    json_set_string(condition, "type", "DisruptionTarget");
    json_set_string(condition, "status", "True");
    json_set_string(condition, "reason", op->disruption);
    json_set_string(condition, "message", op->disruption_text);
    json_set_string(condition, "lastTransitionTime", now);
}

static enum op_next write_delete(struct op *op, const struct store_object *stored, const cJSON *old,
                                 cJSON *object)
{
    bool last = object_finalized(op, object);
    if (!last && json_equal(old, object))
        return op_answer(op, stored->bytes, stored->revision, object);
    if (op->dry_run) {
        op->removed = last;
        return op_answer_dry(op, object, stored->revision);
    }
    if (last)
        ranges_held(op->api->ranges, op->info->resource, old, NULL, &op->dropped);
    op_put(op, last ? STORE_DELETE : STORE_PUT, object, stored->revision);
    return OP_WRITE;
}

enum op_next op_prepare_delete(struct op *op, struct err **err)
{
    struct store_object stored = {0};
    op->code = 200;
    op->retryable = op->expect_revision == 0;
    auto_json old = op_read(op, &stored, err);
    enum op_next next = OP_FAILED;
    if (old && op_check_preconditions(op, &stored, json_string(object_meta(old), "uid"), err) == 0 &&
        admission_delete(op, err) == 0) {
        json_remove(object_meta(old), "resourceVersion");
        auto_json object = json_copy(old);
        if (set_propagation(op, object_meta(object), err) == 0) {
            bool pod = str_eq(op->info->resource, "pods");
            if (pod && op->disruption && !json_string(object_meta(object), "deletionTimestamp"))
                set_disrupted(op, object);
            mark(op, object, pod ? pod_grace(op, object) : 0);
            next = write_delete(op, &stored, old, object);
        }
    }
    store_object_fini(&stored);
    return next;
}
