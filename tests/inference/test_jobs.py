"""The execution of a plan: each image depends on its job alone, and finished images are kept."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.ownership import Partial
from inference import submission
from inference.plan import Job
from inference.submission import BadSubmission, make_submission, plan_submission, submit
from options.errors import Failure, UserError
from options.test import TestOptions
from tests.inference.conftest import SIZE
from tests.inference.fakes import FakeSynthesizer, change_run, generate, notes_of, read_files


def spy_on_synthesize(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None] = lambda count: None
) -> list[np.ndarray]:
    """Record the layout of every image; `before` is called with the image's number, from 1."""
    real, layouts = FakeSynthesizer.synthesize, []

    def synthesize(self: FakeSynthesizer, layout: np.ndarray, **settings: Any) -> np.ndarray:
        before(len(layouts) + 1)
        layouts.append(layout)
        return real(self, layout, **settings)

    monkeypatch.setattr(FakeSynthesizer, "synthesize", synthesize)
    return layouts


def test_the_same_seed_gives_the_same_files_in_any_order(run: TestOptions, tmp_path: Path) -> None:
    options = replace(run, style="noise", seed=5, output_path=str(tmp_path / "a"))
    first = generate(options, encoder=True)
    again = generate(replace(options, output_path=str(tmp_path / "b")), encoder=True)
    assert read_files(first) == read_files(again)
    plan = plan_submission(replace(options, output_path=str(tmp_path / "c")))
    reversed_plan = replace(plan, jobs=plan.jobs[::-1][:2])
    synthesizer: Any = FakeSynthesizer(plan.snapshot.options, encoder=True)
    result = make_submission(reversed_plan, synthesizer)
    for job in reversed_plan.jobs:
        assert (result.folder / job.name).read_bytes() == (first / job.name).read_bytes()
    other = generate(replace(options, seed=6, output_path=str(tmp_path / "d")), encoder=True)
    assert read_files(other)["tëst 5.jpg"] != read_files(first)["tëst 5.jpg"]


def test_instance_maps_become_edges(
    run: TestOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "instances"
    folder.mkdir()
    instances = np.zeros(SIZE, np.uint8)
    instances[:, 16:] = 200
    for index in range(5, 8):
        Image.fromarray(instances).save(folder / f"tëst {index}.png")
    options = replace(run, instance_path=str(folder))
    with pytest.raises(
        UserError, match="--instance-path: expected a generator trained with --instances"
    ):
        plan_submission(options)
    change_run(run, "data", instances=True)
    with pytest.raises(UserError, match=r"--instance-path: .* for tëst 8 and 0 more"):
        plan_submission(options)
    Image.fromarray(instances).save(folder / "tëst 8.png")
    seen: list[np.ndarray] = []

    def synthesize(
        self: FakeSynthesizer, layout: np.ndarray, *, edges: np.ndarray, **settings: Any
    ) -> np.ndarray:
        seen.append(edges)
        return np.zeros((*self.size, 3), np.uint8)

    monkeypatch.setattr(FakeSynthesizer, "synthesize", synthesize)
    generate(options)
    assert len(seen) == 4
    expected = np.zeros((1, 16, 32), np.float32)
    expected[:, :, 15:17] = 1
    np.testing.assert_array_equal(seen[0], expected)
    assert seen[0].dtype == np.float32


def test_an_interruption_keeps_the_last_submission_and_the_finished_images(
    run: TestOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = generate(run)
    before = read_files(folder)
    real, layouts = FakeSynthesizer.synthesize, []

    def synthesize(self: FakeSynthesizer, layout: np.ndarray, **settings: Any) -> np.ndarray:
        if len(layouts) == 2:
            raise KeyboardInterrupt
        layouts.append(layout)
        return 255 - real(self, layout, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(FakeSynthesizer, "synthesize", synthesize)
        with pytest.raises(KeyboardInterrupt):
            generate(run)
    assert read_files(folder) == before
    (kept,) = folder.glob(".submission-*")
    assert len(list(kept.glob("*.jpg"))) == 2
    assert capsys.readouterr().err == (
        f"stopped: 2 finished images are kept in {kept}: the same command resumes there\n"
    )
    # Other options start again and keep that folder; the same options reuse its images.
    other = replace(run, seed=1)
    assert notes_of(other)[1:] == [
        f"note: {kept} keeps 2 images of an unfinished set with other options"
    ]
    generate(other)
    assert notes_of(run)[1:] == [f"resumes: 2 images exist already, in {kept}"]
    generate(run)
    after = read_files(folder)
    changed = {name for name in before if name.endswith(".jpg") and after[name] != before[name]}
    assert changed == {"tëst 5.jpg", "tëst 6.jpg"}
    assert not kept.exists()


def test_an_image_whose_files_changed_is_generated_again(
    run: TestOptions, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(submission, "_write_zip", interrupt)
        with pytest.raises(KeyboardInterrupt):
            generate(run)
    layout = dataset / "val/labels/tëst 6.png"
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(layout)
    style = dataset / "train/imgs/p3.png"
    style.write_bytes(style.read_bytes() + b"\0")  # the style of tëst 8
    layouts = spy_on_synthesize(monkeypatch)
    generate(run)
    assert len(layouts) == 2 and not layouts[0].any()


def _fail_in_zip(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path, jobs: Sequence[Job]) -> None:
        (folder / "submission.zip").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(submission, "_write_zip", write)


def _fail_in_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_: object) -> None:
        raise BadSubmission("the zip is invalid")

    monkeypatch.setattr(submission, "check_zip", check)


def _fail_in_overview(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UserError("a layout is gone")

    monkeypatch.setattr(submission, "render_sheet", fail)


def _fail_at_the_last_image(monkeypatch: pytest.MonkeyPatch) -> None:
    add, names = Partial.add, []

    def fail(self: Partial, name: str, key: str, content: bytes) -> None:
        names.append(name)
        if len(names) == 4:
            (self.path / name).write_bytes(content[:9])
            raise OSError(28, "No space left on device")
        add(self, name, key, content)

    monkeypatch.setattr(Partial, "add", fail)


@pytest.mark.parametrize(
    ("fail", "words", "count", "error_type"),
    [
        (_fail_in_zip, "No space left on device", 4, UserError),
        (_fail_in_check, "the zip is invalid", 4, Failure),
        (_fail_in_overview, "a layout is gone", 4, UserError),
        (_fail_at_the_last_image, "No space left on device", 3, UserError),
    ],
)
def test_a_failure_of_any_later_stage_keeps_the_images(
    run: TestOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[pytest.MonkeyPatch], None],
    words: str,
    count: int,
    error_type: type[Exception],
) -> None:
    with monkeypatch.context() as patch:
        fail(patch)
        with pytest.raises(error_type) as error:
            generate(run)
    folder = tmp_path / "results/run/submission"
    (kept,) = folder.glob(".submission-*")
    assert words in str(error.value) and "\n" not in str(error.value)
    assert f"{count} finished images are kept in {kept}" in str(error.value)
    assert read_files(folder) == {} and not (kept / "submission.zip").exists()
    layouts = spy_on_synthesize(monkeypatch)
    generate(run)
    assert len(layouts) == 4 - count
    assert len(read_files(folder)) == 6 and not kept.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_current_image(
    run: TestOptions,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    def send_signal(count: int) -> None:
        if count == 2:
            os.kill(os.getpid(), number)

    layouts = spy_on_synthesize(monkeypatch, send_signal)
    plan = plan_submission(run)
    synthesizer: Any = FakeSynthesizer(plan.snapshot.options)
    assert submit(plan, synthesizer) == 128 + number
    assert "stopped: 2 finished images are kept" in capsys.readouterr().err
    assert submit(plan, synthesizer) == 0 and len(layouts) == 4


def test_an_image_that_is_not_finite_is_not_written(
    run: TestOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(count: int) -> None:
        if count == 3:
            raise Failure("the generator's output is not finite (NaN or infinity)")

    spy_on_synthesize(monkeypatch, fail)
    plan = plan_submission(run)
    synthesizer: Any = FakeSynthesizer(plan.snapshot.options)
    assert submit(plan, synthesizer) == 1
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    assert "val/labels/tëst 7.png: the generator's output is not finite" in stderr
    assert "2 finished images are kept" in stderr
    assert read_files(plan.output_path) == {}
