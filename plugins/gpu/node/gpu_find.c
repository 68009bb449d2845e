/* gpu_find: which GPUs a machine has. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "gpu.h"
#include "gpu_nvml.h"

#define MAX_DEVICES 64
#define NAME_BYTES 96

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
        int result = nvml->memory(handle, memory);
        if (result == 0)
            device->memory_bytes = (int64_t)memory[0];
        device->sick = result == NVML_ERROR_GPU_IS_LOST;
    }
    list->found_by = "NVML";
}

static void find_by_nvml(const char *root, struct gpu_list *list)
{
    struct nvml nvml;
    if (nvml_open(&nvml, root))
        ask_nvml(&nvml, list);
    nvml_close(&nvml);
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
