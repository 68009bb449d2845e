/*
 * store: SIGKILL and loss of power at every step of a commit.
 *
 * This program replaces the calls by which LMDB reaches the disk (open, pwrite, write, writev, fdatasync,
 * fsync, msync). In the child each is counted and journalled; at a chosen call, before, in the middle or
 * after it, the child kills itself. After a "kill" the file is what the kernel has. After a "power loss" the
 * parent builds the file again from what was synced, and of the rest it applies some 512-byte sectors, in any
 * order, and drops the others. Then the store must open, hold every acknowledged write, have them in its log,
 * and give out no revision twice.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../support/store_sync.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/str.h"
#include "store/store_lmdb.h"

#define EXPORTED __attribute__((visibility("default")))
#define SECTOR 512

/* ---- the shim: state of the child ---- */

enum stage { BEFORE, MIDDLE, AFTER };
enum entry_kind { ENTRY_WRITE, ENTRY_WRITE_DURABLE, ENTRY_SYNC };

struct entry {
    uint64_t kind, offset, len;
};

static struct shim {
    bool active;
    int journal, data_fd, durable_fd;
    unsigned calls, kill_at;
    enum stage stage;
    pthread_mutex_t lock;
} shim = {.data_fd = -1, .durable_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

static void shim_die(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

static bool shim_at(enum stage stage)
{
    return shim.calls == shim.kill_at && shim.stage == stage;
}

static void shim_journal(enum entry_kind kind, off_t offset, const void *data, size_t len)
{
    struct entry entry = {kind, (uint64_t)offset, len};
    struct iovec parts[] = {{&entry, sizeof(entry)}, {(void *)data, kind == ENTRY_WRITE ? len : 0}};
    ssize_t wrote = syscall(SYS_writev, shim.journal, parts, 2);
    if (wrote < 0)
        shim_die();
}

static bool shim_covers(int fd)
{
    return shim.active && fd >= 0 && (fd == shim.data_fd || fd == shim.durable_fd);
}

static ssize_t shim_write(int fd, const void *data, size_t len, off_t offset)
{
    pthread_mutex_lock(&shim.lock);
    shim.calls++;
    if (shim_at(BEFORE))
        shim_die();
    shim_journal(ENTRY_WRITE, offset, data, len);
    if (shim_at(MIDDLE)) {
        syscall(SYS_pwrite64, fd, data, len / 2, offset);
        shim_die();
    }
    ssize_t wrote = syscall(SYS_pwrite64, fd, data, len, offset);
    if (fd == shim.durable_fd && wrote == (ssize_t)len)
        shim_journal(ENTRY_WRITE_DURABLE, offset, NULL, len);
    if (shim_at(AFTER))
        shim_die();
    pthread_mutex_unlock(&shim.lock);
    return wrote;
}

static int shim_sync(int fd, long number)
{
    pthread_mutex_lock(&shim.lock);
    shim.calls++;
    if (shim_at(BEFORE) || shim_at(MIDDLE))
        shim_die();
    int result = (int)syscall(number, fd);
    if (result == 0)
        shim_journal(ENTRY_SYNC, 0, NULL, 0);
    if (shim_at(AFTER))
        shim_die();
    pthread_mutex_unlock(&shim.lock);
    return result;
}

EXPORTED int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    int mode = flags & O_CREAT ? va_arg(arguments, int) : 0;
    va_end(arguments);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (shim.active && fd >= 0 && (str_ends(path, "/store.mdb") || str_ends(path, "/store.new"))) {
        if (flags & O_DSYNC)
            shim.durable_fd = fd;
        else
            shim.data_fd = fd;
    }
    return fd;
}

EXPORTED ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return shim_covers(fd) ? shim_write(fd, data, len, offset) : syscall(SYS_pwrite64, fd, data, len, offset);
}

EXPORTED ssize_t write(int fd, const void *data, size_t len)
{
    if (!shim_covers(fd))
        return syscall(SYS_write, fd, data, len);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t wrote = shim_write(fd, data, len, offset);
    if (wrote > 0)
        lseek(fd, offset + wrote, SEEK_SET);
    return wrote;
}

EXPORTED ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (!shim_covers(fd))
        return syscall(SYS_writev, fd, parts, count);
    ssize_t total = 0;
    for (int i = 0; i < count; i++) { /* each part may be lost for itself */
        ssize_t wrote = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (wrote != (ssize_t)parts[i].iov_len)
            return -1;
        total += wrote;
    }
    return total;
}

EXPORTED int fdatasync(int fd)
{
    return shim_covers(fd) ? shim_sync(fd, SYS_fdatasync) : (int)syscall(SYS_fdatasync, fd);
}

EXPORTED int fsync(int fd)
{
    return shim_covers(fd) ? shim_sync(fd, SYS_fsync) : (int)syscall(SYS_fsync, fd);
}

EXPORTED int msync(void *at, size_t len, int flags)
{
    must(!shim.active); /* the store is not to rely on it */
    return (int)syscall(SYS_msync, at, len, flags);
}

/* ---- what the child does ---- */

enum { WRITERS = 3, KEYS = 4, ALL_KEYS = WRITERS * KEYS };

struct ack {
    uint32_t key, value; /* key ALL_KEYS: a volatile write */
    uint64_t revision;
};

struct state {
    uint32_t acknowledged[ALL_KEYS]; /* value of the last acknowledged write of the key; 0: none */
    uint64_t highest;                /* revision told to anybody */
    struct ack *acks;                /* of the last run */
    size_t n_acks;
};

static bool value_deletes(uint32_t value)
{
    return value % 5 == 0;
}

struct writer {
    struct store *store;
    int number, pipe, begin;
    uint32_t values[KEYS];
};

static void acknowledge(int fd, uint32_t key, uint32_t value, uint64_t revision)
{
    struct ack ack = {key, value, revision};
    if (syscall(SYS_write, fd, &ack, sizeof(ack)) != sizeof(ack))
        _exit(9);
}

static void child_step(struct writer *writer, uint32_t key)
{
    uint32_t value = ++writer->values[key], id = (uint32_t)writer->number * KEYS + key;
    uint64_t revision = 0;
    enum err_code code;
    auto_free char *name = mem_printf("pods/w%d/k%u", writer->number, key);
    auto_free char *text = mem_printf("value %u %.*s", value, (int)(value * 97 % 3000),
                                      "................................................................");
    auto_free char *terms = mem_printf("l:odd=%u,f:spec.nodeName=n%u", value % 2, value % 3);
    if (value_deletes(value))
        code = store_sync_delete(writer->store, name, STORE_ANY, &revision);
    else
        code = store_sync_put(writer->store, name, text, terms, STORE_ANY, 0, &revision);
    if (code != ERR_NONE)
        _exit(8);
    acknowledge(writer->pipe, id, value, revision);
    if (value % 3 == 0) {
        auto_free char *lease = mem_printf("leases/w%d/l", writer->number);
        if (store_sync_put(writer->store, lease, "v", NULL, STORE_ANY, STORE_VOLATILE, &revision) != ERR_NONE)
            _exit(7);
        acknowledge(writer->pipe, ALL_KEYS, 0, revision);
    }
}

static void *child_writer(void *arg)
{
    struct writer *writer = arg;
    for (uint32_t i = 0; i < 400; i++)
        child_step(writer, i % KEYS);
    return NULL;
}

static void child_run(const struct store_lmdb_options *options, const struct state *state, int pipe)
{
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    struct store *store = store_lmdb_open(options, NULL);
    if (!store)
        _exit(6);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.store = store, .number = i, .pipe = pipe};
        memcpy(writers[i].values, &state->acknowledged[i * KEYS], sizeof(writers[i].values));
        if (pthread_create(&threads[i], NULL, child_writer, &writers[i]) != 0)
            _exit(5);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    shim_die(); /* never closed in order */
}

/* ---- what the parent checks ---- */

struct harness {
    char *directory, *data, *journal;
    struct store_lmdb_options options;
    struct state state;
    struct random_seeded seeded;
    struct random random;
    unsigned run, with_acks;
};

static void run_child(struct harness *h, unsigned kill_at, enum stage stage)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        shim.journal =
            (int)syscall(SYS_openat, AT_FDCWD, h->journal, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
        shim.kill_at = kill_at;
        shim.stage = stage;
        shim.active = true;
        child_run(&h->options, &h->state, ends[1]);
    }
    close(ends[1]);
    struct ack ack;
    h->state.n_acks = 0;
    while (read(ends[0], &ack, sizeof(ack)) == sizeof(ack)) {
        h->state.acks = mem_resize(h->state.acks, h->state.n_acks + 1, sizeof(ack));
        h->state.acks[h->state.n_acks++] = ack;
        if (ack.key < ALL_KEYS)
            h->state.acknowledged[ack.key] = ack.value;
        if (ack.revision > h->state.highest)
            h->state.highest = ack.revision;
    }
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("run %u: the child ended with status %d", h->run, status);
    h->with_acks += h->state.n_acks > 0;
}

static void image_write(int fd, const struct entry *entry, const char *data)
{
    assert_int_equal(syscall(SYS_pwrite64, fd, data, entry->len, entry->offset), entry->len);
}

/* Some of the sectors of a write that was not synced reach the disk. */
static void image_write_some(struct harness *h, int fd, const struct entry *entry, const char *data)
{
    uint64_t choice = random_below(&h->random, 3); /* none, all, some */
    for (uint64_t at = 0; at < entry->len && choice > 0;) {
        uint64_t len = SECTOR - (entry->offset + at) % SECTOR;
        if (len > entry->len - at)
            len = entry->len - at;
        struct entry part = {ENTRY_WRITE, entry->offset + at, len};
        if (choice == 1 || random_below(&h->random, 2))
            image_write(fd, &part, data + at);
        at += len;
    }
}

/* Builds the file as a disk may hold it: `base` is what it held when the child began. */
static void lose_power(struct harness *h, const char *base, size_t base_len)
{
    auto_free char *journal = NULL;
    size_t len = 0, n = 0, capacity = 0;
    assert_int_equal(file_read(h->journal, 1u << 30, &journal, &len, NULL), 0);
    auto_fd fd = (int)syscall(SYS_openat, AT_FDCWD, h->data, O_RDWR | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    image_write(fd, &(struct entry){ENTRY_WRITE, 0, base_len}, base);
    const char **loose = NULL; /* entries that are not synced yet */
    for (size_t at = 0; at + sizeof(struct entry) <= len;) {
        struct entry entry;
        memcpy(&entry, journal + at, sizeof(entry));
        if (entry.kind == ENTRY_WRITE) {
            if (n == capacity)
                loose = mem_resize(loose, capacity = capacity ? capacity * 2 : 64, sizeof(*loose));
            loose[n++] = journal + at;
            at += entry.len;
        }
        size_t first = entry.kind == ENTRY_WRITE_DURABLE ? n - 1 : 0;
        for (size_t i = first; i < n && entry.kind != ENTRY_WRITE; i++) {
            struct entry written;
            memcpy(&written, loose[i], sizeof(written));
            image_write(fd, &written, loose[i] + sizeof(written));
        }
        n = entry.kind == ENTRY_WRITE ? n : first;
        at += sizeof(struct entry);
    }
    for (; n > 0; n--) { /* in any order */
        size_t i = random_below(&h->random, n);
        struct entry written;
        memcpy(&written, loose[i], sizeof(written));
        image_write_some(h, fd, &written, loose[i] + sizeof(written));
        loose[i] = loose[n - 1];
    }
    free(loose);
    assert_int_equal(syscall(SYS_fsync, fd), 0);
}

/* The object is as the last acknowledged write left it, or as the one that was under way would. */
static void check_key(struct harness *h, struct store *store, uint32_t id)
{
    auto_free char *name = mem_printf("pods/w%u/k%u", id / KEYS, id % KEYS);
    struct store_object object = {0};
    uint32_t acknowledged = h->state.acknowledged[id], found = 0;
    bool there = store->ops->get(store, name, &object, NULL) == 0;
    if (there) {
        const char *text = strstr(object.bytes->data, "value ");
        assert_non_null(text);
        found = (uint32_t)strtoul(text + 6, NULL, 10);
        if (found != acknowledged && found != acknowledged + 1)
            fail_msg("run %u: %s holds %u, acknowledged was %u", h->run, name, found, acknowledged);
        store_object_fini(&object);
    } else {
        bool now = acknowledged == 0 || value_deletes(acknowledged), next = value_deletes(acknowledged + 1);
        if (!now && !next)
            fail_msg("run %u: %s is lost, acknowledged was %u", h->run, name, acknowledged);
        found = now ? acknowledged : acknowledged + 1;
    }
    h->state.acknowledged[id] = found; /* the next child goes on from here */
}

static void check_index(struct store *store)
{
    size_t counts[2] = {0, 0};
    const char *const terms[2][2] = {{"l:odd=0", NULL}, {"l:odd=1", NULL}};
    struct store_list list;
    for (int i = 0; i < 2; i++) {
        struct store_list_request request = {.prefix = "pods/", .terms = terms[i]};
        assert_int_equal(store->ops->list(store, &request, &list, NULL), 0);
        counts[i] = list.count;
        store_list_fini(&list);
    }
    assert_int_equal(store->ops->list(store, &(struct store_list_request){.prefix = "pods/"}, &list, NULL),
                     0);
    assert_int_equal(list.count, counts[0] + counts[1]);
    store_list_fini(&list);
}

/* Every acknowledged durable write of the run is in the log, once, with its key: a watch resumes over the
 * crash. */
static void check_log(struct harness *h, struct store *store, uint64_t before)
{
    struct store_event *events[64];
    size_t count = 0, found = 0, durable = 0;
    uint64_t after =
        before > store->ops->oldest_revision(store) ? before : store->ops->oldest_revision(store);
    for (size_t i = 0; i < h->state.n_acks; i++)
        durable += h->state.acks[i].key < ALL_KEYS && h->state.acks[i].revision > after;
    do {
        assert_int_equal(store->ops->log_read(store, after, 64, events, &count, NULL), 0);
        for (size_t i = 0; i < count; i++) {
            assert_true(events[i]->revision > after);
            after = events[i]->revision;
            for (size_t j = 0; j < h->state.n_acks; j++) {
                const struct ack *ack = &h->state.acks[j];
                if (ack->revision != after || ack->key >= ALL_KEYS)
                    continue;
                auto_free char *name = mem_printf("pods/w%u/k%u", ack->key / KEYS, ack->key % KEYS);
                assert_string_equal(events[i]->key, name);
                assert_int_equal(events[i]->type == STORE_DELETED, value_deletes(ack->value));
                found++;
            }
            store_event_unref(events[i]);
        }
    } while (count > 0);
    assert_int_equal(found, durable);
}

static void crash_once(struct harness *h, unsigned kill_at, enum stage stage, bool power)
{
    auto_free char *base = NULL;
    size_t base_len = 0;
    auto_err error = NULL;
    uint64_t before = h->state.highest;
    h->run++;
    assert_int_equal(file_read(h->data, 1u << 30, &base, &base_len, NULL), 0);
    run_child(h, kill_at, stage);
    if (power)
        lose_power(h, base, base_len);
    struct store *store = store_lmdb_open(&h->options, &error);
    if (!store)
        fail_msg("run %u: %s", h->run, err_message(error));
    assert_true(store->ops->boot_revision(store) > h->state.highest); /* never again */
    for (uint32_t id = 0; id < ALL_KEYS; id++)
        check_key(h, store, id);
    check_index(store);
    check_log(h, store, before);
    uint64_t revision = 0;
    assert_int_equal(store_sync_put(store, "pods/parent/k", "x", "l:odd=0", STORE_ANY, 0, &revision),
                     ERR_NONE);
    assert_true(revision > h->state.highest);
    h->state.highest = revision;
    store_lmdb_abandon(store);
}

static void harness_init(struct harness *h)
{
    *h = (struct harness){.directory = store_sync_directory("crash")};
    h->data = file_join(h->directory, "store.mdb");
    h->journal = file_join(h->directory, "journal");
    h->options = (struct store_lmdb_options){
        .directory = h->directory, .sync = true, .map_bytes = 1u << 30, .log_keep_events = 300};
    const char *seed = getenv("M8_SEED");
    random_seeded_init(&h->seeded, seed ? strtoull(seed, NULL, 10) : 5, &h->random);
    struct statfs file_system;
    assert_int_equal(statfs(h->directory, &file_system), 0);
    print_message("disk: %s, file system type 0x%lx%s\n", h->directory, (unsigned long)file_system.f_type,
                  file_system.f_type == 0xef53       ? " (ext)"
                  : file_system.f_type == 0x01021994 ? " (tmpfs)"
                                                     : "");
    struct store *store = store_lmdb_open(&h->options, NULL);
    assert_non_null(store);
    store->ops->close(store); /* nothing was written: its revision may come again */
}

static void harness_fini(struct harness *h)
{
    assert_int_equal(file_remove_tree(h->directory, NULL), 0);
    free(h->directory);
    free(h->data);
    free(h->journal);
    free(h->state.acks);
}

/* Before, in and after each of the first calls: that is every boundary of some commits. */
static void test_every_step(void **state UNUSED)
{
    struct harness h;
    harness_init(&h);
    for (unsigned call = 1; call <= 36; call++)
        for (int stage = BEFORE; stage <= AFTER; stage++)
            crash_once(&h, call, (enum stage)stage, (call + (unsigned)stage) % 3 != 0);
    assert_true(h.with_acks > 60);
    harness_fini(&h);
}

static void test_anywhere(void **state UNUSED)
{
    struct harness h;
    harness_init(&h);
    for (int i = 0; i < 40; i++) {
        unsigned call = 1 + (unsigned)random_below(&h.random, 1500);
        enum stage stage = (enum stage)random_below(&h.random, 3);
        crash_once(&h, call, stage, random_below(&h.random, 4) != 0);
    }
    assert_true(h.with_acks > 30);
    harness_fini(&h);
}

/* The first start of all, killed at every step: the next one opens. */
static void test_creation(void **state UNUSED)
{
    struct harness h;
    harness_init(&h);
    for (unsigned call = 1; call <= 12; call++) {
        for (int stage = BEFORE; stage <= AFTER; stage++) {
            assert_int_equal(file_remove_tree(h.directory, NULL), 0);
            assert_int_equal(file_make_dirs(h.directory, 0700, NULL), 0);
            memset(h.state.acknowledged, 0, sizeof(h.state.acknowledged));
            h.state.highest = 0;
            h.run++;
            run_child(&h, call, (enum stage)stage);
            auto_err error = NULL;
            struct store *store = store_lmdb_open(&h.options, &error);
            if (!store)
                fail_msg("call %u: %s", call, err_message(error));
            for (uint32_t id = 0; id < ALL_KEYS; id++)
                check_key(&h, store, id);
            store->ops->close(store);
        }
    }
    harness_fini(&h);
}

/* The shim must be able to lose something: with the syncs taken for nothing, acknowledged writes do get lost.
 */
static unsigned lost_without_syncs(struct harness *h)
{
    auto_free char *base = NULL;
    size_t base_len = 0;
    unsigned lost = 0;
    h->options.sync = false; /* as if fsync lied */
    assert_int_equal(file_read(h->data, 1u << 30, &base, &base_len, NULL), 0);
    run_child(h, 300, AFTER);
    lose_power(h, base, base_len);
    struct store *store = store_lmdb_open(&h->options, NULL);
    if (!store)
        return 1;
    for (uint32_t id = 0; id < ALL_KEYS; id++) {
        auto_free char *name = mem_printf("pods/w%u/k%u", id / KEYS, id % KEYS);
        struct store_object object;
        uint32_t value = h->state.acknowledged[id];
        bool there = store->ops->get(store, name, &object, NULL) == 0;
        lost += !there && !value_deletes(value) && !value_deletes(value + 1);
        if (there)
            store_object_fini(&object);
    }
    store_lmdb_abandon(store);
    return lost;
}

static void test_shim_loses(void **state UNUSED)
{
    unsigned lost = 0;
    for (unsigned i = 0; i < 10 && lost == 0; i++) {
        struct harness h;
        harness_init(&h); /* a child cannot go on from what was lost */
        random_seeded_init(&h.seeded, i, &h.random);
        lost = lost_without_syncs(&h);
        harness_fini(&h);
    }
    assert_true(lost > 0);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_step), cmocka_unit_test(test_anywhere),
                                       cmocka_unit_test(test_creation), cmocka_unit_test(test_shim_loses)};
    return cmocka_run_group_tests_name("store crash", tests, NULL, NULL);
}
