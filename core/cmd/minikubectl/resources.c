/* From words to kinds, by the server's aggregated discovery, fetched once per run and only when a verb needs
 * it. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kubectl.h"

#define DISCOVERY "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

static void add_resource(struct kubectl *k, const char *group, const char *version, const cJSON *entry)
{
    k->resources = mem_resize(k->resources, k->n_resources + 1, sizeof(k->resources[0]));
    struct kubectl_resource *r = &k->resources[k->n_resources++];
    *r = (struct kubectl_resource){
        .group = group,
        .version = version,
        .plural = json_string_or(entry, "resource", ""),
        .singular = json_string_or(entry, "singularResource", ""),
        .kind = json_string_or(entry, "responseKind.kind", ""),
        .namespaced = str_eq(json_string(entry, "scope"), "Namespaced"),
        .short_names = json_get(entry, "shortNames"),
        .categories = json_get(entry, "categories"),
    };
    r->name = *group ? mem_printf("%s.%s", r->plural, group) : mem_strdup(r->plural);
}

static int discover(struct kubectl *k, struct err **err)
{
    if (k->discovery)
        return 0;
    cJSON *documents = cJSON_CreateArray();
    static const char *const roots[] = {"/api", "/apis"};
    for (size_t i = 0; i < COUNT_OF(roots); i++) {
        cJSON *document = kubectl_request(k, "GET", roots[i], DISCOVERY, NULL, NULL, err);
        if (!document) {
            cJSON_Delete(documents);
            return -1;
        }
        json_push(documents, document);
    }
    k->discovery = documents;
    json_each (document, documents) {
        json_each (group, json_get(document, "items")) {
            const char *group_name = json_string_or(group, "metadata.name", "");
            json_each (version, json_get(group, "versions")) {
                json_each (entry, json_get(version, "resources"))
                    add_resource(k, group_name, json_string_or(version, "version", ""), entry);
            }
        }
    }
    return 0;
}

static bool list_has(const cJSON *list, const char *word)
{
    json_each (entry, list) {
        if (str_eq(cJSON_GetStringValue(entry), word))
            return true;
    }
    return false;
}

/* "deploy.apps", "deployments.v1.apps": what follows the first dot is the group, with the version before it.
 */
static bool is_group(const struct kubectl_resource *r, const char *text)
{
    auto_free char *with_version = mem_printf("%s.%s", r->version, r->group);
    return *text && (str_eq(text, r->group) || str_eq(text, with_version));
}

static bool is_called(const struct kubectl_resource *r, const char *word)
{
    const char *dot = strchr(word, '.');
    if (dot && !is_group(r, dot + 1))
        return false;
    auto_free char *plain = mem_strndup(word, dot ? (size_t)(dot - word) : strlen(word));
    return strcasecmp(plain, r->plural) == 0 || strcasecmp(plain, r->kind) == 0 ||
           (*r->singular && strcasecmp(plain, r->singular) == 0) || list_has(r->short_names, plain);
}

const struct kubectl_resource *kubectl_find_resource(struct kubectl *k, const char *word, struct err **err)
{
    if (discover(k, err) < 0)
        return NULL;
    auto_free const char **known = mem_array(k->n_resources * 2 + 1, sizeof(*known));
    size_t n = 0;
    for (size_t i = 0; i < k->n_resources; i++) {
        const struct kubectl_resource *r = &k->resources[i];
        if (is_called(r, word))
            return r;
        known[n++] = r->plural;
        known[n++] = r->singular;
    }
    const char *nearest = str_nearest(word, known, n);
    auto_free char *hint =
        nearest && *nearest ? mem_printf("; did you mean \"%s\"?", nearest) : mem_strdup("");
    err_set(err, ERR_NOT_FOUND, "the server doesn't have a resource type \"%s\"%s", word, hint);
    return NULL;
}

const struct kubectl_resource *kubectl_find_kind(struct kubectl *k, const char *api_version, const char *kind,
                                                 struct err **err)
{
    if (discover(k, err) < 0)
        return NULL;
    const char *slash = strchr(api_version, '/');
    auto_free char *group = slash ? mem_strndup(api_version, (size_t)(slash - api_version)) : mem_strdup("");
    const char *version = slash ? slash + 1 : api_version;
    auto_free const char **kinds = mem_array(k->n_resources + 1, sizeof(*kinds));
    for (size_t i = 0; i < k->n_resources; i++) {
        const struct kubectl_resource *r = &k->resources[i];
        if (str_eq(r->kind, kind) && str_eq(r->group, group) && str_eq(r->version, version))
            return r;
        kinds[i] = r->kind;
    }
    const char *nearest = str_nearest(kind, kinds, k->n_resources);
    auto_free char *hint = nearest ? mem_printf("; did you mean %s?", nearest) : mem_strdup("");
    err_set(err, ERR_NOT_FOUND, "no matches for kind \"%s\" in version \"%s\"%s", kind, api_version, hint);
    return NULL;
}

char *kubectl_target(struct kubectl *k, const struct kubectl_resource *resource, const char *namespace,
                     const char *name, const char *subresource)
{
    const char *where = !resource->namespaced ? NULL : namespace ? namespace : k->namespace;
    if (resource->namespaced && !namespace && k->flags.all_namespaces)
        where = NULL;
    return client_path(resource->name, resource->version, where, name, subresource);
}

static void add_reference(struct kubectl_reference **list, size_t *count,
                          const struct kubectl_resource *resource, const char *name)
{
    *list = mem_resize(*list, *count + 1, sizeof(**list));
    (*list)[(*count)++] = (struct kubectl_reference){resource, name, NULL};
}

static int add_category(struct kubectl *k, const char *word, struct kubectl_reference **list, size_t *count,
                        struct err **err)
{
    if (discover(k, err) < 0)
        return -1;
    for (size_t i = 0; i < k->n_resources; i++)
        if (list_has(k->resources[i].categories, word))
            add_reference(list, count, &k->resources[i], NULL);
    return 0;
}

static int add_kinds(struct kubectl *k, const char *words, struct kubectl_reference **list, size_t *count,
                     struct err **err)
{
    size_t n;
    auto_free char **parts = str_split(words, ',', &n);
    for (size_t i = 0; i < n; i++) {
        size_t before = *count;
        if (str_eq(parts[i], "all") && add_category(k, parts[i], list, count, err) < 0)
            return -1;
        if (*count > before)
            continue;
        const struct kubectl_resource *resource = kubectl_find_resource(k, parts[i], err);
        if (!resource)
            return -1;
        add_reference(list, count, resource, NULL);
    }
    return 0;
}

static int add_pairs(struct kubectl *k, int first, struct kubectl_reference **list, size_t *count,
                     struct err **err)
{
    for (int i = first; i < k->n_args; i++) {
        const char *slash = strchr(k->args[i], '/');
        if (!slash)
            return err_set(err, ERR_BAD_REQUEST, "\"%s\": give all as KIND/NAME, or one KIND and names",
                           k->args[i]);
        if (!slash[1] || strchr(slash + 1, '/'))
            return err_set(err, ERR_BAD_REQUEST,
                           "arguments in resource/name form must have a single resource and name");
        auto_free char *kind = mem_strndup(k->args[i], (size_t)(slash - k->args[i]));
        const struct kubectl_resource *resource = kubectl_find_resource(k, kind, err);
        if (!resource)
            return -1;
        add_reference(list, count, resource, slash + 1);
    }
    return 0;
}

int kubectl_references(struct kubectl *k, int first, struct kubectl_reference **list, size_t *count,
                       struct err **err)
{
    *list = NULL;
    *count = 0;
    if (first >= k->n_args)
        return err_set(err, ERR_BAD_REQUEST, "you must say what: KIND [NAME], or KIND/NAME");
    if (strchr(k->args[first], '/'))
        return add_pairs(k, first, list, count, err);
    size_t kinds = 0;
    auto_free struct kubectl_reference *all = NULL;
    if (add_kinds(k, k->args[first], &all, &kinds, err) < 0)
        return -1;
    if (first + 1 == k->n_args) {
        *list = steal(&all);
        *count = kinds;
        return 0;
    }
    for (int i = first + 1; i < k->n_args; i++) {
        if (strchr(k->args[i], '/'))
            return err_set(
                err, ERR_BAD_REQUEST,
                "there is no need to specify a resource type as a separate argument when passing "
                "arguments in resource/name form (e.g. 'get pod/NAME' instead of 'get pod pod/NAME')");
        for (size_t j = 0; j < kinds; j++)
            add_reference(list, count, all[j].resource, k->args[i]);
    }
    return 0;
}

/* Items of a list come without kind and apiVersion when the server follows Kubernetes to the letter. */
static void name_kind(cJSON *object, const struct kubectl_resource *r)
{
    if (json_get(object, "kind"))
        return;
    auto_free char *version = mem_printf("%s%s%s", r->group, *r->group ? "/" : "", r->version);
    json_set_string(object, "apiVersion", version);
    json_set_string(object, "kind", r->kind);
}

cJSON *kubectl_read_all(struct kubectl *k, const struct kubectl_reference *refs, size_t count, int *code,
                        struct err **err)
{
    auto_json all = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        auto_str target = {0};
        auto_free char *path = kubectl_target(k, refs[i].resource, refs[i].namespace, refs[i].name, NULL);
        str_add(&target, path);
        if (!refs[i].name && k->flags.selector)
            http_query_add(&target, "labelSelector", k->flags.selector);
        if (!refs[i].name && k->flags.field_selector)
            http_query_add(&target, "fieldSelector", k->flags.field_selector);
        auto_err failed = NULL;
        auto_json answer = kubectl_request(k, "GET", str_c(&target), NULL, NULL, NULL, &failed);
        if (!answer && (!refs[i].name || err_code(failed) != ERR_NOT_FOUND)) {
            err_move(err, &failed);
            return NULL;
        }
        if (!answer) {
            if (!k->flags.ignore_not_found)
                *code = kubectl_fail_named(k, failed, NULL, &refs[i]);
            continue;
        }
        cJSON *items = json_get(answer, "items"), *item;
        if (!refs[i].name && cJSON_IsArray(items)) {
            while ((item = cJSON_DetachItemFromArray(items, 0)))
                name_kind(json_push(all, item), refs[i].resource);
        } else {
            json_push(all, steal(&answer));
        }
    }
    return steal(&all);
}

struct kubectl_reference kubectl_reference_of(struct kubectl *k, const cJSON *object)
{
    const struct kubectl_resource *resource = kubectl_find_kind(k, json_string_or(object, "apiVersion", ""),
                                                                json_string_or(object, "kind", ""), NULL);
    return (struct kubectl_reference){resource, json_string(object, "metadata.name"),
                                      json_string(object, "metadata.namespace")};
}

int verb_api_resources(struct kubectl *k)
{
    auto_err err = NULL;
    if (discover(k, &err) < 0)
        return kubectl_fail(err, NULL);
    struct kubectl_grid grid = {.columns = 5};
    static const char *const head[] = {"NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"};
    if (!k->flags.no_headers)
        kubectl_grid_row(&grid, head);
    for (size_t i = 0; i < k->n_resources; i++) {
        const struct kubectl_resource *r = &k->resources[i];
        auto_str short_names = {0};
        json_each (name, r->short_names)
            str_addf(&short_names, "%s%s", short_names.len ? "," : "", cJSON_GetStringValue(name));
        auto_free char *version = mem_printf("%s%s%s", r->group, *r->group ? "/" : "", r->version);
        const char *cells[] = {r->plural, str_c(&short_names), version, r->namespaced ? "true" : "false",
                               r->kind};
        kubectl_grid_row(&grid, cells);
    }
    kubectl_grid_print(&grid, NULL, NULL);
    return 0;
}
