/*
 * describe: name, labels, annotations, the parts of spec and status that people ask for, what belongs to it,
 * and Events. Kinds without a layout of their own are shown as YAML-like fields, so nothing is hidden.
 */
#include <stdio.h>
#include <string.h>

#include "base/quantity.h"
#include "base/yaml.h"
#include "kubectl.h"

static void field(const char *name, const char *value)
{
    auto_free char *label = mem_printf("%s:", name);
    printf("%-20s %s\n", label, str_empty(value) ? "<none>" : value);
}

static void map_field(const char *name, const cJSON *map)
{
    auto_free char *label = mem_printf("%s:", name);
    const char *lead = label;
    json_each (entry, map) {
        if (str_eq(entry->string, "kubectl.kubernetes.io/last-applied-configuration"))
            continue; /* the whole manifest on one line; -o yaml shows it */
        printf("%-20s %s=%s\n", lead, entry->string, cJSON_IsString(entry) ? entry->valuestring : "");
        lead = "";
    }
    if (*lead)
        printf("%-20s <none>\n", lead);
}

static char *text_of(const cJSON *value)
{
    if (!value)
        return mem_strdup("");
    return cJSON_IsString(value) ? mem_strdup(value->valuestring) : json_print(value);
}

static void path_field(const char *name, const cJSON *object, const char *path)
{
    auto_free char *text = text_of(json_at(object, path));
    field(name, text);
}

/* The rest of an object, indented. */
static void block(const char *title, const cJSON *value, int indent)
{
    if (!value || !value->child)
        return;
    printf("%s:\n", title);
    auto_free char *text = yaml_print(value);
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        printf("%*s%s\n", indent, "", line);
}

static char *age_of(const char *time)
{
    int64_t ns;
    char age[TIME_TEXT];
    if (!time || time_parse(time, &ns, NULL) < 0)
        return mem_strdup("<unknown>");
    time_print_age(clock_wall_ns(&clock_system) - ns, age);
    return mem_strdup(age);
}

#define PER_NODE "minik8s.io/Nodes" /* shown by scheduling() */

static void conditions(const cJSON *object)
{
    const cJSON *list = json_at(object, "status.conditions");
    if (!list || !list->child)
        return;
    printf("Conditions:\n  %-28s %-8s %-28s %s\n", "Type", "Status", "Reason", "Message");
    json_each (condition, list)
        if (!str_eq(json_string(condition, "type"), PER_NODE))
            printf("  %-28s %-8s %-28s %s\n", json_string_or(condition, "type", ""),
                   json_string_or(condition, "status", ""), json_string_or(condition, "reason", ""),
                   json_string_or(condition, "message", ""));
}

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
        auto_free char *age = age_of(last ? last : json_string(event, "eventTime"));
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
        auto_free char *text = text_of(json_get(state->child, fields[i]));
        if (*text)
            printf("      %-14s %s\n", fields[i], text);
    }
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
        static const char *const parts[] = {
            "command",      "args",          "ports",          "env",          "envFrom",        "resources",
            "volumeMounts", "livenessProbe", "readinessProbe", "startupProbe", "securityContext"};
        for (size_t i = 0; i < COUNT_OF(parts); i++) {
            auto_free char *heading = mem_printf("    %s", parts[i]);
            block(heading, json_get(container, parts[i]), 6);
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
    path_field("Priority", pod, "spec.priority");
    path_field("Priority Class Name", pod, "spec.priorityClassName");
    path_field("Nominated Node", pod, "status.nominatedNodeName");
    field("Scheduled By", cJSON_GetStringValue(json_get(annotations, "minik8s.io/scheduled-by")));
    field("Scores", cJSON_GetStringValue(json_get(annotations, "minik8s.io/scheduling-scores")));
    json_each (condition, json_at(pod, "status.conditions"))
        if (str_eq(json_string(condition, "type"), PER_NODE))
            parts("Nodes", json_string(condition, "message"));
}

static void describe_pod(struct kubectl *k UNUSED, const cJSON *pod)
{
    path_field("Node", pod, "spec.nodeName");
    path_field("Start Time", pod, "status.startTime");
    path_field("Status", pod, "status.phase");
    path_field("Reason", pod, "status.reason");
    path_field("IP", pod, "status.podIP");
    path_field("Controlled By", pod, "metadata.ownerReferences[0].name");
    path_field("QoS Class", pod, "status.qosClass");
    containers(pod, "spec.initContainers", "status.initContainerStatuses", "Init Containers");
    containers(pod, "spec.containers", "status.containerStatuses", "Containers");
    conditions(pod);
    block("Volumes", json_at(pod, "spec.volumes"), 2);
    map_field("Node-Selectors", json_at(pod, "spec.nodeSelector"));
    block("Tolerations", json_at(pod, "spec.tolerations"), 2);
    scheduling(pod);
}

/* Requests of a pod's containers in thousandths of a core and bytes; ended pods hold nothing. */
static void add_requests(const cJSON *pod, int64_t *cpu, int64_t *memory)
{
    const char *phase = json_string_or(pod, "status.phase", "");
    if (str_eq(phase, "Succeeded") || str_eq(phase, "Failed"))
        return;
    json_each (container, json_at(pod, "spec.containers")) {
        int64_t value;
        if (quantity_milli(json_string_or(container, "resources.requests.cpu", "0"), &value, NULL) == 0)
            *cpu += value;
        if (quantity_value(json_string_or(container, "resources.requests.memory", "0"), &value, NULL) == 0)
            *memory += value;
    }
}

/* Devices ("vendor/device"): what running pods ask for of what the node has. */
static void allocated_devices(const cJSON *node, const cJSON *pods)
{
    json_each (amount, json_at(node, "status.allocatable")) {
        int64_t used = 0, value;
        if (!strchr(amount->string, '/'))
            continue;
        json_each (pod, pods)
            json_each (container, json_at(pod, "spec.containers")) {
                const char *text =
                    cJSON_GetStringValue(json_get(json_at(container, "resources.limits"), amount->string));
                if (text && quantity_value(text, &value, NULL) == 0)
                    used += value;
            }
        printf("  %s: %lld of %s\n", amount->string, (long long)used, cJSON_GetStringValue(amount));
    }
}

static void allocated(const cJSON *node, const cJSON *pods)
{
    int64_t cpu = 0, memory = 0, all_cpu = 0, all_memory = 0;
    json_each (pod, pods)
        add_requests(pod, &cpu, &memory);
    quantity_milli(json_string_or(node, "status.allocatable.cpu", "0"), &all_cpu, NULL);
    quantity_value(json_string_or(node, "status.allocatable.memory", "0"), &all_memory, NULL);
    auto_free char *cpu_text = quantity_print_milli(cpu);
    auto_free char *memory_text = quantity_print_bytes(memory);
    printf("Allocated requests:\n  cpu:     %s (%lld%%)\n  memory:  %s (%lld%%)\n  pods:    %d of %s\n",
           cpu_text, all_cpu ? (long long)(cpu * 100 / all_cpu) : 0, memory_text,
           all_memory ? (long long)(memory * 100 / all_memory) : 0, cJSON_GetArraySize(pods),
           json_string_or(node, "status.allocatable.pods", "?"));
    allocated_devices(node, pods);
}

static void node_roles(const cJSON *node)
{
    auto_str roles = {0};
    json_each (label, json_at(node, "metadata.labels")) {
        static const char prefix[] = "node-role.kubernetes.io/";
        if (str_starts(label->string, prefix))
            str_addf(&roles, "%s%s", roles.len ? "," : "", label->string + sizeof(prefix) - 1);
    }
    field("Roles", str_c(&roles));
}

static void node_readiness(const cJSON *node)
{
    json_each (condition, json_at(node, "status.conditions")) {
        if (!str_eq(json_string(condition, "type"), "Ready"))
            continue;
        auto_free char *text =
            mem_printf("%s (%s: %s)", str_eq(json_string(condition, "status"), "True") ? "Ready" : "NotReady",
                       json_string_or(condition, "reason", ""), json_string_or(condition, "message", ""));
        field("Status", text);
    }
    path_field("Version", node, "status.nodeInfo.kubeletVersion");
}

/* What need not be fetched. */
static void node_images(const cJSON *node)
{
    struct kubectl_grid grid = {.columns = 2};
    json_each (image, json_at(node, "status.images")) {
        int64_t bytes = json_int(image, "sizeBytes", 0);
        bool large = bytes >= 10000000;
        auto_free char *size =
            mem_printf("%lld%s", (long long)(bytes / (large ? 1000000 : 1000)), large ? "M" : "k");
        auto_free char *name = mem_printf("  %s", json_string_or(image, "names[0]", "<none>"));
        kubectl_grid_row(&grid, (const char *const[]){name, size});
    }
    printf("Images:%s\n", grid.rows ? "" : "              <none>");
    kubectl_grid_print(&grid, NULL, NULL);
}

static void describe_node(struct kubectl *k, const cJSON *node)
{
    node_roles(node);
    node_readiness(node);
    block("Addresses", json_at(node, "status.addresses"), 2);
    block("Taints", json_at(node, "spec.taints"), 2);
    field("Unschedulable", json_bool(node, "spec.unschedulable", false) ? "true" : "false");
    path_field("PodCIDR", node, "spec.podCIDR");
    const char *name = json_string_or(node, "metadata.name", "");
    auto_free char *lease_path =
        client_path("leases.coordination.k8s.io", "v1", "kube-node-lease", name, NULL);
    auto_json lease = kubectl_request(k, "GET", lease_path, NULL, NULL, NULL, NULL);
    path_field("Last heartbeat", lease, "spec.renewTime");
    path_field("Policies", lease, "metadata.annotations['minik8s.io/policies']");
    conditions(node);
    block("Capacity", json_at(node, "status.capacity"), 2);
    block("Allocatable", json_at(node, "status.allocatable"), 2);
    block("System Info", json_at(node, "status.nodeInfo"), 2);
    node_images(node);
    auto_free char *selector = mem_printf("spec.nodeName=%s", name);
    auto_str target = {0};
    str_add(&target, "/api/v1/pods");
    http_query_add(&target, "fieldSelector", selector);
    auto_json pods = kubectl_request(k, "GET", str_c(&target), NULL, NULL, NULL, NULL);
    printf("Pods:\n");
    json_each (pod, json_get(pods, "items"))
        printf("  %s/%s (%s)\n", json_string_or(pod, "metadata.namespace", ""),
               json_string_or(pod, "metadata.name", ""), json_string_or(pod, "status.phase", ""));
    allocated(node, json_get(pods, "items"));
}

/* Who decided how new connections are spread, and how: the Service itself, or a policy by way of the slices.
 */
static void service_balance(const cJSON *service, const cJSON *slices)
{
    static const char mode_key[] = "minik8s.io/balance", by_key[] = "minik8s.io/balance-policy";
    const cJSON *own = json_get(json_at(service, "metadata.annotations"), mode_key);
    const cJSON *asked = json_at(slices, "items[0].metadata.annotations");
    const cJSON *mode = own ? own : json_get(asked, mode_key), *by = own ? NULL : json_get(asked, by_key);
    if (!cJSON_IsString(mode))
        return;
    auto_free char *text = cJSON_IsString(by)
                               ? mem_printf("%s (policy %s)", mode->valuestring, by->valuestring)
                               : mem_strdup(mode->valuestring);
    field("Balance", text);
}

static void add_endpoints(struct str *text, const cJSON *slice, int64_t number)
{
    json_each (endpoint, json_get(slice, "endpoints")) {
        if (!json_bool(endpoint, "conditions.ready", true))
            continue;
        str_addf(text, "%s%s", text->len ? "," : "", json_string_or(endpoint, "addresses[0]", ""));
        if (number)
            str_addf(text, ":%lld", (long long)number);
    }
}

/* The ready endpoints of one port; port NULL: of a Service that has none. */
static void port_endpoints(const cJSON *slices, const cJSON *port)
{
    auto_str text = {0};
    json_each (slice, json_get(slices, "items")) {
        if (!port)
            add_endpoints(&text, slice, 0);
        json_each (candidate, json_get(slice, "ports"))
            if (port && str_eq(json_string_or(candidate, "name", ""), json_string_or(port, "name", "")) &&
                str_eq(json_string_or(candidate, "protocol", "TCP"), json_string_or(port, "protocol", "TCP")))
                add_endpoints(&text, slice, json_int(candidate, "port", 0));
    }
    field("Endpoints", str_c(&text));
}

static cJSON *slices_of(struct kubectl *k, const cJSON *service)
{
    auto_free char *selector =
        mem_printf("kubernetes.io/service-name=%s", json_string_or(service, "metadata.name", ""));
    auto_free char *path = client_path("endpointslices.discovery.k8s.io", "v1",
                                       json_string(service, "metadata.namespace"), NULL, NULL);
    auto_str target = {0};
    str_add(&target, path);
    http_query_add(&target, "labelSelector", selector);
    return kubectl_request(k, "GET", str_c(&target), NULL, NULL, NULL, NULL);
}

static void service_port(const cJSON *port, const cJSON *slices)
{
    auto_free char *target_port = text_of(json_get(port, "targetPort"));
    printf("%-20s %s %lld/%s -> %s", "Port:", json_string_or(port, "name", "<unset>"),
           (long long)json_int(port, "port", 0), json_string_or(port, "protocol", "TCP"), target_port);
    if (json_int(port, "nodePort", 0))
        printf(", on every node %lld", (long long)json_int(port, "nodePort", 0));
    printf("\n");
    port_endpoints(slices, port);
}

static void describe_service(struct kubectl *k, const cJSON *service)
{
    auto_json slices = slices_of(k, service);
    const cJSON *ports = json_at(service, "spec.ports");
    map_field("Selector", json_at(service, "spec.selector"));
    path_field("Type", service, "spec.type");
    path_field("IP", service, "spec.clusterIP");
    if (json_at(service, "spec.externalName"))
        path_field("External Name", service, "spec.externalName");
    json_each (address, json_at(service, "spec.externalIPs"))
        field("External IP", cJSON_IsString(address) ? address->valuestring : "");
    json_each (ingress, json_at(service, "status.loadBalancer.ingress"))
        field("LoadBalancer Ingress", json_string_or(ingress, "ip", json_string_or(ingress, "hostname", "")));
    json_each (port, ports)
        service_port(port, slices);
    if (!ports || !ports->child)
        port_endpoints(slices, NULL);
    path_field("Session Affinity", service, "spec.sessionAffinity");
    service_balance(service, slices);
}

static void describe_workload(struct kubectl *k UNUSED, const cJSON *object)
{
    map_field("Selector", json_at(object, "spec.selector.matchLabels"));
    printf("%-20s %lld desired | %lld updated | %lld total | %lld available | %lld ready\n",
           "Replicas:", (long long)json_int(object, "spec.replicas", 0),
           (long long)json_int(object, "status.updatedReplicas", 0),
           (long long)json_int(object, "status.replicas", 0),
           (long long)json_int(object, "status.availableReplicas", 0),
           (long long)json_int(object, "status.readyReplicas", 0));
    block("Strategy", json_at(object, "spec.strategy"), 2);
    block("Pod Template", json_at(object, "spec.template"), 2);
    conditions(object);
}

static void describe_stateful_set(struct kubectl *k UNUSED, const cJSON *object)
{
    map_field("Selector", json_at(object, "spec.selector.matchLabels"));
    path_field("Service Name", object, "spec.serviceName");
    path_field("Pod Management", object, "spec.podManagementPolicy");
    printf("%-20s %lld desired | %lld updated | %lld total | %lld available | %lld ready\n",
           "Replicas:", (long long)json_int(object, "spec.replicas", 0),
           (long long)json_int(object, "status.updatedReplicas", 0),
           (long long)json_int(object, "status.replicas", 0),
           (long long)json_int(object, "status.availableReplicas", 0),
           (long long)json_int(object, "status.readyReplicas", 0));
    block("Update Strategy", json_at(object, "spec.updateStrategy"), 2);
    block("Pod Template", json_at(object, "spec.template"), 2);
    block("Volume Claims", json_at(object, "spec.volumeClaimTemplates"), 2);
    conditions(object);
}

static void describe_daemon_set(struct kubectl *k UNUSED, const cJSON *object)
{
    map_field("Selector", json_at(object, "spec.selector.matchLabels"));
    map_field("Node-Selector", json_at(object, "spec.template.spec.nodeSelector"));
    printf("%-20s %lld should run it | %lld have it | %lld updated | %lld ready | %lld available | %lld "
           "should not\n",
           "Nodes:", (long long)json_int(object, "status.desiredNumberScheduled", 0),
           (long long)json_int(object, "status.currentNumberScheduled", 0),
           (long long)json_int(object, "status.updatedNumberScheduled", 0),
           (long long)json_int(object, "status.numberReady", 0),
           (long long)json_int(object, "status.numberAvailable", 0),
           (long long)json_int(object, "status.numberMisscheduled", 0));
    block("Update Strategy", json_at(object, "spec.updateStrategy"), 2);
    block("Pod Template", json_at(object, "spec.template"), 2);
    conditions(object);
}

static void describe_job(struct kubectl *k UNUSED, const cJSON *object)
{
    map_field("Selector", json_at(object, "spec.selector.matchLabels"));
    path_field("Controlled By", object, "metadata.ownerReferences[0].name");
    static const char *const fields[][2] = {{"Parallelism", "spec.parallelism"},
                                            {"Completions", "spec.completions"},
                                            {"Completion Mode", "spec.completionMode"},
                                            {"Backoff Limit", "spec.backoffLimit"},
                                            {"Suspend", "spec.suspend"},
                                            {"Start Time", "status.startTime"},
                                            {"Completed At", "status.completionTime"},
                                            {"Completed Indexes", "status.completedIndexes"}};
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        path_field(fields[i][0], object, fields[i][1]);
    printf("%-20s %lld Active (%lld Ready) / %lld Succeeded / %lld Failed\n",
           "Pods Statuses:", (long long)json_int(object, "status.active", 0),
           (long long)json_int(object, "status.ready", 0), (long long)json_int(object, "status.succeeded", 0),
           (long long)json_int(object, "status.failed", 0));
    block("Pod Failure Policy", json_at(object, "spec.podFailurePolicy"), 2);
    block("Pod Template", json_at(object, "spec.template"), 2);
    conditions(object);
}

static void describe_cron_job(struct kubectl *k UNUSED, const cJSON *object)
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
        path_field(fields[i][0], object, fields[i][1]);
    auto_str active = {0};
    json_each (job, json_at(object, "status.active"))
        str_addf(&active, "%s%s", active.len ? ", " : "", json_string_or(job, "name", ""));
    field("Active Jobs", str_c(&active));
    block("Job Template", json_at(object, "spec.jobTemplate"), 2);
}

static void describe_secret(struct kubectl *k UNUSED, const cJSON *secret)
{
    path_field("Type", secret, "type");
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
    kubectl_describe_autoscaler(k, object);
    block("Behavior", json_at(object, "spec.behavior"), 2);
    conditions(object);
    kubectl_describe_decisions(object);
}

static void describe_other(struct kubectl *k UNUSED, const cJSON *object)
{
    json_each (part, object) {
        if (!str_eq(part->string, "metadata") && !str_eq(part->string, "apiVersion") &&
            !str_eq(part->string, "kind"))
            block(part->string, part, 2);
    }
}

static const struct {
    const char *kind;
    void (*print)(struct kubectl *k, const cJSON *object);
} layouts[] = {{"Pod", describe_pod},
               {"Node", describe_node},
               {"Service", describe_service},
               {"Deployment", describe_workload},
               {"ReplicaSet", describe_workload},
               {"StatefulSet", describe_stateful_set},
               {"DaemonSet", describe_daemon_set},
               {"Job", describe_job},
               {"CronJob", describe_cron_job},
               {"HorizontalPodAutoscaler", describe_autoscaler},
               {"Ingress", kubectl_describe_ingress},
               {"DNS", kubectl_describe_dns},
               {"ResourceQuota", kubectl_describe_quota},
               {"LimitRange", kubectl_describe_limits},
               {"Namespace", kubectl_describe_namespace},
               {"Secret", describe_secret}};

static void describe(struct kubectl *k, const cJSON *object)
{
    path_field("Name", object, "metadata.name");
    if (json_at(object, "metadata.namespace"))
        path_field("Namespace", object, "metadata.namespace");
    map_field("Labels", json_at(object, "metadata.labels"));
    map_field("Annotations", json_at(object, "metadata.annotations"));
    auto_free char *age = age_of(json_string(object, "metadata.creationTimestamp"));
    auto_free char *created =
        mem_printf("%s (%s ago)", json_string_or(object, "metadata.creationTimestamp", "<unknown>"), age);
    field("Created", created);
    if (json_at(object, "metadata.deletionTimestamp"))
        path_field("Terminating since", object, "metadata.deletionTimestamp");
    void (*print)(struct kubectl *, const cJSON *) = describe_other;
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
        kubectl_sort_keys(object);
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
