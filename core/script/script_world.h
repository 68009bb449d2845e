/*
 * script_world: what a reconcile reads: the informer cache, the time at which it began, randomness, the
 * policies, and the observer's memory of heart-beats. One per manager; tests make their own.
 */
#ifndef M8_SCRIPT_WORLD_H
#define M8_SCRIPT_WORLD_H

#include "script/script_placement.h"
#include "script/script_policies.h"

struct world {
    lua_State *L; /* the trusted state */
    struct cache *cache;
    struct policies *policies;
    struct placement *placement; /* NULL: no scheduling here */
    const struct random *random;
    int64_t wall_ns, monotonic_ns; /* of this reconcile */
    int64_t booted_ns;             /* monotonic, of the first complete list */
    int64_t connected_ns;          /* monotonic, since when the stream has been up (contract 10) */
    const char *refused;           /* why the last plan for the key at hand was refused, or NULL; borrowed */
    bool ready;
    struct map kinds;          /* resource → struct world_kind: of those that have been seen */
    const struct map *shipped; /* "GROUP/Kind" of what a server always has; borrowed, NULL: not known */
    struct map seen;           /* heart-beat key → struct sighting */
    int64_t seen_swept_ns;
    int points_ref; /* framework.points in L */
    /* What one change of the cache was and is, as the controllers' maps see it: made once for all of them. */
    struct world_shown {
        const struct cache_item *item; /* NULL: free */
        int ref;
    } shown[2];
};

struct world_kind {
    char *api_version, *kind;
};

void world_init(struct world *world, lua_State *L, struct cache *cache, struct policies *policies,
                const struct random *random);
void world_fini(struct world *world);
/* Loads framework.points and tells the policies about each. */
int world_load_points(struct world *world, const char *const *lua_directories, struct err **err);
/* The policies' hook: points.lua's check of a result. arg: the world. */
int world_check_result(void *world, const char *point, const cJSON *result, const cJSON *ctx,
                       struct err **err);
/* To be called for every change of the cache, before anything reads the item. */
void world_on_change(struct world *world, const char *resource, const struct cache_item *previous,
                     const struct cache_item *item);
const struct world_kind *world_kind_of(const struct world *world, const char *resource); /* or NULL */
/* Whether objects of that kind would be here if there were any: "shipped" (every server has the kind), "seen"
 * (some have been), or NULL. */
const char *world_knows(const struct world *world, const char *api_version, const char *kind);
void world_set_time(struct world *world, const struct clock *clock);

/* Lua side (bind_world.c). */
void bind_world_open(lua_State *L);
void bind_world_push(lua_State *L, struct world *world); /* a userdata that borrows it */
struct world *bind_world_check(lua_State *L, int index);
void bind_world_push_item(lua_State *L, struct world *world, const struct cache_item *item); /* NULL: nil */
/* The same table for all who ask for this item until the next change: for those who only look at it. */
void bind_world_push_shown(lua_State *L, struct world *world, const struct cache_item *item);
void bind_world_forget_shown(struct world *world);
/* bind_world_ask.c: the methods ask, place, pending */
int bind_world_ask(lua_State *L);
int bind_world_seen(lua_State *L);
int bind_world_pending(lua_State *L);
int bind_world_place(lua_State *L);
int bind_world_skip(lua_State *L);
int bind_world_victims(lua_State *L);
int bind_world_nominate(lua_State *L);
/* Seconds since value was first handed in for key. */
double world_seen(struct world *world, const char *key, const char *value);

/* bind_testing.c: the module m8.testing, for tests of controllers and policies. */
struct testing;
/* proven: borrowed; what one world has proven no other proves again (script_policies.h). */
struct testing *bind_testing_open(lua_State *L, struct map *proven, const char *const *lua_directories,
                                  const char *const *policy_directories, struct err **err);
void bind_testing_close(struct testing *testing);

#endif
