/*
 * node_forward: /portForward: connections from the client to ports of a pod, made inside the pod's network
 * namespace to 127.0.0.1, so that what listens on localhost only is reached, too.
 *
 * Two protocols: SPDY/3.1, plain or within a WebSocket (SPDY/3.1+portforward.k8s.io): any number of
 * connections, each a pair of streams, error and data, with the same requestid; and the older channel
 * protocol of WebSockets (v5, v4; ports=N): one connection per port, data channel 2i and error channel 2i+1,
 * whose first message, from us, is the port as 16 bits, little-endian. It has no half close: when one
 * connection is over, so is the session. A session ends with the pod's sandbox.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "node/node_internal.h"

#define MAX_PORTS 8 /* of the channel protocol */
#define HIGH_MARK (256u << 10)
#define SPDY_PROTOCOL "portforward.k8s.io"

struct forward {
    struct loop *loop;
    struct http_exchange *x;
    char *pod;
    int sandbox, netns; /* pidfd and namespace of the sandbox */
    struct loop_fd *sandbox_end;
    const char *protocol;
    char *accept; /* of WebSocket; NULL: plain SPDY */
    bool spdy_framed;
    struct http_duplex *client;
    struct spdy *spdy;
    struct websocket *ws; /* channel protocol */
    struct list connections;
    uint16_t ports[MAX_PORTS];
    size_t n_ports;
};

/* One TCP connection into the pod. */
struct connection {
    struct list node;
    struct forward *forward;
    uint16_t port;
    char *request_id;                  /* SPDY */
    struct spdy_stream *data, *errors; /* SPDY; NULL: not there yet, or gone */
    unsigned index;                    /* channel protocol */
    struct byte_link *pod;             /* NULL: not connected yet, or over */
    bool begun;
};

static void connection_free(struct connection *c)
{
    list_remove(&c->node);
    byte_link_close(c->pod);
    free(c->request_id);
    free(c);
}

/* Ends everything that is still there. */
static void forward_free(void *arg)
{
    struct forward *f = arg;
    struct connection *c, *following;
    spdy_close(f->spdy);
    if (f->ws)
        websocket_close(f->ws, 1000);
    list_each_safe (c, following, &f->connections, node)
        connection_free(c);
    loop_fd_remove(f->sandbox_end);
    if (f->sandbox >= 0)
        close(f->sandbox);
    if (f->netns >= 0)
        close(f->netns);
    free(f->pod);
    free(f->accept);
    free(f);
}

/* ---- towards the client ---- */

static size_t send_channel(struct forward *f, unsigned channel, const void *data, size_t len)
{
    auto_free char *message = mem_alloc(len + 1);
    message[0] = (char)channel;
    memcpy(message + 1, data, len);
    return websocket_send(f->ws, WEBSOCKET_BINARY, message, len + 1);
}

static void send_error(struct connection *c, const char *problem)
{
    auto_free char *text =
        mem_printf("error forwarding port %u to pod %s: %s", c->port, c->forward->pod, problem);
    log_debug("node", "%s", text);
    if (c->errors)
        spdy_send(c->errors, text, strlen(text));
    else if (c->forward->ws)
        send_channel(c->forward, c->index * 2 + 1, text, strlen(text));
}

/* Nothing more comes from the pod. The error stream's end says so to clients that wait for it. */
static void end_client(struct connection *c)
{
    if (c->data)
        spdy_end(c->data);
    if (c->errors)
        spdy_end(c->errors);
}

static void on_pod_data(void *arg, const char *data, size_t len)
{
    struct connection *c = arg;
    struct forward *f = c->forward;
    size_t waiting = f->ws     ? send_channel(f, c->index * 2, data, len)
                     : c->data ? spdy_send(c->data, data, len)
                               : 0;
    if (waiting > HIGH_MARK)
        byte_link_pause(c->pod, true);
}

static void send_dial_error(struct connection *c, int error)
{
    auto_free char *problem = mem_printf("dial tcp4 127.0.0.1:%u: connect: %s", c->port,
                                         error == ECONNREFUSED ? "connection refused" : strerror(error));
    send_error(c, problem);
}

/* An error that is told makes kubectl give up the whole session: only what prevents the connection is one. */
static void on_pod_end(void *arg, int error)
{
    struct connection *c = arg;
    if (error == ECONNREFUSED || error == ETIMEDOUT || error == EHOSTUNREACH)
        send_dial_error(c, error);
    else if (error)
        log_debug("node", "port-forward to port %u: %s", c->port, strerror(error));
    if (c->forward->ws)
        forward_free(c->forward);
    else
        end_client(c);
}

/* ---- towards the pod ---- */

static void send_to_pod(struct connection *c, const char *data, size_t len)
{
    if (!c->pod || byte_link_send(c->pod, data, len) <= HIGH_MARK)
        return;
    if (c->forward->ws)
        websocket_pause(c->forward->ws, true);
    else if (c->data)
        spdy_pause(c->data, true);
}

static void on_pod_drain(void *arg)
{
    struct connection *c = arg;
    if (c->forward->ws)
        websocket_pause(c->forward->ws, false);
    else if (c->data)
        spdy_pause(c->data, false);
}

/* The socket, connected or about to be; -1 with errno. */
static int connect_pod(const struct forward *f, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    auto_err err = NULL;
    int fd = netns_socket(f->netns, &err);
    if (fd < 0) {
        log_warn("node", "port-forward to pod %s: %s", f->pod, err_message(err));
        errno = ENETUNREACH;
        return -1;
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EINPROGRESS)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* False: nobody listens there; told. */
static bool begin(struct connection *c)
{
    const struct byte_link_options options = {on_pod_data, on_pod_end, on_pod_drain, c};
    c->begun = true;
    int fd = connect_pod(c->forward, c->port);
    if (fd >= 0) {
        c->pod = byte_link_new(c->forward->loop, http_duplex_from_fd(fd), &options);
        return true;
    }
    send_dial_error(c, errno);
    end_client(c);
    return false;
}

/* ---- SPDY ---- */

static void on_stream_data(void *arg, const char *data, size_t len)
{
    send_to_pod(arg, data, len);
}

static void on_stream_end(void *arg)
{
    struct connection *c = arg;
    if (c->pod)
        byte_link_end(c->pod);
}

static void on_stream_drain(void *arg)
{
    struct connection *c = arg;
    if (c->pod)
        byte_link_pause(c->pod, false);
}

static void on_data_closed(void *arg)
{
    struct connection *c = arg;
    c->data = NULL;
    byte_link_close(steal(&c->pod));
    if (c->errors)
        spdy_end(c->errors);
    else
        connection_free(c);
}

static void ignore_data(void *arg UNUSED, const char *data UNUSED, size_t len UNUSED)
{
}

static void ignore_end(void *arg UNUSED)
{
}

static void on_errors_closed(void *arg)
{
    struct connection *c = arg;
    c->errors = NULL;
    if (!c->data)
        connection_free(c);
}

static struct connection *connection_of(struct forward *f, const char *request_id, uint16_t port)
{
    struct connection *c;
    list_each (c, &f->connections, node) {
        if (!c->begun && c->port == port && str_eq(c->request_id, request_id))
            return c;
    }
    c = NEW(struct connection);
    c->forward = f;
    c->port = port;
    c->request_id = mem_strdup(request_id);
    list_add_tail(&f->connections, &c->node);
    return c;
}

static void on_stream(void *arg, struct spdy_stream *stream, const struct http_pair *headers, size_t count)
{
    static const struct spdy_stream_ops data_ops = {on_stream_data, on_stream_end, on_stream_drain,
                                                    on_data_closed};
    static const struct spdy_stream_ops error_ops = {ignore_data, ignore_end, NULL, on_errors_closed};
    const char *type = "", *port = "", *request_id = "";
    for (size_t i = 0; i < count; i++) {
        const char **value = str_eq(headers[i].name, "streamtype")  ? &type
                             : str_eq(headers[i].name, "port")      ? &port
                             : str_eq(headers[i].name, "requestid") ? &request_id
                                                                    : NULL;
        if (value)
            *value = headers[i].value;
    }
    long long number;
    bool data = str_eq(type, "data");
    if (str_to_int64(port, &number) < 0 || number < 1 || number > 65535 || (!data && !str_eq(type, "error")))
        return; /* refused */
    struct connection *c = connection_of(arg, request_id, (uint16_t)number);
    if (data ? c->data != NULL : c->errors != NULL)
        return;
    spdy_accept(stream, data ? &data_ops : &error_ops, c);
    if (data)
        c->data = stream;
    else
        c->errors = stream;
    if (c->data && c->errors)
        begin(c);
}

/* ---- channel protocol ---- */

static void on_message(void *arg, enum websocket_type type, const char *data, size_t len)
{
    struct forward *f = arg;
    if (type == WEBSOCKET_CLOSED) {
        f->ws = NULL;
        forward_free(f);
        return;
    }
    unsigned channel = len ? (unsigned char)data[0] : 1;
    struct connection *c;
    if (channel % 2 || len < 2)
        return;
    list_each (c, &f->connections, node) {
        if (c->index == channel / 2) {
            send_to_pod(c, data + 1, len - 1);
            return;
        }
    }
}

static void on_ws_drain(void *arg)
{
    struct forward *f = arg;
    struct connection *c;
    list_each (c, &f->connections, node)
        if (c->pod)
            byte_link_pause(c->pod, false);
}

static void begin_channels(struct forward *f)
{
    const struct websocket_options options = {.on_message = on_message, .on_drain = on_ws_drain, .arg = f};
    f->ws = websocket_new(f->loop, steal(&f->client), &options);
    for (size_t i = 0; i < f->n_ports; i++) {
        unsigned char number[2] = {f->ports[i] & 0xff, f->ports[i] >> 8};
        send_channel(f, (unsigned)i * 2, number, sizeof(number));
        send_channel(f, (unsigned)i * 2 + 1, number, sizeof(number));
    }
    for (size_t i = 0; i < f->n_ports; i++) {
        struct connection *c = NEW(struct connection);
        *c = (struct connection){.forward = f, .port = f->ports[i], .index = (unsigned)i};
        list_add_tail(&f->connections, &c->node);
        if (!begin(c)) {
            forward_free(f);
            return;
        }
    }
}

/* ---- the session ---- */

static void on_sandbox_end(void *arg, unsigned events UNUSED)
{
    forward_free(arg);
}

static void on_spdy_closed(void *arg)
{
    struct forward *f = arg;
    f->spdy = NULL;
    forward_free(f);
}

static void join(void *arg)
{
    struct forward *f = arg;
    const struct spdy_options options = {
        .websocket = f->accept != NULL, .on_stream = on_stream, .on_closed = on_spdy_closed, .arg = f};
    f->sandbox_end = loop_fd_add(f->loop, f->sandbox, EPOLLIN, on_sandbox_end, f, NULL);
    if (f->spdy_framed)
        f->spdy = spdy_new(f->loop, steal(&f->client), &options);
    else
        begin_channels(f);
}

static void on_upgraded(void *arg, struct http_duplex *duplex, struct err *err)
{
    struct forward *f = arg;
    f->client = duplex;
    loop_post(f->loop, err ? forward_free : join, f);
}

static void add_ports(struct forward *f, const struct http_request *request)
{
    for (size_t i = 0; i < request->n_query; i++) {
        if (!str_eq(request->query[i].name, "ports"))
            continue;
        auto_free char **numbers = str_split(request->query[i].value, ',', NULL);
        for (size_t k = 0; numbers[k] && f->n_ports < MAX_PORTS; k++) {
            long long number;
            if (str_to_int64(numbers[k], &number) == 0 && number >= 1 && number <= 65535)
                f->ports[f->n_ports++] = (uint16_t)number;
        }
    }
}

static bool choose_protocol(struct forward *f, const struct http_request *request)
{
    static const char *const of_websocket[] = {"SPDY/3.1+" SPDY_PROTOCOL, "v5.channel.k8s.io",
                                               "v4.channel.k8s.io"};
    static const char *const of_spdy[] = {SPDY_PROTOCOL};
    const char *key = http_request_header(request, "sec-websocket-key");
    const char *upgrade = http_request_header(request, "upgrade");
    if (key)
        f->protocol = node_offered(request, "sec-websocket-protocol", of_websocket, COUNT_OF(of_websocket));
    else if (upgrade && strcasecmp(upgrade, "SPDY/3.1") == 0)
        f->protocol = node_offered(request, "x-stream-protocol-version", of_spdy, COUNT_OF(of_spdy));
    f->spdy_framed = !key || f->protocol == of_websocket[0];
    f->accept = key && f->protocol ? websocket_accept_key(key) : NULL;
    return f->protocol != NULL;
}

/* The sandbox by pidfd, then its namespace by number; if the process is alive after that, it was its. */
static bool open_sandbox(struct forward *f, const struct pod *pod)
{
    auto_free char *path = mem_printf("/proc/%d/ns/net", pod->sandbox_pid);
    if (pod->sandbox_state != RUNTIME_RUNNING || pod->sandbox_pid <= 0)
        return false;
    f->sandbox = (int)syscall(SYS_pidfd_open, pod->sandbox_pid, 0);
    f->netns = open(path, O_RDONLY | O_CLOEXEC);
    return f->sandbox >= 0 && f->netns >= 0 && syscall(SYS_pidfd_send_signal, f->sandbox, 0, NULL, 0) == 0;
}

static void answer(struct forward *f)
{
    const struct http_pair ws[] = {{"Upgrade", "websocket"},
                                   {"Connection", "Upgrade"},
                                   {"Sec-WebSocket-Accept", f->accept},
                                   {"Sec-WebSocket-Protocol", f->protocol}};
    const struct http_pair spdy[] = {
        {"Upgrade", "SPDY/3.1"}, {"Connection", "Upgrade"}, {"X-Stream-Protocol-Version", f->protocol}};
    if (f->accept)
        http_upgrade(f->x, ws, COUNT_OF(ws), on_upgraded, f);
    else
        http_upgrade(f->x, spdy, COUNT_OF(spdy), on_upgraded, f);
}

void node_forward_handle(struct node *node, struct http_exchange *x, struct pod *pod)
{
    struct forward *f = NEW(struct forward);
    f->loop = node->loop;
    f->x = x;
    f->pod = mem_strdup(pod->name);
    f->sandbox = f->netns = -1;
    list_init(&f->connections);
    add_ports(f, &x->request);
    if (!choose_protocol(f, &x->request))
        node_answer_error(x, ERR_BAD_REQUEST,
                          "port-forward needs SPDY/3.1 with " SPDY_PROTOCOL ", or a WebSocket with "
                          "SPDY/3.1+" SPDY_PROTOCOL ", v5.channel.k8s.io or v4.channel.k8s.io");
    else if (!f->spdy_framed && !f->n_ports)
        node_answer_error(x, ERR_BAD_REQUEST, "no ports to forward to pod %s", pod->name);
    else if (!open_sandbox(f, pod))
        node_answer_error(x, ERR_BAD_REQUEST, "unable to forward port because pod %s is not running",
                          pod->name);
    else {
        answer(f);
        return;
    }
    forward_free(f);
}
