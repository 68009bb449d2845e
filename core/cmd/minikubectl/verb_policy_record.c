/*
 * policy log | test: questions about recorded decisions. The question is a PolicyQuery object; the manager
 * answers in its status; it is deleted here.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/random.h"
#include "policy.h"

#define ANSWER_MS 15000
#define REPLAY_MS 300000 /* an hour of decisions may take a while */
#define RESULT_WIDTH 40
#define PLOT_LIMIT 2000

static bool on_event(void *arg, const char *line, size_t len)
{
    cJSON **answered = arg;
    auto_json event = json_parse_trusted(line, len);
    cJSON *object = json_get(event, "object");
    if (str_eq(json_string(event, "type"), "BOOKMARK") || !json_string(object, "status.state"))
        return true;
    *answered = cJSON_DetachItemViaPointer(event, object);
    return false;
}

/* The query with its answer, or NULL. Takes spec. */
static cJSON *ask(struct kubectl *k, cJSON *spec, struct err **err)
{
    auto_free char *name =
        mem_printf("%s-%016llx", json_string(spec, "action"), (unsigned long long)random_u64(&random_system));
    auto_json object = kubectl_object_new("minik8s.io/v1", "PolicyQuery", name);
    json_set(object, "spec", spec);
    auto_free char *path = client_path("policyqueries.minik8s.io", "v1", NULL, NULL, NULL),
                   *own = client_path("policyqueries.minik8s.io", "v1", NULL, name, NULL);
    auto_json stored = kubectl_request(k, "POST", path, NULL, NULL, object, err);
    if (!stored)
        return NULL;
    auto_str target = {0};
    auto_free char *selector = mem_printf("metadata.name=%s", name);
    cJSON *answered = NULL;
    str_add(&target, path);
    http_query_add(&target, "fieldSelector", selector);
    http_query_add(&target, "watch", "true");
    http_query_add(&target, "resourceVersion", json_string_or(stored, "metadata.resourceVersion", "0"));
    bool replay = str_eq(json_string(spec, "action"), "test");
    if (kubectl_stream_lines(k, str_c(&target), NULL, replay ? REPLAY_MS : ANSWER_MS, on_event, &answered,
                             err) < 0)
        err_wrap(err, "no manager answers");
    auto_json gone = kubectl_request(k, "DELETE", own, NULL, NULL, NULL, NULL);
    if (answered && str_eq(json_string(answered, "status.state"), "Refused")) {
        err_set(err, ERR_INVALID, "%s", json_string_or(answered, "status.message", ""));
        cJSON_Delete(steal(&answered));
    } else if (!answered && err && !*err) {
        err_set(err, ERR_TIMEOUT, "no manager answers");
    }
    return answered;
}

/* NULL: there is no such kind. */
static cJSON *spec_for(struct kubectl *k, const char *action, struct err **err)
{
    const char *object = k->flags.object, *namespace = k->flags.namespace;
    const struct kubectl_resource *kind = k->flags.kind ? kubectl_find_resource(k, k->flags.kind, err) : NULL;
    if (k->flags.kind && !kind)
        return NULL;
    bool within = namespace && (!object || !strchr(object, '/')); /* else the object says where it is */
    auto_free char *there = within ? mem_printf("%s/%s", namespace, object ? object : "") : NULL;
    cJSON *spec = cJSON_CreateObject();
    json_set_string(spec, "action", action);
    json_set_string(spec, "point", k->flags.point);
    json_set_string(spec, "kind", kind ? kind->kind : NULL);
    json_set_string(spec, "object", there ? there : object);
    return spec;
}

/* ---- words ---- */

/* "node-2", "4", or the beginning of the JSON. Caller frees. */
static char *result_text(const cJSON *result)
{
    const char *node = json_string(result, "node");
    const cJSON *replicas = json_get(result, "replicas");
    if (cJSON_IsArray(result) && cJSON_IsNumber(result->child) && !result->child->next)
        result = result->child; /* of the one candidate */
    if (!result || json_is_null(result))
        return mem_strdup("-");
    if (node)
        return mem_strdup(node);
    if (cJSON_IsObject(result) && !result->child)
        return mem_strdup("none");
    if (cJSON_IsNumber(replicas))
        return mem_printf("%g", replicas->valuedouble);
    auto_free char *text = json_print(result);
    return strlen(text) > RESULT_WIDTH ? mem_printf("%.*s…", RESULT_WIDTH - 1, text) : mem_strdup(text);
}

static char *reasons_text(const cJSON *decision)
{
    auto_str text = {0};
    json_each (reason, json_get(decision, "reasons")) {
        if (cJSON_IsString(reason))
            str_addf(&text, "%s%s", text.len ? "; " : "", reason->valuestring);
    }
    const char *failure = json_string(decision, "failure");
    if (failure)
        str_addf(&text, "%sfallback: %s", text.len ? "; " : "", failure);
    return str_take(&text);
}

/* "= 3", "≠ node-2"; several: "zone ≠ node-2, other = node-1". */
static char *shadows_text(const cJSON *shadows)
{
    auto_str text = {0};
    json_each (shadow, shadows) {
        auto_free char *result = result_text(json_get(shadow, "result"));
        const char *by = json_string_or(shadow, "by", "");
        if (shadows->child->next)
            str_addf(&text, "%s%.*s ", text.len ? ", " : "", (int)strcspn(by, "@"), by);
        str_addf(&text, "%s %s", json_bool(shadow, "differs", false) ? "≠" : "=", result);
    }
    return str_take(&text);
}

/* 2026-11-29T11:22:33.123456Z → 11:22:33.123 */
static const char *clock_text(const cJSON *decision, char text[16])
{
    const char *time = json_string_or(decision, "time", "");
    snprintf(text, 16, "%.12s", strlen(time) > 23 ? time + 11 : time);
    return text;
}

static void print_decisions(const cJSON *answer)
{
    struct kubectl_grid grid = {.columns = 8};
    kubectl_grid_row(
        &grid, (const char *const[]){"TIME", "POINT", "KIND", "OBJECT", "RESULT", "SHADOW", "BY", "REASONS"});
    json_each (decision, json_get(answer, "decisions")) {
        char at[16];
        auto_free char *result = result_text(json_get(decision, "result"));
        auto_free char *shadow = shadows_text(json_get(decision, "shadows"));
        auto_free char *reasons = reasons_text(decision);
        const char *node = json_string(decision, "node");
        auto_free char *by =
            mem_printf("%s%s%s", json_string_or(decision, "by", ""), node ? " on " : "", node ? node : "");
        kubectl_grid_row(&grid, (const char *const[]){
                                    clock_text(decision, at), json_string_or(decision, "point", ""),
                                    json_string_or(decision, "kind", ""),
                                    json_string_or(decision, "object", ""), result, shadow, by, reasons});
    }
    kubectl_grid_print(&grid, NULL, NULL);
}

static void print_limits(const cJSON *answer)
{
    const cJSON *record = json_get(answer, "record");
    long long disk = (long long)json_int(record, "bytesOnDisk", 0);
    printf("kept: %lld decisions, %lld KiB%s%s; at most %lld decisions and %lld MiB%s\n",
           (long long)json_int(record, "decisions", 0), (long long)json_int(record, "bytes", 0) >> 10,
           json_string(record, "oldest") ? ", since " : "", json_string_or(record, "oldest", ""),
           (long long)json_int(record, "mostDecisions", 0), (long long)json_int(record, "mostBytes", 0) >> 20,
           disk ? ", on disk as well" : "");
}

int policy_print_json(const cJSON *json)
{
    auto_free char *text = json_print_pretty(json);
    printf("%s\n", text);
    return 0;
}

int policy_log(struct kubectl *k)
{
    auto_err err = NULL;
    cJSON *spec = spec_for(k, "log", &err);
    bool json = k->flags.output != NULL;
    if (!spec)
        return kubectl_refuse(err);
    if (k->flags.since_s > 0)
        json_set_int(spec, "sinceSeconds", k->flags.since_s);
    if (k->flags.tail > 0)
        json_set_int(spec, "limit", k->flags.tail);
    else if (k->flags.plot)
        json_set_int(spec, "limit", PLOT_LIMIT);
    json_set_bool(spec, "inputs", json);
    auto_json query = ask(k, spec, &err);
    const cJSON *answer = json_at(query, "status.answer");
    if (!query)
        return kubectl_fail(err, NULL);
    if (json)
        return policy_print_json(answer);
    if (k->flags.plot)
        policy_plot(json_get(answer, "decisions"));
    else if (json_get(answer, "decisions") && json_get(answer, "decisions")->child)
        print_decisions(answer);
    else
        printf("no decisions%s\n", k->flags.object && !k->flags.namespace && !strchr(k->flags.object, '/')
                                       ? " (objects in namespaces are named NAMESPACE/NAME)"
                                       : "");
    print_limits(answer);
    return 0;
}

/* ---- show ---- */

cJSON *policy_known(struct kubectl *k, const char *name, struct err **err)
{
    cJSON *spec = cJSON_CreateObject();
    json_set_string(spec, "action", "show");
    json_set_string(spec, "name", name);
    auto_json query = ask(k, spec, err);
    return query ? json_copy(json_at(query, "status.answer")) : NULL;
}

/* ---- test ---- */

static void print_differences(const cJSON *answer)
{
    const cJSON *differences = json_get(answer, "differences");
    struct kubectl_grid grid = {.columns = 5};
    if (!differences->child)
        return;
    kubectl_grid_row(&grid, (const char *const[]){"TIME", "OBJECT", "WAS", "WOULD BE", "BECAUSE"});
    json_each (decision, differences) {
        char at[16];
        auto_free char *was = result_text(json_get(decision, "was")),
                       *would = result_text(json_get(decision, "would"));
        kubectl_grid_row(&grid, (const char *const[]){clock_text(decision, at),
                                                      json_string_or(decision, "object", ""), was, would,
                                                      json_string_or(decision, "wouldFail", "")});
    }
    kubectl_grid_print(&grid, NULL, NULL);
}

static void print_meaning(const cJSON *answer)
{
    const cJSON *meaning = json_get(answer, "meaning"), *was = json_get(meaning, "was"),
                *would = json_get(meaning, "would");
    struct kubectl_grid grid = {.columns = 3};
    if (!was || !was->child)
        return;
    kubectl_grid_row(&grid, (const char *const[]){"", "WAS", "WOULD BE"});
    json_each (figure, was) {
        const cJSON *other = json_get(would, figure->string);
        auto_free char *left = json_print(figure), *right = json_print(other);
        kubectl_grid_row(&grid, (const char *const[]){figure->string, left, right});
    }
    kubectl_grid_print(&grid, NULL, NULL);
    long long violations = (long long)json_int(meaning, "violations", 0);
    if (json_get(was, "placed"))
        printf("%lld placements on nodes that the filters in force refused\n", violations);
}

static int print_test(const cJSON *answer, const char *file, bool replayed)
{
    long long decisions = (long long)json_int(answer, "decisions", 0);
    if (file)
        printf("%s: %s passes its examples\n", file, json_string_or(answer, "candidate", "it"));
    if (decisions) {
        printf("%lld decisions%s%s: %lld the same, %lld %s, %lld of them failed\n", decisions,
               file ? " at " : "", file ? json_string_or(answer, "point", "") : "",
               (long long)json_int(answer, "same", 0), (long long)json_int(answer, "differ", 0),
               file ? "would differ" : "differ from their replay", (long long)json_int(answer, "failed", 0));
        print_differences(answer);
        print_meaning(answer);
    }
    if (!decisions && replayed)
        printf("no decisions%s%s in that time\n", file ? " at " : "",
               file ? json_string_or(answer, "point", "") : "");
    long long gone = (long long)json_int(answer, "gone", 0);
    if (gone)
        printf("%lld older ones cannot be taken again: the nodes as they were then are not kept any more\n",
               gone);
    return !file && json_int(answer, "differ", 0) ? 1 : 0;
}

/* test FILE.lua [--replay=1h]: checks the file, and takes the decisions of that time again by it. test
 * --replay=1h: by those who took them, which must give the same. */
int policy_test(struct kubectl *k)
{
    auto_err err = NULL;
    auto_free char *source = NULL;
    const char *file = k->n_args > 1 ? k->args[1] : k->flags.n_files ? k->flags.files[0] : NULL;
    if (file && file_read(file, POLICY_MAX, &source, NULL, &err) < 0)
        return kubectl_refuse(err);
    if ((!file && k->flags.replay_s <= 0) || k->flags.n_files + (size_t)k->n_args > 2)
        return kubectl_refuse_text("usage: policy test [FILE.lua] [--replay=1h]");
    cJSON *spec = spec_for(k, "test", &err);
    if (!spec)
        return kubectl_refuse(err);
    json_set_string(spec, "source", source);
    json_set_int(spec, "sinceSeconds", k->flags.replay_s > 0 ? k->flags.replay_s : 0);
    auto_json query = ask(k, spec, &err);
    if (!query)
        return kubectl_fail(err, file);
    const cJSON *answer = json_at(query, "status.answer");
    if (k->flags.output)
        return policy_print_json(answer);
    int code = print_test(answer, file, k->flags.replay_s > 0);
    if (k->flags.replay_s > 0)
        print_limits(answer);
    return code;
}
