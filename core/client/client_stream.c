/*
 * The consumer's end of the one stream: cuts the answer into lines, hands events on in order, and comes back
 * after every failure from the last revision seen, or with a complete list when the server says that this is
 * too old (410) or is another cluster. It holds no objects: see cache.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "client/client_private.h"

#define STREAM_TARGET "/apis/minik8s.io/v1/stream"
#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 2000
#define LINE_MAX_BYTES (8u << 20)

struct client_stream {
    struct client *client;
    struct client_stream_options options;
    char *resources, *cluster_id;
    uint64_t revision, hello;
    bool list_needed, connected, told;
    struct http_pending *pending;
    struct loop_timer *retry;
    int64_t backoff_ms;
    struct str line;   /* an unfinished line */
    struct err *error; /* why the present connection has to end */
};

static void set_connected(struct client_stream *s, bool connected, const char *reason)
{
    if (s->told && s->connected == connected)
        return;
    s->told = true;
    s->connected = connected;
    if (s->options.on_connected)
        s->options.on_connected(s->options.arg, connected, reason);
}

/* ---- lines ---- */

struct line {
    const char *type, *resource, *object, *cluster;
    size_t type_len, resource_len, object_len, cluster_len;
    uint64_t revision;
};

static bool take(const char **at, const char *end, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(end - *at) < len || memcmp(*at, text, len) != 0)
        return false;
    *at += len;
    return true;
}

static bool take_word(const char **at, const char *end, const char **word, size_t *len)
{
    const char *quote = memchr(*at, '"', (size_t)(end - *at));
    if (!quote)
        return false;
    *word = *at;
    *len = (size_t)(quote - *at);
    *at = quote + 1;
    return true;
}

/* The server writes the members in this order: no parser needed before the object itself. */
static bool line_split(const char *text, size_t len, struct line *line)
{
    const char *at = text, *end = text + len;
    *line = (struct line){0};
    if (!take(&at, end, "{\"type\":\"") || !take_word(&at, end, &line->type, &line->type_len) ||
        !take(&at, end, ",\"revision\":"))
        return false;
    while (at < end && *at >= '0' && *at <= '9')
        line->revision = line->revision * 10 + (uint64_t)(*at++ - '0');
    if (take(&at, end, ",\"cluster\":\"") && !take_word(&at, end, &line->cluster, &line->cluster_len))
        return false;
    if (take(&at, end, ",\"resource\":\"") && !take_word(&at, end, &line->resource, &line->resource_len))
        return false;
    if (take(&at, end, ",\"object\":")) {
        line->object = at;
        line->object_len = (size_t)(end - at) - 1;
        return end > at && end[-1] == '}';
    }
    return at + 1 == end && *at == '}';
}

static bool line_is(const struct line *line, const char *type)
{
    return strlen(type) == line->type_len && memcmp(line->type, type, line->type_len) == 0;
}

static int on_hello(struct client_stream *s, const struct line *line)
{
    auto_free char *id = mem_strndup(line->cluster ? line->cluster : "", line->cluster_len);
    bool other = s->cluster_id && !str_eq(s->cluster_id, id);
    free(s->cluster_id);
    s->cluster_id = mem_strdup(id);
    s->hello = line->revision;
    set_connected(s, true, "");
    s->backoff_ms = BACKOFF_FIRST_MS;
    if (s->list_needed) {
        if (s->options.on_restart)
            s->options.on_restart(s->options.arg, id);
        return 0;
    }
    if (!other)
        return 0;
    s->list_needed = true; /* a revision of another cluster means nothing here */
    return err_set(&s->error, ERR_GONE, "the server belongs to another cluster (%s)", id);
}

static int on_error_line(struct client_stream *s, const struct line *line)
{
    auto_json status = json_parse_trusted(line->object, line->object_len);
    struct err *err = client_error_from_status(status, (int)json_int(status, "code", 500));
    if (err_code(err) == ERR_GONE)
        s->list_needed = true;
    s->error = err;
    return -1;
}

static int on_line(struct client_stream *s, const char *text, size_t len)
{
    struct line line;
    if (!line_split(text, len, &line))
        return err_set(&s->error, ERR_INTERNAL, "the stream has a line that is no event");
    if (line_is(&line, "HELLO"))
        return on_hello(s, &line);
    if (line_is(&line, "ERROR"))
        return on_error_line(s, &line);
    static const struct {
        const char *name;
        enum client_event_type type;
    } types[] = {{"ADDED", CLIENT_ADDED},
                 {"MODIFIED", CLIENT_MODIFIED},
                 {"DELETED", CLIENT_DELETED},
                 {"INITIAL_END", CLIENT_INITIAL_END},
                 {"BOOKMARK", CLIENT_BOOKMARK}};
    char resource[256];
    if (line.resource_len >= sizeof(resource))
        return err_set(&s->error, ERR_INTERNAL, "the stream has a resource name that is too long");
    memcpy(resource, line.resource ? line.resource : "", line.resource_len);
    resource[line.resource_len] = 0;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (!line_is(&line, types[i].name))
            continue;
        if (types[i].type == CLIENT_INITIAL_END)
            s->list_needed = false;
        if (line.revision > s->revision || types[i].type == CLIENT_INITIAL_END)
            s->revision = s->list_needed ? s->revision : line.revision;
        const struct client_event event = {types[i].type, line.revision, resource, line.object,
                                           line.object_len};
        s->options.on_event(s->options.arg, &event);
        return 0;
    }
    return err_set(&s->error, ERR_INTERNAL, "the stream has an event of unknown type");
}

/* ---- connection ---- */

static bool on_data(void *arg, int status, const char *data, size_t len)
{
    struct client_stream *s = arg;
    if (status != 200) {
        if (s->line.len + len < LINE_MAX_BYTES)
            str_add_n(&s->line, data, len); /* a Status, read at the end */
        return true;
    }
    while (len) {
        const char *newline = memchr(data, '\n', len);
        size_t part = newline ? (size_t)(newline - data) : len;
        if (s->line.len + part > LINE_MAX_BYTES) {
            err_set(&s->error, ERR_TOO_LARGE, "the stream has a line over %u bytes", LINE_MAX_BYTES);
            return false;
        }
        int result = 0;
        if (newline && s->line.len == 0) {
            result = on_line(s, data, part);
        } else {
            str_add_n(&s->line, data, part);
            if (newline) {
                result = on_line(s, s->line.data, s->line.len);
                str_clear(&s->line);
            }
        }
        if (result < 0)
            return false;
        data += newline ? part + 1 : part;
        len -= newline ? part + 1 : part;
    }
    return true;
}

static void on_end(void *arg, const struct http_response *response, struct err *err)
{
    struct client_stream *s = arg;
    s->pending = NULL;
    if (!s->error && !err && response->status != 200) {
        auto_json status = json_parse_trusted(str_c(&s->line), s->line.len);
        s->error = client_error_from_status(status, response->status);
        if (err_code(s->error) == ERR_GONE)
            s->list_needed = true;
    }
    const char *reason = s->error ? err_message(s->error)
                         : err    ? err_message(err)
                                  : "the server ended the stream";
    bool gone = err_code(s->error) == ERR_GONE;
    if (gone)
        log_info("client", "stream restarts with a list: %s", reason);
    else
        set_connected(s, false, reason);
    loop_timer_start(s->retry, gone ? 0 : s->backoff_ms);
    s->backoff_ms = s->backoff_ms * 2 < BACKOFF_MAX_MS ? s->backoff_ms * 2 : BACKOFF_MAX_MS;
}

static void stream_connect(void *arg)
{
    struct client_stream *s = arg;
    err_free(steal(&s->error));
    str_clear(&s->line);
    auto_str target = {0};
    str_add(&target, STREAM_TARGET);
    if (s->list_needed) {
        http_query_add(&target, "sendInitialEvents", "true");
    } else {
        char revision[24];
        snprintf(revision, sizeof(revision), "%" PRIu64, s->revision);
        http_query_add(&target, "resourceVersion", revision);
    }
    if (s->resources)
        http_query_add(&target, "resources", s->resources);
    const struct http_call call = {
        .method = "GET", .target = str_c(&target), .on_data = on_data, .on_response = on_end, .arg = s};
    s->pending = s->client->http->ops->call(s->client->http, &call);
}

struct client_stream *client_stream_open(struct client *client, const struct client_stream_options *options)
{
    struct client_stream *s = NEW(struct client_stream);
    s->client = client;
    s->options = *options;
    s->resources = mem_strdup(options->resources);
    s->cluster_id = mem_strdup(options->cluster_id);
    s->revision = options->from;
    s->list_needed = options->from == 0;
    s->backoff_ms = BACKOFF_FIRST_MS;
    s->retry = loop_timer_new(client->loop, stream_connect, s);
    loop_timer_start(s->retry, 0);
    return s;
}

uint64_t client_stream_revision(const struct client_stream *s)
{
    return s->revision;
}

uint64_t client_stream_hello(const struct client_stream *s)
{
    return s->hello;
}

void client_stream_reconnect(struct client_stream *s)
{
    if (s->pending) {
        s->client->http->ops->cancel(s->client->http, s->pending);
        s->pending = NULL;
    }
    s->backoff_ms = BACKOFF_FIRST_MS;
    loop_timer_start(s->retry, 0);
}

void client_stream_close(struct client_stream *s)
{
    if (!s)
        return;
    if (s->pending)
        s->client->http->ops->cancel(s->client->http, s->pending);
    loop_timer_free(s->retry);
    err_free(s->error);
    str_free(&s->line);
    free(s->resources);
    free(s->cluster_id);
    free(s);
}
