/* minik8s cluster: finds the subcommand. Each subcommand prints what it did; errors end with exit code 1. */
#include "cluster.h"

#include <stdio.h>

#include "base/log.h"
#include "commands.h"
#include "options.h"

#define DEFAULT_DIRECTORY "/var/lib/minik8s/demo"

static const struct {
    const char *name;
    int (*run)(const struct cluster_command *command, struct err **err);
    const char *arguments, *help;
} subcommands[] = {
    {"up", cluster_up, "", "start it, or what of it is not running"},
    {"down", cluster_down, "", "stop it and remove every trace"},
    {"status", cluster_status, "", "processes and nodes"},
    {"kubeconfig", cluster_kubeconfig, "", "print the path of the admin's kubeconfig"},
    {"exec", cluster_exec, "NODE -- COMMAND…", "run a command on a node (in its network, with its names)"},
    {"load", cluster_load, "ARCHIVE…", "give image archives (podman save) to all nodes"},
    {"podman", cluster_podman, "NODE ARGUMENTS…", "run podman against a node's containers"},
    {"stop-node", cluster_stop_node, "NODE", "pull the power cable: every process of the node is killed"},
    {"start-node", cluster_start_node, "NODE", "start a stopped node"},
    {"cut-node", cluster_cut_node, "NODE", "unplug the node's network"},
    {"heal-node", cluster_heal_node, "NODE", "plug it in again"},
    {"add-node", cluster_add_node, "", "one node more"},
    {"restart", cluster_restart, "[server|manager|agent NODE|all]",
     "stop and start processes (--kill, --down-for S)"},
};

static int usage(FILE *out)
{
    fprintf(out, "Usage: minik8s cluster SUBCOMMAND [--dir D] …\n\n");
    for (size_t i = 0; i < COUNT_OF(subcommands); i++) {
        int columns = 32; /* printf counts bytes */
        for (const char *p = subcommands[i].arguments; *p; p++)
            columns += (*p & 0xc0) == 0x80;
        fprintf(out, "  %-10s %-*s %s\n", subcommands[i].name, columns, subcommands[i].arguments,
                subcommands[i].help);
    }
    fprintf(out, "\nOptions:\n"
                 "  --dir D          the cluster's folder (default $MINIK8S_DIR or " DEFAULT_DIRECTORY ")\n"
                 "  --nodes N        up: how many nodes (default 3)\n"
                 "  --storage KIND   up: tmpfs (default) or disk for the containers' storage\n"
                 "  --host-names W   up: auto (default), yes or no: whether this machine's shell resolves\n"
                 "                   the cluster's names; auto: unless another cluster's are resolved\n"
                 "  --kill           restart: SIGKILL instead of SIGTERM\n"
                 "  --down-for S     restart: seconds between stop and start\n");
    return out == stdout ? 0 : 2;
}

static int run(const char *word, const struct cluster_command *command)
{
    const char *names[COUNT_OF(subcommands)];
    for (size_t i = 0; i < COUNT_OF(subcommands); i++) {
        names[i] = subcommands[i].name;
        if (!str_eq(word, subcommands[i].name))
            continue;
        auto_err err = NULL;
        if (subcommands[i].run(command, &err) == 0)
            return 0;
        fprintf(stderr, "error: %s\n", err_message(err));
        return 1;
    }
    const char *nearest = str_nearest(word, names, COUNT_OF(subcommands));
    fprintf(stderr, "error: unknown subcommand \"%s\"%s%s\n", word, nearest ? "; did you mean " : "",
            nearest ? nearest : "");
    return 2;
}

/* `cluster podman NODE ps -a`: what follows NODE belongs to podman, flags included. */
static int podman_words(int argc, char **argv, struct cluster_command *command)
{
    int at = 2;
    for (; at + 1 < argc && str_eq(argv[at], "--dir"); at += 2)
        command->directory = argv[at + 1];
    command->args = argv + at;
    command->n_args = argc - at > 0 ? 1 : 0;
    command->rest = argv + at + 1;
    command->n_rest = argc - at - 1 > 0 ? argc - at - 1 : 0;
    for (int i = 0; i + 1 < command->n_rest; i++) { /* --dir may also stand behind the node's name */
        if (i == 0 && str_eq(command->rest[0], "--dir")) {
            command->directory = command->rest[1];
            command->rest += 2;
            command->n_rest -= 2;
        }
    }
    return run("podman", command);
}

int command_cluster(int argc, char **argv)
{
    const char *from_environment = getenv("MINIK8S_DIR");
    struct cluster_command command = {.directory =
                                          str_empty(from_environment) ? DEFAULT_DIRECTORY : from_environment,
                                      .nodes = 3,
                                      .storage = "tmpfs",
                                      .host_names = "auto"};
    if (argc < 2)
        return usage(stderr);
    if (str_eq(argv[1], "--help") || str_eq(argv[1], "-h") || str_eq(argv[1], "help"))
        return usage(stdout);
    log_set_process("cluster");
    log_set_level(LOG_WARN);
    if (str_eq(argv[1], "podman"))
        return podman_words(argc, argv, &command);
    const struct option_spec specs[] = {
        {"dir", OPTION_TEXT, &command.directory, "the cluster's folder"},
        {"nodes", OPTION_INTEGER, &command.nodes, "how many nodes"},
        {"storage", OPTION_TEXT, &command.storage, "tmpfs or disk"},
        {"host-names", OPTION_TEXT, &command.host_names, "auto, yes or no: names in this machine's shell"},
        {"node-certificate-seconds", OPTION_INTEGER, &command.node_certificate_s,
         "up: how long certificates of nodes are valid (0: a year)"},
        {"kill", OPTION_FLAG, &command.kill, "SIGKILL instead of SIGTERM"},
        {"down-for", OPTION_INTEGER, &command.down_for_s, "seconds between stop and start"},
    };
    struct arguments arguments;
    auto_err err = NULL;
    int code = 2;
    if (options_parse(argc, argv, 2, "cluster SUBCOMMAND", specs, COUNT_OF(specs), &arguments, &err) < 0) {
        fprintf(stderr, "error: %s\n", err_message(err));
    } else {
        command.args = arguments.at;
        command.n_args = arguments.count;
        command.rest = arguments.rest;
        command.n_rest = arguments.n_rest;
        code = run(argv[1], &command);
    }
    arguments_fini(&arguments);
    return code;
}
