/*
 * resolver: names of the cluster as files that the node's name servers watch, and these as helpers: two that
 * answer from the same sockets at both addresses, which a holder keeps open when all of them and the agent
 * are killed. Does not answer queries (nameserver.c does), does not translate them: the addresses are local
 * to the node. Invariants: the directory is the state, one file per key, replaced by rename, so that a killed
 * agent loses nothing and a name server never sees half a set; sockets, helpers and `retry` are touched on
 * the loop's thread only.
 */
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "loop/holder.h"
#include "net/nameserver.h"
#include "net/net_internal.h"

#define RETRY_MS 5000
#define TERMINATE_MS 3000
#define MAX_FILE_BYTES (4u << 20)
#define INSTANCES 2
#define HOLDER "resolver-sockets"

struct instance {
    struct resolver *resolver;
    char *pid_file, *log_path;
    atomic_int pid;
    struct helper *helper;
};

struct resolver {
    const struct net_config *config;
    char *hosts;
    atomic_uint refs; /* the owner's and one per posted task */
    bool closed;
    char *addresses;                 /* "A,B" */
    int sockets[NAMESERVER_SOCKETS]; /* -1: not open */
    struct helper *holder;
    struct loop_timer *retry;
    struct instance instances[INSTANCES];
};

static const char *const instance_names[INSTANCES] = {"resolver", "resolver-2"};

static char *path_of(const struct net_config *config, const char *name)
{
    return file_join(config->directory, name);
}

static char *instance_path(const struct net_config *config, unsigned index, const char *ending)
{
    auto_free char *name = mem_printf("%s.%s", instance_names[index], ending);
    return path_of(config, name);
}

static char *addresses_of(const struct net_config *config)
{
    char first[INET_ADDRSTRLEN], spare[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &config->dns_address, first, sizeof(first));
    inet_ntop(AF_INET, &config->dns_spare, spare, sizeof(spare));
    return config->dns_spare.s_addr ? mem_printf("%s,%s", first, spare) : mem_strdup(first);
}

struct resolver *resolver_new(const struct net_config *config)
{
    struct resolver *resolver = NEW(struct resolver);
    resolver->config = config;
    resolver->hosts = path_of(config, "names");
    resolver->addresses = addresses_of(config);
    for (int i = 0; i < NAMESERVER_SOCKETS; i++)
        resolver->sockets[i] = -1;
    atomic_init(&resolver->refs, 1);
    for (unsigned i = 0; i < INSTANCES; i++) {
        struct instance *instance = &resolver->instances[i];
        instance->resolver = resolver;
        instance->pid_file = instance_path(config, i, "pid");
        instance->log_path = instance_path(config, i, "log");
    }
    return resolver;
}

static void unref(struct resolver *resolver)
{
    if (atomic_fetch_sub(&resolver->refs, 1) != 1)
        return;
    for (unsigned i = 0; i < INSTANCES; i++) {
        free(resolver->instances[i].pid_file);
        free(resolver->instances[i].log_path);
    }
    free(resolver->addresses);
    free(resolver->hosts);
    free(resolver);
}

static void on_start(void *arg, pid_t pid, bool adopted)
{
    struct instance *instance = arg;
    atomic_store(&instance->pid, pid);
    log_info("net", "resolver %s, pid %d", adopted ? "adopted" : "started", (int)pid);
}

static void on_exit_helper(void *arg)
{
    struct instance *instance = arg;
    atomic_store(&instance->pid, 0);
}

/* This program itself in another role. Everything is on the command line, so that the helper's hash tells a
 * changed configuration. Caller frees the array; it holds the texts. */
static char **command_line(const struct instance *instance)
{
    const struct resolver *resolver = instance->resolver;
    const struct net_config *config = resolver->config;
    char pods[INET_ADDRSTRLEN];
    auto_str options = {0};
    inet_ntop(AF_INET, &config->cluster_range.address, pods, sizeof pods);
    str_addf(&options, "/proc/self/exe\nresolver\n--names\n%s\n--address\n%s\n--pods\n%s/%u\n--domain\n%s",
             resolver->hosts, resolver->addresses, pods, config->cluster_range.prefix,
             config->cluster_domain ? config->cluster_domain : "cluster.local");
    if (!str_empty(config->resolv_conf))
        str_addf(&options, "\n--resolv-conf\n%s", config->resolv_conf);
    size_t count;
    return str_split(options.data, '\n', &count);
}

static size_t n_sockets(const struct resolver *resolver)
{
    return resolver->config->dns_spare.s_addr ? NAMESERVER_SOCKETS : NAMESERVER_SOCKETS / 2;
}

/* Those of the agent before this one, whoever still has them; -1 for none. */
static int take_socket(const struct resolver *resolver, unsigned index)
{
    int fd = holder_take(resolver->config->directory, HOLDER, index);
    for (unsigned i = 0; i < INSTANCES && fd < 0; i++)
        fd = helper_take_fd(resolver->instances[i].pid_file, index);
    return fd;
}

static void close_sockets(struct resolver *resolver)
{
    for (int i = 0; i < NAMESERVER_SOCKETS; i++) {
        if (resolver->sockets[i] >= 0)
            close(resolver->sockets[i]);
        resolver->sockets[i] = -1;
    }
}

static int open_sockets(struct resolver *resolver, struct err **err)
{
    const struct in_addr addresses[NAMESERVER_ADDRESSES] = {resolver->config->dns_address,
                                                            resolver->config->dns_spare};
    int taken[NAMESERVER_SOCKETS];
    for (unsigned i = 0; i < NAMESERVER_SOCKETS; i++)
        resolver->sockets[i] = taken[i] = i < n_sockets(resolver) ? take_socket(resolver, i) : -1;
    int result = nameserver_listen(resolver->sockets, addresses, err);
    for (int i = 0; i < NAMESERVER_SOCKETS; i++)
        if (taken[i] >= 0 && resolver->sockets[i] != taken[i])
            close(taken[i]); /* it was another's */
    if (result < 0)
        close_sockets(resolver);
    return result;
}

/* Name servers that do not pass theirs on, as an agent of an older version started them, hold the addresses.
 */
static void end_others(const struct resolver *resolver)
{
    for (unsigned i = 0; i < INSTANCES; i++) {
        auto_err err = NULL;
        if (helper_terminate(resolver->instances[i].pid_file, TERMINATE_MS, &err) < 0)
            log_warn("net", "%s", err_message(err));
    }
}

/* Also those that are started again by themselves have these sockets. */
static int hold_sockets(struct resolver *resolver, struct err **err)
{
    if (resolver->holder)
        return 0;
    if (resolver->sockets[0] < 0 && open_sockets(resolver, NULL) < 0) {
        end_others(resolver);
        if (open_sockets(resolver, err) < 0)
            return -1;
    }
    const struct holder_options options = {.directory = resolver->config->directory,
                                           .name = HOLDER,
                                           .what = resolver->addresses,
                                           .fds = resolver->sockets,
                                           .n_fds = n_sockets(resolver),
                                           .loop = resolver->config->loop};
    resolver->holder = holder_new(&options, err);
    return resolver->holder ? 0 : -1;
}

static int start_helper(struct instance *instance, struct err **err)
{
    const struct resolver *resolver = instance->resolver;
    if (instance->helper)
        return 0;
    auto_free char **argv = command_line(instance);
    const struct helper_options options = {.name = instance_names[instance - resolver->instances],
                                           .argv = (const char *const *)argv,
                                           .pid_file = instance->pid_file,
                                           .log_path = instance->log_path,
                                           .fds = resolver->sockets,
                                           .n_fds = n_sockets(resolver),
                                           .loop = resolver->config->loop,
                                           .on_start = on_start,
                                           .on_exit = on_exit_helper,
                                           .arg = instance};
    instance->helper = helper_new(&options, err);
    return instance->helper ? 0 : -1;
}

static void start_all(void *arg)
{
    struct resolver *resolver = arg;
    auto_err err = NULL;
    if (resolver->closed || !resolver->config->dns_address.s_addr)
        return;
    int result = hold_sockets(resolver, &err);
    for (unsigned i = 0; i < INSTANCES && result == 0; i++)
        result = start_helper(&resolver->instances[i], &err);
    if (result == 0)
        return;
    log_error("net", "the node's name servers: %s; trying again in %d s", err_message(err), RETRY_MS / 1000);
    if (!resolver->retry)
        resolver->retry = loop_timer_new(resolver->config->loop, start_all, resolver);
    loop_timer_start(resolver->retry, RETRY_MS);
}

static void start_task(void *arg)
{
    start_all(arg);
    unref(arg);
}

int resolver_setup(struct resolver *resolver, struct err **err)
{
    if (file_make_dirs(resolver->hosts, 0755, err) < 0)
        return -1;
    atomic_fetch_add(&resolver->refs, 1);
    loop_post(resolver->config->loop, start_task, resolver);
    return 0;
}

/* "default/web" → "default%2fweb"; names of files that are left out (dot-files) cannot come out of this.
 */
static char *file_name(const char *key)
{
    struct str name = {0};
    for (const char *at = key; *at; at++) {
        bool plain = isalnum((unsigned char)*at) || *at == '-' || *at == '_' || (*at == '.' && at != key);
        if (plain)
            str_add_char(&name, *at);
        else
            str_addf(&name, "%%%02x", (unsigned char)*at);
    }
    if (name.len > 200) {
        unsigned long long hash = str_hash(key, strlen(key));
        name.len = 180;
        name.data[name.len] = 0;
        str_addf(&name, "%%%016llx", hash);
    }
    return str_take(&name);
}

/* A name with a blank or a comment sign would change the meaning of its line. */
static bool name_fits(const char *name)
{
    if (str_empty(name) || strlen(name) > 253)
        return false;
    for (const char *at = str_starts(name, "*.") ? name + 1 : name; *at; at++) {
        if (!isalnum((unsigned char)*at) && !strchr("-_.", *at))
            return false;
    }
    return true;
}

static void render(const struct net_names *names, struct str *text)
{
    for (size_t i = 0; i < names->n_records; i++) {
        char address[INET_ADDRSTRLEN];
        const struct net_name *record = &names->records[i];
        if (!name_fits(record->name)) {
            log_warn("net", "%s: \"%s\" is no name", names->key, record->name ? record->name : "");
            continue;
        }
        if (record->target && !name_fits(record->target)) {
            log_warn("net", "%s: \"%s\" is no name", names->key, record->target);
            continue;
        }
        inet_ntop(AF_INET, &record->address, address, sizeof address);
        if (record->target && record->port)
            str_addf(text, "srv %s %u %s\n", record->name, record->port, record->target);
        else if (record->target)
            str_addf(text, "cname %s %s\n", record->name, record->target);
        else
            str_addf(text, "%s %s\n", address, record->name);
    }
}

static int write_names(struct resolver *resolver, const struct net_names *names, const char *path,
                       struct err **err)
{
    auto_str text = {0};
    auto_free char *now = NULL;
    size_t length;
    render(names, &text);
    if (!text.len) {
        return unlink(path) == 0 || errno == ENOENT ? 0 : err_errno(err, errno, "removing %s", path);
    }
    if (file_read(path, MAX_FILE_BYTES, &now, &length, NULL) == 0 && length == text.len &&
        memcmp(now, text.data, length) == 0)
        return 0; /* it is so already */
    if (file_write_atomic(path, text.data, text.len, 0644, err) == 0)
        return 0;
    return err_wrap(err, "writing names into %s", resolver->hosts);
}

int resolver_names(struct resolver *resolver, const struct net_names *changes, size_t count, struct err **err)
{
    for (size_t i = 0; i < count; i++) {
        if (changes[i].keep)
            continue;
        auto_free char *name = file_name(changes[i].key);
        auto_free char *path = file_join(resolver->hosts, name);
        if (write_names(resolver, &changes[i], path, err) < 0)
            return -1;
    }
    return 0;
}

int resolver_names_all(struct resolver *resolver, const struct net_names *names, size_t count,
                       struct err **err)
{
    auto_map keep = {0};
    size_t n_files;
    if (file_make_dirs(resolver->hosts, 0755, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        auto_free char *name = file_name(names[i].key);
        map_set(&keep, name, NULL);
    }
    auto_free char **files = file_list(resolver->hosts, &n_files, err);
    if (!files)
        return -1;
    for (size_t i = 0; i < n_files; i++) {
        if (map_has(&keep, files[i]))
            continue;
        auto_free char *path = file_join(resolver->hosts, files[i]);
        if (unlink(path) < 0 && errno != ENOENT)
            return err_errno(err, errno, "removing %s", path);
    }
    return resolver_names(resolver, names, count, err);
}

cJSON *resolver_state(struct resolver *resolver)
{
    cJSON *state = cJSON_CreateObject();
    cJSON *pids = json_ensure_array(state, "pids");
    for (unsigned i = 0; i < INSTANCES; i++) {
        if (resolver->config->dns_address.s_addr)
            json_push(pids, cJSON_CreateNumber(atomic_load(&resolver->instances[i].pid)));
    }
    json_set_string(state, "names", resolver->hosts);
    return state;
}

void resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return;
    resolver->closed = true;
    loop_timer_free(steal(&resolver->retry));
    for (unsigned i = 0; i < INSTANCES; i++)
        helper_free(steal(&resolver->instances[i].helper));
    helper_free(steal(&resolver->holder));
    close_sockets(resolver);
    unref(resolver);
}

int resolver_shutdown(const struct net_config *config, struct err **err)
{
    auto_free char *hosts = path_of(config, "names");
    for (unsigned i = 0; i < INSTANCES; i++) {
        auto_free char *pid_file = instance_path(config, i, "pid");
        auto_free char *log_path = instance_path(config, i, "log");
        if (helper_terminate(pid_file, TERMINATE_MS, err) < 0)
            return -1;
        unlink(log_path);
    }
    if (holder_shutdown(config->directory, HOLDER, err) < 0)
        return -1;
    return file_remove_tree(hosts, err);
}
