// What several kernels need. Every sum has a fixed order: no atomics, no dependence on how blocks are scheduled.
#pragma once

#include <cuda_bf16.h>

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

// A result as it is kept.
template <typename T>
__device__ inline T rounded(float x);
template <>
__device__ inline float rounded(float x) { return x; }
template <>
__device__ inline __nv_bfloat16 rounded(float x) { return __float2bfloat16_rn(x); }

// `N` numbers that are loaded and stored at once.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vector {
    T at[N];
};

template <int N, typename T>
__device__ inline Vector<T, N> load(const T *from) {
    return *reinterpret_cast<const Vector<T, N> *>(from);
}

template <int N, typename T>
__device__ inline void store(T *to, const Vector<T, N> &numbers) {
    *reinterpret_cast<Vector<T, N> *>(to) = numbers;
}

// Whether rows, `stride` numbers apart, can be read in vectors of four from where they begin.
__device__ inline bool in_fours(const float *x, size_t stride, size_t columns) {
    return columns % 4 == 0 && stride % 4 == 0 && reinterpret_cast<size_t>(x) % sizeof(float4) == 0;
}
