/* Stand-ins for libcuda.so.1, libcublas.so.12 and libcurand.so.10. Each checks that its arguments arrived. Copies are as late as
   CUDA allows: they happen when somebody waits for them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int cuLaunchKernel(uintptr_t f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned g, unsigned h, uintptr_t i,
                   uintptr_t j, uintptr_t k) {
  return f == 1 && a == 2 && b == 3 && c == 4 && d == 5 && e == 6 && g == 7 && h == 8 && i == 9 && j == 10 && k == 11 ? 41 : -1;
}

int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
  *memory = flags == 1 ? malloc(bytes) : NULL;
  return *memory ? 0 : 1;
}

static struct {
  void *to;
  const void *from;
  size_t bytes;
} copies[64];
static int waiting;

static int copy(void *to, const void *from, size_t bytes) {
  copies[waiting].to = to;
  copies[waiting].from = from;
  copies[waiting++].bytes = bytes;
  return 0;
}

int cuCtxSynchronize(void) {
  for (int i = 0; i < waiting; i++) memcpy(copies[i].to, copies[i].from, copies[i].bytes);
  return waiting = 0;
}

int cuStreamSynchronize(void *stream) { return stream == (void *)9 ? cuCtxSynchronize() : -1; }

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
  return stream == (void *)9 ? copy((void *)to, from, bytes) : -1;
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
  return stream == (void *)9 ? copy(to, (void *)from, bytes) : -1;
}

int cublasCreate_v2(void **handle) { return *handle ? 42 : -1; }

int curandGenerateNormalDouble(void *generator, double *out, size_t n, double mean, double deviation) {
  return !generator && !out && n == 33 && mean == 1.5 && deviation == -2.25 ? 43 : -1;
}
