/*
 * bench_endpoints: how long a change of a Service's endpoints takes to reach the kernel of the last node.
 *
 *   bench_endpoints CLUSTER-FOLDER NODES SERVICES CHANGES
 *
 * Makes SERVICES Services with an EndpointSlice each (no selector: nobody else writes them), waits until
 * every node's kernel is quiet, then replaces the endpoint of one slice after the other. From sending the
 * request (validation, fsync and the answer included) to the commit of the last node's nftables transaction,
 * seen by its netlink notification in that node's network namespace. Prints lines "sample NAME VALUE".
 */
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>

#include "base/file.h"
#include "load.c"

#define MAX_NODES 16
#define QUIET_MS 1500
#define CHANGE_TIMEOUT_MS 5000

struct bench {
    struct load load;
    int wanted_status;
    int kernels[MAX_NODES];
    int n_nodes;
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
    load_send(b->load.connections, method, target, body, strlen(body));
    load_run(&b->load);
}

/* A socket that hears of every nftables transaction in the node's network namespace. */
static int open_kernel(const char *folder, int number)
{
    auto_free char *path = mem_printf("%s/nodes/node-%d/netns", folder, number);
    auto_fd here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there = open(path, O_RDONLY | O_CLOEXEC);
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1u << (NFNLGRP_NFTABLES - 1)};
    int size = 1 << 24;
    if (here < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0)
        load_fail("entering %s: %m", path);
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        load_fail("listening to the kernel of node-%d: %m", number);
    if (setns(here, CLONE_NEWNET) < 0)
        load_fail("coming back: %m");
    return fd;
}

/* True if one of the messages ends a transaction. */
static bool read_commit(int fd)
{
    _Alignas(struct nlmsghdr) char data[65536];
    ssize_t got = recv(fd, data, sizeof(data), 0);
    bool commit = false;
    for (const struct nlmsghdr *at = (const void *)data; got > 0 && NLMSG_OK(at, (size_t)got);
         at = NLMSG_NEXT(at, got))
        commit |= at->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN);
    return commit;
}

static void wait_quiet(const struct bench *b)
{
    struct pollfd fds[MAX_NODES];
    for (int i = 0; i < b->n_nodes; i++)
        fds[i] = (struct pollfd){b->kernels[i], POLLIN, 0};
    while (poll(fds, (nfds_t)b->n_nodes, QUIET_MS) > 0)
        for (int i = 0; i < b->n_nodes; i++)
            if (fds[i].revents)
                read_commit(fds[i].fd);
}

/* Until every node's kernel has committed something; fds that have are left out. */
static void wait_all(const struct bench *b)
{
    struct pollfd fds[MAX_NODES];
    int left = b->n_nodes;
    for (int i = 0; i < b->n_nodes; i++)
        fds[i] = (struct pollfd){b->kernels[i], POLLIN, 0};
    while (left) {
        if (poll(fds, (nfds_t)b->n_nodes, CHANGE_TIMEOUT_MS) <= 0)
            load_fail("%d nodes have not followed within %d ms", left, CHANGE_TIMEOUT_MS);
        for (int i = 0; i < b->n_nodes; i++) {
            if (!fds[i].revents || !read_commit(fds[i].fd))
                continue;
            fds[i].fd = -1;
            left--;
        }
    }
}

static void make_service(struct bench *b, int i)
{
    auto_free char *service =
        mem_printf("{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"bench-%d\"},"
                   "\"spec\":{\"ports\":[{\"port\":80}]}}",
                   i);
    request(b, "POST", "/api/v1/namespaces/default/services", service, 201);
    auto_free char *slice = mem_printf(
        "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":"
        "\"bench-%d\",\"labels\":{\"kubernetes.io/service-name\":\"bench-%d\"}},\"addressType\":"
        "\"IPv4\",\"endpoints\":[{\"addresses\":[\"10.244.200.1\"]}],\"ports\":[{\"port\":80}]}",
        i, i);
    request(b, "POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice, 201);
}

static void delete_service(struct bench *b, int i)
{
    auto_free char *slice =
        mem_printf("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/bench-%d", i);
    auto_free char *service = mem_printf("/api/v1/namespaces/default/services/bench-%d", i);
    request(b, "DELETE", slice, "", 200);
    request(b, "DELETE", service, "", 200);
}

/* No content type can be given to load_send, so the change is a complete object. */
static int64_t change(struct bench *b, int service, int number)
{
    auto_free char *target =
        mem_printf("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/bench-%d", service);
    auto_free char *slice = mem_printf(
        "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":"
        "\"bench-%d\",\"labels\":{\"kubernetes.io/service-name\":\"bench-%d\"}},\"addressType\":"
        "\"IPv4\",\"endpoints\":[{\"addresses\":[\"10.244.%d.%d\"]}],\"ports\":[{\"port\":80}]}",
        service, service, 201 + number / 250 % 50, 1 + number % 250);
    int64_t begin = load_now();
    request(b, "PUT", target, slice, 200);
    wait_all(b);
    return load_now() - begin;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    if (argc != 5)
        load_fail("usage: bench_endpoints CLUSTER-FOLDER NODES SERVICES CHANGES");
    int services = atoi(argv[3]), changes = atoi(argv[4]);
    b.n_nodes = atoi(argv[2]);
    if (b.n_nodes < 1 || b.n_nodes > MAX_NODES || services < 1 || changes < 1)
        load_fail("1 to %d nodes, at least one Service and one change", MAX_NODES);
    auto_free char *kubeconfig = file_join(argv[1], "kubeconfig");
    load_init(&b.load, kubeconfig);
    b.load.arg = &b;
    b.load.done = on_done;
    load_connect(&b.load, 1);
    for (int i = 0; i < services; i++)
        make_service(&b, i);
    for (int i = 0; i < b.n_nodes; i++)
        b.kernels[i] = open_kernel(argv[1], i + 1);
    wait_quiet(&b);
    auto_free int64_t *samples = mem_array((size_t)changes, sizeof(*samples));
    for (int i = 0; i < changes; i++)
        samples[i] = change(&b, i % services, i);
    qsort(samples, (size_t)changes, sizeof(*samples), by_value);
    printf("sample endpoints_p50_ms %.3f\nsample endpoints_p99_ms %.3f\n", (double)samples[changes / 2] / 1e6,
           (double)samples[(changes - 1) * 99 / 100] / 1e6);
    for (int i = 0; i < services; i++)
        delete_service(&b, i);
    for (int i = 0; i < b.n_nodes; i++)
        close(b.kernels[i]);
    load_fini(&b.load);
    return 0;
}
