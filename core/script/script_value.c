/*
 * script_value: JSON values into a Lua state and back.
 *
 * Does not: parse or print text; run any metamethod (raw access only, so that a hostile value cannot run code
 * here). Invariants: keys of objects come out sorted, because LuaJIT's own order differs between runs
 * (contract 17); the result of value_take never refers to the state.
 */
#include <math.h>
#include <string.h>

#include "script/script_private.h"

static const char array_mark; /* its address is the registry key of the arrays' metatable */

static void push_array_metatable(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&array_mark);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "array");
    lua_setfield(L, -2, "__metatable");
    lua_pushlightuserdata(L, (void *)&array_mark);
    lua_pushvalue(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

void value_mark_array(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    push_array_metatable(L);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

static bool marked(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index))
        return false;
    push_array_metatable(L);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

bool value_is_array(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TTABLE)
        return false;
    return marked(L, index) || lua_objlen(L, index) > 0;
}

static void push_number(lua_State *L, const cJSON *json)
{
    if (cJSON_IsNumber(json))
        lua_pushnumber(L, json->valuedouble);
    else /* an integer of many digits, kept as text */
        lua_pushnumber(L, strtod(json->valuestring, NULL));
}

void value_push(lua_State *L, const cJSON *json)
{
    luaL_checkstack(L, 8, "JSON is too deep");
    if (cJSON_IsNumber(json) || cJSON_IsRaw(json)) {
        push_number(L, json);
    } else if (cJSON_IsString(json)) {
        lua_pushstring(L, json->valuestring);
    } else if (cJSON_IsBool(json)) {
        lua_pushboolean(L, cJSON_IsTrue(json));
    } else if (cJSON_IsArray(json)) {
        int n = 0;
        lua_createtable(L, cJSON_GetArraySize(json), 0);
        json_each (item, json) {
            value_push(L, item);
            lua_rawseti(L, -2, ++n);
        }
        value_mark_array(L, lua_gettop(L));
    } else if (cJSON_IsObject(json)) {
        lua_createtable(L, 0, cJSON_GetArraySize(json));
        json_each (item, json) {
            if (cJSON_IsNull(item))
                continue;
            lua_pushstring(L, item->string);
            value_push(L, item);
            lua_rawset(L, -3);
        }
    } else {
        lua_pushlightuserdata(L, NULL);
    }
}

struct taking {
    size_t left;
    struct err **err;
};

static bool take_value(lua_State *L, int index, struct taking *taking, cJSON **out, int depth);

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Fills `object`, which hangs on the partial result already. */
static bool take_object(lua_State *L, int index, struct taking *taking, cJSON *object, int depth)
{
    size_t count = 0, n = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            err_set(taking->err, ERR_INVALID, "a key of type %s in an object", luaL_typename(L, -2));
            lua_pop(L, 2);
            return false;
        }
        count++;
    }
    if (count > taking->left) {
        err_set(taking->err, ERR_TOO_LARGE, "too many values");
        return false;
    }
    const char **keys = lua_newuserdata(L, (count + 1) * sizeof(*keys));
    for (lua_pushnil(L); lua_next(L, index) && n < count; lua_pop(L, 1))
        keys[n++] = lua_tostring(L, -2);
    qsort(keys, n, sizeof(*keys), compare_keys);
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) {
        cJSON *value = NULL;
        lua_pushstring(L, keys[i]);
        lua_rawget(L, index);
        value = cJSON_CreateNull();
        cJSON_AddItemToObject(object, keys[i], value);
        ok = take_value(L, lua_gettop(L), taking, &value, depth + 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return ok;
}

static bool take_array(lua_State *L, int index, struct taking *taking, cJSON *array, int depth)
{
    size_t n = lua_objlen(L, index), count = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TNUMBER) {
            err_set(taking->err, ERR_INVALID, "a key of type %s in an array", luaL_typename(L, -2));
            lua_pop(L, 2);
            return false;
        }
        count++;
    }
    if (count != n) {
        err_set(taking->err, ERR_INVALID, "an array with holes");
        return false;
    }
    for (size_t i = 1; i <= n; i++) {
        cJSON *value = cJSON_CreateNull();
        cJSON_AddItemToArray(array, value);
        lua_rawgeti(L, index, (int)i);
        bool ok = take_value(L, lua_gettop(L), taking, &value, depth + 1);
        lua_pop(L, 1);
        if (!ok)
            return false;
    }
    return true;
}

/* Turns the null node *out into the value, in place, so that the tree is whole whenever an error is raised.
 */
static void set_number(cJSON *node, double number)
{
    if (number == floor(number) && fabs(number) >= 1e15 && fabs(number) < 9.2e18) {
        node->type = (node->type & cJSON_StringIsConst) | cJSON_Raw;
        node->valuestring = mem_printf("%lld", (long long)number);
        return;
    }
    node->type = (node->type & cJSON_StringIsConst) | cJSON_Number;
    cJSON_SetNumberHelper(node, number);
}

static bool take_table(lua_State *L, int index, struct taking *taking, cJSON *node, int depth)
{
    if (depth >= JSON_MAX_DEPTH) {
        err_set(taking->err, ERR_INVALID, "a table nested deeper than %d (or in itself)", JSON_MAX_DEPTH);
        return false;
    }
    if (!lua_checkstack(L, 12)) {
        err_set(taking->err, ERR_INVALID, "too deep");
        return false;
    }
    bool frozen = base_frozen_source(L, index);
    if (frozen)
        index = lua_gettop(L);
    bool array = value_is_array(L, index), ok;
    node->type = (node->type & cJSON_StringIsConst) | (array ? cJSON_Array : cJSON_Object);
    ok = array ? take_array(L, index, taking, node, depth) : take_object(L, index, taking, node, depth);
    if (frozen)
        lua_pop(L, 1);
    return ok;
}

static bool take_value(lua_State *L, int index, struct taking *taking, cJSON **out, int depth)
{
    cJSON *node = *out;
    if (taking->left-- == 0) {
        taking->left = 0;
        err_set(taking->err, ERR_TOO_LARGE, "too many values");
        return false;
    }
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        return true;
    case LUA_TLIGHTUSERDATA:
        return true;
    case LUA_TBOOLEAN:
        node->type =
            (node->type & cJSON_StringIsConst) | (lua_toboolean(L, index) ? cJSON_True : cJSON_False);
        return true;
    case LUA_TNUMBER:
        if (!isfinite(lua_tonumber(L, index))) {
            err_set(taking->err, ERR_INVALID, "a number that is not finite");
            return false;
        }
        set_number(node, lua_tonumber(L, index));
        return true;
    case LUA_TSTRING:
        node->type = (node->type & cJSON_StringIsConst) | cJSON_String;
        node->valuestring = mem_strdup(lua_tostring(L, index));
        return true;
    case LUA_TTABLE:
        return take_table(L, index, taking, node, depth);
    default:
        err_set(taking->err, ERR_INVALID, "a value of type %s", luaL_typename(L, index));
        return false;
    }
}

cJSON *value_take(lua_State *L, int index, size_t max_nodes, cJSON **partial, struct err **err)
{
    struct taking taking = {.left = max_nodes, .err = err};
    if (index < 0 && index > LUA_REGISTRYINDEX)
        index = lua_gettop(L) + index + 1;
    *partial = cJSON_CreateNull();
    cJSON *node = *partial;
    if (!take_value(L, index, &taking, &node, 0)) {
        cJSON_Delete(steal(partial));
        return NULL;
    }
    return steal(partial);
}

struct safe_take {
    size_t max_nodes;
    cJSON *partial, *result;
    struct err **err;
};

static int safe_take_body(lua_State *L)
{
    struct safe_take *take = lua_touserdata(L, 2);
    take->result = value_take(L, 1, take->max_nodes, &take->partial, take->err);
    return 0;
}

cJSON *value_take_safe(lua_State *L, int index, size_t max_nodes, struct err **err)
{
    struct safe_take take = {.max_nodes = max_nodes, .err = err};
    if (index < 0 && index > LUA_REGISTRYINDEX)
        index = lua_gettop(L) + index + 1;
    if (!lua_checkstack(L, 4)) {
        err_set(err, ERR_INVALID, "stack overflow");
        return NULL;
    }
    lua_pushcfunction(L, safe_take_body);
    lua_pushvalue(L, index);
    lua_pushlightuserdata(L, &take);
    if (lua_pcall(L, 2, 0, 0) == 0)
        return take.result;
    lua_pop(L, 1);
    cJSON_Delete(take.partial);
    err_set(err, ERR_INVALID, "out of memory while reading a value");
    return NULL;
}

int value_push_error(lua_State *L, struct err *err)
{
    lua_pushnil(L);
    lua_createtable(L, 0, 2);
    lua_pushstring(L, err_code_name(err_code(err)));
    lua_setfield(L, -2, "code");
    lua_pushstring(L, err_message(err));
    lua_setfield(L, -2, "message");
    err_free(err);
    return 2;
}
