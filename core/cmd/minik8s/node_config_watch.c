/*
 * Notices that a node's configuration file changed: by inotify on its folder, because editors put a new file
 * in the place of the old one, and by SIGHUP. Changes within a moment are one.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/str.h"
#include "loop/loop.h"
#include "node_config.h"

#define SETTLE_MS 50

struct node_config_watch {
    int inotify;
    char *name; /* within its folder */
    struct loop_fd *fd;
    struct loop_timer *timer;
    struct loop_signals *signals;
    void (*changed)(void *arg);
    void *arg;
};

static void on_timer(void *arg)
{
    struct node_config_watch *watch = arg;
    watch->changed(watch->arg);
}

static void on_signal(void *arg, int signal_number UNUSED, int pid UNUSED)
{
    on_timer(arg);
}

static void on_ready(void *arg, unsigned events UNUSED)
{
    struct node_config_watch *watch = arg;
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(watch->inotify, buffer, sizeof buffer);
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *event = (const struct inotify_event *)(buffer + at);
        if (event->len && str_eq(event->name, watch->name))
            loop_timer_start(watch->timer, SETTLE_MS);
        at += (ssize_t)(sizeof *event + event->len);
    }
}

struct node_config_watch *node_config_watch_new(struct loop *loop, const char *path,
                                                void (*changed)(void *arg), void *arg, struct err **err)
{
    static const int signals[] = {SIGHUP};
    const char *slash = strrchr(path, '/');
    auto_free char *folder = slash ? mem_strndup(path, (size_t)(slash - path) + 1) : mem_strdup(".");
    struct node_config_watch *watch = NEW(struct node_config_watch);
    watch->name = mem_strdup(slash ? slash + 1 : path);
    watch->changed = changed;
    watch->arg = arg;
    watch->timer = loop_timer_new(loop, on_timer, watch);
    watch->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch->inotify < 0 ||
        inotify_add_watch(watch->inotify, folder, IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR) < 0)
        err_errno(err, errno, "watching %s", folder);
    else if ((watch->fd = loop_fd_add(loop, watch->inotify, EPOLLIN, on_ready, watch, err)) &&
             (watch->signals = loop_signals_add(loop, signals, COUNT_OF(signals), on_signal, watch, err)))
        return watch;
    node_config_watch_free(watch);
    return NULL;
}

void node_config_watch_free(struct node_config_watch *watch)
{
    if (!watch)
        return;
    if (watch->signals)
        loop_signals_remove(watch->signals);
    loop_fd_remove(watch->fd);
    loop_timer_free(watch->timer);
    if (watch->inotify >= 0)
        close(watch->inotify);
    free(watch->name);
    free(watch);
}
