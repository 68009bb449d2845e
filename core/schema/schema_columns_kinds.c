/*
 * schema_columns_kinds: computed columns of all kinds but Pod: age, node status and roles,
 * Service addresses and ports, endpoints, events. Formats as
 * kubectl's users know them.
 */
#include <stdio.h>
#include <string.h>

#include "schema/schema_columns.h"

#define MAX_SHOWN 3 /* of endpoints and slice ports, then "+ N more..." */

static cJSON *age_at(const cJSON *object, const char *path, int64_t now_wall_ns)
{
    auto_free char *text = schema_age_text(json_string(object, path), now_wall_ns);
    return cell_text(text);
}

static cJSON *column_age(const cJSON *object, int64_t now_wall_ns)
{
    return age_at(object, "metadata.creationTimestamp", now_wall_ns);
}

static cJSON *column_node_status(const cJSON *node, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    json_each (condition, json_at(node, "status.conditions")) {
        if (str_eq(json_string(condition, "type"), "Ready"))
            cell_comma(&text, str_eq(json_string(condition, "status"), "True") ? "Ready" : "NotReady");
    }
    if (!text.len)
        str_add(&text, "Unknown");
    if (json_bool(node, "spec.unschedulable", false))
        cell_comma(&text, "SchedulingDisabled");
    return cell_from(&text, "");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static cJSON *column_node_roles(const cJSON *node, UNUSED int64_t now_wall_ns)
{
    static const char prefix[] = "node-role.kubernetes.io/";
    const char *roles[16];
    size_t n = 0;
    json_each (label, json_at(node, "metadata.labels")) {
        const char *role = NULL;
        if (str_starts(label->string, prefix))
            role = label->string + sizeof(prefix) - 1;
        else if (strcmp(label->string, "kubernetes.io/role") == 0 && cJSON_IsString(label))
            role = label->valuestring;
        if (role && *role && n < COUNT_OF(roles))
            roles[n++] = role;
    }
    qsort(roles, n, sizeof(*roles), by_text);
    struct str text = {0};
    for (size_t i = 0; i < n; i++)
        cell_comma(&text, roles[i]);
    return cell_from(&text, "<none>");
}

static cJSON *node_address(const cJSON *node, const char *type)
{
    json_each (address, json_at(node, "status.addresses")) {
        if (str_eq(json_string(address, "type"), type))
            return cell_text(json_string_or(address, "address", "<none>"));
    }
    return cell_text("<none>");
}

static cJSON *column_internal_ip(const cJSON *node, UNUSED int64_t now_wall_ns)
{
    return node_address(node, "InternalIP");
}

static cJSON *column_external_ip(const cJSON *node, UNUSED int64_t now_wall_ns)
{
    return node_address(node, "ExternalIP");
}

static cJSON *column_service_external(const cJSON *service, UNUSED int64_t now_wall_ns)
{
    const char *type = json_string_or(service, "spec.type", "ClusterIP");
    if (strcmp(type, "ExternalName") == 0)
        return cell_text(json_string_or(service, "spec.externalName", "<none>"));
    struct str text = {0};
    json_each (ingress, json_at(service, "status.loadBalancer.ingress"))
        cell_comma(&text, json_string_or(ingress, "ip", json_string_or(ingress, "hostname", "")));
    json_each (address, json_at(service, "spec.externalIPs"))
        cell_comma(&text, cJSON_IsString(address) ? address->valuestring : "");
    return cell_from(&text, strcmp(type, "LoadBalancer") == 0 ? "<pending>" : "<none>");
}

static cJSON *column_service_ports(const cJSON *service, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    json_each (port, json_at(service, "spec.ports")) {
        int64_t node_port = json_int(port, "nodePort", 0);
        str_addf(&text, "%s%lld", text.len ? "," : "", (long long)json_int(port, "port", 0));
        if (node_port)
            str_addf(&text, ":%lld", (long long)node_port);
        str_addf(&text, "/%s", json_string_or(port, "protocol", "TCP"));
    }
    return cell_from(&text, "<none>");
}

static cJSON *finish_list(struct str *text, size_t total, const char *empty)
{
    if (total > MAX_SHOWN)
        str_addf(text, " + %zu more...", total - MAX_SHOWN);
    return cell_from(text, empty);
}

static cJSON *column_slice_ports(const cJSON *slice, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    size_t n = 0;
    json_each (port, json_get(slice, "ports")) {
        char number[24];
        snprintf(number, sizeof(number), "%lld", (long long)json_int(port, "port", 0));
        if (n++ < MAX_SHOWN)
            cell_comma(&text, json_get(port, "port") ? number : "*");
    }
    return finish_list(&text, n, "<unset>");
}

static cJSON *column_slice_endpoints(const cJSON *slice, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    size_t n = 0;
    json_each (endpoint, json_get(slice, "endpoints")) {
        json_each (address, json_get(endpoint, "addresses")) {
            if (cJSON_IsString(address) && n++ < MAX_SHOWN)
                cell_comma(&text, address->valuestring);
        }
    }
    return finish_list(&text, n, "<unset>");
}

/* ADDRESS:PORT of what gets traffic, for each port; of a subset without ports the addresses. */
static cJSON *column_endpoints_addresses(const cJSON *endpoints, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    size_t n = 0;
    json_each (subset, json_get(endpoints, "subsets")) {
        const cJSON *ports = json_get(subset, "ports"), *port = ports ? ports->child : NULL;
        do {
            auto_free char *after = port ? mem_printf(":%lld", (long long)json_int(port, "port", 0)) : NULL;
            json_each (address, json_get(subset, "addresses")) {
                const char *ip = json_string_or(address, "ip", "");
                bool bracket = after && strchr(ip, ':');
                auto_free char *one =
                    mem_printf("%s%s%s%s", bracket ? "[" : "", ip, bracket ? "]" : "", after ? after : "");
                if (n++ < MAX_SHOWN)
                    cell_comma(&text, one);
            }
            port = port ? port->next : NULL;
        } while (port);
    }
    return finish_list(&text, n, "<none>");
}

static const char *event_time(const cJSON *event, bool last)
{
    const char *paths[] = {last ? "series.lastObservedTime" : "firstTimestamp",
                           last ? "lastTimestamp" : "eventTime", last ? "eventTime" : "lastTimestamp",
                           "metadata.creationTimestamp"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        const char *text = json_string(event, paths[i]);
        if (!str_empty(text))
            return text;
    }
    return NULL;
}

static cJSON *column_event_last(const cJSON *event, int64_t now_wall_ns)
{
    auto_free char *text = schema_age_text(event_time(event, true), now_wall_ns);
    return cell_text(text);
}

static cJSON *column_event_first(const cJSON *event, int64_t now_wall_ns)
{
    auto_free char *text = schema_age_text(event_time(event, false), now_wall_ns);
    return cell_text(text);
}

static cJSON *column_event_object(const cJSON *event, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    for (const char *p = json_string_or(event, "involvedObject.kind", ""); *p; p++)
        str_add_char(&text, *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p);
    str_addf(&text, "/%s", json_string_or(event, "involvedObject.name", ""));
    return cell_from(&text, "");
}

static cJSON *column_event_source(const cJSON *event, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    const char *component = json_string(event, "source.component"), *host = json_string(event, "source.host");
    if (str_empty(component))
        component = json_string_or(event, "reportingComponent", "");
    str_add(&text, component);
    if (!str_empty(host))
        str_addf(&text, ", %s", host);
    return cell_from(&text, "");
}

static cJSON *column_event_count(const cJSON *event, UNUSED int64_t now_wall_ns)
{
    int64_t n = json_int(event, "series.count", json_int(event, "count", 1));
    return cJSON_CreateNumber((double)(n < 1 ? 1 : n));
}

static cJSON *column_binding_role(const cJSON *binding, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    str_addf(&text, "%s/%s", json_string_or(binding, "roleRef.kind", ""),
             json_string_or(binding, "roleRef.name", ""));
    return cell_from(&text, "");
}

static cJSON *subjects_of(const cJSON *binding, const char *kind)
{
    struct str text = {0};
    json_each (subject, json_get(binding, "subjects")) {
        if (!str_eq(json_string(subject, "kind"), kind))
            continue;
        const char *namespace = json_string(subject, "namespace");
        str_addf(&text, "%s%s%s%s", text.len ? ", " : "", namespace ? namespace : "", namespace ? "/" : "",
                 json_string_or(subject, "name", ""));
    }
    return cell_from(&text, "");
}

static cJSON *column_binding_users(const cJSON *binding, UNUSED int64_t now_wall_ns)
{
    return subjects_of(binding, "User");
}

static cJSON *column_binding_groups(const cJSON *binding, UNUSED int64_t now_wall_ns)
{
    return subjects_of(binding, "Group");
}

static cJSON *column_binding_accounts(const cJSON *binding, UNUSED int64_t now_wall_ns)
{
    return subjects_of(binding, "ServiceAccount");
}

/* The owner that manages the object, as statefulset.apps/web. */
static cJSON *column_owner(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    json_each (owner, json_at(object, "metadata.ownerReferences")) {
        if (!json_bool(owner, "controller", false))
            continue;
        struct str text = {0};
        for (const char *p = json_string_or(owner, "kind", ""); *p; p++)
            str_add_char(&text, *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p);
        const char *version = json_string_or(owner, "apiVersion", "");
        if (strchr(version, '/'))
            str_addf(&text, ".%.*s", (int)strcspn(version, "/"), version);
        str_addf(&text, "/%s", json_string_or(owner, "name", ""));
        return cell_from(&text, "");
    }
    return cell_text("<none>");
}

static cJSON *column_config_data(const cJSON *object, UNUSED int64_t now_wall_ns)
{
    int64_t n = 0;
    json_each (item, json_get(object, "data"))
        n++;
    json_each (item, json_get(object, "binaryData"))
        n++;
    return cJSON_CreateNumber((double)n);
}

const struct schema_named_column schema_columns_kinds[] = {
    {"age", column_age},
    {"owner", column_owner},
    {"binding.role", column_binding_role},
    {"binding.users", column_binding_users},
    {"binding.groups", column_binding_groups},
    {"binding.accounts", column_binding_accounts},
    {"configmap.data", column_config_data},
    {"node.status", column_node_status},
    {"node.roles", column_node_roles},
    {"node.internalIP", column_internal_ip},
    {"node.externalIP", column_external_ip},
    {"service.externalIP", column_service_external},
    {"service.ports", column_service_ports},
    {"slice.ports", column_slice_ports},
    {"slice.endpoints", column_slice_endpoints},
    {"endpoints.addresses", column_endpoints_addresses},
    {"event.lastSeen", column_event_last},
    {"event.firstSeen", column_event_first},
    {"event.object", column_event_object},
    {"event.source", column_event_source},
    {"event.count", column_event_count},
    {NULL, NULL},
};
