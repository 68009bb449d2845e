/* ResourceQuota and LimitRange: what is refused, in Kubernetes' words; that writes at the same time never
 * take more than there is; that what ends is given back; that the sums are right after a restart. */
#include "api_test.h"

#define CORE "/api/v1/namespaces/default"
#define PODS CORE "/pods"
#define QUOTAS CORE "/resourcequotas"
#define RANGES CORE "/limitranges"
#define BATCH "/apis/minik8s.io/v1/batches"
#define POD(name, resources)                                                                                 \
    "{'metadata':{'name':'" name "'},'spec':{'containers':[{'name':'c','image':'i:1'" resources "}]}}"
#define STEP(object) "{'verb':'create','resource':'pods','namespace':'default','object':" object "}"
#define ASKS(cpu, memory) ",'resources':{'requests':{'cpu':'" cpu "','memory':'" memory "'}}"

static void quota(struct world *w, const char *hard, const char *more)
{
    auto_free char *body = mem_printf("{'metadata':{'name':'q'},'spec':{'hard':{%s}%s}}", hard, more);
    expect(w, 201, "POST", QUOTAS, body);
    settle(w);
}

static void assert_used(struct world *w, const char *name, const char *wanted)
{
    settle(w);
    auto_reply reply = ask(w, "GET", QUOTAS "/q", NULL);
    auto_free char *path = mem_printf("status.used['%s']", name);
    assert_at(reply, path, wanted);
}

static void assert_refused(struct world *w, const char *target, const char *body, const char *wanted)
{
    auto_reply reply = ask(w, "POST", target, body);
    assert_at(reply, "message", wanted);
    assert_int_equal(reply.status, 403);
}

static void test_count(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", PODS, POD("before", "")); /* there before the quota: counted, not touched */
    quota(w, "'pods':'2','count/configmaps':'2'", "");
    assert_used(w, "pods", "1");
    expect(w, 201, "POST", PODS, POD("a", ""));
    assert_used(w, "pods", "2");
    assert_refused(
        w, PODS, POD("b", ""),
        "pods \"b\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2");
    expect(w, 409, "POST", PODS, POD("a", "")); /* that it exists weighs more */
    expect(w, 403, "POST", PODS "?dryRun=All", POD("b", ""));
    expect(w, 200, "DELETE", PODS "/before", NULL);
    assert_used(w, "pods", "1");
    expect(w, 201, "POST", PODS "?dryRun=All", POD("b", ""));
    expect(w, 201, "POST", PODS, POD("b", ""));
    expect(w, 201, "POST", CORE "/configmaps",
           "{'metadata':{'name':'one'}}"); /* kube-root-ca.crt is the other */
    expect(w, 403, "POST", CORE "/configmaps", "{'metadata':{'name':'two'}}");
    expect(w, 201, "POST", "/api/v1/namespaces/kube-system/configmaps", "{'metadata':{'name':'two'}}");
    auto_reply table = ask_accept(w, QUOTAS, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    assert_at(table, "rows[0].cells[2]", "count/configmaps: 2/2, pods: 2/2");
}

/* A pod that has ended takes nothing, one that is being deleted still does. */
static void test_refill(void **state)
{
    struct world *w = *state;
    quota(w, "'pods':'1','count/pods':'2'", "");
    expect(w, 201, "POST", PODS, POD("a", ""));
    expect(w, 201, "POST", PODS "/a/binding", "{'target':{'name':'n'}}");
    expect(w, 200, "DELETE", PODS "/a", NULL);
    expect(w, 403, "POST", PODS, POD("b", ""));
    expect(w, 200, "PUT", PODS "/a/status", "{'metadata':{'name':'a'},'status':{'phase':'Succeeded'}}");
    assert_used(w, "pods", "0");
    assert_used(w, "count/pods", "1");
    expect(w, 201, "POST", PODS, POD("b", ""));
    expect(w, 200, "DELETE", PODS "/b", NULL);
    assert_used(w, "pods", "0");
    auto_reply more =
        ask_type(w, "PATCH", QUOTAS "/q", "application/merge-patch+json", "{'spec':{'hard':{'pods':'3'}}}");
    assert_int_equal(more.status, 200);
    expect(w, 200, "DELETE", QUOTAS "/q", NULL);
    expect(w, 201, "POST", PODS, POD("c", ""));
    expect(w, 201, "POST", PODS, POD("d", ""));
}

/* Its node is lost, nobody confirms its end: it does not stand in the way of its successor for ever. */
static void test_overdue(void **state)
{
    struct world *w = *state;
    quota(w, "'pods':'1','count/pods':'5'", "");
    expect(w, 201, "POST", PODS, POD("a", ""));
    expect(w, 201, "POST", PODS "/a/binding", "{'target':{'name':'n'}}");
    expect(w, 200, "DELETE", PODS "/a?gracePeriodSeconds=10", NULL);
    expect(w, 403, "POST", PODS, POD("b", ""));
    loop_run_until(w->loop, loop_now_ms(w->loop) + 15000);
    expect(w, 403, "POST", PODS, POD("b", ""));
    loop_run_until(w->loop, loop_now_ms(w->loop) + 6000); /* the time of its end, and its grace once more */
    expect(w, 201, "POST", PODS, POD("b", ""));
    assert_used(w, "pods", "1");
    assert_used(w, "count/pods", "2");
    expect(w, 200, "PUT", PODS "/a/status", "{'metadata':{'name':'a'},'status':{'phase':'Failed'}}");
    expect(w, 200, "DELETE", PODS "/a?gracePeriodSeconds=0", NULL);
    assert_used(w, "pods", "1");
    assert_used(w, "count/pods", "1");
}

static void test_same_time(void **state)
{
    struct world *w = *state;
    quota(w, "'pods':'2'", "");
    struct reply replies[5] = {0};
    for (int i = 0; i < 5; i++) {
        auto_free char *body =
            mem_printf("{\"metadata\":{\"name\":\"p%d\"},\"spec\":{\"containers\":[{\"name\":"
                       "\"c\",\"image\":\"i:1\"}]}}",
                       i);
        const struct http_call call = {.method = "POST",
                                       .target = PODS,
                                       .body = body,
                                       .body_len = strlen(body),
                                       .on_response = on_reply,
                                       .arg = &replies[i]};
        w->client->ops->call(w->client, &call);
    }
    settle(w);
    int made = 0, refused = 0;
    for (int i = 0; i < 5; i++) {
        made += replies[i].status == 201;
        refused += replies[i].status == 403;
        reply_fini(&replies[i]);
    }
    assert_int_equal(made, 2);
    assert_int_equal(refused, 3);
    expect(w, 200, "DELETE", PODS, NULL); /* the collection */
    settle(w);
    /* of one batch too; and what a failed write took is given back */
    auto_reply batch = ask(
        w, "POST", BATCH, "{'steps':[" STEP(POD("x", "")) "," STEP(POD("x", "")) "," STEP(POD("y", "")) "]}");
    assert_int_equal(json_int(batch.json, "results[0].code", 0), 201);
    assert_int_equal(json_int(batch.json, "results[1].code", 0), 409);
    assert_int_equal(json_int(batch.json, "results[2].code", 0), 403); /* x was taken twice for a moment */
    expect(w, 201, "POST", PODS, POD("y", ""));
    assert_used(w, "pods", "2");
}

static void test_amounts(void **state)
{
    struct world *w = *state;
    quota(w, "'requests.cpu':'1','requests.memory':'1Gi','limits.cpu':'2','requests.example.com/gpu':'1'",
          "");
    assert_refused(w, PODS, POD("a", ASKS("100m", "1Mi")),
                   "pods \"a\" is forbidden: failed quota: q: must specify limits.cpu for: c");
    assert_refused(
        w, PODS,
        "{'metadata':{'name':'a'},'spec':{'containers':[{'name':'c','image':'i:1'},{'name':'d','image':'i:1'}"
        "],"
        "'initContainers':[{'name':'i','image':'i:1','resources':{'limits':{'cpu':'1','memory':'1'}}}]}}",
        "pods \"a\" is forbidden: failed quota: q: must specify limits.cpu for: c,d; requests.cpu for: c,d; "
        "requests.memory for: c,d");
#define FULL ",'resources':{'requests':{'cpu':'600m','memory':'512Mi'},'limits':{'cpu':'1'}}"
    expect(w, 201, "POST", PODS, POD("a", FULL));
    assert_used(w, "requests.cpu", "600m");
    assert_used(w, "requests.memory", "512Mi");
    assert_used(w, "limits.cpu", "1");
    assert_used(w, "requests.example.com/gpu", "0");
    assert_refused(w, PODS, POD("b", FULL),
                   "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: "
                   "requests.cpu=600m, limited: requests.cpu=1");
    assert_refused(
        w, PODS, POD("b", ",'resources':{'limits':{'cpu':'1','memory':'1Gi','example.com/gpu':'2'}}"),
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=1,requests.example.com/"
        "gpu=2,requests.memory=1Gi, used: requests.cpu=600m,requests.example.com/gpu=0,"
        "requests.memory=512Mi, limited: requests.cpu=1,requests.example.com/gpu=1,"
        "requests.memory=1Gi");
    /* sums beyond 2^63 are too much, not too little */
    expect(w, 403, "POST", PODS,
           POD("b",
               ",'resources':{'requests':{'cpu':'1m','memory':'9223372036854775807'},'limits':{'cpu':'1'}}"));
}

static void test_other_kinds(void **state)
{
    struct world *w = *state;
    quota(w,
          "'services':'3','services.nodeports':'2','persistentvolumeclaims':'2','requests.storage':'3Gi',"
          "'fast.storageclass.storage.k8s.io/requests.storage':'1Gi'",
          "");
#define SERVICE(name, type, ports)                                                                           \
    "{'metadata':{'name':'" name "'},'spec':{'type':'" type "','ports':[" ports "]}}"
    expect(w, 201, "POST", CORE "/services", SERVICE("a", "ClusterIP", "{'port':1}"));
    expect(w, 403, "POST", CORE "/services",
           SERVICE("b", "NodePort", "{'name':'x','port':1},{'name':'y','port':2},{'name':'z','port':3}"));
    expect(w, 201, "POST", CORE "/services",
           SERVICE("b", "NodePort", "{'name':'x','port':1},{'name':'y','port':2}"));
    auto_reply grown = ask_type(w, "PATCH", CORE "/services/a", "application/merge-patch+json",
                                "{'spec':{'type':'NodePort'}}"); /* a change that takes more is judged too */
    assert_at(grown, "message",
              "services \"a\" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: "
              "services.nodeports=2, limited: services.nodeports=2");
    auto_reply fell = ask_type(w, "PATCH", CORE "/services/b", "application/merge-patch+json",
                               "{'spec':{'type':'ClusterIP'}}");
    assert_int_equal(fell.status, 200);
    assert_used(w, "services.nodeports", "0");
#define CLAIM(name, class, size)                                                                             \
    "{'metadata':{'name':'" name                                                                             \
    "'},'spec':{'accessModes':['ReadWriteOnce'],'storageClassName':'" class "','resources':{'requests':{'"   \
                                                                            "storage':'" size "'}}}}"
    expect(w, 201, "POST", CORE "/persistentvolumeclaims", CLAIM("a", "fast", "1Gi"));
    expect(w, 403, "POST", CORE "/persistentvolumeclaims", CLAIM("b", "fast", "1Mi"));
    expect(w, 403, "POST", CORE "/persistentvolumeclaims", CLAIM("b", "slow", "3Gi"));
    expect(w, 201, "POST", CORE "/persistentvolumeclaims", CLAIM("b", "slow", "2Gi"));
    assert_used(w, "requests.storage", "3Gi");
}

static void test_scopes(void **state)
{
    struct world *w = *state;
    quota(w, "'pods':'0'", ",'scopes':['BestEffort']");
    expect(w, 403, "POST", PODS, POD("a", ""));
    expect(w, 201, "POST", PODS, POD("a", ASKS("1m", "1Mi")));
    expect(w, 200, "DELETE", QUOTAS "/q", NULL);
    quota(w, "'pods':'0'", ",'scopes':['Terminating']");
    expect(w, 201, "POST", PODS, POD("b", ""));
    expect(w, 403, "POST", PODS,
           "{'metadata':{'name':'c'},'spec':{'activeDeadlineSeconds':5,'containers':[{'name':'c','image':'i:"
           "1'}]}}");
    expect(w, 200, "DELETE", QUOTAS "/q", NULL);
    expect(w, 201, "POST", "/apis/scheduling.k8s.io/v1/priorityclasses",
           "{'metadata':{'name':'high'},'value':5}");
    quota(w, "'pods':'0'",
          ",'scopeSelector':{'matchExpressions':[{'scopeName':'PriorityClass','operator':'In','values':['"
          "high']}]}");
#define WITH(name, more)                                                                                     \
    "{'metadata':{'name':'" name "'},'spec':{'containers':[{'name':'c','image':'i:1'}]" more "}}"
    expect(w, 201, "POST", PODS, WITH("d", ""));
    expect(w, 403, "POST", PODS, WITH("e", ",'priorityClassName':'high'"));
    expect(w, 200, "DELETE", QUOTAS "/q", NULL);
    quota(w, "'pods':'0'", ",'scopes':['CrossNamespacePodAffinity']");
#define NEAR(more)                                                                                           \
    ",'affinity':{'podAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':[{'topologyKey':'zone',"   \
    "'labelSelector':{}" more "}]}}"
    expect(w, 201, "POST", PODS, WITH("f", NEAR("")));
    expect(w, 403, "POST", PODS, WITH("g", NEAR(",'namespaces':['other']")));
}

static void test_restart(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", PODS, POD("a", ASKS("100m", "1Mi")));
    quota(w, "'pods':'2','requests.cpu':'1'", "");
    settle(w);
    world_close(w);
    world_open(w);
    uint64_t before = w->store->ops->revision(w->store);
    settle(w);
    assert_used(w, "requests.cpu", "100m");
    assert_int_equal(w->store->ops->revision(w->store), before); /* nothing had to be written */
    expect(w, 201, "POST", PODS, POD("b", ASKS("900m", "1Mi")));
    expect(w, 403, "POST", PODS, POD("c", ASKS("0", "1Mi")));
    assert_used(w, "requests.cpu", "1");
}

static void test_defaults(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", RANGES,
           "{'metadata':{'name':'r'},'spec':{'limits':[{'type':'Container','max':{'cpu':'2','memory':'1Gi'},"
           "'min':{'cpu':'50m'},'default':{'cpu':'500m'},'defaultRequest':{'cpu':'100m'}},"
           "{'type':'Pod','max':{'cpu':'2500m'}},"
           "{'type':'PersistentVolumeClaim','max':{'storage':'2Gi'},'min':{'storage':'1Gi'}}]}}");
    auto_reply made = ask(w, "POST", PODS, POD("a", ""));
    assert_int_equal(made.status, 201);
    assert_at(made, "spec.containers[0].resources.requests.cpu", "100m");
    assert_at(made, "spec.containers[0].resources.limits.cpu", "500m");
    assert_at(made, "spec.containers[0].resources.limits.memory", "1Gi"); /* max, as nothing else is said */
    assert_at(made, "spec.containers[0].resources.requests.memory", "1Gi");
    assert_at(made, "status.qosClass", "Burstable");
    assert_at(
        made, "metadata.annotations['kubernetes.io/limit-ranger']",
        "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c");
    assert_refused(
        w, PODS, POD("b", ",'resources':{'requests':{'cpu':'10m'},'limits':{'cpu':'3'}}"),
        "pods \"b\" is forbidden: [minimum cpu usage per Container is 50m, but request is 10m, maximum "
        "cpu usage per Container is 2, but limit is 3, maximum cpu usage per Pod is 2500m, but limit "
        "is 3]");
    assert_refused(
        w, PODS,
        "{'metadata':{'name':'b'},'spec':{'containers':[{'name':'c','image':'i:1','resources':{'limits'"
        ":{'cpu':'2'}}},{'name':'d','image':'i:1','resources':{'limits':{'cpu':'1'}}}]}}",
        "pods \"b\" is forbidden: maximum cpu usage per Pod is 2500m, but limit is 3");
    assert_refused(
        w, CORE "/persistentvolumeclaims", CLAIM("x", "fast", "3Gi"),
        "persistentvolumeclaims \"x\" is forbidden: maximum storage usage per PersistentVolumeClaim is "
        "2Gi, but request is 3Gi");
    /* a request above the default limit is the user's mistake, told with its path */
    auto_reply wrong = ask(w, "POST", PODS, POD("b", ",'resources':{'requests':{'cpu':'1'}}"));
    assert_int_equal(wrong.status, 422);
    assert_at(wrong, "details.causes[0].field", "spec.containers[0].resources.requests[cpu]");
}

static void test_ratio(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", RANGES,
           "{'metadata':{'name':'r'},'spec':{'limits':[{'type':'Container','maxLimitRequestRatio':{'memory':'"
           "2'}}]}}");
    expect(w, 201, "POST", PODS,
           POD("a", ",'resources':{'requests':{'memory':'1Mi'},'limits':{'memory':'2Mi'}}"));
    assert_refused(
        w, PODS, POD("b", ",'resources':{'requests':{'memory':'1Mi'},'limits':{'memory':'3Mi'}}"),
        "pods \"b\" is forbidden: memory max limit to request ratio per Container is 2, but provided "
        "ratio is 3.000000");
    assert_refused(
        w, PODS, POD("b", ""),
        "pods \"b\" is forbidden: memory max limit to request ratio per Container is 2, but no request "
        "is specified or request is 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_count, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overdue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_amounts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scopes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ratio, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
