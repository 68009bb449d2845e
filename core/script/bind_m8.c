/*
 * bind_m8: the module "m8" of trusted states: JSON, hashes, selectors, quantities, times, logging
 * (lua/CONTRACT.md). Pure functions; no access to the world. Expected failures return nil, {code, message}.
 */
#include <string.h>

#include "base/cron.h"
#include "base/quantity.h"
#include "base/time.h"
#include "script/script_private.h"

#define SELECTOR "m8.selector"
#define TREE "m8.tree"

/* A userdata that owns a JSON tree, so that an error that is raised later frees it. */
static cJSON **push_tree(lua_State *L)
{
    cJSON **tree = lua_newuserdata(L, sizeof(*tree));
    *tree = NULL;
    luaL_getmetatable(L, TREE);
    lua_setmetatable(L, -2);
    return tree;
}

static int tree_gc(lua_State *L)
{
    cJSON **tree = luaL_checkudata(L, 1, TREE);
    cJSON_Delete(steal(tree));
    return 0;
}

/* Argument → tree on the stack (raises misuse). */
static cJSON *check_tree(lua_State *L, int argument)
{
    cJSON **tree = push_tree(L), *value;
    struct err *err = NULL;
    value = value_take(L, argument, VALUE_MAX_NODES, tree, &err);
    if (!value) {
        lua_pushstring(L, err_message(err));
        err_free(err);
        luaL_error(L, "%s", lua_tostring(L, -1));
    }
    *tree = value;
    return value;
}

static int m8_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_createtable(L, 0, 0);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    value_mark_array(L, 1);
    lua_settop(L, 1);
    return 1;
}

static int m8_is_array(lua_State *L)
{
    lua_pushboolean(L, value_is_array(L, 1));
    return 1;
}

static void copy_value(lua_State *L, int index, int depth)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        lua_pushvalue(L, index);
        return;
    }
    if (depth > JSON_MAX_DEPTH)
        luaL_error(L, "copy: nested deeper than %d", JSON_MAX_DEPTH);
    luaL_checkstack(L, 8, "copy: too deep");
    bool frozen = base_frozen_source(L, index);
    int source = frozen ? lua_gettop(L) : index;
    lua_createtable(L, (int)lua_objlen(L, source), 0);
    for (lua_pushnil(L); lua_next(L, source);) {
        lua_pushvalue(L, -2);
        copy_value(L, lua_gettop(L) - 1, depth + 1);
        lua_rawset(L, -5);
        lua_pop(L, 1);
    }
    if (lua_getmetatable(L, source)) /* of arrays */
        lua_setmetatable(L, -2);
    if (frozen)
        lua_remove(L, source);
}

static int m8_copy(lua_State *L)
{
    luaL_checkany(L, 1);
    copy_value(L, 1, 0);
    return 1;
}

static int m8_equal(lua_State *L)
{
    lua_settop(L, 2);
    if (lua_type(L, 1) != LUA_TTABLE || lua_type(L, 2) != LUA_TTABLE) {
        lua_pushboolean(L, lua_rawequal(L, 1, 2));
        return 1;
    }
    const cJSON *a = check_tree(L, 1), *b = check_tree(L, 2);
    bool equal = json_equal(a, b);
    if (!equal && cJSON_GetArraySize(a) == 0 && cJSON_GetArraySize(b) == 0)
        equal = true; /* {} is an empty array as much as an empty object */
    lua_pushboolean(L, equal);
    return 1;
}

static int m8_json(lua_State *L)
{
    luaL_checkany(L, 1);
    char *text = json_print(check_tree(L, 1));
    lua_pushstring(L, text); /* leaks the text if there is no memory for it; the process is at its end then */
    free(text);
    return 1;
}

static int m8_parse(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    cJSON **tree = push_tree(L);
    struct err *err = NULL;
    *tree = json_parse(text, len, &err);
    if (!*tree)
        return value_push_error(L, err);
    value_push(L, *tree);
    return 1;
}

static int m8_hash(lua_State *L)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    luaL_checkany(L, 1);
    char *text = json_print(check_tree(L, 1)), out[11] = "";
    unsigned long long hash = str_hash(text, strlen(text));
    free(text);
    for (int i = 0; i < 10; i++, hash /= sizeof(alphabet) - 1)
        out[i] = alphabet[hash % (sizeof(alphabet) - 1)];
    lua_pushstring(L, out);
    return 1;
}

static int m8_quantity(lua_State *L)
{
    int64_t value = 0;
    struct err *err = NULL;
    if (lua_type(L, 1) == LUA_TNUMBER)
        return lua_settop(L, 1), 1;
    if (quantity_value(luaL_checkstring(L, 1), &value, &err) < 0)
        return value_push_error(L, err);
    lua_pushnumber(L, (lua_Number)value);
    return 1;
}

static int m8_milli(lua_State *L)
{
    int64_t value = 0;
    struct err *err = NULL;
    if (quantity_milli(luaL_checkstring(L, 1), &value, &err) < 0)
        return value_push_error(L, err);
    lua_pushnumber(L, (lua_Number)value);
    return 1;
}

static int m8_time(lua_State *L)
{
    int64_t ns = 0;
    struct err *err = NULL;
    if (time_parse(luaL_checkstring(L, 1), &ns, &err) < 0)
        return value_push_error(L, err);
    lua_pushnumber(L, (lua_Number)(ns / 1000000) / 1000);
    return 1;
}

static int m8_time_text(lua_State *L)
{
    char text[TIME_TEXT];
    time_print((int64_t)(luaL_checknumber(L, 1) * 1e6) * 1000, text);
    lua_pushstring(L, text);
    return 1;
}

/* m8.cron(schedule, zone, after, now): what is due in (after, now], and what comes next. */
static int m8_cron(lua_State *L)
{
    struct cron cron;
    struct err *err = NULL;
    const char *schedule = luaL_checkstring(L, 1), *name = luaL_optstring(L, 2, NULL);
    int64_t after = (int64_t)luaL_checknumber(L, 3), now = (int64_t)luaL_checknumber(L, 4), last;
    if (cron_parse(schedule, &cron, &err) < 0)
        return value_push_error(L, err);
    struct zone *zone = zone_open(name, &err);
    if (!zone)
        return value_push_error(L, err);
    int64_t missed = cron_count(&cron, zone, after, now, &last);
    int64_t next = cron_next(&cron, zone, cron.every_s ? (last ? last : after) : now);
    zone_close(zone);
    lua_createtable(L, 0, 3);
    lua_pushnumber(L, (lua_Number)missed);
    lua_setfield(L, -2, "missed");
    if (last) {
        lua_pushnumber(L, (lua_Number)last);
        lua_setfield(L, -2, "last");
    }
    if (next) {
        lua_pushnumber(L, (lua_Number)next);
        lua_setfield(L, -2, "next");
    }
    return 1;
}

static int m8_log(lua_State *L)
{
    enum log_level level = LOG_INFO;
    if (log_level_from_name(luaL_checkstring(L, 1), &level) < 0)
        return luaL_argerror(L, 1, "debug, info, warn or error");
    log_write(level, "lua", "%s", luaL_checkstring(L, 2));
    return 0;
}

/* ---- selectors ---- */

bool bind_selector_push(lua_State *L, int index)
{
    struct err *err = NULL;
    struct selector **selector = lua_newuserdata(L, sizeof(*selector));
    *selector = NULL;
    luaL_getmetatable(L, SELECTOR);
    lua_setmetatable(L, -2);
    if (lua_isnoneornil(L, index)) {
        *selector = selector_from_json(NULL, &err);
    } else if (lua_type(L, index) == LUA_TSTRING) {
        *selector = selector_parse(lua_tostring(L, index), &err);
    } else {
        const cJSON *tree = check_tree(L, index);
        bool structured = json_get(tree, "matchLabels") || json_get(tree, "matchExpressions");
        *selector = structured ? selector_from_json(tree, &err) : selector_from_map(tree);
        lua_pop(L, 1);
    }
    if (*selector)
        return true;
    lua_pop(L, 1);
    value_push_error(L, err);
    return false;
}

const struct selector *bind_selector_at(lua_State *L, int index)
{
    struct selector **selector = lua_touserdata(L, index);
    if (!selector || lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    luaL_getmetatable(L, SELECTOR);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? *selector : NULL;
}

static int m8_selector(lua_State *L)
{
    lua_settop(L, 1);
    return bind_selector_push(L, 1) ? 1 : 2;
}

static const char *lookup_label(void *arg, const char *key)
{
    lua_State *L = arg; /* labels at index 2; the string stays anchored by the table */
    lua_pushstring(L, key);
    lua_rawget(L, 2);
    const char *value = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1);
    return value;
}

static int selector_matches_call(lua_State *L)
{
    struct selector **selector = luaL_checkudata(L, 1, SELECTOR);
    lua_settop(L, 2);
    if (!lua_istable(L, 2)) {
        lua_createtable(L, 0, 0);
        lua_replace(L, 2);
    } else if (base_frozen_source(L, 2)) {
        lua_replace(L, 2);
    }
    lua_pushboolean(L, selector_matches(*selector, lookup_label, L));
    return 1;
}

static int selector_gc(lua_State *L)
{
    struct selector **selector = luaL_checkudata(L, 1, SELECTOR);
    selector_free(steal(selector));
    return 0;
}

void bind_m8_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"array", m8_array},       {"is_array", m8_is_array}, {"copy", m8_copy}, {"equal", m8_equal},
        {"json", m8_json},         {"parse", m8_parse},       {"hash", m8_hash}, {"selector", m8_selector},
        {"quantity", m8_quantity}, {"milli", m8_milli},       {"time", m8_time}, {"time_text", m8_time_text},
        {"cron", m8_cron},         {"log", m8_log},           {NULL, NULL},
    };
    luaL_newmetatable(L, TREE);
    lua_pushcfunction(L, tree_gc);
    lua_setfield(L, -2, "__gc");
    luaL_newmetatable(L, SELECTOR);
    lua_pushcfunction(L, selector_gc);
    lua_setfield(L, -2, "__gc");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, selector_matches_call);
    lua_setfield(L, -2, "matches");
    lua_setfield(L, -2, "__index");
    lua_pop(L, 2);
    lua_createtable(L, 0, COUNT_OF(functions));
    luaL_setfuncs(L, functions, 0);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
}
