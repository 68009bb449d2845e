/* Nobody gives what he does not have: Roles, ClusterRoles and their bindings, by every way of writing. */
#include "api_test.h"

#define RBAC "/apis/rbac.authorization.k8s.io/v1"
#define ROLES RBAC "/namespaces/default/roles"
#define BINDINGS RBAC "/namespaces/default/rolebindings"
#define CLUSTER_ROLES RBAC "/clusterroles"
#define CLUSTER_BINDINGS RBAC "/clusterrolebindings"
#define BATCH "/apis/minik8s.io/v1/batches"
#define ADMIN_OF_ROLES                                                                                       \
    "{'apiGroups':['rbac.authorization.k8s.io'],'resources':['roles','rolebindings','clusterroles','"        \
    "clusterrolebindings'],'verbs':['get','create','update','patch']},"                                      \
    "{'apiGroups':['minik8s.io'],'resources':['batches'],'verbs':['create']}"
#define SECRETS "{'apiGroups':[''],'resources':['secrets'],'verbs':['get']}"

/* Gives the user these rules: everywhere, or in the namespace. Made by the admin. */
static void give(struct world *w, const char *user, const char *namespace, const char *rules)
{
    const char *roles = CLUSTER_ROLES, *bindings = namespace ? BINDINGS : CLUSTER_BINDINGS;
    auto_free char *role = mem_printf("{'metadata':{'name':'of-%s'},'rules':[%s]}", user, rules);
    auto_free char *binding = mem_printf(
        "{'metadata':{'name':'of-%s'},'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'ClusterRole',"
        "'name':'of-%s'},'subjects':[{'kind':'User','name':'%s','apiGroup':'rbac.authorization.k8s.io'}]}",
        user, user, user);
    expect(w, 201, "POST", roles, role);
    expect(w, 201, "POST", bindings, binding);
}

static struct reply ask_as(struct world *w, const char *user, const char *method, const char *target,
                           const char *type, const char *body)
{
    return ask_client(w, world_as(w, user, NULL, NULL), method, target, type, NULL, body);
}

static void expect_as(struct world *w, const char *user, int status, const char *method, const char *target,
                      const char *type, const char *body)
{
    auto_reply reply = ask_as(w, user, method, target, type, body);
    if (reply.status != status)
        fail_msg("%s %s %s: %d %s", method, target, body, reply.status, reply.text);
    if (status == 403)
        assert_non_null(strstr(text_at(&reply, "message"), "is attempting to grant RBAC permissions not "));
}

static char *role_of(const char *name, const char *rules)
{
    return mem_printf("{'metadata':{'name':'%s'},'rules':[%s]}", name, rules);
}

static char *binding_of(const char *name, const char *kind, const char *role, const char *user)
{
    return mem_printf(
        "{'metadata':{'name':'%s'},'roleRef':{'apiGroup':'rbac.authorization.k8s.io','kind':'%s',"
        "'name':'%s'},'subjects':[{'kind':'User','name':'%s','apiGroup':'rbac.authorization.k8s.io'}]}",
        name, kind, role, user);
}

static void test_words(void **state)
{
    struct world *w = *state;
    give(w, "jane", NULL, ADMIN_OF_ROLES);
    auto_free char *body =
        role_of("x", "{'apiGroups':[''],'resources':['secrets'],'verbs':['get','list']},"
                     "{'apiGroups':['apps'],'resources':['deployments'],'resourceNames':['d'],'verbs':['*']},"
                     "{'nonResourceURLs':['/metrics'],'verbs':['get']}");
    auto_reply reply = ask_as(w, "jane", "POST", CLUSTER_ROLES, NULL, body);
    assert_int_equal(reply.status, 403);
    assert_at(reply, "reason", "Forbidden");
    assert_at(reply, "message",
              "clusterroles.rbac.authorization.k8s.io \"x\" is forbidden: user \"jane\" "
              "(groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently "
              "held:\n"
              "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}\n"
              "{APIGroups:[\"apps\"], Resources:[\"deployments\"], ResourceNames:[\"d\"], Verbs:[\"*\"]}\n"
              "{NonResourceURLs:[\"/metrics\"], Verbs:[\"get\"]}");
    expect(w, 404, "GET", CLUSTER_ROLES "/x", NULL);
}

/* What gathers rules of others is for those who hold everything. */
static void test_aggregation(void **state)
{
    struct world *w = *state;
    give(w, "jane", NULL, ADMIN_OF_ROLES);
    give(w, "root", NULL,
         "{'apiGroups':['*'],'resources':['*'],'verbs':['*']},{'nonResourceURLs':['*'],'verbs':['*']}");
    const char *body = "{'metadata':{'name':'x'},'rules':[],'aggregationRule':{'clusterRoleSelectors':[{"
                       "'matchLabels':{'a':'b'}}]}}";
    auto_reply refused = ask_as(w, "jane", "POST", CLUSTER_ROLES, NULL, body);
    assert_int_equal(refused.status, 403);
    assert_non_null(strstr(text_at(&refused, "message"), "cluster-admin privileges"));
    expect_as(w, "root", 201, "POST", CLUSTER_ROLES, NULL, body);
    expect_as(w, "jane", 200, "PATCH", CLUSTER_ROLES "/x", "application/merge-patch+json",
              "{'metadata':{'labels':{'a':'b'}}}");
}

/* Every way of making and of changing a role. */
static void test_ways(void **state)
{
    struct world *w = *state;
    give(w, "jane", NULL, ADMIN_OF_ROLES ",{'apiGroups':[''],'resources':['pods'],'verbs':['get']}");
    auto_free char *more = role_of("r", SECRETS);
    auto_free char *fine = role_of("r", "{'apiGroups':[''],'resources':['pods'],'verbs':['get']}");
    const char *apply = "application/apply-patch+yaml", *merge = "application/merge-patch+json";
    auto_free char *applied =
        mem_printf("{'apiVersion':'rbac.authorization.k8s.io/v1','kind':'Role',%s", more + 1);
    const char *at = ROLES "/r?fieldManager=m&force=true";
    expect_as(w, "jane", 403, "POST", ROLES, NULL, more);
    expect_as(w, "jane", 403, "POST", ROLES "?dryRun=All", NULL, more);
    expect_as(w, "jane", 403, "PATCH", at, apply, applied); /* creates */
    expect_as(w, "jane", 201, "POST", ROLES, NULL, fine);
    expect_as(w, "jane", 403, "PUT", ROLES "/r", NULL, more);
    expect_as(w, "jane", 403, "PUT", ROLES "/r?dryRun=All", NULL, more);
    expect_as(w, "jane", 403, "PATCH", at, apply, applied);
    expect_as(w, "jane", 403, "PATCH", ROLES "/r", merge, "{'rules':[" SECRETS "]}");
    expect_as(w, "jane", 403, "PATCH", ROLES "/r", "application/strategic-merge-patch+json",
              "{'rules':[" SECRETS "]}");
    expect_as(w, "jane", 403, "PATCH", ROLES "/r", "application/json-patch+json",
              "[{'op':'replace','path':'/rules/0/resources/0','value':'secrets'}]");
    expect_as(w, "jane", 200, "PATCH", ROLES "/r", merge, "{'metadata':{'labels':{'a':'b'}}}");
    expect(w, 200, "PUT", ROLES "/r", more); /* the admin may */
    expect_as(w, "jane", 200, "PATCH", ROLES "/r", merge, "{'metadata':{'labels':{'a':'c'}}}");
    expect_as(w, "jane", 403, "PATCH", ROLES "/r", "application/json-patch+json",
              "[{'op':'add','path':'/rules/0/verbs/-','value':'list'}]");
    expect_as(w, "jane", 200, "PUT", ROLES "/r", NULL, fine); /* less is free */
}

static void test_batch(void **state)
{
    struct world *w = *state;
    give(w, "jane", NULL, ADMIN_OF_ROLES);
    expect(w, 201, "POST", ROLES, "{'metadata':{'name':'old'},'rules':[" SECRETS "]}");
    auto_free char *body = mem_printf(
        "{'steps':[{'verb':'create','resource':'clusterroles.rbac.authorization.k8s.io','object':"
        "{'metadata':{'name':'x'},'rules':[%s]}},"
        "{'verb':'create','resource':'roles.rbac.authorization.k8s.io','namespace':'default','object':"
        "{'metadata':{'name':'y'},'rules':[]}},"
        "{'verb':'patch','resource':'roles.rbac.authorization.k8s.io','namespace':'default','name':'old',"
        "'object':{'rules':[%s,%s]}}]}",
        SECRETS, SECRETS, SECRETS);
    auto_reply reply = ask_as(w, "jane", "POST", BATCH, NULL, body);
    assert_int_equal(reply.status, 200);
    assert_int_equal(json_int(reply.json, "results[0].code", 0), 403);
    assert_int_equal(json_int(reply.json, "results[1].code", 0), 201);
    assert_int_equal(json_int(reply.json, "results[2].code", 0), 403);
}

/* The verb escalate, everywhere or for one role. */
static void test_escalate(void **state)
{
    struct world *w = *state;
    give(w, "jane", NULL,
         ADMIN_OF_ROLES ",{'apiGroups':['rbac.authorization.k8s.io'],'resources':['roles'],'verbs':['"
                        "escalate'],'resourceNames':['mine']}");
    auto_free char *mine = role_of("mine", SECRETS), *other = role_of("other", SECRETS);
    expect_as(w, "jane", 201, "POST", ROLES, NULL, mine);
    expect_as(w, "jane", 403, "POST", ROLES, NULL, other);
    expect_as(w, "jane", 403, "POST", CLUSTER_ROLES, NULL, mine);
}

static void test_bind(void **state)
{
    struct world *w = *state;
    give(w, "jane", NULL,
         ADMIN_OF_ROLES ",{'apiGroups':['rbac.authorization.k8s.io'],'resources':['clusterroles'],'verbs':['"
                        "bind'],'resourceNames':['given']}");
    auto_free char *given = role_of("given", SECRETS), *kept = role_of("kept", SECRETS);
    auto_free char *none = role_of("none", "");
    expect(w, 201, "POST", CLUSTER_ROLES, given);
    expect(w, 201, "POST", CLUSTER_ROLES, kept);
    expect(w, 201, "POST", CLUSTER_ROLES, none);
    expect(w, 201, "POST", ROLES, given);
    auto_free char *to_given = binding_of("g", "ClusterRole", "given", "jim"),
                   *to_kept = binding_of("k", "ClusterRole", "kept", "jim"),
                   *to_none = binding_of("n", "ClusterRole", "none", "jim"),
                   *to_nothing = binding_of("z", "ClusterRole", "nothing", "jim"),
                   *to_role = binding_of("r", "Role", "given", "jim");
    expect_as(w, "jane", 201, "POST", CLUSTER_BINDINGS, NULL, to_none);
    expect_as(w, "jane", 403, "POST", CLUSTER_BINDINGS, NULL, to_kept);
    expect_as(w, "jane", 403, "POST", BINDINGS, NULL, to_kept);
    expect_as(w, "jane", 404, "POST", BINDINGS, NULL, to_nothing);
    expect_as(w, "jane", 404, "POST", CLUSTER_BINDINGS, NULL, to_role); /* one of no namespace */
    expect_as(w, "jane", 403, "POST", BINDINGS, NULL, to_role);         /* bind is for the other kind */
    expect_as(w, "jane", 201, "POST", BINDINGS, NULL, to_given);
    expect(w, 201, "POST", BINDINGS, to_kept);
    const char *merge = "application/merge-patch+json";
    expect_as(w, "jane", 200, "PATCH", BINDINGS "/k", merge, "{'metadata':{'labels':{'a':'b'}}}");
    expect_as(w, "jane", 403, "PATCH", BINDINGS "/k", merge,
              "{'subjects':[{'kind':'User','name':'joe','apiGroup':'rbac.authorization.k8s.io'}]}");
    expect_as(w, "jane", 403, "PATCH", BINDINGS "/k", "application/json-patch+json",
              "[{'op':'replace','path':'/subjects/0/name','value':'joe'}]");
}

/* What one holds in a namespace is worth nothing outside of it. */
static void test_places(void **state)
{
    struct world *w = *state;
    give(w, "jane", NULL, ADMIN_OF_ROLES);
    expect(w, 201, "POST", "/api/v1/namespaces", "{'metadata':{'name':'far'}}");
    auto_free char *secrets = role_of("secrets", SECRETS);
    auto_free char *binding = binding_of("b", "Role", "secrets", "jane");
    expect(w, 201, "POST", ROLES, secrets);
    expect(w, 201, "POST", BINDINGS, binding);
    auto_free char *copy = role_of("copy", SECRETS);
    expect_as(w, "jane", 201, "POST", ROLES, NULL, copy);
    expect_as(w, "jane", 403, "POST", RBAC "/namespaces/far/roles", NULL, copy);
    expect_as(w, "jane", 403, "POST", CLUSTER_ROLES, NULL, copy);
}

/* A binding of the cluster gives no Role of a namespace, and no account is meant that it does not name. */
static void test_cluster_binding(void **state)
{
    struct world *w = *state;
    auto_free char *secrets = role_of("secrets", SECRETS),
                   *binding = binding_of("b", "Role", "secrets", "jane");
    expect(w, 201, "POST", ROLES, secrets);
    expect(w, 201, "POST", CLUSTER_BINDINGS, binding);
    auto_reply reply = ask_as(w, "jane", "GET", "/api/v1/namespaces/default/secrets/s", NULL, NULL);
    assert_int_equal(reply.status, 403);
}

static void test_cover(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *held, *given;
        int status;
    } cases[] = {
        {"{'apiGroups':['*'],'resources':['*'],'verbs':['*']}", SECRETS, 201},
        {"{'apiGroups':[''],'resources':['*'],'verbs':['*']}",
         "{'apiGroups':['*'],'resources':['pods'],'verbs':['get']}", 403},
        {"{'apiGroups':[''],'resources':['pods'],'verbs':['*']}",
         "{'apiGroups':[''],'resources':['*'],'verbs':['get']}", 403},
        {"{'apiGroups':[''],'resources':['pods'],'verbs':['get']}",
         "{'apiGroups':[''],'resources':['pods'],'verbs':['*']}", 403},
        {"{'apiGroups':[''],'resources':['pods'],'verbs':['get']}",
         "{'apiGroups':[''],'resources':['pods/log'],'verbs':['get']}", 403},
        {"{'apiGroups':[''],'resources':['pods/log'],'verbs':['get']}",
         "{'apiGroups':[''],'resources':['pods'],'verbs':['get']}", 403},
        {"{'apiGroups':[''],'resources':['pods'],'verbs':['get']}",
         "{'apiGroups':[''],'resources':['pods/*'],'verbs':['get']}", 403},
        {"{'apiGroups':[''],'resources':['*/log'],'verbs':['get']}",
         "{'apiGroups':[''],'resources':['pods/log'],'verbs':['get']}", 201},
        {"{'apiGroups':[''],'resources':['*/log'],'verbs':['get']}",
         "{'apiGroups':[''],'resources':['pods/exec'],'verbs':['get']}", 403},
        {"{'apiGroups':[''],'resources':['pods/log'],'verbs':['get']}",
         "{'apiGroups':[''],'resources':['*/log'],'verbs':['get']}", 403},
        {"{'apiGroups':[''],'resources':['*'],'verbs':['get']}",
         "{'apiGroups':[''],'resources':['*/log'],'verbs':['get']}", 201},
        {"{'apiGroups':[''],'resources':['secrets'],'verbs':['get'],'resourceNames':['a','b']}",
         "{'apiGroups':[''],'resources':['secrets'],'verbs':['get'],'resourceNames':['a']}", 201},
        {"{'apiGroups':[''],'resources':['secrets'],'verbs':['get'],'resourceNames':['a']}",
         "{'apiGroups':[''],'resources':['secrets'],'verbs':['get'],'resourceNames':['a','c']}", 403},
        {"{'apiGroups':[''],'resources':['secrets'],'verbs':['get'],'resourceNames':['a']}", SECRETS, 403},
        {"{'apiGroups':[''],'resources':['secrets'],'verbs':['get'],'resourceNames':['a']}",
         "{'apiGroups':[''],'resources':['secrets'],'verbs':['get'],'resourceNames':['*']}", 403},
        {SECRETS, "{'apiGroups':[''],'resources':['secrets'],'verbs':['get'],'resourceNames':['a']}", 201},
        {"{'nonResourceURLs':['/logs/*'],'verbs':['get']}",
         "{'nonResourceURLs':['/logs/a','/logs/b/*'],'verbs':['get']}", 201},
        {"{'nonResourceURLs':['/logs/*'],'verbs':['get']}", "{'nonResourceURLs':['/logs*'],'verbs':['get']}",
         403},
        {"{'nonResourceURLs':['/logs/*'],'verbs':['get']}", "{'nonResourceURLs':['*'],'verbs':['get']}", 403},
        {"{'nonResourceURLs':['*'],'verbs':['*']}", SECRETS, 403},
        /* two together cover one; but not crosswise */
        {"{'apiGroups':[''],'resources':['pods'],'verbs':['get']},"
         "{'apiGroups':[''],'resources':['pods','secrets'],'verbs':['list']},"
         "{'apiGroups':[''],'resources':['secrets'],'verbs':['get']}",
         "{'apiGroups':[''],'resources':['pods','secrets'],'verbs':['get','list']}", 201},
        {"{'apiGroups':[''],'resources':['pods'],'verbs':['get']},"
         "{'apiGroups':[''],'resources':['secrets'],'verbs':['list']}",
         "{'apiGroups':[''],'resources':['pods','secrets'],'verbs':['get','list']}", 403},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        auto_free char *user = mem_printf("u%zu", i);
        auto_free char *rules = mem_printf("%s,%s", ADMIN_OF_ROLES, cases[i].held);
        give(w, user, NULL, rules);
        auto_free char *name = mem_printf("given-%zu", i), *body = role_of(name, cases[i].given);
        auto_reply reply = ask_as(w, user, "POST", CLUSTER_ROLES, NULL, body);
        if (reply.status != cases[i].status)
            fail_msg("%s gives %s: %d %s", cases[i].held, cases[i].given, reply.status, reply.text);
    }
}

static void add_words(struct str *out, const char *field, const char *word, int count)
{
    str_addf(out, "'%s':['%s0'", field, word);
    for (int i = 1; i < count; i++)
        str_addf(out, ",'%s%d'", word, i);
    str_add(out, "],");
}

/* Lists that multiply are refused before they are gone through. */
static void test_hostile(void **state)
{
    struct world *w = *state;
    give(w, "jane", NULL,
         ADMIN_OF_ROLES ",{'apiGroups':['*'],'resources':['*'],'verbs':['v0']},"
                        "{'apiGroups':['*'],'resources':['*'],'verbs':['get','list']}");
    auto_str rule = {0};
    str_add(&rule, "{");
    add_words(&rule, "apiGroups", "g", 300);
    add_words(&rule, "resources", "r", 300);
    add_words(&rule, "resourceNames", "n", 300);
    str_add(&rule, "'verbs':['get','v0']}");
    auto_free char *body = role_of("x", str_c(&rule));
    auto_reply reply = ask_as(w, "jane", "POST", CLUSTER_ROLES, NULL, body);
    assert_int_equal(reply.status, 403);
    assert_non_null(strstr(text_at(&reply, "message"), "too many to be compared"));
}

static void on_gone(struct store_write *write UNUSED)
{
}

static int status_as(struct world *w, const char *user, const char *method, const char *target,
                     const char *body)
{
    auto_reply reply = ask_as(w, user, method, target, NULL, body);
    return reply.status;
}

static void bootstrap_again(struct world *w)
{
    bool ready = false;
    api_bootstrap(w->api, on_bootstrapped, &ready);
    while (!ready)
        turn(w);
}

/* The roles that every cluster has say what Kubernetes' say, come back, and stay as a user has made them. */
static void test_first_roles(void **state)
{
    struct world *w = *state;
    static const char *const pairs[][2] = {
        {"cluster-admin", "root"}, {"admin", "ada"}, {"edit", "ed"}, {"view", "vi"}};
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        auto_free char *binding = binding_of(pairs[i][1], "ClusterRole", pairs[i][0], pairs[i][1]);
        expect(w, 201, "POST", i == 0 ? CLUSTER_BINDINGS : BINDINGS, binding);
    }
#define OURS "/api/v1/namespaces/default"
    const char *map = "{'metadata':{'name':'m'}}", *role = "{'metadata':{'name':'r'},'rules':[]}";
    assert_int_equal(status_as(w, "root", "GET", "/api/v1/nodes", NULL), 200);
    assert_int_equal(status_as(w, "root", "GET", "/metrics", NULL), 200);
    assert_int_equal(status_as(w, "root", "POST", CLUSTER_ROLES, role), 201);
    assert_int_equal(status_as(w, "ada", "POST", ROLES, role), 201);
    assert_int_equal(status_as(w, "ada", "GET", OURS "/secrets", NULL), 200);
    assert_int_equal(status_as(w, "ada", "GET", "/api/v1/nodes", NULL), 403);
    assert_int_equal(status_as(w, "ada", "GET", "/api/v1/namespaces/kube-system/pods", NULL), 403);
    assert_int_equal(status_as(w, "ed", "POST", OURS "/configmaps", map), 201);
    assert_int_equal(status_as(w, "ed", "GET", OURS "/secrets", NULL), 200);
    assert_int_equal(status_as(w, "ed", "POST", ROLES, role), 403);
    assert_int_equal(status_as(w, "vi", "GET", OURS "/configmaps/m", NULL), 200);
    assert_int_equal(status_as(w, "vi", "GET", OURS "/secrets", NULL), 403);
    assert_int_equal(status_as(w, "vi", "POST", OURS "/configmaps", map), 403);

    auto_reply view = ask(w, "GET", CLUSTER_ROLES "/view", NULL);
    assert_at(view, "metadata.labels['kubernetes.io/bootstrapping']", "rbac-defaults");
    auto_free char *mine = role_of("view", SECRETS);
    expect(w, 200, "PUT", CLUSTER_ROLES "/view", mine);
    expect(w, 200, "DELETE", CLUSTER_ROLES "/edit", NULL);
    settle(w);
    expect(w, 200, "GET", CLUSTER_ROLES "/edit", NULL);

    /* a cluster that is older than these roles */
    struct store_write gone = {.verb = STORE_DELETE,
                               .key = "clusterroles.rbac.authorization.k8s.io//admin",
                               .expect = STORE_ANY,
                               .done = on_gone};
    struct store_write *writes[] = {&gone};
    assert_int_equal(w->store->ops->submit(w->store, writes, 1, NULL), 0);
    settle(w);
    assert_int_equal(gone.result, ERR_NONE);
    bytes_unref(gone.bytes);
    world_close(w);
    world_open(w);
    expect(w, 404, "GET", CLUSTER_ROLES "/admin", NULL);
    bootstrap_again(w);
    expect(w, 200, "GET", CLUSTER_ROLES "/admin", NULL);
    auto_reply kept = ask(w, "GET", CLUSTER_ROLES "/view", NULL);
    assert_at(kept, "rules[0].resources[0]", "secrets");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_aggregation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_escalate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_places, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cluster_binding, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cover, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_roles, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
