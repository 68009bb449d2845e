/*
 * nameserver: the name server's sockets and its directory. One thread: a change of a file and a question
 * never meet. Does not keep anything over its end: the directory is the state.
 */
#include "net/nameserver.h"

#include <arpa/inet.h>
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
    int udp, tcp, watch;
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
    struct stream *stream; /* NULL: by datagram */
    unsigned char *request;
    size_t len;
    bool chained; /* it asks for the end of a chain of CNAMEs */
    char ask[DNS_NAME_MAX + 1];
};

static void stream_reply(struct stream *stream, const unsigned char *answer, size_t len);
static void stream_end(struct stream *stream);

static void send_to(const struct nameserver *server, const struct sockaddr_in *to,
                    const unsigned char *answer, size_t len)
{
    sendto(server->udp, answer, len, MSG_DONTWAIT, (const struct sockaddr *)(const void *)to, sizeof(*to));
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
        send_to(p->server, &p->from, answer, len);
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
    struct nameserver *server = arg;
    for (int i = 0; i < BATCH; i++) {
        struct pending from = {0};
        socklen_t size = sizeof(from.from);
        ssize_t n = recvfrom(server->udp, request, sizeof(request), MSG_DONTWAIT,
                             (struct sockaddr *)(void *)&from.from, &size);
        if (n < 0)
            return;
        size_t len = handle(server, &from, request, (size_t)n, answer);
        if (len)
            send_to(server, &from.from, answer, len);
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
    struct nameserver *server = arg;
    int fd = accept4(server->tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
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

static int bound_socket(const struct nameserver *server, int type, struct err **err)
{
    const struct sockaddr_in own = {
        .sin_family = AF_INET, .sin_port = htons(53), .sin_addr = server->options.address};
    int on = 1, size = 1 << 20;
    auto_fd fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, errno, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (bind(fd, (const struct sockaddr *)(const void *)&own, sizeof(own)) < 0)
        return err_errno(err, errno, "port 53 of %s", inet_ntoa(server->options.address));
    if (type == SOCK_STREAM && listen(fd, 128) < 0)
        return err_errno(err, errno, "listening");
    int bound = fd;
    fd = -1;
    return bound;
}

/* 1: it is a socket of this kind at our address; its number is ours from now on. */
static bool is_ours(const struct nameserver *server, int fd, int type)
{
    struct sockaddr_in own = {0};
    int kind = 0;
    socklen_t len = sizeof(kind), own_len = sizeof(own);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &len) == 0 && kind == type &&
           getsockname(fd, (struct sockaddr *)(void *)&own, &own_len) == 0 && own.sin_family == AF_INET &&
           own.sin_port == htons(53) && own.sin_addr.s_addr == server->options.address.s_addr;
}

static int own_socket(const struct nameserver *server, const int sockets[NAMESERVER_SOCKETS], int type,
                      struct err **err)
{
    for (int i = 0; i < NAMESERVER_SOCKETS; i++)
        if (is_ours(server, sockets[i], type))
            return sockets[i];
    return bound_socket(server, type, err);
}

static int server_open(struct nameserver *server, const int sockets[NAMESERVER_SOCKETS], struct err **err)
{
    server->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (server->watch < 0)
        return err_errno(err, errno, "inotify");
    if (inotify_add_watch(server->watch, server->options.directory,
                          IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_ONLYDIR) < 0)
        return err_errno(err, errno, "watching %s", server->options.directory);
    if (load_all(server, err) < 0 || (server->udp = own_socket(server, sockets, SOCK_DGRAM, err)) < 0 ||
        (server->tcp = own_socket(server, sockets, SOCK_STREAM, err)) < 0)
        return -1;
    return loop_fd_add(server->loop, server->watch, EPOLLIN, on_directory, server, err) &&
                   loop_fd_add(server->loop, server->udp, EPOLLIN, on_datagram, server, err) &&
                   loop_fd_add(server->loop, server->tcp, EPOLLIN, on_connection, server, err)
               ? 0
               : -1;
}

struct nameserver *nameserver_new(struct loop *loop, const struct nameserver_options *options,
                                  const int sockets[NAMESERVER_SOCKETS], struct err **err)
{
    struct nameserver *server = NEW(struct nameserver);
    *server = (struct nameserver){.options = *options, .loop = loop, .udp = -1, .tcp = -1, .watch = -1};
    signal(SIGPIPE, SIG_IGN);
    server->zone = zone_new(options->domain, &options->pods);
    server->forwarder = forwarder_new(loop, options->resolv_conf, options->address);
    return server_open(server, sockets, err) == 0 ? server : NULL; /* or the process ends */
}

void nameserver_sockets(const struct nameserver *server, int sockets[NAMESERVER_SOCKETS])
{
    sockets[0] = server->udp;
    sockets[1] = server->tcp;
}
