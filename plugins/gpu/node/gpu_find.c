/*
 * gpu_find: which GPUs a machine has. NVML is loaded at run time: machines without a driver lack it. Source
 * of its functions: NVML API reference.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "gpu.h"

#define MAX_DEVICES 64
#define NAME_BYTES 96

/* ---- NVML ---- */

struct nvml {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*count)(unsigned *count);
    int (*handle)(unsigned index, void **device);
    int (*name)(void *device, char *text, unsigned len);
    int (*uuid)(void *device, char *text, unsigned len);
    int (*minor)(void *device, unsigned *minor);
    int (*memory)(void *device, unsigned long long figures[3]); /* total, free, used */
};

static void *open_library(const char *root)
{
    static const char *const places[] = {"", "/usr/lib/x86_64-linux-gnu/", "/usr/lib/aarch64-linux-gnu/",
                                         "/usr/lib64/"};
    for (size_t i = *root ? 1 : 0; i < COUNT_OF(places); i++) {
        auto_free char *path = mem_printf("%s%slibnvidia-ml.so.1", root, places[i]);
        void *library = *root && !file_exists(path) ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library)
            return library;
    }
    return NULL;
}

static bool nvml_open(struct nvml *nvml, const char *root)
{
    nvml->library = open_library(root);
    if (!nvml->library)
        return false;
    const struct {
        const char *name;
        void *to;
    } all[] = {{"nvmlInit_v2", &nvml->init},
               {"nvmlShutdown", &nvml->shutdown},
               {"nvmlDeviceGetCount_v2", &nvml->count},
               {"nvmlDeviceGetHandleByIndex_v2", &nvml->handle},
               {"nvmlDeviceGetName", &nvml->name},
               {"nvmlDeviceGetUUID", &nvml->uuid},
               {"nvmlDeviceGetMinorNumber", &nvml->minor},
               {"nvmlDeviceGetMemoryInfo", &nvml->memory}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        void *symbol = dlsym(nvml->library, all[i].name);
        if (!symbol)
            return false;
        memcpy(all[i].to, &symbol, sizeof symbol);
    }
    return nvml->init() == 0;
}

static struct gpu_device *add_device(struct gpu_list *list, int minor, const char *uuid, const char *model)
{
    list->items = mem_resize(list->items, list->count + 1, sizeof(*list->items));
    struct gpu_device *device = &list->items[list->count++];
    *device = (struct gpu_device){.minor = minor, .uuid = mem_strdup(uuid), .model = mem_strdup(model)};
    return device;
}

static void ask_nvml(const struct nvml *nvml, struct gpu_list *list)
{
    unsigned count = 0;
    if (nvml->count(&count) != 0)
        return;
    for (unsigned i = 0; i < count && i < MAX_DEVICES; i++) {
        void *handle = NULL;
        char name[NAME_BYTES] = "", uuid[NAME_BYTES] = "";
        unsigned minor = i;
        unsigned long long memory[3] = {0};
        if (nvml->handle(i, &handle) != 0)
            continue;
        nvml->name(handle, name, sizeof name);
        nvml->uuid(handle, uuid, sizeof uuid);
        nvml->minor(handle, &minor);
        struct gpu_device *device = add_device(list, (int)minor, uuid, name);
        if (nvml->memory(handle, memory) == 0)
            device->memory_bytes = (int64_t)memory[0];
    }
    list->found_by = "NVML";
}

static void find_by_nvml(const char *root, struct gpu_list *list)
{
    struct nvml nvml = {0};
    bool ready = nvml_open(&nvml, root);
    if (ready) {
        ask_nvml(&nvml, list);
        nvml.shutdown();
    }
    if (nvml.library)
        dlclose(nvml.library);
}

/* ---- files ---- */

/* The word behind "Name:" in a line of the driver's file; caller frees. */
static char *line_value(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    if (!at)
        return mem_strdup("");
    at += strlen(name);
    at += strspn(at, " \t");
    return mem_strndup(at, strcspn(at, "\n"));
}

static void find_by_driver(const char *root, struct gpu_list *list)
{
    auto_free char *folder = mem_printf("%s/proc/driver/nvidia/gpus", root);
    auto_free char **names = file_list(folder, NULL, NULL);
    for (char **name = names; name && *name && list->count < MAX_DEVICES; name++) {
        auto_free char *path = mem_printf("%s/%s/information", folder, *name), *text = NULL;
        if (file_read(path, 65536, &text, NULL, NULL) < 0)
            continue;
        auto_free char *model = line_value(text, "Model:"), *uuid = line_value(text, "GPU UUID:"),
                       *minor = line_value(text, "Device Minor:");
        if (*minor)
            add_device(list, atoi(minor), uuid, model);
        list->found_by = "driver files";
    }
}

static bool is_device(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISCHR(status.st_mode);
}

static void find_by_devices(const char *root, struct gpu_list *list)
{
    for (int minor = 0; minor < MAX_DEVICES; minor++) {
        auto_free char *path = mem_printf("%s/dev/nvidia%d", root, minor);
        if (!is_device(path))
            continue;
        add_device(list, minor, "", "");
        list->found_by = "device files";
    }
}

static int by_minor(const void *a, const void *b)
{
    return ((const struct gpu_device *)a)->minor - ((const struct gpu_device *)b)->minor;
}

void gpu_find(const char *root, struct gpu_list *list)
{
    *list = (struct gpu_list){.found_by = "nothing"};
    find_by_nvml(root, list);
    if (!list->count)
        find_by_driver(root, list);
    if (!list->count)
        find_by_devices(root, list);
    if (list->count)
        qsort(list->items, list->count, sizeof(*list->items), by_minor);
}

void gpu_list_fini(struct gpu_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].uuid);
        free(list->items[i].model);
    }
    free(list->items);
    *list = (struct gpu_list){0};
}
