/*
 * cluster_names: names of the cluster in this machine's own shell, and this machine's resolvers for the
 * nodes.
 *
 * Two name servers run here at the bridge's address, from the same sockets, each looking after the other
 * (resolver.c): names of the cluster from the first node's
 * folder, everything else from the resolvers of this machine. The nodes' name servers ask it for names from
 * outside. If this machine's /etc/resolv.conf is not another cluster's already, it is changed to ask it
 * first, and Service addresses are led to the first node.
 *
 * Invariant: a changed resolv.conf holds what was there before (another cluster's change, if its names were
 * taken from it) and whose it is, so that any `down`, also one after a kill, can put it back, byte for byte.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "cluster.h"
#include "loop/helper.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define OWNER "# minik8s cluster "
#define WAS "# minik8s-was "
#define UPSTREAM "# minik8s-upstream "
#define MAX_FILE 65536
#define STOP_GRACE_MS 3000
#define STAYS_MS 150
#define STARTS_MAX 40

static const char *const resolvers[] = {"resolver", "resolver-2"};

static char *host_address(const struct cluster *cluster)
{
    char text[INET_ADDRSTRLEN];
    return mem_strdup(inet_ntop(AF_INET, &cluster->network.host, text, sizeof(text)));
}

/* ---- /etc/resolv.conf ---- */

/* In place: it may be a mount of its own. */
static int write_in_place(const char *text, size_t len, struct err **err)
{
    auto_fd fd = open(RESOLV_CONF, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, errno, "%s", RESOLV_CONF);
    if (pwrite(fd, text, len, 0) != (ssize_t)len || ftruncate(fd, (off_t)len) < 0)
        return err_errno(err, errno, "writing %s", RESOLV_CONF);
    return 0;
}

/* The cluster's folder that a changed file names, or NULL; caller frees. */
static char *owner_of(const char *text)
{
    return str_starts(text, OWNER)
               ? mem_strndup(text + sizeof(OWNER) - 1, strcspn(text + sizeof(OWNER) - 1, "\n"))
               : NULL;
}

/* What was there before; caller frees, NULL: the file does not say. */
static char *before(const char *text, size_t *len)
{
    const char *at = strstr(text, "\n" WAS);
    unsigned char *was = NULL;
    if (!at)
        return NULL;
    at += sizeof(WAS);
    return str_unbase64(at, strcspn(at, "\n"), &was, len) < 0 ? NULL : (char *)was;
}

static bool is_alive(const char *owner)
{
    auto_free char *state = file_join(owner, "cluster.json");
    return file_exists(state);
}

/* What is below the changes of clusters that are no more (all: of every cluster); takes text. */
static char *unwrap(char *text, size_t *len, bool all)
{
    for (;;) {
        auto_free char *owner = owner_of(text);
        char *below = owner && (all || !is_alive(owner)) ? before(text, len) : NULL;
        if (!below)
            return text;
        free(text);
        text = below;
    }
}

/* Ours first, then what was there, also in a form that can be put back. */
static void render(const struct cluster *cluster, const char *present, size_t len, struct str *out)
{
    size_t root_len = len;
    auto_free char *address = host_address(cluster), *was = str_base64(present, len);
    auto_free char *root = unwrap(mem_strdup(present), &root_len, true);
    str_addf(out, OWNER "%s\n# `minik8s cluster down` puts back what was here.\nnameserver %s\n%s%s",
             cluster->directory, address, root, root_len && root[root_len - 1] != '\n' ? "\n" : "");
    char *rest = NULL;
    for (char *line = strtok_r(root, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (str_starts(line, "nameserver "))
            str_addf(out, UPSTREAM "%s\n", line + 11);
    str_addf(out, WAS "%s\n", was);
}

/* Two clusters that begin or end at the same time. */
static int lock_file(struct err **err)
{
    int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX) == 0)
        return fd;
    err_errno(err, errno, "locking %s", RESOLV_CONF);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* What is there if the file is free to take (nobody's, ours, or of a cluster that is no more), or by force;
 * else NULL. */
static char *present_of(const struct cluster *cluster, bool force, size_t *len)
{
    char *text = NULL;
    *len = 0;
    if (file_read(RESOLV_CONF, MAX_FILE, &text, len, NULL) < 0)
        return mem_strdup("");
    text = unwrap(text, len, false);
    auto_free char *owner = owner_of(text);
    if (!owner)
        return text;
    char *own = str_eq(owner, cluster->directory) ? before(text, len) : NULL;
    if (!own && force)
        return text;
    free(text);
    return own;
}

static int take(const struct cluster *cluster, bool force, bool *taken, struct err **err)
{
    size_t len = 0;
    auto_fd lock = lock_file(err);
    if (lock < 0)
        return -1;
    auto_free char *present = present_of(cluster, force, &len);
    *taken = present != NULL;
    if (!present)
        return 0;
    auto_str text = {0};
    render(cluster, present, len, &text);
    return write_in_place(text.data, text.len, err);
}

int cluster_names_release(const char *directory, struct err **err)
{
    size_t len = 0;
    auto_free char *text = NULL;
    auto_fd lock = lock_file(err);
    if (lock < 0)
        return -1;
    if (file_read(RESOLV_CONF, MAX_FILE, &text, NULL, NULL) < 0)
        return 0;
    auto_free char *owner = owner_of(text);
    char *was = str_eq(owner, directory) ? before(text, &len) : NULL;
    if (!was)
        return 0;
    auto_free char *present = unwrap(was, &len, false);
    return write_in_place(present, len, err);
}

/* ---- the name server ---- */

static char *pid_file_of(const struct cluster *cluster, unsigned index)
{
    return cluster_path(cluster, "%s.pid", resolvers[index]);
}

/* Not by its path below nodes/: what has that on its command line ends with the node. */
static int link_names(const struct cluster *cluster, const char *link, struct err **err)
{
    auto_free char *names = cluster_path(cluster, "nodes/node-1/network/names");
    if (file_make_dirs(names, 0755, err) < 0)
        return -1;
    if (symlink("nodes/node-1/network/names", link) < 0 && errno != EEXIST)
        return err_errno(err, errno, "%s", link);
    return 0;
}

char *cluster_names_upstream(const struct cluster *cluster, struct err **err)
{
    auto_free char *path = cluster_path(cluster, "resolv.conf"), *address = host_address(cluster);
    auto_free char *text = mem_printf("nameserver %s\n", address);
    if (file_write_atomic(path, text, strlen(text), 0644, err) < 0)
        return NULL;
    return steal(&path);
}

int cluster_names_start(const struct cluster *cluster, struct err **err)
{
    auto_free char *link = cluster_path(cluster, "names"), *address = host_address(cluster);
    auto_free char *program = cluster_own_program(), *log = cluster_path(cluster, "%s.log", resolvers[0]);
    auto_free char *pid_file = pid_file_of(cluster, 0), *twin = pid_file_of(cluster, 1);
    const char *const argv[] = {
        program,         "resolver",  "--names",    link,
        "--address",     address,     "--pods",     json_string_or(cluster->state, "podRange", ""),
        "--resolv-conf", RESOLV_CONF, "--pid-file", pid_file,
        "--twin",        twin,        NULL};
    if (link_names(cluster, link, err) < 0)
        return -1;
    struct loop *loop = loop_new(err);
    const struct helper_options options = {
        .name = resolvers[0], .argv = argv, .pid_file = pid_file, .log_path = log, .loop = loop};
    struct helper *helper = loop ? helper_new(&options, err) : NULL; /* one that runs is adopted */
    bool started = helper != NULL;
    helper_free(helper);
    loop_free(loop);
    return started ? 0 : -1;
}

int cluster_names_stop(const struct cluster *cluster, struct err **err)
{
    auto_free char *link = cluster_path(cluster, "names");
    if (unlink(link) < 0 && errno != ENOENT) /* without it none starts the other again */
        return err_errno(err, errno, "removing %s", link);
    for (unsigned i = 0; i < COUNT_OF(resolvers); i++) {
        auto_free char *pid_file = pid_file_of(cluster, i);
        if (helper_terminate(pid_file, STOP_GRACE_MS, err) < 0)
            return -1;
    }
    return 0;
}

/* When both were killed, one may just have started the other: that one holds the address but is not noted
 * yet, and ours ends at once. So the one that is noted must stay; else it is started again. */
static int await_name_server(const struct cluster *cluster, struct err **err)
{
    auto_err last = NULL;
    const struct timespec pause = {.tv_nsec = STAYS_MS * 1000000l};
    pid_t before = 0;
    for (int i = 0; i < STARTS_MAX; i++) {
        pid_t pid = cluster_process_pid(cluster, resolvers[0]);
        if (pid && pid == before)
            return 0;
        if (!pid) {
            err_free(steal(&last));
            cluster_names_start(cluster, &last);
        }
        before = pid;
        nanosleep(&pause, NULL);
    }
    return last ? err_move(err, &last)
                : err_set(err, ERR_UNAVAILABLE, "its name server has ended, see %s/resolver.log",
                          cluster->directory);
}

/* Addresses of Services and of pods are reached through the first node. */
static int lead_to_first_node(const struct cluster *cluster, struct err **err)
{
    static const char *const ranges[] = {"serviceRange", "podRange"};
    struct in_addr via;
    if (inet_pton(AF_INET, cluster_server_address(cluster), &via) != 1)
        return 0;
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        struct net_cidr range;
        if (net_cidr_parse(json_string_or(cluster->state, ranges[i], ""), &range, err) < 0 ||
            cluster_network_route(&cluster->network, &range, via, err) < 0)
            return -1;
    }
    return 0;
}

int cluster_names_take(const struct cluster *cluster, const char *mode, struct err **err)
{
    bool taken = false;
    if (str_eq(mode, "no"))
        return cluster_names_release(cluster->directory, err);
    if (!str_eq(mode, "auto") && !str_eq(mode, "yes"))
        return err_set(err, ERR_BAD_REQUEST, "--host-names wants auto, yes or no, not \"%s\"", mode);
    bool force = str_eq(mode, "yes");
    auto_err why = NULL;
    if (await_name_server(cluster, &why) < 0 || take(cluster, force, &taken, &why) < 0) {
        if (force)
            return err_move(err, &why);
        printf("names of this cluster are not resolved in this shell: %s\n", err_message(why));
        return 0; /* the cluster does not need it */
    }
    if (!taken) {
        printf("names of this cluster are not resolved in this shell: another cluster's are "
               "(--host-names yes changes that)\n");
        return 0;
    }
    if (lead_to_first_node(cluster, err) < 0)
        return -1;
    printf("names of this cluster are resolved in this shell, e.g. kubernetes.default.svc.cluster.local\n");
    return 0;
}
