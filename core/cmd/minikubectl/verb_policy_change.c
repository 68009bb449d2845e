/* policy use | rollback | shadow | disable | settings: changes of the profile; diff: what differs between two
 * texts. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "policy.h"

/* ---- use ---- */

/* "spread=10" → its name and 10; without a weight -1. Caller frees. */
static char *split_weight(const char *word, long long *weight, struct err **err)
{
    const char *equals = strchr(word, '=');
    *weight = -1;
    if (equals && (str_to_int64(equals + 1, weight) < 0 || *weight < 0 || *weight > 1000)) {
        err_set(err, ERR_BAD_REQUEST, "%s: a weight is a whole number from 0 to 1000", word);
        return NULL;
    }
    return equals ? mem_strndup(word, (size_t)(equals - word)) : mem_strdup(word);
}

/* One that decides already keeps its weight, mode and settings. */
static cJSON *place(cJSON *list, const cJSON *active, const char *name, long long weight)
{
    const cJSON *before = policy_named(active, name);
    cJSON *entry = policy_named(list, name);
    if (!entry)
        entry = json_push(list, before ? json_copy(before) : cJSON_CreateObject());
    json_set_string(entry, "name", name);
    if (str_eq(json_string(entry, "mode"), "Disabled"))
        json_remove(entry, "mode");
    if (weight >= 0)
        json_set_int(entry, "weight", weight);
    return entry;
}

/* use POINT NAME[=WEIGHT]… | use POINT default */
int policy_use(struct kubectl *k)
{
    auto_err err = NULL;
    auto_profiles profiles;
    const char *point = k->args[1];
    if (policy_load(k, &profiles) != 0)
        return 1;
    if (policy_check_point(&profiles, point, &err) < 0)
        return kubectl_refuse(err);
    const cJSON *status = policy_status(&profiles, point);
    const char *shape = json_string_or(status, "shape", "");
    if (k->n_args == 3 && str_eq(k->args[2], "default") &&
        !policy_named(json_get(status, "policies"), "default"))
        return policy_choose(k, &profiles, point, NULL);
    auto_json active = policy_active(&profiles, point);
    /* a filter joins those that are active: leaving one out by accident lets pods in */
    auto_json list = str_eq(shape, "filter") ? json_copy(active) : cJSON_CreateArray();
    for (int i = 2; i < k->n_args; i++) {
        long long weight;
        auto_free char *name = split_weight(k->args[i], &weight, &err);
        if (!name || policy_check_name(k, &profiles, point, name, &err) < 0)
            return kubectl_refuse(err);
        if (weight >= 0 && !str_eq(shape, "score") && !str_eq(shape, "order"))
            return kubectl_refuse_text("%s: policies of %s have no weight", k->args[i], point);
        place(list, active, name, weight);
    }
    return policy_choose(k, &profiles, point, steal(&list));
}

/* ---- rollback ---- */

/* The policy in use at the point whose text changed last, or NULL. */
static cJSON *last_changed(struct kubectl *k, const struct policy_profiles *profiles, const char *point)
{
    cJSON *last = NULL;
    const char *when = "";
    json_each (known, json_get(policy_status(profiles, point), "policies")) {
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

static int rollback_text(struct kubectl *k, const cJSON *policy)
{
    auto_err err = NULL;
    const char *name = json_string_or(policy, "metadata.name", "");
    const char *source =
        cJSON_GetStringValue(json_get(json_at(policy, "metadata.annotations"), PREVIOUS_SOURCE));
    if (k->flags.namespace)
        return kubectl_refuse_text("the text of a policy is the whole cluster's: leave -n out");
    if (!source)
        return kubectl_refuse_text("policy %s has not been changed since it was made", name);
    auto_json back = policy_make(name, source, policy, &err);
    return back ? policy_put(k, back, true) : kubectl_refuse(err);
}

/* rollback NAME: the last change of that policy's text. rollback POINT: the last change there, that of the
 * text of a policy in use or that of the choice; in a namespace its choice only, because a text is
 * everybody's. */
int policy_rollback(struct kubectl *k)
{
    auto_err err = NULL;
    auto_profiles profiles;
    const char *point = k->args[1];
    if (policy_load(k, &profiles) != 0)
        return 1;
    if (policy_check_point(&profiles, point, &err) < 0) {
        auto_free char *path = policy_path(point);
        auto_json named = kubectl_request(k, "GET", path, NULL, NULL, NULL, NULL);
        return named ? rollback_text(k, named) : kubectl_refuse(err);
    }
    auto_json policy = profiles.namespace ? NULL : last_changed(k, &profiles, point);
    auto_free char *choice_name = mem_printf(PREVIOUS_CHOICE "%s", point);
    auto_free char *time_name = mem_printf(CHOICE_TIME "%s", point);
    const cJSON *of_policy = json_at(policy, "metadata.annotations"),
                *of_profile = json_at(profiles.own, "metadata.annotations");
    const char *choice = cJSON_GetStringValue(json_get(of_profile, choice_name));
    const char *chosen = cJSON_GetStringValue(json_get(of_profile, time_name)),
               *changed = cJSON_GetStringValue(json_get(of_policy, SOURCE_TIME));
    if (changed && (!chosen || strcmp(changed, chosen) > 0))
        return rollback_text(k, policy);
    if (!choice)
        return kubectl_refuse_text("%s has nothing to go back to%s%s", point,
                                   profiles.namespace ? " in namespace " : "",
                                   profiles.namespace ? profiles.namespace : "");
    auto_json previous = json_parse_trusted(choice, strlen(choice));
    return policy_choose(k, &profiles, point, cJSON_IsArray(previous) ? steal(&previous) : NULL);
}

/* ---- shadow ---- */

/* Those that decide beside at the point now, each with its place in the profile. */
static cJSON *shadows_of(const cJSON *entry)
{
    cJSON *names = json_get(entry, "shadows") ? json_copy(json_get(entry, "shadows")) : cJSON_CreateArray();
    if (json_string(entry, "shadow"))
        json_push_string(names, json_string(entry, "shadow"));
    return names;
}

static void add_shadow(cJSON *names, const char *name)
{
    json_each (known, names) {
        if (str_eq(cJSON_GetStringValue(known), name))
            return;
    }
    json_push_string(names, name);
}

/* names: instead of those of now; join: beside them. */
static int set_shadows(struct kubectl *k, const char *point, char *const *names, int count, bool join)
{
    auto_err err = NULL;
    auto_profiles profiles;
    if (policy_load(k, &profiles) != 0)
        return 1;
    if (policy_check_point(&profiles, point, &err) < 0)
        return kubectl_refuse(err);
    for (int i = 0; i < count; i++)
        if (policy_check_name(k, &profiles, point, names[i], &err) < 0)
            return kubectl_refuse(err);
    auto_json before = json_copy(profiles.own);
    cJSON *points = json_ensure_array(json_ensure_object(profiles.own, "spec"), "points");
    cJSON *entry = policy_point(points, point);
    if (!entry) {
        entry = json_push(points, cJSON_CreateObject());
        json_set_string(entry, "point", point);
        json_set(entry, "policies", cJSON_CreateArray());
    }
    auto_json shadows = join ? shadows_of(entry) : cJSON_CreateArray();
    for (int i = 0; i < count; i++)
        add_shadow(shadows, names[i]);
    json_remove(entry, "shadow");
    json_remove(entry, "shadows");
    if (shadows->child)
        json_set(entry, "shadows", json_copy(shadows));
    int code = policy_put_profile(k, &profiles, before, point);
    json_each (name, code ? NULL : shadows)
        printf("%s decides at %s without effect; see: minikubectl policy log --point=%s\n", name->valuestring,
               point, point);
    return code;
}

/* shadow FILE.lua: joins those of its point | shadow POINT NAME… | shadow POINT none */
int policy_shadow(struct kubectl *k)
{
    if (k->flags.namespace)
        return kubectl_refuse_text("policies decide beside in the whole cluster: leave -n out");
    if (k->n_args > 2) {
        bool none = k->n_args == 3 && str_eq(k->args[2], "none");
        return set_shadows(k, k->args[1], k->args + 2, none ? 0 : k->n_args - 2, false);
    }
    auto_err err = NULL;
    const char *path = k->args[1];
    auto_free char *source = NULL;
    if (file_read(path, POLICY_MAX, &source, NULL, &err) < 0)
        return kubectl_refuse(err);
    auto_free char *name = policy_field(source, "name"), *point = policy_field(source, "point");
    int code = policy_apply_file(k, path);
    return code ? code : set_shadows(k, point, (char *const[]){name}, 1, true);
}

/* ---- diff ---- */

/* diff -f FILE.lua: what applying it would change. A policy that is not there yet is new as a whole. */
static int diff_file(struct kubectl *k, const char *path)
{
    auto_err err = NULL;
    auto_free char *source = NULL;
    if (file_read(path, POLICY_MAX, &source, NULL, &err) < 0)
        return kubectl_refuse(err);
    auto_free char *name = policy_field(source, "name");
    if (!name)
        return kubectl_refuse_text("%s: name = \"…\" is missing", path);
    auto_free char *object = policy_path(name);
    auto_json policy = kubectl_request(k, "GET", object, NULL, NULL, NULL, &err);
    if (policy)
        return kubectl_print_diff(json_string_or(policy, "spec.source", ""), source, name, path);
    if (err_code(err) != ERR_NOT_FOUND)
        return kubectl_fail(err, NULL);
    auto_err unknown = NULL;
    auto_json known = policy_known(k, name, &unknown);
    if (!known && err_code(unknown) != ERR_INVALID)
        return kubectl_fail(unknown, NULL);
    auto_free char *label =
        known ? mem_printf("%s (%s)", name, json_string_or(known, "from", "")) : mem_strdup("nothing");
    return kubectl_print_diff(json_string_or(known, "source", ""), source, label, path);
}

/* diff NAME: what its last change was; diff -f FILE.lua: what applying it would change. Exit code 1: they
 * differ. */
int policy_diff(struct kubectl *k)
{
    if (k->flags.n_files + (size_t)k->n_args != 2)
        return kubectl_refuse_text("usage: policy diff NAME, or policy diff -f FILE.lua");
    if (k->flags.n_files)
        return diff_file(k, k->flags.files[0]);
    auto_err err = NULL;
    const char *name = k->args[1];
    auto_free char *path = policy_path(name);
    auto_json policy = kubectl_request(k, "GET", path, NULL, NULL, NULL, &err);
    if (!policy) {
        auto_json known = err_code(err) == ERR_NOT_FOUND ? policy_known(k, name, NULL) : NULL;
        return known ? kubectl_refuse_text("policy %s is no object that is changed here, it is from: %s",
                                           name, json_string_or(known, "from", "?"))
                     : kubectl_fail(err, NULL);
    }
    const char *before =
        cJSON_GetStringValue(json_get(json_at(policy, "metadata.annotations"), PREVIOUS_SOURCE));
    if (!before)
        return kubectl_refuse_text("policy %s has not been changed since it was made", name);
    return kubectl_print_diff(before, json_string_or(policy, "spec.source", ""), "before", "now");
}

/* ---- disable and settings ---- */

/* It stays in the list with its weight and settings, and is not asked. */
int policy_disable(struct kubectl *k)
{
    auto_err err = NULL;
    const char *point = k->args[1], *name = k->args[2];
    auto_profiles profiles;
    if (policy_load(k, &profiles) != 0)
        return 1;
    if (policy_check_point(&profiles, point, &err) < 0 ||
        policy_check_name(k, &profiles, point, name, &err) < 0)
        return kubectl_refuse(err);
    auto_json list = policy_active(&profiles, point);
    int left = 0;
    bool found = false;
    json_each (entry, list) {
        bool asked = !str_eq(json_string(entry, "mode"), "Disabled");
        if (asked && str_eq(json_string(entry, "name"), name)) {
            json_set_string(entry, "mode", "Disabled");
            found = true;
        } else {
            left += asked;
        }
    }
    if (!found)
        return kubectl_refuse_text("%s does not decide at %s", name, point);
    if (!left)
        return kubectl_refuse_text("%s is the only one that decides at %s; another one: minikubectl policy "
                                   "use %s NAME",
                                   name, point, point);
    return policy_choose(k, &profiles, point, steal(&list));
}

static cJSON *parse_value(const char *text)
{
    cJSON *value = json_parse(text, strlen(text), NULL);
    return value ? value : cJSON_CreateString(text);
}

/* As they are in force: what the file declares, with what the object and the profile say. */
static int show_settings(const struct policy_profiles *profiles, const char *point, const char *name)
{
    const cJSON *entry = policy_named(json_get(policy_status(profiles, point), "policies"), name),
                *settings = json_get(entry, "settings");
    auto_json none = cJSON_CreateObject();
    return policy_print_json(settings ? settings : none);
}

/* settings POINT NAME [KEY=VALUE | KEY-]…: in the profile; they win over those of the file. */
int policy_settings(struct kubectl *k)
{
    auto_err err = NULL;
    auto_profiles profiles;
    const char *point = k->args[1], *name = k->args[2];
    if (policy_load(k, &profiles) != 0)
        return 1;
    if (policy_check_point(&profiles, point, &err) < 0 ||
        policy_check_name(k, &profiles, point, name, &err) < 0)
        return kubectl_refuse(err);
    auto_json list = policy_active(&profiles, point);
    cJSON *entry = policy_named(list, name);
    if (!entry)
        return kubectl_refuse_text("%s does not decide at %s; see: minikubectl policy use", name, point);
    if (k->n_args == 3)
        return show_settings(&profiles, point, name);
    for (int i = 3; i < k->n_args; i++) {
        const char *equals = strchr(k->args[i], '=');
        size_t len = strlen(k->args[i]);
        if (!equals && (len < 2 || k->args[i][len - 1] != '-'))
            return kubectl_refuse_text("%s: KEY=VALUE sets, KEY- goes back to the file's", k->args[i]);
        auto_free char *key = mem_strndup(k->args[i], equals ? (size_t)(equals - k->args[i]) : len - 1);
        cJSON *settings = json_ensure_object(entry, "settings");
        if (equals)
            json_set(settings, key, parse_value(equals + 1));
        else
            json_remove(settings, key);
    }
    return policy_choose(k, &profiles, point, steal(&list));
}
