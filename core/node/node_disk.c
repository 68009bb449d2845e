/*
 * node_disk: what survives the agent and the machine (contract 15): one file per pod, and one of the node.
 * Written durably, only when the content differs, on a lane of its own, the latest content wins. Mode 0600:
 * the files hold Secrets. The pod's status and revision are not compared: they change with every report, and
 * losing them costs nothing.
 */
#include <arpa/inet.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "node/node_internal.h"

/* A pod may refer to as many ConfigMaps and Secrets of 1 MiB as its volumes name, and JSON writes six bytes
 * for some: what was written must be read. */
#define FILE_MAX_BYTES ((size_t)2 << 30)

struct disk_job {
    struct node_job job;
    struct pod_call *call; /* NULL: the state of the node */
    char *path, *text;     /* text NULL: remove */
    unsigned long long hash;
    int result;
};

static void disk_work(struct node_job *base)
{
    struct disk_job *job = CONTAINER_OF(base, struct disk_job, job);
    if (job->text)
        job->result = file_write_durable(job->path, job->text, strlen(job->text), 0600, &base->err);
    else
        job->result = file_remove_tree(job->path, &base->err);
}

static void disk_done(struct node_job *base, bool closed)
{
    struct disk_job *job = CONTAINER_OF(base, struct disk_job, job);
    struct pod *pod = job->call ? pod_call_end(job->call) : NULL;
    if (!closed && job->result < 0)
        log_error("node", "%s: %s", job->path, err_message(base->err));
    if (pod && !closed) {
        pod->disk_busy = false;
        if (job->result == 0)
            pod->disk_hash = job->hash;
        if (pod->disk_wanted)
            node_disk_save(pod);
    }
    free(job->path);
    free(job->text);
    free(job);
}

static struct disk_job *disk_job_new(char *path, char *text)
{
    struct disk_job *job = NEW(struct disk_job);
    job->job.work = disk_work;
    job->job.done = disk_done;
    job->path = path;
    job->text = text;
    return job;
}

/* ---- writing ---- */

static cJSON *ended_to_json(const struct pod_ended *ended)
{
    cJSON *json = cJSON_CreateObject();
    json_set_int(json, "exitCode", ended->exit_code);
    json_set_bool(json, "oom", ended->oom);
    json_set_int(json, "started", ended->started_ns);
    json_set_int(json, "finished", ended->finished_ns);
    json_set_string(json, "id", ended->id);
    json_set_string(json, "reason", ended->reason);
    json_set_string(json, "message", ended->message);
    return json;
}

static cJSON *pod_to_json(const struct pod *pod)
{
    char text[INET_ADDRSTRLEN];
    cJSON *json = cJSON_CreateObject();
    cJSON *object = json_set(json, "pod", json_copy(pod->object));
    json_remove(object, "status");
    json_remove(json_get(object, "metadata"), "resourceVersion");
    json_remove(json_get(object, "metadata"), "managedFields");
    json_set(json, "references", json_copy(pod->references));
    if (pod->address.s_addr)
        json_set_string(json, "address", inet_ntop(AF_INET, &pod->address, text, sizeof(text)));
    if (pod->address_left)
        json_set_bool(json, "addressLeft", true);
    json_set_int(json, "sandboxAttempt", pod->sandbox_attempt);
    json_set_int(json, "start", pod->start_ns);
    json_set_string(json, "phase", pod->phase);
    json_set_string(json, "endReason", pod->end_reason);
    json_set_string(json, "endMessage", pod->end_message);
    json_set_bool(json, "gone", pod->gone);
    cJSON *containers = json_ensure_object(json, "containers");
    for (size_t i = 0; i < pod->n_containers; i++) {
        const struct container *c = &pod->containers[i];
        cJSON *one = json_ensure_object(containers, c->name);
        json_set_int(one, "attempt", c->attempt);
        if (c->ready)
            json_set_string(one, "ready", c->id);
        if (c->last.valid)
            json_set(one, "last", ended_to_json(&c->last));
    }
    return json;
}

void node_disk_save(struct pod *pod)
{
    if (!pod->object || !pod->node->options.directory)
        return;
    auto_json json = pod_to_json(pod);
    auto_free char *compared = json_print(json);
    unsigned long long hash = str_hash(compared, strlen(compared));
    if (hash == pod->disk_hash)
        return;
    if (pod->disk_busy) {
        pod->disk_wanted = true;
        return;
    }
    pod->disk_wanted = false;
    json_set_int(json, "revision", (int64_t)pod->revision);
    struct disk_job *job =
        disk_job_new(mem_printf("%s/pods/%s.json", pod->node->options.directory, pod->uid), json_print(json));
    job->hash = hash;
    job->call = pod_call_new(pod, PLAN_FORGET, 0);
    pod->disk_busy = true;
    node_lane_run(pod->node->disk_lane, &job->job);
}

void node_disk_remove(struct pod *pod)
{
    struct disk_job *job =
        disk_job_new(mem_printf("%s/pods/%s.json", pod->node->options.directory, pod->uid), NULL);
    node_lane_run(pod->node->disk_lane, &job->job);
}

static char *state_path(const struct node *node)
{
    return mem_printf("%s/state.json", node->options.directory);
}

void node_disk_save_state(struct node *node)
{
    char text[INET_ADDRSTRLEN];
    auto_json json = cJSON_CreateObject();
    json_set_string(json, "cluster", node->cluster_id);
    json_set_int(json, "revision", (int64_t)node->known_revision);
    if (node->pod_range.prefix) {
        inet_ntop(AF_INET, &node->pod_range.address, text, sizeof(text));
        auto_free char *range = mem_printf("%s/%u", text, node->pod_range.prefix);
        json_set_string(json, "podRange", range);
    }
    struct disk_job *job = disk_job_new(state_path(node), json_print(json));
    node_lane_run(node->disk_lane, &job->job);
}

/* ---- reading ---- */

static void load_ended(struct pod_ended *ended, const cJSON *json)
{
    if (!json)
        return;
    *ended = (struct pod_ended){.valid = true,
                                .exit_code = (int)json_int(json, "exitCode", 0),
                                .oom = json_bool(json, "oom", false),
                                .started_ns = json_int(json, "started", 0),
                                .finished_ns = json_int(json, "finished", 0),
                                .id = mem_strdup(json_string(json, "id")),
                                .reason = mem_strdup(json_string_or(json, "reason", "Error")),
                                .message = mem_strdup(json_string(json, "message"))};
}

static void load_container(struct container *c, const cJSON *json)
{
    c->attempt = c->restarts = c->crashes = (unsigned)json_int(json, "attempt", 0);
    c->id = mem_strdup(json_string(json, "ready")); /* the runtime says whether it still is this one */
    c->ready_id = mem_strdup(json_string(json, "ready"));
    load_ended(&c->last, json_get(json, "last"));
}

static int load_pod(struct node *node, const char *path, struct err **err)
{
    auto_free char *text = NULL;
    size_t len;
    if (file_read(path, FILE_MAX_BYTES, &text, &len, err) < 0)
        return -1;
    auto_json json = json_parse_trusted(text, len);
    cJSON *object = cJSON_DetachItemFromObjectCaseSensitive(json, "pod");
    const char *uid = json_string(object, "metadata.uid");
    if (!uid) {
        cJSON_Delete(object);
        return err_set(err, ERR_INVALID, "%s is no pod file", path);
    }
    struct pod *pod =
        pod_new(node, uid, json_string(object, "metadata.namespace"), json_string(object, "metadata.name"));
    uint64_t revision = (uint64_t)json_int(json, "revision", 0);
    if (revision > node->known_revision)
        node->known_revision = revision;
    if (json_get(json, "references")) {
        cJSON_Delete(pod->references);
        pod->references = cJSON_DetachItemFromObjectCaseSensitive(json, "references");
    }
    const char *address = json_string(json, "address");
    if (address)
        inet_pton(AF_INET, address, &pod->address);
    pod->address_left = json_bool(json, "addressLeft", false);
    pod->sandbox_attempt = (unsigned)json_int(json, "sandboxAttempt", 0);
    pod->start_ns = json_int(json, "start", 0);
    pod->phase = mem_strdup(json_string(json, "phase"));
    pod->end_reason = mem_strdup(json_string(json, "endReason"));
    pod->end_message = mem_strdup(json_string(json, "endMessage"));
    pod->gone = json_bool(json, "gone", false);
    pod->disk_busy = true; /* nothing to write while it is being read */
    pod_set_object(pod, object, revision);
    pod->disk_busy = pod->disk_wanted = false;
    for (size_t i = 0; i < pod->n_containers; i++)
        load_container(&pod->containers[i], json_get(json_get(json, "containers"), pod->containers[i].name));
    return 0;
}

static void load_state(struct node *node)
{
    auto_free char *path = state_path(node), *text = NULL;
    size_t len;
    if (file_read(path, FILE_MAX_BYTES, &text, &len, NULL) < 0)
        return;
    auto_json json = json_parse_trusted(text, len);
    node->cluster_id = mem_strdup(json_string(json, "cluster"));
    node->known_revision = (uint64_t)json_int(json, "revision", 0);
}

char *node_disk_state_range(const struct node *node)
{
    auto_free char *path = state_path(node), *text = NULL;
    size_t len;
    if (file_read(path, FILE_MAX_BYTES, &text, &len, NULL) < 0)
        return NULL;
    auto_json json = json_parse_trusted(text, len);
    return mem_strdup(json_string(json, "podRange"));
}

int node_disk_load(struct node *node, struct err **err)
{
    auto_free char *directory = mem_printf("%s/pods", node->options.directory);
    if (file_make_dirs(directory, 0700, err) < 0)
        return -1;
    load_state(node);
    size_t count;
    auto_free char **names = file_list(directory, &count, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (!str_ends(names[i], ".json") || names[i][0] == '.')
            continue;
        auto_free char *path = mem_printf("%s/%s", directory, names[i]);
        auto_err error = NULL;
        if (load_pod(node, path, &error) <
            0) /* the server still knows it; a half of a pod is worth nothing */
            log_error("node", "pod file left out: %s", err_message(error));
    }
    return 0;
}
