/*
 * describe: name, labels, annotations, the parts of spec and status that people ask for, what belongs to it,
 * and Events. Kinds without a layout of their own are shown as YAML-like fields, so nothing is hidden.
 */
#include <stdio.h>
#include <string.h>

#include "describe.h"

static void events(struct kubectl *k, const cJSON *object)
{
    auto_free char *path =
        client_path("events", "v1", json_string_or(object, "metadata.namespace", "default"), NULL, NULL);
    auto_free char *selector =
        mem_printf("involvedObject.name=%s,involvedObject.kind=%s",
                   json_string_or(object, "metadata.name", ""), json_string_or(object, "kind", ""));
    auto_str target = {0};
    str_add(&target, path);
    http_query_add(&target, "fieldSelector", selector);
    auto_err err = NULL;
    auto_json list = kubectl_request(k, "GET", str_c(&target), NULL, NULL, NULL, &err);
    if (!list) {
        printf("Events:              <unknown: %s>\n", err_message(err));
        return;
    }
    const cJSON *items = json_get(list, "items");
    printf("Events:%s\n", items && items->child ? "" : "              <none>");
    if (items && items->child)
        printf("  %-8s %-20s %-8s %-22s %s\n", "Type", "Reason", "Age", "From", "Message");
    json_each (event, items) {
        const char *last = json_string(event, "lastTimestamp");
        auto_free char *age = describe_age(last ? last : json_string(event, "eventTime"));
        auto_free char *count = mem_printf(" (x%lld)", (long long)json_int(event, "count", 1));
        printf("  %-8s %-20s %-8s %-22s %s%s\n", json_string_or(event, "type", ""),
               json_string_or(event, "reason", ""), age, json_string_or(event, "source.component", ""),
               json_string_or(event, "message", ""), json_int(event, "count", 1) > 1 ? count : "");
    }
}

static const cJSON *status_of_container(const cJSON *pod, const char *list, const char *name)
{
    json_each (status, json_at(pod, list)) {
        if (str_eq(json_string(status, "name"), name))
            return status;
    }
    return NULL;
}

static void container_state(const char *title, const cJSON *state)
{
    if (!state || !state->child)
        return;
    printf("    %-16s %s\n", title, state->child->string);
    static const char *const fields[] = {"reason", "message",   "exitCode",
                                         "signal", "startedAt", "finishedAt"};
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        auto_free char *text = describe_text(json_get(state->child, fields[i]));
        if (*text)
            printf("      %-14s %s\n", fields[i], text);
    }
}

static void container_text(const char *title, const cJSON *container, const char *member)
{
    const char *text = json_string(container, member);
    if (!str_empty(text))
        printf("    %-16s %s\n", title, text);
}

static void containers(const cJSON *pod, const char *spec_list, const char *status_list, const char *title)
{
    const cJSON *list = json_at(pod, spec_list);
    if (!list || !list->child)
        return;
    printf("%s:\n", title);
    json_each (container, list) {
        const char *name = json_string_or(container, "name", "");
        const cJSON *status = status_of_container(pod, status_list, name);
        printf("  %s:\n    %-16s %s\n    %-16s %s\n    %-16s %s\n", name,
               "Container ID:", json_string_or(status, "containerID", ""),
               "Image:", json_string_or(container, "image", ""),
               "Image ID:", json_string_or(status, "imageID", ""));
        container_state("State:", json_get(status, "state"));
        container_state("Last State:", json_get(status, "lastState"));
        printf("    %-16s %s\n    %-16s %lld\n",
               "Ready:", json_bool(status, "ready", false) ? "True" : "False",
               "Restart Count:", (long long)json_int(status, "restartCount", 0));
        container_text("Pull Policy:", container, "imagePullPolicy");
        container_text("Working Dir:", container, "workingDir");
        container_text("Target:", container, "targetContainerName");
        static const char *const parts[] = {
            "command",        "args",         "ports",           "env",
            "envFrom",        "resources",    "volumeMounts",    "livenessProbe",
            "readinessProbe", "startupProbe", "securityContext", "lifecycle"};
        for (size_t i = 0; i < COUNT_OF(parts); i++) {
            auto_free char *heading = mem_printf("    %s", parts[i]);
            describe_block(heading, json_get(container, parts[i]), 6);
        }
    }
}

/* "a: reason; b: reason", one a line. */
static void parts(const char *title, const char *text)
{
    if (str_empty(text))
        return;
    printf("%s:\n", title);
    auto_free char *copy = mem_strdup(text);
    for (char *at = copy, *next; at; at = next) {
        next = strstr(at, "; ");
        if (next) {
            *next = 0;
            next += 2;
        }
        char *value = strstr(at, ": ");
        if (value)
            *value = 0;
        printf("  %-18s %s\n", at, value ? value + 2 : "");
    }
}

/* Who chose the node and by how much; while there is none: what is wrong with each node. */
static void scheduling(const cJSON *pod)
{
    const cJSON *annotations = json_at(pod, "metadata.annotations");
    describe_path("Priority", pod, "spec.priority");
    describe_path("Priority Class Name", pod, "spec.priorityClassName");
    describe_path("Nominated Node", pod, "status.nominatedNodeName");
    describe_field("Scheduled By", cJSON_GetStringValue(json_get(annotations, "minik8s.io/scheduled-by")));
    describe_field("Scores", cJSON_GetStringValue(json_get(annotations, "minik8s.io/scheduling-scores")));
    json_each (condition, json_at(pod, "status.conditions"))
        if (str_eq(json_string(condition, "type"), DESCRIBE_PER_NODE))
            parts("Nodes", json_string(condition, "message"));
}

/* How the pod differs from one of which nothing is said. */
static void pod_settings(const cJSON *pod)
{
    static const char *const flags[] = {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"};
    static const char *const blocks[] = {"securityContext", "hostAliases", "dnsConfig", "imagePullSecrets",
                                         "readinessGates"};
    const cJSON *spec = json_get(pod, "spec");
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        if (json_bool(spec, flags[i], false))
            describe_field(flags[i], "true");
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        describe_block(blocks[i], json_get(spec, blocks[i]), 2);
}

static void describe_pod(struct kubectl *k UNUSED, const cJSON *pod)
{
    describe_path("Node", pod, "spec.nodeName");
    describe_path("Start Time", pod, "status.startTime");
    describe_path("Status", pod, "status.phase");
    describe_path("Reason", pod, "status.reason");
    describe_path("IP", pod, "status.podIP");
    describe_path("Controlled By", pod, "metadata.ownerReferences[0].name");
    describe_path("QoS Class", pod, "status.qosClass");
    describe_path("Service Account", pod, "spec.serviceAccountName");
    describe_path("Restart Policy", pod, "spec.restartPolicy");
    describe_path("Grace Period", pod, "spec.terminationGracePeriodSeconds");
    describe_path("DNS Policy", pod, "spec.dnsPolicy");
    pod_settings(pod);
    containers(pod, "spec.initContainers", "status.initContainerStatuses", "Init Containers");
    containers(pod, "spec.containers", "status.containerStatuses", "Containers");
    containers(pod, "spec.ephemeralContainers", "status.ephemeralContainerStatuses", "Ephemeral Containers");
    describe_conditions(pod);
    describe_block("Volumes", json_at(pod, "spec.volumes"), 2);
    describe_map("Node-Selectors", json_at(pod, "spec.nodeSelector"));
    describe_block("Tolerations", json_at(pod, "spec.tolerations"), 2);
    describe_block("Affinity", json_at(pod, "spec.affinity"), 2);
    describe_block("Topology Spread Constraints", json_at(pod, "spec.topologySpreadConstraints"), 2);
    scheduling(pod);
}

static void describe_secret(struct kubectl *k UNUSED, const cJSON *secret)
{
    describe_path("Type", secret, "type");
    printf("Data\n====\n");
    json_each (entry, json_get(secret, "data")) {
        unsigned char *data = NULL;
        size_t len = 0;
        const char *text = cJSON_IsString(entry) ? entry->valuestring : "";
        if (str_unbase64(text, strlen(text), &data, &len) == 0)
            free(data);
        printf("%s:  %zu bytes\n", entry->string, len);
    }
}

static void describe_autoscaler(struct kubectl *k, const cJSON *object)
{
    describe_scaling(k, object);
    describe_block("Behavior", json_at(object, "spec.behavior"), 2);
    describe_conditions(object);
    describe_decisions(object);
}

static void describe_other(struct kubectl *k UNUSED, const cJSON *object)
{
    json_each (part, object) {
        if (!str_eq(part->string, "metadata") && !str_eq(part->string, "apiVersion") &&
            !str_eq(part->string, "kind"))
            describe_block(part->string, part, 2);
    }
}

static const struct {
    const char *kind;
    describe_kind *print;
} layouts[] = {{"Pod", describe_pod},
               {"Node", describe_node},
               {"Service", describe_service},
               {"Deployment", describe_workload},
               {"ReplicaSet", describe_workload},
               {"ReplicationController", describe_workload},
               {"StatefulSet", describe_stateful_set},
               {"DaemonSet", describe_daemon_set},
               {"Job", describe_job},
               {"CronJob", describe_cron_job},
               {"HorizontalPodAutoscaler", describe_autoscaler},
               {"Ingress", describe_ingress},
               {"DNS", describe_dns},
               {"ResourceQuota", describe_quota},
               {"LimitRange", describe_limits},
               {"Namespace", describe_namespace},
               {"Secret", describe_secret}};

static void describe(struct kubectl *k, const cJSON *object)
{
    describe_path("Name", object, "metadata.name");
    if (json_at(object, "metadata.namespace"))
        describe_path("Namespace", object, "metadata.namespace");
    describe_map("Labels", json_at(object, "metadata.labels"));
    describe_map("Annotations", json_at(object, "metadata.annotations"));
    auto_free char *age = describe_age(json_string(object, "metadata.creationTimestamp"));
    auto_free char *created =
        mem_printf("%s (%s ago)", json_string_or(object, "metadata.creationTimestamp", "<unknown>"), age);
    describe_field("Created", created);
    if (json_at(object, "metadata.deletionTimestamp"))
        describe_path("Terminating since", object, "metadata.deletionTimestamp");
    describe_kind *print = describe_other;
    for (size_t i = 0; i < COUNT_OF(layouts); i++)
        if (str_eq(json_string(object, "kind"), layouts[i].kind))
            print = layouts[i].print;
    print(k, object);
    events(k, object);
}

/* A name that is not there may be the beginning of names that are, as in kubectl. */
static cJSON *with_prefix(struct kubectl *k, const struct kubectl_reference *ref, struct err **err)
{
    const struct kubectl_reference all = {ref->resource, NULL, ref->namespace};
    int code = 0;
    cJSON *objects = kubectl_read_all(k, &all, 1, &code, err);
    for (int i = cJSON_GetArraySize(objects) - 1; i >= 0; i--)
        if (!str_starts(json_string_or(cJSON_GetArrayItem(objects, i), "metadata.name", ""), ref->name))
            cJSON_DeleteItemFromArray(objects, i);
    return objects;
}

static int describe_reference(struct kubectl *k, const struct kubectl_reference *ref, bool *printed)
{
    auto_err err = NULL;
    int code = 0;
    auto_free char *target = kubectl_target(k, ref->resource, ref->namespace, ref->name, NULL);
    auto_json objects = NULL;
    if (ref->name) {
        auto_json object = kubectl_request(k, "GET", target, NULL, NULL, NULL, &err);
        auto_err failed = NULL;
        if (!object && err_code(err) == ERR_NOT_FOUND)
            objects = with_prefix(k, ref, &failed);
        if (!object && (!objects || !objects->child))
            return kubectl_fail_named(k, err, NULL, ref);
        if (object) {
            objects = cJSON_CreateArray();
            json_push(objects, steal(&object));
        }
    } else {
        objects = kubectl_read_all(k, ref, 1, &code, &err);
        if (!objects)
            return kubectl_fail(err, NULL);
    }
    json_each (object, objects) {
        printf("%s", *printed ? "\n\n" : "");
        json_sort_keys(object);
        describe(k, object);
        *printed = true;
    }
    return code;
}

int verb_describe(struct kubectl *k)
{
    auto_err err = NULL;
    auto_free struct kubectl_reference *refs = NULL;
    auto_json manifests = k->flags.n_files ? kubectl_load_manifests(k, &err) : NULL;
    size_t count = 0;
    int code = 0;
    bool printed = false;
    if (err || (!manifests && kubectl_references(k, 0, &refs, &count, &err) < 0))
        return kubectl_refuse(err);
    json_each (object, manifests) {
        if (!kubectl_find_kind(k, json_string(object, "apiVersion"), json_string(object, "kind"), &err))
            return kubectl_refuse(err);
        const struct kubectl_reference ref = kubectl_reference_of(k, object);
        code |= describe_reference(k, &ref, &printed);
    }
    for (size_t i = 0; i < count; i++)
        code |= describe_reference(k, &refs[i], &printed);
    if (!printed && code == 0 && (k->flags.all_namespaces || !refs[0].resource->namespaced))
        fprintf(stderr, "No resources found\n");
    else if (!printed && code == 0)
        fprintf(stderr, "No resources found in %s namespace.\n", k->namespace);
    return code;
}
