/*
 * script_sandbox: the state in which drop-in policies run: JIT off as a whole, capped memory, a deadline on
 * thread CPU time (contracts 17 and 19), an environment without anything that could hide an error, reach the
 * host or not end.
 *
 * Only while a call is under way the cap and the deadline hold; what the host itself does in the state cannot
 * fail. One thread (and one that gives memory back). After a cut off or out of memory the state is rebuilt:
 * `generation` moves and every reference into it is void.
 */
#ifndef M8_SCRIPT_SANDBOX_H
#define M8_SCRIPT_SANDBOX_H

#include "script/script_private.h"

#define SANDBOX_BUDGET_MS 30 /* of CPU time: with the stop itself and a new state it stays under 50 */
#define SANDBOX_MEMORY (64u << 20)
#define SANDBOX_MAX_BLOCK (512u << 10) /* one string or table part: bounds every single C call */
#define SANDBOX_HOOK_EVERY 250         /* instructions */
#define SANDBOX_HOOKS_PER_MS 200       /* simulation: instructions stand for time */

struct sandbox {
    lua_State *L;
    unsigned generation;
    size_t used;
    bool in_call; /* cap and deadline hold */
    bool cut;     /* the deadline was passed in this call */
    bool starved; /* memory was refused in this call */
    bool simulated;
    int64_t deadline_ns;      /* thread CPU time; simulated: hooks left */
    size_t memory, max_block; /* SANDBOX_MEMORY, SANDBOX_MAX_BLOCK unless set after sandbox_init */
    const atomic_int *stop;   /* not 0: cut off now, whatever time is left; NULL: none */
};

void sandbox_init(struct sandbox *sandbox, bool simulated);
void sandbox_fini(struct sandbox *sandbox);
/* Takes little of this thread's time: what a large old state holds is given back by a thread that ends then.
 */
void sandbox_rebuild(struct sandbox *sandbox);

/* Pushes a fresh environment: what a policy may name. */
void sandbox_push_environment(lua_State *L);
/* A budget covers all calls until the next begin. */
void sandbox_begin(struct sandbox *sandbox, int64_t budget_ms);
/* Compiles text (no bytecode) in a fresh environment and runs it; one result on the stack. */
int sandbox_evaluate(struct sandbox *sandbox, const char *name, const char *source, size_t len,
                     struct err **err);
/* As lua_pcall. ERR_TIMEOUT: cut off; ERR_TOO_LARGE: memory; ERR_INVALID: it raised. Nothing on the stack on
 * failure. */
int sandbox_call(struct sandbox *sandbox, int arguments, int results, struct err **err);
/* Whether the state must be rebuilt before anything else runs in it. */
bool sandbox_spoiled(const struct sandbox *sandbox);
int64_t sandbox_cpu_ns(const struct sandbox *sandbox); /* thread CPU time; simulated: 0 */

/* For C functions that the environment offers: raises when the deadline has passed. */
void sandbox_check(lua_State *L);
/* Pushes the table of bounded string functions / of table functions (sandbox_string.c, sandbox_table.c). */
void sandbox_push_string(lua_State *L);
void sandbox_push_table(lua_State *L);

/* The pattern matcher (sandbox_match.c): Lua patterns with bounded work. */
#define SANDBOX_CAPTURES 16
struct match {
    const char *text, *text_end, *pattern_end;
    lua_State *L;
    unsigned steps, depth;
    int level;
    struct {
        const char *start;
        ptrdiff_t len; /* -1: open, -2: position */
    } capture[SANDBOX_CAPTURES];
};
const char *sandbox_match(struct match *match, const char *text,
                          const char *pattern); /* end of the match or NULL */

#endif
