"""SegFormer and the all-MLP head against the reference, their sizes and their randomness."""

from __future__ import annotations

from typing import Any

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models.layers.resampling import sum_resized
from models.networks.segformer import (
    VARIANTS,
    Convention,
    MLPHead,
    SegFormer,
    SegFormerShape,
    create_segformer,
)
from tests.models.conftest import Record
from tests.models.golden import Part, Vars, check, check_network, inputs_of
from tests.models.inputs import CLASSES, shape, values
from tests.reference.goldens import Golden, load
from weights.published_names import Family

TINY = SegFormerShape((4, 8, 10, 16), (1, 1, 1, 1), 8)
# Of scoring.md: encoder, total with 29 classes, total with 150 classes (Xie et al. 2021, table 1).
COUNTS = {
    "B0": (3_319_392, 3_721_597, 3_752_694),
    "B1": (13_151_424, 13_684_701, 13_715_798),
    "B2": (24_196_288, 27_368_925, 27_461_974),
    "B3": (44_072_128, 47_244_765, 47_337_814),
    "B4": (60_842_688, 64_015_325, 64_108_374),
    "B5": (81_443_008, 84_615_645, 84_708_694),
}
FAMILIES: dict[Convention, Family] = {
    "nvlabs": "segformer",
    "hugging_face": "segformer_hugging_face",
}


def _create(golden: Golden, **options: Any) -> SegFormer:
    given = golden.options
    sizes = SegFormerShape(tuple(given["widths"]), tuple(given["blocks"]), given["head_width"])
    return SegFormer(shape=sizes, classes=given["classes"], drop_path=0.0, dropout=0.0, **options)


@pytest.mark.parametrize("name", ["small", "b0"])
def test_as_published(name: str, record: Record) -> None:
    golden = load(f"segformer_{name}")
    labels = jt.array(golden.get("in/labels"))
    size = (int(labels.shape[1]), int(labels.shape[2]))

    def forward(network: SegFormer, inputs: Vars) -> Vars:
        logits = network(inputs["image"])
        loss = nn.cross_entropy_loss(sum_resized([logits], size), labels)
        return {"logits": logits, "loss": loss}

    network = _create(golden)
    record(check_network(golden, network, Part("segformer"), forward, wanted=("image",)))


@pytest.mark.parametrize("norms", list(FAMILIES))
def test_the_epsilons_of_both_conventions(norms: Convention, record: Record) -> None:
    golden = load(f"segformer_epsilons_{norms}")
    outputs = {}
    for given in FAMILIES:
        network = _create(golden, norms=given)
        Part(FAMILIES[norms]).load(network, golden.section("state"))
        network.eval()
        with jt.no_grad():
            outputs[given] = network(inputs_of(golden)["image"]).numpy()
    record(check(golden, {"out/eval.logits": outputs.pop(norms)}))
    (other,) = outputs.values()
    assert golden.difference("out/eval.logits", other).absolute > 1e-3


def test_the_head_on_the_maps_of_another_encoder(record: Record) -> None:
    golden = load("mlp_head")
    options = golden.options
    head = MLPHead(dropout=0.0, **options)
    names = [f"map.{index}" for index in range(len(options["channels"]))]

    def forward(network: MLPHead, inputs: Vars) -> Vars:
        return {"logits": network([inputs[name] for name in names])}

    part = Part("segformer", "head.", "decode_head.")
    record(check_network(golden, head, part, forward, wanted=names))


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_published_numbers_of_parameters(variant: str) -> None:
    network = create_segformer(variant, classes=29)
    encoder, contest, ade = COUNTS[variant]
    assert _count(network.encoder) == encoder
    assert _count(network) == contest
    assert contest + (150 - 29) * (network.shape.head_width + 1) == ade


def _count(network: nn.Module) -> int:
    return sum(
        int(np.prod(parameter.shape))
        for _, parameter in network.named_parameters()
        if not parameter.is_stop_grad()
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((29, 29), [(8, 8), (4, 4), (2, 2), (1, 1)]),
        ((45, 70), [(12, 18), (6, 9), (3, 5), (2, 3)]),
    ],
)
def test_shapes(size: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    network = SegFormer(shape=TINY, classes=CLASSES)
    network.eval()
    with jt.no_grad():
        image = values(2, 3, *size)
        maps = network.encoder(image)
        found = [(2, width, *side) for width, side in zip(TINY.widths, expected, strict=True)]
        assert [shape(x) for x in maps] == found
        assert shape(network(image)) == (2, CLASSES, *expected[0])
        ids = network.segment(image)
        assert shape(ids) == (2, *size) and str(ids.dtype) == "int32"


def test_smaller_images_are_refused() -> None:
    with pytest.raises(ValueError, match="sides of 29 pixels or more, got 28 x 40"):
        SegFormer(shape=TINY, classes=CLASSES)(values(1, 3, 28, 40))


def test_segment_takes_the_highest_of_the_resized_logits() -> None:
    network = SegFormer(shape=TINY, classes=CLASSES)
    network.eval()
    with jt.no_grad():
        image = values(2, 3, 45, 70)
        logits = network(image).numpy().astype(np.float64)
        ids = network.segment(image).numpy()
    rows, columns = _bilinear(12, 45), _bilinear(18, 70)
    resized = np.einsum("yh,nkhw,xw->nkyx", rows, logits, columns)
    first, second = np.sort(resized, axis=1)[:, -1], np.sort(resized, axis=1)[:, -2]
    clear = first - second > 1e-6
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(ids[clear], resized.argmax(axis=1)[clear])
    assert len(np.unique(ids)) > 1


def _bilinear(length: int, new_length: int) -> np.ndarray:
    """Matrix (new_length, length) of bilinear resizing."""
    matrix = np.zeros((new_length, length))
    for index in range(new_length):
        place = min(max((index + 0.5) * length / new_length - 0.5, 0), length - 1)
        low = int(place)
        high = min(low + 1, length - 1)
        matrix[index, low] += 1 - (place - low)
        matrix[index, high] += place - low
    return matrix


def test_training_alone_drops_branches_and_channels() -> None:
    image = values(2, 3, 45, 70)
    for options in ({"drop_path": 0.9, "dropout": 0.0}, {"drop_path": 0.0, "dropout": 0.5}):
        network = SegFormer(shape=TINY, classes=CLASSES, **options)
        with jt.no_grad():
            network.eval()
            first = network(image).numpy()
            np.testing.assert_array_equal(first, network(image).numpy())
            network.train()
            assert not np.allclose(network(image).numpy(), network(image).numpy(), atol=1e-4)


def test_dropout_keeps_the_expectation_of_whole_channels() -> None:
    head = MLPHead(channels=[4], width=256, classes=2, dropout=0.25)
    head.classifier = nn.Identity()
    maps = [values(4, 4, 2, 3)]
    with jt.no_grad():
        dropped = head(maps).numpy()
        head.dropout = 0.0
        whole = head(maps).numpy()
    positive = whole > 1e-3
    ratio = np.where(positive, dropped / np.where(positive, whole, 1), np.nan)
    channels = ratio.reshape(4 * 256, -1)
    channels = channels[~np.isnan(channels).all(axis=1)]
    lowest, highest = np.nanmin(channels, axis=1), np.nanmax(channels, axis=1)
    np.testing.assert_allclose(lowest, highest, rtol=1e-4)
    np.testing.assert_allclose(lowest[lowest > 0], 4 / 3, rtol=1e-4)
    assert abs(np.mean(lowest == 0) - 0.25) < 0.05


def test_drop_path_rises_linearly_over_all_blocks() -> None:
    sizes = SegFormerShape((4, 8, 10, 16), (1, 2, 1, 2), 8)
    network = SegFormer(shape=sizes, classes=CLASSES, drop_path=0.1)
    rates = [block.drop_rate for stage in network.encoder.stages for block in stage.blocks]
    np.testing.assert_allclose(rates, [0.0, 0.02, 0.04, 0.06, 0.08, 0.1])


def test_the_published_initialization() -> None:
    network = create_segformer("B0", classes=29)
    block = network.encoder.stages[2].blocks[1]
    expected = {
        "dense": (block.attention.key_value.weight, 0.02),
        "depthwise": (block.ffn.depthwise.weight, (2 / 9) ** 0.5),
        "reduction": (block.attention.reduce.weight, (2 / (4 * 160)) ** 0.5),
        "embedding": (network.encoder.stages[3].embedding.projection.weight, (2 / 2304) ** 0.5),
        "fusion": (network.head.fusion.weight, (2 / 256) ** 0.5),
        "classifier": (network.head.classifier.weight, (1 / 256 / 3) ** 0.5),
        "projection": (network.head.projections[2].weight, (1 / 160 / 3) ** 0.5),
    }
    for name, (weight, deviation) in expected.items():
        array = weight.numpy()
        assert abs(array.std() / deviation - 1) < 0.05, name
        assert abs(array.mean()) < 0.05 * deviation, name
    assert not block.attention.key_value.bias.numpy().any()
