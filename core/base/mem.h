/*
 * mem: allocation that aborts instead of failing, cleanup attributes, reference-counted immutable bytes,
 * assertions.
 */
#ifndef M8_BASE_MEM_H
#define M8_BASE_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

void *mem_alloc(size_t size);               /* zeroed; never NULL */
void *mem_array(size_t count, size_t size); /* zeroed, overflow-checked */
void *mem_resize(void *pointer, size_t count, size_t size);
void *mem_copy(const void *data, size_t size);
char *mem_strdup(const char *text);                /* NULL → NULL */
void mem_set_text(char **field, const char *text); /* a copy; frees what was there */
char *mem_strndup(const char *text, size_t n);
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define NEW(type) ((type *)mem_alloc(sizeof(type)))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
#define UNUSED __attribute__((unused))

static inline void mem_cleanup(void *pointer)
{
    free(*(void **)pointer);
}
#define auto_free __attribute__((cleanup(mem_cleanup)))
void fd_cleanup(const int *fd); /* closes fd >= 0 */
#define auto_fd __attribute__((cleanup(fd_cleanup))) int

/* Hands out an auto_ variable: returns its value and clears it. */
#define steal(pointer)                                                                                       \
    ({                                                                                                       \
        __typeof__(*(pointer)) *stolen_from = (pointer);                                                     \
        __typeof__(*(pointer)) stolen = *stolen_from;                                                        \
        *stolen_from = 0;                                                                                    \
        stolen;                                                                                              \
    })

/* Fatal in every build: prints file, line, text and a back trace, then aborts. */
#define must(condition)                                                                                      \
    do {                                                                                                     \
        if (__builtin_expect(!(condition), 0))                                                               \
            must_failed(#condition, __FILE__, __LINE__);                                                     \
    } while (0)
void must_failed(const char *condition, const char *file, int line) __attribute__((noreturn));
/* True when the condition is FALSE: logs it (once per place) so that the caller recovers. */
#define soft_fails(condition)                                                                                \
    (__builtin_expect(!(condition), 0) && soft_failed(#condition, __FILE__, __LINE__))
bool soft_failed(const char *condition, const char *file, int line); /* always true */

/* Immutable shared bytes. Thread-safe reference count. data[len] is always 0. */
struct bytes {
    atomic_uint refs;
    size_t len;
    char data[];
};
struct bytes *bytes_new(size_t len); /* writable until shared; refs 1 */
struct bytes *bytes_from(const void *data, size_t len);
struct bytes *bytes_ref(struct bytes *bytes); /* NULL → NULL */
void bytes_unref(struct bytes *bytes);
static inline void bytes_cleanup(struct bytes **bytes)
{
    bytes_unref(*bytes);
}
#define auto_bytes __attribute__((cleanup(bytes_cleanup))) struct bytes *

#endif
