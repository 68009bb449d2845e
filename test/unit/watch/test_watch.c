/* watch: filters, resuming and 410, overflow, bookmarks' position, waking, paged initial state, a node's
 * scope. */
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../support/store_sync.h"
#include "../../support/watch_checker.c"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "store/store_lmdb.h"

struct fixture {
    char *directory;
    struct loop *loop;
    struct store_lmdb_options options;
    struct store *store;
    struct watch_hub *hub;
    struct watch_history *history;
    int wakes;
};

static void on_commit(void *arg, struct store_event *const *events, size_t count)
{
    struct fixture *f = arg;
    for (size_t i = 0; i < count; i++)
        watch_history_add(f->history, events[i]);
    watch_hub_publish(f->hub, events, count);
}

static void open_store(struct fixture *f)
{
    f->store = store_lmdb_open(&f->options, NULL);
    assert_non_null(f->store);
    f->hub = watch_hub_new(f->store, loop_clock(f->loop));
    f->store->ops->set_on_commit(f->store, on_commit, f);
}

static void close_store(struct fixture *f)
{
    f->store->ops->close(f->store);
    watch_hub_free(f->hub);
}

static int setup(void **state)
{
    struct fixture *f = NEW(struct fixture);
    f->directory = mem_strdup("/dev/shm/m8-watch-XXXXXX");
    must(mkdtemp(f->directory) != NULL);
    f->loop = loop_new_virtual(0);
    f->history = watch_history_new();
    f->options = (struct store_lmdb_options){.directory = f->directory,
                                             .inline_loop = f->loop,
                                             .clock = loop_clock(f->loop),
                                             .map_bytes = 256u << 20};
    open_store(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct watch_stats stats;
    watch_hub_stats(f->hub, &stats);
    if (stats.readers > 0) /* a test that failed: say so instead of tripping over what it left */
        return -1;
    close_store(f);
    watch_history_free(f->history);
    loop_free(f->loop);
    int result = file_remove_tree(f->directory, NULL);
    free(f->directory);
    free(f);
    return result;
}

static void ignore_done(struct store_write *write)
{
    bytes_unref(write->bytes);
    store_terms_unref(write->terms);
}

/* Puts (or, without terms, deletes) and lets the store commit. Returns the revision. */
static uint64_t change_flags(struct fixture *f, const char *key, const char *terms, unsigned flags)
{
    struct store_write write = {
        .verb = terms ? STORE_PUT : STORE_DELETE, .key = key, .flags = flags, .done = ignore_done};
    auto_free char *copy = mem_strdup(terms ? terms : "");
    const char *list[16];
    size_t count = 0;
    for (char *save = NULL, *term = strtok_r(copy, ",", &save); term; term = strtok_r(NULL, ",", &save))
        list[count++] = term;
    if (terms) {
        write.data = "{\"r\":\"\"}";
        write.len = strlen(write.data);
        write.revision_at = 6;
        write.terms = store_terms_new(1, list, count);
    }
    struct store_write *unit = &write;
    assert_int_equal(f->store->ops->submit(f->store, &unit, 1, NULL), 0);
    loop_run(f->loop);
    assert_int_equal(write.result, ERR_NONE);
    return write.revision;
}

static uint64_t change(struct fixture *f, const char *key, const char *terms)
{
    return change_flags(f, key, terms, 0);
}

static void wake(void *arg)
{
    ++((struct fixture *)arg)->wakes;
}

static struct watch_reader *open_reader(struct fixture *f, const struct watch_filter *filter, uint64_t from)
{
    auto_err error = NULL;
    struct watch_reader *reader = watch_open(f->hub, filter, from, from == 0, wake, f, &error);
    if (!reader)
        fail_msg("%s", err_message(error));
    return reader;
}

/* "A/name M/name D/name . " for what there is; '.' is INITIAL_END. */
static char *drain(struct watch_reader *reader)
{
    struct str text = {0};
    struct watch_item item;
    auto_err error = NULL;
    int got;
    while ((got = watch_next(reader, &item, &error)) == 1) {
        if (item.event)
            str_addf(&text, "%c%s ", "AMD"[item.type], strrchr(item.event->key, '/'));
        else
            str_add(&text, item.type == WATCH_INITIAL_END ? ". " : "? ");
        watch_item_fini(&item);
    }
    if (got < 0)
        str_addf(&text, "%s ", err_code_name(err_code(error)));
    return str_take(&text);
}

#define ASSERT_DRAIN(reader, expected)                                                                       \
    do {                                                                                                     \
        auto_free char *got = drain(reader);                                                                 \
        assert_string_equal(got, expected);                                                                  \
    } while (0)

static void test_filters(void **state)
{
    struct fixture *f = *state;
    auto_selector labels = selector_parse("app in (web,api),!gone", NULL);
    auto_selector fields = selector_parse_fields("spec.nodeName=n1,status.phase!=Failed", NULL);
    auto_selector unbound = selector_parse_fields("spec.nodeName=", NULL);
    const char *pods[] = {"pods", "pods", NULL};
    struct watch_reader *by_label =
        open_reader(f, &(struct watch_filter){.resources = pods, .labels = labels}, 0);
    struct watch_reader *by_field =
        open_reader(f, &(struct watch_filter){.resources = pods, .fields = fields}, 0);
    struct watch_reader *free_pods =
        open_reader(f, &(struct watch_filter){.resources = pods, .fields = unbound}, 0);
    struct watch_reader *by_name = open_reader(f, &(struct watch_filter){.resources = pods, .name = "x"}, 0);
    struct watch_reader *one =
        open_reader(f, &(struct watch_filter){.resources = pods, .namespace = "b", .name = "x"}, 0);
    struct watch_reader *in_b = open_reader(f, &(struct watch_filter){.namespace = "b"}, 0);
    ASSERT_DRAIN(by_label, ". ");
    ASSERT_DRAIN(by_field, ". ");
    ASSERT_DRAIN(free_pods, ". ");
    ASSERT_DRAIN(by_name, ". ");
    ASSERT_DRAIN(one, ". ");
    ASSERT_DRAIN(in_b, ". ");
    change(f, "pods/a/x", "l:app=web");
    change(f, "pods/a/x", "l:app=web,f:spec.nodeName=n1,F:status.phase=Running");
    change(f, "pods/a/x", "l:app=other,f:spec.nodeName=n1,F:status.phase=Running");
    change(f, "pods/a/x", "l:app=api,l:gone=,f:spec.nodeName=n1,F:status.phase=Failed");
    change(f, "pods/a/x", "l:app=api,f:spec.nodeName=n2,F:status.phase=Running");
    change(f, "pods/b/x", "l:app=no");
    change(f, "services/b/x", "l:app=web");
    change(f, "pods/a/x", NULL);
    ASSERT_DRAIN(by_label, "A/x M/x D/x A/x D/x ");
    ASSERT_DRAIN(by_field, "A/x M/x D/x ");
    ASSERT_DRAIN(free_pods, "A/x D/x A/x ");
    ASSERT_DRAIN(by_name, "A/x M/x M/x M/x M/x A/x D/x ");
    ASSERT_DRAIN(one, "A/x ");
    ASSERT_DRAIN(in_b, "A/x A/x ");
    watch_close(by_label);
    watch_close(by_field);
    watch_close(free_pods);
    watch_close(by_name);
    watch_close(one);
    watch_close(in_b);
}

static void test_resume_and_gone(void **state)
{
    struct fixture *f = *state;
    const char *leases[] = {"leases", NULL}, *pods[] = {"pods", NULL};
    watch_hub_set_volatile(f->hub, leases);
    uint64_t first = change(f, "pods/a/x", "l:a=1");
    change_flags(f, "leases/a/l", "l:a=1", STORE_VOLATILE);
    change(f, "pods/a/y", "l:a=1");
    change(f, "pods/a/x", NULL);
    struct watch_reader *all = open_reader(f, &(struct watch_filter){0}, first);
    ASSERT_DRAIN(all, "A/l A/y D/x "); /* volatile ones too: the hub remembers them */
    watch_close(all);
    close_store(f);
    open_store(f);
    watch_hub_set_volatile(f->hub, leases);
    struct watch_reader *reader = open_reader(f, &(struct watch_filter){.resources = pods}, first);
    ASSERT_DRAIN(reader, "A/y D/x "); /* across a restart */
    watch_close(reader);
    auto_err volatile_gone = NULL;
    auto_err future = NULL;
    auto_err old = NULL;
    assert_null(watch_open(f->hub, &(struct watch_filter){.resources = leases}, first, false, wake, f,
                           &volatile_gone));
    assert_int_equal(err_code(volatile_gone), ERR_GONE);
    reader = open_reader(f, &(struct watch_filter){.resources = leases}, f->store->ops->revision(f->store));
    watch_close(reader);
    assert_null(watch_open(f->hub, &(struct watch_filter){.resources = pods},
                           f->store->ops->revision(f->store) + 1, false, wake, f, &future));
    assert_int_equal(err_code(future), ERR_GONE);
    close_store(f);
    f->options.log_keep_events = 2;
    open_store(f);
    for (int i = 0; i < 5; i++)
        change(f, "pods/a/z", "l:a=1");
    assert_null(watch_open(f->hub, &(struct watch_filter){.resources = pods}, first, false, wake, f, &old));
    assert_int_equal(err_code(old), ERR_GONE);
}

/* What a reader saw after the copy was made never was: it may not go on as if nothing had come since. */
static void test_resume_beyond_a_copy(void **state)
{
    struct fixture *f = *state;
    const char *pods[] = {"pods", NULL};
    auto_free char *copy = file_join(f->directory, "copy.mdb"), *path = file_join(f->directory, "store.mdb");
    change(f, "pods/a/x", "l:a=1");
    assert_int_equal(f->store->ops->backup(f->store, copy, NULL), 0);
    uint64_t seen = change(f, "pods/a/y", "l:a=1");
    close_store(f);
    assert_int_equal(rename(copy, path), 0);
    open_store(f);
    auto_err beyond = NULL;
    assert_null(watch_open(f->hub, &(struct watch_filter){.resources = pods}, seen, false, wake, f, &beyond));
    assert_int_equal(err_code(beyond), ERR_GONE);
    struct watch_reader *reader =
        open_reader(f, &(struct watch_filter){.resources = pods}, f->store->ops->revision(f->store));
    change(f, "pods/a/z", "l:a=1");
    ASSERT_DRAIN(reader, "A/z ");
    watch_close(reader);
}

/* A reader that was quiet for long and then overflows goes back no further than it must. */
static void test_overflow(void **state)
{
    struct fixture *f = *state;
    close_store(f);
    f->options.log_keep_events = 30;
    open_store(f);
    watch_hub_set_queue_limit(f->hub, 3);
    const char *services[] = {"services", NULL};
    struct watch_reader *reader = open_reader(f, &(struct watch_filter){.resources = services}, 0);
    struct watch_reader *dead = open_reader(f, &(struct watch_filter){.resources = services}, 0);
    ASSERT_DRAIN(reader, ". ");
    ASSERT_DRAIN(dead, ". ");
    for (int i = 0; i < 100; i++)
        change(f, "pods/a/x", "l:a=1"); /* none of its business, and long compacted */
    assert_int_equal(f->wakes, 0);
    for (int i = 0; i < 10; i++)
        change(f, i % 2 ? "services/a/x" : "services/a/y", "l:a=1");
    assert_int_equal(f->wakes, 2); /* once each, not once an event */
    ASSERT_DRAIN(reader, "A/y A/x M/y M/x M/y M/x M/y M/x M/y M/x ");
    assert_int_equal(watch_position(reader), f->store->ops->revision(f->store));
    change(f, "pods/a/x", "l:a=1");
    assert_int_equal(watch_position(reader), f->store->ops->revision(f->store)); /* a bookmark may say so */
    for (int i = 0; i < 40; i++)
        change(f, "services/a/z", "l:a=1");
    ASSERT_DRAIN(dead, "gone "); /* compacted away under it */
    watch_close(reader);
    watch_close(dead);
    struct watch_stats stats;
    watch_hub_stats(f->hub, &stats);
    assert_int_equal(stats.overflowed, 3);
}

static bool selects_all(void *arg UNUSED, const char *key, const struct store_terms *terms UNUSED)
{
    return strncmp(key, "pods/", 5) == 0 || strncmp(key, "services/", 9) == 0;
}

/* Writes between the pages of the initial state: what is told adds up to the state at INITIAL_END. */
static void test_initial_pages(void **state)
{
    struct fixture *f = *state;
    const char *resources[] = {"pods", "services", NULL};
    for (int i = 0; i < 700; i++) {
        auto_free char *key = mem_printf("%s/a/o%03d", i % 3 ? "pods" : "services", i);
        change(f, key, "l:a=1");
    }
    struct watch_checker *checker = watch_checker_new(f->history, selects_all, NULL, 0, true);
    struct watch_reader *reader = open_reader(f, &(struct watch_filter){.resources = resources}, 0);
    struct random_seeded seeded;
    struct random random;
    random_seeded_init(&seeded, 7, &random);
    struct watch_item item;
    int got, count = 0, ends = 0;
    while ((got = watch_next(reader, &item, NULL)) == 1) {
        const char *wrong = watch_checker_feed(checker, &item);
        if (wrong)
            fail_msg("%s", wrong);
        ends += item.type == WATCH_INITIAL_END;
        watch_item_fini(&item);
        if (++count % 20 || count > 800)
            continue;
        auto_free char *key =
            mem_printf("%s/a/o%03d", count % 3 ? "pods" : "services", (int)random_below(&random, 900));
        struct store_object object;
        bool there = f->store->ops->get(f->store, key, &object, NULL) == 0;
        if (there)
            store_object_fini(&object);
        change(f, key, there && random_below(&random, 2) ? NULL : "l:a=1");
    }
    assert_int_equal(got, 0);
    assert_int_equal(ends, 1);
    assert_true(count > 700);
    const char *wrong = watch_checker_end(checker, watch_position(reader));
    if (wrong)
        fail_msg("%s", wrong);
    watch_checker_free(checker);
    watch_close(reader);
}

/* The checker itself: a skipped, a repeated, a swapped and a mistyped item are found out. */
static void test_checker_finds_faults(void **state)
{
    struct fixture *f = *state;
    const char *pods[] = {"pods", NULL};
    uint64_t from = f->store->ops->revision(f->store);
    for (int i = 0; i < 4; i++)
        change(f, "pods/a/x", "l:a=1");
    struct watch_reader *reader = open_reader(f, &(struct watch_filter){.resources = pods}, from);
    struct watch_item items[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(watch_next(reader, &items[i], NULL), 1);
    const int orders[][4] = {{0, 2, -1}, {0, 0, -1}, {1, 0, -1}, {0, 1, 2, 3}};
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        struct watch_checker *checker = watch_checker_new(f->history, selects_all, NULL, from, false);
        const char *wrong = NULL;
        for (int j = 0; j < 4 && orders[i][j] >= 0 && !wrong; j++)
            wrong = watch_checker_feed(checker, &items[orders[i][j]]);
        assert_true((wrong == NULL) == (i == 3));
        watch_checker_free(checker);
    }
    struct watch_checker *checker = watch_checker_new(f->history, selects_all, NULL, from, false);
    assert_non_null(watch_checker_end(checker, items[0].revision));
    items[0].type = WATCH_DELETED;
    assert_non_null(watch_checker_feed(checker, &items[0]));
    watch_checker_free(checker);
    for (int i = 0; i < 4; i++)
        watch_item_fini(&items[i]);
    watch_close(reader);
}

static const struct watch_filter node_filter = {.node = "n1",
                                                .node_shared = (const char *const[]){"services", NULL}};

static void test_node_scope(void **state)
{
    struct fixture *f = *state;
    change(f, "nodes//n1", "l:a=1");
    change(f, "nodes//n2", "l:a=1");
    change(f, "leases.coordination.k8s.io/kube-node-lease/n1", "l:a=1");
    change(f, "services/a/s", "l:a=1");
    change(f, "secrets/a/used", "l:a=1");
    change(f, "secrets/a/unused", "l:a=1");
    change(f, "pods/a/p1", "f:spec.nodeName=n1,r:secrets/a/used=");
    change(f, "pods/a/p2", "f:spec.nodeName=n2,r:secrets/a/unused=");
    struct watch_reader *reader = open_reader(f, &node_filter, 0);
    ASSERT_DRAIN(reader, "A/used A/p1 A/n1 A/n1 A/s . ");
    change(f, "nodes//n2", "l:a=2");
    change(f, "secrets/a/unused", "l:a=2");
    change(f, "secrets/a/used", "l:a=2");
    change(f, "configmaps/a/c", "l:a=1");
    ASSERT_DRAIN(reader, "M/used ");
    uint64_t bound =
        change(f, "pods/a/p3", "f:spec.nodeName=n1,r:configmaps/a/c=,r:secrets/a/used=,r:secrets/a/later=");
    struct watch_item item;
    assert_int_equal(watch_next(reader, &item, NULL), 1);
    assert_int_equal(item.type, WATCH_ADDED); /* what it refers to comes before the pod, with its revision */
    assert_string_equal(item.event->key, "configmaps/a/c");
    assert_int_equal(item.revision, bound);
    watch_item_fini(&item);
    ASSERT_DRAIN(reader, "A/p3 ");
    change(f, "secrets/a/later", "l:a=1");
    change(f, "configmaps/a/c", "l:a=2");
    change(f, "pods/a/p1", "f:spec.nodeName=n1");
    ASSERT_DRAIN(reader, "A/later M/c M/p1 "); /* p3 still uses the secret */
    change(f, "pods/a/p3", "f:spec.nodeName=n2,r:configmaps/a/c=,r:secrets/a/used=");
    ASSERT_DRAIN(reader, "D/p3 D/c D/later D/used ");
    change(f, "configmaps/a/c", "l:a=3");
    change(f, "secrets/a/used", "l:a=3");
    ASSERT_DRAIN(reader, "");
    watch_close(reader);
}

/* Things happen while events wait in the queue: order and completeness hold at the reader's own position. */
static void test_node_races(void **state)
{
    struct fixture *f = *state;
    struct watch_reader *reader = open_reader(f, &node_filter, 0);
    ASSERT_DRAIN(reader, ". ");
    change(f, "secrets/a/s", "l:a=1");
    change(f, "pods/a/p", "f:spec.nodeName=n1,r:secrets/a/s=");
    change(f, "secrets/a/s", "l:a=2"); /* seen in what the reference brings */
    ASSERT_DRAIN(reader, "A/s A/p ");
    change(f, "pods/a/p", "f:spec.nodeName=n1");
    change(f, "secrets/a/s", NULL); /* before the reader hears that it is not referred to any more */
    ASSERT_DRAIN(reader, "M/p D/s ");
    change(f, "secrets/a/s", "l:a=1");
    change(f, "pods/a/p", "f:spec.nodeName=n1,r:secrets/a/s=");
    change(f, "pods/a/p", NULL);
    change(f, "pods/a/p", "f:spec.nodeName=n1,r:secrets/a/s=");
    change(f, "secrets/a/s", "l:a=2");
    ASSERT_DRAIN(reader, "A/s M/p D/p D/s A/s A/p ");
    change(f, "secrets/a/s", "l:a=3");
    ASSERT_DRAIN(reader, "M/s ");
    watch_close(reader);
}

/* Resuming: references are those of the revision from which it resumes, not of now. */
static void test_node_resume(void **state)
{
    struct fixture *f = *state;
    change(f, "secrets/a/s", "l:a=1");
    change(f, "secrets/a/t", "l:a=1");
    uint64_t from = change(f, "pods/a/p", "f:spec.nodeName=n1,r:secrets/a/s=");
    change(f, "secrets/a/s", "l:a=2");
    change(f, "pods/a/p", "f:spec.nodeName=n1,r:secrets/a/t=");
    change(f, "secrets/a/s", "l:a=3");
    change(f, "pods/a/q", "f:spec.nodeName=n1,r:secrets/a/t=");
    for (int round = 0; round < 2; round++) {
        struct watch_reader *reader = open_reader(f, &node_filter, from);
        ASSERT_DRAIN(reader, "M/s A/t M/p D/s A/q ");
        if (round == 1) {
            change(f, "pods/a/q", NULL);
            change(f, "secrets/a/t", "l:a=2");
            change(f, "pods/a/p", NULL);
            ASSERT_DRAIN(reader, "D/q M/t D/p D/t ");
        }
        watch_close(reader);
        close_store(f);
        open_store(f);
    }
}

/* Random worlds: at rest the reader holds exactly the node's pods and what they refer to, in any mix of live,
 * overflow and resuming; and a pod never comes before an existing object that it refers to. */
static void node_check(struct fixture *f, const struct map *told)
{
    struct store_list list;
    struct store_list_request request = {.prefix = "pods/",
                                         .terms = (const char *const[]){"f:spec.nodeName=n1", NULL}};
    auto_map expected = {0};
    assert_int_equal(f->store->ops->list(f->store, &request, &list, NULL), 0);
    for (size_t i = 0; i < list.count; i++) {
        map_set(&expected, list.objects[i].key, f);
        for (size_t j = 0; j < list.objects[i].terms->count; j++) {
            const char *term = list.objects[i].terms->at[j];
            if (!str_starts(term, "r:"))
                continue;
            auto_free char *key = mem_strndup(term + 2, strlen(term) - 3);
            struct store_object object;
            if (f->store->ops->get(f->store, key, &object, NULL) != 0)
                continue;
            map_set(&expected, key, f);
            store_object_fini(&object);
        }
    }
    store_list_fini(&list);
    map_each (entry, &expected) {
        if (!map_has(told, entry->key))
            fail_msg("%s was not told", entry->key);
    }
    map_each (entry, told) {
        if (!map_has(&expected, entry->key))
            fail_msg("%s was told and never taken back", entry->key);
    }
}

static void node_take(struct watch_reader *reader, struct map *told, size_t max)
{
    struct watch_item item;
    uint64_t last = 0;
    int got = 1;
    for (size_t i = 0; i < max && (got = watch_next(reader, &item, NULL)) == 1; i++) {
        if (item.event && item.type == WATCH_DELETED)
            assert_true(map_remove(told, item.event->key));
        else if (item.event)
            map_set(told, item.event->key, reader);
        assert_true(item.revision >= last || item.type == WATCH_INITIAL_END);
        watch_item_fini(&item);
    }
    assert_true(got >= 0);
}

static void test_node_random(void **state)
{
    struct fixture *f = *state;
    struct random_seeded seeded;
    struct random random;
    const char *seed = getenv("M8_SEED");
    random_seeded_init(&seeded, seed ? strtoull(seed, NULL, 10) : 99, &random);
    watch_hub_set_queue_limit(f->hub, 4);
    auto_map told = {0};
    struct watch_reader *reader = open_reader(f, &node_filter, 0);
    for (int i = 0; i < 6000; i++) {
        bool pod = random_below(&random, 2);
        auto_free char *key =
            mem_printf("%s/a/o%llu", pod ? "pods" : "secrets", (unsigned long long)random_below(&random, 5));
        auto_free char *terms = mem_printf("f:spec.nodeName=n%llu,r:secrets/a/o%llu=,r:secrets/a/o%llu=",
                                           (unsigned long long)(1 + random_below(&random, 2)),
                                           (unsigned long long)random_below(&random, 5),
                                           (unsigned long long)random_below(&random, 5));
        struct store_object object;
        bool there = f->store->ops->get(f->store, key, &object, NULL) == 0;
        if (there)
            store_object_fini(&object);
        change(f, key, there && random_below(&random, 3) == 0 ? NULL : pod ? terms : "l:a=1");
        if (random_below(&random, 3) == 0)
            node_take(reader, &told, random_below(&random, 4));
        if (random_below(&random, 40) == 0) {
            node_take(reader, &told, SIZE_MAX);
            node_check(f, &told);
        }
        if (random_below(&random, 60) == 0) {
            uint64_t from = 0;
            if (random_below(&random, 2)) {
                node_take(reader, &told, SIZE_MAX);
                from = watch_position(reader);
            } else {
                map_fini(&told);
            }
            watch_close(reader);
            for (int j = 0; j < 5; j++)
                change(f, "pods/a/o1",
                       j % 2 ? "f:spec.nodeName=n1,r:secrets/a/o1=" : "f:spec.nodeName=n1,r:secrets/a/o2=");
            reader = open_reader(f, &node_filter, from);
        }
    }
    node_take(reader, &told, SIZE_MAX);
    node_check(f, &told);
    watch_close(reader);
    struct watch_stats stats;
    watch_hub_stats(f->hub, &stats);
    assert_true(stats.overflowed > 20);
}

#define GROUPS 400
#define GROUP 100

/* Empties the queue as fast as it can, without waiting to be woken. */
static void *spin(void *arg)
{
    size_t *got = arg;
    struct watch_reader *reader = *(struct watch_reader **)(got + 1);
    struct watch_item item;
    while (*got < (size_t)GROUPS * GROUP)
        if (watch_next(reader, &item, NULL) == 1) {
            must(item.event != NULL);
            ++*got;
            watch_item_fini(&item);
        }
    return NULL;
}

/* The consumer begins to wait again while the same group is still being dispatched: the reader must not come
 * twice into the chain of those to be woken (which then had no end, and dropped a reference at each turn). */
static void test_waits_again_within_a_group(void **state)
{
    struct fixture *f = *state;
    static const char *const pods[] = {"pods", NULL};
    const struct watch_filter filter = {.resources = pods};
    watch_hub_set_queue_limit(f->hub, GROUPS * GROUP); /* these events are in no log */
    uint64_t revision = change(f, "pods/a/x", "l:app=x");
    struct {
        size_t got;
        struct watch_reader *reader;
    } consumer = {0, open_reader(f, &filter, revision)};
    auto_free char *first = drain(consumer.reader); /* live from here on */
    assert_string_equal(first, "");
    pthread_t thread;
    alarm(60);
    must(pthread_create(&thread, NULL, spin, &consumer) == 0);
    for (int i = 0; i < GROUPS; i++) {
        struct store_event *events[GROUP];
        for (size_t j = 0; j < GROUP; j++) {
            events[j] = store_event_new(STORE_ADDED, "pods/a/y", strlen("pods/a/y"));
            events[j]->revision = ++revision;
            events[j]->bytes = bytes_from("{}", 2);
            events[j]->terms = store_terms_new(1, NULL, 0);
        }
        watch_hub_publish(f->hub, events, GROUP);
        for (size_t j = 0; j < GROUP; j++)
            store_event_unref(events[j]);
    }
    pthread_join(thread, NULL);
    alarm(0);
    assert_int_equal(consumer.got, GROUPS * GROUP);
    watch_close(consumer.reader);
}

int main(void)
{
    log_set_level(LOG_WARN);
#define WATCH_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WATCH_TEST(test_filters),
        WATCH_TEST(test_resume_and_gone),
        WATCH_TEST(test_resume_beyond_a_copy),
        WATCH_TEST(test_overflow),
        WATCH_TEST(test_initial_pages),
        WATCH_TEST(test_checker_finds_faults),
        WATCH_TEST(test_node_scope),
        WATCH_TEST(test_node_races),
        WATCH_TEST(test_node_resume),
        WATCH_TEST(test_node_random),
        WATCH_TEST(test_waits_again_within_a_group),
    };
    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
