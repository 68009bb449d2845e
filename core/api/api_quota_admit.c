/*
 * api_quota_admit: whether a write fits into the quotas of its namespace. What fits is held until the write
 * is committed or has failed, so that two at the same time never pass the last free place.
 */
#include <string.h>

#include "api/api_quota.h"

/* A quota on cpu or memory wants every container to say how much. */
static void add_missing(struct str *text, const struct quota *quota, const cJSON *pod)
{
    static const char *const names[] = {"cpu",    "limits.cpu",   "limits.memory",
                                        "memory", "requests.cpu", "requests.memory"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        bool limited = false;
        for (size_t j = 0; j < quota->n_limits; j++)
            limited |= str_eq(quota->limits[j].name, names[i]);
        const char *point = strchr(names[i], '.');
        auto_free char *path =
            mem_printf("resources.%s.%s", str_starts(names[i], "limits.") ? "limits" : "requests",
                       point ? point + 1 : names[i]);
        static const char *const lists[] = {"spec.containers", "spec.initContainers"};
        auto_str who = {0};
        for (size_t j = 0; limited && j < COUNT_OF(lists); j++)
            json_each (container, json_at(pod, lists[j]))
                if (!json_at(container, path))
                    str_addf(&who, "%s%s", who.len ? "," : "", json_string_or(container, "name", ""));
        if (who.len)
            str_addf(text, "%s%s for: %s", text->len ? "; " : "", names[i], str_c(&who));
    }
}

static int check_told(const struct op *op, const struct quota *quota, const cJSON *pod, struct err **err)
{
    auto_str missing = {0};
    add_missing(&missing, quota, pod);
    if (!missing.len)
        return 0;
    return err_set(err, ERR_FORBIDDEN, "%s \"%s\" is forbidden: failed quota: %s: must specify %s",
                   op->info->resource, op->name, quota->name, str_c(&missing));
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct limit *const *)a)->name, (*(const struct limit *const *)b)->name);
}

static void add_pair(struct str *text, const char *name, int64_t value, bool binary)
{
    auto_free char *printed = amount_print(name, value, binary);
    str_addf(text, "%s%s=%s", text->len ? "," : "", name, printed);
}

static int check_room(const struct op *op, const struct quota *quota, const struct usage *more,
                      struct err **err)
{
    auto_free const struct limit **over = mem_array(quota->n_limits + 1, sizeof(*over));
    size_t n = 0;
    for (size_t i = 0; i < quota->n_limits; i++) {
        const struct limit *limit = &quota->limits[i];
        const struct amount *amount = amounts_find(&more->amounts, limit->name);
        int64_t sum = 0;
        if (amount && amount->value > 0 &&
            (__builtin_add_overflow(limit->used + limit->held, amount->value, &sum) || sum > limit->hard))
            over[n++] = limit;
    }
    if (!n)
        return 0;
    qsort(over, n, sizeof(*over), by_name);
    auto_str requested = {0}, used = {0}, limited = {0};
    for (size_t i = 0; i < n; i++) {
        const struct amount *amount = amounts_find(&more->amounts, over[i]->name);
        add_pair(&requested, over[i]->name, amount->value, amount->binary);
        add_pair(&used, over[i]->name, over[i]->used + over[i]->held, over[i]->binary);
        add_pair(&limited, over[i]->name, over[i]->hard, over[i]->hard_binary);
    }
    return err_set(err, ERR_FORBIDDEN,
                   "%s \"%s\" is forbidden: exceeded quota: %s, requested: %s, used: %s, limited: %s",
                   op->info->resource, op->name, quota->name, str_c(&requested), str_c(&used),
                   str_c(&limited));
}

static int check_all(const struct op *op, const struct ledger *ledger, const struct usage *usage,
                     const struct usage *more, const cJSON *created, struct err **err)
{
    auto_free const char **names = map_sorted_keys(&ledger->quotas);
    for (size_t i = 0; created && usage->pod && names[i]; i++) {
        const struct quota *quota = map_get(&ledger->quotas, names[i]);
        if (quota_counts(quota, usage) && check_told(op, quota, created, err) < 0)
            return -1;
    }
    for (size_t i = 0; names[i]; i++) {
        const struct quota *quota = map_get(&ledger->quotas, names[i]);
        if (quota_counts(quota, usage) && check_room(op, quota, more, err) < 0)
            return -1;
    }
    return 0;
}

/* What `now` takes that `before` did not. */
static struct usage *growth(const struct usage *now, const struct usage *before)
{
    struct usage *more = NEW(struct usage);
    more->pod = now->pod;
    more->scopes = now->scopes;
    more->class = mem_strdup(now->class);
    for (size_t i = 0; i < now->amounts.count; i++) {
        const struct amount *amount = &now->amounts.items[i];
        const struct amount *had = before ? amounts_find(&before->amounts, amount->name) : NULL;
        int64_t value = amount->value - (had ? had->value : 0);
        if (value > 0)
            amounts_add(&more->amounts, amount->name, value, amount->binary);
    }
    return more;
}

static void hold(struct op *op, struct ledger *ledger, struct usage *more)
{
    struct quota_hold *hold = NEW(struct quota_hold);
    hold->ledger = ledger;
    hold->namespace = mem_strdup(op->namespace);
    hold->usage = more;
    list_add_tail(&ledger->holds, &hold->node);
    map_each (entry, &ledger->quotas)
        quota_add(entry->value, more, 1, true);
    op->hold = hold;
}

/* Who makes an object again (a controller whose cache is behind) has to hear that it is there. */
static bool exists(const struct op *op)
{
    struct store *store = op->api->store;
    struct store_object present = {0};
    auto_free char *key = store_key(op->info->resource, op->namespace, op->name);
    if (store->ops->get(store, key, &present, NULL) < 0)
        return false;
    store_object_fini(&present);
    return true;
}

/* Pods whose end is overdue give their part back when somebody needs it; true if there were any. */
static bool sweep(struct api_quotas *quotas, struct ledger *ledger)
{
    int64_t now = api_wall(quotas->api);
    bool any = false;
    map_each (entry, &ledger->entries) {
        struct usage *usage = entry->value;
        if (!usage->gone_ns || usage->gone_ns > now)
            continue;
        any = true;
        map_each (quota, &ledger->quotas)
            if (quota_add(quota->value, usage, -1, false))
                quota_touch(quotas, quota->value);
        usage_end(usage);
        map_each (quota, &ledger->quotas)
            quota_add(quota->value, usage, 1, false);
    }
    return any;
}

static int admit(struct op *op, struct ledger *ledger, bool create, const cJSON *object, struct err **err)
{
    auto_free char *key = store_key(op->info->resource, op->namespace, op->name);
    op->usage = usage_of(op->info->resource, object);
    if (!create && op->usage->pod)
        return 0; /* pods are judged when they are made */
    struct usage *more = growth(op->usage, create ? NULL : map_get(&ledger->entries, key));
    auto_err refusal = NULL;
    int rc = check_all(op, ledger, op->usage, more, create ? object : NULL, &refusal);
    if (rc < 0 && sweep(op->api->quotas, ledger))
        rc = check_all(op, ledger, op->usage, more, create ? object : NULL, err);
    else
        err_move(err, &refusal);
    if (rc == 0 && !op->dry_run)
        hold(op, ledger, more);
    else
        usage_free(more);
    return rc;
}

int quota_admit(struct op *op, bool create, const cJSON *object, struct err **err)
{
    struct api_quotas *quotas = op->api->quotas;
    if (!quotas || !op->namespace || !atomic_load(&quotas->n_ledgers))
        return 0;
    auto_err refusal = NULL;
    pthread_mutex_lock(&quotas->lock);
    struct ledger *ledger = map_get(&quotas->ledgers, op->namespace);
    if (ledger && map_has(&ledger->tracked, op->info->resource))
        admit(op, ledger, create, object, &refusal);
    pthread_mutex_unlock(&quotas->lock);
    if (!refusal)
        return 0;
    if (create && exists(op))
        return err_set(err, ERR_ALREADY_EXISTS, "%s \"%s\" already exists", op->info->resource, op->name);
    return err_move(err, &refusal);
}

void quota_release(struct op *op)
{
    struct api_quotas *quotas = op->api->quotas;
    usage_free(steal(&op->usage));
    if (!op->hold)
        return;
    pthread_mutex_lock(&quotas->lock);
    hold_release(quotas, steal(&op->hold));
    pthread_mutex_unlock(&quotas->lock);
}
