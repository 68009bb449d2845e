/* cluster_network: creation, repetition, free ranges, traffic, cut and heal, nothing left behind. */
#include "cmd/minik8s/cluster_network.c"

#include "world.h"

#include <sys/stat.h>

static int setup(void **state UNUSED)
{
    assert_int_equal(unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount("none", "/mnt", "tmpfs", 0, NULL), 0);
    return 0;
}

static size_t count_links(void)
{
    size_t count;
    auto_free char **links = netlink_list_links(-1, "", &count, NULL);
    assert_non_null(links);
    return count;
}

/* A UDP datagram from one namespace reaches a socket in the other within the time. */
struct listener {
    int fd;
};

static int open_listener(void *arg, struct err **err UNUSED)
{
    struct listener *listener = arg;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(POD_PORT)};
    listener->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return bind(listener->fd, (struct sockaddr *)&any, sizeof any);
}

static bool reaches(int netns, struct in_addr to, const struct listener *listener)
{
    struct ask ask = {.to = to, .port = POD_PORT, .udp = true, .timeout_ms = 1};
    struct pollfd wait = {listener->fd, POLLIN, 0};
    char data[8];
    ask_from(netns, &ask);
    if (poll(&wait, 1, 300) <= 0)
        return false;
    assert_int_equal(recv(listener->fd, data, sizeof data, 0), 1);
    return true;
}

static void test_life(void **state UNUSED)
{
    struct cluster_network network, again, other, found;
    struct in_addr first, second, same;
    struct listener listener;
    size_t before = count_links();
    ok(cluster_network_create("/mnt/one", &network, ERR));
    ok(cluster_network_create("/mnt/one", &again, ERR));
    ok(cluster_network_create("/mnt/two", &other, ERR));
    assert_memory_equal(&network, &again, sizeof network);
    assert_int_not_equal(network.range.address.s_addr, other.range.address.s_addr);
    ok(cluster_network_find("/mnt/one", &found, ERR));
    assert_memory_equal(&network, &found, sizeof network);
    assert_true(cluster_network_find("/mnt/none", &found, NULL) < 0);

    ok(cluster_network_attach_node(&network, 1, "/mnt/ns1", &first, ERR));
    ok(cluster_network_attach_node(&network, 2, "/mnt/ns2", &second, ERR));
    ok(cluster_network_attach_node(&network, 2, "/mnt/ns2", &same, ERR));
    assert_int_equal(second.s_addr, same.s_addr);
    assert_true(cluster_network_attach_node(&network, 0, "/mnt/ns0", &same, NULL) < 0);
    assert_true(cluster_network_attach_node(&network, 251, "/mnt/ns0", &same, NULL) < 0);

    auto_fd ns1 = netns_open("/mnt/ns1", NULL), ns2 = netns_open("/mnt/ns2", NULL);
    assert_true(ns1 >= 0 && ns2 >= 0);
    ok(netns_run(ns2, open_listener, &listener, ERR));
    assert_true(reaches(ns1, second, &listener));
    assert_true(reaches(-1, second, &listener));
    ok(cluster_network_cut(&network, 2, ERR));
    assert_true(cluster_network_is_cut(&network, 2));
    assert_false(cluster_network_is_cut(&network, 1));
    assert_false(reaches(ns1, second, &listener));
    ok(cluster_network_heal(&network, 2, ERR));
    double begin = now_ms();
    while (!reaches(ns1, second, &listener))
        assert_true(now_ms() - begin < 2000);
    close(listener.fd);

    ok(cluster_network_detach_node(&network, 1, "/mnt/ns1", ERR));
    ok(cluster_network_detach_node(&network, 1, "/mnt/ns1", ERR));
    assert_false(file_exists("/mnt/ns1"));
    ok(cluster_network_destroy("/mnt/one", ERR));
    ok(cluster_network_destroy("/mnt/one", ERR));
    assert_true(netlink_link_exists(-1, other.bridge));
    ok(cluster_network_destroy("/mnt/two", ERR));
    ok(netns_delete("/mnt/ns2", ERR));
    assert_int_equal(count_links(), before);
}

/* A crash between any two steps leaves what the next attempt repairs. */
static void test_repair(void **state UNUSED)
{
    struct cluster_network network;
    struct in_addr address;
    char link[16];
    ok(cluster_network_create("/mnt/three", &network, ERR));
    name_link(&network, 1, link);
    ok(cluster_network_attach_node(&network, 1, "/mnt/ns3", &address, ERR));
    ok(netlink_delete_link(-1, link, ERR)); /* the pair is gone, the namespace is there */
    ok(cluster_network_attach_node(&network, 1, "/mnt/ns3", &address, ERR));
    ok(netns_delete("/mnt/ns3", ERR)); /* the namespace is gone, the pair perhaps not yet */
    ok(cluster_network_attach_node(&network, 1, "/mnt/ns3", &address, ERR));
    ok(netns_delete("/mnt/ns3", ERR));
    close(open("/mnt/ns3", O_CREAT | O_RDONLY, 0444)); /* killed between creating the file and mounting */
    ok(cluster_network_attach_node(&network, 1, "/mnt/ns3", &address, ERR));
    ok(cluster_network_detach_node(&network, 1, "/mnt/ns3", ERR));
    ok(cluster_network_destroy("/mnt/three", ERR));
}

/* Nodes reach what the VM reaches; afterwards the VM is as it was. */
static void test_outside(void **state UNUSED)
{
    struct cluster_network network;
    struct in_addr address;
    struct listener listener;
    struct net_cidr far_range, near_range;
    char now[8] = "";
    assert_int_equal(mkdir("/mnt/four", 0755), 0);
    /* an outside that does not know the cluster */
    ok(netns_create("/mnt/far", ERR));
    auto_fd far = netns_open("/mnt/far", NULL);
    ok(netlink_ensure_veth(-1, "uplink", far, "eth0", 0, ERR));
    cidr("172.31.0.1/24", &near_range);
    cidr("172.31.0.2/24", &far_range);
    ok(netlink_ensure_address(-1, "uplink", &near_range, ERR));
    ok(netlink_ensure_address(far, "eth0", &far_range, ERR));
    ok(netns_run(far, open_listener, &listener, ERR));

    ok(cluster_network_create("/mnt/four", &network, ERR));
    ok(cluster_network_attach_node(&network, 1, "/mnt/ns4", &address, ERR));
    auto_fd node = netns_open("/mnt/ns4", NULL);
    assert_false(reaches(node, far_range.address, &listener));
    for (int i = 0; i < 2; i++)
        ok(cluster_network_open_outside(&network, "/mnt/four", ERR));
    assert_true(reaches(node, far_range.address, &listener));
    ok(cluster_network_detach_node(&network, 1, "/mnt/ns4", ERR));
    ok(cluster_network_destroy("/mnt/four", ERR));
    auto_fd sysctl = open("/proc/sys/net/ipv4/ip_forward", O_RDONLY);
    assert_int_equal(read(sysctl, now, sizeof now), 2);
    assert_string_equal(now, "0\n");
    assert_false(file_exists("/mnt/four/ip_forward"));
    close(listener.fd);
    ok(netlink_delete_link(-1, "uplink", ERR));
    ok(netns_delete("/mnt/far", ERR));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_life), cmocka_unit_test(test_repair),
                                       cmocka_unit_test(test_outside)};
    return cmocka_run_group_tests_name("cluster network", tests, setup, NULL);
}
