/*
 * script_manager_policies: Policy and PolicyProfile objects: staged, checked, flipped, and their status.
 *
 * The profile in force is the PolicyProfile "cluster"; it is made when it is missing. A Policy of the name of
 * a shipped one takes its place. Status is written by the manager that leads; every manager follows the
 * objects. A status says observedGeneration, so that `policy apply` can wait for the verdict on what it sent.
 */
#include <string.h>

#include "script/script_manager_private.h"
#include "script/script_trial.h"

#define POLICIES "policies.minik8s.io"
#define PROFILES "policyprofiles.minik8s.io"
#define PROFILE "cluster"
#define API_VERSION "minik8s.io/v1"
#define PREVIOUS "minik8s.io/previous-source"

/* ---- status ---- */

static cJSON *parse_item(const struct cache_item *item)
{
    return item ? json_parse_trusted(item->bytes->data, item->bytes->len) : NULL;
}

static void on_written(void *arg, cJSON *object, struct err *err)
{
    if (err && err_code(err) != ERR_CANCELLED && err_code(err) != ERR_NOT_FOUND)
        log_warn("script", "status of %s: %s", (const char *)arg, err_message(err));
    cJSON_Delete(object);
    free(arg);
}

/* Keeps lastTransitionTime while the status of the condition does not change. */
static void set_condition(struct script_manager *manager, cJSON *status, const cJSON *object, bool good,
                          const char *reason, const char *message)
{
    char now[TIME_TEXT];
    const char *since = NULL;
    time_print(clock_wall_ns(loop_clock(manager->options.loop)), now);
    json_each (old, json_at(object, "status.conditions")) {
        if (str_eq(json_string(old, "type"), "Ready") &&
            str_eq(json_string(old, "status"), good ? "True" : "False"))
            since = json_string(old, "lastTransitionTime");
    }
    cJSON *condition = json_push(json_set(status, "conditions", cJSON_CreateArray()), cJSON_CreateObject());
    json_set_string(condition, "type", "Ready");
    json_set_string(condition, "status", good ? "True" : "False");
    json_set_string(condition, "reason", reason);
    json_set_string(condition, "message", message ? message : "");
    json_set_string(condition, "lastTransitionTime", since ? since : now);
    json_set_int(condition, "observedGeneration", json_int(object, "metadata.generation", 0));
}

/* Sends what differs from the status as it is; takes it. beside: sent too, but no reason to send (or NULL).
 */
static void write_status(struct script_manager *manager, const char *resource, const cJSON *object,
                         cJSON *status, const cJSON *beside)
{
    bool differs = false;
    json_each (field, status) {
        differs = differs || !json_equal(field, json_get(json_get(object, "status"), field->string));
    }
    if (!differs || !manager_active(manager)) {
        cJSON_Delete(status);
        return;
    }
    json_each (field, beside)
        json_set(status, field->string, json_copy(field));
    cJSON *step = cJSON_CreateObject();
    json_set_string(step, "verb", "status");
    json_set_bool(step, "merge", true);
    json_set_string(step, "resource", resource);
    json_set_string(step, "name", json_string(object, "metadata.name"));
    json_set_string(step, "uid", json_string(object, "metadata.uid"));
    json_set(json_set(step, "object", cJSON_CreateObject()), "status", status);
    client_batch_step(manager->client, step, on_written, mem_strdup(json_string(object, "metadata.name")));
}

static bool holds(const struct policy_list *list, const struct policy_version *version)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].version == version)
            return true;
    return false;
}

static bool is_shadow(const struct script_manager *manager, const struct policy_version *version)
{
    const struct shadow *shadow = version ? shadow_of(&manager->policies, version->point) : NULL;
    while (shadow && !str_eq(shadow->candidate->source->name, version->name))
        shadow = shadow->next;
    return shadow != NULL;
}

static bool is_active(const struct script_manager *manager, const struct policy_version *version)
{
    const struct policy_point *point = version ? policies_point(&manager->policies, version->point) : NULL;
    if (point && holds(&point->active, version))
        return true;
    for (const struct map_entry *s = point ? point->spaces.first : NULL; s; s = s->after)
        if (holds(&((const struct policy_space *)s->value)->active, version))
            return true;
    return false;
}

struct policy_failure {
    char at[TIME_TEXT];
    char *message;
};

static void failure_free(void *value)
{
    struct policy_failure *failure = value;
    free(failure->message);
    free(failure);
}

static void note_failure(struct script_manager *manager, const struct policy_version *version,
                         const char *message)
{
    struct policy_failure *failure = NEW(struct policy_failure);
    time_print(clock_wall_ns(loop_clock(manager->options.loop)), failure->at);
    failure->message = mem_printf("%s@%.8s: %s", version->name, version->hash, message);
    map_set(&manager->failures, version->name, failure);
    if (manager_policies_object(manager, version->name)) /* else it is of a file: nothing to look at again */
        map_set(&manager->changed_policies, version->name, manager);
    manager_policies_wake(manager);
}

/* What an earlier manager said stays until it fails again. */
static void add_failure(const struct script_manager *manager, cJSON *status, const char *name)
{
    const struct policy_failure *failure = map_get(&manager->failures, name);
    if (!failure)
        return;
    json_set_string(status, "lastFailureTime", failure->at);
    json_set_string(status, "lastFailureMessage", failure->message);
}

static void report_policy(struct script_manager *manager, const cJSON *object, const struct err *refused)
{
    const struct policy *policy =
        policies_find(&manager->policies, json_string_or(object, "metadata.name", ""));
    const struct policy_version *current = policies_current(policy),
                                *newest = policy ? policy->versions[0] : NULL;
    bool rolled_back = !refused && newest && newest->bad;
    cJSON *status = cJSON_CreateObject(), *history = json_set(status, "history", cJSON_CreateArray());
    const char *state = refused                       ? "Rejected"
                        : rolled_back                 ? "RolledBack"
                        : is_active(manager, current) ? "Active"
                        : is_shadow(manager, current) ? "Shadow"
                                                      : "Inactive";
    auto_err unknown = NULL;
    policies_check_settings(&manager->policies, json_string_or(object, "metadata.name", ""),
                            json_at(object, "spec.settings"), "spec", &unknown);
    const char *message = refused       ? err_message(refused)
                          : rolled_back ? newest->reason
                          : unknown     ? err_message(unknown)
                                        : NULL;
    json_set_string(status, "state", state);
    json_set_string(status, "message", message ? message : "");
    add_failure(manager, status, json_string_or(object, "metadata.name", ""));
    json_set_int(status, "observedGeneration", json_int(object, "metadata.generation", 0));
    if (current)
        json_set_string(status, "hash", current->hash);
    for (int i = 0; policy && i < POLICIES_KEPT && policy->versions[i]; i++) {
        cJSON *entry = json_push(history, cJSON_CreateObject());
        json_set_string(entry, "hash", policy->versions[i]->hash);
        json_set_string(entry, "state",
                        policy->versions[i] == current ? "Current"
                        : policy->versions[i]->bad     ? "Bad"
                                                       : "Kept");
    }
    set_condition(manager, status, object, !refused && !rolled_back,
                  refused       ? "Refused"
                  : rolled_back ? "RolledBack"
                                : "Accepted",
                  message);
    auto_json counts = cJSON_CreateObject();
    uint64_t asked = 0, failed = 0;
    for (int i = 0; policy && i < POLICIES_KEPT && policy->versions[i]; i++) {
        asked += policy->versions[i]->asked;
        failed += policy->versions[i]->failed;
    }
    json_set_int(counts, "decisions", (int64_t)asked);
    json_set_int(counts, "failures", (int64_t)failed);
    write_status(manager, POLICIES, object, status, counts);
}

/* ---- objects ---- */

/* What was refused of a source, or NULL: it is not staged again because its status was written. */
static const char *refused_before(const struct script_manager *manager, const char *name, const char *hash)
{
    const char *text = map_get(&manager->refused, name);
    return text && str_starts(text, hash) ? text + strlen(hash) : NULL;
}

/* After a restart of the manager the newest source may be one that was refused: what was in use before it is
 * in an annotation. */
static void stage_previous(struct script_manager *manager, const char *name, const cJSON *object)
{
    const char *source = cJSON_GetStringValue(json_get(json_at(object, "metadata.annotations"), PREVIOUS));
    if (source && !policies_current(policies_find(&manager->policies, name)))
        policies_apply(&manager->policies, name, source, strlen(source), false, NULL, NULL);
}

static int stage_source(struct script_manager *manager, const char *name, const cJSON *object,
                        struct err **err)
{
    struct policies *policies = &manager->policies;
    const char *source = json_string_or(object, "spec.source", ""),
               *point = json_string(object, "spec.point");
    char hash[17];
    snprintf(hash, sizeof(hash), "%016llx", str_hash(source, strlen(source)));
    const char *before = refused_before(manager, name, hash);
    if (before)
        return err_set(err, ERR_INVALID, "%s", before);
    const struct policy *policy = policies_find(policies, name);
    bool known = policy && policy->versions[0] && str_eq(policy->versions[0]->hash, hash);
    auto_err wrong = NULL;
    if (!known && policies_apply(policies, name, source, strlen(source), false, NULL, &wrong) == 0)
        policy = policies_find(policies, name);
    if (!wrong && point && !str_eq(policy->versions[0]->point, point)) {
        err_set(&wrong, ERR_INVALID, "spec.point is %s, but the source says %s", point,
                policy->versions[0]->point);
        policies_remove(policies, name);
    }
    if (!wrong) {
        map_remove(&manager->refused, name);
        return 0;
    }
    map_set(&manager->refused, name, mem_printf("%s%s", hash, err_message(wrong)));
    log_warn("script", "policy %s refused: %s", name, err_message(wrong));
    manager_event(manager, cache_get(manager->cache, POLICIES, name), "Warning", "PolicyRefused",
                  err_message(wrong));
    stage_previous(manager, name, object);
    return err_set(err, ERR_INVALID, "%s", err_message(wrong));
}

static void apply_policy(struct script_manager *manager, const char *name)
{
    const struct cache_item *item = cache_get(manager->cache, POLICIES, name);
    auto_json object = parse_item(item);
    if (!object) {
        map_remove(&manager->refused, name);
        map_remove(&manager->failures, name);
        policies_set_settings(&manager->policies, name, NULL);
        policies_remove(&manager->policies, name);
        manager_files_restore(manager, name);
        return;
    }
    auto_err refused = NULL;
    if (stage_source(manager, name, object, &refused) == 0)
        policies_set_settings(&manager->policies, name, json_at(object, "spec.settings"));
    report_policy(manager, object, refused);
}

static void on_profile_made(void *arg, cJSON *object, struct err *err)
{
    if (err && err_code(err) != ERR_CANCELLED && err_code(err) != ERR_ALREADY_EXISTS) {
        ((struct script_manager *)arg)->profile_asked = false;
        log_warn("script", "making the policy profile: %s", err_message(err));
    }
    cJSON_Delete(object);
}

static void make_profile(struct script_manager *manager)
{
    if (manager->profile_asked || !manager_active(manager))
        return;
    manager->profile_asked = true;
    cJSON *step = cJSON_CreateObject(), *object = json_set(step, "object", cJSON_CreateObject());
    json_set_string(step, "verb", "create");
    json_set_string(step, "resource", PROFILES);
    json_set_string(object, "apiVersion", API_VERSION);
    json_set_string(object, "kind", "PolicyProfile");
    json_set_string(json_set(object, "metadata", cJSON_CreateObject()), "name", PROFILE);
    json_set(json_set(object, "spec", cJSON_CreateObject()), "points", cJSON_CreateArray());
    client_batch_step(manager->client, step, on_profile_made, manager);
}

/* spec.points as a list of {point, policies} → a table by point. */
static cJSON *points_by_name(const cJSON *object)
{
    cJSON *points = cJSON_CreateObject();
    json_each (entry, json_at(object, "spec.points")) {
        const char *point = json_string(entry, "point");
        const cJSON *policies = json_get(entry, "policies");
        if (!point || !cJSON_IsArray(policies) || !policies->child)
            continue;
        json_set(json_set(points, point, cJSON_CreateObject()), "policies", json_copy(policies));
    }
    return points;
}

static void add_name(cJSON *names, struct map *seen, const char *name)
{
    if (!name || map_has(seen, name))
        return;
    map_set(seen, name, seen);
    json_push_string(names, name);
}

/* Of shadow, then of shadows, each name once. Caller owns. */
static cJSON *shadow_names(const cJSON *object, const char *point)
{
    auto_map seen = {0};
    cJSON *names = cJSON_CreateArray();
    json_each (given, json_at(object, "spec.points")) {
        if (!str_eq(json_string(given, "point"), point))
            continue;
        add_name(names, &seen, json_string(given, "shadow"));
        json_each (name, json_get(given, "shadows"))
            add_name(names, &seen, cJSON_GetStringValue(name));
    }
    return names;
}

/* Those that decide beside the active ones. */
static void apply_shadows(struct script_manager *manager, const cJSON *object, struct str *message)
{
    map_each (entry, &manager->policies.points) {
        auto_json names = shadow_names(object, entry->key);
        auto_err unknown = NULL;
        if (shadow_set(&manager->policies, manager->world.placement, entry->key, names, &unknown) < 0)
            str_addf(message, "%sspec.points[%s].shadow: %s", message->len ? "; " : "", entry->key,
                     err_message(unknown));
    }
}

/* ---- the profile's status: what is known at each point, and what of it decides ---- */

static const char *origin_of(const struct policy_version *version)
{
    if (version->shipped)
        return "shipped";
    return version->from_file ? "file" : "object";
}

static cJSON *add_known(cJSON *list, const char *name, const char *version, const char *from,
                        const char *state)
{
    cJSON *entry = json_push(list, cJSON_CreateObject());
    json_set_string(entry, "name", name);
    json_set_string(entry, "version", version);
    json_set_string(entry, "from", from);
    json_set_string(entry, "state", state);
    return entry;
}

/* Policy objects of this point that were refused and of which no version works. */
static void add_rejected(struct script_manager *manager, const struct policy_point *point, cJSON *list)
{
    struct cache_cursor cursor;
    const struct cache_item *item;
    cache_begin(manager->cache, POLICIES, NULL, NULL, &cursor);
    while ((item = cache_next(&cursor))) {
        if (policies_current(policies_find(&manager->policies, item->name)))
            continue;
        auto_json object = parse_item(item);
        if (str_eq(json_string(object, "spec.point"), point->name))
            add_known(list, item->name, "", "object", "Rejected");
    }
}

static void add_active(cJSON *list, const struct policy_active *active)
{
    const struct policy_version *version = active->version;
    cJSON *entry = add_known(list, version->name, version->hash, origin_of(version), "Active");
    json_set(entry, "weight", cJSON_CreateNumber(active->weight));
    if (active->optional)
        json_set_string(entry, "mode", "Optional");
    if (active->settings && active->settings->child)
        json_set(entry, "settings", json_copy(active->settings));
}

static bool is_disabled(const cJSON *chosen, const char *name)
{
    json_each (entry, chosen) {
        if (str_eq(json_string(entry, "name"), name))
            return str_eq(json_string(entry, "mode"), "Disabled");
    }
    return false;
}

/* Those that decide by this list, in their order, then the others by name. chosen: what the profile says. */
static cJSON *known_policies(struct script_manager *manager, const struct policy_point *point,
                             const struct policy_list *active, const cJSON *chosen)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < active->count; i++)
        add_active(list, &active->items[i]);
    auto_free const char **names = map_sorted_keys(&manager->policies.names);
    for (size_t i = 0; names[i]; i++) {
        const struct policy *policy = policies_find(&manager->policies, names[i]);
        const struct policy_version *current = policies_current(policy);
        const struct policy_version *version = current ? current : policy->versions[0];
        if (version && str_eq(version->point, point->name) && !holds(active, version))
            add_known(list, version->name, version->hash, origin_of(version),
                      policy->versions[0] && policy->versions[0]->bad ? "RolledBack"
                      : is_shadow(manager, version)                   ? "Shadow"
                      : is_disabled(chosen, version->name)            ? "Disabled"
                                                                      : "Inactive");
    }
    add_rejected(manager, point, list);
    return list;
}

/* Whoever has to go from such a node is chosen by what pods use: point evict.choose. */
static bool runs_short(const struct cache_item *node)
{
    json_each (condition, node ? json_get(node->columns, "status.conditions") : NULL) {
        const char *type = json_string(condition, "type");
        if ((str_eq(type, "MemoryPressure") || str_eq(type, "DiskPressure")) &&
            str_eq(json_string(condition, "status"), "True"))
            return true;
    }
    return false;
}

/* What is to be collected: for the policies in force, and while a node runs short. */
static cJSON *wanted_figures(struct script_manager *manager)
{
    cJSON *figures = policies_figures(&manager->policies);
    struct cache_cursor cursor;
    const struct cache_item *node;
    if (policies_use_figures(&manager->policies, "usage"))
        return figures;
    cache_begin(manager->cache, "nodes", NULL, NULL, &cursor);
    while ((node = cache_next(&cursor))) {
        if (!runs_short(node))
            continue;
        json_push_string(figures, "usage");
        break;
    }
    return figures;
}

static cJSON *add_point(cJSON *points, const struct policy_point *point)
{
    static const char *const shapes[] = {"one", "first", "filter", "score", "order"};
    cJSON *entry = json_push(points, cJSON_CreateObject());
    json_set_string(entry, "point", point->name);
    json_set_string(entry, "shape", shapes[point->shape]);
    return entry;
}

static cJSON *profile_status(struct script_manager *manager, const cJSON *object, const char *message)
{
    cJSON *status = cJSON_CreateObject(), *points = json_set(status, "points", cJSON_CreateArray());
    bool complete = manager_files_for_nodes(manager, status);
    message = !complete && !*message ? "the folder's policies that nodes ask are too large for them together"
                                     : message;
    json_set_int(status, "observedGeneration", json_int(object, "metadata.generation", 0));
    json_set_string(status, "state", *message ? "Degraded" : "Active");
    json_set_string(status, "message", message);
    json_set(status, "metrics", wanted_figures(manager));
    auto_free const char **names = map_sorted_keys(&manager->policies.points);
    for (size_t i = 0; names[i]; i++) {
        const struct policy_point *point = policies_point(&manager->policies, names[i]);
        cJSON *entry = add_point(points, point);
        json_set(entry, "policies", known_policies(manager, point, &point->active, point->chosen));
        const struct shadow *shadow = shadow_of(&manager->policies, names[i]);
        cJSON *shadows = shadow ? json_set(entry, "shadows", cJSON_CreateArray()) : NULL;
        for (; shadow; shadow = shadow->next)
            json_push_string(shadows, shadow->candidate->source->name);
    }
    return status;
}

/* ---- profiles of namespaces ---- */

/* {NAMESPACE: points} of all profiles that name namespaces; the first by name wins. */
static cJSON *all_spaces(struct script_manager *manager)
{
    cJSON *spaces = cJSON_CreateObject();
    struct cache_cursor cursor;
    const struct cache_item *item;
    cache_begin(manager->cache, PROFILES, NULL, NULL, &cursor);
    while ((item = cache_next(&cursor))) {
        auto_json object = parse_item(item);
        if (str_eq(item->name, PROFILE))
            continue;
        json_each (name, json_at(object, "spec.namespaces")) {
            if (cJSON_IsString(name) && !json_get(spaces, name->valuestring))
                json_set(spaces, name->valuestring, points_by_name(object));
        }
    }
    return spaces;
}

/* What is wrong with a profile of namespaces, from the causes of all. */
static void add_space_troubles(const cJSON *object, const struct err *wrong, struct str *message)
{
    const cJSON *namespaces = json_at(object, "spec.namespaces");
    if (!namespaces || !namespaces->child)
        str_add(message, "spec.namespaces is empty: only the profile named cluster is for all of them");
    json_each (point, json_at(object, "spec.points")) {
        if (json_get(point, "shadow") || (json_get(point, "shadows") && json_get(point, "shadows")->child))
            str_addf(message,
                     "%sspec.points[%s].shadows: policies decide beside in the whole cluster: only the "
                     "profile named cluster names them",
                     message->len ? "; " : "", json_string_or(point, "point", ""));
    }
    json_each (name, namespaces) {
        auto_free char *prefix = mem_printf("%s: ", cJSON_IsString(name) ? name->valuestring : "?");
        for (size_t i = 0; wrong && i < wrong->n_causes; i++)
            if (str_starts(wrong->causes[i].field, prefix))
                str_addf(message, "%s%s: %s", message->len ? "; " : "",
                         wrong->causes[i].field + strlen(prefix), wrong->causes[i].message);
    }
}

/* What decides in the first of its namespaces, at the points that it sets. Caller owns. */
static cJSON *space_points(struct script_manager *manager, const cJSON *object)
{
    cJSON *points = cJSON_CreateArray();
    const char *namespace = json_string(object, "spec.namespaces[0]");
    auto_json given = points_by_name(object);
    json_each (choice, given) {
        struct policy_point *point = policies_point(&manager->policies, choice->string);
        if (point && namespace)
            json_set(add_point(points, point), "policies",
                     known_policies(manager, point, policies_active_in(point, namespace),
                                    json_get(choice, "policies")));
    }
    return points;
}

static void apply_spaces(struct script_manager *manager)
{
    auto_json spaces = all_spaces(manager);
    auto_err wrong = NULL;
    struct cache_cursor cursor;
    const struct cache_item *item;
    policies_use_in(&manager->policies, spaces, &wrong);
    cache_begin(manager->cache, PROFILES, NULL, NULL, &cursor);
    while ((item = cache_next(&cursor))) {
        auto_json object = parse_item(item);
        auto_str message = {0};
        if (str_eq(item->name, PROFILE))
            continue;
        add_space_troubles(object, wrong, &message);
        if (message.len && !str_eq(json_string(object, "status.message"), str_c(&message)))
            manager_event(manager, item, "Warning", "ProfileDegraded", str_c(&message));
        cJSON *status = cJSON_CreateObject();
        json_set_int(status, "observedGeneration", json_int(object, "metadata.generation", 0));
        json_set_string(status, "state", message.len ? "Degraded" : "Active");
        json_set_string(status, "message", str_c(&message));
        json_set(status, "points", space_points(manager, object));
        write_status(manager, PROFILES, object, status, NULL);
    }
}

static void apply_profile(struct script_manager *manager)
{
    const struct cache_item *item = cache_get(manager->cache, PROFILES, PROFILE);
    auto_json object = parse_item(item);
    auto_json points = points_by_name(object);
    auto_err wrong = NULL;
    auto_str message = {0};
    manager->profile_changed = false;
    if (!object)
        make_profile(manager);
    policies_use(&manager->policies, points, &wrong);
    apply_spaces(manager);
    for (size_t i = 0; wrong && i < wrong->n_causes; i++)
        str_addf(&message, "%s%s: %s", i ? "; " : "", wrong->causes[i].field, wrong->causes[i].message);
    apply_shadows(manager, object, &message);
    if (message.len)
        log_warn("script", "policy profile: %s", str_c(&message));
    if (!object)
        return;
    if (message.len && !str_eq(json_string(object, "status.message"), str_c(&message)))
        manager_event(manager, item, "Warning", "ProfileDegraded", str_c(&message));
    write_status(manager, PROFILES, object, profile_status(manager, object, str_c(&message)), NULL);
}

/* Policies first, because the profile names them; then the states, because the profile decides what is
 * active. */
static void on_timer(void *arg)
{
    struct script_manager *manager = arg;
    uint64_t epoch = manager->policies.epoch;
    auto_map changed = manager->changed_policies;
    manager->changed_policies = (struct map){0};
    map_each (entry, &changed)
        apply_policy(manager, entry->key);
    if (manager->profile_changed || changed.count)
        apply_profile(manager);
    struct cache_cursor cursor;
    const struct cache_item *item;
    if (manager->policies.epoch == epoch && !changed.count)
        return;
    cache_begin(manager->cache, POLICIES, NULL, NULL, &cursor);
    while ((item = cache_next(&cursor))) {
        auto_json object = parse_item(item);
        const struct policy *policy = policies_find(&manager->policies, item->name);
        if (policy && policy->versions[0] && !str_eq(json_string(object, "status.state"), "Rejected"))
            report_policy(manager, object, NULL);
    }
    for (size_t i = 0; i < manager->controllers.count; i++) /* who asks may decide differently now */
        if (str_eq(manager->controllers.items[i].name, "scheduler"))
            queue_add(manager->running[i].queue, "pods");
}

void manager_policies_wake(struct script_manager *manager)
{
    manager->profile_changed = true;
    if (manager->world.ready && !loop_timer_running(manager->policy_timer))
        loop_timer_start(manager->policy_timer, 0);
}

void manager_policies_on_change(struct script_manager *manager, const char *resource,
                                const struct cache_item *previous, const struct cache_item *item)
{
    if (str_eq(resource, POLICIES)) {
        const char *name = item ? item->name : previous->name;
        map_set(&manager->changed_policies, name, manager);
    } else if (str_eq(resource, PROFILES)) {
        manager->profile_asked = manager->profile_asked && item;
    } else if (!str_eq(resource, "nodes") || runs_short(previous) == runs_short(item)) {
        return;
    }
    manager_policies_wake(manager);
}

void manager_policies_on_active(struct script_manager *manager)
{
    manager->profile_changed = true;
    on_timer(manager);
    manager_files_tell(manager);
}

void manager_policies_on_trouble(void *arg, const struct policy_version *version, bool rolled_back,
                                 const char *reason)
{
    struct script_manager *manager = CONTAINER_OF((struct world *)arg, struct script_manager, world);
    const struct cache_item *item =
        version->shipped ? NULL : cache_get(manager->cache, POLICIES, version->name);
    if (!item)
        item = cache_get(manager->cache, PROFILES, PROFILE);
    auto_free char *message =
        mem_printf("%s@%.8s of %s: %s; %s", version->name, version->hash, version->point, reason,
                   rolled_back ? "rolled back: the version before it, or the shipped one, decides from now on"
                               : "the shipped default decided instead");
    log_warn("script", "policy %s", message);
    manager_event(manager, item, "Warning", rolled_back ? "PolicyRolledBack" : "PolicyFailed", message);
    if (!version->shipped)
        note_failure(manager, version, reason);
}

void manager_policies_event(struct script_manager *manager, const char *type, const char *reason,
                            const char *message)
{
    manager_event(manager, cache_get(manager->cache, PROFILES, PROFILE), type, reason, message);
}

bool manager_policies_object(const struct script_manager *manager, const char *name)
{
    return cache_get(manager->cache, POLICIES, name) != NULL;
}

void manager_policies_init(struct script_manager *manager)
{
    manager->policy_timer = loop_timer_new(manager->options.loop, on_timer, manager);
    map_init(&manager->refused, free);
    map_init(&manager->failures, failure_free);
}

void manager_policies_fini(struct script_manager *manager)
{
    loop_timer_free(manager->policy_timer);
    map_fini(&manager->changed_policies);
    map_fini(&manager->refused);
    map_fini(&manager->failures);
}

cJSON *manager_policies_statistics(const struct script_manager *manager)
{
    cJSON *points = cJSON_CreateObject();
    map_each (entry, &manager->policies.points) {
        const struct policy_point *point = entry->value;
        auto_free char *active = policies_list_text(&point->active);
        json_set_string(points, point->name, active);
    }
    return points;
}
