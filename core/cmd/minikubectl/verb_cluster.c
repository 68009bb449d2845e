/* What there is and who one is: api-versions, cluster-info, auth, config, completion. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/yaml.h"
#include "kubectl.h"

int verb_api_versions(struct kubectl *k)
{
    auto_err err = NULL;
    auto_json seen = cJSON_CreateObject();
    if (!kubectl_find_resource(k, "pods", &err))
        return kubectl_fail(err, NULL);
    for (size_t i = 0; i < k->n_resources; i++) {
        const struct kubectl_resource *r = &k->resources[i];
        auto_free char *version = mem_printf("%s%s%s", r->group, *r->group ? "/" : "", r->version);
        json_set_bool(seen, version, true);
    }
    json_sort_keys(seen);
    json_each (version, seen)
        printf("%s\n", version->string);
    return 0;
}

int verb_cluster_info(struct kubectl *k)
{
    auto_err err = NULL;
    auto_json version = kubectl_request(k, "GET", "/version", NULL, NULL, NULL, &err);
    if (!version)
        return kubectl_fail(err, NULL);
    const char *server = k->flags.server ? k->flags.server : k->config.server;
    printf("Kubernetes control plane is running at %s\n", server);
    auto_json services = kubectl_request(
        k, "GET",
        "/api/v1/namespaces/kube-system/services?labelSelector=kubernetes.io%2Fcluster-service%3Dtrue", NULL,
        NULL, NULL, NULL);
    json_each (service, json_get(services, "items")) {
        const char *name = json_string_or(service, "metadata.name", "");
        const cJSON *labels = json_at(service, "metadata.labels");
        const char *shown = cJSON_GetStringValue(json_get(labels, "kubernetes.io/name"));
        printf("%s is running at %s:%d, inside the cluster\n", shown ? shown : name,
               json_string_or(service, "spec.clusterIP", ""),
               (int)json_int(service, "spec.ports[0].port", 0));
    }
    return 0;
}

/* ---- auth ---- */

static const char *nearest_verb(const char *word)
{
    static const char *const known[] = {"get",    "list",  "watch",       "create",
                                        "update", "patch", "delete",      "deletecollection",
                                        "bind",   "use",   "impersonate", "*"};
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(word, known[i]))
            return NULL;
    return str_nearest(word, known, COUNT_OF(known));
}

/* VERB (RESOURCE[.GROUP][/NAME] | /PATH) */
static cJSON *review_of(struct kubectl *k, const char *verb, const char *what)
{
    cJSON *review = kubectl_object_new("authorization.k8s.io/v1", "SelfSubjectAccessReview", NULL);
    cJSON *spec = json_ensure_object(review, "spec");
    if (*what == '/') {
        cJSON *attributes = json_ensure_object(spec, "nonResourceAttributes");
        json_set_string(attributes, "verb", verb);
        json_set_string(attributes, "path", what);
        return review;
    }
    cJSON *attributes = json_ensure_object(spec, "resourceAttributes");
    const char *slash = strchr(what, '/');
    auto_free char *kind = mem_strndup(what, slash ? (size_t)(slash - what) : strlen(what));
    const struct kubectl_resource *r = str_eq(kind, "*") ? NULL : kubectl_find_resource(k, kind, NULL);
    if (!r && !str_eq(kind, "*"))
        fprintf(stderr, "Warning: the server doesn't have a resource type '%s'\n", kind);
    if (r && !r->namespaced && !k->flags.all_namespaces)
        fprintf(stderr, "Warning: resource '%s' is not namespace scoped\n", r->plural);
    else if (!k->flags.all_namespaces)
        json_set_string(attributes, "namespace", k->namespace);
    json_set_string(attributes, "verb", verb);
    json_set_string(attributes, "group", r ? r->group : str_eq(kind, "*") ? "*" : "");
    json_set_string(attributes, "resource", r ? r->plural : kind);
    if (k->flags.subresource)
        json_set_string(attributes, "subresource", k->flags.subresource);
    if (slash)
        json_set_string(attributes, "name", slash + 1);
    return review;
}

static int can_i(struct kubectl *k)
{
    auto_err err = NULL;
    if (k->n_args < 3)
        return kubectl_refuse_text(
            "you must specify two arguments: verb resource or verb resource/resourceName");
    const char *nearest = nearest_verb(k->args[1]);
    if (nearest)
        fprintf(stderr, "Warning: verb '%s' is not a known verb; did you mean '%s'?\n", k->args[1], nearest);
    auto_json review = review_of(k, k->args[1], k->args[2]);
    auto_json answer = kubectl_request(k, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                                       NULL, NULL, review, &err);
    if (!answer)
        return kubectl_fail(err, NULL);
    bool allowed = json_bool(answer, "status.allowed", false);
    const char *reason = json_string(answer, "status.reason");
    if (!k->flags.quiet)
        printf("%s%s%s\n", allowed ? "yes" : "no", !allowed && !str_empty(reason) ? " - " : "",
               !allowed && !str_empty(reason) ? reason : "");
    return !allowed;
}

static char *joined(const cJSON *list)
{
    struct str text = {0};
    str_add(&text, "[");
    json_each (item, list)
        str_addf(&text, "%s%s", item == list->child ? "" : " ", cJSON_GetStringValue(item));
    str_add(&text, "]");
    return str_take(&text);
}

static int list_rules(struct kubectl *k)
{
    static const char *const head[] = {"Resources", "Non-Resource URLs", "Resource Names", "Verbs"};
    auto_err err = NULL;
    auto_json review = kubectl_object_new("authorization.k8s.io/v1", "SelfSubjectRulesReview", NULL);
    json_set_string(json_ensure_object(review, "spec"), "namespace", k->namespace);
    auto_json answer = kubectl_request(k, "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
                                       NULL, NULL, review, &err);
    if (!answer)
        return kubectl_fail(err, NULL);
    struct kubectl_grid grid = {.columns = 4};
    kubectl_grid_row(&grid, head);
    json_each (rule, json_at(answer, "status.resourceRules")) {
        auto_free char *names = joined(json_get(rule, "resourceNames")),
                       *verbs = joined(json_get(rule, "verbs"));
        json_each (resource, json_get(rule, "resources")) {
            const char *group = cJSON_GetStringValue(json_at(rule, "apiGroups[0]"));
            auto_free char *full = mem_printf("%s%s%s", cJSON_GetStringValue(resource),
                                              str_empty(group) ? "" : ".", str_empty(group) ? "" : group);
            const char *cells[] = {full, "[]", names, verbs};
            kubectl_grid_row(&grid, cells);
        }
    }
    json_each (rule, json_at(answer, "status.nonResourceRules")) {
        auto_free char *urls = joined(json_get(rule, "nonResourceURLs")),
                       *verbs = joined(json_get(rule, "verbs"));
        const char *cells[] = {"", urls, "[]", verbs};
        kubectl_grid_row(&grid, cells);
    }
    kubectl_grid_print(&grid, NULL, NULL);
    return 0;
}

static void who_row(struct kubectl_grid *grid, const char *attribute, const char *value)
{
    const char *cells[] = {attribute, value};
    if (!str_empty(value))
        kubectl_grid_row(grid, cells);
}

static void print_who(const cJSON *user)
{
    struct kubectl_grid grid = {.columns = 2};
    auto_free char *groups = joined(json_get(user, "groups"));
    who_row(&grid, "ATTRIBUTE", "VALUE");
    who_row(&grid, "Username", json_string(user, "username"));
    who_row(&grid, "UID", json_string(user, "uid"));
    who_row(&grid, "Groups", groups);
    json_each (extra, json_get(user, "extra")) {
        auto_free char *attribute = mem_printf("Extra: %s", extra->string), *values = joined(extra);
        who_row(&grid, attribute, values);
    }
    kubectl_grid_print(&grid, NULL, NULL);
}

static int who_am_i(struct kubectl *k)
{
    auto_err err = NULL;
    auto_json review = kubectl_object_new("authentication.k8s.io/v1", "SelfSubjectReview", NULL);
    auto_json answer = kubectl_request(k, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", NULL,
                                       NULL, review, &err);
    if (!answer)
        return kubectl_fail(err, NULL);
    if (k->flags.output && !str_eq(k->flags.output, "wide"))
        return kubectl_print_object(k, answer, &err) < 0 ? kubectl_refuse(err) : 0;
    print_who(json_at(answer, "status.userInfo"));
    return 0;
}

int verb_auth(struct kubectl *k)
{
    static const char *const words[] = {"can-i", "whoami"};
    const char *what = k->n_args ? k->args[0] : "";
    if (str_eq(what, "can-i") && k->flags.output)
        return kubectl_refuse_text("auth can-i answers yes or no and has no --output");
    if (str_eq(what, "can-i"))
        return k->flags.list ? list_rules(k) : can_i(k);
    if (str_eq(what, "whoami"))
        return who_am_i(k);
    const char *nearest = str_nearest(what, words, COUNT_OF(words));
    return kubectl_refuse_text("usage: auth (can-i VERB RESOURCE | can-i --list | whoami)%s%s",
                               nearest ? "; did you mean " : "", nearest ? nearest : "");
}

/* ---- config ---- */

static void hide(cJSON *object, const char *member, const char *instead)
{
    if (json_get(object, member))
        json_set_string(object, member, instead);
}

static int view(struct kubectl *k, const cJSON *config)
{
    auto_err err = NULL;
    auto_json shown = json_copy(config);
    json_each (cluster, json_get(shown, "clusters"))
        if (!k->flags.raw_config)
            hide(json_get(cluster, "cluster"), "certificate-authority-data", "DATA+OMITTED");
    json_each (user, json_get(shown, "users")) {
        cJSON *secrets = json_get(user, "user");
        if (k->flags.raw_config)
            continue;
        hide(secrets, "client-certificate-data", "DATA+OMITTED");
        hide(secrets, "client-key-data", "DATA+OMITTED");
        hide(secrets, "token", "REDACTED");
        hide(secrets, "password", "REDACTED");
    }
    if (!k->flags.output)
        k->flags.output = "yaml";
    return kubectl_print_object(k, shown, &err) < 0 ? kubectl_refuse(err) : 0;
}

static int contexts(const cJSON *config)
{
    static const char *const head[] = {"CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"};
    struct kubectl_grid grid = {.columns = 5};
    kubectl_grid_row(&grid, head);
    json_each (context, json_get(config, "contexts")) {
        const char *name = json_string_or(context, "name", "");
        const char *cells[] = {str_eq(name, json_string(config, "current-context")) ? "*" : "", name,
                               json_string_or(context, "context.cluster", ""),
                               json_string_or(context, "context.user", ""),
                               json_string_or(context, "context.namespace", "")};
        kubectl_grid_row(&grid, cells);
    }
    kubectl_grid_print(&grid, NULL, NULL);
    return 0;
}

int verb_config(struct kubectl *k)
{
    static const char *const words[] = {"view", "current-context", "get-contexts"};
    const char *what = k->n_args ? k->args[0] : "";
    auto_err err = NULL;
    auto_free char *path = kubectl_config_path(k), *text = NULL;
    size_t len;
    auto_json config =
        file_read(path, YAML_MAX_BYTES, &text, &len, &err) < 0 ? NULL : yaml_parse(text, len, &err);
    if (!config)
        return kubectl_refuse(err);
    if (str_eq(what, "view"))
        return view(k, config);
    if (str_eq(what, "get-contexts"))
        return contexts(config);
    if (str_eq(what, "current-context")) {
        printf("%s\n", json_string_or(config, "current-context", ""));
        return 0;
    }
    const char *nearest = str_nearest(what, words, COUNT_OF(words));
    return kubectl_refuse_text("usage: config (view | current-context | get-contexts)%s%s",
                               nearest ? "; did you mean " : "", nearest ? nearest : "");
}

/* ---- completion ---- */

/* Verbs and flags are written in when the script is printed; kinds and names are asked of the cluster. */
static const char script[] =
    "_minikubectl() {\n"
    "    local word=${COMP_WORDS[COMP_CWORD]} verb= kind= i\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        case ${COMP_WORDS[i]} in\n"
    "        -n | --namespace | -o | --output | -l | --selector | -f | --filename | -c | --container) "
    "((i++)) ;;\n"
    "        -*) ;;\n"
    "        *) if [ -z \"$verb\" ]; then verb=${COMP_WORDS[i]}; elif [ -z \"$kind\" ]; then "
    "kind=${COMP_WORDS[i]}; fi ;;\n"
    "        esac\n"
    "    done\n"
    "    local words=\n"
    "    if [ -z \"$verb\" ]; then\n"
    "        words=$_minikubectl_verbs\n"
    "    elif [[ $word == -* ]]; then\n"
    "        words=$(minikubectl \"$verb\" --help 2>/dev/null | grep -oE -- '--[a-z-]+')\n"
    "    else\n"
    "        case $verb in\n"
    "        logs | exec | attach | port-forward | cp | debug)\n"
    "            words=$(minikubectl get pods -o 'jsonpath={.items[*].metadata.name}' 2>/dev/null) ;;\n"
    "        cordon | uncordon | drain)\n"
    "            words=$(minikubectl get nodes -o 'jsonpath={.items[*].metadata.name}' 2>/dev/null) ;;\n"
    "        *)\n"
    "            if [ -z \"$kind\" ]; then\n"
    "                words=$(minikubectl api-resources --no-headers 2>/dev/null | cut -d' ' -f1)\n"
    "            else\n"
    "                words=$(minikubectl get \"$kind\" -o 'jsonpath={.items[*].metadata.name}' 2>/dev/null)\n"
    "            fi ;;\n"
    "        esac\n"
    "    fi\n"
    "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
    "}\n"
    "complete -o default -F _minikubectl minikubectl\n";

int verb_completion(struct kubectl *k)
{
    if (k->n_args != 1 || !str_eq(k->args[0], "bash"))
        return kubectl_refuse_text("usage: completion bash; e.g. source <(minikubectl completion bash)");
    printf("# bash completion of minikubectl\n_minikubectl_verbs=\"");
#define WORD(name, group, help, usage, examples) printf("%.*s ", (int)strcspn(usage, " "), usage);
    KUBECTL_VERBS(WORD)
#undef WORD
    printf("\"\n%s", script);
    return 0;
}
