/* Archives of cp: whatever the size of the pieces in which they pass; archives that lie, lead outside, or
 * stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "cmd/minikubectl/tar.h"

struct fixture {
    char directory[32];
    char *tree, *out, *long_name;
    struct str archive;
};

static void write_file(const char *folder, const char *name, const char *text, size_t len)
{
    auto_free char *path = file_join(folder, name);
    assert_int_equal(file_write_atomic(path, text, len, 0640, NULL), 0);
}

static int setup(void **state)
{
    static char big[5000];
    struct fixture *f = NEW(struct fixture);
    strcpy(f->directory, "/tmp/minik8s-tar-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    f->tree = file_join(f->directory, "tree");
    f->out = file_join(f->directory, "out");
    f->long_name = mem_alloc(121);
    memset(f->long_name, 'd', 120);
    auto_free char *deep = file_join(f->tree, f->long_name);
    assert_int_equal(file_make_dirs(deep, 0755, NULL), 0);
    memset(big, 'x', sizeof(big));
    write_file(f->tree, "small", "small\n", 6);
    write_file(f->tree, "none", "", 0);
    write_file(deep, "big", big, sizeof(big));
    auto_err err = NULL;
    struct tar_writer *writer = tar_writer_new(f->tree, "tree", &err);
    assert_non_null(writer);
    char piece[700];
    for (ssize_t n; (n = tar_writer_read(writer, piece, sizeof(piece))) > 0;)
        str_add_n(&f->archive, piece, (size_t)n);
    assert_null(tar_writer_error(writer));
    tar_writer_free(writer);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int rc = file_remove_tree(f->directory, NULL);
    str_free(&f->archive);
    free(f->tree);
    free(f->out);
    free(f->long_name);
    free(f);
    return rc;
}

/* Feeds the first `len` bytes in pieces of that size. */
static enum err_code unpack(struct fixture *f, size_t len, size_t piece)
{
    auto_err err = NULL;
    struct tar_reader *reader = tar_reader_new("tree", f->out);
    for (size_t at = 0; at < len; at += piece)
        tar_reader_feed(reader, f->archive.data + at, len - at < piece ? len - at : piece);
    tar_reader_finish(reader, &err);
    tar_reader_free(reader);
    return err_code(err);
}

static void assert_file(const struct fixture *f, const char *folder, const char *name, size_t size)
{
    auto_free char *in = file_join(f->out, folder), *path = file_join(in, name);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void test_pieces(void **state)
{
    static const size_t pieces[] = {1, 7, 511, 512, 513, 1000, 4096, 65536};
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        assert_int_equal(unpack(f, f->archive.len, pieces[i]), ERR_NONE);
        assert_file(f, ".", "small", 6);
        assert_file(f, ".", "none", 0);
        assert_file(f, f->long_name, "big", 5000);
        assert_int_equal(file_remove_tree(f->out, NULL), 0);
    }
}

static void test_cut_off(void **state)
{
    struct fixture *f = *state;
    for (size_t len = 0; len + 1024 < f->archive.len; len += 300)
        assert_int_equal(unpack(f, len, 100), ERR_UNAVAILABLE);
}

static void test_no_archive(void **state)
{
    struct fixture *f = *state;
    f->archive.data[1] ^= 1; /* the checksum no longer fits */
    assert_int_equal(unpack(f, f->archive.len, 512), ERR_BAD_REQUEST);
    assert_false(file_exists(f->out));
}

/* The first entry under another name, with its checksum. */
static void rename_first(struct fixture *f, const char *name)
{
    char *header = f->archive.data;
    memset(header, 0, 100);
    memcpy(header, name, strlen(name));
    memset(header + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < 512; i++)
        sum += (unsigned char)header[i];
    auto_free char *text = mem_printf("%06o", sum);
    memcpy(header + 148, text, 7);
}

static void test_outside(void **state)
{
    static const char *const names[] = {"../evil", "tree/../../evil", "tree/..", ".."};
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        rename_first(f, names[i]);
        assert_int_equal(unpack(f, f->archive.len, 512), ERR_BAD_REQUEST);
    }
    rename_first(f, "/etc/other"); /* not below what was asked for: passed over */
    assert_int_equal(unpack(f, f->archive.len, 512), ERR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_archive, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outside, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
