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
/* The program takes its next certificate by starting again: at the wall time `at_ns` the log says so, *again
 * is set and the loop stops. The clock is looked at once a day, as it may be corrected meanwhile. Freed as a
 * timer is. */
struct process_renewal;
struct process_renewal *process_renewal_new(struct loop *loop, int64_t at_ns, bool *again);
void process_renewal_free(struct process_renewal *renewal);
/* When to try again to renew a certificate that could not be. */
int64_t process_renewal_retry(const char *certificate_pem);
/* Becomes the same program with the same arguments; argv begins after the program's name. Returns 1, after a
 * message. */
int process_again(char **argv);
/* A registry with all kinds of the core and of the bundles. */
struct schema *process_load_schema(struct err **err);
/* The same kinds as they were when the program was built: for a machine that has nothing but the program. */
struct schema *process_own_schema(struct err **err);
/* The whole of a file, or NULL with err. */
char *process_read(const char *path, struct err **err);
int process_fail(const struct err *err); /* prints "error: …", returns 1 */

#endif
