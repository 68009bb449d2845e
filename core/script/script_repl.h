/*
 * script_repl: interactive sessions in the manager (requirement L4).
 *
 * How a session comes: the manager keeps one idle connection to the server (GET replhosts); the server
 * splices a user's WebSocket to it and writes {"user", "token"} as the first message (core/api/api_repl.c).
 * The connection and all requests stay on the manager's loop; Lua runs on a thread of the session's own, at
 * lower priority, so the loop never waits for what a user types. What a session sees of the cluster it gets
 * by asking the loop: references to the cache's objects, and requests that carry the user's token: never the
 * manager's own rights.
 *
 * The protocol, client → manager, text messages:
 *   {"begin": {"namespace", "columns", "json": bool, "budget": ms}}   first, optional
 *   {"run": SOURCE, "name": CHUNK}            → o…* then d{…}
 *   {"complete": TEXT before the cursor}      → d{"completions": […], "from": offset}
 *   {"interrupt": true}                       at any time
 * manager → client, binary messages, one letter and the rest: `o` text for the terminal, `d` JSON, the end of
 * an answer: {} or {"error": TEXT} or {"incomplete": true} (more lines are needed).
 *
 * Budgets: REPL_BUDGET_MS of thread CPU time for one command (the client may ask for up to
 * REPL_BUDGET_MAX_MS), SANDBOX_MEMORY for all that a session holds, REPL_SESSIONS at once. What a session
 * cannot do is what a policy cannot do: no pcall, no coroutines, no metatables, no I/O.
 */
#ifndef M8_SCRIPT_REPL_H
#define M8_SCRIPT_REPL_H

#include <pthread.h>

#include "base/list.h"
#include "script/script_manager_private.h"
#include "script/script_stage.h"

#define REPL_SESSIONS 16
#define REPL_BUDGET_MS 2000
#define REPL_BUDGET_MAX_MS 60000

/* ---- the manager's side; on its loop (script_repl.c) ---- */
struct repl_host;
struct repl_host *repl_host_new(struct script_manager *manager); /* NULL without options.user_client */
void repl_host_free(struct repl_host *host);    /* ends all sessions; waits for their threads */
void repl_host_wake(struct repl_host *host);    /* connected, or active: from now on sessions may come */
void repl_host_reached(struct repl_host *host); /* the cache's revision has moved */
/* The revision of that time; 0: it lies before *since_s, from when on times are known (wall seconds; 0:
 * none). */
uint64_t repl_host_revision_at(const struct repl_host *host, int64_t wall_s, int64_t *since_s);

/* ---- a session ---- */
enum repl_stop { REPL_GO, REPL_INTERRUPT, REPL_CLOSE };
struct repl_session {
    struct repl_host *host;
    struct script_manager *manager;
    struct loop *loop;
    struct list node, jobs; /* jobs: those that the loop works on */
    struct websocket *ws;
    struct http_client *http; /* as the user */
    char *user;
    pthread_t thread;
    bool started, closed, joined;
    atomic_int stop; /* enum repl_stop */

    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    struct list inbox;
    size_t n_inbox;
    bool interrupted; /* what waits in the inbox */
    struct str out;   /* framed: length, bytes */
    size_t last;      /* where its last frame begins */
    size_t unsent;    /* in the WebSocket's queue */
    bool flush_posted;
};

bool repl_stopped(struct repl_session *session); /* any thread: what runs is to end */
/* On the loop: ends all that is done for the session; the cache's revision has moved. */
void repl_jobs_drop(struct repl_session *session);
void repl_jobs_reached(struct repl_session *session);

/* For the session's thread. Each waits for the loop and returns at once, with ERR_CANCELLED, when the command
 * is interrupted or the session closed. */
struct repl_call {
    const char *method, *target, *content_type, *body; /* body NULL: none */
    size_t body_len;
};
/* *answer: the body, caller unrefs; *status: HTTP. -1: no answer. */
int repl_request(struct repl_session *session, const struct repl_call *call, int *status,
                 struct bytes **answer, struct err **err);
/* References to the cache's objects in key order, at a revision ≥ at_least; namespace, name may be NULL. */
struct repl_objects {
    struct bytes **items;
    size_t count;
    uint64_t revision;
};
int repl_snapshot(struct repl_session *session, const char *resource, const char *namespace, const char *name,
                  uint64_t at_least, struct repl_objects *objects, struct err **err);
void repl_objects_fini(struct repl_objects *objects);
/* {known: {NAME: {point, version, source, from, settings, overrides}}, active: {POINT: [{name, weight, …}]}}
 */
/* active: in that namespace, or NULL: of the cluster. */
cJSON *repl_policies(struct repl_session *session, const char *namespace, struct err **err);
/* The revision of that time (wall seconds). ERR_NOT_FOUND: it lies before this manager's start. */
int repl_revision_at(struct repl_session *session, int64_t wall_s, uint64_t *revision, struct err **err);
/* Recorded decisions, see manager_decisions; takes spec. */
cJSON *repl_decisions(struct repl_session *session, cJSON *spec, struct err **err);
struct repl_watch;
struct repl_watch *repl_watch_open(struct repl_session *session, const char *target);
/* 1: *line is filled (caller frees); 0: nothing within timeout_ms (< 0: for ever); -1: it has ended. */
int repl_watch_next(struct repl_watch *watch, int64_t timeout_ms, char **line, struct err **err);
void repl_watch_close(struct repl_watch *watch);
int repl_sleep(struct repl_session *session, int64_t ms, struct err **err);
/* Queues; waits while the client is slow. type: 'o' or 'd'. */
void repl_say(struct repl_session *session, char type, const char *text, size_t len);

/* ---- the session's thread and its Lua (script_repl_session.c, bind_repl.c) ---- */
void *repl_session_main(void *session);
cJSON *repl_take_message(struct repl_session *session); /* waits; NULL: the session is over */
struct repl_lua {
    struct repl_session *session;
    struct sandbox sandbox;
    const char *const *lua_directories;
    int64_t budget_ms;
    int columns; /* of the terminal; 0: it is none, and lines may be long */
    bool json;
    char *namespace;
    uint64_t written; /* revision of the last write: what is read afterwards shows it */
};
const char *const *repl_directories(const struct repl_session *session); /* of the manager; constant */
const struct map *repl_kinds(const struct repl_session *session);    /* the world's shipped kinds; the same */
const char *const *repl_shipped(const struct repl_session *session); /* folders of policies; the same */

/* ---- trying policies (script_repl_whatif.c); on the session's thread ---- */
struct repl_given { /* the objects of a world, and of which resource each is */
    const char **resources;
    struct bytes **objects;
    size_t count, capacity;
};
#define REPL_GIVEN_MAX 20000
/* What would be decided about {resource, key}: for pods {node, score, by, …}, else {controller, plan}; and
 * the decisions on the way. wish: also policies (repl_policies), candidate: bool, policy | source, settings.
 */
cJSON *repl_whatif(struct repl_session *session, const cJSON *wish, const struct repl_given *given,
                   struct err **err);
/* One decision at the policy's own point, by it alone: {point, result, reasons, failure}. wish: policies,
 * policy | source, settings, ctx, candidates. */
cJSON *repl_try(struct repl_session *session, const cJSON *wish, struct err **err);
/* Names of the resources that the controller of that resource looks at. */
cJSON *repl_whatif_resources(struct repl_session *session, const char *resource, struct err **err);

void repl_print(struct repl_lua *lua, const char *text, size_t len);
void bind_repl_open(struct repl_lua *lua); /* pushes the table of the host's functions */

#endif
