/* Label and field selectors: grammar, LabelSelector objects, semantics of absent keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/selector.h"

static cJSON *parse(const char *text)
{
    cJSON *json = json_parse(text, strlen(text), NULL);
    if (!json)
        fail_msg("not JSON: %s", text);
    return json;
}

static void assert_selects(const char *text, const char *labels, bool expected)
{
    auto_err error = NULL;
    auto_selector selector = selector_parse(text, &error);
    if (!selector)
        fail_msg("%s: %s", text, err_message(error));
    auto_json json = parse(labels);
    if (selector_matches_labels(selector, json) != expected)
        fail_msg("%s on %s", text, labels);
    auto_free char *printed = selector_print(selector);
    auto_selector again = selector_parse(printed, NULL);
    assert_non_null(again);
    assert_true(selector_matches_labels(again, json) == expected);
}

static void query_form(void **state)
{
    (void)state;
    assert_selects("", "{}", true);
    assert_selects("a=b", "{\"a\":\"b\"}", true);
    assert_selects("a==b", "{\"a\":\"c\"}", false);
    assert_selects("a!=b", "{}", true);
    assert_selects("a!=b", "{\"a\":\"b\"}", false);
    assert_selects("a", "{\"a\":\"\"}", true);
    assert_selects("!a", "{\"a\":\"\"}", false);
    assert_selects(" ! a ", "{}", true);
    assert_selects("a in (x, y)", "{\"a\":\"y\"}", true);
    assert_selects("a in (x,y)", "{}", false);
    assert_selects("a notin (x,y)", "{}", true);
    assert_selects("a notin(x)", "{\"a\":\"x\"}", false);
    assert_selects("a in (,x)", "{\"a\":\"\"}", true);
    assert_selects("a>5", "{\"a\":\"6\"}", true);
    assert_selects("a<5", "{\"a\":\"6\"}", false);
    assert_selects("a>5", "{\"a\":\"x\"}", false);
    assert_selects("a=", "{\"a\":\"\"}", true);
    assert_selects("app.io/a=b,!c,d notin (e),f", "{\"app.io/a\":\"b\",\"f\":\"1\"}", true);
    assert_selects("in=notin", "{\"in\":\"notin\"}", true);
}

static void refuses_malformed_queries(void **state)
{
    (void)state;
    static const char *const bad[] = {"a in",    "a in ()x", "a in (b", "=b",     "a=b,",  ",a",   "a b",
                                      "a=b c",   "a>x",      "!a=b",    "a in b", "a==b=", "-a=b", "a=-b",
                                      "A/B/c=d", "a(b)",     "a/=b",    "a=b,,c", "!",     "a!b",  "a=>b"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        auto_err error = NULL;
        auto_selector selector = selector_parse(bad[i], &error);
        if (selector)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(err_code(error), ERR_BAD_REQUEST);
    }
    auto_free char *long_value = mem_alloc(70);
    memset(long_value, 'v', 69);
    auto_free char *text = mem_printf("a=%s", long_value);
    assert_null(selector_parse(text, NULL));
}

static const char *lookup(void *arg, const char *key)
{
    return json_string(arg, key);
}

static void fields(void **state)
{
    (void)state;
    auto_json pod =
        parse("{\"metadata\":{\"name\":\"p\",\"x\":\"a,b=c\\\\d\"},\"status\":{\"phase\":\"Running\"}}");
    auto_selector both = selector_parse_fields("metadata.name=p,status.phase!=Failed", NULL);
    assert_true(selector_matches(both, lookup, pod));
    assert_string_equal(selector_equality(both, "metadata.name"), "p");
    assert_null(selector_equality(both, "status.phase"));
    auto_selector other = selector_parse_fields("status.phase==Pending", NULL);
    assert_false(selector_matches(other, lookup, pod));
    auto_selector escaped = selector_parse_fields("metadata.x=a\\,b\\=c\\\\d", NULL);
    assert_true(selector_matches(escaped, lookup, pod));
    auto_selector unassigned = selector_parse_fields("spec.nodeName=", NULL);
    assert_string_equal(selector_equality(unassigned, "spec.nodeName"), "");
    auto_selector everything = selector_parse_fields("", NULL);
    assert_int_equal(everything->n_terms, 0);
    static const char *const bad[] = {"a", "=b", "a=b=c", "a=b\\x", "a!b", "a=b\\"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (selector_parse_fields(bad[i], NULL))
            fail_msg("accepted: %s", bad[i]);
}

static void objects(void **state)
{
    (void)state;
    auto_json full = parse("{\"matchLabels\":{\"app\":\"x\"},\"matchExpressions\":["
                           "{\"key\":\"t\",\"operator\":\"In\",\"values\":[\"a\",\"b\"]},"
                           "{\"key\":\"old\",\"operator\":\"DoesNotExist\"},"
                           "{\"key\":\"n\",\"operator\":\"Gt\",\"values\":[\"3\"]}]}");
    auto_selector selector = selector_from_json(full, NULL);
    auto_json yes = parse("{\"app\":\"x\",\"t\":\"b\",\"n\":\"4\"}"),
              *no = parse("{\"app\":\"x\",\"t\":\"b\",\"n\":\"3\"}");
    assert_true(selector_matches_labels(selector, yes));
    assert_false(selector_matches_labels(selector, no));
    assert_false(selector_matches_labels(selector, NULL));
    auto_free char *text = selector_print(selector);
    assert_string_equal(text, "app=x,t in (a,b),!old,n>3");
    auto_selector nothing = selector_from_json(NULL, NULL);
    assert_true(selector_matches_labels(nothing, yes));
    auto_selector plain = selector_from_json(json_get(full, "matchLabels"), NULL);
    assert_true(selector_matches_labels(plain, yes));
    assert_true(selector_matches_labels(NULL, yes));
    static const char *const bad[] = {"{\"key\":\"a\",\"operator\":\"In\"}",
                                      "{\"key\":\"a\",\"operator\":\"Like\",\"values\":[\"x\"]}",
                                      "{\"operator\":\"Exists\"}",
                                      "{\"key\":\"a\",\"operator\":\"Exists\",\"values\":[\"x\"]}",
                                      "{\"key\":\"a\",\"operator\":\"In\",\"values\":[1]}",
                                      "{\"key\":\"a\",\"operator\":\"Gt\",\"values\":[\"x\"]}"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        auto_free char *object = mem_printf("{\"matchExpressions\":[%s]}", bad[i]);
        auto_json json = parse(object);
        auto_err error = NULL;
        if (selector_from_json(json, &error))
            fail_msg("accepted: %s", object);
        assert_int_equal(err_code(error), ERR_BAD_REQUEST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_form),
        cmocka_unit_test(refuses_malformed_queries),
        cmocka_unit_test(fields),
        cmocka_unit_test(objects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
