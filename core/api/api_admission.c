/*
 * Rules of single kinds that need more than the object: addresses, the store, the clock. One function per
 * rule, one line in a table per kind. What can be said by the kind's own data (defaults, field checks) is
 * core/schema's.
 */
#include <inttypes.h>
#include <string.h>

#include "api/api_internal.h"
#include "base/quantity.h"

/* ---- before defaults: every create and change ---- */

void admission_normalize(const struct op *op, cJSON *object)
{
    if (str_eq(op->info->resource, "secrets"))
        schema_secret_strings(object);
    json_remove(object_meta(object), "selfLink");
}

/* ---- create ---- */

static int service_create(struct op *op, cJSON *service, struct err **err)
{
    return ranges_service(op->api->ranges, service, NULL, &op->granted, err);
}

static int node_create(struct op *op, cJSON *node, struct err **err)
{
    return ranges_node(op->api->ranges, node, &op->granted, err);
}

static int namespace_create(struct op *op, cJSON *namespace, struct err **err UNUSED)
{
    cJSON *labels = json_ensure_object(object_meta(namespace), "labels");
    json_set_string(labels, "kubernetes.io/metadata.name", op->name);
    cJSON *finalizers = json_set(json_ensure_object(namespace, "spec"), "finalizers", cJSON_CreateArray());
    json_push_string(finalizers, "kubernetes");
    json_set_string(json_ensure_object(namespace, "status"), "phase", "Active");
    return 0;
}

struct qos {
    bool any, equal; /* something is asked for; every limit is given and equals its request */
};

static void add_qos(struct qos *qos, const cJSON *containers)
{
    static const char *const names[] = {"cpu", "memory"};
    json_each (container, containers) {
        const cJSON *resources = json_get(container, "resources");
        const cJSON *requests = json_get(resources, "requests"), *limits = json_get(resources, "limits");
        for (size_t i = 0; i < COUNT_OF(names); i++) {
            const char *request = json_string(requests, names[i]), *limit = json_string(limits, names[i]);
            int64_t asked = 0, allowed = 0;
            if (request)
                quantity_milli(request, &asked, NULL);
            if (limit)
                quantity_milli(limit, &allowed, NULL);
            if (asked || allowed)
                qos->any = true;
            if (!allowed || (request && asked != allowed))
                qos->equal = false;
        }
    }
}

static const char *qos_class(const cJSON *pod)
{
    struct qos qos = {.equal = true};
    add_qos(&qos, json_at(pod, "spec.containers"));
    add_qos(&qos, json_at(pod, "spec.initContainers"));
    return !qos.any ? "BestEffort" : qos.equal ? "Guaranteed" : "Burstable";
}

#define CLASSES "priorityclasses.scheduling.k8s.io"
#define SLICES "endpointslices.discovery.k8s.io"

/* The class that is marked as default, or NULL; except: a name that does not count. */
static cJSON *default_class(const struct op *op, const char *except)
{
    struct store *store = op->api->store;
    auto_free char *prefix = store_key_prefix(CLASSES, NULL);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    cJSON *found = NULL;
    if (store->ops->list(store, &request, &list, NULL) < 0)
        return NULL;
    for (size_t i = 0; i < list.count && !found; i++) {
        if (!strstr(list.objects[i].bytes->data, "\"globalDefault\":true")) /* most clusters: no parse */
            continue;
        auto_json class = json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len);
        if (json_bool(class, "globalDefault", false) && !str_eq(json_string(class, "metadata.name"), except))
            found = steal(&class);
    }
    store_list_fini(&list);
    return found;
}

static int priority_class(struct op *op, cJSON *class, struct err **err)
{
    auto_json other = json_bool(class, "globalDefault", false) ? default_class(op, op->name) : NULL;
    if (!other)
        return 0;
    return err_set(
        err, ERR_FORBIDDEN,
        "priorityclasses.scheduling.k8s.io \"%s\" is forbidden: PriorityClass %s is already marked as "
        "default. Only one default can exist",
        op->name, json_string_or(other, "metadata.name", ""));
}

static cJSON *read_class(const struct op *op, const char *name)
{
    struct store *store = op->api->store;
    struct store_object object = {0};
    if (str_empty(name))
        return default_class(op, NULL);
    auto_free char *key = store_key(CLASSES, NULL, name);
    if (store->ops->get(store, key, &object, NULL) < 0)
        return NULL;
    cJSON *class = json_parse_trusted(object.bytes->data, object.bytes->len);
    store_object_fini(&object);
    return class;
}

/* spec.priority comes from the class, never from the user. */
static int pod_priority(struct op *op, cJSON *pod, struct err **err)
{
    const char *name = json_string(pod, "spec.priorityClassName");
    auto_json class = read_class(op, name);
    cJSON *spec = json_get(pod, "spec");
    const cJSON *given = json_get(spec, "priority");
    int64_t priority = json_int(class, "value", 0);
    if (!class && !str_empty(name))
        return err_set(err, ERR_FORBIDDEN,
                       "pods \"%s\" is forbidden: no PriorityClass with name %.253s was found", op->name,
                       name);
    if (given && json_int(spec, "priority", 0) != priority)
        return err_set(err, ERR_FORBIDDEN,
                       "pods \"%s\" is forbidden: the integer value of priority (%" PRId64
                       ") must not be provided in pod spec; priority admission controller computed %" PRId64
                       " from the given PriorityClass name",
                       op->name, json_int(spec, "priority", 0), priority);
    if (!class)
        return 0;
    json_set_int(spec, "priority", priority);
    json_set_string(spec, "priorityClassName", json_string(class, "metadata.name"));
    if (!json_get(spec, "preemptionPolicy"))
        json_set_string(spec, "preemptionPolicy",
                        json_string_or(class, "preemptionPolicy", "PreemptLowerPriority"));
    return 0;
}

/* As in Kubernetes the server itself says what the pod waits for. */
static void set_gated(cJSON *pod)
{
    if (!json_at(pod, "spec.schedulingGates[0]"))
        return;
    cJSON *condition =
        json_push(json_ensure_array(json_ensure_object(pod, "status"), "conditions"), cJSON_CreateObject());
    json_set_string(condition, "type", "PodScheduled");
    json_set_string(condition, "status", "False");
    json_set_string(condition, "reason", "SchedulingGated");
    json_set_string(condition, "message", "Scheduling is blocked due to non-empty scheduling gates");
}

static int pod_create(struct op *op, cJSON *pod, struct err **err)
{
    cJSON *status = json_ensure_object(pod, "status");
    json_set_string(status, "phase", "Pending");
    if (limits_admit(op, pod, err) < 0)
        return -1;
    json_set_string(status, "qosClass", qos_class(pod));
    if (account_admit(op, pod, err) < 0)
        return -1;
    set_gated(pod);
    return pod_priority(op, pod, err);
}

/* A Job finds its pods by its own uid unless the user has taken that over. */
static int job_create(struct op *op, cJSON *job, struct err **err UNUSED)
{
    cJSON *spec = json_ensure_object(job, "spec");
    if (json_bool(spec, "manualSelector", false))
        return 0;
    const char *uid = json_string(object_meta(job), "uid");
    cJSON *template = json_ensure_object(spec, "template");
    cJSON *labels = json_ensure_object(json_ensure_object(template, "metadata"), "labels");
    json_set_string(labels, "controller-uid", uid);
    json_set_string(labels, "batch.kubernetes.io/controller-uid", uid);
    json_set_string(labels, "job-name", op->name);
    json_set_string(labels, "batch.kubernetes.io/job-name", op->name);
    cJSON *selector = json_ensure_object(spec, "selector");
    json_set_string(json_ensure_object(selector, "matchLabels"), "batch.kubernetes.io/controller-uid", uid);
    return 0;
}

/* So that no deletion can come before the protection. */
static int protect(cJSON *object, const char *finalizer)
{
    cJSON *finalizers = json_ensure_array(object_meta(object), "finalizers");
    json_each (present, finalizers)
        if (cJSON_IsString(present) && str_eq(present->valuestring, finalizer))
            return 0;
    json_push_string(finalizers, finalizer);
    return 0;
}

static int claim_create(struct op *op, cJSON *claim, struct err **err)
{
    if (limits_admit(op, claim, err) < 0)
        return -1;
    return protect(claim, "kubernetes.io/pvc-protection");
}

static int volume_create(struct op *op UNUSED, cJSON *volume, struct err **err UNUSED)
{
    return protect(volume, "kubernetes.io/pv-protection");
}

static int crd_create(struct op *op, cJSON *crd, struct err **err)
{
    const struct schema_kind *taken = schema_find_resource(op->api->schema, op->name);
    if (taken && !schema_kind_info(taken)->custom)
        return err_add_cause(err, "FieldValueInvalid", "spec.names",
                             "Invalid value: \"%s\": is a kind of the server itself", op->name);
    kinds_accept(op->api, crd);
    return 0;
}

static int slice_create(struct op *op, cJSON *slice, struct err **err UNUSED)
{
    guard_endpoints(op, NULL, slice);
    return 0;
}

static int secret_create(struct op *op, cJSON *secret, struct err **err)
{
    return account_secret(op, secret, err);
}

int admission_create(struct op *op, cJSON *object, struct err **err)
{
    static const struct {
        const char *resource;
        int (*rule)(struct op *op, cJSON *object, struct err **err);
    } rules[] = {{"pods", pod_create},
                 {"services", service_create},
                 {"nodes", node_create},
                 {"namespaces", namespace_create},
                 {"secrets", secret_create},
                 {"persistentvolumeclaims", claim_create},
                 {"persistentvolumes", volume_create},
                 {CLASSES, priority_class},
                 {"jobs.batch", job_create},
                 {CRDS, crd_create},
                 {SLICES, slice_create}};
    if (grant_admit(op, NULL, object, err) < 0)
        return -1;
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        if (str_eq(op->info->resource, rules[i].resource))
            return rules[i].rule(op, object, err);
    }
    return 0;
}

/* ---- change ---- */

/* A claim may grow only if its class says so. */
static int claim_change(struct op *op, const cJSON *old, cJSON *claim, struct err **err)
{
    static const char size[] = "spec.resources.requests.storage";
    int64_t before = 0, after = 0;
    quantity_value(json_string_or(old, size, "0"), &before, NULL); /* validated before and after */
    quantity_value(json_string_or(claim, size, "0"), &after, NULL);
    if (after == before)
        return 0;
    if (limits_admit(op, claim, err) < 0)
        return -1;
    if (after < before)
        return 0;
    struct store *store = op->api->store;
    struct store_object object = {0};
    auto_free char *key =
        store_key("storageclasses.storage.k8s.io", NULL, json_string_or(claim, "spec.storageClassName", ""));
    bool grows = false;
    if (store->ops->get(store, key, &object, NULL) == 0) {
        auto_json class = json_parse_trusted(object.bytes->data, object.bytes->len);
        grows = json_bool(class, "allowVolumeExpansion", false);
        store_object_fini(&object);
    }
    if (grows)
        return 0;
    return err_set(err, ERR_FORBIDDEN,
                   "persistentvolumeclaims \"%s\" is forbidden: %s[storage]: only dynamically provisioned "
                   "claims can be resized and the storageclass that provisions them must support resize "
                   "(allowVolumeExpansion)",
                   op->name, "spec.resources.requests");
}

/* What was taken out of it comes back; a Secret whose account is gone can still be changed. */
static void secret_change(const struct op *op, cJSON *secret)
{
    auto_err cannot = NULL;
    if (!json_at(secret, "data.token") && !json_bool(secret, "immutable", false))
        account_secret(op, secret, &cannot);
}

int admission_change(struct op *op, const cJSON *old, cJSON *object, struct err **err)
{
    if (grant_admit(op, old, object, err) < 0)
        return -1;
    if (str_eq(op->info->resource, "persistentvolumeclaims"))
        return claim_change(op, old, object, err);
    if (str_eq(op->info->resource, "services")) {
        if (ranges_service(op->api->ranges, object, old, &op->granted, err) < 0)
            return -1;
        ranges_held(op->api->ranges, "services", old, object, &op->dropped);
    }
    if (str_eq(op->info->resource, CLASSES))
        return priority_class(op, object, err);
    if (str_eq(op->info->resource, CRDS))
        kinds_accept(op->api, object);
    if (str_eq(op->info->resource, SLICES))
        guard_endpoints(op, old, object);
    if (str_eq(op->info->resource, "secrets"))
        secret_change(op, object);
    return 0;
}

/* ---- delete ---- */

int admission_delete(const struct op *op, struct err **err)
{
    static const char *const kept[] = {"default", "kube-system", "kube-public"};
    if (!str_eq(op->info->resource, "namespaces"))
        return 0;
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        if (str_eq(op->name, kept[i]))
            return err_set(err, ERR_FORBIDDEN,
                           "namespaces \"%s\" is forbidden: this namespace may not be deleted", op->name);
    return 0;
}
