/*
 * pod_probes: startup, liveness and readiness of a running container: when to check, how many results in a
 * row count, and what follows: ready or not, or to be started anew. The checks themselves are pod_handlers.c.
 * A check that the runtime could not make counts neither way.
 * A container that an earlier agent had found ready stays so until a check says otherwise (a restart of the
 * agent must not take pods out of their Services).
 */
#include <string.h>

#include "base/log.h"
#include "node/node_internal.h"

struct pod_probe {
    struct container *container;
    int type;
    cJSON *spec; /* a copy: the pod's object is replaced with each change */
    struct loop_timer *timer;
    bool running, closed;
    int64_t successes, failures;
};

static const char *const type_names[] = {"Startup", "Liveness", "Readiness"};
static const char *const spec_names[] = {"startupProbe", "livenessProbe", "readinessProbe"};

static void probe_begin(struct container *c, int type, bool now);

static void probe_free(struct pod_probe *probe)
{
    loop_timer_free(probe->timer);
    cJSON_Delete(probe->spec);
    free(probe);
}

static void set_ready(struct container *c, bool ready)
{
    if (c->ready == ready)
        return;
    c->ready = ready;
    pod_look(c->pod);
}

static void on_passed(struct pod_probe *probe)
{
    struct container *c = probe->container;
    if (probe->type == PROBE_READINESS) {
        set_ready(c, true);
    } else if (probe->type == PROBE_STARTUP) {
        c->plan.started = true;
        c->probes[PROBE_STARTUP] = NULL;
        probe_begin(c, PROBE_LIVENESS, false);
        probe_begin(c, PROBE_READINESS, true);
        if (!json_get(c->spec, "readinessProbe"))
            c->ready = true;
        pod_look(c->pod);
    }
}

static void on_failed(struct pod_probe *probe, const char *failure)
{
    struct container *c = probe->container;
    if (probe->type == PROBE_READINESS) {
        set_ready(c, false);
        return;
    }
    pod_event(c->pod, c, "Normal", "Killing", "Container %s failed %s probe, will be restarted", c->name,
              probe->type == PROBE_STARTUP ? "startup" : "liveness");
    log_info("node", "pod %s/%s: %s of %s failed: %s", c->pod->namespace, c->pod->name,
             spec_names[probe->type], c->name, failure);
    c->plan.failed = true;
    c->ready = false;
    pod_look(c->pod);
}

static void on_result(void *arg, struct pod *pod, const char *failure, bool unknown)
{
    struct pod_probe *probe = arg;
    if (!pod || probe->closed) {
        probe_free(probe);
        return;
    }
    probe->running = false;
    loop_timer_start(probe->timer, json_int(probe->spec, "periodSeconds", 10) * 1000);
    if (unknown)
        return;
    int64_t needed =
        json_int(probe->spec, failure ? "failureThreshold" : "successThreshold", failure ? 3 : 1);
    probe->successes = failure ? 0 : probe->successes + 1;
    probe->failures = failure ? probe->failures + 1 : 0;
    if (failure)
        pod_event(pod, probe->container, "Warning", "Unhealthy", "%s probe failed: %s",
                  type_names[probe->type], failure);
    if (probe->successes >= needed && !failure) {
        bool last = probe->type == PROBE_STARTUP;
        on_passed(probe);
        if (last)
            probe_free(probe);
    } else if (probe->failures >= needed) {
        probe->failures = 0;
        on_failed(probe, failure);
    }
}

static void on_due(void *arg)
{
    struct pod_probe *probe = arg;
    probe->running = true;
    pod_handler_run(probe->container, probe->spec, json_int(probe->spec, "timeoutSeconds", 1) * 1000,
                    on_result, probe);
}

static void probe_begin(struct container *c, int type, bool now)
{
    const cJSON *spec = json_get(c->spec, spec_names[type]);
    if (!spec || c->probes[type])
        return;
    struct pod_probe *probe = NEW(struct pod_probe);
    *probe = (struct pod_probe){.container = c, .type = type, .spec = json_copy(spec)};
    probe->timer = loop_timer_new(c->pod->node->loop, on_due, probe);
    c->probes[type] = probe;
    int64_t age_ms = (node_wall(c->pod->node) - c->started_ns) / 1000000;
    int64_t wait = json_int(spec, "initialDelaySeconds", 0) * 1000 - (age_ms > 0 ? age_ms : 0);
    if (wait <= 0)
        wait = now ? 0 : json_int(spec, "periodSeconds", 10) * 1000;
    loop_timer_start(probe->timer, wait);
}

/* What the API's status says about this very container. */
static void adopt(struct container *c)
{
    if (c->id && str_eq(c->id, c->ready_id))
        c->ready = c->plan.started = true;
    const char *const lists[] = {"status.containerStatuses", "status.initContainerStatuses"};
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        json_each (status, json_at(c->pod->object, lists[i])) {
            const char *id = json_string(status, "containerID");
            if (!c->id || !id || !str_ends(id, c->id))
                continue;
            c->ready |= json_bool(status, "ready", false);
            c->plan.started |= json_bool(status, "started", false);
            return;
        }
    }
}

void pod_probes_begin(struct container *c)
{
    if (!c->spec || json_at(c->pod->object, "metadata.deletionTimestamp"))
        return;
    adopt(c);
    if (!json_get(c->spec, "startupProbe"))
        c->plan.started = true;
    if (!c->plan.started) {
        probe_begin(c, PROBE_STARTUP, true);
        return;
    }
    if (!json_get(c->spec, "readinessProbe"))
        c->ready = true;
    probe_begin(c, PROBE_LIVENESS, false);
    probe_begin(c, PROBE_READINESS, true);
}

static void probe_end(struct container *c, int type)
{
    struct pod_probe *probe = c->probes[type];
    c->probes[type] = NULL;
    if (!probe)
        return;
    if (probe->running) {
        probe->closed = true; /* freed with its result */
        loop_timer_free(probe->timer);
        probe->timer = NULL;
    } else {
        probe_free(probe);
    }
}

void pod_probes_end(struct container *c)
{
    for (int i = 0; i < PROBE_COUNT; i++)
        probe_end(c, i);
}

void pod_probes_pause(struct pod *pod)
{
    for (size_t i = 0; i < pod->n_containers; i++) {
        probe_end(&pod->containers[i], PROBE_STARTUP);
        probe_end(&pod->containers[i], PROBE_LIVENESS);
    }
}
