/*
 * bind_world: reading methods of the world userdata (lua/CONTRACT.md). Asking and placing are in
 * bind_world_ask.c.
 *
 * Full objects are parsed on demand, items carry projected columns only (contract 20). Iterators are pulled;
 * the cache does not change while Lua runs, because nothing here yields to the loop.
 */
#include <string.h>

#include "script/script_world.h"

#define WORLD "m8.world"
#define LISTING "m8.listing"

struct world *bind_world_check(lua_State *L, int index)
{
    return *(struct world **)luaL_checkudata(L, index, WORLD);
}

void bind_world_push(lua_State *L, struct world *world)
{
    struct world **pointer = lua_newuserdata(L, sizeof(world));
    *pointer = world;
    luaL_getmetatable(L, WORLD);
    lua_setmetatable(L, -2);
}

/* ---- items ---- */

static void set_text(lua_State *L, const char *field, const char *text)
{
    if (!text)
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, field);
}

void bind_world_push_item(lua_State *L, struct world *world, const struct cache_item *item)
{
    if (!item) {
        lua_pushnil(L);
        return;
    }
    const struct world_kind *kind = world_kind_of(world, item->resource);
    lua_createtable(L, 0, 10 + cJSON_GetArraySize(item->columns));
    set_text(L, "resource", item->resource);
    set_text(L, "key", item->key);
    set_text(L, "namespace", item->namespace);
    set_text(L, "name", item->name);
    set_text(L, "uid", item->uid);
    set_text(L, "owner_uid", item->owner_uid);
    set_text(L, "kind", kind ? kind->kind : NULL);
    set_text(L, "apiVersion", kind ? kind->api_version : NULL);
    lua_pushnumber(L, (lua_Number)item->revision);
    lua_setfield(L, -2, "revision");
    lua_pushboolean(L, item->deleting);
    lua_setfield(L, -2, "deleting");
    json_each (column, item->columns) {
        if (cJSON_IsNull(column))
            continue;
        value_push(L, column);
        lua_setfield(L, -2, column->string);
    }
}

void bind_world_push_shown(lua_State *L, struct world *world, const struct cache_item *item)
{
    struct world_shown *slot = NULL;
    for (size_t i = 0; item && i < COUNT_OF(world->shown); i++) {
        if (world->shown[i].item == item) {
            lua_rawgeti(L, LUA_REGISTRYINDEX, world->shown[i].ref);
            return;
        }
        if (!world->shown[i].item)
            slot = &world->shown[i];
    }
    bind_world_push_item(L, world, item);
    if (!slot)
        return;
    lua_pushvalue(L, -1);
    slot->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    slot->item = item;
}

void bind_world_forget_shown(struct world *world)
{
    for (size_t i = 0; i < COUNT_OF(world->shown); i++) {
        if (world->shown[i].item)
            luaL_unref(world->L, LUA_REGISTRYINDEX, world->shown[i].ref);
        world->shown[i].item = NULL;
    }
}

static int world_get(lua_State *L)
{
    struct world *world = bind_world_check(L, 1);
    const struct cache_item *item = cache_get(world->cache, luaL_checkstring(L, 2), luaL_checkstring(L, 3));
    if (!item)
        return lua_pushnil(L), 1;
    cJSON *object = json_parse_trusted(item->bytes->data, item->bytes->len);
    value_push(L, object); /* a trusted state out of memory ends the process: nothing to free here */
    cJSON_Delete(object);
    return 1;
}

static int world_item(lua_State *L)
{
    struct world *world = bind_world_check(L, 1);
    bind_world_push_item(L, world, cache_get(world->cache, luaL_checkstring(L, 2), luaL_checkstring(L, 3)));
    return 1;
}

static int world_by_uid(lua_State *L)
{
    struct world *world = bind_world_check(L, 1);
    bind_world_push_item(L, world, cache_get_uid(world->cache, luaL_checkstring(L, 2)));
    return 1;
}

static int world_knows_kind(lua_State *L)
{
    struct world *world = bind_world_check(L, 1);
    lua_pushstring(L, world_knows(world, luaL_checkstring(L, 2), luaL_checkstring(L, 3))); /* NULL: nil */
    return 1;
}

static int world_count(lua_State *L)
{
    struct world *world = bind_world_check(L, 1);
    lua_pushinteger(L, (lua_Integer)cache_count(world->cache, luaL_checkstring(L, 2)));
    return 1;
}

static int world_resources(lua_State *L)
{
    struct world *world = bind_world_check(L, 1);
    auto_free const char **names = cache_resources(world->cache);
    lua_newtable(L);
    for (int i = 0; names[i]; i++) {
        lua_pushstring(L, names[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* ---- lists ---- */

struct listing {
    struct world *world;
    struct cache_cursor cursor;
    const char *namespace, *owner, *path, *value; /* anchored by upvalue 2, the options */
};

static bool column_is(const struct cache_item *item, const char *path, const char *value)
{
    const cJSON *column = json_get(item->columns, path);
    if (cJSON_IsArray(column)) {
        json_each (one, column)
            if (cJSON_IsString(one) && str_eq(one->valuestring, value))
                return true;
        return false;
    }
    return cJSON_IsString(column) ? str_eq(column->valuestring, value) : !column && str_eq(value, "");
}

static int listing_step(lua_State *L)
{
    struct listing *listing = lua_touserdata(L, lua_upvalueindex(1));
    const struct selector *selector = bind_selector_at(L, lua_upvalueindex(3));
    const struct cache_item *item;
    while ((item = cache_next(&listing->cursor))) {
        if (listing->namespace && !str_eq(item->namespace, listing->namespace))
            continue;
        if (listing->owner && !str_eq(item->owner_uid, listing->owner))
            continue;
        if (listing->path && !column_is(item, listing->path, listing->value))
            continue;
        if (selector && !selector_matches_labels(selector, json_get(item->columns, "metadata.labels")))
            continue;
        bind_world_push_item(L, listing->world, item);
        return 1;
    }
    return 0;
}

static const char *option(lua_State *L, const char *name)
{
    if (!lua_istable(L, 3))
        return NULL;
    lua_getfield(L, 3, name);
    const char *text = NULL;
    if (!lua_isnil(L, -1)) {
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "list: option %s must be a string", name);
        text = lua_tostring(L, -1);
    }
    lua_pop(L, 1); /* the options table, an upvalue of the iterator, keeps it */
    return text;
}

static void check_options(lua_State *L)
{
    if (!lua_istable(L, 3))
        return;
    for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        static const char *const known[] = {"namespace", "owner", "index", "value", "selector"};
        bool found = false;
        for (size_t i = 0; i < COUNT_OF(known); i++)
            found = found || str_eq(known[i], name);
        if (!found)
            luaL_error(L, "list: there is no option \"%s\"", name);
    }
}

static int world_list(lua_State *L)
{
    struct world *world = bind_world_check(L, 1);
    const char *resource = luaL_checkstring(L, 2);
    lua_settop(L, 3);
    check_options(L);
    struct listing *listing = lua_newuserdata(L, sizeof(*listing));
    *listing = (struct listing){.world = world,
                                .namespace = option(L, "namespace"),
                                .owner = option(L, "owner"),
                                .path = option(L, "index"),
                                .value = option(L, "value")};
    if (listing->path && !listing->value)
        return luaL_error(L, "list: index needs a value");
    bool by_owners = str_eq(listing->path, "owners"); /* an index without a column */
    if (listing->owner)
        cache_begin(world->cache, resource, "owner", listing->owner, &listing->cursor);
    else if (listing->path)
        cache_begin(world->cache, resource, listing->path, listing->value, &listing->cursor);
    else if (listing->namespace)
        cache_begin(world->cache, resource, "namespace", listing->namespace, &listing->cursor);
    else
        cache_begin(world->cache, resource, NULL, NULL, &listing->cursor);
    if (by_owners)
        listing->path = NULL;
    lua_pushvalue(L, 3);
    lua_pushnil(L);
    if (lua_istable(L, 3))
        lua_getfield(L, 3, "selector");
    else
        lua_pushnil(L);
    if (!lua_isnil(L, -1) && !bind_selector_at(L, -1) && !bind_selector_push(L, lua_gettop(L))) {
        lua_getfield(L, -1, "message");
        return luaL_error(L, "list: selector: %s", lua_tostring(L, -1));
    }
    lua_replace(L, 6); /* 4 listing, 5 options, 6 selector */
    lua_settop(L, 6);
    lua_pushcclosure(L, listing_step, 3);
    return 1;
}

/* ---- time, names ---- */

static int world_ready(lua_State *L)
{
    lua_pushboolean(L, bind_world_check(L, 1)->ready);
    return 1;
}

static int world_time_text(lua_State *L)
{
    char text[TIME_TEXT];
    time_print(bind_world_check(L, 1)->wall_ns, text);
    lua_pushstring(L, text);
    return 1;
}

static int world_suffix(lua_State *L)
{
    char text[33];
    struct world *world = bind_world_check(L, 1);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 1 && n <= 32, 2, "1 to 32 characters");
    random_suffix(world->random, text, (size_t)n);
    lua_pushstring(L, text);
    return 1;
}

static int world_refused(lua_State *L)
{
    lua_pushstring(L, bind_world_check(L, 1)->refused); /* NULL: nil */
    return 1;
}

static int world_index(lua_State *L)
{
    struct world *world = bind_world_check(L, 1);
    const char *field = luaL_checkstring(L, 2);
    if (str_eq(field, "now"))
        lua_pushnumber(L, (lua_Number)(world->wall_ns / 1000000) / 1e3);
    else if (str_eq(field, "monotonic"))
        lua_pushnumber(L, (lua_Number)world->monotonic_ns / 1e9);
    else if (str_eq(field, "booted"))
        lua_pushnumber(L, (lua_Number)world->booted_ns / 1e9);
    else if (str_eq(field, "connected"))
        lua_pushnumber(L, (lua_Number)world->connected_ns / 1e9);
    else
        lua_getfield(L, lua_upvalueindex(1), field);
    return 1;
}

void bind_world_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"get", world_get},
        {"item", world_item},
        {"list", world_list},
        {"count", world_count},
        {"resources", world_resources},
        {"by_uid", world_by_uid},
        {"knows", world_knows_kind},
        {"ready", world_ready},
        {"suffix", world_suffix},
        {"refused", world_refused},
        {"time_text", world_time_text},
        {"ask", bind_world_ask},
        {"seen", bind_world_seen},
        {"pending", bind_world_pending},
        {"place", bind_world_place},
        {"skip", bind_world_skip},
        {"victims", bind_world_victims},
        {"nominate", bind_world_nominate},
        {NULL, NULL},
    };
    luaL_newmetatable(L, WORLD);
    lua_createtable(L, 0, COUNT_OF(methods));
    luaL_setfuncs(L, methods, 0);
    lua_pushcclosure(L, world_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
