/* GPUJob and SlurmCluster: what Slurm would refuse is refused here, by path; what may change. */
#include "schema_test.h"

#include "base/file.h"

#define JOB(spec) "{'metadata':{'name':'j','namespace':'d'},'spec':{" spec "}}"
#define RUN "'run':'true'"

static void a_program_is_enough(void **state)
{
    expect_causes(state, "gpujob", NULL, JOB(RUN), "");
    expect_causes(state, "gpujob", NULL, JOB("'sources':{'inline':{'a.cu':'x'}}"), "");
    expect_causes(
        state, "gpujob", NULL, JOB(""),
        "spec.run: Required value: a program is needed: run, or sources.inline with a .cu file and no build");
    expect_causes(
        state, "gpujob", NULL, JOB("'sources':{'inline':{'a.cu':'x'}},'build':'make'"),
        "spec.run: Required value: a program is needed: run, or sources.inline with a .cu file and no build");
    expect_causes(
        state, "gpujob", NULL,
        JOB(RUN ",'partition':'gpu,long','account':'a','qos':'q','constraint':'a|b','nodes':2,'tasks':2,'"
                "gpus':1,'gpuType':'h100',"
                "'memory':'1Gi','timeLimit':'1-00:30:00','modules':['cuda/12.4'],'environment':{'A_1':'b "
                "c'},'array':'0-9:3,20%2',"
                "'dependency':'afterok:1:2,singleton','outputs':['out/*.dat']"),
        "");
}

static void what_slurm_refuses(void **state)
{
    const struct {
        const char *spec, *causes;
    } all[] = {
        {RUN ",'gpus':1,'gres':'gpu:1'", "spec.gres: Forbidden: may not be given together with gpus"},
        {RUN ",'gpuType':'h100'", "spec.gpuType: Forbidden: needs gpus of at least 1"},
        {RUN ",'nodes':3,'tasks':2",
         "spec.tasks: Invalid value: 2: must not be below nodes: each node runs a task"},
        {RUN ",'timeLimit':'0:00'", "spec.timeLimit: Invalid value: \"0:00\": must be greater than zero"},
        {RUN ",'memory':'0'", "spec.memory: Invalid value: \"0\": must be greater than zero"},
        {RUN ",'maxOutputSize':'1Gi'", "spec.maxOutputSize: Invalid value: \"1Gi\": must be at most 256Mi"},
        {RUN ",'array':'5-2'", "spec.array: Invalid value: \"5-2\": a range must not end before it begins"},
        {RUN ",'array':'0-9:0'", "spec.array: Invalid value: \"0-9:0\": a step must not be 0"},
        {RUN ",'array':'0-9%0'",
         "spec.array: Invalid value: \"0-9%0\": at least one task must be allowed to run"},
        {RUN ",'environment':{'1A':'x'}", "spec.environment[1A]: Invalid value: \"1A\": a variable's name is "
                                          "made of letters, digits and _, not a digit first"},
        {RUN ",'environment':{'SLURM_X':'x'}",
         "spec.environment[SLURM_X]: Forbidden: names that begin with SLURM_ are Slurm's own"},
        {RUN ",'outputs':['ok','../x']",
         "spec.outputs[1]: Invalid value: \"../x\": must not lead out of the job's folder nor name a folder"},
        {RUN ",'sources':{'inline':{'/etc/x':''}}",
         "spec.sources.inline[/etc/x]: Invalid value: \"/etc/x\": must be the name of a file below the job's "
         "folder, at most 255 bytes"},
        {RUN ",'sources':{'inline':{'.minik8s/rc':''}}",
         "spec.sources.inline[.minik8s/rc]: Invalid value: \".minik8s/rc\": must not begin with .minik8s"},
    };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        auto_free char *job =
            mem_printf("{'metadata':{'name':'j','namespace':'d'},'spec':{%s}}", all[i].spec);
        expect_causes(state, "gpujob", NULL, job, all[i].causes);
    }
}

/* A value that is refused for every field, and the path that tells it. */
static const struct {
    const char *path, *spec;
} refused[] = {
    {"spec.cluster", "'cluster':'Not A Name'"},
    {"spec.sources.inline", "'sources':{'inline':{'../x':''}}"},
    {"spec.sources.configMap.name", "'sources':{'configMap':{'name':'Not A Name'}}"},
    {"spec.sources.upload.digest", "'sources':{'upload':{'digest':'1234'}}"},
    {"spec.build", "'build':7"},
    {"spec.run", "'run':7"},
    {"spec.partition", "'partition':'a b'"},
    {"spec.account", "'account':'a;b'"},
    {"spec.qos", "'qos':'$x'"},
    {"spec.constraint", "'constraint':'a b'"},
    {"spec.nodes", "'nodes':0"},
    {"spec.tasks", "'tasks':2000000"},
    {"spec.cpusPerTask", "'cpusPerTask':70000"},
    {"spec.memory", "'memory':'1 GB'"},
    {"spec.memory", "'memory':'-1'"},
    {"spec.gpus", "'gpus':-1"},
    {"spec.gpuType", "'gpus':1,'gpuType':'h 100'"},
    {"spec.gres", "'gres':'gpu=1'"},
    {"spec.timeLimit", "'timeLimit':'1:99'"},
    {"spec.timeLimit", "'timeLimit':'soon'"},
    {"spec.modules[1]", "'modules':['a','a b']"},
    {"spec.environment[A]", "'environment':{'A':7}"},
    {"spec.array", "'array':'a'"},
    {"spec.array", "'array':'0-2000000'"},
    {"spec.dependency", "'dependency':'after 5'"},
    {"spec.dependency", "'dependency':'afterok:1,afterany:2?singleton'"},
    {"spec.outputs[0]", "'outputs':['/etc/passwd']"},
    {"spec.maxOutputSize", "'maxOutputSize':'much'"},
    {"spec.maxOutputSize", "'maxOutputSize':'-1Mi'"},
    {"spec.cancel", "'cancel':'yes'"},
    {"spec.ttlSecondsAfterFinished", "'ttlSecondsAfterFinished':-1"},
    {"spec.gpu", "'gpu':1"}, /* no such field */
};

static void every_field_is_refused_by_its_path(void **state)
{
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        bool own_run = strcmp(refused[i].path, "spec.run") == 0;
        auto_free char *job = mem_printf("{'metadata':{'name':'j','namespace':'d'},'spec':{%s%s}}",
                                         own_run ? "" : RUN ",", refused[i].spec);
        auto_json json = from_text(job);
        struct err *err = NULL;
        const struct schema_kind *kind = kind_of(*state, "gpujob");
        int result = schema_check(kind, json, SCHEMA_STRICT, NULL, &err);
        auto_free char *causes = result < 0 ? causes_of(err) : validate(kind, json, NULL);
        const char *at = strstr(causes, refused[i].path);
        if (!at || !strchr(":[\"", at[strlen(refused[i].path)]) || strchr(causes, '\n'))
            fail_msg("%s → %s", refused[i].spec, causes);
    }
}

/* test/golden/fields.tsv names all fields that there are. */
static void no_field_is_left_out(void **state)
{
    (void)state;
    auto_free char *text = NULL;
    size_t n = 0, len = 0, fields = 0;
    assert_int_equal(file_read(MINIK8S_SOURCE_DIR "/test/golden/fields.tsv", 4 << 20, &text, &len, NULL), 0);
    auto_free char **lines = str_split(text, '\n', &n);
    for (size_t i = 0; i < n; i++) {
        if (!str_starts(lines[i], "GPUJob\tspec."))
            continue;
        const char *path = strchr(lines[i], '\t') + 1;
        size_t path_len = strcspn(path, "\t[");
        bool found = false;
        for (size_t at = 0; at < COUNT_OF(refused); at++)
            found = found || (strncmp(refused[at].path, path, path_len) == 0 &&
                              strcspn(refused[at].path, "[") == path_len);
        if (!found)
            fail_msg("no refused value for %.*s", (int)path_len, path);
        fields++;
    }
    assert_in_range(fields, 20, 100);
}

static void only_its_end_may_change(void **state)
{
    expect_causes(state, "gpujob", JOB(RUN), JOB(RUN ",'cancel':true,'ttlSecondsAfterFinished':5"), "");
    expect_causes(state, "gpujob", JOB(RUN), JOB("'run':'false'"),
                  "spec: Forbidden: only cancel and ttlSecondsAfterFinished may change: make another job");
    expect_causes(state, "gpujob", JOB(RUN ",'cancel':true"), JOB(RUN),
                  "spec.cancel: Forbidden: what is cancelled stays so");
    expect_causes(
        state, "gpujob", NULL,
        "{'metadata':{'name':'a123456789012345678901234567890123456789012345678901234','namespace':'d'},'"
        "spec':{" RUN "}}",
        "metadata.name: Too long: may not be more than 52 bytes");
}

/* A submitter that was cut off may report to a job that another has brought to its end. */
static void what_has_ended_stays(void **state)
{
    static const char ended[] = "{'metadata':{'name':'j','namespace':'d'},'spec':{" RUN
                                "},'status':{'state':'Failed','slurmId':1,'done':true}}";
    auto_json old = from_text(ended);
    auto_json same = from_text(ended);
    auto_json other = from_text(ended);
    const struct schema_kind *kind = kind_of(*state, "gpujob");
    struct err *err = NULL;
    schema_default(kind, old);
    schema_default(kind, same);
    schema_default(kind, other);
    json_set_at(same, "status.message", cJSON_CreateString("x"));
    json_set_at(other, "status.slurmId", cJSON_CreateNumber(2));
    assert_int_equal(schema_validate(kind, same, old, true, &err), 0);
    assert_int_equal(schema_validate(kind, other, old, true, &err), -1);
    auto_free char *causes = causes_of(err);
    assert_string_equal(causes, "status.slurmId: Forbidden: the job has ended");
}

#define CLUSTER(more)                                                                                        \
    "{'metadata':{'name':'c','namespace':'d'},'spec':{'secretName':'s','directory':'/srv/jobs'" more "}}"

static void clusters(void **state)
{
    expect_causes(state, "slurmcluster", NULL, CLUSTER(",'rest':{'url':'http://login:6820'}"), "");
    expect_causes(state, "slurmcluster", NULL, CLUSTER(",'ssh':{'host':'login'}"), "");
    expect_causes(state, "slurmcluster", NULL, CLUSTER(""),
                  "spec.rest: Required value: one of rest and ssh is needed");
    expect_causes(state, "slurmcluster", NULL, CLUSTER(",'rest':{'url':'http://a'},'ssh':{'host':'b'}"),
                  "spec.ssh: Forbidden: may not be given together with rest");
    expect_causes(state, "slurmcluster", NULL,
                  CLUSTER(",'ssh':{'host':'b'},'volume':{'hostPath':{'path':'/x'}}"),
                  "spec.volume: Forbidden: is for rest: over ssh files travel through it");
    expect_causes(state, "slurmcluster", NULL,
                  "{'metadata':{'name':'c','namespace':'d'},'spec':{'secretName':'s','directory':'/a/../"
                  "b','ssh':{'host':'b'}}}",
                  "spec.directory: Invalid value: \"/a/../b\": must not contain '..'");
}

#define POD(resources)                                                                                       \
    "{'metadata':{'name':'p','namespace':'d'},'spec':{'containers':[{'name':'c','image':'i','resources':"    \
    "{" resources "}}]}}"

static void devices_are_whole(void **state)
{
    expect_causes(state, "pod", NULL, POD("'limits':{'nvidia.com/gpu':'2','cpu':'500m'}"), "");
    expect_causes(state, "pod", NULL,
                  POD("'limits':{'nvidia.com/gpu':'2'},'requests':{'nvidia.com/gpu':'2'}"), "");
    expect_causes(
        state, "pod", NULL, POD("'limits':{'nvidia.com/gpu':'500m'}"),
        "spec.containers[0].resources.limits[nvidia.com/gpu]: Invalid value: \"500m\": must be an integer\n"
        "spec.containers[0].resources.requests[nvidia.com/gpu]: Invalid value: \"500m\": must be an integer");
    expect_causes(
        state, "pod", NULL, POD("'requests':{'nvidia.com/gpu':'1'}"),
        "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable "
        "resources");
    expect_causes(
        state, "pod", NULL, POD("'limits':{'nvidia.com/gpu':'2'},'requests':{'nvidia.com/gpu':'1'}"),
        "spec.containers[0].resources.requests[nvidia.com/gpu]: Invalid value: \"1\": must be equal to "
        "nvidia.com/gpu limit of 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_is_enough),
        cmocka_unit_test(what_slurm_refuses),
        cmocka_unit_test(every_field_is_refused_by_its_path),
        cmocka_unit_test(no_field_is_left_out),
        cmocka_unit_test(only_its_end_may_change),
        cmocka_unit_test(what_has_ended_stays),
        cmocka_unit_test(clusters),
        cmocka_unit_test(devices_are_whole),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
