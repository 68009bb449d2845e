/*
 * script_placement_order: in which order pods that wait get their turn: a number for each by the policies of
 * scheduler.first, asked once per pod; larger is earlier. Pods with equal numbers go by age.
 *
 * A failure: the shipped policies decide. Budgets: one for every PODS_AT_ONCE pods and policy.
 */
#include <math.h>

#include "script/script_placement_private.h"
#include "script/script_trial.h"

#define PODS_AT_ONCE 500

static void push_pod(struct placement *placement, lua_State *L, const struct waiting_pod *pod)
{
    lua_createtable(L, 0, 4);
    lua_pushstring(L, pod->key);
    lua_setfield(L, -2, "key");
    lua_pushnumber(L, pod->priority);
    lua_setfield(L, -2, "priority");
    lua_pushnumber(L, (lua_Number)(pod->created_ns / 1000000000));
    lua_setfield(L, -2, "created");
    view_push_class(placement, pod->class);
    lua_setfield(L, -2, "spec");
}

static int ask_pod(struct placement *placement, const struct policy_active *active,
                   const struct waiting_pod *pod, int ctx, double *number, struct err **err)
{
    struct policies *policies = placement->policies;
    lua_State *L = policies->sandbox.L;
    if (policies_push_run(policies, active->version, err) < 0)
        return -1;
    lua_pushvalue(L, ctx);
    push_pod(placement, L, pod);
    if (sandbox_call(&policies->sandbox, 2, 1, err) < 0)
        return err_wrap(err, "%s", active->version->name);
    *number = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : NAN;
    lua_pop(L, 1);
    return isfinite(*number)
               ? 0
               : err_set(err, ERR_INVALID, "%s: must return a finite number", active->version->name);
}

static int ask_policy(struct placement *placement, const struct policy_active *active,
                      struct waiting_pod **pods, size_t count, struct err **err)
{
    lua_State *L = placement->policies->sandbox.L;
    int top = lua_gettop(L), rc = 0;
    sandbox_begin(&placement->policies->sandbox, SANDBOX_BUDGET_MS);
    lua_createtable(L, 0, 2);
    value_push(L, active->settings);
    lua_setfield(L, -2, "settings");
    lua_pushnumber(L, (lua_Number)(placement->seed >> 12));
    lua_setfield(L, -2, "seed");
    base_freeze(L, -1);
    for (size_t i = 0; i < count && rc == 0; i++) {
        double number = 0;
        rc = ask_pod(placement, active, pods[i], lua_gettop(L), &number, err);
        pods[i]->order += rc == 0 ? number * active->weight : 0;
    }
    lua_settop(L, top);
    return rc;
}

/* As the policies were shown it. */
static char *pod_text(const struct waiting_pod *pod)
{
    auto_str text = {0};
    str_add(&text, "[{\"key\":");
    str_add_json(&text, pod->key);
    str_addf(&text, ",\"priority\":%.17g,\"created\":%lld,\"spec\":%s}]", pod->priority,
             (long long)(pod->created_ns / 1000000000), class_text_of(pod->class->text));
    return str_take(&text);
}

/* cpu_ns: of all these pods. */
static void record_pods(struct placement *placement, const struct policy_point *point,
                        struct policy_list *list, struct waiting_pod **pods, size_t count, double now,
                        int64_t cpu_ns)
{
    struct policies *policies = placement->policies;
    for (size_t i = 0; policies->record && i < count; i++) {
        struct decision *decision = NEW(struct decision);
        decision->point = point->name;
        decision->kind = point->about;
        decision->object = mem_strdup(pods[i]->key);
        decision->revision = policies->revision;
        decision->at_ns = (int64_t)(now * 1e6) * 1000;
        decision->now = now;
        decision->seed = placement->seed;
        decision->lists[0] = policies_who_decided(policies, point, list, 0);
        decision->ctx = mem_strdup("{}");
        decision->candidates = pod_text(pods[i]);
        decision->result = mem_printf("[%.17g]", pods[i]->order);
        if (list == &point->shipped)
            decision->failure = mem_strdup("an active policy failed: the shipped ones decided");
        decision->cpu_us = (unsigned)(cpu_ns / 1000 / (int64_t)count);
        shadow_decision(policies, point->name, decision);
        record_add(policies->record, decision);
    }
}

static int ask_policies(struct placement *placement, const struct policy_list *list,
                        struct waiting_pod **pods, size_t count)
{
    auto_err err = NULL;
    for (size_t i = 0; i < count; i++)
        pods[i]->order = 0;
    for (size_t i = 0; i < list->count; i++) {
        int rc = ask_policy(placement, &list->items[i], pods, count, &err);
        policies_note(placement->policies, list->items[i].version, err);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static void order_some(struct placement *placement, struct policy_point *point, struct waiting_pod **pods,
                       size_t count, double now)
{
    struct policies *policies = placement->policies;
    struct policy_list *list = &point->active;
    int64_t began = sandbox_cpu_ns(&policies->sandbox);
    if (ask_policies(placement, list, pods, count) < 0) {
        policies_recover(policies); /* makes the lists anew */
        list = &point->shipped;
        ask_policies(placement, list, pods, count);
    }
    record_pods(placement, point, list, pods, count, now, sandbox_cpu_ns(&policies->sandbox) - began);
    policies_recover(policies);
}

void order_pods(struct placement *placement, struct waiting_pod **pods, size_t count, double now)
{
    struct policies *policies = placement->policies;
    struct policy_point *point = policies_point(policies, POINT_FIRST);
    auto_free struct waiting_pod **fresh = mem_array(count + 1, sizeof(struct waiting_pod *));
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (pods[i]->order_epoch == policies->epoch)
            continue;
        pods[i]->order_epoch = policies->epoch;
        fresh[n++] = pods[i];
    }
    for (size_t from = 0; point && from < n; from += PODS_AT_ONCE) {
        size_t some = n - from < PODS_AT_ONCE ? n - from : PODS_AT_ONCE;
        order_some(placement, point, fresh + from, some, now);
    }
}
