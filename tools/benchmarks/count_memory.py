"""Counts what a step of `main` keeps in a GPU's memory, and its products; nothing is measured.

    python -m tools.benchmarks.count_memory

bytes = OTHER + 4 * (SPARE_WEIGHTS * (4 G + 3 D + V) + SPARE_MAPS * batch * M), where G, D and V are
the weights of generator, discriminator and VGG-19 (the generator's with gradient, Adam's second
moment and average, the discriminator's without the average), and M the values of one picture's
feature maps that the gradient needs: input and output of every convolution of the generator's pass,
the larger of the two passes of a step. OTHER is what CUDA and its libraries take. The two factors,
for what lives between operators and what the allocator leaves unused, are what Jittor takes from an
imitated GPU:

    python -m tools.imitate_gpu --gib 22 --without-products \
        python -m tools.benchmarks.time_network --complete --pass step --generator tsit \
        --batch 2 --size 384 512 --halvings 7 --device cuda

Multiply-adds of a step and picture = 4 G + 4.5 D + 3 V, of one forward pass of the generator, of
the discriminators over a generated and a given picture, and of VGG-19. The generator goes forward
twice, and backward with the cost of two passes; the discriminators twice, backward over one picture
alone and over both with their weights; VGG-19 forward twice and backward over one. Layouts are
counted as if each pixel had a neighbourhood of its own: real ones cost less.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

GIB = 1 << 30
CARDS = (11, 24, 40, 80)
BATCHES = (2, 5, 30)
# of the card: CUDA's context, cuBLAS and cuDNN with their kernels, about 1 GiB on newer cards
OTHER = GIB
# Of 1.02 to 1.09 and 1.23 to 1.27, for steps of 1 to 5 pictures of 384 x 512.
SPARE_WEIGHTS = 1.1
SPARE_MAPS = 1.3
# Peak 10^12 floating-point operations a second of float32 convolutions, by the maker's data sheets:
# plain float32 before the A100, TF32 on it.
PEAKS = {"11 GB (RTX 2080 Ti)": 13.4, "24 GB (RTX 3090)": 35.6, "40 or 80 GB (A100)": 156.0}
# The share of it that a step is taken to reach: assumed.
REACHED = 0.3
EPOCH = 10_000


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table for TSIT and one for SPADE."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=(384, 512), metavar=("H", "W"))
    parser.add_argument("--channels", type=int, default=64)
    arguments = parser.parse_args(argv)
    from tools.start import start_jittor

    start_jittor("cpu")
    height, width = arguments.size
    for generator in ("tsit", "spade"):
        weights, maps = count(generator, height, width, arguments.channels)
        print(f"{generator}: weights {4 * weights / GIB:.2f} GiB, a picture {4 * maps / GIB:.2f}")
        products = count_products(generator, height, width, arguments.channels)
        print(f"  {products / 1e12:.2f} tera multiply-adds a picture")
        for name, peak in PEAKS.items():
            minutes = epoch_seconds(products, EPOCH, peak) / 60
            print(f"  {name}: {minutes:.0f} minutes for {EPOCH} pictures")
        for batch in BATCHES:
            print(f"  batch {batch:2}: {memory(weights, maps, batch) / GIB:5.1f} GiB")
        for card in CARDS:
            print(f"  card of {card} GB: batch {largest_batch(weights, maps, card * 10**9)}")
    return 0


def count(generator: str, height: int, width: int, channels: int = 64) -> tuple[int, int]:
    """Values kept for the weights, 4 G + 3 D + V, and M, those of a picture's feature maps."""
    import jittor as jt

    from models.networks.vgg import VGG19

    layout, image = _pair(height, width)
    # Whatever asks for a value has Jittor compute all that is pending: what the layout's tables
    # ask for is asked by narrow networks, and kept in the layout.
    narrow = ["--channels", "2", "--discriminator-channels", "1", "--lambda-vgg", "0"]
    _method(generator, height, width, narrow).generator_losses(layout, image)
    method = _method(generator, height, width, ["--channels", str(channels)], VGG19())
    maps = 0

    def note(x: Any, weight: Any, y: Any) -> None:
        nonlocal maps
        # functions of the layout are tables, a few percent of a feature map
        if not jt.flags.no_grad:
            maps += sum(int(v.numel()) for v in (x, y) if isinstance(v, jt.Var))

    with _convolutions_noted(note):
        method.generator_losses(layout, image)
    sides = [method.generator_parameters(), method.discriminator_parameters()]
    generator_count, discriminator_count = (sum(int(v.numel()) for _, v in s) for s in sides)
    vgg = sum(int(v.numel()) for v in method.vgg.parameters())
    return 4 * generator_count + 3 * discriminator_count + vgg, maps


def count_products(generator: str, height: int, width: int, channels: int = 64) -> float:
    """Multiply-adds of a step's convolutions, for each of its pictures."""
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
    """A layout of one picture, and its photograph."""
    import jittor as jt

    from models.layout import Layout
    from tools.benchmarks.layouts import read_layouts

    layout = Layout(jt.array(read_layouts("random", 1, height, width, 29)), 29)
    return layout, jt.zeros((1, 3, height, width))


def _method(generator: str, height: int, width: int, flags: Sequence[str], vgg: Any = None) -> Any:
    """Networks and losses of `main`."""
    from models.methods import create_method
    from options.command_line import parse_train

    size = ["--size", str(height), str(width)]
    command = ["--schedule", "main", "--generator", generator, *size, *flags]
    return create_method(parse_train(command), vgg)


@contextlib.contextmanager
def _convolutions_noted(note: Callable[[Any, Any, Any], None]) -> Iterator[None]:
    """Tell `note` the operands and the result of every convolution."""
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


def epoch_seconds(products: float, pictures: int, peak: float) -> float:
    """Seconds for so many pictures on a card of `peak` 10^12 operations a second."""
    return 2 * products * pictures / (REACHED * peak * 1e12)


def memory(weights: int, maps: int, batch: int) -> float:
    """Bytes of a step of `batch` pictures."""
    return OTHER + int(4 * (SPARE_WEIGHTS * weights + SPARE_MAPS * batch * maps))


def largest_batch(weights: int, maps: int, card: int) -> int:
    """The pictures of a step that a card of that many bytes has room for; 0 for none."""
    return max(0, int((card - memory(weights, maps, 0)) // (SPARE_MAPS * 4 * maps)))


if __name__ == "__main__":
    sys.exit(main())
