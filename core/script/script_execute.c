/*
 * script_execute: see the header. Does not: retry (the queue does), nor interpret objects.
 *
 * Conflict, AlreadyExists and NotFound mean that the plan was made of an older world; NotFound on delete is
 * what was wanted.
 */
#include <string.h>

#include "script/script_execute.h"

struct execution {
    char *controller;
    size_t pending;
    struct recorder *recorder;
    cJSON *events; /* of the plan */
    struct execute_result result;
    execute_on_done *done;
    void *arg;
};

struct step {
    struct execution *execution;
    const char *verb; /* static */
    int64_t number;   /* from 1 */
};

static void tell(struct recorder *recorder, const cJSON *events, int64_t step)
{
    json_each (event, events)
        if (recorder && json_int(event, "step", 0) == step)
            recorder_event(recorder, json_get(event, "involved"), json_string_or(event, "type", "Normal"),
                           json_string_or(event, "reason", "Unknown"), "%s",
                           json_string_or(event, "message", ""));
}

static const char *verb_title(const char *verb)
{
    static const char *const verbs[][2] = {{"create", "Create"}, {"update", "Update"}, {"patch", "Patch"},
                                           {"status", "Status"}, {"delete", "Delete"}, {"bind", "Bind"}};
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (str_eq(verbs[i][0], verb))
            return verbs[i][1];
    return "Step";
}

static void note_failure(struct execution *execution, const struct step *step, const struct err *err)
{
    struct execute_result *result = &execution->result;
    enum err_code code = err_code(err);
    bool delete = str_eq(step->verb, "Delete");
    if (delete &&code == ERR_NOT_FOUND)
        return;
    if (code == ERR_CONFLICT || code == ERR_ALREADY_EXISTS || code == ERR_NOT_FOUND) {
        result->conflicts++;
        if (result->verdict == EXECUTE_DONE)
            result->verdict = EXECUTE_CONFLICT;
        return;
    }
    if (code == ERR_UNAVAILABLE || code == ERR_TIMEOUT || code == ERR_TOO_MANY_REQUESTS ||
        code == ERR_CANCELLED || code == ERR_IO) {
        result->unknown = true;
        if (result->verdict == EXECUTE_DONE)
            result->verdict = EXECUTE_CONFLICT;
        return;
    }
    result->failures++;
    result->verdict = EXECUTE_FAILED;
    if (result->err) /* one of a kind is enough in the log */
        return;
    result->err = err_copy(err);
    result->failed_verb = step->verb;
    log_warn("script", "controller %s: %s: %s", execution->controller, step->verb, err_message(err));
}

static void execution_end(struct execution *execution)
{
    execution->done(execution->arg, &execution->result);
    err_free(execution->result.err);
    cJSON_Delete(execution->events);
    free(execution->controller);
    free(execution);
}

static void on_step(void *arg, cJSON *object, struct err *err)
{
    struct step *step = arg;
    struct execution *execution = step->execution;
    if (err)
        note_failure(execution, step, err);
    else
        tell(execution->recorder, execution->events, step->number);
    if (!err && (uint64_t)json_int(object, "revision", 0) > execution->result.revision)
        execution->result.revision = (uint64_t)json_int(object, "revision", 0);
    cJSON_Delete(object);
    free(step);
    if (--execution->pending == 0)
        execution_end(execution);
}

static void split_key(cJSON *wire, const char *key)
{
    const char *slash = strchr(key, '/');
    if (slash) {
        auto_free char *namespace = mem_strndup(key, (size_t)(slash - key));
        json_set_string(wire, "namespace", namespace);
    }
    json_set_string(wire, "name", slash ? slash + 1 : key);
}

static void move_field(cJSON *wire, const char *name, cJSON *step, const char *field)
{
    cJSON *value = cJSON_DetachItemFromObjectCaseSensitive(step, field);
    if (value)
        json_set(wire, name, value);
}

/* The plan's step → the batch's (client.h). */
static cJSON *wire_step(cJSON *step, const char *controller)
{
    cJSON *wire = cJSON_CreateObject();
    const char *verb = json_string_or(step, "verb", "");
    split_key(wire, json_string_or(step, "key", ""));
    json_set_string(wire, "verb", verb);
    if (str_eq(verb, "status"))
        json_set_bool(wire, "merge", true);
    json_set_string(wire, "controller", controller);
    move_field(wire, "resource", step, "resource");
    move_field(wire, "object", step, "object");
    move_field(wire, "uid", step, "uid");
    move_field(wire, "resourceVersion", step, "revision");
    move_field(wire, "gracePeriodSeconds", step, "grace");
    move_field(wire, "propagationPolicy", step, "propagation");
    move_field(wire, "disruption", step, "disruption");
    move_field(wire, "node", step, "node");
    move_field(wire, "annotations", step, "annotations");
    cJSON *revision = json_get(wire, "resourceVersion");
    if (cJSON_IsNumber(revision) || cJSON_IsRaw(revision)) {
        auto_free char *text = mem_printf("%lld", (long long)json_int(wire, "resourceVersion", 0));
        json_set_string(wire, "resourceVersion", text);
    }
    return wire;
}

void execute_plan(struct client *client, struct recorder *recorder, cJSON *plan, const char *controller,
                  execute_on_done *done, void *arg)
{
    struct execution *execution = NEW(struct execution);
    execution->controller = mem_strdup(controller);
    execution->recorder = recorder;
    execution->events = cJSON_DetachItemFromObjectCaseSensitive(plan, "events");
    execution->done = done;
    execution->arg = arg;
    execution->pending = 1; /* until all are queued */
    json_each (item, json_get(plan, "steps")) {
        struct step *step = NEW(struct step);
        step->execution = execution;
        step->verb = verb_title(json_string(item, "verb"));
        execution->pending++;
        step->number = (int64_t)++execution->result.steps;
        const char *reason = json_string(item, "reason");
        log_debug("script", "%s: %s %s %s%s%s", controller, json_string_or(item, "verb", "?"),
                  json_string_or(item, "resource", "?"), json_string_or(item, "key", "?"), reason ? ": " : "",
                  reason ? reason : "");
        client_batch_step(client, wire_step(item, controller), on_step, step);
    }
    if (--execution->pending == 0)
        execution_end(execution);
}

void execute_events(struct recorder *recorder, const cJSON *plan)
{
    tell(recorder, json_get(plan, "events"), 0);
}
