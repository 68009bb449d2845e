/*
 * pod: the worker's memory of one pod: what the API wants of it, what it refers to, names and paths that
 * follow from that. Acting on it is pod_worker.c; what the runtime says is pod_observe.c. Invariant: a struct
 * pod lives while an asynchronous call holds a reference; once the agent let go, node is NULL.
 */
#include <arpa/inet.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node_internal.h"

#define EPHEMERAL_MAX 16 /* as the schema says */

int64_t node_now(const struct node *node)
{
    return loop_now_ms(node->loop);
}

int64_t node_wall(const struct node *node)
{
    return clock_wall_ns(loop_clock(node->loop));
}

static void on_wake(void *arg)
{
    pod_look(arg);
}

static void on_usage(void *arg)
{
    pod_usage_measure(arg);
}

static void on_renewal(void *arg)
{
    struct pod *pod = arg;
    if (pod->phase || json_at(pod->object, "metadata.deletionTimestamp"))
        return;
    pod_tokens_ready(pod);
}

static void on_status_retry(void *arg)
{
    pod_status_report(arg);
}

struct pod *pod_new(struct node *node, const char *uid, const char *namespace, const char *name)
{
    struct pod *pod = NEW(struct pod);
    pod->node = node;
    pod->refs = 1;
    pod->uid = mem_strdup(uid);
    pod->namespace = mem_strdup(namespace ? namespace : "");
    pod->name = mem_strdup(name ? name : "");
    pod->references = cJSON_CreateObject();
    pod->conditions = cJSON_CreateArray();
    pod->wake = loop_timer_new(node->loop, on_wake, pod);
    pod->usage = loop_timer_new(node->loop, on_usage, pod);
    pod->tokens = cJSON_CreateObject();
    pod->files = node_lane_new(node->loop, node->options.file_pool);
    pod->renewal = loop_timer_new(node->loop, on_renewal, pod);
    pod->status_retry = loop_timer_new(node->loop, on_status_retry, pod);
    map_set(&node->pods, uid, pod);
    return pod;
}

static void container_fini(struct container *c)
{
    pod_probes_end(c);
    pod_ended_fini(&c->last);
    free(c->name);
    free(c->id);
    free(c->ready_id);
    free(c->image_id);
    free(c->hash);
    free(c->error);
    free(c->message);
    free(c->waiting_reason);
    free(c->waiting_message);
}

static void pod_free(struct pod *pod)
{
    for (size_t i = 0; i < pod->n_containers; i++)
        container_fini(&pod->containers[i]);
    free(pod->containers);
    for (size_t i = 0; i < pod->n_old; i++)
        free(pod->old[i]);
    free(pod->old);
    cJSON_Delete(pod->object);
    cJSON_Delete(pod->references);
    cJSON_Delete(pod->conditions);
    cJSON_Delete(pod->status_sent);
    free(pod->uid);
    free(pod->namespace);
    free(pod->name);
    free(pod->phase);
    free(pod->end_reason);
    free(pod->end_message);
    free(pod->sandbox_id);
    free(pod->sandbox_problem);
    free(pod->volumes_problem);
    free(pod->token_problem);
    cJSON_Delete(pod->tokens);
    free(pod->host_ports_problem);
    free(pod);
}

void pod_unref(struct pod *pod)
{
    if (--pod->refs == 0)
        pod_free(pod);
}

void pod_close(struct pod *pod)
{
    if (!pod->node)
        return;
    for (size_t i = 0; i < pod->n_containers; i++)
        pod_probes_end(&pod->containers[i]);
    loop_timer_free(pod->wake);
    loop_timer_free(pod->usage);
    loop_timer_free(pod->renewal);
    loop_timer_free(pod->status_retry);
    pod->node = NULL;
    node_lane_close(pod->files);
    pod_unref(pod);
}

/* ---- what is wanted */

static const struct {
    const char *path;
    enum plan_kind kind;
} lists[] = {{"spec.initContainers", PLAN_INIT},
             {"spec.containers", PLAN_MAIN},
             {"spec.ephemeralContainers", PLAN_EPHEMERAL}};

static enum plan_kind kind_of(const cJSON *spec, enum plan_kind list)
{
    if (list != PLAN_INIT)
        return list;
    return str_eq(json_string(spec, "restartPolicy"), "Always") ? PLAN_SIDECAR : PLAN_INIT;
}

static char *image_hash(const cJSON *spec)
{
    const char *image = json_string_or(spec, "image", "");
    return mem_printf("%016llx", str_hash(image, strlen(image)));
}

static void add_container(struct pod *pod, const cJSON *spec, enum plan_kind list)
{
    struct container *c = &pod->containers[pod->n_containers];
    *c = (struct container){.pod = pod, .index = pod->n_containers++, .spec = spec};
    c->name = mem_strdup(json_string_or(spec, "name", ""));
    c->hash = image_hash(spec);
    c->plan.kind = kind_of(spec, list);
    c->plan.has_pre_stop = json_at(spec, "lifecycle.preStop") != NULL;
}

/* Calls under way hold pointers to containers: there is room for all that may still come. */
static void add_containers(struct pod *pod)
{
    size_t count = 0;
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        count += (size_t)cJSON_GetArraySize(json_at(pod->object, lists[i].path));
    pod->containers = mem_array(count + EPHEMERAL_MAX, sizeof(*pod->containers));
    pod->containers_room = count + EPHEMERAL_MAX;
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        json_each (spec, json_at(pod->object, lists[i].path))
            add_container(pod, spec, lists[i].kind);
}

/* Containers never go from a pod, their images may change, ephemeral ones may come. */
static void refresh_containers(struct pod *pod)
{
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        json_each (spec, json_at(pod->object, lists[i].path)) {
            struct container *c = pod_container(pod, json_string_or(spec, "name", ""));
            if (!c && lists[i].kind == PLAN_EPHEMERAL && pod->n_containers < pod->containers_room)
                add_container(pod, spec, PLAN_EPHEMERAL);
            if (!c)
                continue;
            c->spec = spec;
            auto_free char *hash = image_hash(spec);
            if (str_eq(hash, c->hash))
                continue;
            free(c->hash);
            c->hash = steal(&hash);
            c->plan.image_ready = false;
            c->plan.retry_at = 0;
            c->failures = c->crashes = 0;
            if (c->plan.exists && c->plan.kind != PLAN_INIT)
                c->plan.failed = true;
        }
    }
}

/* After a start of the agent: what the last status said about containers that still run stays true. */
static void adopt_status(struct pod *pod)
{
    const cJSON *status = json_get(pod->object, "status");
    const char *phase = json_string(status, "phase"), *start = json_string(status, "startTime");
    if (!pod->phase && (str_eq(phase, "Succeeded") || str_eq(phase, "Failed")))
        pod->phase = mem_strdup(phase);
    if (pod->phase && !pod->end_reason) {
        pod->end_reason = mem_strdup(json_string(status, "reason"));
        pod->end_message = mem_strdup(json_string(status, "message"));
    }
    if (!pod->start_ns && start)
        time_parse(start, &pod->start_ns, NULL);
    if (cJSON_GetArraySize(pod->conditions) == 0 && cJSON_IsArray(json_get(status, "conditions"))) {
        cJSON_Delete(pod->conditions);
        pod->conditions = json_copy(json_get(status, "conditions"));
    }
}

/* A deletion, or another one with a shorter grace period: both count for what is stopping already. */
static void take_deletion(struct pod *pod, const cJSON *before)
{
    if (json_at(pod->object, "metadata.deletionTimestamp") &&
        !json_at(before, "metadata.deletionTimestamp")) {
        pod->drain_until = 0; /* set by the next look */
        pod_probes_pause(pod);
    }
    int64_t had = json_int(before, "metadata.deletionGracePeriodSeconds", -1),
            grace = json_int(pod->object, "metadata.deletionGracePeriodSeconds", -1);
    if (grace >= 0 && (had < 0 || grace < had))
        pod_stop_sooner(pod, grace * 1000);
}

void pod_set_object(struct pod *pod, cJSON *object, uint64_t revision)
{
    bool first = !pod->object;
    cJSON *before = pod->object;
    pod->object = object;
    pod->revision = revision;
    if (first) {
        for (size_t i = 0; i < pod->n_old; i++)
            free(pod->old[i]);
        pod->n_old = 0;
        add_containers(pod);
    } else {
        refresh_containers(pod);
    }
    adopt_status(pod);
    if (before &&
        (!json_equal(json_at(before, "metadata.labels"), json_at(object, "metadata.labels")) ||
         !json_equal(json_at(before, "metadata.annotations"), json_at(object, "metadata.annotations"))))
        pod->volumes_stale = true;
    take_deletion(pod, before);
    cJSON_Delete(pod->status_sent);
    pod->status_sent = json_copy(json_get(object, "status"));
    cJSON_Delete(before);
    pod_collect_references(pod);
    node_disk_save(pod);
    pod_look(pod);
}

void pod_set_gone(struct pod *pod)
{
    if (pod->gone)
        return;
    pod->gone = true;
    pod_look(pod);
}

bool pod_host_network(const struct pod *pod)
{
    return json_bool(pod->object, "spec.hostNetwork", false);
}

struct container *pod_container(struct pod *pod, const char *name)
{
    for (size_t i = 0; i < pod->n_containers; i++)
        if (str_eq(pod->containers[i].name, name))
            return &pod->containers[i];
    return NULL;
}

void pod_add_old(struct pod *pod, const char *container_name)
{
    for (size_t i = 0; i < pod->n_old; i++)
        if (str_eq(pod->old[i], container_name))
            return;
    pod->old = mem_resize(pod->old, pod->n_old + 1, sizeof(*pod->old));
    pod->old[pod->n_old++] = mem_strdup(container_name);
}

/* ---- what it refers to */

struct reference_walk {
    struct pod *pod;
    bool (*visit)(struct reference_walk *walk, const char *resource, const char *name);
    const char *resource, *name;
    bool changed;
};

static bool visit_name(struct reference_walk *walk, const char *resource, const cJSON *source,
                       const char *key)
{
    const char *name = json_string(source, key);
    return name && walk->visit(walk, resource, name);
}

static bool visit_environment(struct reference_walk *walk, const cJSON *container)
{
    json_each (variable, json_get(container, "env")) {
        const cJSON *from = json_get(variable, "valueFrom");
        if (visit_name(walk, "configmaps", json_get(from, "configMapKeyRef"), "name") ||
            visit_name(walk, "secrets", json_get(from, "secretKeyRef"), "name"))
            return true;
    }
    json_each (source, json_get(container, "envFrom")) {
        if (visit_name(walk, "configmaps", json_get(source, "configMapRef"), "name") ||
            visit_name(walk, "secrets", json_get(source, "secretRef"), "name"))
            return true;
    }
    return false;
}

static bool visit_source(struct reference_walk *walk, const cJSON *source)
{
    return visit_name(walk, "configmaps", json_get(source, "configMap"), "name") ||
           visit_name(walk, "secrets", json_get(source, "secret"), "secretName") ||
           visit_name(walk, "secrets", json_get(source, "secret"), "name");
}

static bool visit_claim(struct reference_walk *walk, const cJSON *volume)
{
    auto_free char *name = pod_claim_name(walk->pod, volume);
    return name && walk->visit(walk, "persistentvolumeclaims", name);
}

/* Until visit says true. */
static bool walk_references(struct reference_walk *walk)
{
    const cJSON *spec = json_get(walk->pod->object, "spec");
    json_each (volume, json_get(spec, "volumes")) {
        if (visit_source(walk, volume) || visit_claim(walk, volume))
            return true;
        json_each (source, json_at(volume, "projected.sources"))
            if (visit_source(walk, source))
                return true;
    }
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        json_each (container, json_at(walk->pod->object, lists[i].path))
            if (visit_environment(walk, container))
                return true;
    json_each (secret, json_get(spec, "imagePullSecrets"))
        if (visit_name(walk, "secrets", secret, "name"))
            return true;
    return false;
}

static bool is_the_one(struct reference_walk *walk, const char *resource, const char *name)
{
    return str_eq(resource, walk->resource) && str_eq(name, walk->name);
}

bool pod_refers_to(const struct pod *pod, const char *resource, const char *name)
{
    struct reference_walk walk = {
        .pod = (struct pod *)pod, .visit = is_the_one, .resource = resource, .name = name};
    return walk_references(&walk);
}

static bool collect(struct reference_walk *walk, const char *resource, const char *name)
{
    struct pod *pod = walk->pod;
    auto_free char *key = mem_printf("%s/%s", pod->namespace, name),
                   *own = mem_printf("%s/%s", resource, name);
    const struct cache_item *item = cache_get(pod->node->cache, resource, key);
    if (!item)
        return false; /* what was seen before stays good: the server may be away */
    const cJSON *known = json_get(pod->references, own);
    auto_free char *revision = mem_printf("%llu", (unsigned long long)item->revision);
    if (known && str_eq(json_string(known, "metadata.resourceVersion"), revision))
        return false;
    cJSON *object = json_parse_trusted(item->bytes->data, item->bytes->len);
    if (!object)
        return false;
    json_set_string(json_ensure_object(object, "metadata"), "resourceVersion", revision);
    json_remove(json_get(object, "metadata"), "managedFields");
    json_set(pod->references, own, object);
    walk->changed = true;
    return false;
}

bool pod_collect_references(struct pod *pod)
{
    struct reference_walk walk = {.pod = pod, .visit = collect};
    walk_references(&walk);
    return walk.changed;
}

/* ---- names ---- */

char *pod_container_name(const struct pod *pod, const char *container, unsigned attempt)
{
    return mem_printf("m8_%s_%s_%s_%s_%u", container ? container : "POD", pod->name, pod->namespace, pod->uid,
                      attempt);
}

char *pod_directory(const struct pod *pod)
{
    return mem_printf("%s/volumes/%s", pod->node->options.directory, pod->uid);
}

char *pod_log_path(const struct pod *pod, const char *container, unsigned attempt)
{
    const char *directory = pod->node->options.directory;
    if (!container)
        return mem_printf("%s/logs/%s_%s_%s", directory, pod->namespace, pod->name, pod->uid);
    return mem_printf("%s/logs/%s_%s_%s/%s/%u.log", directory, pod->namespace, pod->name, pod->uid, container,
                      attempt);
}

const char *pod_ip(const struct pod *pod, char text[INET_ADDRSTRLEN])
{
    if (pod_host_network(pod))
        return pod->node->options.internal_ip;
    if (!pod->address.s_addr)
        return NULL;
    return inet_ntop(AF_INET, &pod->address, text, INET_ADDRSTRLEN);
}

void pod_event(struct pod *pod, const struct container *container, const char *type, const char *reason,
               const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    auto_str message = {0};
    str_vaddf(&message, format, arguments);
    va_end(arguments);
    if (!pod->object || !pod->node->recorder)
        return;
    auto_json involved = cJSON_CreateObject();
    json_set_string(involved, "apiVersion", "v1");
    json_set_string(involved, "kind", "Pod");
    json_set_string(involved, "namespace", pod->namespace);
    json_set_string(involved, "name", pod->name);
    json_set_string(involved, "uid", pod->uid);
    if (container) {
        auto_free char *path = mem_printf("spec.%s{%s}",
                                          container->plan.kind == PLAN_MAIN        ? "containers"
                                          : container->plan.kind == PLAN_EPHEMERAL ? "ephemeralContainers"
                                                                                   : "initContainers",
                                          container->name);
        json_set_string(involved, "fieldPath", path);
    }
    recorder_event(pod->node->recorder, involved, type, reason, "%s", str_c(&message));
}
