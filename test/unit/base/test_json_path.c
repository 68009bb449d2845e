/* kubectl's JSONPath: the examples of its documentation and the usual one-liners. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static const char document[] =
    "{\"kind\":\"List\",\"items\":["
    "{\"kind\":\"None\",\"metadata\":{\"name\":\"127.0.0.1\",\"labels\":{\"kubernetes.io/"
    "hostname\":\"127.0.0.1\"}},"
    "\"status\":{\"capacity\":{\"cpu\":\"4\"},\"addresses\":[{\"type\":\"LegacyHostIP\",\"address\":\"127.0."
    "0.1\"}]}},"
    "{\"kind\":\"None\",\"metadata\":{\"name\":\"127.0.0.2\"},"
    "\"status\":{\"capacity\":{\"cpu\":\"8\"},\"addresses\":[{\"type\":\"LegacyHostIP\",\"address\":\"127.0."
    "0.2\"},"
    "{\"type\":\"another\",\"address\":\"127.0.0.3\"}]}}],"
    "\"users\":[{\"name\":\"myself\",\"user\":{},\"age\":30},"
    "{\"name\":\"e2e\",\"user\":{\"username\":\"admin\",\"password\":\"secret\"},\"age\":40.5,\"on\":true}],"
    "\"n\":[0,1,2,3,4,5],\"nothing\":null}";

static void assert_path(const char *expression, const char *expected)
{
    auto_json json = json_parse(document, sizeof(document) - 1, NULL);
    auto_str out = {0};
    auto_err error = NULL;
    if (json_path_print(json, expression, &out, &error) < 0)
        fail_msg("%s: %s", expression, err_message(error));
    if (strcmp(str_c(&out), expected) != 0)
        fail_msg("%s: expected \"%s\", got \"%s\"", expression, expected, str_c(&out));
}

static void documentation_examples(void **state)
{
    (void)state;
    assert_path("kind is {.kind}", "kind is List");
    assert_path("{['kind']}", "List");
    assert_path("{.users[*].name}", "myself e2e");
    assert_path("{..name}", "127.0.0.1 127.0.0.2 myself e2e");
    assert_path("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2");
    assert_path("{.users[0].name}", "myself");
    assert_path("{.items[*]['metadata.name', 'status.capacity']}",
                "127.0.0.1 {\"cpu\":\"4\"} 127.0.0.2 {\"cpu\":\"8\"}");
    assert_path("{.users[?(@.name==\"e2e\")].user.password}", "secret");
    assert_path("{range .items[*]}[{.metadata.name}, {.status.capacity}] {end}",
                "[127.0.0.1, {\"cpu\":\"4\"}] [127.0.0.2, {\"cpu\":\"8\"}] ");
    assert_path("{range .items[*]}{.metadata.name}{'\\t'}{end}", "127.0.0.1\t127.0.0.2\t");
    assert_path("{.items[0].metadata.labels.kubernetes\\.io/hostname}", "127.0.0.1");
    assert_path("{.items[*].metadata.labels['kubernetes.io/hostname']}", "127.0.0.1");
    assert_path("{.items[0].metadata.labels['kubernetes\\.io/hostname']}", "127.0.0.1");
}

static void slices_and_wildcards(void **state)
{
    (void)state;
    assert_path("{.n[2]}", "2");
    assert_path("{.n[-1]}", "5");
    assert_path("{.n[-7]}", "");
    assert_path("{.n[6]}", "");
    assert_path("{.n[1:3]}", "1 2");
    assert_path("{.n[:2]}", "0 1");
    assert_path("{.n[-2:]}", "4 5");
    assert_path("{.n[::2]}", "0 2 4");
    assert_path("{.n[0,3,5]}", "0 3 5");
    assert_path("{.n[*]}", "0 1 2 3 4 5");
    assert_path("{.items[0].status.*.cpu}", "4");
    assert_path("{.users[*].user}", "{} {\"username\":\"admin\",\"password\":\"secret\"}");
    assert_path("{.users[1].age}", "40.5");
    assert_path("{.nothing}", "null");
    assert_path("{.absent.deeper[3]}", "");
    assert_path("{..address}", "127.0.0.1 127.0.0.2 127.0.0.3");
}

static void filters(void **state)
{
    (void)state;
    assert_path("{.users[?(@.age>35)].name}", "e2e");
    assert_path("{.users[?(@.age<=30)].name}", "myself");
    assert_path("{.users[?(@.age != 30)].name}", "e2e");
    assert_path("{.users[?(@.on)].name}", "e2e");
    assert_path("{.users[?(@.on==true)].name}", "e2e");
    assert_path("{.users[?(@.user.username=='admin')].name}", "e2e");
    assert_path("{.users[?(@.name==$.users[0].name)].age}", "30");
    assert_path("{.items[*].status.addresses[?(@.type==\"another\")].address}", "127.0.0.3");
    assert_path("{.n[?(@>3)]}", "4 5");
    assert_path("{.users[?(@.name>1)].name}", "");
}

static void ranges_and_text(void **state)
{
    (void)state;
    assert_path("{range .items[*]}{.metadata.name}={range .status.addresses[*]}{.type},{end}{\"\\n\"}{end}",
                "127.0.0.1=LegacyHostIP,\n127.0.0.2=LegacyHostIP,another,\n");
    assert_path("{range .users[*]}{$.kind}:{@.name} {end}", "List:myself List:e2e ");
    assert_path("{range .absent[*]}x{end}.", ".");
    assert_path("plain {\"}\"} {.kind}", "plain } List");
    assert_path("items[0].metadata.name", "127.0.0.1");
    assert_path(".items[0].metadata.name", "127.0.0.1");
    assert_path("{.n}", "[0,1,2,3,4,5]");
}

static void refuses_bad_expressions(void **state)
{
    (void)state;
    static const char *const bad[] = {"{",
                                      "{.a",
                                      "{.a[}",
                                      "{.a[1}",
                                      "{.a[1:2:0]}",
                                      "{range .a}",
                                      "{end}",
                                      "{.a[?(@.b==)]}",
                                      "{.a[?(@.b=1)]}",
                                      "{'abc}",
                                      "{.a..}",
                                      "{#}",
                                      "{.a[?(@.b]}",
                                      "{.a[x]}",
                                      "{.a[]}",
                                      "{range .a[*]}{.b}",
                                      "{.a['b}",
                                      "a b",
                                      "{.a[99999999999]}"};
    auto_json json = json_parse(document, sizeof(document) - 1, NULL);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        auto_str out = {0};
        auto_err error = NULL;
        if (json_path_print(json, bad[i], &out, &error) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(err_code(error), ERR_BAD_REQUEST);
    }
    auto_str nested = {0}, out = {0};
    for (int i = 0; i < 1000; i++)
        str_add(&nested, "{range .a[*]}");
    auto_err error = NULL;
    assert_int_equal(json_path_print(json, nested.data, &out, &error), -1);
}

static void recursion_is_bounded(void **state)
{
    (void)state;
    auto_json json = json_parse(document, sizeof(document) - 1, NULL);
    auto_str expression = {0}, out = {0};
    str_add(&expression, "{");
    for (int i = 0; i < 30; i++)
        str_add(&expression, "..*");
    str_add(&expression, "}");
    auto_err error = NULL;
    /* either the document is too flat to find anything, or the bound holds: it must end soon */
    if (json_path_print(json, expression.data, &out, &error) < 0)
        assert_int_equal(err_code(error), ERR_TOO_LARGE);
    auto_json deep = cJSON_CreateArray();
    cJSON *inner = deep;
    for (int i = 0; i < 60; i++)
        inner = json_push(inner, cJSON_CreateArray());
    auto_err too_large = NULL;
    assert_int_equal(json_path_print(deep, expression.data, &out, &too_large), -1);
    assert_int_equal(err_code(too_large), ERR_TOO_LARGE);
}

static void bounds_are_the_callers(void **state)
{
    (void)state;
    auto_json json = json_parse("{\"a\":\"1234567890\"}", 18, NULL);
    auto_str out = {0};
    assert_int_equal(json_path_print_bounded(json, "{.a}", 10, 10, &out, NULL), 0);
    assert_string_equal(str_c(&out), "1234567890");
    auto_err too_long = NULL;
    auto_err too_many = NULL;
    assert_int_equal(json_path_print_bounded(json, "{['a','a']}", 100, 15, &out, &too_long), -1);
    assert_int_equal(err_code(too_long), ERR_TOO_LARGE);
    assert_int_equal(json_path_print_bounded(json, "{['a','a','a','a']}", 5, 1000, &out, &too_many), -1);
    assert_int_equal(err_code(too_many), ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documentation_examples),
        cmocka_unit_test(slices_and_wildcards),
        cmocka_unit_test(filters),
        cmocka_unit_test(ranges_and_text),
        cmocka_unit_test(refuses_bad_expressions),
        cmocka_unit_test(recursion_is_bounded),
        cmocka_unit_test(bounds_are_the_callers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
