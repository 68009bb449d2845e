/*
 * POST pods/NAME/eviction: a delete that a PodDisruptionBudget may refuse (policy/v1). The budget's
 * disruptionsAllowed is taken down by a write that expects the revision that was read, and only then the pod
 * is deleted, so that concurrent evictions never take more than is allowed. What was taken for a pod that
 * then is not deleted comes back with the controller's next count (lua/controllers/disruption.lua).
 *
 * Source: kubernetes-api, eviction; Kubernetes' registry/core/pod eviction.
 */
#include <string.h>

#include "api/api_internal.h"

#define BUDGETS "poddisruptionbudgets.policy"
#define MAX_DISRUPTED 2000 /* pods whose end the controller has not seen yet */

struct eviction {
    struct call *call;
    struct op *delete; /* prepared; runs when the budget allows */
    unsigned attempts;
};

static void eviction_end(struct eviction *eviction, struct err *error)
{
    struct call *call = eviction->call;
    if (eviction->delete)
        op_free(eviction->delete);
    free(eviction);
    if (error)
        call_fail(call, error);
    else
        call_success(call, 201, NULL);
}

/* ---- the pod's budget ---- */

static bool is_ready(const cJSON *pod)
{
    json_each (condition, json_at(pod, "status.conditions"))
        if (str_eq(json_string(condition, "type"), "Ready"))
            return str_eq(json_string(condition, "status"), "True");
    return false;
}

/* Ended, ending or not yet begun: its end disrupts nobody. */
static bool is_free(const cJSON *pod)
{
    const char *phase = json_string(pod, "status.phase");
    return json_string(pod, "metadata.deletionTimestamp") || str_eq(phase, "Succeeded") ||
           str_eq(phase, "Failed") || str_eq(phase, "Pending");
}

static bool covers(const cJSON *budget, const cJSON *pod)
{
    const cJSON *selector = json_at(budget, "spec.selector");
    if (!selector)
        return false;
    auto_selector parsed = selector_from_json(selector, NULL);
    return parsed && selector_matches_labels(parsed, json_at(pod, "metadata.labels"));
}

/* *budget: the one that covers the pod, or NULL; *revision: that it was read at. */
static int find_budget(const struct eviction *eviction, const cJSON *pod, cJSON **budget, uint64_t *revision,
                       struct err **err)
{
    struct store *store = eviction->call->api->store;
    auto_free char *prefix = store_key_prefix(BUDGETS, eviction->call->namespace);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    int found = 0;
    if (store->ops->list(store, &request, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.count && found < 2; i++) {
        auto_json each = json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len);
        if (!covers(each, pod) || ++found > 1)
            continue;
        *budget = steal(&each);
        *revision = list.objects[i].revision;
    }
    store_list_fini(&list);
    if (found > 1)
        return err_set(err, ERR_INTERNAL,
                       "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
                       "not support.");
    return 0;
}

/* A pod that is not ready may go without being counted: always, or while enough others are healthy. */
static bool may_go_uncounted(const cJSON *budget, const cJSON *pod)
{
    if (is_ready(pod))
        return false;
    int64_t desired = json_int(budget, "status.desiredHealthy", 0);
    return str_eq(json_string(budget, "spec.unhealthyPodEvictionPolicy"), "AlwaysAllow") ||
           (desired > 0 && json_int(budget, "status.currentHealthy", 0) >= desired);
}

static int refuse(struct err **err, const char *format, const cJSON *budget)
{
    err_set(err, ERR_TOO_MANY_REQUESTS, "Cannot evict pod as it would violate the pod's disruption budget.");
    auto_free char *counts = mem_printf(format, json_string_or(budget, "metadata.name", ""),
                                        (long long)json_int(budget, "status.desiredHealthy", 0),
                                        (long long)json_int(budget, "status.currentHealthy", 0));
    return err_add_cause(err, "DisruptionBudget", NULL, "%s", counts);
}

static int take_one(const struct eviction *eviction, cJSON *budget, struct err **err)
{
    cJSON *status = json_ensure_object(budget, "status");
    int64_t allowed = json_int(status, "disruptionsAllowed", 0);
    cJSON *disrupted = json_ensure_object(status, "disruptedPods");
    if (json_int(status, "observedGeneration", 0) < json_int(budget, "metadata.generation", 0))
        return refuse(err, "The disruption budget %s is still being processed by the server.", budget);
    if (allowed <= 0 || cJSON_GetArraySize(disrupted) >= MAX_DISRUPTED)
        return refuse(err, "The disruption budget %s needs %lld healthy pods and has %lld currently", budget);
    char now[TIME_TEXT];
    time_print(api_wall(eviction->call->api), now);
    json_set_int(status, "disruptionsAllowed", allowed - 1);
    json_set_string(disrupted, eviction->call->name, now);
    json_each (condition, json_get(status, "conditions")) {
        if (allowed > 1 || !str_eq(json_string(condition, "type"), "DisruptionAllowed"))
            continue;
        json_set_string(condition, "status", "False");
        json_set_string(condition, "reason", "InsufficientPods");
        json_set_string(condition, "lastTransitionTime", now);
    }
    return 0;
}

/* ---- steps ---- */

static void on_deleted(struct op *op)
{
    struct eviction *eviction = op->arg;
    struct err *error = steal(&op->error);
    eviction_end(eviction, error); /* frees the op */
}

static void delete_pod(void *arg)
{
    struct eviction *eviction = arg;
    op_run(eviction->delete);
}

static void evict(void *arg);

/* On the writer thread: whatever writes again goes over the loop. */
static void on_taken(struct op *op)
{
    struct eviction *eviction = op->arg;
    struct loop *loop = eviction->call->api->options.loop;
    enum err_code code = err_code(op->error);
    struct err *error = steal(&op->error);
    op_free(op);
    if (code == ERR_NONE) {
        loop_post(loop, delete_pod, eviction);
    } else if ((code == ERR_CONFLICT || code == ERR_NOT_FOUND) && eviction->attempts < API_RETRIES) {
        err_free(error);
        loop_post(loop, evict, eviction); /* another eviction or the controller was first: look again */
    } else {
        eviction_end(eviction, error);
    }
}

static void take_from(struct eviction *eviction, cJSON *budget, uint64_t revision)
{
    const struct schema_kind *kind = schema_find_resource(eviction->call->api->schema, BUDGETS);
    struct op *op = op_new(eviction->call->api, OP_UPDATE, kind, eviction->call->namespace,
                           json_string(budget, "metadata.name"));
    op->subresource = "status";
    op->body = budget;
    op->expect_revision = revision;
    op->finished = on_taken;
    op->arg = eviction;
    op_run(op);
}

static cJSON *read_pod(const struct eviction *eviction, struct err **err)
{
    struct store_object stored = {0};
    cJSON *pod = op_read(eviction->delete, &stored, err);
    store_object_fini(&stored);
    if (pod && !eviction->delete->expect_uid)
        eviction->delete->expect_uid = mem_strdup(json_string(pod, "metadata.uid"));
    return pod;
}

static void evict(void *arg)
{
    struct eviction *eviction = arg;
    struct err *err = NULL;
    auto_json budget = NULL;
    uint64_t revision = 0;
    eviction->attempts++;
    auto_json pod = read_pod(eviction, &err);
    if (!pod || (!is_free(pod) && find_budget(eviction, pod, &budget, &revision, &err) < 0)) {
        eviction_end(eviction, err);
        return;
    }
    if (!budget || may_go_uncounted(budget, pod)) {
        op_run(eviction->delete);
    } else if (take_one(eviction, budget, &err) < 0) {
        eviction_end(eviction, err);
    } else if (eviction->delete->dry_run) {
        op_run(eviction->delete);
    } else {
        take_from(eviction, steal(&budget), revision);
    }
}

void eviction_run(struct call *call, struct op *delete)
{
    struct eviction *eviction = NEW(struct eviction);
    eviction->call = call;
    eviction->delete = delete;
    delete->disruption = mem_strdup("EvictionByEvictionAPI");
    delete->disruption_text = mem_strdup("Eviction API: evicting");
    delete->finished = on_deleted;
    delete->arg = eviction;
    evict(eviction);
}
