/*
 * The streams of a program in a container over WebSocket (v5.channel.k8s.io): exec, attach, and what is built
 * on them (cp, run, debug). Input comes from standard input or a source, output goes to standard output or a
 * sink; a terminal is passed through raw, with its size whenever it changes.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "kubectl.h"

enum { CHANNEL_STDIN, CHANNEL_STDOUT, CHANNEL_STDERR, CHANNEL_ERROR, CHANNEL_RESIZE, CHANNEL_CLOSE = 255 };
#define INPUT_HIGH_WATER (256 * 1024)
#define CHUNK 32768

struct session {
    struct kubectl *k;
    const struct kubectl_remote *remote;
    struct websocket *ws;
    struct loop_fd *input; /* standard input, while it is watched */
    struct loop_timer *more;
    struct loop_signals *signals;
    struct termios saved;
    bool raw, input_ended;
    int exit_code;
    char *failure;
};

static void restore_terminal(struct session *s)
{
    if (s->raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &s->saved);
    s->raw = false;
}

static void raw_terminal(struct session *s)
{
    if (!s->remote->tty || !s->remote->input || tcgetattr(STDIN_FILENO, &s->saved) < 0)
        return;
    struct termios raw = s->saved;
    cfmakeraw(&raw);
    s->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void end(struct session *s)
{
    loop_fd_remove(s->input);
    s->input = NULL;
    loop_stop(s->k->loop);
}

/* ---- from the program ---- */

/* The Status on the error channel: Success, or NonZeroExitCode with the code among its causes. */
static void on_status(struct session *s, const char *data, size_t len)
{
    auto_json status = json_parse_trusted(data, len);
    if (str_eq(json_string(status, "status"), "Success")) {
        s->exit_code = 0;
        return;
    }
    s->exit_code = 1;
    json_each (cause, json_at(status, "details.causes")) {
        if (str_eq(json_string(cause, "reason"), "ExitCode"))
            s->exit_code = atoi(json_string_or(cause, "message", "1"));
    }
    free(s->failure);
    bool ended = str_eq(json_string(status, "reason"), "NonZeroExitCode");
    s->failure = ended ? mem_printf("command terminated with exit code %d", s->exit_code)
                       : mem_printf("error: %s", json_string_or(status, "message", "exec failed"));
}

void kubectl_write(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody reads our output any more: the command still has to end */
        data += n;
        len -= (size_t)n;
    }
}

static void on_message(void *arg, enum websocket_type type, const char *data, size_t len)
{
    struct session *s = arg;
    if (type == WEBSOCKET_CLOSED) {
        s->ws = NULL;
        end(s);
        return;
    }
    if (!len)
        return;
    switch ((unsigned char)data[0]) {
    case CHANNEL_STDOUT:
        if (s->remote->sink)
            s->remote->sink(s->remote->arg, data + 1, len - 1);
        else
            kubectl_write(STDOUT_FILENO, data + 1, len - 1);
        break;
    case CHANNEL_STDERR:
        kubectl_write(STDERR_FILENO, data + 1, len - 1);
        break;
    case CHANNEL_ERROR:
        on_status(s, data + 1, len - 1);
        break;
    default:
        break;
    }
}

/* ---- to the program ---- */

/* One piece of input; false: no more may be sent now. */
static bool send_some(struct session *s)
{
    char data[CHUNK + 1];
    data[0] = CHANNEL_STDIN;
    if (!s->ws || s->input_ended)
        return false;
    ssize_t n = s->remote->source ? s->remote->source(s->remote->arg, data + 1, CHUNK)
                                  : read(STDIN_FILENO, data + 1, CHUNK);
    if (n > 0)
        return websocket_send(s->ws, WEBSOCKET_BINARY, data, (size_t)n + 1) <= INPUT_HIGH_WATER;
    const char closed[2] = {(char)CHANNEL_CLOSE, CHANNEL_STDIN};
    websocket_send(s->ws, WEBSOCKET_BINARY, closed, 2);
    s->input_ended = true;
    loop_fd_remove(s->input);
    s->input = NULL;
    return false;
}

static void on_input(void *arg, unsigned ready UNUSED)
{
    struct session *s = arg;
    if (!send_some(s) && s->input)
        loop_fd_events(s->input, 0);
}

/* A source, a regular file or /dev/null is always readable; epoll does not take it. */
static void send_more(void *arg)
{
    struct session *s = arg;
    while (send_some(s))
        continue;
}

static void on_drain(void *arg)
{
    struct session *s = arg;
    if (s->input)
        loop_fd_events(s->input, EPOLLIN);
    else if (s->remote->input && !s->input_ended)
        loop_timer_start(s->more, 0);
}

static void send_size(struct session *s)
{
    struct winsize size;
    if (!s->remote->tty || !s->ws || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
        return;
    auto_free char *text =
        mem_printf("%c{\"Width\":%u,\"Height\":%u}\n", CHANNEL_RESIZE, size.ws_col, size.ws_row);
    websocket_send(s->ws, WEBSOCKET_BINARY, text, strlen(text));
}

static void on_signal(void *arg, int number UNUSED, int pid UNUSED)
{
    send_size(arg);
}

/* ---- joining ---- */

static void begin_input(struct session *s)
{
    if (!s->remote->input)
        return;
    if (!s->remote->source)
        s->input = loop_fd_add(s->k->loop, STDIN_FILENO, EPOLLIN, on_input, s, NULL);
    if (!s->input)
        loop_timer_start(s->more, 0);
}

static void on_ready(void *arg, const struct http_response *response, struct http_duplex *duplex,
                     struct err *err)
{
    struct session *s = arg;
    if (!duplex) {
        auto_json status = response ? json_parse_trusted(response->body, response->len) : NULL;
        const char *message = json_string_or(status, "message", "the server refused the upgrade");
        s->failure = err ? mem_printf("error: %s", err_message(err))
                         : mem_printf("Error from server (%s): %s",
                                      json_string_or(status, "reason", "Unknown"), message);
        s->exit_code = 1;
        loop_stop(s->k->loop);
        return;
    }
    const struct websocket_options options = {
        .client = true, .on_message = on_message, .on_drain = on_drain, .arg = s};
    s->ws = websocket_new(s->k->loop, duplex, &options);
    if (s->remote->prompt)
        fprintf(stderr, "%s\n", s->remote->prompt);
    raw_terminal(s);
    send_size(s);
    begin_input(s);
}

char *kubectl_remote_target(struct kubectl *k, const cJSON *pod, const char *subresource,
                            const char *container, char *const *command, int n_command)
{
    struct str target = {0};
    auto_free char *path = client_path("pods", "v1", json_string(pod, "metadata.namespace"),
                                       json_string(pod, "metadata.name"), subresource);
    str_add(&target, path);
    for (int i = 0; i < n_command; i++)
        http_query_add(&target, "command", command[i]);
    http_query_add(&target, "container", container);
    http_query_add(&target, "stdin", k->flags.stdin_open ? "true" : "false");
    http_query_add(&target, "stdout", "true");
    http_query_add(&target, "stderr", k->flags.tty ? "false" : "true");
    http_query_add(&target, "tty", k->flags.tty ? "true" : "false");
    return str_take(&target);
}

int kubectl_remote(struct kubectl *k, const struct kubectl_remote *remote)
{
    struct session session = {.k = k, .remote = remote, .exit_code = -1};
    static const int resized[] = {SIGWINCH};
    if (remote->tty)
        session.signals = loop_signals_add(k->loop, resized, 1, on_signal, &session, NULL);
    session.more = loop_timer_new(k->loop, send_more, &session);
    websocket_tunnel(k->http, remote->target, "v5.channel.k8s.io", on_ready, &session);
    loop_run(k->loop);
    restore_terminal(&session);
    loop_timer_free(session.more);
    if (session.signals)
        loop_signals_remove(session.signals);
    if (session.exit_code < 0) {
        session.exit_code = 1;
        session.failure = mem_strdup("error: the connection ended before the command did");
    }
    if (session.failure && !remote->quiet)
        fprintf(stderr, "%s\n", session.failure);
    free(session.failure);
    return session.exit_code;
}

bool kubectl_want_terminal(struct kubectl *k)
{
    if (k->flags.tty && k->flags.stdin_open && !isatty(STDIN_FILENO)) {
        fprintf(stderr, "Unable to use a TTY - input is not a terminal or the right kind of file\n");
        k->flags.tty = false;
    }
    return k->flags.tty;
}
