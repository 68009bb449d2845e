/*
 * WebSocket (RFC 6455) over a duplex, for either end; no extensions.
 *
 * Invariants: frames are read until the duplex would block, also while paused, so that PINGs are answered;
 * data that arrives while paused is held up to HELD_LIMIT, beyond which reading stops and unsolicited PONGs
 * keep the peer patient. Callbacks are made from the loop, never from inside websocket_send. After CLOSED or
 * websocket_close no callback is made; the rest (flushing, the closing handshake) happens unseen: what is
 * queued goes out as long as the peer takes some of it within PATIENCE_MS, then CLOSE_MS are left.
 */
#include <errno.h>
#include <gnutls/crypto.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/random.h"
#include "http/http_private.h"

#define MAX_MESSAGE (1u << 20)
#define HIGH_MARK (256u << 10)
#define LOW_MARK (64u << 10)
#define HELD_LIMIT (4u << 20)
#define READS_A_TURN 16
#define CLOSE_MS 2000
#define PATIENCE_MS 10000

enum opcode { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

struct websocket {
    struct loop *loop;
    struct http_duplex *duplex;
    struct loop_fd *watch;
    struct loop_timer *soon, *deadline;
    struct websocket_options options;
    struct str in;
    size_t in_at;
    struct str message; /* of fragments so far */
    int fragmented;     /* opcode of the message that is being assembled, or 0 */
    struct str held;    /* messages that wait while paused: type byte, length, data */
    size_t held_at;
    struct str out;
    size_t out_at;
    bool paused, high, detached, close_sent, ended, in_callback;
};

static void send_frame(struct websocket *ws, enum opcode opcode, const void *data, size_t len);
static void run(void *arg);

static void destroy(struct websocket *ws)
{
    loop_fd_remove(ws->watch);
    loop_timer_free(ws->soon);
    loop_timer_free(ws->deadline);
    ws->duplex->ops->close(ws->duplex);
    str_free(&ws->in);
    str_free(&ws->message);
    str_free(&ws->held);
    str_free(&ws->out);
    free(ws);
}

static void deliver(struct websocket *ws, enum websocket_type type, const char *data, size_t len)
{
    if (ws->detached)
        return;
    ws->in_callback = true;
    ws->options.on_message(ws->options.arg, type, data, len);
    ws->in_callback = false;
}

static void give_time(struct websocket *ws)
{
    loop_timer_start(ws->deadline, ws->out_at < ws->out.len ? PATIENCE_MS : CLOSE_MS);
}

/* No more callbacks; what is queued still goes out, then the connection ends. */
static void detach(struct websocket *ws)
{
    ws->detached = true;
    str_free(&ws->held);
    str_free(&ws->message);
    give_time(ws);
}

static void send_close(struct websocket *ws, unsigned code)
{
    if (ws->close_sent)
        return;
    const unsigned char payload[2] = {(unsigned char)(code >> 8), (unsigned char)code};
    send_frame(ws, CLOSE, payload, code ? 2 : 0);
    ws->close_sent = true;
}

/* The conversation is over: by the peer's CLOSE, an error of its, or the end of the stream. */
static void finish(struct websocket *ws, unsigned code, bool end_of_stream)
{
    ws->ended = true;
    if (!end_of_stream)
        send_close(ws, code);
    else
        ws->out_at = ws->out.len; /* nobody reads it */
    if (!ws->detached) {
        deliver(ws, WEBSOCKET_CLOSED, NULL, 0);
        detach(ws);
    }
}

/* ---- output ---- */

static void flush(struct websocket *ws)
{
    bool moved = false;
    while (ws->out_at < ws->out.len) {
        ssize_t n = ws->duplex->ops->write(ws->duplex, ws->out.data + ws->out_at, ws->out.len - ws->out_at);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) { /* noticed by reading, too; what is queued is lost */
            ws->out_at = ws->out.len;
            loop_timer_start(ws->soon, 0);
            break;
        }
        ws->out_at += (size_t)n;
        moved = true;
    }
    if (moved && ws->detached)
        give_time(ws);
    if (ws->out_at == ws->out.len) {
        str_clear(&ws->out);
        ws->out_at = 0;
        if (ws->out.capacity > LOW_MARK)
            str_free(&ws->out);
    } else if (ws->out_at > ws->out.len / 2 && ws->out_at > LOW_MARK) {
        memmove(ws->out.data, ws->out.data + ws->out_at, ws->out.len - ws->out_at + 1);
        ws->out.len -= ws->out_at;
        ws->out_at = 0;
    }
}

static void apply_mask(char *data, size_t len, const unsigned char mask[4])
{
    uint64_t wide;
    unsigned char twice[8];
    memcpy(twice, mask, 4);
    memcpy(twice + 4, mask, 4);
    memcpy(&wide, twice, 8);
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        word ^= wide;
        memcpy(data + i, &word, 8);
    }
    for (; i < len; i++)
        data[i] = (char)(data[i] ^ mask[i & 3]);
}

static void send_frame(struct websocket *ws, enum opcode opcode, const void *data, size_t len)
{
    unsigned char head[14] = {(unsigned char)(0x80 | opcode)};
    unsigned char masked = ws->options.client ? 0x80 : 0;
    size_t n = 2;
    if (len < 126) {
        head[1] = (unsigned char)(masked | len);
    } else {
        size_t width = len < 65536 ? 2 : 8;
        head[1] = (unsigned char)(masked | (width == 2 ? 126 : 127));
        for (size_t i = 0; i < width; i++)
            head[n++] = (unsigned char)((uint64_t)len >> (8 * (width - 1 - i)));
    }
    unsigned char *mask = head + n;
    if (masked) {
        random_system.fill(random_system.arg, mask, 4);
        n += 4;
    }
    str_add_n(&ws->out, head, n);
    size_t start = ws->out.len;
    if (len)
        str_add_n(&ws->out, data, len);
    if (masked && len)
        apply_mask(ws->out.data + start, len, mask);
}

static void watch(struct websocket *ws)
{
    bool full = ws->paused && ws->held.len - ws->held_at > HELD_LIMIT;
    loop_fd_events(ws->watch, (full || ws->ended ? 0 : EPOLLIN) | (ws->out.len ? EPOLLOUT : 0));
    if (full && !ws->detached && !loop_timer_running(ws->deadline))
        loop_timer_start(ws->deadline, PATIENCE_MS);
}

/* ---- input ---- */

static void take_message(struct websocket *ws, int opcode, const char *data, size_t len)
{
    enum websocket_type type = opcode == TEXT ? WEBSOCKET_TEXT : WEBSOCKET_BINARY;
    if (ws->detached)
        return;
    if (opcode == TEXT && !http_is_utf8(data, len)) {
        finish(ws, 1007, false);
    } else if (ws->paused || ws->held_at < ws->held.len) {
        str_add_char(&ws->held, (char)type);
        str_add_n(&ws->held, &len, sizeof len);
        str_add_n(&ws->held, data, len);
    } else {
        deliver(ws, type, data, len);
    }
}

static void release_held(struct websocket *ws)
{
    while (!ws->paused && !ws->detached && ws->held_at < ws->held.len) {
        const char *at = ws->held.data + ws->held_at;
        enum websocket_type type = (enum websocket_type) * at;
        size_t len;
        memcpy(&len, at + 1, sizeof len);
        ws->held_at += 1 + sizeof len + len;
        deliver(ws, type, at + 1 + sizeof len, len);
    }
    if (ws->held_at >= ws->held.len) {
        str_free(&ws->held);
        ws->held_at = 0;
    }
}

static void take_frame(struct websocket *ws, int opcode, bool last, char *data, size_t len)
{
    switch (opcode) {
    case PING:
        if (!ws->close_sent)
            send_frame(ws, PONG, data, len);
        return;
    case PONG:
        return;
    case CLOSE:
        finish(ws, len >= 2 ? (unsigned char)data[0] << 8 | (unsigned char)data[1] : 0, false);
        return;
    case CONTINUATION:
    case TEXT:
    case BINARY:
        break;
    default:
        finish(ws, 1002, false);
        return;
    }
    if ((opcode == CONTINUATION) != (ws->fragmented != 0)) {
        finish(ws, 1002, false);
        return;
    }
    size_t max = ws->options.max_message ? ws->options.max_message : MAX_MESSAGE;
    if (len > max || ws->message.len > max - len) {
        finish(ws, 1009, false);
        return;
    }
    if (last && opcode != CONTINUATION) {
        take_message(ws, opcode, data, len);
        return;
    }
    if (opcode != CONTINUATION)
        ws->fragmented = opcode;
    str_add_n(&ws->message, data, len);
    if (last) {
        int whole = ws->fragmented;
        ws->fragmented = 0;
        struct str message = ws->message;
        ws->message = (struct str){0};
        take_message(ws, whole, str_c(&message), message.len);
        str_free(&message);
    }
}

/* Takes one frame from `in`; false if it is not complete. */
static bool parse_frame(struct websocket *ws)
{
    const unsigned char *at = (const unsigned char *)ws->in.data + ws->in_at;
    size_t have = ws->in.len - ws->in_at;
    if (have < 2)
        return false;
    int opcode = at[0] & 15;
    bool last = at[0] & 0x80, masked = at[1] & 0x80, control = opcode >= 8;
    uint64_t len = at[1] & 0x7f;
    size_t width = len == 126 ? 2 : len == 127 ? 8 : 0, head = 2 + width + (masked ? 4 : 0);
    if ((at[0] & 0x70) || masked == ws->options.client || (control && (!last || width))) {
        finish(ws, 1002, false);
        return false;
    }
    if (have < head)
        return false;
    if (width) {
        len = 0;
        for (size_t i = 0; i < width; i++)
            len = len << 8 | at[2 + i];
    }
    if (len > (ws->options.max_message ? ws->options.max_message : MAX_MESSAGE)) {
        finish(ws, 1009, false);
        return false;
    }
    if (have - head < len)
        return false;
    char *data = ws->in.data + ws->in_at + head;
    if (masked)
        apply_mask(data, len, at + head - 4);
    ws->in_at += head + len;
    take_frame(ws, opcode, last, data, len);
    return !ws->ended;
}

static void parse(struct websocket *ws)
{
    while (parse_frame(ws))
        continue;
    if (ws->in_at == ws->in.len || ws->ended) {
        str_clear(&ws->in);
        ws->in_at = 0;
        if (ws->in.capacity > LOW_MARK)
            str_free(&ws->in);
    } else if (ws->in_at > 0) {
        memmove(ws->in.data, ws->in.data + ws->in_at, ws->in.len - ws->in_at + 1);
        ws->in.len -= ws->in_at;
        ws->in_at = 0;
    }
}

static void read_some(struct websocket *ws)
{
    for (int turn = 0; !ws->ended; turn++) {
        if (ws->paused && ws->held.len - ws->held_at > HELD_LIMIT)
            return;
        if (turn == READS_A_TURN) {
            loop_timer_start(ws->soon, 0);
            return;
        }
        str_reserve(&ws->in, 16384);
        ssize_t n = ws->duplex->ops->read(ws->duplex, ws->in.data + ws->in.len, 16384);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            finish(ws, 0, true);
            return;
        }
        ws->in.len += (size_t)n;
        ws->in.data[ws->in.len] = 0;
        parse(ws);
    }
}

static void run(void *arg)
{
    struct websocket *ws = arg;
    release_held(ws);
    read_some(ws);
    flush(ws);
    size_t waiting = ws->out.len - ws->out_at;
    if (ws->high && waiting < LOW_MARK) {
        ws->high = false;
        if (!ws->detached && ws->options.on_drain) {
            ws->in_callback = true;
            ws->options.on_drain(ws->options.arg);
            ws->in_callback = false;
        }
    }
    if (ws->detached && ws->ended && ws->out.len == 0) {
        destroy(ws);
        return;
    }
    watch(ws);
}

static void on_ready(void *arg, unsigned events)
{
    struct websocket *ws = arg;
    if ((events & (EPOLLHUP | EPOLLERR)) && ws->paused && ws->held.len - ws->held_at > HELD_LIMIT &&
        !ws->ended)
        finish(ws, 0, true); /* nothing will ever be read: epoll would report it without end */
    run(ws);
}

static void on_deadline(void *arg)
{
    struct websocket *ws = arg;
    if (ws->detached) {
        destroy(ws);
        return;
    }
    if (ws->paused && ws->held.len - ws->held_at > HELD_LIMIT) {
        send_frame(ws, PONG, "", 0);
        loop_timer_start(ws->soon, 0);
    }
}

/* ---- the interface ---- */

char *websocket_accept_key(const char *sec_websocket_key)
{
    auto_free char *text = mem_printf("%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", sec_websocket_key);
    unsigned char digest[20];
    must(gnutls_hash_fast(GNUTLS_DIG_SHA1, text, strlen(text), digest) == 0);
    return str_base64(digest, sizeof digest);
}

void websocket_tunnel(struct http_client *client, const char *target, const char *protocol,
                      void (*ready)(void *arg, const struct http_response *response,
                                    struct http_duplex *duplex, struct err *err),
                      void *arg)
{
    unsigned char nonce[16];
    random_system.fill(random_system.arg, nonce, sizeof(nonce));
    auto_free char *key = str_base64(nonce, sizeof(nonce));
    const struct http_pair headers[] = {{"Connection", "Upgrade"},
                                        {"Upgrade", "websocket"},
                                        {"Sec-WebSocket-Version", "13"},
                                        {"Sec-WebSocket-Key", key},
                                        {"Sec-WebSocket-Protocol", protocol}};
    const struct http_call call = {.method = "GET",
                                   .target = target,
                                   .headers = headers,
                                   .n_headers = COUNT_OF(headers) - (protocol ? 0 : 1)};
    client->ops->tunnel(client, &call, ready, arg);
}

struct websocket *websocket_new(struct loop *loop, struct http_duplex *duplex,
                                const struct websocket_options *options)
{
    struct websocket *ws = NEW(struct websocket);
    ws->loop = loop;
    ws->duplex = duplex;
    ws->options = *options;
    ws->soon = loop_timer_new(loop, run, ws);
    ws->deadline = loop_timer_new(loop, on_deadline, ws);
    ws->watch = loop_fd_add(loop, duplex->ops->fd(duplex), EPOLLIN, on_ready, ws, NULL);
    must(ws->watch);
    loop_timer_start(ws->soon, 0); /* the duplex may hold bytes already */
    return ws;
}

size_t websocket_send(struct websocket *ws, enum websocket_type type, const void *data, size_t len)
{
    if (ws->detached || ws->close_sent)
        return 0;
    send_frame(ws, type == WEBSOCKET_TEXT ? TEXT : BINARY, data, len);
    if (!ws->in_callback) { /* else the caller of the callback does it */
        flush(ws);
        watch(ws);
    }
    size_t waiting = ws->out.len - ws->out_at;
    if (ws->high && waiting < LOW_MARK)
        loop_timer_start(ws->soon, 0); /* drained right here: no event will come */
    ws->high |= waiting > HIGH_MARK;
    return waiting;
}

void websocket_close(struct websocket *ws, unsigned code)
{
    if (ws->detached || ws->ended)
        return;
    send_close(ws, code);
    detach(ws);
    loop_timer_start(ws->soon, 0);
}

void websocket_pause(struct websocket *ws, bool paused)
{
    ws->paused = paused;
    if (!paused && !ws->detached)
        loop_timer_start(ws->soon, 0);
}
