/* Watches in Kubernetes' form, and the one stream: order, selectors, bookmarks, ends, tables, resuming, scope
 * of a node. */
#include <inttypes.h>

#include "api_test.h"

#define PODS "/api/v1/namespaces/default/pods"
#define CONFIGMAPS "/api/v1/namespaces/default/configmaps"
#define STREAM "/apis/minik8s.io/v1/stream"
#define MERGE "application/merge-patch+json"
#define TABLE "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

static void make(struct world *w, const char *name, const char *label)
{
    auto_free char *body = mem_printf("{'metadata':{'name':'%s','labels':{'app':'%s'}}}", name, label);
    expect(w, 201, "POST", CONFIGMAPS, body);
}

static void relabel(struct world *w, const char *name, const char *label)
{
    auto_free char *target = mem_printf(CONFIGMAPS "/%s", name);
    auto_free char *body = mem_printf("{'metadata':{'labels':{'app':'%s'}}}", label);
    auto_reply reply = ask_type(w, "PATCH", target, MERGE, body);
    assert_int_equal(reply.status, 200);
}

static void test_from_now(void **state)
{
    struct world *w = *state;
    struct lines lines;
    make(w, "a", "x");
    auto_reply list = ask(w, "GET", CONFIGMAPS, NULL);
    auto_free char *target =
        mem_printf(CONFIGMAPS "?watch=true&resourceVersion=%s", text_at(&list, "metadata.resourceVersion"));
    lines_open(w, w->client, &lines, target, NULL);
    assert_lines(w, &lines, "");
    make(w, "b", "x");
    relabel(w, "a", "y");
    expect(w, 200, "DELETE", CONFIGMAPS "/b", NULL);
    assert_lines(w, &lines, "ADDED/b MODIFIED/a DELETED/b");
    lines_close(w, &lines);
}

static void test_initial_and_selectors(void **state)
{
    struct world *w = *state;
    struct lines labels, name;
    make(w, "a", "x");
    make(w, "b", "y");
    lines_open(w, w->client, &labels, CONFIGMAPS "?watch=True&labelSelector=app%3Dx&resourceVersion=0", NULL);
    lines_open(w, w->client, &name, CONFIGMAPS "?watch=1&fieldSelector=metadata.name%3Db", NULL);
    assert_lines(w, &labels, "ADDED/a");
    assert_lines(w, &name, "ADDED/b");
    relabel(w, "b", "x");
    relabel(w, "a", "y"); /* matches no more: DELETED for this reader */
    assert_lines(w, &labels, "ADDED/b DELETED/a");
    assert_lines(w, &name, "MODIFIED/b");
    lines_close(w, &labels);
    lines_close(w, &name);
}

static void test_send_initial_events(void **state)
{
    struct world *w = *state;
    struct lines lines;
    make(w, "a", "x");
    lines_open(w, w->client, &lines,
               CONFIGMAPS "?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&"
                          "resourceVersionMatch=NotOlderThan&timeoutSeconds=300",
               NULL);
    assert_non_null(strstr(str_c(&lines.text), "\"k8s.io/initial-events-end\":\"true\""));
    assert_lines(w, &lines, "ADDED/a ADDED/kube-root-ca.crt BOOKMARK/");
    make(w, "b", "x");
    assert_lines(w, &lines, "ADDED/b");
    lines_close(w, &lines);
    expect(w, 422, "GET", CONFIGMAPS "?watch=true&sendInitialEvents=true", NULL);
}

static void test_timeout_and_bookmarks(void **state)
{
    struct world *w = *state;
    struct lines lines;
    lines_open(w, w->client, &lines, CONFIGMAPS "?watch=true&timeoutSeconds=70&allowWatchBookmarks=true",
               NULL);
    assert_lines(w, &lines, "ADDED/kube-root-ca.crt");
    int64_t start = loop_now_ms(w->loop);
    loop_run_until(w->loop, start + 31000);
    assert_lines(w, &lines, ""); /* nothing has moved */
    expect(w, 201, "POST", "/api/v1/namespaces", "{'metadata':{'name':'elsewhere'}}");
    loop_run_until(w->loop, start + 61000);
    assert_lines(w, &lines, "BOOKMARK/");
    assert_false(lines.ended);
    loop_run_until(w->loop, start + 70001);
    assert_true(lines.ended);
    assert_int_equal(lines.error, ERR_NONE);
    lines_close(w, &lines);
}

static void test_too_old_and_too_new(void **state)
{
    struct world *w = *state;
    auto_reply future = ask(w, "GET", CONFIGMAPS "?watch=true&resourceVersion=999999", NULL);
    assert_int_equal(future.status, 410);
    assert_at(future, "reason", "Expired");
    expect(w, 400, "GET", CONFIGMAPS "?watch=true&resourceVersion=x", NULL);
    expect(w, 400, "GET", CONFIGMAPS "?watch=true&timeoutSeconds=-1", NULL);
}

static void test_table_watch(void **state)
{
    struct world *w = *state;
    struct lines lines;
    make(w, "a", "x");
    make(w, "b", "x");
    lines_open(w, w->client, &lines, CONFIGMAPS "?watch=true", TABLE);
    char *second = strchr(str_c(&lines.text), '\n');
    assert_non_null(second);
    auto_json one = json_parse(lines.text.data, (size_t)(second - lines.text.data), NULL);
    auto_json two = json_parse(second + 1, strcspn(second + 1, "\n"), NULL);
    assert_string_equal(json_string_or(one, "object.kind", ""), "Table");
    assert_true(cJSON_GetArraySize(json_at(one, "object.columnDefinitions")) > 1);
    assert_int_equal(cJSON_GetArraySize(json_at(two, "object.columnDefinitions")), 0);
    assert_string_equal(json_string_or(two, "object.rows[0].cells[0]", ""), "b");
    lines_close(w, &lines);
}

/* A watch that was cut resumes without a gap and without a repeat, also over a restart of the server. */
static void test_resume_over_restart(void **state)
{
    struct world *w = *state;
    struct lines lines;
    make(w, "a", "x");
    auto_reply list = ask(w, "GET", CONFIGMAPS, NULL);
    auto_free char *target =
        mem_printf(CONFIGMAPS "?watch=true&resourceVersion=%s", text_at(&list, "metadata.resourceVersion"));
    make(w, "b", "x");
    world_close(w);
    world_open(w);
    make(w, "c", "x");
    lines_open(w, w->client, &lines, target, NULL);
    assert_lines(w, &lines, "ADDED/b ADDED/c");
    lines_close(w, &lines);
}

static void test_stream(void **state)
{
    struct world *w = *state;
    struct lines lines;
    make(w, "a", "x");
    lines_open(w, w->client, &lines, STREAM "?sendInitialEvents=true&resources=configmaps,namespaces", NULL);
    auto_free char *hello =
        mem_printf("{\"type\":\"HELLO\",\"revision\":%" PRIu64 ",\"cluster\":\"%s\"}\n",
                   w->store->ops->revision(w->store), w->store->ops->cluster_id(w->store));
    assert_true(str_starts(str_c(&lines.text), hello));
    auto_free char *seen = lines_take(w, &lines);
    assert_non_null(strstr(seen, "HELLO/ "));
    assert_non_null(strstr(seen, "ADDED/a"));
    assert_non_null(strstr(seen, "ADDED/kube-system"));
    assert_true(str_ends(seen, " INITIAL_END/"));
    expect(w, 201, "POST", "/api/v1/namespaces", "{'metadata':{'name':'n'}}");
    make(w, "b", "x");
    expect(w, 201, "POST", "/api/v1/namespaces/default/secrets", "{'metadata':{'name':'s'}}");
    settle(w);
    assert_non_null(strstr(str_c(&lines.text), "\"resource\":\"namespaces\",\"object\":{"));
    assert_lines(w, &lines, "ADDED/n ADDED/kube-root-ca.crt ADDED/b");
    lines_close(w, &lines);
    expect(w, 400, "GET", STREAM "?resources=gadgets", NULL);
    struct http_client *nobody = world_as(w, "joe", NULL, NULL);
    auto_reply refused = ask_client(w, nobody, "GET", STREAM, NULL, NULL, NULL);
    assert_int_equal(refused.status, 403);
}

#define CRDS "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#define WIDGETS "/apis/example.com/v1/namespaces/default/widgets"

/* Who watches everything lists again when there is more to watch, before he hears of what may refer to it. */
static void test_stream_and_new_kinds(void **state)
{
    struct world *w = *state;
    struct lines all, some;
    lines_open(w, w->client, &all, STREAM "?sendInitialEvents=true", NULL);
    lines_open(w, w->client, &some, STREAM "?sendInitialEvents=true&resources=pods", NULL);
    assert_lines(w, &some, "HELLO/ INITIAL_END/");
    expect(w, 201, "POST", CRDS,
           "{'metadata':{'name':'widgets.example.com'},'spec':{'group':'example.com','scope':'Namespaced',"
           "'names':{'plural':'widgets','kind':'Widget'},'versions':[{'name':'v1','served':true,'storage':"
           "true,'schema':{'openAPIV3Schema':{'type':'object'}}}]}}");
    settle(w); /* nothing else is written: it is woken for this */
    assert_true(all.ended);
    assert_non_null(strstr(str_c(&all.text), "{\"type\":\"ERROR\""));
    assert_non_null(strstr(str_c(&all.text), "\"code\":410"));
    assert_false(some.ended);
    lines_close(w, &all);
    lines_open(w, w->client, &all, STREAM "?sendInitialEvents=true", NULL);
    free(lines_take(w, &all));
    expect(w, 201, "POST", WIDGETS, "{'metadata':{'name':'w'}}");
    assert_lines(w, &all, "ADDED/w");
    auto_reply again =
        ask_type(w, "PATCH", CRDS "/widgets.example.com", MERGE, "{'metadata':{'labels':{'app':'x'}}}");
    assert_int_equal(again.status, 200);
    assert_lines(w, &all, "MODIFIED/widgets.example.com"); /* no new kind */
    assert_false(all.ended);
    assert_lines(w, &some, "");
    lines_close(w, &all);
    lines_close(w, &some);
}

static void pod_on(struct world *w, const char *name, const char *node)
{
    auto_free char *body =
        mem_printf("{'metadata':{'name':'%s'},'spec':{'nodeName':'%s','containers':[{'name':'c','image':"
                   "'i:1'}],'volumes':[{'name':'v','configMap':{'name':'for-%s'}}]}}",
                   name, node, name);
    expect(w, 201, "POST", PODS, body);
}

static void test_stream_of_a_node(void **state)
{
    struct world *w = *state;
    struct lines lines;
    make(w, "for-mine", "x");
    make(w, "for-other", "x");
    pod_on(w, "mine", "n1");
    pod_on(w, "other", "n2");
    struct http_client *node = world_as(w, "system:node:n1", "system:nodes", NULL);
    lines_open(w, node, &lines, STREAM "?sendInitialEvents=true", NULL);
    auto_free char *seen = lines_take(w, &lines);
    assert_non_null(strstr(seen, "ADDED/mine"));
    assert_non_null(strstr(seen, "ADDED/for-mine"));
    assert_non_null(strstr(seen, "ADDED/kubernetes")); /* a Service: shared */
    assert_null(strstr(seen, "other"));
    pod_on(w, "later", "n1");
    pod_on(w, "foreign", "n2");
    assert_lines(w, &lines, "ADDED/later");
    lines_close(w, &lines);
    auto_reply pods = ask_client(w, node, "GET", "/api/v1/pods", NULL, NULL, NULL);
    assert_int_equal(pods.status, 403); /* its own come by the stream */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_from_now, setup, teardown),
        cmocka_unit_test_setup_teardown(test_initial_and_selectors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_send_initial_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timeout_and_bookmarks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_old_and_too_new, setup, teardown),
        cmocka_unit_test_setup_teardown(test_table_watch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resume_over_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_and_new_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_of_a_node, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
