/* The server is away for 20 s: nothing changes on the nodes, no container restarts, the work goes on after.
 */
#include "scenario.h"

static void test_server_away(void **state)
{
    struct sim_world *w = sim_world_new(*state, 1, NULL);
    pass(w, 2);
    add_deployment(w, "web", 6);
    add_service(w, "web", "10.96.0.80");
    settle(w, 10);
    size_t before = starts(w);
    sim_kill(w, SIM_SERVER);
    for (int second = 0; second < 20; second++) {
        pass(w, 1);
        assert_int_equal(sim_running(w, "web-"), 6);
        struct in_addr address = {htonl(0x0a600050)};
        assert_int_equal(fake_world_connect(w->net, "n2", address, IPPROTO_TCP, 80, NULL), FAKE_REACHED);
    }
    sim_start(w, SIM_SERVER);
    settle(w, 5);
    assert_int_equal(starts(w), before);
    ask(w, 200, "PATCH", DEPLOYMENTS "/web", "{'spec':{'replicas':7}}");
    settle(w, 10);
    assert_int_equal(starts(w), before + 2); /* one sandbox, one container */
    sim_world_free(w);
}

/* Server and manager, away and back together: every node gets its full period before it is judged. */
static void test_control_plane_away(void **state)
{
    struct sim_world *w = sim_world_new(*state, 2, NULL);
    pass(w, 2);
    add_deployment(w, "web", 6);
    settle(w, 10);
    size_t before = starts(w);
    sim_kill(w, SIM_SERVER);
    sim_kill(w, SIM_MANAGER);
    pass(w, 20);
    sim_start(w, SIM_SERVER);
    sim_start(w, SIM_MANAGER);
    settle(w, 10);
    pass(w, 10);
    assert_int_equal(starts(w), before);
    sim_world_free(w);
}

SCENARIO_MAIN(cmocka_unit_test(test_server_away), cmocka_unit_test(test_control_plane_away))
