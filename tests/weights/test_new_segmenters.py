"""New segmenters: their pretrained encoders, and the file of the small one."""

from __future__ import annotations

from pathlib import Path

import jittor as jt
import numpy as np
import pytest

from models.networks.lite_segmenter import LiteSegmenter
from models.networks.segformer import SegFormer, create_segformer
from options.errors import UserError
from tests.models.inputs import values
from weights.backbones import load_efficientnet
from weights.new_segmenters import create_segmenter
from weights.published_names import to_published
from weights.safetensors_file import read_metadata, read_tensors, write_tensors
from weights.segmenters import load_segmenter, read_classes, read_segmenter, save_segmenter
from weights.torch_file import write_torch


@pytest.fixture(scope="module")
def lite() -> LiteSegmenter:
    jt.set_global_seed(0)
    network = create_segmenter("efficientnet_lite0", classes=3)
    assert isinstance(network, LiteSegmenter)
    return network


def test_the_small_segmenter_starts_with_the_weights_of_the_package(lite: LiteSegmenter) -> None:
    assert lite.is_training() and not lite.encoder.stem.norm.is_training()
    pretrained = load_efficientnet()
    names = set(pretrained.state_dict()) - set(lite.encoder.state_dict())
    assert {name.split(".")[0] for name in names} == {"head", "classifier"}
    for name, variable in lite.encoder.state_dict().items():
        np.testing.assert_array_equal(variable.numpy(), pretrained.state_dict()[name].numpy())


def test_a_saved_small_segmenter_is_the_same(lite: LiteSegmenter, tmp_path: Path) -> None:
    path = tmp_path / "segmenter.safetensors"
    save_segmenter(path, lite)
    assert read_metadata(path) == {
        "format": "jittor-landscape segmenter 1",
        "network": "efficientnet_lite0",
        "classes": "3",
    }
    assert read_classes(path) == 3
    network = load_segmenter(path)
    assert isinstance(network, LiteSegmenter) and not network.is_training()
    image = values(1, 3, 33, 50)
    lite.eval()
    with jt.no_grad():
        np.testing.assert_array_equal(network(image).numpy(), lite(image).numpy())
    lite.train()


def test_other_values_replace_those_of_the_network(lite: LiteSegmenter, tmp_path: Path) -> None:
    path = tmp_path / "average.safetensors"
    save_segmenter(path, lite, {"head.classifier.bias": jt.array([1.0, 2.0, 3.0])})
    arrays, _ = read_tensors(path)
    np.testing.assert_array_equal(arrays["head.classifier.bias"], [1, 2, 3])
    kept = arrays["head.classifier.weight"]
    np.testing.assert_array_equal(kept, lite.head.classifier.weight.numpy())


def test_damaged_files_of_the_small_segmenter(lite: LiteSegmenter, tmp_path: Path) -> None:
    path = tmp_path / "segmenter.safetensors"
    save_segmenter(path, lite)
    arrays, metadata = read_tensors(path)
    for change, message in (
        ({"head.norm.scale": None}, "1 missing: head.norm.scale"),
        ({"head.norm.scale": np.full(128, np.nan, np.float32)}, "got 128 NaN or Inf"),
    ):
        changed = {n: a for n, a in (arrays | change).items() if a is not None}
        write_tensors(path, changed, metadata)
        with pytest.raises(UserError, match=message):
            load_segmenter(path)
    write_tensors(path, arrays, metadata | {"classes": "4"})
    with pytest.raises(UserError, match=r"2 misshapen: head\.classifier"):
        load_segmenter(path)
    with pytest.raises(UserError, match="expected segformer as network in its metadata"):
        read_segmenter(path)


def test_a_segformer_starts_at_random_or_with_the_users_encoder(tmp_path: Path) -> None:
    network = create_segmenter("mit_b0", classes=2, drop_path=0.0)
    assert isinstance(network, SegFormer) and network.is_training()
    path = tmp_path / "mit_b0.pth"
    arrays = {
        n: v.numpy() for n, v in create_segformer("B0", classes=5).encoder.state_dict().items()
    }
    write_torch(path, to_published("mit", arrays))
    loaded = create_segmenter("mit_b0", classes=2, weights=path, drop_path=0.3)
    for name, variable in loaded.encoder.state_dict().items():
        np.testing.assert_array_equal(variable.numpy(), arrays[name])
    assert loaded.encoder.stages[3].blocks[1].drop_rate == pytest.approx(0.3)
    assert network.encoder.stages[3].blocks[1].drop_rate == 0
    with pytest.raises(UserError, match="expected the encoder of SegFormer-B1, got widths 32 64"):
        create_segmenter("mit_b1", classes=2, weights=path)
