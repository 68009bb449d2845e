/* Terms for the store and cells of tables, from objects as they are stored, complete or not. */
#include "schema_test.h"

#include "base/time.h"

static bool has(char *const *terms, const char *term)
{
    for (; *terms; terms++) {
        if (strcmp(*terms, term) == 0)
            return true;
    }
    return false;
}

static void test_pod_terms(void **state)
{
    auto_json pod =
        from_text("{'metadata':{'name':'p','namespace':'n','uid':'U','labels':{'app':'web','empty':''},'"
                  "ownerReferences':[{'uid':'R'},{'uid':'S'},{}]},"
                  "'spec':{'nodeName':'node-1','imagePullSecrets':[{'name':'reg'}],'containers':[{'env':[{'"
                  "name':'A'},{'name':'B','valueFrom':{'configMapKeyRef':{'name':'cm1'}}}],"
                  "'envFrom':[{'secretRef':{'name':'s1'}}]}],'initContainers':[{'envFrom':[{'configMapRef':{'"
                  "name':'cm2'}}]}],"
                  "'volumes':[{'configMap':{'name':'cm3'}},{'secret':{'secretName':'s2'}},{'projected':{'"
                  "sources':[{'secret':{'name':'s3'}},{'configMap':{'name':'cm4'}}]}}]},"
                  "'status':{'phase':'Running'}}");
    size_t count;
    auto_free char **terms = schema_terms(kind_of(*state, "pod"), pod, &count);
    static const char *const wanted[] = {
        "u:=U",
        "l:app=web",
        "l:empty=",
        "o:=R",
        "o:=S",
        "f:spec.nodeName=node-1",
        "F:status.phase=Running",
        "r:secrets/n/reg=",
        "r:configmaps/n/cm1=",
        "r:configmaps/n/cm2=",
        "r:configmaps/n/cm3=",
        "r:configmaps/n/cm4=",
        "r:secrets/n/s1=",
        "r:secrets/n/s2=",
        "r:secrets/n/s3=",
        "F:spec.restartPolicy=",
        "F:status.podIP=",
    };
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        if (!has(terms, wanted[i]))
            fail_msg("no term %s", wanted[i]);
    }
    assert_null(terms[count]);
}

static void test_terms_of_nearly_nothing(void **state)
{
    auto_json pod = from_text("{'metadata':{'labels':{'n':1},'ownerReferences':'x'},'spec':{'containers':[7,"
                              "null],'volumes':{'a':1}}}");
    size_t count;
    auto_free char **terms = schema_terms(kind_of(*state, "pod"), pod, &count);
    assert_true(has(terms, "f:spec.nodeName="));
    for (size_t i = 0; i < count; i++)
        assert_true(terms[i][0] == 'f' || terms[i][0] == 'F');
    auto_json node = from_text("{'spec':{'unschedulable':true}}");
    auto_free char **of_node = schema_terms(kind_of(*state, "node"), node, &count);
    assert_true(has(of_node, "F:spec.unschedulable=true"));
    auto_json empty = cJSON_CreateObject();
    auto_free char **none = schema_terms(kind_of(*state, "cm"), empty, &count);
    assert_int_equal(count, 0);
    assert_null(none[0]);
}

static void test_selectable_fields(void **state)
{
    const struct schema_kind *pod = kind_of(*state, "pod"), *event = kind_of(*state, "events");
    assert_true(schema_field_selectable(pod, "metadata.name"));
    assert_true(schema_field_selectable(pod, "metadata.namespace"));
    assert_true(schema_field_selectable(pod, "spec.nodeName"));
    assert_true(schema_field_selectable(pod, "status.phase"));
    assert_false(schema_field_selectable(pod, "spec.containers"));
    assert_true(schema_field_selectable(event, "involvedObject.uid"));
    assert_false(schema_field_selectable(kind_of(*state, "cm"), "spec.nodeName"));
}

static void cells(void **state, const char *word, const char *object, const char *wanted)
{
    int64_t now;
    assert_int_equal(time_parse("2026-01-01T01:00:00Z", &now, NULL), 0);
    auto_json json = from_text(object);
    auto_json row = schema_cells(kind_of(*state, word), json, now);
    assert_json(row, wanted);
    auto_json columns = schema_columns(kind_of(*state, word));
    assert_int_equal(cJSON_GetArraySize(columns), cJSON_GetArraySize(row));
    auto_json nothing = cJSON_CreateObject();
    auto_json empty = schema_cells(kind_of(*state, word), nothing, now);
    assert_int_equal(cJSON_GetArraySize(columns), cJSON_GetArraySize(empty));
}

#define META(name) "'metadata':{'name':'" name "','creationTimestamp':'2026-01-01T00:58:00Z'"

static void test_pod_cells(void **state)
{
    cells(state, "pod",
          "{" META("p") "},'spec':{'nodeName':'n1','containers':[{'name':'a'},{'name':'b'}]},'status':{'"
                        "phase':'Running','podIP':'10.0.0.1','containerStatuses':["
                        "{'name':'a','ready':true,'restartCount':2,'state':{'running':{}},'lastState':{'"
                        "terminated':{'finishedAt':'2026-01-01T00:55:00Z'}}},"
                        "{'name':'b','ready':false,'restartCount':1,'state':{'waiting':{'reason':'"
                        "CrashLoopBackOff'}}}]}}",
          "['p','1/2','CrashLoopBackOff','3 (5m ago)','2m','10.0.0.1','n1','<none>','<none>']");
    cells(state, "pod",
          "{" META("p") ",'deletionTimestamp':'2026-01-01T01:00:00Z'},'spec':{'containers':[{}]},'status':{'"
                        "phase':'Running'}}",
          "['p','0/1','Terminating','0','2m','<none>','<none>','<none>','<none>']");
    cells(state, "pod",
          "{" META("p") "},'spec':{'containers':[{}],'initContainers':[{'name':'i'},{'name':'j'}]},'status':{"
                        "'phase':'Pending',"
                        "'initContainerStatuses':[{'name':'i','state':{'terminated':{'exitCode':0}}},{'name':"
                        "'j','state':{'running':{}}}]}}",
          "['p','0/1','Init:1/2','0','2m','<none>','<none>','<none>','<none>']");
    cells(state, "pod",
          "{" META("p") "},'spec':{'containers':[{'name':'a'}]},'status':{'phase':'Failed','"
                        "containerStatuses':[{'name':'a','state':{'terminated':{'exitCode':3}}}]}}",
          "['p','0/1','ExitCode:3','0','2m','<none>','<none>','<none>','<none>']");
    cells(state, "pod",
          "{" META("p") "},'spec':{'containers':[{'name':'a'}],'initContainers':[{'name':'side','"
                        "restartPolicy':'Always'}]},'status':{'phase':'Running',"
                        "'initContainerStatuses':[{'name':'side','started':true,'ready':true,'restartCount':"
                        "1,'state':{'running':{}}}],'containerStatuses':[{'name':'a','ready':true,'state':{'"
                        "running':{}}}]}}",
          "['p','2/2','Running','1','2m','<none>','<none>','<none>','<none>']");
}

static void test_other_cells(void **state)
{
    cells(state, "node",
          "{" META("n") ",'labels':{'node-role.kubernetes.io/worker':'','node-role.kubernetes.io/"
                        "control-plane':''}},'spec':{'unschedulable':true},"
                        "'status':{'conditions':[{'type':'Ready','status':'Unknown'}],'addresses':[{'type':'"
                        "InternalIP','address':'10.0.0.2'}],'nodeInfo':{'kubeletVersion':'v1'}}}",
          "['n','NotReady,SchedulingDisabled','control-plane,worker','2m','v1','10.0.0.2','<none>','<unknown>"
          "','<unknown>','<unknown>']");
    cells(state, "deploy",
          "{" META("d") "},'spec':{'replicas':3,'selector':{'matchLabels':{'a':'b'}},'template':{'spec':{'"
                        "containers':[{'name':'x','image':'i'},{'name':'y','image':'j'}]}}},"
                        "'status':{'readyReplicas':2,'updatedReplicas':3}}",
          "['d','2/3',3,0,'2m','x,y','i,j','a=b']");
    cells(state, "svc",
          "{" META("s") "},'spec':{'type':'NodePort','clusterIP':'10.96.0.1','selector':{'a':'b'},'ports':[{'"
                        "port':80,'nodePort':30080,'protocol':'TCP'},{'port':53,'protocol':'UDP'}]}}",
          "['s','NodePort','10.96.0.1','<none>','80:30080/TCP,53/UDP','2m','a=b']");
    cells(state, "endpointslices",
          "{" META("e") "},'addressType':'IPv4','ports':[{'port':80}],'endpoints':[{'addresses':['1','2']},{'"
                        "addresses':['3']},{'addresses':['4']}]}",
          "['e','IPv4','80','1,2,3 + 1 more...','2m']");
    cells(state, "ev",
          "{" META("x") "},'involvedObject':{'kind':'ReplicaSet','name':'r'},'type':'Normal','reason':'Made',"
                        "'message':'done','count':4,"
                        "'firstTimestamp':'2026-01-01T00:50:00Z','lastTimestamp':'2026-01-01T00:59:30Z','"
                        "source':{'component':'manager'}}",
          "['30s','Normal','Made','replicaset/r','','manager','done','10m',4,'x']");
    cells(state, "secret", "{" META("s") "},'type':'Opaque','data':{'a':'','b':''}}",
          "['s','Opaque',2,'2m']");
    cells(state, "cm", "{" META("c") "},'data':{'a':''},'binaryData':{'b':''}}", "['c',2,'2m']");
    cells(state, "rolebindings",
          "{" META("b") "},'roleRef':{'kind':'Role','name':'r'},'subjects':[{'kind':'User','name':'u'},{'"
                        "kind':'User','name':'v'},"
                        "{'kind':'ServiceAccount','namespace':'n','name':'a'}]}",
          "['b','Role/r','2m','u, v','','n/a']");
    cells(state, "controllerrevisions",
          "{'metadata':{'name':'c','ownerReferences':[{'kind':'StatefulSet','apiVersion':'apps/"
          "v1','name':'web','controller':true}]},'revision':3}",
          "['c','statefulset.apps/web',3,'<unknown>']");
    cells(state, "drains", "{" META("cluster") "},'status':{'revision':12}}", "['cluster',12,'2m']");
}

static void test_column_definitions(void **state)
{
    auto_json columns = schema_columns(kind_of(*state, "pod"));
    assert_string_equal(json_string(columns, "[0].name"), "Name");
    assert_string_equal(json_string(columns, "[0].format"), "name");
    assert_int_equal(json_int(columns, "[5].priority", -1), 1);
    assert_string_equal(json_string(columns, "[7].name"), "Nominated Node");
    auto_json events = schema_columns(kind_of(*state, "events"));
    assert_string_equal(json_string(events, "[0].name"), "Last Seen");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pod_terms),         cmocka_unit_test(test_terms_of_nearly_nothing),
        cmocka_unit_test(test_selectable_fields), cmocka_unit_test(test_pod_cells),
        cmocka_unit_test(test_other_cells),       cmocka_unit_test(test_column_definitions),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
