#include "store/blobs.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"

struct owner {
    int64_t bytes;
};

struct blobs {
    char *directory;
    int64_t max_total;
    pthread_mutex_t lock; /* over writing, dropping and the counts */
    int64_t total;
    struct map owners; /* uid → struct owner */
    unsigned holds;
    struct map dropped; /* uids whose files go when nobody holds them any more */
};

void blob_digest(const void *data, size_t len, char digest[BLOB_DIGEST])
{
    unsigned char hash[32];
    must(gnutls_hash_fast(GNUTLS_DIG_SHA256, data, len, hash) == 0);
    for (size_t i = 0; i < sizeof hash; i++)
        snprintf(digest + 2 * i, 3, "%02x", hash[i]);
}

/* Neither may lead out of the folder. */
static bool is_name(const char *text)
{
    size_t len = strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz-");
    return len && !text[len] && len < 128;
}

static int64_t size_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? (int64_t)status.st_size : -1;
}

static struct owner *owner_of(struct blobs *blobs, const char *uid)
{
    struct owner *owner = map_get(&blobs->owners, uid);
    if (!owner) {
        owner = NEW(struct owner);
        map_set(&blobs->owners, uid, owner);
    }
    return owner;
}

static void count_owner(struct blobs *blobs, const char *uid)
{
    auto_free char *folder = file_join(blobs->directory, uid);
    auto_free char **names = file_list(folder, NULL, NULL);
    struct owner *owner = owner_of(blobs, uid);
    for (char **name = names; name && *name; name++) {
        auto_free char *path = file_join(folder, *name);
        int64_t size = size_of(path);
        owner->bytes += size > 0 ? size : 0;
    }
    blobs->total += owner->bytes;
}

struct blobs *blobs_open(const char *directory, int64_t max_total, struct err **err)
{
    if (file_make_dirs(directory, 0700, err) < 0)
        return NULL;
    auto_free char **names = file_list(directory, NULL, err);
    if (!names)
        return NULL;
    struct blobs *blobs = NEW(struct blobs);
    blobs->directory = mem_strdup(directory);
    blobs->max_total = max_total;
    pthread_mutex_init(&blobs->lock, NULL);
    map_init(&blobs->owners, free);
    for (char **name = names; *name; name++)
        count_owner(blobs, *name);
    return blobs;
}

void blobs_close(struct blobs *blobs)
{
    if (!blobs)
        return;
    map_fini(&blobs->owners);
    map_fini(&blobs->dropped);
    pthread_mutex_destroy(&blobs->lock);
    free(blobs->directory);
    free(blobs);
}

static int check(const char *digest, const void *data, size_t len, struct err **err)
{
    char real[BLOB_DIGEST];
    if (len > BLOB_MAX)
        return err_set(err, ERR_TOO_LARGE, "a blob may have at most %u bytes, not %zu", BLOB_MAX, len);
    blob_digest(data, len, real);
    if (strcmp(real, digest) != 0)
        return err_set(err, ERR_INVALID, "the bytes have the digest %s, not %s", real, digest);
    return 0;
}

static int put_locked(struct blobs *blobs, const char *uid, const char *path, const void *data, size_t len,
                      int64_t max_owner, struct err **err)
{
    struct owner *owner = owner_of(blobs, uid);
    if (size_of(path) >= 0)
        return 0;
    if (owner->bytes + (int64_t)len > max_owner)
        return err_set(err, ERR_TOO_LARGE, "all blobs of the object would have more than %lld bytes",
                       (long long)max_owner);
    if (blobs->total + (int64_t)len > blobs->max_total)
        return err_set(err, ERR_TOO_LARGE, "the server keeps at most %lld bytes of blobs",
                       (long long)blobs->max_total);
    auto_free char *folder = file_join(blobs->directory, uid);
    bool fresh = !file_exists(folder);
    if (file_make_dirs(folder, 0700, err) < 0 || (fresh && file_sync_directory(blobs->directory, err) < 0) ||
        file_write_durable(path, data, len, 0600, err) < 0)
        return -1;
    owner->bytes += (int64_t)len;
    blobs->total += (int64_t)len;
    return 0;
}

int blobs_put(struct blobs *blobs, const char *uid, const char *digest, const void *data, size_t len,
              int64_t max_owner, struct err **err)
{
    if (!is_name(uid) || check(digest, data, len, err) < 0)
        return is_name(uid) ? -1 : err_set(err, ERR_INVALID, "not an owner");
    auto_free char *folder = file_join(blobs->directory, uid), *path = file_join(folder, digest);
    pthread_mutex_lock(&blobs->lock);
    int result = put_locked(blobs, uid, path, data, len, max_owner, err);
    pthread_mutex_unlock(&blobs->lock);
    return result;
}

struct bytes *blobs_get(struct blobs *blobs, const char *uid, const char *digest, struct err **err)
{
    auto_free char *folder = file_join(blobs->directory, uid), *path = file_join(folder, digest),
                   *data = NULL;
    char real[BLOB_DIGEST];
    size_t len = 0;
    if (!is_name(uid) || !is_name(digest) || !file_exists(path)) {
        err_set(err, ERR_NOT_FOUND, "there is no blob %s", digest);
        return NULL;
    }
    if (file_read(path, BLOB_MAX, &data, &len, err) < 0)
        return NULL;
    blob_digest(data, len, real);
    if (strcmp(real, digest) != 0) {
        err_set(err, ERR_IO, "the blob %s is damaged", digest);
        return NULL;
    }
    return bytes_from(data, len);
}

static void remove_files(struct blobs *blobs, const char *uid)
{
    auto_err error = NULL;
    auto_free char *folder = file_join(blobs->directory, uid);
    if (file_remove_tree(folder, &error) < 0)
        log_warn("store", "blobs of %s: %s", uid, err_message(error));
}

void blobs_drop(struct blobs *blobs, const char *uid)
{
    if (!is_name(uid))
        return;
    pthread_mutex_lock(&blobs->lock);
    struct owner *owner = map_get(&blobs->owners, uid);
    if (owner) {
        blobs->total -= owner->bytes;
        map_remove(&blobs->owners, uid);
        if (blobs->holds)
            map_set(&blobs->dropped, uid, blobs);
        else
            remove_files(blobs, uid);
    }
    pthread_mutex_unlock(&blobs->lock);
}

void blobs_hold(struct blobs *blobs)
{
    pthread_mutex_lock(&blobs->lock);
    blobs->holds++;
    pthread_mutex_unlock(&blobs->lock);
}

void blobs_release(struct blobs *blobs)
{
    pthread_mutex_lock(&blobs->lock);
    if (--blobs->holds == 0) {
        map_each (entry, &blobs->dropped)
            remove_files(blobs, entry->key);
        map_fini(&blobs->dropped);
    }
    pthread_mutex_unlock(&blobs->lock);
}

/* A blob never changes: on the same file system another name for it is a copy. */
static int copy_blob(struct blobs *blobs, const char *uid, const char *digest, const char *into,
                     struct err **err)
{
    auto_free char *to = file_join(into, digest), *folder = file_join(blobs->directory, uid),
                   *from = file_join(folder, digest);
    if (link(from, to) == 0)
        return 0;
    auto_bytes bytes = blobs_get(blobs, uid, digest, err);
    return bytes ? file_write_durable(to, bytes->data, bytes->len, 0600, err) : -1;
}

static int copy_owner(struct blobs *blobs, const char *uid, const char *directory, struct err **err)
{
    auto_free char *folder = file_join(blobs->directory, uid), *into = file_join(directory, uid);
    auto_free char **names = file_list(folder, NULL, err);
    if (!names || file_make_dirs(into, 0700, err) < 0)
        return -1;
    for (char **name = names; *name; name++) /* the name of one that is just being written is no digest */
        if (is_name(*name) && strlen(*name) == BLOB_DIGEST - 1 && copy_blob(blobs, uid, *name, into, err) < 0)
            return -1;
    return file_sync_directory(into, err);
}

int blobs_copy(struct blobs *blobs, const char *directory, struct err **err)
{
    auto_free char **names = file_list(blobs->directory, NULL, err);
    if (!names || file_make_dirs(directory, 0700, err) < 0)
        return -1;
    for (char **name = names; *name; name++)
        if (is_name(*name) && copy_owner(blobs, *name, directory, err) < 0)
            return -1;
    return file_sync_directory(directory, err);
}

void blobs_sweep(struct blobs *blobs, bool (*keep)(void *arg, const char *owner), void *arg)
{
    auto_free char **names = file_list(blobs->directory, NULL, NULL);
    for (char **name = names; name && *name; name++)
        if (!keep(arg, *name))
            blobs_drop(blobs, *name);
}
