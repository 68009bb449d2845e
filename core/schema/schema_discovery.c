/*
 * schema_discovery: the documents by which clients learn what the server has, in the legacy and the
 * aggregated form. Built from the registry each time; api caches if it wants to. Groups come in the order of
 * their first kind; those of the reviews, which are asked and never stored, after them.
 */
#include <string.h>

#include "schema/schema_private.h"

static const char *const verbs[] = {"create", "delete", "deletecollection", "get",
                                    "list",   "patch",  "update",           "watch"};

/* Subresources that are not of their parent's kind, and what may be done with each. */
static const struct {
    const char *name, *group, *version, *kind, *verbs[4];
} subresources[] = {
    {"status", NULL, NULL, NULL, {"get", "patch", "update"}},
    {"finalize", NULL, NULL, NULL, {"update"}},
    {"ephemeralcontainers", NULL, NULL, NULL, {"get", "patch", "update"}},
    {"resize", NULL, NULL, NULL, {"get", "patch", "update"}},
    {"log", NULL, NULL, NULL, {"get"}},
    {"scale", "autoscaling", "v1", "Scale", {"get", "patch", "update"}},
    {"eviction", "policy", "v1", "Eviction", {"create"}},
    {"binding", "", "v1", "Binding", {"create"}},
    {"exec", "", "v1", "PodExecOptions", {"create", "get"}},
    {"attach", "", "v1", "PodAttachOptions", {"create", "get"}},
    {"portforward", "", "v1", "PodPortForwardOptions", {"create", "get"}},
    {"proxy", "", "v1", "NodeProxyOptions", {"get"}},
    {"token", "authentication.k8s.io", "v1", "TokenRequest", {"create"}},
};

/* Answered by api_review.c. */
#define REVIEWS_VERSION "v1"
static const struct review {
    const char *group, *plural, *singular, *kind;
    bool namespaced;
} reviews[] = {
    {"authentication.k8s.io", "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview", false},
    {"authentication.k8s.io", "tokenreviews", "tokenreview", "TokenReview", false},
    {"authorization.k8s.io", "localsubjectaccessreviews", "localsubjectaccessreview",
     "LocalSubjectAccessReview", true},
    {"authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectaccessreview", "SelfSubjectAccessReview",
     false},
    {"authorization.k8s.io", "selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview",
     false},
    {"authorization.k8s.io", "subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview", false},
};
static const char *const review_verbs[] = {"create"};

static const char *const read_verbs[] = {"get", "list"};

static cJSON *word_list(const char *const *words, size_t n)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < n && words[i]; i++)
        json_push_string(list, words[i]);
    return list;
}

static cJSON *verbs_of(const struct schema_kind *kind)
{
    return kind->info.read_only ? word_list(read_verbs, COUNT_OF(read_verbs))
                                : word_list(verbs, COUNT_OF(verbs));
}

static void add_words(cJSON *object, const char *key, const char *const *words)
{
    if (words[0])
        json_set(object, key, word_list(words, SIZE_MAX));
}

struct gather {
    cJSON *out;
    const char *group, *version; /* wanted; NULL: all */
    bool core, found;
};

/* --- legacy --- */

static void add_legacy_subresources(cJSON *resources, const struct schema_kind *kind)
{
    for (size_t i = 0; i < COUNT_OF(subresources); i++) {
        if (!schema_has_subresource(kind, subresources[i].name))
            continue;
        cJSON *entry = json_push(resources, cJSON_CreateObject());
        auto_free char *name = mem_printf("%s/%s", kind->info.plural, subresources[i].name);
        json_set_string(entry, "name", name);
        json_set_string(entry, "singularName", "");
        json_set_bool(entry, "namespaced", kind->info.namespaced);
        json_set_string(entry, "kind", subresources[i].kind ? subresources[i].kind : kind->info.kind);
        if (subresources[i].kind) {
            json_set_string(entry, "group", subresources[i].group);
            json_set_string(entry, "version", subresources[i].version);
        }
        json_set(entry, "verbs", word_list(subresources[i].verbs, COUNT_OF(subresources[i].verbs)));
    }
}

static void add_legacy_resource(void *arg, const struct schema_kind *kind)
{
    struct gather *gather = arg;
    const struct schema_kind_info *info = &kind->info;
    if (strcmp(info->group, gather->group) != 0 || strcmp(info->version, gather->version) != 0)
        return;
    gather->found = true;
    cJSON *entry = json_push(gather->out, cJSON_CreateObject());
    json_set_string(entry, "name", info->plural);
    json_set_string(entry, "singularName", info->singular);
    json_set_bool(entry, "namespaced", info->namespaced);
    json_set_string(entry, "kind", info->kind);
    json_set(entry, "verbs", verbs_of(kind));
    add_words(entry, "shortNames", info->short_names);
    add_words(entry, "categories", info->categories);
    add_legacy_subresources(gather->out, kind);
}

static void add_legacy_reviews(struct gather *gather)
{
    for (size_t i = 0; i < COUNT_OF(reviews); i++) {
        const struct review *review = &reviews[i];
        if (strcmp(review->group, gather->group) != 0 || strcmp(REVIEWS_VERSION, gather->version) != 0)
            continue;
        gather->found = true;
        cJSON *entry = json_push(gather->out, cJSON_CreateObject());
        json_set_string(entry, "name", review->plural);
        json_set_string(entry, "singularName", review->singular);
        json_set_bool(entry, "namespaced", review->namespaced);
        json_set_string(entry, "kind", review->kind);
        json_set(entry, "verbs", word_list(review_verbs, COUNT_OF(review_verbs)));
    }
}

cJSON *schema_discovery_resources(struct schema *schema, const char *group, const char *version)
{
    auto_json resources = cJSON_CreateArray();
    struct gather gather = {.out = resources, .group = group, .version = version};
    schema_each(schema, add_legacy_resource, &gather);
    add_legacy_reviews(&gather);
    if (!gather.found)
        return NULL;
    auto_free char *group_version = *group ? mem_printf("%s/%s", group, version) : mem_strdup(version);
    cJSON *list = cJSON_CreateObject();
    json_set_string(list, "kind", "APIResourceList");
    json_set_string(list, "apiVersion", "v1");
    json_set_string(list, "groupVersion", group_version);
    json_set(list, "resources", steal(&resources));
    return list;
}

static cJSON *find_named(const cJSON *list, const char *path, const char *name)
{
    json_each (item, list) {
        if (str_eq(json_string(item, path), name))
            return item;
    }
    return NULL;
}

/* --- order of versions, as clients prefer them: v2, v1, v1beta1, v1alpha2, then any other name --- */

struct version {
    int stage; /* 3: stable, 2: beta, 1: alpha, 0: no version of that form */
    long major, minor;
};

static bool take_number(const char **at, long *number)
{
    char *end;
    if (**at < '1' || **at > '9')
        return false;
    *number = strtol(*at, &end, 10);
    *at = end;
    return true;
}

static struct version version_of(const char *name)
{
    static const struct version other = {0};
    struct version version = {.stage = 3};
    const char *at = name + 1;
    if (*name != 'v' || !take_number(&at, &version.major))
        return other;
    if (!*at)
        return version;
    version.stage = str_starts(at, "beta") ? 2 : str_starts(at, "alpha") ? 1 : 0;
    at += version.stage == 2 ? strlen("beta") : version.stage == 1 ? strlen("alpha") : 0;
    return version.stage && take_number(&at, &version.minor) && !*at ? version : other;
}

static bool comes_before(const char *name, const char *than)
{
    struct version a = version_of(name), b = version_of(than);
    if (a.stage != b.stage)
        return a.stage > b.stage;
    if (a.major != b.major)
        return a.major > b.major;
    return a.stage ? a.minor > b.minor : strcmp(name, than) < 0;
}

/* Puts the version where it belongs among those of its group. */
static cJSON *insert_version(cJSON *versions, const char *name)
{
    cJSON *version = json_push(versions, cJSON_CreateObject());
    json_set_string(version, "version", name);
    for (cJSON *present = versions->child, *next; present != version; present = next) {
        next = present->next;
        if (comes_before(name, json_string_or(present, "version", "")))
            json_push(versions, cJSON_DetachItemViaPointer(versions, present));
    }
    return version;
}

static void add_group_version(struct gather *gather, const char *group_name, const char *version_name)
{
    if (!*group_name || (gather->group && strcmp(gather->group, group_name) != 0))
        return;
    cJSON *group = find_named(gather->out, "name", group_name);
    if (!group) {
        group = json_push(gather->out, cJSON_CreateObject());
        json_set_string(group, "name", group_name);
        json_set(group, "versions", cJSON_CreateArray());
    }
    cJSON *versions = json_get(group, "versions");
    if (find_named(versions, "version", version_name))
        return;
    cJSON *version = insert_version(versions, version_name);
    auto_free char *both = mem_printf("%s/%s", group_name, version_name);
    json_set_string(version, "groupVersion", both);
    json_set(group, "preferredVersion", json_copy(versions->child));
}

static void add_group(void *arg, const struct schema_kind *kind)
{
    add_group_version(arg, kind->info.group, kind->info.version);
}

static void add_groups(struct schema *schema, struct gather *gather)
{
    schema_each(schema, add_group, gather);
    for (size_t i = 0; i < COUNT_OF(reviews); i++)
        add_group_version(gather, reviews[i].group, REVIEWS_VERSION);
}

cJSON *schema_discovery_groups(struct schema *schema)
{
    cJSON *list = cJSON_CreateObject();
    json_set_string(list, "kind", "APIGroupList");
    json_set_string(list, "apiVersion", "v1");
    struct gather gather = {.out = json_ensure_array(list, "groups")};
    add_groups(schema, &gather);
    return list;
}

cJSON *schema_discovery_group(struct schema *schema, const char *group)
{
    auto_json groups = cJSON_CreateArray();
    struct gather gather = {.out = groups, .group = group};
    add_groups(schema, &gather);
    if (!groups->child)
        return NULL;
    cJSON *found = cJSON_DetachItemViaPointer(groups, groups->child);
    json_set_string(found, "kind", "APIGroup");
    json_set_string(found, "apiVersion", "v1");
    return found;
}

/* --- aggregated (apidiscovery.k8s.io/v2) --- */

static cJSON *response_kind(const char *group, const char *version, const char *kind)
{
    cJSON *object = cJSON_CreateObject();
    json_set_string(object, "group", group);
    json_set_string(object, "version", version);
    json_set_string(object, "kind", kind);
    return object;
}

static cJSON *aggregated_resource(const struct schema_kind *kind)
{
    const struct schema_kind_info *info = &kind->info;
    cJSON *entry = cJSON_CreateObject();
    json_set_string(entry, "resource", info->plural);
    json_set(entry, "responseKind", response_kind(info->group, info->version, info->kind));
    json_set_string(entry, "scope", info->namespaced ? "Namespaced" : "Cluster");
    json_set_string(entry, "singularResource", info->singular);
    json_set(entry, "verbs", verbs_of(kind));
    add_words(entry, "shortNames", info->short_names);
    add_words(entry, "categories", info->categories);
    for (size_t i = 0; i < COUNT_OF(subresources); i++) {
        if (!schema_has_subresource(kind, subresources[i].name))
            continue;
        cJSON *sub = json_push(json_ensure_array(entry, "subresources"), cJSON_CreateObject());
        json_set_string(sub, "subresource", subresources[i].name);
        if (subresources[i].kind)
            json_set(sub, "responseKind",
                     response_kind(subresources[i].group, subresources[i].version, subresources[i].kind));
        else
            json_set(sub, "responseKind", response_kind(info->group, info->version, info->kind));
        json_set(sub, "verbs", word_list(subresources[i].verbs, COUNT_OF(subresources[i].verbs)));
    }
    return entry;
}

/* The list of a group and version that resources go into. */
static cJSON *aggregated_list(struct gather *gather, const char *group_name, const char *version_name)
{
    cJSON *group = gather->core ? gather->out->child : find_named(gather->out, "metadata.name", group_name);
    if (!group) {
        group = json_push(gather->out, cJSON_CreateObject());
        cJSON *metadata = json_ensure_object(group, "metadata");
        if (!gather->core)
            json_set_string(metadata, "name", group_name);
        json_set(group, "versions", cJSON_CreateArray());
    }
    cJSON *versions = json_get(group, "versions");
    cJSON *version = find_named(versions, "version", version_name);
    if (!version) {
        version = insert_version(versions, version_name);
        json_set_string(version, "freshness", "Current");
        json_set(version, "resources", cJSON_CreateArray());
    }
    return json_get(version, "resources");
}

static void add_aggregated(void *arg, const struct schema_kind *kind)
{
    struct gather *gather = arg;
    if ((*kind->info.group == 0) == gather->core)
        json_push(aggregated_list(gather, kind->info.group, kind->info.version), aggregated_resource(kind));
}

static void add_aggregated_reviews(struct gather *gather)
{
    for (size_t i = 0; i < COUNT_OF(reviews); i++) {
        const struct review *review = &reviews[i];
        cJSON *entry =
            json_push(aggregated_list(gather, review->group, REVIEWS_VERSION), cJSON_CreateObject());
        json_set_string(entry, "resource", review->plural);
        json_set(entry, "responseKind", response_kind(review->group, REVIEWS_VERSION, review->kind));
        json_set_string(entry, "scope", review->namespaced ? "Namespaced" : "Cluster");
        json_set_string(entry, "singularResource", review->singular);
        json_set(entry, "verbs", word_list(review_verbs, COUNT_OF(review_verbs)));
    }
}

cJSON *schema_discovery_aggregated(struct schema *schema, bool core)
{
    cJSON *list = cJSON_CreateObject();
    json_set_string(list, "kind", "APIGroupDiscoveryList");
    json_set_string(list, "apiVersion", "apidiscovery.k8s.io/v2");
    json_set(list, "metadata", cJSON_CreateObject());
    struct gather gather = {.out = json_ensure_array(list, "items"), .core = core};
    schema_each(schema, add_aggregated, &gather);
    if (!core)
        add_aggregated_reviews(&gather);
    return list;
}
