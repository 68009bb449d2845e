/*
 * node_register: the agent's Node object: made if it is absent, its status written when it differs from what
 * the API has, at once when somebody marked the node Unknown. Beats are node_heartbeat.c.
 */
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node_internal.h"

#define REGISTER_RETRY_MS 1000
#define START_MS 5000
#define STORAGE_ANNOTATION "minik8s.io/storage-folder" /* where volumes of class local-path lie */

struct ask {
    struct node_register *registration;
    bool images; /* else info */
};

struct node_register {
    struct node *node;
    cJSON *object; /* as the API has it; NULL: absent */
    cJSON *images, *runtime_info;
    bool refused; /* labels and taints of the settings: not tried again before they differ */
    bool busy, again, failed, seen; /* seen: it was there; who deletes it then wants the node to be out */
    bool images_known;
    bool certificate_said;
    bool images_changed; /* while they were being asked for: the answer may be the older one */
    int64_t began_ms;
    struct ask *asking; /* under way to the runtime; outlives us */
    struct loop_timer *timer;
};

static void run(struct node_register *r);
static void ask_runtime(struct node_register *r);

/* ---- facts of the machine */

void node_register_capacity(struct node_options *options)
{
    if (!options->system_memory_bytes)
        options->system_memory_bytes = node_memory_figure("MemTotal:");
    if (!options->system_cpu_milli)
        options->system_cpu_milli = sysconf(_SC_NPROCESSORS_ONLN) * 1000;
}

static char *first_line(const char *path)
{
    char *text = NULL;
    if (file_read(path, 65536, &text, NULL, NULL) < 0)
        return mem_strdup("");
    text[strcspn(text, "\n")] = 0;
    return text;
}

static char *os_image(void)
{
    auto_free char *text = NULL;
    if (file_read("/etc/os-release", 65536, &text, NULL, NULL) < 0)
        return mem_strdup("Linux");
    const char *line = strstr(text, "PRETTY_NAME=\"");
    line = line ? line + strlen("PRETTY_NAME=\"") : "Linux";
    return mem_strndup(line, strcspn(line, "\"\n"));
}

static const char *architecture(const char *machine)
{
    return str_eq(machine, "x86_64") ? "amd64" : str_eq(machine, "aarch64") ? "arm64" : machine;
}

cJSON *node_register_labels(const struct node_options *options)
{
    struct utsname names;
    cJSON *labels = cJSON_CreateObject();
    json_set_string(labels, "kubernetes.io/hostname", options->name);
    json_set_string(labels, "kubernetes.io/os", "linux");
    if (uname(&names) == 0)
        json_set_string(labels, "kubernetes.io/arch", architecture(names.machine));
    return labels;
}

static void add_info(const struct node_register *r, cJSON *status)
{
    struct utsname names;
    auto_free char *os = os_image(), *machine = first_line("/etc/machine-id");
    auto_free char *boot = first_line("/proc/sys/kernel/random/boot_id");
    auto_free char *runtime =
        mem_printf("podman://%s", json_string_or(r->runtime_info, "version", "unknown"));
    cJSON *info = json_ensure_object(status, "nodeInfo");
    if (uname(&names) == 0) {
        json_set_string(info, "kernelVersion", names.release);
        json_set_string(info, "architecture", architecture(names.machine));
    }
    json_set_string(info, "operatingSystem", "linux");
    json_set_string(info, "osImage", os);
    json_set_string(info, "machineID", machine);
    json_set_string(info, "systemUUID", machine);
    json_set_string(info, "bootID", boot);
    json_set_string(info, "kubeletVersion", r->node->options.version);
    json_set_string(info, "kubeProxyVersion", r->node->options.version);
    json_set_string(info, "containerRuntimeVersion", runtime);
}

/* ---- status ---- */

static const cJSON *known_condition(const struct node_register *r, const char *type)
{
    json_each (condition, json_at(r->object, "status.conditions"))
        if (str_eq(json_string(condition, "type"), type))
            return condition;
    return NULL;
}

static void add_condition(const struct node_register *r, cJSON *conditions, const char *type, bool value,
                          const char *reason, const char *message)
{
    char now[TIME_TEXT];
    const char *status = value ? "True" : "False";
    const cJSON *known = known_condition(r, type);
    bool same = str_eq(json_string(known, "status"), status);
    time_print(node_wall(r->node), now);
    cJSON *condition = json_push(conditions, cJSON_CreateObject());
    json_set_string(condition, "type", type);
    json_set_string(condition, "status", status);
    json_set_string(condition, "lastTransitionTime",
                    same ? json_string_or(known, "lastTransitionTime", now) : now);
    json_set_string(condition, "reason", reason);
    json_set_string(condition, "message", message);
}

/* An agent that was started again says nothing new before it had time to look: "not ready" would take the
 * node's pods, which run on, out of every Service. */
static bool is_starting_again(const struct node_register *r)
{
    return node_now(r->node) - r->began_ms < START_MS &&
           str_eq(json_string(known_condition(r, "Ready"), "status"), "True");
}

/* Whether the agent runs with what its file says. */
static void add_configuration(const struct node_register *r, cJSON *list)
{
    const struct node_settings *settings = &r->node->options.settings;
    if (!settings->managed)
        return;
    auto_free char *message = settings->wrong ? mem_strdup(settings->wrong)
                              : settings->restart
                                  ? mem_printf("in force after a restart of the agent: %s", settings->restart)
                                  : mem_strdup("the agent runs with what its file says");
    add_condition(r, list, "ConfigurationApplied", !settings->wrong && !settings->restart,
                  settings->wrong     ? "FileIsWrong"
                  : settings->restart ? "RestartNeeded"
                                      : "AllInForce",
                  message);
}

static void add_conditions(const struct node_register *r, cJSON *status)
{
    const struct node *node = r->node;
    unsigned pressure = atomic_load(&node->pressure);
    bool memory_low = pressure & NODE_PRESSURE_MEMORY, disk_low = pressure & NODE_PRESSURE_DISK;
    bool pids_low = pressure & NODE_PRESSURE_PIDS;
    bool ready = !node->distrust && ((node->net_ready && node->listed) || is_starting_again(r));
    auto_free char *problem = mem_printf("the network is not set up%s%s", node->net_problem ? ": " : "",
                                         node->net_problem ? node->net_problem : "");
    cJSON *list = json_ensure_array(status, "conditions");
    add_condition(r, list, "MemoryPressure", memory_low,
                  memory_low ? "NodeHasInsufficientMemory" : "NodeHasSufficientMemory",
                  memory_low ? "the node has too little free memory"
                             : "the node has sufficient memory available");
    add_condition(r, list, "DiskPressure", disk_low,
                  disk_low ? "NodeHasDiskPressure" : "NodeHasNoDiskPressure",
                  disk_low ? "the node's disk is nearly full" : "the node has no disk pressure");
    add_condition(
        r, list, "PIDPressure", pids_low, pids_low ? "NodeHasInsufficientPID" : "NodeHasSufficientPID",
        pids_low ? "the node's process numbers are nearly used up" : "the node has sufficient PID available");
    add_condition(r, list, "Ready", ready,
                  ready            ? "NodeReady"
                  : node->distrust ? "ServerWentBack"
                                   : "NodeNotReady",
                  ready                     ? "the agent is posting ready status"
                  : node->distrust          ? node->distrust
                  : !node->pod_range.prefix ? "the node has no pod range yet"
                  : !node->net_ready        ? problem
                                            : "the container runtime does not answer");
    add_configuration(r, list);
}

static cJSON *build_status(const struct node_register *r)
{
    const struct node_options *o = &r->node->options;
    cJSON *status = cJSON_CreateObject();
    cJSON *capacity = json_set(status, "capacity", node_settings_capacity(o));
    node_extensions_capacity(r->node->extensions, capacity, NULL);
    cJSON *allocatable = json_set(status, "allocatable", node_settings_allocatable(o, capacity));
    node_extensions_withhold(r->node->extensions, allocatable);
    add_conditions(r, status);
    cJSON *addresses = json_ensure_array(status, "addresses");
    const struct {
        const char *type, *address;
    } all[] = {{"InternalIP", o->internal_ip}, {"Hostname", o->name}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        cJSON *address = json_push(addresses, cJSON_CreateObject());
        json_set_string(address, "type", all[i].type);
        json_set_string(address, "address", all[i].address);
    }
    json_set_int(json_ensure_object(json_ensure_object(status, "daemonEndpoints"), "kubeletEndpoint"), "Port",
                 o->port);
    add_info(r, status);
    if (r->images)
        json_set(status, "images", json_copy(r->images));
    return status;
}

/* ---- writing ---- */

static void on_written(void *arg, cJSON *result, struct err *err)
{
    struct node_register *r = arg;
    cJSON_Delete(result);
    r->busy = false;
    if (r->node->closing)
        return;
    if (err && err_code(err) != ERR_ALREADY_EXISTS) {
        log_warn("node", "report the node: %s", err_message(err));
        r->failed = true;
        loop_timer_start(r->timer, REGISTER_RETRY_MS);
        return;
    }
    if (r->again)
        run(r);
}

/* The stream shows what became of it: then status and all else is looked at again. */
static void on_patched(void *arg, cJSON *result, struct err *err)
{
    struct node_register *r = arg;
    cJSON_Delete(result);
    r->busy = false;
    if (r->node->closing)
        return;
    if (err && err_code(err) != ERR_CONFLICT) {
        r->refused = true;
        log_warn("node", "labels and taints of the node: %s", err_message(err));
        node_event(r->node, "Warning", "ConfigurationRefused", "labels and taints of the node's file: %s",
                   err_message(err));
    }
    if (r->again || r->refused)
        run(r);
}

static cJSON *step_new(const struct node_register *r, const char *verb)
{
    cJSON *step = cJSON_CreateObject();
    json_set_string(step, "verb", verb);
    json_set_string(step, "resource", "nodes");
    json_set_string(step, "name", r->node->options.name);
    return step;
}

static cJSON *extension_labels(const struct node_register *r)
{
    cJSON *labels = cJSON_CreateObject();
    auto_json amounts = cJSON_CreateObject();
    node_extensions_capacity(r->node->extensions, amounts, labels);
    return labels;
}

static void create(struct node_register *r)
{
    const struct node_options *o = &r->node->options;
    cJSON *step = step_new(r, "create"), *object = json_ensure_object(step, "object");
    json_set_string(object, "apiVersion", "v1");
    json_set_string(object, "kind", "Node");
    cJSON *metadata = json_ensure_object(object, "metadata");
    json_set_string(metadata, "name", o->name);
    const struct node_settings *settings = &o->settings;
    cJSON *labels =
        json_set(metadata, "labels", settings->labels ? json_copy(settings->labels) : cJSON_CreateObject());
    auto_json own = node_register_labels(o);
    auto_json more = extension_labels(r);
    json_each (label, own)
        json_set(labels, label->string, json_copy(label));
    json_each (label, more)
        if (cJSON_IsString(label))
            json_set(labels, label->string, json_copy(label));
    if (o->persistent)
        json_set_string(json_ensure_object(metadata, "annotations"), STORAGE_ANNOTATION, o->persistent);
    cJSON *spec = json_ensure_object(object, "spec");
    if (settings->taints && settings->taints->child)
        json_set(spec, "taints", json_copy(settings->taints));
    json_set_string(spec, "podCIDR", settings->pod_range);
    r->busy = true;
    client_batch_step(r->node->client, step, on_written, r);
}

static cJSON *wanted_patch(const struct node_register *r)
{
    auto_json labels = node_register_labels(&r->node->options);
    auto_json more = extension_labels(r);
    cJSON *patch = node_settings_patch(&r->node->options.settings, r->object, labels, more);
    const char *storage = r->node->options.persistent;
    if (!storage || str_eq(json_string(r->object, "metadata.annotations['" STORAGE_ANNOTATION "']"), storage))
        return patch;
    if (!patch)
        patch = cJSON_CreateObject();
    cJSON *metadata = json_ensure_object(patch, "metadata");
    json_set_string(json_ensure_object(metadata, "annotations"), STORAGE_ANNOTATION, storage);
    return patch;
}

static void run(struct node_register *r)
{
    bool distrust = r->node->distrust != NULL; /* only that is said then */
    if ((!r->node->synced && !distrust) || !r->node->connected)
        return;
    if (r->busy) {
        r->again = true;
        return;
    }
    r->again = false;
    if (!r->object) {
        if (!r->seen && !distrust)
            create(r);
        return;
    }
    cJSON *patch = r->refused || distrust ? NULL : wanted_patch(r);
    if (patch) {
        cJSON *step = step_new(r, "patch");
        json_set_string(step, "resourceVersion", json_string(r->object, "metadata.resourceVersion"));
        json_set(step, "object", patch);
        r->busy = true;
        client_batch_step(r->node->client, step, on_patched, r);
        return;
    }
    cJSON *status = build_status(r);
    if (json_equal(status, json_get(r->object, "status"))) {
        cJSON_Delete(status);
        return;
    }
    cJSON *step = step_new(r, "status");
    json_set_string(step, "uid", json_string(r->object, "metadata.uid"));
    json_set(r->object, "status", json_copy(status)); /* what the API has after this write */
    json_set(json_ensure_object(step, "object"), "status", status);
    r->busy = true;
    client_batch_step(r->node->client, step, on_written, r);
}

static void on_timer(void *arg)
{
    struct node_register *r = arg;
    if (r->failed)
        json_remove(r->object, "status"); /* what the API has is not known */
    r->failed = false;
    ask_runtime(r);
    run(r);
    int64_t left_ms = r->began_ms + START_MS - node_now(r->node);
    if (left_ms > 0 && !loop_timer_running(r->timer))
        loop_timer_start(r->timer, left_ms);
}

/* ---- what the runtime says ---- */

static void take_answer(struct ask *ask, cJSON *json, const struct err *err)
{
    struct node_register *r = ask->registration;
    bool images = ask->images;
    free(ask);
    if (!r) {
        cJSON_Delete(json);
        return;
    }
    r->asking = NULL;
    cJSON **kept = images ? &r->images : &r->runtime_info;
    if (err) {
        log_debug("node", "ask the runtime: %s", err_message(err));
        loop_timer_start(r->timer, REGISTER_RETRY_MS);
        return;
    }
    cJSON_Delete(*kept);
    *kept = json;
    if (images) {
        r->images_known = !r->images_changed;
        r->images_changed = false;
    }
    ask_runtime(r);
    run(r);
}

static void on_answer(void *arg, cJSON *json, struct err *err)
{
    take_answer(arg, json, err);
}

static void ask_runtime(struct node_register *r)
{
    struct runtime *runtime = r->node->runtime;
    if (r->asking || (r->runtime_info && r->images_known))
        return;
    struct ask *ask = r->asking = NEW(struct ask);
    ask->registration = r;
    ask->images = r->runtime_info != NULL;
    if (ask->images)
        runtime->ops->images(runtime, on_answer, ask);
    else
        runtime->ops->info(runtime, on_answer, ask);
}

void node_register_synced(struct node_register *r)
{
    if (r->node->options.certificate_problem && r->object && !r->certificate_said) {
        r->certificate_said = true;
        node_event(r->node, "Warning", "CertificateNotRenewed", "%s", r->node->options.certificate_problem);
    }
    ask_runtime(r);
    run(r);
}

void node_register_changed(struct node_register *r, const struct cache_item *item)
{
    cJSON_Delete(r->object);
    r->object = item ? json_parse_trusted(item->bytes->data, item->bytes->len) : NULL;
    if (!item && !r->node->leaving) {
        log_warn("node",
                 "the Node object was deleted: this node leaves the cluster when its pods have ended");
        r->node->leaving = true;
        if (r->node->heartbeat)
            node_heartbeat_stop(r->node->heartbeat);
    }
    r->seen = true;
    node_check_left(r->node);
    const char *range = json_string(r->object, "spec.podCIDR");
    if (range)
        node_net_use(r->node, range);
    run(r);
}

void node_register_settings(struct node_register *r)
{
    r->refused = false;
    run(r);
}

const cJSON *node_register_object(const struct node_register *r)
{
    return r->object;
}

void node_register_update(struct node_register *r)
{
    ask_runtime(r);
    run(r);
}

struct node_register *node_register_new(struct node *node)
{
    struct node_register *r = NEW(struct node_register);
    r->node = node;
    r->began_ms = node_now(node);
    r->timer = loop_timer_new(node->loop, on_timer, r);
    loop_timer_start(r->timer, START_MS); /* by then it is judged as it is */
    return r;
}

void node_register_images(struct node_register *r)
{
    r->images_known = false;
    r->images_changed = r->asking && r->asking->images;
    ask_runtime(r);
}

void node_register_free(struct node_register *r)
{
    if (!r)
        return;
    if (r->asking)
        r->asking->registration = NULL;
    loop_timer_free(r->timer);
    cJSON_Delete(r->object);
    cJSON_Delete(r->images);
    cJSON_Delete(r->runtime_info);
    free(r);
}
