// Included before a CUDA source that g++ compiles instead of nvcc (tools/dev/imitated_gpu/nvcc.py).
// A launch is a loop over its threads. The threads run one after another, so no operation has to be
// atomic. Threads that wait for each other cannot be imitated; they end the program.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace imitated {
[[noreturn]] inline void stop(const char* what) {
    std::fprintf(stderr, "the imitated GPU cannot do this: %s\n", what);
    std::abort();
}

static dim3 thread, block, threads, blocks;

// for (Launch launch(blocks, threads); launch.more(); launch.next()) kernel(arguments);
// The last thread runs first: results that depend on the order differ from a CPU loop.
struct Launch {
    long left;
    Launch(dim3 grid, dim3 size, size_t = 0, cudaStream_t = nullptr) {
        if ((long)size.x * size.y * size.z > 1024) stop("a block of more than 1024 threads");
        blocks = grid, threads = size;
        left = (long)grid.x * grid.y * grid.z * size.x * size.y * size.z;
        place();
    }
    bool more() const { return left > 0; }
    void next() {
        left--;
        place();
    }
    void place() const {
        long at = left - 1;
        if (at < 0) return;
        for (auto [place, size] : {std::pair{&thread, &threads}, std::pair{&block, &blocks}}) {
            place->x = at % size->x, at /= size->x;
            place->y = at % size->y, at /= size->y;
            place->z = at % size->z, at /= size->z;
        }
    }
};

template <class T>
T replace(T* place, T value) {
    T before = *place;
    *place = value;
    return before;
}
template <class To, class From>
To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "the sizes must be equal");
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}
}  // namespace imitated

#undef __launch_bounds__
#define __launch_bounds__(...)
#define threadIdx imitated::thread
#define blockIdx imitated::block
#define blockDim imitated::threads
#define gridDim imitated::blocks

using std::max;
using std::min;

template <class T, class U>
T atomicAdd(T* place, U value) {
    return imitated::replace(place, T(*place + T(value)));
}
template <class T, class U>
T atomicMax(T* place, U value) {
    return imitated::replace(place, std::max(*place, T(value)));
}
template <class T, class U>
T atomicMin(T* place, U value) {
    return imitated::replace(place, std::min(*place, T(value)));
}
template <class T, class U>
T atomicAnd(T* place, U value) {
    return imitated::replace(place, T(*place & T(value)));
}
template <class T, class U>
T atomicOr(T* place, U value) {
    return imitated::replace(place, T(*place | T(value)));
}
template <class T, class U>
T atomicXor(T* place, U value) {
    return imitated::replace(place, T(*place ^ T(value)));
}
template <class T, class U, class V>
T atomicCAS(T* place, U expected, V value) {
    return imitated::replace(place, *place == T(expected) ? T(value) : *place);
}

inline void __syncthreads() { imitated::stop("threads that wait for each other"); }
inline int __float_as_int(float x) { return imitated::same_bits<int>(x); }
inline float __int_as_float(int x) { return imitated::same_bits<float>(x); }
inline long long __double_as_longlong(double x) { return imitated::same_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return imitated::same_bits<double>(x); }
