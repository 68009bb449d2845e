/*
 * Tokens of service accounts (TokenRequest), as in Kubernetes: for the API server or for audiences of one's
 * choice, and bound to a pod or a Secret if spec.boundObjectRef names one: such a token ends with that
 * object. A node gets tokens for pods that run on it, and only bound ones.
 */
#include <string.h>

#include "api/api_internal.h"

#define SECONDS_DEFAULT 3600
#define SECONDS_MIN 600
#define SECONDS_MAX (366 * 86400)

/* ---- what it is bound to ---- */

static int read_bound(struct call *call, const char *resource, const cJSON *reference,
                      struct store_object *object, struct err **err)
{
    struct store *store = call->api->store;
    const char *name = json_string_or(reference, "name", ""), *uid = json_string(reference, "uid");
    auto_free char *key = store_key(resource, call->namespace, name);
    if (store->ops->get(store, key, object, NULL) < 0)
        return err_set(err, ERR_NOT_FOUND, "%s \"%.253s\" not found", resource, name);
    const char *present = store_terms_get(object->terms, "u:=");
    if (str_empty(uid) || str_eq(uid, present))
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "Operation cannot be fulfilled on %s \"%.253s\": the UID in the bound object reference "
                   "(%.64s) does not match the UID in record. The object might have been deleted and then "
                   "recreated",
                   resource, name, uid);
}

/* Is the pod the account's, and (asked by a node) does it run there? */
static int check_pod(struct call *call, const struct store_object *object, struct err **err)
{
    auto_json pod = json_parse_trusted(object->bytes->data, object->bytes->len);
    const char *account = json_string_or(pod, "spec.serviceAccountName", "default"),
               *node = call->identity.node;
    if (!str_eq(account, call->name))
        return err_set(
            err, ERR_BAD_REQUEST,
            "cannot bind token for serviceaccount \"%s\" to pod running with different serviceaccount "
            "name.",
            call->name);
    if (node && !str_eq(json_string(pod, "spec.nodeName"), node))
        return err_set(
            err, ERR_FORBIDDEN,
            "serviceaccounts \"%s\" is forbidden: node requested token bound to a pod scheduled on a "
            "different node",
            call->name);
    return 0;
}

static int bind_to(struct call *call, const cJSON *reference, struct auth_identity *identity,
                   struct err **err)
{
    const char *kind = json_string_or(reference, "kind", "");
    bool pod = str_eq(kind, "Pod"), secret = str_eq(kind, "Secret");
    if (str_empty(json_string(reference, "name")))
        return err_add_cause(err, "FieldValueRequired", "spec.boundObjectRef.name", "Required value");
    if ((!pod && !secret) || !str_eq(json_string_or(reference, "apiVersion", "v1"), "v1"))
        return err_set(err, ERR_BAD_REQUEST,
                       "spec.boundObjectRef: cannot bind token for serviceaccount \"%s\" to type \"%.64s, "
                       "Kind=%.64s\": supported are Pod and Secret of v1",
                       call->name, json_string_or(reference, "apiVersion", "v1"), kind);
    struct store_object object = {0};
    int result = read_bound(call, pod ? "pods" : "secrets", reference, &object, err);
    if (result == 0 && pod)
        result = check_pod(call, &object, err);
    if (result == 0) {
        identity->bound = mem_strdup(pod ? AUTH_BOUND_POD : AUTH_BOUND_SECRET);
        identity->bound_name = mem_strdup(json_string(reference, "name"));
        identity->bound_uid = mem_strdup(store_terms_get(object.terms, "u:="));
    }
    store_object_fini(&object);
    return result;
}

static int bind_token(struct call *call, const cJSON *request, struct auth_identity *identity,
                      struct err **err)
{
    const cJSON *reference = json_at(request, "spec.boundObjectRef");
    bool bound = reference && !cJSON_IsNull(reference);
    bool to_pod = bound && str_eq(json_string(reference, "kind"), "Pod");
    if (call->identity.node && (!to_pod || str_empty(json_string(reference, "uid"))))
        return err_set(err, ERR_FORBIDDEN, "serviceaccounts \"%s\" is forbidden: node requested token %s",
                       call->name, to_pod ? "with a pod binding without a uid" : "not bound to a pod");
    return bound ? bind_to(call, reference, identity, err) : 0;
}

/* ---- the token ---- */

static char *account_uid(struct call *call, struct err **err)
{
    struct store *store = call->api->store;
    auto_free char *key = store_key("serviceaccounts", call->namespace, call->name);
    struct store_object object = {0};
    if (store->ops->get(store, key, &object, NULL) < 0) {
        fail_not_found(err, call->info, call->name);
        return NULL;
    }
    char *uid = mem_strdup(store_terms_get(object.terms, "u:="));
    store_object_fini(&object);
    return uid ? uid : mem_strdup("");
}

static char *issue(struct call *call, const cJSON *request, const struct auth_identity *identity,
                   int64_t seconds)
{
    const cJSON *audiences = json_at(request, "spec.audiences");
    auto_free const char **names =
        mem_array((size_t)(audiences ? cJSON_GetArraySize(audiences) : 0) + 1, sizeof(*names));
    size_t n = 0;
    json_each (audience, audiences)
        if (cJSON_IsString(audience) && *audience->valuestring)
            names[n++] = audience->valuestring;
    return auth_token_issue(call->api->options.auth, identity, n ? names : NULL, seconds * 1000000000);
}

static int make_token(struct call *call, cJSON *request, struct err **err)
{
    auto_free char *uid = account_uid(call, err);
    if (!uid)
        return -1;
    auto_free char *user = mem_printf("system:serviceaccount:%s:%s", call->namespace, call->name);
    auto_free char *group = mem_printf("system:serviceaccounts:%s", call->namespace);
    const char *groups[] = {"system:serviceaccounts", group, NULL};
    struct auth_identity identity = {0};
    auth_identity_set(&identity, user, uid, groups);
    int64_t seconds = json_int(request, "spec.expirationSeconds", SECONDS_DEFAULT);
    seconds = seconds < SECONDS_MIN ? SECONDS_MIN : seconds > SECONDS_MAX ? SECONDS_MAX : seconds;
    int result = bind_token(call, request, &identity, err);
    if (result == 0) {
        auto_free char *token = issue(call, request, &identity, seconds);
        char expires[TIME_TEXT];
        time_print(api_wall(call->api) + seconds * 1000000000, expires);
        cJSON *status = json_set(request, "status", cJSON_CreateObject());
        json_set_string(status, "token", token);
        json_set_string(status, "expirationTimestamp", expires);
    }
    auth_identity_fini(&identity);
    return result;
}

void handle_token(struct call *call)
{
    struct err *err = NULL;
    cJSON *request = body_object(call, &err);
    if (request && make_token(call, request, &err) == 0) {
        call_answer_json(call, 201, request);
        return;
    }
    cJSON_Delete(request);
    call_fail(call, err);
}
