/* cluster up, down, add-node, start-node, stop-node: the life of the machines. Every step may be repeated. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "cluster.h"
#include "net/net.h"
#include "runtime/runtime.h"

#define NODES_MAX 64
#define NODE_READY_MS 60000

static int state_new(struct cluster *cluster, const struct cluster_command *command, struct err **err)
{
    *cluster =
        (struct cluster){.directory = cluster_absolute(command->directory), .state = cJSON_CreateObject()};
    if (file_make_dirs(cluster->directory, 0711, err) < 0)
        return -1;
    char id[9];
    random_suffix(&random_system, id, 8);
    json_set_string(cluster->state, "id", id);
    json_set_int(cluster->state, "port", CLUSTER_PORT);
    json_set_string(cluster->state, "podRange", "10.244.0.0/16");
    json_set_string(cluster->state, "serviceRange", "10.96.0.0/16");
    json_set_string(cluster->state, "storage", command->storage);
    json_set_int(cluster->state, "nodeCertificateSeconds", command->node_certificate_s);
    for (unsigned i = 1; i <= (unsigned)command->nodes; i++)
        cluster_add_node_entry(cluster, i);
    return cluster_save(cluster, err);
}

static int open_or_make(struct cluster *cluster, const struct cluster_command *command, struct err **err)
{
    auto_err missing = NULL;
    if (command->nodes < 1 || command->nodes > NODES_MAX)
        return err_set(err, ERR_BAD_REQUEST, "--nodes wants a number from 1 to %d", NODES_MAX);
    if (!str_eq(command->storage, "tmpfs") && !str_eq(command->storage, "disk"))
        return err_set(err, ERR_BAD_REQUEST, "--storage wants tmpfs or disk, not \"%s\"", command->storage);
    if (cluster_open(cluster, command->directory, &missing) == 0)
        return 0;
    if (err_code(missing) != ERR_NOT_FOUND)
        return err_move(err, &missing);
    return state_new(cluster, command, err);
}

static int start_node(const struct cluster *cluster, const cJSON *node, struct err **err)
{
    const char *name = json_string_or(node, "name", "");
    auto_free char *process = mem_printf("nodes/%s/agent", name);
    if (cluster_process_pid(cluster, process))
        return 0;
    auto_free char *certificate = cluster_path(cluster, "nodes/%s/agent/pki/node.crt", name);
    auto_free char *token = NULL;
    if (!file_exists(certificate) && !(token = cluster_join_token(cluster, err)))
        return err_wrap(err, "join token for %s", name);
    return cluster_start_agent(cluster, node, token, err);
}

static int machines_up(struct cluster *cluster, struct err **err)
{
    if (cluster_network_create(cluster->directory, &cluster->network, err) < 0)
        return err_wrap(err, "the cluster's network");
    bool tmpfs = str_eq(json_string(cluster->state, "storage"), "tmpfs");
    json_each (node, cluster_nodes(cluster)) {
        if (cluster_make_machine(cluster, node, tmpfs, err) < 0)
            return -1;
    }
    static const char *const folders[] = {"server", "policies", "images"};
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        auto_free char *path = cluster_path(cluster, "%s", folders[i]);
        if (file_make_dirs(path, i ? 0755 : 0700, err) < 0)
            return -1;
    }
    return cluster_save(cluster, err);
}

int cluster_up(const struct cluster_command *command, struct err **err)
{
    struct cluster cluster;
    if (open_or_make(&cluster, command, err) < 0)
        return -1;
    int result = -1;
    if (machines_up(&cluster, err) < 0 || cluster_names_start(&cluster, err) < 0 ||
        cluster_start_server(&cluster, err) < 0 || cluster_start_manager(&cluster, err) < 0)
        goto out;
    json_each (node, cluster_nodes(&cluster)) {
        if (start_node(&cluster, node, err) < 0)
            goto out;
    }
    json_each (node, cluster_nodes(&cluster)) {
        const char *name = json_string_or(node, "name", "");
        if (cluster_wait_ready(&cluster, name, NODE_READY_MS, err) < 0) {
            err_wrap(err, "see %s/nodes/%s/agent.log", cluster.directory, name);
            goto out;
        }
        printf("%s is ready at %s\n", name, json_string_or(node, "address", ""));
    }
    if (cluster_names_take(&cluster, command->host_names, err) < 0)
        goto out;
    printf("kubeconfig: %s/kubeconfig\n", cluster.directory);
    result = 0;
out:
    cluster_fini(&cluster);
    return result;
}

/* Ends everything that serves the node's containers and its network. */
static int stop_machine(const struct cluster *cluster, const cJSON *node, struct err **err)
{
    auto_free char *process = mem_printf("nodes/%s/agent", json_string_or(node, "name", ""));
    if (cluster_stop_process(cluster, process, false, err) < 0)
        return -1;
    struct runtime_podman_options options;
    char *texts[4];
    cluster_podman_options(cluster, node, &options, texts);
    auto_err unclean = NULL; /* what podman could not end, the power cable does */
    if (runtime_podman_shutdown(&options, true, &unclean) < 0)
        fprintf(stderr, "warning: %s: %s\n", json_string_or(node, "name", ""), err_message(unclean));
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        free(texts[i]);
    return cluster_power_off(cluster, node, err);
}

int cluster_down(const struct cluster_command *command, struct err **err)
{
    struct cluster cluster;
    auto_err missing = NULL;
    if (cluster_open(&cluster, command->directory, &missing) < 0) {
        if (err_code(missing) != ERR_NOT_FOUND)
            return err_move(err, &missing);
        auto_free char *directory = cluster_absolute(command->directory);
        if (cluster_names_release(directory, err) < 0)
            return -1;
        return cluster_network_destroy(directory, err); /* an `up` that was killed before its first note */
    }
    int result = -1;
    if (cluster_names_release(cluster.directory, err) < 0 || cluster_names_stop(&cluster, err) < 0)
        goto out;
    json_each (node, cluster_nodes(&cluster)) {
        if (stop_machine(&cluster, node, err) < 0)
            goto out;
    }
    if (cluster_stop_process(&cluster, "server/manager", false, err) < 0 ||
        cluster_stop_process(&cluster, "server/server", false, err) < 0)
        goto out;
    json_each (node, cluster_nodes(&cluster)) {
        if (cluster_remove_machine(&cluster, node, err) < 0)
            goto out;
    }
    if (cluster_network_destroy(cluster.directory, err) == 0 && file_remove_tree(cluster.directory, err) == 0)
        result = 0;
out:
    cluster_fini(&cluster);
    return result;
}

int cluster_add_node(const struct cluster_command *command, struct err **err)
{
    struct cluster cluster;
    if (cluster_open(&cluster, command->directory, err) < 0)
        return -1;
    unsigned index = 1;
    json_each (known, cluster_nodes(&cluster))
        index = index <= (unsigned)json_int(known, "index", 0) ? (unsigned)json_int(known, "index", 0) + 1
                                                               : index;
    cJSON *node = cluster_add_node_entry(&cluster, index);
    const char *name = json_string_or(node, "name", "");
    int result = -1;
    if (machines_up(&cluster, err) == 0 && start_node(&cluster, node, err) == 0)
        result = cluster_wait_ready(&cluster, name, NODE_READY_MS, err);
    if (result == 0)
        printf("%s is ready at %s\n", name, json_string_or(node, "address", ""));
    cluster_fini(&cluster);
    return result;
}

/* Opens the cluster and finds the node that the first argument names. */
static const cJSON *open_node(const struct cluster_command *command, struct cluster *cluster,
                              struct err **err)
{
    if (cluster_open(cluster, command->directory, err) < 0)
        return NULL;
    const cJSON *node = cluster_node(cluster, command->n_args ? command->args[0] : NULL, err);
    if (!node)
        cluster_fini(cluster);
    return node;
}

int cluster_stop_node(const struct cluster_command *command, struct err **err)
{
    struct cluster cluster;
    const cJSON *node = open_node(command, &cluster, err);
    if (!node)
        return -1;
    int result = cluster_power_off(&cluster, node, err);
    if (result == 0)
        printf("%s stopped\n", json_string_or(node, "name", ""));
    cluster_fini(&cluster);
    return result;
}

int cluster_start_node(const struct cluster_command *command, struct err **err)
{
    struct cluster cluster;
    const cJSON *node = open_node(command, &cluster, err);
    if (!node)
        return -1;
    const char *name = json_string_or(node, "name", "");
    int result = -1;
    if (machines_up(&cluster, err) == 0 && start_node(&cluster, node, err) == 0)
        result = cluster_wait_ready(&cluster, name, NODE_READY_MS, err);
    if (result == 0)
        printf("%s is ready\n", name);
    cluster_fini(&cluster);
    return result;
}

static int plug(const struct cluster_command *command, bool heal, struct err **err)
{
    struct cluster cluster;
    const cJSON *node = open_node(command, &cluster, err);
    if (!node)
        return -1;
    unsigned index = (unsigned)json_int(node, "index", 0);
    int result = heal ? cluster_network_heal(&cluster.network, index, err)
                      : cluster_network_cut(&cluster.network, index, err);
    if (result == 0)
        printf("%s %s\n", json_string_or(node, "name", ""), heal ? "is connected" : "is cut off");
    cluster_fini(&cluster);
    return result;
}

int cluster_cut_node(const struct cluster_command *command, struct err **err)
{
    return plug(command, false, err);
}

int cluster_heal_node(const struct cluster_command *command, struct err **err)
{
    return plug(command, true, err);
}
