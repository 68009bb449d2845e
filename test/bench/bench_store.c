/*
 * bench_store: durable creates with 32 writers at once, gets, lists, volatile writes and the dispatch to
 * watchers, on objects of 1.5 KB. Prints every sample and the median of five. The store lies on a real disk
 * (M8_TEST_DISK or /var/tmp) with every acknowledged write synced; the file system's type is printed.
 */
#include <pthread.h>
#include <stdio.h>
#include <sys/statfs.h>

#include "../support/store_sync.h"
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "store/store_lmdb.h"
#include "watch/watch.h"

enum { WRITERS = 32, ROUNDS = 5, CREATES = 8192, PODS = 5000, OBJECT = 1500, NODES = 50 };

struct bench {
    struct store *store;
    struct watch_hub *hub;
    atomic_int next;
    int round;
    unsigned flags;
    char text[OBJECT + 1];
};

static double seconds(void)
{
    return (double)clock_system.monotonic_ns(NULL) / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *what, const char *unit, double samples[ROUNDS])
{
    printf("%-28s", what);
    for (int i = 0; i < ROUNDS; i++)
        printf(" %10.2f", samples[i]);
    qsort(samples, ROUNDS, sizeof(double), compare);
    printf("   median %.2f %s\n", samples[ROUNDS / 2], unit);
}

static void put_pod(struct bench *bench, int number, const char *space)
{
    auto_free char *key =
        mem_printf("%s/%s/web-%d-%d", bench->flags ? "leases" : "pods", space, bench->round, number);
    auto_free char *terms = mem_printf("u:=0f7e3c1a-9d8b-4c3e-8f11-%012d,l:app=web,l:tier=front,"
                                       "l:pod-template-hash=7d4b9c6f5,f:spec.nodeName=node-%d,"
                                       "o:=11111111-9d8b-4c3e-8f11-22aa33bb44cc,F:status.phase=Running,"
                                       "r:secrets/default/db=,r:configmaps/default/web=",
                                       number, number % NODES);
    must(store_sync_put(bench->store, key, bench->text, terms, STORE_ANY, bench->flags, NULL) == ERR_NONE);
}

static void *writer(void *arg)
{
    struct bench *bench = arg;
    int number;
    while ((number = atomic_fetch_add(&bench->next, 1)) < CREATES)
        put_pod(bench, number, "bench");
    return NULL;
}

static double run_writers(struct bench *bench, int round)
{
    pthread_t threads[WRITERS];
    bench->round = round;
    atomic_store(&bench->next, 0);
    double begin = seconds();
    for (int i = 0; i < WRITERS; i++)
        must(pthread_create(&threads[i], NULL, writer, bench) == 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    return CREATES / (seconds() - begin);
}

static void bench_writes(struct bench *bench)
{
    double rates[ROUNDS], groups[ROUNDS], rates_volatile[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        struct store_lmdb_stats before, after;
        store_lmdb_stats(bench->store, &before);
        rates[i] = run_writers(bench, i);
        store_lmdb_stats(bench->store, &after);
        groups[i] = (double)CREATES / (double)(after.commits - before.commits);
    }
    report("durable creates", "objects/s", rates);
    report("objects a commit", "", groups);
    bench->flags = STORE_VOLATILE;
    for (int i = 0; i < ROUNDS; i++)
        rates_volatile[i] = run_writers(bench, i);
    bench->flags = 0;
    report("volatile writes", "objects/s", rates_volatile);
}

static void bench_gets(struct bench *bench)
{
    double samples[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        double begin = seconds();
        for (int j = 0; j < 100000; j++) {
            char key[64];
            struct store_object object;
            snprintf(key, sizeof(key), "pods/bench/web-0-%d", j * 7 % CREATES);
            must(bench->store->ops->get(bench->store, key, &object, NULL) == 0);
            store_object_fini(&object);
        }
        samples[i] = 100000 / (seconds() - begin);
    }
    report("get, one thread", "objects/s", samples);
}

static void bench_lists(struct bench *bench)
{
    double all[ROUNDS], one[ROUNDS];
    const char *const node[] = {"f:spec.nodeName=node-7", "l:app=web", NULL};
    for (int i = 0; i < ROUNDS; i++) {
        struct store_list list;
        double begin = seconds();
        must(bench->store->ops->list(bench->store, &(struct store_list_request){.prefix = "pods/list/"},
                                     &list, NULL) == 0);
        all[i] = (seconds() - begin) * 1e3;
        must(list.count == PODS);
        store_list_fini(&list);
        struct store_list_request request = {.prefix = "pods/list/", .terms = node};
        begin = seconds();
        must(bench->store->ops->list(bench->store, &request, &list, NULL) == 0);
        one[i] = (seconds() - begin) * 1e3;
        must(list.count == PODS / NODES);
        store_list_fini(&list);
    }
    report("list of 5,000 pods", "ms", all);
    report("list of one node's 100", "ms", one);
}

int main(void)
{
    struct bench *bench = NEW(struct bench);
    auto_free char *directory = store_sync_directory("bench");
    struct store_lmdb_options options = {.directory = directory, .sync = true};
    struct statfs file_system;
    log_set_level(LOG_WARN);
    memset(bench->text, 'x', OBJECT);
    must(statfs(directory, &file_system) == 0);
    printf("%s: file system type 0x%lx, %d writers, objects of %d bytes\n", directory,
           (unsigned long)file_system.f_type, WRITERS, OBJECT);
    bench->store = store_lmdb_open(&options, NULL);
    must(bench->store);
    bench->hub = watch_hub_new(bench->store, &clock_system);
    bench->store->ops->set_on_commit(bench->store, watch_hub_publish, bench->hub);
    bench_writes(bench);
    bench_gets(bench);
    for (int i = 0; i < PODS; i++)
        put_pod(bench, i, "list");
    bench_lists(bench);
    struct store_lmdb_stats stats;
    store_lmdb_stats(bench->store, &stats);
    printf("%.1f MB on disk, %llu events in the log\n", (double)stats.disk_bytes / 1e6,
           (unsigned long long)stats.log_events);
    bench->store->ops->close(bench->store);
    watch_hub_free(bench->hub);
    free(bench);
    return file_remove_tree(directory, NULL) == 0 ? 0 : 1;
}
