/*
 * bench_api: the whole request path (TLS, libmicrohttpd, api, store with fsync on a real disk) from another
 * process with 32 connections. Prints creates, GETs and the LIST, with the server's CPU per request.
 * `bench_api serve` keeps serving and writes a kubeconfig, for trying real clients.
 */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/api.h"
#include "auth/auth.h"
#include "base/file.h"
#include "base/log.h"
#include "store/store_lmdb.h"

#define PODS "/api/v1/namespaces/default/pods"
#define CONNECTIONS 32
#define PAD 700

struct bench {
    char *directory;
    struct loop *loop;
    struct auth_authority *authority;
    struct store *store;
    struct watch_hub *hub;
    struct schema *schema;
    struct metrics *metrics;
    struct api *api;
    struct http_server *server;
    char *certificate, *key, *client_certificate, *client_key;
    int ready[2]; /* child → parent: one byte per phase */
    struct rusage usage;
};

/* A pointer, because the order in which arguments are computed is open. */
static void check(bool fine, struct err *const *err)
{
    if (!fine) {
        fprintf(stderr, "bench_api: %s\n", err_message(*err));
        exit(1);
    }
}

static void load_kinds(struct bench *b)
{
    auto_free char *text = NULL;
    size_t len = 0;
    auto_err err = NULL;
    check(file_read(MINIK8S_KINDS_JSON, 16 << 20, &text, &len, &err) == 0, &err);
    auto_json kinds = json_parse(text, len, &err);
    b->schema = schema_new();
    check(kinds && schema_add_all(b->schema, kinds, &err) == 0, &err);
}

static void open_pki(struct bench *b)
{
    auto_err err = NULL;
    auto_free char *pki = file_join(b->directory, "pki");
    b->authority = auth_authority_open(pki, &clock_system, &random_system, &err);
    check(b->authority != NULL, &err);
    static const char *const names[] = {"127.0.0.1", "localhost", NULL};
    static const char *const masters[] = {AUTH_MASTERS, NULL};
    const struct auth_subject server = {"server", NULL, names, AUTH_SERVER, AUTH_DAY_NS};
    const struct auth_subject admin = {"admin", masters, NULL, AUTH_CLIENT, AUTH_DAY_NS};
    struct auth_ca *ca = auth_authority_ca(b->authority);
    check(auth_ca_issue(ca, &server, &b->certificate, &b->key, &err) == 0, &err);
    check(auth_ca_issue(ca, &admin, &b->client_certificate, &b->client_key, &err) == 0, &err);
}

static void open_api(struct bench *b)
{
    auto_err err = NULL;
    auto_free char *path = file_join(b->directory, "store");
    const struct store_seal seal = {auth_seal, auth_unseal, auth_authority_seal(b->authority)};
    const struct store_lmdb_options store = {.directory = path, .sync = true, .seal = &seal};
    check((b->store = store_lmdb_open(&store, &err)) != NULL, &err);
    b->hub = watch_hub_new(b->store, &clock_system);
    b->store->ops->set_on_commit(b->store, watch_hub_publish, b->hub);
    b->metrics = metrics_new();
    const struct api_options options = {.loop = b->loop,
                                        .clock = &clock_system,
                                        .random = &random_system,
                                        .store = b->store,
                                        .hub = b->hub,
                                        .schema = b->schema,
                                        .metrics = b->metrics,
                                        .auth = b->authority,
                                        .service_range = "10.96.0.0/16",
                                        .pod_range = "10.128.0.0/9"};
    check((b->api = api_new(&options, &err)) != NULL, &err);
}

static void bootstrapped(void *arg, struct err *err)
{
    check(err == NULL, &err);
    loop_stop(arg);
}

static void open_server(struct bench *b, uint16_t port)
{
    auto_err err = NULL;
    const struct http_server_options options = {.address = "127.0.0.1",
                                                .port = port,
                                                .certificate_pem = b->certificate,
                                                .key_pem = b->key,
                                                .client_ca_pem = auth_ca_pem(auth_authority_ca(b->authority)),
                                                .handler = api_handle,
                                                .handler_arg = b->api};
    check((b->server = http_server_new(&options, &err)) != NULL, &err);
}

/* ---- the load, in a process of its own ---- */

struct load {
    struct loop *loop;
    struct http_client *client;
    const char *method;
    size_t begun, ended, total, failed;
    char pad[PAD];
};

static void next(struct load *load);

static void on_answer(void *arg, const struct http_response *response, struct err *err)
{
    struct load *load = arg;
    load->failed += err || response->status >= 300;
    if (++load->ended == load->total)
        loop_stop(load->loop);
    else
        next(load);
}

static void next(struct load *load)
{
    if (load->begun == load->total)
        return;
    size_t i = load->begun++;
    auto_str target = {0}, body = {0};
    str_add(&target, PODS);
    if (strcmp(load->method, "GET") == 0 && load->total > 1)
        str_addf(&target, "/pod-%06zu", i);
    if (strcmp(load->method, "POST") == 0)
        str_addf(&body,
                 "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"pod-%06zu\",\"labels\":{"
                 "\"app\":\"web\","
                 "\"tier\":\"front\"},\"annotations\":{\"note\":\"%s\"}},\"spec\":{\"containers\":[{\"name\":"
                 "\"c\",\"image\":"
                 "\"nginx:1.2\",\"env\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\",\"value\":\"2\"}],"
                 "\"ports\":"
                 "[{\"containerPort\":80}],\"resources\":{\"requests\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"}"
                 ",\"limits\":"
                 "{\"cpu\":\"200m\",\"memory\":\"128Mi\"}},\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":"
                 "\"/data\"}]}],"
                 "\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}]}}",
                 i, load->pad);
    const struct http_call call = {.method = load->method,
                                   .target = str_c(&target),
                                   .content_type = body.len ? "application/json" : NULL,
                                   .body = str_c(&body),
                                   .body_len = body.len,
                                   .on_response = on_answer,
                                   .arg = load};
    load->client->ops->call(load->client, &call);
}

static void run_phase(struct load *load, struct bench *b, const char *name, const char *method, size_t total)
{
    int64_t start = clock_system.monotonic_ns(NULL);
    load->method = method;
    load->begun = load->ended = load->failed = 0;
    load->total = total;
    for (int i = 0; i < CONNECTIONS; i++)
        next(load);
    loop_run(load->loop);
    double seconds = (double)(clock_system.monotonic_ns(NULL) - start) / 1e9;
    printf("%-8s %6zu requests, %zu failed, %.2f s, %.0f/s, %.2f ms each\n", name, total, load->failed,
           seconds, (double)total / seconds, seconds * 1000 / (double)total);
    fflush(stdout);
    must(write(b->ready[1], name, 1) == 1);
    usleep(300000); /* the server's process reads its CPU time meanwhile */
}

static int run_load(struct bench *b, size_t count)
{
    struct load load = {0};
    auto_err err = NULL;
    int port = 0;
    must(read(b->ready[0], &port, sizeof(port)) == sizeof(port));
    auto_free char *url = mem_printf("https://127.0.0.1:%d", port);
    memset(load.pad, 'x', PAD - 1);
    load.loop = loop_new(&err);
    const struct http_client_options options = {.base_url = url,
                                                .ca_pem = auth_ca_pem(auth_authority_ca(b->authority)),
                                                .certificate_pem = b->client_certificate,
                                                .key_pem = b->client_key,
                                                .max_connections = CONNECTIONS};
    check((load.client = http_client_curl_new(load.loop, &options, &err)) != NULL, &err);
    run_phase(&load, b, "create", "POST", count);
    run_phase(&load, b, "get", "GET", count);
    for (int i = 0; i < 3; i++)
        run_phase(&load, b, "list", "GET", 1);
    load.client->ops->free(load.client);
    loop_free(load.loop);
    return 0;
}

static double cpu_ms(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1e3 +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e3;
}

static void write_kubeconfig(struct bench *b)
{
    auto_free char *ca = str_base64(auth_ca_pem(auth_authority_ca(b->authority)),
                                    strlen(auth_ca_pem(auth_authority_ca(b->authority))));
    auto_free char *certificate = str_base64(b->client_certificate, strlen(b->client_certificate));
    auto_free char *key = str_base64(b->client_key, strlen(b->client_key));
    auto_free char *path = file_join(b->directory, "kubeconfig");
    auto_free char *text = mem_printf(
        "apiVersion: v1\nkind: Config\ncurrent-context: b\nclusters:\n- name: b\n  cluster: {server: "
        "'https://127.0.0.1:%u', certificate-authority-data: %s}\nusers:\n- name: b\n  user: "
        "{client-certificate-data: %s, "
        "client-key-data: %s}\ncontexts:\n- name: b\n  context: {cluster: b, user: b}\n",
        http_server_port(b->server), ca, certificate, key);
    auto_err err = NULL;
    check(file_write_atomic(path, text, strlen(text), 0600, &err) == 0, &err);
    printf("KUBECONFIG=%s\n", path);
    fflush(stdout);
}

static void on_phase(void *arg, unsigned events)
{
    (void)events;
    struct bench *b = arg;
    char name;
    if (read(b->ready[0], &name, 1) != 1) {
        loop_stop(b->loop);
        return;
    }
    struct rusage now;
    getrusage(RUSAGE_SELF, &now);
    printf("         server CPU in this phase: %.0f ms\n", cpu_ms(&now) - cpu_ms(&b->usage));
    fflush(stdout);
    b->usage = now;
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    auto_err err = NULL;
    json_init();
    log_set_level(LOG_WARN);
    bool serve = argc > 1 && strcmp(argv[1], "serve") == 0;
    size_t count = argc > 1 && !serve ? (size_t)atol(argv[1]) : 20000;
    const char *disk = getenv("M8_TEST_DISK");
    b.directory = mem_printf("%s/m8-bench-api-XXXXXX", disk ? disk : "/var/tmp");
    must(mkdtemp(b.directory) != NULL);
    open_pki(&b);
    int up[2], down[2];
    must(pipe(up) == 0 && pipe(down) == 0);
    pid_t child = -1;
    if (!serve && (child = fork()) == 0) {
        b.ready[0] = down[0];
        b.ready[1] = up[1];
        _exit(run_load(&b, count));
    }
    close(up[1]);
    b.ready[0] = up[0];
    check((b.loop = loop_new(&err)) != NULL, &err);
    load_kinds(&b);
    open_api(&b);
    api_bootstrap(b.api, bootstrapped, b.loop);
    loop_run(b.loop);
    open_server(&b, 0);
    if (serve) {
        write_kubeconfig(&b);
    } else {
        int port = http_server_port(b.server);
        must(write(down[1], &port, sizeof(port)) == sizeof(port));
        getrusage(RUSAGE_SELF, &b.usage);
        check(loop_fd_add(b.loop, b.ready[0], 1, on_phase, &b, &err) != NULL, &err);
    }
    loop_run(b.loop);
    http_server_free(b.server);
    b.store->ops->close(b.store);
    api_free(b.api);
    watch_hub_free(b.hub);
    if (child > 0)
        waitpid(child, NULL, 0);
    file_remove_tree(b.directory, NULL);
    return 0;
}
