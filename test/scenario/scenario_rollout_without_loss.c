/* A rolling update under traffic: at every instant enough endpoints answer, on every node, and none is sent
 * to in vain. */
#include "scenario.h"

#define REPLICAS 4
#define LEAST 3 /* replicas minus maxUnavailable (25 %) */

struct answers {
    struct sim_world *world;
    unsigned good;
    bool in_vain;
};

static void look(void *arg, const char *service, const struct net_service_port *port UNUSED,
                 const struct net_endpoint *endpoint)
{
    struct answers *answers = arg;
    if (!endpoint || !str_eq(service, "default/web"))
        return;
    bool runs = false;
    map_each (entry, &answers->world->pods) {
        const struct sim_pod *pod = entry->value;
        if (!pod->gone && pod->address.s_addr == endpoint->address.s_addr)
            for (unsigned i = 0; i < answers->world->n_nodes; i++)
                runs |= fake_world_attached(answers->world->net, answers->world->nodes[i].name, entry->key);
    }
    answers->good += runs;
    answers->in_vain |= !runs;
}

static void check_traffic(struct sim_world *w)
{
    for (unsigned i = 0; i < w->n_nodes; i++) {
        struct answers answers = {.world = w};
        fake_world_each_endpoint(w->net, w->nodes[i].name, look, &answers);
        if (answers.good < LEAST || answers.in_vain) {
            sim_print_trace(w);
            fail_msg("%s: %u endpoints answer%s", w->nodes[i].name, answers.good,
                     answers.in_vain ? ", and one does not" : "");
        }
    }
}

static void roll(struct sim_shared *shared, uint64_t seed)
{
    struct sim_world *w = sim_world_new(shared, seed, NULL);
    pass(w, 2);
    add_deployment(w, "web", REPLICAS);
    add_service(w, "web", "10.96.0.80");
    settle(w, 10);
    static const char *const patches[] = {
        "{'spec':{'template':{'spec':{'containers':[{'name':'c','image':'web:2'}]}}}}",
        "{'spec':{'template':{'spec':{'containers':[{'name':'c','image':'web:3'}]}}}}"};
    for (size_t i = 0; i < COUNT_OF(patches); i++) {
        ask(w, 200, "PATCH", DEPLOYMENTS "/web", patches[i]);
        for (int step = 0; step < (i ? 2000 : 150);
             step++) { /* the second comes in the middle of the first */
            pass(w, 0.01);
            check_traffic(w);
        }
    }
    settle(w, 5);
    sim_world_free(w);
}

static void test_rollout(void **state)
{
    for (uint64_t seed = 1; seed <= 5; seed++)
        roll(*state, seed);
}

SCENARIO_MAIN(cmocka_unit_test(test_rollout))
