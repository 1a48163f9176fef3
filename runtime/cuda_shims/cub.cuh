// Wraps CCCL 3's cub/cub.cuh: adds the names that Jittor 1.3.11 uses and CCCL 3 has dropped.
#pragma once
#include_next <cub/cub.cuh>
#if CUB_VERSION >= 300000
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>
namespace cub {
template <class Value>
using CountingInputIterator = thrust::counting_iterator<Value>;
template <class Value, class Conversion, class Iterator>
using TransformInputIterator = thrust::transform_iterator<Conversion, Iterator, Value>;
struct Max {
    template <class T>
    __host__ __device__ T operator()(const T& a, const T& b) const { return a < b ? b : a; }
};
__device__ inline unsigned int LaneId() {
    unsigned int lane;
    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    return lane;
}
}  // namespace cub
#endif
