/*
 * mem: see mem.h. Allocation never fails towards the caller: memory that cannot be had ends the process,
 * because no caller could do anything sensible with half an object (contract: aborts instead of failing).
 * Does not pool or count. Invariant: every pointer handed out can be given to free(), except struct bytes.
 */
#include "base/mem.h"

#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static void *checked(void *pointer)
{
    if (__builtin_expect(!pointer, 0)) {
        static const char text[] = "out of memory\n";
        (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
        abort();
    }
    return pointer;
}

void *mem_alloc(size_t size)
{
    return checked(calloc(1, size ? size : 1));
}

void *mem_array(size_t count, size_t size)
{
    if (!count || !size)
        return mem_alloc(1);
    return checked(calloc(count, size));
}

void *mem_resize(void *pointer, size_t count, size_t size)
{
    size_t total;
    must(!__builtin_mul_overflow(count, size, &total));
    return checked(realloc(pointer, total ? total : 1));
}

void *mem_copy(const void *data, size_t size)
{
    void *copy = checked(malloc(size ? size : 1));
    if (size)
        memcpy(copy, data, size);
    return copy;
}

void mem_set_text(char **field, const char *text)
{
    char *copy = mem_strdup(text);
    free(*field);
    *field = copy;
}

char *mem_strdup(const char *text)
{
    return text ? mem_copy(text, strlen(text) + 1) : NULL;
}

char *mem_strndup(const char *text, size_t n)
{
    if (!text)
        return NULL;
    size_t len = strnlen(text, n);
    char *copy = checked(malloc(len + 1));
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *mem_printf(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int n = vasprintf(&text, format, arguments);
    va_end(arguments);
    return checked(n < 0 ? NULL : text);
}

void fd_cleanup(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

void must_failed(const char *condition, const char *file, int line)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "fatal: must(%s) failed at %s:%d\n", condition, file, line);
    if (n > (int)sizeof(text) - 1)
        n = sizeof(text) - 1;
    (void)!write(STDERR_FILENO, text, (size_t)n);
    void *frames[64];
    backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
    abort();
}

bool soft_failed(const char *condition, const char *file, int line)
{
    /* The places already reported. A fixed table: when it is full, a place is reported every time. */
    static atomic_uintptr_t reported[128];
    uintptr_t place = ((uintptr_t)file << 12) ^ (uintptr_t)line;
    for (size_t i = 0; i < COUNT_OF(reported); i++) {
        uintptr_t expected = 0;
        if (atomic_compare_exchange_strong(&reported[i], &expected, place))
            break;
        if (expected == place)
            return true;
    }
    log_error("base", "soft failure: %s at %s:%d", condition, file, line);
    return true;
}

struct bytes *bytes_new(size_t len)
{
    must(len < SIZE_MAX - sizeof(struct bytes) - 1);
    struct bytes *bytes = checked(malloc(sizeof(*bytes) + len + 1));
    atomic_init(&bytes->refs, 1);
    bytes->len = len;
    bytes->data[len] = '\0';
    return bytes;
}

struct bytes *bytes_from(const void *data, size_t len)
{
    struct bytes *bytes = bytes_new(len);
    if (len)
        memcpy(bytes->data, data, len);
    return bytes;
}

struct bytes *bytes_ref(struct bytes *bytes)
{
    if (bytes)
        atomic_fetch_add_explicit(&bytes->refs, 1, memory_order_relaxed);
    return bytes;
}

void bytes_unref(struct bytes *bytes)
{
    if (!bytes)
        return;
    unsigned before = atomic_fetch_sub_explicit(&bytes->refs, 1, memory_order_acq_rel);
    must(before > 0);
    if (before == 1)
        free(bytes);
}
