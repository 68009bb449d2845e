/*
 * bind_world_ask: the world's methods that decide: ask, pending, place; and seen.
 *
 * What crosses from the trusted state to the policies' and back is data (JSON trees), never a Lua value.
 */
#include "script/script_world.h"

#define HELD "m8.held"

/* Trees that an error must not leak: owned by a userdata. */
struct held {
    cJSON *trees[4];
    char *texts[4];
};

static int held_gc(lua_State *L)
{
    struct held *held = lua_touserdata(L, 1);
    for (size_t i = 0; i < COUNT_OF(held->trees); i++)
        cJSON_Delete(steal(&held->trees[i]));
    for (size_t i = 0; i < COUNT_OF(held->texts); i++)
        free(steal(&held->texts[i]));
    return 0;
}

static struct held *push_held(lua_State *L)
{
    struct held *held = lua_newuserdata(L, sizeof(*held));
    *held = (struct held){0};
    if (luaL_newmetatable(L, HELD)) {
        lua_pushcfunction(L, held_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return held;
}

static void raise_error(lua_State *L, const char *what, struct err *err)
{
    lua_pushfstring(L, "%s: %s", what, err_message(err));
    err_free(err);
    luaL_error(L, "%s", lua_tostring(L, -1));
}

static const cJSON *take_argument(lua_State *L, int index, cJSON **tree, const char *what)
{
    struct err *err = NULL;
    if (lua_isnoneornil(L, index))
        return NULL;
    *tree = value_take(L, index, VALUE_MAX_NODES, tree, &err);
    if (!*tree)
        raise_error(L, what, err);
    return *tree;
}

/* world:ask(point, ctx [, candidates]) */
int bind_world_ask(lua_State *L)
{
    struct world *world = bind_world_check(L, 1);
    const char *point = luaL_checkstring(L, 2);
    lua_settop(L, 4);
    lua_getfield(L, LUA_REGISTRYINDEX, "m8.answers"); /* tests: point → function */
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, point);
        if (lua_isfunction(L, -1)) {
            lua_pushvalue(L, 3);
            lua_pushvalue(L, 4);
            lua_call(L, 2, 1);
            lua_createtable(L, 0, 2);
            lua_pushvalue(L, 2);
            lua_setfield(L, -2, "point");
            lua_pushliteral(L, "answer");
            lua_setfield(L, -2, "policy");
            return 2;
        }
    }
    struct held *held = push_held(L);
    const cJSON *ctx = take_argument(L, 3, &held->trees[0], "ask: ctx");
    const cJSON *candidates = take_argument(L, 4, &held->trees[1], "ask: candidates");
    struct err *err = NULL;
    held->trees[2] = policies_ask(world->policies, point, ctx, candidates,
                                  (double)(world->wall_ns / 1000000) / 1e3, &held->trees[3], &err);
    if (err)
        raise_error(L, "ask", err);
    if (held->trees[2])
        value_push(L, held->trees[2]);
    else
        lua_pushnil(L);
    value_push(L, held->trees[3]);
    return 2;
}

/* world:seen(key [, value]) */
int bind_world_seen(lua_State *L)
{
    struct world *world = bind_world_check(L, 1);
    lua_pushnumber(L, world_seen(world, luaL_checkstring(L, 2), luaL_optstring(L, 3, NULL)));
    return 1;
}

static struct placement *check_placement(lua_State *L)
{
    struct world *world = bind_world_check(L, 1);
    if (!world->placement)
        luaL_error(L, "this world has no scheduling");
    return world->placement;
}

/* world:victims(pod_key, protected) → array of { node=, victims= } */
int bind_world_victims(lua_State *L)
{
    struct placement *placement = check_placement(L);
    struct world *world = bind_world_check(L, 1);
    const char *key = luaL_checkstring(L, 2);
    struct held *held = push_held(L);
    const cJSON *protected = take_argument(L, 3, &held->trees[0], "victims: protected");
    held->trees[1] = placement_victims(placement, key, protected, (double)world->wall_ns / 1e9);
    value_push(L, held->trees[1]);
    return 1;
}

/* world:nominate(pod_key, node, victims) */
int bind_world_nominate(lua_State *L)
{
    struct placement *placement = check_placement(L);
    const char *key = luaL_checkstring(L, 2), *node = luaL_checkstring(L, 3);
    struct held *held = push_held(L);
    placement_nominate(placement, key, node, take_argument(L, 4, &held->trees[0], "nominate: victims"));
    return 0;
}

/* world:pending(limit) → array of pod keys */
int bind_world_pending(lua_State *L)
{
    size_t count;
    struct placement *placement = check_placement(L);
    lua_Integer limit = luaL_checkinteger(L, 2);
    luaL_argcheck(L, limit > 0 && limit <= 100000, 2, "1 to 100000");
    const char **keys =
        placement_pending(placement, (double)bind_world_check(L, 1)->wall_ns / 1e9, (size_t)limit, &count);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, keys[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    free(keys);
    return 1;
}

/* world:skip(pod_key): it waits for its claims */
int bind_world_skip(lua_State *L)
{
    placement_skip(check_placement(L), luaL_checkstring(L, 2));
    return 0;
}

/* world:place(pod_key [, volumes]) → { node=, score=, by=, scores=, fallback= }, or nil, message, reasons
 * per node */
int bind_world_place(lua_State *L)
{
    struct placement *placement = check_placement(L);
    struct world *world = bind_world_check(L, 1);
    const char *key = luaL_checkstring(L, 2);
    struct placement_result result;
    struct err *err = NULL;
    lua_settop(L, 3);
    struct held *held = push_held(L);
    const cJSON *volumes = take_argument(L, 3, &held->trees[0], "place: volumes");
    if (placement_place(placement, key, volumes, (double)world->wall_ns / 1e9, &result, &err) < 0) {
        lua_pushnil(L);
        lua_pushstring(L, err_message(err));
        err_free(err);
        return 2;
    }
    held->texts[0] = result.by;
    held->texts[1] = result.message;
    held->texts[2] = result.scores;
    held->texts[3] = result.nodes;
    if (!result.node) {
        lua_pushnil(L);
        lua_pushstring(L, result.message);
        lua_pushstring(L, result.nodes);
        return 3;
    }
    lua_createtable(L, 0, 5);
    lua_pushstring(L, result.scores);
    lua_setfield(L, -2, "scores");
    lua_pushstring(L, result.node);
    lua_setfield(L, -2, "node");
    lua_pushnumber(L, result.score);
    lua_setfield(L, -2, "score");
    lua_pushstring(L, result.by);
    lua_setfield(L, -2, "by");
    lua_pushboolean(L, result.fallback);
    lua_setfield(L, -2, "fallback");
    return 1;
}
