/*
 * node_policies: what the agent tells those who decide here (contract 21), and what it does with what they
 * say beside their decisions. The decisions themselves: pod_observe.c, node_balance.c.
 */
#include "node/node_internal.h"

void node_policies_sync(struct node *node)
{
    const struct node_policies *policies = &node->options.policies;
    if (node->synced && policies->sync)
        policies->sync(policies->arg, node->cache);
}

static void on_policy_trouble(void *arg, const char *reason, const char *message)
{
    struct node *node = arg;
    auto_json involved = cJSON_CreateObject();
    json_set_string(involved, "apiVersion", "v1");
    json_set_string(involved, "kind", "Node");
    json_set_string(involved, "name", node->options.name);
    json_set_string(involved, "uid", node->options.name);
    recorder_event(node->recorder, involved, "Warning", reason, "%s", message);
}

static void on_policies_in_force(void *arg, const char *versions)
{
    node_heartbeat_policies(((struct node *)arg)->heartbeat, versions);
}

static void on_decision(void *arg)
{
    node_decisions_changed(((struct node *)arg)->decisions);
}

static void on_balance(void *arg)
{
    node_services_ask(((struct node *)arg)->services);
}

void node_policies_listen(struct node *node, bool listens)
{
    const struct node_policies *policies = &node->options.policies;
    const struct node_policy_listener listener = {.on_trouble = on_policy_trouble,
                                                  .on_in_force = on_policies_in_force,
                                                  .on_decision = on_decision,
                                                  .on_balance = on_balance,
                                                  .arg = node};
    if (policies->listen)
        policies->listen(policies->arg, listens ? &listener : NULL);
}
