/* Opens CUDA's libraries when one of their functions is first called; see lazy.S. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As lazy.S lays it out. */
struct function {
  void *address; /* NULL until the first call */
  uint16_t library;
  char name[];
};

/* What stands in for a function that isn't there: it returns an error code of the library's. */
static int symbol_not_found(void) { return 302; }      /* CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND */
static int not_initialized(void) { return 1; }         /* CUBLAS_STATUS_NOT_INITIALIZED */
static int initialization_failed(void) { return 203; } /* CURAND_STATUS_INITIALIZATION_FAILED */
static int internal_error(void) { return 11; }         /* NVRTC_ERROR_INTERNAL_ERROR */

/* candle sets up a generator on each device, and we draw no numbers there: without cuRAND only drawing fails. */
static int no_generator(void **generator) { return *generator = NULL, 0; } /* CURAND_STATUS_SUCCESS */
static int nothing_to_do(void) { return 0; }

static const struct stand_in {
  const char *name;
  void *address;
} stand_ins[] = {
    {"curandCreateGenerator", (void *)no_generator},
    {"curandSetPseudoRandomGeneratorSeed", (void *)nothing_to_do},
    {"curandSetStream", (void *)nothing_to_do},
    {"curandDestroyGenerator", (void *)nothing_to_do},
};

/* In the order of link.rs. Of several versions the toolkit's comes first: it needs no newer driver than our kernels do. */
static struct library {
  const char *name;
  int versions[5]; /* 0 ends them */
  int (*missing)(void);
  void *handle;
  int is_searched;
} libraries[] = {
    {"libcuda.so", {1}, symbol_not_found, NULL, 0},
    {"libcublas.so", {TOOLKIT, 13, 12, 11}, not_initialized, NULL, 0},
    {"libcublasLt.so", {TOOLKIT, 13, 12, 11}, not_initialized, NULL, 0},
    {"libcurand.so", {10}, initialization_failed, NULL, 0},
    {"libnvrtc.so", {TOOLKIT, 13, 12}, internal_error, NULL, 0},
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char trouble[1024];

static void note(const char *text) {
  if (text && !trouble[0]) snprintf(trouble, sizeof trouble, "%s", text);
}

/* Where the loader looks, then in folders of toolkits, which it may not know. */
static void *open_version(const char *name, int version) {
  const char *roots[] = {"", getenv("CUDA_HOME"), getenv("CUDA_PATH"), "/usr/local/cuda"};
  void *handle = NULL;
  for (size_t i = 0; i < sizeof roots / sizeof *roots && !handle; i++) {
    char path[4096];
    if (!roots[i]) continue;
    snprintf(path, sizeof path, "%s%s%s.%d", roots[i], *roots[i] ? "/lib64/" : "", name, version);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  }
  return handle;
}

static void open_library(struct library *library) {
  for (const int *version = library->versions; *version && !library->handle; version++)
    library->handle = open_version(library->name, *version);
  if (!library->handle) {
    char path[64];
    snprintf(path, sizeof path, "%s.%d", library->name, library->versions[0]);
    if (!dlopen(path, RTLD_NOW | RTLD_LOCAL)) note(dlerror());
  }
}

/* What a function does whose library isn't there. */
static void *without(const struct library *library, const char *name) {
  for (size_t i = 0; i < sizeof stand_ins / sizeof *stand_ins; i++)
    if (!strcmp(name, stand_ins[i].name)) return stand_ins[i].address;
  return (void *)library->missing;
}

/* The address to go on to. */
__attribute__((visibility("hidden"))) void *emopipe_cuda_resolve(struct function *function) {
  pthread_mutex_lock(&lock);
  struct library *library = &libraries[function->library];
  if (!library->is_searched) {
    library->is_searched = 1;
    open_library(library);
  }
  void *address = library->handle ? dlsym(library->handle, function->name) : without(library, function->name);
  if (!address) {
    note(dlerror());
    address = (void *)library->missing;
  }
  __atomic_store_n(&function->address, address, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&lock);
  return address;
}

/* What first kept a library or a function from being found; empty where nothing did. */
__attribute__((visibility("hidden"))) const char *emopipe_cuda_trouble(void) { return trouble; }
