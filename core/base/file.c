/*
 * file: see file.h. Reading and replacing whole files, directories. Starting programs is in file_spawn.c,
 * removing trees in file_remove.c. Invariant: a reader of a replaced path sees the old or the new content,
 * never a mixture.
 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "base/str.h"

int file_read(const char *path, size_t max, char **data, size_t *len, struct err **err)
{
    auto_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "open %s", path);
    /* The size of a file in /proc or /sys says nothing: read until the end. */
    auto_str text = {0};
    for (;;) {
        str_reserve(&text, text.len < 65536 ? 4096 : text.len);
        ssize_t n = read(fd, text.data + text.len, text.capacity - text.len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "read %s", path);
        if (n == 0)
            break;
        text.len += (size_t)n;
        if (text.len > max)
            return err_set(err, ERR_TOO_LARGE, "%s is larger than %zu bytes", path, max);
    }
    text.data[text.len] = '\0';
    if (len)
        *len = text.len;
    *data = str_take(&text);
    return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int write_temp(const char *temp, const void *data, size_t len, mode_t mode, bool durable,
                      struct err **err)
{
    auto_fd fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, errno, "create %s", temp);
    if (write_all(fd, data, len) < 0 || fchmod(fd, mode) < 0 || (durable && fsync(fd) < 0)) {
        int cause = errno;
        unlink(temp);
        return err_errno(err, cause, "write %s", temp);
    }
    return 0;
}

int file_sync_directory(const char *path, struct err **err)
{
    auto_fd fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_errno(err, errno, "sync directory %s", path);
    return 0;
}

static int replace(const char *path, const void *data, size_t len, mode_t mode, bool durable,
                   struct err **err)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    auto_free char *directory = slash == path ? mem_strdup("/")
                                : slash       ? mem_strndup(path, (size_t)(slash - path))
                                              : mem_strdup(".");
    char suffix[9];
    random_suffix(&random_system, suffix, 8);
    auto_free char *temp = mem_printf("%s/.%.200s.%s", directory, name, suffix);
    if (write_temp(temp, data, len, mode, durable, err) < 0)
        return -1;
    if (rename(temp, path) < 0) {
        int cause = errno;
        unlink(temp);
        return err_errno(err, cause, "rename to %s", path);
    }
    return durable ? file_sync_directory(directory, err) : 0;
}

int file_write_durable(const char *path, const void *data, size_t len, mode_t mode, struct err **err)
{
    return replace(path, data, len, mode, true, err);
}

int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode, struct err **err)
{
    return replace(path, data, len, mode, false, err);
}

int file_make_dirs(const char *path, mode_t mode, struct err **err)
{
    auto_free char *partial = mem_strdup(path);
    for (char *p = partial + 1; *partial; p++) {
        if (*p != '/' && *p)
            continue;
        char kept = *p;
        *p = '\0';
        if (mkdir(partial, mode) < 0) {
            int cause = errno;
            struct stat info;
            /* EROFS and EACCES come before EEXIST on some file systems */
            if (stat(partial, &info) < 0)
                return err_errno(err, cause, "make directory %s", partial);
            if (!S_ISDIR(info.st_mode))
                return err_errno(err, ENOTDIR, "make directory %s", partial);
        }
        if (!kept)
            break;
        *p = kept;
    }
    return 0;
}

bool file_is_mounted(const char *path)
{
    auto_free char *text = NULL, *wanted = mem_printf(" %s ", path);
    if (file_read("/proc/self/mountinfo", 16u << 20, &text, NULL, NULL) < 0)
        return false;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        const char *at = line; /* id, parent, device, root, mount point */
        for (int i = 0; at && i < 4; i++)
            at = strchr(at + (i > 0), ' ');
        if (at && str_starts(at, wanted))
            return true;
    }
    return false;
}

bool file_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

char *file_join(const char *directory, const char *name)
{
    if (str_empty(directory))
        return mem_strdup(name);
    return mem_printf("%s%s%s", directory, str_ends(directory, "/") ? "" : "/", name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **file_list(const char *directory, size_t *count, struct err **err)
{
    DIR *stream = opendir(directory);
    if (!stream) {
        err_errno(err, errno, "list %s", directory);
        return NULL;
    }
    auto_str names = {0};
    size_t n = 0;
    errno = 0;
    for (struct dirent *entry; (entry = readdir(stream)); errno = 0) {
        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
            continue;
        str_add_n(&names, entry->d_name, strlen(entry->d_name) + 1);
        n++;
    }
    int cause = errno;
    closedir(stream);
    if (cause) {
        err_errno(err, cause, "list %s", directory);
        return NULL;
    }
    size_t pointers = (n + 1) * sizeof(char *);
    char **list = mem_alloc(pointers + names.len);
    char *text = memcpy((char *)list + pointers, str_c(&names), names.len);
    for (size_t i = 0; i < n; i++, text += strlen(text) + 1)
        list[i] = text;
    qsort(list, n, sizeof(*list), compare_names);
    if (count)
        *count = n;
    return list;
}
