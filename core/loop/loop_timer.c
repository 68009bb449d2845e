/*
 * loop_timer: one-shot timers in a binary heap ordered by (deadline, order of setting).
 *
 * Invariant: timer->index is its place in the heap, SIZE_MAX when it is not running; a timer that fires is
 * out of the heap before its task runs, so the task may restart or free it. It does not group timers: the
 * timers of a process are thousands, and each operation is O(log n).
 */
#include "loop/loop_private.h"

static bool timer_before(const struct loop_timer *a, const struct loop_timer *b)
{
    return a->deadline_ns != b->deadline_ns ? a->deadline_ns < b->deadline_ns : a->sequence < b->sequence;
}

static void heap_place(struct loop *loop, size_t index, struct loop_timer *timer)
{
    loop->heap[index] = timer;
    timer->index = index;
}

static void heap_up(struct loop *loop, size_t index, struct loop_timer *timer)
{
    while (index > 0 && timer_before(timer, loop->heap[(index - 1) / 2])) {
        heap_place(loop, index, loop->heap[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    heap_place(loop, index, timer);
}

static void heap_down(struct loop *loop, size_t index, struct loop_timer *timer)
{
    for (;;) {
        size_t child = index * 2 + 1;
        if (child >= loop->n_timers)
            break;
        if (child + 1 < loop->n_timers && timer_before(loop->heap[child + 1], loop->heap[child]))
            child++;
        if (!timer_before(loop->heap[child], timer))
            break;
        heap_place(loop, index, loop->heap[child]);
        index = child;
    }
    heap_place(loop, index, timer);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_task *task, void *arg)
{
    struct loop_timer *timer = NEW(struct loop_timer);
    timer->loop = loop;
    timer->task = task;
    timer->arg = arg;
    timer->index = SIZE_MAX;
    return timer;
}

static void timer_start_ns(struct loop_timer *timer, int64_t deadline_ns)
{
    struct loop *loop = timer->loop;
    loop_timer_stop(timer);
    if (loop->n_timers == loop->heap_capacity) {
        loop->heap_capacity = loop->heap_capacity ? loop->heap_capacity * 2 : 32;
        loop->heap = mem_resize(loop->heap, loop->heap_capacity, sizeof(*loop->heap));
    }
    timer->deadline_ns = deadline_ns;
    timer->sequence = loop->next_sequence++;
    heap_up(loop, loop->n_timers++, timer);
}

void loop_timer_start(struct loop_timer *timer, int64_t delay_ms)
{
    int64_t delay_ns = 0;
    int64_t deadline = 0;
    if (delay_ms > 0 && __builtin_mul_overflow(delay_ms, (int64_t)1000000, &delay_ns))
        delay_ns = INT64_MAX;
    if (__builtin_add_overflow(loop_now_ns(timer->loop), delay_ns, &deadline))
        deadline = INT64_MAX;
    timer_start_ns(timer, deadline);
}

void loop_timer_start_at(struct loop_timer *timer, int64_t monotonic_ms)
{
    int64_t deadline = 0;
    if (__builtin_mul_overflow(monotonic_ms, (int64_t)1000000, &deadline))
        deadline = monotonic_ms > 0 ? INT64_MAX : 0;
    timer_start_ns(timer, deadline);
}

void loop_timer_stop(struct loop_timer *timer)
{
    if (timer->index == SIZE_MAX)
        return;
    struct loop *loop = timer->loop;
    size_t hole = timer->index;
    timer->index = SIZE_MAX;
    struct loop_timer *last = loop->heap[--loop->n_timers];
    if (last == timer)
        return;
    if (hole > 0 && timer_before(last, loop->heap[(hole - 1) / 2]))
        heap_up(loop, hole, last);
    else
        heap_down(loop, hole, last);
}

bool loop_timer_running(const struct loop_timer *timer)
{
    return timer->index != SIZE_MAX;
}

void loop_timer_free(struct loop_timer *timer)
{
    if (!timer)
        return;
    loop_timer_stop(timer);
    free(timer);
}

struct loop_timer *loop_timer_first(struct loop *loop)
{
    return loop->n_timers ? loop->heap[0] : NULL;
}

bool loop_timer_run_due(struct loop *loop, int64_t now_ns, uint64_t sequence_limit)
{
    struct loop_timer *first = loop_timer_first(loop);
    if (!first || first->deadline_ns > now_ns || first->sequence >= sequence_limit)
        return false;
    loop_timer_stop(first);
    first->task(first->arg);
    return true;
}
