// matmul N: C = A × B of N × N floats, by a naive kernel and by one with tiles in shared memory. See ../README.md.
#include "check.h"

constexpr int TILE = 16;

// One thread per element of C. Each reads a whole row of A and a whole column of B from global memory: 2N reads for N
// multiplications, and neighbours read the same values again.
__global__ void naive(const float *a, const float *b, float *c, int n) {
    int row = blockIdx.y * blockDim.y + threadIdx.y, column = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n || column >= n) return;
    float sum = 0;
    for (int k = 0; k < n; k++) sum += a[row * n + k] * b[k * n + column];
    c[row * n + column] = sum;
}

// A block computes a TILE × TILE square of C. It walks along A's rows and down B's columns tile by tile: its 256 threads load one tile
// of each together (one element per thread, side by side: coalesced), wait for each other, and then use every element TILE
// times from shared memory. Global memory is read TILE times less often.
__global__ void tiled(const float *a, const float *b, float *c, int n) {
    __shared__ float tile_a[TILE][TILE], tile_b[TILE][TILE];
    int x = threadIdx.x, y = threadIdx.y;
    int row = blockIdx.y * TILE + y, column = blockIdx.x * TILE + x;
    float sum = 0;
    for (int begin = 0; begin < n; begin += TILE) {
        tile_a[y][x] = row < n && begin + x < n ? a[row * n + begin + x] : 0;
        tile_b[y][x] = begin + y < n && column < n ? b[(begin + y) * n + column] : 0;
        __syncthreads(); // the tile is whole
        for (int k = 0; k < TILE; k++) sum += tile_a[y][k] * tile_b[k][x];
        __syncthreads(); // nobody needs it any more
    }
    if (row < n && column < n) c[row * n + column] = sum;
}

static std::vector<float> on_host(const std::vector<float> &a, const std::vector<float> &b, int n) {
    std::vector<float> c((size_t)n * n);
    for (int row = 0; row < n; row++)
        for (int k = 0; k < n; k++)
            for (int column = 0; column < n; column++)
                c[(size_t)row * n + column] += a[(size_t)row * n + k] * b[(size_t)k * n + column];
    return c;
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 512;
    if (n < 1 || n > 32768) return fprintf(stderr, "usage: matmul N, N from 1 to 32768\n"), 1;
    need_gpu();
    size_t count = (size_t)n * n;
    auto a = numbers(count, 1), b = numbers(count, 2);
    DeviceArray da(a), db(b), dc(count);
    dim3 block(TILE, TILE), grid((n + TILE - 1) / TILE, (n + TILE - 1) / TILE);
    double flop = 2.0 * n * n * n;
    float slow = time_of([&] { naive<<<grid, block>>>(da.data, db.data, dc.data, n); });
    printf("matmul naive  %d x %d: %.3f ms, %.1f GFLOP/s\n", n, n, slow, flop / slow * 1e-6);
    CUDA(cudaMemset(dc.data, 0, count * sizeof(float)));
    float fast = time_of([&] { tiled<<<grid, block>>>(da.data, db.data, dc.data, n); });
    printf("matmul tiled  %d x %d: %.3f ms, %.1f GFLOP/s, %.2f times the naive one\n", n, n, fast, flop / fast * 1e-6, slow / fast);
    if (n <= 2048) compare("matmul", dc.read(count), on_host(a, b, n), 1e-5 * n);
    return 0;
}
