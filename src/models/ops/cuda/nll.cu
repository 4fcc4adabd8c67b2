// Cross-entropy over a block of the vocabulary's columns: one thread block a row of logits.
//
// `offsets` [rows + 1] says which targets belong to a row: `order[offsets[row]..offsets[row + 1]]` are their places among all.
#include "common.cuh"

// Takes one more block of columns into each row's running maximum and sum, and keeps the logits of targets.
extern "C" __global__ void nll_block(
    const float *logits, int start, int len, const unsigned *offsets, const unsigned *order, const unsigned *ids,
    float *max, float *sum, float *picked) {
    __shared__ float scratch[WARP];
    const int row = blockIdx.x;
    logits += row * (size_t)len;
    float own = -INFINITY;
    for (int i = threadIdx.x; i < len; i += blockDim.x) own = fmaxf(own, logits[i]);
    const float before = start == 0 ? -INFINITY : max[row];
    const float larger = fmaxf(before, block_max(own, scratch));
    float part = 0;
    for (int i = threadIdx.x; i < len; i += blockDim.x) part += expf(logits[i] - larger);
    part = block_sum(part, scratch);
    if (threadIdx.x == 0) {
        sum[row] = start == 0 ? part : sum[row] * expf(before - larger) + part;
        max[row] = larger;
    }
    for (unsigned t = offsets[row] + threadIdx.x; t < offsets[row + 1]; t += blockDim.x) {
        const int column = (int)ids[order[t]] - start;
        if (column >= 0 && column < len) picked[order[t]] = logits[column];
    }
}

// Log-sum-exps of the rows, behind the losses of the targets.
extern "C" __global__ void nll_finish(
    const float *max, const float *sum, const unsigned *offsets, const unsigned *order, float *losses, float *sums) {
    const int row = blockIdx.x;
    const float all = max[row] + logf(sum[row]);
    if (threadIdx.x == 0) sums[row] = all;
    for (unsigned t = offsets[row] + threadIdx.x; t < offsets[row + 1]; t += blockDim.x) losses[order[t]] = all - losses[order[t]];
}

// Logits to their gradients, in place.
extern "C" __global__ void nll_backward(
    float *logits, int start, int len, const unsigned *offsets, const unsigned *order, const unsigned *ids,
    const float *grads, const float *sums) {
    const int row = blockIdx.x;
    logits += row * (size_t)len;
    float weight = 0;
    for (unsigned t = offsets[row]; t < offsets[row + 1]; t++) weight += grads[order[t]];
    for (int i = threadIdx.x; i < len; i += blockDim.x) logits[i] = weight * expf(logits[i] - sums[row]);
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (unsigned t = offsets[row]; t < offsets[row + 1]; t++) {
        const int column = (int)ids[order[t]] - start;
        if (column >= 0 && column < len) logits[column] -= grads[order[t]];
    }
}
