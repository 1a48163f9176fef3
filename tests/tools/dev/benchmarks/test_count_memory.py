"""The counted memory and products of a step."""

from __future__ import annotations

from models.gans import create_method
from models.networks.vgg import CONVOLUTIONS
from options.command_line import parse_train
from tools.dev.benchmarks.count_memory import (
    count,
    count_products,
    epoch_seconds,
    largest_batch,
    memory,
)


def test_weights_are_counted_once_per_copy() -> None:
    flags = [
        "--schedule",
        "main",
        "--generator",
        "spade",
        "--channels",
        "2",
        "--size",
        "256",
        "256",
    ]
    method = create_method(parse_train(flags))
    generator = sum(int(var.numel()) for _, var in method.generator_parameters())
    discriminator = sum(int(var.numel()) for _, var in method.discriminator_parameters())
    vgg = sum(9 * a * b + b for a, b in CONVOLUTIONS.values())
    weights, _ = count("spade", 256, 256, 2)
    assert weights == 4 * generator + 3 * discriminator + vgg


def test_feature_maps_grow_with_the_pixels() -> None:
    small, large = (count("tsit", size, size, 2)[1] for size in (256, 512))
    # slightly less than four times: the discriminators' maps have a margin
    assert 3.9 * small < large <= 4 * small


def test_the_batch_that_fits_is_the_largest() -> None:
    weights, maps, limit = 10**8, 10**8, 24 * 10**9
    batch = largest_batch(weights, maps, limit)
    assert memory(weights, maps, batch) <= limit < memory(weights, maps, batch + 1)
    assert largest_batch(weights, maps, 10**9) == 0


def test_the_products_of_a_step_are_those_of_its_convolutions() -> None:
    # VGG-19 by its table on 64 x 64 pixels, an eighth of those below; --channels has no effect
    pixels = {0: 64 * 64, 2: 64 * 64, 5: 32 * 32, 7: 32 * 32}
    pixels |= {index: 16 * 16 for index in (10, 12, 14, 16)}
    pixels |= {index: 8 * 8 for index in (19, 21, 23, 25)} | {28: 4 * 4}
    vgg = 3 * sum(9 * a * b * pixels[index] for index, (a, b) in CONVOLUTIONS.items())
    narrow, wide = (count_products("spade", 128, 256, channels) - 8 * vgg for channels in (2, 4))
    assert 0 < narrow < wide < 4 * narrow


def test_an_epoch_lasts_as_long_as_its_products() -> None:
    # 2 operations per product, at 0.3 * 10^12 per second
    assert epoch_seconds(0.15e12, 10, 1.0) == 10
