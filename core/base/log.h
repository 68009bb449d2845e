/*
 * log: structured lines on standard error, one write(2) a line:
 *   time=2026-01-02T03:04:05.678Z level=info part=store msg="opened" revision=12
 * Thread-safe. Never log a Secret, a token or a key. Values are given as "key", "value" string pairs through
 * LOG_KV, or formatted into the message.
 */
#ifndef M8_BASE_LOG_H
#define M8_BASE_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level level);
int log_level_from_name(const char *name, enum log_level *level); /* -1 if unknown */
void log_set_process(const char *name);                           /* adds proc=NAME to every line */
void log_set_silent(int silent);                                  /* simulation */
void log_write(enum log_level level, const char *part, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* part is the folder's name */
#define log_debug(part, ...) log_write(LOG_DEBUG, part, __VA_ARGS__)
#define log_info(part, ...) log_write(LOG_INFO, part, __VA_ARGS__)
#define log_warn(part, ...) log_write(LOG_WARN, part, __VA_ARGS__)
#define log_error(part, ...) log_write(LOG_ERROR, part, __VA_ARGS__)

/* Installs handlers for SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL that write a back trace and re-raise. */
void log_install_crash_handler(void);

#endif
