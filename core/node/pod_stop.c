/*
 * pod_stop: the steps that end containers and pods: preStop, SIGTERM, SIGKILL, removal, the next attempt, and
 * at last the deletion of the API's object. The deadline of SIGKILL is set by the first of them; it moves
 * once, when preStop has left the application no time after its signal.
 */
#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "node/node_internal.h"

#define KILL_AGAIN_MS 2000
#define AFTER_HOOK_MS 2000 /* at least, between the signal and SIGKILL */
#define LEAST_MS 2000      /* for each container whose turn comes when the pod's time is over */
#define RETRY_MS 1000

/* A pod that ends has one grace period for all its containers, also for the sidecars, whose turn comes last.
 */
static int64_t stop_deadline(struct pod *pod, const struct container *c)
{
    if (c->plan.stop_at)
        return c->plan.stop_at;
    struct plan_pod view;
    auto_free struct plan_container *containers = mem_array(pod->n_containers, sizeof(*containers));
    pod_describe(pod, &view, containers);
    int64_t grace = view.grace_ms;
    if (view.deleting || view.terminal) {
        int64_t least = view.now + (grace < LEAST_MS ? grace : LEAST_MS);
        if (!pod->stop_by)
            pod->stop_by = view.now + grace;
        return pod->stop_by > least ? pod->stop_by : least;
    }
    if (c->plan.failed) {
        const cJSON *probe = json_get(c->spec, c->plan.started ? "livenessProbe" : "startupProbe");
        int64_t own = json_int(probe, "terminationGracePeriodSeconds", -1);
        grace = own > 0 ? own * 1000 : grace;
    }
    return view.now + grace;
}

void pod_stop_sooner(struct pod *pod, int64_t grace_ms)
{
    int64_t at = node_now(pod->node) + grace_ms;
    if (pod->stop_by > at)
        pod->stop_by = at;
    for (size_t i = 0; i < pod->n_containers; i++) {
        struct plan_container *c = &pod->containers[i].plan;
        if (!c->killed && c->stop_at > at)
            c->stop_at = at;
    }
}

static void say_killing(struct pod *pod, struct container *c)
{
    if (pod->gone ||
        json_at(pod->object, "metadata.deletionTimestamp")) { /* it is removed when it has ended */
        auto_free char *name = pod_container_name(pod, c->name, c->attempt);
        pod->node->runtime->ops->leaving(pod->node->runtime, name);
    }
    if (!c->plan.pre_stop_begun && !c->plan.signalled && !c->plan.killed)
        pod_event(pod, c, "Normal", "Killing", "Stopping container %s", c->name);
}

static void on_pre_stop(struct pod *pod, struct container *c, const char *failure)
{
    c->plan.pre_stop_running = false;
    if (failure && c->plan.exists && c->plan.state == RUNTIME_RUNNING)
        pod_event(pod, c, "Warning", "FailedPreStopHook", "PreStopHook failed: %s", failure);
    pod_look(pod);
}

static void pre_stop(struct pod *pod, struct container *c)
{
    say_killing(pod, c);
    c->plan.stop_at = stop_deadline(pod, c);
    c->plan.pre_stop_begun = c->plan.pre_stop_running = true;
    int64_t left = c->plan.stop_at - node_now(pod->node);
    pod_hook_run(c, json_at(c->spec, "lifecycle.preStop"), left > 0 ? left : 1, on_pre_stop);
    pod_look(pod); /* the deadline holds meanwhile */
}

static void on_signalled(void *arg, struct err *err)
{
    struct pod_call *call = arg;
    size_t index = call->container;
    enum plan_action_type type = call->type;
    struct pod *pod = pod_call_end(call);
    if (!pod)
        return;
    struct container *c = &pod->containers[index];
    pod_container_idle(pod, c);
    if (err_code(err) == ERR_CANCELLED) {
        pod_look(pod);
        return;
    }
    c->plan.signalled = true;
    if (type == PLAN_KILL) {
        c->plan.killed = true;
        c->plan.stop_at = node_now(pod->node) + KILL_AGAIN_MS;
    }
    if (err) { /* most often it ended a moment ago */
        if (err_code(err) != ERR_NOT_FOUND)
            log_warn("node", "pod %s/%s: signal %s: %s", pod->namespace, pod->name, c->name,
                     err_message(err));
        auto_free char *name = pod_container_name(pod, c->name, c->attempt);
        pod_inspect(pod, name);
    }
    pod_look(pod);
}

static void send_signal(struct pod *pod, struct container *c, enum plan_action_type type)
{
    say_killing(pod, c);
    auto_free char *name = pod_container_name(pod, c->name, c->attempt);
    c->plan.stop_at = stop_deadline(pod, c);
    int64_t least = node_now(pod->node) + AFTER_HOOK_MS;
    if (type == PLAN_SIGNAL && c->plan.pre_stop_begun && c->plan.stop_at < least)
        c->plan.stop_at = least;
    if (type == PLAN_KILL && c->plan.killed)
        pod_inspect(pod, name); /* its end may have been missed */
    c->plan.busy = true;
    int ask = c->stop_signal > 0 ? c->stop_signal : SIGTERM;
    pod->node->runtime->ops->signal(pod->node->runtime, name, type == PLAN_KILL ? SIGKILL : ask, on_signalled,
                                    pod_call_new(pod, type, c->index));
}

/* ---- the next attempt */

static void remember_end(struct container *c)
{
    pod_ended_fini(&c->last);
    c->last = (struct pod_ended){.valid = true,
                                 .exit_code = c->plan.exit_code,
                                 .oom = c->oom,
                                 .started_ns = c->started_ns,
                                 .finished_ns = c->finished_ns,
                                 .id = mem_strdup(c->id),
                                 .reason = mem_strdup(c->plan.start_failed ? "StartError"
                                                      : c->oom             ? "OOMKilled"
                                                      : c->plan.exit_code  ? "Error"
                                                                           : "Completed"),
                                 .message = mem_strdup(c->error ? c->error : c->message)};
}

static void next_attempt(struct container *c)
{
    bool always = str_eq(json_string(c->spec, "imagePullPolicy"), "Always");
    c->attempt++;
    c->restarts++;
    c->ready = c->oom = false;
    c->started_ns = c->finished_ns = c->created_ns = 0;
    c->pid = 0;
    free(steal(&c->id));
    free(steal(&c->error));
    free(steal(&c->message));
    free(steal(&c->waiting_reason));
    free(steal(&c->waiting_message));
    c->plan = (struct plan_container){.kind = c->plan.kind,
                                      .has_pre_stop = c->plan.has_pre_stop,
                                      .pulling = c->plan.pulling,
                                      .image_ready = c->plan.image_ready && !always};
}

static void retire(struct pod *pod, struct container *c)
{
    if (c->attempt >= 1) { /* one previous container is kept */
        auto_free char *name = pod_container_name(pod, c->name, c->attempt - 1);
        pod_add_old(pod, name);
    }
    remember_end(c);
    next_attempt(c);
    pod_look(pod);
}

static void on_removed(void *arg, struct err *err)
{
    struct pod_call *call = arg;
    size_t index = call->container;
    struct pod *pod = pod_call_end(call);
    if (!pod)
        return;
    struct container *c = &pod->containers[index];
    c->plan.busy = false;
    if (err) {
        c->plan.remove_at = node_now(pod->node) + RETRY_MS;
        if (err_code(err) != ERR_CANCELLED)
            log_warn("node", "pod %s/%s: remove %s: %s", pod->namespace, pod->name, c->name,
                     err_message(err));
        pod_look(pod);
        return;
    }
    c->seen_in = pod->node->list_number;
    if (c->attempt >= 1) {
        auto_free char *name = pod_container_name(pod, c->name, c->attempt - 1);
        pod_add_old(pod, name);
    }
    bool ended = c->plan.state != RUNTIME_CREATED || c->plan.start_failed;
    if (ended)
        remember_end(c);
    if (ended && !pod->gone && !json_at(pod->object, "metadata.deletionTimestamp"))
        next_attempt(c);
    else
        c->plan.exists = false;
    pod_look(pod);
}

void pod_stop_action(struct pod *pod, enum plan_action_type type, size_t index)
{
    struct container *c = &pod->containers[index];
    auto_free char *name = NULL;
    switch (type) {
    case PLAN_PRE_STOP:
        pre_stop(pod, c);
        break;
    case PLAN_RETIRE:
        retire(pod, c);
        break;
    case PLAN_REMOVE:
        name = pod_container_name(pod, c->name, c->attempt);
        c->plan.busy = true;
        pod->node->runtime->ops->remove(pod->node->runtime, name, on_removed, pod_call_new(pod, type, index));
        break;
    default:
        send_signal(pod, c, type);
        break;
    }
}

/* ---- old containers, one after another */

static void on_old_removed(void *arg, struct err *err)
{
    struct pod_call *call = arg;
    auto_free char *name = call->data;
    struct pod *pod = pod_call_end(call);
    if (!pod)
        return;
    pod->old_busy = false;
    if (err) { /* again, after others */
        log_debug("node", "remove %s: %s", name, err_message(err));
        if (err_code(err) != ERR_CANCELLED)
            loop_timer_start(pod->wake, RETRY_MS);
        return;
    }
    for (size_t i = 0; i < pod->n_old; i++) {
        if (!str_eq(pod->old[i], name))
            continue;
        free(pod->old[i]);
        memmove(pod->old + i, pod->old + i + 1, (--pod->n_old - i) * sizeof(*pod->old));
        break;
    }
    pod_look(pod);
}

void pod_remove_old(struct pod *pod)
{
    struct pod_call *call = pod_call_new(pod, PLAN_REMOVE_OLD, 0);
    call->data = mem_strdup(pod->old[0]);
    pod->old_busy = true;
    pod->node->runtime->ops->remove(pod->node->runtime, pod->old[0], on_old_removed, call);
}

/* ---- the API's object */

static void on_deleted(void *arg, cJSON *result, struct err *err)
{
    struct pod *pod = pod_call_end(arg);
    cJSON_Delete(result);
    if (!pod)
        return;
    pod->api_busy = false;
    enum err_code code = err_code(err);
    if (!err || code == ERR_NOT_FOUND || code == ERR_CONFLICT) /* conflict: another pod of that name by now */
        pod->deleted = true;
    else if (code != ERR_CANCELLED)
        pod->api_retry_at = node_now(pod->node) + RETRY_MS;
    pod_look(pod);
}

void pod_delete_object(struct pod *pod)
{
    cJSON *step = cJSON_CreateObject();
    json_set_string(step, "verb", "delete");
    json_set_string(step, "resource", "pods");
    json_set_string(step, "namespace", pod->namespace);
    json_set_string(step, "name", pod->name);
    json_set_string(step, "uid", pod->uid);
    json_set_int(step, "gracePeriodSeconds", 0);
    pod->api_busy = true;
    client_batch_step(pod->node->client, step, on_deleted, pod_call_new(pod, PLAN_DELETE_OBJECT, 0));
}
