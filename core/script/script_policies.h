/*
 * script_policies: the policies of a cluster: sources and their versions, which are active per decision
 * point, asking them, and what happens when one fails (requirements L1, L2; architecture "Policy").
 *
 * A version is accepted only after it compiled, ran, had the right shape and passed its examples, under
 * budget. Versions in use: the newest good one per name (of the last three), else the shipped one. Each
 * decision runs to its end on the versions it began with, because nothing here yields. One thread.
 */
#ifndef M8_SCRIPT_POLICIES_H
#define M8_SCRIPT_POLICIES_H

#include "script/script_record.h"
#include "script/script_sandbox.h"

#define POLICIES_KEPT 3          /* versions per name */
#define POLICIES_FAILURES_ROW 3  /* in a row: rolled back */
#define POLICIES_FAILURES_100 10 /* of 100 calls: rolled back */
#define POLICIES_STATES 10000    /* tables of ctx.state that are kept; the longest unused goes first */
#define POLICIES_STATE_MAX 4096  /* bytes of one as JSON */

enum policy_shape { SHAPE_ONE, SHAPE_FIRST, SHAPE_FILTER, SHAPE_SCORE, SHAPE_ORDER };

struct policy_version {
    char *name, *point, *source;
    char hash[17];
    size_t len;
    struct record_source *text; /* the same for the record */
    bool shipped, bad;
    bool from_file;  /* of the operator's folder */
    char *reason;    /* why it is bad */
    cJSON *settings; /* of the file */
    cJSON *before, *after;
    cJSON *uses;                   /* array: figures that it wants to be collected */
    unsigned row, calls, failures; /* failures in a row; in the running window of 100 calls */
    uint64_t asked, failed;        /* in all */
    unsigned generation;           /* of the sandbox, for run_ref */
    int run_ref;
};

struct policy {
    char *name;
    struct policy_version *shipped;                 /* or NULL */
    struct policy_version *versions[POLICIES_KEPT]; /* newest first */
    cJSON *settings;                                /* of the Policy object, or NULL */
};

struct policy_active { /* a place in a point's list */
    struct policy_version *version;
    double weight;
    bool optional;   /* a failure leaves it out of the decision, instead of the whole list */
    cJSON *settings; /* merged */
};

struct policy_list {
    struct policy_active *items;
    size_t count;
    struct record_list *who; /* the same as the record has it, of who_epoch */
    uint64_t who_epoch;
};

struct policy_point {
    char *name;
    char *about; /* kind of the objects that are decided about, or NULL */
    enum policy_shape shape;
    char *fallback;  /* the shipped default's name */
    cJSON *chosen;   /* the profile's array [{name, weight, mode, settings}], or NULL */
    cJSON *standard; /* the same from policies/default.lua, or NULL */
    struct policy_list active, shipped;
    struct map spaces;   /* namespace → struct policy_space: where it is not `active` that decides */
    const char *trouble; /* why the profile's list is not used, or NULL (static) */
};

struct policy_space {
    cJSON *chosen; /* as in the point */
    struct policy_list active;
    const char *trouble;
};

struct policies_hooks {
    /* What points.lua says about a result of shape `one` or `first`; err_set when it is nonsense. */
    int (*check)(void *arg, const char *point, const cJSON *result, const cJSON *ctx, struct err **err);
    /* A version failed in a decision (rolled_back false) or was taken out of use (true). */
    void (*on_trouble)(void *arg, const struct policy_version *version, bool rolled_back, const char *reason);
    void *arg;
    const struct policies_hooks *outer; /* of a trial: those of the policies that it is about */
};

struct policies {
    struct sandbox sandbox;
    struct map points, names;
    cJSON *spaces; /* as policies_use_in was given them last */
    struct policies_hooks hooks;
    uint64_t seed;
    uint64_t epoch;        /* moves with every change of what is active */
    uint64_t revision;     /* of the store, that is seen; kept by the owner, for the record */
    struct record *record; /* borrowed; NULL: nothing is recorded */
    struct map states;     /* "policy object" → cJSON, latest last */
    struct map shadows;    /* point → struct shadow (script_trial.h) */
    struct map *proven;    /* borrowed; hashes of sources whose examples have passed; NULL: all are run */
};

void policies_init(struct policies *policies, bool simulated, uint64_t seed,
                   const struct policies_hooks *hooks);
void policies_fini(struct policies *policies);
/* about: kind of the objects, or NULL. */
int policies_add_point(struct policies *policies, const char *name, const char *shape, const char *about,
                       const char *fallback, struct err **err);
struct policy_point *policies_point(const struct policies *policies, const char *name);

/* Stages, checks and flips. name NULL: the file's own. The old version stays on failure. *hash_out (17 bytes)
 * may be NULL. */
int policies_apply(struct policies *policies, const char *name, const char *source, size_t len, bool shipped,
                   char *hash_out, struct err **err);
/* Only the checks; the same errors. point, name (may be NULL): what the file must say. */
int policies_check(struct policies *policies, const char *name, const char *source, size_t len,
                   struct err **err);
/* Adds a cause "PATH.settings.KEY" for each one that the version in use does not declare, or as another kind
 * of value; a name that is not known has none. */
int policies_check_settings(const struct policies *policies, const char *name, const cJSON *settings,
                            const char *path, struct err **err);
void policies_set_settings(struct policies *policies, const char *name, const cJSON *settings);
void policies_remove(struct policies *policies, const char *name); /* back to the shipped one, if any */
const struct policy *policies_find(const struct policies *policies, const char *name);
struct policy_version *policies_current(const struct policy *policy); /* or NULL */
/* Loads every NAME.lua of directory/DIR/ (not tests) as shipped, and directory/default.lua as standard
 * profile. */
int policies_load_directory(struct policies *policies, const char *directory, struct err **err);
/* One folder of them. */
int policies_load_folder(struct policies *policies, const char *directory, struct err **err);
/* For who has no default.lua: the one policy that each point falls back to. */
void policies_use_fallbacks(struct policies *policies);
/* points: {"scheduler.score": {policies: […]}}. Unknown names are reported and the standard list is used for
 * that point. Settings that a policy does not declare, or of another kind, are reported too. */
int policies_use(struct policies *policies, const cJSON *points, struct err **err);
/* The same for single namespaces: {NAMESPACE: points}. A list that cannot be used there: the cluster's
 * decides, and the error names the namespace. */
int policies_use_in(struct policies *policies, const cJSON *spaces, struct err **err);
/* Who decides about objects of the namespace (NULL or "": of none). */
struct policy_list *policies_active_in(struct policy_point *point, const char *namespace);

/* One decision. ctx: object; candidates: array or NULL. Never fails for a known point: result NULL means nil.
 * ctx.object: what it is about, else namespace/name. A policy's ctx.state is the one of this object, or what
 * ctx.states has under its name; in the second case *record has `states`, if one changed, for the caller to
 * keep. */
cJSON *policies_ask(struct policies *policies, const char *point, const cJSON *ctx, const cJSON *candidates,
                    double now, cJSON **record, struct err **err);

/* For the placement engine: pushes the run function, compiling it when the sandbox was rebuilt. */
int policies_push_run(struct policies *policies, struct policy_version *version, struct err **err);
void policies_note(struct policies *policies, struct policy_version *version,
                   const struct err *failure); /* NULL: fine */
/* To be called outside of a decision, when a call failed or from time to time. */
void policies_recover(struct policies *policies);
/* Whether a policy that decides (or a shadow) wants these figures: "usage", or the name of a pods' metric. */
bool policies_use_figures(const struct policies *policies, const char *name);
cJSON *policies_figures(const struct policies *policies); /* all of them, sorted; array, caller owns */
/* Who is in a list of the point now; borrowed. */
struct record_list *policies_who(struct policies *policies, const struct policy_point *point,
                                 struct policy_list *list);
/* The same for one decision, as a reference of the caller's: without optional ones that failed (a set). */
struct record_list *policies_who_decided(struct policies *policies, const struct policy_point *point,
                                         struct policy_list *list, uint64_t left_out);
/* {name, version, weight} of a list, for records and annotations; caller owns. */
char *policies_list_text(const struct policy_list *list);

#endif
