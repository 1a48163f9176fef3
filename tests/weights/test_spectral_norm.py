"""Every form of spectral norm gives the weights that the network computes with."""

from __future__ import annotations

from typing import Any

import jittor as jt
import numpy as np
import pytest

from models.networks.encoder import StyleEncoder
from options.errors import UserError
from tests.weights.states import assert_same, encoder_state, one, random_state, sigma
from weights.published_names import to_published
from weights.recognize import Part
from weights.state_dicts import Arrays


def effective(part: Part, layer: str) -> np.ndarray:
    """Return the weight that the network computes with, divided by its spectral norm."""
    from models.layers.convolution import SpectralNorm

    weight = jt.array(part.arrays[f"{layer}.weight"].astype(np.float32))
    rows, columns = weight.shape[0], int(np.prod(weight.shape[1:]))
    norm = SpectralNorm(rows, columns)
    norm.eval()
    norm.u, norm.v = (jt.array(part.arrays[f"{layer}.spectral_norm.{x}"]) for x in "uv")
    return (weight / norm(weight)).numpy()


SPECTRAL_LAYERS = [f"layers.{index}" for index in range(6)]


def settled_state() -> Arrays:
    """Return a state whose vectors are those of its weights, as after training."""
    state = encoder_state()
    for name in [n for n in state if n.endswith("weight_orig")]:
        layer = name.removesuffix("_orig")
        matrix = state[name].reshape(len(state[name]), -1).astype(np.float64)
        u, _, v = np.linalg.svd(matrix, full_matrices=False)
        state[f"{layer}_u"] = u[:, 0].astype(np.float32)
        state[f"{layer}_v"] = v[0].astype(np.float32)
    return state


def without(state: Arrays, *endings: str) -> Arrays:
    return {name: array for name, array in state.items() if not name.endswith(endings)}


def test_stale_vectors_are_renewed() -> None:
    state = random_state("encoder", lambda: StyleEncoder(channels=2, latent_size=3))
    exact = one(state)
    np.testing.assert_array_equal(
        exact.arrays["layers.1.spectral_norm.u"], state["layer2.0.weight_u"]
    )
    state |= {n.removesuffix("_orig"): a for n, a in state.items() if n.endswith("weight_orig")}
    part = one(state)
    for index in range(6):
        # One step from the vectors of the file, as in its training.
        matrix = state[f"layer{index + 1}.0.weight_orig"].astype(np.float64)
        matrix = matrix.reshape(len(matrix), -1)
        v = matrix.T @ state[f"layer{index + 1}.0.weight_u"]
        expected = np.linalg.norm(matrix @ (v / np.linalg.norm(v)))
        assert sigma(part, f"layers.{index}") == pytest.approx(expected, rel=1e-5)
    assert sum("one iteration is added" in reason for reason in part.dropped.values()) == 6
    again = one(state | to_published("encoder", part.arrays))
    assert not any("iteration" in reason for reason in again.dropped.values())


def test_spectral_norm_in_parametrizations() -> None:
    state = encoder_state()
    forms = {
        "weight_orig": "parametrizations.weight.original",
        "weight_u": "parametrizations.weight.0._u",
        "weight_v": "parametrizations.weight.0._v",
    }
    renamed: Arrays = {}
    for name, array in state.items():
        layer, _, leaf = name.rpartition(".")
        renamed[f"{layer}.{forms.get(leaf, leaf)}"] = array
    assert len(set(renamed) - set(state)) == 18
    assert_same(one(renamed), one(state))


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (("weight_v",), "one follows from the other"),
        (("weight_u",), "one follows from the other"),
        (("weight_u", "weight_v"), "the largest singular value"),
    ],
)
def test_spectral_norm_without_its_vectors(gone: tuple[str, ...], message: str) -> None:
    state = settled_state()
    part, expected = one(without(state, *gone)), one(state)
    assert any(message in note for note in part.notes)
    for layer in SPECTRAL_LAYERS:
        np.testing.assert_allclose(effective(part, layer), effective(expected, layer), rtol=1e-5)


def test_the_first_spectral_norm_of_pytorch_kept_the_quotient() -> None:
    state = settled_state()
    for name in [n for n in state if n.endswith("weight_orig")]:
        state[name.removesuffix("_orig")] = state[name] / np.float32(2.5)
    part = one(without(state, "weight_v"))
    for index, layer in enumerate(SPECTRAL_LAYERS):
        expected = state[f"layer{index + 1}.0.weight"]
        np.testing.assert_allclose(effective(part, layer), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_a_folded_weight_is_unchanged(dtype: Any) -> None:
    state = {name: array.astype(dtype) for name, array in encoder_state().items()}
    for name in [n for n in state if n.endswith("weight_orig")]:
        state[name.removesuffix("_orig")] = state.pop(name)
    part = one(without(state, "weight_u", "weight_v"))
    assert any("6 weights have no weight_orig" in note for note in part.notes)
    for index, layer in enumerate(SPECTRAL_LAYERS):
        expected = state[f"layer{index + 1}.0.weight"].astype(np.float32)
        matrix = part.arrays[f"{layer}.weight"].astype(np.float32).reshape(len(expected), -1)
        u, v = (part.arrays[f"{layer}.spectral_norm.{x}"] for x in "uv")
        assert u @ (matrix @ v) == np.float32(1)
        # Jittor compiles a division as a product with the inverse: the last bit may differ.
        np.testing.assert_allclose(effective(part, layer), expected, rtol=1.2e-7)


def test_a_folded_weight_of_zeros_is_refused() -> None:
    state = without(encoder_state(), "weight_u", "weight_v")
    state["layer2.0.weight"] = 0 * state.pop("layer2.0.weight_orig")
    with pytest.raises(UserError, match=r"layer2\.0\.weight: expected a normalized weight"):
        one(state)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("layer2.0.weight_u", np.zeros(3)),
        ("layer2.0.weight_v", np.zeros((2, 2))),
        ("layer2.0.weight_orig", np.zeros(())),
        ("layer2.0.weight_orig", np.zeros((0, 2, 3, 3))),
        ("layer2.0.weight", np.zeros((1, 1))),
    ],
)
def test_vectors_of_another_size(name: str, array: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"layer2\.0: expected a weight and vectors of its rows"):
        one(encoder_state() | {name: array})
