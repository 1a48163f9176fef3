"""Every operator that the networks and their training use, computed on two devices and compared.

    python -m tools.doctor --gpu                  CUDA against the CPU, forward and backward
    python -m tools.doctor --gpu --device cpu     the CPU against itself: the table alone

A case is a function of arrays; its outputs, and the gradients of their weighted sum with respect to
every float input, are compared by the largest difference over the largest value.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jittor as jt
import numpy as np
from jittor import nn
from numpy.typing import NDArray

from models import losses
from models.layers.convolution import (
    Conv2d,
    DoublingConv2d,
    Linear,
    SpectralNorm,
    add_bias,
    convolve,
)
from models.layers.fadain import fadain
from models.layers.layout_feature import LayoutFeature, OneHotFeature, dense, look_up
from models.layers.normalization import BatchNorm, instance_norm, normalise
from models.layers.precision import Precision, computing_in
from models.layers.reduction import mean_of_pixels, variance_of_pixels
from models.layers.resampling import double, halve, pool_average, resize_bilinear
from models.layout import Layout
from models.methods import create_method
from options.command_line import parse_train
from tools.set_up import telling_line
from training.ema import Average
from training.loss_scale import LossScale
from training.optimizer import Adam

Function = Callable[..., Sequence[jt.Var]]
Device = Literal["cpu", "cuda"]
# The arrays of a case, and the seconds of its second run: the first one compiles.
Results = tuple[list[NDArray], float]

# cuDNN and cuBLAS may multiply float32 in TF32, which keeps 10 bits of the mantissa.
PRODUCT_LIMIT = 5e-3
# Sums in another order, and the fast division and roots of CUDA.
SUM_LIMIT = 2e-4
# Whole networks add these up: some three times what sums in another order made of them.
NETWORK_LIMITS: dict[Precision, float] = {"float32": 3e-2, "bfloat16": 0.35, "float16": 0.15}
# Others for each precision: Jittor remembers cuDNN's choice of an algorithm by shapes alone.
NETWORK_SIZES: dict[Precision, tuple[int, int]] = {
    "float32": (64, 64),
    "bfloat16": (64, 80),
    "float16": (80, 64),
}

# (in, out, kernel size, stride, padding, height, width) of the published networks; maps of more
# than 96 x 128 pixels stand for the larger ones.
CONVOLUTIONS = (
    (3, 64, 3, 1, 1, 96, 128),
    (64, 3, 3, 1, 1, 96, 128),
    (64, 32, 3, 1, 1, 96, 128),
    (128, 64, 3, 1, 1, 48, 64),
    (256, 512, 3, 1, 1, 24, 32),
    (512, 512, 3, 1, 1, 12, 16),
    (1024, 1024, 3, 1, 1, 3, 4),
    (128, 256, 3, 1, 1, 24, 32),
    (128, 64, 1, 1, 0, 48, 64),
    (1024, 512, 1, 1, 0, 12, 16),
    (29, 64, 4, 2, 2, 96, 128),
    (3, 64, 4, 2, 2, 96, 128),
    (128, 256, 4, 2, 2, 25, 33),
    (256, 512, 4, 1, 2, 13, 17),
    (512, 1, 4, 1, 2, 14, 18),
    (3, 64, 3, 2, 1, 64, 64),
    (512, 512, 3, 2, 1, 8, 8),
)
CLASSES = 29

# Two sums that round to neighbours of 8 or 11 bits.
SHORT_LIMITS: dict[Precision, float] = {"bfloat16": 2e-2, "float16": PRODUCT_LIMIT}
# Shapes that are not above, for the same reason.
SHORT_CONVOLUTIONS = (
    (3, 64, 3, 1, 1, 40, 56),
    (64, 128, 3, 1, 1, 40, 56),
    (512, 512, 3, 1, 1, 10, 14),
    (128, 64, 1, 1, 0, 40, 56),
    (29, 64, 4, 2, 2, 40, 56),
    (128, 256, 4, 2, 2, 21, 29),
)


@dataclass(frozen=True)
class Case:
    """A function of the inputs, the same on every device, and how far two of them may differ."""

    name: str
    inputs: tuple[NDArray, ...]
    function: Function
    limit: float = SUM_LIMIT


@dataclass(frozen=True)
class Comparison:
    """What a case gave on two devices; `fault` where it could not be computed."""

    name: str
    difference: float
    limit: float
    seconds: tuple[float, float]
    fault: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the devices agree."""
        return not self.fault and self.difference <= self.limit


def on_device(device: Device) -> Callable[[Case], Results]:
    """What computes a case on that device."""

    def run(case: Case) -> Results:
        with jt.flag_scope(use_cuda=int(device == "cuda")):
            compute(case)
            jt.sync_all(True)
            started = time.perf_counter()
            arrays = compute(case)
            return arrays, time.perf_counter() - started

    return run


def compute(case: Case) -> list[NDArray]:
    """The outputs of a case, and the gradients of its float inputs."""
    jt.set_global_seed(1)
    inputs = [jt.array(array) for array in case.inputs]
    outputs = list(case.function(*inputs))
    weights = np.random.default_rng(2)
    total = None
    for output in outputs:
        drawn = weights.standard_normal(output.shape).astype(np.float32)
        term = (output * jt.array(drawn)).sum()
        total = term if total is None else total + term
    floats = [
        var for var, array in zip(inputs, case.inputs, strict=True) if array.dtype.kind == "f"
    ]
    gradients = jt.grad(total, floats) if floats else []
    return [array.astype(np.float64) for array in jt.fetch_sync([*outputs, *gradients])]


def compare(
    cases: Iterable[Case], first: Callable[[Case], Results], second: Callable[[Case], Results]
) -> Iterator[Comparison]:
    """Compute every case twice and say by how much the second differs from the first."""
    for case in cases:
        try:
            expected, seconds = first(case)
            got, other_seconds = second(case)
            difference = max(_difference(a, b) for a, b in zip(expected, got, strict=True))
        except Exception as error:
            # one operator that fails must not hide the others
            said = telling_line(str(error) or type(error).__name__)
            yield Comparison(case.name, float("inf"), case.limit, (0, 0), said)
            continue
        yield Comparison(case.name, difference, case.limit, (seconds, other_seconds))


def _difference(expected: NDArray, got: NDArray) -> float:
    if expected.shape != got.shape or not np.isfinite(got).all():
        return float("inf")
    scale = max(float(np.abs(expected).max(initial=0)), 1e-6)
    return float(np.abs(expected - got).max(initial=0)) / scale


def cases_in(precision: Precision) -> Iterator[Case]:
    """Every operator in use, the small ones first; in 16 bits those that differ then."""
    random = np.random.default_rng(0)

    def draw(*shape: int) -> NDArray:
        return random.standard_normal(shape).astype(np.float32)

    if precision != "float32":
        yield from _short_products(draw, precision)
        return
    yield from _norms(draw)
    yield from _layout_features(draw)
    yield from _resampling(draw)
    yield from _losses(draw)
    yield from _training(draw)
    yield from _convolutions(draw)
    yield from _networks(precision)


def _short_products(draw: Callable[..., NDArray], precision: Precision) -> Iterator[Case]:
    limit = SHORT_LIMITS[precision]

    def shortly(function: Function) -> Function:
        def run(*inputs: jt.Var) -> Sequence[jt.Var]:
            with computing_in(precision):
                return function(*inputs)

        return run

    for case in _plain_convolutions(draw, SHORT_CONVOLUTIONS):
        yield Case(f"{precision}: {case.name}", case.inputs, shortly(case.function), limit)
    partition = _layout(2, 48, 64).feature(by_picture=True).partition
    yield Case(
        f"{precision}: convolution of a function of the layout",
        (draw(1, 16, 1, partition.groups), draw(32, 16, 3, 3) / np.float32(12)),
        shortly(lambda t, w: [dense(LayoutFeature(t, partition).convolve(w, 1, 1))]),
        limit,
    )

    def run_doubling(x: jt.Var, weight: jt.Var) -> Sequence[jt.Var]:
        layer = DoublingConv2d(32, 16, 3)
        layer.weight = weight
        return [layer(x)]

    inputs = (draw(2, 32, 20, 28), draw(32, 16, 3, 3) / np.float32(17))
    yield Case(f"{precision}: transposed convolution", inputs, shortly(run_doubling), limit)
    if precision == "float16":

        def run_scaled(start: jt.Var, target: jt.Var) -> Sequence[jt.Var]:
            parameter = start.clone().detach()
            parameter.start_grad()
            adam = Adam({"weight": parameter}, beta1=0.5, beta2=0.9)
            loss = ((parameter - target.detach()) ** 2).sum()
            adam.step(loss, 1e-2, scale=LossScale())
            return [parameter.clone()]

        yield Case("Adam with a scaled loss", (draw(64, 32, 3, 3), draw(64, 32, 3, 3)), run_scaled)
    for case in _networks(precision):
        yield Case(f"{precision}: {case.name}", case.inputs, shortly(case.function), case.limit)


def _plain_convolutions(
    draw: Callable[..., NDArray], shapes: Iterable[tuple[int, ...]]
) -> Iterator[Case]:
    for inside, outside, kernel, stride, padding, height, width in shapes:
        fan_in = inside * kernel * kernel
        weight = draw(outside, inside, kernel, kernel) / np.float32(fan_in**0.5)

        def run(
            x: jt.Var, w: jt.Var, bias: jt.Var, stride: int = stride, padding: int = padding
        ) -> Sequence[jt.Var]:
            return [add_bias(convolve(x, w, stride=stride, padding=padding), bias)]

        name = f"convolution {kernel} x {kernel}, {inside} to {outside}, stride {stride}"
        inputs = (draw(2, inside, height, width), weight, draw(outside))
        yield Case(f"{name}, {height} x {width}", inputs, run, PRODUCT_LIMIT)


def _convolutions(draw: Callable[..., NDArray]) -> Iterator[Case]:
    yield from _plain_convolutions(draw, CONVOLUTIONS)

    def run_dense(x: jt.Var, weight: jt.Var, bias: jt.Var) -> Sequence[jt.Var]:
        layer = Linear(512, 256)
        layer.weight, layer.bias = weight, bias
        return [layer(x)]

    inputs = (draw(5, 512), draw(256, 512) / np.float32(16), draw(256))
    yield Case("dense layer, 512 to 256", inputs, run_dense, PRODUCT_LIMIT)

    def run_spectral(weight: jt.Var, u: jt.Var, v: jt.Var) -> Sequence[jt.Var]:
        norm = SpectralNorm(u.shape[0], v.shape[0])
        norm.u, norm.v = (var.clone().stop_grad() for var in (u, v))
        normalised = weight / norm(weight)
        return [normalised, norm.u.clone(), norm.v.clone()]

    def unit(vector: NDArray) -> NDArray:
        return vector / np.float32(np.linalg.norm(vector))

    inputs = (draw(64, 32, 3, 3), unit(draw(64)), unit(draw(288)))
    yield Case("spectral norm", inputs, run_spectral, PRODUCT_LIMIT)

    def run_layer(x: jt.Var) -> Sequence[jt.Var]:
        layer = _alike(lambda: Conv2d(16, 32, 3, padding=1, spectral=True))
        return [layer(x), layer(x)]

    yield Case("convolution with spectral norm, twice", (draw(2, 16, 24, 32),), run_layer, 1e-2)


def _norms(draw: Callable[..., NDArray]) -> Iterator[Case]:
    x = draw(2, 32, 48, 64)
    bias = draw(64)

    def moments(x: jt.Var, batch: bool) -> tuple[jt.Var, jt.Var]:
        mean = mean_of_pixels(x, batch=batch)
        return mean, variance_of_pixels(x, mean, batch=batch)

    yield Case("instance norm", (x,), lambda x: [instance_norm(x, 0.2)])
    yield Case("mean and variance of pictures", (x,), lambda x: moments(x, False))
    yield Case("mean and variance of the batch", (x,), lambda x: moments(x, True))
    for batch, whose in ((True, "batch"), (False, "instance")):
        yield Case(
            f"{whose} norm, modulated by a feature map",
            (x, draw(2, 64, 48, 64), bias),
            lambda x, m, b, batch=batch: [normalise(x, moments(x, batch), m, b, 0.2)],
        )
        partition = _layout(2, 48, 64).feature(by_picture=not batch).partition
        yield Case(
            f"{whose} norm, modulated by the layout",
            (x, draw(1, 64, 1, partition.groups), bias),
            lambda x, t, b, batch=batch, partition=partition: [
                normalise(x, moments(x, batch), LayoutFeature(t, partition), b, 0.2)
            ],
        )

    def run_batch_norm(x: jt.Var) -> Sequence[jt.Var]:
        norm = BatchNorm(32)
        y = norm(x)
        return [y, norm.running_mean.clone(), norm.running_variance.clone()]

    yield Case("batch norm and its running values", (x,), run_batch_norm)
    yield Case("FAdaIN", (x, draw(2, 32, 48, 64) * 2 + 1), lambda c, s: [fadain(c, s)])


def _layout(batch: int, height: int, width: int) -> Layout:
    """A layout of coarse areas with single pixels in it."""
    random = np.random.default_rng(3)
    areas = random.integers(0, CLASSES, (batch, height // 8, width // 8))
    ids = areas.repeat(8, axis=1).repeat(8, axis=2)
    spots = random.random(ids.shape) < 0.01
    ids[spots] = random.integers(0, CLASSES, int(spots.sum()))
    return Layout(jt.array(ids.astype(np.int32)), CLASSES)


def _layout_features(draw: Callable[..., NDArray]) -> Iterator[Case]:
    feature = _layout(2, 48, 64).feature(by_picture=True)
    partition = feature.partition
    table = draw(1, 16, 1, partition.groups)

    def planes() -> OneHotFeature:
        return _layout(2, 48, 64).feature(by_picture=True)

    yield Case("layout gather, and its scatter", (table,), lambda t: [look_up(t, partition)])
    yield Case(
        "convolution of the layout",
        (draw(32, CLASSES, 3, 3),),
        lambda w: [dense(planes().convolve(w, 1, 1))],
    )
    yield Case(
        "strided convolution of the layout",
        (draw(32, CLASSES, 4, 4),),
        lambda w: [dense(planes().convolve(w, 2, 2))],
    )
    yield Case(
        "convolution of a function of the layout",
        (table, draw(32, 16, 3, 3) / np.float32(12)),
        lambda t, w: [dense(LayoutFeature(t, partition).convolve(w, 1, 1))],
        PRODUCT_LIMIT,
    )
    operators: dict[str, Callable[[LayoutFeature], LayoutFeature]] = {
        "instance norm": lambda x: instance_norm(x, 0.2),
        "every second pixel": halve,
        "average pooling": pool_average,
    }
    for name, operator in operators.items():
        yield Case(
            f"{name} of a function of the layout",
            (table,),
            lambda t, operator=operator: [dense(operator(LayoutFeature(t, partition)))],
            PRODUCT_LIMIT,
        )
    finer = partition.neighbourhoods(3, 1, 1)
    yield Case(
        "sum of two functions of the layout",
        (table, draw(1, 16, 1, finer.groups)),
        lambda a, b: [dense(LayoutFeature(a, partition) + LayoutFeature(b, finer))],
    )
    yield Case(
        "one-hot planes at half the size",
        (draw(2, CLASSES, 24, 32),),
        lambda x: [x * _layout(2, 48, 64).one_hot((24, 32))],
    )


def _resampling(draw: Callable[..., NDArray]) -> Iterator[Case]:
    x = draw(2, 16, 24, 32)
    operators: dict[str, Callable[[jt.Var], jt.Var]] = {
        "nearest neighbour, twice the size": double,
        "nearest neighbour, half the size": halve,
        "bilinear, 24 x 32 to 32 x 32": lambda x: resize_bilinear(x, (32, 32)),
        "average pooling": pool_average,
        "maximum pooling": lambda x: nn.pool(x, 2, "maximum", stride=2),
        "leaky ReLU": lambda x: nn.leaky_relu(x, 0.2),
        "ReLU": nn.relu,
        "tanh": jt.tanh,
    }
    for name, operator in operators.items():
        yield Case(name, (x,), lambda x, operator=operator: [operator(x)])


def _losses(draw: Callable[..., NDArray]) -> Iterator[Case]:
    scores = (draw(2, 1, 14, 18), draw(2, 1, 8, 10))
    kinds: tuple[losses.GanLoss, ...] = (
        "hinge",
        "least_squares",
        "cross_entropy",
        "wasserstein",
    )
    for kind in kinds:
        yield Case(
            f"GAN loss, {kind}",
            scores,
            lambda *s, kind=kind: [
                losses.generator_gan_loss(s, kind),
                losses.discriminator_gan_loss(s, kind, real=True),
                losses.discriminator_gan_loss(s, kind, real=False),
            ],
        )
    maps = tuple(draw(2, 8, 24, 32) for _ in range(3))
    given = [draw(2, 8, 24, 32) for _ in range(3)]
    yield Case(
        "feature matching loss",
        maps,
        lambda *m: [losses.feature_matching_loss([m], [[jt.array(g) for g in given]])],
    )
    taps = tuple(draw(1, 8, 16, 16) for _ in losses.VGG_WEIGHTS)
    wanted = [draw(1, 8, 16, 16) for _ in taps]
    distances: tuple[losses.VggDistance, ...] = ("l1", "cosine")
    for distance in distances:
        yield Case(
            f"perceptual loss, {distance}",
            taps,
            lambda *t, distance=distance: [
                losses.perceptual_loss(t, [jt.array(w) for w in wanted], distance)
            ],
        )
    yield Case("KL loss", (draw(2, 256), draw(2, 256)), lambda m, v: [losses.kl_loss(m, v)])


def _training(draw: Callable[..., NDArray]) -> Iterator[Case]:
    for beta1 in (0.0, 0.5):

        def run_adam(start: jt.Var, target: jt.Var, beta1: float = beta1) -> Sequence[jt.Var]:
            parameter = start.clone().detach()
            parameter.start_grad()
            adam = Adam({"weight": parameter}, beta1=beta1, beta2=0.9)
            average = Average({"weight": parameter}, 0.9)
            for _ in range(3):
                adam.step(((parameter - target.detach()) ** 2).sum(), 1e-2)
                average.update()
            return [parameter.clone(), *(var.clone() for var in average.state().values())]

        inputs = (draw(64, 32, 3, 3), draw(64, 32, 3, 3))
        yield Case(f"Adam and the average, beta1 = {beta1:g}", inputs, run_adam)

    def run_noise() -> Sequence[jt.Var]:
        noise = jt.randn((1 << 18,))
        powers = [noise, noise * noise, noise**3, noise**4]
        return [jt.concat([power.mean() for power in powers])]

    yield Case("moments of normal noise", (), run_noise, 0.03)


def _networks(precision: Precision) -> Iterator[Case]:
    random = np.random.default_rng(4)
    height, width = NETWORK_SIZES[precision]
    pixels = random.uniform(-1, 1, (1, 3, height, width)).astype(np.float32)
    for generator in ("tsit", "spade"):

        def run(image: jt.Var, generator: str = generator) -> Sequence[jt.Var]:
            flags = ["--schedule", "quick", "--generator", generator]
            flags += ["--size", str(height), str(width)]
            flags += ["--halvings", "4", "--channels", "16", "--lambda-vgg", "0"]
            method = _alike(lambda: create_method(parse_train(flags)))
            method.train()
            layout = _layout(1, height, width)
            found, fake = method.generator_losses(layout, image)
            found |= method.discriminator_losses(layout, image)
            return [fake, *found.values()]

        name = f"{generator.upper()}: picture and losses"
        yield Case(name, (pixels,), run, NETWORK_LIMITS[precision])


def _alike(create: Callable[[], Any]) -> Any:
    """The same random weights on every device, whose random numbers are not the same."""
    with jt.flag_scope(use_cuda=0):
        jt.set_global_seed(5)
        created = create()
        jt.sync_all()
    return created


def main(argv: Sequence[str] | None = None) -> int:
    """Compile every case for CUDA, whatever it computes; exit code 1 where one cannot be."""
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_check", description=main.__doc__)
    parser.add_argument("--compile-only", action="store_true", required=True)
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    cases = list(cases_in(parser.parse_args(argv).precision))
    failed = 0
    for number, case in enumerate(cases, 1):
        started = time.perf_counter()
        try:
            with jt.flag_scope(use_cuda=1):
                compute(case)
        except Exception as error:
            # the other kernels are tried all the same
            failed += 1
            print(f"  FAILED {case.name}: {telling_line(str(error))}", flush=True)
            continue
        seconds = time.perf_counter() - started
        print(f"  {number}/{len(cases)} {case.name}: {seconds:.1f} s", flush=True)
    print(f"{failed} did not compile" if failed else "every kernel compiled, linked and loaded")
    return 1 if failed else 0


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    # at once: there is no GPU to give back, and the stand-in upsets what would
    os._exit(exit_code)
