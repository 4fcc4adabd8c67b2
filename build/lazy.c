/* Opens CUDA's libraries when one of their functions is first called; see lazy.S. */

#define _GNU_SOURCE
#include "calls.h"

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

/* candle sets up cuBLAS and a generator on each device. Without cuBLAS only products fail, and without cuRAND only drawing. */
static int no_handle(void **handle) { return *handle = NULL, 0; }
static int nothing_to_do(void) { return 0; }

static const struct stand_in {
  const char *name;
  void *address;
} stand_ins[] = {
    {"cublasCreate_v2", (void *)no_handle},
    {"cublasSetStream_v2", (void *)nothing_to_do},
    {"cublasDestroy_v2", (void *)nothing_to_do},
    {"curandCreateGenerator", (void *)no_handle},
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

static void *open_in(const char *folder, const char *name, int version) {
  char path[4096];
  int length = snprintf(path, sizeof path, "%s%s%s.%d", folder, *folder ? "/" : "", name, version);
  return length < (int)sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

/* Folders of CUDA's libraries that came as Python wheels, as PyTorch's do. Not those in the current folder. */
static const char wheels[] = "python3 -c 'import sys; sys.path = [p for p in sys.path if p]\n"
                             "from glob import glob; from importlib.util import find_spec\n"
                             "for name in \"nvidia\", \"torch\":\n"
                             "    spec = find_spec(name)\n"
                             "    for place in spec.submodule_search_locations or [] if spec else []:\n"
                             "        print(*sorted(glob(place + \"/lib\") + glob(place + \"/*/lib\"), reverse=True), sep=\"\\n\")'"
                             " 2> /dev/null < /dev/null";

static void *open_of_wheels(const struct library *library) {
  FILE *told = popen(wheels, "r");
  void *handle = NULL;
  char folder[4096];
  /* All is read, so that python3 isn't cut off. */
  while (told && fgets(folder, sizeof folder, told)) {
    folder[strcspn(folder, "\n")] = '\0';
    for (const int *version = library->versions; *folder == '/' && *version && !handle; version++)
      handle = open_in(folder, library->name, *version);
  }
  if (told) pclose(told);
  return handle;
}

/* Where the loader looks, and in folders of toolkits, which it may not know. */
static void *open_of_toolkits(const struct library *library, int version) {
  const char *roots[] = {getenv("CUDA_HOME"), getenv("CUDA_PATH"), "/usr/local/cuda"};
  void *handle = open_in("", library->name, version);
  for (size_t i = 0; i < sizeof roots / sizeof *roots && !handle; i++) {
    char folder[4000];
    if (roots[i] && snprintf(folder, sizeof folder, "%s/lib64", roots[i]) < (int)sizeof folder)
      handle = open_in(folder, library->name, version);
  }
  return handle;
}

static void open_library(struct library *library) {
  for (const int *version = library->versions; *version && !library->handle; version++)
    library->handle = open_of_toolkits(library, *version);
  /* The driver is the machine's, never a wheel's. */
  if (!library->handle && library != &libraries[0]) library->handle = open_of_wheels(library);
  if (!library->handle && !open_in("", library->name, library->versions[0])) note(dlerror());
}

/* What is called for a function of CUDA's: itself, or what adds something to it. */
static void *called(const char *name, void *address) {
  for (const struct call *call = emopipe_cuda_calls; call->name; call++) {
    if (strcmp(name, call->name)) continue;
    *call->theirs = address;
    return call->ours;
  }
  return address;
}

/* What a function does whose library isn't there. */
static void *without(const struct library *library, const char *name) {
  for (size_t i = 0; i < sizeof stand_ins / sizeof *stand_ins; i++)
    if (!strcmp(name, stand_ins[i].name)) return stand_ins[i].address;
  return (void *)library->missing;
}

static void find(struct library *library) {
  if (library->is_searched) return;
  library->is_searched = 1;
  open_library(library);
}

/* The address to go on to. */
__attribute__((visibility("hidden"))) void *emopipe_cuda_resolve(struct function *function) {
  pthread_mutex_lock(&lock);
  struct library *library = &libraries[function->library];
  find(library);
  void *address = library->handle ? dlsym(library->handle, function->name) : without(library, function->name);
  if (!address) {
    note(dlerror());
    address = (void *)library->missing;
  } else if (library->handle) {
    address = called(function->name, address);
  }
  __atomic_store_n(&function->address, address, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&lock);
  return address;
}

/* Whether there is cuBLAS. */
__attribute__((visibility("hidden"))) int emopipe_cuda_can_multiply(void) {
  pthread_mutex_lock(&lock);
  struct library *library = &libraries[1];
  find(library);
  pthread_mutex_unlock(&lock);
  return library->handle != NULL;
}

/* What first kept a library or a function from being found; empty where nothing did. */
__attribute__((visibility("hidden"))) const char *emopipe_cuda_trouble(void) { return trouble; }
