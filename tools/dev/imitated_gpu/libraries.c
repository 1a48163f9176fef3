// The calls of cuBLAS, cuDNN and cuRAND that Jittor makes for this project, as plain loops on the
// host. Products and convolutions sum in float32 for every operand type. Other requests return "not
// supported". Descriptors are cuDNN's own, which need no GPU.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"

// For measurements of memory alone, results are zeros at once.
static int without_products(void) { return getenv("IMITATED_GPU_WITHOUT_PRODUCTS") != NULL; }

typedef enum { FLOAT32, FLOAT16, BFLOAT16, OTHER } Type;

static float value_at(const void* array, Type type, int64_t index) {
    if (type == FLOAT32) return ((const float*)array)[index];
    if (type == FLOAT16) return ((const _Float16*)array)[index];
    uint32_t bits = (uint32_t)((const uint16_t*)array)[index] << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static void put_at(void* array, Type type, int64_t index, float value) {
    if (type == FLOAT32) ((float*)array)[index] = value;
    if (type == FLOAT16) ((_Float16*)array)[index] = value;
    if (type == BFLOAT16) {
        uint32_t bits;
        memcpy(&bits, &value, 4);
        // round to nearest, ties to even; NaN stays NaN
        if (value == value) bits += 0x7fff + (bits >> 16 & 1);
        ((uint16_t*)array)[index] = bits >> 16;
    }
}

static float* in_float32(const void* array, Type type, int64_t count) {
    float* copy = malloc(count * sizeof(float));
    for (int64_t i = 0; i < count; i++) copy[i] = value_at(array, type, i);
    return copy;
}

// array = alpha * sums + beta * array; with beta = 0 the array may hold NaN
static void put_sums(void* array, Type type, const float* sums, int64_t count, float alpha,
                     float beta) {
    for (int64_t i = 0; i < count; i++)
        put_at(array, type, i, alpha * sums[i] + (beta ? beta * value_at(array, type, i) : 0));
}

// ---- cuBLAS

enum { CUBLAS_NOT_SUPPORTED = 15, COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77 };

static Type type_of_cuda(int type) {
    return type == 0 ? FLOAT32 : type == 2 ? FLOAT16 : type == 14 ? BFLOAT16 : OTHER;
}

MADE(cublasCreate_v2)
DONE(cublasDestroy_v2)
DONE(cublasSetStream_v2)
DONE(cublasSetMathMode)

// Column-major: c[i + j ldc] = alpha * sum over l of a[i, l] b[l, j] + beta * c[i + j ldc].
int cublasGemmStridedBatchedEx(void* handle, int transpose_a, int transpose_b, int m, int n, int k,
                               const float* alpha, const void* a, int a_type, int lda,
                               long long a_step, const void* b, int b_type, int ldb,
                               long long b_step, const float* beta, void* c, int c_type, int ldc,
                               long long c_step, int batch, int compute, int algorithm) {
    const Type ta = type_of_cuda(a_type), tb = type_of_cuda(b_type), tc = type_of_cuda(c_type);
    if (ta == OTHER || tb == OTHER || tc == OTHER ||
        (compute != COMPUTE_32F && compute != COMPUTE_32F_FAST_TF32))
        return CUBLAS_NOT_SUPPORTED;
    const int terms = without_products() ? 0 : k;
    for (int64_t p = 0; p < batch; p++)
        for (int64_t j = 0; j < n; j++) {
            float* sums = calloc(m, sizeof(float));
            for (int64_t l = 0; l < terms; l++) {
                const float right =
                    value_at(b, tb, p * b_step + (transpose_b ? j + l * ldb : l + j * ldb));
                if (ta == FLOAT32 && !transpose_a) {
                    const float* column = (const float*)a + p * a_step + l * lda;
                    for (int64_t i = 0; i < m; i++) sums[i] += column[i] * right;
                } else
                    for (int64_t i = 0; i < m; i++)
                        sums[i] +=
                            value_at(a, ta,
                                     p * a_step + (transpose_a ? l + i * lda : i + l * lda)) *
                            right;
            }
            for (int64_t i = 0; i < m; i++) {
                const int64_t at = p * c_step + i + j * ldc;
                const float before = *beta ? *beta * value_at(c, tc, at) : 0;
                put_at(c, tc, at, *alpha * sums[i] + before);
            }
            free(sums);
        }
    return 0;
}

int cublasGemmEx(void* handle, int transpose_a, int transpose_b, int m, int n, int k,
                 const float* alpha, const void* a, int a_type, int lda, const void* b, int b_type,
                 int ldb, const float* beta, void* c, int c_type, int ldc, int compute,
                 int algorithm) {
    return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, a, a_type,
                                      lda, 0, b, b_type, ldb, 0, beta, c, c_type, ldc, 0, 1,
                                      compute, algorithm);
}

// ---- cuDNN

enum { CUDNN_NOT_SUPPORTED = 3000, CROSS_CORRELATION = 1 };

int cudnnGetTensorNdDescriptor(void*, int, int* type, int* count, int size[], int stride[]);
int cudnnGetFilterNdDescriptor(void*, int, int* type, int* format, int* count, int size[]);
int cudnnGetConvolutionNdDescriptor(void*, int, int* count, int padding[], int stride[],
                                    int dilation[], int* mode, int* compute);
int cudnnGetConvolutionGroupCount(void*, int* count);

typedef struct {
    Type type;
    int size[4];
    int64_t count;
} Array;

typedef struct {
    Array image, weight, result;
    int padding[2], stride[2], dilation[2], groups;
} Convolution;

static Type type_of_cudnn(int type) {
    return type == 0 ? FLOAT32 : type == 2 ? FLOAT16 : type == 9 ? BFLOAT16 : OTHER;
}

static int64_t count_of(const int size[4]) {
    return (int64_t)size[0] * size[1] * size[2] * size[3];
}

static int read_tensor(void* descriptor, Array* array) {
    int type, count, stride[4], step = 1;
    if (cudnnGetTensorNdDescriptor(descriptor, 4, &type, &count, array->size, stride) || count != 4)
        return 1;
    for (int i = 3; i >= 0; step *= array->size[i--])
        if (stride[i] != step) return 1;
    array->type = type_of_cudnn(type);
    array->count = count_of(array->size);
    return array->type == OTHER;
}

static int read_all(void* image, void* weight, void* convolution, void* result,
                    Convolution* found) {
    int type, format, count, mode, compute;
    if (read_tensor(image, &found->image) || read_tensor(result, &found->result)) return 1;
    if (cudnnGetFilterNdDescriptor(weight, 4, &type, &format, &count, found->weight.size)) return 1;
    found->weight.type = type_of_cudnn(type);
    found->weight.count = count_of(found->weight.size);
    if (found->weight.type == OTHER || format || count != 4) return 1;
    if (cudnnGetConvolutionNdDescriptor(convolution, 2, &count, found->padding, found->stride,
                                        found->dilation, &mode, &compute))
        return 1;
    cudnnGetConvolutionGroupCount(convolution, &found->groups);
    // only sums in float32
    return count != 2 || mode != CROSS_CORRELATION || compute != 0;
}

typedef enum { TO_RESULT, TO_IMAGE, TO_WEIGHT } Target;

// Adds the product of the other two arrays to the target; the innermost loop runs over columns.
static void convolve(const Convolution* c, Target target, float* image, float* weight,
                     float* result) {
    const int height = c->image.size[2], width = c->image.size[3];
    const int rows = c->result.size[2], columns = c->result.size[3];
    const int outs = c->result.size[1], ins = c->image.size[1] / c->groups;
    const int kernel = c->weight.size[2] * c->weight.size[3], step = c->stride[1];
    for (int n = 0; n < c->image.size[0]; n++)
        for (int out = 0; out < outs; out++)
            for (int in = 0; in < ins; in++)
                for (int k = 0; k < kernel; k++) {
                    const int first = out / (outs / c->groups) * ins;
                    const int below = k / c->weight.size[3] * c->dilation[0] - c->padding[0];
                    const int right = k % c->weight.size[3] * c->dilation[1] - c->padding[1];
                    float* w = weight + ((int64_t)out * ins + in) * kernel + k;
                    float* plane =
                        image + ((int64_t)n * c->image.size[1] + first + in) * height * width;
                    // the columns x with 0 <= x step + right < width
                    const int begin = right < 0 ? (step - 1 - right) / step : 0;
                    const int inside = right < width ? (width - 1 - right) / step + 1 : 0;
                    const int end = inside < columns ? inside : columns;
                    float sum = 0;
                    for (int y = 0; y < rows; y++) {
                        const int row = y * c->stride[0] + below;
                        if (row < 0 || row >= height) continue;
                        float* from = plane + (int64_t)row * width + right;
                        float* to = result + (((int64_t)n * outs + out) * rows + y) * columns;
                        if (target == TO_RESULT)
                            for (int x = begin; x < end; x++) to[x] += *w * from[x * step];
                        else if (target == TO_IMAGE)
                            for (int x = begin; x < end; x++) from[x * step] += *w * to[x];
                        else
                            for (int x = begin; x < end; x++) sum += from[x * step] * to[x];
                    }
                    if (target == TO_WEIGHT) *w += sum;
                }
}

static int compute(void* image_as, void* weight_as, void* convolution, void* result_as,
                   Target target, void* image, void* weight, void* result, float alpha,
                   float beta) {
    Convolution found;
    if (read_all(image_as, weight_as, convolution, result_as, &found)) return CUDNN_NOT_SUPPORTED;
    const Array arrays[] = {found.result, found.image, found.weight};
    void* const given[] = {result, image, weight};
    if (without_products()) {
        memset(given[target], 0, arrays[target].count * (arrays[target].type == FLOAT32 ? 4 : 2));
        return 0;
    }
    float* values[3];
    for (int i = 0; i < 3; i++)
        values[i] = i == (int)target ? calloc(arrays[i].count, sizeof(float))
                                     : in_float32(given[i], arrays[i].type, arrays[i].count);
    convolve(&found, target, values[TO_IMAGE], values[TO_WEIGHT], values[TO_RESULT]);
    put_sums(given[target], arrays[target].type, values[target], arrays[target].count, alpha, beta);
    for (int i = 0; i < 3; i++) free(values[i]);
    return 0;
}

MADE(cudnnCreate)
DONE(cudnnDestroy)
DONE(cudnnSetDropoutDescriptor)

int cudnnConvolutionForward(void* handle, const float* alpha, void* image_as, void* image,
                            void* weight_as, void* weight, void* convolution, int algorithm,
                            void* space, size_t space_size, const float* beta, void* result_as,
                            void* result) {
    return compute(image_as, weight_as, convolution, result_as, TO_RESULT, image, weight, result,
                   *alpha, *beta);
}

int cudnnConvolutionBackwardData(void* handle, const float* alpha, void* weight_as, void* weight,
                                 void* result_as, void* result, void* convolution, int algorithm,
                                 void* space, size_t space_size, const float* beta, void* image_as,
                                 void* image) {
    return compute(image_as, weight_as, convolution, result_as, TO_IMAGE, image, weight, result,
                   *alpha, *beta);
}

int cudnnConvolutionBackwardFilter(void* handle, const float* alpha, void* image_as, void* image,
                                   void* result_as, void* result, void* convolution, int algorithm,
                                   void* space, size_t space_size, const float* beta,
                                   void* weight_as, void* weight) {
    return compute(image_as, weight_as, convolution, result_as, TO_WEIGHT, image, weight, result,
                   *alpha, *beta);
}

// Algorithm 0, which needs no workspace.
static int one_algorithm(int* count, void* found) {
    memset(found, 0, 40);
    *count = 1;
    return 0;
}
#define ALGORITHM_OF(direction)                                                                 \
    int cudnnGetConvolution##direction##Algorithm_v7(                                           \
        void* handle, void* a, void* b, void* c, void* d, int limit, int* count, void* found) { \
        return one_algorithm(count, found);                                                     \
    }                                                                                           \
    int cudnnFindConvolution##direction##AlgorithmEx(                                           \
        void* handle, void* a, void* b, void* c, void* d, void* e, void* f, void* g, int limit, \
        int* count, void* found, void* workspace, size_t size) {                                \
        return one_algorithm(count, found);                                                     \
    }                                                                                           \
    int cudnnGetConvolution##direction##WorkspaceSize(void* handle, void* a, void* b, void* c,  \
                                                      void* d, int algorithm, size_t* size) {   \
        *size = 0;                                                                              \
        return 0;                                                                               \
    }
ALGORITHM_OF(Forward)
ALGORITHM_OF(BackwardData)
ALGORITHM_OF(BackwardFilter)

// ---- cuRAND: numbers of the same distribution, from another generator

static uint64_t state;

// SplitMix64 (Steele, Lea and Flood 2014); in (0, 1]
static double uniform(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return ((z ^ z >> 31) >> 11) * 0x1p-53 + 0x1p-53;
}

MADE(curandCreateGenerator)
DONE(curandDestroyGenerator)
int curandSetPseudoRandomGeneratorSeed(void* generator, unsigned long long seed) {
    state = seed;
    return 0;
}
#define GENERATE(suffix, type)                                                               \
    int curandGenerateUniform##suffix(void* generator, type* values, size_t count) {         \
        for (size_t i = 0; i < count; i++) values[i] = uniform();                            \
        return 0;                                                                            \
    }                                                                                        \
    int curandGenerateNormal##suffix(void* generator, type* values, size_t count, type mean, \
                                     type deviation) {                                       \
        for (size_t i = 0; i < count; i++) {                                                 \
            const double length = sqrt(-2 * log(uniform()));                                 \
            values[i] = mean + deviation * length * cos(2 * M_PI * uniform());               \
        }                                                                                    \
        return 0;                                                                            \
    }
GENERATE(, float)
GENERATE(Double, double)

MADE(cusparseCreate)
DONE(cusparseDestroy)
