/*
 * script_node_balance: how the new connections to a Service are spread over its endpoints, asked by each
 * node. The answer stays until what was asked, or who is asked, is something else.
 *
 * The same question has the same answer everywhere, so not every node tells it to the manager: the one that
 * has the first endpoint does, and whoever has an answer that is new to it or had to take the default's.
 */
#include <string.h>

#include "base/log.h"
#include "script/script_node_private.h"

#define POINT "balance"
#define LABELS "minik8s.io/endpoint-labels" /* of slices: {common, pods: {NAME: labels}} */

struct balance {
    uint64_t asked; /* hash of the question and of who was asked */
    cJSON *answer;
};

static void balance_free(void *value)
{
    struct balance *balance = value;
    cJSON_Delete(balance->answer);
    free(balance);
}

/* ---- what is asked ---- */

static cJSON *labels_of(const cJSON *all, const char *name)
{
    const cJSON *common = json_get(all, "common"), *own = json_get(json_get(all, "pods"), name);
    cJSON *labels = common ? json_copy(common) : cJSON_CreateObject();
    json_each (label, own)
        json_set(labels, label->string, json_copy(label));
    return labels;
}

static void add_endpoints(struct map *found, const cJSON *slice)
{
    const char *text = cJSON_GetStringValue(json_get(json_at(slice, "metadata.annotations"), LABELS));
    auto_json labels = text ? json_parse(text, strlen(text), NULL) : NULL;
    json_each (endpoint, json_get(slice, "endpoints")) {
        const char *name = node_endpoint_name(endpoint);
        if (!name || map_has(found, name))
            continue;
        cJSON *entry = cJSON_CreateObject();
        json_set_string(entry, "name", name);
        json_set_string(entry, "address", json_string(endpoint, "addresses[0]"));
        json_set_string(entry, "node", json_string_or(endpoint, "nodeName", ""));
        json_set(entry, "labels", labels_of(labels, name));
        map_set(found, name, entry);
    }
}

/* In the order of names: the same on all nodes. */
static cJSON *endpoints_of(const cJSON *slices)
{
    cJSON *endpoints = cJSON_CreateArray();
    auto_map found = {0};
    json_each (slice, slices)
        add_endpoints(&found, slice);
    auto_free const char **names = map_sorted_keys(&found);
    for (size_t i = 0; names[i]; i++)
        json_push(endpoints, map_get(&found, names[i]));
    return endpoints;
}

static void copy_map(cJSON *to, const char *field, const cJSON *from)
{
    json_set(to, field, from ? json_copy(from) : cJSON_CreateObject());
}

static cJSON *context(const struct node_balanced *balanced)
{
    const cJSON *service = balanced->service;
    cJSON *ctx = cJSON_CreateObject(), *of = cJSON_CreateObject();
    json_set_string(ctx, "object", balanced->key);
    json_set_string(ctx, "node", balanced->node);
    json_set(ctx, "service", of);
    json_set_string(of, "namespace", json_string(service, "metadata.namespace"));
    json_set_string(of, "name", json_string(service, "metadata.name"));
    copy_map(of, "labels", json_at(service, "metadata.labels"));
    copy_map(of, "annotations", json_at(service, "metadata.annotations"));
    json_set(ctx, "endpoints", endpoints_of(balanced->slices));
    return ctx;
}

/* ---- who is asked ---- */

static void add_who(struct str *text, const struct policy_list *list)
{
    auto_free char *names = policies_list_text(list);
    str_add(text, names);
    for (size_t i = 0; i < list->count; i++)
        json_print_to(text, list->items[i].settings);
    str_add_char(text, '\n');
}

void script_node_balance_tell(struct script_node *node)
{
    const struct policy_point *point = policies_point(&node->policies, POINT);
    auto_str text = {0};
    add_who(&text, &point->active);
    map_each (entry, &point->spaces) {
        const struct policy_space *space = entry->value;
        str_add(&text, entry->key);
        add_who(&text, space->trouble ? &point->active : &space->active);
    }
    uint64_t who = str_hash(str_c(&text), text.len);
    if (who == node->balancing)
        return;
    node->balancing = who;
    if (node->listener.on_balance)
        node->listener.on_balance(node->listener.arg);
}

static uint64_t question_of(struct script_node *node, const cJSON *ctx)
{
    auto_str text = {0};
    struct policy_point *point = policies_point(&node->policies, POINT);
    add_who(&text, policies_active_in(point, json_string(ctx, "service.namespace")));
    json_print_to(&text, ctx);
    return str_hash(str_c(&text), text.len);
}

/* ---- the answer ---- */

/* {mode, weights, policy, reasons, failure} */
static cJSON *answer_of(cJSON *result, const cJSON *record)
{
    cJSON *answer = result ? result : cJSON_CreateObject();
    const char *policy = json_string(record, "policy");
    if (!json_string(answer, "mode")) /* even the shipped one failed, which was said */
        json_set_string(answer, "mode", "random");
    auto_free char *version =
        policy ? mem_printf("%s@%.8s", policy, json_string_or(record, "version", "")) : NULL;
    json_set_string(answer, "policy", version);
    if (json_get(record, "reasons"))
        json_set(answer, "reasons", json_copy(json_get(record, "reasons")));
    json_set_string(answer, "failure", json_string(record, "failure"));
    return answer;
}

static bool same_decision(const cJSON *a, const cJSON *b)
{
    return json_equal(json_get(a, "mode"), json_get(b, "mode")) &&
           json_equal(json_get(a, "weights"), json_get(b, "weights")) &&
           json_equal(json_get(a, "policy"), json_get(b, "policy"));
}

static bool is_here(const cJSON *endpoint, const char *node)
{
    return str_eq(json_string(endpoint, "node"), node);
}

/* Whether the manager is to hear of it; before: NULL, or the answer of before. */
static bool is_worth_telling(const cJSON *ctx, const cJSON *before, const cJSON *answer, const char *node)
{
    const cJSON *endpoints = json_get(ctx, "endpoints");
    if (is_here(endpoints->child, node) || json_get(answer, "failure"))
        return true;
    if (before)
        return !same_decision(before, answer);
    bool here = false;
    json_each (endpoint, endpoints)
        here = here || is_here(endpoint, node);
    return here;
}

static cJSON *ask(struct script_node *node, const cJSON *ctx, const struct node_balanced *balanced,
                  const cJSON *before)
{
    struct policies *policies = &node->policies;
    struct record *kept = policies->record, asked;
    auto_json record = NULL;
    auto_err err = NULL;
    record_init(&asked, 1, SIZE_MAX);
    policies->record = kept ? &asked : NULL;
    policies->revision = balanced->revision;
    cJSON *result = policies_ask(policies, POINT, ctx, NULL, script_node_now(node), &record, &err);
    policies->record = kept;
    if (!result)
        log_error("script", POINT ": nothing decides: %s", err ? err_message(err) : "no result");
    cJSON *answer = answer_of(result, record);
    struct decision *decision = record_take(&asked);
    if (decision && is_worth_telling(ctx, before, answer, balanced->node)) {
        record_add(kept, decision);
        node->listener.on_decision(node->listener.arg);
    } else {
        decision_free(decision);
    }
    record_fini(&asked);
    return answer;
}

const cJSON *script_node_balance(void *arg, const struct node_balanced *balanced)
{
    struct script_node *node = arg;
    auto_json ctx = balanced->service ? context(balanced) : NULL;
    if (!ctx || !json_get(ctx, "endpoints")->child) {
        map_remove(&node->balances, balanced->key);
        return NULL;
    }
    struct balance *balance = map_get(&node->balances, balanced->key);
    uint64_t asked = question_of(node, ctx);
    if (balance && balance->asked == asked)
        return balance->answer;
    cJSON *answer = ask(node, ctx, balanced, balance ? balance->answer : NULL);
    if (!balance) {
        balance = NEW(struct balance);
        map_set(&node->balances, balanced->key, balance);
    }
    cJSON_Delete(balance->answer);
    balance->answer = answer;
    balance->asked = asked;
    script_node_tell_in_force(node); /* a version may have been taken out of use */
    return balance->answer;
}

void script_node_balance_init(struct script_node *node)
{
    map_init(&node->balances, balance_free);
}

void script_node_balance_fini(struct script_node *node)
{
    map_fini(&node->balances);
}
