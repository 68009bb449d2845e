/* schema_check: unknown fields by strictness, fields without effect, wrong types. Hostile bodies are refused
 * with a path. */
#include "schema_test.h"

static char *check(const struct schema_kind *kind, cJSON *json, enum schema_strictness strictness,
                   cJSON *warnings)
{
    struct err *err = NULL;
    int result = schema_check(kind, json, strictness, warnings, &err);
    assert_int_equal(result != 0, err != NULL);
    if (err)
        assert_int_equal(err->code, ERR_BAD_REQUEST);
    return causes_of(err);
}

static const char typo[] = "{'spec':{'replica':3,'containers':[{'name':'c','imgae':'x','image':'i','ports':[{"
                           "'containerport':1}]}]}}";

static void test_strict_names_every_unknown_field(void **state)
{
    auto_json json = from_text(typo);
    auto_free char *text = check(kind_of(*state, "pod"), json, SCHEMA_STRICT, NULL);
    assert_string_equal(
        text, "strict decoding error: unknown field \"spec.replica\", unknown field "
              "\"spec.containers[0].imgae\", unknown field \"spec.containers[0].ports[0].containerport\"");
}

static void test_warn_and_ignore_drop_unknown_fields(void **state)
{
    const char *clean = "{'spec':{'containers':[{'name':'c','image':'i','ports':[{}]}]}}";
    auto_json json = from_text(typo);
    auto_json warnings = cJSON_CreateArray();
    auto_free char *text = check(kind_of(*state, "pod"), json, SCHEMA_WARN, warnings);
    assert_string_equal(text, "");
    assert_json(json, clean);
    assert_json(warnings,
                "['unknown field \\'spec.replica\\'','unknown field \\'spec.containers[0].imgae\\'',"
                "'unknown field \\'spec.containers[0].ports[0].containerport\\'']");

    auto_json quiet = from_text(typo);
    auto_json none = cJSON_CreateArray();
    auto_free char *ignored = check(kind_of(*state, "pod"), quiet, SCHEMA_IGNORE, none);
    assert_string_equal(ignored, "");
    assert_json(quiet, clean);
    assert_null(none->child);
}

static void test_known_field_without_effect_is_kept_with_a_warning(void **state)
{
    const char *text = "{'spec':{'enableServiceLinks':true,'overhead':{},'containers':[{'name':'c','image':'"
                       "i','resizePolicy':[{'x':1}],"
                       "'livenessProbe':{'exec':{'command':['true']}}}]}}";
    auto_json json = from_text(text);
    auto_json warnings = cJSON_CreateArray();
    auto_free char *error = check(kind_of(*state, "pod"), json, SCHEMA_STRICT, warnings);
    assert_string_equal(error, "");
    assert_json(json, text);
    auto_free char *all = json_print(warnings);
    assert_non_null(strstr(all, "spec.enableServiceLinks: has no effect in minik8s"));
    assert_non_null(strstr(all, "spec.containers[0].resizePolicy: has no effect in minik8s"));
    assert_null(strstr(all, "overhead")); /* empty: nothing is lost */
}

static void test_wrong_types(void **state)
{
    static const struct {
        const char *object, *message;
    } cases[] = {
        {"{'spec':[]}", "spec: must be an object, not a list"},
        {"{'spec':{'containers':{}}}", "spec.containers: must be a list, not an object"},
        {"{'spec':{'containers':['x']}}", "spec.containers[0]: must be an object, not a string"},
        {"{'spec':{'containers':[{'image':7}]}}", "spec.containers[0].image: must be a string, not a number"},
        {"{'spec':{'containers':[{'tty':'yes'}]}}",
         "spec.containers[0].tty: must be a boolean, not a string"},
        {"{'spec':{'terminationGracePeriodSeconds':1.5}}",
         "spec.terminationGracePeriodSeconds: must be an integer, not a number"},
        {"{'metadata':{'labels':{'a':1}}}", "metadata.labels[a]: must be a string, not a number"},
        {"{'metadata':{'labels':'a'}}", "metadata.labels: must be an object, not a string"},
        {"[]", "the object: must be an object, not a list"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        auto_json json = from_text(cases[i].object);
        auto_free char *text = check(kind_of(*state, "pod"), json, SCHEMA_STRICT, NULL);
        assert_string_equal(text, cases[i].message);
    }
}

static void test_what_kubectl_leaves_in_a_body_passes(void **state)
{
    auto_json json = from_text(
        "{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'d','creationTimestamp':null,"
        "'generation':0,'managedFields':[{'manager':'x'}]},'spec':{'replicas':1,'selector':{'matchLabels':{'"
        "a':'b'}},'strategy':{},"
        "'template':{'metadata':{'creationTimestamp':null,'labels':{'a':'b'}},'spec':{'containers':"
        "[{'name':'c','image':'i','resources':{'requests':{'cpu':0.5,'memory':1000000000000000000}}}]}}},'"
        "status':{}}");
    auto_json warnings = cJSON_CreateArray();
    auto_free char *text = check(kind_of(*state, "deploy"), json, SCHEMA_STRICT, warnings);
    assert_string_equal(text, "");
    assert_null(warnings->child);
    schema_default(kind_of(*state, "deploy"), json);
    assert_json(json_at(json, "spec.template.spec.containers[0].resources.requests"),
                "{'cpu':'0.5','memory':'1000000000000000000'}");
}

static void test_thousands_of_unknown_fields(void **state)
{
    auto_json json = cJSON_CreateObject();
    for (int i = 0; i < 50000; i++) {
        auto_free char *key = mem_printf("x%d", i);
        cJSON_AddItemToObject(json, key, cJSON_CreateNumber(i));
    }
    auto_free char *text = check(kind_of(*state, "pod"), json, SCHEMA_STRICT, NULL);
    assert_true(strlen(text) < 10000);
    assert_null(json->child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strict_names_every_unknown_field),
        cmocka_unit_test(test_warn_and_ignore_drop_unknown_fields),
        cmocka_unit_test(test_known_field_without_effect_is_kept_with_a_warning),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_what_kubectl_leaves_in_a_body_passes),
        cmocka_unit_test(test_thousands_of_unknown_fields),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
