/*
 * pod_spec: a container of a pod → struct runtime_spec. Pure in the pod, what it refers to and the node's
 * options. A mount's sub_path is still a name here: pod_sub_paths makes of it what podman may mount.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/quantity.h"
#include "node/node_internal.h"

static void add_pair(struct runtime_pair **pairs, size_t *count, const char *name, const char *value)
{
    *pairs = mem_resize(*pairs, *count + 1, sizeof(**pairs));
    (*pairs)[(*count)++] = (struct runtime_pair){mem_strdup(name), mem_strdup(value ? value : "")};
}

static void add_labels(struct runtime_spec *spec, const struct pod *pod, const char *container,
                       unsigned attempt)
{
    const struct node_options *options = &pod->node->options;
    char number[16];
    snprintf(number, sizeof(number), "%u", attempt);
    const struct {
        const char *name, *value;
    } labels[] = {{"cluster", options->cluster},
                  {"node", options->name},
                  {"pod.uid", pod->uid},
                  {"pod.namespace", pod->namespace},
                  {"pod.name", pod->name},
                  {"container", container},
                  {"attempt", number}};
    for (size_t i = 0; i < COUNT_OF(labels); i++) {
        auto_free char *name = mem_printf(NODE_LABEL "%s", labels[i].name);
        add_pair(&spec->labels, &spec->n_labels, name, labels[i].value);
    }
}

const char *pod_hostname(const struct pod *pod)
{
    const char *given = json_string(pod->object, "spec.hostname");
    return str_empty(given) ? pod->name : given;
}

struct runtime_spec *pod_spec_sandbox(const struct pod *pod)
{
    struct runtime_spec *spec = NEW(struct runtime_spec);
    spec->name = pod_container_name(pod, NULL, pod->sandbox_attempt);
    spec->image = mem_strdup(pod->node->options.sandbox_image);
    spec->hostname = mem_strndup(pod_hostname(pod), 63);
    spec->host_network = pod_host_network(pod);
    spec->security.user = spec->security.group = -1;
    spec->host_pid = json_bool(pod->object, "spec.hostPID", false);
    spec->host_ipc = json_bool(pod->object, "spec.hostIPC", false);
    json_each (sysctl, json_at(pod->object, "spec.securityContext.sysctls"))
        add_pair(&spec->sysctls, &spec->n_sysctls, json_string_or(sysctl, "name", ""),
                 json_string(sysctl, "value"));
    add_labels(spec, pod, "", pod->sandbox_attempt);
    char text[INET_ADDRSTRLEN];
    if (pod->address.s_addr)
        add_pair(&spec->labels, &spec->n_labels, NODE_LABEL_ADDRESS, pod_ip(pod, text));
    return spec;
}

/* ---- words ---- */

static char **expand_words(const cJSON *list, const struct map *environment)
{
    int count = cJSON_GetArraySize(list), i = 0;
    if (count == 0)
        return NULL;
    char **words = mem_array((size_t)count + 1, sizeof(*words));
    json_each (word, list)
        words[i++] = pod_expand(cJSON_IsString(word) ? word->valuestring : "", environment);
    return words;
}

static char **copy_words(const cJSON *list)
{
    int count = cJSON_GetArraySize(list), i = 0;
    if (count == 0)
        return NULL;
    char **words = mem_array((size_t)count + 1, sizeof(*words));
    json_each (word, list)
        words[i++] = mem_strdup(cJSON_IsString(word) ? word->valuestring : "");
    return words;
}

/* "SIGTERM" → 15; 0: none given, the image's holds. */
static int signal_number(const char *name)
{
    for (int number = 1; name && number < SIGRTMIN; number++) {
        const char *known = sigabbrev_np(number);
        if (known && str_starts(name, "SIG") && str_eq(name + 3, known))
            return number;
    }
    return 0;
}

/* ---- limits and rights */

static void add_limits(struct runtime_spec *spec, const cJSON *container)
{
    const char *memory = json_string(container, "resources.limits.memory");
    const char *cpu = json_string(container, "resources.limits.cpu");
    const char *request = json_string(container, "resources.requests.cpu");
    if (memory)
        quantity_value(memory, &spec->limits.memory_bytes, NULL); /* validated by the API */
    if (cpu)
        quantity_milli(cpu, &spec->limits.cpu_milli_limit, NULL);
    if (request)
        quantity_milli(request, &spec->limits.cpu_milli_request, NULL);
    else
        spec->limits.cpu_milli_request = spec->limits.cpu_milli_limit;
}

static const cJSON *either(const cJSON *own, const cJSON *pods, const char *key)
{
    const cJSON *value = json_get(own, key);
    return value ? value : json_get(pods, key);
}

static void add_groups(struct runtime_security *security, const cJSON *pods)
{
    const cJSON *list = json_get(pods, "supplementalGroups"), *fs = json_get(pods, "fsGroup");
    size_t count = (size_t)cJSON_GetArraySize(list) + (fs ? 1 : 0);
    if (count == 0)
        return;
    security->supplemental_groups = mem_array(count, sizeof(int64_t));
    json_each (group, list)
        security->supplemental_groups[security->n_supplemental_groups++] = (int64_t)group->valuedouble;
    if (fs)
        security->supplemental_groups[security->n_supplemental_groups++] = (int64_t)fs->valuedouble;
}

static int add_security(struct runtime_spec *spec, const struct container *c, struct err **err)
{
    const cJSON *own = json_get(c->spec, "securityContext"),
                *pods = json_at(c->pod->object, "spec.securityContext");
    const cJSON *user = either(own, pods, "runAsUser"), *group = either(own, pods, "runAsGroup");
    const cJSON *non_root = either(own, pods, "runAsNonRoot");
    struct runtime_security *security = &spec->security;
    security->user = cJSON_IsNumber(user) ? (int64_t)user->valuedouble : -1;
    security->group = cJSON_IsNumber(group) ? (int64_t)group->valuedouble : -1;
    if (cJSON_IsTrue(non_root) && security->user == 0)
        return err_set(err, ERR_INVALID,
                       "container's runAsUser breaks non-root policy (pod: \"%s_%s(%s)\", container: %s)",
                       c->pod->name, c->pod->namespace, c->pod->uid, c->name);
    security->non_root = cJSON_IsTrue(non_root);
    add_groups(security, pods);
    security->strict_groups = str_eq(json_string(pods, "supplementalGroupsPolicy"), "Strict");
    security->privileged = json_bool(own, "privileged", false);
    security->read_only_root = json_bool(own, "readOnlyRootFilesystem", false);
    security->no_new_privileges = !json_bool(own, "allowPrivilegeEscalation", true);
    security->capabilities_add = copy_words(json_at(own, "capabilities.add"));
    security->capabilities_drop = copy_words(json_at(own, "capabilities.drop"));
    return 0;
}

/* ---- mounts ---- */

static bool is_mounted(const struct runtime_spec *spec, const char *destination)
{
    for (size_t i = 0; i < spec->n_mounts; i++)
        if (str_eq(spec->mounts[i].destination, destination))
            return true;
    return false;
}

/* Takes source. */
static struct runtime_mount *add_mount(struct runtime_spec *spec, char *source, const char *destination,
                                       bool read_only)
{
    spec->mounts = mem_resize(spec->mounts, spec->n_mounts + 1, sizeof(*spec->mounts));
    struct runtime_mount *mount = &spec->mounts[spec->n_mounts++];
    *mount = (struct runtime_mount){
        .source = source, .destination = mem_strdup(destination), .read_only = read_only};
    return mount;
}

static const cJSON *find_volume(const struct pod *pod, const char *name)
{
    json_each (volume, json_at(pod->object, "spec.volumes"))
        if (str_eq(json_string(volume, "name"), name))
            return volume;
    return NULL;
}

static int add_volume(struct runtime_spec *spec, const struct container *c, const cJSON *mount,
                      const struct map *environment, struct err **err)
{
    const char *name = json_string_or(mount, "name", "");
    const cJSON *volume = find_volume(c->pod, name);
    if (!volume)
        return err_set(err, ERR_NOT_FOUND, "volume \"%s\" not found", name);
    auto_free char *directory = pod_directory(c->pod);
    const char *host = json_string(volume, "hostPath.path"), *sub = json_string(mount, "subPath");
    const char *expression = json_string(mount, "subPathExpr");
    const cJSON *persistent = pod_volume_object(c->pod, volume);
    auto_free char *root = persistent ? node_volume_path(c->pod->node, persistent)
                           : host     ? mem_strdup(host)
                                      : mem_printf("%s/v/%s", directory, name);
    auto_free char *expanded = expression ? pod_expand(expression, environment) : NULL;
    if (expanded)
        sub = expanded;
    if (sub && (strstr(sub, "..") || *sub == '/'))
        return err_set(err, ERR_INVALID, "subPath \"%.128s\" must be relative and without ..", sub);
    while (strlen(root) > 1 && str_ends(root, "/"))
        root[strlen(root) - 1] = 0;
    bool fixed = json_get(volume, "configMap") || json_get(volume, "secret") ||
                 json_get(volume, "projected") || json_get(volume, "downwardAPI") ||
                 json_bool(volume, "persistentVolumeClaim.readOnly", false) ||
                 (persistent && node_volume_read_only(persistent));
    struct runtime_mount *added = add_mount(spec, steal(&root), json_string_or(mount, "mountPath", ""),
                                            fixed || json_bool(mount, "readOnly", false));
    added->sub_path = str_empty(sub) ? NULL : mem_strdup(sub);
    const char *propagation = json_string(mount, "mountPropagation");
    added->propagation = str_eq(propagation, "Bidirectional")     ? RUNTIME_PROPAGATE_BOTH
                         : str_eq(propagation, "HostToContainer") ? RUNTIME_PROPAGATE_IN
                                                                  : RUNTIME_PROPAGATE_NONE;
    return 0;
}

static int add_mounts(struct runtime_spec *spec, const struct container *c, const struct map *environment,
                      struct err **err)
{
    json_each (mount, json_get(c->spec, "volumeMounts"))
        if (add_volume(spec, c, mount, environment, err) < 0)
            return -1;
    auto_free char *directory = pod_directory(c->pod);
    const char *const own[] = {"hosts", "resolv.conf", "hostname"};
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        auto_free char *destination = mem_printf("/etc/%s", own[i]);
        if (!is_mounted(spec, destination))
            add_mount(spec, mem_printf("%s/etc/%s", directory, own[i]), destination, false);
    }
    const char *message = json_string_or(c->spec, "terminationMessagePath", "/dev/termination-log");
    if (!is_mounted(spec, message))
        add_mount(spec, mem_printf("%s/termination/%s-%u", directory, c->name, c->attempt), message, false);
    return 0;
}

struct runtime_spec *pod_spec_container(const struct container *c, struct err **err)
{
    const struct pod *pod = c->pod;
    auto_map environment = {0};
    if (pod_environment(c, &environment, err) < 0)
        return NULL;
    struct runtime_spec *spec = NEW(struct runtime_spec);
    spec->name = pod_container_name(pod, c->name, c->attempt);
    spec->image = mem_strdup(json_string_or(c->spec, "image", ""));
    spec->sandbox = pod_container_name(pod, NULL, pod->sandbox_attempt);
    spec->command = expand_words(json_get(c->spec, "command"), &environment);
    spec->arguments = expand_words(json_get(c->spec, "args"), &environment);
    const char *directory = json_string(c->spec, "workingDir");
    spec->working_directory = str_empty(directory) ? NULL : mem_strdup(directory);
    map_each (entry, &environment)
        add_pair(&spec->environment, &spec->n_environment, entry->key, entry->value);
    add_labels(spec, pod, c->name, c->attempt);
    add_pair(&spec->labels, &spec->n_labels, NODE_LABEL "hash", c->hash);
    spec->log_path = pod_log_path(pod, c->name, c->attempt);
    spec->host_pid = json_bool(pod->object, "spec.hostPID", false);
    spec->share_pid = json_bool(pod->object, "spec.shareProcessNamespace", false);
    const char *target = json_string(c->spec, "targetContainerName");
    const struct container *other = target ? pod_container((struct pod *)pod, target) : NULL;
    if (other && !spec->share_pid)
        spec->share_pid_of = pod_container_name(pod, other->name, other->attempt);
    spec->stop_signal = signal_number(json_string(c->spec, "lifecycle.stopSignal"));
    spec->log_max_bytes = node_log_bound(pod->node);
    spec->stdin_open = json_bool(c->spec, "stdin", false);
    spec->tty = json_bool(c->spec, "tty", false);
    add_limits(spec, c->spec);
    struct node_extensions *extensions = pod->node->extensions;
    if (add_security(spec, c, err) < 0 || add_mounts(spec, c, &environment, err) < 0 ||
        (extensions && node_extensions_container(extensions, pod->object, c->name, spec, err) < 0)) {
        runtime_spec_free(spec);
        return NULL;
    }
    return spec;
}
