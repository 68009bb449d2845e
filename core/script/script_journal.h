/*
 * script_journal: how the scheduler's view of nodes and pods came about, one entry per change, so that the
 * view of any recorded decision can be made again by going backwards from the present one. A copy of the
 * placement engine that goes back (a replay) or keeps up (a shadow) is the real engine, with other policies.
 *
 * An entry is some thirty bytes: pods of a class came to or left a node, or a node's own description changed.
 */
#ifndef M8_SCRIPT_JOURNAL_H
#define M8_SCRIPT_JOURNAL_H

#include "base/json.h"
#include "base/map.h"

#define JOURNAL_BYTES_PER_DECISION 256 /* entries that one decision brings, on average */
#define JOURNAL_ENTRIES 1000000        /* at most; older decisions cannot be taken again then */
#define JOURNAL_NODES 20000            /* of them descriptions of nodes, a kilobyte each */

struct pod_class_text; /* what makes a class, for as long as a decision refers to it */
const char *class_text_of(const struct pod_class_text *text); /* the class's view as JSON */
void class_text_key(const struct pod_class_text *text, char key[17]);
/* {"class": key, "view", "requests"} */
void class_text_print(const struct pod_class_text *text, struct str *out);
struct pod_class_text *class_text_read(const cJSON *json); /* NULL: it is none */
struct pod_class_text *class_text_ref(struct pod_class_text *text);
void class_text_unref(struct pod_class_text *text); /* NULL is fine */

struct journal_entry {
    int slot;
    int change, leaving;          /* of the pods of the class there */
    struct pod_class_text *class; /* NULL: the node changed */
    struct journal_node *node;    /* as it was before */
    uint32_t turn, turn_before;   /* neither: a pod was placed there */
};

struct journal {
    bool wanted; /* there are decisions that need it */
    struct journal_entry *entries;
    size_t first, count, room, nodes; /* nodes: entries with a description */
    uint64_t base;                    /* position of the first entry kept; the next one is at base + count */
};

struct placement;
void journal_fini(struct journal *journal);
uint64_t journal_position(const struct journal *journal);
void journal_forget(struct journal *journal, uint64_t position); /* what lies before it */
/* To be called before the change. */
void journal_count(struct placement *placement, int slot, struct pod_class_text *class, int change,
                   int leaving);
void journal_node(struct placement *placement, int slot);
void journal_turn(struct placement *placement, int slot, uint32_t turn);

/* A copy of the engine with its counts as they are; it has no pods of its own and follows no cache. policies:
 * of the copy; borrowed. */
struct policies;
struct placement *placement_copy(const struct placement *placement, struct policies *policies);
/* Brings a copy from one position of the original's journal to another, back or forward. False: entries are
 * gone. */
bool placement_travel(struct placement *copy, const struct placement *original, uint64_t from, uint64_t to);

/* The record tells which part of the journal it still needs. */
struct record;
void placement_record(struct placement *placement, struct record *record);
uint64_t placement_journal_position(const struct placement *placement);
/* {node, score}, or an empty one. Caller owns. */
cJSON *placement_result_json(const char *node, double score);

struct placement_verdict {
    const char *node; /* NULL: none; borrowed from the copy */
    double score;
    bool failed; /* a policy failed */
};
/* What a copy decides about a pod of the class. */
void placement_try(struct placement *copy, struct pod_class_text *class, const char *uid, int nominated,
                   size_t n_resources, struct placement_verdict *verdict);
/* The next tries of the copy, which is where the original is, take over what the original's filters have just
 * said about the class that is being decided. False: nothing is being decided. */
bool placement_take_over(struct placement *copy, const struct placement *original);
/* Whether the last try of the class refused the node. */
bool placement_refuses(struct placement *copy, struct pod_class_text *class, const char *node);
/* The number in a label of a node, or 0. */
double placement_node_number(const struct placement *placement, const char *node, const char *label);

/* ---- for a later process (script_placement_past.c) ---- */

struct past_writer {
    /* Called for each class that a text is about to name: its own text must come before. */
    void (*need)(void *arg, const struct pod_class_text *class);
    void *arg;
    uint64_t position; /* up to which changes are written */
    size_t resources;
};
/* {"world": all of it as it is now} */
void placement_text_world(const struct placement *placement, struct past_writer *writer, struct str *out);
/* {"changes": what is not yet written}, or nothing. False: not all of it is known any more. */
bool placement_text_changes(const struct placement *placement, struct past_writer *writer, struct str *out);
/* An engine as it was then, for placement_try only; it decides by `policies` (borrowed, like classes, key →
 * text). NULL, false: the text is not whole. */
struct placement *placement_past(const cJSON *world, const struct map *classes, const struct placement *like,
                                 struct policies *policies);
bool placement_past_change(struct placement *past, const cJSON *changes, const struct map *classes);

#endif
