/* What extensions count about objects: rates per set of labels, proxies that begin anew, the first look,
 * names and objects that nobody counts, nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "node/node_figures.h"

#define NAME "req_per_second"
#define SERIES(proxy, port, value)                                                                           \
    "req_total{namespace=\"d\",ingress=\"shop\",service=\"api\",port=\"" port "\",proxy=\"" proxy            \
    "\"} " value "\n"
#define SECOND INT64_C(1000000000)

static const cJSON *find(const struct node_figures *figures, const char *kind, const char *name)
{
    json_each (object, node_figures_objects(figures))
        if (str_eq(json_string(object, "kind"), kind) && str_eq(json_string(object, "name"), name))
            return object;
    return NULL;
}

/* expected NULL: there is such an object, without a value. */
static void check(const struct node_figures *figures, const char *kind, const char *name,
                  const char *expected)
{
    const cJSON *object = find(figures, kind, name);
    assert_non_null(object);
    assert_string_equal(json_string(object, "namespace"), "d");
    assert_string_equal(json_string(object, "metrics[0].name"), NAME);
    const char *value = json_string(object, "metrics[0].value");
    assert_true(str_eq(value, expected));
}

static void look(struct node_figures *figures, const char *page, int64_t seconds)
{
    node_figures_want(figures, NAME, "Service/d/api,Ingress/d/shop,Service/d/none,Service/e/api");
    node_figures_read(figures, page, seconds * SECOND);
}

static void test_rates(void **state UNUSED)
{
    struct node_figures *figures = node_figures_new(NULL);
    look(figures, SERIES("1", "80", "100") SERIES("2", "80", "7"), 10);
    check(figures, "Service", "api", NULL); /* since the start says nothing of now */
    assert_null(find(figures, "Service", "none"));
    look(figures, SERIES("1", "80", "120") SERIES("2", "80", "17") SERIES("2", "90", "6"), 12);
    check(figures, "Service", "api", "18000m"); /* (20 + 10 + 6 of a new one) / 2 s */
    check(figures, "Ingress", "shop", "18000m");
    look(figures, SERIES("1", "80", "120") SERIES("2", "80", "17") SERIES("2", "90", "6"), 13);
    check(figures, "Service", "api", "0m");
    node_figures_free(figures);
}

static void test_begun_anew(void **state UNUSED)
{
    struct node_figures *figures = node_figures_new(NULL);
    look(figures, SERIES("1", "80", "100") SERIES("2", "80", "100"), 10);
    look(figures, SERIES("1", "80", "4") SERIES("2", "80", "101"), 11);
    check(figures, "Service", "api", "5000m"); /* one proxy went back to 0: what it has is new */
    look(figures, SERIES("1", "80", "6"), 12); /* the other is away */
    check(figures, "Service", "api", "2000m");
    look(figures, SERIES("1", "80", "6") SERIES("2", "80", "3"), 13);
    check(figures, "Service", "api", "3000m");
    node_figures_free(figures);
}

static void test_forgotten(void **state UNUSED)
{
    struct node_figures *figures = node_figures_new(NULL);
    look(figures, SERIES("1", "80", "100"), 10);
    look(figures, "", 11);
    assert_null(find(figures, "Service", "api"));
    look(figures, SERIES("1", "80", "104"), 12);
    check(figures, "Service", "api", "2000m"); /* one lost question is forgiven */
    for (int second = 13; second < 25; second++)
        look(figures, "", second);
    look(figures, SERIES("1", "80", "500"), 25);
    check(figures, "Service", "api", NULL);
    node_figures_free(figures);
}

static void test_nonsense(void **state UNUSED)
{
    static const char *const objects[] = {"", "x", "a/b", "//", "Service//api", "Service/d/api/x", ",,,"};
    struct node_figures *figures = node_figures_new(NULL);
    for (size_t i = 0; i < COUNT_OF(objects); i++) {
        node_figures_want(figures, NAME ",,", objects[i]);
        node_figures_read(figures, SERIES("1", "80", "1") "req_total 4\nreq_total{namespace=\"d\"} 4\n{\n",
                          SECOND);
        assert_null(node_figures_objects(figures)->child);
    }
    node_figures_want(figures, "depth", "Service/d/api"); /* a gauge counts as it stands */
    node_figures_read(
        figures,
        "depth{namespace=\"d\",service=\"api\",x=\"1\"} 2\ndepth{service=\"api\",namespace=\"d\"} 3\n", 1);
    const cJSON *object = find(figures, "Service", "api");
    assert_string_equal(json_string(object, "metrics[0].value"), "5000m");
    node_figures_free(figures);
}

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rates), cmocka_unit_test(test_begun_anew),
                                       cmocka_unit_test(test_forgotten), cmocka_unit_test(test_nonsense)};
    return cmocka_run_group_tests_name("node figures", tests, NULL, NULL);
}
