/* Blobs: kept by digest, counted, gone with their owner; found again after a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "store/blobs.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_counted_dropped),
        cmocka_unit_test(hostile_names_and_damage),
    };
    if (!mkdtemp(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    file_remove_tree(folder, NULL);
    return failed;
}
