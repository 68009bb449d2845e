/*
 * The subresource blobs of kinds that have one: PUT and GET …/RESOURCE/NAME/blobs/SHA256, bytes that are too
 * large for objects. They belong to the object and go with it. The disk is waited for on a thread of its own.
 */
#include <string.h>

#include "api/api_internal.h"
#include "base/map.h"
#include "store/blobs.h"

struct blob_call {
    struct call *call;
    char *owner;
    struct bytes *bytes; /* GET */
    struct err *error;
};

static char *owner_uid(const struct call *call, struct err **err)
{
    struct store_object object = {0};
    struct store *store = call->api->store;
    auto_free char *key = store_key(call->info->resource, call->namespace, call->name);
    if (store->ops->get(store, key, &object, NULL) < 0) {
        err_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", call->info->resource, call->name);
        return NULL;
    }
    char *uid = mem_strdup(store_terms_get(object.terms, "u:="));
    store_object_fini(&object);
    return uid;
}

/* Whether the object is still there: if it went while its blob was written, the blob goes too. */
static void check_owner(struct blob_call *b)
{
    auto_err error = NULL;
    auto_free char *uid = owner_uid(b->call, &error);
    if (str_eq(uid, b->owner))
        return;
    blobs_drop(b->call->api->options.blobs, b->owner);
    err_set(&b->error, ERR_NOT_FOUND, "%s \"%s\" is gone", b->call->info->resource, b->call->name);
}

static void work(void *arg)
{
    struct blob_call *b = arg;
    const struct call *call = b->call;
    struct blobs *blobs = call->api->options.blobs;
    const char *digest = call->segments[call->n_segments - 1];
    if (str_eq(call->verb, "get")) {
        b->bytes = blobs_get(blobs, b->owner, digest, &b->error);
        return;
    }
    if (blobs_put(blobs, b->owner, digest, call->request->body, call->request->body_len,
                  schema_blob_limit(call->kind), &b->error) == 0)
        check_owner(b);
}

static void done(void *arg)
{
    struct blob_call *b = arg;
    if (b->error) {
        call_fail(b->call, b->error);
    } else if (b->bytes) {
        struct str body = {0};
        str_add_n(&body, b->bytes->data, b->bytes->len);
        bytes_unref(b->bytes);
        call_answer_text(b->call, 200, "application/octet-stream", &body);
    } else {
        call_success(b->call, 200, b->owner);
    }
    free(b->owner);
    free(b);
}

static int check_call(const struct call *call, struct err **err)
{
    const char *last = call->segments[call->n_segments - 1];
    if (!call->api->blob_pool)
        return err_set(err, ERR_UNAVAILABLE, "this server keeps no blobs");
    if (call->n_segments < 2 || !str_eq(call->segments[call->n_segments - 2], "blobs") ||
        strlen(last) != BLOB_DIGEST - 1 || strspn(last, "0123456789abcdef") != BLOB_DIGEST - 1)
        return err_set(err, ERR_BAD_REQUEST, "blobs/SHA256 is wanted: 64 lower-case hex digits");
    return 0;
}

void handle_blobs(struct call *call)
{
    struct err *err = NULL;
    char *owner = check_call(call, &err) < 0 ? NULL : owner_uid(call, &err);
    if (!owner) {
        call_fail(call, err);
        return;
    }
    struct blob_call *b = NEW(struct blob_call);
    b->call = call;
    b->owner = owner;
    pool_run(call->api->blob_pool, call->api->options.loop, work, done, b);
}

/* ---- what goes ---- */

struct drop {
    struct blobs *blobs;
    char *owner;
};

static void drop(void *arg)
{
    struct drop *d = arg;
    blobs_drop(d->blobs, d->owner);
    free(d->owner);
    free(d);
}

void blobs_written(const struct op *op)
{
    if (op->write.verb != STORE_DELETE || !op->api->blob_pool || !schema_blob_limit(op->kind))
        return;
    struct drop *d = NEW(struct drop);
    d->blobs = op->api->options.blobs;
    d->owner = mem_strdup(op->uid);
    pool_run(op->api->blob_pool, op->api->options.loop, drop, NULL, d);
}

struct sweep {
    struct api *api;
    struct map owners;
};

static void add_owners(void *arg, const struct schema_kind *kind)
{
    struct sweep *sweep = arg;
    struct store *store = sweep->api->store;
    if (!schema_blob_limit(kind))
        return;
    auto_free char *prefix = store_key_prefix(schema_kind_info(kind)->resource, NULL);
    const struct store_list_request request = {.prefix = prefix, .keys_only = true};
    struct store_list list = {0};
    if (store->ops->list(store, &request, &list, NULL) < 0)
        return;
    for (size_t i = 0; i < list.count; i++) {
        const char *uid = store_terms_get(list.objects[i].terms, "u:=");
        if (uid)
            map_set(&sweep->owners, uid, sweep);
    }
    store_list_fini(&list);
}

static bool is_owner(void *arg, const char *owner)
{
    const struct sweep *sweep = arg;
    return map_has(&sweep->owners, owner);
}

void blobs_init(struct api *api)
{
    struct sweep sweep = {.api = api};
    if (!api->options.blobs)
        return;
    api->blob_pool = pool_new(1);
    if (api->options.backups)
        api->backup_pool = pool_new(1);
    schema_each(api->schema, add_owners, &sweep);
    blobs_sweep(api->options.blobs, is_owner, &sweep);
    map_fini(&sweep.owners);
}
