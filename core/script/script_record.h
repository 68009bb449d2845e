/*
 * script_record: the decisions of the last while, with everything that made them, so that each can be taken
 * again: by the version that took it, or by another one.
 *
 * A bounded ring in memory, oldest first out; nothing happens when nothing is decided. A keeper may write
 * along (script_record_file.h) and fill it again in a new process. What scheduling decisions have in common
 * (the nodes) is not copied per decision: see script_journal.h. One thread.
 */
#ifndef M8_SCRIPT_RECORD_H
#define M8_SCRIPT_RECORD_H

#include "base/json.h"
#include "base/map.h"

#define RECORD_DECISIONS 36000   /* an hour at 10 a second */
#define RECORD_BYTES (64u << 20) /* of inputs, results and texts; whichever is reached first */
#define SHADOWS_MAX 4            /* that decide beside at one point, or at those of one decision */
#define RECORD_LISTS 4           /* of one scheduling decision: filter, score, and both of near */

struct policy_point;
struct policy_list;
struct pod_class_text;
struct placement;

struct record_source { /* the text of a version */
    unsigned refs;
    char *name, *source;
    char hash[17];
    size_t len;
};

struct record_entry {
    struct record_source *source;
    cJSON *settings;
    double weight;
};

struct record_list { /* who was asked, in order */
    unsigned refs;
    unsigned long long number; /* unique in this process */
    const struct policy_point *point;
    struct record_entry *entries;
    size_t count;
};

struct record_segment { /* a file of decisions, while somebody may want to read what stands between them */
    unsigned refs;
    char *path;
};

struct decision_shadow {
    char *who, *result; /* "name@hash[: why it failed]"; JSON, or NULL */
    bool differs;
};

struct decision {
    uint64_t seq, revision;                  /* revision: of the store, that the inputs are of */
    int64_t at_ns;                           /* wall clock */
    const char *point, *kind;                /* borrowed from the point; kind: of the object, or NULL */
    char *object;                            /* what it is about: "namespace/name", or "" */
    struct record_list *lists[RECORD_LISTS]; /* those that decided: after a failure the shipped ones */
    uint64_t seed;
    double now;
    char *ctx, *candidates, *states; /* JSON; NULL: none */
    char *node, *agent;              /* who decided: an agent, and which start of it; NULL: the manager */
    uint64_t node_seq;               /* as that agent counts its own */
    bool past;                       /* it cannot be taken again: what made it is not all here (any more) */
    char *result;                    /* JSON */
    char *reasons;                   /* JSON array, or NULL */
    char *failure;                   /* why the active ones did not decide, or NULL */
    unsigned cpu_us;
    /* scheduling only */
    struct pod_class_text *class;
    char *uid;
    int nominated;
    size_t n_resources;
    uint64_t journal;               /* position: the nodes as they were */
    struct record_segment *segment; /* of an earlier process: where these stand instead; NULL: of this one */
    size_t offset;                  /* there: of the decision itself, behind all that made it */
    struct decision_shadow shadows[SHADOWS_MAX]; /* what others would have decided */
    size_t n_shadows;
    size_t bytes;
};

struct record {
    struct decision **ring;
    size_t first, count, most, bytes, most_bytes;
    uint64_t next_seq, forgotten;
    /* Called with each one that was added; NULL: nobody. */
    void (*on_added)(void *keeper, const struct decision *decision);
    void *keeper;
    const struct placement *placement; /* whose decisions are recorded, or NULL */
    /* Inputs that are older than this position are needed no more. */
    void (*on_forgotten)(void *arg, uint64_t journal);
    void *arg;
};

void record_init(struct record *record, size_t most, size_t most_bytes);
void record_fini(struct record *record);
/* Takes the decision; seq and bytes are filled in. */
void record_add(struct record *record, struct decision *decision);
struct decision *record_at(const struct record *record, size_t index); /* 0: the oldest */
struct decision *record_take(struct record *record); /* the newest one; the caller's then; NULL: none */
struct decision *record_find(const struct record *record, uint64_t seq);
void decision_free(struct decision *decision);

struct record_segment *record_segment_new(const char *path);
struct record_segment *record_segment_ref(struct record_segment *segment);
void record_segment_unref(struct record_segment *segment); /* NULL is fine */
struct record_source *record_source_new(const char *name, const char *hash, const char *source, size_t len);
struct record_source *record_source_ref(struct record_source *source);
void record_source_unref(struct record_source *source); /* NULL is fine */
/* Room for so many entries, none yet. */
struct record_list *record_list_new(const struct policy_point *point, size_t room);
/* left_out: a set of places in the list. */
struct record_list *record_list_of(const struct policy_point *point, const struct policy_list *list,
                                   uint64_t left_out);
struct record_list *record_list_ref(struct record_list *list);
void record_list_unref(struct record_list *list);       /* NULL is fine */
char *record_list_text(const struct record_list *list); /* "spread@1a2b3c4d,binpack@…"; caller owns */

/* Whether it is about that object ("namespace/name", "name"; "namespace/": all there; NULL: any), also about
 * a part of it, a container; kind NULL: of any kind. */
bool decision_about(const struct decision *decision, const char *kind, const char *object);

/* For people and programs: {seq, time, revision, point, kind, object, by, node, result, reasons, failure,
 * cpuMicros, shadow… (the first), shadows: [{by, result, differs}]}; with_inputs: also ctx, candidates,
 * states, settings. Caller owns. */
cJSON *decision_json(const struct decision *decision, bool with_inputs);

#endif
