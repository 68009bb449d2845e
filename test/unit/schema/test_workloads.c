/* DaemonSet, StatefulSet, Job, CronJob: bad input with its path, and what an update may change (the table in
 * manifests/workloads/README.md). */
#include "schema_test.h"

#define META "'metadata':{'name':'x','namespace':'d'},"
#define TEMPLATE(more)                                                                                       \
    "'template':{'metadata':{'labels':{'a':'b'}},'spec':{'containers':[{'name':'c','image':'i:1'}]" more "}" \
    "}"
#define CLAIM(name)                                                                                          \
    "{'metadata':{'name':'" name "'},'spec':{'accessModes':['ReadWriteOnce'],'resources':{'requests':{"      \
    "'storage':'1Mi'}}}}"
#define SELECTED(more) "{" META "'spec':{'selector':{'matchLabels':{'a':'b'}}," TEMPLATE("") more "}}"
#define JOB(more) "{" META "'spec':{" TEMPLATE(",'restartPolicy':'Never'") more "}}"
#define CRON(more)                                                                                           \
    "{" META "'spec':{'jobTemplate':{'spec':{" TEMPLATE(",'restartPolicy':'Never'") "}}" more "}}"

static void expect(void **state, const char *word, const char *object, const char *wanted)
{
    expect_cause(state, word, NULL, object, wanted);
}

static char *long_name(const char *format, unsigned n)
{
    auto_free char *name = mem_alloc(n + 1);
    memset(name, 'n', n);
    return mem_printf(format, name);
}

/* Without labels there is nothing to select by: it must not come to select every pod. */
static void test_replication_controller(void **state)
{
    expect(state, "rc", "{" META "'spec':{" TEMPLATE("") "}}", "");
    expect(state, "rc", "{" META "'spec':{'template':{'spec':{'containers':[{'name':'c','image':'i:1'}]}}}}",
           "spec.selector: Required value");
    expect(state, "rc", "{" META "'spec':{'selector':{'a':'c'}," TEMPLATE("") "}}",
           "`selector` does not match template `labels`");
}

static void test_daemon_set(void **state)
{
    expect(state, "ds", SELECTED(""), "");
    expect(state, "ds", "{" META "'spec':{'selector':{'matchLabels':{'a':'other'}}," TEMPLATE("") "}}",
           "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template "
           "`labels`");
    expect(state, "ds", SELECTED(",'minReadySeconds':-1"), "spec.minReadySeconds: Invalid value: -1");
    expect(state, "ds", SELECTED(",'updateStrategy':{'type':'Recreate'}"),
           "spec.updateStrategy.type: Unsupported value: \"Recreate\"");
    expect(
        state, "ds", SELECTED(",'updateStrategy':{'rollingUpdate':{'maxUnavailable':0}}"),
        "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0 when maxSurge is 0");
    expect(state, "ds", SELECTED(",'updateStrategy':{'rollingUpdate':{'maxUnavailable':1,'maxSurge':'10%'}}"),
           "spec.updateStrategy.rollingUpdate.maxSurge");
    expect(state, "ds", SELECTED(",'updateStrategy':{'rollingUpdate':{'maxUnavailable':0,'maxSurge':'10%'}}"),
           "");
    expect_cause(
        state, "ds", SELECTED(""),
        "{" META
        "'spec':{'selector':{'matchExpressions':[{'key':'a','operator':'Exists'}]}," TEMPLATE("") "}}",
        "spec.selector: Invalid value");
    expect_cause(state, "ds", SELECTED(""), SELECTED(",'minReadySeconds':5,'revisionHistoryLimit':3"), "");
}

static void test_stateful_set(void **state)
{
    expect(state, "sts", SELECTED(",'serviceName':'db'"), "");
    expect(state, "sts", SELECTED(",'replicas':-2"), "spec.replicas: Invalid value: -2");
    expect(state, "sts", SELECTED(",'serviceName':'Not a name'"), "spec.serviceName: Invalid value");
    expect(state, "sts", SELECTED(",'volumeClaimTemplates':[{'metadata':{'name':'data'}}]"),
           "spec.volumeClaimTemplates[0].spec: Required value");
    expect(state, "sts", SELECTED(",'volumeClaimTemplates':[{'metadata':{},'spec':{}}]"),
           "spec.volumeClaimTemplates[0].metadata.name: Required value");
    expect(state, "sts", SELECTED(",'volumeClaimTemplates':[" CLAIM("a") "," CLAIM("a") "]"),
           "spec.volumeClaimTemplates[1].metadata.name: Duplicate value: \"a\"");
    expect(state, "sts",
           SELECTED(",'volumeClaimTemplates':[{'metadata':{'name':'a'},'spec':{'accessModes':['All']}}]"),
           "spec.volumeClaimTemplates[0].spec.accessModes[0]: Unsupported value: \"All\"");
    expect(state, "sts",
           "{" META "'spec':{'selector':{'matchLabels':{'a':'b'}},'volumeClaimTemplates':[" CLAIM(
               "data") "],'template':{'metadata':{'labels':{'a':'b'}},'spec':{'containers':[{'name':'c','"
                       "image':'i:1',"
                       "'volumeMounts':[{'name':'data','mountPath':'/data'}]}]}}}}",
           "");
    expect(state, "sts", SELECTED(",'updateStrategy':{'rollingUpdate':{'partition':-1}}"),
           "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1");
    static const char *const refused[] = {SELECTED(",'serviceName':'other'"),
                                          SELECTED(",'podManagementPolicy':'Parallel'"),
                                          SELECTED(",'volumeClaimTemplates':[" CLAIM("a") "]")};
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        expect_cause(state, "sts", SELECTED(""), refused[i],
                     "spec: Forbidden: updates to statefulset spec for fields other than");
    expect_cause(
        state, "sts", SELECTED(""),
        SELECTED(
            ",'replicas':9,'minReadySeconds':2,'ordinals':{'start':3},'updateStrategy':{'type':'OnDelete'},"
            "'revisionHistoryLimit':1,'persistentVolumeClaimRetentionPolicy':{'whenDeleted':'Delete'}"),
        "");
    auto_free char *object = long_name(
        "{'metadata':{'name':'%s','namespace':'d'},'spec':{'selector':{'matchLabels':{'a':'b'}}," TEMPLATE(
            "") "}}",
        60);
    expect(state, "sts", object, "metadata.name: Invalid value");
}

#define PER_INDEX(more) JOB(",'completionMode':'Indexed','completions':3,'backoffLimitPerIndex':1" more)
#define FAIL_INDEX                                                                                           \
    ",'podFailurePolicy':{'rules':[{'action':'FailIndex','onExitCodes':{'operator':'In','values':[42]}}]}"

static void test_job(void **state)
{
    expect(state, "job", JOB(""), "");
    expect(state, "job", "{" META "'spec':{" TEMPLATE("") "}}",
           "spec.template.spec.restartPolicy: Unsupported value: \"Always\": supported values: "
           "\"OnFailure\", \"Never\"");
    expect(state, "job", JOB(",'completions':-1"), "spec.completions: Invalid value: -1");
    expect(state, "job", JOB(",'backoffLimit':-1"), "spec.backoffLimit: Invalid value: -1");
    expect(state, "job", JOB(",'completionMode':'Indexed','parallelism':2"),
           "spec.completions: Required value");
    expect(state, "job", JOB(",'backoffLimitPerIndex':1"),
           "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode");
    expect(state, "job", JOB(",'completionMode':'Indexed','completions':3,'maxFailedIndexes':1"),
           "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified");
    expect(state, "job", PER_INDEX(",'maxFailedIndexes':3"), "");
    expect(state, "job", PER_INDEX(",'maxFailedIndexes':4"),
           "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions");
    expect(state, "job",
           "{" META "'spec':{'completionMode':'Indexed','completions':3,'backoffLimitPerIndex':1," TEMPLATE(
               ",'restartPolicy':'OnFailure'") "}}",
           "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when "
           "backoffLimitPerIndex is specified");
    expect(state, "job", PER_INDEX(FAIL_INDEX), "");
    expect(state, "job", JOB(FAIL_INDEX),
           "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the "
           "backoffLimitPerIndex to be set");
    expect_cause(state, "job", PER_INDEX(""), PER_INDEX(",'maxFailedIndexes':1"), "");
    expect_cause(state, "job", PER_INDEX(""), JOB(",'completionMode':'Indexed','completions':3"),
                 "spec.backoffLimitPerIndex: Invalid value");
    expect(state, "job", JOB(",'successPolicy':{'rules':[{'succeededCount':1}]}"),
           "spec.successPolicy: Invalid value");
    expect(state, "job",
           JOB(",'completionMode':'Indexed','completions':3,'successPolicy':{'rules':[{'succeededIndexes':'0-"
               "3'}]}"),
           "spec.successPolicy.rules[0].succeededIndexes: Invalid value");
    expect(state, "job", JOB(",'podFailurePolicy':{'rules':[{'action':'Ignore'}]}"),
           "spec.podFailurePolicy.rules[0]: Invalid value");
    expect(state, "job",
           JOB(",'podFailurePolicy':{'rules':[{'action':'FailJob','onExitCodes':{'operator':'In','values':[1,"
               "0]}}]}"),
           "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In "
           "operator");
    expect(state, "job", JOB(",'manualSelector':true"), "spec.selector: Required value");
    expect_cause(state, "job", JOB(""),
                 JOB(",'parallelism':4,'completions':1,'backoffLimit':9,'suspend':true"), "");
    expect_cause(state, "job", JOB(",'completions':2"), JOB(",'completions':3"),
                 "spec.completions: Invalid value: 3: field is immutable");
    expect_cause(state, "job", JOB(",'completionMode':'Indexed','completions':2,'parallelism':2"),
                 JOB(",'completionMode':'Indexed','completions':3,'parallelism':3"), "");
    expect_cause(state, "job", JOB(""), "{" META "'spec':{" TEMPLATE(",'restartPolicy':'OnFailure'") "}}",
                 "spec.template: Invalid value");
    auto_free char *object = long_name(
        "{'metadata':{'name':'%s','namespace':'d'},'spec':{" TEMPLATE(",'restartPolicy':'Never'") "}}", 300);
    expect(state, "job", object, "metadata.name: Invalid value");
}

static void test_cron_job(void **state)
{
    expect(state, "cj", CRON(",'schedule':'*/5 * * * *','timeZone':'Europe/Berlin'"), "");
    expect(state, "cj", CRON(""), "spec.schedule: Required value");
    expect(state, "cj", CRON(",'schedule':'every day'"),
           "spec.schedule: Invalid value: \"every day\": minute: failed to parse \"every\"");
    expect(state, "cj", CRON(",'schedule':'61 * * * *'"),
           "spec.schedule: Invalid value: \"61 * * * *\": minute: \"61\" is not within 0-59");
    expect(state, "cj", CRON(",'schedule':'@daily','timeZone':'Mars/Olympus'"),
           "spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus");
    expect(state, "cj", CRON(",'schedule':'@daily','timeZone':'Local'"),
           "spec.timeZone: Invalid value: \"Local\"");
    expect(state, "cj", CRON(",'schedule':'@daily','startingDeadlineSeconds':-5"),
           "spec.startingDeadlineSeconds: Invalid value: -5");
    expect(state, "cj", "{" META "'spec':{'schedule':'@daily','jobTemplate':{'spec':{" TEMPLATE("") "}}}}",
           "spec.jobTemplate.spec.template.spec.restartPolicy: Unsupported value: \"Always\"");
    expect_cause(state, "cj", CRON(",'schedule':'@daily'"),
                 "{" META "'spec':{'schedule':'@hourly','jobTemplate':{'spec':{'completions':7," TEMPLATE(
                     ",'restartPolicy':'OnFailure'") "}}}}",
                 "");
    auto_free char *object =
        long_name("{'metadata':{'name':'%s','namespace':'d'},'spec':{'schedule':'@daily','jobTemplate':{"
                  "'spec':{" TEMPLATE(",'restartPolicy':'Never'") "}}}}",
                  53);
    expect(state, "cj", object, "metadata.name: Invalid value");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_replication_controller),
                                       cmocka_unit_test(test_daemon_set), cmocka_unit_test(test_stateful_set),
                                       cmocka_unit_test(test_job), cmocka_unit_test(test_cron_job)};
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
