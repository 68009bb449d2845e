/*
 * script_manager: the stream fills the cache, changes queue keys, keys are reconciled into plans, plans are
 * carried out.
 *
 * Does not: know any kind; decide anything. Invariants: Lua runs only from the loop, one reconcile at a time;
 * a key whose plan is under way stays in work; it is not given again before the stream has shown the plan's
 * results (contract 12); nothing is written unless the first complete list has arrived and, with elections,
 * the lease is held.
 */
#include <math.h>
#include <string.h>

#include "script/script_manager_private.h"
#include "script/script_repl.h"

#define KEYS_PER_TURN 64
#define TURN_MS 10
#define CATCH_UP_MS 1000
#define UNKNOWN_OUTCOME_MS 1000 /* a lost answer: give the stream time to show what took effect */

bool manager_active(const struct script_manager *manager)
{
    return manager->world.ready && manager->leading && !manager->closing;
}

/* ---- reconciling ---- */

struct work { /* a plan under way */
    struct running *running;
    char *key;
};

static void finish(struct running *running, const char *key)
{
    map_remove(&running->refused, key);
    queue_forget(running->queue, key);
    queue_done(running->queue, key);
    running->in_work--;
}

static void retry(struct running *running, const char *key)
{
    running->in_work--;
    queue_retry(running->queue, key);
}

void manager_event(struct script_manager *manager, const struct cache_item *item, const char *type,
                   const char *reason, const char *message)
{
    const struct world_kind *kind = item ? world_kind_of(&manager->world, item->resource) : NULL;
    if (!kind || !manager->recorder)
        return;
    auto_json involved = cJSON_CreateObject();
    json_set_string(involved, "apiVersion", kind->api_version);
    json_set_string(involved, "kind", kind->kind);
    json_set_string(involved, "namespace", item->namespace);
    json_set_string(involved, "name", item->name);
    json_set_string(involved, "uid", item->uid);
    recorder_event(manager->recorder, involved, type, reason, "%s", message);
}

static void tell_failure(struct running *running, const char *key, const char *what, const char *message)
{
    const struct controller *controller = running->controller;
    auto_free char *reason = mem_printf("Failed%s", what);
    auto_free char *text = mem_printf("%s%s", str_eq(what, "Create") ? "Error creating: " : "", message);
    for (size_t i = 0; i < controller->n_watches; i++)
        if (controller->watches[i].key == WATCH_SELF)
            manager_event(running->manager,
                          cache_get(running->manager->cache, controller->watches[i].resource, key), "Warning",
                          reason, text);
}

static void on_executed(void *arg, const struct execute_result *result)
{
    struct work *work = arg;
    struct running *running = work->running;
    struct script_manager *manager = running->manager;
    running->steps += result->steps;
    running->conflicts += result->conflicts;
    if (!manager->closing) {
        queue_wait_for(running->queue, work->key, result->revision);
        switch (result->verdict) {
        case EXECUTE_DONE:
            finish(running, work->key);
            break;
        case EXECUTE_FAILED:
            running->failures++;
            map_set(&running->refused, work->key, mem_strdup(err_message(result->err)));
            tell_failure(running, work->key, result->failed_verb, err_message(result->err));
            retry(running, work->key);
            break;
        case EXECUTE_CONFLICT:
            if (result->unknown) {
                finish(running, work->key);
                queue_add_after(running->queue, work->key, UNKNOWN_OUTCOME_MS);
            } else {
                retry(running, work->key);
            }
            break;
        }
    }
    free(work->key);
    free(work);
}

static void carry_out(struct running *running, const char *key, cJSON *plan)
{
    struct script_manager *manager = running->manager;
    const cJSON *after = json_get(plan, "after");
    execute_events(manager->recorder, plan);
    if (cJSON_IsNumber(after)) /* rounded up: asked again in the same millisecond it would say the same */
        queue_add_after(running->queue, key, (int64_t)ceil(after->valuedouble * 1000));
    const cJSON *steps = json_get(plan, "steps");
    if (!steps || !steps->child) {
        finish(running, key);
        return;
    }
    struct work *work = NEW(struct work);
    work->running = running;
    work->key = mem_strdup(key);
    execute_plan(manager->client, manager->recorder, plan, running->controller->name, on_executed, work);
}

static void reconcile(struct running *running, const char *key)
{
    struct script_manager *manager = running->manager;
    auto_err err = NULL;
    auto_json plan = NULL;
    running->reconciles++;
    running->in_work++;
    world_set_time(&manager->world, loop_clock(manager->options.loop));
    manager->world.refused = map_get(&running->refused, key);
    if (controller_reconcile(running->controller, &manager->world, key, &plan, &err) < 0) {
        running->failures++;
        log_error("script", "controller %s, key %s: %s", running->controller->name, key, err_message(err));
        retry(running, key);
        return;
    }
    carry_out(running, key, plan);
}

/* While a list comes, what is there belongs to no one moment: an object may be here before its owner. */
static bool may_reconcile(const struct script_manager *manager)
{
    return manager_active(manager) && !manager->behind && !manager->listing;
}

static void pump(void *arg)
{
    struct running *running = arg;
    int64_t end = loop_now_ms(running->manager->options.loop) + TURN_MS;
    for (int n = 0; may_reconcile(running->manager); n++) {
        if (n == KEYS_PER_TURN || loop_now_ms(running->manager->options.loop) > end) {
            if (!loop_timer_running(running->again))
                loop_timer_start(running->again, 0);
            return;
        }
        auto_free char *key = queue_take(running->queue);
        if (!key)
            return;
        reconcile(running, key);
    }
}

static void pump_all(struct script_manager *manager)
{
    for (size_t i = 0; i < manager->controllers.count; i++)
        pump(&manager->running[i]);
}

/* ---- the stream ---- */

static void add_key(void *arg, struct controller *controller, const char *key)
{
    struct script_manager *manager = arg;
    queue_add(manager->running[controller - manager->controllers.items].queue, key);
}

static void on_change(void *arg, const char *resource, const struct cache_item *previous,
                      const struct cache_item *item)
{
    struct script_manager *manager = arg;
    world_on_change(&manager->world, resource, previous, item);
    manager_policies_on_change(manager, resource, previous, item);
    manager_query_on_change(manager, resource, previous, item);
    manager_nodes_on_change(manager, resource, item);
    for (size_t i = 0; i < manager->controllers.count; i++)
        controller_keys(&manager->controllers.items[i], &manager->world, resource, previous, item, add_key,
                        manager);
}

static void on_reached(void *arg)
{
    struct script_manager *manager = arg;
    for (size_t i = 0; i < manager->controllers.count; i++)
        queue_reached(manager->running[i].queue, manager->revision);
    repl_host_reached(manager->repl);
    if (!manager->behind || !manager->connected || manager->revision < manager->goal)
        return;
    manager->behind = false;
    loop_timer_stop(manager->catch_up);
    pump_all(manager);
}

/* The last revisions may be of what nobody is shown. */
static void on_caught_up(void *arg)
{
    struct script_manager *manager = arg;
    manager->goal = 0;
    on_reached(manager);
}

static void become_active(struct script_manager *manager)
{
    if (!manager_active(manager))
        return;
    manager_policies_on_active(manager);
    manager_query_on_active(manager);
    pump_all(manager);
    repl_host_wake(manager->repl);
}

static void list_complete(struct script_manager *manager)
{
    manager->listing = false;
    if (manager->world.ready) {
        pump_all(manager);
        return;
    }
    manager->world.ready = true;
    world_set_time(&manager->world, loop_clock(manager->options.loop));
    manager->world.booted_ns = manager->world.monotonic_ns;
    log_info("script", "the first complete list has arrived");
    become_active(manager);
}

static void on_event(void *arg, const struct client_event *event)
{
    struct script_manager *manager = arg;
    world_set_time(&manager->world, loop_clock(manager->options.loop));
    if (event->revision > manager->policies.revision)
        manager->policies.revision = event->revision;
    if (!str_eq(event->resource, "events")) /* many, and nothing decides on them */
        cache_apply(manager->cache, event);
    if (event->type == CLIENT_INITIAL_END)
        list_complete(manager);
    if (manager->listing || event->revision <= manager->revision)
        return;
    manager->revision = event->revision;
    if (!loop_timer_running(manager->reached))
        loop_timer_start(manager->reached, 0);
}

static void on_restart(void *arg, const char *cluster_id)
{
    struct script_manager *manager = arg;
    log_info("script", "listing cluster %s", cluster_id ? cluster_id : "?");
    manager->listing = true;
    cache_begin_list(manager->cache);
}

static void on_connected(void *arg, bool connected, const char *reason)
{
    struct script_manager *manager = arg;
    world_set_time(&manager->world, loop_clock(manager->options.loop));
    manager->connected = connected;
    manager->behind |= !connected;
    if (connected) {
        manager->goal = client_stream_hello(manager->stream);
        loop_timer_start(manager->catch_up, CATCH_UP_MS);
        loop_timer_start(manager->reached, 0);
        repl_host_wake(manager->repl);
    }
    if (connected)
        manager->world.connected_ns = manager->world.monotonic_ns;
    if (connected)
        log_info("script", "connected to the server");
    else
        log_warn("script", "not connected to the server: %s", reason ? reason : "?");
}

static void on_leading(void *arg, bool leading)
{
    struct script_manager *manager = arg;
    log_info("script", leading ? "leading" : "not leading");
    if (manager->leading && !leading && manager->options.on_fatal)
        manager->options.on_fatal(manager->options.arg, "the lease was lost");
    manager->leading = leading;
    become_active(manager);
}

/* ---- life ---- */

static const char **copy_names(const char *const *names)
{
    size_t count = 0;
    while (names && names[count])
        count++;
    const char **copy = mem_array(count + 1, sizeof(*copy));
    for (size_t i = 0; i < count; i++)
        copy[i] = mem_strdup(names[i]);
    return copy;
}

static void free_names(const char **names)
{
    for (size_t i = 0; names && names[i]; i++)
        free((char *)(uintptr_t)names[i]);
    free(names);
}

static int load(struct script_manager *manager, struct err **err)
{
    if (world_load_points(&manager->world, manager->lua_directories, err) < 0 ||
        kinds_names(manager->lua_directories, &manager->shipped_kinds, err) < 0)
        return -1;
    manager->world.shipped = &manager->shipped_kinds;
    for (const char **shipped = manager->shipped_policies; *shipped; shipped++)
        if (policies_load_directory(&manager->policies, *shipped, err) < 0)
            return -1;
    if (manager->policy_directories[0])
        manager_files_open(manager, manager->policy_directories);
    if (controllers_load(&manager->controllers, manager->L, manager->lua_directories,
                         manager->options.controllers, err) < 0)
        return -1;
    placement_project(manager->cache);
    controllers_project(&manager->controllers, manager->cache);
    manager->running = mem_array(manager->controllers.count + 1, sizeof(*manager->running));
    for (size_t i = 0; i < manager->controllers.count; i++) {
        struct running *running = &manager->running[i];
        running->manager = manager;
        running->controller = &manager->controllers.items[i];
        map_init(&running->refused, free);
        running->queue = queue_new(manager->options.loop, pump, running);
        running->again = loop_timer_new(manager->options.loop, pump, running);
    }
    return 0;
}

static void connect_server(struct script_manager *manager)
{
    const struct script_manager_options *options = &manager->options;
    manager->client = client_new(options->loop, options->http, options->random);
    if (!options->quiet)
        manager->recorder = recorder_new(manager->client, "minik8s-manager", options->host);
    struct client_stream_options stream = {
        .on_event = on_event, .on_restart = on_restart, .on_connected = on_connected, .arg = manager};
    manager->listing = true;
    manager->stream = client_stream_open(manager->client, &stream);
    manager->leading = !options->elect;
    struct leader_options lease = {
        .name = "minik8s-manager", .identity = options->host, .on_leading = on_leading, .arg = manager};
    if (options->elect)
        manager->leader = leader_new(manager->client, &lease);
}

struct script_manager *script_manager_new(const struct script_manager_options *options, struct err **err)
{
    struct script_manager *manager = NEW(struct script_manager);
    uint64_t seed = random_u64(options->random);
    manager->options = *options;
    manager->lua_directories = copy_names(options->lua_directories);
    manager->shipped_policies = copy_names(options->shipped_policies);
    manager->policy_directories = copy_names(options->policy_directories);
    manager->L = state_new(manager->lua_directories);
    bind_world_open(manager->L);
    manager->cache = cache_new();
    struct policies_hooks hooks = {
        .check = world_check_result, .on_trouble = manager_policies_on_trouble, .arg = &manager->world};
    policies_init(&manager->policies, options->simulated, seed, &hooks);
    world_init(&manager->world, manager->L, manager->cache, &manager->policies, options->random);
    manager->world.placement = placement_new(manager->cache, &manager->policies, seed);
    manager_query_init(manager);
    cache_set_on_change(manager->cache, on_change, manager);
    manager->reached = loop_timer_new(options->loop, on_reached, manager);
    manager->catch_up = loop_timer_new(options->loop, on_caught_up, manager);
    manager_policies_init(manager);
    if (load(manager, err) < 0) {
        script_manager_free(manager);
        return NULL;
    }
    if (options->record_directory)
        manager->record_file =
            record_file_open(options->record_directory, options->loop, &manager->record, &manager->policies);
    manager_nodes_init(manager);
    manager->repl = repl_host_new(manager);
    connect_server(manager);
    return manager;
}

void script_manager_free(struct script_manager *manager)
{
    if (!manager)
        return;
    manager->closing = true;
    repl_host_free(manager->repl);
    manager->repl = NULL;
    if (manager->stream)
        client_stream_close(manager->stream);
    if (manager->leader)
        leader_free(manager->leader);
    if (manager->recorder)
        recorder_free(manager->recorder);
    if (manager->client)
        client_free(manager->client);
    manager_files_close(manager);
    manager_policies_fini(manager);
    record_file_close(manager->record_file);
    manager_nodes_fini(manager);
    manager_query_fini(manager);
    for (size_t i = 0; manager->running && i < manager->controllers.count; i++) {
        loop_timer_free(manager->running[i].again);
        queue_free(manager->running[i].queue);
        map_fini(&manager->running[i].refused);
    }
    free(manager->running);
    loop_timer_free(manager->reached);
    loop_timer_free(manager->catch_up);
    controllers_fini(&manager->controllers);
    placement_free(manager->world.placement);
    world_fini(&manager->world);
    map_fini(&manager->shipped_kinds);
    policies_fini(&manager->policies);
    cache_free(manager->cache);
    lua_close(manager->L);
    free_names(manager->lua_directories);
    free_names(manager->shipped_policies);
    free_names(manager->policy_directories);
    free(manager);
}

bool script_manager_idle(const struct script_manager *manager)
{
    bool idle = manager_active(manager);
    for (size_t i = 0; i < manager->controllers.count; i++)
        idle = idle && !manager->running[i].in_work && !queue_length(manager->running[i].queue);
    return idle;
}

cJSON *script_manager_statistics(const struct script_manager *manager)
{
    cJSON *statistics = cJSON_CreateObject(), *list = cJSON_CreateObject();
    uint64_t totals[4] = {0};
    for (size_t i = 0; i < manager->controllers.count; i++) {
        const struct running *running = &manager->running[i];
        cJSON *one = json_set(list, running->controller->name, cJSON_CreateObject());
        json_set_int(one, "reconciles", (int64_t)running->reconciles);
        json_set_int(one, "steps", (int64_t)running->steps);
        json_set_int(one, "conflicts", (int64_t)running->conflicts);
        json_set_int(one, "failures", (int64_t)running->failures);
        json_set_int(one, "queued", (int64_t)queue_length(running->queue));
        totals[0] += running->reconciles;
        totals[1] += running->steps;
        totals[2] += running->conflicts;
        totals[3] += running->failures;
    }
    json_set_bool(statistics, "ready", manager->world.ready);
    json_set_int(statistics, "reconciles", (int64_t)totals[0]);
    json_set_int(statistics, "steps", (int64_t)totals[1]);
    json_set_int(statistics, "conflicts", (int64_t)totals[2]);
    json_set_int(statistics, "failures", (int64_t)totals[3]);
    json_set(statistics, "controllers", list);
    json_set(statistics, "policies", manager_policies_statistics(manager));
    return statistics;
}
