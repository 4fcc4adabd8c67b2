// Small kernels for the emulator's own tests.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

extern "C" __global__ void saxpy(float a, const float *x, float *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}

// No bound check: runs over the end where the block is larger than the array.
extern "C" __global__ void overrun(float *y) { y[blockIdx.x * blockDim.x + threadIdx.x] = 1.0f; }

extern "C" __global__ void vector_load(const float *x, float *y, int shift) {
    float4 v = *(const float4 *)(x + shift);
    y[0] = v.x + v.y + v.z + v.w;
}

extern "C" __global__ void block_sum(const float *x, float *out, int n) {
    __shared__ float parts[32];
    float s = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) s += x[blockIdx.x * n + i];
    for (int o = 16; o > 0; o >>= 1) s += __shfl_xor_sync(0xffffffff, s, o);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = s;
    __syncthreads();
    if (threadIdx.x < 32) {
        s = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0;
        for (int o = 16; o > 0; o >>= 1) s += __shfl_down_sync(0xffffffff, s, o);
        if (threadIdx.x == 0) out[blockIdx.x] = s;
    }
}

// The barrier between writing and reading is missing.
extern "C" __global__ void race(const float *x, float *y) {
    extern __shared__ float tile[];
    tile[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void reversed(const float *x, float *y) {
    extern __shared__ float tile[];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void divergent_barrier(float *y) {
    if (threadIdx.x < 32) {
        y[threadIdx.x] = 1;
        __syncthreads();
        y[threadIdx.x] += 1;
    } else {
        y[threadIdx.x] = 2;
        __syncthreads();
        y[threadIdx.x] *= 2;
    }
}

extern "C" __global__ void histogram(const uint32_t *x, uint32_t *counts, float *total, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        atomicAdd(&counts[x[i]], 1u);
        atomicAdd(total, 0.5f);
    }
}

extern "C" __global__ void functions(const float *x, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    float *o = out + i * 12;
    o[0] = expf(v);
    o[1] = logf(fabsf(v) + 1e-3f);
    o[2] = sinf(v);
    o[3] = cosf(v * 1e5f);
    o[4] = tanhf(v);
    o[5] = rsqrtf(fabsf(v) + 1);
    o[6] = sqrtf(fabsf(v));
    o[7] = erff(v);
    o[8] = powf(fabsf(v), 1.7f);
    o[9] = v / 3.7f;
    o[10] = __bfloat162float(__float2bfloat16(v));
    o[11] = __half2float(__float2half(v));
}

extern "C" __global__ void integers(const int *x, int64_t *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = x[i];
    int64_t *o = out + i * 12;
    o[0] = v / 7;
    o[1] = v % 7;
    o[2] = (unsigned)v / 10u;
    o[3] = (int64_t)v * 123456789 / 1001;
    o[4] = __popc(v);
    o[5] = __clz(v);
    o[6] = __umulhi((unsigned)v, 2654435769u);
    o[7] = __brev((unsigned)v);
    o[8] = v >> 3;
    o[9] = (unsigned)v >> 3;
    o[10] = __byte_perm(v, v * 3, 0x5140);
    o[11] = __funnelshift_l(v, v * 3, 5);
}

extern "C" __global__ void pairs(const __nv_bfloat162 *x, const __nv_bfloat162 *y, __nv_bfloat162 *out, int n) {
    int i = threadIdx.x;
    if (i < n) out[i] = __hfma2(x[i], y[i], __hadd2(x[i], y[i]));
}

__device__ __forceinline__ uint32_t pack(__nv_bfloat16 a, __nv_bfloat16 b) {
    __nv_bfloat162 p = __halves2bfloat162(a, b);
    return *reinterpret_cast<uint32_t *>(&p);
}

// c (16 x 8) = a (16 x 16, by rows) b (16 x 8, given by columns), elements gathered by hand.
extern "C" __global__ void mma_plain(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c) {
    int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    uint32_t ra[4], rb[2];
    for (int i = 0; i < 4; i++) {
        const __nv_bfloat16 *p = a + (g + 8 * (i % 2)) * 16 + 2 * t + 8 * (i / 2);
        ra[i] = pack(p[0], p[1]);
    }
    for (int i = 0; i < 2; i++) {
        const __nv_bfloat16 *p = b + g * 16 + 2 * t + 8 * i;
        rb[i] = pack(p[0], p[1]);
    }
    float d[4] = {0, 0, 0, 0};
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
    c[g * 8 + 2 * t] = d[0];
    c[g * 8 + 2 * t + 1] = d[1];
    c[(g + 8) * 8 + 2 * t] = d[2];
    c[(g + 8) * 8 + 2 * t + 1] = d[3];
}

// The same with cp.async and ldmatrix; b (16 x 8) by rows, so transposed on loading.
extern "C" __global__ void mma_matrix(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c, int wait) {
    __shared__ __align__(16) __nv_bfloat16 sa[16 * 16], sb[16 * 8];
    int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    uint32_t to = __cvta_generic_to_shared(sa + 8 * lane);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(a + 8 * lane));
    if (lane < 16) {
        to = __cvta_generic_to_shared(sb + 8 * lane);
        asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(b + 8 * lane), "r"(16));
    }
    asm volatile("cp.async.commit_group;");
    if (wait) asm volatile("cp.async.wait_group 0;");
    __syncthreads();
    uint32_t ra[4], rb[2];
    uint32_t at = __cvta_generic_to_shared(sa + (lane % 16) * 16 + 8 * (lane / 16));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(ra[0]), "=r"(ra[1]), "=r"(ra[2]), "=r"(ra[3]) : "r"(at));
    at = __cvta_generic_to_shared(sb + (lane % 16) * 8);
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(rb[0]), "=r"(rb[1]) : "r"(at));
    float d[4] = {0, 0, 0, 0};
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
    c[g * 8 + 2 * t] = d[0];
    c[g * 8 + 2 * t + 1] = d[1];
    c[(g + 8) * 8 + 2 * t] = d[2];
    c[(g + 8) * 8 + 2 * t + 1] = d[3];
}

// c (16 x 8) = a (16 x 8, by rows) b (8 x 8, given by columns) in tf32.
extern "C" __global__ void mma_tf32(const float *a, const float *b, float *c) {
    int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    uint32_t ra[4], rb[2];
    for (int i = 0; i < 4; i++) ra[i] = __float_as_uint(a[(g + 8 * (i % 2)) * 8 + t + 4 * (i / 2)]);
    for (int i = 0; i < 2; i++) rb[i] = __float_as_uint(b[g * 8 + t + 4 * i]);
    float d[4] = {1, 1, 1, 1};
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
    c[g * 8 + 2 * t] = d[0];
    c[g * 8 + 2 * t + 1] = d[1];
    c[(g + 8) * 8 + 2 * t] = d[2];
    c[(g + 8) * 8 + 2 * t + 1] = d[3];
}

#include <stdio.h>
extern "C" __global__ void say(float x, const int *y) {
    if (threadIdx.x == 1) printf("thread %d: %5.2f and %s, %d%%\n", threadIdx.x, x, "words", y[0]);
}

extern "C" __global__ void lanes_unordered(float *y) {
    __shared__ float tile[32];
    tile[threadIdx.x] = threadIdx.x;
    y[threadIdx.x] = tile[31 - threadIdx.x];
}

extern "C" __global__ void lanes_ordered(float *y) {
    __shared__ float tile[32];
    tile[threadIdx.x] = threadIdx.x;
    __syncwarp();
    y[threadIdx.x] = tile[31 - threadIdx.x];
}

// Every block adds to the same sums, without atomics.
extern "C" __global__ void add_blocks(const float *x, float *y) { y[threadIdx.x] += x[blockIdx.x * blockDim.x + threadIdx.x]; }
