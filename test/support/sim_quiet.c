/* sim_quiet: what must hold once faults have ended and time has passed: see sim.h, sim_unsettled. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sim.h"
#include "sim_objects.h"

struct quiet {
    struct sim_world *world;
    cJSON *pods, *sets, *deployments, *services, *slices, *stateful, *daemons, *jobs, *crons;
    struct map by_uid; /* pods */
    struct sim_node *node;
    char *wrong;
};

static void wrong(struct quiet *q, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void wrong(struct quiet *q, const char *format, ...)
{
    if (q->wrong)
        return;
    va_list arguments;
    va_start(arguments, format);
    char text[500];
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    q->wrong = mem_strdup(text);
}

static bool has_labels(const cJSON *object, const cJSON *wanted)
{
    const cJSON *labels = json_at(object, "metadata.labels");
    json_each (label, wanted) {
        const cJSON *present = json_get(labels, label->string);
        if (!present || !str_eq(present->valuestring, label->valuestring))
            return false;
    }
    return true;
}

/* ---- objects ---- */

static void check_pods(struct quiet *q)
{
    auto_map addresses = {0};
    json_each (pod, q->pods) {
        const char *node = json_string(pod, "spec.nodeName"), *ip = json_string(pod, "status.podIP");
        if (is_deleting(pod))
            wrong(q, "pod %s is still being deleted", name_of(pod));
        else if (!node)
            wrong(q, "pod %s is not bound", name_of(pod));
        else if (!is_terminal(pod) && !condition_holds(pod, "Ready"))
            wrong(q, "pod %s on %s is not ready: %s", name_of(pod), node,
                  json_string_or(pod, "status.containerStatuses[0].state.waiting.reason",
                                 json_string_or(pod, "status.phase", "?")));
        if (!ip || is_terminal(pod))
            continue;
        if (map_has(&addresses, ip))
            wrong(q, "%s and %s have the address %s", name_of(pod), (const char *)map_get(&addresses, ip),
                  ip);
        map_set(&addresses, ip, (void *)(uintptr_t)name_of(pod));
    }
}

static void check_set(struct quiet *q, const cJSON *set)
{
    int64_t wanted = json_int(set, "spec.replicas", 1), own = 0;
    json_each (pod, q->pods)
        own += owned_by(pod, set) && !is_terminal(pod);
    if (own != wanted)
        wrong(q, "ReplicaSet %s wants %lld pods and has %lld", name_of(set), (long long)wanted,
              (long long)own);
    if (json_int(set, "status.readyReplicas", 0) != wanted || json_int(set, "status.replicas", 0) != wanted)
        wrong(q, "ReplicaSet %s says %lld of %lld are ready", name_of(set),
              (long long)json_int(set, "status.readyReplicas", 0), (long long)wanted);
}

static void check_deployment(struct quiet *q, const cJSON *deployment)
{
    int64_t wanted = json_int(deployment, "spec.replicas", 1), pods = 0;
    const char *image = json_string_or(deployment, "spec.template.spec.containers[0].image", "");
    json_each (set, q->sets) {
        if (!owned_by(set, deployment))
            continue;
        json_each (pod, q->pods) {
            if (!owned_by(pod, set) || is_terminal(pod))
                continue;
            pods++;
            if (!str_eq(json_string(pod, "spec.containers[0].image"), image))
                wrong(q, "pod %s of %s has an old image", name_of(pod), name_of(deployment));
        }
    }
    static const char *const counts[] = {"status.replicas", "status.readyReplicas", "status.updatedReplicas",
                                         "status.availableReplicas"};
    for (size_t i = 0; i < COUNT_OF(counts); i++)
        if (json_int(deployment, counts[i], 0) != wanted)
            wrong(q, "Deployment %s wants %lld and says %s is %lld", name_of(deployment), (long long)wanted,
                  counts[i], (long long)json_int(deployment, counts[i], 0));
    if (pods != wanted)
        wrong(q, "Deployment %s wants %lld pods and has %lld", name_of(deployment), (long long)wanted,
              (long long)pods);
}

static void check_owners(struct quiet *q)
{
    auto_map uids = {0};
    cJSON *const lists[] = {q->pods,     q->sets,    q->deployments, q->services, q->slices,
                            q->stateful, q->daemons, q->jobs,        q->crons};
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        json_each (object, lists[i])
            map_set(&uids, json_string_or(object, "metadata.uid", ""), object);
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        json_each (object, lists[i])
            json_each (reference, json_at(object, "metadata.ownerReferences"))
                if (!map_has(&uids, json_string_or(reference, "uid", "")))
                    wrong(q, "%s outlives its owner %s", name_of(object),
                          json_string_or(reference, "name", "?"));
}

/* ---- machines ---- */

static void check_container(void *arg, const struct runtime_container *c)
{
    struct quiet *q = arg;
    if (c->state != RUNTIME_RUNNING)
        return;
    const cJSON *pod = map_get(&q->by_uid, runtime_container_label(c, "io.minik8s.pod.uid"));
    if (!pod)
        wrong(q, "%s runs on %s for a pod that does not exist", c->name, q->node->name);
    else if (!str_eq(json_string(pod, "spec.nodeName"), q->node->name))
        wrong(q, "%s runs on %s, bound to %s", c->name, q->node->name,
              json_string_or(pod, "spec.nodeName", "nothing"));
}

static struct sim_node *node_named(struct sim_world *w, const char *name)
{
    for (unsigned i = 0; i < w->n_nodes; i++)
        if (str_eq(w->nodes[i].name, name))
            return &w->nodes[i];
    return NULL;
}

/* The status tells what the machine shows. */
static void check_status(struct quiet *q, const cJSON *pod)
{
    struct sim_node *n = node_named(q->world, json_string(pod, "spec.nodeName"));
    if (!n)
        return;
    json_each (status, json_at(pod, "status.containerStatuses")) {
        const char *name = json_string_or(status, "name", "");
        const struct runtime_container *c = fake_machine_find(n->machine, name_of(pod), name);
        bool says = json_at(status, "state.running") != NULL;
        if (says != (c && c->state == RUNTIME_RUNNING))
            wrong(q, "container %s of %s: the status says %srunning", name, name_of(pod), says ? "" : "not ");
    }
    if (!is_terminal(pod) && !fake_world_attached(q->world->net, n->name, json_string(pod, "metadata.uid")))
        wrong(q, "pod %s has no network on %s", name_of(pod), n->name);
}

/* ---- Services ---- */

static bool in_a_slice(const struct quiet *q, const char *service, const char *uid)
{
    json_each (slice, q->slices)
        if (str_eq(json_string(json_at(slice, "metadata.labels"), "['kubernetes.io/service-name']"), service))
            json_each (endpoint, json_get(slice, "endpoints"))
                if (str_eq(json_string(endpoint, "targetRef.uid"), uid))
                    return json_bool(endpoint, "conditions.ready", false);
    return false;
}

static void check_slices(struct quiet *q)
{
    json_each (service, q->services)
        json_each (pod, json_at(service, "spec.selector") ? q->pods : NULL)
            if (has_labels(pod, json_at(service, "spec.selector")) && condition_holds(pod, "Ready") &&
                !is_deleting(pod) && !in_a_slice(q, name_of(service), json_string(pod, "metadata.uid")))
                wrong(q, "pod %s is ready and in no slice of %s", name_of(pod), name_of(service));
    json_each (slice, q->slices)
        json_each (endpoint, json_get(slice, "endpoints")) {
            const char *uid = json_string(endpoint, "targetRef.uid");
            if (uid && !map_has(&q->by_uid, uid))
                wrong(q, "slice %s lists pod %s, which is gone", name_of(slice),
                      json_string_or(endpoint, "targetRef.name", "?"));
        }
}

struct table {
    struct map lines; /* "namespace/name address" */
    struct map services;
};

static void read_table(void *arg, const char *service, const struct net_service_port *port UNUSED,
                       const struct net_endpoint *endpoint)
{
    struct table *table = arg;
    char address[INET_ADDRSTRLEN];
    map_set(&table->services, service, table);
    if (!endpoint)
        return;
    inet_ntop(AF_INET, &endpoint->address, address, sizeof(address));
    auto_free char *line = mem_printf("%s %s", service, address);
    map_set(&table->lines, line, table);
}

static void check_table(struct quiet *q, const struct sim_node *n)
{
    struct table table = {0};
    size_t wanted = 0;
    fake_world_each_endpoint(q->world->net, n->name, read_table, &table);
    json_each (service, q->services) {
        const cJSON *selector = json_at(service, "spec.selector");
        if (!selector)
            continue;
        auto_free char *key = mem_printf("default/%s", name_of(service));
        if (!map_has(&table.services, key))
            wrong(q, "Service %s is not in the table of %s", name_of(service), n->name);
        json_each (pod, q->pods) {
            if (!has_labels(pod, selector) || !condition_holds(pod, "Ready") || is_deleting(pod))
                continue;
            wanted++;
            auto_free char *line =
                mem_printf("default/%s %s", name_of(service), json_string_or(pod, "status.podIP", "?"));
            if (!map_has(&table.lines, line))
                wrong(q, "%s does not send to %s (%s)", n->name, name_of(pod), line);
        }
    }
    map_each (entry, &table.lines)
        wanted -= str_starts(entry->key, "default/") && !str_starts(entry->key, "default/kubernetes ");
    if (wanted != 0)
        wrong(q, "%s sends to %zd endpoints too many", n->name, -(ssize_t)wanted);
    map_fini(&table.lines);
    map_fini(&table.services);
}

/* ---- all ---- */

char *sim_unsettled(struct sim_world *w)
{
    struct quiet q = {.world = w,
                      .pods = sim_list(w, "pods"),
                      .sets = sim_list(w, "replicasets.apps"),
                      .deployments = sim_list(w, "deployments.apps"),
                      .services = sim_list(w, "services"),
                      .slices = sim_list(w, "endpointslices.discovery.k8s.io"),
                      .stateful = sim_list(w, "statefulsets.apps"),
                      .daemons = sim_list(w, "daemonsets.apps"),
                      .jobs = sim_list(w, "jobs.batch"),
                      .crons = sim_list(w, "cronjobs.batch")};
    json_each (pod, q.pods)
        map_set(&q.by_uid, json_string_or(pod, "metadata.uid", ""), pod);
    check_pods(&q);
    json_each (set, q.sets)
        check_set(&q, set);
    json_each (deployment, q.deployments)
        check_deployment(&q, deployment);
    check_owners(&q);
    check_slices(&q);
    json_each (pod, q.pods)
        check_status(&q, pod);
    for (unsigned i = 0; i < w->n_nodes; i++) {
        q.node = &w->nodes[i];
        fake_machine_each(q.node->machine, check_container, &q);
        check_table(&q, q.node);
    }
    map_fini(&q.by_uid);
    cJSON *const lists[] = {q.pods,     q.sets,    q.deployments, q.services, q.slices,
                            q.stateful, q.daemons, q.jobs,        q.crons};
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        cJSON_Delete(lists[i]);
    return q.wrong ? q.wrong : w->options.objects ? sim_objects_unsettled(w) : NULL;
}
