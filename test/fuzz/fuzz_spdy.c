/*
 * fuzz_spdy: a session is fed frames that are written as text, so that mutation keeps their sense: a line is
 *   c TYPE FLAGS HEX [NAME=VALUE,…]   a control frame: body in hexadecimal, then a header block
 *   d ID FLAGS TEXT                   a data frame
 *   x HEX                             bytes as they are
 * Whatever comes: the session ends by itself once the peer is gone, every stream is closed once and before
 * it, and nothing is delivered after the end of a stream.
 */
#include "mutate.h"

#include <sys/socket.h>
#include <unistd.h>

#include "http/http_private.h"

struct world {
    struct loop *loop;
    size_t open;
    bool closed;
};

struct seen {
    struct world *world;
    struct spdy_stream *stream;
    bool ended;
};

static void on_data(void *arg, const char *data, size_t len)
{
    struct seen *seen = arg;
    must(!seen->ended && len > 0);
    spdy_send(seen->stream, data, len);
    if (*data == 'p')
        spdy_pause(seen->stream, true);
    if (*data == 'e')
        spdy_end(seen->stream);
}

static void on_end(void *arg)
{
    struct seen *seen = arg;
    must(!seen->ended);
    seen->ended = true;
}

static void on_stream_closed(void *arg)
{
    struct seen *seen = arg;
    must(seen->world->open-- > 0);
    free(seen);
}

static void on_stream(void *arg, struct spdy_stream *stream, const struct http_pair *headers, size_t count)
{
    static const struct spdy_stream_ops ops = {on_data, on_end, NULL, on_stream_closed};
    struct world *w = arg;
    for (size_t i = 0; i < count; i++)
        if (str_eq(headers[i].name, "refuse") || strlen(headers[i].value) > SPDY_MAX_BLOCK)
            return;
    struct seen *seen = NEW(struct seen);
    *seen = (struct seen){w, stream, false};
    w->open++;
    spdy_accept(stream, &ops, seen);
}

static void on_closed(void *arg)
{
    struct world *w = arg;
    must(!w->closed && w->open == 0);
    w->closed = true;
    loop_stop(w->loop);
}

static void add_hex(struct str *out, const char *text, size_t len)
{
    for (size_t i = 0; i + 1 < len; i += 2) {
        char pair[3] = {text[i], text[i + 1], 0};
        str_add_char(out, (char)strtoul(pair, NULL, 16));
    }
}

static void add_headers(struct str *out, struct spdy_codec *codec, const char *text, size_t len)
{
    auto_free char *list = mem_strndup(text, len);
    size_t count;
    auto_free char **parts = str_split(list, ',', &count);
    auto_free struct http_pair *pairs = mem_array(count + 1, sizeof(*pairs));
    for (size_t i = 0; i < count; i++) {
        char *equals = strchr(parts[i], '=');
        if (equals)
            *equals = 0;
        pairs[i] = (struct http_pair){parts[i], equals ? equals + 1 : ""};
    }
    spdy_headers_encode(codec, pairs, count, out);
}

static void add_frame(struct str *out, unsigned first, unsigned second, unsigned flags,
                      const struct str *body)
{
    const unsigned char head[8] = {
        (unsigned char)(first >> 8),     (unsigned char)first,    (unsigned char)(second >> 8),
        (unsigned char)second,           (unsigned char)flags,    (unsigned char)(body->len >> 16),
        (unsigned char)(body->len >> 8), (unsigned char)body->len};
    str_add_n(out, head, sizeof(head));
    str_add_n(out, str_c(body), body->len);
}

static void add_line(struct str *out, struct spdy_codec *codec, char *line)
{
    auto_str body = {0};
    char *rest = line + (*line != 0);
    unsigned number = (unsigned)strtoul(rest, &rest, 10), flags = (unsigned)strtoul(rest, &rest, 10);
    rest += *rest == ' ';
    const char *block = strchr(rest, '[');
    switch (*line) {
    case 'c':
        add_hex(&body, rest, block ? (size_t)(block - rest) : strlen(rest));
        if (block)
            add_headers(&body, codec, block + 1, strcspn(block + 1, "]"));
        add_frame(out, 0x8003, number, flags, &body);
        break;
    case 'd':
        str_add(&body, rest);
        add_frame(out, 0, number, flags, &body);
        break;
    default:
        add_hex(out, line + (*line != 0), strlen(line + (*line != 0)));
    }
}

static bool check(const char *text, size_t len)
{
    struct world w = {.loop = loop_new(NULL)};
    struct spdy_codec *codec = spdy_codec_new();
    auto_free char *copy = mem_strndup(text, len);
    auto_free char **lines = str_split(copy, '\n', NULL);
    auto_str bytes = {0};
    int pair[2];
    for (size_t i = 0; lines[i]; i++)
        add_line(&bytes, codec, lines[i]);
    spdy_codec_free(codec);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    const struct spdy_options options = {.on_stream = on_stream, .on_closed = on_closed, .arg = &w};
    spdy_new(w.loop, http_duplex_from_fd(pair[0]), &options);
    ssize_t n = write(pair[1], str_c(&bytes), bytes.len);
    (void)n; /* at most some ten kilobytes: the socket takes them */
    shutdown(pair[1], SHUT_WR);
    loop_run(w.loop);
    must(w.closed);
    close(pair[1]);
    struct loop_timer *timer = loop_timer_new(w.loop, (loop_task *)loop_stop, w.loop);
    loop_timer_start(timer, 1);
    loop_run(w.loop); /* what was queued goes, the session is freed */
    loop_timer_free(timer);
    loop_free(w.loop);
    return true;
}

int main(int argc, char **argv)
{
    static const char *const seeds[] = {
        "c 1 0 00000001000000000000[streamtype=error,port=80,requestid=0]\nc 1 0 "
        "00000003000000000000[streamtype=data,port=80,requestid=0]\nd 1 1 \nd 3 0 hello\nd 3 1 world",
        "c 1 1 00000001000000000000[streamtype=stdin]\nc 4 0 000000010000000700010000\nc 9 0 "
        "0000000000010000\nc 9 0 0000000100010000\nc 6 0 00000001\nd 1 0 data after the end",
        "c 1 0 00000001000000000000[refuse=1]\nc 3 0 0000000100000005\nc 7 0 0000000000000000",
        "c 1 0 00000001000000000000[a=b]\nd 1 0 pause\nd 1 0 held\nd 1 1 more\nc 8 0 00000001[c=d]",
        "c 1 0 00000001000000000000[a=b]\nd 1 0 end\nd 1 1 echo\nc 2 0 00000001[]\nx 80030001ff00ffff",
    };
    static const char *const tokens[] = {
        "c 1 0 ", "c 2 0 ",   "c 3 0 ",   "c 4 0 ", "c 8 0 ", "c 9 0 ", "d 1 0 ", "d 1 1 ", "\n",    "0000",
        "ffff",   "7fffffff", "00000005", "[a=b]",  "[",      ",",      "refuse", "p",      "x 8003"};
    struct fuzz_corpus corpus = {seeds, COUNT_OF(seeds), tokens, COUNT_OF(tokens)};
    return fuzz_main(argc, argv, &corpus, check);
}
