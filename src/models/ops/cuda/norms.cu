// RMSNorm and layer norm: one thread block a row. The formulas stand beside the CPU's (rms_norm.rs, layer_norm.rs).
#include "common.cuh"

template <typename T>
__device__ void rms_norm_as(const float *x, const float *w, T *y, int width, float eps) {
    __shared__ float scratch[WARP];
    x += blockIdx.x * (size_t)width;
    y += blockIdx.x * (size_t)width;
    float square = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) square += x[i] * x[i];
    const float r = 1.0f / sqrtf(block_sum(square, scratch) / width + eps);
    for (int i = threadIdx.x; i < width; i += blockDim.x) y[i] = rounded<T>(w[i] * (x[i] * r));
}

extern "C" __global__ void rms_norm(const float *x, const float *w, float *y, int width, float eps) {
    rms_norm_as(x, w, y, width, eps);
}

extern "C" __global__ void rms_norm_bf16(const float *x, const float *w, __nv_bfloat16 *y, int width, float eps) {
    rms_norm_as(x, w, y, width, eps);
}

extern "C" __global__ void rms_norm_backward(const float *x, const float *w, const float *g, float *dx, int width, float eps) {
    __shared__ float scratch[WARP];
    x += blockIdx.x * (size_t)width;
    g += blockIdx.x * (size_t)width;
    dx += blockIdx.x * (size_t)width;
    float square = 0, along = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        square += x[i] * x[i];
        along += x[i] * w[i] * g[i];
    }
    const float r = 1.0f / sqrtf(block_sum(square, scratch) / width + eps);
    const float mean = block_sum(along, scratch) / width * r * r;
    for (int i = threadIdx.x; i < width; i += blockDim.x) dx[i] = r * (w[i] * g[i] - x[i] * mean);
}

// Mean, and one over the standard deviation.
__device__ inline float2 moments(const float *x, int width, float eps, float *scratch) {
    float sum = 0, square = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += x[i];
    const float mean = block_sum(sum, scratch) / width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) square += (x[i] - mean) * (x[i] - mean);
    return make_float2(mean, 1.0f / sqrtf(block_sum(square, scratch) / width + eps));
}

extern "C" __global__ void layer_norm(const float *x, const float *w, const float *b, float *y, int width, float eps) {
    __shared__ float scratch[WARP];
    x += blockIdx.x * (size_t)width;
    y += blockIdx.x * (size_t)width;
    const float2 m = moments(x, width, eps, scratch);
    for (int i = threadIdx.x; i < width; i += blockDim.x) y[i] = w[i] * ((x[i] - m.x) * m.y) + b[i];
}

extern "C" __global__ void layer_norm_backward(const float *x, const float *w, const float *g, float *dx, int width, float eps) {
    __shared__ float scratch[WARP];
    x += blockIdx.x * (size_t)width;
    g += blockIdx.x * (size_t)width;
    dx += blockIdx.x * (size_t)width;
    const float2 m = moments(x, width, eps, scratch);
    float level = 0, along = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        level += w[i] * g[i];
        along += (x[i] - m.x) * m.y * w[i] * g[i];
    }
    level = block_sum(level, scratch) / width;
    along = block_sum(along, scratch) / width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        dx[i] = m.y * (w[i] * g[i] - level - (x[i] - m.x) * m.y * along);
    }
}
