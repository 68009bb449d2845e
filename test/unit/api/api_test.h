/* What the tests of this folder share: a whole api on a real store in inline mode under a virtual clock,
 * driven by the in-process client. Texts may use ' for ". */
#ifndef M8_TEST_UNIT_API_H
#define M8_TEST_UNIT_API_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../support/exchange.c"
#include "api/api.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "store/store_lmdb.h"

#include "api_test_auth.h"

#define START_WALL 1700000000000000000

struct world {
    bool real;    /* a loop with file descriptors and the system's clock */
    bool threads; /* the store has its own writer */
    char *directory;
    struct loop *loop;
    struct random_seeded seeded;
    struct random random;
    struct store *store;
    struct watch_hub *hub;
    struct schema *schema;
    struct metrics *metrics;
    struct auth_authority *auth;
    struct api *api;
    struct http_client *client, *other; /* the admin's, and one made by world_as */
    struct api_options options;
};

struct reply {
    bool done;
    int status;
    cJSON *json; /* NULL if the body is none */
    char *text, *warning, *content_type;
    enum err_code error;
};

static inline char *quoted(const char *text)
{
    char *copy = mem_strdup(text ? text : "");
    for (char *c = copy; *c; c++) {
        if (*c == '\'')
            *c = '"';
    }
    return copy;
}

static inline void load_kinds(struct schema *schema)
{
    char *text = NULL;
    size_t len = 0;
    assert_int_equal(file_read(MINIK8S_KINDS_JSON, 16 << 20, &text, &len, NULL), 0);
    auto_json kinds = json_parse(text, len, NULL);
    free(text);
    auto_err err = NULL;
    if (schema_add_all(schema, kinds, &err) < 0)
        fail_msg("%s", err_message(err));
}

static const char *const masters[] = {"system:masters", NULL};

static inline void world_open(struct world *w)
{
    auto_err err = NULL;
    struct store_lmdb_options options = {.directory = w->directory,
                                         .inline_loop = w->threads ? NULL : w->loop,
                                         .map_bytes = 256 << 20,
                                         .clock = loop_clock(w->loop),
                                         .random = &w->random,
                                         .log_keep_events = 1000};
    const struct store_seal seal = {auth_seal, auth_unseal, auth_authority_seal(w->auth)};
    options.seal = &seal;
    w->store = store_lmdb_open(&options, &err);
    if (!w->store)
        fail_msg("%s", err_message(err));
    w->hub = watch_hub_new(w->store, loop_clock(w->loop));
    static const char *const volatile_kinds[] = {"leases.coordination.k8s.io", NULL};
    watch_hub_set_volatile(w->hub, volatile_kinds);
    w->store->ops->set_on_commit(w->store, watch_hub_publish, w->hub);
    w->options.loop = w->loop;
    w->options.clock = loop_clock(w->loop);
    w->options.random = &w->random;
    w->options.store = w->store;
    w->options.hub = w->hub;
    w->options.schema = w->schema;
    w->options.metrics = w->metrics;
    w->options.auth = w->auth;
    w->options.git_version = "v1.35.0";
    w->options.product_version = "test";
    w->options.service_range = "10.96.0.0/16";
    w->options.pod_range = "10.244.0.0/16";
    w->api = api_new(&w->options, &err);
    if (!w->api)
        fail_msg("%s", err_message(err));
    const struct http_local_identity admin = {.user = "admin", .groups = masters};
    w->client = http_local_client_new(w->loop, api_handle, w->api, &admin);
}

static inline void stop_turn(void *loop)
{
    loop_stop(loop);
}

/* Something, or on a real loop everything that waits now. */
static inline void turn(struct world *w)
{
    if (!w->real) {
        assert_true(loop_step(w->loop));
        return;
    }
    struct loop_timer *end =
        loop_timer_new(w->loop, stop_turn, w->loop); /* a task would stop before sockets are looked at */
    loop_timer_start(end, 1);
    loop_run(w->loop);
    loop_timer_free(end);
}

/* Everything due now; a virtual clock stays. */
static inline void settle(struct world *w)
{
    for (int i = 0; w->real && i < 10; i++)
        turn(w);
    if (!w->real)
        loop_run_until(w->loop, loop_now_ms(w->loop));
}

static inline void world_close(struct world *w)
{
    if (w->other)
        w->other->ops->free(w->other);
    w->other = NULL;
    w->client->ops->free(w->client);
    settle(w);
    w->store->ops->close(w->store);
    api_free(w->api);
    watch_hub_free(w->hub);
}

static inline void on_bootstrapped(void *arg, struct err *err)
{
    if (err)
        fail_msg("%s", err_message(err));
    *(bool *)arg = true;
}

static inline struct world *world_new(bool real, bool threads)
{
    json_init();
    log_set_level(LOG_ERROR);
    struct world *w = NEW(struct world);
    w->directory = mem_strdup("/dev/shm/m8-api-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    w->real = real;
    w->threads = threads;
    w->loop = real ? loop_new(NULL) : loop_new_virtual(START_WALL);
    if (threads)
        w->random = random_system; /* a seeded one is for one thread */
    else
        random_seeded_init(&w->seeded, 42, &w->random);
    w->schema = schema_new();
    load_kinds(w->schema);
    w->metrics = test_metrics();
    w->auth = test_authority(w->directory, loop_clock(w->loop), &w->random);
    world_open(w);
    bool ready = false;
    api_bootstrap(w->api, on_bootstrapped, &ready);
    while (!ready)
        turn(w);
    return w;
}

static inline void world_free(struct world *w)
{
    world_close(w);
    test_authority_free(w->auth);
    test_metrics_free(w->metrics);
    schema_free(w->schema);
    loop_free(w->loop);
    file_remove_tree(w->directory, NULL);
    free(w->directory);
    free(w);
}

static inline int setup(void **state)
{
    *state = world_new(false, false);
    return 0;
}

static inline int setup_real(void **state)
{
    *state = world_new(true, false);
    return 0;
}

static inline int setup_threads(void **state)
{
    *state = world_new(true, true);
    return 0;
}

static inline int teardown(void **state)
{
    world_free(*state);
    return 0;
}

static inline void on_reply(void *arg, const struct http_response *response, struct err *err)
{
    struct reply *reply = arg;
    reply->done = true;
    reply->error = err_code(err);
    if (!response)
        return;
    reply->status = response->status;
    reply->text = mem_strndup(response->body, response->len);
    reply->json = json_parse(response->body, response->len, NULL);
    reply->content_type = mem_strdup(response->content_type);
    for (size_t i = 0; i < response->n_headers; i++) {
        if (str_eq(response->headers[i].name, "warning") && !reply->warning)
            reply->warning = mem_strdup(response->headers[i].value);
    }
}

static inline void reply_fini(struct reply *reply)
{
    cJSON_Delete(reply->json);
    free(reply->text);
    free(reply->warning);
    free(reply->content_type);
    *reply = (struct reply){0};
}
#define auto_reply __attribute__((cleanup(reply_fini))) struct reply

static inline struct reply ask_call(struct world *w, struct http_client *client, struct http_call call)
{
    struct reply reply = {0};
    call.on_response = on_reply;
    call.arg = &reply;
    client->ops->call(client, &call);
    while (!reply.done)
        turn(w);
    return reply;
}

static inline struct reply ask_client(struct world *w, struct http_client *client, const char *method,
                                      const char *target, const char *type, const char *accept,
                                      const char *body)
{
    auto_free char *text = quoted(body);
    struct http_pair header = {"accept", accept};
    const struct http_call call = {.method = method,
                                   .target = target,
                                   .content_type = body ? type : NULL,
                                   .body = text,
                                   .body_len = body ? strlen(text) : 0,
                                   .headers = &header,
                                   .n_headers = accept ? 1 : 0};
    return ask_call(w, client, call);
}

static inline struct reply ask(struct world *w, const char *method, const char *target, const char *body)
{
    return ask_client(w, w->client, method, target, NULL, NULL, body);
}

static inline struct reply ask_type(struct world *w, const char *method, const char *target, const char *type,
                                    const char *body)
{
    return ask_client(w, w->client, method, target, type, NULL, body);
}

static inline struct reply ask_accept(struct world *w, const char *target, const char *accept)
{
    return ask_client(w, w->client, "GET", target, NULL, accept, NULL);
}

/* Asks and expects a status; the answer is dropped. */
#define expect(w, wanted, method, target, body)                                                              \
    do {                                                                                                     \
        auto_reply expected = ask(w, method, target, body);                                                  \
        if (expected.status != (wanted))                                                                     \
            fail_msg("%s %s: %d %s", method, target, expected.status, expected.text);                        \
    } while (0)

static inline const char *text_at(const struct reply *reply, const char *path)
{
    return json_string_or(reply->json, path, "(absent)");
}

#define assert_at(reply, path, wanted) assert_string_equal(text_at(&(reply), path), wanted)

/* Another client; replaces the one before. */
static inline struct http_client *world_as(struct world *w, const char *user, const char *group,
                                           const char *token)
{
    if (w->other)
        w->other->ops->free(w->other);
    const char *groups[] = {group, NULL};
    const struct http_local_identity identity = {.user = user, .groups = groups, .bearer_token = token};
    w->other = http_local_client_new(w->loop, api_handle, w->api, &identity);
    return w->other;
}

/* ---- streams ---- */
struct lines {
    struct str text;
    int status;
    bool ended;
    enum err_code error;
    struct http_pending *pending;
    struct http_client *client;
};

static inline bool on_line_data(void *arg, int status, const char *data, size_t len)
{
    struct lines *lines = arg;
    lines->status = status;
    str_add_n(&lines->text, data, len);
    return true;
}

static inline void on_lines_end(void *arg, const struct http_response *response, struct err *err)
{
    struct lines *lines = arg;
    lines->ended = true;
    lines->error = err_code(err);
    if (response)
        lines->status = response->status;
}

static inline void lines_open(struct world *w, struct http_client *client, struct lines *lines,
                              const char *target, const char *accept)
{
    struct http_pair header = {"accept", accept};
    const struct http_call call = {.method = "GET",
                                   .target = target,
                                   .headers = &header,
                                   .n_headers = accept ? 1 : 0,
                                   .on_data = on_line_data,
                                   .on_response = on_lines_end,
                                   .arg = lines};
    *lines = (struct lines){.client = client};
    lines->pending = client->ops->call(client, &call);
    settle(w);
}

static inline void lines_close(struct world *w, struct lines *lines)
{
    if (!lines->ended)
        lines->client->ops->cancel(lines->client, lines->pending);
    settle(w);
    str_free(&lines->text);
}

/* "TYPE/name@" of each line, in order, as one text; drops what was read. */
static inline char *lines_take(struct world *w, struct lines *lines)
{
    settle(w);
    struct str out = {0};
    char *save = NULL;
    auto_free char *text = str_take(&lines->text);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        auto_json json = json_parse(line, strlen(line), NULL);
        assert_non_null(json);
        str_addf(&out, "%s%s/%s", out.len ? " " : "", json_string_or(json, "type", "?"),
                 json_string_or(json, "object.metadata.name", ""));
    }
    return str_take(&out);
}

#define assert_lines(w, lines, wanted)                                                                       \
    do {                                                                                                     \
        auto_free char *got_lines = lines_take(w, lines);                                                    \
        assert_string_equal(got_lines, wanted);                                                              \
    } while (0)

#endif
