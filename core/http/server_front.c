/*
 * The front: one thread that accepts clients, shakes hands, hands a socketpair's end to libmicrohttpd and
 * pumps bytes (server_pump.c). It sees a client die also while libmicrohttpd has the connection suspended,
 * and tells the link.
 *
 * Invariants: everything here belongs to the front's thread, except front_stop. A connection that ends is
 * freed only after the round of events in which it ended. Time-outs (handshake, linger) are lists in order of
 * deadline, so an idle front sleeps without a timeout. At the limit of connections or descriptors it stops
 * accepting until one ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "http/front_private.h"

#define EVENTS_A_ROUND 128
#define ACCEPTS_A_ROUND 32
#define LINGER_ROUNDS 5 /* in which a client that lingers takes nothing */
#define THREAD_STACK_BYTES (512u << 10)
#define PAIR_TAG 1u /* in the low bit of an event's pointer: it is the pair's */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static void watch(struct conn *conn, int fd, unsigned *registered, bool want_out, uintptr_t tag)
{
    unsigned events = EPOLLIN | EPOLLRDHUP | EPOLLET | (want_out ? EPOLLOUT : 0);
    if (*registered == events)
        return;
    struct epoll_event event = {.events = events, .data.u64 = (uintptr_t)conn | tag};
    must(epoll_ctl(conn->front->epoll_fd, *registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0);
    *registered = events;
}

void conn_watch(struct conn *conn)
{
    if (conn->state == CONN_DEAD)
        return;
    watch(conn, conn->fd, &conn->fd_events, !conn->fd_writable, 0);
    if (conn->pair >= 0)
        watch(conn, conn->pair, &conn->pair_events, !conn->pair_writable, PAIR_TAG);
}

static void set_listening(struct front *front, bool on)
{
    if (front->listening == on)
        return;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    must(epoll_ctl(front->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, front->listen_fd, &event) == 0);
    front->listening = on;
}

void conn_kill(struct conn *conn)
{
    if (conn->state == CONN_DEAD)
        return;
    conn->state = CONN_DEAD;
    link_gone(conn->link);
    close(conn->fd);
    if (conn->pair >= 0)
        close(conn->pair);
    list_remove(&conn->timer_node);
    list_remove(&conn->ready_node);
    list_remove(&conn->node);
    list_add_tail(&conn->front->dead, &conn->node);
}

static void free_dead(struct front *front)
{
    struct conn *conn, *next;
    list_each_safe (conn, next, &front->dead, node) {
        list_remove(&conn->node);
        if (conn->tls)
            gnutls_deinit(conn->tls);
        free(conn->to_pair.data);
        free(conn->to_client.data);
        free(conn->pulled.data);
        link_unref(conn->link);
        free(conn);
        front->n_connections--;
        set_listening(front, true);
    }
}

static void set_deadline(struct conn *conn, struct list *list, int ms)
{
    list_remove(&conn->timer_node);
    conn->deadline_ms = now_ms() + ms;
    list_add_tail(list, &conn->timer_node);
}

/* The answer is out and libmicrohttpd is done: what the client still sends is read and dropped, because
 * closing a socket with unread bytes would reset it and could destroy the answer on its way. */
void conn_linger(struct conn *conn)
{
    conn->state = CONN_LINGER;
    conn->fd_readable = true;
    set_deadline(conn, &conn->front->lingering, FRONT_LINGER_MS);
}

static void conn_open(struct conn *conn)
{
    list_remove(&conn->timer_node);
    conn->pair = server_adopt(conn->front->server, conn->link);
    if (conn->pair < 0) {
        log_warn("http", "a connection from %s was dropped: no descriptors or memory left",
                 conn->link->remote);
        conn_kill(conn);
        return;
    }
    conn->state = CONN_OPEN;
    conn->pair_writable = true;
}

static void conn_run(struct conn *conn)
{
    if (conn->state == CONN_HANDSHAKE && conn_handshake(conn))
        conn_open(conn);
    bool more = (conn->state == CONN_OPEN || conn->state == CONN_LINGER) && conn_pump(conn);
    if (conn->state == CONN_LINGER && !more && conn->fd_readable)
        more = true; /* it has just begun to linger: read what is there */
    list_remove(&conn->ready_node);
    if (conn->state == CONN_DEAD)
        return;
    if (more)
        list_add_tail(&conn->front->ready, &conn->ready_node);
    conn_watch(conn);
}

static void name_remote(struct http_link *link, const struct sockaddr_storage *address)
{
    char text[INET6_ADDRSTRLEN];
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        snprintf(link->remote, sizeof link->remote, "%s:%u", text, ntohs(in->sin_port));
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text);
        snprintf(link->remote, sizeof link->remote, "[%s]:%u", text, ntohs(in->sin6_port));
    } else {
        snprintf(link->remote, sizeof link->remote, "unix:0");
    }
}

/* Small writes at once; a peer that vanished is noticed within about half a minute. */
static void tune(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 15}, {IPPROTO_TCP, TCP_KEEPINTVL, 5},
        {IPPROTO_TCP, TCP_KEEPCNT, 3},   {IPPROTO_TCP, TCP_USER_TIMEOUT, 30000},
    };
    for (size_t i = 0; i < COUNT_OF(options); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}

static void conn_new(struct front *front, int fd, const struct sockaddr_storage *address)
{
    struct conn *conn = NEW(struct conn);
    list_init(&conn->timer_node);
    list_init(&conn->ready_node);
    conn->front = front;
    conn->fd = fd;
    conn->pair = -1;
    conn->fd_readable = conn->fd_writable = true;
    conn->link = link_new(front->server);
    name_remote(conn->link, address);
    list_add_tail(&front->conns, &conn->node);
    front->n_connections++;
    if (address->ss_family != AF_UNIX)
        tune(fd);
    if (front->tls) {
        conn->tls = front_tls_session(front->tls, fd);
        if (!conn->tls) {
            conn_kill(conn);
            return;
        }
        gnutls_transport_set_ptr2(conn->tls, conn, (gnutls_transport_ptr_t)(intptr_t)fd);
        gnutls_transport_set_pull_function(conn->tls, conn_pull);
        set_deadline(conn, &front->handshaking, FRONT_HANDSHAKE_MS);
    } else {
        conn_open(conn);
    }
    if (conn->state != CONN_DEAD)
        conn_run(conn);
}

static void accept_some(struct front *front)
{
    for (int i = 0; i < ACCEPTS_A_ROUND; i++) {
        if (front->n_connections >= front->max_connections) {
            set_listening(front, false);
            return;
        }
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof address;
        int fd = accept4(front->listen_fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE) {
                log_warn("http", "no descriptors left: accepting again when a connection ends");
                if (front->n_connections > 0)
                    set_listening(front, false);
            }
            return;
        }
        conn_new(front, fd, &address);
    }
}

/* Closed now, what the kernel still holds for a client that reads late would be lost as soon as the client
 * says something more. */
static bool takes_more(struct conn *conn)
{
    int unsent = 0;
    if (conn->state != CONN_LINGER || ioctl(conn->fd, SIOCOUTQ, &unsent) < 0 || unsent <= 0)
        return false;
    conn->patient = unsent == conn->unsent ? conn->patient + 1 : 1;
    conn->unsent = unsent;
    return conn->patient < LINGER_ROUNDS;
}

static int expire(struct list *list)
{
    struct conn *conn;
    while ((conn = list_first(list, struct conn, timer_node))) {
        int64_t rest = conn->deadline_ms - now_ms();
        if (rest > 0)
            return (int)rest;
        if (takes_more(conn))
            set_deadline(conn, list, FRONT_LINGER_MS);
        else
            conn_kill(conn);
    }
    return -1;
}

static int next_timeout(struct front *front)
{
    int handshake = expire(&front->handshaking), linger = expire(&front->lingering);
    if (!list_empty(&front->ready))
        return 0;
    if (handshake < 0 || linger < 0)
        return handshake < 0 ? linger : handshake;
    return handshake < linger ? handshake : linger;
}

static void note_events(struct conn *conn, bool is_pair, unsigned events)
{
    bool in = events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    bool out = events & (EPOLLOUT | EPOLLHUP | EPOLLERR);
    if (is_pair) {
        conn->pair_readable |= in;
        conn->pair_writable |= out;
        conn->pair_hup |= (events & EPOLLHUP) != 0;
        conn->pair_ending |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    } else {
        conn->fd_readable |= in;
        conn->fd_writable |= out;
        conn->fd_drained &= !in;
        conn->fd_ending |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    }
}

static bool round_of_events(struct front *front)
{
    struct epoll_event events[EVENTS_A_ROUND];
    int timeout = next_timeout(front);
    free_dead(front);
    int n = epoll_wait(front->epoll_fd, events, EVENTS_A_ROUND, timeout);
    bool accepting = false;
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == NULL) {
            accepting = true;
            continue;
        }
        if (events[i].data.ptr == front)
            return false;
        uintptr_t tagged = (uintptr_t)events[i].data.u64;
        struct conn *conn = (struct conn *)(tagged & ~(uintptr_t)PAIR_TAG);
        if (conn->state == CONN_DEAD)
            continue;
        note_events(conn, tagged & PAIR_TAG, events[i].events);
        if (!list_linked(&conn->ready_node))
            list_add_tail(&front->ready, &conn->ready_node);
    }
    struct list now;
    list_init(&now);
    struct conn *conn;
    while ((conn = list_first(&front->ready, struct conn, ready_node))) {
        list_remove(&conn->ready_node);
        list_add_tail(&now, &conn->ready_node);
    }
    while ((conn = list_first(&now, struct conn, ready_node))) {
        list_remove(&conn->ready_node);
        conn_run(conn);
    }
    if (accepting)
        accept_some(front);
    return true;
}

static void *front_main(void *arg)
{
    struct front *front = arg;
    while (round_of_events(front))
        continue;
    struct conn *conn;
    while ((conn = list_first(&front->conns, struct conn, node)))
        conn_kill(conn);
    free_dead(front);
    return NULL;
}

/* ---- start and stop ---- */

static int listen_unix(struct front *front, const char *path, struct err **err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return err_set(err, ERR_INVALID, "the path of a unix socket is too long: %s", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    unlink(path);
    front->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (front->listen_fd < 0 || bind(front->listen_fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(front->listen_fd, 1024) < 0)
        return err_errno(err, errno, "listening on %s", path);
    front->unix_path = mem_strdup(path);
    return 0;
}

static int listen_tcp(struct front *front, const char *address, uint16_t port, struct err **err)
{
    struct sockaddr_storage at = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&at;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&at;
    socklen_t len = sizeof *in;
    if (!address || inet_pton(AF_INET, address, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
    } else if (inet_pton(AF_INET6, address, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        len = sizeof *in6;
    } else {
        return err_set(err, ERR_INVALID, "not an IP address to listen on: %s", address);
    }
    int one = 1;
    front->listen_fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (front->listen_fd < 0 ||
        setsockopt(front->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(front->listen_fd, (struct sockaddr *)&at, len) < 0 || listen(front->listen_fd, 1024) < 0 ||
        getsockname(front->listen_fd, (struct sockaddr *)&at, &len) < 0)
        return err_errno(err, errno, "listening on %s:%u", address ? address : "0.0.0.0", port);
    front->port = ntohs(at.ss_family == AF_INET ? in->sin_port : in6->sin6_port);
    return 0;
}

static int start(struct front *front, const struct http_server_options *options, struct err **err)
{
    if (options->certificate_pem && !(front->tls = front_tls_new(options, err)))
        return -1;
    if (options->unix_path ? listen_unix(front, options->unix_path, err)
                           : listen_tcp(front, options->address, options->port, err))
        return -1;
    front->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    front->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event stop = {.events = EPOLLIN, .data.ptr = front};
    if (front->epoll_fd < 0 || front->stop_fd < 0 ||
        epoll_ctl(front->epoll_fd, EPOLL_CTL_ADD, front->stop_fd, &stop) < 0)
        return err_errno(err, errno, "starting the HTTP front");
    set_listening(front, true);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    int rc = pthread_create(&front->thread, &attributes, front_main, front);
    pthread_attr_destroy(&attributes);
    if (rc != 0)
        return err_errno(err, rc, "starting the HTTP front");
    pthread_setname_np(front->thread, "http-front");
    front->started = true;
    return 0;
}

struct front *front_new(struct http_server *server, const struct http_server_options *options,
                        unsigned max_connections, struct err **err)
{
    struct front *front = NEW(struct front);
    front->server = server;
    front->listen_fd = front->epoll_fd = front->stop_fd = -1;
    front->max_connections = max_connections;
    front->chunk = mem_alloc(FRONT_CHUNK);
    front->pull_chunk = mem_alloc(FRONT_CHUNK);
    list_init(&front->conns);
    list_init(&front->dead);
    list_init(&front->ready);
    list_init(&front->handshaking);
    list_init(&front->lingering);
    if (start(front, options, err) == 0)
        return front;
    front_free(front);
    return NULL;
}

uint16_t front_port(const struct front *front)
{
    return front->port;
}

void front_stop(struct front *front)
{
    if (!front->started || front->stopped)
        return;
    uint64_t one = 1;
    must(write(front->stop_fd, &one, sizeof one) == sizeof one);
    pthread_join(front->thread, NULL);
    front->stopped = true;
}

void front_free(struct front *front)
{
    front_stop(front);
    front_tls_free(front->tls);
    fd_cleanup(&front->listen_fd);
    fd_cleanup(&front->epoll_fd);
    fd_cleanup(&front->stop_fd);
    if (front->unix_path)
        unlink(front->unix_path);
    free(front->unix_path);
    free(front->chunk);
    free(front->pull_chunk);
    free(front);
}
