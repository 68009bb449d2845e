/*
 * holder: sockets that outlive whoever serves them. A process that does nothing else (programs/holder.c)
 * has them open too, so what arrives while this process and its helpers are killed is not refused but waits
 * in the kernel until they are back. It is killed by nobody who restarts minik8s; should it be, its owner
 * starts it again with the same sockets.
 */
#ifndef M8_LOOP_HOLDER_H
#define M8_LOOP_HOLDER_H

#include "loop/helper.h"

struct holder_options {
    const char *directory; /* DIRECTORY/NAME is the program, DIRECTORY/NAME.pid who runs it */
    const char *name;
    const char *what; /* the sockets, for people who look at processes; another text: another process */
    const int *fds;   /* stay the caller's */
    size_t n_fds;
    struct loop *loop;
};
/* Adopts the one that runs, or starts it. The caller frees it with helper_free: the process goes on. */
struct helper *holder_new(const struct holder_options *options, struct err **err);
/* A copy of the socket number `index` of fds, the caller's, who looks whether it is what it should be; -1:
 * nobody holds it. */
int holder_take(const char *directory, const char *name, unsigned index);
int holder_shutdown(const char *directory, const char *name,
                    struct err **err); /* blocking; removes both files */

#endif
