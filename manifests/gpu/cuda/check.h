// check.h: errors of CUDA by name, exit code 2; time by events; comparison with the host.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define CUDA(call)                                                                                           \
    do {                                                                                                     \
        cudaError_t check_error = (call);                                                                    \
        if (check_error != cudaSuccess) {                                                                    \
            fprintf(stderr, "%s: %s (%s)\n", #call, cudaGetErrorName(check_error),                           \
                    cudaGetErrorString(check_error));                                                        \
            exit(2);                                                                                         \
        }                                                                                                    \
    } while (0)

// Says which GPU; ends with exit code 2 and the error's name if there is none.
inline void need_gpu()
{
    int count = 0;
    CUDA(cudaGetDeviceCount(&count));
    cudaDeviceProp device;
    CUDA(cudaGetDeviceProperties(&device, 0));
    printf("gpu %s, %d multiprocessors\n", device.name, device.multiProcessorCount);
}

// Milliseconds of one launch: the mean of several after one that warms up.
template <typename Launch> float time_of(Launch launch, int times = 10)
{
    cudaEvent_t begin, end;
    float ms = 0;
    CUDA(cudaEventCreate(&begin));
    CUDA(cudaEventCreate(&end));
    launch();
    CUDA(cudaGetLastError()); // a launch itself returns nothing
    CUDA(cudaEventRecord(begin));
    for (int i = 0; i < times; i++)
        launch();
    CUDA(cudaEventRecord(end));
    CUDA(cudaEventSynchronize(end));
    CUDA(cudaEventElapsedTime(&ms, begin, end));
    CUDA(cudaEventDestroy(begin));
    CUDA(cudaEventDestroy(end));
    return ms / times;
}

// Numbers that are the same in every run, between -1 and 1.
inline std::vector<float> numbers(size_t n, unsigned seed)
{
    std::vector<float> all(n);
    for (float &x : all) {
        seed = seed * 1664525u + 1013904223u;
        x = (float)(seed >> 8) / (1 << 23) - 1.0f;
    }
    return all;
}

// The largest difference; above the limit the program ends with exit code 1.
inline void compare(const char *what, const std::vector<float> &got, const std::vector<float> &wanted,
                    double limit)
{
    double worst = 0;
    for (size_t i = 0; i < wanted.size(); i++)
        worst = fmax(worst, fabs((double)got[i] - wanted[i]));
    printf("%s: largest difference from the host %.2e\n", what, worst);
    if (!(worst <= limit)) {
        fprintf(stderr, "%s is wrong: %.2e is above %.2e\n", what, worst, limit);
        exit(1);
    }
}

// A device array of floats that goes with its scope.
struct DeviceArray {
    float *data = nullptr;
    explicit DeviceArray(size_t n)
    {
        CUDA(cudaMalloc(&data, n * sizeof(float)));
    }
    explicit DeviceArray(const std::vector<float> &from) : DeviceArray(from.size())
    {
        CUDA(cudaMemcpy(data, from.data(), from.size() * sizeof(float), cudaMemcpyHostToDevice));
    }
    ~DeviceArray()
    {
        cudaFree(data);
    }
    DeviceArray(const DeviceArray &) = delete;
    std::vector<float> read(size_t n) const
    {
        std::vector<float> to(n);
        CUDA(cudaMemcpy(to.data(), data, n * sizeof(float), cudaMemcpyDeviceToHost));
        return to;
    }
};
