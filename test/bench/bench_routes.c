/*
 * bench_routes: an Ingress with many routes on a node of a cluster.
 *
 *   bench_routes CLUSTER-FOLDER NODE-ADDRESS OWN-ADDRESS ROUTES CHANGES REQUESTS
 *
 * One Service, whose endpoint is a small server in this program at OWN-ADDRESS, and ROUTES Ingresses with a
 * host each. Latency: one kept connection, to the server itself and through the node's proxy. Changes: the
 * path of one Ingress is replaced, from sending the request to the server (fsync included) to the first 200
 * at the new path, asked without a pause; meanwhile 8 kept connections send REQUESTS requests, each answer
 * other than 200 and each connection that ends counts as an error. Prints lines "sample NAME VALUE".
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "base/file.h"
#include "load.c"

#define CLIENTS 8
#define INGRESSES "/apis/networking.k8s.io/v1/namespaces/default/ingresses"

struct bench {
    struct load load;
    int wanted_status;
    struct sockaddr_in node, own;
    atomic_long left, errors;
};

static void on_done(struct connection *c)
{
    struct bench *b = c->load->arg;
    if (c->status != b->wanted_status)
        load_fail("status %d instead of %d: %.400s", c->status, b->wanted_status, str_c(&c->body));
    b->load.stop = true;
}

static void request(struct bench *b, const char *method, const char *target, const char *body, int status)
{
    b->wanted_status = status;
    b->load.stop = false;
    load_send(b->load.connections, method, target, body, strlen(body));
    load_run(&b->load);
}

/* ---- the server behind the Service ---- */

static void *serve_one(void *arg)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    int fd = (int)(intptr_t)arg;
    char data[4096];
    size_t got = 0;
    for (ssize_t n; (n = recv(fd, data + got, sizeof(data) - 1 - got, 0)) > 0;) {
        got += (size_t)n;
        data[got] = 0;
        if (!strstr(data, "\r\n\r\n"))
            continue;
        bool last = strcasestr(data, "connection: close") != NULL;
        got = 0;
        if (send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0 || last)
            break;
    }
    close(fd);
    return NULL;
}

static void detach(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, arg) != 0)
        load_fail("thread: %m");
    pthread_detach(thread);
}

static void *serve(void *arg)
{
    int on = 1;
    for (int fd; (fd = accept((int)(intptr_t)arg, NULL, NULL)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        detach(serve_one, (void *)(intptr_t)fd);
    }
    return NULL;
}

static void start_server(struct bench *b)
{
    socklen_t len = sizeof(b->own);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)(void *)&b->own, len) < 0 || listen(fd, 1024) < 0 ||
        getsockname(fd, (struct sockaddr *)(void *)&b->own, &len) < 0)
        load_fail("server: %m");
    detach(serve, (void *)(intptr_t)fd);
}

/* ---- a client ---- */

static int open_to(const struct sockaddr_in *to)
{
    const struct timeval limit = {.tv_sec = 2};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)(const void *)to, sizeof(*to)) < 0)
        load_fail("connect: %m");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

/* The status, or -1. */
static int get(int fd, int host, const char *path)
{
    char data[4096];
    size_t got = 0, want = 0;
    int n = snprintf(data, sizeof(data), "GET %s HTTP/1.1\r\nHost: r%d.bench.test\r\n\r\n", path, host);
    if (send(fd, data, (size_t)n, MSG_NOSIGNAL) != n)
        return -1;
    do {
        ssize_t more = recv(fd, data + got, sizeof(data) - 1 - got, 0);
        if (more <= 0)
            return -1;
        got += (size_t)more;
        data[got] = 0;
        const char *end = strstr(data, "\r\n\r\n"), *length = strcasestr(data, "content-length: ");
        if (end)
            want = (size_t)(end + 4 - data) + (length && length < end ? (size_t)atoi(length + 16) : 0);
    } while (!want || got < want);
    return atoi(data + 9);
}

static void *client(void *arg)
{
    struct bench *b = arg;
    int fd = open_to(&b->node);
    while (atomic_fetch_sub(&b->left, 1) > 0) {
        if (get(fd, 0, "/p0") == 200)
            continue;
        atomic_fetch_add(&b->errors, 1);
        close(fd);
        fd = open_to(&b->node);
    }
    close(fd);
    return NULL;
}

/* ---- what is measured ---- */

static void put_route(struct bench *b, int i, const char *path, bool replace)
{
    auto_free char *target = replace ? mem_printf(INGRESSES "/r%d", i) : mem_strdup(INGRESSES);
    auto_free char *body =
        mem_printf("{\"apiVersion\":\"networking.k8s.io/"
                   "v1\",\"kind\":\"Ingress\",\"metadata\":{\"name\":\"r%d\"},\"spec\":"
                   "{\"rules\":[{\"host\":\"r%d.bench.test\",\"http\":{\"paths\":[{\"path\":\"%s\","
                   "\"pathType\":\"Prefix\","
                   "\"backend\":{\"service\":{\"name\":\"bench\",\"port\":{\"number\":80}}}}]}}]}}",
                   i, i, path);
    request(b, replace ? "PUT" : "POST", target, body, replace ? 200 : 201);
}

static void make_service(struct bench *b)
{
    char address[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &b->own.sin_addr, address, sizeof(address));
    request(b, "POST", "/api/v1/namespaces/default/services",
            "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"bench\"},"
            "\"spec\":{\"ports\":[{\"port\":80}]}}",
            201);
    auto_free char *slice = mem_printf(
        "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"bench\","
        "\"labels\":{\"kubernetes.io/service-name\":\"bench\"}},\"addressType\":\"IPv4\",\"endpoints\":"
        "[{\"addresses\":[\"%s\"]}],\"ports\":[{\"port\":%u}]}",
        address, ntohs(b->own.sin_port));
    request(b, "POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice, 201);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double latency_us(const struct sockaddr_in *to)
{
    enum { COUNT = 3000 };
    static int64_t took[COUNT];
    int fd = open_to(to);
    for (int i = 0; i < COUNT; i++) {
        int64_t begin = load_now();
        if (get(fd, 0, "/p0") != 200)
            load_fail("a request failed while the latency was measured");
        took[i] = load_now() - begin;
    }
    close(fd);
    qsort(took, COUNT, sizeof(*took), by_value);
    return (double)took[COUNT / 2] / 1e3;
}

static void await(struct bench *b, int host, const char *path, double seconds)
{
    int64_t end = load_now() + (int64_t)(seconds * 1e9);
    int fd = open_to(&b->node);
    while (get(fd, host, path) != 200)
        if (load_now() > end)
            load_fail("r%d%s is not served", host, path);
    close(fd);
}

static void await_proxy(const struct bench *b)
{
    int64_t end = load_now() + 20000000000;
    for (;;) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int failed = connect(fd, (const struct sockaddr *)(const void *)&b->node, sizeof(b->node));
        close(fd);
        if (!failed)
            return;
        if (load_now() > end)
            load_fail("the proxy does not listen: %m");
        usleep(20000);
    }
}

static void measure_changes(struct bench *b, int routes, int changes, long requests)
{
    auto_free int64_t *took = mem_array((size_t)changes, sizeof(*took));
    pthread_t clients[CLIENTS];
    b->left = requests;
    for (int i = 0; i < CLIENTS; i++)
        if (pthread_create(&clients[i], NULL, client, b) != 0)
            load_fail("thread: %m");
    for (int i = 0; i < changes; i++) {
        int route = 1 + i * 7 % (routes - 1);
        auto_free char *path = mem_printf("/c%d", i);
        int64_t begin = load_now();
        put_route(b, route, path, true);
        await(b, route, path, 10);
        took[i] = load_now() - begin;
    }
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    qsort(took, (size_t)changes, sizeof(*took), by_value);
    printf("sample route_change_p50_ms %.1f\nsample route_change_p99_ms %.1f\nsample route_errors %ld\n",
           (double)took[changes / 2] / 1e6, (double)took[(changes - 1) * 99 / 100] / 1e6, (long)b->errors);
}

int main(int argc, char **argv)
{
    static struct bench b;
    if (argc != 7)
        load_fail("usage: bench_routes CLUSTER-FOLDER NODE-ADDRESS OWN-ADDRESS ROUTES CHANGES REQUESTS");
    int routes = atoi(argv[4]);
    b.node = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(80)};
    b.own.sin_family = AF_INET;
    if (inet_pton(AF_INET, argv[2], &b.node.sin_addr) != 1 ||
        inet_pton(AF_INET, argv[3], &b.own.sin_addr) != 1)
        load_fail("addresses are IPv4");
    auto_free char *kubeconfig = file_join(argv[1], "kubeconfig");
    load_init(&b.load, kubeconfig);
    b.load.arg = &b;
    b.load.done = on_done;
    load_connect(&b.load, 1);
    start_server(&b);
    make_service(&b);
    for (int i = 0; i < routes; i++) {
        auto_free char *path = mem_printf("/p%d", i);
        put_route(&b, i, path, false);
    }
    auto_free char *last = mem_printf("/p%d", routes - 1);
    await_proxy(&b);
    await(&b, routes - 1, last, 60);
    double direct = latency_us(&b.own), through = latency_us(&b.node);
    printf("sample hop_direct_us %.1f\nsample hop_added_us %.1f\n", direct, through - direct);
    measure_changes(&b, routes, atoi(argv[5]), atol(argv[6]));
    load_fini(&b.load);
    return 0;
}
