/*
 * Duplexes: a socket as one, and the splice that joins two on a loop.
 *
 * Rule for every user (http.h): read until EAGAIN before waiting for EPOLLIN, because a duplex may hold bytes
 * that its descriptor does not show (decrypted records, bytes that came with the head).
 *
 * Invariants of a splice: at most BUFFER bytes wait per direction; a source is read only when its buffer is
 * empty; the end of one direction is passed on as a half close; `done` is called once, from the loop, after
 * both were closed.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/http_private.h"

struct socket_duplex {
    struct http_duplex base;
    int fd;
    char *prefix;
    size_t prefix_at, prefix_len;
};

static ssize_t socket_read(struct http_duplex *base, void *data, size_t len)
{
    struct socket_duplex *d = CONTAINER_OF(base, struct socket_duplex, base);
    if (d->prefix) {
        size_t rest = d->prefix_len - d->prefix_at, n = rest < len ? rest : len;
        memcpy(data, d->prefix + d->prefix_at, n);
        d->prefix_at += n;
        if (d->prefix_at == d->prefix_len) {
            free(d->prefix);
            d->prefix = NULL;
        }
        return (ssize_t)n;
    }
    ssize_t n;
    do
        n = recv(d->fd, data, len, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n;
}

static ssize_t socket_write(struct http_duplex *base, const void *data, size_t len)
{
    struct socket_duplex *d = CONTAINER_OF(base, struct socket_duplex, base);
    ssize_t n;
    do
        n = send(d->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

static int socket_fd(struct http_duplex *base)
{
    return CONTAINER_OF(base, struct socket_duplex, base)->fd;
}

static void socket_shutdown_write(struct http_duplex *base)
{
    shutdown(CONTAINER_OF(base, struct socket_duplex, base)->fd, SHUT_WR);
}

static void socket_close(struct http_duplex *base)
{
    struct socket_duplex *d = CONTAINER_OF(base, struct socket_duplex, base);
    close(d->fd);
    free(d->prefix);
    free(d);
}

static const struct http_duplex_ops socket_ops = {
    .read = socket_read,
    .write = socket_write,
    .fd = socket_fd,
    .shutdown_write = socket_shutdown_write,
    .close = socket_close,
};

struct http_duplex *duplex_from_fd_with(int fd, const void *prefix, size_t len)
{
    struct socket_duplex *d = NEW(struct socket_duplex);
    d->base.ops = &socket_ops;
    d->fd = fd;
    d->prefix = len ? mem_copy(prefix, len) : NULL;
    d->prefix_len = len;
    return &d->base;
}

struct http_duplex *http_duplex_from_fd(int fd)
{
    return duplex_from_fd_with(fd, NULL, 0);
}

/* ---- splice ---- */

#define BUFFER 65536
#define ROUNDS 8 /* a busy splice lets others run after this many buffers */

struct direction {
    struct http_duplex *from, *to;
    char *data;
    size_t at, len;
    bool starved; /* reading would block */
    bool stuck;   /* writing would block */
    bool ended;   /* end of `from`, passed on to `to` */
};

struct splice {
    struct loop *loop;
    struct direction way[2];
    struct loop_fd *watch[2];
    struct loop_timer *again;
    loop_task *done;
    void *arg;
};

/* 1: moved something, 0: waits or has ended, -1: failed. */
static int move(struct direction *way)
{
    if (way->ended)
        return 0;
    if (way->at == way->len) {
        if (way->starved)
            return 0;
        if (!way->data)
            way->data = mem_alloc(BUFFER);
        ssize_t n = way->from->ops->read(way->from, way->data, BUFFER);
        if (n == 0) {
            way->ended = true;
            way->to->ops->shutdown_write(way->to);
            return 1;
        }
        way->starved = n < 0 && errno == EAGAIN;
        if (way->starved) { /* an idle session costs no buffer */
            free(way->data);
            way->data = NULL;
            return 0;
        }
        if (n < 0)
            return -1;
        way->at = 0;
        way->len = (size_t)n;
    }
    if (way->stuck)
        return 0;
    ssize_t n = way->to->ops->write(way->to, way->data + way->at, way->len - way->at);
    way->stuck = n < 0 && errno == EAGAIN;
    if (way->stuck)
        return 0;
    if (n < 0)
        return -1;
    way->at += (size_t)n;
    return 1;
}

static void splice_end(struct splice *s)
{
    for (int i = 0; i < 2; i++) {
        loop_fd_remove(s->watch[i]);
        free(s->way[i].data);
    }
    loop_timer_free(s->again);
    s->way[0].from->ops->close(s->way[0].from);
    s->way[1].from->ops->close(s->way[1].from);
    if (s->done)
        s->done(s->arg);
    free(s);
}

static void splice_run(void *arg)
{
    struct splice *s = arg;
    for (int round = 0;; round++) {
        if (round == ROUNDS * 2) {
            loop_timer_start(s->again, 0);
            break;
        }
        int a = move(&s->way[0]), b = a < 0 ? a : move(&s->way[1]);
        if (a < 0 || b < 0 || (s->way[0].ended && s->way[1].ended)) {
            splice_end(s);
            return;
        }
        if (a == 0 && b == 0)
            break;
    }
    for (int i = 0; i < 2; i++) {
        const struct direction *in = &s->way[i], *out = &s->way[!i];
        if (s->watch[i])
            loop_fd_events(s->watch[i],
                           (in->starved && !in->ended ? EPOLLIN : 0) | (out->stuck ? EPOLLOUT : 0));
    }
}

static void splice_event(struct splice *s, int side, unsigned events)
{
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        s->way[side].starved = false;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        s->way[!side].stuck = false;
    if (events & (EPOLLHUP | EPOLLERR)) {
        if (s->way[side].ended) { /* and it cannot be written to either: nothing is left to do */
            splice_end(s);
            return;
        }
        /* Reading never blocks from now on; epoll would go on reporting while the other side is slow. */
        loop_fd_remove(s->watch[side]);
        s->watch[side] = NULL;
    }
    splice_run(s);
}

static void splice_event_a(void *arg, unsigned events)
{
    splice_event(arg, 0, events);
}

static void splice_event_b(void *arg, unsigned events)
{
    splice_event(arg, 1, events);
}

void http_duplex_splice(struct loop *loop, struct http_duplex *a, struct http_duplex *b, loop_task *done,
                        void *arg)
{
    struct splice *s = NEW(struct splice);
    s->loop = loop;
    s->done = done;
    s->arg = arg;
    s->way[0] = (struct direction){.from = a, .to = b};
    s->way[1] = (struct direction){.from = b, .to = a};
    s->again = loop_timer_new(loop, splice_run, s);
    s->watch[0] = loop_fd_add(loop, a->ops->fd(a), 0, splice_event_a, s, NULL);
    s->watch[1] = loop_fd_add(loop, b->ops->fd(b), 0, splice_event_b, s, NULL);
    must(s->watch[0] && s->watch[1]);
    loop_timer_start(s->again, 0);
}
