/* A node dies: NotReady within 3 s, replacements Running within 6 s. Most nodes vanish: nobody is evicted. */
#include "scenario.h"

static bool n1_is_not_ready(struct sim_world *w)
{
    auto_json nodes = sim_list(w, "nodes");
    json_each (node, nodes)
        if (str_eq(json_string(node, "metadata.name"), "n1"))
            json_each (condition, json_at(node, "status.conditions"))
                if (str_eq(json_string(condition, "type"), "Ready"))
                    return !str_eq(json_string(condition, "status"), "True");
    return false;
}

static bool six_run_elsewhere(struct sim_world *w)
{
    auto_json pods = sim_list(w, "pods");
    unsigned ready = 0;
    json_each (pod, pods)
        ready += !str_eq(json_string(pod, "spec.nodeName"), "n1") &&
                 str_eq(json_string(pod, "status.phase"), "Running") &&
                 json_string(pod, "metadata.deletionTimestamp") == NULL;
    return ready == 6;
}

static void lose(struct sim_shared *shared, uint64_t seed, bool power)
{
    struct sim_world *w = sim_world_new(shared, seed, NULL);
    pass(w, 2);
    add_deployment(w, "web", 6);
    add_service(w, "web", "10.96.0.80");
    settle(w, 10);
    pass(w, 0.001 * (double)random_below(&w->story, 1000)); /* anywhere between two heart-beats */
    if (power)
        sim_power(w, 0, false);
    else
        sim_cut(w, 0, true);
    int64_t detected = sim_run_until(w, 10000, n1_is_not_ready);
    int64_t replaced = sim_run_until(w, 10000, six_run_elsewhere);
    check_failure(w);
    if (detected < 0 || detected > 3000 || replaced < 0 || detected + replaced > 6000)
        fail_msg("seed %llu: NotReady after %lld ms, replaced after %lld ms", (unsigned long long)seed,
                 (long long)detected, (long long)(detected + replaced));
    pass(w, 5);
    sim_all_well(w);
    settle(w, 20);
    sim_world_free(w);
}

static void test_node_lost(void **state)
{
    for (uint64_t seed = 1; seed <= 10; seed++)
        lose(*state, seed, seed % 2);
}

static void test_most_vanish(void **state)
{
    struct sim_world *w = sim_world_new(*state, 5, &(struct sim_options){.nodes = 5});
    pass(w, 2);
    add_deployment(w, "web", 10);
    settle(w, 10);
    size_t before = starts(w);
    for (unsigned i = 0; i < 3; i++)
        sim_cut(w, i, true);
    pass(w, 20);
    auto_json pods = sim_list(w, "pods");
    assert_int_equal(cJSON_GetArraySize(pods), 10);
    sim_all_well(w);
    settle(w, 10);
    assert_int_equal(starts(w), before);
    sim_world_free(w);
}

SCENARIO_MAIN(cmocka_unit_test(test_node_lost), cmocka_unit_test(test_most_vanish))
