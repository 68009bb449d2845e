/*
 * The authorizer: a list of sources of decisions, asked in order; the first opinion counts and no opinion is
 * a no. The built-in sources are the table at the end; RBAC and others come after them from the caller.
 *
 * Nodes get exactly what is listed in node_rules, nothing from RBAC by being nodes. Facts about objects come
 * from the caller.
 */
#include <string.h>

#include "auth/auth_private.h"

struct question {
    const struct auth_identity *identity;
    const struct auth_attributes *at;
    const struct auth_facts *facts;
    struct str *reason;
};
typedef enum auth_verdict source(const struct question *q);

static bool one_of(const char *word, const char *list)
{
    size_t len = strlen(word);
    for (const char *at = list; *at;) {
        size_t part = strcspn(at, " ");
        if (part == len && memcmp(at, word, len) == 0)
            return true;
        at += part + (at[part] == ' ');
    }
    return false;
}

static void say(const struct question *q, const char *text)
{
    if (q->reason)
        str_add(q->reason, text);
}

static enum auth_verdict masters(const struct question *q)
{
    return auth_identity_in(q->identity, AUTH_MASTERS) ? AUTH_ALLOW : AUTH_NO_OPINION;
}

/* What the server shows to agents is worth nothing at the API: a Node's status says whom the server calls,
 * and it may name the server itself. */
static enum auth_verdict server_itself(const struct question *q)
{
    if (!auth_identity_in(q->identity, AUTH_SERVER_GROUP))
        return AUTH_NO_OPINION;
    say(q, "this certificate is for agents only");
    return AUTH_DENY;
}

/* The control plane's own process. */
static enum auth_verdict control_plane(const struct question *q)
{
    bool manager =
        str_eq(q->identity->user, AUTH_MANAGER_USER) && auth_identity_in(q->identity, AUTH_MANAGER_GROUP);
    return manager ? AUTH_ALLOW : AUTH_NO_OPINION;
}

static enum auth_verdict health(const struct question *q)
{
    static const char *const open[] = {"/healthz", "/livez", "/readyz", "/version", "/version/"};
    const char *path = q->at->resource ? NULL : q->at->path;
    for (size_t i = 0; path && i < COUNT_OF(open); i++) {
        if (strcmp(path, open[i]) == 0 && one_of(q->at->verb, "get head"))
            return AUTH_ALLOW;
    }
    return AUTH_NO_OPINION;
}

/* Whoever is known may discover what there is and ask about himself. */
static enum auth_verdict oneself(const struct question *q)
{
    const struct auth_attributes *at = q->at;
    if (!auth_identity_in(q->identity, AUTH_AUTHENTICATED))
        return AUTH_NO_OPINION;
    if (!at->resource) {
        const char *path = at->path ? at->path : "";
        bool discovery = str_eq(path, "/api") || str_eq(path, "/apis") || str_starts(path, "/api/") ||
                         str_starts(path, "/apis/") || str_eq(path, "/openapi") ||
                         str_starts(path, "/openapi/");
        return discovery && one_of(at->verb, "get head") ? AUTH_ALLOW : AUTH_NO_OPINION;
    }
    if (strcmp(at->verb, "create") != 0)
        return AUTH_NO_OPINION;
    bool review = (str_eq(at->group, "authorization.k8s.io") &&
                   one_of(at->resource, "selfsubjectaccessreviews selfsubjectrulesreviews")) ||
                  (str_eq(at->group, "authentication.k8s.io") && str_eq(at->resource, "selfsubjectreviews"));
    return review ? AUTH_ALLOW : AUTH_NO_OPINION;
}

/* ---- nodes ---- */

enum node_scope {
    ANY,        /* every object */
    OWN_NAME,   /* metadata.name is the node's; a create without a name in the URL is the caller's to check */
    OWN_LEASE,  /* the same, in kube-node-lease */
    OWN_POD,    /* a pod bound to the node */
    OWN_VOLUME, /* a volume whose folder the node keeps */
    REFERRED,   /* a pod bound to the node refers to it, or a volume that such a pod uses */
};
struct node_rule {
    const char *group, *resources, *subresource, *verbs;
    enum node_scope scope;
};

static const struct node_rule *node_rules(size_t *count)
{
    static const struct node_rule rules[] = {
        {"", "nodes", NULL, "get list watch", ANY},
        {"", "nodes", NULL, "create update patch", OWN_NAME},
        {"", "nodes", "status", "get update patch", OWN_NAME},
        {"coordination.k8s.io", "leases", NULL, "get create update patch", OWN_LEASE},
        {"", "pods", NULL, "get delete", OWN_POD},
        {"", "pods", "status", "get update patch", OWN_POD},
        {"", "events", NULL, "create update patch", ANY},
        {"events.k8s.io", "events", NULL, "create update patch", ANY},
        {"", "secrets configmaps persistentvolumeclaims persistentvolumes", NULL, "get", REFERRED},
        {"", "persistentvolumes", "status", "get update patch", OWN_VOLUME},
        {"", "persistentvolumeclaims", "status", "get patch", REFERRED},
        {"", "serviceaccounts", "token", "create", REFERRED},
        {"", "services", NULL, "get list watch", ANY},
        {"", "endpoints", NULL, "get list watch", ANY},
        {"discovery.k8s.io", "endpointslices", NULL, "get list watch", ANY},
        {"minik8s.io", "policies policyprofiles nodeconfigurations", NULL, "get list watch", ANY},
        {"minik8s.io", "nodedecisions", NULL, "get create update patch", OWN_NAME},
        {"minik8s.io", "stream", NULL, "get list watch", ANY}, /* scoped by the server */
        {"minik8s.io", "batches", NULL, "create", ANY},        /* every step is authorized by itself */
    };
    *count = COUNT_OF(rules);
    return rules;
}

static bool in_scope(const struct question *q, const char *node, enum node_scope scope)
{
    const struct auth_attributes *at = q->at;
    const struct auth_facts *facts = q->facts;
    switch (scope) {
    case ANY:
        return true;
    case OWN_LEASE:
        if (!str_eq(at->namespace, "kube-node-lease"))
            return false;
        return at->name ? strcmp(at->name, node) == 0 : strcmp(at->verb, "create") == 0;
    case OWN_NAME:
        return at->name ? strcmp(at->name, node) == 0 : strcmp(at->verb, "create") == 0;
    case OWN_POD:
        return at->name && facts && facts->node_owns_pod &&
               facts->node_owns_pod(facts->arg, node, at->namespace, at->name);
    case OWN_VOLUME:
        return at->name && facts && facts->node_owns_volume &&
               facts->node_owns_volume(facts->arg, node, at->name);
    case REFERRED:
        return at->name && facts && facts->node_refers &&
               facts->node_refers(facts->arg, node, at->resource, at->namespace, at->name);
    }
    return false;
}

static enum auth_verdict nodes(const struct question *q)
{
    const char *node = auth_identity_node(q->identity);
    const struct auth_attributes *at = q->at;
    if (!node)
        return AUTH_NO_OPINION;
    if (!at->resource)
        return AUTH_NO_OPINION;
    size_t count;
    const struct node_rule *rules = node_rules(&count);
    bool known = false;
    for (size_t i = 0; i < count; i++) {
        const struct node_rule *rule = &rules[i];
        if (!str_eq(rule->group, at->group ? at->group : "") || !one_of(at->resource, rule->resources) ||
            !str_eq(rule->subresource, at->subresource) || !one_of(at->verb, rule->verbs))
            continue;
        known = true;
        if (in_scope(q, node, rule->scope))
            return AUTH_ALLOW;
    }
    say(q, known ? "a node may touch only its own Node, Lease and pods and what its pods refer to"
                 : "nodes have no access to this");
    return AUTH_DENY;
}

/* ---- the whole ---- */

bool auth_allowed(const struct auth_identity *identity, const struct auth_attributes *attributes,
                  const struct auth_facts *facts, const struct auth_source *more, size_t n_more,
                  struct str *reason)
{
    static source *const built_in[] = {server_itself, masters, control_plane, health, oneself, nodes};
    struct question q = {.identity = identity, .at = attributes, .facts = facts, .reason = reason};
    must(attributes->verb);
    for (size_t i = 0; i < COUNT_OF(built_in); i++) {
        enum auth_verdict verdict = built_in[i](&q);
        if (verdict != AUTH_NO_OPINION)
            return verdict == AUTH_ALLOW;
    }
    for (size_t i = 0; i < n_more; i++) {
        enum auth_verdict verdict = more[i].rule(more[i].arg, identity, attributes, reason);
        if (verdict != AUTH_NO_OPINION)
            return verdict == AUTH_ALLOW;
    }
    if (reason && reason->len == 0)
        str_add(reason, "no rule allows it");
    return false;
}
