/*
 * drain: cordons nodes and evicts their pods, through policy/v1 Eviction so that PodDisruptionBudgets are
 * kept (429: tried again every 5 s), then waits until the pods are gone. taint sets and removes taints.
 */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

#define RETRY_MS 5000
#define MIRROR "kubernetes.io/config.mirror"

struct draining {
    struct kubectl *k;
    int64_t deadline; /* monotonic ms; 0: none */
    bool no_eviction; /* the server has no such subresource */
};

static void pause_ms(struct kubectl *k, int64_t ms)
{
    struct loop_timer *timer = loop_timer_new(k->loop, (loop_task *)loop_stop, k->loop);
    loop_timer_start(timer, ms);
    loop_run(k->loop);
    loop_timer_free(timer);
}

static bool expired(const struct draining *d)
{
    return d->deadline && clock_monotonic_ms(&clock_system) >= d->deadline;
}

/* ---- which pods */

static const cJSON *controller_of(const cJSON *pod)
{
    json_each (owner, json_at(pod, "metadata.ownerReferences"))
        if (json_bool(owner, "controller", false))
            return owner;
    return NULL;
}

static bool has_local_data(const cJSON *pod)
{
    json_each (volume, json_at(pod, "spec.volumes"))
        if (json_get(volume, "emptyDir"))
            return true;
    return false;
}

static bool is_over(const cJSON *pod)
{
    const char *phase = json_string_or(pod, "status.phase", "");
    return str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
}

static void add_name(struct str *list, const cJSON *pod)
{
    str_addf(list, "%s%s/%s", list->len ? ", " : "", json_string_or(pod, "metadata.namespace", ""),
             json_string_or(pod, "metadata.name", ""));
}

/* Takes the pods that may be evicted out of the list; says what stays, and what stands in the way. */
static cJSON *choose_pods(struct kubectl *k, cJSON *pods, struct err **err)
{
    cJSON *chosen = cJSON_CreateArray(), *pod;
    auto_str daemons = {0}, bare = {0}, local = {0}, problems = {0};
    while ((pod = cJSON_DetachItemFromArray(pods, 0))) {
        auto_json owned = pod;
        const cJSON *owner = controller_of(pod);
        bool over = is_over(pod);
        if (json_get(json_at(pod, "metadata.annotations"), MIRROR))
            continue;
        if (str_eq(json_string(owner, "kind"), "DaemonSet") && !over) {
            add_name(&daemons, pod);
            continue;
        }
        if (!owner && !over)
            add_name(&bare, pod);
        if (has_local_data(pod) && !over)
            add_name(&local, pod);
        json_push(chosen, steal(&owned));
    }
    const struct {
        struct str *pods;
        bool allowed;
        const char *problem, *warning;
    } rules[] = {{&daemons, k->flags.ignore_daemonsets,
                  "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)",
                  "ignoring DaemonSet-managed Pods"},
                 {&local, k->flags.delete_emptydir_data,
                  "cannot delete Pods with local storage (use --delete-emptydir-data to override)", NULL},
                 {&bare, k->flags.force,
                  "cannot delete Pods that declare no controller (use --force to override)",
                  "deleting Pods that declare no controller"}};
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        if (rules[i].pods->len && !rules[i].allowed)
            str_addf(&problems, "%s%s: %s", problems.len ? ", " : "", rules[i].problem, str_c(rules[i].pods));
        else if (rules[i].pods->len && rules[i].warning)
            fprintf(stderr, "Warning: %s: %s\n", rules[i].warning, str_c(rules[i].pods));
    }
    if (!problems.len)
        return chosen;
    cJSON_Delete(chosen);
    err_set(err, ERR_BAD_REQUEST, "%s", str_c(&problems));
    return NULL;
}

static cJSON *pods_of(struct kubectl *k, const char *node, struct err **err)
{
    auto_str target = {0};
    auto_free char *selector = mem_printf("spec.nodeName=%s", node);
    str_add(&target, "/api/v1/pods");
    http_query_add(&target, "fieldSelector", selector);
    if (k->flags.pod_selector)
        http_query_add(&target, "labelSelector", k->flags.pod_selector);
    auto_json list = kubectl_request(k, "GET", str_c(&target), NULL, NULL, NULL, err);
    cJSON *items = json_get(list, "items");
    json_each (pod, items) { /* items of lists come without them */
        json_set_string(pod, "apiVersion", "v1");
        json_set_string(pod, "kind", "Pod");
    }
    return items ? choose_pods(k, items, err) : NULL;
}

/* ---- evicting */

static cJSON *eviction_of(struct kubectl *k, const cJSON *pod)
{
    cJSON *eviction = cJSON_CreateObject();
    json_set_string(eviction, "apiVersion", "policy/v1");
    json_set_string(eviction, "kind", "Eviction");
    cJSON *metadata = json_ensure_object(eviction, "metadata");
    json_set_string(metadata, "name", json_string(pod, "metadata.name"));
    json_set_string(metadata, "namespace", json_string(pod, "metadata.namespace"));
    if (k->flags.grace >= 0)
        json_set_int(json_ensure_object(eviction, "deleteOptions"), "gracePeriodSeconds", k->flags.grace);
    return eviction;
}

static int delete_pod(struct draining *d, const char *path, struct err **err)
{
    auto_json options = cJSON_CreateObject();
    json_set_string(options, "apiVersion", "v1");
    json_set_string(options, "kind", "DeleteOptions");
    if (d->k->flags.grace >= 0)
        json_set_int(options, "gracePeriodSeconds", d->k->flags.grace);
    auto_json answer = kubectl_request(d->k, "DELETE", path, NULL, NULL, options, err);
    return answer ? 0 : -1;
}

/* 0: it goes; 1: not now (429; told); -1. */
static int evict(struct draining *d, const cJSON *pod, struct err **err)
{
    struct kubectl *k = d->k;
    const char *namespace = json_string(pod, "metadata.namespace"), *name = json_string(pod, "metadata.name");
    auto_free char *path = client_path("pods", "v1", namespace, name, NULL);
    auto_free char *subresource = client_path("pods", "v1", namespace, name, "eviction");
    auto_err failed = NULL;
    if (!d->no_eviction && !k->flags.disable_eviction) {
        auto_json eviction = eviction_of(k, pod);
        auto_json answer = kubectl_request(k, "POST", subresource, NULL, NULL, eviction, &failed);
        if (answer)
            return 0;
        if (err_code(failed) == ERR_TOO_MANY_REQUESTS) {
            fprintf(stderr, "error when evicting pods/\"%s\" -n \"%s\" (will retry after 5s): %s\n", name,
                    namespace, err_message(failed));
            return 1;
        }
        /* 404 of the pod itself says so by its name */
        d->no_eviction = err_code(failed) == ERR_NOT_FOUND && !strstr(err_message(failed), name);
        if (!d->no_eviction)
            return err_code(failed) == ERR_NOT_FOUND ? 0 : err_move(err, &failed);
    }
    auto_err gone = NULL;
    if (delete_pod(d, path, &gone) == 0 || err_code(gone) == ERR_NOT_FOUND)
        return 0;
    return err_move(err, &gone);
}

/* Evicts all, in rounds; what a budget holds back is asked for again. */
static int evict_all(struct draining *d, const cJSON *pods, struct err **err)
{
    auto_json left = json_copy(pods);
    while (left->child) {
        auto_json later = cJSON_CreateArray();
        cJSON *pod;
        while ((pod = cJSON_DetachItemFromArray(left, 0))) {
            auto_json owned = pod;
            printf("evicting pod %s/%s\n", json_string_or(pod, "metadata.namespace", ""),
                   json_string_or(pod, "metadata.name", ""));
            fflush(stdout);
            int result = evict(d, pod, err);
            if (result < 0)
                return -1;
            if (result > 0)
                json_push(later, steal(&owned));
        }
        cJSON_Delete(left);
        left = steal(&later);
        if (left->child && expired(d))
            return err_set(err, ERR_TIMEOUT, "global timeout reached: %llds", d->k->flags.timeout_s);
        if (left->child)
            pause_ms(d->k, RETRY_MS);
    }
    return 0;
}

static int wait_all(struct draining *d, const cJSON *pods, struct err **err)
{
    json_each (pod, pods) {
        const struct kubectl_reference ref = kubectl_reference_of(d->k, pod);
        if (kubectl_wait_gone(d->k, &ref, json_string(pod, "metadata.uid"), err) < 0)
            return -1;
        printf("pod/%s evicted\n", ref.name);
        fflush(stdout);
    }
    return 0;
}

static int drain_node(struct draining *d, const char *node)
{
    auto_err err = NULL;
    struct kubectl *k = d->k;
    auto_json pods = pods_of(k, node, &err);
    if (!pods)
        goto failed;
    if (k->flags.dry_run) {
        json_each (pod, pods)
            printf("evicting pod %s/%s (%s dry run)\n", json_string_or(pod, "metadata.namespace", ""),
                   json_string_or(pod, "metadata.name", ""),
                   str_eq(k->flags.dry_run, "server") ? "server" : "client");
    } else if (evict_all(d, pods, &err) < 0 || wait_all(d, pods, &err) < 0) {
        goto failed;
    }
    printf("node/%s drained%s\n", node, k->flags.dry_run ? " (dry run)" : "");
    return 0;
failed:
    fprintf(stderr, "error: unable to drain node \"%s\" due to error: %s, continuing command...\n", node,
            err_message(err));
    return 1;
}

int verb_drain(struct kubectl *k)
{
    auto_err err = NULL;
    struct draining d = {.k = k};
    const struct kubectl_resource *nodes = kubectl_find_resource(k, "nodes", &err);
    if (!nodes)
        return kubectl_refuse(err);
    if (!k->n_args && !k->flags.selector)
        return kubectl_refuse_text("USAGE: drain NODE [flags]\na node, or --selector, is wanted");
    const struct kubectl_reference all = {nodes, NULL, NULL};
    auto_free struct kubectl_reference *refs = mem_array((size_t)k->n_args + 1, sizeof(*refs));
    int code = 0;
    for (int i = 0; i < k->n_args; i++) {
        const char *slash = strchr(k->args[i], '/');
        refs[i] = (struct kubectl_reference){nodes, slash ? slash + 1 : k->args[i], NULL};
    }
    auto_json found = k->n_args ? kubectl_read_all(k, refs, (size_t)k->n_args, &code, &err)
                                : kubectl_read_all(k, &all, 1, &code, &err);
    if (!found || code)
        return found ? code : kubectl_fail(err, NULL);
    if (k->flags.timeout_s > 0)
        d.deadline = clock_monotonic_ms(&clock_system) + k->flags.timeout_s * 1000;
    json_each (node, found)
        code |= kubectl_cordon(k, json_string(node, "metadata.name"), true);
    json_each (node, found)
        code |= code ? 0 : drain_node(&d, json_string(node, "metadata.name"));
    return code;
}
