"""TSIT generator and its streams against the reference, and their shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.layouts.layout import Photos
from models.networks.tsit import Stream, TSITGenerator
from tests.models.conftest import Record
from tests.models.golden import Part, Vars, check_network, layout_of
from tests.models.inputs import CLASSES, layout, record_shapes, shape, values
from tests.reference.goldens import load


def test_stream_as_published(record: Record) -> None:
    golden = load("stream")
    options = golden.options
    stream = Stream(options["in_channels"], options["channels"], options["num_downsamples"])

    def forward(network: Stream, inputs: Vars) -> Vars:
        return {f"feature{level}": feature for level, feature in enumerate(network(inputs["x"]))}

    part = Part("tsit", "content_stream.", "content_stream.")
    record(check_network(golden, stream, part, forward, ["x"]))


@pytest.mark.parametrize(
    "name",
    [
        *(
            f"{num_downsamples}_{kind}"
            for num_downsamples in (5, 6, 7, 8)
            for kind in ("layout", "latent", "style")
        ),
        "5_noise",
        "5_instance",
        "7_translation",
    ],
)
def test_as_published(name: str, record: Record) -> None:
    golden = load(f"tsit_generator_{name}")
    options = golden.options
    latent = options["start"] == "latent"
    generator = TSITGenerator(
        layout_channels=options["content_channels"],
        channels=options["channels"],
        num_downsamples=options["num_downsamples"],
        size=tuple(options["size"]),
        latent_size=options["latent_size"] if latent else None,
        style_stream=options["style_stream"],
        start="layout" if latent else options["start"],
        fadain_alpha=options.get("alpha", 1.0),
        norm=options.get("norm", "batch"),
    )
    ids = layout_of(golden) if "in/ids" in golden.shapes else None

    def forward(network: TSITGenerator, inputs: Vars) -> Vars:
        content = Photos(inputs["content"]) if ids is None else ids
        return {"image": network(content, inputs.get("style"), inputs.get("z"))}

    wanted = [key for key in ("content", "style", "z") if f"in/{key}" in golden.shapes]
    record(check_network(golden, generator, Part("tsit"), forward, wanted))


@pytest.mark.parametrize("num_downsamples", [4, 5, 6, 7, 8])
@pytest.mark.parametrize(
    "variant",
    [
        {"style_stream": True, "start": "layout"},
        {"style_stream": True, "start": "noise"},
        {"style_stream": False, "latent_size": 16},
    ],
    ids=["layout", "noise", "latent"],
)
def test_every_depth_generates_the_size_of_its_layout(
    num_downsamples: int, variant: dict[str, Any]
) -> None:
    size = (2 * 2**num_downsamples, 3 * 2**num_downsamples)
    generator = TSITGenerator(
        layout_channels=CLASSES, channels=2, num_downsamples=num_downsamples, size=size, **variant
    )
    assert generator.coarsest_size(size) == (2, 3)
    style = values(2, 3, *size) if variant["style_stream"] else None
    noise = None
    if "latent_size" in variant:
        noise = values(2, 16)
    elif variant["start"] == "noise":
        noise = values(2, 3, 2, 3)
    image = generator(layout(2, *size), style, noise)
    assert shape(image) == (2, 3, *size)
    if num_downsamples == 4:  # the goldens run the others
        assert np.abs(image.numpy()).max() <= 1


def test_shapes() -> None:
    stream = Stream(CLASSES, 2, 4)
    for x in (values(3, CLASSES, 37, 53), layout(3, 37, 53).feature(by_image=True)):
        assert [shape(feature) for feature in stream(x)] == [
            (3, 2, 37, 53),
            (3, 4, 18, 26),
            (3, 8, 9, 13),
            (3, 16, 4, 6),
            (3, 32, 2, 3),
        ]
    generator = TSITGenerator(layout_channels=CLASSES, channels=2, num_downsamples=5)
    shapes = record_shapes(generator.blocks)
    style = values(3, 3, 64, 32)
    levels = generator.style_statistics(style)
    assert [[shape(value) for value in level] for level in levels] == [
        [(3, width, 1, 1)] * 2 for width in (4, 8, 16, 32, 32)
    ]
    for given in ((style, None, None), (None, None, levels)):
        assert shape(generator(layout(3, 96, 160), *given)) == (3, 3, 96, 160)
        assert shapes == [
            (3, 32, 3, 5),
            (3, 16, 6, 10),
            (3, 8, 12, 20),
            (3, 4, 24, 40),
            (3, 2, 48, 80),
        ]
        shapes.clear()
