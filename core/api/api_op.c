/*
 * The life of one write: prepare (read, check, build the new object), submit to the store, finish. A
 * read-modify-write that meets another writer is prepared again on the api's loop, because the store's `done`
 * must not write.
 *
 * Invariants: `finished` is called exactly once, on any thread. Ranges granted at admission are given back
 * unless the write succeeded. Nothing here knows about requests.
 */
#include <inttypes.h>
#include <string.h>

#include "api/api_internal.h"

struct op *op_new(struct api *api, enum op_verb verb, const struct schema_kind *kind, const char *namespace,
                  const char *name)
{
    struct op *op = NEW(struct op);
    op->api = api;
    op->verb = verb;
    op->kind = kind;
    op->info = schema_kind_info(kind);
    op->namespace = mem_strdup(namespace);
    op->name = mem_strdup(name);
    op->grace = -1;
    op->strictness = SCHEMA_WARN;
    return op;
}

static void op_reset(struct op *op)
{
    ranges_release(op->api->ranges, &op->granted);
    quota_release(op);
    cJSON_Delete(steal(&op->applied));
    free(steal(&op->dropped.items));
    op->dropped = (struct grant){0};
    str_clear(&op->text);
    store_terms_unref(steal(&op->terms));
    free(steal(&op->key));
    op->write = (struct store_write){0};
    guards_free(op);
    op->removed = false;
}

void op_free(struct op *op)
{
    op_reset(op);
    str_free(&op->text);
    cJSON_Delete(op->body);
    free(op->manager);
    writer_free(op->writer);
    err_free(op->create_refused);
    err_free(op->error);
    bytes_unref(op->bytes);
    free(op->namespace);
    free(op->name);
    free(op->expect_uid);
    free(op->propagation);
    free(op->disruption);
    free(op->disruption_text);
    free(op);
}

static void op_fail(struct op *op, struct err *error)
{
    op->error = error;
    op->code = err_http_status(err_code(error));
    op->finished(op);
}

int op_conflict(const struct op *op, struct err **err)
{
    return err_set(err, ERR_CONFLICT,
                   "Operation cannot be fulfilled on %s \"%s\": the object has been modified; please apply "
                   "your changes to "
                   "the latest version and try again",
                   op->info->resource, op->name);
}

static void already_exists(const struct op *op, struct err **err)
{
    err_set(err, ERR_ALREADY_EXISTS, "%s \"%s\" already exists", op->info->resource, op->name);
}

enum op_next op_prepare(struct op *op, struct err **err)
{
    op_reset(op);
    op->attempts++;
    switch (op->verb) {
    case OP_CREATE:
        if (json_string(op->body, "metadata.generateName")) /* another name may be needed */
            return op_prepare_create(op, json_copy(op->body), err);
        return op_prepare_create(op, steal(&op->body), err);
    case OP_DELETE:
        return op_prepare_delete(op, err);
    case OP_UPDATE:
    case OP_PATCH:
    case OP_BIND:
        break;
    }
    return op_prepare_change(op, err);
}

/* ---- the store's answer ---- */

static void retry(void *arg)
{
    op_run(arg);
}

static void write_failed(struct op *op)
{
    struct err *err = NULL;
    enum err_code code = op->write.result;
    bool moved =
        (code == ERR_CONFLICT && !op->write.failed) || code == ERR_NOT_FOUND || code == ERR_ALREADY_EXISTS;
    if (moved && op->retryable && op->attempts < API_RETRIES) {
        loop_post(op->api->options.loop, retry, op);
        return;
    }
    switch (code) {
    case ERR_ALREADY_EXISTS:
        already_exists(op, &err);
        break;
    case ERR_CONFLICT:
        op->write.failed ? guard_failed(op, &err) : op_conflict(op, &err);
        break;
    case ERR_NOT_FOUND:
        fail_not_found(&err, op->info, op->name);
        break;
    case ERR_TOO_MANY_REQUESTS:
        err_set(&err, code, "the server has too many writes waiting: try again");
        break;
    case ERR_TOO_LARGE:
        err_set(&err, code, "Request entity too large: limit of an object is %u bytes", STORE_MAX_OBJECT);
        break;
    default:
        err_set(&err, code, "%s \"%s\" could not be stored", op->info->resource, op->name);
    }
    op_fail(op, err);
}

static void on_written(struct store_write *write)
{
    struct op *op = write->arg;
    if (write->result != ERR_NONE) {
        write_failed(op);
        return;
    }
    free(steal(&op->granted.items));
    op->granted = (struct grant){0};
    ranges_release(op->api->ranges, &op->dropped);
    op->revision = write->revision;
    op->bytes = write->bytes;
    write->bytes = NULL;
    quota_written(op);
    kinds_written(op);
    metrics_written(op);
    blobs_written(op);
    defaults_written(op);
    bootstrap_written(op);
    op->finished(op);
}

/* ---- running ---- */

static void submit(struct op *const *ops, struct store_write *const *writes, size_t count)
{
    struct store *store = ops[0]->api->store;
    struct err *err = NULL;
    if (store->ops->submit(store, writes, count, &err) == 0)
        return; /* the ops may be gone by now */
    for (size_t i = 0; i < count; i++)
        op_fail(ops[i], err_copy(err));
    err_free(err);
}

void op_run_all(struct op *const *ops, size_t count)
{
    auto_free struct op **waiting = mem_array(count * (1 + DEFAULTS), sizeof(*waiting));
    auto_free struct store_write **writes = mem_array(count * (1 + DEFAULTS), sizeof(*writes));
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        struct err *err = NULL;
        enum op_next next = op_prepare(ops[i], &err);
        if (next == OP_WRITE) {
            size_t first = n;
            waiting[n++] = ops[i];
            n += defaults_beside(ops[i], waiting + n);
            for (size_t at = first; at < n; at++)
                writes[at] = &waiting[at]->write;
        } else if (next == OP_FAILED) {
            op_fail(ops[i], err);
        } else {
            ops[i]->finished(ops[i]);
        }
    }
    if (n > 0)
        submit(waiting, writes, n);
}

void op_submit_all(struct op *const *ops, size_t count)
{
    auto_free struct store_write **writes = mem_array(count + 1, sizeof(*writes));
    for (size_t i = 0; i < count; i++)
        writes[i] = &ops[i]->write;
    if (count > 0)
        submit(ops, writes, count);
}

void op_run(struct op *op)
{
    op_run_all(&op, 1);
}

/* ---- making writes and answers ---- */

static void take_uid(struct op *op, const cJSON *object)
{
    const char *uid = json_string(object_meta(object), "uid");
    size_t len = uid ? strlen(uid) : 0;
    if (len >= sizeof(op->uid))
        len = 0;
    memcpy(op->uid, uid ? uid : "", len);
    op->uid[len] = 0;
}

void op_put(struct op *op, enum store_verb verb, const cJSON *object, uint64_t expect)
{
    struct store_write *write = &op->write;
    op->key = store_key(op->info->resource, op->namespace, op->name);
    take_uid(op, object);
    *write =
        (struct store_write){.verb = verb, .key = op->key, .expect = expect, .done = on_written, .arg = op};
    write->guards = op->guards;
    write->n_guards = op->n_guards;
    write->flags = (schema_is_volatile(op->kind, op->namespace, op->name) ? STORE_VOLATILE : 0) |
                   (op->info->sealed ? STORE_SEALED : 0);
    object_print(object, &op->text, &write->revision_at, true);
    write->data = op->text.data;
    write->len = op->text.len;
    if (verb == STORE_DELETE)
        op->removed = true;
    size_t count = 0;
    auto_free char **terms = schema_terms(op->kind, object, &count);
    op->terms = store_terms_new(op->info->schema_version, (const char *const *)terms, count);
    write->terms = op->terms;
}

enum op_next op_answer(struct op *op, struct bytes *bytes, uint64_t revision, const cJSON *object)
{
    take_uid(op, object);
    op->bytes = object_bytes_as(op->info, bytes);
    op->revision = revision;
    return OP_ANSWERED;
}

enum op_next op_answer_dry(struct op *op, const cJSON *object, uint64_t revision)
{
    size_t at = 0;
    take_uid(op, object);
    object_print(object, &op->text, &at, revision > 0);
    auto_free char *number = revision ? mem_printf("%" PRIu64, revision) : mem_strdup("");
    size_t digits = strlen(number);
    op->revision = revision;
    op->bytes = bytes_new(op->text.len + digits);
    memcpy(op->bytes->data, op->text.data, at);
    memcpy(op->bytes->data + at, number, digits);
    memcpy(op->bytes->data + at + digits, op->text.data + at, op->text.len - at);
    return OP_ANSWERED;
}

int op_check_preconditions(const struct op *op, const struct store_object *old, const char *uid,
                           struct err **err)
{
    if (op->expect_uid && !str_eq(op->expect_uid, uid))
        return err_set(err, ERR_CONFLICT,
                       "Operation cannot be fulfilled on %s \"%s\": Precondition failed: UID in "
                       "precondition: %s, UID in "
                       "object meta: %s",
                       op->info->resource, op->name, op->expect_uid, uid ? uid : "");
    if (op->expect_revision && op->expect_revision != old->revision)
        return op_conflict(op, err);
    return 0;
}
