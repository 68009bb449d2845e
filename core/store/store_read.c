/*
 * store_read: get, list and log from snapshots.
 *
 * The bytes are copied out of the map (or referenced, for volatile objects) and the transaction ends before
 * anything slow (unsealing) begins. It does not cache: LMDB's map is the cache. Invariant: nobody is shown a
 * revision that is not visible yet. LMDB shows a commit an instant before the group is made visible; a reader
 * that gets in between waits for it.
 */
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "store/store_private.h"

void read_wait_visible(struct store_lmdb *store, uint64_t revision)
{
    if (atomic_load(&store->visible) >= revision)
        return;
    pthread_mutex_lock(&store->lock);
    store->publish_waiters++;
    while (atomic_load(&store->visible) < revision)
        pthread_cond_wait(&store->published, &store->lock);
    store->publish_waiters--;
    pthread_mutex_unlock(&store->lock);
}

static void object_from_record(const char *key, size_t key_len, uint64_t revision,
                               const struct record *record, bool with_bytes, struct store_object *object)
{
    *object =
        (struct store_object){.key = mem_strndup(key, key_len),
                              .bytes = with_bytes ? bytes_from(record->bytes, record->head.bytes_len) : NULL,
                              .terms = record_terms(record),
                              .revision = revision,
                              .created_revision = record->head.created_revision,
                              .flags = record->head.flags};
}

static void object_from_memory(const struct memory_object *from, bool with_bytes, struct store_object *object)
{
    *object = (struct store_object){.key = mem_strdup(from->key),
                                    .bytes = with_bytes ? bytes_ref(from->bytes) : NULL,
                                    .terms = store_terms_ref(from->terms),
                                    .revision = from->revision,
                                    .created_revision = from->created_revision,
                                    .flags = from->flags};
}

static bool get_volatile(struct store_lmdb *store, const char *key, struct store_object *object)
{
    pthread_rwlock_rdlock(&store->visible_lock);
    struct memory_object *found = memory_find(&store->memory, key);
    if (found)
        object_from_memory(found, true, object);
    pthread_rwlock_unlock(&store->visible_lock);
    return found != NULL;
}

int read_get(struct store *base, const char *key, struct store_object *object, struct err **err)
{
    struct store_lmdb *store = CONTAINER_OF(base, struct store_lmdb, base);
    if (get_volatile(store, key, object))
        return 0;
    MDB_txn *txn = disk_read_begin(store, err);
    if (!txn)
        return -1;
    struct record record;
    uint64_t revision = 0;
    size_t len = strlen(key);
    int rc = disk_get_revision(store, txn, key, len, &revision);
    bool absent = rc == MDB_NOTFOUND;
    if (rc == 0)
        rc = disk_get_record(store, txn, revision, &record);
    if (rc == 0)
        object_from_record(key, len, revision, &record, true, object);
    disk_read_end(store, txn);
    if (absent)
        return err_set(err, ERR_NOT_FOUND, "%s not found", key);
    if (rc != 0)
        return disk_error(err, rc, key);
    read_wait_visible(store, revision);
    object->bytes = disk_clear_bytes(store, object->bytes, object->flags, err);
    if (object->bytes)
        return 0;
    store_object_fini(object);
    return err_wrap(err, "%s", key);
}

/* ---- list ---- */

/* What one source (memory, disk) found: at most `limit` objects; the rest is counted. */
struct found {
    struct store_object *objects;
    size_t count, capacity;
    uint64_t more;
};

static void found_fini(struct found *found)
{
    for (size_t i = 0; i < found->count; i++)
        store_object_fini(&found->objects[i]);
    free(found->objects);
}

static struct store_object *found_add(struct found *found)
{
    if (found->count == found->capacity) {
        found->capacity = found->capacity ? found->capacity * 2 : 64;
        found->objects = mem_resize(found->objects, found->capacity, sizeof(*found->objects));
    }
    return &found->objects[found->count++];
}

static bool found_is_full(const struct found *found, const struct store_list_request *request)
{
    return request->limit > 0 && found->count >= request->limit;
}

/* With a match function one more hit tells that there are more; counting all would cost a call each. */
static bool found_is_done(const struct found *found, const struct store_list_request *request)
{
    return request->match && found->more > 0;
}

static bool request_has_terms(const struct store_list_request *request)
{
    return request->terms && request->terms[0];
}

static void list_memory(struct store_lmdb *store, const struct store_list_request *request,
                        struct found *found)
{
    const char *after = request->after_key;
    struct memory_object *at =
        memory_seek(&store->memory, after && strcmp(after, request->prefix) > 0 ? after : request->prefix);
    for (; at && str_starts(at->key, request->prefix) && !found_is_done(found, request); at = at->next[0]) {
        bool fits = !after || strcmp(at->key, after) > 0;
        for (size_t i = 0; request->terms && request->terms[i] && fits; i++)
            fits = store_terms_has(at->terms, request->terms[i]);
        if (!fits)
            continue;
        struct store_object shown = {.key = at->key,
                                     .terms = at->terms,
                                     .revision = at->revision,
                                     .created_revision = at->created_revision,
                                     .flags = at->flags};
        if (request->match && !request->match(request->match_arg, &shown))
            continue;
        if (found_is_full(found, request))
            found->more++;
        else
            object_from_memory(at, !request->keys_only, found_add(found));
    }
}

/* A walk over the keys of a request in key order: over `objects`, or over one term of `index`. */
struct scan {
    struct store_lmdb *store;
    MDB_txn *txn;
    MDB_cursor *cursor;
    const struct store_list_request *request;
    const char *term; /* NULL: objects */
    uint64_t hash;
    bool begun;
    char seek[sizeof(uint64_t) + STORE_MAX_KEY + 1];
};

static int scan_open(struct scan *scan, const char *term)
{
    scan->term = term;
    scan->begun = false;
    if (term)
        scan->hash = index_hash(scan->request->prefix, term);
    return mdb_cursor_open(scan->txn, term ? scan->store->index : scan->store->objects, &scan->cursor);
}

/* MDB_NOTFOUND at the end. */
static int scan_next(struct scan *scan, MDB_val *key, MDB_val *value)
{
    const struct store_list_request *request = scan->request;
    size_t head = scan->term ? sizeof(scan->hash) : 0;
    const char *after = request->after_key;
    const char *from = after && strcmp(after, request->prefix) > 0 ? after : request->prefix;
    int rc;
    if (!scan->begun) {
        size_t len = strnlen(from, STORE_MAX_KEY);
        memcpy(scan->seek, &scan->hash, head);
        memcpy(scan->seek + head, from, len);
        *key = (MDB_val){head + len, scan->seek};
        rc = mdb_cursor_get(scan->cursor, key, value, head + len > 0 ? MDB_SET_RANGE : MDB_FIRST);
        scan->begun = true;
    } else {
        rc = mdb_cursor_get(scan->cursor, key, value, MDB_NEXT);
    }
    size_t after_len = after ? strlen(after) : 0;
    if (rc == 0 && after && key->mv_size == head + after_len &&
        memcmp((char *)key->mv_data + head, after, after_len) == 0)
        rc = mdb_cursor_get(scan->cursor, key, value, MDB_NEXT);
    if (rc != 0)
        return rc;
    if (head && (key->mv_size < head || memcmp(key->mv_data, &scan->hash, head) != 0))
        return MDB_NOTFOUND;
    key->mv_data = (char *)key->mv_data + head;
    key->mv_size -= head;
    size_t prefix_len = strlen(request->prefix);
    bool inside = key->mv_size >= prefix_len && memcmp(key->mv_data, request->prefix, prefix_len) == 0;
    return inside ? 0 : MDB_NOTFOUND;
}

#define MAX_RACERS 8

/* The rarest indexed term: the walks of all of them advance in step, the first to end wins. NULL: none is
 * indexed. */
static int scan_choose(struct scan *scan, const char **chosen)
{
    struct scan racers[MAX_RACERS];
    size_t n_racers = 0;
    int rc = 0;
    *chosen = NULL;
    bool one_resource = strchr(scan->request->prefix, '/') != NULL;
    for (size_t i = 0; one_resource && scan->request->terms && scan->request->terms[i]; i++) {
        const char *term = scan->request->terms[i];
        if (!index_is_indexed(term) || n_racers == MAX_RACERS)
            continue;
        racers[n_racers] = (struct scan){.store = scan->store, .txn = scan->txn, .request = scan->request};
        rc = scan_open(&racers[n_racers], term);
        if (rc != 0)
            break;
        n_racers++;
    }
    if (n_racers == 1)
        *chosen = racers[0].term;
    while (rc == 0 && n_racers > 0 && !*chosen)
        for (size_t i = 0; i < n_racers && rc == 0; i++) {
            MDB_val key, value;
            rc = scan_next(&racers[i], &key, &value);
            if (rc == MDB_NOTFOUND)
                *chosen = racers[i].term;
        }
    for (size_t i = 0; i < n_racers; i++)
        mdb_cursor_close(racers[i].cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Looks at one candidate of the walk. */
static int list_candidate(struct scan *scan, const MDB_val *key, const MDB_val *value, struct found *found)
{
    const struct store_list_request *request = scan->request;
    bool full = found_is_full(found, request);
    if (full && !request->match && !request_has_terms(request)) {
        found->more++;
        return 0;
    }
    uint64_t revision = 0;
    int rc = 0;
    if (scan->term)
        rc = disk_get_revision(scan->store, scan->txn, key->mv_data, key->mv_size, &revision);
    else if (value->mv_size == sizeof(revision))
        memcpy(&revision, value->mv_data, sizeof(revision));
    else
        rc = MDB_CORRUPTED;
    struct record record;
    if (rc == 0)
        rc = disk_get_record(scan->store, scan->txn, revision, &record);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
    for (size_t i = 0; request->terms && request->terms[i]; i++)
        if (!record_has_term(&record, request->terms[i]))
            return 0;
    if (full && !request->match) {
        found->more++;
        return 0;
    }
    struct store_object object;
    object_from_record(key->mv_data, key->mv_size, revision, &record, false, &object);
    if (request->match && !request->match(request->match_arg, &object)) {
        store_object_fini(&object);
        return 0;
    }
    if (full) {
        found->more++;
        store_object_fini(&object);
        return 0;
    }
    if (!request->keys_only)
        object.bytes = bytes_from(record.bytes, record.head.bytes_len);
    *found_add(found) = object;
    return 0;
}

static int list_disk(struct store_lmdb *store, MDB_txn *txn, const struct store_list_request *request,
                     struct found *found)
{
    struct scan scan = {.store = store, .txn = txn, .request = request};
    const char *term = NULL;
    int rc = scan_choose(&scan, &term);
    if (rc == 0)
        rc = scan_open(&scan, term);
    if (rc != 0)
        return rc;
    MDB_val key, value;
    while (rc == 0 && !found_is_done(found, request)) {
        rc = scan_next(&scan, &key, &value);
        if (rc == 0)
            rc = list_candidate(&scan, &key, &value, found);
    }
    mdb_cursor_close(scan.cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Revision of the newest record in this snapshot. */
static int disk_last_revision(struct store_lmdb *store, MDB_txn *txn, uint64_t *revision)
{
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    uint64_t swapped = 0;
    *revision = 0;
    int rc = mdb_cursor_open(txn, store->log, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc == 0 && key.mv_size == sizeof(swapped)) {
        memcpy(&swapped, key.mv_data, sizeof(swapped));
        *revision = revision_key(swapped);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* A transaction and the volatile objects of the same moment, which is *revision. */
static MDB_txn *list_snapshot(struct store_lmdb *store, const struct store_list_request *request,
                              struct found *memory, uint64_t *revision, struct err **err)
{
    for (;;) {
        uint64_t last = 0;
        pthread_rwlock_rdlock(&store->visible_lock);
        MDB_txn *txn = disk_read_begin(store, err);
        int rc = txn ? disk_last_revision(store, txn, &last) : 0;
        *revision = atomic_load(&store->visible);
        bool agree = txn && rc == 0 && last <= *revision;
        if (agree)
            list_memory(store, request, memory);
        pthread_rwlock_unlock(&store->visible_lock);
        if (agree || !txn)
            return txn;
        disk_read_end(store, txn);
        if (rc != 0) {
            disk_error(err, rc, "cannot read the log");
            return NULL;
        }
        read_wait_visible(store, last);
    }
}

static void list_move(struct store_list *list, struct found *from, size_t *at)
{
    list->objects[list->count++] = from->objects[*at];
    from->objects[(*at)++] = (struct store_object){0};
}

static void list_merge(const struct store_list_request *request, struct found *a, struct found *b,
                       struct store_list *list)
{
    size_t i = 0, j = 0, total = a->count + b->count;
    size_t wanted = request->limit && total > request->limit ? request->limit : total;
    if (wanted == 0 || b->count == 0) { /* the usual case: one source */
        list->objects = steal(&a->objects);
        list->count = a->count;
        a->count = 0;
    } else {
        list->objects = mem_array(wanted, sizeof(*list->objects));
        while (list->count < wanted) {
            bool first = j == b->count || (i < a->count && strcmp(a->objects[i].key, b->objects[j].key) < 0);
            list_move(list, first ? a : b, first ? &i : &j);
        }
    }
    list->remaining = a->more + b->more + (total - wanted);
    list->more = list->remaining > 0;
    if (request->match)
        list->remaining = 0;
}

static int list_unseal(struct store_lmdb *store, struct store_list *list, struct err **err)
{
    for (size_t i = 0; i < list->count; i++) {
        struct store_object *object = &list->objects[i];
        if (!object->bytes || !(object->flags & STORE_SEALED))
            continue;
        object->bytes = disk_clear_bytes(store, object->bytes, object->flags, err);
        if (!object->bytes)
            return err_wrap(err, "%s", object->key);
    }
    return 0;
}

int read_list(struct store *base, const struct store_list_request *request, struct store_list *list,
              struct err **err)
{
    struct store_lmdb *store = CONTAINER_OF(base, struct store_lmdb, base);
    struct found memory = {0}, disk = {0};
    *list = (struct store_list){0};
    MDB_txn *txn = list_snapshot(store, request, &memory, &list->revision, err);
    if (!txn)
        return -1;
    int rc = list_disk(store, txn, request, &disk);
    disk_read_end(store, txn);
    int result = rc == 0 ? 0 : disk_error(err, rc, "cannot list");
    if (result == 0) {
        list_merge(request, &disk, &memory, list);
        result = list_unseal(store, list, err);
    }
    found_fini(&disk);
    found_fini(&memory);
    if (result != 0)
        store_list_fini(list);
    return result;
}

/* ---- log ---- */

static struct store_event *event_from_record(const struct record *record, uint64_t revision)
{
    struct store_event *event = store_event_new(record->head.type, record->key, record->head.key_len);
    event->revision = revision;
    event->created_revision = record->head.created_revision;
    event->flags = record->head.flags;
    event->terms = record_terms(record);
    event->previous_terms = record_previous_terms(record, event->terms);
    event->bytes = bytes_from(record->bytes, record->head.bytes_len);
    return event;
}

static int log_collect(struct store_lmdb *store, MDB_txn *txn, uint64_t after, uint64_t until, size_t max,
                       struct store_event **events, size_t *count)
{
    MDB_cursor *cursor = NULL;
    uint64_t swapped = revision_key(after + 1);
    MDB_val key = {sizeof(swapped), &swapped}, value;
    int rc = mdb_cursor_open(txn, store->log, &cursor);
    if (rc != 0)
        return rc;
    for (MDB_cursor_op op = MDB_SET_RANGE; *count < max; op = MDB_NEXT) {
        struct record record;
        rc = mdb_cursor_get(cursor, &key, &value, op);
        if (rc == 0 && (key.mv_size != sizeof(swapped) || !record_parse(&value, &record)))
            rc = MDB_CORRUPTED;
        if (rc != 0)
            break;
        memcpy(&swapped, key.mv_data, sizeof(swapped));
        if (revision_key(swapped) > until)
            break;
        events[(*count)++] = event_from_record(&record, revision_key(swapped));
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int read_log(struct store *base, uint64_t after, size_t max, struct store_event **events, size_t *count,
             struct err **err)
{
    struct store_lmdb *store = CONTAINER_OF(base, struct store_lmdb, base);
    struct store_meta meta;
    *count = 0;
    uint64_t until = atomic_load(&store->visible); /* before the snapshot: all of it is in there */
    if (after > until)
        return err_set(err, ERR_GONE, "revision %llu is newer than the newest, %llu",
                       (unsigned long long)after, (unsigned long long)until);
    MDB_txn *txn = disk_read_begin(store, err);
    if (!txn)
        return -1;
    int rc = disk_get_meta(store, txn, &meta);
    bool gone = rc == 0 && after < meta.oldest;
    if (rc == 0 && !gone)
        rc = log_collect(store, txn, after, until, max, events, count);
    disk_read_end(store, txn);
    if (gone)
        return err_set(err, ERR_GONE, "too old resource version: %llu (%llu)", (unsigned long long)after,
                       (unsigned long long)meta.oldest);
    int result = rc == 0 ? 0 : disk_error(err, rc, "cannot read the log");
    for (size_t i = 0; i < *count && result == 0; i++) {
        events[i]->bytes = disk_clear_bytes(store, events[i]->bytes, events[i]->flags, err);
        if (!events[i]->bytes)
            result = err_wrap(err, "%s", events[i]->key);
    }
    for (size_t i = 0; i < *count && result != 0; i++)
        store_event_unref(events[i]);
    if (result != 0)
        *count = 0;
    return result;
}

static int former_record(struct store_lmdb *store, MDB_txn *txn, uint64_t revision, uint64_t *former,
                         struct record *record)
{
    uint64_t swapped = revision_key(revision);
    MDB_val key = {sizeof(swapped), &swapped}, value;
    int rc = mdb_get(txn, store->former, &key, &value);
    if (rc == 0 && value.mv_size != sizeof(*former))
        rc = MDB_CORRUPTED;
    if (rc != 0)
        return rc;
    memcpy(former, value.mv_data, sizeof(*former));
    rc = disk_get_record(store, txn, *former, record);
    return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
}

int read_former(struct store *base, uint64_t revision, struct store_object *object, struct err **err)
{
    struct store_lmdb *store = CONTAINER_OF(base, struct store_lmdb, base);
    MDB_txn *txn = disk_read_begin(store, err);
    if (!txn)
        return -1;
    struct record record;
    uint64_t former = 0;
    int rc = former_record(store, txn, revision, &former, &record);
    if (rc == 0)
        object_from_record(record.key, record.head.key_len, former, &record, true, object);
    disk_read_end(store, txn);
    if (rc == MDB_NOTFOUND)
        return err_set(err, ERR_NOT_FOUND, "nothing older than the log was replaced at %llu",
                       (unsigned long long)revision);
    if (rc != 0)
        return disk_error(err, rc, "cannot read the log");
    object->bytes = disk_clear_bytes(store, object->bytes, object->flags, err);
    if (object->bytes)
        return 0;
    store_object_fini(object);
    return -1;
}
