/* minik8s server: store, watch hub, REST over TLS. No policy code runs here. */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "api/api.h"
#include "auth/auth.h"
#include "base/file.h"
#include "base/log.h"
#include "client/client.h"
#include "commands.h"
#include "net/netlink.h"
#include "options.h"
#include "process.h"
#include "store/blobs.h"
#include "store/store_lmdb.h"

#define PAST_EVENTS 2000000 /* an hour at 500 writes/s; usually the bytes bound it */
#define PAST_BYTES (1u << 30)

struct server {
    const char *directory, *netns, *address, *service_range, *pod_range, *kubeconfig;
    long long port, node_validity, validity; /* s; 0: a year */
    struct loop *loop;
    struct loop_signals *signals;
    struct schema *schema;
    struct auth_authority *authority;
    struct store *store;
    struct watch_hub *hub;
    struct metrics *metrics;
    struct api *api;
    struct http_server *http;
    struct blobs *blobs;
    char *backups;
    int64_t renew_ns; /* wall: when the first of its certificates must be renewed; 0: none was read yet */
    struct process_renewal *renewal;
    bool again;
    char *pki, *certificate, *key;
    char *caller_certificate, *caller_key; /* towards agents */
    bool failed;
};

#define MAX_BLOBS (INT64_C(4) << 30) /* bytes of files of all objects */

/* ---- certificates ---- */

/* The first address of the Service range: the Service "kubernetes". */
static char *first_service_address(const char *range)
{
    struct net_cidr cidr;
    if (net_cidr_parse(range, &cidr, NULL) < 0)
        return mem_strdup("10.96.0.1");
    unsigned long address = ntohl(cidr.address.s_addr) + 1;
    return mem_printf("%lu.%lu.%lu.%lu", address >> 24, address >> 16 & 255, address >> 8 & 255,
                      address & 255);
}

/* Reads or makes one of this server's own, and notes when it must be renewed. */
static int keep_certificate(struct server *s, const char *name, struct auth_subject *subject,
                            char **certificate, char **key, struct err **err)
{
    int64_t renew_ns;
    subject->validity_ns = s->validity ? s->validity * 1000000000 : 365 * AUTH_DAY_NS;
    if (auth_ca_keep(auth_authority_ca(s->authority), s->pki, name, subject, certificate, key, err) < 0 ||
        auth_pem_renewal(*certificate, &renew_ns, err) < 0)
        return -1;
    if (renew_ns < clock_wall_ns(&clock_system))
        renew_ns = process_renewal_retry(*certificate);
    if (!s->renew_ns || renew_ns < s->renew_ns)
        s->renew_ns = renew_ns;
    return 0;
}

/* Not the one that the server is known by: see core/auth/authorize.c. */
static int make_caller_certificate(struct server *s, struct err **err)
{
    const char *const groups[] = {AUTH_SERVER_GROUP, NULL};
    struct auth_subject subject = {
        .common_name = AUTH_CALLER_USER, .organizations = groups, .usage = AUTH_CLIENT};
    return keep_certificate(s, "agents-client", &subject, &s->caller_certificate, &s->caller_key, err);
}

static int make_certificates(struct server *s, struct err **err)
{
    s->authority = auth_authority_open(s->pki, &clock_system, &random_system, err);
    if (!s->authority)
        return -1;
    auto_free char *service = first_service_address(s->service_range);
    const char *const names[] = {s->address,
                                 "127.0.0.1",
                                 "localhost",
                                 service,
                                 "kubernetes",
                                 "kubernetes.default",
                                 "kubernetes.default.svc",
                                 "kubernetes.default.svc.cluster.local",
                                 NULL};
    struct auth_subject subject = {.common_name = AUTH_SERVER_USER, .names = names, .usage = AUTH_SERVER};
    if (keep_certificate(s, "server", &subject, &s->certificate, &s->key, err) < 0)
        return -1;
    return make_caller_certificate(s, err);
}

static char *own_url(const struct server *s)
{
    return mem_printf("https://%s:%u", s->address, http_server_port(s->http));
}

static int write_manager_kubeconfig(struct server *s, struct err **err)
{
    const char *const groups[] = {AUTH_MANAGER_GROUP, NULL};
    struct auth_subject subject = {
        .common_name = AUTH_MANAGER_USER, .organizations = groups, .usage = AUTH_CLIENT};
    auto_free char *certificate = NULL;
    auto_free char *key = NULL;
    struct auth_ca *ca = auth_authority_ca(s->authority);
    if (keep_certificate(s, "manager", &subject, &certificate, &key, err) < 0)
        return -1;
    auto_free char *path = file_join(s->directory, "manager.kubeconfig");
    auto_free char *url = own_url(s);
    const struct kubeconfig config = {.server = url,
                                      .ca_pem = (char *)(uintptr_t)auth_ca_pem(ca),
                                      .certificate_pem = certificate,
                                      .key_pem = key};
    return kubeconfig_write(path, "manager", &config, err);
}

static int write_kubeconfigs(struct server *s, struct err **err)
{
    auto_free char *token = auth_admin_token(s->pki, &random_system, err);
    if (!token)
        return -1;
    auto_free char *url = own_url(s);
    auto_free char *beside = file_join(s->directory, "kubeconfig");
    const struct kubeconfig config = {.server = url,
                                      .ca_pem =
                                          (char *)(uintptr_t)auth_ca_pem(auth_authority_ca(s->authority)),
                                      .token = token};
    /* The admin's comes last: `cluster up` starts the manager when it is there. */
    if (write_manager_kubeconfig(s, err) < 0)
        return -1;
    return kubeconfig_write(s->kubeconfig ? s->kubeconfig : beside, "minik8s", &config, err);
}

/* ---- parts ---- */

static void add_volatile(void *arg, const struct schema_kind *kind)
{
    const struct schema_kind_info *info = schema_kind_info(kind);
    if (info->is_volatile)
        map_set(arg, info->resource, (void *)(uintptr_t)info->resource);
}

static void tell_hub_volatile(struct server *s)
{
    auto_map kinds = {0};
    schema_each(s->schema, add_volatile, &kinds);
    auto_free const char **names = map_sorted_keys(&kinds);
    watch_hub_set_volatile(s->hub, names);
}

/* How much of the past is kept (for k.at of the REPL, and watches that resume): 1 GiB, or an eighth of a
 * small file system. */
static uint64_t past_bytes(const char *directory)
{
    struct statvfs fs;
    if (statvfs(directory, &fs) < 0)
        return PAST_BYTES;
    uint64_t eighth = (uint64_t)fs.f_blocks * fs.f_frsize / 8;
    return eighth < PAST_BYTES ? eighth : PAST_BYTES;
}

static int open_store(struct server *s, struct err **err)
{
    auto_free char *directory = file_join(s->directory, "store");
    struct auth_seal *seal = auth_authority_seal(s->authority);
    const struct store_seal sealing = {auth_seal, auth_unseal, seal};
    const struct store_lmdb_options options = {.directory = directory,
                                               .sync = true,
                                               .seal = &sealing,
                                               .log_keep_events = PAST_EVENTS,
                                               .log_keep_bytes = past_bytes(s->directory)};
    s->store = store_lmdb_open(&options, err);
    if (!s->store)
        return -1;
    s->hub = watch_hub_new(s->store, &clock_system);
    tell_hub_volatile(s);
    s->store->ops->set_on_commit(s->store, watch_hub_publish, s->hub);
    return 0;
}

static struct http_client *node_client(void *arg, const char *url, struct err **err)
{
    struct server *s = arg;
    const struct http_client_options options = {.base_url = url,
                                                .ca_pem = auth_ca_pem(auth_authority_ca(s->authority)),
                                                .certificate_pem = s->caller_certificate,
                                                .key_pem = s->caller_key};
    return http_client_curl_new(s->loop, &options, err);
}

static int open_api(struct server *s, struct err **err)
{
    auto_free char *directory = file_join(s->directory, "blobs");
    s->backups = file_join(s->directory, "backups");
    s->blobs = blobs_open(directory, MAX_BLOBS, err);
    if (!s->blobs)
        return -1;
    s->metrics = metrics_new();
    metrics_add_process(s->metrics);
    const struct api_options options = {.loop = s->loop,
                                        .clock = &clock_system,
                                        .random = &random_system,
                                        .store = s->store,
                                        .hub = s->hub,
                                        .schema = s->schema,
                                        .metrics = s->metrics,
                                        .auth = s->authority,
                                        .git_version = KUBERNETES_VERSION,
                                        .product_version = MINIK8S_VERSION,
                                        .node_client = node_client,
                                        .node_client_arg = s,
                                        .service_range = s->service_range,
                                        .pod_range = s->pod_range,
                                        .blobs = s->blobs,
                                        .backups = s->backups,
                                        .public_address = s->address,
                                        .node_validity_ns = s->node_validity * 1000000000,
                                        .public_port = (unsigned)s->port};
    s->api = api_new(&options, err);
    if (!s->api)
        return -1;
    const struct http_server_options listen = {.address = "0.0.0.0",
                                               .port = (uint16_t)s->port,
                                               .certificate_pem = s->certificate,
                                               .key_pem = s->key,
                                               .client_ca_pem = auth_ca_pem(auth_authority_ca(s->authority)),
                                               .handler = api_handle,
                                               .handler_arg = s->api};
    s->http = http_server_new(&listen, err);
    return s->http ? 0 : -1;
}

static void on_bootstrapped(void *arg, struct err *err)
{
    struct server *s = arg;
    auto_err unwritten = NULL;
    /* Who waits for the kubeconfig of a new cluster may count on what every cluster has. */
    if (!err && write_kubeconfigs(s, &unwritten) < 0)
        err = unwritten;
    if (!err) {
        s->renewal = process_renewal_new(s->loop, s->renew_ns, &s->again);
        log_info("server", "ready at %s:%u, revision %llu", s->address, http_server_port(s->http),
                 (unsigned long long)s->store->ops->revision(s->store));
        return;
    }
    log_error("server", "cannot make ready what every cluster has: %s", err_message(err));
    s->failed = true;
    loop_stop(s->loop);
}

static int open_all(struct server *s, struct err **err)
{
    if (file_make_dirs(s->directory, 0700, err) < 0)
        return -1;
    s->pki = file_join(s->directory, "pki");
    s->loop = loop_new(err);
    if (!s->loop || !(s->signals = process_stop_on_signals(s->loop, err)))
        return -1;
    s->schema = process_load_schema(err);
    if (!s->schema || make_certificates(s, err) < 0 || open_store(s, err) < 0)
        return -1;
    return open_api(s, err);
}

static void close_all(struct server *s)
{
    if (s->http)
        http_server_free(s->http);
    if (s->store)
        s->store->ops->close(s->store); /* before the api: the last answers come from the writer */
    if (s->api)
        api_free(s->api);
    blobs_close(s->blobs);
    free(s->backups);
    if (s->hub)
        watch_hub_free(s->hub);
    if (s->metrics)
        metrics_free(s->metrics);
    if (s->schema)
        schema_free(s->schema);
    if (s->authority)
        auth_authority_free(s->authority);
    process_renewal_free(s->renewal);
    if (s->signals)
        loop_signals_remove(s->signals);
    loop_free(s->loop);
    free(s->pki);
    free(s->certificate);
    free(s->key);
    free(s->caller_certificate);
    free(s->caller_key);
}

int command_server(int argc, char **argv)
{
    struct server s = {.directory = "/var/lib/minik8s/server",
                       .address = "127.0.0.1",
                       .port = 6443,
                       .service_range = "10.96.0.0/16",
                       .pod_range = "10.244.0.0/16"};
    const struct option_spec specs[] = {
        {"dir", OPTION_TEXT, &s.directory, "where everything is kept (default /var/lib/minik8s/server)"},
        {"address", OPTION_TEXT, &s.address,
         "the address that clients use (in the certificate and the kubeconfig)"},
        {"port", OPTION_INTEGER, &s.port, "port (default 6443; 0: any)"},
        {"service-range", OPTION_TEXT, &s.service_range,
         "virtual addresses of Services (default 10.96.0.0/16)"},
        {"pod-range", OPTION_TEXT, &s.pod_range, "addresses of pods, a /24 per node (default 10.244.0.0/16)"},
        {"kubeconfig", OPTION_TEXT, &s.kubeconfig,
         "where to write the admin's kubeconfig (default DIR/kubeconfig)"},
        {"node-certificate-seconds", OPTION_INTEGER, &s.node_validity,
         "how long certificates of nodes are valid; they are renewed when a third is left (default a year)"},
        {"certificate-seconds", OPTION_INTEGER, &s.validity,
         "how long the server's and the manager's are valid; the server starts again to renew them when a "
         "third is "
         "left (default a year)"},
        {"netns", OPTION_TEXT, &s.netns, "network namespace to live in"},
    };
    struct arguments arguments;
    auto_err err = NULL;
    if (options_parse(argc, argv, 1, "server [OPTIONS]", specs, COUNT_OF(specs), &arguments, &err) < 0) {
        arguments_fini(&arguments);
        return process_fail(err) + 1;
    }
    arguments_fini(&arguments);
    int code = 1;
    if (process_enter("server", s.netns, &err) < 0 || open_all(&s, &err) < 0) {
        process_fail(err);
    } else {
        api_bootstrap(s.api, on_bootstrapped, &s);
        loop_run(s.loop);
        code = s.failed ? 1 : 0;
    }
    bool again = s.again;
    close_all(&s);
    return again ? process_again(argv) : code;
}
