"""Segmenters: published SegFormers in both namings, the project's format, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest

from models.networks.segformer import VARIANTS, SegFormer, SegFormerShape, create_segformer
from options.errors import UserError
from tests.models.inputs import values
from tests.reference.goldens import Golden, load
from tests.weights.states import one
from tools.convert_checkpoint import main
from weights.new_segmenters import pretrained_segmenter
from weights.published_names import from_published, to_published
from weights.safe_pickle import read_pickle
from weights.safetensors_file import read_metadata, read_tensors, write_tensors
from weights.segmenters import (
    describe_shape,
    load_segmenter,
    read_classes,
    read_segmenter,
    save_segmenter,
)
from weights.state_dicts import Arrays
from weights.torch_file import write_torch

NAMINGS = ("nvlabs", "hugging_face")
SHAPE = SegFormerShape((4, 8, 10, 16), (1, 1, 1, 2), 8)


def _golden(naming: str) -> tuple[Golden, Arrays]:
    """The golden of a naming, and its state, with the unused layers of the files."""
    golden = load(f"segformer_epsilons_{naming}")
    state = golden.section("state")
    if naming == "nvlabs":
        state["decode_head.conv_seg.weight"] = np.ones((5, 8, 1, 1), np.float32)
        state["decode_head.conv_seg.bias"] = np.ones(5, np.float32)
    return golden, state


def _logits(network: SegFormer, golden: Golden) -> np.ndarray:
    with jt.no_grad():
        result: np.ndarray = network(jt.array(golden.get("in/image"))).numpy()
    return result


def _write_pth(path: Path, state: Arrays) -> None:
    write_torch(path, state)


def _write_safetensors(path: Path, state: Arrays) -> None:
    write_tensors(path, state, {"format": "pt"})


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("write", [_write_pth, _write_safetensors])
def test_a_converted_segformer_computes_the_logits_of_the_reference(
    naming: str,
    write: Callable[[Path, Arrays], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    golden, state = _golden(naming)
    source, target = tmp_path / "source", tmp_path / "segmenter.safetensors"
    write(source, state)
    assert main([str(source), str(target)]) == 0
    printed = capsys.readouterr().out
    assert "found: variant widths 4 8 10 16, blocks 1 1 1 2, head 8, classes 5, norms" in printed
    dropped = "decode_head.conv_seg.weight, decode_head.conv_seg.bias: a layer that the published"
    assert (dropped in printed) == (naming == "nvlabs")
    network = load_segmenter(target)
    assert read_classes(target) == network.classes
    assert not network.is_training() and network.encoder.norms == naming
    assert golden.difference("out/eval.logits", _logits(network, golden)).absolute < 1e-4
    # A second conversion replaces the first; the way back gives the published names and numbers.
    assert main([str(source), str(target)]) == 0
    assert "replaces: " in capsys.readouterr().out
    assert main([str(target), str(tmp_path / "back.pth"), "--to", "torch"]) == 0
    back = read_pickle(tmp_path / "back.pth")
    used = {name: array for name, array in state.items() if "conv_seg" not in name}
    assert set(back) == set(used)
    for name, array in used.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("prefix", ["", "module.", "model.segmenter."])
def test_names_may_have_any_prefix(naming: str, prefix: str) -> None:
    _, state = _golden(naming)
    part = one({"state_dict": {prefix + n: a for n, a in state.items()}, "meta": {"epoch": 3}})
    assert part.family == ("segformer" if naming == "nvlabs" else "segformer_hugging_face")
    assert part.arrays.keys() == SegFormer(shape=SHAPE, classes=5).state_dict().keys()
    assert part.dropped.pop("meta.epoch") == "no tensor"
    assert len(part.dropped) == 2 * (naming == "nvlabs")


def _encoder_state(naming: str, network: SegFormer) -> Arrays:
    """The file of an encoder as published, with the classifier of ImageNet."""
    arrays = {name: var.numpy() for name, var in network.encoder.state_dict().items()}
    extra = {"weight": np.ones((1000, 256), np.float32), "bias": np.ones(1000, np.float32)}
    if naming == "nvlabs":
        return to_published("mit", arrays) | {f"head.{n}": a for n, a in extra.items()}
    named = to_published("mit_hugging_face", arrays)
    state = {f"segformer.{name}": array for name, array in named.items()}
    return state | {f"classifier.{n}": a for n, a in extra.items()}


@pytest.mark.parametrize("naming", NAMINGS)
def test_an_encoder_starts_a_segmenter(naming: str, tmp_path: Path) -> None:
    state = _encoder_state(naming, create_segformer("B0", classes=2))
    probe = "patch_embed1.proj.weight"
    if naming == "hugging_face":
        probe = "segformer.encoder.patch_embeddings.0.proj.weight"
    assert probe in state and not any("key_value" in name for name in state)
    source, target = tmp_path / "mit_b0.pth", tmp_path / "mit_b0.safetensors"
    write_torch(source, state)
    assert main([str(source), str(target)]) == 0
    family = "mit" if naming == "nvlabs" else "mit_hugging_face"
    assert read_metadata(target)["family"] == family
    for path in (source, target):
        network = pretrained_segmenter(path, classes=29)
        assert network.is_training() and network.classes == 29 and network.shape.head_width == 256
        assert network.encoder.norms == naming
        found = network.encoder.stages[0].embedding.projection.weight.numpy()
        np.testing.assert_array_equal(found, state[probe])
    assert main([str(target), str(tmp_path / "back.pth"), "--to", "torch"]) == 0
    back = read_pickle(tmp_path / "back.pth")
    for name, array in back.items():
        np.testing.assert_array_equal(array, state["segformer." * (naming != "nvlabs") + name])
    assert len(back) == len(state) - 2


def test_published_variants_have_names() -> None:
    assert [describe_shape(shape) for shape in VARIANTS.values()] == list(VARIANTS)
    assert describe_shape(SHAPE) == "widths 4 8 10 16, blocks 1 1 1 2, head 8"


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mit.pth"
    write_torch(path, _encoder_state("nvlabs", SegFormer(shape=SHAPE, classes=2)))
    with pytest.raises(UserError, match=r"mit\.pth: .*SegFormer-B0 or .* got widths 4 8 10 16"):
        pretrained_segmenter(path, classes=3)
    write_torch(path, _golden("nvlabs")[1])
    with pytest.raises(UserError, match=r"expected an encoder of SegFormer \(MiT\), got segformer"):
        pretrained_segmenter(path, classes=3)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "segmenter.safetensors"
    colors = {"mean": (1.0, 2.5, 3.0), "deviation": (50.0, 60.0, 70.5)}
    network = SegFormer(shape=SHAPE, classes=3, norms="hugging_face", **colors)
    save_segmenter(path, network)
    return path


def test_a_saved_segmenter_is_the_same(saved: Path) -> None:
    segmenter = read_segmenter(saved)
    assert (segmenter.classes, segmenter.norms) == (3, "hugging_face")
    assert segmenter.mean == (1.0, 2.5, 3.0) and segmenter.deviation == (50.0, 60.0, 70.5)
    first, second = load_segmenter(saved), load_segmenter(saved)
    assert first.encoder.mean == segmenter.mean
    assert first.encoder.deviation == segmenter.deviation
    image = values(1, 3, 32, 40)
    with jt.no_grad():
        np.testing.assert_array_equal(first(image).numpy(), second(image).numpy())
    save_segmenter(saved.with_name("again"), first)
    assert saved.with_name("again").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", "jittor-landscape generator 1", "expected a segmenter .* format 'jittor-land"),
        ("network", "unet", "expected segformer as network in its metadata, got 'unet'"),
        ("norms", "x", "expected nvlabs or hugging_face as norms in its metadata, got 'x'"),
        ("classes", "0", "expected a number from 1 as classes in its metadata, got '0'"),
        ("classes", "4", r"2 misshapen: head\.classifier"),
        ("mean", "1 2", "expected three numbers from 0 to 255 as mean in its metadata, got '1 2'"),
        ("deviation", "1 0 1", "three numbers from 0.001 to 255 as deviation .* got '1 0 1'"),
        ("deviation", "1 nan 1", "three numbers from 0.001 to 255 as deviation"),
        ("variant", "B0", "expected widths 4 .* as variant in its metadata, got 'B0'"),
    ],
)
def test_damaged_metadata_are_named(saved: Path, name: str, value: str, message: str) -> None:
    tensors, metadata = read_tensors(saved)
    write_tensors(saved, tensors, metadata | {name: value})
    _refused(lambda: load_segmenter(saved), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder.stages.1.norm.scale": None}, r"1 missing: encoder\.stages\.1\.norm\.scale"),
        ({"extra": np.zeros(2, np.float32)}, "1 unexpected: extra"),
        ({"head.classifier.bias": np.array([0, np.nan, 0], np.float32)}, "got 1 NaN or Inf"),
        ({"head.projections.0.weight": None}, r"one without head\.projections\.0\.weight"),
        (
            {"encoder.stages.2.embedding.projection.weight": np.zeros(3, np.float32)},
            r"one without encoder\.stages\.2\.embedding\.projection\.weight",
        ),
    ],
)
def test_damaged_arrays_are_named(saved: Path, change: dict[str, Any], message: str) -> None:
    tensors, metadata = read_tensors(saved)
    changed = {n: a for n, a in (tensors | change).items() if a is not None}
    write_tensors(saved, changed, metadata)
    _refused(lambda: load_segmenter(saved), message)


def test_published_files_name_the_command(tmp_path: Path) -> None:
    path = tmp_path / "segformer.b0.pth"
    write_torch(path, _golden("nvlabs")[1])
    _refused(lambda: load_segmenter(path), f"python -m tools.convert_checkpoint {path} ")


def _refused(load_it: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_it()
    assert "\n" not in str(error.value)


def test_a_damaged_published_network_is_refused(tmp_path: Path) -> None:
    source, target = tmp_path / "a.pth", tmp_path / "a.safetensors"
    _, state = _golden("hugging_face")
    lost = "segformer.encoder.block.0.0.attention.self.value.weight"
    write_torch(source, {n: a for n, a in state.items() if n != lost})
    assert main([str(source), str(target)]) == 2
    _, state = _golden("nvlabs")
    write_torch(source, {n: a for n, a in state.items() if n != "backbone.norm3.bias"})
    assert main([str(source), str(target)]) == 2
    assert not target.exists()


def test_a_training_is_not_replaced(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved.with_name("a.pth")
    write_torch(source, _golden("nvlabs")[1])
    before = saved.read_bytes()
    assert main([str(source), str(saved)]) == 2
    assert "is in the way" in capsys.readouterr().err
    assert saved.read_bytes() == before


def test_keys_and_values_are_joined_keys_first() -> None:
    _, state = _golden("hugging_face")
    own = from_published("segformer_hugging_face", state)
    start = "segformer.encoder.block.2.0.attention.self"
    joined = own["encoder.stages.2.blocks.0.attention.key_value.weight"]
    np.testing.assert_array_equal(joined[:10], state[f"{start}.key.weight"])
    np.testing.assert_array_equal(joined[10:], state[f"{start}.value.weight"])
    back = to_published("segformer_hugging_face", own)
    assert list(back) != [] and set(back) == set(state)


def test_the_naming_of_a_newer_mmsegmentation_is_named() -> None:
    name = "backbone.layers.0.1.0.attn.attn.in_proj_weight"
    with pytest.raises(UserError, match="got SegFormer of a newer mmsegmentation"):
        one({name: np.zeros((12, 4), np.float32)})
