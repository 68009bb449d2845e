/* A folder as blobs and back; what comes in may be hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/map.h"
#include "client/fileset.h"

#define MAX (INT64_C(64) << 20)

struct blob {
    char *data;
    size_t len;
};

static struct map blobs; /* digest → struct blob */
static char folder[] = "/tmp/m8-fileset-XXXXXX";

static char *in(const char *name)
{
    return file_join(folder, name);
}

static void free_blob(void *value)
{
    struct blob *blob = value;
    free(blob->data);
    free(blob);
}

static int put(void *arg, const char *digest, const void *data, size_t len, struct err **err)
{
    (void)arg;
    (void)err;
    struct blob *blob = NEW(struct blob);
    blob->data = mem_alloc(len + 1);
    memcpy(blob->data, data, len);
    blob->len = len;
    map_set(&blobs, digest, blob);
    return 0;
}

static int get(void *arg, const char *digest, char **data, size_t *len, struct err **err)
{
    (void)arg;
    const struct blob *blob = map_get(&blobs, digest);
    if (!blob)
        return err_set(err, ERR_NOT_FOUND, "no blob %s", digest);
    *data = mem_copy(blob->data, blob->len + 1);
    *len = blob->len;
    return 0;
}

static const struct fileset_place place = {put, get, NULL};

static void write_file(const char *name, const void *data, size_t len, mode_t mode)
{
    auto_free char *path = in(name);
    auto_free char *parent = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
    assert_int_equal(file_make_dirs(parent, 0700, NULL), 0);
    assert_int_equal(file_write_atomic(path, data, len, mode, NULL), 0);
}

static void a_folder_comes_back(void **state)
{
    (void)state;
    size_t len = 3 * FILESET_PIECE + 7;
    auto_free char *large = mem_alloc(len);
    for (size_t i = 0; i < len; i++)
        large[i] = (char)(i * 31 >> 3);
    write_file("from/a/b.bin", large, len, 0600);
    write_file("from/run.sh", "#!/bin/sh\n", 10, 0755);
    write_file("from/empty", "", 0, 0644);
    auto_free char *from = in("from"), *to = in("to"), *link = in("from/link");
    assert_int_equal(symlink("/etc/shadow", link), 0);
    struct fileset_sum sum, told, back;
    struct err *err = NULL;
    const struct fileset_place nowhere = {0};
    assert_int_equal(fileset_send(from, MAX, &nowhere, &told, &err), 0);
    assert_int_equal(fileset_send(from, MAX, &place, &sum, &err), 0);
    assert_string_equal(sum.digest, told.digest);
    assert_int_equal(sum.files, 3);
    assert_int_equal(fileset_receive(sum.digest, &place, to, &back, &err), 0);
    assert_int_equal(back.bytes, (int64_t)len + 10);
    auto_free char *path = in("to/a/b.bin"), *script = in("to/run.sh"), *lost = in("to/link"), *data = NULL;
    size_t n = 0;
    assert_int_equal(file_read(path, 8 << 20, &data, &n, &err), 0);
    assert_true(n == len && memcmp(data, large, len) == 0);
    struct stat status;
    assert_int_equal(stat(script, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0755);
    assert_false(file_exists(lost));
    assert_int_equal(fileset_send(from, 100, &nowhere, &told, &err), -1);
    assert_int_equal(err_code(err), ERR_TOO_LARGE);
    err_free(err);
}

/* Its digest is right: what is wrong stands in it. */
static enum err_code receive_list(const char *text)
{
    struct fileset_sum sum;
    auto_err err = NULL;
    auto_free char *to = in("hostile"), *from = in("lists");
    assert_int_equal(file_remove_tree(from, NULL), 0);
    write_file("lists/list", text, strlen(text), 0600);
    assert_int_equal(fileset_send(from, MAX, &place, &sum, NULL), 0);
    auto_json list = json_parse_trusted(((struct blob *)map_get(&blobs, sum.digest))->data,
                                        ((struct blob *)map_get(&blobs, sum.digest))->len);
    const char *digest = json_string(list, "files[0].pieces[0]"); /* the bytes of our list, as a blob */
    return fileset_receive(digest, &place, to, &sum, &err) < 0 ? err_code(err) : ERR_NONE;
}

static void names_do_not_lead_out(void **state)
{
    (void)state;
    const char *const names[] = {"../x", "/etc/x", "a/../../x", "..", "", "a/"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        auto_free char *list = mem_printf("{\"files\":[{\"path\":\"%s\",\"pieces\":[]}]}", names[i]);
        if (receive_list(list) != ERR_INVALID)
            fail_msg("\"%s\" is taken", names[i]);
    }
    assert_int_equal(receive_list("{\"files\":[{\"path\":\"x\",\"pieces\":[\"short\"]}]}"), ERR_INVALID);
    assert_int_equal(receive_list("{\"files\":[{\"path\":\"x\",\"pieces\":[7]}]}"), ERR_INVALID);
    assert_int_equal(receive_list("no list"), ERR_BAD_REQUEST);
}

static int setup(void **state)
{
    (void)state;
    json_init();
    if (!mkdtemp(folder))
        return -1;
    map_init(&blobs, free_blob);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    map_fini(&blobs);
    return file_remove_tree(folder, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_comes_back),
        cmocka_unit_test(names_do_not_lead_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
