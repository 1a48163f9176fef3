"""Interpolations from one style to another, with real networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest
from PIL import Image

from data.ownership import MARKER
from inference.contact_sheet import MARGIN, TEXT_HEIGHT
from inference.interpolation import make_interpolations, plan_interpolations
from inference.jobs import run_job
from inference.submission import plan_submission
from inference.synthesizer import Synthesizer, load_synthesizer
from models.gans import create_method
from options.errors import UserError
from options.groups import DataOptions, GeneratorOptions
from options.test import TestOptions
from options.train import RunOptions
from tests.tiny import random_layout
from weights.safetensors_file import write_tensors
from weights.snapshots import SNAPSHOT_FORMAT
from weights.variables import name_variables

SIZE = (16, 32)
VAE: dict[str, Any] = {"generator": "spade", "vae": True, "latent_size": 4}


@pytest.fixture
def layouts(tmp_path: Path) -> Path:
    """A folder of three layouts; two style photos, a.png and b.png, are next to it."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for index in range(3):
        layout = random_layout(index, SIZE).astype(np.uint8)
        Image.fromarray(layout).save(folder / f"layout {index}.png")
    for name in "ab":
        noise = np.random.default_rng(ord(name)).integers(0, 256, (*SIZE, 3))
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / f"{name}.png")
    return folder


def make_options(layouts: Path, generator: dict[str, Any], **changes: Any) -> TestOptions:
    """Test options with the snapshot of a random generator."""
    run = RunOptions(
        data=DataOptions(height=SIZE[0], width=SIZE[1], classes=4, workers=1),
        generator=GeneratorOptions(**{"channels": 2, "num_downsamples": 4, **generator}),
    ).validate()
    jt.set_global_seed(0)
    networks = create_method(run).networks
    del networks["discriminator"]
    arrays = {f"raw.{name}": var.numpy() for name, var in name_variables(networks).items()}
    path = layouts.parent / "generator.safetensors"
    metadata = {"format": SNAPSHOT_FORMAT, "options": run.to_json(), "epoch": "0", "step": "0"}
    write_tensors(path, arrays, metadata)
    settings: dict[str, Any] = {
        "checkpoint": str(path),
        "input_path": str(layouts),
        "output_path": str(layouts.parent / "output"),
        "style": str(layouts.parent / "a.png"),
        "style_to": str(layouts.parent / "b.png"),
        "height": SIZE[0],
        "width": SIZE[1],
        "steps": 4,
    }
    return TestOptions(**(settings | changes)).validate()


def read_images(path: Path, count: int) -> list[np.ndarray]:
    """The images of an interpolation, left to right."""
    with Image.open(path) as file:
        sheet = np.asarray(file)
    height, width = SIZE
    assert sheet.shape == (2 * MARGIN + TEXT_HEIGHT + height, MARGIN + count * (width + MARGIN), 3)
    row = sheet[MARGIN + TEXT_HEIGHT :][:height]
    return [row[:, MARGIN + i * (width + MARGIN) :][:, :width] for i in range(count)]


def synthesize(options: TestOptions, style: str, seed: int = 0) -> list[np.ndarray]:
    """The images of a submission with one style, before JPEG."""
    plain = replace(options, style=style, seed=seed, style_to=None, steps=8)
    plan = plan_submission(plain)
    synthesizer = load_synthesizer(plan.snapshot, "ema")
    return [run_job(job, plain, synthesizer) for job in plan.jobs]


@pytest.mark.parametrize("generator", [VAE, {}, {"start": "noise"}])
def test_both_ends_are_the_images_of_a_submission(layouts: Path, generator: dict[str, Any]) -> None:
    options = make_options(layouts, generator)
    folder = make_interpolations(plan_interpolations(options))
    names = sorted(path.name for path in folder.iterdir() if path.name != MARKER)
    assert names == [f"layout {i}.png" for i in range(3)]
    starts, ends = synthesize(options, options.style), synthesize(options, str(options.style_to))
    for index in range(3):
        images = read_images(folder / f"layout {index}.png", 4)
        np.testing.assert_array_equal(images[0], starts[index])
        np.testing.assert_array_equal(images[3], ends[index])
        assert (images[1] != images[0]).any() and (images[2] != images[3]).any()
        # Even steps: each image is nearer to its own end.
        gaps = [
            [abs(image.astype(int) - end).mean() for image in images]
            for end in (images[0], images[3])
        ]
        assert gaps[0][1] < gaps[0][3] and gaps[1][2] < gaps[1][0]


def test_from_noise_to_noise_and_to_a_photo(layouts: Path) -> None:
    options = make_options(layouts, VAE, style="noise", style_to="noise", seed=5, limit=1)
    images = read_images(make_interpolations(plan_interpolations(options)) / "layout 0.png", 4)
    np.testing.assert_array_equal(images[0], synthesize(options, "noise", 5)[0])
    np.testing.assert_array_equal(images[3], synthesize(options, "noise", 6)[0])
    assert (images[0] != images[3]).any()
    options = make_options(layouts, VAE, style="noise", seed=5, limit=1, steps=2)
    images = read_images(make_interpolations(plan_interpolations(options)) / "layout 0.png", 2)
    np.testing.assert_array_equal(images[0], synthesize(options, "noise", 5)[0])
    np.testing.assert_array_equal(images[1], synthesize(options, str(options.style_to))[0])


@pytest.mark.parametrize(
    ("generator", "changes", "rule"),
    [
        (
            {"generator": "spade"},
            {},
            "--style: expected a generator that takes its style from a photo",
        ),
        (
            {"generator": "spade"},
            {"style": "noise"},
            "--style-to: expected a generator with a style",
        ),
        (
            {"style_stream": False},
            {"style": "noise"},
            "--style-to: expected a generator with a style",
        ),
        ({}, {"style_to": "absent.png"}, "--style-to: expected noise or a photo, got absent.png"),
        (
            {},
            {"style_to": "noise"},
            "--style-to noise: expected a generator that takes noise",
        ),
        (
            {"start": "noise"},
            {"style_to": "noise"},
            "--style-to noise: this generator takes its style only from a photo",
        ),
        ({}, {"style": "noise"}, "--style noise: expected a generator that takes noise"),
    ],
)
def test_a_generator_without_that_style_is_refused(
    layouts: Path, generator: dict[str, Any], changes: dict[str, Any], rule: str
) -> None:
    with pytest.raises(UserError, match=rule):
        make_interpolations(plan_interpolations(make_options(layouts, generator, **changes)))
    assert not list(layouts.parent.glob("output/*.png"))


def test_steps_need_an_end() -> None:
    with pytest.raises(UserError, match=r"--steps.* --style-to"):
        TestOptions(steps=4).validate()


def test_a_folder_that_cannot_be_written(layouts: Path) -> None:
    (layouts.parent / "file").write_text("")
    options = make_options(layouts, VAE, output_path=str(layouts.parent / "file/here"))
    with pytest.raises(UserError, match=r"file/here: expected a folder, .*/file\b"):
        plan_interpolations(options)


def test_images_of_another_size(layouts: Path) -> None:
    options = make_options(layouts, VAE, height=32, width=48, limit=1)
    with Image.open(make_interpolations(plan_interpolations(options)) / "layout 0.png") as file:
        assert file.size == (MARGIN + 4 * (48 + MARGIN), 2 * MARGIN + TEXT_HEIGHT + 32)


def test_a_stop_keeps_the_finished_interpolations(
    layouts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = make_options(layouts, VAE)
    real = Synthesizer.interpolate
    calls: list[Any] = []

    def interrupt(self: Synthesizer, *arguments: Any, **settings: Any) -> Any:
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(arguments)
        return real(self, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Synthesizer, "interpolate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_interpolations(plan_interpolations(options))
    output = layouts.parent / "output"
    (kept,) = output.iterdir()
    assert [path.name for path in kept.glob("*.png")] == ["layout 0.png"]
    assert f"stopped: 1 finished images are kept in {kept}" in capsys.readouterr().err
    finished = (kept / "layout 0.png").read_bytes()
    interpolation = plan_interpolations(options)
    assert f"resumes: 1 images exist already, in {kept}" in interpolation.plan.notes

    def count(self: Synthesizer, *arguments: Any, **settings: Any) -> Any:
        calls.append(arguments)
        return real(self, *arguments, **settings)

    monkeypatch.setattr(Synthesizer, "interpolate", count)
    make_interpolations(interpolation)
    assert len(calls) == 3 and not kept.exists()
    assert len(list(output.glob("*.png"))) == 3
    assert (output / "layout 0.png").read_bytes() == finished
    note = f"replaces 3 earlier interpolations in {output}"
    assert plan_interpolations(options).plan.notes[0] == note


def test_layouts_are_not_replaced(layouts: Path) -> None:
    before = {path: path.read_bytes() for path in layouts.iterdir()}
    with pytest.raises(UserError, match=r"layout 0\.png is in the way: this program did not write"):
        plan_interpolations(make_options(layouts, VAE, output_path=str(layouts)))
    assert {path: path.read_bytes() for path in layouts.iterdir()} == before
