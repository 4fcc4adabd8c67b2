// What several kernels need. Every sum has a fixed order: no atomics, no dependence on how blocks are scheduled.
#pragma once

constexpr int WARP = 32;
constexpr unsigned ALL = 0xffffffffu;

__device__ inline float warp_sum(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL, x, step);
    return x;
}

__device__ inline float warp_max(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(ALL, x, step));
    return x;
}

// The sum over a thread block, known to all of its threads. `scratch` has a number per warp. All threads must call it.
__device__ inline float block_sum(float x, float *scratch) {
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < (blockDim.x + WARP - 1) / WARP; i++) sum += scratch[i];
    return sum;
}

__device__ inline float block_max(float x, float *scratch) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    float max = scratch[0];
    for (int i = 1; i < (blockDim.x + WARP - 1) / WARP; i++) max = fmaxf(max, scratch[i]);
    return max;
}

// This thread's first number, and the distance to its next, where all threads of a launch share out an array.
__device__ inline size_t grid_start() { return blockIdx.x * (size_t)blockDim.x + threadIdx.x; }
__device__ inline size_t grid_step() { return gridDim.x * (size_t)blockDim.x; }
