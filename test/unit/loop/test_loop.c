/* loop: tasks, timers, descriptors, signals and the pool, on real and virtual loops; order and freeing in
 * callbacks. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/str.h"
#include "loop/loop.h"

struct trace {
    struct loop *loop;
    struct str text;
    struct loop_timer *timer;
    struct loop_fd *fds[2];
    int pipes[2][2];
    int count;
    struct pool *pool;
    struct loop_signals *signals;
};

struct note {
    struct trace *trace;
    char name;
};

static void note_run(void *arg)
{
    struct note *note = arg;
    str_add_char(&note->trace->text, note->name);
}

static void post_more(void *arg)
{
    struct trace *trace = arg;
    str_add_char(&trace->text, 'p');
    if (++trace->count < 3)
        loop_post(trace->loop, post_more, trace);
}

static void test_virtual_order(void **state UNUSED)
{
    struct trace trace = {.loop = loop_new_virtual(1000)};
    struct note a = {&trace, 'a'}, b = {&trace, 'b'}, c = {&trace, 'c'}, d = {&trace, 'd'};
    struct loop_timer *late = loop_timer_new(trace.loop, note_run, &a);
    struct loop_timer *first = loop_timer_new(trace.loop, note_run, &b);
    struct loop_timer *second = loop_timer_new(trace.loop, note_run, &c);
    loop_timer_start(late, 20);
    loop_timer_start(first, 10);
    loop_timer_start_at(second, 10);
    loop_post(trace.loop, note_run, &d);
    assert_int_equal(loop_run_until(trace.loop, 9), 1);
    assert_string_equal(str_c(&trace.text), "d");
    assert_int_equal(loop_now_ms(trace.loop), 9);
    assert_int_equal(clock_wall_ns(loop_clock(trace.loop)), 1000 + 9000000);
    loop_timer_start_at(first, 10); /* set again: now after `second` */
    assert_true(loop_step(trace.loop));
    assert_int_equal(loop_now_ms(trace.loop), 10);
    assert_int_equal(loop_run_until(trace.loop, 100), 2);
    assert_string_equal(str_c(&trace.text), "dcba");
    assert_false(loop_step(trace.loop));
    assert_int_equal(loop_now_ms(trace.loop), 100);
    loop_timer_start(first, 5);
    assert_true(loop_timer_running(first));
    loop_timer_free(first);
    loop_timer_free(second);
    loop_timer_free(late);
    assert_false(loop_step(trace.loop));
    loop_free(trace.loop);
    str_free(&trace.text);
}

static void timer_free_self(void *arg)
{
    struct trace *trace = arg;
    loop_timer_free(trace->timer);
    trace->timer = NULL;
    trace->count++;
}

static void timer_again(void *arg)
{
    struct trace *trace = arg;
    if (++trace->count == 1000)
        loop_timer_free(steal(&trace->timer));
    else
        loop_timer_start(trace->timer, 3);
}

static void test_virtual_timer_self(void **state UNUSED)
{
    struct trace trace = {.loop = loop_new_virtual(0)};
    trace.timer = loop_timer_new(trace.loop, timer_free_self, &trace);
    loop_timer_start(trace.timer, -5); /* a time gone by is now */
    loop_run(trace.loop);              /* ends when nothing is left */
    assert_int_equal(trace.count, 1);
    trace.count = 0;
    trace.timer = loop_timer_new(trace.loop, timer_again, &trace);
    loop_timer_start(trace.timer, 0);
    loop_run(trace.loop);
    assert_int_equal(trace.count, 1000);
    assert_int_equal(loop_now_ms(trace.loop), 999 * 3);
    loop_free(trace.loop);
}

struct checked {
    struct loop *loop;
    struct loop_timer *timer;
    int64_t deadline; /* -1: must not fire */
    int64_t *last;
    int *fired;
};

static void checked_fire(void *arg)
{
    struct checked *checked = arg;
    assert_int_equal(checked->deadline, loop_now_ms(checked->loop));
    assert_true(*checked->last <= checked->deadline);
    *checked->last = checked->deadline;
    checked->deadline = -1;
    ++*checked->fired;
}

/* Random starts, restarts and stops against the plain expectation: each fires at its last deadline, in order.
 */
static void test_virtual_timers_random(void **state UNUSED)
{
    enum { TIMERS = 500 };
    struct random_seeded seeded;
    struct random random;
    random_seeded_init(&seeded, 42, &random);
    struct loop *loop = loop_new_virtual(0);
    struct checked all[TIMERS];
    int64_t last = 0;
    int fired = 0, expected = 0;
    for (int i = 0; i < TIMERS; i++)
        all[i] = (struct checked){loop, loop_timer_new(loop, checked_fire, &all[i]), -1, &last, &fired};
    for (int i = 0; i < 5000; i++) {
        struct checked *one = &all[random_below(&random, TIMERS)];
        one->deadline = random_below(&random, 4) ? (int64_t)random_below(&random, 1000) : -1;
        if (one->deadline < 0)
            loop_timer_stop(one->timer);
        else
            loop_timer_start_at(one->timer, one->deadline);
        assert_int_equal(loop_timer_running(one->timer), one->deadline >= 0);
    }
    for (int i = 0; i < TIMERS; i++)
        expected += all[i].deadline >= 0;
    loop_run_until(loop, 2000);
    assert_int_equal(fired, expected);
    for (int i = 0; i < TIMERS; i++)
        loop_timer_free(all[i].timer);
    loop_free(loop);
}

static void pool_work(void *arg)
{
    struct note *note = arg;
    str_add_char(&note->trace->text, note->name);
}

static void pool_done(void *arg)
{
    struct note *note = arg;
    str_add_char(&note->trace->text, (char)(note->name - 'a' + 'A'));
    if (++note->trace->count == 2 && note->trace->loop)
        loop_stop(note->trace->loop);
}

static void test_pool_inline(void **state UNUSED)
{
    struct trace trace = {.loop = loop_new_virtual(0)};
    struct pool *pool = pool_new(0);
    struct note a = {&trace, 'a'}, b = {&trace, 'b'}, c = {&trace, 'c'};
    pool_run(pool, trace.loop, pool_work, pool_done, &a);
    pool_run(pool, trace.loop, pool_work, pool_done, &b);
    assert_string_equal(str_c(&trace.text), "");
    loop_run(trace.loop);
    assert_string_equal(str_c(&trace.text), "abAB");
    pool_run(pool, trace.loop, pool_work, pool_done, &c); /* dropped with the pool */
    pool_free(pool);
    loop_run(trace.loop);
    assert_string_equal(str_c(&trace.text), "abAB");
    pool = pool_new(0);
    pool_run(pool, trace.loop, pool_work, NULL, &c); /* dropped with the loop: nothing leaks (asan) */
    loop_free(trace.loop);
    pool_free(pool);
    assert_string_equal(str_c(&trace.text), "abAB");
    str_free(&trace.text);
}

static void test_pool_threads(void **state UNUSED)
{
    struct trace trace = {.loop = loop_new(NULL)};
    struct pool *pool = pool_new(1);
    struct note a = {&trace, 'a'}, b = {&trace, 'b'};
    pool_run(pool, trace.loop, pool_work, pool_done, &a);
    pool_run(pool, trace.loop, pool_work, pool_done, &b);
    loop_run(trace.loop);
    assert_int_equal(trace.count, 2);
    pool_free(pool);
    loop_free(trace.loop);
    str_free(&trace.text);
}

enum { POSTERS = 4, POSTS = 20000 };

struct poster {
    struct loop *loop;
    int next, seen, *total;
};

static void poster_task(void *arg)
{
    struct poster *poster = arg;
    poster->seen++;
    if (++*poster->total == POSTERS * POSTS)
        loop_stop(poster->loop);
}

static void *poster_thread(void *arg)
{
    struct poster *poster = arg;
    for (int i = 0; i < POSTS; i++)
        loop_post(poster->loop, poster_task, poster);
    return NULL;
}

/* No wake-up is lost: every task of every thread runs, while the loop keeps falling asleep. */
static void test_post_from_threads(void **state UNUSED)
{
    struct loop *loop = loop_new(NULL);
    int total = 0;
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.loop = loop, .total = &total};
        assert_int_equal(pthread_create(&threads[i], NULL, poster_thread, &posters[i]), 0);
    }
    loop_run(loop);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(posters[i].seen, POSTS);
    }
    loop_free(loop);
}

static void stop_task(void *arg)
{
    loop_stop(arg);
}

/* A task and a timer that queue themselves again for ever must not starve each other nor a descriptor. */
static void spin_task(void *arg)
{
    struct trace *trace = arg;
    trace->count++;
    loop_post(trace->loop, spin_task, trace);
}

static void spin_timer(void *arg)
{
    struct trace *trace = arg;
    loop_timer_start(trace->timer, 0);
}

static void fd_stop(void *arg, unsigned events UNUSED)
{
    struct trace *trace = arg;
    loop_stop(trace->loop);
}

static void test_no_starvation(void **state UNUSED)
{
    struct trace trace = {.loop = loop_new(NULL)};
    trace.timer = loop_timer_new(trace.loop, spin_timer, &trace);
    loop_timer_start(trace.timer, 0);
    loop_post(trace.loop, spin_task, &trace);
    assert_int_equal(pipe(trace.pipes[0]), 0);
    assert_int_equal(write(trace.pipes[0][1], "x", 1), 1);
    struct loop_fd *fd = loop_fd_add(trace.loop, trace.pipes[0][0], EPOLLIN, fd_stop, &trace, NULL);
    assert_non_null(fd);
    loop_run(trace.loop);
    assert_true(trace.count >= 1);
    loop_fd_remove(fd);
    loop_timer_free(trace.timer);
    close(trace.pipes[0][0]);
    close(trace.pipes[0][1]);
    loop_free(trace.loop);
}

/* Both descriptors are ready in one epoll_wait; whichever runs first removes both. */
static void fd_remove_both(void *arg, unsigned events UNUSED)
{
    struct trace *trace = arg;
    trace->count++;
    loop_fd_remove(trace->fds[0]);
    loop_fd_remove(trace->fds[1]);
    loop_post(trace->loop, stop_task, trace->loop);
}

static void test_fd_remove_in_callback(void **state UNUSED)
{
    struct trace trace = {.loop = loop_new(NULL)};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe(trace.pipes[i]), 0);
        assert_int_equal(write(trace.pipes[i][1], "x", 1), 1);
        trace.fds[i] = loop_fd_add(trace.loop, trace.pipes[i][0], EPOLLIN, fd_remove_both, &trace, NULL);
        assert_non_null(trace.fds[i]);
    }
    loop_run(trace.loop);
    assert_int_equal(trace.count, 1);
    for (int i = 0; i < 2; i++) {
        close(trace.pipes[i][0]);
        close(trace.pipes[i][1]);
    }
    auto_err error = NULL;
    assert_null(loop_fd_add(trace.loop, -1, EPOLLIN, fd_stop, &trace, &error));
    assert_int_equal(err_code(error), ERR_IO);
    loop_free(trace.loop);
}

static void on_signal(void *arg, int number, int pid)
{
    struct trace *trace = arg;
    assert_int_equal(number, SIGUSR1);
    assert_int_equal(pid, getpid());
    loop_signals_remove(trace->signals);
    trace->count++;
    loop_stop(trace->loop);
}

static void test_signals(void **state UNUSED)
{
    struct trace trace = {.loop = loop_new(NULL)};
    trace.signals = loop_signals_add(trace.loop, (int[]){SIGUSR1}, 1, on_signal, &trace, NULL);
    assert_non_null(trace.signals);
    kill(getpid(), SIGUSR1);
    loop_run(trace.loop);
    assert_int_equal(trace.count, 1);
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    assert_false(sigismember(&now, SIGUSR1));
    loop_free(trace.loop);
    struct loop *virtual = loop_new_virtual(0);
    auto_err error = NULL;
    assert_null(loop_signals_add(virtual, (int[]){SIGUSR1}, 1, on_signal, NULL, &error));
    assert_int_equal(err_code(error), ERR_INVALID);
    loop_free(virtual);
}

static void test_real_timer(void **state UNUSED)
{
    struct loop *loop = loop_new(NULL);
    struct loop_timer *timer = loop_timer_new(loop, stop_task, loop);
    struct loop_timer *far = loop_timer_new(loop, stop_task, loop);
    int64_t begin = loop_now_ms(loop);
    loop_timer_start(far, INT64_MAX); /* saturates */
    loop_timer_start(timer, 20);
    loop_run(loop);
    assert_true(loop_now_ms(loop) - begin >= 20);
    loop_timer_free(timer);
    loop_timer_free(far);
    loop_free(loop);
}

static void test_tasks_post_tasks(void **state UNUSED)
{
    struct trace trace = {.loop = loop_new_virtual(0)};
    loop_post(trace.loop, post_more, &trace);
    loop_post(trace.loop, note_run, &(struct note){&trace, 'x'});
    loop_run(trace.loop);
    assert_string_equal(str_c(&trace.text), "pxpp");
    loop_stop(trace.loop); /* before the run: the run returns at once */
    loop_post(trace.loop, post_more, &trace);
    loop_run(trace.loop);
    assert_string_equal(str_c(&trace.text), "pxpp");
    loop_free(trace.loop);
    str_free(&trace.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_virtual_order),
        cmocka_unit_test(test_virtual_timer_self),
        cmocka_unit_test(test_virtual_timers_random),
        cmocka_unit_test(test_pool_inline),
        cmocka_unit_test(test_pool_threads),
        cmocka_unit_test(test_post_from_threads),
        cmocka_unit_test(test_no_starvation),
        cmocka_unit_test(test_fd_remove_in_callback),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_real_timer),
        cmocka_unit_test(test_tasks_post_tasks),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
