/* services: virtual addresses over real namespaces: from pods, nodes and outside, TCP and UDP, hairpin,
 * refusal, balance, affinity, deltas, restart, stale flows, large tables. */
#include "world.h"

#define VIP "10.96.0.10"

struct fixture {
    struct world *world;
    struct pod a, b, c; /* a and b on node 0, c on node 1 */
};

static struct net_endpoint endpoint(const struct pod *pod)
{
    return (struct net_endpoint){pod->address, POD_PORT};
}

static struct net_service_port port_of(const char *address, uint8_t protocol,
                                       const struct net_endpoint *endpoints, size_t count)
{
    return (struct net_service_port){.address = address_of(address),
                                     .protocol = protocol,
                                     .port = 80,
                                     .endpoints = endpoints,
                                     .n_endpoints = count};
}

static void set_service(struct fixture *f, const char *key, const struct net_service_port *ports,
                        size_t count)
{
    const struct net_service service = {key, ports, count};
    for (int i = 0; i < NODES; i++)
        services(f->world, i, &service, 1);
}

/* TCP and UDP port 80 of VIP to these pods. */
static void set_web(struct fixture *f, const struct pod *const *pods, size_t count, enum net_balance balance,
                    uint32_t affinity)
{
    struct net_endpoint endpoints[8];
    for (size_t i = 0; i < count; i++)
        endpoints[i] = endpoint(pods[i]);
    struct net_service_port ports[2] = {port_of(VIP, IPPROTO_TCP, endpoints, count),
                                        port_of(VIP, IPPROTO_UDP, endpoints, count)};
    for (int i = 0; i < 2; i++) {
        ports[i].balance = balance;
        ports[i].affinity_seconds = affinity;
    }
    set_service(f, "default/web", ports, 2);
}

static int begin(void **state, bool routed)
{
    struct fixture *f = NEW(struct fixture);
    *state = f;
    log_set_level(LOG_WARN);
    f->world = world_new(routed);
    world_setup_nodes(f->world);
    f->a = pod_start("pod-a", 0, "10.244.1.2");
    f->b = pod_start("pod-b", 0, "10.244.1.3");
    f->c = pod_start("pod-c", 1, "10.244.2.2");
    attach(f->world, &f->a);
    attach(f->world, &f->b);
    attach(f->world, &f->c);
    for (int i = 0; i < NODES; i++)
        services_all(f->world, i, NULL, 0);
    return 0;
}

static int setup(void **state)
{
    return begin(state, false);
}

static int setup_routed(void **state)
{
    return begin(state, true);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pod_kill(&f->a);
    pod_kill(&f->b);
    pod_kill(&f->c);
    world_free(f->world);
    free(f);
    return 0;
}

static void test_reachable(void **state)
{
    struct fixture *f = *state;
    struct world *world = f->world;
    for (int udp = 0; udp < 2; udp++) {
        assert_answer(f->a.netns, "10.244.1.3", POD_PORT, udp, "pod-b 10.244.1.2");
        assert_answer(f->a.netns, "10.244.2.2", POD_PORT, udp, "pod-c 10.244.1.2");
        assert_answer(world->nodes[0].netns, "10.244.2.2", POD_PORT, udp, "pod-c 192.168.77.1");
        set_web(f, (const struct pod *[]){&f->b}, 1, NET_BALANCE_RANDOM, 0);
        assert_answer(f->a.netns, VIP, 80, udp, "pod-b 10.244.1.2");   /* same node, source kept */
        assert_answer(f->c.netns, VIP, 80, udp, "pod-b 10.244.2.2");   /* other node, source kept */
        assert_answer(f->b.netns, VIP, 80, udp, "pod-b 192.168.77.1"); /* itself: the node in between */
        assert_answer(world->nodes[0].netns, VIP, 80, udp, "pod-b 192.168.77.1"); /* the nodes */
        assert_answer(world->nodes[1].netns, VIP, 80, udp, "pod-b 192.168.77.2");
    }
}

static void assert_refused(int netns, const char *to, uint16_t port, bool udp)
{
    struct ask ask = {.to = address_of(to), .port = port, .udp = udp};
    double begin = now_ms();
    int error = ask_from(netns, &ask);
    if (error != ECONNREFUSED &&
        !(udp && error == EPERM)) /* EPERM: what send says on the refusing node itself */
        fail_msg("%s:%u %s: %s, not refused", to, port, udp ? "udp" : "tcp",
                 error ? strerror(error) : ask.answer);
    assert_true(now_ms() - begin < 500);
}

static void test_refused(void **state)
{
    struct fixture *f = *state;
    set_web(f, (const struct pod *[]){&f->b}, 1, NET_BALANCE_RANDOM, 0);
    const struct net_service_port empty[] = {port_of("10.96.0.11", IPPROTO_TCP, NULL, 0),
                                             port_of("10.96.0.11", IPPROTO_UDP, NULL, 0)};
    set_service(f, "default/empty", empty, 2);
    for (int udp = 0; udp < 2; udp++) {
        int from[] = {f->a.netns, f->c.netns, f->world->nodes[0].netns, f->world->nodes[1].netns};
        for (size_t i = 0; i < COUNT_OF(from); i++) {
            assert_refused(from[i], "10.96.0.11", 80, udp);  /* no endpoints */
            assert_refused(from[i], VIP, 81, udp);           /* unknown port */
            assert_refused(from[i], "10.96.77.77", 80, udp); /* unknown address */
        }
    }
    set_service(f, "default/empty", NULL, 0);
}

/* An outsider on the nodes' network uses a node as its way to the Services. */
static void test_outsider(void **state)
{
    struct fixture *f = *state;
    struct net_cidr range;
    cidr("10.96.0.0/16", &range);
    ok(netlink_ensure_route(-1, &range, f->world->nodes[0].config.node_address, NULL, ERR));
    for (int udp = 0; udp < 2; udp++) {
        set_web(f, (const struct pod *[]){&f->b}, 1, NET_BALANCE_RANDOM, 0);
        assert_answer(-1, VIP, 80, udp, "pod-b 192.168.77.254");
        /* The other node would answer directly: only here the source is translated. */
        set_web(f, (const struct pod *[]){&f->c}, 1, NET_BALANCE_RANDOM, 0);
        assert_answer(-1, VIP, 80, udp, "pod-c 192.168.77.1");
        assert_refused(-1, VIP, 81, udp);
    }
}

/* A node port: the node's own address as the virtual one, from everywhere. */
static void test_node_port(void **state)
{
    struct fixture *f = *state;
    struct net_endpoint endpoints[] = {endpoint(&f->b), endpoint(&f->c)};
    for (int udp = 0; udp < 2; udp++) {
        assert_refused(f->a.netns, "192.168.77.1", 30080, udp);
        for (size_t i = 0; i < 2; i++) {
            struct net_service_port port =
                port_of("192.168.77.1", udp ? IPPROTO_UDP : IPPROTO_TCP, &endpoints[i], 1);
            port.port = 30080;
            set_service(f, "default/nodeport", &port, 1);
            const char *sources[2][4] = {
                {"pod-b 10.244.1.2", "pod-b 192.168.77.1", "pod-b 192.168.77.254", "pod-b 192.168.77.2"},
                {"pod-c 10.244.1.2", "pod-c 192.168.77.1", "pod-c 192.168.77.1", "pod-c 192.168.77.2"}};
            int from[] = {f->a.netns, f->world->nodes[0].netns, -1, f->world->nodes[1].netns};
            for (size_t j = 0; j < 4; j++)
                assert_answer(from[j], "192.168.77.1", 30080, udp, sources[i][j]);
        }
        set_service(f, "default/nodeport", NULL, 0);
    }
}

/* An outsider whom another link of the node leads to it: the pod's node would answer without this one. */
static void test_second_link(void **state)
{
    struct fixture *f = *state;
    int node = f->world->nodes[0].netns;
    struct net_endpoint of_c = endpoint(&f->c);
    struct net_cidr outside, inside, way = {f->world->nodes[0].config.node_address, 32};
    cidr("192.168.99.254/24", &outside);
    cidr("192.168.99.1/24", &inside);
    ok(netlink_ensure_veth(-1, "second", node, "eth1", 0, ERR));
    ok(netlink_ensure_address(-1, "second", &outside, ERR));
    ok(netlink_ensure_address(node, "eth1", &inside, ERR));
    ok(netlink_ensure_route(-1, &way, inside.address, NULL, ERR));
    for (int udp = 0; udp < 2; udp++) {
        struct net_service_port port = port_of("192.168.77.1", udp ? IPPROTO_UDP : IPPROTO_TCP, &of_c, 1);
        set_service(f, "default/nodeport", &port, 1);
        assert_answer(-1, "192.168.77.1", 80, udp, "pod-c 192.168.77.1");
    }
    set_service(f, "default/nodeport", NULL, 0);
    ok(netlink_delete_link(-1, "second", ERR));
}

/* A UDP question from a port that was used before would meet its flow, which goes where it went then: each
 * gets a port of its own, below the range that the kernel hands out. */
static struct ask ask_vip(bool udp)
{
    static uint16_t next = 20000;
    return (struct ask){.to = address_of(VIP), .port = 80, .udp = udp, .from_port = udp ? next++ : 0};
}

/* How often each pod answered; all must answer. */
static void count_answers(int netns, bool udp, int tries, int counts[3])
{
    memset(counts, 0, 3 * sizeof *counts);
    for (int i = 0; i < tries; i++) {
        struct ask ask = ask_vip(udp);
        if (ask_from(netns, &ask))
            fail_msg("try %d: %s", i, strerror(ask.error));
        counts[ask.answer[4] - 'a']++;
    }
}

static void test_balance(void **state)
{
    struct fixture *f = *state;
    const struct pod *all[] = {&f->a, &f->b, &f->c};
    int counts[3];
    for (int udp = 0; udp < 2; udp++) {
        set_web(f, all, 3, NET_BALANCE_RANDOM, 0);
        count_answers(f->c.netns, udp, 300, counts);
        for (int i = 0; i < 3; i++)
            assert_in_range(counts[i], 60, 140); /* five standard deviations */
        set_web(f, all, 3, NET_BALANCE_ROUND_ROBIN, 0);
        count_answers(f->c.netns, udp, 99, counts);
        for (int i = 0; i < 3; i++)
            assert_int_equal(counts[i], 33);
        set_web(f, all, 3, NET_BALANCE_SOURCE_HASH, 0);
        count_answers(f->c.netns, udp, 30, counts);
        int most = counts[0] > counts[1] ? counts[0] : counts[1];
        most = counts[2] > most ? counts[2] : most;
        assert_int_equal(most, 30);
    }
}

/* Two round-robin Services that are called in turn do not steal each other's numbers. */
static void test_round_robin_apart(void **state)
{
    struct fixture *f = *state;
    const struct pod *pods[] = {&f->a, &f->b};
    struct net_endpoint endpoints[] = {endpoint(&f->a), endpoint(&f->b)};
    struct net_service_port port = port_of("10.96.0.12", IPPROTO_TCP, endpoints, 2);
    int seen[2][2] = {{0}};
    port.balance = NET_BALANCE_ROUND_ROBIN;
    set_web(f, pods, 2, NET_BALANCE_ROUND_ROBIN, 0);
    set_service(f, "default/second", &port, 1);
    for (int i = 0; i < 20; i++) {
        struct ask ask = {.to = address_of(i % 2 ? VIP : "10.96.0.12"), .port = 80};
        assert_int_equal(ask_from(f->c.netns, &ask), 0);
        seen[i % 2][ask.answer[4] - 'a']++;
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(seen[i][0], 5);
        assert_int_equal(seen[i][1], 5);
    }
    set_service(f, "default/second", NULL, 0);
}

static void test_affinity(void **state)
{
    enum { LONG_S = 60 }; /* no pause of the machine ends it */
    struct fixture *f = *state;
    const struct pod *all[] = {&f->a, &f->b, &f->c};
    int counts[3];
    for (int udp = 0; udp < 2; udp++) {
        set_web(f, all, 3, NET_BALANCE_ROUND_ROBIN, LONG_S);
        count_answers(f->c.netns, udp, 20, counts);
        int first = counts[0] ? 0 : counts[1] ? 1 : 2;
        assert_int_equal(counts[first], 20);
        /* The order changes and one of the others leaves: the client stays. */
        const struct pod *fewer[] = {all[(first + 2) % 3], all[first]};
        set_web(f, fewer, 2, NET_BALANCE_ROUND_ROBIN, LONG_S);
        count_answers(f->c.netns, udp, 10, counts);
        assert_int_equal(counts[first], 10);
        /* Its own endpoint leaves: another one, and then that one for good, also when the first is back. */
        set_web(f, (const struct pod *[]){all[(first + 1) % 3], all[(first + 2) % 3]}, 2,
                NET_BALANCE_ROUND_ROBIN, LONG_S);
        count_answers(f->c.netns, udp, 10, counts);
        int second = counts[(first + 1) % 3] ? (first + 1) % 3 : (first + 2) % 3;
        assert_int_equal(counts[second], 10);
        set_web(f, all, 3, NET_BALANCE_ROUND_ROBIN, LONG_S);
        count_answers(f->c.netns, udp, 10, counts);
        assert_int_equal(counts[second], 10);
        set_web(f, all, 3, NET_BALANCE_ROUND_ROBIN, 1);
        /* After the timeout the next number is taken; the kernel counts in its own ticks, so wait for the
         * change. */
        double begin = now_ms();
        bool changed = false;
        for (int pause = 1100; !changed && now_ms() - begin < 8000; pause += 100) {
            struct ask ask = ask_vip(udp);
            poll(NULL, 0, pause); /* each try renews the timeout */
            assert_int_equal(ask_from(f->c.netns, &ask), 0);
            changed = ask.answer[4] - 'a' != second;
        }
        assert_true(changed);
    }
}

/* Two Services claim one address and port: the first keeps it, the second gets it when the first goes. */
static void test_contested(void **state)
{
    struct fixture *f = *state;
    struct net_endpoint of_a = endpoint(&f->a), of_b = endpoint(&f->b);
    const struct net_service_port first = port_of("10.96.0.13", IPPROTO_TCP, &of_a, 1);
    const struct net_service_port second = port_of("10.96.0.13", IPPROTO_TCP, &of_b, 1);
    set_service(f, "default/first", &first, 1);
    set_service(f, "default/second", &second, 1);
    assert_answer(f->c.netns, "10.96.0.13", 80, false, "pod-a 10.244.2.2");
    set_service(f, "default/first", NULL, 0);
    assert_answer(f->c.netns, "10.96.0.13", 80, false, "pod-b 10.244.2.2");
    set_service(f, "default/second", NULL, 0);
    assert_refused(f->c.netns, "10.96.0.13", 80, false);
}

/* Nodes behind routers that drop pods' addresses: a node port leads through the tunnel, and back. */
static void test_tunnel(void **state)
{
    struct fixture *f = *state;
    int node = f->world->nodes[0].netns, far = f->world->nodes[1].netns;
    struct net_endpoint endpoints[] = {endpoint(&f->b), endpoint(&f->c)};
    for (int udp = 0; udp < 2; udp++) {
        for (size_t i = 0; i < 2; i++) {
            struct net_service_port port =
                port_of("192.168.77.1", udp ? IPPROTO_UDP : IPPROTO_TCP, &endpoints[i], 1);
            port.port = 30080;
            const struct net_service service = {"default/nodeport", &port, 1};
            services(f->world, 0, &service, 1); /* other nodes have ports of their own */
            const char *sources[2][5] = {{"pod-b 10.244.1.2", "pod-b 192.168.77.1", "pod-b 192.168.77.254",
                                          "pod-b 192.168.78.2", "pod-b 192.168.78.2"},
                                         {"pod-c 10.244.1.2", "pod-c 10.244.1.1", "pod-c 10.244.1.1",
                                          "pod-c 10.244.1.1", "pod-c 10.244.1.1"}};
            int from[] = {f->a.netns, node, -1, far, f->c.netns};
            for (size_t j = 0; j < COUNT_OF(from); j++)
                assert_answer(from[j], "192.168.77.1", 30080, udp, sources[i][j]);
        }
        set_service(f, "default/nodeport", NULL, 0);
        set_web(f, (const struct pod *[]){&f->c}, 1, NET_BALANCE_RANDOM, 0);
        assert_answer(f->a.netns, VIP, 80, udp, "pod-c 10.244.1.2");
        assert_answer(node, VIP, 80, udp, "pod-c 10.244.1.1");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reachable),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_outsider),    cmocka_unit_test(test_node_port),
        cmocka_unit_test(test_balance),     cmocka_unit_test(test_round_robin_apart),
        cmocka_unit_test(test_affinity),    cmocka_unit_test(test_contested),
        cmocka_unit_test(test_second_link),
    };
    const struct CMUnitTest routed[] = {cmocka_unit_test(test_tunnel)};
    int failed = cmocka_run_group_tests_name("net services", tests, setup, teardown);
    return failed + cmocka_run_group_tests_name("net services, routed", routed, setup_routed, teardown);
}
