/*
 * policy_profile: which policies decide, as the commands that change it see it: the PolicyProfile "cluster",
 * or with --namespace the first one by name that names the namespace. The manager checks what is put there
 * and answers in the status.
 */
#include <stdio.h>
#include <string.h>

#include "policy.h"

#define PROFILES "policyprofiles.minik8s.io"
#define CLUSTER "cluster"
#define VERDICT_MS 15000

/* ---- finding them ---- */

static char *profile_path(const char *name)
{
    return client_path(PROFILES, "v1", NULL, name, NULL);
}

cJSON *policy_named(const cJSON *list, const char *name)
{
    json_each (entry, list) {
        if (str_eq(json_string(entry, "name"), name))
            return entry;
    }
    return NULL;
}

cJSON *policy_point(const cJSON *list, const char *point)
{
    json_each (entry, list) {
        if (str_eq(json_string(entry, "point"), point))
            return entry;
    }
    return NULL;
}

static bool holds(const cJSON *names, const char *name)
{
    json_each (each, names) {
        if (str_eq(cJSON_GetStringValue(each), name))
            return true;
    }
    return false;
}

static cJSON *copy_profile(const cJSON *profile)
{
    cJSON *copy = json_copy(profile);
    json_set_string(copy, "apiVersion", "minik8s.io/v1");
    json_set_string(copy, "kind", "PolicyProfile");
    return copy;
}

/* The one in force in the namespace, or a new one of its name. Exit code. */
static int load_space(struct kubectl *k, struct policy_profiles *profiles)
{
    const char *namespace = profiles->namespace;
    bool taken = false;
    if (str_eq(namespace, CLUSTER))
        return kubectl_refuse_text("the profile named cluster is for all namespaces: leave -n out");
    json_each (profile, json_get(profiles->list, "items")) {
        const char *name = json_string_or(profile, "metadata.name", "");
        if (!str_eq(name, CLUSTER) && holds(json_at(profile, "spec.namespaces"), namespace)) {
            profiles->own = copy_profile(profile);
            return 0;
        }
        taken = taken || str_eq(name, namespace);
    }
    if (taken)
        return kubectl_refuse_text(
            "the policy profile %s is not for the namespace of its name: add it to its spec.namespaces",
            namespace);
    auto_err err = NULL;
    auto_free char *path = client_path("namespaces", "v1", NULL, namespace, NULL);
    auto_json there = kubectl_request(k, "GET", path, NULL, NULL, NULL, &err);
    if (!there)
        return kubectl_fail(err, NULL);
    profiles->own = kubectl_object_new("minik8s.io/v1", "PolicyProfile", namespace);
    json_push_string(json_ensure_array(json_ensure_object(profiles->own, "spec"), "namespaces"), namespace);
    return 0;
}

int policy_load(struct kubectl *k, struct policy_profiles *profiles)
{
    auto_err err = NULL;
    auto_free char *path = profile_path(NULL);
    *profiles = (struct policy_profiles){.namespace = k->flags.namespace};
    profiles->list = kubectl_request(k, "GET", path, NULL, NULL, NULL, &err);
    if (!profiles->list)
        return kubectl_fail(err, NULL);
    json_each (profile, json_get(profiles->list, "items")) {
        if (str_eq(json_string(profile, "metadata.name"), CLUSTER))
            profiles->cluster = profile;
    }
    if (!profiles->cluster)
        return kubectl_refuse_text("no manager has said yet which policies there are; is one running?");
    if (profiles->namespace)
        return load_space(k, profiles);
    profiles->own = copy_profile(profiles->cluster);
    return 0;
}

void policy_profiles_fini(struct policy_profiles *profiles)
{
    cJSON_Delete(profiles->list);
    cJSON_Delete(profiles->own);
}

/* Whether the command looks at a choice of the namespace's own. */
static bool set_there(const struct policy_profiles *profiles, const char *point)
{
    const cJSON *list = json_get(policy_point(json_at(profiles->own, "spec.points"), point), "policies");
    return profiles->namespace && list && list->child;
}

const cJSON *policy_status(const struct policy_profiles *profiles, const char *point)
{
    const cJSON *there =
        set_there(profiles, point) ? policy_point(json_at(profiles->own, "status.points"), point) : NULL;
    return there ? there : policy_point(json_at(profiles->cluster, "status.points"), point);
}

const cJSON *policy_chosen(const struct policy_profiles *profiles, const char *point)
{
    const cJSON *profile = set_there(profiles, point) ? profiles->own : profiles->cluster;
    return json_get(policy_point(json_at(profile, "spec.points"), point), "policies");
}

cJSON *policy_active(const struct policy_profiles *profiles, const char *point)
{
    const cJSON *chosen = policy_chosen(profiles, point);
    cJSON *list = cJSON_CreateArray();
    json_each (policy, json_get(policy_status(profiles, point), "policies")) {
        if (!str_eq(json_string(policy, "state"), "Active"))
            continue;
        const char *name = json_string(policy, "name");
        const cJSON *before = policy_named(chosen, name), *weight = json_get(policy, "weight");
        cJSON *entry = json_push(list, before ? json_copy(before) : cJSON_CreateObject());
        json_set_string(entry, "name", name);
        if (cJSON_IsNumber(weight) && weight->valuedouble != 1)
            json_set(entry, "weight", json_copy(weight));
    }
    json_each (entry, chosen) {
        if (str_eq(json_string(entry, "mode"), "Disabled"))
            json_push(list, json_copy(entry));
    }
    return list;
}

/* ---- words that may be wrong ---- */

int policy_check_point(const struct policy_profiles *profiles, const char *point, struct err **err)
{
    const cJSON *points = json_at(profiles->cluster, "status.points");
    if (policy_point(points, point))
        return 0;
    const char *names[64];
    size_t n = 0;
    json_each (entry, points) {
        if (policy_named(json_get(entry, "policies"), point))
            return err_set(err, ERR_NOT_FOUND, "%s is a policy, not a point; its point is %s", point,
                           json_string_or(entry, "point", ""));
        if (n < COUNT_OF(names))
            names[n++] = json_string_or(entry, "point", "");
    }
    const char *nearest = str_nearest(point, names, n);
    return err_set(err, ERR_NOT_FOUND, "there is no point \"%s\"%s%s", point,
                   nearest ? "; did you mean " : "", nearest ? nearest : "; see: minikubectl policy list");
}

/* Why no version of a Policy object can decide; NULL: there is no such object, or one can. Caller frees. */
static char *why_not(struct kubectl *k, const char *name)
{
    auto_free char *path = policy_path(name);
    auto_json policy = kubectl_request(k, "GET", path, NULL, NULL, NULL, NULL);
    json_each (version, json_at(policy, "status.history")) {
        if (str_eq(json_string(version, "state"), "Current"))
            return NULL;
    }
    if (!policy)
        return NULL;
    if (json_int(policy, "status.observedGeneration", 0) < json_int(policy, "metadata.generation", 1))
        return mem_strdup(
            "it is stored, but no manager has looked at it: one runs its examples before it may "
            "decide; is one running?");
    return mem_printf("%s: %s", json_string_or(policy, "status.state", "?"),
                      json_string_or(policy, "status.message", ""));
}

int policy_check_name(struct kubectl *k, const struct policy_profiles *profiles, const char *point,
                      const char *name, struct err **err)
{
    const cJSON *points = json_at(profiles->cluster, "status.points");
    const cJSON *known = policy_named(json_get(policy_point(points, point), "policies"), name);
    const char *state = json_string_or(known, "state", "");
    bool failed = str_eq(state, "Rejected") ||
                  (str_eq(state, "RolledBack") && str_eq(json_string(known, "from"), "object"));
    if (known && !failed)
        return 0;
    json_each (other, points) {
        if (!known && policy_named(json_get(other, "policies"), name))
            return err_set(err, ERR_NOT_FOUND, "policy \"%s\" is for %s, not for %s", name,
                           json_string_or(other, "point", "?"), point);
    }
    auto_free char *why = why_not(k, name);
    if (why)
        return err_set(err, ERR_INVALID, "policy \"%s\" cannot decide: %s", name, why);
    if (known)
        return 0;
    const char *names[64];
    size_t n = 0;
    json_each (policy, json_get(policy_point(points, point), "policies")) {
        if (n < COUNT_OF(names))
            names[n++] = json_string_or(policy, "name", "");
    }
    const char *nearest = str_nearest(name, names, n);
    return err_set(err, ERR_NOT_FOUND, "no policy \"%s\" is known for %s%s%s", name, point,
                   nearest ? "; did you mean " : "", nearest ? nearest : "");
}

/* ---- the manager's verdict ---- */

void policy_verdict_fini(struct policy_verdict *verdict)
{
    free(verdict->state);
    free(verdict->message);
}

static bool look(struct policy_verdict *verdict, const cJSON *object)
{
    if (json_int(object, "status.observedGeneration", 0) < verdict->generation)
        return false;
    verdict->state = mem_strdup(json_string_or(object, "status.state", ""));
    verdict->message = mem_strdup(json_string_or(object, "status.message", ""));
    return true;
}

static bool on_event(void *arg, const char *line, size_t len)
{
    auto_json event = json_parse_trusted(line, len);
    return str_eq(json_string(event, "type"), "BOOKMARK") || !look(arg, json_get(event, "object"));
}

int policy_wait_for_verdict(struct kubectl *k, const char *resource, const cJSON *object,
                            struct policy_verdict *verdict, struct err **err)
{
    *verdict = (struct policy_verdict){.generation = json_int(object, "metadata.generation", 1)};
    if (look(verdict, object))
        return 0;
    auto_str target = {0};
    auto_free char *path = client_path(resource, "v1", NULL, NULL, NULL);
    auto_free char *selector = mem_printf("metadata.name=%s", json_string_or(object, "metadata.name", ""));
    str_add(&target, path);
    http_query_add(&target, "fieldSelector", selector);
    http_query_add(&target, "watch", "true");
    http_query_add(&target, "resourceVersion", json_string_or(object, "metadata.resourceVersion", "0"));
    if (kubectl_stream_lines(k, str_c(&target), NULL, VERDICT_MS, on_event, verdict, err) < 0)
        return err_wrap(err, "it is stored, but no manager has looked at it; is one running?");
    if (!verdict->state) /* the stream ended before */
        return err_set(err, ERR_TIMEOUT, "it is stored, but no manager has looked at it; is one running?");
    return 0;
}

/* ---- changes ---- */

void policy_set_now(cJSON *annotations, const char *name)
{
    char now[TIME_TEXT];
    time_print_micro(clock_wall_ns(&clock_system), now);
    json_set_string(annotations, name, now);
}

static cJSON *store(struct kubectl *k, const cJSON *profile, struct err **err)
{
    bool exists = json_string(profile, "metadata.uid") != NULL;
    auto_free char *path = profile_path(exists ? json_string_or(profile, "metadata.name", "") : NULL);
    return kubectl_request(k, exists ? "PUT" : "POST", path, NULL, NULL, profile, err);
}

/* A choice that cannot decide is taken out again: what was there before it stays in force. */
static int put_back(struct kubectl *k, const cJSON *before, struct err **err)
{
    auto_free char *path = profile_path(json_string_or(before, "metadata.name", ""));
    bool existed = json_string(before, "metadata.uid") != NULL;
    auto_json now = kubectl_request(k, existed ? "GET" : "DELETE", path, NULL, NULL, NULL, err);
    if (!now)
        return -1;
    if (!existed)
        return 0;
    json_set(now, "spec", json_copy(json_get(before, "spec")));
    json_set(json_ensure_object(now, "metadata"), "annotations",
             json_copy(json_at(before, "metadata.annotations")));
    auto_json stored = store(k, now, err);
    return stored ? 0 : -1;
}

static void tell_changed(const struct policy_profiles *profiles, const char *point)
{
    auto_str where = {0};
    json_each (name, profiles->namespace ? json_at(profiles->own, "spec.namespaces") : NULL)
        str_addf(&where, "%s%s", where.len ? ", " : " for namespace ", cJSON_GetStringValue(name));
    printf("policyprofile.minik8s.io/%s: %s changed%s\n", json_string_or(profiles->own, "metadata.name", ""),
           point, where.len ? str_c(&where) : "");
}

int policy_put_profile(struct kubectl *k, const struct policy_profiles *profiles, const cJSON *before,
                       const char *point)
{
    auto_err err = NULL;
    auto_json stored = store(k, profiles->own, &err);
    if (!stored)
        return kubectl_fail(err, NULL);
    struct policy_verdict verdict;
    auto_free char *field = mem_printf("spec.points[%s]", point);
    int result = policy_wait_for_verdict(k, PROFILES, stored, &verdict, &err);
    if (result == 0 && strstr(verdict.message, field)) {
        result = err_set(&err, ERR_INVALID, "not changed: %s", verdict.message);
        auto_err again = NULL;
        if (put_back(k, before, &again) < 0)
            fprintf(stderr, "error: the former choice could not be put back: %s\n", err_message(again));
    } else if (result == 0 && *verdict.message) {
        fprintf(stderr, "Warning: %s\n", verdict.message);
    }
    policy_verdict_fini(&verdict);
    if (result < 0)
        return kubectl_refuse(err);
    tell_changed(profiles, point);
    return 0;
}

int policy_choose(struct kubectl *k, struct policy_profiles *profiles, const char *point, cJSON *policies)
{
    cJSON *profile = profiles->own;
    auto_json before = json_copy(profile);
    cJSON *points = json_ensure_array(json_ensure_object(profile, "spec"), "points");
    cJSON *entry = policy_point(points, point);
    auto_free char *previous = entry ? json_print(json_get(entry, "policies")) : mem_strdup("null");
    auto_free char *annotation = mem_printf(PREVIOUS_CHOICE "%s", point);
    auto_free char *since = mem_printf(CHOICE_TIME "%s", point);
    cJSON *annotations = json_ensure_object(json_ensure_object(profile, "metadata"), "annotations");
    json_set_string(annotations, annotation, previous);
    policy_set_now(annotations, since);
    if (!entry) {
        entry = json_push(points, cJSON_CreateObject());
        json_set_string(entry, "point", point);
    }
    json_set(entry, "policies", policies ? policies : cJSON_CreateArray());
    return policy_put_profile(k, profiles, before, point);
}
