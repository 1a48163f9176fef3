"""The VGG-19 of a run: when it is loaded, and the messages about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models.networks.vgg import CONVOLUTIONS
from options.errors import UserError
from options.groups import LossOptions
from training import vgg as vgg_module
from training.checkpoint import State
from training.log import Log
from training.plan import Progress
from training.vgg import load_vgg
from weights.pretrained import digest
from weights.safetensors_file import write_tensors


class SmallVGG(nn.Module):
    """The convolutions of VGG-19, with torchvision's names and one channel each."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleList(
            [
                nn.Conv(1, 1, 1) if index in CONVOLUTIONS else nn.Identity()
                for index in range(max(CONVOLUTIONS) + 1)
            ]
        )


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights for `SmallVGG`, which replaces VGG-19; no other file is found."""
    monkeypatch.setattr(vgg_module, "VGG19", SmallVGG)
    monkeypatch.setattr(jt.compiler, "ck_path", str(tmp_path / "jittor"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return write_weights(tmp_path / "vgg19.safetensors", seed=0)


def write_weights(path: Path, seed: int) -> Path:
    write_tensors(path, make_arrays(seed), {})
    return path


def make_arrays(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        f"features.{index}.{name}": random.normal(size=shape).astype(np.float32)
        for index in CONVOLUTIONS
        for name, shape in (("weight", (1, 1, 1, 1)), ("bias", (1,)))
    }


def state_with(vgg: str | None) -> State:
    """The state of a run that began with these weights, None for none."""
    return State(Path("state"), Progress(step=1), {}, {"vgg": vgg}, 0)


def load(loss: LossOptions, state: State | None = None) -> tuple[Any, str | None]:
    return load_vgg(loss, state, Log(None))


def test_weights_are_loaded_with_their_digest(weights: Path) -> None:
    vgg, name = load(LossOptions(vgg_weights=str(weights)))
    arrays = make_arrays(0)
    assert name == digest(arrays) and not vgg.is_training()
    np.testing.assert_array_equal(vgg.features[0].weight.numpy(), arrays["features.0.weight"])


def test_a_run_without_the_loss_loads_none(weights: Path) -> None:
    loss = LossOptions(vgg_weights=str(weights), lambda_vgg=0.0)
    assert load(loss) == (None, None)


def test_missing_weights_are_needed_only_if_required(
    weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    assert load(LossOptions(vgg_required=False)) == (None, None)
    assert "without the VGG loss" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"\(no network\).*--lambda-vgg 0"):
        load(LossOptions(vgg_required=True))


def test_a_run_that_began_without_the_loss_resumes_without(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Weights that were downloaded since are not used unasked.
    folder = Path(jt.compiler.ck_path)
    folder.mkdir()
    weights.rename(folder / "vgg19.pkl")
    assert load(LossOptions(vgg_required=False), state_with(None)) == (None, None)
    out = capsys.readouterr().out
    assert "this run began without the VGG loss and resumes without; --vgg-weights adds it" in out
    path = write_weights(folder / "other.safetensors", seed=0)
    _, name = load(LossOptions(vgg_weights=str(path)), state_with(None))
    assert name == digest(make_arrays(0))


def test_other_weights_than_before_are_logged(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loss = LossOptions(vgg_weights=str(weights))
    load(loss, state_with(digest(make_arrays(0))))
    assert "differ" not in capsys.readouterr().out
    load(loss, state_with(digest(make_arrays(1))))
    line = f"the VGG-19 weights in {weights} differ from those that this run began with"
    assert line in capsys.readouterr().out
