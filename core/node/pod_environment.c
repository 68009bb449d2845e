/*
 * pod_environment: the variables of a container: values, fields of the pod, requests and limits, ConfigMaps
 * and Secrets, and
 * $(NAME) in values, command and arguments. Pure in the pod and what it refers to.
 * Order and precedence as in Kubernetes: the kubernetes Service, envFrom in order, env in order; later ones
 * win.
 */
#include <arpa/inet.h>
#include <string.h>

#include "base/quantity.h"
#include "node/node_internal.h"

/* $(NAME) becomes the value if NAME is known, stays if not; $$ is one $. Source: Kubernetes' expansion of
 * references. */
char *pod_expand(const char *text, const struct map *environment)
{
    auto_str out = {0};
    for (const char *at = text; *at; at++) {
        if (*at != '$') {
            str_add_char(&out, *at);
            continue;
        }
        const char *end = at[1] == '(' ? strchr(at, ')') : NULL;
        if (at[1] == '$') {
            str_add_char(&out, '$');
            at++;
        } else if (end) {
            auto_free char *name = mem_strndup(at + 2, (size_t)(end - at - 2));
            const char *value = map_get(environment, name);
            if (value)
                str_add(&out, value);
            else
                str_add_n(&out, at, (size_t)(end - at + 1));
            at = end;
        } else {
            str_add_char(&out, '$');
        }
    }
    return str_take(&out);
}

static char *labels_text(const cJSON *map)
{
    auto_str out = {0};
    json_each (entry, map) {
        str_addf(&out, "%s=", entry->string);
        str_add_json(&out, cJSON_IsString(entry) ? entry->valuestring : "");
        str_add_char(&out, '\n');
    }
    return str_take(&out);
}

char *pod_field(const struct pod *pod, const char *path, struct err **err)
{
    char text[INET_ADDRSTRLEN];
    if (str_eq(path, "status.podIP") || str_eq(path, "status.podIPs"))
        return mem_strdup(pod_ip(pod, text) ? pod_ip(pod, text) : "");
    if (str_eq(path, "status.hostIP") || str_eq(path, "status.hostIPs"))
        return mem_strdup(pod->node->options.internal_ip);
    if (str_eq(path, "spec.nodeName"))
        return mem_strdup(pod->node->options.name);
    const cJSON *metadata = json_get(pod->object, "metadata");
    if (str_eq(path, "metadata.labels"))
        return labels_text(json_get(metadata, "labels"));
    if (str_eq(path, "metadata.annotations"))
        return labels_text(json_get(metadata, "annotations"));
    const char *const maps[] = {"labels", "annotations"};
    for (size_t i = 0; i < COUNT_OF(maps); i++) {
        auto_free char *prefix = mem_printf("metadata.%s['", maps[i]);
        if (!str_starts(path, prefix) || !str_ends(path, "']"))
            continue;
        auto_free char *key = mem_strndup(path + strlen(prefix), strlen(path) - strlen(prefix) - 2);
        const cJSON *value = json_get(json_get(metadata, maps[i]), key);
        return mem_strdup(cJSON_IsString(value) ? value->valuestring : "");
    }
    if (str_eq(path, "metadata.name") || str_eq(path, "metadata.namespace") || str_eq(path, "metadata.uid") ||
        str_eq(path, "spec.serviceAccountName"))
        return mem_strdup(json_string_or(pod->object, path, ""));
    err_set(err, ERR_INVALID, "field \"%.128s\" is not supported", path);
    return NULL;
}

char *pod_resource_field(const struct container *container, const cJSON *selector, struct err **err)
{
    const char *resource = json_string_or(selector, "resource", ""),
               *other = json_string(selector, "containerName");
    const char *divisor = json_string_or(selector, "divisor", "1");
    const struct container *c = str_empty(other) ? container : pod_container(container->pod, other);
    auto_free char *path = mem_printf("resources.%s", resource);
    const char *text = json_string(c ? c->spec : NULL, path);
    bool cpu = str_ends(resource, ".cpu");
    const struct node_options *options = &container->pod->node->options;
    int64_t value = 0, unit = 0;
    if (text && quantity_milli(text, &value, err) < 0)
        return NULL;
    if (!text && str_starts(resource, "limits.")) /* no limit: what the node has */
        value = cpu ? options->system_cpu_milli : options->system_memory_bytes * 1000;
    if (str_eq(divisor, "0"))
        divisor = "1";
    if (quantity_milli(divisor, &unit, err) < 0)
        return NULL;
    unit = unit > 0 ? unit : 1000;
    return mem_printf("%lld", (long long)((value + unit - 1) / unit));
}

/* The value of a key of a ConfigMap or Secret. NULL and no error: optional and absent. */
static char *key_value(const struct pod *pod, const char *resource, const cJSON *selector, struct err **err)
{
    const char *name = json_string_or(selector, "name", ""), *key = json_string_or(selector, "key", "");
    bool optional = json_bool(selector, "optional", false), secret = str_eq(resource, "secrets");
    auto_free char *own = mem_printf("%s/%s", resource, name);
    const cJSON *object = json_get(pod->references, own);
    const cJSON *value = json_get(json_get(object, "data"), key);
    bool binary = secret;
    if (!value && !secret) {
        value = json_get(json_get(object, "binaryData"), key);
        binary = value != NULL;
    }
    if (!cJSON_IsString(value)) {
        if (!optional && !object)
            err_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", secret ? "secret" : "configmap", name);
        else if (!optional)
            err_set(err, ERR_NOT_FOUND, "couldn't find key %s in %s %s/%s", key,
                    secret ? "Secret" : "ConfigMap", pod->namespace, name);
        return NULL;
    }
    if (!binary)
        return mem_strdup(value->valuestring);
    unsigned char *data = NULL;
    size_t len;
    if (str_unbase64(value->valuestring, strlen(value->valuestring), &data, &len) < 0) {
        err_set(err, ERR_INVALID, "key %s of %s/%s is not base64", key, pod->namespace, name);
        return NULL;
    }
    char *text = mem_strndup((char *)data, len);
    free(data);
    return text;
}

static int add_all_keys(const struct pod *pod, const cJSON *source, struct map *environment, struct err **err)
{
    const char *const kinds[] = {"configMapRef", "secretRef"}, *const resources[] = {"configmaps", "secrets"};
    const char *prefix = json_string_or(source, "prefix", "");
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        const cJSON *reference = json_get(source, kinds[i]);
        if (!reference)
            continue;
        const char *name = json_string_or(reference, "name", "");
        auto_free char *own = mem_printf("%s/%s", resources[i], name);
        const cJSON *object = json_get(pod->references, own);
        if (!object && !json_bool(reference, "optional", false))
            return err_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", i ? "secret" : "configmap", name);
        json_each (entry, json_get(object, "data")) {
            auto_json selector = cJSON_CreateObject();
            json_set_string(selector, "name", name);
            json_set_string(selector, "key", entry->string);
            char *value = key_value(pod, resources[i], selector, err);
            if (!value)
                return -1;
            auto_free char *variable = mem_printf("%s%s", prefix, entry->string);
            map_set(environment, variable, value);
        }
    }
    return 0;
}

static int add_variable(const struct container *c, const cJSON *variable, struct map *environment,
                        struct err **err)
{
    const char *name = json_string_or(variable, "name", ""), *value = json_string(variable, "value");
    const cJSON *from = json_get(variable, "valueFrom");
    if (!from) {
        map_set(environment, name, pod_expand(value ? value : "", environment));
        return 0;
    }
    auto_err error = NULL;
    char *found = NULL;
    if (json_get(from, "fieldRef"))
        found = pod_field(c->pod, json_string_or(from, "fieldRef.fieldPath", ""), &error);
    else if (json_get(from, "resourceFieldRef"))
        found = pod_resource_field(c, json_get(from, "resourceFieldRef"), &error);
    else if (json_get(from, "configMapKeyRef"))
        found = key_value(c->pod, "configmaps", json_get(from, "configMapKeyRef"), &error);
    else if (json_get(from, "secretKeyRef"))
        found = key_value(c->pod, "secrets", json_get(from, "secretKeyRef"), &error);
    if (error)
        return err_move(err, &error);
    if (found)
        map_set(environment, name, found);
    return 0;
}

static void add_kubernetes(const struct node *node, struct map *environment)
{
    const struct cache_item *item = cache_get(node->cache, "services", "default/kubernetes");
    if (!item)
        return;
    auto_json service = json_parse_trusted(item->bytes->data, item->bytes->len);
    const char *address = json_string(service, "spec.clusterIP");
    if (str_empty(address) || str_eq(address, "None"))
        return;
    map_set(environment, "KUBERNETES_SERVICE_HOST", mem_strdup(address));
    map_set(environment, "KUBERNETES_SERVICE_PORT",
            mem_printf("%lld", (long long)json_int(service, "spec.ports[0].port", 443)));
}

int pod_environment(const struct container *c, struct map *environment, struct err **err)
{
    map_init(environment, free);
    add_kubernetes(c->pod->node, environment);
    json_each (source, json_get(c->spec, "envFrom"))
        if (add_all_keys(c->pod, source, environment, err) < 0)
            return -1;
    json_each (variable, json_get(c->spec, "env"))
        if (add_variable(c, variable, environment, err) < 0)
            return -1;
    return 0;
}
