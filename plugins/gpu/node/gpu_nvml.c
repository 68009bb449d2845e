#include "gpu_nvml.h"

#include <dlfcn.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

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

bool nvml_open(struct nvml *nvml, const char *root)
{
    *nvml = (struct nvml){.library = open_library(root)};
    if (!nvml->library)
        return false;
    const struct {
        const char *name;
        void *to;
        bool optional;
    } all[] = {{"nvmlInit_v2", &nvml->init, false},
               {"nvmlShutdown", &nvml->shutdown, false},
               {"nvmlDeviceGetCount_v2", &nvml->count, false},
               {"nvmlDeviceGetHandleByIndex_v2", &nvml->handle, false},
               {"nvmlDeviceGetName", &nvml->name, false},
               {"nvmlDeviceGetUUID", &nvml->uuid, false},
               {"nvmlDeviceGetMinorNumber", &nvml->minor, false},
               {"nvmlDeviceGetMemoryInfo", &nvml->memory, false},
               {"nvmlEventSetCreate", &nvml->set_new, true},
               {"nvmlEventSetFree", &nvml->set_free, true},
               {"nvmlDeviceRegisterEvents", &nvml->set_add, true},
               {"nvmlEventSetWait_v2", &nvml->set_wait, true}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        void *symbol = dlsym(nvml->library, all[i].name);
        if (!symbol && !all[i].optional) {
            nvml->shutdown = NULL;
            return false;
        }
        memcpy(all[i].to, &symbol, sizeof symbol);
    }
    if (nvml->init() == 0)
        return true;
    nvml->shutdown = NULL;
    return false;
}

void nvml_close(struct nvml *nvml)
{
    if (nvml->shutdown)
        nvml->shutdown();
    if (nvml->library)
        dlclose(nvml->library);
    *nvml = (struct nvml){0};
}
