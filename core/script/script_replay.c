/*
 * script_replay: see the header. Order: plain questions from the oldest on, so that what a candidate
 * remembers (ctx.state) grows as it would have; then scheduling: that of earlier processes from the oldest
 * on, as their files tell it; that of this one from the newest back, because the nodes as they were are found
 * by undoing one change after the other.
 *
 * A scheduling decision of a candidate is compared at the state that the recorded ones led to: each
 * difference is by itself, they do not build on each other.
 */
#include "script/script_replay.h"

#include <math.h>
#include <string.h>

#include "base/time.h"
#include "script/script_journal.h"
#include "script/script_placement.h"

#define DIFFERENCES 500 /* that are listed; all are counted */
#define PRICE_LABEL "minik8s.io/price"

struct side {         /* what one of the two decided, in sum */
    struct map nodes; /* name → pods + 1 */
    size_t placed, unplaced;
    double cost, replicas, wait;
};

struct replay {
    const struct policies *policies;
    const struct placement *placement;
    struct trial *trial;
    struct candidate *candidate;
    char *point, *kind, *object;
    int64_t since_ns;
    uint64_t next, end; /* of the plain ones */
    uint64_t past;      /* of scheduling by earlier processes */
    uint64_t back;      /* of scheduling by this one: the next one is before it */
    size_t decisions, same, differ, failed, gone, violations;
    bool scheduling, scaling, waiting; /* what the results tell of */
    int64_t from_ns, to_ns;
    struct side was, would;
    cJSON *differences;
};

struct replay *replay_new(const struct policies *policies, const struct placement *placement,
                          const struct replay_options *options, struct err **err)
{
    struct replay *replay = NEW(struct replay);
    const struct record *record = policies->record;
    replay->policies = policies;
    replay->placement = placement;
    replay->trial = trial_new(policies, placement);
    replay->since_ns = options->since_ns;
    replay->differences = cJSON_CreateArray();
    if (options->source) {
        replay->candidate =
            trial_candidate(replay->trial, NULL, options->source, options->len, options->settings, err);
        if (!replay->candidate) {
            replay_free(replay);
            return NULL;
        }
    }
    const char *point = replay->candidate ? replay->candidate->point : options->point;
    replay->point = point ? mem_strdup(point) : NULL;
    replay->kind = options->kind ? mem_strdup(options->kind) : NULL;
    replay->object = options->object ? mem_strdup(options->object) : NULL;
    if (record) {
        replay->end = replay->back = record->next_seq;
        replay->next = replay->past = record->next_seq - record->count;
    }
    return replay;
}

void replay_free(struct replay *replay)
{
    if (!replay)
        return;
    trial_free(replay->trial);
    candidate_free(replay->candidate);
    cJSON_Delete(replay->differences);
    map_fini(&replay->was.nodes);
    map_fini(&replay->would.nodes);
    free(replay->point);
    free(replay->kind);
    free(replay->object);
    free(replay);
}

static bool at_point(const struct decision *decision, const char *point)
{
    for (size_t i = 0; i < RECORD_LISTS; i++)
        if (decision->lists[i] && str_eq(decision->lists[i]->point->name, point))
            return true;
    return false;
}

static bool concerns(const struct replay *replay, const struct decision *decision)
{
    return decision->at_ns >= replay->since_ns && (!replay->point || at_point(decision, replay->point)) &&
           decision_about(decision, replay->kind, replay->object);
}

/* ---- sums ---- */

/* Adds a number of the result, if it has one. */
static void add_number(const cJSON *result, const char *name, double *sum, bool *seen)
{
    const cJSON *number = json_get(result, name);
    if (!cJSON_IsNumber(number))
        return;
    *sum += number->valuedouble;
    *seen = true;
}

static void count_side(struct replay *replay, struct side *side, const struct decision *decision,
                       const cJSON *result)
{
    add_number(result, "replicas", &side->replicas, &replay->scaling);
    add_number(result, "wait", &side->wait, &replay->waiting);
    if (!decision->class)
        return;
    const char *node = json_string(result, "node");
    if (!node) {
        side->unplaced++;
        return;
    }
    side->placed++;
    intptr_t pods = (intptr_t)map_get(&side->nodes, node);
    map_set(&side->nodes, node, (void *)(pods + 1));
    side->cost += placement_node_number(replay->placement, node, PRICE_LABEL);
}

static void add_difference(struct replay *replay, const struct decision *decision, const cJSON *result,
                           const char *failure)
{
    if (cJSON_GetArraySize(replay->differences) >= DIFFERENCES)
        return;
    cJSON *entry = json_push(replay->differences, decision_json(decision, false));
    json_set(entry, "was",
             cJSON_DetachItemViaPointer(entry, json_get(entry, "result")
                                                   ? json_get(entry, "result")
                                                   : json_set(entry, "result", cJSON_CreateNull())));
    if (result)
        json_set(entry, "would", json_copy(result));
    json_set_string(entry, "wouldFail", failure);
}

static void compare(struct replay *replay, const struct decision *decision)
{
    auto_json result = NULL;
    auto_free char *failure = NULL;
    auto_json was = decision->result ? json_parse_trusted(decision->result, strlen(decision->result)) : NULL;
    if (!decision->past)
        trial_replay(replay->trial, decision, replay->candidate, &result, &failure);
    if (decision->past || (failure && decision->class && strstr(failure, "not kept"))) {
        replay->gone++;
        return;
    }
    replay->decisions++;
    replay->scheduling = replay->scheduling || decision->class;
    if (!replay->to_ns || decision->at_ns > replay->to_ns)
        replay->to_ns = decision->at_ns;
    if (!replay->from_ns || decision->at_ns < replay->from_ns)
        replay->from_ns = decision->at_ns;
    bool same = !failure &&
                (replay->candidate ? trial_same(decision, result) : was == result || json_equal(was, result));
    count_side(replay, &replay->was, decision, was);
    count_side(replay, &replay->would, decision, result);
    replay->failed += failure != NULL;
    if (same) {
        replay->same++;
        return;
    }
    replay->differ++;
    const char *node = json_string(result, "node");
    if (replay->candidate && node && str_starts(replay->candidate->point, "scheduler.filter"))
        replay->violations += trial_refuses(replay->trial, decision, node);
    add_difference(replay, decision, result, failure);
}

/* The next one that is left; NULL: it is none of these, or forgotten. *done: there is none. */
static const struct decision *next_of(struct replay *replay, bool *done)
{
    const struct record *record = replay->policies->record;
    const struct decision *decision;
    if (replay->next < replay->end) {
        decision = record_find(record, replay->next++);
        return decision && !decision->class ? decision : NULL;
    }
    if (replay->past < replay->end) {
        decision = record_find(record, replay->past++);
        return decision && decision->segment ? decision : NULL;
    }
    decision = replay->back ? record_find(record, --replay->back) : NULL;
    *done = !decision;
    return decision && decision->class && !decision->segment ? decision : NULL;
}

/* Stops inside a slice only between decisions: one is bounded by the budgets of its policies. */
bool replay_step(struct replay *replay, int64_t budget_ms)
{
    bool done = !replay->policies->record;
    int64_t end = sandbox_cpu_ns(&replay->policies->sandbox) + budget_ms * 1000000;
    for (size_t n = 0; !done; n++) {
        if (n && sandbox_cpu_ns(&replay->policies->sandbox) > end)
            return false;
        const struct decision *decision = next_of(replay, &done);
        if (decision && concerns(replay, decision))
            compare(replay, decision);
    }
    return true;
}

/* ---- the report ---- */

static double round_3(double value)
{
    return round(value * 1000) / 1000;
}

/* Standard deviation of pods per node, over the nodes that either side used. */
static double imbalance(const struct replay *replay, const struct side *side)
{
    double sum = 0, squares = 0;
    size_t count = 0;
    map_each (entry, &replay->was.nodes) {
        double pods = (double)(intptr_t)map_get(&side->nodes, entry->key);
        sum += pods, squares += pods * pods, count++;
    }
    map_each (entry, &replay->would.nodes) {
        if (map_has(&replay->was.nodes, entry->key))
            continue;
        double pods = (double)(intptr_t)map_get(&side->nodes, entry->key);
        sum += pods, squares += pods * pods, count++;
    }
    double mean = count ? sum / (double)count : 0;
    return count ? round_3(sqrt(fmax(0, squares / (double)count - mean * mean))) : 0;
}

static void add_side(const struct replay *replay, cJSON *meaning, const char *name, const struct side *side)
{
    cJSON *json = json_set(meaning, name, cJSON_CreateObject());
    if (replay->scaling)
        json_set(json, "replicas", cJSON_CreateNumber(round_3(side->replicas)));
    if (replay->waiting)
        json_set(json, "wait", cJSON_CreateNumber(round_3(side->wait)));
    if (!replay->scheduling)
        return;
    json_set_int(json, "placed", (int64_t)side->placed);
    json_set_int(json, "unplaced", (int64_t)side->unplaced);
    json_set_int(json, "nodes", (int64_t)side->nodes.count);
    json_set(json, "imbalance", cJSON_CreateNumber(imbalance(replay, side)));
    json_set(json, "cost", cJSON_CreateNumber(round_3(side->cost)));
}

static void add_time(cJSON *json, const char *field, int64_t ns)
{
    char text[TIME_TEXT];
    if (!ns)
        return;
    time_print_micro(ns, text);
    json_set_string(json, field, text);
}

cJSON *replay_report(const struct replay *replay)
{
    cJSON *report = cJSON_CreateObject();
    if (replay->candidate) {
        auto_free char *name =
            mem_printf("%s@%.8s", replay->candidate->source->name, replay->candidate->source->hash);
        json_set_string(report, "candidate", name);
        json_set_string(report, "point", replay->candidate->point);
    }
    json_set_int(report, "decisions", (int64_t)replay->decisions);
    json_set_int(report, "same", (int64_t)replay->same);
    json_set_int(report, "differ", (int64_t)replay->differ);
    json_set_int(report, "failed", (int64_t)replay->failed);
    json_set_int(report, "gone", (int64_t)replay->gone);
    add_time(report, "from", replay->from_ns);
    add_time(report, "to", replay->to_ns);
    cJSON *meaning = json_set(report, "meaning", cJSON_CreateObject());
    add_side(replay, meaning, "was", &replay->was);
    add_side(replay, meaning, "would", &replay->would);
    json_set_int(meaning, "violations", (int64_t)replay->violations);
    json_set(report, "differences", json_copy(replay->differences));
    return report;
}
