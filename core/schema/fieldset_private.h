/* fieldset_private: how the files of the field sets see an object: its members in the order of their keys. */
#ifndef M8_SCHEMA_FIELDSET_PRIVATE_H
#define M8_SCHEMA_FIELDSET_PRIVATE_H

#include "schema/fieldset.h"
#include "schema/schema_private.h"

/* Where a walk is. type NULL: nothing is known of what is here. */
struct fieldset_place {
    const struct schema_type *type;
    int depth; /* 0: the object itself */
    bool meta; /* its metadata */
};

struct fieldset_member {
    char *key; /* f:…, k:…, v:… */
    cJSON *value;
    size_t index;                /* of the value in its container */
    struct fieldset_place place; /* of the value */
    bool item;                   /* of a map or a list: in the set beside what is below it */
};

struct fieldset_members {
    struct fieldset_member *items; /* sorted by key, one per key */
    size_t count;
};

/* Whether what is inside is looked at: an object that is not atomic, a list with keys, a set. */
bool fieldset_granular(const struct fieldset_place *place, const cJSON *value);
/* Without nulls, without what belongs to the server. */
struct fieldset_members fieldset_members(const struct fieldset_place *place, const cJSON *container);
void fieldset_members_free(struct fieldset_members *members);
#define auto_members __attribute__((cleanup(fieldset_members_free))) struct fieldset_members
/* k:… or v:… of an element; NULL if it lacks a key. Caller frees. */
char *fieldset_element_key(const struct schema_type *list, const cJSON *element);
/* Forward in a sorted set to that key; *at stays before what is greater. NULL: not there. */
const cJSON *fieldset_seek(const cJSON **at, const char *key);

#endif
