/*
 * script_state: trusted states: the shipped framework, controllers and kinds run here, JIT on.
 *
 * They have pcall and metatables, but no I/O, no clock, no randomness and no ffi: what they need comes
 * through m8 and the world. require looks in the lua directories only, first match wins, each module once.
 */
#include <string.h>

#include "script/script_private.h"

static const char directories_mark;

static void open_library(lua_State *L, const char *name, lua_CFunction open)
{
    lua_pushcfunction(L, open);
    lua_pushstring(L, name);
    lua_call(L, 1, 0);
}

static void remove_globals(lua_State *L, const char *table, const char *const *names)
{
    if (table)
        lua_getglobal(L, table);
    else
        lua_pushvalue(L, LUA_GLOBALSINDEX);
    for (; *names; names++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *names);
    }
    lua_pop(L, 1);
}

/* A name such as "framework.plan" → path in the first directory that has it, pushed; false: nothing pushed.
 */
static bool push_module_path(lua_State *L, const char *module)
{
    luaL_gsub(L, module, ".", "/");
    lua_pushlightuserdata(L, (void *)&directories_mark);
    lua_rawget(L, LUA_REGISTRYINDEX);
    for (int i = 1;; i++) {
        lua_rawgeti(L, -1, i);
        if (lua_isnil(L, -1))
            break;
        lua_pushfstring(L, "%s/%s.lua", lua_tostring(L, -1), lua_tostring(L, -3));
        if (file_exists(lua_tostring(L, -1))) {
            lua_replace(L, -4);
            lua_pop(L, 2);
            return true;
        }
        lua_pop(L, 2);
    }
    lua_pop(L, 3);
    return false;
}

/* Leaves the chunk on the stack, or raises. */
static void load_file(lua_State *L, const char *path)
{
    struct err *err = NULL;
    char *text = NULL;
    size_t len = 0;
    if (file_read(path, SCRIPT_MAX_SOURCE, &text, &len, &err) < 0) {
        lua_pushstring(L, err_message(err));
        err_free(err);
        lua_error(L);
    }
    /* the chunk's name: the last two parts of the path say enough and are the same on every machine */
    const char *name = path + strlen(path);
    for (int slashes = 0; name > path; name--)
        if (name[-1] == '/' && ++slashes == 2)
            break;
    lua_pushfstring(L, "=%s", name);
    int rc = luaL_loadbufferx(L, text, len, lua_tostring(L, -1), "t");
    free(text);
    lua_remove(L, -2);
    if (rc)
        lua_error(L);
}

static int require_call(lua_State *L)
{
    const char *module = luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    lua_getfield(L, 2, module);
    if (!lua_isnil(L, -1)) {
        if (lua_type(L, -1) == LUA_TLIGHTUSERDATA)
            return luaL_error(L, "module \"%s\" requires itself", module);
        return 1;
    }
    lua_pop(L, 1);
    if (strstr(module, "..") || strchr(module, '/') || !push_module_path(L, module))
        return luaL_error(L, "module \"%s\" not found in the lua directories", module);
    lua_pushlightuserdata(L, L);
    lua_setfield(L, 2, module);
    load_file(L, lua_tostring(L, 3));
    if (lua_pcall(L, 0, 1, 0)) {
        lua_pushnil(L);
        lua_setfield(L, 2, module);
        return lua_error(L);
    }
    if (lua_isnil(L, -1))
        return luaL_error(L, "module \"%s\" returns nothing", module);
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, module);
    return 1;
}

static int state_open(lua_State *L)
{
    static const char *const removed[] = {"print",   "load",           "loadstring", "loadfile",
                                          "dofile",  "collectgarbage", "gcinfo",     "newproxy",
                                          "getfenv", "setfenv",        "module",     NULL};
    static const char *const removed_math[] = {"random", "randomseed", NULL};
    static const char *const removed_string[] = {"dump", NULL};
    static const luaL_Reg replaced[] = {{"pairs", base_pairs},     {"next", base_next},
                                        {"ipairs", base_ipairs},   {"tostring", base_tostring},
                                        {"require", require_call}, {NULL, NULL}};
    open_library(L, "", luaopen_base);
    open_library(L, LUA_TABLIBNAME, luaopen_table);
    open_library(L, LUA_STRLIBNAME, luaopen_string);
    open_library(L, LUA_MATHLIBNAME, luaopen_math);
    open_library(L, LUA_BITLIBNAME, luaopen_bit);
    open_library(L, LUA_JITLIBNAME, luaopen_jit);
    remove_globals(L, NULL, removed);
    remove_globals(L, "math", removed_math);
    remove_globals(L, "string", removed_string);
    /* Reconciles are short and of many shapes: traces cost more than they save, each compiled one also stops
     * all threads of the process for a change of page rights. */
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_pushnil(L);
    lua_setglobal(L, "jit");
    for (const luaL_Reg *function = replaced; function->name; function++)
        lua_register(L, function->name, function->func);
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    bind_m8_open(L);
    lua_setfield(L, -2, "m8");
    lua_pop(L, 1);
    return 0;
}

lua_State *state_new(const char *const *lua_directories)
{
    lua_State *L = luaL_newstate();
    must(L);
    if (lua_cpcall(L, state_open, NULL)) {
        log_error("script", "opening a state: %s", lua_tostring(L, -1));
        must(!"a Lua state could be opened");
    }
    lua_pushlightuserdata(L, (void *)&directories_mark);
    lua_createtable(L, 4, 0);
    for (int i = 0; lua_directories && lua_directories[i]; i++) {
        lua_pushstring(L, lua_directories[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_rawset(L, LUA_REGISTRYINDEX);
    return L;
}

static int add_trace(lua_State *L)
{
    const char *message = lua_tostring(L, 1);
    if (!message)
        message = lua_pushfstring(L, "(an error of type %s)", luaL_typename(L, 1));
    luaL_traceback(L, L, message, 1);
    return 1;
}

int state_call(lua_State *L, int arguments, int results, struct err **err)
{
    int handler = lua_gettop(L) - arguments;
    lua_pushcfunction(L, add_trace);
    lua_insert(L, handler);
    int rc = lua_pcall(L, arguments, results, handler);
    lua_remove(L, handler);
    if (!rc)
        return 0;
    err_set(err, ERR_INVALID, "%s", lua_tostring(L, -1) ? lua_tostring(L, -1) : "unknown error");
    lua_pop(L, 1);
    return -1;
}

static int run_file_call(lua_State *L)
{
    load_file(L, luaL_checkstring(L, 1));
    lua_call(L, 0, 1);
    return 1;
}

int state_run_file(lua_State *L, const char *path, struct err **err)
{
    lua_pushcfunction(L, run_file_call);
    lua_pushstring(L, path);
    return state_call(L, 1, 1, err);
}

int state_require(lua_State *L, const char *module, struct err **err)
{
    lua_pushcfunction(L, require_call);
    lua_pushstring(L, module);
    return state_call(L, 1, 1, err);
}
