"""Counts the GPU memory and the multiply-adds of a step of `main`; it measures nothing.

    python -m tools.dev.benchmarks.count_memory

bytes = OTHER + 4 * (SPARE_WEIGHTS * (4 G + 3 D + V) + SPARE_MAPS * batch * M)

G, D and V count the weights of generator, discriminator and VGG-19. The generator's weights have a
gradient, Adam's second moment and the EMA; the discriminator's have no EMA. M counts the values per
image in the feature maps that the gradient needs: input and output of every convolution in the
generator's pass, which is the larger of a step's two passes. OTHER is the memory of CUDA and its
libraries. The two factors cover temporary values and unused memory of the allocator. They come from
Jittor's memory on an imitated GPU:

    python -m tools.dev.imitate_gpu --gib 22 --without-products \\
        python -m tools.dev.benchmarks.time_network --complete --pass step --generator tsit \\
        --batch 2 --size 384 512 --num-downsamples 7 --device cuda

Multiply-adds per step and image = 4 G + 4.5 D + 3 V. Here G, D and V count those of one forward
pass: of the generator, of the discriminators over a generated image and a photo, and of VGG-19. The
generator runs forward twice, and backward once at the cost of two passes. The discriminators run
forward twice, backward over one image, and backward over both with their weights. VGG-19 runs
forward twice and backward over one image. The count treats every pixel's neighborhood as different;
real layouts cost less.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

GIB = 1 << 30
GPUS = (11, 24, 40, 80)
BATCHES = (2, 5, 30)
# CUDA's context, cuBLAS and cuDNN with their kernels: about 1 GiB on newer GPUs
OTHER = GIB
# On the imitated GPU 1.02 to 1.09 and 1.23 to 1.27, for steps of 1 to 5 images of 384 x 512.
SPARE_WEIGHTS = 1.1
SPARE_MAPS = 1.3
# Peak 10^12 floating-point operations per second of float32 convolutions, by NVIDIA's data sheets:
# plain float32 before the A100, TF32 on it.
PEAKS = {"11 GB (RTX 2080 Ti)": 13.4, "24 GB (RTX 3090)": 35.6, "40 or 80 GB (A100)": 156.0}
# Assumed share of the peak that a step reaches.
REACHED = 0.3
EPOCH = 10_000


def main(argv: Sequence[str] | None = None) -> int:
    """Print the counts for TSIT and SPADE."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=(384, 512), metavar=("H", "W"))
    parser.add_argument("--channels", type=int, default=64)
    arguments = parser.parse_args(argv)
    from runtime.start import start_jittor

    start_jittor("cpu")
    height, width = arguments.size
    for generator in ("tsit", "spade"):
        weights, maps = count(generator, height, width, arguments.channels)
        print(
            f"{generator}: weights {4 * weights / GIB:.2f} GiB, per image {4 * maps / GIB:.2f} GiB"
        )
        products = count_products(generator, height, width, arguments.channels)
        print(f"  {products / 1e12:.2f} tera multiply-adds per image")
        for name, peak in PEAKS.items():
            minutes = epoch_seconds(products, EPOCH, peak) / 60
            print(f"  {name}: {minutes:.0f} minutes for {EPOCH} images")
        for batch in BATCHES:
            print(f"  batch {batch:2}: {memory(weights, maps, batch) / GIB:5.1f} GiB")
        for size in GPUS:
            print(f"  GPU of {size} GB: batch {largest_batch(weights, maps, size * 10**9)}")
    return 0


def count(generator: str, height: int, width: int, channels: int = 64) -> tuple[int, int]:
    """(4 G + 3 D + V, M): values for the weights, and per image in the feature maps."""
    import jittor as jt

    from models.networks.vgg import VGG19

    layout, image = _pair(height, width)
    # The layout's tables fetch values, which makes Jittor compute everything pending. Narrow
    # networks trigger that here, and the layout caches the tables.
    narrow = ["--channels", "2", "--discriminator-channels", "1", "--lambda-vgg", "0"]
    _method(generator, height, width, narrow).generator_losses(layout, image)
    method = _method(generator, height, width, ["--channels", str(channels)], VGG19())
    maps = 0

    def note(x: Any, weight: Any, y: Any) -> None:
        nonlocal maps
        # a function of the layout is a table, a few percent of a feature map
        if not jt.flags.no_grad:
            maps += sum(int(v.numel()) for v in (x, y) if isinstance(v, jt.Var))

    with _convolutions_noted(note):
        method.generator_losses(layout, image)
    sides = [method.generator_parameters(), method.discriminator_parameters()]
    generator_count, discriminator_count = (sum(int(v.numel()) for _, v in s) for s in sides)
    vgg = sum(int(v.numel()) for v in method.vgg.parameters())
    return 4 * generator_count + 3 * discriminator_count + vgg, maps


def count_products(generator: str, height: int, width: int, channels: int = 64) -> float:
    """Multiply-adds per image in the convolutions of a step."""
    from models.networks.vgg import VGG19

    layout, image = _pair(height, width)
    method = _method(generator, height, width, ["--channels", str(channels)])
    products = 0

    def note(x: Any, weight: Any, y: Any) -> None:
        nonlocal products
        n, _, h, w = y.shape
        products += n * h * w * int(weight.numel())

    passes: dict[float, Callable[[], object]] = {
        4: lambda: method.reconstruct(layout, image),
        4.5: lambda: method.networks["discriminator"](layout, image, image),
        3: lambda: VGG19()(image),
    }
    total = 0.0
    for times, run in passes.items():
        products = 0
        with _convolutions_noted(note):
            run()
        total += times * products
    return total


def _pair(height: int, width: int) -> tuple[Any, Any]:
    """One layout and its photo."""
    import jittor as jt

    from models.layouts.layout import Layout
    from tools.dev.benchmarks.layouts import read_layouts

    layout = Layout(jt.array(read_layouts("random", 1, height, width, 29)), 29)
    return layout, jt.zeros((1, 3, height, width))


def _method(generator: str, height: int, width: int, flags: Sequence[str], vgg: Any = None) -> Any:
    """Networks and losses of `main`."""
    from models.gans import create_method
    from options.command_line import parse_train

    size = ["--size", str(height), str(width)]
    command = ["--schedule", "main", "--generator", generator, *size, *flags]
    return create_method(parse_train(command), vgg)


@contextlib.contextmanager
def _convolutions_noted(note: Callable[[Any, Any, Any], None]) -> Iterator[None]:
    """Call `note` with the operands and the result of every convolution."""
    from models.layers import convolution, spade
    from models.networks import discriminator

    original: Callable[..., Any] = convolution.convolve

    def noted(x: Any, weight: Any, **named: Any) -> Any:
        y = original(x, weight, **named)
        note(x, weight, y)
        return y

    with contextlib.ExitStack() as stack:
        for module in (convolution, spade, discriminator):
            stack.enter_context(mock.patch.object(module, "convolve", noted))
        yield


def epoch_seconds(products: float, images: int, peak: float) -> float:
    """Seconds for `images` on a GPU with `peak` 10^12 operations per second."""
    return 2 * products * images / (REACHED * peak * 1e12)


def memory(weights: int, maps: int, batch: int) -> float:
    """Bytes of a step with `batch` images."""
    return OTHER + int(4 * (SPARE_WEIGHTS * weights + SPARE_MAPS * batch * maps))


def largest_batch(weights: int, maps: int, limit: int) -> int:
    """The largest batch that fits into `limit` bytes; 0 if none does."""
    return max(0, int((limit - memory(weights, maps, 0)) // (SPARE_MAPS * 4 * maps)))


if __name__ == "__main__":
    sys.exit(main())
