// What is computed number by number: activations, rotation, dropout, sums, conversion. The formulas stand beside the CPU's.
#include "common.cuh"

extern "C" __global__ void add(float *x, const float *y, size_t n) {
    for (size_t i = grid_start(); i < n; i += grid_step()) x[i] += y[i];
}

// The kernels below share out a matrix: blocks in y take rows, threads in x `N` columns at once.

template <int N>
__device__ void to_bf16_in(const float *x, size_t stride, __nv_bfloat16 *y, size_t rows, size_t columns) {
    for (size_t row = blockIdx.y; row < rows; row += gridDim.y) {
        for (size_t i = grid_start() * N; i < columns; i += grid_step() * N) {
            const Vector<float, N> from = load<N>(x + row * stride + i);
            Vector<__nv_bfloat16, N> to;
            for (int j = 0; j < N; j++) to.at[j] = rounded<__nv_bfloat16>(from.at[j]);
            store(y + row * columns + i, to);
        }
    }
}

// Rows of a matrix, `stride` numbers apart, as one block of bf16.
extern "C" __global__ void to_bf16(const float *x, size_t stride, __nv_bfloat16 *y, size_t rows, size_t columns) {
    if (in_fours(x, stride, columns)) {
        to_bf16_in<4>(x, stride, y, rows, columns);
    } else {
        to_bf16_in<1>(x, stride, y, rows, columns);
    }
}

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// `x` is [rows, gate | up], each `half` wide.
template <int N, typename T>
__device__ void swiglu_in(const float *x, T *y, size_t rows, size_t half) {
    for (size_t row = blockIdx.y; row < rows; row += gridDim.y) {
        for (size_t i = grid_start() * N; i < half; i += grid_step() * N) {
            const Vector<float, N> gate = load<N>(x + row * 2 * half + i), up = load<N>(x + row * 2 * half + half + i);
            Vector<T, N> to;
            for (int j = 0; j < N; j++) to.at[j] = rounded<T>(gate.at[j] * sigmoid(gate.at[j]) * up.at[j]);
            store(y + row * half + i, to);
        }
    }
}

template <typename T>
__device__ void swiglu_as(const float *x, T *y, size_t rows, size_t half) {
    if (in_fours(x, half, half)) {
        swiglu_in<4>(x, y, rows, half);
    } else {
        swiglu_in<1>(x, y, rows, half);
    }
}

extern "C" __global__ void swiglu(const float *x, float *y, size_t rows, size_t half) { swiglu_as(x, y, rows, half); }

extern "C" __global__ void swiglu_bf16(const float *x, __nv_bfloat16 *y, size_t rows, size_t half) {
    swiglu_as(x, y, rows, half);
}

template <int N, typename T>
__device__ void swiglu_backward_in(const float *x, const float *g, T *dx, size_t rows, size_t half) {
    for (size_t row = blockIdx.y; row < rows; row += gridDim.y) {
        for (size_t i = grid_start() * N; i < half; i += grid_step() * N) {
            const size_t at = row * 2 * half + i;
            const Vector<float, N> gate = load<N>(x + at), up = load<N>(x + at + half), grad = load<N>(g + row * half + i);
            Vector<T, N> d_gate, d_up;
            for (int j = 0; j < N; j++) {
                const float s = sigmoid(gate.at[j]);
                d_gate.at[j] = rounded<T>(grad.at[j] * up.at[j] * s * (1.0f + gate.at[j] * (1.0f - s)));
                d_up.at[j] = rounded<T>(grad.at[j] * gate.at[j] * s);
            }
            store(dx + at, d_gate);
            store(dx + at + half, d_up);
        }
    }
}

template <typename T>
__device__ void swiglu_backward_as(const float *x, const float *g, T *dx, size_t rows, size_t half) {
    if (in_fours(x, half, half) && in_fours(g, half, half)) {
        swiglu_backward_in<4>(x, g, dx, rows, half);
    } else {
        swiglu_backward_in<1>(x, g, dx, rows, half);
    }
}

extern "C" __global__ void swiglu_backward(const float *x, const float *g, float *dx, size_t rows, size_t half) {
    swiglu_backward_as(x, g, dx, rows, half);
}

extern "C" __global__ void swiglu_backward_bf16(const float *x, const float *g, __nv_bfloat16 *dx, size_t rows, size_t half) {
    swiglu_backward_as(x, g, dx, rows, half);
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
