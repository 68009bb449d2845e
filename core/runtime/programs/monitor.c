/*
 * monitor: stands between podman and conmon, and between conmon and podman.
 *
 * As "conmon" it becomes the real one, which it tells to start "ended" instead of podman when the container
 * has ended. "ended" becomes that podman, which tidies up after the container: a whole podman for each end,
 * 20 ms. But not where the node has noted (in the folder "leaving") that it will remove the container at
 * once: the removal does the same again.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_COMMAND "--exit-command"

static int fail(const char *what)
{
    fprintf(stderr, "minik8s: %s: %s\n", what, strerror(errno));
    return 1;
}

/* …/podman … container cleanup ID: the end of the container itself, not of a program run in it. */
static int is_leaving(const char *folder, int argc, char **argv)
{
    char path[PATH_MAX + 256];
    if (argc < 3 || strcmp(argv[argc - 2], "cleanup") != 0 || strchr(argv[argc - 1], '/'))
        return 0;
    snprintf(path, sizeof(path), "%s/leaving/%s", folder, argv[argc - 1]);
    return access(path, F_OK) == 0;
}

static int become_podman(const char *folder, int argc, char **argv)
{
    if (argc < 2 || is_leaving(folder, argc, argv))
        return 0;
    execv(argv[1], argv + 1);
    return fail(argv[1]);
}

static int become_conmon(const char *folder, int argc, char **argv)
{
    static const char *const folders[] = {"/usr/libexec/podman",
                                          "/usr/local/libexec/podman",
                                          "/usr/local/lib/podman",
                                          "/usr/bin",
                                          "/usr/sbin",
                                          "/usr/local/bin",
                                          "/usr/local/sbin"};
    static char ended[PATH_MAX + 8], path[PATH_MAX];
    char **arguments = calloc((size_t)argc + 3, sizeof(*arguments));
    int n = 0;
    if (!arguments)
        return fail("get memory");
    snprintf(ended, sizeof(ended), "%s/ended", folder);
    for (int i = 0; i < argc; i++) {
        arguments[n++] = argv[i];
        if (strcmp(argv[i], EXIT_COMMAND) != 0 || i + 1 == argc)
            continue;
        arguments[n++] = ended;
        arguments[n++] = EXIT_COMMAND "-arg";
    }
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        snprintf(path, sizeof(path), "%s/conmon", folders[i]);
        arguments[0] = path;
        execv(path, arguments);
        if (errno != ENOENT)
            return fail(path);
    }
    return fail("conmon");
}

int main(int argc, char **argv)
{
    static char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);
    char *slash = n > 0 ? strrchr(own, '/') : NULL;
    if (argc < 1 || !slash)
        return fail("find myself");
    *slash = 0;
    return strcmp(slash + 1, "ended") == 0 ? become_podman(own, argc, argv) : become_conmon(own, argc, argv);
}
