/*
 * schema_columns_pod: the computed columns of Pods (Ready, Status, Restarts …), after kubectl's rules: a
 * pod's Status is the reason of the container that matters most, not its phase. Reads status only as the node
 * wrote it.
 */
#include <string.h>

#include "schema/schema_columns.h"

struct pod_summary {
    int64_t ready, total, restarts, last_restart_ns;
    struct str reason;
    bool initializing, has_running;
};

static bool restartable(const cJSON *pod, const char *name)
{
    json_each (container, json_at(pod, "spec.initContainers")) {
        if (str_eq(json_string(container, "name"), name))
            return str_eq(json_string(container, "restartPolicy"), "Always");
    }
    return false;
}

static bool condition_is_true(const cJSON *object, const char *type)
{
    json_each (condition, json_at(object, "status.conditions")) {
        if (str_eq(json_string(condition, "type"), type))
            return str_eq(json_string(condition, "status"), "True");
    }
    return false;
}

static int64_t count(const cJSON *array)
{
    int64_t n = 0;
    json_each (item, array)
        n++;
    return n;
}

static void note_restart(struct pod_summary *s, const cJSON *status)
{
    const char *finished = json_string(status, "lastState.terminated.finishedAt");
    int64_t ns;
    if (finished && time_parse(finished, &ns, NULL) == 0 && ns > s->last_restart_ns)
        s->last_restart_ns = ns;
}

static void set_terminated(struct pod_summary *s, const char *before, const cJSON *terminated)
{
    const char *reason = json_string(terminated, "reason");
    int64_t signal = json_int(terminated, "signal", 0);
    str_clear(&s->reason);
    if (!str_empty(reason))
        str_addf(&s->reason, "%s%s", before, reason);
    else if (signal)
        str_addf(&s->reason, "%sSignal:%lld", before, (long long)signal);
    else
        str_addf(&s->reason, "%sExitCode:%lld", before, (long long)json_int(terminated, "exitCode", 0));
}

static void set_reason(struct pod_summary *s, const char *before, const char *reason)
{
    str_clear(&s->reason);
    str_addf(&s->reason, "%s%s", before, reason);
}

/* Returns the restarts of sidecars, which count on when the pod has been initialised. */
static int64_t summarize_init(struct pod_summary *s, const cJSON *pod)
{
    int64_t sidecar_restarts = 0, i = 0, total = count(json_at(pod, "spec.initContainers"));
    json_each (status, json_at(pod, "status.initContainerStatuses")) {
        bool sidecar = restartable(pod, json_string(status, "name"));
        const cJSON *terminated = json_at(status, "state.terminated");
        const char *waiting = json_string(status, "state.waiting.reason");
        s->restarts += json_int(status, "restartCount", 0);
        sidecar_restarts += sidecar ? json_int(status, "restartCount", 0) : 0;
        note_restart(s, status);
        i++;
        if (terminated && json_int(terminated, "exitCode", 0) == 0)
            continue;
        if (sidecar && json_bool(status, "started", false)) {
            s->ready += json_bool(status, "ready", false);
            continue;
        }
        s->initializing = true;
        if (terminated) {
            set_terminated(s, "Init:", terminated);
        } else if (!str_empty(waiting) && strcmp(waiting, "PodInitializing") != 0) {
            set_reason(s, "Init:", waiting);
        } else {
            str_clear(&s->reason);
            str_addf(&s->reason, "Init:%lld/%lld", (long long)(i - 1), (long long)total);
        }
        break;
    }
    return sidecar_restarts;
}

static void summarize_container(struct pod_summary *s, const cJSON *status)
{
    const char *waiting = json_string(status, "state.waiting.reason");
    const cJSON *terminated = json_at(status, "state.terminated");
    s->restarts += json_int(status, "restartCount", 0);
    note_restart(s, status);
    if (!str_empty(waiting)) {
        set_reason(s, "", waiting);
    } else if (terminated) {
        set_terminated(s, "", terminated);
    } else if (json_bool(status, "ready", false) && json_at(status, "state.running")) {
        s->has_running = true;
        s->ready++;
    }
}

static void summarize_containers(struct pod_summary *s, const cJSON *pod, int64_t sidecar_restarts)
{
    const cJSON *statuses = json_at(pod, "status.containerStatuses");
    s->restarts = sidecar_restarts;
    const cJSON *last = statuses && statuses->child ? statuses->child->prev : NULL;
    for (const cJSON *status = last; status; status = status == statuses->child ? NULL : status->prev)
        summarize_container(s, status);
    if (strcmp(str_c(&s->reason), "Completed") == 0 && s->has_running)
        set_reason(s, "", condition_is_true(pod, "Ready") ? "Running" : "NotReady");
}

static void summarize(struct pod_summary *s, const cJSON *pod)
{
    const char *phase = json_string_or(pod, "status.phase", "Pending");
    const char *status_reason = json_string(pod, "status.reason");
    *s = (struct pod_summary){0};
    s->total = count(json_at(pod, "spec.containers"));
    set_reason(s, "", str_empty(status_reason) ? phase : status_reason);
    json_each (container, json_at(pod, "spec.initContainers"))
        s->total += str_eq(json_string(container, "restartPolicy"), "Always");
    int64_t sidecar_restarts = summarize_init(s, pod);
    if (!s->initializing || condition_is_true(pod, "Initialized"))
        summarize_containers(s, pod, sidecar_restarts);
    if (!json_string(pod, "metadata.deletionTimestamp"))
        return;
    if (str_eq(status_reason, "NodeLost"))
        set_reason(s, "", "Unknown");
    else if (strcmp(phase, "Succeeded") != 0 && strcmp(phase, "Failed") != 0)
        set_reason(s, "", "Terminating");
}

static cJSON *column_ready(const cJSON *pod, UNUSED int64_t now_wall_ns)
{
    struct pod_summary s;
    summarize(&s, pod);
    str_clear(&s.reason);
    str_addf(&s.reason, "%lld/%lld", (long long)s.ready, (long long)s.total);
    return cell_from(&s.reason, "");
}

static cJSON *column_status(const cJSON *pod, UNUSED int64_t now_wall_ns)
{
    struct pod_summary s;
    summarize(&s, pod);
    return cell_from(&s.reason, "");
}

static cJSON *column_restarts(const cJSON *pod, int64_t now_wall_ns)
{
    struct pod_summary s;
    summarize(&s, pod);
    str_clear(&s.reason);
    str_addf(&s.reason, "%lld", (long long)s.restarts);
    if (s.restarts && s.last_restart_ns) {
        char age[TIME_TEXT];
        int64_t ns = now_wall_ns - s.last_restart_ns;
        time_print_age(ns < 0 ? 0 : ns, age);
        str_addf(&s.reason, " (%s ago)", age);
    }
    return cell_from(&s.reason, "");
}

static cJSON *column_gates(const cJSON *pod, UNUSED int64_t now_wall_ns)
{
    int64_t total = 0, passed = 0;
    json_each (gate, json_at(pod, "spec.readinessGates")) {
        const char *type = json_string(gate, "conditionType");
        total++;
        passed += type && condition_is_true(pod, type);
    }
    if (!total)
        return cell_text("<none>");
    struct str text = {0};
    str_addf(&text, "%lld/%lld", (long long)passed, (long long)total);
    return cell_from(&text, "");
}

const struct schema_named_column schema_columns_pod[] = {
    {"pod.ready", column_ready},
    {"pod.status", column_status},
    {"pod.restarts", column_restarts},
    {"pod.readinessGates", column_gates},
    {NULL, NULL},
};
