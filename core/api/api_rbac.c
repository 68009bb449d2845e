/*
 * RBAC: what Roles and bindings in the store allow, as one more source for core/auth's authorizer. Evaluated
 * from the store at each question: no copy that could be stale, and the identities of the cluster itself
 * never come here. Source: rbac.authorization.k8s.io/v1.
 */
#include <string.h>

#include "api/api_internal.h"

#define RBAC ".rbac.authorization.k8s.io"

/* Called for each rule that holds for the identity; true ends the walk. */
typedef bool on_rule(void *arg, const cJSON *rule);

struct walk {
    struct api *api;
    const struct auth_identity *identity;
    const char *namespace; /* NULL: cluster-wide rules only */
    on_rule *visit;
    void *arg;
};

static bool has(const cJSON *list, const char *word)
{
    json_each (item, list) {
        if (cJSON_IsString(item) && (str_eq(item->valuestring, "*") || str_eq(item->valuestring, word)))
            return true;
    }
    return false;
}

static bool is_subject(const struct auth_identity *identity, const cJSON *subject,
                       const char *binding_namespace)
{
    const char *kind = json_string_or(subject, "kind", ""), *name = json_string_or(subject, "name", "");
    if (str_eq(kind, "User"))
        return str_eq(name, identity->user);
    if (str_eq(kind, "Group"))
        return auth_identity_in(identity, name);
    if (!str_eq(kind, "ServiceAccount"))
        return false;
    const char *namespace = json_string_or(subject, "namespace", binding_namespace ? binding_namespace : "");
    auto_free char *user = mem_printf(AUTH_ACCOUNT_PREFIX "%s:%s", namespace, name);
    return str_eq(user, identity->user);
}

cJSON *rbac_role(struct api *api, const char *namespace, const cJSON *reference)
{
    const char *kind = json_string_or(reference, "kind", ""), *name = json_string_or(reference, "name", "");
    bool cluster = str_eq(kind, "ClusterRole");
    struct store *store = api->store;
    if (str_empty(name) || (!cluster && !namespace))
        return NULL;
    auto_free char *key =
        store_key(cluster ? "clusterroles" RBAC : "roles" RBAC, cluster ? NULL : namespace, name);
    struct store_object object = {0};
    if (store->ops->get(store, key, &object, NULL) < 0)
        return NULL;
    cJSON *role = json_parse_trusted(object.bytes->data, object.bytes->len);
    store_object_fini(&object);
    return role;
}

/* namespace: the binding's own; NULL: it holds everywhere. */
static bool walk_binding(const struct walk *walk, const cJSON *binding, const char *namespace)
{
    const cJSON *subjects = json_get(binding, "subjects");
    bool mine = false;
    json_each (subject, subjects)
        mine = mine || is_subject(walk->identity, subject, namespace);
    if (!mine)
        return false;
    auto_json role = rbac_role(walk->api, namespace, json_get(binding, "roleRef"));
    const cJSON *rules = json_get(role, "rules");
    json_each (rule, rules) {
        if (walk->visit(walk->arg, rule))
            return true;
    }
    return false;
}

static bool walk_bindings(const struct walk *walk, const char *resource, const char *namespace)
{
    struct store *store = walk->api->store;
    auto_free char *prefix = store_key_prefix(resource, namespace);
    const struct store_list_request request = {.prefix = prefix};
    struct store_list list = {0};
    if (store->ops->list(store, &request, &list, NULL) < 0)
        return false;
    bool found = false;
    for (size_t i = 0; i < list.count && !found; i++) {
        auto_json binding = json_parse_trusted(list.objects[i].bytes->data, list.objects[i].bytes->len);
        found = walk_binding(walk, binding, namespace);
    }
    store_list_fini(&list);
    return found;
}

static bool walk_all(const struct walk *walk)
{
    return walk_bindings(walk, "clusterrolebindings" RBAC, NULL) ||
           (walk->namespace && walk_bindings(walk, "rolebindings" RBAC, walk->namespace));
}

/* ---- one question ---- */

static bool resource_matches(const cJSON *resources, const struct auth_attributes *at)
{
    if (!at->subresource)
        return has(resources, at->resource);
    auto_free char *both = mem_printf("%s/%s", at->resource, at->subresource);
    auto_free char *any = mem_printf("*/%s", at->subresource);
    json_each (item, resources) {
        const char *text = cJSON_IsString(item) ? item->valuestring : "";
        if (str_eq(text, "*") || str_eq(text, both) || str_eq(text, any))
            return true;
    }
    return false;
}

static bool path_matches(const cJSON *urls, const char *path)
{
    json_each (item, urls) {
        const char *text = cJSON_IsString(item) ? item->valuestring : "";
        size_t len = strlen(text);
        if (str_eq(text, path) || (len && text[len - 1] == '*' && strncmp(text, path, len - 1) == 0))
            return true;
    }
    return false;
}

static bool rule_allows(void *arg, const cJSON *rule)
{
    const struct auth_attributes *at = arg;
    if (!has(json_get(rule, "verbs"), at->verb))
        return false;
    if (!at->resource)
        return path_matches(json_get(rule, "nonResourceURLs"), at->path ? at->path : "");
    const cJSON *names = json_get(rule, "resourceNames");
    return has(json_get(rule, "apiGroups"), at->group) && resource_matches(json_get(rule, "resources"), at) &&
           (!names || !names->child || (at->name && has(names, at->name)));
}

enum auth_verdict rbac_rule(void *arg, const struct auth_identity *identity,
                            const struct auth_attributes *attributes, struct str *reason UNUSED)
{
    const struct walk walk = {.api = arg,
                              .identity = identity,
                              .namespace = attributes->namespace,
                              .visit = rule_allows,
                              .arg = (void *)attributes};
    return walk_all(&walk) ? AUTH_ALLOW : AUTH_NO_OPINION;
}

/* ---- all rules of one user ---- */

static bool keep_rule(void *rules, const cJSON *rule)
{
    json_push(rules, json_copy(rule));
    return false;
}

cJSON *rbac_held(struct api *api, const struct auth_identity *identity, const char *namespace)
{
    cJSON *rules = cJSON_CreateArray();
    const struct walk walk = {
        .api = api, .identity = identity, .namespace = namespace, .visit = keep_rule, .arg = rules};
    walk_all(&walk);
    return rules;
}

static void copy_list(cJSON *to, const cJSON *rule, const char *name)
{
    const cJSON *list = json_get(rule, name);
    if (list)
        json_set(to, name, json_copy(list));
}

static bool collect(void *arg, const cJSON *rule)
{
    cJSON *status = arg;
    bool resource = json_get(rule, "resources") != NULL;
    cJSON *to = json_push(json_ensure_array(status, resource ? "resourceRules" : "nonResourceRules"),
                          cJSON_CreateObject());
    copy_list(to, rule, "verbs");
    copy_list(to, rule, resource ? "apiGroups" : "nonResourceURLs");
    copy_list(to, rule, "resources");
    copy_list(to, rule, "resourceNames");
    return false;
}

cJSON *identity_rules(struct api *api, const struct identity *identity, const char *namespace)
{
    cJSON *status = cJSON_CreateObject();
    json_ensure_array(status, "resourceRules");
    json_ensure_array(status, "nonResourceRules");
    json_set_bool(status, "incomplete", false);
    if (auth_identity_in(&identity->who, AUTH_MASTERS)) {
        static const char all[] = "{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"]}";
        auto_json rule = json_parse_trusted(all, sizeof(all) - 1);
        collect(status, rule);
    }
    const struct walk walk = {
        .api = api, .identity = &identity->who, .namespace = namespace, .visit = collect, .arg = status};
    walk_all(&walk);
    return status;
}
