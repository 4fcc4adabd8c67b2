// What is computed number by number: activations, rotation, dropout, sums, conversion. The formulas stand beside the CPU's.
#include <cuda_bf16.h>

#include "common.cuh"

extern "C" __global__ void add(float *x, const float *y, size_t n) {
    for (size_t i = grid_start(); i < n; i += grid_step()) x[i] += y[i];
}

// Rows of a matrix, `stride` numbers apart, as one block of bf16.
extern "C" __global__ void to_bf16(const float *x, size_t stride, __nv_bfloat16 *y, size_t rows, size_t columns) {
    for (size_t i = grid_start(); i < rows * columns; i += grid_step()) {
        y[i] = __float2bfloat16_rn(x[i / columns * stride + i % columns]);
    }
}

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// `x` is [rows, gate | up], each `half` wide.
extern "C" __global__ void swiglu(const float *x, float *y, size_t rows, size_t half) {
    for (size_t i = grid_start(); i < rows * half; i += grid_step()) {
        const float *gate = x + i / half * 2 * half + i % half;
        y[i] = gate[0] * sigmoid(gate[0]) * gate[half];
    }
}

extern "C" __global__ void swiglu_backward(const float *x, const float *g, float *dx, size_t rows, size_t half) {
    for (size_t i = grid_start(); i < rows * half; i += grid_step()) {
        const size_t at = i / half * 2 * half + i % half;
        const float gate = x[at], up = x[at + half], s = sigmoid(gate);
        dx[at] = g[i] * up * s * (1.0f + gate * (1.0f - s));
        dx[at + half] = g[i] * gate * s;
    }
}

// The distribution function of the standard normal.
__device__ inline float normal(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }

extern "C" __global__ void gelu(const float *x, float *y, size_t n) {
    for (size_t i = grid_start(); i < n; i += grid_step()) y[i] = x[i] * normal(x[i]);
}

extern "C" __global__ void gelu_backward(const float *x, const float *g, float *dx, size_t n) {
    for (size_t i = grid_start(); i < n; i += grid_step()) {
        dx[i] = g[i] * (normal(x[i]) + x[i] * expf(-0.5f * x[i] * x[i]) * 0.398942280401432678f);
    }
}

// Turns the first `heads` heads of every row; `table` is [rows, cosines | sines], `dim` wide.
extern "C" __global__ void rotary(
    float *x, const float *table, size_t rows, int width, int heads, int head_dim, int dim, float sign, int interleaved) {
    const int pairs = dim / 2;
    const size_t each = (size_t)heads * pairs;
    for (size_t i = grid_start(); i < rows * each; i += grid_step()) {
        const size_t row = i / each;
        const int head = i % each / pairs, pair = i % pairs;
        const float c = table[row * dim + pair], s = sign * table[row * dim + pairs + pair];
        float *at = x + row * width + (size_t)head * head_dim + (interleaved ? 2 * pair : pair);
        float *other = at + (interleaved ? 1 : pairs);
        const float a = *at, b = *other;
        *at = a * c - b * s;
        *other = b * c + a * s;
    }
}

// SplitMix64's output function, as on CPUs: the same masks, bit by bit.
__device__ inline unsigned long long mix(unsigned long long counter) {
    unsigned long long z = counter * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

extern "C" __global__ void dropout(
    const float *x, float *y, size_t n, unsigned long long key, unsigned threshold, float scale) {
    for (size_t i = grid_start(); i < n; i += grid_step()) {
        const unsigned bits = mix(key + i / 4) >> (16 * (i % 4)) & 0xffff;
        y[i] = bits >= threshold ? x[i] * scale : 0.0f;
    }
}
