/* Calls functions of CUDA's libraries, linked through build/lazy.S: prints what each returns, from its first call and its second,
   then how often kernels were launched, and whether there is cuBLAS. */
#include "calls.h"

#include <stdio.h>

int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
int cuMemAlloc_v2(void *, size_t);
int cublasCreate_v2(void **);
int cublasGetVersion_v2(void *, int *);
int curandCreateGenerator(void **, int);
int curandGenerateNormalDouble(void *, double *, size_t, double, double);
int nvrtcVersion(int *, int *);
const char *emopipe_cuda_trouble(void);
int emopipe_cuda_can_multiply(void);

int main(void) {
  for (int call = 0; call < 2; call++) {
    printf("%d ", cuLaunchKernel((void *)1, 2, 3, 4, 5, 6, 7, 8, (void *)9, (void **)10, (void **)11));
    printf("%d ", cuMemAlloc_v2(NULL, 1));
    void *handle = &call;
    int status = cublasCreate_v2(&handle);
    printf("%d%s ", status, handle ? "" : ":none");
    printf("%d ", cublasGetVersion_v2(NULL, NULL));
    void *generator = &call;
    status = curandCreateGenerator(&generator, 100);
    printf("%d%s ", status, generator ? "" : ":none");
    printf("%d ", curandGenerateNormalDouble(NULL, NULL, 33, 1.5, -2.25));
    printf("%d ", nvrtcVersion(NULL, NULL));
  }
  printf("| %d %d | %s\n", (int)emopipe_cuda_counts.launches, emopipe_cuda_can_multiply(), emopipe_cuda_trouble());
}
