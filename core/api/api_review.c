/*
 * What one may ask about oneself: SelfSubjectAccessReview (kubectl auth can-i), SelfSubjectRulesReview
 * (--list), SelfSubjectReview (whoami); SubjectAccessReview and, within a namespace, LocalSubjectAccessReview
 * about others, and TokenReview (whose a token is),
 * for those who may. Nothing is stored.
 */
#include <string.h>

#include "api/api_internal.h"

#define AUTHORIZATION "authorization.k8s.io"
#define AUTHENTICATION "authentication.k8s.io"

bool review_is(const struct call *call)
{
    static const struct {
        const char *group, *plural;
        bool namespaced;
    } reviews[] = {{AUTHORIZATION, "selfsubjectaccessreviews", false},
                   {AUTHORIZATION, "selfsubjectrulesreviews", false},
                   {AUTHORIZATION, "subjectaccessreviews", false},
                   {AUTHORIZATION, "localsubjectaccessreviews", true},
                   {AUTHENTICATION, "selfsubjectreviews", false},
                   {AUTHENTICATION, "tokenreviews", false}};
    for (size_t i = 0; i < COUNT_OF(reviews); i++) {
        if (str_eq(call->group, reviews[i].group) && str_eq(call->plural, reviews[i].plural) && !call->name)
            return (call->namespace != NULL) == reviews[i].namespaced;
    }
    return false;
}

static cJSON *user_info(const struct identity *identity)
{
    cJSON *info = cJSON_CreateObject();
    json_set_string(info, "username", identity->who.user);
    if (!str_empty(identity->who.uid))
        json_set_string(info, "uid", identity->who.uid);
    cJSON *groups = json_set(info, "groups", cJSON_CreateArray());
    for (size_t i = 0; identity->who.groups && identity->who.groups[i]; i++)
        json_push_string(groups, identity->who.groups[i]);
    const char *bound = identity->who.bound;
    if (str_eq(bound, AUTH_BOUND_POD) || str_eq(bound, AUTH_BOUND_NODE)) {
        cJSON *extra = json_ensure_object(info, "extra");
        auto_free char *name = mem_printf("authentication.kubernetes.io/%s-name", bound),
                       *uid = mem_printf("authentication.kubernetes.io/%s-uid", bound);
        json_push_string(json_set(extra, name, cJSON_CreateArray()), identity->who.bound_name);
        json_push_string(json_set(extra, uid, cJSON_CreateArray()), identity->who.bound_uid);
    }
    return info;
}

/* The access that a review's spec asks about. */
static struct access read_access(const cJSON *spec)
{
    const cJSON *resource = json_get(spec, "resourceAttributes"),
                *other = json_get(spec, "nonResourceAttributes");
    if (!resource && other)
        return (struct access){.verb = json_string_or(other, "verb", ""),
                               .path = json_string_or(other, "path", "/")};
    const char *namespace = json_string(resource, "namespace"), *name = json_string(resource, "name");
    const char *subresource = json_string(resource, "subresource");
    return (struct access){.verb = json_string_or(resource, "verb", ""),
                           .group = json_string_or(resource, "group", ""),
                           .resource = json_string_or(resource, "resource", ""),
                           .subresource = str_empty(subresource) ? NULL : subresource,
                           .namespace = str_empty(namespace) ? NULL : namespace,
                           .name = str_empty(name) ? NULL : name};
}

static void decide(struct call *call, const struct identity *identity, cJSON *review)
{
    const struct access access = read_access(json_get(review, "spec"));
    auto_err refusal = NULL;
    bool fine = identity_allows(call->api, identity, &access, &refusal) == 0;
    cJSON *status = json_set(review, "status", cJSON_CreateObject());
    json_set_bool(status, "allowed", fine);
    if (!fine)
        json_set_string(status, "reason", err_message(refusal));
}

/* About somebody else; the request itself was authorized. */
static void review_other(struct call *call, cJSON *review)
{
    const cJSON *spec = json_get(review, "spec"), *groups = json_get(spec, "groups");
    struct identity other = {0};
    auto_free const char **names =
        mem_array((size_t)(groups ? cJSON_GetArraySize(groups) : 0) + 1, sizeof(char *));
    size_t n = 0;
    json_each (group, groups) {
        if (cJSON_IsString(group))
            names[n++] = group->valuestring;
    }
    identity_fill(&other, json_string_or(spec, "user", ""), names, json_string(spec, "uid"));
    decide(call, &other, review);
    identity_fini(&other);
}

/* Only about the namespace of the request, for which alone it was authorized. */
static int check_local(const struct call *call, const cJSON *review, struct err **err)
{
    const cJSON *resource = json_at(review, "spec.resourceAttributes");
    if (json_at(review, "spec.nonResourceAttributes"))
        return err_add_cause(err, "FieldValueInvalid", "spec.nonResourceAttributes",
                             "Invalid value: disallowed on this kind of request");
    if (!resource)
        return err_add_cause(err, "FieldValueRequired", "spec.resourceAttributes", "Required value");
    if (!str_eq(json_string(resource, "namespace"), call->namespace))
        return err_add_cause(err, "FieldValueInvalid", "spec.resourceAttributes.namespace",
                             "Invalid value: must match metadata.namespace");
    return 0;
}

/* Whether the token is good for one of the audiences (none named: for the API server), and whose it is. */
static void review_token(struct call *call, cJSON *review)
{
    const char *token = json_string_or(review, "spec.token", "");
    cJSON *status = json_set(review, "status", cJSON_CreateObject());
    auto_json own = cJSON_CreateArray();
    json_push_string(own, AUTH_AUDIENCE);
    const cJSON *named = json_at(review, "spec.audiences");
    auto_err refused = NULL;
    json_each (audience, named && named->child ? named : own) {
        struct identity who = {0};
        auto_err wrong = NULL;
        if (!cJSON_IsString(audience) || !call->api->options.auth ||
            identity_of_token(call->api, token, audience->valuestring, &who, &wrong) < 0) {
            err_move(&refused, &wrong);
        } else {
            json_push_string(json_ensure_array(status, "audiences"), audience->valuestring);
            json_set(status, "user", user_info(&who));
        }
        identity_fini(&who);
    }
    json_set_bool(status, "authenticated", json_get(status, "user") != NULL);
    if (!json_get(status, "user") && refused)
        json_set_string(status, "error", err_message(refused));
    json_remove(json_get(review, "spec"), "token");
}

void handle_review(struct call *call)
{
    struct err *err = NULL;
    cJSON *review = NULL;
    if (!str_eq(call->verb, "create"))
        err_set(&err, ERR_METHOD_NOT_ALLOWED,
                "the server does not allow this method on the requested resource");
    else
        review = body_object(call, &err);
    bool local = str_eq(call->plural, "localsubjectaccessreviews");
    if (!review || (local && check_local(call, review, &err) < 0)) {
        cJSON_Delete(review);
        call_fail(call, err);
        return;
    }
    json_ensure_object(review, "metadata");
    if (str_eq(call->plural, "selfsubjectreviews")) {
        json_set(json_ensure_object(review, "status"), "userInfo", user_info(&call->identity));
    } else if (str_eq(call->plural, "selfsubjectrulesreviews")) {
        json_set(review, "status",
                 identity_rules(call->api, &call->identity, json_string(review, "spec.namespace")));
    } else if (local || str_eq(call->plural, "subjectaccessreviews")) {
        review_other(call, review);
    } else if (str_eq(call->plural, "tokenreviews")) {
        review_token(call, review);
    } else {
        decide(call, &call->identity, review);
    }
    call_answer_json(call, 201, review);
}
