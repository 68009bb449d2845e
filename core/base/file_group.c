/*
 * file_group: file_give_to_group. Goes through descriptors like file_remove, because containers write into
 * these trees and could swap a file for a link meanwhile. Invariant: no link is followed, no other mount
 * entered.
 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

#define DEPTH_MAX 128

struct gift {
    const char *path; /* for messages */
    gid_t group;
    dev_t device;
};

static int give(const struct gift *gift, int parent, const char *name, unsigned depth, struct err **err);

static int give_children(const struct gift *gift, int fd, unsigned depth, struct err **err)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);
    if (!stream) {
        int cause = errno;
        fd_cleanup(&copy);
        return err_errno(err, cause, "list a directory in %s", gift->path);
    }
    int result = 0;
    for (struct dirent *entry; result == 0 && (entry = readdir(stream));)
        if (!str_eq(entry->d_name, ".") && !str_eq(entry->d_name, ".."))
            result = give(gift, fd, entry->d_name, depth + 1, err);
    closedir(stream);
    return result;
}

static int give(const struct gift *gift, int parent, const char *name, unsigned depth, struct err **err)
{
    auto_fd fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 && errno == ENOENT && depth)
        return 0; /* removed meanwhile */
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, errno, "look at %s", gift->path);
    if (depth && st.st_dev != gift->device)
        return 0;
    if (depth > DEPTH_MAX)
        return err_set(err, ERR_INVALID, "%s is nested more than %d deep", gift->path, DEPTH_MAX);
    if (S_ISDIR(st.st_mode) && give_children(gift, fd, depth, err) < 0)
        return -1;
    if (fchownat(fd, "", (uid_t)-1, gift->group, AT_EMPTY_PATH) < 0)
        return err_errno(err, errno, "give %s to group %u", gift->path, (unsigned)gift->group);
    if (S_ISLNK(st.st_mode))
        return 0;
    mode_t more = S_ISDIR(st.st_mode) ? 02070 : st.st_mode & 0100 ? 0070 : 0060;
    char self[32];
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd); /* fchmod takes no O_PATH descriptor */
    if (chmod(self, (st.st_mode & 07777) | more) < 0)
        return err_errno(err, errno, "set the mode of %s", gift->path);
    return 0;
}

int file_give_to_group(const char *path, gid_t group, struct err **err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return err_errno(err, errno, "look at %s", path);
    const struct gift gift = {path, group, st.st_dev};
    return give(&gift, AT_FDCWD, path, 0, err);
}
