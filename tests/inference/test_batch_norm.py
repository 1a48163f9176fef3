"""Batch-norm statistics over some batches, compared with those computed by NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.start import start_jittor

start_jittor("cpu")

import jittor as jt  # noqa: E402
from jittor import nn  # noqa: E402

from inference.batch_norm import batch_norms, reestimate  # noqa: E402
from models.layers.convolution import Conv2d  # noqa: E402
from models.layers.normalization import EPSILON, BatchNorm  # noqa: E402


class Network(nn.Module):
    """Norm, a 1 x 1 convolution with spectral norm, norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = BatchNorm(3)
        self.convolution = Conv2d(3, 2, 1, spectral=True)
        self.layers = nn.ModuleList([BatchNorm(2)])

    def execute(self, x: jt.Var) -> jt.Var:
        return self.layers[0](self.convolution(self.first(x)))


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance per channel; the variance divides by the number of values less one."""
    values = x.transpose(1, 0, 2, 3).reshape(x.shape[1], -1)
    return values.mean(1), values.var(1, ddof=1)


def normalized(x: np.ndarray) -> np.ndarray:
    variance = x.var(axis=(0, 2, 3), keepdims=True)
    return (x - x.mean(axis=(0, 2, 3), keepdims=True)) / np.sqrt(variance + EPSILON)


def test_the_statistics_are_the_means_of_those_of_the_batches() -> None:
    rng = np.random.default_rng(0)
    batches = [
        rng.normal(3 * number, number + 1, (4, 3, 5, 6)).astype(np.float32) for number in range(3)
    ]
    network = Network()
    network.eval()
    network.first.running_mean.update(jt.array(np.float32([100, 200, 300])))
    spectral = network.convolution.spectral_norm
    u, v = spectral.u.numpy().copy(), spectral.v.numpy().copy()
    weight = network.convolution.weight.numpy().astype(np.float64).reshape(2, 3)
    weight /= u @ weight @ v
    shown: list[tuple[int, int]] = []
    found = reestimate(
        {"generator": network},
        lambda number: network(jt.array(batches[number])),
        3,
        lambda *place: shown.append(place),
    )
    first = [moments(batch) for batch in batches]
    hidden = [np.einsum("oc,nchw->nohw", weight, normalized(batch)) + 0.0 for batch in batches]
    bias = network.convolution.bias.numpy()[None, :, None, None]
    second = [moments(one + bias) for one in hidden]
    for layer, expected in (("first", first), ("layers.0", second)):
        for name, values in zip(("mean", "variance"), zip(*expected, strict=True), strict=True):
            np.testing.assert_allclose(
                found[f"generator.{layer}.running_{name}"],
                np.mean(values, axis=0),
                rtol=2e-5,
                atol=2e-6,
            )
    assert len(found) == 4 and shown[-1] == (3, 3)
    # evaluation uses them, and the spectral norm has kept its vectors
    np.testing.assert_array_equal(spectral.u.numpy(), u)
    x = jt.array(batches[0])
    before = network(x).numpy()
    np.testing.assert_array_equal(network(x).numpy(), before)
    np.testing.assert_array_equal(
        network.first.running_mean.numpy(), found["generator.first.running_mean"]
    )
    assert not network.first.is_training() and network.first.MOMENTUM == 0.1


def test_names_are_those_of_a_snapshot() -> None:
    network = Network()
    assert list(batch_norms({"generator": network})) == ["generator.first", "generator.layers.0"]
    assert {f"{name}.running_mean" for name in batch_norms({"": network})} <= {
        f".{name}" for name in network.state_dict()
    }


def test_without_batch_norm_no_batch_is_read() -> None:
    network = Conv2d(1, 1, 1)
    network.eval()

    def forward(number: int) -> None:
        pytest.fail("a batch was read")

    assert reestimate({"generator": network}, forward, 2) == {}
