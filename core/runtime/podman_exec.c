/*
 * podman_exec: programs inside containers, attached streams, usage figures, what the service says about
 * itself.
 *
 * podman has no call that ends an exec session: on timeout the program is killed through its process id,
 * after the check that it belongs to the container. Usage comes from the cgroups' files, not from podman,
 * which would need 20 ms for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define MAX_OUTPUT 65536
#define FRAME_HEADER 8
#define EXIT_TRIES 200

static struct podman *podman_of(struct runtime *r)
{
    return CONTAINER_OF(r, struct podman, base);
}

static cJSON *exec_body(const struct runtime_exec *exec)
{
    cJSON *body = cJSON_CreateObject();
    cJSON *command = json_ensure_array(body, "Cmd");
    for (size_t i = 0; exec->command[i]; i++)
        json_push_string(command, exec->command[i]);
    json_set_bool(body, "AttachStdin", exec->stdin_open);
    json_set_bool(body, "AttachStdout", true);
    json_set_bool(body, "AttachStderr", true);
    json_set_bool(body, "Tty", exec->tty);
    return body;
}

static char *exec_target(const char *id, const char *action)
{
    return podman_target("/exec/%s%s", id, action);
}

static void create_exec(struct podman *p, const struct runtime_exec *exec, podman_on_reply *reply, void *arg)
{
    auto_str target = {0};
    str_add(&target, "/containers");
    http_path_add(&target, exec->container);
    str_add(&target, "/exec");
    struct podman_request request = {
        .method = "POST", .target = str_take(&target), .body = exec_body(exec), .reply = reply, .arg = arg};
    podman_request(p, &request);
}

/* The new session's id, or NULL and the error. */
static char *exec_id_of(const struct http_response *response, const cJSON *json, struct err *err,
                        struct err **error)
{
    if (err)
        *error = err_copy(err);
    else if (response->status >= 300)
        podman_reply_error(response, "exec", error);
    else if (!json_string(json, "Id"))
        err_set(error, ERR_INTERNAL, "podman's answer to exec has no Id");
    return *error ? NULL : mem_strdup(json_string(json, "Id"));
}

/* ---- exit code of a session ---- */

struct exit_op {
    struct podman *podman;
    char *id;
    unsigned tries;
    runtime_on_exit_code *done;
    void *arg;
};

static void exit_op_finish(struct exit_op *op, int exit_code, struct err *err)
{
    op->done(op->arg, exit_code, err);
    free(op->id);
    free(op);
}

static void ask_exit(struct exit_op *op);

static void on_exit_answer(void *arg, const struct http_response *response, cJSON *json, struct err *err)
{
    struct exit_op *op = arg;
    auto_err error = err ? err_copy(err) : NULL;
    if (!err && response->status != 200)
        podman_reply_error(response, "exec", &error);
    bool running = json_bool(json, "Running", false);
    if (!error && running && ++op->tries < EXIT_TRIES) {
        ask_exit(op); /* the streams end a moment before podman knows the code */
        return;
    }
    if (!error && running)
        err_set(&error, ERR_TIMEOUT, "exec: the program has not ended");
    exit_op_finish(op, error ? -1 : (int)json_int(json, "ExitCode", -1), error);
}

static void ask_exit(struct exit_op *op)
{
    struct podman_request request = {
        .method = "GET", .target = exec_target(op->id, "/json"), .reply = on_exit_answer, .arg = op};
    podman_request(op->podman, &request);
}

void podman_op_exec_exit(struct runtime *r, const char *exec_id, runtime_on_exit_code *done, void *arg)
{
    struct exit_op *op = NEW(struct exit_op);
    *op = (struct exit_op){.podman = podman_of(r), .id = mem_strdup(exec_id), .done = done, .arg = arg};
    ask_exit(op);
}

/* ---- a program run to its end ---- */

struct exec_op {
    struct podman *podman;
    char *container, *id;
    int64_t timeout_ms;
    struct str output;
    unsigned char header[FRAME_HEADER];
    size_t header_len, frame_left;
    runtime_on_exec *done;
    void *arg;
};

static void exec_op_finish(struct exec_op *op, int exit_code, struct err *err)
{
    op->done(op->arg, exit_code, str_c(&op->output), op->output.len, err);
    str_free(&op->output);
    free(op->container);
    free(op->id);
    free(op);
}

static bool on_output(void *arg, int status, const char *data, size_t len)
{
    struct exec_op *op = arg;
    if (status >= 300) { /* an error's text; the status is judged at the end */
        str_add_n(&op->output, data, op->output.len + len <= MAX_OUTPUT ? len : 0);
        return true;
    }
    while (len) {
        if (op->frame_left == 0) {
            op->header[op->header_len++] = (unsigned char)*data;
            data++;
            len--;
            if (op->header_len == FRAME_HEADER) {
                op->header_len = 0;
                op->frame_left = (size_t)op->header[4] << 24 | (size_t)op->header[5] << 16 |
                                 (size_t)op->header[6] << 8 | op->header[7];
            }
            continue;
        }
        size_t n = len < op->frame_left ? len : op->frame_left;
        size_t room = MAX_OUTPUT - op->output.len;
        str_add_n(&op->output, data,
                  n < room ? n : room); /* the rest is read and dropped: the program must not block */
        op->frame_left -= n;
        data += n;
        len -= n;
    }
    return true;
}

static void on_exec_exit_code(void *arg, int exit_code, struct err *err)
{
    exec_op_finish(arg, exit_code, err);
}

/* The process of a session that took too long, unless its number belongs to another by now. */
static void kill_exec(const struct exec_op *op, int pid, const char *container_id)
{
    auto_free char *path = mem_printf("/proc/%d/cgroup", pid), *text = NULL;
    auto_fd pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (pidfd < 0 || !container_id || file_read(path, 65536, &text, NULL, NULL) < 0 ||
        !strstr(text, container_id))
        return;
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
        log_warn("runtime", "end the program that took too long in %s: %s", op->container, strerror(errno));
}

static void on_overdue(void *arg, const struct http_response *response, cJSON *json, struct err *err)
{
    struct exec_op *op = arg;
    if (!err && response->status == 200 && json_bool(json, "Running", false))
        kill_exec(op, (int)json_int(json, "Pid", 0), json_string(json, "ContainerID"));
    auto_err error = NULL;
    if (err_code(err) == ERR_CANCELLED)
        error = err_copy(err);
    else
        err_set(&error, ERR_TIMEOUT, "command timed out after %lld ms", (long long)op->timeout_ms);
    exec_op_finish(op, -1, error);
}

static void on_exec_end(void *arg, const struct http_response *response, cJSON *json UNUSED, struct err *err)
{
    struct exec_op *op = arg;
    if (err_code(err) == ERR_TIMEOUT) {
        struct podman_request request = {
            .method = "GET", .target = exec_target(op->id, "/json"), .reply = on_overdue, .arg = op};
        podman_request(op->podman, &request);
        return;
    }
    auto_err error = err ? err_copy(err) : NULL;
    if (!err && response->status >= 300) {
        struct http_response whole = *response;
        whole.body = str_c(&op->output);
        whole.len = op->output.len;
        podman_reply_error(&whole, "exec", &error);
        str_clear(&op->output);
    }
    if (error)
        exec_op_finish(op, -1, error);
    else
        podman_op_exec_exit(&op->podman->base, op->id, on_exec_exit_code, op);
}

static cJSON *start_body(bool tty)
{
    cJSON *body = cJSON_CreateObject();
    json_set_bool(body, "Detach", false);
    json_set_bool(body, "Tty", tty);
    return body;
}

static void on_exec_created(void *arg, const struct http_response *response, cJSON *json, struct err *err)
{
    struct exec_op *op = arg;
    auto_err error = NULL;
    op->id = exec_id_of(response, json, err, &error);
    if (!op->id) {
        exec_op_finish(op, -1, error);
        return;
    }
    struct podman_request request = {.method = "POST",
                                     .target = exec_target(op->id, "/start"),
                                     .body = start_body(false),
                                     .timeout_ms = op->timeout_ms,
                                     .on_data = on_output,
                                     .reply = on_exec_end,
                                     .arg = op};
    podman_request(op->podman, &request);
}

void podman_op_exec(struct runtime *r, const struct runtime_exec *exec, int64_t timeout_ms,
                    runtime_on_exec *done, void *arg)
{
    struct exec_op *op = NEW(struct exec_op);
    *op = (struct exec_op){.podman = podman_of(r),
                           .container = mem_strdup(exec->container),
                           .timeout_ms = timeout_ms,
                           .done = done,
                           .arg = arg};
    create_exec(op->podman, exec, on_exec_created, op);
}

/* ---- streams ---- */

struct podman_stream {
    struct list node; /* podman.streams, while the tunnel is being made */
    struct podman *podman;
    char *id; /* of the exec session; NULL: attach */
    bool tty;
    void (*started)(void *arg, const char *exec_id, struct http_duplex *duplex, struct err *err);
    runtime_on_socket *attached;
    void *arg;
};

static void stream_finish(struct podman_stream *s, struct http_duplex *duplex, struct err *err)
{
    list_remove(&s->node);
    if (s->started)
        s->started(s->arg, s->id, duplex, err);
    else
        s->attached(s->arg, duplex, err);
    free(s->id);
    free(s);
}

static void on_tunnel(void *arg, const struct http_response *response, struct http_duplex *duplex,
                      struct err *err)
{
    struct podman_stream *s = arg;
    auto_err error = err ? err_copy(err) : NULL;
    if (!err && !duplex)
        podman_reply_error(response, s->started ? "exec" : "attach", &error);
    stream_finish(s, duplex, error);
}

/* `path` after the API's prefix; taken, as is body. */
static void open_tunnel(struct podman_stream *s, char *path, cJSON *body)
{
    auto_free char *target = mem_printf(PODMAN_API "%s", path), *text = body ? json_print(body) : NULL;
    const struct http_pair headers[] = {{"Upgrade", "tcp"}, {"Connection", "Upgrade"}};
    struct http_call call = {.method = "POST",
                             .target = target,
                             .content_type = text ? "application/json" : NULL,
                             .body = text,
                             .body_len = text ? strlen(text) : 0,
                             .headers = headers,
                             .n_headers = COUNT_OF(headers),
                             .timeout_ms = 30000};
    free(path);
    cJSON_Delete(body);
    list_add_tail(&s->podman->streams, &s->node);
    s->podman->http->ops->tunnel(s->podman->http, &call, on_tunnel, s);
}

static struct podman_stream *stream_new(struct runtime *r, void *arg)
{
    struct podman_stream *s = NEW(struct podman_stream);
    s->podman = podman_of(r);
    s->arg = arg;
    list_init(&s->node);
    return s;
}

static void on_stream_created(void *arg, const struct http_response *response, cJSON *json, struct err *err)
{
    struct podman_stream *s = arg;
    auto_err error = NULL;
    s->id = exec_id_of(response, json, err, &error);
    if (s->id)
        open_tunnel(s, exec_target(s->id, "/start"), start_body(s->tty));
    else
        stream_finish(s, NULL, error);
}

void podman_op_exec_stream(struct runtime *r, const struct runtime_exec *exec,
                           void (*started)(void *arg, const char *exec_id, struct http_duplex *duplex,
                                           struct err *err),
                           void *arg)
{
    struct podman_stream *s = stream_new(r, arg);
    s->started = started;
    s->tty = exec->tty;
    create_exec(s->podman, exec, on_stream_created, s);
}

void podman_op_attach(struct runtime *r, const char *name, bool stdin_open, runtime_on_socket *done,
                      void *arg)
{
    struct podman_stream *s = stream_new(r, arg);
    s->attached = done;
    auto_str target = {0};
    str_add(&target, "/containers");
    http_path_add(&target, name);
    str_addf(&target, "/attach?stream=true&stdout=true&stderr=true&stdin=%s", stdin_open ? "true" : "false");
    open_tunnel(s, str_take(&target), NULL);
}

void podman_streams_cancel(struct podman *p)
{
    auto_err error = NULL;
    err_set(&error, ERR_CANCELLED, "the runtime was closed");
    while (!list_empty(&p->streams))
        stream_finish(list_first(&p->streams, struct podman_stream, node), NULL, error);
}

static void on_resized(void *arg UNUSED, const struct http_response *response, cJSON *json UNUSED,
                       struct err *err)
{
    if (err || response->status >= 300) /* the program may have ended: nobody is harmed */
        log_debug("runtime", "resize: %s", err ? err_message(err) : response->body);
}

static void resize(struct runtime *r, char *target)
{
    struct podman_request request = {.method = "POST", .target = target, .reply = on_resized};
    podman_request(podman_of(r), &request);
}

void podman_op_exec_resize(struct runtime *r, const char *exec_id, unsigned width, unsigned height)
{
    resize(r, podman_target("/exec/%s/resize?w=%u&h=%u", exec_id, width, height));
}

void podman_op_resize(struct runtime *r, const char *name, unsigned width, unsigned height)
{
    auto_str target = {0};
    str_add(&target, "/containers");
    http_path_add(&target, name);
    str_addf(&target, "/resize?w=%u&h=%u", width, height);
    resize(r, str_take(&target));
}

/* conmon's control pipe lies beside the container's configuration; podman's API does not reach it. */
bool podman_op_reopen_log(struct runtime *r, const char *name)
{
    struct podman *p = podman_of(r);
    const struct podman_record *record = map_get(&p->records, name);
    static const char message[] = "2 0 0\n";
    if (!record || !record->id)
        return false;
    auto_free char *path = mem_printf("%s/graph/%s-containers/%s/userdata/ctl", p->options.storage,
                                      p->options.driver ? p->options.driver : "overlay", record->id);
    auto_fd fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC); /* no reader: it has ended */
    if (fd >= 0 && write(fd, message, sizeof(message) - 1) == (ssize_t)sizeof(message) - 1)
        return true;
    log_debug("runtime", "a new log file for %s: errno %d", name, errno);
    return false;
}
