/*
 * script_ask: one decision at a point: the active policies, and when one of them fails the shipped ones
 * (requirement L2). What policies remember (ctx.state) is kept per policy and object, and everything that was
 * asked and said is recorded.
 *
 * Each policy has one budget for the whole decision, over all candidates. A state counts only when the whole
 * list succeeded. States of the engine are volatile: gone with the process, and the longest unused ones when
 * there are too many; an asker for whom that is not enough keeps them itself (ctx.states).
 */
#include <string.h>

#include "script/script_stage.h"
#include "script/script_trial.h"

static int run_one(struct ask *ask, const struct policy_active *active, const cJSON *candidate,
                   cJSON **result, struct err **err)
{
    const char *name = active->version->name;
    const cJSON *state = json_get(ask->after, name);
    cJSON *after = NULL;
    struct stage_call call = {.ctx = ask->ctx,
                              .settings = active->settings,
                              .candidate = candidate,
                              .state = state ? state : json_get(ask->states, name),
                              .state_after = &after,
                              .now = ask->now,
                              .seed = ask->seed};
    if (cJSON_IsNull(call.state))
        call.state = NULL;
    if (stage_ask(ask->policies, ask->point, active->version, &call, result, err) < 0)
        return -1;
    if (!ask->after)
        ask->after = cJSON_CreateObject();
    if (after || call.state)
        json_set(ask->after, name, after ? after : cJSON_CreateNull());
    return 0;
}

static void name_policy(struct ask *ask, const struct policy_active *active)
{
    json_set_string(ask->record, "policy", active->version->name);
    json_set_string(ask->record, "version", active->version->hash);
}

/* Shapes one and first. */
static int ask_chain(struct ask *ask, const struct policy_active *active, cJSON **result, struct err **err)
{
    if (*result)
        return 0;
    if (run_one(ask, active, NULL, result, err) < 0)
        return -1;
    if (!*result)
        return 0;
    name_policy(ask, active);
    cJSON *reasons = cJSON_IsObject(*result) ? json_get(*result, "reasons") : NULL;
    if (reasons)
        json_set(ask->record, "reasons", cJSON_DetachItemViaPointer(*result, reasons));
    return 0;
}

/* *result: array of [true | reason] in the candidates' order. */
static int ask_filter(struct ask *ask, const struct policy_active *active, cJSON **result, struct err **err)
{
    cJSON *verdicts = cJSON_CreateArray(), *before = *result ? (*result)->child : NULL;
    json_each (candidate, ask->candidates) {
        cJSON *verdict = NULL;
        if (before && !cJSON_IsTrue(before)) {
            verdict = json_copy(before);
        } else if (run_one(ask, active, candidate, &verdict, err) < 0) {
            cJSON_Delete(verdicts);
            return -1;
        }
        json_push(verdicts, verdict);
        before = before ? before->next : NULL;
    }
    cJSON_Delete(*result);
    *result = verdicts;
    return 0;
}

/* *result: array of weighted sums. */
static int ask_score(struct ask *ask, const struct policy_active *active, cJSON **result, struct err **err)
{
    cJSON *sums = cJSON_CreateArray();
    const cJSON *before = *result ? (*result)->child : NULL;
    json_each (candidate, ask->candidates) {
        auto_json score = NULL;
        if (run_one(ask, active, candidate, &score, err) < 0) {
            cJSON_Delete(sums);
            return -1;
        }
        json_push(sums, cJSON_CreateNumber(score->valuedouble * active->weight +
                                           (before ? before->valuedouble : 0)));
        before = before ? before->next : NULL;
    }
    cJSON_Delete(*result);
    *result = sums;
    return 0;
}

/* An optional one failed: the decision goes on as if it were not there. */
static void leave_out(struct ask *ask, size_t place, struct policy_version *version, struct err **err)
{
    struct policies *policies = ask->policies;
    ask->left_out |= UINT64_C(1) << place;
    policies_note(policies, version, err ? *err : NULL);
    if (err)
        err_free(steal(err));
    if (sandbox_spoiled(&policies->sandbox))
        sandbox_rebuild(&policies->sandbox);
}

int ask_list(struct ask *ask, const struct policy_list *list, cJSON **result, struct err **err)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct policy_active *active = &list->items[i];
        int rc;
        sandbox_begin(&ask->policies->sandbox, SANDBOX_BUDGET_MS);
        if (ask->point->shape == SHAPE_FILTER)
            rc = ask_filter(ask, active, result, err);
        else if (ask->point->shape >= SHAPE_SCORE)
            rc = ask_score(ask, active, result, err);
        else
            rc = ask_chain(ask, active, result, err);
        if (rc < 0 && active->optional && i < 64) {
            leave_out(ask, i, active->version, err);
            continue;
        }
        if (rc < 0) {
            ask->failed = active->version;
            cJSON_Delete(steal(result));
            return -1;
        }
        policies_note(ask->policies, active->version, NULL);
    }
    return 0;
}

/* Filter: kept candidates with their indexes; the reasons of the others go into the record. */
static cJSON *kept_candidates(struct ask *ask, const cJSON *verdicts)
{
    cJSON *kept = cJSON_CreateArray(), *reasons = json_set(ask->record, "reasons", cJSON_CreateArray());
    int index = 0;
    const cJSON *verdict = verdicts ? verdicts->child : NULL;
    json_each (candidate, ask->candidates) {
        index++;
        bool keep = !verdict || cJSON_IsTrue(verdict);
        json_push(reasons, keep ? cJSON_CreateFalse() : json_copy(verdict));
        if (keep) {
            cJSON *item = json_push(kept, cJSON_CreateObject());
            json_set(item, "candidate", json_copy(candidate));
            json_set_int(item, "index", index);
        }
        verdict = verdict ? verdict->next : NULL;
    }
    return kept;
}

/* ---- what policies remember ---- */

static char *state_key(const char *policy, const char *object)
{
    return mem_printf("%s %s", policy, object);
}

/* The states that the policies of a list find: those that the asker keeps, or ours. Caller owns. */
static cJSON *states_before(const struct policies *policies, const struct policy_list *list, const cJSON *ctx,
                            const char *object)
{
    const cJSON *kept = json_get(ctx, "states");
    if (kept)
        return json_copy(kept);
    cJSON *states = cJSON_CreateObject();
    for (size_t i = 0; i < list->count; i++) {
        auto_free char *key = state_key(list->items[i].version->name, object);
        const cJSON *state = map_get(&policies->states, key);
        if (state)
            json_set(states, list->items[i].version->name, json_copy(state));
    }
    return states;
}

static void keep_states(struct policies *policies, const cJSON *after, const char *object)
{
    json_each (state, after) {
        auto_free char *key = state_key(state->string, object);
        map_remove(&policies->states, key); /* to the end of the order */
        if (!cJSON_IsNull(state))
            map_set(&policies->states, key, json_copy(state));
    }
    while (policies->states.count > POLICIES_STATES)
        map_remove(&policies->states, policies->states.first->key);
}

static void give_states(const struct ask *ask)
{
    bool changed = false;
    json_each (state, ask->after) {
        const cJSON *before = json_get(ask->states, state->string);
        changed = changed || (before ? !json_equal(before, state) : !cJSON_IsNull(state));
    }
    if (changed)
        json_set(ask->record, "states", json_copy(ask->after));
}

/* What the decision is about. Caller owns. */
static char *object_of(const cJSON *ctx)
{
    const char *object = json_string(ctx, "object"), *namespace = json_string(ctx, "namespace"),
               *name = json_string(ctx, "name");
    if (object)
        return mem_strdup(object);
    return namespace && name ? mem_printf("%s/%s", namespace, name) : mem_strdup("");
}

/* ---- deciding ---- */

static char *print(const cJSON *json)
{
    return json ? json_print(json) : NULL;
}

static void record_ask(const struct ask *ask, const char *object, const cJSON *result,
                       struct policy_list *list, const char *failure, int64_t cpu_ns)
{
    struct policies *policies = ask->policies;
    if (!policies->record)
        return;
    struct decision *decision = NEW(struct decision);
    const struct policy_point *point = ask->point;
    decision->point = point->name;
    decision->kind = point->about;
    decision->object = mem_strdup(object);
    decision->revision = policies->revision;
    decision->at_ns = (int64_t)(ask->now * 1e6) * 1000;
    decision->lists[0] =
        policies_who_decided(policies, point, list, list == &ask->point->shipped ? 0 : ask->left_out);
    decision->seed = ask->seed;
    decision->now = ask->now;
    decision->ctx = print(ask->ctx);
    decision->candidates = print(ask->candidates);
    decision->states = ask->states && ask->states->child ? json_print(ask->states) : NULL;
    decision->result = print(result);
    decision->reasons = print(json_get(ask->record, "reasons"));
    decision->failure = failure ? mem_strdup(failure) : NULL;
    decision->cpu_us = (unsigned)(cpu_ns / 1000);
    if (policies->shadows.count)
        shadow_decision(policies, point->name, decision);
    record_add(policies->record, decision);
}

/* By the active list for the object's namespace, else the shipped one; which it was. */
static struct policy_list *decide(struct ask *ask, const char *object, cJSON **result, struct err **failure)
{
    struct policies *policies = ask->policies;
    auto_err again = NULL;
    auto_free char *namespace = strchr(object, '/') ? mem_strndup(object, strcspn(object, "/")) : NULL;
    struct policy_list *active = policies_active_in(ask->point, namespace);
    ask->states = states_before(policies, active, ask->ctx, object);
    if (ask_list(ask, active, result, failure) == 0) {
        if (*result || ask->point->shape != SHAPE_ONE)
            return active;
        err_set(failure, ERR_INVALID, "the policy of the point is optional and failed");
        ask->failed = NULL;
    }
    if (ask->failed)
        policies_note(policies, ask->failed, *failure);
    policies_recover(policies);
    json_set_bool(ask->record, "fallback", true);
    json_set_string(ask->record, "failure", err_message(*failure));
    cJSON_Delete((cJSON *)(uintptr_t)ask->states);
    cJSON_Delete(steal(&ask->after));
    ask->left_out = 0;
    ask->states = states_before(policies, &ask->point->shipped, ask->ctx, object);
    if (ask_list(ask, &ask->point->shipped, result, &again) < 0) {
        policies_note(policies, ask->failed, again);
        log_error("script", "point %s: the shipped policy %s failed: %s", ask->point->name, ask->failed->name,
                  err_message(again));
    }
    return &ask->point->shipped;
}

cJSON *policies_ask(struct policies *policies, const char *point_name, const cJSON *ctx,
                    const cJSON *candidates, double now, cJSON **record, struct err **err)
{
    struct ask ask = {.policies = policies,
                      .point = policies_point(policies, point_name),
                      .ctx = ctx,
                      .candidates = candidates,
                      .now = now,
                      .seed = policies->seed,
                      .record = cJSON_CreateObject()};
    cJSON *result = NULL;
    *record = ask.record;
    if (!ask.point) {
        err_set(err, ERR_NOT_FOUND, "there is no decision point \"%s\"", point_name);
        return NULL;
    }
    json_set_string(ask.record, "point", point_name);
    auto_free char *object = object_of(ctx);
    auto_err failure = NULL;
    int64_t began = sandbox_cpu_ns(&policies->sandbox);
    struct policy_list *list = decide(&ask, object, &result, &failure);
    record_ask(&ask, object, result, list, failure ? err_message(failure) : NULL,
               sandbox_cpu_ns(&policies->sandbox) - began);
    if (json_get(ctx, "states"))
        give_states(&ask);
    else
        keep_states(policies, ask.after, object);
    cJSON_Delete((cJSON *)(uintptr_t)ask.states);
    cJSON_Delete(ask.after);
    policies_recover(policies);
    if (ask.point->shape == SHAPE_FILTER) {
        cJSON *kept = kept_candidates(&ask, result);
        cJSON_Delete(result);
        return kept;
    }
    return result;
}
