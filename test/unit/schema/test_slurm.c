/* GPUJob and SlurmCluster: what Slurm would refuse is refused here, by path; what may change. */
#include "schema_test.h"

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
    const char *const malformed[] = {"'partition':'a b'",
                                     "'account':'a;b'",
                                     "'qos':'$x'",
                                     "'constraint':'a b'",
                                     "'gres':'gpu=1'",
                                     "'timeLimit':'1:99'",
                                     "'array':'a'",
                                     "'dependency':'after 5'",
                                     "'modules':['a b']",
                                     "'cluster':'Not A Name'",
                                     "'gpus':1,'gpuType':'h 100'"};
    for (size_t i = 0; i < COUNT_OF(malformed); i++) {
        auto_free char *job =
            mem_printf("{'metadata':{'name':'j','namespace':'d'},'spec':{" RUN ",%s}}", malformed[i]);
        auto_json json = from_text(job);
        auto_free char *causes = validate(kind_of(*state, "gpujob"), json, NULL);
        if (!strstr(causes, "Invalid value") || strchr(causes, '\n'))
            fail_msg("%s → %s", malformed[i], causes);
    }
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
        cmocka_unit_test(a_program_is_enough),     cmocka_unit_test(what_slurm_refuses),
        cmocka_unit_test(only_its_end_may_change), cmocka_unit_test(clusters),
        cmocka_unit_test(devices_are_whole),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
