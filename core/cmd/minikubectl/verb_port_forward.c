/*
 * port-forward: local ports that lead to ports of a pod. One SPDY session carries all connections, each as a
 * pair of streams (error, data) with the same requestid.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "kubectl.h"

#define MAX_LISTENERS 32
#define HIGH_MARK (256u << 10)

struct forwarding;
struct listener {
    struct forwarding *forwarding;
    int fd;
    uint16_t local, remote;
    struct loop_fd *watch;
};

struct forwarding {
    struct kubectl *k;
    struct listener listeners[MAX_LISTENERS];
    size_t n_listeners;
    struct spdy *spdy;
    struct list connections;
    unsigned long long next_request;
    struct err *err;
    bool lost;
};

struct connection {
    struct list node;
    struct forwarding *forwarding;
    const struct listener *listener;
    struct byte_link *local;           /* NULL: over */
    struct spdy_stream *data, *errors; /* NULL: over */
    struct str error;
};

/* ---- one connection ---- */

static void connection_check(struct connection *c)
{
    if (c->local || c->data || c->errors)
        return;
    list_remove(&c->node);
    str_free(&c->error);
    free(c);
}

static void on_local_data(void *arg, const char *data, size_t len)
{
    struct connection *c = arg;
    if (c->data && spdy_send(c->data, data, len) > HIGH_MARK)
        byte_link_pause(c->local, true);
}

static void on_local_end(void *arg, int error)
{
    struct connection *c = arg;
    if (!c->data)
        return;
    if (error)
        spdy_reset(steal(&c->data));
    else
        spdy_end(c->data);
    if (error) {
        byte_link_close(steal(&c->local));
        connection_check(c);
    }
}

static void on_local_drain(void *arg)
{
    struct connection *c = arg;
    if (c->data)
        spdy_pause(c->data, false);
}

static void on_data(void *arg, const char *data, size_t len)
{
    struct connection *c = arg;
    if (c->local && byte_link_send(c->local, data, len) > HIGH_MARK)
        spdy_pause(c->data, true);
}

static void on_data_end(void *arg)
{
    struct connection *c = arg;
    if (c->local)
        byte_link_end(c->local);
}

static void on_data_drain(void *arg)
{
    struct connection *c = arg;
    if (c->local)
        byte_link_pause(c->local, false);
}

static void on_data_closed(void *arg)
{
    struct connection *c = arg;
    c->data = NULL;
    byte_link_close(steal(&c->local));
    connection_check(c);
}

static void on_error_text(void *arg, const char *data, size_t len)
{
    struct connection *c = arg;
    if (c->error.len < 4096)
        str_add_n(&c->error, data, len);
}

/* The pod's side is over, well or with a message; what the local side still sends is for nobody. */
static void on_error_end(void *arg)
{
    struct connection *c = arg;
    if (c->error.len)
        fprintf(stderr, "error: an error occurred forwarding %u -> %u: %s\n", c->listener->local,
                c->listener->remote, str_c(&c->error));
    if (c->data && c->error.len) {
        spdy_reset(steal(&c->data));
        byte_link_close(steal(&c->local));
    } else if (c->data) {
        spdy_end(c->data);
    }
}

static void on_errors_closed(void *arg)
{
    struct connection *c = arg;
    c->errors = NULL;
    connection_check(c);
}

static struct spdy_stream *open_stream(struct connection *c, const char *type, const char *request,
                                       const struct spdy_stream_ops *ops)
{
    auto_free char *port = mem_printf("%u", c->listener->remote);
    const struct http_pair headers[] = {{"streamtype", type}, {"port", port}, {"requestid", request}};
    return spdy_open(c->forwarding->spdy, headers, COUNT_OF(headers), ops, c);
}

static void on_accept(void *arg, unsigned ready UNUSED)
{
    static const struct spdy_stream_ops data_ops = {on_data, on_data_end, on_data_drain, on_data_closed};
    static const struct spdy_stream_ops error_ops = {on_error_text, on_error_end, NULL, on_errors_closed};
    struct listener *listener = arg;
    struct forwarding *f = listener->forwarding;
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    printf("Handling connection for %u\n", listener->local);
    fflush(stdout);
    struct connection *c = NEW(struct connection);
    c->forwarding = f;
    c->listener = listener;
    list_add_tail(&f->connections, &c->node);
    auto_free char *request = mem_printf("%llu", f->next_request++);
    c->errors = open_stream(c, "error", request, &error_ops);
    spdy_end(c->errors);
    c->data = open_stream(c, "data", request, &data_ops);
    const struct byte_link_options options = {on_local_data, on_local_end, on_local_drain, c};
    c->local = byte_link_new(f->k->loop, http_duplex_from_fd(fd), &options);
}

/* ---- listening ---- */

static int listen_on(const char *address, uint16_t *port, struct err **err)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t len = sizeof(at);
    int yes = 1;
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
        return err_set(err, ERR_BAD_REQUEST, "--address: \"%s\" is not an IPv4 address or localhost",
                       address);
    auto_fd fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) < 0 || listen(fd, 128) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        return err_set(err, ERR_UNAVAILABLE, "unable to listen on port %u: %s", *port, strerror(errno));
    *port = ntohs(at.sin_port);
    int taken = fd;
    fd = -1;
    return taken;
}

static int add_listeners(struct forwarding *f, uint16_t local, uint16_t remote, struct err **err)
{
    const char *list = f->k->flags.address ? f->k->flags.address : "127.0.0.1";
    auto_free char **addresses = str_split(list, ',', NULL);
    for (size_t i = 0; addresses[i]; i++) {
        const char *address = str_eq(addresses[i], "localhost") ? "127.0.0.1" : addresses[i];
        if (f->n_listeners == MAX_LISTENERS)
            return err_set(err, ERR_BAD_REQUEST, "at most %d local ports", MAX_LISTENERS);
        struct listener *listener = &f->listeners[f->n_listeners];
        *listener = (struct listener){f, -1, local, remote, NULL};
        listener->fd = listen_on(address, &listener->local, err);
        if (listener->fd < 0)
            return -1;
        f->n_listeners++;
        printf("Forwarding from %s:%u -> %u\n", address, listener->local, remote);
    }
    return 0;
}

static int parse_port(const char *text, uint16_t *port, bool zero)
{
    long long number;
    if (str_to_int64(text, &number) < 0 || number < !zero || number > 65535)
        return -1;
    *port = (uint16_t)number;
    return 0;
}

/* A port of the pod by number or by the name that a container gives it; 0: none. */
static uint16_t pod_port(const cJSON *pod, const char *word)
{
    uint16_t number;
    if (parse_port(word, &number, false) == 0)
        return number;
    json_each (container, json_at(pod, "spec.containers"))
        json_each (port, json_get(container, "ports"))
            if (str_eq(json_string(port, "name"), word))
                return (uint16_t)json_int(port, "containerPort", 0);
    return 0;
}

/* What a port of the Service leads to in the pod; 0: it has no such port. */
static uint16_t service_port(const cJSON *service, const cJSON *pod, const char *word)
{
    json_each (port, json_at(service, "spec.ports")) {
        auto_free char *number = mem_printf("%lld", (long long)json_int(port, "port", 0));
        if (!str_eq(number, word) && !str_eq(json_string(port, "name"), word))
            continue;
        if (str_eq(json_string(service, "spec.clusterIP"), "None"))
            return pod_port(pod, number);
        const char *name = json_string(port, "targetPort");
        auto_free char *target =
            name ? mem_strdup(name)
                 : mem_printf("%lld", (long long)json_int(port, "targetPort", json_int(port, "port", 0)));
        return pod_port(pod, target);
    }
    return 0;
}

/* [LOCAL:]REMOTE, :REMOTE */
static int add_port(struct forwarding *f, const cJSON *service, const cJSON *pod, const char *word,
                    struct err **err)
{
    const char *colon = strchr(word, ':'), *remote_word = colon ? colon + 1 : word;
    auto_free char *local_word = mem_strndup(word, colon ? (size_t)(colon - word) : strlen(word));
    uint16_t local = 0,
             remote = service ? service_port(service, pod, remote_word) : pod_port(pod, remote_word);
    if (!remote && service)
        return err_set(err, ERR_NOT_FOUND, "Service %s does not have a service port %s",
                       json_string_or(service, "metadata.name", ""), remote_word);
    if (!remote)
        return err_set(err, ERR_NOT_FOUND, "Pod '%s' does not have a named port '%s'",
                       json_string_or(pod, "metadata.name", ""), remote_word);
    if (*local_word && parse_port(local_word, &local, true) < 0) {
        if (colon)
            return err_set(err, ERR_BAD_REQUEST, "error parsing local port '%s'", local_word);
        local = remote;
    }
    return add_listeners(f, local, remote, err);
}

/* ---- the session ---- */

static void on_lost(void *arg)
{
    struct forwarding *f = arg;
    f->spdy = NULL;
    f->lost = true;
    loop_stop(f->k->loop);
}

static void on_ready(void *arg, const struct http_response *response, struct http_duplex *duplex,
                     struct err *err)
{
    struct forwarding *f = arg;
    const struct spdy_options options = {.client = true, .on_closed = on_lost, .arg = f};
    if (duplex) {
        f->spdy = spdy_new(f->k->loop, duplex, &options);
        for (size_t i = 0; i < f->n_listeners; i++)
            f->listeners[i].watch =
                loop_fd_add(f->k->loop, f->listeners[i].fd, EPOLLIN, on_accept, &f->listeners[i], NULL);
        return;
    }
    auto_json status = response ? json_parse_trusted(response->body, response->len) : NULL;
    err_set(&f->err, ERR_UNAVAILABLE, "unable to forward port: %s",
            err ? err_message(err) : json_string_or(status, "message", "the server refused the upgrade"));
    loop_stop(f->k->loop);
}

static void on_signal(void *arg, int number UNUSED, int pid UNUSED)
{
    loop_stop(((struct forwarding *)arg)->k->loop);
}

static int forward(struct forwarding *f, const cJSON *pod)
{
    static const int ends[] = {SIGINT, SIGTERM};
    struct kubectl *k = f->k;
    const struct http_pair headers[] = {{"Connection", "Upgrade"},
                                        {"Upgrade", "SPDY/3.1"},
                                        {"X-Stream-Protocol-Version", "portforward.k8s.io"}};
    auto_free char *target = client_path("pods", "v1", json_string(pod, "metadata.namespace"),
                                         json_string(pod, "metadata.name"), "portforward");
    const struct http_call call = {
        .method = "POST", .target = target, .headers = headers, .n_headers = COUNT_OF(headers)};
    struct loop_signals *signals = loop_signals_add(k->loop, ends, COUNT_OF(ends), on_signal, f, NULL);
    fflush(stdout);
    k->http->ops->tunnel(k->http, &call, on_ready, f);
    loop_run(k->loop);
    spdy_close(f->spdy);
    if (signals)
        loop_signals_remove(signals);
    if (f->err)
        return kubectl_refuse(f->err);
    return f->lost ? kubectl_refuse_text("lost connection to pod") : 0;
}

static void forwarding_fini(struct forwarding *f)
{
    struct connection *c, *following;
    list_each_safe (c, following, &f->connections, node) {
        byte_link_close(c->local);
        str_free(&c->error);
        free(c);
    }
    for (size_t i = 0; i < f->n_listeners; i++) {
        loop_fd_remove(f->listeners[i].watch);
        close(f->listeners[i].fd);
    }
    err_free(f->err);
}

/* The Service itself, when that is what was named: its ports are translated. */
static cJSON *named_service(struct kubectl *k, const char *word)
{
    const char *slash = strchr(word, '/');
    auto_free char *kind = mem_strndup(word, slash ? (size_t)(slash - word) : 0);
    const struct kubectl_resource *resource = slash ? kubectl_find_resource(k, kind, NULL) : NULL;
    if (!resource || !str_eq(resource->name, "services"))
        return NULL;
    auto_free char *target = kubectl_target(k, resource, NULL, slash + 1, NULL);
    return kubectl_request(k, "GET", target, NULL, NULL, NULL, NULL);
}

int verb_port_forward(struct kubectl *k)
{
    struct forwarding f = {.k = k};
    auto_json pod = NULL;
    list_init(&f.connections);
    if (k->n_args < 2)
        return kubectl_refuse_text(
            "TYPE/NAME and list of ports are required for port-forward: port-forward POD [LOCAL:]REMOTE…");
    if (kubectl_find_pod(k, k->args[0], &pod) != 0)
        return 1;
    const char *phase = json_string_or(pod, "status.phase", "Unknown");
    if (!str_eq(phase, "Running"))
        return kubectl_refuse_text("unable to forward port because pod is not running. Current status=%s",
                                   phase);
    auto_json service = named_service(k, k->args[0]);
    auto_err err = NULL;
    for (int i = 1; i < k->n_args && !err; i++)
        add_port(&f, service, pod, k->args[i], &err);
    int code = err ? kubectl_refuse(err) : forward(&f, pod);
    forwarding_fini(&f);
    return code;
}
