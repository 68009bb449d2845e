/* Defaults: exactly those of Kubernetes, stable under a second run, and tolerant of what clients leave in a
 * body. */
#include <time.h>

#include "schema_test.h"

static void expect_default(void **state, const char *word, const char *object, const char *wanted)
{
    const struct schema_kind *kind = kind_of(*state, word);
    auto_json json = from_text(object);
    schema_default(kind, json);
    assert_json(json, wanted);
    auto_json again = json_copy(json);
    schema_default(kind, again);
    assert_true(json_equal(json, again));
}

static void test_pod(void **state)
{
    expect_default(
        state, "pod",
        "{'metadata':{'name':'p','creationTimestamp':null},'spec':{'containers':[{'name':'c','image':'nginx',"
        "'resources':{'limits':{'cpu':1,'memory':'64Mi'},'requests':{'cpu':'100m'}},'ports':[{'containerPort'"
        ":80,'hostPort':0}]}],"
        "'volumes':[{'name':'v'},{'name':'h','hostPath':{'path':'/"
        "x'}},{'name':'m','configMap':{'name':'cm'}}]}}",
        "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'nginx','imagePullPolicy':'"
        "Always',"
        "'terminationMessagePath':'/dev/termination-log','terminationMessagePolicy':'File',"
        "'resources':{'limits':{'cpu':'1','memory':'64Mi'},'requests':{'cpu':'100m','memory':'64Mi'}},"
        "'ports':[{'containerPort':80,'protocol':'TCP'}]}],"
        "'volumes':[{'name':'v','emptyDir':{}},{'name':'h','hostPath':{'path':'/x','type':''}},"
        "{'name':'m','configMap':{'name':'cm','defaultMode':420}}],"
        "'restartPolicy':'Always','dnsPolicy':'ClusterFirst','schedulerName':'default-scheduler',"
        "'terminationGracePeriodSeconds':30,'securityContext':{},'serviceAccountName':'default','"
        "serviceAccount':'default'}}");
}

static const char *pull_policy(void **state, const char *image)
{
    const struct schema_kind *kind = kind_of(*state, "pod");
    auto_json json = from_text("{'spec':{'containers':[{'name':'c'}]}}");
    json_set_string(json_at(json, "spec.containers[0]"), "image", image);
    schema_default(kind, json);
    const char *policy = json_string(json, "spec.containers[0].imagePullPolicy");
    return str_eq(policy, "Always") ? "Always" : str_eq(policy, "IfNotPresent") ? "IfNotPresent" : "?";
}

static void test_pull_policy_follows_tag(void **state)
{
    assert_string_equal(pull_policy(state, "nginx"), "Always");
    assert_string_equal(pull_policy(state, "nginx:latest"), "Always");
    assert_string_equal(pull_policy(state, "registry:5000/nginx"), "Always");
    assert_string_equal(pull_policy(state, "registry:5000/nginx:1.2"), "IfNotPresent");
    assert_string_equal(pull_policy(state, "nginx:1.2"), "IfNotPresent");
    assert_string_equal(pull_policy(state, "nginx@sha256:00"), "IfNotPresent");
}

static void test_probe_zero_means_default(void **state)
{
    const struct schema_kind *kind = kind_of(*state, "pod");
    auto_json json = from_text("{'spec':{'containers':[{'name':'c','image':'i:1','livenessProbe':"
                               "{'httpGet':{'port':80},'timeoutSeconds':0,'initialDelaySeconds':0}}]}}");
    schema_default(kind, json);
    assert_json(json_at(json, "spec.containers[0].livenessProbe"),
                "{'httpGet':{'port':80,'path':'/','scheme':'HTTP'},'timeoutSeconds':1,'periodSeconds':10,"
                "'successThreshold':1,'failureThreshold':3}");
}

static void test_host_network_takes_ports_of_the_node(void **state)
{
    const struct schema_kind *kind = kind_of(*state, "pod");
    auto_json json = from_text("{'spec':{'hostNetwork':true,'containers':[{'name':'c','image':'i:1','ports':["
                               "{'containerPort':80}]}]}}");
    schema_default(kind, json);
    assert_int_equal(json_int(json, "spec.containers[0].ports[0].hostPort", 0), 80);
}

static void test_service(void **state)
{
    expect_default(
        state, "svc",
        "{'spec':{'ports':[{'port':80},{'port':53,'name':'d','protocol':'UDP','targetPort':'dns'}]}}",
        "{'spec':{'ports':[{'port':80,'protocol':'TCP','targetPort':80},"
        "{'port':53,'name':'d','protocol':'UDP','targetPort':'dns'}],'type':'ClusterIP','sessionAffinity':'"
        "None',"
        "'internalTrafficPolicy':'Cluster','ipFamilies':['IPv4'],'ipFamilyPolicy':'SingleStack'}}");
    const struct schema_kind *kind = kind_of(*state, "svc");
    auto_json json = from_text(
        "{'spec':{'type':'NodePort','sessionAffinity':'ClientIP','ports':[{'port':80,'targetPort':0}]}}");
    schema_default(kind, json);
    assert_string_equal(json_string(json, "spec.externalTrafficPolicy"), "Cluster");
    assert_int_equal(json_int(json, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", 0), 10800);
    assert_int_equal(json_int(json, "spec.ports[0].targetPort", 0), 80);
}

static void test_deployment(void **state)
{
    const struct schema_kind *kind = kind_of(*state, "deploy");
    auto_json json = from_text("{'spec':{'selector':{'matchLabels':{'a':'b'}},'strategy':{},'template':{'"
                               "metadata':{'labels':{'a':'b'},"
                               "'creationTimestamp':null},'spec':{'containers':[]}}},'status':{}}");
    schema_default(kind, json);
    assert_int_equal(json_int(json, "spec.replicas", -1), 1);
    assert_int_equal(json_int(json, "spec.revisionHistoryLimit", -1), 10);
    assert_int_equal(json_int(json, "spec.progressDeadlineSeconds", -1), 600);
    assert_json(json_at(json, "spec.strategy"),
                "{'type':'RollingUpdate','rollingUpdate':{'maxUnavailable':'25%','maxSurge':'25%'}}");
    assert_string_equal(json_string(json, "spec.template.spec.restartPolicy"), "Always");
    assert_null(json_at(json, "spec.template.metadata.creationTimestamp"));
    assert_null(json_at(json, "spec.template.spec.serviceAccountName")); /* only pods act as someone */

    auto_json zero = from_text("{'spec':{'replicas':0,'strategy':{'type':'Recreate'}}}");
    schema_default(kind, zero);
    assert_int_equal(json_int(zero, "spec.replicas", -1), 0);
    assert_json(json_at(zero, "spec.strategy"), "{'type':'Recreate'}");
}

static void test_job(void **state)
{
    const struct schema_kind *kind = kind_of(*state, "job");
    auto_json json = from_text("{'spec':{'template':{'spec':{'containers':[]}}}}");
    schema_default(kind, json);
    assert_int_equal(json_int(json, "spec.backoffLimit", -1), 6);
    assert_int_equal(json_int(json, "spec.completions", -1), 1);
    auto_json per_index = from_text("{'spec':{'completionMode':'Indexed','completions':3,"
                                    "'backoffLimitPerIndex':1,'template':{'spec':{'containers':[]}}}}");
    schema_default(kind, per_index);
    assert_int_equal(json_int(per_index, "spec.backoffLimit", -1), INT32_MAX);
}

static void test_secret_and_namespace(void **state)
{
    expect_default(state, "secret",
                   "{'metadata':{'name':'s'},'stringData':{'a':'x'},'data':{'a':'b2xk','b':'YmI='}}",
                   "{'metadata':{'name':'s'},'data':{'a':'eA==','b':'YmI='},'type':'Opaque'}");
    expect_default(state, "ns", "{'metadata':{'name':'n'}}",
                   "{'metadata':{'name':'n','labels':{'kubernetes.io/"
                   "metadata.name':'n'}},'spec':{'finalizers':['kubernetes']}}");
    expect_default(state, "ns",
                   "{'metadata':{'name':'n','deletionTimestamp':'2026-01-01T00:00:00Z'},'spec':{}}",
                   "{'metadata':{'name':'n','deletionTimestamp':'2026-01-01T00:00:00Z',"
                   "'labels':{'kubernetes.io/metadata.name':'n'}},'spec':{}}");
}

static void test_secret_of_very_many_strings(void **state)
{
    auto_json secret = from_text("{'metadata':{'name':'s'}}");
    cJSON *data = json_ensure_object(secret, "data"), *plain = json_ensure_object(secret, "stringData");
    for (int i = 0; i < 200000; i++) {
        auto_free char *key = mem_printf("k%d", i);
        cJSON_AddItemToObject(i < 100000 ? data : plain, key, cJSON_CreateString("YQ=="));
        if (i < 100000 && i % 2)
            cJSON_AddItemToObject(plain, key, cJSON_CreateString("b"));
    }
    double begin = (double)clock() / CLOCKS_PER_SEC;
    schema_default(kind_of(*state, "secret"), secret);
    assert_true((double)clock() / CLOCKS_PER_SEC - begin < 10);
    assert_null(json_get(secret, "stringData"));
    assert_int_equal(cJSON_GetArraySize(data), 200000);
    int i = 0;
    json_each (item, data) {
        auto_free char *key = mem_printf("k%d", i);
        assert_string_equal(item->string, key); /* in its place */
        assert_string_equal(item->valuestring, i >= 100000 ? "WVE9PQ==" : i % 2 ? "Yg==" : "YQ==");
        i++;
    }
}

static void test_empty_values_of_maps_stay(void **state)
{
    expect_default(state, "cm",
                   "{'metadata':{'name':'c','generateName':'','labels':{'x':''}},'data':{'empty':'','null':"
                   "null},'immutable':null}",
                   "{'metadata':{'name':'c','labels':{'x':''}},'data':{'empty':'','null':''}}");
}

static void test_empty_lists_of_metadata_are_absent(void **state)
{
    expect_default(
        state, "cm",
        "{'metadata':{'name':'c','labels':{},'annotations':{},'finalizers':[],'ownerReferences':[]},"
        "'data':{}}",
        "{'metadata':{'name':'c'},'data':{}}");
}

static void test_initial_status(void **state)
{
    auto_json pod = schema_initial_status(kind_of(*state, "pod"));
    assert_json(pod, "{'phase':'Pending'}");
    assert_null(schema_initial_status(kind_of(*state, "cm")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pod),
        cmocka_unit_test(test_pull_policy_follows_tag),
        cmocka_unit_test(test_probe_zero_means_default),
        cmocka_unit_test(test_host_network_takes_ports_of_the_node),
        cmocka_unit_test(test_service),
        cmocka_unit_test(test_deployment),
        cmocka_unit_test(test_job),
        cmocka_unit_test(test_secret_and_namespace),
        cmocka_unit_test(test_secret_of_very_many_strings),
        cmocka_unit_test(test_empty_values_of_maps_stay),
        cmocka_unit_test(test_empty_lists_of_metadata_are_absent),
        cmocka_unit_test(test_initial_status),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
