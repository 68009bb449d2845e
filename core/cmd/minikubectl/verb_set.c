/* set: image, env, resources, serviceaccount of what runs pods, selector of a Service; each a patch. */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

#define STRATEGIC "application/strategic-merge-patch+json"
#define MERGE "application/merge-patch+json"

struct setting {
    const char *name;
    const char *word;                    /* "image updated" */
    bool (*is_change)(const char *word); /* an argument that is no resource; NULL: there are none */
    /* The patch for an object, whose pod is at `path` ("spec.template.spec."); NULL with err, or without:
     * told, nothing to do. first: of the changes. */
    cJSON *(*patch)(struct kubectl *k, const cJSON *object, const char *path, int first, struct err **err);
};

static const char *pod_path(const cJSON *object)
{
    const char *kind = json_string_or(object, "kind", "");
    return str_eq(kind, "Pod")       ? "spec"
           : str_eq(kind, "CronJob") ? "spec.jobTemplate.spec.template.spec"
                                     : "spec.template.spec";
}

static cJSON *containers_of(const cJSON *object, const char *path)
{
    auto_free char *at = mem_printf("%s.containers", path);
    return json_at(object, at);
}

static cJSON *patch_containers(cJSON *patch, const char *path)
{
    auto_free char *at = mem_printf("%s.containers", path);
    return json_set_at(patch, at, cJSON_CreateArray());
}

/* -c: a name, "*" or a pattern with one "*" at an end. */
static bool is_meant(struct kubectl *k, const char *name)
{
    const char *wanted = k->flags.containers;
    if (!wanted || str_eq(wanted, "*"))
        return true;
    size_t len = strlen(wanted);
    if (wanted[len - 1] == '*')
        return strncmp(wanted, name, len - 1) == 0;
    return *wanted == '*' ? str_ends(name, wanted + 1) : str_eq(wanted, name);
}

/* The member becomes this in every container that is meant; false: there is none. */
static bool patch_meant(struct kubectl *k, cJSON *patch, const cJSON *object, const char *path,
                        const char *member, const cJSON *value)
{
    cJSON *containers = patch_containers(patch, path);
    json_each (container, containers_of(object, path)) {
        const char *name = json_string_or(container, "name", "");
        if (!is_meant(k, name))
            continue;
        cJSON *changed = json_push(containers, cJSON_CreateObject());
        json_set_string(changed, "name", name);
        json_set(changed, member, json_copy(value));
    }
    return containers->child != NULL;
}

static bool is_pair(const char *word)
{
    return strchr(word, '=') != NULL;
}

/* ---- image ---- */

static bool has_container(const cJSON *containers, const char *name)
{
    json_each (container, containers) {
        if (str_eq(json_string(container, "name"), name))
            return true;
    }
    return false;
}

static cJSON *image_patch(struct kubectl *k, const cJSON *object, const char *path, int first,
                          struct err **err)
{
    const cJSON *present = containers_of(object, path);
    auto_json patch = cJSON_CreateObject();
    cJSON *containers = patch_containers(patch, path);
    for (int i = first; i < k->n_args; i++) {
        const char *equals = strchr(k->args[i], '=');
        auto_free char *name = mem_strndup(k->args[i], (size_t)(equals - k->args[i]));
        if (!*name || !equals[1]) {
            err_set(err, ERR_BAD_REQUEST, "\"%s\": CONTAINER=IMAGE is wanted", k->args[i]);
            return NULL;
        }
        if (!str_eq(name, "*") && !has_container(present, name)) {
            err_set(err, ERR_NOT_FOUND, "unable to find container named \"%s\"", name);
            return NULL;
        }
        json_each (container, present) {
            const char *here = json_string(container, "name");
            if (!str_eq(name, "*") && !str_eq(name, here))
                continue;
            cJSON *changed = json_push(containers, cJSON_CreateObject());
            json_set_string(changed, "name", here);
            json_set_string(changed, "image", equals + 1);
        }
    }
    return steal(&patch);
}

/* ---- env ---- */

static bool is_env(const char *word)
{
    return is_pair(word) || (str_ends(word, "-") && word[1]);
}

static int set_env(cJSON *env, const char *word, struct err **err)
{
    const char *equals = strchr(word, '=');
    auto_free char *name = mem_strndup(word, equals ? (size_t)(equals - word) : strlen(word) - 1);
    if (!*name ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != strlen(name))
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is not a valid name of an environment variable", name);
    cJSON *entry = json_push(env, cJSON_CreateObject());
    json_set_string(entry, "name", name);
    if (equals)
        json_set_string(entry, "value", equals + 1);
    else
        json_set_string(entry, "$patch", "delete");
    if (equals)
        json_set(entry, "valueFrom", cJSON_CreateNull());
    return 0;
}

/* Every key of a ConfigMap or Secret as a variable of its own. */
static int add_from(struct kubectl *k, cJSON *env, struct err **err)
{
    const char *slash = strchr(k->flags.from, '/');
    auto_free char *kind = mem_strndup(k->flags.from, slash ? (size_t)(slash - k->flags.from) : 0);
    const struct kubectl_resource *resource = slash ? kubectl_find_resource(k, kind, err) : NULL;
    if (!resource)
        return *err ? -1 : err_set(err, ERR_BAD_REQUEST, "--from wants configmap/NAME or secret/NAME");
    bool secret = str_eq(resource->name, "secrets");
    if (!secret && !str_eq(resource->name, "configmaps"))
        return err_set(err, ERR_BAD_REQUEST, "unsupported resource specified in --from: %s", kind);
    auto_free char *target = kubectl_target(k, resource, NULL, slash + 1, NULL);
    auto_json source = kubectl_request(k, "GET", target, NULL, NULL, NULL, err);
    if (!source)
        return -1;
    json_each (key, json_get(source, "data")) {
        auto_str name = {0};
        for (const char *c = key->string; *c; c++)
            str_add_char(&name, *c >= 'a' && *c <= 'z'                                 ? (char)(*c - 32)
                                : (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ? *c
                                                                                       : '_');
        auto_free char *full =
            mem_printf("%s%s", k->flags.prefix_text ? k->flags.prefix_text : "", str_c(&name));
        cJSON *entry = json_push(env, cJSON_CreateObject());
        json_set_string(entry, "name", full);
        cJSON *reference = json_ensure_object(json_ensure_object(entry, "valueFrom"),
                                              secret ? "secretKeyRef" : "configMapKeyRef");
        json_set_string(reference, "name", slash + 1);
        json_set_string(reference, "key", key->string);
    }
    return 0;
}

static void list_env(const cJSON *object, const char *path)
{
    json_each (container, containers_of(object, path)) {
        printf("# %s/%s, container %s\n", json_string_or(object, "kind", ""),
               json_string_or(object, "metadata.name", ""), json_string_or(container, "name", ""));
        json_each (env, json_get(container, "env")) {
            const char *secret = json_string(env, "valueFrom.secretKeyRef.name"),
                       *map = json_string(env, "valueFrom.configMapKeyRef.name"),
                       *field = json_string(env, "valueFrom.fieldRef.fieldPath");
            const char *name = json_string_or(env, "name", "");
            if (secret || map)
                printf("# %s from %s %s, key %s\n", name, secret ? "secret" : "configmap",
                       secret ? secret : map,
                       json_string_or(
                           env, secret ? "valueFrom.secretKeyRef.key" : "valueFrom.configMapKeyRef.key", ""));
            else if (field)
                printf("# %s from field path %s\n", name, field);
            else
                printf("%s=%s\n", name, json_string_or(env, "value", ""));
        }
    }
}

static cJSON *env_patch(struct kubectl *k, const cJSON *object, const char *path, int first, struct err **err)
{
    if (k->flags.list) {
        list_env(object, path);
        return NULL;
    }
    auto_json patch = cJSON_CreateObject();
    auto_json env = cJSON_CreateArray();
    for (int i = first; i < k->n_args; i++)
        if (set_env(env, k->args[i], err) < 0)
            return NULL;
    for (size_t i = 0; i < k->flags.n_env; i++)
        if (set_env(env, k->flags.env[i], err) < 0)
            return NULL;
    if (k->flags.from && add_from(k, env, err) < 0)
        return NULL;
    if (!env->child) {
        err_set(err, ERR_BAD_REQUEST,
                "at least one environment variable must be provided: NAME=VALUE or NAME-");
        return NULL;
    }
    patch_meant(k, patch, object, path, "env", env);
    return steal(&patch);
}

/* ---- resources ---- */

/* "cpu=1,memory=1Gi"; 0 removes. */
static int add_quantities(cJSON *resources, const char *member, const char *list, struct err **err)
{
    if (!list)
        return 0;
    auto_free char **pairs = str_split(list, ',', NULL);
    for (size_t i = 0; pairs[i]; i++) {
        char *equals = strchr(pairs[i], '=');
        if (!equals || equals == pairs[i] || !equals[1])
            return err_set(err, ERR_BAD_REQUEST,
                           "--%s: \"%s\": NAME=QUANTITY is wanted, e.g. cpu=200m,memory=64Mi", member,
                           pairs[i]);
        *equals = 0;
        cJSON *values = json_ensure_object(resources, member);
        if (str_eq(equals + 1, "0"))
            json_set(values, pairs[i], cJSON_CreateNull());
        else
            json_set_string(values, pairs[i], equals + 1);
    }
    return 0;
}

static cJSON *resources_patch(struct kubectl *k, const cJSON *object, const char *path, int first UNUSED,
                              struct err **err)
{
    auto_json patch = cJSON_CreateObject();
    auto_json resources = cJSON_CreateObject();
    if (add_quantities(resources, "limits", k->flags.limits, err) < 0 ||
        add_quantities(resources, "requests", k->flags.requests, err) < 0)
        return NULL;
    if (!resources->child) {
        err_set(err, ERR_BAD_REQUEST,
                "you must specify an update to requests or limits (in the form of "
                "--requests/--limits)");
        return NULL;
    }
    if (patch_meant(k, patch, object, path, "resources", resources))
        return steal(&patch);
    err_set(err, ERR_NOT_FOUND, "unable to find container named \"%s\"", k->flags.containers);
    return NULL;
}

/* ---- serviceaccount, selector ---- */

static bool is_anything(const char *word UNUSED)
{
    return true;
}

static cJSON *account_patch(struct kubectl *k, const cJSON *object UNUSED, const char *path, int first,
                            struct err **err UNUSED)
{
    cJSON *patch = cJSON_CreateObject();
    auto_free char *at = mem_printf("%s.serviceAccountName", path);
    json_set_at(patch, at, cJSON_CreateString(k->args[first]));
    return patch;
}

/* The whole selector anew, as kubectl does. */
static cJSON *selector_patch(struct kubectl *k, const cJSON *object, const char *path UNUSED, int first,
                             struct err **err)
{
    auto_json patch = cJSON_CreateObject();
    if (!str_eq(json_string(object, "kind"), "Service")) {
        err_set(err, ERR_BAD_REQUEST, "setting a selector is only supported for Services");
        return NULL;
    }
    cJSON *selector = json_set_at(patch, "spec.selector", cJSON_CreateObject());
    json_each (old, json_at(object, "spec.selector"))
        json_set(selector, old->string, cJSON_CreateNull());
    auto_free char **pairs = str_split(k->args[first], ',', NULL);
    for (size_t i = 0; pairs[i]; i++) {
        char *equals = strchr(pairs[i], '=');
        if (!equals) {
            err_set(err, ERR_BAD_REQUEST, "\"%s\": KEY=VALUE is wanted", pairs[i]);
            return NULL;
        }
        *equals = 0;
        json_set_string(selector, pairs[i], equals + 1);
    }
    return steal(&patch);
}

static const struct setting settings[] = {
    {"image", "image updated", is_pair, image_patch},
    {"env", "env updated", is_env, env_patch},
    {"resources", "resource requirements updated", NULL, resources_patch},
    {"serviceaccount", "serviceaccount updated", is_anything, account_patch},
    {"selector", "selector updated", is_pair, selector_patch},
};

/* Where the changes begin among the arguments; the resources stand before. */
static int first_change(struct kubectl *k, const struct setting *setting)
{
    if (!setting->is_change)
        return k->n_args;
    if (setting->is_change == is_anything)
        return k->n_args - 1;
    int first = 1;
    while (first < k->n_args && !setting->is_change(k->args[first]))
        first++;
    return first;
}

static int set_one(struct kubectl *k, const struct setting *setting, const cJSON *object, int first)
{
    auto_err err = NULL;
    const struct kubectl_reference ref = kubectl_reference_of(k, object);
    bool service = setting->patch == selector_patch;
    const char *path = pod_path(object);
    if (!service && !containers_of(object, path))
        return kubectl_refuse_text("%s/%s has no containers", ref.resource->singular, ref.name);
    auto_json patch = setting->patch(k, object, path, first, &err);
    if (!patch)
        return err ? kubectl_refuse(err) : 0;
    return kubectl_patch(k, &ref, NULL, service ? MERGE : STRATEGIC, patch, object, setting->word);
}

static int set_all(struct kubectl *k, const struct setting *setting)
{
    auto_err err = NULL;
    int first = first_change(k, setting), n_args = k->n_args, code = 0;
    auto_free struct kubectl_reference *refs = NULL;
    size_t count;
    k->n_args = first;
    int found = kubectl_references(k, 1, &refs, &count, &err);
    k->n_args = n_args;
    if (found < 0)
        return kubectl_refuse(err);
    bool needs = setting->is_change && !k->flags.list && !k->flags.n_env && !k->flags.from;
    if (needs && first == n_args)
        return kubectl_refuse_text("at least one %s update is required", setting->name);
    if (!refs[0].name && !k->flags.all && !k->flags.selector)
        return kubectl_refuse_text("resource(s) were provided, but no name was specified");
    auto_json objects = kubectl_read_all(k, refs, count, &code, &err);
    if (!objects)
        return kubectl_fail(err, NULL);
    json_each (object, objects)
        code |= set_one(k, setting, object, first);
    return code;
}

int verb_set(struct kubectl *k)
{
    const char *names[COUNT_OF(settings)], *word = k->n_args ? k->args[0] : "";
    if (str_eq(word, "sa"))
        word = "serviceaccount";
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        names[i] = settings[i].name;
        if (str_eq(word, names[i]))
            return set_all(k, &settings[i]);
    }
    const char *nearest = str_nearest(word, names, COUNT_OF(settings));
    return kubectl_refuse_text(
        "usage: set (image | env | resources | serviceaccount | selector) KIND/NAME …%s%s",
        nearest ? "; did you mean " : "", nearest ? nearest : "");
}
