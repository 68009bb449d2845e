/* Storage: bad volumes, claims and classes are refused by path; what of them may change; their terms. */
#include "schema_test.h"

#define META "'metadata':{'name':'x','namespace':'d'},"
#define CLAIM(more, size)                                                                                    \
    "{" META "'spec':{'accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'" size "'}}" more  \
    "},'status':{'phase':'Bound'}}"
#define VOLUME(more)                                                                                         \
    "{'metadata':{'name':'x'},'spec':{'capacity':{'storage':'1Gi'},'accessModes':['ReadWriteOnce']," more "}}"
#define HOST "'hostPath':{'path':'/d'}"

static void test_claims(void **state)
{
    expect_causes(state, "pvc", NULL, CLAIM("", "1Gi"), "");
    expect_causes(state, "pvc", NULL, CLAIM(",'storageClassName':''", "1Gi"), "");
    expect_causes(state, "pvc", NULL, CLAIM("", "-1Gi"),
                  "spec.resources.requests[storage]: Invalid value: \"-1Gi\": must be greater than zero");
    expect_causes(state, "pvc", NULL, CLAIM("", "0"),
                  "spec.resources.requests[storage]: Invalid value: \"0\": must be greater than zero");
    expect_causes(state, "pvc", NULL, "{" META "'spec':{'accessModes':[],'resources':{'requests':{}}}}",
                  "spec.accessModes: Required value: at least 1 access mode is required\n"
                  "spec.resources.requests[storage]: Required value");
    expect_causes(state, "pvc", NULL, "{" META "'spec':{}}",
                  "spec.accessModes: Required value\nspec.resources: Required value");
    expect_causes(state, "pvc", NULL, CLAIM(",'volumeMode':'Block'", "1Gi"),
                  "spec.volumeMode: Unsupported value: \"Block\": supported values: \"Filesystem\"");
    expect_causes(state, "pvc", NULL, CLAIM(",'dataSource':{'kind':'VolumeSnapshot','name':'s'}", "1Gi"),
                  "spec.dataSource: Forbidden: volumes that begin as a copy or snapshot are not supported");
    expect_causes(state, "pvc", NULL,
                  "{" META "'spec':{'accessModes':['ReadWriteOncePod','ReadWriteOnce'],"
                  "'resources':{'requests':{'storage':'1'}}}}",
                  "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes");
}

static void test_claims_change(void **state)
{
    expect_causes(state, "pvc", CLAIM("", "1Gi"), CLAIM(",'volumeName':'v','storageClassName':'s'", "2Gi"),
                  "");
    expect_causes(
        state, "pvc", CLAIM(",'volumeName':'v'", "1Gi"), CLAIM(",'volumeName':'w'", "1Gi"),
        "spec: Forbidden: spec is immutable after creation except resources.requests of a bound claim");
    expect_causes(state, "pvc", CLAIM("", "2Gi"), CLAIM("", "1Gi"),
                  "spec.resources.requests[storage]: Forbidden: field can not be less than previous value");
}

static void test_volumes(void **state)
{
    expect_causes(state, "pv", NULL, VOLUME(HOST), "");
    expect_causes(state, "pv", NULL, VOLUME("'volumeMode':'Filesystem'"),
                  "spec: Required value: must specify a volume type");
    expect_causes(state, "pv", NULL, VOLUME(HOST ",'nfs':{'server':'s','path':'/e'}"),
                  "spec.nfs: Forbidden: may not specify more than 1 volume type");
    expect_causes(state, "pv", NULL, VOLUME("'hostPath':{'path':'/d/../etc'}"),
                  "spec.hostPath.path: Invalid value: \"/d/../etc\": must not contain '..'");
    expect_causes(state, "pv", NULL, VOLUME("'local':{'path':'/d'}"),
                  "spec.nodeAffinity: Required value: Local volume requires node affinity");
    expect_causes(state, "pv", NULL, VOLUME(HOST ",'mountOptions':['ro']"),
                  "spec.mountOptions: Forbidden: may not specify mount options for this volume type");
    expect_causes(
        state, "pv", NULL, VOLUME(HOST ",'persistentVolumeReclaimPolicy':'Recycle'"),
        "spec.persistentVolumeReclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Retain\", "
        "\"Delete\"");
    expect_causes(state, "pv", NULL, VOLUME(HOST ",'claimRef':{'kind':'Pod','name':'p'}"),
                  "spec.claimRef.namespace: Required value\n"
                  "spec.claimRef.kind: Invalid value: \"Pod\": must be PersistentVolumeClaim");
    expect_causes(state, "pv", VOLUME(HOST), VOLUME("'hostPath':{'path':'/other'}"),
                  "spec: Forbidden: spec.persistentvolumesource is immutable after creation");
}

#define SSHFS(attributes)                                                                                    \
    VOLUME("'csi':{'driver':'sshfs.minik8s.io','volumeHandle':'h','volumeAttributes':{" attributes           \
           "},'nodeStageSecretRef':{'name':'k','namespace':'d'}}")
#define KEY "'hostKey':'ssh-ed25519 AAAAC3Nz+/='"

static void test_sshfs(void **state)
{
    expect_causes(state, "pv", NULL,
                  SSHFS("'host':'a.b','path':'/e'," KEY ",'port':'22','user':'u','folder':'f'"), "");
    expect_causes(
        state, "pv", NULL, VOLUME("'csi':{'driver':'ebs.csi.aws.com','volumeHandle':'h'}"),
        "spec.csi.driver: Unsupported value: \"ebs.csi.aws.com\": supported values: \"sshfs.minik8s.io\"");
    static const struct {
        const char *attributes, *wanted;
    } bad[] = {
        {"'host':'-oProxyCommand=x','path':'/e'," KEY, "[host]"},
        {"'host':'h','path':'/e,o'," KEY, "[path]"},
        {"'host':'h','path':'e'," KEY, "[path]"},
        {"'host':'h','path':'/e'," KEY ",'port':'0'", "[port]"},
        {"'host':'h','path':'/e'," KEY ",'user':'a b'", "[user]"},
        {"'host':'h','path':'/e'," KEY ",'folder':'../x'", "[folder]"},
        {"'host':'h','path':'/e'," KEY ",'password':'x'", "[password]"},
        {"'host':'h','path':'/e','hostKey':'* ssh-rsa AAAA'", "[hostKey]"},
        {"'host':'h','path':'/e'", "[hostKey]"},
    };
    const struct schema_kind *kind = kind_of(*state, "pv");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        auto_free char *text = mem_printf(SSHFS("%s"), bad[i].attributes);
        auto_json json = from_text(text);
        auto_free char *causes = validate(kind, json, NULL);
        auto_free char *wanted = mem_printf("spec.csi.volumeAttributes%s: ", bad[i].wanted);
        if (!str_starts(causes, wanted) || strchr(causes, '\n'))
            fail_msg("%s: %s", bad[i].attributes, causes);
    }
}

#define CLASS(more) "{'metadata':{'name':'c'},'provisioner':" more "}"

static void test_classes(void **state)
{
    expect_causes(state, "sc", NULL, CLASS("'minik8s.io/local-path'"), "");
    expect_causes(state, "sc", NULL, CLASS("'example.com/any','parameters':{'x':'y'}"), "");
    expect_causes(state, "sc", NULL, CLASS("'minik8s.io/local-path','parameters':{'path':'/x'}"),
                  "parameters[path]: Forbidden: unknown to minik8s.io/local-path");
    expect_causes(
        state, "sc", NULL, CLASS("'minik8s.io/sshfs','parameters':{'host':'h','path':'/e'," KEY "}"),
        "parameters[csi.storage.k8s.io/node-stage-secret-name]: Required value: the Secret with "
        "ssh-privatekey\n"
        "parameters[csi.storage.k8s.io/node-stage-secret-namespace]: Required value: the Secret with "
        "ssh-privatekey");
    expect_causes(state, "sc", CLASS("'a.b/c','reclaimPolicy':'Delete'"),
                  CLASS("'a.b/c','reclaimPolicy':'Retain'"),
                  "reclaimPolicy: Invalid value: \"Retain\": field is immutable");
}

static bool has_term(char **terms, size_t count, const char *wanted)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(terms[i], wanted) == 0)
            return true;
    return false;
}

static void test_terms_lead_to_nodes_and_claims(void **state)
{
    size_t count = 0;
    auto_json volume = from_text("{'metadata':{'name':'v','annotations':{'minik8s.io/node':'n1'}},"
                                 "'spec':{'claimRef':{'namespace':'d','name':'c'}}}");
    auto_free char **terms = schema_terms(kind_of(*state, "pv"), volume, &count);
    assert_true(has_term(terms, count, "f:spec.nodeName=n1"));
    assert_true(has_term(terms, count, "f:spec.claimRef.name=c"));
    auto_json pod =
        from_text("{'metadata':{'name':'p','namespace':'d'},'spec':{'volumes':[{'name':'a','emptyDir':{}},"
                  "{'name':'b','ephemeral':{}},{'name':'c','persistentVolumeClaim':{'claimName':'data'}}]}}");
    auto_free char **of_pod = schema_terms(kind_of(*state, "pod"), pod, &count);
    assert_true(has_term(of_pod, count, "r:persistentvolumeclaims/d/data="));
    assert_true(has_term(of_pod, count, "r:persistentvolumeclaims/d/p-b="));
    assert_false(has_term(of_pod, count, "r:persistentvolumeclaims/d/p-a="));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims),  cmocka_unit_test(test_claims_change),
        cmocka_unit_test(test_volumes), cmocka_unit_test(test_sshfs),
        cmocka_unit_test(test_classes), cmocka_unit_test(test_terms_lead_to_nodes_and_claims),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
