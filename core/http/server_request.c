/*
 * From the raw target and libmicrohttpd's headers to a struct http_request that lives as long as its
 * exchange: every string is copied once into one block, because libmicrohttpd reuses its memory when a
 * connection ends early.
 *
 * Refuses: targets that are not origin-form, malformed or NUL percent escapes, bytes that are not UTF-8 after
 * decoding,
 * "//" and dot segments (they would let a path mean another resource than the one that was authorized), and
 * over-long heads. Does not know what a path means.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "http/http_private.h"

struct head_size {
    size_t bytes, count;
};

static enum MHD_Result measure_header(void *arg, enum MHD_ValueKind kind UNUSED, const char *key,
                                      size_t key_len, const char *value UNUSED, size_t value_len)
{
    struct head_size *size = arg;
    must(key);
    size->bytes += key_len + value_len + 2;
    size->count++;
    return MHD_YES;
}

struct head_copy {
    struct http_pair *next;
    char *at;
};

static char *copy_to(char **at, const char *text, size_t len)
{
    char *start = *at;
    if (len)
        memcpy(start, text, len);
    start[len] = 0;
    *at += len + 1;
    return start;
}

static enum MHD_Result copy_header(void *arg, enum MHD_ValueKind kind UNUSED, const char *key, size_t key_len,
                                   const char *value, size_t value_len)
{
    struct head_copy *copy = arg;
    char *name = copy_to(&copy->at, key, key_len);
    for (char *p = name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    copy->next->name = name;
    copy->next->value = copy_to(&copy->at, value, value_len);
    copy->next++;
    return MHD_YES;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes text[0..len) to *at; false if an escape is malformed or gives NUL. */
static bool decode(char **at, const char *text, size_t len, bool plus_is_space)
{
    char *out = *at;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 1 < len ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        *out++ = c;
    }
    *out++ = 0;
    *at = out;
    return true;
}

static bool path_is_clean(const char *path)
{
    for (const char *p = path; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
        if (*p != '/')
            continue;
        if (p[1] == '/')
            return false;
        if (p[1] == '.' && (p[2] == 0 || p[2] == '/' || (p[2] == '.' && (p[3] == 0 || p[3] == '/'))))
            return false;
    }
    return true;
}

static bool decode_query(struct http_request *request, struct http_pair *pairs, char **at, const char *query)
{
    request->query = pairs;
    while (*query) {
        size_t len = strcspn(query, "&");
        const char *equals = memchr(query, '=', len);
        size_t name_len = equals ? (size_t)(equals - query) : len;
        if (len > 0) {
            struct http_pair *pair = &pairs[request->n_query++];
            pair->name = *at;
            if (!decode(at, query, name_len, true))
                return false;
            pair->value = *at;
            if (!decode(at, equals ? equals + 1 : "", equals ? len - name_len - 1 : 0, true) ||
                !http_is_utf8(pair->name, strlen(pair->name)) ||
                !http_is_utf8(pair->value, strlen(pair->value)))
                return false;
        }
        query += len + (query[len] == '&');
    }
    return true;
}

static int build_target(struct http_request *request, struct http_pair *pairs, char **at, const char *target,
                        const char **why)
{
    size_t path_len = strcspn(target, "?#");
    request->target = copy_to(at, target, strlen(target));
    request->path = *at;
    *why = "the request target is malformed";
    if (target[0] != '/' && strcmp(target, "*") != 0)
        return 400;
    if (!decode(at, target, path_len, false) || !http_is_utf8(request->path, strlen(request->path)))
        return 400;
    *why = "the path must not contain \"//\", dot segments or control bytes";
    if (!path_is_clean(request->path))
        return 400;
    *why = "the query is malformed";
    if (!decode_query(request, pairs, at, target[path_len] == '?' ? target + path_len + 1 : ""))
        return 400;
    return 0;
}

int request_build(struct http_request *request, struct request_text *text, struct MHD_Connection *connection,
                  const char *method, const char *target, const char **why)
{
    struct head_size size = {0};
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, measure_header, &size);
    size_t n_query = 1, target_len = strlen(target);
    for (const char *p = target; *p; p++)
        n_query += *p == '&';
    text->pairs = mem_array(size.count + n_query, sizeof(struct http_pair));
    /* target twice: raw, and decoded with a NUL after every part */
    text->strings = mem_alloc(size.bytes + 2 * target_len + 2 * n_query + strlen(method) + 8);

    char *at = text->strings;
    request->method = copy_to(&at, method, strlen(method));
    struct head_copy copy = {.next = text->pairs, .at = at};
    MHD_get_connection_values_n(connection, MHD_HEADER_KIND, copy_header, &copy);
    request->headers = text->pairs;
    request->n_headers = size.count;
    at = copy.at;
    *why = "the request head is too large";
    if (size.bytes > HTTP_MAX_HEADERS)
        return 431;
    return build_target(request, text->pairs + size.count, &at, target, why);
}
