/*
 * nameserver_forward: asks the machine's own resolvers. Each question has a socket of its own, so its port is
 * as hard to guess as its id; an answer counts only from the server asked, with that id. The servers are
 * tried in turn. A question that nobody answers within TRIES_MS ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "net/nameserver_internal.h"

#define SERVERS_MAX 4
#define TRY_MS 2000
#define TRIES 2       /* per server */
#define OPEN_MAX 1000 /* questions under way */
#define KEPT_MAX 1000 /* answers */

struct forwarder {
    struct loop *loop;
    char *resolv_conf;
    struct in_addr own[NAMESERVER_ADDRESSES], servers[SERVERS_MAX];
    size_t count;
    struct timespec changed; /* of the file, when it was read */
    size_t open;
    struct answers *answers;
};

struct asking {
    struct forwarder *forwarder;
    unsigned char *request; /* stream: with two bytes of length before it */
    size_t len, sent;
    uint16_t id, own_id;
    bool stream;
    unsigned tries;
    int fd;
    struct loop_fd *watch;
    struct loop_timer *timer;
    unsigned char *answer;
    size_t got, kept; /* kept: length of an answer that is there already */
    forward_done *done;
    void *arg;
};

/* ---- servers ---- */

static void add_server(struct forwarder *f, const char *text, bool *marked, bool mark)
{
    struct in_addr address;
    if (inet_pton(AF_INET, text, &address) != 1)
        return;
    for (int i = 0; i < NAMESERVER_ADDRESSES; i++)
        if (address.s_addr == f->own[i].s_addr)
            return;
    if (mark && !*marked)
        f->count = 0; /* what follows stands for the servers of the file */
    *marked = *marked || mark;
    if (mark == *marked && f->count < SERVERS_MAX)
        f->servers[f->count++] = address;
}

#define BLANKS " \t\r\f\v"

static void read_line(struct forwarder *f, char *line, bool *marked)
{
    char *words[3] = {NULL}, *rest = NULL;
    size_t count = 0;
    for (char *word = strtok_r(line, BLANKS, &rest); word && count < COUNT_OF(words);
         word = strtok_r(NULL, BLANKS, &rest))
        words[count++] = word;
    if (count >= 2 && str_eq(words[0], "nameserver"))
        add_server(f, words[1], marked, false);
    else if (count >= 3 && str_eq(words[0], "#") && str_eq(words[1], "minik8s-upstream"))
        add_server(f, words[2], marked, true);
}

static void read_servers(struct forwarder *f)
{
    struct stat now;
    auto_free char *text = NULL;
    bool marked = false;
    if (!f->resolv_conf || stat(f->resolv_conf, &now) < 0)
        return;
    if (now.st_mtim.tv_sec == f->changed.tv_sec && now.st_mtim.tv_nsec == f->changed.tv_nsec)
        return;
    if (file_read(f->resolv_conf, 65536, &text, NULL, NULL) < 0)
        return;
    f->changed = now.st_mtim;
    answers_clear(f->answers); /* others may say otherwise */
    f->count = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        read_line(f, line, &marked);
    if (!f->count) /* once for each state of the file */
        log_warn("resolver", "%s names no server that can be asked: names from outside are refused",
                 f->resolv_conf);
}

struct forwarder *forwarder_new(struct loop *loop, const char *resolv_conf, const struct in_addr *own)
{
    struct forwarder *forwarder = NEW(struct forwarder);
    forwarder->loop = loop;
    forwarder->resolv_conf = mem_strdup(resolv_conf);
    memcpy(forwarder->own, own, sizeof(forwarder->own));
    forwarder->answers = answers_new(KEPT_MAX);
    return forwarder;
}

void forwarder_free(struct forwarder *forwarder)
{
    answers_free(forwarder->answers);
    free(forwarder->resolv_conf);
    free(forwarder);
}

bool forwarder_can(struct forwarder *forwarder)
{
    read_servers(forwarder);
    return forwarder->count > 0;
}

/* ---- one question ---- */

static void close_socket(struct asking *a)
{
    loop_fd_remove(steal(&a->watch));
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
}

static void finish(struct asking *a, const unsigned char *answer, size_t len)
{
    close_socket(a);
    loop_timer_free(a->timer);
    a->forwarder->open--;
    a->done(a->arg, answer, len);
    free(a->request);
    free(a->answer);
    free(a);
}

static void try_next(void *arg);

/* The answer to this very question, told under the id of whoever asked. */
static bool take(struct asking *a, unsigned char *answer, size_t len)
{
    if (len < 12 || (answer[0] << 8 | answer[1]) != a->own_id || !(answer[2] & 0x80))
        return false;
    answer[0] = (unsigned char)(a->id >> 8);
    answer[1] = (unsigned char)a->id;
    answers_put(a->forwarder->answers, a->request + 2, a->len, a->stream, loop_now_ms(a->forwarder->loop),
                answer, len);
    finish(a, answer, len);
    return true;
}

static void read_stream(struct asking *a)
{
    ssize_t n = recv(a->fd, a->answer + a->got, DNS_MESSAGE_MAX + 2 - a->got, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            try_next(a);
        return;
    }
    a->got += (size_t)n;
    size_t want = a->got >= 2 ? (size_t)(a->answer[0] << 8 | a->answer[1]) + 2 : DNS_MESSAGE_MAX + 2;
    if (a->got >= want && !take(a, a->answer + 2, want - 2))
        try_next(a);
}

static void write_stream(struct asking *a)
{
    ssize_t n = send(a->fd, a->request + a->sent, a->len + 2 - a->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        try_next(a);
        return;
    }
    a->sent += n > 0 ? (size_t)n : 0;
    if (a->sent == a->len + 2)
        loop_fd_events(a->watch, EPOLLIN);
}

static void on_ready(void *arg, unsigned events)
{
    struct asking *a = arg;
    if (a->stream) {
        if (events & EPOLLOUT && a->sent < a->len + 2)
            write_stream(a);
        else
            read_stream(a);
        return;
    }
    ssize_t n = recv(a->fd, a->answer, DNS_MESSAGE_MAX, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0)
        try_next(a); /* refused */
    else
        take(a, a->answer, (size_t)n);
}

static int open_socket(struct asking *a, struct in_addr server)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr = server};
    int type = (a->stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
    a->sent = a->got = 0;
    a->fd = socket(AF_INET, type, 0);
    if (a->fd < 0)
        return -1;
    if (connect(a->fd, (const struct sockaddr *)(const void *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
        return -1;
    if (!a->stream && send(a->fd, a->request + 2, a->len, 0) < 0)
        return -1;
    a->watch = loop_fd_add(a->forwarder->loop, a->fd, a->stream ? EPOLLOUT : EPOLLIN, on_ready, a, NULL);
    return a->watch ? 0 : -1;
}

static void try_next(void *arg)
{
    struct asking *a = arg;
    const struct forwarder *f = a->forwarder;
    if (a->kept) {
        finish(a, a->answer, a->kept);
        return;
    }
    close_socket(a);
    while (a->tries < TRIES * f->count) {
        if (open_socket(a, f->servers[a->tries++ % f->count]) == 0) {
            loop_timer_start(a->timer, TRY_MS);
            return;
        }
        close_socket(a);
        if (a->stream &&
            a->tries == TRIES * f->count) { /* servers that know no TCP: better cut than nothing */
            a->stream = false;
            a->tries = 0;
        }
    }
    finish(a, NULL, 0);
}

void forwarder_ask(struct forwarder *forwarder, const unsigned char *request, size_t len, bool stream,
                   forward_done *done, void *arg)
{
    struct asking *a = NEW(struct asking);
    forwarder->open++;
    *a = (struct asking){
        .forwarder = forwarder, .len = len, .stream = stream, .fd = -1, .done = done, .arg = arg};
    a->request = mem_alloc(len + 2);
    a->answer = mem_alloc(DNS_MESSAGE_MAX + 2);
    memcpy(a->request + 2, request, len);
    a->id = (uint16_t)(request[0] << 8 | request[1]);
    a->kept = answers_get(forwarder->answers, request, len, stream, loop_now_ms(forwarder->loop), a->answer,
                          DNS_MESSAGE_MAX);
    if (getrandom(&a->own_id, sizeof(a->own_id), 0) < 0)
        a->own_id = a->id;
    a->request[0] = (unsigned char)(len >> 8);
    a->request[1] = (unsigned char)len;
    a->request[2] = (unsigned char)(a->own_id >> 8);
    a->request[3] = (unsigned char)a->own_id;
    a->timer = loop_timer_new(forwarder->loop, try_next, a);
    if (forwarder->open > OPEN_MAX)
        a->tries = TRIES * SERVERS_MAX;
    loop_timer_start(a->timer, 0); /* never before this call returns */
}
