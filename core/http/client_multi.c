/*
 * What every use of libcurl here shares: its multi interface on a loop (sockets and one timer, no polling),
 * the identity (CA, certificate, key, token), the collection of header lines, and the translation of errors.
 */
#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/client_private.h"

/* ---- identity ---- */

static int memory_file(const char *text, struct err **err)
{
    int fd = memfd_create("pem", MFD_CLOEXEC);
    size_t len = strlen(text);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len) {
        err_errno(err, errno, "making a memory file");
        fd_cleanup(&fd);
        return -1;
    }
    return fd;
}

static int keep_pem(int *fd, const char *text, struct err **err)
{
    if (text)
        *fd = memory_file(text, err);
    return text && *fd < 0 ? -1 : 0;
}

static char **header_lines(const struct http_client_options *options)
{
    char **lines = mem_array(options->n_headers + 3, sizeof *lines), **line = lines;
    if (options->bearer_token)
        *line++ = mem_printf("Authorization: Bearer %s", options->bearer_token);
    if (options->agent)
        *line++ = mem_printf("User-Agent: %s", options->agent);
    for (size_t i = 0; i < options->n_headers; i++)
        *line++ = mem_printf("%s: %s", options->headers[i].name, options->headers[i].value);
    return lines;
}

struct client_identity *client_identity_new(const struct http_client_options *options, struct err **err)
{
    struct client_identity *identity = NEW(struct client_identity);
    identity->refs = 1;
    identity->ca_fd = identity->certificate_fd = identity->key_fd = -1;
    size_t len = strlen(options->base_url);
    while (len > 0 && options->base_url[len - 1] == '/')
        len--;
    identity->base_url = mem_strndup(options->base_url, len);
    identity->tls = str_starts(identity->base_url, "https://");
    const char *host = strstr(identity->base_url, "://");
    host = host ? host + 3 : "";
    identity->host = mem_strndup(host, strcspn(host, "/"));
    identity->unix_path = mem_strdup(options->unix_path);
    identity->lines = header_lines(options);
    if (!identity->tls && !str_starts(identity->base_url, "http://"))
        err_set(err, ERR_INVALID, "not an http or https address: %s", identity->base_url);
    else if (keep_pem(&identity->ca_fd, options->ca_pem, err) == 0 &&
             keep_pem(&identity->certificate_fd, options->certificate_pem, err) == 0 &&
             keep_pem(&identity->key_fd, options->key_pem, err) == 0)
        return identity;
    client_identity_unref(identity);
    return NULL;
}

struct client_identity *client_identity_ref(struct client_identity *identity)
{
    atomic_fetch_add_explicit(&identity->refs, 1, memory_order_relaxed);
    return identity;
}

void client_identity_unref(struct client_identity *identity)
{
    if (!identity || atomic_fetch_sub_explicit(&identity->refs, 1, memory_order_acq_rel) != 1)
        return;
    fd_cleanup(&identity->ca_fd);
    fd_cleanup(&identity->certificate_fd);
    fd_cleanup(&identity->key_fd);
    free(identity->base_url);
    free(identity->host);
    free(identity->unix_path);
    for (char **line = identity->lines; *line; line++)
        free(*line);
    free(identity->lines);
    free(identity);
}

/* A vanished server is noticed within about half a minute, also by a stream on which nothing is sent. */
static int tune_socket(void *arg UNUSED, curl_socket_t fd, curlsocktype purpose UNUSED)
{
    int milliseconds = 30000, one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds,
               sizeof milliseconds); /* fails on unix sockets: fine */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return CURL_SOCKOPT_OK;
}

static void set_file(CURL *easy, CURLoption option, int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd >= 0)
        curl_easy_setopt(easy, option, path);
}

void client_identity_apply(const struct client_identity *identity, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CLIENT_CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 15L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, tune_socket);
    if (identity->unix_path)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, identity->unix_path);
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(easy, CURLOPT_CAINFO, NULL); /* never the machine's own list */
    set_file(easy, CURLOPT_CAINFO, identity->ca_fd);
    set_file(easy, CURLOPT_SSLCERT, identity->certificate_fd);
    set_file(easy, CURLOPT_SSLKEY, identity->key_fd);
}

/* ---- a multi handle on a loop ---- */

struct multi_socket {
    struct list node;
    struct client_multi *owner;
    struct loop_fd *watch;
    int fd;
};

static void act(struct client_multi *m, curl_socket_t fd, int what)
{
    int running;
    m->inside = true;
    curl_multi_socket_action(m->multi, fd, what, &running);
    m->inside = false;
    m->on_event(m->arg); /* may free m */
}

static void on_socket_ready(void *arg, unsigned events)
{
    struct multi_socket *socket = arg;
    int what = (events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
    act(socket->owner, socket->fd, what);
}

static void forget_socket(struct multi_socket *socket)
{
    loop_fd_remove(socket->watch);
    list_remove(&socket->node);
    free(socket);
}

static int on_socket(CURL *easy UNUSED, curl_socket_t fd, int what, void *arg, void *of_socket)
{
    struct client_multi *m = arg;
    struct multi_socket *socket = of_socket;
    if (what == CURL_POLL_REMOVE) {
        if (socket)
            forget_socket(socket);
        curl_multi_assign(m->multi, fd, NULL);
        return 0;
    }
    unsigned events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
    if (socket) {
        loop_fd_events(socket->watch, events);
        return 0;
    }
    socket = NEW(struct multi_socket);
    socket->owner = m;
    socket->fd = fd;
    socket->watch = loop_fd_add(m->loop, fd, events, on_socket_ready, socket, NULL);
    list_init(&socket->node);
    list_add_tail(&m->sockets, &socket->node);
    if (!socket->watch) {
        list_remove(&socket->node);
        free(socket);
        return -1;
    }
    curl_multi_assign(m->multi, fd, socket);
    return 0;
}

static void on_timeout(void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi UNUSED, long milliseconds, void *arg)
{
    struct client_multi *m = arg;
    if (milliseconds < 0)
        loop_timer_stop(m->timer);
    else
        loop_timer_start(m->timer, milliseconds);
    return 0;
}

int client_multi_init(struct client_multi *m, struct loop *loop, void (*on_event)(void *), void *arg,
                      struct err **err)
{
    *m = (struct client_multi){.loop = loop, .on_event = on_event, .arg = arg};
    list_init(&m->sockets);
    m->multi = curl_multi_init();
    if (!m->multi)
        return err_set(err, ERR_INTERNAL, "libcurl does not start");
    m->timer = loop_timer_new(loop, on_timeout, m);
    curl_multi_setopt(m->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(m->multi, CURLMOPT_SOCKETDATA, m);
    curl_multi_setopt(m->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(m->multi, CURLMOPT_TIMERDATA, m);
    curl_multi_setopt(m->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    return 0;
}

void client_multi_fini(struct client_multi *m)
{
    if (m->multi)
        curl_multi_cleanup(m->multi); /* closes its connections, through on_socket */
    struct multi_socket *socket, *next;
    list_each_safe (socket, next, &m->sockets, node)
        forget_socket(socket);
    loop_timer_free(m->timer);
    m->multi = NULL;
    m->timer = NULL;
}

/* ---- heads ---- */

void client_head_clear(struct client_head *head)
{
    str_clear(&head->names);
    head->count = 0;
}

void client_head_add_line(struct client_head *head, const char *line, size_t len)
{
    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n'))
        len--;
    const char *colon = memchr(line, ':', len);
    if (!colon || head->names.len + len > 4 * HTTP_MAX_HEADERS)
        return;
    for (const char *p = line; p < colon; p++)
        str_add_char(&head->names, (char)tolower((unsigned char)*p));
    str_add_n(&head->names, "", 1);
    const char *value = colon + 1, *end = line + len;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    str_add_n(&head->names, value, (size_t)(end - value));
    str_add_n(&head->names, "", 1);
    head->count++;
}

struct http_pair *client_head_pairs(const struct client_head *head)
{
    struct http_pair *pairs = mem_array(head->count + 1, sizeof *pairs);
    const char *at = head->names.data;
    for (size_t i = 0; i < head->count; i++) {
        pairs[i].name = at;
        at += strlen(at) + 1;
        pairs[i].value = at;
        at += strlen(at) + 1;
    }
    return pairs;
}

/* ---- errors ---- */

enum err_code client_error_code(CURLcode code)
{
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return ERR_UNAUTHORIZED;
    case CURLE_FILESIZE_EXCEEDED:
        return ERR_TOO_LARGE;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return ERR_INVALID;
    default:
        return ERR_UNAVAILABLE;
    }
}

void client_error_set(struct err **err, CURLcode code, const char *detail, const char *method,
                      const char *target)
{
    err_set(err, client_error_code(code), "%s %.*s: %s", method, (int)strcspn(target, "?"), target,
            str_empty(detail) ? curl_easy_strerror(code) : detail);
}
