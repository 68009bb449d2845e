/*
 * script_placement_preempt: room for a pod that no node can take, at the cost of pods of lower priority. For
 * each node: without all of them the pod must fit; then as many as possible come back, those that a
 * disruption budget protects and those of high priority first. What is left are the victims there; on which
 * node it shall be, a policy decides (scheduler.preempt).
 *
 * The engine's own counts are changed for a trial and put back, so everything that policies can see
 * (resources, ports, neighbours) is tried as it would be. The node that was chosen is reserved for the pod
 * until it is placed: pods of lower priority do not see that room.
 */
#include <string.h>

#include "script/script_placement_private.h"

#define MAX_CANDIDATES 50 /* nodes where it would work */

struct trial {
    struct placement *placement;
    struct waiting_pod *pod;
    double now;
    struct waiting_pod *
        *lower; /* all pods of lower priority that have a node: by node, then first to come back */
    size_t n_lower;
};

/* ---- reservations ---- */

/* Counts change for a moment only: nothing else becomes feasible by it. */
struct generations {
    uint64_t generation, moves;
};

static struct generations generations_of(const struct placement *placement)
{
    return (struct generations){placement->generation, placement->moves};
}

static void generations_restore(struct placement *placement, struct generations saved)
{
    placement->generation = saved.generation;
    placement->moves = saved.moves;
}

void reservations_lift(struct placement *placement, const struct waiting_pod *pod)
{
    struct generations saved = generations_of(placement);
    for (size_t i = 0; placement->n_nominated && i < placement->n_queue; i++) {
        struct waiting_pod *each = placement->queue[i];
        if (each->waits && !each->assumed && each->nominated >= 0 && each->slot >= 0 &&
            (each == pod || each->priority < pod->priority))
            count_on(placement, each, -1);
    }
    generations_restore(placement, saved);
}

void reservations_return(struct placement *placement)
{
    struct generations saved = generations_of(placement);
    for (size_t i = 0; placement->n_nominated && i < placement->n_queue; i++) {
        struct waiting_pod *each = placement->queue[i];
        if (each->waits && !each->assumed && each->nominated >= 0 && each->slot < 0)
            count_on(placement, each, each->nominated);
    }
    generations_restore(placement, saved);
}

void nominate(struct placement *placement, struct waiting_pod *pod, int slot)
{
    placement->n_nominated += (slot >= 0) - (pod->nominated >= 0);
    pod->nominated = slot;
}

/* ---- trying ---- */

static bool is_going(const struct waiting_pod *pod)
{
    return pod->leaving || pod->doomed;
}

static bool fits(const struct trial *trial, int slot)
{
    bool fallback = false;
    evaluate_class(trial->placement, trial->pod->class, trial->now, &fallback);
    return !slot_reason(trial->pod->class, (size_t)slot);
}

static int compare_lower(const void *a, const void *b)
{
    const struct waiting_pod *x = *(struct waiting_pod *const *)a, *y = *(struct waiting_pod *const *)b;
    if (x->slot != y->slot)
        return x->slot < y->slot ? -1 : 1;
    if (x->protected != y->protected)
        return x->protected ? -1 : 1;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    if (x->created_ns != y->created_ns)
        return x->created_ns < y->created_ns ? -1 : 1;
    return strcmp(x->key, y->key);
}

static void collect_lower(struct trial *trial, const cJSON *protected)
{
    struct placement *placement = trial->placement;
    trial->lower = mem_array(placement->pods.count + 1, sizeof(struct waiting_pod *));
    map_each (entry, &placement->pods) {
        struct waiting_pod *pod = entry->value;
        if (pod->slot < 0 || pod->waits || pod->assumed || pod->priority >= trial->pod->priority)
            continue;
        pod->protected = json_get(protected, pod->key) != NULL;
        trial->lower[trial->n_lower++] = pod;
    }
    qsort(trial->lower, trial->n_lower, sizeof(struct waiting_pod *), compare_lower);
}

static cJSON *victim_of(const struct waiting_pod *pod)
{
    cJSON *victim = cJSON_CreateObject();
    json_set_string(victim, "key", pod->key);
    json_set_string(victim, "uid", pod->uid);
    json_set(victim, "priority", cJSON_CreateNumber(pod->priority));
    json_set(victim, "created", cJSON_CreateNumber((double)(pod->created_ns / 1000000000)));
    json_set(victim, "labels", json_copy(json_get(pod->class->view, "labels")));
    json_set_string(victim, "namespace", json_string(pod->class->view, "namespace"));
    return victim;
}

/* The victims on one node, or NULL: nothing helps there. All counts are as before afterwards. */
static cJSON *try_node(const struct trial *trial, struct waiting_pod **lower, size_t count, int slot)
{
    struct placement *placement = trial->placement;
    cJSON *victims = NULL;
    for (size_t i = 0; i < count; i++)
        count_on(placement, lower[i], -1);
    if (fits(trial, slot)) {
        victims = cJSON_CreateArray();
        for (size_t i = 0; i < count; i++) {
            if (is_going(lower[i]))
                continue;
            count_on(placement, lower[i], slot);
            if (fits(trial, slot))
                continue;
            count_on(placement, lower[i], -1);
            json_push(victims, victim_of(lower[i]));
        }
    }
    for (size_t i = 0; i < count; i++)
        count_on(placement, lower[i], slot);
    return victims;
}

static void try_nodes(const struct trial *trial, cJSON *candidates)
{
    struct placement *placement = trial->placement;
    int found = 0;
    for (size_t from = 0, to; from < trial->n_lower && found < MAX_CANDIDATES; from = to) {
        int slot = trial->lower[from]->slot;
        for (to = from; to < trial->n_lower && trial->lower[to]->slot == slot; to++)
            ;
        if (!placement->slots[slot].name || (size_t)slot >= trial->pod->class->n_verdicts ||
            trial->pod->class->verdicts[slot].excluded)
            continue; /* nobody's going can help there */
        cJSON *victims = try_node(trial, trial->lower + from, to - from, slot);
        if (!victims)
            continue;
        found++;
        cJSON *candidate = json_push(candidates, cJSON_CreateObject());
        json_set_string(candidate, "node", placement->slots[slot].name);
        json_set(candidate, "victims", victims);
    }
}

/* Pods that make room where this one was promised it are still on their way out. */
static bool is_promised(const struct trial *trial)
{
    for (size_t i = 0; trial->pod->nominated >= 0 && i < trial->n_lower; i++)
        if (trial->lower[i]->slot == trial->pod->nominated && is_going(trial->lower[i]))
            return true;
    return false;
}

cJSON *placement_victims(struct placement *placement, const char *key, const cJSON *protected, double now)
{
    struct waiting_pod *pod = map_get(&placement->pods, key);
    cJSON *candidates = cJSON_CreateArray();
    if (!pod || !pod->waits || pod->assumed || pod->never_preempts ||
        pod->priority <= placement->least_priority || pod->class->hopeless == pod->tried)
        return candidates;
    struct trial trial = {.placement = placement, .pod = pod, .now = now};
    collect_lower(&trial, protected);
    struct generations saved = generations_of(placement);
    reservations_lift(placement, pod);
    if (trial.n_lower && !is_promised(&trial))
        try_nodes(&trial, candidates);
    reservations_return(placement);
    generations_restore(placement, saved);
    if (!candidates->child)
        pod->class->hopeless = pod->tried;
    free(trial.lower);
    return candidates;
}

void placement_nominate(struct placement *placement, const char *key, const char *node, const cJSON *victims)
{
    struct waiting_pod *pod = map_get(&placement->pods, key);
    intptr_t slot = (intptr_t)map_get(&placement->slots_by_name, node);
    if (!pod || !pod->waits || !slot)
        return;
    json_each (victim, victims) {
        struct waiting_pod *each = map_get(&placement->pods, json_string_or(victim, "key", ""));
        if (each)
            each->doomed = true;
    }
    struct generations saved = generations_of(placement);
    count_on(placement, pod, -1);
    generations_restore(placement, saved);
    nominate(placement, pod, (int)slot - 1);
    reservations_return(placement);
    placement->dirty = true;
}
