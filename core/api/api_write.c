/*
 * Requests that write one object, or a collection: query and body → op, op's result → answer. The work itself
 * is in api_create.c, api_change.c and api_delete.c.
 */
#include <inttypes.h>
#include <string.h>

#include "api/api_internal.h"

/* ---- answers ---- */

static void answer_scale(struct call *call, struct op *op)
{
    auto_json object = json_parse_trusted(op->bytes->data, op->bytes->len);
    call_answer_json(call, op->code, scale_from(op->info, object, op->revision));
}

static bool wants_status_only(const struct op *op)
{
    return op->verb == OP_BIND || (op->verb == OP_DELETE && op->removed);
}

static void on_finished(struct op *op)
{
    struct call *call = op->arg;
    if (!call->name &&
        op->name) { /* for the answer's details; the call owns no strings, so borrow until it is sent */
        call->name = op->name;
    }
    if (op->error)
        call_fail(call, steal(&op->error));
    else if (wants_status_only(op))
        call_success(call, op->code, op->verb == OP_DELETE ? op->uid : NULL);
    else if (str_eq(call->subresource, "scale"))
        answer_scale(call, op);
    else
        call_answer(call, op->code, steal(&op->bytes));
    op_free(op);
}

/* ---- requests ---- */

static int read_delete_options(struct op *op, const cJSON *options, struct err **err)
{
    const char *policy = json_string(options, "propagationPolicy");
    const cJSON *grace = json_get(options, "gracePeriodSeconds"), *dry = json_get(options, "dryRun");
    const char *uid = json_string(options, "preconditions.uid");
    const char *revision = json_string(options, "preconditions.resourceVersion");
    if (policy)
        op->propagation = mem_strdup(policy);
    else if (json_bool(options, "orphanDependents", false))
        op->propagation = mem_strdup("Orphan");
    if (grace && !json_is_null(grace)) {
        op->grace = json_int(options, "gracePeriodSeconds", -1);
        if (op->grace < 0 || op->grace > INT32_MAX)
            return err_set(err, ERR_BAD_REQUEST,
                           "gracePeriodSeconds: Invalid value: must be a number of at least 0");
    }
    if (uid)
        op->expect_uid = mem_strdup(uid);
    if (revision && revision_parse(revision, &op->expect_revision) < 0)
        return err_set(err, ERR_BAD_REQUEST,
                       "preconditions.resourceVersion: Invalid value: must be a number");
    if (cJSON_IsArray(dry) && dry->child) {
        if (!cJSON_IsString(dry->child) || !str_eq(dry->child->valuestring, "All"))
            return err_set(err, ERR_BAD_REQUEST, "dryRun: Unsupported value: supported values: \"All\"");
        op->dry_run = true;
    }
    return 0;
}

/* Options come in the body or, for curl and old clients, in the query. */
static int read_delete(const struct call *call, struct op *op, const cJSON *body, struct err **err)
{
    auto_json options = NULL;
    int64_t grace = 0;
    bool given = false;
    if (body) {
        if (read_delete_options(op, body, err) < 0)
            return -1;
    } else if (call->request->body_len) {
        if (!(options = body_object(call, err)) || read_delete_options(op, options, err) < 0)
            return -1;
    }
    const char *policy = http_request_query(call->request, "propagationPolicy");
    if (!op->propagation && !str_empty(policy))
        op->propagation = mem_strdup(policy);
    if (query_int(call, "gracePeriodSeconds", &grace, &given, err) < 0)
        return -1;
    if (given && op->grace < 0)
        op->grace = grace < INT32_MAX ? grace : INT32_MAX;
    return 0;
}

static int read_body(struct call *call, struct op *op, struct err **err)
{
    if (op->verb == OP_PATCH)
        return (op->body = body_patch(call, &op->patch_type, err)) ? 0 : -1;
    if (op->verb == OP_DELETE)
        return read_delete(call, op, NULL, err);
    return (op->body = body_object(call, err)) ? 0 : -1;
}

static enum op_verb op_verb_of(const struct call *call)
{
    if (str_eq(call->verb, "update"))
        return OP_UPDATE;
    if (str_eq(call->verb, "patch"))
        return OP_PATCH;
    if (str_eq(call->verb, "delete"))
        return OP_DELETE;
    return str_eq(call->subresource, "binding") ? OP_BIND : OP_CREATE;
}

/* policy/v1 Eviction: a delete with the options inside. */
static struct op *eviction_op(struct call *call, struct err **err)
{
    auto_json eviction = body_object(call, err);
    if (!eviction)
        return NULL;
    struct op *op = op_new(call->api, OP_DELETE, call->kind, call->namespace, call->name);
    cJSON *options = json_ensure_object(eviction, "deleteOptions");
    if (read_delete(call, op, options, err) < 0) {
        op_free(op);
        return NULL;
    }
    return op;
}

static struct op *write_op(struct call *call, struct err **err)
{
    struct op *op;
    if (str_eq(call->subresource, "eviction")) {
        op = eviction_op(call, err);
    } else {
        op = op_new(call->api, op_verb_of(call), call->kind, call->namespace, call->name);
        if (read_body(call, op, err) < 0) {
            op_free(op);
            return NULL;
        }
    }
    if (!op)
        return NULL;
    bool part = str_eq(call->subresource, "status") || str_eq(call->subresource, "scale") ||
                str_eq(call->subresource, "finalize") || str_eq(call->subresource, "ephemeralcontainers");
    op->subresource = part ? call->subresource : NULL;
    if (query_dry_run(call, &op->dry_run, err) < 0 || query_strictness(call, &op->strictness, err) < 0 ||
        query_manager(call, op, err) < 0) {
        op_free(op);
        return NULL;
    }
    op_set_writer(op, &call->identity);
    if (!call->warnings)
        call->warnings = cJSON_CreateArray(); /* also Strict: a field without effect is never silent */
    op->warnings = call->warnings;
    op->finished = on_finished;
    op->arg = call;
    return op;
}

void handle_write(struct call *call)
{
    struct err *err = NULL;
    struct op *op = write_op(call, &err);
    if (op && call->identity.node && scope_allows_create(op, call->identity.node, &err) < 0) {
        op_free(op);
        op = NULL;
    }
    if (!op)
        call_fail(call, err);
    else if (str_eq(call->subresource, "eviction"))
        eviction_run(call, op);
    else
        op_run(op);
}

/* ---- DELETE of a collection ---- */

struct sweep {
    struct call *call;
    atomic_size_t pending;
    pthread_mutex_t lock;
    struct err *error; /* the first that matters */
};

static void sweep_done(struct sweep *sweep)
{
    if (atomic_fetch_sub(&sweep->pending, 1) > 1)
        return;
    struct call *call = sweep->call;
    struct err *error = sweep->error;
    pthread_mutex_destroy(&sweep->lock);
    free(sweep);
    if (error)
        call_fail(call, error);
    else
        call_success(call, 200, NULL);
}

static void on_swept(struct op *op)
{
    struct sweep *sweep = op->arg;
    enum err_code code = err_code(op->error);
    if (op->error && code != ERR_NOT_FOUND) {
        pthread_mutex_lock(&sweep->lock);
        err_move(&sweep->error, &op->error);
        pthread_mutex_unlock(&sweep->lock);
    }
    op_free(op);
    sweep_done(sweep);
}

static struct op *sweep_op(struct call *call, struct sweep *sweep, const char *key, const cJSON *options,
                           struct err **err)
{
    struct store_key_parts parts;
    if (!store_key_split(key, &parts)) {
        err_set(err, ERR_INTERNAL, "the store has a key that is none");
        return NULL;
    }
    auto_free char *namespace =
        parts.namespace_len ? mem_strndup(parts.namespace, parts.namespace_len) : NULL;
    auto_free char *name = mem_strndup(parts.name, parts.name_len);
    struct op *op = op_new(call->api, OP_DELETE, call->kind, namespace, name);
    if (read_delete(call, op, options, err) < 0 || query_dry_run(call, &op->dry_run, err) < 0) {
        op_free(op);
        return NULL;
    }
    op->finished = on_swept;
    op->arg = sweep;
    return op;
}

#define SWEEP_AT_ONCE 256

static int sweep_start(struct call *call, const struct store_list *list, struct err **err)
{
    auto_json options = NULL;
    if (call->request->body_len && !(options = body_object(call, err)))
        return -1;
    if (!options)
        options = cJSON_CreateObject();
    auto_free struct op **ops = mem_array(list->count + 1, sizeof(*ops));
    struct sweep *sweep = NEW(struct sweep);
    for (size_t i = 0; i < list->count; i++) {
        if ((ops[i] = sweep_op(call, sweep, list->objects[i].key, options, err)))
            continue;
        while (i > 0)
            op_free(ops[--i]);
        free(sweep);
        return -1;
    }
    sweep->call = call;
    pthread_mutex_init(&sweep->lock, NULL);
    atomic_store(&sweep->pending, list->count + 1);
    for (size_t i = 0; i < list->count; i += SWEEP_AT_ONCE)
        op_run_all(ops + i, list->count - i < SWEEP_AT_ONCE ? list->count - i : SWEEP_AT_ONCE);
    sweep_done(sweep);
    return 0;
}

void handle_delete_collection(struct call *call)
{
    struct store *store = call->api->store;
    struct selection selection = {0};
    struct store_list list = {0};
    struct err *err = NULL;
    auto_free char *prefix = store_key_prefix(call->info->resource, call->namespace);
    int result = selection_read(call, &selection, &err);
    if (result == 0) {
        const struct store_list_request request = {.prefix = prefix,
                                                   .terms = (const char *const *)selection.terms,
                                                   .match = selection_matches,
                                                   .match_arg = &selection,
                                                   .keys_only = true};
        result = store->ops->list(store, &request, &list, &err);
    }
    if (result == 0)
        result = sweep_start(call, &list, &err);
    selection_fini(&selection);
    store_list_fini(&list);
    if (result < 0)
        call_fail(call, err);
}
