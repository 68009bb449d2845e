/*
 * Header blocks of SPDY/3: a count, then name and value with their lengths (32 bits each), deflated with a
 * dictionary that both ends know. A block may not inflate beyond SPDY_MAX_BLOCK, whatever it promises.
 */
#include <ctype.h>
#include <string.h>
#include <zlib.h>

#include "http/http_private.h"

#define DICTIONARY_ID 0xe3c6a7c2u

struct spdy_codec {
    z_stream inflater, deflater;
    struct str dictionary;
};

/* draft-mbelshe-httpbis-spdy-00, 2.6.10.1: words with their lengths, then text. */
static const char *const words[] = {"options",
                                    "head",
                                    "post",
                                    "put",
                                    "delete",
                                    "trace",
                                    "accept",
                                    "accept-charset",
                                    "accept-encoding",
                                    "accept-language",
                                    "accept-ranges",
                                    "age",
                                    "allow",
                                    "authorization",
                                    "cache-control",
                                    "connection",
                                    "content-base",
                                    "content-encoding",
                                    "content-language",
                                    "content-length",
                                    "content-location",
                                    "content-md5",
                                    "content-range",
                                    "content-type",
                                    "date",
                                    "etag",
                                    "expect",
                                    "expires",
                                    "from",
                                    "host",
                                    "if-match",
                                    "if-modified-since",
                                    "if-none-match",
                                    "if-range",
                                    "if-unmodified-since",
                                    "last-modified",
                                    "location",
                                    "max-forwards",
                                    "pragma",
                                    "proxy-authenticate",
                                    "proxy-authorization",
                                    "range",
                                    "referer",
                                    "retry-after",
                                    "server",
                                    "te",
                                    "trailer",
                                    "transfer-encoding",
                                    "upgrade",
                                    "user-agent",
                                    "vary",
                                    "via",
                                    "warning",
                                    "www-authenticate",
                                    "method",
                                    "get",
                                    "status",
                                    "200 OK",
                                    "version",
                                    "HTTP/1.1",
                                    "url",
                                    "public",
                                    "set-cookie",
                                    "keep-alive",
                                    "origin"};
static const char text_part[] =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static void add_number(struct str *out, size_t number)
{
    const unsigned char bytes[4] = {(unsigned char)(number >> 24), (unsigned char)(number >> 16),
                                    (unsigned char)(number >> 8), (unsigned char)number};
    str_add_n(out, bytes, sizeof(bytes));
}

static void add_text(struct str *out, const char *text)
{
    add_number(out, strlen(text));
    str_add(out, text);
}

struct spdy_codec *spdy_codec_new(void)
{
    struct spdy_codec *codec = NEW(struct spdy_codec);
    for (size_t i = 0; i < COUNT_OF(words); i++)
        add_text(&codec->dictionary, words[i]);
    str_add(&codec->dictionary, text_part);
    const Bytef *dictionary = (const Bytef *)codec->dictionary.data;
    must(adler32(adler32(0, NULL, 0), dictionary, (uInt)codec->dictionary.len) == DICTIONARY_ID);
    /* A small window and little memory: blocks are a few hundred bytes. */
    must(deflateInit2(&codec->deflater, Z_BEST_SPEED, Z_DEFLATED, 11, 3, Z_DEFAULT_STRATEGY) == Z_OK);
    must(deflateSetDictionary(&codec->deflater, dictionary, (uInt)codec->dictionary.len) == Z_OK);
    must(inflateInit(&codec->inflater) == Z_OK);
    return codec;
}

void spdy_codec_free(struct spdy_codec *codec)
{
    if (!codec)
        return;
    inflateEnd(&codec->inflater);
    deflateEnd(&codec->deflater);
    str_free(&codec->dictionary);
    free(codec);
}

static int inflate_block(struct spdy_codec *codec, const void *data, size_t len, struct str *out)
{
    z_stream *z = &codec->inflater;
    z->next_in = (Bytef *)data;
    z->avail_in = (uInt)len;
    for (;;) {
        str_reserve(out, 4096);
        z->next_out = (Bytef *)out->data + out->len;
        z->avail_out = 4096;
        int result = inflate(z, Z_SYNC_FLUSH);
        out->len += 4096 - z->avail_out;
        out->data[out->len] = 0;
        if (result == Z_NEED_DICT)
            result =
                inflateSetDictionary(z, (const Bytef *)codec->dictionary.data, (uInt)codec->dictionary.len);
        if ((result != Z_OK && result != Z_BUF_ERROR) || out->len > SPDY_MAX_BLOCK)
            return -1;
        if (z->avail_in == 0 && z->avail_out != 0)
            return 0;
        if (result == Z_BUF_ERROR)
            return -1;
    }
}

static bool take_number(const struct str *in, size_t *at, size_t *number)
{
    if (in->len - *at < 4)
        return false;
    const unsigned char *bytes = (const unsigned char *)in->data + *at;
    *number = (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
    *at += 4;
    return true;
}

static bool take_text(const struct str *in, size_t *at, struct str *out, size_t *offset)
{
    size_t len;
    if (!take_number(in, at, &len) || len > in->len - *at)
        return false;
    *offset = out->len;
    for (size_t i = 0; i < len; i++) /* several values of a name are separated by NUL */
        str_add_char(out, in->data[*at + i] ? in->data[*at + i] : ',');
    str_add_char(out, '\0');
    *at += len;
    return true;
}

int spdy_headers_decode(struct spdy_codec *codec, const void *data, size_t len, struct str *text,
                        struct http_pair pairs[SPDY_MAX_HEADERS])
{
    auto_str block = {0};
    size_t at = 0, count, offsets[SPDY_MAX_HEADERS][2];
    str_clear(text);
    if (inflate_block(codec, data, len, &block) < 0 || !take_number(&block, &at, &count) ||
        count > SPDY_MAX_HEADERS)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!take_text(&block, &at, text, &offsets[i][0]) || !take_text(&block, &at, text, &offsets[i][1]))
            return -1;
    }
    if (at != block.len)
        return -1;
    for (size_t i = 0; i < count; i++) {
        for (char *c = text->data + offsets[i][0]; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        pairs[i] = (struct http_pair){text->data + offsets[i][0], text->data + offsets[i][1]};
    }
    return (int)count;
}

void spdy_headers_encode(struct spdy_codec *codec, const struct http_pair *pairs, size_t count,
                         struct str *out)
{
    auto_str block = {0};
    add_number(&block, count);
    for (size_t i = 0; i < count; i++) {
        add_text(&block, pairs[i].name);
        add_text(&block, pairs[i].value);
    }
    z_stream *z = &codec->deflater;
    z->next_in = (Bytef *)block.data;
    z->avail_in = (uInt)block.len;
    do {
        str_reserve(out, 1024);
        z->next_out = (Bytef *)out->data + out->len;
        z->avail_out = 1024;
        must(deflate(z, Z_SYNC_FLUSH) != Z_STREAM_ERROR);
        out->len += 1024 - z->avail_out;
        out->data[out->len] = 0;
    } while (z->avail_out == 0);
}
