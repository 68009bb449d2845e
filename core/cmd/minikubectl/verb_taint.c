/* taint: KEY[=VALUE]:EFFECT sets a taint of nodes, KEY[:EFFECT]- removes it. */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

struct taint {
    char *key, *value, *effect; /* effect NULL: all (removal only) */
    bool removes;
};

static void taint_fini(struct taint *t)
{
    free(t->key);
    free(t->value);
    free(t->effect);
}

static int parse(const char *word, struct taint *t, struct err **err)
{
    static const char *const effects[] = {"NoSchedule", "PreferNoSchedule", "NoExecute"};
    size_t len = strlen(word);
    *t = (struct taint){.removes = word[len - 1] == '-'};
    auto_free char *plain = mem_strndup(word, len - t->removes);
    char *colon = strrchr(plain, ':'), *equals;
    if (colon)
        *colon = 0;
    equals = strchr(plain, '=');
    if (equals)
        *equals = 0;
    t->key = mem_strdup(plain);
    t->value = mem_strdup(equals ? equals + 1 : NULL);
    t->effect = mem_strdup(colon ? colon + 1 : NULL);
    const char *problem = str_check_label_key(t->key);
    if (!problem && t->value)
        problem = str_check_label_value(t->value);
    if (problem)
        return err_set(err, ERR_BAD_REQUEST, "invalid taint spec: %s, %s", word, problem);
    if (!t->effect)
        return t->removes ? 0
                          : err_set(err, ERR_BAD_REQUEST,
                                    "invalid taint spec: %s, KEY[=VALUE]:EFFECT is wanted, or KEY-", word);
    for (size_t i = 0; i < COUNT_OF(effects); i++)
        if (str_eq(effects[i], t->effect))
            return 0;
    const char *nearest = str_nearest(t->effect, effects, COUNT_OF(effects));
    return err_set(err, ERR_BAD_REQUEST, "invalid taint effect: %s, unsupported taint effect%s%s", t->effect,
                   nearest ? "; did you mean " : "", nearest ? nearest : "");
}

static bool matches(const cJSON *taint, const struct taint *t)
{
    return str_eq(json_string(taint, "key"), t->key) &&
           (!t->effect || str_eq(json_string(taint, "effect"), t->effect));
}

/* The node's taints after one change; false: refused. */
static bool change(struct kubectl *k, cJSON *taints, const struct taint *t, const char *node,
                   struct err **err)
{
    bool found = false;
    for (int i = cJSON_GetArraySize(taints) - 1; i >= 0; i--) {
        cJSON *taint = cJSON_GetArrayItem(taints, i);
        if (!matches(taint, t))
            continue;
        if (!t->removes && !k->flags.overwrite &&
            !str_eq(json_string_or(taint, "value", ""), t->value ? t->value : "")) {
            err_set(err, ERR_BAD_REQUEST,
                    "node %s already has %s taint(s) with same effect(s) and --overwrite is false", node,
                    t->key);
            return false;
        }
        found = true;
        cJSON_DeleteItemFromArray(taints, i);
    }
    if (t->removes && !found) {
        err_set(err, ERR_NOT_FOUND, "taint \"%s%s%s\" not found", t->key, t->effect ? ":" : "",
                t->effect ? t->effect : "");
        return false;
    }
    if (t->removes)
        return true;
    cJSON *taint = json_push(taints, cJSON_CreateObject());
    json_set_string(taint, "key", t->key);
    json_set_string(taint, "value", t->value);
    json_set_string(taint, "effect", t->effect);
    return true;
}

static int taint_node(struct kubectl *k, const cJSON *node, const struct taint *list, size_t count)
{
    auto_err err = NULL;
    const char *name = json_string_or(node, "metadata.name", "");
    const cJSON *before = json_at(node, "spec.taints");
    auto_json patch = cJSON_CreateObject();
    cJSON *taints = json_set(json_ensure_object(patch, "spec"), "taints",
                             before ? json_copy(before) : cJSON_CreateArray());
    bool removes = true;
    for (size_t i = 0; i < count; i++) {
        removes &= list[i].removes;
        if (!change(k, taints, &list[i], name, &err))
            return kubectl_refuse(err);
    }
    /* what was read is what is changed: a change in between is a conflict, not lost */
    json_set_string(json_ensure_object(patch, "metadata"), "resourceVersion",
                    json_string(node, "metadata.resourceVersion"));
    const struct kubectl_reference ref = kubectl_reference_of(k, node);
    return kubectl_patch_and_tell(k, &ref, "application/merge-patch+json", patch,
                                  removes ? "untainted" : "tainted");
}

static bool is_taint(const char *word)
{
    return strchr(word, ':') || strchr(word, '=') || str_ends(word, "-");
}

static int taint_all(struct kubectl *k, int first, const struct taint *list, size_t count)
{
    auto_err err = NULL;
    auto_free struct kubectl_reference *refs = NULL;
    size_t n;
    int code = 0, all_args = k->n_args;
    k->n_args = first;
    int found = kubectl_references(k, 0, &refs, &n, &err);
    k->n_args = all_args;
    if (found < 0)
        return kubectl_refuse(err);
    if (!str_eq(refs[0].resource->name, "nodes"))
        return kubectl_refuse_text("invalid resource type %s, only node(s) is supported",
                                   refs[0].resource->plural);
    if (!refs[0].name && !k->flags.all && !k->flags.selector)
        return kubectl_refuse_text(
            "at least one resource name must be specified since '--all' parameter is not set");
    auto_json nodes = kubectl_read_all(k, refs, n, &code, &err);
    if (!nodes)
        return kubectl_fail(err, NULL);
    json_each (node, nodes)
        code |= taint_node(k, node, list, count);
    return code;
}

int verb_taint(struct kubectl *k)
{
    auto_err err = NULL;
    int first = 0, code = 0;
    while (first < k->n_args && !is_taint(k->args[first]))
        first++;
    if (first == 0 || first == k->n_args)
        return kubectl_refuse_text(
            "at least one taint update is required: taint node NODE… KEY[=VALUE]:EFFECT… KEY-…");
    size_t count = (size_t)(k->n_args - first);
    auto_free struct taint *list = mem_array(count, sizeof(*list));
    for (size_t i = 0; i < count && !err; i++)
        parse(k->args[first + (int)i], &list[i], &err);
    code = err ? kubectl_refuse(err) : taint_all(k, first, list, count);
    for (size_t i = 0; i < count; i++)
        taint_fini(&list[i]);
    return code;
}
