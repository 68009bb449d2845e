/* What random stories found, one test for each cause. */
#include "scenario.h"

static const char *ready_of(struct sim_world *w, const char *name)
{
    static char status[16];
    auto_json nodes = sim_list(w, "nodes");
    json_each (node, nodes)
        if (str_eq(json_string(node, "metadata.name"), name))
            json_each (condition, json_at(node, "status.conditions"))
                if (str_eq(json_string(condition, "type"), "Ready"))
                    snprintf(status, sizeof(status), "%s", json_string_or(condition, "status", ""));
    return status;
}

/* Story 5: a node came back, its agent said Ready, the manager had not yet heard a beat and said Unknown, and
 * so on without end until the next beat. */
static void test_return_is_quiet(void **state)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sim_world *w = sim_world_new(*state, seed, NULL);
        pass(w, 2);
        sim_kill(w, SIM_AGENT);
        pass(w, 5);
        assert_string_equal(ready_of(w, "n1"), "Unknown");
        uint64_t before = w->store->ops->revision(w->store);
        w->line.refuse = 500; /* a beat may get lost while what the agent says comes through */
        sim_start(w, SIM_AGENT);
        int64_t until = loop_now_ms(w->loop) + 3000;
        while (loop_now_ms(w->loop) < until) {
            for (int step = 0; step < 200; step++)
                sim_step(w);
            check_failure(w);
            assert_true(w->store->ops->revision(w->store) - before < 200);
        }
        sim_all_well(w);
        pass(w, 4);
        assert_string_equal(ready_of(w, "n1"), "True");
        sim_world_free(w);
    }
}

/* Story 3: the runtime answered only after the network was there; the node stayed NotReady for ever. */
static void test_late_runtime(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_world *w = sim_world_new(*state, seed, NULL);
        pass(w, 2);
        sim_kill(w, SIM_AGENT);
        fake_machine_set_faults(w->nodes[0].machine,
                                &(struct fake_runtime_faults){.delay_ms_max = 1, .error_permille = 600});
        sim_start(w, SIM_AGENT);
        pass(w, 2);
        fake_machine_set_faults(w->nodes[0].machine, &(struct fake_runtime_faults){.delay_ms_max = 1});
        pass(w, 3);
        assert_string_equal(ready_of(w, "n1"), "True");
        sim_world_free(w);
    }
}

/* Stories 7 and 206: an agent that starts while its pod is being deleted knows of no slice that held the pod,
 * and stopped it though a slower node still sent to it. The law about signals in sim_laws.c judges. */
static void test_restart_in_drain(void **state)
{
    struct sim_world *w = sim_world_new(*state, 2, NULL);
    pass(w, 2);
    add_deployment(w, "web", 3);
    add_service(w, "web", "10.96.0.80");
    settle(w, 10);
    pass(w, 5);
    sim_kill(w, SIM_AGENT + 2);
    fake_world_fail(w->net, "n1", 3); /* its table follows 1.5 s later */
    ask(w, 200, "PATCH", DEPLOYMENTS "/web", "{'spec':{'replicas':0}}");
    pass(w, 0.2);
    sim_start(w, SIM_AGENT + 2);
    settle(w, 10);
    assert_int_equal(sim_running(w, "web-"), 0);
    sim_world_free(w);
}

/* Story 1002066: a pod whose container waits for its next attempt has nothing to stop; its sandbox and with
 * it its address went though a slower node still sent to it. The law about signals judges. */
static void test_deleted_while_it_waits(void **state)
{
    struct sim_world *w = sim_world_new(*state, 4, NULL);
    pass(w, 2);
    add_deployment(w, "web", 3);
    add_service(w, "web", "10.96.0.80");
    settle(w, 10);
    pass(w, 2);
    auto_json pods = sim_list(w, "pods");
    fake_world_fail(w->net, "n3", 3);
    unsigned killed = 0;
    json_each (pod, pods)
        for (unsigned i = 0; i < w->n_nodes; i++) {
            const struct runtime_container *c =
                fake_machine_find(w->nodes[i].machine, json_string(pod, "metadata.name"), "c");
            killed += c && fake_machine_kill(w->nodes[i].machine, c->name, 1, false);
        }
    assert_int_equal(killed, 3);
    pass(w, 0.1);
    ask(w, 200, "PATCH", DEPLOYMENTS "/web", "{'spec':{'replicas':0}}");
    settle(w, 15);
    assert_int_equal(sim_running(w, "web-"), 0);
    sim_world_free(w);
}

/* Story 1013765: the server dies after it made a Job's pod and before it said so; back again, it was asked
 * for another one by a manager whose stream had not come back yet. The law about Jobs judges. */
static void test_lost_answer(void **state)
{
    const char *job =
        "{'metadata':{'name':'j'},'spec':{'completions':2,'parallelism':1,'template':{'spec':{"
        "'restartPolicy':'Never','containers':[{'name':'c','image':'web:1','command':['serve']}]}}}}";
    unsigned told = 0;
    for (uint64_t steps = 1; steps <= 30; steps++) {
        struct sim_world *w = sim_world_new(*state, steps, &(struct sim_options){.objects = true});
        pass(w, 2);
        if (sim_request(w, "POST", "/apis/batch/v1/namespaces/default/jobs", job, NULL) == 201) {
            told++;
            sim_crash_after(w, SIM_SERVER, steps);
            pass(w, 2.47); /* tries are a second apart, and the stream's grow to two */
            sim_start(w, SIM_SERVER);
            pass(w, 5);
            assert_int_equal(sim_running(w, "j-"), 1);
        }
        sim_world_free(w);
    }
    assert_int_equal(told, 30);
}

static unsigned kill_sandboxes(struct sim_world *w)
{
    unsigned killed = 0;
    auto_json pods = sim_list(w, "pods");
    json_each (pod, pods)
        for (unsigned i = 0; i < w->n_nodes; i++) {
            struct fake_machine *machine = w->nodes[i].machine;
            const struct runtime_container *c =
                fake_machine_find(machine, json_string(pod, "metadata.name"), "");
            killed += c && fake_machine_kill(machine, c->name, 137, false);
        }
    return killed;
}

/* Story 1015806: a sandbox that died before its start was answered was taken for running for ever; no
 * container could be started in it. */
static void test_sandbox_dies_at_once(void **state)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct sim_world *w = sim_world_new(*state, seed, NULL);
        pass(w, 2);
        for (unsigned i = 0; i < w->n_nodes; i++)
            fake_machine_set_faults(w->nodes[i].machine,
                                    &(struct fake_runtime_faults){.delay_ms_max = 1, .answer_ms_max = 300});
        add_deployment(w, "web", 3);
        unsigned killed = 0;
        for (int i = 0; i < 100 && killed < 3; i++) {
            pass(w, 0.01);
            killed += kill_sandboxes(w);
        }
        assert_true(killed >= 3);
        for (unsigned i = 0; i < w->n_nodes; i++)
            fake_machine_set_faults(w->nodes[i].machine, &(struct fake_runtime_faults){.delay_ms_max = 1});
        settle(w, 10);
        assert_int_equal(sim_running(w, "web-"), 3);
        sim_world_free(w);
    }
}

static unsigned node_of(struct sim_world *w, const char *pod)
{
    for (unsigned i = 0; i < w->n_nodes; i++)
        if (fake_machine_find(w->nodes[i].machine, pod, "c"))
            return i;
    fail_msg("%s runs nowhere", pod);
    return 0;
}

/* Story 51022009: a machine that came back with power started the pods on its disk before the stream had said
 * that they had been replaced: an identity ran twice. */
static void test_identity_after_power(void **state)
{
    struct sim_world *w = sim_world_new(*state, 6, NULL);
    pass(w, 2);
    ask(w, 201, "POST", "/apis/apps/v1/namespaces/default/statefulsets",
        "{'metadata':{'name':'db'},'spec':{'replicas':1,'serviceName':'db','selector':{'matchLabels':{'app':'"
        "db'}},"
        "'template':{'metadata':{'labels':{'app':'db'}},'spec':{'terminationGracePeriodSeconds':2,'"
        "containers':["
        "{'name':'c','image':'web:1','command':['serve']}]}}}}");
    settle(w, 10);
    unsigned at = node_of(w, "db-0");
    auto_free char *node = mem_printf("/api/v1/nodes/n%u", at + 1);
    sim_power(w, at, false);
    pass(w, 4);
    ask(w, 200, "PATCH", node,
        "{'spec':{'taints':[{'key':'node.kubernetes.io/out-of-service','value':'x','effect':'NoExecute'}]}}");
    pass(w, 8);
    assert_int_equal(sim_running(w, "db-"), 1); /* elsewhere */
    sim_cut(w, at, true);
    sim_power(w, at, true);
    sim_start(w, SIM_AGENT + at);
    pass(w, 5);
    assert_int_equal(sim_running(w, "db-"), 1); /* was 2 */
    sim_cut(w, at, false);
    ask(w, 200, "PATCH", node, "{'spec':{'taints':null}}");
    settle(w, 10);
    at = node_of(w, "db-0");
    sim_power(w, at, false); /* shorter than a detection: it is still wanted */
    sim_power(w, at, true);
    sim_start(w, SIM_AGENT + at);
    settle(w, 10);
    assert_int_equal(sim_running(w, "db-"), 1);
    sim_world_free(w);
}

/* Story 526786: a Service made anew under the name of another found that one's slice, equal to what it
 * wanted; then the slice went with its owner, and nobody made another. */
static void test_service_made_anew(void **state)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sim_world *w = sim_world_new(*state, seed, NULL);
        pass(w, 2);
        add_deployment(w, "web", 2);
        add_service(w, "web", "10.96.0.80");
        settle(w, 10);
        sim_kill(w, SIM_MANAGER);
        pass(w, 0.1);
        ask(w, 200, "DELETE", "/api/v1/namespaces/default/services/web", NULL);
        add_service(w, "web", "10.96.0.80");
        sim_start(w, SIM_MANAGER);
        settle(w, 10); /* a ready pod in no slice is no rest */
        sim_world_free(w);
    }
}

SCENARIO_MAIN(cmocka_unit_test(test_identity_after_power), cmocka_unit_test(test_return_is_quiet),
              cmocka_unit_test(test_late_runtime), cmocka_unit_test(test_restart_in_drain),
              cmocka_unit_test(test_deleted_while_it_waits), cmocka_unit_test(test_lost_answer),
              cmocka_unit_test(test_sandbox_dies_at_once), cmocka_unit_test(test_service_made_anew))
