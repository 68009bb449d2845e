/*
 * watch under load: writers in threads, readers with random filters, tiny queues, pauses, closing and
 * resuming, store restarts. The checker proves of each reader that it was told exactly the history.
 */
#include <pthread.h>
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

enum { WRITERS = 3, READERS = 8, WRITES = 700, ROUNDS = 3 };

struct world {
    struct store *store;
    struct watch_hub *hub;
    struct watch_history *history;
    atomic_int writers_left;
    bool volatile_kinds;
};

struct reader_thread {
    struct world *world;
    int number;
    uint64_t position, seed, resumed, items;
    char failure[512];
    /* what it watches */
    const char *resources[3];
    const char *namespace, *label;
    struct selector *selector;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool woken;
};

static void on_commit(void *arg, struct store_event *const *events, size_t count)
{
    struct world *world = arg;
    for (size_t i = 0; i < count; i++)
        watch_history_add(world->history, events[i]);
    watch_hub_publish(world->hub, events, count);
}

static void *writer_thread(void *arg)
{
    struct world *world = ((void **)arg)[0];
    struct random_seeded seeded;
    struct random random;
    random_seeded_init(&seeded, (uint64_t)(uintptr_t)((void **)arg)[1], &random);
    for (int i = 0; i < WRITES; i++) {
        const char *const kinds[] = {"pods", "services", "leases"};
        uint64_t kind = random_below(&random, world->volatile_kinds ? 3 : 2);
        auto_free char *key =
            mem_printf("%s/n%llu/o%llu", kinds[kind], (unsigned long long)random_below(&random, 2),
                       (unsigned long long)random_below(&random, 12));
        auto_free char *terms =
            mem_printf("l:app=a%llu,f:spec.nodeName=n%llu", (unsigned long long)random_below(&random, 3),
                       (unsigned long long)random_below(&random, 2));
        enum err_code code;
        if (random_below(&random, 4) == 0)
            code = store_sync_delete(world->store, key, STORE_ANY, NULL);
        else
            code = store_sync_put(world->store, key, "text", terms, STORE_ANY, kind == 2 ? STORE_VOLATILE : 0,
                                  NULL);
        must(code == ERR_NONE || code == ERR_NOT_FOUND);
    }
    atomic_fetch_sub(&world->writers_left, 1);
    return NULL;
}

static bool selects(void *arg, const char *key, const struct store_terms *terms)
{
    struct reader_thread *reader = arg;
    bool fits = !reader->resources[0];
    for (size_t i = 0; reader->resources[i]; i++)
        fits |= strncmp(key, reader->resources[i], strlen(reader->resources[i])) == 0;
    const char *namespace = strchr(key, '/') + 1;
    if (reader->namespace)
        fits &= strncmp(namespace, reader->namespace, 2) == 0;
    if (reader->label) {
        auto_free char *term = mem_printf("l:app=%s", reader->label);
        fits &= store_terms_has(terms, term);
    }
    return fits;
}

static void wake(void *arg)
{
    struct reader_thread *reader = arg;
    pthread_mutex_lock(&reader->lock);
    reader->woken = true;
    pthread_cond_signal(&reader->changed);
    pthread_mutex_unlock(&reader->lock);
}

static bool failed(struct reader_thread *reader, const char *what)
{
    if (what)
        snprintf(reader->failure, sizeof(reader->failure), "reader %d: %s", reader->number, what);
    return what != NULL;
}

/* Until nothing is left after the writers ended, or (budget > 0) that many items were read. */
static bool follow(struct reader_thread *reader, struct watch_reader *watch, struct watch_checker *checker,
                   struct random *random, uint64_t budget)
{
    for (uint64_t count = 0; budget == 0 || count < budget; count++) {
        struct watch_item item = {0};
        auto_err error = NULL;
        bool ended = atomic_load(&reader->world->writers_left) == 0;
        int got = watch_next(watch, &item, &error);
        if (got < 0)
            return !failed(reader, err_message(error));
        if (got == 1) {
            bool bad = failed(reader, watch_checker_feed(checker, &item));
            watch_item_fini(&item);
            reader->items++;
            if (bad)
                return false;
            if (random_below(random, 50) == 0)
                usleep(3000); /* a slow consumer is what this is about */
            continue;
        }
        if (ended)
            return !failed(reader, watch_checker_end(checker, watch_position(watch)));
        pthread_mutex_lock(&reader->lock);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 1; /* the end of the writers wakes nobody */
        while (!reader->woken && pthread_cond_timedwait(&reader->changed, &reader->lock, &until) == 0)
            ;
        reader->woken = false;
        pthread_mutex_unlock(&reader->lock);
    }
    return true;
}

static void *reader_run(void *arg)
{
    struct reader_thread *reader = arg;
    struct random_seeded seeded;
    struct random random;
    random_seeded_init(&seeded, reader->seed, &random);
    const struct watch_filter filter = {.resources = reader->resources[0] ? reader->resources : NULL,
                                        .namespace = reader->namespace,
                                        .labels = reader->selector};
    bool more = true;
    while (more && !reader->failure[0]) {
        bool initial = reader->position == 0 || random_below(&random, 4) == 0;
        uint64_t budget = random_below(&random, 4) ? 1 + random_below(&random, 400) : 0;
        bool ended = atomic_load(&reader->world->writers_left) == 0;
        auto_err error = NULL;
        struct watch_reader *watch =
            watch_open(reader->world->hub, &filter, reader->position, initial, wake, reader, &error);
        if (!watch) {
            failed(reader, err_message(error));
            break;
        }
        struct watch_checker *checker =
            watch_checker_new(reader->world->history, selects, reader, reader->position, initial);
        bool fine = follow(reader, watch, checker, &random, budget);
        if (fine && watch_position(watch) > 0)
            reader->position = watch_position(watch);
        reader->resumed++;
        watch_close(watch);
        watch_checker_free(checker);
        more = fine && !(ended && budget == 0);
    }
    return NULL;
}

static void reader_init(struct reader_thread *reader, struct world *world, int number, uint64_t seed)
{
    *reader = (struct reader_thread){.world = world, .number = number, .seed = seed};
    pthread_mutex_init(&reader->lock, NULL);
    pthread_cond_init(&reader->changed, NULL);
    if (number % 4 == 1)
        reader->resources[0] = "pods";
    if (number % 4 == 2) {
        reader->resources[0] = "pods";
        reader->resources[1] = "services";
    }
    if (number % 4 == 3)
        reader->resources[0] = world->volatile_kinds ? "leases" : "services";
    if (number % 3 == 1)
        reader->namespace = "n1";
    if (number >= 4) {
        reader->label = "a1";
        reader->selector = selector_parse("app=a1", NULL);
        assert_non_null(reader->selector);
    }
}

static void run_round(struct world *world, const char *directory, struct reader_thread *readers, int round)
{
    struct store_lmdb_options options = {.directory = directory, .sync = round == 0, .map_bytes = 1u << 30};
    world->store = store_lmdb_open(&options, NULL);
    assert_non_null(world->store);
    world->hub = watch_hub_new(world->store, NULL);
    watch_hub_set_queue_limit(world->hub, 5);
    watch_hub_set_volatile(world->hub, (const char *[]){"leases", NULL});
    world->store->ops->set_on_commit(world->store, on_commit, world);
    atomic_store(&world->writers_left, WRITERS);
    pthread_t threads[WRITERS + READERS];
    void *arguments[WRITERS][2];
    for (int i = 0; i < WRITERS; i++) {
        arguments[i][0] = world;
        arguments[i][1] = (void *)(uintptr_t)(round * 10 + i + 1);
        assert_int_equal(pthread_create(&threads[i], NULL, writer_thread, arguments[i]), 0);
    }
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[WRITERS + i], NULL, reader_run, &readers[i]), 0);
    for (int i = 0; i < WRITERS + READERS; i++)
        pthread_join(threads[i], NULL);
    struct watch_stats stats;
    watch_hub_stats(world->hub, &stats);
    print_message("round %d: %llu published, %llu delivered, %llu overflows\n", round,
                  (unsigned long long)stats.published, (unsigned long long)stats.delivered,
                  (unsigned long long)stats.overflowed);
    assert_true(stats.overflowed > 0);
    assert_int_equal(stats.readers, 0);
    if (round % 2)
        world->store->ops->close(world->store);
    else
        store_lmdb_abandon(world->store);
    watch_hub_free(world->hub);
}

static void run_world(bool volatile_kinds, int rounds)
{
    auto_free char *directory = store_sync_directory("watch");
    struct world world = {.history = watch_history_new(), .volatile_kinds = volatile_kinds};
    struct reader_thread readers[READERS];
    for (int i = 0; i < READERS; i++)
        reader_init(&readers[i], &world, i, 1000 + (uint64_t)i);
    for (int round = 0; round < rounds; round++)
        run_round(&world, directory, readers, round);
    assert_true(watch_history_count(world.history) > (size_t)rounds * WRITERS * WRITES / 2);
    for (int i = 0; i < READERS; i++) {
        if (readers[i].failure[0])
            fail_msg("%s", readers[i].failure);
        assert_true(readers[i].items > 0);
        selector_free(readers[i].selector);
        pthread_mutex_destroy(&readers[i].lock);
        pthread_cond_destroy(&readers[i].changed);
    }
    watch_history_free(world.history);
    assert_int_equal(file_remove_tree(directory, NULL), 0);
}

static void test_restarts(void **state UNUSED)
{
    run_world(false, ROUNDS);
}

static void test_volatile(void **state UNUSED)
{
    run_world(true, 1);
}

int main(void)
{
    log_set_level(LOG_WARN);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_restarts), cmocka_unit_test(test_volatile)};
    return cmocka_run_group_tests_name("watch property", tests, NULL, NULL);
}
