/*
 * nameserver: questions from the name server's sockets, and its directory. One thread: a change of a file and
 * a question never meet. Does not keep anything over its end: the directory is the state.
 */
#include "net/nameserver.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/list.h"
#include "base/log.h"
#include "net/nameserver_internal.h"

#define FILE_MAX (4u << 20)
#define BATCH 64 /* datagrams per turn */
#define STREAMS_MAX 200
#define STREAM_IDLE_MS 10000

struct nameserver {
    struct nameserver_options options;
    struct loop *loop;
    struct zone *zone;
    struct forwarder *forwarder;
    struct endpoint { /* an address */
        struct nameserver *server;
        int udp, tcp; /* -1: there is none */
    } endpoints[NAMESERVER_ADDRESSES];
    int watch;
    size_t streams;
};

struct stream { /* one TCP connection; one question at a time */
    struct nameserver *server;
    int fd;
    struct loop_fd *watch;
    struct loop_timer *idle;
    unsigned char in[DNS_MESSAGE_MAX + 2];
    size_t got;
    unsigned char *out;
    size_t out_len, sent;
    bool asking, closed; /* asking: somebody else is being asked; closed: free when that ends */
};

/* What a question waits for. */
struct pending {
    struct nameserver *server;
    struct sockaddr_in from;
    int udp;               /* the socket that it came to */
    struct stream *stream; /* NULL: by datagram */
    unsigned char *request;
    size_t len;
    bool chained; /* it asks for the end of a chain of CNAMEs */
    char ask[DNS_NAME_MAX + 1];
};

static void stream_reply(struct stream *stream, const unsigned char *answer, size_t len);
static void stream_end(struct stream *stream);

static void send_to(int udp, const struct sockaddr_in *to, const unsigned char *answer, size_t len)
{
    sendto(udp, answer, len, MSG_DONTWAIT, (const struct sockaddr *)(const void *)to, sizeof(*to));
}

/* ---- asking others ---- */

/* Answers of another server as records of ours: A and CNAME of its answer section. */
static void copy_answers(struct dns_writer *w, const unsigned char *message, size_t len)
{
    size_t at = 12;
    char owner[DNS_NAME_MAX + 1], target[DNS_NAME_MAX + 1];
    unsigned answers = (unsigned)(message[6] << 8 | message[7]);
    if ((message[4] << 8 | message[5]) == 1 &&
        (dns_read_name(message, len, &at, owner) < 0 || (at += 4) > len))
        return;
    for (unsigned i = 0; i < answers && i < 64; i++) {
        if (dns_read_name(message, len, &at, owner) < 0 || at + 10 > len)
            return;
        unsigned type = (unsigned)(message[at] << 8 | message[at + 1]);
        size_t size = (size_t)(message[at + 8] << 8 | message[at + 9]), data = at + 10;
        if (data + size > len)
            return;
        struct zone_record record = {.type = type, .target = target};
        if (type == DNS_A && size == 4) {
            memcpy(&record.address, message + data, 4);
            dns_add(w, 0, owner, &record);
        } else if (type == DNS_CNAME) {
            size_t end = data;
            if (dns_read_name(message, len, &end, target) == 0)
                dns_add(w, 0, owner, &record);
        }
        at = data + size;
    }
}

static void reply(struct pending *p, const unsigned char *answer, size_t len)
{
    if (!p->stream)
        send_to(p->udp, &p->from, answer, len);
    else if (p->stream->closed)
        stream_end(p->stream);
    else
        stream_reply(p->stream, answer, len);
}

static void on_forwarded(void *arg, const unsigned char *answer, size_t len)
{
    struct pending *p = arg;
    struct dns_question question;
    struct dns_writer w;
    enum dns_rcode rcode;
    char ask[DNS_NAME_MAX + 1];
    unsigned char *own = mem_alloc(DNS_MESSAGE_MAX);
    if (p->stream)
        p->stream->asking = false;
    dns_read(p->request, p->len, &question, &rcode);
    if (len && !p->chained) {
        reply(p, answer, len);
    } else {
        dns_begin(&w, p->request, &question, own, p->stream ? DNS_MESSAGE_MAX : question.udp_size);
        if (p->chained)
            dns_answer(p->server->zone, p->request, &question, &w, ask);
        if (len)
            copy_answers(&w, answer, len);
        reply(p, own, dns_end(&w, len ? answer[3] & 15 : DNS_SERVFAIL, false));
    }
    free(own);
    free(p->request);
    free(p);
}

static void ask_others(struct nameserver *server, const struct pending *from,
                       const struct dns_question *question, const char *ask, const unsigned char *request,
                       size_t len)
{
    struct pending *p = NEW(struct pending);
    *p = *from;
    p->server = server;
    p->request = mem_copy(request, len);
    p->len = len;
    p->chained = !str_eq(ask, question->name);
    if (p->stream)
        p->stream->asking = true;
    unsigned char chained[512];
    size_t chained_len = p->chained ? dns_ask(chained, question->id, ask, question->type) : 0;
    if (p->chained)
        forwarder_ask(server->forwarder, chained, chained_len, p->stream != NULL, on_forwarded, p);
    else
        forwarder_ask(server->forwarder, request, len, p->stream != NULL, on_forwarded, p);
}

/* ---- a question ---- */

/* The answer's length; 0: none now. */
static size_t handle(struct nameserver *server, const struct pending *from, const unsigned char *request,
                     size_t len, unsigned char *answer)
{
    struct dns_question question;
    struct dns_writer w;
    enum dns_rcode rcode;
    char ask[DNS_NAME_MAX + 1];
    if (dns_read(request, len, &question, &rcode) < 0)
        return 0;
    dns_begin(&w, request, &question, answer, from->stream ? DNS_MESSAGE_MAX : question.udp_size);
    if (rcode != DNS_OK)
        return dns_end(&w, rcode, false);
    ssize_t done = dns_answer(server->zone, request, &question, &w, ask);
    if (done >= 0)
        return (size_t)done;
    if (!(question.flags & 0x0100) || !forwarder_can(server->forwarder)) /* it must be wished for, too */
        return dns_end(&w, w.counts[0] ? DNS_OK : DNS_REFUSED, false);
    ask_others(server, from, &question, ask, request, len);
    return 0;
}

static void on_datagram(void *arg, unsigned events UNUSED)
{
    static unsigned char request[DNS_MESSAGE_MAX], answer[DNS_MESSAGE_MAX];
    const struct endpoint *at = arg;
    for (int i = 0; i < BATCH; i++) {
        struct pending from = {.udp = at->udp};
        socklen_t size = sizeof(from.from);
        ssize_t n = recvfrom(at->udp, request, sizeof(request), MSG_DONTWAIT,
                             (struct sockaddr *)(void *)&from.from, &size);
        if (n < 0)
            return;
        size_t len = handle(at->server, &from, request, (size_t)n, answer);
        if (len)
            send_to(at->udp, &from.from, answer, len);
    }
}

/* ---- streams ---- */

static void stream_end(struct stream *stream)
{
    loop_fd_remove(steal(&stream->watch));
    loop_timer_free(steal(&stream->idle));
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
    if (stream->asking) {
        stream->closed = true;
        return;
    }
    stream->server->streams--;
    free(stream->out);
    free(stream);
}

static void on_idle(void *arg)
{
    stream_end(arg);
}

static void stream_flush(struct stream *stream);

/* The next whole question of what has been read. */
static void stream_next(struct stream *stream)
{
    static unsigned char answer[DNS_MESSAGE_MAX];
    while (!stream->asking && !stream->out && stream->got >= 2) {
        size_t len = (size_t)(stream->in[0] << 8 | stream->in[1]);
        if (stream->got < len + 2)
            return;
        const struct pending from = {.stream = stream};
        size_t out = handle(stream->server, &from, stream->in + 2, len, answer);
        bool asking = stream->asking;
        stream->got -= len + 2;
        memmove(stream->in, stream->in + len + 2, stream->got);
        if (out)
            stream_reply(stream, answer, out);
        else if (!asking)
            stream_end(stream); /* no question: the connection is of no use */
        if (out || !asking)
            return; /* stream_reply goes on */
    }
}

static void stream_reply(struct stream *stream, const unsigned char *answer, size_t len)
{
    stream->out = mem_alloc(len + 2);
    stream->out[0] = (unsigned char)(len >> 8);
    stream->out[1] = (unsigned char)len;
    memcpy(stream->out + 2, answer, len);
    stream->out_len = len + 2;
    stream->sent = 0;
    stream_flush(stream);
}

static void stream_flush(struct stream *stream)
{
    ssize_t n = send(stream->fd, stream->out + stream->sent, stream->out_len - stream->sent,
                     MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        stream_end(stream);
        return;
    }
    stream->sent += n > 0 ? (size_t)n : 0;
    if (stream->sent < stream->out_len) {
        loop_fd_events(stream->watch, EPOLLOUT);
        return;
    }
    free(steal(&stream->out));
    loop_fd_events(stream->watch, EPOLLIN);
    stream_next(stream);
}

static void on_stream(void *arg, unsigned events)
{
    struct stream *stream = arg;
    loop_timer_start(stream->idle, STREAM_IDLE_MS);
    if (stream->out) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
            stream_flush(stream);
        return;
    }
    ssize_t n = recv(stream->fd, stream->in + stream->got, sizeof(stream->in) - stream->got, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        stream_end(stream);
        return;
    }
    stream->got += (size_t)n;
    stream_next(stream);
}

static void on_connection(void *arg, unsigned events UNUSED)
{
    const struct endpoint *at = arg;
    struct nameserver *server = at->server;
    int fd = accept4(at->tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (server->streams >= STREAMS_MAX) {
        close(fd);
        return;
    }
    struct stream *stream = NEW(struct stream);
    stream->server = server;
    stream->fd = fd;
    stream->idle = loop_timer_new(server->loop, on_idle, stream);
    stream->watch = loop_fd_add(server->loop, fd, EPOLLIN, on_stream, stream, NULL);
    server->streams++;
    if (stream->watch)
        loop_timer_start(stream->idle, STREAM_IDLE_MS);
    else
        stream_end(stream);
}

/* ---- the directory ---- */

static void load(struct nameserver *server, const char *name)
{
    auto_free char *path = file_join(server->options.directory, name), *text = NULL;
    auto_err err = NULL;
    if (name[0] == '.')
        return;
    if (file_read(path, FILE_MAX, &text, NULL, &err) == 0)
        zone_load(server->zone, name, text);
    else if (err_code(err) == ERR_NOT_FOUND)
        zone_drop(server->zone, name);
    else
        log_error("resolver", "%s", err_message(err));
}

/* All of it: at the start, and when the kernel could not keep up with telling. */
static int load_all(struct nameserver *server, struct err **err)
{
    size_t count;
    auto_map there = {0};
    auto_free char **names = file_list(server->options.directory, &count, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < count; i++) {
        map_set(&there, names[i], NULL);
        load(server, names[i]);
    }
    map_each (entry, &server->zone->files)
        if (!map_has(&there, entry->key)) {
            auto_free char *gone = mem_strdup(entry->key);
            zone_drop(server->zone, gone);
        }
    return 0;
}

static void on_directory(void *arg, unsigned events UNUSED)
{
    struct nameserver *server = arg;
    char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(server->watch, buffer, sizeof(buffer));
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *event = (const struct inotify_event *)(const void *)(buffer + at);
        if (event->mask & IN_Q_OVERFLOW)
            load_all(server, NULL);
        else if (event->len)
            load(server, event->name);
        at += (ssize_t)(sizeof(*event) + event->len);
    }
}

/* ---- beginning ---- */

static int watch_sockets(struct nameserver *server, struct err **err)
{
    for (int i = 0; i < NAMESERVER_ADDRESSES; i++) {
        const struct endpoint *at = &server->endpoints[i];
        if (at->udp >= 0 &&
            (!loop_fd_add(server->loop, at->udp, EPOLLIN, on_datagram, (void *)(uintptr_t)at, err) ||
             !loop_fd_add(server->loop, at->tcp, EPOLLIN, on_connection, (void *)(uintptr_t)at, err)))
            return -1;
    }
    return 0;
}

static int server_open(struct nameserver *server, struct err **err)
{
    server->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (server->watch < 0)
        return err_errno(err, errno, "inotify");
    if (inotify_add_watch(server->watch, server->options.directory,
                          IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_ONLYDIR) < 0)
        return err_errno(err, errno, "watching %s", server->options.directory);
    if (load_all(server, err) < 0 ||
        !loop_fd_add(server->loop, server->watch, EPOLLIN, on_directory, server, err))
        return -1;
    return watch_sockets(server, err);
}

struct nameserver *nameserver_new(struct loop *loop, const struct nameserver_options *options,
                                  const int sockets[NAMESERVER_SOCKETS], struct err **err)
{
    struct nameserver *server = NEW(struct nameserver);
    *server = (struct nameserver){.options = *options, .loop = loop, .watch = -1};
    for (int i = 0; i < NAMESERVER_ADDRESSES; i++)
        server->endpoints[i] = (struct endpoint){server, sockets[2 * i], sockets[2 * i + 1]};
    signal(SIGPIPE, SIG_IGN);
    server->zone = zone_new(options->domain, &options->pods);
    server->forwarder = forwarder_new(loop, options->resolv_conf, options->addresses);
    return server_open(server, err) == 0 ? server : NULL; /* or the process ends */
}
