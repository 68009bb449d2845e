/*
 * gpu: the bundle's part in the agent: counts the machine's GPUs, also those that come later, hands them to
 * containers, and takes them back when their pod has ended. Where a pod goes is the scheduler's: it sees
 * nvidia.com/gpu like any resource.
 */
#include "gpu.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/quantity.h"
#include "client/client.h"
#include "plugin/plugin.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

struct look;
struct gpu {
    struct node_extension_host *host;
    char *root, *sick_file;
    struct gpu_list list;
    struct gpu_share *share;
    cJSON *cdi;
    struct map pods; /* uids that still may use their devices */
    struct gpu_watch *watch;
    struct gpu_health *health;
    cJSON *sick;          /* uuid or minor → number of the error that the driver has told */
    struct look *looking; /* under way on the pool */
    bool again;           /* something came or went meanwhile */
    bool deaf; /* the driver failed to tell errors: not asked again before a device comes or goes */
};

static char *root_for(const char *node)
{
    const char *root = getenv("MINIK8S_GPU_ROOT");
    if (str_empty(root))
        return mem_strdup("");
    auto_free char *own = file_join(root, node);
    return file_exists(own) ? mem_strdup(own) : mem_strdup(root);
}

/* ---- devices that are not well: until they are gone, or the machine starts anew ---- */

static char *key_of(const struct gpu_device *device)
{
    return *device->uuid ? mem_strdup(device->uuid) : mem_printf("%d", device->minor);
}

static char *boot_id(void)
{
    char *text = NULL;
    return file_read(BOOT_ID, 128, &text, NULL, NULL) < 0 ? mem_strdup("") : text;
}

static void sick_load(struct gpu *gpu)
{
    auto_free char *text = NULL, *boot = boot_id();
    size_t len = 0;
    gpu->sick = cJSON_CreateObject();
    if (!file_exists(gpu->sick_file) || file_read(gpu->sick_file, 1 << 20, &text, &len, NULL) < 0)
        return;
    auto_json kept = json_parse(text, len, NULL);
    if (!str_eq(json_string(kept, "boot"), boot))
        return;
    cJSON_Delete(gpu->sick);
    gpu->sick = json_copy(json_get(kept, "devices"));
}

static void sick_save(struct gpu *gpu)
{
    auto_err error = NULL;
    auto_free char *boot = boot_id();
    auto_json kept = cJSON_CreateObject();
    json_set_string(kept, "boot", boot);
    json_set(kept, "devices", json_copy(gpu->sick));
    auto_free char *text = json_print(kept);
    if (file_write_durable(gpu->sick_file, text, strlen(text), 0600, &error) < 0)
        log_warn("gpu", "%s", err_message(error));
}

static void sick_mark(struct gpu *gpu)
{
    for (size_t i = 0; i < gpu->list.count; i++) {
        auto_free char *key = key_of(&gpu->list.items[i]);
        gpu->list.items[i].sick = gpu->list.items[i].sick || json_get(gpu->sick, key);
    }
}

static void tell(struct gpu *gpu, const char *type, const char *reason, const struct gpu_device *device,
                 const char *what)
{
    auto_free char *message =
        mem_printf("GPU %d%s%s %s", device->minor, *device->uuid ? " " : "", device->uuid, what);
    log_info("gpu", "%s", message);
    node_extension_event(gpu->host, type, reason, message);
}

static void look(struct gpu *gpu);

static void on_error(void *arg, int minor, unsigned long long xid)
{
    struct gpu *gpu = arg;
    if (minor < 0) {
        gpu->deaf = true;
        node_extension_event(gpu->host, "Warning", "GPUHealthUnknown", "the driver tells no errors any more");
        look(gpu);
        return;
    }
    for (size_t i = 0; i < gpu->list.count; i++) {
        struct gpu_device *device = &gpu->list.items[i];
        if (device->minor != minor || device->sick)
            continue;
        auto_free char *key = key_of(device);
        auto_free char *why = mem_printf("is taken out of use: the driver reports error %llu (XID)", xid);
        device->sick = true;
        json_set_int(gpu->sick, key, (int64_t)xid);
        sick_save(gpu);
        tell(gpu, "Warning", "GPUUnhealthy", device, why);
        node_extension_update(gpu->host);
    }
}

/* ---- looking again: on the pool, the driver takes its time ---- */

struct look {
    struct gpu *gpu; /* NULL: it has stopped */
    char *root;
    struct gpu_health *former;
    struct gpu_list list;
    cJSON *cdi;
    struct err *error;
};

static const struct gpu_device *find(const struct gpu_list *list, const struct gpu_device *device)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].minor == device->minor && str_eq(list->items[i].uuid, device->uuid))
            return &list->items[i];
    return NULL;
}

static void look_work(void *arg)
{
    struct look *look = arg;
    gpu_health_join(look->former); /* NVML counts devices anew only when nobody has it open */
    look->former = NULL;
    gpu_find(look->root, &look->list);
    look->cdi = gpu_cdi_spec(look->root, &look->list, &look->error);
}

static void tell_changes(struct gpu *gpu, const struct gpu_list *now)
{
    for (size_t i = 0; i < gpu->list.count; i++) {
        const struct gpu_device *device = &gpu->list.items[i];
        const struct gpu_device *still = find(now, device);
        bool used = gpu_share_has(gpu->share, device->minor);
        if (!still) {
            auto_free char *key = key_of(device);
            if (json_get(gpu->sick, key)) {
                json_remove(gpu->sick, key);
                sick_save(gpu);
            }
            tell(gpu, used ? "Warning" : "Normal", "GPURemoved", device,
                 used ? "is gone, and a pod has it" : "is gone");
        } else if (still->sick && !device->sick) {
            tell(gpu, "Warning", "GPUUnhealthy", device, "is taken out of use: the driver has lost it");
        }
    }
    for (size_t i = 0; i < now->count; i++)
        if (!find(&gpu->list, &now->items[i]))
            tell(gpu, "Normal", "GPUAdded", &now->items[i], "is there");
}

static void look_done(void *arg)
{
    struct look *look_arg = arg;
    struct gpu *gpu = look_arg->gpu;
    if (gpu) {
        gpu->looking = NULL;
        if (look_arg->error)
            node_extension_event(gpu->host, "Warning", "GPUSpecification", err_message(look_arg->error));
        tell_changes(gpu, &look_arg->list);
        gpu_list_fini(&gpu->list);
        gpu->list = look_arg->list;
        look_arg->list = (struct gpu_list){0};
        sick_mark(gpu);
        if (look_arg->cdi) {
            cJSON_Delete(gpu->cdi);
            gpu->cdi = steal(&look_arg->cdi);
        }
        if (!gpu->deaf)
            gpu->health = gpu_health_new(gpu->root, gpu->host->loop, on_error, gpu);
        node_extension_update(gpu->host);
        if (gpu->again)
            look(gpu);
    }
    gpu_list_fini(&look_arg->list);
    cJSON_Delete(look_arg->cdi);
    err_free(look_arg->error);
    free(look_arg->root);
    free(look_arg);
}

static void look(struct gpu *gpu)
{
    gpu->again = gpu->looking != NULL;
    if (gpu->again)
        return;
    struct look *look = gpu->looking = NEW(struct look);
    look->gpu = gpu;
    look->root = mem_strdup(gpu->root);
    look->former = steal(&gpu->health);
    gpu_health_mute(look->former);
    pool_run(gpu->host->pool, gpu->host->loop, look_work, look_done, look);
}

static void on_settled(void *arg)
{
    struct gpu *gpu = arg;
    gpu->deaf = false;
    look(gpu);
}

/* ---- */

static void stop(void *self)
{
    struct gpu *gpu = self;
    if (gpu->looking)
        gpu->looking->gpu = NULL;
    gpu_watch_free(gpu->watch);
    gpu_health_leave(gpu->health);
    gpu_share_free(gpu->share);
    gpu_list_fini(&gpu->list);
    cJSON_Delete(gpu->cdi);
    cJSON_Delete(gpu->sick);
    map_fini(&gpu->pods);
    free(gpu->root);
    free(gpu->sick_file);
    free(gpu);
}

static void *start(struct node_extension_host *host, struct err **err)
{
    struct gpu *gpu = NEW(struct gpu);
    auto_free char *file = file_join(host->directory, "pods.json");
    gpu->host = host;
    gpu->root = root_for(host->node);
    gpu->sick_file = file_join(host->directory, "sick.json");
    gpu->watch = gpu_watch_new(gpu->root, host->loop, on_settled, gpu); /* before the first look */
    gpu_find(gpu->root, &gpu->list);
    for (size_t i = 0; i < gpu->list.count; i++)
        log_info("gpu", "%d: %s %s (%s)", gpu->list.items[i].minor, gpu->list.items[i].model,
                 gpu->list.items[i].uuid, gpu->list.found_by);
    sick_load(gpu);
    sick_mark(gpu);
    gpu->share = gpu_share_open(file, &gpu->list, err);
    gpu->cdi = gpu->share ? gpu_cdi_spec(gpu->root, &gpu->list, err) : NULL;
    if (!gpu->cdi) {
        stop(gpu);
        return NULL;
    }
    gpu->health = gpu_health_new(gpu->root, host->loop, on_error, gpu);
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
    if (previous && (!item || !str_eq(item->uid, previous->uid))) {
        map_remove(&gpu->pods, previous->uid);
        gpu_share_release(gpu->share, previous->uid);
    }
    if (!item)
        return;
    if (gpu_share_knows(gpu->share, item->uid) && has_ended(item)) {
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
    const struct gpu_device *first = gpu->list.count ? &gpu->list.items[0] : NULL;
    auto_free char *count = mem_printf("%zu", gpu->list.count),
                   *product = label_text(first ? first->model : "");
    auto_free char *memory = first ? mem_printf("%lld", (long long)(first->memory_bytes >> 20)) : NULL;
    const struct {
        const char *name, *value;
    } all[] = {{"nvidia.com/gpu.count", first ? count : NULL},
               {"nvidia.com/gpu.product", *product ? product : NULL},
               {"nvidia.com/gpu.memory", first && first->memory_bytes ? memory : NULL}};
    if (first)
        json_set_string(amounts, GPU_RESOURCE, count);
    for (size_t i = 0; labels && i < COUNT_OF(all); i++)
        json_set(labels, all[i].name, all[i].value ? cJSON_CreateString(all[i].value) : cJSON_CreateNull());
}

static void withhold(void *self, cJSON *allocatable)
{
    const struct gpu *gpu = self;
    int64_t left = 0;
    const char *amount = cJSON_GetStringValue(json_get(allocatable, GPU_RESOURCE));
    if (!amount || quantity_value(amount, &left, NULL) < 0)
        return;
    for (size_t i = 0; i < gpu->list.count; i++)
        left -= gpu->list.items[i].sick && left > 0;
    auto_free char *text = mem_printf("%lld", (long long)left);
    json_set_string(allocatable, GPU_RESOURCE, text);
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
                                                .withhold = withhold,
                                                .container = container};

extern const struct plugin_library minik8s_plugin;
__attribute__((visibility("default")))
const struct plugin_library minik8s_plugin = {.abi = PLUGIN_LIBRARY_ABI,
                                              .struct_size = sizeof(struct node_extension),
                                              .name = "gpu",
                                              .node = &extension};
