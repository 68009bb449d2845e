/*
 * loop_fd: file descriptors and signals on a real loop.
 *
 * A handle that is removed while its turn is being dispatched is only marked; its memory goes when the turn
 * ends, because later events of the same epoll_wait may still point to it. Virtual loops have no file
 * descriptors: readiness of a kernel object is not deterministic.
 */
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "loop/loop_private.h"

#define EVENTS_PER_TURN 64

struct loop_fd {
    struct loop *loop;
    int fd;
    bool removed;
    loop_fd_ready *ready;
    void *arg;
    struct list node; /* in removed_fds */
};

struct loop_signals {
    struct loop *loop;
    int fd;
    struct loop_fd *handle;
    loop_on_signal *on_signal;
    void *arg;
    sigset_t previous;
    bool *freed; /* set while a callback may remove us */
};

struct loop_fd *loop_fd_add(struct loop *loop, int fd, unsigned events, loop_fd_ready *ready, void *arg,
                            struct err **err)
{
    if (loop->virtual) {
        err_set(err, ERR_INVALID, "a virtual loop has no file descriptors");
        return NULL;
    }
    struct loop_fd *handle = NEW(struct loop_fd);
    *handle = (struct loop_fd){.loop = loop, .fd = fd, .ready = ready, .arg = arg};
    list_init(&handle->node);
    struct epoll_event event = {.events = events, .data.ptr = handle};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        err_errno(err, errno, "cannot watch file descriptor %d", fd);
        free(handle);
        return NULL;
    }
    return handle;
}

void loop_fd_events(struct loop_fd *handle, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = handle};
    if (soft_fails(epoll_ctl(handle->loop->epoll, EPOLL_CTL_MOD, handle->fd, &event) == 0))
        log_error("loop", "cannot change the events of file descriptor %d: errno %d", handle->fd, errno);
}

void loop_fd_remove(struct loop_fd *handle)
{
    if (!handle)
        return;
    /* fails harmlessly when the caller has closed the descriptor already */
    epoll_ctl(handle->loop->epoll, EPOLL_CTL_DEL, handle->fd, NULL);
    handle->removed = true;
    if (handle->loop->dispatching)
        list_add_tail(&handle->loop->removed_fds, &handle->node);
    else
        free(handle);
}

void loop_fd_free_removed(struct loop *loop)
{
    struct loop_fd *handle, *following;
    list_each_safe (handle, following, &loop->removed_fds, node) {
        list_remove(&handle->node);
        free(handle);
    }
}

void loop_fd_dispatch(struct loop *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(loop->epoll, events, EVENTS_PER_TURN, timeout_ms);
    must(count >= 0 || errno == EINTR);
    pthread_mutex_lock(&loop->lock);
    loop->sleeping = false;
    pthread_mutex_unlock(&loop->lock);
    loop->dispatching = true;
    for (int i = 0; i < count; i++) {
        struct loop_fd *handle = events[i].data.ptr;
        if (handle) {
            if (!handle->removed)
                handle->ready(handle->arg, events[i].events);
        } else {
            uint64_t ignored;
            ssize_t got = read(loop->wake_fd, &ignored, sizeof(ignored));
            (void)got; /* non-blocking: EAGAIN only if somebody else read it */
        }
    }
    loop->dispatching = false;
    loop_fd_free_removed(loop);
}

static void signals_ready(void *arg, unsigned events)
{
    struct loop_signals *signals = arg;
    struct signalfd_siginfo info;
    bool freed = false;
    (void)events;
/* gcc 12 does not see that `signals` is gone when freed is true, the only case in which the pointer stays */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdangling-pointer"
    signals->freed = &freed;
#pragma GCC diagnostic pop
    while (!freed && read(signals->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        signals->on_signal(signals->arg, (int)info.ssi_signo, (int)info.ssi_pid);
    if (!freed)
        signals->freed = NULL;
}

struct loop_signals *loop_signals_add(struct loop *loop, const int *numbers, size_t count,
                                      loop_on_signal *on_signal, void *arg, struct err **err)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < count; i++)
        if (sigaddset(&set, numbers[i]) != 0) {
            err_errno(err, errno, "signal %d", numbers[i]);
            return NULL;
        }
    struct loop_signals *signals = NEW(struct loop_signals);
    *signals = (struct loop_signals){.loop = loop, .on_signal = on_signal, .arg = arg};
    must(pthread_sigmask(SIG_BLOCK, &set, &signals->previous) == 0);
    signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals->fd < 0)
        err_errno(err, errno, "cannot make a signalfd");
    else
        signals->handle = loop_fd_add(loop, signals->fd, EPOLLIN, signals_ready, signals, err);
    if (!signals->handle) {
        loop_signals_remove(signals);
        return NULL;
    }
    return signals;
}

void loop_signals_remove(struct loop_signals *signals)
{
    if (!signals)
        return;
    if (signals->freed)
        *signals->freed = true;
    loop_fd_remove(signals->handle);
    /* what is still pending must not hit the default action when the mask is restored */
    struct signalfd_siginfo info;
    while (signals->fd >= 0 && read(signals->fd, &info, sizeof(info)) > 0)
        ;
    fd_cleanup(&signals->fd);
    must(pthread_sigmask(SIG_SETMASK, &signals->previous, NULL) == 0);
    free(signals);
}
