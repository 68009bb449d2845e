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
#include <string.h>

#include "api/api_usage.h"

#define QUOTAS "resourcequotas"
#define AGAIN_MS 1000 /* after a status write that failed */

struct limit {
    char *name;
    int64_t hard, used, held;
    bool hard_binary, binary; /* how the sums are printed: as those who take part were written */
};

struct scope_rule {
    unsigned scope;
    bool wanted;    /* Exists, In; else DoesNotExist, NotIn */
    cJSON *classes; /* of In and NotIn; NULL: any */
};

struct quota {
    char *namespace, *name;
    struct limit *limits;
    size_t n_limits;
    struct scope_rule *rules;
    size_t n_rules;
    bool dirty, writing;    /* its status is not what it should be; a write is under way */
    struct list dirty_node; /* in api_quotas.dirty while dirty and not writing */
};

struct ledger {
    struct map quotas;  /* name → struct quota */
    struct map entries; /* store key → struct usage */
    struct map tracked; /* resources whose objects are in entries */
    struct list holds;
};

struct quota_hold { /* what a write under way takes */
    struct list node;
    struct ledger *ledger;
    char *namespace;
    struct usage *usage;
};

struct api_quotas {
    struct api *api;
    const struct schema_kind *kind;
    pthread_mutex_t lock;
    struct map ledgers;      /* namespace → struct ledger */
    atomic_size_t n_ledgers; /* read without the lock: most clusters have none */
    struct list dirty;
    bool posted;
    struct loop_timer *again; /* used on the loop only */
};

/* ---- sums ---- */

static bool class_listed(const struct scope_rule *rule, const char *class)
{
    json_each (value, rule->classes)
        if (str_eq(cJSON_GetStringValue(value), class))
            return true;
    return rule->classes == NULL;
}

static bool counts(const struct quota *quota, const struct usage *usage)
{
    if (quota->n_rules && !usage->pod)
        return false;
    for (size_t i = 0; i < quota->n_rules; i++) {
        const struct scope_rule *rule = &quota->rules[i];
        bool holds = (usage->scopes & rule->scope) != 0;
        if (holds && rule->scope == SCOPE_PRIORITY_CLASS)
            holds = class_listed(rule, usage->class);
        if (holds != rule->wanted)
            return false;
    }
    return true;
}

/* True if a sum has changed. */
static bool add(struct quota *quota, const struct usage *usage, int sign, bool held)
{
    bool changed = false;
    if (!usage || !counts(quota, usage))
        return false;
    for (size_t i = 0; i < quota->n_limits; i++) {
        struct limit *limit = &quota->limits[i];
        const struct amount *amount = amounts_find(&usage->amounts, limit->name);
        if (!amount || amount->value == 0)
            continue;
        *(held ? &limit->held : &limit->used) += sign * amount->value;
        limit->binary |= amount->binary;
        changed = true;
    }
    return changed;
}

static void publish(void *arg);

static void touch(struct api_quotas *quotas, struct quota *quota)
{
    quota->dirty = true;
    if (quota->writing || list_linked(&quota->dirty_node))
        return;
    list_add_tail(&quotas->dirty, &quota->dirty_node);
    if (!quotas->posted)
        loop_post(quotas->api->options.loop, publish, quotas);
    quotas->posted = true;
}

/* usage NULL: the object is gone. */
static void set_entry(struct api_quotas *quotas, struct ledger *ledger, const char *key, struct usage *usage)
{
    struct usage *old = map_take(&ledger->entries, key);
    map_each (entry, &ledger->quotas) {
        bool changed = add(entry->value, old, -1, false);
        changed |= add(entry->value, usage, 1, false);
        if (changed)
            touch(quotas, entry->value);
    }
    usage_free(old);
    if (usage)
        map_set(&ledger->entries, key, usage);
}

/* ---- ledgers and quotas ---- */

static void free_usage(void *usage)
{
    usage_free(usage);
}

static void free_quota(void *arg)
{
    struct quota *quota = arg;
    if (list_linked(&quota->dirty_node))
        list_remove(&quota->dirty_node);
    for (size_t i = 0; i < quota->n_limits; i++)
        free(quota->limits[i].name);
    for (size_t i = 0; i < quota->n_rules; i++)
        cJSON_Delete(quota->rules[i].classes);
    free(quota->limits);
    free(quota->rules);
    free(quota->namespace);
    free(quota->name);
    free(quota);
}

static void free_ledger(void *arg)
{
    struct ledger *ledger = arg;
    map_fini(&ledger->quotas);
    map_fini(&ledger->entries);
    map_fini(&ledger->tracked);
    free(ledger);
}

static struct ledger *ledger_new(struct api_quotas *quotas, const char *namespace)
{
    struct ledger *ledger = NEW(struct ledger);
    map_init(&ledger->quotas, free_quota);
    map_init(&ledger->entries, free_usage);
    list_init(&ledger->holds);
    map_set(&quotas->ledgers, namespace, ledger);
    atomic_store(&quotas->n_ledgers, quotas->ledgers.count);
    return ledger;
}

static void drop_if_unused(struct api_quotas *quotas, const char *namespace, struct ledger *ledger)
{
    if (ledger->quotas.count || !list_empty(&ledger->holds))
        return;
    map_remove(&quotas->ledgers, namespace);
    atomic_store(&quotas->n_ledgers, quotas->ledgers.count);
}

static void add_rule(struct quota *quota, const char *scope, const char *how, const cJSON *values)
{
    bool lists = str_eq(how, "In") || str_eq(how, "NotIn");
    quota->rules = mem_resize(quota->rules, quota->n_rules + 1, sizeof(*quota->rules));
    quota->rules[quota->n_rules++] =
        (struct scope_rule){.scope = usage_scope_named(scope),
                            .wanted = !str_eq(how, "NotIn") && !str_eq(how, "DoesNotExist"),
                            .classes = !lists   ? NULL
                                       : values ? json_copy(values)
                                                : cJSON_CreateArray()};
}

static struct quota *quota_from(const cJSON *object)
{
    struct quota *quota = NEW(struct quota);
    const cJSON *spec = json_get(object, "spec");
    quota->namespace = mem_strdup(json_string(object, "metadata.namespace"));
    quota->name = mem_strdup(json_string(object, "metadata.name"));
    list_init(&quota->dirty_node);
    json_each (scope, json_get(spec, "scopes"))
        add_rule(quota, cJSON_GetStringValue(scope), "Exists", NULL);
    json_each (expression, json_at(spec, "scopeSelector.matchExpressions"))
        add_rule(quota, json_string(expression, "scopeName"), json_string_or(expression, "operator", ""),
                 json_get(expression, "values"));
    json_each (hard, json_get(spec, "hard")) {
        struct limit limit = {.name = hard->string};
        const char *text = cJSON_GetStringValue(hard);
        if (!amount_read(hard->string, text, &limit.hard))
            continue; /* refused at admission */
        limit.name = mem_strdup(hard->string);
        limit.hard_binary = str_ends(text, "i");
        quota->limits = mem_resize(quota->limits, quota->n_limits + 1, sizeof(*quota->limits));
        quota->limits[quota->n_limits++] = limit;
    }
    return quota;
}

/* From now on objects of this resource have entries: those that exist are read once. */
static void track(struct api_quotas *quotas, struct ledger *ledger, const char *resource,
                  const char *namespace)
{
    struct store *store = quotas->api->store;
    auto_free char *prefix = store_key_prefix(resource, namespace);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    auto_err err = NULL;
    if (map_has(&ledger->tracked, resource))
        return;
    map_set(&ledger->tracked, resource, ledger);
    if (store->ops->list(store, &request, &list, &err) < 0) {
        log_error("api", "quotas of %s: %s cannot be counted: %s", namespace, resource, err_message(err));
        return;
    }
    for (size_t i = 0; i < list.count; i++) {
        auto_json object = json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len);
        set_entry(quotas, ledger, list.objects[i].key, usage_of(resource, object));
    }
    store_list_fini(&list);
}

static void put_quota(struct api_quotas *quotas, const cJSON *object)
{
    struct quota *quota = quota_from(object);
    struct ledger *ledger = map_get(&quotas->ledgers, quota->namespace);
    if (!ledger)
        ledger = ledger_new(quotas, quota->namespace);
    for (size_t i = 0; i < quota->n_limits; i++)
        track(quotas, ledger, usage_resource(quota->limits[i].name), quota->namespace);
    map_each (entry, &ledger->entries)
        add(quota, entry->value, 1, false);
    const struct quota_hold *hold;
    list_each (hold, &ledger->holds, node)
        add(quota, hold->usage, 1, true);
    const struct quota *before = map_get(&ledger->quotas, quota->name);
    quota->writing = before && before->writing;
    map_set(&ledger->quotas, quota->name, quota);
    touch(quotas, quota);
}

static void release(struct api_quotas *quotas, struct quota_hold *hold)
{
    map_each (entry, &hold->ledger->quotas)
        add(entry->value, hold->usage, -1, true);
    list_remove(&hold->node);
    drop_if_unused(quotas, hold->namespace, hold->ledger);
    usage_free(hold->usage);
    free(hold->namespace);
    free(hold);
}

/* ---- admission ---- */

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
        if (counts(quota, usage) && check_told(op, quota, created, err) < 0)
            return -1;
    }
    for (size_t i = 0; names[i]; i++) {
        const struct quota *quota = map_get(&ledger->quotas, names[i]);
        if (counts(quota, usage) && check_room(op, quota, more, err) < 0)
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
        add(entry->value, more, 1, true);
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
            if (add(quota->value, usage, -1, false))
                touch(quotas, quota->value);
        usage_end(usage);
        map_each (quota, &ledger->quotas)
            add(quota->value, usage, 1, false);
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
    release(quotas, steal(&op->hold));
    pthread_mutex_unlock(&quotas->lock);
}

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
            drop_if_unused(quotas, op->namespace, ledger);
        }
        return;
    }
    auto_json object = written_object(op);
    put_quota(quotas, object);
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
    set_entry(quotas, ledger, op->key, usage);
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
        release(quotas, steal(&op->hold));
    pthread_mutex_unlock(&quotas->lock);
}

/* ---- status ---- */

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
            touch(quotas, quota);
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
    map_init(&quotas->ledgers, free_ledger);
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
        put_quota(quotas, object);
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
