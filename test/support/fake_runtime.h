/*
 * fake_runtime: a machine with containers that exist in memory only, behind struct runtime_ops. The machine
 * outlives the agent: its containers go on when the runtime handle is freed, and the next handle finds them.
 * Delays are virtual time from a seeded random; errors, lost and repeated events and a slow start can be
 * injected.
 *
 * Programs: what a container does follows from the first word of its command (or arguments):
 *   exit CODE [MS]  ends with CODE after MS (0)      oom [MS]   ends with 137, killed for memory
 *   stubborn        ignores SIGTERM                   missing    cannot be started
 *   anything else   runs until it gets a signal (SIGTERM: 143, SIGKILL: 137)
 * Images: a reference with "absent" in it exists nowhere, "forbidden" may not be pulled; others are pulled
 * once.
 */
#ifndef M8_TEST_SUPPORT_FAKE_RUNTIME_H
#define M8_TEST_SUPPORT_FAKE_RUNTIME_H

#include "base/random.h"
#include "runtime/runtime.h"

struct fake_machine;
struct fake_machine *fake_machine_new(struct loop *loop, const struct random *random);
void fake_machine_free(struct fake_machine *machine); /* after its runtime */
/* One at a time; freed by its ops->free. */
struct runtime *fake_machine_runtime(struct fake_machine *machine);

struct fake_runtime_faults {
    int64_t delay_ms_min, delay_ms_max; /* of every operation; default 1 … 5 */
    int64_t answer_ms_max;              /* after it took effect, until its answer; default 0 */
    int64_t pull_ms, exec_ms;           /* how long a pull and an exec take instead; 0: as others */
    bool exec_unavailable;              /* each exec fails with ERR_UNAVAILABLE */
    unsigned error_permille;            /* an operation fails with ERR_UNAVAILABLE and was not done */
    unsigned half_permille;             /* it fails with ERR_UNAVAILABLE although it was done */
    unsigned lose_event_permille;       /* followed by RUNTIME_RESYNC a second later */
    unsigned repeat_event_permille;
};
void fake_machine_set_faults(struct fake_machine *machine, const struct fake_runtime_faults *faults);
/* Called before an operation takes effect: the place where a test kills the agent. */
void fake_machine_set_on_operation(struct fake_machine *machine,
                                   void (*on_operation)(void *arg, const char *operation), void *arg);

/* Called when a running container is about to get a signal (also the SIGKILL of a removal). */
void fake_machine_set_on_signal(struct fake_machine *machine,
                                void (*on_signal)(void *arg, const struct runtime_container *container,
                                                  int signal_number),
                                void *arg);
/* All containers in a fixed order; the machine must not change meanwhile. */
void fake_machine_each(const struct fake_machine *machine,
                       void (*each)(void *arg, const struct runtime_container *container), void *arg);

void fake_machine_add_image(struct fake_machine *machine, const char *reference);
/* The process ends as if it was killed from outside. False: no such running container. */
bool fake_machine_kill(struct fake_machine *machine, const char *name, int exit_code, bool oom);
void fake_machine_reboot(struct fake_machine *machine); /* all containers exit, no event is sent */
/* The container whose labels name this pod and container ("" the sandbox), newest attempt; NULL: none.
 * Borrowed. */
const struct runtime_container *fake_machine_find(const struct fake_machine *machine, const char *pod,
                                                  const char *container);
const struct runtime_spec *fake_machine_spec(const struct fake_machine *machine,
                                             const char *name); /* borrowed */
size_t fake_machine_count(const struct fake_machine *machine, bool running_only);
size_t fake_machine_starts(const struct fake_machine *machine); /* containers started so far, sandboxes too */
size_t fake_machine_signals(const struct fake_machine *machine, const char *name, int signal_number);
/* The log-ins that came with the last question for an image; NULL: none. Borrowed. */
const char *fake_machine_auth(const struct fake_machine *machine);
/* What exec answers: the exit code of every command whose first word is `word`. Default 0. */
void fake_machine_set_exec(struct fake_machine *machine, const char *word, int exit_code);

#endif
