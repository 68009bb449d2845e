/* Single objects: create, get, update, the four patches, delete; errors in Kubernetes' words. */
#include <time.h>

#include "api/api_internal.h"
#include "api_test.h"

#define PODS "/api/v1/namespaces/default/pods"
#define POD(name)                                                                                            \
    "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'" name "','labels':{'app':'web'}},"                 \
    "'spec':{'containers':[{'name':'c','image':'nginx:1'}]}}"
#define CONFIGMAPS "/api/v1/namespaces/default/configmaps"
#define CONFIGMAP(name) "{'metadata':{'name':'" name "'},'data':{'a':'1'}}"

static void test_create_and_get(void **state)
{
    struct world *w = *state;
    auto_reply made = ask(w, "POST", PODS, POD("p1"));
    assert_int_equal(made.status, 201);
    assert_at(made, "metadata.namespace", "default");
    assert_at(made, "metadata.creationTimestamp", "2023-11-14T22:13:20Z");
    assert_at(made, "status.phase", "Pending");
    assert_at(made, "status.qosClass", "BestEffort");
    assert_at(made, "spec.restartPolicy", "Always");
    assert_int_equal(strlen(text_at(&made, "metadata.uid")), 36);
    auto_reply got = ask(w, "GET", PODS "/p1", NULL);
    assert_int_equal(got.status, 200);
    assert_string_equal(got.text, made.text); /* the stored bytes are the wire bytes */
    assert_at(got, "kind", "Pod");
}

static void test_create_again(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", CONFIGMAPS, CONFIGMAP("a"));
    auto_reply again = ask(w, "POST", CONFIGMAPS, CONFIGMAP("a"));
    assert_int_equal(again.status, 409);
    assert_at(again, "reason", "AlreadyExists");
    assert_at(again, "message", "configmaps \"a\" already exists");
    assert_at(again, "details.kind", "configmaps");
    assert_at(again, "details.name", "a");
}

static void test_generate_name(void **state)
{
    struct world *w = *state;
    const char *body = "{'metadata':{'generateName':'job-'}}";
    auto_reply one = ask(w, "POST", CONFIGMAPS, body), two = ask(w, "POST", CONFIGMAPS, body);
    assert_int_equal(one.status, 201);
    assert_true(str_starts(text_at(&one, "metadata.name"), "job-"));
    assert_int_equal(strlen(text_at(&one, "metadata.name")), 9);
    assert_string_not_equal(text_at(&one, "metadata.name"), text_at(&two, "metadata.name"));
}

static void test_wrong_requests(void **state)
{
    struct world *w = *state;
    auto_reply missing = ask(w, "GET", PODS "/none", NULL);
    assert_int_equal(missing.status, 404);
    assert_at(missing, "message", "pods \"none\" not found");
    auto_reply namespace = ask(w, "POST", "/api/v1/namespaces/nowhere/configmaps", CONFIGMAP("a"));
    assert_int_equal(namespace.status, 404);
    assert_at(namespace, "message", "namespaces \"nowhere\" not found");
    expect(w, 404, "GET", "/api/v1/gadgets", NULL);
    expect(w, 404, "GET", "/apis/none.example/v1/gadgets", NULL);
    expect(w, 404, "GET", PODS "/p/unheard", NULL);
    expect(w, 405, "POST", "/api/v1/pods", POD("p"));
    expect(w, 405, "PUT", PODS, POD("p"));
    expect(w, 405, "BREW", PODS "/p", NULL);
    expect(w, 404, "GET", "/api/v1/namespaces/default/nodes/n", NULL);
    expect(w, 400, "POST", PODS, "{'kind':'Service'}");
    expect(w, 400, "POST", PODS, "{'metadata':{'namespace':'other','name':'x'}}");
    expect(w, 400, "POST", PODS, "[]");
    expect(w, 400, "POST", PODS, NULL);
    expect(w, 400, "POST", CONFIGMAPS, "{'metadata':{'name':'a','resourceVersion':'7'}}");
    auto_reply type = ask_type(w, "POST", PODS, "text/plain", POD("p"));
    assert_int_equal(type.status, 415);
    assert_at(type, "reason", "UnsupportedMediaType");
}

static void test_strict_json(void **state)
{
    struct world *w = *state;
    auto_reply twice = ask(w, "POST", CONFIGMAPS, "{'metadata':{'name':'a'},\n'metadata':{'name':'b'}}");
    assert_int_equal(twice.status, 400);
    assert_at(twice, "reason", "BadRequest");
    assert_non_null(strstr(text_at(&twice, "message"), "line 2"));
    expect(w, 400, "POST", CONFIGMAPS, "{'metadata':{'name':'a'}} x");
}

static void test_body_limit(void **state)
{
    struct world *w = *state;
    struct str body = {0};
    str_add(&body, "{'metadata':{'name':'big'},'data':{'a':'");
    str_reserve(&body, HTTP_MAX_BODY);
    while (body.len < HTTP_MAX_BODY)
        str_add(&body, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    str_add(&body, "'}}");
    auto_reply big = ask(w, "POST", CONFIGMAPS, str_c(&body));
    assert_int_equal(big.status, 413);
    assert_at(big, "reason", "RequestEntityTooLarge");
    str_free(&body);
}

static void test_invalid_has_causes(void **state)
{
    struct world *w = *state;
    auto_reply bad = ask(w, "POST", PODS, "{'metadata':{'name':'Not_A_Name'},'spec':{'containers':[]}}");
    assert_int_equal(bad.status, 422);
    assert_at(bad, "reason", "Invalid");
    assert_at(bad, "details.kind", "Pod");
    assert_true(cJSON_GetArraySize(json_at(bad.json, "details.causes")) >= 2);
    assert_true(str_starts(text_at(&bad, "message"), "Pod \"Not_A_Name\" is invalid: ["));
}

static void test_field_validation(void **state)
{
    struct world *w = *state;
    const char *typo =
        "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'i:1','imagee':'x'}]}}";
    auto_reply strict = ask(w, "POST", PODS "?fieldValidation=Strict", typo);
    assert_int_equal(strict.status, 400);
    assert_non_null(strstr(text_at(&strict, "message"), "unknown field \"spec.containers[0].imagee\""));
    auto_reply warn = ask(w, "POST", PODS "?fieldValidation=Warn", typo);
    assert_int_equal(warn.status, 201);
    assert_non_null(warn.warning);
    assert_true(str_starts(warn.warning, "299 - \""));
    assert_null(json_at(warn.json, "spec.containers[0].imagee"));
    expect(w, 200, "DELETE", PODS "/p", NULL);
    auto_reply ignore = ask(w, "POST", PODS "?fieldValidation=Ignore", typo);
    assert_int_equal(ignore.status, 201);
    assert_null(ignore.warning);
    expect(w, 400, "POST", PODS "?fieldValidation=Perhaps", typo);
}

static void test_dry_run(void **state)
{
    struct world *w = *state;
    auto_reply dry = ask(w, "POST", CONFIGMAPS "?dryRun=All", CONFIGMAP("dry"));
    assert_int_equal(dry.status, 201);
    assert_at(dry, "metadata.resourceVersion", "(absent)");
    expect(w, 404, "GET", CONFIGMAPS "/dry", NULL);
    expect(w, 201, "POST", CONFIGMAPS, CONFIGMAP("dry"));
    expect(w, 409, "POST", CONFIGMAPS "?dryRun=All", CONFIGMAP("dry"));
    auto_reply change = ask_type(w, "PATCH", CONFIGMAPS "/dry?dryRun=All", "application/merge-patch+json",
                                 "{'data':{'a':'2'}}");
    assert_at(change, "data.a", "2");
    auto_reply present = ask(w, "GET", CONFIGMAPS "/dry", NULL);
    assert_at(change, "metadata.resourceVersion", text_at(&present, "metadata.resourceVersion"));
    expect(w, 200, "DELETE", CONFIGMAPS "/dry", "{'dryRun':['All']}");
    auto_reply still = ask(w, "GET", CONFIGMAPS "/dry", NULL);
    assert_at(still, "data.a", "1");
    expect(w, 400, "POST", CONFIGMAPS "?dryRun=some", CONFIGMAP("x"));
}

static void test_update(void **state)
{
    struct world *w = *state;
    auto_reply made = ask(w, "POST", CONFIGMAPS, CONFIGMAP("u"));
    auto_free char *first = mem_strdup(text_at(&made, "metadata.resourceVersion"));
    /* without a resourceVersion: unconditional; uid and creation stay */
    auto_reply put = ask(w, "PUT", CONFIGMAPS "/u", "{'metadata':{'name':'u'},'data':{'a':'2'}}");
    assert_int_equal(put.status, 200);
    assert_at(put, "data.a", "2");
    assert_at(put, "metadata.uid", text_at(&made, "metadata.uid"));
    auto_free char *stale =
        mem_printf("{'metadata':{'name':'u','resourceVersion':'%s'},'data':{'a':'3'}}", first);
    auto_reply conflict = ask(w, "PUT", CONFIGMAPS "/u", stale);
    assert_int_equal(conflict.status, 409);
    assert_at(conflict, "reason", "Conflict");
    assert_non_null(strstr(text_at(&conflict, "message"), "the object has been modified"));
    expect(w, 409, "PUT", CONFIGMAPS "/u", "{'metadata':{'uid':'00000000-0000-4000-8000-000000000000'}}");
    expect(w, 400, "PUT", CONFIGMAPS "/u", "{'metadata':{'name':'other'}}");
    expect(w, 404, "PUT", CONFIGMAPS "/none", CONFIGMAP("none"));
    /* the same again is no new revision */
    auto_reply same = ask(w, "PUT", CONFIGMAPS "/u", "{'metadata':{'name':'u'},'data':{'a':'2'}}");
    assert_at(same, "metadata.resourceVersion", text_at(&put, "metadata.resourceVersion"));
}

static void test_patches(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", PODS, POD("p"));
    auto_reply merge = ask_type(w, "PATCH", PODS "/p", "application/merge-patch+json",
                                "{'metadata':{'labels':{'app':null,'tier':'x'}}}");
    assert_int_equal(merge.status, 200);
    assert_at(merge, "metadata.labels.tier", "x");
    assert_null(json_at(merge.json, "metadata.labels.app"));
    auto_reply strategic = ask_type(w, "PATCH", PODS "/p", "application/strategic-merge-patch+json",
                                    "{'spec':{'containers':[{'name':'c','image':'nginx:2'}]}}");
    assert_int_equal(strategic.status, 200);
    assert_at(strategic, "spec.containers[0].image", "nginx:2");
    assert_at(strategic, "spec.containers[0].imagePullPolicy",
              "IfNotPresent"); /* merged by name, not replaced */
    auto_reply json = ask_type(w, "PATCH", PODS "/p", "application/json-patch+json",
                               "[{'op':'add','path':'/metadata/annotations','value':{'k':'v'}}]");
    assert_int_equal(json.status, 200);
    assert_at(json, "metadata.annotations.k", "v");
    auto_reply nothing = ask_type(w, "PATCH", PODS "/p", "application/merge-patch+json",
                                  "{'metadata':{'labels':{'tier':'x'}}}");
    assert_at(nothing, "metadata.resourceVersion", text_at(&json, "metadata.resourceVersion"));
    auto_reply wrong = ask_type(w, "PATCH", PODS "/p", "application/json", "{}");
    assert_int_equal(wrong.status, 415);
    auto_reply stale = ask_type(w, "PATCH", PODS "/p", "application/merge-patch+json",
                                "{'metadata':{'resourceVersion':'1','labels':{'tier':'y'}}}");
    assert_int_equal(stale.status, 409);
    auto_reply bad = ask_type(w, "PATCH", PODS "/p", "application/json-patch+json",
                              "[{'op':'remove','path':'/spec/none'}]");
    assert_true(bad.status == 400 || bad.status == 422);
    auto_reply immutable =
        ask_type(w, "PATCH", PODS "/p", "application/merge-patch+json", "{'spec':{'restartPolicy':'Never'}}");
    assert_int_equal(immutable.status, 422);
}

static void test_apply(void **state)
{
    struct world *w = *state;
    const char *type = "application/apply-patch+yaml";
    auto_reply made =
        ask_type(w, "PATCH", CONFIGMAPS "/applied?fieldManager=kubectl", type,
                 "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: applied\ndata:\n  a: '1'\n");
    assert_int_equal(made.status, 201);
    auto_reply again =
        ask_type(w, "PATCH", CONFIGMAPS "/applied?fieldManager=helm&force=true", type,
                 "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'applied'},'data':{'b':'2'}}");
    assert_int_equal(again.status, 200);
    assert_at(again, "data.a", "1");
    assert_at(again, "data.b", "2");
}

static void test_status_and_spec_are_apart(void **state)
{
    struct world *w = *state;
    const char *path = "/apis/apps/v1/namespaces/default/deployments";
    const char *body =
        "{'metadata':{'name':'d'},'spec':{'replicas':2,'selector':{'matchLabels':{'a':'b'}},'template':"
        "{'metadata':{'labels':{'a':'b'}},'spec':{'containers':[{'name':'c','image':'i:1'}]}}},"
        "'status':{'replicas':9}}";
    auto_reply made = ask(w, "POST", path, body);
    assert_int_equal(made.status, 201);
    assert_null(json_at(made.json, "status.replicas"));
    assert_int_equal(json_int(made.json, "metadata.generation", 0), 1);
    auto_free char *one = mem_printf("%s/d", path), *status = mem_printf("%s/d/status", path),
                   *scale = mem_printf("%s/d/scale", path);
    auto_reply told = ask_type(w, "PATCH", status, "application/merge-patch+json",
                               "{'spec':{'replicas':7},'status':{'replicas':2,'observedGeneration':1}}");
    assert_int_equal(told.status, 200);
    assert_int_equal(json_int(told.json, "status.replicas", 0), 2);
    assert_int_equal(json_int(told.json, "spec.replicas", 0), 2);
    assert_int_equal(json_int(told.json, "metadata.generation", 0), 1);
    auto_reply scaled =
        ask_type(w, "PATCH", scale, "application/merge-patch+json", "{'spec':{'replicas':5}}");
    assert_int_equal(scaled.status, 200);
    assert_at(scaled, "kind", "Scale");
    assert_at(scaled, "status.selector", "a=b");
    auto_reply got = ask(w, "GET", one, NULL);
    assert_int_equal(json_int(got.json, "spec.replicas", 0), 5);
    assert_int_equal(json_int(got.json, "status.replicas", 0), 2);
    assert_int_equal(json_int(got.json, "metadata.generation", 0), 2);
    auto_reply read = ask(w, "GET", scale, NULL);
    assert_int_equal(json_int(read.json, "spec.replicas", 0), 5);
    auto_free char *stale = mem_printf("{'metadata':{'resourceVersion':'%s'},'spec':{'replicas':1}}",
                                       text_at(&made, "metadata.resourceVersion"));
    auto_reply refused = ask(w, "PUT", scale, stale);
    assert_int_equal(refused.status, 409);
    auto_reply negative =
        ask_type(w, "PATCH", scale, "application/merge-patch+json", "{'spec':{'replicas':-1}}");
    assert_int_equal(negative.status, 422);
    expect(w, 422, "PUT", scale, "{'spec':{'replicas':'2'}}");
    expect(w, 200, "PUT", scale, "{'metadata':{'name':'d','namespace':'default'},'spec':{}}");
    auto_reply none = ask(w, "GET", one, NULL);
    assert_int_equal(json_int(none.json, "spec.replicas", -1), 0);
}

static void test_secret_strings(void **state)
{
    struct world *w = *state;
    auto_reply made = ask(w, "POST", "/api/v1/namespaces/default/secrets",
                          "{'metadata':{'name':'s'},'stringData':{'password':'hunter2'}}");
    assert_int_equal(made.status, 201);
    assert_at(made, "data.password", "aHVudGVyMg==");
    assert_null(json_get(made.json, "stringData"));
    assert_at(made, "type", "Opaque");
}

/* More than a Secret may have: told so soon, also when they come as text. */
static void test_secret_of_too_many_strings(void **state)
{
    auto_str body = {0};
    str_add(&body, "{'metadata':{'name':'s'},'stringData':{");
    for (int i = 0; i < 100000; i++)
        str_addf(&body, "%s'k%d':''", i ? "," : "", i);
    str_add(&body, "}}");
    clock_t begin = clock();
    expect(*state, 422, "POST", "/api/v1/namespaces/default/secrets", str_c(&body));
    assert_true(clock() - begin < 15 * CLOCKS_PER_SEC);
}

static void take_code(struct op *op)
{
    *(int *)op->arg = op->code;
    op_free(op);
}

static int create_revision(struct world *w, cJSON *data)
{
    const struct schema_kind *kind = schema_find_word(w->schema, "controllerrevisions");
    int code = 0;
    struct op *op = op_new(w->api, OP_CREATE, kind, "default", "deep");
    op->body = cJSON_CreateObject();
    json_set_string(op->body, "kind", "ControllerRevision");
    json_set_string(op->body, "apiVersion", "apps/v1");
    json_set_string(json_ensure_object(op->body, "metadata"), "name", "deep");
    json_set(op->body, "data", data);
    json_set_int(op->body, "revision", 1);
    op->finished = take_code;
    op->arg = &code;
    op_run(op);
    while (!code)
        turn(w);
    return code;
}

/* Whatever way a body came: what could not be read any more is not stored. */
static void test_depth_of_what_is_stored(void **state)
{
    cJSON *data = cJSON_CreateNumber(1e15);
    for (int i = 0; i < JSON_MAX_DEPTH - 1; i++) {
        cJSON *outer = cJSON_CreateObject();
        json_set(outer, "a", data);
        data = outer;
    }
    cJSON *deeper = cJSON_CreateObject();
    json_set(deeper, "a", json_copy(data));
    assert_int_equal(create_revision(*state, deeper), 422);
    assert_int_equal(create_revision(*state, data), 201);
    const char *path = "/apis/apps/v1/namespaces/default/controllerrevisions/deep";
    auto_reply got = ask(*state, "GET", path, NULL);
    assert_int_equal(got.status, 200);
    auto_reply labelled =
        ask_type(*state, "PATCH", path, "application/merge-patch+json", "{'metadata':{'labels':{'a':'b'}}}");
    assert_int_equal(labelled.status, 200);
    expect(*state, 200, "DELETE", path, NULL);
}

#define CLASSES "/apis/scheduling.k8s.io/v1/priorityclasses"

static void test_priority_classes(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", CLASSES, "{'metadata':{'name':'high'},'value':1000,'preemptionPolicy':'Never'}");
    auto_reply pod =
        ask(w, "POST", "/api/v1/namespaces/default/pods",
            "{'metadata':{'name':'a'},'spec':{'priorityClassName':'high','containers':[{'name':'c',"
            "'image':'i'}]}}");
    assert_int_equal(json_int(pod.json, "spec.priority", 0), 1000);
    assert_at(pod, "spec.preemptionPolicy", "Never");
    auto_reply none =
        ask(w, "POST", "/api/v1/namespaces/default/pods",
            "{'metadata':{'name':'b'},'spec':{'priorityClassName':'low','containers':[{'name':'c',"
            "'image':'i'}]}}");
    assert_int_equal(none.status, 403);
    assert_at(none, "message", "pods \"b\" is forbidden: no PriorityClass with name low was found");
    auto_reply own =
        ask(w, "POST", "/api/v1/namespaces/default/pods",
            "{'metadata':{'name':'b'},'spec':{'priority':7,'containers':[{'name':'c','image':'i'}]}}");
    assert_int_equal(own.status, 403);
    assert_non_null(strstr(text_at(&own, "message"), "must not be provided in pod spec"));
    expect(w, 201, "POST", CLASSES, "{'metadata':{'name':'usual'},'value':5,'globalDefault':true}");
    auto_reply second =
        ask(w, "POST", CLASSES, "{'metadata':{'name':'other'},'value':6,'globalDefault':true}");
    assert_int_equal(second.status, 403);
    auto_reply usual = ask(w, "POST", "/api/v1/namespaces/default/pods",
                           "{'metadata':{'name':'c'},'spec':{'containers':[{'name':'c','image':'i'}]}}");
    assert_int_equal(json_int(usual.json, "spec.priority", 0), 5);
    assert_at(usual, "spec.priorityClassName", "usual");
    expect(w, 422, "POST", CLASSES, "{'metadata':{'name':'system-mine'},'value':5}");
    expect(w, 422, "POST", CLASSES, "{'metadata':{'name':'huge'},'value':1000000001}");
    expect(w, 422, "POST", CLASSES, "{'metadata':{'name':'none'}}");
    auto_reply changed = ask_type(w, "PATCH", CLASSES "/high", "application/merge-patch+json", "{'value':1}");
    assert_int_equal(changed.status, 422);
}

static void test_gates(void **state)
{
    struct world *w = *state;
    auto_reply pod =
        ask(w, "POST", "/api/v1/namespaces/default/pods",
            "{'metadata':{'name':'a'},'spec':{'schedulingGates':[{'name':'wait'}],'containers':[{'name':"
            "'c','image':'i'}]}}");
    assert_at(pod, "status.conditions[0].reason", "SchedulingGated");
    expect(w, 409, "POST", "/api/v1/namespaces/default/pods/a/binding", "{'target':{'name':'n'}}");
    auto_reply more =
        ask_type(w, "PATCH", "/api/v1/namespaces/default/pods/a", "application/merge-patch+json",
                 "{'spec':{'schedulingGates':[{'name':'wait'},{'name':'longer'}]}}");
    assert_int_equal(more.status, 422);
    assert_non_null(strstr(text_at(&more, "message"), "spec.schedulingGates"));
    auto_reply open = ask_type(w, "PATCH", "/api/v1/namespaces/default/pods/a",
                               "application/merge-patch+json", "{'spec':{'schedulingGates':null}}");
    assert_int_equal(open.status, 200);
    expect(w, 201, "POST", "/api/v1/namespaces/default/pods/a/binding", "{'target':{'name':'n'}}");
}

static bool is_there(struct world *w, const char *path)
{
    auto_reply got = ask(w, "GET", path, NULL);
    return got.status == 200;
}

/* Leases outlive the server, and a list of all has each once; what nodes and managers renew stays in memory.
 */
static void test_leases(void **state)
{
    struct world *w = *state;
#define LEASES_OF(namespace) "/apis/coordination.k8s.io/v1/namespaces/" namespace "/leases"
    struct store_lmdb_stats before, after;
    store_lmdb_stats(w->store, &before);
    expect(w, 201, "POST", LEASES_OF("kube-node-lease"), "{'metadata':{'name':'n1'}}");
    expect(w, 201, "POST", LEASES_OF("kube-system"), "{'metadata':{'name':'minik8s-manager'}}");
    auto_reply beat = ask_type(w, "PATCH", LEASES_OF("kube-node-lease") "/n1", "application/merge-patch+json",
                               "{'spec':{'holderIdentity':'n1'}}");
    assert_at(beat, "spec.holderIdentity", "n1");
    store_lmdb_stats(w->store, &after);
    assert_int_equal(after.commits, before.commits);

    expect(w, 201, "POST", LEASES_OF("default"), "{'metadata':{'name':'app'},'spec':{'holderIdentity':'a'}}");
    expect(w, 201, "POST", LEASES_OF("kube-system"),
           "{'metadata':{'name':'app'},'spec':{'holderIdentity':'b'}}");
    auto_reply taken = ask_type(w, "PATCH", LEASES_OF("default") "/app", "application/merge-patch+json",
                                "{'spec':{'holderIdentity':'c'}}");
    assert_int_equal(taken.status, 200);
    auto_reply all = ask(w, "GET", "/apis/coordination.k8s.io/v1/leases", NULL);
    assert_int_equal(cJSON_GetArraySize(json_get(all.json, "items")), 4);
    world_close(w);
    world_open(w);
    auto_reply kept = ask(w, "GET", LEASES_OF("default") "/app", NULL);
    assert_string_equal(text_at(&kept, "spec.holderIdentity"), "c");
    assert_true(is_there(w, LEASES_OF("kube-system") "/app"));
    assert_false(is_there(w, LEASES_OF("kube-system") "/minik8s-manager"));
    assert_false(is_there(w, LEASES_OF("kube-node-lease") "/n1"));
    expect(w, 200, "DELETE", LEASES_OF("default") "/app", NULL);
    auto_reply rest = ask(w, "GET", "/apis/coordination.k8s.io/v1/leases", NULL);
    assert_int_equal(cJSON_GetArraySize(json_get(rest.json, "items")), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create_and_get, setup, teardown),
        cmocka_unit_test_setup_teardown(test_create_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_generate_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strict_json, setup, teardown),
        cmocka_unit_test_setup_teardown(test_body_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_invalid_has_causes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_field_validation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dry_run, setup, teardown),
        cmocka_unit_test_setup_teardown(test_update, setup, teardown),
        cmocka_unit_test_setup_teardown(test_patches, setup, teardown),
        cmocka_unit_test_setup_teardown(test_apply, setup, teardown),
        cmocka_unit_test_setup_teardown(test_status_and_spec_are_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_secret_strings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_secret_of_too_many_strings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_depth_of_what_is_stored, setup, teardown),
        cmocka_unit_test_setup_teardown(test_priority_classes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leases, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
