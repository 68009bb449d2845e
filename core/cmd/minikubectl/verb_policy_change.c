/* policy shadow | diff | disable | settings: changes of the profile, and what differs between two texts. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "policy.h"

static const cJSON *named(const cJSON *list, const char *name)
{
    json_each (entry, list) {
        if (str_eq(json_string(entry, "name"), name))
            return entry;
    }
    return NULL;
}

cJSON *policy_active(const cJSON *profile, const char *point)
{
    const cJSON *known = policy_point(json_at(profile, "status.points"), point);
    const cJSON *chosen = json_get(policy_point(json_at(profile, "spec.points"), point), "policies");
    cJSON *list = cJSON_CreateArray();
    json_each (policy, json_get(known, "policies")) {
        if (!str_eq(json_string(policy, "state"), "Active"))
            continue;
        const char *name = json_string(policy, "name");
        const cJSON *before = named(chosen, name), *weight = json_get(policy, "weight");
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
    auto_json profile = policy_profile(k, &err);
    if (!profile)
        return kubectl_fail(err, NULL);
    if (policy_check_names(k, profile, point, k->n_args, &err) < 0)
        return kubectl_refuse(err);
    auto_json before = json_copy(profile);
    cJSON *points = json_ensure_array(json_ensure_object(profile, "spec"), "points");
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
    int code = policy_put_profile(k, profile, before, point);
    json_each (name, code ? NULL : shadows)
        printf("%s decides at %s without effect; see: minikubectl policy log --point=%s\n", name->valuestring,
               point, point);
    return code;
}

/* shadow FILE.lua: joins those of its point | shadow POINT NAME… | shadow POINT none */
int policy_shadow(struct kubectl *k)
{
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

static char *read_source(struct kubectl *k, const char *name, cJSON **policy, struct err **err)
{
    auto_free char *path = policy_path(name);
    *policy = kubectl_request(k, "GET", path, NULL, NULL, NULL, err);
    return *policy ? mem_strdup(json_string_or(*policy, "spec.source", "")) : NULL;
}

static int diff_file(struct kubectl *k, const char *path)
{
    auto_err err = NULL;
    auto_json policy = NULL;
    auto_free char *source = NULL;
    if (file_read(path, POLICY_MAX, &source, NULL, &err) < 0)
        return kubectl_refuse(err);
    auto_free char *name = policy_field(source, "name");
    auto_free char *live = name ? read_source(k, name, &policy, &err) : NULL;
    if (!name)
        return kubectl_refuse_text("%s: name = \"…\" is missing", path);
    return live ? kubectl_print_diff(live, source, name, path) : kubectl_fail(err, NULL);
}

/* diff NAME: what its last change was; diff -f FILE.lua: what applying it would change. Exit code 1: they
 * differ. */
int policy_diff(struct kubectl *k)
{
    if (k->flags.n_files)
        return diff_file(k, k->flags.files[0]);
    if (k->n_args < 2)
        return kubectl_refuse_text("usage: policy diff NAME, or policy diff -f FILE.lua");
    auto_err err = NULL;
    auto_json policy = NULL;
    auto_free char *now = read_source(k, k->args[1], &policy, &err);
    if (!now)
        return kubectl_fail(err, NULL);
    const char *before =
        cJSON_GetStringValue(json_get(json_at(policy, "metadata.annotations"), PREVIOUS_SOURCE));
    if (!before)
        return kubectl_refuse_text("policy %s has not been changed since it was made", k->args[1]);
    return kubectl_print_diff(before, now, "before", "now");
}

/* ---- disable and settings ---- */

/* It stays in the list with its weight and settings, and is not asked. */
int policy_disable(struct kubectl *k)
{
    auto_err err = NULL;
    const char *point = k->args[1], *name = k->args[2];
    auto_json profile = policy_profile(k, &err);
    if (!profile)
        return kubectl_fail(err, NULL);
    if (policy_check_names(k, profile, point, 2, &err) < 0)
        return kubectl_refuse(err);
    auto_json list = policy_active(profile, point);
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
    return policy_choose(k, profile, point, steal(&list));
}

static cJSON *parse_value(const char *text)
{
    cJSON *value = json_parse(text, strlen(text), NULL);
    return value ? value : cJSON_CreateString(text);
}

static int show_settings(const cJSON *entry)
{
    auto_free char *text = json_print_pretty(json_get(entry, "settings"));
    printf("%s\n", json_get(entry, "settings") ? text : "{}");
    return 0;
}

/* settings POINT NAME [KEY=VALUE | KEY-]…: in the profile; they win over those of the file. */
int policy_settings(struct kubectl *k)
{
    auto_err err = NULL;
    const char *point = k->args[1], *name = k->args[2];
    auto_json profile = policy_profile(k, &err);
    if (!profile)
        return kubectl_fail(err, NULL);
    if (policy_check_names(k, profile, point, k->n_args, &err) < 0)
        return kubectl_refuse(err);
    auto_json list = policy_active(profile, point);
    cJSON *entry = NULL;
    json_each (policy, list)
        entry = str_eq(json_string(policy, "name"), name) ? policy : entry;
    if (!entry)
        return kubectl_refuse_text("%s does not decide at %s; see: minikubectl policy use", name, point);
    if (k->n_args == 3)
        return show_settings(entry);
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
    return policy_choose(k, profile, point, steal(&list));
}
