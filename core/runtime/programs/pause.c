/*
 * pause: holds the namespaces of a pod.
 *
 * Without arguments it is that process: it ends at once on SIGTERM, and where containers share its process
 * namespace it is their first process and reaps what they leave behind.
 *
 * With arguments it makes one: `pause --state DIRECTORY --root DIRECTORY [--new LETTERS] [--hostname NAME]
 * [--cgroup DIRECTORY]… [--sysctl NAME=VALUE]…` enters the cgroups, mounts DIRECTORY/shm for the pod's
 * /dev/shm, takes the namespaces (n network, i ipc, u uts, p processes), and starts itself from a root that
 * holds this file alone, without any right. The number of that process is in DIRECTORY/pid before it runs, so
 * whoever asked for it may be killed at any moment; two who ask at once get one. What failed is said on
 * standard error.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534
#define SHM_OPTIONS "mode=1777,size=64m"

static void pause_for_ever(void)
{
    sigset_t awaited;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGCHLD);
    sigprocmask(SIG_BLOCK, &awaited, NULL);
    for (;;) {
        int number;
        if (sigwait(&awaited, &number) != 0)
            continue;
        if (number != SIGCHLD)
            _exit(0);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}

static void fail(const char *what, const char *which)
{
    dprintf(STDERR_FILENO, "%s%s%s: %s\n", what, *which ? " " : "", which, strerror(errno));
    exit(1);
}

static void write_file(const char *path, const char *text, const char *what, const char *which)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        fail(what, which);
    close(fd);
}

static void enter_cgroup(const char *directory)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/", directory);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            fail("make cgroup", path);
        *slash = '/';
    }
    snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
    write_file(path, "0", "enter cgroup", directory);
}

/* In the mount namespace that containers are started from. */
static void mount_shm(int state)
{
    struct stat parent, shm;
    char path[64];
    if (mkdirat(state, "shm", 0755) < 0 && errno != EEXIST)
        fail("make", "shm");
    if (fstat(state, &parent) < 0 || fstatat(state, "shm", &shm, 0) < 0)
        fail("look at", "shm");
    if (parent.st_dev != shm.st_dev)
        return; /* by one who was killed */
    snprintf(path, sizeof(path), "/proc/self/fd/%d/shm", state);
    if (mount("shm", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, SHM_OPTIONS) < 0)
        fail("mount", "shm");
}

static int namespaces_of(const char *letters)
{
    int flags = CLONE_NEWNS;
    for (; *letters; letters++)
        flags |= *letters == 'n'   ? CLONE_NEWNET
                 : *letters == 'i' ? CLONE_NEWIPC
                 : *letters == 'u' ? CLONE_NEWUTS
                                   : CLONE_NEWPID;
    return flags;
}

/* net.ipv4.x=1, into the namespaces that this process has just taken. */
static void set_sysctl(const char *setting)
{
    char name[256], path[300];
    const char *value = strchr(setting, '=');
    if (!value || (size_t)(value - setting) >= sizeof(name)) {
        errno = EINVAL;
        fail("set", setting);
    }
    memcpy(name, setting, (size_t)(value - setting));
    name[value - setting] = 0;
    int len = snprintf(path, sizeof(path), "/proc/sys/%s", name);
    for (int i = 0; i < len; i++)
        if (path[i] == '.')
            path[i] = '/';
    write_file(path, value + 1, "set", setting);
}

static void change_root(const char *root)
{
    if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        fail("detach the mounts of", "the machine");
    if (mount(root, root, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, root, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
        fail("bind", root);
    if (chdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
        chdir("/") < 0)
        fail("make a root of", root);
}

/* Whoever sees this process sees it with less right than any container has. */
static void drop_rights(void)
{
    for (int capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++)
        ;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
        setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
        fail("give up", "all rights");
}

static void become_pause(int go, int null)
{
    static char name[] = "/pause";
    char *const arguments[] = {name, NULL}, *const environment[] = {NULL};
    char told;
    if (read(go, &told, 1) != 1)
        _exit(1); /* the other was killed: nobody knows of this one */
    int problems = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    drop_rights();
    if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
        _exit(1);
    execve(name, arguments, environment);
    dprintf(problems, "start %s: %s\n", name, strerror(errno));
    _exit(1);
}

static void note_pid(int state, pid_t pid)
{
    int fd = openat(state, ".pid", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || dprintf(fd, "%d\n", (int)pid) < 0 || renameat(state, ".pid", state, "pid") < 0)
        fail("note the process", "");
}

static int start_pause(int state, int null)
{
    int go[2];
    if (pipe2(go, O_CLOEXEC) < 0)
        fail("make", "a pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail("start", "the pod's process");
    if (pid == 0) {
        close(go[1]);
        become_pause(go[0], null);
    }
    note_pid(state, pid);
    if (write(go[1], "", 1) != 1)
        fail("start", "the pod's process");
    return 0;
}

static const char *option(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return NULL;
}

static void each_option(int argc, char **argv, const char *name, void (*use)(const char *value))
{
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], name) == 0)
            use(argv[i + 1]);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        pause_for_ever();
    const char *directory = option(argc, argv, "--state"), *root = option(argc, argv, "--root");
    const char *letters = option(argc, argv, "--new"), *hostname = option(argc, argv, "--hostname");
    if (!directory || !root) {
        errno = EINVAL;
        fail("pause:", "--state and --root are needed");
    }
    int state = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (state < 0 || null < 0 || flock(state, LOCK_EX) < 0)
        fail("open", directory);
    if (faccessat(state, "pid", F_OK, 0) == 0)
        return 0;
    each_option(argc, argv, "--cgroup", enter_cgroup);
    mount_shm(state);
    if (unshare(namespaces_of(letters ? letters : "")) < 0)
        fail("take", "namespaces");
    each_option(argc, argv, "--sysctl", set_sysctl);
    if (hostname && sethostname(hostname, strlen(hostname)) < 0)
        fail("set the host name", hostname);
    change_root(root);
    return start_pause(state, null);
}
