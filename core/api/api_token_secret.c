/*
 * Secrets of type kubernetes.io/service-account-token: the server fills in a token of the account that an
 * annotation names, for those who live outside the cluster and cannot renew one. The token has no end but the
 * Secret's and the account's; whoever has the Secret has the account, as in Kubernetes.
 */
#include <string.h>

#include "api/api_internal.h"

#define TYPE "kubernetes.io/service-account-token"
#define ACCOUNT_NAME "kubernetes.io/service-account.name"
#define ACCOUNT_UID "kubernetes.io/service-account.uid"
#define LIFETIME_NS (100ll * 365 * 86400 * 1000000000) /* "no end" */

static int annotation_wrong(const char *name, const char *kind, const char *text, struct err **err)
{
    auto_free char *path = mem_printf("metadata.annotations[%s]", name);
    return err_add_cause(err, kind, path, "%s", text);
}

/* Caller frees; NULL: there is no such account. */
static char *account_uid(const struct op *op, const char *name)
{
    auto_free char *key = store_key("serviceaccounts", op->namespace, name);
    struct store *store = op->api->store;
    struct store_object object = {0};
    if (store->ops->get(store, key, &object, NULL) < 0)
        return NULL;
    const char *uid = store_terms_get(object.terms, "u:=");
    char *copy = mem_strdup(uid ? uid : "");
    store_object_fini(&object);
    return copy;
}

static char *issue(const struct op *op, const cJSON *secret, const char *account, const char *uid)
{
    auto_free char *user = mem_printf(AUTH_ACCOUNT_PREFIX "%s:%s", op->namespace, account);
    auto_free char *group = mem_printf("system:serviceaccounts:%s", op->namespace);
    const char *groups[] = {"system:serviceaccounts", group, NULL};
    struct auth_identity identity = {0};
    auth_identity_set(&identity, user, uid, groups);
    identity.bound = mem_strdup(AUTH_BOUND_SECRET);
    identity.bound_name = mem_strdup(op->name);
    identity.bound_uid = mem_strdup(json_string(secret, "metadata.uid"));
    char *token = auth_token_issue(op->api->options.auth, &identity, NULL, LIFETIME_NS);
    auth_identity_fini(&identity);
    return token;
}

static void fill(cJSON *data, const char *key, const char *text)
{
    if (json_get(data, key))
        return;
    auto_free char *encoded = str_base64(text, strlen(text));
    json_set_string(data, key, encoded);
}

/* The Secret goes with its account. */
static void belong_to(cJSON *meta, const char *account, const char *uid)
{
    cJSON *owners = json_ensure_array(meta, "ownerReferences");
    json_each (present, owners)
        if (str_eq(json_string(present, "uid"), uid))
            return;
    cJSON *owner = json_push(owners, cJSON_CreateObject());
    json_set_string(owner, "apiVersion", "v1");
    json_set_string(owner, "kind", "ServiceAccount");
    json_set_string(owner, "name", account);
    json_set_string(owner, "uid", uid);
}

int account_secret(const struct op *op, cJSON *secret, struct err **err)
{
    if (!op->api->options.auth || !str_eq(json_string(secret, "type"), TYPE))
        return 0;
    cJSON *annotations = json_get(object_meta(secret), "annotations");
    const char *account = cJSON_GetStringValue(json_get(annotations, ACCOUNT_NAME));
    const char *named = cJSON_GetStringValue(json_get(annotations, ACCOUNT_UID));
    if (str_empty(account))
        return annotation_wrong(ACCOUNT_NAME, "FieldValueRequired", "Required value", err);
    auto_free char *uid = account_uid(op, account);
    if (!uid)
        return annotation_wrong(ACCOUNT_NAME, "FieldValueNotFound",
                                "Not found: there is no such service account in the namespace", err);
    if (!str_empty(named) && !str_eq(named, uid))
        return annotation_wrong(ACCOUNT_UID, "FieldValueInvalid",
                                "Invalid value: the service account has another uid", err);
    json_set_string(annotations, ACCOUNT_UID, uid);
    cJSON *data = json_ensure_object(secret, "data");
    if (!json_get(data, "token")) {
        auto_free char *token = issue(op, secret, account, uid);
        fill(data, "token", token);
        belong_to(object_meta(secret), account, uid);
    }
    fill(data, "ca.crt", auth_ca_pem(auth_authority_ca(op->api->options.auth)));
    fill(data, "namespace", op->namespace);
    return 0;
}
