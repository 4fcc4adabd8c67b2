/* Stand-ins for libcuda.so.1, libcublas.so.12 and libcurand.so.10. Each checks that its arguments arrived. */
#include <stddef.h>
#include <stdint.h>

int cuLaunchKernel(uintptr_t f, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned g, unsigned h, uintptr_t i,
                   uintptr_t j, uintptr_t k) {
  return f == 1 && a == 2 && b == 3 && c == 4 && d == 5 && e == 6 && g == 7 && h == 8 && i == 9 && j == 10 && k == 11 ? 41 : -1;
}

int cublasCreate_v2(void *handle) { return handle ? -1 : 42; }

int curandGenerateNormalDouble(void *generator, double *out, size_t n, double mean, double deviation) {
  return !generator && !out && n == 33 && mean == 1.5 && deviation == -2.25 ? 43 : -1;
}
