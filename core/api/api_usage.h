/* api_usage: private to core/api. Named amounts, and how much an object takes of what quotas count. Values:
 * cpu in thousandths, everything else in whole units. Not thread-safe per object. */
#ifndef M8_API_USAGE_H
#define M8_API_USAGE_H

#include "api/api_internal.h"

struct amount {
    char *name;
    int64_t value;
    bool binary; /* was written with Ki, Mi, …: printed so */
};
struct amounts {
    struct amount *items;
    size_t count;
};
void amounts_fini(struct amounts *amounts);
#define auto_amounts __attribute__((cleanup(amounts_fini))) struct amounts
const struct amount *amounts_find(const struct amounts *amounts, const char *name); /* NULL: none */
void amounts_add(struct amounts *amounts, const char *name, int64_t value, bool binary);
/* Of a pod's spec, field "requests" or "limits": its containers together, or more if an init container beside
 * the sidecars that began before it asks for more. */
void amounts_of_pod(struct amounts *amounts, const cJSON *spec, const char *field);
/* A quantity's text → value in the unit of `name`; false if malformed. */
bool amount_read(const char *name, const char *text, int64_t *value);
char *amount_print(const char *name, int64_t value, bool binary); /* caller frees */

enum usage_scope {
    SCOPE_TERMINATING = 1,
    SCOPE_NOT_TERMINATING = 2,
    SCOPE_BEST_EFFORT = 4,
    SCOPE_NOT_BEST_EFFORT = 8,
    SCOPE_PRIORITY_CLASS = 16,
    SCOPE_CROSS_NAMESPACE = 32,
};
unsigned usage_scope_named(const char *name); /* 0: unknown */

struct usage {
    struct amounts amounts;
    bool pod;        /* only pods have scopes */
    unsigned scopes; /* those that hold */
    char *class;     /* priority class, or NULL */
    int64_t gone_ns; /* wall time after which a pod that is being deleted takes nothing more; 0: it is not */
};
struct usage *usage_of(const char *resource, const cJSON *object);
/* What is left of a pod that has ended, or should have: its place among the objects. */
void usage_end(struct usage *usage);
void usage_free(struct usage *usage);
/* Which resource's objects a name of spec.hard is about: "pods", "deployments.apps"; points into name or is
 * static. */
const char *usage_resource(const char *name);

#endif
