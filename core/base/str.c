/*
 * str: see str.h. Growable strings, comparison, splitting, nearest word. Encodings are in str_codec.c,
 * Kubernetes' name rules in str_names.c. Invariant: when data is not NULL, data[len] is NUL and capacity >
 * len.
 */
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void str_free(struct str *s)
{
    free(s->data);
    *s = (struct str){0};
}

void str_clear(struct str *s)
{
    s->len = 0;
    if (s->data)
        s->data[0] = '\0';
}

void str_reserve(struct str *s, size_t extra)
{
    size_t need;
    must(!__builtin_add_overflow(s->len, extra, &need) && need < SIZE_MAX / 2);
    if (s->data && need < s->capacity)
        return;
    size_t capacity = s->capacity ? s->capacity : 64;
    while (capacity <= need)
        capacity *= 2;
    s->data = mem_resize(s->data, capacity, 1);
    s->data[s->len] = '\0';
    s->capacity = capacity;
}

void str_add_n(struct str *s, const void *data, size_t n)
{
    str_reserve(s, n);
    if (n)
        memcpy(s->data + s->len, data, n);
    s->len += n;
    s->data[s->len] = '\0';
}

void str_add(struct str *s, const char *text)
{
    if (text)
        str_add_n(s, text, strlen(text));
}

void str_add_char(struct str *s, char c)
{
    if (!s->data || s->len + 1 >= s->capacity)
        str_reserve(s, 1);
    s->data[s->len++] = c;
    s->data[s->len] = '\0';
}

void str_vaddf(struct str *s, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    str_reserve(s, 32);
    size_t room = s->capacity - s->len;
    int n = vsnprintf(s->data + s->len, room, format, arguments);
    must(n >= 0);
    if ((size_t)n >= room) {
        str_reserve(s, (size_t)n);
        n = vsnprintf(s->data + s->len, s->capacity - s->len, format, again);
    }
    va_end(again);
    s->len += (size_t)n;
}

void str_addf(struct str *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    str_vaddf(s, format, arguments);
    va_end(arguments);
}

const char *str_c(const struct str *s)
{
    return s->data ? s->data : "";
}

char *str_take(struct str *s)
{
    char *data = s->data ? s->data : mem_strdup("");
    *s = (struct str){0};
    return data;
}

bool str_eq(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool str_starts(const char *text, const char *prefix)
{
    return text && strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *text, const char *suffix)
{
    if (!text)
        return false;
    size_t len = strlen(text), tail = strlen(suffix);
    return tail <= len && memcmp(text + len - tail, suffix, tail) == 0;
}

bool str_empty(const char *text)
{
    return !text || !*text;
}

char **str_split(const char *text, char separator, size_t *count)
{
    text = text ? text : "";
    size_t parts = 1, len = strlen(text);
    for (size_t i = 0; i < len; i++)
        parts += text[i] == separator;
    size_t pointers = (parts + 1) * sizeof(char *);
    char **split = mem_alloc(pointers + len + 1);
    char *copy = memcpy((char *)split + pointers, text, len + 1);
    split[0] = copy;
    for (size_t i = 0, n = 1; i < len; i++) {
        if (copy[i] == separator) {
            copy[i] = '\0';
            split[n++] = copy + i + 1;
        }
    }
    if (count)
        *count = parts;
    return split;
}

#define DISTANCE_MAX_WORD 64

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Optimal string alignment (an adjacent swap counts once), three rows. */
unsigned str_distance(const char *a, const char *b, unsigned limit)
{
    size_t n = strlen(a), m = strlen(b);
    size_t apart = n > m ? n - m : m - n;
    if (apart > limit || n > DISTANCE_MAX_WORD || m > DISTANCE_MAX_WORD)
        return str_eq(a, b) ? 0 : limit + 1;
    unsigned rows[3][DISTANCE_MAX_WORD + 1];
    unsigned *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned best = row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = least(least(last[j] + 1, row[j - 1] + 1), last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
            best = least(best, row[j]);
        }
        if (best > limit + 1)
            return limit + 1;
        unsigned *reuse = before;
        before = last;
        last = row;
        row = reuse;
    }
    return least(last[m], limit + 1);
}

const char *str_nearest(const char *word, const char *const *candidates, size_t count)
{
    unsigned limit = (unsigned)(strlen(word) / 3);
    limit = limit ? limit : 1;
    const char *nearest = NULL;
    for (size_t i = 0; i < count; i++) {
        unsigned distance = str_distance(word, candidates[i], limit);
        if (distance > limit)
            continue;
        nearest = candidates[i];
        if (distance == 0)
            break;
        limit = distance - 1;
    }
    return nearest;
}

bool str_eq_secret(const char *a, const char *b)
{
    if (!a || !b)
        return false;
    size_t n = strlen(a), m = strlen(b);
    /* Every byte of a is compared with something, so that the time tells nothing about b but its length. */
    volatile unsigned char difference = n != m;
    for (size_t i = 0; i < n; i++)
        difference |= (unsigned char)(a[i] ^ (m ? b[i % m] : 1));
    return difference == 0;
}

int str_to_int64(const char *text, long long *value)
{
    if (str_empty(text) || !(*text == '-' || (*text >= '0' && *text <= '9')))
        return -1;
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno || *end || end == text)
        return -1;
    *value = number;
    return 0;
}
