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

/* ---- create token ACCOUNT: a token of a service account (TokenRequest) ---- */

static int add_binding(struct kubectl *k, cJSON *spec, struct err **err)
{
    const struct kubectl_flags *flags = &k->flags;
    if (!flags->bound_kind) {
        const char *alone = flags->bound_name ? "name" : flags->bound_uid ? "uid" : NULL;
        return alone ? err_set(err, ERR_BAD_REQUEST,
                               "--bound-object-%s can only be set if --bound-object-kind is provided", alone)
                     : 0;
    }
    if (!flags->bound_name)
        return err_set(err, ERR_BAD_REQUEST,
                       "--bound-object-name is required if --bound-object-kind is provided");
    cJSON *reference = json_ensure_object(spec, "boundObjectRef");
    json_set_string(reference, "kind", flags->bound_kind);
    json_set_string(reference, "apiVersion", "v1");
    json_set_string(reference, "name", flags->bound_name);
    if (flags->bound_uid)
        json_set_string(reference, "uid", flags->bound_uid);
    return 0;
}

static int create_account_token(struct kubectl *k, const char *account)
{
    auto_err err = NULL;
    auto_json request = cJSON_CreateObject();
    json_set_string(request, "apiVersion", "authentication.k8s.io/v1");
    json_set_string(request, "kind", "TokenRequest");
    cJSON *spec = json_ensure_object(request, "spec");
    for (size_t i = 0; i < k->flags.n_audiences; i++)
        json_push_string(json_ensure_array(spec, "audiences"), k->flags.audiences[i]);
    if (k->flags.duration_s > 0)
        json_set_int(spec, "expirationSeconds", k->flags.duration_s);
    if (add_binding(k, spec, &err) < 0)
        return kubectl_refuse(err);
    auto_free char *target = client_path("serviceaccounts", "v1", k->namespace, account, "token");
    auto_json made = kubectl_request(k, "POST", target, NULL, NULL, request, &err);
    if (!made)
        return kubectl_fail(err, "failed to create token");
    if (k->flags.output)
        return kubectl_print_object(k, made, &err) < 0 ? kubectl_refuse(err) : 0;
    printf("%s\n", json_string_or(made, "status.token", ""));
    return 0;
}

int verb_create(struct kubectl *k)
{
    auto_err err = NULL;
    if (k->flags.n_files)
        return kubectl_each_manifest(k, kubectl_create_object);
    if (k->n_args == 1 && str_eq(k->args[0], "token"))
        return kubectl_token_create(k);
    if (k->n_args == 2 && str_eq(k->args[0], "token"))
        return create_account_token(k, k->args[1]);
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
