/*
 * loop: tasks and the turn of the loop, real and virtual.
 *
 * A turn runs the tasks that were queued when it began, then the timers due at its beginning, then what epoll
 * reports; so none of the three can starve another by queuing itself again. It does not catch errors of
 * callbacks. Invariant: `sleeping` is true only while the loop's thread is about to be in epoll_wait with an
 * empty queue; whoever queues a task then clears it and writes the eventfd, once.
 */
#include "loop/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop/loop_private.h"

static int64_t virtual_monotonic(void *arg)
{
    return ((struct loop *)arg)->virtual_ns;
}

static int64_t virtual_wall(void *arg)
{
    struct loop *loop = arg;
    return loop->wall_offset_ns + loop->virtual_ns;
}

static struct loop *loop_alloc(void)
{
    struct loop *loop = NEW(struct loop);
    loop->epoll = loop->wake_fd = -1;
    list_init(&loop->removed_fds);
    must(pthread_mutex_init(&loop->lock, NULL) == 0);
    return loop;
}

struct loop *loop_new(struct err **err)
{
    struct loop *loop = loop_alloc();
    loop->clock = clock_system;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (loop->epoll < 0 || loop->wake_fd < 0 ||
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake_fd, &event) != 0) {
        err_errno(err, errno, "cannot make an event loop");
        loop_free(loop);
        return NULL;
    }
    return loop;
}

struct loop *loop_new_virtual(int64_t wall_ns)
{
    struct loop *loop = loop_alloc();
    loop->virtual = true;
    loop->wall_offset_ns = wall_ns;
    loop->clock = (struct clock){virtual_monotonic, virtual_wall, loop};
    return loop;
}

static void tasks_drop(struct loop_tasks *tasks)
{
    for (size_t i = tasks->begin; i < tasks->count; i++)
        if (tasks->at[i].drop)
            tasks->at[i].drop(tasks->at[i].arg);
    free(tasks->at);
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    tasks_drop(&loop->running);
    tasks_drop(&loop->incoming);
    for (size_t i = 0; i < loop->n_timers; i++)
        loop->heap[i]->index = SIZE_MAX;
    free(loop->heap);
    loop_fd_free_removed(loop);
    fd_cleanup(&loop->epoll);
    fd_cleanup(&loop->wake_fd);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

const struct clock *loop_clock(struct loop *loop)
{
    return &loop->clock;
}

int64_t loop_now_ns(struct loop *loop)
{
    return loop->clock.monotonic_ns(loop->clock.arg);
}

int64_t loop_now_ms(struct loop *loop)
{
    return loop_now_ns(loop) / 1000000;
}

static void loop_wake(struct loop *loop)
{
    if (loop->wake_fd < 0)
        return;
    const uint64_t one = 1;
    ssize_t written = write(loop->wake_fd, &one, sizeof(one));
    (void)written; /* EAGAIN means that it is readable already */
}

void loop_stop(struct loop *loop)
{
    int saved = errno;
    atomic_store(&loop->stop, true);
    loop_wake(loop);
    errno = saved;
}

void loop_post_droppable(struct loop *loop, loop_task *task, loop_task *drop, void *arg)
{
    pthread_mutex_lock(&loop->lock);
    struct loop_tasks *incoming = &loop->incoming;
    if (incoming->count == incoming->capacity) {
        incoming->capacity = incoming->capacity ? incoming->capacity * 2 : 64;
        incoming->at = mem_resize(incoming->at, incoming->capacity, sizeof(*incoming->at));
    }
    incoming->at[incoming->count++] = (struct loop_queued){task, drop, arg};
    bool wake = loop->sleeping;
    loop->sleeping = false;
    pthread_mutex_unlock(&loop->lock);
    if (wake)
        loop_wake(loop);
}

void loop_post(struct loop *loop, loop_task *task, void *arg)
{
    loop_post_droppable(loop, task, NULL, arg);
}

/* Takes the next task; refills from `incoming` when `refill`. */
static bool loop_next_task(struct loop *loop, bool refill, struct loop_queued *task)
{
    struct loop_tasks *running = &loop->running;
    if (running->begin == running->count) {
        running->begin = running->count = 0;
        if (!refill)
            return false;
        pthread_mutex_lock(&loop->lock);
        struct loop_tasks swap = loop->incoming;
        loop->incoming = *running;
        *running = swap;
        pthread_mutex_unlock(&loop->lock);
        if (running->count == 0)
            return false;
    }
    *task = running->at[running->begin++];
    return true;
}

static int loop_timeout_ms(struct loop *loop)
{
    struct loop_timer *first = loop_timer_first(loop);
    int64_t timeout = -1;
    if (first) {
        int64_t wait_ns = first->deadline_ns - loop_now_ns(loop);
        timeout = wait_ns <= 0 ? 0 : (wait_ns + 999999) / 1000000;
        if (timeout > INT32_MAX)
            timeout = INT32_MAX;
    }
    pthread_mutex_lock(&loop->lock);
    if (loop->incoming.count > 0)
        timeout = 0;
    loop->sleeping = timeout != 0;
    pthread_mutex_unlock(&loop->lock);
    return (int)timeout;
}

static void loop_turn(struct loop *loop)
{
    struct loop_queued task;
    bool refill = true;
    while (!atomic_load(&loop->stop) && loop_next_task(loop, refill, &task)) {
        refill = false;
        task.task(task.arg);
    }
    int64_t now = loop_now_ns(loop);
    uint64_t limit = loop->next_sequence;
    while (!atomic_load(&loop->stop) && loop_timer_run_due(loop, now, limit))
        ;
    if (!atomic_load(&loop->stop))
        loop_fd_dispatch(loop, loop_timeout_ms(loop));
}

void loop_run(struct loop *loop)
{
    if (loop->virtual) {
        while (!atomic_load(&loop->stop) && loop_step(loop))
            ;
    } else {
        while (!atomic_load(&loop->stop))
            loop_turn(loop);
    }
    atomic_store(&loop->stop, false);
}

/* One task, or one timer due by limit_ns. */
static bool loop_virtual_step(struct loop *loop, int64_t limit_ns)
{
    struct loop_queued task;
    if (loop_next_task(loop, true, &task)) {
        task.task(task.arg);
        return true;
    }
    struct loop_timer *first = loop_timer_first(loop);
    if (!first || first->deadline_ns > limit_ns)
        return false;
    if (first->deadline_ns > loop->virtual_ns)
        loop->virtual_ns = first->deadline_ns;
    return loop_timer_run_due(loop, loop->virtual_ns, UINT64_MAX);
}

bool loop_step(struct loop *loop)
{
    must(loop->virtual);
    return loop_virtual_step(loop, INT64_MAX);
}

size_t loop_run_until(struct loop *loop, int64_t monotonic_ms)
{
    must(loop->virtual);
    int64_t limit = monotonic_ms * 1000000;
    size_t count = 0;
    while (!atomic_load(&loop->stop) && loop_virtual_step(loop, limit))
        count++;
    if (!atomic_exchange(&loop->stop, false) && loop->virtual_ns < limit)
        loop->virtual_ns = limit;
    return count;
}
