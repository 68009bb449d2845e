/*
 * script_placement_view: what policies see of pods and nodes: flat, only what can matter for placing, numbers
 * instead of quantities (cpu in thousandths, the rest in units).
 *
 * Invariant: everything in a pod's view is part of the class key, so a policy cannot see more than the memo
 * distinguishes.
 */
#include <string.h>

#include "base/quantity.h"
#include "script/script_placement_private.h"

int view_resource(struct placement *placement, const char *name)
{
    for (size_t i = 0; i < placement->n_resources; i++)
        if (str_eq(placement->resources[i], name))
            return (int)i;
    if (placement->n_resources == RESOURCES_MAX) {
        log_warn("script", "resource %s is not counted: more than %d names", name, RESOURCES_MAX);
        return -1;
    }
    placement->resources[placement->n_resources] = mem_strdup(name);
    return (int)placement->n_resources++;
}

static int64_t quantity_of(const char *name, const cJSON *value)
{
    int64_t amount = 0;
    if (cJSON_IsString(value)) {
        if (str_eq(name, "cpu"))
            quantity_milli(value->valuestring, &amount, NULL);
        else
            quantity_value(value->valuestring, &amount, NULL);
    } else if (cJSON_IsNumber(value)) {
        amount = (int64_t)(value->valuedouble * (str_eq(name, "cpu") ? 1000 : 1));
    }
    return amount;
}

static void add_amounts(struct placement *placement, struct amounts *sum, const cJSON *resources)
{
    json_each (item, resources) {
        int at = view_resource(placement, item->string);
        if (at >= 0)
            sum->of[at] += quantity_of(item->string, item);
    }
}

static void raise_to(struct amounts *amounts, const struct amounts *least)
{
    for (int i = 0; i < RESOURCES_MAX; i++)
        if (amounts->of[i] < least->of[i])
            amounts->of[i] = least->of[i];
}

/* Containers together; an init container runs alone beside the sidecars that began before it. */
static void sum_requests(struct placement *placement, const cJSON *spec, struct amounts *requests)
{
    struct amounts sidecars = {0}, peak = {0};
    json_each (container, json_get(spec, "initContainers")) {
        struct amounts now = sidecars;
        add_amounts(placement, &now, json_at(container, "resources.requests"));
        if (str_eq(json_string(container, "restartPolicy"), "Always"))
            sidecars = now;
        raise_to(&peak, &now);
    }
    *requests = sidecars;
    json_each (container, json_get(spec, "containers"))
        add_amounts(placement, requests, json_at(container, "resources.requests"));
    raise_to(requests, &peak);
    add_amounts(placement, requests, json_get(spec, "overhead"));
    requests->of[view_resource(placement, "pods")] = 1;
}

static void add_copy(cJSON *view, const char *field, const cJSON *value)
{
    if (value && !cJSON_IsNull(value) && (value->child || !(cJSON_IsArray(value) || cJSON_IsObject(value))))
        json_set(view, field, json_copy(value));
}

static void add_numbers(const struct placement *placement, cJSON *view, const char *field,
                        const struct amounts *amounts)
{
    cJSON *object = json_set(view, field, cJSON_CreateObject());
    for (size_t i = 0; i < placement->n_resources; i++)
        if (amounts->of[i])
            json_set(object, placement->resources[i], cJSON_CreateNumber((double)amounts->of[i]));
}

/* Labels that name the single pod would make every pod a class of its own. */
static void add_labels(cJSON *view, const cJSON *labels)
{
    static const char *const single[] = {"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index",
                                         "batch.kubernetes.io/job-completion-index"};
    cJSON *copy = json_set(view, "labels", labels ? json_copy(labels) : cJSON_CreateObject());
    for (size_t i = 0; i < COUNT_OF(single); i++)
        json_remove(copy, single[i]);
}

static void add_owner(cJSON *view, const cJSON *metadata)
{
    json_each (owner, json_get(metadata, "ownerReferences")) {
        if (!json_bool(owner, "controller", false))
            continue;
        json_set_string(view, "owner", json_string(owner, "uid"));
        json_set_string(view, "owner_kind", json_string(owner, "kind"));
    }
}

/* "TCP/80": at every address of the node. One address only: "TCP/80@ADDRESS", and "TCP/80@" for those who
 * want every address. */
static void add_port(cJSON *ports, const cJSON *port)
{
    const char *address = json_string_or(port, "hostIP", "");
    auto_free char *text = mem_printf("%s/%lld", json_string_or(port, "protocol", "TCP"),
                                      (long long)json_int(port, "hostPort", 0));
    if (str_empty(address) || str_eq(address, "0.0.0.0")) {
        json_push_string(ports, text);
        return;
    }
    auto_free char *some = mem_printf("%s@", text), *one = mem_printf("%s@%s", text, address);
    json_push_string(ports, some);
    json_push_string(ports, one);
}

static void add_ports(cJSON *view, const cJSON *spec)
{
    json_each (container, json_get(spec, "containers"))
        json_each (port, json_get(container, "ports"))
            if (json_int(port, "hostPort", 0))
                add_port(json_ensure_array(view, "host_ports"), port);
}

cJSON *view_of_pod(struct placement *placement, const cJSON *pod, struct amounts *requests)
{
    const cJSON *metadata = json_get(pod, "metadata"), *spec = json_get(pod, "spec");
    cJSON *view = cJSON_CreateObject();
    json_set_string(view, "namespace", json_string(metadata, "namespace"));
    add_labels(view, json_get(metadata, "labels"));
    add_owner(view, metadata);
    sum_requests(placement, spec, requests);
    add_numbers(placement, view, "requests", requests);
    add_copy(view, "node_selector", json_get(spec, "nodeSelector"));
    add_copy(view, "affinity", json_get(spec, "affinity"));
    add_copy(view, "tolerations", json_get(spec, "tolerations"));
    add_copy(view, "topology_spread", json_get(spec, "topologySpreadConstraints"));
    add_ports(view, spec);
    json_set(view, "priority", cJSON_CreateNumber((double)json_int(spec, "priority", 0)));
    return view;
}

cJSON *view_of_node(struct placement *placement, const cJSON *node, struct amounts *allocatable)
{
    cJSON *view = cJSON_CreateObject();
    const cJSON *labels = json_at(node, "metadata.labels");
    const char *ready = "Unknown";
    json_set_string(view, "name", json_string(node, "metadata.name"));
    json_set(view, "labels", labels ? json_copy(labels) : cJSON_CreateObject());
    json_set_bool(view, "unschedulable", json_bool(node, "spec.unschedulable", false));
    json_each (condition, json_at(node, "status.conditions")) {
        if (str_eq(json_string(condition, "type"), "Ready"))
            ready = json_string_or(condition, "status", "Unknown");
    }
    json_set_bool(view, "ready", str_eq(ready, "True"));
    add_copy(view, "taints", json_at(node, "spec.taints"));
    const cJSON *amounts = json_at(node, "status.allocatable");
    add_amounts(placement, allocatable, amounts ? amounts : json_at(node, "status.capacity"));
    return view;
}

/* Rounded to twentieths of what the node has, so that small movements change nothing. */
void view_add_usage(const cJSON *metrics, const struct amounts *allocatable, cJSON *view)
{
    static const char *const names[] = {"cpu", "memory"}; /* in the order of view_resource */
    cJSON *usage = NULL;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const cJSON *amount = json_get(json_get(metrics, "usage"), names[i]);
        double twentieth = (double)allocatable->of[i] / 20;
        if (!amount || twentieth <= 0)
            continue;
        usage = usage ? usage : json_set(view, "usage", cJSON_CreateObject());
        double steps = (double)(int64_t)((double)quantity_of(names[i], amount) / twentieth + 0.5);
        json_set(usage, names[i], cJSON_CreateNumber((double)(int64_t)(steps * twentieth)));
    }
}

/* ---- Lua ---- */

static void push_amounts(const struct placement *placement, lua_State *L, const char *field,
                         const struct amounts *amounts)
{
    lua_createtable(L, 0, (int)placement->n_resources);
    for (size_t i = 0; i < placement->n_resources; i++) {
        lua_pushnumber(L, (lua_Number)amounts->of[i]);
        lua_setfield(L, -2, placement->resources[i]);
    }
    lua_setfield(L, -2, field);
}

static void freeze_and_keep(lua_State *L, int *reference)
{
    base_freeze(L, -1);
    lua_remove(L, -2);
    lua_pushvalue(L, -1);
    if (*reference == LUA_NOREF)
        *reference = luaL_ref(L, LUA_REGISTRYINDEX);
    else
        lua_rawseti(L, LUA_REGISTRYINDEX, *reference);
}

void view_push_node(struct placement *placement, struct node_slot *slot)
{
    struct sandbox *sandbox = &placement->policies->sandbox;
    lua_State *L = sandbox->L;
    if (slot->view_generation == sandbox->generation && slot->view_revision == slot->revision) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, slot->view_ref);
        return;
    }
    if (slot->view_generation != sandbox->generation)
        slot->view_ref = LUA_NOREF;
    value_push(L, slot->view);
    push_amounts(placement, L, "allocatable", &slot->allocatable);
    push_amounts(placement, L, "requested", &slot->requested);
    lua_pushnumber(L, (lua_Number)slot->turn);
    lua_setfield(L, -2, "turn");
    if (slot->used_ports) {
        value_push(L, slot->used_ports);
        lua_setfield(L, -2, "used_ports");
    }
    freeze_and_keep(L, &slot->view_ref);
    slot->view_generation = sandbox->generation;
    slot->view_revision = slot->revision;
}

void view_push_class(struct placement *placement, struct pod_class *class)
{
    struct sandbox *sandbox = &placement->policies->sandbox;
    lua_State *L = sandbox->L;
    if (class->view_generation == sandbox->generation) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, class->view_ref);
        return;
    }
    class->view_ref = LUA_NOREF;
    value_push(L, class->view);
    freeze_and_keep(L, &class->view_ref);
    class->view_generation = sandbox->generation;
}
