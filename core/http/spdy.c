/*
 * SPDY/3.1 sessions and streams over a plain duplex or within a WebSocket.
 *
 * Control frames are collected whole (64 KiB at most), data frames are handed on as they come. A stream lives
 * until both directions have ended, it was reset, or the session is over; it is freed by `run` only, so that
 * callbacks may do anything to any stream. Not here: priorities, server push, credentials, HTTP semantics.
 */
#include <string.h>

#include "http/http_private.h"

#define MAX_STREAMS 2048
#define MAX_CONTROL 65536
#define MAX_DATA 32768 /* of one frame that we send */
#define HIGH_MARK (256u << 10)
#define LOW_MARK (64u << 10)
#define HELD_LIMIT (1u << 20)       /* of all streams, from peers without windows */
#define HELD_LIMIT_FLOW (16u << 20) /* from peers that keep to windows */
#define DEFAULT_WINDOW 65536
#define STREAM_WINDOW (256u << 10) /* that we offer */
#define SESSION_WINDOW (16u << 20)
#define ID_MASK 0x7fffffffu

enum frame {
    SYN_STREAM = 1,
    SYN_REPLY = 2,
    RST_STREAM = 3,
    SETTINGS = 4,
    PING = 6,
    GOAWAY = 7,
    HEADERS = 8,
    WINDOW_UPDATE = 9
};
enum { FLAG_FIN = 1 };
enum { RST_PROTOCOL_ERROR = 1, RST_INVALID_STREAM = 2, RST_REFUSED = 3, RST_CANCEL = 5, RST_FLOW = 7 };
enum { SETTINGS_INITIAL_WINDOW = 7 };

struct spdy_stream {
    struct spdy *spdy;
    struct list node;
    uint32_t id;
    const struct spdy_stream_ops *ops; /* NULL: nobody hears of it any more */
    void *arg;
    struct str held; /* arrived while paused */
    struct str out;  /* waits for the peer's window */
    int64_t window;  /* what we may still send */
    size_t taken;    /* handed on since our last WINDOW_UPDATE */
    bool paused, got_end, told_end, end_wanted, sent_end, closed, full;
};

struct spdy {
    struct loop *loop;
    struct spdy_options options;
    struct websocket *ws;   /* what carries the bytes: one of the two */
    struct byte_link *link; /* NULL, both: gone */
    struct loop_timer *soon;
    struct spdy_codec *codec;
    struct list streams;
    size_t n_streams, held;
    uint32_t next_id, last_peer_id;
    struct str in; /* of a frame that is not complete: its head, and a control frame's body */
    uint32_t data_id;
    size_t data_left; /* of a data frame */
    bool data_end;
    bool flow, settings_sent, paused, over, detached;
    int64_t window, initial_window;
    size_t taken, waiting; /* waiting: in the connection's queue, as of the last write or drain */
};

static void run(void *arg);

static uint32_t number_at(const void *data)
{
    const unsigned char *b = data;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void put_number(unsigned char *b, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        b[i] = (unsigned char)(number >> (24 - 8 * i));
}

/* ---- output ---- */

static void write_bytes(struct spdy *s, const void *data, size_t len)
{
    if (s->ws)
        s->waiting = websocket_send(s->ws, WEBSOCKET_BINARY, data, len);
    else if (s->link)
        s->waiting = byte_link_send(s->link, data, len);
}

static void send_control(struct spdy *s, enum frame type, unsigned flags, const void *body, size_t len)
{
    auto_str frame = {0};
    unsigned char head[8] = {0x80, 3, 0, (unsigned char)type};
    put_number(head + 4, (uint32_t)len);
    head[4] = (unsigned char)flags;
    str_add_n(&frame, head, sizeof(head));
    str_add_n(&frame, body, len);
    write_bytes(s, frame.data, frame.len);
}

static void send_pair(struct spdy *s, enum frame type, uint32_t first, uint32_t second)
{
    unsigned char body[8];
    put_number(body, first);
    put_number(body + 4, second);
    send_control(s, type, 0, body, sizeof(body));
}

static void send_settings(struct spdy *s)
{
    unsigned char body[12];
    if (s->settings_sent)
        return;
    s->settings_sent = true;
    put_number(body, 1);
    put_number(body + 4, SETTINGS_INITIAL_WINDOW);
    put_number(body + 8, STREAM_WINDOW);
    send_control(s, SETTINGS, 0, body, sizeof(body));
    send_pair(s, WINDOW_UPDATE, 0, SESSION_WINDOW);
}

/* Sends what the windows allow. */
static void push(struct spdy_stream *stream)
{
    struct spdy *s = stream->spdy;
    size_t at = 0;
    while (at < stream->out.len) {
        int64_t n = (int64_t)(stream->out.len - at);
        n = n > MAX_DATA ? MAX_DATA : n;
        if (s->flow) {
            n = n > stream->window ? stream->window : n;
            n = n > s->window ? s->window : n;
        }
        if (n <= 0)
            break;
        unsigned char frame[8 + MAX_DATA];
        put_number(frame, stream->id);
        put_number(frame + 4, (uint32_t)n);
        memcpy(frame + 8, stream->out.data + at, (size_t)n);
        write_bytes(s, frame, 8 + (size_t)n);
        stream->window -= n;
        s->window -= n;
        at += (size_t)n;
    }
    if (at) {
        memmove(stream->out.data, stream->out.data + at, stream->out.len - at);
        stream->out.len -= at;
    }
    if (!stream->out.len)
        str_free(&stream->out);
    if (stream->end_wanted && !stream->sent_end && !stream->out.len) {
        unsigned char frame[8] = {0, 0, 0, 0, FLAG_FIN};
        put_number(frame, stream->id);
        write_bytes(s, frame, sizeof(frame));
        stream->sent_end = true;
        loop_timer_start(s->soon, 0);
    }
}

/* ---- input of a stream ---- */

static void fail_session(struct spdy *s)
{
    if (s->over)
        return;
    send_pair(s, GOAWAY, s->last_peer_id, RST_PROTOCOL_ERROR);
    s->over = true;
    loop_timer_start(s->soon, 0);
}

static void reset(struct spdy *s, uint32_t id, uint32_t status)
{
    send_pair(s, RST_STREAM, id, status);
}

static void update_pause(struct spdy *s)
{
    bool paused = s->held > (s->flow ? HELD_LIMIT_FLOW : HELD_LIMIT);
    if (paused == s->paused)
        return;
    s->paused = paused;
    if (s->ws)
        websocket_pause(s->ws, paused);
    else if (s->link)
        byte_link_pause(s->link, paused);
}

static void hand_on(struct spdy_stream *stream, const char *data, size_t len)
{
    struct spdy *s = stream->spdy;
    stream->taken += len;
    if (s->flow && stream->taken >= STREAM_WINDOW / 2 && !stream->got_end) {
        send_pair(s, WINDOW_UPDATE, stream->id, (uint32_t)stream->taken);
        stream->taken = 0;
    }
    if (stream->ops)
        stream->ops->on_data(stream->arg, data, len);
}

static void take_data(struct spdy_stream *stream, const char *data, size_t len)
{
    struct spdy *s = stream->spdy;
    if (!stream->paused && !stream->held.len) {
        hand_on(stream, data, len);
        return;
    }
    str_add_n(&stream->held, data, len);
    s->held += len;
    update_pause(s);
}

static void release_held(struct spdy_stream *stream)
{
    struct spdy *s = stream->spdy;
    size_t at = 0;
    while (stream->held.len && !stream->paused && !stream->closed && stream->ops && at < stream->held.len) {
        size_t n = stream->held.len - at;
        n = n > MAX_DATA ? MAX_DATA : n;
        hand_on(stream, stream->held.data + at, n);
        at += n;
    }
    if (!stream->ops || stream->closed)
        at = stream->held.len; /* for nobody */
    s->held -= at;
    if (at) {
        memmove(stream->held.data, stream->held.data + at, stream->held.len - at);
        stream->held.len -= at;
    }
    if (!stream->held.len)
        str_free(&stream->held);
    update_pause(s);
}

static void tell_end(struct spdy_stream *stream)
{
    if (!stream->got_end || stream->told_end || stream->held.len)
        return;
    stream->told_end = true;
    if (stream->ops && !stream->closed)
        stream->ops->on_end(stream->arg);
    loop_timer_start(stream->spdy->soon, 0);
}

static void take_end(struct spdy_stream *stream)
{
    stream->got_end = true;
    tell_end(stream);
}

/* ---- frames ---- */

static struct spdy_stream *find(struct spdy *s, uint32_t id)
{
    struct spdy_stream *stream;
    list_each (stream, &s->streams, node) {
        if (stream->id != id || stream->closed)
            continue;
        list_remove(&stream->node); /* the busy ones stay in front */
        list_add_head(&s->streams, &stream->node);
        return stream;
    }
    return NULL;
}

static struct spdy_stream *stream_new(struct spdy *s, uint32_t id)
{
    struct spdy_stream *stream = NEW(struct spdy_stream);
    stream->spdy = s;
    stream->id = id;
    stream->window = s->initial_window;
    list_add_tail(&s->streams, &stream->node);
    s->n_streams++;
    return stream;
}

static void on_syn_stream(struct spdy *s, unsigned flags, const char *body, size_t len)
{
    struct http_pair pairs[SPDY_MAX_HEADERS];
    auto_str text = {0};
    int count = len < 10 ? -1 : spdy_headers_decode(s->codec, body + 10, len - 10, &text, pairs);
    uint32_t id = len < 10 ? 0 : number_at(body) & ID_MASK;
    if (count < 0 || id <= s->last_peer_id || id % 2 == s->options.client) {
        fail_session(s);
        return;
    }
    s->last_peer_id = id;
    if (s->n_streams >= MAX_STREAMS) {
        reset(s, id, RST_REFUSED);
        return;
    }
    struct spdy_stream *stream = stream_new(s, id);
    if (s->options.on_stream)
        s->options.on_stream(s->options.arg, stream, pairs, (size_t)count);
    if (!stream->ops && !stream->closed) {
        reset(s, id, RST_REFUSED);
        stream->closed = true;
        loop_timer_start(s->soon, 0);
    } else if (flags & FLAG_FIN) {
        take_end(stream);
    }
}

static void on_syn_reply(struct spdy *s, unsigned flags, const char *body, size_t len)
{
    struct http_pair pairs[SPDY_MAX_HEADERS];
    auto_str text = {0};
    if (len < 4 || spdy_headers_decode(s->codec, body + 4, len - 4, &text, pairs) < 0) {
        fail_session(s);
        return;
    }
    struct spdy_stream *stream = find(s, number_at(body) & ID_MASK);
    if (stream && (flags & FLAG_FIN))
        take_end(stream);
}

static void on_settings(struct spdy *s, const char *body, size_t len)
{
    size_t count = len < 4 ? 0 : number_at(body);
    if (len < 4 || count > (len - 4) / 8 || len != 4 + count * 8) {
        fail_session(s);
        return;
    }
    s->flow = true;
    send_settings(s);
    for (size_t i = 0; i < count; i++) {
        const char *entry = body + 4 + i * 8;
        if ((number_at(entry) & 0xffffff) != SETTINGS_INITIAL_WINDOW)
            continue;
        int64_t window = number_at(entry + 4) & ID_MASK, change = window - s->initial_window;
        struct spdy_stream *stream;
        s->initial_window = window;
        list_each (stream, &s->streams, node)
            stream->window += change;
    }
    loop_timer_start(s->soon, 0);
}

static void on_window_update(struct spdy *s, const char *body)
{
    uint32_t id = number_at(body) & ID_MASK, delta = number_at(body + 4) & ID_MASK;
    struct spdy_stream *stream = id ? find(s, id) : NULL;
    if (id && !stream)
        return; /* of a stream that is gone */
    int64_t *window = stream ? &stream->window : &s->window;
    *window += delta;
    if (*window > (int64_t)ID_MASK && stream) {
        reset(s, id, RST_FLOW);
        stream->closed = true;
    } else if (*window > (int64_t)ID_MASK) {
        fail_session(s);
    }
    loop_timer_start(s->soon, 0);
}

static void on_reset(struct spdy *s, const char *body)
{
    struct spdy_stream *stream = find(s, number_at(body) & ID_MASK);
    if (!stream)
        return;
    stream->closed = true;
    loop_timer_start(s->soon, 0);
}

static void take_control(struct spdy *s, unsigned type, unsigned flags, const char *body, size_t len)
{
    static const size_t lengths[] = {[RST_STREAM] = 8, [PING] = 4, [GOAWAY] = 8, [WINDOW_UPDATE] = 8};
    struct http_pair pairs[SPDY_MAX_HEADERS];
    auto_str text = {0};
    if (type < COUNT_OF(lengths) && lengths[type] && len != lengths[type]) {
        fail_session(s);
        return;
    }
    switch (type) {
    case SYN_STREAM:
        on_syn_stream(s, flags, body, len);
        return;
    case SYN_REPLY:
        on_syn_reply(s, flags, body, len);
        return;
    case RST_STREAM:
        on_reset(s, body);
        return;
    case SETTINGS:
        on_settings(s, body, len);
        return;
    case PING: /* the peer's are odd if it is the client */
        if (number_at(body) % 2 != s->options.client)
            send_control(s, PING, 0, body, len);
        return;
    case HEADERS: /* nothing is said there, but the block belongs to the zlib stream */
        if (len < 4 || spdy_headers_decode(s->codec, body + 4, len - 4, &text, pairs) < 0)
            fail_session(s);
        return;
    case WINDOW_UPDATE:
        on_window_update(s, body);
        return;
    default: /* GOAWAY: the connection's end follows; others are for later versions */
        return;
    }
}

static void begin_data(struct spdy *s, uint32_t id, unsigned flags, size_t len)
{
    s->data_id = id;
    s->data_left = len;
    s->data_end = flags & FLAG_FIN;
    bool ours = id % 2 == s->options.client;
    if (id == 0 || (ours ? id >= s->next_id : id > s->last_peer_id)) {
        reset(s, id, RST_INVALID_STREAM);
        if (id == 0)
            fail_session(s);
    }
    s->taken += len;
    if (s->flow && s->taken >= SESSION_WINDOW / 2) {
        send_pair(s, WINDOW_UPDATE, 0, (uint32_t)s->taken);
        s->taken = 0;
    }
}

/* Some of the data frame that has begun; with len 0 perhaps only its end. */
static void some_data(struct spdy *s, const char *data, size_t len)
{
    struct spdy_stream *stream = find(s, s->data_id);
    s->data_left -= len;
    if (stream && stream->got_end) { /* data after FIN */
        reset(s, s->data_id, RST_PROTOCOL_ERROR);
        stream->closed = true;
        loop_timer_start(s->soon, 0);
        return;
    }
    if (stream && len)
        take_data(stream, data, len);
    if (stream && !stream->closed && s->data_left == 0 && s->data_end)
        take_end(stream);
}

static void take_head(struct spdy *s)
{
    const char *head = s->in.data;
    unsigned flags = (unsigned char)head[4];
    size_t len = number_at(head + 4) & 0xffffff;
    if (!(head[0] & 0x80)) {
        begin_data(s, number_at(head), flags, len);
        str_clear(&s->in);
        if (len == 0)
            some_data(s, NULL, 0);
        return;
    }
    if ((number_at(head) >> 16 & 0x7fff) != 3 || len > MAX_CONTROL)
        fail_session(s);
}

/* Bytes of the connection, in any pieces. */
static void receive(struct spdy *s, const char *data, size_t len)
{
    while (len && !s->over && !s->detached) {
        if (s->data_left) {
            size_t n = len < s->data_left ? len : s->data_left;
            some_data(s, data, n);
            data += n;
            len -= n;
            continue;
        }
        size_t wanted = s->in.len < 8 ? 8 : 8 + (number_at(s->in.data + 4) & 0xffffff);
        size_t n = wanted - s->in.len < len ? wanted - s->in.len : len;
        str_add_n(&s->in, data, n);
        data += n;
        len -= n;
        if (wanted == 8 && s->in.len == 8)
            take_head(s);
        if (s->over || s->in.len < 8 || s->in.len < 8 + (number_at(s->in.data + 4) & 0xffffff))
            continue;
        take_control(s, number_at(s->in.data) & 0xffff, (unsigned char)s->in.data[4], s->in.data + 8,
                     s->in.len - 8);
        str_clear(&s->in);
    }
}

/* ---- what carries the bytes ---- */

static void transport_gone(struct spdy *s)
{
    s->over = true;
    loop_timer_start(s->soon, 0);
}

static void on_ws_message(void *arg, enum websocket_type type, const char *data, size_t len)
{
    struct spdy *s = arg;
    if (type == WEBSOCKET_CLOSED) {
        s->ws = NULL;
        transport_gone(s);
    } else {
        receive(s, data, len);
    }
}

static void on_link_data(void *arg, const char *data, size_t len)
{
    receive(arg, data, len);
}

static void on_link_end(void *arg, int error UNUSED)
{
    transport_gone(arg);
}

static void on_drain(void *arg)
{
    ((struct spdy *)arg)->waiting = 0;
    run(arg);
}

/* ---- life ---- */

static void stream_free(struct spdy_stream *stream)
{
    struct spdy *s = stream->spdy;
    list_remove(&stream->node);
    s->n_streams--;
    s->held -= stream->held.len;
    if (stream->ops)
        stream->ops->on_closed(stream->arg);
    str_free(&stream->held);
    str_free(&stream->out);
    free(stream);
}

static void reap(struct spdy *s)
{
    struct spdy_stream *stream, *following;
    list_each_safe (stream, following, &s->streams, node) {
        if (stream->closed || s->over || (stream->told_end && stream->sent_end))
            stream_free(stream);
    }
    update_pause(s);
}

static void session_free(struct spdy *s)
{
    if (s->ws)
        websocket_close(s->ws, 1000);
    byte_link_close(s->link);
    loop_timer_free(s->soon);
    spdy_codec_free(s->codec);
    str_free(&s->in);
    free(s);
}

/* Everything that is to be done outside of calls and callbacks. */
static void run(void *arg)
{
    struct spdy *s = arg;
    struct spdy_stream *stream, *following;
    list_each_safe (stream, following, &s->streams, node) {
        if (s->over || stream->closed)
            continue;
        push(stream);
        release_held(stream);
        tell_end(stream);
        bool drained = stream->out.len < LOW_MARK && s->waiting <= HIGH_MARK;
        if (stream->full && drained && stream->ops && !stream->closed) {
            stream->full = false;
            if (stream->ops->on_drain)
                stream->ops->on_drain(stream->arg);
        }
    }
    reap(s);
    if (!s->over)
        return;
    if (!s->detached && s->options.on_closed)
        s->options.on_closed(s->options.arg);
    session_free(s);
}

struct spdy *spdy_new(struct loop *loop, struct http_duplex *duplex, const struct spdy_options *options)
{
    struct spdy *s = NEW(struct spdy);
    s->loop = loop;
    s->options = *options;
    s->next_id = options->client ? 1 : 2;
    s->window = s->initial_window = DEFAULT_WINDOW;
    s->codec = spdy_codec_new();
    s->soon = loop_timer_new(loop, run, s);
    list_init(&s->streams);
    const struct websocket_options ws = {
        .client = options->client, .on_message = on_ws_message, .on_drain = on_drain, .arg = s};
    const struct byte_link_options link = {on_link_data, on_link_end, on_drain, s};
    if (options->websocket)
        s->ws = websocket_new(loop, duplex, &ws);
    else
        s->link = byte_link_new(loop, duplex, &link);
    if (options->client)
        send_settings(s);
    return s;
}

void spdy_close(struct spdy *s)
{
    struct spdy_stream *stream;
    if (!s || s->detached)
        return;
    s->detached = true;
    list_each (stream, &s->streams, node)
        stream->ops = NULL;
    if (!s->over)
        send_pair(s, GOAWAY, s->last_peer_id, 0);
    s->over = true;
    loop_timer_start(s->soon, 0);
}

void spdy_accept(struct spdy_stream *stream, const struct spdy_stream_ops *ops, void *arg)
{
    auto_str body = {0};
    unsigned char id[4];
    stream->ops = ops;
    stream->arg = arg;
    put_number(id, stream->id);
    str_add_n(&body, id, sizeof(id));
    spdy_headers_encode(stream->spdy->codec, NULL, 0, &body);
    send_control(stream->spdy, SYN_REPLY, 0, body.data, body.len);
}

struct spdy_stream *spdy_open(struct spdy *s, const struct http_pair *headers, size_t count,
                              const struct spdy_stream_ops *ops, void *arg)
{
    auto_str body = {0};
    unsigned char head[10] = {0}; /* the stream, none that it belongs to, priority and slot */
    struct spdy_stream *stream = stream_new(s, s->next_id);
    s->next_id += 2;
    stream->ops = ops;
    stream->arg = arg;
    put_number(head, stream->id);
    str_add_n(&body, head, sizeof(head));
    spdy_headers_encode(s->codec, headers, count, &body);
    send_control(s, SYN_STREAM, 0, body.data, body.len);
    return stream;
}

size_t spdy_send(struct spdy_stream *stream, const void *data, size_t len)
{
    if (stream->closed || stream->end_wanted || stream->spdy->over)
        return 0;
    str_add_n(&stream->out, data, len);
    push(stream);
    size_t waiting = stream->spdy->waiting + stream->out.len;
    stream->full |= waiting > HIGH_MARK;
    return waiting;
}

void spdy_end(struct spdy_stream *stream)
{
    stream->end_wanted = true;
    if (!stream->closed && !stream->spdy->over)
        push(stream);
}

void spdy_reset(struct spdy_stream *stream)
{
    if (!stream->closed && !stream->spdy->over)
        reset(stream->spdy, stream->id, RST_CANCEL);
    stream->closed = true;
    stream->ops = NULL;
    loop_timer_start(stream->spdy->soon, 0);
}

void spdy_pause(struct spdy_stream *stream, bool paused)
{
    if (stream->paused && !paused)
        loop_timer_start(stream->spdy->soon, 0);
    stream->paused = paused;
}
