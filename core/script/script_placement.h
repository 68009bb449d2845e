/*
 * script_placement: which node a pod goes to: the memoised filter and score engine (contract 18). Mechanism
 * only: what is feasible and what is better is decided by the policies of scheduler.filter and
 * scheduler.score.
 *
 * A policy sees a flat pod view (one per class of pods that differ in nothing that matters) and a flat node
 * view, both read-only. A verdict is kept per (epoch of the policies, class, revision of the node); placing a
 * pod moves the revision of one node, so the next pod costs one evaluation. Placed pods count at once
 * (assumed) until the cache shows them bound.
 */
#ifndef M8_SCRIPT_PLACEMENT_H
#define M8_SCRIPT_PLACEMENT_H

#include "script/script_policies.h"

struct placement;
struct placement *placement_new(const struct cache *cache, struct policies *policies, uint64_t seed);
void placement_free(struct placement *placement);
/* The columns of pods that must be projected: spec.nodeName, status.phase. */
void placement_project(struct cache *cache);
void placement_on_change(struct placement *placement, const char *resource, const struct cache_item *previous,
                         const struct cache_item *item);

/* Keys of pods that wait and may fit now, by priority, age, key; NULL-terminated, free() the array only;
 * valid until the next change. Assumed pods that the cache does not show bound count as not bound again: call
 * it only when the results of the last plan have been seen. now: wall clock in seconds, for the record. */
const char **placement_pending(struct placement *placement, double now, size_t limit, size_t *count);

struct placement_result {
    const char *node; /* NULL: none; valid until the next change */
    double score;
    bool fallback;
    char *by;      /* policies with versions, and the best scores; caller frees, as all texts */
    char *scores;  /* the best three nodes and what each policy gave them */
    char *message; /* when node is NULL: "0/3 nodes are available: …" */
    char *nodes;   /* and the reason of each node, bounded */
};
/* Chooses and assumes. volumes: what the pod's claims allow, shown to policies as pod.volumes; NULL: no
 * claims. ERR_NOT_FOUND: the pod does not wait. */
int placement_place(struct placement *placement, const char *key, const cJSON *volumes, double now,
                    struct placement_result *result, struct err **err);
/* The pod waits for its claims: not assumed any more, and not pending before nodes or storage change. */
void placement_skip(struct placement *placement, const char *key);

/* Where room could be made for a pod that no node can take, by pods of lower priority: array of {node,
 * victims: [{key, uid, namespace, labels, priority, created}]}; no victims: waiting is enough. protected:
 * object whose keys are pods that rather stay. Empty when the pod may not, or room is being made already.
 * Caller owns. */
cJSON *placement_victims(struct placement *placement, const char *key, const cJSON *protected, double now);
/* Reserves the node for the pod; the victims count as going. */
void placement_nominate(struct placement *placement, const char *key, const char *node, const cJSON *victims);

#endif
