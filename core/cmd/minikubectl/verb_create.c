/* create: from manifests, or one of the common kinds from flags. */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

int kubectl_tell(struct kubectl *k, const cJSON *object, const char *word)
{
    auto_err err = NULL;
    if (k->flags.output && !str_eq(k->flags.output, "wide"))
        return kubectl_print_object(k, object, &err) < 0 ? kubectl_refuse(err) : 0;
    auto_free char *name = kubectl_display_name(k, object);
    printf("%s %s%s\n", name, word,
           !k->flags.dry_run                    ? ""
           : str_eq(k->flags.dry_run, "server") ? " (server dry run)"
                                                : " (dry run)");
    return 0;
}

int kubectl_create_as(struct kubectl *k, const cJSON *object, const char *source, const char *word)
{
    auto_err err = NULL;
    if (str_eq(k->flags.dry_run, "client"))
        return kubectl_tell(k, object, word);
    const struct kubectl_resource *resource = kubectl_find_kind(k, json_string_or(object, "apiVersion", ""),
                                                                json_string_or(object, "kind", ""), &err);
    if (!resource)
        return kubectl_refuse(err);
    auto_str target = {0};
    auto_free char *path = kubectl_target(k, resource, json_string(object, "metadata.namespace"), NULL, NULL);
    str_add(&target, path);
    http_query_add(&target, "fieldManager", "kubectl-create");
    http_query_add(&target, "fieldValidation", "Strict");
    if (str_eq(k->flags.dry_run, "server"))
        http_query_add(&target, "dryRun", "All");
    auto_json made = kubectl_request(k, "POST", str_c(&target), NULL, NULL, object, &err);
    auto_free char *what = source ? mem_printf("error when creating \"%s\"", source) : NULL;
    if (!made)
        return kubectl_fail(err, what);
    return kubectl_tell(k, made, word) || kubectl_tell_join(k, made, source);
}

int kubectl_create_object(struct kubectl *k, const cJSON *object, const char *source)
{
    return kubectl_create_as(k, object, source, "created");
}

int verb_create(struct kubectl *k)
{
    auto_err err = NULL;
    if (k->flags.n_files)
        return kubectl_each_manifest(k, kubectl_create_object);
    if (k->n_args == 1 && str_eq(k->args[0], "token"))
        return kubectl_token_create(k);
    /* kubectl's "create secret generic NAME", "create service clusterip NAME" */
    bool typed = k->n_args > 2 &&
                 (str_eq(k->args[0], "secret") || str_eq(k->args[0], "service") || str_eq(k->args[0], "svc"));
    int name_at = typed ? 2 : 1;
    if (name_at >= k->n_args) {
        err_set(&err, ERR_BAD_REQUEST, "must specify one of -f, or KIND NAME");
        return kubectl_refuse(err);
    }
    auto_json object = kubectl_make(k, k->args[0], k->args[name_at], &err);
    return object ? kubectl_create_object(k, object, NULL) : kubectl_refuse(err);
}
