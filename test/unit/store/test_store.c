/* store: preconditions, revisions, lists, terms, the log, compaction, volatile and sealed objects, limits,
 * opening. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../support/store_sync.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "store/keys.h"
#include "store/store_lmdb.h"

struct fixture {
    char *directory;
    struct store_lmdb_options options;
    struct store *store;
    uint64_t events, last_event;
    bool disordered;
};

static void on_commit(void *arg, struct store_event *const *events, size_t count)
{
    struct fixture *f = arg;
    for (size_t i = 0; i < count; i++) {
        f->disordered |= events[i]->revision <= f->last_event;
        f->last_event = events[i]->revision;
        f->events++;
    }
}

static void reopen(struct fixture *f)
{
    auto_err error = NULL;
    if (f->store)
        f->store->ops->close(f->store);
    f->store = store_lmdb_open(&f->options, &error);
    if (!f->store)
        fail_msg("%s", err_message(error));
    f->store->ops->set_on_commit(f->store, on_commit, f);
}

static int setup(void **state)
{
    struct fixture *f = NEW(struct fixture);
    f->directory = store_sync_directory("store");
    f->options = (struct store_lmdb_options){.directory = f->directory, .sync = true, .map_bytes = 1u << 30};
    reopen(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->store)
        f->store->ops->close(f->store);
    int result = f->disordered ? -1 : file_remove_tree(f->directory, NULL);
    free(f->directory);
    free(f);
    return result;
}

static enum err_code put(struct fixture *f, const char *key, const char *text, const char *terms,
                         uint64_t expect, uint64_t *revision)
{
    return store_sync_put(f->store, key, text, terms, expect, 0, revision);
}

static void assert_get(struct store *store, const char *key, const char *text, uint64_t revision)
{
    struct store_object object = {0};
    auto_err error = NULL;
    int result = store->ops->get(store, key, &object, &error);
    if (!text) {
        assert_int_equal(result, -1);
        assert_int_equal(err_code(error), ERR_NOT_FOUND);
        return;
    }
    if (result != 0)
        fail_msg("%s", err_message(error));
    auto_free char *expected =
        mem_printf("{\"resourceVersion\":\"%llu\",\"text\":\"%s\"}", (unsigned long long)revision, text);
    assert_string_equal(object.bytes->data, expected);
    assert_int_equal(object.bytes->len, strlen(expected));
    assert_int_equal(object.revision, revision);
    store_object_fini(&object);
}

static void test_preconditions(void **state)
{
    struct fixture *f = *state;
    uint64_t a = 0, b = 0, c = 0;
    assert_int_equal(put(f, "pods/x/a", "1", "u:=uid1", STORE_PRESENT, &a), ERR_NOT_FOUND);
    assert_int_equal(put(f, "pods/x/a", "1", "u:=uid1", 7, &a), ERR_NOT_FOUND);
    assert_int_equal(put(f, "pods/x/a", "1", "u:=uid1", STORE_ABSENT, &a), ERR_NONE);
    assert_int_equal(put(f, "pods/x/a", "2", "u:=uid1", STORE_ABSENT, &b), ERR_ALREADY_EXISTS);
    assert_int_equal(b, a); /* the present revision */
    assert_int_equal(put(f, "pods/x/a", "2", "u:=uid1", a - 1, &b), ERR_CONFLICT);
    assert_int_equal(put(f, "pods/x/a", "2", "u:=uid1", a, &b), ERR_NONE);
    assert_int_equal(b, a + 1); /* failed writes use up none */
    assert_get(f->store, "pods/x/a", "2", b);
    struct store_write write = {.verb = STORE_DELETE, .key = "pods/x/a", .expect_uid = "uid2"};
    assert_int_equal(store_sync_write(f->store, &write), ERR_CONFLICT);
    write.expect_uid = "uid1";
    assert_int_equal(store_sync_write(f->store, &write), ERR_NONE);
    assert_int_equal(write.revision, b + 1);
    auto_free char *last =
        mem_printf("{\"resourceVersion\":\"%llu\",\"text\":\"2\"}", (unsigned long long)b + 1);
    assert_string_equal(write.bytes->data, last);
    bytes_unref(write.bytes);
    assert_get(f->store, "pods/x/a", NULL, 0);
    assert_int_equal(store_sync_delete(f->store, "pods/x/a", STORE_ANY, NULL), ERR_NOT_FOUND);
    assert_int_equal(put(f, "pods/x/a", "3", NULL, STORE_ANY, &c), ERR_NONE);
    reopen(f);
    assert_get(f->store, "pods/x/a", "3", c);
    assert_true(f->store->ops->revision(f->store) > c);
}

static enum err_code put_guarded(struct fixture *f, const struct store_guard *guards, size_t count,
                                 size_t *failed)
{
    struct store_terms *terms = store_terms_new(1, NULL, 0);
    struct store_write write = {
        .key = "slices/x/s", .data = "{}", .len = 2, .revision_at = 1, .terms = terms};
    write.guards = guards;
    write.n_guards = count;
    enum err_code code = store_sync_write(f->store, &write);
    *failed = write.failed ? (size_t)(write.failed - guards) : count;
    bytes_unref(write.bytes);
    store_terms_unref(terms);
    return code;
}

/* What a write says of other objects is checked in the moment of the write. */
static void test_guards(void **state)
{
    struct fixture *f = *state;
    const struct store_guard guards[] = {{"pods/x/a", "u:=uid1", NULL}, {"pods/x/b", "u:=uid2", "d:="}};
    uint64_t revision = 0;
    size_t failed = 0;
    put(f, "pods/x/a", "1", "u:=uid1", STORE_ABSENT, &revision);
    assert_int_equal(put_guarded(f, guards, 2, &failed), ERR_CONFLICT); /* the second is not there */
    assert_int_equal(failed, 1);
    put(f, "pods/x/b", "1", "u:=uid2", STORE_ABSENT, &revision);
    assert_int_equal(put_guarded(f, guards, 2, &failed), ERR_NONE);
    assert_int_equal(failed, 2);
    put(f, "pods/x/a", "2", "u:=another", STORE_ANY, &revision);
    assert_int_equal(put_guarded(f, guards, 2, &failed), ERR_CONFLICT); /* the first is another one */
    assert_int_equal(failed, 0);
    put(f, "pods/x/b", "2", "d:=", STORE_ANY, &revision);
    const struct store_guard deleting = {"pods/x/b", NULL, "d:="};
    assert_int_equal(put_guarded(f, &deleting, 1, &failed), ERR_CONFLICT);
}

static void test_created_revision(void **state)
{
    struct fixture *f = *state;
    uint64_t a = 0, b = 0;
    struct store_object object;
    put(f, "pods/x/a", "1", NULL, STORE_ANY, &a);
    put(f, "pods/x/a", "2", NULL, STORE_ANY, &b);
    assert_int_equal(f->store->ops->get(f->store, "pods/x/a", &object, NULL), 0);
    assert_int_equal(object.created_revision, a);
    assert_int_equal(object.revision, b);
    store_object_fini(&object);
}

/* Bad input never reaches the disk and never ends the process. */
static void test_bad_writes(void **state)
{
    struct fixture *f = *state;
    auto_free char *name = mem_alloc(600);
    memset(name, 'x', 599);
    assert_int_equal(put(f, name, "1", NULL, STORE_ANY, NULL), ERR_TOO_LARGE);
    assert_int_equal(put(f, "", "1", NULL, STORE_ANY, NULL), ERR_BAD_REQUEST);
    auto_free char *big = mem_alloc(STORE_MAX_OBJECT + 1);
    memset(big, ' ', STORE_MAX_OBJECT + 1);
    struct store_write write = {.verb = STORE_PUT, .key = "a//b", .data = big, .len = STORE_MAX_OBJECT + 1};
    write.terms = store_terms_new(1, NULL, 0);
    assert_int_equal(store_sync_write(f->store, &write), ERR_TOO_LARGE);
    write.len = STORE_MAX_OBJECT;
    write.revision_at = write.len + 1;
    assert_int_equal(store_sync_write(f->store, &write), ERR_BAD_REQUEST);
    write.revision_at = write.len;
    assert_int_equal(store_sync_write(f->store, &write), ERR_NONE);
    assert_true(write.bytes->len > STORE_MAX_OBJECT);
    bytes_unref(write.bytes);
    store_terms_unref(write.terms);
    auto_free const char **terms = mem_array(STORE_MAX_TERMS + 1, sizeof(char *));
    for (size_t i = 0; i <= STORE_MAX_TERMS; i++)
        terms[i] = "l:a=b";
    assert_null(store_terms_new(1, terms, STORE_MAX_TERMS + 1));
    write.terms = NULL;
    assert_int_equal(store_sync_write(f->store, &write), ERR_TOO_LARGE);
    write.flags = STORE_SEALED; /* no seal was given */
    write.terms = store_terms_new(1, terms, STORE_MAX_TERMS);
    assert_int_equal(write.terms->count, 1);
    assert_int_equal(store_sync_write(f->store, &write), ERR_INTERNAL);
    store_terms_unref(write.terms);
}

static char *list_text(struct store *store, const struct store_list_request *request)
{
    struct store_list list;
    struct str text = {0};
    assert_int_equal(store->ops->list(store, request, &list, NULL), 0);
    for (size_t i = 0; i < list.count; i++)
        str_addf(&text, "%s%s", i ? " " : "", strrchr(list.objects[i].key, '/') + 1);
    if (list.more)
        str_addf(&text, " +%llu", (unsigned long long)list.remaining);
    store_list_fini(&list);
    return str_take(&text);
}

#define ASSERT_LIST(store, expected, ...)                                                                    \
    do {                                                                                                     \
        auto_free char *got = list_text(store, &(struct store_list_request){__VA_ARGS__});                   \
        assert_string_equal(got, expected);                                                                  \
    } while (0)

static bool match_odd(void *arg UNUSED, const struct store_object *object)
{
    assert_null(object->bytes);
    return store_terms_has(object->terms, "l:odd=1");
}

static void fill_lists(struct fixture *f)
{
    for (int i = 0; i < 10; i++) {
        auto_free char *key = mem_printf("pods/%s/p%d", i < 5 ? "a" : "b", i);
        auto_free char *terms = mem_printf("l:app=web,%s,f:spec.nodeName=n%d,F:status.phase=P%d",
                                           i % 2 ? "l:odd=1" : "l:odd=0", i % 3, i % 4);
        put(f, key, "x", terms, STORE_ANY, NULL);
    }
    put(f, "podsx/a/other", "x", "l:app=web", STORE_ANY, NULL);
    put(f, "nodes//n0", "x", "l:app=web", STORE_ANY, NULL);
}

static void test_lists(void **state)
{
    struct fixture *f = *state;
    fill_lists(f);
    struct store *s = f->store;
    ASSERT_LIST(s, "p0 p1 p2 p3 p4 p5 p6 p7 p8 p9", .prefix = "pods/");
    ASSERT_LIST(s, "n0 p0 p1 p2 p3 p4 p5 p6 p7 p8 p9 other", .prefix = "");
    ASSERT_LIST(s, "p5 p6 +3", .prefix = "pods/b/", .limit = 2);
    ASSERT_LIST(s, "p7 p8 p9", .prefix = "pods/b/", .limit = 3, .after_key = "pods/b/p6");
    ASSERT_LIST(s, "p7 p8 p9", .prefix = "pods/b/", .after_key = "pods/b/p66"); /* it need not exist */
    ASSERT_LIST(s, "", .prefix = "services/");
    const char *web[] = {"l:app=web", NULL}, *two[] = {"l:odd=1", "f:spec.nodeName=n0", NULL};
    const char *phase[] = {"F:status.phase=P1", NULL}, *none[] = {"l:odd=1", "l:absent=", NULL};
    ASSERT_LIST(s, "p0 p1 p2 p3 +6", .prefix = "pods/", .terms = web, .limit = 4);
    ASSERT_LIST(s, "p3 p9", .prefix = "pods/", .terms = two);
    ASSERT_LIST(s, "p9", .prefix = "pods/b/", .terms = two);
    ASSERT_LIST(s, "p9", .prefix = "pods/", .terms = two, .after_key = "pods/a/p3");
    ASSERT_LIST(s, "p1 p5 p9", .prefix = "pods/", .terms = phase);
    ASSERT_LIST(s, "", .prefix = "pods/", .terms = none);
    ASSERT_LIST(s, "n0 p0 p1 p2 p3 p4 p5 p6 p7 p8 p9 other", .prefix = "", .terms = web);
    ASSERT_LIST(s, "p1 p3 +0", .prefix = "pods/", .match = match_odd, .limit = 2);
    ASSERT_LIST(s, "p7 p9", .prefix = "pods/", .match = match_odd, .limit = 2, .after_key = "pods/b/p5");
    ASSERT_LIST(s, "p0 p1 p2 +7", .prefix = "pods/", .keys_only = true, .limit = 3);
}

/* An update moves an object between index entries; a delete takes it out of all. */
static void test_index_follows(void **state)
{
    struct fixture *f = *state;
    const char *n1[] = {"f:spec.nodeName=n1", NULL}, *n2[] = {"f:spec.nodeName=n2", NULL};
    put(f, "pods/a/x", "1", "f:spec.nodeName=n1,l:a=b", STORE_ANY, NULL);
    ASSERT_LIST(f->store, "x", .prefix = "pods/", .terms = n1);
    put(f, "pods/a/x", "2", "f:spec.nodeName=n2,l:a=b", STORE_ANY, NULL);
    ASSERT_LIST(f->store, "", .prefix = "pods/", .terms = n1);
    ASSERT_LIST(f->store, "x", .prefix = "pods/", .terms = n2);
    reopen(f);
    ASSERT_LIST(f->store, "x", .prefix = "pods/", .terms = n2);
    store_sync_delete(f->store, "pods/a/x", STORE_ANY, NULL);
    ASSERT_LIST(f->store, "", .prefix = "pods/", .terms = n2);
    ASSERT_LIST(f->store, "", .prefix = "pods/", .terms = (const char *[]){"l:a=b", NULL});
}

/* "+R:TYPE key" for every event after `after`, read in pages of two. */
static char *log_text(struct store *store, uint64_t after)
{
    struct str text = {0};
    struct store_event *events[2];
    size_t count = 0;
    uint64_t base = after;
    do {
        auto_err error = NULL;
        if (store->ops->log_read(store, after, 2, events, &count, &error) != 0) {
            str_addf(&text, "%s", err_code_name(err_code(error)));
            break;
        }
        for (size_t i = 0; i < count; i++) {
            str_addf(&text, "+%llu:%c%s ", (unsigned long long)(events[i]->revision - base),
                     "AMD"[events[i]->type], strrchr(events[i]->key, '/'));
            after = events[i]->revision;
            store_event_unref(events[i]);
        }
    } while (count > 0);
    return str_take(&text);
}

static void test_log(void **state)
{
    struct fixture *f = *state;
    uint64_t begin = f->store->ops->revision(f->store), last = 0;
    put(f, "pods/a/x", "1", "l:a=1", STORE_ANY, NULL);
    put(f, "pods/a/y", "1", "l:a=1", STORE_ANY, NULL);
    put(f, "pods/a/x", "2", "l:a=2", STORE_ANY, NULL);
    store_sync_delete(f->store, "pods/a/x", STORE_ANY, &last);
    for (int round = 0; round < 2; round++) {
        auto_free char *text = log_text(f->store, begin);
        assert_string_equal(text, "+1:A/x +2:A/y +3:M/x +4:D/x ");
        struct store_event *events[4];
        size_t count = 0;
        assert_int_equal(f->store->ops->log_read(f->store, begin + 2, 4, events, &count, NULL), 0);
        assert_int_equal(count, 2);
        assert_true(store_terms_has(events[0]->terms, "l:a=2"));
        assert_true(
            store_terms_has(events[0]->previous_terms, "l:a=1")); /* contract 9, also after a restart */
        assert_int_equal(events[0]->created_revision, begin + 1);
        assert_true(store_terms_has(events[1]->previous_terms, "l:a=2"));
        auto_free char *bytes =
            mem_printf("{\"resourceVersion\":\"%llu\",\"text\":\"2\"}", (unsigned long long)last);
        assert_string_equal(events[1]->bytes->data, bytes);
        store_event_unref(events[0]);
        store_event_unref(events[1]);
        auto_free char *nothing = log_text(f->store, last);
        assert_string_equal(nothing, "");
        auto_free char *future = log_text(f->store, last + 1000000);
        assert_string_equal(future, "gone");
        reopen(f);
    }
}

/* An object from before the log: as long as the event that replaced it is in the log, its former state is
 * there. */
static void test_former_state(void **state)
{
    struct fixture *f = *state;
    f->options.log_keep_events = 20;
    reopen(f);
    uint64_t old = 0, changed = 0, last = 0;
    put(f, "pods/a/old", "first", NULL, STORE_ANY, &old);
    for (int i = 0; i < 100; i++)
        put(f, "pods/a/x", "1", NULL, STORE_ANY, &last);
    put(f, "pods/a/old", "second", NULL, STORE_ANY, &changed);
    put(f, "pods/a/x", "2", NULL, STORE_ANY, &last);
    for (int round = 0; round < 2; round++) {
        struct store_object former = {0};
        assert_int_equal(f->store->ops->former(f->store, changed, &former, NULL), 0);
        assert_int_equal(former.revision, old);
        assert_string_equal(former.key, "pods/a/old");
        assert_non_null(strstr(former.bytes->data, "first"));
        store_object_fini(&former);
        auto_err none = NULL;
        assert_int_equal(f->store->ops->former(f->store, last, &former, &none), -1); /* that is in the log */
        assert_int_equal(err_code(none), ERR_NOT_FOUND);
        reopen(f);
    }
    struct store_lmdb_stats before, after;
    store_lmdb_stats(f->store, &before);
    store_sync_delete(f->store, "pods/a/old", STORE_ANY, &changed);
    for (int i = 0; i < 100; i++)
        put(f, "pods/a/x", "3", NULL, STORE_ANY, &last);
    struct store_object former = {0};
    assert_int_equal(f->store->ops->former(f->store, changed, &former, NULL), -1); /* gone with the event */
    for (int i = 0; i < 2000; i++) { /* objects from before the log are replaced again and again */
        auto_free char *key = mem_printf("pods/a/n%d", i % 50);
        put(f, key, "4", NULL, STORE_ANY, &last);
    }
    store_lmdb_stats(f->store, &after);
    assert_int_equal(after.log_events, 20);
    assert_true(after.disk_bytes <= before.disk_bytes + (512 << 10)); /* and nothing is left behind */
}

static void test_compaction(void **state)
{
    struct fixture *f = *state;
    f->options.log_keep_events = 20;
    reopen(f);
    uint64_t keep = 0, last = 0, begin = f->store->ops->revision(f->store);
    put(f, "pods/a/still", "here", NULL, STORE_ANY, &keep);
    for (int i = 0; i < 200; i++)
        put(f, i % 2 ? "pods/a/x" : "pods/a/y", "1", NULL, STORE_ANY, &last);
    struct store_lmdb_stats stats;
    store_lmdb_stats(f->store, &stats);
    assert_int_equal(stats.log_events, 20);
    assert_int_equal(f->store->ops->oldest_revision(f->store), last - 20);
    auto_free char *gone = log_text(f->store, begin);
    assert_string_equal(gone, "gone");
    auto_free char *tail = log_text(f->store, last - 2);
    assert_string_equal(tail, "+1:M/y +2:M/x ");
    assert_get(f->store, "pods/a/still", "here", keep); /* the log lets go of it, the object stays */
    ASSERT_LIST(f->store, "still x y", .prefix = "pods/");
    put(f, "pods/a/still", "changed", NULL, STORE_ANY, &keep);
    store_sync_delete(f->store, "pods/a/y", STORE_ANY, NULL);
    reopen(f);
    assert_get(f->store, "pods/a/still", "changed", keep);
    store_lmdb_stats(f->store, &stats);
    assert_int_equal(stats.log_events, 20);
    f->options.log_keep_bytes = 1; /* the bytes bound the number */
    reopen(f);
    put(f, "pods/a/z", "1", NULL, STORE_ANY, NULL);
    put(f, "pods/a/z", "1", NULL, STORE_ANY, NULL);
    store_lmdb_stats(f->store, &stats);
    assert_int_equal(stats.log_events, 0);
    ASSERT_LIST(f->store, "still x z", .prefix = "pods/");
}

static void test_volatile(void **state)
{
    struct fixture *f = *state;
    struct store *s = f->store;
    struct store_lmdb_stats before, after;
    uint64_t a = 0, b = 0, c = 0;
    put(f, "pods/a/x", "1", NULL, STORE_ANY, &a);
    store_lmdb_stats(s, &before);
    for (int i = 0; i < 1000; i++) {
        auto_free char *key = mem_printf("leases/n/l%03d", (i * 7) % 100);
        assert_int_equal(store_sync_put(s, key, "v", "l:a=b", STORE_ANY, STORE_VOLATILE, &b), ERR_NONE);
        assert_int_equal(b, a + 1 + (uint64_t)i);
    }
    store_lmdb_stats(s, &after);
    assert_int_equal(after.commits, before.commits); /* no transaction, no fsync */
    assert_int_equal(after.volatile_writes, before.volatile_writes + 1000);
    assert_int_equal(f->last_event, b);
    assert_get(s, "leases/n/l093", "v", b);
    ASSERT_LIST(s, "l097 l098 l099", .prefix = "leases/n/", .after_key = "leases/n/l096");
    ASSERT_LIST(s, "l000 l001 +98", .prefix = "leases/n/", .limit = 2,
                .terms = (const char *[]){"l:a=b", NULL});
    ASSERT_LIST(s, "l099 x", .prefix = "", .after_key = "leases/n/l098");
    assert_int_equal(store_sync_put(s, "leases/n/l093", "w", NULL, b - 1, STORE_VOLATILE, NULL),
                     ERR_CONFLICT);
    assert_int_equal(store_sync_put(s, "leases/n/l093", "w", NULL, STORE_ABSENT, STORE_VOLATILE, NULL),
                     ERR_ALREADY_EXISTS);
    assert_int_equal(store_sync_delete(s, "leases/n/l093", b, &c), ERR_NONE);
    assert_int_equal(c, b + 1);
    assert_get(s, "leases/n/l093", NULL, 0);
    auto_free char *log = log_text(s, a);
    assert_string_equal(log, "");
    store_lmdb_abandon(s); /* as if killed */
    f->store = NULL;
    reopen(f);
    assert_get(f->store, "leases/n/l001", NULL, 0);
    assert_true(f->store->ops->boot_revision(f->store) > c);
    assert_int_equal(f->store->ops->revision(f->store), f->store->ops->boot_revision(f->store));
}

/* Volatile writes that use up the reserve write the mark, nothing else, and never repeat after a kill. */
static void test_reserve(void **state)
{
    struct fixture *f = *state;
    f->options.sync = false;
    uint64_t highest = 0;
    for (int round = 0; round < 3; round++) {
        reopen(f);
        uint64_t revision = 0;
        for (int i = 0; i < 60000; i++)
            store_sync_put(f->store, "leases/n/l", "v", NULL, STORE_ANY, STORE_VOLATILE, &revision);
        assert_true(revision >= highest + 60000);
        highest = revision;
        struct store_lmdb_stats stats;
        store_lmdb_stats(f->store, &stats);
        assert_int_equal(stats.commits, 2);
        store_lmdb_abandon(steal(&f->store));
    }
    reopen(f);
    assert_true(f->store->ops->revision(f->store) > highest);
}

static void go_back(struct fixture *f, const char *copy)
{
    auto_free char *path = file_join(f->directory, "store.mdb"), *raw = NULL;
    size_t len = 0;
    f->store->ops->close(steal(&f->store));
    assert_int_equal(file_read(copy, 64u << 20, &raw, &len, NULL), 0);
    assert_int_equal(file_write_atomic(path, raw, len, 0600, NULL), 0);
    reopen(f);
}

/* Far beyond the mark of the copy, and twice the same copy: no number comes again, and no watch goes on. */
static void test_back_to_a_copy(void **state)
{
    struct fixture *f = *state;
    f->options.sync = false;
    auto_free char *copy = file_join(f->directory, "copy.mdb");
    uint64_t stored = 0, highest = 0, last = 0;
    put(f, "pods/a/x", "1", NULL, STORE_ANY, &stored);
    assert_int_equal(f->store->ops->backup(f->store, copy, NULL), 0);
    assert_int_equal(f->store->ops->resume_revision(f->store), f->store->ops->oldest_revision(f->store));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 60000; i++)
            store_sync_put(f->store, "leases/n/l", "v", NULL, STORE_ANY, STORE_VOLATILE, &highest);
        if (round == 1) /* the clock goes on between two returns */
            usleep(1100000);
        f->last_event = 0;
        go_back(f, copy);
        assert_true(f->store->ops->revision(f->store) > highest);
        assert_true(f->store->ops->resume_revision(f->store) > highest);
        assert_true(f->store->ops->revision(f->store) < 1ull << 53); /* a number in JSON and Lua */
        assert_get(f->store, "pods/a/x", "1", stored);
        assert_true(f->store->ops->oldest_revision(f->store) <= stored); /* the past is there */
        put(f, "pods/a/y", "2", NULL, STORE_ANY, &last);
        uint64_t from = f->store->ops->resume_revision(f->store);
        reopen(f); /* an ordinary start is no return */
        assert_int_equal(f->store->ops->resume_revision(f->store), from);
        assert_true(f->store->ops->revision(f->store) < last + 100);
    }
}

static struct bytes *toy_seal(void *arg UNUSED, const void *data, size_t len)
{
    struct bytes *bytes = bytes_new(len + 1);
    bytes->data[0] = 'S';
    for (size_t i = 0; i < len; i++)
        bytes->data[i + 1] = (char)(((const char *)data)[i] ^ 0x55);
    return bytes;
}

static struct bytes *toy_unseal(void *arg, const void *data, size_t len, struct err **err)
{
    if (*(bool *)arg || len < 1 || *(const char *)data != 'S') {
        err_set(err, ERR_FORBIDDEN, "cannot unseal");
        return NULL;
    }
    struct bytes *bytes = bytes_new(len - 1);
    for (size_t i = 1; i < len; i++)
        bytes->data[i - 1] = (char)(((const char *)data)[i] ^ 0x55);
    return bytes;
}

static void test_sealed(void **state)
{
    struct fixture *f = *state;
    bool locked = false;
    struct store_seal seal = {toy_seal, toy_unseal, &locked};
    f->options.seal = &seal;
    reopen(f);
    uint64_t begin = f->store->ops->revision(f->store), revision = 0;
    store_sync_put(f->store, "secrets/a/s", "verysecretword", NULL, STORE_ANY, STORE_SEALED, &revision);
    assert_get(f->store, "secrets/a/s", "verysecretword", revision);
    struct store_list list;
    struct store_list_request request = {.prefix = "secrets/"};
    assert_int_equal(f->store->ops->list(f->store, &request, &list, NULL), 0);
    assert_non_null(strstr(list.objects[0].bytes->data, "verysecretword"));
    store_list_fini(&list);
    locked = true;
    auto_err error = NULL;
    struct store_object object;
    assert_int_equal(f->store->ops->get(f->store, "secrets/a/s", &object, &error), -1);
    assert_int_equal(err_code(error), ERR_FORBIDDEN);
    assert_int_equal(store_sync_delete(f->store, "secrets/a/s", STORE_ANY, NULL), ERR_FORBIDDEN);
    locked = false;
    assert_int_equal(store_sync_delete(f->store, "secrets/a/s", STORE_ANY, &revision), ERR_NONE);
    struct store_event *events[3];
    size_t count = 0;
    assert_int_equal(f->store->ops->log_read(f->store, begin, 3, events, &count, NULL), 0);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(strstr(events[i]->bytes->data, "verysecretword"));
        store_event_unref(events[i]);
    }
    auto_free char *path = file_join(f->directory, "store.mdb");
    auto_free char *raw = NULL;
    size_t len = 0;
    f->store->ops->close(steal(&f->store));
    assert_int_equal(file_read(path, 64u << 20, &raw, &len, NULL), 0);
    assert_null(memmem(raw, len, "verysecretword", 14));
    assert_non_null(memmem(raw, len, "secrets/a/s", 11));
}

struct held {
    struct store_write write;
    int *done;
};

static void held_done(struct store_write *write)
{
    struct held *held = write->arg;
    ++*held->done;
    assert_int_equal(write->result, ERR_NONE);
    bytes_unref(write->bytes);
}

/* Inline: nothing is committed before the loop runs, so the limits are exact; one task commits one group. */
static void test_inline_and_back_pressure(void **state)
{
    struct fixture *f = *state;
    struct loop *loop = loop_new_virtual(0);
    f->options.inline_loop = loop;
    f->options.clock = loop_clock(loop);
    f->options.sync = false;
    reopen(f);
    enum { COUNT = STORE_QUEUE_OPERATIONS + 1 };
    struct held *held = mem_array(COUNT, sizeof(*held));
    auto_free char *big = mem_alloc(1u << 20);
    memset(big, ' ', 1u << 20);
    struct store_terms *terms = store_terms_new(1, NULL, 0);
    int done = 0, accepted = 0;
    for (int i = 0; i < COUNT; i++) {
        held[i].done = &done;
        held[i].write = (struct store_write){.key = "pods/a/x",
                                             .data = "{}",
                                             .len = 2,
                                             .revision_at = 1,
                                             .terms = terms,
                                             .done = held_done,
                                             .arg = &held[i]};
        struct store_write *write = &held[i].write;
        auto_err error = NULL;
        int result = f->store->ops->submit(f->store, &write, 1, &error);
        if (result != 0)
            assert_int_equal(err_code(error), ERR_TOO_MANY_REQUESTS);
        accepted += result == 0;
    }
    assert_int_equal(accepted, STORE_QUEUE_OPERATIONS);
    assert_int_equal(done, 0);
    assert_true(loop_step(loop));
    assert_int_equal(done, STORE_QUEUE_OPERATIONS);
    assert_false(loop_step(loop));
    for (int i = 0; i < 20; i++) {
        struct store_write *write = &held[i].write;
        write->data = big;
        write->len = 1u << 20;
        write->revision_at = 0;
        assert_int_equal(f->store->ops->submit(f->store, &write, 1, NULL), i < 16 ? 0 : -1);
    }
    assert_int_equal(done, STORE_QUEUE_OPERATIONS);
    f->store->ops->close(steal(&f->store)); /* finishes what is queued */
    assert_int_equal(done, STORE_QUEUE_OPERATIONS + 16);
    reopen(f);
    for (int i = 0; i < 3; i++) {
        struct store_write *write = &held[i].write;
        assert_int_equal(f->store->ops->submit(f->store, &write, 1, NULL), 0);
    }
    store_lmdb_abandon(steal(&f->store));
    assert_false(loop_step(loop));
    assert_int_equal(done, STORE_QUEUE_OPERATIONS + 16);
    store_terms_unref(terms);
    free(held);
    loop_free(loop);
}

/* A batch is one unit; later writes of a group see the earlier ones; volatile ones go first; each has its own
 * result. */
static void test_group(void **state)
{
    struct fixture *f = *state;
    struct loop *loop = loop_new_virtual(0);
    f->options.inline_loop = loop;
    f->options.sync = false;
    reopen(f);
    struct store_terms *terms = store_terms_new(1, NULL, 0);
    const struct store_write shape = {.data = "{}", .len = 2, .revision_at = 1, .terms = terms};
    struct store_write writes[6];
    struct store_write *units[6];
    for (size_t i = 0; i < 6; i++) {
        writes[i] = shape;
        writes[i].key = i < 4 ? "pods/a/x" : "leases/a/x";
        writes[i].flags = i < 4 ? 0 : STORE_VOLATILE;
        writes[i].expect = STORE_ABSENT;
        writes[i].done = store_sync_done;
        units[i] = &writes[i];
    }
    writes[2].verb = STORE_DELETE;
    writes[2].data = NULL;
    writes[2].len = 0;
    writes[2].expect = STORE_ANY;
    struct store_sync sync = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    for (size_t i = 0; i < 6; i++)
        writes[i].arg = &sync;
    assert_int_equal(f->store->ops->submit(f->store, units, 6, NULL), 0);
    loop_run(loop);
    const enum err_code expected[] = {ERR_NONE, ERR_ALREADY_EXISTS, ERR_NONE,
                                      ERR_NONE, ERR_NONE,           ERR_ALREADY_EXISTS};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(writes[i].result, expected[i]);
        bytes_unref(writes[i].bytes);
    }
    struct store_lmdb_stats stats;
    store_lmdb_stats(f->store, &stats);
    assert_int_equal(stats.groups, 2);  /* the volatile ones did not wait for the disk */
    assert_int_equal(stats.commits, 2); /* the first of all revisions had to be covered by a mark */
    assert_true(writes[4].revision < writes[0].revision);
    store_terms_unref(terms);
    f->store->ops->close(steal(&f->store));
    loop_free(loop);
}

/* The first write that is refused; *last: the revision before it. */
static enum err_code fill(struct fixture *f, const char *text, uint64_t *last)
{
    uint64_t revision = 0;
    enum err_code code = ERR_NONE;
    for (int i = 0; i < 2000 && code == ERR_NONE; i++) {
        auto_free char *key = mem_printf("pods/a/p%d", i);
        *last = revision;
        code = put(f, key, text, NULL, STORE_ANY, &revision);
    }
    return code;
}

/* A full file system, which LMDB reports as it does a broken one: writes are refused, nothing that was
 * acknowledged is lost, and with room again all goes on without a restart. */
static void test_disk_full(void **state)
{
    enum { LARGE = 100000 }; /* several pages at once: the last write is a short one */
    struct fixture *f = *state;
    f->store->ops->close(steal(&f->store));
    assert_int_equal(file_remove_tree(f->directory, NULL), 0);
    assert_int_equal(file_make_dirs(f->directory, 0700, NULL), 0);
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount("none", f->directory, "tmpfs", 0, "size=8m"), 0);
    log_set_silent(1);
    reopen(f);
    auto_free char *text = mem_alloc(LARGE + 1);
    memset(text, 'x', LARGE);
    uint64_t first = f->store->ops->boot_revision(f->store) + 1, last = 0;
    assert_int_equal(fill(f, text, &last), ERR_IO);
    assert_true(last > 20);
    assert_int_equal(f->store->ops->revision(f->store), last);
    assert_get(f->store, "pods/a/p0", text, first);
    assert_int_equal(put(f, "pods/a/again", text, NULL, STORE_ANY, NULL), ERR_IO);
    assert_int_equal(mount("none", f->directory, NULL, MS_REMOUNT, "size=64m"), 0);
    assert_int_equal(put(f, "pods/a/again", text, NULL, STORE_ANY, NULL), ERR_NONE);
    log_set_silent(0);
    reopen(f);
    assert_get(f->store, "pods/a/p0", text, first);
    f->store->ops->close(steal(&f->store));
    assert_int_equal(umount2(f->directory, MNT_DETACH), 0);
}

/* A full map: the writes fail, the store goes on reading and, with room again, writing. */
static void test_full(void **state)
{
    struct fixture *f = *state;
    f->store->ops->close(steal(&f->store));
    assert_int_equal(file_remove_tree(f->directory, NULL), 0);
    f->options.map_bytes = 1u << 20;
    log_set_silent(1);
    reopen(f);
    auto_free char *text = mem_alloc(4001);
    memset(text, 'x', 4000);
    uint64_t last = 0;
    assert_int_equal(fill(f, text, &last), ERR_IO);
    assert_true(last > 20);
    assert_int_equal(f->store->ops->revision(f->store), last);
    assert_get(f->store, "pods/a/p0", text, f->store->ops->boot_revision(f->store) + 1);
    assert_int_equal(store_sync_put(f->store, "leases/a/b", "v", NULL, STORE_ANY, STORE_VOLATILE, NULL),
                     ERR_NONE);
    log_set_silent(0);
    f->options.map_bytes = 1u << 26;
    reopen(f);
    assert_int_equal(put(f, "pods/a/more", text, NULL, STORE_ANY, NULL), ERR_NONE);
}

/* In every page that holds, or held, the meta record of this cluster: the format is two words before. */
static void set_format(char *raw, size_t len, const char *id, char format)
{
    size_t found = 0;
    for (char *at = raw; (at = memmem(at, len - (size_t)(at - raw), id, 36)); at++, found++)
        at[-8] = format;
    assert_true(found > 0);
}

static void test_open_refusals(void **state)
{
    struct fixture *f = *state;
    auto_err busy = NULL;
    auto_err newer = NULL;
    auto_err torn = NULL;
    assert_null(store_lmdb_open(&f->options, &busy));
    assert_int_equal(err_code(busy), ERR_CONFLICT);
    auto_free char *id = mem_strdup(f->store->ops->cluster_id(f->store));
    assert_int_equal(strlen(id), 36);
    auto_free char *copy = file_join(f->directory, "backup.mdb");
    put(f, "pods/a/x", "1", NULL, STORE_ANY, NULL);
    assert_int_equal(f->store->ops->backup(f->store, copy, NULL), 0);
    assert_int_equal(f->store->ops->backup(f->store, copy, NULL), -1); /* never over an older one */
    reopen(f);
    assert_string_equal(f->store->ops->cluster_id(f->store), id);
    f->store->ops->close(steal(&f->store));
    auto_free char *path = file_join(f->directory, "store.mdb");
    auto_free char *raw = NULL;
    size_t len = 0;
    assert_int_equal(file_read(copy, 64u << 20, &raw, &len, NULL), 0);
    set_format(raw, len, id, 99);
    assert_int_equal(file_write_atomic(path, raw, len, 0600, NULL), 0);
    assert_null(store_lmdb_open(&f->options, &newer));
    assert_int_equal(err_code(newer), ERR_INVALID);
    set_format(raw, len, id, 1);
    assert_int_equal(file_write_atomic(path, raw, len, 0600, NULL), 0);
    reopen(f); /* a backup is a store */
    ASSERT_LIST(f->store, "x", .prefix = "pods/");
    f->store->ops->close(steal(&f->store));
    assert_int_equal(file_write_atomic(path, "not a store at all", 18, 0600, NULL), 0);
    assert_null(store_lmdb_open(&f->options, &torn));
    assert_int_equal(err_code(torn), ERR_IO);
}

static void test_keys(void **state UNUSED)
{
    auto_free char *cluster = store_key("nodes", NULL, "n1");
    auto_free char *namespaced = store_key("pods", "a", "x");
    auto_free char *all = store_key_prefix("pods", NULL);
    auto_free char *one = store_key_prefix("pods", "a");
    assert_string_equal(cluster, "nodes//n1");
    assert_string_equal(namespaced, "pods/a/x");
    assert_string_equal(all, "pods/");
    assert_string_equal(one, "pods/a/");
    struct store_key_parts parts;
    assert_true(store_key_split("deployments.apps/ns/name", &parts));
    assert_int_equal(parts.resource_len, 16);
    assert_memory_equal(parts.namespace, "ns", parts.namespace_len);
    assert_string_equal(parts.name, "name");
    const char *const bad[] = {"", "pods", "pods/a", "pods/a/", "/a/b", "pods/a/b/c", "//"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(store_key_split(bad[i], &parts));
}

int main(void)
{
    log_set_level(LOG_WARN);
#define STORE_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_preconditions),
        STORE_TEST(test_guards),
        STORE_TEST(test_created_revision),
        STORE_TEST(test_bad_writes),
        STORE_TEST(test_lists),
        STORE_TEST(test_index_follows),
        STORE_TEST(test_log),
        STORE_TEST(test_former_state),
        STORE_TEST(test_compaction),
        STORE_TEST(test_volatile),
        STORE_TEST(test_reserve),
        STORE_TEST(test_sealed),
        STORE_TEST(test_group),
        STORE_TEST(test_inline_and_back_pressure),
        STORE_TEST(test_full),
        STORE_TEST(test_disk_full),
        STORE_TEST(test_back_to_a_copy),
        STORE_TEST(test_open_refusals),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
