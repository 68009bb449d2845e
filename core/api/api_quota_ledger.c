/*
 * api_quota_ledger: the sums of each quota and what they are made of: an entry for every object that is
 * there, a hold for every write under way. Read once from the store when a quota begins to count a resource.
 */
#include <string.h>

#include "api/api_quota.h"

/* ---- sums ---- */

static bool class_listed(const struct scope_rule *rule, const char *class)
{
    json_each (value, rule->classes)
        if (str_eq(cJSON_GetStringValue(value), class))
            return true;
    return rule->classes == NULL;
}

bool quota_counts(const struct quota *quota, const struct usage *usage)
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
bool quota_add(struct quota *quota, const struct usage *usage, int sign, bool held)
{
    bool changed = false;
    if (!usage || !quota_counts(quota, usage))
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

/* usage NULL: the object is gone. */
void ledger_set(struct api_quotas *quotas, struct ledger *ledger, const char *key, struct usage *usage)
{
    struct usage *old = map_take(&ledger->entries, key);
    map_each (entry, &ledger->quotas) {
        bool changed = quota_add(entry->value, old, -1, false);
        changed |= quota_add(entry->value, usage, 1, false);
        if (changed)
            quota_touch(quotas, entry->value);
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

void ledger_free(void *arg)
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

void ledger_drop_if_unused(struct api_quotas *quotas, const char *namespace, struct ledger *ledger)
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
        ledger_set(quotas, ledger, list.objects[i].key, usage_of(resource, object));
    }
    store_list_fini(&list);
}

void ledger_put_quota(struct api_quotas *quotas, const cJSON *object)
{
    struct quota *quota = quota_from(object);
    struct ledger *ledger = map_get(&quotas->ledgers, quota->namespace);
    if (!ledger)
        ledger = ledger_new(quotas, quota->namespace);
    for (size_t i = 0; i < quota->n_limits; i++)
        track(quotas, ledger, usage_resource(quota->limits[i].name), quota->namespace);
    map_each (entry, &ledger->entries)
        quota_add(quota, entry->value, 1, false);
    const struct quota_hold *hold;
    list_each (hold, &ledger->holds, node)
        quota_add(quota, hold->usage, 1, true);
    const struct quota *before = map_get(&ledger->quotas, quota->name);
    quota->writing = before && before->writing;
    map_set(&ledger->quotas, quota->name, quota);
    quota_touch(quotas, quota);
}

void hold_release(struct api_quotas *quotas, struct quota_hold *hold)
{
    map_each (entry, &hold->ledger->quotas)
        quota_add(entry->value, hold->usage, -1, true);
    list_remove(&hold->node);
    ledger_drop_if_unused(quotas, hold->namespace, hold->ledger);
    usage_free(hold->usage);
    free(hold->namespace);
    free(hold);
}
