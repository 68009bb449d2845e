/* Pods: attaching fast, again and after crashes; reused addresses; what is kept and what goes; the way
 * outside; nodes with a router between them; shutdown; doctor. */
#include <net/if.h>

#include "world.h"

static struct world *start(bool routed)
{
    struct world *world = world_new(routed);
    log_set_level(LOG_ERROR);
    world_setup_nodes(world);
    return world;
}

static char *pod_link_of(struct world *world, int node)
{
    size_t count;
    auto_free char **links = netlink_list_links(world->nodes[node].netns, "m8", &count, NULL);
    for (size_t i = 0; i < count; i++) {
        if (strlen(links[i]) == 13)
            return mem_strdup(links[i]);
    }
    return NULL;
}

static size_t count_pod_links(struct world *world, int node)
{
    size_t count, pods = 0;
    auto_free char **links = netlink_list_links(world->nodes[node].netns, "m8", &count, NULL);
    for (size_t i = 0; i < count; i++)
        pods += strlen(links[i]) == 13;
    return pods;
}

static void test_attach(void **state UNUSED)
{
    struct world *world = start(false);
    struct pod pods[20];
    double begin, took = 0;
    for (int i = 0; i < 20; i++) {
        auto_free char *uid = mem_printf("uid-%d", i);
        auto_free char *address = mem_printf("10.244.1.%d", 2 + i);
        pods[i] = pod_start(uid, 0, address);
        begin = now_ms();
        attach(world, &pods[i]);
        took += now_ms() - begin;
    }
    print_message("attaching a pod: %.2f ms\n", took / 20);
    assert_true(took / 20 < 50);
    begin = now_ms();
    attach(world, &pods[0]);
    print_message("attaching again: %.2f ms\n", now_ms() - begin);
    assert_answer(pods[0].netns, "10.244.1.21", POD_PORT, false, "uid-19 10.244.1.2");
    assert_int_equal(count_pod_links(world, 0), 20);

    const char *keep[] = {"uid-0", "uid-1", "uid-unknown"};
    ok(node_run((struct node_call){&world->nodes[0], call_keep, NULL, keep, 3}, ERR));
    assert_int_equal(count_pod_links(world, 0), 2);
    assert_answer(pods[0].netns, "10.244.1.3", POD_PORT, true, "uid-1 10.244.1.2");

    detach(world, &pods[1]);
    detach(world, &pods[1]);
    assert_int_equal(count_pod_links(world, 0), 1);
    for (int i = 0; i < 20; i++)
        pod_kill(&pods[i]);
    world_free(world);
}

static void test_bad_input(void **state UNUSED)
{
    struct world *world = start(false);
    struct pod pod = pod_start("uid", 0, "10.244.9.9"); /* another node's range */
    struct node_call call = {.node = &world->nodes[0], .call = call_attach, .pod = &pod};
    assert_true(node_run(call, NULL) < 0);
    pod.address = address_of("10.244.1.9");
    int pid = pod.pid;
    pod.pid = 0x3fffffff;
    assert_true(node_run(call, NULL) < 0);
    pod.pid = pid;
    assert_int_equal(count_pod_links(world, 0), 0);
    struct net_config config = world->nodes[0].config;
    config.pod_range = config.service_range;
    assert_null(net_linux_new(&config, NULL));
    config = world->nodes[0].config;
    config.table = "a b; flush ruleset";
    assert_null(net_linux_new(&config, NULL));
    pod_kill(&pod);
    world_free(world);
}

/* A pod dies, its address goes to another one while the old link is perhaps still there. */
static void test_reuse(void **state UNUSED)
{
    struct world *world = start(false);
    struct pod client = pod_start("client", 0, "10.244.1.2"), far = pod_start("far", 1, "10.244.2.2");
    attach(world, &client);
    attach(world, &far);
    for (int i = 0; i < 10; i++) {
        auto_free char *uid = mem_printf("run-%d", i);
        auto_free char *expected = mem_printf("run-%d 10.244.1.2", i),
                       *far_expected = mem_printf("run-%d 10.244.2.2", i);
        struct pod pod = pod_start(uid, 0, "10.244.1.3");
        attach(world, &pod);
        assert_answer(client.netns, "10.244.1.3", POD_PORT, i % 2, expected);
        assert_answer(far.netns, "10.244.1.3", POD_PORT, i % 2, far_expected);
        pod_kill(&pod);
        if (i % 3 == 0) /* else its namespace's end, or pods_keep after a crash, takes the link */
            detach(world, &pod);
    }
    pod_kill(&client);
    pod_kill(&far);
    world_free(world);
}

/* The agent is killed between any two steps of an attachment: the state that each step leaves is repaired. */
static void test_repair(void **state UNUSED)
{
    struct world *world = start(false);
    int node = world->nodes[0].netns;
    struct pod pod = pod_start("uid", 0, "10.244.1.2");
    const struct net_cidr host = {pod.address, 32}, everything = {{0}, 0};
    attach(world, &pod);
    auto_free char *link = pod_link_of(world, 0);
    assert_non_null(link);
    for (int step = 0; step < 9; step++) {
        switch (step) {
        case 0:
            ok(netlink_set_up(node, link, false, ERR));
            break;
        case 1:
            ok(netlink_set_up(pod.netns, "eth0", false, ERR));
            break;
        case 2:
            ok(netlink_delete_address(pod.netns, "eth0", &host, ERR));
            break;
        case 3:
            ok(netlink_delete_route(pod.netns, &everything, ERR));
            break;
        case 4:
            ok(netlink_delete_route(node, &host, ERR));
            break;
        case 5:
            ok(netlink_delete_link(node, link, ERR));
            break;
        case 6:
            ok(netlink_set_mac(pod.netns, "eth0", (const unsigned char *)"\2abcde", ERR));
            break;
        case 7: /* an eth0 that is not ours */
            ok(netlink_delete_link(node, link, ERR));
            ok(netlink_ensure_veth(pod.netns, "eth0", pod.netns, "eth1", 0, ERR));
            break;
        case 8: { /* the sandbox was made anew: same uid, other process */
            struct pod again = pod_start("uid", 0, "10.244.1.2");
            pod_kill(&pod);
            pod = again;
            break;
        }
        }
        attach(world, &pod);
        assert_answer(node, "10.244.1.2", POD_PORT, false, "uid 192.168.77.1");
    }
    pod_kill(&pod);
    world_free(world);
}

/* Killed with SIGKILL while it attaches and detaches: whatever is left, the next agent repairs it. */
static void test_killed(void **state UNUSED)
{
    struct world *world = start(false);
    struct pod pod = pod_start("uid", 0, "10.244.1.2");
    for (int i = 0; i < 15; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            world->nodes[0].net = NULL;
            node_run((struct node_call){.node = &world->nodes[0], .call = call_setup}, NULL);
            for (;;) {
                struct node_call call = {.node = &world->nodes[0], .call = call_attach, .pod = &pod};
                node_run(call, NULL);
                call.call = call_detach;
                node_run(call, NULL);
            }
        }
        poll(NULL, 0, 10 + i * 3); /* any moment will do */
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        attach(world, &pod);
        assert_answer(world->nodes[0].netns, "10.244.1.2", POD_PORT, false, "uid 192.168.77.1");
        assert_int_equal(count_pod_links(world, 0), 1);
    }
    pod_kill(&pod);
    world_free(world);
}

static void *serve_outside(void *arg)
{
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    int listener = *(int *)arg;
    for (;;) {
        int fd = accept(listener, (struct sockaddr *)&from, &length);
        if (fd < 0)
            return NULL;
        pod_answer(fd, &from, "outside", true);
        close(fd);
    }
}

/* Outside nobody knows pods: the node lends its address. Other nodes see the pod's own. */
static void test_outside(void **state UNUSED)
{
    struct world *world = start(false);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(POD_PORT)};
    struct pod pod = pod_start("uid", 0, "10.244.1.2");
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    pthread_t thread;
    attach(world, &pod);
    assert_int_equal(bind(listener, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(listen(listener, 5), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve_outside, &listener), 0);
    assert_answer(pod.netns, "192.168.77.254", POD_PORT, false, "outside 192.168.77.1");
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
    pod_kill(&pod);
    world_free(world);
}

/* A router lies between the nodes: pods reach each other through the tunnel, with their own addresses. */
static void test_routed(void **state UNUSED)
{
    struct world *world = start(true);
    struct pod a = pod_start("a", 0, "10.244.1.2"), b = pod_start("b", 1, "10.244.2.2");
    attach(world, &a);
    attach(world, &b);
    assert_true(netlink_link_exists(world->nodes[0].netns, "m8vx"));
    for (int udp = 0; udp < 2; udp++) {
        assert_answer(a.netns, "10.244.2.2", POD_PORT, udp, "b 10.244.1.2");
        assert_answer(b.netns, "10.244.1.2", POD_PORT, udp, "a 10.244.2.2");
        assert_answer(world->nodes[0].netns, "10.244.2.2", POD_PORT, udp, "b 10.244.1.1");
    }
    /* A second node behind the router: the first is reached as before. */
    struct net_peer peers[2] = {{.name = "node-2",
                                 .node_address = world->nodes[1].config.node_address,
                                 .pod_range = world->nodes[1].config.pod_range},
                                {.name = "node-3", .node_address = address_of("192.168.78.9")}};
    cidr("10.244.3.0/24", &peers[1].pod_range);
    ok(node_run((struct node_call){&world->nodes[0], call_peers, NULL, peers, 2}, ERR));
    assert_answer(a.netns, "10.244.2.2", POD_PORT, false, "b 10.244.1.2");
    /* The node is deleted: its route goes. */
    ok(node_run((struct node_call){&world->nodes[0], call_peers, NULL, NULL, 0}, ERR));
    struct ask ask = {.to = address_of("10.244.2.2"), .port = POD_PORT, .timeout_ms = 200};
    assert_int_not_equal(ask_from(a.netns, &ask), 0);
    pod_kill(&a);
    pod_kill(&b);
    world_free(world);
}

static int call_watch(struct node_call *call, struct err **err UNUSED)
{
    struct net *net = call->node->net;
    net->ops->watch(net, (net_lost *)(uintptr_t)call->count, (void *)(uintptr_t)call->items);
    return 0;
}

static int call_shell(struct node_call *call, struct err **err)
{
    return system(call->items) ? err_set(err, ERR_INTERNAL, "%s", (const char *)call->items) : 0;
}

static void shell(struct world *world, const char *command)
{
    ok(node_run((struct node_call){&world->nodes[0], call_shell, NULL, command, 0}, ERR));
}

struct heard {
    struct loop *loop;
    const char *what;
};

static void on_lost(void *arg, const char *what)
{
    struct heard *heard = arg;
    heard->what = what;
    loop_stop(heard->loop);
}

static void stop(void *arg)
{
    loop_stop(arg);
}

static const char *hear(struct heard *heard, int timeout_ms)
{
    struct loop_timer *timer = loop_timer_new(heard->loop, stop, heard->loop);
    heard->what = NULL;
    loop_timer_start(timer, timeout_ms);
    loop_run(heard->loop);
    loop_timer_free(timer);
    return heard->what;
}

/* What others take away is told, and made anew by the same calls; what is ours or does not concern us is not.
 */
static void test_taken_away(void **state UNUSED)
{
    static const char *const harmless[] = {
        "nft 'add table ip other; add set ip other s { type ipv4_addr; }; add element ip other s { 1.2.3.4 "
        "}'",
        "nft 'delete table ip other'",
        "ip route add 10.99.0.0/16 dev eth0 && ip route del 10.99.0.0/16",
        "ip address add 192.168.77.9/24 dev eth0 && ip address del 192.168.77.9/24 dev eth0",
    };
    static const char *const taken[] = {
        "nft 'delete table ip minik8s'",
        "nft 'flush ruleset'",
        "nft 'flush ruleset; add table ip minik8s'",
        "ip route del 10.244.2.0/24",
        "ip address del 192.168.77.1/24 dev eth0; ip address add 192.168.77.1/24 dev eth0",
        "ip link set eth0 down; ip link set eth0 up",
    };
    struct world *world = world_new(false);
    struct heard heard;
    log_set_level(LOG_ERROR);
    ok((heard.loop = loop_new(ERR)) ? 0 : -1);
    world->nodes[0].config.loop = heard.loop;
    world_setup_nodes(world);
    struct pod a = pod_start("a", 0, "10.244.1.2"), b = pod_start("b", 1, "10.244.2.2");
    struct net_endpoint endpoint = {b.address, POD_PORT};
    struct net_service_port port = {.address = address_of("10.96.0.10"),
                                    .protocol = IPPROTO_TCP,
                                    .port = 80,
                                    .endpoints = &endpoint,
                                    .n_endpoints = 1};
    const struct net_service service = {"default/web", &port, 1};
    struct net_peer peer = {.node_address = world->nodes[1].config.node_address,
                            .pod_range = world->nodes[1].config.pod_range};
    ok(node_run((struct node_call){&world->nodes[0], call_watch, NULL, &heard, (size_t)(uintptr_t)on_lost},
                ERR));
    services_all(world, 0, &service, 1);
    attach(world, &a);
    attach(world, &b);
    detach(world, &a);
    ok(node_run((struct node_call){&world->nodes[0], call_peers, NULL, NULL, 0}, ERR));
    for (size_t i = 0; i < COUNT_OF(harmless); i++)
        shell(world, harmless[i]);
    if (hear(&heard, 200))
        fail_msg("nothing was taken away, but: %s", heard.what);
    for (size_t i = 0; i <= COUNT_OF(taken); i++) {
        ok(node_run((struct node_call){.node = &world->nodes[0], .call = call_setup}, ERR));
        ok(node_run((struct node_call){&world->nodes[0], call_peers, NULL, &peer, 1}, ERR));
        attach(world, &a);
        assert_answer(a.netns, "10.244.2.2", POD_PORT, false, "b 10.244.1.2");
        assert_answer(a.netns, "10.96.0.10", 80, false, "b 10.244.1.2");
        if (hear(&heard, 100))
            fail_msg("repaired, but: %s", heard.what);
        if (i == COUNT_OF(taken))
            break;
        shell(world, taken[i]);
        if (!hear(&heard, 2000))
            fail_msg("not noticed: %s", taken[i]);
        while (hear(&heard, 50))
            ;
    }
    ok(node_run((struct node_call){&world->nodes[0], call_watch, NULL, NULL, 0}, ERR));
    pod_kill(&a);
    pod_kill(&b);
    world_free(world);
    loop_free(heard.loop);
}

/* The node got another address: the tunnel is made anew with it, and what fits is kept. */
static void test_tunnel_moves(void **state UNUSED)
{
    const struct in_addr first = address_of("192.168.77.1"), second = address_of("192.168.77.2");
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    ok(netlink_ensure_vxlan(-1, "m8vx", 109, first, 4789, 1450, ERR));
    unsigned index = if_nametoindex("m8vx");
    ok(netlink_ensure_vxlan(-1, "m8vx", 109, first, 4789, 1450, ERR));
    assert_int_equal(if_nametoindex("m8vx"), index);
    ok(netlink_ensure_vxlan(-1, "m8vx", 109, second, 4789, 1450, ERR));
    assert_int_equal(
        system("ip -d link show m8vx | grep 'id 109 local 192.168.77.2 .*dstport 4789' >/dev/null"), 0);
    ok(netlink_ensure_vxlan(-1, "m8vx", 110, second, 4790, 1450, ERR));
    assert_int_equal(
        system("ip -d link show m8vx | grep 'id 110 local 192.168.77.2 .*dstport 4790' >/dev/null"), 0);
}

static int count_everything(struct node_call *call, struct err **err)
{
    size_t *counts = (size_t *)call->items;
    auto_free char **links = netlink_list_links(-1, "", &counts[0], err);
    if (!links)
        return -1;
    FILE *routes = popen("ip route show table all; nft list ruleset", "re");
    counts[1] = 0;
    for (int c; (c = fgetc(routes)) != EOF;)
        counts[1] += c == '\n';
    return pclose(routes);
}

static void test_shutdown(void **state UNUSED)
{
    struct world *world = world_new(false);
    size_t before[2], after[2];
    ok(node_run((struct node_call){&world->nodes[0], count_everything, NULL, before, 0}, ERR));
    world_setup_nodes(world);
    struct pod pod = pod_start("uid", 0, "10.244.1.2");
    attach(world, &pod);
    ok(node_run((struct node_call){&world->nodes[0], count_everything, NULL, after, 0}, ERR));
    assert_int_not_equal(before[1], after[1]);
    ok(node_run((struct node_call){.node = &world->nodes[0], .call = call_shutdown}, ERR));
    ok(node_run((struct node_call){.node = &world->nodes[0], .call = call_shutdown}, ERR));
    ok(node_run((struct node_call){&world->nodes[0], count_everything, NULL, after, 0}, ERR));
    assert_memory_equal(before, after, sizeof before);
    pod_kill(&pod);
    world_free(world);
}

static void test_doctor(void **state UNUSED)
{
    auto_json list = net_linux_doctor();
    assert_true(cJSON_GetArraySize(list) >= 5);
    json_each (entry, list) {
        if (!json_bool(entry, "ok", false))
            fail_msg("%s: %s", json_string(entry, "check"), json_string(entry, "found"));
    }
}

/* A firewall that drops what is forwarded is told, with the command that lets pods through. */
static void test_doctor_firewall(void **state UNUSED)
{
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    assert_int_equal(
        system("nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward "
               "priority 0; policy drop; }; add table inet fw; add chain inet fw in { type filter "
               "hook input priority 0; policy drop; }; add chain inet fw out { type filter hook "
               "output priority 0; policy drop; }'"),
        0);
    for (int round = 0; round < 2; round++) {
        auto_json list = net_linux_doctor();
        int told = 0;
        json_each (entry, list) {
            const char *remedy = json_string(entry, "remedy"), *found = json_string(entry, "found");
            if (json_bool(entry, "ok", false))
                continue;
            told++;
            assert_non_null(
                strstr(found, told == 1 ? "chain FORWARD of table ip filter" : "chain in of table inet fw"));
            assert_int_equal(system(remedy), 0);
        }
        assert_int_equal(told, round ? 0 : 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attach),          cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_reuse),           cmocka_unit_test(test_repair),
        cmocka_unit_test(test_killed),          cmocka_unit_test(test_outside),
        cmocka_unit_test(test_routed),          cmocka_unit_test(test_shutdown),
        cmocka_unit_test(test_doctor),          cmocka_unit_test(test_taken_away),
        cmocka_unit_test(test_doctor_firewall), cmocka_unit_test(test_tunnel_moves),
    };
    return cmocka_run_group_tests_name("net pods", tests, NULL, NULL);
}
