/*
 * script_private: what the files of core/script share. Nothing outside this folder includes it.
 *
 * A Lua error leaves a C function without running cleanup attributes: no function that may raise holds
 * anything but userdata, stack slots and borrowed pointers.
 */
#ifndef M8_SCRIPT_PRIVATE_H
#define M8_SCRIPT_PRIVATE_H

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/selector.h"
#include "client/client.h"
#include "script/script.h"

#define SCRIPT_MAX_SOURCE (512u << 10)

/* ---- values: cJSON ↔ Lua (script_value.c) ---- */
/* Nulls in objects are left out, in arrays they are m8.null; arrays carry the array mark. May raise (memory).
 */
void value_push(lua_State *L, const cJSON *json);
void value_mark_array(lua_State *L, int index);
bool value_is_array(lua_State *L, int index); /* marked, or a non-empty sequence */
/* The value as JSON with sorted keys, or NULL: functions, NaN, odd keys, depth, more than max_nodes values.
 * Raises only for want of memory; the partial result is then in *partial (may be NULL), for the caller to
 * free. */
cJSON *value_take(lua_State *L, int index, size_t max_nodes, cJSON **partial, struct err **err);
/* The same inside a protected call: never raises. */
cJSON *value_take_safe(lua_State *L, int index, size_t max_nodes, struct err **err);
#define VALUE_MAX_NODES 1000000
/* Pushes nil and {code, message}; returns 2. Frees err. */
int value_push_error(lua_State *L, struct err *err);

/* ---- what trusted and policy states have in common (bind_base.c) ---- */
int base_pairs(lua_State *L);    /* in key order: numbers, strings, false, true */
int base_next(lua_State *L);     /* the next key in that order; O(n) */
int base_ipairs(lua_State *L);   /* also over frozen tables */
int base_tostring(lua_State *L); /* no addresses */
/* Replaces the table at `index` (deeply) by a read-only proxy and pushes that; the table stays reachable for
 * the host through base_frozen_source. */
void base_freeze(lua_State *L, int index);
bool base_frozen_source(lua_State *L,
                        int index); /* pushes the table behind the proxy; false: not frozen, nothing pushed */

/* ---- trusted states (script_state.c, bind_m8.c) ---- */
lua_State *state_new(const char *const *lua_directories);
/* "GROUP/Kind" of every kind of the directories, added to names (script_kinds.c). */
int kinds_names(const char *const *lua_directories, struct map *names, struct err **err);
/* Loads and runs a file; one result on the stack. ERR_INVALID with file and line. */
int state_run_file(lua_State *L, const char *path, struct err **err);
int state_require(lua_State *L, const char *module,
                  struct err **err); /* as Lua's require; result on the stack */
/* lua_pcall with a trace back in the message. */
int state_call(lua_State *L, int arguments, int results, struct err **err);
void bind_m8_open(lua_State *L); /* pushes the module */
/* Pushes an m8.selector made of the value at index; false: pushed nil, err instead. */
bool bind_selector_push(lua_State *L, int index);
const struct selector *bind_selector_at(lua_State *L, int index); /* NULL if it is none */

#endif
