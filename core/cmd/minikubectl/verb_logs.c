/*
 * logs: of one pod (POD, pod/POD), of a workload's first pod, or of all pods of a selector; of one container
 * or all. Followed logs are read at the same time, the others one after another.
 */
#include <stdio.h>
#include <string.h>

#include "base/selector.h"
#include "kubectl.h"

#define FOLLOWED 5 /* at the same time, unless --max-log-requests says more */

/* What to read: targets and what stands before their lines. */
struct sources {
    char **targets, **prefixes;
    size_t count;
};

static void add_number(struct str *target, const char *name, long long number)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", number);
    if (number >= 0)
        http_query_add(target, name, text);
}

static char *target_of(struct kubectl *k, const cJSON *pod, const char *container)
{
    struct str target = {0};
    auto_free char *path = client_path("pods", "v1", json_string(pod, "metadata.namespace"),
                                       json_string(pod, "metadata.name"), "log");
    str_add(&target, path);
    http_query_add(&target, "container", container);
    static const char *const names[] = {"follow", "previous", "timestamps"};
    const bool values[] = {k->flags.follow, k->flags.previous, k->flags.timestamps};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (values[i])
            http_query_add(&target, names[i], "true");
    /* like kubectl: ten lines of each pod when there are many */
    long long tail = k->flags.tail < 0 && k->flags.selector && !k->flags.previous ? 10 : k->flags.tail;
    add_number(&target, "tailLines", tail);
    add_number(&target, "sinceSeconds", k->flags.since_s);
    add_number(&target, "limitBytes", k->flags.limit_bytes);
    if (k->flags.since_time)
        http_query_add(&target, "sinceTime", k->flags.since_time);
    return str_take(&target);
}

static void add_source(struct kubectl *k, struct sources *sources, const cJSON *pod, const char *container)
{
    size_t i = sources->count++;
    sources->targets = mem_resize(sources->targets, i + 1, sizeof(char *));
    sources->prefixes = mem_resize(sources->prefixes, i + 1, sizeof(char *));
    sources->targets[i] = target_of(k, pod, container);
    sources->prefixes[i] =
        k->flags.prefix ? mem_printf("[pod/%s/%s] ", json_string(pod, "metadata.name"), container) : NULL;
}

static void sources_free(struct sources *sources)
{
    for (size_t i = 0; i < sources->count; i++) {
        free(sources->targets[i]);
        free(sources->prefixes[i]);
    }
    free(sources->targets);
    free(sources->prefixes);
}

static bool has_container(const cJSON *pod, const char *name)
{
    static const char *const lists[] = {"spec.initContainers", "spec.containers", "spec.ephemeralContainers"};
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        json_each (container, json_at(pod, lists[i])) {
            if (str_eq(json_string(container, "name"), name))
                return true;
        }
    return false;
}

/* -c, the first one (saying so if there are more), or all with --all-containers. */
static int add_pod(struct kubectl *k, struct sources *sources, const cJSON *pod, struct err **err)
{
    if (k->flags.all_containers) {
        static const char *const lists[] = {"spec.initContainers", "spec.containers"};
        for (size_t i = 0; i < COUNT_OF(lists); i++)
            json_each (container, json_at(pod, lists[i]))
                add_source(k, sources, pod, json_string_or(container, "name", ""));
        return 0;
    }
    auto_free char *container = kubectl_choose_container(k, pod);
    if (!has_container(pod, container))
        return err_set(err, ERR_BAD_REQUEST, "container %s is not valid for pod %s", container,
                       json_string_or(pod, "metadata.name", ""));
    add_source(k, sources, pod, container);
    return 0;
}

static int print_sources(struct kubectl *k, const struct sources *sources)
{
    auto_err err = NULL;
    size_t most = k->flags.max_log_requests > 0 ? (size_t)k->flags.max_log_requests : FOLLOWED;
    if (k->flags.follow && sources->count > (most < KUBECTL_STREAMS_MAX ? most : KUBECTL_STREAMS_MAX))
        return kubectl_refuse_text("you are attempting to follow %zu log streams, but maximum allowed "
                                   "concurrency is %zu, use --max-log-requests to increase the limit (at "
                                   "most %d)",
                                   sources->count, most, KUBECTL_STREAMS_MAX);
    const char *const *targets = (const char *const *)sources->targets;
    const char *const *prefixes = (const char *const *)sources->prefixes;
    if (k->flags.follow && sources->count)
        return kubectl_stream_text(k, targets, prefixes, sources->count, &err) < 0 ? kubectl_fail(err, NULL)
                                                                                   : 0;
    int code = 0;
    for (size_t i = 0; i < sources->count; i++) {
        auto_err failed = NULL;
        if (kubectl_stream_text(k, &targets[i], &prefixes[i], 1, &failed) < 0)
            code = kubectl_fail(failed, NULL);
    }
    return code;
}

static int print_pods(struct kubectl *k, const cJSON *pods)
{
    struct sources sources = {0};
    auto_err err = NULL;
    int code = 0;
    for (const cJSON *pod = pods ? pods->child : NULL; pod && !err; pod = pod->next)
        add_pod(k, &sources, pod, &err);
    code = err ? kubectl_refuse(err) : print_sources(k, &sources);
    sources_free(&sources);
    return code;
}

int verb_logs(struct kubectl *k)
{
    auto_err err = NULL;
    auto_json pods = NULL;
    int64_t at;
    if (k->n_args > 1 && !k->flags.container)
        k->flags.container = k->args[1];
    if (k->flags.since_s >= 0 && k->flags.since_time)
        return kubectl_refuse_text("only one of sinceTime or sinceSeconds may be used");
    if (k->flags.since_time && time_parse(k->flags.since_time, &at, NULL) < 0)
        return kubectl_refuse_text("--since-time: \"%s\" is no time, e.g. 2026-01-02T15:04:05Z",
                                   k->flags.since_time);
    if (k->flags.selector && !k->n_args) {
        const struct kubectl_reference ref = {kubectl_find_resource(k, "pods", &err), NULL, NULL};
        int code = 0;
        pods = ref.resource ? kubectl_read_all(k, &ref, 1, &code, &err) : NULL;
        if (!pods)
            return kubectl_fail(err, NULL);
        if (!pods->child)
            fprintf(stderr, "No resources found in %s namespace.\n", k->namespace);
        return print_pods(k, pods);
    }
    if (k->n_args < 1 || k->n_args > 2)
        return kubectl_refuse_text(
            "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is "
            "a required argument for the logs command");
    if (k->flags.selector)
        return kubectl_refuse_text("only a selector (-l) or a POD name is allowed");
    auto_json pod = NULL;
    if (kubectl_find_pod(k, k->args[0], &pod) != 0)
        return 1;
    pods = cJSON_CreateArray();
    json_push(pods, steal(&pod));
    return print_pods(k, pods);
}
