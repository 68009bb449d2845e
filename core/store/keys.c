/*
 * keys: text of store keys. It does not check names: whoever makes a key has validated them, and none holds a
 * slash. Invariant: a key has exactly two slashes, a resource and a name; the namespace may be empty.
 */
#include "store/keys.h"

#include <string.h>

#include "base/mem.h"

char *store_key(const char *resource, const char *namespace, const char *name)
{
    return mem_printf("%s/%s/%s", resource, namespace ? namespace : "", name);
}

char *store_key_prefix(const char *resource, const char *namespace)
{
    return namespace ? mem_printf("%s/%s/", resource, namespace) : mem_printf("%s/", resource);
}

bool store_key_split(const char *key, struct store_key_parts *parts)
{
    const char *first = strchr(key, '/');
    const char *second = first ? strchr(first + 1, '/') : NULL;
    if (!second || first == key || second[1] == '\0' || strchr(second + 1, '/'))
        return false;
    parts->resource = key;
    parts->resource_len = (size_t)(first - key);
    parts->namespace = first + 1;
    parts->namespace_len = (size_t)(second - first - 1);
    parts->name = second + 1;
    parts->name_len = strlen(second + 1);
    return true;
}
