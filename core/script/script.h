/*
 * script: Lua in minik8s: the manager (controllers and policies on a cache fed by the one stream), the loader
 * of kinds, and the runner of Lua tests. The only folder that includes lua.h; nothing of Lua shows here.
 *
 * Threads: everything on the loop that is given. Nothing here blocks longer than a policy's budget (50 ms of
 * CPU).
 */
#ifndef M8_SCRIPT_SCRIPT_H
#define M8_SCRIPT_SCRIPT_H

#include "base/json.h"
#include "base/random.h"
#include "http/http.h"
#include "loop/loop.h"

/* Evaluates LUA_DIRECTORY/kinds/NAME.lua of each directory and returns the array of definitions for
 * schema_add, those that only declare types first. ERR_INVALID with file and line. */
cJSON *script_load_kinds(const char *const *lua_directories, struct err **err);

struct script_manager_options {
    struct loop *loop;
    struct http_client *http;    /* to the server; borrowed */
    const struct random *random; /* borrowed */
    const char *const
        *lua_directories; /* framework/, controllers/, points.lua; NULL-terminated; first match wins */
    const char *const *shipped_policies; /* folders in the form of policies/; NULL-terminated */
    /* The operator's folders: they need not exist, are watched on a real loop, and what is in them is staged
     * like a Policy object. NULL-terminated, or NULL. */
    const char *const *policy_directories;
    const char *record_directory; /* where recorded decisions are kept; NULL: in memory only */
    const char *host;             /* for Events and the lease */
    const char *const
        *controllers; /* names of those to run, NULL-terminated; NULL: all that the directories hold */
    /* A client of the server with this bearer token and nothing else: for sessions of the REPL, which act
     * with their user's rights. Freed by the manager. NULL: no sessions. */
    struct http_client *(*user_client)(void *arg, const char *token, struct err **err);
    void *user_client_arg;
    bool elect;     /* take the Lease minik8s-manager and work only while it is held */
    bool simulated; /* budgets count instructions instead of CPU time, so that a run repeats */
    bool quiet;     /* no Events (measurements) */
    void (*on_fatal)(void *arg, const char *reason); /* cannot go on: lost the lease, … ; NULL: logged */
    void *arg;
};
struct script_manager;
/* Loads everything (ERR_INVALID tells file and line) and connects. */
struct script_manager *script_manager_new(const struct script_manager_options *options, struct err **err);
void script_manager_free(struct script_manager *manager);
/* True when the first complete list has arrived and no key is in work, waiting or about to be retried now. */
bool script_manager_idle(const struct script_manager *manager);
/* Counters for /metrics and tests; caller owns: {"ready":…, "reconciles":N, "steps":N, "conflicts":N,
 * "failures":N, "controllers":{NAME:{"reconciles":N,"queued":N}}, "policies":{…}}. */
cJSON *script_manager_statistics(const struct script_manager *manager);

/* Runs *_test.lua below the directories; a name must contain `filter` (NULL: all). on_result for each test,
 * error NULL: passed. Returns the number of failures, or -1 when nothing could be run. */
typedef void script_on_test(void *arg, const char *file, const char *test, const char *error);
int script_run_tests(const char *const *lua_directories, const char *const *policy_directories,
                     const char *const *test_directories, const char *filter, script_on_test *on_result,
                     void *arg, struct err **err);

#endif
