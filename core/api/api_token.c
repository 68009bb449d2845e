/*
 * Tokens of service accounts (TokenRequest), as in Kubernetes: for the API server or for audiences of one's
 * choice, and bound to a pod, a Secret or a Node if spec.boundObjectRef names one: such a token ends with
 * that object. A node gets tokens for pods that run on it, and only bound ones.
 */
#include <string.h>

#include "api/api_internal.h"

#define SECONDS_DEFAULT 3600
#define SECONDS_MIN 600
#define SECONDS_MAX (366 * 86400)
#define SECONDS_INVALID (1ll << 32)

/* ---- what is asked for ---- */

/* A misspelled field would give a token that is good for more than was meant. */
static int check_names(struct call *call, const cJSON *object, const char *path, const char *const *known,
                       struct err **err)
{
    enum schema_strictness strictness;
    if (query_strictness(call, &strictness, err) < 0)
        return -1;
    json_each (member, object) {
        bool found = false;
        for (size_t i = 0; known[i]; i++)
            found = found || str_eq(known[i], member->string);
        if (found || strictness == SCHEMA_IGNORE)
            continue;
        if (strictness == SCHEMA_STRICT)
            return err_set(err, ERR_BAD_REQUEST, "strict decoding error: unknown field \"%s.%.253s\"", path,
                           member->string);
        auto_free char *warning = mem_printf("unknown field \"%s.%.200s\"", path, member->string);
        call_warn(call, warning);
    }
    return 0;
}

static int check_audiences(const cJSON *audiences, struct err **err)
{
    if (!audiences || cJSON_IsNull(audiences))
        return 0;
    if (!cJSON_IsArray(audiences))
        return err_add_cause(err, "FieldValueInvalid", "spec.audiences", "Invalid value: must be a list");
    size_t i = 0;
    json_each (audience, audiences) {
        auto_free char *path = mem_printf("spec.audiences[%zu]", i++);
        if (!cJSON_IsString(audience))
            return err_add_cause(err, "FieldValueInvalid", path, "Invalid value: must be a string");
        if (!*audience->valuestring)
            return err_add_cause(err, "FieldValueInvalid", path, "Invalid value: \"\": must not be empty");
    }
    return 0;
}

static int check_seconds(const cJSON *spec, struct err **err)
{
    const cJSON *value = json_get(spec, "expirationSeconds");
    static const char path[] = "spec.expirationSeconds";
    if (!value || cJSON_IsNull(value))
        return 0;
    if (!json_is_integer(value))
        return err_add_cause(err, "FieldValueInvalid", path, "Invalid value: must be an integer");
    int64_t seconds = json_int(spec, "expirationSeconds", 0);
    if (seconds < SECONDS_MIN)
        return err_add_cause(err, "FieldValueInvalid", path,
                             "Invalid value: %lld: may not specify a duration less than 10 minutes",
                             (long long)seconds);
    if (seconds > SECONDS_INVALID)
        return err_add_cause(err, "FieldValueInvalid", path,
                             "Invalid value: %lld: may not specify a duration larger than 2^32 seconds",
                             (long long)seconds);
    return 0;
}

static int check_request(struct call *call, const cJSON *request, struct err **err)
{
    static const char *const fields[] = {"audiences", "boundObjectRef", "expirationSeconds", NULL};
    static const char *const bound[] = {"apiVersion", "kind", "name", "uid", NULL};
    const cJSON *spec = json_get(request, "spec"), *reference = json_get(spec, "boundObjectRef");
    if (spec && !cJSON_IsObject(spec))
        return err_add_cause(err, "FieldValueInvalid", "spec", "Invalid value: must be an object");
    if (reference && !cJSON_IsObject(reference) && !cJSON_IsNull(reference))
        return err_add_cause(err, "FieldValueInvalid", "spec.boundObjectRef",
                             "Invalid value: must be an object");
    if (check_names(call, spec, "spec", fields, err) < 0 ||
        check_names(call, reference, "spec.boundObjectRef", bound, err) < 0)
        return -1;
    return check_audiences(json_get(spec, "audiences"), err) < 0 || check_seconds(spec, err) < 0 ? -1 : 0;
}

/* ---- what it is bound to ---- */

static const struct binding {
    const char *kind, *resource, *claim;
    bool namespaced;
} bindings[] = {{"Pod", "pods", AUTH_BOUND_POD, true},
                {"Secret", "secrets", AUTH_BOUND_SECRET, true},
                {"Node", "nodes", AUTH_BOUND_NODE, false}};

static const struct binding *find_binding(const cJSON *reference)
{
    const char *kind = json_string_or(reference, "kind", "");
    for (size_t i = 0; i < COUNT_OF(bindings); i++)
        if (str_eq(kind, bindings[i].kind))
            return &bindings[i];
    return NULL;
}

bool token_binding_holds(struct api *api, const char *namespace, const struct auth_identity *who)
{
    for (size_t i = 0; i < COUNT_OF(bindings); i++)
        if (str_eq(who->bound, bindings[i].claim))
            return identity_is_present(api, bindings[i].resource, bindings[i].namespaced ? namespace : "",
                                       who->bound_name, who->bound_uid);
    return false;
}

static int read_bound(struct call *call, const struct binding *binding, const cJSON *reference,
                      struct store_object *object, struct err **err)
{
    struct store *store = call->api->store;
    const char *resource = binding->resource;
    const char *name = json_string_or(reference, "name", ""), *uid = json_string(reference, "uid");
    auto_free char *key = store_key(resource, binding->namespaced ? call->namespace : "", name);
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
    const struct binding *binding = find_binding(reference);
    if (str_empty(json_string(reference, "name")))
        return err_add_cause(err, "FieldValueRequired", "spec.boundObjectRef.name", "Required value");
    if (!binding || !str_eq(json_string_or(reference, "apiVersion", "v1"), "v1"))
        return err_set(err, ERR_BAD_REQUEST,
                       "spec.boundObjectRef: cannot bind token for serviceaccount \"%s\" to type \"%.64s, "
                       "Kind=%.64s\": supported are Pod, Secret and Node of v1",
                       call->name, json_string_or(reference, "apiVersion", "v1"),
                       json_string_or(reference, "kind", ""));
    struct store_object object = {0};
    int result = read_bound(call, binding, reference, &object, err);
    if (result == 0 && str_eq(binding->kind, "Pod"))
        result = check_pod(call, &object, err);
    if (result == 0) {
        identity->bound = mem_strdup(binding->claim);
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
        names[n++] = audience->valuestring;
    return auth_token_issue(call->api->options.auth, identity, n ? names : NULL, seconds * 1000000000);
}

static int64_t lifetime(struct call *call, const cJSON *request)
{
    int64_t seconds = json_int(request, "spec.expirationSeconds", SECONDS_DEFAULT);
    if (seconds <= SECONDS_MAX)
        return seconds;
    auto_free char *warning = mem_printf("requested expiration of %lld seconds shortened to %d seconds",
                                         (long long)seconds, SECONDS_MAX);
    call_warn(call, warning);
    return SECONDS_MAX;
}

/* The request as it was understood, with the token. */
static void answer(struct call *call, cJSON *request, int64_t seconds, const char *token)
{
    char created[TIME_TEXT], expires[TIME_TEXT];
    int64_t now = api_wall(call->api);
    time_print(now, created);
    time_print(now + seconds * 1000000000, expires);
    json_set_string(request, "kind", "TokenRequest");
    json_set_string(request, "apiVersion", "authentication.k8s.io/v1");
    cJSON *metadata = json_ensure_object(request, "metadata"), *spec = json_ensure_object(request, "spec");
    json_set_string(metadata, "name", call->name);
    json_set_string(metadata, "namespace", call->namespace);
    json_set_string(metadata, "creationTimestamp", created);
    cJSON *audiences = json_ensure_array(spec, "audiences");
    if (cJSON_GetArraySize(audiences) == 0)
        json_push_string(audiences, AUTH_AUDIENCE);
    json_set_int(spec, "expirationSeconds", seconds);
    cJSON *status = json_set(request, "status", cJSON_CreateObject());
    json_set_string(status, "token", token);
    json_set_string(status, "expirationTimestamp", expires);
}

static int make_token(struct call *call, cJSON *request, struct err **err)
{
    auto_free char *uid = account_uid(call, err);
    if (!uid)
        return -1;
    auto_free char *user = mem_printf(AUTH_ACCOUNT_PREFIX "%s:%s", call->namespace, call->name);
    auto_free char *group = mem_printf("system:serviceaccounts:%s", call->namespace);
    const char *groups[] = {"system:serviceaccounts", group, NULL};
    struct auth_identity identity = {0};
    auth_identity_set(&identity, user, uid, groups);
    int result = bind_token(call, request, &identity, err);
    if (result == 0) {
        int64_t seconds = lifetime(call, request);
        auto_free char *token = issue(call, request, &identity, seconds);
        answer(call, request, seconds, token);
    }
    auth_identity_fini(&identity);
    return result;
}

void handle_token(struct call *call)
{
    struct err *err = NULL;
    cJSON *request = body_object(call, &err);
    if (request && check_request(call, request, &err) == 0 && make_token(call, request, &err) == 0) {
        call_answer_json(call, 201, request);
        return;
    }
    cJSON_Delete(request);
    call_fail(call, err);
}
