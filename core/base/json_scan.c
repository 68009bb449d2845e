/*
 * json_scan: the strict gate in front of cJSON (RFC 8259 without its tolerances). One pass, no tree: it
 * refuses bad UTF-8, \u0000, unpaired surrogates, raw control bytes, malformed numbers, numbers out of range,
 * duplicate keys, more depth than the caller allows and trailing text, and notes the integers that a double
 * cannot hold. Invariant: what it accepts, cJSON accepts with the same meaning. Cost: linear but for the sort
 * of an object's keys.
 */
#include <math.h>
#include <string.h>

#include "base/base_utf8.h"
#include "base/json_internal.h"

struct key {
    const char *data; /* in the text, or in `owned` when the key holds escapes */
    size_t len;
    const char *at;
    char *owned;
};

struct scanner {
    const char *begin, *p, *end;
    const char *problem, *at;
    struct json_scan *scan;
    size_t n_numbers, n_keys, keys_capacity;
    unsigned max_depth;
    struct key *keys; /* of all objects that are open */
    struct key first_keys[64];
};

static bool refuse_at(struct scanner *s, const char *at, const char *problem)
{
    if (!s->problem) {
        s->problem = problem;
        s->at = at;
    }
    return false;
}

static bool refuse(struct scanner *s, const char *problem)
{
    return refuse_at(s, s->p, s->p < s->end ? problem : "unexpected end");
}

static void skip_space(struct scanner *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits behind \u at p; -1 if malformed. */
static int hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static bool scan_escape(struct scanner *s)
{
    const char *begin = s->p++;
    if (s->p >= s->end)
        return refuse(s, "");
    if (*s->p != 'u') {
        if (!*s->p || !strchr("\"\\/bfnrt", *s->p))
            return refuse_at(s, begin, "unknown escape");
        s->p++;
        return true;
    }
    int code = hex4(s->p + 1, s->end);
    if (code < 0)
        return refuse_at(s, begin, "malformed \\u escape");
    if (code == 0)
        return refuse_at(s, begin, "\\u0000 is not allowed");
    s->p += 5;
    if (code >= 0xdc00 && code <= 0xdfff)
        return refuse_at(s, begin, "unpaired surrogate");
    if (code >= 0xd800 && code <= 0xdbff) {
        if (s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u')
            return refuse_at(s, begin, "unpaired surrogate");
        int low = hex4(s->p + 2, s->end);
        if (low < 0xdc00 || low > 0xdfff)
            return refuse_at(s, begin, "unpaired surrogate");
        s->p += 6;
    }
    return true;
}

/* At the opening quote. Leaves *escaped true if the text holds a backslash. */
static bool scan_string(struct scanner *s, bool *escaped)
{
    *escaped = false;
    s->p++;
    for (;;) {
        const char *p = s->p, *end = s->end;
        while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\')
            p++;
        s->p = p;
        if (p >= end)
            return refuse(s, "");
        if (*p == '"') {
            s->p++;
            return true;
        }
        if (*p == '\\') {
            *escaped = true;
            if (!scan_escape(s))
                return false;
        } else if ((unsigned char)*p < 0x20) {
            return refuse(s, "control character in string");
        } else {
            size_t n = utf8_length(p, (size_t)(end - p));
            if (!n)
                return refuse(s, "invalid UTF-8");
            s->p += n;
        }
    }
}

static size_t scan_digits(struct scanner *s)
{
    const char *begin = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - begin);
}

static void note_big(struct scanner *s, const char *begin, size_t index)
{
    struct json_scan *scan = s->scan;
    if ((scan->n_big & (scan->n_big - 1)) == 0) /* grown at the powers of two */
        scan->big = mem_resize(scan->big, scan->n_big ? scan->n_big * 2 : 1, sizeof(*scan->big));
    scan->big[scan->n_big++] = (struct json_big){index, begin, (size_t)(s->p - begin)};
}

/* cJSON copies at most 63 bytes of a number; longer ones would be read as another number. */
#define NUMBER_MAX 63

static bool scan_number(struct scanner *s)
{
    const char *begin = s->p;
    size_t index = s->n_numbers++;
    if (*s->p == '-')
        s->p++;
    bool zero = s->p < s->end && *s->p == '0';
    size_t whole = scan_digits(s);
    if (whole == 0)
        return refuse_at(s, begin, "malformed number");
    if (zero && whole > 1)
        return refuse_at(s, begin, "number with a leading zero");
    bool integer = true;
    if (s->p < s->end && *s->p == '.') {
        integer = false;
        s->p++;
        if (!scan_digits(s))
            return refuse_at(s, begin, "malformed number");
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        integer = false;
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (!scan_digits(s))
            return refuse_at(s, begin, "malformed number");
    }
    if (s->p - begin > NUMBER_MAX)
        return refuse_at(s, begin, "number too long");
    if (integer && whole > JSON_EXACT_DIGITS) {
        note_big(s, begin, index);
    } else if (!integer) {
        char copy[NUMBER_MAX + 1];
        memcpy(copy, begin, (size_t)(s->p - begin));
        copy[s->p - begin] = '\0';
        if (isinf(strtod(copy, NULL)))
            return refuse_at(s, begin, "number out of range");
    }
    return true;
}

static bool scan_word(struct scanner *s)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        size_t len = strlen(words[i]);
        if ((size_t)(s->end - s->p) >= len && memcmp(s->p, words[i], len) == 0) {
            s->p += len;
            return true;
        }
    }
    return refuse(s, "unexpected character");
}

/* The bytes that an escaped key stands for. The escapes have been checked. */
static char *unescape(const char *p, const char *end, size_t *len)
{
    char *text = mem_alloc((size_t)(end - p) + 1), *out = text;
    while (p < end) {
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
        const char *simple = strchr(from, p[1]);
        if (p[1] != 'u') {
            *out++ = simple ? to[simple - from] : p[1];
            p += 2;
            continue;
        }
        unsigned code = (unsigned)hex4(p + 2, end);
        p += 6;
        if (code >= 0xd800 && code <= 0xdbff) {
            code = 0x10000 + ((code - 0xd800) << 10) + ((unsigned)hex4(p + 2, end) - 0xdc00);
            p += 6;
        }
        out += utf8_encode(code, out);
    }
    *len = (size_t)(out - text);
    return text;
}

static bool scan_key(struct scanner *s)
{
    const char *at = s->p;
    bool escaped;
    if (s->p >= s->end || *s->p != '"')
        return refuse(s, "object key must be a string");
    if (!scan_string(s, &escaped))
        return false;
    if (s->n_keys == s->keys_capacity) {
        struct key *old = s->keys == s->first_keys ? NULL : s->keys;
        struct key *grown = mem_resize(old, s->keys_capacity * 2, sizeof(*grown));
        if (!old)
            memcpy(grown, s->first_keys, sizeof(s->first_keys));
        s->keys = grown;
        s->keys_capacity *= 2;
    }
    struct key *key = &s->keys[s->n_keys++];
    *key = (struct key){.data = at + 1, .len = (size_t)(s->p - at) - 2, .at = at};
    if (escaped)
        key->data = key->owned = unescape(at + 1, s->p - 1, &key->len);
    return true;
}

static int compare_keys(const void *left, const void *right)
{
    const struct key *a = left, *b = right;
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    int order = memcmp(a->data, b->data, a->len);
    return order ? order : a->at < b->at ? -1 : a->at > b->at;
}

static bool same_key(const struct key *a, const struct key *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* Forgets the keys of the object that ends; false if two are the same. */
static bool close_object(struct scanner *s, size_t first)
{
    struct key *keys = s->keys + first, *duplicate = NULL;
    size_t n = s->n_keys - first;
    if (n > 12) {
        qsort(keys, n, sizeof(*keys), compare_keys);
        for (size_t i = 1; i < n && !duplicate; i++)
            if (same_key(&keys[i], &keys[i - 1]))
                duplicate = &keys[i];
    } else {
        for (size_t i = 1; i < n && !duplicate; i++)
            for (size_t j = 0; j < i && !duplicate; j++)
                if (same_key(&keys[i], &keys[j]))
                    duplicate = &keys[i];
    }
    if (duplicate)
        return refuse_at(s, duplicate->at, "duplicate key");
    for (size_t i = 0; i < n; i++)
        free(keys[i].owned);
    s->n_keys = first;
    return true;
}

static bool scan_value(struct scanner *s, unsigned depth);

static bool scan_object(struct scanner *s, unsigned depth)
{
    size_t first = s->n_keys;
    s->p++;
    skip_space(s);
    if (s->p < s->end && *s->p == '}') {
        s->p++;
        return true;
    }
    for (;;) {
        skip_space(s);
        if (!scan_key(s))
            return false;
        skip_space(s);
        if (s->p >= s->end || *s->p != ':')
            return refuse(s, "expected ':'");
        s->p++;
        if (!scan_value(s, depth))
            return false;
        skip_space(s);
        if (s->p < s->end && *s->p == '}') {
            s->p++;
            return close_object(s, first);
        }
        if (s->p >= s->end || *s->p != ',')
            return refuse(s, "expected ',' or '}'");
        s->p++;
    }
}

static bool scan_array(struct scanner *s, unsigned depth)
{
    s->p++;
    skip_space(s);
    if (s->p < s->end && *s->p == ']') {
        s->p++;
        return true;
    }
    for (;;) {
        if (!scan_value(s, depth))
            return false;
        skip_space(s);
        if (s->p < s->end && *s->p == ']') {
            s->p++;
            return true;
        }
        if (s->p >= s->end || *s->p != ',')
            return refuse(s, "expected ',' or ']'");
        s->p++;
    }
}

static bool scan_value(struct scanner *s, unsigned depth)
{
    bool escaped;
    skip_space(s);
    if (s->p >= s->end)
        return refuse(s, "");
    switch (*s->p) {
    case '{':
        return depth < s->max_depth ? scan_object(s, depth + 1) : refuse(s, "nested too deeply");
    case '[':
        return depth < s->max_depth ? scan_array(s, depth + 1) : refuse(s, "nested too deeply");
    case '"':
        return scan_string(s, &escaped);
    case '-':
    case '0' ... '9':
        return scan_number(s);
    default:
        return scan_word(s);
    }
}

static int report(const struct scanner *s, struct err **err)
{
    size_t line = 1, column = 1;
    for (const char *p = s->begin; p < s->at; p++) {
        column = *p == '\n' ? 1 : column + (((unsigned char)*p & 0xc0) != 0x80);
        line += *p == '\n';
    }
    return err_set(err, ERR_BAD_REQUEST, "invalid JSON: %s at line %zu column %zu", s->problem, line, column);
}

int json_scan_text(const char *text, size_t len, unsigned max_depth, struct json_scan *scan, struct err **err)
{
    struct scanner s;
    s.max_depth = max_depth;
    s.begin = s.p = text;
    s.end = text + len;
    s.problem = s.at = NULL;
    s.scan = scan;
    s.n_numbers = s.n_keys = 0;
    s.keys = s.first_keys;
    s.keys_capacity = COUNT_OF(s.first_keys);
    *scan = (struct json_scan){0};
    bool good = scan_value(&s, 0);
    if (good) {
        skip_space(&s);
        good = s.p == s.end || refuse(&s, "text after the end of the value");
    }
    for (size_t i = 0; i < s.n_keys; i++)
        free(s.keys[i].owned);
    if (s.keys != s.first_keys)
        free(s.keys);
    return good ? 0 : report(&s, err);
}
