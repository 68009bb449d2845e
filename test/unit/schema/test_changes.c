/*
 * What may be changed: each line of the table in manifests/CHANGES.md is tried, and every kind has one. The
 * first object of each kind stands in test/golden/objects.json.
 */
#include <stdio.h>

#include "schema_test.h"

#define PAGE MINIK8S_SOURCE_DIR "/manifests/CHANGES.md"
#define OBJECTS MINIK8S_SOURCE_DIR "/test/golden/objects.json"
#define COLUMNS 5

enum column { KIND, FROM, TO, EFFECT, TEXT };

static cJSON *read_objects(void)
{
    struct err *err = NULL;
    auto_free char *text = NULL;
    size_t len = 0;
    cJSON *objects = file_read(OBJECTS, 1 << 20, &text, &len, &err) == 0 ? json_parse(text, len, &err) : NULL;
    if (!objects)
        fail_msg("%s", err_message(err));
    return objects;
}

/* Cuts "| a | `b` | …" into its cells in place; false: no line of the table. */
static bool cut(char *line, char *cells[COLUMNS])
{
    if (!str_starts(line, "| ") || str_starts(line, "| kind "))
        return false;
    char *at = line + 1;
    for (size_t i = 0; i < COLUMNS; i++) {
        char *end = strchr(at, '|');
        if (!end)
            fail_msg("a line of the table lacks cells: %s", line);
        *end = 0;
        while (*at == ' ' || (i < EFFECT && *at == '`'))
            at++;
        cells[i] = at;
        char *last = at + strlen(at);
        while (last > at && (last[-1] == ' ' || (i < EFFECT && last[-1] == '`')))
            *--last = 0;
        at = end + 1;
    }
    return true;
}

static cJSON *changed(const cJSON *object, const char *patch)
{
    if (!*patch)
        return json_copy(object);
    auto_json change = from_text(patch);
    return json_merge_patch(json_copy(object), change);
}

/* A change of a pod template and of nothing else. */
static bool is_of_template(const char *patch)
{
    auto_json change = from_text(patch);
    const cJSON *spec = json_get(change, "spec");
    return cJSON_GetArraySize(spec) == 1 && json_get(spec, "template");
}

static void try_line(struct schema *schema, const cJSON *objects, char *const cells[COLUMNS])
{
    const struct schema_kind *kind = kind_of(schema, cells[KIND]);
    const cJSON *first = json_get(objects, cells[KIND]);
    if (!first)
        fail_msg("%s has no object in test/golden/objects.json", cells[KIND]);
    auto_json old = changed(first, cells[FROM]);
    schema_default(kind, old);
    auto_json new = changed(old, cells[TO]);
    auto_free char *before = validate(kind, old, NULL), *causes = validate(kind, new, old);
    if (*before)
        fail_msg("%s: the first object: %s", cells[KIND], before);
    if (json_equal(old, new))
        fail_msg("%s %s changes nothing", cells[KIND], cells[TO]);
    if (str_eq(cells[EFFECT], "refused") ? !*causes || !strstr(causes, cells[TEXT]) : *causes != 0)
        fail_msg("%s %s: %s\n   wanted: %s %s", cells[KIND], cells[TO], causes, cells[EFFECT], cells[TEXT]);
    if (str_eq(cells[EFFECT], "pods"))
        assert_true(is_of_template(cells[TO]));
    else
        assert_true(str_eq(cells[EFFECT], "live") || str_eq(cells[EFFECT], "refused"));
}

static void test_lines(void **state)
{
    auto_json objects = read_objects();
    FILE *file = fopen(PAGE, "re");
    char line[4096], *cells[COLUMNS];
    size_t count = 0;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        if (!cut(line, cells))
            continue;
        try_line(*state, objects, cells);
        count++;
    }
    fclose(file);
    assert_true(count > 50);
}

/* Objects that nobody changes through the API: the system's own, answers only, or a node's file. */
static bool is_internal(const char *kind)
{
    static const char *const kinds[] = {"Drain",       "IngressRoute", "NodeConfiguration", "NodeDecisions",
                                        "NodeMetrics", "PodMetrics",   "PolicyQuery"};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (str_eq(kind, kinds[i]))
            return true;
    return false;
}

static void test_every_kind(void **state)
{
    (void)state;
    struct err *err = NULL;
    auto_free char *page = NULL, *data = NULL;
    size_t len = 0;
    assert_int_equal(file_read(PAGE, 1 << 20, &page, &len, &err), 0);
    assert_int_equal(file_read(MINIK8S_KINDS_JSON, 16 << 20, &data, &len, &err), 0);
    auto_json kinds = json_parse(data, len, &err);
    json_each (kind, kinds) {
        const char *name = json_string(kind, "kind");
        auto_free char *cell = name ? mem_printf("\n| %s |", name) : NULL;
        if (name && !is_internal(name) && !strstr(page, cell))
            fail_msg("%s stands in no line of manifests/CHANGES.md", name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_every_kind),
    };
    return cmocka_run_group_tests(tests, setup_schema, teardown_schema);
}
