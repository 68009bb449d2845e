/* repl_session: one session of the REPL over its WebSocket: asks, and passes on what is printed. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "repl.h"

#define TARGET "/apis/minik8s.io/v1/repl"
#define COMPLETE_MS 3000
#define BEGIN_MS 10000

struct repl {
    struct kubectl *k;
    struct websocket *ws;
    struct loop_timer *deadline;
    cJSON *answer;
    struct err *err;
    bool waiting, owns_terminal;
};

static void make_signals(bool on)
{
    struct termios mode;
    if (tcgetattr(STDIN_FILENO, &mode) < 0)
        return;
    mode.c_lflag = on ? mode.c_lflag | ISIG : mode.c_lflag & ~(tcflag_t)ISIG;
    tcsetattr(STDIN_FILENO, TCSANOW, &mode);
}

void repl_own_terminal(struct repl *repl, bool own)
{
    repl->owns_terminal = own;
    make_signals(!own);
}

static void stop(struct repl *repl)
{
    if (repl->waiting)
        loop_stop(repl->k->loop);
    repl->waiting = false;
}

static void on_message(void *arg, enum websocket_type type, const char *data, size_t len)
{
    struct repl *repl = arg;
    if (type == WEBSOCKET_CLOSED) {
        repl->ws = NULL;
        stop(repl);
    } else if (len && data[0] == 'o') {
        kubectl_write(STDOUT_FILENO, data + 1, len - 1);
    } else if (len && data[0] == 'd') {
        cJSON_Delete(repl->answer);
        repl->answer = json_parse_trusted(data + 1, len - 1);
        stop(repl);
    }
}

static void on_ready(void *arg, const struct http_response *response, struct http_duplex *duplex,
                     struct err *err)
{
    struct repl *repl = arg;
    if (duplex) {
        const struct websocket_options options = {
            .client = true, .max_message = 4u << 20, .on_message = on_message, .arg = repl};
        repl->ws = websocket_new(repl->k->loop, duplex, &options);
    } else if (err) {
        repl->err = err_copy(err);
    } else {
        auto_json status = json_parse_trusted(response->body, response->len);
        err_set(&repl->err, err_code_from_status(response->status, json_string(status, "reason")), "%s",
                json_string_or(status, "message", "the server refused the session"));
    }
    stop(repl);
}

static void on_deadline(void *arg)
{
    stop(arg);
}

static void send_json(struct repl *repl, cJSON *message)
{
    auto_free char *text = json_print(message);
    cJSON_Delete(message);
    websocket_send(repl->ws, WEBSOCKET_TEXT, text, strlen(text));
}

static void on_interrupt(void *arg, int number UNUSED, int pid UNUSED)
{
    struct repl *repl = arg;
    cJSON *message = cJSON_CreateObject();
    json_set_bool(message, "interrupt", true);
    if (repl->ws)
        send_json(repl, message);
    else
        cJSON_Delete(message);
}

static cJSON *ask(struct repl *repl, cJSON *message, int64_t timeout_ms)
{
    if (!repl->ws) {
        cJSON_Delete(message);
        return NULL;
    }
    cJSON_Delete(steal(&repl->answer));
    repl->waiting = true;
    send_json(repl, message);
    if (timeout_ms)
        loop_timer_start(repl->deadline, timeout_ms);
    loop_run(repl->k->loop);
    loop_timer_stop(repl->deadline);
    return steal(&repl->answer);
}

cJSON *repl_run(struct repl *repl, const char *source, const char *name)
{
    static const int signals[] = {SIGINT};
    cJSON *message = cJSON_CreateObject();
    json_set_string(message, "run", source);
    json_set_string(message, "name", name);
    struct loop_signals *watched = loop_signals_add(repl->k->loop, signals, 1, on_interrupt, repl, NULL);
    if (repl->owns_terminal && watched)
        make_signals(true);
    cJSON *answer = ask(repl, message, 0);
    if (repl->owns_terminal)
        make_signals(false); /* before a signal would end the program */
    if (watched)
        loop_signals_remove(watched);
    return answer;
}

cJSON *repl_complete(struct repl *repl, const char *text)
{
    cJSON *message = cJSON_CreateObject();
    json_set_string(message, "complete", text);
    return ask(repl, message, COMPLETE_MS);
}

static void introduce(struct repl *repl)
{
    struct winsize size = {0};
    cJSON *message = cJSON_CreateObject(), *begin = json_ensure_object(message, "begin");
    json_set_string(begin, "namespace", repl->k->namespace);
    json_set_bool(begin, "json", str_eq(repl->k->flags.output, "json"));
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
        json_set_int(begin, "columns", size.ws_col);
    if (repl->k->flags.timeout_s > 0)
        json_set_int(begin, "budget", repl->k->flags.timeout_s * 1000);
    auto_json answer = ask(repl, message, BEGIN_MS);
    if (!answer)
        err_set(&repl->err, ERR_TIMEOUT, "the manager took the session but does not answer");
}

struct repl *repl_open(struct kubectl *k, struct err **err)
{
    struct repl *repl = NEW(struct repl);
    repl->k = k;
    repl->deadline = loop_timer_new(k->loop, on_deadline, repl);
    repl->waiting = true;
    websocket_tunnel(k->http, TARGET, NULL, on_ready, repl);
    loop_run(k->loop);
    if (repl->ws)
        introduce(repl);
    if (!repl->ws && !repl->err)
        err_set(&repl->err, ERR_UNAVAILABLE, "the session ended before it began");
    if (!repl->err)
        return repl;
    err_move(err, &repl->err);
    repl_close(repl);
    return NULL;
}

void repl_close(struct repl *repl)
{
    if (!repl)
        return;
    if (repl->ws)
        websocket_close(repl->ws, 1000);
    loop_timer_free(repl->deadline);
    cJSON_Delete(repl->answer);
    free(repl);
}
