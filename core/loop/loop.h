/*
 * loop: one epoll loop per thread, timers, signals, tasks posted from other threads, and a worker pool for
 * calls that block. A virtual loop runs the same program under a clock that jumps (simulation, contract 24).
 *
 * Threads: everything here is to be called on the loop's own thread, except loop_post, loop_stop and
 * pool_run. A callback may free the object that called it. Order: tasks in the order of posting; timers by
 * deadline, equal deadlines in the order in which they were set.
 */
#ifndef M8_LOOP_LOOP_H
#define M8_LOOP_LOOP_H

#include "base/err.h"
#include "base/mem.h"
#include "base/time.h"

struct loop;
struct loop_fd;
struct loop_timer;
struct loop_signals;
struct pool;

typedef void loop_task(void *arg);

struct loop *loop_new(struct err **err);
/* Own virtual clock: wall starts at wall_ns, monotonic at 0; never blocks: with nothing runnable it jumps to
 * the next timer. */
struct loop *loop_new_virtual(int64_t wall_ns);
void loop_free(struct loop *loop); /* runs nothing; frees what is still queued without calling it */
const struct clock *loop_clock(struct loop *loop); /* the clock that everybody on this loop uses */
int64_t loop_now_ms(struct loop *loop);            /* monotonic */

void loop_run(struct loop *loop);  /* until loop_stop */
void loop_stop(struct loop *loop); /* any thread, signal-safe */
/* Virtual loops: runs everything due up to that moment (monotonic ms) and leaves the clock there; returns the
 * number of callbacks run. */
size_t loop_run_until(struct loop *loop, int64_t monotonic_ms);
/* Virtual loops: runs one callback, jumping if needed; false when nothing is left. */
bool loop_step(struct loop *loop);

void loop_post(struct loop *loop, loop_task *task, void *arg); /* any thread */

struct loop_timer *loop_timer_new(struct loop *loop, loop_task *task, void *arg); /* not running */
void loop_timer_start(struct loop_timer *timer, int64_t delay_ms); /* one shot; restarts if running */
void loop_timer_start_at(struct loop_timer *timer, int64_t monotonic_ms);
void loop_timer_stop(struct loop_timer *timer);
bool loop_timer_running(const struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer); /* NULL is fine */

/* events: EPOLLIN/EPOLLOUT mask, level-triggered. The fd stays the caller's. ERR_INVALID on a virtual loop.
 */
typedef void loop_fd_ready(void *arg, unsigned events);
struct loop_fd *loop_fd_add(struct loop *loop, int fd, unsigned events, loop_fd_ready *ready, void *arg,
                            struct err **err);
void loop_fd_events(struct loop_fd *handle, unsigned events);
void loop_fd_remove(struct loop_fd *handle); /* NULL is fine */

/* Calls on_signal on the loop for the listed signals (blocked process-wide by signalfd; call before other
 * threads). */
typedef void loop_on_signal(void *arg, int signal_number, int pid);
struct loop_signals *loop_signals_add(struct loop *loop, const int *signals, size_t count,
                                      loop_on_signal *on_signal, void *arg, struct err **err);
void loop_signals_remove(struct loop_signals *signals);

/* Worker pool. `work` runs on a pool thread, then `done` (may be NULL) on `loop`. With n_threads == 0 both
 * run on the loop as posted tasks, in order: what simulations use. */
struct pool *pool_new(size_t n_threads);
void pool_run(struct pool *pool, struct loop *loop, loop_task *work, loop_task *done, void *arg);
void pool_free(struct pool *pool); /* waits for running work, drops queued work; before the loops go */

#endif
