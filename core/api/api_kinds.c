/*
 * CustomResourceDefinitions → kinds of the registry, at start and when one is written. A definition is handed
 * to core/schema in its own words: admission has made sure that it takes them, so a definition is established
 * with its first write, and its status says so from the beginning. A version that is not served any more
 * leaves the registry at once. A definition that is deleted goes when its last object has (the controller of
 * that name), and no object is made meanwhile.
 */
#include <ctype.h>
#include <string.h>

#include "api/api_internal.h"

#define CLEANUP "customresourcecleanup.apiextensions.k8s.io"

static void copy_member(cJSON *to, const char *name, const cJSON *value)
{
    if (value)
        json_set(to, name, json_copy(value));
}

static void set_deprecation(cJSON *definition, const cJSON *version)
{
    const char *text = json_string(version, "deprecationWarning");
    if (!json_bool(version, "deprecated", false))
        return;
    auto_free char *usual =
        mem_printf("%s/%s %s is deprecated", json_string_or(definition, "group", ""),
                   json_string_or(definition, "version", ""), json_string_or(definition, "kind", ""));
    json_set_string(definition, "deprecation", text ? text : usual);
}

static cJSON *definition_of(const cJSON *spec, const cJSON *version)
{
    cJSON *definition = cJSON_CreateObject();
    const cJSON *names = json_get(spec, "names");
    copy_member(definition, "group", json_get(spec, "group"));
    copy_member(definition, "version", json_get(version, "name"));
    copy_member(definition, "kind", json_get(names, "kind"));
    copy_member(definition, "plural", json_get(names, "plural"));
    copy_member(definition, "singular", json_get(names, "singular"));
    copy_member(definition, "shortNames", json_get(names, "shortNames"));
    copy_member(definition, "categories", json_get(names, "categories"));
    copy_member(definition, "scope", json_get(spec, "scope"));
    copy_member(definition, "subresources", json_get(version, "subresources"));
    copy_member(definition, "schema", json_at(version, "schema.openAPIV3Schema"));
    set_deprecation(definition, version);
    copy_member(definition, "columns", json_get(version, "additionalPrinterColumns"));
    return definition;
}

static int add_versions(struct schema *schema, const cJSON *crd, struct err **err)
{
    const cJSON *spec = json_get(crd, "spec"), *versions = json_get(spec, "versions");
    json_each (version, versions) {
        if (!json_bool(version, "served", true))
            continue;
        auto_json definition = definition_of(spec, version);
        if (schema_add_custom(schema, definition, err) < 0)
            return -1;
    }
    return 0;
}

static void drop_unserved(struct schema *schema, const cJSON *crd, const char *resource)
{
    const cJSON *versions = json_at(crd, "spec.versions");
    auto_free const char **served = mem_array((size_t)cJSON_GetArraySize(versions) + 1, sizeof(*served));
    size_t n = 0;
    json_each (version, versions)
        if (json_bool(version, "served", true) && json_string(version, "name"))
            served[n++] = json_string(version, "name");
    schema_keep_versions(schema, resource, served);
}

static void add_crd(struct schema *schema, const char *text, size_t len)
{
    auto_json crd = json_parse_trusted(text, len);
    auto_err err = NULL;
    drop_unserved(schema, crd, json_string_or(crd, "metadata.name", ""));
    if (add_versions(schema, crd, &err) < 0)
        log_warn("api", "CustomResourceDefinition %s is not usable: %s",
                 json_string_or(crd, "metadata.name", ""), err_message(err));
}

/* The store commits nothing of the new resource before this is back: streams end in time. */
void kinds_written(const struct op *op)
{
    struct api *api = op->api;
    static const char *const none[] = {NULL};
    if (!str_eq(op->info->resource, CRDS))
        return;
    if (op->removed)
        schema_keep_versions(api->schema, op->name, none);
    if (op->removed || !op->bytes)
        return;
    bool known = schema_find_resource(api->schema, op->name) != NULL;
    add_crd(api->schema, op->bytes->data, op->bytes->len);
    if (known || !schema_find_resource(api->schema, op->name))
        return;
    atomic_fetch_add(&api->kinds_epoch, 1);
    streams_wake_all(api->streams);
}

int kinds_load(struct api *api, struct err **err)
{
    auto_free char *prefix = store_key_prefix(CRDS, NULL);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    if (api->store->ops->list(api->store, &request, &list, err) < 0)
        return err_wrap(err, "reading the CustomResourceDefinitions");
    for (size_t i = 0; i < list.count; i++)
        add_crd(api->schema, list.objects[i].bytes->data, list.objects[i].bytes->len);
    store_list_fini(&list);
    return 0;
}

/* ---- status ---- */

static void set_condition(const struct api *api, cJSON *status, const char *type, const char *reason,
                          const char *message)
{
    cJSON *conditions = json_ensure_array(status, "conditions");
    char now[TIME_TEXT];
    json_each (present, conditions)
        if (str_eq(json_string(present, "type"), type))
            return;
    time_print(api_wall(api), now);
    cJSON *condition = json_push(conditions, cJSON_CreateObject());
    json_set_string(condition, "type", type);
    json_set_string(condition, "status", "True");
    json_set_string(condition, "reason", reason);
    json_set_string(condition, "message", message);
    json_set_string(condition, "lastTransitionTime", now);
}

static cJSON *accepted_names(const cJSON *crd)
{
    cJSON *names = json_copy(json_at(crd, "spec.names"));
    const char *kind = json_string_or(names, "kind", "");
    auto_free char *list = mem_printf("%sList", kind), *singular = mem_strdup(kind);
    for (char *letter = singular; *letter; letter++)
        *letter = (char)tolower((unsigned char)*letter);
    if (!json_string(names, "listKind"))
        json_set_string(names, "listKind", list);
    if (!json_string(names, "singular"))
        json_set_string(names, "singular", singular);
    return names;
}

static void add_stored_version(cJSON *status, const cJSON *crd)
{
    cJSON *stored = json_ensure_array(status, "storedVersions");
    json_each (version, json_at(crd, "spec.versions")) {
        const char *name = json_string(version, "name");
        bool known = !name || !json_bool(version, "storage", false);
        json_each (present, stored)
            known = known || (cJSON_IsString(present) && str_eq(present->valuestring, name));
        if (!known)
            json_push_string(stored, name);
    }
}

void kinds_accept(const struct api *api, cJSON *crd)
{
    cJSON *status = json_ensure_object(crd, "status");
    if (!cJSON_IsObject(json_get(crd, "spec")) || !cJSON_IsObject(json_at(crd, "spec.names")))
        return; /* a definition of tests, without a schema of its own */
    set_condition(api, status, "NamesAccepted", "NoConflicts", "no conflicts found");
    set_condition(api, status, "Established", "InitialNamesAccepted", "the initial names have been accepted");
    json_set(status, "acceptedNames", accepted_names(crd));
    add_stored_version(status, crd);
}

void kinds_ending(const struct api *api, cJSON *crd)
{
    json_push_string(json_ensure_array(object_meta(crd), "finalizers"), CLEANUP);
    set_condition(api, json_ensure_object(crd, "status"), "Terminating", "InstanceDeletionPending",
                  "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon");
}

static void on_checked(struct op *op)
{
    if (op->error)
        log_warn("api", "CustomResourceDefinition %s: %s", op->name, err_message(op->error));
    op_free(op);
}

void kinds_check(struct api *api)
{
    const struct schema_kind *kind = schema_find_resource(api->schema, CRDS);
    auto_free char *prefix = store_key_prefix(CRDS, NULL);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    if (!kind || api->store->ops->list(api->store, &request, &list, NULL) < 0)
        return; /* kinds_load has told */
    for (size_t i = 0; i < list.count; i++) {
        struct store_key_parts parts;
        if (strstr(list.objects[i].bytes->data, "\"Established\"") ||
            !store_key_split(list.objects[i].key, &parts))
            continue;
        auto_free char *name = mem_strndup(parts.name, parts.name_len);
        struct op *op = op_new(api, OP_PATCH, kind, NULL, name); /* changes nothing: admission sees it */
        op->patch_type = BODY_MERGE;
        op->body = cJSON_CreateObject();
        op->finished = on_checked;
        op_run(op);
    }
    store_list_fini(&list);
}
