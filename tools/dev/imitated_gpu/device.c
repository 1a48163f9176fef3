// Replaces the NVIDIA driver, the CUDA runtime and NVML: GPUs whose memory is the host's. It is
// preloaded by tools/dev/imitate_gpu.py and tools/dev/cuda_build.py. It cannot run kernels that
// nvcc compiled: a launch has no effect, or is an error if IMITATED_GPU_COMPUTES is set.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#if __has_include(<driver_types.h>)
#include <driver_types.h>
#endif

enum { MEMORY_ALLOCATION = 2, INVALID_DEVICE_FUNCTION = 98 };

// Jittor opens its libraries with RTLD_DEEPBIND, so they search for symbols in themselves first.
// Here they must search this library first. The names of the driver and NVML resolve to this
// library. The last line is a tail call: dlopen's search depends on the caller.
void* dlopen(const char* name, int flags) {
    static void* (*original)(const char*, int);
    static Dl_info self;
    if (!original) {
        dladdr((void*)dlopen, &self);
        original = dlsym(RTLD_NEXT, "dlopen");
    }
    if (name && (!strncmp(name, "libcuda.so", 10) || !strncmp(name, "libnvidia-ml.so", 15)))
        name = self.dli_fname;
    return original(name, flags & ~RTLD_DEEPBIND);
}

// ---- the driver and NVML

enum { CAPABILITY = 90 };
static atomic_size_t taken;

static size_t total(void) {
    const char* gib = getenv("IMITATED_GPU_GIB");
    return (gib ? atof(gib) : 16) * 0x1p30;
}

// The GPUs of IMITATED_GPU_COUNT that CUDA_VISIBLE_DEVICES names at the first call in a process. As
// in the real driver, later changes have no effect.
static int gpus[16], gpu_count = -1;
int cuInit(unsigned flags) {
    const char *count = getenv("IMITATED_GPU_COUNT"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    const int available = count ? atoi(count) : 1;
    if (gpu_count >= 0) return 0;
    gpu_count = 0;
    for (int i = 0; !visible && i < available; i++) gpus[gpu_count++] = i;
    for (char* next = (char*)visible; visible && *next && gpu_count < 16;) {
        char* end;
        const long gpu = strtol(next, &end, 10);
        if (end == next || gpu < 0 || gpu >= available) break;
        gpus[gpu_count++] = gpu;
        next = end + (*end == ',');
    }
    return 0;
}
int cuDriverGetVersion(int* version) {
    *version = 13000;
    return 0;
}
int cuDeviceGetCount(int* count) {
    cuInit(0);
    *count = gpu_count;
    return 0;
}
int cuDeviceGet(int* device, int index) {
    *device = index;
    return 0;
}
int cuDeviceGetName(char* name, int size, int device) {
    snprintf(name, size, "imitated GPU %d", gpus[device]);
    return 0;
}
// Attributes 75 and 76 are the compute capability.
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    *value = attribute == 75 ? CAPABILITY / 10 : CAPABILITY % 10;
    return 0;
}
DONE(nvmlInit_v2)
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
    *device = (void*)1;
    return 0;
}
int nvmlDeviceGetMemoryInfo(void* device, unsigned long long* total_free_used) {
    total_free_used[0] = total();
    total_free_used[1] = total() - taken;
    total_free_used[2] = taken;
    return 0;
}

// ---- the runtime

int cudaGetDeviceCount(int* count) { return cuDeviceGetCount(count); }
int cudaGetDevice(int* device) {
    *device = 0;
    return 0;
}
int cudaDeviceGetAttribute(int* value, int attribute, int device) {
    *value = 1;
    return 0;
}
#ifdef __DRIVER_TYPES_H__
int cudaGetDeviceProperties(struct cudaDeviceProp* properties, int device) {
    memset(properties, 0, sizeof(*properties));
    cuDeviceGetName(properties->name, sizeof(properties->name), device);
    properties->major = CAPABILITY / 10;
    properties->minor = CAPABILITY % 10;
    properties->totalGlobalMem = total();
    return 0;
}
#endif
int cudaMemGetInfo(size_t* free, size_t* whole) {
    *free = total() - taken;
    *whole = total();
    return 0;
}
int cudaEventElapsedTime(float* milliseconds, void* start, void* end) {
    *milliseconds = 0;
    return 0;
}

// New memory is NaN (-1 as an integer), to reveal reads of uninitialized memory.
int cudaMalloc(void** memory, size_t size) {
    *memory = taken + size > total() ? NULL : malloc(size);
    if (!*memory) return MEMORY_ALLOCATION;
    taken += malloc_usable_size(*memory);
    memset(*memory, 0xff, size);
    return 0;
}
int cudaFree(void* memory) {
    if (memory) taken -= malloc_usable_size(memory);
    free(memory);
    return 0;
}
int cudaMallocManaged(void** memory, size_t size, unsigned flags) {
    return cudaMalloc(memory, size);
}
int cudaMallocHost(void** memory, size_t size) {
    *memory = malloc(size);
    return *memory ? 0 : MEMORY_ALLOCATION;
}
int cudaFreeHost(void* memory) {
    free(memory);
    return 0;
}
int cudaMemcpy(void* to, const void* from, size_t size, int kind) {
    memmove(to, from, size);
    return 0;
}
int cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, void* stream) {
    return cudaMemcpy(to, from, size, kind);
}
int cudaMemset(void* to, int value, size_t size) {
    memset(to, value, size);
    return 0;
}
int cudaMemsetAsync(void* to, int value, size_t size, void* stream) {
    memset(to, value, size);
    return 0;
}
int cudaLaunchHostFunc(void* stream, void (*function)(void*), void* data) {
    function(data);
    return 0;
}

int cudaLaunchKernel() { return getenv("IMITATED_GPU_COMPUTES") ? INVALID_DEVICE_FUNCTION : 0; }
int cudaLaunchKernelExC() { return cudaLaunchKernel(); }
DONE(cudaSetDevice)
DONE(cudaDeviceSynchronize)
DONE(cudaDeviceReset)
DONE(cudaGetLastError)
DONE(cudaPeekAtLastError)
DONE(cudaEventRecord)
DONE(cudaEventSynchronize)
DONE(cudaEventDestroy)
DONE(cudaStreamSynchronize)
DONE(cudaStreamDestroy)
DONE(cudaStreamWaitEvent)
DONE(cudaFuncSetAttribute)
MADE(cudaStreamCreate)
MADE(cudaStreamCreateWithFlags)
MADE(cudaEventCreate)
MADE(cudaEventCreateWithFlags)
