/* The pure state machine: each row of the pod's life as a view, and the actions that follow from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/str.h"
#include "node/pod_plan.h"

#define MAX 4

struct view {
    struct plan_pod pod;
    struct plan_container containers[MAX];
};

/* A pod whose sandbox, network and volumes are there, with n containers that do not exist yet. */
static struct view prepared(size_t n)
{
    struct view view = {.pod = {.now = 1000,
                                .network_ready = true,
                                .sandbox_exists = true,
                                .sandbox_state = RUNTIME_RUNNING,
                                .attached = true,
                                .volumes_made = true,
                                .volumes_left = true,
                                .grace_ms = 30000,
                                .n_containers = n}};
    for (size_t i = 0; i < n; i++)
        view.containers[i] = (struct plan_container){.kind = PLAN_MAIN, .image_ready = true, .started = true};
    return view;
}

static void set_running(struct plan_container *c)
{
    c->exists = true;
    c->state = RUNTIME_RUNNING;
}

static void set_ended(struct plan_container *c, int code)
{
    c->exists = true;
    c->state = RUNTIME_EXITED;
    c->exit_code = code;
}

/* "create 0, start 1" */
static char *plan_text(struct view *view, int64_t *wake)
{
    struct plan_action actions[PLAN_MAX(MAX)];
    int64_t ignored;
    view->pod.containers = view->containers;
    size_t count = pod_plan(&view->pod, actions, wake ? wake : &ignored);
    assert_true(count <= PLAN_MAX(view->pod.n_containers));
    auto_str text = {0};
    for (size_t i = 0; i < count; i++) {
        str_addf(&text, "%s%s", i ? ", " : "", plan_action_name(actions[i].type));
        if (actions[i].type >= PLAN_IMAGE)
            str_addf(&text, " %zu", actions[i].container);
    }
    return str_take(&text);
}

static void expect(struct view *view, const char *wanted)
{
    auto_free char *text = plan_text(view, NULL);
    assert_string_equal(text, wanted);
}

static void test_beginning(void **state UNUSED)
{
    struct view view = {.pod = {.now = 1000, .n_containers = 1}};
    expect(&view, "get image 0"); /* the network is not known yet, the image can come */
    view.pod.network_ready = true;
    expect(&view, "create sandbox, make volumes, get image 0");
    view.pod.sandbox_busy = view.pod.volumes_busy = view.containers[0].busy = true;
    expect(&view, "");
    view.containers[0].busy = false;
    view.containers[0].pulling = true;
    expect(&view, "");
    view = prepared(1);
    view.pod.sandbox_state = RUNTIME_CREATED;
    view.pod.attached = false;
    view.pod.unconfirmed = true;
    expect(&view, ""); /* it may run elsewhere by now */
    view.pod.unconfirmed = false;
    expect(&view, "start sandbox");
    view.pod.sandbox_state = RUNTIME_RUNNING;
    expect(&view, "attach network");
    view.pod.host_network = true;
    expect(&view, "create 0");
    view.pod.volumes_made = false;
    view.pod.volumes_retry_at = 2000;
    int64_t wake;
    auto_free char *text = plan_text(&view, &wake);
    assert_string_equal(text, "");
    assert_int_equal(wake, 2000);
    view.pod.unknown = true;
    view.pod.gone = true;
    expect(&view, "");
}

static void test_containers_in_order(void **state UNUSED)
{
    struct view view = prepared(3);
    view.containers[1].image_ready = false;
    expect(&view, "create 0, get image 1");
    view.containers[0].busy = true;
    expect(&view, "get image 1");
    view.containers[0].busy = false;
    view.containers[0].exists = true;
    view.containers[1].image_ready = true;
    expect(&view, "start 0, create 1");
    set_running(&view.containers[0]);
    view.containers[0].hook_needed = true;
    expect(&view, "run postStart 0, create 1");
    view.containers[0].post_start_running = true;
    expect(&view, "create 1");
    view.containers[0].failed = true; /* also by what ends the pod: the hook holds nothing up */
    expect(&view, "send the signal 0, create 1");
    view.containers[0].stop_at = 500;
    expect(&view, "kill 0, create 1");
    view.containers[0].failed = view.containers[0].post_start_running = false;
    view.containers[0].stop_at = 0;
    view.containers[1].retry_at = 5000; /* what cannot be made does not keep the next from it */
    view.containers[0].hook_needed = false;
    expect(&view, "create 2");
}

static void test_restart_policies(void **state UNUSED)
{
    static const struct {
        enum plan_restart policy;
        int code;
        const char *actions;
        enum plan_outcome outcome;
    } rows[] = {{PLAN_ALWAYS, 0, "retire 0", PLAN_OPEN},  {PLAN_ALWAYS, 1, "retire 0", PLAN_OPEN},
                {PLAN_ON_FAILURE, 0, "", PLAN_SUCCEEDED}, {PLAN_ON_FAILURE, 1, "retire 0", PLAN_OPEN},
                {PLAN_NEVER, 0, "", PLAN_SUCCEEDED},      {PLAN_NEVER, 1, "", PLAN_FAILED}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct view view = prepared(1);
        view.pod.restart = rows[i].policy;
        set_ended(&view.containers[0], rows[i].code);
        expect(&view, rows[i].actions);
        assert_int_equal(pod_plan_outcome(&view.pod), rows[i].outcome);
        view.containers[0].retry_at = 1500; /* the back-off */
        expect(&view, "");
    }
}

static void test_outcome_waits_for_all(void **state UNUSED)
{
    struct view view = prepared(2);
    view.pod.restart = PLAN_NEVER;
    view.pod.containers = view.containers;
    set_ended(&view.containers[0], 1);
    set_running(&view.containers[1]);
    assert_int_equal(pod_plan_outcome(&view.pod), PLAN_OPEN);
    set_ended(&view.containers[1], 0);
    assert_int_equal(pod_plan_outcome(&view.pod), PLAN_FAILED);
    view.pod.terminal = true;
    expect(&view, "detach network");
    view.pod.attached = false;
    expect(&view, "stop sandbox");
    view.pod.sandbox_state = RUNTIME_EXITED;
    expect(&view, "");
}

static void test_init(void **state UNUSED)
{
    struct view view = prepared(3);
    view.containers[0].kind = PLAN_INIT;
    view.containers[1].kind = PLAN_SIDECAR;
    expect(&view, "create 0");
    set_running(&view.containers[0]);
    expect(&view, "");
    set_ended(&view.containers[0], 0);
    expect(&view, "create 1");
    set_running(&view.containers[1]);
    view.containers[1].started = false; /* its startup probe has not succeeded */
    expect(&view, "");
    assert_false(pod_plan_initialized(&view.pod));
    view.containers[1].started = true;
    expect(&view, "create 2");
    assert_true(pod_plan_initialized(&view.pod));
    set_running(&view.containers[2]);
    set_ended(&view.containers[1], 0); /* a sidecar always comes back */
    expect(&view, "retire 1");
    view.pod.restart = PLAN_NEVER;
    expect(&view, "retire 1");
    set_ended(&view.containers[0], 9);
    view.containers[2].exists = false;
    assert_int_equal(pod_plan_outcome(&view.pod), PLAN_FAILED);
}

static void test_sandbox_died(void **state UNUSED)
{
    struct view view = prepared(2);
    view.pod.sandbox_state = RUNTIME_EXITED;
    set_running(&view.containers[0]);
    set_ended(&view.containers[1], 137);
    expect(&view, "kill 0");
    view.containers[0].killed = true;
    view.containers[0].stop_at = 3000;
    expect(&view, "");
    set_ended(&view.containers[0], 137);
    expect(&view, "remove 0, remove 1");
    view.containers[0].exists = view.containers[1].exists = false;
    expect(&view, "detach network");
    view.pod.attached = false;
    expect(&view, "remove sandbox");
}

static void test_end(void **state UNUSED)
{
    struct view view = prepared(2);
    int64_t wake;
    view.containers[1].kind = PLAN_SIDECAR;
    set_running(&view.containers[0]);
    set_running(&view.containers[1]);
    view.containers[0].has_pre_stop = true;
    view.pod.deleting = true;
    view.pod.drain_until = 3000;
    auto_free char *text = plan_text(&view, &wake);
    assert_string_equal(text, "");
    assert_int_equal(wake, 3000);
    view.pod.drained = true;
    expect(&view, "run preStop 0");
    view.containers[0].pre_stop_begun = view.containers[0].pre_stop_running = true;
    view.containers[0].stop_at = 2000;
    expect(&view, "");
    view.pod.now = 2000; /* the deadline comes whatever the hook does, and the application is asked first */
    expect(&view, "send the signal 0");
    view.containers[0].signalled = true;
    expect(&view, "kill 0");
    view.containers[0].signalled = false;
    view.pod.now = 1500;
    view.containers[0].pre_stop_running = false;
    expect(&view, "send the signal 0");
    view.containers[0].signalled = true;
    expect(&view, "");
    set_ended(&view.containers[0], 143);
    expect(&view, "send the signal 1"); /* the sidecar goes last */
    set_ended(&view.containers[1], 0);
    view.pod.n_old = 1;
    expect(&view, "remove 0, remove 1, remove old");
    view.containers[0].exists = view.containers[1].exists = false;
    view.pod.n_old = 0;
    expect(&view, "detach network");
    view.pod.attached = false;
    expect(&view, "remove sandbox");
    view.pod.sandbox_exists = false;
    expect(&view, "remove volumes");
    view.pod.volumes_left = false;
    expect(&view, "delete object");
    view.pod.api_retry_at = 9000;
    expect(&view, "");
    view.pod.deleted = true;
    expect(&view, "forget");
}

/* Neither the others' end nor the removal waits for an image. */
static void test_end_during_a_pull(void **state UNUSED)
{
    struct view view = prepared(2);
    set_running(&view.containers[0]);
    view.containers[1].image_ready = false;
    view.containers[1].pulling = true;
    view.pod.containers = view.containers;
    view.pod.terminal = true; /* its deadline, an eviction */
    expect(&view, "send the signal 0");
    set_ended(&view.containers[0], 0);
    assert_true(pod_plan_quiet(&view.pod));
    expect(&view, "detach network");
    view.pod.terminal = false;
    view.pod.deleting = view.pod.drained = true;
    expect(&view, "remove 0");
    view.containers[0].exists = false;
    expect(&view, "detach network");
    view.pod.deleting = false;
    view.pod.sandbox_state = RUNTIME_EXITED; /* made anew meanwhile */
    expect(&view, "detach network");
}

/* Without a grace period there is no time for a hook either. */
static void test_end_at_once(void **state UNUSED)
{
    struct view view = prepared(1);
    set_running(&view.containers[0]);
    view.containers[0].has_pre_stop = true;
    view.pod.deleting = view.pod.drained = true;
    view.pod.grace_ms = 0;
    expect(&view, "kill 0");
}

/* Nothing of it runs, but its address is still sent to. */
static void test_end_of_a_crashed_pod(void **state UNUSED)
{
    struct view view = prepared(1);
    int64_t wake;
    set_ended(&view.containers[0], 1);
    view.pod.deleting = true;
    view.pod.drain_until = 3000;
    auto_free char *text = plan_text(&view, &wake);
    assert_string_equal(text, "");
    assert_int_equal(wake, 3000);
    view.pod.drained = true;
    expect(&view, "remove 0");
}

static void test_gone(void **state UNUSED)
{
    struct view view = prepared(2);
    set_running(&view.containers[0]);
    set_running(&view.containers[1]);
    view.containers[0].has_pre_stop = true;
    view.pod.gone = true; /* no drain, no hook, no grace */
    expect(&view, "kill 0, kill 1");
}

static void test_probe_failed(void **state UNUSED)
{
    struct view view = prepared(1);
    set_running(&view.containers[0]);
    expect(&view, "");
    view.containers[0].failed = true;
    expect(&view, "send the signal 0");
    view.containers[0].signalled = true;
    view.containers[0].stop_at = 1000;
    expect(&view, "kill 0");
    set_ended(&view.containers[0], 0);
    expect(&view, "retire 0");
}

/* Whatever is seen: never two actions in one slot, nothing for what is busy, no container made without a
 * sandbox. */
static void test_random_views(void **state UNUSED)
{
    struct random_seeded seeded;
    struct random random;
    random_seeded_init(&seeded, 7, &random);
    for (int round = 0; round < 200000; round++) {
        struct view view = prepared(1 + random_below(&random, MAX));
        uint64_t bits = random_u64(&random);
#define BIT (bits & 1 ? (bits >>= 1, true) : (bits >>= 1, false))
        struct plan_pod *pod = &view.pod;
        pod->restart = (enum plan_restart)(random_below(&random, 3));
        pod->deleting = BIT, pod->gone = BIT && BIT, pod->terminal = BIT && BIT, pod->drained = BIT;
        pod->sandbox_exists = BIT, pod->sandbox_busy = BIT, pod->attached = BIT, pod->volumes_made = BIT;
        pod->sandbox_state = (enum runtime_state)random_below(&random, 3);
        pod->volumes_busy = BIT, pod->network_ready = BIT, pod->n_old = random_below(&random, 2);
        for (size_t i = 0; i < pod->n_containers; i++) {
            struct plan_container *c = &view.containers[i];
            bits = random_u64(&random);
            c->kind = (enum plan_kind)random_below(&random, 3);
            c->busy = BIT, c->pulling = BIT && BIT, c->exists = BIT, c->image_ready = BIT,
            c->failed = BIT && BIT, c->started = BIT;
            c->hook_needed = BIT && BIT, c->has_pre_stop = BIT, c->signalled = BIT, c->killed = BIT;
            c->state = (enum runtime_state)random_below(&random, 3);
            c->stop_at = BIT ? (int64_t)random_below(&random, 2000) : 0;
            c->retry_at = BIT ? (int64_t)random_below(&random, 2000) : 0;
        }
        pod->containers = view.containers;
        struct plan_action actions[PLAN_MAX(MAX)];
        int64_t wake;
        size_t count = pod_plan(pod, actions, &wake), slots = 0;
        bool ready = pod->sandbox_exists && pod->sandbox_state == RUNTIME_RUNNING && pod->attached &&
                     pod->volumes_made;
        for (size_t i = 0; i < count; i++) {
            bool of_container = actions[i].type >= PLAN_IMAGE;
            size_t slot = of_container                     ? 16 + actions[i].container
                          : actions[i].type <= PLAN_DETACH ? 0
                                                           : actions[i].type;
            if (slots & (1u << slot))
                fail_msg("%s twice in round %d", plan_action_name(actions[i].type), round);
            slots |= 1u << slot;
            if (of_container)
                assert_false(view.containers[actions[i].container].busy);
            if (actions[i].type >= PLAN_IMAGE && actions[i].type <= PLAN_POST_START)
                assert_false(view.containers[actions[i].container].pulling);
            if (actions[i].type <= PLAN_DETACH)
                assert_false(pod->sandbox_busy);
            if (actions[i].type == PLAN_CREATE || actions[i].type == PLAN_START)
                assert_true(ready && !pod->deleting && !pod->gone && !pod->terminal);
            if (actions[i].type == PLAN_DELETE_OBJECT || actions[i].type == PLAN_FORGET)
                assert_false(pod->sandbox_exists);
        }
    }
}

static void test_deadline(void **state UNUSED)
{
    struct view view = prepared(1);
    set_running(&view.containers[0]);
    view.pod.deadline_at = 2000;
    int64_t wake;
    auto_free char *text = plan_text(&view, &wake);
    assert_string_equal(text, "");
    assert_int_equal(wake, 2000); /* nothing else would make it look again */
    assert_false(pod_plan_quiet(&view.pod));
    view.pod.now = 2000;
    expect(&view, "send the signal 0");
    set_ended(&view.containers[0], 0);
    expect(&view, "detach network");
    assert_true(pod_plan_quiet(&view.pod));
    view.containers[0].busy = true;
    assert_false(pod_plan_quiet(&view.pod));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_beginning),
                                       cmocka_unit_test(test_containers_in_order),
                                       cmocka_unit_test(test_deadline),
                                       cmocka_unit_test(test_restart_policies),
                                       cmocka_unit_test(test_outcome_waits_for_all),
                                       cmocka_unit_test(test_init),
                                       cmocka_unit_test(test_sandbox_died),
                                       cmocka_unit_test(test_end),
                                       cmocka_unit_test(test_end_at_once),
                                       cmocka_unit_test(test_gone),
                                       cmocka_unit_test(test_end_during_a_pull),
                                       cmocka_unit_test(test_end_of_a_crashed_pod),
                                       cmocka_unit_test(test_probe_failed),
                                       cmocka_unit_test(test_random_views)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
