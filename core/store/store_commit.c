/*
 * store_commit: the writer. Whatever is queued becomes one group: one LMDB transaction with its fsync (none
 * for volatile writes, which are a group of their own and go first), then the group becomes visible, then
 * on_commit hears its events, then every `done` is called.
 *
 * It does not retry: a write that the disk refuses for want of space ends with ERR_IO, any other failure of
 * the disk is fatal, because after a failed fsync nobody knows what the disk holds. Invariants: only one
 * thread runs commit_group; a revision is given out only if it is at most the high-water mark that is on disk
 * when the group becomes visible; a later write of a group sees the earlier ones.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "store/store_group.h"

#define GROUP_ROOM (16u << 20) /* what the queue takes at most becomes one group */

/* The text with the revision in its gap; `skip` digits of an older revision are left out. */
static struct bytes *bytes_with_revision(const char *data, size_t len, size_t at, size_t skip,
                                         uint64_t revision)
{
    char digits[24];
    size_t n_digits = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)revision);
    must(at + skip <= len);
    struct bytes *bytes = bytes_new(len - skip + n_digits);
    memcpy(bytes->data, data, at);
    memcpy(bytes->data + at, digits, n_digits);
    memcpy(bytes->data + at + n_digits, data + at + skip, len - at - skip);
    return bytes;
}

static size_t count_digits(uint64_t number)
{
    size_t digits = 1;
    while (number >= 10) {
        number /= 10;
        digits++;
    }
    return digits;
}

static struct store_event *group_event(struct group *group, const struct store_write *write,
                                       const struct current *current, size_t *revision_at)
{
    enum store_event_type type = write->verb == STORE_DELETE ? STORE_DELETED
                                 : current->exists           ? STORE_MODIFIED
                                                             : STORE_ADDED;
    struct store_event *event = store_event_new(type, write->key, strlen(write->key));
    event->revision = ++group->revision;
    event->created_revision = current->exists ? current->created_revision : event->revision;
    event->commit_ns = group->now_ns;
    event->terms = store_terms_ref(write->verb == STORE_PUT ? write->terms : current->terms);
    event->previous_terms = store_terms_ref(current->terms);
    event->flags = write->verb == STORE_PUT ? write->flags : current->flags;
    if (write->data) {
        *revision_at = write->revision_at;
        event->bytes = bytes_with_revision(write->data, write->len, write->revision_at, 0, event->revision);
    } else {
        *revision_at = current->revision_at;
        event->bytes = bytes_with_revision(current->bytes->data, current->bytes->len, current->revision_at,
                                           count_digits(current->revision), event->revision);
    }
    return event;
}

static bool terms_equal(const struct store_terms *a, const struct store_terms *b)
{
    if (a == b)
        return true;
    size_t a_len, b_len;
    const char *a_text = store_terms_text(a, &a_len), *b_text = store_terms_text(b, &b_len);
    return a->schema_version == b->schema_version && a_len == b_len && memcmp(a_text, b_text, a_len) == 0;
}

static int record_put(struct group *group, const struct store_event *event, const struct bytes *stored,
                      size_t revision_at, size_t *size)
{
    size_t terms_len = 0, previous_len = 0;
    const char *terms = store_terms_text(event->terms, &terms_len), *previous = "";
    struct record_head head = {.created_revision = event->created_revision,
                               .terms_len = (uint32_t)terms_len,
                               .bytes_len = (uint32_t)stored->len,
                               .revision_at = (uint32_t)revision_at,
                               .key_len = (uint16_t)strlen(event->key),
                               .schema_version = event->terms->schema_version,
                               .n_terms = event->terms->count,
                               .n_previous = RECORD_PREVIOUS_NONE,
                               .type = (uint8_t)event->type,
                               .flags = (uint8_t)event->flags};
    if (event->previous_terms && terms_equal(event->terms, event->previous_terms)) {
        head.n_previous = RECORD_PREVIOUS_SAME;
    } else if (event->previous_terms) {
        previous = store_terms_text(event->previous_terms, &previous_len);
        head.n_previous = event->previous_terms->count;
        head.previous_len = (uint32_t)previous_len;
        head.previous_schema_version = event->previous_terms->schema_version;
    }
    *size = record_size(&head);
    uint64_t swapped = revision_key(event->revision);
    MDB_val key = {sizeof(swapped), &swapped}, value = {*size, NULL};
    int rc = mdb_put(group->txn, group->store->log, &key, &value, MDB_APPEND | MDB_RESERVE);
    if (rc != 0)
        return rc;
    char *to = value.mv_data;
    to = mempcpy(to, &head, sizeof(head));
    to = mempcpy(to, event->key, head.key_len);
    to = mempcpy(to, terms, terms_len);
    to = mempcpy(to, previous, previous_len);
    memcpy(to, stored->data, stored->len);
    return 0;
}

static int object_put(struct group *group, const struct store_event *event)
{
    MDB_val key = {strlen(event->key), event->key};
    if (event->type == STORE_DELETED)
        return mdb_del(group->txn, group->store->objects, &key, NULL);
    MDB_val value = {sizeof(event->revision), (void *)&event->revision};
    return mdb_put(group->txn, group->store->objects, &key, &value, 0);
}

/* A record that compaction has passed lived on only as the present state of its key. Now it lives on as what
 * the event has replaced, until compaction passes the event. */
static int record_keep_former(struct group *group, const struct store_event *event,
                              const struct current *current)
{
    if (!current->exists || current->revision > group->meta.oldest)
        return 0;
    uint64_t swapped = revision_key(event->revision), former = current->revision;
    MDB_val key = {sizeof(swapped), &swapped}, value = {sizeof(former), &former};
    return mdb_put(group->txn, group->store->former, &key, &value, MDB_APPEND);
}

/* The bytes as they lie on disk; NULL if they cannot be sealed. */
static struct bytes *event_stored_bytes(const struct store_lmdb *store, const struct store_event *event)
{
    if (!(event->flags & STORE_SEALED) || (event->flags & STORE_VOLATILE))
        return bytes_ref(event->bytes);
    return store->seal.seal(store->seal.arg, event->bytes->data, event->bytes->len);
}

static void group_apply_durable(struct group *group, struct store_event *event, const struct current *current,
                                const struct bytes *stored, size_t revision_at)
{
    struct store_lmdb *store = group->store;
    size_t size = 0;
    int rc = record_put(group, event, stored, revision_at, &size);
    if (rc == 0)
        rc = object_put(group, event);
    if (rc == 0)
        rc = index_change(store, group->txn, event->key, event->previous_terms,
                          event->type == STORE_DELETED ? NULL : event->terms);
    if (rc == 0)
        rc = record_keep_former(group, event, current);
    group->rc = rc;
    group->changed = true;
    group->meta.log_events++;
    group->meta.log_bytes += size;
}

static void group_add_event(struct group *group, struct store_event *event)
{
    struct store_lmdb *store = group->store;
    if (group->n_events == store->events_capacity) {
        store->events_capacity = store->events_capacity ? store->events_capacity * 2 : 256;
        store->events = mem_resize(store->events, store->events_capacity, sizeof(struct store_event *));
    }
    store->events[group->n_events++] = event;
}

static void group_apply(struct group *group, struct store_write *write)
{
    struct current current = {0};
    enum err_code code = write_check(group->store, write);
    write->revision = 0;
    write->bytes = NULL;
    bool is_volatile = code == ERR_NONE && write_is_volatile(group, write);
    if (code == ERR_NONE && is_volatile)
        current_volatile(group, write->key, &current);
    else if (code == ERR_NONE && (!group_ready(group) || !current_durable(group, write, &current, &code)))
        code = code == ERR_NONE ? ERR_IO : code;
    if (code == ERR_NONE)
        code = write_precondition(write, &current);
    if (code == ERR_NONE)
        code = write_guards(group, write);
    write->result = code;
    if (code != ERR_NONE) {
        write->revision = current.revision;
        current_fini(&current);
        return;
    }
    size_t revision_at = 0;
    struct store_event *event = group_event(group, write, &current, &revision_at);
    auto_bytes stored = event_stored_bytes(group->store, event);
    if (!stored) {
        write->result = ERR_INTERNAL;
        group->revision--;
        store_event_unref(event);
        current_fini(&current);
        return;
    }
    write->revision = event->revision;
    write->bytes = bytes_ref(event->bytes);
    group_add_event(group, event);
    if (is_volatile) {
        struct pending *pending = NEW(struct pending);
        *pending = (struct pending){event, revision_at};
        map_set(&group->pending, write->key, pending);
    } else {
        group_apply_durable(group, event, &current, stored, revision_at);
    }
    current_fini(&current);
}

static bool event_is_volatile(const struct store_event *event)
{
    return (event->flags & STORE_VOLATILE) != 0;
}

/* The disk took nothing of this group: durable writes fail, and volatile ones too unless their revisions are
 * covered by the mark that is on disk. */
static void group_fail(struct group *group, struct list *writes)
{
    struct store_lmdb *store = group->store;
    bool keep_volatile = group->revision <= store->meta.high_water;
    struct store_write *write;
    list_each (write, writes, queue_node) {
        bool is_volatile = write->result == ERR_NONE && map_has(&group->pending, write->key);
        if (is_volatile && keep_volatile)
            continue;
        if (write->result != ERR_NONE && ((write->flags & STORE_VOLATILE) || write->result == ERR_TOO_LARGE ||
                                          write->result == ERR_BAD_REQUEST))
            continue;
        write->result = ERR_IO;
        write->revision = 0;
        bytes_unref(steal(&write->bytes));
    }
    if (!keep_volatile)
        map_fini(&group->pending);
    size_t kept = 0;
    for (size_t i = 0; i < group->n_events; i++) {
        if (keep_volatile && event_is_volatile(store->events[i]))
            store->events[kept++] = store->events[i];
        else
            store_event_unref(store->events[i]);
    }
    group->n_events = kept;
    group->revision = kept ? store->events[kept - 1]->revision : store->revision;
}

static bool disk_is_full(int rc)
{
    return rc == MDB_MAP_FULL || rc == MDB_TXN_FULL || rc == ENOSPC || rc == EDQUOT;
}

/* LMDB calls a short write EIO, as it does a broken disk. It then has not touched its meta page, so the state
 * before the transaction is whole either way; what tells the two apart is whether there is room for a group.
 */
static int commit_result(const struct store_lmdb *store, int rc)
{
    struct statvfs space;
    if (rc != EIO || statvfs(store->path, &space) < 0)
        return rc;
    return (uint64_t)space.f_bavail * space.f_frsize < GROUP_ROOM ? ENOSPC : rc;
}

/* 0, or the code of the failure, after which the transaction is gone. */
static int group_commit(struct group *group)
{
    struct store_lmdb *store = group->store;
    bool reserve = group->n_events > 0 && group->revision > store->meta.high_water;
    if (reserve)
        group_ready(group);
    bool write = group->changed || reserve;
    if (group->rc == 0 && write) {
        group->meta.high_water = group->revision + STORE_RESERVE;
        group->rc = compact_some(store, group->txn, &group->meta, 2 * group->n_events + 16);
        if (group->rc == 0)
            group->rc = disk_put_meta(store, group->txn, &group->meta);
    }
    if (group->rc != 0 || !write) {
        if (group->txn)
            mdb_txn_abort(group->txn);
        return group->rc;
    }
    group->rc = commit_result(store, mdb_txn_commit(group->txn));
    if (group->rc == 0) {
        store->meta = group->meta;
        atomic_fetch_add_explicit(&store->n_commits, 1, memory_order_relaxed);
        atomic_store_explicit(&store->n_log_events, store->meta.log_events, memory_order_relaxed);
        atomic_store_explicit(&store->n_log_bytes, store->meta.log_bytes, memory_order_relaxed);
    }
    return group->rc;
}

static void memory_apply(struct store_lmdb *store, const char *key, const struct pending *pending)
{
    const struct store_event *event = pending->event;
    if (event->type == STORE_DELETED) {
        memory_remove(&store->memory, key);
        return;
    }
    struct memory_object *object = memory_put(&store->memory, key);
    bytes_unref(object->bytes);
    store_terms_unref(object->terms);
    object->bytes = bytes_ref(event->bytes);
    object->terms = store_terms_ref(event->terms);
    object->revision = event->revision;
    object->created_revision = event->created_revision;
    object->flags = event->flags;
    object->revision_at = pending->revision_at;
}

static void group_make_visible(struct group *group)
{
    struct store_lmdb *store = group->store;
    store->revision = group->revision;
    pthread_rwlock_wrlock(&store->visible_lock);
    map_each (entry, &group->pending)
        memory_apply(store, entry->key, entry->value);
    atomic_store(&store->visible, group->revision);
    atomic_store(&store->oldest, store->meta.oldest);
    pthread_rwlock_unlock(&store->visible_lock);
    pthread_mutex_lock(&store->lock);
    if (store->publish_waiters > 0)
        pthread_cond_broadcast(&store->published);
    pthread_mutex_unlock(&store->lock);
}

static void group_publish(struct group *group)
{
    struct store_lmdb *store = group->store;
    size_t n_volatile = 0;
    for (size_t i = 0; i < group->n_events; i++)
        n_volatile += event_is_volatile(store->events[i]);
    atomic_fetch_add_explicit(&store->n_groups, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&store->n_writes, group->n_events, memory_order_relaxed);
    atomic_fetch_add_explicit(&store->n_volatile, n_volatile, memory_order_relaxed);
    if (group->n_events == 0)
        return;
    group_make_visible(group);
    if (store->on_commit)
        store->on_commit(store->on_commit_arg, store->events, group->n_events);
    for (size_t i = 0; i < group->n_events; i++)
        store_event_unref(store->events[i]);
}

void commit_writes(struct store_lmdb *store, struct list *writes)
{
    struct store_write *write, *following;
    struct group group = {.store = store,
                          .revision = store->revision,
                          .meta = store->meta,
                          .pending = {.free_value = free},
                          .rc = atomic_load(&store->dead) ? EIO : 0,
                          .now_ns = store->clock.monotonic_ns(store->clock.arg)};
    list_each (write, writes, queue_node)
        group_apply(&group, write);
    if (group_commit(&group) != 0) {
        if (!disk_is_full(group.rc) && !atomic_load(&store->dead))
            disk_fatal(store, "commit", group.rc);
        else
            log_error("store", "a commit failed: %s", mdb_strerror(group.rc));
        group_fail(&group, writes);
    }
    group_publish(&group);
    map_fini(&group.pending);
    list_each_safe (write, following, writes, queue_node) {
        list_remove(&write->queue_node);
        write->done(write); /* may free it */
    }
}

void commit_high_water(struct store_lmdb *store)
{
    MDB_txn *txn = NULL;
    struct store_meta meta = store->meta;
    if (atomic_load(&store->dead) || meta.high_water <= store->revision)
        return;
    meta.high_water = store->revision;
    int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (rc != 0)
        return;
    rc = disk_put_meta(store, txn, &meta);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    if (rc != 0) /* harmless: the next start jumps */
        log_warn("store", "cannot write the revision at the end: %s", mdb_strerror(rc));
}
