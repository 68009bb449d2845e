/* scale, cordon, patch: one patch of one object each. */
#include <stdio.h>
#include <string.h>

#include "base/yaml.h"
#include "kubectl.h"

#define MERGE "application/merge-patch+json"
#define STRATEGIC "application/strategic-merge-patch+json"

static char *patch_path(struct kubectl *k, const struct kubectl_reference *ref, const char *subresource)
{
    struct str target = {0};
    auto_free char *path = kubectl_target(k, ref->resource, ref->namespace, ref->name, subresource);
    str_add(&target, path);
    if (str_eq(k->flags.dry_run, "server"))
        http_query_add(&target, "dryRun", "All");
    return str_take(&target);
}

int kubectl_patch(struct kubectl *k, const struct kubectl_reference *ref, const char *subresource,
                  const char *content_type, const cJSON *patch, const cJSON *before, const char *word)
{
    auto_err err = NULL;
    auto_json answer = NULL;
    if (str_eq(k->flags.dry_run, "client")) {
        auto_free char *target = kubectl_target(k, ref->resource, ref->namespace, ref->name, NULL);
        answer = kubectl_request(k, "GET", target, NULL, NULL, NULL, &err);
    } else {
        auto_free char *target = patch_path(k, ref, subresource);
        answer = kubectl_request(k, "PATCH", target, NULL, content_type, patch, &err);
    }
    if (!answer)
        return kubectl_fail_named(k, err, NULL, ref);
    if (k->flags.output && !str_eq(k->flags.output, "wide"))
        return kubectl_print_object(k, answer, &err) < 0 ? kubectl_refuse(err) : 0;
    auto_free char *singular = kubectl_singular(ref->resource);
    printf("%s/%s %s%s%s\n", singular, ref->name, word,
           before && json_equal(before, answer) ? " (no change)" : "",
           !k->flags.dry_run                    ? ""
           : str_eq(k->flags.dry_run, "server") ? " (server dry run)"
                                                : " (dry run)");
    return 0;
}

int kubectl_patch_and_tell(struct kubectl *k, const struct kubectl_reference *reference,
                           const char *content_type, const cJSON *patch, const char *word)
{
    return kubectl_patch(k, reference, NULL, content_type, patch, NULL, word);
}

static int named_references(struct kubectl *k, int first, struct kubectl_reference **refs, size_t *count,
                            struct err **err)
{
    if (kubectl_references(k, first, refs, count, err) < 0)
        return -1;
    for (size_t i = 0; i < *count; i++)
        if (!(*refs)[i].name)
            return err_set(err, ERR_BAD_REQUEST, "resource(s) were provided, but no name was specified");
    return 0;
}

int verb_scale(struct kubectl *k)
{
    auto_err err = NULL;
    auto_free struct kubectl_reference *refs = NULL;
    size_t count;
    if (k->flags.replicas < 0)
        err_set(&err, ERR_BAD_REQUEST,
                "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0");
    if (err || named_references(k, 0, &refs, &count, &err) < 0)
        return kubectl_refuse(err);
    int code = 0;
    for (size_t i = 0; i < count; i++) {
        auto_free char *target = kubectl_target(k, refs[i].resource, NULL, refs[i].name, "scale");
        auto_json patch = cJSON_CreateObject();
        if (k->flags.current_replicas >= 0) {
            auto_json scale = kubectl_request(k, "GET", target, NULL, NULL, NULL, &err);
            if (!scale)
                return kubectl_fail_named(k, err, NULL, &refs[i]);
            int64_t now = json_int(scale, "spec.replicas", 0);
            if (now != k->flags.current_replicas) {
                err_set(&err, ERR_CONFLICT, "Expected replicas to be %lld, was %lld",
                        k->flags.current_replicas, (long long)now);
                return kubectl_refuse(err);
            }
            json_set_at(patch, "metadata.resourceVersion",
                        json_copy(json_at(scale, "metadata.resourceVersion")));
        }
        json_set_int(json_ensure_object(patch, "spec"), "replicas", k->flags.replicas);
        code |= kubectl_patch(k, &refs[i], "scale", MERGE, patch, NULL, "scaled");
    }
    return code;
}

int verb_patch(struct kubectl *k)
{
    auto_err err = NULL;
    auto_free struct kubectl_reference *refs = NULL;
    size_t count;
    const char *type = k->flags.type ? k->flags.type : "strategic";
    const char *content_type = str_eq(type, "merge")       ? MERGE
                               : str_eq(type, "json")      ? "application/json-patch+json"
                               : str_eq(type, "strategic") ? STRATEGIC
                                                           : NULL;
    if (!k->flags.patch)
        err_set(&err, ERR_BAD_REQUEST, "must specify --patch containing the contents of the patch");
    else if (!content_type)
        err_set(&err, ERR_BAD_REQUEST, "--type must be one of [json merge strategic], not \"%s\"", type);
    if (err || named_references(k, 0, &refs, &count, &err) < 0)
        return kubectl_refuse(err);
    auto_json patch = yaml_parse(k->flags.patch, strlen(k->flags.patch), &err);
    if (!patch)
        return kubectl_refuse(err);
    int code = 0;
    for (size_t i = 0; i < count; i++) {
        auto_free char *target =
            kubectl_target(k, refs[i].resource, NULL, refs[i].name, k->flags.subresource);
        auto_json before = kubectl_request(k, "GET", target, NULL, NULL, NULL, NULL);
        code |= kubectl_patch(k, &refs[i], k->flags.subresource, content_type, patch, before, "patched");
    }
    return code;
}

int kubectl_cordon(struct kubectl *k, const char *name, bool cordoned)
{
    auto_err err = NULL;
    const char *word = cordoned ? "cordoned" : "uncordoned";
    const struct kubectl_reference ref = {kubectl_find_resource(k, "nodes", &err), name, NULL};
    if (!ref.resource)
        return kubectl_refuse(err);
    auto_free char *target = kubectl_target(k, ref.resource, NULL, name, NULL);
    auto_json node = kubectl_request(k, "GET", target, NULL, NULL, NULL, &err);
    if (!node)
        return kubectl_fail_named(k, err, NULL, &ref);
    if (json_bool(node, "spec.unschedulable", false) == cordoned) {
        printf("node/%s already %s\n", name, word);
        return 0;
    }
    auto_json patch = cJSON_CreateObject();
    json_set(json_ensure_object(patch, "spec"), "unschedulable",
             cordoned ? cJSON_CreateTrue() : cJSON_CreateNull());
    return kubectl_patch(k, &ref, NULL, MERGE, patch, NULL, word);
}

static int cordon_all(struct kubectl *k, bool cordoned)
{
    int code = 0;
    if (k->n_args == 0)
        return kubectl_refuse_text("a node is wanted: NODE…");
    for (int i = 0; i < k->n_args; i++) {
        const char *slash = strchr(k->args[i], '/');
        code |= kubectl_cordon(k, slash ? slash + 1 : k->args[i], cordoned);
    }
    return code;
}

int verb_cordon(struct kubectl *k)
{
    return cordon_all(k, true);
}

int verb_uncordon(struct kubectl *k)
{
    return cordon_all(k, false);
}
