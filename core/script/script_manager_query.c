/*
 * script_manager_query: PolicyQuery objects: the recorded decisions, and decisions taken again, for clients
 * that ask through the API server with their own rights. The kind is volatile: neither the question nor the
 * answer reaches a disk.
 *
 * Only the manager that leads answers, because it has decided. A long replay goes on in slices between other
 * work. An answer that nobody took is deleted after a minute, by a timer that runs only while there is one.
 */
#include <string.h>

#include "base/time.h"
#include "script/script_journal.h"
#include "script/script_manager_private.h"
#include "script/script_replay.h"

#define QUERIES "policyqueries.minik8s.io"
#define ANSWER_MAX (900u << 10) /* bytes of decisions in one answer */
#define DEFAULT_LIMIT 100
#define SLICE_MS 5
#define KEPT_MS 60000

struct query { /* a replay under way */
    struct script_manager *manager;
    char *name, *uid;
    struct replay *replay;
    struct loop_timer *timer;
};

static void query_free(void *value)
{
    struct query *query = value;
    replay_free(query->replay);
    loop_timer_free(query->timer);
    free(query->name);
    free(query->uid);
    free(query);
}

/* ---- answers ---- */

static void on_answered(void *arg UNUSED, cJSON *object, struct err *err)
{
    if (err && err_code(err) != ERR_CANCELLED && err_code(err) != ERR_NOT_FOUND)
        log_warn("script", "answering a policy query: %s", err_message(err));
    cJSON_Delete(object);
}

/* Takes answer, which may be NULL. */
static void answer_query(struct script_manager *manager, const char *name, const char *uid, const char *state,
                         const char *message, cJSON *answer)
{
    cJSON *step = cJSON_CreateObject();
    json_set_string(step, "verb", "status");
    json_set_bool(step, "merge", true);
    json_set_string(step, "resource", QUERIES);
    json_set_string(step, "name", name);
    json_set_string(step, "uid", uid);
    cJSON *status = json_set(json_set(step, "object", cJSON_CreateObject()), "status", cJSON_CreateObject());
    json_set_string(status, "state", state);
    json_set_string(status, "message", message);
    if (answer)
        json_set(status, "answer", answer);
    client_batch_step(manager->client, step, on_answered, manager);
    if (!loop_timer_running(manager->sweep))
        loop_timer_start(manager->sweep, KEPT_MS);
}

static void add_limits(const struct script_manager *manager, cJSON *answer)
{
    const struct record *record = &manager->record;
    cJSON *kept = json_set(answer, "record", cJSON_CreateObject());
    json_set_int(kept, "decisions", (int64_t)record->count);
    json_set_int(kept, "bytes", (int64_t)record->bytes);
    json_set_int(kept, "mostDecisions", (int64_t)record->most);
    json_set_int(kept, "mostBytes", (int64_t)record->most_bytes);
    json_set_int(kept, "bytesOnDisk", (int64_t)record_file_bytes(manager->record_file));
    json_set_int(kept, "forgotten", (int64_t)record->forgotten);
    if (!record->count)
        return;
    char oldest[TIME_TEXT];
    time_print_micro(record_at(record, 0)->at_ns, oldest);
    json_set_string(kept, "oldest", oldest);
}

static bool wanted(const struct decision *decision, const cJSON *spec, int64_t since_ns)
{
    const char *point = json_string(spec, "point");
    bool here = !point;
    for (size_t i = 0; !here && i < RECORD_LISTS; i++)
        here = decision->lists[i] && str_eq(decision->lists[i]->point->name, point);
    return here && decision->at_ns >= since_ns &&
           decision_about(decision, json_string(spec, "kind"), json_string(spec, "object"));
}

static int64_t since_of(const struct script_manager *manager, const cJSON *spec)
{
    int64_t seconds = json_int(spec, "sinceSeconds", -1);
    return seconds < 0 ? 0 : clock_wall_ns(loop_clock(manager->options.loop)) - seconds * 1000000000LL;
}

int manager_check_point(const struct script_manager *manager, const char *point, struct err **err)
{
    const struct map *points = &manager->policies.points;
    if (!point || map_has(points, point))
        return 0;
    auto_free const char **names = map_sorted_keys(points);
    const char *near = str_nearest(point, names, points->count);
    return err_set(err, ERR_INVALID, "there is no point \"%.64s\"%s%s%s", point,
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

cJSON *manager_decisions(const struct script_manager *manager, const cJSON *spec)
{
    const struct record *record = &manager->record;
    int64_t since_ns = since_of(manager, spec), limit = json_int(spec, "limit", DEFAULT_LIMIT);
    cJSON *answer = cJSON_CreateObject();
    auto_json newest = cJSON_CreateArray();
    size_t bytes = 0, matching = 0;
    for (size_t i = record->count; i-- > 0;) {
        const struct decision *decision = record_at(record, i);
        if (!wanted(decision, spec, since_ns) || (int64_t)++matching > limit)
            continue;
        if (bytes > ANSWER_MAX)
            continue;
        cJSON *json = decision_json(decision, json_bool(spec, "inputs", false));
        auto_free char *text = json_print(json);
        bytes += strlen(text);
        json_push(newest, json);
    }
    cJSON *decisions = json_set(answer, "decisions", cJSON_CreateArray());
    while (newest->child) /* oldest first */
        json_push(decisions, cJSON_DetachItemViaPointer(newest, newest->child->prev));
    json_set_int(answer, "matching", (int64_t)matching);
    add_limits(manager, answer);
    return answer;
}

/* ---- a policy ---- */

/* Takes nothing; NULL: not known. */
static cJSON *show_policy(const struct script_manager *manager, const char *name)
{
    const struct policy_version *version = policies_current(policies_find(&manager->policies, name));
    if (!version)
        return NULL;
    cJSON *answer = cJSON_CreateObject();
    json_set_string(answer, "name", version->name);
    json_set_string(answer, "point", version->point);
    json_set_string(answer, "hash", version->hash);
    json_set_string(answer, "from",
                    version->shipped                         ? "shipped"
                    : manager_policies_object(manager, name) ? "object"
                                                             : "file");
    json_set_string(answer, "source", version->source);
    json_set(answer, "settings", version->settings ? json_copy(version->settings) : cJSON_CreateObject());
    return answer;
}

static void answer_show(struct script_manager *manager, const struct cache_item *item, const char *name)
{
    cJSON *answer = show_policy(manager, name ? name : "");
    auto_free char *message = mem_printf("there is no policy \"%s\" that works", name ? name : "");
    answer_query(manager, item->name, item->uid, answer ? "Done" : "Refused", answer ? "" : message, answer);
}

/* ---- replays ---- */

static void on_slice(void *arg)
{
    struct query *query = arg;
    struct script_manager *manager = query->manager;
    if (!replay_step(query->replay, SLICE_MS)) {
        loop_timer_start(query->timer, 0);
        return;
    }
    cJSON *answer = replay_report(query->replay);
    add_limits(manager, answer);
    answer_query(manager, query->name, query->uid, "Done", "", answer);
    map_remove(&manager->queries, query->name);
}

static void start_replay(struct script_manager *manager, const struct cache_item *item, const cJSON *spec)
{
    const struct replay_options options = {.source = json_string(spec, "source"),
                                           .len = strlen(json_string_or(spec, "source", "")),
                                           .settings = json_get(spec, "settings"),
                                           .point = json_string(spec, "point"),
                                           .object = json_string(spec, "object"),
                                           .kind = json_string(spec, "kind"),
                                           .since_ns = since_of(manager, spec)};
    auto_err refused = NULL;
    struct replay *replay = replay_new(&manager->policies, manager->world.placement, &options, &refused);
    if (!replay) {
        answer_query(manager, item->name, item->uid, "Refused", err_message(refused), NULL);
        return;
    }
    struct query *query = NEW(struct query);
    query->manager = manager;
    query->name = mem_strdup(item->name);
    query->uid = mem_strdup(item->uid);
    query->replay = replay;
    query->timer = loop_timer_new(manager->options.loop, on_slice, query);
    map_set(&manager->queries, item->name, query);
    loop_timer_start(query->timer, 0);
}

/* ---- objects ---- */

static void ask(struct script_manager *manager, const struct cache_item *item)
{
    auto_json object = json_parse_trusted(item->bytes->data, item->bytes->len);
    const cJSON *spec = json_get(object, "spec");
    auto_err wrong = NULL;
    if (json_string(object, "status.state") || map_has(&manager->queries, item->name))
        return;
    if (manager_check_point(manager, json_string(spec, "point"), &wrong) < 0)
        answer_query(manager, item->name, item->uid, "Refused", err_message(wrong), NULL);
    else if (str_eq(json_string(spec, "action"), "log"))
        answer_query(manager, item->name, item->uid, "Done", "", manager_decisions(manager, spec));
    else if (str_eq(json_string(spec, "action"), "show"))
        answer_show(manager, item, json_string(spec, "name"));
    else
        start_replay(manager, item, spec);
}

void manager_query_on_change(struct script_manager *manager, const char *resource,
                             const struct cache_item *previous, const struct cache_item *item)
{
    if (!str_eq(resource, QUERIES))
        return;
    if (!item)
        map_remove(&manager->queries, previous->name);
    else if (manager_active(manager) && !manager->listing)
        ask(manager, item);
}

void manager_query_on_active(struct script_manager *manager)
{
    struct cache_cursor cursor;
    const struct cache_item *item;
    cache_begin(manager->cache, QUERIES, NULL, NULL, &cursor);
    while ((item = cache_next(&cursor)))
        ask(manager, item);
}

static void on_sweep(void *arg)
{
    struct script_manager *manager = arg;
    struct cache_cursor cursor;
    const struct cache_item *item;
    cache_begin(manager->cache, QUERIES, NULL, NULL, &cursor);
    while (manager_active(manager) && (item = cache_next(&cursor))) {
        if (map_has(&manager->queries, item->name))
            continue;
        cJSON *step = cJSON_CreateObject();
        json_set_string(step, "verb", "delete");
        json_set_string(step, "resource", QUERIES);
        json_set_string(step, "name", item->name);
        json_set_string(step, "uid", item->uid);
        client_batch_step(manager->client, step, on_answered, manager);
    }
}

void manager_query_init(struct script_manager *manager)
{
    record_init(&manager->record, RECORD_DECISIONS, RECORD_BYTES);
    manager->policies.record = &manager->record;
    placement_record(manager->world.placement, &manager->record);
    map_init(&manager->queries, query_free);
    manager->sweep = loop_timer_new(manager->options.loop, on_sweep, manager);
}

void manager_query_fini(struct script_manager *manager)
{
    map_fini(&manager->queries);
    loop_timer_free(manager->sweep);
    record_fini(&manager->record);
}
