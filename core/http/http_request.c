/*
 * What a request and an exchange look like to everybody, real or simulated: header and query look-ups, the
 * dispatch to the exchange's vtable, building of targets, and the Status object of refusals that the wrapper
 * itself makes.
 */
#include <string.h>
#include <strings.h>

#include "http/http_private.h"

static const char *find(const struct http_pair *pairs, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(pairs[i].name, name) == 0)
            return pairs[i].value;
    }
    return NULL;
}

const char *http_request_header(const struct http_request *request, const char *lower_name)
{
    return find(request->headers, request->n_headers, lower_name);
}

const char *http_request_query(const struct http_request *request, const char *name)
{
    return find(request->query, request->n_query, name);
}

bool http_request_flag(const struct http_request *request, const char *name)
{
    static const char *const truths[] = {"1", "t", "T", "true", "True", "TRUE"};
    const char *value = http_request_query(request, name);
    for (size_t i = 0; value && i < COUNT_OF(truths); i++) {
        if (strcmp(value, truths[i]) == 0)
            return true;
    }
    return false;
}

void http_respond(struct http_exchange *x, int status, const char *content_type, struct bytes *body,
                  const struct http_pair *headers, size_t n_headers)
{
    x->ops->respond(x, status, content_type, body, headers, n_headers);
}

void http_stream(struct http_exchange *x, int status, const char *content_type,
                 const struct http_pair *headers, size_t n_headers, const struct http_stream_ops *ops,
                 void *arg)
{
    x->ops->stream(x, status, content_type, headers, n_headers, ops, arg);
}

void http_stream_wake(struct http_exchange *x)
{
    x->ops->wake(x);
}

void http_upgrade(struct http_exchange *x, const struct http_pair *headers, size_t n_headers,
                  http_on_duplex *ready, void *arg)
{
    x->ops->upgrade(x, headers, n_headers, ready, arg);
}

struct bytes *http_status_body(int code, const char *reason, const char *message)
{
    auto_str text = {0};
    str_add(&text,
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":");
    str_add_json(&text, message);
    str_add(&text, ",\"reason\":");
    str_add_json(&text, reason);
    str_addf(&text, ",\"code\":%d}\n", code);
    return bytes_from(str_c(&text), text.len);
}

static void add_encoded(struct str *out, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-._~", c) != NULL;
        if (plain) {
            str_add_char(out, *p);
        } else {
            str_add_char(out, '%');
            str_add_char(out, hex[c >> 4]);
            str_add_char(out, hex[c & 15]);
        }
    }
}

void http_query_add(struct str *target, const char *name, const char *value)
{
    str_add_char(target, strchr(str_c(target), '?') ? '&' : '?');
    add_encoded(target, name);
    str_add_char(target, '=');
    add_encoded(target, value);
}

void http_path_add(struct str *target, const char *segment)
{
    str_add_char(target, '/');
    add_encoded(target, segment);
}

bool http_is_utf8(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + len;
    while (p < end) {
        unsigned extra = *p < 0x80 ? 0 : *p < 0xc2 ? 4 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : 4;
        if (extra == 4 || (size_t)(end - p) <= extra)
            return false;
        unsigned low = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80;  /* overlong forms */
        unsigned high = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf; /* surrogates, beyond U+10FFFF */
        if (extra && (p[1] < low || p[1] > high))
            return false;
        for (unsigned i = 2; i <= extra; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return false;
        }
        p += extra + 1;
    }
    return true;
}
