/* loop_private: what loop.c, loop_timer.c, loop_fd.c and pool.c share. */
#ifndef M8_LOOP_LOOP_PRIVATE_H
#define M8_LOOP_LOOP_PRIVATE_H

#include <pthread.h>

#include "base/list.h"
#include "loop/loop.h"

struct loop_queued {
    loop_task *task;
    loop_task *drop; /* called instead of task when the loop is freed; NULL: nothing */
    void *arg;
};

/* A queue that is filled by any thread and emptied by the loop; arrays are kept, so that posting allocates
 * nothing once they have grown. */
struct loop_tasks {
    struct loop_queued *at;
    size_t begin, count, capacity; /* at[begin .. count) are waiting */
};

struct loop {
    bool virtual;
    struct clock clock;
    int64_t virtual_ns, wall_offset_ns;

    pthread_mutex_t lock; /* guards incoming and sleeping */
    struct loop_tasks incoming;
    bool sleeping;
    struct loop_tasks running; /* the loop's thread only */
    atomic_bool stop;

    struct loop_timer **heap;
    size_t n_timers, heap_capacity;
    uint64_t next_sequence;

    int epoll, wake_fd;
    bool dispatching;
    struct list removed_fds;
};

struct loop_timer {
    struct loop *loop;
    loop_task *task;
    void *arg;
    int64_t deadline_ns;
    uint64_t sequence;
    size_t index; /* in the heap; SIZE_MAX: not running */
};

void loop_post_droppable(struct loop *loop, loop_task *task, loop_task *drop, void *arg);
int64_t loop_now_ns(struct loop *loop);
/* The timer that is due first, or NULL. */
struct loop_timer *loop_timer_first(struct loop *loop);
/* Runs the first timer if it is due at now_ns and was set before `sequence_limit`. */
bool loop_timer_run_due(struct loop *loop, int64_t now_ns, uint64_t sequence_limit);
void loop_fd_free_removed(struct loop *loop);
void loop_fd_dispatch(struct loop *loop, int timeout_ms);

#endif
