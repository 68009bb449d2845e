/*
 * helper: a program that outlives this process, adopted by pid and start time and watched through a pidfd.
 *
 * Does not read the program's output and does not judge whether it works: its owner talks to it. Invariants:
 * at most one program runs per pid file; the pid file is there before the program's first instruction and
 * removed only when it has ended; a program whose command line has changed is ended before its successor
 * starts; the loop never waits for a program except in that one case.
 */
#include "loop/helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#define HELPER_BACKOFF_MIN_MS 100
#define HELPER_BACKOFF_MAX_MS 30000
#define HELPER_STEADY_MS 10000 /* having run this long, it is started again at once */
#define HELPER_REPLACE_GRACE_MS 3000
#define FIRST_PASSED 3 /* file_spawn_program */

struct helper {
    struct helper_options options; /* texts below are copies */
    char *name, *pid_file, *log_path;
    char **argv, **environment;
    int fds[FILE_SPAWN_PASSED];
    unsigned long long hash;
    pid_t pid;
    int pidfd;
    struct loop_fd *watch;
    struct loop_timer *restart;
    int64_t started_ms, backoff_ms;
};

struct helper_identity {
    int pid;
    unsigned long long start_time, hash;
};

static int pidfd_of(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static char **copy_texts(const char *const *texts)
{
    size_t count = 0;
    while (texts && texts[count])
        count++;
    char **copy = texts ? mem_array(count + 1, sizeof(char *)) : NULL;
    for (size_t i = 0; i < count; i++)
        copy[i] = mem_strdup(texts[i]);
    return copy;
}

static void free_texts(char **texts)
{
    for (size_t i = 0; texts && texts[i]; i++)
        free(texts[i]);
    free(texts);
}

static unsigned long long hash_command(const char *const *argv, const char *const *environment)
{
    auto_str all = {0};
    for (size_t i = 0; argv[i]; i++)
        str_add_n(&all, argv[i], strlen(argv[i]) + 1);
    for (size_t i = 0; environment && environment[i]; i++)
        str_add_n(&all, environment[i], strlen(environment[i]) + 1);
    return str_hash(all.data, all.len);
}

/* The program that the pid file names, if that very process is alive; else false. */
static bool read_identity(const char *pid_file, struct helper_identity *identity)
{
    auto_free char *text = NULL;
    if (file_read(pid_file, 256, &text, NULL, NULL) < 0)
        return false;
    *identity = (struct helper_identity){0};
    if (sscanf(text, "%d %llu %llx", &identity->pid, &identity->start_time, &identity->hash) < 2)
        return false;
    return identity->start_time && file_process_start_time(identity->pid) == identity->start_time;
}

bool helper_running(const char *pid_file)
{
    struct helper_identity identity;
    return read_identity(pid_file, &identity);
}

int helper_take_fd(const char *pid_file, unsigned index)
{
    struct helper_identity identity;
    if (!read_identity(pid_file, &identity))
        return -1;
    auto_fd process = pidfd_of(identity.pid);
    /* Looked twice, as in helper_terminate. */
    if (process < 0 || file_process_start_time(identity.pid) != identity.start_time)
        return -1;
    return (int)syscall(SYS_pidfd_getfd, process, FIRST_PASSED + (int)index, 0);
}

static int write_identity(const char *pid_file, unsigned long long hash, pid_t pid, struct err **err)
{
    auto_str text = {0};
    str_addf(&text, "%d %llu %llx\n", (int)pid, file_process_start_time(pid), hash);
    return file_write_atomic(pid_file, text.data, text.len, 0644, err);
}

int helper_identify(const char *pid_file, const char *const *argv, struct err **err)
{
    return write_identity(pid_file, hash_command(argv, NULL), getpid(), err);
}

/* Waits for the end of a process; true when it has ended. */
static bool wait_end(int pidfd, int timeout_ms)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int64_t until = clock_monotonic_ms(&clock_system) + timeout_ms;
    for (;;) {
        int64_t left = until - clock_monotonic_ms(&clock_system);
        int n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

static void reap(int pidfd)
{
    siginfo_t info;
    while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) < 0 && errno == EINTR)
        ; /* ECHILD: an adopted program is another's child */
}

int helper_terminate(const char *pid_file, int grace_ms, struct err **err)
{
    struct helper_identity identity;
    if (read_identity(pid_file, &identity)) {
        auto_fd pidfd = pidfd_of(identity.pid);
        /* Opened before the second look: the descriptor belongs to the process with that start time. */
        if (pidfd >= 0 && file_process_start_time(identity.pid) == identity.start_time) {
            syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0);
            if (!wait_end(pidfd, grace_ms)) {
                syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
                if (!wait_end(pidfd, 5000))
                    return err_set(err, ERR_TIMEOUT, "process %d of %s does not end after SIGKILL",
                                   identity.pid, pid_file);
            }
            reap(pidfd);
        }
    }
    if (unlink(pid_file) < 0 && errno != ENOENT)
        return err_errno(err, errno, "remove %s", pid_file);
    return 0;
}

static void on_end(void *arg, unsigned events UNUSED)
{
    struct helper *h = arg;
    loop_fd_remove(steal(&h->watch));
    reap(h->pidfd);
    close(h->pidfd);
    h->pidfd = -1;
    h->pid = 0;
    unlink(h->pid_file);
    int64_t ran_ms = loop_now_ms(h->options.loop) - h->started_ms;
    bool steady = ran_ms >= HELPER_STEADY_MS;
    int64_t wait_ms = steady ? 0 : h->backoff_ms;
    if (steady)
        h->backoff_ms = HELPER_BACKOFF_MIN_MS / 2;
    log_warn("loop", "%s ended after %lld ms, starting it again in %lld ms (log: %s)", h->name,
             (long long)ran_ms, (long long)wait_ms, h->log_path ? h->log_path : "standard error");
    loop_timer_start(h->restart, wait_ms);
    h->backoff_ms = h->backoff_ms * 2 < HELPER_BACKOFF_MAX_MS ? h->backoff_ms * 2 : HELPER_BACKOFF_MAX_MS;
    if (h->options.on_exit)
        h->options.on_exit(h->options.arg); /* last: it may free the helper */
}

/* `pid` is alive or was a moment ago: a process that has ended meanwhile shows as readable at once. */
static int watch(struct helper *h, pid_t pid, struct err **err)
{
    int pidfd = pidfd_of(pid);
    if (pidfd < 0)
        return err_errno(err, errno, "watch %s (process %d)", h->name, (int)pid);
    h->watch = loop_fd_add(h->options.loop, pidfd, EPOLLIN, on_end, h, err);
    if (!h->watch) {
        close(pidfd);
        return -1;
    }
    h->pid = pid;
    h->pidfd = pidfd;
    h->started_ms = loop_now_ms(h->options.loop);
    return 0;
}

static int start(struct helper *h, struct err **err)
{
    const struct file_program program = {.argv = (const char *const *)h->argv,
                                         .environment = (const char *const *)h->environment,
                                         .log_path = h->log_path,
                                         .fds = h->fds,
                                         .n_fds = h->options.n_fds,
                                         .pid_file = h->pid_file,
                                         .tag = h->hash};
    pid_t pid = file_spawn_program(&program, err);
    if (pid < 0)
        return err_wrap(err, "start %s", h->name);
    if (watch(h, pid, err) < 0) {
        kill(pid, SIGKILL); /* our child, not yet reaped: the pid is its own */
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        unlink(h->pid_file);
        return err_wrap(err, "start %s", h->name);
    }
    if (h->options.on_start)
        h->options.on_start(h->options.arg, pid, false);
    return 0;
}

static void restart(void *arg)
{
    struct helper *h = arg;
    auto_err error = NULL;
    if (start(h, &error) == 0)
        return;
    log_error("loop", "%s; next try in %lld ms", err_message(error), (long long)h->backoff_ms);
    loop_timer_start(h->restart, h->backoff_ms);
    h->backoff_ms = h->backoff_ms * 2 < HELPER_BACKOFF_MAX_MS ? h->backoff_ms * 2 : HELPER_BACKOFF_MAX_MS;
}

static int adopt_or_start(struct helper *h, struct err **err)
{
    struct helper_identity identity;
    if (read_identity(h->pid_file, &identity) && identity.hash == h->hash &&
        watch(h, identity.pid, NULL) == 0) {
        if (file_process_start_time(identity.pid) == identity.start_time) {
            if (h->options.on_start)
                h->options.on_start(h->options.arg, identity.pid, true);
            return 0;
        }
        loop_fd_remove(steal(&h->watch));
        close(h->pidfd);
        h->pidfd = -1;
        h->pid = 0;
    }
    if (helper_terminate(h->pid_file, HELPER_REPLACE_GRACE_MS, err) < 0)
        return err_wrap(err, "replace %s", h->name);
    return start(h, err);
}

struct helper *helper_new(const struct helper_options *options, struct err **err)
{
    struct helper *h = NEW(struct helper);
    h->options = *options;
    for (size_t i = 0; i < options->n_fds; i++)
        h->fds[i] = options->fds[i];
    h->name = mem_strdup(options->name);
    h->pid_file = mem_strdup(options->pid_file);
    h->log_path = mem_strdup(options->log_path);
    h->argv = copy_texts(options->argv);
    h->environment = copy_texts(options->environment);
    h->hash = hash_command(options->argv, options->environment);
    h->pidfd = -1;
    h->backoff_ms = HELPER_BACKOFF_MIN_MS;
    h->restart = loop_timer_new(options->loop, restart, h);
    if (adopt_or_start(h, err) == 0)
        return h;
    helper_free(h);
    return NULL;
}

pid_t helper_pid(const struct helper *helper)
{
    return helper->pid;
}

int helper_signal(struct helper *helper, int signal_number, struct err **err)
{
    if (!helper->pid)
        return err_set(err, ERR_UNAVAILABLE, "%s is not running", helper->name);
    if (syscall(SYS_pidfd_send_signal, helper->pidfd, signal_number, NULL, 0) < 0)
        return err_errno(err, errno, "signal %d to %s", signal_number, helper->name);
    return 0;
}

void helper_free(struct helper *helper)
{
    if (!helper)
        return;
    loop_fd_remove(helper->watch);
    loop_timer_free(helper->restart);
    if (helper->pidfd >= 0)
        close(helper->pidfd);
    free_texts(helper->argv);
    free_texts(helper->environment);
    free(helper->name);
    free(helper->pid_file);
    free(helper->log_path);
    free(helper);
}
