/* The authorizer as one table: who, what, and the answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "auth/auth.h"

/* Node n1 runs default/web, which refers to Secret default/key. */
static bool refers(void *arg UNUSED, const char *node, const char *resource, const char *namespace,
                   const char *name)
{
    return str_eq(node, "n1") && str_eq(resource, "secrets") && str_eq(namespace, "default") &&
           str_eq(name, "key");
}

static bool owns(void *arg UNUSED, const char *node, const char *namespace, const char *name)
{
    return str_eq(node, "n1") && str_eq(namespace, "default") && str_eq(name, "web");
}

static const struct auth_facts facts = {.node_refers = refers, .node_owns_pod = owns};

/* verb group resource subresource namespace name; "-" is none */
struct line {
    const char *what;
    bool allowed;
};

static bool ask(const struct auth_identity *who, const char *what, const struct auth_facts *with,
                const struct auth_source *more, size_t n_more, struct str *reason)
{
    size_t count;
    auto_free char **word = str_split(what, ' ', &count);
    for (size_t i = 0; i < count; i++) {
        if (str_eq(word[i], "-"))
            word[i] = NULL;
    }
    struct auth_attributes at = {.verb = word[0]};
    if (count == 2) {
        at.path = word[1];
    } else {
        assert_int_equal(count, 6);
        at.group = word[1] ? word[1] : "";
        at.resource = word[2];
        at.subresource = word[3];
        at.namespace = word[4];
        at.name = word[5];
    }
    return auth_allowed(who, &at, with, more, n_more, reason);
}

static void check(const char *user, const char *group, const struct line *lines, size_t count)
{
    const char *groups[] = {group, NULL};
    struct auth_identity who = {0};
    auth_authenticate_certificate(user, groups, &who);
    for (size_t i = 0; i < count; i++) {
        auto_str reason = {0};
        bool allowed = ask(&who, lines[i].what, &facts, NULL, 0, &reason);
        if (allowed != lines[i].allowed)
            fail_msg("%s: %s should be %s", user ? user : "nobody", lines[i].what,
                     allowed ? "refused" : "allowed");
        assert_true(allowed || reason.len > 0);
    }
    auth_identity_fini(&who);
}

static void a_node_has_its_own_and_no_more(void **state UNUSED)
{
    static const struct line lines[] = {
        {"get - nodes - - n1", true},
        {"get - nodes - - n2", true},
        {"watch - nodes - - -", true},
        {"create - nodes - - -", true},
        {"create - nodes - - n2", false},
        {"update - nodes status - n1", true},
        {"update - nodes status - n2", false},
        {"patch - nodes - - n2", false},
        {"delete - nodes - - n1", false},
        {"update coordination.k8s.io leases - kube-node-lease n1", true},
        {"update coordination.k8s.io leases - kube-node-lease n2", false},
        {"update coordination.k8s.io leases - kube-system n1", false},
        {"create coordination.k8s.io leases - kube-node-lease -", true},
        {"get - pods - default web", true},
        {"get - pods - default other", false},
        {"patch - pods status default web", true},
        {"patch - pods status default other", false},
        {"patch - pods - default web", false},
        {"delete - pods - default web", true},
        {"delete - pods - default other", false},
        {"deletecollection - pods - default -", false},
        {"create - pods - default -", false},
        {"create - pods exec default web", false},
        {"create - pods binding default web", false},
        {"list - pods - - -", false},
        {"get - secrets - default key", true},
        {"get - secrets - default other", false},
        {"get - secrets - kube-system key", false},
        {"list - secrets - default -", false},
        {"watch - secrets - default -", false},
        {"get - configmaps - default key", false},
        {"update - secrets - default key", false},
        {"list - services - - -", true},
        {"update - services - default x", false},
        {"watch discovery.k8s.io endpointslices - - -", true},
        {"create - events - default -", true},
        {"delete - events - default e", false},
        {"list minik8s.io stream - - -", true},
        {"create minik8s.io batches - - -", true},
        {"create minik8s.io jointokens - - -", false},
        {"get apps deployments - default web", false},
        {"get rbac.authorization.k8s.io clusterroles - - admin", false},
        {"impersonate - users - - admin", false},
        {"get /metrics", false},
        {"get /healthz", true},
        {"get /api/v1", true},
    };
    check("system:node:n1", AUTH_NODES, lines, COUNT_OF(lines));
}

static void names_alone_give_nothing(void **state UNUSED)
{
    static const struct line nothing[] = {{"get - nodes - - n1", false},
                                          {"get - secrets - default key", false},
                                          {"get - pods - default web", false}};
    check("system:node:n1", "others", nothing, COUNT_OF(nothing)); /* the name without the group */
    check("n1", AUTH_NODES, nothing, COUNT_OF(nothing));           /* the group without the name */
    check("system:node:", AUTH_NODES, nothing, COUNT_OF(nothing));
    check("system:manager", "others", nothing, COUNT_OF(nothing));
    check("x", AUTH_MANAGER_GROUP, nothing, COUNT_OF(nothing));
}

static void nobody_and_somebody(void **state UNUSED)
{
    static const struct line anonymous[] = {
        {"get /healthz", true},
        {"get /livez", true},
        {"get /readyz", true},
        {"get /version", true},
        {"post /healthz", false},
        {"get /healthz/../api", false},
        {"get /api", false},
        {"get /metrics", false},
        {"list - pods - default -", false},
        {"create authorization.k8s.io selfsubjectaccessreviews - - -", false},
    };
    check(NULL, NULL, anonymous, COUNT_OF(anonymous));
    static const struct line known[] = {
        {"get /api", true},
        {"get /apis/apps/v1", true},
        {"get /openapi/v3", true},
        {"get /apiserver-secrets", false},
        {"create authorization.k8s.io selfsubjectaccessreviews - - -", true},
        {"create authorization.k8s.io subjectaccessreviews - - -", false},
        {"list - pods - default -", false},
    };
    check("somebody", "developers", known, COUNT_OF(known));
    static const struct line everything[] = {{"delete - nodes - - n1", true},
                                             {"get /metrics", true},
                                             {"escalate rbac.authorization.k8s.io clusterroles - - x", true}};
    check("root", AUTH_MASTERS, everything, COUNT_OF(everything));
    check(AUTH_MANAGER_USER, AUTH_MANAGER_GROUP, everything, COUNT_OF(everything));
}

/* What the server shows to agents opens nothing here, whatever else says so. */
static void the_server_is_nobody_to_itself(void **state UNUSED)
{
    static const struct line nothing[] = {
        {"get - secrets - default key", false},
        {"list - pods - - -", false},
        {"get /apis", false},
        {"create authorization.k8s.io selfsubjectaccessreviews - - -", false}};
    check(AUTH_CALLER_USER, AUTH_SERVER_GROUP, nothing, COUNT_OF(nothing));
    check(AUTH_SERVER_USER, AUTH_SERVER_GROUP, nothing, COUNT_OF(nothing));
}

static enum auth_verdict readers(void *arg, const struct auth_identity *identity UNUSED,
                                 const struct auth_attributes *at, struct str *reason UNUSED)
{
    ++*(int *)arg;
    return str_eq(at->verb, "get") ? AUTH_ALLOW : AUTH_NO_OPINION;
}

static void further_sources_are_asked_last(void **state UNUSED)
{
    int asked = 0;
    const struct auth_source more = {.rule = readers, .arg = &asked};
    struct auth_identity who = {0};
    auth_authenticate_certificate("somebody", NULL, &who);
    assert_true(ask(&who, "get - pods - default web", NULL, &more, 1, NULL));
    assert_false(ask(&who, "delete - pods - default web", NULL, &more, 1, NULL));
    assert_int_equal(asked, 2);
    auth_identity_fini(&who);
    const char *nodes[] = {AUTH_NODES, NULL};
    auth_authenticate_certificate("system:node:n1", nodes, &who);
    assert_false(
        ask(&who, "get - pods - default web", NULL, &more, 1, NULL)); /* no facts: no; and it is final */
    assert_int_equal(asked, 2);
    auth_identity_fini(&who);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_server_is_nobody_to_itself), cmocka_unit_test(a_node_has_its_own_and_no_more),
        cmocka_unit_test(names_alone_give_nothing),       cmocka_unit_test(nobody_and_somebody),
        cmocka_unit_test(further_sources_are_asked_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
