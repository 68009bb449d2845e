/*
 * Events: the same (object, type, reason, message) within ten minutes is one Event whose count grows; each
 * object has a budget of 25 writes that refills by one in five seconds. Never blocks and never fails its
 * caller: what the server refuses is logged.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "base/map.h"
#include "client/client_private.h"

#define SAME_EVENT_MS (10 * 60 * 1000)
#define BUDGET 25
#define REFILL_MS 5000
#define MAX_REMEMBERED 2048

struct remembered { /* an Event that exists */
    char *namespace, *name;
    int64_t count, last_ms;
};

struct budget {
    int64_t tokens, refilled_ms;
};

struct recorder {
    struct client *client;
    char *component, *host;
    struct map events;  /* what makes Events the same → struct remembered */
    struct map budgets; /* uid of the object → struct budget */
};

static void remembered_free(void *value)
{
    struct remembered *remembered = value;
    free(remembered->namespace);
    free(remembered->name);
    free(remembered);
}

struct recorder *recorder_new(struct client *client, const char *component, const char *host)
{
    struct recorder *recorder = NEW(struct recorder);
    recorder->client = client;
    recorder->component = mem_strdup(component);
    recorder->host = mem_strdup(host);
    map_init(&recorder->events, remembered_free);
    map_init(&recorder->budgets, free);
    return recorder;
}

void recorder_free(struct recorder *recorder)
{
    if (!recorder)
        return;
    map_fini(&recorder->events);
    map_fini(&recorder->budgets);
    free(recorder->component);
    free(recorder->host);
    free(recorder);
}

static void bound(struct map *map)
{
    while (map->count > MAX_REMEMBERED)
        map_remove(map, map->first->key);
}

static bool spend(struct recorder *recorder, const char *uid, int64_t now_ms)
{
    struct budget *budget = map_get(&recorder->budgets, uid);
    if (!budget) {
        budget = NEW(struct budget);
        *budget = (struct budget){BUDGET, now_ms};
        map_set(&recorder->budgets, uid, budget);
        bound(&recorder->budgets);
    }
    int64_t refill = (now_ms - budget->refilled_ms) / REFILL_MS;
    budget->refilled_ms += refill * REFILL_MS;
    budget->tokens = budget->tokens + refill > BUDGET ? BUDGET : budget->tokens + refill;
    if (budget->tokens == 0)
        return false;
    budget->tokens--;
    return true;
}

static void on_written(void *arg UNUSED, cJSON *result, struct err *err)
{
    cJSON_Delete(result);
    if (err && err_code(err) != ERR_CANCELLED)
        log_warn("client", "an Event was not recorded: %s", err_message(err));
}

static cJSON *step_new(const char *verb, const char *namespace, const char *name, cJSON *object)
{
    cJSON *step = cJSON_CreateObject();
    json_set_string(step, "verb", verb);
    json_set_string(step, "resource", "events");
    json_set_string(step, "namespace", namespace);
    json_set_string(step, "name", name);
    json_set(step, "object", object);
    return step;
}

static void write_again(struct recorder *recorder, struct remembered *same, const char *time)
{
    cJSON *patch = cJSON_CreateObject();
    json_set_int(patch, "count", ++same->count);
    json_set_string(patch, "lastTimestamp", time);
    client_batch_step(recorder->client, step_new("patch", same->namespace, same->name, patch), on_written,
                      NULL);
}

static void write_first(struct recorder *recorder, const cJSON *involved, const char *type,
                        const char *reason, const char *message, const char *time, struct remembered *event)
{
    cJSON *object = cJSON_CreateObject();
    json_set_string(object, "apiVersion", "v1");
    json_set_string(object, "kind", "Event");
    cJSON *metadata = json_ensure_object(object, "metadata");
    json_set_string(metadata, "name", event->name);
    json_set_string(metadata, "namespace", event->namespace);
    json_set(object, "involvedObject", json_copy(involved));
    json_set_string(object, "type", type);
    json_set_string(object, "reason", reason);
    json_set_string(object, "message", message);
    json_set_int(object, "count", 1);
    json_set_string(object, "firstTimestamp", time);
    json_set_string(object, "lastTimestamp", time);
    cJSON *source = json_ensure_object(object, "source");
    json_set_string(source, "component", recorder->component);
    json_set_string(source, "host", recorder->host);
    json_set_string(object, "reportingComponent", recorder->component);
    client_batch_step(recorder->client, step_new("create", event->namespace, event->name, object), on_written,
                      NULL);
}

void recorder_event(struct recorder *recorder, const cJSON *involved, const char *type, const char *reason,
                    const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    auto_str message = {0};
    str_vaddf(&message, format, arguments);
    va_end(arguments);

    struct client *client = recorder->client;
    const char *uid = json_string_or(involved, "uid", ""), *kind = json_string_or(involved, "kind", "");
    const char *name = json_string_or(involved, "name", "unknown");
    int64_t now_ms = loop_now_ms(client->loop);
    auto_free char *object_id = mem_printf("%s/%s/%s", kind, name, uid);
    if (!spend(recorder, object_id, now_ms)) {
        log_debug("client", "Event of %s %s over its budget: %s %s", kind, name, reason, str_c(&message));
        return;
    }
    char time[TIME_TEXT];
    time_print(clock_wall_ns(loop_clock(client->loop)), time);
    auto_free char *identity = mem_printf("%s|%s|%s|%s", object_id, type, reason, str_c(&message));
    struct remembered *same = map_get(&recorder->events, identity);
    if (same && now_ms - same->last_ms < SAME_EVENT_MS) {
        same->last_ms = now_ms;
        write_again(recorder, same, time);
        return;
    }
    char suffix[17];
    random_suffix(client->random, suffix, 16);
    struct remembered *event = NEW(struct remembered);
    event->namespace = mem_strdup(json_string_or(involved, "namespace", "default"));
    event->name = mem_printf("%.200s.%s", name, suffix);
    event->count = 1;
    event->last_ms = now_ms;
    map_set(&recorder->events, identity, event);
    write_first(recorder, involved, type, reason, str_c(&message), time, event);
    bound(&recorder->events);
}
