/*
 * Making a new object: names, metadata that the server sets, defaults, checks, admission, the namespace it
 * goes into. Source: kubernetes-api, writes; Kubernetes' registry/rest create.
 */
#include <string.h>

#include "api/api_internal.h"

#define SUFFIX 5
#define MAX_GENERATED_BASE 58

int object_check_kind(const struct schema_kind_info *info, cJSON *object, struct err **err)
{
    const char *api_version = json_string(object, "apiVersion"), *kind = json_string(object, "kind");
    if (str_empty(api_version))
        json_set_string(object, "apiVersion", info->api_version);
    else if (!str_eq(api_version, info->api_version))
        return err_set(err, ERR_BAD_REQUEST,
                       "the API version in the data (%.64s) does not match the expected API version (%s)",
                       api_version, info->api_version);
    if (str_empty(kind))
        json_set_string(object, "kind", info->kind);
    else if (!str_eq(kind, info->kind))
        return err_set(err, ERR_BAD_REQUEST, "the object in the data is of kind %.64s, expected %s", kind,
                       info->kind);
    cJSON *meta = json_get(object, "metadata");
    if (meta && !cJSON_IsObject(meta) && !cJSON_IsNull(meta))
        return err_set(err, ERR_BAD_REQUEST, "metadata: must be an object");
    json_ensure_object(object, "metadata");
    return 0;
}

int object_check_place(const struct op *op, const cJSON *meta, struct err **err)
{
    const char *namespace = json_string(meta, "namespace"), *name = json_string(meta, "name");
    if (!str_empty(namespace) && !str_eq(namespace, op->namespace))
        return err_set(
            err, ERR_BAD_REQUEST,
            "the namespace of the provided object does not match the namespace sent on the request");
    if (op->name && !str_empty(name) && !str_eq(name, op->name))
        return err_set(err, ERR_BAD_REQUEST,
                       "the name of the object (%.253s) does not match the name on the URL (%s)", name,
                       op->name);
    return 0;
}

static int choose_name(struct op *op, cJSON *meta, struct err **err)
{
    const char *name = json_string(meta, "name"), *base = json_string(meta, "generateName");
    if (!str_empty(name)) {
        free(op->name);
        op->name = mem_strdup(name);
        return 0;
    }
    if (op->name && (!base || op->verb == OP_PATCH)) { /* apply: the name of the URL, which was asked about */
        json_set_string(meta, "name", op->name);
        return 0;
    }
    if (str_empty(base))
        return err_add_cause(err, "FieldValueRequired", "metadata.name",
                             "Required value: name or generateName is required");
    char suffix[SUFFIX + 1];
    random_suffix(op->api->random, suffix, SUFFIX);
    free(op->name);
    op->name = mem_printf("%.*s%s", MAX_GENERATED_BASE, base, suffix);
    json_set_string(meta, "name", op->name);
    op->retryable = true;
    return 0;
}

static int set_meta(struct op *op, cJSON *object, struct err **err)
{
    cJSON *meta = object_meta(object);
    if (object_check_place(op, meta, err) < 0 || choose_name(op, meta, err) < 0)
        return -1;
    if (!str_empty(json_string(meta, "resourceVersion")))
        return err_set(err, ERR_BAD_REQUEST, "resourceVersion should not be set on objects to be created");
    static const char *const server_set[] = {
        "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds",
        "selfLink",        "managedFields",     "generation"};
    for (size_t i = 0; i < COUNT_OF(server_set); i++)
        json_remove(meta, server_set[i]);
    if (op->namespace)
        json_set_string(meta, "namespace", op->namespace);
    else
        json_remove(meta, "namespace");
    char uid[RANDOM_UID], now[TIME_TEXT];
    random_uid(op->api->random, uid);
    time_print(api_wall(op->api), now);
    json_set_string(meta, "uid", uid);
    json_set_string(meta, "creationTimestamp", now);
    if (json_get(object, "spec"))
        json_set_int(meta, "generation", 1);
    return 0;
}

/* Whether the object that others live in is there, and on its way out. A deletionTimestamp can only stand in
 * the text when it is deleted or a label is called so: then parse. */
static bool home_is_there(const struct op *op, const char *resource, const char *name, bool *ending)
{
    struct store *store = op->api->store;
    auto_free char *key = store_key(resource, NULL, name);
    struct store_object object = {0};
    if (store->ops->get(store, key, &object, NULL) < 0)
        return false;
    if (strstr(object.bytes->data, "\"deletionTimestamp\"")) {
        auto_json parsed = json_parse_trusted(object.bytes->data, object.bytes->len);
        *ending = json_string(object_meta(parsed), "deletionTimestamp") != NULL;
    }
    store_object_fini(&object);
    return true;
}

static int check_definition(const struct op *op, struct err **err)
{
    bool ending = false;
    if (!home_is_there(op, CRDS, op->info->resource, &ending))
        return err_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
    if (!ending)
        return 0;
    return err_set(err, ERR_METHOD_NOT_ALLOWED,
                   "create not allowed while custom resource definition is terminating");
}

static int check_namespace(struct op *op, struct err **err)
{
    bool ending = false;
    if (!home_is_there(op, "namespaces", op->namespace, &ending))
        return err_set(err, ERR_NOT_FOUND, "namespaces \"%s\" not found", op->namespace);
    if (!ending)
        return 0;
    err_set(
        err, ERR_FORBIDDEN,
        "%s \"%s\" is forbidden: unable to create new content in namespace %s because it is being terminated",
        op->info->resource, op->name, op->namespace);
    return err_add_cause(err, "NamespaceTerminating", "metadata.namespace",
                         "namespace %s is being terminated", op->namespace);
}

/* Nodes register with their status; everything else begins with the kind's own first one. */
static void set_status(const struct op *op, cJSON *object)
{
    if (!op->info->has_status || str_eq(op->info->resource, "nodes"))
        return;
    cJSON *initial = schema_initial_status(op->kind);
    if (initial)
        json_set(object, "status", initial);
    else
        json_remove(object, "status");
}

static enum op_next create_dry(struct op *op, const cJSON *object, struct err **err)
{
    struct store *store = op->api->store;
    auto_free char *key = store_key(op->info->resource, op->namespace, op->name);
    struct store_object present = {0};
    if (store->ops->get(store, key, &present, NULL) == 0) {
        store_object_fini(&present);
        err_set(err, ERR_ALREADY_EXISTS, "%s \"%s\" already exists", op->info->resource, op->name);
        return OP_FAILED;
    }
    return op_answer_dry(op, object, 0);
}

enum op_next op_prepare_create(struct op *op, cJSON *taken, struct err **err)
{
    auto_json object = taken;
    op->code = 201;
    if (object_check_kind(op->info, object, err) < 0)
        return OP_FAILED;
    set_status(op, object);
    cJSON *warnings = op->attempts == 1 && !op->applied ? op->warnings : NULL; /* apply: told already */
    if (schema_check(op->kind, object, op->strictness, warnings, err) < 0 || set_meta(op, object, err) < 0)
        return OP_FAILED;
    if (op->info->custom && check_definition(op, err) < 0)
        return OP_FAILED;
    if (op->info->namespaced && !op->beside_namespace && check_namespace(op, err) < 0)
        return OP_FAILED;
    admission_normalize(op, object);
    schema_default(op->kind, object);
    if (managers_follow(op, NULL, object, err) < 0)
        return OP_FAILED;
    if (admission_create(op, object, err) < 0 || schema_validate(op->kind, object, NULL, false, err) < 0 ||
        object_check_depth(object, NULL, err) < 0 || quota_admit(op, true, object, err) < 0)
        return OP_FAILED;
    if (op->dry_run)
        return create_dry(op, object, err);
    op_put(op, STORE_PUT, object, STORE_ABSENT);
    return OP_WRITE;
}
