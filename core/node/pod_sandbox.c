/*
 * pod_sandbox: the steps of a pod's sandbox: its address, made, started, connected to the network, and back.
 * As in pod_actions.c each begins one call and takes its answer into the worker's memory.
 */
#include "node/node_internal.h"

static void sandbox_failed(struct pod *pod, const struct err *err, const char *what)
{
    if (err_code(err) == ERR_CANCELLED)
        return;
    pod->sandbox_retry_at = pod_retry_at(pod, ++pod->sandbox_failures);
    auto_free char *problem = mem_printf("%s: %s", what, err_message(err));
    mem_set_text(&pod->sandbox_problem, problem);
    pod_event(pod, NULL, "Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: %s", problem);
}

/* An action other than its end is done: what was told of it meanwhile counts now. */
static void sandbox_idle(struct pod *pod)
{
    pod->sandbox_busy = false;
    if (pod->sandbox_died) {
        pod->sandbox_state = RUNTIME_EXITED;
        pod->sandbox_pid = 0;
    } else if (pod->sandbox_missed) {
        node_list_containers(pod->node);
    }
    pod->sandbox_died = pod->sandbox_missed = false;
}

static void on_sandbox_done(void *arg, struct err *err)
{
    struct pod_call *call = arg;
    enum plan_action_type type = call->type;
    struct pod *pod = pod_call_end(call);
    if (!pod)
        return;
    bool ends = !err && (type == PLAN_SANDBOX_STOP || type == PLAN_SANDBOX_REMOVE);
    if (ends) /* as was wanted */
        pod->sandbox_died = pod->sandbox_missed = false;
    pod->sandbox_seen_in = pod->node->list_number;
    if (err) {
        sandbox_failed(pod, err, plan_action_name(type));
    } else if (type == PLAN_SANDBOX_CREATE) {
        pod->sandbox_exists = true;
        pod->sandbox_state = RUNTIME_CREATED;
    } else if (type == PLAN_SANDBOX_STOP) {
        pod->sandbox_state = RUNTIME_EXITED;
        pod->sandbox_pid = 0;
    } else if (type == PLAN_SANDBOX_REMOVE) {
        pod->sandbox_exists = false;
        pod->sandbox_pid = 0;
        pod->sandbox_attempt++;
        free(steal(&pod->sandbox_id));
        pod->volumes_made = false; /* the pod's own files may say something else in the next sandbox */
    }
    sandbox_idle(pod);
    pod_look(pod);
}

static void on_sandbox_started(void *arg, struct runtime_container *container, struct err *err)
{
    struct pod *pod = pod_call_end(arg);
    if (pod) {
        pod->sandbox_seen_in = pod->node->list_number;
        if (err) {
            sandbox_failed(pod, err, "start sandbox");
            if (err_code(err) == ERR_NOT_FOUND)
                pod->sandbox_exists = false;
            else if (err_code(err) == ERR_INVALID)
                pod->sandbox_state = RUNTIME_EXITED; /* to be made anew */
        } else {
            pod->sandbox_state = container->state;
            pod->sandbox_pid = container->pid;
            mem_set_text(&pod->sandbox_id, container->id);
            pod->attached = false;
        }
        sandbox_idle(pod);
        pod_look(pod);
    }
    runtime_container_free(container);
}

/* The pod's address: kept while the pod lives, also over sandboxes. */
static int take_address(struct pod *pod, struct err **err)
{
    struct node *node = pod->node;
    if (pod_host_network(pod) || pod->address.s_addr)
        return 0;
    if (ipam_take(node->ipam, &pod->address, err) < 0)
        return -1;
    node_services_pod(node->services, pod);
    return 0;
}

static void sandbox_create(struct pod *pod)
{
    auto_err err = NULL;
    if (take_address(pod, &err) < 0) {
        sandbox_failed(pod, err, "take an address");
        pod_look(pod);
        return;
    }
    if (!pod->start_ns)
        pod->start_ns = node_wall(pod->node);
    struct runtime_spec *spec = pod_spec_sandbox(pod);
    pod->sandbox_busy = true;
    pod->volumes_left = true;
    pod->node->runtime->ops->create(pod->node->runtime, spec, on_sandbox_done,
                                    pod_call_new(pod, PLAN_SANDBOX_CREATE, 0));
    runtime_spec_free(spec);
}

struct attach_job {
    struct node_job job;
    struct pod_call *call;
    struct net *net;
    struct net_pod pod;
    char *uid;
    bool attach;
    int result;
};

static void attach_work(struct node_job *base)
{
    struct attach_job *job = CONTAINER_OF(base, struct attach_job, job);
    if (job->attach)
        job->result = job->net->ops->pod_attach(job->net, &job->pod, &base->err);
    else
        job->result = job->net->ops->pod_detach(job->net, job->uid, job->pod.address, &base->err);
}

static void attach_done(struct node_job *base, bool closed)
{
    struct attach_job *job = CONTAINER_OF(base, struct attach_job, job);
    struct pod *pod = pod_call_end(job->call);
    if (pod && !closed) {
        pod->adopted = false;
        sandbox_idle(pod);
        if (job->result < 0) {
            pod->attached = !job->attach && pod->attached;
            sandbox_failed(pod, base->err,
                           job->attach ? "connect to the network" : "disconnect from the network");
        } else {
            pod->attached = job->attach;
        }
        node_services_pod(pod->node->services, pod);
        if (job->result == 0 && job->attach) {
            pod->sandbox_failures = 0;
            free(steal(&pod->sandbox_problem));
        }
        bool again = pod->attach_again;
        pod->attach_again = false;
        if (again)
            pod_attach_again(pod);
        pod_look(pod);
    }
    free(job->uid);
    free(job);
}

static void attach(struct pod *pod, bool attached)
{
    if (pod_host_network(pod) || !pod->node->net) {
        pod->attached = attached;
        pod_look(pod);
        return;
    }
    struct attach_job *job = NEW(struct attach_job);
    job->job.work = attach_work;
    job->job.done = attach_done;
    job->net = pod->node->net;
    job->uid = mem_strdup(pod->uid);
    job->pod = (struct net_pod){job->uid, pod->sandbox_pid, pod->address};
    job->attach = attached;
    job->call = pod_call_new(pod, attached ? PLAN_ATTACH : PLAN_DETACH, 0);
    pod->sandbox_busy = true;
    node_lane_run(pod->node->net_lane, &job->job);
}

void pod_attach_again(struct pod *pod)
{
    if (pod->sandbox_busy)
        pod->attach_again = true; /* if that is an attachment, it may have come too early */
    else if (pod->attached && pod->sandbox_state == RUNTIME_RUNNING && !pod_host_network(pod))
        attach(pod, true);
}

void pod_sandbox_action(struct pod *pod, enum plan_action_type type)
{
    struct runtime *runtime = pod->node->runtime;
    if (type == PLAN_ATTACH || type == PLAN_DETACH) {
        attach(pod, type == PLAN_ATTACH);
        return;
    }
    if (type == PLAN_SANDBOX_CREATE) {
        sandbox_create(pod);
        return;
    }
    auto_free char *name = pod_container_name(pod, NULL, pod->sandbox_attempt);
    struct pod_call *call = pod_call_new(pod, type, 0);
    pod->sandbox_busy = true;
    if (type == PLAN_SANDBOX_START)
        runtime->ops->start(runtime, name, on_sandbox_started, call);
    else if (type == PLAN_SANDBOX_STOP)
        runtime->ops->signal(runtime, name, 9, on_sandbox_done, call);
    else
        runtime->ops->remove(runtime, name, on_sandbox_done, call);
}
