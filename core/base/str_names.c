/*
 * str_names: Kubernetes' rules for names, label keys and label values (apimachinery util/validation, RFC
 * 1123). Does not know which kind uses which rule; core/schema does.
 */
#include <string.h>

#include "base/str.h"

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool is_label(const char *name, size_t len)
{
    if (len == 0 || !is_lower_alnum(name[0]) || !is_lower_alnum(name[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_lower_alnum(name[i]) && name[i] != '-')
            return false;
    return true;
}

static bool is_subdomain(const char *name, size_t len)
{
    for (size_t begin = 0;;) {
        const char *dot = memchr(name + begin, '.', len - begin);
        size_t end = dot ? (size_t)(dot - name) : len;
        if (!is_label(name + begin, end - begin))
            return false;
        if (!dot)
            return true;
        begin = end + 1;
    }
}

static bool is_qualified(const char *name, size_t len)
{
    if (len == 0 || !is_alnum(name[0]) || !is_alnum(name[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_alnum(name[i]) && !memchr("-_.", name[i], 3))
            return false;
    return true;
}

const char *str_check_dns_label(const char *name)
{
    if (str_empty(name))
        return "must not be empty";
    size_t len = strlen(name);
    if (len > 63)
        return "must be no more than 63 characters";
    if (!is_label(name, len))
        return "must consist of lower case alphanumeric characters or '-', and must start and end with an "
               "alphanumeric character (e.g. 'my-name', or '123-abc')";
    return NULL;
}

const char *str_check_dns_subdomain(const char *name)
{
    if (str_empty(name))
        return "must not be empty";
    size_t len = strlen(name);
    if (len > 253)
        return "must be no more than 253 characters";
    if (!is_subdomain(name, len))
        return "must consist of lower case alphanumeric characters, '-' or '.', and must start and end with "
               "an "
               "alphanumeric character (e.g. 'example.com')";
    return NULL;
}

const char *str_check_label_key(const char *key)
{
    if (str_empty(key))
        return "must not be empty";
    const char *slash = strchr(key, '/'), *name = key;
    if (slash) {
        size_t prefix = (size_t)(slash - key);
        if (prefix == 0)
            return "prefix part must not be empty";
        if (prefix > 253)
            return "prefix part must be no more than 253 characters";
        if (!is_subdomain(key, prefix))
            return "prefix part must be a lower case DNS subdomain (e.g. 'example.com/MyName')";
        name = slash + 1;
    }
    size_t len = strlen(name);
    if (len == 0)
        return "name part must not be empty";
    if (len > 63)
        return "name part must be no more than 63 characters";
    if (!is_qualified(name, len))
        return "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
               "with an "
               "alphanumeric character (e.g. 'MyName', or 'my.name', or '123-abc')";
    return NULL;
}

const char *str_check_label_value(const char *value)
{
    if (str_empty(value))
        return value ? NULL : "must not be null";
    size_t len = strlen(value);
    if (len > 63)
        return "must be no more than 63 characters";
    if (!is_qualified(value, len))
        return "must be empty or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
               "with "
               "an alphanumeric character (e.g. 'MyValue', or 'my_value', or '12345')";
    return NULL;
}
