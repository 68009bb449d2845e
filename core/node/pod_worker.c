/*
 * pod_worker: looks at a pod, asks pod_plan what to do, begins that, and looks again when something changed.
 * The only place that turns the worker's memory into the plan's view; it decides nothing itself. Invariant:
 * what is begun is marked busy before the call and unmarked in its end, so no action runs twice at a time.
 */
#include <string.h>

#include "base/log.h"
#include "node/node_internal.h"

#define DRAIN_MS 10000 /* longer than it takes to find a node dead, on a slow disk too */
#define DEFAULT_GRACE_S 30

struct pod_call *pod_call_new(struct pod *pod, enum plan_action_type type, size_t container)
{
    struct pod_call *call = NEW(struct pod_call);
    *call = (struct pod_call){.pod = pod, .type = type, .container = container};
    pod->refs++;
    return call;
}

struct pod *pod_call_end(struct pod_call *call)
{
    struct pod *pod = call->pod;
    free(call);
    bool alive = pod->node != NULL;
    pod_unref(pod);
    return alive ? pod : NULL; /* alive: the agent's own reference is left */
}

static enum plan_restart restart_policy(const struct pod *pod)
{
    const char *policy = json_string(pod->object, "spec.restartPolicy");
    return str_eq(policy, "Never") ? PLAN_NEVER : str_eq(policy, "OnFailure") ? PLAN_ON_FAILURE : PLAN_ALWAYS;
}

static int64_t grace_ms(const struct pod *pod)
{
    int64_t seconds = json_int(pod->object, "metadata.deletionGracePeriodSeconds", -1);
    if (seconds < 0)
        seconds = json_int(pod->object, "spec.terminationGracePeriodSeconds", DEFAULT_GRACE_S);
    return seconds * 1000;
}

/* activeDeadlineSeconds counts from status.startTime, by the wall clock, as that was given by it. */
static int64_t deadline_at(const struct pod *pod)
{
    int64_t seconds = json_int(pod->object, "spec.activeDeadlineSeconds", 0);
    if (seconds <= 0 || !pod->start_ns)
        return 0;
    int64_t age_ms = (node_wall(pod->node) - pod->start_ns) / 1000000;
    int64_t at = node_now(pod->node) + seconds * 1000 - age_ms;
    return at > 0 ? at : 1;
}

/* There may be only one of its name: after a time without power another node may have it. All others begin
 * from the disk, without a server. */
static bool has_identity(const struct pod *pod)
{
    json_each (owner, json_at(pod->object, "metadata.ownerReferences"))
        if (json_bool(owner, "controller", false) && str_eq(json_string(owner, "kind"), "StatefulSet"))
            return true;
    return false;
}

void pod_describe(const struct pod *pod, struct plan_pod *view, struct plan_container *containers)
{
    const struct node *node = pod->node;
    *view = (struct plan_pod){
        .now = node_now(node),
        .restart = restart_policy(pod),
        .unknown = pod->unknown || (!pod->object && !pod->gone),
        .unconfirmed = !node->synced && has_identity(pod),
        .host_network = pod_host_network(pod),
        .network_ready = node->net_ready,
        .deleting = json_at(pod->object, "metadata.deletionTimestamp") != NULL,
        .gone = pod->gone,
        .terminal = pod->phase || pod->end_reason,
        .deadline_at = deadline_at(pod),
        .deleted = pod->deleted,
        .drained = pod->drained,
        .drain_until = pod->drain_until,
        .grace_ms = grace_ms(pod),
        .sandbox_busy = pod->sandbox_busy,
        .sandbox_exists = pod->sandbox_exists,
        .attached = pod->attached,
        .sandbox_state = pod->sandbox_state,
        .sandbox_retry_at = pod->sandbox_retry_at,
        .volumes_busy = pod->volumes_busy,
        .volumes_made = pod->volumes_made,
        .volumes_left = pod->volumes_left,
        .volumes_retry_at = pod->volumes_retry_at,
        .old_busy = pod->old_busy,
        .n_old = pod->n_old,
        .api_busy = pod->api_busy,
        .api_retry_at = pod->api_retry_at,
        .containers = containers,
        .n_containers = pod->n_containers,
    };
    for (size_t i = 0; i < pod->n_containers; i++)
        containers[i] = pod->containers[i].plan;
    if (pod->n_containers && !view->unknown && pod_plan_outcome(view) != PLAN_OPEN)
        view->terminal = true;
}

static void begin(struct pod *pod, const struct plan_action *action)
{
    log_debug("node", "pod %s/%s: %s %s", pod->namespace, pod->name, plan_action_name(action->type),
              action->type >= PLAN_IMAGE ? pod->containers[action->container].name : "");
    switch (action->type) {
    case PLAN_SANDBOX_CREATE:
        pod_tokens_ready(pod); /* they come while the sandbox is made */
        pod_sandbox_action(pod, action->type);
        break;
    case PLAN_SANDBOX_START:
    case PLAN_SANDBOX_STOP:
    case PLAN_SANDBOX_REMOVE:
    case PLAN_ATTACH:
    case PLAN_DETACH:
        pod_sandbox_action(pod, action->type);
        break;
    case PLAN_VOLUMES_MAKE:
        pod_volumes_make(pod);
        break;
    case PLAN_VOLUMES_REMOVE:
        pod_volumes_remove(pod);
        break;
    case PLAN_REMOVE_OLD:
        pod_remove_old(pod);
        break;
    case PLAN_DELETE_OBJECT:
        pod_delete_object(pod);
        break;
    case PLAN_FORGET:
        break; /* by the caller: the pod ends with it */
    case PLAN_IMAGE:
    case PLAN_CREATE:
    case PLAN_START:
    case PLAN_POST_START:
        pod_container_action(pod, action->type, action->container);
        break;
    case PLAN_PRE_STOP:
    case PLAN_SIGNAL:
    case PLAN_KILL:
    case PLAN_RETIRE:
    case PLAN_REMOVE:
        pod_stop_action(pod, action->type, action->container);
        break;
    }
}

static void forget(struct pod *pod)
{
    struct node *node = pod->node;
    node_disk_remove(pod);
    node_services_pod(node->services, pod);
    if (pod->address.s_addr && !pod->address_left && node->ipam)
        ipam_release(node->ipam, pod->address);
    map_take(&node->pods, pod->uid);
    pod_close(pod);
    node_check_left(node);
}

/* No node sends it anything any more: it stands in no slice, and all have followed. */
static bool is_left_alone(const struct pod *pod)
{
    const struct node *node = pod->node;
    return node->synced && !node_slices_hold(node, pod) &&
           (pod->left_slices_at == 0 || node->drain_revision >= pod->left_slices_at);
}

/* Deletion was seen: from now on it waits until no node sends it traffic, but not for long. */
static void watch_drain(struct pod *pod)
{
    struct node *node = pod->node;
    if (pod->drained || !json_at(pod->object, "metadata.deletionTimestamp"))
        return;
    if (!pod->drain_until)
        pod->drain_until = node_now(node) + DRAIN_MS;
    pod->drained = is_left_alone(pod);
}

/* Succeeded or Failed: its address is for others as soon as nothing has it any more. */
static void leave_address(struct pod *pod)
{
    bool up = pod->sandbox_exists && pod->sandbox_state == RUNTIME_RUNNING;
    if (!pod->phase || !pod->address.s_addr || pod->address_left || !pod->node->ipam)
        return;
    if (pod->attached || up || pod->sandbox_busy || !is_left_alone(pod))
        return;
    ipam_release(pod->node->ipam, pod->address);
    pod->address_left = true;
}

void pod_fail(struct pod *pod, const char *type, const char *reason, const char *message)
{
    if (pod->phase || pod->end_reason)
        return;
    pod->end_reason = mem_strdup(reason);
    pod->end_message = mem_strdup(message);
    pod_event(pod, NULL, type, reason, "%s", message);
    pod_probes_pause(pod);
    pod_look(pod);
}

static void decide_outcome(struct pod *pod, const struct plan_pod *view)
{
    if (pod->phase || view->unknown || view->n_containers == 0)
        return;
    enum plan_outcome outcome = pod_plan_outcome(view);
    if (outcome == PLAN_OPEN && view->deadline_at && view->deadline_at <= view->now && !view->deleting)
        pod_fail(pod, "Normal", "DeadlineExceeded",
                 "Pod was active on the node longer than the specified deadline");
    if ((outcome == PLAN_OPEN && !pod->end_reason) || !pod_plan_quiet(view))
        return; /* sidecars have their time too */
    pod->phase = mem_strdup(outcome == PLAN_SUCCEEDED && !pod->end_reason ? "Succeeded" : "Failed");
    if (str_eq(pod->end_reason, "Evicted"))
        pod_usage_empty(pod);
    node_services_pod(pod->node->services, pod);
}

/* Now, or when the last try has become long enough ago. */
static void refresh_volumes(struct pod *pod, int64_t *wake)
{
    if (pod->volumes_retry_at <= node_now(pod->node))
        pod_volumes_make(pod);
    else if (!*wake || pod->volumes_retry_at < *wake)
        *wake = pod->volumes_retry_at;
}

static void look(struct pod *pod)
{
    struct node *node = pod->node;
    if (!node->listed)
        return;
    watch_drain(pod);
    auto_free struct plan_container *containers = mem_array(pod->n_containers + 1, sizeof(*containers));
    auto_free struct plan_action *actions = mem_array(PLAN_MAX(pod->n_containers), sizeof(*actions));
    struct plan_pod view;
    pod_describe(pod, &view, containers);
    decide_outcome(pod, &view);
    view.terminal |= pod->phase || pod->end_reason;
    if (!view.terminal && !view.deleting)
        pod->stop_by = 0; /* it goes on after all */
    leave_address(pod);
    int64_t wake;
    size_t count = pod_plan(&view, actions, &wake);
    for (size_t i = 0; i < count; i++) {
        if (actions[i].type == PLAN_FORGET) {
            forget(pod);
            return;
        }
    }
    for (size_t i = 0; i < count; i++)
        begin(pod, &actions[i]);
    if (pod->volumes_stale && pod->volumes_made && !pod->volumes_busy && !view.deleting && !view.gone &&
        !view.unknown)
        refresh_volumes(pod, &wake);
    if (wake)
        loop_timer_start_at(pod->wake, wake);
    else
        loop_timer_stop(pod->wake);
    if (!view.unknown)
        pod_status_report(pod);
    node_disk_save(pod);
}

static void on_look(void *arg)
{
    struct pod_call *call = arg;
    call->pod->look_posted = false;
    struct pod *pod = pod_call_end(call);
    if (pod)
        look(pod);
}

void pod_look(struct pod *pod)
{
    if (!pod->node || pod->look_posted)
        return;
    pod->look_posted = true;
    loop_post(pod->node->loop, on_look, pod_call_new(pod, PLAN_FORGET, 0));
}
