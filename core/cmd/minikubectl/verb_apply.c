/* apply: each manifest as a strategic merge patch over what the last apply left, or a create; created,
 * configured or unchanged. With --server-side the manifest itself goes to the server, which knows what is
 * whose. */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

/* What the object is now; NULL and no error when it is not there. */
static cJSON *present(struct kubectl *k, const char *target, struct err **err)
{
    auto_err failed = NULL;
    cJSON *object = kubectl_request(k, "GET", target, NULL, NULL, NULL, &failed);
    if (!object && err_code(failed) != ERR_NOT_FOUND)
        err_move(err, &failed);
    return object;
}

#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"

/* The merge key of a list, as the server's kinds have it (kubectl compiles the same table in); NULL: the list
 * is replaced. */
static const char *merge_key(const char *list, const cJSON *element)
{
    static const struct {
        const char *list, *key;
    } keys[] = {{"containers", "name"},
                {"initContainers", "name"},
                {"ephemeralContainers", "name"},
                {"volumes", "name"},
                {"env", "name"},
                {"imagePullSecrets", "name"},
                {"volumeMounts", "mountPath"},
                {"hostAliases", "ip"},
                {"topologySpreadConstraints", "topologyKey"}};
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (str_eq(keys[i].list, list) && json_get(element, keys[i].key))
            return keys[i].key;
    return NULL;
}

static cJSON *element_of(const cJSON *list, const char *key, const cJSON *value)
{
    json_each (element, list) {
        if (json_equal(json_get(element, key), value))
            return element;
    }
    return NULL;
}

static void add_removals(cJSON *patch, const cJSON *last, const cJSON *wanted, bool strategic);

static void add_list_removals(cJSON *patch, const cJSON *last, const cJSON *wanted)
{
    json_each (element, last) {
        const char *key = cJSON_IsObject(element) ? merge_key(last->string, element) : NULL;
        if (!key)
            return;
        const cJSON *value = json_get(element, key), *now = element_of(wanted, key, value);
        if (now) {
            add_removals(element_of(patch, key, value), element, now, true);
            continue;
        }
        cJSON *removal = json_push(patch, cJSON_CreateObject());
        json_set_string(removal, "$patch", "delete");
        json_set(removal, key, json_copy(value));
    }
}

/* Three-way: what the last apply had and this one lacks becomes null, or a delete directive in a list with a
 * merge key. */
static void add_removals(cJSON *patch, const cJSON *last, const cJSON *wanted, bool strategic)
{
    json_each (field, last) {
        const cJSON *now = json_get(wanted, field->string);
        if (!now)
            json_set(patch, field->string, cJSON_CreateNull());
        else if (cJSON_IsObject(field) && cJSON_IsObject(now))
            add_removals(json_get(patch, field->string), field, now, strategic);
        else if (strategic && cJSON_IsArray(field) && cJSON_IsArray(now))
            add_list_removals(json_get(patch, field->string), field, now);
    }
}

/* Two ports may have one number, for TCP and for UDP, which the merge key of these lists does not tell apart:
 * they replace what is there. */
static void replace_ports(cJSON *patch)
{
    json_each (field, patch) {
        bool ports = cJSON_IsArray(field) && str_eq(field->string, "ports") && cJSON_IsObject(field->child);
        replace_ports(cJSON_IsObject(field) || cJSON_IsArray(field) ? field : NULL);
        if (ports)
            json_set_string(json_push(field, cJSON_CreateObject()), "$patch", "replace");
    }
}

/* The object as kubectl notes it: keys sorted, annotations and namespace there, a line feed at the end. What
 * one of the two applied, the other then finds unchanged. */
static char *applied_text(struct kubectl *k, const struct kubectl_resource *resource, const cJSON *object)
{
    auto_json noted = json_copy(object);
    cJSON *metadata = json_ensure_object(noted, "metadata");
    json_remove(json_ensure_object(metadata, "annotations"), LAST_APPLIED);
    if (resource->namespaced && !json_get(metadata, "namespace"))
        json_set_string(metadata, "namespace", k->namespace);
    json_sort_keys(noted);
    auto_free char *text = json_print(noted);
    return mem_printf("%s\n", text);
}

/* strategic: for kinds with merge keys; otherwise lists are replaced (JSON merge patch). */
static cJSON *make_patch(const cJSON *object, const cJSON *before, const char *applied, bool strategic)
{
    cJSON *patch = json_copy(object);
    const cJSON *annotations = json_at(before, "metadata.annotations");
    const char *last_text = cJSON_GetStringValue(json_get(annotations, LAST_APPLIED));
    auto_json last = last_text ? json_parse_trusted(last_text, strlen(last_text)) : NULL;
    json_remove(json_get(last, "metadata"), "namespace"); /* implied; never to be removed */
    if (last)
        add_removals(patch, last, object, strategic);
    cJSON *metadata = json_ensure_object(patch, "metadata");
    json_set_string(json_ensure_object(metadata, "annotations"), LAST_APPLIED, applied);
    return patch;
}

static cJSON *write_object(struct kubectl *k, const struct kubectl_resource *resource, const cJSON *object,
                           const cJSON *before, struct err **err)
{
    const char *namespace = json_string(object, "metadata.namespace");
    auto_free char *path =
        kubectl_target(k, resource, namespace, before ? json_string(object, "metadata.name") : NULL, NULL);
    auto_str target = {0};
    str_add(&target, path);
    http_query_add(&target, "fieldManager", "kubectl-client-side-apply");
    http_query_add(&target, "fieldValidation", "Strict");
    if (str_eq(k->flags.dry_run, "server"))
        http_query_add(&target, "dryRun", "All");
    auto_free char *applied = applied_text(k, resource, object);
    auto_json patch = make_patch(object, before, applied, true);
    if (before)
        replace_ports(patch);
    else
        return kubectl_request(k, "POST", str_c(&target), NULL, NULL, patch, err);
    auto_err failed = NULL;
    cJSON *after = kubectl_request(k, "PATCH", str_c(&target), NULL, "application/strategic-merge-patch+json",
                                   patch, &failed);
    if (!after && err_code(failed) == ERR_UNSUPPORTED_MEDIA_TYPE) {
        auto_json merge = make_patch(object, before, applied, false);
        return kubectl_request(k, "PATCH", str_c(&target), NULL, "application/merge-patch+json", merge, err);
    }
    if (!after)
        err_move(err, &failed);
    return after;
}

static cJSON *apply_at_server(struct kubectl *k, const char *path, const cJSON *object, struct err **err)
{
    auto_str target = {0};
    str_add(&target, path);
    http_query_add(&target, "fieldManager", k->flags.manager ? k->flags.manager : "kubectl");
    http_query_add(&target, "fieldValidation", "Strict");
    http_query_add(&target, "force", k->flags.force_conflicts ? "true" : "false");
    if (str_eq(k->flags.dry_run, "server"))
        http_query_add(&target, "dryRun", "All");
    return kubectl_request(k, "PATCH", str_c(&target), NULL, "application/apply-patch+yaml", object, err);
}

int kubectl_apply_object(struct kubectl *k, const cJSON *object, cJSON **before, cJSON **after,
                         struct err **err)
{
    const struct kubectl_resource *resource = kubectl_find_kind(k, json_string_or(object, "apiVersion", ""),
                                                                json_string_or(object, "kind", ""), err);
    if (!resource)
        return err_wrap(err, "resource mapping not found for name: \"%s\"",
                        json_string_or(object, "metadata.name", ""));
    if (!json_string(object, "metadata.name"))
        return err_set(err, ERR_BAD_REQUEST, "a %s without metadata.name", resource->kind);
    auto_err failed = NULL;
    auto_free char *target = kubectl_target(k, resource, json_string(object, "metadata.namespace"),
                                            json_string(object, "metadata.name"), NULL);
    *before = k->flags.server_side ? NULL : present(k, target, &failed);
    if (failed)
        return err_move(err, &failed);
    if (k->flags.server_side)
        *after = apply_at_server(k, target, object, err);
    else if (str_eq(k->flags.dry_run, "client"))
        *after = json_copy(*before ? *before : object);
    else
        *after = write_object(k, resource, object, *before, err);
    return *after ? 0 : -1;
}

/* Without what others may have changed between the look and the write: status, and annotations that the
 * manifest does not name. */
static cJSON *own_part(const cJSON *seen, const cJSON *object)
{
    cJSON *part = json_copy(seen), *metadata = json_get(part, "metadata");
    cJSON *annotations = json_get(metadata, "annotations");
    const cJSON *named = json_get(json_get(object, "metadata"), "annotations");
    json_remove(part, "status");
    json_remove(metadata, "resourceVersion");
    json_remove(metadata, "managedFields");
    for (cJSON *each = annotations ? annotations->child : NULL, *following; each; each = following) {
        following = each->next;
        if (!str_eq(each->string, LAST_APPLIED) && !json_get(named, each->string))
            cJSON_Delete(cJSON_DetachItemViaPointer(annotations, each));
    }
    return part;
}

static bool is_unchanged(const cJSON *before, const cJSON *after, const cJSON *object)
{
    auto_json old = own_part(before, object);
    auto_json new = own_part(after, object);
    return json_equal(old, new);
}

static int tell_conflicts(const struct err *err)
{
    fflush(stdout);
    fprintf(stderr,
            "error: %s\n"
            "Others own these fields. Leave them out of the manifest, or give them the value they have (then "
            "both own\n"
            "them), or take them with --force-conflicts.\n",
            err_message(err));
    return 1;
}

static bool is_field_conflict(const struct err *err)
{
    return err_code(err) == ERR_CONFLICT && err->n_causes &&
           str_eq(err->causes[0].reason, "FieldManagerConflict");
}

static int apply_one(struct kubectl *k, const cJSON *object, const char *source)
{
    auto_err err = NULL;
    auto_json before = NULL;
    auto_json after = NULL;
    if (!kubectl_find_kind(k, json_string_or(object, "apiVersion", ""), json_string_or(object, "kind", ""),
                           &err)) {
        err_wrap(&err, "resource mapping not found for name: \"%s\" from \"%s\"",
                 json_string_or(object, "metadata.name", ""), source);
        return kubectl_refuse(err);
    }
    if (!json_string(object, "metadata.name"))
        return kubectl_refuse_text("error when applying \"%s\": a %s without metadata.name", source,
                                   json_string_or(object, "kind", ""));
    int result = kubectl_apply_object(k, object, &before, &after, &err);
    auto_free char *what =
        mem_printf("error when %s \"%s\"", before ? "applying patch to" : "creating", source);
    if (result < 0)
        return is_field_conflict(err) ? tell_conflicts(err) : kubectl_fail(err, what);
    if (k->flags.server_side)
        return kubectl_tell(k, after, "serverside-applied") || kubectl_tell_join(k, after, source);
    bool same = before && !str_eq(k->flags.dry_run, "client") && is_unchanged(before, after, object);
    return kubectl_tell(k, after,
                        !before ? "created"
                        : same  ? "unchanged"
                                : "configured") ||
           kubectl_tell_join(k, after, source);
}

int verb_apply(struct kubectl *k)
{
    bool at_server = k->flags.server_side;
    if (!at_server && (k->flags.force_conflicts || k->flags.manager))
        return kubectl_refuse_text("--%s goes with --server-side only",
                                   k->flags.manager ? "field-manager" : "force-conflicts");
    if (at_server && str_eq(k->flags.dry_run, "client"))
        return kubectl_refuse_text("--dry-run=client does not go with --server-side; --dry-run=server does");
    return kubectl_each_manifest(k, apply_one);
}
