/*
 * json_keys: look-ups and writes by key in objects of very many keys (json.h). What is few is searched as
 * json_get searches; what is many is sorted once. Sorted, not hashed: keys come from clients, who could
 * choose them to fall into one bucket. Invariant: the sorted keys are copies, so that a node may go while
 * they stay.
 */
#include <string.h>

#include "base/json_internal.h"

/* So many keys, or comparisons in all, cost less than sorting. */
#define PLAIN_KEYS 16
#define PLAIN_STEPS 2048

struct json_key {
    const char *key;
    cJSON *node; /* NULL: removed */
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct json_key *)a)->key, ((const struct json_key *)b)->key);
}

static void sort(struct json_keys *keys)
{
    size_t len = 0, i = 0;
    json_each (child, keys->object)
        len += strlen(child->string) + 1;
    char *text = keys->text = mem_alloc(len + 1);
    keys->sorted = mem_array(keys->n, sizeof(*keys->sorted));
    json_each (child, keys->object) {
        size_t size = strlen(child->string) + 1;
        keys->sorted[i++] = (struct json_key){memcpy(text, child->string, size), child};
        text += size;
    }
    qsort(keys->sorted, keys->n, sizeof(*keys->sorted), compare);
}

void json_keys_init(struct json_keys *keys, const cJSON *object, size_t n)
{
    *keys = (struct json_keys){.object = (cJSON *)object};
    if (n <= PLAIN_KEYS)
        return;
    json_each (child, object)
        keys->n++;
    if (n > PLAIN_STEPS || (keys->n + n) * n > PLAIN_STEPS)
        sort(keys);
}

void json_keys_fini(struct json_keys *keys)
{
    free(keys->sorted);
    free(keys->text);
    *keys = (struct json_keys){0};
}

static struct json_key *find(const struct json_keys *keys, const char *key)
{
    const struct json_key wanted = {.key = key};
    return bsearch(&wanted, keys->sorted, keys->n, sizeof(wanted), compare);
}

cJSON *json_keys_get(const struct json_keys *keys, const char *key)
{
    if (!keys->sorted)
        return json_get(keys->object, key);
    const struct json_key *found = find(keys, key);
    return found ? found->node : NULL;
}

cJSON *json_keys_set(struct json_keys *keys, const char *key, cJSON *value)
{
    if (!keys->sorted)
        return json_set(keys->object, key, value);
    struct json_key *found = find(keys, key);
    json_put(keys->object, found ? found->node : NULL, key, value);
    if (found)
        found->node = value;
    return value;
}

void json_set_strings(cJSON *object, const cJSON *from)
{
    auto_json_keys keys;
    json_keys_init(&keys, object, cJSON_IsObject(from) ? (size_t)cJSON_GetArraySize(from) : 0);
    json_each (entry, from)
        if (cJSON_IsString(entry) && entry->string)
            json_keys_set(&keys, entry->string, cJSON_CreateString(entry->valuestring));
}
