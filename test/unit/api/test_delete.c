/* Deleting: at once, with grace, with finalizers, namespaces, collections, evictions. */
#include "api_test.h"

#define PODS "/api/v1/namespaces/default/pods"
#define CONFIGMAPS "/api/v1/namespaces/default/configmaps"
#define MERGE "application/merge-patch+json"
#define BOUND                                                                                                \
    "{'metadata':{'name':'p'},'spec':{'nodeName':'n1','terminationGracePeriodSeconds':7,"                    \
    "'containers':[{'name':'c','image':'i:1'}]}}"

static void test_at_once(void **state)
{
    struct world *w = *state;
    auto_reply made = ask(w, "POST", CONFIGMAPS, "{'metadata':{'name':'a'}}");
    auto_reply gone = ask(w, "DELETE", CONFIGMAPS "/a", "{'propagationPolicy':'Background'}");
    assert_int_equal(gone.status, 200);
    assert_at(gone, "status", "Success");
    assert_at(gone, "details.kind", "configmaps");
    assert_at(gone, "details.uid", text_at(&made, "metadata.uid"));
    expect(w, 404, "GET", CONFIGMAPS "/a", NULL);
    expect(w, 404, "DELETE", CONFIGMAPS "/a", NULL);
}

static void test_preconditions(void **state)
{
    struct world *w = *state;
    auto_reply made = ask(w, "POST", CONFIGMAPS, "{'metadata':{'name':'a'}}");
    auto_reply other = ask(w, "DELETE", CONFIGMAPS "/a", "{'preconditions':{'uid':'other'}}");
    assert_int_equal(other.status, 409);
    assert_non_null(strstr(text_at(&other, "message"), "Precondition failed: UID"));
    expect(w, 409, "DELETE", CONFIGMAPS "/a", "{'preconditions':{'resourceVersion':'1'}}");
    expect(w, 400, "DELETE", CONFIGMAPS "/a", "{'propagationPolicy':'Sometimes'}");
    auto_free char *right = mem_printf("{'preconditions':{'uid':'%s'}}", text_at(&made, "metadata.uid"));
    expect(w, 200, "DELETE", CONFIGMAPS "/a", right);
}

static void test_pod_grace(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", PODS, BOUND);
    auto_reply first = ask(w, "DELETE", PODS "/p", NULL);
    assert_int_equal(first.status, 200);
    assert_at(first, "kind", "Pod");
    assert_int_equal(json_int(first.json, "metadata.deletionGracePeriodSeconds", -1), 7);
    assert_at(first, "metadata.deletionTimestamp", "2023-11-14T22:13:27Z");
    auto_reply longer = ask(w, "DELETE", PODS "/p?gracePeriodSeconds=60", NULL);
    assert_int_equal(json_int(longer.json, "metadata.deletionGracePeriodSeconds", -1), 7);
    auto_reply shorter = ask(w, "DELETE", PODS "/p", "{'gracePeriodSeconds':1}");
    assert_int_equal(json_int(shorter.json, "metadata.deletionGracePeriodSeconds", -1), 1);
    expect(w, 200, "GET", PODS "/p", NULL);
    expect(w, 200, "DELETE", PODS "/p", "{'gracePeriodSeconds':0}"); /* the agent's last word */
    expect(w, 404, "GET", PODS "/p", NULL);
}

static void test_pod_without_agent(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", PODS,
           "{'metadata':{'name':'u'},'spec':{'containers':[{'name':'c','image':'i:1'}]}}");
    expect(w, 200, "DELETE", PODS "/u", NULL);
    expect(w, 404, "GET", PODS "/u", NULL);
    expect(w, 201, "POST", PODS, BOUND);
    auto_reply done = ask_type(w, "PATCH", PODS "/p/status", MERGE, "{'status':{'phase':'Succeeded'}}");
    assert_int_equal(done.status, 200);
    expect(w, 200, "DELETE", PODS "/p", NULL);
    expect(w, 404, "GET", PODS "/p", NULL);
}

static void test_finalizers(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", CONFIGMAPS, "{'metadata':{'name':'f','finalizers':['example.com/hold']}}");
    auto_reply marked = ask(w, "DELETE", CONFIGMAPS "/f", NULL);
    assert_at(marked, "metadata.deletionTimestamp", "2023-11-14T22:13:20Z");
    auto_reply more = ask_type(w, "PATCH", CONFIGMAPS "/f", MERGE,
                               "{'metadata':{'finalizers':['example.com/hold','example.com/b']}}");
    assert_int_equal(more.status, 422);
    auto_reply last = ask_type(w, "PATCH", CONFIGMAPS "/f", MERGE, "{'metadata':{'finalizers':null}}");
    assert_int_equal(last.status, 200);
    expect(w, 404, "GET", CONFIGMAPS "/f", NULL);
}

static void test_propagation(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", CONFIGMAPS, "{'metadata':{'name':'o'}}");
    auto_reply foreground = ask(w, "DELETE", CONFIGMAPS "/o", "{'propagationPolicy':'Foreground'}");
    assert_at(foreground, "metadata.finalizers[0]", "foregroundDeletion");
    auto_reply orphan = ask(w, "DELETE", CONFIGMAPS "/o?propagationPolicy=Orphan", NULL);
    assert_at(orphan, "metadata.finalizers[0]", "orphan");
    assert_int_equal(cJSON_GetArraySize(json_at(orphan.json, "metadata.finalizers")), 1);
    expect(w, 200, "DELETE", CONFIGMAPS "/o", "{'propagationPolicy':'Background'}");
    expect(w, 404, "GET", CONFIGMAPS "/o", NULL);
}

static void test_namespace(void **state)
{
    struct world *w = *state;
    auto_reply made = ask(w, "POST", "/api/v1/namespaces", "{'metadata':{'name':'team'}}");
    assert_int_equal(made.status, 201);
    assert_at(made, "status.phase", "Active");
    assert_at(made, "metadata.labels['kubernetes.io/metadata.name']", "team");
    expect(w, 201, "POST", "/api/v1/namespaces/team/configmaps", "{'metadata':{'name':'a'}}");
    auto_reply ending = ask(w, "DELETE", "/api/v1/namespaces/team", NULL);
    assert_at(ending, "status.phase", "Terminating");
    auto_reply refused = ask(w, "POST", "/api/v1/namespaces/team/configmaps", "{'metadata':{'name':'b'}}");
    assert_int_equal(refused.status, 403);
    assert_at(refused, "details.causes[0].reason", "NamespaceTerminating");
    auto_reply done =
        ask(w, "PUT", "/api/v1/namespaces/team/finalize",
            "{'apiVersion':'v1','kind':'Namespace','metadata':{'name':'team'},'spec':{'finalizers':[]}}");
    assert_int_equal(done.status, 200);
    expect(w, 404, "GET", "/api/v1/namespaces/team", NULL);
}

static void test_collection(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 5; i++) {
        auto_free char *body =
            mem_printf("{'metadata':{'name':'c%d','labels':{'even':'%s'}}}", i, i % 2 ? "no" : "yes");
        expect(w, 201, "POST", CONFIGMAPS, body);
    }
    expect(w, 200, "DELETE", CONFIGMAPS, "{'dryRun':['All']}"); /* Go clients ask in the body … */
    expect(w, 200, "DELETE", CONFIGMAPS "?dryRun=All", NULL);   /* … kubectl in the query */
    expect(w, 200, "DELETE", CONFIGMAPS "?labelSelector=even%3Dyes", NULL);
    auto_reply left = ask(w, "GET", CONFIGMAPS, NULL);
    assert_int_equal(cJSON_GetArraySize(json_get(left.json, "items")), 3); /* and kube-root-ca.crt */
    expect(w, 200, "DELETE", CONFIGMAPS, "{'propagationPolicy':'Background'}");
    settle(w);
    auto_reply none = ask(w, "GET", CONFIGMAPS, NULL);
    assert_int_equal(cJSON_GetArraySize(json_get(none.json, "items")),
                     1); /* kube-root-ca.crt is there again */
    assert_at(none, "items[0].metadata.name", "kube-root-ca.crt");
    expect(w, 200, "DELETE", CONFIGMAPS, NULL);
}

static void test_eviction(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", PODS, BOUND);
    auto_reply evicted = ask(w, "POST", PODS "/p/eviction",
                             "{'apiVersion':'policy/v1','kind':'Eviction','metadata':{'name':'p'},"
                             "'deleteOptions':{'gracePeriodSeconds':3}}");
    assert_int_equal(evicted.status, 201);
    assert_at(evicted, "status", "Success");
    auto_reply pod = ask(w, "GET", PODS "/p", NULL);
    assert_int_equal(json_int(pod.json, "metadata.deletionGracePeriodSeconds", -1), 3);
    expect(w, 404, "POST", PODS "/none/eviction", "{'kind':'Eviction'}");
}

#define BUDGETS "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
#define EVICTION "{'apiVersion':'policy/v1','kind':'Eviction'}"

static void make_ready(struct world *w, const char *name)
{
    auto_free char *pod =
        mem_printf("{'metadata':{'name':'%s','labels':{'app':'web'}},'spec':{'nodeName':'n1',"
                   "'containers':[{'name':'c','image':'i:1'}]}}",
                   name);
    auto_free char *path = mem_printf(PODS "/%s/status", name);
    expect(w, 201, "POST", PODS, pod);
    auto_reply reply =
        ask_type(w, "PATCH", path, MERGE,
                 "{'status':{'phase':'Running','conditions':[{'type':'Ready','status':'True'}]}}");
    assert_int_equal(reply.status, 200);
}

static void set_budget(struct world *w, int allowed, int healthy, int desired)
{
    auto_free char *status =
        mem_printf("{'status':{'observedGeneration':1,'disruptionsAllowed':%d,'currentHealthy':%d,"
                   "'desiredHealthy':%d,'expectedPods':3}}",
                   allowed, healthy, desired);
    auto_reply reply = ask_type(w, "PATCH", BUDGETS "/b/status", MERGE, status);
    assert_int_equal(reply.status, 200);
}

static void test_budget(void **state)
{
    struct world *w = *state;
    make_ready(w, "p1");
    make_ready(w, "p2");
    expect(w, 201, "POST", BUDGETS,
           "{'metadata':{'name':'b'},'spec':{'minAvailable':2,'selector':{'matchLabels':{'app':'web'}}}}");
    auto_reply early = ask(w, "POST", PODS "/p1/eviction", EVICTION);
    assert_int_equal(early.status, 429);
    assert_at(early, "details.causes[0].message",
              "The disruption budget b is still being processed by the server.");
    set_budget(w, 1, 3, 2);
    expect(w, 201, "POST", PODS "/p1/eviction?dryRun=All", EVICTION);
    auto_reply granted = ask(w, "POST", PODS "/p1/eviction", EVICTION);
    assert_int_equal(granted.status, 201);
    auto_reply budget = ask(w, "GET", BUDGETS "/b", NULL);
    assert_int_equal(json_int(budget.json, "status.disruptionsAllowed", -1), 0);
    assert_non_null(json_at(budget.json, "status.disruptedPods.p1"));
    set_budget(w, 0, 2, 2);
    auto_reply refused = ask(w, "POST", PODS "/p2/eviction", EVICTION);
    assert_int_equal(refused.status, 429);
    assert_at(refused, "reason", "TooManyRequests");
    assert_at(refused, "message", "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_at(refused, "details.causes[0].reason", "DisruptionBudget");
    assert_at(refused, "details.causes[0].message",
              "The disruption budget b needs 2 healthy pods and has 2 currently");
    expect(w, 201, "POST", PODS "/p1/eviction", EVICTION); /* going already: nothing to lose */
    expect(w, 201, "POST", BUDGETS, "{'metadata':{'name':'c'},'spec':{'selector':{}}}");
    auto_reply two = ask(w, "POST", PODS "/p2/eviction", EVICTION);
    assert_int_equal(two.status, 500);
    assert_non_null(strstr(text_at(&two, "message"), "more than one PodDisruptionBudget"));
}

static void test_unhealthy_pods(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", BUDGETS,
           "{'metadata':{'name':'b'},'spec':{'minAvailable':2,'selector':{'matchLabels':{'app':'web'}}}}");
    set_budget(w, 0, 1, 2);
    make_ready(w, "p1");
    auto_reply down = ask_type(w, "PATCH", PODS "/p1/status", MERGE,
                               "{'status':{'conditions':[{'type':'Ready','status':'False'}]}}");
    assert_int_equal(down.status, 200);
    expect(w, 429, "POST", PODS "/p1/eviction", EVICTION);
    auto_reply always =
        ask_type(w, "PATCH", BUDGETS "/b", MERGE, "{'spec':{'unhealthyPodEvictionPolicy':'AlwaysAllow'}}");
    assert_int_equal(always.status, 200);
    expect(w, 201, "POST", PODS "/p1/eviction", EVICTION);
}

static void test_bad_budgets(void **state)
{
    struct world *w = *state;
    auto_reply both =
        ask(w, "POST", BUDGETS, "{'metadata':{'name':'b'},'spec':{'minAvailable':1,'maxUnavailable':1}}");
    assert_int_equal(both.status, 422);
    assert_at(both, "details.causes[0].field", "spec");
    assert_non_null(strstr(text_at(&both, "message"), "minAvailable and maxUnavailable cannot be both set"));
    expect(w, 422, "POST", BUDGETS, "{'metadata':{'name':'b'},'spec':{'minAvailable':-1}}");
    expect(w, 422, "POST", BUDGETS, "{'metadata':{'name':'b'},'spec':{'minAvailable':'120%'}}");
    expect(w, 422, "POST", BUDGETS,
           "{'metadata':{'name':'b'},'spec':{'unhealthyPodEvictionPolicy':'Maybe'}}");
}

#define SLICES "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"

static char *slice_of(const char *name, const char *uid, const char *manager)
{
    return mem_printf("{'metadata':{'name':'%s','labels':{'endpointslice.kubernetes.io/managed-by':'%s'}},"
                      "'addressType':'IPv4','ports':[],'endpoints':[{'addresses':['10.0.0.9'],'targetRef':{"
                      "'kind':'Pod','namespace':'default','name':'a','uid':'%s'}}]}",
                      name, manager, uid);
}

/* Its node may stop a pod that stands in no slice: so none may take it in any more. */
static void test_no_slice_takes_in_a_pod_that_goes(void **state)
{
    struct world *w = *state;
    static const char manager[] = "endpointslice-controller.minik8s.io";
    auto_reply pod =
        ask(w, "POST", "/api/v1/namespaces/default/pods",
            "{'metadata':{'name':'a'},'spec':{'nodeName':'n','containers':[{'name':'c','image':'i'}]}}");
    const char *uid = text_at(&pod, "metadata.uid");
    auto_free char *before = slice_of("before", uid, manager), *after = slice_of("after", uid, manager),
                   *other = slice_of("other", uid, "somebody");
    expect(w, 201, "POST", SLICES, before);
    expect(w, 200, "DELETE", "/api/v1/namespaces/default/pods/a", NULL);
    auto_reply refused = ask(w, "POST", SLICES, after);
    assert_int_equal(refused.status, 409);
    assert_non_null(
        strstr(text_at(&refused, "message"), "pods/default/a, which is gone or is being deleted"));
    expect(w, 200, "PUT", SLICES "/before", before); /* it need not let go at once */
    expect(w, 201, "POST", SLICES, other);
}

/* A cluster without these is none: they stay, or come back. */
static void test_what_every_cluster_has(void **state)
{
    struct world *w = *state;
    static const char *const kept[] = {"default", "kube-system", "kube-public"};
    for (size_t i = 0; i < COUNT_OF(kept); i++) {
        auto_free char *path = mem_printf("/api/v1/namespaces/%s", kept[i]);
        auto_reply no = ask(w, "DELETE", path, NULL);
        assert_int_equal(no.status, 403);
        assert_non_null(strstr(text_at(&no, "message"), "this namespace may not be deleted"));
    }
    static const char *const again[] = {
        "/api/v1/namespaces/default/services/kubernetes",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-cluster-critical",
    };
    for (size_t i = 0; i < COUNT_OF(again); i++) {
        auto_reply before = ask(w, "GET", again[i], NULL);
        expect(w, 200, "DELETE", again[i], NULL);
        settle(w);
        auto_reply after = ask(w, "GET", again[i], NULL);
        assert_int_equal(after.status, 200);
        assert_string_not_equal(text_at(&after, "metadata.uid"), text_at(&before, "metadata.uid"));
        if (i == 0)
            assert_string_equal(text_at(&after, "spec.clusterIP"), text_at(&before, "spec.clusterIP"));
    }
    expect(w, 200, "DELETE", "/api/v1/namespaces/default/services", NULL);
    settle(w);
    expect(w, 200, "GET", "/api/v1/namespaces/default/services/kubernetes", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_preconditions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pod_grace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pod_without_agent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_finalizers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_propagation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_namespace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_collection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eviction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unhealthy_pods, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_budgets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_every_cluster_has, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_slice_takes_in_a_pod_that_goes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
