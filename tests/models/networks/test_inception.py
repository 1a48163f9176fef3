"""The Inception v3 of the FID against the reference, and its pools against NumPy."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest
from numpy.typing import NDArray

from models.kernels import packed
from models.layers.convolution import prepare_for_inference
from models.networks.inception import FIDInception, average_3x3, maximum_3x3, pool_maximum
from tests.models.golden import Vars, fetch
from tests.models.inputs import values
from tests.reference.goldens import Golden, load
from weights.backbones import name_inception
from weights.variables import load_strict

# Of the norm of a result, and of its largest value.
RELATIVE, ABSOLUTE = 4e-5, 1e-4
TAPS = ("tap64", "tap192", "tap768", "tap2048")


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load("fid_inception")


@pytest.fixture
def network(golden: Golden) -> FIDInception:
    network = FIDInception()
    load_strict({"network": network}, name_inception(golden.section("state")), "the golden")
    return network


def check(golden: Golden, results: Vars) -> None:
    """Compares each result with the golden."""
    for name, array in fetch(results).items():
        difference = golden.difference(f"out/{name}", array)
        assert difference.relative < RELATIVE, name
        assert difference.absolute < ABSOLUTE * np.abs(array).max(), name


def test_as_the_reference(golden: Golden, network: FIDInception) -> None:
    small, large = (jt.array(golden.get(f"in/{name}")) for name in ("small", "large"))
    with jt.no_grad():
        results = dict(zip(TAPS, network.features(small), strict=True))
        results |= {"pooled": network.pooled(small), "logits": network.logits(small)}
        results["pooled_large"] = network.pooled(large)
        check(golden, results)
    assert set(results) == set(golden.keys("out"))


@pytest.mark.skipif(not packed.available(), reason="Jittor has no oneDNN")
def test_as_the_reference_if_prepared(golden: Golden, network: FIDInception) -> None:
    prepare_for_inference(network)
    image = jt.array(golden.get("in/small"))
    with jt.no_grad():
        check(golden, dict(zip(TAPS, network.features(image), strict=True)))


def test_the_number_of_parameters() -> None:
    state = FIDInception().state_dict()
    sizes = [var.numel() for name, var in state.items() if "running" not in name]
    assert sum(sizes) == 23_850_960


def windows(x: NDArray, padding: float) -> NDArray:
    """The 3 x 3 windows around all pixels, (N, C, H, W, 3, 3)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=padding)
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))  # type: ignore[call-overload]


@pytest.mark.parametrize("height", [1, 8])
def test_padding_is_no_maximum_and_no_part_of_an_average(height: int) -> None:
    # All values are below 0: as a maximum, a padding of 0 would win.
    x = values(2, 3, height, 5) - 1.5
    array = x.numpy()
    np.testing.assert_array_equal(maximum_3x3(x).numpy(), windows(array, -np.inf).max(axis=(4, 5)))
    expected = np.nanmean(windows(array, np.nan), axis=(4, 5))
    np.testing.assert_allclose(average_3x3(x).numpy(), expected, atol=1e-6)


def test_the_max_pool_leaves_out_incomplete_windows() -> None:
    x = values(1, 2, 8, 11) - 1.5
    expected = windows(x.numpy(), -np.inf)[:, :, 1:-1:2, 1:-1:2].max(axis=(4, 5))
    assert expected.shape == (1, 2, 3, 5)
    np.testing.assert_array_equal(pool_maximum(x).numpy(), expected)
