/* WebSocket framing on a socketpair: the other end is this test, byte by byte. */
#include "http_test.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

struct world {
    struct loop *loop;
    struct websocket *ws;
    int peer;
    struct str log; /* what the callbacks saw */
    bool closed, drained;
    size_t close_at; /* close from inside the n-th message */
    size_t count;
};

static void on_message(void *arg, enum websocket_type type, const char *data, size_t len)
{
    struct world *w = arg;
    if (type == WEBSOCKET_CLOSED) {
        assert_false(w->closed);
        w->closed = true;
        websocket_close(w->ws, 1000); /* tolerated */
        w->ws = NULL;
        loop_stop(w->loop);
        return;
    }
    w->count++;
    if (len > 64)
        str_addf(&w->log, "%c:%zu ", type == WEBSOCKET_TEXT ? 'T' : 'B', len);
    else
        str_addf(&w->log, "%c:%.*s ", type == WEBSOCKET_TEXT ? 'T' : 'B', (int)len, data);
    if (w->count == w->close_at) {
        websocket_close(w->ws, 1000);
        w->ws = NULL;
    }
}

static void on_drain(void *arg)
{
    ((struct world *)arg)->drained = true;
}

static int start(void **state, bool client)
{
    struct world *w = NEW(struct world);
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    w->loop = loop_new(NULL);
    w->peer = pair[1];
    const struct websocket_options options = {
        .client = client, .max_message = 100000, .on_message = on_message, .on_drain = on_drain, .arg = w};
    w->ws = websocket_new(w->loop, http_duplex_from_fd(pair[0]), &options);
    *state = w;
    return 0;
}

static int start_server(void **state)
{
    return start(state, false);
}

static int start_client(void **state)
{
    return start(state, true);
}

/* Runs what is due now and within the next milliseconds. */
static void wait_ms(struct world *w, int64_t ms)
{
    struct loop_timer *timer = loop_timer_new(w->loop, test_loop_late, w->loop);
    loop_timer_start(timer, ms);
    loop_run(w->loop);
    loop_timer_free(timer);
}

static void settle(struct world *w)
{
    wait_ms(w, 20);
}

static int finish(void **state)
{
    struct world *w = *state;
    if (w->ws)
        websocket_close(w->ws, 1001);
    if (w->peer >= 0)
        close(w->peer);
    settle(w);
    loop_free(w->loop);
    str_free(&w->log);
    free(w);
    return 0;
}

/* A client's frame with mask 0 (so that the data stays readable). */
static void send_frame(struct world *w, int first, const char *data, size_t len)
{
    unsigned char head[14] = {(unsigned char)first, 0x80};
    size_t n = 2;
    if (len < 126) {
        head[1] |= (unsigned char)len;
    } else if (len < 65536) {
        head[1] |= 126;
        head[n++] = (unsigned char)(len >> 8);
        head[n++] = (unsigned char)len;
    } else {
        head[1] |= 127;
        for (int i = 7; i >= 0; i--)
            head[n++] = (unsigned char)((uint64_t)len >> (8 * i));
    }
    n += 4;
    assert_int_equal(write(w->peer, head, n), n);
    for (size_t sent = 0; sent < len;) {
        ssize_t wrote = write(w->peer, data + sent, len - sent);
        if (wrote > 0)
            sent += (size_t)wrote;
        else
            settle(w);
    }
}

static void messages_are_put_together(void **state)
{
    struct world *w = *state;
    auto_free char *big = mem_alloc(100001);
    memset(big, 'x', 100000);
    send_frame(w, 0x82, "one", 3);
    send_frame(w, 0x01, "tw", 2);
    send_frame(w, 0x89, "ping in between", 15);
    send_frame(w, 0x00, "", 0);
    send_frame(w, 0x80, "o", 1);
    send_frame(w, 0x82, "", 0);
    send_frame(w, 0x82, big, 126);
    send_frame(w, 0x82, big, 65536);
    send_frame(w, 0x82, big, 100000);
    settle(w);
    assert_string_equal(str_c(&w->log), "B:one T:two B: B:126 B:65536 B:100000 ");
    char reply[64];
    assert_int_equal(read(w->peer, reply, sizeof reply), 17); /* unmasked PONG */
    assert_memory_equal(reply, "\x8a\x0fping in between", 17);
    assert_non_null(w->ws);
}

static void bytes_may_come_one_by_one(void **state)
{
    struct world *w = *state;
    static const char bytes[] = "\x82\x83\x01\x02\x03\x04"
                                "bmf"; /* masked "col": b^1 m^2 f^3 */
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        assert_int_equal(write(w->peer, bytes + i, 1), 1);
        settle(w);
    }
    assert_string_equal(str_c(&w->log), "B:coe ");
}

static void breaking_the_protocol_ends_it(void **state)
{
    finish(state);
    static const struct {
        const char *bytes;
        size_t len;
        unsigned code;
    } bad[] = {
        {"\x82\x03"
         "abc",
         5, 1002},                                            /* not masked */
        {"\xc2\x80\0\0\0\0", 6, 1002},                        /* reserved bit */
        {"\x83\x80\0\0\0\0", 6, 1002},                        /* reserved opcode */
        {"\x09\x80\0\0\0\0", 6, 1002},                        /* fragmented PING */
        {"\x89\xfe\x00\x7e\0\0\0\0", 8, 1002},                /* long PING */
        {"\x80\x80\0\0\0\0", 6, 1002},                        /* continues nothing */
        {"\x02\x80\0\0\0\0\x82\x80\0\0\0\0", 12, 1002},       /* begins within a message */
        {"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", 14, 1009},     /* 2^63 bytes */
        {"\x82\xff\0\0\0\0\0\x01\x86\xa1\0\0\0\0", 14, 1009}, /* one byte too many */
        {"\x81\x82\0\0\0\0\xc0\x80", 8, 1007},                /* not UTF-8 */
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        start_server(state);
        struct world *w = *state;
        assert_int_equal(write(w->peer, bad[i].bytes, bad[i].len), bad[i].len);
        settle(w);
        assert_true(w->closed);
        assert_string_equal(str_c(&w->log), "");
        unsigned char reply[4];
        assert_int_equal(read(w->peer, reply, 4), 4);
        assert_int_equal(reply[0], 0x88);
        assert_int_equal(reply[2] << 8 | reply[3], bad[i].code);
        settle(w);
        assert_int_equal(read(w->peer, reply, 4), 0); /* and the connection is closed */
        finish(state);
    }
    start_server(state);
}

static void pings_are_answered_while_paused(void **state)
{
    struct world *w = *state;
    websocket_pause(w->ws, true);
    send_frame(w, 0x82, "held", 4);
    send_frame(w, 0x89, "p", 1);
    send_frame(w, 0x82, "too", 3);
    settle(w);
    assert_string_equal(str_c(&w->log), "");
    char reply[8];
    assert_int_equal(read(w->peer, reply, sizeof reply), 3);
    websocket_pause(w->ws, false);
    settle(w);
    assert_string_equal(str_c(&w->log), "B:held B:too ");
    w->close_at = 3; /* closing inside a callback */
    send_frame(w, 0x82, "end", 3);
    send_frame(w, 0x82, "never", 5);
    settle(w);
    assert_string_equal(str_c(&w->log), "B:held B:too B:end ");
    assert_false(w->closed);
}

static void a_slow_reader_fills_and_drains_the_queue(void **state)
{
    struct world *w = *state;
    auto_free char *block = mem_alloc(60000);
    size_t waiting = 0, sent = 0, got = 0;
    while (waiting <= 256 << 10) {
        waiting = websocket_send(w->ws, WEBSOCKET_BINARY, block, 60000);
        sent += 60000 + 4 + 4; /* a client masks */
    }
    assert_false(w->drained);
    for (int i = 0; i < 1000 && got < sent; i++) {
        char sink[65536];
        ssize_t n = read(w->peer, sink, sizeof sink);
        if (n > 0)
            got += (size_t)n;
        else
            settle(w);
    }
    assert_int_equal(got, sent);
    assert_true(w->drained);
}

/* Reads until the end of the stream, or until nothing comes; `last`: the bytes before. */
static size_t read_all(struct world *w, int peer, char last[4])
{
    auto_free char *sink = mem_alloc(1 << 20);
    size_t got = 0;
    for (int empty = 0; empty < 200;) {
        ssize_t n = read(peer, sink, 1 << 20);
        if (n == 0)
            return got;
        if (n >= 4)
            memcpy(last, sink + n - 4, 4);
        got += n > 0 ? (size_t)n : 0;
        empty = n > 0 ? 0 : empty + 1;
        settle(w);
    }
    fail_msg("the connection stays open after %zu bytes", got);
    return 0;
}

/* What is queued when it is closed is for those who read late, too, but not for those who never read. */
static void who_reads_late_gets_the_rest(void **state)
{
    struct world *w = *state;
    auto_free char *block = mem_alloc(60000);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    const struct websocket_options options = {.on_message = on_message, .on_drain = on_drain, .arg = w};
    struct websocket *other = websocket_new(w->loop, http_duplex_from_fd(pair[0]), &options);
    size_t sent = 4; /* CLOSE */
    for (int i = 0; i < 20; i++, sent += 60004) {
        websocket_send(w->ws, WEBSOCKET_BINARY, block, 60000);
        websocket_send(other, WEBSOCKET_BINARY, block, 60000);
    }
    websocket_close(w->ws, 1000);
    websocket_close(other, 1000);
    w->ws = NULL;
    wait_ms(w, 5000);
    char last[4] = "";
    assert_int_equal(read_all(w, w->peer, last), sent);
    assert_memory_equal(last, "\x88\x02\x03\xe8", 4);
    wait_ms(w, 5500);
    assert_true(read_all(w, pair[1], last) < sent);
    close(pair[1]);
}

static void the_end_of_the_stream_is_told_once(void **state)
{
    struct world *w = *state;
    close(w->peer);
    w->peer = -1;
    test_run_until(w->loop, &w->closed);
    assert_string_equal(str_c(&w->log), "");
}

static void the_key_is_the_rfcs(void **state UNUSED)
{
    auto_free char *key = websocket_accept_key("dGhlIHNhbXBsZSBub25jZQ==");
    assert_string_equal(key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

int main(void)
{
    log_set_silent(1);
#define SERVER(test) cmocka_unit_test_setup_teardown(test, start_server, finish)
#define CLIENT(test) cmocka_unit_test_setup_teardown(test, start_client, finish)
    const struct CMUnitTest tests[] = {
        SERVER(messages_are_put_together),
        SERVER(bytes_may_come_one_by_one),
        SERVER(breaking_the_protocol_ends_it),
        SERVER(pings_are_answered_while_paused),
        CLIENT(a_slow_reader_fills_and_drains_the_queue),
        SERVER(who_reads_late_gets_the_rest),
        SERVER(the_end_of_the_stream_is_told_once),
        cmocka_unit_test(the_key_is_the_rfcs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
