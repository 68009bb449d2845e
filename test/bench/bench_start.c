/*
 * bench_start: how long a pod takes from its creation to Running as a watch sees it and its container
 * answering, beside the same two containers (sandbox and app) created and started directly through podman's
 * REST API of the same node, in turns. Runs in the node's network namespace. Prints "sample NAME VALUE"
 * lines.
 *
 *   bench_start CLUSTER_DIRECTORY NODE ROUNDS
 *
 * The direct side makes four calls one after the other on one kept connection; it gets no network and no
 * status, so the comparison favours it.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "client/client.h"
#include "events.h"
#include "runtime/runtime.h"

#define IMAGE "localhost/m8-web:1"
#define PODMAN "/v4.0.0/libpod/containers"
#define TIMEOUT_MS 20000

struct bench {
    struct loop *loop;
    struct kubeconfig config;
    struct http_client *server, *podman;
    struct runtime_podman_options options;
    char *directory, *node, *hosts;
    char name[32], address[64];
    struct events events;
    bool running, gone;
    int64_t running_ns;
    int status;
};

static void sample(const char *name, int64_t ns)
{
    printf("sample %s %.3f\n", name, (double)ns / 1e6);
    fflush(stdout);
}

/* ---- calls that are waited for ---- */

static void on_answer(void *arg, const struct http_response *response, struct err *err)
{
    struct bench *b = arg;
    if (err)
        fail("call", err_message(err));
    b->status = response->status;
    if (response->status >= 400)
        fail("call", response->body);
    loop_stop(b->loop);
}

static void call(struct bench *b, struct http_client *client, const char *method, const char *target,
                 const char *body)
{
    const struct http_call request = {.method = method,
                                      .target = target,
                                      .content_type = body ? "application/json" : NULL,
                                      .body = body,
                                      .body_len = body ? strlen(body) : 0,
                                      .timeout_ms = TIMEOUT_MS,
                                      .on_response = on_answer,
                                      .arg = b};
    b->status = 0;
    client->ops->call(client, &request);
    while (b->status == 0)
        loop_run(b->loop);
}

/* ---- through the cluster ---- */

static void on_event(void *arg, const cJSON *event)
{
    struct bench *b = arg;
    if (!str_eq(json_string(event, "object.metadata.name"), b->name))
        return;
    if (str_eq(json_string(event, "type"), "DELETED")) {
        b->gone = true;
        loop_stop(b->loop);
    } else if (!b->running && str_eq(json_string(event, "object.status.phase"), "Running")) {
        b->running = true;
        b->running_ns = now();
        snprintf(b->address, sizeof(b->address), "%s", json_string_or(event, "object.status.podIP", ""));
        loop_stop(b->loop);
    }
}

/* Until the container has answered a GET. */
static void ask(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80)};
    if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
        fail("address of the pod", address);
    for (int64_t end = now() + TIMEOUT_MS * 1000000LL; now() < end;) {
        auto_fd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        static const char request[] = "GET /healthz HTTP/1.0\r\n\r\n";
        char answer[16];
        if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
            write(fd, request, sizeof(request) - 1) > 0 && read(fd, answer, sizeof(answer)) > 12 &&
            memcmp(answer + 9, "200", 3) == 0)
            return;
        usleep(500); /* nothing listens yet: there is no event for that */
    }
    fail("container", "does not answer");
}

static void through_cluster(struct bench *b, int round)
{
    snprintf(b->name, sizeof(b->name), "start-%d", round);
    auto_free char *body = mem_printf("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\"}"
                                      ",\"spec\":{\"terminationGracePeriodSeconds\":0,"
                                      "\"containers\":[{\"name\":\"web\",\"image\":\"" IMAGE "\"}]}}",
                                      b->name);
    b->running = b->gone = false;
    int64_t start = now();
    call(b, b->server, "POST", "/api/v1/namespaces/default/pods", body);
    while (!b->running)
        loop_run(b->loop);
    ask(b->address);
    int64_t answered = now();
    sample("start_running_ms", b->running_ns - start);
    sample("start_pod_ms", answered - start);
    auto_free char *target = mem_printf("/api/v1/namespaces/default/pods/%s", b->name);
    call(b, b->server, "DELETE", target, NULL);
    while (!b->gone)
        loop_run(b->loop);
}

/* ---- directly ---- */

static void one_direct(struct bench *b, struct runtime_spec *spec)
{
    auto_json body = runtime_podman_spec(spec, &b->options);
    auto_free char *text = json_print(body), *target = mem_printf(PODMAN "/%s/start", spec->name);
    call(b, b->podman, "POST", PODMAN "/create", text);
    if (b->status != 201)
        fail("create", "not found");
    call(b, b->podman, "POST", target, NULL);
    if (b->status != 204)
        fail("start", "not found");
}

static void remove_direct(struct bench *b, const char *name)
{
    auto_free char *target = mem_printf(PODMAN "/%s?force=true&timeout=0", name);
    call(b, b->podman, "DELETE", target, NULL);
}

static void directly(struct bench *b, int round)
{
    auto_free char *sandbox_name = mem_printf("bench-sandbox-%d", round),
                   *app_name = mem_printf("bench-app-%d", round);
    auto_free char *log = file_join(b->directory, "bench.log");
    char hosts[] = "/etc/hosts", resolv[] = "/etc/resolv.conf", hostname[] = "bench", image[] = IMAGE;
    struct runtime_mount mounts[] = {{.source = b->hosts, .destination = hosts, .read_only = false},
                                     {.source = b->hosts, .destination = resolv, .read_only = false}};
    struct runtime_spec sandbox = {
        .name = sandbox_name, .hostname = hostname, .security = {.user = -1, .group = -1}};
    struct runtime_spec app = {.name = app_name,
                               .image = image,
                               .sandbox = sandbox_name,
                               .mounts = mounts,
                               .n_mounts = COUNT_OF(mounts),
                               .log_path = log,
                               .security = {.user = -1, .group = -1}};
    int64_t start = now();
    one_direct(b, &sandbox);
    one_direct(b, &app);
    sample("start_direct_ms", now() - start);
    remove_direct(b, app_name);
    remove_direct(b, sandbox_name);
}

/* ---- */

static void open_all(struct bench *b, const char *cluster, const char *node)
{
    auto_err err = NULL;
    auto_free char *netns = mem_printf("%s/nodes/%s/netns", cluster, node);
    auto_fd fd = open(netns, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        fail("cannot enter", netns);
    auto_free char *kubeconfig = mem_printf("%s/kubeconfig", cluster),
                   *socket = mem_printf("%s/nodes/%s/podman/podman.sock", cluster, node);
    if (!(b->loop = loop_new(&err)) || kubeconfig_load(kubeconfig, &b->config, &err) < 0)
        fail(kubeconfig, err_message(err));
    const struct http_client_options server = {
        .base_url = b->config.server, .ca_pem = b->config.ca_pem, .bearer_token = b->config.token};
    const struct http_client_options podman = {.base_url = "http://d", .unix_path = socket};
    b->server = http_client_curl_new(b->loop, &server, &err);
    b->podman = b->server ? http_client_curl_new(b->loop, &podman, &err) : NULL;
    if (!b->podman)
        fail("clients", err_message(err));
    b->directory = mem_printf("%s/nodes/%s/podman", cluster, node);
    b->hosts = file_join(b->directory, "bench.hosts");
    if (file_write_atomic(b->hosts, "127.0.0.1 localhost\n", 20, 0644, &err) < 0)
        fail(b->hosts, err_message(err));
    b->node = mem_printf("%s/nodes/%s/storage", cluster, node);
    b->options = (struct runtime_podman_options){.directory = b->directory,
                                                 .storage = b->node,
                                                 .cluster = "bench-direct",
                                                 .node = "bench-direct",
                                                 .loop = b->loop};
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    if (argc != 4)
        fail("usage", "bench_start CLUSTER_DIRECTORY NODE ROUNDS");
    json_init();
    log_set_level(LOG_WARN);
    open_all(&b, argv[1], argv[2]);
    b.events = (struct events){.event = on_event, .arg = &b};
    events_watch(&b.events, b.server, "/api/v1/namespaces/default/pods?watch=true");
    for (int i = 0; i < atoi(argv[3]); i++) {
        through_cluster(&b, i);
        directly(&b, i);
    }
    b.server->ops->free(b.server);
    b.podman->ops->free(b.podman);
    loop_free(b.loop);
    kubeconfig_fini(&b.config);
    str_free(&b.events.text);
    free(b.directory);
    free(b.hosts);
    free(b.node);
    return 0;
}
