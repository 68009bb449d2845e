/*
 * world: two nodes, their pods and an outsider for the network tests, all real: network namespaces joined by
 * a bridge. Everything lives in a network and a mount namespace of the test program and in children that die
 * with it, so that a killed run leaves nothing.
 */
#ifndef M8_TEST_NET_WORLD_H
#define M8_TEST_NET_WORLD_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "net/net.h"

#define NODES 2
#define POD_PORT 8080

struct pod {
    char uid[48];
    int pid, netns, node;
    struct in_addr address;
};

struct node {
    int netns;
    char *directory;
    struct net_config config;
    struct net *net;
};

struct world {
    char directory[48];
    bool routed; /* the nodes are on different networks, the outsider is the router between them */
    struct node nodes[NODES];
};

#define ok(call)                                                                                             \
    do {                                                                                                     \
        struct err *call_error = NULL;                                                                       \
        if ((call) < 0)                                                                                      \
            fail_msg("%s: %s", #call, err_message(call_error));                                              \
    } while (0)
#define ERR (&call_error)

static inline struct in_addr address_of(const char *text)
{
    struct in_addr address = {0};
    assert_int_equal(inet_pton(AF_INET, text, &address), 1);
    return address;
}

static inline double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* ---- pods: a child that answers "UID CLIENT-ADDRESS" on TCP and UDP port 8080 ---- */

static inline void pod_answer(int fd, const struct sockaddr_in *from, const char *uid, bool tcp)
{
    char text[128];
    int length = snprintf(text, sizeof text, "%s %s", uid, inet_ntoa(from->sin_addr));
    if (tcp)
        send(fd, text, (size_t)length, MSG_NOSIGNAL);
    else
        sendto(fd, text, (size_t)length, 0, (const struct sockaddr *)from, sizeof *from);
}

static inline void pod_serve(const char *uid, int ready)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(POD_PORT)};
    int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(tcp, (struct sockaddr *)&any, sizeof any) || bind(udp, (struct sockaddr *)&any, sizeof any) ||
        listen(tcp, 512) || write(ready, "r", 1) != 1)
        _exit(1);
    close(ready);
    struct pollfd fds[2] = {{tcp, POLLIN, 0}, {udp, POLLIN, 0}};
    for (;;) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        char data[64];
        poll(fds, 2, -1);
        if (fds[0].revents) {
            int fd = accept(tcp, (struct sockaddr *)&from, &length);
            pod_answer(fd, &from, uid, true);
            close(fd);
        }
        length = sizeof from;
        if (fds[1].revents && recvfrom(udp, data, sizeof data, 0, (struct sockaddr *)&from, &length) >= 0)
            pod_answer(udp, &from, uid, false);
    }
}

/* Starts the process in a namespace of its own; not attached. */
static inline struct pod pod_start(const char *uid, int node, const char *address)
{
    struct pod pod = {.node = node, .address = address_of(address)};
    int ready[2];
    char byte;
    snprintf(pod.uid, sizeof pod.uid, "%s", uid);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pod.pid = fork();
    assert_true(pod.pid >= 0);
    if (pod.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWNET) < 0)
            _exit(1);
        close(ready[0]);
        pod_serve(uid, ready[1]);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    auto_free char *path = mem_printf("/proc/%d/ns/net", pod.pid);
    ok(pod.netns = netns_open(path, ERR));
    return pod;
}

static inline void pod_kill(struct pod *pod)
{
    kill(pod->pid, SIGKILL);
    waitpid(pod->pid, NULL, 0);
    close(pod->netns);
}

/* ---- operations on a node's network run inside its namespace ---- */

struct node_call {
    struct node *node;
    int (*call)(struct node_call *call, struct err **err);
    const struct pod *pod;
    const void *items;
    size_t count;
};

static inline int node_call_run(void *arg, struct err **err)
{
    struct node_call *call = arg;
    return call->call(call, err);
}

static inline int node_run(struct node_call call, struct err **err)
{
    return netns_run(call.node->netns, node_call_run, &call, err);
}

static inline int call_setup(struct node_call *call, struct err **err)
{
    if (!call->node->net)
        call->node->net = net_linux_new(&call->node->config, err);
    return call->node->net ? call->node->net->ops->setup(call->node->net, err) : -1;
}
static inline int call_attach(struct node_call *call, struct err **err)
{
    struct net_pod pod = {call->pod->uid, call->pod->pid, call->pod->address};
    return call->node->net->ops->pod_attach(call->node->net, &pod, err);
}
static inline int call_detach(struct node_call *call, struct err **err)
{
    return call->node->net->ops->pod_detach(call->node->net, call->pod->uid, call->pod->address, err);
}
static inline int call_keep(struct node_call *call, struct err **err)
{
    return call->node->net->ops->pods_keep(call->node->net, call->items, call->count, err);
}
static inline int call_services(struct node_call *call, struct err **err)
{
    return call->node->net->ops->services(call->node->net, call->items, call->count, err);
}
static inline int call_services_all(struct node_call *call, struct err **err)
{
    return call->node->net->ops->services_all(call->node->net, call->items, call->count, err);
}
static inline int call_peers(struct node_call *call, struct err **err)
{
    return call->node->net->ops->peers(call->node->net, NET_ROUTING_AUTO, call->items, call->count, err);
}
static inline int call_shutdown(struct node_call *call, struct err **err)
{
    return net_linux_shutdown(&call->node->config, err);
}

static inline void attach(struct world *world, struct pod *pod)
{
    ok(node_run((struct node_call){.node = &world->nodes[pod->node], .call = call_attach, .pod = pod}, ERR));
}
static inline void detach(struct world *world, struct pod *pod)
{
    ok(node_run((struct node_call){.node = &world->nodes[pod->node], .call = call_detach, .pod = pod}, ERR));
}
static inline void services(struct world *world, int node, const struct net_service *items, size_t count)
{
    ok(node_run((struct node_call){&world->nodes[node], call_services, NULL, items, count}, ERR));
}
static inline void services_all(struct world *world, int node, const struct net_service *items, size_t count)
{
    ok(node_run((struct node_call){&world->nodes[node], call_services_all, NULL, items, count}, ERR));
}

/* ---- clients ---- */

struct ask {
    struct in_addr to;
    uint16_t port;
    bool udp;
    uint16_t from_port; /* 0: any */
    int timeout_ms;
    char answer[128];
    int error; /* errno, ETIMEDOUT after the timeout */
};

static inline int ask_call(void *arg, struct err **err UNUSED)
{
    struct ask *ask = arg;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(ask->port), .sin_addr = ask->to};
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(ask->from_port)};
    int fd = socket(AF_INET, (ask->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    int timeout = ask->timeout_ms ? ask->timeout_ms : 2000;
    socklen_t length = sizeof ask->error;
    ssize_t got = -1;
    ask->error = 0;
    ask->answer[0] = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ask->from_port && bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
        ask->error = errno;
    else if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        ask->error = errno;
    struct pollfd wait = {fd, POLLOUT, 0};
    if (!ask->error && !ask->udp && poll(&wait, 1, timeout) <= 0)
        ask->error = ETIMEDOUT;
    if (!ask->error)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &ask->error, &length);
    if (!ask->error && ask->udp && send(fd, "?", 1, 0) < 0)
        ask->error = errno;
    wait.events = POLLIN;
    if (!ask->error && poll(&wait, 1, timeout) <= 0)
        ask->error = ETIMEDOUT;
    if (!ask->error && (got = recv(fd, ask->answer, sizeof ask->answer - 1, 0)) < 0)
        ask->error = errno;
    if (got >= 0)
        ask->answer[got] = 0;
    close(fd);
    return 0;
}

/* From the namespace; returns errno, the answer in *ask. */
static inline int ask_from(int netns, struct ask *ask)
{
    ok(netns_run(netns, ask_call, ask, ERR));
    return ask->error;
}

static inline void assert_answer(int netns, const char *to, uint16_t port, bool udp, const char *expected)
{
    struct ask ask = {.to = address_of(to), .port = port, .udp = udp};
    if (ask_from(netns, &ask))
        fail_msg("%s:%u %s: %s", to, port, udp ? "udp" : "tcp", strerror(ask.error));
    assert_string_equal(ask.answer, expected);
}

/* ---- the world ---- */

static inline void cidr(const char *text, struct net_cidr *out)
{
    ok(net_cidr_parse(text, out, ERR));
}

static inline void world_node(struct world *world, int index)
{
    struct node *node = &world->nodes[index];
    auto_free char *path = mem_printf("%s/netns%d", world->directory, index);
    auto_free char *link = mem_printf("node%d", index);
    int lan = world->routed ? index : 0;
    auto_free char *bridge = mem_printf("lan%d", lan);
    auto_free char *gateway = mem_printf("192.168.%d.254", 77 + lan);
    auto_free char *outside_text = mem_printf("%s/24", gateway);
    auto_free char *address = mem_printf("192.168.%d.%d/24", 77 + lan, index + 1);
    auto_free char *range = mem_printf("10.244.%d.0/24", index + 1);
    struct net_cidr own, outside;
    const struct net_cidr everything = {{0}, 0};
    ok(netns_create(path, ERR));
    ok(node->netns = netns_open(path, ERR));
    ok(netlink_ensure_veth(-1, link, node->netns, "eth0", 0, ERR));
    ok(netlink_ensure_bridge(-1, bridge, 0, ERR));
    cidr(outside_text, &outside);
    ok(netlink_ensure_address(-1, bridge, &outside, ERR));
    ok(netlink_set_master(-1, link, bridge, false, ERR));
    cidr(address, &own);
    ok(netlink_ensure_address(node->netns, "eth0", &own, ERR));
    ok(netlink_ensure_route(node->netns, &everything, address_of(gateway), NULL, ERR));
    node->directory = mem_printf("%s/%d", world->directory, index);
    node->config = (struct net_config){.directory = node->directory,
                                       .table = "minik8s",
                                       .bridge = "m8pods",
                                       .node_address = own.address,
                                       .cluster_domain = "cluster.local"};
    cidr(range, &node->config.pod_range);
    cidr("10.244.0.0/16", &node->config.cluster_range);
    cidr("10.96.0.0/16", &node->config.service_range);
}

static inline struct world *world_new(bool routed)
{
    struct world *world = NEW(struct world);
    world->routed = routed;
    assert_int_equal(unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount("none", "/mnt", "tmpfs", 0, NULL), 0); /* goes with the mount namespace */
    snprintf(world->directory, sizeof world->directory, "/mnt");
    ok(netlink_set_up(-1, "lo", true, ERR));
    for (int i = 0; i < NODES; i++)
        world_node(world, i);
    if (!routed)
        return world;
    ok(net_sysctl(-1, "net/ipv4/ip_forward", "1", ERR));
    ok(net_sysctl(-1, "net/ipv4/conf/all/rp_filter", "1", ERR)); /* as routers of clouds: no pod's address */
    for (int i = 0; i < NODES; i++)
        ok(net_sysctl(world->nodes[i].netns, "net/ipv4/conf/all/rp_filter", "1", ERR));
    return world;
}

static inline void world_setup_nodes(struct world *world)
{
    for (int i = 0; i < NODES; i++) {
        const struct node *other = &world->nodes[1 - i];
        struct net_peer peer = {.node_address = other->config.node_address,
                                .pod_range = other->config.pod_range};
        snprintf(peer.name, sizeof peer.name, "node-%d", 2 - i);
        ok(node_run((struct node_call){.node = &world->nodes[i], .call = call_setup}, ERR));
        ok(node_run((struct node_call){&world->nodes[i], call_peers, NULL, &peer, 1}, ERR));
    }
}

static inline void world_free(struct world *world)
{
    for (int i = 0; i < NODES; i++) {
        auto_free char *path = mem_printf("%s/netns%d", world->directory, i);
        if (world->nodes[i].net)
            world->nodes[i].net->ops->free(world->nodes[i].net);
        free(world->nodes[i].directory);
        close(world->nodes[i].netns);
        netns_delete(path, NULL);
    }
    umount2(world->directory, MNT_DETACH);
    free(world);
}

#endif
