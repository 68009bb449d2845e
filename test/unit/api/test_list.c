/* Lists: selectors, chunks with their tokens, tables, metadata only, back-pressure; discovery and health. */
#include "api_test.h"

#define PODS "/api/v1/namespaces/default/pods"
#define CONFIGMAPS "/api/v1/namespaces/default/configmaps" /* one is always there: kube-root-ca.crt */
#define TABLE                                                                                                \
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/"                                              \
    "json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"

static void make_maps(struct world *w, int count)
{
    for (int i = 0; i < count; i++) {
        auto_free char *body =
            mem_printf("{'metadata':{'name':'m%02d','labels':{'odd':'%s'}}}", i, i % 2 ? "yes" : "no");
        expect(w, 201, "POST", CONFIGMAPS, body);
    }
}

static int items(const struct reply *reply)
{
    return cJSON_GetArraySize(json_get(reply->json, "items"));
}

static void test_list(void **state)
{
    struct world *w = *state;
    make_maps(w, 6);
    auto_reply list = ask(w, "GET", CONFIGMAPS, NULL);
    assert_int_equal(list.status, 200);
    assert_at(list, "kind", "ConfigMapList");
    assert_at(list, "apiVersion", "v1");
    assert_int_equal(items(&list), 7);
    assert_at(list, "items[1].metadata.name", "m00");
    auto_reply all = ask(w, "GET", "/api/v1/configmaps?labelSelector=odd%3Dyes", NULL);
    assert_int_equal(items(&all), 3);
    auto_reply not_odd = ask(w, "GET", CONFIGMAPS "?labelSelector=odd+notin+(yes),odd", NULL);
    assert_int_equal(items(&not_odd), 3);
    auto_reply named = ask(w, "GET", CONFIGMAPS "?fieldSelector=metadata.name%3Dm03", NULL);
    assert_int_equal(items(&named), 1);
    assert_at(named, "items[0].metadata.name", "m03");
    auto_reply others = ask(w, "GET", CONFIGMAPS "?fieldSelector=metadata.name!=m03", NULL);
    assert_int_equal(items(&others), 6);
    auto_reply unknown = ask(w, "GET", CONFIGMAPS "?fieldSelector=data.a%3D1", NULL);
    assert_int_equal(unknown.status, 400);
    assert_at(unknown, "message", "field label not supported: data.a");
    expect(w, 400, "GET", CONFIGMAPS "?labelSelector=a%20b%20c", NULL);
    expect(w, 400, "GET", CONFIGMAPS "?limit=many", NULL);
}

static void test_pod_fields(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", PODS,
           "{'metadata':{'name':'a'},'spec':{'nodeName':'n1','containers':[{'name':'c','image':'i:1'}]}}");
    expect(w, 201, "POST", PODS,
           "{'metadata':{'name':'b'},'spec':{'containers':[{'name':'c','image':'i:1'}]}}");
    auto_reply on_node = ask(w, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", NULL);
    assert_int_equal(items(&on_node), 1);
    auto_reply off_node =
        ask(w, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3D,status.phase%3DPending", NULL);
    assert_int_equal(items(&off_node), 1);
    assert_at(off_node, "items[0].metadata.name", "b");
}

static void test_chunks(void **state)
{
    struct world *w = *state;
    make_maps(w, 7);
    auto_reply first = ask(w, "GET", CONFIGMAPS "?limit=3", NULL);
    assert_int_equal(items(&first), 3);
    assert_int_equal(json_int(first.json, "metadata.remainingItemCount", 0), 5);
    auto_free char *revision = mem_strdup(text_at(&first, "metadata.resourceVersion"));
    expect(w, 201, "POST", CONFIGMAPS, "{'metadata':{'name':'zz'}}");
    auto_str target = {0};
    str_add(&target, CONFIGMAPS "?limit=3");
    http_query_add(&target, "continue", text_at(&first, "metadata.continue"));
    auto_reply second = ask(w, "GET", str_c(&target), NULL);
    assert_int_equal(items(&second), 3);
    assert_at(second, "items[0].metadata.name", "m02");
    assert_at(second, "metadata.resourceVersion", revision); /* a watch from there misses nothing */
    expect(w, 400, "GET", CONFIGMAPS "?limit=3&continue=bm9uc2Vuc2U", NULL);
    auto_free char *far = str_base64("1 999999 configmaps/a/b", 23);
    auto_free char *ahead = mem_printf(CONFIGMAPS "?limit=3&continue=%s", far);
    auto_reply expired = ask(w, "GET", ahead, NULL);
    assert_int_equal(expired.status, 410);
    assert_at(expired, "reason", "Expired");
}

static void test_revision_semantics(void **state)
{
    struct world *w = *state;
    expect(w, 200, "GET", CONFIGMAPS "?resourceVersion=0", NULL);
    expect(w, 200, "GET", CONFIGMAPS "?resourceVersion=1&resourceVersionMatch=NotOlderThan", NULL);
    expect(w, 504, "GET", CONFIGMAPS "?resourceVersion=999999", NULL);
    expect(w, 410, "GET", CONFIGMAPS "?resourceVersion=1&resourceVersionMatch=Exact", NULL);
    expect(w, 400, "GET", CONFIGMAPS "?resourceVersion=abc", NULL);
    expect(w, 400, "GET", CONFIGMAPS "?resourceVersionMatch=Exact", NULL);
}

static void test_table(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", PODS,
           "{'metadata':{'name':'a','labels':{'x':'y'}},'spec':{'containers':[{'name':'c','image':'i:1'}]}}");
    auto_reply table = ask_accept(w, PODS, TABLE);
    assert_at(table, "kind", "Table");
    assert_at(table, "apiVersion", "meta.k8s.io/v1");
    assert_at(table, "columnDefinitions[0].name", "Name");
    assert_at(table, "rows[0].cells[0]", "a");
    assert_at(table, "rows[0].object.kind", "PartialObjectMetadata");
    assert_at(table, "rows[0].object.metadata.labels.x", "y");
    auto_reply one = ask_accept(w, PODS "/a?includeObject=Object", TABLE);
    assert_at(one, "rows[0].object.spec.containers[0].name", "c");
    auto_reply none = ask_accept(w, PODS "/a?includeObject=None", TABLE);
    assert_null(json_at(none.json, "rows[0].object"));
    auto_reply wrong = ask_accept(w, PODS "?includeObject=Half", TABLE);
    assert_int_equal(wrong.status, 400);
    auto_reply partial =
        ask_accept(w, PODS, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    assert_at(partial, "kind", "PartialObjectMetadataList");
    assert_at(partial, "items[0].kind", "PartialObjectMetadata");
    assert_null(json_at(partial.json, "items[0].spec"));
    auto_reply plain = ask_accept(w, PODS, "application/vnd.kubernetes.protobuf, */*");
    assert_at(plain, "kind", "PodList");
}

/* The API's own Endpoints, which `kubectl get endpoints` shows; more addresses than fit into the column. */
static void test_endpoints(void **state)
{
    struct world *w = *state;
    const char *target = "/api/v1/namespaces/default/endpoints";
    world_close(w);
    w->options.public_address = "10.0.0.1";
    w->options.public_port = 6443;
    world_open(w);
    bool ready = false;
    api_bootstrap(w->api, on_bootstrapped, &ready);
    while (!ready)
        turn(w);
    expect(w, 201, "POST", target,
           "{'metadata':{'name':'many'},'subsets':[{'addresses':[{'ip':'10.0.0.1'},{'ip':'::1'}],"
           "'ports':[{'name':'a','port':1},{'name':'b','port':2}]},{'addresses':[{'ip':'10.0.0.3'}]}]}");
    expect(w, 201, "POST", target, "{'metadata':{'name':'none'}}");
    auto_reply table = ask_accept(w, "/api/v1/endpoints", TABLE);
    assert_at(table, "rows[0].cells[1]", "10.0.0.1:6443");
    assert_at(table, "rows[1].cells[1]", "10.0.0.1:1,[::1]:1,10.0.0.1:2 + 2 more...");
    assert_at(table, "rows[2].cells[1]", "<none>");
    auto_reply empty =
        ask(w, "POST", target, "{'metadata':{'name':'x'},'subsets':[{'ports':[{'port':1},{'port':2}]}]}");
    assert_int_equal(empty.status, 422);
    assert_at(empty, "details.causes[0].field", "subsets[0]");
    assert_at(empty, "details.causes[1].field", "subsets[0].ports[0].name");
    expect(w, 200, "DELETE", "/api/v1/namespaces/default/endpoints/kubernetes", NULL);
    settle(w);
    expect(w, 200, "GET", "/api/v1/namespaces/default/endpoints/kubernetes", NULL);
}

/* Big lists are streamed; while one is being sent the next one has to wait. */
static void test_big_list(void **state)
{
    struct world *w = *state;
    struct str body = {0};
    str_add(&body, "{'metadata':{'generateName':'big-'},'data':{'a':'");
    for (int i = 0; i < 1000; i++)
        str_add(&body, "0123456789012345678901234567890123456789012345678901234567890123456789");
    str_add(&body, "'}}");
    for (int i = 0; i < 12; i++)
        expect(w, 201, "POST", CONFIGMAPS, str_c(&body));
    str_free(&body);
    auto_reply whole = ask(w, "GET", CONFIGMAPS, NULL);
    assert_int_equal(items(&whole), 13);
    http_local_client_set_handler(w->client, NULL, NULL);
    w->client->ops->free(w->client);
    api_free(w->api);
    w->options.list_bytes_in_flight = 1000000;
    w->api = api_new(&w->options, NULL);
    const struct http_local_identity admin = {.user = "admin", .groups = masters};
    w->client = http_local_client_new(w->loop, api_handle, w->api, &admin);
    struct lines slow;
    const struct http_call call = {.method = "GET",
                                   .target = CONFIGMAPS,
                                   .on_data = on_line_data,
                                   .on_response = on_lines_end,
                                   .arg = &slow};
    slow = (struct lines){.client = w->client};
    slow.pending = w->client->ops->call(w->client, &call);
    w->client->ops->pause(w->client, slow.pending, true);
    settle(w);
    auto_reply refused = ask(w, "GET", CONFIGMAPS, NULL);
    assert_int_equal(refused.status, 429);
    assert_int_equal(json_int(refused.json, "details.retryAfterSeconds", 0), 1);
    w->client->ops->pause(w->client, slow.pending, false);
    settle(w);
    assert_true(slow.ended);
    auto_json all = json_parse(slow.text.data, slow.text.len, NULL);
    assert_int_equal(cJSON_GetArraySize(json_get(all, "items")), 13);
    expect(w, 200, "GET", CONFIGMAPS, NULL);
    lines_close(w, &slow);
}

static void test_discovery(void **state)
{
    struct world *w = *state;
    auto_reply version = ask(w, "GET", "/version/", NULL);
    assert_at(version, "gitVersion", "v1.35.0");
    assert_at(version, "minor", "35");
    auto_reply api = ask(w, "GET", "/api", NULL);
    assert_at(api, "kind", "APIVersions");
    auto_reply apis = ask(w, "GET", "/apis?timeout=32s", NULL);
    assert_at(apis, "kind", "APIGroupList");
    auto_reply core = ask(w, "GET", "/api/v1", NULL);
    assert_at(core, "kind", "APIResourceList");
    auto_reply apps = ask(w, "GET", "/apis/apps/v1", NULL);
    assert_at(apps, "groupVersion", "apps/v1");
    auto_reply group = ask(w, "GET", "/apis/apps", NULL);
    assert_at(group, "kind", "APIGroup");
    expect(w, 404, "GET", "/apis/none.example", NULL);
    auto_reply aggregated = ask_accept(
        w, "/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json");
    assert_at(aggregated, "kind", "APIGroupDiscoveryList");
    assert_string_equal(aggregated.content_type,
                        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    auto_reply v2 = ask(w, "GET", "/openapi/v2", NULL);
    assert_int_equal(v2.status, 200);
    assert_string_equal(v2.text, "");
    auto_reply v3 = ask(w, "GET", "/openapi/v3", NULL);
    assert_non_null(json_get(json_get(v3.json, "paths"), "api/v1"));
    expect(w, 200, "GET", "/openapi/v3/api/v1?hash=X", NULL);
    expect(w, 200, "GET", "/healthz", NULL);
    expect(w, 200, "GET", "/livez", NULL);
    expect(w, 200, "GET", "/readyz", NULL);
    expect(w, 200, "GET", "/metrics", NULL);
    expect(w, 404, "GET", "/nothing", NULL);
    expect(w, 405, "POST", "/version", "{}");
}

/* A RoleBinding's namespace says nothing about kinds that are in none; and a node may read what is its own
 * now. */
static void test_past_of_others(void **state)
{
    struct world *w = *state;
    expect(w, 400, "GET",
           "/apis/minik8s.io/v1/past?resource=clusterrolebindings.rbac.authorization.k8s.io&namespace=default"
           "&resourceVersion=2",
           NULL);
    struct http_client *node = world_as(w, "system:node:n1", "system:nodes", NULL);
    auto_reply gone = ask_client(
        w, node, "GET", "/apis/minik8s.io/v1/past?resource=pods&namespace=default&name=web-0&history=true",
        NULL, NULL, NULL);
    assert_int_equal(gone.status, 403);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pod_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chunks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_revision_semantics, setup, teardown),
        cmocka_unit_test_setup_teardown(test_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endpoints, setup, teardown),
        cmocka_unit_test_setup_teardown(test_big_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_discovery, setup, teardown),
        cmocka_unit_test_setup_teardown(test_past_of_others, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
