/*
 * policy list | show NAME | apply -f FILE.lua, and the table of all; more in verb_policy_*.c.
 * A policy is an object of kind Policy; which one decides is the PolicyProfile "cluster", or one of a
 * namespace (policy_profile.c). The manager checks what is put there and answers in the status: apply and use
 * wait for that answer.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "policy.h"

char *policy_path(const char *name)
{
    return client_path("policies.minik8s.io", "v1", NULL, name, NULL);
}

/* ---- list ---- */

/* What a node says of itself: "POINT=NAME@HASH,… POINT/NAMESPACE=…". Whether it asks the point at all, and
 * whether this version decides there. */
static void look_at_node(const char *versions, const char *point, const char *version, bool *asks, bool *runs)
{
    size_t len = strlen(point);
    for (const char *at = versions; *at; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");
        if (strncmp(at, point, len) == 0 && (at[len] == '=' || at[len] == '/')) {
            auto_free char *list = mem_strndup(at, word);
            char *rest = list, *one;
            *asks = true;
            strsep(&rest, "=");
            while ((one = strsep(&rest, ",")))
                *runs = *runs || str_starts(one, version);
        }
        at += word;
    }
}

/* "2/3": on how many of the nodes that ask the point the version decides; "": none of them asks it. */
static char *nodes_text(const cJSON *leases, const char *point, const cJSON *policy)
{
    unsigned asking = 0, running = 0;
    auto_free char *version =
        mem_printf("%s@%.8s", json_string_or(policy, "name", ""), json_string_or(policy, "version", ""));
    json_each (lease, json_get(leases, "items")) {
        bool asks = false, runs = false;
        look_at_node(json_string_or(lease, "metadata.annotations['minik8s.io/policies']", ""), point, version,
                     &asks, &runs);
        asking += asks;
        running += runs;
    }
    return asking ? mem_printf("%u/%u", running, asking) : mem_strdup("");
}

/* "weight 10, optional, settings {…}": what the profile says of a policy that decides. Caller frees. */
static char *notes_text(const cJSON *point, const cJSON *policy, const cJSON *chosen)
{
    auto_str text = {0};
    const cJSON *entry = policy_named(chosen, json_string_or(policy, "name", "")),
                *settings = json_get(entry, "settings"), *weight = json_get(policy, "weight");
    const char *shape = json_string_or(point, "shape", "");
    if ((str_eq(shape, "score") || str_eq(shape, "order")) && cJSON_IsNumber(weight))
        str_addf(&text, "weight %g", weight->valuedouble);
    if (str_eq(json_string(policy, "mode"), "Optional"))
        str_addf(&text, "%soptional", text.len ? ", " : "");
    if (settings && settings->child) {
        auto_free char *json = json_print(settings);
        str_addf(&text, "%ssettings %s", text.len ? ", " : "", json);
    }
    return str_take(&text);
}

static void print_policy(const cJSON *point, const cJSON *policy, const cJSON *leases, const cJSON *chosen)
{
    const char *name = json_string_or(point, "point", "");
    auto_free char *nodes = nodes_text(leases, name, policy), *notes = notes_text(point, policy, chosen);
    auto_free char *line =
        mem_printf("%-21s %-18s %-10.8s %-9s %-10s %-5s %s", name, json_string_or(policy, "name", ""),
                   json_string_or(policy, "version", ""), json_string_or(policy, "from", ""),
                   json_string_or(policy, "state", ""), nodes, notes);
    size_t len = strlen(line);
    while (len && line[len - 1] == ' ')
        len--;
    printf("%.*s\n", (int)len, line);
}

static int list(struct kubectl *k)
{
    auto_profiles profiles;
    if (policy_load(k, &profiles) != 0)
        return 1;
    auto_free char *path = client_path("leases.coordination.k8s.io", "v1", "kube-node-lease", NULL, NULL);
    auto_json leases = kubectl_request(k, "GET", path, NULL, NULL, NULL, NULL); /* not everybody may */
    auto_json all = cJSON_CreateArray();
    bool json = k->flags.output != NULL;
    if (!json)
        printf("%-21s %-18s %-10s %-9s %-10s %-5s %s\n", "POINT", "POLICY", "VERSION", "FROM", "STATE",
               "NODES", "NOTES");
    json_each (entry, json_at(profiles.cluster, "status.points")) {
        const char *name = json_string_or(entry, "point", "");
        const cJSON *point = policy_status(&profiles, name), *chosen = policy_chosen(&profiles, name);
        cJSON *copy = json ? json_push(all, json_copy(point)) : NULL;
        json_each (policy, json_get(point, "policies")) {
            if (!json)
                print_policy(point, policy, leases, chosen);
        }
        json_each (policy, json_get(copy, "policies")) {
            auto_free char *nodes = nodes_text(leases, name, policy);
            json_set_string(policy, "nodes", *nodes ? nodes : NULL);
        }
    }
    return json ? policy_print_json(all) : 0;
}

static int show(struct kubectl *k)
{
    auto_err err = NULL;
    auto_free char *path = policy_path(k->args[1]);
    auto_json policy = kubectl_request(k, "GET", path, NULL, NULL, NULL, &err);
    if (!policy && err_code(err) != ERR_NOT_FOUND)
        return kubectl_fail(err, NULL);
    if (policy && k->flags.output)
        return policy_print_json(policy);
    if (policy) {
        const char *message = json_string(policy, "status.message");
        printf("-- %s: point %s, %s, version %.8s\n", k->args[1], json_string_or(policy, "spec.point", "?"),
               json_string_or(policy, "status.state", "not looked at yet"),
               json_string_or(policy, "status.hash", "?"));
        if (!str_empty(message))
            printf("-- %s\n", message);
        printf("%s", json_string_or(policy, "spec.source", ""));
        return 0;
    }
    auto_err unknown = NULL;
    auto_json known = policy_known(k, k->args[1], &unknown);
    if (!known)
        return kubectl_fail(unknown, NULL);
    if (k->flags.output)
        return policy_print_json(known);
    printf("-- %s: point %s, %s, version %.8s\n%s", k->args[1], json_string_or(known, "point", "?"),
           json_string_or(known, "from", "?"), json_string_or(known, "hash", "?"),
           json_string_or(known, "source", ""));
    return 0;
}

/* ---- apply ---- */

/* The text of FIELD = "…" if it stands at this place, or NULL. Caller frees. */
static char *field_at(const char *source, const char *at, const char *field)
{
    size_t len = strlen(field);
    if (strncmp(at, field, len) != 0 || (at > source && !strchr(" \t\n,{;", at[-1])))
        return NULL;
    const char *rest = at + len + strspn(at + len, " \t");
    if (*rest != '=')
        return NULL;
    rest += 1 + strspn(rest + 1, " \t");
    if (*rest != '"' && *rest != '\'')
        return NULL;
    return mem_strndup(rest + 1, strcspn(rest + 1, (char[]){*rest, '\n', 0}));
}

/* Behind a comment of one line or a quoted text that begins here, or where it was. */
static const char *skip_text(const char *at)
{
    if (at[0] == '-' && at[1] == '-')
        return at + strcspn(at, "\n");
    if (*at != '"' && *at != '\'')
        return at;
    const char *end = at + 1;
    while (*end && *end != *at && *end != '\n')
        end += *end == '\\' && end[1] ? 2 : 1;
    return *end == *at ? end + 1 : end;
}

/* Looks behind "api = 1", in the same table: what lies in tables within it, and in what comes before, may
 * have fields of that name too. */
static char *field_beside_api(const char *source, const char *field)
{
    const char *at = source;
    int depth = 0;
    while ((at = strstr(at, "api")) &&
           (at[3 + strspn(at + 3, " \t")] != '=' || (at > source && !strchr(" \t\n,{;", at[-1]))))
        at += 3;
    while (at && *at && depth >= 0) {
        char *found = depth ? NULL : field_at(source, at, field);
        if (found)
            return found;
        const char *behind = skip_text(at);
        depth += *at == '{' ? 1 : *at == '}' ? -1 : 0;
        at = behind > at ? behind : at + 1;
    }
    return NULL;
}

/* The manager reads the file properly; here it only names the object. */
char *policy_field(const char *source, const char *field)
{
    char *found = field_beside_api(source, field);
    for (const char *at = source; !found && (at = strstr(at, field)); at++)
        found = field_at(source, at, field);
    return found;
}

cJSON *policy_make(const char *path, const char *source, const cJSON *before, struct err **err)
{
    auto_free char *point = policy_field(source, "point");
    auto_free char *name = policy_field(source, "name");
    if (!point || !name) {
        err_set(err, ERR_BAD_REQUEST, "%s: %s = \"…\" is missing in the table that a policy returns", path,
                point ? "name" : "point");
        return NULL;
    }
    cJSON *policy = before ? json_copy(before) : cJSON_CreateObject();
    json_set_string(policy, "apiVersion", "minik8s.io/v1");
    json_set_string(policy, "kind", "Policy");
    cJSON *metadata = json_ensure_object(policy, "metadata");
    json_set_string(metadata, "name", name);
    const char *old = json_string(before, "spec.source");
    if (old && !str_eq(old, source) && !str_eq(json_string(before, "status.state"), "Rejected")) {
        cJSON *annotations = json_ensure_object(metadata, "annotations");
        json_set_string(annotations, PREVIOUS_SOURCE, old);
        policy_set_now(annotations, SOURCE_TIME);
    }
    cJSON *spec = json_ensure_object(policy, "spec");
    json_set_string(spec, "point", point);
    json_set_string(spec, "source", source);
    return policy;
}

int policy_put(struct kubectl *k, const cJSON *policy, bool exists)
{
    auto_err err = NULL;
    const char *name = json_string_or(policy, "metadata.name", "");
    auto_free char *path = policy_path(exists ? name : NULL);
    auto_json stored = kubectl_request(k, exists ? "PUT" : "POST", path, NULL, NULL, policy, &err);
    if (!stored)
        return kubectl_fail(err, NULL);
    struct policy_verdict verdict;
    if (policy_wait_for_verdict(k, "policies.minik8s.io", stored, &verdict, &err) < 0) {
        policy_verdict_fini(&verdict);
        return kubectl_refuse(err);
    }
    bool refused = str_eq(verdict.state, "Rejected") || str_eq(verdict.state, "RolledBack");
    if (refused)
        fprintf(stderr, "error: policy %s was refused: %s\n", name, verdict.message);
    else
        printf("policy.minik8s.io/%s %s (%s)\n", name, exists ? "configured" : "created",
               str_eq(verdict.state, "Active") ? "active" : "not in use; see: minikubectl policy use");
    policy_verdict_fini(&verdict);
    return refused ? 1 : 0;
}

int policy_apply_file(struct kubectl *k, const char *path)
{
    auto_err err = NULL;
    auto_free char *source = NULL;
    if (file_read(str_eq(path, "-") ? "/dev/stdin" : path, POLICY_MAX, &source, NULL, &err) < 0)
        return kubectl_refuse(err);
    auto_free char *name = policy_field(source, "name");
    auto_free char *object_path = name ? policy_path(name) : NULL;
    auto_json before = name ? kubectl_request(k, "GET", object_path, NULL, NULL, NULL, NULL) : NULL;
    auto_json policy = policy_make(path, source, before, &err);
    return policy ? policy_put(k, policy, before != NULL) : kubectl_refuse(err);
}

/* Its NAME.lua, as the manager's folder of policies is read. */
static int apply_folder(struct kubectl *k, const char *path)
{
    auto_err err = NULL;
    size_t count = 0, applied = 0;
    int code = 0;
    auto_free char **names = file_list(path, &count, &err);
    if (!names)
        return kubectl_refuse(err);
    for (size_t i = 0; i < count; i++) {
        if (!str_ends(names[i], ".lua") || str_ends(names[i], "_test.lua") || str_eq(names[i], "default.lua"))
            continue;
        auto_free char *file = file_join(path, names[i]);
        code |= policy_apply_file(k, file);
        applied++;
    }
    return applied ? code : kubectl_refuse_text("%s: holds no policies (NAME.lua)", path);
}

static int apply_path(struct kubectl *k, const char *path)
{
    struct stat info;
    if (str_ends(path, ".yaml") || str_ends(path, ".yml") || str_ends(path, ".json"))
        return kubectl_refuse_text("%s: policy apply takes Lua; a manifest: minikubectl apply -f %s", path,
                                   path);
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return apply_folder(k, path);
    return policy_apply_file(k, path);
}

static int apply(struct kubectl *k)
{
    int code = 0;
    if (!k->flags.n_files && k->n_args == 1)
        return kubectl_refuse_text(
            "policy apply wants -f FILE.lua, a folder of them, or - for standard input");
    for (int i = 1; i < k->n_args; i++)
        code |= apply_path(k, k->args[i]);
    for (size_t i = 0; i < k->flags.n_files; i++)
        code |= apply_path(k, k->flags.files[i]);
    return code;
}

/* ---- all of them ---- */

static const struct word {
    const char *name;
    int least, most; /* arguments, with the word itself */
    int (*run)(struct kubectl *k);
    const char *flags; /* that it takes, beside those of all verbs */
} words[] = {{"list", 1, 1, list, " output "},
             {"show", 2, 2, show, " output "},
             {"apply", 1, 1000, apply, " filename "},
             {"use", 3, 1000, policy_use, ""},
             {"rollback", 2, 2, policy_rollback, ""},
             {"disable", 3, 3, policy_disable, ""},
             {"settings", 3, 1000, policy_settings, " output "},
             {"log", 1, 1, policy_log, " output tail since point object kind plot "},
             {"test", 1, 2, policy_test, " output filename replay point object kind "},
             {"shadow", 2, 1000, policy_shadow, ""},
             {"diff", 1, 2, policy_diff, " filename "}};

/* A flag that the word would not look at is wrong use, not silence. */
static int check_flags(const struct kubectl_flags *flags, const struct word *word, struct err **err)
{
    const struct {
        const char *name;
        bool given;
    } all[] = {{"output", flags->output != NULL}, {"filename", flags->n_files > 0},
               {"tail", flags->tail >= 0},        {"since", flags->since_s >= 0},
               {"point", flags->point != NULL},   {"object", flags->object != NULL},
               {"kind", flags->kind != NULL},     {"plot", flags->plot},
               {"replay", flags->replay_s > 0}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        auto_free char *name = mem_printf(" %s ", all[i].name);
        if (all[i].given && !strstr(word->flags, name))
            return err_set(err, ERR_BAD_REQUEST, "policy %s takes no --%s", word->name, all[i].name);
    }
    if (flags->output && !str_eq(flags->output, "json"))
        return err_set(err, ERR_BAD_REQUEST, "policy %s -o %s: text, or json", word->name, flags->output);
    return 0;
}

static int usage(const char *given)
{
    const char *names[COUNT_OF(words)];
    for (size_t i = 0; i < COUNT_OF(words); i++)
        names[i] = words[i].name;
    const char *nearest = str_nearest(given, names, COUNT_OF(words));
    return kubectl_refuse_text(
        "usage: policy list | show NAME | apply -f FILE.lua | use POINT NAME[=WEIGHT]… | use POINT default | "
        "rollback (POINT | NAME) | disable POINT NAME | settings POINT NAME [KEY=VALUE | KEY-]… | log | test "
        "[FILE.lua] "
        "[--replay=1h] | shadow (FILE.lua | POINT NAME… | POINT none) | diff (NAME | -f FILE.lua); for one "
        "namespace: -n%s%s",
        nearest && !str_eq(nearest, given) ? "; did you mean " : "",
        nearest && !str_eq(nearest, given) ? nearest : "");
}

int verb_policy(struct kubectl *k)
{
    auto_err err = NULL;
    const char *given = k->n_args ? k->args[0] : "";
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        const struct word *word = &words[i];
        if (!str_eq(given, word->name) || k->n_args < word->least)
            continue;
        if (k->n_args > word->most)
            return kubectl_refuse_text("policy %s: what is \"%s\"? See 'minikubectl policy --help'", given,
                                       k->args[word->most]);
        return check_flags(&k->flags, word, &err) < 0 ? kubectl_refuse(err) : word->run(k);
    }
    return usage(given);
}
