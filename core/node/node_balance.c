/*
 * node_balance: how new connections to a Service are spread on this node: its own annotation, else what the
 * policy says (contract 21); and telling so to who asks (GET /balance/NAMESPACE/NAME).
 */
#include <string.h>

#include "node/node_internal.h"

#define MAX_WEIGHT 100

static const struct {
    const char *name;
    enum net_balance balance;
} modes[] = {{"random", NET_BALANCE_RANDOM},
             {"round-robin", NET_BALANCE_ROUND_ROBIN},
             {"source-hash", NET_BALANCE_SOURCE_HASH}};

static enum net_balance mode_of(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(modes); i++)
        if (str_eq(name, modes[i].name))
            return modes[i].balance;
    return NET_BALANCE_RANDOM;
}

static const char *own_word(const cJSON *service)
{
    const cJSON *word = json_get(json_at(service, "metadata.annotations"), NODE_BALANCE_ANNOTATION);
    return cJSON_GetStringValue(word);
}

const char *node_endpoint_name(const cJSON *endpoint)
{
    const char *name = json_string(endpoint, "targetRef.name");
    return name ? name : json_string(endpoint, "addresses[0]");
}

static struct node_balanced question(const struct node *node, const char *key, const cJSON *service,
                                     const cJSON *slices)
{
    bool asks = service && !own_word(service) && !node_service_is_headless(service);
    return (struct node_balanced){.key = key,
                                  .service = asks ? service : NULL,
                                  .slices = slices,
                                  .node = node->options.name,
                                  .revision = node->event_revision};
}

void node_balance_of(struct node_balance *out, struct node *node, const char *key, const cJSON *service,
                     const cJSON *slices)
{
    const struct node_policies *policies = &node->options.policies;
    const struct node_balanced balanced = question(node, key, service, slices);
    const cJSON *answer = policies->balance(policies->arg, &balanced);
    const char *own = own_word(service);
    out->mode = mode_of(own ? own : json_string(answer, "mode"));
    out->weights = json_get(answer, "weights");
}

unsigned node_balance_weight(const struct node_balance *balance, const cJSON *endpoint)
{
    const char *name = balance->weights ? node_endpoint_name(endpoint) : NULL;
    const cJSON *weight = name ? json_get(balance->weights, name) : NULL;
    bool valid = cJSON_IsNumber(weight) && weight->valuedouble >= 1 && weight->valuedouble <= MAX_WEIGHT;
    return valid ? (unsigned)weight->valuedouble : 1;
}

void node_balance_handle(struct node *node, struct http_exchange *x, const char *namespace, const char *name)
{
    auto_free char *key = mem_printf("%s/%s", namespace, name);
    auto_json slices = NULL;
    auto_json service = node_services_read(node, key, &slices);
    const char *own = own_word(service);
    const struct node_policies *policies = &node->options.policies;
    const struct node_balanced balanced = question(node, key, service, slices);
    const cJSON *said = policies->balance(policies->arg, &balanced);
    if (!own && !said) {
        node_answer_error(x, ERR_NOT_FOUND, "nothing is balanced for services \"%s\"", key);
        return;
    }
    auto_json answer = said ? json_copy(said) : cJSON_CreateObject();
    if (own)
        json_set_string(answer, "mode", own);
    auto_free char *text = json_print(answer);
    node_answer_text(x, 200, "application/json", mem_printf("%s\n", text));
}
