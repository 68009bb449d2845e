/* wait --for=condition=NAME[=VALUE] | delete | jsonpath=EXPRESSION=VALUE: list, then watch from that
 * revision. */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

enum want { WANT_CONDITION, WANT_CREATE, WANT_DELETE, WANT_JSONPATH };

struct waiting {
    enum want want;
    char *name, *value;
    bool met;
    int64_t deadline_ms; /* monotonic: --timeout is for all objects together */
};

static bool holds(const struct waiting *waiting, const cJSON *object)
{
    if (waiting->want == WANT_CREATE)
        return true;
    if (waiting->want == WANT_JSONPATH) {
        auto_str text = {0};
        return json_path_print(object, waiting->name, &text, NULL) == 0 &&
               (waiting->value ? str_eq(str_c(&text), waiting->value) : text.len > 0);
    }
    json_each (condition, json_at(object, "status.conditions")) {
        if (strcasecmp(json_string_or(condition, "type", ""), waiting->name) == 0)
            return strcasecmp(json_string_or(condition, "status", ""), waiting->value) == 0;
    }
    return false;
}

static bool on_event(void *arg, const char *line, size_t len)
{
    struct waiting *waiting = arg;
    auto_json event = json_parse_trusted(line, len);
    const char *type = json_string_or(event, "type", "");
    if (str_eq(type, "DELETED"))
        waiting->met = waiting->want == WANT_DELETE;
    else if (!str_eq(type, "BOOKMARK") && waiting->want != WANT_DELETE)
        waiting->met = holds(waiting, json_get(event, "object"));
    return !waiting->met && !str_eq(type, "DELETED");
}

static int parse_for(const char *text, struct waiting *waiting, struct err **err)
{
    *waiting = (struct waiting){0};
    if (str_eq(text, "delete")) {
        waiting->want = WANT_DELETE;
        return 0;
    }
    if (str_eq(text, "create")) {
        waiting->want = WANT_CREATE;
        return 0;
    }
    bool condition = text && str_starts(text, "condition="), path = text && str_starts(text, "jsonpath=");
    if (!condition && !path)
        return err_set(err, ERR_BAD_REQUEST,
                       "unrecognized condition: \"%s\" (--for=condition=NAME[=VALUE], create, delete, or "
                       "jsonpath={…}[=VALUE])",
                       text ? text : "");
    const char *rest = strchr(text, '=') + 1, *close = strrchr(rest, '}');
    const char *equals = strchr(condition || !close ? rest : close, '=');
    waiting->want = condition ? WANT_CONDITION : WANT_JSONPATH;
    waiting->name = equals ? mem_strndup(rest, (size_t)(equals - rest)) : mem_strdup(rest);
    waiting->value = mem_strdup(equals ? equals + 1 : condition ? "True" : NULL);
    return 0;
}

static int timed_out(const struct kubectl_reference *ref)
{
    return kubectl_refuse_text("timed out waiting for the condition on %s/%s", ref->resource->plural,
                               ref->name);
}

/* A list at a revision, then a watch from it; again if the server ends the watch. 1: told why not. */
static int wait_until(struct kubectl *k, const struct kubectl_reference *ref, struct waiting *waiting)
{
    auto_free char *path = kubectl_target(k, ref->resource, ref->namespace, NULL, NULL);
    auto_free char *selector = mem_printf("metadata.name=%s", ref->name);
    for (bool first = true;; first = false) {
        auto_err err = NULL;
        auto_str target = {0};
        str_add(&target, path);
        http_query_add(&target, "fieldSelector", selector);
        auto_json list = kubectl_request(k, "GET", str_c(&target), NULL, NULL, NULL, &err);
        if (!list)
            return kubectl_fail(err, NULL);
        const cJSON *object = json_at(list, "items[0]");
        if (!object && waiting->want != WANT_DELETE && waiting->want != WANT_CREATE) {
            err_set(&err, ERR_NOT_FOUND, "%s \"%s\" not found", ref->resource->name, ref->name);
            return first ? kubectl_fail_named(k, err, NULL, ref) : kubectl_fail(err, NULL);
        }
        waiting->met =
            object ? waiting->want != WANT_DELETE && holds(waiting, object) : waiting->want == WANT_DELETE;
        int64_t left = waiting->deadline_ms - clock_monotonic_ms(&clock_system);
        if (waiting->met)
            return 0;
        if (left <= 0)
            return timed_out(ref);
        http_query_add(&target, "watch", "true");
        http_query_add(&target, "resourceVersion", json_string_or(list, "metadata.resourceVersion", "0"));
        if (kubectl_stream_lines(k, str_c(&target), NULL, left, on_event, waiting, &err) < 0)
            return err_code(err) == ERR_TIMEOUT ? timed_out(ref) : kubectl_fail(err, NULL);
        if (waiting->met)
            return 0;
    }
}

static int wait_one(struct kubectl *k, const struct kubectl_reference *ref, struct waiting *waiting)
{
    fflush(stdout);
    if (wait_until(k, ref, waiting) != 0)
        return 1;
    auto_free char *singular = kubectl_singular(ref->resource);
    printf("%s/%s %s\n", singular, ref->name, waiting->want == WANT_DELETE ? "deleted" : "condition met");
    return 0;
}

static int wait_selected(struct kubectl *k, const struct kubectl_reference *refs, size_t count,
                         struct waiting *waiting)
{
    auto_err err = NULL;
    int code = 0;
    if (!k->flags.all && !k->flags.selector && !k->flags.field_selector)
        return kubectl_refuse_text(
            "resource(s) were provided, but no name, label selector, or --all flag specified");
    auto_json objects = kubectl_read_all(k, refs, count, &code, &err);
    if (!objects)
        return kubectl_fail(err, NULL);
    if (!objects->child && waiting->want != WANT_DELETE)
        return kubectl_refuse_text("no matching resources found");
    json_each (object, objects) {
        const struct kubectl_reference ref = kubectl_reference_of(k, object);
        code |= wait_one(k, &ref, waiting);
    }
    return code;
}

int verb_wait(struct kubectl *k)
{
    auto_err err = NULL;
    struct waiting waiting = {0};
    auto_free struct kubectl_reference *refs = NULL;
    size_t count;
    int code = 0;
    if (parse_for(k->flags.for_condition, &waiting, &err) < 0 ||
        kubectl_references(k, 0, &refs, &count, &err) < 0) {
        code = kubectl_refuse(err);
    } else {
        long long timeout_s = k->flags.timeout_s >= 0 ? k->flags.timeout_s : 30;
        waiting.deadline_ms = clock_monotonic_ms(&clock_system) + timeout_s * 1000;
        if (!refs[0].name)
            code = wait_selected(k, refs, count, &waiting);
        else
            for (size_t i = 0; i < count; i++)
                code |= wait_one(k, &refs[i], &waiting);
    }
    free(waiting.name);
    free(waiting.value);
    return code;
}
