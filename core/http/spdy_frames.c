/*
 * spdy_frames: the connection's bytes → frames → what they do to the session and its streams. Control frames
 * are collected whole (64 KiB at most), data frames are handed on as they come.
 */
#include "http/spdy_private.h"

#define MAX_STREAMS 2048
#define MAX_CONTROL 65536

static void on_syn_stream(struct spdy *s, unsigned flags, const char *body, size_t len)
{
    struct http_pair pairs[SPDY_MAX_HEADERS];
    auto_str text = {0};
    int count = len < 10 ? -1 : spdy_headers_decode(s->codec, body + 10, len - 10, &text, pairs);
    uint32_t id = len < 10 ? 0 : spdy_number_at(body) & SPDY_ID_MASK;
    if (count < 0 || id <= s->last_peer_id || id % 2 == s->options.client) {
        spdy_fail(s);
        return;
    }
    s->last_peer_id = id;
    if (s->n_streams >= MAX_STREAMS) {
        spdy_send_reset(s, id, SPDY_RST_REFUSED);
        return;
    }
    struct spdy_stream *stream = spdy_stream_new(s, id);
    if (s->options.on_stream)
        s->options.on_stream(s->options.arg, stream, pairs, (size_t)count);
    if (!stream->ops && !stream->closed) {
        spdy_send_reset(s, id, SPDY_RST_REFUSED);
        stream->closed = true;
        loop_timer_start(s->soon, 0);
    } else if (flags & SPDY_FLAG_FIN) {
        spdy_take_end(stream);
    }
}

static void on_syn_reply(struct spdy *s, unsigned flags, const char *body, size_t len)
{
    struct http_pair pairs[SPDY_MAX_HEADERS];
    auto_str text = {0};
    if (len < 4 || spdy_headers_decode(s->codec, body + 4, len - 4, &text, pairs) < 0) {
        spdy_fail(s);
        return;
    }
    struct spdy_stream *stream = spdy_find(s, spdy_number_at(body) & SPDY_ID_MASK);
    if (stream && (flags & SPDY_FLAG_FIN))
        spdy_take_end(stream);
}

static void on_settings(struct spdy *s, const char *body, size_t len)
{
    size_t count = len < 4 ? 0 : spdy_number_at(body);
    if (len < 4 || count > (len - 4) / 8 || len != 4 + count * 8) {
        spdy_fail(s);
        return;
    }
    s->flow = true;
    spdy_send_settings(s);
    for (size_t i = 0; i < count; i++) {
        const char *entry = body + 4 + i * 8;
        if ((spdy_number_at(entry) & 0xffffff) != SPDY_SETTINGS_INITIAL_WINDOW)
            continue;
        int64_t window = spdy_number_at(entry + 4) & SPDY_ID_MASK, change = window - s->initial_window;
        struct spdy_stream *stream;
        s->initial_window = window;
        list_each (stream, &s->streams, node)
            stream->window += change;
    }
    loop_timer_start(s->soon, 0);
}

static void on_window_update(struct spdy *s, const char *body)
{
    uint32_t id = spdy_number_at(body) & SPDY_ID_MASK, delta = spdy_number_at(body + 4) & SPDY_ID_MASK;
    struct spdy_stream *stream = id ? spdy_find(s, id) : NULL;
    if (id && !stream)
        return; /* of a stream that is gone */
    int64_t *window = stream ? &stream->window : &s->window;
    *window += delta;
    if (*window > (int64_t)SPDY_ID_MASK && stream) {
        spdy_send_reset(s, id, SPDY_RST_FLOW);
        stream->closed = true;
    } else if (*window > (int64_t)SPDY_ID_MASK) {
        spdy_fail(s);
    }
    loop_timer_start(s->soon, 0);
}

static void on_reset(struct spdy *s, const char *body)
{
    struct spdy_stream *stream = spdy_find(s, spdy_number_at(body) & SPDY_ID_MASK);
    if (!stream)
        return;
    stream->closed = true;
    loop_timer_start(s->soon, 0);
}

static void take_control(struct spdy *s, unsigned type, unsigned flags, const char *body, size_t len)
{
    static const size_t lengths[] = {
        [SPDY_RST_STREAM] = 8, [SPDY_PING] = 4, [SPDY_GOAWAY] = 8, [SPDY_WINDOW_UPDATE] = 8};
    struct http_pair pairs[SPDY_MAX_HEADERS];
    auto_str text = {0};
    if (type < COUNT_OF(lengths) && lengths[type] && len != lengths[type]) {
        spdy_fail(s);
        return;
    }
    switch (type) {
    case SPDY_SYN_STREAM:
        on_syn_stream(s, flags, body, len);
        return;
    case SPDY_SYN_REPLY:
        on_syn_reply(s, flags, body, len);
        return;
    case SPDY_RST_STREAM:
        on_reset(s, body);
        return;
    case SPDY_SETTINGS:
        on_settings(s, body, len);
        return;
    case SPDY_PING: /* the peer's are odd if it is the client */
        if (spdy_number_at(body) % 2 != s->options.client)
            spdy_send_control(s, SPDY_PING, 0, body, len);
        return;
    case SPDY_HEADERS: /* nothing is said there, but the block belongs to the zlib stream */
        if (len < 4 || spdy_headers_decode(s->codec, body + 4, len - 4, &text, pairs) < 0)
            spdy_fail(s);
        return;
    case SPDY_WINDOW_UPDATE:
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
    s->data_end = flags & SPDY_FLAG_FIN;
    bool ours = id % 2 == s->options.client;
    if (id == 0 || (ours ? id >= s->next_id : id > s->last_peer_id)) {
        spdy_send_reset(s, id, SPDY_RST_INVALID_STREAM);
        if (id == 0)
            spdy_fail(s);
    }
    s->taken += len;
    if (s->flow && s->taken >= SPDY_SESSION_WINDOW / 2) {
        spdy_send_pair(s, SPDY_WINDOW_UPDATE, 0, (uint32_t)s->taken);
        s->taken = 0;
    }
}

/* Some of the data frame that has begun; with len 0 perhaps only its end. */
static void some_data(struct spdy *s, const char *data, size_t len)
{
    struct spdy_stream *stream = spdy_find(s, s->data_id);
    s->data_left -= len;
    if (stream && stream->got_end) { /* data after FIN */
        spdy_send_reset(s, s->data_id, SPDY_RST_PROTOCOL_ERROR);
        stream->closed = true;
        loop_timer_start(s->soon, 0);
        return;
    }
    if (stream && len)
        spdy_take_data(stream, data, len);
    if (stream && !stream->closed && s->data_left == 0 && s->data_end)
        spdy_take_end(stream);
}

static void take_head(struct spdy *s)
{
    const char *head = s->in.data;
    unsigned flags = (unsigned char)head[4];
    size_t len = spdy_number_at(head + 4) & 0xffffff;
    if (!(head[0] & 0x80)) {
        begin_data(s, spdy_number_at(head), flags, len);
        str_clear(&s->in);
        if (len == 0)
            some_data(s, NULL, 0);
        return;
    }
    if ((spdy_number_at(head) >> 16 & 0x7fff) != 3 || len > MAX_CONTROL)
        spdy_fail(s);
}

/* Bytes of the connection, in any pieces. */
void spdy_receive(struct spdy *s, const char *data, size_t len)
{
    while (len && !s->over && !s->detached) {
        if (s->data_left) {
            size_t n = len < s->data_left ? len : s->data_left;
            some_data(s, data, n);
            data += n;
            len -= n;
            continue;
        }
        size_t wanted = s->in.len < 8 ? 8 : 8 + (spdy_number_at(s->in.data + 4) & 0xffffff);
        size_t n = wanted - s->in.len < len ? wanted - s->in.len : len;
        str_add_n(&s->in, data, n);
        data += n;
        len -= n;
        if (wanted == 8 && s->in.len == 8)
            take_head(s);
        if (s->over || s->in.len < 8 || s->in.len < 8 + (spdy_number_at(s->in.data + 4) & 0xffffff))
            continue;
        take_control(s, spdy_number_at(s->in.data) & 0xffff, (unsigned char)s->in.data[4], s->in.data + 8,
                     s->in.len - 8);
        str_clear(&s->in);
    }
}
