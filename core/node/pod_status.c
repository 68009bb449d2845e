/*
 * pod_status: what the agent tells the API about a pod (contract 13): conditions, one status per container,
 * phase, addresses. One write is in flight per pod, the latest wins, Succeeded and Failed stick; nothing is
 * written that the API has already. Words and rules are Kubernetes' (core/v1 PodStatus).
 */
#include <arpa/inet.h>
#include <string.h>

#include "base/log.h"
#include "base/quantity.h"
#include "node/node_internal.h"

#define STATUS_RETRY_MS 500

/* ---- quality of service */

const char *pod_qos(const cJSON *pod)
{
    bool guaranteed = true, any = false;
    const char *const lists[] = {"spec.containers", "spec.initContainers"}, *const names[] = {"cpu",
                                                                                              "memory"};
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        json_each (container, json_at(pod, lists[i])) {
            for (size_t k = 0; k < COUNT_OF(names); k++) {
                const char *limit = json_string(json_at(container, "resources.limits"), names[k]);
                const char *request = json_string(json_at(container, "resources.requests"), names[k]);
                int64_t a = 0, b = -1;
                any |= limit || request;
                if (limit)
                    quantity_milli(limit, &a, NULL);
                if (request)
                    quantity_milli(request, &b, NULL);
                guaranteed &= limit && (!request || a == b);
            }
        }
    }
    return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

/* ---- containers ---- */

static void set_time(cJSON *object, const char *key, int64_t wall_ns)
{
    char text[TIME_TEXT];
    if (!wall_ns)
        return;
    time_print(wall_ns, text);
    json_set_string(object, key, text);
}

static char *runtime_id(const char *id)
{
    return str_empty(id) ? mem_strdup("") : mem_printf("podman://%s", id);
}

static cJSON *ended_json(const struct pod_ended *ended)
{
    cJSON *state = cJSON_CreateObject(), *terminated = json_ensure_object(state, "terminated");
    auto_free char *id = runtime_id(ended->id);
    json_set_int(terminated, "exitCode", ended->exit_code);
    if (ended->exit_code > 128 && ended->exit_code < 160)
        json_set_int(terminated, "signal", ended->exit_code - 128);
    json_set_string(terminated, "reason", ended->reason);
    if (!str_empty(ended->message))
        json_set_string(terminated, "message", ended->message);
    set_time(terminated, "startedAt", ended->started_ns);
    set_time(terminated, "finishedAt", ended->finished_ns);
    json_set_string(terminated, "containerID", id);
    return state;
}

static cJSON *waiting_json(const char *reason, const char *message)
{
    cJSON *state = cJSON_CreateObject(), *waiting = json_ensure_object(state, "waiting");
    json_set_string(waiting, "reason", reason);
    if (!str_empty(message))
        json_set_string(waiting, "message", message);
    return state;
}

static struct pod_ended ended_of(const struct container *c)
{
    return (struct pod_ended){.valid = true,
                              .exit_code = c->plan.exit_code,
                              .started_ns = c->started_ns,
                              .finished_ns = c->finished_ns,
                              .id = c->id,
                              .reason = c->plan.start_failed ? "StartError"
                                        : c->oom             ? "OOMKilled"
                                        : c->plan.exit_code  ? "Error"
                                                             : "Completed",
                              .message = c->error ? c->error : c->message};
}

static bool waits_for_restart(const struct pod *pod, const struct container *c, const struct plan_pod *view)
{
    bool ended = c->plan.exists && (c->plan.state == RUNTIME_EXITED || c->plan.start_failed);
    if (c->crashes <= 1 && !c->plan.start_failed)
        return false; /* the first end in a row is shown as what it is */
    return ended && !pod->phase && !view->deleting && !view->gone && pod_plan_restarts(view, &c->plan) &&
           c->plan.retry_at > view->now;
}

static cJSON *state_json(const struct pod *pod, const struct container *c, const struct plan_pod *view)
{
    if (waits_for_restart(pod, c, view)) {
        auto_free char *message = mem_printf("back-off restarting failed container=%s pod=%s_%s(%s)", c->name,
                                             pod->name, pod->namespace, pod->uid);
        if (c->plan.start_failed && c->crashes <= 1)
            return waiting_json("RunContainerError", c->error);
        return waiting_json("CrashLoopBackOff", message);
    }
    if (c->plan.exists && (c->plan.state == RUNTIME_EXITED || c->plan.start_failed)) {
        const struct pod_ended ended = ended_of(c);
        return ended_json(&ended);
    }
    if (c->plan.exists && c->plan.state == RUNTIME_RUNNING) {
        cJSON *state = cJSON_CreateObject();
        set_time(json_ensure_object(state, "running"), "startedAt", c->started_ns);
        return state;
    }
    if (c->waiting_reason)
        return waiting_json(c->waiting_reason, c->waiting_message);
    if (view->deleting && c->last.valid)
        return ended_json(&c->last);
    bool init =
        pod->containers[0].plan.kind < PLAN_MAIN && c->plan.kind != PLAN_EPHEMERAL; /* they come first */
    return waiting_json(init ? "PodInitializing" : "ContainerCreating",
                        pod->sandbox_problem ? pod->sandbox_problem : pod->volumes_problem);
}

static cJSON *container_status(const struct pod *pod, const struct container *c, const struct plan_pod *view)
{
    cJSON *status = cJSON_CreateObject();
    auto_free char *id = runtime_id(c->id ? c->id : c->last.id);
    bool running = c->plan.exists && c->plan.state == RUNTIME_RUNNING;
    bool ready = c->plan.kind == PLAN_EPHEMERAL ? false
                 : c->plan.kind == PLAN_INIT
                     ? c->plan.exists && c->plan.state == RUNTIME_EXITED && c->plan.exit_code == 0
                     : running && c->ready;
    json_set_string(status, "name", c->name);
    json_set(status, "state", state_json(pod, c, view));
    bool waits = waits_for_restart(pod, c, view);
    const struct pod_ended ended = ended_of(c);
    json_set(status, "lastState",
             waits           ? ended_json(&ended)
             : c->last.valid ? ended_json(&c->last)
                             : cJSON_CreateObject());
    json_set_bool(status, "ready", ready);
    json_set_int(status, "restartCount", c->attempt);
    json_set_string(status, "image", json_string_or(c->spec, "image", ""));
    json_set_string(status, "imageID", c->image_id ? c->image_id : "");
    json_set_string(status, "containerID", id);
    json_set_bool(status, "started", running && c->plan.started && !c->plan.hook_needed);
    return status;
}

/* ---- conditions ---- */

static cJSON *find_condition(cJSON *conditions, const char *type)
{
    json_each (condition, conditions)
        if (str_eq(json_string(condition, "type"), type))
            return condition;
    return NULL;
}

static void set_condition(struct pod *pod, const char *type, bool value, const char *reason,
                          const char *message)
{
    cJSON *condition = find_condition(pod->conditions, type);
    const char *status = value ? "True" : "False";
    if (!condition) {
        condition = json_push(pod->conditions, cJSON_CreateObject());
        json_set_string(condition, "type", type);
    }
    if (!str_eq(json_string(condition, "status"), status)) {
        json_set_string(condition, "status", status);
        set_time(condition, "lastTransitionTime", node_wall(pod->node));
    }
    json_set_string(condition, "reason", value ? NULL : reason);
    json_set_string(condition, "message", value ? NULL : message);
}

/* Conditions of others (PodScheduled, readiness gates) are kept as the API has them. */
static void take_foreign_conditions(struct pod *pod)
{
    static const char *const own[] = {"Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers"};
    json_each (condition, json_at(pod->object, "status.conditions")) {
        const char *type = json_string_or(condition, "type", "");
        bool is_own = false;
        for (size_t i = 0; i < COUNT_OF(own); i++)
            is_own |= str_eq(type, own[i]);
        if (is_own)
            continue;
        cJSON *known = find_condition(pod->conditions, type);
        if (known)
            cJSON_Delete(cJSON_DetachItemViaPointer(pod->conditions, known));
        json_push(pod->conditions, json_copy(condition));
    }
}

static bool gates_pass(const struct pod *pod)
{
    json_each (gate, json_at(pod->object, "spec.readinessGates")) {
        const cJSON *condition = find_condition(pod->conditions, json_string_or(gate, "conditionType", ""));
        if (!str_eq(json_string(condition, "status"), "True"))
            return false;
    }
    return true;
}

static void set_conditions(struct pod *pod, const struct plan_pod *view, bool initialized)
{
    auto_str unready = {0};
    for (size_t i = 0; i < pod->n_containers; i++) {
        const struct container *c = &pod->containers[i];
        bool running = c->plan.exists && c->plan.state == RUNTIME_RUNNING;
        if ((c->plan.kind == PLAN_MAIN || c->plan.kind == PLAN_SIDECAR) &&
            !(running && c->ready && !c->plan.failed))
            str_addf(&unready, "%s%s", unready.len ? " " : "", c->name);
    }
    bool ready = unready.len == 0 && !pod->phase;
    auto_free char *message = mem_printf("containers with unready status: [%s]", str_c(&unready));
    const char *reason =
        pod->phase ? (str_eq(pod->phase, "Succeeded") ? "PodCompleted" : "PodFailed") : "ContainersNotReady";
    bool up = view->sandbox_exists && view->sandbox_state == RUNTIME_RUNNING &&
              (view->attached || view->host_network || pod->adopted);
    take_foreign_conditions(pod);
    set_condition(pod, "PodReadyToStartContainers", up, NULL, NULL);
    set_condition(pod, "Initialized", initialized, "ContainersNotInitialized",
                  "init containers have not completed");
    bool gates = gates_pass(pod);
    set_condition(pod, "Ready", ready && gates, ready ? "ReadinessGatesNotReady" : reason,
                  ready ? NULL : message);
    set_condition(pod, "ContainersReady", ready, reason, message);
}

static const char *phase_of(const struct pod *pod, const struct plan_pod *view, bool initialized)
{
    if (pod->phase)
        return pod->phase;
    if (!initialized)
        return "Pending";
    for (size_t i = 0; i < pod->n_containers; i++) {
        const struct container *c = &pod->containers[i];
        bool begun = c->plan.exists && (c->plan.state != RUNTIME_CREATED || c->plan.start_failed);
        if (c->plan.kind == PLAN_MAIN && !begun && !c->last.valid)
            return view->deleting && str_eq(json_string(pod->status_sent, "phase"), "Running") ? "Running"
                                                                                               : "Pending";
    }
    return "Running";
}

cJSON *pod_status_build(struct pod *pod)
{
    auto_free struct plan_container *containers = mem_array(pod->n_containers + 1, sizeof(*containers));
    struct plan_pod view;
    pod_describe(pod, &view, containers);
    bool initialized = pod_plan_initialized(&view) || str_eq(pod->phase, "Succeeded");
    cJSON *status = cJSON_CreateObject();
    json_set_string(status, "phase", phase_of(pod, &view, initialized));
    set_conditions(pod, &view, initialized);
    json_set(status, "conditions", json_copy(pod->conditions));
    if (pod->end_reason)
        json_set_string(status, "reason", pod->end_reason);
    if (pod->end_message)
        json_set_string(status, "message", pod->end_message);
    const char *host = pod->node->options.internal_ip;
    char text[INET_ADDRSTRLEN];
    json_set_string(status, "hostIP", host);
    json_set_string(json_push(json_ensure_array(status, "hostIPs"), cJSON_CreateObject()), "ip", host);
    const char *ip = pod->start_ns ? pod_ip(pod, text) : NULL;
    if (ip && (pod->attached || pod->phase || view.host_network || json_string(pod->status_sent, "podIP"))) {
        json_set_string(status, "podIP", ip);
        json_set_string(json_push(json_ensure_array(status, "podIPs"), cJSON_CreateObject()), "ip", ip);
    }
    set_time(status, "startTime", pod->start_ns);
    for (size_t i = 0; i < pod->n_containers; i++) {
        const struct container *c = &pod->containers[i];
        const char *list = c->plan.kind == PLAN_MAIN        ? "containerStatuses"
                           : c->plan.kind == PLAN_EPHEMERAL ? "ephemeralContainerStatuses"
                                                            : "initContainerStatuses";
        json_push(json_ensure_array(status, list), container_status(pod, c, &view));
    }
    json_set_string(status, "qosClass", pod_qos(pod->object));
    return status;
}

/* ---- writing ---- */

static void on_written(void *arg, cJSON *result, struct err *err)
{
    struct pod_call *call = arg;
    auto_json sent = call->data;
    struct pod *pod = pod_call_end(call);
    cJSON_Delete(result);
    if (!pod)
        return;
    pod->status_busy = false;
    enum err_code code = err_code(err);
    if (!err) {
        cJSON_Delete(pod->status_sent);
        pod->status_sent = steal(&sent);
    } else if (code == ERR_NOT_FOUND || code == ERR_CONFLICT || code == ERR_CANCELLED) {
        pod->status_wanted = false; /* the pod is gone or another by now: the stream will tell, or has told */
        if (code == ERR_CONFLICT && pod->revision > pod->status_revision)
            pod_status_report(pod);
        return;
    } else {
        log_debug("node", "status of pod %s/%s: %s", pod->namespace, pod->name, err_message(err));
        if (pod->node->connected)
            loop_timer_start(pod->status_retry, STATUS_RETRY_MS);
        return; /* while the server is away, its return starts the write */
    }
    if (pod->status_wanted)
        pod_status_report(pod);
}

/* It ends and nothing of it is known here: a finalizer holds the object of a pod that has ended, whose status
 * says more. */
static bool nothing_to_say(const struct pod *pod)
{
    if (!json_at(pod->object, "metadata.deletionTimestamp") || pod->sandbox_exists || pod->sandbox_busy)
        return false;
    for (size_t i = 0; i < pod->n_containers; i++) {
        const struct container *c = &pod->containers[i];
        if (c->plan.exists || c->plan.busy || c->last.valid)
            return false;
    }
    return true;
}

void pod_status_report(struct pod *pod)
{
    if (!pod->object || pod->gone || pod->unknown || !pod->node->synced || nothing_to_say(pod))
        return;
    if (pod->status_busy) {
        pod->status_wanted = true;
        return;
    }
    pod->status_wanted = false;
    cJSON *status = pod_status_build(pod);
    if (pod->status_sent && json_equal(status, pod->status_sent)) {
        cJSON_Delete(status);
        return;
    }
    cJSON *step = cJSON_CreateObject();
    json_set_string(step, "verb", "status");
    json_set_string(step, "resource", "pods");
    json_set_string(step, "namespace", pod->namespace);
    json_set_string(step, "name", pod->name);
    json_set_string(step, "uid", pod->uid);
    json_set(json_ensure_object(step, "object"), "status", json_copy(status));
    if (json_at(pod->object, "spec.readinessGates")) {
        /* Others write conditions too: theirs must not be overwritten by what was seen before. A conflict is
         * followed by the stream's newer object, and by that a new report. */
        auto_free char *revision = mem_printf("%llu", (unsigned long long)pod->revision);
        json_set_string(step, "resourceVersion", revision);
    }
    struct pod_call *call = pod_call_new(pod, PLAN_FORGET, 0);
    call->data = status;
    pod->status_busy = true;
    pod->status_revision = pod->revision;
    client_batch_step(pod->node->client, step, on_written, call);
}
