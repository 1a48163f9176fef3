"""Images of candidates: mixed ones, and whether a seed changes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference.plan import SynthesisPlan, plan_synthesis
from inference.selection.gallery import Gallery
from inference.selection.generators import Generator, find_generators
from options.test import TestOptions
from tests.inference.selection.fakes import load, write_run
from tests.tiny import write_dataset


@pytest.fixture
def generator(tmp_path: Path) -> Generator:
    dataset = write_dataset(tmp_path / "data", pairs=2, tests=3)
    return find_generators("run", write_run(tmp_path / "results", dataset, "run", [0.5]))[0]


@pytest.fixture
def plan(tmp_path: Path, generator: Generator) -> SynthesisPlan:
    results = str(tmp_path / "results")
    options = TestOptions(name="run", results_path=results, height=32, width=48)
    return plan_synthesis(options, "submission", ".jpg")


def test_a_part_of_the_layouts(tmp_path: Path, plan: SynthesisPlan, generator: Generator) -> None:
    gallery = Gallery({"run": plan}, tmp_path / "cache", load)
    some = gallery.generate(generator, 0, [2, 0])
    assert [path.name for path in some] == ["t2.jpg", "t0.jpg"]
    every = gallery.generate(generator, 0)
    assert [path.name for path in every] == ["t0.jpg", "t1.jpg", "t2.jpg"]
    assert every[0] == some[1] and every[0].parent.parent == tmp_path / "cache"


def test_mixed_images_and_copies(tmp_path: Path, plan: SynthesisPlan, generator: Generator) -> None:
    gallery = Gallery({"run": plan}, tmp_path / "cache", load)
    paths = gallery.generate(generator, 0)
    calls: list[int] = []

    def blend(row: int, parts: list[np.ndarray]) -> np.ndarray:
        calls.append(row)
        return np.full_like(parts[0], 90 + len(parts))

    sources = [[paths[0]], [paths[1], paths[0], paths[2]], [paths[2]]]
    mixed = gallery.mix("recipe", sources, blend)
    assert [path.name for path in mixed] == ["t0.jpg", "t1.jpg", "t2.jpg"]
    same = [one.read_bytes() == two.read_bytes() for one, two in zip(mixed, paths, strict=True)]
    assert same == [True, False, True]
    with Image.open(mixed[1]) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (48, 32))
        assert (np.asarray(image) == 93).all()
    assert gallery.mix("recipe", sources, blend) == mixed and calls == [1]
    assert gallery.mix("other", sources, blend) != mixed and calls == [1, 1]


@pytest.mark.parametrize(
    ("noise", "encoder", "photos", "expected"),
    [
        (False, False, False, False),
        (True, False, True, True),  # TSIT from noise, in the style of a photo
        (True, True, True, False),  # the style vector of a photo replaces the noise
        (True, True, False, True),
    ],
)
def test_whether_a_seed_changes_the_images(
    tmp_path: Path,
    plan: SynthesisPlan,
    generator: Generator,
    noise: bool,
    encoder: bool,
    photos: bool,
    expected: bool,
) -> None:
    synthesizer: Any = SimpleNamespace(takes_noise=noise, has_encoder=encoder)
    style = Path("photo.jpg") if photos else None
    plan = replace(plan, jobs=[replace(job, style_path=style) for job in plan.jobs])
    gallery = Gallery({"run": plan}, tmp_path / "cache", lambda *_: synthesizer)
    assert gallery.takes_noise(generator) == expected
