/*
 * pod_plan: the state machine of a pod (see pod_plan.h). Three situations: it is to run; its sandbox died and
 * everything is made anew; it is to end. Nothing is remembered between calls, so it does not matter which
 * process did the step before.
 *
 * Invariants: containers run only in a running, attached sandbox with volumes; a container is removed only
 * when nothing of it is under way; at `stop_at` SIGKILL comes whatever the hook does, or, if the hook has
 * used up the time, the signal first; the API's object goes last.
 */
#include "node/pod_plan.h"

struct plan {
    const struct plan_pod *pod;
    struct plan_action *out;
    size_t count;
    int64_t wake;
};

static void add(struct plan *plan, enum plan_action_type type, size_t container)
{
    plan->out[plan->count++] = (struct plan_action){type, container};
}

/* True when `at` has come; else remembers to look again. */
static bool is_due(struct plan *plan, int64_t at)
{
    if (at <= plan->pod->now)
        return true;
    if (!plan->wake || at < plan->wake)
        plan->wake = at;
    return false;
}

static bool is_running(const struct plan_container *c)
{
    return c->exists && c->state == RUNTIME_RUNNING;
}

static bool has_ended(const struct plan_container *c)
{
    return c->exists && (c->state == RUNTIME_EXITED || c->start_failed);
}

bool pod_plan_restarts(const struct plan_pod *pod, const struct plan_container *c)
{
    if (c->kind == PLAN_EPHEMERAL)
        return false;
    if (c->kind == PLAN_SIDECAR || c->failed)
        return c->kind == PLAN_SIDECAR || pod->restart != PLAN_NEVER;
    bool success = c->exit_code == 0 && !c->start_failed;
    if (c->kind == PLAN_INIT)
        return !success && pod->restart != PLAN_NEVER;
    return pod->restart == PLAN_ALWAYS || (pod->restart == PLAN_ON_FAILURE && !success);
}

static bool main_begun(const struct plan_pod *pod)
{
    for (size_t i = 0; i < pod->n_containers; i++)
        if (pod->containers[i].kind == PLAN_MAIN && pod->containers[i].exists)
            return true;
    return false;
}

static bool init_passed(const struct plan_container *c)
{
    if (c->kind == PLAN_SIDECAR)
        return is_running(c) && c->started && !c->hook_needed;
    return c->exists && c->state == RUNTIME_EXITED && !c->start_failed && c->exit_code == 0;
}

bool pod_plan_initialized(const struct plan_pod *pod)
{
    if (main_begun(pod))
        return true;
    for (size_t i = 0; i < pod->n_containers; i++)
        if (pod->containers[i].kind < PLAN_MAIN && !init_passed(&pod->containers[i]))
            return false;
    return true;
}

bool pod_plan_quiet(const struct plan_pod *pod)
{
    for (size_t i = 0; i < pod->n_containers; i++)
        if (is_running(&pod->containers[i]) || pod->containers[i].busy)
            return false;
    return true;
}

enum plan_outcome pod_plan_outcome(const struct plan_pod *pod)
{
    bool failed = false;
    for (size_t i = 0; i < pod->n_containers; i++) {
        const struct plan_container *c = &pod->containers[i];
        if (c->kind == PLAN_INIT && has_ended(c) && !c->busy && (c->exit_code != 0 || c->start_failed) &&
            !pod_plan_restarts(pod, c))
            return PLAN_FAILED;
        if (c->kind != PLAN_MAIN)
            continue;
        if (!has_ended(c) || c->busy || pod_plan_restarts(pod, c))
            return PLAN_OPEN;
        failed |= c->exit_code != 0 || c->start_failed;
    }
    return failed ? PLAN_FAILED : PLAN_SUCCEEDED;
}

/* ---- ending containers */

static void stop(struct plan *plan, size_t i, bool fast)
{
    const struct plan_container *c = &plan->pod->containers[i];
    if (c->busy)
        return;
    if ((fast && !c->killed) || (c->stop_at && is_due(plan, c->stop_at))) {
        /* The hook may have used up the time: the application is asked all the same. Killed again after a
         * while if its end was not seen. */
        bool asked = fast || !c->pre_stop_begun || c->signalled || c->killed;
        add(plan, asked ? PLAN_KILL : PLAN_SIGNAL, i);
        return;
    }
    if (c->pre_stop_running || c->killed)
        return;
    bool at_once = plan->pod->grace_ms == 0 && !c->stop_at;
    if (c->has_pre_stop && !c->pre_stop_begun && !at_once)
        add(plan, PLAN_PRE_STOP, i);
    else if (!c->signalled)
        add(plan, at_once ? PLAN_KILL : PLAN_SIGNAL, i);
}

/* Stops what runs: first all but the sidecars, then these from the last to the first. True: nothing runs any
 * more. */
static bool stop_all(struct plan *plan, bool fast)
{
    const struct plan_pod *pod = plan->pod;
    bool quiet = true;
    for (size_t i = 0; i < pod->n_containers; i++) {
        const struct plan_container *c = &pod->containers[i];
        if (c->kind == PLAN_SIDECAR && !fast)
            continue;
        if (is_running(c))
            stop(plan, i, fast);
        quiet &= !is_running(c) && !c->busy;
    }
    if (!quiet)
        return false;
    for (size_t i = pod->n_containers; i-- > 0;) {
        const struct plan_container *c = &pod->containers[i];
        if (!is_running(c) && !c->busy)
            continue;
        stop(plan, i, fast);
        return false;
    }
    return true;
}

/* True when no container of the pod is left in the runtime. */
static bool remove_all(struct plan *plan)
{
    const struct plan_pod *pod = plan->pod;
    bool none = true;
    for (size_t i = 0; i < pod->n_containers; i++) {
        const struct plan_container *c = &pod->containers[i];
        if (c->exists && !c->busy && is_due(plan, c->remove_at))
            add(plan, PLAN_REMOVE, i);
        none &= !c->exists && !c->busy;
    }
    if (pod->n_old && !pod->old_busy)
        add(plan, PLAN_REMOVE_OLD, 0);
    return none && !pod->n_old && !pod->old_busy;
}

static void remove_pod(struct plan *plan)
{
    const struct plan_pod *pod = plan->pod;
    if (!remove_all(plan))
        return;
    if (pod->sandbox_busy)
        return;
    if (!is_due(plan, pod->sandbox_retry_at))
        return;
    if (pod->attached) {
        add(plan, PLAN_DETACH, 0);
        return;
    }
    if (pod->sandbox_exists) {
        add(plan, PLAN_SANDBOX_REMOVE, 0);
        return;
    }
    if (pod->volumes_left || pod->volumes_busy) {
        if (!pod->volumes_busy && is_due(plan, pod->volumes_retry_at))
            add(plan, PLAN_VOLUMES_REMOVE, 0);
        return;
    }
    if (pod->gone || pod->deleted)
        add(plan, PLAN_FORGET, 0);
    else if (!pod->api_busy && is_due(plan, pod->api_retry_at))
        add(plan, PLAN_DELETE_OBJECT, 0);
}

static void plan_end(struct plan *plan)
{
    const struct plan_pod *pod = plan->pod;
    bool any = pod->attached; /* a node that still sends to the address must not reach whoever gets it next */
    for (size_t i = 0; i < pod->n_containers; i++)
        any |= is_running(&pod->containers[i]);
    /* Containers that are just being made are not waited for before the drain, but before they are stopped.
     */
    if (any && !pod->gone && !pod->drained && !is_due(plan, pod->drain_until))
        return;
    if (stop_all(plan, pod->gone))
        remove_pod(plan);
}

/* Succeeded or Failed: nothing runs, the sandbox holds no address; containers stay for their logs. */
static void plan_terminal(struct plan *plan)
{
    const struct plan_pod *pod = plan->pod;
    if (!stop_all(plan, false) || pod->sandbox_busy)
        return;
    if (!is_due(plan, pod->sandbox_retry_at))
        return;
    if (pod->attached)
        add(plan, PLAN_DETACH, 0);
    else if (pod->sandbox_exists && pod->sandbox_state == RUNTIME_RUNNING)
        add(plan, PLAN_SANDBOX_STOP, 0);
}

/* ---- running */

/* The sandbox died: what was in it has no network any more. */
static void plan_remake(struct plan *plan)
{
    const struct plan_pod *pod = plan->pod;
    if (!stop_all(plan, true) || !remove_all(plan) || pod->sandbox_busy ||
        !is_due(plan, pod->sandbox_retry_at))
        return;
    add(plan, pod->attached ? PLAN_DETACH : PLAN_SANDBOX_REMOVE, 0);
}

static bool sandbox_ready(struct plan *plan)
{
    const struct plan_pod *pod = plan->pod;
    if (pod->sandbox_busy)
        return false;
    bool running = pod->sandbox_exists && pod->sandbox_state == RUNTIME_RUNNING;
    if (running && (pod->attached || pod->host_network))
        return true;
    if (pod->unconfirmed && !running) /* after a time without power: it may run elsewhere by now */
        return false;
    if (!is_due(plan, pod->sandbox_retry_at))
        return false;
    if (!pod->host_network && !pod->network_ready)
        return false;
    if (!pod->sandbox_exists)
        add(plan, PLAN_SANDBOX_CREATE, 0);
    else if (!running)
        add(plan, PLAN_SANDBOX_START, 0);
    else
        add(plan, PLAN_ATTACH, 0);
    return false;
}

/* Brings one container forward. True: the ones after it may be looked at. */
static bool step(struct plan *plan, size_t i, bool may_create)
{
    const struct plan_pod *pod = plan->pod;
    const struct plan_container *c = &pod->containers[i];
    if (c->busy || c->pulling)
        return false;
    if (is_running(c)) {
        if (c->failed)
            stop(plan, i, false);
        else if (c->hook_needed && !c->post_start_running)
            add(plan, PLAN_POST_START, i);
        else if (c->hook_needed)
            return false;
        else
            return true;
        return false;
    }
    if (has_ended(c)) {
        if (pod_plan_restarts(pod, c) && is_due(plan, c->retry_at))
            add(plan, PLAN_RETIRE, i);
        return true;
    }
    if (!is_due(plan, c->retry_at))
        return true;
    if (!c->exists && !c->image_ready)
        add(plan, PLAN_IMAGE, i);
    else if (may_create)
        add(plan, c->exists ? PLAN_START : PLAN_CREATE, i);
    return false;
}

static void plan_containers(struct plan *plan, bool may_create)
{
    const struct plan_pod *pod = plan->pod;
    bool begun = main_begun(pod);
    for (size_t i = 0; i < pod->n_containers; i++)
        if (pod->containers[i].kind == PLAN_EPHEMERAL)
            step(plan, i, may_create);
    for (size_t i = 0; i < pod->n_containers; i++) {
        const struct plan_container *c = &pod->containers[i];
        if (c->kind >= PLAN_MAIN)
            continue;
        if (c->kind == PLAN_INIT && (begun || init_passed(c)))
            continue;
        step(plan, i, may_create);
        if (!begun && !init_passed(c))
            return;
    }
    for (size_t i = 0; i < pod->n_containers; i++)
        if (pod->containers[i].kind == PLAN_MAIN && !step(plan, i, may_create) && !pod->containers[i].exists)
            may_create = false; /* in order: the next is created when this one is */
}

static void plan_run(struct plan *plan)
{
    const struct plan_pod *pod = plan->pod;
    if (pod->sandbox_exists && pod->sandbox_state == RUNTIME_EXITED) {
        plan_remake(plan);
        return;
    }
    bool ready = sandbox_ready(plan);
    if (!pod->volumes_made && !pod->volumes_busy && (pod->host_network || pod->network_ready) &&
        is_due(plan, pod->volumes_retry_at))
        add(plan, PLAN_VOLUMES_MAKE, 0);
    if (pod->n_old && !pod->old_busy)
        add(plan, PLAN_REMOVE_OLD, 0);
    plan_containers(plan, ready && pod->volumes_made);
}

size_t pod_plan(const struct plan_pod *pod, struct plan_action *out, int64_t *wake)
{
    struct plan plan = {.pod = pod, .out = out};
    if (pod->unknown)
        ;
    else if (pod->deleting || pod->gone)
        plan_end(&plan);
    else if (pod->terminal || (pod->deadline_at && is_due(&plan, pod->deadline_at)))
        plan_terminal(&plan);
    else
        plan_run(&plan);
    *wake = plan.wake;
    return plan.count;
}

const char *plan_action_name(enum plan_action_type type)
{
    static const char *const names[] = {
        "create sandbox", "start sandbox",   "stop sandbox",   "remove sandbox", "attach network",
        "detach network", "make volumes",    "remove volumes", "remove old",     "delete object",
        "forget",         "get image",       "create",         "start",          "run postStart",
        "run preStop",    "send the signal", "kill",           "retire",         "remove"};
    return names[type];
}
