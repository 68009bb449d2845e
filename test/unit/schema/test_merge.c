/* Strategic merge patches: merge keys, every directive, order, and patches that make no sense. */
#include <stdio.h>
#include <time.h>

#include "schema_test.h"

static cJSON *merge(void **state, const char *word, const char *target, const char *patch, struct err **err)
{
    auto_json patch_json = from_text(patch);
    return schema_strategic_merge(kind_of(*state, word), from_text(target), patch_json, err);
}

static void expect(void **state, const char *word, const char *target, const char *patch, const char *wanted)
{
    struct err *err = NULL;
    auto_json merged = merge(state, word, target, patch, &err);
    if (!merged)
        fail_msg("%s", err_message(err));
    assert_json(merged, wanted);
}

#define POD(containers) "{'spec':{'containers':" containers "}}"

static void test_lists_merge_by_key(void **state)
{
    expect(state, "pod", POD("[{'name':'a','image':'1','args':['x','y']},{'name':'b','image':'1'}]"),
           POD("[{'name':'a','image':'2','args':['z']},{'name':'c','image':'1'}]"),
           POD("[{'name':'a','image':'2','args':['z']},{'name':'b','image':'1'},{'name':'c','image':'1'}]"));
    expect(state, "svc", "{'spec':{'ports':[{'port':80,'name':'a'},{'port':81,'name':'b'}]}}",
           "{'spec':{'ports':[{'port':81,'name':'c'}]}}",
           "{'spec':{'ports':[{'port':80,'name':'a'},{'port':81,'name':'c'}]}}");
    expect(state, "pod", "{'status':{'conditions':[{'type':'Ready','status':'False'}]}}",
           "{'status':{'conditions':[{'type':'Ready','status':'True'},{'type':'X','status':'True'}]}}",
           "{'status':{'conditions':[{'type':'Ready','status':'True'},{'type':'X','status':'True'}]}}");
}

static void test_atomic_lists_are_replaced(void **state)
{
    expect(state, "pod", "{'spec':{'tolerations':[{'key':'a'},{'key':'b'}]}}",
           "{'spec':{'tolerations':[{'key':'c'}]}}", "{'spec':{'tolerations':[{'key':'c'}]}}");
    expect(state, "no", "{'spec':{'taints':[{'key':'a','effect':'NoSchedule'}]}}", "{'spec':{'taints':null}}",
           "{'spec':{}}");
}

static void test_delete_directives(void **state)
{
    expect(state, "pod",
           POD("[{'name':'a','env':[{'name':'X','value':'1'},{'name':'Y','value':'2'}],'ports':[{'"
               "containerPort':80}],"
               "'volumeMounts':[{'mountPath':'/b','name':'v'},{'mountPath':'/c','name':'v'}]},{'name':'b'}]"),
           POD("[{'name':'b','$patch':'delete'},{'name':'nobody','$patch':'delete'},{'name':'a','env':[{'$"
               "patch':'delete','name':'X'}],"
               "'ports':[{'$patch':'delete','containerPort':80}],'volumeMounts':[{'$patch':'delete','"
               "mountPath':'/b'}]}]"),
           POD("[{'name':'a','env':[{'name':'Y','value':'2'}],'ports':[],'volumeMounts':[{'mountPath':'/"
               "c','name':'v'}]}]"));
    expect(state, "deploy", "{'metadata':{'labels':{'a':'1','b':'2'}},'spec':{'replicas':3}}",
           "{'metadata':{'labels':{'a':null}},'spec':{'replicas':null}}",
           "{'metadata':{'labels':{'b':'2'}},'spec':{}}");
    expect(state, "deploy", "{'metadata':{'labels':{'a':'1'}},'spec':{'replicas':3}}",
           "{'metadata':{'labels':{'$patch':'delete'}},'spec':{'$patch':'replace','paused':true}}",
           "{'metadata':{},'spec':{'paused':true}}");
}

static void test_replace_directive_in_list(void **state)
{
    expect(state, "pod", POD("[{'name':'a'},{'name':'b'}]"),
           POD("[{'$patch':'replace'},{'name':'c','image':'1'}]"), POD("[{'name':'c','image':'1'}]"));
}

static void test_retain_keys(void **state)
{
    expect(state, "deploy", "{'spec':{'strategy':{'type':'RollingUpdate','rollingUpdate':{'maxSurge':1}}}}",
           "{'spec':{'strategy':{'$retainKeys':['type'],'type':'Recreate'}}}",
           "{'spec':{'strategy':{'type':'Recreate'}}}");
    expect(state, "pod", "{'spec':{'volumes':[{'name':'v','emptyDir':{}},{'name':'w','emptyDir':{}}]}}",
           "{'spec':{'$setElementOrder/"
           "volumes':[{'name':'v'},{'name':'w'}],'volumes':[{'$retainKeys':['configMap','name'],'name':'v','"
           "configMap':{'name':'c'}}]}}",
           "{'spec':{'volumes':[{'name':'v','configMap':{'name':'c'}},{'name':'w','emptyDir':{}}]}}");
}

static void test_primitive_lists(void **state)
{
    expect(state, "pod", "{'metadata':{'finalizers':['x/a','x/b','x/c']}}",
           "{'metadata':{'$deleteFromPrimitiveList/finalizers':['x/b'],'$setElementOrder/finalizers':['x/"
           "d','x/a'],'finalizers':['x/d','x/a']}}",
           "{'metadata':{'finalizers':['x/d','x/a','x/c']}}");
    expect(state, "pod", "{'metadata':{'finalizers':['x/a']}}",
           "{'metadata':{'$deleteFromPrimitiveList/finalizers':['x/a']}}", "{'metadata':{'finalizers':[]}}");
}

static void test_order(void **state)
{
    /* the server added "s" behind "a"; the client wants b before a and adds n */
    expect(state, "pod", POD("[{'name':'a'},{'name':'s'},{'name':'b'}]"),
           "{'spec':{'$setElementOrder/"
           "containers':[{'name':'b'},{'name':'n'},{'name':'a'}],'containers':[{'name':'n'}]}}",
           POD("[{'name':'s'},{'name':'b'},{'name':'n'},{'name':'a'}]"));
    expect(state, "pod", POD("[{'name':'a'},{'name':'b'}]"),
           "{'spec':{'$setElementOrder/containers':[{'name':'b'},{'name':'a'}]}}",
           POD("[{'name':'b'},{'name':'a'}]"));
}

static void test_new_parts_carry_no_directives(void **state)
{
    expect(state, "deploy", "{}",
           "{'spec':{'strategy':{'$retainKeys':['type'],'type':'Recreate','rollingUpdate':null},'template':{'"
           "spec':{'$setElementOrder/containers':[{'name':'a'}],"
           "'containers':[{'name':'a','env':[{'name':'X','$patch':'delete'},{'name':'Y','value':'1'}]}]}}}}",
           "{'spec':{'strategy':{'type':'Recreate'},'template':{'spec':{'containers':[{'name':'a','env':[{'"
           "name':'Y','value':'1'}]}]}}}}");
}

static void test_empty_patch_changes_nothing(void **state)
{
    expect(state, "pod", POD("[{'name':'a'}]"), "{}", POD("[{'name':'a'}]"));
    expect(state, "pod", POD("[{'name':'a'}]"), POD("[]"), POD("[{'name':'a'}]"));
}

static void test_nonsense_is_refused(void **state)
{
    static const char *const patches[] = {
        POD("[{'image':'x'}]"),
        POD("['x']"),
        POD("[{'name':'b','$patch':'explode'}]"),
        "{'spec':{'$patch':'explode'}}",
        "{'spec':{'$frobnicate':1}}",
        "{'spec':{'strategy':{'$retainKeys':'type'}}}",
        "[]",
    };
    for (size_t i = 0; i < COUNT_OF(patches); i++) {
        struct err *err = NULL;
        assert_null(merge(state, "pod", POD("[{'name':'a'}]"), patches[i], &err));
        assert_int_equal(err_code(err), ERR_BAD_REQUEST);
        err_free(err);
    }
}

static void test_enormous_patch_is_refused_quickly(void **state)
{
    auto_json patch = from_text("{'spec':{'containers':[]}}");
    for (int i = 0; i < 60000; i++) {
        cJSON *item = json_push(json_at(patch, "spec.containers"), cJSON_CreateObject());
        json_set_int(item, "name", i);
    }
    struct err *err = NULL;
    assert_null(schema_strategic_merge(kind_of(*state, "pod"), cJSON_CreateObject(), patch, &err));
    assert_int_equal(err_code(err), ERR_BAD_REQUEST);
    err_free(err);
}

static cJSON *many(const char *format, int n, cJSON *value)
{
    cJSON *object = cJSON_CreateObject();
    for (int i = 0; i < n; i++) {
        char key[64];
        snprintf(key, sizeof(key), format, i);
        cJSON_AddItemToObject(object, key, json_copy(value)); /* json_set would search */
    }
    cJSON_Delete(value);
    return object;
}

static cJSON *under(const char *key, cJSON *value)
{
    cJSON *object = cJSON_CreateObject();
    json_set(object, key, value);
    return object;
}

static void test_objects_of_very_many_keys(void **state)
{
    const struct schema_kind *kind = kind_of(*state, "cm");
    double begin = (double)clock() / CLOCKS_PER_SEC;
    auto_json patch = under("data", many("k%d", 100000, cJSON_CreateString("new")));
    auto_json made = schema_strategic_merge(kind, cJSON_CreateObject(), patch, NULL);
    assert_true(json_equal(made, patch));

    cJSON *old = many("k%d", 100001, cJSON_CreateString("old"));
    auto_json onto = schema_strategic_merge(kind, under("data", old), patch, NULL);
    assert_int_equal(cJSON_GetArraySize(json_get(onto, "data")), 100001);
    assert_string_equal(json_string(onto, "data.k99999"), "new");
    assert_string_equal(json_get(onto, "data")->child->prev->string, "k100000");
    assert_string_equal(json_string(onto, "data.k100000"), "old");

    auto_json nulls = under("data", many("k%d", 100000, cJSON_CreateNull()));
    onto = schema_strategic_merge(kind, steal(&onto), nulls, NULL);
    assert_json(onto, "{'data':{'k100000':'old'}}");

    auto_json lists = under("data", many("k%d", 100000, cJSON_CreateArray()));
    onto = schema_strategic_merge(kind, steal(&onto), lists, NULL);
    assert_int_equal(cJSON_GetArraySize(json_get(onto, "data")), 100001);
    auto_json orders = under("data", many("$setElementOrder/k%d", 100000, cJSON_CreateArray()));
    onto = schema_strategic_merge(kind, steal(&onto), orders, NULL);
    assert_int_equal(cJSON_GetArraySize(json_get(onto, "data")), 100001);
    assert_true((double)clock() / CLOCKS_PER_SEC - begin < 20);

    auto_json keys = under("$retainKeys", cJSON_CreateArray()), *retain = NULL;
    for (int i = 0; i < 1000; i++)
        json_push_string(json_get(keys, "$retainKeys"), "k");
    retain = under("data", steal(&keys));
    struct err *err = NULL;
    assert_null(schema_strategic_merge(kind, cJSON_CreateObject(), retain, &err));
    assert_int_equal(err_code(err), ERR_BAD_REQUEST);
    err_free(err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_merge_by_key),
        cmocka_unit_test(test_atomic_lists_are_replaced),
        cmocka_unit_test(test_delete_directives),
        cmocka_unit_test(test_replace_directive_in_list),
        cmocka_unit_test(test_retain_keys),
        cmocka_unit_test(test_primitive_lists),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_new_parts_carry_no_directives),
        cmocka_unit_test(test_empty_patch_changes_nothing),
        cmocka_unit_test(test_nonsense_is_refused),
        cmocka_unit_test(test_enormous_patch_is_refused_quickly),
        cmocka_unit_test(test_objects_of_very_many_keys),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
