/*
 * Nobody gives what he does not have: who writes a Role or ClusterRole must hold every rule in it himself,
 * where it will hold, or have the verb "escalate" on it; who writes a binding must hold every rule of its
 * role, or have the verb "bind" on that role. It is the object that would be stored which is judged, so it
 * holds for every way of writing; what a write leaves as it was is not judged again. What the server itself
 * writes has no writer and passes. Source: Kubernetes, "Privilege escalation prevention and bootstrapping".
 */
#include <string.h>

#include "api/api_internal.h"

#define RBAC "rbac.authorization.k8s.io"
#define STEPS_MAX 4000000 /* comparisons for one role: a hostile one has lists that multiply */
#define SHOWN_MAX 2000    /* bytes of the rules that a refusal names */

struct judge {
    const cJSON *held; /* the writer's rules */
    size_t steps;      /* left; 0: it was too much, which is a refusal */
    struct str missing;
    bool more;
};

struct part { /* of a rule: one verb on one thing */
    const char *verb;
    const char *group, *resource, *name; /* name NULL: all */
    const char *path;                    /* then only the verb counts beside it */
};

void op_set_writer(struct op *op, const struct identity *identity)
{
    if (!str_eq(op->info->group, RBAC))
        return;
    op->writer = NEW(struct identity);
    identity_fill(op->writer, identity->who.user, (const char *const *)identity->who.groups,
                  identity->who.uid);
}

void writer_free(struct identity *writer)
{
    if (!writer)
        return;
    identity_fini(writer);
    free(writer);
}

/* ---- does one rule cover another ---- */

static const char *text_of(const cJSON *item)
{
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static bool step(struct judge *judge)
{
    if (judge->steps == 0)
        return false;
    judge->steps--;
    return true;
}

static bool is_full(const struct judge *judge)
{
    return judge->more || judge->steps == 0;
}

typedef bool fits(const char *held, const char *wanted);

static bool word_fits(const char *held, const char *wanted)
{
    return str_eq(held, "*") || str_eq(held, wanted);
}

/* "*" is everything, and a star with "/log" the log of everything; "pods" has no part of "pods/log". */
static bool resource_fits(const char *held, const char *wanted)
{
    const char *slash = strchr(wanted, '/');
    return word_fits(held, wanted) || (slash && str_starts(held, "*/") && str_eq(held + 1, slash));
}

static bool path_fits(const char *held, const char *wanted)
{
    size_t len = strlen(held);
    return str_eq(held, wanted) || (len && held[len - 1] == '*' && strncmp(held, wanted, len - 1) == 0);
}

static bool any_fits(struct judge *judge, const cJSON *held, const char *wanted, fits *fit)
{
    json_each (item, held) {
        if (!step(judge))
            return false;
        if (text_of(item) && fit(text_of(item), wanted))
            return true;
    }
    return false;
}

static bool all_fit(struct judge *judge, const cJSON *held, const cJSON *wanted, fits *fit)
{
    json_each (item, wanted) {
        if (text_of(item) && !any_fits(judge, held, text_of(item), fit))
            return false;
    }
    return true;
}

static bool is_list(const cJSON *rule, const char *name)
{
    const cJSON *list = json_get(rule, name);
    return list && list->child;
}

/* One rule that covers the whole of another: the usual case, and the cheap one. */
static bool covers_rule(struct judge *judge, const cJSON *held, const cJSON *rule)
{
    const cJSON *names = json_get(held, "resourceNames");
    bool named = is_list(held, "resourceNames");
    return step(judge) && (!named || is_list(rule, "resourceNames")) &&
           all_fit(judge, json_get(held, "verbs"), json_get(rule, "verbs"), word_fits) &&
           all_fit(judge, json_get(held, "apiGroups"), json_get(rule, "apiGroups"), word_fits) &&
           all_fit(judge, json_get(held, "resources"), json_get(rule, "resources"), resource_fits) &&
           (!named || all_fit(judge, names, json_get(rule, "resourceNames"), word_fits)) &&
           all_fit(judge, json_get(held, "nonResourceURLs"), json_get(rule, "nonResourceURLs"), path_fits);
}

static bool covers_part(struct judge *judge, const cJSON *held, const struct part *part)
{
    if (!step(judge) || !any_fits(judge, json_get(held, "verbs"), part->verb, word_fits))
        return false;
    if (part->path)
        return any_fits(judge, json_get(held, "nonResourceURLs"), part->path, path_fits);
    return any_fits(judge, json_get(held, "apiGroups"), part->group, word_fits) &&
           any_fits(judge, json_get(held, "resources"), part->resource, resource_fits) &&
           (!is_list(held, "resourceNames") ||
            (part->name && any_fits(judge, json_get(held, "resourceNames"), part->name, word_fits)));
}

static bool is_held(struct judge *judge, const struct part *part)
{
    json_each (rule, judge->held) {
        if (covers_part(judge, rule, part))
            return true;
    }
    return false;
}

/* ---- what is missing ---- */

static void add_field(struct str *out, const char *name, const char *text)
{
    if (!text)
        return;
    str_addf(out, "%s:[", name);
    str_add_json(out, text);
    str_add(out, "], ");
}

static void add_missing(struct judge *judge, const struct part *part, const char *verbs)
{
    if (judge->missing.len + strlen(verbs) > SHOWN_MAX) {
        judge->more = true;
        return;
    }
    str_add(&judge->missing, "\n{");
    add_field(&judge->missing, "APIGroups", part->group);
    add_field(&judge->missing, "Resources", part->resource);
    add_field(&judge->missing, "ResourceNames", part->name);
    add_field(&judge->missing, "NonResourceURLs", part->path);
    str_addf(&judge->missing, "Verbs:[%s]}", verbs);
}

static void judge_thing(struct judge *judge, const cJSON *rule, struct part part)
{
    const cJSON *verbs = json_get(rule, "verbs");
    auto_str missing = {0};
    json_each (verb, verbs) {
        part.verb = text_of(verb);
        if (!step(judge) || is_full(judge) || missing.len > SHOWN_MAX)
            break;
        if (!part.verb || is_held(judge, &part))
            continue;
        if (missing.len)
            str_add_char(&missing, ' ');
        str_add_json(&missing, part.verb);
    }
    if (missing.len)
        add_missing(judge, &part, str_c(&missing));
}

static void judge_resource(struct judge *judge, const cJSON *rule, const char *group, const char *resource)
{
    const cJSON *names = json_get(rule, "resourceNames");
    struct part part = {.group = group, .resource = resource};
    if (!is_list(rule, "resourceNames"))
        judge_thing(judge, rule, part);
    json_each (name, names) {
        part.name = text_of(name);
        if (!step(judge) || is_full(judge))
            return;
        if (part.name)
            judge_thing(judge, rule, part);
    }
}

/* Part by part: several rules together may cover one. */
static void judge_parts(struct judge *judge, const cJSON *rule)
{
    const cJSON *groups = json_get(rule, "apiGroups"), *resources = json_get(rule, "resources");
    const cJSON *paths = json_get(rule, "nonResourceURLs");
    json_each (group, groups) {
        json_each (resource, resources) {
            if (!step(judge) || is_full(judge))
                return;
            if (text_of(group) && text_of(resource))
                judge_resource(judge, rule, text_of(group), text_of(resource));
        }
    }
    json_each (path, paths) {
        if (!step(judge) || is_full(judge))
            return;
        if (text_of(path))
            judge_thing(judge, rule, (struct part){.path = text_of(path)});
    }
}

static void judge_rule(struct judge *judge, const cJSON *rule)
{
    json_each (held, judge->held) {
        if (covers_rule(judge, held, rule))
            return;
    }
    judge_parts(judge, rule);
}

static int refuse(const struct op *op, const struct judge *judge, struct err **err)
{
    auto_str groups = {0};
    const struct auth_identity *who = &op->writer->who;
    for (size_t i = 0; who->groups && who->groups[i]; i++) {
        if (i)
            str_add_char(&groups, ' ');
        str_add_json(&groups, who->groups[i]);
    }
    auto_str user = {0};
    str_add_json(&user, who->user);
    const char *rest = judge->steps == 0 ? "\nthe rules are too many to be compared with those held"
                       : judge->more     ? "\nand more"
                                         : "";
    return err_set(
        err, ERR_FORBIDDEN,
        "%s \"%s\" is forbidden: user %s (groups=[%s]) is attempting to grant RBAC permissions not "
        "currently held:%s%s",
        op->info->resource, op->name, str_c(&user), str_c(&groups), str_c(&judge->missing), rest);
}

static int check_held(const struct op *op, const cJSON *rules, struct err **err)
{
    auto_json held = rbac_held(op->api, &op->writer->who, op->namespace);
    struct judge judge = {.held = held, .steps = STEPS_MAX};
    json_each (rule, rules) {
        if (is_full(&judge))
            break;
        judge_rule(&judge, rule);
    }
    bool fine = judge.missing.len == 0 && !is_full(&judge);
    int result = fine ? 0 : refuse(op, &judge, err);
    str_free(&judge.missing);
    return result;
}

/* ---- the rule ---- */

static bool may(const struct op *op, const char *verb, const char *resource, const char *name)
{
    const struct access access = {
        .verb = verb, .group = RBAC, .resource = resource, .namespace = op->namespace, .name = name};
    return identity_allows(op->api, op->writer, &access, NULL) == 0;
}

static bool same(const cJSON *old, const cJSON *object, const char *field)
{
    return json_equal(json_get(old, field), json_get(object, field));
}

/* An aggregationRule gathers whatever others hold: only who holds everything may set it. */
static int check_aggregation(const struct op *op, struct err **err)
{
    static const char all[] = "[{\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"verbs\":[\"*\"]},"
                              "{\"nonResourceURLs\":[\"*\"],\"verbs\":[\"*\"]}]";
    auto_json everything = json_parse_trusted(all, sizeof(all) - 1);
    if (check_held(op, everything, NULL) == 0)
        return 0;
    return err_set(err, ERR_FORBIDDEN,
                   "%s \"%s\" is forbidden: must have cluster-admin privileges to use the aggregationRule",
                   op->info->resource, op->name);
}

static int admit_role(const struct op *op, const cJSON *old, const cJSON *object, struct err **err)
{
    bool rules = !old || !same(old, object, "rules");
    bool aggregates = !same(old, object, "aggregationRule");
    if ((!rules && !aggregates) || may(op, "escalate", op->info->plural, op->name))
        return 0;
    if (rules && check_held(op, json_get(object, "rules"), err) < 0)
        return -1;
    return aggregates ? check_aggregation(op, err) : 0;
}

static int admit_binding(const struct op *op, const cJSON *old, const cJSON *object, struct err **err)
{
    if (old && same(old, object, "roleRef") && same(old, object, "subjects"))
        return 0;
    const cJSON *reference = json_get(object, "roleRef");
    const char *name = json_string_or(reference, "name", "");
    const char *plural = str_eq(json_string(reference, "kind"), "ClusterRole") ? "clusterroles" : "roles";
    if (may(op, "bind", plural, name))
        return 0;
    auto_json role = rbac_role(op->api, op->namespace, reference);
    if (!role)
        return err_set(err, ERR_NOT_FOUND, "%s." RBAC " \"%.253s\" not found", plural, name);
    return check_held(op, json_get(role, "rules"), err);
}

int grant_admit(const struct op *op, const cJSON *old, const cJSON *object, struct err **err)
{
    if (!op->writer)
        return 0;
    const char *plural = op->info->plural;
    if (str_eq(plural, "roles") || str_eq(plural, "clusterroles"))
        return admit_role(op, old, object, err);
    if (str_eq(plural, "rolebindings") || str_eq(plural, "clusterrolebindings"))
        return admit_binding(op, old, object, err);
    return 0;
}
