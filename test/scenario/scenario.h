/* What the named stories share. Included by one program at a time. */
#ifndef M8_TEST_SCENARIO_H
#define M8_TEST_SCENARIO_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "support/sim.h"

#define DEPLOYMENTS "/apis/apps/v1/namespaces/default/deployments"
#define PODS "/api/v1/namespaces/default/pods"
#define SERVICES "/api/v1/namespaces/default/services"
#define NODES "/api/v1/nodes"

static inline int setup(void **state)
{
    auto_err err = NULL;
    log_set_silent(getenv("SIM_LOG") == NULL);
    struct sim_shared *shared = sim_shared_new(&err);
    if (!shared)
        fprintf(stderr, "%s\n", err_message(err));
    *state = shared;
    return shared ? 0 : -1;
}

static inline int teardown(void **state)
{
    sim_shared_free(*state);
    return 0;
}

static inline void check_failure(struct sim_world *w)
{
    if (!w->failure)
        return;
    sim_print_trace(w);
    fail_msg("%s", w->failure);
}

static inline void pass(struct sim_world *w, double seconds)
{
    sim_run_for(w, (int64_t)(seconds * 1000));
    check_failure(w);
}

static inline void ask(struct sim_world *w, int wanted, const char *method, const char *target,
                       const char *body)
{
    auto_json answer = NULL;
    int status = sim_request(w, method, target, body, &answer);
    check_failure(w);
    if (status != wanted)
        fail_msg("%s %s: %d %s", method, target, status, json_string_or(answer, "message", ""));
}

static inline void add_deployment(struct sim_world *w, const char *name, unsigned replicas)
{
    auto_free char *body = mem_printf(
        "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'%s'},'spec':{'replicas':%u,"
        "'selector':{'matchLabels':{'app':'%s'}},'template':{'metadata':{'labels':{'app':'%s'}},"
        "'spec':{'terminationGracePeriodSeconds':2,'containers':[{'name':'c','image':'web:1','command':['"
        "serve']"
        "}]}}}}",
        name, replicas, name, name);
    ask(w, 201, "POST", DEPLOYMENTS, body);
}

static inline void add_service(struct sim_world *w, const char *name, const char *address)
{
    auto_free char *body =
        mem_printf("{'apiVersion':'v1','kind':'Service','metadata':{'name':'%s'},'spec':{'clusterIP':'%s',"
                   "'selector':{'app':'%s'},'ports':[{'port':80,'targetPort':8080}]}}",
                   name, address, name);
    ask(w, 201, "POST", SERVICES, body);
}

/* Until every law of a quiet cluster holds. */
static inline void settle(struct sim_world *w, double seconds)
{
    char *problem = NULL;
    for (double passed = 0; passed < seconds; passed += 0.5) {
        free(problem);
        pass(w, 0.5);
        problem = sim_unsettled(w);
        if (!problem)
            return;
    }
    sim_print_trace(w);
    fail_msg("not settled after %.0f s: %s", seconds, problem);
}

static inline size_t starts(const struct sim_world *w)
{
    size_t count = 0;
    for (unsigned i = 0; i < w->n_nodes; i++)
        count += fake_machine_starts(w->nodes[i].machine);
    return count;
}

#define SCENARIO_MAIN(...)                                                                                   \
    int main(void)                                                                                           \
    {                                                                                                        \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                                                     \
        return cmocka_run_group_tests(tests, setup, teardown);                                               \
    }

#endif
