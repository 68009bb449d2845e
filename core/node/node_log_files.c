/*
 * node_log_files: the files of one container's log, oldest first.
 *
 *   PATH          what the runtime's monitor writes to
 *   PATH.1 …      the same file and its predecessors under numbers: a second name, so that nothing is lost
 * when the monitor puts a new file in PATH's place PATH.tmp      the next file, empty, and with its number
 * already: the monitor opens exactly this name and renames it to PATH. So a file that is known follows its
 * predecessor without a gap, whoever turned the log over, and whether or not the agent lived meanwhile.
 *
 * Where PATH is a file without a number, at least two were begun since anybody looked: what is older goes, as
 * a log with a hole in the middle would mislead.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node_internal.h"

static char *numbered(const char *path, uint64_t number)
{
    return mem_printf("%s.%llu", path, (unsigned long long)number);
}

/* The number of `name` if it is one of the log's; 0: it is not. */
static uint64_t number_of(const char *name, const char *base)
{
    size_t len = strlen(base);
    long long number;
    if (strncmp(name, base, len) != 0 || name[len] != '.' || str_to_int64(name + len + 1, &number) < 0)
        return 0;
    return number > 0 ? (uint64_t)number : 0;
}

static int by_number(const void *a, const void *b)
{
    const struct node_log_file *left = a, *right = b;
    return left->number < right->number ? -1 : left->number > right->number;
}

/* All with a number, the spare one too. */
static void list_numbered(const char *path, struct node_log_files *files)
{
    const char *base = strrchr(path, '/') + 1;
    auto_free char *directory = mem_strndup(path, (size_t)(base - path - 1));
    size_t count = 0;
    auto_free char **names = file_list(directory, &count, NULL);
    *files = (struct node_log_files){.files = mem_array(count + 2, sizeof(*files->files))};
    for (size_t i = 0; names && i < count; i++) {
        uint64_t number = number_of(names[i], base);
        auto_free char *full = number ? file_join(directory, names[i]) : NULL;
        struct stat st;
        if (!full || stat(full, &st) < 0)
            continue;
        files->files[files->count++] =
            (struct node_log_file){number, st.st_ino, st.st_size, st.st_mtim.tv_sec};
    }
    qsort(files->files, files->count, sizeof(*files->files), by_number);
}

static bool spare_of(const char *path, struct stat *spare)
{
    auto_free char *name = mem_printf("%s.tmp", path);
    return stat(name, spare) == 0;
}

void node_log_files_list(const char *path, struct node_log_files *files)
{
    struct stat live, spare;
    bool has_spare = spare_of(path, &spare), has_live = stat(path, &live) == 0;
    list_numbered(path, files);
    size_t kept = 0;
    bool named = false;
    for (size_t i = 0; i < files->count; i++) {
        const struct node_log_file *file = &files->files[i];
        bool is_live = has_live && file->inode == live.st_ino;
        if (has_spare && file->inode == spare.st_ino && !is_live)
            continue; /* nothing was written to it yet */
        named |= is_live;
        files->files[kept++] = *file;
    }
    files->count = kept;
    if (has_live && !named) /* under its own name only: what is older does not lead up to it */
        files->count = 0;
    if (has_live && !named)
        files->files[files->count++] =
            (struct node_log_file){0, live.st_ino, live.st_size, live.st_mtim.tv_sec};
}

int node_log_file_open(const char *path, const struct node_log_file *file)
{
    auto_free char *name = file->number ? numbered(path, file->number) : mem_strdup(path);
    return open(name, O_RDONLY | O_CLOEXEC);
}

/* ---- keeping ---- */

static void drop(const char *path, uint64_t number)
{
    auto_free char *name = numbered(path, number);
    if (unlink(name) < 0 && errno != ENOENT)
        log_warn("node", "remove %s: errno %d", name, errno);
}

static uint64_t name_live(const char *path, struct node_log_files *files)
{
    uint64_t number = files->count ? files->files[files->count - 1].number + 1 : 1;
    auto_free char *name = numbered(path, number), *spare = mem_printf("%s.tmp", path);
    if (files->count)
        log_warn("node", "%s: it grew faster than its files could be kept; the older ones go", path);
    for (size_t i = 0; i < files->count; i++)
        drop(path, files->files[i].number);
    files->count = 0;
    unlink(spare);
    return link(path, name) == 0 ? number : 0;
}

static bool are_one_file(const char *a, const char *b)
{
    struct stat left, right;
    return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_ino == right.st_ino &&
           left.st_dev == right.st_dev;
}

static int create_new(const char *name)
{
    return open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

/* False: the monitor turns the log over at this moment, or the disk is full; its next file comes without.
 * A file of that number may be the log that is written to since a moment ago: that one stays as it is. */
bool node_log_files_make_spare(const char *path, uint64_t number)
{
    auto_free char *name = numbered(path, number), *spare = mem_printf("%s.tmp", path);
    auto_fd fd = create_new(name);
    if (fd < 0 && errno == EEXIST) {
        if (are_one_file(name, spare) || are_one_file(name, path) || unlink(name) < 0)
            return false;
        fd = create_new(name);
    }
    if (fd < 0)
        return false;
    if (link(name, spare) == 0)
        return true;
    unlink(name);
    return false;
}

/* What is newer is counted in bytes, so that neither a file that was begun early nor one that grew too long
 * takes the place of several. */
static void prune(const char *path, const struct node_log_files *files, uint64_t live, int64_t max_bytes)
{
    int64_t newer = 0;
    for (size_t i = files->count; i-- > 0;) {
        const struct node_log_file *file = &files->files[i];
        if (file->number >= live)
            continue;
        if (newer >= max_bytes)
            drop(path, file->number);
        newer += file->size;
    }
}

int64_t node_log_files_keep(const char *path, int64_t max_bytes)
{
    struct stat live, spare;
    if (stat(path, &live) < 0)
        return -1;
    bool has_spare = spare_of(path, &spare);
    struct node_log_files files;
    list_numbered(path, &files);
    uint64_t number = 0;
    for (size_t i = 0; i < files.count; i++)
        if (files.files[i].inode == live.st_ino)
            number = files.files[i].number;
    if (!number) {
        number = name_live(path, &files);
        has_spare = false;
    }
    if (number && !has_spare)
        node_log_files_make_spare(path, number + 1);
    prune(path, &files, number, max_bytes);
    free(files.files);
    return live.st_size;
}

void node_log_files_close(const char *path)
{
    struct stat live, spare;
    if (!spare_of(path, &spare))
        return;
    struct node_log_files files;
    list_numbered(path, &files);
    auto_free char *name = mem_printf("%s.tmp", path);
    unlink(name);
    bool is_live = stat(path, &live) == 0 && live.st_ino == spare.st_ino;
    for (size_t i = 0; i < files.count && !is_live; i++)
        if (files.files[i].inode == spare.st_ino)
            drop(path, files.files[i].number);
    free(files.files);
}

void node_log_files_forget(const char *path)
{
    const char *base = strrchr(path, '/') + 1;
    unsigned long attempt = strtoul(base, NULL, 10);
    auto_free char *directory = mem_strndup(path, (size_t)(base - path - 1));
    size_t count = 0;
    auto_free char **names = file_list(directory, &count, NULL);
    for (size_t i = 0; names && i < count; i++) {
        char *end;
        unsigned long other = strtoul(names[i], &end, 10);
        if (end == names[i] || !str_starts(end, ".log") || other + 1 >= attempt)
            continue;
        auto_free char *full = file_join(directory, names[i]);
        unlink(full);
    }
}
