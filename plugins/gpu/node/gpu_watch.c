#include <errno.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "gpu.h"

#define SETTLE_MS 300 /* a driver makes its device nodes one after the other */

struct gpu_watch {
    int fd;
    struct loop_fd *ready;
    struct loop_timer *timer;
};

static void on_ready(void *arg, unsigned events UNUSED)
{
    struct gpu_watch *watch = arg;
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool ours = false;
    ssize_t n;
    while ((n = read(watch->fd, buffer, sizeof buffer)) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const void *)(buffer + at);
            ours = ours || (event->mask & IN_Q_OVERFLOW) || (event->len && str_starts(event->name, "nvidia"));
            at += (ssize_t)(sizeof *event + event->len);
        }
    if (ours)
        loop_timer_start(watch->timer, SETTLE_MS);
}

struct gpu_watch *gpu_watch_new(const char *root, struct loop *loop, loop_task *settled, void *arg)
{
    struct gpu_watch *watch = NEW(struct gpu_watch);
    auto_free char *folder = mem_printf("%s/dev", root);
    auto_err error = NULL;
    watch->timer = loop_timer_new(loop, settled, arg);
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd < 0 ||
        inotify_add_watch(watch->fd, folder, IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO) < 0)
        err_errno(&error, errno, "watching %s", folder);
    else
        watch->ready = loop_fd_add(loop, watch->fd, EPOLLIN, on_ready, watch, &error);
    if (error)
        log_warn("gpu", "devices that come or go are not seen: %s", err_message(error));
    return watch;
}

void gpu_watch_free(struct gpu_watch *watch)
{
    if (!watch)
        return;
    loop_fd_remove(watch->ready);
    loop_timer_free(watch->timer);
    if (watch->fd >= 0)
        close(watch->fd);
    free(watch);
}
