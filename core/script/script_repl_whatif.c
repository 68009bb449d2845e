/*
 * script_repl_whatif: what would be decided about one object, with the policies in use or with one more: in a
 * world of its own, on the session's thread.
 *
 * The world is made like the manager's: a cache fed with the given objects, the shipped policies and those of
 * the cluster, the real placement engine or the real controller. Nothing of it is carried out, and nothing
 * reaches the manager's own policies. Does not: fetch objects (lua/repl/whatif.lua does, of the present or of
 * the past).
 */
#include <string.h>

#include "script/script_journal.h"
#include "script/script_repl.h"

#define DECISIONS 200
#define DECISION_BYTES (4u << 20)
#define SEED 42

struct whatif {
    lua_State *L;
    struct cache *cache;
    struct policies policies;
    struct world world;
    struct record record;
    struct controllers controllers;
    struct random random;
    struct random_seeded seeded;
};

static void on_change(void *arg, const char *resource, const struct cache_item *previous,
                      const struct cache_item *item)
{
    world_on_change(arg, resource, previous, item);
}

static void on_trouble(void *arg UNUSED, const struct policy_version *version UNUSED, bool rolled_back UNUSED,
                       const char *reason UNUSED)
{
    /* the decision's record tells it */
}

static void whatif_fini(struct whatif *w)
{
    if (w->L) {
        controllers_fini(&w->controllers);
        record_fini(&w->record);
        placement_free(w->world.placement);
        world_fini(&w->world);
        policies_fini(&w->policies);
        cache_free(w->cache);
        lua_close(w->L);
    }
}

static int load_all(struct whatif *w, struct repl_session *session, struct err **err)
{
    const char *const *lua_directories = repl_directories(session);
    const char *const *shipped = repl_shipped(session);
    if (world_load_points(&w->world, lua_directories, err) < 0 ||
        controllers_load(&w->controllers, w->L, lua_directories, NULL, err) < 0)
        return -1;
    for (; *shipped; shipped++)
        if (policies_load_directory(&w->policies, *shipped, err) < 0)
            return -1;
    placement_project(w->cache);
    controllers_project(&w->controllers, w->cache);
    return 0;
}

static int whatif_init(struct whatif *w, struct repl_session *session, struct err **err)
{
    *w = (struct whatif){.L = state_new(repl_directories(session)), .cache = cache_new()};
    const struct policies_hooks hooks = {
        .check = world_check_result, .on_trouble = on_trouble, .arg = &w->world};
    bind_world_open(w->L);
    random_seeded_init(&w->seeded, SEED, &w->random);
    policies_init(&w->policies, false, SEED, &hooks);
    world_init(&w->world, w->L, w->cache, &w->policies, &w->random);
    w->world.shipped = repl_kinds(session);
    w->world.placement = placement_new(w->cache, &w->policies, SEED);
    record_init(&w->record, DECISIONS, DECISION_BYTES);
    placement_record(w->world.placement, &w->record);
    w->policies.record = &w->record;
    cache_set_on_change(w->cache, on_change, &w->world);
    return load_all(w, session, err);
}

/* ---- policies ---- */

/* The cluster's own policies, as they are in use: hooks of a session may not make them fail again. */
static int apply_known(struct whatif *w, const cJSON *known, struct err **err)
{
    json_each (policy, known) {
        const char *source = json_string_or(policy, "source", "");
        if (!str_eq(json_string(policy, "from"), "shipped") &&
            policies_apply(&w->policies, policy->string, source, strlen(source), false, NULL, err) < 0)
            return -1;
        if (json_get(policy, "overrides"))
            policies_set_settings(&w->policies, policy->string, json_get(policy, "overrides"));
    }
    return 0;
}

/* The candidate in its point's list, as `policy use` would put it: a filter joins, the others replace. */
static void place_candidate(cJSON *points, const struct policy_point *point, const char *name,
                            const cJSON *settings)
{
    cJSON *list = json_ensure_array(json_ensure_object(points, point->name), "policies");
    cJSON *entry = cJSON_CreateObject(), *next;
    json_set_string(entry, "name", name);
    if (settings)
        json_set(entry, "settings", json_copy(settings));
    for (cJSON *each = list->child; each; each = next) {
        next = each->next;
        if (point->shape != SHAPE_FILTER || str_eq(json_string(each, "name"), name))
            cJSON_Delete(cJSON_DetachItemViaPointer(list, each));
    }
    json_push(list, entry);
}

/* *name: of the candidate; borrowed from the policies. */
static int apply_candidate(struct whatif *w, const cJSON *wish, const char **name, struct err **err)
{
    const char *source = json_string(wish, "source"), *wanted = json_string(wish, "policy");
    if (source) {
        struct policy_version *version = stage_version(&w->policies, NULL, source, strlen(source), err);
        if (!version)
            return -1;
        auto_free char *own = mem_strdup(version->name);
        stage_version_free(version);
        if (policies_apply(&w->policies, own, source, strlen(source), false, NULL, err) < 0)
            return -1;
        *name = policies_find(&w->policies, own)->name;
        return 0;
    }
    const struct policy *policy = wanted ? policies_find(&w->policies, wanted) : NULL;
    if (policy && policies_current(policy)) {
        *name = policy->name;
        return 0;
    }
    auto_free const char **names = map_sorted_keys(&w->policies.names);
    const char *near = wanted ? str_nearest(wanted, names, w->policies.names.count) : NULL;
    return err_set(err, ERR_NOT_FOUND, "there is no policy \"%.64s\"%s%s%s", wanted ? wanted : "",
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static int use_policies(struct whatif *w, const cJSON *wish, bool with_candidate, struct err **err)
{
    const cJSON *policies = json_get(wish, "policies");
    auto_json points = cJSON_CreateObject();
    const char *candidate = NULL;
    if (apply_known(w, json_get(policies, "known"), err) < 0)
        return -1;
    json_each (list, json_get(policies, "active")) {
        if (list->child)
            json_set(json_ensure_object(points, list->string), "policies", json_copy(list));
    }
    if (with_candidate) {
        if (apply_candidate(w, wish, &candidate, err) < 0)
            return -1;
        const struct policy_version *version = policies_current(policies_find(&w->policies, candidate));
        place_candidate(points, policies_point(&w->policies, version->point), candidate,
                        json_get(wish, "settings"));
    }
    return policies_use(&w->policies, points, err);
}

/* ---- objects ---- */

static int feed(struct whatif *w, struct repl_session *session, const struct repl_given *given,
                const cJSON *time, struct err **err)
{
    for (size_t i = 0; i < given->count; i++) {
        const struct client_event event = {.type = CLIENT_ADDED,
                                           .revision = i + 1,
                                           .resource = given->resources[i],
                                           .object = given->objects[i]->data,
                                           .len = given->objects[i]->len};
        cache_apply(w->cache, &event);
        if (i % 64 == 0 && repl_stopped(session))
            return err_set(err, ERR_CANCELLED, "interrupted");
    }
    const struct client_event end = {.type = CLIENT_INITIAL_END, .revision = given->count};
    cache_apply(w->cache, &end);
    w->world.ready = true;
    world_set_time(&w->world, &clock_system);
    if (cJSON_IsNumber(time)) /* the same for all that is compared */
        w->world.wall_ns = (int64_t)(time->valuedouble * 1e9);
    w->world.booted_ns = w->world.connected_ns = w->world.monotonic_ns - 3600 * INT64_C(1000000000);
    return 0;
}

/* ---- deciding ---- */

/* What the pod's claims allow, as the scheduler sees it: {facts, problem}, or NULL: it has none. Caller owns.
 */
static int ask_claims(struct whatif *w, const char *key, cJSON **claims, struct err **err)
{
    lua_State *L = w->L;
    *claims = NULL;
    if (state_require(L, "framework.volume_facts", err) < 0)
        return -1;
    lua_getfield(L, -1, "of_key");
    lua_remove(L, -2);
    bind_world_push(L, &w->world);
    lua_pushstring(L, key);
    if (state_call(L, 2, 1, err) < 0)
        return -1;
    bool none = lua_isnil(L, -1);
    if (!none)
        *claims = value_take_safe(L, -1, VALUE_MAX_NODES, err);
    lua_pop(L, 1);
    return none || *claims ? 0 : -1;
}

static int place(struct whatif *w, const char *key, cJSON *out, struct err **err)
{
    struct placement_result result = {0};
    size_t count = 0;
    auto_json claims = NULL;
    if (ask_claims(w, key, &claims, err) < 0)
        return -1;
    if (json_string(claims, "problem")) { /* the scheduler would not ask any policy */
        auto_free char *message = mem_printf("0/%zu nodes are available: %s.", cache_count(w->cache, "nodes"),
                                             json_string(claims, "problem"));
        json_set_string(out, "message", message);
        return 0;
    }
    free(placement_pending(w->world.placement, (double)w->world.wall_ns / 1e9, 1,
                           &count)); /* takes up what has come */
    if (placement_place(w->world.placement, key, json_get(claims, "facts"), (double)w->world.wall_ns / 1e9,
                        &result, err) < 0)
        return -1;
    json_set_string(out, "node", result.node);
    if (result.node)
        json_set(out, "score", cJSON_CreateNumber(result.score));
    json_set_string(out, "by", result.by);
    json_set_string(out, "scores", result.scores);
    json_set_string(out, "message", result.message);
    json_set_string(out, "nodes", result.nodes);
    if (result.fallback)
        json_set_bool(out, "fallback", true);
    free(result.by);
    free(result.scores);
    free(result.message);
    free(result.nodes);
    return 0;
}

/* The controller whose keys are objects of that resource; pods: the scheduler. */
static struct controller *controller_for(struct whatif *w, const char *resource)
{
    if (str_eq(resource, "pods"))
        return controllers_find(&w->controllers, "scheduler");
    for (size_t i = 0; i < w->controllers.count; i++) {
        struct controller *controller = &w->controllers.items[i];
        for (size_t n = 0; n < controller->n_watches; n++)
            if (controller->watches[n].key == WATCH_SELF && str_eq(controller->watches[n].resource, resource))
                return controller;
    }
    return NULL;
}

static int no_controller(const char *resource, struct err **err)
{
    return err_set(err, ERR_INVALID, "no controller decides about %s", resource);
}

static int reconcile(struct whatif *w, const char *resource, const char *key, cJSON *out, struct err **err)
{
    struct controller *controller = controller_for(w, resource);
    cJSON *plan = NULL;
    if (!controller)
        return no_controller(resource, err);
    if (controller_reconcile(controller, &w->world, key, &plan, err) < 0)
        return -1;
    json_set_string(out, "controller", controller->name);
    json_set(out, "plan", plan ? plan : cJSON_CreateObject());
    return 0;
}

cJSON *repl_whatif(struct repl_session *session, const cJSON *wish, const struct repl_given *given,
                   struct err **err)
{
    struct whatif w = {0};
    const char *resource = json_string_or(wish, "resource", ""), *key = json_string_or(wish, "key", "");
    auto_json out = cJSON_CreateObject();
    int rc = whatif_init(&w, session, err);
    if (rc == 0)
        rc = use_policies(&w, wish, json_bool(wish, "candidate", false), err);
    if (rc == 0)
        rc = feed(&w, session, given, json_get(wish, "time"), err);
    if (rc == 0)
        rc = str_eq(resource, "pods") ? place(&w, key, out, err) : reconcile(&w, resource, key, out, err);
    cJSON *decisions = json_ensure_array(out, "decisions");
    for (size_t i = 0; rc == 0 && i < w.record.count; i++)
        json_push(decisions, decision_json(record_at(&w.record, i), false));
    whatif_fini(&w);
    return rc == 0 ? steal(&out) : NULL;
}

/* Alone at its point, filters too. */
static int use_alone(struct whatif *w, const cJSON *wish, const struct policy_point **point, struct err **err)
{
    const char *name = NULL;
    if (apply_known(w, json_at(wish, "policies.known"), err) < 0 || apply_candidate(w, wish, &name, err) < 0)
        return -1;
    *point = policies_point(&w->policies, policies_current(policies_find(&w->policies, name))->point);
    auto_json points = cJSON_CreateObject();
    cJSON *entry = cJSON_CreateObject();
    json_set_string(entry, "name", name);
    if (json_get(wish, "settings"))
        json_set(entry, "settings", json_copy(json_get(wish, "settings")));
    json_push(json_ensure_array(json_ensure_object(points, (*point)->name), "policies"), entry);
    return policies_use(&w->policies, points, err);
}

cJSON *repl_try(struct repl_session *session, const cJSON *wish, struct err **err)
{
    struct whatif w = {0};
    const struct policy_point *point = NULL;
    auto_json none = cJSON_CreateObject();
    auto_json record = NULL;
    cJSON *out = NULL;
    const cJSON *ctx = json_get(wish, "ctx"), *candidates = json_get(wish, "candidates");
    int rc = whatif_init(&w, session, err);
    if (rc == 0)
        rc = use_alone(&w, wish, &point, err);
    if (rc == 0) {
        out = cJSON_CreateObject();
        cJSON *result = policies_ask(&w.policies, point->name, cJSON_IsObject(ctx) ? ctx : none,
                                     cJSON_IsArray(candidates) ? candidates : NULL,
                                     (double)clock_wall_ns(&clock_system) / 1e9, &record, err);
        json_set_string(out, "point", point->name);
        if (result)
            json_set(out, "result", result);
        if (json_get(record, "reasons"))
            json_set(out, "reasons", json_copy(json_get(record, "reasons")));
        json_set_string(out, "failure", json_string(record, "failure"));
    }
    whatif_fini(&w);
    return out;
}

static void add_resource(cJSON *list, const char *resource)
{
    json_each (known, list) {
        if (str_eq(known->valuestring, resource))
            return;
    }
    json_push_string(list, resource);
}

cJSON *repl_whatif_resources(struct repl_session *session, const char *resource, struct err **err)
{
    struct whatif w = {0};
    cJSON *list = NULL;
    if (whatif_init(&w, session, err) == 0) {
        const struct controller *controller = controller_for(&w, resource);
        list = controller ? cJSON_CreateArray() : NULL;
        for (size_t i = 0; controller && i < controller->n_watches; i++)
            add_resource(list, controller->watches[i].resource);
        json_each (project, controller ? controller->project : NULL)
            add_resource(list, project->string);
        if (!controller)
            no_controller(resource, err);
    }
    whatif_fini(&w);
    return list;
}
