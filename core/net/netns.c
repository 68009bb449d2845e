/*
 * netns: network namespaces kept alive by bind mounts, work done inside one, sysctls of one.
 * Does not keep processes: deleting a name frees the namespace when its last process ends.
 * Invariant: no function but netns_enter leaves the calling thread in another namespace.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/str.h"
#include "net/netlink_internal.h"

struct netns_thread {
    int netns_fd; /* -1: a new namespace */
    int (*call)(void *arg, struct err **err);
    void *arg;
    int result;
    struct err *error;
};

static void *run_thread(void *data)
{
    struct netns_thread *thread = data;
    if (thread->netns_fd < 0 && unshare(CLONE_NEWNET) < 0)
        thread->result = err_errno(&thread->error, errno, "creating a network namespace");
    else if (thread->netns_fd >= 0 && setns(thread->netns_fd, CLONE_NEWNET) < 0)
        thread->result = err_errno(&thread->error, errno, "entering a network namespace");
    else
        thread->result = thread->call(thread->arg, &thread->error);
    return NULL;
}

static int run_on_thread(struct netns_thread *thread, struct err **err)
{
    pthread_t id;
    int failed = pthread_create(&id, NULL, run_thread, thread);
    if (failed)
        return err_errno(err, failed, "starting a thread");
    pthread_join(id, NULL);
    if (thread->error)
        err_move(err, &thread->error);
    return thread->result;
}

int netns_run(int netns_fd, int (*call)(void *arg, struct err **err), void *arg, struct err **err)
{
    if (netns_fd < 0)
        return call(arg, err);
    struct netns_thread thread = {.netns_fd = netns_fd, .call = call, .arg = arg};
    return run_on_thread(&thread, err);
}

static int mount_own(void *arg, struct err **err)
{
    const char *path = arg;
    struct nl_link loopback;
    auto_nl nl = {0};
    if (nl_open(&nl, NETLINK_ROUTE, -1, err) < 0)
        return -1;
    int failed = nl_link_get(&nl, "lo", &loopback);
    if (!failed)
        failed = nl_link_up(&nl, loopback.index, true);
    if (failed)
        return err_errno(err, failed, "bringing lo up");
    if (mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL) < 0)
        return err_errno(err, errno, "mounting a network namespace at %s", path);
    return 0;
}

static bool is_namespace(const char *path)
{
    struct statfs info;
    return statfs(path, &info) == 0 && info.f_type == NSFS_MAGIC;
}

int netns_create(const char *path, struct err **err)
{
    if (is_namespace(path))
        return 0;
    auto_fd file = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0444);
    if (file < 0)
        return err_errno(err, errno, "creating %s", path);
    struct netns_thread thread = {.netns_fd = -1, .call = mount_own, .arg = (void *)path};
    if (run_on_thread(&thread, err) < 0) {
        unlink(path);
        return -1;
    }
    return 0;
}

int netns_delete(const char *path, struct err **err)
{
    while (is_namespace(path)) {
        if (umount2(path, MNT_DETACH) < 0)
            return err_errno(err, errno, "unmounting %s", path);
    }
    /* The kernel drops copies of the mount that other mount namespaces still hold when the file goes. */
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(err, errno, "removing %s", path);
    return 0;
}

int netns_open(const char *path, struct err **err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "opening the network namespace %s", path);
    struct statfs info;
    if (fstatfs(fd, &info) < 0 || info.f_type != NSFS_MAGIC) {
        close(fd);
        return err_set(err, ERR_NOT_FOUND, "%s is not a network namespace", path);
    }
    return fd;
}

int netns_enter(int netns_fd, struct err **err)
{
    if (netns_fd >= 0 && setns(netns_fd, CLONE_NEWNET) < 0)
        return err_errno(err, errno, "entering a network namespace");
    return 0;
}

int netns_socket(int netns_fd, struct err **err)
{
    auto_fd own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return err_errno(err, errno, "opening the own network namespace");
    if (setns(netns_fd, CLONE_NEWNET) < 0)
        return err_errno(err, errno, "entering a network namespace");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), saved = errno;
    must(setns(own, CLONE_NEWNET) == 0);
    return fd < 0 ? err_errno(err, saved, "making a socket") : fd;
}

struct sysctl {
    const char *path, *value;
};

static int write_sysctl(void *arg, struct err **err)
{
    const struct sysctl *sysctl = arg;
    char now[128];
    auto_free char *path = mem_printf("/proc/sys/%s", sysctl->path);
    auto_fd fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 && (errno == EROFS || errno == EACCES))
        fd = open(path, O_RDONLY | O_CLOEXEC); /* fine where it holds the value already */
    if (fd < 0)
        return err_errno(err, errno, "opening %s", path);
    ssize_t got = pread(fd, now, sizeof now - 1, 0);
    while (got > 0 && (now[got - 1] == '\n' || now[got - 1] == ' '))
        got--;
    if (got > 0 && (size_t)got == strlen(sysctl->value) && memcmp(now, sysctl->value, (size_t)got) == 0)
        return 0;
    size_t length = strlen(sysctl->value);
    if (pwrite(fd, sysctl->value, length, 0) != (ssize_t)length)
        return err_errno(err, errno, "writing \"%s\" to %s", sysctl->value, path);
    return 0;
}

int net_sysctl(int netns_fd, const char *path, const char *value, struct err **err)
{
    struct sysctl sysctl = {path, value};
    return netns_run(netns_fd, write_sysctl, &sysctl, err);
}
