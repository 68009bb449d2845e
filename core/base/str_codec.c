/*
 * str_codec: JSON quoting, base64, hex and the stable hash of str.h.
 * Invariant: what str_add_json writes is always a valid JSON string, whatever bytes go in (messages of
 * containers and kernels reach it): bytes that are not UTF-8 become U+FFFD.
 */
#include <string.h>

#include "base/base_utf8.h"
#include "base/mem.h"
#include "base/str.h"

/* True: the byte ends a run that can be copied as it is. */
static const bool needs_care[256] = {
    [0 ... 0x1f] = true, ['"'] = true, ['\\'] = true, [0x80 ... 0xff] = true};

static void add_escape(struct str *s, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 0, 0, 0, 0, 0};
    size_t n = 2;
    switch (c) {
    case '"':
    case '\\':
        text[1] = (char)c;
        break;
    case '\n':
        text[1] = 'n';
        break;
    case '\r':
        text[1] = 'r';
        break;
    case '\t':
        text[1] = 't';
        break;
    case '\b':
        text[1] = 'b';
        break;
    case '\f':
        text[1] = 'f';
        break;
    default:
        memcpy(text, "\\u00", 4);
        text[4] = hex[c >> 4];
        text[5] = hex[c & 15];
        n = 6;
    }
    str_add_n(s, text, n);
}

void str_add_json(struct str *s, const char *text)
{
    text = text ? text : "";
    size_t len = strlen(text);
    str_reserve(s, len + 2);
    s->data[s->len++] = '"';
    for (size_t i = 0, run = 0;; i++) {
        if (i < len && !needs_care[(unsigned char)text[i]])
            continue;
        if (i > run)
            str_add_n(s, text + run, i - run);
        if (i >= len)
            break;
        if ((unsigned char)text[i] >= 0x80) {
            size_t n = utf8_length(text + i, len - i);
            if (n)
                str_add_n(s, text + i, n);
            else
                str_add_n(s, "\xef\xbf\xbd", 3);
            i += n ? n - 1 : 0;
        } else {
            add_escape(s, (unsigned char)text[i]);
        }
        run = i + 1;
    }
    str_add_char(s, '"');
}

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *str_base64(const void *data, size_t len)
{
    must(len < SIZE_MAX / 2);
    const unsigned char *in = data;
    char *text = mem_alloc((len + 2) / 3 * 4 + 1), *out = text;
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        unsigned bits = (unsigned)in[i] << 16;
        bits |= left > 1 ? (unsigned)in[i + 1] << 8 : 0;
        bits |= left > 2 ? in[i + 2] : 0;
        *out++ = base64_alphabet[bits >> 18];
        *out++ = base64_alphabet[bits >> 12 & 63];
        *out++ = left > 1 ? base64_alphabet[bits >> 6 & 63] : '=';
        *out++ = left > 2 ? base64_alphabet[bits & 63] : '=';
    }
    return text;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Padding is required and line breaks are skipped, as Go's decoder (which reads Secrets elsewhere) does. */
int str_unbase64(const char *text, size_t len, unsigned char **data, size_t *data_len)
{
    auto_free unsigned char *out = mem_alloc(len / 4 * 3 + 4);
    size_t n = 0, digits = 0, padding = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n' || text[i] == '\r')
            continue;
        if (text[i] == '=') {
            padding++;
            continue;
        }
        int digit = base64_digit(text[i]);
        if (digit < 0 || padding)
            return -1;
        bits = bits << 6 | (unsigned)digit;
        if (++digits % 4 == 0) {
            out[n++] = (unsigned char)(bits >> 16);
            out[n++] = (unsigned char)(bits >> 8);
            out[n++] = (unsigned char)bits;
        }
    }
    size_t rest = digits % 4;
    if (rest == 1 || padding != (rest ? 4 - rest : 0))
        return -1;
    if (rest == 2)
        out[n++] = (unsigned char)(bits >> 4);
    if (rest == 3) {
        out[n++] = (unsigned char)(bits >> 10);
        out[n++] = (unsigned char)(bits >> 2);
    }
    out[n] = '\0';
    *data = steal(&out);
    *data_len = n;
    return 0;
}

char *str_hex(const void *data, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *in = data;
    must(len < SIZE_MAX / 2 - 1);
    char *text = mem_alloc(len * 2 + 1);
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = hex[in[i] >> 4];
        text[2 * i + 1] = hex[in[i] & 15];
    }
    return text;
}

unsigned long long str_hash(const void *data, size_t len)
{
    const unsigned char *in = data;
    unsigned long long hash = 14695981039346656037ull;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ in[i]) * 1099511628211ull;
    return hash;
}
