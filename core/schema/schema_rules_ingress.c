/*
 * schema_rules_ingress: checks of Ingresses and of the short form DNS. Wording after Kubernetes' validation.
 * Beyond it: a label of a host has at most LABEL_MAX_BYTES, a path has at most PATH_MAX_BYTES, and an
 * ImplementationSpecific path is a regular expression that compiles, because one that does not would keep a
 * node's proxy from starting.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <arpa/inet.h>
#include <pcre2.h>
#include <string.h>

#include "schema/schema_private.h"

#define PATH_MAX_BYTES 1024
#define LABEL_MAX_BYTES 63 /* RFC 1035: no question can name a longer one */

static void check_host(struct validation *v, const cJSON *host, const struct schema_path *path)
{
    unsigned char bytes[16];
    if (!cJSON_IsString(host) || !*host->valuestring)
        return;
    const char *text = host->valuestring;
    if (inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1) {
        invalid_value(v, path, host, "must be a DNS name, not an IP address");
        return;
    }
    bool wildcard = str_starts(text, "*.");
    const char *why = str_check_dns_subdomain(wildcard ? text + 2 : text);
    for (const char *label = text; !why && label; label = strchr(label, '.') ? strchr(label, '.') + 1 : NULL)
        if (strcspn(label, ".") > LABEL_MAX_BYTES)
            why = "a label between two dots must be no more than 63 characters";
    if (why)
        invalid_value(v, path, host, "%s", why);
}

static void check_regex(struct validation *v, const cJSON *path, const struct schema_path *here)
{
    int number;
    PCRE2_SIZE offset;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)path->valuestring, PCRE2_ZERO_TERMINATED, 0, &number, &offset, NULL);
    if (code) {
        pcre2_code_free(code);
        return;
    }
    PCRE2_UCHAR message[128] = "";
    pcre2_get_error_message(number, message, sizeof(message));
    invalid_value(v, here, path, "must be a regular expression: %s at character %zu", (char *)message,
                  offset + 1);
}

static void check_parts(struct validation *v, const cJSON *path, const struct schema_path *here)
{
    static const char *const inside[] = {"//", "/./", "/../", "%2f", "%2F"};
    static const char *const ends[] = {"/..", "/."};
    for (size_t i = 0; i < COUNT_OF(inside); i++)
        if (strstr(path->valuestring, inside[i]))
            invalid_value(v, here, path, "must not contain '%s'", inside[i]);
    for (size_t i = 0; i < COUNT_OF(ends); i++)
        if (str_ends(path->valuestring, ends[i]))
            invalid_value(v, here, path, "cannot end with '%s'", ends[i]);
}

static void check_path(struct validation *v, const cJSON *path, const char *type,
                       const struct schema_path *here)
{
    bool regex = str_eq(type, "ImplementationSpecific");
    const char *text = cJSON_IsString(path) ? path->valuestring : "";
    if (strlen(text) > PATH_MAX_BYTES) {
        invalid_too_long(v, here, PATH_MAX_BYTES);
        return;
    }
    if (!*text && regex)
        return;
    if (*text != '/') {
        invalid_value(v, here, path, "must be an absolute path");
        return;
    }
    for (const char *at = text; *at; at++) {
        if ((unsigned char)*at <= ' ' || *at == 127) {
            invalid_value(v, here, path, "must not contain blanks or control characters");
            return;
        }
    }
    if (regex)
        check_regex(v, path, here);
    else
        check_parts(v, path, here);
}

static void check_backend(struct validation *v, const cJSON *backend, const struct schema_path *here)
{
    const cJSON *service = json_get(backend, "service");
    const struct schema_path at_service = {.up = here, .key = "service"};
    const struct schema_path at_port = {.up = &at_service, .key = "port"};
    if (!service) {
        invalid_required(v, &at_service, "a backend needs a Service");
        return;
    }
    bool name = !str_empty(json_string(service, "port.name")),
         number = json_int(service, "port.number", 0) != 0;
    if (name && number)
        invalid_value(v, &at_port, json_get(service, "port"), "cannot set both port name & port number");
    else if (!name && !number)
        invalid_required(v, &at_port, "port name or number is required");
}

static void check_rule(struct validation *v, const cJSON *rule, const struct schema_path *here)
{
    const struct schema_path http = {.up = here, .key = "http"};
    const struct schema_path paths = {.up = &http, .key = "paths"};
    int i = 0;
    check_host(v, json_get(rule, "host"), SCHEMA_FIELD(here, "host"));
    json_each (path, json_at(rule, "http.paths")) {
        const struct schema_path at = {.up = &paths, .index = i++};
        check_path(v, json_get(path, "path"), json_string(path, "pathType"), SCHEMA_FIELD(&at, "path"));
        if (json_get(path, "backend"))
            check_backend(v, json_get(path, "backend"), SCHEMA_FIELD(&at, "backend"));
    }
}

/* What may stand in place of the path that matched: it travels in a line whose fields end with "|". */
static void check_target(struct validation *v, const cJSON *target, const struct schema_path *here)
{
    check_path(v, target, "Exact", here);
    if (cJSON_IsString(target) && strpbrk(target->valuestring, "|%\"\\#'$?"))
        invalid_value(v, here, target, "must not contain any of | %% \" \\ # ' $ ?");
}

static void check_annotation(struct validation *v, const cJSON *ingress)
{
    static const char key[] = "minik8s.io/rewrite-target";
    const cJSON *target = json_get(json_at(ingress, "metadata.annotations"), key);
    const struct schema_path metadata = {.key = "metadata"};
    const struct schema_path annotations = {.up = &metadata, .key = "annotations"};
    if (target)
        check_target(v, target, SCHEMA_FIELD(&annotations, key));
}

static void rule_ingress(struct validation *v, const cJSON *ingress, UNUSED const cJSON *old,
                         UNUSED const struct schema_path *path)
{
    const cJSON *spec = json_get(ingress, "spec"), *rules = json_get(spec, "rules");
    const struct schema_path at_spec = {.key = "spec"};
    const struct schema_path at_rules = {.up = &at_spec, .key = "rules"},
                             at_tls = {.up = &at_spec, .key = "tls"};
    int i = 0;
    if ((!rules || !rules->child) && !json_get(spec, "defaultBackend"))
        invalid_value(v, &at_spec, spec, "either `defaultBackend` or `rules` must be specified");
    if (json_get(spec, "defaultBackend"))
        check_backend(v, json_get(spec, "defaultBackend"), SCHEMA_FIELD(&at_spec, "defaultBackend"));
    json_each (rule, rules)
        check_rule(v, rule, SCHEMA_INDEX(&at_rules, i++));
    i = 0;
    json_each (tls, json_get(spec, "tls")) {
        const struct schema_path at = {.up = &at_tls, .index = i++};
        const struct schema_path hosts = {.up = &at, .key = "hosts"};
        int j = 0;
        json_each (host, json_get(tls, "hosts"))
            check_host(v, host, SCHEMA_INDEX(&hosts, j++));
    }
    check_annotation(v, ingress);
}

static void rule_dns(struct validation *v, const cJSON *dns, UNUSED const cJSON *old,
                     UNUSED const struct schema_path *path)
{
    const cJSON *spec = json_get(dns, "spec"), *paths = json_get(spec, "paths");
    const struct schema_path at_spec = {.key = "spec"}, at_paths = {.up = &at_spec, .key = "paths"};
    int i = 0;
    check_host(v, json_get(spec, "host"), SCHEMA_FIELD(&at_spec, "host"));
    json_each (entry, paths) {
        const struct schema_path at = {.up = &at_paths, .index = i++};
        check_path(v, json_get(entry, "path"), "Prefix", SCHEMA_FIELD(&at, "path"));
        for (const cJSON *before = paths->child; before != entry; before = before->next)
            if (json_equal(json_get(before, "path"), json_get(entry, "path")))
                invalid_duplicate(v, SCHEMA_FIELD(&at, "path"), json_get(entry, "path"));
    }
    if (json_get(spec, "rewrite"))
        check_target(v, json_get(spec, "rewrite"), SCHEMA_FIELD(&at_spec, "rewrite"));
}

const struct schema_named_rule schema_rules_ingress[] = {
    {"dns", rule_dns},
    {"ingress", rule_ingress},
    {NULL, NULL},
};
