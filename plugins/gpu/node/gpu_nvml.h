/*
 * gpu_nvml: NVIDIA's management library, loaded at run time: machines without a driver lack it. Source of its
 * functions, numbers and structures: NVML API reference.
 */
#ifndef M8_GPU_NVML_H
#define M8_GPU_NVML_H

#include <stdbool.h>

#define NVML_ERROR_TIMEOUT 10
#define NVML_ERROR_GPU_IS_LOST 15
#define NVML_EVENT_XID 8ull /* critical error */

struct nvml_event {
    void *device;
    unsigned long long type, data; /* data: number of the error (XID) */
    unsigned gpu_instance, compute_instance;
};

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
    /* NULL where the library has no events. */
    int (*set_new)(void **set);
    int (*set_free)(void *set);
    int (*set_add)(void *device, unsigned long long types, void *set);
    int (*set_wait)(void *set, struct nvml_event *event, unsigned timeout_ms);
};

/* root: see gpu.h. False: there is none, or it does not start; nvml_close in any case. */
bool nvml_open(struct nvml *nvml, const char *root);
void nvml_close(struct nvml *nvml);

#endif
