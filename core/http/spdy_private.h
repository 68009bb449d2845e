/*
 * spdy_private: what the files of SPDY share: spdy_frames.c takes the connection's bytes apart, spdy.c holds
 * the streams, their windows and the session's life. All on the session's loop.
 */
#ifndef M8_HTTP_SPDY_PRIVATE_H
#define M8_HTTP_SPDY_PRIVATE_H

#include <string.h>

#include "http/http_private.h"

#define SPDY_STREAM_WINDOW (256u << 10) /* that we offer */
#define SPDY_SESSION_WINDOW (16u << 20)
#define SPDY_ID_MASK 0x7fffffffu

enum spdy_frame {
    SPDY_SYN_STREAM = 1,
    SPDY_SYN_REPLY = 2,
    SPDY_RST_STREAM = 3,
    SPDY_SETTINGS = 4,
    SPDY_PING = 6,
    SPDY_GOAWAY = 7,
    SPDY_HEADERS = 8,
    SPDY_WINDOW_UPDATE = 9
};
enum { SPDY_FLAG_FIN = 1 };
enum {
    SPDY_RST_PROTOCOL_ERROR = 1,
    SPDY_RST_INVALID_STREAM = 2,
    SPDY_RST_REFUSED = 3,
    SPDY_RST_CANCEL = 5,
    SPDY_RST_FLOW = 7
};
enum { SPDY_SETTINGS_INITIAL_WINDOW = 7 };

struct spdy_stream {
    struct spdy *spdy;
    struct list node;
    uint32_t id;
    const struct spdy_stream_ops *ops; /* NULL: nobody hears of it any more */
    void *arg;
    struct str held; /* arrived while paused */
    struct str out;  /* waits for the peer's window */
    int64_t window;  /* what we may still send */
    size_t taken;    /* handed on since our last SPDY_WINDOW_UPDATE */
    bool paused, got_end, told_end, end_wanted, sent_end, closed, full;
};

struct spdy {
    struct loop *loop;
    struct spdy_options options;
    struct websocket *ws;               /* what carries the bytes: one of the two */
    struct byte_link *link;             /* NULL, both: gone */
    struct loop_timer *soon, *deadline; /* deadline: NULL before spdy_finish */
    size_t left, idle_ms; /* bytes that waited when it was looked at, and for how long as many */
    struct spdy_codec *codec;
    struct list streams;
    size_t n_streams, held;
    uint32_t next_id, last_peer_id;
    struct str in; /* of a frame that is not complete: its head, and a control frame's body */
    uint32_t data_id;
    size_t data_left; /* of a data frame */
    bool data_end;
    bool flow, settings_sent, paused, over, detached, given_up;
    int64_t window, initial_window;
    size_t taken, waiting; /* waiting: in the connection's queue, as of the last write or drain */
};

static inline uint32_t spdy_number_at(const void *data)
{
    const unsigned char *b = data;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline void spdy_put_number(unsigned char *b, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        b[i] = (unsigned char)(number >> (24 - 8 * i));
}

/* ---- spdy_frames.c ---- */

/* Bytes of the connection, in any pieces. */
void spdy_receive(struct spdy *s, const char *data, size_t len);

/* ---- spdy.c ---- */

void spdy_send_control(struct spdy *s, enum spdy_frame type, unsigned flags, const void *body, size_t len);
void spdy_send_pair(struct spdy *s, enum spdy_frame type, uint32_t first, uint32_t second);
void spdy_send_settings(struct spdy *s); /* once: the windows that we offer */
void spdy_send_reset(struct spdy *s, uint32_t id, uint32_t status);
/* The peer does not keep to the protocol: the session is over. */
void spdy_fail(struct spdy *s);
struct spdy_stream *spdy_find(struct spdy *s, uint32_t id); /* NULL: none that lives */
struct spdy_stream *spdy_stream_new(struct spdy *s, uint32_t id);
void spdy_take_data(struct spdy_stream *stream, const char *data, size_t len);
void spdy_take_end(struct spdy_stream *stream);

#endif
