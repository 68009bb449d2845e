/*
 * file_spawn: file_spawn and process identity. Does not wait for the child: its owner does, by pidfd or
 * waitpid. Invariants: between fork and exec only async-signal-safe calls; a program that cannot be executed
 * is the caller's error, not a child that ends with 127; no descriptor but 0, 1, 2 and those
 * that are passed on purpose reaches the program.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/close_range.h>

#include "base/str.h"

static void reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int i = 1; i < NSIG; i++)
        sigaction(i, &action, NULL); /* fails for KILL, STOP and the C library's own: as it should */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

struct passed {
    const int *fds;
    size_t n;
};

/* fds become 3, 4, …; first all leave that range, where they may be in each other's way. */
static bool pass(const struct passed *passed, int *report)
{
    int above = 3 + FILE_SPAWN_PASSED, held[FILE_SPAWN_PASSED];
    *report = fcntl(*report, F_DUPFD_CLOEXEC, above);
    bool done = *report >= 0;
    for (size_t i = 0; i < passed->n && done; i++)
        done = (held[i] = fcntl(passed->fds[i], F_DUPFD_CLOEXEC, above)) >= 0;
    for (size_t i = 0; i < passed->n && done; i++)
        done = dup2(held[i], 3 + (int)i) >= 0;
    return done;
}

static void run_child(const char *const *argv, char *const *environment, const char *log_path,
                      const struct passed *passed, int report)
{
    setsid();
    reset_signals();
    int null = open("/dev/null", O_RDONLY);
    int log = log_path ? open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0640) : STDERR_FILENO;
    bool ready = null >= 0 && dup2(null, STDIN_FILENO) >= 0 && log >= 0;
    if (ready && log_path)
        ready = dup2(log, STDOUT_FILENO) >= 0 && dup2(log, STDERR_FILENO) >= 0;
    ready = ready && pass(passed, &report);
    if (ready) {
        syscall(SYS_close_range, 3u + (unsigned)passed->n, ~0u, CLOSE_RANGE_CLOEXEC);
        execvpe(argv[0], (char *const *)argv, environment);
    }
    int cause = errno;
    (void)!write(report, &cause, sizeof(cause));
    _exit(127);
}

pid_t file_spawn(const char *const *argv, const char *const *environment, const char *log_path,
                 struct err **err)
{
    return file_spawn_passing(argv, environment, log_path, NULL, 0, err);
}

pid_t file_spawn_passing(const char *const *argv, const char *const *environment, const char *log_path,
                         const int *fds, size_t n_fds, struct err **err)
{
    const struct passed passed = {fds, n_fds};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_errno(err, errno, "start %s", argv[0]);
    auto_fd reader = ends[0];
    /* All signals wait, so that no handler of the parent runs in the child. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    /* Not fork: a copy of the page tables that exec throws away costs 2 ms in an agent of 20 MB. The child
     * only opens, duplicates and execs; descriptors and signal handlers are its own. */
    pid_t pid = vfork();
    int cause = errno;
    if (pid == 0)
        run_child(argv, environment ? (char *const *)environment : environ, log_path, &passed, ends[1]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    if (pid < 0)
        return err_errno(err, cause, "start %s", argv[0]);
    ssize_t n;
    do
        n = read(reader, &cause, sizeof(cause));
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return err_errno(err, n == sizeof(cause) ? cause : EIO, "start %s", argv[0]);
}

unsigned long long file_process_start_time(pid_t pid)
{
    auto_free char *path = mem_printf("/proc/%d/stat", (int)pid), *text = NULL;
    if (pid <= 0 || file_read(path, 65536, &text, NULL, NULL) < 0)
        return 0;
    /* The name in parentheses may itself hold parentheses and spaces: the fields begin behind the last one.
     */
    const char *p = strrchr(text, ')');
    char state;
    unsigned long long start;
    if (!p ||
        sscanf(p + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &state, &start) != 2)
        return 0;
    return state == 'Z' || state == 'X' ? 0 : start;
}
