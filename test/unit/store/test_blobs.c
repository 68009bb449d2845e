/* Blobs: kept by digest, counted, gone with their owner; found again after a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "store/backup.h"
#include "store/store_lmdb.h"

static char folder[] = "/tmp/m8-blobs-XXXXXX";

static enum err_code put(struct blobs *blobs, const char *owner, const char *text, int64_t max,
                         char digest[BLOB_DIGEST])
{
    auto_err err = NULL;
    blob_digest(text, strlen(text), digest);
    return blobs_put(blobs, owner, digest, text, strlen(text), max, &err) < 0 ? err_code(err) : ERR_NONE;
}

static bool has(struct blobs *blobs, const char *owner, const char *digest, const char *text)
{
    auto_bytes bytes = blobs_get(blobs, owner, digest, NULL);
    return bytes && bytes->len == strlen(text) && memcmp(bytes->data, text, bytes->len) == 0;
}

static bool keep_b(void *arg, const char *owner)
{
    (void)arg;
    return strcmp(owner, "b") == 0;
}

static void kept_counted_dropped(void **state)
{
    (void)state;
    char first[BLOB_DIGEST], second[BLOB_DIGEST], third[BLOB_DIGEST];
    struct blobs *blobs = blobs_open(folder, 20, NULL);
    assert_int_equal(put(blobs, "a", "0123456789", 15, first), ERR_NONE);
    assert_string_equal(first, "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882");
    assert_int_equal(put(blobs, "a", "0123456789", 15, first), ERR_NONE); /* again: it is there */
    assert_int_equal(put(blobs, "a", "another", 15, second), ERR_TOO_LARGE);
    assert_int_equal(put(blobs, "b", "0123456789", 15, first), ERR_NONE);
    assert_int_equal(put(blobs, "b", "x", 15, third), ERR_TOO_LARGE); /* all together */
    assert_true(has(blobs, "a", first, "0123456789"));
    assert_false(has(blobs, "c", first, "0123456789"));
    blobs_close(blobs);
    blobs = blobs_open(folder, 20, NULL);
    assert_int_equal(put(blobs, "b", "x", 15, third), ERR_TOO_LARGE); /* counted after a restart */
    blobs_drop(blobs, "a");
    assert_false(has(blobs, "a", first, "0123456789"));
    assert_int_equal(put(blobs, "b", "x", 15, third), ERR_NONE);
    assert_int_equal(put(blobs, "a", "y", 15, third), ERR_NONE);
    blobs_sweep(blobs, keep_b, NULL);
    assert_true(has(blobs, "b", first, "0123456789"));
    assert_false(has(blobs, "a", third, "y"));
    blobs_close(blobs);
}

static void hostile_names_and_damage(void **state)
{
    (void)state;
    char digest[BLOB_DIGEST];
    struct blobs *blobs = blobs_open(folder, 1000, NULL);
    assert_int_equal(put(blobs, "../x", "text", 100, digest), ERR_INVALID);
    assert_int_equal(put(blobs, "", "text", 100, digest), ERR_INVALID);
    auto_err err = NULL;
    assert_int_equal(blobs_put(blobs, "c", digest, "other", 5, 100, &err), -1);
    assert_int_equal(err_code(err), ERR_INVALID);
    assert_null(blobs_get(blobs, "c", "../../etc/passwd", NULL));
    assert_int_equal(put(blobs, "c", "text", 100, digest), ERR_NONE);
    auto_free char *path = mem_printf("%s/c/%s", folder, digest);
    assert_int_equal(file_write_atomic(path, "tex_", 4, 0600, NULL), 0);
    auto_err damaged = NULL;
    assert_null(blobs_get(blobs, "c", digest, &damaged));
    assert_int_equal(err_code(damaged), ERR_IO);
    blobs_close(blobs);
}

static struct blobs *backed_up;

/* A store whose own copy is just made when the owner goes: the blobs of the object in the copy must stay. */
static int backup_and_drop(struct store *store, const char *path, struct err **err)
{
    (void)store;
    blobs_drop(backed_up, "d");
    return file_write_durable(path, "objects", 7, 0600, err);
}

static int backup_fails(struct store *store, const char *path, struct err **err)
{
    (void)store;
    return err_set(err, ERR_IO, "%s: the disk is full", path);
}

static void a_backup_has_the_blobs_of_its_objects(void **state)
{
    (void)state;
    char digest[BLOB_DIGEST];
    auto_free char *server = mem_printf("%s-server", folder), *copy = mem_printf("%s-copy", folder),
                   *inner = file_join(copy, "blobs"), *store_file = file_join(copy, "store/store.mdb"),
                   *part = mem_printf("%s.part", copy), *half = file_join(server, "d/.half");
    struct blobs *blobs = backed_up = blobs_open(server, 1000, NULL);
    assert_int_equal(put(blobs, "d", "kept", 100, digest), ERR_NONE);
    assert_int_equal(file_write_atomic(half, "half", 4, 0600, NULL), 0); /* of a put under way */
    const struct store_ops ops = {.backup = backup_and_drop}, full = {.backup = backup_fails};
    struct store store = {.ops = &full};
    auto_err io = NULL;
    auto_err there = NULL;
    assert_int_equal(store_backup(&store, blobs, copy, &io), -1);
    assert_int_equal(err_code(io), ERR_IO);
    assert_false(file_exists(copy));
    assert_false(file_exists(part));
    store.ops = &ops;
    assert_int_equal(file_make_dirs(part, 0700, NULL), 0); /* what a killed one has left */
    assert_int_equal(store_backup(&store, blobs, copy, NULL), 0);
    assert_false(has(blobs, "d", digest, "kept"));
    assert_int_equal(store_backup(&store, blobs, copy, &there), -1);
    assert_int_equal(err_code(there), ERR_ALREADY_EXISTS);
    blobs_close(blobs);
    assert_true(file_exists(store_file));
    blobs = blobs_open(inner, 1000, NULL);
    assert_true(has(blobs, "d", digest, "kept"));
    blobs_close(blobs);
    auto_free char *other = file_join(inner, "d/.half");
    assert_false(file_exists(other));
    file_remove_tree(server, NULL);
    file_remove_tree(copy, NULL);
}

/* The same with a real store: what is started from the folder has both. */
static void a_server_starts_from_it(void **state)
{
    (void)state;
    auto_free char *server = mem_printf("%s-live", folder), *copy = mem_printf("%s-restored", folder),
                   *from = file_join(server, "store"), *to = file_join(copy, "store"),
                   *bytes = file_join(server, "blobs"), *restored = file_join(copy, "blobs");
    char digest[BLOB_DIGEST];
    struct store_lmdb_options options = {.directory = from, .map_bytes = 16u << 20};
    struct store *store = store_lmdb_open(&options, NULL);
    struct blobs *blobs = blobs_open(bytes, 1000, NULL);
    assert_non_null(store);
    assert_int_equal(put(blobs, "a", "results", 100, digest), ERR_NONE);
    auto_free char *id = mem_strdup(store->ops->cluster_id(store));
    assert_int_equal(store_backup(store, blobs, copy, NULL), 0);
    store->ops->close(store);
    blobs_close(blobs);
    options.directory = to;
    store = store_lmdb_open(&options, NULL);
    blobs = blobs_open(restored, 1000, NULL);
    assert_non_null(store);
    assert_string_equal(store->ops->cluster_id(store), id);
    assert_true(has(blobs, "a", digest, "results"));
    store->ops->close(store);
    blobs_close(blobs);
    file_remove_tree(server, NULL);
    file_remove_tree(copy, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_counted_dropped),
        cmocka_unit_test(hostile_names_and_damage),
        cmocka_unit_test(a_backup_has_the_blobs_of_its_objects),
        cmocka_unit_test(a_server_starts_from_it),
    };
    if (!mkdtemp(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    file_remove_tree(folder, NULL);
    return failed;
}
