/*
 * load: asks one HTTP server at a fixed rate and counts every request that was not answered well.
 *
 *   load ADDRESS PORT RATE SECONDS [--log FILE] [--path PATH]
 *
 * Open loop: requests are due at fixed times, however slow the answers are, and latency counts from the due
 * time. Every second request opens a connection of its own; the others go over kept connections in turn,
 * which are only opened anew after the server said "Connection: close" and the connection ended cleanly.
 * Nothing is ever retried; after one second a request has failed. Each failure is a line "SECONDS REASON
 * CONNECTION" in the log. SIGTERM ends it early. The last line is JSON; exit code 1 if any request failed.
 *
 * Static and on its own: it runs in the network namespace of any node or pod. It does not follow redirects or
 * read chunks.
 *
 * Invariant: a connection is in the epoll set exactly while it is not FREE.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEPT 16
#define CONNECTIONS 4096
#define TIMEOUT_US 1000000
#define ANSWER_MAX 8192

enum state { FREE, CONNECTING, ASKED, IDLE, CLOSING };

enum reason { REFUSED, RESET, TIMEOUT, SHORT, NOT_200, IDLE_CLOSED, NOT_CLOSED, NO_SOCKET, REASONS };

static const char *const reason_names[REASONS] = {
    [REFUSED] = "refused",
    [RESET] = "reset",
    [TIMEOUT] = "timeout",
    [SHORT] = "short",
    [NOT_200] = "not200",
    [IDLE_CLOSED] = "idle_connection_ended",
    [NOT_CLOSED] = "close_not_clean",
    [NO_SOCKET] = "no_socket",
};

struct connection {
    enum state state;
    int fd;
    bool kept;
    int64_t due, since; /* of the request; of the state */
    size_t len;
    char answer[ANSWER_MAX + 1];
};

struct load {
    struct sockaddr_in to;
    const char *path;
    FILE *log;
    int epoll;
    int64_t begin;
    long rate, total, sent, ok, failed, reasons[REASONS];
    int next_kept;
    uint32_t *latencies;
    struct connection connections[CONNECTIONS]; /* the first KEPT are kept */
};

static volatile sig_atomic_t ended;

static void on_term(int number)
{
    (void)number;
    ended = 1;
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void let_go(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
    c->len = 0;
    c->state = FREE;
}

static void fail(struct load *load, struct connection *c, enum reason reason, const char *detail)
{
    load->failed++;
    load->reasons[reason]++;
    if (load->log) {
        struct timespec wall;
        clock_gettime(CLOCK_REALTIME, &wall);
        fprintf(load->log, "%ld.%03ld +%.3f %s %s connection, state %d, port %d: %s\n", (long)wall.tv_sec,
                wall.tv_nsec / 1000000, (double)(now_us() - load->begin) / 1e6, reason_names[reason],
                c->kept ? "kept" : "new", (int)c->state, c->fd, detail);
        fflush(load->log);
    }
    if (c->fd >= 0)
        let_go(c);
}

static void ask(struct load *load, struct connection *c)
{
    char text[1024];
    int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: load\r\n%s\r\n", load->path,
                     c->kept ? "" : "Connection: close\r\n");
    c->state = ASKED;
    c->len = 0;
    if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        fail(load, c, RESET, strerror(errno));
}

static void start(struct load *load, struct connection *c, int64_t due)
{
    c->due = due;
    c->since = now_us();
    load->sent++;
    if (c->state == IDLE) {
        ask(load, c);
        return;
    }
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        fail(load, c, NO_SOCKET, strerror(errno));
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->state = CONNECTING;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c};
    epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event);
    if (connect(c->fd, (struct sockaddr *)&load->to, sizeof(load->to)) < 0 && errno != EINPROGRESS)
        fail(load, c, errno == ECONNREFUSED ? REFUSED : NO_SOCKET, strerror(errno));
}

static struct connection *choose(struct load *load, bool kept)
{
    for (int i = 0; kept && i < KEPT; i++) {
        struct connection *c = &load->connections[(load->next_kept + i) % KEPT];
        if (c->state == IDLE || c->state == FREE) {
            load->next_kept = (load->next_kept + i + 1) % KEPT;
            return c;
        }
    }
    for (int i = KEPT; i < CONNECTIONS; i++)
        if (load->connections[i].state == FREE)
            return &load->connections[i];
    return NULL;
}

/* True once the whole answer is there; *last if the server will close. */
static bool complete(const char *answer, size_t len, int *status, bool *last)
{
    const char *end = strstr(answer, "\r\n\r\n");
    if (!end)
        return false;
    size_t body = 0;
    *last = false;
    *status = strncmp(answer, "HTTP/1.", 7) == 0 && len > 12 ? atoi(answer + 9) : 0;
    for (const char *line = strchr(answer, '\n'); line && line < end; line = strchr(line + 1, '\n')) {
        if (strncasecmp(line + 1, "Content-Length:", 15) == 0)
            body = strtoul(line + 16, NULL, 10);
        if (strncasecmp(line + 1, "Connection: close", 17) == 0)
            *last = true;
    }
    return len >= (size_t)(end + 4 - answer) + body;
}

static void take_answer(struct load *load, struct connection *c, int status, bool last)
{
    if (status != 200) {
        c->answer[strcspn(c->answer, "\r\n")] = 0;
        fail(load, c, NOT_200, c->answer);
        return;
    }
    load->latencies[load->ok++] = (uint32_t)(now_us() - c->due);
    c->since = now_us();
    c->len = 0;
    c->state = last ? CLOSING : IDLE;
}

static void ended_by_server(struct load *load, struct connection *c, int error)
{
    const char *what = error ? strerror(error) : "end of stream";
    if (c->state == CLOSING && !error)
        let_go(c);
    else if (c->state == CLOSING)
        fail(load, c, NOT_CLOSED, what);
    else if (c->state == IDLE)
        fail(load, c, IDLE_CLOSED, what);
    else
        fail(load, c, error ? RESET : SHORT, what);
}

static void receive(struct load *load, struct connection *c)
{
    while (c->state != FREE) {
        ssize_t n = recv(c->fd, c->answer + c->len, ANSWER_MAX - c->len, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            ended_by_server(load, c, n < 0 ? errno : 0);
            return;
        }
        c->len += (size_t)n;
        c->answer[c->len] = 0;
        int status;
        bool last;
        if (c->state == ASKED && complete(c->answer, c->len, &status, &last))
            take_answer(load, c, status, last);
        else if (c->len == ANSWER_MAX)
            fail(load, c, NOT_200, "an answer longer than 8 KiB");
    }
}

static void handle(struct load *load, struct connection *c)
{
    if (c->state == CONNECTING) {
        int error = 0;
        struct tcp_info info;
        socklen_t size = sizeof(error), info_size = sizeof(info);
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            fail(load, c,
                 error == ECONNREFUSED ? REFUSED
                 : error == ETIMEDOUT  ? TIMEOUT
                                       : RESET,
                 strerror(error));
            return;
        }
        if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &info_size) == 0 &&
            info.tcpi_state == TCP_SYN_SENT)
            return;
        ask(load, c);
    }
    if (c->state != FREE)
        receive(load, c);
}

static int outstanding(struct load *load, int64_t now)
{
    int n = 0;
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &load->connections[i];
        if (c->state == FREE || c->state == IDLE)
            continue;
        if (now - c->since > TIMEOUT_US)
            fail(load, c, c->state == CLOSING ? NOT_CLOSED : TIMEOUT,
                 c->state == CONNECTING ? "no connection within 1 s" : "nothing within 1 s");
        else
            n++;
    }
    return n;
}

static void drive(struct load *load)
{
    for (int64_t checked = 0;;) {
        int64_t now = now_us();
        int64_t due = load->begin + load->sent * 1000000 / load->rate;
        bool done = ended || load->sent >= load->total;
        while (!done && due <= now) {
            struct connection *c = choose(load, load->sent % 2 == 0);
            if (!c) {
                fprintf(stderr, "load: more than %d requests under way\n", CONNECTIONS);
                exit(2);
            }
            c->kept = c - load->connections < KEPT;
            start(load, c, due);
            due = load->begin + load->sent * 1000000 / load->rate;
            done = load->sent >= load->total;
        }
        if ((done || now - checked > 20000) && (checked = now, outstanding(load, now) == 0) && done)
            return;
        int64_t wait = done || due - now > 20000 ? 20 : (due - now + 999) / 1000;
        struct epoll_event events[256];
        int n = epoll_wait(load->epoll, events, 256, wait < 0 ? 0 : (int)wait);
        for (int i = 0; i < n; i++)
            handle(load, events[i].data.ptr);
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void report(struct load *load)
{
    qsort(load->latencies, (size_t)load->ok, sizeof(*load->latencies), by_value);
    printf("{\"sent\":%ld,\"ok\":%ld,\"failed\":%ld,\"reasons\":{", load->sent, load->ok, load->failed);
    const char *comma = "";
    for (int i = 0; i < REASONS; i++) {
        if (!load->reasons[i])
            continue;
        printf("%s\"%s\":%ld", comma, reason_names[i], load->reasons[i]);
        comma = ",";
    }
    uint32_t p50 = load->ok ? load->latencies[load->ok / 2] : 0;
    uint32_t p99 = load->ok ? load->latencies[load->ok * 99 / 100] : 0;
    printf("},\"p50_us\":%u,\"p99_us\":%u}\n", p50, p99);
}

static struct load the_load; /* zeroed by the loader: too large for the stack */

int main(int argc, char **argv)
{
    struct load *load = &the_load;
    load->path = "/";
    for (int i = 5; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--log") == 0 && !(load->log = fopen(argv[i + 1], "w")))
            perror(argv[i + 1]);
        else if (strcmp(argv[i], "--path") == 0)
            load->path = argv[i + 1];
    }
    load->to = (struct sockaddr_in){.sin_family = AF_INET};
    if (argc < 5 || inet_pton(AF_INET, argv[1], &load->to.sin_addr) != 1 ||
        (load->rate = atol(argv[3])) < 1 || (load->total = load->rate * atol(argv[4])) < 1) {
        fprintf(stderr, "usage: load ADDRESS PORT RATE SECONDS [--log FILE] [--path PATH]\n");
        return 2;
    }
    load->to.sin_port = htons((uint16_t)atoi(argv[2]));
    load->latencies = calloc((size_t)load->total, sizeof(*load->latencies));
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < CONNECTIONS; i++)
        load->connections[i].fd = -1;
    signal(SIGTERM, on_term);
    load->begin = now_us();
    drive(load);
    report(load);
    return load->failed ? 1 : 0;
}
