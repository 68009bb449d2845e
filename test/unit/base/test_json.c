/* The strict gate, exact integers, printing, look-ups and writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static cJSON *parse(const char *text)
{
    auto_err error = NULL;
    cJSON *json = json_parse(text, strlen(text), &error);
    if (!json)
        fail_msg("%s: %s", text, err_message(error));
    return json;
}

static void assert_refused_n(const char *text, size_t len, const char *why)
{
    auto_err error = NULL;
    auto_json json = json_parse(text, len, &error);
    if (json)
        fail_msg("accepted: %s", text);
    assert_int_equal(err_code(error), ERR_BAD_REQUEST);
    if (!strstr(err_message(error), why))
        fail_msg("%s: expected \"%s\" in: %s", text, why, err_message(error));
}

static void assert_refused(const char *text, const char *why)
{
    assert_refused_n(text, strlen(text), why);
}

static void assert_same_text(const char *text)
{
    auto_json json = parse(text);
    auto_free char *printed = json_print(json);
    assert_string_equal(printed, text);
}

static void refuses_what_is_not_json(void **state)
{
    (void)state;
    assert_refused("", "unexpected end at line 1 column 1");
    assert_refused("  ", "unexpected end");
    assert_refused("{\"a\":1", "unexpected end");
    assert_refused("{\"a\" 1}", "expected ':'");
    assert_refused("{\"a\":1,}", "must be a string");
    assert_refused("{a:1}", "must be a string");
    assert_refused("[1,]", "unexpected character");
    assert_refused("[1 2]", "expected ',' or ']'");
    assert_refused("{} x", "after the end");
    assert_refused("nul", "unexpected");
    assert_refused("nulll", "after the end");
    assert_refused("'a'", "unexpected character");
    assert_refused("[\n  1,\n  tru\n]", "line 3 column 3");
    assert_refused("\xef\xbb\xbf{}", "unexpected character");
}

static void refuses_bad_strings(void **state)
{
    (void)state;
    assert_refused("\"a\\u0000b\"", "\\u0000");
    assert_refused_n("\"a\0b\"", 5, "control character");
    assert_refused("\"a\nb\"", "control character");
    assert_refused("\"\xc0\xaf\"", "UTF-8");         /* overlong */
    assert_refused("\"\xed\xa0\x80\"", "UTF-8");     /* surrogate */
    assert_refused("\"\xf4\x90\x80\x80\"", "UTF-8"); /* above U+10FFFF */
    assert_refused("\"\xe2\x82\"", "UTF-8");
    assert_refused("\"\\ud800\"", "surrogate");
    assert_refused("\"\\udc00\"", "surrogate");
    assert_refused("\"\\ud800\\u0041\"", "surrogate");
    assert_refused("\"\\x41\"", "unknown escape");
    assert_refused("\"\\u12g4\"", "malformed \\u");
    assert_refused("\"abc", "unexpected end");
    assert_refused("\"abc\\", "unexpected end");
    auto_json json = parse("\"\\ud83d\\ude00 \xc3\xa9 \\u00e9 \\\\ \\/ \\n\"");
    assert_string_equal(json->valuestring, "\xf0\x9f\x98\x80 \xc3\xa9 \xc3\xa9 \\ / \n");
}

static void refuses_bad_numbers(void **state)
{
    (void)state;
    assert_refused("012", "leading zero");
    assert_refused("-", "malformed number");
    assert_refused("1.", "malformed number");
    assert_refused(".5", "unexpected character");
    assert_refused("+1", "unexpected character");
    assert_refused("1e", "malformed number");
    assert_refused("0x10", "after the end");
    assert_refused("NaN", "unexpected character");
    assert_refused("1e400", "out of range");
    char long_number[80];
    memset(long_number, '7', sizeof(long_number) - 1);
    long_number[sizeof(long_number) - 1] = '\0';
    assert_refused(long_number, "too long");
}

static void refuses_duplicate_keys_but_not_quadratically(void **state)
{
    (void)state;
    assert_refused("{\"a\":1,\"b\":2,\"a\":3}", "duplicate key at line 1 column 14");
    assert_refused("{\"a\":1,\"\\u0061\":3}", "duplicate key");
    assert_refused("[{\"x\":{\"k\":1,\"k\":1}}]", "duplicate key");
    auto_json fine = parse("{\"a\":{\"a\":1},\"b\":{\"a\":1}}");
    assert_non_null(fine);
    auto_str many = {0};
    str_add_char(&many, '{');
    for (int i = 0; i < 100000; i++)
        str_addf(&many, "%s\"key-%d\":{}", i ? "," : "", i);
    size_t good = many.len;
    str_add_char(&many, '}');
    auto_json json = json_parse(many.data, many.len, NULL);
    assert_int_equal(cJSON_GetArraySize(json), 100000);
    many.len = good;
    str_add(&many, ",\"key-777\":1}");
    assert_refused_n(many.data, many.len, "duplicate key");
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char text[300];
    for (int depth = 64; depth <= 65; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        auto_json json = json_parse(text, (size_t)depth * 2, NULL);
        assert_int_equal(json != NULL, depth == 64);
    }
    auto_str hostile = {0};
    for (int i = 0; i < 1000000; i++)
        str_add_char(&hostile, '[');
    assert_refused_n(hostile.data, hostile.len, "too deeply at line 1 column 65");
}

static void large_integers_stay_exact(void **state)
{
    (void)state;
    assert_same_text("9007199254740993");
    assert_same_text(
        "{\"a\":[1,-9223372036854775808,{\"b\":9223372036854775807}],\"c\":18446744073709551615,\"d\":2}");
    assert_same_text("[999999999999999,1000000000000000,-1000000000000000,0,-1,9007199254740991]");
    auto_json json = parse("{\"a\":1.5,\"n\":9223372036854775807,\"u\":18446744073709551615,\"f\":3.0}");
    assert_true(json_int(json, "n", 0) == INT64_MAX);
    assert_int_equal(json_int(json, "u", -7), -7);
    assert_int_equal(json_int(json, "f", 0), 3);
    assert_int_equal(json_int(json, "a", -7), -7);
    assert_true(json_is_integer(json_get(json, "n")));
    assert_false(json_is_integer(json_get(json, "u")));
    assert_false(json_is_integer(json_get(json, "a")));
    json_set_int(json, "n", INT64_MIN);
    json_set_int(json, "a", 7);
    auto_free char *text = json_print(json);
    assert_string_equal(text, "{\"a\":7,\"n\":-9223372036854775808,\"u\":18446744073709551615,\"f\":3}");
    auto_json again = json_parse_trusted(text, strlen(text));
    assert_true(json_equal(json, again));
    assert_true(json_int(again, "n", 0) == INT64_MIN);
}

static void trusted_text_must_still_be_json(void **state)
{
    (void)state;
    assert_null(json_parse_trusted("{} x", 4));
    assert_null(json_parse_trusted("{", 1));
    assert_null(json_parse_trusted("", 0));
    auto_json json = json_parse_trusted("[1] \n", 5);
    assert_non_null(json);
}

/* A list of objects that are as deep as they may be is deeper; its large numbers are exact all the same. */
static void trusted_text_may_be_deeper(void **state)
{
    (void)state;
    auto_str text = {0};
    for (int i = 0; i < JSON_MAX_DEPTH + 2; i++)
        str_add_char(&text, '[');
    str_add(&text, "9007199254740993");
    for (int i = 0; i < JSON_MAX_DEPTH + 2; i++)
        str_add_char(&text, ']');
    assert_null(json_parse(text.data, text.len, NULL));
    auto_json json = json_parse_trusted(text.data, text.len);
    assert_non_null(json);
    assert_int_equal(json_depth(json), JSON_MAX_DEPTH + 2);
    auto_free char *printed = json_print(json);
    assert_string_equal(printed, text.data);
}

/* The same on few and on many fields. */
static void keys_of_one_object(void **state)
{
    (void)state;
    for (int n = 4; n <= 4000; n *= 1000) {
        auto_json object = cJSON_CreateObject();
        for (int i = 0; i < n; i++) {
            auto_free char *key = mem_printf("k%d", i);
            cJSON_AddItemToObject(object, key, cJSON_CreateNumber(i));
        }
        auto_json_keys keys;
        json_keys_init(&keys, object, (size_t)n);
        assert_true((keys.sorted != NULL) == (n == 4000));
        assert_int_equal(json_keys_get(&keys, "k3")->valuedouble, 3);
        assert_null(json_keys_get(&keys, "k"));
        json_keys_set(&keys, "k2", cJSON_CreateTrue());
        assert_true(cJSON_IsTrue(json_keys_get(&keys, "k2")));
        assert_true(object->child->next->next == json_keys_get(&keys, "k2"));
        assert_null(json_keys_set(&keys, "k2", NULL));
        assert_null(json_keys_set(&keys, "k2", NULL));
        assert_null(json_keys_get(&keys, "k2"));
        assert_null(json_get(object, "k2"));
        cJSON *last = json_keys_set(&keys, "k2", cJSON_CreateFalse());
        assert_true(object->child->prev == last && json_keys_get(&keys, "k2") == last);
        json_keys_set(&keys, "new", cJSON_CreateNull());
        assert_int_equal(cJSON_GetArraySize(object), n + 1);
        assert_true(cJSON_IsNull(json_get(object, "new")));
    }
}

static void prints_numbers_that_read_back(void **state)
{
    (void)state;
    static const double numbers[] = {
        0.1, 1.0 / 3, 1e20, -1e300, 5e-324, 1.5, 123456789.125, 9007199254740991.0, 1e15};
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        auto_json number = cJSON_CreateNumber(numbers[i]);
        auto_free char *text = json_print(number);
        auto_json again = parse(text);
        assert_true(json_equal(number, again));
    }
    auto_json infinite = cJSON_CreateNumber(1.0 / 0.0);
    auto_free char *text = json_print(infinite);
    assert_string_equal(text, "null");
}

static void prints_valid_json_whatever_the_bytes(void **state)
{
    (void)state;
    auto_json json = cJSON_CreateString("a\"b\\c\n\x01\x1f \xff\xc3(\xe2\x82\xac \x7f");
    auto_free char *text = json_print(json);
    assert_string_equal(text, "\"a\\\"b\\\\c\\n\\u0001\\u001f \xef\xbf\xbd\xef\xbf\xbd(\xe2\x82\xac \x7f\"");
    auto_json again = parse(text);
    assert_non_null(again);
    auto_json nested = parse("{\"a\":{},\"b\":[],\"c\":[1,{\"d\":null}]}");
    auto_free char *pretty = json_print_pretty(nested);
    assert_string_equal(pretty, "{\n    \"a\": {},\n    \"b\": [],\n    \"c\": [\n        1,\n        {\n"
                                "            \"d\": null\n        }\n    ]\n}");
}

static void looks_up_by_path(void **state)
{
    (void)state;
    auto_json json = parse("{\"spec\":{\"containers\":[{\"image\":\"a\"},{\"image\":\"b\",\"tty\":true}]},"
                           "\"labels\":{\"app.io/x\":\"y\",\"\":\"empty\"},\"n\":null,\"Spec\":1}");
    assert_string_equal(json_string(json, "spec.containers[1].image"), "b");
    assert_string_equal(json_string(json, "labels['app.io/x']"), "y");
    assert_string_equal(json_string(json, "labels['']"), "empty");
    assert_null(json_string(json, "spec.containers[2].image"));
    assert_null(json_string(json, "spec.containers.image"));
    assert_null(json_string(json, "spec.container"));
    assert_null(json_string(json, "SPEC.containers[0].image"));
    assert_null(json_string(NULL, "a"));
    assert_true(json_bool(json, "spec.containers[1].tty", false));
    assert_true(json_is_null(json_at(json, "n")));
    assert_true(json_is_null(json_at(json, "m")));
    assert_ptr_equal(json_at(json, ""), json);
}

static void writes_replace_in_place(void **state)
{
    (void)state;
    auto_json json = parse("{\"a\":1,\"b\":2,\"c\":3}");
    json_set_string(json, "b", "x");
    json_set_string(json, "c", NULL);
    json_set(json, "a", json_get(json, "a"));
    json_set_at(json, "m.n[0].o", cJSON_CreateNumber(1));
    json_set_at(json, "m.n[1]", cJSON_CreateTrue());
    json_set_at(json, "m['x.y/z']", cJSON_CreateString("q"));
    assert_null(json_set_at(json, "m.n[9]", cJSON_CreateTrue()));
    json_set_at(json, "b.now", cJSON_CreateString("an object"));
    json_push_string(json_ensure_array(json, "l"), "e");
    json_remove(json, "absent");
    auto_free char *text = json_print(json);
    assert_string_equal(
        text, "{\"a\":1,\"b\":{\"now\":\"an object\"},\"m\":{\"n\":[{\"o\":1},true],\"x.y/z\":\"q\"},"
              "\"l\":[\"e\"]}");
    cJSON *self = json_set(json, json_get(json, "a")->string, cJSON_CreateNull());
    assert_true(cJSON_IsNull(self));
}

static void assert_equal(const char *a, const char *b, bool equal)
{
    auto_json x = parse(a), *y = parse(b);
    if (json_equal(x, y) != equal || json_equal(y, x) != equal)
        fail_msg("%s and %s", a, b);
}

static void equality(void **state)
{
    (void)state;
    assert_equal("{\"a\":1,\"b\":[1,2]}", "{\"b\":[1.0,2],\"a\":1}", true);
    assert_equal("[1,2]", "[2,1]", false);
    assert_equal("{\"a\":null}", "{}", false);
    assert_equal("{\"a\":null}", "{\"b\":null}", false);
    assert_equal("1000000000000000", "1e15", true);
    assert_equal("9007199254740993", "9007199254740992", false);
    assert_equal("18446744073709551615", "18446744073709551614", false);
    assert_equal("true", "1", false);
    assert_equal("\"1\"", "1", false);
    assert_equal("{}", "[]", false);
    auto_str up = {0}, down = {0};
    for (int i = 0; i < 20000; i++) {
        str_addf(&up, "%c\"%d\":%d", i ? ',' : '{', i, i);
        str_addf(&down, "%c\"%d\":%d", i ? ',' : '{', 19999 - i, 19999 - i);
    }
    str_add_char(&up, '}');
    str_add_char(&down, '}');
    assert_equal(up.data, down.data, true);
}

static void survives_every_truncation_and_byte_flip(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\\u00e9\":[1,-2.5e3,12345678901234567890,true,null],\"\xc3\xa9\":{\"x\":\"\\ud83d\\ude00\"}}";
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        auto_free char *part =
            mem_copy(text, len ? len : 1); /* exactly len bytes: asan sees a read behind it */
        auto_err error = NULL;
        assert_null(json_parse(part, len, &error));
        assert_non_null(error);
    }
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        for (int byte = 0; byte < 256; byte++) {
            auto_free char *changed = mem_copy(text, sizeof(text) - 1);
            changed[i] = (char)byte;
            auto_json json = json_parse(changed, sizeof(text) - 1, NULL);
            if (!json)
                continue;
            auto_free char *printed = json_print(json);
            auto_json again = parse(printed);
            assert_true(json_equal(json, again));
        }
    }
}

int main(void)
{
    json_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(refuses_bad_strings),
        cmocka_unit_test(refuses_bad_numbers),
        cmocka_unit_test(refuses_duplicate_keys_but_not_quadratically),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(large_integers_stay_exact),
        cmocka_unit_test(trusted_text_must_still_be_json),
        cmocka_unit_test(trusted_text_may_be_deeper),
        cmocka_unit_test(keys_of_one_object),
        cmocka_unit_test(prints_numbers_that_read_back),
        cmocka_unit_test(prints_valid_json_whatever_the_bytes),
        cmocka_unit_test(looks_up_by_path),
        cmocka_unit_test(writes_replace_in_place),
        cmocka_unit_test(equality),
        cmocka_unit_test(survives_every_truncation_and_byte_flip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
