/* Strings, codecs, name rules, hash map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/random.h"
#include "base/str.h"

static void strings_grow(void **state)
{
    (void)state;
    auto_str s = {0};
    assert_string_equal(str_c(&s), "");
    for (int i = 0; i < 100000; i++)
        str_addf(&s, "%d,", i % 10);
    assert_int_equal(s.len, 200000);
    assert_int_equal(strlen(s.data), s.len);
    str_clear(&s);
    assert_string_equal(str_c(&s), "");
    auto_free char *wide = mem_alloc(5000);
    memset(wide, 'w', 4999);
    str_addf(&s, "<%s>", wide);
    assert_int_equal(s.len, 5001);
    str_add_n(&s, "a\0b", 3);
    assert_int_equal(s.len, 5004);
    auto_free char *taken = str_take(&s), *empty = str_take(&s);
    assert_int_equal(taken[5000], '>');
    assert_string_equal(empty, "");
}

static void comparisons(void **state)
{
    (void)state;
    assert_true(str_eq(NULL, NULL) && str_eq("a", "a") && !str_eq("a", NULL) && !str_eq(NULL, "a"));
    assert_true(str_starts("abc", "ab") && !str_starts("a", "ab") && !str_starts(NULL, "a"));
    assert_true(str_ends("abc", "bc") && !str_ends("c", "bc") && str_ends("c", ""));
    assert_true(str_eq_secret("abc", "abc") && !str_eq_secret("abc", "abd") && !str_eq_secret("abc", "ab"));
    assert_true(!str_eq_secret("ab", "abab") && !str_eq_secret("a", "") && !str_eq_secret("", "a"));
    assert_true(str_eq_secret("", "") && !str_eq_secret(NULL, NULL));
    long long value = 5;
    assert_int_equal(str_to_int64("-9223372036854775808", &value), 0);
    assert_true(value == INT64_MIN);
    static const char *const bad[] = {"", " 1", "1 ", "+1", "9223372036854775808", "1.0", "-", "0x1", "--1"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(str_to_int64(bad[i], &value), -1);
    assert_int_equal(str_to_int64(NULL, &value), -1);
}

static void splits(void **state)
{
    (void)state;
    size_t n;
    auto_free char **parts = str_split("/a//b/", '/', &n), **none = str_split("", '/', NULL);
    assert_int_equal(n, 5);
    assert_string_equal(parts[0], "");
    assert_string_equal(parts[1], "a");
    assert_string_equal(parts[2], "");
    assert_string_equal(parts[3], "b");
    assert_string_equal(parts[4], "");
    assert_null(parts[5]);
    assert_string_equal(none[0], "");
    assert_null(none[1]);
}

static void nearest_words(void **state)
{
    (void)state;
    assert_int_equal(str_distance("kitten", "sitting", 9), 3);
    assert_int_equal(str_distance("ab", "ba", 9), 1);
    assert_int_equal(str_distance("abc", "", 9), 3);
    assert_int_equal(str_distance("abcdefgh", "xxxxxxxx", 2), 3);
    static const char *const kinds[] = {"pods", "deployments", "services", "nodes"};
    assert_string_equal(str_nearest("pdos", kinds, COUNT_OF(kinds)), "pods");
    assert_string_equal(str_nearest("deploymnets", kinds, COUNT_OF(kinds)), "deployments");
    assert_string_equal(str_nearest("nodes", kinds, COUNT_OF(kinds)), "nodes");
    assert_null(str_nearest("xyz", kinds, COUNT_OF(kinds)));
    assert_null(str_nearest("", kinds, COUNT_OF(kinds)));
}

static void base64(void **state)
{
    (void)state;
    struct random_seeded seeded;
    struct random random;
    random_seeded_init(&seeded, 7, &random);
    for (size_t len = 0; len < 100; len++) {
        unsigned char data[100], *back = NULL;
        random.fill(random.arg, data, len);
        auto_free char *text = str_base64(data, len);
        size_t n;
        assert_int_equal(str_unbase64(text, strlen(text), &back, &n), 0);
        assert_int_equal(n, len);
        assert_memory_equal(back, data, len);
        free(back);
        size_t bare = strcspn(text, "=");
        if (text[bare])
            assert_int_equal(str_unbase64(text, bare, &back, &n), -1);
    }
    auto_free char *known = str_base64("any carnal pleas", 16);
    assert_string_equal(known, "YW55IGNhcm5hbCBwbGVhcw==");
    static const char *const bad[] = {
        "a", "ab", "abc", "ab=", "abc==", "a===", "=", "ab=c", "ab cd", "ab-_", "abcd="};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        unsigned char *data;
        size_t n;
        if (str_unbase64(bad[i], strlen(bad[i]), &data, &n) == 0)
            fail_msg("accepted: %s", bad[i]);
    }
    unsigned char *data;
    size_t n;
    assert_int_equal(str_unbase64("YW5\n5\r\n", 7, &data, &n), 0);
    assert_int_equal(n, 3);
    free(data);
    auto_free char *hex = str_hex("\x00\xff\x1a", 3);
    assert_string_equal(hex, "00ff1a");
    assert_true(str_hash("a", 1) == 0xaf63dc4c8601ec8cull); /* FNV's own test vector */
}

static void name_rules(void **state)
{
    (void)state;
    char longest[300];
    memset(longest, 'a', sizeof(longest));
    longest[63] = '\0';
    assert_null(str_check_dns_label(longest));
    assert_null(str_check_label_value(longest));
    longest[63] = 'a';
    longest[64] = '\0';
    assert_non_null(str_check_dns_label(longest));
    assert_non_null(str_check_label_value(longest));
    assert_non_null(str_check_label_key(longest));
    static const char *const labels[] = {"", "-a", "a-", "A", "a.b", "a_b", "a b", "\xc3\xa9"};
    for (size_t i = 0; i < COUNT_OF(labels); i++)
        assert_non_null(str_check_dns_label(labels[i]));
    assert_non_null(str_check_dns_label(NULL));
    assert_null(str_check_dns_label("1-a"));
    assert_null(str_check_dns_subdomain("a.b-c.1"));
    static const char *const domains[] = {"", ".", "a.", ".a", "a..b", "a.-b", "a_b.c", "A.b"};
    for (size_t i = 0; i < COUNT_OF(domains); i++)
        assert_non_null(str_check_dns_subdomain(domains[i]));
    static const char *const keys[] = {"a", "app.io/Name", "A_b.c-d", "1"};
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        assert_null(str_check_label_key(keys[i]));
    static const char *const bad_keys[] = {"", "/a", "a/", "a/b/c", "App.io/a", "-a", "a b", "a/-b"};
    for (size_t i = 0; i < COUNT_OF(bad_keys); i++)
        assert_non_null(str_check_label_key(bad_keys[i]));
    assert_null(str_check_label_value(""));
    assert_non_null(str_check_label_value("a/b"));
    assert_non_null(str_check_label_value(NULL));
}

static int freed;

static void count_free(void *value)
{
    freed++;
    free(value);
}

static void map_keeps_insertion_order(void **state)
{
    (void)state;
    auto_map map = {0};
    assert_null(map_get(&map, "a"));
    assert_false(map_remove(&map, "a"));
    static int values[5000];
    for (int i = 0; i < 5000; i++) {
        auto_free char *key = mem_printf("k%d", i * 7919 % 5000);
        map_set(&map, key, &values[i]);
    }
    assert_int_equal(map.count, 5000);
    for (int i = 0; i < 5000; i += 2) {
        auto_free char *key = mem_printf("k%d", i * 7919 % 5000);
        assert_true(map_remove(&map, key));
        assert_false(map_has(&map, key));
    }
    int i = 1;
    map_each (entry, &map) {
        assert_ptr_equal(entry->value, &values[i]);
        assert_ptr_equal(map_get(&map, entry->key), &values[i]);
        if (i % 3 == 0)
            map_remove(&map, entry->key); /* the current entry may go */
        i += 2;
    }
    assert_int_equal(i, 5001);
    auto_free const char **keys = map_sorted_keys(&map);
    size_t n = 0;
    for (; keys[n]; n++)
        assert_true(n == 0 || strcmp(keys[n - 1], keys[n]) < 0);
    assert_int_equal(n, map.count);
}

static void map_owns_its_values(void **state)
{
    (void)state;
    struct map map;
    map_init(&map, count_free);
    freed = 0;
    char *kept = mem_strdup("kept");
    map_set(&map, "a", mem_strdup("1"));
    map_set(&map, "a", mem_strdup("2"));
    assert_int_equal(freed, 1);
    map_set(&map, "b", kept);
    map_set(&map, "b", kept); /* replaced by itself: stays */
    assert_int_equal(freed, 1);
    assert_ptr_equal(map_take(&map, "b"), kept);
    free(kept);
    map_set(&map, "c", NULL);
    assert_true(map_has(&map, "c"));
    map_remove(&map, "a");
    assert_int_equal(freed, 2);
    map_set(&map, "d", mem_strdup("3"));
    map_fini(&map);
    assert_int_equal(freed, 3);
    assert_int_equal(map.count, 0);
    map_set(&map, "e", mem_strdup("4")); /* empty, not dead */
    map_fini(&map);
    assert_int_equal(freed, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_grow),
        cmocka_unit_test(comparisons),
        cmocka_unit_test(splits),
        cmocka_unit_test(nearest_words),
        cmocka_unit_test(base64),
        cmocka_unit_test(name_rules),
        cmocka_unit_test(map_keeps_insertion_order),
        cmocka_unit_test(map_owns_its_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
