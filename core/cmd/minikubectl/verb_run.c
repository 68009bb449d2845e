/* run: one pod from an image, attached if asked; debug: a look into a pod, a copy of it, or a node. */
#include <stdio.h>
#include <string.h>

#include "base/yaml.h"
#include "kubectl.h"

#define STRATEGIC "application/strategic-merge-patch+json"
#define START_S 60 /* until the container runs, if --pod-running-timeout says nothing else */

static void add_env(struct kubectl *k, cJSON *container)
{
    for (size_t i = 0; i < k->flags.n_env; i++) {
        const char *equals = strchr(k->flags.env[i], '=');
        auto_free char *name = mem_strndup(k->flags.env[i], equals ? (size_t)(equals - k->flags.env[i]) : 0);
        cJSON *entry = *name ? json_push(json_ensure_array(container, "env"), cJSON_CreateObject()) : NULL;
        json_set_string(entry, "name", name);
        json_set_string(entry, "value", equals ? equals + 1 : "");
    }
}

static void add_pairs(cJSON *object, const char *member, const char *list)
{
    auto_free char **pairs = str_split(list ? list : "", ',', NULL);
    for (size_t i = 0; list && pairs[i]; i++) {
        char *equals = strchr(pairs[i], '=');
        if (!equals)
            continue;
        *equals = 0;
        json_set_string(json_ensure_object(object, member), pairs[i], equals + 1);
    }
}

/* Words after -- are arguments, or the command itself with --command. */
static void add_words(struct kubectl *k, cJSON *container, bool command)
{
    char **words = k->n_rest ? k->rest : k->args + 1;
    int count = k->n_rest ? k->n_rest : k->n_args - 1;
    for (int i = 0; i < count; i++)
        json_push_string(json_ensure_array(container, command ? "command" : "args"), words[i]);
}

static void add_terminal(struct kubectl *k, cJSON *container)
{
    if (k->flags.stdin_open)
        json_set_bool(container, "stdin", true);
    if (k->flags.stdin_open && k->flags.rm)
        json_set_bool(container, "stdinOnce", true);
    if (k->flags.tty)
        json_set_bool(container, "tty", true);
}

static cJSON *make_pod(struct kubectl *k, const char *name, struct err **err)
{
    auto_json pod = kubectl_object_new("v1", "Pod", name);
    cJSON *metadata = json_get(pod, "metadata"), *spec = json_ensure_object(pod, "spec");
    json_set_string(json_ensure_object(metadata, "labels"), "run", name);
    if (k->flags.labels)
        json_remove(metadata, "labels");
    add_pairs(metadata, "labels", k->flags.labels);
    add_pairs(metadata, "annotations", k->flags.annotations);
    cJSON *container = json_push(json_ensure_array(spec, "containers"), cJSON_CreateObject());
    json_set_string(container, "name", name);
    json_set_string(container, "image", k->flags.image);
    if (k->flags.image_pull_policy)
        json_set_string(container, "imagePullPolicy", k->flags.image_pull_policy);
    json_set_string(spec, "restartPolicy", k->flags.restart ? k->flags.restart : "Always");
    add_env(k, container);
    add_words(k, container, k->flags.command);
    add_terminal(k, container);
    if (k->flags.port > 0)
        json_set_int(json_push(json_ensure_array(container, "ports"), cJSON_CreateObject()), "containerPort",
                     k->flags.port);
    if (!k->flags.overrides)
        return steal(&pod);
    auto_json overrides = yaml_parse(k->flags.overrides, strlen(k->flags.overrides), err);
    return overrides ? json_merge_patch(steal(&pod), overrides) : NULL;
}

/* ---- waiting for a container ---- */

struct starting {
    const char *container;
    bool started, ended, until_end;
    char *problem;
    cJSON *pod;
};

static void look(struct starting *s, const cJSON *pod)
{
    static const char *const lists[] = {"status.containerStatuses", "status.ephemeralContainerStatuses",
                                        "status.initContainerStatuses"};
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        json_each (status, json_at(pod, lists[i])) {
            if (!str_eq(json_string(status, "name"), s->container))
                continue;
            s->started |= json_at(status, "state.running") != NULL;
            s->ended |= json_at(status, "state.terminated") != NULL;
            const char *reason = json_string(status, "state.waiting.reason");
            if (reason && !str_eq(reason, "ContainerCreating") && !str_eq(reason, "PodInitializing") &&
                !s->problem)
                s->problem =
                    mem_printf("%s: %s", reason, json_string_or(status, "state.waiting.message", ""));
        }
    const char *phase = json_string_or(pod, "status.phase", "");
    s->ended |= str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
    cJSON_Delete(s->pod);
    s->pod = json_copy(pod);
}

static bool on_event(void *arg, const char *line, size_t len)
{
    struct starting *s = arg;
    auto_json event = json_parse_trusted(line, len);
    const char *type = json_string_or(event, "type", "");
    if (str_eq(type, "DELETED"))
        s->ended = true;
    else if (!str_eq(type, "BOOKMARK"))
        look(s, json_get(event, "object"));
    return !s->ended && (s->until_end || (!s->started && !s->problem));
}

static char *watch_target(const cJSON *pod)
{
    struct str target = {0};
    auto_free char *path = client_path("pods", "v1", json_string(pod, "metadata.namespace"), NULL, NULL);
    auto_free char *selector = mem_printf("metadata.name=%s", json_string_or(pod, "metadata.name", ""));
    str_add(&target, path);
    http_query_add(&target, "fieldSelector", selector);
    http_query_add(&target, "watch", "true");
    return str_take(&target);
}

/* The pod once its container runs or has ended; NULL, told: it does not start. */
static cJSON *wait_container(struct kubectl *k, const cJSON *pod, const char *container, bool until_end)
{
    struct starting s = {.container = container, .until_end = until_end};
    auto_err err = NULL;
    auto_free char *target = watch_target(pod);
    int64_t ms = (k->flags.pod_timeout_s > 0 ? k->flags.pod_timeout_s : START_S) * 1000;
    kubectl_stream_lines(k, target, NULL, until_end ? 0 : ms, on_event, &s, &err);
    if (!s.started && !s.ended) {
        kubectl_refuse_text("%s", s.problem                      ? s.problem
                                  : err_code(err) == ERR_TIMEOUT ? "timed out waiting for the condition"
                                                                 : err_message(err));
        cJSON_Delete(steal(&s.pod));
    }
    free(s.problem);
    return s.pod;
}

static int exit_code_of(const cJSON *pod, const char *container)
{
    json_each (status, json_at(pod, "status.containerStatuses"))
        if (str_eq(json_string(status, "name"), container))
            return (int)json_int(status, "state.terminated.exitCode", 0);
    return 0;
}

static int print_log(struct kubectl *k, const cJSON *pod, const char *container)
{
    auto_err err = NULL;
    auto_str target = {0};
    auto_free char *path = client_path("pods", "v1", json_string(pod, "metadata.namespace"),
                                       json_string(pod, "metadata.name"), "log");
    str_add(&target, path);
    http_query_add(&target, "container", container);
    const char *at = str_c(&target), *prefix = NULL;
    return kubectl_stream_text(k, &at, &prefix, 1, &err) < 0 ? kubectl_fail(err, NULL) : 0;
}

/* Attaches once it runs; what has ended already is read from its log. */
static int attach_when_running(struct kubectl *k, const cJSON *pod, const char *container)
{
    auto_json now = wait_container(k, pod, container, false);
    if (!now)
        return 1;
    struct starting s = {.container = container};
    look(&s, now);
    int code = s.ended ? print_log(k, now, container) : kubectl_attach(k, now, container);
    cJSON_Delete(s.pod);
    free(s.problem);
    return code;
}

static int delete_pod(struct kubectl *k, const cJSON *pod)
{
    auto_err err = NULL;
    const struct kubectl_reference ref = kubectl_reference_of(k, pod);
    auto_free char *path = kubectl_target(k, ref.resource, ref.namespace, ref.name, NULL);
    auto_json answer = kubectl_request(k, "DELETE", path, NULL, NULL, NULL, &err);
    if (!answer && err_code(err) != ERR_NOT_FOUND)
        return kubectl_fail(err, NULL);
    if (!k->flags.quiet)
        printf("pod \"%s\" deleted from %s namespace\n", ref.name, k->namespace);
    return 0;
}

/* run --rm -i: the pod's end is the command's. */
static int finish_run(struct kubectl *k, const cJSON *pod, const char *container, int code)
{
    if (str_eq(json_string(pod, "spec.restartPolicy"), "Never")) {
        auto_json end = wait_container(k, pod, container, true);
        if (end && code == 0)
            code = exit_code_of(end, container);
    }
    if (k->flags.rm)
        code |= delete_pod(k, pod);
    return code;
}

int verb_run(struct kubectl *k)
{
    auto_err err = NULL;
    const char *name = k->n_args ? k->args[0] : NULL;
    bool attach = k->flags.stdin_open || k->flags.attach;
    if (!name)
        return kubectl_refuse_text("NAME is required for run: run NAME --image=IMAGE [-- COMMAND…]");
    if (!k->flags.image)
        return kubectl_refuse_text("required flag(s) \"image\" not set");
    if (k->flags.rm && !attach)
        return kubectl_refuse_text("--rm should only be used for attached containers");
    if (k->flags.tty && !k->flags.stdin_open)
        return kubectl_refuse_text("-i/--stdin is required for containers with -t/--tty=true");
    auto_json pod = make_pod(k, name, &err);
    if (!pod)
        return kubectl_refuse(err);
    if (!attach || k->flags.dry_run)
        return kubectl_create_object(k, pod, NULL);
    auto_free char *path = client_path("pods", "v1", k->namespace, NULL, NULL);
    auto_json made = kubectl_request(k, "POST", path, NULL, NULL, pod, &err);
    if (!made)
        return kubectl_fail(err, NULL);
    const char *container = json_string_or(made, "spec.containers[0].name", name);
    return finish_run(k, made, container, attach_when_running(k, made, container));
}

/* ---- debug ---- */

static cJSON *debug_container(struct kubectl *k, const char *name)
{
    cJSON *container = cJSON_CreateObject();
    json_set_string(container, "name", name);
    json_set_string(container, "image", k->flags.image);
    json_set_string(container, "imagePullPolicy",
                    k->flags.image_pull_policy ? k->flags.image_pull_policy : "IfNotPresent");
    json_set_string(container, "terminationMessagePolicy", "File");
    if (k->flags.stdin_open)
        json_set_bool(container, "stdin", true);
    if (k->flags.tty)
        json_set_bool(container, "tty", true);
    add_env(k, container);
    for (int i = 0; i < k->n_rest; i++)
        json_push_string(json_ensure_array(container, "command"), k->rest[i]);
    return container;
}

static char *random_name(const char *front)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    unsigned char bytes[5];
    char text[6] = "";
    random_system.fill(random_system.arg, bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        text[i] = alphabet[bytes[i] % (sizeof(alphabet) - 1)];
    return mem_printf("%s-%s", front, text);
}

static bool has_target(const cJSON *pod, const char *name)
{
    json_each (container, json_at(pod, "spec.containers")) {
        if (str_eq(json_string(container, "name"), name))
            return true;
    }
    return false;
}

static int attach_or_tell(struct kubectl *k, const cJSON *pod, const char *container)
{
    if (k->flags.stdin_open || k->flags.attach)
        return attach_when_running(k, pod, container);
    return 0;
}

static int debug_in_place(struct kubectl *k, const cJSON *pod)
{
    auto_err err = NULL;
    auto_free char *name = k->flags.container ? mem_strdup(k->flags.container) : random_name("debugger");
    if (k->flags.target && !has_target(pod, k->flags.target))
        return kubectl_refuse_text("container %s is not in pod %s", k->flags.target,
                                   json_string_or(pod, "metadata.name", ""));
    auto_json patch = cJSON_CreateObject();
    cJSON *container = debug_container(k, name);
    if (k->flags.target) {
        fprintf(stderr,
                "Targeting container \"%s\". If you don't see processes from this container it may be "
                "because the container runtime doesn't support this feature.\n",
                k->flags.target);
        json_set_string(container, "targetContainerName", k->flags.target);
    }
    json_push(json_ensure_array(json_ensure_object(patch, "spec"), "ephemeralContainers"), container);
    auto_free char *path = client_path("pods", "v1", json_string(pod, "metadata.namespace"),
                                       json_string(pod, "metadata.name"), "ephemeralcontainers");
    if (!k->flags.container && !k->flags.quiet)
        fprintf(stderr, "Defaulting debug container name to %s.\n", name);
    auto_json changed = kubectl_request(k, "PATCH", path, NULL, STRATEGIC, patch, &err);
    return changed ? attach_or_tell(k, changed, name) : kubectl_fail(err, NULL);
}

/* Without what belongs to the one pod only: place, owner, status, probes. */
static cJSON *copy_of(struct kubectl *k, const cJSON *pod)
{
    cJSON *copy = kubectl_object_new("v1", "Pod", k->flags.copy_to);
    cJSON *spec = json_set(copy, "spec", json_copy(json_get(pod, "spec")));
    if (json_at(pod, "metadata.annotations"))
        json_set(json_get(copy, "metadata"), "annotations", json_copy(json_at(pod, "metadata.annotations")));
    if (!k->flags.same_node)
        json_remove(spec, "nodeName");
    json_remove(spec, "ephemeralContainers");
    json_each (container, json_get(spec, "containers")) {
        json_remove(container, "livenessProbe");
        json_remove(container, "readinessProbe");
        json_remove(container, "startupProbe");
    }
    return copy;
}

/* A container that is there gets the new image and command, else one is added. */
static const char *change_copy(struct kubectl *k, cJSON *copy, const char *fresh)
{
    cJSON *containers = json_at(copy, "spec.containers"), *found = NULL;
    json_each (container, containers)
        if (k->flags.container && str_eq(json_string(container, "name"), k->flags.container))
            found = container;
    if (!found) {
        const char *name = k->flags.container ? k->flags.container : fresh;
        json_push(containers, debug_container(k, name));
        return name;
    }
    if (k->flags.image)
        json_set_string(found, "image", k->flags.image);
    if (k->n_rest) {
        json_remove(found, "command");
        json_remove(found, "args");
    }
    for (int i = 0; i < k->n_rest; i++)
        json_push_string(json_ensure_array(found, "command"), k->rest[i]);
    add_terminal(k, found);
    return k->flags.container;
}

static int create_and_attach(struct kubectl *k, const cJSON *pod, const char *container)
{
    auto_err err = NULL;
    auto_free char *path = client_path("pods", "v1", k->namespace, NULL, NULL);
    auto_json made = kubectl_request(k, "POST", path, NULL, NULL, pod, &err);
    if (!made)
        return kubectl_fail(err, NULL);
    if (k->flags.stdin_open || k->flags.attach)
        return attach_when_running(k, made, container);
    auto_free char *shown = kubectl_display_name(k, made);
    printf("%s created\n", shown);
    return 0;
}

static int debug_copy(struct kubectl *k, const cJSON *pod)
{
    auto_json copy = copy_of(k, pod);
    auto_free char *fresh = random_name("debugger");
    const char *container = change_copy(k, copy, fresh);
    if (k->flags.share_processes)
        json_set_bool(json_get(copy, "spec"), "shareProcessNamespace", true);
    if (k->flags.replace && delete_pod(k, pod) != 0)
        return 1;
    return create_and_attach(k, copy, container);
}

/* A pod in the node's namespaces, with its files at /host. */
static int debug_node(struct kubectl *k, const char *node)
{
    auto_free char *front = mem_printf("node-debugger-%s", node), *name = random_name(front);
    auto_json pod = kubectl_object_new("v1", "Pod", name);
    cJSON *spec = json_ensure_object(pod, "spec"), *container = debug_container(k, "debugger");
    json_push(json_ensure_array(spec, "containers"), container);
    json_set_string(spec, "nodeName", node);
    json_set_string(spec, "restartPolicy", "Never");
    json_set_bool(spec, "hostNetwork", true);
    json_set_bool(spec, "hostPID", true);
    json_set_bool(spec, "hostIPC", true);
    json_set_bool(json_ensure_object(container, "securityContext"), "privileged", true);
    cJSON *mount = json_push(json_ensure_array(container, "volumeMounts"), cJSON_CreateObject());
    json_set_string(mount, "name", "host-root");
    json_set_string(mount, "mountPath", "/host");
    cJSON *volume = json_push(json_ensure_array(spec, "volumes"), cJSON_CreateObject());
    json_set_string(volume, "name", "host-root");
    json_set_string(json_ensure_object(volume, "hostPath"), "path", "/");
    json_set_string(json_push(json_ensure_array(spec, "tolerations"), cJSON_CreateObject()), "operator",
                    "Exists");
    if (!k->flags.quiet)
        fprintf(stderr, "Creating debugging pod %s with container debugger on node %s.\n", name, node);
    return create_and_attach(k, pod, "debugger");
}

int verb_debug(struct kubectl *k)
{
    auto_err err = NULL;
    if (k->n_args != 1)
        return kubectl_refuse_text(
            "one POD, or node/NODE, is wanted: debug POD -it --image=IMAGE [--target=CONTAINER]");
    if (!k->flags.image && !(k->flags.copy_to && k->flags.container))
        return kubectl_refuse_text("you must specify --image, or --container and --copy-to");
    const char *word = k->args[0], *slash = strchr(word, '/');
    auto_free char *kind = mem_strndup(word, slash ? (size_t)(slash - word) : 0);
    const struct kubectl_resource *resource = slash ? kubectl_find_resource(k, kind, &err) : NULL;
    if (err)
        return kubectl_refuse(err);
    if (k->flags.tty && !k->flags.stdin_open)
        k->flags.stdin_open = true;
    if (resource && str_eq(resource->name, "nodes")) {
        const struct kubectl_reference ref = {resource, slash + 1, NULL};
        auto_free char *path = kubectl_target(k, resource, NULL, slash + 1, NULL);
        auto_json node = kubectl_request(k, "GET", path, NULL, NULL, NULL, &err);
        return node ? debug_node(k, slash + 1) : kubectl_fail_named(k, err, NULL, &ref);
    }
    auto_json pod = NULL;
    if (kubectl_find_pod(k, word, &pod) != 0)
        return 1;
    return k->flags.copy_to ? debug_copy(k, pod) : debug_in_place(k, pod);
}
