/*
 * doctor: whether this machine can do what the network needs, tried out in a network namespace of its own
 * (which ends with its thread), so that nothing of the machine changes.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "net/net_internal.h"

#define POD_RANGE "10.244.0.0/16" /* of a cluster that says no other */

static void add_check(cJSON *list, const char *check, bool ok, const char *found, const char *remedy)
{
    cJSON *entry = json_push(list, cJSON_CreateObject());
    json_set_string(entry, "check", check);
    json_set_bool(entry, "ok", ok);
    json_set_string(entry, "found", found);
    if (!ok)
        json_set_string(entry, "remedy", remedy);
}

/* Takes the error; false if there is one. */
static void add_result(cJSON *list, const char *check, struct err *error, const char *remedy)
{
    add_check(list, check, !error, error ? err_message(error) : "works", remedy);
    err_free(error);
}

static int try_links(struct err **err)
{
    const struct net_cidr address = {{htonl(0x0a000001)}, 24};
    if (netlink_ensure_veth(-1, "m8doctor0", -1, "m8doctor1", 0, err) < 0 ||
        netlink_ensure_bridge(-1, "m8doctor", 0, err) < 0)
        return -1;
    return netlink_ensure_address(-1, "m8doctor", &address, err);
}

static int try_table(struct err **err)
{
    struct net_config config = {.table = "m8doctor"};
    struct str text = {0};
    net_cidr_parse("10.244.1.0/24", &config.pod_range, NULL);
    net_cidr_parse(POD_RANGE, &config.cluster_range, NULL);
    net_cidr_parse("10.96.0.0/16", &config.service_range, NULL);
    nft_base_render(&text, &config);
    struct nft *nft = nft_new(config.table, err);
    int result = nft ? nft_run(nft, str_c(&text), err) : -1;
    nft_free(nft);
    str_free(&text);
    return result;
}

static void *check_kernel(void *data)
{
    cJSON *list = data;
    struct err *error = NULL;
    if (unshare(CLONE_NEWNET) < 0) {
        err_errno(&error, errno, "creating a network namespace");
        add_result(list, "network namespaces", error, "run as root with CAP_SYS_ADMIN and CAP_NET_ADMIN");
        return NULL;
    }
    add_check(list, "network namespaces", true, "works", NULL);
    try_links(&error);
    add_result(list, "veth and bridge links", error, "modprobe veth bridge");
    error = NULL;
    netlink_ensure_vxlan(-1, "m8doctorvx", NET_VXLAN_ID, (struct in_addr){htonl(0x0a000001)}, NET_VXLAN_PORT,
                         0, &error);
    add_result(list, "VXLAN (only for nodes behind routers)", error, "modprobe vxlan");
    error = NULL;
    try_table(&error);
    add_result(
        list, "nftables with NAT, maps, fib and reject", error,
        "a kernel of 5.9 or newer; modprobe nf_tables nft_chain_nat nft_fib_ipv4 nft_reject_ipv4 nft_numgen "
        "nft_hash nf_conntrack_netlink");
    error = NULL;
    net_sysctl(-1, "net/ipv4/ip_forward", "1", &error);
    add_result(list, "forwarding can be turned on", error, "/proc/sys must be writable");
    return NULL;
}

/* Of the machine itself, where a firewall may keep pods from each other. */
static void check_firewall(cJSON *list)
{
    static const char *const check = "no firewall drops what pods send";
    struct err *error = NULL;
    auto_nl nl = {0};
    auto_json chains =
        nl_open(&nl, NETLINK_NETFILTER, -1, &error) < 0 ? NULL : nft_foreign_drops(&nl, &error);
    json_each (chain, chains) {
        bool input = str_eq(json_string(chain, "hook"), "input");
        auto_free char *found =
            mem_printf("chain %s of table %s %s drops what %s unless a rule accepts it%s",
                       json_string(chain, "chain"), json_string(chain, "family"), json_string(chain, "table"),
                       input ? "comes to this machine" : "is forwarded",
                       input ? "; other nodes come to TCP 10250 and, by VXLAN, UDP 4789" : "");
        auto_free char *remedy = nft_foreign_remedy(chain, POD_RANGE);
        add_check(list, check, false, found, remedy);
    }
    if (!chains || !chains->child)
        add_result(list, check, error, "run as root with CAP_NET_ADMIN");
}

/* A new agent takes the sockets of proxies and name servers over from the process that holds them. */
static void try_taking(struct err **err)
{
    auto_fd process = (int)syscall(SYS_pidfd_open, getpid(), 0);
    auto_fd fd = process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, STDERR_FILENO, 0);
    if (fd < 0)
        err_errno(err, errno, "copying a descriptor of a process");
}

static bool in_path(const char *program)
{
    const char *path = getenv("PATH");
    size_t count;
    auto_free char **folders = str_split(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin", ':', &count);
    for (size_t i = 0; i < count; i++) {
        auto_free char *file = file_join(folders[i], program);
        if (access(file, X_OK) == 0)
            return true;
    }
    return false;
}

cJSON *net_linux_doctor(void)
{
    cJSON *list = cJSON_CreateArray();
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, check_kernel, list);
    if (failed)
        add_check(list, "threads", false, strerror(failed), "raise the limit of processes");
    else
        pthread_join(thread, NULL);
    check_firewall(list);
    struct err *error = NULL;
    try_taking(&error);
    add_result(list, "sockets outlive their servers", error, "a kernel of 5.6 or newer, CAP_SYS_PTRACE");
    bool proxy = in_path("haproxy");
    add_check(list, "haproxy for Ingress", proxy, proxy ? "found" : "not in PATH", "apt-get install haproxy");
    return list;
}
