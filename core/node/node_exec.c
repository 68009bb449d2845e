/*
 * node_exec: /exec and /attach: joins the client's channels with the runtime's stream, which without a
 * terminal comes in frames of an 8-byte header (stream, 0, 0, 0, length). The program's end is told as a
 * Status on the error channel.
 *
 * Either side that is too slow stops the other: nothing is buffered beyond 256 KiB.
 */
#include <string.h>

#include "base/log.h"
#include "node/node_internal.h"

#define HIGH_MARK (256u << 10)
#define FRAME_HEADER 8

struct session {
    struct node *node;
    struct loop *loop;
    struct runtime *runtime;
    struct http_exchange *x;
    char *container, *exec_id;
    bool tty, in;
    struct node_channels *channels; /* NULL: the client is gone */
    struct http_duplex *duplex;     /* of the program, until the client is there */
    struct byte_link *program;      /* NULL: not yet, or ended */
    bool asked;                     /* how the program ended */
    struct str sizes;               /* an unfinished line of the resize channel */
    unsigned char header[FRAME_HEADER];
    size_t header_len, frame_left;
};

static void session_free(struct session *s)
{
    byte_link_close(s->program);
    if (s->duplex)
        s->duplex->ops->close(s->duplex);
    if (s->channels)
        node_channels_close(s->channels);
    str_free(&s->sizes);
    free(s->container);
    free(s->exec_id);
    free(s);
}

/* ---- the end ---- */

static void send_channel(struct session *s, enum node_channel channel, const char *data, size_t len)
{
    if (s->channels && node_channels_send(s->channels, channel, data, len) > HIGH_MARK && s->program)
        byte_link_pause(s->program, true);
}

static void finish(struct session *s, int exit_code, const char *failure)
{
    auto_json status = cJSON_CreateObject();
    json_ensure_object(status, "metadata");
    if (failure) {
        json_set_string(status, "status", "Failure");
        json_set_string(status, "reason", "InternalError");
        json_set_string(status, "message", failure);
        json_set_int(status, "code", 500);
    } else if (exit_code == 0) {
        json_set_string(status, "status", "Success");
    } else {
        auto_free char *code = mem_printf("%d", exit_code);
        auto_free char *message = mem_printf(
            "command terminated with non-zero exit code: error executing command, exit code %d", exit_code);
        json_set_string(status, "status", "Failure");
        json_set_string(status, "reason", "NonZeroExitCode");
        json_set_string(status, "message", message);
        cJSON *cause = json_push(json_ensure_array(json_ensure_object(status, "details"), "causes"),
                                 cJSON_CreateObject());
        json_set_string(cause, "reason", "ExitCode");
        json_set_string(cause, "message", code);
    }
    auto_free char *text = json_print(status);
    send_channel(s, NODE_ERROR, text, strlen(text));
    session_free(s);
}

static void on_exit_code(void *arg, int exit_code, struct err *err)
{
    finish(arg, exit_code, err ? err_message(err) : NULL);
}

/* The program's stream ended; how it ended follows. */
static void program_ended(void *arg, int error)
{
    struct session *s = arg;
    if (error)
        log_debug("node", "exec in %s: %s", s->container, strerror(error));
    byte_link_close(steal(&s->program));
    s->asked = true;
    if (s->exec_id)
        s->runtime->ops->exec_exit(s->runtime, s->exec_id, on_exit_code, s);
    else
        finish(s, 0, NULL);
}

/* ---- from the program ---- */

static void take_frames(struct session *s, const char *data, size_t len)
{
    while (len) {
        if (s->frame_left == 0) {
            s->header[s->header_len++] = (unsigned char)*data++;
            len--;
            if (s->header_len == FRAME_HEADER) {
                s->header_len = 0;
                s->frame_left = (size_t)s->header[4] << 24 | (size_t)s->header[5] << 16 |
                                (size_t)s->header[6] << 8 | s->header[7];
            }
            continue;
        }
        size_t n = len < s->frame_left ? len : s->frame_left;
        send_channel(s, s->header[0] == 2 ? NODE_STDERR : NODE_STDOUT, data, n);
        s->frame_left -= n;
        data += n;
        len -= n;
    }
}

static void on_output(void *arg, const char *data, size_t len)
{
    struct session *s = arg;
    if (s->tty)
        send_channel(s, NODE_STDOUT, data, len);
    else
        take_frames(s, data, len);
}

static void on_program_drain(void *arg)
{
    struct session *s = arg;
    if (s->channels)
        node_channels_pause(s->channels, false);
}

/* ---- from the client ---- */

static void resize(struct session *s, const char *text, size_t len)
{
    auto_json size = json_parse(text, len, NULL);
    int64_t width = json_int(size, "Width", 0), height = json_int(size, "Height", 0);
    if (width <= 0 || height <= 0 || width > 65535 || height > 65535)
        return;
    if (s->exec_id)
        s->runtime->ops->exec_resize(s->runtime, s->exec_id, (unsigned)width, (unsigned)height);
    else
        s->runtime->ops->resize(s->runtime, s->container, (unsigned)width, (unsigned)height);
}

/* JSON texts, in any pieces; the last one counts. */
static void take_sizes(struct session *s, const char *data, size_t len)
{
    if (s->sizes.len + len > 1024)
        str_clear(&s->sizes);
    str_add_n(&s->sizes, data, len > 1024 ? 0 : len);
    char *end;
    while (s->sizes.len && (end = memchr(s->sizes.data, '}', s->sizes.len))) {
        size_t n = (size_t)(end - s->sizes.data) + 1, start = 0;
        while (start < n && s->sizes.data[start] == '\n')
            start++;
        resize(s, s->sizes.data + start, n - start);
        memmove(s->sizes.data, s->sizes.data + n, s->sizes.len - n);
        s->sizes.len -= n;
    }
}

static void on_data(void *arg, enum node_channel channel, const char *data, size_t len)
{
    struct session *s = arg;
    if (channel == NODE_RESIZE)
        take_sizes(s, data, len);
    else if (s->in && s->program && byte_link_send(s->program, data, len) > HIGH_MARK)
        node_channels_pause(s->channels, true);
}

static void on_input_end(void *arg)
{
    struct session *s = arg;
    if (s->program)
        byte_link_end(s->program);
}

static void on_client_drain(void *arg)
{
    struct session *s = arg;
    if (s->program)
        byte_link_pause(s->program, false);
}

static void on_client_closed(void *arg)
{
    struct session *s = arg;
    s->channels = NULL;
    if (!s->asked)
        session_free(s); /* the program's input and output are closed with it */
}

/* ---- joining ---- */

static void on_ready(void *arg)
{
    struct session *s = arg;
    const struct byte_link_options options = {on_output, program_ended, on_program_drain, s};
    s->program = byte_link_new(s->loop, steal(&s->duplex), &options);
}

static void on_exec_started(void *arg, const char *exec_id, struct http_duplex *duplex, struct err *err)
{
    struct session *s = arg;
    if (err) {
        node_answer_error(s->x, err_code(err) == ERR_CANCELLED ? ERR_UNAVAILABLE : err_code(err), "%s",
                          err_message(err));
        session_free(s);
        return;
    }
    s->duplex = duplex;
    s->exec_id = mem_strdup(exec_id);
    node_channels_upgrade(s->channels, s->x);
}

static void on_attached(void *arg, struct http_duplex *duplex, struct err *err)
{
    on_exec_started(arg, NULL, duplex, err);
}

/* ---- the request ---- */

static const char **command_of(const struct http_request *request)
{
    size_t count = 0;
    const char **command = mem_array(request->n_query + 1, sizeof(*command));
    for (size_t i = 0; i < request->n_query; i++)
        if (str_eq(request->query[i].name, "command"))
            command[count++] = request->query[i].value;
    return command;
}

static bool flag_or(const struct http_request *request, const char *name, bool fallback)
{
    return http_request_query(request, name) ? http_request_flag(request, name) : fallback;
}

static unsigned channels_of(const struct session *s, const struct http_request *request)
{
    return 1u << NODE_ERROR | (s->in ? 1u << NODE_STDIN : 0) |
           (flag_or(request, "stdout", true) ? 1u << NODE_STDOUT : 0) |
           (flag_or(request, "stderr", true) && !http_request_flag(request, "tty") ? 1u << NODE_STDERR : 0) |
           (http_request_flag(request, "tty") ? 1u << NODE_RESIZE : 0);
}

/* NULL: the request is answered. */
static struct session *session_new(struct node *node, struct http_exchange *x, const struct pod *pod,
                                   const struct container *c, bool attach)
{
    const struct http_request *request = &x->request;
    if (!c->plan.exists || c->plan.state != RUNTIME_RUNNING) {
        node_answer_error(x, ERR_BAD_REQUEST, "container %s of pod %s is not running", c->name, pod->name);
        return NULL;
    }
    struct session *s = NEW(struct session);
    s->node = node;
    s->loop = node->loop;
    s->runtime = node->runtime;
    s->x = x;
    s->tty = attach ? json_bool(c->spec, "tty", false) : http_request_flag(request, "tty");
    s->in = http_request_flag(request, "stdin");
    const struct node_channels_options options = {.wanted = channels_of(s, request),
                                                  .on_ready = on_ready,
                                                  .on_data = on_data,
                                                  .on_end = on_input_end,
                                                  .on_drain = on_client_drain,
                                                  .on_closed = on_client_closed,
                                                  .arg = s};
    s->channels = node_channels_new(node->loop, request, &options);
    if (s->channels) {
        s->container = pod_container_name(pod, c->name, c->attempt);
        return s;
    }
    node_answer_error(x, ERR_BAD_REQUEST,
                      "exec and attach need a WebSocket with v5.channel.k8s.io or v4.channel.k8s.io, or "
                      "SPDY/3.1 with v4.channel.k8s.io");
    session_free(s);
    return NULL;
}

void node_exec_handle(struct node *node, struct http_exchange *x, struct pod *pod, struct container *c,
                      bool attach)
{
    auto_free const char **command = command_of(&x->request);
    if (!attach && !command[0]) {
        node_answer_error(x, ERR_BAD_REQUEST, "you must specify at least one command for the container");
        return;
    }
    struct session *s = session_new(node, x, pod, c, attach);
    if (!s)
        return;
    const struct runtime_exec exec = {s->container, command, s->in, s->tty};
    if (attach)
        s->runtime->ops->attach(s->runtime, s->container, s->in, on_attached, s);
    else
        s->runtime->ops->exec_stream(s->runtime, &exec, on_exec_started, s);
}
