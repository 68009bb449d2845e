/*
 * bind_repl: what the two files behind the table `host` of lua/repl share. Every function of the host may
 * raise; whatever must be freed then lies in a holder, which the collector frees.
 */
#ifndef M8_SCRIPT_BIND_REPL_H
#define M8_SCRIPT_BIND_REPL_H

#include "script/script_repl.h"

#define REPL_MAX_NODES 200000
#define REPL_OBJECT "m8.object"
#define REPL_HOLDER "m8.holder"

struct repl_object {
    struct bytes *text;
    bool parsed; /* its environment is the table */
};

struct repl_holder { /* frees what a raise would leak */
    struct bytes *bytes;
    cJSON *json;
    char *text;
    struct selector *selector;
    struct repl_objects objects;
    struct repl_given given;
    struct err *err;
};

static inline struct repl_lua *repl_lua_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* ---- bind_repl_objects.c ---- */

struct repl_holder *repl_push_holder(lua_State *L);
/* Raises holder->err at the user's line; never returns. */
int repl_raise(lua_State *L, struct repl_holder *holder);
struct repl_object *repl_to_object(lua_State *L, int index);               /* NULL: something else */
void repl_push_table(lua_State *L, int index, struct repl_object *object); /* of the object at index */
struct bytes *repl_object_text(lua_State *L, int index,
                               struct repl_holder *holder); /* with a reference; NULL: err */
void repl_new_metatable(lua_State *L, const char *name, lua_CFunction gc);
void repl_objects_open(lua_State *L); /* metatables of objects and holders */

int host_fail(lua_State *L);
int host_table(lua_State *L);
int host_is_object(lua_State *L);
int host_objects(lua_State *L);
int host_select(lua_State *L);

#endif
