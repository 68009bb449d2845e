/* Archives for cp: see tar.h. The reader trusts nothing: names are checked, links are not followed. */
#include "tar.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

#define BLOCK 512
#define NAME_MAX_LEN 100
#define EXTRA_MAX 65536 /* of a long name or a pax header */
#define DEPTH_MAX 100

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6],
        version[2], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is a block");

static unsigned checksum_of(const struct header *header)
{
    const unsigned char *bytes = (const unsigned char *)header;
    unsigned sum = 0;
    for (size_t i = 0; i < BLOCK; i++)
        sum += i >= offsetof(struct header, checksum) && i < offsetof(struct header, type) ? ' ' : bytes[i];
    return sum;
}

/* ---- writing ---- */

struct entry {
    char *path, *name;
};

struct tar_writer {
    struct entry *entries;
    size_t count, next;
    struct str head; /* blocks that go out before the file's bytes */
    size_t head_at;
    int fd;
    off_t left; /* of the file */
    size_t padding;
    bool ended;
    struct err *err;
};

static int collect(struct tar_writer *w, const char *path, const char *name, unsigned depth, struct err **err)
{
    struct stat st;
    if (depth > DEPTH_MAX)
        return err_set(err, ERR_BAD_REQUEST, "%s: folders are nested too deeply", path);
    if (lstat(path, &st) < 0)
        return err_errno(err, errno, "%s", path);
    w->entries = mem_resize(w->entries, w->count + 1, sizeof(*w->entries));
    w->entries[w->count++] = (struct entry){mem_strdup(path), mem_strdup(name)};
    if (!S_ISDIR(st.st_mode))
        return 0;
    size_t count;
    auto_free char **names = file_list(path, &count, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < count; i++) {
        auto_free char *inner = file_join(path, names[i]), *inner_name = file_join(name, names[i]);
        if (collect(w, inner, inner_name, depth + 1, err) < 0)
            return -1;
    }
    return 0;
}

struct tar_writer *tar_writer_new(const char *path, const char *name, struct err **err)
{
    struct tar_writer *w = NEW(struct tar_writer);
    w->fd = -1;
    if (collect(w, path, name, 0, err) == 0)
        return w;
    tar_writer_free(w);
    return NULL;
}

void tar_writer_free(struct tar_writer *w)
{
    for (size_t i = 0; i < w->count; i++) {
        free(w->entries[i].path);
        free(w->entries[i].name);
    }
    if (w->fd >= 0)
        close(w->fd);
    free(w->entries);
    str_free(&w->head);
    err_free(w->err);
    free(w);
}

const struct err *tar_writer_error(const struct tar_writer *w)
{
    return w->err;
}

static void add_header(struct tar_writer *w, const char *name, char type, const struct stat *st, off_t size,
                       const char *link)
{
    struct header h = {.type = type, .magic = "ustar", .version = {'0', '0'}};
    memcpy(h.name, name, strnlen(name, sizeof(h.name)));
    memcpy(h.link, link, strnlen(link, sizeof(h.link)));
    snprintf(h.mode, sizeof(h.mode), "%07o", st->st_mode & 07777);
    snprintf(h.uid, sizeof(h.uid), "%07o", 0);
    snprintf(h.gid, sizeof(h.gid), "%07o", 0);
    snprintf(h.mtime, sizeof(h.mtime), "%011llo", (unsigned long long)st->st_mtime & 077777777777ULL);
    if (size < 1LL << 33)
        snprintf(h.size, sizeof(h.size), "%011llo", (unsigned long long)size);
    else /* base 256 */
        for (int i = 0; i < 8; i++)
            h.size[11 - i] = (char)((unsigned long long)size >> (8 * i)), h.size[0] = (char)0x80;
    char sum[8];
    snprintf(sum, sizeof(sum), "%06o", checksum_of(&h));
    memcpy(h.checksum, sum, 7);
    h.checksum[7] = ' ';
    str_add_n(&w->head, &h, sizeof(h));
}

static void add_padded(struct str *out, const char *data, size_t len)
{
    static const char zeros[BLOCK];
    str_add_n(out, data, len);
    str_add_n(out, zeros, (BLOCK - len % BLOCK) % BLOCK);
}

/* Too long for the header: an entry that holds only the name stands before it. */
static void add_long(struct tar_writer *w, const char *text, char type)
{
    static const struct stat none;
    if (strlen(text) <= NAME_MAX_LEN)
        return;
    add_header(w, "././@LongLink", type, &none, (off_t)strlen(text) + 1, "");
    add_padded(&w->head, text, strlen(text) + 1);
}

static int begin_entry(struct tar_writer *w, const struct entry *entry)
{
    struct stat st;
    char link[PATH_MAX + 1] = "";
    if (lstat(entry->path, &st) < 0)
        return err_errno(&w->err, errno, "%s", entry->path);
    bool file = S_ISREG(st.st_mode), folder = S_ISDIR(st.st_mode), symbolic = S_ISLNK(st.st_mode);
    if (!file && !folder && !symbolic) {
        fprintf(stderr, "warning: %s is no file, folder or link: skipped\n", entry->path);
        return 0;
    }
    if (symbolic && readlink(entry->path, link, PATH_MAX) < 0)
        return err_errno(&w->err, errno, "%s", entry->path);
    if (file && (w->fd = open(entry->path, O_RDONLY | O_CLOEXEC)) < 0)
        return err_errno(&w->err, errno, "%s", entry->path);
    if (file && fstat(w->fd, &st) < 0)
        return err_errno(&w->err, errno, "%s", entry->path);
    auto_free char *name = mem_printf("%s%s", entry->name, folder ? "/" : "");
    add_long(w, link, 'K');
    add_long(w, name, 'L');
    w->left = file ? st.st_size : 0;
    w->padding = (BLOCK - (size_t)(w->left % BLOCK)) % BLOCK;
    add_header(w, name, file ? '0' : folder ? '5' : '2', &st, w->left, link);
    return 0;
}

/* The next bytes of the file; what it lacks against its announced size is an error. */
static ssize_t read_file(struct tar_writer *w, char *data, size_t len)
{
    size_t wanted = (off_t)len < w->left ? len : (size_t)w->left;
    ssize_t n = read(w->fd, data, wanted);
    if (n <= 0) {
        err_set(&w->err, ERR_INTERNAL, "%s: %s", w->entries[w->next - 1].path,
                n < 0 ? strerror(errno) : "the file became shorter while it was read");
        return 0;
    }
    w->left -= n;
    if (w->left == 0) {
        static const char zeros[BLOCK];
        close(w->fd);
        w->fd = -1;
        str_add_n(&w->head, zeros, w->padding);
    }
    return n;
}

ssize_t tar_writer_read(struct tar_writer *w, char *data, size_t len)
{
    static const char zeros[2 * BLOCK];
    for (;;) {
        if (w->err)
            return 0;
        if (w->head_at < w->head.len) {
            size_t n = w->head.len - w->head_at < len ? w->head.len - w->head_at : len;
            memcpy(data, w->head.data + w->head_at, n);
            w->head_at += n;
            return (ssize_t)n;
        }
        str_clear(&w->head);
        w->head_at = 0;
        if (w->left > 0)
            return read_file(w, data, len);
        if (w->fd >= 0) { /* an empty file */
            close(w->fd);
            w->fd = -1;
        }
        if (w->next < w->count) {
            if (begin_entry(w, &w->entries[w->next++]) < 0)
                return 0;
        } else if (w->ended) {
            return 0;
        } else {
            w->ended = true;
            str_add_n(&w->head, zeros, sizeof(zeros));
        }
    }
}

/* ---- reading ---- */

struct tar_reader {
    char *prefix, *destination;
    struct str block; /* a header that is not complete yet, or the data of a long name */
    char *long_name;
    int fd;                  /* of the file that is being written, or -1 */
    unsigned long long left; /* data of the entry */
    size_t padding;
    char type;
    bool ended;
    struct err *err;
};

struct tar_reader *tar_reader_new(const char *prefix, const char *destination)
{
    struct tar_reader *r = NEW(struct tar_reader);
    while (*prefix == '/')
        prefix++;
    r->prefix = mem_strdup(prefix);
    size_t len = strlen(prefix);
    while (len && r->prefix[len - 1] == '/')
        r->prefix[--len] = 0;
    r->destination = mem_strdup(destination);
    r->fd = -1;
    return r;
}

void tar_reader_free(struct tar_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    str_free(&r->block);
    err_free(r->err);
    free(r->long_name);
    free(r->prefix);
    free(r->destination);
    free(r);
}

static unsigned long long number_of(const char *field, size_t len)
{
    unsigned long long number = 0;
    if ((unsigned char)field[0] & 0x80) {
        for (size_t i = 4; i < len; i++)
            number = number << 8 | (unsigned char)field[i];
        return number;
    }
    for (size_t i = 0; i < len && (field[i] == ' ' || (field[i] >= '0' && field[i] <= '7')); i++)
        number = field[i] == ' ' ? number : number << 3 | (unsigned)(field[i] - '0');
    return number;
}

static bool has_dots(const char *name)
{
    for (const char *at = name; (at = strstr(at, "..")); at += 2)
        if ((at == name || at[-1] == '/') && (at[2] == 0 || at[2] == '/'))
            return true;
    return false;
}

/* Where the entry belongs; NULL: not below the prefix, or nowhere that we write. */
static char *place_of(struct tar_reader *r, const char *name)
{
    size_t len = strlen(r->prefix);
    while (*name == '/' || (name[0] == '.' && name[1] == '/'))
        name += *name == '/' ? 1 : 2;
    if (has_dots(name)) {
        err_set(&r->err, ERR_BAD_REQUEST, "the archive names \"%s\", which leads outside", name);
        return NULL;
    }
    if (str_eq(r->prefix, ".") || !len)
        return file_join(r->destination, name);
    if (strncmp(name, r->prefix, len) != 0 || (name[len] && name[len] != '/'))
        return NULL;
    for (name += len; *name == '/'; name++)
        continue;
    return *name ? file_join(r->destination, name) : mem_strdup(r->destination);
}

static void make_parents(const char *path)
{
    auto_free char *copy = mem_strdup(path);
    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(copy, 0755); /* what cannot be made is found out by the file below it */
        *slash = '/';
    }
}

static void begin_output(struct tar_reader *r, const struct header *h, const char *name)
{
    auto_free char *path = place_of(r, name);
    if (!path)
        return;
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        path[--len] = 0;
    mode_t mode = (mode_t)number_of(h->mode, sizeof(h->mode)) & 0777;
    make_parents(path);
    if (h->type == '5') {
        if (mkdir(path, mode | 0700) < 0 && errno != EEXIST)
            err_errno(&r->err, errno, "%s", path);
    } else if (h->type == '0' || h->type == 0) {
        r->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode | 0200);
        if (r->fd < 0)
            err_errno(&r->err, errno, "%s", path);
    } else {
        fprintf(stderr, "warning: skipping %s: \"%s\" is no file or folder\n",
                h->type == '2' ? "symlink" : "entry", name);
    }
}

static void take_header(struct tar_reader *r)
{
    struct header h;
    memcpy(&h, r->block.data, sizeof(h));
    str_clear(&r->block);
    if (!h.name[0]) {
        r->ended = true; /* the end is a block of zeros */
        return;
    }
    if (number_of(h.checksum, sizeof(h.checksum)) != checksum_of(&h)) {
        err_set(&r->err, ERR_BAD_REQUEST, "what came is no tar archive");
        return;
    }
    r->left = number_of(h.size, sizeof(h.size));
    r->padding = (BLOCK - (size_t)(r->left % BLOCK)) % BLOCK;
    r->type = h.type;
    if (h.type == 'L' || h.type == 'x' || h.type == 'g' || h.type == 'K') {
        if (r->left > EXTRA_MAX)
            err_set(&r->err, ERR_BAD_REQUEST, "the archive has a name of %llu bytes", r->left);
        return;
    }
    if (h.type == '1' || h.type == '2' || h.type == '5')
        r->left = r->padding = 0;
    auto_free char *base = mem_strndup(h.name, sizeof(h.name));
    auto_free char *prefix = mem_strndup(h.prefix, memcmp(h.magic, "ustar\0", 6) == 0 ? sizeof(h.prefix) : 0);
    auto_free char *name = r->long_name ? steal(&r->long_name)
                           : *prefix    ? file_join(prefix, base)
                                        : mem_strdup(base);
    begin_output(r, &h, name);
}

/* The data of a long name is whole: "LEN path=…\n" in pax's form. */
static void take_extra(struct tar_reader *r)
{
    const char *path = r->type == 'x' ? strstr(str_c(&r->block), " path=") : NULL;
    if (r->type == 'L' || path) {
        free(r->long_name);
        r->long_name =
            r->type == 'L' ? mem_strdup(str_c(&r->block)) : mem_strndup(path + 6, strcspn(path + 6, "\n"));
    }
    str_clear(&r->block);
}

static void take_data(struct tar_reader *r, const char *data, size_t len)
{
    if (r->type == 'L' || r->type == 'x' || r->type == 'g' || r->type == 'K') {
        str_add_n(&r->block, data, len);
        return;
    }
    while (r->fd >= 0 && len) {
        ssize_t n = write(r->fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            err_errno(&r->err, errno, "writing what was copied");
            return;
        }
        data += n;
        len -= (size_t)n;
    }
}

static void end_data(struct tar_reader *r)
{
    if (r->type == 'L' || r->type == 'x' || r->type == 'g' || r->type == 'K')
        take_extra(r);
    if (r->fd >= 0 && close(r->fd) < 0)
        err_errno(&r->err, errno, "writing what was copied");
    r->fd = -1;
}

void tar_reader_feed(struct tar_reader *r, const char *data, size_t len)
{
    while (len && !r->err && !r->ended) {
        size_t n;
        if (r->left) {
            n = len < r->left ? len : (size_t)r->left;
            take_data(r, data, n);
            r->left -= n;
            if (!r->left)
                end_data(r);
        } else if (r->padding) {
            n = len < r->padding ? len : r->padding;
            r->padding -= n;
        } else {
            n = BLOCK - r->block.len < len ? BLOCK - r->block.len : len;
            str_add_n(&r->block, data, n);
            if (r->block.len == BLOCK) {
                take_header(r);
                if (!r->left)
                    end_data(r); /* an empty file */
            }
        }
        data += n;
        len -= n;
    }
}

int tar_reader_finish(struct tar_reader *r, struct err **err)
{
    if (r->err)
        return err_move(err, &r->err);
    return r->ended ? 0 : err_set(err, ERR_UNAVAILABLE, "the archive is cut off");
}
