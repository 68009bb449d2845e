/*
 * script_node: what the agent of a node asks policies for (contract 21): the same Policy objects and profile
 * as in the manager, and the files of the operator's folder that the manager has put into the profile's
 * status, staged by the same code, in a state of its own. What was last known is kept in a file,
 * so that a node which starts without a server decides as before. What was decided is told to the listener.
 * One thread: the agent's loop.
 *
 * A version that the manager has taken out of use (status.hash says another one) is not used here either.
 */
#ifndef M8_SCRIPT_NODE_H
#define M8_SCRIPT_NODE_H

#include "node/node.h"

/* Whether nodes ask this point, and so must have the policies of it. */
bool script_node_asks(const char *point);

struct script_node;
struct script_node_options {
    const char *const *lua_directories;  /* framework/points.lua; NULL-terminated */
    const char *const *shipped_policies; /* folders in the form of policies/; NULL-terminated */
    const char *file;                    /* what was last known; NULL: nothing is kept */
    const struct clock *clock;
    bool simulated;
};
struct script_node *script_node_new(const struct script_node_options *options, struct err **err);
void script_node_free(struct script_node *node); /* NULL is fine */
/* What to give the agent; it borrows node. */
struct node_policies script_node_policies(struct script_node *node);

#endif
