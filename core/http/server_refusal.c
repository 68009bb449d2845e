/*
 * libmicrohttpd refuses some requests before our callbacks see them (syntax, over-long heads, wrong lengths)
 * with a page of HTML of its own, and offers no hook. The front recognises such an answer, which always comes
 * in one piece and ends its connection, and puts a Status object in its place.
 *
 * Only an answer that is complete in one read and has exactly libmicrohttpd's form is replaced.
 */
#include <string.h>

#include "http/http_private.h"

struct bytes *refusal_rewrite(const char *data, size_t len)
{
    static const struct {
        int status;
        const char *phrase, *reason, *message;
    } known[] = {
        {400, "Bad Request", "BadRequest", "the request is malformed"},
        {413, "Content Too Large", "RequestEntityTooLarge", "the request body is too large"},
        {414, "URI Too Long", "RequestURITooLong", "the request target is too long"},
        {431, "Request Header Fields Too Large", "RequestHeaderFieldsTooLarge",
         "the request head is too large"},
        {505, "HTTP Version Not Supported", "BadRequest", "the version of HTTP is not supported"},
        {500, "Internal Server Error", "InternalError", "the request could not be processed"},
    };
    static const char head[] = "HTTP/1.1 ", begin[] = "\r\n\r\n<html><head><title>", end[] = "</body></html>";
    if (len < 128 || len > 1024 || memcmp(data, head, sizeof head - 1) != 0 ||
        (data[9] != '4' && data[9] != '5') ||
        memcmp(data + len - (sizeof end - 1), end, sizeof end - 1) != 0 ||
        !memmem(data, len, begin, sizeof begin - 1) || !memmem(data, len, "\r\nConnection: close\r\n", 21))
        return NULL;
    int status = atoi(data + sizeof head - 1);
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (known[i].status != status)
            continue;
        auto_bytes body = http_status_body(status, known[i].reason, known[i].message);
        auto_str text = {0};
        str_addf(&text,
                 "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: "
                 "%zu\r\n\r\n",
                 status, known[i].phrase, body->len);
        str_add_n(&text, body->data, body->len);
        return bytes_from(text.data, text.len);
    }
    return NULL;
}
