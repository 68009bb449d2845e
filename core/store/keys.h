/* keys: making and taking apart store keys "RESOURCE/NAMESPACE/NAME". */
#ifndef M8_STORE_KEYS_H
#define M8_STORE_KEYS_H

#include "base/str.h"

char *store_key(const char *resource, const char *namespace,
                const char *name);                                   /* NULL namespace: cluster scope */
char *store_key_prefix(const char *resource, const char *namespace); /* NULL: all namespaces */

struct store_key_parts {
    const char *resource, *namespace, *name; /* not NUL-terminated: use the lengths */
    size_t resource_len, namespace_len, name_len;
};
bool store_key_split(const char *key, struct store_key_parts *parts); /* false if it is not a key */

#endif
