/* Batches: own result per step, preconditions, permissions, one commit; bindings; admission of single kinds.
 */
#include "api_test.h"

#define PODS "/api/v1/namespaces/default/pods"
#define SERVICES "/api/v1/namespaces/default/services"
#define BATCH "/apis/minik8s.io/v1/batches"
#define POD(name) "{'metadata':{'name':'" name "'},'spec':{'containers':[{'name':'c','image':'i:1'}]}}"

static int code(const struct reply *reply, int step)
{
    auto_free char *path = mem_printf("results[%d].code", step);
    return (int)json_int(reply->json, path, 0);
}

static void test_steps(void **state)
{
    struct world *w = *state;
    uint64_t before = w->store->ops->revision(w->store);
    auto_reply made =
        ask(w, "POST", BATCH,
            "{'steps':["
            "{'verb':'create','resource':'pods','namespace':'default','object':" POD(
                "a") "},"
                     "{'verb':'create','resource':'pods','namespace':'default','object':" POD(
                         "a") "},"
                              "{'verb':'create','resource':'pods','namespace':'nowhere','object':" POD(
                                  "b") "},"
                                       "{'verb':'create','resource':'gadgets','object':{}},"
                                       "{'verb':'explode','resource':'pods'},"
                                       "{'verb':'create','resource':'pods','namespace':'default','object':"
                                       "{'metadata':{'generateName':'g-'},'spec':{'containers':[{'name':'c','"
                                       "image':'i:1'}]}}}]}");
    assert_int_equal(made.status, 200);
    assert_int_equal(code(&made, 0), 201);
    assert_at(made, "results[0].name", "a");
    assert_int_equal(json_int(made.json, "results[0].revision", 0), before + 1);
    assert_int_equal(strlen(text_at(&made, "results[0].uid")), 36);
    assert_int_equal(code(&made, 1), 409);
    assert_at(made, "results[1].status.reason", "AlreadyExists");
    assert_int_equal(code(&made, 2), 404);
    assert_int_equal(code(&made, 3), 400);
    assert_int_equal(code(&made, 4), 400);
    assert_int_equal(code(&made, 5), 201);
    assert_true(str_starts(text_at(&made, "results[5].name"), "g-"));
}

static void test_bind_and_status(void **state)
{
    struct world *w = *state;
    auto_reply pod = ask(w, "POST", PODS, POD("p"));
    auto_free char *uid = mem_strdup(text_at(&pod, "metadata.uid"));
    auto_free char *steps =
        mem_printf("{'steps':[{'verb':'bind','resource':'pods','namespace':'default','name':'p','uid':'%s',"
                   "'object':{'target':{'kind':'Node','name':'n1'}},'reason':'most free memory'},"
                   "{'verb':'status','resource':'pods','namespace':'default','name':'p','uid':'%s',"
                   "'object':{'status':{'phase':'Running','podIP':'10.244.0.2'}}},"
                   "{'verb':'status','resource':'pods','namespace':'default','name':'p','uid':'other','"
                   "object':{'status':{}}}]}",
                   uid, uid);
    auto_reply done = ask(w, "POST", BATCH, steps);
    assert_int_equal(code(&done, 0), 201);
    assert_int_equal(code(&done, 1), 200); /* the same object: the second one is made again on the first */
    assert_int_equal(code(&done, 2), 409);
    auto_reply bound = ask(w, "GET", PODS "/p", NULL);
    assert_at(bound, "spec.nodeName", "n1");
    assert_at(bound, "status.phase", "Running");
    assert_at(bound, "metadata.annotations['minik8s.io/scheduling-reason']", "most free memory");
    auto_reply again = ask(w, "POST", PODS "/p/binding", "{'target':{'kind':'Node','name':'n2'}}");
    assert_int_equal(again.status, 409);
    assert_non_null(strstr(text_at(&again, "message"), "already assigned to node \"n1\""));
}

static void test_binding_sets_the_condition(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", PODS, POD("p"));
    auto_reply bound =
        ask(w, "POST", PODS "/p/binding",
            "{'apiVersion':'v1','kind':'Binding','metadata':{'name':'p','annotations':{'why':'x'}},"
            "'target':{'apiVersion':'v1','kind':'Node','name':'n1'}}");
    assert_int_equal(bound.status, 201);
    assert_at(bound, "status", "Success");
    auto_reply pod = ask(w, "GET", PODS "/p", NULL);
    assert_at(pod, "status.conditions[0].type", "PodScheduled");
    assert_at(pod, "status.conditions[0].status", "True");
    assert_at(pod, "metadata.annotations.why", "x");
    expect(w, 422, "POST", PODS "/p/binding", "{'target':{}}");
}

static void test_merge_patch_delete(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", PODS, POD("p"));
    auto_reply done =
        ask(w, "POST", BATCH,
            "{'steps':[{'verb':'patch','resource':'pods','namespace':'default','name':'p',"
            "'object':{'metadata':{'labels':{'a':'b'}}}},"
            "{'verb':'status','resource':'pods','namespace':'default','name':'p','merge':true,"
            "'object':{'status':{'message':'m'}}},"
            "{'verb':'patch','resource':'pods','namespace':'default','name':'p','subresource':'status',"
            "'object':{'status':{'reason':'r'}}},"
            "{'verb':'patch','resource':'pods','namespace':'default','name':'p','resourceVersion':'1','"
            "object':{}},"
            "{'verb':'patch','resource':'pods','namespace':'default','name':'p','subresource':'moon','object'"
            ":{}}]}");
    assert_int_equal(code(&done, 0), 200);
    assert_int_equal(code(&done, 1), 200);
    assert_int_equal(code(&done, 2), 200);
    assert_int_equal(code(&done, 3), 409);
    assert_int_equal(code(&done, 4), 400);
    auto_reply pod = ask(w, "GET", PODS "/p", NULL);
    assert_at(pod, "metadata.labels.a", "b");
    assert_at(pod, "status.message", "m");
    assert_at(pod, "status.reason", "r");
    assert_at(pod, "status.phase", "Pending");
    auto_reply gone = ask(w, "POST", BATCH,
                          "{'steps':[{'verb':'delete','resource':'pods','namespace':'default','name':'p',"
                          "'propagationPolicy':'Background'}]}");
    assert_int_equal(code(&gone, 0), 200);
    expect(w, 404, "GET", PODS "/p", NULL);
}

static void test_limits(void **state)
{
    struct world *w = *state;
    auto_str many = {0};
    str_add(&many, "{'steps':[");
    for (int i = 0; i < 257; i++)
        str_addf(&many, "%s{'verb':'delete','resource':'nodes','name':'n'}", i ? "," : "");
    str_add(&many, "]}");
    expect(w, 400, "POST", BATCH, str_c(&many));
    expect(w, 400, "POST", BATCH, "{'steps':7}");
    expect(w, 200, "POST", BATCH, "{'steps':[]}");
    expect(w, 405, "DELETE", "/apis/apps/v1/namespaces/default/deployments/d/scale", NULL);
}

static void test_permissions_per_step(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", PODS,
           "{'metadata':{'name':'mine'},'spec':{'nodeName':'n1','containers':[{'name':'c','image':'i:1'}]}}");
    expect(
        w, 201, "POST", PODS,
        "{'metadata':{'name':'other'},'spec':{'nodeName':'n2','containers':[{'name':'c','image':'i:1'}]}}");
    struct http_client *node = world_as(w, "system:node:n1", "system:nodes", NULL);
    auto_reply done = ask_client(
        w, node, "POST", BATCH, NULL, NULL,
        "{'steps':["
        "{'verb':'status','resource':'pods','namespace':'default','name':'mine','object':{'status':{'phase':'"
        "Running'}}},"
        "{'verb':'status','resource':'pods','namespace':'default','name':'other','object':{'status':{'phase':"
        "'Running'}}},"
        "{'verb':'create','resource':'nodes','object':{'metadata':{'name':'n1'}}},"
        "{'verb':'create','resource':'nodes','object':{'metadata':{'name':'n3'}}},"
        "{'verb':'bind','resource':'pods','namespace':'default','name':'mine','object':{'node':'n1'}},"
        "{'verb':'delete','resource':'nodes','name':'n1'}]}");
    assert_int_equal(code(&done, 0), 200);
    assert_int_equal(code(&done, 1), 403);
    assert_int_equal(code(&done, 2), 201);
    assert_int_equal(code(&done, 3), 403);
    assert_int_equal(code(&done, 4), 403);
    assert_int_equal(code(&done, 5), 403);
}

static void test_cluster_addresses(void **state)
{
    struct world *w = *state;
    auto_reply api = ask(w, "GET", SERVICES "/kubernetes", NULL);
    assert_at(api, "spec.clusterIP", "10.96.0.1");
    auto_reply one = ask(w, "POST", SERVICES, "{'metadata':{'name':'one'},'spec':{'ports':[{'port':80}]}}");
    assert_int_equal(one.status, 201);
    assert_at(one, "spec.clusterIP", "10.96.1.0"); /* above the band for those who ask */
    assert_at(one, "spec.clusterIPs[0]", "10.96.1.0");
    auto_reply wish =
        ask(w, "POST", SERVICES,
            "{'metadata':{'name':'dns'},'spec':{'clusterIP':'10.96.0.10','ports':[{'port':53}]}}");
    assert_int_equal(wish.status, 201);
    auto_reply taken =
        ask(w, "POST", SERVICES,
            "{'metadata':{'name':'x'},'spec':{'clusterIP':'10.96.0.10','ports':[{'port':53}]}}");
    assert_int_equal(taken.status, 422);
    assert_non_null(strstr(text_at(&taken, "message"), "already allocated"));
    expect(w, 422, "POST", SERVICES,
           "{'metadata':{'name':'x'},'spec':{'clusterIP':'10.1.0.1','ports':[{'port':53}]}}");
    auto_reply headless = ask(w, "POST", SERVICES,
                              "{'metadata':{'name':'h'},'spec':{'clusterIP':'None','ports':[{'port':53}]}}");
    assert_at(headless, "spec.clusterIP", "None");
    /* a create that fails takes nothing, a delete gives back, a restart remembers */
    expect(w, 409, "POST", SERVICES,
           "{'metadata':{'name':'dns'},'spec':{'clusterIP':'10.96.0.11','ports':[{'port':53}]}}");
    expect(w, 200, "DELETE", SERVICES "/dns", NULL);
    world_close(w);
    world_open(w);
    expect(w, 422, "POST", SERVICES,
           "{'metadata':{'name':'y'},'spec':{'clusterIP':'10.96.1.0','ports':[{'port':53}]}}");
    expect(w, 201, "POST", SERVICES,
           "{'metadata':{'name':'y'},'spec':{'clusterIP':'10.96.0.11','ports':[{'port':53}]}}");
    expect(w, 201, "POST", SERVICES,
           "{'metadata':{'name':'z'},'spec':{'clusterIP':'10.96.0.10','ports':[{'port':53}]}}");
}

static void test_address_of_a_changed_service(void **state)
{
    struct world *w = *state;
    auto_reply made = ask(w, "POST", SERVICES, "{'metadata':{'name':'s'},'spec':{'ports':[{'port':80}]}}");
    auto_reply put = ask(w, "PUT", SERVICES "/s",
                         "{'metadata':{'name':'s'},'spec':{'type':'NodePort','ports':[{'port':80}]}}");
    assert_int_equal(put.status, 200);
    assert_at(put, "spec.clusterIP", text_at(&made, "spec.clusterIP"));
    int64_t port = json_int(put.json, "spec.ports[0].nodePort", 0);
    assert_in_range(port, 30000, 32767);
    auto_reply same = ask(w, "PUT", SERVICES "/s",
                          "{'metadata':{'name':'s'},'spec':{'type':'NodePort','ports':[{'port':80}]}}");
    assert_int_equal(json_int(same.json, "spec.ports[0].nodePort", 0), port);
    auto_free char *fight = mem_printf(
        "{'metadata':{'name':'t'},'spec':{'type':'NodePort','ports':[{'port':1,'nodePort':%d}]}}", (int)port);
    expect(w, 422, "POST", SERVICES, fight);
    auto_reply back = ask(w, "PUT", SERVICES "/s",
                          "{'metadata':{'name':'s'},'spec':{'type':'ClusterIP','ports':[{'port':80}]}}");
    assert_int_equal(back.status, 200);
    assert_null(json_at(back.json, "spec.ports[0].nodePort"));
    expect(w, 201, "POST", SERVICES, fight);
}

static void test_pod_ranges(void **state)
{
    struct world *w = *state;
    auto_reply one = ask(w, "POST", "/api/v1/nodes",
                         "{'metadata':{'name':'n1'},'status':{'phase':'x','nodeInfo':{'machineID':'m'}}}");
    assert_int_equal(one.status, 201);
    assert_at(one, "spec.podCIDR", "10.244.0.0/24");
    assert_at(one, "spec.podCIDRs[0]", "10.244.0.0/24");
    assert_at(one, "status.nodeInfo.machineID", "m");
    auto_reply two =
        ask(w, "POST", "/api/v1/nodes", "{'metadata':{'name':'n2'},'spec':{'podCIDR':'10.244.7.0/24'}}");
    assert_at(two, "spec.podCIDR", "10.244.7.0/24");
    expect(w, 422, "POST", "/api/v1/nodes", "{'metadata':{'name':'n3'},'spec':{'podCIDR':'10.244.7.0/24'}}");
    expect(w, 200, "DELETE", "/api/v1/nodes/n2", NULL);
    expect(w, 201, "POST", "/api/v1/nodes", "{'metadata':{'name':'n3'},'spec':{'podCIDR':'10.244.7.0/24'}}");
}

static void node_with_range(struct world *w, int code, const char *name, const char *range)
{
    auto_free char *body = mem_printf("{'metadata':{'name':'%s'},'spec':{'podCIDR':'%s'}}", name, range);
    auto_reply made = ask(w, "POST", "/api/v1/nodes", body);
    assert_int_equal(made.status, code);
    if (code == 422)
        assert_at(made, "details.causes[0].field", "spec.podCIDR");
}

/* Ranges of other sizes than /24 overlap nothing either, also after a start. */
static void test_pod_ranges_of_other_sizes(void **state)
{
    struct world *w = *state;
    node_with_range(w, 201, "wide", "10.244.0.0/22");
    node_with_range(w, 422, "inside", "10.244.2.0/24");
    node_with_range(w, 422, "small", "10.244.3.128/25");
    node_with_range(w, 422, "around", "10.244.0.0/16");
    node_with_range(w, 201, "half", "10.244.4.0/25");
    node_with_range(w, 422, "same24", "10.244.4.0/24");
    node_with_range(w, 422, "outside", "10.245.0.0/24");
    node_with_range(w, 422, "larger", "10.0.0.0/8");
    node_with_range(w, 422, "all", "0.0.0.0/0");
    expect(w, 201, "POST", "/api/v1/nodes", "{'metadata':{'name':'given'}}");
    auto_reply given = ask(w, "GET", "/api/v1/nodes/given", NULL);
    assert_at(given, "spec.podCIDR", "10.244.5.0/24");
    world_close(w);
    world_open(w);
    node_with_range(w, 422, "inside", "10.244.2.0/24");
    node_with_range(w, 422, "same24", "10.244.4.128/25");
    expect(w, 200, "DELETE", "/api/v1/nodes/wide", NULL);
    node_with_range(w, 201, "inside", "10.244.2.0/24");
    node_with_range(w, 422, "wide", "10.244.0.0/22"); /* and what it had claimed before that is free */
    node_with_range(w, 201, "first", "10.244.0.0/24");
}

static int code_of_step(struct world *w, const char *step)
{
    auto_free char *body = mem_printf("{'steps':[%s]}", step);
    auto_reply reply = ask(w, "POST", "/apis/minik8s.io/v1/batches", body);
    return (int)json_int(reply.json, "results[0].code", 0);
}

#define ON_MAP "'resource':'configmaps','namespace':'default','name':'c','object':{'data':{'a':'b'}}"

/* A part that the kind does not have would pass for the object itself, under another permission. */
static void test_parts_that_are_none(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", "/api/v1/namespaces/default/configmaps", "{'metadata':{'name':'c'}}");
    assert_int_equal(code_of_step(w, "{'verb':'patch'," ON_MAP ",'subresource':'finalize'}"), 400);
    assert_int_equal(code_of_step(w, "{'verb':'patch'," ON_MAP ",'subresource':'status'}"), 400);
    assert_int_equal(code_of_step(w, "{'verb':'update'," ON_MAP ",'subresource':'scale'}"), 400);
    assert_int_equal(code_of_step(w, "{'verb':'status'," ON_MAP "}"), 400);
    assert_int_equal(code_of_step(w, "{'verb':'delete'," ON_MAP ",'subresource':'status'}"), 400);
    assert_int_equal(code_of_step(w, "{'verb':'create'," ON_MAP ",'subresource':'status'}"), 400);
    auto_reply got = ask(w, "GET", "/api/v1/namespaces/default/configmaps/c", NULL);
    assert_null(json_at(got.json, "data"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bind_and_status, setup, teardown),
        cmocka_unit_test_setup_teardown(test_binding_sets_the_condition, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merge_patch_delete, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_permissions_per_step, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cluster_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_address_of_a_changed_service, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pod_ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pod_ranges_of_other_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parts_that_are_none, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
