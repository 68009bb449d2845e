/*
 * The daemons of a cluster: started in a session of their own with a pid file "PID START_TIME", found again
 * and ended by it. A pid whose start time differs is somebody else's process and is left alone.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "cluster.h"

#define STOP_GRACE_MS 10000

static char *pid_file_of(const struct cluster *cluster, const char *name)
{
    return cluster_path(cluster, "%s.pid", name);
}

pid_t cluster_process_pid(const struct cluster *cluster, const char *name)
{
    auto_free char *path = pid_file_of(cluster, name);
    auto_free char *text = NULL;
    size_t len;
    if (file_read(path, 256, &text, &len, NULL) < 0)
        return 0;
    int pid = 0;
    unsigned long long start = 0;
    if (sscanf(text, "%d %llu", &pid, &start) != 2 || pid <= 0 || file_process_start_time(pid) != start)
        return 0;
    return pid;
}

static int start(const struct cluster *cluster, const char *name, const char *const *argv, struct err **err)
{
    if (cluster_process_pid(cluster, name))
        return 0;
    auto_free char *log = cluster_path(cluster, "%s.log", name);
    auto_free char *path = pid_file_of(cluster, name);
    const struct file_program program = {.argv = argv, .log_path = log, .pid_file = path};
    return file_spawn_program(&program, err) < 0 ? err_wrap(err, "starting %s", name) : 0;
}

static int wait_for_end(pid_t pid, int timeout_ms)
{
    auto_fd fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return errno == ESRCH ? 0 : -1;
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    int n = poll(&waiting, 1, timeout_ms);
    waitpid(pid, NULL, WNOHANG); /* in case it is our own child */
    return n > 0 ? 0 : -1;
}

int cluster_stop_process(const struct cluster *cluster, const char *name, bool kill_now, struct err **err)
{
    pid_t pid = cluster_process_pid(cluster, name);
    auto_free char *path = pid_file_of(cluster, name);
    if (!pid) {
        unlink(path);
        return 0;
    }
    kill(pid, kill_now ? SIGKILL : SIGTERM);
    if (wait_for_end(pid, STOP_GRACE_MS) < 0) {
        log_warn("cluster", "%s (pid %d) did not end within %d ms of SIGTERM: SIGKILL", name, (int)pid,
                 STOP_GRACE_MS);
        kill(pid, SIGKILL);
        if (wait_for_end(pid, STOP_GRACE_MS) < 0)
            return err_set(err, ERR_TIMEOUT, "%s (pid %d) does not end", name, (int)pid);
    }
    unlink(path);
    return 0;
}

char *cluster_own_program(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    return n > 0 ? mem_strndup(path, (size_t)n) : mem_strdup("minik8s");
}

/* ---- server and manager, on the first node ---- */

int cluster_start_server(const struct cluster *cluster, struct err **err)
{
    auto_free char *program = cluster_own_program();
    auto_free char *directory = cluster_path(cluster, "server");
    auto_free char *netns = cluster_path(cluster, "nodes/node-1/netns");
    auto_free char *kubeconfig = cluster_path(cluster, "kubeconfig");
    auto_free char *port = mem_printf("%d", (int)json_int(cluster->state, "port", CLUSTER_PORT));
    auto_free char *validity =
        mem_printf("%lld", (long long)json_int(cluster->state, "nodeCertificateSeconds", 0));
    const char *const argv[] = {program,
                                "server",
                                "--dir",
                                directory,
                                "--netns",
                                netns,
                                "--address",
                                cluster_server_address(cluster),
                                "--port",
                                port,
                                "--service-range",
                                json_string_or(cluster->state, "serviceRange", ""),
                                "--pod-range",
                                json_string_or(cluster->state, "podRange", ""),
                                "--node-certificate-seconds",
                                validity,
                                "--kubeconfig",
                                kubeconfig,
                                NULL};
    if (start(cluster, "server/server", argv, err) < 0)
        return -1;
    return cluster_wait_ready(cluster, NULL, 30000, err);
}

int cluster_start_manager(const struct cluster *cluster, struct err **err)
{
    auto_free char *program = cluster_own_program();
    auto_free char *netns = cluster_path(cluster, "nodes/node-1/netns");
    auto_free char *kubeconfig = cluster_path(cluster, "server/manager.kubeconfig");
    auto_free char *policies = cluster_path(cluster, "policies");
    auto_free char *record = cluster_path(cluster, "server/record");
    const char *const argv[] = {program,        "manager",  "--netns",    netns,
                                "--kubeconfig", kubeconfig, "--policies", policies,
                                "--record",     record,     NULL};
    return start(cluster, "server/manager", argv, err);
}

int cluster_start_agent(const struct cluster *cluster, const cJSON *node, const char *token, struct err **err)
{
    auto_free char *program = cluster_own_program();
    const char *name = json_string_or(node, "name", "");
    auto_free char *directory = cluster_path(cluster, "nodes/%s", name);
    auto_free char *netns = cluster_path(cluster, "nodes/%s/netns", name);
    auto_free char *server = mem_printf("https://%s:%d", cluster_server_address(cluster),
                                        (int)json_int(cluster->state, "port", CLUSTER_PORT));
    auto_free char *ca = cluster_path(cluster, "server/pki/ca.crt");
    auto_free char *images = cluster_path(cluster, "images");
    auto_free char *token_file = cluster_path(cluster, "nodes/%s/join.token", name);
    auto_free char *upstream = cluster_names_upstream(cluster, err);
    if (!upstream)
        return -1;
    if (token && file_write_atomic(token_file, token, strlen(token), 0600, err) < 0)
        return -1;
    const char *const argv[] = {program,
                                "node",
                                "--name",
                                name,
                                "--dir",
                                directory,
                                "--netns",
                                netns,
                                "--server",
                                server,
                                "--ca",
                                ca,
                                "--address",
                                json_string_or(node, "address", ""),
                                "--token-file",
                                token_file,
                                "--cluster",
                                json_string_or(cluster->state, "id", ""),
                                "--service-range",
                                json_string_or(cluster->state, "serviceRange", ""),
                                "--cluster-range",
                                json_string_or(cluster->state, "podRange", ""),
                                "--images",
                                images,
                                "--resolv-conf",
                                upstream,
                                "--labels",
                                json_int(node, "index", 0) == 1 ? "node-role.kubernetes.io/control-plane="
                                                                : "",
                                NULL};
    auto_free char *process = mem_printf("nodes/%s/agent", name);
    return start(cluster, process, argv, err);
}

/* ---- the power cable ---- */

/* Reads /proc/PID/cmdline (arguments separated by spaces) or returns NULL. */
static char *command_line(const char *pid)
{
    auto_free char *path = mem_printf("/proc/%s/cmdline", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return NULL;
    char text[8192];
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    for (size_t i = 0; i < n; i++)
        if (!text[i])
            text[i] = ' ';
    text[n] = 0;
    return mem_strdup(text);
}

static pid_t parent_of(const char *pid)
{
    auto_free char *path = mem_printf("/proc/%s/stat", pid);
    auto_free char *text = NULL;
    size_t len;
    if (file_read(path, 4096, &text, &len, NULL) < 0)
        return 0;
    const char *after_name = strrchr(text, ')');
    int parent = 0;
    return after_name && sscanf(after_name + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

/* Marks processes whose command line names the node's folder, and all descendants of those; kills the marked.
 */
static size_t kill_round(const char *marker, pid_t spare)
{
    size_t count, n_marked = 0;
    auto_free char **pids = file_list("/proc", &count, NULL);
    auto_free pid_t *marked = mem_array(count + 1, sizeof(pid_t));
    for (int pass = 0; pass < 8; pass++) { /* conmon → container → its children */
        size_t before = n_marked;
        for (size_t i = 0; pids && i < count; i++) {
            pid_t pid = atoi(pids[i]);
            if (pid <= 1 || pid == spare)
                continue;
            bool known = false, child = false;
            pid_t parent = parent_of(pids[i]);
            for (size_t m = 0; m < n_marked; m++) {
                known = known || marked[m] == pid;
                child = child || marked[m] == parent;
            }
            if (known)
                continue;
            auto_free char *line = command_line(pids[i]);
            if (child || (line && strstr(line, marker)))
                marked[n_marked++] = pid;
        }
        if (n_marked == before)
            break;
    }
    for (size_t i = 0; i < n_marked; i++)
        kill(marked[i], SIGKILL);
    for (size_t i = 0; i < n_marked; i++)
        wait_for_end(marked[i], 2000);
    return n_marked;
}

int cluster_power_off(const struct cluster *cluster, const cJSON *node, struct err **err)
{
    auto_free char *marker = cluster_path(cluster, "nodes/%s/", json_string_or(node, "name", ""));
    for (int round = 0; round < 10; round++) {
        if (kill_round(marker, getpid()) == 0)
            return 0;
    }
    return err_set(err, ERR_TIMEOUT, "processes of %s come back as fast as they are killed", marker);
}
