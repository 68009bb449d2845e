/*
 * schema_format: the value formats of scalars (names, ports, quantities, addresses …) with Kubernetes'
 * wording. Pure functions. Invariant: a check never looks beyond its one value.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/quantity.h"
#include "schema/schema_private.h"

static const char *const names[FORMAT_COUNT] = {
    [FORMAT_NONE] = "",
    [FORMAT_QUANTITY] = "quantity",
    [FORMAT_INT_OR_STRING] = "int-or-string",
    [FORMAT_INT_OR_PERCENT] = "int-or-percent",
    [FORMAT_PORT_OR_NAME] = "port-or-name",
    [FORMAT_PORT] = "port",
    [FORMAT_DNS_LABEL] = "dns-label",
    [FORMAT_DNS_SUBDOMAIN] = "dns-subdomain",
    [FORMAT_LABEL_KEY] = "label-key",
    [FORMAT_LABEL_VALUE] = "label-value",
    [FORMAT_CONFIG_KEY] = "config-key",
    [FORMAT_ENV_NAME] = "env-name",
    [FORMAT_TIME] = "date-time",
    [FORMAT_DURATION] = "duration",
    [FORMAT_IP] = "ip",
    [FORMAT_IPV4] = "ipv4",
    [FORMAT_CIDR] = "cidr",
    [FORMAT_BYTE] = "byte",
    [FORMAT_ABSOLUTE_PATH] = "absolute-path",
};

int schema_format_named(const char *name)
{
    for (int i = 1; i < FORMAT_COUNT; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return -1;
}

bool schema_format_takes_number(enum schema_format format)
{
    return format == FORMAT_QUANTITY || format == FORMAT_INT_OR_STRING || format == FORMAT_INT_OR_PERCENT ||
           format == FORMAT_PORT_OR_NAME;
}

static const char *check_quantity(const cJSON *value)
{
    int64_t milli;
    if (cJSON_IsNumber(value) || cJSON_IsRaw(value))
        return NULL;
    return quantity_milli(value->valuestring, &milli, NULL) == 0
               ? NULL
               : "quantities must match the regular expression "
                 "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
}

static const char *check_port_number(const cJSON *value)
{
    int64_t port = json_int(value, "", -1);
    return port >= 1 && port <= 65535 ? NULL : "must be between 1 and 65535, inclusive";
}

/* IANA service name: at most 15 of a-z 0-9 -, at least one letter, no hyphen at an end or doubled. */
static const char *check_port_name(const char *name)
{
    size_t len = strlen(name);
    bool letter = false, good = len > 0;
    if (len > 15)
        return "must be no more than 15 characters";
    for (size_t i = 0; i < len; i++) {
        bool hyphen = name[i] == '-';
        letter |= islower((unsigned char)name[i]) != 0;
        good &= islower((unsigned char)name[i]) || isdigit((unsigned char)name[i]) || hyphen;
        if (hyphen && (i == 0 || i + 1 == len))
            return "must not begin or end with a hyphen";
        if (hyphen && name[i + 1] == '-')
            return "must not contain consecutive hyphens";
    }
    if (!good)
        return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
    return letter ? NULL : "must contain at least one letter (a-z)";
}

static const char *check_percent(const cJSON *value)
{
    if (!cJSON_IsString(value))
        return json_int(value, "", -1) >= 0 ? NULL : "must be greater than or equal to 0";
    const char *text = value->valuestring;
    size_t digits = strspn(text, "0123456789");
    return digits && digits < 10 && strcmp(text + digits, "%") == 0
               ? NULL
               : "must be an integer or percentage (e.g '5%')";
}

static const char *check_chars(const char *text, const char *extra, size_t max, const char *message)
{
    size_t len = strlen(text);
    if (!len || len > max)
        return message;
    for (; *text; text++) {
        if (!isalnum((unsigned char)*text) && !strchr(extra, *text))
            return message;
    }
    return NULL;
}

static const char *check_config_key(const char *text)
{
    if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0 || str_starts(text, "../"))
        return "must not be '.', '..' or begin with '..'";
    return check_chars(
        text, "-_.", 253,
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
        "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')");
}

/* Printable ASCII without '=' (what Kubernetes allows since its relaxed rule). */
static const char *check_env_name(const char *text)
{
    bool good = *text != 0;
    for (; *text; text++)
        good &= *text > 0x20 && *text < 0x7f && *text != '=';
    return good ? NULL
                : "a valid environment variable name must consist only of printable ASCII characters other "
                  "than '='";
}

static const char *check_ip(const char *text)
{
    unsigned char address[16];
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1
               ? NULL
               : "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
}

static const char *check_cidr(const char *text)
{
    static const char *const message = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    const char *slash = strchr(text, '/');
    long long bits;
    if (!slash || slash - text > 45 || str_to_int64(slash + 1, &bits))
        return message;
    char address[48];
    snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
    return check_ip(address) || bits < 0 || bits > (strchr(address, ':') ? 128 : 32) ? message : NULL;
}

static const char *check_byte(const char *text)
{
    unsigned char *data = NULL;
    size_t len;
    if (str_unbase64(text, strlen(text), &data, &len))
        return "must be base64-encoded (RFC 4648, with padding)";
    free(data);
    return NULL;
}

static const char *check_text(enum schema_format format, const char *text)
{
    int64_t ns;
    switch (format) {
    case FORMAT_DNS_LABEL:
        return str_check_dns_label(text);
    case FORMAT_DNS_SUBDOMAIN:
        return str_check_dns_subdomain(text);
    case FORMAT_LABEL_KEY:
        return str_check_label_key(text);
    case FORMAT_LABEL_VALUE:
        return str_check_label_value(text);
    case FORMAT_CONFIG_KEY:
        return check_config_key(text);
    case FORMAT_ENV_NAME:
        return check_env_name(text);
    case FORMAT_TIME:
        return time_parse(text, &ns, NULL) ? "must be an RFC 3339 time, e.g. 2026-01-02T03:04:05Z" : NULL;
    case FORMAT_DURATION:
        return time_parse_duration(text, &ns, NULL) ? "must be a duration, e.g. 300ms, 1.5s or 1h30m" : NULL;
    case FORMAT_IP:
        return check_ip(text);
    case FORMAT_IPV4:
        return inet_pton(AF_INET, text, (unsigned char[4]){0}) == 1 ? NULL : "must be a valid IPv4 address";
    case FORMAT_CIDR:
        return check_cidr(text);
    case FORMAT_BYTE:
        return check_byte(text);
    case FORMAT_ABSOLUTE_PATH:
        return *text == '/' ? NULL : "must be an absolute path";
    default:
        return NULL;
    }
}

const char *schema_format_check(enum schema_format format, const cJSON *value)
{
    switch (format) {
    case FORMAT_NONE:
    case FORMAT_INT_OR_STRING:
        return NULL;
    case FORMAT_QUANTITY:
        return check_quantity(value);
    case FORMAT_INT_OR_PERCENT:
        return check_percent(value);
    case FORMAT_PORT:
        return check_port_number(value);
    case FORMAT_PORT_OR_NAME:
        return cJSON_IsString(value) ? check_port_name(value->valuestring) : check_port_number(value);
    default:
        return cJSON_IsString(value) ? check_text(format, value->valuestring) : NULL;
    }
}
