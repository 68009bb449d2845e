/*
 * podman_info: usage of containers and what the service says about itself. Usage comes from the cgroups'
 * files and not from podman: no process is asked, and the figures are of this moment.
 */
#include "base/str.h"
#include "runtime/podman_internal.h"

struct json_op {
    struct podman *podman;
    runtime_on_json *done;
    void *arg;
};

static struct json_op *json_op_new(struct runtime *r, runtime_on_json *done, void *arg)
{
    struct json_op *op = NEW(struct json_op);
    *op = (struct json_op){CONTAINER_OF(r, struct podman, base), done, arg};
    return op;
}

static void add_usage(cJSON *list, const char *name, const char *cgroup)
{
    int64_t cpu_ns, memory;
    if (podman_cgroup_usage(cgroup, &cpu_ns, &memory) < 0)
        return;
    cJSON *one = json_push(list, cJSON_CreateObject());
    json_set_string(one, "name", name);
    json_set_int(one, "cpuNano", cpu_ns);
    json_set_int(one, "memoryBytes", memory);
}

static void on_stats(void *arg, const struct http_response *response UNUSED, cJSON *unused UNUSED,
                     struct err *err)
{
    struct json_op op = *(struct json_op *)arg;
    free(arg);
    if (err) {
        op.done(op.arg, NULL, err);
        return;
    }
    cJSON *all = cJSON_CreateArray();
    map_each (entry, &op.podman->records) {
        const struct podman_record *record = entry->value;
        if (record->pidfd >= 0 && record->cgroup)
            add_usage(all, record->name, record->cgroup);
    }
    auto_free char *root = podman_cgroup_root(&op.podman->options);
    add_usage(all, "", root);
    op.done(op.arg, all, NULL);
}

void podman_op_stats(struct runtime *r, runtime_on_json *done, void *arg)
{
    struct json_op *op = json_op_new(r, done, arg);
    podman_reply_later(op->podman, on_stats, op, NULL);
}

static void on_info(void *arg, const struct http_response *response, cJSON *json, struct err *err)
{
    struct json_op op = *(struct json_op *)arg;
    free(arg);
    auto_err error = err ? err_copy(err) : NULL;
    if (!err && response->status != 200)
        podman_reply_error(response, "ask podman about itself", &error);
    cJSON *info = NULL;
    if (!error) {
        info = cJSON_CreateObject();
        json_set_string(info, "name", "podman");
        json_set_string(info, "version", json_string_or(json, "version.Version", ""));
        json_set_string(info, "runtime", json_string_or(json, "host.ociRuntime.name", ""));
        json_set_string(info, "cgroupVersion", json_string_or(json, "host.cgroupVersion", ""));
        json_set_string(info, "cgroupManager", json_string_or(json, "host.cgroupManager", ""));
        json_set_string(info, "kernel", json_string_or(json, "host.kernel", ""));
        json_set_string(info, "architecture", json_string_or(json, "host.arch", ""));
        json_set_string(info, "storageDriver", json_string_or(json, "store.graphDriverName", ""));
        auto_str os = {0};
        str_addf(&os, "%s %s", json_string_or(json, "host.distribution.distribution", "linux"),
                 json_string_or(json, "host.distribution.version", ""));
        json_set_string(info, "osImage", str_c(&os));
    }
    op.done(op.arg, info, error);
}

void podman_op_info(struct runtime *r, runtime_on_json *done, void *arg)
{
    struct json_op *op = json_op_new(r, done, arg);
    struct podman_request request = {
        .method = "GET", .target = mem_strdup("/info"), .reply = on_info, .arg = op};
    podman_request(op->podman, &request);
}
