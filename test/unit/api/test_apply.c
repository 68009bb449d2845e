/* Server-side apply: who owns what, conflicts and force, what goes with the one who dropped it, objects that
 * were there before, what clients write into managedFields; and a model against random managers. */
#include "api_test.h"

#define APPLY "application/apply-patch+yaml"
#define MERGE "application/merge-patch+json"
#define MAPS "/api/v1/namespaces/default/configmaps"
#define DEPLOYMENTS "/apis/apps/v1/namespaces/default/deployments"

static struct reply apply_to(struct world *w, const char *target, const char *manager, bool force,
                             const char *config)
{
    auto_free char *url = mem_printf("%s?fieldManager=%s%s", target, manager, force ? "&force=true" : "");
    return ask_type(w, "PATCH", url, APPLY, config);
}

#define CONFIG(data) "{'apiVersion':'v1','kind':'ConfigMap','metadata':{'name':'c'},'data':" data "}"

static struct reply apply_data(struct world *w, const char *manager, bool force, const char *data)
{
    auto_free char *config = mem_printf(CONFIG("%s"), data);
    return apply_to(w, MAPS "/c", manager, force, config);
}

static void assert_text(const cJSON *json, const char *wanted)
{
    auto_free char *is = json ? json_print(json) : mem_strdup("(absent)"), *should = quoted(wanted);
    assert_string_equal(is, should);
}

#define assert_json_at(reply, path, wanted) assert_text(json_at((reply).json, path), wanted)

/* "NAME OPERATION[ SUBRESOURCE] FIELDS" of every entry, a line each. */
static char *managers_of(const struct reply *reply)
{
    auto_str text = {0};
    const cJSON *entries = json_at(reply->json, "metadata.managedFields");
    json_each (entry, entries) {
        const char *part = json_string(entry, "subresource");
        assert_string_equal(json_string_or(entry, "fieldsType", ""), "FieldsV1");
        auto_free char *fields = json_print(json_get(entry, "fieldsV1"));
        str_addf(&text, "%s %s%s%s %s\n", json_string(entry, "manager"), json_string(entry, "operation"),
                 part ? " " : "", part ? part : "", fields);
    }
    return mem_strdup(str_c(&text));
}

static void expect_managers(const struct reply *reply, const char *wanted)
{
    auto_free char *is = managers_of(reply), *should = quoted(wanted);
    assert_string_equal(is, should);
}

static void test_apply_creates_and_does_not_write_twice(void **state)
{
    struct world *w = *state;
    auto_reply made = apply_data(w, "a", false, "{'k':'1'}");
    assert_int_equal(made.status, 201);
    assert_json_at(made, "metadata.managedFields",
                   "[{'manager':'a','operation':'Apply','apiVersion':'v1','fieldsType':'FieldsV1',"
                   "'fieldsV1':{'f:data':{'f:k':{}}},'time':'2023-11-14T22:13:20Z'}]");
    loop_run_until(w->loop, loop_now_ms(w->loop) + 5000);
    auto_reply again = apply_data(w, "a", false, "{'k':'1'}");
    assert_int_equal(again.status, 200);
    assert_string_equal(again.text, made.text);
    auto_reply other = apply_data(w, "b", false, "{'k':'1'}"); /* the same value: both own it */
    assert_int_equal(other.status, 200);
    expect_managers(&other, "a Apply {'f:data':{'f:k':{}}}\nb Apply {'f:data':{'f:k':{}}}\n");
    assert_at(other, "metadata.managedFields[0].time", "2023-11-14T22:13:20Z");
    assert_at(other, "metadata.managedFields[1].time", "2023-11-14T22:13:25Z");
}

static void test_what_is_left_out_goes(void **state)
{
    struct world *w = *state;
    auto_reply one = apply_data(w, "a", false, "{'x':'1','y':'2'}");
    auto_reply two = apply_data(w, "b", false, "{'y':'2','z':'3'}");
    auto_reply less = apply_data(w, "a", false, "{}");
    assert_json_at(less, "data", "{'y':'2','z':'3'}");
    auto_reply none = apply_data(w, "b", false, "{'z':'3'}");
    assert_json_at(none, "data", "{'z':'3'}");
}

static void test_conflicts(void **state)
{
    struct world *w = *state;
    auto_reply made = apply_data(w, "a", false, "{'x':'1','y':'1'}");
    auto_reply one = apply_data(w, "b", false, "{'x':'2'}");
    assert_int_equal(one.status, 409);
    assert_at(one, "reason", "Conflict");
    assert_at(one, "message", "Apply failed with 1 conflict: conflict with \"a\": .data.x");
    assert_json_at(one, "details.causes",
                   "[{'reason':'FieldManagerConflict','message':'conflict with \\'a\\'','field':'.data.x'}]");
    auto_reply two = apply_data(w, "b", false, "{'x':'2','y':'2'}");
    assert_at(two, "message", "Apply failed with 2 conflicts: conflicts with \"a\":\n- .data.x\n- .data.y");
    auto_reply got = ask(w, "GET", MAPS "/c", NULL);
    assert_string_equal(got.text, made.text);
    auto_reply taken = apply_data(w, "b", true, "{'x':'2'}");
    assert_int_equal(taken.status, 200);
    expect_managers(&taken, "a Apply {'f:data':{'f:y':{}}}\nb Apply {'f:data':{'f:x':{}}}\n");
    auto_reply back = apply_data(w, "a", false, "{'y':'1'}"); /* no longer a's to drop */
    assert_json_at(back, "data", "{'x':'2','y':'1'}");
    auto_reply dry = ask_type(w, "PATCH", MAPS "/c?fieldManager=c&dryRun=All", APPLY, CONFIG("{'x':'3'}"));
    assert_int_equal(dry.status, 409);
}

static void test_other_writes_own_what_they_change(void **state)
{
    struct world *w = *state;
    auto_reply made = apply_data(w, "a", false, "{'x':'1','y':'1','z':'1'}");
    auto_reply edited = ask_type(w, "PATCH", MAPS "/c?fieldManager=kubectl-edit", MERGE,
                                 "{'data':{'x':'2','y':null,'n':'1'}}");
    expect_managers(&edited, "a Apply {'f:data':{'f:z':{}}}\n"
                             "kubectl-edit Update {'f:data':{'f:n':{},'f:x':{}}}\n");
    auto_reply refused = apply_data(w, "a", false, "{'x':'1','y':'1','z':'1'}");
    assert_int_equal(refused.status, 409);
    assert_at(refused, "details.causes[0].message",
              "conflict with \"kubectl-edit\" using v1 at 2023-11-14T22:13:20Z");
    cJSON *put = json_copy(edited.json);
    json_set_string(json_get(put, "data"), "n", "2");
    json_remove(json_get(put, "metadata"), "managedFields"); /* a client that knows nothing of it */
    auto_free char *text = json_print(put);
    cJSON_Delete(put);
    auto_reply replaced = ask(w, "PUT", MAPS "/c?fieldManager=p", text);
    assert_int_equal(replaced.status, 200);
    expect_managers(&replaced, "a Apply {'f:data':{'f:z':{}}}\nkubectl-edit Update {'f:data':{'f:x':{}}}\n"
                               "p Update {'f:data':{'f:n':{}}}\n");
}

static void test_an_object_that_was_there_before(void **state)
{
    struct world *w = *state;
    auto_reply made = ask(w, "POST", MAPS, CONFIG("{'x':'1','y':'1'}"));
    assert_null(json_at(made.json, "metadata.managedFields"));
    auto_reply patched = ask_type(w, "PATCH", MAPS "/c?fieldManager=e", MERGE, "{'data':{'z':'1'}}");
    assert_null(json_at(patched.json, "metadata.managedFields")); /* costs nothing until somebody applies */
    auto_reply refused = apply_data(w, "a", false, "{'x':'2'}");
    assert_at(refused, "message",
              "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.x");
    auto_reply shared = apply_data(w, "a", false, "{'x':'1','n':'1'}");
    assert_int_equal(shared.status, 200);
    expect_managers(&shared, "before-first-apply Update {'f:data':{'f:x':{},'f:y':{},'f:z':{}}}\n"
                             "a Apply {'f:data':{'f:n':{},'f:x':{}}}\n");
}

#define LAST "kubectl.kubernetes.io/last-applied-configuration"

/* kubectl apply, then kubectl apply --server-side: what it wrote itself is no conflict, what others did is.
 */
static void test_from_client_side_apply(void **state)
{
    struct world *w = *state;
    const char *made =
        "{'metadata':{'name':'c','annotations':{'" LAST "':"
        "'{\\'apiVersion\\':\\'v1\\',\\'kind\\':\\'ConfigMap\\',\\'metadata\\':{\\'name\\':\\'c\\'},"
        "\\'data\\':{\\'x\\':\\'1\\',\\'y\\':\\'1\\'}}'}},'data':{'x':'1','y':'2','z':'1'}}";
    expect(w, 201, "POST", MAPS, made);
    auto_reply theirs = apply_data(w, "kubectl", false, "{'x':'3','y':'3'}");
    assert_at(theirs, "message",
              "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.y");
    auto_reply other = apply_data(w, "helm", false, "{'x':'3'}");
    assert_int_equal(other.status, 409);
    auto_reply own = apply_data(w, "kubectl", false, "{'x':'3'}");
    assert_int_equal(own.status, 200);
    expect_managers(&own,
                    "kubectl-client-side-apply Update {'f:metadata':{'f:annotations':{'f:" LAST "':{}}}}\n"
                    "before-first-apply Update {'f:data':{'f:y':{},'f:z':{}}}\n"
                    "kubectl Apply {'f:data':{'f:x':{}}}\n");
    assert_at(own, "data.z", "1");
}

/* What it leaves out goes at the first server-side apply; not what others changed since. */
static void test_client_side_fields_are_dropped(void **state)
{
    struct world *w = *state;
    const char *made =
        "{'metadata':{'name':'c','annotations':{'" LAST "':'{\\'metadata\\':{\\'name\\':\\'c\\'},"
        "\\'data\\':{\\'x\\':\\'1\\',\\'y\\':\\'1\\',\\'w\\':\\'1\\'}}'}},"
        "'data':{'x':'1','y':'2','w':'1','z':'1'}}";
    expect(w, 201, "POST", MAPS, made);
    auto_reply own = apply_data(w, "kubectl", false, "{'x':'1'}");
    assert_json_at(own, "data", "{'x':'1','y':'2','z':'1'}");
    assert_non_null(json_get(json_at(own.json, "metadata.annotations"), LAST));
}

static void test_managed_fields_of_clients(void **state)
{
    struct world *w = *state;
    auto_reply made = apply_data(w, "a", false, "{'x':'1'}");
    auto_reply moved = ask_type(w, "PATCH", MAPS "/c?fieldManager=k", "application/json-patch+json",
                                "[{'op':'replace','path':'/metadata/managedFields','value':[{'manager':'n',"
                                "'operation':'Apply','apiVersion':'v1','fieldsType':'FieldsV1','fieldsV1':{"
                                "'f:data':{'f:x':{},'f:w':3},'bad':{}}}]}]");
    assert_int_equal(moved.status, 200);
    expect_managers(&moved, "n Apply {'f:data':{'f:w':{},'f:x':{}}}\n");
    static const char *const nonsense[] = {"[]",
                                           "'x'",
                                           "[1]",
                                           "[{'manager':'a'}]",
                                           "[{'manager':'a','operation':'No','fieldsV1':{}}]",
                                           "[{'manager':'a','operation':'Apply','time':'x','fieldsV1':{}}]",
                                           "[{'manager':'a\\u0001','operation':'Apply','fieldsV1':{}}]",
                                           "null"};
    for (size_t i = 0; i < COUNT_OF(nonsense); i++) {
        auto_free char *patch = mem_printf("{'metadata':{'managedFields':%s}}", nonsense[i]);
        auto_reply kept = ask_type(w, "PATCH", MAPS "/c", MERGE, patch);
        assert_int_equal(kept.status, 200);
        assert_string_equal(kept.text, moved.text);
    }
    auto_reply reset = ask_type(w, "PATCH", MAPS "/c", MERGE, "{'metadata':{'managedFields':[{}]}}");
    assert_null(json_at(reset.json, "metadata.managedFields"));
    auto_reply born = ask(w, "POST", MAPS,
                          "{'metadata':{'name':'d','managedFields':[{'manager':'a','operation':"
                          "'Apply','fieldsV1':{'f:data':{}}}]}}");
    assert_int_equal(born.status, 201);
    assert_null(json_at(born.json, "metadata.managedFields"));
}

/* What a hostile list would cost, or how long a name would make an answer. */
static void test_hostile_managed_fields(void **state)
{
    struct world *w = *state;
    auto_reply made = apply_data(w, "a", false, "{'x':'1'}");
    auto_str entries = {0};
    for (int i = 0; i < 65; i++)
        str_addf(&entries, "%s{'manager':'m%d','operation':'Update','fieldsV1':{'f:data':{'f:x':{}}}}",
                 i ? "," : "", i);
    auto_free char *many = mem_printf("{'metadata':{'managedFields':[%s]}}", str_c(&entries));
    auto_reply kept = ask_type(w, "PATCH", MAPS "/c", MERGE, many);
    assert_string_equal(kept.text, made.text);
    char name[200] = {0};
    memset(name, 'n', sizeof(name) - 1);
    auto_free char *long_name = mem_printf(
        "{'metadata':{'managedFields':[{'manager':'%s','operation':'Update','fieldsV1':{'f:data':{}}}]}}",
        name);
    auto_reply also = ask_type(w, "PATCH", MAPS "/c", MERGE, long_name);
    assert_string_equal(also.text, made.text);
}

static char *thousand(int value)
{
    auto_str text = {0};
    for (int i = 0; i < 1000; i++)
        str_addf(&text, "%s'k%03d':'%d'", i ? "," : "{", i, value);
    return mem_printf("%s}", str_c(&text));
}

static void test_very_many_conflicts(void **state)
{
    struct world *w = *state;
    auto_free char *ones = thousand(1), *twos = thousand(2);
    auto_reply made = apply_data(w, "a", false, ones);
    assert_int_equal(made.status, 201);
    auto_reply refused = apply_data(w, "b", false, twos);
    assert_int_equal(refused.status, 409);
    assert_int_equal(cJSON_GetArraySize(json_at(refused.json, "details.causes")), 64);
    assert_non_null(strstr(text_at(&refused, "message"), "Apply failed with 1000 conflicts"));
    assert_non_null(strstr(text_at(&refused, "message"), "\n- and 936 more"));
}

/* Each client with a name of its own would make an entry that stays. */
static void test_old_changes_are_put_together(void **state)
{
    struct world *w = *state;
    auto_reply made = apply_data(w, "a", false, "{'x':'1'}");
    for (int i = 0; i < 15; i++) {
        auto_free char *url = mem_printf(MAPS "/c?fieldManager=m%d", i);
        auto_free char *patch = mem_printf("{'data':{'k%02d':'1'}}", i);
        auto_reply patched = ask_type(w, "PATCH", url, MERGE, patch);
        assert_int_equal(patched.status, 200);
    }
    auto_reply got = ask(w, "GET", MAPS "/c", NULL);
    assert_int_equal(cJSON_GetArraySize(json_at(got.json, "metadata.managedFields")), 12);
    auto_free char *managers = managers_of(&got);
    assert_non_null(strstr(managers, "ancient-changes Update {\"f:data\":{\"f:k00\":{},\"f:k01\":{},"
                                     "\"f:k02\":{},\"f:k03\":{},\"f:k04\":{}}}\n"));
    for (int i = 0; i < 60; i++) {
        auto_free char *name = mem_printf("b%d", i);
        auto_reply applied = apply_data(w, name, false, "{'x':'1'}");
        assert_int_equal(applied.status, i < 52 ? 200 : 422);
    }
}

static void test_only_the_object_that_is_meant(void **state)
{
    struct world *w = *state;
    const char *target = MAPS "/c?fieldManager=a";
    auto_reply none = ask_type(w, "PATCH", target, APPLY, "{'metadata':{'name':'c','uid':'u'}}");
    assert_int_equal(none.status, 409);
    auto_reply base = ask_type(w, "PATCH", target, APPLY, "{'metadata':{'generateName':'other-'}}");
    assert_at(base, "metadata.name", "c");
    expect(w, 200, "DELETE", MAPS "/c", NULL);
    auto_reply made = apply_data(w, "a", false, "{'x':'1'}");
    auto_reply name = ask_type(w, "PATCH", target, APPLY, "{'metadata':{'name':'other'}}");
    assert_int_equal(name.status, 400);
    auto_reply space = ask_type(w, "PATCH", target, APPLY, "{'metadata':{'namespace':'other'}}");
    assert_int_equal(space.status, 400);
    auto_reply uid = ask_type(w, "PATCH", target, APPLY, "{'metadata':{'name':'c','uid':'u'}}");
    assert_int_equal(uid.status, 409);
    assert_non_null(strstr(text_at(&uid, "message"), "uid mismatch"));
}

static void test_applying_what_is_not_there_is_creating(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles",
           "{'metadata':{'name':'patches'},'rules':[{'apiGroups':[''],'resources':['configmaps'],'verbs':['"
           "patch']}"
           "]}");
    expect(w, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
           "{'metadata':{'name':'patches'},'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'"
           "ClusterRole',"
           "'name':'patches'},'subjects':[{'apiGroup':'rbac.authorization.k8s.io','kind':'User','name':'jane'"
           "}]}");
    struct http_client *jane = world_as(w, "jane", "system:authenticated", NULL);
    auto_reply refused =
        ask_client(w, jane, "PATCH", MAPS "/c?fieldManager=j", APPLY, NULL, CONFIG("{'x':'1'}"));
    assert_int_equal(refused.status, 403);
    assert_non_null(strstr(text_at(&refused, "message"), "cannot create resource \"configmaps\""));
    auto_reply made = apply_data(w, "a", false, "{'x':'1'}");
    auto_reply fine =
        ask_client(w, jane, "PATCH", MAPS "/c?fieldManager=j", APPLY, NULL, CONFIG("{'y':'1'}"));
    assert_int_equal(fine.status, 200);
}

#define SET(spec) "{'apiVersion':'x.io/v1','kind':'Set','metadata':{'name':'s'},'spec':" spec "}"

/* Elements of a set that differ by a null only are one; and a stored null is no member. */
static void test_nulls_in_sets(void **state)
{
    struct world *w = *state;
    expect(
        w, 201, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "{'metadata':{'name':'sets.x.io'},'spec':{'group':'x.io','scope':'Namespaced','names':{'plural':'"
        "sets',"
        "'kind':'Set'},'versions':[{'name':'v1','served':true,'storage':true,'schema':{'openAPIV3Schema':{"
        "'type':'object','properties':{'spec':{'type':'object','x-kubernetes-preserve-unknown-fields':true,"
        "'properties':{'list':{'type':'array','x-kubernetes-list-type':'set','items':{'type':'object',"
        "'x-kubernetes-map-type':'atomic','properties':{'a':{'type':'string'},'b':{'type':'string'}}}}}}}}}}]"
        "}}");
    const char *sets = "/apis/x.io/v1/namespaces/default/sets",
               *one = "/apis/x.io/v1/namespaces/default/sets/s";
    expect(w, 201, "POST", sets, SET("{'list':[{'b':'x'}],'free':{'level':null,'user':10000000000000000}}"));
    auto_reply twice = apply_to(w, one, "a", true, SET("{'list':[{'a':null,'b':'x'},{'b':'x'}]}"));
    assert_int_equal(twice.status, 422);
    auto_reply level = apply_to(w, one, "a", true, SET("{'free':{'level':'s0'}}"));
    assert_int_equal(level.status, 200);
    assert_json_at(level, "spec.free", "{'user':10000000000000000,'level':'s0'}");
    expect(w, 200, "DELETE", one, NULL);
}

#define WEB(spec) "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'d'}," spec "}"
#define WEB_SPEC(more, image)                                                                                \
    WEB("'spec':{" more "'selector':{'matchLabels':{'a':'b'}},'template':{'metadata':{'labels':{'a':'b'}},"  \
        "'spec':{'containers':[{'name':'c','image':'" image "'}]}}}")

static void test_scale_and_status_are_other_parts(void **state)
{
    struct world *w = *state;
    auto_reply made = apply_to(w, DEPLOYMENTS "/d", "a", false, WEB_SPEC("'replicas':2,", "i:1"));
    assert_int_equal(made.status, 201);
    auto_reply scaled =
        ask_type(w, "PATCH", DEPLOYMENTS "/d/scale?fieldManager=hpa", MERGE, "{'spec':{'replicas':5}}");
    assert_int_equal(scaled.status, 200);
    auto_reply refused = apply_to(w, DEPLOYMENTS "/d", "a", false, WEB_SPEC("'replicas':2,", "i:2"));
    assert_at(refused, "details.causes[0].message",
              "conflict with \"hpa\" with subresource \"scale\" using apps/v1 at 2023-11-14T22:13:20Z");
    auto_reply without = apply_to(w, DEPLOYMENTS "/d", "a", false, WEB_SPEC("", "i:2"));
    assert_int_equal(without.status, 200);
    assert_int_equal(json_int(without.json, "spec.replicas", 0), 5); /* not a's any more: stays */
    assert_int_equal(json_int(without.json, "metadata.generation", 0), 3);
    auto_reply told = apply_to(w, DEPLOYMENTS "/d/status", "s", false,
                               WEB("'spec':{'replicas':9},'status':{'replicas':1}"));
    assert_int_equal(told.status, 200);
    assert_int_equal(json_int(told.json, "spec.replicas", 0), 5);
    assert_int_equal(json_int(told.json, "status.replicas", 0), 1);
    auto_reply main = apply_to(w, DEPLOYMENTS "/d", "a", false, WEB("'status':{'replicas':7}"));
    assert_int_equal(main.status, 422); /* a owned what is required */
    auto_free char *managers = managers_of(&told);
    assert_non_null(strstr(managers, "s Apply status {\"f:status\":{\"f:replicas\":{}}}\n"));
    assert_non_null(strstr(managers, "hpa Update scale {\"f:spec\":{\"f:replicas\":{}}}\n"));
}

static void test_scale_is_applied_like_the_rest(void **state)
{
    struct world *w = *state;
    auto_reply made = apply_to(w, DEPLOYMENTS "/d", "a", false, WEB_SPEC("'replicas':2,", "i:1"));
    const char *scale = "{'kind':'Scale','apiVersion':'autoscaling/v1','spec':{'replicas':9}}";
    auto_reply refused = apply_to(w, DEPLOYMENTS "/d/scale", "x", false, scale);
    assert_int_equal(refused.status, 409);
    auto_reply taken = apply_to(w, DEPLOYMENTS "/d/scale", "x", true, scale);
    assert_int_equal(taken.status, 200);
    auto_reply got = ask(w, "GET", DEPLOYMENTS "/d", NULL);
    auto_free char *managers = managers_of(&got);
    assert_non_null(strstr(managers, "x Apply scale {\"f:spec\":{\"f:replicas\":{}}}\n"));
}

static void test_ephemeral_containers_own_only_themselves(void **state)
{
    struct world *w = *state;
    const char *path = "/api/v1/namespaces/default/pods/p";
    auto_reply made = apply_to(
        w, path, "a", false, "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'i:1'}]}}");
    auto_free char *part = mem_printf("%s/ephemeralcontainers", path);
    auto_reply added =
        apply_to(w, part, "e", false,
                 "{'metadata':{'name':'p','labels':{'x':'y'}},'spec':{'containers':[{'name':'c','image':"
                 "'i:2'}],'ephemeralContainers':[{'name':'d','image':'i:1'}]}}");
    assert_int_equal(added.status, 200);
    assert_at(added, "spec.containers[0].image", "i:1");
    auto_free char *managers = managers_of(&added);
    const char *own = strstr(managers, "e Apply");
    assert_non_null(own);
    assert_null(strstr(own, "f:labels"));
    assert_null(strstr(own, "f:containers"));
    assert_non_null(strstr(own, "f:ephemeralContainers"));
}

/* As it is kept, not as it was typed: stringData is data. */
static void test_client_side_apply_as_it_is_kept(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", "/api/v1/namespaces/default/secrets",
           "{'metadata':{'name':'s','annotations':{'" LAST "':'{\\'metadata\\':{\\'name\\':\\'s\\'},"
           "\\'stringData\\':{\\'p\\':\\'x\\',\\'q\\':\\'y\\'}}'}},'stringData':{'p':'x','q':'y'}}");
    auto_reply own =
        apply_to(w, "/api/v1/namespaces/default/secrets/s", "kubectl", false,
                 "{'apiVersion':'v1','kind':'Secret','metadata':{'name':'s'},'stringData':{'p':'z'}}");
    assert_int_equal(own.status, 200);
    assert_json_at(own, "data", "{'p':'eg=='}");
}

static void test_strings_of_a_secret_go_with_it(void **state)
{
    struct world *w = *state;
    const char *path = "/api/v1/namespaces/default/secrets/s";
    auto_reply made =
        apply_to(w, path, "a", false,
                 "{'apiVersion':'v1','kind':'Secret','metadata':{'name':'s'},'stringData':{'p':'x'}}");
    assert_at(made, "data.p", "eA==");
    auto_reply gone =
        apply_to(w, path, "a", false,
                 "{'apiVersion':'v1','kind':'Secret','metadata':{'name':'s'},'data':{'q':'eA=='}}");
    assert_json_at(gone, "data", "{'q':'eA=='}");
}

static void test_nulls(void **state)
{
    struct world *w = *state;
    auto_reply made = ask_type(
        w, "PATCH", MAPS "/c?fieldManager=a", APPLY,
        "kind: ConfigMap\nmetadata:\n  creationTimestamp: null\n  labels:\ndata:\n  EMPTY:\n  x: y\n");
    assert_int_equal(made.status, 201);
    assert_json_at(made, "data", "{'EMPTY':'','x':'y'}");
    expect_managers(&made, "a Apply {'f:data':{'f:EMPTY':{},'f:x':{}}}\n");
}

static void test_defaults_and_zeros_are_no_conflict(void **state)
{
    struct world *w = *state;
    const char *path = "/api/v1/namespaces/default/pods/p";
    const char *config = "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'p','labels':{}},'spec':{"
                         "'hostNetwork':false,'containers':[{'name':'c','image':'i:1','resources':{'limits':{"
                         "'cpu':1}}}]}}";
    auto_reply one = apply_to(w, path, "a", false, config);
    assert_int_equal(one.status, 201);
    auto_reply two = apply_to(w, path, "b", false, config);
    assert_int_equal(two.status, 200);
    auto_reply again = apply_to(w, path, "a", false, config);
    assert_string_equal(again.text, two.text);
}

static void expect_refused(struct world *w, const char *target, const char *type, const char *body,
                           int status, const char *message)
{
    auto_reply reply = ask_type(w, "PATCH", target, type, body);
    assert_int_equal(reply.status, status);
    if (!strstr(text_at(&reply, "message"), message))
        fail_msg("%s", text_at(&reply, "message"));
}

static void test_bad_requests(void **state)
{
    struct world *w = *state;
    expect_refused(w, MAPS "/c", APPLY, CONFIG("{}"), 422,
                   "fieldManager: Required value: is required for apply patch");
    expect_refused(w, MAPS "/c?fieldManager=a&force=true", MERGE, "{}", 422,
                   "force: Forbidden: may not be specified");
    expect_refused(w, MAPS "/c?fieldManager=a%01", APPLY, CONFIG("{}"), 422, "fieldManager: Invalid value");
    expect_refused(w, MAPS "/c?fieldManager=a", APPLY,
                   "{'metadata':{'name':'c','managedFields':[{'manager':'x'}]}}", 400,
                   "managedFields must be nil");
    expect_refused(w, MAPS "/c?fieldManager=a", APPLY, "{'metadata':{'name':'other'}}", 400,
                   "does not match");
    expect_refused(w, MAPS "/c?fieldManager=a", APPLY, "{'kind':'Pod'}", 400, "is of kind Pod");
    expect_refused(w, MAPS "/c?fieldManager=a&fieldValidation=Strict", APPLY, CONFIG("{},'dato':{}"), 400,
                   "dato");
    expect_refused(w, DEPLOYMENTS "/d?fieldManager=a", APPLY,
                   WEB("'spec':{'template':{'spec':{'containers':[{'name':'c'},{'name':'c'}]}}}"), 422,
                   "spec.template.spec.containers[1]: Duplicate value: {\"name\":\"c\"}");
    expect_refused(w, MAPS "/c/status?fieldManager=a", APPLY, CONFIG("{}"), 404, "");
    expect(w, 404, "GET", MAPS "/c", NULL);
}

static void test_warned_once(void **state)
{
    struct world *w = *state;
    auto_reply made = ask_type(w, "PATCH", MAPS "/c?fieldManager=a", APPLY, CONFIG("{},'dato':{}"));
    assert_int_equal(made.status, 201);
    assert_non_null(strstr(made.warning, "unknown field \\\"dato\\\""));
    assert_null(strstr(strstr(made.warning, "dato") + 1, "dato"));
}

/* A list of a custom kind whose elements are told apart by two fields. */
static void test_custom_kinds(void **state)
{
    struct world *w = *state;
    expect(
        w, 201, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "{'metadata':{'name':'ports.x.io'},'spec':{'group':'x.io','scope':'Namespaced','names':{'plural':'"
        "ports',"
        "'kind':'Port'},'versions':[{'name':'v1','served':true,'storage':true,'schema':{'openAPIV3Schema':{"
        "'type':'object','properties':{'spec':{'type':'object','properties':{'list':{'type':'array',"
        "'x-kubernetes-list-type':'map','x-kubernetes-list-map-keys':['n','p'],'items':{'type':'object',"
        "'properties':{'n':{'type':'integer'},'p':{'type':'string','default':'T'},'v':{'type':'string'}}}},"
        "'one':{'type':'object','x-kubernetes-map-type':'atomic','properties':{'a':{'type':'string'},"
        "'b':{'type':'string'}}}}}}}}}]}}");
    const char *path = "/apis/x.io/v1/namespaces/default/ports/o";
    auto_reply a =
        apply_to(w, path, "a", false,
                 "{'apiVersion':'x.io/v1','kind':'Port','metadata':{'name':'o'},'spec':{'one':{'a':'1'},"
                 "'list':[{'n':1,'v':'x'},{'n':2,'v':'x'}]}}");
    assert_int_equal(a.status, 201);
    auto_reply b = apply_to(w, path, "b", false,
                            "{'apiVersion':'x.io/v1','kind':'Port','metadata':{'name':'o'},'spec':{"
                            "'list':[{'n':1,'p':'U','v':'y'}]}}");
    assert_int_equal(b.status, 200);
    auto_reply c =
        apply_to(w, path, "a", true,
                 "{'apiVersion':'x.io/v1','kind':'Port','metadata':{'name':'o'},'spec':{'one':{'b':'1'},"
                 "'list':[{'n':2,'v':'x'}]}}");
    assert_json_at(c, "spec.list", "[{'n':1,'p':'U','v':'y'},{'n':2,'v':'x','p':'T'}]");
    assert_json_at(c, "spec.one", "{'b':'1'}");
}

/* ---- a model ---- */

#define KEYS 5
#define MANAGERS 3 /* two that apply, one that patches */

struct model {
    int value[KEYS]; /* 0: absent */
    bool owns[MANAGERS][KEYS];
};

static bool model_conflicts(const struct model *model, int manager, const int *config)
{
    for (int k = 0; k < KEYS; k++) {
        for (int other = 0; other < MANAGERS; other++) {
            if (other != manager && config[k] && config[k] != model->value[k] && model->owns[other][k])
                return true;
        }
    }
    return false;
}

static void model_set(struct model *model, int key, int value)
{
    for (int other = 0; model->value[key] != value && other < MANAGERS; other++)
        model->owns[other][key] = false;
    model->value[key] = value;
}

static void model_apply(struct model *model, int manager, const int *config)
{
    for (int k = 0; k < KEYS; k++) {
        bool shared = false;
        for (int other = 0; other < MANAGERS; other++)
            shared |= other != manager && model->owns[other][k];
        if (config[k])
            model_set(model, k, config[k]);
        else if (model->owns[manager][k] && !shared)
            model_set(model, k, 0);
        model->owns[manager][k] = config[k] != 0;
    }
}

static void model_patch(struct model *model, int manager, int key, int value)
{
    bool changes = model->value[key] != value;
    model_set(model, key, value);
    if (changes && value)
        model->owns[manager][key] = true;
}

static char *data_text(const int *values)
{
    auto_str text = {0};
    for (int k = 0; k < KEYS; k++) {
        if (values[k])
            str_addf(&text, "%s'k%d':'%d'", text.len ? "," : "", k, values[k]);
    }
    return mem_printf("{%s}", str_c(&text));
}

static bool is_owned(const struct reply *reply, const char *manager, int key)
{
    const cJSON *entries = json_at(reply->json, "metadata.managedFields");
    auto_free char *path = mem_printf("fieldsV1.f:data.f:k%d", key);
    json_each (entry, entries) {
        if (str_eq(json_string(entry, "manager"), manager) && json_at(entry, path))
            return true;
    }
    return false;
}

static void compare_model(struct world *w, const struct model *model, int seed, int step)
{
    static const char *const names[] = {"m0", "m1", "m2"};
    auto_reply got = ask(w, "GET", MAPS "/c", NULL);
    for (int k = 0; k < KEYS; k++) {
        auto_free char *path = mem_printf("data.k%d", k);
        int value = atoi(json_string_or(got.json, path, "0"));
        bool same = value == model->value[k];
        for (int m = 0; m < MANAGERS; m++)
            same = same && is_owned(&got, names[m], k) == model->owns[m][k];
        if (!same)
            fail_msg("seed %d step %d key %d: %s", seed, step, k, got.text);
    }
}

static void model_step(struct world *w, struct model *model, const struct random *random)
{
    int manager = (int)random_below(random, MANAGERS), config[KEYS];
    for (int k = 0; k < KEYS; k++)
        config[k] = (int)random_below(random, 3);
    auto_free char *name = mem_printf("m%d", manager);
    if (manager == MANAGERS - 1) {
        int key = (int)random_below(random, KEYS);
        auto_free char *patch = config[key] ? mem_printf("{'data':{'k%d':'%d'}}", key, config[key])
                                            : mem_printf("{'data':{'k%d':null}}", key);
        auto_free char *url = mem_printf(MAPS "/c?fieldManager=%s", name);
        auto_reply reply = ask_type(w, "PATCH", url, MERGE, patch);
        assert_int_equal(reply.status, 200);
        model_patch(model, manager, key, config[key]);
        return;
    }
    bool force = random_below(random, 3) == 0;
    auto_free char *data = data_text(config);
    auto_reply reply = apply_data(w, name, force, data);
    bool conflict = !force && model_conflicts(model, manager, config);
    assert_int_equal(reply.status, conflict ? 409 : 200);
    if (!conflict)
        model_apply(model, manager, config);
}

static void test_against_a_model(void **state)
{
    struct world *w = *state;
    for (int seed = 1; seed <= 60; seed++) {
        struct random_seeded seeded;
        struct random random;
        struct model model = {0};
        random_seeded_init(&seeded, (uint64_t)seed, &random);
        /* somebody whose label keeps the object tracked */
        auto_reply made =
            apply_to(w, MAPS "/c", "anchor", false, "{'metadata':{'name':'c','labels':{'a':'b'}}}");
        assert_int_equal(made.status, 201);
        for (int step = 0; step < 40; step++) {
            model_step(w, &model, &random);
            compare_model(w, &model, seed, step);
        }
        expect(w, 200, "DELETE", MAPS "/c", NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_apply_creates_and_does_not_write_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_left_out_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflicts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_writes_own_what_they_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_object_that_was_there_before, setup, teardown),
        cmocka_unit_test_setup_teardown(test_from_client_side_apply, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_side_fields_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_managed_fields_of_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_managed_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_very_many_conflicts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_changes_are_put_together, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_the_object_that_is_meant, setup, teardown),
        cmocka_unit_test_setup_teardown(test_applying_what_is_not_there_is_creating, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nulls_in_sets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scale_is_applied_like_the_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ephemeral_containers_own_only_themselves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_side_apply_as_it_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scale_and_status_are_other_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strings_of_a_secret_go_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nulls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_defaults_and_zeros_are_no_conflict, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_warned_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_custom_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_against_a_model, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
