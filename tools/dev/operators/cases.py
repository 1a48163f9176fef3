"""The cases of tools.dev.gpu_check: every operator in use, losses, Adam and whole networks.

Shapes are those of the published networks; maps of 96 x 128 pixels replace the larger ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn
from numpy.typing import NDArray

from models import losses
from models.gans import create_method
from models.kernels.precision import Precision, autocast
from models.kernels.reduction import mean_of_pixels, variance_of_pixels
from models.layers.convolution import (
    Conv2d,
    Linear,
    SpectralNorm,
    TransposedConv2d,
    add_bias,
    convolve,
)
from models.layers.fadain import fadain
from models.layers.normalization import BatchNorm, instance_norm, normalize
from models.layers.resampling import downsample, pool_average, resize_bilinear, upsample
from models.layouts.layout import Layout
from models.layouts.tabulated_feature import OneHotFeature, TabulatedFeature, dense, gather
from options.command_line import parse_train
from tools.dev.operators.comparison import Case, Function
from training.ema import EMA
from training.loss_scale import LossScale
from training.optimizer import Adam

# Limit for float32 products, which cuDNN and cuBLAS may compute in TF32 (10 bits of mantissa).
PRODUCT_LIMIT = 5e-3
# Limits for whole networks, where differences add up: about three times the difference that
# another order of summation made.
NETWORK_LIMITS: dict[Precision, float] = {"float32": 3e-2, "bfloat16": 0.35, "float16": 0.15}
# Sizes differ between precisions: Jittor caches cuDNN's choice of an algorithm by shapes alone.
NETWORK_SIZES: dict[Precision, tuple[int, int]] = {
    "float32": (64, 64),
    "bfloat16": (64, 80),
    "float16": (80, 64),
}

# (in, out, kernel size, stride, padding, height, width)
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

# Limits for two sums that round to neighboring numbers of 8 or 11 bits.
SHORT_LIMITS: dict[Precision, float] = {"bfloat16": 2e-2, "float16": PRODUCT_LIMIT}
# Shapes that CONVOLUTIONS lacks, for the same reason as NETWORK_SIZES.
SHORT_CONVOLUTIONS = (
    (3, 64, 3, 1, 1, 40, 56),
    (64, 128, 3, 1, 1, 40, 56),
    (512, 512, 3, 1, 1, 10, 14),
    (128, 64, 1, 1, 0, 40, 56),
    (29, 64, 4, 2, 2, 40, 56),
    (128, 256, 4, 2, 2, 21, 29),
)


def cases_in(precision: Precision) -> Iterator[Case]:
    """Every operator in use, small ones first; in 16 bits only operators that differ there."""
    random = np.random.default_rng(0)

    def sample(*shape: int) -> NDArray:
        return random.standard_normal(shape).astype(np.float32)

    if precision != "float32":
        yield from _products_in_16_bits(sample, precision)
        return
    yield from _norms(sample)
    yield from _layout_features(sample)
    yield from _resampling(sample)
    yield from _losses(sample)
    yield from _training(sample)
    yield from _convolutions(sample)
    yield from _networks(precision)


def _products_in_16_bits(sample: Callable[..., NDArray], precision: Precision) -> Iterator[Case]:
    limit = SHORT_LIMITS[precision]

    def in_precision(function: Function) -> Function:
        def run(*inputs: jt.Var) -> Sequence[jt.Var]:
            with autocast(precision):
                return function(*inputs)

        return run

    for case in _plain_convolutions(sample, SHORT_CONVOLUTIONS):
        yield Case(f"{precision}: {case.name}", case.inputs, in_precision(case.function), limit)
    partition = _layout(2, 48, 64).feature(by_image=True).partition
    yield Case(
        f"{precision}: convolution of a function of the layout",
        (sample(1, 16, 1, partition.groups), sample(32, 16, 3, 3) / np.float32(12)),
        in_precision(lambda t, w: [dense(TabulatedFeature(t, partition).convolve(w, 1, 1))]),
        limit,
    )

    def run_doubling(x: jt.Var, weight: jt.Var) -> Sequence[jt.Var]:
        layer = TransposedConv2d(32, 16, 3)
        layer.weight = weight
        return [layer(x)]

    inputs = (sample(2, 32, 20, 28), sample(32, 16, 3, 3) / np.float32(17))
    yield Case(f"{precision}: transposed convolution", inputs, in_precision(run_doubling), limit)
    if precision == "float16":

        def run_scaled(start: jt.Var, target: jt.Var) -> Sequence[jt.Var]:
            parameter = start.clone().detach()
            parameter.start_grad()
            adam = Adam({"weight": parameter}, beta1=0.5, beta2=0.9)
            loss = ((parameter - target.detach()) ** 2).sum()
            adam.step(loss, 1e-2, scale=LossScale())
            return [parameter.clone()]

        yield Case(
            "Adam with a scaled loss", (sample(64, 32, 3, 3), sample(64, 32, 3, 3)), run_scaled
        )
    for case in _networks(precision):
        yield Case(
            f"{precision}: {case.name}", case.inputs, in_precision(case.function), case.limit
        )


def _plain_convolutions(
    sample: Callable[..., NDArray], shapes: Iterable[tuple[int, ...]]
) -> Iterator[Case]:
    for inside, outside, kernel, stride, padding, height, width in shapes:
        fan_in = inside * kernel * kernel
        weight = sample(outside, inside, kernel, kernel) / np.float32(fan_in**0.5)

        def run(
            x: jt.Var, w: jt.Var, bias: jt.Var, stride: int = stride, padding: int = padding
        ) -> Sequence[jt.Var]:
            return [add_bias(convolve(x, w, stride=stride, padding=padding), bias)]

        name = f"convolution {kernel} x {kernel}, {inside} to {outside}, stride {stride}"
        inputs = (sample(2, inside, height, width), weight, sample(outside))
        yield Case(f"{name}, {height} x {width}", inputs, run, PRODUCT_LIMIT)


def _convolutions(sample: Callable[..., NDArray]) -> Iterator[Case]:
    yield from _plain_convolutions(sample, CONVOLUTIONS)

    def run_dense(x: jt.Var, weight: jt.Var, bias: jt.Var) -> Sequence[jt.Var]:
        layer = Linear(512, 256)
        layer.weight, layer.bias = weight, bias
        return [layer(x)]

    inputs = (sample(5, 512), sample(256, 512) / np.float32(16), sample(256))
    yield Case("dense layer, 512 to 256", inputs, run_dense, PRODUCT_LIMIT)

    def run_spectral(weight: jt.Var, u: jt.Var, v: jt.Var) -> Sequence[jt.Var]:
        norm = SpectralNorm(u.shape[0], v.shape[0])
        norm.u, norm.v = (var.clone().stop_grad() for var in (u, v))
        normalized = weight / norm(weight)
        return [normalized, norm.u.clone(), norm.v.clone()]

    def unit(vector: NDArray) -> NDArray:
        return vector / np.float32(np.linalg.norm(vector))

    inputs = (sample(64, 32, 3, 3), unit(sample(64)), unit(sample(288)))
    yield Case("spectral norm", inputs, run_spectral, PRODUCT_LIMIT)

    def run_layer(x: jt.Var) -> Sequence[jt.Var]:
        layer = _with_same_weights(lambda: Conv2d(16, 32, 3, padding=1, spectral=True))
        return [layer(x), layer(x)]

    yield Case("convolution with spectral norm, twice", (sample(2, 16, 24, 32),), run_layer, 1e-2)


def _norms(sample: Callable[..., NDArray]) -> Iterator[Case]:
    x = sample(2, 32, 48, 64)
    bias = sample(64)

    def moments(x: jt.Var, batch: bool) -> tuple[jt.Var, jt.Var]:
        mean = mean_of_pixels(x, batch=batch)
        return mean, variance_of_pixels(x, mean, batch=batch)

    yield Case("instance norm", (x,), lambda x: [instance_norm(x, 0.2)])
    yield Case("mean and variance of images", (x,), lambda x: moments(x, False))
    yield Case("mean and variance of the batch", (x,), lambda x: moments(x, True))
    for batch, kind in ((True, "batch"), (False, "instance")):
        yield Case(
            f"{kind} norm, modulated by a feature map",
            (x, sample(2, 64, 48, 64), bias),
            lambda x, m, b, batch=batch: [normalize(x, moments(x, batch), m, b, 0.2)],
        )
        partition = _layout(2, 48, 64).feature(by_image=not batch).partition
        yield Case(
            f"{kind} norm, modulated by the layout",
            (x, sample(1, 64, 1, partition.groups), bias),
            lambda x, t, b, batch=batch, partition=partition: [
                normalize(x, moments(x, batch), TabulatedFeature(t, partition), b, 0.2)
            ],
        )

    def run_batch_norm(x: jt.Var) -> Sequence[jt.Var]:
        norm = BatchNorm(32)
        y = norm(x)
        return [y, norm.running_mean.clone(), norm.running_variance.clone()]

    yield Case("batch norm and its running values", (x,), run_batch_norm)
    yield Case("FAdaIN", (x, sample(2, 32, 48, 64) * 2 + 1), lambda c, s: [fadain(c, s)])


def _layout(batch: int, height: int, width: int) -> Layout:
    """A layout of coarse areas with scattered single pixels."""
    random = np.random.default_rng(3)
    areas = random.integers(0, CLASSES, (batch, height // 8, width // 8))
    ids = areas.repeat(8, axis=1).repeat(8, axis=2)
    spots = random.random(ids.shape) < 0.01
    ids[spots] = random.integers(0, CLASSES, int(spots.sum()))
    return Layout(jt.array(ids.astype(np.int32)), CLASSES)


def _layout_features(sample: Callable[..., NDArray]) -> Iterator[Case]:
    feature = _layout(2, 48, 64).feature(by_image=True)
    partition = feature.partition
    table = sample(1, 16, 1, partition.groups)

    def planes() -> OneHotFeature:
        return _layout(2, 48, 64).feature(by_image=True)

    yield Case("layout gather and its scatter", (table,), lambda t: [gather(t, partition)])
    yield Case(
        "convolution of the layout",
        (sample(32, CLASSES, 3, 3),),
        lambda w: [dense(planes().convolve(w, 1, 1))],
    )
    yield Case(
        "strided convolution of the layout",
        (sample(32, CLASSES, 4, 4),),
        lambda w: [dense(planes().convolve(w, 2, 2))],
    )
    yield Case(
        "convolution of a function of the layout",
        (table, sample(32, 16, 3, 3) / np.float32(12)),
        lambda t, w: [dense(TabulatedFeature(t, partition).convolve(w, 1, 1))],
        PRODUCT_LIMIT,
    )
    operators: dict[str, Callable[[TabulatedFeature], TabulatedFeature]] = {
        "instance norm": lambda x: instance_norm(x, 0.2),
        "every second pixel": downsample,
        "average pooling": pool_average,
    }
    for name, operator in operators.items():
        yield Case(
            f"{name} of a function of the layout",
            (table,),
            lambda t, operator=operator: [dense(operator(TabulatedFeature(t, partition)))],
            PRODUCT_LIMIT,
        )
    finer = partition.neighborhoods(3, 1, 1)
    yield Case(
        "sum of two functions of the layout",
        (table, sample(1, 16, 1, finer.groups)),
        lambda a, b: [dense(TabulatedFeature(a, partition) + TabulatedFeature(b, finer))],
    )
    yield Case(
        "one-hot planes at half the size",
        (sample(2, CLASSES, 24, 32),),
        lambda x: [x * _layout(2, 48, 64).one_hot((24, 32))],
    )


def _resampling(sample: Callable[..., NDArray]) -> Iterator[Case]:
    x = sample(2, 16, 24, 32)
    operators: dict[str, Callable[[jt.Var], jt.Var]] = {
        "nearest neighbor, twice the size": upsample,
        "nearest neighbor, half the size": downsample,
        "bilinear, 24 x 32 to 32 x 32": lambda x: resize_bilinear(x, (32, 32)),
        "average pooling": pool_average,
        "maximum pooling": lambda x: nn.pool(x, 2, "maximum", stride=2),
        "leaky ReLU": lambda x: nn.leaky_relu(x, 0.2),
        "ReLU": nn.relu,
        "tanh": jt.tanh,
    }
    for name, operator in operators.items():
        yield Case(name, (x,), lambda x, operator=operator: [operator(x)])


def _losses(sample: Callable[..., NDArray]) -> Iterator[Case]:
    scores = (sample(2, 1, 14, 18), sample(2, 1, 8, 10))
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
    maps = tuple(sample(2, 8, 24, 32) for _ in range(3))
    targets = [sample(2, 8, 24, 32) for _ in range(3)]
    yield Case(
        "feature matching loss",
        maps,
        lambda *m: [losses.feature_matching_loss([m], [[jt.array(t) for t in targets]])],
    )
    taps = tuple(sample(1, 8, 16, 16) for _ in losses.VGG_WEIGHTS)
    targets = [sample(1, 8, 16, 16) for _ in taps]
    distances: tuple[losses.VggDistance, ...] = ("l1", "cosine")
    for distance in distances:
        yield Case(
            f"perceptual loss, {distance}",
            taps,
            lambda *t, distance=distance: [
                losses.perceptual_loss(t, [jt.array(v) for v in targets], distance)
            ],
        )
    yield Case("KL loss", (sample(2, 256), sample(2, 256)), lambda m, v: [losses.kl_loss(m, v)])


def _training(sample: Callable[..., NDArray]) -> Iterator[Case]:
    for beta1 in (0.0, 0.5):

        def run_adam(start: jt.Var, target: jt.Var, beta1: float = beta1) -> Sequence[jt.Var]:
            parameter = start.clone().detach()
            parameter.start_grad()
            adam = Adam({"weight": parameter}, beta1=beta1, beta2=0.9)
            ema = EMA({"weight": parameter}, 0.9)
            for _ in range(3):
                adam.step(((parameter - target.detach()) ** 2).sum(), 1e-2)
                ema.update()
            return [parameter.clone(), *(var.clone() for var in ema.state().values())]

        inputs = (sample(64, 32, 3, 3), sample(64, 32, 3, 3))
        yield Case(f"Adam and EMA, beta1 = {beta1:g}", inputs, run_adam)

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
            flags += ["--num-downsamples", "4", "--channels", "16", "--lambda-vgg", "0"]
            method = _with_same_weights(lambda: create_method(parse_train(flags)))
            method.train()
            layout = _layout(1, height, width)
            losses_of_step, fake = method.generator_losses(layout, image)
            losses_of_step |= method.discriminator_losses(layout, image)
            return [fake, *losses_of_step.values()]

        name = f"{generator.upper()}: image and losses"
        yield Case(name, (pixels,), run, NETWORK_LIMITS[precision])


def _with_same_weights(create: Callable[[], Any]) -> Any:
    """Create a network on the CPU: devices sample different random numbers from one seed."""
    with jt.flag_scope(use_cuda=0):
        jt.set_global_seed(5)
        created = create()
        jt.sync_all()
    return created
