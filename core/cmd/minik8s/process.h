/*
 * process: what server, manager and node do alike: enter the namespace, stop on SIGTERM and SIGINT, find the
 * Lua that belongs to this program, load kinds.
 */
#ifndef M8_CMD_PROCESS_H
#define M8_CMD_PROCESS_H

#include "loop/loop.h"
#include "plugin/plugin.h"
#include "schema/schema.h"

/* netns: a path or NULL. Before any thread is made. */
int process_enter(const char *name, const char *netns, struct err **err);
/* SIGTERM and SIGINT stop the loop. Before any thread is made. */
struct loop_signals *process_stop_on_signals(struct loop *loop, struct err **err);
/* The folders lua/, policies/ and plugins/ that belong to this program: under $MINIK8S_SHARE, else in the
 * source tree it was built from. Caller frees. */
struct plugins *process_plugins(struct err **err);
/* What the bundles do on a node, from the shared objects in plugins/ beside this program; NULL-terminated,
 * free() the array. */
const struct node_extension **process_extensions(struct err **err);
/* A registry with all kinds of the core and of the bundles. */
struct schema *process_load_schema(struct err **err);
/* The same kinds as they were when the program was built: for a machine that has nothing but the program. */
struct schema *process_own_schema(struct err **err);
/* The whole of a file, or NULL with err. */
char *process_read(const char *path, struct err **err);
int process_fail(const struct err *err); /* prints "error: …", returns 1 */

#endif
