// Uniform numbers by ChaCha8 (Bernstein 2008), in the order in which rand_chacha gives them.
#include "common.cuh"

constexpr int BLOCK = 16;

__device__ inline unsigned rotated(unsigned x, int by) { return __funnelshift_l(x, x, by); }

__device__ inline void quarter_round(unsigned &a, unsigned &b, unsigned &c, unsigned &d) {
    a += b, d = rotated(d ^ a, 16);
    c += d, b = rotated(b ^ c, 12);
    a += b, d = rotated(d ^ a, 8);
    c += d, b = rotated(b ^ c, 7);
}

// The words of block `counter` of the stream that `key` begins.
__device__ void chacha8(const unsigned *key, unsigned counter, unsigned *out) {
    unsigned start[BLOCK] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (int i = 0; i < 8; i++) start[4 + i] = key[i];
    start[12] = counter;
    start[13] = start[14] = start[15] = 0;
    for (int i = 0; i < BLOCK; i++) out[i] = start[i];
    for (int round = 0; round < 8; round += 2) {
        for (int i = 0; i < 4; i++) quarter_round(out[i], out[4 + i], out[8 + i], out[12 + i]);
        for (int i = 0; i < 4; i++) {
            quarter_round(out[i], out[4 + (i + 1) % 4], out[8 + (i + 2) % 4], out[12 + (i + 3) % 4]);
        }
    }
    for (int i = 0; i < BLOCK; i++) out[i] += start[i];
}

// `keys` has 8 words for each `task` numbers, a multiple of 16. A thread computes 16 numbers at a time.
template <typename T>
__device__ void uniform_as(const unsigned *keys, T *out, size_t n, size_t task, float bound) {
    const size_t blocks = task / BLOCK;
    for (size_t i = grid_start(); i * BLOCK < n; i += grid_step()) {
        unsigned words[BLOCK];
        chacha8(keys + i / blocks * 8, i % blocks, words);
#pragma unroll
        for (int j = 0; j < BLOCK; j++) {
            // In (0, 1], in steps of 2^-24: all but the last product is exact.
            const float unit = ((words[j] >> 8) + 1) * (1.0f / (1 << 24));
            if (i * BLOCK + j < n) out[i * BLOCK + j] = rounded<T>((2.0f * unit - 1.0f) * bound);
        }
    }
}

extern "C" __global__ void uniform(const unsigned *keys, float *out, size_t n, size_t task, float bound) {
    uniform_as(keys, out, n, task, bound);
}

extern "C" __global__ void uniform_bf16(const unsigned *keys, __nv_bfloat16 *out, size_t n, size_t task, float bound) {
    uniform_as(keys, out, n, task, bound);
}
