/*
 * The REPL's way to the control plane. Sessions run in the manager, which has no server of its own: it keeps
 * one idle connection here (GET replhosts), a session (GET repl) is spliced to it, and the manager at once
 * opens the next. Both ends speak WebSocket with each other; here only the first message is written: who
 * asks, and a token that stands for him, so that the manager's requests for the session carry his rights and
 * not the manager's.
 *
 * May open a session: who may create "repl" of minik8s.io and may read everything, because a session reads
 * the manager's cache. May host: the manager only, since it is handed those tokens.
 *
 * Threads: checks run where the request came in; everything else on the api's loop.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "api/api_internal.h"

#define WAIT_MS 5000 /* for a manager that is just starting, or opening its next connection */
#define MAX_WAITING 64
#define TOKEN_NS AUTH_DAY_NS
#define MAX_GREETING 65535

struct host { /* an idle connection of the manager */
    struct api_repl *repl;
    struct list node;
    struct http_duplex *duplex;
    struct loop_fd *watch;
};

struct api_repl {
    struct api *api;
    struct list hosts, waiting;
    struct loop_timer *timer; /* the first of `waiting` gives up */
};

struct joining { /* a call on its way into a session or among the hosts */
    struct api_repl *repl;
    struct list node;
    struct call *call;
    struct http_exchange *x;
    char *key, *greeting; /* greeting: JSON; NULL: the call is a host's */
    struct http_duplex *host, *duplex;
    int64_t until_ms;
};

static void joining_free(struct joining *j)
{
    free(j->key);
    free(j->greeting);
    free(j);
}

static void host_free(struct host *host)
{
    list_remove(&host->node);
    loop_fd_remove(host->watch);
    if (host->duplex)
        host->duplex->ops->close(host->duplex);
    free(host);
}

/* ---- joining a session to a host ---- */

static void upgrade(struct joining *j, http_on_duplex *ready)
{
    auto_free char *accept = websocket_accept_key(j->key);
    const struct http_pair headers[] = {
        {"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Accept", accept}};
    counters_request(j->repl->api->counters, j->call, 101);
    http_upgrade(j->x, headers, COUNT_OF(headers), ready, j);
}

/* One masked text frame, as a client's (of at most 65,535 bytes). */
static int write_greeting(struct http_duplex *host, const char *text)
{
    size_t len = strlen(text);
    auto_str frame = {0};
    str_add_char(&frame, (char)0x81);
    str_add_char(&frame, (char)(0x80 | 126));
    str_add_char(&frame, (char)(len >> 8));
    str_add_char(&frame, (char)len);
    str_add_n(&frame, "\0\0\0\0", 4);
    str_add_n(&frame, text, len);
    ssize_t n = host->ops->write(host, str_c(&frame), frame.len);
    return n == (ssize_t)frame.len ? 0 : -1; /* nothing else is in the socket's buffer: all of it fits */
}

static void splice(void *arg)
{
    struct joining *j = arg;
    if (!j->duplex || write_greeting(j->host, j->greeting) < 0) {
        log_info("api", "repl: the session of %s ended before it began", j->call->identity.who.user);
        j->host->ops->close(j->host);
        if (j->duplex)
            j->duplex->ops->close(j->duplex);
    } else {
        log_info("api", "repl: a session of %s begins", j->call->identity.who.user);
        http_duplex_splice(j->repl->api->options.loop, j->host, j->duplex, NULL, NULL);
    }
    call_free(j->call);
    joining_free(j);
}

static void on_client(void *arg, struct http_duplex *duplex, struct err *err UNUSED)
{
    struct joining *j = arg;
    j->duplex = duplex;
    loop_post(j->repl->api->options.loop, splice, j);
}

static void set_timer(struct api_repl *repl)
{
    struct joining *first = list_first(&repl->waiting, struct joining, node);
    if (first)
        loop_timer_start_at(repl->timer, first->until_ms);
    else
        loop_timer_stop(repl->timer);
}

static void join(struct api_repl *repl)
{
    while (!list_empty(&repl->hosts) && !list_empty(&repl->waiting)) {
        struct host *host = list_first(&repl->hosts, struct host, node);
        struct joining *j = list_first(&repl->waiting, struct joining, node);
        list_remove(&j->node);
        j->host = steal(&host->duplex);
        host_free(host);
        upgrade(j, on_client);
    }
    set_timer(repl);
}

static void give_up(void *arg)
{
    struct api_repl *repl = arg;
    int64_t now = loop_now_ms(repl->api->options.loop);
    struct joining *j, *next;
    list_each_safe (j, next, &repl->waiting, node) {
        if (j->until_ms > now)
            break;
        struct err *err = NULL;
        err_set(&err, ERR_UNAVAILABLE,
                "no manager is connected: the REPL runs there (is minik8s manager up, and leading?)");
        list_remove(&j->node);
        call_fail(j->call, err);
        joining_free(j);
    }
    set_timer(repl);
}

static void wait_for_host(void *arg)
{
    struct joining *j = arg;
    struct api_repl *repl = j->repl;
    size_t waiting = 0;
    struct joining *other;
    list_each (other, &repl->waiting, node)
        waiting++;
    if (waiting >= MAX_WAITING) {
        struct err *err = NULL;
        err_set(&err, ERR_TOO_MANY_REQUESTS, "too many sessions wait for the manager");
        call_fail(j->call, err);
        joining_free(j);
        return;
    }
    j->until_ms = loop_now_ms(repl->api->options.loop) + WAIT_MS;
    list_add_tail(&repl->waiting, &j->node);
    join(repl);
}

/* ---- hosts ---- */

/* It says nothing before a session begins: what is readable is its end. */
static void on_host_event(void *arg, unsigned events UNUSED)
{
    struct host *host = arg;
    char byte;
    if (host->duplex->ops->read(host->duplex, &byte, 1) < 0 && errno == EAGAIN)
        return;
    host_free(host);
}

static void add_host(void *arg)
{
    struct joining *j = arg;
    struct api_repl *repl = j->repl;
    if (j->duplex) {
        struct host *host = NEW(struct host);
        *host = (struct host){.repl = repl, .duplex = j->duplex};
        host->watch = loop_fd_add(repl->api->options.loop, j->duplex->ops->fd(j->duplex), EPOLLIN,
                                  on_host_event, host, NULL);
        list_add_tail(&repl->hosts, &host->node);
    }
    call_free(j->call);
    joining_free(j);
    join(repl);
}

static void on_host(void *arg, struct http_duplex *duplex, struct err *err UNUSED)
{
    struct joining *j = arg;
    j->duplex = duplex;
    loop_post(j->repl->api->options.loop, add_host, j);
}

static void upgrade_host(void *arg)
{
    upgrade(arg, on_host);
}

/* ---- who may ---- */

static int check_session(struct call *call, struct err **err)
{
    const struct access open = {.verb = "create", .group = "minik8s.io", .resource = "repl"};
    const struct access get = {.verb = "get", .group = "*", .resource = "*"},
                        list = {.verb = "list", .group = "*", .resource = "*"};
    if (identity_allows(call->api, &call->identity, &open, err) < 0)
        return -1;
    if (identity_allows(call->api, &call->identity, &get, err) < 0 ||
        identity_allows(call->api, &call->identity, &list, err) < 0)
        return err_wrap(err, "a session reads everything");
    return 0;
}

static int check_host(struct call *call, struct err **err)
{
    if (auth_identity_in(&call->identity.who, AUTH_MANAGER_GROUP))
        return 0;
    return err_set(err, ERR_FORBIDDEN,
                   "replhosts.minik8s.io is forbidden: User \"%s\" is not the manager of this cluster",
                   call->identity.who.user);
}

static void begin(struct call *call, int allowed, struct err *err, char *greeting, loop_task *then)
{
    const char *key = http_request_header(call->request, "sec-websocket-key");
    if (allowed == 0 && !key)
        allowed = err_set(&err, ERR_BAD_REQUEST, "Upgrade request required");
    if (allowed == 0 && greeting && strlen(greeting) > MAX_GREETING)
        allowed = err_set(&err, ERR_TOO_LARGE, "this identity has too many groups");
    if (allowed < 0) {
        free(greeting);
        call_fail(call, err);
        return;
    }
    struct joining *j = NEW(struct joining);
    *j = (struct joining){
        .repl = call->api->repl, .call = call, .x = call->x, .key = mem_strdup(key), .greeting = greeting};
    loop_post(call->api->options.loop, then, j);
}

static char *greeting_of(struct call *call)
{
    auto_json greeting = cJSON_CreateObject();
    auto_free char *token = call->api->options.auth ? auth_token_issue(call->api->options.auth,
                                                                       &call->identity.who, NULL, TOKEN_NS)
                                                    : NULL;
    json_set_string(greeting, "user", call->identity.who.user);
    json_set_string(greeting, "token", token);
    return json_print(greeting);
}

void handle_repl(struct call *call)
{
    struct err *err = NULL;
    int allowed = check_session(call, &err);
    begin(call, allowed, err, allowed == 0 ? greeting_of(call) : NULL, wait_for_host);
}

void handle_repl_host(struct call *call)
{
    struct err *err = NULL;
    int allowed = check_host(call, &err);
    begin(call, allowed, err, NULL, upgrade_host);
}

struct api_repl *repl_new(struct api *api)
{
    struct api_repl *repl = NEW(struct api_repl);
    repl->api = api;
    list_init(&repl->hosts);
    list_init(&repl->waiting);
    repl->timer = loop_timer_new(api->options.loop, give_up, repl);
    return repl;
}

void repl_free(struct api_repl *repl)
{
    if (!repl)
        return;
    struct host *host, *following;
    list_each_safe (host, following, &repl->hosts, node)
        host_free(host);
    struct joining *j, *next;
    list_each_safe (j, next, &repl->waiting, node) {
        call_free(j->call);
        joining_free(j);
    }
    loop_timer_free(repl->timer);
    free(repl);
}
