/* What "create KIND NAME" makes of flags: one function per kind, and the table of them. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "kubectl.h"

#define FILE_MAX_BYTES (3u << 19)

cJSON *kubectl_object_new(const char *api_version, const char *kind, const char *name)
{
    cJSON *object = cJSON_CreateObject();
    json_set_string(object, "apiVersion", api_version);
    json_set_string(object, "kind", kind);
    json_set_string(json_ensure_object(object, "metadata"), "name", name);
    return object;
}

static cJSON *needs(const char *flag, struct err **err)
{
    err_set(err, ERR_BAD_REQUEST, "required flag(s) \"%s\" not set", flag);
    return NULL;
}

/* "a=1,b=2" as members of an object. */
static int add_pairs(cJSON *object, const char *list, const char *flag, struct err **err)
{
    auto_free char **pairs = str_split(list ? list : "", ',', NULL);
    for (size_t i = 0; list && pairs[i]; i++) {
        char *equals = strchr(pairs[i], '=');
        if (!equals || equals == pairs[i])
            return err_set(err, ERR_BAD_REQUEST, "--%s: \"%s\": KEY=VALUE is wanted", flag, pairs[i]);
        *equals = 0;
        json_set_string(object, pairs[i], equals + 1);
    }
    return 0;
}

static void add_strings(cJSON *object, const char *member, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        auto_free char **parts = str_split(list[i], ',', NULL);
        for (size_t j = 0; parts[j]; j++)
            json_push_string(json_ensure_array(object, member), str_eq(parts[j], "\"\"") ? "" : parts[j]);
    }
}

/* ---- simple ones ---- */

static cJSON *make_namespace(struct kubectl *k UNUSED, const char *name, struct err **err UNUSED)
{
    return kubectl_object_new("v1", "Namespace", name);
}

static cJSON *make_account(struct kubectl *k UNUSED, const char *name, struct err **err UNUSED)
{
    return kubectl_object_new("v1", "ServiceAccount", name);
}

/* KEY=VALUE of --from-literal, [KEY=]FILE of --from-file. */
static bool is_folder(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static int add_data_file(cJSON *data, const char *key, const char *path, bool base64, struct err **err)
{
    auto_free char *text = NULL;
    size_t len;
    if (file_read(path, FILE_MAX_BYTES, &text, &len, err) < 0)
        return -1;
    auto_free char *value = base64 ? str_base64(text, len) : mem_strdup(text);
    json_set_string(data, key, value);
    return 0;
}

/* Its files, by their names; folders in it are left out, as kubectl does. */
static int add_data_folder(cJSON *data, const char *folder, bool base64, struct err **err)
{
    auto_free char **names = file_list(folder, NULL, err);
    if (!names)
        return -1;
    for (char **name = names; *name; name++) {
        auto_free char *path = file_join(folder, *name);
        if (!is_folder(path) && add_data_file(data, *name, path, base64, err) < 0)
            return -1;
    }
    return 0;
}

static int add_data(struct kubectl *k, cJSON *data, bool base64, struct err **err)
{
    for (size_t i = 0; i < k->flags.n_from_literals; i++) {
        const char *pair = k->flags.from_literals[i], *equals = strchr(pair, '=');
        if (!equals)
            return err_set(err, ERR_BAD_REQUEST, "invalid literal \"%s\": KEY=VALUE is wanted", pair);
        auto_free char *key = mem_strndup(pair, (size_t)(equals - pair));
        auto_free char *value = base64 ? str_base64(equals + 1, strlen(equals + 1)) : mem_strdup(equals + 1);
        json_set_string(data, key, value);
    }
    for (size_t i = 0; i < k->flags.n_from_files; i++) {
        const char *pair = k->flags.from_files[i], *equals = strchr(pair, '='),
                   *path = equals ? equals + 1 : pair;
        const char *slash = strrchr(path, '/');
        auto_free char *key =
            equals ? mem_strndup(pair, (size_t)(equals - pair)) : mem_strdup(slash ? slash + 1 : path);
        bool folder = !equals && is_folder(path);
        if ((folder ? add_data_folder(data, path, base64, err)
                    : add_data_file(data, key, path, base64, err)) < 0)
            return -1;
    }
    return 0;
}

static cJSON *make_configmap(struct kubectl *k, const char *name, struct err **err)
{
    auto_json object = kubectl_object_new("v1", "ConfigMap", name);
    return add_data(k, json_ensure_object(object, "data"), false, err) < 0 ? NULL : steal(&object);
}

static int add_file(cJSON *data, const char *key, const char *path, struct err **err)
{
    auto_free char *text = NULL;
    size_t len;
    if (file_read(path, FILE_MAX_BYTES, &text, &len, err) < 0)
        return -1;
    auto_free char *value = str_base64(text, len);
    json_set_string(data, key, value);
    return 0;
}

static cJSON *make_secret(struct kubectl *k, const char *name, struct err **err)
{
    auto_json object = kubectl_object_new("v1", "Secret", name);
    cJSON *data = json_ensure_object(object, "data");
    bool tls = str_eq(k->args[1], "tls") && k->n_args > 2;
    if (tls && (!k->flags.cert || !k->flags.key))
        return needs(k->flags.cert ? "key" : "cert", err);
    if (tls ? add_file(data, "tls.crt", k->flags.cert, err) < 0 ||
                  add_file(data, "tls.key", k->flags.key, err) < 0
            : add_data(k, data, true, err) < 0)
        return NULL;
    if (tls || k->flags.type)
        json_set_string(object, "type", tls ? "kubernetes.io/tls" : k->flags.type);
    return steal(&object);
}

/* ---- what runs pods ---- */

static cJSON *add_container(struct kubectl *k, cJSON *pod_spec, const char *name, struct err **err)
{
    if (!k->flags.image)
        return needs("image", err);
    cJSON *container = json_push(json_ensure_array(pod_spec, "containers"), cJSON_CreateObject());
    json_set_string(container, "name", name);
    json_set_string(container, "image", k->flags.image);
    for (int i = 0; i < k->n_rest; i++)
        json_push_string(json_ensure_array(container, "command"), k->rest[i]);
    if (k->flags.port > 0)
        json_set_int(json_push(json_ensure_array(container, "ports"), cJSON_CreateObject()), "containerPort",
                     k->flags.port);
    return container;
}

static cJSON *make_deployment(struct kubectl *k, const char *name, struct err **err)
{
    auto_json object = kubectl_object_new("apps/v1", "Deployment", name);
    json_set_string(json_ensure_object(json_get(object, "metadata"), "labels"), "app", name);
    cJSON *spec = json_ensure_object(object, "spec");
    json_set_int(spec, "replicas", k->flags.replicas >= 0 ? k->flags.replicas : 1);
    json_set_at(spec, "selector.matchLabels.app", cJSON_CreateString(name));
    json_set_at(spec, "template.metadata.labels.app", cJSON_CreateString(name));
    cJSON *pod = json_set_at(spec, "template.spec", cJSON_CreateObject());
    return add_container(k, pod, name, err) ? steal(&object) : NULL;
}

static cJSON *job_spec(struct kubectl *k, const char *name, struct err **err)
{
    auto_json spec = cJSON_CreateObject();
    cJSON *pod = json_set_at(spec, "template.spec", cJSON_CreateObject());
    json_set_string(pod, "restartPolicy", k->flags.restart ? k->flags.restart : "Never");
    return add_container(k, pod, name, err) ? steal(&spec) : NULL;
}

/* --from=cronjob/NAME: a run of it by hand. */
static cJSON *job_from(struct kubectl *k, const char *name, struct err **err)
{
    const char *from = str_starts(k->flags.from, "cronjob/") ? k->flags.from + 8 : NULL;
    if (!from) {
        err_set(err, ERR_BAD_REQUEST, "from must be an existing cronjob: --from=cronjob/NAME");
        return NULL;
    }
    auto_free char *target = client_path("cronjobs.batch", "v1", k->namespace, from, NULL);
    auto_json cron = kubectl_request(k, "GET", target, NULL, NULL, NULL, err);
    if (!cron)
        return NULL;
    cJSON *object = kubectl_object_new("batch/v1", "Job", name), *metadata = json_get(object, "metadata");
    const cJSON *template = json_at(cron, "spec.jobTemplate");
    json_set(object, "spec", json_copy(json_get(template, "spec")));
    if (json_at(template, "metadata.labels"))
        json_set(metadata, "labels", json_copy(json_at(template, "metadata.labels")));
    json_set_string(json_ensure_object(metadata, "annotations"), "cronjob.kubernetes.io/instantiate",
                    "manual");
    cJSON *owner = json_push(json_ensure_array(metadata, "ownerReferences"), cJSON_CreateObject());
    json_set_string(owner, "apiVersion", "batch/v1");
    json_set_string(owner, "kind", "CronJob");
    json_set_string(owner, "name", from);
    json_set_string(owner, "uid", json_string(cron, "metadata.uid"));
    json_set_bool(owner, "controller", true);
    return object;
}

static cJSON *make_job(struct kubectl *k, const char *name, struct err **err)
{
    if (k->flags.from)
        return job_from(k, name, err);
    cJSON *spec = job_spec(k, name, err);
    if (!spec)
        return NULL;
    cJSON *object = kubectl_object_new("batch/v1", "Job", name);
    json_set(object, "spec", spec);
    return object;
}

static cJSON *make_cronjob(struct kubectl *k, const char *name, struct err **err)
{
    if (!k->flags.schedule)
        return needs("schedule", err);
    if (!k->flags.restart)
        k->flags.restart = "OnFailure";
    cJSON *job = job_spec(k, name, err);
    if (!job)
        return NULL;
    cJSON *object = kubectl_object_new("batch/v1", "CronJob", name);
    json_set_at(object, "spec.schedule", cJSON_CreateString(k->flags.schedule));
    json_set_at(object, "spec.jobTemplate.spec", job);
    return object;
}

/* ---- network ---- */

/* PORT[:TARGET] of --tcp. */
static int add_tcp(cJSON *ports, const char *word, long long node_port, struct err **err)
{
    const char *colon = strchr(word, ':'), *target = colon ? colon + 1 : word;
    auto_free char *front = mem_strndup(word, colon ? (size_t)(colon - word) : strlen(word));
    long long port, number;
    if (str_to_int64(front, &port) < 0 || port < 1 || port > 65535)
        return err_set(err, ERR_BAD_REQUEST, "invalid port: --tcp=%s (PORT[:TARGET])", word);
    cJSON *entry = json_push(ports, cJSON_CreateObject());
    auto_free char *name = mem_printf("%s%s%s", front, colon ? "-" : "", colon ? target : "");
    json_set_string(entry, "name", name);
    json_set_int(entry, "port", port);
    json_set_string(entry, "protocol", "TCP");
    if (str_to_int64(target, &number) == 0)
        json_set_int(entry, "targetPort", number);
    else
        json_set_string(entry, "targetPort", target);
    if (node_port > 0)
        json_set_int(entry, "nodePort", node_port);
    return 0;
}

/* create service (clusterip | nodeport | loadbalancer | externalname) NAME */
static cJSON *make_service(struct kubectl *k, const char *name, struct err **err)
{
    static const char *const words[] = {"clusterip", "nodeport", "loadbalancer", "externalname"};
    static const char *const types[] = {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"};
    const char *type = NULL;
    for (size_t i = 0; k->n_args > 2 && i < COUNT_OF(words); i++)
        if (str_eq(k->args[1], words[i]))
            type = types[i];
    if (!type) {
        err_set(err, ERR_BAD_REQUEST,
                "create service (clusterip | nodeport | loadbalancer | externalname) NAME");
        return NULL;
    }
    auto_json object = kubectl_object_new("v1", "Service", name);
    cJSON *spec = json_ensure_object(object, "spec");
    json_set_string(json_ensure_object(json_get(object, "metadata"), "labels"), "app", name);
    json_set_string(spec, "type", type);
    for (size_t i = 0; i < k->flags.n_tcp; i++)
        if (add_tcp(json_ensure_array(spec, "ports"), k->flags.tcp[i], k->flags.node_port, err) < 0)
            return NULL;
    if (str_eq(type, "ExternalName")) {
        if (!k->flags.external_name)
            return needs("external-name", err);
        json_set_string(spec, "externalName", k->flags.external_name);
        return steal(&object);
    }
    json_set_string(json_ensure_object(spec, "selector"), "app", name);
    if (k->flags.cluster_ip)
        json_set_string(spec, "clusterIP", k->flags.cluster_ip);
    if (!k->flags.n_tcp && !str_eq(k->flags.cluster_ip, "None"))
        return needs("tcp", err);
    return steal(&object);
}

/* HOST/PATH[*]=SERVICE:PORT[,tls[=SECRET]] */
static int add_rule(cJSON *spec, const char *word, struct err **err)
{
    auto_free char *copy = mem_strdup(word);
    char *comma = strchr(copy, ','), *equals = strchr(copy, '='), *slash = strchr(copy, '/');
    if (comma)
        *comma = 0;
    char *colon = equals ? strrchr(equals, ':') : NULL;
    if (!equals || !colon || !slash || slash > equals)
        return err_set(err, ERR_BAD_REQUEST,
                       "rule %s is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]",
                       word);
    *equals = *colon = 0;
    auto_free char *host = mem_strndup(copy, (size_t)(slash - copy));
    bool prefix = str_ends(slash, "*");
    auto_free char *path = mem_strndup(slash, strlen(slash) - prefix);
    cJSON *rule = NULL, *rules = json_ensure_array(spec, "rules");
    json_each (known, rules)
        if (str_eq(json_string_or(known, "host", ""), host))
            rule = known;
    if (!rule) {
        rule = json_push(rules, cJSON_CreateObject());
        if (*host)
            json_set_string(rule, "host", host);
    }
    cJSON *entry =
        json_push(json_ensure_array(json_ensure_object(rule, "http"), "paths"), cJSON_CreateObject());
    json_set_string(entry, "path", path);
    json_set_string(entry, "pathType", prefix ? "Prefix" : "Exact");
    cJSON *service = json_set_at(entry, "backend.service", cJSON_CreateObject());
    long long number;
    json_set_string(service, "name", equals + 1);
    if (str_to_int64(colon + 1, &number) == 0)
        json_set_int(json_ensure_object(service, "port"), "number", number);
    else
        json_set_string(json_ensure_object(service, "port"), "name", colon + 1);
    if (comma && str_starts(comma + 1, "tls")) {
        cJSON *tls = json_push(json_ensure_array(spec, "tls"), cJSON_CreateObject());
        json_push_string(json_ensure_array(tls, "hosts"), host);
        if (comma[4] == '=')
            json_set_string(tls, "secretName", comma + 5);
    }
    return 0;
}

static cJSON *make_ingress(struct kubectl *k, const char *name, struct err **err)
{
    auto_json object = kubectl_object_new("networking.k8s.io/v1", "Ingress", name);
    cJSON *spec = json_ensure_object(object, "spec");
    if (!k->flags.n_rules && !k->flags.default_backend)
        return needs("rule", err);
    if (k->flags.ingress_class)
        json_set_string(spec, "ingressClassName", k->flags.ingress_class);
    if (k->flags.default_backend) {
        const char *colon = strrchr(k->flags.default_backend, ':');
        long long number = 0;
        if (!colon || str_to_int64(colon + 1, &number) < 0) {
            err_set(err, ERR_BAD_REQUEST, "--default-backend: SERVICE:PORT is wanted");
            return NULL;
        }
        auto_free char *service =
            mem_strndup(k->flags.default_backend, (size_t)(colon - k->flags.default_backend));
        json_set_at(spec, "defaultBackend.service.name", cJSON_CreateString(service));
        json_set_int(json_ensure_object(json_at(spec, "defaultBackend.service"), "port"), "number", number);
    }
    for (size_t i = 0; i < k->flags.n_rules; i++)
        if (add_rule(spec, k->flags.rules[i], err) < 0)
            return NULL;
    return steal(&object);
}

/* ---- limits and budgets ---- */

static cJSON *make_quota(struct kubectl *k, const char *name, struct err **err)
{
    auto_json object = kubectl_object_new("v1", "ResourceQuota", name);
    cJSON *hard = json_ensure_object(json_ensure_object(object, "spec"), "hard");
    return add_pairs(hard, k->flags.hard, "hard", err) < 0 ? NULL : steal(&object);
}

static void set_number_or_share(cJSON *object, const char *member, const char *text)
{
    long long number;
    if (str_to_int64(text, &number) == 0)
        json_set_int(object, member, number);
    else
        json_set_string(object, member, text);
}

static cJSON *make_budget(struct kubectl *k, const char *name, struct err **err)
{
    auto_json object = kubectl_object_new("policy/v1", "PodDisruptionBudget", name);
    cJSON *spec = json_ensure_object(object, "spec");
    if (!k->flags.selector)
        return needs("selector", err);
    if (!k->flags.min_available == !k->flags.max_unavailable) {
        err_set(err, ERR_BAD_REQUEST, "one of min-available or max-unavailable must be specified");
        return NULL;
    }
    if (k->flags.min_available)
        set_number_or_share(spec, "minAvailable", k->flags.min_available);
    else
        set_number_or_share(spec, "maxUnavailable", k->flags.max_unavailable);
    cJSON *labels = json_ensure_object(json_ensure_object(spec, "selector"), "matchLabels");
    return add_pairs(labels, k->flags.selector, "selector", err) < 0 ? NULL : steal(&object);
}

static cJSON *make_priority(struct kubectl *k, const char *name, struct err **err UNUSED)
{
    cJSON *object = kubectl_object_new("scheduling.k8s.io/v1", "PriorityClass", name);
    json_set_int(object, "value", k->flags.value);
    json_set_bool(object, "globalDefault", k->flags.global_default);
    if (k->flags.description)
        json_set_string(object, "description", k->flags.description);
    if (k->flags.preemption_policy)
        json_set_string(object, "preemptionPolicy", k->flags.preemption_policy);
    return object;
}

/* ---- who may what ---- */

/* RESOURCE[.GROUP][/SUBRESOURCE]: known words become the plural and group of the server. */
static void add_rbac_resource(struct kubectl *k, cJSON *rule, const char *word)
{
    const char *slash = strchr(word, '/');
    auto_free char *kind = mem_strndup(word, slash ? (size_t)(slash - word) : strlen(word));
    const struct kubectl_resource *resource = kubectl_find_resource(k, kind, NULL);
    const char *dot = strchr(kind, '.'), *group = resource ? resource->group : dot ? dot + 1 : "";
    auto_free char *plural = resource ? mem_strdup(resource->plural)
                                      : mem_strndup(kind, dot ? (size_t)(dot - kind) : strlen(kind));
    auto_free char *full = mem_printf("%s%s", plural, slash ? slash : "");
    json_push_string(json_ensure_array(rule, "resources"), full);
    cJSON *groups = json_ensure_array(rule, "apiGroups");
    json_each (known, groups)
        if (str_eq(cJSON_GetStringValue(known), group))
            return;
    json_push_string(groups, group);
}

static cJSON *role_of(struct kubectl *k, const char *kind, const char *name, struct err **err)
{
    auto_json object = kubectl_object_new("rbac.authorization.k8s.io/v1", kind, name);
    bool paths = k->flags.n_non_resource_urls > 0;
    if (!k->flags.n_verbs)
        return needs("verb", err);
    if (!k->flags.n_resources && !paths)
        return needs("resource", err);
    cJSON *rule = json_push(json_ensure_array(object, "rules"), cJSON_CreateObject());
    add_strings(rule, "verbs", k->flags.verbs, k->flags.n_verbs);
    if (paths)
        add_strings(rule, "nonResourceURLs", k->flags.non_resource_urls, k->flags.n_non_resource_urls);
    for (size_t i = 0; i < k->flags.n_resources; i++) {
        auto_free char **words = str_split(k->flags.resources[i], ',', NULL);
        for (size_t j = 0; words[j]; j++)
            add_rbac_resource(k, rule, words[j]);
    }
    if (k->flags.n_resource_names)
        add_strings(rule, "resourceNames", k->flags.resource_names, k->flags.n_resource_names);
    return steal(&object);
}

static cJSON *make_role(struct kubectl *k, const char *name, struct err **err)
{
    return role_of(k, "Role", name, err);
}

static cJSON *make_cluster_role(struct kubectl *k, const char *name, struct err **err)
{
    return role_of(k, "ClusterRole", name, err);
}

static void add_subject(cJSON *object, const char *kind, const char *name, const char *namespace)
{
    cJSON *subject = json_push(json_ensure_array(object, "subjects"), cJSON_CreateObject());
    json_set_string(subject, "kind", kind);
    json_set_string(subject, "name", name);
    if (namespace)
        json_set_string(subject, "namespace", namespace);
    else
        json_set_string(subject, "apiGroup", "rbac.authorization.k8s.io");
}

static cJSON *binding_of(struct kubectl *k, const char *kind, const char *name, struct err **err)
{
    auto_json object = kubectl_object_new("rbac.authorization.k8s.io/v1", kind, name);
    bool cluster = str_eq(kind, "ClusterRoleBinding");
    const char *role = cluster ? NULL : k->flags.role;
    if (!role == !k->flags.cluster_role) {
        err_set(err, ERR_BAD_REQUEST, "exactly one of %s must be specified",
                cluster ? "clusterrole" : "clusterrole or role");
        return NULL;
    }
    cJSON *reference = json_ensure_object(object, "roleRef");
    json_set_string(reference, "apiGroup", "rbac.authorization.k8s.io");
    json_set_string(reference, "kind", role ? "Role" : "ClusterRole");
    json_set_string(reference, "name", role ? role : k->flags.cluster_role);
    for (size_t i = 0; i < k->flags.n_users; i++)
        add_subject(object, "User", k->flags.users[i], NULL);
    for (size_t i = 0; i < k->flags.n_groups; i++)
        add_subject(object, "Group", k->flags.groups[i], NULL);
    for (size_t i = 0; i < k->flags.n_accounts; i++) {
        const char *colon = strchr(k->flags.accounts[i], ':');
        if (!colon || colon == k->flags.accounts[i] || !colon[1]) {
            err_set(err, ERR_BAD_REQUEST, "serviceaccount must be <namespace>:<name>");
            return NULL;
        }
        auto_free char *namespace = mem_strndup(k->flags.accounts[i], (size_t)(colon - k->flags.accounts[i]));
        add_subject(object, "ServiceAccount", colon + 1, namespace);
    }
    return steal(&object);
}

static cJSON *make_role_binding(struct kubectl *k, const char *name, struct err **err)
{
    return binding_of(k, "RoleBinding", name, err);
}

static cJSON *make_cluster_role_binding(struct kubectl *k, const char *name, struct err **err)
{
    return binding_of(k, "ClusterRoleBinding", name, err);
}

static const struct {
    const char *name, *alias;
    cJSON *(*make)(struct kubectl *k, const char *name, struct err **err);
} kinds[] = {
    {"namespace", "ns", make_namespace},
    {"serviceaccount", "sa", make_account},
    {"configmap", "cm", make_configmap},
    {"secret", "secret", make_secret},
    {"deployment", "deploy", make_deployment},
    {"job", "job", make_job},
    {"cronjob", "cj", make_cronjob},
    {"service", "svc", make_service},
    {"ingress", "ing", make_ingress},
    {"quota", "resourcequota", make_quota},
    {"poddisruptionbudget", "pdb", make_budget},
    {"priorityclass", "pc", make_priority},
    {"role", "role", make_role},
    {"clusterrole", "clusterrole", make_cluster_role},
    {"rolebinding", "rolebinding", make_role_binding},
    {"clusterrolebinding", "clusterrolebinding", make_cluster_role_binding},
};

cJSON *kubectl_make(struct kubectl *k, const char *word, const char *name, struct err **err)
{
    const char *names[COUNT_OF(kinds) + 1];
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        names[i] = kinds[i].name;
        if (str_eq(word, kinds[i].name) || str_eq(word, kinds[i].alias))
            return kinds[i].make(k, name, err);
    }
    names[COUNT_OF(kinds)] = "token";
    const char *nearest = str_nearest(word, names, COUNT_OF(names));
    auto_free char *hint = nearest ? mem_printf("; did you mean \"%s\"?", nearest) : mem_strdup("");
    err_set(err, ERR_BAD_REQUEST, "create knows no \"%s\"%s (everything can be created with -f)", word, hint);
    return NULL;
}
