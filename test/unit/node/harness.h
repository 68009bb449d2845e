/*
 * harness: one agent on a virtual loop with a fake machine, a fake network and a small server that knows the
 * stream, batches and leases: enough of the API to see what the agent says, and nothing more. Included by one
 * test program at a time.
 */
#ifndef M8_TEST_UNIT_NODE_HARNESS_H
#define M8_TEST_UNIT_NODE_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../support/exchange.c"
#include "../../support/fake_net.c"
#include "../../support/fake_runtime.c"
#include "base/file.h"
#include "base/log.h"
#include "node/node.h"

#define START_NS 1750000000000000000ll

struct stream_out {
    struct http_exchange *x;
    size_t sent; /* lines of the log */
    bool open;
};

struct server {
    char *cluster;
    uint64_t revision;
    struct map objects; /* "resource/namespace/name" → cJSON */
    char **lines;
    size_t n_lines;
    struct stream_out *stream; /* the agent's, or NULL */
    bool refuse_batches;
    bool refuse_tokens;
    bool conflict;     /* of every status that names the revision it was made from */
    bool hold_batches; /* the next answer stays here until server_release */
    struct http_exchange *held;
    cJSON *held_answer;
    unsigned status_writes, deletes, beats, tokens;
    uint64_t applied;   /* as the Lease says */
    struct map reasons; /* of Events seen */
};

struct world {
    struct loop *loop;
    struct pool *pool, *file_pool; /* file_pool NULL: pool */
    struct random_seeded seeded;
    struct random random;
    struct fake_machine *machine;
    struct fake_world *net_world;
    struct net *net;
    struct runtime *runtime;
    struct http_client *http;
    struct server server;
    struct node *node;
    char directory[64];
};

/* ---- the server ---- */

static char *key_of(const char *resource, const cJSON *object)
{
    return mem_printf("%s/%s/%s", resource, json_string_or(object, "metadata.namespace", ""),
                      json_string_or(object, "metadata.name", ""));
}

static void add_line(struct server *s, char *line)
{
    s->lines = mem_resize(s->lines, s->n_lines + 1, sizeof(char *));
    s->lines[s->n_lines++] = line;
    if (s->stream && s->stream->open)
        http_stream_wake(s->stream->x);
}

static char *event_line(const char *type, uint64_t revision, const char *resource, const cJSON *object)
{
    auto_free char *text = json_print(object);
    return mem_printf("{\"type\":\"%s\",\"revision\":%llu,\"resource\":\"%s\",\"object\":%s}\n", type,
                      (unsigned long long)revision, resource, text);
}

static void server_put(struct server *s, const char *resource, cJSON *object) /* takes it */
{
    auto_free char *key = key_of(resource, object);
    bool known = map_has(&s->objects, key);
    auto_free char *revision = mem_printf("%llu", (unsigned long long)++s->revision);
    json_set_string(json_ensure_object(object, "metadata"), "resourceVersion", revision);
    add_line(s, event_line(known ? "MODIFIED" : "ADDED", s->revision, resource, object));
    map_set(&s->objects, key, object);
}

static void server_drop(struct server *s, const char *resource, const char *namespace, const char *name)
{
    auto_free char *key = mem_printf("%s/%s/%s", resource, namespace, name);
    cJSON *object = map_take(&s->objects, key);
    if (!object)
        return;
    add_line(s, event_line("DELETED", ++s->revision, resource, object));
    cJSON_Delete(object);
}

static cJSON *server_get(struct server *s, const char *resource, const char *namespace, const char *name)
{
    auto_free char *key = mem_printf("%s/%s/%s", resource, namespace, name);
    return map_get(&s->objects, key);
}

static enum http_pull stream_pull(void *arg, struct str *out)
{
    struct world *w = arg;
    struct stream_out *stream = w->server.stream;
    while (stream->sent < w->server.n_lines)
        str_add(out, w->server.lines[stream->sent++]);
    return HTTP_PULL_WAIT;
}

static void stream_closed(void *arg)
{
    struct world *w = arg;
    w->server.stream->open = false;
}

static void serve_stream(struct world *w, struct http_exchange *x)
{
    static const struct http_stream_ops ops = {stream_pull, stream_closed};
    struct server *s = &w->server;
    for (size_t i = 0; i < s->n_lines; i++)
        free(s->lines[i]);
    s->n_lines = 0;
    if (!s->stream)
        s->stream = NEW(struct stream_out);
    *s->stream = (struct stream_out){.x = x, .open = true};
    s->stream->open = false;
    add_line(s, mem_printf("{\"type\":\"HELLO\",\"revision\":%llu,\"cluster\":\"%s\"}\n",
                           (unsigned long long)s->revision, s->cluster));
    if (http_request_flag(&x->request, "sendInitialEvents")) {
        map_each (entry, &s->objects) {
            auto_free char *resource = mem_strndup(entry->key, strcspn(entry->key, "/"));
            const cJSON *object = entry->value;
            add_line(s,
                     event_line("ADDED",
                                strtoull(json_string_or(object, "metadata.resourceVersion", "0"), NULL, 10),
                                resource, object));
        }
        add_line(
            s, mem_printf("{\"type\":\"INITIAL_END\",\"revision\":%llu}\n", (unsigned long long)s->revision));
    }
    s->stream->open = true;
    http_stream(x, 200, "application/json", NULL, 0, &ops, w);
}

/* What a finalizer holds is only marked. */
static void server_delete(struct server *s, const char *resource, const cJSON *present)
{
    if (!json_at(present, "metadata.finalizers[0]")) {
        server_drop(s, resource, json_string_or(present, "metadata.namespace", ""),
                    json_string_or(present, "metadata.name", ""));
        return;
    }
    if (json_int(present, "metadata.deletionGracePeriodSeconds", -1) == 0)
        return;
    cJSON *object = json_copy(present);
    json_set_int(json_get(object, "metadata"), "deletionGracePeriodSeconds", 0);
    server_put(s, resource, object);
}

static bool conflicts(const struct server *s, const cJSON *step, const cJSON *present)
{
    const char *revision = json_string(step, "resourceVersion");
    return revision && (s->conflict || !str_eq(revision, json_string(present, "metadata.resourceVersion")));
}

static cJSON *step_result(struct world *w, const cJSON *step)
{
    struct server *s = &w->server;
    const char *verb = json_string_or(step, "verb", ""), *resource = json_string_or(step, "resource", "");
    const char *namespace = json_string_or(step, "namespace", ""), *name = json_string_or(step, "name", "");
    cJSON *result = cJSON_CreateObject(), *present = server_get(s, resource, namespace, name);
    int code = 200;
    if (str_eq(resource, "events")) {
        const char *reason = json_string(step, "object.reason");
        if (reason)
            map_set(&s->reasons, reason, s);
    } else if (str_eq(verb, "create")) {
        cJSON *object = json_copy(json_get(step, "object"));
        json_set_string(json_ensure_object(object, "metadata"), "uid", "uid-of-created");
        if (str_eq(resource, "nodes"))
            json_set_string(json_ensure_object(object, "spec"), "podCIDR", "10.244.1.0/24");
        server_put(s, resource, object);
        code = 201;
    } else if (!present) {
        code = 404;
    } else if (json_string(step, "uid") &&
               !str_eq(json_string(step, "uid"), json_string(present, "metadata.uid"))) {
        code = 409;
    } else if (conflicts(s, step, present)) {
        code = 409;
    } else if (str_eq(verb, "status")) {
        s->status_writes += str_eq(resource, "pods");
        cJSON *object = json_copy(present);
        json_set(object, "status", json_copy(json_at(step, "object.status")));
        server_put(s, resource, object);
    } else if (str_eq(verb, "delete")) {
        s->deletes++;
        server_delete(s, resource, present);
    }
    json_set_int(result, "code", code);
    if (code >= 400) {
        cJSON *status = json_ensure_object(result, "status");
        json_set_string(status, "reason", code == 404 ? "NotFound" : "Conflict");
        json_set_int(status, "code", code);
    }
    return result;
}

static void respond_json(struct http_exchange *x, int status, cJSON *json)
{
    auto_free char *text = json_print(json);
    cJSON_Delete(json);
    http_respond(x, status, "application/json", bytes_from(text, strlen(text)), NULL, 0);
}

static void serve(void *arg, struct http_exchange *x)
{
    struct world *w = arg;
    const char *path = x->request.path;
    auto_json body = json_parse(x->request.body ? x->request.body : "", x->request.body_len, NULL);
    if (str_eq(path, "/apis/minik8s.io/v1/stream")) {
        serve_stream(w, x);
    } else if (str_eq(path, "/apis/minik8s.io/v1/batches")) {
        if (w->server.refuse_batches) {
            respond_json(x, 503, cJSON_CreateObject());
            return;
        }
        cJSON *answer = cJSON_CreateObject(), *results = json_ensure_array(answer, "results");
        json_each (step, json_get(body, "steps"))
            json_push(results, step_result(w, step));
        if (w->server.hold_batches && !w->server.held) {
            w->server.held = x;
            w->server.held_answer = answer;
            return;
        }
        respond_json(x, 200, answer);
    } else if (str_eq(path, "/api/v1/namespaces/default/serviceaccounts/default/token") &&
               !w->server.refuse_tokens && str_eq(json_string(body, "spec.boundObjectRef.uid"), "uid-p")) {
        auto_free char *token = mem_printf("token-%u", ++w->server.tokens);
        cJSON *answer = cJSON_CreateObject();
        json_set_string(json_ensure_object(answer, "status"), "token", token);
        respond_json(x, 201, answer);
    } else if (str_starts(path, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")) {
        bool post = str_eq(x->request.method, "POST"), known = w->server.beats > 0;
        if (!post && !known) {
            respond_json(x, 404, cJSON_CreateObject());
            return;
        }
        w->server.beats++;
        const char *applied = json_string(body, "metadata.annotations['minik8s.io/applied-revision']");
        w->server.applied = strtoull(applied ? applied : "0", NULL, 10);
        respond_json(x, post ? 201 : 200, cJSON_CreateObject());
    } else {
        respond_json(x, 404, cJSON_CreateObject());
    }
}

static inline void server_release(struct server *s)
{
    s->hold_batches = false;
    if (s->held)
        respond_json(steal(&s->held), 200, steal(&s->held_answer));
}

/* ---- the world ---- */

static struct net *make_net(void *arg, const char *range, struct err **err UNUSED)
{
    struct world *w = arg;
    w->net = fake_net_new(w->net_world, "n1", "10.0.0.1", range);
    return w->net;
}

/* In place of script_node: doubling from a second to a minute, which the tests count on. */
static struct node_backoff backoff(void *arg UNUSED, const struct node_restart *restart)
{
    bool reset = restart->ran_ms >= 60000;
    int64_t wait = 1000;
    for (unsigned i = 0; !reset && i < restart->crashes && wait < 60000; i++)
        wait *= 2;
    return (struct node_backoff){.wait_ms = wait < 60000 ? wait : 60000, .reset = reset};
}

/* In place of script_node: what a test has put there. */
static const char *balance_said = "{\"mode\":\"random\"}";
static struct node_policy_listener policy_listener;

static const cJSON *balance(void *arg UNUSED, const struct node_balanced *balanced)
{
    static cJSON *answer;
    cJSON_Delete(answer);
    answer = balanced->service ? json_parse_trusted(balance_said, strlen(balance_said)) : NULL;
    return answer;
}

static void listen_policies(void *arg UNUSED, const struct node_policy_listener *listener)
{
    policy_listener = listener ? *listener : (struct node_policy_listener){0};
}

static void start_agent(struct world *w)
{
    auto_err err = NULL;
    w->runtime = fake_machine_runtime(w->machine);
    const struct node_options options = {
        .name = "n1",
        .cluster = "test",
        .directory = w->directory,
        .loop = w->loop,
        .pool = w->pool,
        .file_pool = w->file_pool,
        .random = &w->random,
        .http = w->http,
        .runtime = w->runtime,
        .net_new = make_net,
        .net_new_arg = w,
        .version = "v1",
        .policies = {.restart_backoff = backoff, .balance = balance, .listen = listen_policies},
        .internal_ip = "10.0.0.1",
        .port = 10250,
        .dns_address = "10.96.0.10",
        .cluster_domain = "cluster.local",
        .system_memory_bytes = 1ll << 30,
        .system_cpu_milli = 2000};
    w->node = node_new(&options, &err);
    assert_non_null(w->node);
}

static void run_ms(struct world *w, int64_t ms)
{
    loop_run_until(w->loop, loop_now_ms(w->loop) + ms);
}

/* As SIGKILL: nothing is said, nothing is waited for. */
static void kill_agent(struct world *w)
{
    if (!w->node)
        return;
    node_free(w->node);
    w->node = NULL;
    w->runtime->ops->free(w->runtime);
    run_ms(w, 0); /* what the pool has begun ends (a write to disk is done or not) */
    if (w->net)
        w->net->ops->free(w->net);
    w->net = NULL;
}

static void object_free(void *value)
{
    cJSON_Delete(value);
}

static void world_begin(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    log_set_silent(!getenv("M8_SEED"));
    log_set_level(LOG_DEBUG);
    strcpy(w->directory, "/dev/shm/m8-node-test-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    w->loop = loop_new_virtual(START_NS);
    w->pool = pool_new(0);
    random_seeded_init(&w->seeded, seed, &w->random);
    w->machine = fake_machine_new(w->loop, &w->random);
    w->net_world = fake_world_new(&w->random);
    w->server.cluster = mem_strdup("c1");
    w->server.revision = 100;
    map_init(&w->server.objects, object_free);
    const struct http_local_identity identity = {.user = "system:node:n1"};
    w->http = http_local_client_new(w->loop, serve, w, &identity);
    fake_machine_add_image(w->machine, "app:1");
    start_agent(w);
}

static void world_end(struct world *w)
{
    kill_agent(w);
    w->http->ops->free(w->http);
    run_ms(w, 5000);
    fake_machine_free(w->machine);
    fake_world_free(w->net_world);
    pool_free(w->pool);
    pool_free(w->file_pool);
    loop_free(w->loop);
    for (size_t i = 0; i < w->server.n_lines; i++)
        free(w->server.lines[i]);
    free(w->server.lines);
    free(w->server.stream);
    free(w->server.cluster);
    map_fini(&w->server.objects);
    map_fini(&w->server.reasons);
    assert_int_equal(file_remove_tree(w->directory, NULL), 0);
}

/* ---- what tests say ---- */

/* spec: JSON of the spec without nodeName. */
static inline void put_pod(struct world *w, const char *name, const char *spec)
{
    auto_free char *text =
        mem_printf("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\",\"namespace\":"
                   "\"default\",\"uid\":\"uid-%s\",\"labels\":{\"app\":\"%s\"}},\"spec\":%s}",
                   name, name, name, spec);
    auto_err err = NULL;
    cJSON *pod = json_parse(text, strlen(text), &err);
    assert_non_null(pod);
    json_set_string(json_get(pod, "spec"), "nodeName", "n1");
    server_put(&w->server, "pods", pod);
}

static inline void put_json(struct world *w, const char *resource, const char *text)
{
    cJSON *object = json_parse(text, strlen(text), NULL);
    assert_non_null(object);
    server_put(&w->server, resource, object);
}

static inline cJSON *pod_of(struct world *w, const char *name)
{
    return server_get(&w->server, "pods", "default", name);
}

static inline void delete_pod(struct world *w, const char *name, int64_t grace)
{
    cJSON *pod = json_copy(pod_of(w, name));
    json_set_string(json_get(pod, "metadata"), "deletionTimestamp", "2026-01-01T00:00:00Z");
    json_set_int(json_get(pod, "metadata"), "deletionGracePeriodSeconds", grace);
    server_put(&w->server, "pods", pod);
}

static inline const char *phase(struct world *w, const char *name)
{
    return json_string_or(pod_of(w, name), "status.phase", "none");
}

static inline const char *waiting(struct world *w, const char *name)
{
    return json_string_or(pod_of(w, name), "status.containerStatuses[0].state.waiting.reason", "");
}

static inline const char *condition(struct world *w, const char *name, const char *type)
{
    json_each (c, json_at(pod_of(w, name), "status.conditions"))
        if (str_eq(json_string(c, "type"), type))
            return json_string_or(c, "status", "");
    return "";
}

static inline bool saw_event(struct world *w, const char *reason)
{
    return map_has(&w->server.reasons, reason);
}

static inline bool runs(struct world *w, const char *pod, const char *container)
{
    const struct runtime_container *c = fake_machine_find(w->machine, pod, container);
    return c && c->state == RUNTIME_RUNNING;
}

#endif
