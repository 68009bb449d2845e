/*
 * script_node: see the header.
 *
 * Does not: load policies of points that no node asks. Invariant: the file is written after every change of
 * what is in force, before it is used.
 */
#include <string.h>

#include "script/script_node_private.h"
#include "script/script_record_text.h"

#define POLICIES "policies.minik8s.io"
#define PROFILES "policyprofiles.minik8s.io"
#define PROFILE "cluster"
#define PREVIOUS "minik8s.io/previous-source"
#define FILE_MAX (4u << 20)
#define DECISIONS_KEPT 64 /* for the manager, should it be away; as many as a NodeDecisions may hold */
#define DECISIONS_BYTES (128u << 10)
#define SOURCES_MAX (512u << 10) /* of those who took them; the manager has most of them itself */

static const char *const points[] = {"restart.backoff", "balance"};
static const char *const folders[] = {"restart", "balance"}; /* of shipped policies, in the order of points */

bool script_node_asks(const char *point)
{
    for (size_t i = 0; i < COUNT_OF(points); i++)
        if (str_eq(points[i], point))
            return true;
    return false;
}

static void on_trouble(void *arg, const struct policy_version *version, bool rolled_back, const char *reason)
{
    struct script_node *node = CONTAINER_OF((struct world *)arg, struct script_node, world);
    auto_free char *message =
        mem_printf("%s@%.8s of %s: %s; %s", version->name, version->hash, version->point, reason,
                   rolled_back ? "the shipped default decides on this node from now on"
                               : "the shipped default decided instead");
    log_warn("script", "policy %s", message);
    if (node->listener.on_trouble)
        node->listener.on_trouble(node->listener.arg, rolled_back ? "PolicyRolledBack" : "PolicyFailed",
                                  message);
}

void script_node_tell_in_force(struct script_node *node)
{
    auto_str text = {0};
    if (!node->listener.on_in_force || node->told == node->policies.epoch)
        return;
    node->told = node->policies.epoch;
    for (size_t i = 0; i < COUNT_OF(points); i++) {
        const struct policy_point *point = policies_point(&node->policies, points[i]);
        auto_free char *all = policies_list_text(&point->active);
        str_addf(&text, "%s%s=%s", text.len ? " " : "", points[i], all);
        map_each (s, &point->spaces) {
            const struct policy_space *space = s->value;
            auto_free char *there = policies_list_text(space->trouble ? &point->active : &space->active);
            str_addf(&text, " %s/%s=%s", points[i], s->key, there);
        }
    }
    node->listener.on_in_force(node->listener.arg, str_c(&text));
    script_node_balance_tell(node);
}

/* ---- what is in force: {policies: [{name, source, settings}], points: {…}} ---- */

/* The text that the manager uses: the newest, or the one before it when that was taken out of use. */
static const char *source_in_use(const cJSON *object)
{
    const char *source = json_string_or(object, "spec.source", ""),
               *hash = json_string(object, "status.hash"),
               *before = cJSON_GetStringValue(json_get(json_at(object, "metadata.annotations"), PREVIOUS));
    char own[17], former[17];
    snprintf(own, sizeof(own), "%016llx", str_hash(source, strlen(source)));
    snprintf(former, sizeof(former), "%016llx", before ? str_hash(before, strlen(before)) : 0);
    if (!hash || str_eq(hash, own))
        return str_eq(json_string(object, "status.state"), "RolledBack") ? NULL : source;
    return before && str_eq(hash, former) ? before : NULL;
}

static void add_policies(cJSON *known, const struct cache *cache)
{
    cJSON *list = json_set(known, "policies", cJSON_CreateArray());
    struct cache_cursor cursor;
    const struct cache_item *item;
    cache_begin(cache, POLICIES, NULL, NULL, &cursor);
    while ((item = cache_next(&cursor))) {
        auto_json object = json_parse_trusted(item->bytes->data, item->bytes->len);
        const char *source = source_in_use(object);
        const cJSON *settings = json_at(object, "spec.settings");
        if (!source || !script_node_asks(json_string_or(object, "spec.point", "")))
            continue;
        cJSON *entry = json_push(list, cJSON_CreateObject());
        json_set_string(entry, "name", item->name);
        json_set_string(entry, "source", source);
        if (settings)
            json_set(entry, "settings", json_copy(settings));
    }
}

static const cJSON *entry_of(const cJSON *known, const char *name)
{
    json_each (entry, json_get(known, "policies")) {
        if (str_eq(json_string(entry, "name"), name))
            return entry;
    }
    return NULL;
}

/* What the manager uses of the operator's folder. A Policy object that is in use wins. */
static void add_files(cJSON *known, const struct cache *cache)
{
    const struct cache_item *item = cache_get(cache, PROFILES, PROFILE);
    auto_json profile = item ? json_parse_trusted(item->bytes->data, item->bytes->len) : NULL;
    json_each (file, json_at(profile, "status.files")) {
        const char *name = json_string(file, "name"), *source = json_string(file, "source");
        if (!name || !source || entry_of(known, name) || !script_node_asks(json_string_or(file, "point", "")))
            continue;
        cJSON *entry = json_push(json_get(known, "policies"), cJSON_CreateObject());
        json_set_string(entry, "name", name);
        json_set_string(entry, "source", source);
    }
}

static void add_chosen(cJSON *chosen, const cJSON *object)
{
    json_each (entry, json_at(object, "spec.points")) {
        const char *point = json_string_or(entry, "point", "");
        const cJSON *list = json_get(entry, "policies");
        if (script_node_asks(point) && list && list->child)
            json_set(json_set(chosen, point, cJSON_CreateObject()), "policies", json_copy(list));
    }
}

static void add_points(cJSON *known, const struct cache *cache)
{
    cJSON *chosen = json_set(known, "points", cJSON_CreateObject());
    cJSON *spaces = json_set(known, "spaces", cJSON_CreateObject());
    struct cache_cursor cursor;
    const struct cache_item *item;
    cache_begin(cache, PROFILES, NULL, NULL, &cursor);
    while ((item = cache_next(&cursor))) {
        auto_json object = json_parse_trusted(item->bytes->data, item->bytes->len);
        if (str_eq(item->name, PROFILE)) {
            add_chosen(chosen, object);
            continue;
        }
        json_each (name, json_at(object, "spec.namespaces")) {
            if (cJSON_IsString(name) && !json_get(spaces, name->valuestring))
                add_chosen(json_set(spaces, name->valuestring, cJSON_CreateObject()), object);
        }
    }
}

/* Stages what is new and drops what is gone. What is refused changes nothing. */
static void use(struct script_node *node, const cJSON *known)
{
    struct policies *policies = &node->policies;
    auto_free const char **names = map_sorted_keys(&policies->names);
    for (size_t i = 0; names[i]; i++)
        if (!entry_of(known, names[i]))
            policies_remove(policies, names[i]);
    json_each (entry, json_get(known, "policies")) {
        const char *name = json_string(entry, "name"), *source = json_string(entry, "source");
        const struct policy *policy = name ? policies_find(policies, name) : NULL;
        char hash[17];
        if (!name || !source)
            continue;
        snprintf(hash, sizeof(hash), "%016llx", str_hash(source, strlen(source)));
        auto_err refused = NULL;
        bool there = policy && policy->versions[0] && str_eq(policy->versions[0]->hash, hash);
        if (!there && policies_apply(policies, name, source, strlen(source), false, NULL, &refused) < 0)
            log_warn("script", "policy %s refused: %s", name, err_message(refused));
        else
            policies_set_settings(policies, name, json_get(entry, "settings"));
    }
    auto_err wrong = NULL;
    if (policies_use(policies, json_get(known, "points"), &wrong) < 0)
        log_warn("script", "policy profile: %s", err_message(wrong));
    auto_err elsewhere = NULL;
    if (policies_use_in(policies, json_get(known, "spaces"), &elsewhere) < 0)
        log_warn("script", "policy profile of a namespace: %s", err_message(elsewhere));
}

/* The agent's list is complete, or one of the objects changed since. */
static void sync(void *arg, const struct cache *cache)
{
    struct script_node *node = arg;
    auto_json known = cJSON_CreateObject();
    auto_err err = NULL;
    add_policies(known, cache);
    add_files(known, cache);
    add_points(known, cache);
    auto_free char *text = json_print(known);
    if (str_eq(text, node->known))
        return;
    free(node->known);
    node->known = steal(&text);
    if (node->file && file_write_atomic(node->file, node->known, strlen(node->known), 0600, &err) < 0)
        log_warn("script", "keeping the policies: %s", err_message(err));
    use(node, known);
    script_node_tell_in_force(node);
}

/* ---- asking ---- */

double script_node_now(const struct script_node *node)
{
    return (double)(clock_wall_ns(node->clock) / 1000000) / 1e3;
}

static cJSON *backoff_context(const struct node_restart *restart)
{
    cJSON *ctx = cJSON_CreateObject();
    const char *namespace = json_string_or(restart->pod, "metadata.namespace", ""),
               *name = json_string_or(restart->pod, "metadata.name", "");
    auto_free char *object = mem_printf("%s/%s/%s", namespace, name, restart->container);
    const cJSON *labels = json_at(restart->pod, "metadata.labels");
    json_set_string(ctx, "object", object);
    json_set_string(ctx, "namespace", namespace);
    json_set_string(ctx, "name", name);
    json_set_string(ctx, "container", restart->container);
    json_set(ctx, "labels", labels ? json_copy(labels) : cJSON_CreateObject());
    json_set_string(ctx, "restart_policy", json_string_or(restart->pod, "spec.restartPolicy", "Always"));
    json_set_int(ctx, "crashes", restart->crashes);
    json_set(ctx, "ran", cJSON_CreateNumber((double)restart->ran_ms / 1000));
    json_set_int(ctx, "exit_code", restart->exit_code);
    json_set_bool(ctx, "out_of_memory", restart->out_of_memory);
    return ctx;
}

static struct node_backoff restart_backoff(void *arg, const struct node_restart *restart)
{
    struct script_node *node = arg;
    auto_json ctx = backoff_context(restart);
    auto_json record = NULL;
    auto_err err = NULL;
    auto_json result =
        policies_ask(&node->policies, points[0], ctx, NULL, script_node_now(node), &record, &err);
    const cJSON *wait = json_get(result, "wait");
    script_node_tell_in_force(node); /* a version may have been taken out of use */
    if (node->listener.on_decision)
        node->listener.on_decision(node->listener.arg);
    if (!cJSON_IsNumber(wait)) { /* even the shipped one failed, which was said */
        log_error("script", "restart.backoff: nothing decides: %s", err ? err_message(err) : "no result");
        return (struct node_backoff){.wait_ms = 10000};
    }
    return (struct node_backoff){.wait_ms = (int64_t)(wait->valuedouble * 1000),
                                 .reset = json_bool(result, "reset", false)};
}

/* What decisions share is told once. False: it was. */
static bool is_first(struct map *seen, const char *key)
{
    if (map_has(seen, key))
        return false;
    map_set(seen, key, seen);
    return true;
}

static void push_text(cJSON *array, struct str *text)
{
    json_push(array, json_parse_trusted(str_c(text), text->len));
    str_clear(text);
}

static void push_list(cJSON *spec, const struct record_list *list, struct map *seen, size_t *bytes)
{
    auto_str text = {0};
    auto_free char *key = mem_printf("%llu", list->number);
    if (!is_first(seen, key))
        return;
    record_text_list(list, &text);
    push_text(json_get(spec, "lists"), &text);
    for (size_t i = 0; i < list->count; i++) {
        const struct record_source *source = list->entries[i].source;
        auto_free char *name = mem_printf("%s@%s", source->name, source->hash);
        if (*bytes + source->len > SOURCES_MAX || !is_first(seen, name))
            continue;
        *bytes += source->len;
        record_text_source(source, &text);
        push_text(json_get(spec, "sources"), &text);
    }
}

static cJSON *decisions(void *arg)
{
    const struct script_node *node = arg;
    cJSON *spec = cJSON_CreateObject();
    auto_map seen = {0};
    auto_str text = {0};
    size_t bytes = 0;
    json_set_string(spec, "agent", node->agent);
    json_set(spec, "decisions", cJSON_CreateArray());
    json_set(spec, "lists", cJSON_CreateArray());
    json_set(spec, "sources", cJSON_CreateArray());
    for (size_t i = 0; i < node->record.count; i++) {
        const struct decision *decision = record_at(&node->record, i);
        push_list(spec, decision->lists[0], &seen, &bytes);
        record_text_decision(decision, &text);
        push_text(json_get(spec, "decisions"), &text);
    }
    return spec;
}

static void set_listener(void *arg, const struct node_policy_listener *listener)
{
    struct script_node *node = arg;
    node->listener = listener ? *listener : (struct node_policy_listener){0};
    node->told = 0;
    node->policies.record = listener && listener->on_decision ? &node->record : NULL;
    script_node_tell_in_force(node);
}

struct node_policies script_node_policies(struct script_node *node)
{
    return (struct node_policies){.restart_backoff = restart_backoff,
                                  .balance = script_node_balance,
                                  .sync = sync,
                                  .decisions = decisions,
                                  .listen = set_listener,
                                  .arg = node};
}

/* ---- life ---- */

static int load_shipped(struct script_node *node, const char *const *shipped, struct err **err)
{
    for (; *shipped; shipped++)
        for (size_t i = 0; i < COUNT_OF(folders); i++) {
            auto_free char *folder = file_join(*shipped, folders[i]);
            if (file_exists(folder) && policies_load_folder(&node->policies, folder, err) < 0)
                return -1;
        }
    policies_use_fallbacks(&node->policies);
    return 0;
}

static void load_file(struct script_node *node)
{
    size_t len;
    if (!node->file || !file_exists(node->file))
        return;
    auto_err err = NULL;
    if (file_read(node->file, FILE_MAX, &node->known, &len, &err) < 0) {
        log_warn("script", "the policies of before: %s", err_message(err));
        return;
    }
    auto_json known = json_parse_trusted(node->known, len);
    use(node, known);
}

struct script_node *script_node_new(const struct script_node_options *options, struct err **err)
{
    struct script_node *node = NEW(struct script_node);
    const struct policies_hooks hooks = {
        .check = world_check_result, .on_trouble = on_trouble, .arg = &node->world};
    node->clock = options->clock;
    node->file = options->file ? mem_strdup(options->file) : NULL;
    node->L = state_new(options->lua_directories);
    policies_init(&node->policies, options->simulated, 1, &hooks);
    record_init(&node->record, DECISIONS_KEPT, DECISIONS_BYTES);
    script_node_balance_init(node);
    snprintf(node->agent, sizeof(node->agent), "%llx", (unsigned long long)clock_wall_ns(node->clock));
    world_init(&node->world, node->L, NULL, &node->policies, NULL);
    if (world_load_points(&node->world, options->lua_directories, err) < 0) {
        script_node_free(node);
        return NULL;
    }
    map_each (entry, &node->policies.points)
        if (!script_node_asks(entry->key))
            map_remove(&node->policies.points, entry->key);
    if (load_shipped(node, options->shipped_policies, err) < 0) {
        script_node_free(node);
        return NULL;
    }
    load_file(node);
    return node;
}

void script_node_free(struct script_node *node)
{
    if (!node)
        return;
    world_fini(&node->world);
    policies_fini(&node->policies);
    record_fini(&node->record);
    script_node_balance_fini(node);
    lua_close(node->L);
    free(node->file);
    free(node->known);
    free(node);
}
