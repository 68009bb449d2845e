/* minik8s node: joins the cluster if need be, then runs the agent of this machine with its own HTTPS server.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "commands.h"
#include "metrics/metrics.h"
#include "net/net.h"
#include "node/node.h"
#include "node_config.h"
#include "node_join.h"
#include "node_lua.h"
#include "options.h"
#include "process.h"
#include "runtime/runtime.h"
#include "script/script_node.h"

#define DNS_ADDRESS "169.254.20.10"
#define DNS_SPARE "169.254.20.11"
#define CLUSTER_DOMAIN "cluster.local"
#define SERVICE_RANGE "10.96.0.0/16" /* of a cluster that did not say */
#define POD_RANGE "10.244.0.0/16"
/* Three may wait for long: external names, mounts of network volumes, the measuring of large volumes. */
#define POOL_THREADS 6
#define FILE_THREADS 16 /* so many pods' files may lie on what hangs before other pods wait too */

struct agent {
    const char *name, *directory, *netns, *server, *ca, *address, *token, *token_file, *cluster, *file;
    const char *service_range, *cluster_range, *images, *oci_runtime, *labels, *resolv_conf;
    long long port;
    char own_address[INET_ADDRSTRLEN]; /* found by the interface */
    struct node_config config;         /* as it was at the start */
    struct node_config current;        /* the last one that was right; without documents: config */
    struct node_config_watch *watch;
    const struct node_extension **extensions;

    struct loop *loop, *heartbeat_loop;
    pthread_t heartbeat_thread;
    bool heartbeat_running, left, again; /* left: take back what was made; again: begin anew */
    struct process_renewal *renewal;     /* pods go on while the agent starts again */
    struct loop_signals *signals;
    struct node_identity identity;
    struct http_client *http, *heartbeat_http;
    struct pool *pool, *file_pool;
    struct runtime *runtime;
    struct net *net;
    struct metrics *metrics;
    struct script_node *script; /* policies that are asked here */
    struct node *node;
    struct http_server *listener;
    char *state, *podman, *storage, *network, *persistent;
};

/* ---- parts ---- */

static int make_net_config(const struct agent *a, const char *pod_range, struct net_config *config,
                           struct err **err)
{
    *config = (struct net_config){.directory = a->network,
                                  .table = "minik8s",
                                  .bridge = "m8pods",
                                  .cluster_domain = CLUSTER_DOMAIN,
                                  .resolv_conf = a->resolv_conf,
                                  .loop = a->loop};
    struct node_settings settings;
    node_config_settings(&a->config, &settings);
    config->routing = settings.routing;
    if (net_cidr_parse(pod_range, &config->pod_range, err) < 0 ||
        net_cidr_parse(a->cluster_range, &config->cluster_range, err) < 0 ||
        net_cidr_parse(a->service_range, &config->service_range, err) < 0)
        return -1;
    if (inet_pton(AF_INET, a->address, &config->node_address) != 1)
        return err_set(err, ERR_BAD_REQUEST, "the address of a node is an IPv4 address, not \"%s\"",
                       a->address);
    inet_pton(AF_INET, DNS_ADDRESS, &config->dns_address);
    inet_pton(AF_INET, DNS_SPARE, &config->dns_spare);
    return 0;
}

static struct net *net_for_range(void *arg, const char *pod_range, struct err **err)
{
    struct agent *a = arg;
    struct net_config config;
    if (make_net_config(a, pod_range, &config, err) < 0)
        return NULL;
    a->net = net_linux_new(&config, err);
    return a->net;
}

static struct http_client *server_client(const struct agent *a, struct loop *loop, struct err **err)
{
    const struct http_client_options options = {.base_url = a->server,
                                                .ca_pem = a->identity.ca_pem,
                                                .certificate_pem = a->identity.certificate_pem,
                                                .key_pem = a->identity.key_pem,
                                                .agent = "minik8s-node/" MINIK8S_VERSION};
    return http_client_curl_new(loop, &options, err);
}

static void *heartbeat_main(void *arg)
{
    prctl(PR_SET_NAME, "heart-beat"); /* so that its cost can be seen apart */
    loop_run(((struct agent *)arg)->heartbeat_loop);
    return NULL;
}

static struct runtime_podman_options podman_options(const struct agent *a)
{
    const cJSON *settings = a->config.settings;
    return (struct runtime_podman_options){.directory = a->podman,
                                           .storage = a->storage,
                                           .cluster = a->cluster,
                                           .node = a->name,
                                           .oci_runtime = a->oci_runtime,
                                           .shared_images = a->images,
                                           .socket = json_string(settings, "runtime.socket"),
                                           .driver = json_string(settings, "storage.driver"),
                                           .loop = a->loop};
}

static int open_runtime(struct agent *a, struct err **err)
{
    const struct runtime_podman_options options = podman_options(a);
    a->runtime = runtime_podman_new(&options, err);
    return a->runtime ? 0 : -1;
}

/* "a=b,c=" → {"a":"b","c":""}; caller owns; NULL for no text. */
static cJSON *parse_labels(const char *text)
{
    if (str_empty(text))
        return NULL;
    size_t count;
    auto_free char **pairs = str_split(text, ',', &count);
    cJSON *labels = cJSON_CreateObject();
    for (size_t i = 0; i < count; i++) {
        auto_free char *key = mem_strndup(pairs[i], strcspn(pairs[i], "="));
        const char *equals = strchr(pairs[i], '=');
        json_set_string(labels, key, equals ? equals + 1 : "");
    }
    return labels;
}

static void on_left(void *arg, bool again)
{
    struct agent *a = arg;
    a->left = true;
    a->again = again;
    loop_stop(a->loop);
}

/* Containers, interfaces, rules, and what the disk knows of pods: all but the certificate and the images. */
static void take_back(const struct agent *a)
{
    static const char *const of_pods[] = {"pods", "volumes", "logs", "state.json"};
    const struct runtime_podman_options runtime = podman_options(a);
    struct net_config net;
    auto_err of_runtime = NULL;
    auto_err of_net = NULL;
    auto_err of_files = NULL;
    if (runtime_podman_shutdown(&runtime, true, &of_runtime) < 0)
        log_warn("node", "leaving: %s", err_message(of_runtime));
    if (make_net_config(a, a->cluster_range, &net, &of_net) < 0 || net_linux_shutdown(&net, &of_net) < 0)
        log_warn("node", "leaving: %s", err_message(of_net));
    for (size_t i = 0; a->extensions && a->extensions[i]; i++) {
        auto_err of_extension = NULL;
        auto_free char *path = file_join(a->state, a->extensions[i]->name);
        if (a->extensions[i]->shutdown(path, &of_extension) < 0)
            log_warn("node", "leaving: %s: %s", a->extensions[i]->name, err_message(of_extension));
    }
    for (size_t i = 0; i < COUNT_OF(of_pods); i++) {
        auto_free char *path = file_join(a->state, of_pods[i]);
        if (file_remove_tree(path, &of_files) < 0)
            log_warn("node", "leaving: %s", err_message(of_files));
    }
    log_info("node", "%s has left the cluster", a->name);
}

/* The file differs: what can be followed is, the rest is said on the Node. A file that is wrong changes
 * nothing. */
static void on_file_changed(void *arg)
{
    struct agent *a = arg;
    struct node_config now;
    struct node_settings settings;
    auto_err wrong = NULL;
    if (node_config_read(a->file, &now, &wrong) < 0) {
        log_error("node", "%s", err_message(wrong));
        node_config_settings(a->current.settings ? &a->current : &a->config, &settings);
        settings.wrong = err_message(wrong);
    } else {
        now.restart = node_config_needs_restart(&a->config, &now);
        if (now.restart)
            log_warn("node", "%s: in force after a restart of the agent: %s", a->file, now.restart);
        node_config_fini(&a->current);
        a->current = now;
        node_config_settings(&a->current, &settings);
    }
    node_configure(a->node, &settings);
}

static int open_policies(struct agent *a, struct err **err)
{
    struct node_lua lua;
    if (node_lua_find(&lua, a->state, err) == 0) {
        auto_free char *file = file_join(a->state, "policies.json");
        const struct script_node_options options = {.lua_directories = lua.lua,
                                                    .shipped_policies = lua.policies,
                                                    .file = file,
                                                    .clock = loop_clock(a->loop)};
        a->script = script_node_new(&options, err);
    }
    node_lua_fini(&lua);
    return a->script ? 0 : -1;
}

static int open_node(struct agent *a, struct err **err)
{
    auto_json labels = parse_labels(a->labels);
    struct node_settings settings;
    node_config_settings(&a->config, &settings);
    if (labels)
        settings.labels = labels;
    const struct node_options options = {.name = a->name,
                                         .cluster = a->cluster,
                                         .directory = a->state,
                                         .persistent = a->persistent,
                                         .loop = a->loop,
                                         .pool = a->pool,
                                         .file_pool = a->file_pool,
                                         .random = &random_system,
                                         .http = a->http,
                                         .heartbeat_loop = a->heartbeat_loop,
                                         .heartbeat_http = a->heartbeat_http,
                                         .runtime = a->runtime,
                                         .net_new = net_for_range,
                                         .net_new_arg = a,
                                         .metrics = a->metrics,
                                         .policies = script_node_policies(a->script),
                                         .version = MINIK8S_VERSION,
                                         .internal_ip = a->address,
                                         .port = (uint16_t)a->port,
                                         .ca_pem = a->identity.ca_pem,
                                         .dns_address = DNS_ADDRESS,
                                         .dns_spare = DNS_SPARE,
                                         .cluster_domain = CLUSTER_DOMAIN,
                                         .settings = settings,
                                         .storage = a->storage,
                                         .watch_pressure = true,
                                         .shares_machine = a->netns != NULL,
                                         .extensions = a->extensions,
                                         .certificate_problem = a->identity.problem,
                                         .on_left = on_left,
                                         .on_left_arg = a};
    a->node = node_new(&options, err);
    if (!a->node)
        return -1;
    const struct http_server_options listen = {.address = a->address,
                                               .port = (uint16_t)a->port,
                                               .certificate_pem = a->identity.certificate_pem,
                                               .key_pem = a->identity.key_pem,
                                               .client_ca_pem = a->identity.ca_pem,
                                               .threads = 1,
                                               .handler = node_handle,
                                               .handler_arg = a->node};
    a->listener = http_server_new(&listen, err);
    return a->listener ? 0 : -1;
}

static bool same_range(const char *a, const char *b)
{
    struct net_cidr one, other;
    return net_cidr_parse(a, &one, NULL) == 0 && net_cidr_parse(b, &other, NULL) == 0 &&
           one.address.s_addr == other.address.s_addr && one.prefix == other.prefix;
}

/* The flag, else what the server said, else the default. */
static int choose_range(const char *flag, const char **value, const char *told, const char *otherwise,
                        struct err **err)
{
    if (*value && told && !same_range(*value, told))
        return err_set(err, ERR_BAD_REQUEST,
                       "--%s is %s, but the range of the cluster that this machine joined is %s: leave the "
                       "flag out",
                       flag, *value, told);
    if (!*value)
        *value = told ? told : otherwise;
    return 0;
}

static int choose_ranges(struct agent *a, struct err **err)
{
    const struct node_identity *told = &a->identity;
    if (choose_range("cluster-range", &a->cluster_range, told->pod_range, POD_RANGE, err) < 0)
        return -1;
    return choose_range("service-range", &a->service_range, told->service_range, SERVICE_RANGE, err);
}

static int make_paths(struct agent *a, struct err **err)
{
    a->state = file_join(a->directory, "agent");
    a->podman = file_join(a->directory, "podman");
    a->storage = file_join(a->directory, "storage");
    a->network = file_join(a->directory, "network");
    a->persistent = file_join(a->directory, "persistent");
    const char *const paths[] = {a->state, a->podman, a->storage, a->network, a->persistent};
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        if (file_make_dirs(paths[i], 0711, err) < 0)
            return -1;
    return 0;
}

static int open_all(struct agent *a, struct err **err)
{
    a->loop = loop_new(err);
    a->heartbeat_loop = loop_new(err);
    if (!a->loop || !a->heartbeat_loop || !(a->signals = process_stop_on_signals(a->loop, err)))
        return -1;
    if (a->file && !(a->watch = node_config_watch_new(a->loop, a->file, on_file_changed, a, err)))
        return -1;
    if (make_paths(a, err) < 0)
        return -1;
    const struct node_join_options join = {.name = a->name,
                                           .directory = a->state,
                                           .server = a->server,
                                           .ca = a->ca,
                                           .address = a->address,
                                           .token = a->token,
                                           .token_file = a->token_file};
    if (node_join(&join, &a->identity, err) < 0 || choose_ranges(a, err) < 0)
        return -1;
    a->renewal = process_renewal_new(a->loop, a->identity.renew_ns, &a->again);
    a->extensions = process_extensions(err);
    if (!a->extensions)
        return -1;
    if (open_policies(a, err) < 0)
        return -1;
    a->metrics = metrics_new();
    metrics_add_process(a->metrics);
    a->pool = pool_new(POOL_THREADS);
    a->file_pool = pool_new(FILE_THREADS);
    a->http = server_client(a, a->loop, err);
    a->heartbeat_http = a->http ? server_client(a, a->heartbeat_loop, err) : NULL;
    if (!a->heartbeat_http || open_runtime(a, err) < 0 || open_node(a, err) < 0)
        return -1;
    a->heartbeat_running = pthread_create(&a->heartbeat_thread, NULL, heartbeat_main, a) == 0;
    return a->heartbeat_running ? 0 : err_set(err, ERR_INTERNAL, "no thread for the heart-beat");
}

static void close_all(struct agent *a)
{
    if (a->listener)
        http_server_free(a->listener);
    if (a->heartbeat_running) {
        loop_stop(a->heartbeat_loop);
        pthread_join(a->heartbeat_thread, NULL);
    }
    if (a->node)
        node_free(a->node);
    script_node_free(a->script);
    pool_free(a->pool);
    pool_free(a->file_pool);
    if (a->runtime)
        a->runtime->ops->free(a->runtime);
    if (a->net)
        a->net->ops->free(a->net);
    if (a->heartbeat_http)
        a->heartbeat_http->ops->free(a->heartbeat_http);
    if (a->http)
        a->http->ops->free(a->http);
    if (a->left)
        take_back(a);
    if (a->metrics)
        metrics_free(a->metrics);
    process_renewal_free(a->renewal);
    node_identity_fini(&a->identity);
    node_config_watch_free(a->watch);
    node_config_fini(&a->config);
    node_config_fini(&a->current);
    if (a->signals)
        loop_signals_remove(a->signals);
    loop_free(a->heartbeat_loop);
    loop_free(a->loop);
    free(a->extensions);
    free(a->state);
    free(a->podman);
    free(a->storage);
    free(a->network);
    free(a->persistent);
}

/* What no flag says, the file does. */
static void take_from_file(struct agent *a)
{
    const cJSON *settings = a->config.settings;
    const struct {
        const char **value, *found;
    } texts[] = {{&a->name, json_string(a->config.node, "metadata.name")},
                 {&a->server, json_string(settings, "server")},
                 {&a->address, json_string(settings, "address")},
                 {&a->directory, json_string(settings, "storage.path")}};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (str_empty(*texts[i].value))
            *texts[i].value = texts[i].found;
    if (!a->port)
        a->port = json_int(settings, "port", 0);
}

/* In the agent's own network: the address of its interface, if none was given. */
static int find_address(struct agent *a, struct err **err)
{
    struct in_addr address;
    if (!str_empty(a->address))
        return 0;
    if (netlink_own_address(json_string(a->config.settings, "interface"), &address, err) < 0)
        return err_wrap(err, "the node's address (set address or interface in its file, or --address)");
    inet_ntop(AF_INET, &address, a->own_address, sizeof a->own_address);
    a->address = a->own_address;
    return 0;
}

static int check(const struct agent *a, struct err **err)
{
    const struct {
        const char *flag, *value, *field;
    } wanted[] = {{"name", a->name, "metadata.name of the Node"}, {"server", a->server, "server"}};
    for (size_t i = 0; i < COUNT_OF(wanted); i++)
        if (str_empty(wanted[i].value))
            return err_set(err, ERR_BAD_REQUEST, "--%s or a file with %s (--config) is required; see --help",
                           wanted[i].flag, wanted[i].field);
    return 0;
}

static int read_command_line(struct agent *a, int argc, char **argv, struct err **err)
{
    const struct option_spec specs[] = {
        {"config", OPTION_TEXT, &a->file,
         "YAML file with this machine's Node and NodeConfiguration; flags win"},
        {"name", OPTION_TEXT, &a->name, "name of the Node object"},
        {"server", OPTION_TEXT, &a->server, "https://ADDRESS:PORT of the server"},
        {"ca", OPTION_TEXT, &a->ca,
         "file with the cluster's CA (default: the server shows it, the token proves it)"},
        {"token", OPTION_TEXT, &a->token, "join token, needed once"},
        {"token-file", OPTION_TEXT, &a->token_file, "file with the join token"},
        {"address", OPTION_TEXT, &a->address,
         "this machine's address (default: of the default route's interface)"},
        {"dir", OPTION_TEXT, &a->directory, "where everything is kept (default /var/lib/minik8s/node)"},
        {"labels", OPTION_TEXT, &a->labels, "labels of the Node when it registers: KEY=VALUE,…"},
        {"images", OPTION_TEXT, &a->images, "folder of images that several nodes share"},
        {"oci-runtime", OPTION_TEXT, &a->oci_runtime, "crun or runc (default: what works here)"},
        {"cluster", OPTION_TEXT, &a->cluster, "name of the cluster in the containers' labels"},
        {"service-range", OPTION_TEXT, &a->service_range,
         "virtual addresses of Services (default: as the server says)"},
        {"cluster-range", OPTION_TEXT, &a->cluster_range,
         "addresses of all pods (default: as the server says)"},
        {"port", OPTION_INTEGER, &a->port, "port of the agent (default 10250)"},
        {"resolv-conf", OPTION_TEXT, &a->resolv_conf,
         "file with the servers to ask for names from outside (default /etc/resolv.conf)"},
        {"netns", OPTION_TEXT, &a->netns, "network namespace to live in"},
    };
    struct arguments arguments;
    int parsed =
        options_parse(argc, argv, 1, "node (--config FILE | --name N --server URL) [--token T] [OPTIONS]",
                      specs, COUNT_OF(specs), &arguments, err);
    arguments_fini(&arguments);
    if (parsed < 0 || node_config_read(a->file, &a->config, err) < 0)
        return -1;
    take_from_file(a);
    return check(a, err);
}

int command_node(int argc, char **argv)
{
    struct agent a = {.resolv_conf = "/etc/resolv.conf", .cluster = "minik8s"};
    auto_err err = NULL;
    int code = 1;
    if (read_command_line(&a, argc, argv, &err) < 0) {
        node_config_fini(&a.config);
        return process_fail(err) + 1;
    }
    if (process_enter(a.name, a.netns, &err) < 0 || find_address(&a, &err) < 0 || open_all(&a, &err) < 0) {
        process_fail(err);
    } else {
        log_info("node", "running, server %s", a.server);
        loop_run(a.loop);
        code = 0;
    }
    bool again = a.again;
    close_all(&a);
    return again ? process_again(argv) : code;
}
