/*
 * gpu_share: which pod has which GPUs. A pod gets as many as its containers need at the same time; each
 * container has its own, an init container those of the first. Invariant: no device belongs to two pods.
 */
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/quantity.h"
#include "gpu.h"

#define MAX_FILE (1u << 20)

struct gpu_share {
    char *file;
    const struct gpu_list *list;
    cJSON *pods; /* uid → array of minors */
};

static int save(const struct gpu_share *share, struct err **err)
{
    auto_free char *text = json_print(share->pods);
    return file_write_durable(share->file, text, strlen(text), 0600, err);
}

struct gpu_share *gpu_share_open(const char *file, const struct gpu_list *list, struct err **err)
{
    struct gpu_share *share = NEW(struct gpu_share);
    auto_free char *text = NULL;
    size_t len = 0;
    share->file = mem_strdup(file);
    share->list = list;
    if (file_exists(file) && file_read(file, MAX_FILE, &text, &len, err) < 0) {
        gpu_share_free(share);
        return NULL;
    }
    share->pods = text ? json_parse_trusted(text, len) : NULL;
    if (!cJSON_IsObject(share->pods)) {
        cJSON_Delete(share->pods);
        share->pods = cJSON_CreateObject();
    }
    return share;
}

void gpu_share_free(struct gpu_share *share)
{
    if (!share)
        return;
    cJSON_Delete(share->pods);
    free(share->file);
    free(share);
}

/* ---- what is asked for ---- */

static size_t wanted_by(const cJSON *container)
{
    int64_t count = 0;
    const char *text = cJSON_GetStringValue(json_get(json_at(container, "resources.limits"), GPU_RESOURCE));
    return text && quantity_value(text, &count, NULL) == 0 && count > 0 ? (size_t)count : 0;
}

static size_t wanted_by_pod(const cJSON *pod)
{
    size_t together = 0, before = 0;
    json_each (container, json_at(pod, "spec.containers"))
        together += wanted_by(container);
    json_each (container, json_at(pod, "spec.initContainers"))
        before = wanted_by(container) > before ? wanted_by(container) : before;
    return before > together ? before : together;
}

/* Where the container's devices begin among the pod's; false: the pod has no such container. */
static bool place_of(const cJSON *pod, const char *name, size_t *from, size_t *count)
{
    *from = 0;
    json_each (container, json_at(pod, "spec.containers")) {
        *count = wanted_by(container);
        if (str_eq(json_string(container, "name"), name))
            return true;
        *from += *count;
    }
    *from = 0;
    json_each (container, json_at(pod, "spec.initContainers")) {
        *count = wanted_by(container);
        if (str_eq(json_string(container, "name"), name))
            return true;
    }
    return false;
}

/* ---- giving ---- */

bool gpu_share_has(const struct gpu_share *share, int minor)
{
    json_each (pod, share->pods)
        json_each (number, pod)
            if ((int)json_int(number, "", -1) == minor)
                return true;
    return false;
}

static const cJSON *give(struct gpu_share *share, const char *uid, size_t count, struct err **err)
{
    cJSON *minors = cJSON_CreateArray();
    size_t have = 0;
    for (size_t i = 0; i < share->list->count && have < count; i++) {
        int minor = share->list->items[i].minor;
        if (share->list->items[i].sick || gpu_share_has(share, minor))
            continue;
        json_push(minors, cJSON_CreateNumber(minor));
        have++;
    }
    if (have < count) {
        cJSON_Delete(minors);
        err_set(err, ERR_UNAVAILABLE, "%zu of %zu GPUs are free", have, count);
        return NULL;
    }
    json_set(share->pods, uid, minors);
    if (save(share, err) < 0) {
        json_remove(share->pods, uid);
        return NULL;
    }
    return minors;
}

int gpu_share_take(struct gpu_share *share, const cJSON *pod, const char *container, int **minors,
                   size_t *count, struct err **err)
{
    const char *uid = json_string_or(pod, "metadata.uid", "");
    size_t from = 0, all = wanted_by_pod(pod);
    *minors = NULL;
    if (!place_of(pod, container, &from, count) || !*count) {
        *count = 0;
        return 0;
    }
    const cJSON *own = json_get(share->pods, uid);
    if (!own && !(own = give(share, uid, all, err)))
        return -1;
    *minors = mem_array(*count, sizeof(int));
    for (size_t i = 0; i < *count; i++)
        (*minors)[i] = (int)json_int(cJSON_GetArrayItem(own, (int)(from + i)), "", -1);
    return 0;
}

bool gpu_share_knows(const struct gpu_share *share, const char *pod_uid)
{
    return json_get(share->pods, pod_uid) != NULL;
}

void gpu_share_release(struct gpu_share *share, const char *pod_uid)
{
    auto_err error = NULL;
    if (!json_get(share->pods, pod_uid))
        return;
    json_remove(share->pods, pod_uid);
    if (save(share, &error) < 0)
        log_warn("gpu", "%s", err_message(error));
}

void gpu_share_keep(struct gpu_share *share, bool (*keep)(void *arg, const char *pod_uid), void *arg)
{
    auto_json before = json_copy(share->pods);
    json_each (pod, before)
        if (!keep(arg, pod->string))
            gpu_share_release(share, pod->string);
}
