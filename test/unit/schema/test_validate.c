/* Validation: Kubernetes' wording and paths, refused fields, immutability, updates of pods, and bounds. */
#include "schema_test.h"

static void expect(void **state, const char *word, const char *object, const char *wanted)
{
    expect_causes(state, word, NULL, object, wanted);
}

#define META "'metadata':{'name':'x','namespace':'d'},"
#define POD(spec) "{" META "'spec':{" spec "}}"
#define ONE(container) POD("'containers':[{'name':'c','image':'i:1'," container "}]")
#define C "'containers':[{'name':'c','image':'i:1'}]"

static void test_names(void **state)
{
    auto_json upper = from_text("{'metadata':{'name':'Web_1'},'spec':{" C "}}");
    auto_free char *said = validate(kind_of(*state, "pod"), upper, NULL);
    assert_true(str_starts(said, "metadata.name: Invalid value: \"Web_1\": "));
    assert_non_null(strstr(said, "must consist of lower case alphanumeric characters, '-' or '.'"));
    expect(state, "pod", "{'metadata':{},'spec':{" C "}}",
           "metadata.name: Required value: name or generateName is required");
    expect(state, "pod", "{'metadata':{'generateName':'x-'},'spec':{" C "}}", "");
    const struct schema_kind *ns = kind_of(*state, "ns");
    auto_json dotted = from_text("{'metadata':{'name':'a.b'}}");
    auto_free char *causes = validate(ns, dotted, NULL);
    assert_non_null(strstr(causes, "metadata.name: Invalid value: \"a.b\""));
}

static void test_pod_basics(void **state)
{
    expect(state, "pod", POD(C), "");
    expect(state, "pod", POD("'containers':[]"), "spec.containers: Required value");
    expect(state, "pod", "{" META "'x':1}", "spec: Required value");
    expect(state, "pod", POD("'containers':[{'name':'c'}]"), "spec.containers[0].image: Required value");
    expect(
        state, "pod",
        POD("'containers':[{'name':'c','image':'i'},{'name':'c','image':'i'}],'restartPolicy':'Sometimes'"),
        "spec.containers[1].name: Duplicate value: \"c\"\n"
        "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", "
        "\"Never\"");
    expect(state, "pod", POD(C ",'initContainers':[{'name':'c','image':'i'}]"),
           "spec.containers[0].name: Duplicate value: \"c\"");
}

static void test_container_parts(void **state)
{
    expect(state, "pod", ONE("'ports':[{'containerPort':70000}]"),
           "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, "
           "inclusive");
    expect(state, "pod",
           ONE("'env':[{'name':'A','value':'1','valueFrom':{'fieldRef':{'fieldPath':'metadata.name'}}}]"),
           "spec.containers[0].env[0].valueFrom: Invalid value: "
           "{\"fieldRef\":{\"fieldPath\":\"metadata.name\",\"apiVersion\":\"v1\"}}: "
           "may not be specified when `value` is not empty");
    expect(state, "pod", ONE("'resources':{'requests':{'cpu':'2'},'limits':{'cpu':'1','memory':'lots'}}"),
           "spec.containers[0].resources.requests[memory]: Invalid value: \"lots\": quantities must match "
           "the regular expression "
           "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'\n"
           "spec.containers[0].resources.limits[memory]: Invalid value: \"lots\": quantities must match the "
           "regular expression "
           "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'\n"
           "spec.containers[0].resources.requests[cpu]: Invalid value: \"2\": must be less than or equal to "
           "cpu limit of 1");
    expect(state, "pod", ONE("'resources':{'limits':{'cpu':'-1'}}"),
           "spec.containers[0].resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal "
           "to 0\n"
           "spec.containers[0].resources.requests[cpu]: Invalid value: \"-1\": must be greater than or equal "
           "to 0");
    expect(state, "pod", ONE("'volumeMounts':[{'name':'v','mountPath':'/a'}]"),
           "spec.containers[0].volumeMounts[0].name: Not found: \"v\"");
    expect(state, "pod", ONE("'livenessProbe':{'periodSeconds':5}"),
           "spec.containers[0].livenessProbe: Required value: must specify a handler type");
    expect(state, "pod",
           ONE("'livenessProbe':{'tcpSocket':{'port':80},'exec':{'command':['x']},'successThreshold':2}"),
           "spec.containers[0].livenessProbe: Forbidden: may not specify more than 1 handler type\n"
           "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1");
}

static void test_volumes(void **state)
{
    expect(state, "pod", POD(C ",'volumes':[{'name':'v','emptyDir':{},'hostPath':{'path':'/x'}}]"),
           "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type");
    expect(state, "pod",
           POD(C ",'volumes':[{'name':'v','configMap':{'name':'c','items':[{'key':'k','path':'../etc'}]}}]"),
           "spec.volumes[0].configMap.items[0].path: Invalid value: \"../etc\": must not contain '..'");
}

static void test_refused_fields(void **state)
{
    expect(
        state, "pod",
        POD(C ",'volumes':[{'name':'v','nfs':{'server':'x'}}],'runtimeClassName':'gvisor','hostUsers':false"),
        "spec.volumes[0].nfs: Forbidden: nfs volumes of a pod are not supported; use a PersistentVolume with "
        "nfs and a claim\n"
        "spec.runtimeClassName: Forbidden: runtime classes are not supported\n"
        "spec.hostUsers: Unsupported value: false: supported values: true");
    expect(state, "pod", ONE("'volumeDevices':[]"), "");
}

static void test_host_ports(void **state)
{
    expect(state, "pod",
           POD("'containers':[{'name':'a','image':'i','ports':[{'containerPort':1,'hostPort':80}]},"
               "{'name':'b','image':'i','ports':[{'containerPort':2,'hostPort':80},{'containerPort':2,'"
               "hostPort':80,'protocol':'UDP'}]}]"),
           "spec.containers[1].ports[0].hostPort: Duplicate value: 80");
}

static void test_pod_update(void **state)
{
    const char *old = POD(C ",'tolerations':[{'key':'a','operator':'Exists'}]");
    expect_causes(
        state, "pod", old,
        POD("'containers':[{'name':'c','image':'i:2','imagePullPolicy':'IfNotPresent'}],'tolerations':[{'key'"
            ":'a','operator':'Exists'},{'key':'b','operator':'Exists'}],'activeDeadlineSeconds':5"),
        "");
    expect_causes(state, "pod", old,
                  POD(C ",'tolerations':[{'key':'a','operator':'Exists'}],'nodeName':'n1'"), "");
    const struct schema_kind *kind = kind_of(*state, "pod");
    auto_json bound = from_text(POD(C ",'nodeName':'n1'"));
    schema_default(kind, bound);
    auto_json moved = from_text(POD(C ",'nodeName':'n2'"));
    auto_free char *causes = validate(kind, moved, bound);
    assert_true(str_starts(causes, "spec: Forbidden: pod updates may not change fields other than"));
    auto_json other =
        from_text(POD("'containers':[{'name':'c','image':'i:1','command':['sh']}],'nodeName':'n1'"));
    auto_free char *causes2 = validate(kind, other, bound);
    assert_true(str_starts(causes2, "spec: Forbidden: pod updates may not change fields other than"));
    expect_causes(
        state, "pod", old, POD(C),
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds");
}

#define DEPLOY(more, labels)                                                                                 \
    "{" META "'spec':{'selector':{'matchLabels':{'a':'b'}},'template':{'metadata':{'labels':" labels         \
    "},'spec':{" C "}}" more "}}"

#define SPREAD(more)                                                                                         \
    POD(C ",'topologySpreadConstraints':[{'maxSkew':1,'topologyKey':'zone','whenUnsatisfiable':" more "}]")
#define AT "spec.topologySpreadConstraints[0]."

static void test_spreading(void **state)
{
    expect(state, "pod",
           SPREAD("'DoNotSchedule','minDomains':2,'labelSelector':{'matchLabels':{'a':'b'}},"
                  "'matchLabelKeys':['pod-template-hash'],'nodeTaintsPolicy':'Honor'"),
           "");
    expect(state, "pod", SPREAD("'DoNotSchedule','minDomains':-1"),
           AT "minDomains: Invalid value: -1: must be greater than or equal to 1");
    expect(state, "pod", SPREAD("'ScheduleAnyway','minDomains':2"),
           AT "minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not "
              "ScheduleAnyway");
    expect(state, "pod", SPREAD("'DoNotSchedule','nodeTaintsPolicy':'Maybe','nodeAffinityPolicy':'No'"),
           AT "nodeTaintsPolicy: Unsupported value: \"Maybe\": supported values: \"Honor\", \"Ignore\"\n" AT
              "nodeAffinityPolicy: Unsupported value: \"No\": supported values: \"Honor\", \"Ignore\"");
    expect(state, "pod", SPREAD("'DoNotSchedule','matchLabelKeys':['rev']"),
           AT "matchLabelKeys: Forbidden: must not be specified when labelSelector is not set");
    expect(
        state, "pod",
        SPREAD("'DoNotSchedule','matchLabelKeys':['ok','rev'],'labelSelector':{'matchLabels':{'rev':'1'}}"),
        AT "matchLabelKeys[1]: Invalid value: \"rev\": exists in both matchLabelKeys and labelSelector");
    expect(
        state, "pod",
        SPREAD("'DoNotSchedule','matchLabelKeys':['rev'],'labelSelector':{'matchExpressions':[{'key':'rev',"
               "'operator':'Exists'}]}"),
        AT "matchLabelKeys[0]: Invalid value: \"rev\": exists in both matchLabelKeys and labelSelector");
    expect(state, "pod",
           SPREAD("'DoNotSchedule'},{'maxSkew':1,'topologyKey':'zone','whenUnsatisfiable':'ScheduleAnyway'},"
                  "{'maxSkew':2,'topologyKey':'zone','whenUnsatisfiable':'DoNotSchedule'"),
           "spec.topologySpreadConstraints[2].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, "
           "DoNotSchedule}\"");
}

#undef AT
#define REQUIRED "requiredDuringSchedulingIgnoredDuringExecution"
#define NEAR(more) POD(C ",'affinity':{'podAffinity':{'" REQUIRED "':[{'topologyKey':'zone'," more "}]}}")
#define AT "spec.affinity.podAffinity." REQUIRED "[0]."

static void test_affinity_terms(void **state)
{
    expect(state, "pod",
           NEAR("'namespaceSelector':{},'labelSelector':{'matchExpressions':[{'key':'tenant','operator':"
                "'Exists'}]},'mismatchLabelKeys':['tenant']"),
           "");
    expect(state, "pod", NEAR("'matchLabelKeys':['a'],'mismatchLabelKeys':['b']"),
           AT "matchLabelKeys: Forbidden: must not be specified when labelSelector is not set\n" AT
              "mismatchLabelKeys: Forbidden: must not be specified when labelSelector is not set");
    expect(state, "pod", NEAR("'matchLabelKeys':['a'],'labelSelector':{'matchLabels':{'a':'b'}}"),
           AT "matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and labelSelector");
    expect(state, "pod", NEAR("'matchLabelKeys':['a'],'mismatchLabelKeys':['b','a'],'labelSelector':{}"),
           AT "matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and mismatchLabelKeys");
    expect(state, "pod", NEAR("'namespaceSelector':{'matchExpressions':[{'key':'a','operator':'In'}]}"),
           AT "namespaceSelector.matchExpressions[0].values: Required value: must be specified when "
              "`operator` is 'In' or 'NotIn'");
}

#undef AT

static void test_deployment(void **state)
{
    expect(state, "deploy", DEPLOY("", "{'a':'b'}"), "");
    expect(state, "deploy", DEPLOY("", "{'a':'c'}"),
           "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template "
           "`labels`");
    expect(state, "deploy",
           DEPLOY(",'strategy':{'rollingUpdate':{'maxSurge':0,'maxUnavailable':'0%'}}", "{'a':'b'}"),
           "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` "
           "is 0");
    expect(state, "deploy",
           DEPLOY(",'strategy':{'type':'Recreate','rollingUpdate':{'maxSurge':1}}", "{'a':'b'}"),
           "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'");
    expect(state, "deploy",
           DEPLOY(",'strategy':{'rollingUpdate':{'maxSurge':'a lot'}},'replicas':-1", "{'a':'b'}"),
           "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"a lot\": must be an integer or percentage "
           "(e.g '5%')\n"
           "spec.replicas: Invalid value: -1: must be greater than or equal to 0");
    expect(state, "deploy", "{" META "'spec':{'template':{'spec':{" C "}}}}",
           "spec.selector: Required value");
    expect_causes(
        state, "deploy", DEPLOY("", "{'a':'b'}"),
        "{" META
        "'spec':{'selector':{'matchLabels':{'a':'x'}},'template':{'metadata':{'labels':{'a':'x'}},'spec':{" C
        "}}}}",
        "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"x\"}}: field is immutable");
}

static void test_service(void **state)
{
    expect(state, "svc", "{" META "'spec':{'ports':[{'port':80},{'port':80}]}}",
           "spec.ports[0].name: Required value\nspec.ports[1].name: Required value\n"
           "spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\",\"targetPort\":80}");
    expect(state, "svc", "{" META "'spec':{}}", "spec.ports: Required value");
    expect(state, "svc", "{" META "'spec':{'clusterIP':'None'}}", "");
    expect(state, "svc", "{" META "'spec':{'type':'ExternalName'}}", "spec.externalName: Required value");
    expect(state, "svc", "{" META "'spec':{'type':'ExternalName','externalName':'db.example.com'}}", "");
    expect(state, "svc",
           "{" META "'spec':{'type':'ExternalName','externalName':'a.b','clusterIP':'10.96.0.9'}}",
           "spec.clusterIP: Forbidden: must be empty for ExternalName services");
    expect(state, "svc", "{" META "'spec':{'externalIPs':['198.51.100.7'],'ports':[{'port':80}]}}", "");
    expect(state, "svc",
           "{" META "'spec':{'externalIPs':['0.0.0.0','169.254.1.1','224.0.0.1'],'ports':[{'port':80}]}}",
           "spec.externalIPs[0]: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0 or ::)\n"
           "spec.externalIPs[1]: Invalid value: \"169.254.1.1\": may not be in the link-local range "
           "(169.254.0.0/16, fe80::/10)\n"
           "spec.externalIPs[2]: Invalid value: \"224.0.0.1\": may not be in the link-local multicast range "
           "(224.0.0.0/24, ff02::/10)");
    expect(state, "svc", "{" META "'spec':{'ports':[{'port':80,'protocol':'SCTP'}]}}",
           "spec.ports[0].protocol: Unsupported value: \"SCTP\": supported values: \"TCP\", \"UDP\"");
    expect(state, "svc", "{" META "'spec':{'ports':[{'port':80,'nodePort':30000}]}}",
           "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'");
    expect_causes(state, "svc", "{" META "'spec':{'clusterIP':'10.96.0.1','ports':[{'port':80}]}}",
                  "{" META "'spec':{'clusterIP':'10.96.0.2','ports':[{'port':80}]}}",
                  "spec.clusterIP: Invalid value: \"10.96.0.2\": field is immutable");
}

static void test_config_and_secret(void **state)
{
    expect_causes(state, "cm", "{" META "'data':{'a':'1'},'immutable':true}", "{" META "'data':{'a':'2'}}",
                  "immutable: Forbidden: field is immutable when `immutable` is set\n"
                  "data: Forbidden: field is immutable when `immutable` is set");
    expect(state, "cm", "{" META "'data':{'a':'1'},'binaryData':{'a':'MQ=='}}",
           "data[a]: Invalid value: \"a\": duplicate of key present in binaryData");
    expect(state, "secret", "{" META "'data':{'password':'not base64!'}}",
           "data[password]: Invalid value: \"<hidden>\": must be base64-encoded (RFC 4648, with padding)");
    expect(state, "secret", "{" META "'type':'kubernetes.io/tls','data':{'tls.crt':'eA=='}}",
           "data[tls.key]: Required value");
    expect_causes(state, "secret", "{" META "'type':'a'}", "{" META "'type':'b'}",
                  "type: Invalid value: \"b\": field is immutable");
}

static void test_others(void **state)
{
    expect(state, "events", "{" META "'involvedObject':{'kind':'Pod','name':'p','namespace':'other'}}",
           "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace");
    expect(state, "node",
           "{" META
           "'spec':{'taints':[{'key':'a','effect':'NoSchedule'},{'key':'a','effect':'NoSchedule'}]}}",
           "spec.taints[1]: Duplicate value: {\"key\":\"a\",\"effect\":\"NoSchedule\"}");
    expect(state, "endpointslices",
           "{" META "'addressType':'IPv4','endpoints':[{'addresses':['10.0.0.1','fe80::1']}]}",
           "endpoints[0].addresses[1]: Invalid value: \"fe80::1\": must be a valid IPv4 address");
    expect(state, "policies", "{" META "'spec':{'point':'Scheduler Score'}}",
           "spec.point: Invalid value: \"Scheduler Score\": should match "
           "'^[a-z][a-zA-Z]*(\\.[a-z][a-zA-Z]*)*$'\n"
           "spec.source: Required value");
}

#define CRD(name, versions)                                                                                  \
    "{'metadata':{'name':'" name "'},'spec':{'group':'e.com','scope':'Cluster',"                             \
    "'names':{'plural':'ws','kind':'W'},'versions':[" versions "]}}"

static void test_custom_resource_definition(void **state)
{
    const char *good =
        "{'name':'v1','served':true,'storage':true,'schema':{'openAPIV3Schema':{'type':'object'}}}";
    auto_free char *text = mem_printf(CRD("ws.e.com", "%s"), good);
    expect(state, "crd", text, "");
    expect(state, "crd",
           CRD("w.e.com",
               "{'name':'v1','served':true,'storage':false,'schema':{'openAPIV3Schema':{'type':'strin'}}}"),
           "metadata.name: Invalid value: \"w.e.com\": must be spec.names.plural+\".\"+spec.group\n"
           "spec.versions[0].schema: Invalid value: \"\": kind Kind: schema.Kind: unknown type: strin\n"
           "spec.versions: Invalid value: \"\": must have exactly one version marked as storage version");
}

static void test_roles(void **state)
{
    expect(state, "clusterrole",
           "{'metadata':{'name':'system:node'},'rules':[{'apiGroups':[''],'resources':['pods']}]}",
           "rules[0].verbs: Required value");
    expect_causes(
        state, "rolebindings", "{" META "'roleRef':{'kind':'Role','name':'a'}}",
        "{" META "'roleRef':{'kind':'Role','name':'b'},'subjects':[{'kind':'User','name':'u'}]}",
        "roleRef: Invalid value: "
        "{\"kind\":\"Role\",\"name\":\"b\",\"apiGroup\":\"rbac.authorization.k8s.io\"}: field is immutable");
}

static void test_status_faults_count_only_for_status_writers(void **state)
{
    const struct schema_kind *kind = kind_of(*state, "pod");
    auto_json json = from_text("{" META "'spec':{" C "},'status':{'phase':'Dancing'}}");
    assert_int_equal(schema_validate(kind, json, NULL, false, NULL), 0);
    struct err *err = NULL;
    assert_int_equal(schema_validate(kind, json, NULL, true, &err), -1);
    assert_int_equal(err_code(err), ERR_INVALID);
    assert_string_equal(err->causes[0].field, "status.phase");
    assert_string_equal(err->causes[0].reason, "FieldValueNotSupported");
    err_free(err);
}

static void test_hostile_sizes(void **state)
{
    auto_json json = from_text(POD("'containers':[],'volumes':[]"));
    for (int i = 0; i < 40000; i++)
        json_set_string(json_push(json_at(json, "spec.containers"), cJSON_CreateObject()), "name", "same");
    auto_free char *causes = validate(kind_of(*state, "pod"), json, NULL);
    assert_string_equal(causes, "spec.containers: Too many: 40000: must have at most 128 items");

    auto_json wrong = from_text("{" META "'spec':{" C ",'tolerations':[]}}");
    for (int i = 0; i < 200; i++)
        json_push(json_at(wrong, "spec.tolerations"), cJSON_CreateObject());
    struct err *err = NULL;
    assert_int_equal(schema_validate(kind_of(*state, "pod"), wrong, NULL, false, &err), -1);
    assert_true(err->n_causes <= 64);
    err_free(err);

    auto_json long_name = from_text("{" META "'spec':{" C "}}");
    char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    json_set_string(json_at(long_name, "spec"), "restartPolicy", text);
    auto_free char *shown = validate(kind_of(*state, "pod"), long_name, NULL);
    assert_true(strlen(shown) < 600);
}

static void test_generation_follows_spec(void **state)
{
    auto_json a = from_text("{'metadata':{'labels':{'x':'1'}},'spec':{'replicas':1},'status':{}}");
    auto_json b =
        from_text("{'metadata':{'labels':{'x':'2'}},'spec':{'replicas':1},'status':{'replicas':3}}");
    auto_json c = from_text("{'spec':{'replicas':2}}");
    const struct schema_kind *kind = kind_of(*state, "deploy");
    assert_false(schema_spec_changed(kind, a, b));
    assert_true(schema_spec_changed(kind, a, c));
    assert_false(schema_spec_changed(kind_of(*state, "cm"), a, c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_pod_basics),
        cmocka_unit_test(test_container_parts),
        cmocka_unit_test(test_volumes),
        cmocka_unit_test(test_refused_fields),
        cmocka_unit_test(test_host_ports),
        cmocka_unit_test(test_pod_update),
        cmocka_unit_test(test_spreading),
        cmocka_unit_test(test_affinity_terms),
        cmocka_unit_test(test_deployment),
        cmocka_unit_test(test_service),
        cmocka_unit_test(test_config_and_secret),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_custom_resource_definition),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_status_faults_count_only_for_status_writers),
        cmocka_unit_test(test_hostile_sizes),
        cmocka_unit_test(test_generation_follows_spec),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
