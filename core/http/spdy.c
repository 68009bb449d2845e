/*
 * SPDY/3.1 sessions and streams over a plain duplex or within a WebSocket.
 *
 * A stream lives until both directions have ended, it was reset, or the session is over; it is freed by `run`
 * only, so that callbacks may do anything to any stream. Not here: priorities, server push, credentials, HTTP
 * semantics.
 */
#include "http/spdy_private.h"

#define MAX_DATA 32768 /* of one frame that we send */
#define HIGH_MARK (256u << 10)
#define LOW_MARK (64u << 10)
#define HELD_LIMIT (1u << 20)       /* of all streams, from peers without windows */
#define HELD_LIMIT_FLOW (16u << 20) /* from peers that keep to windows */
#define DEFAULT_WINDOW 65536
#define LOOK_MS 2000
#define PATIENCE_MS 10000

static void run(void *arg);

/* ---- output ---- */

static void write_bytes(struct spdy *s, const void *data, size_t len)
{
    if (s->ws)
        s->waiting = websocket_send(s->ws, WEBSOCKET_BINARY, data, len);
    else if (s->link)
        s->waiting = byte_link_send(s->link, data, len);
}

void spdy_send_control(struct spdy *s, enum spdy_frame type, unsigned flags, const void *body, size_t len)
{
    auto_str frame = {0};
    unsigned char head[8] = {0x80, 3, 0, (unsigned char)type};
    spdy_put_number(head + 4, (uint32_t)len);
    head[4] = (unsigned char)flags;
    str_add_n(&frame, head, sizeof(head));
    str_add_n(&frame, body, len);
    write_bytes(s, frame.data, frame.len);
}

void spdy_send_pair(struct spdy *s, enum spdy_frame type, uint32_t first, uint32_t second)
{
    unsigned char body[8];
    spdy_put_number(body, first);
    spdy_put_number(body + 4, second);
    spdy_send_control(s, type, 0, body, sizeof(body));
}

void spdy_send_settings(struct spdy *s)
{
    unsigned char body[12];
    if (s->settings_sent)
        return;
    s->settings_sent = true;
    spdy_put_number(body, 1);
    spdy_put_number(body + 4, SPDY_SETTINGS_INITIAL_WINDOW);
    spdy_put_number(body + 8, SPDY_STREAM_WINDOW);
    spdy_send_control(s, SPDY_SETTINGS, 0, body, sizeof(body));
    spdy_send_pair(s, SPDY_WINDOW_UPDATE, 0, SPDY_SESSION_WINDOW);
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
        spdy_put_number(frame, stream->id);
        spdy_put_number(frame + 4, (uint32_t)n);
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
        unsigned char frame[8] = {0, 0, 0, 0, SPDY_FLAG_FIN};
        spdy_put_number(frame, stream->id);
        write_bytes(s, frame, sizeof(frame));
        stream->sent_end = true;
        loop_timer_start(s->soon, 0);
    }
}

/* ---- input of a stream ---- */

void spdy_fail(struct spdy *s)
{
    if (s->over)
        return;
    spdy_send_pair(s, SPDY_GOAWAY, s->last_peer_id, SPDY_RST_PROTOCOL_ERROR);
    s->over = true;
    loop_timer_start(s->soon, 0);
}

void spdy_send_reset(struct spdy *s, uint32_t id, uint32_t status)
{
    spdy_send_pair(s, SPDY_RST_STREAM, id, status);
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
    if (s->flow && stream->taken >= SPDY_STREAM_WINDOW / 2 && !stream->got_end) {
        spdy_send_pair(s, SPDY_WINDOW_UPDATE, stream->id, (uint32_t)stream->taken);
        stream->taken = 0;
    }
    if (stream->ops)
        stream->ops->on_data(stream->arg, data, len);
}

void spdy_take_data(struct spdy_stream *stream, const char *data, size_t len)
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

void spdy_take_end(struct spdy_stream *stream)
{
    stream->got_end = true;
    tell_end(stream);
}

struct spdy_stream *spdy_find(struct spdy *s, uint32_t id)
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

struct spdy_stream *spdy_stream_new(struct spdy *s, uint32_t id)
{
    struct spdy_stream *stream = NEW(struct spdy_stream);
    stream->spdy = s;
    stream->id = id;
    stream->window = s->initial_window;
    list_add_tail(&s->streams, &stream->node);
    s->n_streams++;
    return stream;
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
        spdy_receive(s, data, len);
    }
}

static void on_link_data(void *arg, const char *data, size_t len)
{
    spdy_receive(arg, data, len);
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
    if (s->link && s->given_up)
        byte_link_drop(s->link);
    else
        byte_link_close(s->link);
    loop_timer_free(s->soon);
    loop_timer_free(s->deadline);
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
        spdy_send_settings(s);
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
        spdy_send_pair(s, SPDY_GOAWAY, s->last_peer_id, 0);
    s->over = true;
    loop_timer_start(s->soon, 0);
}

/* ---- finishing ---- */

static size_t unsent(const struct spdy *s)
{
    const struct spdy_stream *stream;
    size_t left = s->link ? byte_link_waiting(s->link) : s->waiting;
    list_each (stream, &s->streams, node)
        left += stream->out.len;
    return left;
}

static void on_deadline(void *arg)
{
    struct spdy *s = arg;
    size_t left = unsent(s);
    s->idle_ms = left == s->left ? s->idle_ms + LOOK_MS : 0;
    s->left = left;
    if (s->idle_ms < PATIENCE_MS) {
        loop_timer_start(s->deadline, LOOK_MS);
        return;
    }
    s->over = s->given_up = true;
    loop_timer_start(s->soon, 0);
}

static void drop_data(void *arg UNUSED, const char *data UNUSED, size_t len UNUSED)
{
}

static void drop_event(void *arg UNUSED)
{
}

void spdy_finish(struct spdy *s)
{
    static const struct spdy_stream_ops nobody = {drop_data, drop_event, NULL, drop_event};
    struct spdy_stream *stream;
    s->options.on_stream = NULL;
    s->options.on_closed = NULL;
    list_each (stream, &s->streams, node) {
        stream->ops = stream->ops ? &nobody : NULL;
        stream->paused = false;
        spdy_end(stream);
    }
    s->left = unsent(s);
    s->deadline = loop_timer_new(s->loop, on_deadline, s);
    loop_timer_start(s->deadline, LOOK_MS);
    loop_timer_start(s->soon, 0);
}

void spdy_accept(struct spdy_stream *stream, const struct spdy_stream_ops *ops, void *arg)
{
    auto_str body = {0};
    unsigned char id[4];
    stream->ops = ops;
    stream->arg = arg;
    spdy_put_number(id, stream->id);
    str_add_n(&body, id, sizeof(id));
    spdy_headers_encode(stream->spdy->codec, NULL, 0, &body);
    spdy_send_control(stream->spdy, SPDY_SYN_REPLY, 0, body.data, body.len);
}

struct spdy_stream *spdy_open(struct spdy *s, const struct http_pair *headers, size_t count,
                              const struct spdy_stream_ops *ops, void *arg)
{
    auto_str body = {0};
    unsigned char head[10] = {0}; /* the stream, none that it belongs to, priority and slot */
    struct spdy_stream *stream = spdy_stream_new(s, s->next_id);
    s->next_id += 2;
    stream->ops = ops;
    stream->arg = arg;
    spdy_put_number(head, stream->id);
    str_add_n(&body, head, sizeof(head));
    spdy_headers_encode(s->codec, headers, count, &body);
    spdy_send_control(s, SPDY_SYN_STREAM, 0, body.data, body.len);
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
        spdy_send_reset(stream->spdy, stream->id, SPDY_RST_CANCEL);
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
