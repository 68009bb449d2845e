/*
 * ResourceQuota: a ledger in memory for each namespace that has one, of what every object of the namespace
 * takes, rebuilt from the store at start. A write takes its part before it is queued and gives it back when
 * it fails, so that two writes at the same time never pass the last free place; the commit puts what was
 * really written in its stead. The store stays the truth: with several servers on one store each would need a
 * part of the quota (as of the ranges in api_ranges.c).
 *
 * Work is proportional to the change: one object's usage per write; status is written when a sum has changed,
 * one write at a time per quota, however many changes there were meanwhile.
 *
 * Invariants: used = the entries, held = the writes under way; both change only under the lock. Entries
 * change only from commits, on the writer thread, in the order of revisions. The lock is a leaf: nothing is
 * written under it.
 */
#include "api/api_quota.h"

/* ---- commits ---- */

static cJSON *written_object(const struct op *op)
{
    return op->bytes ? json_parse_trusted(op->bytes->data, op->bytes->len) : NULL;
}

static void quota_changed(struct api_quotas *quotas, const struct op *op)
{
    if (op->removed) {
        struct ledger *ledger = map_get(&quotas->ledgers, op->namespace);
        if (ledger) {
            map_remove(&ledger->quotas, op->name);
            ledger_drop_if_unused(quotas, op->namespace, ledger);
        }
        return;
    }
    auto_json object = written_object(op);
    ledger_put_quota(quotas, object);
}

static void entry_changed(struct api_quotas *quotas, struct op *op)
{
    struct ledger *ledger = map_get(&quotas->ledgers, op->namespace);
    if (!ledger || !map_has(&ledger->tracked, op->info->resource))
        return;
    struct usage *usage = steal(&op->usage);
    if (op->removed) {
        usage_free(steal(&usage));
    } else if (!usage) { /* prepared before there was a quota, or not a create or change */
        auto_json object = written_object(op);
        usage = usage_of(op->info->resource, object);
    }
    ledger_set(quotas, ledger, op->key, usage);
}

void quota_written(struct op *op)
{
    struct api_quotas *quotas = op->api->quotas;
    bool is_quota = quotas && op->kind == quotas->kind && !str_eq(op->subresource, "status");
    if (!quotas || !op->namespace || (!is_quota && !atomic_load(&quotas->n_ledgers)))
        return;
    pthread_mutex_lock(&quotas->lock);
    if (is_quota)
        quota_changed(quotas, op);
    entry_changed(quotas, op);
    if (op->hold)
        hold_release(quotas, steal(&op->hold));
    pthread_mutex_unlock(&quotas->lock);
}

/* ---- status ---- */

static void publish(void *arg);

void quota_touch(struct api_quotas *quotas, struct quota *quota)
{
    quota->dirty = true;
    if (quota->writing || list_linked(&quota->dirty_node))
        return;
    list_add_tail(&quotas->dirty, &quota->dirty_node);
    if (!quotas->posted)
        loop_post(quotas->api->options.loop, publish, quotas);
    quotas->posted = true;
}

static cJSON *status_of(const struct quota *quota)
{
    cJSON *status = cJSON_CreateObject();
    cJSON *hard = json_ensure_object(status, "hard"), *used = json_ensure_object(status, "used");
    for (size_t i = 0; i < quota->n_limits; i++) {
        const struct limit *limit = &quota->limits[i];
        auto_free char *most = amount_print(limit->name, limit->hard, limit->hard_binary);
        auto_free char *sum = amount_print(limit->name, limit->used, limit->binary);
        json_set_string(hard, limit->name, most);
        json_set_string(used, limit->name, sum);
    }
    return status;
}

static struct quota *quota_named(struct api_quotas *quotas, const char *namespace, const char *name)
{
    const struct ledger *ledger = map_get(&quotas->ledgers, namespace);
    return ledger ? map_get(&ledger->quotas, name) : NULL;
}

static void start_again(void *arg)
{
    struct api_quotas *quotas = arg;
    loop_timer_start(quotas->again, AGAIN_MS);
}

static void on_status(struct op *op)
{
    struct api_quotas *quotas = op->arg;
    bool failed = op->error && err_code(op->error) != ERR_NOT_FOUND;
    if (failed)
        log_warn("api", "status of quota %s/%s: %s", op->namespace, op->name, err_message(op->error));
    pthread_mutex_lock(&quotas->lock);
    struct quota *quota = quota_named(quotas, op->namespace, op->name);
    if (quota) {
        quota->writing = false;
        if (failed && !list_linked(&quota->dirty_node)) {
            quota->dirty = true;
            list_add_tail(&quotas->dirty, &quota->dirty_node);
            loop_post(quotas->api->options.loop, start_again, quotas);
        } else if (quota->dirty) {
            quota_touch(quotas, quota);
        }
    }
    pthread_mutex_unlock(&quotas->lock);
    op_free(op);
}

/* The whole status is replaced, so that a limit that is gone from spec goes from it too. */
static struct op *status_op(struct api_quotas *quotas, const struct quota *quota)
{
    struct op *op = op_new(quotas->api, OP_PATCH, quotas->kind, quota->namespace, quota->name);
    op->subresource = "status";
    op->patch_type = BODY_JSON_PATCH;
    op->body = cJSON_CreateArray();
    cJSON *step = json_push(op->body, cJSON_CreateObject());
    json_set_string(step, "op", "add");
    json_set_string(step, "path", "/status");
    json_set(step, "value", status_of(quota));
    op->finished = on_status;
    op->arg = quotas;
    return op;
}

static void publish(void *arg)
{
    struct api_quotas *quotas = arg;
    for (;;) {
        pthread_mutex_lock(&quotas->lock);
        quotas->posted = false;
        struct quota *quota = list_first(&quotas->dirty, struct quota, dirty_node);
        struct op *op = NULL;
        if (quota) {
            list_remove(&quota->dirty_node);
            quota->dirty = false;
            quota->writing = true;
            op = status_op(quotas, quota);
        }
        pthread_mutex_unlock(&quotas->lock);
        if (!op)
            return;
        op_run(op);
    }
}

/* ---- life ---- */

struct api_quotas *quotas_new(struct api *api, struct err **err)
{
    struct api_quotas *quotas = NEW(struct api_quotas);
    quotas->api = api;
    quotas->kind = schema_find_resource(api->schema, QUOTAS);
    pthread_mutex_init(&quotas->lock, NULL);
    map_init(&quotas->ledgers, ledger_free);
    list_init(&quotas->dirty);
    quotas->again = loop_timer_new(api->options.loop, publish, quotas);
    auto_free char *prefix = store_key_prefix(QUOTAS, NULL);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    if (api->store->ops->list(api->store, &request, &list, err) < 0) {
        err_wrap(err, "reading the quotas");
        quotas_free(quotas);
        return NULL;
    }
    for (size_t i = 0; i < list.count; i++) {
        auto_json object = json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len);
        ledger_put_quota(quotas, object);
    }
    store_list_fini(&list);
    return quotas;
}

void quotas_free(struct api_quotas *quotas)
{
    if (!quotas)
        return;
    loop_timer_free(quotas->again);
    map_fini(&quotas->ledgers);
    pthread_mutex_destroy(&quotas->lock);
    free(quotas);
}
