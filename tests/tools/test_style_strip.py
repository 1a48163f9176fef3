"""Strips from one style to another, with real networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
import pytest
from PIL import Image

from data.ownership import MARKER
from options.errors import UserError
from options.run import DataOptions, GeneratorOptions, RunOptions, TestOptions
from tools.start import start_jittor
from tools.style_strip import make_strips, plan_strips
from tools.submission import plan_submission
from training.checkpoint import SNAPSHOT_FORMAT
from training.sample_sheet import MARGIN, TEXT_HEIGHT
from training.tensor_file import write_tensors

# Jittor's own handlers would end the tests when a test kills a process.
start_jittor("cpu")

from models.methods import create_method  # noqa: E402
from training.painter import Painter, load_painter  # noqa: E402
from training.variables import name_variables  # noqa: E402

SIZE = (16, 32)
VAE: dict[str, Any] = {"generator": "spade", "vae": True, "latent_size": 4}


@pytest.fixture
def layouts(tmp_path: Path) -> Path:
    folder = tmp_path / "labels"
    folder.mkdir()
    for index in range(3):
        coarse = np.random.default_rng(index).integers(0, 4, (2, 4))
        layout = np.kron(coarse, np.ones((8, 8))).astype(np.uint8)
        Image.fromarray(layout).save(folder / f"layout {index}.png")
    for name in "ab":
        noise = np.random.default_rng(ord(name)).integers(0, 256, (*SIZE, 3))
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / f"{name}.png")
    return folder


def options(layouts: Path, generator: dict[str, Any], **changes: Any) -> TestOptions:
    """A test of a random generator's snapshot."""
    run = RunOptions(
        data=DataOptions(height=SIZE[0], width=SIZE[1], classes=4, workers=1),
        generator=GeneratorOptions(**{"channels": 2, "halvings": 4, **generator}),
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
        "output_path": str(layouts.parent / "strips"),
        "style": str(layouts.parent / "a.png"),
        "style_to": str(layouts.parent / "b.png"),
        "height": SIZE[0],
        "width": SIZE[1],
        "steps": 4,
    }
    return TestOptions(**(settings | changes)).validate()


def pictures(path: Path, count: int) -> list[np.ndarray]:
    """What stands in a strip, left to right."""
    with Image.open(path) as file:
        strip = np.asarray(file)
    height, width = SIZE
    assert strip.shape == (2 * MARGIN + TEXT_HEIGHT + height, MARGIN + count * (width + MARGIN), 3)
    rows = strip[MARGIN + TEXT_HEIGHT :][:height]
    return [rows[:, MARGIN + i * (width + MARGIN) :][:, :width] for i in range(count)]


def plain(settings: TestOptions, style: str, seed: int = 0) -> list[np.ndarray]:
    """The pictures of a submission in one style, before they are JPEGs."""
    from tools.submission import paint_job

    lone = replace(settings, style=style, seed=seed, style_to=None, steps=8)
    plan = plan_submission(lone)
    painter = load_painter(plan.snapshot, "ema")
    return [paint_job(job, lone, painter) for job in plan.jobs]


@pytest.mark.parametrize("generator", [VAE, {}, {"start": "noise"}])
def test_a_strip_begins_and_ends_at_the_plain_pictures(
    layouts: Path, generator: dict[str, Any]
) -> None:
    settings = options(layouts, generator)
    folder = make_strips(plan_strips(settings))
    names = sorted(path.name for path in folder.iterdir() if path.name != MARKER)
    assert names == [f"layout {i}.png" for i in range(3)]
    starts, ends = plain(settings, settings.style), plain(settings, str(settings.style_to))
    for index in range(3):
        strip = pictures(folder / f"layout {index}.png", 4)
        np.testing.assert_array_equal(strip[0], starts[index])
        np.testing.assert_array_equal(strip[3], ends[index])
        assert (strip[1] != strip[0]).any() and (strip[2] != strip[3]).any()
        # Evenly spaced: each picture is nearer to its own end.
        gaps = [[abs(s.astype(int) - end).mean() for s in strip] for end in (strip[0], strip[3])]
        assert gaps[0][1] < gaps[0][3] and gaps[1][2] < gaps[1][0]


def test_from_noise_to_noise_and_to_a_photograph(layouts: Path) -> None:
    settings = options(layouts, VAE, style="noise", style_to="noise", seed=5, limit=1)
    strip = pictures(make_strips(plan_strips(settings)) / "layout 0.png", 4)
    np.testing.assert_array_equal(strip[0], plain(settings, "noise", 5)[0])
    np.testing.assert_array_equal(strip[3], plain(settings, "noise", 6)[0])
    assert (strip[0] != strip[3]).any()
    settings = options(layouts, VAE, style="noise", seed=5, limit=1, steps=2)
    strip = pictures(make_strips(plan_strips(settings)) / "layout 0.png", 2)
    np.testing.assert_array_equal(strip[0], plain(settings, "noise", 5)[0])
    np.testing.assert_array_equal(strip[1], plain(settings, str(settings.style_to))[0])


@pytest.mark.parametrize(
    ("generator", "changes", "rule"),
    [
        ({"generator": "spade"}, {}, "--style needs a generator that takes its style from"),
        ({"generator": "spade"}, {"style": "noise"}, "--style-to needs a generator with a style"),
        ({"style_stream": False}, {"style": "noise"}, "--style-to needs a generator with a style"),
        ({}, {"style_to": "absent.png"}, "--style-to is noise or a photograph: absent.png"),
        ({}, {"style_to": "noise"}, "--style-to noise needs a generator that takes noise"),
        ({"start": "noise"}, {"style_to": "noise"}, "style from a photograph alone"),
        ({}, {"style": "noise"}, "--style noise needs a generator that takes noise"),
    ],
)
def test_generators_without_that_style(
    layouts: Path, generator: dict[str, Any], changes: dict[str, Any], rule: str
) -> None:
    with pytest.raises(UserError, match=rule):
        make_strips(plan_strips(options(layouts, generator, **changes)))
    assert not list(layouts.parent.glob("strips/*.png"))


def test_steps_need_an_end(layouts: Path) -> None:
    with pytest.raises(UserError, match="--steps needs --style-to"):
        TestOptions(steps=4).validate()


def test_a_folder_that_cannot_be_written(layouts: Path) -> None:
    (layouts.parent / "file").write_text("")
    settings = options(layouts, VAE, output_path=str(layouts.parent / "file/here"))
    with pytest.raises(UserError, match=r"expected a folder, .*file is no folder"):
        plan_strips(settings)


def test_pictures_of_another_size(layouts: Path) -> None:
    settings = options(layouts, VAE, height=32, width=48, limit=1)
    with Image.open(make_strips(plan_strips(settings)) / "layout 0.png") as file:
        assert file.size == (MARGIN + 4 * (48 + MARGIN), 2 * MARGIN + TEXT_HEIGHT + 32)


def test_a_stop_keeps_the_finished_strips(
    layouts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = options(layouts, VAE)
    between = Painter.paint_between
    drawn: list[Any] = []

    def fail(self: Painter, *arguments: Any, **rest: Any) -> Any:
        if len(drawn) == 1:
            raise KeyboardInterrupt
        drawn.append(arguments)
        return between(self, *arguments, **rest)

    monkeypatch.setattr(Painter, "paint_between", fail)
    with pytest.raises(KeyboardInterrupt):
        make_strips(plan_strips(settings))
    (kept,) = (layouts.parent / "strips").iterdir()
    assert [path.name for path in kept.glob("*.png")] == ["layout 0.png"]
    assert f"stopped: 1 finished images are kept in {kept}" in capsys.readouterr().err
    drawn[:] = [None, None]
    strips = plan_strips(settings)
    assert f"resumes: 1 images are drawn already, in {kept}" in strips.plan.notes
    make_strips(strips)
    assert len(drawn) == 4 and not kept.exists()
    assert len(list((layouts.parent / "strips").glob("*.png"))) == 3
    assert "replaces 3 earlier strips" in plan_strips(settings).plan.notes[0]


def test_strips_do_not_replace_the_layouts(layouts: Path) -> None:
    before = {path: path.read_bytes() for path in layouts.iterdir()}
    with pytest.raises(UserError, match=r"layout 0\.png is in the way: this program did not write"):
        plan_strips(options(layouts, VAE, output_path=str(layouts)))
    assert {path: path.read_bytes() for path in layouts.iterdir()} == before
