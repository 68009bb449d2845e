/* The agent dies after the k-th callback of a pod's start, and of its deletion, for every k: it comes back,
 * the pod runs once, its containers were started once, and when it is deleted nothing is left. */
#include "scenario.h"

#define POD                                                                                                  \
    "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'p'},'spec':{'terminationGracePeriodSeconds':1,"     \
    "'containers':[{'name':'c','image':'web:1','command':['serve']}]}}"

static struct sim_world *one_node(struct sim_shared *shared)
{
    struct sim_world *w = sim_world_new(shared, 7, &(struct sim_options){.nodes = 1, .quiet = true});
    pass(w, 2);
    return w;
}

static void come_back(struct sim_world *w)
{
    pass(w, 0.5);
    sim_start(w, SIM_AGENT);
}

/* True while the crash fell into the time that matters. */
static bool crash_in_start(struct sim_shared *shared, unsigned step)
{
    struct sim_world *w = one_node(shared);
    sim_crash_after(w, SIM_AGENT, step);
    ask(w, 201, "POST", PODS, POD);
    while (w->crash_at && sim_running(w, "p") == 0)
        sim_step(w);
    bool within = !w->crash_at;
    come_back(w);
    settle(w, 10);
    if (starts(w) != 2 || sim_running(w, "p") != 1) {
        sim_print_trace(w);
        fail_msg("step %u: %zu starts", step, starts(w));
    }
    sim_world_free(w);
    return within;
}

static bool crash_in_deletion(struct sim_shared *shared, unsigned step)
{
    struct sim_world *w = one_node(shared);
    ask(w, 201, "POST", PODS, POD);
    settle(w, 10);
    sim_crash_after(w, SIM_AGENT, step);
    ask(w, 200, "DELETE", PODS "/p", NULL);
    while (w->crash_at && map_has(&w->committed, "pods/default/p"))
        sim_step(w);
    bool within = !w->crash_at;
    w->crash_at = 0;
    come_back(w);
    settle(w, 10);
    if (starts(w) != 2 || fake_machine_count(w->nodes[0].machine, false) != 0 ||
        map_has(&w->committed, "pods/default/p")) {
        sim_print_trace(w);
        fail_msg("step %u: %zu starts, %zu containers left", step, starts(w),
                 fake_machine_count(w->nodes[0].machine, false));
    }
    sim_world_free(w);
    return within;
}

static void test_start(void **state)
{
    unsigned step = 1;
    while (crash_in_start(*state, step))
        step++;
    assert_true(step > 20);
}

static void test_deletion(void **state)
{
    unsigned step = 1;
    while (crash_in_deletion(*state, step))
        step++;
    assert_true(step > 20);
}

SCENARIO_MAIN(cmocka_unit_test(test_start), cmocka_unit_test(test_deletion))
