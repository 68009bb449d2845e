/*
 * script_trial: see the header.
 *
 * Invariants: versions of a trial are never taken out of use (they are marked as shipped) and live as long as
 * the trial; its points' lists are set here only, so `rebuild` of script_policies.c never runs on them.
 */
#include "script/script_trial.h"

#include <string.h>

#include "script/script_journal.h"
#include "script/script_placement.h"
#include "script/script_record_past.h"

#define COPY_AGAIN 10000 /* changes from which on a new copy costs less than following them */

struct trial {
    struct policies policies;
    struct map versions; /* "name@hash" → struct policy_version */
    const struct placement *original;
    struct placement *copy;
    uint64_t position;        /* of the copy in the original's journal */
    struct record_past *past; /* engines of earlier processes */
    struct placement *last;   /* the copy that was asked last: one of them */
    struct record_list *lists[RECORD_LISTS];
    const struct candidate *candidate; /* that the lists were made with */
    bool live;                         /* a shadow of scores: the filters have just been asked */
    char *failure;
};

static void on_trouble(void *arg, const struct policy_version *version UNUSED, bool rolled_back UNUSED,
                       const char *reason)
{
    struct trial *trial = arg;
    free(trial->failure);
    trial->failure = mem_strdup(reason);
}

static void version_free(void *version)
{
    stage_version_free(version);
}

static int check_result(void *arg, const char *point, const cJSON *result, const cJSON *ctx, struct err **err)
{
    const struct policies_hooks *hooks = ((struct trial *)arg)->policies.hooks.outer;
    return hooks && hooks->check ? hooks->check(hooks->arg, point, result, ctx, err) : 0;
}

struct trial *trial_new(const struct policies *of, const struct placement *placement)
{
    struct trial *trial = NEW(struct trial);
    const struct policies_hooks hooks = {
        .check = check_result, .on_trouble = on_trouble, .arg = trial, .outer = &of->hooks};
    policies_init(&trial->policies, of->sandbox.simulated, of->seed, &hooks);
    map_init(&trial->versions, version_free);
    trial->original = placement;
    map_each (entry, &of->points) {
        const struct policy_point *point = entry->value;
        static const char *const shapes[] = {"one", "first", "filter", "score", "order"};
        policies_add_point(&trial->policies, point->name, shapes[point->shape], point->about, point->fallback,
                           NULL);
    }
    return trial;
}

void trial_free(struct trial *trial)
{
    if (!trial)
        return;
    placement_free(trial->copy);
    record_past_free(trial->past);
    policies_fini(&trial->policies);
    map_fini(&trial->versions);
    for (size_t i = 0; i < RECORD_LISTS; i++)
        record_list_unref(trial->lists[i]);
    free(trial->failure);
    free(trial);
}

struct candidate *trial_candidate(struct trial *trial, const char *name, const char *source, size_t len,
                                  const cJSON *settings, struct err **err)
{
    struct policy_version *version = stage_version(&trial->policies, name, source, len, err);
    if (!version)
        return NULL;
    struct candidate *candidate = NEW(struct candidate);
    candidate->source = record_source_ref(version->text);
    candidate->point = mem_strdup(version->point);
    candidate->settings = json_copy(version->settings);
    if (settings)
        candidate->settings = json_merge_patch(candidate->settings, settings);
    stage_version_free(version);
    return candidate;
}

void candidate_free(struct candidate *candidate)
{
    if (!candidate)
        return;
    record_source_unref(candidate->source);
    free(candidate->point);
    cJSON_Delete(candidate->settings);
    free(candidate);
}

/* ---- lists ---- */

/* It was checked when it was staged; here it is only compiled, when it is first needed. */
static struct policy_version *version_of(struct trial *trial, struct record_source *source, const char *point)
{
    auto_free char *key = mem_printf("%s@%s", source->name, source->hash);
    struct policy_version *version = map_get(&trial->versions, key);
    if (version)
        return version;
    version = NEW(struct policy_version);
    version->name = mem_strdup(source->name);
    version->point = mem_strdup(point);
    version->source = mem_strndup(source->source, source->len);
    version->len = source->len;
    snprintf(version->hash, sizeof(version->hash), "%s", source->hash);
    version->text = record_source_ref(source);
    version->shipped = true;
    map_set(&trial->versions, key, version);
    return version;
}

static void add_active(struct trial *trial, struct policy_point *point, struct record_source *source,
                       const cJSON *settings, double weight)
{
    struct policy_list *list = &point->active;
    list->items = mem_resize(list->items, list->count + 1, sizeof(*list->items));
    list->items[list->count++] = (struct policy_active){
        .version = version_of(trial, source, point->name), .settings = json_copy(settings), .weight = weight};
}

/* Where the candidate would be: instead of the one of its name; else beside the filters, or instead of all,
 * as `policy use` does it. */
static void fill_point(struct trial *trial, const struct record_list *list, const struct candidate *candidate)
{
    struct policy_point *point = policies_point(&trial->policies, list->point->name);
    bool here = candidate && str_eq(candidate->point, point->name), named = false;
    for (size_t i = 0; here && i < list->count; i++)
        named = named || str_eq(list->entries[i].source->name, candidate->source->name);
    for (size_t i = 0; i < point->active.count; i++)
        cJSON_Delete(point->active.items[i].settings);
    point->active.count = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct record_entry *entry = &list->entries[i];
        if (here && str_eq(entry->source->name, candidate->source->name))
            add_active(trial, point, candidate->source, candidate->settings, entry->weight);
        else if (!here || named || point->shape == SHAPE_FILTER)
            add_active(trial, point, entry->source, entry->settings, entry->weight);
    }
    if (here && !named)
        add_active(trial, point, candidate->source, candidate->settings, 1);
}

static void use_lists(struct trial *trial, const struct decision *decision, const struct candidate *candidate)
{
    bool same = trial->candidate == candidate;
    for (size_t i = 0; i < RECORD_LISTS; i++)
        same = same && trial->lists[i] == decision->lists[i];
    if (same)
        return;
    trial->policies.epoch++;
    trial->candidate = candidate;
    for (size_t i = 0; i < RECORD_LISTS; i++) {
        record_list_unref(trial->lists[i]);
        trial->lists[i] = decision->lists[i] ? record_list_ref(decision->lists[i]) : NULL;
        if (trial->lists[i] && !(trial->live && i == 0))
            fill_point(trial, trial->lists[i], candidate);
    }
}

/* ---- asking again ---- */

/* What the candidate remembers by itself: of earlier decisions on trial, else what was there. */
static cJSON *states_for(struct trial *trial, const struct decision *decision,
                         const struct candidate *candidate)
{
    cJSON *states = decision->states ? json_parse_trusted(decision->states, strlen(decision->states)) : NULL;
    if (!candidate)
        return states;
    auto_free char *key = mem_printf("%s %s", candidate->source->name, decision->object);
    const cJSON *own = map_get(&trial->policies.states, key);
    if (!own)
        return states;
    if (!states)
        states = cJSON_CreateObject();
    json_set(states, candidate->source->name, json_copy(own));
    return states;
}

static void keep_state(struct trial *trial, const struct decision *decision,
                       const struct candidate *candidate, const cJSON *after)
{
    const cJSON *state = candidate ? json_get(after, candidate->source->name) : NULL;
    if (!state || trial->policies.states.count >= POLICIES_STATES)
        return;
    auto_free char *key = mem_printf("%s %s", candidate->source->name, decision->object);
    map_set(&trial->policies.states, key, json_copy(state));
}

static void replay_ask(struct trial *trial, const struct decision *decision,
                       const struct candidate *candidate, cJSON **result)
{
    auto_json ctx = decision->ctx ? json_parse_trusted(decision->ctx, strlen(decision->ctx)) : NULL;
    auto_json candidates =
        decision->candidates ? json_parse_trusted(decision->candidates, strlen(decision->candidates)) : NULL;
    auto_json record = cJSON_CreateObject();
    auto_json states = states_for(trial, decision, candidate);
    auto_err err = NULL;
    struct ask ask = {.policies = &trial->policies,
                      .point = policies_point(&trial->policies, decision->point),
                      .ctx = ctx,
                      .candidates = candidates,
                      .now = decision->now,
                      .seed = decision->seed,
                      .states = states,
                      .record = record};
    if (ask_list(&ask, &ask.point->active, result, &err) < 0)
        on_trouble(trial, NULL, false, err_message(err));
    else
        keep_state(trial, decision, candidate, ask.after);
    cJSON_Delete(ask.after);
    policies_recover(&trial->policies);
}

static bool bring_copy(struct trial *trial, uint64_t to)
{
    uint64_t now = placement_journal_position(trial->original);
    uint64_t far = trial->position > to ? trial->position - to : to - trial->position;
    uint64_t fresh = now - to;
    if (!trial->copy || (far > COPY_AGAIN && fresh < far)) {
        placement_free(trial->copy);
        trial->copy = placement_copy(trial->original, &trial->policies);
        trial->position = now;
    }
    if (!placement_travel(trial->copy, trial->original, trial->position, to))
        return false;
    trial->position = to;
    return true;
}

/* The engine as it was; NULL: it is gone. */
static struct placement *copy_for(struct trial *trial, const struct decision *decision)
{
    if (!decision->segment)
        return bring_copy(trial, decision->journal) ? trial->copy : NULL;
    if (!trial->past)
        trial->past = record_past_new(trial->original, &trial->policies);
    return record_past_bring(trial->past, decision);
}

static void replay_placement(struct trial *trial, const struct decision *decision, cJSON **result)
{
    struct placement_verdict verdict;
    trial->last = trial->original ? copy_for(trial, decision) : NULL;
    if (!trial->last) {
        on_trouble(trial, NULL, false, "the nodes as they were then are not kept any more");
        return;
    }
    if (trial->live && !placement_take_over(trial->copy, trial->original))
        return;
    placement_try(trial->last, decision->class, decision->uid, decision->nominated, decision->n_resources,
                  &verdict);
    if (verdict.failed)
        return; /* on_trouble has the reason */
    free(steal(&trial->failure));
    *result = placement_result_json(verdict.node, verdict.score);
}

void trial_replay(struct trial *trial, const struct decision *decision, const struct candidate *candidate,
                  cJSON **result, char **failure)
{
    *result = NULL;
    free(steal(&trial->failure));
    use_lists(trial, decision, candidate);
    if (decision->class)
        replay_placement(trial, decision, result);
    else
        replay_ask(trial, decision, candidate, result);
    *failure = steal(&trial->failure);
}

bool trial_refuses(struct trial *trial, const struct decision *decision, const char *node)
{
    auto_json result = NULL;
    auto_free char *failure = NULL;
    trial_replay(trial, decision, NULL, &result, &failure);
    return !failure && placement_refuses(trial->last, decision->class, node);
}

bool trial_same(const struct decision *decision, const cJSON *result)
{
    auto_json before =
        decision->result ? json_parse_trusted(decision->result, strlen(decision->result)) : NULL;
    if (!before || !result)
        return !before && !result;
    return decision->class ? str_eq(json_string_or(before, "node", ""), json_string_or(result, "node", ""))
                           : json_equal(before, result);
}

/* ---- live ---- */

void shadow_free(void *value)
{
    for (struct shadow *shadow = value, *next; shadow; shadow = next) {
        next = shadow->next;
        trial_free(shadow->trial);
        candidate_free(shadow->candidate);
        cJSON_Delete(shadow->uses);
        free(shadow);
    }
}

const struct shadow *shadow_of(const struct policies *policies, const char *point)
{
    return map_get(&policies->shadows, point);
}

static bool is_the_same(const struct shadow *shadow, const struct policy_version *version,
                        const cJSON *settings)
{
    return str_eq(shadow->candidate->source->name, version->name) &&
           str_eq(shadow->candidate->source->hash, version->hash) &&
           json_equal(shadow->candidate->settings, settings);
}

/* Out of the list `old`, if it is there as it is now. */
static struct shadow *take_old(struct shadow **old, const struct policy_version *version,
                               const cJSON *settings)
{
    for (struct shadow **at = old; *at; at = &(*at)->next) {
        struct shadow *found = *at;
        if (!is_the_same(found, version, settings))
            continue;
        *at = found->next;
        found->next = NULL;
        return found;
    }
    return NULL;
}

static struct shadow *shadow_new(struct policies *policies, const struct placement *placement,
                                 const struct policy_version *version, const cJSON *settings)
{
    struct shadow *shadow = NEW(struct shadow);
    shadow->trial = trial_new(policies, placement);
    shadow->candidate = NEW(struct candidate);
    shadow->uses = version->uses ? json_copy(version->uses) : NULL;
    shadow->candidate->source = record_source_ref(version->text);
    shadow->candidate->point = mem_strdup(version->point);
    shadow->candidate->settings = json_copy(settings);
    shadow->trial->live = str_eq(version->point, "scheduler.score");
    return shadow;
}

/* NULL: not known, which is said. *changed: it is not one of before. */
static struct shadow *find_shadow(struct policies *policies, const struct placement *placement,
                                  const char *point, const char *name, struct shadow **old, bool *changed,
                                  struct err **err)
{
    const struct policy *policy = name ? policies_find(policies, name) : NULL;
    const struct policy_version *version = policies_current(policy);
    if (!version || !str_eq(version->point, point)) {
        err_set(err, ERR_NOT_FOUND, "no policy \"%s\" of this point works", name ? name : "");
        return NULL;
    }
    auto_json settings = version->settings ? json_copy(version->settings) : cJSON_CreateObject();
    if (policy->settings)
        settings = json_merge_patch(steal(&settings), policy->settings);
    struct shadow *shadow = take_old(old, version, settings);
    *changed = *changed || !shadow;
    return shadow ? shadow : shadow_new(policies, placement, version, settings);
}

int shadow_set(struct policies *policies, const struct placement *placement, const char *point,
               const cJSON *names, struct err **err)
{
    struct shadow *old = map_take(&policies->shadows, point), *first = NULL, **end = &first;
    size_t count = 0;
    int rc = 0;
    bool changed = false;
    json_each (name, names) {
        if (++count > SHADOWS_MAX) {
            rc =
                rc < 0 ? rc : err_set(err, ERR_INVALID, "at most %d policies can decide beside", SHADOWS_MAX);
            break;
        }
        struct shadow *shadow = find_shadow(policies, placement, point, cJSON_GetStringValue(name), &old,
                                            &changed, rc < 0 ? NULL : err);
        if (!shadow) {
            rc = -1;
            continue;
        }
        *end = shadow;
        end = &shadow->next;
    }
    if (first)
        map_set(&policies->shadows, point, first);
    policies->epoch += changed;
    shadow_free(old);
    return rc;
}

static void ask_shadow(struct shadow *shadow, struct decision *decision)
{
    auto_json result = NULL;
    auto_free char *failure = NULL;
    trial_replay(shadow->trial, decision, shadow->candidate, &result, &failure);
    shadow->asked++;
    shadow->failed += failure != NULL;
    struct decision_shadow *said = &decision->shadows[decision->n_shadows++];
    said->who = mem_printf("%s@%.8s%s%s", shadow->candidate->source->name, shadow->candidate->source->hash,
                           failure ? ": " : "", failure ? failure : "");
    said->result = result ? json_print(result) : NULL;
    said->differs = failure || !trial_same(decision, result);
    shadow->differed += said->differs;
}

void shadow_decision(struct policies *policies, const char *point, struct decision *decision)
{
    struct shadow *shadow = map_get(&policies->shadows, point);
    for (; shadow && decision->n_shadows < SHADOWS_MAX; shadow = shadow->next)
        ask_shadow(shadow, decision);
}
