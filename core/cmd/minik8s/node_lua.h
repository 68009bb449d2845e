/*
 * node_lua: where an agent finds its Lua: beside the program's other files, or, on a machine that has nothing
 * but the program, in the agent's own folder, unpacked from the program.
 */
#ifndef M8_CMD_NODE_LUA_H
#define M8_CMD_NODE_LUA_H

#include "base/err.h"

struct node_lua {
    const char *const *lua, *const *policies; /* NULL-terminated; borrowed from it */
    struct plugins *plugins;
    char *own[4];
};
/* state: the agent's folder; what is unpacked goes to state/share. */
int node_lua_find(struct node_lua *lua, const char *state, struct err **err);
void node_lua_fini(struct node_lua *lua);

#endif
