// AdamW in two passes: the moments from the gradient, then the parameters from the moments.
#include "common.cuh"

// `moments` is [2, n]: the running mean of the gradient, then of its square.
extern "C" __global__ void adamw_moments(
    float *moments, const float *g, size_t n, float gain1, float beta2, float gain2) {
    for (size_t i = grid_start(); i < n; i += grid_step()) {
        moments[i] += gain1 * (g[i] - moments[i]);
        moments[n + i] = moments[n + i] * beta2 + gain2 * g[i] * g[i];
    }
}

extern "C" __global__ void adamw_update(
    float *x, const float *moments, size_t n, float decay, float step_size, float root, float eps) {
    for (size_t i = grid_start(); i < n; i += grid_step()) {
        x[i] = x[i] * decay - step_size * moments[i] / (sqrtf(moments[n + i]) / root + eps);
    }
}

// One partial sum of squares a thread block, in double precision.
extern "C" __global__ void sum_squares(const float *x, size_t n, double *partial) {
    __shared__ double scratch[WARP];
    double sum = 0;
    for (size_t i = grid_start(); i < n; i += grid_step()) sum += (double)x[i] * x[i];
    for (int step = WARP / 2; step > 0; step /= 2) sum += __shfl_xor_sync(ALL, sum, step);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    sum = 0;
    for (int i = 0; i < blockDim.x / WARP; i++) sum += scratch[i];
    partial[blockIdx.x] = sum;
}
