/*
 * Impersonation (kubectl --as): who may act as others does so with the headers Impersonate-User, -Group and
 * -Uid. Each name needs the verb "impersonate" on users, serviceaccounts, groups or uids; from then on the
 * request has the other one's rights only. Source: Kubernetes, "User impersonation".
 */
#include <string.h>

#include "api/api_internal.h"

#define HEADER "impersonate-"
#define HEADER_USER "impersonate-user"
#define HEADER_GROUP "impersonate-group"
#define HEADER_UID "impersonate-uid"
#define GROUPS_MAX 64

struct disguise {
    const char *user, *uid;             /* NULL: not given */
    const char *groups[GROUPS_MAX + 4]; /* NULL-terminated; four of our own */
    size_t n_groups;
    bool other; /* a group or a uid */
};

static int read_headers(const struct http_request *request, struct disguise *as, struct err **err)
{
    for (size_t i = 0; i < request->n_headers; i++) {
        const char *name = request->headers[i].name, *value = request->headers[i].value;
        if (!str_starts(name, HEADER))
            continue;
        if (str_eq(name, HEADER_USER)) {
            as->user = value;
            continue;
        }
        as->other = true;
        if (str_eq(name, HEADER_UID))
            as->uid = value;
        else if (!str_eq(name, HEADER_GROUP))
            return err_set(err, ERR_BAD_REQUEST, "header %s is not supported", name);
        else if (as->n_groups == GROUPS_MAX)
            return err_set(err, ERR_BAD_REQUEST, "more than %d headers %s", GROUPS_MAX, HEADER_GROUP);
        else
            as->groups[as->n_groups++] = value;
    }
    if (str_empty(as->user) && (as->user || as->other))
        return err_set(err, ERR_BAD_REQUEST, "impersonation wants the name of a user in Impersonate-User");
    return 0;
}

static int check(struct api *api, const struct identity *identity, const char *group, const char *resource,
                 const char *namespace, const char *name, struct err **err)
{
    const struct access access = {
        .verb = "impersonate", .group = group, .resource = resource, .namespace = namespace, .name = name};
    return identity_allows(api, identity, &access, err);
}

/* The namespace of system:serviceaccount:NAMESPACE:NAME, for the caller to free, and where NAME begins; or
 * NULL. */
static char *account_of(const char *user, const char **name)
{
    if (!str_starts(user, AUTH_ACCOUNT_PREFIX))
        return NULL;
    const char *namespace = user + strlen(AUTH_ACCOUNT_PREFIX), *colon = strchr(namespace, ':');
    if (!colon)
        return NULL;
    *name = colon + 1;
    return mem_strndup(namespace, (size_t)(colon - namespace));
}

static int check_all(struct api *api, const struct identity *identity, const struct disguise *as,
                     struct err **err)
{
    const char *name = NULL;
    auto_free char *namespace = account_of(as->user, &name);
    if ((namespace ? check(api, identity, "", "serviceaccounts", namespace, name, err)
                   : check(api, identity, "", "users", NULL, as->user, err)) < 0)
        return -1;
    for (size_t i = 0; i < as->n_groups; i++) {
        if (check(api, identity, "", "groups", NULL, as->groups[i], err) < 0)
            return -1;
    }
    return as->uid ? check(api, identity, "authentication.k8s.io", "uids", NULL, as->uid, err) : 0;
}

/* What a user has without being told: an account its two groups, unless groups were named; and whether it is
 * known at all. */
static void put_on(const struct disguise *given, struct identity *identity)
{
    struct disguise as = *given;
    const char *name = NULL;
    auto_free char *namespace = as.n_groups ? NULL : account_of(as.user, &name);
    auto_free char *of_namespace = namespace ? mem_printf("system:serviceaccounts:%s", namespace) : NULL;
    if (namespace) {
        as.groups[as.n_groups++] = "system:serviceaccounts";
        as.groups[as.n_groups++] = of_namespace;
    }
    as.groups[as.n_groups++] = str_eq(as.user, AUTH_ANONYMOUS) ? AUTH_UNAUTHENTICATED : AUTH_AUTHENTICATED;
    as.groups[as.n_groups] = NULL;
    identity_fini(identity);
    identity_fill(identity, as.user, as.groups, as.uid);
}

int identity_impersonate(struct api *api, const struct http_request *request, struct identity *identity,
                         struct err **err)
{
    struct disguise as = {0};
    if (read_headers(request, &as, err) < 0)
        return -1;
    if (!as.user)
        return 0;
    if (check_all(api, identity, &as, err) < 0)
        return -1;
    log_info("api", "%s acts as %s", identity->who.user, as.user);
    put_on(&as, identity);
    return 0;
}
