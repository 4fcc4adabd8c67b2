/* Calls of CUDA's functions that we add something to: some are counted, and copies are made to keep what callers rely on. */

#include "calls.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t address; /* CUdeviceptr */

/* Through lazy.S. */
int cuCtxSynchronize(void);
int cuStreamSynchronize(void *stream);
int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags);

__attribute__((visibility("hidden"))) struct counts emopipe_cuda_counts;

static void count(uint64_t *counter) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }

static int (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);

static int counted_launch(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                          unsigned block_z, unsigned shared, void *stream, void **arguments, void **extra) {
  count(&emopipe_cuda_counts.launches);
  return launch(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared, stream, arguments, extra);
}

static int (*allocate)(address *, size_t, void *);

static int counted_allocate(address *memory, size_t bytes, void *stream) {
  count(&emopipe_cuda_counts.allocations);
  return allocate(memory, bytes, stream);
}

static int (*multiply)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int, const void *,
                       void *, int, int, int, int);

static int counted_multiply(void *handle, int turn_a, int turn_b, int m, int n, int k, const void *alpha, const void *a, int type_a,
                            int pitch_a, const void *b, int type_b, int pitch_b, const void *beta, void *c, int type_c, int pitch_c,
                            int compute, int algorithm) {
  count(&emopipe_cuda_counts.products);
  return multiply(handle, turn_a, turn_b, m, n, k, alpha, a, type_a, pitch_a, b, type_b, pitch_b, beta, c, type_c, pitch_c, compute,
                  algorithm);
}

/* Page-locked memory that the sources of copies wait in, so that callers may drop theirs at once and needn't wait: what CUDA does
   with a source in pageable memory, and when, it doesn't promise. All work goes to one stream, and one context. */
enum { ROOM = 8 << 20, LARGEST = 1 << 20, ALIGNMENT = 256, PORTABLE = 1 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *room;
static size_t taken;

static int (*upload)(address, const void *, size_t, void *);

/* Returns a status: copied, with the source waiting in `room`, or not. */
static int staged(address to, const void *from, size_t bytes, void *stream) {
  if (taken + bytes > ROOM) {
    int status = cuCtxSynchronize();
    if (status) return status;
    taken = 0;
  }
  memcpy(room + taken, from, bytes);
  int status = upload(to, room + taken, bytes, stream);
  taken += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return status;
}

static int safe_upload(address to, const void *from, size_t bytes, void *stream) {
  if (bytes <= LARGEST) {
    pthread_mutex_lock(&lock);
    int is_there = room || (!cuMemHostAlloc((void **)&room, ROOM, PORTABLE) && room);
    int status = is_there ? staged(to, from, bytes, stream) : 0;
    pthread_mutex_unlock(&lock);
    if (is_there) return status;
  }
  int status = upload(to, from, bytes, stream);
  return status ? status : cuStreamSynchronize(stream);
}

static int (*download)(void *, address, size_t, void *);

/* Whoever reads from a device goes on with the numbers at once. */
static int safe_download(void *to, address from, size_t bytes, void *stream) {
  int status = download(to, from, bytes, stream);
  return status ? status : cuStreamSynchronize(stream);
}

__attribute__((visibility("hidden"))) const struct call emopipe_cuda_calls[] = {
    {"cuLaunchKernel", (void *)counted_launch, (void **)&launch},
    {"cuMemAllocAsync", (void *)counted_allocate, (void **)&allocate},
    {"cublasGemmEx", (void *)counted_multiply, (void **)&multiply},
    {"cuMemcpyHtoDAsync_v2", (void *)safe_upload, (void **)&upload},
    {"cuMemcpyDtoHAsync_v2", (void *)safe_download, (void **)&download},
    {NULL, NULL, NULL},
};
