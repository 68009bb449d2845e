/* The queue's promises: one entry per key, one worker per key, delays, back-off, and the revision gate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/str.h"
#include "queue/queue.h"

struct world {
    struct loop *loop;
    struct queue *queue;
    int told;
};

static void on_ready(void *arg)
{
    ((struct world *)arg)->told++;
}

static int set_up(void **state)
{
    struct world *w = NEW(struct world);
    w->loop = loop_new_virtual(0);
    w->queue = queue_new(w->loop, on_ready, w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    queue_free(w->queue);
    loop_free(w->loop);
    free(w);
    return 0;
}

static void expect_take(struct world *w, const char *key)
{
    auto_free char *taken = queue_take(w->queue);
    if (key)
        assert_string_equal(taken, key);
    else
        assert_null(taken);
}

static void run_for(struct world *w, int64_t ms)
{
    loop_run_until(w->loop, loop_now_ms(w->loop) + ms);
}

static void test_deduplicates_in_order(void **state)
{
    struct world *w = *state;
    queue_add(w->queue, "a");
    queue_add(w->queue, "b");
    queue_add(w->queue, "a");
    assert_int_equal(queue_length(w->queue), 2);
    run_for(w, 1);
    assert_int_equal(w->told, 1);
    expect_take(w, "a");
    expect_take(w, "b");
    expect_take(w, NULL);
}

static void test_added_in_work_comes_again_once(void **state)
{
    struct world *w = *state;
    queue_add(w->queue, "a");
    expect_take(w, "a");
    queue_add(w->queue, "a");
    queue_add(w->queue, "a");
    expect_take(w, NULL);
    queue_done(w->queue, "a");
    run_for(w, 1);
    expect_take(w, "a");
    queue_done(w->queue, "a");
    expect_take(w, NULL);
}

static void test_delay_keeps_the_earliest(void **state)
{
    struct world *w = *state;
    queue_add_after(w->queue, "late", 100);
    queue_add_after(w->queue, "late", 500);
    queue_add_after(w->queue, "soon", 50);
    queue_add_after(w->queue, "sooner", 90);
    queue_add_after(w->queue, "sooner", 10);
    run_for(w, 60);
    expect_take(w, "sooner");
    expect_take(w, "soon");
    expect_take(w, NULL);
    run_for(w, 60);
    expect_take(w, "late");
    queue_done(w->queue, "late");
    run_for(w, 1000);
    expect_take(w, NULL);
}

static void test_back_off_doubles_and_is_forgotten(void **state)
{
    struct world *w = *state;
    queue_add(w->queue, "a");
    int64_t expected = 5;
    for (int i = 0; i < 20; i++) {
        auto_free char *key = queue_take(w->queue);
        assert_non_null(key);
        queue_retry(w->queue, "a");
        assert_int_equal(queue_retries(w->queue, "a"), i + 1);
        run_for(w, expected - 1);
        expect_take(w, NULL);
        run_for(w, 1);
        expected = expected * 2 > 60000 ? 60000 : expected * 2;
    }
    expect_take(w, "a");
    queue_forget(w->queue, "a");
    queue_done(w->queue, "a");
    assert_int_equal(queue_retries(w->queue, "a"), 0);
}

static void test_gate_holds_until_the_revision(void **state)
{
    struct world *w = *state;
    queue_add(w->queue, "a");
    expect_take(w, "a");
    queue_wait_for(w->queue, "a", 10);
    queue_add(w->queue, "a");
    queue_done(w->queue, "a");
    queue_add(w->queue, "b");
    run_for(w, 1);
    expect_take(w, "b");
    expect_take(w, NULL);
    queue_reached(w->queue, 9);
    expect_take(w, NULL);
    queue_reached(w->queue, 10);
    expect_take(w, "a");
    queue_done(w->queue, "a");
    queue_add(w->queue, "a"); /* the gate is open for good */
    expect_take(w, "a");
}

static void test_gate_set_while_ready(void **state)
{
    struct world *w = *state;
    queue_add(w->queue, "a");
    queue_wait_for(w->queue, "a", 3);
    expect_take(w, NULL);
    queue_reached(w->queue, 3);
    expect_take(w, "a");
}

static void test_many_keys_with_random_delays(void **state)
{
    struct world *w = *state;
    enum { N = 2000 };
    for (int i = 0; i < N; i++) {
        auto_free char *key = mem_printf("k%d", i);
        queue_add_after(w->queue, key, 1 + (i * 7919) % 1000);
        if (i % 3 == 0)
            queue_add_after(w->queue, key, 1 + (i * 31) % 500);
    }
    int seen = 0;
    for (int ms = 0; ms <= 1001; ms++) {
        run_for(w, 1);
        char *key;
        while ((key = queue_take(w->queue))) {
            int i = atoi(key + 1), due = 1 + (i * 7919) % 1000, other = 1 + (i * 31) % 500;
            if (i % 3 == 0 && other < due)
                due = other;
            assert_int_equal(due, ms + 1);
            queue_done(w->queue, key);
            free(key);
            seen++;
        }
    }
    assert_int_equal(seen, N);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_deduplicates_in_order),         TEST(test_added_in_work_comes_again_once),
        TEST(test_delay_keeps_the_earliest),      TEST(test_back_off_doubles_and_is_forgotten),
        TEST(test_gate_holds_until_the_revision), TEST(test_gate_set_while_ready),
        TEST(test_many_keys_with_random_delays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
