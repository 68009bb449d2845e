/* script_placement_private: what the files of the placement engine share. */
#ifndef M8_SCRIPT_PLACEMENT_PRIVATE_H
#define M8_SCRIPT_PLACEMENT_PRIVATE_H

#include "base/list.h"
#include "base/selector.h"
#include "script/script_journal.h"
#include "script/script_placement.h"

#define POINT_FILTER "scheduler.filter"
#define POINT_SCORE "scheduler.score"
#define POINT_FIRST "scheduler.first"
#define POINT_FILTER_NEAR "scheduler.filter.near"
#define POINT_SCORE_NEAR "scheduler.score.near"

#define TOP 3            /* nodes that are compared in words */
#define RESOURCES_MAX 16 /* cpu (milli), memory, pods, and up to 13 more names */

struct amounts {
    int64_t of[RESOURCES_MAX];
};

#define SHARES 6 /* of score policies that a verdict remembers */

enum { EXCLUDED_BY_SELECTOR = 1, EXCLUDED_BY_TAINTS = 2 };

struct verdict {
    unsigned revision;  /* of the node, 0: none yet */
    uint8_t excluded;   /* EXCLUDED_BY_…: for spreading, such a node's domain may not count */
    const char *reason; /* interned; NULL: feasible */
    double score;
};

struct peer {
    int slot, count, leaving; /* leaving: of count, those that are being deleted */
};

/* ---- what lies around a node (script_placement_near.c) ---- */

enum near_role { NEAR_AFFINITY, NEAR_ANTI, NEAR_PREFERRED, NEAR_SPREAD };

struct near_term { /* of a class; JSON is borrowed from the class's view */
    enum near_role role;
    struct selector *selector; /* of pods; NULL: none */
    struct selector *namespace_selector;
    const cJSON *namespaces; /* array of names, or NULL */
    const char *own_namespace;
    int topology;
    int64_t weight; /* preferred; below 0: rather not */
    int64_t max_skew, min_domains;
    bool hard, honor_affinity, honor_taints;
    bool counts_itself; /* the pods of the class match their own term */
};

struct near_link { /* pods of `counted` match the term (own), or carry it (foreign) */
    const struct near_term *term;
    const struct pod_class *counted;
};

struct near_links {
    struct near_link *at;
    size_t count;
};

struct near_topology {
    char *key;
    struct map values; /* label value → number + 1 */
    int n_values;
    int *of_slot; /* -1: the node has no such label */
    size_t n_slots;
};

struct near_row { /* the numbers that a policy saw, and what was said */
    struct near_row *next;
    unsigned long long hash;
    struct verdict verdict;
    float shares[SHARES];
    int64_t values[];
};

struct near { /* what a class keeps for its terms */
    struct near_term *terms;
    size_t n_terms;
    struct near_links own, foreign;
    uint64_t links_revision; /* classes_revision of the placement */
    struct near_row **rows;  /* hash table, or NULL */
    size_t n_rows, width;
    struct near_row **of_slot; /* of the last pass; NULL where no node is */
    size_t n_of_slot;
};

struct pod_class { /* pods that no policy can tell apart */
    char *key;
    struct pod_class_text *text; /* the same for the journal and the record */
    cJSON *view;
    struct amounts requests;
    unsigned long long hash;
    unsigned pods; /* that refer to it */
    struct peer *peers;
    size_t n_peers;
    struct verdict *verdicts; /* per slot; NULL: not kept */
    float (*shares)[SHARES];  /* likewise: of the score, in the order of the policies */
    size_t n_verdicts;
    uint64_t epoch;             /* of the policies, for the verdicts */
    uint64_t failed_generation; /* no node was feasible then */
    uint64_t hopeless;          /* generation in which no room could be made either */
    char *failed_message, *failed_nodes;
    struct list recent;
    struct near near;
    int view_ref;
    unsigned view_generation;
};

struct waiting_pod {
    char *key, *uid;
    struct pod_class *class;
    cJSON *volumes; /* what its claims allow, as last told; NULL: nothing to say */
    int slot;       /* counts on this node, -1: on none */
    int nominated;  /* room is being made there, -1: nowhere */
    bool assumed, waits, leaving;
    bool held;   /* by its claims: tried again when storage changes */
    bool doomed; /* its deletion was planned, and not seen yet */
    bool protected, never_preempts;
    double priority, order; /* order: as scheduler.first says, of order_epoch */
    uint64_t order_epoch;
    int64_t created_ns;
    uint64_t tried; /* generation */
};

struct node_slot {
    char *name;  /* NULL: free */
    cJSON *view; /* without what pods change */
    struct amounts allocatable, requested;
    cJSON *used_ports; /* {"TCP/80": pods} or NULL */
    unsigned revision;
    uint32_t turn; /* of the last pod that was placed here: larger is later; 0: none yet */
    unsigned long long hash;
    int view_ref;
    unsigned view_generation, view_revision;
};

struct placement {
    const struct cache *cache;
    struct policies *policies;
    uint64_t seed, generation; /* generation: moves when something may fit that did not */
    uint64_t epoch_seen;
    struct map pods, classes, slots_by_name, reasons;
    uint64_t classes_revision; /* moves when a class comes or goes, or a namespace's labels change */
    uint64_t moves;            /* of pods onto nodes: then what depends on neighbours may fit */
    size_t n_with_terms;       /* classes that have terms */
    size_t n_nominated;        /* pods that room is being made for */
    double least_priority;     /* of all pods that had a node */
    struct near_topology *topologies;
    size_t n_topologies;
    struct node_slot *slots;
    size_t n_slots, n_nodes;
    char *resources[RESOURCES_MAX];
    size_t n_resources;
    struct list recent; /* classes with verdicts, latest first */
    size_t n_recent;
    struct waiting_pod **queue; /* waiting, in order; rebuilt when dirty */
    size_t n_queue, n_held;
    bool dirty;
    struct journal journal;
    uint32_t turns;
    const struct pod_class *judged; /* while its decision is recorded: its verdicts are up to date */
    const struct pod_class *judge; /* of a copy that keeps up: what the filters said, for the class in hand */
    bool wants_usage;              /* a policy looks at what nodes use */
    bool fell_back[2];             /* in the last evaluation: filter and score, and those of near */
    uint64_t left_out[4]; /* in the last evaluations: optional ones that failed: filter, score, and near */
};

/* views: JSON objects → flat views (script_placement_view.c). */
int view_resource(struct placement *placement, const char *name);                            /* index or -1 */
cJSON *view_of_pod(struct placement *placement, const cJSON *pod, struct amounts *requests); /* caller owns */
cJSON *view_of_node(struct placement *placement, const cJSON *node, struct amounts *allocatable);
/* What a NodeMetrics says, as view.usage. */
void view_add_usage(const cJSON *metrics, const struct amounts *allocatable, cJSON *view);
/* Pushes the frozen view; builds it when the sandbox or the node moved. */
void view_push_node(struct placement *placement, struct node_slot *slot);
void view_push_class(struct placement *placement, struct pod_class *class);

/* What is evaluated: a node, or a row of numbers about its domains. */
struct target {
    struct verdict *verdict;
    float *shares;
    int slot; /* -1: row */
    const struct near_row *row;
};

/* Brings all verdicts of the class up to date; *fallback: the shipped policies decided (then the verdicts are
 * not kept). */
void evaluate_class(struct placement *placement, struct pod_class *class, double now, bool *fallback);
int class_peers(const struct pod_class *class, int slot);

/* Reads the terms of a new class from its view. */
void near_read(struct placement *placement, struct pod_class *class);
void near_free(struct pod_class *class);
void near_drop_rows(struct pod_class *class);
/* Whether verdicts of the class depend on neighbours, by its own terms or by those of pods that are there. */
bool near_concerns(struct placement *placement, struct pod_class *class);
void near_node_changed(struct placement *placement, int slot);
/* Gives every node its row; *targets: the rows that nothing was said about yet. Caller frees the array. */
struct target *near_rows(struct placement *placement, struct pod_class *class, size_t *count);
cJSON *near_view(const struct placement *placement, const struct pod_class *class,
                 const struct near_row *row);
void near_fini(struct placement *placement);

/* ---- what is kept from the cache (script_placement.c) ---- */

/* A Node as the cache has it now; false: nothing that policies see has changed. */
bool node_read(struct placement *placement, const struct cache_item *item);
void pod_read(struct placement *placement, struct waiting_pod *pod, const struct cache_item *item);
/* By its claims: tried again when storage changes. */
void pod_hold(struct placement *placement, struct waiting_pod *pod, bool held);
void class_drop_verdicts(struct placement *placement, struct pod_class *class);
void count_on(struct placement *placement, struct waiting_pod *pod, int slot);
/* So many more pods of the class on the slot, of which so many leave. */
void count_class(struct placement *placement, struct pod_class *class, int slot, int change, int leaving);
/* Gives every pod of the array its place in the queue that has none yet. */
void order_pods(struct placement *placement, struct waiting_pod **pods, size_t count, double now);
void slot_moved(struct placement *placement, int at);
/* Takes view. */
struct pod_class *class_new(struct placement *placement, cJSON *view, const char *key,
                            const struct amounts *requests);
struct pod_class *class_by_text(struct placement *copy, struct pod_class_text *text); /* of a copy */
const struct amounts *class_text_requests(const struct pod_class_text *text);
struct pod_class_text *class_text_new(const char *view, const struct amounts *requests);
/* Brings the verdicts about the pod's class up to date and chooses: the slot, or -1. */
int choose_slot(struct placement *placement, const struct waiting_pod *pod, double now, int top[TOP],
                size_t *count, bool *fallback);

/* Room that is being made for a pod (script_placement_preempt.c): counts on the node unless lifted for the
 * pod itself and those that are more important. */
void nominate(struct placement *placement, struct waiting_pod *pod, int slot); /* -1: no longer */
void reservations_lift(struct placement *placement, const struct waiting_pod *pod);
void reservations_return(struct placement *placement);

/* From verdicts to a choice (script_placement_choose.c): slots of the best, best first; 0: none is feasible.
 */
/* Into the record of the policies, if there is one; before the pod counts on its node. */
void record_placement(struct placement *placement, const struct waiting_pod *pod,
                      const struct placement_result *result, double now, int64_t cpu_ns);

/* Who decides about pods of the class. */
struct policy_list *list_for(const struct placement *placement, const struct pod_class *class,
                             const char *name, bool fallback);
size_t choose_top(const struct placement *placement, const struct waiting_pod *pod, int top[TOP]);
/* Texts; the caller frees. */
char *explain_message(const struct placement *placement, const struct pod_class *class);
char *explain_nodes(const struct placement *placement, const struct pod_class *class);
char *explain_policies(const struct placement *placement, const struct pod_class *class, const int top[TOP],
                       size_t count, bool fallback);
char *explain_scores(const struct placement *placement, const struct pod_class *class, const int top[TOP],
                     size_t count, bool fallback);

/* NULL: feasible. */
static inline const char *slot_reason(const struct pod_class *class, size_t slot)
{
    const struct near_row *row = slot < class->near.n_of_slot ? class->near.of_slot[slot] : NULL;
    return class->verdicts[slot].reason ? class->verdicts[slot].reason : row ? row->verdict.reason : NULL;
}

static inline double slot_score(const struct pod_class *class, size_t slot)
{
    const struct near_row *row = slot < class->near.n_of_slot ? class->near.of_slot[slot] : NULL;
    return class->verdicts[slot].score + (row ? row->verdict.score : 0);
}

#endif
