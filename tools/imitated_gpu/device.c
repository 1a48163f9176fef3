// Stands in for the NVIDIA driver, the CUDA runtime and NVML where there is no GPU: cards whose
// memory is the host's (preloaded by tools/imitate_gpu.py and tools/cuda_build.py). A kernel that
// nvcc has compiled cannot be computed: its launch is left out, or is an error where results count.
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

// Jittor opens what it has built so that it looks for symbols in its own libraries first; here it
// has to look outside first. The driver's and NVML's names lead here. The last line is a jump: who
// calls decides where dlopen searches.
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

// The cards of IMITATED_GPU_COUNT, or those of them that CUDA_VISIBLE_DEVICES names when a process asks
// first: later changes come too late, as they do with the driver's own.
static int cards[16], card_count = -1;
int cuInit(unsigned flags) {
    const char *told = getenv("IMITATED_GPU_COUNT"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    const int there = told ? atoi(told) : 1;
    if (card_count >= 0) return 0;
    card_count = 0;
    for (int i = 0; !visible && i < there; i++) cards[card_count++] = i;
    for (char* next = (char*)visible; visible && *next && card_count < 16;) {
        char* end;
        const long card = strtol(next, &end, 10);
        if (end == next || card < 0 || card >= there) break;
        cards[card_count++] = card;
        next = end + (*end == ',');
    }
    return 0;
}
int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
int cuDeviceGetCount(int* count) {
    cuInit(0);
    *count = card_count;
    return 0;
}
int cuDeviceGet(int* device, int index) { *device = index; return 0; }
int cuDeviceGetName(char* name, int size, int device) {
    snprintf(name, size, "imitated GPU %d", cards[device]);
    return 0;
}
// 75 and 76 ask for the compute capability.
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    *value = attribute == 75 ? CAPABILITY / 10 : CAPABILITY % 10;
    return 0;
}
DONE(nvmlInit_v2)
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) { *device = (void*)1; return 0; }
int nvmlDeviceGetMemoryInfo(void* device, unsigned long long* total_free_used) {
    total_free_used[0] = total();
    total_free_used[1] = total() - taken;
    total_free_used[2] = taken;
    return 0;
}

// ---- the runtime

int cudaGetDeviceCount(int* count) { return cuDeviceGetCount(count); }
int cudaGetDevice(int* device) { *device = 0; return 0; }
int cudaDeviceGetAttribute(int* value, int attribute, int device) { *value = 1; return 0; }
#ifdef __DRIVER_TYPES_H__
int cudaGetDeviceProperties(struct cudaDeviceProp* card, int device) {
    memset(card, 0, sizeof(*card));
    cuDeviceGetName(card->name, sizeof(card->name), device);
    card->major = CAPABILITY / 10;
    card->minor = CAPABILITY % 10;
    card->totalGlobalMem = total();
    return 0;
}
#endif
int cudaMemGetInfo(size_t* free, size_t* whole) {
    *free = total() - taken;
    *whole = total();
    return 0;
}
int cudaEventElapsedTime(float* milliseconds, void* start, void* end) { *milliseconds = 0; return 0; }

// Fresh memory is full of NaN (-1 as an integer), so that what reads it before it is written shows.
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
int cudaMallocManaged(void** memory, size_t size, unsigned flags) { return cudaMalloc(memory, size); }
int cudaMallocHost(void** memory, size_t size) {
    *memory = malloc(size);
    return *memory ? 0 : MEMORY_ALLOCATION;
}
int cudaFreeHost(void* memory) { free(memory); return 0; }
int cudaMemcpy(void* to, const void* from, size_t size, int kind) { memmove(to, from, size); return 0; }
int cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, void* stream) {
    return cudaMemcpy(to, from, size, kind);
}
int cudaMemset(void* to, int value, size_t size) { memset(to, value, size); return 0; }
int cudaMemsetAsync(void* to, int value, size_t size, void* stream) { memset(to, value, size); return 0; }
int cudaLaunchHostFunc(void* stream, void (*function)(void*), void* data) { function(data); return 0; }

int cudaLaunchKernel() { return getenv("IMITATED_GPU_COMPUTES") ? INVALID_DEVICE_FUNCTION : 0; }
int cudaLaunchKernelExC() { return cudaLaunchKernel(); }
DONE(cudaSetDevice) DONE(cudaDeviceSynchronize) DONE(cudaDeviceReset) DONE(cudaGetLastError)
DONE(cudaPeekAtLastError) DONE(cudaEventRecord) DONE(cudaEventSynchronize) DONE(cudaEventDestroy)
DONE(cudaStreamSynchronize) DONE(cudaStreamDestroy) DONE(cudaStreamWaitEvent)
DONE(cudaFuncSetAttribute)
MADE(cudaStreamCreate) MADE(cudaStreamCreateWithFlags) MADE(cudaEventCreate)
MADE(cudaEventCreateWithFlags)
