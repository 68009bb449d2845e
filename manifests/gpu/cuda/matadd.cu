// matadd N: C = A + B of N × N floats; nothing to reuse, so memory is all: with neighbours side by side (coalesced), and with a stride.
#include "check.h"

// Thread x of a warp adds element x of a row: the 32 threads of a warp read 128 bytes that lie together, in one transaction.
__global__ void coalesced(const float *a, const float *b, float *c, int n) {
    int row = blockIdx.y * blockDim.y + threadIdx.y, column = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < n && column < n) c[(size_t)row * n + column] = a[(size_t)row * n + column] + b[(size_t)row * n + column];
}

// The same with rows and columns exchanged: the threads of a warp read elements that lie a whole row apart, each in a transaction of its own.
__global__ void strided(const float *a, const float *b, float *c, int n) {
    int column = blockIdx.y * blockDim.y + threadIdx.y, row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < n && column < n) c[(size_t)row * n + column] = a[(size_t)row * n + column] + b[(size_t)row * n + column];
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 1024;
    if (n < 1 || n > 32768) return fprintf(stderr, "usage: matadd N, N from 1 to 32768\n"), 1;
    need_gpu();
    size_t count = (size_t)n * n;
    auto a = numbers(count, 1), b = numbers(count, 2);
    std::vector<float> wanted(count);
    for (size_t i = 0; i < count; i++) wanted[i] = a[i] + b[i];
    DeviceArray da(a), db(b), dc(count);
    dim3 block(32, 8), grid((n + 31) / 32, (n + 31) / 32 * 4);
    double bytes = 3.0 * count * sizeof(float);
    float slow = time_of([&] { strided<<<grid, block>>>(da.data, db.data, dc.data, n); });
    printf("matadd strided   %d x %d: %.3f ms, %.2f GFLOP/s, %.1f GB/s\n", n, n, slow, count / slow * 1e-6, bytes / slow * 1e-6);
    compare("matadd strided", dc.read(count), wanted, 0);
    CUDA(cudaMemset(dc.data, 0, count * sizeof(float)));
    float fast = time_of([&] { coalesced<<<grid, block>>>(da.data, db.data, dc.data, n); });
    printf("matadd coalesced %d x %d: %.3f ms, %.2f GFLOP/s, %.1f GB/s, %.2f times the strided one\n", n, n, fast,
           count / fast * 1e-6, bytes / fast * 1e-6, slow / fast);
    compare("matadd coalesced", dc.read(count), wanted, 0);
    return 0;
}
