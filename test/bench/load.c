/*
 * load: see load.h. It checks nothing but HTTP framing and the status: what an answer means is its user's.
 * TLS trusts the kubeconfig's CA file for the chain, not for the name (the server's address is in the
 * kubeconfig itself).
 *
 * Invariant: `in` holds only what the parser could not use yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define READ_SIZE 65536

_Noreturn void load_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "bench: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

int64_t load_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- connecting ---- */

static void resolve(struct load *load)
{
    const char *at = strstr(load->config.server, "://");
    auto_free char *host = mem_strdup(at ? at + 3 : load->config.server);
    char *slash = strchr(host, '/'), *colon = strrchr(host, ':');
    if (slash)
        *slash = 0;
    if (!colon)
        load_fail("no port in %s", load->config.server);
    load->host = mem_strdup(host);
    *colon = 0;
    struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM};
    if (getaddrinfo(host, colon + 1, &hints, &found))
        load_fail("cannot resolve %s", host);
    load->address = mem_copy(found->ai_addr, found->ai_addrlen);
    load->address_len = found->ai_addrlen;
    freeaddrinfo(found);
}

void load_init(struct load *load, const char *kubeconfig)
{
    auto_err err = NULL;
    if (kubeconfig_load(kubeconfig, &load->config, &err) < 0)
        load_fail("%s", err_message(err));
    resolve(load);
    load->authorization =
        load->config.token ? mem_printf("Authorization: Bearer %s\r\n", load->config.token) : mem_strdup("");
    gnutls_certificate_allocate_credentials(&load->credentials);
    const gnutls_datum_t ca = {(void *)load->config.ca_pem, (unsigned)strlen(load->config.ca_pem)};
    if (gnutls_certificate_set_x509_trust_mem(load->credentials, &ca, GNUTLS_X509_FMT_PEM) < 1)
        load_fail("no CA in %s", kubeconfig);
    if (load->config.certificate_pem) {
        const gnutls_datum_t certificate = {(void *)load->config.certificate_pem,
                                            (unsigned)strlen(load->config.certificate_pem)};
        const gnutls_datum_t key = {(void *)load->config.key_pem, (unsigned)strlen(load->config.key_pem)};
        if (gnutls_certificate_set_x509_key_mem(load->credentials, &certificate, &key, GNUTLS_X509_FMT_PEM) <
            0)
            load_fail("bad client certificate in %s", kubeconfig);
    }
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->tick_ms = 1000;
}

static void connect_one(struct load *load, struct connection *c)
{
    int one = 1;
    c->load = load;
    c->left = -1;
    c->fd = socket(load->address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)load->address, (socklen_t)load->address_len) < 0)
        load_fail("cannot connect to %s: %s", load->host, strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    gnutls_init(&c->session, GNUTLS_CLIENT);
    gnutls_set_default_priority(c->session);
    gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, load->credentials);
    gnutls_session_set_verify_cert(c->session, NULL, 0);
    gnutls_transport_set_int(c->session, c->fd);
    int code;
    while ((code = gnutls_handshake(c->session)) < 0 && !gnutls_error_is_fatal(code))
        ;
    if (code < 0)
        load_fail("TLS with %s: %s", load->host, gnutls_strerror(code));
    fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event);
}

void load_connect(struct load *load, int connections)
{
    load->connections = mem_array((size_t)connections, sizeof(*load->connections));
    load->n_connections = connections;
    for (int i = 0; i < connections; i++) {
        load->connections[i].index = i;
        connect_one(load, &load->connections[i]);
    }
}

void load_fini(struct load *load)
{
    for (int i = 0; i < load->n_connections; i++) {
        struct connection *c = &load->connections[i];
        gnutls_deinit(c->session);
        close(c->fd);
        str_free(&c->in);
        str_free(&c->out);
        str_free(&c->body);
    }
    free(load->connections);
    gnutls_certificate_free_credentials(load->credentials);
    close(load->epoll);
    free(load->host);
    free(load->authorization);
    free(load->address);
    kubeconfig_fini(&load->config);
}

/* ---- sending ---- */

static void push(struct connection *c)
{
    while (c->sent < c->out.len) {
        ssize_t n = gnutls_record_send(c->session, c->out.data + c->sent, c->out.len - c->sent);
        if (n < 0 && n != GNUTLS_E_AGAIN && n != GNUTLS_E_INTERRUPTED)
            load_fail("sending: %s", gnutls_strerror((int)n));
        if (n == GNUTLS_E_AGAIN)
            break;
        c->sent += n > 0 ? (size_t)n : 0;
    }
    bool blocked = c->sent < c->out.len;
    if (blocked != c->blocked) {
        struct epoll_event event = {.events = blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
        epoll_ctl(c->load->epoll, EPOLL_CTL_MOD, c->fd, &event);
    }
    c->blocked = blocked;
}

void load_send(struct connection *c, const char *method, const char *target, const char *body,
               size_t body_len)
{
    str_clear(&c->out);
    str_clear(&c->body);
    c->sent = 0;
    c->left = -1;
    c->busy = true;
    str_addf(&c->out, "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\n%s", method, target,
             c->load->host, c->load->authorization);
    if (body_len)
        str_addf(&c->out, "Content-Type: %s\r\nContent-Length: %zu\r\n",
                 str_eq(method, "PATCH") ? "application/merge-patch+json" : "application/json", body_len);
    str_add(&c->out, "\r\n");
    str_add_n(&c->out, body, body_len);
    c->begun_ns = load_now();
    push(c);
}

/* ---- receiving ---- */

static void eat(struct connection *c, size_t n)
{
    memmove(c->in.data, c->in.data + n, c->in.len - n);
    c->in.len -= n;
    c->in.data[c->in.len] = 0;
}

static bool parse_header(struct connection *c)
{
    char *end = c->in.len ? memmem(c->in.data, c->in.len, "\r\n\r\n", 4) : NULL;
    if (!end)
        return false;
    *end = 0;
    const char *length = strcasestr(c->in.data, "\r\nContent-Length:");
    c->chunked = strcasestr(c->in.data, "\r\nTransfer-Encoding: chunked") != NULL;
    c->status = atoi(c->in.data + strlen("HTTP/1.1 "));
    c->left = length ? atoll(length + strlen("\r\nContent-Length:")) : 0;
    if (!length && !c->chunked)
        load_fail("an answer without length: %s", c->in.data);
    eat(c, (size_t)(end - c->in.data) + 4);
    return true;
}

static void lines(struct connection *c)
{
    size_t at = 0;
    char *end;
    while (at < c->body.len && (end = memchr(c->body.data + at, '\n', c->body.len - at))) {
        c->load->line(c, c->body.data + at, (size_t)(end - c->body.data) - at);
        at = (size_t)(end - c->body.data) + 1;
    }
    if (at) {
        memmove(c->body.data, c->body.data + at, c->body.len - at);
        c->body.len -= at;
    }
}

/* One chunk size line, or 0 for more input; -1 when the last chunk was read. */
static int next_chunk(struct connection *c)
{
    size_t skip = c->in.len > 1 && c->in.data[0] == '\r' ? 2 : 0; /* the line end of the chunk before */
    char *end = c->in.len > skip ? memmem(c->in.data + skip, c->in.len - skip, "\r\n", 2) : NULL;
    if (!end)
        return 0;
    long long size = strtoll(c->in.data + skip, NULL, 16);
    if (size == 0 && c->in.len < (size_t)(end - c->in.data) + 4)
        return 0;
    c->left = size;
    eat(c, (size_t)(end - c->in.data) + (c->left ? 2 : 4));
    return c->left ? 1 : -1;
}

/* False: more input is needed. */
static bool parse_body(struct connection *c)
{
    if (c->chunked && c->left == 0) {
        int code = next_chunk(c);
        if (code <= 0)
            return code < 0;
    }
    size_t n = c->in.len < (size_t)c->left ? c->in.len : (size_t)c->left;
    str_add_n(&c->body, c->in.data, n);
    eat(c, n);
    c->left -= (long long)n;
    return !c->chunked && c->left == 0;
}

static void parse(struct connection *c)
{
    while (c->busy) {
        if (c->left < 0 && !parse_header(c))
            return;
        size_t before = c->in.len;
        bool complete = parse_body(c);
        if (c->stream)
            lines(c);
        if (complete) {
            if (c->stream)
                load_fail("a stream ended");
            c->busy = false;
            c->left = -1;
            c->load->done(c);
        } else if (c->in.len == before || c->in.len == 0) {
            return;
        }
    }
}

/* A long answer of known length goes straight to its place. */
static ssize_t take(struct connection *c)
{
    bool direct = c->busy && !c->chunked && !c->stream && c->left > 0 && c->in.len == 0;
    struct str *to = direct ? &c->body : &c->in;
    str_reserve(to, READ_SIZE);
    ssize_t n = gnutls_record_recv(c->session, to->data + to->len, READ_SIZE - 1);
    if (n <= 0)
        return n;
    if (direct && n > c->left)
        load_fail("more body than announced");
    to->len += (size_t)n;
    to->data[to->len] = 0;
    c->left -= direct ? n : 0;
    return n;
}

static void pull(struct connection *c)
{
    for (;;) {
        ssize_t n = take(c);
        if (n == GNUTLS_E_AGAIN)
            return;
        if (n == 0 || (n < 0 && gnutls_error_is_fatal((int)n)))
            load_fail("connection %d ended: %s", c->index, n ? gnutls_strerror((int)n) : "closed");
        if (n <= 0)
            continue;
        if (c->busy && c->left == 0 && !c->chunked && c->in.len == 0 && c->body.len) {
            c->busy = false;
            c->left = -1;
            c->load->done(c);
        } else {
            parse(c);
        }
    }
}

void load_run(struct load *load)
{
    struct epoll_event events[64];
    int64_t next_tick = load_now() + load->tick_ms * 1000000LL;
    load->stop = false;
    while (!load->stop) {
        int n = epoll_wait(load->epoll, events, COUNT_OF(events), load->tick_ms);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                push(c);
            pull(c);
        }
        int64_t now = load_now();
        if (load->deadline_ns && now > load->deadline_ns)
            load_fail("took too long");
        if (load->tick && now >= next_tick) {
            next_tick = now + load->tick_ms * 1000000LL;
            load->tick(load);
        }
    }
}
