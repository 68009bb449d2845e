/*
 * script_controller: controllers as their Lua files declare them (lua/CONTRACT.md): watches, columns,
 * indexes, reconcile. Knows nothing of queues or of the server.
 */
#ifndef M8_SCRIPT_CONTROLLER_H
#define M8_SCRIPT_CONTROLLER_H

#include "script/script_world.h"

enum watch_key { WATCH_SELF, WATCH_OWNER, WATCH_MAP };

struct controller_watch {
    char *resource, *owner;
    enum watch_key key;
    char **on; /* NULL-terminated columns, or NULL: every change */
    int map_ref;
};

struct controller {
    char *name;
    struct controller_watch *watches;
    size_t n_watches;
    cJSON *project, *index; /* {resource: [paths]} */
    int reconcile_ref;
};

struct controllers {
    struct controller *items;
    size_t count;
};

/* Loads controllers/NAME.lua of the directories, sorted by name; names: NULL-terminated selection, or NULL
 * for all. */
int controllers_load(struct controllers *controllers, lua_State *L, const char *const *lua_directories,
                     const char *const *names, struct err **err);
void controllers_fini(struct controllers *controllers);
struct controller *controllers_find(struct controllers *controllers, const char *name);
/* Declares the united columns and indexes to an empty cache. */
void controllers_project(const struct controllers *controllers, struct cache *cache);

/* Calls add for each key that the change queues. A map function that raises is logged and skipped. */
typedef void controller_add_key(void *arg, struct controller *controller, const char *key);
void controller_keys(struct controller *controller, struct world *world, const char *resource,
                     const struct cache_item *previous, const struct cache_item *item,
                     controller_add_key *add, void *arg);
/* *plan: {steps, events, after}, NULL for nothing to do; caller owns. Pushes nothing. */
int controller_reconcile(struct controller *controller, struct world *world, const char *key, cJSON **plan,
                         struct err **err);

#endif
