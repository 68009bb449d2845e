/*
 * file_remove: file_remove_tree. Everything goes through directory descriptors and never through a path,
 * because containers write into some of these trees and could swap a directory for a link meanwhile.
 * Invariants: no link is followed; nothing on another mount is touched; the depth of the tree costs no
 * descriptors beyond DEPTH_MAX (deeper directories are first moved up to the root of the tree).
 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

#define DEPTH_MAX 32

struct removal {
    const char *path; /* for messages */
    int root;         /* descriptor of the tree's root */
    unsigned moved;   /* names given to directories that were moved up */
    bool again;       /* something was moved up: look at the root again */
    uint64_t mount;
};

static int mount_of(int fd, uint64_t *mount)
{
    struct statx info;
    if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &info) < 0)
        return -1;
    *mount = info.stx_mask & STATX_MNT_ID ? info.stx_mnt_id : 0;
    return 0;
}

static int remove_entry(struct removal *removal, int parent, const char *name, unsigned depth,
                        struct err **err);

static int empty_directory(struct removal *removal, int fd, unsigned depth, struct err **err)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);
    if (!stream) {
        int cause = errno;
        fd_cleanup(&copy);
        return err_errno(err, cause, "list a directory in %s", removal->path);
    }
    int result = 0;
    errno = 0;
    for (struct dirent *entry; result == 0 && (entry = readdir(stream)); errno = 0) {
        if (!str_eq(entry->d_name, ".") && !str_eq(entry->d_name, ".."))
            result = remove_entry(removal, fd, entry->d_name, depth, err);
    }
    if (result == 0 && errno)
        result = err_errno(err, errno, "list a directory in %s", removal->path);
    closedir(stream);
    return result;
}

static int move_up(struct removal *removal, int parent, const char *name, struct err **err)
{
    char fresh[32];
    do
        snprintf(fresh, sizeof(fresh), ".removed-%u", removal->moved++);
    while (faccessat(removal->root, fresh, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
    if (renameat(parent, name, removal->root, fresh) < 0)
        return err_errno(err, errno, "remove %s in %s", name, removal->path);
    removal->again = true;
    return 0;
}

static int remove_entry(struct removal *removal, int parent, const char *name, unsigned depth,
                        struct err **err)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return err_errno(err, errno, "remove %s in %s", name, removal->path);
    int refused = errno;
    auto_fd fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno == ENOTDIR || errno == ELOOP ? refused : errno, "remove %s in %s", name,
                         removal->path);
    uint64_t mount;
    if (mount_of(fd, &mount) < 0 || mount != removal->mount)
        return err_errno(err, EBUSY, "remove %s in %s: mount point", name, removal->path);
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno == EBUSY) /* kernels before 5.8 give mounts no numbers */
        return err_errno(err, EBUSY, "remove %s in %s: mount point", name, removal->path);
    if (depth >= DEPTH_MAX)
        return move_up(removal, parent, name, err);
    if (empty_directory(removal, fd, depth + 1, err) < 0)
        return -1;
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return err_errno(err, errno, "remove %s in %s", name, removal->path);
    return 0;
}

int file_remove_tree(const char *path, struct err **err)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return err_errno(err, errno, "remove %s", path);
    auto_fd fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "remove %s", path);
    auto_fd above = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct removal removal = {.path = path, .root = fd};
    uint64_t outside;
    if (above < 0 || mount_of(fd, &removal.mount) < 0 || mount_of(above, &outside) < 0)
        return err_errno(err, errno, "remove %s", path);
    if (outside != removal.mount)
        return err_errno(err, EBUSY, "remove %s: mount point", path);
    do {
        removal.again = false;
        if (empty_directory(&removal, fd, 1, err) < 0)
            return -1;
    } while (removal.again);
    if (rmdir(path) < 0 && errno != ENOENT)
        return err_errno(err, errno, "remove %s", path);
    return 0;
}
