/*
 * pod_observe: what the runtime says, taken into the worker's memory: lists after a start or a lost
 * connection, inspections after an end. Containers of earlier attempts become "previous" (kept) or "old" (to
 * be removed). Invariant: an observation never overrides an action under way; that action's end says more.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node_internal.h"

#define MESSAGE_MAX 4096
#define MESSAGE_LOG_MAX 2048 /* of it, when it is taken from the log */
#define MESSAGE_LOG_LINES 80
#define INSPECT_RETRY_MS 500

void pod_ended_fini(struct pod_ended *ended)
{
    free(ended->id);
    free(ended->reason);
    free(ended->message);
    *ended = (struct pod_ended){0};
}

/* ---- the end of a container */

/* The last bytes of a file; NULL: it is empty or absent. */
static char *file_end(const char *path, size_t max)
{
    auto_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    if (size <= 0)
        return NULL;
    char *text = mem_alloc(max + 1);
    ssize_t n = pread(fd, text, max, size > (off_t)max ? size - (off_t)max : 0);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static void read_message(struct container *c)
{
    auto_free char *directory = pod_directory(c->pod);
    auto_free char *path = mem_printf("%s/termination/%s-%u", directory, c->name, c->attempt);
    auto_free char *text = file_end(path, MESSAGE_MAX);
    if (!str_empty(text)) {
        mem_set_text(&c->message, text);
        return;
    }
    const char *policy = json_string(c->spec, "terminationMessagePolicy");
    if (c->plan.exit_code == 0 || !str_eq(policy, "FallbackToLogsOnError"))
        return;
    auto_free char *log = pod_log_path(c->pod, c->name, c->attempt),
                   *tail = node_log_tail(log, MESSAGE_LOG_LINES, MESSAGE_LOG_MAX);
    if (!str_empty(tail))
        mem_set_text(&c->message, tail);
}

static int64_t backoff_ms(struct container *c, int64_t ran_ms)
{
    const struct node_policies *policies = &c->pod->node->options.policies;
    const struct node_restart restart = {.pod = c->pod->object,
                                         .container = c->name,
                                         .crashes = c->crashes,
                                         .ran_ms = ran_ms,
                                         .exit_code = c->plan.exit_code,
                                         .out_of_memory = c->oom};
    struct node_backoff backoff = policies->restart_backoff(policies->arg, &restart);
    if (backoff.reset)
        c->crashes = 0;
    return backoff.wait_ms;
}

void pod_container_ended(struct pod *pod, struct container *c)
{
    struct node *node = pod->node;
    auto_free char *name = pod_container_name(pod, c->name, c->attempt);
    node_rotation_end(node, name);
    node_logs_ended(node, name);
    pod_probes_end(c);
    pod_sub_paths_ended(c);
    c->ready = false;
    c->pid = 0;
    if (!c->finished_ns)
        c->finished_ns = node_wall(node);
    int64_t ran_ms = c->started_ns ? (c->finished_ns - c->started_ns) / 1000000 : 0;
    int64_t past_ms = (node_wall(node) - c->finished_ns) / 1000000;
    int64_t wait_ms = pod->object ? backoff_ms(c, ran_ms) - (past_ms > 0 ? past_ms : 0) : 0;
    c->plan.retry_at = node_now(node) + (wait_ms > 0 ? wait_ms : 0);
    c->crashes++;
    read_message(c);
    struct plan_pod view;
    auto_free struct plan_container *containers = mem_array(pod->n_containers, sizeof(*containers));
    pod_describe(pod, &view, containers);
    if (view.deleting || view.gone || view.terminal || !pod_plan_restarts(&view, &containers[c->index]))
        return;
    if (wait_ms > 0 && c->crashes > 1)
        pod_event(pod, c, "Warning", "BackOff", "Back-off restarting failed container %s in pod %s_%s(%s)",
                  c->name, pod->name, pod->namespace, pod->uid);
}

/* ---- one container */

void pod_observe_container(struct pod *pod, struct container *c, const struct runtime_container *seen)
{
    bool was_running = c->plan.exists && c->plan.state == RUNTIME_RUNNING;
    bool had_ended = c->plan.exists && c->plan.state == RUNTIME_EXITED;
    c->seen_in = pod->node->list_number;
    mem_set_text(&c->id, seen->id);
    mem_set_text(&c->image_id, seen->image_id);
    c->plan.exists = true;
    c->plan.state = seen->state;
    c->plan.exit_code = seen->exit_code;
    c->pid = seen->pid;
    c->stop_signal = seen->stop_signal;
    c->oom = seen->oom_killed;
    c->created_ns = seen->created_ns;
    c->started_ns = seen->started_ns;
    c->finished_ns = seen->state == RUNTIME_EXITED ? seen->finished_ns : 0;
    const char *hash = runtime_container_label(seen, NODE_LABEL "hash");
    if (pod->object && hash && !str_eq(hash, c->hash) && c->plan.kind != PLAN_INIT)
        c->plan.failed = true;
    if (seen->state == RUNTIME_RUNNING && !was_running) {
        auto_free char *log = pod_log_path(pod, c->name, c->attempt);
        node_rotation_begin(pod->node, seen->name, log);
        if (!c->plan.hook_needed) /* else when postStart has ended: it is not ready before */
            pod_probes_begin(c);
    } else if (seen->state == RUNTIME_EXITED && !had_ended)
        pod_container_ended(pod, c);
}

static unsigned attempt_of(const struct runtime_container *container)
{
    const char *text = runtime_container_label(container, NODE_LABEL "attempt");
    return text ? (unsigned)strtoul(text, NULL, 10) : 0;
}

static void vanished(struct pod *pod, struct container *c)
{
    if (!c->plan.exists)
        return;
    bool ran = c->plan.state == RUNTIME_RUNNING;
    if (ran) { /* somebody removed it under our hands: it counts as killed */
        c->plan.state = RUNTIME_EXITED;
        c->plan.exit_code = 128 + SIGKILL;
        pod_container_ended(pod, c);
    } else if (c->plan.state == RUNTIME_CREATED) {
        c->plan.exists = c->plan.start_failed = false;
    }
}

static void observe_sandbox(struct pod *pod, struct runtime_container **list, size_t count)
{
    pod->sandbox_missed |= pod->sandbox_busy;
    if (pod->sandbox_busy || pod->sandbox_seen_in == pod->node->list_number)
        return;
    const struct runtime_container *newest = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!str_empty(runtime_container_label(list[i], NODE_LABEL "container")))
            continue;
        const struct runtime_container *older = NULL;
        if (!newest || attempt_of(list[i]) > attempt_of(newest)) {
            older = newest;
            newest = list[i];
        } else {
            older = list[i];
        }
        if (older)
            pod_add_old(pod, older->name);
    }
    pod->sandbox_exists = newest != NULL;
    if (!newest) {
        pod->sandbox_pid = 0;
        return;
    }
    pod->sandbox_attempt = attempt_of(newest);
    pod->sandbox_state = newest->state;
    bool same = pod->sandbox_pid == newest->pid;
    pod->sandbox_pid = newest->pid;
    mem_set_text(&pod->sandbox_id, newest->id);
    if (!same && newest->state == RUNTIME_RUNNING) {
        pod->adopted = true;
        pod->attached = false; /* attaching again is harmless, and heals what was cut off half-way */
    }
    const char *address = runtime_container_label(newest, NODE_LABEL_ADDRESS);
    if (!address || pod->address.s_addr || inet_pton(AF_INET, address, &pod->address) != 1)
        return;
    if (pod->node->ipam)
        pod->address_left = !ipam_reserve(pod->node->ipam, pod->address);
    node_services_pod(pod->node->services, pod);
}

static void observe_containers(struct pod *pod, struct container *c, struct runtime_container **list,
                               size_t count)
{
    const struct runtime_container *newest = NULL;
    for (size_t i = 0; i < count; i++)
        if (str_eq(runtime_container_label(list[i], NODE_LABEL "container"), c->name) &&
            (!newest || attempt_of(list[i]) > attempt_of(newest)))
            newest = list[i];
    if (!newest || attempt_of(newest) < c->attempt) {
        vanished(pod, c);
        return;
    }
    if (attempt_of(newest) > c->attempt || (!c->plan.exists && c->attempt)) {
        c->attempt = attempt_of(newest);
        if (!c->crashes)
            c->crashes = c->attempt;
    }
    pod_observe_container(pod, c, newest);
    for (size_t i = 0; i < count; i++)
        if (str_eq(runtime_container_label(list[i], NODE_LABEL "container"), c->name) &&
            attempt_of(list[i]) + 1 < c->attempt)
            pod_add_old(pod, list[i]->name);
}

void pod_observe(struct pod *pod, struct runtime_container **list, size_t count)
{
    observe_sandbox(pod, list, count);
    for (size_t i = 0; i < pod->n_containers; i++) {
        struct container *c = &pod->containers[i];
        if (c->uncertain)
            c->uncertain = c->plan.busy = false;
        if (c->plan.busy)
            c->missed = true;
        else if (c->seen_in != pod->node->list_number)
            observe_containers(pod, c, list, count);
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = runtime_container_label(list[i], NODE_LABEL "container");
        if (!str_empty(name) && !pod_container(pod, name))
            pod_add_old(pod, list[i]->name);
    }
    pod->unknown = false;
    pod->volumes_left = true; /* if they are not there, removing them costs nothing */
    pod_look(pod);
}

/* ---- after an end */

static void on_inspected(void *arg, struct runtime_container *seen, struct err *err)
{
    struct pod_call *call = arg;
    size_t index = call->container;
    auto_free char *name = call->data;
    struct pod *pod = pod_call_end(call);
    struct container *c = pod ? &pod->containers[index] : NULL;
    bool known = seen || err_code(err) == ERR_NOT_FOUND;
    if (c && c->uncertain && known)
        c->uncertain = c->plan.busy = false;
    if (c && c->plan.busy)
        c->missed = true;
    if (c && !c->plan.busy) {
        auto_free char *expected = pod_container_name(pod, c->name, c->attempt);
        if (str_eq(expected, name)) { /* else it is the previous one, of which all is known */
            if (seen)
                pod_observe_container(pod, c, seen);
            else if (known)
                vanished(pod, c);
        }
    }
    if (pod && !known && err_code(err) != ERR_CANCELLED)
        loop_timer_start(pod->node->list_retry, INSPECT_RETRY_MS);
    if (pod)
        pod_look(pod);
    runtime_container_free(seen);
}

void pod_inspect(struct pod *pod, const char *container_name)
{
    for (size_t i = 0; i < pod->n_containers; i++) {
        struct container *c = &pod->containers[i];
        auto_free char *name = pod_container_name(pod, c->name, c->attempt);
        if (!str_eq(name, container_name))
            continue;
        struct pod_call *call = pod_call_new(pod, PLAN_START, i);
        call->data = mem_strdup(container_name);
        pod->node->runtime->ops->inspect(pod->node->runtime, container_name, on_inspected, call);
        return;
    }
    auto_free char *sandbox = pod_container_name(pod, NULL, pod->sandbox_attempt);
    if (!str_eq(sandbox, container_name))
        return;
    pod->sandbox_died |= pod->sandbox_busy;
    if (pod->sandbox_busy || !pod->sandbox_exists)
        return;
    pod->sandbox_state = RUNTIME_EXITED;
    pod->sandbox_pid = 0;
    pod->sandbox_seen_in = pod->node->list_number;
    pod_look(pod);
}

void pod_container_idle(struct pod *pod, struct container *c)
{
    c->plan.busy = false;
    if (!c->missed)
        return;
    c->missed = false;
    auto_free char *name = pod_container_name(pod, c->name, c->attempt);
    pod_inspect(pod, name);
}
