/*
 * schema_columns_ingress: the computed columns of Ingress and DNS, after kubectl's.
 */
#include <string.h>

#include "schema/schema_columns.h"

#define MAX_SHOWN 3

static cJSON *column_hosts(const cJSON *ingress, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    int count = 0;
    json_each (rule, json_at(ingress, "spec.rules")) {
        const char *host = json_string(rule, "host");
        if (!str_empty(host) && count++ < MAX_SHOWN)
            cell_comma(&text, host);
    }
    if (count > MAX_SHOWN)
        str_addf(&text, " + %d more...", count - MAX_SHOWN);
    return cell_from(&text, "*");
}

static cJSON *column_address(const cJSON *ingress, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    json_each (address, json_at(ingress, "status.loadBalancer.ingress"))
        cell_comma(&text, json_string_or(address, "ip", json_string_or(address, "hostname", "")));
    return cell_from(&text, "");
}

static cJSON *column_ports(const cJSON *ingress, UNUSED int64_t now_wall_ns)
{
    const cJSON *tls = json_at(ingress, "spec.tls");
    return cell_text(tls && tls->child ? "80, 443" : "80");
}

static cJSON *column_dns_paths(const cJSON *dns, UNUSED int64_t now_wall_ns)
{
    struct str text = {0};
    int count = 0;
    json_each (path, json_at(dns, "spec.paths")) {
        auto_free char *one =
            mem_printf("%s->%s:%lld", json_string_or(path, "path", "/"), json_string_or(path, "service", ""),
                       (long long)json_int(path, "port", 0));
        if (count++ < MAX_SHOWN)
            cell_comma(&text, one);
    }
    if (count > MAX_SHOWN)
        str_addf(&text, " + %d more...", count - MAX_SHOWN);
    return cell_from(&text, "<none>");
}

static cJSON *column_dns_ready(const cJSON *dns, UNUSED int64_t now_wall_ns)
{
    json_each (condition, json_at(dns, "status.conditions"))
        if (str_eq(json_string(condition, "type"), "Ready"))
            return cell_text(json_string_or(condition, "status", "Unknown"));
    return cell_text("Unknown");
}

const struct schema_named_column schema_columns_ingress[] = {
    {"dns.paths", column_dns_paths},     {"dns.ready", column_dns_ready}, {"ingress.hosts", column_hosts},
    {"ingress.address", column_address}, {"ingress.ports", column_ports}, {NULL, NULL},
};
