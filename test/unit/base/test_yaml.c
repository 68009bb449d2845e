/* YAML both ways: the type rules, positions of errors, limits, and that what is printed reads back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/yaml.h"

static void assert_yaml(const char *text, const char *expected)
{
    auto_err error = NULL;
    auto_json json = yaml_parse(text, strlen(text), &error);
    if (!json)
        fail_msg("%s: %s", text, err_message(error));
    auto_free char *printed = json_print(json);
    if (strcmp(printed, expected) != 0)
        fail_msg("%s: expected %s, got %s", text, expected, printed);
}

static void assert_refused_n(const char *text, size_t len, const char *why)
{
    auto_err error = NULL;
    auto_json json = yaml_parse(text, len, &error);
    if (json) {
        auto_free char *printed = json_print(json);
        fail_msg("accepted %s as %.200s", text, printed);
    }
    if (!strstr(err_message(error), why))
        fail_msg("%s: expected \"%s\" in: %s", text, why, err_message(error));
}

static void assert_refused(const char *text, const char *why)
{
    assert_refused_n(text, strlen(text), why);
}

static void types_of_plain_scalars(void **state)
{
    (void)state;
    assert_yaml("[~, null, Null, NULL, ]", "[null,null,null,null]");
    assert_yaml("a:\nb: ''\n", "{\"a\":null,\"b\":\"\"}");
    assert_yaml("[true, True, yes, YES, on, On]", "[true,true,true,true,true,true]");
    assert_yaml("[false, FALSE, no, No, off, OFF]", "[false,false,false,false,false,false]");
    assert_yaml("[y, n, tRUE, 'yes', \"on\"]", "[\"y\",\"n\",\"tRUE\",\"yes\",\"on\"]");
    assert_yaml("[0, -1, +7, 0644, 0o644, 0x1F, 0b101, 1_000, -0777]", "[0,-1,7,420,420,31,5,1000,-511]");
    assert_yaml("[08, 1.5, 1e3, -.5, 2., 1.0]", "[8,1.5,1000,-0.5,2,1]");
    assert_yaml("[9007199254740993, 18446744073709551615, -9223372036854775808, 0x7fffffffffffffff]",
                "[9007199254740993,18446744073709551615,-9223372036854775808,9223372036854775807]");
    assert_yaml(
        "[1.2.3, 22:22, 2026-01-02, 12:30:45, 100m, 64Mi, 1e400, 0x, 0xg, -, +, 1e, 0b2]",
        "[\"1.2.3\",\"22:22\",\"2026-01-02\",\"12:30:45\",\"100m\",\"64Mi\",\"1e400\",\"0x\",\"0xg\",\"-\","
        "\"+\",\"1e\",\"0b2\"]");
    assert_refused("a: .inf", "JSON cannot hold");
    assert_refused("a: .NaN", "JSON cannot hold");
}

static void tags_and_keys(void **state)
{
    (void)state;
    assert_yaml("[!!str 12, !!int \"12\", !!float 3, !!bool 'yes', !!null x, !!binary aGk=, !own 5, ! 6]",
                "[\"12\",12,3,true,null,\"hi\",\"5\",\"6\"]");
    assert_yaml("1: a\ntrue: b\n'2': c\n1.5: d\n", "{\"1\":\"a\",\"true\":\"b\",\"2\":\"c\",\"1.5\":\"d\"}");
    assert_refused("!!int x", "does not fit its tag");
    assert_refused("!!binary '*'", "does not fit its tag");
    assert_refused("? [a]\n: b\n", "a key that is not a scalar at line 1 column 3");
    assert_refused("~: b\n", "a key that is not a string");
    assert_refused("a: \"x\\0y\"", "NUL");
}

static void text_blocks(void **state)
{
    (void)state;
    assert_yaml("a: |\n  one\n   two\n\nb: >-\n  x\n  y\nc: |+\n  z\n\n",
                "{\"a\":\"one\\n two\\n\",\"b\":\"x y\",\"c\":\"z\\n\\n\"}");
    assert_yaml("# comment\n---\na: plain # note\nb: \"\\u00e9\\x41\"\n...\n",
                "{\"a\":\"plain\",\"b\":\"\xc3\xa9"
                "A\"}");
    assert_yaml("\xef\xbb\xbf"
                "a: 1\r\nb: 2\r\n",
                "{\"a\":1,\"b\":2}");
}

static void anchors_and_merge_keys(void **state)
{
    (void)state;
    assert_yaml("a: &x {p: 1, q: 2}\nb: *x\n", "{\"a\":{\"p\":1,\"q\":2},\"b\":{\"p\":1,\"q\":2}}");
    assert_yaml("d: &d {p: 1, q: 2}\ne: {<<: *d, q: 3}\n",
                "{\"d\":{\"p\":1,\"q\":2},\"e\":{\"q\":3,\"p\":1}}");
    assert_yaml("- &a {p: 1}\n- &b {p: 2, q: 2}\n- <<: [*a, *b]\n",
                "[{\"p\":1},{\"p\":2,\"q\":2},{\"p\":1,\"q\":2}]");
    assert_yaml("&k key: *k\n", "{\"key\":\"key\"}");
    assert_yaml("'<<': 1\n", "{\"<<\":1}");
    assert_refused("a: *missing\n", "an alias without its anchor at line 1 column 4");
    assert_refused("a: &a [*a]\n", "an alias without its anchor");
    assert_refused("a: 1\n<<: 5\n", "merge key");
    assert_refused("a: 1\n<<: [5]\n", "merge key");
}

static void refuses_with_the_position(void **state)
{
    (void)state;
    assert_refused("a: 1\nb:\n\t- c\n", "line 3");
    assert_refused("a: 1\nb: 2\na: 3\n", "duplicate key \"a\" at line 3 column 1");
    assert_refused("a: [1, 2\n", "line 2");
    assert_refused("a: b: c\n", "line 1 column 5");
    assert_refused("a: 'x\n", "line 2");
    assert_refused("a: \x01\n", "line 1");
    assert_refused("a: \xff\n", "invalid YAML");
    assert_refused("", "no document");
    assert_refused("# only a comment\n", "no document");
    assert_refused("a: 1\n---\nb: 2\n", "more than one document");
    assert_refused("%YAML 3.0\n---\na: 1\n", "line 1");
}

static void streams(void **state)
{
    (void)state;
    static const char text[] = "---\na: 1\n---\n# nothing\n---\n- 2\n---\n";
    auto_json json = yaml_parse_all(text, sizeof(text) - 1, NULL);
    auto_free char *printed = json_print(json);
    assert_string_equal(printed, "[{\"a\":1},[2]]");
    auto_json empty = yaml_parse_all("", 0, NULL);
    assert_int_equal(cJSON_GetArraySize(empty), 0);
    assert_yaml("{\n\t\"a\": \"\\ud83d\\ude00\",\n\t\"b\": 12345678901234567890\n}",
                "{\"a\":\"\xf0\x9f\x98\x80\",\"b\":12345678901234567890}");
    assert_yaml("{a: 1, b: [x, y]}", "{\"a\":1,\"b\":[\"x\",\"y\"]}");
    static const char anchors[] = "a: &x 1\n---\nb: *x\n"; /* an anchor ends with its document */
    assert_null(yaml_parse_all(anchors, sizeof(anchors) - 1, NULL));
}

static void bombs_are_refused(void **state)
{
    (void)state;
    auto_str laughs = {0};
    str_add(&laughs, "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for (int i = 1; i < 30; i++) {
        str_addf(&laughs, "a%d: &a%d [", i, i);
        for (int j = 0; j < 9; j++)
            str_addf(&laughs, "%s*a%d", j ? ", " : "", i - 1);
        str_add(&laughs, "]\n");
    }
    assert_refused_n(laughs.data, laughs.len, "expand to too much data");
    auto_str merges = {0};
    str_add(&merges, "m0: &m0 {k: 1}\n");
    for (int i = 1; i < 40; i++)
        str_addf(&merges, "m%d: &m%d {x: *m%d, y: *m%d}\n", i, i, i - 1, i - 1);
    assert_refused_n(merges.data, merges.len, "expand to too much data");
    auto_str stacked = {0}; /* each step is flat, the sum is not */
    str_add(&stacked, "- &s0 [x]\n");
    for (int i = 1; i < 80; i++)
        str_addf(&stacked, "- &s%d [*s%d]\n", i, i - 1);
    assert_refused_n(stacked.data, stacked.len, "too deeply");
    auto_str deep = {0};
    for (int i = 0; i < 100000; i++)
        str_add_char(&deep, '[');
    assert_refused_n(deep.data, deep.len, "too deeply at line 1 column 65");
    auto_free char *large = mem_alloc(YAML_MAX_BYTES + 1);
    memset(large, ' ', YAML_MAX_BYTES + 1);
    auto_err error = NULL;
    assert_null(yaml_parse(large, YAML_MAX_BYTES + 1, &error));
    assert_int_equal(err_code(error), ERR_TOO_LARGE);
}

static void many_keys_are_not_quadratic(void **state)
{
    (void)state;
    auto_str text = {0};
    str_add(&text, "a: &a\n");
    for (int i = 0; i < 20000; i++)
        str_addf(&text, "  k%d: 1\n", i);
    str_add(&text, "b:\n  <<: *a\n");
    for (int i = 10000; i < 30000; i++)
        str_addf(&text, "  k%d: 2\n", i);
    auto_json json = yaml_parse(text.data, text.len, NULL);
    assert_int_equal(cJSON_GetArraySize(json_get(json, "b")), 30000);
    assert_int_equal(json_int(json, "b.k9999", 0), 1);
    assert_int_equal(json_int(json, "b.k10000", 0), 2);
}

static void assert_printed(const char *json_text, const char *expected)
{
    auto_json json = json_parse(json_text, strlen(json_text), NULL);
    auto_free char *printed = yaml_print(json);
    assert_string_equal(printed, expected);
    auto_json again = yaml_parse(printed, strlen(printed), NULL);
    assert_true(json_equal(json, again));
}

static void prints_like_kubectl(void **state)
{
    (void)state;
    assert_printed(
        "{\"apiVersion\":\"v1\",\"metadata\":{\"labels\":{\"app\":\"x\"},\"name\":\"p\"},\"spec\":{"
        "\"containers\":"
        "[{\"args\":[\"-c\",\"a b\"],\"env\":[],\"image\":\"x:1\"}],\"e\":{},\"n\":null,\"r\":3,\"f\":1.5}}",
        "apiVersion: v1\nmetadata:\n  labels:\n    app: x\n  name: p\nspec:\n  containers:\n  - args:\n"
        "    - -c\n    - a b\n    env: []\n    image: x:1\n  e: {}\n  \"n\": null\n  r: 3\n  f: 1.5\n");
    assert_printed(
        "{\"a\":\"true\",\"b\":\"80\",\"c\":\"\",\"d\":\"null\",\"e\":\"1e3\",\"f\":\"yes\",\"g\":\"~\","
        "\"h\":\"y\"}",
        "a: \"true\"\nb: \"80\"\nc: \"\"\nd: \"null\"\ne: \"1e3\"\nf: \"yes\"\ng: \"~\"\nh: \"y\"\n");
    assert_printed("{\"script\":\"#!/bin/sh\\necho hi\\n\",\"last\":\"a\\nb\"}",
                   "script: |\n  #!/bin/sh\n  echo hi\nlast: |-\n  a\n  b\n");
    assert_printed("[[1,[2]],{\"a\":[{}]}]", "- - 1\n  - - 2\n- a:\n  - {}\n");
    assert_printed("{\"c\":\"a: b\",\"h\":\"# x\",\"t\":\"2026-01-02T03:04:05Z\",\"i\":9007199254740993}",
                   "c: 'a: b'\nh: '# x'\nt: \"2026-01-02T03:04:05Z\"\ni: 9007199254740993\n");
}

/* A string made of what is special to YAML. */
static char *odd_string(const struct random *random)
{
    static const char *const parts[] = {"a",
                                        " ",
                                        "\n",
                                        "\t",
                                        ":",
                                        "#",
                                        "-",
                                        "'",
                                        "\"",
                                        "{",
                                        "]",
                                        "&",
                                        "*",
                                        "!",
                                        "|",
                                        ">",
                                        "%",
                                        "@",
                                        "`",
                                        "\\",
                                        "0",
                                        "1",
                                        ".",
                                        "e",
                                        "x",
                                        "true",
                                        "~",
                                        "\xc3\xa9",
                                        "\xf0\x9f\x98\x80",
                                        "\r",
                                        "\x01",
                                        "?",
                                        ",",
                                        "<<",
                                        "=",
                                        "---",
                                        "\xc2\x85",
                                        "\xe2\x80\xa8",
                                        "\x7f"};
    struct str text = {0};
    for (uint64_t n = random_below(random, 9); n; n--)
        str_add(&text, parts[random_below(random, COUNT_OF(parts))]);
    return str_take(&text);
}

static cJSON *odd_value(const struct random *random, unsigned depth)
{
    uint64_t kind = random_below(random, depth < 4 ? 8 : 5);
    auto_free char *text = odd_string(random);
    if (kind < 3)
        return cJSON_CreateString(text);
    if (kind == 3)
        return cJSON_CreateNumber((double)(int64_t)random_u64(random) / 1024);
    if (kind == 4)
        return random_below(random, 2) ? cJSON_CreateNull() : cJSON_CreateBool(1);
    cJSON *json = kind == 5 ? cJSON_CreateArray() : cJSON_CreateObject();
    for (uint64_t n = random_below(random, 5); n; n--) {
        auto_free char *key = odd_string(random);
        cJSON *value = odd_value(random, depth + 1);
        if (kind == 5)
            json_push(json, value);
        else
            json_set(json, key, value);
    }
    return json;
}

static void whatever_is_printed_reads_back(void **state)
{
    (void)state;
    struct random_seeded seeded;
    struct random random;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        random_seeded_init(&seeded, seed, &random);
        auto_json json = cJSON_CreateArray();
        json_push(json, odd_value(&random, 0));
        auto_free char *printed = yaml_print(json), *text = json_print(json);
        auto_err error = NULL;
        auto_json again = yaml_parse(printed, strlen(printed), &error);
        if (!json_equal(json, again)) {
            auto_free char *other = json_print(again);
            fail_msg("seed %d: %s\n%s\n%s\n%s", (int)seed, text, printed, err_message(error), other);
        }
        auto_json same = json_parse(text, strlen(text), NULL);
        assert_true(json_equal(json, same));
    }
}

static void finds_lines(void **state)
{
    (void)state;
    static const char text[] = "# two documents\n---\n---\na: 1\nb:\n  - c\n  - d: [x,\n      y]\n---\n"
                               "metadata:\n  labels:\n    app.io/x: 1\n    z: 2\n";
    const struct {
        size_t document;
        const char *path;
        size_t line;
    } cases[] = {{0, "a", 4},
                 {0, "b[0]", 6},
                 {0, "b[1].d[1]", 8},
                 {0, "b[1].e", 7}, /* what is not there: what would hold it */
                 {0, "", 4},
                 {0, "ab", 4},
                 {1, "metadata.labels['app.io/x']", 12},
                 {1, "a", 10},
                 {1, "metadata.labels.z", 13},
                 {2, "a", 0}};
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(yaml_line(text, sizeof(text) - 1, cases[i].document, cases[i].path), cases[i].line);
    assert_int_equal(yaml_line("a: [1\nb: {", 10, 0, "b"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_of_plain_scalars),
        cmocka_unit_test(tags_and_keys),
        cmocka_unit_test(text_blocks),
        cmocka_unit_test(anchors_and_merge_keys),
        cmocka_unit_test(refuses_with_the_position),
        cmocka_unit_test(streams),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(many_keys_are_not_quadratic),
        cmocka_unit_test(prints_like_kubectl),
        cmocka_unit_test(whatever_is_printed_reads_back),
        cmocka_unit_test(finds_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
