/* The registry: look-ups, kinds added at run time (also in the words of a CRD), wrong definitions, readers
 * beside a writer. */
#include "schema_test.h"

#include <pthread.h>

static void test_words(void **state)
{
    static const char *const words[] = {"po", "pod", "pods", "Pod", "PODS", "pods.", "pods.v1."};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        assert_string_equal(schema_kind_info(kind_of(*state, words[i]))->kind, "Pod");
    assert_string_equal(schema_kind_info(kind_of(*state, "deployments.apps"))->resource, "deployments.apps");
    assert_string_equal(schema_kind_info(kind_of(*state, "deploy.v1.apps"))->api_version, "apps/v1");
    assert_null(schema_find_word(*state, "deploy.batch"));
    assert_null(schema_find_word(*state, "unicorn"));
    assert_null(schema_find_word(*state, ""));
    assert_null(schema_find_word(*state, "nodeconfiguration")); /* read from files only */
}

static void test_lookups(void **state)
{
    assert_non_null(schema_find(*state, "", "v1", "pods"));
    assert_null(schema_find(*state, "apps", "v1", "pods"));
    assert_null(schema_find(*state, "minik8s.io", "v1", "nodeconfigurations"));
    assert_non_null(schema_find_kind(*state, "minik8s.io/v1", "NodeConfiguration"));
    assert_non_null(schema_find_kind(*state, "apps/v1", "Deployment"));
    assert_null(schema_find_kind(*state, "v1", "Deployment"));
    assert_null(schema_find_kind(*state, NULL, NULL));
    const struct schema_kind_info *lease =
        schema_kind_info(schema_find_resource(*state, "leases.coordination.k8s.io"));
    const struct schema_kind *leases = schema_find_resource(*state, "leases.coordination.k8s.io");
    assert_true(lease->is_volatile && schema_is_volatile(leases, "kube-node-lease", "n"));
    assert_true(schema_is_volatile(leases, "kube-system", "minik8s-manager"));
    assert_false(schema_is_volatile(leases, "kube-system", "n") ||
                 schema_is_volatile(leases, "kube", "node-lease"));
    assert_true(schema_is_volatile(schema_find_resource(*state, "drains.minik8s.io"), NULL, "cluster"));
    assert_false(schema_is_volatile(schema_find_resource(*state, "nodes"), NULL, "n"));
    const struct schema_kind_info *secret = schema_kind_info(schema_find_resource(*state, "secrets"));
    assert_true(secret->sealed && secret->namespaced && !secret->has_status);
    assert_string_equal(secret->list_kind, "SecretList");
    const struct schema_kind *deployment = schema_find_resource(*state, "deployments.apps");
    assert_true(schema_kind_info(deployment)->has_scale && schema_has_subresource(deployment, "status"));
    assert_false(schema_has_subresource(deployment, "log"));
}

static int add_text(struct schema *schema, const char *text, struct err **err)
{
    auto_json definition = from_text(text);
    return schema_add(schema, definition, err);
}

#define WIDGET(schema)                                                                                       \
    "{'group':'example.com','version':'v1','kind':'Widget','plural':'widgets','scope':'Namespaced','schema'" \
    ":" schema "}"

static void test_a_kind_in_the_words_of_a_crd(void **state)
{
    struct schema *schema = *state;
    struct err *err = NULL;
    int result = add_text(
        schema,
        WIDGET("{'type':'object','required':['spec'],'properties':{'spec':{'type':'object','required':['size'"
               "],'properties':{"
               "'size':{'type':'integer','minimum':1,'maximum':10},'color':{'type':'string','enum':['red','"
               "blue'],'default':'red'},"
               "'code':{'type':'string','pattern':'^\\\\d{3}(?:-x)?$'},'any':{'x-kubernetes-int-or-string':"
               "true},"
               "'free':{'type':'object','x-kubernetes-preserve-unknown-fields':true},"
               "'parts':{'type':'array','x-kubernetes-list-type':'map','x-kubernetes-list-map-keys':['id'],'"
               "items':{'type':'object','properties':{'id':{'type':'string'},'n':{'type':'integer'}}}},"
               "'tags':{'type':'object','additionalProperties':{'type':'string','maxLength':3}}}}}}"),
        &err);
    if (result)
        fail_msg("%s", err_message(err));
    const struct schema_kind *kind = kind_of(schema, "widgets.example.com");
    auto_json good = from_text("{'metadata':{'name':'w'},'spec':{'size':3,'code':'123-x','any':'7','free':{'"
                               "x':{'y':1}},'tags':{'a':'abc'},'parts':[{'id':'a'}]}}");
    assert_int_equal(schema_check(kind, good, SCHEMA_STRICT, NULL, &err), 0);
    auto_free char *fine = validate(kind, good, NULL);
    assert_string_equal(fine, "");
    assert_string_equal(json_string(good, "spec.color"), "red");

    auto_json bad = from_text("{'metadata':{'name':'w'},'spec':{'color':'green','code':'12','tags':{'a':'"
                              "abcd'},'parts':[{'id':'a'},{'id':'a'}]}}");
    auto_free char *causes = validate(kind, bad, NULL);
    assert_string_equal(causes,
                        "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"\n"
                        "spec.code: Invalid value: \"12\": should match '^\\d{3}(?:-x)?$'\n"
                        "spec.tags[a]: Invalid value: \"abcd\": may not be longer than 3\n"
                        "spec.parts[1].id: Duplicate value: \"a\"\n"
                        "spec.size: Required value");
    auto_json columns = schema_columns(kind);
    assert_int_equal(cJSON_GetArraySize(columns), 2);
    auto_json typo = from_text("{'spec':{'sise':1}}");
    assert_int_equal(schema_check(kind, typo, SCHEMA_STRICT, NULL, NULL), -1);
}

static void test_a_users_definition_has_no_words_of_ours(void **state)
{
    struct schema *schema = load_kinds();
    auto_json definition = from_text(WIDGET("{'type':'object','properties':{'spec':{'type':'object','rule':'"
                                            "volume','hook':'resources','properties':{"
                                            "'a':{'type':'array','items':{'type':'string'},'rule':'volume'},'"
                                            "b':{'type':'string','ref':'NoSuchType','refused':'no'}}}}}"));
    cJSON *column = json_push(json_ensure_array(definition, "columns"), cJSON_CreateObject());
    json_set_string(column, "name", "A");
    json_set_string(column, "jsonPath", ".spec.b");
    json_set_string(column, "column", "pod.ready");
    json_push_string(json_ensure_array(definition, "validators"), "nope");
    assert_int_equal(schema_add_custom(schema, definition, NULL), 0);
    const struct schema_kind *kind = kind_of(schema, "widget");
    auto_json object = from_text("{'metadata':{'name':'w','labels':{'x':'-'}},'spec':{'a':['x'],'b':''}}");
    auto_free char *causes = validate(kind, object, NULL);
    assert_true(str_starts(causes, "metadata.labels[x]: Invalid value")); /* metadata is the server's */
    assert_string_equal(json_string(object, "spec.b"), "");
    auto_json text_root = from_text(WIDGET("{'type':'string'}"));
    assert_int_equal(schema_add_custom(schema, text_root, NULL), -1);
    schema_free(schema);
    (void)state;
}

static void test_definitions_make_the_same_registry(void **state)
{
    struct schema *schema = load_kinds(), *copy = schema_new();
    auto_json custom = from_text(WIDGET("{'type':'object','properties':{'a':{'type':'string'}}}"));
    assert_int_equal(schema_add_custom(schema, custom, NULL), 0);
    auto_json definitions = schema_definitions(schema);
    struct err *err = NULL;
    if (schema_add_all(copy, definitions, &err))
        fail_msg("%s", err_message(err));
    auto_json one = schema_discovery_aggregated(schema, false);
    auto_json other = schema_discovery_aggregated(copy, false);
    assert_true(json_equal(one, other));
    auto_free char *text = schema_explain(kind_of(schema, "pod"), "spec", true, NULL);
    auto_free char *same = schema_explain(kind_of(copy, "pod"), "spec", true, NULL);
    assert_string_equal(text, same);
    schema_free(schema);
    schema_free(copy);
    (void)state;
}

static void test_replacing_a_kind(void **state)
{
    struct schema *schema = *state;
    assert_int_equal(add_text(schema, WIDGET("{'properties':{'a':{'type':'string'}}}"), NULL), 0);
    const struct schema_kind *old = kind_of(schema, "widgets");
    assert_int_equal(add_text(schema, WIDGET("{'properties':{'b':{'type':'string'}}}"), NULL), 0);
    const struct schema_kind *now = kind_of(schema, "widgets");
    assert_ptr_not_equal(old, now);
    assert_ptr_equal(schema_find_resource(schema, "widgets.example.com"), now);
    assert_ptr_equal(schema_find(schema, "example.com", "v1", "widgets"), now);
    auto_json object = from_text("{'b':'x'}");
    assert_int_equal(schema_check(now, object, SCHEMA_STRICT, NULL, NULL), 0);
    assert_int_equal(schema_check(old, object, SCHEMA_STRICT, NULL, NULL),
                     -1); /* still usable by who holds it */
}

static void test_wrong_definitions_leave_the_registry_as_it_was(void **state)
{
    static const char *const wrong[] = {
        "[]",
        "{}",
        "{'kind':'X','version':'v1','plural':'xs','scope':'Galaxy'}",
        WIDGET("{'properties':{'a':{'type':'strin'}}}"),
        WIDGET("{'properties':{'a':{'type':'list'}}}"),
        WIDGET("{'properties':{'a':{'ref':'NoSuchType'}}}"),
        WIDGET("{'properties':{'a':{'type':'object','hook':'nope'}}}"),
        WIDGET("{'properties':{'a':{'type':'object','rule':'nope'}}}"),
        WIDGET("{'properties':{'a':{'type':'string','pattern':'('}}}"),
        WIDGET("{'properties':{'a':7}}"),
        "{'group':'e.com','version':'v1','kind':'Y','plural':'ys','scope':'Cluster','columns':[{'name':'A','"
        "column':'nope'}]}",
        "{'group':'e.com','version':'v1','kind':'Y','plural':'ys','scope':'Cluster','columns':[{'name':'A'}]"
        "}",
        "{'group':'e.com','version':'v1','kind':'Y','plural':'ys','scope':'Cluster','validators':['nope']}",
        "{'group':'e.com','version':'v1','kind':'Y','plural':'ys','scope':'Cluster','references':[{'path':'a'"
        "}]}",
    };
    struct schema *schema = load_kinds();
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct err *err = NULL;
        assert_int_equal(add_text(schema, wrong[i], &err), -1);
        assert_int_equal(err_code(err), ERR_INVALID);
        err_free(err);
    }
    assert_null(schema_find_word(schema, "widgets"));
    assert_null(schema_find_word(schema, "ys"));
    assert_int_equal(add_text(schema, WIDGET("{'properties':{'spec':{'ref':'PodSpec'}}}"), NULL), 0);
    schema_free(schema);
    (void)state;
}

static void test_a_type_may_contain_itself(void **state)
{
    struct schema *schema = *state;
    assert_int_equal(
        add_text(schema,
                 "{'types':{'Tree':{'type':'object','properties':{'name':{'type':'string','required':true},"
                 "'below':{'type':'list','items':{'ref':'Tree'}}}}}}",
                 NULL),
        0);
    assert_int_equal(add_text(schema, WIDGET("{'properties':{'root':{'ref':'Tree'}}}"), NULL), 0);
    auto_json object =
        from_text("{'metadata':{'name':'w'},'root':{'name':'a','below':[{'name':'b','below':[{}]}]}}");
    auto_free char *causes = validate(kind_of(schema, "widgets"), object, NULL);
    assert_string_equal(causes, "root.below[0].below[0].name: Required value");
    auto_json document = schema_openapi_v3(schema, "apis/example.com/v1");
    assert_non_null(document);
    auto_free char *text = schema_explain(kind_of(schema, "widgets"), "root", true, NULL);
    assert_non_null(text);
}

static void *read_all_the_time(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        const struct schema_kind *kind = schema_find_word(arg, "widgets");
        auto_json object = from_text("{'metadata':{'name':'w'},'a':'x','b':'y'}");
        if (kind) {
            schema_check(kind, object, SCHEMA_IGNORE, NULL, NULL);
            schema_default(kind, object);
        }
        auto_json groups = schema_discovery_groups(arg);
    }
    return NULL;
}

static void test_readers_beside_a_writer(void **state)
{
    struct schema *schema = load_kinds();
    pthread_t readers[2];
    for (size_t i = 0; i < COUNT_OF(readers); i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_all_the_time, schema), 0);
    for (int i = 0; i < 300; i++)
        assert_int_equal(add_text(schema,
                                  i % 2 ? WIDGET("{'properties':{'a':{'type':'string','default':'q'}}}")
                                        : WIDGET("{'properties':{'b':{'type':'string'}}}"),
                                  NULL),
                         0);
    for (size_t i = 0; i < COUNT_OF(readers); i++)
        pthread_join(readers[i], NULL);
    schema_free(schema);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_a_kind_in_the_words_of_a_crd),
        cmocka_unit_test(test_a_users_definition_has_no_words_of_ours),
        cmocka_unit_test(test_definitions_make_the_same_registry),
        cmocka_unit_test(test_replacing_a_kind),
        cmocka_unit_test(test_wrong_definitions_leave_the_registry_as_it_was),
        cmocka_unit_test(test_a_type_may_contain_itself),
        cmocka_unit_test(test_readers_beside_a_writer),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
