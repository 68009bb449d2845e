/*
 * web: the demo server of the examples and tests: says who it is, over HTTP/1.1 and as UDP echo on the same
 * port.
 *
 *   /            pod=NAME node=NODE version=V path=/ (also for every path not listed here)
 *   /slow?ms=N   the same after N milliseconds           /burn?ms=N   after N milliseconds of CPU time
 *   /exit?code=N ends the process                        /alloc?mb=N  allocates and touches memory for good
 *   /bytes?n=N   N bytes                                 /env?name=X  an environment variable
 *   /healthz     200, or 500 once /fail was called       /ready       200, or 503 while /tmp/unready exists
 * or draining /echo        the request's body
 *   /metrics     requests so far and under way, in Prometheus' form; asking here does not count
 *
 * Usage: web [PORT] (or $PORT; 80). POD_NAME (else the host name) and NODE_NAME name it.
 * After SIGTERM every answer closes its connection, requests under way are finished, and the process ends
 * when all connections are closed or have been idle for a second. One thread per connection: slow requests
 * delay nobody.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef WEB_VERSION
#define WEB_VERSION "1"
#endif
#define MAX_HEAD 16384
#define MAX_BODY (1 << 20)
#define IDLE_AT_END_MS 1000
#define IDLE_MS 60000

static atomic_int draining, failing, busy, open_connections;
static atomic_llong last_request_ms, requests;
static char pod[256], node[256];
static int drain_event;

struct connection {
    int fd;
    size_t len; /* in buffer */
    char buffer[MAX_HEAD + 1];
};

struct answer {
    int status;
    const char *body;
    size_t len;
    char text[2048];
    char *allocated;
};

static long long now_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static long number(const char *query, const char *name, long fallback)
{
    const char *p = query ? strstr(query, name) : NULL;
    return p && p[strlen(name)] == '=' ? strtol(p + strlen(name) + 1, NULL, 10) : fallback;
}

static void say_who(struct answer *a, const char *path)
{
    snprintf(a->text, sizeof(a->text), "pod=%s node=%s version=%s path=%.512s\n", pod, node, WEB_VERSION,
             path);
    a->body = a->text;
    a->len = strlen(a->text);
}

static void say(struct answer *a, int status, const char *text)
{
    a->status = status;
    a->body = text;
    a->len = strlen(text);
}

static void burn(long ms)
{
    long long end = now_ms(CLOCK_THREAD_CPUTIME_ID) + ms;
    for (volatile unsigned i = 0; now_ms(CLOCK_THREAD_CPUTIME_ID) < end;)
        for (int k = 0; k < 10000; k++)
            i++;
}

static void say_metrics(struct answer *a)
{
    snprintf(a->text, sizeof(a->text),
             "# HELP http_requests_total Requests answered, without checks of health and this page.\n"
             "# TYPE http_requests_total counter\nhttp_requests_total{pod=\"%s\"} %lld\n"
             "# HELP http_requests_in_flight Requests that are being answered.\n"
             "# TYPE http_requests_in_flight gauge\nhttp_requests_in_flight %d\n",
             pod, (long long)requests, busy - 1);
    say(a, 200, a->text);
}

static void handle(struct answer *a, char *path, char *query, const char *body, size_t body_len)
{
    a->status = 200;
    if (strcmp(path, "/metrics") == 0) {
        say_metrics(a);
        return;
    }
    if (strcmp(path, "/healthz") != 0 && strcmp(path, "/ready") != 0)
        requests++;
    if (strcmp(path, "/slow") == 0) {
        usleep((useconds_t)number(query, "ms", 1000) * 1000);
    } else if (strcmp(path, "/burn") == 0) {
        burn(number(query, "ms", 100));
    } else if (strcmp(path, "/exit") == 0) {
        _exit((int)number(query, "code", 0));
    } else if (strcmp(path, "/fail") == 0) {
        failing = 1;
    } else if (strcmp(path, "/healthz") == 0) {
        say(a, failing ? 500 : 200, failing ? "failing\n" : "ok\n");
        return;
    } else if (strcmp(path, "/ready") == 0) {
        int ready = !draining && access("/tmp/unready", F_OK) != 0;
        say(a, ready ? 200 : 503, ready ? "ready\n" : "not ready\n");
        return;
    } else if (strcmp(path, "/echo") == 0) {
        a->body = body;
        a->len = body_len;
        return;
    } else if (strcmp(path, "/env") == 0) {
        const char *name = query && strncmp(query, "name=", 5) == 0 ? query + 5 : "";
        const char *value = getenv(name);
        snprintf(a->text, sizeof(a->text), "%s\n", value ? value : "");
        say(a, value ? 200 : 404, a->text);
        return;
    } else if (strcmp(path, "/bytes") == 0 || strcmp(path, "/alloc") == 0) {
        int keep = path[1] == 'a';
        size_t n = (size_t)(keep ? number(query, "mb", 1) << 20 : number(query, "n", 1024));
        a->allocated = malloc(n + 1);
        if (!a->allocated) {
            say(a, 507, "no memory\n");
            return;
        }
        memset(a->allocated, 'x', n);
        if (!keep) {
            a->body = a->allocated;
            a->len = n;
            return;
        }
        a->allocated = NULL; /* kept for good: that is what /alloc is for */
    }
    say_who(a, path);
}

/* The value of a header in the head, or NULL. */
static const char *header(const char *head, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = strchr(head, '\n'); line; line = strchr(line + 1, '\n'))
        if (strncasecmp(line + 1, name, len) == 0 && line[1 + len] == ':')
            return line + 2 + len + strspn(line + 2 + len, " ");
    return NULL;
}

static int fill(struct connection *c)
{
    struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN}, {.fd = drain_event, .events = POLLIN}};
    for (;;) {
        /* The event stays readable once the end has begun: then only the connection counts. */
        int n = poll(p, draining ? 1 : 2, draining ? IDLE_AT_END_MS / 10 : IDLE_MS);
        if (p[0].revents) {
            ssize_t got = recv(c->fd, c->buffer + c->len, MAX_HEAD - c->len, 0);
            if (got <= 0)
                return -1;
            c->len += (size_t)got;
            c->buffer[c->len] = 0;
            return 0;
        }
        if (n == 0 && !draining)
            return -1;
        if (draining && c->len == 0 && now_ms(CLOCK_MONOTONIC) - last_request_ms > IDLE_AT_END_MS)
            return -1;
    }
}

/* Moves the body to *body (allocated) and leaves what follows it in the buffer. */
static int read_body(struct connection *c, size_t head_len, size_t body_len, char **body)
{
    *body = malloc(body_len + 1);
    if (!*body)
        return -1;
    size_t have = c->len - head_len < body_len ? c->len - head_len : body_len;
    memcpy(*body, c->buffer + head_len, have);
    memmove(c->buffer, c->buffer + head_len + have, c->len - head_len - have);
    c->len -= head_len + have;
    while (have < body_len) {
        ssize_t n = recv(c->fd, *body + have, body_len - have, 0);
        if (n <= 0)
            return -1;
        have += (size_t)n;
    }
    return 0;
}

static int send_answer(struct connection *c, const struct answer *a, int head_only, int close_it)
{
    char head[512];
    int n = snprintf(
        head, sizeof(head),
        "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nX-Pod: %s\r\n%s\r\n", a->status,
        a->status == 200 ? "OK" : "No", a->len, pod, close_it ? "Connection: close\r\n" : "");
    if (a->len + (size_t)n < 2048 && !head_only) { /* one segment */
        char all[2560];
        memcpy(all, head, (size_t)n);
        memcpy(all + n, a->body, a->len);
        return write_all(c->fd, all, (size_t)n + a->len);
    }
    if (write_all(c->fd, head, (size_t)n) < 0)
        return -1;
    return head_only ? 0 : write_all(c->fd, a->body, a->len);
}

/* One request; 0: the connection may go on. */
static int serve_one(struct connection *c)
{
    char *end;
    while (!(end = c->len ? strstr(c->buffer, "\r\n\r\n") : NULL))
        if (c->len == MAX_HEAD || fill(c) < 0)
            return -1;
    busy++;
    last_request_ms = now_ms(CLOCK_MONOTONIC);
    size_t head_len = (size_t)(end - c->buffer) + 4;
    char head[MAX_HEAD + 1], method[16], target[4096], *body = NULL;
    memcpy(head, c->buffer, head_len);
    head[head_len - 2] = 0;
    const char *length = header(head, "Content-Length"), *connection = header(head, "Connection");
    size_t body_len = length ? strtoul(length, NULL, 10) : 0;
    int result = -1;
    if (sscanf(head, "%15s %4095s HTTP/1.", method, target) == 2 && body_len <= MAX_BODY &&
        read_body(c, head_len, body_len, &body) == 0) {
        char *query = strchr(target, '?');
        if (query)
            *query++ = 0;
        struct answer a = {0};
        handle(&a, target, query, body, body_len);
        int close_it =
            draining || (connection && strncasecmp(connection, "close", 5) == 0) || strstr(head, "HTTP/1.0");
        result = send_answer(c, &a, strcmp(method, "HEAD") == 0, close_it);
        free(a.allocated);
        if (close_it)
            result = -1;
    }
    free(body);
    last_request_ms = now_ms(CLOCK_MONOTONIC);
    busy--;
    return result;
}

static void *serve(void *arg)
{
    struct connection c = {.fd = (int)(long)arg};
    int one = 1;
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    while (serve_one(&c) == 0)
        ;
    shutdown(c.fd, SHUT_WR);
    /* What the client may still be sending must not be answered by a reset that overtakes the answer. */
    struct pollfd p = {.fd = c.fd, .events = POLLIN};
    while (poll(&p, 1, 200) > 0 && recv(c.fd, c.buffer, MAX_HEAD, 0) > 0)
        ;
    close(c.fd);
    open_connections--;
    return NULL;
}

static void *echo_datagrams(void *arg)
{
    int fd = (int)(long)arg;
    char buffer[65536];
    for (;;) {
        struct sockaddr_storage from;
        socklen_t len = sizeof(from);
        int n = snprintf(buffer, 300, "%s ", pod);
        ssize_t got = recvfrom(fd, buffer + n, sizeof(buffer) - (size_t)n, 0, (struct sockaddr *)&from, &len);
        if (got >= 0)
            sendto(fd, buffer, (size_t)(got + n), 0, (struct sockaddr *)&from, len);
    }
    return NULL;
}

static int bind_port(int type, int port)
{
    int fd = socket(AF_INET6, type, 0), one = 1, zero = 0;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)port)};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    int bound = -1;
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
        bound = bind(fd, (struct sockaddr *)&any, sizeof(any));
    }
    if (bound < 0) { /* a machine without IPv6 */
        if (fd >= 0)
            close(fd);
        fd = socket(AF_INET, type, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        bound = bind(fd, (struct sockaddr *)&any4, sizeof(any4));
    }
    if (bound < 0 || (type == SOCK_STREAM && listen(fd, 4096) < 0)) {
        perror("web: bind");
        exit(1);
    }
    return fd;
}

static void start_thread(void *(*body)(void *), int fd)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, body, (void *)(long)fd) != 0) {
        close(fd);
        if (body == serve)
            open_connections--;
    }
}

static void on_term(int number)
{
    (void)number;
    uint64_t one = 1;
    draining = 1;
    (void)!write(drain_event, &one, sizeof(one));
}

static void accept_until_drained(int listener)
{
    for (;;) {
        struct pollfd p = {.fd = listener, .events = POLLIN};
        if (poll(&p, 1, draining ? 20 : 1000) > 0) {
            int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0) {
                open_connections++;
                start_thread(serve, fd);
            }
            continue;
        }
        if (draining && !busy && !open_connections)
            return;
    }
}

int main(int argc, char **argv)
{
    const char *port_text = argc > 1 ? argv[1] : getenv("PORT"), *name = getenv("POD_NAME");
    int port = port_text ? atoi(port_text) : 80;
    if (name)
        snprintf(pod, sizeof(pod), "%s", name);
    else
        gethostname(pod, sizeof(pod) - 1);
    snprintf(node, sizeof(node), "%s", getenv("NODE_NAME") ? getenv("NODE_NAME") : "unknown");
    struct sigaction action = {.sa_handler = on_term};
    drain_event = eventfd(0, EFD_NONBLOCK);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int listener = bind_port(SOCK_STREAM, port);
    start_thread(echo_datagrams, bind_port(SOCK_DGRAM, port));
    printf("web %s: pod %s listens on port %d\n", WEB_VERSION, pod, port);
    fflush(stdout);
    accept_until_drained(listener);
    printf("web %s: pod %s ends\n", WEB_VERSION, pod);
    fflush(stdout);
    _exit(0);
}
