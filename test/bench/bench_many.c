/*
 * bench_many: N pods of one container at once on the nodes of a cluster, until a watch has seen all of them
 * Running, and their deletion, until it has seen all of them gone; beside it the same made, started and
 * removed by the podman services of the same nodes alone, with the agent's concurrency on each: as pairs of
 * containers (sandbox and app, what a pod is to podman), then only the apps (containers that share nothing).
 * Prints "sample NAME VALUE" lines.
 *
 *   bench_many CLUSTER_DIRECTORY PODS NODES
 *
 * Latencies count from the beginning of the whole, on both sides. The direct side gets no network, no status,
 * and its containers answer nobody, so the comparison favours it. It waits between the two for an agent that
 * is still busy with the end of the pods.
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "client/client.h"
#include "events.h"
#include "runtime/runtime.h"

#define IMAGE "localhost/m8-web:1"
#define PODMAN "/v4.0.0/libpod/containers"
#define PODS "/api/v1/namespaces/default/pods"
#define LABEL "bench=many"
#define CONCURRENCY 4 /* core/runtime/podman.c */
#define TIMEOUT_MS 120000
#define MAX_NODES 8

struct bench;

/* One step after the other of one pair of containers; the next pair when it is done. */
struct worker {
    struct bench *bench;
    struct http_client *podman;
    const struct runtime_podman_options *options;
    const char *hosts, *log;
    size_t index, step;
};

struct bench {
    struct loop *loop;
    struct kubeconfig config;
    struct http_client *server;
    size_t n_pods, n_nodes, count, removing;
    int64_t begin_ns;
    int64_t *latencies; /* of pods, in the order in which they were ready */
    struct map seen;    /* names of pods that were Running */
    struct events events;
    bool deleting, single; /* single: apps without a sandbox */
};

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Of what has just ended. */
static void samples(struct bench *b, const char *name)
{
    qsort(b->latencies, b->count, sizeof(*b->latencies), by_time);
    printf("sample many_%s_per_s %.2f\n", name, (double)b->count * 1e9 / (double)b->latencies[b->count - 1]);
    printf("sample many_%s_p50_ms %.1f\n", name, (double)b->latencies[b->count / 2] / 1e6);
    printf("sample many_%s_p99_ms %.1f\n", name, (double)b->latencies[b->count * 99 / 100] / 1e6);
    fflush(stdout);
}

static void begin(struct bench *b)
{
    b->count = 0;
    b->begin_ns = now();
}

static void one_done(struct bench *b)
{
    b->latencies[b->count++] = now() - b->begin_ns;
    if (b->count == b->n_pods)
        loop_stop(b->loop);
}

/* ---- through the cluster ---- */

static void on_event(void *arg, const cJSON *event)
{
    struct bench *b = arg;
    const char *name = json_string_or(event, "object.metadata.name", "");
    bool running = str_eq(json_string(event, "object.status.phase"), "Running");
    bool gone = str_eq(json_string(event, "type"), "DELETED");
    if (b->deleting ? gone : running && !map_has(&b->seen, name)) {
        map_set(&b->seen, name, b);
        one_done(b);
    }
}

static void on_accepted(void *arg, const struct http_response *response, struct err *err)
{
    (void)arg;
    if (err)
        fail("call", err_message(err));
    if (response->status >= 400)
        fail("call", response->body);
}

static void send(struct bench *b, const char *method, const char *target, const char *body)
{
    const struct http_call call = {.method = method,
                                   .target = target,
                                   .content_type = body ? "application/json" : NULL,
                                   .body = body,
                                   .body_len = body ? strlen(body) : 0,
                                   .timeout_ms = TIMEOUT_MS,
                                   .on_response = on_accepted,
                                   .arg = b};
    b->server->ops->call(b->server, &call);
}

static void through_cluster(struct bench *b)
{
    b->events = (struct events){.event = on_event, .arg = b};
    events_watch(&b->events, b->server, PODS "?watch=true&labelSelector=bench%3Dmany");
    begin(b);
    for (size_t i = 0; i < b->n_pods; i++) {
        auto_free char *body =
            mem_printf("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"many-%zu\","
                       "\"labels\":{\"bench\":"
                       "\"many\"}},\"spec\":{\"containers\":[{\"name\":\"web\","
                       "\"image\":\"" IMAGE "\",\"resources\":{\"requests\":{\"cpu\":\"1m\"}}}]}}",
                       i);
        send(b, "POST", PODS, body);
    }
    loop_run(b->loop);
    samples(b, "start");
    printf("ready\n"); /* whoever reads this may look at the agents now; a line on standard input goes on */
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof(line), stdin))
        fail("standard input", "ended");
    b->deleting = true;
    begin(b);
    send(b, "DELETE", PODS "?labelSelector=bench%3Dmany", NULL);
    loop_run(b->loop);
    samples(b, "delete");
}

/* ---- directly ---- */

static void worker_next(struct worker *w);

static void on_step(void *arg, const struct http_response *response, struct err *err)
{
    struct worker *w = arg;
    if (err)
        fail("podman", err_message(err));
    if (response->status >= 400)
        fail("podman", response->body);
    w->step++;
    worker_next(w);
}

static void podman(struct worker *w, const char *method, const char *target, const char *body)
{
    const struct http_call call = {.method = method,
                                   .target = target,
                                   .content_type = body ? "application/json" : NULL,
                                   .body = body,
                                   .body_len = body ? strlen(body) : 0,
                                   .timeout_ms = TIMEOUT_MS,
                                   .on_response = on_step,
                                   .arg = w};
    w->podman->ops->call(w->podman, &call);
}

static void make(struct worker *w, bool app, char *name, char *sandbox_name)
{
    char hosts[] = "/etc/hosts", resolv[] = "/etc/resolv.conf", hostname[] = "bench", image[] = IMAGE;
    struct runtime_mount mounts[] = {{.source = (char *)w->hosts, .destination = hosts, .read_only = false},
                                     {.source = (char *)w->hosts, .destination = resolv, .read_only = false}};
    struct runtime_spec spec = {.name = name, .security = {.user = -1, .group = -1}};
    if (app) {
        spec.image = image;
        spec.sandbox = w->bench->single ? NULL : sandbox_name;
        spec.mounts = mounts;
        spec.n_mounts = COUNT_OF(mounts);
        spec.log_path = (char *)w->log;
    } else {
        spec.hostname = hostname;
    }
    auto_json body = runtime_podman_spec(&spec, w->options);
    auto_free char *text = json_print(body);
    podman(w, "POST", PODMAN "/create", text);
}

/* Sandbox and app: create, start, create, start; or, when removing, app and sandbox. Singly: only the app. */
static void worker_next(struct worker *w)
{
    struct bench *b = w->bench;
    size_t steps = (b->removing ? 1 : 2) * (b->single ? 1 : 2);
    if (w->step == steps) {
        w->step = 0;
        w->index += CONCURRENCY * b->n_nodes;
        one_done(b);
    }
    if (w->index >= b->n_pods)
        return;
    auto_free char *sandbox = mem_printf("bench-sandbox-%zu", w->index),
                   *app = mem_printf("bench-app-%zu", w->index);
    bool second = !b->single && w->step >= steps / 2, is_app = b->single || second != (b->removing != 0);
    auto_free char *name = mem_strdup(is_app ? app : sandbox);
    if (b->removing) {
        auto_free char *target = mem_printf(PODMAN "/%s?force=true&timeout=10", name);
        podman(w, "DELETE", target, NULL);
    } else if (w->step % 2 == 0) {
        make(w, is_app, name, sandbox);
    } else {
        auto_free char *target = mem_printf(PODMAN "/%s/start", name);
        podman(w, "POST", target, NULL);
    }
}

static void directly(struct bench *b, struct worker *workers, size_t n_workers)
{
    static const char *const names[2][2] = {{"direct_start", "direct_delete"},
                                            {"single_start", "single_delete"}};
    for (b->removing = 0; b->removing < 2; b->removing++) {
        begin(b);
        for (size_t i = 0; i < n_workers; i++) {
            workers[i].index = i;
            workers[i].step = 0;
            worker_next(&workers[i]);
        }
        loop_run(b->loop);
        samples(b, names[b->single][b->removing]);
    }
}

/* ---- */

struct node {
    char *directory, *storage, *hosts, *log;
    struct http_client *podman;
    struct runtime_podman_options options;
};

static void node_open(struct bench *b, struct node *node, const char *cluster, size_t number)
{
    auto_err err = NULL;
    auto_free char *socket = mem_printf("%s/nodes/node-%zu/podman/podman.sock", cluster, number);
    node->directory = mem_printf("%s/nodes/node-%zu/podman", cluster, number);
    node->storage = mem_printf("%s/nodes/node-%zu/storage", cluster, number);
    node->hosts = file_join(node->directory, "bench.hosts");
    node->log = file_join(node->directory, "bench.log");
    if (file_write_atomic(node->hosts, "127.0.0.1 localhost\n", 20, 0644, &err) < 0)
        fail(node->hosts, err_message(err));
    const struct http_client_options options = {.base_url = "http://d", .unix_path = socket};
    if (!(node->podman = http_client_curl_new(b->loop, &options, &err)))
        fail(socket, err_message(err));
    node->options = (struct runtime_podman_options){.directory = node->directory,
                                                    .storage = node->storage,
                                                    .cluster = "bench-direct",
                                                    .node = "bench-direct",
                                                    .loop = b->loop};
}

static void node_close(struct node *node)
{
    node->podman->ops->free(node->podman);
    free(node->directory);
    free(node->storage);
    free(node->hosts);
    free(node->log);
}

static void server_open(struct bench *b, const char *cluster)
{
    auto_err err = NULL;
    auto_free char *kubeconfig = mem_printf("%s/kubeconfig", cluster);
    if (!(b->loop = loop_new(&err)) || kubeconfig_load(kubeconfig, &b->config, &err) < 0)
        fail(kubeconfig, err_message(err));
    const struct http_client_options options = {
        .base_url = b->config.server, .ca_pem = b->config.ca_pem, .bearer_token = b->config.token};
    if (!(b->server = http_client_curl_new(b->loop, &options, &err)))
        fail("client", err_message(err));
}

int main(int argc, char **argv)
{
    if (argc != 4 || atoi(argv[2]) < 1 || atoi(argv[3]) < 1 || atoi(argv[3]) > MAX_NODES)
        fail("usage", "bench_many CLUSTER_DIRECTORY PODS NODES");
    json_init();
    log_set_level(LOG_WARN);
    struct bench b = {.n_pods = (size_t)atoi(argv[2]), .n_nodes = (size_t)atoi(argv[3])};
    struct node nodes[MAX_NODES] = {0};
    struct worker workers[MAX_NODES * CONCURRENCY] = {0};
    size_t n_workers = b.n_nodes * CONCURRENCY;
    b.latencies = mem_array(b.n_pods, sizeof(*b.latencies));
    server_open(&b, argv[1]);
    for (size_t i = 0; i < b.n_nodes; i++)
        node_open(&b, &nodes[i], argv[1], i + 1);
    for (size_t i = 0; i < n_workers; i++) {
        struct node *node = &nodes[i % b.n_nodes];
        workers[i] = (struct worker){.bench = &b,
                                     .podman = node->podman,
                                     .options = &node->options,
                                     .hosts = node->hosts,
                                     .log = node->log};
    }
    through_cluster(&b);
    directly(&b, workers, n_workers);
    b.single = true;
    directly(&b, workers, n_workers);
    b.server->ops->free(b.server);
    for (size_t i = 0; i < b.n_nodes; i++)
        node_close(&nodes[i]);
    loop_free(b.loop);
    kubeconfig_fini(&b.config);
    map_fini(&b.seen);
    str_free(&b.events.text);
    free(b.latencies);
    return 0;
}
