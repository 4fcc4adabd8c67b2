/* What lazy.c and the Rust side know of calls.c. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A function of ours that is called instead of CUDA's, and where it finds CUDA's. */
struct call {
  const char *name;
  void *ours;
  void **theirs;
};

/* A nameless one ends them. */
extern const struct call emopipe_cuda_calls[];

/* Calls of this process so far; models/device/cuda.rs reads them. */
struct counts {
  uint64_t launches;
  uint64_t allocations;
  uint64_t products;
};

extern struct counts emopipe_cuda_counts;
