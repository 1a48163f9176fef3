from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from options.errors import UserError
from options.run import LossOptions
from training import vgg_weights
from training.tensor_file import write_tensors
from training.vgg_weights import digest, find_weights, get_weights, read_weights

SHAPES = {"features.0.weight": (2, 3, 1, 1), "features.0.bias": (2,)}
ARRAYS = {
    "features.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1),
    "features.0.bias": np.ones(2, np.float32),
    "classifier.0.weight": np.zeros((4, 4), np.float32),
}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights of this machine's, and a server that is a folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    server = tmp_path / "server"
    server.mkdir()
    monkeypatch.setattr(vgg_weights, "JITTOR_URL", (server / "vgg19.pkl").as_uri())
    return server


def test_no_weights_are_looked_for_without_the_loss(tmp_path: Path) -> None:
    said: list[str] = []
    assert get_weights(LossOptions(lambda_vgg=0.0), tmp_path, said.append) is None
    assert said == []


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
        UserError, match=r"--vgg-weights is a file: .*mine\.pth is not there; fetch"
    ):
        find_weights(LossOptions(vgg_weights=str(mine)), jittor)
    mine.write_text("x")
    assert find_weights(LossOptions(vgg_weights=str(mine)), jittor) == mine


def test_the_download_is_said_and_kept(tmp_path: Path, alone: Path) -> None:
    (alone / "vgg19.pkl").write_bytes(b"weights")
    said: list[str] = []
    path = get_weights(LossOptions(), tmp_path / "jittor", said.append)
    assert path == tmp_path / "jittor/vgg19.pkl"
    assert path.read_bytes() == b"weights"
    assert len(said) == 1 and "trying Jittor's download, file://" in said[0]


def test_without_a_network(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(UserError, match=r"fetch https://download\.pytorch\.org/models/vgg19-"):
        get_weights(LossOptions(vgg_required=True), tmp_path / "jittor", said.append)
    said.clear()
    assert get_weights(LossOptions(vgg_required=False), tmp_path / "jittor", said.append) is None
    assert len(said) == 1 and "goes on without the VGG loss" in said[0]
    assert list((tmp_path / "jittor").iterdir()) == []


def test_nothing_is_downloaded_unless_it_is_required(tmp_path: Path, alone: Path) -> None:
    (alone / "vgg19.pkl").write_bytes(b"weights")
    loss = LossOptions(vgg_required=False)
    assert get_weights(loss, tmp_path / "jittor", lambda line: None) is None
    assert not (tmp_path / "jittor").exists()


def test_every_kind_of_file_gives_the_same_arrays(tmp_path: Path) -> None:
    plain, nested = tmp_path / "a.pkl", tmp_path / "b.pth"
    plain.write_bytes(pickle.dumps(ARRAYS))
    nested.write_bytes(pickle.dumps({"state_dict": ARRAYS}))
    write_tensors(tmp_path / "c.safetensors", ARRAYS, {})
    read = [read_weights(p, SHAPES) for p in (plain, nested, tmp_path / "c.safetensors")]
    assert len({digest(arrays) for arrays in read}) == 1
    assert sorted(read[0]) == sorted(SHAPES)
    np.testing.assert_array_equal(read[2]["features.0.weight"], ARRAYS["features.0.weight"])
    changed = {**read[0], "features.0.bias": np.zeros(2, np.float32)}
    assert digest(changed) != digest(read[0])


def test_other_weights_are_refused_with_every_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"features.0.weight": np.zeros((2, 2), np.float32)}, {})
    with pytest.raises(
        UserError, match=r"weight is 2x2, not 2x3x1x1; features\.0\.bias is missing"
    ):
        read_weights(path, SHAPES)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match="a dictionary of tensors"):
        read_weights(path, SHAPES)
