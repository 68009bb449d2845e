/*
 * yaml_resolve: the types of plain scalars, as users of Kubernetes know them (YAML 1.1 in the dialect of
 * sigs.k8s.io/yaml): 0644 and 0o644 are octal, 1_000 is 1000, yes/no/on/off are booleans; a time of day, a
 * date and a sexagesimal number are strings. y and n are strings (ConfigMaps have such keys). Integers over
 * 15 digits stay text.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json_internal.h"
#include "base/yaml_internal.h"

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

#define ONE_OF(text, ...)                                                                                    \
    ({                                                                                                       \
        static const char *const words[] = {__VA_ARGS__};                                                    \
        is_one_of(text, words, COUNT_OF(words));                                                             \
    })

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* The text has no underscores. NULL if it is no integer of 64 bits. */
static cJSON *integer(const char *text)
{
    const char *p = text;
    bool negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    int base = 10;
    if (p[0] == '0' && p[1]) {
        char kind = (char)(p[1] | 0x20);
        base = kind == 'x' ? 16 : kind == 'b' ? 2 : 8;
        p += kind == 'x' || kind == 'b' || kind == 'o' ? 2 : 1;
    }
    uint64_t value = 0;
    if (!*p)
        return NULL;
    for (; *p; p++) {
        int digit = digit_value(*p);
        if (digit >= base || __builtin_mul_overflow(value, (uint64_t)base, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value))
            return NULL;
    }
    if (negative && value > (uint64_t)INT64_MAX + 1)
        return NULL;
    char decimal[32];
    snprintf(decimal, sizeof(decimal), "%s%llu", negative && value ? "-" : "", (unsigned long long)value);
    double approximate = negative ? -(double)value : (double)value;
    if (value < 1000000000000000ull)
        return cJSON_CreateNumber(approximate);
    cJSON *json = cJSON_CreateRaw(decimal);
    json->valuedouble = approximate;
    return json;
}

static bool looks_like_float(const char *p)
{
    if (*p == '-' || *p == '+')
        p++;
    size_t whole = strspn(p, "0123456789"), part = 0;
    p += whole;
    if (*p == '.') {
        part = strspn(++p, "0123456789");
        p += part;
    }
    if (!whole && !part)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '-' || *p == '+')
            p++;
        size_t exponent = strspn(p, "0123456789");
        if (!exponent)
            return false;
        p += exponent;
    }
    return !*p;
}

static cJSON *number(const char *text)
{
    char bare[400];
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '_')
            continue;
        if (n + 1 == sizeof(bare))
            return NULL;
        bare[n++] = *p;
    }
    bare[n] = '\0';
    cJSON *json = integer(bare);
    if (json || !looks_like_float(bare))
        return json;
    double value = strtod(bare, NULL);
    return isinf(value) ? NULL : cJSON_CreateNumber(value);
}

cJSON *yaml_resolve(const char *text)
{
    if (ONE_OF(text, "", "~", "null", "Null", "NULL"))
        return cJSON_CreateNull();
    if (ONE_OF(text, "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"))
        return cJSON_CreateTrue();
    if (ONE_OF(text, "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"))
        return cJSON_CreateFalse();
    if (ONE_OF(text, ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf",
               "-.Inf", "-.INF"))
        return NULL;
    cJSON *json = *text && strchr("+-.0123456789", *text) ? number(text) : NULL;
    return json ? json : cJSON_CreateString(text);
}
