/*
 * node_volumes: from a pod's claim to a folder of this machine, and the end of folders that this node keeps.
 *
 * The claim comes with the pod on the stream; the PersistentVolume that is bound to it is asked for once and
 * kept with what the pod refers to (its source never changes), so that a restarted agent needs no server.
 * Volumes with annotation minik8s.io/node of this node come on the stream: when one is Released and its
 * policy is Delete the folder is removed and status.reason says Removed; the controller then deletes the
 * object. Invariant: only folders directly in options.persistent, or the one folder that a provisioned sshfs
 * volume has, are ever removed.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node_internal.h"

#define PROVISIONED_BY "metadata.annotations['pv.kubernetes.io/provisioned-by']"
#define LOCAL_PROVISIONER "minik8s.io/local-path"
#define SSHFS_PROVISIONER "minik8s.io/sshfs"
#define WAIT_MS 60000 /* for what will be told anyway */
#define REMOVE_RETRY_MS 30000

/* ---- a pod's claims */

char *pod_claim_name(const struct pod *pod, const cJSON *volume)
{
    const char *name = json_string(volume, "persistentVolumeClaim.claimName");
    if (name)
        return mem_strdup(name);
    return json_get(volume, "ephemeral") ? mem_printf("%s-%s", pod->name, json_string_or(volume, "name", ""))
                                         : NULL;
}

static const cJSON *claim_of(const struct pod *pod, const char *name)
{
    auto_free char *key = mem_printf("persistentvolumeclaims/%s", name);
    return json_get(pod->references, key);
}

static const cJSON *known_volume(const struct pod *pod, const cJSON *claim)
{
    auto_free char *key = mem_printf("persistentvolumes/%s", json_string_or(claim, "spec.volumeName", ""));
    return json_get(pod->references, key);
}

const cJSON *pod_volume_object(const struct pod *pod, const cJSON *volume)
{
    auto_free char *name = pod_claim_name(pod, volume);
    return name ? known_volume(pod, claim_of(pod, name)) : NULL;
}

char *node_volume_path(const struct node *node, const cJSON *persistent)
{
    const cJSON *spec = json_get(persistent, "spec");
    const char *path = json_string(spec, "hostPath.path"), *folder;
    if (!path)
        path = json_string(spec, "local.path");
    if (path)
        return mem_strdup(path);
    folder = json_string(spec, "csi.volumeAttributes.folder");
    return mem_printf("%s/mounts/%s/data%s%s", node->options.directory,
                      json_string_or(persistent, "metadata.name", ""), folder ? "/" : "",
                      folder ? folder : "");
}

bool node_volume_read_only(const cJSON *persistent)
{
    return json_bool(persistent, "spec.nfs.readOnly", false) ||
           json_bool(persistent, "spec.csi.readOnly", false);
}

static void on_volume(void *arg, cJSON *object, struct err *err)
{
    struct pod_call *call = arg;
    struct pod *pod = pod_call_end(call);
    if (!pod) {
        cJSON_Delete(object);
        return;
    }
    pod->volume_asked = false;
    if (err) {
        pod_volumes_failed(pod, err);
        cJSON_Delete(object);
    } else {
        auto_free char *key = mem_printf("persistentvolumes/%s", json_string_or(object, "metadata.name", ""));
        json_remove(json_get(object, "metadata"), "managedFields");
        json_set(pod->references, key, object);
        pod->volumes_retry_at = 0;
        node_disk_save(pod);
    }
    pod_look(pod);
}

static void ask_volume(struct pod *pod, const char *name)
{
    auto_free char *path = client_path("persistentvolumes", "v1", NULL, name, NULL);
    if (pod->volume_asked)
        return;
    pod->volume_asked = true;
    client_request(pod->node->client, "GET", path, NULL, NULL, on_volume,
                   pod_call_new(pod, PLAN_VOLUMES_MAKE, 0));
}

/* Two claims cannot have one volume: the API's word is checked before a foreign one's data is shown. */
static bool is_bound(const cJSON *persistent, const cJSON *claim)
{
    return str_eq(json_string(persistent, "spec.claimRef.uid"), json_string_or(claim, "metadata.uid", ""));
}

int node_volume_ready(struct pod *pod, const cJSON *volume, const cJSON **persistent, struct err **err)
{
    auto_free char *name = pod_claim_name(pod, volume);
    const cJSON *claim = claim_of(pod, name);
    if (!claim)
        return err_set(err, ERR_NOT_FOUND, "persistentvolumeclaim \"%s\" not found", name);
    if (str_empty(json_string(claim, "spec.volumeName")))
        return err_set(err, ERR_UNAVAILABLE, "persistentvolumeclaim \"%s\" is not bound", name);
    *persistent = known_volume(pod, claim);
    if (!*persistent) {
        pod->volumes_retry_at = node_now(pod->node) + WAIT_MS;
        ask_volume(pod, json_string(claim, "spec.volumeName"));
        return 0;
    }
    const char *own = json_string_or(*persistent, "metadata.name", "");
    if (!is_bound(*persistent, claim))
        return err_set(err, ERR_CONFLICT,
                       "persistentvolume \"%s\" is not bound to persistentvolumeclaim \"%s\"", own, name);
    const cJSON *spec = json_get(*persistent, "spec");
    if (json_get(spec, "hostPath") || json_get(spec, "local"))
        return 1;
    const struct node_mount *mount = node_mount_get(pod->node, own, spec);
    if (mount->state == MOUNT_READY)
        return 1;
    pod->volumes_retry_at = node_now(pod->node) + WAIT_MS;
    return mount->problem ? err_set(err, ERR_UNAVAILABLE, "%s", mount->problem) : 0;
}

/* ---- what the claim's user is told ---- */

static const cJSON *find_condition(const cJSON *conditions)
{
    json_each (condition, conditions)
        if (str_eq(json_string(condition, "type"), "Mountable"))
            return condition;
    return NULL;
}

static void on_told(void *arg UNUSED, cJSON *object, struct err *err)
{
    if (err && err_code(err) != ERR_CANCELLED)
        log_warn("node", "say on the claim whether it can be mounted: %s", err_message(err));
    cJSON_Delete(object);
}

static void tell_claim(struct pod *pod, const cJSON *claim, const struct err *err, const char *reason)
{
    const cJSON *old = json_at(claim, "status.conditions"), *known = find_condition(old);
    auto_free char *message = err ? mem_printf("node %s: %s", pod->node->options.name, err_message(err))
                                  : mem_strdup("the volume is mounted");
    if (!known && !err)
        return;
    if (known && str_eq(json_string(known, "status"), err ? "False" : "True") &&
        (!err || str_eq(json_string(known, "message"), message)))
        return;
    char now[TIME_TEXT];
    time_print(node_wall(pod->node), now);
    auto_json body = cJSON_CreateObject();
    cJSON *list = json_ensure_array(json_ensure_object(body, "status"), "conditions");
    json_each (condition, old)
        if (condition != known)
            json_push(list, json_copy(condition));
    cJSON *condition = json_push(list, cJSON_CreateObject());
    json_set_string(condition, "type", "Mountable");
    json_set_string(condition, "status", err ? "False" : "True");
    json_set_string(condition, "reason", reason);
    json_set_string(condition, "message", message);
    json_set_string(condition, "lastTransitionTime", now);
    auto_free char *path = client_path("persistentvolumeclaims", "v1", pod->namespace,
                                       json_string_or(claim, "metadata.name", ""), "status");
    client_request(pod->node->client, "PATCH", path, "application/merge-patch+json", body, on_told, NULL);
}

void node_volumes_condition(struct pod *pod, const char *persistent, const struct err *err,
                            const char *reason)
{
    json_each (volume, json_at(pod->object, "spec.volumes")) {
        auto_free char *name = pod_claim_name(pod, volume);
        const cJSON *claim = name ? claim_of(pod, name) : NULL;
        if (str_eq(json_string(claim, "spec.volumeName"), persistent))
            tell_claim(pod, claim, err, reason);
    }
}

/* ---- folders that this node keeps ---- */

struct removal {
    struct node *node;
    char *name;
    cJSON *object;
    bool busy, mounted;
    struct loop_timer *timer;
};

struct removal_job {
    struct node_job job;
    struct removal *removal;
    char *path;
    int result;
};

static void removal_free(void *value)
{
    struct removal *removal = value;
    loop_timer_free(removal->timer);
    cJSON_Delete(removal->object);
    free(removal->name);
    free(removal);
}

static void removal_end(struct removal *removal)
{
    struct node *node = removal->node;
    struct node_mount *mount = map_get(&node->mounts, removal->name);
    if (mount)
        mount->remove = false;
    map_remove(&node->removals, removal->name);
    node_mounts_unused(node);
}

static void report(struct removal *removal, const char *phase, const char *reason, const char *message)
{
    auto_json body = cJSON_CreateObject();
    cJSON *status = json_ensure_object(body, "status");
    json_set_string(json_ensure_object(body, "metadata"), "uid",
                    json_string(removal->object, "metadata.uid"));
    json_set_string(status, "phase", phase);
    json_set_string(status, "reason", reason);
    json_set_string(status, "message", message);
    auto_free char *path = client_path("persistentvolumes", "v1", NULL, removal->name, "status");
    client_request(removal->node->client, "PATCH", path, "application/merge-patch+json", body, on_told, NULL);
}

static void removal_failed(struct removal *removal, const struct err *err)
{
    const char *message = err_message(err);
    log_warn("node", "remove the folder of volume %s: %s", removal->name, message);
    auto_json involved = cJSON_CreateObject();
    json_set_string(involved, "apiVersion", "v1");
    json_set_string(involved, "kind", "PersistentVolume");
    json_set_string(involved, "name", removal->name);
    json_set_string(involved, "uid", json_string(removal->object, "metadata.uid"));
    recorder_event(removal->node->recorder, involved, "Warning", "VolumeFailedDelete", "%s", message);
    if (!str_eq(json_string(removal->object, "status.message"), message))
        report(removal, "Failed", "FailedDelete", message);
    loop_timer_start(removal->timer, REMOVE_RETRY_MS);
}

static void removal_work(struct node_job *base)
{
    struct removal_job *job = CONTAINER_OF(base, struct removal_job, job);
    job->result = file_remove_tree(job->path, &base->err);
}

static void removal_done(struct node_job *base, bool closed)
{
    struct removal_job *job = CONTAINER_OF(base, struct removal_job, job);
    struct removal *removal = job->removal;
    int result = job->result;
    const struct err *err = base->err; /* outlives the job */
    free(job->path);
    free(job);
    if (closed)
        return;
    removal->busy = false;
    if (result < 0) {
        removal_failed(removal, err);
        return;
    }
    log_info("node", "the folder of volume %s was removed", removal->name);
    report(removal, "Released", "Removed", "its folder was removed by the node");
    loop_timer_start(removal->timer, REMOVE_RETRY_MS); /* until the API shows it */
}

/* The folder, if it is one that may be removed; else err. Caller frees. */
static char *removable(const struct removal *removal, struct err **err)
{
    const struct node *node = removal->node;
    auto_free char *path = node_volume_path(node, removal->object);
    auto_free char *below = mem_printf("%s/", node->options.persistent ? node->options.persistent : "");
    bool mounted = json_get(json_get(removal->object, "spec"), "csi") != NULL;
    const char *rest = str_starts(path, below) ? path + strlen(below) : NULL;
    bool own = rest && *rest && *rest != '.' && !strchr(rest, '/') && node->options.persistent;
    if (mounted ? json_at(removal->object, "spec.csi.volumeAttributes.folder") != NULL : own)
        return steal(&path);
    err_set(err, ERR_FORBIDDEN, "%s is not a folder that node %s has made", path, node->options.name);
    return NULL;
}

static void removal_begin(struct removal *removal)
{
    auto_err err = NULL;
    auto_free char *path = removable(removal, &err);
    const cJSON *spec = json_get(removal->object, "spec");
    if (removal->busy)
        return;
    if (!path) {
        removal_failed(removal, err);
        return;
    }
    if (json_get(spec, "csi")) {
        struct node_mount *mount = node_mount_get(removal->node, removal->name, spec);
        mount->remove = true;
        if (mount->state != MOUNT_READY)
            return; /* node_volumes_mounted */
    }
    struct removal_job *job = NEW(struct removal_job);
    job->job.work = removal_work;
    job->job.done = removal_done;
    job->removal = removal;
    job->path = steal(&path);
    removal->busy = true;
    loop_timer_stop(removal->timer);
    node_lane_run(removal->node->mount_lane, &job->job);
}

void node_volumes_mounted(struct node_mount *mount, const struct err *err)
{
    struct removal *removal = map_get(&mount->node->removals, mount->name);
    if (!removal)
        mount->remove = false;
    else if (err)
        removal_failed(removal, err);
    else
        removal_begin(removal);
}

static bool is_to_go(const struct node *node, const cJSON *persistent)
{
    const char *maker = json_string(persistent, PROVISIONED_BY),
               *phase = json_string(persistent, "status.phase");
    return str_eq(json_string(persistent, "metadata.annotations['minik8s.io/node']"), node->options.name) &&
           (str_eq(maker, LOCAL_PROVISIONER) || str_eq(maker, SSHFS_PROVISIONER)) &&
           str_eq(json_string(persistent, "spec.persistentVolumeReclaimPolicy"), "Delete") &&
           (str_eq(phase, "Released") || str_eq(phase, "Failed")) &&
           !str_eq(json_string(persistent, "status.reason"), "Removed");
}

static void on_removal_timer(void *arg)
{
    struct removal *removal = arg;
    if (removal->busy)
        return;
    const struct cache_item *item = cache_get(removal->node->cache, "persistentvolumes", removal->name);
    auto_json object = item ? json_parse_trusted(item->bytes->data, item->bytes->len) : NULL;
    if (is_to_go(removal->node, object))
        removal_begin(removal);
    else
        removal_end(removal);
}

void node_volumes_changed(struct node *node, const char *name, const struct cache_item *item)
{
    auto_json object = item ? json_parse_trusted(item->bytes->data, item->bytes->len) : NULL;
    struct removal *removal = map_get(&node->removals, name);
    if (!is_to_go(node, object)) {
        if (removal && !removal->busy)
            removal_end(removal);
        return; /* one that is busy ends by its timer */
    }
    bool fresh = !removal;
    if (fresh) {
        removal = NEW(struct removal);
        removal->node = node;
        removal->name = mem_strdup(name);
        removal->timer = loop_timer_new(node->loop, on_removal_timer, removal);
        map_set(&node->removals, name, removal);
    }
    cJSON_Delete(removal->object);
    removal->object = steal(&object);
    if (fresh)
        removal_begin(removal);
}

void node_volumes_init(struct node *node)
{
    map_init(&node->removals, removal_free);
    node_mounts_init(node);
}

void node_volumes_fini(struct node *node)
{
    map_fini(&node->removals);
    node_mounts_fini(node);
}
