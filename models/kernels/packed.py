"""Convolutions for inference on the CPU, with weights packed once for oneDNN.

Jittor's operator reorders the weights at every call, allocates memory that the system clears first,
and uses the direct algorithm. The weights of a network in inference are constant: here they are
transformed once, which makes Winograd's algorithm the faster one, and the buffers of intermediate
results are kept for the next convolution.
"""

from __future__ import annotations

import jittor as jt

from models.kernels import fused

# Shared by the programs below. `choose` prefers Winograd's algorithm if oneDNN has it for a shape.
_HEADER = """
#include <dnnl.hpp>
#include <cstdint>
#include <memory>
static dnnl::engine& cpu() {
    static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    return engine;
}
static dnnl::memory::desc described(const dnnl::memory::dims& shape, dnnl::memory::format_tag tag) {
    return dnnl::memory::desc(shape, dnnl::memory::data_type::f32, tag);
}
static dnnl::convolution_forward::primitive_desc choose(
        int64_t n, int64_t in, int64_t height, int64_t width, int64_t out, int64_t kernel,
        int64_t padding) {
    using namespace dnnl;
    const auto any = memory::format_tag::any;
    const memory::dims ones{1, 1}, pads{padding, padding};
    const int64_t h = height + 2 * padding - kernel + 1, w = width + 2 * padding - kernel + 1;
    const auto description = [&](algorithm chosen) {
        return convolution_forward::desc(prop_kind::forward_inference, chosen,
            described({n, in, height, width}, any), described({out, in, kernel, kernel}, any),
            described({out}, memory::format_tag::x), described({n, out, h, w}, any),
            ones, pads, pads);
    };
    if (out >= 16)  // fills a vector register
        try {
            return {description(algorithm::convolution_winograd), cpu()};
        } catch (const error&) {  // unavailable for this shape
        }
    return {description(algorithm::convolution_auto), cpu()};
}
// Rounds up to the boundary of vector instructions; the buffer must have 64 spare bytes.
template <class T> static T* aligned(T* pointer) {
    return (T*)(((size_t)pointer + 63) / 64 * 64);
}
struct Room {
    std::unique_ptr<char[]> bytes;
    size_t size = 0;
    char* of(size_t wanted) {
        if (wanted > size) {
            bytes.reset();
            bytes.reset(new char[wanted + 64]);
            size = wanted;
        }
        return aligned(bytes.get());
    }
};
"""
_CHOICE = """
const auto plan = choose(data["n"], data["in"], data["height"], data["width"], data["out"],
                         data["kernel"], data["padding"]);
"""
# 16 floats, 64 bytes, more: the packed weights begin on a boundary.
_SIZE = _CHOICE + "out0_p[0] = plan.weights_desc().get_size() / sizeof(float) + 16;"
_PACK = (
    _CHOICE
    + """
using namespace dnnl;
stream queue(cpu());
memory given(described({in0_shape0, in0_shape1, in0_shape2, in0_shape3}, memory::format_tag::oihw),
             cpu(), in0_p);
memory packed(plan.weights_desc(), cpu(), aligned(out0_p));
reorder(given, packed).execute(queue, given, packed);
queue.wait();
"""
)
_CONVOLVE = (
    _CHOICE
    + """
using namespace dnnl;
static Room source_room, target_room;
stream queue(cpu());
const auto plain = memory::format_tag::nchw;
memory given(described({in0_shape0, in0_shape1, in0_shape2, in0_shape3}, plain), cpu(), in0_p);
memory result(described({out0_shape0, out0_shape1, out0_shape2, out0_shape3}, plain), cpu(),
              out0_p);
memory source = given, target = result;
if (plan.src_desc() != given.get_desc()) {
    source = memory(plan.src_desc(), cpu(), source_room.of(plan.src_desc().get_size()));
    reorder(given, source).execute(queue, given, source);
}
if (plan.dst_desc() != result.get_desc())
    target = memory(plan.dst_desc(), cpu(), target_room.of(plan.dst_desc().get_size()));
memory weights(plan.weights_desc(), cpu(), aligned(in1_p));
memory bias(described({out0_shape1}, memory::format_tag::x), cpu(), in2_p);
convolution_forward(plan).execute(queue, {
    {DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_BIAS, bias},
    {DNNL_ARG_DST, target}});
if (plan.dst_desc() != result.get_desc())
    reorder(target, result).execute(queue, target, result);
queue.wait();
"""
)


_flags: dict[str, int] = {}


def use_onednn(folder: str) -> None:
    """Enables these convolutions, with oneDNN's headers and library in `folder`.

    It must be the library that Jittor loads.
    """
    _flags.clear()
    _flags[f'FLAGS: -I"{folder}/include" -L"{folder}/lib" -lmkldnn '] = 1


def available() -> bool:
    """Whether feature maps are in CPU memory and `use_onednn` was called."""
    return bool(_flags) and fused.available()


class PackedConvolution:
    """A convolution of stride 1 with constant weights, for inference.

    Uses Winograd's algorithm (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural
    Networks") for 16 output channels or more, if oneDNN supports the shape. It differs from the
    direct algorithm by rounding, about 1e-6 relative.

    Args:
        weight: (O, I, k, k).
        bias: (O,), or None for no bias.
        padding: p, zeros at each border.
    """

    def __init__(self, weight: jt.Var, bias: jt.Var | None, padding: int) -> None:
        self.weight = weight
        self.bias = jt.zeros(weight.shape[0]) if bias is None else bias
        self.padding = padding
        self._packed: dict[tuple[int, ...], jt.Var] = {}

    def __call__(self, x: jt.Var) -> jt.Var:
        """(N, I, H, W) -> (N, O, H + 2p - k + 1, W + 2p - k + 1), without a gradient."""
        n, channels, height, width = x.shape
        out, kernel = self.weight.shape[0], self.weight.shape[2]
        data = {"n": n, "in": channels, "height": height, "width": width}
        data |= {"out": out, "kernel": kernel, "padding": self.padding}
        h, w = height + 2 * self.padding - kernel + 1, width + 2 * self.padding - kernel + 1
        key = n, height, width
        if key not in self._packed:
            size = _run((1,), "int32", [], _SIZE, data).item()
            # Only the latest size is kept: the images of a run have one size.
            self._packed = {key: _run((size,), "float32", [self.weight], _PACK, data)}
        inputs = [x, self._packed[key], self.bias]
        return _run((n, out, h, w), "float32", inputs, _CONVOLVE, data)


def _run(
    shape: tuple[int, ...], dtype: str, inputs: list[jt.Var], source: str, data: dict[str, int]
) -> jt.Var:
    with jt.flag_scope(compile_options=_flags):
        return jt.code(shape, dtype, inputs, cpu_header=_HEADER, cpu_src=source, data=data)
