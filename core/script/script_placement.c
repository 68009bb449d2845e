/*
 * script_placement: pods, nodes and what is taken on them, kept from the changes of the cache. What
 * waits and placing it is script_placement_place.c.
 *
 * Invariants: a pod counts on exactly one slot or on none; requested of a slot is the sum over the pods that
 * count on it; a slot's revision moves with every change of it.
 */
#include <math.h>
#include <string.h>

#include "base/time.h"
#include "script/script_placement_private.h"

#define METRICS "nodes.metrics.k8s.io"

void class_drop_verdicts(struct placement *placement, struct pod_class *class)
{
    if (!class->verdicts)
        return;
    free(steal(&class->verdicts));
    free(steal(&class->shares));
    class->n_verdicts = 0;
    near_drop_rows(class);
    list_remove(&class->recent);
    placement->n_recent--;
}

static void class_free(void *value)
{
    struct pod_class *class = value;
    near_free(class);
    class_text_unref(class->text);
    cJSON_Delete(class->view);
    free(class->verdicts);
    free(class->shares);
    free(class->failed_message);
    free(class->failed_nodes);
    free(class->peers);
    free(class->key);
    free(class);
}

static void pod_free(void *value)
{
    struct waiting_pod *pod = value;
    free(pod->key);
    free(pod->uid);
    cJSON_Delete(pod->volumes);
    free(pod);
}

void placement_project(struct cache *cache)
{
    static const char *const pods[] = {"spec.nodeName", "status.phase", "metadata.labels", NULL};
    static const char *const namespaces[] = {"metadata.labels", NULL};
    cache_project(cache, "pods", pods);
    cache_project(cache, "namespaces", namespaces);
}

struct placement *placement_new(const struct cache *cache, struct policies *policies, uint64_t seed)
{
    struct placement *placement = NEW(struct placement);
    placement->cache = cache;
    placement->policies = policies;
    placement->seed = seed;
    placement->generation = placement->classes_revision = 1;
    placement->least_priority = INFINITY;
    map_init(&placement->pods, pod_free);
    map_init(&placement->classes, class_free);
    map_init(&placement->slots_by_name, NULL);
    map_init(&placement->reasons, free);
    list_init(&placement->recent);
    static const char *const first[] = {"cpu", "memory", "pods"};
    for (size_t i = 0; i < COUNT_OF(first); i++)
        view_resource(placement, first[i]);
    return placement;
}

void placement_free(struct placement *placement)
{
    if (!placement)
        return;
    for (size_t i = 0; i < placement->n_slots; i++) {
        free(placement->slots[i].name);
        cJSON_Delete(placement->slots[i].view);
        cJSON_Delete(placement->slots[i].used_ports);
    }
    for (size_t i = 0; i < placement->n_resources; i++)
        free(placement->resources[i]);
    free(placement->slots);
    free(placement->queue);
    map_fini(&placement->pods);
    map_fini(&placement->classes);
    map_fini(&placement->slots_by_name);
    map_fini(&placement->reasons);
    near_fini(placement);
    journal_fini(&placement->journal);
    free(placement);
}

/* ---- nodes ---- */

/* A slot by name. A pod may count on a node that is not there (yet): its slot has no view and is no
 * candidate. */
static int slot_ensure(struct placement *placement, const char *name)
{
    intptr_t found = (intptr_t)map_get(&placement->slots_by_name, name);
    if (found)
        return (int)found - 1;
    placement->slots = mem_resize(placement->slots, placement->n_slots + 1, sizeof(*placement->slots));
    struct node_slot *slot = &placement->slots[placement->n_slots++];
    *slot = (struct node_slot){.revision = 1, .hash = str_hash(name, strlen(name)), .view_ref = LUA_NOREF};
    map_set(&placement->slots_by_name, name, (void *)(intptr_t)placement->n_slots);
    return (int)placement->n_slots - 1;
}

void slot_moved(struct placement *placement, int at)
{
    if (++placement->slots[at].revision == 0)
        placement->slots[at].revision = 1;
}

static void add_usage(const struct placement *placement, const char *node, const struct amounts *allocatable,
                      cJSON *view)
{
    const struct cache_item *item =
        placement->wants_usage ? cache_get(placement->cache, METRICS, node) : NULL;
    auto_json metrics = item ? json_parse_trusted(item->bytes->data, item->bytes->len) : NULL;
    if (metrics)
        view_add_usage(metrics, allocatable, view);
}

/* False: nothing that policies see. */
bool node_read(struct placement *placement, const struct cache_item *item)
{
    auto_json node = json_parse_trusted(item->bytes->data, item->bytes->len);
    struct amounts allocatable = {0};
    cJSON *view = view_of_node(placement, node, &allocatable);
    add_usage(placement, item->name, &allocatable, view);
    int at = slot_ensure(placement, item->name);
    struct node_slot *slot = &placement->slots[at];
    bool same = slot->view && json_equal(slot->view, view) &&
                memcmp(&slot->allocatable, &allocatable, sizeof(allocatable)) == 0;
    if (same) { /* a status that says nothing new to policies */
        cJSON_Delete(view);
        return false;
    }
    journal_node(placement, at);
    if (!slot->name) {
        slot->name = mem_strdup(item->name);
        placement->n_nodes++;
    }
    cJSON_Delete(slot->view);
    slot->view = view;
    slot->allocatable = allocatable;
    near_node_changed(placement, at);
    slot_moved(placement, at);
    return true;
}

static void node_changed(struct placement *placement, const struct cache_item *item)
{
    if (node_read(placement, item))
        placement->generation++;
}

/* How much is in use says nothing about what fits: what waits goes on waiting. */
static void usage_changed(struct placement *placement, const char *name)
{
    const struct cache_item *node =
        placement->wants_usage ? cache_get(placement->cache, "nodes", name) : NULL;
    if (node)
        node_read(placement, node);
}

static void node_gone(struct placement *placement, const char *name)
{
    int at = slot_ensure(placement, name);
    struct node_slot *slot = &placement->slots[at];
    if (!slot->name)
        return;
    journal_node(placement, at);
    free(steal(&slot->name));
    cJSON_Delete(steal(&slot->view));
    placement->n_nodes--;
    placement->generation++;
}

/* ---- pods ---- */

static void count_peer(struct pod_class *class, int slot, int change, int leaving)
{
    for (size_t i = 0; i < class->n_peers; i++) {
        if (class->peers[i].slot != slot)
            continue;
        class->peers[i].count += change;
        class->peers[i].leaving += leaving;
        if (class->peers[i].count == 0)
            class->peers[i] = class->peers[--class->n_peers];
        return;
    }
    class->peers = mem_resize(class->peers, class->n_peers + 1, sizeof(*class->peers));
    class->peers[class->n_peers++] = (struct peer){.slot = slot, .count = change, .leaving = leaving};
}

static void count_ports(struct node_slot *slot, const struct pod_class *class, int change)
{
    json_each (port, json_get(class->view, "host_ports")) {
        if (!slot->used_ports)
            slot->used_ports = cJSON_CreateObject();
        double count = change;
        const cJSON *old = json_get(slot->used_ports, port->valuestring);
        if (old)
            count += old->valuedouble;
        if (count > 0)
            json_set(slot->used_ports, port->valuestring, cJSON_CreateNumber(count));
        else
            json_remove(slot->used_ports, port->valuestring);
    }
}

void count_class(struct placement *placement, struct pod_class *class, int slot, int change, int leaving)
{
    count_peer(class, slot, change, leaving);
    if (!change)
        return;
    for (int i = 0; i < RESOURCES_MAX; i++)
        placement->slots[slot].requested.of[i] += change * class->requests.of[i];
    count_ports(&placement->slots[slot], class, change);
    slot_moved(placement, slot);
}

void count_on(struct placement *placement, struct waiting_pod *pod, int slot)
{
    if (pod->slot == slot)
        return;
    int old = pod->slot;
    for (int side = 0; side < 2; side++) {
        int at = side ? slot : old, sign = side ? 1 : -1;
        if (at < 0)
            continue;
        int leaving = pod->leaving ? sign : 0;
        journal_count(placement, at, pod->class->text, sign, leaving);
        count_class(placement, pod->class, at, sign, leaving);
    }
    pod->slot = slot;
    placement->moves++;
    if (old >= 0)
        placement->generation++; /* room was made */
}

struct pod_class *class_new(struct placement *placement, cJSON *view, const char *key,
                            const struct amounts *requests)
{
    struct pod_class *class = NEW(struct pod_class);
    class->hash = str_hash(key, strlen(key));
    class->view = view;
    class->requests = *requests;
    class->key = mem_strdup(key);
    class->text = class_text_new(key, requests);
    list_init(&class->recent);
    map_set(&placement->classes, class->key, class);
    near_read(placement, class);
    placement->classes_revision++;
    return class;
}

static struct pod_class *class_of(struct placement *placement, const cJSON *object, const cJSON *volumes)
{
    struct amounts requests = {0};
    cJSON *view = view_of_pod(placement, object, &requests);
    if (volumes && volumes->child)
        json_set(view, "volumes", json_copy(volumes));
    auto_free char *key = json_print(view);
    struct pod_class *class = map_get(&placement->classes, key);
    if (class) {
        cJSON_Delete(view);
    } else {
        class = class_new(placement, view, key, &requests);
    }
    class->pods++;
    return class;
}

static void class_release(struct placement *placement, struct pod_class *class)
{
    if (--class->pods)
        return;
    class_drop_verdicts(placement, class);
    if (class->view_generation == placement->policies->sandbox.generation)
        luaL_unref(placement->policies->sandbox.L, LUA_REGISTRYINDEX, class->view_ref);
    placement->n_with_terms -= class->near.n_terms > 0;
    placement->classes_revision++;
    map_remove(&placement->classes, class->key);
}

void pod_hold(struct placement *placement, struct waiting_pod *pod, bool held)
{
    placement->n_held += held;
    placement->n_held -= pod->held;
    pod->held = held;
}

static void pod_gone(struct placement *placement, const char *key)
{
    struct waiting_pod *pod = map_get(&placement->pods, key);
    if (!pod)
        return;
    placement->dirty = placement->dirty || pod->waits;
    pod_hold(placement, pod, false);
    nominate(placement, pod, -1);
    count_on(placement, pod, -1);
    class_release(placement, pod->class);
    map_remove(&placement->pods, key);
}

/* Also after a restart of the manager: the pod says itself where room is being made. */
static void read_nomination(struct placement *placement, struct waiting_pod *pod, const cJSON *object)
{
    const char *node = json_string(object, "status.nominatedNodeName");
    bool ended = str_empty(node) || !pod->waits;
    if (ended && pod->nominated >= 0) {
        nominate(placement, pod, -1);
        count_on(placement, pod, -1);
    } else if (!ended && pod->nominated < 0)
        nominate(placement, pod, slot_ensure(placement, node));
    if (pod->nominated >= 0 && !pod->assumed)
        count_on(placement, pod, pod->nominated);
}

/* Ours to place: no other scheduler's, no gates. */
static bool is_ours(const cJSON *object)
{
    const char *scheduler = json_string(object, "spec.schedulerName");
    const cJSON *gates = json_at(object, "spec.schedulingGates");
    return (!scheduler || !*scheduler || str_eq(scheduler, "default-scheduler")) && !(gates && gates->child);
}

void pod_read(struct placement *placement, struct waiting_pod *pod, const struct cache_item *item)
{
    auto_json object = json_parse_trusted(item->bytes->data, item->bytes->len);
    int slot = pod->slot;
    if (pod->class) {
        count_on(placement, pod, -1);
        class_release(placement, pod->class);
    }
    pod->class = class_of(placement, object, pod->volumes);
    count_on(placement, pod, slot);
    pod->priority = cJSON_GetNumberValue(json_get(pod->class->view, "priority"));
    time_parse(json_string_or(object, "metadata.creationTimestamp", "1970-01-01T00:00:00Z"), &pod->created_ns,
               NULL);
    pod->waits = is_ours(object);
    pod->never_preempts = str_eq(json_string(object, "spec.preemptionPolicy"), "Never");
    read_nomination(placement, pod, object);
}

/* Of what its class is made of, the spec of a bound pod does not change; its labels and its owner do. */
static bool is_reclassed(const struct cache_item *previous, const struct cache_item *item)
{
    return previous && (!str_eq(previous->owner_uid, item->owner_uid) ||
                        !json_equal(json_get(previous->columns, "metadata.labels"),
                                    json_get(item->columns, "metadata.labels")));
}

static void pod_changed(struct placement *placement, const struct cache_item *previous,
                        const struct cache_item *item)
{
    const char *node = cJSON_GetStringValue(json_get(item->columns, "spec.nodeName"));
    const char *phase = cJSON_GetStringValue(json_get(item->columns, "status.phase"));
    bool ended = str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
    struct waiting_pod *pod = map_get(&placement->pods, item->key);
    if (pod && !str_eq(pod->uid, item->uid)) {
        pod_gone(placement, item->key);
        pod = NULL;
    }
    if (ended || (item->deleting && str_empty(node))) {
        pod_gone(placement, item->key);
        return;
    }
    bool fresh = !pod;
    if (fresh) {
        pod = NEW(struct waiting_pod);
        pod->key = mem_strdup(item->key);
        pod->uid = mem_strdup(item->uid);
        pod->slot = pod->nominated = -1;
        map_set(&placement->pods, item->key, pod);
    }
    if (fresh || pod->waits || str_empty(node) || is_reclassed(previous, item))
        pod_read(placement, pod, item);
    placement->dirty = true;
    if (str_empty(node))
        return;
    pod->waits = pod->assumed = false;
    pod_hold(placement, pod, false);
    nominate(placement, pod, -1);
    if (pod->priority < placement->least_priority)
        placement->least_priority = pod->priority;
    count_on(placement, pod, slot_ensure(placement, node));
    if (item->deleting && !pod->leaving) {
        pod->leaving = true;
        placement->moves++;
        journal_count(placement, pod->slot, pod->class->text, 0, 1);
        count_class(placement, pod->class, pod->slot, 0, 1);
    }
}

/* Terms may name namespaces by their labels. */
static void namespace_changed(struct placement *placement, const struct cache_item *previous,
                              const struct cache_item *item)
{
    if (previous && item &&
        json_equal(json_get(previous->columns, "metadata.labels"),
                   json_get(item->columns, "metadata.labels")))
        return;
    placement->classes_revision++;
    placement->generation++;
}

/* A claim, volume or class changed: what waits for one may go on. */
static void storage_changed(struct placement *placement)
{
    if (!placement->n_held)
        return;
    map_each (entry, &placement->pods) {
        struct waiting_pod *pod = entry->value;
        if (pod->held)
            pod->tried = 0;
    }
}

void placement_on_change(struct placement *placement, const char *resource, const struct cache_item *previous,
                         const struct cache_item *item)
{
    if (str_eq(resource, "pods")) {
        if (item)
            pod_changed(placement, previous, item);
        else
            pod_gone(placement, previous->key);
    } else if (str_eq(resource, "nodes")) {
        if (item)
            node_changed(placement, item);
        else
            node_gone(placement, previous->name);
    } else if (str_eq(resource, METRICS)) {
        usage_changed(placement, item ? item->name : previous->name);
    } else if (str_eq(resource, "persistentvolumeclaims") || str_eq(resource, "persistentvolumes") ||
               str_eq(resource, "storageclasses.storage.k8s.io")) {
        storage_changed(placement);
    } else if (str_eq(resource, "namespaces")) {
        namespace_changed(placement, previous, item);
    }
}
