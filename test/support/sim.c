/*
 * sim: the parts of a simulated cluster, their deaths and their returns; see sim.h. What must hold is in
 * sim_laws.c.
 *
 * A death is exact on the side of what is lost (memory, connections) and lenient in one point: callbacks that
 * are due at that very moment still run, so that nothing points into the dead part. Disk writes of the store
 * that were queued are then committed without anybody being told.
 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "auth/auth.h"
#include "base/file.h"
#include "base/log.h"
#include "exchange.h"
#include "node/node.h"
#include "script/script.h"
#include "script/script_node.h"
#include "store/store_lmdb.h"

#define START_WALL_NS INT64_C(1750000000000000000)
#define ANSWER_MS 35000
#define POLL_MS 10
#define MOMENT_STEPS 20000 /* more at one moment: parts that answer each other without end */

struct sim_shared {
    struct schema *schema;
    struct auth_authority *authority;
    char *directory;
    const char **volatile_kinds;
    struct map volatile_names;
    struct script_node *node_policies; /* the shipped ones, of all agents: no state, no clock in them */
};

/* ---- shared ---- */

static void add_volatile(void *arg, const struct schema_kind *kind)
{
    const struct schema_kind_info *info = schema_kind_info(kind);
    if (info->is_volatile)
        map_set(arg, info->resource, (void *)(uintptr_t)info->resource);
}

struct sim_shared *sim_shared_new(struct err **err)
{
    static const char *const lua[] = {MINIK8S_SOURCE_DIR "/lua", NULL};
    json_init();
    struct sim_shared *shared = NEW(struct sim_shared);
    shared->directory = mem_strdup("/dev/shm/m8-sim-keys-XXXXXX");
    must(mkdtemp(shared->directory) != NULL);
    shared->schema = schema_new();
    auto_json kinds = script_load_kinds(lua, err);
    /* No accounts: the volume with a pod's token would really be mounted, on this machine. */
    json_each (kind, kinds)
        if (str_eq(json_string(kind, "kind"), "ServiceAccount")) {
            cJSON_Delete(cJSON_DetachItemViaPointer(kinds, kind));
            break;
        }
    if (kinds && schema_add_all(shared->schema, kinds, err) == 0)
        shared->authority = auth_authority_open(shared->directory, &clock_system, &random_system, err);
    if (!shared->authority) {
        sim_shared_free(shared);
        return NULL;
    }
    static const char *const policies[] = {MINIK8S_SOURCE_DIR "/policies", NULL};
    const struct script_node_options node = {
        .lua_directories = lua, .shipped_policies = policies, .clock = &clock_system, .simulated = true};
    shared->node_policies = script_node_new(&node, err);
    if (!shared->node_policies) {
        sim_shared_free(shared);
        return NULL;
    }
    schema_each(shared->schema, add_volatile, &shared->volatile_names);
    shared->volatile_kinds = map_sorted_keys(&shared->volatile_names);
    return shared;
}

void sim_shared_free(struct sim_shared *shared)
{
    schema_free(shared->schema);
    if (shared->authority)
        auth_authority_free(shared->authority);
    file_remove_tree(shared->directory, NULL);
    free(shared->volatile_kinds);
    map_fini(&shared->volatile_names);
    script_node_free(shared->node_policies);
    free(shared->directory);
    free(shared);
}

/* ---- what is told ---- */

void sim_note(struct sim_world *w, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char text[400];
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    char **slot = &w->trace[w->n_trace++ % COUNT_OF(w->trace)];
    free(*slot);
    *slot = mem_printf("%7lld ms  step %-7llu %s", (long long)loop_now_ms(w->loop),
                       (unsigned long long)w->steps, text);
    if (getenv("SIM_VERBOSE"))
        fprintf(stderr, "# %s\n", *slot);
}

void sim_fail(struct sim_world *w, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char text[600];
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    sim_note(w, "FAILED: %s", text);
    if (!w->failure)
        w->failure = mem_printf("seed %llu at %lld ms: %s", (unsigned long long)w->seed,
                                (long long)loop_now_ms(w->loop), text);
}

void sim_print_trace(const struct sim_world *w)
{
    unsigned size = COUNT_OF(w->trace), first = w->n_trace > size ? w->n_trace - size : 0;
    for (unsigned i = first; i < w->n_trace; i++)
        fprintf(stderr, "# %s\n", w->trace[i % size]);
}

uint64_t sim_hash(const struct sim_world *w)
{
    return w->hash;
}

/* ---- server ---- */

static void on_commit(void *arg, struct store_event *const *events, size_t count)
{
    struct sim_world *w = arg;
    sim_laws_on_commit(w, events, count);
    watch_hub_publish(w->hub, events, count);
}

static void on_bootstrapped(void *arg, struct err *err)
{
    if (err && err_code(err) != ERR_CANCELLED)
        sim_fail(arg, "bootstrap: %s", err_message(err));
}

static void connect_all(struct sim_world *w, struct api *api)
{
    http_handler *handler = api ? api_handle : NULL;
    if (w->user)
        http_local_client_set_handler(w->user, handler, api);
    if (w->manager_http)
        http_local_client_set_handler(w->manager_http, handler, api);
    for (unsigned i = 0; i < w->n_nodes; i++)
        if (w->nodes[i].http)
            http_local_client_set_handler(w->nodes[i].http, handler, api);
}

static void server_start(struct sim_world *w)
{
    auto_err err = NULL;
    auto_free char *directory = file_join(w->directory, "store");
    const struct store_seal seal = {auth_seal, auth_unseal, auth_authority_seal(w->shared->authority)};
    const struct store_lmdb_options store = {.directory = directory,
                                             .inline_loop = w->loop,
                                             .map_bytes = 64 << 20,
                                             .clock = loop_clock(w->loop),
                                             .random = &w->random,
                                             .log_keep_events = 100000,
                                             .seal = &seal};
    w->store = store_lmdb_open(&store, &err);
    must(w->store != NULL);
    w->hub = watch_hub_new(w->store, loop_clock(w->loop));
    watch_hub_set_volatile(w->hub, w->shared->volatile_kinds);
    w->store->ops->set_on_commit(w->store, on_commit, w);
    w->metrics = metrics_new();
    const struct api_options options = {.loop = w->loop,
                                        .clock = loop_clock(w->loop),
                                        .random = &w->random,
                                        .store = w->store,
                                        .hub = w->hub,
                                        .schema = w->shared->schema,
                                        .metrics = w->metrics,
                                        .auth = w->shared->authority,
                                        .git_version = "v1.35.0",
                                        .product_version = "sim",
                                        .service_range = "10.96.0.0/16",
                                        .pod_range = "10.244.0.0/16"};
    w->api = api_new(&options, &err);
    must(w->api != NULL);
    sim_laws_check_store(w);
    api_bootstrap(w->api, on_bootstrapped, w);
    sim_laws_watch_open(w);
    connect_all(w, w->api);
}

/* What is due now still runs: nothing may point into what goes. */
static void drain_now(struct sim_world *w)
{
    w->steps += loop_run_until(w->loop, loop_now_ms(w->loop));
}

static void server_kill(struct sim_world *w)
{
    sim_laws_watch_close(w, false);
    connect_all(w, NULL);
    drain_now(w);
    store_lmdb_abandon(w->store);
    api_free(w->api);
    watch_hub_free(w->hub);
    metrics_free(w->metrics);
    w->store = NULL;
    w->api = NULL;
    w->hub = NULL;
    w->metrics = NULL;
}

void sim_server_lose_store(struct sim_world *w)
{
    must(w->store == NULL);
    auto_free char *directory = file_join(w->directory, "store");
    file_remove_tree(directory, NULL);
    map_fini(&w->committed);
    sim_laws_watch_close(w, true);
    watch_history_free(w->history); /* revisions begin again */
    w->history = watch_history_new();
}

/* ---- lines ---- */

static struct http_local_fault decide(void *arg, const char *method, const char *target)
{
    struct sim_world *w = arg;
    struct http_local_fault fault = {0};
    if (w->line.refuse && random_below(&w->line_random, 1000) < w->line.refuse)
        fault.refuse = true;
    if (w->line.lose_answer && !str_starts(target, "/apis/minik8s.io/v1/stream") && !str_eq(method, "GET") &&
        random_below(&w->line_random, 1000) < w->line.lose_answer)
        fault.lose_answer = true;
    if (w->line.delay && random_below(&w->line_random, 1000) < w->line.delay)
        fault.delay_ms = 1 + (int64_t)random_below(&w->line_random, 300);
    return fault;
}

static struct http_client *client_as(struct sim_world *w, const char *user, const char *group)
{
    const char *const groups[] = {group, NULL};
    const struct http_local_identity identity = {.user = user, .groups = groups};
    struct http_client *http = http_local_client_new(w->loop, w->api ? api_handle : NULL, w->api, &identity);
    if (!str_eq(group, AUTH_MASTERS))
        http_local_client_set_faults(http, decide, w);
    return http;
}

/* ---- manager ---- */

static void on_fatal(void *arg, const char *reason)
{
    sim_fail(arg, "the manager gave up: %s", reason);
}

static void manager_start(struct sim_world *w)
{
    static const char *const lua[] = {MINIK8S_SOURCE_DIR "/lua", NULL};
    static const char *const policies[] = {MINIK8S_SOURCE_DIR "/policies", NULL};
    auto_err err = NULL;
    w->manager_http = client_as(w, AUTH_MANAGER_USER, AUTH_MANAGER_GROUP);
    const struct script_manager_options options = {.loop = w->loop,
                                                   .http = w->manager_http,
                                                   .random = &w->random,
                                                   .lua_directories = lua,
                                                   .shipped_policies = policies,
                                                   .host = "sim",
                                                   .simulated = true,
                                                   .quiet = w->options.quiet,
                                                   .on_fatal = on_fatal,
                                                   .arg = w};
    w->manager = script_manager_new(&options, &err);
    if (!w->manager)
        sim_fail(w, "manager: %s", err_message(err));
    must(w->manager != NULL);
}

static void manager_kill(struct sim_world *w)
{
    script_manager_free(w->manager);
    w->manager = NULL;
    w->manager_http->ops->free(w->manager_http);
    w->manager_http = NULL;
    drain_now(w);
}

/* ---- agents ---- */

static struct net *net_for_range(void *arg, const char *pod_range, struct err **err UNUSED)
{
    struct sim_node *n = arg;
    n->net = fake_net_new(n->world->net, n->name, n->address, pod_range);
    fake_world_cut(n->world->net, n->name, n->cut || n->off);
    return n->net;
}

/* Without the objects of this world: the engine is shared by all of them. */
static struct node_policies node_policies(const struct sim_world *w)
{
    struct node_policies policies = script_node_policies(w->shared->node_policies);
    policies.sync = NULL;
    policies.listen = NULL;
    return policies;
}

static void agent_start(struct sim_node *n)
{
    struct sim_world *w = n->world;
    auto_err err = NULL;
    auto_free char *user = mem_printf(AUTH_NODE_PREFIX "%s", n->name);
    n->http = client_as(w, user, AUTH_NODES);
    http_local_client_cut(n->http, n->cut);
    n->runtime = fake_machine_runtime(n->machine);
    const struct node_options options = {.name = n->name,
                                         .cluster = "sim",
                                         .directory = n->directory,
                                         .loop = w->loop,
                                         .pool = w->pool,
                                         .random = &w->random,
                                         .http = n->http,
                                         .runtime = n->runtime,
                                         .net_new = net_for_range,
                                         .net_new_arg = n,
                                         .version = "sim",
                                         .internal_ip = n->address,
                                         .port = 10250,
                                         .policies = node_policies(w),
                                         .dns_address = "169.254.20.10",
                                         .cluster_domain = "cluster.local",
                                         .system_memory_bytes = INT64_C(8) << 30,
                                         .system_cpu_milli = 8000};
    n->agent = node_new(&options, &err);
    if (!n->agent)
        sim_fail(w, "agent %s: %s", n->name, err_message(err));
    must(n->agent != NULL);
    n->reachable_since_ms = loop_now_ms(w->loop);
}

static void agent_kill(struct sim_node *n)
{
    node_free(n->agent);
    n->agent = NULL;
    n->runtime->ops->free(n->runtime);
    n->runtime = NULL;
    n->http->ops->free(n->http);
    n->http = NULL;
    drain_now(n->world); /* what the pool has begun ends: a write to disk is done or not */
    if (n->net)
        n->net->ops->free(n->net);
    n->net = NULL;
}

/* ---- deaths and returns ---- */

static struct sim_node *node_at(struct sim_world *w, unsigned part)
{
    must(part >= SIM_AGENT && part - SIM_AGENT < w->n_nodes);
    return &w->nodes[part - SIM_AGENT];
}

void sim_kill(struct sim_world *w, unsigned part)
{
    static const char *const names[] = {"server", "manager"};
    if (part == SIM_SERVER ? !w->store : part == SIM_MANAGER ? !w->manager : !node_at(w, part)->agent)
        return;
    sim_note(w, "%s is killed", part < SIM_AGENT ? names[part] : node_at(w, part)->name);
    if (part == SIM_SERVER)
        server_kill(w);
    else if (part == SIM_MANAGER)
        manager_kill(w);
    else
        agent_kill(node_at(w, part));
}

void sim_start(struct sim_world *w, unsigned part)
{
    static const char *const names[] = {"server", "manager"};
    if (part == SIM_SERVER    ? w->store != NULL
        : part == SIM_MANAGER ? w->manager != NULL
                              : node_at(w, part)->agent || node_at(w, part)->off)
        return;
    sim_note(w, "%s starts", part < SIM_AGENT ? names[part] : node_at(w, part)->name);
    if (part == SIM_SERVER)
        server_start(w);
    else if (part == SIM_MANAGER)
        manager_start(w);
    else
        agent_start(node_at(w, part));
}

void sim_crash_after(struct sim_world *w, unsigned part, uint64_t steps)
{
    w->crash_part = part;
    w->crash_at = w->steps + steps;
}

static void cut_network(struct sim_node *n)
{
    if (n->net)
        fake_world_cut(n->world->net, n->name, n->cut || n->off);
}

void sim_cut(struct sim_world *w, unsigned index, bool cut)
{
    struct sim_node *n = &w->nodes[index];
    if (n->cut == cut)
        return;
    sim_note(w, "%s is %s", n->name, cut ? "cut off" : "back on the line");
    n->cut = cut;
    n->reachable_since_ms = loop_now_ms(w->loop);
    if (n->http)
        http_local_client_cut(n->http, cut);
    cut_network(n);
}

void sim_power(struct sim_world *w, unsigned index, bool on)
{
    struct sim_node *n = &w->nodes[index];
    if (n->off == !on)
        return;
    sim_note(w, "%s: power %s", n->name, on ? "on" : "off");
    n->off = !on;
    cut_network(n);
    if (!on) {
        fake_machine_reboot(n->machine);
        sim_kill(w, SIM_AGENT + index);
    }
}

void sim_all_well(struct sim_world *w)
{
    static const struct fake_runtime_faults none = {.delay_ms_min = 1, .delay_ms_max = 5};
    w->crash_at = 0;
    w->line = (struct sim_line){0};
    sim_start(w, SIM_SERVER);
    sim_start(w, SIM_MANAGER);
    for (unsigned i = 0; i < w->n_nodes; i++) {
        sim_power(w, i, true);
        sim_cut(w, i, false);
        fake_machine_set_faults(w->nodes[i].machine, &none);
        sim_start(w, SIM_AGENT + i);
    }
    sim_note(w, "all is well again");
}

/* ---- time ---- */

bool sim_step(struct sim_world *w)
{
    must(loop_step(w->loop));
    w->steps++;
    int64_t now = loop_now_ms(w->loop);
    w->moment_steps = now == w->moment_ms ? w->moment_steps + 1 : 0;
    w->moment_ms = now;
    if (w->moment_steps == MOMENT_STEPS)
        sim_fail(w, "%d steps at one moment: no end in sight", MOMENT_STEPS);
    if (w->crash_at && w->steps >= w->crash_at) {
        w->crash_at = 0;
        sim_kill(w, w->crash_part);
    }
    if (w->steps % 64 == 0) {
        sim_laws_watch_read(w);
        sim_laws_check_machines(w);
        w->hash = (w->hash ^ (uint64_t)loop_now_ms(w->loop)) * UINT64_C(1099511628211);
        w->hash = (w->hash ^ w->steps) * UINT64_C(1099511628211);
    }
    return !w->failure;
}

static void on_time(void *arg)
{
    *(bool *)arg = true;
}

bool sim_run_for(struct sim_world *w, int64_t ms)
{
    bool over = false;
    struct loop_timer *timer = loop_timer_new(w->loop, on_time, &over);
    loop_timer_start(timer, ms);
    while (!over && sim_step(w))
        ;
    loop_timer_free(timer);
    return !w->failure;
}

int64_t sim_run_until(struct sim_world *w, int64_t timeout_ms, bool (*condition)(struct sim_world *))
{
    int64_t from = loop_now_ms(w->loop);
    while (loop_now_ms(w->loop) - from <= timeout_ms) {
        if (condition(w))
            return loop_now_ms(w->loop) - from;
        if (!sim_run_for(w, POLL_MS))
            return -1;
    }
    return -1;
}

/* ---- requests ---- */

struct reply {
    bool done;
    int status;
    cJSON *body;
};

static void on_reply(void *arg, const struct http_response *response, struct err *err UNUSED)
{
    struct reply *reply = arg;
    reply->done = true;
    if (!response)
        return;
    reply->status = response->status;
    reply->body = json_parse_trusted(response->body, response->len);
}

int sim_request(struct sim_world *w, const char *method, const char *target, const char *body, cJSON **answer)
{
    struct reply reply = {0};
    auto_free char *text = mem_strdup(body ? body : "");
    for (char *c = text; *c; c++)
        if (*c == '\'')
            *c = '"';
    const struct http_call call = {.method = method,
                                   .target = target,
                                   .content_type = !body                     ? NULL
                                                   : str_eq(method, "PATCH") ? "application/merge-patch+json"
                                                                             : "application/json",
                                   .body = text,
                                   .body_len = strlen(text),
                                   .timeout_ms = ANSWER_MS,
                                   .on_response = on_reply,
                                   .arg = &reply};
    struct http_pending *pending = w->user->ops->call(w->user, &call);
    while (!reply.done && sim_step(w))
        ;
    if (!reply.done)
        w->user->ops->cancel(w->user, pending);
    sim_note(w, "%s %s %s: %d %s", method, target, text, reply.status,
             reply.status >= 400 ? json_string_or(reply.body, "message", "") : "");
    if (answer)
        *answer = steal(&reply.body);
    cJSON_Delete(reply.body);
    return reply.status;
}

/* ---- beginning and end ---- */

struct sim_world *sim_world_new(struct sim_shared *shared, uint64_t seed, const struct sim_options *options)
{
    struct sim_world *w = NEW(struct sim_world);
    w->shared = shared;
    w->seed = seed;
    w->hash = UINT64_C(14695981039346656037);
    if (options)
        w->options = *options;
    w->n_nodes = w->options.nodes ? w->options.nodes : 3;
    must(w->n_nodes <= SIM_MAX_NODES);
    random_seeded_init(&w->seeded, seed, &w->random);
    random_seeded_init(&w->story_seeded, seed ^ 0x5709, &w->story);
    random_seeded_init(&w->line_seeded, seed ^ 0x11e5, &w->line_random);
    w->directory = mem_strdup("/dev/shm/m8-sim-XXXXXX");
    must(mkdtemp(w->directory) != NULL);
    map_init(&w->committed, free);
    map_init(&w->pods, free);
    map_init(&w->succeeded, free);
    w->loop = loop_new_virtual(START_WALL_NS + w->options.later_s * 1000000000);
    w->pool = pool_new(0);
    w->net = fake_world_new(&w->random);
    w->history = watch_history_new();
    for (unsigned i = 0; i < w->n_nodes; i++) {
        struct sim_node *n = &w->nodes[i];
        n->world = w;
        snprintf(n->name, sizeof(n->name), "n%u", i + 1);
        snprintf(n->address, sizeof(n->address), "10.0.0.%u", i + 1);
        n->directory = file_join(w->directory, n->name);
        must(file_make_dirs(n->directory, 0700, NULL) == 0);
        n->machine = fake_machine_new(w->loop, &w->random);
        fake_machine_set_on_signal(n->machine, sim_laws_on_signal, n);
    }
    server_start(w);
    w->user = client_as(w, "admin", AUTH_MASTERS);
    manager_start(w);
    for (unsigned i = 0; i < w->n_nodes; i++)
        agent_start(&w->nodes[i]);
    return w;
}

void sim_world_free(struct sim_world *w)
{
    for (unsigned i = 0; i < w->n_nodes; i++)
        sim_kill(w, SIM_AGENT + i);
    sim_kill(w, SIM_MANAGER);
    sim_kill(w, SIM_SERVER);
    sim_laws_watch_close(w, true);
    w->user->ops->free(w->user);
    for (unsigned i = 0; i < w->n_nodes; i++) {
        fake_machine_free(w->nodes[i].machine);
        free(w->nodes[i].directory);
    }
    fake_world_free(w->net);
    pool_free(w->pool);
    loop_free(w->loop);
    watch_history_free(w->history);
    map_fini(&w->committed);
    map_fini(&w->pods);
    sim_objects_free(w);
    for (size_t i = 0; i < COUNT_OF(w->trace); i++)
        free(w->trace[i]);
    free(w->failure);
    must(file_remove_tree(w->directory, NULL) == 0);
    free(w->directory);
    free(w);
}
