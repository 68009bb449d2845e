/* What the files script_node*.c share. */
#ifndef M8_SCRIPT_NODE_PRIVATE_H
#define M8_SCRIPT_NODE_PRIVATE_H

#include "script/script_node.h"
#include "script/script_world.h"

struct script_node {
    lua_State *L;
    struct policies policies;
    struct world world;
    const struct clock *clock;
    char *file, *known; /* known: what the file holds */
    struct node_policy_listener listener;
    uint64_t told;        /* epoch of the policies that the listener was told of */
    struct record record; /* what was decided lately, for the listener */
    char agent[24];       /* which start of the agent this is */
    struct map balances;  /* key of a Service → struct balance */
    uint64_t balancing;   /* hash of who decides there, as the listener was told */
};

/* script_node.c */
double script_node_now(const struct script_node *node); /* seconds since the epoch */
void script_node_tell_in_force(struct script_node *node);

/* script_node_balance.c: point `balance` */
void script_node_balance_init(struct script_node *node);
void script_node_balance_fini(struct script_node *node);
/* Tells the listener if others decide than before. */
void script_node_balance_tell(struct script_node *node);
const cJSON *script_node_balance(void *arg, const struct node_balanced *balanced);

#endif
