/*
 * pod_actions: the steps that bring a container up: its files, itself, its start, postStart (sandbox and
 * image: pod_sandbox.c, pod_image.c). Each begins one call to the runtime and takes its answer into the
 * worker's memory; what follows is decided by the next look. Failures are kept as the reasons that users of
 * Kubernetes know, retried with a back-off, and told as Events.
 */
#include <string.h>

#include "base/file.h"
#include "node/node_internal.h"

#define MAX_RETRY_MS 60000

int64_t pod_retry_at(const struct pod *pod, unsigned failures)
{
    int64_t wait = POD_FIRST_RETRY_MS;
    for (unsigned i = 1; i < failures && wait < MAX_RETRY_MS; i++)
        wait *= 2;
    return node_now(pod->node) + (wait < MAX_RETRY_MS ? wait : MAX_RETRY_MS);
}

void pod_set_waiting(struct container *c, const char *reason, const char *message)
{
    mem_set_text(&c->waiting_reason, reason);
    mem_set_text(&c->waiting_message, message);
}

static void create_failed(struct pod *pod, struct container *c, const char *reason, const struct err *err)
{
    c->plan.retry_at = pod_retry_at(pod, ++c->failures);
    if (err_code(err) == ERR_CANCELLED || err_code(err) == ERR_UNAVAILABLE)
        return; /* says nothing about the container */
    pod_set_waiting(c, reason, err_message(err));
    pod_event(pod, c, "Warning", "Failed", "Error: %s", err_message(err));
}

static void on_created(void *arg, struct err *err)
{
    struct pod_call *call = arg;
    size_t index = call->container;
    struct pod *pod = pod_call_end(call);
    if (!pod)
        return;
    struct container *c = &pod->containers[index];
    c->plan.busy = false;
    if (err) {
        bool forbidden = err_code(err) == ERR_FORBIDDEN; /* runAsNonRoot against the image's user */
        create_failed(pod, c, forbidden ? "CreateContainerConfigError" : "CreateContainerError", err);
        if (err_code(err) == ERR_NOT_FOUND)
            c->plan.image_ready = false;
    } else {
        c->plan.exists = true;
        c->plan.start_failed = false;
        c->seen_in = pod->node->list_number;
        c->plan.state = RUNTIME_CREATED;
        c->created_ns = node_wall(pod->node);
        c->started_ns = c->finished_ns = 0;
        free(steal(&c->error));
        free(steal(&c->message));
        c->failures = 0;
        pod_set_waiting(c, NULL, NULL);
        pod_event(pod, c, "Normal", "Created", "Created container: %s", c->name);
    }
    pod_look(pod);
}

/* Files that have to be there before podman mounts them. */
struct prepare_job {
    struct node_job job;
    struct pod_call *call;
    struct runtime_spec *spec;
    char *directory, *name, *termination; /* of the pod; the container's */
    unsigned attempt;
    int result;
};

static void prepare_work(struct node_job *base)
{
    struct prepare_job *job = CONTAINER_OF(base, struct prepare_job, job);
    node_log_files_forget(job->spec->log_path);
    auto_free char *logs = mem_strdup(job->spec->log_path), *termination = mem_strdup(job->termination);
    *strrchr(logs, '/') = *strrchr(termination, '/') = 0;
    job->result = file_make_dirs(logs, 0755, &base->err);
    if (job->result == 0)
        job->result = file_make_dirs(termination, 0755, &base->err);
    if (job->result == 0)
        job->result = file_write_atomic(job->termination, "", 0, 0666, &base->err);
    if (job->result == 0)
        job->result = pod_sub_paths_mount(job->spec, job->directory, job->name, job->attempt, &base->err);
}

static void prepare_done(struct node_job *base, bool closed)
{
    struct prepare_job *job = CONTAINER_OF(base, struct prepare_job, job);
    struct pod *pod = job->call->pod->node ? job->call->pod : NULL;
    if (pod && !closed && job->result == 0) {
        pod->node->runtime->ops->create(pod->node->runtime, job->spec, on_created, job->call);
    } else {
        size_t index = job->call->container;
        pod = pod_call_end(job->call);
        if (pod && !closed) {
            pod->containers[index].plan.busy = false;
            create_failed(pod, &pod->containers[index], "CreateContainerError", base->err);
            pod_look(pod);
        }
    }
    runtime_spec_free(job->spec);
    free(job->directory);
    free(job->name);
    free(job->termination);
    free(job);
}

static void create(struct pod *pod, struct container *c)
{
    auto_err err = NULL;
    struct runtime_spec *spec = pod_spec_container(c, &err);
    if (!spec) {
        create_failed(pod, c, "CreateContainerConfigError", err);
        pod_look(pod);
        return;
    }
    c->plan.busy = true;
    struct prepare_job *job = NEW(struct prepare_job);
    job->job.work = prepare_work;
    job->job.done = prepare_done;
    job->call = pod_call_new(pod, PLAN_CREATE, c->index);
    job->spec = spec;
    job->directory = pod_directory(pod);
    job->name = mem_strdup(c->name);
    job->attempt = c->attempt;
    job->termination = mem_printf("%s/termination/%s-%u", job->directory, c->name, c->attempt);
    node_lane_run(pod->files, &job->job);
}

static void start_failed(struct pod *pod, struct container *c, const struct err *err)
{
    enum err_code code = err_code(err);
    if (code == ERR_CANCELLED || code == ERR_UNAVAILABLE || code == ERR_TIMEOUT) {
        /* It may run or have run already; starting again what has ended would run it twice. */
        auto_free char *name = pod_container_name(pod, c->name, c->attempt);
        c->plan.retry_at = node_now(pod->node) + POD_FIRST_RETRY_MS;
        c->plan.busy = c->uncertain = true;
        pod_inspect(pod, name);
        return;
    }
    if (code == ERR_NOT_FOUND) {
        c->plan.exists = false;
        return;
    }
    c->plan.start_failed = true;
    c->plan.exit_code = 128;
    c->started_ns = c->finished_ns = node_wall(pod->node);
    mem_set_text(&c->error, err_message(err));
    pod_set_waiting(c, "RunContainerError", err_message(err));
    pod_event(pod, c, "Warning", "Failed", "Error: %s", err_message(err));
    pod_container_ended(pod, c);
}

static void on_started(void *arg, struct runtime_container *container, struct err *err)
{
    struct pod_call *call = arg;
    size_t index = call->container;
    struct pod *pod = pod_call_end(call);
    if (pod) {
        struct container *c = &pod->containers[index];
        pod_container_idle(pod, c);
        if (err) {
            start_failed(pod, c, err);
        } else {
            pod_event(pod, c, "Normal", "Started", "Started container %s", c->name);
            pod_observe_container(pod, c, container);
        }
        pod_look(pod);
    }
    runtime_container_free(container);
}

static void on_post_start(struct pod *pod, struct container *c, const char *failure)
{
    c->plan.hook_needed = c->plan.post_start_running = false;
    if (!failure && c->plan.exists && c->plan.state == RUNTIME_RUNNING)
        pod_probes_begin(c);
    if (failure) {
        pod_event(pod, c, "Warning", "FailedPostStartHook", "PostStartHook failed: %s", failure);
        pod_event(pod, c, "Normal", "Killing", "FailedPostStartHook");
        c->plan.failed = true;
    }
    pod_look(pod);
}

static void start(struct pod *pod, struct container *c)
{
    auto_free char *name = pod_container_name(pod, c->name, c->attempt);
    c->plan.busy = true;
    /* Here, as an earlier agent may have created it. */
    c->plan.hook_needed = json_at(c->spec, "lifecycle.postStart") != NULL;
    c->plan.started = !c->plan.hook_needed && !json_get(c->spec, "startupProbe");
    pod->node->runtime->ops->start(pod->node->runtime, name, on_started,
                                   pod_call_new(pod, PLAN_START, c->index));
}

void pod_container_action(struct pod *pod, enum plan_action_type type, size_t index)
{
    struct container *c = &pod->containers[index];
    if (type == PLAN_IMAGE) {
        pod_image_action(pod, c);
    } else if (type == PLAN_CREATE) {
        create(pod, c);
    } else if (type == PLAN_START) {
        start(pod, c);
    } else {
        c->plan.post_start_running = true;
        pod_hook_run(c, json_at(c->spec, "lifecycle.postStart"), 0, on_post_start);
    }
}
