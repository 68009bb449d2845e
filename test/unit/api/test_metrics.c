/* metrics.k8s.io: one round for whoever asks, what becomes of an agent's summary, and what nobody gets to
 * see; GET nodes/NAME/proxy. The agents are functions. */
#include "api_test.h"

#define PODS "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
#define NODES "/apis/metrics.k8s.io/v1beta1/nodes"

#define POD(name, rate)                                                                                      \
    "{'podRef':{'name':'" name "','namespace':'default','labels':{'app':'" name "'}},"                       \
    "'containers':[{'name':'c','cpu':{" rate "},'memory':{'workingSetBytes':2048}}],"                        \
    "'cpu':{'time':'2026-01-02T03:04:05Z','windowNanoSeconds':1500000000," rate                              \
    "},'memory':{'workingSetBytes':2048}}"
#define SUMMARY(pods)                                                                                        \
    "{'node':{'nodeName':'n','cpu':{'time':'2026-01-02T03:04:05Z','usageNanoCores':7,'windowNanoSeconds':"   \
    "1000000000},'memory':{'workingSetBytes':4096}},'pods':[" pods "]}"
#define RATE "'usageNanoCores':250000000"

struct agents {
    struct world *w;
    struct http_client *clients[4];
    size_t n_clients;
    unsigned asked;
    char *target;
    const char *summary; /* with ' for " */
};

static void agent_handle(void *arg, struct http_exchange *x)
{
    struct agents *agents = arg;
    agents->asked++;
    free(agents->target);
    agents->target = mem_strdup(x->request.target);
    if (str_starts(x->request.path, "/metrics")) {
        http_respond(x, 200, "text/plain; version=0.0.4", bytes_from("up 1\n", 5), NULL, 0);
        return;
    }
    auto_free char *text = quoted(agents->summary);
    http_respond(x, 200, "application/json", bytes_from(text, strlen(text)), NULL, 0);
}

static struct http_client *make_client(void *arg, const char *url UNUSED, struct err **err UNUSED)
{
    struct agents *agents = arg;
    struct http_client *client = http_local_client_new(agents->w->loop, agent_handle, agents, NULL);
    agents->clients[agents->n_clients++] = client;
    return client;
}

static void add_node(struct world *w, const char *name, const char *ready)
{
    auto_free char *body = mem_printf(
        "{'metadata':{'name':'%s','labels':{'zone':'a'}},'status':{'addresses':[{'type':'InternalIP',"
        "'address':'10.0.0.%c'}],'conditions':[{'type':'Ready','status':'%s'}]}}",
        name, name[1], ready);
    expect(w, 201, "POST", "/api/v1/nodes", body);
}

static void with_agents(struct world *w, struct agents *agents)
{
    *agents = (struct agents){.w = w, .summary = SUMMARY(POD("a", RATE) "," POD("b", RATE))};
    w->client->ops->free(w->client);
    api_free(w->api);
    w->options.node_client = make_client;
    w->options.node_client_arg = agents;
    w->api = api_new(&w->options, NULL);
    const struct http_local_identity admin = {.user = "admin", .groups = masters};
    w->client = http_local_client_new(w->loop, api_handle, w->api, &admin);
    add_node(w, "n1", "True");
}

static void test_pods(void **state)
{
    struct world *w = *state;
    struct agents agents;
    with_agents(w, &agents);
    auto_reply all = ask(w, "GET", PODS, NULL);
    assert_int_equal(all.status, 200);
    assert_string_equal(agents.target, "/stats/summary?only_cpu_and_memory=true");
    assert_at(all, "kind", "PodMetricsList");
    assert_int_equal(cJSON_GetArraySize(json_get(all.json, "items")), 2);
    auto_reply one = ask(w, "GET", PODS "/a", NULL);
    assert_at(one, "containers[0].usage.cpu", "250000000n");
    assert_at(one, "containers[0].usage.memory", "2Ki");
    assert_at(one, "timestamp", "2026-01-02T03:04:05Z");
    assert_at(one, "window", "1.500s");
    assert_int_equal(agents.asked, 1); /* the second question found fresh figures */
    auto_reply chosen = ask(w, "GET", PODS "?labelSelector=app%3Db", NULL);
    assert_int_equal(cJSON_GetArraySize(json_get(chosen.json, "items")), 1);
    assert_at(chosen, "items[0].metadata.name", "b");
    expect(w, 404, "GET", PODS "/c", NULL);
    free(agents.target);
}

static void test_what_ended_is_gone(void **state)
{
    struct world *w = *state;
    struct agents agents;
    with_agents(w, &agents);
    expect(w, 200, "GET", PODS "/a", NULL);
    agents.summary = SUMMARY(POD("b", RATE) "," POD("young", "'usageCoreNanoSeconds':1"));
    loop_run_until(w->loop, loop_now_ms(w->loop) + 1100);
    expect(w, 404, "GET", PODS "/a", NULL);
    expect(w, 200, "GET", PODS "/b", NULL);
    expect(w, 404, "GET", PODS "/young", NULL); /* no rate yet: no figure rather than a wrong one */
    unsigned asked = agents.asked;
    loop_run_until(w->loop, loop_now_ms(w->loop) + 300000);
    assert_int_equal(agents.asked, asked); /* nobody asks: nothing is done */
    free(agents.target);
}

static void test_nodes(void **state)
{
    struct world *w = *state;
    struct agents agents;
    with_agents(w, &agents);
    add_node(w, "n2", "False");
    auto_reply all = ask(w, "GET", NODES, NULL);
    assert_int_equal(agents.asked, 1); /* a node that is not ready is not waited for */
    assert_int_equal(cJSON_GetArraySize(json_get(all.json, "items")), 1);
    assert_at(all, "items[0].metadata.name", "n1");
    assert_at(all, "items[0].metadata.labels.zone", "a");
    assert_at(all, "items[0].usage.cpu", "7n");
    http_local_client_cut(agents.clients[0], true);
    loop_run_until(w->loop, loop_now_ms(w->loop) + 2000);
    expect(w, 200, "GET", NODES "/n1", NULL); /* silent for a moment: the last figures stay */
    loop_run_until(w->loop, loop_now_ms(w->loop) + 20000);
    expect(w, 404, "GET", NODES "/n1", NULL);
    free(agents.target);
}

static void test_objects(void **state)
{
    struct world *w = *state;
    struct agents agents;
    with_agents(w, &agents);
    agents.summary =
        "{'node':{'nodeName':'n','cpu':{'time':'2026-01-02T03:04:05Z','usageNanoCores':7}},'objects':["
        "{'kind':'Ingress','namespace':'default','name':'i','metrics':[{'name':'r','value':'1500m'},"
        "{'name':'young'},{'name':'bad','value':'many'},7]},3]}";
    expect(w, 201, "POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
           "{'metadata':{'name':'h'},'spec':{'maxReplicas':2,'scaleTargetRef':{'apiVersion':'apps/v1','kind':"
           "'Deployment','name':'d'},'metrics':[{'type':'Object','object':{'metric':{'name':'r'},'"
           "describedObject':{"
           "'apiVersion':'networking.k8s.io/"
           "v1','kind':'Ingress','name':'i'},'target':{'type':'Value','value':'1'}}}]}}");
    loop_run_until(w->loop, loop_now_ms(w->loop) + 1500);
    assert_string_equal(agents.target,
                        "/stats/summary?only_cpu_and_memory=true&metrics=r&objects=Ingress%2Fdefault%2Fi");
    auto_reply node = ask(w, "GET", NODES "/n1", NULL);
    assert_at(node, "objects[0].kind", "Ingress");
    assert_at(node, "objects[0].name", "i");
    assert_at(node, "objects[0].metrics[0].value", "1500m");
    assert_int_equal(cJSON_GetArraySize(json_at(node.json, "objects[0].metrics")), 2);
    assert_null(json_at(node.json, "objects[0].metrics[1].value"));
    free(agents.target);
}

static void test_nonsense_from_a_node(void **state)
{
    static const char *const texts[] = {"",
                                        "[]",
                                        "{",
                                        "{'pods':7}",
                                        "{'node':[],'pods':[1,null,{}]}",
                                        "{'pods':[{'podRef':{'name':'x'},'cpu':{'usageNanoCores':1}}]}"};
    struct world *w = *state;
    struct agents agents;
    with_agents(w, &agents);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        agents.summary = texts[i];
        auto_reply reply = ask(w, "GET", PODS, NULL);
        assert_int_equal(reply.status, 200);
        assert_int_equal(cJSON_GetArraySize(json_get(reply.json, "items")), 0);
        loop_run_until(w->loop, loop_now_ms(w->loop) + 1100);
    }
    free(agents.target);
}

static void test_read_only(void **state)
{
    struct world *w = *state;
    struct agents agents;
    with_agents(w, &agents);
    expect(w, 405, "POST", PODS, "{'metadata':{'name':'x'}}");
    expect(w, 405, "DELETE", PODS "/a", NULL);
    expect(w, 405, "PATCH", PODS "/a", "{}");
    expect(w, 405, "GET", PODS "?watch=true", NULL);
    assert_int_equal(agents.asked, 0);
}

static void test_proxy(void **state)
{
    struct world *w = *state;
    struct agents agents;
    with_agents(w, &agents);
    auto_reply page = ask(w, "GET", "/api/v1/nodes/n1/proxy/metrics?x=a%2Fb", NULL);
    assert_int_equal(page.status, 200);
    assert_string_equal(page.text, "up 1\n");
    assert_string_equal(page.content_type, "text/plain; version=0.0.4");
    assert_string_equal(agents.target, "/metrics?x=a%2Fb");
    expect(w, 404, "GET", "/api/v1/nodes/none/proxy/metrics", NULL);
    expect(w, 405, "POST", "/api/v1/nodes/n1/proxy/metrics", "{}");
    struct http_client *stranger = world_as(w, "eve", "people", NULL);
    auto_reply refused = ask_client(w, stranger, "GET", "/api/v1/nodes/n1/proxy/metrics", NULL, NULL, NULL);
    assert_int_equal(refused.status, 403);
    http_local_client_cut(agents.clients[0], true);
    expect(w, 503, "GET", "/api/v1/nodes/n1/proxy/metrics", NULL);
    free(agents.target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pods, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_ended_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_objects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonsense_from_a_node, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_proxy, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
