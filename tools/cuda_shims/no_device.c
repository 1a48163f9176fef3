// Stands in for a GPU where there is none, so that Jittor's CUDA build runs through its compilation
// (tools/cuda_build.py preloads it). Memory is the host's, nothing is computed: kernels are compiled,
// linked and loaded, and their launch is left out.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define DONE(name) \
    int name() { return 0; }
#define MADE(name)                         \
    int name(void** handle) {              \
        *handle = (void*)1;                \
        return 0;                          \
    }

// Jittor opens what it has built so that it looks for symbols in its own libraries first; here it
// has to look outside first. The last line is a jump: who calls decides where dlopen searches.
void* dlopen(const char* name, int flags) {
    static void* (*original)(const char*, int);
    if (!original) original = dlsym(RTLD_NEXT, "dlopen");
    return original(name, flags & ~RTLD_DEEPBIND);
}

int cudaGetDeviceCount(int* count) { *count = 1; return 0; }
int cudaGetDevice(int* device) { *device = 0; return 0; }
int cudaDeviceGetAttribute(int* value, int attribute, int device) { *value = 1; return 0; }
int cudaMemGetInfo(size_t* free, size_t* total) { *free = *total = (size_t)1 << 34; return 0; }
int cudaEventElapsedTime(float* milliseconds, void* start, void* end) { *milliseconds = 0; return 0; }
int cudaMalloc(void** memory, size_t size) { *memory = calloc(1, size); return *memory ? 0 : 2; }
int cudaMallocHost(void** memory, size_t size) { return cudaMalloc(memory, size); }
int cudaMallocManaged(void** memory, size_t size, unsigned flags) { return cudaMalloc(memory, size); }
int cudaFree(void* memory) { free(memory); return 0; }
int cudaFreeHost(void* memory) { free(memory); return 0; }
int cudaMemcpy(void* to, const void* from, size_t size, int kind) { memcpy(to, from, size); return 0; }
int cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, void* stream) {
    memcpy(to, from, size);
    return 0;
}
int cudaMemset(void* to, int value, size_t size) { memset(to, value, size); return 0; }
int cudaMemsetAsync(void* to, int value, size_t size, void* stream) { memset(to, value, size); return 0; }
int cudaLaunchHostFunc(void* stream, void (*function)(void*), void* data) { function(data); return 0; }
DONE(cudaSetDevice) DONE(cudaDeviceSynchronize) DONE(cudaDeviceReset) DONE(cudaGetLastError)
DONE(cudaPeekAtLastError) DONE(cudaEventRecord) DONE(cudaEventSynchronize) DONE(cudaEventDestroy)
DONE(cudaStreamSynchronize) DONE(cudaStreamDestroy) DONE(cudaStreamWaitEvent) DONE(cudaLaunchKernel)
DONE(cudaLaunchKernelExC) DONE(cudaFuncSetAttribute)
MADE(cudaStreamCreate) MADE(cudaStreamCreateWithFlags) MADE(cudaEventCreate)
MADE(cudaEventCreateWithFlags)

MADE(cublasCreate_v2) DONE(cublasDestroy_v2) DONE(cublasSetStream_v2) DONE(cublasSetMathMode)
DONE(cublasSgemm_v2) DONE(cublasDgemm_v2) DONE(cublasGemmEx) DONE(cublasGemmStridedBatchedEx)
DONE(cublasSgemmStridedBatched) DONE(cublasDgemmStridedBatched)

MADE(cudnnCreate) DONE(cudnnDestroy) DONE(cudnnConvolutionForward)
DONE(cudnnConvolutionBackwardData) DONE(cudnnConvolutionBackwardFilter)
DONE(cudnnSetDropoutDescriptor)

// One algorithm, number 0, that needs no memory.
#define ALGORITHM_OF(direction)                                                                  \
    int cudnnGetConvolution##direction##Algorithm_v7(                                            \
        void* handle, void* a, void* b, void* c, void* d, int asked, int* count, void* found) {  \
        memset(found, 0, 40);                                                                    \
        *count = 1;                                                                              \
        return 0;                                                                                \
    }                                                                                            \
    int cudnnFindConvolution##direction##AlgorithmEx(                                            \
        void* handle, void* a, void* b, void* c, void* d, void* e, void* f, void* g, int asked,  \
        int* count, void* found, void* workspace, size_t size) {                                 \
        memset(found, 0, 40);                                                                    \
        *count = 1;                                                                              \
        return 0;                                                                                \
    }                                                                                            \
    int cudnnGetConvolution##direction##WorkspaceSize(                                           \
        void* handle, void* a, void* b, void* c, void* d, int algorithm, size_t* size) {         \
        *size = 0;                                                                               \
        return 0;                                                                                \
    }
ALGORITHM_OF(Forward) ALGORITHM_OF(BackwardData) ALGORITHM_OF(BackwardFilter)

MADE(curandCreateGenerator) DONE(curandDestroyGenerator) DONE(curandSetPseudoRandomGeneratorSeed)
DONE(curandGenerateUniform) DONE(curandGenerateNormal) DONE(curandGenerateUniformDouble)
DONE(curandGenerateNormalDouble)
MADE(cusparseCreate) DONE(cusparseDestroy)
