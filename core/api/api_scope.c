/*
 * What a node's agent may touch (requirement X2): facts for the authorizer's node rules, decided from the
 * store's terms without parsing, and the one thing that stands in a body only, the name of what a node
 * creates. A node may read the volumes that are bound to claims of its pods, or whose folder it keeps, and
 * the Secrets that such volumes are mounted with; and the Secrets that objects of kinds with everyNode name.
 */
#include <string.h>

#include "api/api_internal.h"

/* A pod that is gone counts as the node's: the answer is 404, which tells the agent more. */
bool scope_owns_pod(void *arg, const char *node, const char *namespace, const char *name)
{
    struct api *api = arg;
    struct store *store = api->store;
    auto_free char *key = store_key("pods", namespace, name);
    struct store_object object = {0};
    if (store->ops->get(store, key, &object, NULL) < 0)
        return true;
    bool mine = str_eq(store_terms_get(object.terms, "f:spec.nodeName="), node);
    store_object_fini(&object);
    return mine;
}

static bool pods_refer(struct api *api, const char *node, const char *resource, const char *namespace,
                       const char *name)
{
    struct store *store = api->store;
    auto_free char *bound = mem_printf("f:spec.nodeName=%s", node);
    auto_free char *refers = mem_printf("r:%s/%s/%s=", resource, namespace ? namespace : "", name);
    auto_free char *prefix = store_key_prefix("pods", namespace);
    const char *terms[] = {bound, refers, NULL};
    const struct store_list_request request = {
        .prefix = prefix, .terms = terms, .limit = 1, .keys_only = true};
    struct store_list list = {0};
    if (store->ops->list(store, &request, &list, NULL) < 0)
        return false;
    bool found = list.count > 0;
    store_list_fini(&list);
    return found;
}

struct shared_search {
    struct api *api;
    const char *namespace, *term;
    bool found;
};

static void search_shared(void *arg, const struct schema_kind *kind)
{
    struct shared_search *search = arg;
    const struct schema_kind_info *info = schema_kind_info(kind);
    struct store *store = search->api->store;
    if (search->found || !info->every_node || !info->has_references)
        return;
    auto_free char *prefix = store_key_prefix(info->resource, search->namespace);
    const char *terms[] = {search->term, NULL};
    const struct store_list_request request = {
        .prefix = prefix, .terms = terms, .limit = 1, .keys_only = true};
    struct store_list list = {0};
    if (store->ops->list(store, &request, &list, NULL) < 0)
        return;
    search->found = list.count > 0;
    store_list_fini(&list);
}

/* Objects that every node streams (IngressRoutes) may name Secrets that each of them needs. */
static bool shared_refer(struct api *api, const char *resource, const char *namespace, const char *name)
{
    auto_free char *term = mem_printf("r:%s/%s/%s=", resource, namespace ? namespace : "", name);
    struct shared_search search = {.api = api, .namespace = namespace, .term = term};
    schema_each(api->schema, search_shared, &search);
    return search.found;
}

static bool volume_is_for(struct api *api, const char *node, const struct store_terms *terms)
{
    const char *claim = store_terms_get(terms, "f:spec.claimRef.name=");
    if (str_eq(store_terms_get(terms, "f:spec.nodeName="), node))
        return true;
    return !str_empty(claim) && pods_refer(api, node, "persistentvolumeclaims",
                                           store_terms_get(terms, "f:spec.claimRef.namespace="), claim);
}

static bool volumes_refer(struct api *api, const char *node, const char *namespace, const char *secret)
{
    struct store *store = api->store;
    auto_free char *by_name = mem_printf("f:spec.csi.nodeStageSecretRef.name=%s", secret);
    auto_free char *by_namespace = mem_printf("f:spec.csi.nodeStageSecretRef.namespace=%s", namespace);
    const char *terms[] = {by_name, by_namespace, NULL};
    const struct store_list_request request = {
        .prefix = "persistentvolumes/", .terms = terms, .keys_only = true};
    struct store_list list = {0};
    if (store->ops->list(store, &request, &list, NULL) < 0)
        return false;
    bool found = false;
    for (size_t i = 0; i < list.count && !found; i++)
        found = volume_is_for(api, node, list.objects[i].terms);
    store_list_fini(&list);
    return found;
}

static bool volume_matches(struct api *api, const char *node, const char *name, bool owned)
{
    struct store *store = api->store;
    auto_free char *key = store_key("persistentvolumes", NULL, name);
    struct store_object object = {0};
    if (store->ops->get(store, key, &object, NULL) < 0)
        return owned; /* 404 tells the agent that its work is done */
    bool matches = owned ? str_eq(store_terms_get(object.terms, "f:spec.nodeName="), node)
                         : volume_is_for(api, node, object.terms);
    store_object_fini(&object);
    return matches;
}

bool scope_owns_volume(void *arg, const char *node, const char *name)
{
    return volume_matches(arg, node, name, true);
}

bool scope_refers(void *arg, const char *node, const char *resource, const char *namespace, const char *name)
{
    if (str_eq(resource, "persistentvolumes"))
        return volume_matches(arg, node, name, false);
    return pods_refer(arg, node, resource, namespace, name) ||
           (str_eq(resource, "secrets") &&
            (volumes_refer(arg, node, namespace, name) || shared_refer(arg, resource, namespace, name)));
}

int scope_allows_create(const struct op *op, const char *node, struct err **err)
{
    static const char *const by_node[] = {"nodes", "leases.coordination.k8s.io", "nodedecisions.minik8s.io"};
    bool own = false;
    for (size_t i = 0; i < COUNT_OF(by_node); i++)
        own = own || str_eq(op->info->resource, by_node[i]);
    const char *name = json_string(op->body, "metadata.name");
    if (!own || op->verb != OP_CREATE || str_eq(name, node))
        return 0;
    return err_set(err, ERR_FORBIDDEN, "%s \"%.253s\" is forbidden: node \"%s\" may create its own only",
                   op->info->resource, name ? name : "", node);
}
