// reduce N: the sum of N floats: by an atomic addition per element, and by a tree within warps and blocks.
#include "check.h"

// Every thread adds to the same place: the additions queue up there.
__global__ void naive(const float *in, size_t n, float *sum) {
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) atomicAdd(sum, in[i]);
}

// Each thread first sums many elements in a register, a grid apart (so that neighbours read side by side); then the 32 threads of a warp
// exchange registers by shuffles, the warps of a block meet in shared memory, and one thread per block adds to the total.
__global__ void tree(const float *in, size_t n, float *sum) {
    __shared__ float of_warp[32];
    float mine = 0;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) mine += in[i];
    for (int step = 16; step; step /= 2) mine += __shfl_down_sync(~0u, mine, step);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    mine = threadIdx.x < blockDim.x / 32 ? of_warp[threadIdx.x] : 0;
    for (int step = 16; step; step /= 2) mine += __shfl_down_sync(~0u, mine, step);
    if (threadIdx.x == 0) atomicAdd(sum, mine);
}

int main(int argc, char **argv) {
    size_t n = argc > 1 ? strtoull(argv[1], nullptr, 10) : 1 << 22;
    if (n < 1 || n > (size_t)1 << 32) return fprintf(stderr, "usage: reduce N, N from 1 to 4294967296\n"), 1;
    need_gpu();
    auto in = numbers(n, 3);
    double wanted = 0;
    for (float x : in) wanted += x;
    DeviceArray data(in), sum(1);
    float slow = time_of([&] { naive<<<(unsigned)((n + 255) / 256), 256>>>(data.data, n, sum.data); });
    printf("reduce naive %zu: %.3f ms, %.2f GFLOP/s, %.1f GB/s\n", n, slow, n / slow * 1e-6, n * 4 / slow * 1e-6);
    float fast = time_of([&] { tree<<<1024, 256>>>(data.data, n, sum.data); });
    printf("reduce tree  %zu: %.3f ms, %.2f GFLOP/s, %.1f GB/s, %.1f times the naive one\n", n, fast, n / fast * 1e-6,
           n * 4 / fast * 1e-6, slow / fast);
    CUDA(cudaMemset(sum.data, 0, sizeof(float)));
    tree<<<1024, 256>>>(data.data, n, sum.data);
    CUDA(cudaGetLastError());
    compare("reduce", sum.read(1), {(float)wanted}, 1e-6 * n + 1e-3);
    return 0;
}
