/* What clients learn of the server: discovery in both forms, OpenAPI v3 with what kubectl looks for, explain.
 */
#include "schema_test.h"

static const cJSON *named(const cJSON *list, const char *key, const char *value)
{
    json_each (item, list) {
        if (str_eq(json_string(item, key), value))
            return item;
    }
    fail_msg("nothing with %s %s", key, value);
    return NULL;
}

static void test_legacy(void **state)
{
    auto_json groups = schema_discovery_groups(*state);
    const cJSON *apps = named(json_get(groups, "groups"), "name", "apps");
    assert_json(apps, "{'name':'apps','versions':[{'groupVersion':'apps/"
                      "v1','version':'v1'}],'preferredVersion':{'groupVersion':'apps/v1','version':'v1'}}");
    json_each (group, json_get(groups, "groups"))
        assert_true(*json_string(group, "name") != 0); /* core is not a group here */

    auto_json core = schema_discovery_resources(*state, "", "v1");
    assert_string_equal(json_string(core, "groupVersion"), "v1");
    const cJSON *resources = json_get(core, "resources");
    assert_json(named(resources, "name", "pods"),
                "{'name':'pods','singularName':'pod','namespaced':true,'kind':'Pod','shortNames':['po'],'"
                "categories':['all'],"
                "'verbs':['create','delete','deletecollection','get','list','patch','update','watch']}");
    assert_json(named(resources, "name", "pods/eviction"),
                "{'name':'pods/"
                "eviction','singularName':'','namespaced':true,'kind':'Eviction','group':'policy','version':'"
                "v1','verbs':['create']}");
    assert_string_equal(json_string(named(resources, "name", "pods/status"), "kind"), "Pod");
    assert_json(json_get(named(resources, "name", "nodes/proxy"), "verbs"), "['get']");
    json_each (resource, resources) /* what is not served is not offered */
        assert_false(str_eq(json_string(resource, "name"), "pods/proxy") ||
                     str_eq(json_string(resource, "name"), "services/proxy"));
    auto_json apps_resources = schema_discovery_resources(*state, "apps", "v1");
    assert_string_equal(
        json_string(named(json_get(apps_resources, "resources"), "name", "deployments/scale"), "group"),
        "autoscaling");
    assert_null(schema_discovery_resources(*state, "apps", "v2"));
    assert_null(schema_discovery_group(*state, "nothing"));
    auto_json one = schema_discovery_group(*state, "apps");
    assert_string_equal(json_string(one, "kind"), "APIGroup");
}

static void test_aggregated(void **state)
{
    auto_json core = schema_discovery_aggregated(*state, true);
    assert_string_equal(json_string(core, "kind"), "APIGroupDiscoveryList");
    assert_int_equal(cJSON_GetArraySize(json_get(core, "items")), 1);
    const cJSON *version = json_at(core, "items[0].versions[0]");
    assert_string_equal(json_string(version, "freshness"), "Current");
    const cJSON *pods = named(json_get(version, "resources"), "resource", "pods");
    assert_string_equal(json_string(pods, "scope"), "Namespaced");
    assert_string_equal(json_string(pods, "responseKind.kind"), "Pod");
    assert_string_equal(
        json_string(named(json_get(pods, "subresources"), "subresource", "eviction"), "responseKind.group"),
        "policy");
    auto_json others = schema_discovery_aggregated(*state, false);
    const cJSON *apps = named(json_get(others, "items"), "metadata.name", "apps");
    assert_string_equal(json_string(apps, "versions[0].resources[0].responseKind.group"), "apps");
}

/* What is only asked has a resource too, so that clients find its path. */
static void test_reviews(void **state)
{
    auto_json groups = schema_discovery_groups(*state);
    assert_json(named(json_get(groups, "groups"), "name", "authorization.k8s.io"),
                "{'name':'authorization.k8s.io','versions':[{'groupVersion':'authorization.k8s.io/"
                "v1','version':'v1'}],"
                "'preferredVersion':{'groupVersion':'authorization.k8s.io/v1','version':'v1'}}");
    auto_json one = schema_discovery_group(*state, "authentication.k8s.io");
    assert_string_equal(json_string(one, "preferredVersion.version"), "v1");
    auto_json resources = schema_discovery_resources(*state, "authorization.k8s.io", "v1");
    assert_int_equal(cJSON_GetArraySize(json_get(resources, "resources")), 4);
    assert_json(
        named(json_get(resources, "resources"), "name", "localsubjectaccessreviews"),
        "{'name':'localsubjectaccessreviews','singularName':'localsubjectaccessreview','namespaced':true,"
        "'kind':'LocalSubjectAccessReview','verbs':['create']}");
    assert_null(schema_discovery_resources(*state, "authorization.k8s.io", "v1beta1"));
    auto_json others = schema_discovery_aggregated(*state, false);
    const cJSON *group = named(json_get(others, "items"), "metadata.name", "authentication.k8s.io");
    assert_json(
        named(json_at(group, "versions[0].resources"), "resource", "tokenreviews"),
        "{'resource':'tokenreviews','responseKind':{'group':'authentication.k8s.io','version':'v1',"
        "'kind':'TokenReview'},'scope':'Cluster','singularResource':'tokenreview','verbs':['create']}");
    auto_json core = schema_discovery_aggregated(*state, true);
    assert_int_equal(cJSON_GetArraySize(json_get(core, "items")), 1);
}

static void resolve_refs(const cJSON *json, const cJSON *schemas)
{
    const char *ref = json_string(json, "$ref");
    if (ref) {
        const char *name = strrchr(ref, '/') + 1;
        if (!json_get(schemas, name))
            fail_msg("dangling %s", ref);
    }
    if (cJSON_IsObject(json) || cJSON_IsArray(json)) {
        json_each (child, json)
            resolve_refs(child, schemas);
    }
}

static void test_openapi(void **state)
{
    auto_json index = schema_openapi_v3_index(*state);
    const cJSON *entry = json_get(json_get(index, "paths"), "apis/apps/v1");
    assert_true(str_starts(json_string(entry, "serverRelativeURL"), "/openapi/v3/apis/apps/v1?hash="));

    auto_json document = schema_openapi_v3(*state, "api/v1");
    const cJSON *patch = json_get(
        json_get(json_get(document, "paths"), "/api/v1/namespaces/{namespace}/pods/{name}"), "patch");
    named(json_get(patch, "parameters"), "name", "fieldValidation");
    assert_json(json_get(patch, "x-kubernetes-group-version-kind"),
                "{'group':'','version':'v1','kind':'Pod'}");
    assert_non_null(json_get(json_get(document, "paths"), "/api/v1/nodes/{name}"));
    const cJSON *schemas = json_at(document, "components.schemas");
    const cJSON *pod = json_get(schemas, "io.k8s.api.core.v1.Pod");
    assert_json(json_get(pod, "x-kubernetes-group-version-kind"),
                "[{'group':'','version':'v1','kind':'Pod'}]");
    const cJSON *containers = json_at(json_get(schemas, "io.minik8s.types.PodSpec"), "properties.containers");
    assert_string_equal(json_string(containers, "x-kubernetes-patch-merge-key"), "name");
    assert_string_equal(json_string(containers, "x-kubernetes-patch-strategy"), "merge");
    assert_true(strlen(json_string(containers, "description")) > 10);
    resolve_refs(document, schemas);

    assert_null(schema_openapi_v3(*state, "apis/apps/v7"));
    assert_null(schema_openapi_v3(*state, "api/apps/v1"));
    assert_null(schema_openapi_v3(*state, "apis/v1"));
    assert_null(schema_openapi_v3(*state, ""));
}

static void test_index_hash_follows_the_kinds(void **state)
{
    auto_json before = schema_openapi_v3_index(*state);
    auto_json same = schema_openapi_v3_index(*state);
    assert_true(json_equal(before, same));
    auto_json kind =
        from_text("{'group':'example.com','version':'v1','kind':'W','plural':'ws','scope':'Cluster'}");
    assert_int_equal(schema_add(*state, kind, NULL), 0);
    auto_json after = schema_openapi_v3_index(*state);
    assert_string_not_equal(json_string(json_get(json_get(before, "paths"), "api/v1"), "serverRelativeURL"),
                            json_string(json_get(json_get(after, "paths"), "api/v1"), "serverRelativeURL"));
}

static void test_explain(void **state)
{
    auto_free char *pod = schema_explain(kind_of(*state, "pod"), "", false, NULL);
    assert_true(
        str_starts(pod, "KIND:       Pod\nVERSION:    v1\n\nDESCRIPTION:\n    One or more containers"));
    assert_non_null(strstr(pod, "\nFIELDS:\n  apiVersion\t<string>\n"));
    assert_non_null(strstr(pod, "  spec\t<PodSpec> -required-\n"));

    auto_free char *field =
        schema_explain(kind_of(*state, "deploy"), "spec.template.spec.containers", false, NULL);
    assert_true(str_starts(field, "GROUP:      apps\nKIND:       Deployment\nVERSION:    v1\n\nFIELD: "
                                  "containers <[]Container> -required-\n"));
    assert_non_null(strstr(field, "  image\t<string> -required-\n    Image to run"));
    auto_free char *leaf = schema_explain(kind_of(*state, "pod"), "spec.restartPolicy", false, NULL);
    assert_non_null(strstr(leaf, "One of \"Always\", \"OnFailure\", \"Never\". Default: \"Always\"."));
    auto_free char *tree = schema_explain(kind_of(*state, "svc"), "spec", true, NULL);
    assert_non_null(strstr(tree, "  ports\t<[]ServicePort>\n    appProtocol\t<string>\n"));

    struct err *err = NULL;
    assert_null(schema_explain(kind_of(*state, "pod"), "spec.contaners", false, &err));
    assert_int_equal(err_code(err), ERR_NOT_FOUND);
    assert_string_equal(err_message(err), "field \"contaners\" does not exist; did you mean \"containers\"?");
    err_free(err);
    assert_null(schema_explain(kind_of(*state, "pod"), "spec.restartPolicy.x", false, NULL));
}

static void need_descriptions(const cJSON *json, const char *name)
{
    json_each (field, json_get(json, "properties")) {
        if (!json_string(field, "description"))
            fail_msg("%s.%s has no description", name, field->string);
        need_descriptions(field, field->string);
    }
    if (json_get(json, "items"))
        need_descriptions(json_get(json, "items"), name);
}

static void test_every_field_is_described(void **state)
{
    auto_free char *data = NULL;
    size_t len;
    assert_int_equal(file_read(MINIK8S_KINDS_JSON, 16 << 20, &data, &len, NULL), 0);
    auto_json kinds = json_parse(data, len, NULL);
    json_each (kind, kinds) {
        need_descriptions(json_get(kind, "schema"), json_string_or(kind, "kind", "types"));
        json_each (type, json_get(kind, "types"))
            need_descriptions(type, type->string);
        json_each (column, json_get(kind, "columns"))
            assert_non_null(json_string(column, "description"));
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_legacy),
        cmocka_unit_test(test_aggregated),
        cmocka_unit_test(test_reviews),
        cmocka_unit_test(test_openapi),
        cmocka_unit_test(test_index_hash_follows_the_kinds),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_every_field_is_described),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
