/*
 * node_configure: what a node's configuration file says: capacity and allocatable, the labels and taints of
 * the Node object, and new settings while the agent runs. Does not read the file: cmd does.
 *
 * Labels and taints that a file gave are noted in an annotation, so that those which a later file lacks go
 * again and everybody else's stay, also when the file changed while the agent was down.
 */
#include <string.h>

#include "base/log.h"
#include "base/quantity.h"
#include "node/node_internal.h"

#define APPLIED "minik8s.io/applied-node-file"
#define PERIOD "minik8s.io/heartbeat-seconds"
#define MAX_PODS 110

/* ---- settings ---- */

void node_settings_copy(struct node_settings *to, const struct node_settings *from)
{
    *to = *from;
    to->labels = json_copy(from->labels);
    to->taints = json_copy(from->taints);
    to->capacity = json_copy(from->capacity);
    to->reserved = json_copy(from->reserved);
    to->pod_range = mem_strdup(from->pod_range);
    to->restart = mem_strdup(from->restart);
    to->wrong = mem_strdup(from->wrong);
}

void node_settings_fini(struct node_settings *settings)
{
    const cJSON *owned[] = {settings->labels, settings->taints, settings->capacity, settings->reserved};
    for (size_t i = 0; i < COUNT_OF(owned); i++)
        cJSON_Delete((cJSON *)(uintptr_t)owned[i]);
    free((char *)(uintptr_t)settings->pod_range);
    free((char *)(uintptr_t)settings->restart);
    free((char *)(uintptr_t)settings->wrong);
    *settings = (struct node_settings){0};
}

/* ---- capacity ---- */

cJSON *node_settings_capacity(const struct node_options *options)
{
    const struct node_settings *settings = &options->settings;
    cJSON *amounts = cJSON_CreateObject();
    auto_free char *cpu = quantity_print_milli(options->system_cpu_milli);
    auto_free char *memory = mem_printf("%lldKi", (long long)(options->system_memory_bytes / 1024));
    auto_free char *pods =
        mem_printf("%lld", (long long)(settings->max_pods ? settings->max_pods : MAX_PODS));
    json_set_string(amounts, "cpu", cpu);
    json_set_string(amounts, "memory", memory);
    json_set_string(amounts, "pods", pods);
    json_each (amount, settings->capacity)
        json_set_string(amounts, amount->string, cJSON_GetStringValue(amount));
    return amounts;
}

/* Memory in KiB like the capacity, everything else in thousandths; never below zero. */
static char *less(const char *name, const char *all, const char *kept)
{
    int64_t a = 0, k = 0;
    bool memory = str_eq(name, "memory");
    int (*read)(const char *, int64_t *, struct err **) = memory ? quantity_value : quantity_milli;
    if (read(all, &a, NULL) < 0 || read(kept, &k, NULL) < 0)
        return mem_strdup(all);
    int64_t left = a > k ? a - k : 0;
    return memory ? mem_printf("%lldKi", (long long)(left / 1024)) : quantity_print_milli(left);
}

cJSON *node_settings_allocatable(const struct node_options *options, const cJSON *capacity)
{
    cJSON *amounts = json_copy(capacity);
    json_each (kept, options->settings.reserved) {
        const char *all = cJSON_GetStringValue(json_get(capacity, kept->string));
        if (!all)
            continue;
        auto_free char *left = less(kept->string, all, cJSON_GetStringValue(kept));
        json_set_string(amounts, kept->string, left);
    }
    return amounts;
}

/* ---- labels and taints ---- */

static bool same_taint(const cJSON *a, const cJSON *b)
{
    return str_eq(json_string(a, "key"), json_string(b, "key")) &&
           str_eq(json_string(a, "effect"), json_string(b, "effect"));
}

static const cJSON *find_taint(const cJSON *list, const cJSON *wanted)
{
    json_each (taint, list)
        if (same_taint(taint, wanted))
            return taint;
    return NULL;
}

/* Others' taints as they are, then the file's, each with the time at which it was first seen. */
static cJSON *merge_taints(const cJSON *present, const cJSON *before, const cJSON *wanted)
{
    cJSON *taints = cJSON_CreateArray();
    json_each (taint, present)
        if (!find_taint(before, taint) && !find_taint(wanted, taint))
            json_push(taints, json_copy(taint));
    json_each (taint, wanted) {
        cJSON *copy = json_push(taints, json_copy(taint));
        const char *since = json_string(find_taint(present, taint), "timeAdded");
        if (since && !json_get(copy, "timeAdded"))
            json_set_string(copy, "timeAdded", since);
    }
    return taints;
}

static bool same_taints(const cJSON *a, const cJSON *b)
{
    json_each (taint, a)
        if (!json_equal(taint, find_taint(b, taint)))
            return false;
    return cJSON_GetArraySize(a) == cJSON_GetArraySize(b);
}

static void merge_labels(cJSON *metadata, const cJSON *present, const cJSON *before, const cJSON *wanted)
{
    cJSON *labels = json_ensure_object(metadata, "labels");
    json_each (label, before)
        if (json_get(present, label->string) && !json_get(wanted, label->string))
            json_set(labels, label->string, cJSON_CreateNull());
    json_each (label, wanted)
        if (!json_equal(label, json_get(present, label->string)))
            json_set(labels, label->string, json_copy(label));
    if (!labels->child)
        json_remove(metadata, "labels");
}

/* What the file gives, and its period of heart-beats for the manager; the note on it is part of it. */
static void add_file(cJSON *patch, const struct node_settings *settings, const cJSON *object)
{
    const cJSON *old = json_get(object, "metadata"), *annotations = json_get(old, "annotations");
    cJSON *metadata = json_ensure_object(patch, "metadata");
    const char *noted = cJSON_GetStringValue(json_get(annotations, APPLIED));
    auto_json before = noted ? json_parse_trusted(noted, strlen(noted)) : NULL;
    auto_json now = cJSON_CreateObject();
    json_set(now, "labels", settings->labels ? json_copy(settings->labels) : cJSON_CreateObject());
    json_set(now, "taints", settings->taints ? json_copy(settings->taints) : cJSON_CreateArray());
    merge_labels(metadata, json_get(old, "labels"), json_get(before, "labels"), settings->labels);
    const cJSON *present = json_at(object, "spec.taints");
    auto_json taints = merge_taints(present, json_get(before, "taints"), settings->taints);
    if (!same_taints(taints, present))
        json_set(json_ensure_object(patch, "spec"), "taints", steal(&taints));
    auto_free char *note = json_print(now);
    if (!json_equal(now, before))
        json_set_string(json_ensure_object(metadata, "annotations"), APPLIED, note);
}

static void add_period(cJSON *patch, const struct node_settings *settings, const cJSON *object)
{
    const char *known = cJSON_GetStringValue(json_get(json_at(object, "metadata.annotations"), PERIOD));
    int64_t seconds = (settings->heartbeat_ms + 999) / 1000;
    auto_free char *wanted = seconds > 1 ? mem_printf("%lld", (long long)seconds) : NULL;
    if (str_eq(known, wanted) || (!known && !wanted))
        return;
    cJSON *annotations = json_ensure_object(json_ensure_object(patch, "metadata"), "annotations");
    json_set(annotations, PERIOD, wanted ? cJSON_CreateString(wanted) : cJSON_CreateNull());
}

cJSON *node_settings_patch(const struct node_settings *settings, const cJSON *object,
                           const cJSON *machine_labels, const cJSON *extension_labels)
{
    auto_json patch = cJSON_CreateObject();
    cJSON *metadata = json_ensure_object(patch, "metadata");
    if (settings->managed)
        add_file(patch, settings, object);
    add_period(patch, settings, object);
    json_each (label, machine_labels)
        if (!json_get(json_at(object, "metadata.labels"), label->string))
            json_set(json_ensure_object(metadata, "labels"), label->string, json_copy(label));
    json_each (label, extension_labels) {
        const cJSON *present = json_get(json_at(object, "metadata.labels"), label->string);
        bool same = cJSON_IsNull(label) ? !present : str_eq(json_string(present, ""), label->valuestring);
        if (!same && !json_get(settings->labels, label->string))
            json_set(json_ensure_object(metadata, "labels"), label->string, json_copy(label));
    }
    if (!metadata->child)
        json_remove(patch, "metadata");
    return patch->child ? steal(&patch) : NULL;
}

/* ---- while the agent runs ---- */

void node_event(struct node *node, const char *type, const char *reason, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    auto_str message = {0};
    str_vaddf(&message, format, arguments);
    va_end(arguments);
    auto_json involved = cJSON_CreateObject();
    json_set_string(involved, "apiVersion", "v1");
    json_set_string(involved, "kind", "Node");
    json_set_string(involved, "name", node->options.name);
    json_set_string(involved, "uid", json_string(node_register_object(node->registration), "metadata.uid"));
    recorder_event(node->recorder, involved, type, reason, "%s", str_c(&message));
}

void node_configure(struct node *node, const struct node_settings *settings)
{
    struct node_settings *own = &node->options.settings;
    struct node_settings before = *own;
    node_settings_copy(own, settings);
    if (own->wrong && !str_eq(own->wrong, before.wrong))
        node_event(node, "Warning", "ConfigurationInvalid", "%s", own->wrong);
    else if (own->restart && !str_eq(own->restart, before.restart))
        node_event(node, "Warning", "RestartNeeded", "in force after a restart of the agent: %s",
                   own->restart);
    else if (!own->wrong)
        node_event(node, "Normal", "ConfigurationApplied", "the agent follows its changed file");
    node_settings_fini(&before);
    node_heartbeat_period(node->heartbeat, own->heartbeat_ms);
    node_peers_changed(node->peers);
    node_register_settings(node->registration);
}
