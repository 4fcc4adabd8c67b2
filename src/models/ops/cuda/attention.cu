// Attention over a token tree, with an optional prefix of keys and values; see attention.rs for what sees what.
//
// Rows are (query, head of the group) pairs, since the heads of a group read the same keys. A thread block works off a
// tile of rows of one block of queries and one key/value head, with the keys that they see passing by in tiles, and a running
// softmax (Dao et al. 2022). Backward has a kernel for queries and one for keys; the latter shares out the queries that see a tile of keys
// and leaves partial sums, which a third adds up in a fixed order.
//
// Kernels come in two precisions: products of f32 numbers, or of numbers rounded to bf16 on tensor cores with f32 sums. Both
// keep a tile's sums where `mma.m16n8k16` has them: of 16 rows and 8 columns, lane `l` of a warp holds rows `l / 4` and `l / 4 + 8`,
// columns `2 (l % 4)` and the next.
#include <cuda_bf16.h>

#include "common.cuh"

using bf16 = __nv_bfloat16;

constexpr int KEYS = 32;  // that pass by together
constexpr int ROWS = 32;  // that pass by together in the backward of keys
constexpr int PAD = 8;    // keeps the rows of a tile in different banks

// The tokens of a block of queries, and what they see: `runs` of tokens, in order.
struct Block {
    int start, len;
    int runs, run_count;
    int keys;  // in all runs
    int causal;
};

struct Run {
    int start, len;
};

// Keys that lie side by side: of a segment, or of the prefix.
struct KeyTile {
    int start, len;
    int in_prefix;
    int tasks, task_count;
};

// Some of the blocks that see a tile of keys.
struct Task {
    int tile;
    int visits, visit_count;
};

// One layer's operands. `qkv` is [tokens, queries | keys | values], `prefix` [keys | values, virtual_tokens, kv_heads * dim].
struct Operands {
    const float *qkv, *prefix;
    const Block *blocks;
    const Run *runs;
    int heads, kv_heads, dim;
    int virtual_tokens;
    int from;       // the first token that asks
    int quadruple;  // whether vectors may be read four numbers at a time

    __device__ int group() const { return heads / kv_heads; }
    __device__ size_t row() const { return (size_t)(heads + 2 * kv_heads) * dim; }
    __device__ float scale() const { return rsqrtf((float)dim); }
    __device__ const float *query(int token, int head) const { return qkv + token * row() + (size_t)head * dim; }
    // Keys (`part` 0) or values (1).
    __device__ const float *own(int token, int kv_head, int part) const {
        return qkv + token * row() + (size_t)(heads + part * kv_heads + kv_head) * dim;
    }
    __device__ const float *virtual_token(int i, int kv_head, int part) const {
        return prefix + ((size_t)(part * virtual_tokens + i) * kv_heads + kv_head) * dim;
    }
};

constexpr int HIDDEN = 0x7fffffff;  // stands for a token that nobody sees
constexpr int ALWAYS = -1;          // stands for a token that everybody sees

template <class T>
struct Numbers;

template <>
struct Numbers<float> {
    static constexpr int WARPS = 2;  // of a thread block
    static __device__ float from(float x) { return x; }
    static __device__ float exp(float x) { return expf(x); }
    static __device__ void store(float *to, float4 x) { *reinterpret_cast<float4 *>(to) = x; }
};

template <>
struct Numbers<bf16> {
    static constexpr int WARPS = 4;
    static __device__ bf16 from(float x) { return __float2bfloat16_rn(x); }
    static __device__ float exp(float x) { return __expf(x); }
    static __device__ void store(bf16 *to, float4 x) {
        const __nv_bfloat162 pairs[2] = {__floats2bfloat162_rn(x.x, x.y), __floats2bfloat162_rn(x.z, x.w)};
        *reinterpret_cast<uint2 *>(to) = *reinterpret_cast<const uint2 *>(pairs);
    }
};

__device__ inline int lane() { return threadIdx.x % WARP; }
__device__ inline int warp() { return threadIdx.x / WARP; }

// Four matrices of 8 x 8 numbers as `mma` wants them, or turned; lane `l` says where row `l % 8` of matrix `l / 8` begins.
template <bool TURNED = false>
__device__ void matrices(unsigned (&to)[4], const bf16 *row) {
    const unsigned at = __cvta_generic_to_shared(row);
    if constexpr (TURNED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at));
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at));
    }
}

// `sums` [16, 8 N] += a b^T with `a` [16, K] and `b` [8 N, K], both with K side by side; with `TURNED`, `b` is [K, 8 N].
template <int N, int K, bool TURNED = false>
__device__ void multiply(float (&sums)[N][4], const bf16 *a, int a_pitch, const bf16 *b, int b_pitch) {
    // Where the lane's row of four matrices lies: two are side by side or one below the other, and so are both pairs.
    const int low = lane() % 8, next = lane() / 8 % 2 * 8, last = lane() / 16 * 8;
    // Not unrolled further, since numbers that are loaded long before their use take registers.
#pragma unroll 2
    for (int k = 0; k < K; k += 16) {
        unsigned x[4];
        matrices(x, a + (low + next) * a_pitch + k + last);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            unsigned y[4];
            matrices<TURNED>(y, TURNED ? b + (k + low + next) * b_pitch + n * 8 + last : b + (n * 8 + low + last) * b_pitch + k + next);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float(&sum)[4] = sums[n + i];
                asm volatile(
                    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
                    : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                    : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[2 * i]), "r"(y[2 * i + 1]));
            }
        }
    }
}

// The same in f32.
template <int N, int K, bool TURNED = false>
__device__ void multiply(float (&sums)[N][4], const float *a, int a_pitch, const float *b, int b_pitch) {
    const int r = lane() / 4, c = lane() % 4 * 2;
#pragma unroll 4
    for (int k = 0; k < K; k++) {
        const float low = a[r * a_pitch + k], high = a[(r + 8) * a_pitch + k];
#pragma unroll
        for (int n = 0; n < N; n++) {
            const int column = n * 8 + c;
            const float b0 = TURNED ? b[k * b_pitch + column] : b[column * b_pitch + k];
            const float b1 = TURNED ? b[k * b_pitch + column + 1] : b[(column + 1) * b_pitch + k];
            sums[n][0] += low * b0;
            sums[n][1] += low * b1;
            sums[n][2] += high * b0;
            sums[n][3] += high * b1;
        }
    }
}

template <int N>
__device__ void clear(float (&sums)[N][4]) {
#pragma unroll
    for (int n = 0; n < N; n++) sums[n][0] = sums[n][1] = sums[n][2] = sums[n][3] = 0;
}

// The number over the four lanes that hold a row.
__device__ inline float quad_sum(float x) {
    x += __shfl_xor_sync(ALL, x, 1);
    return x + __shfl_xor_sync(ALL, x, 2);
}

__device__ inline float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL, x, 2));
}

// A tile of `COUNT` vectors of up to `D` numbers in shared memory.
template <class T, int D, int COUNT>
struct Tile {
    static constexpr int PITCH = D + PAD, THREADS = Numbers<T>::WARPS * WARP;
    T *rows;

    // `source(i)` is where vector `i` lies, or nothing.
    template <class Source>
    __device__ void load(const Operands &of, Source source) const {
        if (!of.quadruple) {
#pragma unroll 1
            for (int at = threadIdx.x; at < COUNT * D; at += THREADS) {
                const float *vector = source(at / D);
                rows[at / D * PITCH + at % D] = Numbers<T>::from(vector != nullptr && at % D < of.dim ? vector[at % D] : 0.0f);
            }
            return;
        }
        // Several loads are on their way before the first is waited for: memory takes long to answer.
        constexpr int STEP = THREADS * 4 / D, TOGETHER = COUNT / STEP < 4 ? COUNT / STEP : 4;
        const int d = threadIdx.x % (D / 4) * 4;
#pragma unroll 1
        for (int from = threadIdx.x / (D / 4); from < COUNT; from += TOGETHER * STEP) {
            float4 x[TOGETHER];
#pragma unroll
            for (int i = 0; i < TOGETHER; i++) {
                const float *vector = source(from + i * STEP);
                x[i] = make_float4(0, 0, 0, 0);
                if (vector != nullptr && d < of.dim) x[i] = *reinterpret_cast<const float4 *>(vector + d);
            }
#pragma unroll
            for (int i = 0; i < TOGETHER; i++) Numbers<T>::store(rows + (from + i * STEP) * PITCH + d, x[i]);
        }
    }

    // `sums` [16, COUNT] += a [16, D] and these vectors' products.
    __device__ void along_vectors(float (&sums)[COUNT / 8][4], const T *a, int pitch) const {
        multiply<COUNT / 8, D>(sums, a, pitch, rows, PITCH);
    }

    // `sums` [16, D] += a [16, COUNT] times these vectors.
    __device__ void weighted(float (&sums)[D / 8][4], const T *a, int pitch) const {
        multiply<D / 8, COUNT, true>(sums, a, pitch, rows, PITCH);
    }
};

// Shares out dynamic shared memory.
struct Shared {
    char *at;

    template <class T>
    __device__ T *take(int count) {
        T *taken = reinterpret_cast<T *>(at);
        at += (count * sizeof(T) + 15) / 16 * 16;
        return taken;
    }

    template <class T, int D, int COUNT>
    __device__ Tile<T, D, COUNT> tile() {
        return {take<T>(COUNT * (D + PAD))};
    }
};

extern __shared__ __align__(16) char shared_memory[];

// The rows of one thread block.
struct Rows {
    Block block;
    int first;  // among the block's rows
    int group, kv_head;
    float inverse;  // of `group`

    __device__ bool has(int i) const { return first + i < block.len * group; }
    // Row `i`'s query among those of the block. This is exact for the few rows of a block, and a division takes long.
    __device__ int place(int i) const { return (first + i + 0.5f) * inverse; }
    __device__ int query(int i) const { return block.start + place(i); }
    __device__ int head(int i) const { return kv_head * group + first + i - place(i) * group; }
    // The last token that row `i` sees.
    __device__ int limit(int i) const { return block.causal ? query(i) : HIDDEN - 1; }

    // Keys that `count` rows see at most, the prefix's included.
    __device__ int keys(const Operands &of, int count) const {
        const int rows = block.len * group;
        const int last = min(first + count, rows) - 1;
        const int unseen = block.causal ? block.len - 1 - last / group : 0;
        return of.virtual_tokens + block.keys - unseen;
    }
};

// The token at place `key` of what a block sees; the prefix comes first.
__device__ inline int seen_token(const Operands &of, const Block &block, int key) {
    key -= of.virtual_tokens;
    for (int i = 0; i < block.run_count; i++) {
        const Run run = of.runs[block.runs + i];
        if (key < run.len) return run.start + key;
        key -= run.len;
    }
    return HIDDEN;
}

// Loads the keys at places `from..from + KEYS`, below `end`: tokens, then the vectors of one head.
template <class T, int D>
__device__ void load_keys(
    const Operands &of, const Rows &rows, int from, int end, int *tokens, const Tile<T, D, KEYS> &keys, const Tile<T, D, KEYS> &values) {
    __syncthreads();
    for (int i = threadIdx.x; i < KEYS; i += blockDim.x) {
        const int key = from + i;
        tokens[i] = key >= end ? HIDDEN : key < of.virtual_tokens ? ALWAYS : seen_token(of, rows.block, key);
    }
    __syncthreads();
    for (int part = 0; part < 2; part++) {
        const auto source = [&](int i) -> const float * {
            if (tokens[i] == HIDDEN) return nullptr;
            return tokens[i] == ALWAYS ? of.virtual_token(from + i, rows.kv_head, part) : of.own(tokens[i], rows.kv_head, part);
        };
        const auto tile = part == 0 ? keys : values;
        tile.load(of, source);
    }
    __syncthreads();
}

// Whether column `n, i` of a tile of keys is seen by a row with that limit.
__device__ inline bool sees(int limit, const int *tokens, int n, int i) { return tokens[n * 8 + lane() % 4 * 2 + i] <= limit; }

// The running softmax of a lane's two rows.
struct Softmax {
    float max[2] = {-INFINITY, -INFINITY};
    float sum[2] = {0, 0};  // of this lane's columns

    // Turns the products of row `half` with a tile of keys into exponentials, and says by how much earlier ones shrink.
    template <class T>
    __device__ float add(int half, float (&s)[KEYS / 8][4], int limit, const int *tokens, float scale) {
        float larger = -INFINITY;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
            for (int i = 0; i < 2; i++) {
                float &x = s[n][2 * half + i];
                x = sees(limit, tokens, n, i) ? x * scale : -INFINITY;
                larger = fmaxf(larger, x);
            }
        }
        larger = fmaxf(max[half], quad_max(larger));
        // A row that has seen nothing yet.
        const float base = larger == -INFINITY ? 0 : larger;
        const float shrink = Numbers<T>::exp(max[half] - base);
        max[half] = larger;
        sum[half] *= shrink;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
            for (int i = 0; i < 2; i++) {
                float &x = s[n][2 * half + i];
                x = Numbers<T>::exp(x - base);
                sum[half] += x;
            }
        }
        return shrink;
    }
};

template <class T, int D>
__device__ void forward(Operands of, const int2 *tiles, float *out) {
    constexpr int M = Numbers<T>::WARPS * 16, PITCH = D + PAD, P_PITCH = KEYS + PAD;
    Shared memory = {shared_memory};
    const auto queries = memory.tile<T, D, M>();
    const auto keys = memory.tile<T, D, KEYS>(), values = memory.tile<T, D, KEYS>();
    T *p = memory.take<T>(M * P_PITCH) + warp() * 16 * P_PITCH;
    int *tokens = memory.take<int>(KEYS);

    const int2 tile = tiles[blockIdx.x];
    const Rows rows = {of.blocks[tile.x], tile.y, of.group(), (int)blockIdx.y, 1.0f / of.group()};
    queries.load(of, [&](int i) { return rows.has(i) ? of.query(rows.query(i), rows.head(i)) : nullptr; });

    const int r = lane() / 4, c = lane() % 4 * 2, own[2] = {warp() * 16 + r, warp() * 16 + r + 8};
    const int limit[2] = {rows.limit(own[0]), rows.limit(own[1])};
    const float scale = of.scale();
    Softmax softmax;
    float seen[D / 8][4];
    clear(seen);
    const int end = rows.keys(of, M);
    for (int from = 0; from < end; from += KEYS) {
        load_keys(of, rows, from, end, tokens, keys, values);
        float s[KEYS / 8][4];
        clear(s);
        keys.along_vectors(s, queries.rows + warp() * 16 * PITCH, PITCH);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float shrink = softmax.add<T>(half, s, limit[half], tokens, scale);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) {
                for (int i = 0; i < 2; i++) p[(r + 8 * half) * P_PITCH + n * 8 + c + i] = Numbers<T>::from(s[n][2 * half + i]);
            }
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                seen[n][2 * half] *= shrink;
                seen[n][2 * half + 1] *= shrink;
            }
        }
        __syncwarp();
        values.weighted(seen, p, P_PITCH);
        __syncwarp();
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float whole = quad_sum(softmax.sum[half]);
        if (!rows.has(own[half])) continue;
        float *to = out + ((size_t)(rows.query(own[half]) - of.from) * of.heads + rows.head(own[half])) * of.dim;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            for (int i = 0; i < 2; i++) {
                const int d = n * 8 + c + i;
                if (d < of.dim) to[d] = seen[n][2 * half + i] / whole;
            }
        }
    }
}

// Gradients of queries; `stats` [asking tokens, heads, 2] gets each row's log-sum-exp and the mean of its probabilities' gradients.
template <class T, int D>
__device__ void backward_queries(Operands of, const int2 *tiles, const float *grad, float2 *stats, float *d_qkv) {
    constexpr int M = Numbers<T>::WARPS * 16, PITCH = D + PAD, P_PITCH = KEYS + PAD;
    Shared memory = {shared_memory};
    const auto queries = memory.tile<T, D, M>(), grads = memory.tile<T, D, M>();
    const auto keys = memory.tile<T, D, KEYS>(), values = memory.tile<T, D, KEYS>();
    T *ds = memory.take<T>(M * P_PITCH) + warp() * 16 * P_PITCH;
    int *tokens = memory.take<int>(KEYS);

    const int2 tile = tiles[blockIdx.x];
    const Rows rows = {of.blocks[tile.x], tile.y, of.group(), (int)blockIdx.y, 1.0f / of.group()};
    const auto asking = [&](int i) { return (size_t)(rows.query(i) - of.from) * of.heads + rows.head(i); };
    queries.load(of, [&](int i) { return rows.has(i) ? of.query(rows.query(i), rows.head(i)) : nullptr; });
    grads.load(of, [&](int i) { return rows.has(i) ? grad + asking(i) * of.dim : nullptr; });

    const int r = lane() / 4, c = lane() % 4 * 2, own[2] = {warp() * 16 + r, warp() * 16 + r + 8};
    const int limit[2] = {rows.limit(own[0]), rows.limit(own[1])};
    const T *q = queries.rows + warp() * 16 * PITCH, *g = grads.rows + warp() * 16 * PITCH;
    const float scale = of.scale();
    const int end = rows.keys(of, M);
    Softmax softmax;
    float along[2] = {0, 0};
    for (int from = 0; from < end; from += KEYS) {
        load_keys(of, rows, from, end, tokens, keys, values);
        float s[KEYS / 8][4], dp[KEYS / 8][4];
        clear(s);
        clear(dp);
        keys.along_vectors(s, q, PITCH);
        values.along_vectors(dp, g, PITCH);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            along[half] *= softmax.add<T>(half, s, limit[half], tokens, scale);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) {
                for (int i = 0; i < 2; i++) along[half] += s[n][2 * half + i] * dp[n][2 * half + i];
            }
        }
    }
    float all[2], mean[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float whole = quad_sum(softmax.sum[half]);
        mean[half] = quad_sum(along[half]) / whole;
        all[half] = softmax.max[half] + logf(whole);
        if (lane() % 4 == 0 && rows.has(own[half])) stats[asking(own[half])] = make_float2(all[half], mean[half]);
    }

    float dq[D / 8][4];
    clear(dq);
    for (int from = 0; from < end; from += KEYS) {
        load_keys(of, rows, from, end, tokens, keys, values);
        float s[KEYS / 8][4], dp[KEYS / 8][4];
        clear(s);
        clear(dp);
        keys.along_vectors(s, q, PITCH);
        values.along_vectors(dp, g, PITCH);
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
            for (int half = 0; half < 2; half++) {
                for (int i = 0; i < 2; i++) {
                    const bool seen = sees(limit[half], tokens, n, i);
                    const float p = seen ? Numbers<T>::exp(s[n][2 * half + i] * scale - all[half]) : 0;
                    ds[(r + 8 * half) * P_PITCH + n * 8 + c + i] = Numbers<T>::from(p * (dp[n][2 * half + i] - mean[half]));
                }
            }
        }
        __syncwarp();
        keys.weighted(dq, ds, P_PITCH);
        __syncwarp();
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (!rows.has(own[half])) continue;
        float *to = d_qkv + rows.query(own[half]) * of.row() + (size_t)rows.head(own[half]) * of.dim;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            for (int i = 0; i < 2; i++) {
                const int d = n * 8 + c + i;
                if (d < of.dim) to[d] = dq[n][2 * half + i] * scale;
            }
        }
    }
}

// What the queries of one task add to the gradients of a tile of keys and values: `partial` [tasks, kv_heads, 2, M, D].
template <class T, int D>
__device__ void backward_keys(
    Operands of, const KeyTile *tiles, const Task *tasks, const int *visits, const float *grad, const float2 *stats, float *partial) {
    constexpr int M = Numbers<T>::WARPS * 16, PITCH = D + PAD, P_PITCH = ROWS + PAD;
    Shared memory = {shared_memory};
    const auto keys = memory.tile<T, D, M>(), values = memory.tile<T, D, M>();
    const auto queries = memory.tile<T, D, ROWS>(), grads = memory.tile<T, D, ROWS>();
    T *p = memory.take<T>(M * P_PITCH) + warp() * 16 * P_PITCH, *ds = memory.take<T>(M * P_PITCH) + warp() * 16 * P_PITCH;
    float2 *stat = memory.take<float2>(ROWS);
    int *limits = memory.take<int>(ROWS);

    const Task task = tasks[blockIdx.x];
    const KeyTile tile = tiles[task.tile];
    const int kv_head = blockIdx.y;
    for (int part = 0; part < 2; part++) {
        const auto vectors = part == 0 ? keys : values;
        vectors.load(of, [&](int i) -> const float * {
            if (i >= tile.len) return nullptr;
            return tile.in_prefix ? of.virtual_token(tile.start + i, kv_head, part) : of.own(tile.start + i, kv_head, part);
        });
    }
    const int r = lane() / 4, c = lane() % 4 * 2;
    int token[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int i = warp() * 16 + r + 8 * half;
        token[half] = i >= tile.len ? HIDDEN : tile.in_prefix ? ALWAYS : tile.start + i;
    }
    const T *k = keys.rows + warp() * 16 * PITCH, *v = values.rows + warp() * 16 * PITCH;
    const float scale = of.scale();
    const float inverse = 1.0f / of.group();
    float dk[D / 8][4], dv[D / 8][4];
    clear(dk);
    clear(dv);
    for (int visit = 0; visit < task.visit_count; visit++) {
        Rows rows = {of.blocks[visits[task.visits + visit]], 0, of.group(), kv_head, inverse};
        const int count = rows.block.len * rows.group;
        // Queries before the tile's first key see none of it.
        const int skipped = rows.block.causal && !tile.in_prefix ? max(tile.start - rows.block.start, 0) * rows.group : 0;
        for (rows.first = skipped / ROWS * ROWS; rows.first < count; rows.first += ROWS) {
            const auto asking = [&](int i) { return (size_t)(rows.query(i) - of.from) * of.heads + rows.head(i); };
            __syncthreads();
            queries.load(of, [&](int i) { return rows.has(i) ? of.query(rows.query(i), rows.head(i)) : nullptr; });
            grads.load(of, [&](int i) { return rows.has(i) ? grad + asking(i) * of.dim : nullptr; });
            for (int i = threadIdx.x; i < ROWS; i += blockDim.x) {
                stat[i] = rows.has(i) ? stats[asking(i)] : make_float2(0, 0);
                limits[i] = rows.has(i) ? rows.limit(i) : ALWAYS - 1;
            }
            __syncthreads();
            float s[ROWS / 8][4], dp[ROWS / 8][4];
            clear(s);
            clear(dp);
            queries.along_vectors(s, k, PITCH);
            grads.along_vectors(dp, v, PITCH);
#pragma unroll
            for (int n = 0; n < ROWS / 8; n++) {
                for (int i = 0; i < 2; i++) {
                    const int row = n * 8 + c + i, limit = limits[row];
                    const float2 of_row = stat[row];
                    for (int half = 0; half < 2; half++) {
                        const int at = (r + 8 * half) * P_PITCH + row;
                        const float x = token[half] <= limit ? Numbers<T>::exp(s[n][2 * half + i] * scale - of_row.x) : 0;
                        p[at] = Numbers<T>::from(x);
                        ds[at] = Numbers<T>::from(x * (dp[n][2 * half + i] - of_row.y));
                    }
                }
            }
            __syncwarp();
            grads.weighted(dv, p, P_PITCH);
            queries.weighted(dk, ds, P_PITCH);
            __syncwarp();
        }
    }
    float *to = partial + ((size_t)blockIdx.x * of.kv_heads + kv_head) * 2 * M * D + (warp() * 16 + r) * D;
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            for (int i = 0; i < 2; i++) {
                const int at = half * 8 * D + n * 8 + c + i;
                to[at] = dk[n][2 * half + i] * scale;
                to[M * D + at] = dv[n][2 * half + i];
            }
        }
    }
}

// Adds up the tasks of each tile of keys, in order: `width` numbers of [M, D] a tile and part.
extern "C" __global__ void attention_sum_keys(
    Operands of, const KeyTile *tiles, const float *partial, int m, int width, float *d_qkv, float *d_prefix) {
    const KeyTile tile = tiles[blockIdx.x];
    const int kv_head = blockIdx.y, part = blockIdx.z;
    for (int at = threadIdx.x; at < tile.len * of.dim; at += blockDim.x) {
        const int i = at / of.dim, d = at % of.dim;
        float sum = 0;
        for (int task = tile.tasks; task < tile.tasks + tile.task_count; task++) {
            sum += partial[(((size_t)task * of.kv_heads + kv_head) * 2 + part) * m * width + (size_t)i * width + d];
        }
        if (tile.in_prefix) {
            d_prefix[((size_t)(part * of.virtual_tokens + tile.start + i) * of.kv_heads + kv_head) * of.dim + d] = sum;
        } else {
            d_qkv[(tile.start + i) * of.row() + (size_t)(of.heads + part * of.kv_heads + kv_head) * of.dim + d] = sum;
        }
    }
}

#define KERNELS(name, T, D)                                                                                             \
    extern "C" __global__ void __launch_bounds__(Numbers<T>::WARPS * WARP)                                              \
        attention_##name##_##D(Operands of, const int2 *tiles, float *out) {                                            \
        forward<T, D>(of, tiles, out);                                                                                  \
    }                                                                                                                   \
    extern "C" __global__ void __launch_bounds__(Numbers<T>::WARPS * WARP) attention_queries_##name##_##D(              \
        Operands of, const int2 *tiles, const float *grad, float2 *stats, float *d_qkv) {                               \
        backward_queries<T, D>(of, tiles, grad, stats, d_qkv);                                                          \
    }                                                                                                                   \
    extern "C" __global__ void __launch_bounds__(Numbers<T>::WARPS * WARP) attention_keys_##name##_##D(                 \
        Operands of, const KeyTile *tiles, const Task *tasks, const int *visits, const float *grad, const float2 *stats, \
        float *partial) {                                                                                               \
        backward_keys<T, D>(of, tiles, tasks, visits, grad, stats, partial);                                            \
    }

KERNELS(f32, float, 32)
KERNELS(f32, float, 64)
KERNELS(f32, float, 128)
KERNELS(bf16, bf16, 32)
KERNELS(bf16, bf16, 64)
KERNELS(bf16, bf16, 128)
