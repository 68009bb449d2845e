/*
 * gpu: what the files of the bundle's part on a node share. `root` is "" on a machine, a folder with a
 * pretended driver in tests (MINIK8S_GPU_ROOT, or MINIK8S_GPU_ROOT/NODE if that is there).
 */
#ifndef M8_GPU_GPU_H
#define M8_GPU_GPU_H

#include "base/json.h"
#include "loop/loop.h"
#include "runtime/runtime.h"

#define GPU_RESOURCE "nvidia.com/gpu"

struct gpu_device {
    int minor; /* N of /dev/nvidiaN */
    char *uuid, *model;
    int64_t memory_bytes; /* 0: not known */
    bool sick;            /* given to nobody any more */
};
struct gpu_list {
    struct gpu_device *items;
    size_t count;
    const char *found_by; /* "NVML", "driver files", "device files" */
};

/* gpu_find.c: NVML if its library is there, else /proc/driver/nvidia, else /dev/nvidia0 …; ordered by minor.
 */
void gpu_find(const char *root, struct gpu_list *list);
void gpu_list_fini(struct gpu_list *list);

/* gpu_health.c: the driver's critical errors, while there are devices that tell them. report is called on the
 * loop; minor -1: the driver itself fails, nothing more is told. NULL: the driver tells none. */
struct gpu_health;
typedef void gpu_on_error(void *arg, int minor, unsigned long long xid);
struct gpu_health *gpu_health_new(const char *root, struct loop *loop, gpu_on_error *report, void *arg);
void gpu_health_mute(struct gpu_health *health);  /* on the loop: no report from now on; NULL is fine */
void gpu_health_join(struct gpu_health *health);  /* then: waits for its thread, some seconds; frees */
void gpu_health_leave(struct gpu_health *health); /* instead of both: frees without waiting */

/* gpu_watch.c: devices come and go under a running agent: the kernel tells it (inotify on the folder of
 * device nodes), then `settled` is called on the loop once no more come. */
struct gpu_watch;
struct gpu_watch *gpu_watch_new(const char *root, struct loop *loop, loop_task *settled, void *arg);
void gpu_watch_free(struct gpu_watch *watch);

/* gpu_cdi.c: what a container needs for a device, in the form of CDI (Container Device Interface). */
/* The vendor's specification for nvidia.com/gpu below root (etc/cdi, var/run/cdi: nvidia-ctk writes one),
 * else one made from what is found. ERR_INVALID with the file. Caller owns. */
cJSON *gpu_cdi_spec(const char *root, const struct gpu_list *list, struct err **err);
/* Adds the edits for these devices (by minor) to the container. ERR_NOT_FOUND: the specification has no such
 * device. */
int gpu_cdi_apply(const cJSON *cdi, const struct gpu_list *list, const int *minors, size_t count,
                  struct runtime_spec *spec, struct err **err);

/* gpu_share.c: which pod has which devices; kept in a file, so that a new agent goes on with it. */
struct gpu_share;
struct gpu_share *gpu_share_open(const char *file, const struct gpu_list *list, struct err **err);
void gpu_share_free(struct gpu_share *share);
/* The devices of a container: minors to free(), *count 0: it asks for none. ERR_UNAVAILABLE: too few are
 * free and well. */
int gpu_share_take(struct gpu_share *share, const cJSON *pod, const char *container, int **minors,
                   size_t *count, struct err **err);
bool gpu_share_knows(const struct gpu_share *share, const char *pod_uid);
bool gpu_share_has(const struct gpu_share *share, int minor); /* it belongs to a pod */
void gpu_share_release(struct gpu_share *share, const char *pod_uid);
/* Releases what belongs to pods that keep does not know. */
void gpu_share_keep(struct gpu_share *share, bool (*keep)(void *arg, const char *pod_uid), void *arg);

#endif
