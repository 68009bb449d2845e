/*
 * file_beneath: see file_beneath.h. Every step starts at a descriptor and the kernel refuses what would leave
 * the root (openat2). Invariant: whatever a container renames or links meanwhile, a folder is made and
 * changed only where a descriptor was that had been reached beneath the root.
 */
#include "base/file_beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"

#define MAX_RACES 128

static int open_resolved(int root, const char *path)
{
    const struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd = -1;
    for (int i = 0; i < MAX_RACES;
         i++) { /* EAGAIN: something was renamed while ".." of a link was followed */
        fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    return fd;
}

/* A part of a path, which no link may be. */
static int open_plain(int parent, const char *name)
{
    auto_fd fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    if (S_ISLNK(st.st_mode)) {
        errno = EXDEV;
        return -1;
    }
    int opened = fd;
    fd = -1;
    return opened;
}

static int make_part(int parent, const char *name, const struct stat *rights)
{
    if (mkdirat(parent, name, 0700) < 0)
        return errno == EEXIST ? open_plain(parent, name) : -1; /* a link to nowhere, or just made */
    auto_fd fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchown(fd, (uid_t)-1, rights->st_gid) < 0 || fchmod(fd, rights->st_mode & 07777) < 0)
        return -1;
    int made = fd;
    fd = -1;
    return made;
}

/* `upto`: the path as far as it goes this time; `name`: its last part, in `parent`. */
static int open_part(int root, int parent, const char *upto, const char *name, const struct stat *rights)
{
    int fd = open_resolved(root, upto);
    if (fd < 0 && errno == ENOSYS)
        fd = open_plain(parent, name);
    return fd < 0 && errno == ENOENT ? make_part(parent, name, rights) : fd;
}

static int refuse(struct err **err, int cause, const char *path)
{
    if (cause == EXDEV || cause == ELOOP)
        return err_set(err, ERR_INVALID, "\"%.256s\" leads out of its folder", path);
    return err_errno(err, cause, "open %.256s", path);
}

int file_make_beneath(int root, const char *path, struct err **err)
{
    struct stat rights;
    auto_fd fd = fcntl(root, F_DUPFD_CLOEXEC, 0);
    if (fd < 0 || fstat(root, &rights) < 0)
        return err_errno(err, errno, "look at a folder");
    if (*path == '/')
        return refuse(err, EXDEV, path);
    for (const char *end = path; *(end += strspn(end, "/"));) {
        size_t len = strcspn(end, "/");
        auto_free char *name = mem_strndup(end, len);
        end += len;
        auto_free char *upto = mem_strndup(path, (size_t)(end - path));
        if (str_eq(name, "."))
            continue;
        int next = str_eq(name, "..") ? -1 : open_part(root, fd, upto, name, &rights);
        if (next < 0)
            return refuse(err, str_eq(name, "..") ? EXDEV : errno, path);
        close(fd);
        fd = next;
    }
    int opened = fd;
    fd = -1;
    return opened;
}
