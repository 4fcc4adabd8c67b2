/* Copies to a device and back, whose sources change at once: ends well if what was copied is what was there. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int cuMemcpyHtoDAsync_v2(uint64_t, const void *, size_t, void *);
int cuMemcpyDtoHAsync_v2(void *, uint64_t, size_t, void *);

int main(void) {
  /* Small, large, and enough of them to fill the place where sources wait. */
  static const size_t sizes[] = {1, 300, 1 << 20, 1 << 20, (1 << 20) + 1, 1 << 20, 3 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20,
                                 1 << 20, 1 << 20, 1 << 20, 5};
  enum { COUNT = sizeof sizes / sizeof *sizes };
  char *device[COUNT];
  for (int i = 0; i < COUNT; i++) {
    device[i] = malloc(sizes[i]);
    char *host = malloc(sizes[i]);
    memset(host, i + 1, sizes[i]);
    if (cuMemcpyHtoDAsync_v2((uint64_t)device[i], host, sizes[i], (void *)9)) return 1;
    memset(host, 99, sizes[i]);
    free(host);
  }
  for (int i = 0; i < COUNT; i++) {
    char *host = malloc(sizes[i]);
    memset(host, 99, sizes[i]);
    if (cuMemcpyDtoHAsync_v2(host, (uint64_t)device[i], sizes[i], (void *)9)) return 2;
    for (size_t at = 0; at < sizes[i]; at++)
      if (host[at] != i + 1) return 3;
    free(host);
  }
  return 0;
}
