/*
 * file_spawn: file_spawn and process identity. Does not wait for the child: its owner does, by pidfd or
 * waitpid. Invariants: between fork and exec only async-signal-safe calls; a program that cannot be executed
 * is the caller's error, not a child that ends with 127; no descriptor but 0, 1, 2 and those
 * that are passed on purpose reaches the program; a program that has a pid file never runs without it, even
 * if the caller is killed at any moment.
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

/* fds become 3, 4, …; first all leave that range, where they may be in each other's way. */
static bool pass(const struct file_program *program, int *report)
{
    int above = 3 + FILE_SPAWN_PASSED, held[FILE_SPAWN_PASSED];
    *report = fcntl(*report, F_DUPFD_CLOEXEC, above);
    bool done = *report >= 0;
    for (size_t i = 0; i < program->n_fds && done; i++)
        done = (held[i] = fcntl(program->fds[i], F_DUPFD_CLOEXEC, above)) >= 0;
    for (size_t i = 0; i < program->n_fds && done; i++)
        done = dup2(held[i], 3 + (int)i) >= 0;
    return done;
}

static char *put_number(char *to, unsigned long long number, unsigned base)
{
    char digits[24];
    size_t n = 0;
    do
        digits[n++] = "0123456789abcdef"[number % base];
    while (number /= base);
    while (n)
        *to++ = digits[--n];
    return to;
}

/* The field 22 of this very process, as text. */
static char *put_start_time(char *to)
{
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (len <= 0)
        return NULL;
    text[len] = 0;
    const char *p = strrchr(text, ')');
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (!p)
        return NULL;
    for (p++; *p >= '0' && *p <= '9'; p++)
        *to++ = *p;
    return to;
}

/* Not synced: after the machine has ended it says nothing. */
static bool identify(const struct file_program *program, const char *draft)
{
    char text[128], *end = put_number(text, (unsigned long long)getpid(), 10);
    *end++ = ' ';
    end = put_start_time(end);
    if (!end)
        return false;
    *end++ = ' ';
    end = put_number(end, program->tag, 16);
    *end++ = '\n';
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return fd >= 0 && write(fd, text, (size_t)(end - text)) == end - text &&
           rename(draft, program->pid_file) == 0;
}

static void run_child(const struct file_program *program, char *const *environment, const char *draft,
                      int report)
{
    const char *log_path = program->log_path;
    setsid();
    reset_signals();
    int null = open("/dev/null", O_RDONLY);
    int log = log_path ? open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0640) : STDERR_FILENO;
    bool ready = null >= 0 && dup2(null, STDIN_FILENO) >= 0 && log >= 0;
    if (ready && log_path)
        ready = dup2(log, STDOUT_FILENO) >= 0 && dup2(log, STDERR_FILENO) >= 0;
    ready = ready && pass(program, &report) && (!program->pid_file || identify(program, draft));
    if (ready) {
        syscall(SYS_close_range, 3u + (unsigned)program->n_fds, ~0u, CLOSE_RANGE_CLOEXEC);
        execvpe(program->argv[0], (char *const *)program->argv, environment);
    }
    int cause = errno;
    (void)!write(report, &cause, sizeof(cause));
    _exit(127);
}

pid_t file_spawn(const char *const *argv, const char *const *environment, const char *log_path,
                 struct err **err)
{
    const struct file_program program = {.argv = argv, .environment = environment, .log_path = log_path};
    return file_spawn_program(&program, err);
}

pid_t file_spawn_program(const struct file_program *program, struct err **err)
{
    auto_free char *draft = program->pid_file ? mem_printf("%s.new", program->pid_file) : NULL;
    char *const *environment = program->environment ? (char *const *)program->environment : environ;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_errno(err, errno, "start %s", program->argv[0]);
    auto_fd reader = ends[0];
    /* All signals wait, so that no handler of the parent runs in the child. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    /* Not fork: a copy of the page tables that exec throws away costs 2 ms in an agent of 20 MB. The child
     * only opens, writes, duplicates and execs; descriptors and signal handlers are its own. */
    pid_t pid = vfork();
    int cause = errno;
    if (pid == 0)
        run_child(program, environment, draft, ends[1]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    if (pid < 0)
        return err_errno(err, cause, "start %s", program->argv[0]);
    ssize_t n;
    do
        n = read(reader, &cause, sizeof(cause));
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return pid;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (program->pid_file)
        unlink(program->pid_file); /* it may have come that far */
    return err_errno(err, n == sizeof(cause) ? cause : EIO, "start %s", program->argv[0]);
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
