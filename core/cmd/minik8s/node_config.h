/*
 * node_config: a node's configuration file: one Node and one NodeConfiguration (lua/kinds), either may be
 * absent. Checked against the kinds that the program carries, so a bare machine needs nothing but the
 * program.
 */
#ifndef M8_CMD_NODE_CONFIG_H
#define M8_CMD_NODE_CONFIG_H

#include "base/json.h"
#include "node/node.h"

struct node_config {
    cJSON *node;     /* the Node document, or NULL */
    cJSON *settings; /* the NodeConfiguration with its defaults */
    char *restart;   /* node_config_needs_restart, for node_config_settings; owned */
};
/* path NULL: no file, everything has its default. Errors name file, line and field. */
int node_config_read(const char *path, struct node_config *config, struct err **err);
void node_config_fini(struct node_config *config);
/* What of it the agent can follow while it runs; borrows from config. */
void node_config_settings(const struct node_config *config, struct node_settings *settings);
/* Names of the settings that differ and that the agent takes up only when it starts, or NULL. Caller frees.
 */
char *node_config_needs_restart(const struct node_config *running, const struct node_config *now);

/* Calls back on the loop after the file has changed (it may be absent or wrong then), and on SIGHUP. Make it
 * before any thread. */
struct loop;
struct node_config_watch;
struct node_config_watch *node_config_watch_new(struct loop *loop, const char *path,
                                                void (*changed)(void *arg), void *arg, struct err **err);
void node_config_watch_free(struct node_config_watch *watch); /* NULL is fine */

#endif
