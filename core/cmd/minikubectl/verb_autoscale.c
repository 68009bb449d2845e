/* autoscale: a HorizontalPodAutoscaler for a workload. */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

/* "80%" or "80": utilization; anything else: an average value. */
static void add_metric(cJSON *spec, const char *resource, const char *wanted)
{
    size_t len = strlen(wanted);
    auto_free char *plain = mem_strndup(wanted, len - (len && wanted[len - 1] == '%'));
    cJSON *metric = json_push(json_ensure_array(spec, "metrics"), cJSON_CreateObject());
    json_set_string(metric, "type", "Resource");
    cJSON *source = json_ensure_object(metric, "resource");
    json_set_string(source, "name", resource);
    cJSON *target = json_ensure_object(source, "target");
    long long number;
    bool share = str_to_int64(plain, &number) == 0;
    json_set_string(target, "type", share ? "Utilization" : "AverageValue");
    if (share)
        json_set_int(target, "averageUtilization", number);
    else
        json_set_string(target, "averageValue", plain);
}

static cJSON *autoscaler_for(struct kubectl *k, const struct kubectl_reference *ref)
{
    const char *name = k->flags.name ? k->flags.name : ref->name;
    cJSON *object = kubectl_object_new("autoscaling/v2", "HorizontalPodAutoscaler", name);
    cJSON *spec = json_ensure_object(object, "spec"), *target = json_ensure_object(spec, "scaleTargetRef");
    auto_free char *version =
        mem_printf("%s%s%s", ref->resource->group, *ref->resource->group ? "/" : "", ref->resource->version);
    json_set_string(target, "apiVersion", version);
    json_set_string(target, "kind", ref->resource->kind);
    json_set_string(target, "name", ref->name);
    if (k->flags.min > 0)
        json_set_int(spec, "minReplicas", k->flags.min);
    json_set_int(spec, "maxReplicas", k->flags.max);
    if (k->flags.cpu || !k->flags.memory)
        add_metric(spec, "cpu", k->flags.cpu ? k->flags.cpu : "80%");
    if (k->flags.memory)
        add_metric(spec, "memory", k->flags.memory);
    return object;
}

int verb_autoscale(struct kubectl *k)
{
    auto_err err = NULL;
    auto_free struct kubectl_reference *refs = NULL;
    size_t count;
    int code = 0;
    if (k->flags.max < 1)
        return kubectl_refuse_text("--max=MAXPODS is required and must be at least 1");
    if (k->flags.min > k->flags.max)
        return kubectl_refuse_text("--max=MAXPODS must be larger or equal to --min=MINPODS");
    if (kubectl_references(k, 0, &refs, &count, &err) < 0)
        return kubectl_refuse(err);
    for (size_t i = 0; i < count; i++) {
        if (!refs[i].name)
            return kubectl_refuse_text("resource(s) were provided, but no name was specified");
        auto_free char *path = kubectl_target(k, refs[i].resource, NULL, refs[i].name, NULL);
        auto_json target = kubectl_request(k, "GET", path, NULL, NULL, NULL, &err);
        if (!target)
            return kubectl_fail_named(k, err, NULL, &refs[i]);
        auto_json object = autoscaler_for(k, &refs[i]);
        code |= kubectl_create_as(k, object, NULL, "autoscaled");
    }
    return code;
}
