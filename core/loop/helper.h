/*
 * helper: a program that serves this process and outlives it (podman service, resolver, proxy): started once,
 * adopted by the next process through its pid file (pid + start time, contract 16), watched through a pidfd,
 * started again when it ends: at once if it had run for a while, else with back-off.
 */
#ifndef M8_LOOP_HELPER_H
#define M8_LOOP_HELPER_H

#include "loop/loop.h"

struct helper_options {
    const char *name;               /* for logs */
    const char *const *argv;        /* NULL-terminated; argv[0] is looked up in PATH */
    const char *const *environment; /* NULL: inherited */
    const char *pid_file; /* "PID START_TIME HASH\n"; the hash of argv tells a changed configuration */
    const char *log_path;
    const int *fds; /* the program has them as 3, 4, … each time that it is started; stay the caller's */
    size_t n_fds;
    struct loop *loop;
    void (*on_start)(void *arg, pid_t pid, bool adopted);
    void (*on_exit)(void *arg); /* it will be started again by itself */
    void *arg;
};
struct helper;
/* Adopts the running one if pid file, start time and hash agree; ends one whose hash differs; else starts. */
struct helper *helper_new(const struct helper_options *options, struct err **err);
pid_t helper_pid(const struct helper *helper); /* 0 while down */
int helper_signal(struct helper *helper, int signal_number, struct err **err);
void helper_free(struct helper *helper); /* stops watching; the program goes on */
/* Writes this very process into pid_file as if a helper had started it with argv: it may be adopted. */
int helper_identify(const char *pid_file, const char *const *argv, struct err **err);
bool helper_running(const char *pid_file); /* whether there is one to adopt; of any configuration */
/* A copy of descriptor 3 + index of the program that runs, the caller's, who looks whether it is what was
 * passed; -1: there is none. */
int helper_take_fd(const char *pid_file, unsigned index);
/* SIGTERM, up to grace_ms, SIGKILL, removes the pid file; blocking; works without a struct helper. */
int helper_terminate(const char *pid_file, int grace_ms, struct err **err);

#endif
