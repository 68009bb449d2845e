/* cluster status, kubeconfig, exec, podman, restart: looking into a cluster and shaking it. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "cluster.h"
#include "runtime/runtime.h"

static void print_process(const struct cluster *cluster, const char *title, const char *name)
{
    pid_t pid = cluster_process_pid(cluster, name);
    if (pid)
        printf("%-16s running (pid %d)\n", title, (int)pid);
    else
        printf("%-16s not running\n", title);
}

int cluster_status(const struct cluster_command *command, struct err **err)
{
    struct cluster cluster;
    if (cluster_open(&cluster, command->directory, err) < 0)
        return -1;
    printf("%-16s %s\n%-16s %s\n", "cluster", json_string_or(cluster.state, "id", ""), "folder",
           cluster.directory);
    print_process(&cluster, "server", "server/server");
    print_process(&cluster, "manager", "server/manager");
    json_each (node, cluster_nodes(&cluster)) {
        const char *name = json_string_or(node, "name", "");
        auto_free char *process = mem_printf("nodes/%s/agent", name);
        auto_free char *title = mem_printf(
            "%s%s", name,
            cluster_network_is_cut(&cluster.network, (unsigned)json_int(node, "index", 0)) ? " (cut off)"
                                                                                           : "");
        print_process(&cluster, title, process);
    }
    auto_err why = NULL;
    if (cluster_wait_ready(&cluster, NULL, 0, &why) < 0)
        printf("%-16s %s\n", "API", err_message(why));
    else
        printf("%-16s answers at https://%s:%d\n", "API", cluster_server_address(&cluster),
               (int)json_int(cluster.state, "port", CLUSTER_PORT));
    cluster_fini(&cluster);
    return 0;
}

int cluster_kubeconfig(const struct cluster_command *command, struct err **err)
{
    struct cluster cluster;
    if (cluster_open(&cluster, command->directory, err) < 0)
        return -1;
    printf("%s/kubeconfig\n", cluster.directory);
    cluster_fini(&cluster);
    return 0;
}

/* The node's network, and its resolver in a mount namespace of the command's own. */
static int enter_node(const struct cluster *cluster, const cJSON *node, struct err **err)
{
    const char *name = json_string_or(node, "name", "");
    auto_free char *netns = cluster_path(cluster, "nodes/%s/netns", name);
    auto_free char *resolv = cluster_path(cluster, "nodes/%s/resolv.conf", name);
    auto_fd fd = netns_open(netns, err);
    if (fd < 0 || netns_enter(fd, err) < 0)
        return -1;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return err_errno(err, errno, "a mount namespace of its own");
    char target[4096];
    ssize_t n = readlink("/etc/resolv.conf", target, sizeof(target) - 1);
    target[n > 0 ? n : 0] = 0;
    const char *file = n > 0 && target[0] == '/' ? target : "/etc/resolv.conf";
    if (mount(resolv, file, NULL, MS_BIND, NULL) < 0)
        return err_errno(err, errno, "the node's resolv.conf over %s", file);
    return 0;
}

int cluster_exec(const struct cluster_command *command, struct err **err)
{
    struct cluster cluster;
    if (cluster_open(&cluster, command->directory, err) < 0)
        return -1;
    const cJSON *node = cluster_node(&cluster, command->n_args ? command->args[0] : NULL, err);
    if (node && command->n_rest < 1)
        err_set(err, ERR_BAD_REQUEST, "a command is wanted: cluster exec NODE -- COMMAND");
    else if (node && enter_node(&cluster, node, err) == 0) {
        execvp(command->rest[0], command->rest);
        err_errno(err, errno, "%s", command->rest[0]);
    }
    cluster_fini(&cluster);
    return -1;
}

int cluster_podman(const struct cluster_command *command, struct err **err)
{
    struct cluster cluster;
    if (cluster_open(&cluster, command->directory, err) < 0)
        return -1;
    const cJSON *node = cluster_node(&cluster, command->n_args ? command->args[0] : NULL, err);
    if (node) {
        auto_free char *url = mem_printf("unix://%s/nodes/%s/podman/podman.sock", cluster.directory,
                                         json_string_or(node, "name", ""));
        auto_free char **argv = mem_array((size_t)command->n_rest + 5, sizeof(char *));
        argv[0] = "podman";
        argv[1] = "--remote";
        argv[2] = "--url";
        argv[3] = url;
        for (int i = 0; i < command->n_rest; i++)
            argv[4 + i] = command->rest[i];
        execvp("podman", argv);
        err_errno(err, errno, "podman");
    }
    cluster_fini(&cluster);
    return -1;
}

/* All nodes read the same folder of images: the first node's service writes it. */
int cluster_load(const struct cluster_command *command, struct err **err)
{
    struct cluster cluster;
    if (cluster_open(&cluster, command->directory, err) < 0)
        return -1;
    struct runtime_podman_options options;
    char *texts[4];
    cluster_podman_options(&cluster, cluster_nodes(&cluster)->child, &options, texts);
    int result =
        command->n_args ? 0 : err_set(err, ERR_BAD_REQUEST, "an image archive is wanted: cluster load FILE…");
    for (int i = 0; i < command->n_args && result == 0; i++) {
        auto_free char *path = cluster_absolute(command->args[i]);
        result = runtime_podman_load(&options, path, err);
    }
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        free(texts[i]);
    cluster_fini(&cluster);
    return result;
}

/* ---- restart ---- */

static int each_agent(const struct cluster *cluster, const char *only, bool start, bool kill_now,
                      struct err **err)
{
    json_each (node, cluster_nodes(cluster)) {
        const char *name = json_string_or(node, "name", "");
        if (only && !str_eq(name, only))
            continue;
        auto_free char *process = mem_printf("nodes/%s/agent", name);
        int result = start ? cluster_start_agent(cluster, node, NULL, err)
                           : cluster_stop_process(cluster, process, kill_now, err);
        if (result < 0)
            return -1;
    }
    return 0;
}

struct parts {
    bool server, manager, agents;
    const char *agent;
};

static int choose(const struct cluster_command *command, const struct cluster *cluster, struct parts *parts,
                  struct err **err)
{
    *parts = (struct parts){0};
    if (command->n_args == 0)
        parts->server = parts->manager = parts->agents = true;
    for (int i = 0; i < command->n_args; i++) {
        const char *word = command->args[i];
        if (str_eq(word, "all")) {
            parts->server = parts->manager = parts->agents = true;
        } else if (str_eq(word, "server")) {
            parts->server = true;
        } else if (str_eq(word, "manager")) {
            parts->manager = true;
        } else if (str_eq(word, "agent") && i + 1 < command->n_args) {
            parts->agents = true;
            parts->agent = command->args[++i];
            if (!cluster_node(cluster, parts->agent, err))
                return -1;
        } else {
            return err_set(err, ERR_BAD_REQUEST,
                           "restart what? server, manager, agent NODE, or all; not \"%s\"", word);
        }
    }
    return 0;
}

int cluster_restart(const struct cluster_command *command, struct err **err)
{
    struct cluster cluster;
    if (cluster_open(&cluster, command->directory, err) < 0)
        return -1;
    struct parts parts;
    int result = -1;
    if (choose(command, &cluster, &parts, err) < 0)
        goto out;
    if ((parts.manager && cluster_stop_process(&cluster, "server/manager", command->kill, err) < 0) ||
        (parts.server && cluster_stop_process(&cluster, "server/server", command->kill, err) < 0) ||
        (parts.agents && each_agent(&cluster, parts.agent, false, command->kill, err) < 0))
        goto out;
    if (command->down_for_s > 0) {
        const struct timespec pause = {.tv_sec = command->down_for_s};
        nanosleep(&pause, NULL);
    }
    bool all = parts.server && parts.manager && parts.agents && !parts.agent;
    /* Agents first: they start from their disks what serves there, without a server. */
    if ((all && cluster_names_start(&cluster, err) < 0) ||
        (parts.agents && each_agent(&cluster, parts.agent, true, false, err) < 0) ||
        (parts.server && cluster_start_server(&cluster, err) < 0) ||
        (parts.manager && cluster_start_manager(&cluster, err) < 0))
        goto out;
    result = 0;
out:
    cluster_fini(&cluster);
    return result;
}
