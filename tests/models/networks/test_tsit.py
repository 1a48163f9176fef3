"""The TSIT generator and its streams beside the reference, and its sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.layout import Photographs
from models.networks.tsit import Stream, TSITGenerator
from tests.models.conftest import Record
from tests.models.golden import Part, Vars, check_network, layout_of
from tests.models.inputs import CLASSES, layout, values
from tests.reference.goldens import load


def test_stream_as_published(record: Record) -> None:
    golden = load("stream")
    options = golden.options
    stream = Stream(options["in_channels"], options["channels"], options["halvings"])

    def forward(network: Stream, inputs: Vars) -> Vars:
        return {f"feature{level}": feature for level, feature in enumerate(network(inputs["x"]))}

    part = Part("tsit", "content_stream.", "content_stream.")
    record(check_network(golden, stream, part, forward, ["x"]))


@pytest.mark.parametrize(
    "name",
    [
        *(
            f"{halvings}_{kind}"
            for halvings in (5, 6, 7, 8)
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
        halvings=options["halvings"],
        size=tuple(options["size"]),
        latent_size=options["latent_size"] if latent else None,
        style_stream=options["style_stream"],
        start="layout" if latent else options["start"],
        fadain_alpha=options.get("alpha", 1.0),
        norm=options.get("norm", "batch"),
    )
    ids = layout_of(golden) if "in/ids" in golden.shapes else None

    def forward(network: TSITGenerator, inputs: Vars) -> Vars:
        content = Photographs(inputs["content"]) if ids is None else ids
        return {"image": network(content, inputs.get("style"), inputs.get("z"))}

    wanted = [key for key in ("content", "style", "z") if f"in/{key}" in golden.shapes]
    record(check_network(golden, generator, Part("tsit"), forward, wanted))


@pytest.mark.parametrize("halvings", [4, 5, 6, 7, 8])
@pytest.mark.parametrize(
    "variant",
    [
        {"style_stream": True, "start": "layout"},
        {"style_stream": True, "start": "noise"},
        {"style_stream": False, "latent_size": 16},
    ],
    ids=["layout", "noise", "latent"],
)
def test_every_depth_draws_the_size_of_its_layout(halvings: int, variant: dict[str, Any]) -> None:
    size = (2 * 2**halvings, 3 * 2**halvings)
    generator = TSITGenerator(
        layout_channels=CLASSES, channels=2, halvings=halvings, size=size, **variant
    )
    assert generator.lowest(size) == (2, 3)
    style = values(2, 3, *size) if variant["style_stream"] else None
    noise = None
    if "latent_size" in variant:
        noise = values(2, 16)
    elif variant["start"] == "noise":
        noise = values(2, 3, 2, 3)
    image = generator(layout(2, *size), style, noise)
    assert tuple(image.shape) == (2, 3, *size)
    if halvings == 4:  # the goldens run the others
        assert np.abs(image.numpy()).max() <= 1


@pytest.mark.parametrize("halvings", [3, 9])
def test_other_depths_are_refused(halvings: int) -> None:
    with pytest.raises(ValueError, match=f"4 to 8 halvings, got {halvings}"):
        TSITGenerator(layout_channels=5, channels=2, halvings=halvings)
