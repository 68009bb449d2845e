/*
 * schema_hooks: defaults that depend on other fields, as Kubernetes computes them. Each hook runs after the
 * plain defaults of its own object and before those of its children; it is idempotent and refuses nothing.
 */
#include <string.h>

#include "schema/schema_private.h"

#define MAX_RESOURCES 100

static void set_if_absent(cJSON *object, const char *key, cJSON *value)
{
    if (json_get(object, key))
        cJSON_Delete(value);
    else
        json_set(object, key, value);
}

/* The tag of an image reference: after the last ':' behind the last '/'; a digest has none but is not
 * "latest". */
static bool image_is_latest(const char *image)
{
    if (strchr(image, '@'))
        return false;
    const char *slash = strrchr(image, '/');
    const char *colon = strchr(slash ? slash : image, ':');
    return !colon || strcmp(colon, ":latest") == 0;
}

static void hook_container(cJSON *container)
{
    const char *image = json_string_or(container, "image", "");
    set_if_absent(container, "imagePullPolicy",
                  cJSON_CreateString(image_is_latest(image) ? "Always" : "IfNotPresent"));
}

/* What is limited and not requested is requested in the same amount. */
static void hook_resources(cJSON *resources)
{
    const cJSON *limits = json_get(resources, "limits");
    if (!limits || !limits->child || cJSON_GetArraySize(limits) > MAX_RESOURCES) /* validation refuses more */
        return;
    cJSON *requests = json_ensure_object(resources, "requests");
    json_each (limit, limits)
        set_if_absent(requests, limit->string, json_copy(limit));
}

static void host_ports(const cJSON *containers)
{
    json_each (container, containers) {
        json_each (port, json_get(container, "ports")) {
            if (cJSON_IsObject(port) && json_int(port, "hostPort", 0) == 0 && json_get(port, "containerPort"))
                json_set_int(port, "hostPort", json_int(port, "containerPort", 0));
        }
    }
}

static void hook_pod_spec(cJSON *spec)
{
    const char *account = json_string(spec, "serviceAccountName"); /* "default" only for pods: see hook_pod */
    if (!account && (account = json_string(spec, "serviceAccount")))
        json_set_string(spec, "serviceAccountName", account);
    else if (account)
        set_if_absent(spec, "serviceAccount", cJSON_CreateString(account));
    if (json_bool(spec, "hostNetwork", false)) {
        host_ports(json_get(spec, "containers"));
        host_ports(json_get(spec, "initContainers"));
    }
}

/* A pod acts as an account; a template in a workload names none unless its author did. */
static void hook_pod(cJSON *pod)
{
    cJSON *spec = json_get(pod, "spec");
    if (cJSON_IsObject(spec) && !json_get(spec, "serviceAccount"))
        set_if_absent(spec, "serviceAccountName", cJSON_CreateString("default"));
}

static void hook_volume(cJSON *volume)
{
    if (volume->child && !volume->child->next && str_eq(volume->child->string, "name"))
        json_set(volume, "emptyDir", cJSON_CreateObject());
}

static void hook_http_get(cJSON *action)
{
    set_if_absent(action, "path", cJSON_CreateString("/"));
    set_if_absent(action, "scheme", cJSON_CreateString("HTTP"));
}

static void hook_service_port(cJSON *port)
{
    const cJSON *target = json_get(port, "targetPort"), *number = json_get(port, "port");
    if (number && (!target || (cJSON_IsNumber(target) && target->valuedouble == 0)))
        json_set(port, "targetPort", json_copy(number));
}

static void hook_service_spec(cJSON *spec)
{
    const char *type = json_string_or(spec, "type", "ClusterIP");
    if (str_eq(type, "ExternalName"))
        return;
    set_if_absent(spec, "internalTrafficPolicy", cJSON_CreateString("Cluster"));
    if (str_eq(type, "NodePort") || str_eq(type, "LoadBalancer"))
        set_if_absent(spec, "externalTrafficPolicy", cJSON_CreateString("Cluster"));
    if (str_eq(json_string(spec, "sessionAffinity"), "ClientIP")) {
        cJSON *client = json_ensure_object(json_ensure_object(spec, "sessionAffinityConfig"), "clientIP");
        set_if_absent(client, "timeoutSeconds", cJSON_CreateNumber(10800));
    }
}

static void hook_deployment_strategy(cJSON *strategy)
{
    if (!str_eq(json_string(strategy, "type"), "RollingUpdate"))
        return;
    cJSON *rolling = json_ensure_object(strategy, "rollingUpdate");
    set_if_absent(rolling, "maxUnavailable", cJSON_CreateString("25%"));
    set_if_absent(rolling, "maxSurge", cJSON_CreateString("25%"));
}

static void hook_daemon_set_strategy(cJSON *strategy)
{
    if (!str_eq(json_string(strategy, "type"), "RollingUpdate"))
        return;
    cJSON *rolling = json_ensure_object(strategy, "rollingUpdate");
    set_if_absent(rolling, "maxUnavailable", cJSON_CreateNumber(1));
    set_if_absent(rolling, "maxSurge", cJSON_CreateNumber(0));
}

static void hook_stateful_set_strategy(cJSON *strategy)
{
    if (str_eq(json_string(strategy, "type"), "RollingUpdate"))
        set_if_absent(json_ensure_object(strategy, "rollingUpdate"), "partition", cJSON_CreateNumber(0));
}

static void hook_claim_retention(cJSON *policy)
{
    set_if_absent(policy, "whenDeleted", cJSON_CreateString("Retain"));
    set_if_absent(policy, "whenScaled", cJSON_CreateString("Retain"));
}

/* Without both numbers one pod has to succeed; with parallelism alone the Job is a work queue. */
static void hook_job_spec(cJSON *spec)
{
    if (!json_get(spec, "completions") && !json_get(spec, "parallelism"))
        json_set_int(spec, "completions", 1);
    set_if_absent(spec, "parallelism", cJSON_CreateNumber(1));
    set_if_absent(spec, "backoffLimit",
                  cJSON_CreateNumber(json_get(spec, "backoffLimitPerIndex") ? INT32_MAX : 6));
    set_if_absent(spec, "podReplacementPolicy",
                  cJSON_CreateString(json_get(spec, "podFailurePolicy") ? "Failed" : "TerminatingOrFailed"));
}

/* ReplicaSets and friends take the template's labels when they have none. */
static void hook_labels_from_template(cJSON *object)
{
    const cJSON *labels = json_at(object, "spec.template.metadata.labels");
    if (labels && labels->child && !json_at(object, "metadata.labels"))
        json_set(json_ensure_object(object, "metadata"), "labels", json_copy(labels));
}

/* Its pods are those with the template's labels, unless it says otherwise. */
static void hook_replication_controller(cJSON *object)
{
    const cJSON *labels = json_at(object, "spec.template.metadata.labels");
    const cJSON *selector = json_at(object, "spec.selector");
    hook_labels_from_template(object);
    if (labels && labels->child && !(selector && selector->child))
        json_set(json_ensure_object(object, "spec"), "selector", json_copy(labels));
}

static void hook_namespace(cJSON *object)
{
    const char *name = json_string(object, "metadata.name");
    if (!name)
        return;
    cJSON *labels = json_ensure_object(json_ensure_object(object, "metadata"), "labels");
    json_set_string(labels, "kubernetes.io/metadata.name", name);
    cJSON *spec = json_ensure_object(object, "spec");
    if (!json_at(object, "metadata.deletionTimestamp") && !json_get(spec, "finalizers"))
        json_push_string(json_ensure_array(spec, "finalizers"), "kubernetes");
}

void schema_secret_strings(cJSON *secret)
{
    cJSON *plain = json_get(secret, "stringData");
    if (!plain)
        return;
    cJSON *data = json_ensure_object(secret, "data");
    auto_json_keys keys; /* a Secret may have very many: no linear search per key */
    json_keys_init(&keys, data, (size_t)cJSON_GetArraySize(plain));
    json_each (item, plain) {
        if (!cJSON_IsString(item))
            continue;
        auto_free char *text = str_base64(item->valuestring, strlen(item->valuestring));
        json_keys_set(&keys, item->string, cJSON_CreateString(text));
    }
    json_remove(secret, "stringData");
}

static void hook_subject(cJSON *subject)
{
    if (!str_eq(json_string(subject, "kind"), "ServiceAccount"))
        set_if_absent(subject, "apiGroup", cJSON_CreateString("rbac.authorization.k8s.io"));
}

/* Events from small clients: the times that readers sort by are never absent where one of them is known. */
static void hook_event(cJSON *event)
{
    const char *last = json_string(event, "lastTimestamp");
    if (last)
        set_if_absent(event, "firstTimestamp", cJSON_CreateString(last));
}

static void fill_from(cJSON *item, const char *field, const char *source)
{
    const cJSON *amounts = json_get(item, source);
    if (!amounts || cJSON_GetArraySize(amounts) > MAX_RESOURCES) /* validation refuses more */
        return;
    json_each (amount, amounts)
        set_if_absent(json_ensure_object(item, field), amount->string, json_copy(amount));
}

/* What a container may have at most is what it gets, and what it is limited to is what it asks for. */
static void hook_limit_range_item(cJSON *item)
{
    if (!str_eq(json_string(item, "type"), "Container"))
        return;
    fill_from(item, "default", "max");
    fill_from(item, "defaultRequest", "default");
    fill_from(item, "defaultRequest", "min");
}

static const struct {
    const char *name;
    schema_default_hook *hook;
} hooks[] = {
    {"container", hook_container},
    {"resources", hook_resources},
    {"podSpec", hook_pod_spec},
    {"pod", hook_pod},
    {"volume", hook_volume},
    {"httpGet", hook_http_get},
    {"servicePort", hook_service_port},
    {"serviceSpec", hook_service_spec},
    {"deploymentStrategy", hook_deployment_strategy},
    {"daemonSetStrategy", hook_daemon_set_strategy},
    {"statefulSetStrategy", hook_stateful_set_strategy},
    {"claimRetention", hook_claim_retention},
    {"jobSpec", hook_job_spec},
    {"labelsFromTemplate", hook_labels_from_template},
    {"replicationController", hook_replication_controller},
    {"namespace", hook_namespace},
    {"secret", schema_secret_strings},
    {"subject", hook_subject},
    {"event", hook_event},
    {"limitRangeItem", hook_limit_range_item},
};

schema_default_hook *schema_hook_named(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(hooks); i++) {
        if (strcmp(hooks[i].name, name) == 0)
            return hooks[i].hook;
    }
    return NULL;
}
