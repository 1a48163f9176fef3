from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from options.errors import UserError
from options.groups import LossOptions
from weights import pretrained
from weights.pretrained import digest, find_weights, get_weights, read_weights
from weights.safetensors_file import write_tensors
from weights.state_dicts import VGG_PLACES

PLACES = VGG_PLACES["VGG-19"][:13]
SHAPES = {f"features.{i}.weight": (2, 3, 1, 1) for i in PLACES} | {"features.0.bias": (2,)}
ARRAYS = {
    **{
        f"features.{i}.weight": i + np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1)
        for i in PLACES
    },
    "features.0.bias": np.ones(2, np.float32),
    "classifier.0.weight": np.zeros((4, 4), np.float32),
}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide the weights of this machine; the server is a folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    server = tmp_path / "server"
    server.mkdir()
    monkeypatch.setattr(pretrained, "JITTOR_URL", (server / "vgg19.pkl").as_uri())
    return server


def test_without_the_loss_no_weights_are_searched(tmp_path: Path) -> None:
    lines: list[str] = []
    assert get_weights(LossOptions(lambda_vgg=0.0), tmp_path, lines.append) is None
    assert lines == []


def test_the_order_of_places(tmp_path: Path) -> None:
    jittor, torch = tmp_path / "jittor", tmp_path / "torch/hub/checkpoints"
    loss = LossOptions()
    assert find_weights(loss, jittor) is None
    for folder, name in ((torch, "vgg19-dcbb9e9d.pth"), (jittor, "vgg19.pkl")):
        folder.mkdir(parents=True)
        (folder / name).write_text("x")
        assert find_weights(loss, jittor) == folder / name
    mine = tmp_path / "mine.pth"
    with pytest.raises(
        UserError, match=r"--vgg-weights: expected a file, got .*mine\.pth.* download https"
    ):
        find_weights(LossOptions(vgg_weights=str(mine)), jittor)
    mine.write_text("x")
    assert find_weights(LossOptions(vgg_weights=str(mine)), jittor) == mine


def test_the_download_is_logged_and_kept(tmp_path: Path, alone: Path) -> None:
    (alone / "vgg19.pkl").write_bytes(b"weights")
    lines: list[str] = []
    path = get_weights(LossOptions(), tmp_path / "jittor", lines.append)
    assert path == tmp_path / "jittor/vgg19.pkl"
    assert path.read_bytes() == b"weights"
    assert len(lines) == 1 and "not found, downloading file://" in lines[0]


def test_without_internet(tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(UserError, match=r"download https://download\.pytorch\.org/models/vgg19-"):
        get_weights(LossOptions(vgg_required=True), tmp_path / "jittor", lines.append)
    lines.clear()
    assert get_weights(LossOptions(vgg_required=False), tmp_path / "jittor", lines.append) is None
    assert len(lines) == 1 and "training runs without the VGG loss" in lines[0]
    assert list((tmp_path / "jittor").iterdir()) == []


def test_only_required_weights_are_downloaded(tmp_path: Path, alone: Path) -> None:
    (alone / "vgg19.pkl").write_bytes(b"weights")
    loss = LossOptions(vgg_required=False)
    assert get_weights(loss, tmp_path / "jittor", lambda line: None) is None
    assert not (tmp_path / "jittor").exists()


def test_every_kind_of_file_gives_the_same_arrays(tmp_path: Path) -> None:
    plain, nested = tmp_path / "a.pkl", tmp_path / "b.pth"
    plain.write_bytes(pickle.dumps(ARRAYS))
    nested.write_bytes(pickle.dumps({"state_dict": ARRAYS}))
    write_tensors(tmp_path / "c.safetensors", ARRAYS, {})
    write_tensors(tmp_path / "d.pth", {f"module.{n}": a for n, a in ARRAYS.items()}, {})
    bare = {n.removeprefix("features."): a for n, a in ARRAYS.items() if n[0] == "f"}
    (tmp_path / "e.pkl").write_bytes(pickle.dumps(bare))
    names = ("a.pkl", "b.pth", "c.safetensors", "d.pth", "e.pkl")
    read = [read_weights(tmp_path / name, SHAPES) for name in names]
    assert len({digest(arrays) for arrays in read}) == 1
    assert sorted(read[0]) == sorted(SHAPES)
    np.testing.assert_array_equal(read[2]["features.0.weight"], ARRAYS["features.0.weight"])
    changed = {**read[0], "features.0.bias": np.zeros(2, np.float32)}
    assert digest(changed) != digest(read[0])


def test_every_misshapen_or_missing_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    arrays = {name: array for name, array in ARRAYS.items() if name != "features.0.bias"}
    write_tensors(path, arrays | {"features.0.weight": np.zeros((2, 2), np.float32)}, {})
    with pytest.raises(
        UserError, match=r"weight is 2x2, not 2x3x1x1, features\.0\.bias is missing"
    ):
        read_weights(path, SHAPES)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([1, 2], "got no tensors"),
        (
            {f"n{i}": np.zeros(1) for i in range(20)},
            r"got 20 tensors: n0, .*n9 and 10 more\. To get them",
        ),
        (
            {f"features.{i}.weight": np.zeros(1) for i in VGG_PLACES["VGG-16"]},
            r"got VGG-16\. .* download https://download",
        ),
        (
            {**ARRAYS, "features.0.bias": np.array([1, np.nan])},
            r"1 NaN .*: features\.0\.bias \(1\)",
        ),
        ({**ARRAYS, "features.7.weight": np.full((2, 3, 1, 1), 1e39)}, "6 NaN or Inf in 1 tensors"),
    ],
)
def test_other_networks_are_named(tmp_path: Path, arrays: Any, message: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(arrays))
    with pytest.raises(UserError, match=message):
        read_weights(path, SHAPES)
