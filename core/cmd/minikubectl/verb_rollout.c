/* rollout: status (follows until it is complete), history, undo, pause, resume, restart. */
#include <stdio.h>
#include <string.h>

#include "base/selector.h"
#include "base/yaml.h"
#include "kubectl.h"

#define STRATEGIC "application/strategic-merge-patch+json"
#define REVISION "deployment.kubernetes.io/revision"

/* What kubectl says about a Deployment. 1: complete, 0: goes on, -1: failed. */
static int deployment_state(const cJSON *d, char text[512])
{
    const char *name = json_string_or(d, "metadata.name", "");
    int64_t wanted = json_int(d, "spec.replicas", 1), updated = json_int(d, "status.updatedReplicas", 0);
    int64_t all = json_int(d, "status.replicas", 0), available = json_int(d, "status.availableReplicas", 0);
    if (json_int(d, "metadata.generation", 0) > json_int(d, "status.observedGeneration", 0)) {
        snprintf(text, 512, "Waiting for deployment spec update to be observed...");
        return 0;
    }
    json_each (condition, json_at(d, "status.conditions")) {
        if (str_eq(json_string(condition, "reason"), "ProgressDeadlineExceeded")) {
            snprintf(text, 512, "deployment \"%s\" exceeded its progress deadline", name);
            return -1;
        }
    }
    if (updated < wanted)
        snprintf(text, 512,
                 "Waiting for deployment \"%s\" rollout to finish: %lld out of %lld new replicas have been "
                 "updated...",
                 name, (long long)updated, (long long)wanted);
    else if (all > updated)
        snprintf(
            text, 512,
            "Waiting for deployment \"%s\" rollout to finish: %lld old replicas are pending termination...",
            name, (long long)(all - updated));
    else if (available < updated)
        snprintf(text, 512,
                 "Waiting for deployment \"%s\" rollout to finish: %lld of %lld updated replicas are "
                 "available...",
                 name, (long long)available, (long long)updated);
    else {
        snprintf(text, 512, "deployment \"%s\" successfully rolled out", name);
        return 1;
    }
    return 0;
}

static int set_state(const cJSON *s, char text[512])
{
    const char *name = json_string_or(s, "metadata.name", "");
    int64_t wanted = json_int(s, "spec.replicas", 1), ready = json_int(s, "status.readyReplicas", 0);
    int64_t updated = json_int(s, "status.updatedReplicas", 0),
            partition = json_int(s, "spec.updateStrategy.rollingUpdate.partition", 0);
    if (str_eq(json_string(s, "spec.updateStrategy.type"), "OnDelete")) {
        snprintf(text, 512, "rollout status is only available for RollingUpdate strategy type");
        return -1;
    }
    if (json_int(s, "status.observedGeneration", 0) == 0 ||
        json_int(s, "metadata.generation", 0) > json_int(s, "status.observedGeneration", 0)) {
        snprintf(text, 512, "Waiting for statefulset spec update to be observed...");
    } else if (ready < wanted) {
        snprintf(text, 512, "Waiting for %lld pods to be ready...", (long long)(wanted - ready));
    } else if (partition > 0) {
        snprintf(text, 512,
                 "Waiting for partitioned roll out to finish: %lld out of %lld new pods have been updated...",
                 (long long)updated, (long long)(wanted - partition));
        if (updated < wanted - partition)
            return 0;
        snprintf(text, 512, "partitioned roll out complete: %lld new pods have been updated...",
                 (long long)updated);
        return 1;
    } else if (!str_eq(json_string(s, "status.updateRevision"), json_string(s, "status.currentRevision"))) {
        snprintf(text, 512, "waiting for statefulset rolling update to complete %lld pods at revision %s...",
                 (long long)updated, json_string_or(s, "status.updateRevision", ""));
    } else {
        snprintf(text, 512, "statefulset rolling update complete %lld pods at revision %s...",
                 (long long)json_int(s, "status.currentReplicas", updated),
                 json_string_or(s, "status.currentRevision", name));
        return 1;
    }
    return 0;
}

static int daemons_state(const cJSON *d, char text[512])
{
    const char *name = json_string_or(d, "metadata.name", "");
    int64_t wanted = json_int(d, "status.desiredNumberScheduled", 0),
            updated = json_int(d, "status.updatedNumberScheduled", 0),
            available = json_int(d, "status.numberAvailable", 0);
    if (str_eq(json_string(d, "spec.updateStrategy.type"), "OnDelete")) {
        snprintf(text, 512, "rollout status is only available for RollingUpdate strategy type");
        return -1;
    }
    if (json_int(d, "metadata.generation", 0) > json_int(d, "status.observedGeneration", 0))
        snprintf(text, 512, "Waiting for daemon set spec update to be observed...");
    else if (updated < wanted)
        snprintf(
            text, 512,
            "Waiting for daemon set \"%s\" rollout to finish: %lld out of %lld new pods have been updated...",
            name, (long long)updated, (long long)wanted);
    else if (available < wanted)
        snprintf(
            text, 512,
            "Waiting for daemon set \"%s\" rollout to finish: %lld of %lld updated pods are available...",
            name, (long long)available, (long long)wanted);
    else {
        snprintf(text, 512, "daemon set \"%s\" successfully rolled out", name);
        return 1;
    }
    return 0;
}

/* What rollout knows about a kind. */
static const struct kind {
    const char *kind, *name, *history; /* the resource that its revisions are kept in */
    int (*state)(const cJSON *object, char text[512]);
    bool pauses;
} kinds[] = {{"Deployment", "deployment.apps", "replicasets.apps", deployment_state, true},
             {"StatefulSet", "statefulset.apps", "controllerrevisions.apps", set_state, false},
             {"DaemonSet", "daemonset.apps", "controllerrevisions.apps", daemons_state, false}};

static const struct kind *kind_of(const cJSON *object)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (str_eq(json_string(object, "kind"), kinds[i].kind))
            return &kinds[i];
    return NULL;
}

struct following {
    const struct kind *kind;
    char last[512];
    int state;
    const char *name;
};

static void look(struct following *following, const cJSON *deployment)
{
    char text[512];
    following->state = following->kind->state(deployment, text);
    if (!str_eq(text, following->last))
        fprintf(following->state < 0 ? stderr : stdout, "%s%s\n", following->state < 0 ? "error: " : "",
                text);
    fflush(stdout);
    memcpy(following->last, text, sizeof(text));
}

static bool on_event(void *arg, const char *line, size_t len)
{
    struct following *following = arg;
    auto_json event = json_parse_trusted(line, len);
    const char *type = json_string_or(event, "type", "");
    if (str_eq(type, "DELETED")) {
        fprintf(stderr, "error: object has been deleted\n");
        following->state = -1;
        return false;
    }
    if (str_eq(type, "BOOKMARK"))
        return true;
    look(following, json_get(event, "object"));
    return following->state == 0;
}

static int status(struct kubectl *k, const struct kubectl_reference *ref, const cJSON *deployment)
{
    auto_err err = NULL;
    struct following following = {.kind = kind_of(deployment), .name = ref->name};
    look(&following, deployment);
    if (following.state == 0 && !k->flags.watch)
        return 0;
    if (following.state == 0) {
        auto_str target = {0};
        auto_free char *path = kubectl_target(k, ref->resource, NULL, NULL, NULL);
        auto_free char *selector = mem_printf("metadata.name=%s", ref->name);
        str_add(&target, path);
        http_query_add(&target, "fieldSelector", selector);
        http_query_add(&target, "watch", "true");
        http_query_add(&target, "resourceVersion",
                       json_string_or(deployment, "metadata.resourceVersion", "0"));
        if (kubectl_stream_lines(k, str_c(&target), NULL,
                                 k->flags.timeout_s > 0 ? k->flags.timeout_s * 1000 : 0, on_event, &following,
                                 &err) < 0)
            return err_code(err) == ERR_TIMEOUT ? kubectl_refuse_text("timed out waiting for the condition")
                                                : kubectl_fail(err, NULL);
        if (following.state == 0)
            return kubectl_refuse_text("the watch ended before the rollout did");
    }
    return following.state == 1 ? 0 : 1;
}

static const char *annotation(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(json_get(json_at(object, "metadata.annotations"), name));
}

/* A ReplicaSet tells it in an annotation, a ControllerRevision is one. */
static long long revision_of(const cJSON *set)
{
    if (json_get(set, "revision"))
        return json_int(set, "revision", 0);
    const char *text = annotation(set, REVISION);
    return text ? strtoll(text, NULL, 10) : 0;
}

static bool is_owned(const cJSON *object, const char *uid)
{
    json_each (owner, json_at(object, "metadata.ownerReferences")) {
        if (str_eq(json_string(owner, "uid"), uid))
            return true;
    }
    return false;
}

/* The pod template that a revision holds. */
static const cJSON *template_of(const cJSON *set)
{
    const cJSON *template = json_at(set, "data.spec.template");
    return template ? template : json_at(set, "spec.template");
}

/* The workload's ReplicaSets or ControllerRevisions, oldest revision first. */
static cJSON *history_of(struct kubectl *k, const cJSON *deployment, struct err **err)
{
    auto_selector selector = selector_from_json(json_at(deployment, "spec.selector"), err);
    auto_free char *text = selector ? selector_print(selector) : NULL;
    auto_free char *path = client_path(kind_of(deployment)->history, "v1",
                                       json_string(deployment, "metadata.namespace"), NULL, NULL);
    auto_str target = {0};
    str_add(&target, path);
    http_query_add(&target, "labelSelector", text ? text : "");
    auto_json list = kubectl_request(k, "GET", str_c(&target), NULL, NULL, NULL, err);
    if (!list)
        return NULL;
    cJSON *sets = cJSON_CreateArray();
    const char *uid = json_string_or(deployment, "metadata.uid", "");
    for (;;) { /* selection by revision: a history has ten entries */
        int first = -1, at = 0;
        const cJSON *lowest = NULL;
        json_each (set, json_get(list, "items")) {
            if (is_owned(set, uid) && (!lowest || revision_of(set) < revision_of(lowest))) {
                lowest = set;
                first = at;
            }
            at++;
        }
        if (first < 0)
            break;
        json_push(sets, cJSON_DetachItemFromArray(json_get(list, "items"), first));
    }
    return sets;
}

static int show_revision(const struct kubectl_reference *ref, const cJSON *sets, const char *kind,
                         long long revision)
{
    json_each (set, sets) {
        if (revision_of(set) != revision)
            continue;
        auto_json template = json_copy(template_of(set));
        json_remove(template, "$patch");
        json_sort_keys(template);
        auto_free char *text = yaml_print(template);
        printf("%s/%s with revision #%lld\nPod Template:\n", kind, ref->name, revision);
        char *rest = NULL;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
            printf("  %s\n", line);
        return 0;
    }
    return kubectl_refuse_text("unable to find the specified revision: %lld", revision);
}

static int history(struct kubectl *k, const struct kubectl_reference *ref, const cJSON *deployment)
{
    auto_err err = NULL;
    auto_json sets = history_of(k, deployment, &err);
    if (!sets)
        return kubectl_fail(err, NULL);
    if (k->flags.revision > 0)
        return show_revision(ref, sets, kind_of(deployment)->name, k->flags.revision);
    printf("%s/%s \nREVISION  CHANGE-CAUSE\n", kind_of(deployment)->name, ref->name);
    json_each (set, sets) {
        const char *cause = annotation(set, "kubernetes.io/change-cause");
        printf("%-9lld %s\n", revision_of(set), cause ? cause : "<none>");
    }
    printf("\n");
    return 0;
}

static int undo(struct kubectl *k, const struct kubectl_reference *ref, const cJSON *deployment)
{
    auto_err err = NULL;
    auto_json sets = history_of(k, deployment, &err);
    if (!sets)
        return kubectl_fail(err, NULL);
    if (json_bool(deployment, "spec.paused", false))
        return kubectl_refuse_text(
            "you cannot rollback a paused deployment; resume it first with 'minikubectl rollout "
            "resume' and try again");
    long long newest = 0;
    json_each (set, sets)
        newest = revision_of(set); /* the last one */
    const cJSON *target = NULL;
    json_each (set, sets) {
        if (k->flags.revision > 0 ? revision_of(set) == k->flags.revision : revision_of(set) != newest)
            target = set;
    }
    if (!target) {
        if (k->flags.revision > 0)
            err_set(&err, ERR_NOT_FOUND, "unable to find specified revision %lld in history",
                    k->flags.revision);
        else
            err_set(&err, ERR_NOT_FOUND, "no last revision to roll back to for %s \"%s\"",
                    ref->resource->singular, ref->name);
        return kubectl_refuse(err);
    }
    auto_json patch = cJSON_CreateArray();
    cJSON *step = json_push(patch, cJSON_CreateObject());
    json_set_string(step, "op", "replace");
    json_set_string(step, "path", "/spec/template");
    cJSON *template = json_set(step, "value", json_copy(template_of(target)));
    json_remove(template, "$patch");
    json_remove(json_at(template, "metadata.labels"), "pod-template-hash");
    return kubectl_patch_and_tell(k, ref, "application/json-patch+json", patch, "rolled back");
}

static int change(struct kubectl *k, const struct kubectl_reference *ref, const cJSON *deployment,
                  const char *what)
{
    auto_json patch = cJSON_CreateObject();
    bool paused = json_bool(deployment, "spec.paused", false);
    if (str_eq(what, "restart")) {
        if (paused)
            return kubectl_refuse_text("%s \"%s\" can't restart paused deployment (run rollout resume first)",
                                       ref->resource->name, ref->name);
        char now[TIME_TEXT];
        time_print_micro(clock_wall_ns(&clock_system), now); /* two restarts within a second are two */
        cJSON *metadata = json_set_at(patch, "spec.template.metadata", cJSON_CreateObject());
        json_set_string(json_ensure_object(metadata, "annotations"), "kubectl.kubernetes.io/restartedAt",
                        now);
        return kubectl_patch_and_tell(k, ref, STRATEGIC, patch, "restarted");
    }
    bool pause = str_eq(what, "pause");
    if (pause == paused)
        return kubectl_refuse_text("deployments.apps \"%s\" is %s paused", ref->name,
                                   pause ? "already" : "not");
    json_set(json_ensure_object(patch, "spec"), "paused", pause ? cJSON_CreateTrue() : cJSON_CreateNull());
    return kubectl_patch_and_tell(k, ref, STRATEGIC, patch, pause ? "paused" : "resumed");
}

static int rollout_one(struct kubectl *k, const char *what, const cJSON *object)
{
    const struct kubectl_reference ref = kubectl_reference_of(k, object);
    const struct kind *kind = kind_of(object);
    bool pauses = str_eq(what, "pause") || str_eq(what, "resume");
    if (!kind || (pauses && !kind->pauses))
        return kubectl_refuse_text("%s \"%s\" %s is not supported", ref.resource->name, ref.name,
                                   str_eq(what, "pause")    ? "pausing"
                                   : str_eq(what, "resume") ? "resuming"
                                                            : what);
    if (str_eq(what, "status"))
        return status(k, &ref, object);
    if (str_eq(what, "history"))
        return history(k, &ref, object);
    return str_eq(what, "undo") ? undo(k, &ref, object) : change(k, &ref, object, what);
}

int verb_rollout(struct kubectl *k)
{
    auto_err err = NULL;
    static const char *const words[] = {"status", "history", "undo", "pause", "resume", "restart"};
    const char *what = k->n_args ? k->args[0] : "";
    bool known = false;
    for (size_t i = 0; i < COUNT_OF(words); i++)
        known = known || str_eq(what, words[i]);
    if (!known) {
        const char *nearest = str_nearest(what, words, COUNT_OF(words));
        return kubectl_refuse_text("usage: rollout (status|history|undo|pause|resume|restart) KIND/NAME%s%s",
                                   nearest ? "; did you mean " : "", nearest ? nearest : "");
    }
    auto_free struct kubectl_reference *refs = NULL;
    size_t count;
    int code = 0;
    if (kubectl_references(k, 1, &refs, &count, &err) < 0)
        return kubectl_refuse(err);
    bool reads = str_eq(what, "status") || str_eq(what, "history");
    if (!refs[0].name && !reads)
        return kubectl_refuse_text("resource(s) were provided, but no name was specified");
    auto_json objects = kubectl_read_all(k, refs, count, &code, &err);
    if (!objects)
        return kubectl_fail(err, NULL);
    json_each (object, objects)
        code |= rollout_one(k, what, object);
    return code;
}
