/*
 * script_repl: see the header. This file is the loop's side: the idle connection, sessions coming and going,
 * and their messages.
 *
 * Does not: run Lua. Invariants: a thread never waits for the loop without watching `stop`; tasks of a thread
 * run in the order of posting, so that its last one, which frees the session, comes after all others.
 */
#include <string.h>

#include "script/script_repl.h"

#define RETRY_MS 2000
#define OUT_HIGH (1u << 20)
#define INBOX_MAX 64
#define MARKS 16384 /* seconds in which something changed: times that k.at knows */
#define MESSAGE_MAX (128u << 10)

struct mark { /* the last revision of a second */
    int64_t wall_s;
    uint64_t revision;
};

struct repl_host {
    struct script_manager *manager;
    struct list sessions;
    struct repl_session *parked; /* the idle connection; not among the sessions */
    bool parking, closing;
    struct loop_timer *retry;
    struct mark *marks; /* a ring, by time */
    size_t first, count, room;
};

struct message {
    struct list node;
    size_t len;
    char text[];
};

static struct mark *mark_at(const struct repl_host *host, size_t i)
{
    return &host->marks[(host->first + i) % host->room];
}

static void make_room(struct repl_host *host)
{
    if (host->count < host->room)
        return;
    if (host->room == MARKS) {
        host->first = (host->first + 1) % host->room;
        host->count--;
        return;
    }
    host->room = host->room ? host->room * 2 : 64; /* up to here `first` is 0 */
    host->marks = mem_resize(host->marks, host->room, sizeof(*host->marks));
}

static void note_time(struct repl_host *host)
{
    int64_t now_s = clock_wall_ns(loop_clock(host->manager->options.loop)) / 1000000000;
    struct mark *last = host->count ? mark_at(host, host->count - 1) : NULL;
    if (!last || now_s > last->wall_s) {
        make_room(host);
        last = mark_at(host, host->count++);
        last->wall_s = now_s;
    }
    last->revision = host->manager->revision;
}

uint64_t repl_host_revision_at(const struct repl_host *host, int64_t wall_s, int64_t *since_s)
{
    size_t low = 0, high = host->count;
    *since_s = host->count ? mark_at(host, 0)->wall_s : 0;
    while (low < high) { /* the first one that is later */
        size_t middle = (low + high) / 2;
        if (mark_at(host, middle)->wall_s <= wall_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? mark_at(host, low - 1)->revision : 0;
}

void repl_host_reached(struct repl_host *host)
{
    struct repl_session *session;
    if (!host)
        return;
    note_time(host);
    list_each (session, &host->sessions, node)
        repl_jobs_reached(session);
}

bool repl_stopped(struct repl_session *session)
{
    return atomic_load(&session->stop) != REPL_GO;
}

/* ---- output ---- */

static void flush(void *arg)
{
    struct repl_session *session = arg;
    pthread_mutex_lock(&session->lock);
    auto_str out = session->out;
    session->out = (struct str){0};
    session->flush_posted = false;
    pthread_mutex_unlock(&session->lock);
    size_t waiting = 0;
    for (size_t at = 0; at < out.len && session->ws;) {
        uint32_t len;
        memcpy(&len, out.data + at, sizeof(len));
        waiting = websocket_send(session->ws, WEBSOCKET_BINARY, out.data + at + sizeof(len), len);
        at += sizeof(len) + len;
    }
    pthread_mutex_lock(&session->lock);
    session->unsent = waiting;
    pthread_cond_broadcast(&session->changed);
    pthread_mutex_unlock(&session->lock);
}

static void on_drain(void *arg)
{
    struct repl_session *session = arg;
    pthread_mutex_lock(&session->lock);
    session->unsent = 0;
    pthread_cond_broadcast(&session->changed);
    pthread_mutex_unlock(&session->lock);
}

/* Small texts share a message: sending one costs the loop a system call. */
static void add_message(struct repl_session *session, char type, const char *text, size_t len)
{
    uint32_t framed = 0;
    struct str *out = &session->out;
    if (type == 'o' && out->len && out->data[session->last + sizeof(framed)] == 'o') {
        memcpy(&framed, out->data + session->last, sizeof(framed));
        if (framed + len <= MESSAGE_MAX) {
            framed += (uint32_t)len;
            memcpy(out->data + session->last, &framed, sizeof(framed));
            str_add_n(out, text, len);
            return;
        }
    }
    session->last = out->len;
    framed = (uint32_t)len + 1;
    str_add_n(out, (const char *)&framed, sizeof(framed));
    str_add_char(out, type);
    str_add_n(out, text, len);
}

void repl_say(struct repl_session *session, char type, const char *text, size_t len)
{
    pthread_mutex_lock(&session->lock);
    while (session->out.len + session->unsent > OUT_HIGH && !repl_stopped(session))
        pthread_cond_wait(&session->changed, &session->lock);
    add_message(session, type, text, len);
    bool post = !session->flush_posted;
    session->flush_posted = true;
    pthread_mutex_unlock(&session->lock);
    if (post)
        loop_post(session->loop, flush, session);
}

/* ---- input ---- */

cJSON *repl_take_message(struct repl_session *session)
{
    pthread_mutex_lock(&session->lock);
    while (list_empty(&session->inbox) && atomic_load(&session->stop) != REPL_CLOSE)
        pthread_cond_wait(&session->changed, &session->lock);
    struct message *message =
        atomic_load(&session->stop) == REPL_CLOSE ? NULL : list_first(&session->inbox, struct message, node);
    if (message) {
        list_remove(&message->node);
        session->n_inbox--;
        int interrupted = REPL_INTERRUPT; /* of the command before this one, unless it came after this one */
        if (!session->interrupted)
            atomic_compare_exchange_strong(&session->stop, &interrupted, REPL_GO);
        session->interrupted = false;
    }
    pthread_mutex_unlock(&session->lock);
    if (!message)
        return NULL;
    cJSON *json = json_parse(message->text, message->len, NULL);
    free(message);
    return json ? json : cJSON_CreateObject();
}

static void session_free(struct repl_session *session)
{
    struct message *message, *next;
    list_each_safe (message, next, &session->inbox, node) {
        list_remove(&message->node);
        free(message);
    }
    str_free(&session->out);
    pthread_cond_destroy(&session->changed);
    pthread_mutex_destroy(&session->lock);
    free(session->user);
    free(session);
}

/* The thread's last task. */
static void session_ended(void *arg)
{
    struct repl_session *session = arg;
    if (!session->joined)
        pthread_join(session->thread, NULL);
    log_info("script", "repl: the session of %s has ended", session->user);
    session_free(session);
}

static void *session_thread(void *arg)
{
    struct repl_session *session = arg;
    repl_session_main(session);
    loop_post(session->loop, session_ended, session);
    return NULL;
}

/* Nothing of the session stays on the loop but its thread's last tasks. */
static void session_close(struct repl_session *session)
{
    if (session->closed)
        return;
    session->closed = true;
    pthread_mutex_lock(&session->lock);
    atomic_store(&session->stop, REPL_CLOSE);
    pthread_cond_broadcast(&session->changed);
    pthread_mutex_unlock(&session->lock);
    repl_jobs_drop(session);
    if (session->ws)
        websocket_close(session->ws, 1000);
    session->ws = NULL;
    if (session->http)
        session->http->ops->free(session->http);
    session->http = NULL;
    list_remove(&session->node);
    if (!session->started)
        session_free(session);
}

static void refuse(struct repl_session *session, const char *why)
{
    auto_json done = cJSON_CreateObject();
    json_set_string(done, "error", why);
    json_set_bool(done, "fatal", true);
    auto_free char *text = json_print(done);
    auto_free char *framed = mem_printf("d%s", text);
    log_warn("script", "repl: %s", why);
    websocket_send(session->ws, WEBSOCKET_BINARY, framed, strlen(framed));
    session_close(session);
}

static size_t count_sessions(const struct repl_host *host)
{
    size_t count = 0;
    struct repl_session *session;
    list_each (session, &host->sessions, node)
        count++;
    return count;
}

/* The first message: who has come. */
static void session_start(struct repl_session *session, const char *data, size_t len)
{
    struct repl_host *host = session->host;
    const struct script_manager_options *options = &host->manager->options;
    auto_json greeting = json_parse_trusted(data, len);
    auto_err err = NULL;
    host->parked = NULL;
    repl_host_wake(host);
    session->user = mem_strdup(json_string_or(greeting, "user", "?"));
    if (count_sessions(host) >= REPL_SESSIONS) {
        refuse(session, "too many sessions are open");
        return;
    }
    session->http =
        options->user_client(options->user_client_arg, json_string_or(greeting, "token", ""), &err);
    if (!session->http) {
        refuse(session, err_message(err));
        return;
    }
    list_add_tail(&host->sessions, &session->node);
    session->started = true;
    if (pthread_create(&session->thread, NULL, session_thread, session) != 0) {
        session->started = false;
        refuse(session, "no thread for the session");
        return;
    }
    log_info("script", "repl: a session of %s", session->user);
}

static void interrupt(struct repl_session *session)
{
    int go = REPL_GO;
    pthread_mutex_lock(&session->lock);
    atomic_compare_exchange_strong(&session->stop, &go, REPL_INTERRUPT);
    session->interrupted = session->n_inbox > 0;
    pthread_cond_broadcast(&session->changed);
    pthread_mutex_unlock(&session->lock);
}

static void on_message(void *arg, enum websocket_type type, const char *data, size_t len)
{
    struct repl_session *session = arg;
    struct repl_host *host = session->host;
    if (type == WEBSOCKET_CLOSED) {
        bool parked = host->parked == session;
        session->ws = NULL;
        if (parked)
            host->parked = NULL;
        session_close(session);
        if (parked && !host->closing)
            loop_timer_start(host->retry, RETRY_MS);
        return;
    }
    if (!session->started) {
        session_start(session, data, len);
        return;
    }
    if (len >= 12 && memcmp(data, "{\"interrupt\"", 12) == 0) {
        interrupt(session);
        return;
    }
    struct message *message = mem_alloc(sizeof(*message) + len + 1);
    message->len = len;
    memcpy(message->text, data, len);
    pthread_mutex_lock(&session->lock);
    bool full = session->n_inbox >= INBOX_MAX;
    list_add_tail(&session->inbox, &message->node);
    session->n_inbox++;
    pthread_cond_broadcast(&session->changed);
    pthread_mutex_unlock(&session->lock);
    if (full)
        refuse(session, "too many commands at once");
}

const char *const *repl_directories(const struct repl_session *session)
{
    return (const char *const *)session->manager->lua_directories;
}

const struct map *repl_kinds(const struct repl_session *session)
{
    return &session->manager->shipped_kinds;
}

const char *const *repl_shipped(const struct repl_session *session)
{
    return (const char *const *)session->manager->shipped_policies;
}

/* ---- the idle connection ---- */

static struct repl_session *session_new(struct repl_host *host)
{
    struct repl_session *session = NEW(struct repl_session);
    session->host = host;
    session->manager = host->manager;
    session->loop = host->manager->options.loop;
    list_init(&session->node);
    list_init(&session->jobs);
    list_init(&session->inbox);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&session->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&session->lock, NULL);
    return session;
}

static void on_parked(void *arg, const struct http_response *response, struct http_duplex *duplex,
                      struct err *err)
{
    struct repl_host *host = arg;
    host->parking = false;
    if (!duplex) {
        log_warn("script", "repl: the server takes no sessions for this manager: %s",
                 err        ? err_message(err)
                 : response ? response->body
                            : "?");
        loop_timer_start(host->retry, RETRY_MS);
        return;
    }
    host->parked = session_new(host);
    const struct websocket_options options = {
        .on_message = on_message, .on_drain = on_drain, .arg = host->parked};
    host->parked->ws = websocket_new(host->manager->options.loop, duplex, &options);
}

void repl_host_wake(struct repl_host *host)
{
    if (!host || host->closing || host->parking || host->parked || !host->manager->connected ||
        !manager_active(host->manager))
        return;
    struct http_client *http = host->manager->options.http;
    host->parking = true;
    websocket_tunnel(http, "/apis/minik8s.io/v1/replhosts", NULL, on_parked, host);
}

static void on_retry(void *arg)
{
    repl_host_wake(arg);
}

struct repl_host *repl_host_new(struct script_manager *manager)
{
    if (!manager->options.user_client)
        return NULL;
    struct repl_host *host = NEW(struct repl_host);
    host->manager = manager;
    list_init(&host->sessions);
    host->retry = loop_timer_new(manager->options.loop, on_retry, host);
    return host;
}

void repl_host_free(struct repl_host *host)
{
    if (!host)
        return;
    host->closing = true;
    if (host->parked)
        session_close(steal(&host->parked));
    struct repl_session *session, *next;
    list_each_safe (session, next, &host->sessions, node) {
        session_close(session);
        pthread_join(session->thread, NULL);
        session->joined = true;
    }
    loop_timer_free(host->retry);
    free(host->marks);
    free(host);
}
