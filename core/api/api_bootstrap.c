/*
 * What every cluster has: its namespaces, priority classes, roles (api_roles.c), and the Service of the API
 * itself. Made by ordinary creates, so that everything that holds for a user's objects holds for these; what
 * is there already is left as it is, but for the endpoint of the API, which may have moved. What a user
 * deletes of it comes back at once.
 */
#include <stdio.h>
#include <string.h>

#include "api/api_internal.h"
#include "base/log.h"

struct bootstrap {
    struct api *api;
    void (*done)(void *arg, struct err *err);
    void *arg;
    atomic_size_t pending;
    pthread_mutex_t lock;
    struct err *error;
    bool services; /* second half */
};

static const char *const first_objects[] = {
    "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"default\"}}",
    "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"kube-system\"}}",
    "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"kube-public\"}}",
    "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"kube-node-lease\"}}",
    "{\"apiVersion\":\"scheduling.k8s.io/"
    "v1\",\"kind\":\"PriorityClass\",\"metadata\":{\"name\":\"system-cluster-"
    "critical\"},\"value\":2000000000,\"description\":\"Pods that the cluster cannot do without.\"}",
    "{\"apiVersion\":\"scheduling.k8s.io/"
    "v1\",\"kind\":\"PriorityClass\",\"metadata\":{\"name\":\"system-node-"
    "critical\"},\"value\":2000001000,\"description\":\"Pods that a node cannot do without.\"}",
};

static void bootstrap_next(struct bootstrap *bootstrap);

static void finish(void *arg)
{
    struct bootstrap *bootstrap = arg;
    if (!bootstrap->error && !bootstrap->services) {
        bootstrap->services = true;
        bootstrap_next(bootstrap);
        return;
    }
    bootstrap->done(bootstrap->arg, bootstrap->error);
    err_free(bootstrap->error);
    pthread_mutex_destroy(&bootstrap->lock);
    free(bootstrap);
}

static void one_done(struct bootstrap *bootstrap)
{
    if (atomic_fetch_sub(&bootstrap->pending, 1) == 1)
        loop_post(bootstrap->api->options.loop, finish, bootstrap);
}

static void on_created(struct op *op)
{
    struct bootstrap *bootstrap = op->arg;
    if (op->error && err_code(op->error) != ERR_ALREADY_EXISTS) {
        pthread_mutex_lock(&bootstrap->lock);
        err_wrap(&op->error, "making %s %s", op->info->kind, op->name);
        err_move(&bootstrap->error, &op->error);
        pthread_mutex_unlock(&bootstrap->lock);
    }
    op_free(op);
    one_done(bootstrap);
}

/* Asked before the create: admission would refuse the address of a Service that exists. */
static bool is_there(struct api *api, const struct schema_kind *kind, const cJSON *object)
{
    struct store_object present = {0};
    auto_free char *key =
        store_key(schema_kind_info(kind)->resource, json_string(object, "metadata.namespace"),
                  json_string(object, "metadata.name"));
    if (api->store->ops->get(api->store, key, &present, NULL) < 0)
        return false;
    store_object_fini(&present);
    return true;
}

static void run(struct bootstrap *bootstrap, struct op *op, cJSON *body)
{
    op->body = body;
    op->finished = on_created;
    op->arg = bootstrap;
    atomic_fetch_add(&bootstrap->pending, 1);
    op_run(op);
}

static void create_object(struct bootstrap *bootstrap, cJSON *owned)
{
    auto_json object = owned;
    const struct schema_kind *kind = schema_find_kind(
        bootstrap->api->schema, json_string(object, "apiVersion"), json_string(object, "kind"));
    if (!kind || is_there(bootstrap->api, kind, object))
        return; /* a registry without this kind (tests) has nothing to make */
    struct op *op = op_new(bootstrap->api, OP_CREATE, kind, json_string(object, "metadata.namespace"), NULL);
    run(bootstrap, op, steal(&object));
}

static void create(struct bootstrap *bootstrap, const char *text)
{
    create_object(bootstrap, json_parse_trusted(text, strlen(text)));
}

/* The first address of the range is the API's own, as in Kubernetes. */
static void create_service(struct bootstrap *bootstrap)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    const char *range = bootstrap->api->options.service_range;
    if (!range || sscanf(range, "%u.%u.%u.%u/", &a, &b, &c, &d) != 4)
        return;
    auto_free char *text = mem_printf(
        "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"kubernetes\",\"namespace\":"
        "\"default\","
        "\"labels\":{\"component\":\"apiserver\",\"provider\":\"kubernetes\"}},\"spec\":{\"type\":"
        "\"ClusterIP\","
        "\"clusterIP\":\"%u.%u.%u.%u\",\"ports\":[{\"name\":\"https\",\"port\":443,\"protocol\":\"TCP\","
        "\"targetPort\":6443}]}}",
        a, b, c, d + 1);
    create(bootstrap, text);
}

static void write_kubernetes(struct bootstrap *bootstrap, cJSON *owned)
{
    auto_json object = owned;
    const struct schema_kind *kind = schema_find_kind(
        bootstrap->api->schema, json_string(object, "apiVersion"), json_string(object, "kind"));
    if (!kind)
        return;
    cJSON *metadata = json_ensure_object(object, "metadata");
    json_set_string(metadata, "name", "kubernetes");
    json_set_string(metadata, "namespace", "default");
    bool present = is_there(bootstrap->api, kind, object);
    struct op *op = op_new(bootstrap->api, present ? OP_PATCH : OP_CREATE, kind, "default",
                           present ? "kubernetes" : NULL);
    op->patch_type = BODY_MERGE;
    run(bootstrap, op, steal(&object));
}

/* Where the Service "kubernetes" leads: to this server, as nodes reach it. Whoever asks for its Endpoints
 * finds the same, which need no mirror. */
static void write_endpoint(struct bootstrap *bootstrap)
{
    const struct api_options *options = &bootstrap->api->options;
    if (!options->public_address || !options->public_port || str_starts(options->public_address, "127."))
        return;
    auto_free char *slice = mem_printf(
        "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{"
        "\"labels\":{\"kubernetes.io/service-name\":\"kubernetes\"}},"
        "\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"%s\"],\"conditions\":{\"ready\":true}}],"
        "\"ports\":[{\"name\":\"https\",\"port\":%u,\"protocol\":\"TCP\"}]}",
        options->public_address, options->public_port);
    auto_free char *endpoints =
        mem_printf("{\"apiVersion\":\"v1\",\"kind\":\"Endpoints\",\"metadata\":{"
                   "\"labels\":{\"endpointslice.kubernetes.io/skip-mirror\":\"true\"}},"
                   "\"subsets\":[{\"addresses\":[{\"ip\":\"%s\"}],"
                   "\"ports\":[{\"name\":\"https\",\"port\":%u,\"protocol\":\"TCP\"}]}]}",
                   options->public_address, options->public_port);
    write_kubernetes(bootstrap, json_parse_trusted(slice, strlen(slice)));
    write_kubernetes(bootstrap, json_parse_trusted(endpoints, strlen(endpoints)));
}

static void bootstrap_next(struct bootstrap *bootstrap)
{
    atomic_store(&bootstrap->pending, 1);
    if (bootstrap->services) {
        create_service(bootstrap);
        defaults_check(bootstrap->api);
        kinds_check(bootstrap->api);
        write_endpoint(bootstrap);
    } else {
        for (size_t i = 0; i < COUNT_OF(first_objects); i++)
            create(bootstrap, first_objects[i]);
        cJSON *role;
        for (size_t i = 0; (role = first_role(i)); i++)
            create_object(bootstrap, role);
    }
    one_done(bootstrap);
}

void api_bootstrap(struct api *api, void (*done)(void *arg, struct err *err), void *arg)
{
    struct bootstrap *bootstrap = NEW(struct bootstrap);
    bootstrap->api = api;
    bootstrap->done = done;
    bootstrap->arg = arg;
    pthread_mutex_init(&bootstrap->lock, NULL);
    bootstrap_next(bootstrap);
}

static void on_again(void *arg UNUSED, struct err *err)
{
    if (err)
        log_warn("api", "what every cluster has: %s", err_message(err));
}

static void again(void *api)
{
    api_bootstrap(api, on_again, NULL);
}

void bootstrap_written(const struct op *op)
{
    static const struct {
        const char *resource, *namespace, *name;
    } made[] = {{"services", "default", "kubernetes"},
                {"endpointslices.discovery.k8s.io", "default", "kubernetes"},
                {"endpoints", "default", "kubernetes"},
                {"namespaces", NULL, "kube-node-lease"},
                {"priorityclasses.scheduling.k8s.io", NULL, "system-cluster-critical"},
                {"priorityclasses.scheduling.k8s.io", NULL, "system-node-critical"}};
    if (!op->removed)
        return;
    bool ours =
        str_eq(op->info->resource, "clusterroles.rbac.authorization.k8s.io") && first_role_is(op->name);
    for (size_t i = 0; i < COUNT_OF(made); i++)
        ours |= str_eq(op->info->resource, made[i].resource) && str_eq(op->name, made[i].name) &&
                (!made[i].namespace || str_eq(op->namespace, made[i].namespace));
    if (ours)
        loop_post(op->api->options.loop, again, op->api);
}
