/*
 * minik8s resolver: a name server, which answers from the sockets that it was started with, or else opens
 * them. A node's two are started by its agent and outlive it. With --twin there are two for this machine's
 * shell, which no agent looks after: each starts the other again. They are given up by removing the folder of
 * names (or the link to it).
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "commands.h"
#include "loop/helper.h"
#include "net/nameserver.h"
#include "options.h"
#include "process.h"

#define FIRST_PASSED 3 /* descriptor of the first socket that is passed on */
#define ARGUMENTS_MAX 65536

struct resolver {
    struct nameserver_options options;
    struct loop *loop;
    struct nameserver *server;
    const char *pid_file, *twin; /* pid files of the two */
    int sockets[NAMESERVER_SOCKETS];
    struct helper *other;
};

static void on_other_exit(void *arg)
{
    struct resolver *resolver = arg;
    if (!file_exists(resolver->options.directory))
        helper_free(steal(&resolver->other));
}

/* The words of this process; each ends with a zero byte. */
static char *own_words(size_t *len, struct err **err)
{
    char *words = NULL;
    return file_read("/proc/self/cmdline", ARGUMENTS_MAX, &words, len, err) < 0 ? NULL : words;
}

static int split_words(const char *words, size_t len, const char **argv, size_t max)
{
    size_t count = 0;
    for (size_t at = 0; at < len && count + 1 < max; at += strlen(words + at) + 1)
        argv[count++] = words + at;
    argv[count] = NULL;
    return (int)count;
}

/* The other's command line is ours with the pid files changed over. */
static int start_other(struct resolver *resolver, struct err **err)
{
    const char *argv[64];
    size_t len = 0;
    auto_free char *words = own_words(&len, err);
    if (!words)
        return -1;
    int count = split_words(words, len, argv, COUNT_OF(argv));
    if (helper_identify(resolver->pid_file, argv, err) < 0)
        return -1;
    for (int i = 0; i < count; i++)
        argv[i] = str_eq(argv[i], resolver->pid_file) ? resolver->twin
                  : str_eq(argv[i], resolver->twin)   ? resolver->pid_file
                                                      : argv[i];
    auto_free char *log = mem_printf("%.*slog", (int)strlen(resolver->twin) - 3, resolver->twin);
    const struct helper_options options = {.name = "the other resolver",
                                           .argv = argv,
                                           .pid_file = resolver->twin,
                                           .log_path = log,
                                           .fds = resolver->sockets,
                                           .n_fds = NAMESERVER_SOCKETS /
                                                    NAMESERVER_ADDRESSES, /* it has one address */
                                           .loop = resolver->loop,
                                           .on_exit = on_other_exit,
                                           .arg = resolver};
    resolver->other = helper_new(&options, err);
    return resolver->other ? 0 : -1;
}

static int run(struct resolver *resolver, struct err **err)
{
    for (int i = 0; i < NAMESERVER_SOCKETS; i++)
        resolver->sockets[i] = FIRST_PASSED + i;
    resolver->server = NULL;
    if (nameserver_listen(resolver->sockets, resolver->options.addresses, err) == 0 &&
        (resolver->loop = loop_new(err)) != NULL)
        resolver->server = nameserver_new(resolver->loop, &resolver->options, resolver->sockets, err);
    if (!resolver->server || (resolver->twin && start_other(resolver, err) < 0))
        return -1;
    loop_run(resolver->loop); /* until a signal ends the process: there is nothing to save */
    return 0;
}

static int read_options(struct resolver *resolver, const char *address, const char *pods, struct err **err)
{
    if (!resolver->options.directory || !address)
        return err_set(err, ERR_BAD_REQUEST, "--names and --address are required; see --help");
    if (nameserver_addresses(address, resolver->options.addresses, err) < 0)
        return -1;
    if (!resolver->twin != !resolver->pid_file || (resolver->twin && !str_ends(resolver->twin, ".pid")))
        return err_set(err, ERR_BAD_REQUEST, "--twin and --pid-file go together, and end in .pid");
    return net_cidr_parse(pods, &resolver->options.pods, err);
}

int command_resolver(int argc, char **argv)
{
    const char *address = NULL, *pods = "0.0.0.0/0";
    struct resolver resolver = {.options = {.domain = "cluster.local"}};
    struct nameserver_options *options = &resolver.options;
    const struct option_spec specs[] = {
        {"names", OPTION_TEXT, &options->directory, "folder of files with names; followed as it changes"},
        {"address", OPTION_TEXT, &address, "where to answer, port 53: A or A,B (IPv4)"},
        {"domain", OPTION_TEXT, &options->domain,
         "names in it are answered from the folder, or do not exist"},
        {"pods", OPTION_TEXT, &pods, "range of the addresses that A-B-C-D.NAMESPACE.pod.DOMAIN may name"},
        {"resolv-conf", OPTION_TEXT, &options->resolv_conf,
         "whose servers are asked for other names (default: nobody)"},
        {"pid-file", OPTION_TEXT, &resolver.pid_file, "of this process, with --twin"},
        {"twin", OPTION_TEXT, &resolver.twin,
         "pid file of a second one at the same address: each starts the other again"},
    };
    struct arguments arguments;
    auto_err err = NULL;
    int parsed = options_parse(argc, argv, 1, "resolver --names DIR --address A [OPTIONS]", specs,
                               COUNT_OF(specs), &arguments, &err);
    arguments_fini(&arguments);
    if (parsed < 0 || read_options(&resolver, address, pods, &err) < 0)
        return process_fail(err) + 1;
    log_set_process("resolver");
    return run(&resolver, &err) < 0 ? process_fail(err) : 0;
}
