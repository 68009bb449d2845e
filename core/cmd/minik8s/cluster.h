/*
 * cluster: a cluster of several nodes on this machine. All state lies under one folder:
 *   cluster.json           what it is: ranges, ports, nodes
 *   kubeconfig             admin
 *   server/                store, keys; server.pid, server.log; manager.pid, manager.log; policies/ (drop-in)
 *   resolver.pid, .log     name server of this machine; names → those of node-1; resolv.conf: the nodes'
 * upstream nodes/NODE/            netns (the namespace), config.yaml, agent.pid, agent.log, agent/ (its own
 * state), podman/ (service, socket), storage/ (images and containers; a tmpfs unless
 * --storage disk) Each process enters its node's network namespace by itself (--netns), so a pid file is all
 * that ties things together.
 */
#ifndef M8_CMD_CLUSTER_H
#define M8_CMD_CLUSTER_H

#include "base/json.h"
#include "client/client.h"
#include "cluster_network.h"

#define CLUSTER_PORT 6443
#define CLUSTER_AGENT_PORT 10250
#define CLUSTER_DNS "169.254.20.10"
#define CLUSTER_DNS_SPARE "169.254.20.11"

struct cluster {
    char *directory; /* absolute */
    cJSON *state;    /* cluster.json */
    struct cluster_network network;
};

/* ---- cluster_state.c ---- */
int cluster_open(struct cluster *cluster, const char *directory,
                 struct err **err); /* ERR_NOT_FOUND: no cluster there */
int cluster_save(const struct cluster *cluster, struct err **err);
void cluster_fini(struct cluster *cluster);
char *cluster_path(const struct cluster *cluster, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
char *cluster_absolute(const char *directory);
const cJSON *cluster_nodes(const struct cluster *cluster); /* [{name, index, address}] */
const cJSON *cluster_node(const struct cluster *cluster, const char *name,
                          struct err **err); /* with a suggestion */
cJSON *cluster_add_node_entry(struct cluster *cluster, unsigned index);
const char *cluster_server_address(const struct cluster *cluster);

/* ---- cluster_process.c: the daemons ---- */
int cluster_start_server(const struct cluster *cluster, struct err **err); /* returns when it answers */
int cluster_start_manager(const struct cluster *cluster, struct err **err);
int cluster_start_agent(const struct cluster *cluster, const cJSON *node, const char *token,
                        struct err **err);
/* name: "server/server", "nodes/node-1/agent": reads NAME.pid. kill_now: SIGKILL, else SIGTERM and after 10 s
 * SIGKILL. */
int cluster_stop_process(const struct cluster *cluster, const char *name, bool kill_now, struct err **err);
pid_t cluster_process_pid(const struct cluster *cluster, const char *name); /* 0: not running */
/* The power cable: every process that belongs to the node's folder (agent, podman service, conmon,
 * containers, resolver). */
int cluster_power_off(const struct cluster *cluster, const cJSON *node, struct err **err);

char *cluster_own_program(void); /* caller frees */

/* ---- cluster_names.c: names in this machine's shell, and its resolvers for the nodes ---- */
/* The file that names the nodes' upstream resolver; caller frees. */
char *cluster_names_upstream(const struct cluster *cluster, struct err **err);
int cluster_names_start(const struct cluster *cluster, struct err **err);
int cluster_names_stop(const struct cluster *cluster, struct err **err);
/* mode: auto (unless another cluster has them), yes, no. */
int cluster_names_take(const struct cluster *cluster, const char *mode, struct err **err);
/* Puts /etc/resolv.conf back if it is this cluster's. */
int cluster_names_release(const char *directory, struct err **err);

/* ---- cluster_node.c: one node's machine ---- */
int cluster_make_machine(const struct cluster *cluster, const cJSON *node, bool tmpfs, struct err **err);
int cluster_remove_machine(const struct cluster *cluster, const cJSON *node, struct err **err);
struct runtime_podman_options;
void cluster_podman_options(const struct cluster *cluster, const cJSON *node,
                            struct runtime_podman_options *options,
                            char *texts[4]); /* texts: freed by the caller */

/* ---- cluster_api.c: what the commands ask the server ---- */
cJSON *cluster_request(const struct cluster *cluster, const char *method, const char *target,
                       const cJSON *body, struct err **err);
char *cluster_join_token(const struct cluster *cluster, struct err **err);
int cluster_wait_ready(const struct cluster *cluster, const char *node_or_null, int64_t timeout_ms,
                       struct err **err);

/* ---- the subcommands ---- */
struct cluster_command {
    const char *directory, *storage, *images, *host_names;
    long long nodes, down_for_s, node_certificate_s;
    bool kill;
    char **args;
    int n_args;
    char **rest;
    int n_rest;
};
int cluster_up(const struct cluster_command *command, struct err **err);
int cluster_down(const struct cluster_command *command, struct err **err);
int cluster_status(const struct cluster_command *command, struct err **err);
int cluster_kubeconfig(const struct cluster_command *command, struct err **err);
int cluster_exec(const struct cluster_command *command, struct err **err);
int cluster_podman(const struct cluster_command *command, struct err **err);
int cluster_stop_node(const struct cluster_command *command, struct err **err);
int cluster_start_node(const struct cluster_command *command, struct err **err);
int cluster_cut_node(const struct cluster_command *command, struct err **err);
int cluster_heal_node(const struct cluster_command *command, struct err **err);
int cluster_add_node(const struct cluster_command *command, struct err **err);
int cluster_restart(const struct cluster_command *command, struct err **err);
int cluster_load(const struct cluster_command *command, struct err **err);

#endif
