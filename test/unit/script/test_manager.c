/*
 * The manager with the real API server on a real store, in one process under a virtual clock: objects in,
 * decisions out.
 */
#include "client/client.h"

#include "manager_test.h"

static void test_binds(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(only_scheduler);
    add_node(cluster, "n1", "1");
    add_pod(cluster, "p", "500m");
    pass(cluster, 1);
    auto_reply pod = ask(cluster->api, "GET", "/api/v1/namespaces/default/pods/p", NULL);
    assert_at(pod, "spec.nodeName", "n1");
    assert_non_null(strstr(text_at(&pod, "metadata.annotations['minik8s.io/scheduled-by']"), "spread@"));
    add_pod(cluster, "q", "800m");
    pass(cluster, 1);
    auto_reply waiting = ask(cluster->api, "GET", "/api/v1/namespaces/default/pods/q", NULL);
    assert_at(waiting, "spec.nodeName", "(absent)");
    assert_at(waiting, "status.conditions[0].reason", "Unschedulable");
    assert_at(waiting, "status.conditions[0].message", "0/1 nodes are available: 1 Insufficient cpu.");
    expect(cluster->api, 200, "DELETE", "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0", NULL);
    pass(cluster, 1);
    auto_reply placed = ask(cluster->api, "GET", "/api/v1/namespaces/default/pods/q", NULL);
    assert_at(placed, "spec.nodeName", "n1");
    auto_reply events = ask(cluster->api, "GET", "/api/v1/namespaces/default/events", NULL);
    assert_non_null(strstr(events.text, "FailedScheduling"));
    assert_non_null(strstr(events.text, "Successfully assigned default/q to n1"));
    cluster_free(cluster);
}

static void test_restart_goes_on(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(only_scheduler);
    add_node(cluster, "n1", "4");
    manager_stop(cluster);
    add_pod(cluster, "p", "1");
    manager_start(cluster);
    pass(cluster, 1);
    auto_reply pod = ask(cluster->api, "GET", "/api/v1/namespaces/default/pods/p", NULL);
    assert_at(pod, "spec.nodeName", "n1");
    cluster_free(cluster);
}

static void test_policy_objects(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(only_scheduler);
    add_node(cluster, "n1", "4");
    add_node(cluster, "n2", "4");
    add_policy(cluster, "second", "return node.name == \"n2\" and 100 or 0");
    expect_policy(cluster, "second", "Inactive", "");
    use_policy(cluster, "second");
    expect_policy(cluster, "second", "Active", "");
    for (int i = 0; i < 3; i++) {
        auto_free char *name = mem_printf("p%d", i);
        add_pod(cluster, name, "100m");
        pass(cluster, 1);
        expect_node(cluster, name, "n2", "second@");
    }
    expect(cluster->api, 200, "DELETE", POLICIES "/second", NULL);
    pass(cluster, 1);
    add_pod(cluster, "later", "100m");
    pass(cluster, 1);
    expect_node(cluster, "later", "n1", "spread@"); /* the shipped ones again: n2 has three already */
    auto_reply profile = ask(cluster->api, "GET", PROFILE, NULL);
    assert_at(profile, "status.state", "Degraded");
    cluster_free(cluster);
}

static void test_broken_policies(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(only_scheduler);
    add_node(cluster, "n1", "4");
    add_policy(cluster, "typo", "retrn 1");
    expect_policy(cluster, "typo", "Rejected", "typo:3:");
    add_policy(cluster, "loops", "if ctx.calm then return 1 end while true do end");
    expect_policy(cluster, "loops", "Inactive", "");
    use_policy(cluster, "loops");
    expect_policy(cluster, "loops", "Active", "");
    for (int i = 0; i < 4; i++) {
        auto_free char *name = mem_printf("p%d", i);
        add_pod(cluster, name, "100m");
        pass(cluster, 1);
        expect_node(cluster, name, "n1", i < 3 ? "fallback" : "spread@");
    }
    expect_policy(cluster, "loops", "RolledBack", "cut off");
    auto_reply loops = ask(cluster->api, "GET", POLICIES "/loops", NULL);
    assert_int_equal(json_int(loops.json, "status.failures", -1), 3);
    assert_int_equal(strlen(text_at(&loops, "status.lastFailureTime")), strlen("2026-01-01T00:00:00Z"));
    assert_non_null(strstr(text_at(&loops, "status.lastFailureMessage"), "cut off"));
    assert_ptr_equal(strstr(text_at(&loops, "status.lastFailureMessage"), "loops@"),
                     text_at(&loops, "status.lastFailureMessage"));
    auto_reply events = ask(cluster->api, "GET", "/api/v1/namespaces/default/events", NULL);
    auto_reply all = ask(cluster->api, "GET", "/api/v1/events", NULL);
    assert_non_null(strstr(all.text, "PolicyRolledBack"));
    cluster_free(cluster);
}

/* The state of a policy in the profile's status: what `policy list` prints. */
static void expect_listed(struct cluster *cluster, const char *point, const char *name, const char *from,
                          const char *state)
{
    auto_reply profile = ask(cluster->api, "GET", PROFILE, NULL);
    assert_int_equal(json_int(profile.json, "status.observedGeneration", -1),
                     json_int(profile.json, "metadata.generation", -2));
    json_each (entry, json_at(profile.json, "status.points")) {
        if (!str_eq(json_string(entry, "point"), point))
            continue;
        json_each (policy, json_get(entry, "policies")) {
            if (!str_eq(json_string(policy, "name"), name))
                continue;
            assert_string_equal(json_string_or(policy, "from", ""), from);
            assert_string_equal(json_string_or(policy, "state", ""), state);
            return;
        }
    }
    fail_msg("%s is not listed at %s: %s", name, point, profile.text);
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

static void test_profile_lists_what_is_known(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(only_scheduler);
    expect_listed(cluster, "scheduler.score", "spread", "shipped", "Active");
    expect_listed(cluster, "scheduler.score", "binpack", "shipped", "Inactive");
    expect_listed(cluster, "rollout", "recreate", "shipped", "Inactive");
    add_policy(cluster, "mine", "return 1");
    add_policy(cluster, "typo", "retrn 1");
    add_policy(cluster, "loops", "if ctx.calm then return 1 end while true do end");
    expect_listed(cluster, "scheduler.score", "mine", "object", "Inactive");
    expect_listed(cluster, "scheduler.score", "typo", "object", "Rejected");
    use_policy(cluster, "mine");
    expect_listed(cluster, "scheduler.score", "mine", "object", "Active");
    expect_listed(cluster, "scheduler.score", "spread", "shipped", "Inactive");
    use_policy(cluster, "loops");
    add_node(cluster, "n1", "4");
    for (int i = 0; i < 3; i++) {
        auto_free char *name = mem_printf("p%d", i);
        add_pod(cluster, name, "100m");
        pass(cluster, 1);
    }
    expect_listed(cluster, "scheduler.score", "loops", "object", "RolledBack");
    auto_reply events = ask(cluster->api, "GET", "/api/v1/events", NULL);
    assert_int_equal(count_of(events.text, "\"PolicyRefused\""), 1);
    expect(cluster->api, 200, "DELETE", POLICIES "/mine", NULL);
    expect(cluster->api, 200, "DELETE", POLICIES "/loops", NULL);
    expect_listed(cluster, "scheduler.filter", "taints", "shipped", "Active");
    use_policy(cluster, "binpack");
    expect_listed(cluster, "scheduler.score", "binpack", "shipped", "Active");
    add_node(cluster, "n2", "4");
    add_pod(cluster, "packed", "100m");
    pass(cluster, 1);
    expect_node(cluster, "packed", "n1", "binpack@"); /* three are there: spread would take n2 */
    cluster_free(cluster);
}

/* A text that is refused leaves the one before it in force, also after the manager was started anew. */
static void test_refused_text_keeps_the_former(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(only_scheduler);
    add_policy(cluster, "mine", "return 1");
    use_policy(cluster, "mine");
    auto_free char *good = policy_body("mine", "return 1"), *bad = policy_body("mine", "retrn 1");
    auto_json good_json = json_parse_trusted(good, strlen(good));
    auto_json patch = json_parse_trusted(bad, strlen(bad));
    cJSON *annotations = json_ensure_object(json_ensure_object(patch, "metadata"), "annotations");
    json_set_string(annotations, "minik8s.io/previous-source", json_string(good_json, "spec.source"));
    auto_free char *text = json_print(patch);
    auto_reply reply =
        ask_type(cluster->api, "PATCH", POLICIES "/mine", "application/merge-patch+json", text);
    assert_int_equal(reply.status, 200);
    pass(cluster, 1);
    expect_policy(cluster, "mine", "Rejected", "mine:3:");
    expect_listed(cluster, "scheduler.score", "mine", "object", "Active");
    manager_stop(cluster);
    manager_start(cluster);
    pass(cluster, 1);
    expect_policy(cluster, "mine", "Rejected", "mine:3:");
    expect_listed(cluster, "scheduler.score", "mine", "object", "Active");
    cluster_free(cluster);
}

static void test_deployment_becomes_placed_pods(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(NULL);
    add_node(cluster, "n1", "4");
    add_node(cluster, "n2", "4");
    expect(
        cluster->api, 201, "POST", "/apis/apps/v1/namespaces/default/deployments",
        "{'apiVersion':'apps/"
        "v1','kind':'Deployment','metadata':{'name':'web'},'spec':{'replicas':4,'selector':"
        "{'matchLabels':{'app':'web'}},'template':{'metadata':{'labels':{'app':'web'}},'spec':{'containers':["
        "{'name':'c','image':'i'}]}}}}");
    pass(cluster, 3);
    auto_reply pods = ask(cluster->api, "GET", "/api/v1/namespaces/default/pods", NULL);
    const cJSON *items = json_get(pods.json, "items");
    int on[2] = {0};
    json_each (item, items) {
        on[0] += str_eq(json_string(item, "spec.nodeName"), "n1");
        on[1] += str_eq(json_string(item, "spec.nodeName"), "n2");
    }
    assert_int_equal(cJSON_GetArraySize(items), 4);
    assert_int_equal(on[0], 2);
    assert_int_equal(on[1], 2);
    auto_json statistics = script_manager_statistics(cluster->manager);
    assert_int_equal(json_int(statistics, "failures", -1), 0);
    cluster_free(cluster);
}

static void add_near_pod(struct cluster *cluster, const char *name, const char *app, const char *kind)
{
    auto_free char *body = mem_printf(
        "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'%s','labels':{'app':'%s'}},'spec':{'containers'"
        ":[{'name':'c','image':'i'}],'affinity':{'%s':{'requiredDuringSchedulingIgnoredDuringExecution':[{"
        "'labelSelector':{'matchLabels':{'app':'web'}},'topologyKey':'kubernetes.io/hostname'}]}}}}",
        name, app, kind);
    expect(cluster->api, 201, "POST", "/api/v1/namespaces/default/pods", body);
}

static void label_pod(struct cluster *cluster, const char *name, const char *app)
{
    auto_free char *target = mem_printf("/api/v1/namespaces/default/pods/%s", name);
    auto_free char *patch = mem_printf("{'metadata':{'labels':{'app':'%s'}}}", app);
    auto_reply reply = ask_type(cluster->api, "PATCH", target, "application/merge-patch+json", patch);
    if (reply.status != 200)
        fail_msg("%d %s", reply.status, reply.text);
}

/* Nothing else happens in this cluster: the labels alone wake the scheduler. */
static void test_labels_of_bound_pods(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(only_scheduler);
    expect(cluster->api, 201, "POST", "/api/v1/nodes",
           "{'apiVersion':'v1','kind':'Node','metadata':{'name':'n1','labels':{'kubernetes.io/hostname':'n1'}"
           "},'status':{'allocatable':{'cpu':'4','memory':'4Gi','pods':'110'},'conditions':[{'type':'Ready',"
           "'status':'True'}]}}");
    add_pod(cluster, "plain", "100m");
    pass(cluster, 1);
    label_pod(cluster, "plain", "web");
    add_near_pod(cluster, "away", "other", "podAntiAffinity");
    pass(cluster, 1);
    auto_reply waiting = ask(cluster->api, "GET", "/api/v1/namespaces/default/pods/away", NULL);
    assert_at(waiting, "spec.nodeName", "(absent)");
    label_pod(cluster, "plain", "debug");
    pass(cluster, 1);
    expect_node(cluster, "away", "n1", "spread@");
    add_near_pod(cluster, "beside", "other", "podAffinity");
    pass(cluster, 1);
    auto_reply alone = ask(cluster->api, "GET", "/api/v1/namespaces/default/pods/beside", NULL);
    assert_at(alone, "spec.nodeName", "(absent)");
    expect(cluster->api, 200, "DELETE", "/api/v1/namespaces/default/pods/away?gracePeriodSeconds=0", NULL);
    pass(cluster, 1);
    label_pod(cluster, "plain", "web");
    pass(cluster, 1);
    expect_node(cluster, "beside", "n1", "spread@");
    cluster_free(cluster);
}

#define OLD "/api/v1/namespaces/old"

static int64_t reconciles_of(const struct cluster *cluster, const char *controller)
{
    auto_json statistics = script_manager_statistics(cluster->manager);
    return json_int(json_get(json_get(statistics, "controllers"), controller), "reconciles", -1);
}

/* A namespace that cannot be emptied says why, is rarely looked at, and goes at once when the last object
 * goes. */
static void test_namespace_waits_for_its_last_object(void **state UNUSED)
{
    static const char *const only_namespaces[] = {"namespace", NULL};
    struct cluster *cluster = cluster_new(only_namespaces);
    expect(cluster->api, 201, "POST", "/api/v1/namespaces",
           "{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'old'}}");
    expect(cluster->api, 201, "POST", OLD "/configmaps",
           "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'a','finalizers':['mine/x']}}");
    expect(cluster->api, 201, "POST", OLD "/configmaps",
           "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'b'}}");
    expect(cluster->api, 200, "DELETE", OLD, NULL);
    pass(cluster, 60);
    auto_reply stuck = ask(cluster->api, "GET", OLD, NULL);
    assert_at(stuck, "status.conditions[0].message",
              "Some resources are remaining: configmaps. has 1 resource instances");
    assert_at(stuck, "status.conditions[1].message",
              "Some content in the namespace has finalizers remaining: mine/x in 1 resource instances");
    int64_t reconciles = reconciles_of(cluster, "namespace");
    assert_true(reconciles > 0 && reconciles < 40);
    auto_reply let_go = ask_type(cluster->api, "PATCH", OLD "/configmaps/a", "application/merge-patch+json",
                                 "{'metadata':{'finalizers':[]}}");
    assert_int_equal(let_go.status, 200);
    pass(cluster, 0.1);
    expect(cluster->api, 404, "GET", OLD, NULL);
    cluster_free(cluster);
}

static void on_leading(void *arg, bool leading)
{
    *(bool *)arg = leading;
}

/* The manager's Lease is gone when the server starts again: the other one does not lead beside the holder. */
static void test_lease_is_gone(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(only_scheduler);
    struct client *client = client_new(cluster->api->loop, cluster->http, &cluster->api->random);
    bool first_leads = false, second_leads = false;
    struct leader *first =
        leader_new(client, &(struct leader_options){
                               .name = "l", .identity = "a", .on_leading = on_leading, .arg = &first_leads});
    pass(cluster, 1);
    struct leader *second =
        leader_new(client, &(struct leader_options){
                               .name = "l", .identity = "b", .on_leading = on_leading, .arg = &second_leads});
    for (int i = 0; i < 4; i++) {
        pass(cluster, 5.4);
        expect(cluster->api, 200, "DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/l",
               NULL);
        for (int tenths = 0; tenths < 60; tenths++) {
            pass(cluster, 0.1);
            assert_true(first_leads && !second_leads);
        }
    }
    leader_free(first);
    expect(cluster->api, 200, "DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/l", NULL);
    pass(cluster, 20);
    assert_true(second_leads);
    leader_free(second);
    pass(cluster, 1);
    client_free(client);
    cluster_free(cluster);
}

#define CRDS "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#define WIDGETS "/apis/example.com/v1/namespaces/default/widgets"
#define OWNED "/api/v1/namespaces/default/configmaps/owned"

static void add_widgets(struct cluster *cluster)
{
    expect(cluster->api, 201, "POST", CRDS,
           "{'metadata':{'name':'widgets.example.com'},'spec':{'group':'example.com','scope':'Namespaced',"
           "'names':{'plural':'widgets','kind':'Widget'},'versions':[{'name':'v1','served':true,'storage':"
           "true,'schema':{'openAPIV3Schema':{'type':'object','x-kubernetes-preserve-unknown-fields':true}"
           "}}]}}");
}

/* What an operator does: a kind that was not there before, an object of it, and something that it owns. */
static void test_custom_resource_owns(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(NULL);
    add_widgets(cluster);
    auto_reply widget = ask(cluster->api, "POST", WIDGETS, "{'metadata':{'name':'w'},'spec':{'size':1}}");
    assert_int_equal(widget.status, 201);
    auto_free char *owned = mem_printf(
        "{'metadata':{'name':'owned','ownerReferences':[{'apiVersion':'example.com/v1','kind':'Widget',"
        "'name':'w','uid':'%s','controller':true,'blockOwnerDeletion':true}]}}",
        text_at(&widget, "metadata.uid"));
    expect(cluster->api, 201, "POST", "/api/v1/namespaces/default/configmaps", owned);
    pass(cluster, 3);
    expect(cluster->api, 200, "GET", OWNED, NULL);
    expect(cluster->api, 200, "DELETE", WIDGETS "/w?propagationPolicy=Foreground", NULL);
    pass(cluster, 3);
    expect(cluster->api, 404, "GET", OWNED, NULL);
    expect(cluster->api, 404, "GET", WIDGETS "/w", NULL);
    cluster_free(cluster);
}

static void test_definition_takes_its_objects(void **state UNUSED)
{
    struct cluster *cluster = cluster_new(NULL);
    add_widgets(cluster);
    expect(cluster->api, 201, "POST", WIDGETS, "{'metadata':{'name':'w'},'spec':{'size':1}}");
    pass(cluster, 2);
    expect(cluster->api, 200, "DELETE", CRDS "/widgets.example.com", NULL);
    pass(cluster, 3);
    expect(cluster->api, 404, "GET", CRDS "/widgets.example.com", NULL);
    expect(cluster->api, 404, "GET", WIDGETS, NULL);
    add_widgets(cluster); /* and nothing of before comes back */
    expect(cluster->api, 404, "GET", WIDGETS "/w", NULL);
    cluster_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_binds),
        cmocka_unit_test(test_restart_goes_on),
        cmocka_unit_test(test_policy_objects),
        cmocka_unit_test(test_broken_policies),
        cmocka_unit_test(test_profile_lists_what_is_known),
        cmocka_unit_test(test_refused_text_keeps_the_former),
        cmocka_unit_test(test_deployment_becomes_placed_pods),
        cmocka_unit_test(test_labels_of_bound_pods),
        cmocka_unit_test(test_namespace_waits_for_its_last_object),
        cmocka_unit_test(test_lease_is_gone),
        cmocka_unit_test(test_custom_resource_owns),
        cmocka_unit_test(test_definition_takes_its_objects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
