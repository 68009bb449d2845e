/*
 * pod_actions: the steps that bring a pod up: sandbox, interface, image, container, postStart. Each begins
 * one call to runtime or net and takes its answer into the worker's memory; what follows is decided by the
 * next look. Failures are kept as the reasons that users of Kubernetes know, retried with a back-off, and
 * told as Events.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node_internal.h"

#define FIRST_RETRY_MS 1000
#define MAX_RETRY_MS 60000

static int64_t retry_at(const struct pod *pod, unsigned failures)
{
    int64_t wait = FIRST_RETRY_MS;
    for (unsigned i = 1; i < failures && wait < MAX_RETRY_MS; i++)
        wait *= 2;
    return node_now(pod->node) + (wait < MAX_RETRY_MS ? wait : MAX_RETRY_MS);
}

static void replace(char **field, const char *value)
{
    char *copy = mem_strdup(value);
    free(*field);
    *field = copy;
}

/* ---- sandbox ---- */

static void sandbox_failed(struct pod *pod, const struct err *err, const char *what)
{
    if (err_code(err) == ERR_CANCELLED)
        return;
    pod->sandbox_retry_at = retry_at(pod, ++pod->sandbox_failures);
    auto_free char *problem = mem_printf("%s: %s", what, err_message(err));
    replace(&pod->sandbox_problem, problem);
    pod_event(pod, NULL, "Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: %s", problem);
}

/* An action other than its end is done: what was told of it meanwhile counts now. */
static void sandbox_idle(struct pod *pod)
{
    pod->sandbox_busy = false;
    if (pod->sandbox_died) {
        pod->sandbox_state = RUNTIME_EXITED;
        pod->sandbox_pid = 0;
    } else if (pod->sandbox_missed) {
        node_list_containers(pod->node);
    }
    pod->sandbox_died = pod->sandbox_missed = false;
}

static void on_sandbox_done(void *arg, struct err *err)
{
    struct pod_call *call = arg;
    enum plan_action_type type = call->type;
    struct pod *pod = pod_call_end(call);
    if (!pod)
        return;
    bool ends = !err && (type == PLAN_SANDBOX_STOP || type == PLAN_SANDBOX_REMOVE);
    if (ends) /* as was wanted */
        pod->sandbox_died = pod->sandbox_missed = false;
    pod->sandbox_seen_in = pod->node->list_number;
    if (err) {
        sandbox_failed(pod, err, plan_action_name(type));
    } else if (type == PLAN_SANDBOX_CREATE) {
        pod->sandbox_exists = true;
        pod->sandbox_state = RUNTIME_CREATED;
    } else if (type == PLAN_SANDBOX_STOP) {
        pod->sandbox_state = RUNTIME_EXITED;
        pod->sandbox_pid = 0;
    } else if (type == PLAN_SANDBOX_REMOVE) {
        pod->sandbox_exists = false;
        pod->sandbox_pid = 0;
        pod->sandbox_attempt++;
        free(steal(&pod->sandbox_id));
        pod->volumes_made = false; /* the pod's own files may say something else in the next sandbox */
    }
    sandbox_idle(pod);
    pod_look(pod);
}

static void on_sandbox_started(void *arg, struct runtime_container *container, struct err *err)
{
    struct pod *pod = pod_call_end(arg);
    if (pod) {
        pod->sandbox_seen_in = pod->node->list_number;
        if (err) {
            sandbox_failed(pod, err, "start sandbox");
            if (err_code(err) == ERR_NOT_FOUND)
                pod->sandbox_exists = false;
            else if (err_code(err) == ERR_INVALID)
                pod->sandbox_state = RUNTIME_EXITED; /* to be made anew */
        } else {
            pod->sandbox_state = container->state;
            pod->sandbox_pid = container->pid;
            replace(&pod->sandbox_id, container->id);
            pod->attached = false;
        }
        sandbox_idle(pod);
        pod_look(pod);
    }
    runtime_container_free(container);
}

/* The pod's address: kept while the pod lives, also over sandboxes. */
static int take_address(struct pod *pod, struct err **err)
{
    struct node *node = pod->node;
    if (pod_host_network(pod) || pod->address.s_addr)
        return 0;
    if (ipam_take(node->ipam, &pod->address, err) < 0)
        return -1;
    node_services_pod(node->services, pod);
    return 0;
}

static void sandbox_create(struct pod *pod)
{
    auto_err err = NULL;
    if (take_address(pod, &err) < 0) {
        sandbox_failed(pod, err, "take an address");
        pod_look(pod);
        return;
    }
    if (!pod->start_ns)
        pod->start_ns = node_wall(pod->node);
    struct runtime_spec *spec = pod_spec_sandbox(pod);
    pod->sandbox_busy = true;
    pod->volumes_left = true;
    pod->node->runtime->ops->create(pod->node->runtime, spec, on_sandbox_done,
                                    pod_call_new(pod, PLAN_SANDBOX_CREATE, 0));
    runtime_spec_free(spec);
}

struct attach_job {
    struct node_job job;
    struct pod_call *call;
    struct net *net;
    struct net_pod pod;
    char *uid;
    bool attach;
    int result;
};

static void attach_work(struct node_job *base)
{
    struct attach_job *job = CONTAINER_OF(base, struct attach_job, job);
    if (job->attach)
        job->result = job->net->ops->pod_attach(job->net, &job->pod, &base->err);
    else
        job->result = job->net->ops->pod_detach(job->net, job->uid, job->pod.address, &base->err);
}

static void attach_done(struct node_job *base, bool closed)
{
    struct attach_job *job = CONTAINER_OF(base, struct attach_job, job);
    struct pod *pod = pod_call_end(job->call);
    if (pod && !closed) {
        pod->adopted = false;
        sandbox_idle(pod);
        if (job->result < 0)
            sandbox_failed(pod, base->err,
                           job->attach ? "connect to the network" : "disconnect from the network");
        else
            pod->attached = job->attach;
        node_services_pod(pod->node->services, pod);
        if (job->result == 0 && job->attach) {
            pod->sandbox_failures = 0;
            free(steal(&pod->sandbox_problem));
        }
        pod_look(pod);
    }
    free(job->uid);
    free(job);
}

static void attach(struct pod *pod, bool attached)
{
    if (pod_host_network(pod) || !pod->node->net) {
        pod->attached = attached;
        pod_look(pod);
        return;
    }
    struct attach_job *job = NEW(struct attach_job);
    job->job.work = attach_work;
    job->job.done = attach_done;
    job->net = pod->node->net;
    job->uid = mem_strdup(pod->uid);
    job->pod = (struct net_pod){job->uid, pod->sandbox_pid, pod->address};
    job->attach = attached;
    job->call = pod_call_new(pod, attached ? PLAN_ATTACH : PLAN_DETACH, 0);
    pod->sandbox_busy = true;
    node_lane_run(pod->node->net_lane, &job->job);
}

void pod_sandbox_action(struct pod *pod, enum plan_action_type type)
{
    struct runtime *runtime = pod->node->runtime;
    if (type == PLAN_ATTACH || type == PLAN_DETACH) {
        attach(pod, type == PLAN_ATTACH);
        return;
    }
    if (type == PLAN_SANDBOX_CREATE) {
        sandbox_create(pod);
        return;
    }
    auto_free char *name = pod_container_name(pod, NULL, pod->sandbox_attempt);
    struct pod_call *call = pod_call_new(pod, type, 0);
    pod->sandbox_busy = true;
    if (type == PLAN_SANDBOX_START)
        runtime->ops->start(runtime, name, on_sandbox_started, call);
    else if (type == PLAN_SANDBOX_STOP)
        runtime->ops->signal(runtime, name, 9, on_sandbox_done, call);
    else
        runtime->ops->remove(runtime, name, on_sandbox_done, call);
}

/* ---- image ---- */

static void set_waiting(struct container *c, const char *reason, const char *message)
{
    replace(&c->waiting_reason, reason);
    replace(&c->waiting_message, message);
}

static enum runtime_pull pull_policy(const struct container *c)
{
    const char *policy = json_string(c->spec, "imagePullPolicy");
    if (str_eq(policy, "Always"))
        return RUNTIME_PULL_ALWAYS;
    return str_eq(policy, "Never") ? RUNTIME_PULL_NEVER : RUNTIME_PULL_IF_NOT_PRESENT;
}

static void image_failed(struct pod *pod, struct container *c, const struct err *err)
{
    const char *image = json_string_or(c->spec, "image", "");
    c->failures++;
    c->plan.retry_at = retry_at(pod, c->failures);
    if (err_code(err) == ERR_INVALID) { /* another try says the same; the back-off ends with a new spec */
        set_waiting(c, "InvalidImageName", err_message(err));
        pod_event(pod, c, "Warning", "InspectFailed", "Failed to inspect image \"%s\": %s", image,
                  err_message(err));
        pod_event(pod, c, "Warning", "Failed", "Error: InvalidImageName");
        return;
    }
    if (pull_policy(c) == RUNTIME_PULL_NEVER) {
        auto_free char *message =
            mem_printf("Container image \"%s\" is not present with pull policy of Never", image);
        set_waiting(c, "ErrImageNeverPull", message);
        pod_event(pod, c, "Warning", "ErrImageNeverPull", "%s", message);
        return;
    }
    auto_free char *backing_off = mem_printf("Back-off pulling image \"%s\": %s", image, err_message(err));
    set_waiting(c, c->failures > 1 ? "ImagePullBackOff" : "ErrImagePull",
                c->failures > 1 ? backing_off : err_message(err));
    pod_event(pod, c, "Warning", "Failed", "Failed to pull image \"%s\": %s", image, err_message(err));
    pod_event(pod, c, "Warning", "Failed", "Error: ErrImagePull");
    pod_event(pod, c, "Normal", "BackOff", "Back-off pulling image \"%s\"", image);
}

/* .dockerconfigjson of the first imagePullSecret that has one; NULL: none. */
static char *pull_auth(const struct pod *pod)
{
    json_each (reference, json_at(pod->object, "spec.imagePullSecrets")) {
        auto_free char *key = mem_printf("secrets/%s", json_string_or(reference, "name", ""));
        const char *text =
            json_string(json_get(json_get(pod->references, key), "data"), "['.dockerconfigjson']");
        unsigned char *data = NULL;
        size_t len;
        if (text && str_unbase64(text, strlen(text), &data, &len) == 0) {
            char *auth = mem_strndup((char *)data, len);
            free(data);
            return auth;
        }
    }
    return NULL;
}

struct pulled {
    int64_t begun_ms, took_ms;
    char *image;
};

static bool has_name(const cJSON *listed, const char *image)
{
    json_each (name, json_get(listed, "names"))
        if (cJSON_IsString(name) &&
            (str_eq(name->valuestring, image) ||
             (str_starts(name->valuestring, image) && str_eq(name->valuestring + strlen(image), ":latest"))))
            return true;
    return false;
}

/* The size is only known to the list of images; the container does not wait for it. */
static void on_pulled_size(void *arg, cJSON *images, struct err *err UNUSED)
{
    struct pod_call *call = arg;
    struct pulled *pulled = call->data;
    size_t index = call->container;
    auto_json list = images;
    struct pod *pod = pod_call_end(call);
    int64_t size = 0;
    json_each (listed, list)
        if (has_name(listed, pulled->image))
            size = json_int(listed, "sizeBytes", 0);
    if (pod)
        pod_event(pod, &pod->containers[index], "Normal", "Pulled",
                  "Successfully pulled image \"%s\" in %lld ms. Image size: %lld bytes.", pulled->image,
                  (long long)pulled->took_ms, (long long)size);
    free(pulled->image);
    free(pulled);
}

static void say_pulled(struct pod *pod, struct container *c, int64_t took_ms)
{
    struct pulled *pulled = NEW(struct pulled);
    *pulled = (struct pulled){.took_ms = took_ms, .image = mem_strdup(json_string_or(c->spec, "image", ""))};
    struct pod_call *call = pod_call_new(pod, PLAN_IMAGE, c->index);
    call->data = pulled;
    pod->node->runtime->ops->images(pod->node->runtime, on_pulled_size, call);
}

static void on_image(void *arg, const char *image_id, struct err *err);

static void pull(struct pod *pod, struct container *c)
{
    auto_free char *auth = pull_auth(pod);
    struct pod_call *call = pod_call_new(pod, PLAN_IMAGE, c->index);
    struct pulled *pulled = NEW(struct pulled); /* this is the pull, not the look whether it is there */
    pulled->begun_ms = node_now(pod->node);
    call->data = pulled;
    pod_event(pod, c, "Normal", "Pulling", "Pulling image \"%s\"", json_string_or(c->spec, "image", ""));
    pod->node->runtime->ops->image(pod->node->runtime, json_string_or(c->spec, "image", ""), pull_policy(c),
                                   auth, on_image, call);
}

static void on_image(void *arg, const char *image_id, struct err *err)
{
    struct pod_call *call = arg;
    struct pulled *begun = call->data;
    bool pulled = begun != NULL;
    int64_t begun_ms = pulled ? begun->begun_ms : 0;
    size_t index = call->container;
    free(begun);
    struct pod *pod = pod_call_end(call);
    if (!pod)
        return;
    struct container *c = &pod->containers[index];
    if (err && !pulled && err_code(err) == ERR_NOT_FOUND && pull_policy(c) == RUNTIME_PULL_IF_NOT_PRESENT) {
        pull(pod, c);
        return;
    }
    c->plan.busy = false;
    const char *image = json_string_or(c->spec, "image", "");
    if (err_code(err) == ERR_CANCELLED || err_code(err) == ERR_UNAVAILABLE) {
        c->plan.retry_at = node_now(pod->node) + FIRST_RETRY_MS;
    } else if (err) {
        image_failed(pod, c, err);
    } else {
        c->plan.image_ready = true;
        c->failures = 0;
        replace(&c->image_id, image_id);
        set_waiting(c, NULL, NULL);
        if (pulled)
            node_pull_finished(pod->node);
        if (pulled)
            say_pulled(pod, c, node_now(pod->node) - begun_ms);
        else
            pod_event(pod, c, "Normal", "Pulled", "Container image \"%s\" already present on machine", image);
    }
    pod_look(pod);
}

static void image(struct pod *pod, struct container *c)
{
    c->plan.busy = true;
    if (pull_policy(c) == RUNTIME_PULL_ALWAYS) {
        pull(pod, c);
        return;
    }
    pod->node->runtime->ops->image(pod->node->runtime, json_string_or(c->spec, "image", ""),
                                   RUNTIME_PULL_NEVER, NULL, on_image,
                                   pod_call_new(pod, PLAN_IMAGE, c->index));
}

/* ---- container ---- */

static void create_failed(struct pod *pod, struct container *c, const char *reason, const struct err *err)
{
    c->plan.retry_at = retry_at(pod, ++c->failures);
    if (err_code(err) == ERR_CANCELLED || err_code(err) == ERR_UNAVAILABLE)
        return; /* says nothing about the container */
    set_waiting(c, reason, err_message(err));
    pod_event(pod, c, "Warning", "Failed", "Error: %s", err_message(err));
}

static void on_created(void *arg, struct err *err)
{
    struct pod_call *call = arg;
    size_t index = call->container;
    struct pod *pod = pod_call_end(call);
    if (!pod)
        return;
    struct container *c = &pod->containers[index];
    c->plan.busy = false;
    if (err) {
        bool forbidden = err_code(err) == ERR_FORBIDDEN; /* runAsNonRoot against the image's user */
        create_failed(pod, c, forbidden ? "CreateContainerConfigError" : "CreateContainerError", err);
        if (err_code(err) == ERR_NOT_FOUND)
            c->plan.image_ready = false;
    } else {
        c->plan.exists = true;
        c->plan.start_failed = false;
        c->seen_in = pod->node->list_number;
        c->plan.state = RUNTIME_CREATED;
        c->created_ns = node_wall(pod->node);
        c->started_ns = c->finished_ns = 0;
        free(steal(&c->error));
        free(steal(&c->message));
        c->failures = 0;
        set_waiting(c, NULL, NULL);
        pod_event(pod, c, "Normal", "Created", "Created container: %s", c->name);
    }
    pod_look(pod);
}

/* Files that have to be there before podman mounts them. */
struct prepare_job {
    struct node_job job;
    struct pod_call *call;
    struct runtime_spec *spec;
    char *termination;
    int result;
};

/* Folders that are missing get the rights of the volume's root, whatever the umask. */
static int make_sub_path(const char *root, const char *source, struct err **err)
{
    struct stat st;
    if (stat(root, &st) < 0)
        return err_errno(err, errno, "%s", root);
    for (const char *end = source + strlen(root); *end;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        auto_free char *path = mem_strndup(source, (size_t)(end - source));
        if (mkdir(path, 0700) < 0) {
            if (errno != EEXIST)
                return err_errno(err, errno, "make %s", path);
            continue;
        }
        if (chown(path, (uid_t)-1, st.st_gid) < 0 || chmod(path, st.st_mode & 07777) < 0)
            return err_errno(err, errno, "set the mode of %s", path);
    }
    return 0;
}

/* A link that a container planted must not lead out of the volume. */
static int prepare_sub_path(const char *source, size_t root_len, struct err **err)
{
    auto_free char *root = mem_strndup(source, root_len);
    if (!file_exists(source) && make_sub_path(root, source, err) < 0)
        return -1;
    auto_free char *real_root = realpath(root, NULL), *real = realpath(source, NULL);
    if (!real_root || !real)
        return err_errno(err, errno, "subPath %s", source + root_len + 2);
    size_t len = strlen(real_root);
    if (strncmp(real, real_root, len) != 0 || (real[len] != '/' && real[len] != 0))
        return err_set(err, ERR_INVALID, "subPath \"%s\" leads out of the volume", source + root_len + 2);
    return 0;
}

static void prepare_work(struct node_job *base)
{
    struct prepare_job *job = CONTAINER_OF(base, struct prepare_job, job);
    node_log_files_forget(job->spec->log_path);
    auto_free char *logs = mem_strdup(job->spec->log_path), *termination = mem_strdup(job->termination);
    *strrchr(logs, '/') = *strrchr(termination, '/') = 0;
    job->result = file_make_dirs(logs, 0755, &base->err);
    if (job->result == 0)
        job->result = file_make_dirs(termination, 0755, &base->err);
    if (job->result == 0)
        job->result = file_write_atomic(job->termination, "", 0, 0666, &base->err);
    for (size_t i = 0; job->result == 0 && i < job->spec->n_mounts; i++) {
        const char *source = job->spec->mounts[i].source;
        const char *part = source ? strstr(source, "//") : NULL; /* pod_spec marks a subPath so */
        if (part)
            job->result = prepare_sub_path(source, (size_t)(part - source), &base->err);
    }
}

static void prepare_done(struct node_job *base, bool closed)
{
    struct prepare_job *job = CONTAINER_OF(base, struct prepare_job, job);
    struct pod *pod = job->call->pod->node ? job->call->pod : NULL;
    if (pod && !closed && job->result == 0) {
        pod->node->runtime->ops->create(pod->node->runtime, job->spec, on_created, job->call);
    } else {
        size_t index = job->call->container;
        pod = pod_call_end(job->call);
        if (pod && !closed) {
            pod->containers[index].plan.busy = false;
            create_failed(pod, &pod->containers[index], "CreateContainerError", base->err);
            pod_look(pod);
        }
    }
    runtime_spec_free(job->spec);
    free(job->termination);
    free(job);
}

static void create(struct pod *pod, struct container *c)
{
    auto_err err = NULL;
    struct runtime_spec *spec = pod_spec_container(c, &err);
    if (!spec) {
        create_failed(pod, c, "CreateContainerConfigError", err);
        pod_look(pod);
        return;
    }
    c->plan.busy = true;
    c->plan.hook_needed = json_at(c->spec, "lifecycle.postStart") != NULL;
    c->plan.started = json_get(c->spec, "startupProbe") == NULL;
    auto_free char *directory = pod_directory(pod);
    struct prepare_job *job = NEW(struct prepare_job);
    job->job.work = prepare_work;
    job->job.done = prepare_done;
    job->call = pod_call_new(pod, PLAN_CREATE, c->index);
    job->spec = spec;
    job->termination = mem_printf("%s/termination/%s-%u", directory, c->name, c->attempt);
    node_lane_run(pod->node->file_lane, &job->job);
}

static void start_failed(struct pod *pod, struct container *c, const struct err *err)
{
    enum err_code code = err_code(err);
    if (code == ERR_CANCELLED || code == ERR_UNAVAILABLE || code == ERR_TIMEOUT) {
        /* It may run or have run already; starting again what has ended would run it twice. */
        auto_free char *name = pod_container_name(pod, c->name, c->attempt);
        c->plan.retry_at = node_now(pod->node) + FIRST_RETRY_MS;
        c->plan.busy = c->uncertain = true;
        pod_inspect(pod, name);
        return;
    }
    if (code == ERR_NOT_FOUND) {
        c->plan.exists = false;
        return;
    }
    c->plan.start_failed = true;
    c->plan.exit_code = 128;
    c->started_ns = c->finished_ns = node_wall(pod->node);
    replace(&c->error, err_message(err));
    set_waiting(c, "RunContainerError", err_message(err));
    pod_event(pod, c, "Warning", "Failed", "Error: %s", err_message(err));
    pod_container_ended(pod, c);
}

static void on_started(void *arg, struct runtime_container *container, struct err *err)
{
    struct pod_call *call = arg;
    size_t index = call->container;
    struct pod *pod = pod_call_end(call);
    if (pod) {
        struct container *c = &pod->containers[index];
        pod_container_idle(pod, c);
        if (err) {
            start_failed(pod, c, err);
        } else {
            pod_event(pod, c, "Normal", "Started", "Started container %s", c->name);
            pod_observe_container(pod, c, container);
        }
        pod_look(pod);
    }
    runtime_container_free(container);
}

static void on_post_start(void *arg, struct pod *pod, const char *failure)
{
    struct container *c = arg;
    if (!pod)
        return;
    pod_container_idle(pod, c);
    c->plan.hook_needed = false;
    if (failure) {
        pod_event(pod, c, "Warning", "FailedPostStartHook", "PostStartHook failed: %s", failure);
        pod_event(pod, c, "Normal", "Killing", "FailedPostStartHook");
        c->plan.failed = true;
    }
    pod_look(pod);
}

void pod_container_action(struct pod *pod, enum plan_action_type type, size_t index)
{
    struct container *c = &pod->containers[index];
    if (type == PLAN_IMAGE) {
        image(pod, c);
    } else if (type == PLAN_CREATE) {
        create(pod, c);
    } else if (type == PLAN_START) {
        auto_free char *name = pod_container_name(pod, c->name, c->attempt);
        c->plan.busy = true;
        pod->node->runtime->ops->start(pod->node->runtime, name, on_started,
                                       pod_call_new(pod, PLAN_START, index));
    } else {
        c->plan.busy = true;
        pod_handler_run(c, json_at(c->spec, "lifecycle.postStart"), 0, on_post_start, c);
    }
}
