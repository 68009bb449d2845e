/* Kinds that users bring (CustomResourceDefinition), roles and bindings, and bodies of typed clients
 * (protobuf). */
#include "api_test.h"

#define CRDS "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#define WIDGETS "/apis/example.com/v1/namespaces/default/widgets"
#define RBAC "/apis/rbac.authorization.k8s.io/v1"
#define WIDGET_CRD                                                                                           \
    "{'metadata':{'name':'widgets.example.com'},'spec':{'group':'example.com','scope':'Namespaced',"         \
    "'names':{'plural':'widgets','singular':'widget','kind':'Widget','shortNames':['wd']},"                  \
    "'versions':[{'name':'v1','served':true,'storage':true,'subresources':{'status':{}},"                    \
    "'additionalPrinterColumns':[{'name':'Size','type':'integer','jsonPath':'.spec.size'}],"                 \
    "'schema':{'openAPIV3Schema':{'type':'object','properties':{'spec':{'type':'object','properties':"       \
    "{'size':{'type':'integer','minimum':1}}},'status':{'type':'object','properties':{'ok':{'type':"         \
    "'boolean'}}}}}}}]}}"

static void add_kind(struct world *w, const char *resource, const char *definition)
{
    if (schema_find_resource(w->schema, resource))
        return;
    auto_free char *text = quoted(definition);
    auto_json json = json_parse(text, strlen(text), NULL);
    auto_err err = NULL;
    if (schema_add(w->schema, json, &err) < 0)
        fail_msg("%s", err_message(err));
}

static void test_custom_kind(void **state)
{
    struct world *w = *state;
    add_kind(w, "customresourcedefinitions.apiextensions.k8s.io",
             "{'group':'apiextensions.k8s.io','version':'v1','kind':'CustomResourceDefinition',"
             "'plural':'customresourcedefinitions','scope':'Cluster','schema':{'properties':{'spec':{'type':'"
             "any'}}}}");
    expect(w, 404, "GET", WIDGETS, NULL);
    expect(w, 201, "POST", CRDS, WIDGET_CRD);
    auto_reply made =
        ask(w, "POST", WIDGETS, "{'metadata':{'name':'a'},'spec':{'size':3},'status':{'ok':true}}");
    assert_int_equal(made.status, 201);
    assert_at(made, "kind", "Widget");
    assert_null(json_get(made.json, "status"));
    auto_reply small = ask(w, "POST", WIDGETS, "{'metadata':{'name':'b'},'spec':{'size':0}}");
    assert_int_equal(small.status, 422);
    auto_reply typo =
        ask(w, "POST", WIDGETS "?fieldValidation=Strict", "{'metadata':{'name':'b'},'spec':{'sise':1}}");
    assert_int_equal(typo.status, 400);
    auto_reply strategic =
        ask_type(w, "PATCH", WIDGETS "/a", "application/strategic-merge-patch+json", "{'spec':{'size':4}}");
    assert_int_equal(strategic.status, 415);
    auto_reply status =
        ask_type(w, "PATCH", WIDGETS "/a/status", "application/merge-patch+json", "{'status':{'ok':true}}");
    assert_int_equal(status.status, 200);
    auto_reply table =
        ask_accept(w, WIDGETS, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    assert_at(table, "columnDefinitions[1].name", "Size");
    /* the kind and its objects are there after a restart, also in a registry that does not know it yet */
    world_close(w);
    schema_free(w->schema);
    w->schema = schema_new();
    load_kinds(w->schema);
    add_kind(w, "customresourcedefinitions.apiextensions.k8s.io",
             "{'group':'apiextensions.k8s.io','version':'v1','kind':'CustomResourceDefinition',"
             "'plural':'customresourcedefinitions','scope':'Cluster','schema':{'properties':{'spec':{'type':'"
             "any'}}}}");
    world_open(w);
    expect(w, 200, "GET", WIDGETS "/a", NULL);
}

/* kubectl wait and helm do not go on before the definition is established. */
static void test_established(void **state)
{
    struct world *w = *state;
    auto_reply made = ask(w, "POST", CRDS, WIDGET_CRD);
    assert_int_equal(made.status, 201);
    assert_at(made, "status.conditions[0].type", "NamesAccepted");
    assert_at(made, "status.conditions[0].reason", "NoConflicts");
    assert_at(made, "status.conditions[1].type", "Established");
    assert_at(made, "status.conditions[1].status", "True");
    assert_at(made, "status.conditions[1].reason", "InitialNamesAccepted");
    assert_at(made, "status.acceptedNames.plural", "widgets");
    assert_at(made, "status.acceptedNames.listKind", "WidgetList");
    assert_at(made, "status.storedVersions[0]", "v1");
    auto_reply more =
        ask_type(w, "PATCH", CRDS "/widgets.example.com", "application/json-patch+json",
                 "[{'op':'add','path':'/spec/versions/0','value':{'name':'v2','served':true,'storage':true,"
                 "'schema':{'openAPIV3Schema':{'type':'object'}}}},"
                 "{'op':'replace','path':'/spec/versions/1/storage','value':false}]");
    assert_int_equal(more.status, 200);
    assert_at(more, "status.storedVersions[0]", "v1");
    assert_at(more, "status.storedVersions[1]", "v2");
    assert_int_equal(cJSON_GetArraySize(json_at(more.json, "status.conditions")), 2);
    auto_reply same = ask_type(w, "PATCH", CRDS "/widgets.example.com", "application/merge-patch+json", "{}");
    assert_at(same, "metadata.resourceVersion", text_at(&more, "metadata.resourceVersion"));
    /* one that an earlier server has stored */
    auto_reply bare = ask_type(w, "PATCH", CRDS "/widgets.example.com/status", "application/merge-patch+json",
                               "{'status':{'conditions':null,'storedVersions':null}}");
    assert_int_equal(bare.status, 200);
    assert_at(bare, "status.conditions[0].type", "(absent)");
    world_close(w);
    world_open(w);
    bool ready = false;
    api_bootstrap(w->api, on_bootstrapped, &ready);
    settle(w);
    assert_true(ready);
    auto_reply again = ask(w, "GET", CRDS "/widgets.example.com", NULL);
    assert_at(again, "status.conditions[1].type", "Established");
    assert_at(again, "status.storedVersions[0]", "v2");
}

#define GADGETS(version) "/apis/example.com/" version "/namespaces/default/gadgets"
#define ANY "'schema':{'openAPIV3Schema':{'type':'object','x-kubernetes-preserve-unknown-fields':true}}"

/* The same objects in two versions: whoever asks sees and writes the one that he asks for. */
static void test_two_versions(void **state)
{
    struct world *w = *state;
    struct lines watch;
    expect(w, 201, "POST", CRDS,
           "{'metadata':{'name':'gadgets.example.com'},'spec':{'group':'example.com','scope':'Namespaced',"
           "'names':{'plural':'gadgets','kind':'Gadget'},'versions':["
           "{'name':'v1beta1','served':true,'storage':true," ANY "},"
           "{'name':'v1alpha1','served':true,'storage':false," ANY "},"
           "{'name':'v2','served':true,'storage':false," ANY "}]}}");
    auto_reply made = ask(w, "POST", GADGETS("v1beta1"), "{'metadata':{'name':'g'},'spec':{'size':1}}");
    assert_at(made, "apiVersion", "example.com/v1beta1");
    auto_reply got = ask(w, "GET", GADGETS("v2") "/g", NULL);
    assert_at(got, "apiVersion", "example.com/v2");
    assert_int_equal(json_int(got.json, "spec.size", 0), 1);
    auto_reply list = ask(w, "GET", GADGETS("v2"), NULL);
    assert_at(list, "items[0].apiVersion", "example.com/v2");
    assert_at(list, "items[0].metadata.uid", text_at(&made, "metadata.uid"));
    lines_open(w, w->client, &watch, GADGETS("v2") "?watch=true", NULL);
    assert_non_null(strstr(str_c(&watch.text), "\"apiVersion\":\"example.com/v2\""));
    lines_close(w, &watch);
    auto_reply table = ask_accept(w, GADGETS("v2") "?includeObject=Object",
                                  "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    assert_at(table, "rows[0].object.apiVersion", "example.com/v2");
    auto_reply same = ask_type(w, "PATCH", GADGETS("v2") "/g", "application/merge-patch+json", "{}");
    assert_int_equal(same.status, 200);
    assert_at(same, "apiVersion", "example.com/v2");
    assert_at(same, "metadata.resourceVersion", text_at(&made, "metadata.resourceVersion"));
    expect(w, 200, "PUT", GADGETS("v2") "/g", got.text); /* read, written back */
    auto_reply more =
        ask_type(w, "PATCH", GADGETS("v1beta1") "/g", "application/merge-patch+json", "{'spec':{'size':2}}");
    assert_int_equal(more.status, 200);
    assert_at(more, "apiVersion", "example.com/v1beta1");
    auto_reply groups = ask(w, "GET", "/apis/example.com", NULL);
    assert_at(groups, "preferredVersion.groupVersion", "example.com/v2");
    assert_at(groups, "versions[1].version", "v1beta1");
    assert_at(groups, "versions[2].version", "v1alpha1");
}

static void serve(struct world *w, const char *version, const char *served)
{
    auto_free char *patch =
        mem_printf("[{'op':'replace','path':'/spec/versions/%s/served','value':%s}]", version, served);
    auto_reply reply =
        ask_type(w, "PATCH", CRDS "/gadgets.example.com", "application/json-patch+json", patch);
    assert_int_equal(reply.status, 200);
}

/* What is not served is not found; what is deleted takes its objects with it, and none comes meanwhile. */
static void test_kind_goes(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", CRDS,
           "{'metadata':{'name':'gadgets.example.com'},'spec':{'group':'example.com','scope':'Namespaced',"
           "'names':{'plural':'gadgets','kind':'Gadget'},'versions':["
           "{'name':'v1','served':true,'storage':true," ANY "},"
           "{'name':'v2','served':true,'storage':false," ANY "}]}}");
    expect(w, 201, "POST", GADGETS("v1"), "{'metadata':{'name':'g'}}");
    serve(w, "0", "false");
    expect(w, 404, "GET", GADGETS("v1") "/g", NULL);
    expect(w, 200, "GET", GADGETS("v2") "/g", NULL);
    assert_non_null(schema_find_resource(w->schema, "gadgets.example.com"));
    serve(w, "1", "false");
    expect(w, 404, "GET", GADGETS("v2") "/g", NULL);
    expect(w, 404, "GET", "/apis/example.com", NULL);
    serve(w, "0", "true");
    expect(w, 200, "GET", GADGETS("v1") "/g", NULL);
    auto_reply marked = ask(w, "DELETE", CRDS "/gadgets.example.com", NULL);
    assert_int_equal(marked.status, 200);
    assert_at(marked, "metadata.finalizers[0]", "customresourcecleanup.apiextensions.k8s.io");
    assert_at(marked, "status.conditions[2].type", "Terminating");
    expect(w, 405, "POST", GADGETS("v1"), "{'metadata':{'name':'late'}}");
    expect(w, 200, "DELETE", GADGETS("v1") "/g", NULL);
    auto_reply last = ask_type(w, "PATCH", CRDS "/gadgets.example.com", "application/merge-patch+json",
                               "{'metadata':{'finalizers':null}}");
    assert_int_equal(last.status, 200);
    expect(w, 404, "GET", CRDS "/gadgets.example.com", NULL);
    expect(w, 404, "GET", GADGETS("v1"), NULL);
    /* the server's own kinds are no user's to define */
    expect(w, 422, "POST", CRDS,
           "{'metadata':{'name':'jobs.batch'},'spec':{'group':'batch','scope':'Namespaced',"
           "'names':{'plural':'jobs','kind':'Job'},'versions':["
           "{'name':'v1','served':true,'storage':true," ANY "}]}}");
}

#define COLUMN(name, type, path) "{'name':'" name "','type':'" type "','jsonPath':'" path "'}"
#define COLUMNS(columns)                                                                                     \
    "{'metadata':{'name':'gadgets.example.com'},'spec':{'group':'example.com','scope':'Namespaced',"         \
    "'names':{'plural':'gadgets','kind':'Gadget'},'versions':[{'name':'v1','served':true,'storage':true,"    \
    "'additionalPrinterColumns':[" columns "]," ANY "}]}}"

/* As most operators write them: the condition of one type. */
static void test_columns_with_filters(void **state)
{
    struct world *w = *state;
    auto_reply wrong =
        ask(w, "POST", CRDS, COLUMNS(COLUMN("Bad", "string", ".status.conditions[?(@.type==")));
    assert_int_equal(wrong.status, 422);
    assert_at(wrong, "details.causes[0].field", "spec.versions[0].additionalPrinterColumns[0].jsonPath");
    expect(
        w, 201, "POST", CRDS,
        COLUMNS(COLUMN("Ready", "string", ".status.conditions[?(@.type==\\'Ready\\')].status") "," COLUMN(
            "Since", "date",
            ".status.conditions[?(@.type==\\'Ready\\')].lastTransitionTime") "," COLUMN("Sizes", "integer",
                                                                                        ".spec.sizes["
                                                                                        "1]") "," COLUMN("Not"
                                                                                                         "e",
                                                                                                         "str"
                                                                                                         "in"
                                                                                                         "g",
                                                                                                         ".me"
                                                                                                         "tad"
                                                                                                         "ata"
                                                                                                         ".an"
                                                                                                         "not"
                                                                                                         "ati"
                                                                                                         "ons"
                                                                                                         ".a"
                                                                                                         "\\"
                                                                                                         "\\."
                                                                                                         "b")));
    expect(w, 201, "POST", GADGETS("v1"),
           "{'metadata':{'name':'g','annotations':{'a.b':'note'}},'spec':{'sizes':[1,2]},'status':{"
           "'conditions':[{'type':'Synced','status':'False'},"
           "{'type':'Ready','status':'True','lastTransitionTime':'2023-11-14T22:13:10Z'}]}}");
    auto_reply table =
        ask_accept(w, GADGETS("v1"), "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    assert_at(table, "rows[0].cells[1]", "True");
    assert_at(table, "rows[0].cells[2]", "10s");
    assert_int_equal(json_int(table.json, "rows[0].cells[3]", 0), 2);
    assert_at(table, "rows[0].cells[4]", "note");
}

/* What the generators of operators write is taken under strict validation; who uses an old version is told.
 */
static void test_whole_definition(void **state)
{
    struct world *w = *state;
    auto_reply made = ask(
        w, "POST", CRDS "?fieldValidation=Strict",
        "{'metadata':{'name':'gadgets.example.com'},'spec':{'group':'example.com','scope':'Namespaced',"
        "'names':{'plural':'gadgets','kind':'Gadget'},'conversion':{'strategy':'None'},'versions':["
        "{'name':'v1','served':true,'storage':true,'selectableFields':[{'jsonPath':'.spec.size'}]," ANY "},"
        "{'name':'v1beta1','served':true,'storage':false,'deprecated':true," ANY "},"
        "{'name':'v1alpha1','served':true,'storage':false,'deprecated':true,"
        "'deprecationWarning':'use v1 for Gadgets'," ANY "}]}}");
    assert_int_equal(made.status, 201);
    assert_non_null(made.warning);
    assert_non_null(strstr(made.warning, "selectableFields"));
    auto_reply stable = ask(w, "GET", GADGETS("v1"), NULL);
    assert_null(stable.warning);
    auto_reply beta = ask(w, "GET", GADGETS("v1beta1"), NULL);
    assert_non_null(strstr(beta.warning, "example.com/v1beta1 Gadget is deprecated"));
    auto_reply alpha = ask(w, "GET", GADGETS("v1alpha1"), NULL);
    assert_non_null(strstr(alpha.warning, "use v1 for Gadgets"));
    auto_reply written = ask(w, "POST", GADGETS("v1alpha1"), "{'metadata':{'name':'g'}}");
    assert_int_equal(written.status, 201);
    assert_non_null(strstr(written.warning, "use v1 for Gadgets"));
}

/* autoscaling/v1 is another form of what is stored as v2; what it cannot say comes through unharmed. */
static void test_versions(void **state)
{
#define HPA(version) "/apis/autoscaling/" version "/namespaces/default/horizontalpodautoscalers"
    struct world *w = *state;
    auto_reply made =
        ask(w, "POST", HPA("v1"),
            "{'apiVersion':'autoscaling/v1','kind':'HorizontalPodAutoscaler','metadata':{'name':'h'},"
            "'spec':{'scaleTargetRef':{'kind':'Deployment','name':'d','apiVersion':'apps/v1'},"
            "'maxReplicas':3,'targetCPUUtilizationPercentage':70}}");
    assert_int_equal(made.status, 201);
    assert_at(made, "apiVersion", "autoscaling/v1");
    assert_int_equal(json_int(made.json, "spec.targetCPUUtilizationPercentage", 0), 70);
    assert_null(json_at(made.json, "spec.metrics"));
    auto_reply stored = ask(w, "GET", HPA("v2") "/h", NULL);
    assert_at(stored, "apiVersion", "autoscaling/v2");
    assert_int_equal(json_int(stored.json, "spec.metrics[0].resource.target.averageUtilization", 0), 70);
    auto_reply more =
        ask_type(w, "PATCH", HPA("v2") "/h", "application/merge-patch+json",
                 "{'spec':{'behavior':{'scaleDown':{'stabilizationWindowSeconds':5}},'metrics':[{'type':"
                 "'Resource','resource':{'name':'memory','target':{'type':'AverageValue','averageValue':"
                 "'1Mi'}}},{'type':'Resource','resource':{'name':'cpu','target':{'type':'Utilization',"
                 "'averageUtilization':50}}}]}}");
    assert_int_equal(more.status, 200);
    auto_reply list = ask(w, "GET", HPA("v1"), NULL);
    assert_at(list, "apiVersion", "autoscaling/v1");
    assert_int_equal(json_int(list.json, "items[0].spec.targetCPUUtilizationPercentage", 0), 50);
    auto_json object = json_copy(json_at(list.json, "items[0]")); /* read, changed, written back */
    json_set_int(json_get(object, "spec"), "targetCPUUtilizationPercentage", 40);
    auto_free char *text = json_print(object);
    expect(w, 200, "PUT", HPA("v1") "/h", text);
    auto_reply kept = ask(w, "GET", HPA("v2") "/h", NULL);
    assert_int_equal(json_int(kept.json, "spec.metrics[0].resource.target.averageUtilization", 0), 40);
    assert_at(kept, "spec.metrics[1].resource.target.averageValue", "1Mi");
    assert_int_equal(json_int(kept.json, "spec.behavior.scaleDown.stabilizationWindowSeconds", 0), 5);
    assert_null(json_at(kept.json, "metadata.annotations"));
    expect(w, 405, "GET", HPA("v1") "?watch=true", NULL);
    auto_reply discovery = ask(w, "GET", "/apis/autoscaling", NULL);
    assert_at(discovery, "preferredVersion.version", "v2");
    assert_at(discovery, "versions[1].version", "v1");
}

static void add_rbac_kinds(struct world *w)
{
    static const char *const kinds[][3] = {{"ClusterRole", "clusterroles", "Cluster"},
                                           {"Role", "roles", "Namespaced"},
                                           {"ClusterRoleBinding", "clusterrolebindings", "Cluster"},
                                           {"RoleBinding", "rolebindings", "Namespaced"}};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        auto_free char *resource = mem_printf("%s.rbac.authorization.k8s.io", kinds[i][1]);
        auto_free char *definition = mem_printf(
            "{'group':'rbac.authorization.k8s.io','version':'v1','kind':'%s','plural':'%s','scope':'%s',"
            "'nameRule':'path','schema':{'properties':{'rules':{'type':'any'},'subjects':{'type':'any'},"
            "'roleRef':{'type':'any'}}}}",
            kinds[i][0], kinds[i][1], kinds[i][2]);
        add_kind(w, resource, definition);
    }
}

static int status_as(struct world *w, const char *user, const char *group, const char *method,
                     const char *target)
{
    auto_reply reply = ask_client(w, world_as(w, user, group, NULL), method, target, NULL, NULL, NULL);
    return reply.status;
}

static void test_rbac(void **state)
{
    struct world *w = *state;
    add_rbac_kinds(w);
    expect(w, 201, "POST", RBAC "/clusterroles",
           "{'metadata':{'name':'reader'},'rules':[{'apiGroups':[''],'resources':['pods'],'verbs':['get','"
           "list']},"
           "{'nonResourceURLs':['/metrics*'],'verbs':['get']}]}");
    expect(w, 201, "POST", RBAC "/namespaces/default/roles",
           "{'metadata':{'name':'one'},'rules':[{'apiGroups':[''],'resources':['configmaps'],'resourceNames':"
           "['x'],"
           "'verbs':['*']}]}");
    expect(w, 201, "POST", RBAC "/namespaces/default/rolebindings",
           "{'metadata':{'name':'b1'},'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'ClusterRole',"
           "'name':'reader'},"
           "'subjects':[{'kind':'Group','apiGroup':'rbac.authorization.k8s.io','name':'team'}]}");
    expect(w, 201, "POST", RBAC "/namespaces/default/rolebindings",
           "{'metadata':{'name':'b2'},'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'Role','name':"
           "'one'},"
           "'subjects':[{'kind':'User','apiGroup':'rbac.authorization.k8s.io','name':'ann'}]}");
    expect(w, 201, "POST", RBAC "/clusterrolebindings",
           "{'metadata':{'name':'b3'},'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'ClusterRole',"
           "'name':'reader'},"
           "'subjects':[{'kind':'ServiceAccount','namespace':'default','name':'prometheus'}]}");
    assert_int_equal(status_as(w, "bob", "team", "GET", "/api/v1/namespaces/default/pods"), 200);
    assert_int_equal(status_as(w, "bob", "team", "GET", "/api/v1/namespaces/kube-system/pods"), 403);
    assert_int_equal(status_as(w, "bob", "team", "GET", "/api/v1/pods"), 403);
    assert_int_equal(status_as(w, "bob", "team", "DELETE", "/api/v1/namespaces/default/pods/p"), 403);
    assert_int_equal(status_as(w, "bob", "team", "GET", "/api/v1/namespaces/default/pods/p/log"), 403);
    assert_int_equal(status_as(w, "ann", "x", "GET", "/api/v1/namespaces/default/configmaps/x"), 404);
    assert_int_equal(status_as(w, "ann", "x", "GET", "/api/v1/namespaces/default/configmaps/y"), 403);
    /* A role that names objects covers a list and watch of that one name. */
    const char *list = "/api/v1/namespaces/default/configmaps";
    auto_free char *one = mem_printf("%s?fieldSelector=metadata.name%%3Dx", list);
    auto_free char *other = mem_printf("%s?fieldSelector=metadata.name%%3Dy", list);
    assert_int_equal(status_as(w, "ann", "x", "GET", one), 200);
    assert_int_equal(status_as(w, "ann", "x", "GET", other), 403);
    assert_int_equal(status_as(w, "ann", "x", "GET", list), 403);
    assert_int_equal(status_as(w, "ann", "x", "GET", "/metrics"), 403);
    const char *account = "system:serviceaccount:default:prometheus";
    assert_int_equal(status_as(w, account, "x", "GET", "/metrics"), 200);
    assert_int_equal(status_as(w, account, "x", "GET", "/api/v1/pods"), 200);
}

static void test_protobuf_body(void **state)
{
    struct world *w = *state;
    /* k8s\0, Unknown{TypeMeta{v1, ConfigMap}, raw = ConfigMap{metadata{name pb}, data{a: 1}}} */
    static const char body[] = "k8s\0\x0a\x0f\x0a\x02v1\x12\x09"
                               "ConfigMap\x12\x0e\x0a\x04\x0a\x02pb\x12\x06\x0a\x01"
                               "a\x12\x01"
                               "1\x1a\x00\x22\x00";
    struct reply reply = {0};
    const struct http_call call = {.method = "POST",
                                   .target = "/api/v1/namespaces/default/configmaps",
                                   .content_type = "application/vnd.kubernetes.protobuf",
                                   .body = body,
                                   .body_len = sizeof(body) - 1,
                                   .on_response = on_reply,
                                   .arg = &reply};
    w->client->ops->call(w->client, &call);
    while (!reply.done)
        turn(w);
    if (reply.status != 201)
        fail_msg("%s", reply.text);
    assert_at(reply, "metadata.name", "pb");
    assert_at(reply, "data.a", "1");
    reply_fini(&reply);
    auto_reply bad = ask_type(w, "POST", "/api/v1/namespaces/default/configmaps",
                              "application/vnd.kubernetes.protobuf", "not protobuf");
    assert_int_equal(bad.status, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_custom_kind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_established, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kind_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_columns_with_filters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_whole_definition, setup, teardown),
        cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rbac, setup, teardown),
        cmocka_unit_test_setup_teardown(test_protobuf_body, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
