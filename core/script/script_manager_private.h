/* script_manager_private: what the files of the manager share. */
#ifndef M8_SCRIPT_MANAGER_PRIVATE_H
#define M8_SCRIPT_MANAGER_PRIVATE_H

#include "queue/queue.h"
#include "script/script_controller.h"
#include "script/script_execute.h"
#include "script/script_record_file.h"

struct repl_host; /* script_repl.h */

struct running { /* a controller with its queue */
    struct script_manager *manager;
    struct controller *controller;
    struct queue *queue;
    struct map refused;       /* key → why its last plan was refused */
    struct loop_timer *again; /* keys were left to the next turn */
    uint64_t reconciles, steps, conflicts, failures;
    size_t in_work;
};

struct script_manager {
    struct script_manager_options options;
    const char **lua_directories, **shipped_policies, **policy_directories; /* copies */
    lua_State *L;
    struct cache *cache;
    struct policies policies;
    struct world world;
    struct map shipped_kinds; /* world.shipped */
    struct controllers controllers;
    struct running *running;
    struct client *client;
    struct client_stream *stream;
    struct recorder *recorder;
    struct leader *leader;
    struct loop_timer *reached; /* tells the queues the revision, once a turn */
    uint64_t revision;
    bool listing, leading, closing, connected;
    bool behind;   /* the stream broke: what took effect meanwhile, also of our own, is not known */
    uint64_t goal; /* the revision at which it is */
    struct loop_timer *catch_up; /* longest wait for it */
    struct repl_host *repl;      /* NULL: no sessions */
    /* Policy objects (script_manager_policies.c) */
    struct map changed_policies; /* names whose object or state moved */
    struct map refused;          /* name → hash and message of the newest source, if it was refused */
    struct map failures;         /* name → struct policy_failure: the last one of each */
    bool profile_changed, profile_asked;
    struct policy_files *files; /* the operator's folder (script_policy_files.c), or NULL */
    struct loop_timer *policy_timer;
    /* Recorded decisions and questions about them (script_manager_query.c) */
    struct record record;
    struct record_file *record_file; /* NULL: in memory only */
    struct map reporters;            /* node → struct reporter: how far its decisions are known */
    struct map queries;              /* name → struct query: replays under way */
    struct loop_timer *sweep;
};

bool manager_active(const struct script_manager *manager); /* ready and leading */
void manager_policies_init(struct script_manager *manager);
void manager_policies_fini(struct script_manager *manager);
void manager_policies_on_change(struct script_manager *manager, const char *resource,
                                const struct cache_item *previous, const struct cache_item *item);
void manager_policies_on_active(struct script_manager *manager);
void manager_policies_wake(struct script_manager *manager); /* something of the policies changed */
/* An Event on the profile in force. */
void manager_policies_event(struct script_manager *manager, const char *type, const char *reason,
                            const char *message);
bool manager_policies_object(const struct script_manager *manager, const char *name); /* there is a Policy */

/* Folders of the operator's policies: read now, and again whenever something in them changes. */
void manager_files_open(struct script_manager *manager, const char *const *directories);
void manager_files_close(struct script_manager *manager);
/* The Policy object of that name is gone: the file of that name counts again. */
void manager_files_restore(struct script_manager *manager, const char *name);
/* Sets status.files: the versions in use that came from files, of points that nodes ask, with their sources:
 * so they reach the nodes. False: they are too large together, some are left out. */
bool manager_files_for_nodes(const struct script_manager *manager, cJSON *status);
void manager_files_tell(struct script_manager *manager); /* Events that could not be sent before */
/* Recorded decisions. spec: {point, object, sinceSeconds, limit, inputs}, all optional; {decisions: oldest
 * first, matching, record: {…limits}}. Caller owns. */
cJSON *manager_decisions(const struct script_manager *manager, const cJSON *spec);
/* Whether a question names a point that there is (NULL: any); an error with the nearest one. */
int manager_check_point(const struct script_manager *manager, const char *point, struct err **err);
void manager_query_init(struct script_manager *manager);
void manager_query_fini(struct script_manager *manager);
void manager_query_on_change(struct script_manager *manager, const char *resource,
                             const struct cache_item *previous, const struct cache_item *item);
/* Decisions that agents took (script_manager_nodes.c). Points, policies and the record must be there. */
void manager_nodes_init(struct script_manager *manager);
void manager_nodes_fini(struct script_manager *manager);
void manager_nodes_on_change(struct script_manager *manager, const char *resource,
                             const struct cache_item *item);
void manager_query_on_active(struct script_manager *manager);
/* The policies' hook. */
void manager_policies_on_trouble(void *manager, const struct policy_version *version, bool rolled_back,
                                 const char *reason);
cJSON *manager_policies_statistics(const struct script_manager *manager);
/* An Event on an object of the cache. */
void manager_event(struct script_manager *manager, const struct cache_item *item, const char *type,
                   const char *reason, const char *message);

#endif
