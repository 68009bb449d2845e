/*
 * store_compact: shortens the log, a few records with each commit, so that an idle store does nothing.
 *
 * A record that leaves the log goes if it is no more the present state of its key; else it stays where it is,
 * also as the former state when it is replaced (store_commit.c), and goes when the event that has replaced it
 * leaves the log. So each record is looked at once or twice. Invariant:
 * meta.log_events and log_bytes count the records above meta.oldest.
 */
#include <string.h>

#include "store/store_private.h"

/* What the event of that revision had replaced is wanted no more. */
static int drop_former(struct store_lmdb *store, MDB_txn *txn, uint64_t revision)
{
    uint64_t swapped = revision_key(revision), former = 0;
    MDB_val key = {sizeof(swapped), &swapped}, value;
    int rc = mdb_get(txn, store->former, &key, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    if (value.mv_size != sizeof(former))
        return MDB_CORRUPTED;
    memcpy(&former, value.mv_data, sizeof(former));
    rc = mdb_del(txn, store->former, &key, NULL);
    swapped = revision_key(former);
    return rc == 0 ? mdb_del(txn, store->log, &key, NULL) : rc;
}

static int compact_one(struct store_lmdb *store, MDB_cursor *cursor, struct store_meta *meta)
{
    uint64_t swapped = revision_key(meta->oldest + 1), present = 0;
    MDB_val key = {sizeof(swapped), &swapped}, value;
    struct record record;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (rc != 0)
        return rc;
    if (key.mv_size != sizeof(swapped) || !record_parse(&value, &record))
        return MDB_CORRUPTED;
    memcpy(&swapped, key.mv_data, sizeof(swapped));
    uint64_t revision = revision_key(swapped);
    size_t size = record_size(&record.head);
    rc = disk_get_revision(store, mdb_cursor_txn(cursor), record.key, record.head.key_len, &present);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    if (rc == MDB_NOTFOUND || present != revision) {
        rc = mdb_cursor_del(cursor, 0);
        if (rc != 0)
            return rc;
    }
    meta->oldest = revision;
    meta->log_events--;
    meta->log_bytes -= size;
    return drop_former(store, mdb_cursor_txn(cursor), revision);
}

int compact_some(struct store_lmdb *store, MDB_txn *txn, struct store_meta *meta, size_t budget)
{
    MDB_cursor *cursor = NULL;
    int rc = 0;
    while (rc == 0 && budget-- > 0 && meta->log_events > 0 &&
           (meta->log_events > store->log_keep_events || meta->log_bytes > store->log_keep_bytes)) {
        if (!cursor)
            rc = mdb_cursor_open(txn, store->log, &cursor);
        if (rc == 0)
            rc = compact_one(store, cursor, meta);
    }
    if (cursor)
        mdb_cursor_close(cursor);
    return rc;
}
