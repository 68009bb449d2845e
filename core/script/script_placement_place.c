/*
 * script_placement_place: what waits, in which order, and placing it: nodes are looked at in slot order and
 * ties are broken by a hash of seed, pod and node, so that a run repeats under its seed. At
 * most KEPT_CLASSES classes keep verdicts.
 */
#include <string.h>

#include "base/time.h"
#include "script/script_placement_private.h"

#define KEPT_CLASSES 64

/* ---- what waits ---- */

static int compare_waiting(const void *a, const void *b)
{
    const struct waiting_pod *x = *(struct waiting_pod *const *)a, *y = *(struct waiting_pod *const *)b;
    if (x->order != y->order)
        return x->order > y->order ? -1 : 1;
    if (x->created_ns != y->created_ns)
        return x->created_ns < y->created_ns ? -1 : 1;
    if (x->class !=
        y->class) /* of one second: those of a class together, because its verdicts are fresh then */
        return strcmp(x->class->key, y->class->key);
    return strcmp(x->key, y->key);
}

static void order_queue(struct placement *placement, double now)
{
    placement->dirty = false;
    placement->queue = mem_resize(placement->queue, placement->pods.count + 1, sizeof(*placement->queue));
    placement->n_queue = 0;
    map_each (entry, &placement->pods) {
        struct waiting_pod *pod = entry->value;
        if (pod->assumed) { /* its binding was refused or got lost */
            pod->assumed = false;
            pod->tried = 0;
            count_on(placement, pod, -1);
        }
        pod->doomed = false;
        if (pod->waits)
            placement->queue[placement->n_queue++] = pod;
    }
    order_pods(placement, placement->queue, placement->n_queue, now);
    qsort(placement->queue, placement->n_queue, sizeof(*placement->queue), compare_waiting);
    reservations_return(placement);
}

/* Moves when a pod of the class may fit that did not. */
static uint64_t generation_of(struct placement *placement, struct pod_class *class)
{
    return placement->generation + (near_concerns(placement, class) ? placement->moves : 0);
}

/* Other policies: what did not fit may fit, the queue has another order, other figures are wanted. */
static void policies_changed(struct placement *placement)
{
    bool wants_usage = policies_use_figures(placement->policies, "usage");
    placement->epoch_seen = placement->policies->epoch;
    placement->generation++;
    placement->dirty = true;
    if (placement->wants_usage == wants_usage)
        return;
    placement->wants_usage = wants_usage;
    for (size_t i = 0; i < placement->n_slots; i++) {
        const struct cache_item *node =
            placement->slots[i].name ? cache_get(placement->cache, "nodes", placement->slots[i].name) : NULL;
        if (node)
            node_read(placement, node);
    }
}

const char **placement_pending(struct placement *placement, double now, size_t limit, size_t *count)
{
    if (placement->epoch_seen != placement->policies->epoch)
        policies_changed(placement);
    if (placement->dirty)
        order_queue(placement, now);
    const char **keys = mem_array(limit + 1, sizeof(*keys));
    *count = 0;
    for (size_t i = 0; i < placement->n_queue && *count < limit; i++)
        if (placement->queue[i]->tried != generation_of(placement, placement->queue[i]->class))
            keys[(*count)++] = placement->queue[i]->key;
    return keys;
}

/* ---- choosing ---- */

static void prepare_verdicts(struct placement *placement, struct pod_class *class)
{
    if (class->n_verdicts < placement->n_slots) {
        class->verdicts = mem_resize(class->verdicts, placement->n_slots, sizeof(*class->verdicts));
        class->shares = mem_resize(class->shares, placement->n_slots, sizeof(*class->shares));
        memset(&class->verdicts[class->n_verdicts], 0,
               (placement->n_slots - class->n_verdicts) * sizeof(*class->verdicts));
        if (!class->n_verdicts)
            placement->n_recent++;
        class->n_verdicts = placement->n_slots;
    }
    if (class->epoch != placement->policies->epoch && class->n_verdicts) {
        memset(class->verdicts, 0, class->n_verdicts * sizeof(*class->verdicts));
        near_drop_rows(class);
    }
    class->epoch = placement->policies->epoch;
    list_remove(&class->recent);
    if (class->verdicts) /* without nodes there are none */
        list_add_head(&placement->recent, &class->recent);
    while (placement->n_recent > KEPT_CLASSES)
        class_drop_verdicts(placement, CONTAINER_OF(placement->recent.prev, struct pod_class, recent));
}

static void tell_failure(struct placement *placement, struct waiting_pod *pod,
                         struct placement_result *result)
{
    struct pod_class *class = pod->class;
    free(class->failed_message);
    free(class->failed_nodes);
    class->failed_message = explain_message(placement, class);
    class->failed_nodes = explain_nodes(placement, class);
    class->failed_generation =
        placement->n_nominated ? 0 : pod->tried; /* reservations are not alike for all */
    result->message = mem_strdup(class->failed_message);
    result->nodes = mem_strdup(class->failed_nodes);
}

int choose_slot(struct placement *placement, const struct waiting_pod *pod, double now, int top[TOP],
                size_t *count, bool *fallback)
{
    prepare_verdicts(placement, pod->class);
    evaluate_class(placement, pod->class, now, fallback);
    *count = choose_top(placement, pod, top);
    int best = *count ? top[0] : -1;
    for (size_t i = 0; i < *count; i++) /* where room was made for it */
        best = top[i] == pod->nominated ? pod->nominated : best;
    return best;
}

static void choose(struct placement *placement, struct waiting_pod *pod, double now,
                   struct placement_result *result)
{
    struct pod_class *class = pod->class;
    int top[TOP];
    size_t count;
    int64_t began = sandbox_cpu_ns(&placement->policies->sandbox);
    int best = choose_slot(placement, pod, now, top, &count, &result->fallback);
    if (best < 0) {
        tell_failure(placement, pod, result);
    } else {
        result->node = placement->slots[best].name;
        result->score = slot_score(class, (size_t)best);
        result->by = explain_policies(placement, class, top, count, result->fallback);
        result->scores = explain_scores(placement, class, top, count, result->fallback);
    }
    record_placement(placement, pod, result, now, sandbox_cpu_ns(&placement->policies->sandbox) - began);
    if (best < 0)
        return;
    pod->assumed = true;
    placement->dirty = true;
    count_on(placement, pod, best);
    journal_turn(placement, best, ++placement->turns);
    placement->slots[best].turn = placement->turns;
}

/* What its claims allow is part of what tells its class from others. */
static void use_volumes(struct placement *placement, struct waiting_pod *pod, const cJSON *volumes)
{
    const struct cache_item *item = cache_get(placement->cache, "pods", pod->key);
    bool same = volumes ? pod->volumes && json_equal(pod->volumes, volumes) : !pod->volumes;
    pod_hold(placement, pod, volumes != NULL);
    if (same || !item)
        return;
    cJSON_Delete(pod->volumes);
    pod->volumes = volumes ? json_copy(volumes) : NULL;
    pod_read(placement, pod, item);
}

void placement_skip(struct placement *placement, const char *key)
{
    struct waiting_pod *pod = map_get(&placement->pods, key);
    if (!pod || !pod->waits)
        return;
    pod_hold(placement, pod, true);
    pod->tried = generation_of(placement, pod->class);
    if (pod->assumed)
        count_on(placement, pod, -1);
    pod->assumed = false;
}

int placement_place(struct placement *placement, const char *key, const cJSON *volumes, double now,
                    struct placement_result *result, struct err **err)
{
    struct waiting_pod *pod = map_get(&placement->pods, key);
    *result = (struct placement_result){0};
    if (!pod || !pod->waits || pod->assumed)
        return err_set(err, ERR_NOT_FOUND, "pod %s does not wait for a node", key);
    use_volumes(placement, pod, volumes);
    struct pod_class *class = pod->class;
    pod->tried = generation_of(placement, class);
    if (class->failed_generation == pod->tried && class->epoch == placement->policies->epoch) {
        result->message = mem_strdup(class->failed_message);
        result->nodes = mem_strdup(class->failed_nodes);
        return 0;
    }
    reservations_lift(placement, pod);
    choose(placement, pod, now, result);
    reservations_return(placement);
    return 0;
}
