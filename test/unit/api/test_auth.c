/* Who may what: anonymous, tokens, nodes, reviews of oneself; joining a machine with tokens that are right,
 * wrong, spent. */
#include "api_test.h"

#define JOIN "/apis/minik8s.io/v1/join"
#define TOKENS "/apis/minik8s.io/v1/jointokens"
#define PODS "/api/v1/namespaces/default/pods"
#define SECRETS "/api/v1/namespaces/default/secrets"

static struct reply ask_as(struct world *w, const char *user, const char *group, const char *token,
                           const char *method, const char *target, const char *body)
{
    return ask_client(w, world_as(w, user, group, token), method, target, NULL, NULL, body);
}

static void test_anonymous(void **state)
{
    struct world *w = *state;
    auto_reply refused = ask_as(w, NULL, NULL, NULL, "GET", PODS, NULL);
    assert_int_equal(refused.status, 403);
    assert_true(
        str_starts(text_at(&refused, "message"),
                   "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group "
                   "\"\" in the namespace \"default\""));
    auto_reply health = ask_as(w, NULL, NULL, NULL, "GET", "/healthz", NULL);
    assert_int_equal(health.status, 200);
    auto_reply metrics = ask_as(w, NULL, NULL, NULL, "GET", "/metrics", NULL);
    assert_int_equal(metrics.status, 403);
    auto_reply discovery = ask_as(w, "joe", NULL, NULL, "GET", "/apis", NULL);
    assert_int_equal(discovery.status, 200);
}

static void test_bearer(void **state)
{
    struct world *w = *state;
    auto_reply wrong = ask_as(w, NULL, NULL, "not-a-token", "GET", PODS, NULL);
    assert_int_equal(wrong.status, 401);
    assert_at(wrong, "reason", "Unauthorized");
    expect(w, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{'metadata':{'name':'bot'}}");
    auto_reply token = ask(
        w, "POST", "/api/v1/namespaces/default/serviceaccounts/bot/token",
        "{'apiVersion':'authentication.k8s.io/v1','kind':'TokenRequest','spec':{'expirationSeconds':600}}");
    assert_int_equal(token.status, 201);
    const char *text = text_at(&token, "status.token");
    const char *review = "{'apiVersion':'authentication.k8s.io/v1','kind':'SelfSubjectReview'}";
    auto_reply who =
        ask_as(w, NULL, NULL, text, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review);
    assert_int_equal(who.status, 201);
    assert_at(who, "status.userInfo.username", "system:serviceaccount:default:bot");
    auto_reply pods = ask_as(w, NULL, NULL, text, "GET", PODS, NULL);
    assert_int_equal(pods.status, 403);
    expect(w, 200, "DELETE", "/api/v1/namespaces/default/serviceaccounts/bot", NULL);
    auto_reply orphan = ask_as(w, NULL, NULL, text, "GET", PODS, NULL);
    assert_int_equal(orphan.status, 401); /* the token ends with the account */
    expect(w, 404, "POST", "/api/v1/namespaces/default/serviceaccounts/none/token", "{'spec':{}}");
}

static struct reply ask_token(struct world *w, const char *bound, struct http_client *client)
{
    auto_free char *body = mem_printf("{'spec':{'expirationSeconds':600,'boundObjectRef':%s}}", bound);
    const char *target = "/api/v1/namespaces/default/serviceaccounts/default/token";
    return client ? ask_client(w, client, "POST", target, NULL, NULL, body) : ask(w, "POST", target, body);
}

static int status_of(struct world *w, const char *token)
{
    auto_reply reply = ask_as(w, NULL, NULL, token, "GET", "/api", NULL);
    return reply.status;
}

/* A token that is bound to a pod or a Secret ends with it, also if another one of that name comes. */
static void test_bound_tokens(void **state)
{
    struct world *w = *state;
    const char *pod =
        "{'metadata':{'name':'p'},'spec':{'nodeName':'n1','containers':[{'name':'c','image':'i:1'}]}}";
    auto_reply made = ask(w, "POST", PODS, pod);
    auto_free char *uid = mem_strdup(text_at(&made, "metadata.uid"));
    auto_free char *reference = mem_printf("{'kind':'Pod','apiVersion':'v1','name':'p','uid':'%s'}", uid);
    auto_reply token = ask_token(w, reference, NULL);
    assert_int_equal(token.status, 201);
    const char *text = text_at(&token, "status.token");
    assert_int_equal(status_of(w, text), 200);
    auto_reply who =
        ask_as(w, NULL, NULL, text, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}");
    assert_at(who, "status.userInfo.extra['authentication.kubernetes.io/pod-name'][0]", "p");
    assert_at(who, "status.userInfo.extra['authentication.kubernetes.io/pod-uid'][0]", uid);
    auto_free char *review = mem_printf("{'spec':{'token':'%s'}}", text);
    auto_reply known = ask(w, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", review);
    assert_at(known, "status.user.extra['authentication.kubernetes.io/pod-name'][0]", "p");
    expect(w, 200, "DELETE", PODS "/p?gracePeriodSeconds=0", NULL);
    assert_int_equal(status_of(w, text), 401);
    auto_reply unknown = ask(w, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", review);
    assert_false(json_bool(unknown.json, "status.authenticated", true));
    expect(w, 201, "POST", PODS, pod);
    assert_int_equal(status_of(w, text), 401);
    auto_reply other = ask_token(w, reference, NULL);
    assert_int_equal(other.status, 409);
    expect(w, 201, "POST", "/api/v1/namespaces/default/secrets", "{'metadata':{'name':'s'}}");
    auto_reply of_secret = ask_token(w, "{'kind':'Secret','name':'s'}", NULL);
    assert_int_equal(status_of(w, text_at(&of_secret, "status.token")), 200);
    expect(w, 200, "DELETE", "/api/v1/namespaces/default/secrets/s", NULL);
    assert_int_equal(status_of(w, text_at(&of_secret, "status.token")), 401);
    expect(w, 201, "POST", "/api/v1/nodes", "{'metadata':{'name':'n7'}}");
    auto_reply of_node = ask_token(w, "{'kind':'Node','apiVersion':'v1','name':'n7'}", NULL);
    const char *on_node = text_at(&of_node, "status.token");
    auto_reply where =
        ask_as(w, NULL, NULL, on_node, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}");
    assert_at(where, "status.userInfo.extra['authentication.kubernetes.io/node-name'][0]", "n7");
    expect(w, 200, "DELETE", "/api/v1/nodes/n7", NULL);
    assert_int_equal(status_of(w, on_node), 401);
}

static struct reply post_secret(struct world *w, const char *name, const char *annotations)
{
    auto_free char *body = mem_printf("{'metadata':{'name':'%s','annotations':{%s}},'type':'kubernetes.io/"
                                      "service-account-token'}",
                                      name, annotations);
    return ask(w, "POST", SECRETS, body);
}

static char *decoded(const struct reply *secret, const char *path)
{
    const char *text = text_at(secret, path);
    unsigned char *data = NULL;
    size_t len = 0;
    assert_int_equal(str_unbase64(text, strlen(text), &data, &len), 0);
    char *copy = mem_strndup((char *)data, len);
    free(data);
    return copy;
}

/* A Secret of the type gets a token of the account, which ends with either of the two and by nothing else. */
static void test_token_secrets(void **state)
{
    struct world *w = *state;
    static const char *const wrong[][2] = {
        {"", "metadata.annotations[kubernetes.io/service-account.name]"},
        {"'kubernetes.io/service-account.name':'none'",
         "metadata.annotations[kubernetes.io/service-account.name]"},
        {"'kubernetes.io/service-account.name':'bot','kubernetes.io/service-account.uid':'1'",
         "metadata.annotations[kubernetes.io/service-account.uid]"}};
    expect(w, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{'metadata':{'name':'bot'}}");
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        auto_reply refused = post_secret(w, "t", wrong[i][0]);
        assert_int_equal(refused.status, 422);
        assert_at(refused, "details.causes[0].field", wrong[i][1]);
    }
    auto_reply made = post_secret(w, "t", "'kubernetes.io/service-account.name':'bot'");
    assert_int_equal(made.status, 201);
    assert_true(strlen(text_at(&made, "metadata.annotations['kubernetes.io/service-account.uid']")) > 30);
    auto_free char *token = decoded(&made, "data.token"), *ca = decoded(&made, "data['ca.crt']"),
                   *namespace = decoded(&made, "data.namespace");
    assert_string_equal(namespace, "default");
    assert_true(str_starts(ca, "-----BEGIN CERTIFICATE-----"));
    auto_reply who =
        ask_as(w, NULL, NULL, token, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}");
    assert_at(who, "status.userInfo.username", "system:serviceaccount:default:bot");
    loop_run_until(w->loop, loop_now_ms(w->loop) + 10ll * 365 * 86400 * 1000);
    assert_int_equal(status_of(w, token), 200);

    auto_reply kept = ask_type(w, "PATCH", SECRETS "/t", "application/merge-patch+json",
                               "{'metadata':{'labels':{'a':'b'}}}");
    assert_string_equal(text_at(&kept, "data.token"), text_at(&made, "data.token"));
    auto_reply again = ask_type(w, "PATCH", SECRETS "/t", "application/merge-patch+json", "{'data':null}");
    auto_free char *second = decoded(&again, "data.token");
    assert_int_equal(status_of(w, second), 200);
    expect(w, 200, "DELETE", SECRETS "/t", NULL);
    assert_int_equal(status_of(w, token), 401);
    auto_reply other = post_secret(w, "u", "'kubernetes.io/service-account.name':'bot'");
    auto_free char *third = decoded(&other, "data.token");
    assert_int_equal(status_of(w, third), 200);
    expect(w, 200, "DELETE", "/api/v1/namespaces/default/serviceaccounts/bot", NULL);
    assert_int_equal(status_of(w, third), 401);
    auto_reply orphan = ask_type(w, "PATCH", SECRETS "/u", "application/merge-patch+json", "{'data':null}");
    assert_int_equal(orphan.status, 200);
}

/* What is asked for is checked: a token is never good for longer or for more than was meant. */
static void test_token_requests(void **state)
{
    struct world *w = *state;
    const char *target = "/api/v1/namespaces/default/serviceaccounts/default/token";
    const struct {
        const char *spec;
        int status;
        const char *message;
    } cases[] = {
        {"{'expirationSeconds':599}", 422, "spec.expirationSeconds: Invalid value: 599: may not specify"},
        {"{'expirationSeconds':-1}", 422, "spec.expirationSeconds: Invalid value: -1"},
        {"{'expirationSeconds':4294967297}", 422, "larger than 2^32 seconds"},
        {"{'expirationSeconds':'3600'}", 422, "spec.expirationSeconds: Invalid value: must be an integer"},
        {"{'audiences':'vault'}", 422, "spec.audiences: Invalid value: must be a list"},
        {"{'audiences':['vault','']}", 422, "spec.audiences[1]: Invalid value"},
        {"{'audiences':[1]}", 422, "spec.audiences[0]: Invalid value: must be a string"},
        {"7", 422, "spec: Invalid value: must be an object"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        auto_free char *body = mem_printf("{'spec':%s}", cases[i].spec);
        auto_reply reply = ask(w, "POST", target, body);
        assert_int_equal(reply.status, cases[i].status);
        assert_non_null(strstr(text_at(&reply, "message"), cases[i].message));
    }
    const char *misspelled = "{'spec':{'audience':['vault']}}";
    auto_reply strict =
        ask(w, "POST", "/api/v1/namespaces/default/serviceaccounts/default/token?fieldValidation=Strict",
            misspelled);
    assert_int_equal(strict.status, 400);
    assert_non_null(strstr(text_at(&strict, "message"), "unknown field \"spec.audience\""));
    auto_reply made = ask(w, "POST", target, "{}");
    assert_int_equal(made.status, 201);
    assert_at(made, "kind", "TokenRequest");
    assert_at(made, "metadata.name", "default");
    assert_at(made, "spec.audiences[0]", AUTH_AUDIENCE);
    assert_int_equal(json_int(made.json, "spec.expirationSeconds", 0), 3600);
    assert_non_null(text_at(&made, "status.expirationTimestamp"));
    auto_reply refused = ask_as(w, "joe", NULL, NULL, "POST", target, "{}");
    assert_int_equal(refused.status, 403);
    assert_non_null(strstr(text_at(&refused, "message"), "serviceaccounts/token"));
    expect(w, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
           "{'metadata':{'name':'issuer'},'rules':[{'apiGroups':[''],'resources':['serviceaccounts/token'],"
           "'resourceNames':['default'],'verbs':['create']}]}");
    expect(w, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
           "{'metadata':{'name':'issuer'},'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'Role',"
           "'name':'issuer'},'subjects':[{'kind':'User','name':'joe','apiGroup':"
           "'rbac.authorization.k8s.io'}]}");
    auto_reply allowed = ask_as(w, "joe", NULL, NULL, "POST", target, "{}");
    assert_int_equal(allowed.status, 201);
    expect(w, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{'metadata':{'name':'bot'}}");
    auto_reply other =
        ask_as(w, "joe", NULL, NULL, "POST", "/api/v1/namespaces/default/serviceaccounts/bot/token", "{}");
    assert_int_equal(other.status, 403);
}

static void test_bindings_refused(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "{'metadata':{'name':'bot'}}");
    expect(w, 201, "POST", PODS,
           "{'metadata':{'name':'bots'},'spec':{'serviceAccountName':'bot','containers':[{'name':'c','image':"
           "'i:1'}]}}");
    auto_reply mine = ask(w, "POST", PODS,
                          "{'metadata':{'name':'mine'},'spec':{'nodeName':'n1','containers':[{'name':'c',"
                          "'image':'i:1'}]}}");
    auto_reply far =
        ask(w, "POST", PODS,
            "{'metadata':{'name':'far'},'spec':{'nodeName':'n2','containers':[{'name':'c','image':"
            "'i:1'}]}}");
    auto_free char *own =
                       mem_printf("{'kind':'Pod','name':'mine','uid':'%s'}", text_at(&mine, "metadata.uid")),
                   *others =
                       mem_printf("{'kind':'Pod','name':'far','uid':'%s'}", text_at(&far, "metadata.uid"));
    struct http_client *node = world_as(w, "system:node:n1", "system:nodes", NULL);
    const struct {
        const char *reference;
        struct http_client *client;
        int status;
        const char *message;
    } cases[] = {{"{'kind':'Pod','name':'none'}", NULL, 404, "pods \"none\" not found"},
                 {"{'kind':'Pod'}", NULL, 422, "spec.boundObjectRef.name"},
                 {"{'kind':'ConfigMap','name':'x'}", NULL, 400, "to type \"v1, Kind=ConfigMap\""},
                 {"{'kind':'Node','name':'none'}", NULL, 404, "nodes \"none\" not found"},
                 {"'Pod'", NULL, 422, "spec.boundObjectRef: Invalid value"},
                 {"{'kind':'Pod','name':'bots'}", NULL, 400, "different serviceaccount"},
                 {"null", NULL, 201, NULL},
                 {own, node, 201, NULL},
                 {others, node, 403, "different node"},
                 {"null", node, 403, "not bound to a pod"},
                 {"{'kind':'Pod','name':'mine'}", node, 403, "without a uid"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        auto_reply reply = ask_token(w, cases[i].reference, cases[i].client);
        if (reply.status != cases[i].status)
            fail_msg("%s: %d %s", cases[i].reference, reply.status, reply.text);
        if (cases[i].message)
            assert_non_null(strstr(text_at(&reply, "message"), cases[i].message));
    }
}

static struct reply ask_disguised(struct world *w, struct http_client *client,
                                  const struct http_pair *headers, size_t n_headers)
{
    const struct http_call call = {.method = "POST",
                                   .target = "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                                   .content_type = "application/json",
                                   .body = "{}",
                                   .body_len = 2,
                                   .headers = headers,
                                   .n_headers = n_headers};
    return ask_call(w, client, call);
}

/* With the verb impersonate one acts as another, with that one's rights only; without it, as nobody. */
static void test_impersonation(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles",
           "{'metadata':{'name':'actor'},'rules':[{'apiGroups':[''],'resources':['users','groups'],"
           "'verbs':['impersonate'],'resourceNames':['jane','crew']}]}");
    expect(
        w, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "{'metadata':{'name':'actor'},'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'ClusterRole',"
        "'name':'actor'},'subjects':[{'kind':'User','name':'joe','apiGroup':'rbac.authorization.k8s.io'}]}");
    enum asker { ADMIN, JOE, NOBODY };
    const char *account = "system:serviceaccount:default:default";
    const struct {
        enum asker asker;
        struct http_pair headers[2];
        size_t n_headers;
        int status;
        const char *at, *what;
    } cases[] = {
        {ADMIN, {{"impersonate-user", "jane"}}, 1, 201, "status.userInfo.username", "jane"},
        {ADMIN, {{"impersonate-user", "jane"}}, 1, 201, "status.userInfo.groups[0]", AUTH_AUTHENTICATED},
        {ADMIN,
         {{"impersonate-user", account}},
         1,
         201,
         "status.userInfo.groups[1]",
         "system:serviceaccounts:default"},
        {ADMIN,
         {{"impersonate-user", "jane"}, {"impersonate-group", "crew"}},
         2,
         201,
         "status.userInfo.groups[0]",
         "crew"},
        {ADMIN, {{"impersonate-user", "jane"}, {"impersonate-uid", "7"}}, 2, 201, "status.userInfo.uid", "7"},
        {ADMIN, {{"impersonate-group", "crew"}}, 1, 400, "message", "Impersonate-User"},
        {ADMIN, {{"impersonate-user", ""}}, 1, 400, "message", "Impersonate-User"},
        {ADMIN,
         {{"impersonate-user", "jane"}, {"impersonate-extra-scopes", "x"}},
         2,
         400,
         "message",
         "impersonate-extra-scopes is not supported"},
        {JOE,
         {{"impersonate-user", "jane"}, {"impersonate-group", "crew"}},
         2,
         201,
         "status.userInfo.username",
         "jane"},
        {JOE,
         {{"impersonate-user", "admin"}},
         1,
         403,
         "message",
         "users \"admin\" is forbidden: User \"joe\" cannot impersonate resource \"users\""},
        {JOE,
         {{"impersonate-user", "jane"}, {"impersonate-group", AUTH_MASTERS}},
         2,
         403,
         "message",
         "cannot impersonate resource \"groups\""},
        {JOE,
         {{"impersonate-user", "jane"}, {"impersonate-uid", "7"}},
         2,
         403,
         "message",
         "cannot impersonate resource \"uids\" in API group \"authentication.k8s.io\""},
        {JOE,
         {{"impersonate-user", account}},
         1,
         403,
         "message",
         "cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"default\""},
        {NOBODY, {{"impersonate-user", "jane"}}, 1, 403, "message", "User \"system:anonymous\""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        enum asker asker = cases[i].asker;
        struct http_client *client =
            asker == ADMIN ? w->client : world_as(w, asker == JOE ? "joe" : NULL, NULL, NULL);
        auto_reply reply = ask_disguised(w, client, cases[i].headers, cases[i].n_headers);
        if (reply.status != cases[i].status || !strstr(text_at(&reply, cases[i].at), cases[i].what))
            fail_msg("case %zu: %d %s", i, reply.status, reply.text);
    }
}

/* Who acts as another has no rights of his own left. */
static void test_impersonation_lowers(void **state)
{
    struct world *w = *state;
    struct http_pair header = {"impersonate-user", "jane"};
    auto_reply reply =
        ask_call(w, w->client,
                 (struct http_call){.method = "GET", .target = PODS, .headers = &header, .n_headers = 1});
    assert_int_equal(reply.status, 403);
    assert_non_null(strstr(text_at(&reply, "message"), "User \"jane\" cannot list resource \"pods\""));
}

/* A pod needs its account; a template may name one that comes later. */
static void test_account_missing(void **state)
{
    struct world *w = *state;
    const char *pod =
        "{'metadata':{'name':'p'},'spec':{'serviceAccountName':'late','containers':[{'name':'c',"
        "'image':'i:1'}]}}";
    auto_reply refused = ask(w, "POST", PODS, pod);
    assert_int_equal(refused.status, 403);
    assert_at(
        refused, "message",
        "pods \"p\" is forbidden: error looking up service account default/late: serviceaccount \"late\" "
        "not found");
    expect(w, 404, "GET", PODS "/p", NULL);
    const char *set =
        "{'metadata':{'name':'s'},'spec':{'selector':{'matchLabels':{'a':'b'}},'template':{'metadata':{'"
        "labels':"
        "{'a':'b'}},'spec':{'serviceAccountName':'late','containers':[{'name':'c','image':'i:1'}]}}}}";
    expect(w, 201, "POST", "/apis/apps/v1/namespaces/default/replicasets", set);
    expect(w, 201, "POST", "/api/v1/namespaces/default/serviceaccounts",
           "{'metadata':{'name':'late'},'imagePullSecrets':[{'name':'s'}],'automountServiceAccountToken':"
           "false}");
    auto_reply made = ask(w, "POST", PODS, pod);
    assert_int_equal(made.status, 201);
    assert_at(made, "spec.imagePullSecrets[0].name", "s");
    assert_null(json_at(made.json, "spec.containers[0].volumeMounts"));
}

/* A token for somebody else is none for the server, which tells those who ask whose it is. */
static void test_audiences(void **state)
{
    struct world *w = *state;
    const char *target = "/apis/authentication.k8s.io/v1/tokenreviews";
    auto_reply token = ask(w, "POST", "/api/v1/namespaces/default/serviceaccounts/default/token",
                           "{'spec':{'audiences':['vault'],'expirationSeconds':600}}");
    assert_int_equal(token.status, 201);
    const char *text = text_at(&token, "status.token");
    auto_reply refused = ask_as(w, NULL, NULL, text, "GET", PODS, NULL);
    assert_int_equal(refused.status, 401);
    auto_free char *body = mem_printf("{'spec':{'token':'%s','audiences':['other','vault']}}", text);
    auto_reply known = ask(w, "POST", target, body);
    assert_true(json_bool(known.json, "status.authenticated", false));
    assert_at(known, "status.user.username", "system:serviceaccount:default:default");
    assert_at(known, "status.audiences[0]", "vault");
    auto_free char *plain = mem_printf("{'spec':{'token':'%s'}}", text);
    auto_reply unknown = ask(w, "POST", target, plain);
    assert_false(json_bool(unknown.json, "status.authenticated", true));
    assert_non_null(strstr(text_at(&unknown, "status.error"), "not meant for"));
    auto_reply nobody = ask_as(w, "joe", NULL, NULL, "POST", target, plain);
    assert_int_equal(nobody.status, 403);
}

/* Every namespace has its account and the certificate, from the first moment and whatever is done to them. */
static void test_defaults(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", "/api/v1/namespaces", "{'metadata':{'name':'new'}}");
    expect(w, 200, "GET", "/api/v1/namespaces/new/serviceaccounts/default", NULL);
    auto_reply ca = ask(w, "GET", "/api/v1/namespaces/new/configmaps/kube-root-ca.crt", NULL);
    assert_true(str_starts(text_at(&ca, "data['ca.crt']"), "-----BEGIN CERTIFICATE-----"));
    auto_reply pod = ask(w, "POST", "/api/v1/namespaces/new/pods",
                         "{'metadata':{'name':'p'},'spec':{'containers':[{'name':'c','image':'i:1'}]}}");
    assert_at(pod, "spec.containers[0].volumeMounts[0].mountPath",
              "/var/run/secrets/kubernetes.io/serviceaccount");
    expect(w, 200, "DELETE", "/api/v1/namespaces/new/serviceaccounts/default", NULL);
    expect(w, 200, "DELETE", "/api/v1/namespaces/new/configmaps/kube-root-ca.crt", NULL);
    settle(w);
    expect(w, 200, "GET", "/api/v1/namespaces/new/serviceaccounts/default", NULL);
    auto_reply spoiled = ask_type(w, "PATCH", "/api/v1/namespaces/new/configmaps/kube-root-ca.crt",
                                  "application/merge-patch+json", "{'data':{'ca.crt':'nonsense'}}");
    assert_int_equal(spoiled.status, 200);
    settle(w);
    auto_reply again = ask(w, "GET", "/api/v1/namespaces/new/configmaps/kube-root-ca.crt", NULL);
    assert_string_equal(text_at(&again, "data['ca.crt']"), text_at(&ca, "data['ca.crt']"));
    uint64_t before = w->store->ops->revision(w->store);
    settle(w);
    assert_int_equal(w->store->ops->revision(w->store), before); /* it comes to rest */
    expect(w, 409, "POST", "/api/v1/namespaces", "{'metadata':{'name':'new'}}");
    expect(w, 200, "DELETE", "/api/v1/namespaces/new", NULL);
    expect(w, 200, "DELETE", "/api/v1/namespaces/new/serviceaccounts/default", NULL);
    settle(w);
    expect(w, 404, "GET", "/api/v1/namespaces/new/serviceaccounts/default", NULL); /* not while it goes */
}

static void test_can_i(void **state)
{
    struct world *w = *state;
    const char *target = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    const char *body = "{'apiVersion':'authorization.k8s.io/v1','kind':'SelfSubjectAccessReview','spec':"
                       "{'resourceAttributes':{'namespace':'default','verb':'create','resource':'pods'}}}";
    auto_reply yes = ask(w, "POST", target, body);
    assert_int_equal(yes.status, 201);
    assert_true(json_bool(yes.json, "status.allowed", false));
    auto_reply no = ask_as(w, "joe", NULL, NULL, "POST", target, body);
    assert_int_equal(no.status, 201);
    assert_false(json_bool(no.json, "status.allowed", true));
    auto_reply nobody = ask_as(w, NULL, NULL, NULL, "POST", target, body);
    assert_int_equal(nobody.status, 403);
    expect(w, 405, "GET", target, NULL);
}

/* About others, but only in the namespace of the request, and only for those who may ask there. */
static void test_local_reviews(void **state)
{
    struct world *w = *state;
#define LOCAL "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"
    const char *about = "{'spec':{'user':'%s','%s':{'namespace':'%s','verb':'get','resource':'pods'}}}";
    auto_free char *jane = mem_printf(about, "jane", "resourceAttributes", "default"),
                   *elsewhere = mem_printf(about, "jane", "resourceAttributes", "kube-system"),
                   *path = mem_printf(about, "jane", "nonResourceAttributes", "default");
    auto_reply no = ask(w, "POST", LOCAL, jane);
    assert_int_equal(no.status, 201);
    assert_false(json_bool(no.json, "status.allowed", true));
    expect(
        w, 201, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
        "{'metadata':{'name':'jane'},'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'ClusterRole',"
        "'name':'admin'},'subjects':[{'kind':'User','name':'jane','apiGroup':'rbac.authorization.k8s.io'}]}");
    auto_reply yes = ask_as(w, "jane", NULL, NULL, "POST", LOCAL, jane);
    assert_int_equal(yes.status, 201);
    assert_true(json_bool(yes.json, "status.allowed", false));
    expect(w, 422, "POST", LOCAL, elsewhere);
    expect(w, 422, "POST", LOCAL, path);
    expect(w, 422, "POST", LOCAL, "{}");
    auto_reply refused = ask_as(w, "joe", NULL, NULL, "POST", LOCAL, jane);
    assert_int_equal(refused.status, 403);
    expect(w, 404, "POST", "/apis/authorization.k8s.io/v1/localsubjectaccessreviews", jane);
}

static void test_node_sees_its_own(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", "/api/v1/namespaces/default/secrets", "{'metadata':{'name':'used'}}");
    expect(w, 201, "POST", "/api/v1/namespaces/default/secrets", "{'metadata':{'name':'unused'}}");
    expect(w, 201, "POST", PODS,
           "{'metadata':{'name':'mine'},'spec':{'nodeName':'n1','containers':[{'name':'c','image':'i:1'}],"
           "'volumes':[{'name':'v','secret':{'secretName':'used'}}]}}");
    expect(
        w, 201, "POST", PODS,
        "{'metadata':{'name':'other'},'spec':{'nodeName':'n2','containers':[{'name':'c','image':'i:1'}]}}");
    static const struct {
        const char *method, *target, *body;
        int status;
    } cases[] = {
        {"GET", PODS "/mine", NULL, 200},
        {"GET", PODS "/other", NULL, 403},
        {"GET", "/api/v1/namespaces/default/secrets/used", NULL, 200},
        {"GET", "/api/v1/namespaces/default/secrets/unused", NULL, 403},
        {"GET", "/api/v1/namespaces/default/secrets", NULL, 403},
        {"POST", PODS, "{'metadata':{'name':'new'}}", 403},
        {"DELETE", PODS "/other?gracePeriodSeconds=0", NULL, 403},
        {"DELETE", PODS "/mine?gracePeriodSeconds=0", NULL, 200},
        {"POST", "/api/v1/nodes", "{'metadata':{'name':'n9'}}", 403},
        {"POST", "/api/v1/nodes", "{'metadata':{'name':'n1'}}", 201},
        {"POST", "/apis/minik8s.io/v1/nodedecisions", "{'metadata':{'name':'n9'},'spec':{'agent':'a'}}", 403},
        {"POST", "/apis/minik8s.io/v1/nodedecisions", "{'metadata':{'name':'n1'},'spec':{'agent':'a'}}", 201},
        {"DELETE", "/api/v1/nodes/n1", NULL, 403}};
    struct http_client *node = world_as(w, "system:node:n1", "system:nodes", NULL);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        auto_reply reply = ask_client(w, node, cases[i].method, cases[i].target, NULL, NULL, cases[i].body);
        if (reply.status != cases[i].status)
            fail_msg("%s %s: %d %s", cases[i].method, cases[i].target, reply.status, reply.text);
    }
}

/* ---- joining ---- */

static char *join_body_at(const char *name, const char *address)
{
    auto_free char *key = NULL, *csr = NULL;
    auto_free char *user = mem_printf("system:node:%s", name);
    assert_int_equal(auth_key_and_csr(user, &key, &csr, NULL), 0);
    cJSON *body = cJSON_CreateObject();
    json_set_string(body, "name", name);
    json_set_string(body, "csr", csr);
    json_push_string(json_ensure_array(body, "addresses"), address);
    char *text = json_print(body);
    cJSON_Delete(body);
    return text;
}

static char *join_body(const char *name)
{
    return join_body_at(name, "10.0.0.7");
}

static struct reply join_with(struct world *w, const char *token, const char *name)
{
    auto_free char *body = join_body(name);
    return ask_as(w, NULL, NULL, token, "POST", JOIN, body);
}

static char *make_token(struct world *w, const char *wish)
{
    auto_reply made = ask(w, "POST", TOKENS, wish);
    assert_int_equal(made.status, 201);
    return mem_strdup(text_at(&made, "token"));
}

static void test_join_once(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", "/api/v1/nodes", "{'metadata':{'name':'n1'}}");
    auto_free char *token = make_token(w, "{'ttlSeconds':600}");
    auto_reply joined = join_with(w, token, "n1");
    assert_int_equal(joined.status, 201);
    assert_at(joined, "podCIDR", "10.244.0.0/24");
    assert_at(joined, "podRange", w->options.pod_range);
    assert_at(joined, "serviceRange", w->options.service_range);
    assert_true(str_starts(text_at(&joined, "certificate"), "-----BEGIN CERTIFICATE-----"));
    assert_string_equal(text_at(&joined, "ca"), auth_ca_pem(auth_authority_ca(w->auth)));
    auto_reply again = join_with(w, token, "n2");
    assert_int_equal(again.status, 401);
    assert_non_null(strstr(text_at(&again, "message"), "used"));
}

/* The answer was lost: the machine asks again with the same key. Nobody else gets in with the spent token. */
static void test_join_again_with_the_same_key(void **state)
{
    struct world *w = *state;
    auto_free char *token = make_token(w, "{'ttlSeconds':60}"), *body = join_body("n1");
    auto_reply lost = ask_as(w, NULL, NULL, token, "POST", JOIN, body);
    assert_int_equal(lost.status, 201);
    auto_reply again = ask_as(w, NULL, NULL, token, "POST", JOIN, body);
    assert_int_equal(again.status, 201);
    assert_true(str_starts(text_at(&again, "certificate"), "-----BEGIN CERTIFICATE-----"));
    auto_reply other_key = join_with(w, token, "n1");
    assert_int_equal(other_key.status, 401);
    auto_json renamed = json_parse(body, strlen(body), NULL);
    json_set_string(renamed, "name", "n2");
    auto_free char *other_name = json_print(renamed);
    auto_reply second = ask_as(w, NULL, NULL, token, "POST", JOIN, other_name);
    assert_int_equal(second.status, 401);
    loop_run_until(w->loop, loop_now_ms(w->loop) + 61000);
    auto_reply late = ask_as(w, NULL, NULL, token, "POST", JOIN, body);
    assert_int_equal(late.status, 401);
}

static void test_join_refused(void **state)
{
    struct world *w = *state;
    auto_free char *token = make_token(w, "{'ttlSeconds':60,'node':'n1'}");
    auto_reply other = join_with(w, token, "n2");
    assert_int_equal(other.status, 403);
    auto_reply malformed = join_with(w, "hello", "n1");
    assert_int_equal(malformed.status, 400);
    auto_reply unknown = join_with(w, "abcdef.0123456789abcdef", "n1");
    assert_int_equal(unknown.status, 401);
    auto_reply none = join_with(w, NULL, "n1");
    assert_int_equal(none.status, 401);
    auto_reply badly_named = join_with(w, token, "N_1");
    assert_int_equal(badly_named.status, 400);
    auto_reply no_csr = ask_as(w, NULL, NULL, token, "POST", JOIN, "{'name':'n1','csr':'nonsense'}");
    assert_int_equal(no_csr.status, 400);
    auto_reply stranger =
        ask_as(w, NULL, NULL, token, "POST", JOIN, "{'name':'n1','csr':'x','addresses':['api.example']}");
    assert_int_equal(stranger.status, 400);
    loop_run_until(w->loop, loop_now_ms(w->loop) + 61000);
    auto_reply late = join_with(w, token, "n1");
    assert_int_equal(late.status, 401);
    assert_non_null(strstr(text_at(&late, "message"), "expired"));
    expect(w, 400, "POST", TOKENS, "{'ttlSeconds':0}");
    auto_reply joe = ask_as(w, "joe", NULL, NULL, "POST", TOKENS, "{}");
    assert_int_equal(joe.status, 403);
}

/* A node's own certificate is worth its next one: for itself, and only while its Node is there. */
static void test_renewal(void **state)
{
    struct world *w = *state;
    expect(w, 201, "POST", "/api/v1/nodes",
           "{'metadata':{'name':'n1'},'status':{'addresses':[{'type':'InternalIP','address':'10.0.0.7'}]}}");
    auto_free char *body = join_body("n1"), *other = join_body("n2");
    auto_reply renewed = ask_as(w, "system:node:n1", "system:nodes", NULL, "POST", JOIN, body);
    assert_int_equal(renewed.status, 201);
    assert_true(str_starts(text_at(&renewed, "certificate"), "-----BEGIN CERTIFICATE-----"));
    auto_reply for_another = ask_as(w, "system:node:n1", "system:nodes", NULL, "POST", JOIN, other);
    assert_int_equal(for_another.status, 401);
    auto_reply user = ask_as(w, "n1", NULL, NULL, "POST", JOIN, body);
    assert_int_equal(user.status, 401);
    expect(w, 200, "DELETE", "/api/v1/nodes/n1", NULL);
    auto_reply gone = ask_as(w, "system:node:n1", "system:nodes", NULL, "POST", JOIN, body);
    assert_int_equal(gone.status, 401);
}

/* The next certificate is for the same machine: not for the server's address, nor for another node's. */
static void test_renewal_addresses(void **state)
{
    struct world *w = *state;
    world_close(w);
    w->options.public_address = "10.0.0.1";
    world_open(w);
    expect(w, 201, "POST", "/api/v1/nodes",
           "{'metadata':{'name':'n1'},'status':{'addresses':[{'type':'InternalIP','address':'10.0.0.7'},"
           "{'type':'InternalIP','address':'10.0.0.1'},{'type':'InternalIP','address':'fd00::7'},"
           "{'type':'Hostname','address':'n1'}]}}");
    expect(w, 201, "POST", "/api/v1/nodes",
           "{'metadata':{'name':'n2'},'status':{'addresses':[{'type':'InternalIP','address':'10.0.0.8'},"
           "{'type':'InternalIP','address':'10.0.0.11'}]}}");
    static const struct {
        const char *address, *held, *remote; /* asked for; in the certificate; called from */
        int status;
        const char *message;
    } cases[] = {
        {"10.0.0.7", NULL, NULL, 201, NULL},
        {"fd00:0::7", NULL, NULL, 201, NULL},
        {"127.0.0.1", NULL, NULL, 201, NULL},
        {"10.0.0.9", NULL, NULL, 403, "neither its Node has it nor does it call from there"},
        {"10.0.0.9", NULL, "10.0.0.9:4711", 201, NULL},
        {"10.0.0.9", NULL, "10.0.0.99:4711", 403, "10.0.0.9"},
        {"fd00::9", NULL, "[fd00::9]:4711", 201, NULL},
        {"10.0.0.1", NULL, NULL, 403, "it is the server's"},
        {"::ffff:10.0.0.1", NULL, NULL, 403, "it is the server's"},
        {"10.0.0.1", NULL, "10.0.0.1:4711", 403, "it is the server's"},
        {"10.0.0.1", "10.0.0.1", "10.0.0.1:4711", 201, NULL},
        {"10.0.0.8", NULL, NULL, 403, "node \"n2\" has it"},
        {"10.0.0.8", NULL, "10.0.0.8:4711", 403, "node \"n2\" has it"},
        {"10.0.0.11", "10.0.0.11", NULL, 201, NULL}, /* n2 cannot take it away by saying so */
        {"api.example", NULL, NULL, 400, "no IP address"},
    };
    static const char *const nodes[] = {"system:nodes", NULL};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *held[] = {cases[i].held, NULL};
        const struct http_local_identity node = {
            .user = "system:node:n1", .groups = nodes, .addresses = held, .remote = cases[i].remote};
        struct http_client *client = http_local_client_new(w->loop, api_handle, w->api, &node);
        auto_free char *body = join_body_at("n1", cases[i].address);
        auto_reply reply = ask_client(w, client, "POST", JOIN, NULL, NULL, body);
        client->ops->free(client);
        if (reply.status != cases[i].status)
            fail_msg("%zu %s: %d %s", i, cases[i].address, reply.status, reply.text);
        if (cases[i].message)
            assert_non_null(strstr(text_at(&reply, "message"), cases[i].message));
    }
}

static void test_join_reusable(void **state)
{
    struct world *w = *state;
    auto_free char *token = make_token(w, "{'reusable':true}");
    auto_reply one = join_with(w, token, "n1"), two = join_with(w, token, "n2");
    assert_int_equal(one.status, 201);
    assert_int_equal(two.status, 201);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_anonymous, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bearer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bound_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bindings_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_token_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_token_secrets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_impersonation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_impersonation_lowers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_account_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_audiences, setup, teardown),
        cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_can_i, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local_reviews, setup, teardown),
        cmocka_unit_test_setup_teardown(test_node_sees_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_join_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_join_again_with_the_same_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_join_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_join_reusable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_renewal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_renewal_addresses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
