/* A server that comes back with an empty store is another cluster: it must not kill what runs (contract 15).
 */
#include "scenario.h"

static void test_empty_store(void **state)
{
    struct sim_world *w = sim_world_new(*state, 3, NULL);
    pass(w, 2);
    add_deployment(w, "web", 5);
    settle(w, 10);
    size_t before = starts(w);
    sim_kill(w, SIM_SERVER);
    sim_server_lose_store(w);
    sim_start(w, SIM_SERVER);
    pass(w, 30);
    assert_int_equal(sim_running(w, "web-"), 5);
    /* Nor when the agents start again and know the cluster from their disk only. */
    for (unsigned i = 0; i < w->n_nodes; i++)
        sim_kill(w, SIM_AGENT + i);
    pass(w, 1);
    for (unsigned i = 0; i < w->n_nodes; i++)
        sim_start(w, SIM_AGENT + i);
    pass(w, 30);
    assert_int_equal(sim_running(w, "web-"), 5);
    assert_int_equal(starts(w), before);
    sim_world_free(w);
}

SCENARIO_MAIN(cmocka_unit_test(test_empty_store))
