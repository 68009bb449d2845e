/*
 * byte_link: a plain duplex on the loop with a queue towards it and back-pressure both ways.
 *
 * Invariants: callbacks are made from the loop, never from inside byte_link_send. While paused nothing is
 * read, so that the peer is held back by its own socket. After byte_link_close no callback is made: what is
 * queued goes out as long as the peer takes some of it within PATIENCE_MS; our direction ends, and the peer's
 * rest is read away for CLOSE_MS, so that no reset overtakes the last bytes.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "http/http_private.h"

#define CHUNK 32768
#define HIGH_MARK (256u << 10)
#define LOW_MARK (64u << 10)
#define READS_A_TURN 16
#define CLOSE_MS 2000
#define PATIENCE_MS 10000

struct byte_link {
    struct loop *loop;
    struct http_duplex *duplex;
    struct loop_fd *watch; /* NULL once the peer has hung up: nothing blocks any more */
    struct loop_timer *soon, *deadline;
    struct byte_link_options options;
    struct str out;
    size_t out_at;
    bool paused, high, ended, failed, end_wanted, end_sent, detached;
};

static void destroy(void *arg)
{
    struct byte_link *l = arg;
    loop_fd_remove(l->watch);
    loop_timer_free(l->soon);
    loop_timer_free(l->deadline);
    l->duplex->ops->close(l->duplex);
    str_free(&l->out);
    free(l);
}

static void finish(struct byte_link *l, int error)
{
    bool told = l->ended && (!error || l->failed);
    l->ended = true;
    l->failed |= error != 0;
    if (!told && !l->detached)
        l->options.on_end(l->options.arg, error);
}

static void read_some(struct byte_link *l)
{
    char data[CHUNK];
    for (int turn = 0; !l->ended && (!l->paused || l->detached); turn++) {
        if (turn == READS_A_TURN) {
            loop_timer_start(l->soon, 0);
            return;
        }
        ssize_t n = l->duplex->ops->read(l->duplex, data, sizeof(data));
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            finish(l, n < 0 ? errno : 0);
        else if (!l->detached)
            l->options.on_data(l->options.arg, data, (size_t)n);
    }
}

static void give_time(struct byte_link *l)
{
    loop_timer_start(l->deadline, byte_link_waiting(l) ? PATIENCE_MS : CLOSE_MS);
}

static void flush(struct byte_link *l)
{
    size_t before = l->out_at;
    while (!l->failed && l->out_at < l->out.len) {
        ssize_t n = l->duplex->ops->write(l->duplex, l->out.data + l->out_at, l->out.len - l->out_at);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            finish(l, errno);
        else
            l->out_at += (size_t)n;
    }
    if (l->detached && l->out_at != before)
        give_time(l);
    if (l->failed || l->out_at == l->out.len) {
        str_clear(&l->out);
        l->out_at = 0;
        if (l->out.capacity > LOW_MARK)
            str_free(&l->out);
    } else if (l->out_at > l->out.len / 2 && l->out_at > LOW_MARK) {
        memmove(l->out.data, l->out.data + l->out_at, l->out.len - l->out_at + 1);
        l->out.len -= l->out_at;
        l->out_at = 0;
    }
    if (l->end_wanted && !l->end_sent && !l->out.len && !l->failed) {
        l->end_sent = true;
        l->duplex->ops->shutdown_write(l->duplex);
    }
}

static void run(void *arg)
{
    struct byte_link *l = arg;
    read_some(l);
    flush(l);
    if (l->high && l->out.len - l->out_at < LOW_MARK) {
        l->high = false;
        if (!l->detached && !l->failed && l->options.on_drain)
            l->options.on_drain(l->options.arg);
    }
    if (l->detached && (l->failed || (l->ended && !l->out.len))) {
        destroy(l);
        return;
    }
    if (l->watch)
        loop_fd_events(l->watch,
                       (l->ended || (l->paused && !l->detached) ? 0 : EPOLLIN) | (l->out.len ? EPOLLOUT : 0));
}

static void on_ready(void *arg, unsigned events)
{
    struct byte_link *l = arg;
    if (events & (EPOLLHUP | EPOLLERR)) { /* epoll would go on reporting while we are paused */
        loop_fd_remove(l->watch);
        l->watch = NULL;
    }
    run(l);
}

struct byte_link *byte_link_new(struct loop *loop, struct http_duplex *duplex,
                                const struct byte_link_options *options)
{
    struct byte_link *l = NEW(struct byte_link);
    l->loop = loop;
    l->duplex = duplex;
    l->options = *options;
    l->soon = loop_timer_new(loop, run, l);
    l->deadline = loop_timer_new(loop, destroy, l);
    l->watch = loop_fd_add(loop, duplex->ops->fd(duplex), EPOLLIN, on_ready, l, NULL);
    must(l->watch);
    loop_timer_start(l->soon, 0); /* the duplex may hold bytes already */
    return l;
}

size_t byte_link_send(struct byte_link *l, const void *data, size_t len)
{
    if (l->detached || l->failed || l->end_wanted)
        return 0;
    bool first = l->out.len == 0;
    str_add_n(&l->out, data, len);
    if (first)
        loop_timer_start(l->soon, 0);
    l->high |= l->out.len - l->out_at > HIGH_MARK;
    return l->out.len - l->out_at;
}

size_t byte_link_waiting(const struct byte_link *l)
{
    return l->out.len - l->out_at;
}

void byte_link_end(struct byte_link *l)
{
    l->end_wanted = true;
    loop_timer_start(l->soon, 0);
}

void byte_link_pause(struct byte_link *l, bool paused)
{
    if (l->paused && !paused)
        loop_timer_start(l->soon, 0);
    l->paused = paused;
}

void byte_link_close(struct byte_link *l)
{
    if (!l || l->detached)
        return;
    l->detached = true;
    l->end_wanted = true;
    give_time(l);
    loop_timer_start(l->soon, 0);
}

void byte_link_drop(struct byte_link *l)
{
    l->failed = true;
    byte_link_close(l);
}
