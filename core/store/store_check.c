/* store_check: what there is before a write, and whether the write may happen. Changes nothing. */
#include <string.h>

#include "base/log.h"
#include "store/store_group.h"

bool group_ready(struct group *group)
{
    if (group->rc == 0 && !group->txn)
        group->rc = mdb_txn_begin(group->store->env, NULL, 0, &group->txn);
    return group->rc == 0;
}

static void current_from_event(const struct store_event *event, size_t revision_at, struct current *current)
{
    *current = (struct current){.exists = event->type != STORE_DELETED,
                                .revision = event->revision,
                                .created_revision = event->created_revision,
                                .flags = event->flags,
                                .revision_at = revision_at};
    if (current->exists) {
        current->terms = store_terms_ref(event->terms);
        current->bytes = bytes_ref(event->bytes);
    } else {
        current->revision = 0;
    }
}

void current_fini(struct current *current)
{
    store_terms_unref(current->terms);
    bytes_unref(current->bytes);
}

void current_volatile(struct group *group, const char *key, struct current *current)
{
    struct pending *pending = map_get(&group->pending, key);
    if (pending) {
        current_from_event(pending->event, pending->revision_at, current);
        return;
    }
    struct memory_object *object = memory_find(&group->store->memory, key);
    if (!object)
        return;
    *current = (struct current){.exists = true,
                                .revision = object->revision,
                                .created_revision = object->created_revision,
                                .flags = object->flags,
                                .revision_at = object->revision_at,
                                .terms = store_terms_ref(object->terms),
                                .bytes = bytes_ref(object->bytes)};
}

/* False: group->rc is set, or the bytes cannot be unsealed (*code). */
bool current_durable(struct group *group, const struct store_write *write, struct current *current,
                     enum err_code *code)
{
    struct record record;
    uint64_t revision = 0;
    int rc = disk_get_revision(group->store, group->txn, write->key, strlen(write->key), &revision);
    if (rc == MDB_NOTFOUND)
        return true;
    if (rc == 0)
        rc = disk_get_record(group->store, group->txn, revision, &record);
    if (rc != 0) {
        group->rc = rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
        return false;
    }
    *current = (struct current){.exists = true,
                                .revision = revision,
                                .created_revision = record.head.created_revision,
                                .flags = record.head.flags,
                                .revision_at = record.head.revision_at,
                                .size = record_size(&record.head),
                                .terms = record_terms(&record)};
    if (write->verb != STORE_DELETE || write->data)
        return true;
    auto_err error = NULL;
    current->bytes = disk_clear_bytes(group->store, bytes_from(record.bytes, record.head.bytes_len),
                                      record.head.flags, &error);
    if (!current->bytes) {
        log_error("store", "%s: %s", write->key, err_message(error));
        *code = err_code(error);
    }
    return current->bytes != NULL;
}

enum err_code write_precondition(const struct store_write *write, const struct current *current)
{
    if (!current->exists && (write->verb == STORE_DELETE || write->expect_uid ||
                             (write->expect != STORE_ANY && write->expect != STORE_ABSENT)))
        return ERR_NOT_FOUND;
    if (current->exists && write->expect == STORE_ABSENT)
        return ERR_ALREADY_EXISTS;
    if (write->expect_uid) {
        const char *uid = store_terms_get(current->terms, "u:=");
        if (!uid || strcmp(uid, write->expect_uid) != 0)
            return ERR_CONFLICT;
    }
    if (write->expect != STORE_ANY && write->expect != STORE_ABSENT && write->expect != STORE_PRESENT &&
        write->expect != current->revision)
        return ERR_CONFLICT;
    return ERR_NONE;
}

/* The terms of the object as it is at this place of the group, or NULL: it is not there, or group->rc is set.
 */
static struct store_terms *terms_now(struct group *group, const char *key)
{
    struct pending *pending = map_get(&group->pending, key);
    if (pending)
        return pending->event->type == STORE_DELETED ? NULL : store_terms_ref(pending->event->terms);
    struct memory_object *object = memory_find(&group->store->memory, key);
    if (object)
        return store_terms_ref(object->terms);
    struct record record;
    uint64_t revision = 0;
    if (!group_ready(group))
        return NULL;
    int rc = disk_get_revision(group->store, group->txn, key, strlen(key), &revision);
    if (rc == MDB_NOTFOUND)
        return NULL;
    if (rc == 0)
        rc = disk_get_record(group->store, group->txn, revision, &record);
    if (rc != 0) {
        group->rc = rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
        return NULL;
    }
    return record_terms(&record);
}

static bool guard_holds(struct group *group, const struct store_guard *guard)
{
    struct store_terms *terms = terms_now(group, guard->key);
    bool holds = terms && (!guard->has || store_terms_has(terms, guard->has)) &&
                 (!guard->lacks || !store_terms_has(terms, guard->lacks));
    store_terms_unref(terms);
    return holds;
}

enum err_code write_guards(struct group *group, struct store_write *write)
{
    write->failed = NULL;
    for (size_t i = 0; i < write->n_guards && !write->failed; i++) {
        if (!guard_holds(group, &write->guards[i]))
            write->failed = &write->guards[i];
    }
    return group->rc != 0 ? ERR_IO : write->failed ? ERR_CONFLICT : ERR_NONE;
}

enum err_code write_check(const struct store_lmdb *store, const struct store_write *write)
{
    if (write->len > STORE_MAX_OBJECT || strlen(write->key) > STORE_MAX_KEY)
        return ERR_TOO_LARGE;
    if (write->key[0] == '\0' || (write->data && write->revision_at > write->len))
        return ERR_BAD_REQUEST;
    if (write->verb == STORE_PUT && !write->terms)
        return ERR_TOO_LARGE;
    if (write->verb == STORE_PUT && !write->data)
        return ERR_BAD_REQUEST;
    if ((write->flags & STORE_SEALED) && !store->seal.seal)
        return ERR_INTERNAL;
    return ERR_NONE;
}

bool write_is_volatile(struct group *group, const struct store_write *write)
{
    if (write->flags & STORE_VOLATILE)
        return true;
    if (write->verb == STORE_PUT)
        return false;
    struct pending *pending = map_get(&group->pending, write->key);
    return pending ? pending->event->type != STORE_DELETED
                   : memory_find(&group->store->memory, write->key) != NULL;
}
