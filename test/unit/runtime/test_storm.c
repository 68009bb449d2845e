/*
 * The podman service is killed again and again while containers are created, started and removed. Whoever
 * just asks again gets there: every container has its turns, and nothing is left, neither in podman nor as a
 * process.
 */
#include "runtime_world.h"

#include "base/random.h"
#include "loop/helper.h"

#define ACTORS 6
#define TURNS 3
#define KILLS 8
#define MAX_TRIES 60

enum step { STEP_CREATE, STEP_START, STEP_REMOVE };

struct actor {
    struct storm *storm;
    char *name;
    enum step step;
    unsigned turn, tries, starts;
    bool broken; /* the start failed for good: remove, then create anew */
    struct loop_timer *again;
};

struct storm {
    struct world *world;
    struct random_seeded seeded;
    struct random random;
    struct loop_timer *kill;
    struct actor actors[ACTORS];
    unsigned left, kills, retries;
    bool lost;
};

static void act(void *arg);

static void next(struct actor *a, struct err *err)
{
    struct storm *s = a->storm;
    if (err) {
        if (++a->tries > MAX_TRIES) {
            fprintf(stderr, "%s, step %d: %s\n", a->name, a->step, err_message(err));
            s->lost = true;
            loop_stop(s->world->loop);
            return;
        }
        s->retries++;
        if (a->step == STEP_START && err_code(err) != ERR_UNAVAILABLE)
            a->step = STEP_REMOVE, a->broken = true;
        loop_timer_start(a->again, 20);
        return;
    }
    a->tries = 0;
    if (a->step == STEP_REMOVE) {
        a->step = STEP_CREATE;
        if (!a->broken && ++a->turn == TURNS) {
            if (--s->left == 0)
                loop_stop(s->world->loop);
            return;
        }
        a->broken = false;
    } else {
        a->starts += a->step == STEP_START;
        a->step++;
    }
    act(a);
}

static void on_step(void *arg, struct err *err)
{
    next(arg, err);
}

static void on_step_started(void *arg, struct runtime_container *container, struct err *err)
{
    runtime_container_free(container);
    next(arg, err);
}

static void act(void *arg)
{
    struct actor *a = arg;
    struct world *w = a->storm->world;
    world_clear_events(w);
    if (a->step == STEP_CREATE) {
        struct runtime_spec *spec = world_shell(w, NULL, a->name, "exec sleep 1000");
        free(spec->name);
        spec->name = mem_strdup(a->name);
        w->runtime->ops->create(w->runtime, spec, on_step, a);
        runtime_spec_free(spec);
    } else if (a->step == STEP_START) {
        w->runtime->ops->start(w->runtime, a->name, on_step_started, a);
    } else {
        w->runtime->ops->remove(w->runtime, a->name, on_step, a);
    }
}

static void on_kill(void *arg)
{
    struct storm *s = arg;
    auto_free char *pid_file = file_join(s->world->directory, "podman.pid");
    helper_terminate(pid_file, 0, NULL);
    if (++s->kills < KILLS)
        loop_timer_start(s->kill, 100 + (int64_t)random_below(&s->random, 400));
}

static void test_storm(void **state)
{
    struct world *w = *state;
    struct storm s = {.world = w, .left = ACTORS};
    random_seeded_init(&s.seeded, 7, &s.random);
    s.kill = loop_timer_new(w->loop, on_kill, &s);
    loop_timer_start(s.kill, 150);
    for (size_t i = 0; i < ACTORS; i++) {
        struct actor *a = &s.actors[i];
        a->storm = &s;
        a->name = mem_printf("actor%zu", i);
        a->again = loop_timer_new(w->loop, act, a);
        act(a);
    }
    double t0 = world_ms();
    loop_timer_start(w->late, 90000);
    loop_run(w->loop);
    loop_timer_stop(w->late);
    print_message("%u kills, %u retries, %.0f ms\n", s.kills, s.retries, world_ms() - t0);
    loop_timer_free(s.kill);
    for (size_t i = 0; i < ACTORS; i++) {
        assert_true(s.lost || w->timed_out || s.actors[i].starts >= TURNS);
        loop_timer_free(s.actors[i].again);
        free(s.actors[i].name);
    }
    assert_false(s.lost);
    assert_false(w->timed_out);
    assert_ok(world_list(w));
    assert_int_equal(w->n_list, 0);
    /* no process in our cgroups, whatever podman believes */
    world_run("test -z \"$(cat $(find /sys/fs/cgroup -path '*/minik8s/%s/*' -name cgroup.procs) /dev/null)\"",
              w->cluster, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_storm)};
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
