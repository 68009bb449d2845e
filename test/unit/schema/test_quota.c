/* ResourceQuota and LimitRange: bad input with its path, in Kubernetes' words. */
#include "schema_test.h"

#define META "'metadata':{'name':'x','namespace':'d'},"
#define QUOTA(spec) "{" META "'spec':{" spec "}}"
#define RANGE(items) "{" META "'spec':{'limits':[" items "]}}"

static void test_quota(void **state)
{
    expect_cause(
        state, "quota", NULL,
        QUOTA("'hard':{'pods':'4','cpu':1,'limits.memory':'1Gi','count/deployments.apps':'2',"
              "'requests.nvidia.com/gpu':'1','fast.storageclass.storage.k8s.io/requests.storage':'1Gi',"
              "'hugepages-2Mi':'2Mi','services.loadbalancers':'0'}"),
        "");
    expect_cause(state, "quota", NULL, QUOTA("'hard':{'pod':'4'}"),
                 "spec.hard[pod]: Invalid value: \"pod\": must be a standard resource for quotas");
    expect_cause(state, "quota", NULL, QUOTA("'hard':{'pods':'-1'}"),
                 "spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0");
    expect_cause(state, "quota", NULL, QUOTA("'hard':{'pods':'1.5'}"),
                 "spec.hard[pods]: Invalid value: \"1.5\": must be an integer");
    expect_cause(state, "quota", NULL, QUOTA("'hard':{'memory':'much'}"), "spec.hard[memory]: Invalid value");
    expect_cause(state, "quota", NULL, QUOTA("'hard':{'pods':'1'},'scopes':['BestEffort','NotBestEffort']"),
                 "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes");
    expect_cause(state, "quota", NULL, QUOTA("'hard':{'cpu':'1'},'scopes':['BestEffort']"),
                 "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource");
    expect_cause(state, "quota", NULL, QUOTA("'hard':{'services':'1'},'scopes':['Terminating']"),
                 "unsupported scope applied to resource");
    expect_cause(state, "quota", NULL, QUOTA("'hard':{'pods':'1'},'scopes':['Sometimes']"),
                 "spec.scopes[0]: Unsupported value: \"Sometimes\"");
#define SELECT(text) QUOTA("'hard':{'pods':'1'},'scopeSelector':{'matchExpressions':[{" text "}]}")
    expect_cause(state, "quota", NULL, SELECT("'scopeName':'PriorityClass','operator':'In'"),
                 "spec.scopeSelector.matchExpressions[0].values: Required value");
    expect_cause(state, "quota", NULL,
                 SELECT("'scopeName':'PriorityClass','operator':'Exists','values':['a']"),
                 "spec.scopeSelector.matchExpressions[0].values: Invalid value");
    expect_cause(state, "quota", NULL, SELECT("'scopeName':'Terminating','operator':'DoesNotExist'"),
                 "spec.scopeSelector.matchExpressions[0].operator: Invalid value");
    expect_cause(state, "quota", QUOTA("'hard':{'pods':'1'}"),
                 QUOTA("'hard':{'pods':'1'},'scopes':['Terminating']"),
                 "spec.scopes: Invalid value: [\"Terminating\"]: field is immutable");
}

static void test_limit_range(void **state)
{
    expect_cause(state, "limits", NULL,
                 RANGE("{'type':'Container','max':{'cpu':'2'},'min':{'cpu':'1'},'default':{'cpu':'2'},"
                       "'defaultRequest':{'cpu':'1'},'maxLimitRequestRatio':{'cpu':'2'}},"
                       "{'type':'PersistentVolumeClaim','min':{'storage':'1Gi'}}"),
                 "");
    expect_cause(state, "limits", NULL, RANGE("{'type':'Container','max':{'cpu':'1'},'min':{'cpu':'2'}}"),
                 "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1");
    expect_cause(
        state, "limits", NULL,
        RANGE("{'type':'Container','default':{'cpu':'1'},'defaultRequest':{'cpu':'2'}}"),
        "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than "
        "default limit value 1");
    expect_cause(
        state, "limits", NULL, RANGE("{'type':'Container','default':{'cpu':'3'},'max':{'cpu':'2'}}"),
        "spec.limits[0].default[cpu]: Invalid value: \"3\": default value 3 is greater than max value 2");
    expect_cause(
        state, "limits", NULL, RANGE("{'type':'Container','maxLimitRequestRatio':{'cpu':'500m'}}"),
        "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1");
    expect_cause(
        state, "limits", NULL,
        RANGE("{'type':'Pod','max':{'cpu':'2'},'min':{'cpu':'1'},'maxLimitRequestRatio':{'cpu':'3'}}"),
        "ratio 3 is greater than max/min = 2.000000");
    expect_cause(state, "limits", NULL, RANGE("{'type':'Pod','default':{'cpu':'2'}}"),
                 "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'");
    expect_cause(state, "limits", NULL, RANGE("{'type':'PersistentVolumeClaim'}"),
                 "spec.limits[0]: Required value: either minimum or maximum storage value is required");
    expect_cause(state, "limits", NULL,
                 RANGE("{'type':'Pod','max':{'cpu':'2'}},{'type':'Pod','max':{'cpu':'3'}}"),
                 "spec.limits[1].type: Duplicate value: \"Pod\"");
    expect_cause(state, "limits", NULL, RANGE("{'type':'Node'}"),
                 "spec.limits[0].type: Unsupported value: \"Node\"");
    expect_cause(state, "limits", NULL, RANGE("{'type':'Pod','max':{'cpu':'-2'}}"),
                 "spec.limits[0].max[cpu]: Invalid value: \"-2\": must be greater than or equal to 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quota), cmocka_unit_test(test_limit_range)};
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
