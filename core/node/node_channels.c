/*
 * node_channels: the named streams of one exec or attach, whatever carries them: a WebSocket in Kubernetes'
 * channel protocol (v5, v4: the first byte is the channel; v5 adds 255 = end of one) or SPDY/3.1, where each
 * is a stream with the header streamtype. The session above does not know which.
 *
 * SPDY: the session begins when every stream that the request asks for is there; a client that does not open
 * them within OPEN_MS is let go.
 */
#include <string.h>

#include "base/log.h"
#include "node/node_internal.h"

#define OPEN_MS 30000
#define WS_END 255

struct place { /* of one stream of SPDY */
    struct node_channels *channels;
    struct spdy_stream *stream; /* NULL: not there yet, or gone */
    enum node_channel channel;
};

struct node_channels {
    struct loop *loop;
    struct node_channels_options options;
    const char *protocol;
    char *accept; /* of WebSocket; NULL: SPDY */
    struct http_duplex *client;
    struct websocket *ws;
    struct spdy *spdy;
    struct place places[NODE_CHANNELS];
    struct loop_timer *deadline;
    unsigned opened;
};

static const char *const names[NODE_CHANNELS] = {"stdin", "stdout", "stderr", "error", "resize"};

static void channels_free(struct node_channels *c)
{
    loop_timer_free(c->deadline);
    free(c->accept);
    free(c);
}

static void client_gone(void *arg)
{
    struct node_channels *c = arg;
    c->options.on_closed(c->options.arg);
    channels_free(c);
}

static void on_deadline(void *arg)
{
    struct node_channels *c = arg;
    log_info("node", "exec: the client did not open its streams");
    spdy_close(c->spdy);
    client_gone(c);
}

/* ---- WebSocket ---- */

static void on_message(void *arg, enum websocket_type type, const char *data, size_t len)
{
    struct node_channels *c = arg;
    if (type == WEBSOCKET_CLOSED) {
        client_gone(c);
        return;
    }
    unsigned channel = len ? (unsigned char)data[0] : NODE_ERROR;
    if (channel == WS_END && len > 1 && data[1] == NODE_STDIN)
        c->options.on_end(c->options.arg);
    else if (channel == NODE_STDIN || channel == NODE_RESIZE)
        c->options.on_data(c->options.arg, (enum node_channel)channel, data + 1, len - 1);
}

static void on_drain(void *arg)
{
    struct node_channels *c = arg;
    c->options.on_drain(c->options.arg);
}

/* ---- SPDY ---- */

static void on_stream_data(void *arg, const char *data, size_t len)
{
    struct place *place = arg;
    struct node_channels *c = place->channels;
    if (place->channel == NODE_STDIN || place->channel == NODE_RESIZE)
        c->options.on_data(c->options.arg, place->channel, data, len);
}

static void on_stream_end(void *arg)
{
    struct place *place = arg;
    struct node_channels *c = place->channels;
    if (place->channel == NODE_STDIN)
        c->options.on_end(c->options.arg);
}

static void on_stream_drain(void *arg)
{
    on_drain(((struct place *)arg)->channels);
}

static void on_stream_closed(void *arg)
{
    ((struct place *)arg)->stream = NULL;
}

static void on_stream(void *arg, struct spdy_stream *stream, const struct http_pair *headers, size_t count)
{
    static const struct spdy_stream_ops ops = {on_stream_data, on_stream_end, on_stream_drain,
                                               on_stream_closed};
    struct node_channels *c = arg;
    for (size_t i = 0; i < count; i++) {
        for (size_t channel = 0; str_eq(headers[i].name, "streamtype") && channel < NODE_CHANNELS;
             channel++) {
            unsigned bit = 1u << channel;
            if (!str_eq(headers[i].value, names[channel]) || (c->opened & bit) || !(c->options.wanted & bit))
                continue;
            c->places[channel] = (struct place){c, stream, (enum node_channel)channel};
            c->opened |= bit;
            spdy_accept(stream, &ops, &c->places[channel]);
        }
    }
    if (c->opened != c->options.wanted || !loop_timer_running(c->deadline))
        return;
    loop_timer_stop(c->deadline);
    c->options.on_ready(c->options.arg);
}

/* ---- joining ---- */

static void join(void *arg)
{
    struct node_channels *c = arg;
    if (c->accept) {
        const struct websocket_options options = {.on_message = on_message, .on_drain = on_drain, .arg = c};
        c->ws = websocket_new(c->loop, steal(&c->client), &options);
        c->options.on_ready(c->options.arg);
        return;
    }
    const struct spdy_options options = {.on_stream = on_stream, .on_closed = client_gone, .arg = c};
    c->spdy = spdy_new(c->loop, steal(&c->client), &options);
    loop_timer_start(c->deadline, OPEN_MS);
}

static void on_upgraded(void *arg, struct http_duplex *duplex, struct err *err)
{
    struct node_channels *c = arg;
    if (err)
        log_debug("node", "exec: the client went away: %s", err_message(err));
    c->client = duplex;
    loop_post(c->loop, err ? client_gone : join, c);
}

void node_channels_upgrade(struct node_channels *c, struct http_exchange *x)
{
    const struct http_pair ws[] = {{"Upgrade", "websocket"},
                                   {"Connection", "Upgrade"},
                                   {"Sec-WebSocket-Accept", c->accept},
                                   {"Sec-WebSocket-Protocol", c->protocol}};
    const struct http_pair spdy[] = {
        {"Upgrade", "SPDY/3.1"}, {"Connection", "Upgrade"}, {"X-Stream-Protocol-Version", c->protocol}};
    if (c->accept)
        http_upgrade(x, ws, COUNT_OF(ws), on_upgraded, c);
    else
        http_upgrade(x, spdy, COUNT_OF(spdy), on_upgraded, c);
}

/* ---- what the client offers ---- */

const char *node_offered(const struct http_request *request, const char *header, const char *const *known,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < request->n_headers; k++) {
            if (str_eq(request->headers[k].name, header) && strstr(request->headers[k].value, known[i]))
                return known[i];
        }
    }
    return NULL;
}

struct node_channels *node_channels_new(struct loop *loop, const struct http_request *request,
                                        const struct node_channels_options *options)
{
    static const char *const of_websocket[] = {"v5.channel.k8s.io", "v4.channel.k8s.io"};
    static const char *const of_spdy[] = {"v4.channel.k8s.io"};
    const char *key = http_request_header(request, "sec-websocket-key");
    const char *upgrade = http_request_header(request, "upgrade");
    const char *protocol =
        key ? node_offered(request, "sec-websocket-protocol", of_websocket, COUNT_OF(of_websocket))
        : upgrade && strcasecmp(upgrade, "SPDY/3.1") == 0
            ? node_offered(request, "x-stream-protocol-version", of_spdy, COUNT_OF(of_spdy))
            : NULL;
    if (!protocol)
        return NULL;
    struct node_channels *c = NEW(struct node_channels);
    c->loop = loop;
    c->options = *options;
    c->protocol = protocol;
    c->accept = key ? websocket_accept_key(key) : NULL;
    c->deadline = loop_timer_new(loop, on_deadline, c);
    return c;
}

/* ---- for the session ---- */

size_t node_channels_send(struct node_channels *c, enum node_channel channel, const char *data, size_t len)
{
    struct spdy_stream *stream = c->places[channel].stream;
    if (!(c->options.wanted & 1u << channel) || (c->spdy && !stream))
        return 0;
    if (stream)
        return spdy_send(stream, data, len);
    auto_free char *message = mem_alloc(len + 1);
    message[0] = (char)channel;
    memcpy(message + 1, data, len);
    return websocket_send(c->ws, WEBSOCKET_BINARY, message, len + 1);
}

void node_channels_pause(struct node_channels *c, bool paused)
{
    if (c->ws)
        websocket_pause(c->ws, paused);
    else if (c->places[NODE_STDIN].stream)
        spdy_pause(c->places[NODE_STDIN].stream, paused);
}

void node_channels_close(struct node_channels *c)
{
    if (c->ws)
        websocket_close(c->ws, 1000);
    else if (c->spdy) /* the client closes the connection once it has read all ends */
        spdy_finish(c->spdy);
    channels_free(c);
}
