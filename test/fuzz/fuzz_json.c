/*
 * fuzz_json: the strict gate and what stands behind it. Of each input that is accepted must hold: it prints
 * and reads back as an equal value, merging it into itself changes nothing, a failed patch changes nothing.
 * The same bytes also go through the small parsers of core/base: selectors, quantities, times, JSONPath.
 */
#include "mutate.h"

#include "base/json.h"
#include "base/quantity.h"
#include "base/selector.h"
#include "base/time.h"

static bool holds_null(const cJSON *json)
{
    json_each (child, json) {
        if (cJSON_IsNull(child) || holds_null(child))
            return true;
    }
    return false;
}

static void check_accepted(cJSON *json)
{
    auto_free char *printed = json_print(json);
    auto_err error = NULL;
    auto_json again = json_parse(printed, strlen(printed), &error);
    must(again && json_equal(json, again));
    auto_json trusted = json_parse_trusted(printed, strlen(printed));
    must(json_equal(json, trusted));
    if (!holds_null(json)) { /* null means "remove" in a merge patch */
        auto_json merged = json_merge_patch(json_copy(json), json);
        must(json_equal(json, merged));
    }
    auto_json target = json_copy(again);
    if (json_apply_patch(&target, json, NULL) < 0)
        must(json_equal(target, again));
    auto_free char *rest = json_print(target);
    auto_json patched = json_parse(rest, strlen(rest), NULL);
    must(json_equal(target, patched));
    auto_selector selector = selector_from_json(json, NULL);
    selector_matches_labels(selector, json);
}

static void check_small_parsers(const char *text)
{
    static const char document[] = "{\"a\":[{\"b\":1,\"c\":\"x\"},{\"b\":2}],\"d\":{\"e\":null}}";
    auto_json json = json_parse(document, strlen(document), NULL);
    auto_str out = {0};
    auto_err error = NULL;
    must((json_path_print(json, text, &out, &error) < 0) == (error != NULL));
    auto_selector selector = selector_parse(text, NULL), *fields = selector_parse_fields(text, NULL);
    selector_matches_labels(fields, json);
    if (selector) {
        auto_free char *printed = selector_print(selector);
        auto_selector again = selector_parse(printed, NULL);
        auto_free char *same = again ? selector_print(again) : NULL;
        must(str_eq(printed, same));
    }
    int64_t value, wall;
    if (quantity_milli(text, &value, NULL) == 0) {
        auto_free char *printed = quantity_print_milli(value);
        int64_t again;
        must(quantity_milli(printed, &again, NULL) == 0 && (again == value || value % 1000));
    }
    if (time_parse(text, &wall, NULL) == 0) {
        char printed[TIME_TEXT];
        int64_t again;
        time_print_micro(wall, printed);
        must(time_parse(printed, &again, NULL) == 0 && wall - again >= 0 && wall - again < 1000);
    }
    (void)time_parse_duration(text, &wall, NULL);
}

static bool check(const char *text, size_t len)
{
    auto_err error = NULL;
    auto_json json = json_parse(text, len, &error);
    must((json == NULL) == (error != NULL));
    if (json)
        check_accepted(json);
    auto_free char *terminated = mem_strndup(text, len);
    check_small_parsers(terminated);
    return json != NULL;
}

int main(int argc, char **argv)
{
    static const char *const seeds[] = {
        "{\"a\":[1,-2.5e3,12345678901234567890,true,null,\"\\u00e9\\ud83d\\ude00\"],\"b\":{\"\":{}}}",
        "[{\"op\":\"add\",\"path\":\"/"
        "0\",\"value\":{\"op\":\"x\"}},{\"op\":\"copy\",\"from\":\"\",\"path\":\"/-\"}]",
        "[{\"op\":\"move\",\"from\":\"/0/op\",\"path\":\"/1/a~1b\"},{\"op\":\"test\",\"path\":\"/1/"
        "op\",\"value\":1}]",
        "{\"matchLabels\":{\"a\":\"b\"},\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\",\"values\":["
        "\"b\"]}]}",
        "{range .a[*]}{.b}{\"\\n\"}{end}{.a[?(@.b==1)]['c','d']}{..b}{.a[-1:0:2]}",
        "app.io/a=b,!c,d in (e,f),g notin (h),i>5",
        "metadata.name=a\\,b,status.phase!=Running",
        "1.5Gi",
        "2026-01-02T03:04:05.123456789+02:00",
        "1h30m1.5s",
    };
    static const char *const tokens[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ",",
                                         ":",
                                         "\"",
                                         "\\u0000",
                                         "\\ud800",
                                         "\\",
                                         "null",
                                         "0",
                                         "-",
                                         "1e5",
                                         "9007199254740993",
                                         ".",
                                         "..",
                                         "*",
                                         "?(",
                                         ")",
                                         "@",
                                         "$",
                                         "{end}",
                                         "{range .a}",
                                         "/",
                                         "~0",
                                         "~1",
                                         "\xff",
                                         "\xc3\xa9",
                                         "\n",
                                         "Ki",
                                         "m",
                                         "in ",
                                         "=",
                                         "!=",
                                         "T",
                                         "Z",
                                         "\"path\":\"\"",
                                         "\"op\":\"copy\"",
                                         "\"from\":\"\""};
    struct fuzz_corpus corpus = {seeds, COUNT_OF(seeds), tokens, COUNT_OF(tokens)};
    return fuzz_main(argc, argv, &corpus, check);
}
