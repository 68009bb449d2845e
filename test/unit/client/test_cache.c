/* The informer cache: columns, indexes, order, replacement, and what a complete list drops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "client/client.h"

struct changes {
    char text[4096];
};

static void on_change(void *arg, const char *resource, const struct cache_item *previous,
                      const struct cache_item *item)
{
    struct changes *changes = arg;
    size_t used = strlen(changes->text);
    snprintf(changes->text + used, sizeof(changes->text) - used, "%s%s %s;",
             item ? (previous ? "~" : "+") : "-", resource, item ? item->key : previous->key);
}

struct world {
    struct cache *cache;
    struct changes changes;
};

static int set_up(void **state)
{
    struct world *w = NEW(struct world);
    w->cache = cache_new();
    static const char *const paths[] = {"status.phase", "metadata.labels", NULL};
    cache_project(w->cache, "pods", paths);
    cache_index(w->cache, "pods", "spec.nodeName");
    cache_set_on_change(w->cache, on_change, &w->changes);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    cache_free(w->cache);
    free(w);
    return 0;
}

static void send_event(struct world *w, enum client_event_type type, uint64_t revision, const char *name,
                       const char *uid, const char *node, const char *owner)
{
    auto_free char *owners =
        owner ? mem_printf(",\"ownerReferences\":[{\"uid\":\"%s\",\"controller\":true}]", owner)
              : mem_strdup("");
    auto_free char *text = mem_printf(
        "{\"metadata\":{\"namespace\":\"default\",\"name\":\"%s\",\"uid\":\"%s\",\"resourceVersion\":\"%"
        "llu\","
        "\"labels\":{\"app\":\"web\"}%s},\"spec\":{\"nodeName\":\"%s\"},\"status\":{\"phase\":\"Running\"}}",
        name, uid, (unsigned long long)revision, owners, node);
    const struct client_event event = {type, revision, "pods", text, strlen(text)};
    cache_apply(w->cache, &event);
}

static void end_list(struct world *w, uint64_t revision)
{
    const struct client_event event = {CLIENT_INITIAL_END, revision, "", NULL, 0};
    cache_apply(w->cache, &event);
}

static void expect_list(struct world *w, const char *index, const char *value, const char *expected)
{
    char text[1024] = "";
    struct cache_cursor cursor;
    cache_begin(w->cache, "pods", index, value, &cursor);
    const struct cache_item *item;
    while ((item = cache_next(&cursor))) {
        strcat(text, item->name);
        strcat(text, " ");
    }
    assert_string_equal(text, expected);
}

static void test_projects_and_indexes(void **state)
{
    struct world *w = *state;
    send_event(w, CLIENT_ADDED, 2, "b", "u2", "node-1", "owner-1");
    send_event(w, CLIENT_ADDED, 3, "a", "u1", "node-2", NULL);
    send_event(w, CLIENT_ADDED, 4, "c", "u3", "node-1", "owner-1");
    expect_list(w, NULL, NULL, "a b c ");
    expect_list(w, "spec.nodeName", "node-1", "b c ");
    expect_list(w, "owner", "owner-1", "b c ");
    expect_list(w, "namespace", "default", "a b c ");
    expect_list(w, "spec.nodeName", "node-9", "");
    const struct cache_item *item = cache_get(w->cache, "pods", "default/b");
    assert_string_equal(json_get(item->columns, "status.phase")->valuestring, "Running");
    assert_int_equal(item->revision, 2);
    assert_ptr_equal(cache_get_uid(w->cache, "u2"), item);
    assert_int_equal(cache_count(w->cache, "pods"), 3);
    assert_string_equal(w->changes.text, "+pods default/b;+pods default/a;+pods default/c;");
}

static void test_moves_between_indexes(void **state)
{
    struct world *w = *state;
    send_event(w, CLIENT_ADDED, 2, "a", "u1", "node-1", NULL);
    send_event(w, CLIENT_MODIFIED, 3, "a", "u1", "node-2", NULL);
    expect_list(w, "spec.nodeName", "node-1", "");
    expect_list(w, "spec.nodeName", "node-2", "a ");
    send_event(w, CLIENT_DELETED, 4, "a", "u1", "node-2", NULL);
    expect_list(w, "spec.nodeName", "node-2", "");
    assert_null(cache_get_uid(w->cache, "u1"));
    assert_string_equal(w->changes.text, "+pods default/a;~pods default/a;-pods default/a;");
}

static void test_a_new_object_of_the_same_name_is_another(void **state)
{
    struct world *w = *state;
    send_event(w, CLIENT_ADDED, 2, "a", "u1", "node-1", NULL);
    send_event(w, CLIENT_ADDED, 9, "a", "u2", "node-1", NULL);
    assert_string_equal(w->changes.text, "+pods default/a;-pods default/a;+pods default/a;");
    assert_null(cache_get_uid(w->cache, "u1"));
}

static void test_a_list_drops_what_it_lacks(void **state)
{
    struct world *w = *state;
    send_event(w, CLIENT_ADDED, 2, "a", "u1", "node-1", NULL);
    send_event(w, CLIENT_ADDED, 3, "b", "u2", "node-1", NULL);
    w->changes.text[0] = 0;
    cache_begin_list(w->cache);
    send_event(w, CLIENT_ADDED, 3, "b", "u2", "node-1", NULL); /* unchanged: nobody is told */
    assert_non_null(cache_get(w->cache, "pods", "default/a"));
    end_list(w, 7);
    assert_null(cache_get(w->cache, "pods", "default/a"));
    assert_string_equal(w->changes.text, "-pods default/a;");
    assert_int_equal(cache_revision(w->cache), 7);
}

static void test_order_holds_for_many(void **state)
{
    struct world *w = *state;
    enum { N = 3000 };
    for (int i = 0; i < N; i++) {
        char name[16], uid[16];
        snprintf(name, sizeof(name), "p%05d", (i * 7919) % N);
        snprintf(uid, sizeof(uid), "u%d", i);
        send_event(w, CLIENT_ADDED, (uint64_t)i + 1, name, uid, i % 2 ? "odd" : "even", NULL);
    }
    struct cache_cursor cursor;
    cache_begin(w->cache, "pods", NULL, NULL, &cursor);
    const struct cache_item *item;
    int seen = 0;
    char last[16] = "";
    while ((item = cache_next(&cursor))) {
        assert_true(strcmp(last, item->name) < 0);
        snprintf(last, sizeof(last), "%s", item->name);
        seen++;
    }
    assert_int_equal(seen, N);
}

int main(void)
{
    json_init();
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_projects_and_indexes),
        TEST(test_moves_between_indexes),
        TEST(test_a_new_object_of_the_same_name_is_another),
        TEST(test_a_list_drops_what_it_lacks),
        TEST(test_order_holds_for_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
