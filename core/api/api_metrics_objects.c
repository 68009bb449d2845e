/*
 * What an agent's /stats/summary says (core/node/node_stats.c) as objects of metrics.k8s.io/v1beta1. Pure. A
 * thing without a rate yet gives no object: half a figure is worse than none.
 */
#include <inttypes.h>
#include <string.h>

#include "api/api_internal.h"
#include "base/quantity.h"

static void set_usage(cJSON *to, const cJSON *from)
{
    cJSON *usage = json_ensure_object(to, "usage");
    auto_free char *cpu = mem_printf("%" PRId64 "n", json_int(from, "cpu.usageNanoCores", 0));
    auto_free char *memory = mem_printf("%" PRId64 "Ki", json_int(from, "memory.workingSetBytes", 0) / 1024);
    json_set_string(usage, "cpu", cpu);
    json_set_string(usage, "memory", memory);
}

static bool has_rate(const cJSON *from)
{
    return json_at(from, "cpu.usageNanoCores") != NULL;
}

static cJSON *new_object(const char *kind, const char *namespace, const char *name, const cJSON *labels,
                         const cJSON *from)
{
    cJSON *object = cJSON_CreateObject();
    const char *time = json_string(from, "cpu.time");
    json_set_string(object, "kind", kind);
    json_set_string(object, "apiVersion", "metrics.k8s.io/v1beta1");
    cJSON *metadata = json_ensure_object(object, "metadata");
    json_set_string(metadata, "name", name);
    json_set_string(metadata, "namespace", namespace);
    if (labels)
        json_set(metadata, "labels", json_copy(labels));
    json_set_string(metadata, "creationTimestamp", time);
    auto_free char *window =
        mem_printf("%.3fs", (double)json_int(from, "cpu.windowNanoSeconds", 0) / 1000000000.0);
    json_set_string(object, "timestamp", time);
    json_set_string(object, "window", window);
    return object;
}

static void add_figures(cJSON *to, const cJSON *metrics)
{
    cJSON *list = json_ensure_array(to, "metrics");
    json_each (metric, metrics) {
        const char *name = json_string(metric, "name"), *value = json_string(metric, "value");
        int64_t milli;
        if (!name || (value && quantity_milli(value, &milli, NULL) < 0))
            continue;
        cJSON *one = json_push(list, cJSON_CreateObject());
        json_set_string(one, "name", name);
        json_set_string(one, "value", value);
    }
}

/* What extensions of the node count about objects of the cluster. */
static void add_objects(cJSON *node, const cJSON *objects)
{
    json_each (from, objects) {
        static const char *const fields[] = {"kind", "namespace", "name"};
        auto_json one = cJSON_CreateObject();
        for (size_t i = 0; i < COUNT_OF(fields); i++)
            json_set_string(one, fields[i], json_string_or(from, fields[i], ""));
        add_figures(one, json_get(from, "metrics"));
        json_push(json_ensure_array(node, "objects"), steal(&one));
    }
}

cJSON *metrics_node_object(const cJSON *node, const cJSON *summary)
{
    const cJSON *own = json_get(summary, "node");
    if (!has_rate(own))
        return NULL;
    cJSON *object = new_object("NodeMetrics", NULL, json_string(node, "metadata.name"),
                               json_at(node, "metadata.labels"), own);
    set_usage(object, own);
    add_objects(object, json_get(summary, "objects"));
    return object;
}

cJSON *metrics_pod_object(const cJSON *pod)
{
    const char *name = json_string(pod, "podRef.name"), *namespace = json_string(pod, "podRef.namespace");
    if (!has_rate(pod) || str_empty(name) || str_empty(namespace))
        return NULL;
    cJSON *object = new_object("PodMetrics", namespace, name, json_at(pod, "podRef.labels"), pod);
    cJSON *containers = json_ensure_array(object, "containers");
    json_each (container, json_get(pod, "containers")) {
        cJSON *one = json_push(containers, cJSON_CreateObject());
        json_set_string(one, "name", json_string(container, "name"));
        set_usage(one, container);
    }
    const cJSON *own = json_get(pod, "userDefinedMetrics");
    if (own && own->child)
        json_set(object, "values", json_copy(own));
    return object;
}
