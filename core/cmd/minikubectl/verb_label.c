/* label and annotate: KEY=VALUE sets, KEY- removes; a value that is there is replaced with --overwrite only.
 */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

struct change {
    const char *member;      /* "labels" */
    const char *singular;    /* "label" */
    const char *set, *unset; /* "labeled", "unlabeled" */
    int first;               /* the first KEY=VALUE among the arguments */
};

static bool is_change(const char *word)
{
    return strchr(word, '=') || str_ends(word, "-");
}

/* The merge patch for one object, or NULL if nothing would change; tells why keys stay as they are. */
static cJSON *patch_for(struct kubectl *k, const struct change *change, const cJSON *object, bool *removes,
                        struct err **err)
{
    const cJSON *present = json_get(json_get(object, "metadata"), change->member);
    auto_json patch = cJSON_CreateObject();
    cJSON *pairs = json_ensure_object(json_ensure_object(patch, "metadata"), change->member);
    *removes = true;
    for (int i = change->first; i < k->n_args; i++) {
        const char *word = k->args[i], *equals = strchr(word, '=');
        auto_free char *key = mem_strndup(word, equals ? (size_t)(equals - word) : strlen(word) - 1);
        const char *now = cJSON_GetStringValue(json_get(present, key));
        if (!equals) {
            if (now)
                json_set(pairs, key, cJSON_CreateNull());
            else
                printf("%s \"%s\" not found.\n", change->singular, key);
            continue;
        }
        *removes = false;
        if (str_eq(now, equals + 1))
            continue;
        if (now && !k->flags.overwrite) {
            err_set(err, ERR_BAD_REQUEST, "'%s' already has a value (%s), and --overwrite is false", key,
                    now);
            return NULL;
        }
        json_set_string(pairs, key, equals + 1);
    }
    return pairs->child ? steal(&patch) : NULL;
}

static void list_pairs(const struct change *change, const cJSON *object)
{
    json_each (pair, json_get(json_get(object, "metadata"), change->member))
        printf("%s=%s\n", pair->string, cJSON_GetStringValue(pair));
}

static int change_one(struct kubectl *k, const struct change *change, const cJSON *object)
{
    auto_err err = NULL;
    bool removes;
    const struct kubectl_reference ref = kubectl_reference_of(k, object);
    auto_json patch = patch_for(k, change, object, &removes, &err);
    if (err)
        return kubectl_refuse(err);
    int code = 0;
    if (patch) {
        code = kubectl_patch_and_tell(k, &ref, "application/merge-patch+json", patch,
                                      removes ? change->unset : change->set);
    } else if (change->first < k->n_args) {
        auto_free char *name = kubectl_display_name(k, object);
        printf("%s not %s\n", name, change->set);
    }
    if (k->flags.list)
        list_pairs(change, object);
    return code;
}

static int change_all(struct kubectl *k, struct change *change)
{
    auto_err err = NULL;
    int n = k->n_args, code = 0;
    while (change->first < n && !is_change(k->args[change->first]))
        change->first++;
    for (int i = change->first; i < n; i++)
        if (!is_change(k->args[i]))
            return kubectl_refuse_text("\"%s\": all resources must be specified before %s changes",
                                       k->args[i], change->singular);
    auto_free struct kubectl_reference *refs = NULL;
    size_t count;
    k->n_args = change->first;
    int found = kubectl_references(k, 0, &refs, &count, &err);
    k->n_args = n;
    if (found < 0)
        return kubectl_refuse(err);
    if (change->first == n && !k->flags.list)
        return kubectl_refuse_text("at least one %s update is required: KEY=VALUE or KEY-", change->singular);
    if (!refs[0].name && !k->flags.all && !k->flags.selector && !k->flags.field_selector)
        return kubectl_refuse_text("resource(s) were provided, but no name was specified");
    auto_json objects = kubectl_read_all(k, refs, count, &code, &err);
    if (!objects)
        return kubectl_fail(err, NULL);
    json_each (object, objects)
        code |= change_one(k, change, object);
    return code;
}

int verb_label(struct kubectl *k)
{
    struct change change = {"labels", "label", "labeled", "unlabeled", 0};
    return change_all(k, &change);
}

int verb_annotate(struct kubectl *k)
{
    struct change change = {"annotations", "annotation", "annotated", "annotated", 0};
    return change_all(k, &change);
}
