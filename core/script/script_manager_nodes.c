/*
 * script_manager_nodes: decisions that agents took (restart.backoff, balance), into the manager's record.
 * Each agent keeps its last ones in an object NodeDecisions of its node's name; which of them are new is seen
 * by the agent's start and its own count, also after a restart of the manager.
 *
 * Does not: believe more than that these were decided: points that no node asks are left out, and a text is
 * only ever run in the sandbox of a trial.
 */
#include <string.h>

#include "script/script_manager_private.h"
#include "script/script_node.h"
#include "script/script_trial.h"

#define NODE_DECISIONS "nodedecisions.minik8s.io"

struct reporter {
    char *agent;
    uint64_t seq;
};

static void reporter_free(void *value)
{
    struct reporter *reporter = value;
    free(reporter->agent);
    free(reporter);
}

/* False: it is known already. */
static bool is_news(struct script_manager *manager, const char *node, const char *agent, uint64_t seq)
{
    struct reporter *reporter = map_get(&manager->reporters, node);
    if (!reporter) {
        reporter = NEW(struct reporter);
        map_set(&manager->reporters, node, reporter);
    }
    if (!str_eq(reporter->agent, agent)) {
        free(reporter->agent);
        reporter->agent = mem_strdup(agent);
        reporter->seq = 0;
    }
    if (seq <= reporter->seq)
        return false;
    reporter->seq = seq;
    return true;
}

static void take(struct script_manager *manager, struct record_reader *reader, const char *node,
                 const char *agent, const cJSON *json)
{
    uint64_t seq = (uint64_t)json_int(json, "decision", 0);
    if (!script_node_asks(json_string_or(json, "point", "")) || !is_news(manager, node, agent, seq))
        return;
    struct decision *decision = record_read_decision(reader, json);
    if (!decision)
        return;
    free(decision->node);
    free(decision->agent);
    decision->node = mem_strdup(node);
    decision->agent = mem_strdup(agent);
    decision->node_seq = seq;
    if (!decision->past)
        shadow_decision(&manager->policies, decision->point, decision);
    record_add(&manager->record, decision);
}

void manager_nodes_on_change(struct script_manager *manager, const char *resource,
                             const struct cache_item *item)
{
    if (!item || !str_eq(resource, NODE_DECISIONS))
        return;
    auto_json object = json_parse_trusted(item->bytes->data, item->bytes->len);
    const char *agent = json_string(object, "spec.agent");
    struct record_reader reader;
    if (!agent)
        return;
    record_reader_init(&reader, &manager->policies);
    json_each (source, json_at(object, "spec.sources"))
        record_read_source(&reader, source);
    json_each (list, json_at(object, "spec.lists"))
        record_read_list(&reader, list);
    json_each (decision, json_at(object, "spec.decisions"))
        take(manager, &reader, item->name, agent, decision);
    record_reader_fini(&reader);
}

void manager_nodes_init(struct script_manager *manager)
{
    map_init(&manager->reporters, reporter_free);
    for (size_t i = 0; i < manager->record.count; i++) {
        const struct decision *decision = record_at(&manager->record, i);
        if (decision->node && decision->agent)
            is_news(manager, decision->node, decision->agent, decision->node_seq);
    }
}

void manager_nodes_fini(struct script_manager *manager)
{
    map_fini(&manager->reporters);
}
