/* Changes of the Service table: under traffic, after a restart of the agent, after somebody emptied the
 * table, at 5,000 Services, and what happens to UDP flows whose endpoint leaves. */
#include <malloc.h>

#include "world.h"

#define VIP "10.96.0.10"

struct fixture {
    struct world *world;
    struct pod a, b, client; /* all on node 0 */
};

static int setup(void **state)
{
    struct fixture *f = NEW(struct fixture);
    *state = f;
    log_set_level(LOG_ERROR);
    f->world = world_new(false);
    world_setup_nodes(f->world);
    f->a = pod_start("pod-a", 0, "10.244.1.2");
    f->b = pod_start("pod-b", 0, "10.244.1.3");
    f->client = pod_start("pod-client", 0, "10.244.1.4");
    attach(f->world, &f->a);
    attach(f->world, &f->b);
    attach(f->world, &f->client);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pod_kill(&f->a);
    pod_kill(&f->b);
    pod_kill(&f->client);
    world_free(f->world);
    free(f);
    return 0;
}

struct web {
    struct net_endpoint endpoints[4];
    struct net_service_port ports[2];
    struct net_service service;
};

/* TCP and UDP port 80 of VIP to the pods; the struct must stay where it is. */
static const struct net_service *web(struct web *web, const struct pod *first, const struct pod *second)
{
    size_t count = 0;
    if (first)
        web->endpoints[count++] = (struct net_endpoint){first->address, POD_PORT};
    if (second)
        web->endpoints[count++] = (struct net_endpoint){second->address, POD_PORT};
    for (int i = 0; i < 2; i++)
        web->ports[i] = (struct net_service_port){.address = address_of(VIP),
                                                  .protocol = i ? IPPROTO_UDP : IPPROTO_TCP,
                                                  .port = 80,
                                                  .endpoints = web->endpoints,
                                                  .n_endpoints = count};
    web->service = (struct net_service){"default/web", web->ports, 2};
    return &web->service;
}

static int restart_agent(struct fixture *f)
{
    struct node *node = &f->world->nodes[0];
    node->net->ops->free(node->net);
    node->net = NULL;
    return node_run((struct node_call){.node = node, .call = call_setup}, NULL);
}

static int64_t state_int(struct fixture *f, const char *path)
{
    auto_json state = f->world->nodes[0].net->ops->state(f->world->nodes[0].net);
    return json_int(state, path, -1);
}

/* ---- a client that never stops asking ---- */

struct traffic {
    pthread_t thread;
    int netns;
    atomic_bool stop;
    atomic_int asked, failed;
};

static int traffic_call(void *arg, struct err **err)
{
    struct traffic *traffic = arg;
    while (!atomic_load(&traffic->stop)) {
        struct ask ask = {.to = address_of(VIP), .port = 80};
        ask_call(&ask, err);
        atomic_fetch_add(&traffic->asked, 1);
        if (!ask.error && str_starts(ask.answer, "pod-"))
            continue;
        print_message("try %d: %s\n", atomic_load(&traffic->asked),
                      ask.error ? strerror(ask.error) : ask.answer);
        atomic_fetch_add(&traffic->failed, 1);
    }
    return 0;
}

static void *traffic_thread(void *arg)
{
    struct traffic *traffic = arg;
    netns_run(traffic->netns, traffic_call, traffic, NULL);
    return NULL;
}

static void traffic_begin(struct traffic *traffic, const struct fixture *f)
{
    traffic->netns = f->client.netns;
    assert_int_equal(pthread_create(&traffic->thread, NULL, traffic_thread, traffic), 0);
    while (atomic_load(&traffic->asked) < 10)
        poll(NULL, 0, 1);
}

static void traffic_end(struct traffic *traffic)
{
    int before = atomic_load(&traffic->asked);
    while (atomic_load(&traffic->asked) < before + 10)
        poll(NULL, 0, 1);
    atomic_store(&traffic->stop, true);
    pthread_join(traffic->thread, NULL);
    assert_int_equal(atomic_load(&traffic->failed), 0);
}

/* Endpoints come and go, picks change, the agent is killed and starts again, its table is loaded anew: no
 * connection fails as long as there is an endpoint. */
static void test_no_interruption(void **state)
{
    struct fixture *f = *state;
    struct web now;
    struct traffic traffic = {0};
    services_all(f->world, 0, web(&now, &f->a, &f->b), 1);
    traffic_begin(&traffic, f);
    for (int i = 0; i < 120; i++) {
        const struct pod *first = i % 3 == 0 ? &f->a : &f->b, *second = i % 2 ? &f->a : NULL;
        web(&now, first, second == first ? NULL : second);
        for (int j = 0; j < 2; j++) {
            now.ports[j].balance = (enum net_balance)(i % 3);
            now.ports[j].affinity_seconds = i % 5 == 0 ? 60 : 0;
        }
        services(f->world, 0, &now.service, 1);
        if (i % 20 == 0) {
            assert_int_equal(restart_agent(f), 0);
            services_all(f->world, 0, &now.service, 1);
        }
    }
    traffic_end(&traffic);
    assert_true(atomic_load(&traffic.asked) > 100);
}

/* What the new agent does not know goes; what it knows stays as it is. */
static void test_restart(void **state)
{
    struct fixture *f = *state;
    struct web now, old;
    services_all(f->world, 0, web(&now, &f->a, &f->b), 1);
    web(&old, &f->a, NULL);
    old.service.key = "default/old";
    old.ports[0].address = old.ports[1].address = address_of("10.96.0.20");
    services(f->world, 0, &old.service, 1);
    assert_answer(f->client.netns, "10.96.0.20", 80, false, "pod-a 10.244.1.4");
    assert_int_equal(state_int(f, "elements"), 2 * 3 + 2 * 2);
    assert_int_equal(restart_agent(f), 0);
    assert_answer(f->client.netns, "10.96.0.20", 80, false,
                  "pod-a 10.244.1.4"); /* setup alone loses nothing */
    services_all(f->world, 0, &now.service, 1);
    struct ask ask = {.to = address_of("10.96.0.20"), .port = 80};
    assert_int_equal(ask_from(f->client.netns, &ask), ECONNREFUSED);
    assert_int_equal(state_int(f, "elements"), 2 * 3);
    assert_int_equal(state_int(f, "services"), 1);
    ask.to = address_of(VIP);
    assert_int_equal(ask_from(f->client.netns, &ask), 0);
}

static int run_nft(struct node_call *call, struct err **err)
{
    const char *argv[] = {"nft", call->items, NULL};
    pid_t pid = file_spawn(argv, NULL, NULL, err);
    int status;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

/* Somebody else flushes the rule set: the next change fails, setup repairs everything. */
static void test_table_lost(void **state)
{
    struct fixture *f = *state;
    struct web now;
    struct ask ask = {.to = address_of(VIP), .port = 80};
    services_all(f->world, 0, web(&now, &f->a, NULL), 1);
    ok(node_run((struct node_call){&f->world->nodes[0], run_nft, NULL, "flush ruleset", 1}, ERR));
    ask.timeout_ms = 100;
    assert_int_not_equal(ask_from(f->client.netns, &ask), 0);
    struct net_service change = *web(&now, &f->b, NULL);
    assert_true(node_run((struct node_call){&f->world->nodes[0], call_services, NULL, &change, 1}, NULL) < 0);
    ok(node_run((struct node_call){.node = &f->world->nodes[0], .call = call_setup}, ERR));
    assert_answer(f->client.netns, VIP, 80, false, "pod-b 10.244.1.4"); /* also the change that failed */
}

/* A table of another version: same names, other types. */
static void test_other_version(void **state)
{
    struct fixture *f = *state;
    struct web now;
    struct node_call call = {&f->world->nodes[0], run_nft, NULL, "delete table ip minik8s", 1};
    ok(node_run(call, ERR));
    call.items = "add table ip minik8s; add map ip minik8s services { type ipv4_addr : ipv4_addr; }";
    ok(node_run(call, ERR));
    assert_int_equal(restart_agent(f), 0);
    services_all(f->world, 0, web(&now, &f->a, NULL), 1);
    assert_answer(f->client.netns, VIP, 80, false, "pod-a 10.244.1.4");
}

/* The same socket goes on sending: within a second it is answered by the endpoint that is left. */
struct udp_flow {
    int fd;
};

static int open_flow(void *arg, struct err **err UNUSED)
{
    struct udp_flow *flow = arg;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr = address_of(VIP)};
    flow->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return connect(flow->fd, (struct sockaddr *)&to, sizeof to);
}

static const char *flow_ask(const struct udp_flow *flow, char answer[64])
{
    struct pollfd wait = {flow->fd, POLLIN, 0};
    if (send(flow->fd, "?", 1, 0) < 0 || poll(&wait, 1, 1000) <= 0)
        return strerror(errno);
    ssize_t got = recv(flow->fd, answer, 63, 0);
    answer[got < 0 ? 0 : got] = 0;
    return got < 0 ? strerror(errno) : answer;
}

static void test_udp_flow_moves(void **state)
{
    struct fixture *f = *state;
    struct web now;
    struct udp_flow flow;
    char answer[64];
    services_all(f->world, 0, web(&now, &f->a, NULL), 1);
    ok(netns_run(f->client.netns, open_flow, &flow, ERR));
    assert_string_equal(flow_ask(&flow, answer), "pod-a 10.244.1.4");
    services(f->world, 0, web(&now, &f->b, NULL), 1);
    assert_string_equal(flow_ask(&flow, answer), "pod-b 10.244.1.4");
    /* A restarted agent finds out from the kernel's table what left while it was away. */
    assert_int_equal(restart_agent(f), 0);
    services_all(f->world, 0, web(&now, &f->a, NULL), 1);
    assert_string_equal(flow_ask(&flow, answer), "pod-a 10.244.1.4");
    /* An endpoint that stays keeps its flow. */
    services(f->world, 0, web(&now, &f->a, &f->b), 1);
    for (int i = 0; i < 5; i++)
        assert_string_equal(flow_ask(&flow, answer), "pod-a 10.244.1.4");
    close(flow.fd);
}

/* A TCP connection to a pod that is gone does not hang: its flow is forgotten, the next packet finds the
 * endpoint that is left, which refuses it. */
static int open_stream(void *arg, struct err **err UNUSED)
{
    struct udp_flow *flow = arg;
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(POD_PORT + 1), .sin_addr = address_of(VIP)};
    flow->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(flow->fd, (struct sockaddr *)&to, sizeof to);
}

static int open_listener(void *arg, struct err **err UNUSED)
{
    struct udp_flow *flow = arg;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(POD_PORT + 1)};
    flow->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(flow->fd, (struct sockaddr *)&any, sizeof any) < 0 ? -1 : listen(flow->fd, 5);
}

static void test_dead_pod(void **state)
{
    struct fixture *f = *state;
    struct web now;
    struct udp_flow listener, stream;
    char data[8];
    struct pod dying = pod_start("pod-dying", 0, "10.244.1.9");
    attach(f->world, &dying);
    web(&now, &dying, NULL);
    now.service.n_ports = 1;
    now.ports[0].port = now.endpoints[0].port = POD_PORT + 1;
    services_all(f->world, 0, &now.service, 1);
    ok(netns_run(dying.netns, open_listener, &listener, ERR));
    ok(netns_run(f->client.netns, open_stream, &stream, ERR));
    close(listener.fd);
    pod_kill(&dying);
    now.endpoints[0].address = f->a.address;
    services(f->world, 0, &now.service, 1);
    detach(f->world, &dying);
    send(stream.fd, "?", 1, MSG_NOSIGNAL);
    struct pollfd wait = {stream.fd, POLLIN, 0};
    assert_int_equal(poll(&wait, 1, 1500), 1);
    assert_true(recv(stream.fd, data, sizeof data, 0) <= 0);
    close(stream.fd);
}

/* ---- size ---- */

/* 256 endpoints and back: every one is picked in turn. */
static void test_many_endpoints(void **state)
{
    struct fixture *f = *state;
    struct net_endpoint endpoints[256];
    struct net_service_port port = {.address = address_of(VIP),
                                    .protocol = IPPROTO_TCP,
                                    .port = 80,
                                    .balance = NET_BALANCE_ROUND_ROBIN,
                                    .endpoints = endpoints};
    const struct net_service service = {"default/web", &port, 1};
    for (size_t i = 0; i < COUNT_OF(endpoints); i++)
        endpoints[i] = (struct net_endpoint){i % 2 ? f->a.address : f->b.address, POD_PORT};
    for (size_t count = 1; count <= COUNT_OF(endpoints); count++) {
        port.n_endpoints = count;
        services(f->world, 0, &service, 1);
    }
    int answers[2] = {0};
    for (int i = 0; i < 256; i++) {
        struct ask ask = {.to = address_of(VIP), .port = 80};
        assert_int_equal(ask_from(f->client.netns, &ask), 0);
        answers[ask.answer[4] - 'a']++;
    }
    assert_int_equal(answers[0], 128);
    assert_int_equal(state_int(f, "elements"), 257);
    port.n_endpoints = 0;
    services(f->world, 0, &service, 1);
    assert_int_equal(state_int(f, "elements"), 0);
}

#define MANY 5000

static void many_services(struct net_service *items, struct net_service_port *ports,
                          struct net_endpoint *endpoints)
{
    for (uint32_t i = 0; i < MANY; i++) {
        for (uint32_t j = 0; j < 2; j++)
            endpoints[2 * i + j] = (struct net_endpoint){{htonl(0x0af40102 + (2 * i + j) % 200)}, POD_PORT};
        ports[i] = (struct net_service_port){.address = {htonl(0x0a600100 + i)},
                                             .protocol = IPPROTO_TCP,
                                             .port = 80,
                                             .endpoints = &endpoints[2 * i],
                                             .n_endpoints = 2};
        items[i] = (struct net_service){mem_printf("default/s%u", i), &ports[i], 1};
    }
}

static long rss_kb(void)
{
    auto_free char *text = NULL;
    size_t length;
    ok(file_read("/proc/self/statm", 4096, &text, &length, ERR));
    long pages = 0;
    assert_int_equal(sscanf(text, "%*d %ld", &pages), 1);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void test_many(void **state)
{
    struct fixture *f = *state;
    auto_free struct net_service *items = mem_array(MANY + 1, sizeof *items);
    auto_free struct net_service_port *ports = mem_array(MANY, sizeof *ports);
    auto_free struct net_endpoint *endpoints = mem_array(2 * MANY, sizeof *endpoints);
    struct web now;
    many_services(items, ports, endpoints);
    items[MANY] = *web(&now, &f->a, NULL);
    long before = rss_kb();
    double begin = now_ms();
    services_all(f->world, 0, items, MANY + 1);
    double loaded = now_ms() - begin;
    long after = rss_kb();
    const int changes = 200, udp_changes = 10;
    now.service.n_ports = 1; /* TCP only */
    begin = now_ms();
    for (int i = 0; i < changes; i++) {
        now.endpoints[0].address = i % 2 ? f->a.address : f->b.address;
        now.ports[0].n_endpoints = i % 4 < 2 ? 1 : 2;
        now.endpoints[1] = (struct net_endpoint){f->client.address, POD_PORT};
        services(f->world, 0, &now.service, 1);
    }
    double change = (now_ms() - begin) / changes;
    begin = now_ms();
    for (int i = 0; i < udp_changes; i++)
        services(f->world, 0, web(&now, i % 2 ? &f->a : &f->b, NULL), 1);
    double udp_change = (now_ms() - begin) / udp_changes;
    begin = now_ms();
    for (int i = 0; i < changes; i++)
        ports[i].n_endpoints = 1;
    services(f->world, 0, items, (size_t)changes);
    double batch = now_ms() - begin;
    items[MANY] = *web(&now, &f->a, NULL);
    assert_int_equal(restart_agent(f), 0);
    begin = now_ms();
    services_all(f->world, 0, items, MANY + 1);
    double again = now_ms() - begin;
    assert_int_equal(state_int(f, "services"), MANY + 1);
    assert_answer(f->client.netns, VIP, 80, true, "pod-a 10.244.1.4");
    begin = now_ms();
    services_all(f->world, 0, &items[MANY], 1);
    print_message("%d Services x 2: load %.0f ms (+%ld KB), one change %.2f ms (UDP endpoint gone: %.1f ms), "
                  "batch of %d %.1f ms, restart "
                  "diff %.0f ms, "
                  "remove %.0f ms\n",
                  MANY, loaded, after - before, change, udp_change, changes, batch, again, now_ms() - begin);
    for (int i = 0; i < MANY; i++)
        free((void *)items[i].key);
    assert_true(change < 50);
#ifndef __SANITIZE_ADDRESS__ /* which keeps what was freed */
    assert_true(after - before < 20000);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_interruption), cmocka_unit_test(test_restart),
        cmocka_unit_test(test_table_lost),      cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_udp_flow_moves),  cmocka_unit_test(test_dead_pod),
        cmocka_unit_test(test_many_endpoints),  cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests_name("net service changes", tests, setup, teardown);
}
