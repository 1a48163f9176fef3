"""What a step is counted to keep."""

from __future__ import annotations

from models.methods import create_method
from models.networks.vgg import CONVOLUTIONS
from options.command_line import parse_train
from tools.benchmarks.count_memory import count, largest_batch, memory


def test_weights_are_counted_once_for_each_copy_of_them() -> None:
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
    # not quite four times: the discriminators' maps have a margin
    assert 3.9 * small < large <= 4 * small


def test_the_batch_that_fits_is_the_largest() -> None:
    weights, maps, card = 10**8, 10**8, 24 * 10**9
    batch = largest_batch(weights, maps, card)
    assert memory(weights, maps, batch) <= card < memory(weights, maps, batch + 1)
    assert largest_batch(weights, maps, 10**9) == 0
