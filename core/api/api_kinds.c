/*
 * CustomResourceDefinitions → kinds of the registry, at start and when one is written. A definition is handed
 * to core/schema in its own words; what that refuses is logged, and told in the object's conditions by the
 * controller. A deleted definition keeps its kind until the next start: its objects must stay readable while
 * they are removed.
 */
#include <string.h>

#include "api/api_internal.h"

#define CRD_RESOURCE "customresourcedefinitions.apiextensions.k8s.io"

static void copy_member(cJSON *to, const char *name, const cJSON *value)
{
    if (value)
        json_set(to, name, json_copy(value));
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

static void add_crd(struct schema *schema, const char *text, size_t len)
{
    auto_json crd = json_parse_trusted(text, len);
    auto_err err = NULL;
    if (add_versions(schema, crd, &err) < 0)
        log_warn("api", "CustomResourceDefinition %s is not usable: %s",
                 json_string_or(crd, "metadata.name", ""), err_message(err));
}

/* The store commits nothing of the new resource before this is back: streams end in time. */
void kinds_written(const struct op *op)
{
    struct api *api = op->api;
    if (!str_eq(op->info->resource, CRD_RESOURCE) || op->removed || !op->bytes)
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
    auto_free char *prefix = store_key_prefix(CRD_RESOURCE, NULL);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    if (api->store->ops->list(api->store, &request, &list, err) < 0)
        return err_wrap(err, "reading the CustomResourceDefinitions");
    for (size_t i = 0; i < list.count; i++)
        add_crd(api->schema, list.objects[i].bytes->data, list.objects[i].bytes->len);
    store_list_fini(&list);
    return 0;
}
