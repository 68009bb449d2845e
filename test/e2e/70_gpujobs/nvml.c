/*
 * A pretended libnvidia-ml.so.1 with a GPU for each device node below MINIK8S_GPU_ROOT: what plugins/gpu asks
 * of NVML. A line "INDEX XID" into the pipe MINIK8S_GPU_ROOT/errors is an error of that GPU.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int nvmlInit_v2(void)
{
    return 0;
}
int nvmlShutdown(void)
{
    return 0;
}
static unsigned nodes(void) /* GPUs are as many as device nodes in a row */
{
    unsigned n = 0;
    char path[4096];
    do
        snprintf(path, sizeof path, "%s/dev/nvidia%u", getenv("MINIK8S_GPU_ROOT"), n);
    while (access(path, F_OK) == 0 && ++n);
    return n;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = nodes();
    return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    *device = (void *)(unsigned long)(index + 1);
    return 0;
}
int nvmlDeviceGetName(void *device, char *text, unsigned len)
{
    (void)device;
    return snprintf(text, len, "NVIDIA H100 PCIe") < 0;
}
int nvmlDeviceGetUUID(void *device, char *text, unsigned len)
{
    return snprintf(text, len, "GPU-0000000%lu", (unsigned long)device - 1) < 0;
}
int nvmlDeviceGetMinorNumber(void *device, unsigned *minor)
{
    *minor = (unsigned)((unsigned long)device - 1);
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long figures[3])
{
    (void)device;
    figures[0] = 80ull << 30;
    return 0;
}

struct event {
    void *device;
    unsigned long long type, data;
    unsigned gpu, compute;
};
int nvmlEventSetCreate(void **set)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/errors", getenv("MINIK8S_GPU_ROOT"));
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    *set = (void *)(unsigned long)fd;
    return fd < 0 ? 3 : 0;
}
int nvmlEventSetFree(void *set)
{
    return close((int)(unsigned long)set);
}
int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *set)
{
    (void)device;
    (void)set;
    return types == 8 ? 0 : 2;
}
int nvmlEventSetWait_v2(void *set, struct event *event, unsigned timeout)
{
    struct pollfd fd = {.fd = (int)(unsigned long)set, .events = POLLIN};
    char line[64] = "";
    unsigned index = 0;
    if (poll(&fd, 1, (int)timeout) <= 0)
        return 10;
    for (unsigned n = 0; n + 1 < sizeof line && read(fd.fd, line + n, 1) == 1 && line[n] != '\n';)
        n++;
    *event = (struct event){.type = 8};
    if (sscanf(line, "%u %llu", &index, &event->data) != 2)
        return 999;
    event->device = (void *)(unsigned long)(index + 1);
    return 0;
}
