"""Convolutions for inference on the CPU, with weights packed once for oneDNN.

Jittor's operator reorders the weights at every call, allocates memory that the system clears first,
and uses the direct algorithm. The weights of a network in inference are constant: here they are
transformed once, which makes Winograd's algorithm the faster one, and the buffers of intermediate
results are kept for the next convolution.
"""

from __future__ import annotations

import jittor as jt

from models.kernels import fused
from models.kernels.depthwise import Padding
from models.kernels.scale_shift import Activation

# Shared by the programs below. `choose` prefers Winograd's algorithm if oneDNN has it for a shape.
_HEADER = """
#include <dnnl.hpp>
#include <cstdint>
#include <memory>
using Dims = dnnl::memory::dims;
using Tag = dnnl::memory::format_tag;
static dnnl::engine& cpu() {
    static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    return engine;
}
static dnnl::memory::desc described(const Dims& shape, Tag tag) {
    return dnnl::memory::desc(shape, dnnl::memory::data_type::f32, tag);
}
struct Layer {
    int64_t n, in, height, width, out, rows, columns, stride, groups, h, w;
    Dims before, after;  // padding: top and left, bottom and right
    bool channels_last;
    double limit;  // of the activation: 0 for none, below 0 for ReLU
    template <class Data> explicit Layer(Data& data)
        : n(data["n"]), in(data["in"]), height(data["height"]), width(data["width"]),
          out(data["out"]), rows(data["rows"]), columns(data["columns"]),
          stride(data["stride"]), groups(data["groups"]), h(data["h"]), w(data["w"]),
          before{(int64_t)data["top"], (int64_t)data["left"]},
          after{(int64_t)data["bottom"], (int64_t)data["right"]},
          channels_last(data["channels_last"] > 0), limit(data["limit"]) {}
    Tag plain() const { return channels_last ? Tag::nhwc : Tag::nchw; }
    Dims source() const { return {n, in, height, width}; }
    Dims target() const { return {n, out, h, w}; }
    dnnl::memory::desc biases() const { return described({out}, Tag::x); }
    dnnl::memory::desc weights(bool packed) const {
        if (groups == 1)
            return described({out, in, rows, columns}, packed ? Tag::any : Tag::oihw);
        return described({groups, out / groups, in / groups, rows, columns},
                         packed ? Tag::any : Tag::goihw);
    }
};
static dnnl::convolution_forward::primitive_desc choose(const Layer& layer) {
    using namespace dnnl;
    // Next to each other, channels need no other order.
    const Tag order = layer.channels_last ? Tag::nhwc : Tag::any;
    post_ops operations;
    if (layer.limit < 0) operations.append_eltwise(1.0f, algorithm::eltwise_relu, 0.0f, 0.0f);
    if (layer.limit > 0)
        operations.append_eltwise(1.0f, algorithm::eltwise_clip, 0.0f, (float)layer.limit);
    primitive_attr attributes;
    attributes.set_post_ops(operations);
    const auto plan = [&](algorithm chosen) {
        return convolution_forward::primitive_desc(
            convolution_forward::desc(prop_kind::forward_inference, chosen,
                described(layer.source(), order), layer.weights(true),
                layer.biases(), described(layer.target(), order),
                {layer.stride, layer.stride}, layer.before, layer.after),
            attributes, cpu());
    };
    // 16 output channels fill a vector register.
    if (layer.out >= 16 && layer.stride == 1 && layer.groups == 1 && !layer.channels_last)
        try {
            return plan(algorithm::convolution_winograd);
        } catch (const error&) {  // unavailable for this shape
        }
    return plan(algorithm::convolution_auto);
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
const Layer layer(data);
const auto plan = choose(layer);
"""
# 16 floats, 64 bytes, more: the packed weights begin on a boundary.
_SIZE = _CHOICE + "out0_p[0] = plan.weights_desc().get_size() / sizeof(float) + 16;"
_PACK = (
    _CHOICE
    + """
using namespace dnnl;
stream queue(cpu());
memory given(layer.weights(false), cpu(), in0_p);
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
memory given(described(layer.source(), layer.plain()), cpu(), in0_p);
memory result(described(layer.target(), layer.plain()), cpu(), out0_p);
memory source = given, target = result;
if (plan.src_desc() != given.get_desc()) {
    source = memory(plan.src_desc(), cpu(), source_room.of(plan.src_desc().get_size()));
    reorder(given, source).execute(queue, given, source);
}
if (plan.dst_desc() != result.get_desc())
    target = memory(plan.dst_desc(), cpu(), target_room.of(plan.dst_desc().get_size()));
memory weights(plan.weights_desc(), cpu(), aligned(in1_p));
memory bias(layer.biases(), cpu(), in2_p);
convolution_forward(plan).execute(queue, {
    {DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_BIAS, bias},
    {DNNL_ARG_DST, target}});
if (plan.dst_desc() != result.get_desc())
    reorder(target, result).execute(queue, target, result);
queue.wait();
"""
)
# From (N, C, H, W) to (N, H, W, C), or back.
_REORDER = """
using namespace dnnl;
const bool last = data["channels_last"] > 0;
const Dims shape = last ? Dims{in0_shape0, in0_shape1, in0_shape2, in0_shape3}
                        : Dims{in0_shape0, in0_shape3, in0_shape1, in0_shape2};
stream queue(cpu());
memory given(described(shape, last ? Tag::nchw : Tag::nhwc), cpu(), in0_p);
memory result(described(shape, last ? Tag::nhwc : Tag::nchw), cpu(), out0_p);
reorder(given, result).execute(queue, given, result);
queue.wait();
"""

# Activation -> `limit` of the programs.
_LIMITS: dict[Activation, float] = {"none": 0.0, "relu": -1.0, "relu6": 6.0}


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


def compile_options() -> dict[str, int]:
    """The options of Jittor's compiler for a program that calls oneDNN."""
    return _flags


class PackedConvolution:
    """A convolution with constant weights and an activation, for inference.

    Uses Winograd's algorithm (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural
    Networks") for stride 1 and 16 output channels or more, if oneDNN supports the shape. It differs
    from the direct algorithm by rounding, about 1e-6 relative.

    Args:
        weight: (O, I / groups, k, l).
        bias: (O,), or None for no bias.
        padding: p, zeros at each border.
        groups: number of groups of channels; I for a depthwise convolution.
        activation: applied to the result.
        channels_last: whether feature maps are (N, H, W, C), not (N, C, H, W). Chains of 1 x 1 and
            depthwise convolutions are faster so.
    """

    def __init__(
        self,
        weight: jt.Var,
        bias: jt.Var | None,
        padding: int = 0,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: Activation = "none",
        channels_last: bool = False,
    ) -> None:
        self.weight = weight
        self.bias = jt.zeros(weight.shape[0]) if bias is None else bias
        self.padding = Padding(padding, padding, padding, padding)
        self.stride = stride
        self.groups = groups
        self.activation = activation
        self.channels_last = channels_last
        self._packed: dict[tuple[object, ...], jt.Var] = {}

    def __call__(self, x: jt.Var, padding: Padding | None = None) -> jt.Var:
        """(N, I, H, W) -> (N, O, h, w), without a gradient; channels last if the layer is so.

        Args:
            padding: zeros at the borders of this feature map, in place of the layer's.
        """
        padding = padding or self.padding
        n, channels, height, width = x.shape
        if self.channels_last:
            n, height, width, channels = x.shape
        out, _, rows, columns = self.weight.shape
        h = (height + padding.top + padding.bottom - rows) // self.stride + 1
        w = (width + padding.left + padding.right - columns) // self.stride + 1
        data = {"n": n, "in": channels, "height": height, "width": width, "h": h, "w": w}
        data |= {"out": out, "rows": rows, "columns": columns, "stride": self.stride}
        data |= {"groups": self.groups, "channels_last": int(self.channels_last)}
        data |= {**padding._asdict(), "limit": _LIMITS[self.activation]}
        key = n, height, width, padding
        if key not in self._packed:
            size = _run((1,), "int32", [], _SIZE, data).item()
            # Only the latest size is kept: the images of a run have one size.
            self._packed = {key: _run((size,), "float32", [self.weight], _PACK, data)}
        shape = (n, h, w, out) if self.channels_last else (n, out, h, w)
        return _run(shape, "float32", [x, self._packed[key], self.bias], _CONVOLVE, data)


def to_channels_last(x: jt.Var) -> jt.Var:
    """(N, C, H, W) -> (N, H, W, C)."""
    n, channels, height, width = x.shape
    return _run((n, height, width, channels), "float32", [x], _REORDER, {"channels_last": 1})


def to_channels_first(x: jt.Var) -> jt.Var:
    """(N, H, W, C) -> (N, C, H, W)."""
    n, height, width, channels = x.shape
    return _run((n, channels, height, width), "float32", [x], _REORDER, {"channels_last": 0})


def _run(
    shape: tuple[int, ...], dtype: str, inputs: list[jt.Var], source: str, data: dict[str, float]
) -> jt.Var:
    with jt.flag_scope(compile_options=_flags):
        return jt.code(shape, dtype, inputs, cpu_header=_HEADER, cpu_src=source, data=data)
