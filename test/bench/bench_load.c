/*
 * bench_load: the load that ci/bench puts on a real server, and what it measures from outside. Prints one
 * line "sample NAME VALUE" per measurement. See README.md for what each figure means.
 *
 *   bench_load KUBECONFIG namespace NAMESPACE
 *   bench_load KUBECONFIG create NAMESPACE COUNT CONNECTIONS SERVER_PID
 *   bench_load KUBECONFIG get NAMESPACE COUNT CONNECTIONS SERVER_PID
 *   bench_load KUBECONFIG list NAMESPACE COUNT
 *   bench_load KUBECONFIG watch NAMESPACE WATCHERS EVENTS
 *   bench_load KUBECONFIG nodes COUNT
 *   bench_load KUBECONFIG bound NAMESPACE PODS NODES SERVER_PID COMMAND…     COMMAND is the manager
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/time.h"
#include "load.c"
#include "pod.h"

struct bench {
    struct load load;
    const char *namespace;
    long begun, ended, total;
    int64_t start_ns, *samples;
    char *pod_tail; /* what follows the pod's name */
    long pods_seen, pods_bound, nodes, beats, beat_next;
    int64_t first_ns, last_ns, event_ns, begun_event_ns;
    const char *event_name;
    int watchers, waiting;
    pid_t manager;
    struct str target, body;
};

static double cpu_ms(pid_t pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
        load_fail("no CPU time of process %d", (int)pid);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void sample(const char *name, double value)
{
    printf("sample %s %.4f\n", name, value);
    fflush(stdout);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_ms(int64_t *samples, long count, int percent)
{
    qsort(samples, (size_t)count, sizeof(*samples), by_value);
    return (double)samples[(count - 1) * percent / 100] / 1e6;
}

static void expect(const struct connection *c, int status)
{
    if (c->status != status)
        load_fail("status %d instead of %d: %.400s", c->status, status, str_c(&c->body));
}

/* ---- creates and GETs ---- */

static void send_create(struct connection *c)
{
    struct bench *b = c->load->arg;
    str_clear(&b->target);
    str_clear(&b->body);
    str_addf(&b->target, "/api/v1/namespaces/%s/pods", b->namespace);
    str_addf(&b->body, "%spod-%08ld%s", pod_head, b->begun++, b->pod_tail);
    load_send(c, "POST", str_c(&b->target), b->body.data, b->body.len);
}

static void send_get(struct connection *c)
{
    struct bench *b = c->load->arg;
    str_clear(&b->target);
    str_addf(&b->target, "/api/v1/namespaces/%s/pods/pod-%08ld", b->namespace, b->begun++);
    load_send(c, "GET", str_c(&b->target), NULL, 0);
}

static void on_answer(struct connection *c, int status, void (*send)(struct connection *c))
{
    struct bench *b = c->load->arg;
    expect(c, status);
    b->samples[b->ended] = load_now() - c->begun_ns;
    if (++b->ended == b->total)
        b->load.stop = true;
    else if (b->begun < b->total)
        send(c);
}

static void on_created(struct connection *c)
{
    on_answer(c, 201, send_create);
}

static void on_got(struct connection *c)
{
    on_answer(c, 200, send_get);
}

static void run_requests(struct bench *b, const char *name, long count, int connections, pid_t server)
{
    bool create = str_eq(name, "create");
    void (*send)(struct connection * c) = create ? send_create : send_get;
    load_connect(&b->load, connections);
    b->load.done = create ? on_created : on_got;
    b->total = count;
    b->samples = mem_array((size_t)count, sizeof(*b->samples));
    double cpu = cpu_ms(server), own = cpu_ms(getpid());
    int64_t start = load_now();
    for (int i = 0; i < connections && b->begun < b->total; i++)
        send(&b->load.connections[i]);
    load_run(&b->load);
    double seconds = (double)(load_now() - start) / 1e9;
    auto_free char *rate = mem_printf("%s_per_s", name), *server_ms = mem_printf("%s_server_cpu_ms", name);
    auto_free char *load_ms = mem_printf("%s_load_cpu_ms", name), *p50 = mem_printf("%s_p50_ms", name);
    auto_free char *p99 = mem_printf("%s_p99_ms", name);
    sample(rate, (double)count / seconds);
    sample(server_ms, (cpu_ms(server) - cpu) / (double)count);
    sample(load_ms, (cpu_ms(getpid()) - own) / (double)count);
    sample(p50, percentile_ms(b->samples, count, 50));
    sample(p99, percentile_ms(b->samples, count, 99));
}

/* ---- LIST ---- */

static void on_list(struct connection *c)
{
    struct bench *b = c->load->arg;
    expect(c, 200);
    b->last_ns = load_now();
    long items = 0;
    for (const char *at = str_c(&c->body); (at = strstr(at, "\"uid\":\"")); at++)
        items++;
    if (items != b->total)
        load_fail("%ld pods in the list instead of %ld", items, b->total);
    b->load.stop = true;
}

static void run_list(struct bench *b, long count)
{
    load_connect(&b->load, 1);
    b->load.done = on_list;
    b->total = count;
    auto_free char *target = mem_printf("/api/v1/namespaces/%s/pods", b->namespace);
    for (int i = 0; i < 4; i++) {
        load_send(b->load.connections, "GET", target, NULL, 0);
        load_run(&b->load);
        if (i) /* the first one grows the client's buffer */
            sample("list_ms", (double)(b->last_ns - b->load.connections->begun_ns) / 1e6);
    }
    sample("list_mb", (double)b->load.connections->body.len / 1e6);
}

/* ---- watchers ---- */

static void on_watch_line(struct connection *c, const char *line, size_t len)
{
    struct bench *b = c->load->arg;
    if (!b->event_name || !memmem(line, len, b->event_name, strlen(b->event_name)))
        return;
    int64_t now = load_now();
    if (!b->first_ns)
        b->first_ns = now;
    b->last_ns = now;
    if (--b->waiting == 0)
        b->load.stop = true;
}

static void on_watch_created(struct connection *c)
{
    struct bench *b = c->load->arg;
    expect(c, 201);
    b->event_ns = load_now();
    if (--b->waiting == 0)
        b->load.stop = true;
}

static void pause_until_quiet(struct load *load)
{
    load->stop = true;
}

/* The commit lies between the request's sending and the first sign of it (an event or the answer). Both
 * bounds are kept; the figure is the upper one. */
static void run_watch(struct bench *b, int watchers, long events)
{
    load_connect(&b->load, watchers + 1);
    b->load.done = on_watch_created;
    b->load.line = on_watch_line;
    auto_free char *target = mem_printf("/api/v1/namespaces/%s/pods?watch=true", b->namespace);
    for (int i = 1; i <= watchers; i++) {
        b->load.connections[i].stream = true;
        load_send(&b->load.connections[i], "GET", target, NULL, 0);
    }
    b->load.tick = pause_until_quiet;
    b->load.tick_ms = 500;
    load_run(&b->load);
    b->load.tick_ms = 20;
    int64_t *upper = mem_array((size_t)events, sizeof(*upper)),
            *lower = mem_array((size_t)events, sizeof(*lower));
    for (long i = 0; i < events; i++) {
        load_run(&b->load);
        b->load.tick = NULL;
        b->first_ns = b->event_ns = 0;
        b->waiting = watchers + 1;
        auto_free char *name = mem_printf("\"pod-%08ld\"", b->begun);
        b->event_name = name;
        send_create(b->load.connections);
        load_run(&b->load);
        int64_t sign = b->first_ns < b->event_ns ? b->first_ns : b->event_ns;
        upper[i] = b->last_ns - b->load.connections->begun_ns;
        lower[i] = b->last_ns > sign ? b->last_ns - sign : 0;
        b->event_name = NULL;
        b->load.tick = pause_until_quiet;
    }
    sample("watch_from_request_p50_ms", percentile_ms(upper, events, 50));
    sample("watch_from_first_sign_p50_ms", percentile_ms(lower, events, 50));
    sample("watch_from_request_p99_ms", percentile_ms(upper, events, 99));
    free(upper);
    free(lower);
}

/* ---- nodes ---- */

static const char node_status[] = "\"status\":{\"capacity\":{\"cpu\":\"16\",\"memory\":\"64Gi\",\"pods\":"
                                  "\"110\"},\"allocatable\":{\"cpu\":\"16\",\"memory\":"
                                  "\"64Gi\",\"pods\":\"110\"},\"conditions\":[{\"type\":\"Ready\",\"status\":"
                                  "\"True\",\"reason\":\"KubeletReady\"}]}";

static void send_node(struct connection *c)
{
    struct bench *b = c->load->arg;
    long i = b->begun++;
    str_clear(&b->target);
    str_clear(&b->body);
    if (i % 2 == 0) {
        str_add(&b->target, "/api/v1/nodes");
        str_addf(&b->body,
                 "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"node-%ld\",\"labels\":{"
                 "\"zone\":\"z%ld\","
                 "\"disk\":\"ssd\"}}}",
                 i / 2, i / 2 % 10);
        load_send(c, "POST", str_c(&b->target), b->body.data, b->body.len);
    } else {
        str_addf(&b->target, "/api/v1/nodes/node-%ld/status", i / 2);
        str_addf(&b->body, "{%s}", node_status);
        load_send(c, "PATCH", str_c(&b->target), b->body.data, b->body.len);
    }
}

static void on_node(struct connection *c)
{
    struct bench *b = c->load->arg;
    if (c->status != 201 && c->status != 200)
        expect(c, 200);
    if (++b->ended == b->total)
        b->load.stop = true;
    else
        send_node(c);
}

static void run_nodes(struct bench *b, long count)
{
    load_connect(&b->load, 1);
    b->load.done = on_node;
    b->total = count * 2;
    send_node(b->load.connections);
    load_run(&b->load);
}

static void on_namespace(struct connection *c)
{
    expect(c, 201);
    c->load->stop = true;
}

static void make_namespace(struct bench *b)
{
    load_connect(&b->load, 1);
    b->load.done = on_namespace;
    auto_free char *body = mem_printf(
        "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"%s\"}}", b->namespace);
    load_send(b->load.connections, "POST", "/api/v1/namespaces", body, strlen(body));
    load_run(&b->load);
}

/* ---- pending pods get their nodes ---- */

/* The heart-beats that as many agents would send: every node's Lease once a second. */
static void send_beat(struct connection *c)
{
    struct bench *b = c->load->arg;
    char time[TIME_TEXT];
    time_print_micro(clock_wall_ns(&clock_system), time);
    long i = b->beat_next++ % b->nodes;
    bool create = b->beat_next <= b->nodes;
    str_clear(&b->target);
    str_clear(&b->body);
    str_add(&b->target, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases");
    if (!create)
        str_addf(&b->target, "/node-%ld", i);
    str_addf(&b->body,
             "{\"apiVersion\":\"coordination.k8s.io/"
             "v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":\"node-%ld\"},\"spec\":{"
             "\"holderIdentity\":\"node-%ld\",\"leaseDurationSeconds\":4,\"renewTime\":\"%s\"}}",
             i, i, time);
    load_send(c, create ? "POST" : "PATCH", str_c(&b->target), b->body.data, b->body.len);
}

static void on_beat(struct connection *c)
{
    struct bench *b = c->load->arg;
    if (c->status >= 300)
        expect(c, 200);
    b->beats--;
    if (b->beat_next < b->nodes || b->beats > 0)
        send_beat(c);
    else if (b->beat_next == b->nodes)
        b->load.stop = true;
}

/* Every 20 ms the beats that are due are owed; a connection that is free begins to pay them. */
static void owe_beats(struct load *load)
{
    struct bench *b = load->arg;
    b->beats += b->nodes / 50;
    for (int i = 1; i <= 4; i++)
        if (!load->connections[i].busy && b->beats > 0)
            send_beat(&load->connections[i]);
}

/* First every pod as it waits, then every one as it has got its node. */
static void on_bound_line(struct connection *c, const char *line, size_t len)
{
    struct bench *b = c->load->arg;
    if (b->pods_seen < b->total) {
        if (++b->pods_seen == b->total)
            b->load.stop = true;
        return;
    }
    if (!memmem(line, len, "\"nodeName\":\"", 12))
        return;
    b->last_ns = load_now();
    if (!b->first_ns)
        b->first_ns = b->last_ns;
    if (++b->pods_bound == b->total)
        b->load.stop = true;
}

static pid_t start_manager(char **command)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when this program fails */
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execvp(command[0], command);
        _exit(127);
    }
    return pid;
}

static void run_bound(struct bench *b, long pods, long nodes, pid_t server, char **command)
{
    load_connect(&b->load, 5);
    b->nodes = nodes;
    b->total = pods;
    b->load.done = on_beat;
    b->load.line = on_bound_line;
    send_beat(&b->load.connections[1]); /* the Leases are there before the manager is */
    load_run(&b->load);
    auto_free char *target =
        mem_printf("/api/v1/namespaces/%s/pods?watch=true&resourceVersion=0", b->namespace);
    b->load.connections[0].stream = true;
    load_send(&b->load.connections[0], "GET", target, NULL, 0);
    load_run(&b->load);
    b->load.tick = owe_beats;
    b->load.tick_ms = 20;
    b->beats = 0;
    b->load.deadline_ns = load_now() + 120 * 1000000000LL;
    double cpu = cpu_ms(server);
    int64_t start = load_now();
    b->manager = start_manager(command);
    load_run(&b->load);
    sample("bound_per_s", (double)pods * 1e9 / (double)(b->last_ns - start));
    sample("bound_first_ms", (double)(b->first_ns - start) / 1e6);
    sample("bound_manager_cpu_ms", cpu_ms(b->manager) / (double)pods);
    sample("bound_server_cpu_ms", (cpu_ms(server) - cpu) / (double)pods);
    kill(b->manager, SIGTERM);
    waitpid(b->manager, NULL, 0);
}

/* ---- */

static long number(char **argv, int argc, int i)
{
    if (i >= argc)
        load_fail("too few arguments; see the head of bench_load.c");
    return atol(argv[i]);
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    if (argc < 4)
        load_fail("too few arguments; see the head of bench_load.c");
    const char *command = argv[2];
    signal(SIGPIPE, SIG_IGN);
    load_init(&b.load, argv[1]);
    b.load.arg = &b;
    b.load.deadline_ns = load_now() + 120 * 1000000000LL;
    b.namespace = argv[3];
    b.pod_tail = pod_tail_new();
    if (str_eq(command, "create") || str_eq(command, "get"))
        run_requests(&b, command, number(argv, argc, 4), (int)number(argv, argc, 5),
                     (pid_t)number(argv, argc, 6));
    else if (str_eq(command, "namespace"))
        make_namespace(&b);
    else if (str_eq(command, "list"))
        run_list(&b, number(argv, argc, 4));
    else if (str_eq(command, "watch"))
        run_watch(&b, (int)number(argv, argc, 4), number(argv, argc, 5));
    else if (str_eq(command, "nodes"))
        run_nodes(&b, number(argv, argc, 3));
    else if (str_eq(command, "bound") && argc > 7)
        run_bound(&b, number(argv, argc, 4), number(argv, argc, 5), (pid_t)number(argv, argc, 6), argv + 7);
    else
        load_fail("unknown command %s; see the head of bench_load.c", command);
    load_fini(&b.load);
    free(b.pod_tail);
    free(b.samples);
    str_free(&b.target);
    str_free(&b.body);
    return 0;
}
