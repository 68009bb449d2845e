/* repl.h: a session of the REPL, as minikubectl sees it (the protocol: core/script/script_repl.h). */
#ifndef M8_CMD_REPL_H
#define M8_CMD_REPL_H

#include "kubectl.h"

struct repl;
/* Connects; NULL and err when the server refuses. timeout_ms: until there is an answer at all. */
struct repl *repl_open(struct kubectl *k, struct err **err);
void repl_close(struct repl *repl);
/* Sends {"run": source, "name": name} and passes what is printed on to standard output until the end, which
 * is returned ({} or with "error"); SIGINT stops the command there. NULL: the session is over. */
cJSON *repl_run(struct repl *repl, const char *source, const char *name);
/* From now on Ctrl-C makes a signal only while a command runs; false: as it was before. */
void repl_own_terminal(struct repl *repl, bool own);
cJSON *repl_complete(struct repl *repl, const char *text); /* NULL: no answer in time */
/* verb_repl_edit.c: reads lines from the terminal until Ctrl-D; exit code. */
int repl_interact(struct kubectl *k, struct repl *repl);

#endif
