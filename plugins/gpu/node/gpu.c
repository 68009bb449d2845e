/*
 * gpu: the bundle's part in the agent: counts the machine's GPUs, hands them to containers, and takes them
 * back when their pod has ended. Where a pod goes is the scheduler's: it sees nvidia.com/gpu like any
 * resource.
 */
#include "gpu.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "client/client.h"
#include "plugin/plugin.h"

struct gpu {
    struct node_extension_host *host;
    struct gpu_list list;
    struct gpu_share *share;
    cJSON *cdi;
    struct map pods; /* uids that still may use their devices */
};

static char *root_for(const char *node)
{
    const char *root = getenv("MINIK8S_GPU_ROOT");
    if (str_empty(root))
        return mem_strdup("");
    auto_free char *own = file_join(root, node);
    return file_exists(own) ? mem_strdup(own) : mem_strdup(root);
}

static void stop(void *self)
{
    struct gpu *gpu = self;
    gpu_share_free(gpu->share);
    gpu_list_fini(&gpu->list);
    cJSON_Delete(gpu->cdi);
    map_fini(&gpu->pods);
    free(gpu);
}

static void *start(struct node_extension_host *host, struct err **err)
{
    struct gpu *gpu = NEW(struct gpu);
    auto_free char *root = root_for(host->node), *file = file_join(host->directory, "pods.json");
    gpu->host = host;
    gpu_find(root, &gpu->list);
    for (size_t i = 0; i < gpu->list.count; i++)
        log_info("gpu", "%d: %s %s (%s)", gpu->list.items[i].minor, gpu->list.items[i].model,
                 gpu->list.items[i].uuid, gpu->list.found_by);
    gpu->share = gpu_share_open(file, &gpu->list, err);
    gpu->cdi = gpu->share ? gpu_cdi_spec(root, &gpu->list, err) : NULL;
    if (!gpu->cdi) {
        stop(gpu);
        return NULL;
    }
    return gpu;
}

static bool has_ended(const struct cache_item *item)
{
    auto_json pod = json_parse_trusted(item->bytes->data, item->bytes->len);
    const char *phase = json_string(pod, "status.phase");
    return str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
}

static void changed(void *self, const char *resource UNUSED, const struct cache_item *previous,
                    const struct cache_item *item)
{
    struct gpu *gpu = self;
    if (!gpu->list.count)
        return;
    if (previous && (!item || !str_eq(item->uid, previous->uid))) {
        map_remove(&gpu->pods, previous->uid);
        gpu_share_release(gpu->share, previous->uid);
    }
    if (!item)
        return;
    if (has_ended(item)) {
        map_remove(&gpu->pods, item->uid);
        gpu_share_release(gpu->share, item->uid);
    } else {
        map_set(&gpu->pods, item->uid, gpu);
    }
}

static bool is_known(void *arg, const char *uid)
{
    const struct gpu *gpu = arg;
    return map_has(&gpu->pods, uid);
}

static void complete(void *self)
{
    struct gpu *gpu = self;
    gpu_share_keep(gpu->share, is_known, gpu);
}

/* Letters, digits, - _ . as labels may have: "NVIDIA H100 PCIe" → "NVIDIA-H100-PCIe". */
static char *label_text(const char *text)
{
    char *label = mem_strndup(text, 63);
    for (char *p = label; *p; p++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.", *p))
            *p = '-';
    return label;
}

static void capacity(void *self, cJSON *amounts, cJSON *labels)
{
    const struct gpu *gpu = self;
    if (!gpu->list.count)
        return;
    const struct gpu_device *first = &gpu->list.items[0];
    auto_free char *count = mem_printf("%zu", gpu->list.count), *product = label_text(first->model);
    auto_free char *memory = mem_printf("%lld", (long long)(first->memory_bytes >> 20));
    json_set_string(amounts, GPU_RESOURCE, count);
    if (!labels)
        return;
    json_set_string(labels, "nvidia.com/gpu.count", count);
    if (*product)
        json_set_string(labels, "nvidia.com/gpu.product", product);
    if (first->memory_bytes)
        json_set_string(labels, "nvidia.com/gpu.memory", memory);
}

static int container(void *self, const cJSON *pod, const char *name, struct runtime_spec *spec,
                     struct err **err)
{
    struct gpu *gpu = self;
    auto_free int *minors = NULL;
    size_t count = 0;
    if (gpu_share_take(gpu->share, pod, name, &minors, &count, err) < 0)
        return -1;
    return count ? gpu_cdi_apply(gpu->cdi, &gpu->list, minors, count, spec, err) : 0;
}

/* Nothing was started; the devices went with the containers. */
static int leave(const char *directory UNUSED, struct err **err UNUSED)
{
    return 0;
}

static const char *const resources[] = {"pods", NULL};
static const struct node_extension extension = {.name = "gpu",
                                                .resources = resources,
                                                .start = start,
                                                .changed = changed,
                                                .complete = complete,
                                                .stop = stop,
                                                .shutdown = leave,
                                                .capacity = capacity,
                                                .container = container};

extern const struct plugin_library minik8s_plugin;
__attribute__((visibility("default")))
const struct plugin_library minik8s_plugin = {.abi = PLUGIN_LIBRARY_ABI,
                                              .struct_size = sizeof(struct node_extension),
                                              .name = "gpu",
                                              .node = &extension};
