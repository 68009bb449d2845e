/* replace: objects become exactly what the manifests say; --force deletes them and makes them anew. */
#include <stdio.h>

#include "kubectl.h"

static int force(struct kubectl *k, const cJSON *object, const char *source)
{
    auto_err err = NULL;
    const struct kubectl_reference ref = kubectl_reference_of(k, object);
    auto_free char *path = kubectl_target(k, ref.resource, ref.namespace, ref.name, NULL);
    auto_json options = cJSON_CreateObject();
    json_set_string(options, "apiVersion", "v1");
    json_set_string(options, "kind", "DeleteOptions");
    json_set_string(options, "propagationPolicy", "Background");
    if (k->flags.grace >= 0)
        json_set_int(options, "gracePeriodSeconds", k->flags.grace);
    auto_json gone = kubectl_request(k, "DELETE", path, NULL, NULL, options, &err);
    if (!gone && err_code(err) != ERR_NOT_FOUND)
        return kubectl_fail(err, NULL);
    if (gone) {
        auto_free char *singular = kubectl_singular(ref.resource);
        printf("%s \"%s\" deleted\n", singular, ref.name);
        if (kubectl_wait_gone(k, &ref, NULL, &err) < 0)
            return kubectl_refuse(err);
    }
    return kubectl_create_as(k, object, source, "replaced");
}

static int replace(struct kubectl *k, const cJSON *object, const char *source)
{
    auto_err err = NULL;
    const struct kubectl_reference ref = kubectl_reference_of(k, object);
    if (!ref.resource) {
        kubectl_find_kind(k, json_string_or(object, "apiVersion", ""), json_string_or(object, "kind", ""),
                          &err);
        return kubectl_refuse(err);
    }
    if (!ref.name)
        return kubectl_refuse_text("%s: an object without metadata.name cannot be replaced", source);
    if (k->flags.force)
        return force(k, object, source);
    auto_free char *path = kubectl_target(k, ref.resource, ref.namespace, ref.name, NULL);
    auto_str target = {0};
    str_add(&target, path);
    http_query_add(&target, "fieldManager", "kubectl-replace");
    http_query_add(&target, "fieldValidation", "Strict");
    if (str_eq(k->flags.dry_run, "server"))
        http_query_add(&target, "dryRun", "All");
    bool local = str_eq(k->flags.dry_run, "client");
    auto_json done =
        kubectl_request(k, local ? "GET" : "PUT", str_c(&target), NULL, NULL, local ? NULL : object, &err);
    auto_free char *what = mem_printf("error when replacing \"%s\"", source);
    return done ? kubectl_tell(k, done, "replaced") : kubectl_fail(err, what);
}

int verb_replace(struct kubectl *k)
{
    return kubectl_each_manifest(k, replace);
}
