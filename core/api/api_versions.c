/*
 * Kinds that are served in more than one version: stored as one, turned into the other at the edge, in bodies
 * and in answers. What the older form cannot say travels in the annotations that Kubernetes uses for it, so
 * that reading, changing and writing back loses nothing. Not in the older form: watches and JSON patches.
 */
#include <string.h>

#include "api/api_internal.h"

struct conversion {
    const char *group, *version, *plural, *stored, *stored_api, *api;
    void (*to_stored)(cJSON *object);
    void (*from_stored)(cJSON *object);
};

/* ---- autoscaling/v1 ---- */

#define TARGET "targetCPUUtilizationPercentage"
#define METRICS_NOTE "autoscaling.alpha.kubernetes.io/metrics"
#define BEHAVIOR_NOTE "autoscaling.alpha.kubernetes.io/behavior"

static bool is_cpu(const cJSON *metric)
{
    return str_eq(json_string(metric, "type"), "Resource") &&
           str_eq(json_string(metric, "resource.name"), "cpu");
}

static cJSON *cpu_metric(int64_t percent)
{
    cJSON *metric = cJSON_CreateObject();
    json_set_string(metric, "type", "Resource");
    cJSON *resource = json_ensure_object(metric, "resource"), *target = NULL;
    json_set_string(resource, "name", "cpu");
    target = json_ensure_object(resource, "target");
    json_set_string(target, "type", "Utilization");
    json_set_int(target, "averageUtilization", percent);
    return metric;
}

/* The annotation's JSON, which leaves the annotations; NULL if there is none. */
static cJSON *take_note(cJSON *object, const char *name)
{
    cJSON *notes = json_at(object, "metadata.annotations");
    const char *text = cJSON_GetStringValue(json_get(notes, name));
    cJSON *value = text ? json_parse(text, strlen(text), NULL) : NULL;
    if (text)
        json_remove(notes, name);
    if (notes && !notes->child)
        json_remove(json_get(object, "metadata"), "annotations");
    return value;
}

static void put_note(cJSON *object, const char *name, const cJSON *value)
{
    if (!value || !value->child)
        return;
    auto_free char *text = json_print(value);
    json_set_string(json_ensure_object(json_ensure_object(object, "metadata"), "annotations"), name, text);
}

static void autoscaler_to_stored(cJSON *object)
{
    cJSON *spec = json_get(object, "spec"), *target = json_get(spec, TARGET);
    auto_json others = take_note(object, METRICS_NOTE);
    cJSON *behavior = take_note(object, BEHAVIOR_NOTE);
    json_remove(json_get(object, "status"), "currentCPUUtilizationPercentage");
    if (!cJSON_IsObject(spec)) {
        cJSON_Delete(behavior);
        return;
    }
    if (cJSON_IsNull(target)) {
        json_set(spec, "metrics", cJSON_CreateNull()); /* a merge patch that takes it away */
    } else if (target || cJSON_IsArray(others)) {
        cJSON *metrics = json_set(spec, "metrics", cJSON_CreateArray());
        if (target)
            json_push(metrics, cpu_metric(json_int(spec, TARGET, 0)));
        json_each (metric, cJSON_IsArray(others) ? others : NULL)
            json_push(metrics, json_copy(metric));
    }
    json_remove(spec, TARGET);
    if (behavior)
        json_set(spec, "behavior", behavior);
}

static void autoscaler_from_stored(cJSON *object)
{
    cJSON *spec = json_get(object, "spec"), *status = json_get(object, "status");
    auto_json others = cJSON_CreateArray();
    bool told = false;
    json_each (metric, json_get(spec, "metrics")) {
        int64_t percent = json_int(metric, "resource.target.averageUtilization", 0);
        if (!told && is_cpu(metric) && percent > 0)
            json_set_int(spec, TARGET, percent);
        else
            json_push(others, json_copy(metric));
        told |= is_cpu(metric);
    }
    put_note(object, METRICS_NOTE, others);
    put_note(object, BEHAVIOR_NOTE, json_get(spec, "behavior"));
    json_remove(spec, "metrics");
    json_remove(spec, "behavior");
    json_each (metric, json_get(status, "currentMetrics")) {
        int64_t percent = json_int(metric, "resource.current.averageUtilization", -1);
        if (is_cpu(metric) && percent >= 0 && !json_get(status, "currentCPUUtilizationPercentage"))
            json_set_int(status, "currentCPUUtilizationPercentage", percent);
    }
    json_remove(status, "currentMetrics");
    json_remove(status, "conditions");
}

static const struct conversion conversions[] = {{"autoscaling", "v1", "horizontalpodautoscalers", "v2",
                                                 "autoscaling/v2", "autoscaling/v1", autoscaler_to_stored,
                                                 autoscaler_from_stored}};

/* ---- the edge ---- */

void versions_find(struct call *call)
{
    for (size_t i = 0; i < COUNT_OF(conversions); i++) {
        const struct conversion *c = &conversions[i];
        if (!str_eq(call->group, c->group) || !str_eq(call->version, c->version) ||
            !str_eq(call->plural, c->plural))
            continue;
        call->conversion = c;
        call->version = c->stored;
    }
}

int versions_take(const struct call *call, cJSON *object, struct err **err)
{
    const struct conversion *c = call->conversion;
    if (!c || call->subresource)
        return 0;
    if (cJSON_IsArray(object))
        return err_set(err, ERR_UNSUPPORTED_MEDIA_TYPE, "a JSON patch of %s has to be sent to %s", c->api,
                       c->stored_api);
    if (str_eq(json_string(object, "apiVersion"), c->api))
        json_set_string(object, "apiVersion", c->stored_api);
    c->to_stored(object);
    return 0;
}

static void give_object(const struct conversion *c, cJSON *object)
{
    if (!str_eq(json_string(object, "apiVersion"), c->stored_api))
        return; /* a Status */
    json_set_string(object, "apiVersion", c->api);
    cJSON *items = json_get(object, "items");
    json_each (item, items) {
        json_set_string(item, "apiVersion", c->api);
        c->from_stored(item);
    }
    if (!items)
        c->from_stored(object);
}

struct bytes *versions_give(const struct call *call, struct bytes *body)
{
    const struct conversion *c = call->conversion;
    if (!c || call->form != FORM_JSON)
        return body;
    auto_json object = json_parse_trusted(body->data, body->len);
    if (!object)
        return body;
    give_object(c, object);
    auto_free char *text = json_print(object);
    bytes_unref(body);
    return bytes_from(text, strlen(text));
}
