/*
 * str: a growable byte string that is always NUL-terminated; helpers on C strings.
 */
#ifndef M8_BASE_STR_H
#define M8_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct str {
    char *data; /* NULL only while len == 0 and nothing was added; use str_c */
    size_t len, capacity;
};

void str_free(struct str *s); /* frees the data, resets to empty */
void str_clear(struct str *s);
void str_add(struct str *s, const char *text);
void str_add_n(struct str *s, const void *data, size_t n);
void str_add_char(struct str *s, char c);
void str_addf(struct str *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void str_vaddf(struct str *s, const char *format, va_list arguments);
void str_add_json(struct str *s, const char *text); /* quoted and escaped as a JSON string */
const char *str_c(const struct str *s);             /* "" when empty */
char *str_take(struct str *s);                      /* caller owns; s becomes empty; never NULL */
void str_reserve(struct str *s, size_t extra);
#define auto_str __attribute__((cleanup(str_free))) struct str

bool str_eq(const char *a, const char *b); /* NULL equals NULL only */
bool str_starts(const char *text, const char *prefix);
bool str_ends(const char *text, const char *suffix);
bool str_empty(const char *text); /* NULL or "" */

/* Splits at a separator; returns a NULL-terminated array in one allocation (free() it). Empty parts are kept.
 */
char **str_split(const char *text, char separator, size_t *count);
/* Edit distance (Damerau-Levenshtein, bounded at `limit`), for "did you mean". */
unsigned str_distance(const char *a, const char *b, unsigned limit);
/* The candidate nearest to `word` within distance max(1, len/3), or NULL. */
const char *str_nearest(const char *word, const char *const *candidates, size_t count);
/* Constant-time comparison for secrets. */
bool str_eq_secret(const char *a, const char *b);
int str_to_int64(const char *text,
                 long long *value); /* whole string, base 10; -1 if not a number or out of range */

char *str_base64(const void *data, size_t len); /* standard alphabet with padding; caller frees */
int str_unbase64(const char *text, size_t len, unsigned char **data, size_t *data_len); /* -1 if malformed */
char *str_hex(const void *data, size_t len);
unsigned long long str_hash(const void *data, size_t len); /* FNV-1a 64, stable over runs and machines */

/* Kubernetes' name rules. Each returns NULL when fine, else a static message that says the rule. */
const char *str_check_dns_label(const char *name);     /* RFC 1123 label, ≤ 63 */
const char *str_check_dns_subdomain(const char *name); /* RFC 1123 subdomain, ≤ 253 */
const char *str_check_label_key(const char *key);      /* [prefix/]name */
const char *str_check_label_value(const char *value);

#endif
