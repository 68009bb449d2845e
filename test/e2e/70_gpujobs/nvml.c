/* A pretended libnvidia-ml.so.1 with two GPUs: what plugins/gpu asks of NVML. */
#include <stdio.h>

int nvmlInit_v2(void)
{
    return 0;
}
int nvmlShutdown(void)
{
    return 0;
}
int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = 2;
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
