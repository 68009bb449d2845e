/*
 * What every namespace has: the ServiceAccount "default" and the ConfigMap "kube-root-ca.crt" with the API
 * server's certificate. Both are written in one unit with the namespace, so that the first pod of a namespace
 * finds its account; what a user deletes or changes comes back at once. A start makes what is missing.
 */
#include <string.h>

#include "api/api_internal.h"

#define ACCOUNT "default"
#define ROOT_CA "kube-root-ca.crt"

static void on_done(struct op *op)
{
    enum err_code code = err_code(op->error);
    bool expected = code == ERR_NONE || code == ERR_ALREADY_EXISTS || code == ERR_NOT_FOUND ||
                    code == ERR_FORBIDDEN; /* somebody else made it; the namespace is going or gone */
    if (!expected)
        log_warn("api", "%s %s/%s: %s", op->info->resource, op->namespace, op->name, err_message(op->error));
    op_free(op);
}

static const char *ca_of(const struct api *api)
{
    return api->options.auth ? auth_ca_pem(auth_authority_ca(api->options.auth)) : NULL;
}

static struct op *make(struct api *api, enum op_verb verb, const char *resource, const char *namespace,
                       const char *name)
{
    const struct schema_kind *kind = schema_find_resource(api->schema, resource);
    if (!kind) /* a small registry (tests) */
        return NULL;
    struct op *op = op_new(api, verb, kind, namespace, verb == OP_CREATE ? NULL : name);
    op->finished = on_done;
    op->body = cJSON_CreateObject();
    if (verb == OP_CREATE)
        json_set_string(json_ensure_object(op->body, "metadata"), "name", name);
    return op;
}

static struct op *make_account(struct api *api, const char *namespace)
{
    return make(api, OP_CREATE, "serviceaccounts", namespace, ACCOUNT);
}

static struct op *make_ca(struct api *api, enum op_verb verb, const char *namespace)
{
    struct op *op = ca_of(api) ? make(api, verb, "configmaps", namespace, ROOT_CA) : NULL;
    if (!op)
        return NULL;
    op->patch_type = BODY_MERGE;
    json_set_string(json_ensure_object(op->body, "data"), "ca.crt", ca_of(api));
    cJSON *annotations = json_ensure_object(json_ensure_object(op->body, "metadata"), "annotations");
    json_set_string(annotations, "kubernetes.io/description",
                    "Contains a CA bundle that can be used to verify the API server.");
    return op;
}

size_t defaults_beside(const struct op *namespace, struct op **ops)
{
    if (namespace->verb != OP_CREATE || !str_eq(namespace->info->resource, "namespaces") ||
        namespace->write.len >= STORE_MAX_OBJECT)
        return 0;
    struct op *made[] = {make_account(namespace->api, namespace->name),
                         make_ca(namespace->api, OP_CREATE, namespace->name)};
    size_t n = 0;
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        if (!made[i])
            continue;
        made[i]->beside_namespace = true;
        if (op_prepare(made[i], NULL) == OP_WRITE)
            ops[n++] = made[i];
        else
            op_free(made[i]);
    }
    return n;
}

static void run(void *op)
{
    op_run(op);
}

void defaults_written(const struct op *op)
{
    bool account = str_eq(op->info->resource, "serviceaccounts") && str_eq(op->name, ACCOUNT);
    bool ca = str_eq(op->info->resource, "configmaps") && str_eq(op->name, ROOT_CA);
    if (op->finished == on_done || (!ca && (!account || !op->removed)))
        return;
    struct op *again = account ? make_account(op->api, op->namespace)
                               : make_ca(op->api, op->removed ? OP_CREATE : OP_PATCH, op->namespace);
    if (again)
        loop_post(op->api->options.loop, run, again);
}

static void create_missing(struct api *api, const char *resource, const char *namespace, const char *name)
{
    struct store_object present = {0};
    auto_free char *key = store_key(resource, namespace, name);
    if (api->store->ops->get(api->store, key, &present, NULL) == 0) {
        store_object_fini(&present);
        return;
    }
    bool account = str_eq(name, ACCOUNT);
    struct op *op = account ? make_account(api, namespace) : make_ca(api, OP_CREATE, namespace);
    if (op)
        op_run(op);
}

void defaults_check(struct api *api)
{
    auto_free char *prefix = store_key_prefix("namespaces", NULL);
    const struct store_list_request request = {.prefix = prefix, .keys_only = true};
    struct store_list list = {0};
    auto_err err = NULL;
    if (api->store->ops->list(api->store, &request, &list, &err) < 0) {
        log_error("api", "reading the namespaces: %s", err_message(err));
        return;
    }
    for (size_t i = 0; i < list.count; i++) {
        struct store_key_parts parts;
        if (!store_key_split(list.objects[i].key, &parts))
            continue;
        auto_free char *namespace = mem_strndup(parts.name, parts.name_len);
        create_missing(api, "serviceaccounts", namespace, ACCOUNT);
        create_missing(api, "configmaps", namespace, ROOT_CA);
    }
    store_list_fini(&list);
}
