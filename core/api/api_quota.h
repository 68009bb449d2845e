/*
 * api_quota: what the files of ResourceQuota share, in reading order: the ledger (what counts, what is used
 * and held), admission (whether a write fits), api_quota.c (commits, status, life).
 *
 * Everything here is called under api_quotas.lock. Invariants: used = the entries, held = the writes under
 * way.
 */
#ifndef M8_API_QUOTA_H
#define M8_API_QUOTA_H

#include "api/api_usage.h"

#define QUOTAS "resourcequotas"
#define AGAIN_MS 1000 /* after a status write that failed */

struct limit {
    char *name;
    int64_t hard, used, held;
    bool hard_binary, binary; /* how the sums are printed: as those who take part were written */
};

struct scope_rule {
    unsigned scope;
    bool wanted;    /* Exists, In; else DoesNotExist, NotIn */
    cJSON *classes; /* of In and NotIn; NULL: any */
};

struct quota {
    char *namespace, *name;
    struct limit *limits;
    size_t n_limits;
    struct scope_rule *rules;
    size_t n_rules;
    bool dirty, writing;    /* its status is not what it should be; a write is under way */
    struct list dirty_node; /* in api_quotas.dirty while dirty and not writing */
};

struct ledger {
    struct map quotas;  /* name → struct quota */
    struct map entries; /* store key → struct usage */
    struct map tracked; /* resources whose objects are in entries */
    struct list holds;
};

struct quota_hold { /* what a write under way takes */
    struct list node;
    struct ledger *ledger;
    char *namespace;
    struct usage *usage;
};

struct api_quotas {
    struct api *api;
    const struct schema_kind *kind;
    pthread_mutex_t lock;
    struct map ledgers;      /* namespace → struct ledger */
    atomic_size_t n_ledgers; /* read without the lock: most clusters have none */
    struct list dirty;
    bool posted;
    struct loop_timer *again; /* used on the loop only */
};

/* ---- api_quota_ledger.c ---- */

/* Whether the quota's scopes take in what this is the usage of. */
bool quota_counts(const struct quota *quota, const struct usage *usage);
/* Adds (sign 1) or takes away (-1) a usage, NULL: none, to what is used or held. True: a sum has changed. */
bool quota_add(struct quota *quota, const struct usage *usage, int sign, bool held);
/* The entry of an object; takes usage. NULL: the object is gone. */
void ledger_set(struct api_quotas *quotas, struct ledger *ledger, const char *key, struct usage *usage);
/* A quota as it was written: counted anew, beside what is held. */
void ledger_put_quota(struct api_quotas *quotas, const cJSON *object);
/* A namespace without a quota costs nothing. */
void ledger_drop_if_unused(struct api_quotas *quotas, const char *namespace, struct ledger *ledger);
void ledger_free(void *ledger);
/* Gives back what a write under way had taken; frees the hold. */
void hold_release(struct api_quotas *quotas, struct quota_hold *hold);

/* ---- api_quota.c ---- */

/* The quota's status is written soon. */
void quota_touch(struct api_quotas *quotas, struct quota *quota);

#endif
