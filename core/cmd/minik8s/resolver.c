/* minik8s resolver: the name server of a node; started by the agent, twice, and outliving it. */
#include <arpa/inet.h>
#include <stdio.h>

#include "base/log.h"
#include "commands.h"
#include "net/nameserver.h"
#include "options.h"
#include "process.h"

int command_resolver(int argc, char **argv)
{
    const char *names = NULL, *address = NULL, *pods = "0.0.0.0/0", *domain = "cluster.local",
               *resolv_conf = NULL;
    const struct option_spec specs[] = {
        {"names", OPTION_TEXT, &names, "folder of files with names; followed as it changes"},
        {"address", OPTION_TEXT, &address, "where to answer, port 53"},
        {"domain", OPTION_TEXT, &domain, "names in it are answered from the folder, or do not exist"},
        {"pods", OPTION_TEXT, &pods, "range of the addresses that A-B-C-D.NAMESPACE.pod.DOMAIN may name"},
        {"resolv-conf", OPTION_TEXT, &resolv_conf,
         "whose servers are asked for other names (default: nobody)"},
    };
    struct arguments arguments;
    auto_err err = NULL;
    struct nameserver_options options = {0};
    int parsed = options_parse(argc, argv, 1, "resolver --names DIR --address A [OPTIONS]", specs,
                               COUNT_OF(specs), &arguments, &err);
    arguments_fini(&arguments);
    if (parsed < 0)
        return process_fail(err) + 1;
    log_set_process("resolver");
    options.directory = names;
    options.domain = domain;
    options.resolv_conf = resolv_conf;
    if (!names || !address || inet_pton(AF_INET, address, &options.address) != 1) {
        err_set(&err, ERR_BAD_REQUEST, "--names and --address (IPv4) are required; see --help");
        return process_fail(err) + 1;
    }
    if (net_cidr_parse(pods, &options.pods, &err) < 0)
        return process_fail(err) + 1;
    return nameserver_run(&options, &err) < 0 ? process_fail(err) : 0;
}
