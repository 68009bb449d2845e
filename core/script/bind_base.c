/*
 * bind_base: pairs, next, ipairs and tostring as minik8s wants them, and read-only views of tables.
 *
 * LuaJIT seeds its string hashes, so the order of a raw `next` differs between runs (contract 17); here keys
 * come in order: numbers, strings, false, true. A frozen table is an empty proxy whose metatable points at
 * the source; nothing in a policy's environment reaches the metatable.
 */
#include <string.h>

#include "script/script_private.h"

static const char frozen_mark;

struct key {
    int type;
    lua_Number number;
    const char *text; /* anchored by the table itself */
    size_t len;
};

static int rank(const struct key *key)
{
    switch (key->type) {
    case LUA_TNUMBER:
        return 0;
    case LUA_TSTRING:
        return 1;
    default:
        return key->number == 0 ? 2 : 3;
    }
}

static int compare_keys(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    if (rank(x) != rank(y))
        return rank(x) - rank(y);
    if (x->type == LUA_TSTRING) {
        int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
        return order ? order : (x->len > y->len) - (x->len < y->len);
    }
    return (x->number > y->number) - (x->number < y->number);
}

static struct key key_at(lua_State *L, int index)
{
    struct key key = {.type = lua_type(L, index)};
    if (key.type == LUA_TNUMBER)
        key.number = lua_tonumber(L, index);
    else if (key.type == LUA_TSTRING)
        key.text = lua_tolstring(L, index, &key.len);
    else if (key.type == LUA_TBOOLEAN)
        key.number = lua_toboolean(L, index);
    else
        luaL_error(L, "pairs: a key of type %s has no order", lua_typename(L, key.type));
    return key;
}

static void push_key(lua_State *L, const struct key *key)
{
    if (key->type == LUA_TNUMBER)
        lua_pushnumber(L, key->number);
    else if (key->type == LUA_TSTRING)
        lua_pushlstring(L, key->text, key->len);
    else
        lua_pushboolean(L, key->number != 0);
}

/* The table to read at argument 1 is put in its place when it is frozen. */
static void thaw_argument(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (base_frozen_source(L, 1))
        lua_replace(L, 1);
}

static int array_step(lua_State *L)
{
    lua_Integer i = luaL_checkinteger(L, 2) + 1;
    lua_pushinteger(L, i);
    lua_rawgeti(L, 1, (int)i);
    return lua_isnil(L, -1) ? 1 : 2;
}

struct walk {
    size_t count, next;
    struct key keys[];
};

static int walk_step(lua_State *L)
{
    struct walk *walk = lua_touserdata(L, lua_upvalueindex(1));
    while (walk->next < walk->count) {
        push_key(L, &walk->keys[walk->next++]);
        lua_pushvalue(L, -1);
        lua_rawget(L, lua_upvalueindex(2));
        if (!lua_isnil(L, -1))
            return 2;
        lua_pop(L, 2); /* removed during the walk */
    }
    lua_pushnil(L);
    return 1;
}

/* A whole number from 1 to n. */
static bool is_index(lua_State *L, int at, size_t n)
{
    lua_Number key = lua_type(L, at) == LUA_TNUMBER ? lua_tonumber(L, at) : 0;
    return key >= 1 && key <= (lua_Number)n && (lua_Number)(size_t)key == key;
}

int base_pairs(lua_State *L)
{
    thaw_argument(L);
    size_t count = 0, in_sequence = 0,
           sequence = lua_objlen(L, 1); /* with holes, any border: {[0], [2]} has 2 */
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        count++;
        in_sequence += is_index(L, -2, sequence);
    }
    lua_settop(L, 1);
    if (count == sequence && in_sequence == count) { /* nothing but 1…n */
        lua_pushcfunction(L, array_step);
        lua_pushvalue(L, 1);
        lua_pushinteger(L, 0);
        return 3;
    }
    struct walk *walk = lua_newuserdata(L, sizeof(*walk) + count * sizeof(walk->keys[0]));
    walk->count = walk->next = 0;
    for (lua_pushnil(L); lua_next(L, 1) && walk->count < count; lua_pop(L, 1))
        walk->keys[walk->count++] = key_at(L, -2);
    lua_settop(L, 2);
    qsort(walk->keys, walk->count, sizeof(walk->keys[0]), compare_keys);
    lua_pushvalue(L,
                  1); /* upvalue 2 keeps the strings of the keys alive unless they are removed meanwhile: */
    lua_createtable(L, (int)walk->count, 0); /* so upvalue 3 anchors them */
    for (size_t i = 0; i < walk->count; i++) {
        push_key(L, &walk->keys[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_pushcclosure(L, walk_step, 3);
    return 1;
}

int base_next(lua_State *L)
{
    thaw_argument(L);
    lua_settop(L, 2);
    bool first = lua_isnil(L, 2), found = false;
    struct key from = {0}, best = {0};
    if (!first)
        from = key_at(L, 2);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        struct key key = key_at(L, -2);
        if ((first || compare_keys(&key, &from) > 0) && (!found || compare_keys(&key, &best) < 0)) {
            best = key;
            found = true;
        }
    }
    if (!found) {
        lua_pushnil(L);
        return 1;
    }
    push_key(L, &best);
    lua_pushvalue(L, -1);
    lua_rawget(L, 1);
    return 2;
}

int base_ipairs(lua_State *L)
{
    thaw_argument(L);
    lua_pushcfunction(L, array_step);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 0);
    return 3;
}

int base_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    switch (lua_type(L, 1)) {
    case LUA_TNUMBER:
    case LUA_TSTRING:
        lua_pushvalue(L, 1);
        lua_tostring(L, -1);
        return 1;
    case LUA_TBOOLEAN:
        lua_pushstring(L, lua_toboolean(L, 1) ? "true" : "false");
        return 1;
    case LUA_TNIL:
        lua_pushliteral(L, "nil");
        return 1;
    case LUA_TLIGHTUSERDATA:
        lua_pushliteral(L, "null");
        return 1;
    default:
        lua_pushstring(L, luaL_typename(L, 1));
        return 1;
    }
}

static int refuse_write(lua_State *L)
{
    return luaL_error(L, "this value is shared and read-only: copy it before changing it");
}

/* Freezes the tables inside the table at `index`, then pushes its proxy. Host data: depth is bounded by
 * JSON's. */
void base_freeze(lua_State *L, int index)
{
    luaL_checkstack(L, 10, "too deep");
    if (index < 0 && index > LUA_REGISTRYINDEX)
        index = lua_gettop(L) + index + 1;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -1) != LUA_TTABLE)
            continue;
        if (base_frozen_source(L, -1)) {
            lua_pop(L, 1);
            continue;
        }
        base_freeze(L, -1);
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -2);
        lua_rawset(L, index); /* assigning to a field that exists is allowed during lua_next */
        lua_pop(L, 1);
    }
    lua_createtable(L, 0, 0);
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, index);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_write);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "frozen");
    lua_setfield(L, -2, "__metatable");
    lua_pushlightuserdata(L, (void *)&frozen_mark);
    lua_pushvalue(L, index);
    lua_rawset(L, -3);
    lua_setmetatable(L, -2);
}

bool base_frozen_source(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index))
        return false;
    lua_pushlightuserdata(L, (void *)&frozen_mark);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    if (lua_istable(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}
