/*
 * store_record: records as they lie on disk, and the index of terms.
 *
 * record_parse checks every length against the value, so that a damaged file gives an error and not a wild
 * read. Index keys begin with a hash because a label with its key can be longer than LMDB's 511 bytes; a
 * collision only adds a candidate that the terms of its record refute.
 */
#include <string.h>

#include "base/str.h"
#include "store/store_private.h"

size_t record_size(const struct record_head *head)
{
    return sizeof(*head) + head->key_len + head->terms_len + (size_t)head->previous_len + head->bytes_len;
}

/* Exactly `count` strings, each with its NUL. */
static bool text_holds(const char *text, size_t len, size_t count)
{
    const char *end = text + len;
    for (size_t i = 0; i < count; i++) {
        const char *nul = memchr(text, '\0', (size_t)(end - text));
        if (!nul)
            return false;
        text = nul + 1;
    }
    return text == end;
}

bool record_parse(const MDB_val *value, struct record *record)
{
    struct record_head *head = &record->head;
    if (value->mv_size < sizeof(*head))
        return false;
    memcpy(head, value->mv_data, sizeof(*head));
    if (record_size(head) != value->mv_size || head->type > STORE_DELETED || head->n_terms > STORE_MAX_TERMS)
        return false;
    record->key = (const char *)value->mv_data + sizeof(*head);
    record->terms = record->key + head->key_len;
    record->previous = record->terms + head->terms_len;
    record->bytes = record->previous + head->previous_len;
    size_t n_previous = head->n_previous >= RECORD_PREVIOUS_SAME ? 0 : head->n_previous;
    return text_holds(record->terms, head->terms_len, head->n_terms) &&
           text_holds(record->previous, head->previous_len, n_previous);
}

struct store_terms *record_terms(const struct record *record)
{
    return store_terms_from_text(record->head.schema_version, record->head.n_terms, record->terms,
                                 record->head.terms_len);
}

struct store_terms *record_previous_terms(const struct record *record, struct store_terms *terms)
{
    const struct record_head *head = &record->head;
    if (head->n_previous == RECORD_PREVIOUS_NONE)
        return NULL;
    if (head->n_previous == RECORD_PREVIOUS_SAME)
        return store_terms_ref(terms);
    return store_terms_from_text(head->previous_schema_version, head->n_previous, record->previous,
                                 head->previous_len);
}

bool record_has_term(const struct record *record, const char *term)
{
    const char *text = record->terms;
    size_t len = strlen(term) + 1;
    for (size_t i = 0; i < record->head.n_terms; i++) {
        size_t this = strlen(text) + 1;
        if (this == len && memcmp(text, term, len) == 0)
            return true;
        text += this;
    }
    return false;
}

int disk_get_revision(struct store_lmdb *store, MDB_txn *txn, const char *key, size_t key_len,
                      uint64_t *revision)
{
    MDB_val at = {key_len, (void *)key}, value;
    if (key_len == 0 || key_len > STORE_MAX_KEY)
        return MDB_NOTFOUND;
    int rc = mdb_get(txn, store->objects, &at, &value);
    if (rc != 0)
        return rc;
    if (value.mv_size != sizeof(*revision))
        return MDB_CORRUPTED;
    memcpy(revision, value.mv_data, sizeof(*revision));
    return 0;
}

int disk_get_record(struct store_lmdb *store, MDB_txn *txn, uint64_t revision, struct record *record)
{
    uint64_t swapped = revision_key(revision);
    MDB_val at = {sizeof(swapped), &swapped}, value;
    int rc = mdb_get(txn, store->log, &at, &value);
    if (rc == 0 && !record_parse(&value, record))
        rc = MDB_CORRUPTED;
    return rc;
}

bool index_is_indexed(const char *term)
{
    return term[0] != 'F' && term[0] != 'u' && term[0] != 'd';
}

uint64_t index_hash(const char *key, const char *term)
{
    const char *slash = strchrnul(key, '/');
    uint64_t resource = str_hash(key, (size_t)(slash - key));
    return __builtin_bswap64(str_hash(term, strlen(term)) ^ (resource * 0x9e3779b97f4a7c15u));
}

static int index_one(struct store_lmdb *store, MDB_txn *txn, const char *key, const char *term, bool add)
{
    if (!index_is_indexed(term))
        return 0;
    char text[sizeof(uint64_t) + STORE_MAX_KEY];
    uint64_t hash = index_hash(key, term);
    size_t len = strlen(key);
    memcpy(text, &hash, sizeof(hash));
    memcpy(text + sizeof(hash), key, len);
    MDB_val at = {sizeof(hash) + len, text}, nothing = {0, ""};
    if (add)
        return mdb_put(txn, store->index, &at, &nothing, 0);
    int rc = mdb_del(txn, store->index, &at, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc; /* two terms of one object with the same hash */
}

/* Both lists are sorted: only the differences are touched; removals first (see index_one). */
int index_change(struct store_lmdb *store, MDB_txn *txn, const char *key, const struct store_terms *from,
                 const struct store_terms *to)
{
    int rc = 0;
    for (size_t i = 0; from && rc == 0 && i < from->count; i++)
        if (!store_terms_has(to, from->at[i]))
            rc = index_one(store, txn, key, from->at[i], false);
    for (size_t i = 0; to && rc == 0 && i < to->count; i++)
        if (!store_terms_has(from, to->at[i]))
            rc = index_one(store, txn, key, to->at[i], true);
    return rc;
}
