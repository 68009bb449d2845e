/*
 * Every field that the shipped kinds accept stands in test/golden/fields.tsv with the test of its effect, or
 * is marked pending (warned about) or refused; every line there is of such a field, and the test it names
 * speaks of it.
 */
#include <ctype.h>
#include <stdio.h>

#include "schema_test.h"

#define TABLE MINIK8S_SOURCE_DIR "/test/golden/fields.tsv"

struct fields {
    struct map accepted; /* "OWNER\tPATH" */
    struct map reached;  /* named types */
    const cJSON *kinds;
};

static const cJSON *named_type(const cJSON *kinds, const char *name)
{
    json_each (kind, kinds) {
        const cJSON *type = json_get(json_get(kind, "types"), name);
        if (type)
            return type;
    }
    fail_msg("no type %s", name);
    return NULL;
}

static void walk(struct fields *f, const char *owner, const char *path, const cJSON *type);

static void walk_properties(struct fields *f, const char *owner, const char *path, const cJSON *properties)
{
    json_each (field, properties) {
        if (json_get(field, "pending") || json_get(field, "refused"))
            continue;
        auto_free char *below = mem_printf("%s%s%s", path, *path ? "." : "", field->string);
        walk(f, owner, below, field);
    }
}

static void walk(struct fields *f, const char *owner, const char *path, const cJSON *type)
{
    const char *reference = json_string(type, "ref"), *word = json_string(type, "type");
    const cJSON *items = json_get(type, "items"), *values = json_get(type, "additionalProperties");
    bool structured = json_get(values, "properties") || json_get(values, "ref");
    auto_free char *below = mem_printf("%s%s", path, items ? "[]" : ".*");
    if (!reference && items && str_eq(word, "list")) {
        walk(f, owner, below, items);
        return;
    }
    if (!reference && structured && str_eq(word, "map")) {
        walk(f, owner, below, values);
        return;
    }
    if (!reference && json_get(type, "properties")) {
        walk_properties(f, owner, path, json_get(type, "properties"));
        return;
    }
    auto_free char *key = mem_printf("%s\t%s", owner, path);
    map_set(&f->accepted, key, f);
    if (!reference || map_has(&f->reached, reference))
        return;
    map_set(&f->reached, reference, f);
    const cJSON *target = named_type(f->kinds, reference);
    walk(f, reference, "", target);
}

static void collect(struct fields *f, const cJSON *kinds)
{
    f->kinds = kinds;
    json_each (kind, kinds) {
        const char *name = json_string(kind, "kind");
        if (name)
            walk(f, name, "", json_get(kind, "schema"));
    }
    map_set(&f->reached, "ObjectMeta", f); /* every kind has it */
    walk(f, "ObjectMeta", "", named_type(kinds, "ObjectMeta"));
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* Does the file speak of the last name of the path? */
static bool speaks_of(const char *file, const char *path)
{
    size_t end = strlen(path);
    while (end && !is_word(path[end - 1]))
        end--;
    size_t begin = end;
    while (begin && is_word(path[begin - 1]))
        begin--;
    auto_free char *name = mem_strndup(path + begin, end - begin), *text = NULL;
    auto_free char *full = mem_printf("%s/%s", MINIK8S_SOURCE_DIR, file);
    if (!*name || file_read(full, 4 << 20, &text, NULL, NULL) < 0)
        return false;
    for (const char *at = text; (at = strstr(at, name)); at++)
        if ((at == text || !is_word(at[-1])) && !is_word(at[strlen(name)]))
            return true;
    return false;
}

static bool test_is_good(const char *where, const char *path)
{
    if (str_eq(where, "kept") || str_eq(where, "reported"))
        return true;
    /* A manifest is what its story applies and looks at. */
    bool kept_place = str_starts(where, "test/") || str_starts(where, "policies/") ||
                      str_starts(where, "plugins/") || str_starts(where, "manifests/");
    return kept_place && speaks_of(where, path);
}

static size_t read_table(struct map *listed, size_t *wrong)
{
    struct err *err = NULL;
    auto_free char *text = NULL;
    if (file_read(TABLE, 1 << 20, &text, NULL, &err) < 0)
        fail_msg("%s", err_message(err));
    size_t count, lines = 0;
    auto_free char **rows = str_split(text, '\n', &count);
    for (size_t i = 0; i < count; i++) {
        if (!*rows[i] || *rows[i] == '#')
            continue;
        char *tab = strchr(rows[i], '\t'), *second = tab ? strchr(tab + 1, '\t') : NULL;
        if (!second)
            fail_msg("fields.tsv: not three columns: %s", rows[i]);
        *second = 0;
        lines++;
        if (!test_is_good(second + 1, tab + 1)) {
            print_error("%s: \"%s\" is no test that speaks of it\n", rows[i], second + 1);
            ++*wrong;
        }
        if (map_has(listed, rows[i])) {
            print_error("%s stands there twice\n", rows[i]);
            ++*wrong;
        }
        map_set(listed, rows[i], listed);
    }
    return lines;
}

static cJSON *read_kinds(void)
{
    struct err *err = NULL;
    auto_free char *data = NULL;
    size_t len = 0;
    if (file_read(MINIK8S_KINDS_JSON, 16 << 20, &data, &len, &err) < 0)
        fail_msg("%s", err_message(err));
    return json_parse(data, len, &err);
}

static void test_every_field_has_a_test(void **state UNUSED)
{
    json_init();
    auto_json kinds = read_kinds();
    assert_non_null(kinds);
    struct fields fields = {0};
    auto_map listed = {0};
    size_t wrong = 0;
    collect(&fields, kinds);
    size_t lines = read_table(&listed, &wrong);
    map_each (entry, &fields.accepted) {
        if (!map_has(&listed, entry->key)) {
            print_error("%s: accepted, but neither in fields.tsv nor pending nor refused\n", entry->key);
            wrong++;
        }
    }
    map_each (entry, &listed) {
        if (!map_has(&fields.accepted, entry->key)) {
            print_error("%s: in fields.tsv, but not accepted (any more)\n", entry->key);
            wrong++;
        }
    }
    assert_true(lines > 350);
    assert_int_equal(wrong, 0);
    map_fini(&fields.accepted);
    map_fini(&fields.reached);
}

/* The check itself sees a field that nobody has listed. */
static void test_an_unlisted_field_is_seen(void **state UNUSED)
{
    auto_json kinds = from_text(
        "[{'kind':'X','schema':{'properties':{'a':{'type':'list','items':{'type':'object','properties':{"
        "'b':{'type':'string'},'c':{'type':'string','pending':true},'d':{'ref':'T'}}}}}},"
        "'types':{'T':{'type':'object','properties':{'e':{'type':'integer'}}},'ObjectMeta':{'properties':{}}}"
        "}]");
    struct fields fields = {0};
    collect(&fields, kinds);
    assert_int_equal(fields.accepted.count, 3);
    assert_true(map_has(&fields.accepted, "X\ta[].b") && map_has(&fields.accepted, "X\ta[].d") &&
                map_has(&fields.accepted, "T\te"));
    assert_false(speaks_of("test/golden/fields.tsv", "spec.noSuchField"));
    assert_true(speaks_of("test/e2e/45_fields/pod.yaml", "items[].subPathExpr"));
    map_fini(&fields.accepted);
    map_fini(&fields.reached);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_field_has_a_test),
                                       cmocka_unit_test(test_an_unlisted_field_is_seen)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
