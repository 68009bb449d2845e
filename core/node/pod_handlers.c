/*
 * pod_handlers: exec, httpGet and tcpSocket handlers of hooks and probes. Sockets are opened from the node's
 * namespace to the pod's address, non-blocking, on the loop; HTTPS is TLS that trusts whoever answers, as the
 * handler has no CA; exec goes through the runtime. It judges one run; how often and what follows is
 * pod_probes.c and the worker.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "node/node_internal.h"

#define DEFAULT_TIMEOUT_MS 30000
#define EXEC_NO_LIMIT_MS (10 * 60 * 1000)
#define HOOK_AGAIN_MS 1000

struct handler_run {
    struct pod_call *call; /* keeps the pod */
    pod_on_hook *done;
    void *arg;
    int fd;
    struct loop_fd *watch;
    struct loop_timer *timer;
    struct str request, answer;
    size_t sent;
    bool http, connected;
    gnutls_session_t tls; /* NULL: plain */
    gnutls_certificate_credentials_t credentials;
    bool secured; /* the handshake is over */
    bool unknown; /* the runtime could not run it */
};

static void run_end(struct handler_run *run, const char *failure)
{
    if (run->secured)
        gnutls_bye(run->tls, GNUTLS_SHUT_WR); /* once: what does not go at once is not waited for */
    if (run->tls) {
        gnutls_deinit(run->tls);
        gnutls_certificate_free_credentials(run->credentials);
    }
    loop_fd_remove(run->watch);
    loop_timer_free(run->timer);
    if (run->fd >= 0)
        close(run->fd);
    struct pod *pod = pod_call_end(run->call);
    run->done(run->arg, pod, failure, run->unknown);
    str_free(&run->request);
    str_free(&run->answer);
    free(run);
}

static void on_timeout(void *arg)
{
    run_end(arg, "timed out");
}

/* ---- exec ---- */

static void on_exec(void *arg, int exit_code, const char *output, size_t len, struct err *err)
{
    struct handler_run *run = arg;
    auto_free char *failure = NULL;
    run->unknown = err_code(err) == ERR_UNAVAILABLE || err_code(err) == ERR_CANCELLED;
    if (err)
        failure = mem_printf("%s", err_message(err));
    else if (exit_code != 0)
        failure = mem_printf("command exited with %d: %.*s", exit_code, (int)(len < 512 ? len : 512),
                             output ? output : "");
    run_end(run, failure);
}

static void run_exec(struct handler_run *run, const struct container *c, const cJSON *exec,
                     int64_t timeout_ms)
{
    const cJSON *command = json_get(exec, "command");
    size_t count = (size_t)cJSON_GetArraySize(command), i = 0;
    auto_free const char **words = mem_array(count + 1, sizeof(*words));
    json_each (word, command)
        words[i++] = cJSON_IsString(word) ? word->valuestring : "";
    auto_free char *name = pod_container_name(c->pod, c->name, c->attempt);
    const struct runtime_exec request = {.container = name, .command = words};
    struct runtime *runtime = c->pod->node->runtime;
    runtime->ops->exec(runtime, &request, timeout_ms, on_exec, run);
}

/* ---- sockets ---- */

static int named_port(const struct container *c, const cJSON *port)
{
    if (cJSON_IsNumber(port))
        return port->valueint;
    json_each (declared, json_get(c->spec, "ports"))
        if (cJSON_IsString(port) && str_eq(json_string(declared, "name"), port->valuestring))
            return (int)json_int(declared, "containerPort", 0);
    return cJSON_IsString(port) ? atoi(port->valuestring) : 0;
}

static bool judge_answer(struct handler_run *run)
{
    int status = 0;
    if (!memchr(str_c(&run->answer), '\n', run->answer.len))
        return false;
    if (sscanf(str_c(&run->answer), "HTTP/%*d.%*d %d", &status) == 1 && status >= 200 && status < 400) {
        run_end(run, NULL);
        return true;
    }
    auto_free char *failure = mem_printf("HTTP probe failed with statuscode: %d", status);
    run_end(run, failure);
    return true;
}

static void socket_failed(struct handler_run *run, const char *problem)
{
    auto_free char *failure = mem_printf("connection failed: %s", problem);
    run_end(run, failure);
}

static void tls_begin(struct handler_run *run)
{
    must(gnutls_certificate_allocate_credentials(&run->credentials) == 0);
    must(gnutls_init(&run->tls, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) == 0);
    must(gnutls_set_default_priority(run->tls) == 0);
    must(gnutls_credentials_set(run->tls, GNUTLS_CRD_CERTIFICATE, run->credentials) == 0);
    gnutls_transport_set_int(run->tls, run->fd);
}

/* A step of TLS gave rc < 0: the next one is when the socket is ready for it, or the run ends. */
static void tls_stopped(struct handler_run *run, ssize_t rc)
{
    if (gnutls_error_is_fatal((int)rc))
        socket_failed(run, gnutls_strerror((int)rc));
    else
        loop_fd_events(run->watch, gnutls_record_get_direction(run->tls) ? EPOLLOUT : EPOLLIN);
}

/* True: the connection stands and, for HTTPS, is secured. False: it is waited for, or the run has ended. */
static bool is_open(struct handler_run *run)
{
    if (!run->connected) {
        int error = 0;
        socklen_t len = sizeof(error);
        getsockopt(run->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            socket_failed(run, strerror(error));
            return false;
        }
        run->connected = true;
    }
    if (!run->tls || run->secured)
        return true;
    int rc = gnutls_handshake(run->tls);
    if (rc < 0) {
        tls_stopped(run, rc);
        return false;
    }
    run->secured = true;
    return true;
}

/* True: the request is on its way. */
static bool send_request(struct handler_run *run)
{
    while (run->sent < run->request.len) {
        const char *rest = run->request.data + run->sent;
        size_t len = run->request.len - run->sent;
        ssize_t n =
            run->tls ? gnutls_record_send(run->tls, rest, len) : send(run->fd, rest, len, MSG_NOSIGNAL);
        if (n < 0 && run->tls) {
            tls_stopped(run, n);
            return false;
        }
        if (n < 0 && errno != EAGAIN)
            socket_failed(run, strerror(errno));
        if (n < 0)
            return false;
        run->sent += (size_t)n;
    }
    loop_fd_events(run->watch, EPOLLIN);
    return true;
}

static void read_answer(struct handler_run *run)
{
    do {
        char data[4096];
        ssize_t n = run->tls ? gnutls_record_recv(run->tls, data, sizeof(data))
                             : recv(run->fd, data, sizeof(data), 0);
        if (n < 0 && run->tls) {
            tls_stopped(run, n);
            return;
        }
        if (n < 0 && errno == EAGAIN)
            return;
        if (n > 0 && run->answer.len < 65536)
            str_add_n(&run->answer, data, (size_t)n);
        if (judge_answer(run))
            return;
        if (n <= 0) {
            socket_failed(run, strerror(n < 0 ? errno : ECONNRESET));
            return;
        }
    } while (run->tls && gnutls_record_check_pending(run->tls) > 0); /* which the socket does not show */
}

static void on_socket(void *arg, unsigned events UNUSED)
{
    struct handler_run *run = arg;
    if (!is_open(run))
        return;
    if (!run->http)
        run_end(run, NULL);
    else if (run->sent == run->request.len || send_request(run))
        read_answer(run);
}

static void add_request(struct handler_run *run, const cJSON *get, const char *host, int port)
{
    const char *named = NULL;
    struct str *out = &run->request;
    const char *path = json_string_or(get, "path", "/");
    str_addf(out, "GET %s%s HTTP/1.1\r\n", *path == '/' ? "" : "/", path);
    json_each (header, json_get(get, "httpHeaders")) {
        if (strcasecmp(json_string_or(header, "name", ""), "Host") == 0)
            named = json_string(header, "value");
        else
            str_addf(out, "%s: %s\r\n", json_string_or(header, "name", "X"),
                     json_string_or(header, "value", ""));
    }
    if (named)
        str_addf(out, "Host: %s\r\n", named);
    else
        str_addf(out, "Host: %s:%d\r\n", host, port);
    str_add(out, "User-Agent: kube-probe/minik8s\r\nAccept: */*\r\nConnection: close\r\n\r\n");
}

static void run_socket(struct handler_run *run, const struct container *c, const cJSON *target, bool http,
                       int64_t timeout_ms)
{
    char text[INET_ADDRSTRLEN];
    const char *host = json_string(target, "host"), *own = pod_ip(c->pod, text);
    int port = named_port(c, json_get(target, "port"));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (!host)
        host = own;
    if (!host || inet_pton(AF_INET, host, &address.sin_addr) != 1 || port <= 0 || port > 65535) {
        run_end(run, "the handler has no usable address and port");
        return;
    }
    run->http = http;
    if (http)
        add_request(run, target, host, port);
    run->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    auto_err err = NULL;
    if (run->fd < 0 ||
        (connect(run->fd, (struct sockaddr *)&address, sizeof(address)) < 0 && errno != EINPROGRESS)) {
        socket_failed(run, strerror(errno));
        return;
    }
    if (http && str_eq(json_string(target, "scheme"), "HTTPS"))
        tls_begin(run);
    struct loop *loop = c->pod->node->loop;
    run->watch = loop_fd_add(loop, run->fd, EPOLLOUT, on_socket, run, &err);
    if (!run->watch) {
        run_end(run, err_message(err));
        return;
    }
    run->timer = loop_timer_new(loop, on_timeout, run);
    loop_timer_start(run->timer, timeout_ms);
}

static void on_slept(void *arg)
{
    run_end(arg, NULL);
}

void pod_handler_run(struct container *c, const cJSON *handler, int64_t timeout_ms, pod_on_hook *done,
                     void *arg)
{
    struct handler_run *run = NEW(struct handler_run);
    *run = (struct handler_run){
        .call = pod_call_new(c->pod, PLAN_POST_START, c->index), .done = done, .arg = arg, .fd = -1};
    const cJSON *exec = json_get(handler, "exec"), *http = json_get(handler, "httpGet");
    const cJSON *tcp = json_get(handler, "tcpSocket"), *sleep = json_get(handler, "sleep");
    if (exec) {
        run_exec(run, c, exec, timeout_ms > 0 ? timeout_ms : EXEC_NO_LIMIT_MS);
    } else if (http || tcp) {
        run_socket(run, c, http ? http : tcp, http != NULL, timeout_ms > 0 ? timeout_ms : DEFAULT_TIMEOUT_MS);
    } else if (sleep) {
        run->timer = loop_timer_new(c->pod->node->loop, on_slept, run);
        loop_timer_start(run->timer, json_int(sleep, "seconds", 0) * 1000);
    } else {
        run_end(run, "the handler has no action");
    }
}

/* ---- hooks: again, within their time, when the runtime could not run them ---- */

struct hook {
    struct container *container; /* only while the pod is there */
    unsigned attempt;
    cJSON *handler;
    int64_t timeout_ms, until;
    struct loop_timer *again;
    struct pod_call *call; /* while it waits for the timer */
    void (*done)(struct pod *pod, struct container *container, const char *failure);
};

static void hook_free(struct hook *hook)
{
    loop_timer_free(hook->again);
    cJSON_Delete(hook->handler);
    free(hook);
}

static void on_hook(void *arg, struct pod *pod, const char *failure, bool unknown)
{
    struct hook *hook = arg;
    struct container *c = hook->container;
    if (!pod || c->attempt != hook->attempt) {
        hook_free(hook);
        return;
    }
    bool runs = c->plan.exists && c->plan.state == RUNTIME_RUNNING;
    if (unknown && runs && node_now(pod->node) + HOOK_AGAIN_MS < hook->until) {
        hook->call = pod_call_new(pod, PLAN_POST_START, c->index);
        loop_timer_start(hook->again, HOOK_AGAIN_MS);
        return;
    }
    hook->done(pod, c, failure);
    hook_free(hook);
}

static void hook_begin(struct hook *hook)
{
    int64_t left = hook->until - node_now(hook->container->pod->node);
    pod_handler_run(hook->container, hook->handler,
                    hook->timeout_ms <= 0 ? 0
                    : left > 0            ? left
                                          : 1,
                    on_hook, hook);
}

static void on_again(void *arg)
{
    struct hook *hook = arg;
    struct pod *pod = pod_call_end(hook->call);
    if (pod && hook->container->attempt == hook->attempt)
        hook_begin(hook);
    else
        hook_free(hook);
}

void pod_hook_run(struct container *c, const cJSON *handler, int64_t timeout_ms,
                  void (*done)(struct pod *pod, struct container *container, const char *failure))
{
    struct loop *loop = c->pod->node->loop;
    struct hook *hook = NEW(struct hook);
    *hook = (struct hook){.container = c,
                          .attempt = c->attempt,
                          .handler = json_copy(handler),
                          .timeout_ms = timeout_ms,
                          .until = loop_now_ms(loop) + (timeout_ms > 0 ? timeout_ms : EXEC_NO_LIMIT_MS),
                          .done = done};
    hook->again = loop_timer_new(loop, on_again, hook);
    hook_begin(hook);
}
