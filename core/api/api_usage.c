/*
 * How much an object takes of what a ResourceQuota counts. Pure functions of the object. Source: Kubernetes'
 * quota evaluators: a pod that has ended takes nothing but its place among the objects (count/pods), nor does
 * one that should have ended long ago (its node is lost and nobody can confirm it).
 */
#include <string.h>

#include "api/api_usage.h"
#include "base/quantity.h"

#define CLAIM_OF_CLASS ".storageclass.storage.k8s.io/"

/* ---- amounts ---- */

void amounts_fini(struct amounts *amounts)
{
    for (size_t i = 0; i < amounts->count; i++)
        free(amounts->items[i].name);
    free(amounts->items);
    *amounts = (struct amounts){0};
}

static struct amount *find(const struct amounts *amounts, const char *name)
{
    for (size_t i = 0; i < amounts->count; i++)
        if (strcmp(amounts->items[i].name, name) == 0)
            return &amounts->items[i];
    return NULL;
}

const struct amount *amounts_find(const struct amounts *amounts, const char *name)
{
    return find(amounts, name);
}

static struct amount *ensure(struct amounts *amounts, const char *name)
{
    struct amount *amount = find(amounts, name);
    if (amount)
        return amount;
    amounts->items = mem_resize(amounts->items, amounts->count + 1, sizeof(*amounts->items));
    amount = &amounts->items[amounts->count++];
    *amount = (struct amount){.name = mem_strdup(name)};
    return amount;
}

/* Absurd requests must not wrap into small ones. */
static int64_t plus(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

void amounts_add(struct amounts *amounts, const char *name, int64_t value, bool binary)
{
    struct amount *amount = ensure(amounts, name);
    amount->value = plus(amount->value, value);
    amount->binary |= binary;
}

static void add_all(struct amounts *amounts, const struct amounts *more)
{
    for (size_t i = 0; i < more->count; i++)
        amounts_add(amounts, more->items[i].name, more->items[i].value, more->items[i].binary);
}

static void raise_to(struct amounts *amounts, const struct amounts *least)
{
    for (size_t i = 0; i < least->count; i++) {
        struct amount *amount = ensure(amounts, least->items[i].name);
        amount->binary |= least->items[i].binary;
        if (amount->value < least->items[i].value)
            amount->value = least->items[i].value;
    }
}

static bool in_thousandths(const char *name)
{
    return str_eq(name, "cpu") || str_eq(name, "requests.cpu") || str_eq(name, "limits.cpu");
}

bool amount_read(const char *name, const char *text, int64_t *value)
{
    return text && (in_thousandths(name) ? quantity_milli(text, value, NULL)
                                         : quantity_value(text, value, NULL)) == 0;
}

char *amount_print(const char *name, int64_t value, bool binary)
{
    if (in_thousandths(name))
        return quantity_print_milli(value);
    if (binary)
        return quantity_print_bytes(value);
    return value > INT64_MAX / 1000 ? mem_printf("%lld", (long long)value)
                                    : quantity_print_milli(value * 1000);
}

static bool is_binary(const char *text)
{
    size_t len = text ? strlen(text) : 0;
    return len && text[len - 1] == 'i';
}

static void add_map(struct amounts *amounts, const cJSON *map)
{
    json_each (entry, map) {
        int64_t value = 0;
        const char *text = cJSON_GetStringValue(entry);
        if (amount_read(entry->string, text, &value))
            amounts_add(amounts, entry->string, value, is_binary(text));
    }
}

void amounts_of_pod(struct amounts *amounts, const cJSON *spec, const char *field)
{
    auto_amounts sidecars = {0}, peak = {0};
    json_each (container, json_get(spec, "initContainers")) {
        auto_amounts now = {0};
        add_all(&now, &sidecars);
        const cJSON *map = json_get(json_get(container, "resources"), field);
        add_map(&now, map);
        raise_to(&peak, &now);
        if (str_eq(json_string(container, "restartPolicy"), "Always"))
            add_map(&sidecars, map);
    }
    add_all(amounts, &sidecars);
    json_each (container, json_get(spec, "containers"))
        add_map(amounts, json_get(json_get(container, "resources"), field));
    raise_to(amounts, &peak);
    json_each (entry, json_get(spec, "overhead")) {
        int64_t value = 0;
        const char *text = cJSON_GetStringValue(entry);
        bool counts = str_eq(field, "requests") || find(amounts, entry->string);
        if (counts && amount_read(entry->string, text, &value))
            amounts_add(amounts, entry->string, value, is_binary(text));
    }
}

/* ---- pods ---- */

static const struct {
    const char *name;
    enum usage_scope scope;
} scope_names[] = {
    {"Terminating", SCOPE_TERMINATING},      {"NotTerminating", SCOPE_NOT_TERMINATING},
    {"BestEffort", SCOPE_BEST_EFFORT},       {"NotBestEffort", SCOPE_NOT_BEST_EFFORT},
    {"PriorityClass", SCOPE_PRIORITY_CLASS}, {"CrossNamespacePodAffinity", SCOPE_CROSS_NAMESPACE}};

unsigned usage_scope_named(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(scope_names); i++)
        if (str_eq(scope_names[i].name, name))
            return scope_names[i].scope;
    return 0;
}

static bool crosses(const cJSON *term)
{
    return json_at(term, "namespaces[0]") || json_get(term, "namespaceSelector");
}

static bool crosses_namespaces(const cJSON *spec)
{
    static const char *const kinds[] = {"affinity.podAffinity", "affinity.podAntiAffinity"};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        const cJSON *affinity = json_at(spec, kinds[i]);
        json_each (term, json_get(affinity, "requiredDuringSchedulingIgnoredDuringExecution"))
            if (crosses(term))
                return true;
        json_each (weighted, json_get(affinity, "preferredDuringSchedulingIgnoredDuringExecution"))
            if (crosses(json_get(weighted, "podAffinityTerm")))
                return true;
    }
    return false;
}

static void add_scopes(struct usage *usage, const cJSON *pod)
{
    const cJSON *spec = json_get(pod, "spec");
    bool ends = json_int(spec, "activeDeadlineSeconds", -1) >= 0;
    bool best_effort = str_eq(json_string(pod, "status.qosClass"), "BestEffort");
    usage->pod = true;
    usage->class = mem_strdup(json_string(spec, "priorityClassName"));
    usage->scopes = (ends ? SCOPE_TERMINATING : SCOPE_NOT_TERMINATING) |
                    (best_effort ? SCOPE_BEST_EFFORT : SCOPE_NOT_BEST_EFFORT) |
                    (str_empty(usage->class) ? 0 : SCOPE_PRIORITY_CLASS) |
                    (crosses_namespaces(spec) ? SCOPE_CROSS_NAMESPACE : 0);
}

static int64_t gone_at(const cJSON *pod)
{
    int64_t at = 0;
    const char *text = json_string(pod, "metadata.deletionTimestamp");
    if (!text || time_parse(text, &at, NULL) < 0)
        return 0;
    return at + json_int(pod, "metadata.deletionGracePeriodSeconds", 0) * 1000000000;
}

static bool is_basic(const char *name)
{
    return str_eq(name, "cpu") || str_eq(name, "memory") || str_eq(name, "ephemeral-storage");
}

static void add_pod(struct usage *usage, const cJSON *pod)
{
    const char *phase = json_string(pod, "status.phase");
    add_scopes(usage, pod);
    if (str_eq(phase, "Succeeded") || str_eq(phase, "Failed"))
        return;
    usage->gone_ns = gone_at(pod);
    auto_amounts requests = {0}, limits = {0};
    amounts_of_pod(&requests, json_get(pod, "spec"), "requests");
    amounts_of_pod(&limits, json_get(pod, "spec"), "limits");
    amounts_add(&usage->amounts, "pods", 1, false);
    for (size_t i = 0; i < requests.count; i++) {
        const struct amount *request = &requests.items[i];
        auto_free char *full = mem_printf("requests.%s", request->name);
        amounts_add(&usage->amounts, full, request->value, request->binary);
        if (is_basic(request->name) || str_starts(request->name, "hugepages-"))
            amounts_add(&usage->amounts, request->name, request->value, request->binary);
    }
    for (size_t i = 0; i < limits.count; i++) {
        const struct amount *limit = &limits.items[i];
        auto_free char *full = mem_printf("limits.%s", limit->name);
        if (is_basic(limit->name))
            amounts_add(&usage->amounts, full, limit->value, limit->binary);
    }
}

/* ---- other kinds ---- */

static void add_service(struct usage *usage, const cJSON *service)
{
    const char *type = json_string_or(service, "spec.type", "ClusterIP");
    bool balancer = str_eq(type, "LoadBalancer");
    bool without = balancer && !json_bool(service, "spec.allocateLoadBalancerNodePorts", true);
    int64_t ports = 0;
    if (balancer || str_eq(type, "NodePort"))
        json_each (port, json_at(service, "spec.ports"))
            ports += !without || json_int(port, "nodePort", 0) > 0;
    amounts_add(&usage->amounts, "services", 1, false);
    amounts_add(&usage->amounts, "services.nodeports", ports, false);
    amounts_add(&usage->amounts, "services.loadbalancers", balancer, false);
}

static void add_claim(struct usage *usage, const cJSON *claim)
{
    static const char *const names[] = {"persistentvolumeclaims", "requests.storage"};
    const char *class = json_string(claim, "spec.storageClassName");
    const char *text = json_string(claim, "spec.resources.requests.storage");
    int64_t size = 0;
    amount_read("requests.storage", text, &size);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        auto_free char *of_class = mem_printf("%s" CLAIM_OF_CLASS "%s", class ? class : "", names[i]);
        amounts_add(&usage->amounts, names[i], i ? size : 1, i && is_binary(text));
        if (!str_empty(class))
            amounts_add(&usage->amounts, of_class, i ? size : 1, i && is_binary(text));
    }
}

static bool has_short_name(const char *resource)
{
    static const char *const names[] = {"configmaps", "secrets", "resourcequotas", "replicationcontrollers"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_eq(names[i], resource))
            return true;
    return false;
}

struct usage *usage_of(const char *resource, const cJSON *object)
{
    struct usage *usage = NEW(struct usage);
    auto_free char *count = mem_printf("count/%s", resource);
    amounts_add(&usage->amounts, count, 1, false);
    if (str_eq(resource, "pods"))
        add_pod(usage, object);
    else if (str_eq(resource, "services"))
        add_service(usage, object);
    else if (str_eq(resource, "persistentvolumeclaims"))
        add_claim(usage, object);
    else if (has_short_name(resource))
        amounts_add(&usage->amounts, resource, 1, false);
    return usage;
}

void usage_end(struct usage *usage)
{
    for (size_t i = 0; i < usage->amounts.count; i++)
        if (!str_starts(usage->amounts.items[i].name, "count/"))
            usage->amounts.items[i].value = 0;
    usage->gone_ns = 0;
}

void usage_free(struct usage *usage)
{
    if (!usage)
        return;
    amounts_fini(&usage->amounts);
    free(usage->class);
    free(usage);
}

const char *usage_resource(const char *name)
{
    if (str_starts(name, "count/"))
        return name + strlen("count/");
    if (str_eq(name, "services") || str_starts(name, "services."))
        return "services";
    if (str_eq(name, "persistentvolumeclaims") || str_eq(name, "requests.storage") ||
        strstr(name, CLAIM_OF_CLASS))
        return "persistentvolumeclaims";
    return has_short_name(name) ? name : "pods";
}
