/* SPDY/3.1: both ends of ours against each other, and one end against this test, frame by frame. */
#include "http_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "http/http_private.h"

struct end { /* one side of a session, and what its callbacks saw */
    struct spdy *spdy;
    struct str log;
    struct spdy_stream *streams[8];
    size_t n_streams, closed_streams, bytes[8];
    bool closed, accept, echo;
    size_t close_at; /* spdy_close from inside the n-th data */
    size_t datas;
};

struct seat { /* a stream's argument */
    struct end *end;
    size_t index;
};
static struct seat seats[2][8];

struct world {
    struct loop *loop;
    struct end server, client;
    int peer; /* raw tests: the other end of the server's socket */
    struct spdy_codec *codec;
};

static void on_data(void *arg, const char *data, size_t len)
{
    struct seat *seat = arg;
    struct end *end = seat->end;
    end->bytes[seat->index] += len;
    if (len <= 64)
        str_addf(&end->log, "%zu:%.*s ", seat->index, (int)len, data);
    if (++end->datas == end->close_at) {
        spdy_close(end->spdy);
        end->spdy = NULL;
        return;
    }
    if (end->echo)
        spdy_send(end->streams[seat->index], data, len);
}

static void on_end(void *arg)
{
    struct seat *seat = arg;
    str_addf(&seat->end->log, "%zu-end ", seat->index);
    if (seat->end->echo)
        spdy_end(seat->end->streams[seat->index]);
}

static void on_stream_closed(void *arg)
{
    struct seat *seat = arg;
    str_addf(&seat->end->log, "%zu-closed ", seat->index);
    seat->end->streams[seat->index] = NULL;
    seat->end->closed_streams++;
}

static const struct spdy_stream_ops ops = {on_data, on_end, NULL, on_stream_closed};

static void on_stream(void *arg, struct spdy_stream *stream, const struct http_pair *headers, size_t count)
{
    struct end *end = arg;
    str_add(&end->log, "(");
    for (size_t i = 0; i < count; i++)
        str_addf(&end->log, "%s=%s;", headers[i].name, headers[i].value);
    str_add(&end->log, ") ");
    if (!end->accept)
        return;
    size_t i = end->n_streams < 7 ? end->n_streams : 7;
    end->n_streams++;
    seats[0][i] = (struct seat){end, i};
    end->streams[i] = stream;
    spdy_accept(stream, &ops, &seats[0][i]);
}

static void on_closed(void *arg)
{
    struct end *end = arg;
    assert_false(end->closed);
    end->closed = true;
    end->spdy = NULL;
    str_add(&end->log, "gone");
}

static struct spdy *session(struct world *w, struct end *end, int fd, bool client, bool websocket)
{
    const struct spdy_options options = {client, websocket, on_stream, on_closed, end};
    end->accept = true;
    return spdy_new(w->loop, http_duplex_from_fd(fd), &options);
}

static int start(void **state, bool both, bool websocket)
{
    struct world *w = NEW(struct world);
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    w->loop = loop_new(NULL);
    w->server.spdy = session(w, &w->server, pair[0], false, websocket);
    w->peer = both ? -1 : pair[1];
    if (both)
        w->client.spdy = session(w, &w->client, pair[1], true, websocket);
    w->codec = spdy_codec_new();
    *state = w;
    return 0;
}

static int start_both(void **state)
{
    return start(state, true, false);
}

static int start_websocket(void **state)
{
    return start(state, true, true);
}

static int start_raw(void **state)
{
    return start(state, false, false);
}

static void wait_ms(struct world *w, int64_t ms)
{
    struct loop_timer *timer = loop_timer_new(w->loop, test_loop_late, w->loop);
    loop_timer_start(timer, ms);
    loop_run(w->loop);
    loop_timer_free(timer);
}

/* In turns: one in which this process is held up looks at no socket before its time is over. */
static void settle(struct world *w)
{
    for (int i = 0; i < 5; i++)
        wait_ms(w, 4);
}

static int finish(void **state)
{
    struct world *w = *state;
    spdy_close(w->server.spdy);
    spdy_close(w->client.spdy);
    if (w->peer >= 0)
        close(w->peer);
    for (int i = 0; i < 5; i++)
        settle(w);
    loop_free(w->loop);
    spdy_codec_free(w->codec);
    str_free(&w->server.log);
    str_free(&w->client.log);
    free(w);
    return 0;
}

static struct spdy_stream *open_stream(struct world *w, const char *type)
{
    const struct http_pair headers[] = {{"StreamType", type}, {"port", "80"}};
    size_t i = w->client.n_streams++;
    seats[1][i] = (struct seat){&w->client, i};
    return w->client.streams[i] = spdy_open(w->client.spdy, headers, 2, &ops, &seats[1][i]);
}

static void streams_there_and_back(void **state)
{
    struct world *w = *state;
    w->server.echo = true;
    struct spdy_stream *a = open_stream(w, "data"), *b = open_stream(w, "error");
    spdy_send(a, "hello", 5);
    spdy_end(b);
    settle(w);
    assert_string_equal(str_c(&w->server.log),
                        "(streamtype=data;port=80;) (streamtype=error;port=80;) 0:hello 1-end 1-closed ");
    assert_string_equal(str_c(&w->client.log), "0:hello 1-end 1-closed ");
    spdy_send(a, "again", 5); /* half-closed on one stream does not touch the other */
    spdy_end(a);
    spdy_send(a, "not any more", 12);
    settle(w);
    assert_string_equal(str_c(&w->client.log), "0:hello 1-end 1-closed 0:again 0-end 0-closed ");
    assert_int_equal(w->server.closed_streams, 2);
    struct spdy_stream *c = open_stream(w, "third");
    settle(w);
    spdy_reset(c);
    settle(w);
    assert_int_equal(w->server.closed_streams, 3);
    spdy_close(w->client.spdy);
    w->client.spdy = NULL;
    settle(w);
    assert_true(w->server.closed);
}

/* A stream that nobody reads stops at its window; the other one goes on. */
static void a_paused_stream_stops_alone(void **state)
{
    struct world *w = *state;
    auto_free char *chunk = mem_alloc(65536);
    struct spdy_stream *a = open_stream(w, "slow"), *b = open_stream(w, "fast");
    settle(w);
    spdy_pause(w->server.streams[0], true);
    size_t waiting = 0;
    for (int i = 0; i < 128; i++) {
        waiting = spdy_send(a, chunk, 65536);
        spdy_send(b, chunk, 65536);
        if (i % 8 == 7)
            settle(w);
    }
    for (int i = 0; i < 20 && w->server.bytes[1] < 128 * 65536; i++)
        settle(w);
    assert_int_equal(w->server.bytes[0], 0);
    assert_int_equal(w->server.bytes[1], 128 * 65536);
    assert_true(waiting > 7u << 20);
    spdy_pause(w->server.streams[0], false);
    for (int i = 0; i < 50 && w->server.bytes[0] < 128 * 65536; i++)
        settle(w);
    assert_int_equal(w->server.bytes[0], 128 * 65536);
}

static void closing_inside_a_callback(void **state)
{
    struct world *w = *state;
    w->server.close_at = 1;
    struct spdy_stream *a = open_stream(w, "a");
    open_stream(w, "b");
    spdy_send(a, "x", 1);
    spdy_send(a, "y", 1);
    settle(w);
    assert_null(w->server.spdy);
    assert_int_equal(w->server.datas, 1);
    assert_int_equal(w->server.closed_streams, 0); /* by spdy_close: nobody hears of it */
    assert_true(w->client.closed);
    assert_int_equal(w->client.closed_streams, 2);
}

/* ---- raw frames ---- */

static void put(struct world *w, const void *data, size_t len)
{
    const char *at = data;
    while (len) {
        ssize_t n = write(w->peer, at, len);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else if (n < 0 && errno != EAGAIN) {
            return; /* the session has ended */
        } else {
            settle(w);
        }
    }
}

static void put_control(struct world *w, unsigned type, unsigned flags, const void *body, size_t len)
{
    const unsigned char head[8] = {0x80,
                                   3,
                                   0,
                                   (unsigned char)type,
                                   (unsigned char)flags,
                                   (unsigned char)(len >> 16),
                                   (unsigned char)(len >> 8),
                                   (unsigned char)len};
    put(w, head, 8);
    put(w, body, len);
}

static void put_data(struct world *w, unsigned id, unsigned flags, const char *data, size_t len)
{
    const unsigned char head[8] = {0,
                                   0,
                                   0,
                                   (unsigned char)id,
                                   (unsigned char)flags,
                                   (unsigned char)(len >> 16),
                                   (unsigned char)(len >> 8),
                                   (unsigned char)len};
    put(w, head, 8);
    put(w, data, len);
}

static void put_syn(struct world *w, unsigned id, unsigned flags)
{
    auto_str body = {0};
    const unsigned char head[10] = {0, 0, (unsigned char)(id >> 8), (unsigned char)id};
    const struct http_pair headers[] = {{"streamtype", "data"}};
    str_add_n(&body, head, 10);
    spdy_headers_encode(w->codec, headers, 1, &body);
    put_control(w, 1, flags, body.data, body.len);
}

/* The next frame that the server sent; its type, or 0 for data. */
static int next_frame(struct world *w, struct str *body)
{
    unsigned char head[8];
    str_clear(body);
    for (int i = 0; i < 10 && recv(w->peer, head, 8, MSG_PEEK) < 8; i++)
        settle(w);
    if (read(w->peer, head, 8) != 8)
        return -1;
    size_t len = (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
    str_reserve(body, len + 1);
    assert_int_equal(read(w->peer, body->data, len), len);
    body->len = len;
    return head[0] & 0x80 ? head[3] : 0;
}

static void what_kubectl_sends(void **state)
{
    struct world *w = *state;
    auto_str body = {0};
    w->server.echo = true;
    put_syn(w, 1, 1); /* an error stream, ended at once */
    put_syn(w, 3, 0);
    put_data(w, 3, 0, "abc", 3);
    put_control(w, 6, 0, "\0\0\0\x01", 4);
    put_data(w, 3, 1, "def", 3);
    settle(w);
    assert_string_equal(str_c(&w->server.log), "(streamtype=data;) 0-end (streamtype=data;) 1:abc 1:def "
                                               "1-end 1-closed 0-closed ");
    assert_int_equal(next_frame(w, &body), 2);
    struct http_pair pairs[SPDY_MAX_HEADERS];
    auto_str text = {0};
    assert_int_equal(spdy_headers_decode(w->codec, body.data + 4, body.len - 4, &text, pairs), 0);
    assert_int_equal(next_frame(w, &body), 0); /* FIN of stream 1 */
    assert_int_equal(next_frame(w, &body), 2);
    assert_int_equal(next_frame(w, &body), 0);
    assert_memory_equal(body.data, "abc", 3);
    assert_int_equal(next_frame(w, &body), 6);
    assert_memory_equal(body.data, "\0\0\0\x01", 4);
    assert_int_equal(next_frame(w, &body), 0);
    assert_memory_equal(body.data, "def", 3);
    put_control(w, 7, 0, "\0\0\0\0\0\0\0\0", 8);
    close(w->peer);
    w->peer = -1;
    settle(w);
    assert_true(w->server.closed);
}

/* A client without windows gets everything, and is held back by not being read. */
static void without_settings_no_windows(void **state)
{
    struct world *w = *state;
    auto_free char *chunk = mem_alloc(1 << 20);
    auto_str body = {0};
    put_syn(w, 1, 0);
    settle(w);
    assert_int_equal(next_frame(w, &body), 2);
    spdy_send(w->server.streams[0], chunk, 200000); /* far beyond the first window of 64 KiB */
    size_t got = 0;
    while (got < 200000) {
        assert_int_equal(next_frame(w, &body), 0);
        got += body.len;
    }
    spdy_pause(w->server.streams[0], true);
    put_data(w, 1, 0, chunk, 1 << 20);
    settle(w);
    const unsigned char head[8] = {0, 0, 0, 1, 0, 0x10, 0, 0};
    put(w, head, 8);
    size_t stuffed = 0;
    for (ssize_t n; stuffed < 1 << 20 && (n = write(w->peer, chunk, (1 << 20) - stuffed)) > 0; settle(w))
        stuffed += (size_t)n;
    assert_true(stuffed < 1 << 20); /* it stopped reading */
    spdy_pause(w->server.streams[0], false);
    while (stuffed < 1 << 20) {
        ssize_t n = write(w->peer, chunk, (1 << 20) - stuffed);
        stuffed += n > 0 ? (size_t)n : 0;
        settle(w);
    }
    settle(w);
    assert_int_equal(w->server.bytes[0], 2 << 20);
}

/* Reads frames until none comes; the bytes of data, and how many streams ended. */
static size_t read_frames(struct world *w, unsigned *ends)
{
    size_t got = 0;
    auto_str body = {0};
    *ends = 0;
    for (;;) {
        unsigned char head[8];
        for (int i = 0; i < 10 && recv(w->peer, head, 8, MSG_PEEK) < 8; i++)
            settle(w);
        if (recv(w->peer, head, 8, MSG_PEEK) < 8)
            return got;
        assert_int_equal(read(w->peer, head, 8), 8);
        size_t len = (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
        str_reserve(&body, len + 1);
        for (size_t at = 0; at < len;) {
            ssize_t n = read(w->peer, body.data + at, len - at);
            if (n == 0)
                return got;
            at += n > 0 ? (size_t)n : 0;
            if (n < 0)
                settle(w);
        }
        if (head[0] & 0x80)
            continue;
        got += len;
        *ends += head[4] & 1;
    }
}

static void send_much(struct world *w)
{
    auto_free char *chunk = mem_alloc(1 << 20);
    put_syn(w, 1, 0);
    put_syn(w, 3, 0);
    settle(w);
    spdy_send(w->server.streams[0], chunk, 1 << 20);
    spdy_send(w->server.streams[1], "status", 6);
    spdy_finish(w->server.spdy);
    w->server.spdy = NULL;
}

static void who_reads_late_gets_the_rest(void **state)
{
    struct world *w = *state;
    unsigned ends;
    send_much(w);
    wait_ms(w, 5000);
    assert_int_equal(read_frames(w, &ends), (1 << 20) + 6);
    assert_int_equal(ends, 2);
    put_data(w, 1, 1, "for nobody", 10);
    put_syn(w, 5, 0);
    settle(w);
    assert_true(recv(w->peer, &ends, 1, MSG_PEEK) > 0); /* refused; it is for the peer to close */
    assert_string_equal(str_c(&w->server.log), "(streamtype=data;) (streamtype=data;) ");
}

/* A stream's window is shut, or nobody reads: it is given up after a while. */
static void who_never_reads_is_dropped(void **state)
{
    struct world *w = *state;
    unsigned ends;
    send_much(w);
    wait_ms(w, 12500); /* looked at every 2 s */
    assert_true(read_frames(w, &ends) < 1 << 20);
    assert_int_equal(recv(w->peer, &ends, 1, MSG_PEEK), 0);
}

static void bytes_may_come_one_by_one(void **state)
{
    struct world *w = *state;
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    int peer = w->peer;
    w->peer = pair[0];
    put_syn(w, 1, 0);
    put_data(w, 1, 1, "end", 3);
    w->peer = peer;
    char bytes[4096];
    ssize_t n = read(pair[1], bytes, sizeof(bytes));
    for (ssize_t i = 0; i < n; i++) {
        assert_int_equal(write(peer, bytes + i, 1), 1);
        settle(w);
    }
    close(pair[0]);
    close(pair[1]);
    assert_string_equal(str_c(&w->server.log), "(streamtype=data;) 0:e 0:n 0:d 0-end ");
}

static void streams_have_limits(void **state)
{
    struct world *w = *state;
    auto_str body = {0};
    put_data(w, 5, 0, "x", 1); /* of a stream that never was */
    assert_int_equal(next_frame(w, &body), 3);
    assert_int_equal(body.data[7], 2);
    w->server.accept = false;
    put_syn(w, 1, 0);
    assert_int_equal(next_frame(w, &body), 3);
    assert_int_equal(body.data[7], 3);
    w->server.accept = true;
    for (unsigned i = 0; i < 2048; i++)
        put_syn(w, 3 + 2 * i, 0);
    put_syn(w, 3 + 2 * 2048, 0);
    int type = 2;
    for (int i = 0; i < 2048 && type == 2; i++)
        type = next_frame(w, &body);
    assert_int_equal(type, 2);
    assert_int_equal(next_frame(w, &body), 3);
    assert_int_equal(body.data[7], 3);
    put_data(w, 3, 1, "", 0);
    put_data(w, 3, 0, "after the end", 13);
    assert_int_equal(next_frame(w, &body), 3);
    assert_int_equal(body.data[7], 1);
    assert_false(w->server.closed);
}

static void breaking_the_protocol_ends_it(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"\x80\x02\0\x01\0\0\0\x0a", 8},                            /* version 2 */
        {"\x80\x03\0\x01\0\x01\0\x01", 8},                          /* 65,537 bytes of control */
        {"\x80\x03\0\x01\0\0\0\x04\0\0\0\x01", 12},                 /* SYN_STREAM too short */
        {"\x80\x03\0\x01\0\0\0\x0e\0\0\0\x01\0\0\0\0\0\0zlib", 22}, /* no zlib */
        {"\x80\x03\0\x02\0\0\0\x02\0\0", 10},                       /* SYN_REPLY too short */
        {"\x80\x03\0\x03\0\0\0\x07\0\0\0\x01\0\0\0", 15},           /* RST_STREAM of 7 */
        {"\x80\x03\0\x04\0\0\0\x04\0\0\0\x09", 12},                 /* SETTINGS that promise 9 */
        {"\x80\x03\0\x04\0\0\0\x04\x20\0\0\x01", 12},               /* a count that overflows */
        {"\x80\x03\0\x06\0\0\0\x05\0\0\0\x01\0", 13},               /* PING of 5 */
        {"\x80\x03\0\x08\0\0\0\x04\0\0\0\x01", 12},                 /* HEADERS without a block */
        {"\x80\x03\0\x09\0\0\0\x08\0\0\0\0\x7f\xff\xff\xff", 16},   /* the session's window overflows */
        {"\0\0\0\0\0\0\0\x01x", 9},                                 /* data of stream 0 */
    };
    finish(state);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        start_raw(state);
        struct world *w = *state;
        put(w, bad[i].bytes, bad[i].len);
        settle(w);
        if (!w->server.closed)
            fail_msg("input %zu did not end the session", i);
        auto_str body = {0};
        int type = next_frame(w, &body);
        if (type == 3) /* of the stream first */
            type = next_frame(w, &body);
        assert_int_equal(type, 7);
        finish(state);
    }
    static const unsigned ids[][2] = {
        {2, 0}, {3, 1}, {3, 3}, {0, 0}}; /* not the client's; not rising; none */
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        start_raw(state);
        struct world *w = *state;
        put_syn(w, ids[i][0], 0);
        put_syn(w, ids[i][1], 0);
        settle(w);
        assert_true(w->server.closed);
        finish(state);
    }
    start_raw(state);
}

/* Ten megabytes of zeros in ten kilobytes; more headers than we take; lengths that lie. */
static void header_blocks_are_bounded(void **state)
{
    finish(state);
    static const struct {
        unsigned char head[12];
        size_t head_len, zeros;
    } blocks[] = {
        {{0, 0, 0, 1, 0, 0, 0, 1, 'a', 0, 0x98, 0x96}, 12, 10000000},
        {{0, 0, 0, 0xff}, 4, 4 * 510},
        {{0xff, 0xff, 0xff, 0xff}, 4, 100},
        {{0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}, 8, 10},
        {{0, 0, 0, 0}, 4, 1}, /* something behind the last pair */
        {{0, 0}, 2, 0},
    };
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        start_raw(state);
        struct world *w = *state;
        auto_str plain = {0};
        auto_free char *zeros = mem_alloc(blocks[i].zeros + 1);
        str_add_n(&plain, blocks[i].head, blocks[i].head_len);
        str_add_n(&plain, zeros, blocks[i].zeros);
        uLongf len = compressBound(plain.len);
        auto_free unsigned char *packed = mem_alloc(10 + len);
        packed[3] = 1;
        assert_int_equal(compress2(packed + 10, &len, (const Bytef *)plain.data, plain.len, 9), Z_OK);
        put_control(w, 1, 0, packed, 10 + len - 4); /* without the checksum: a block is not the end */
        settle(w);
        assert_true(w->server.closed);
        assert_string_equal(str_c(&w->server.log), "gone");
        finish(state);
    }
    start_raw(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(streams_there_and_back, start_both, finish),
        cmocka_unit_test_setup_teardown(streams_there_and_back, start_websocket, finish),
        cmocka_unit_test_setup_teardown(a_paused_stream_stops_alone, start_both, finish),
        cmocka_unit_test_setup_teardown(a_paused_stream_stops_alone, start_websocket, finish),
        cmocka_unit_test_setup_teardown(closing_inside_a_callback, start_both, finish),
        cmocka_unit_test_setup_teardown(what_kubectl_sends, start_raw, finish),
        cmocka_unit_test_setup_teardown(without_settings_no_windows, start_raw, finish),
        cmocka_unit_test_setup_teardown(who_reads_late_gets_the_rest, start_raw, finish),
        cmocka_unit_test_setup_teardown(who_never_reads_is_dropped, start_raw, finish),
        cmocka_unit_test_setup_teardown(bytes_may_come_one_by_one, start_raw, finish),
        cmocka_unit_test_setup_teardown(streams_have_limits, start_raw, finish),
        cmocka_unit_test_setup_teardown(breaking_the_protocol_ends_it, start_raw, finish),
        cmocka_unit_test_setup_teardown(header_blocks_are_bounded, start_raw, finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
