/*
 * log: see log.h. The level, the process name and the silence are the only mutable globals of the program:
 * set once at start, before threads. Each line goes out in one write(2), so lines of several processes on one
 * pipe do not mix.
 */
#include "base/log.h"

#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"

static atomic_int minimum = LOG_INFO;
static atomic_bool silent_now;
static char process_field[48];

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&minimum, (int)level, memory_order_relaxed);
}

int log_level_from_name(const char *name, enum log_level *level)
{
    for (size_t i = 0; i < COUNT_OF(level_names); i++) {
        if (str_eq(name, level_names[i])) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

void log_set_process(const char *name)
{
    if (str_empty(name))
        process_field[0] = '\0';
    else
        snprintf(process_field, sizeof(process_field), " proc=%s", name);
}

void log_set_silent(int silent)
{
    atomic_store_explicit(&silent_now, silent != 0, memory_order_relaxed);
}

static void write_all(const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(STDERR_FILENO, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nowhere left to say that the log cannot be written */
        data += n;
        len -= (size_t)n;
    }
}

void log_write(enum log_level level, const char *part, const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&minimum, memory_order_relaxed) ||
        atomic_load_explicit(&silent_now, memory_order_relaxed))
        return;
    int saved = errno;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char when[TIME_TEXT];
    time_print(now.tv_sec * 1000000000ll, when);
    when[strlen(when) - 1] = '\0'; /* the Z follows the milliseconds */
    auto_str message = {0};
    va_list arguments;
    va_start(arguments, format);
    str_vaddf(&message, format, arguments);
    va_end(arguments);
    auto_str line = {0};
    str_addf(&line, "time=%s.%03ldZ level=%s%s part=%s msg=", when, now.tv_nsec / 1000000, level_names[level],
             process_field, part);
    str_add_json(&line, str_c(&message));
    str_add_char(&line, '\n');
    write_all(line.data, line.len);
    errno = saved;
}

static void crash(int signal_number)
{
    static const char text[] = "fatal signal, back trace:\n";
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    void *frames[64];
    backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
    /* SA_RESETHAND has put the default action back: the process ends with the signal, and a core if there may
     * be one */
    raise(signal_number);
}

void log_install_crash_handler(void)
{
    void *warm_up[1];
    backtrace(warm_up, 1); /* loads libgcc now: the first call allocates, which a handler must not */
    struct sigaction action = {.sa_handler = crash, .sa_flags = SA_RESETHAND | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        sigaction(signals[i], &action, NULL);
}
