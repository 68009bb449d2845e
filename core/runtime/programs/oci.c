/*
 * oci: stands between podman and the real container runtime, crun or runc, whichever it is called as.
 *
 * - The runtime's state goes to the folder "state" beside this program (a link into the node's storage), not
 * to /run, where it would outlive a node that loses its power.
 * - crun refuses a machine with the v1 controllers and a cgroup2 file system side by side. So for crun this
 *   program takes a mount namespace of its own and unmounts /sys/fs/cgroup/unified there. Only crun sees it
 *   so: podman, conmon and everybody else keep the machine's view, and mounts made later by others are
 *   visible, because the namespace lives for one call.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define UNIFIED "/sys/fs/cgroup/unified"

static int fail(const char *what)
{
    fprintf(stderr, "minik8s: %s: %s\n", what, strerror(errno));
    return 1;
}

static int hide_unified(void)
{
    if (unshare(CLONE_NEWNS) < 0)
        return fail("own mount namespace");
    /* Private first: else the unmounting would reach the whole machine. */
    if (mount(NULL, "/sys/fs/cgroup", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        return fail("make /sys/fs/cgroup private");
    if (umount2(UNIFIED, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
        return fail("unmount " UNIFIED);
    return 0;
}

int main(int argc, char **argv)
{
    static char own[PATH_MAX], root[PATH_MAX + 8], path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);
    char *slash = n > 0 ? strrchr(own, '/') : NULL;
    if (argc < 1 || !slash)
        return fail("find myself");
    const char *name = slash + 1;
    *slash = 0;
    snprintf(root, sizeof(root), "%s/state", own);
    if (strcmp(name, "crun") == 0 && hide_unified() != 0)
        return 1;
    char **arguments = calloc((size_t)argc + 3, sizeof(*arguments));
    if (!arguments)
        return fail("get memory");
    arguments[1] = "--root";
    arguments[2] = root;
    memcpy(arguments + 3, argv + 1, (size_t)(argc - 1) * sizeof(*argv));
    static const char *const folders[] = {"/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", folders[i], name);
        arguments[0] = path;
        execv(path, arguments);
        if (errno != ENOENT)
            return fail(path);
    }
    return fail(name);
}
