/*
 * schema_rules_kinds: cross-field checks of Services, ConfigMaps, Secrets, Nodes, EndpointSlices, Endpoints
 * and Events. Wording after Kubernetes' validation of these kinds. Addresses and node ports are given out by
 * api, not here.
 */
#include <arpa/inet.h>
#include <string.h>

#include "schema/schema_private.h"

#define MAX_DATA (1024 * 1024)

/* --- Service --- */

static void check_service_ports(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    const cJSON *ports = json_get(spec, "ports");
    const struct schema_path at_ports = {.up = path, .key = "ports"};
    const char *type = json_string_or(spec, "type", "ClusterIP");
    bool several = ports && ports->child && ports->child->next;
    int i = 0;
    json_each (port, ports) {
        const struct schema_path here = {.up = &at_ports, .index = i++};
        const cJSON *name = json_get(port, "name"), *node_port = json_get(port, "nodePort");
        if (several && !name)
            invalid_required(v, SCHEMA_FIELD(&here, "name"), NULL);
        if (json_int(node_port, "", 0) && strcmp(type, "ClusterIP") == 0)
            invalid_forbidden(v, SCHEMA_FIELD(&here, "nodePort"),
                              "may not be used when `type` is 'ClusterIP'");
        for (const cJSON *before = ports->child; before != port; before = before->next) {
            if (name && json_equal(json_get(before, "name"), name))
                invalid_duplicate(v, SCHEMA_FIELD(&here, "name"), name);
            if (json_equal(json_get(before, "port"), json_get(port, "port")) &&
                str_eq(json_string_or(before, "protocol", "TCP"), json_string_or(port, "protocol", "TCP")))
                invalid_duplicate(v, &here, port);
        }
    }
}

static void check_cluster_ip(struct validation *v, const cJSON *spec, const cJSON *old,
                             const struct schema_path *path)
{
    const cJSON *address = json_get(spec, "clusterIP");
    const char *text = cJSON_IsString(address) ? address->valuestring : "";
    unsigned char bytes[16];
    const struct schema_path here = {.up = path, .key = "clusterIP"};
    if (*text && strcmp(text, "None") != 0 && inet_pton(AF_INET, text, bytes) != 1 &&
        inet_pton(AF_INET6, text, bytes) != 1)
        invalid_value(v, &here, address, "must be empty, 'None', or a valid IP address");
    const char *before = json_string_or(old, "clusterIP", "");
    if (*before && *text && strcmp(before, text) != 0 && !str_eq(json_string(old, "type"), "ExternalName"))
        invalid_immutable(v, &here, address);
}

/* Addresses that cannot lead to a Service, with Kubernetes' words. */
static const char *special_address(const char *text)
{
    struct in_addr parsed;
    if (inet_pton(AF_INET, text, &parsed) != 1)
        return NULL; /* the format's business */
    uint32_t address = ntohl(parsed.s_addr);
    if (address == 0)
        return "may not be unspecified (0.0.0.0 or ::)";
    if (address >> 24 == 127)
        return "may not be in the loopback range (127.0.0.0/8, ::1/128)";
    if (address >> 16 == (169 << 8 | 254))
        return "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
    if (address >> 28 == 14)
        return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
    return address == UINT32_MAX ? "may not be the broadcast address" : NULL;
}

static void check_external_addresses(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    const struct schema_path list = {.up = path, .key = "externalIPs"};
    const cJSON *first = json_get(spec, "externalIPs") ? json_get(spec, "externalIPs")->child : NULL;
    int i = 0;
    json_each (address, json_get(spec, "externalIPs")) {
        const char *why = cJSON_IsString(address) ? special_address(address->valuestring) : NULL;
        if (why)
            invalid_value(v, SCHEMA_INDEX(&list, i), address, "%s", why);
        for (const cJSON *before = first; before != address; before = before->next)
            if (json_equal(before, address))
                invalid_duplicate(v, SCHEMA_INDEX(&list, i), address);
        i++;
    }
}

static void rule_service(struct validation *v, const cJSON *service, UNUSED const cJSON *old,
                         UNUSED const struct schema_path *path)
{
    static const char key[] = "minik8s.io/balance", *const modes[] = {"random", "round-robin", "source-hash"};
    const cJSON *mode = json_get(json_at(service, "metadata.annotations"), key);
    const struct schema_path metadata = {.key = "metadata"};
    const struct schema_path annotations = {.up = &metadata, .key = "annotations"};
    for (size_t i = 0; i < COUNT_OF(modes); i++)
        if (!mode || str_eq(mode->valuestring, modes[i]))
            return;
    invalid_value(v, SCHEMA_FIELD(&annotations, key), mode, "must be random, round-robin or source-hash");
}

static void check_external_name(struct validation *v, const cJSON *spec, const struct schema_path *path)
{
    const char *address = json_string_or(spec, "clusterIP", "");
    if (str_empty(json_string(spec, "externalName")))
        invalid_required(v, SCHEMA_FIELD(path, "externalName"), NULL);
    if (strcmp(address, "None") == 0)
        invalid_value(v, SCHEMA_FIELD(path, "clusterIP"), json_get(spec, "clusterIP"),
                      "may not be set to 'None' for ExternalName services");
    else if (*address)
        invalid_forbidden(v, SCHEMA_FIELD(path, "clusterIP"), "must be empty for ExternalName services");
}

static void rule_service_spec(struct validation *v, const cJSON *spec, const cJSON *old,
                              const struct schema_path *path)
{
    const char *type = json_string_or(spec, "type", "ClusterIP");
    const char *address = json_string_or(spec, "clusterIP", "");
    check_service_ports(v, spec, path);
    check_external_addresses(v, spec, path);
    if (json_get(spec, "allocateLoadBalancerNodePorts") && strcmp(type, "LoadBalancer") != 0)
        invalid_forbidden(v, SCHEMA_FIELD(path, "allocateLoadBalancerNodePorts"),
                          "may only be used when `type` is 'LoadBalancer'");
    if (strcmp(type, "ExternalName") == 0) {
        check_external_name(v, spec, path);
        return;
    }
    check_cluster_ip(v, spec, old, path);
    if (strcmp(address, "None") == 0 && strcmp(type, "ClusterIP") != 0)
        invalid_value(v, SCHEMA_FIELD(path, "clusterIP"), json_get(spec, "clusterIP"),
                      "may not be set to 'None' for %s services", type);
    if (strcmp(address, "None") != 0 && !json_at(spec, "ports[0]"))
        invalid_required(v, SCHEMA_FIELD(path, "ports"), NULL);
}

static void rule_endpoint_slice(struct validation *v, const cJSON *slice, UNUSED const cJSON *old,
                                UNUSED const struct schema_path *path)
{
    const char *type = json_string_or(slice, "addressType", "");
    int family = strcmp(type, "IPv4") == 0 ? AF_INET : strcmp(type, "IPv6") == 0 ? AF_INET6 : 0;
    const struct schema_path endpoints = {.key = "endpoints"};
    int i = 0;
    json_each (endpoint, json_get(slice, "endpoints")) {
        const struct schema_path here = {.up = &endpoints, .index = i++};
        const struct schema_path addresses = {.up = &here, .key = "addresses"};
        int a = 0;
        json_each (address, json_get(endpoint, "addresses")) {
            unsigned char bytes[16];
            if (family && cJSON_IsString(address) && inet_pton(family, address->valuestring, bytes) != 1)
                invalid_value(v, SCHEMA_INDEX(&addresses, a), address, "must be a valid %s address", type);
            a++;
        }
    }
}

/* --- ConfigMap, Secret --- */

static void check_frozen(struct validation *v, const cJSON *object, const cJSON *old, const char *key)
{
    if (!json_equal(json_get(old, key), json_get(object, key)))
        invalid_forbidden(v, &(struct schema_path){.key = key}, "field is immutable when `immutable` is set");
}

static void check_immutable_data(struct validation *v, const cJSON *object, const cJSON *old)
{
    if (!old || !json_bool(old, "immutable", false))
        return;
    if (!json_bool(object, "immutable", false))
        invalid_forbidden(v, &(struct schema_path){.key = "immutable"},
                          "field is immutable when `immutable` is set");
    check_frozen(v, object, old, "data");
    check_frozen(v, object, old, "binaryData");
}

static size_t size_of(const cJSON *map)
{
    size_t size = 0;
    json_each (item, map)
        size += strlen(item->string) + (cJSON_IsString(item) ? strlen(item->valuestring) : 0);
    return size;
}

static void rule_config_map(struct validation *v, const cJSON *object, const cJSON *old,
                            UNUSED const struct schema_path *path)
{
    const cJSON *data = json_get(object, "data"), *binary = json_get(object, "binaryData");
    const struct schema_path at_data = {.key = "data"};
    check_immutable_data(v, object, old);
    if (size_of(data) + size_of(binary) / 4 * 3 > MAX_DATA)
        invalid_too_long(v, NULL, MAX_DATA);
    auto_map keys = {0};
    json_each (item, binary)
        map_set(&keys, item->string, (void *)item);
    json_each (item, data) {
        if (map_has(&keys, item->string)) {
            const cJSON key = {.type = cJSON_String, .valuestring = item->string};
            invalid_value(v, &(struct schema_path){.up = &at_data, .key = item->string, .in_map = true}, &key,
                          "duplicate of key present in binaryData");
        }
    }
}

static void rule_secret(struct validation *v, const cJSON *object, const cJSON *old,
                        UNUSED const struct schema_path *path)
{
    static const struct {
        const char *type, *key;
    } needed[] = {{"kubernetes.io/dockerconfigjson", ".dockerconfigjson"},
                  {"kubernetes.io/dockercfg", ".dockercfg"},
                  {"kubernetes.io/tls", "tls.crt"},
                  {"kubernetes.io/tls", "tls.key"},
                  {"kubernetes.io/ssh-auth", "ssh-privatekey"}};
    const cJSON *data = json_get(object, "data");
    const struct schema_path at_data = {.key = "data"};
    check_immutable_data(v, object, old);
    if (size_of(data) / 4 * 3 > MAX_DATA)
        invalid_too_long(v, &at_data, MAX_DATA);
    for (size_t i = 0; i < COUNT_OF(needed); i++) {
        if (str_eq(json_string(object, "type"), needed[i].type) && !json_get(data, needed[i].key))
            invalid_required(v, &(struct schema_path){.up = &at_data, .key = needed[i].key, .in_map = true},
                             NULL);
    }
}

/* --- the rest --- */

static void rule_endpoint_subsets(struct validation *v, const cJSON *subsets, UNUSED const cJSON *old,
                                  const struct schema_path *path)
{
    int i = 0;
    json_each (subset, subsets) {
        const struct schema_path here = {.up = path, .index = i++}, at_ports = {.up = &here, .key = "ports"};
        const cJSON *ports = json_get(subset, "ports");
        if (!json_at(subset, "addresses[0]") && !json_at(subset, "notReadyAddresses[0]"))
            invalid_required(v, &here, "must specify `addresses` or `notReadyAddresses`");
        int at = 0;
        json_each (port, ports) {
            const struct schema_path one = {.up = &at_ports, .index = at++};
            if (ports->child->next && str_empty(json_string(port, "name")))
                invalid_required(v, SCHEMA_FIELD(&one, "name"), NULL);
        }
    }
}

static void rule_node(struct validation *v, const cJSON *node, const cJSON *old,
                      UNUSED const struct schema_path *path)
{
    const struct schema_path spec = {.key = "spec"};
    const char *before = json_string_or(old, "spec.podCIDR", "");
    if (*before && !str_eq(before, json_string(node, "spec.podCIDR")))
        invalid_forbidden(v, SCHEMA_FIELD(&spec, "podCIDR"),
                          "node updates may not change podCIDR except from \"\" to valid");
}

static void check_columns(struct validation *v, const cJSON *version, const struct schema_path *path)
{
    const struct schema_path columns = {.up = path, .key = "additionalPrinterColumns"};
    int i = 0;
    json_each (column, json_get(version, "additionalPrinterColumns")) {
        const struct schema_path here = {.up = &columns, .index = i++};
        const char *json_path = json_string(column, "jsonPath");
        auto_err error = NULL;
        if (json_path && schema_try_json_path(json_path, &error) < 0)
            invalid_value(v, SCHEMA_FIELD(&here, "jsonPath"), json_get(column, "jsonPath"), "%s",
                          err_message(error));
    }
}

/* The name is PLURAL.GROUP, one version is stored, schema and columns compile: what is wrong is said now, not
 * when used. */
static void rule_crd(struct validation *v, const cJSON *crd, UNUSED const cJSON *old,
                     UNUSED const struct schema_path *path)
{
    const struct schema_path metadata = {.key = "metadata"}, spec = {.key = "spec"};
    const struct schema_path versions = {.up = &spec, .key = "versions"};
    auto_free char *name = mem_printf("%s.%s", json_string_or(crd, "spec.names.plural", ""),
                                      json_string_or(crd, "spec.group", ""));
    if (!str_eq(json_string(crd, "metadata.name"), name))
        invalid_value(v, SCHEMA_FIELD(&metadata, "name"), json_at(crd, "metadata.name"),
                      "must be spec.names.plural+\".\"+spec.group");
    int i = 0, stored = 0;
    json_each (version, json_at(crd, "spec.versions")) {
        const struct schema_path here = {.up = &versions, .index = i++};
        stored += json_bool(version, "storage", false);
        const cJSON *schema = json_at(version, "schema.openAPIV3Schema");
        auto_err error = NULL;
        if (!schema)
            invalid_required(v, SCHEMA_FIELD(&here, "schema"), "schemas are required");
        else if (schema_try_custom(schema, &error))
            invalid_value(v, SCHEMA_FIELD(&here, "schema"), NULL, "%s", err_message(error));
        check_columns(v, version, &here);
    }
    if (i && stored != 1)
        invalid_value(v, &versions, NULL, "must have exactly one version marked as storage version");
}

static void rule_event(struct validation *v, const cJSON *event, UNUSED const cJSON *old,
                       UNUSED const struct schema_path *path)
{
    const struct schema_path object = {.key = "involvedObject"};
    const char *namespace = json_string_or(event, "involvedObject.namespace", "");
    const char *own = json_string_or(event, "metadata.namespace", "");
    /* events about cluster-scoped objects live in "default" */
    if (*own && *namespace && strcmp(namespace, own) != 0)
        invalid_value(v, SCHEMA_FIELD(&object, "namespace"), json_at(event, "involvedObject.namespace"),
                      "does not match event.namespace");
}

const struct schema_named_rule schema_rules_kinds[] = {
    {"serviceSpec", rule_service_spec},
    {"service", rule_service},
    {"endpointSlice", rule_endpoint_slice},
    {"endpointSubsets", rule_endpoint_subsets},
    {"configMap", rule_config_map},
    {"secret", rule_secret},
    {"node", rule_node},
    {"event", rule_event},
    {"crd", rule_crd},
    {NULL, NULL},
};
