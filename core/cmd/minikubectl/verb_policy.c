/*
 * policy list | show NAME | apply -f FILE.lua | use POINT NAME… | rollback POINT; more in verb_policy_*.c.
 * A policy is an object of kind Policy; which one decides is the PolicyProfile "cluster". The manager checks
 * what is put there and answers in the status: apply and use wait for that answer.
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "policy.h"

#define VERDICT_MS 15000
#define SOURCE_TIME "minik8s.io/previous-source-until"
#define PREVIOUS_CHOICE "minik8s.io/previous-choice."
#define CHOICE_TIME "minik8s.io/previous-choice-until."

char *policy_path(const char *name)
{
    return client_path("policies.minik8s.io", "v1", NULL, name, NULL);
}

cJSON *policy_profile(struct kubectl *k, struct err **err)
{
    auto_free char *path = client_path("policyprofiles.minik8s.io", "v1", NULL, "cluster", NULL);
    return kubectl_request(k, "GET", path, NULL, NULL, NULL, err);
}

/* ---- list ---- */

/* What a node says of itself: "POINT=NAME@HASH,… POINT/NAMESPACE=…". Whether it asks the point at all, and
 * whether this version decides there. */
static void look_at_node(const char *versions, const char *point, const char *version, bool *asks, bool *runs)
{
    size_t len = strlen(point);
    for (const char *at = versions; *at; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");
        if (strncmp(at, point, len) == 0 && (at[len] == '=' || at[len] == '/')) {
            auto_free char *list = mem_strndup(at, word);
            char *rest = list, *one;
            *asks = true;
            strsep(&rest, "=");
            while ((one = strsep(&rest, ",")))
                *runs = *runs || str_starts(one, version);
        }
        at += word;
    }
}

/* "2/3": on how many of the nodes that ask the point the version decides; "": none of them asks it. */
static char *nodes_text(const cJSON *leases, const char *point, const cJSON *policy)
{
    unsigned asking = 0, running = 0;
    auto_free char *version =
        mem_printf("%s@%.8s", json_string_or(policy, "name", ""), json_string_or(policy, "version", ""));
    json_each (lease, json_get(leases, "items")) {
        bool asks = false, runs = false;
        look_at_node(json_string_or(lease, "metadata.annotations['minik8s.io/policies']", ""), point, version,
                     &asks, &runs);
        asking += asks;
        running += runs;
    }
    return asking ? mem_printf("%u/%u", running, asking) : mem_strdup("");
}

static int list(struct kubectl *k)
{
    auto_err err = NULL;
    auto_json profile = policy_profile(k, &err);
    if (!profile)
        return kubectl_fail(err, NULL);
    auto_free char *path = client_path("leases.coordination.k8s.io", "v1", "kube-node-lease", NULL, NULL);
    auto_json leases = kubectl_request(k, "GET", path, NULL, NULL, NULL, NULL); /* not everybody may */
    printf("%-20s %-18s %-10s %-9s %-10s %s\n", "POINT", "POLICY", "VERSION", "FROM", "STATE", "NODES");
    json_each (point, json_at(profile, "status.points")) {
        const char *name = json_string_or(point, "point", "");
        json_each (policy, json_get(point, "policies")) {
            auto_free char *nodes = nodes_text(leases, name, policy);
            const char *state = json_string_or(policy, "state", "");
            printf("%-20s %-18s %-10.8s %-9s %-*s%s%s\n", name, json_string_or(policy, "name", ""),
                   json_string_or(policy, "version", ""), json_string_or(policy, "from", ""), *nodes ? 10 : 0,
                   state, *nodes ? " " : "", nodes);
        }
    }
    return 0;
}

static int show(struct kubectl *k)
{
    auto_err err = NULL;
    auto_free char *path = policy_path(k->args[1]);
    auto_json policy = kubectl_request(k, "GET", path, NULL, NULL, NULL, &err);
    if (!policy && err_code(err) == ERR_NOT_FOUND)
        return policy_show_other(k, k->args[1]);
    if (!policy)
        return kubectl_fail(err, NULL);
    printf("-- %s: point %s, %s, version %.8s\n", k->args[1], json_string_or(policy, "spec.point", "?"),
           json_string_or(policy, "status.state", "not looked at yet"),
           json_string_or(policy, "status.hash", "?"));
    const char *message = json_string(policy, "status.message");
    if (!str_empty(message))
        printf("-- %s\n", message);
    printf("%s", json_string_or(policy, "spec.source", ""));
    return 0;
}

/* ---- the manager's verdict ---- */

struct verdict {
    int64_t generation;
    char *state, *message;
};

static void verdict_fini(struct verdict *verdict)
{
    free(verdict->state);
    free(verdict->message);
}

static bool look(struct verdict *verdict, const cJSON *object)
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

/* The written object → what the manager says of that generation of it. */
static int wait_for_verdict(struct kubectl *k, const char *resource, const cJSON *object,
                            struct verdict *verdict, struct err **err)
{
    *verdict = (struct verdict){.generation = json_int(object, "metadata.generation", 1)};
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
        return err_wrap(err, "it is stored, but no manager has looked at it");
    return 0;
}

/* ---- apply ---- */

/* The string that FIELD = "…" gives in the policy's table. The manager reads it properly; here it only names
 * the object. */
char *policy_field(const char *source, const char *field)
{
    size_t len = strlen(field);
    for (const char *at = source; (at = strstr(at, field)); at += len) {
        if (at > source && (strchr(" \t\n,{;", at[-1]) == NULL))
            continue;
        const char *rest = at + len + strspn(at + len, " \t");
        if (*rest != '=')
            continue;
        rest += 1 + strspn(rest + 1, " \t");
        if (*rest == '"' || *rest == '\'')
            return mem_strndup(rest + 1, strcspn(rest + 1, (char[]){*rest, '\n', 0}));
    }
    return NULL;
}

/* The order of changes is what rollback goes by. */
static void set_now(cJSON *annotations, const char *name)
{
    char now[TIME_TEXT];
    time_print_micro(clock_wall_ns(&clock_system), now);
    json_set_string(annotations, name, now);
}

static cJSON *make_policy(const char *path, const char *source, const cJSON *before, struct err **err)
{
    auto_free char *point = policy_field(source, "point");
    auto_free char *name = policy_field(source, "name");
    if (!point || !name) {
        err_set(err, ERR_BAD_REQUEST, "%s: %s = \"…\" is missing in the table that a policy returns", path,
                point ? "name" : "point");
        return NULL;
    }
    cJSON *policy = before ? json_copy(before) : cJSON_CreateObject();
    json_set_string(policy, "apiVersion", "minik8s.io/v1");
    json_set_string(policy, "kind", "Policy");
    cJSON *metadata = json_ensure_object(policy, "metadata");
    json_set_string(metadata, "name", name);
    const char *old = json_string(before, "spec.source");
    if (old && !str_eq(old, source) && !str_eq(json_string(before, "status.state"), "Rejected")) {
        cJSON *annotations = json_ensure_object(metadata, "annotations");
        json_set_string(annotations, PREVIOUS_SOURCE, old);
        set_now(annotations, SOURCE_TIME);
    }
    cJSON *spec = json_ensure_object(policy, "spec");
    json_set_string(spec, "point", point);
    json_set_string(spec, "source", source);
    return policy;
}

static int put_policy(struct kubectl *k, const cJSON *policy, bool exists)
{
    auto_err err = NULL;
    const char *name = json_string_or(policy, "metadata.name", "");
    auto_free char *path = policy_path(exists ? name : NULL);
    auto_json stored = kubectl_request(k, exists ? "PUT" : "POST", path, NULL, NULL, policy, &err);
    if (!stored)
        return kubectl_fail(err, NULL);
    struct verdict verdict;
    if (wait_for_verdict(k, "policies.minik8s.io", stored, &verdict, &err) < 0) {
        verdict_fini(&verdict);
        return kubectl_refuse(err);
    }
    bool refused = str_eq(verdict.state, "Rejected") || str_eq(verdict.state, "RolledBack");
    if (refused)
        fprintf(stderr, "error: policy %s was refused: %s\n", name, verdict.message);
    else
        printf("policy.minik8s.io/%s %s (%s)\n", name, exists ? "configured" : "created",
               str_eq(verdict.state, "Active") ? "active" : "not in use; see: minikubectl policy use");
    verdict_fini(&verdict);
    return refused ? 1 : 0;
}

int policy_apply_file(struct kubectl *k, const char *path)
{
    auto_err err = NULL;
    auto_free char *source = NULL;
    if (file_read(path, POLICY_MAX, &source, NULL, &err) < 0)
        return kubectl_refuse(err);
    auto_free char *name = policy_field(source, "name");
    auto_free char *object_path = name ? policy_path(name) : NULL;
    auto_json before = name ? kubectl_request(k, "GET", object_path, NULL, NULL, NULL, NULL) : NULL;
    auto_json policy = make_policy(path, source, before, &err);
    return policy ? put_policy(k, policy, before != NULL) : kubectl_refuse(err);
}

static int apply(struct kubectl *k)
{
    auto_err err = NULL;
    if (!k->flags.n_files) {
        err_set(&err, ERR_BAD_REQUEST, "policy apply wants -f FILE.lua");
        return kubectl_refuse(err);
    }
    int code = 0;
    for (size_t i = 0; i < k->flags.n_files; i++)
        code |= policy_apply_file(k, k->flags.files[i]);
    return code;
}

/* ---- use and rollback ---- */

cJSON *policy_point(cJSON *list, const char *point)
{
    json_each (entry, list) {
        if (str_eq(json_string(entry, "point"), point))
            return entry;
    }
    return NULL;
}

int policy_check_names(struct kubectl *k, const cJSON *profile, const char *point, int first,
                       struct err **err)
{
    const cJSON *known = policy_point(json_at(profile, "status.points"), point);
    if (!known) {
        const char *names[64];
        size_t n = 0;
        json_each (entry, json_at(profile, "status.points"))
            if (n < COUNT_OF(names))
                names[n++] = json_string_or(entry, "point", "");
        const char *nearest = str_nearest(point, names, n);
        return err_set(err, ERR_NOT_FOUND, "there is no point \"%s\"%s%s", point,
                       nearest ? "; did you mean " : "",
                       nearest ? nearest : "; see: minikubectl policy list");
    }
    for (int i = first; i < k->n_args; i++) {
        const char *names[64];
        size_t n = 0;
        bool found = false;
        json_each (policy, json_get(known, "policies")) {
            const char *name = json_string_or(policy, "name", "");
            found = found || str_eq(name, k->args[i]);
            if (n < COUNT_OF(names))
                names[n++] = name;
        }
        const char *nearest = found ? NULL : str_nearest(k->args[i], names, n);
        if (!found)
            return err_set(err, ERR_NOT_FOUND, "no policy \"%s\" is known for %s%s%s", k->args[i], point,
                           nearest ? "; did you mean " : "", nearest ? nearest : "");
    }
    return 0;
}

static cJSON *store_profile(struct kubectl *k, const cJSON *profile, struct err **err)
{
    auto_free char *path = client_path("policyprofiles.minik8s.io", "v1", NULL, "cluster", NULL);
    return kubectl_request(k, "PUT", path, NULL, NULL, profile, err);
}

/* A choice that cannot decide is taken out again: what was there before it stays in force. */
static int put_back(struct kubectl *k, const cJSON *before, struct err **err)
{
    auto_json now = policy_profile(k, err);
    if (!now)
        return -1;
    json_set(now, "spec", json_copy(json_get(before, "spec")));
    json_set(json_ensure_object(now, "metadata"), "annotations",
             json_copy(json_at(before, "metadata.annotations")));
    auto_json stored = store_profile(k, now, err);
    return stored ? 0 : -1;
}

int policy_put_profile(struct kubectl *k, const cJSON *profile, const cJSON *before, const char *point)
{
    auto_err err = NULL;
    auto_json stored = store_profile(k, profile, &err);
    if (!stored)
        return kubectl_fail(err, NULL);
    struct verdict verdict;
    auto_free char *field = mem_printf("spec.points[%s]", point);
    int result = wait_for_verdict(k, "policyprofiles.minik8s.io", stored, &verdict, &err);
    if (result == 0 && strstr(verdict.message, field)) {
        result = err_set(&err, ERR_INVALID, "not changed: %s", verdict.message);
        auto_err again = NULL;
        if (put_back(k, before, &again) < 0)
            fprintf(stderr, "error: the former choice could not be put back: %s\n", err_message(again));
    } else if (result == 0 && *verdict.message) {
        fprintf(stderr, "Warning: %s\n", verdict.message);
    }
    verdict_fini(&verdict);
    if (result < 0)
        return kubectl_refuse(err);
    printf("policyprofile.minik8s.io/cluster: %s changed\n", point);
    return 0;
}

/* Sets the policies of a point (NULL: the built-in default) and remembers what was there. */
int policy_choose(struct kubectl *k, cJSON *profile, const char *point, cJSON *policies)
{
    auto_json before = json_copy(profile);
    cJSON *points = json_ensure_array(json_ensure_object(profile, "spec"), "points");
    cJSON *entry = policy_point(points, point);
    auto_free char *previous = entry ? json_print(json_get(entry, "policies")) : mem_strdup("null");
    auto_free char *annotation = mem_printf(PREVIOUS_CHOICE "%s", point);
    auto_free char *since = mem_printf(CHOICE_TIME "%s", point);
    cJSON *annotations = json_ensure_object(json_ensure_object(profile, "metadata"), "annotations");
    json_set_string(annotations, annotation, previous);
    set_now(annotations, since);
    if (!entry) {
        entry = json_push(points, cJSON_CreateObject());
        json_set_string(entry, "point", point);
    }
    json_set(entry, "policies", policies ? policies : cJSON_CreateArray());
    return policy_put_profile(k, profile, before, point);
}

int policy_choose_in(struct kubectl *k, const char *namespace, const char *point, cJSON *policies)
{
    auto_err err = NULL;
    auto_json chosen = policies;
    auto_free char *own = client_path("policyprofiles.minik8s.io", "v1", NULL, namespace, NULL),
                   *all = client_path("policyprofiles.minik8s.io", "v1", NULL, NULL, NULL);
    if (str_eq(namespace, "cluster"))
        return kubectl_refuse_text("the profile named cluster is for all namespaces: leave -n out");
    auto_json profile = kubectl_request(k, "GET", own, NULL, NULL, NULL, NULL);
    bool exists = profile != NULL;
    if (!exists)
        profile = kubectl_object_new("minik8s.io/v1", "PolicyProfile", namespace);
    cJSON *spec = json_ensure_object(profile, "spec");
    if (!exists)
        json_push_string(json_ensure_array(spec, "namespaces"), namespace);
    cJSON *points = json_ensure_array(spec, "points"), *entry = policy_point(points, point);
    if (!entry) {
        entry = json_push(points, cJSON_CreateObject());
        json_set_string(entry, "point", point);
    }
    json_set(entry, "policies", json_copy(chosen));
    auto_json stored =
        kubectl_request(k, exists ? "PUT" : "POST", exists ? own : all, NULL, NULL, profile, &err);
    if (!stored)
        return kubectl_fail(err, NULL);
    struct verdict verdict;
    int result = wait_for_verdict(k, "policyprofiles.minik8s.io", stored, &verdict, &err);
    if (result == 0 && !str_empty(verdict.message))
        result = err_set(&err, ERR_INVALID, "it is stored, but: %s", verdict.message);
    verdict_fini(&verdict);
    if (result < 0)
        return kubectl_refuse(err);
    printf("policyprofile.minik8s.io/%s: %s changed for namespace %s\n", namespace, point, namespace);
    return 0;
}

static int use(struct kubectl *k)
{
    auto_err err = NULL;
    const char *point = k->args[1];
    auto_json profile = policy_profile(k, &err);
    if (!profile)
        return kubectl_fail(err, NULL);
    if (policy_check_names(k, profile, point, 2, &err) < 0)
        return kubectl_refuse(err);
    cJSON *policies = cJSON_CreateArray();
    if (str_ends(
            point,
            ".filter")) { /* a filter joins those that are active: leaving one out by accident lets pods in */
        json_each (policy, json_get(policy_point(json_at(profile, "status.points"), point), "policies")) {
            if (str_eq(json_string(policy, "state"), "Active"))
                json_set_string(json_push(policies, cJSON_CreateObject()), "name",
                                json_string(policy, "name"));
        }
    }
    for (int i = 2; i < k->n_args; i++) {
        bool there = false;
        json_each (policy, policies)
            there = there || str_eq(json_string(policy, "name"), k->args[i]);
        if (!there)
            json_set_string(json_push(policies, cJSON_CreateObject()), "name", k->args[i]);
    }
    if (k->flags.namespace)
        return policy_choose_in(k, k->flags.namespace, point, policies);
    return policy_choose(k, profile, point, policies);
}

/* The policy in use at the point whose text changed last, or NULL. */
static cJSON *last_changed(struct kubectl *k, const cJSON *profile, const char *point)
{
    cJSON *last = NULL;
    const char *when = "";
    json_each (known, json_get(policy_point(json_at(profile, "status.points"), point), "policies")) {
        if (!str_eq(json_string(known, "state"), "Active") || !str_eq(json_string(known, "from"), "object"))
            continue;
        auto_free char *path = policy_path(json_string_or(known, "name", ""));
        auto_json policy = kubectl_request(k, "GET", path, NULL, NULL, NULL, NULL);
        const cJSON *annotations = json_at(policy, "metadata.annotations");
        const char *until = cJSON_GetStringValue(json_get(annotations, SOURCE_TIME));
        if (!until || strcmp(until, when) <= 0)
            continue;
        cJSON_Delete(last);
        last = steal(&policy);
        when = until;
    }
    return last;
}

static int choose_previous(struct kubectl *k, cJSON *profile, const char *point, const char *choice)
{
    cJSON *previous = json_parse_trusted(choice, strlen(choice));
    if (!cJSON_IsArray(previous)) {
        cJSON_Delete(previous);
        previous = NULL;
    }
    return policy_choose(k, profile, point, previous);
}

/* Takes back the last change: that of the text of a policy in use, or that of the choice. */
static int rollback(struct kubectl *k)
{
    auto_err err = NULL;
    const char *point = k->args[1];
    auto_json profile = policy_profile(k, &err);
    if (!profile)
        return kubectl_fail(err, NULL);
    if (policy_check_names(k, profile, point, k->n_args, &err) < 0)
        return kubectl_refuse(err);
    auto_json policy = last_changed(k, profile, point);
    auto_free char *choice_name = mem_printf(PREVIOUS_CHOICE "%s", point);
    auto_free char *time_name = mem_printf(CHOICE_TIME "%s", point);
    const cJSON *of_policy = json_at(policy, "metadata.annotations"),
                *of_profile = json_at(profile, "metadata.annotations");
    const char *choice = cJSON_GetStringValue(json_get(of_profile, choice_name));
    const char *chosen = cJSON_GetStringValue(json_get(of_profile, time_name)),
               *changed = cJSON_GetStringValue(json_get(of_policy, SOURCE_TIME));
    if (changed && (!chosen || strcmp(changed, chosen) > 0)) {
        auto_free char *source = mem_strdup(cJSON_GetStringValue(json_get(of_policy, PREVIOUS_SOURCE)));
        auto_json back = make_policy(json_string(policy, "metadata.name"), source, policy, &err);
        return back ? put_policy(k, back, true) : kubectl_refuse(err);
    }
    if (choice)
        return choose_previous(k, profile, point, choice);
    err_set(&err, ERR_NOT_FOUND, "%s has nothing to go back to", point);
    return kubectl_refuse(err);
}

int verb_policy(struct kubectl *k)
{
    static const struct {
        const char *name;
        int n_args;
        int (*run)(struct kubectl *k);
    } verbs[] = {{"list", 1, list},
                 {"show", 2, show},
                 {"apply", 1, apply},
                 {"use", 3, use},
                 {"rollback", 2, rollback},
                 {"disable", 3, policy_disable},
                 {"settings", 3, policy_settings},
                 {"log", 1, policy_log},
                 {"test", 1, policy_test},
                 {"shadow", 2, policy_shadow},
                 {"diff", 1, policy_diff}};
    const char *word = k->n_args ? k->args[0] : "";
    const char *names[COUNT_OF(verbs)];
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        names[i] = verbs[i].name;
        if (str_eq(word, verbs[i].name) && k->n_args >= verbs[i].n_args)
            return verbs[i].run(k);
    }
    auto_err err = NULL;
    const char *nearest = str_nearest(word, names, COUNT_OF(verbs));
    err_set(&err, ERR_BAD_REQUEST,
            "usage: policy list | show NAME | apply -f FILE.lua | use POINT NAME… | rollback POINT | disable "
            "POINT NAME | settings POINT NAME [KEY=VALUE…] | log | test [FILE.lua] [--replay=1h] | shadow "
            "(FILE.lua | POINT NAME | POINT none) | diff (NAME | -f FILE.lua)%s%s",
            nearest && !str_eq(nearest, word) ? "; did you mean " : "",
            nearest && !str_eq(nearest, word) ? nearest : "");
    return kubectl_refuse(err);
}
