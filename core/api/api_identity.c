/*
 * Who asks, and what he may: the bridge to core/auth. A client certificate comes first, then a bearer token;
 * without either one is system:anonymous. Errors are in Kubernetes' words.
 */
#include <string.h>
#include <strings.h>

#include "api/api_internal.h"

void identity_fill(struct identity *identity, const char *user, const char *const *groups, const char *uid)
{
    auth_identity_set(&identity->who, user, uid, groups);
    identity->node = auth_identity_node(&identity->who);
}

void identity_fini(struct identity *identity)
{
    auth_identity_fini(&identity->who);
    identity->node = NULL;
}

bool identity_is_present(struct api *api, const char *resource, const char *namespace, const char *name,
                         const char *uid)
{
    auto_free char *key = store_key(resource, namespace, name);
    struct store_object object = {0};
    if (api->store->ops->get(api->store, key, &object, NULL) < 0)
        return false;
    bool same = str_eq(store_terms_get(object.terms, "u:="), uid);
    store_object_fini(&object);
    return same;
}

/* A token of a service account ends with the account, and with what it is bound to. */
static int check_account(struct api *api, const struct auth_identity *who, struct err **err)
{
    if (!str_starts(who->user, AUTH_ACCOUNT_PREFIX))
        return 0;
    const char *namespace = who->user + strlen(AUTH_ACCOUNT_PREFIX), *colon = strchr(namespace, ':');
    if (!colon)
        return err_set(err, ERR_UNAUTHORIZED, "Unauthorized");
    auto_free char *space = mem_strndup(namespace, (size_t)(colon - namespace));
    bool valid = identity_is_present(api, "serviceaccounts", space, colon + 1, who->uid);
    if (valid && who->bound)
        valid = token_binding_holds(api, space, who);
    return valid ? 0 : err_set(err, ERR_UNAUTHORIZED, "Unauthorized");
}

int identity_of_token(struct api *api, const char *token, const char *audience, struct identity *identity,
                      struct err **err)
{
    if (auth_authenticate_token(api->options.auth, token, audience, &identity->who, err) < 0)
        return -1;
    return check_account(api, &identity->who, err);
}

const char *request_bearer(const struct http_request *request)
{
    const char *header = http_request_header(request, "authorization");
    if (!header || strncasecmp(header, "Bearer ", 7) != 0)
        return NULL;
    header += 7;
    while (*header == ' ')
        header++;
    return *header ? header : NULL;
}

int identity_read(struct api *api, const struct http_request *request, struct identity *identity,
                  struct err **err)
{
    const char *token = request->certificate_user ? NULL : request_bearer(request);
    if (token) {
        auto_err refused = NULL;
        if (!api->options.auth || identity_of_token(api, token, AUTH_AUDIENCE, identity, &refused) < 0)
            return err_set(err, ERR_UNAUTHORIZED, "Unauthorized");
    } else {
        auth_authenticate_certificate(request->certificate_user, request->certificate_groups, &identity->who);
    }
    identity->node = auth_identity_node(&identity->who);
    return identity_impersonate(api, request, identity, err);
}

static int fail_forbidden(const struct identity *identity, const struct access *access, const char *reason,
                          struct err **err)
{
    const char *user = identity->who.user;
    auto_str text = {0};
    if (access->path) {
        str_addf(&text, "forbidden: User \"%s\" cannot %s path \"%s\"", user, access->verb, access->path);
    } else {
        str_addf(&text, "%s%s%s", access->resource, *access->group ? "." : "", access->group);
        if (access->name)
            str_addf(&text, " \"%s\"", access->name);
        str_addf(&text, " is forbidden: User \"%s\" cannot %s resource \"%s%s%s\" in API group \"%s\"", user,
                 access->verb, access->resource, access->subresource ? "/" : "",
                 access->subresource ? access->subresource : "", access->group);
        if (access->namespace)
            str_addf(&text, " in the namespace \"%s\"", access->namespace);
        else
            str_add(&text, " at the cluster scope");
    }
    if (!str_empty(reason))
        str_addf(&text, ": %s", reason);
    return err_set(err, ERR_FORBIDDEN, "%s", str_c(&text));
}

int identity_allows(struct api *api, const struct identity *identity, const struct access *access,
                    struct err **err)
{
    const struct auth_attributes attributes = {.verb = access->verb,
                                               .group = access->group,
                                               .resource = access->path ? NULL : access->resource,
                                               .subresource = access->subresource,
                                               .namespace = access->namespace,
                                               .name = access->name,
                                               .path = access->path};
    const struct auth_facts facts = {scope_refers, scope_owns_pod, scope_owns_volume, api};
    auto_str reason = {0};
    const struct auth_source rbac = {rbac_rule, api};
    if (auth_allowed(&identity->who, &attributes, &facts, &rbac, 1, &reason))
        return 0;
    return fail_forbidden(identity, access, str_c(&reason), err);
}
