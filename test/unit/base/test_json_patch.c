/* RFC 7386 (its own table of examples) and RFC 6902. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/json.h"

static cJSON *parse(const char *text)
{
    cJSON *json = json_parse(text, strlen(text), NULL);
    if (!json)
        fail_msg("not JSON: %s", text);
    return json;
}

static void merges_as_the_rfc_says(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        {"{\"a\":1}", "{\"a\":{\"b\":{\"c\":null,\"d\":1}}}", "{\"a\":{\"b\":{\"d\":1}}}"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        auto_json patch = parse(rows[i][1]);
        auto_json merged = json_merge_patch(parse(rows[i][0]), patch);
        auto_free char *text = json_print(merged);
        assert_string_equal(text, rows[i][2]);
    }
    auto_json patch = parse("{\"a\":1}"), *made = json_merge_patch(NULL, patch);
    assert_true(json_equal(made, patch));
}

static void assert_patched(const char *target, const char *operations, const char *expected)
{
    auto_json json = parse(target), *patch = parse(operations);
    auto_err error = NULL;
    if (json_apply_patch(&json, patch, &error) < 0)
        fail_msg("%s: %s", operations, err_message(error));
    auto_free char *text = json_print(json);
    assert_string_equal(text, expected);
}

static void assert_patch_fails(const char *target, const char *operations, enum err_code code)
{
    auto_json json = parse(target), *patch = parse(operations);
    auto_err error = NULL;
    if (json_apply_patch(&json, patch, &error) == 0)
        fail_msg("applied: %s", operations);
    if (err_code(error) != code)
        fail_msg("%s: %s", operations, err_message(error));
    auto_free char *text = json_print(json);
    assert_string_equal(text, target);
}

static void patches(void **state)
{
    (void)state;
    assert_patched("{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b\",\"value\":[1]}]", "{\"a\":1,\"b\":[1]}");
    assert_patched("{\"a\":[1,3]}", "[{\"op\":\"add\",\"path\":\"/a/1\",\"value\":2}]", "{\"a\":[1,2,3]}");
    assert_patched("{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":2}]", "{\"a\":[1,2]}");
    assert_patched("{\"a\":[]}", "[{\"op\":\"add\",\"path\":\"/a/0\",\"value\":2}]", "{\"a\":[2]}");
    assert_patched("{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":2}]", "{\"a\":2}");
    assert_patched("{\"a\":1}", "[{\"op\":\"add\",\"path\":\"\",\"value\":{\"b\":2}}]", "{\"b\":2}");
    assert_patched("{\"a\":1,\"b\":2}", "[{\"op\":\"remove\",\"path\":\"/a\"}]", "{\"b\":2}");
    assert_patched("{\"a\":[1,2,3]}", "[{\"op\":\"remove\",\"path\":\"/a/0\"}]", "{\"a\":[2,3]}");
    assert_patched("{\"a\":[1,2]}", "[{\"op\":\"replace\",\"path\":\"/a/1\",\"value\":null}]",
                   "{\"a\":[1,null]}");
    assert_patched("{\"a\":{\"b\":1}}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":7}]", "7");
    assert_patched("{\"a\":{\"b\":1},\"c\":{}}", "[{\"op\":\"move\",\"from\":\"/a/b\",\"path\":\"/c/d\"}]",
                   "{\"a\":{},\"c\":{\"d\":1}}");
    assert_patched("{\"a\":[1,2,3]}", "[{\"op\":\"move\",\"from\":\"/a/0\",\"path\":\"/a/2\"}]",
                   "{\"a\":[2,3,1]}");
    assert_patched("{\"a\":1}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a\"}]", "{\"a\":1}");
    assert_patched("{\"a\":{\"b\":1}}", "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/c\"}]",
                   "{\"a\":{\"b\":1,\"c\":{\"b\":1}}}");
    assert_patched(
        "{\"x/y\":1,\"m~n\":2,\"\":3}",
        "[{\"op\":\"test\",\"path\":\"/x~1y\",\"value\":1},{\"op\":\"test\",\"path\":\"/m~0n\",\"value\":2},"
        "{\"op\":\"test\",\"path\":\"/\",\"value\":3.0},{\"op\":\"remove\",\"path\":\"/x~1y\"}]",
        "{\"m~n\":2,\"\":3}");
    assert_patched("{}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":null}]", "{}");
    assert_patched("{}", "[]", "{}");
}

static void bad_patches_change_nothing(void **state)
{
    (void)state;
    assert_patch_fails("{\"a\":1}", "{}", ERR_BAD_REQUEST);
    assert_patch_fails("{\"a\":1}", "[1]", ERR_BAD_REQUEST);
    assert_patch_fails("{\"a\":1}", "[{\"op\":\"frob\",\"path\":\"/a\"}]", ERR_BAD_REQUEST);
    assert_patch_fails("{\"a\":1}", "[{\"op\":\"add\",\"path\":\"a\",\"value\":1}]", ERR_BAD_REQUEST);
    assert_patch_fails("{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b\"}]", ERR_BAD_REQUEST);
    assert_patch_fails("{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/~2\",\"value\":1}]", ERR_BAD_REQUEST);
    assert_patch_fails("{\"a\":1}", "[{\"op\":\"copy\",\"path\":\"/b\"}]", ERR_BAD_REQUEST);
    assert_patch_fails("{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/b\"}]", ERR_INVALID);
    assert_patch_fails("{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"\"}]", ERR_INVALID);
    assert_patch_fails("{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/b\",\"value\":1}]", ERR_INVALID);
    assert_patch_fails("{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b/c\",\"value\":1}]", ERR_INVALID);
    assert_patch_fails("{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a/c\",\"value\":1}]", ERR_INVALID);
    assert_patch_fails("{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/2\",\"value\":1}]", ERR_INVALID);
    assert_patch_fails("{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/01\",\"value\":1}]", ERR_INVALID);
    assert_patch_fails("{\"a\":[1]}", "[{\"op\":\"remove\",\"path\":\"/a/-\"}]", ERR_INVALID);
    assert_patch_fails("{\"a\":{}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b\"}]", ERR_INVALID);
    assert_patch_fails("{\"a\":1}",
                       "[{\"op\":\"remove\",\"path\":\"/a\"},{\"op\":\"test\",\"path\":\"/a\",\"value\":1}]",
                       ERR_INVALID);
}

/* {"a":{}} with /a copied into itself again and again would double in size, or in depth, each time. */
static void copies_are_bounded(void **state)
{
    (void)state;
    auto_json operations = cJSON_CreateArray();
    for (int i = 0; i < 40; i++) {
        auto_free char *text = mem_printf("{\"op\":\"copy\",\"from\":\"\",\"path\":\"/k%d\"}", i);
        json_push(operations, parse(text));
    }
    auto_json json = parse("{\"a\":{}}");
    auto_err error = NULL;
    assert_int_equal(json_apply_patch(&json, operations, &error), -1);
    assert_true(err_code(error) == ERR_TOO_LARGE || err_code(error) == ERR_INVALID);
    assert_int_equal(cJSON_GetArraySize(json), 1);
    auto_json deep = cJSON_CreateArray();
    auto_str path = {0};
    for (int i = 0; i < 30; i++) {
        auto_free char *text =
            mem_printf("{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a%s/b\"}", str_c(&path));
        json_push(deep, parse(text));
        for (int j = 0; j < 1 << (i > 6 ? 6 : i); j++)
            str_add(&path, "/b");
    }
    auto_err too_deep = NULL;
    assert_int_equal(json_apply_patch(&json, deep, &too_deep), -1);
    assert_int_equal(err_code(too_deep), ERR_INVALID);
}

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

#define REPEATED 9990

/* The same operation again and again, after what makes something large. */
static enum err_code patch_repeatedly(const char *target, cJSON *first, const char *operation,
                                      const char *back)
{
    auto_json json = parse(target), *operations = cJSON_CreateArray();
    auto_err error = NULL;
    json_push(operations, first);
    for (int i = 0; i < REPEATED; i++)
        json_push(operations, parse(back && i % 2 ? back : operation));
    double begin = cpu_seconds();
    int result = json_apply_patch(&json, operations, &error);
    assert_true(cpu_seconds() - begin < 10);
    if (result < 0) {
        auto_free char *text = json_print(json);
        assert_string_equal(text, target);
    }
    return err_code(error);
}

static cJSON *add_operation(const char *path, cJSON *value)
{
    cJSON *operation = cJSON_CreateObject();
    json_set_string(operation, "op", "add");
    json_set_string(operation, "path", path);
    json_set(operation, "value", value);
    return operation;
}

/* A few nodes can hold many bytes. */
static void copies_are_bounded_in_bytes(void **state)
{
    (void)state;
    auto_str text = {0};
    for (int i = 0; i < 200000; i++)
        str_add_char(&text, 'x');
    cJSON *long_text = add_operation("/a", cJSON_CreateString(str_c(&text)));
    assert_int_equal(
        patch_repeatedly("{}", long_text, "{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/b\"}", NULL),
        ERR_TOO_LARGE);
    cJSON *long_key = cJSON_CreateObject();
    json_set(long_key, str_c(&text), cJSON_CreateTrue());
    assert_int_equal(patch_repeatedly("{}", add_operation("/a", long_key),
                                      "{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/b\"}", NULL),
                     ERR_TOO_LARGE);
    cJSON *small = add_operation("/a", cJSON_CreateString("x"));
    assert_int_equal(patch_repeatedly("{}", small, "{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/b\"}", NULL),
                     ERR_NONE);
}

static cJSON *large(bool object, int n)
{
    cJSON *json = object ? cJSON_CreateObject() : cJSON_CreateArray();
    for (int i = 0; i < n; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        cJSON *item = cJSON_CreateNumber(i);
        if (object)
            cJSON_AddItemToObject(json, key, item); /* json_set would search */
        else
            json_push(json, item);
    }
    return json;
}

/* Each operation is linear in what it touches; so many of them on something large would take minutes. */
static void work_is_bounded(void **state)
{
    (void)state;
    static const struct {
        bool object;
        int size;
        const char *operation, *back;
        enum err_code code;
    } rows[] = {
        {false, 400000, "{\"op\":\"add\",\"path\":\"/a/-\",\"value\":1}", NULL, ERR_NONE},
        {false, 40000, "{\"op\":\"add\",\"path\":\"/a/0\",\"value\":1}", NULL, ERR_NONE},
        {false, 40000, "{\"op\":\"test\",\"path\":\"/a/1\",\"value\":1}", NULL, ERR_NONE},
        {false, 40000, "{\"op\":\"add\",\"path\":\"/a/39999\",\"value\":1}", NULL, ERR_TOO_LARGE},
        {false, 40000, "{\"op\":\"replace\",\"path\":\"/a/39999\",\"value\":1}", NULL, ERR_TOO_LARGE},
        {false, 40000, "{\"op\":\"remove\",\"path\":\"/a/30000\"}", NULL, ERR_TOO_LARGE},
        {false, 40000, "{\"op\":\"test\",\"path\":\"/a\",\"value\":[]}", NULL, ERR_INVALID},
        {true, 40000, "{\"op\":\"add\",\"path\":\"/a/x\",\"value\":1}", NULL, ERR_TOO_LARGE},
        {true, 40000, "{\"op\":\"test\",\"path\":\"/a/x\",\"value\":null}", NULL, ERR_TOO_LARGE},
        {true, 40000, "{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/b\"}",
         "{\"op\":\"move\",\"from\":\"/b\",\"path\":\"/a\"}", ERR_TOO_LARGE},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        enum err_code code = patch_repeatedly("{}", add_operation("/a", large(rows[i].object, rows[i].size)),
                                              rows[i].operation, rows[i].back);
        if (code != rows[i].code)
            fail_msg("%s: %s", rows[i].operation, err_code_name(code));
    }
}

/* The keys from up to below to, each with the value; NULL: null. */
static cJSON *many_keys(int from, int to, const char *value)
{
    auto_str text = {0};
    for (int i = from; i < to; i++) {
        str_addf(&text, "%c\"k%d\":", i > from ? ',' : '{', i);
        if (value)
            str_addf(&text, "\"%s\"", value);
        else
            str_add(&text, "null");
    }
    str_add_char(&text, '}');
    return parse(str_c(&text));
}

static void merges_very_many_keys_quickly(void **state)
{
    (void)state;
    double begin = cpu_seconds();
    auto_json patch = many_keys(0, 140000, "new"), *made = json_merge_patch(NULL, patch);
    auto_free char *wanted = json_print(patch), *text = json_print(made);
    assert_string_equal(text, wanted);

    auto_json onto = json_merge_patch(many_keys(70000, 210000, "old"), patch);
    assert_true(cpu_seconds() - begin < 10);
    auto_json expected = many_keys(70000, 140000, "new"), *rest = many_keys(140000, 210000, "old"),
              *added = many_keys(0, 70000, "new");
    const cJSON *parts[] = {expected, rest, added},
                *at = onto->child; /* places are kept, the new come last */
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        json_each (child, parts[i]) {
            assert_string_equal(at->string, child->string);
            assert_string_equal(at->valuestring, child->valuestring);
            at = at->next;
        }
    assert_null(at);

    auto_json nulls = many_keys(50000, 190000, NULL);
    onto = json_merge_patch(steal(&onto), nulls);
    assert_true(cpu_seconds() - begin < 15);
    assert_int_equal(cJSON_GetArraySize(onto), 70000);
    assert_null(json_get(onto, "k50000"));
    assert_string_equal(json_string(onto, "k49999"), "new");
    assert_string_equal(json_string(onto, "k190000"), "old");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_as_the_rfc_says),        cmocka_unit_test(patches),
        cmocka_unit_test(bad_patches_change_nothing),    cmocka_unit_test(copies_are_bounded),
        cmocka_unit_test(copies_are_bounded_in_bytes),   cmocka_unit_test(work_is_bounded),
        cmocka_unit_test(merges_very_many_keys_quickly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
