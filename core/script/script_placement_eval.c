/*
 * script_placement_eval: runs the filter and score policies over the nodes whose verdict is stale.
 *
 * Policy by policy, not node by node: each policy has one budget for the whole decision, and a node that one
 * filter refuses costs the later ones nothing. Any failure: the shipped policies decide, and their verdicts
 * are used once only.
 */
#include <math.h>
#include <string.h>

#include "script/script_placement_private.h"

struct evaluation {
    struct placement *placement;
    struct pod_class *class;
    struct target *targets;
    size_t n_targets;
    const struct policy_active *active;
    size_t share; /* of the score policy that runs */
    uint8_t excludes;
    int ctx; /* stack index of the table behind ctx; its proxy is above it */
    bool scoring, near;
    double now;
};

int class_peers(const struct pod_class *class, int slot)
{
    for (size_t i = 0; i < class->n_peers; i++)
        if (class->peers[i].slot == slot)
            return class->peers[i].count;
    return 0;
}

static const char *intern(struct placement *placement, const char *reason)
{
    if (!map_has(&placement->reasons, reason)) {
        if (placement->reasons.count >= 10000) /* a policy that puts names into its reasons */
            reason = "a scheduling policy refused them (with more than 10,000 different reasons)";
        map_set(&placement->reasons, reason, mem_strdup(reason));
    }
    return map_get(&placement->reasons, reason);
}

static int read_filter(const struct evaluation *evaluation, lua_State *L, struct verdict *verdict,
                       struct err **err)
{
    if (lua_isboolean(L, -2) && lua_toboolean(L, -2))
        return 0;
    size_t len = 0;
    const char *reason = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    if (lua_toboolean(L, -2) || !reason || !len || len > 1024)
        return err_set(err, ERR_INVALID,
                       "%s: a filter must return true, or nil and a reason of up to 1,024 characters",
                       evaluation->active->version->name);
    verdict->excluded |= evaluation->excludes;
    if (!verdict->reason)
        verdict->reason = intern(evaluation->placement, reason);
    return 0;
}

static int read_score(const struct evaluation *evaluation, lua_State *L, const struct target *target,
                      struct err **err)
{
    double score = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : NAN;
    if (!(score >= 0 && score <= 100))
        return err_set(err, ERR_INVALID, "%s: a score must be a number from 0 to 100",
                       evaluation->active->version->name);
    target->verdict->score += score * evaluation->active->weight;
    if (evaluation->share < SHARES)
        target->shares[evaluation->share] = (float)(score * evaluation->active->weight);
    return 0;
}

static void push_candidate(const struct evaluation *evaluation, lua_State *L, const struct target *target)
{
    struct placement *placement = evaluation->placement;
    if (target->slot >= 0) {
        lua_pushinteger(L, class_peers(evaluation->class, target->slot));
        lua_setfield(L, evaluation->ctx, "peers");
        lua_pushvalue(L, evaluation->ctx + 1);
        view_push_node(placement, &placement->slots[target->slot]);
        return;
    }
    auto_json view = near_view(placement, evaluation->class, target->row);
    lua_pushvalue(L, evaluation->ctx + 1);
    value_push(L, view);
    base_freeze(L, -1);
    lua_remove(L, -2);
}

static int run_on(const struct evaluation *evaluation, const struct target *target, struct err **err)
{
    struct policies *policies = evaluation->placement->policies;
    lua_State *L = policies->sandbox.L;
    if (policies_push_run(policies, evaluation->active->version, err) < 0)
        return -1;
    push_candidate(evaluation, L, target);
    if (sandbox_call(&policies->sandbox, 2, 2, err) < 0)
        return err_wrap(err, "%s", evaluation->active->version->name);
    int rc = evaluation->scoring ? read_score(evaluation, L, target, err)
                                 : read_filter(evaluation, L, target->verdict, err);
    lua_pop(L, 2);
    return rc;
}

/* One table for all nodes; only peers changes in it. */
static void push_ctx(struct evaluation *evaluation, lua_State *L)
{
    lua_createtable(L, 0, 5);
    evaluation->ctx = lua_gettop(L);
    view_push_class(evaluation->placement, evaluation->class);
    lua_setfield(L, -2, "pod");
    value_push(L, evaluation->active->settings);
    lua_setfield(L, -2, "settings");
    lua_pushnumber(L, (lua_Number)evaluation->placement->n_nodes);
    lua_setfield(L, -2, "nodes");
    lua_pushnumber(L, (lua_Number)(evaluation->placement->seed >> 12));
    lua_setfield(L, -2, "seed");
    base_freeze(L, -1);
}

/* Where the policies of these names refuse, no pod's going can help; and under nodeAffinityPolicy and
 * nodeTaintsPolicy of spread constraints such a node does not count. */
static uint8_t exclusion_of(const struct evaluation *evaluation, const char *name)
{
    if (evaluation->scoring)
        return 0;
    return str_eq(name, "selector") ? EXCLUDED_BY_SELECTOR : str_eq(name, "taints") ? EXCLUDED_BY_TAINTS : 0;
}

static int run_policy(struct evaluation *evaluation, const struct policy_active *active, struct err **err)
{
    struct policies *policies = evaluation->placement->policies;
    lua_State *L = policies->sandbox.L;
    int top = lua_gettop(L), rc = 0;
    evaluation->active = active;
    evaluation->excludes = exclusion_of(evaluation, active->version->name);
    sandbox_begin(&policies->sandbox, SANDBOX_BUDGET_MS);
    push_ctx(evaluation, L);
    for (size_t i = 0; i < evaluation->n_targets && rc == 0; i++)
        if (!evaluation->targets[i].verdict->reason ||
            (evaluation->excludes && evaluation->class->near.n_terms))
            rc = run_on(evaluation, &evaluation->targets[i], err);
    lua_settop(L, top);
    return rc;
}

/* What it said before it failed is taken back; the verdicts are used once only. */
static void run_optional(struct evaluation *evaluation, const struct policy_active *active, int kind)
{
    struct policies *policies = evaluation->placement->policies;
    auto_err failure = NULL;
    auto_free struct verdict *before = mem_array(evaluation->n_targets + 1, sizeof(*before));
    for (size_t i = 0; i < evaluation->n_targets; i++)
        before[i] = *evaluation->targets[i].verdict;
    int rc = run_policy(evaluation, active, &failure);
    policies_note(policies, active->version, failure);
    if (rc == 0)
        return;
    for (size_t i = 0; i < evaluation->n_targets; i++) {
        *evaluation->targets[i].verdict = before[i];
        if (evaluation->scoring && evaluation->share < SHARES)
            evaluation->targets[i].shares[evaluation->share] = 0;
    }
    evaluation->placement->left_out[evaluation->near * 2 + kind] |= UINT64_C(1) << evaluation->share;
    if (sandbox_spoiled(&policies->sandbox))
        sandbox_rebuild(&policies->sandbox);
}

static int run_lists(struct evaluation *evaluation, const struct policy_list *filters,
                     const struct policy_list *scores, struct err **err)
{
    const struct pod_class *judge = evaluation->placement->judge;
    for (size_t i = 0; i < evaluation->n_targets; i++) {
        struct target *target = &evaluation->targets[i];
        *target->verdict = (struct verdict){0};
        if (judge && target->slot >= 0 && (size_t)target->slot < judge->n_verdicts)
            target->verdict->reason = judge->verdicts[target->slot].reason;
    }
    const struct policy_list *lists[] = {filters, scores};
    for (int kind = 0; kind < 2; kind++) {
        evaluation->scoring = kind == 1;
        for (size_t i = 0; i < lists[kind]->count; i++) {
            const struct policy_active *active = &lists[kind]->items[i];
            evaluation->share = i;
            if (active->optional && i < 64) {
                run_optional(evaluation, active, kind);
                continue;
            }
            if (run_policy(evaluation, active, err) < 0)
                return -1;
            policies_note(evaluation->placement->policies, active->version, NULL);
        }
    }
    return 0;
}

static struct target *stale_nodes(const struct placement *placement, struct pod_class *class, size_t *count)
{
    struct target *stale = mem_array(placement->n_slots + 1, sizeof(*stale));
    *count = 0;
    for (size_t i = 0; i < placement->n_slots; i++)
        if (placement->slots[i].name && class->verdicts[i].revision != placement->slots[i].revision)
            stale[(*count)++] =
                (struct target){.verdict = &class->verdicts[i], .shares = class->shares[i], .slot = (int)i};
    return stale;
}

static void refuse_all(const struct evaluation *evaluation, const char *reason)
{
    for (size_t i = 0; i < evaluation->n_targets; i++)
        evaluation->targets[i].verdict->reason = intern(evaluation->placement, reason);
}

/* What the active list could not decide. */
static void fall_back(struct evaluation *evaluation, const struct policy_point *filter,
                      const struct policy_point *score, struct err *failure)
{
    struct policies *policies = evaluation->placement->policies;
    auto_err again = NULL;
    policies_note(policies, evaluation->active->version, failure);
    if (sandbox_spoiled(&policies->sandbox))
        sandbox_rebuild(&policies->sandbox);
    if (run_lists(evaluation, &filter->shipped, &score->shipped, &again) == 0)
        return;
    policies_note(policies, evaluation->active->version, again);
    log_error("script", "scheduling: a shipped policy failed: %s", err_message(again));
    refuse_all(evaluation, "the scheduling policies failed");
}

/* One pair of points over the targets. */
static void evaluate(struct evaluation *evaluation, const char *filters, const char *scores, bool *fell_back)
{
    struct policies *policies = evaluation->placement->policies;
    const struct policy_point *filter = policies_point(policies, filters);
    const struct policy_point *score = policies_point(policies, scores);
    auto_err failure = NULL;
    if (!evaluation->n_targets)
        return;
    const struct placement *placement = evaluation->placement;
    if (run_lists(evaluation, list_for(placement, evaluation->class, filters, false),
                  list_for(placement, evaluation->class, scores, false), &failure) < 0) {
        *fell_back = true;
        fall_back(evaluation, filter, score, failure);
    }
}

void evaluate_class(struct placement *placement, struct pod_class *class, double now, bool *fallback)
{
    struct evaluation evaluation = {.placement = placement, .class = class, .now = now};
    bool *fell_back = placement->fell_back;
    fell_back[0] = fell_back[1] = false;
    memset(placement->left_out, 0, sizeof(placement->left_out));
    auto_free struct target *stale = stale_nodes(placement, class, &evaluation.n_targets);
    evaluation.targets = stale;
    evaluate(&evaluation, POINT_FILTER, POINT_SCORE, &fell_back[0]);
    for (size_t i = 0; i < evaluation.n_targets; i++)
        class->verdicts[stale[i].slot].revision = placement->slots[stale[i].slot].revision;
    class->near.n_of_slot = 0;
    if (near_concerns(placement, class)) {
        auto_free struct target *rows = near_rows(placement, class, &evaluation.n_targets);
        evaluation.targets = rows;
        evaluation.near = true;
        evaluate(&evaluation, POINT_FILTER_NEAR, POINT_SCORE_NEAR, &fell_back[1]);
    }
    *fallback = fell_back[0] || fell_back[1];
    const uint64_t *left_out = placement->left_out;
    if (*fallback || left_out[0] || left_out[1] || left_out[2] || left_out[3])
        class->epoch = 0; /* not kept: the next pod asks the active policies again */
    policies_recover(placement->policies);
}
