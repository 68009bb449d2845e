/* minik8s: finds the subcommand and runs it. */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"server", command_server, "the API server: store, watch, REST"},
    {"manager", command_manager, "controllers and policies"},
    {"node", command_node, "the agent of one machine"},
    {"resolver", command_resolver, "the name server of a node; the agent starts it"},
    {"cluster", command_cluster, "a cluster of several nodes on this machine: up, down, status, …"},
    {"doctor", command_doctor, "what this machine offers and how to mend what is missing"},
};

static int usage(FILE *out)
{
    fprintf(out,
            "minik8s: a small container orchestrator\n\nUsage: minik8s COMMAND [OPTIONS]\n\nCommands:\n");
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "  version   of this program\n\nminik8s COMMAND --help tells more.\n");
    return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    json_init();
    signal(SIGPIPE, SIG_IGN);
    umask(022);
    log_install_crash_handler();
    if (argc < 2)
        return usage(stderr);
    const char *word = argv[1];
    if (str_eq(word, "version") || str_eq(word, "--version")) {
        printf("minik8s %s (Kubernetes API %s)\n", MINIK8S_VERSION, KUBERNETES_VERSION);
        return 0;
    }
    if (str_eq(word, "help") || str_eq(word, "--help") || str_eq(word, "-h"))
        return usage(stdout);
    const char *names[COUNT_OF(commands)];
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (str_eq(word, commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
        names[i] = commands[i].name;
    }
    const char *nearest = str_nearest(word, names, COUNT_OF(commands));
    fprintf(stderr, "error: unknown command \"%s\"", word);
    if (nearest)
        fprintf(stderr, "; did you mean \"%s\"?", nearest);
    fprintf(stderr, "\n");
    return 2;
}
