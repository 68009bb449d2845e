/* describe node: what it is, what runs on it, and how much of it is given away. */
#include <stdio.h>
#include <string.h>

#include "base/quantity.h"
#include "describe.h"

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
    describe_field("Roles", str_c(&roles));
}

static void node_readiness(const cJSON *node)
{
    json_each (condition, json_at(node, "status.conditions")) {
        if (!str_eq(json_string(condition, "type"), "Ready"))
            continue;
        auto_free char *text =
            mem_printf("%s (%s: %s)", str_eq(json_string(condition, "status"), "True") ? "Ready" : "NotReady",
                       json_string_or(condition, "reason", ""), json_string_or(condition, "message", ""));
        describe_field("Status", text);
    }
    describe_path("Version", node, "status.nodeInfo.kubeletVersion");
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

void describe_node(struct kubectl *k, const cJSON *node)
{
    node_roles(node);
    node_readiness(node);
    describe_block("Addresses", json_at(node, "status.addresses"), 2);
    describe_block("Taints", json_at(node, "spec.taints"), 2);
    describe_field("Unschedulable", json_bool(node, "spec.unschedulable", false) ? "true" : "false");
    describe_path("PodCIDR", node, "spec.podCIDR");
    const char *name = json_string_or(node, "metadata.name", "");
    auto_free char *lease_path =
        client_path("leases.coordination.k8s.io", "v1", "kube-node-lease", name, NULL);
    auto_json lease = kubectl_request(k, "GET", lease_path, NULL, NULL, NULL, NULL);
    describe_path("Last heartbeat", lease, "spec.renewTime");
    describe_path("Policies", lease, "metadata.annotations['minik8s.io/policies']");
    describe_conditions(node);
    describe_block("Capacity", json_at(node, "status.capacity"), 2);
    describe_block("Allocatable", json_at(node, "status.allocatable"), 2);
    describe_block("System Info", json_at(node, "status.nodeInfo"), 2);
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
