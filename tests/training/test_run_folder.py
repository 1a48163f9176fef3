"""The folder of a run: its owner, its lock and its record of options."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data.ownership import MARKER
from options.errors import UserError
from options.train import RUN_FIELDS, RunOptions
from training.run_folder import (
    RunFolder,
    check_space,
    compare_options,
    cut_stats,
    describe_environment,
)
from weights.snapshots import newest_run

REPOSITORY = Path(__file__).parents[2]


def test_a_start_is_recorded(options: RunOptions) -> None:
    folder = RunFolder(options.training.results_path, "run")
    assert folder.saved_options() is None
    folder.open()
    folder.record_start(options, ["train.py", "--name", "a b"], describe_environment("cpu", 1))
    folder.record_start(options, ["train.py", "--name", "a b"], describe_environment("cpu", 1))
    assert folder.saved_options() == options
    starts = (folder.path / "command.txt").read_text().splitlines()
    assert len(starts) == 2
    assert starts[0].endswith("  train.py --name 'a b'")
    environment = json.loads((folder.path / "environment.json").read_text())
    assert environment["packages"]["numpy"].startswith("1.")
    assert environment["cores"] >= 1
    folder.close()


def test_another_folder_is_refused(tmp_path: Path, options: RunOptions) -> None:
    other = tmp_path / "thesis"
    (other / "checkpoints").mkdir(parents=True)
    (other / "options.json").write_text('{"data": "the user"}')
    for attempt in (RunFolder(tmp_path, "thesis").check, RunFolder(tmp_path, "thesis").open):
        with pytest.raises(UserError) as error:
            attempt()
        text = str(error.value)
        assert "expected a new folder, an empty one or a run" in text and "checkpoints" in text
        assert "ive another --name" in text
    assert sorted(path.name for path in other.rglob("*")) == ["checkpoints", "options.json"]
    # The selections of a read-only dataset exist before the run.
    (tmp_path / "new/selections").mkdir(parents=True)
    folder = RunFolder(tmp_path, "new")
    folder.open()
    folder.close()
    (folder.path / "notes.txt").write_text("notes")
    folder.check()
    # A copy by cp run/* loses the hidden marker; its options identify it.
    folder.record_start(options, ["train.py"], {})
    (folder.path / MARKER).unlink()
    folder.open()
    folder.close()
    assert (folder.path / MARKER).is_file()


def test_one_process_trains_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    folder.open()
    code = f"from training.run_folder import RunFolder; RunFolder({str(tmp_path)!r}, 'run').open()"
    command = [sys.executable, "-c", code]
    second = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert "another process trains this run" in second.stderr
    folder.close()
    assert subprocess.run(command, cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_locks_a_run_is_trained_with_a_warning(
    tmp_path: Path,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.lockf", refuse)
    folder = RunFolder(tmp_path, "run")
    folder.open()
    folder.close()
    stderr = capsys.readouterr().err
    assert stderr.startswith(f"warning: the file system of {tmp_path / 'run'} has no locks (")
    assert stderr.endswith("): start no second training of this run\n")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(UserError, match=r"results/run: .* cannot be written \(Not a directory\)"):
        RunFolder(tmp_path / "results", "run").open()


def test_options_that_a_run_cannot_change() -> None:
    fixed = {name for name, option in RUN_FIELDS.items() if option.resume == "fixed"}
    assert fixed == {
        *("task", "height", "width", "classes", "unknown_label", "first_id", "instances"),
        *("flip", "load_scale", "epoch_images"),
        *(
            "generator",
            "channels",
            "num_downsamples",
            "vae",
            "latent_size",
            "style_stream",
            "start",
        ),
        "content_channels",
        *("fadain_alpha", "norm", "discriminator_scales", "discriminator_layers"),
        *("discriminator_channels", "segmenter_discriminator", "beta1", "ema_decay", "seed"),
        *("held_out", "min_scale", "max_scale", "max_class_share", "color_jitter", "encoder"),
    }


def test_changed_options_are_named(options: RunOptions) -> None:
    assert compare_options(options, options) == []
    free = replace(options.training, log_every=7, checkpoint_minutes=1.0, device="cpu")
    assert compare_options(options, replace(options, training=free)) == []
    other = replace(options, loss=replace(options.loss, lambda_feature=5.0))
    assert compare_options(options, other) == ["lambda_feature: 10 -> 5"]
    other = replace(options, training=replace(options.training, precision="bfloat16"))
    assert compare_options(options, other) == ["precision: float32 -> bfloat16"]
    other = replace(
        options,
        generator=replace(options.generator, channels=8, style_stream=False),
        data=replace(options.data, classes=9),
    )
    with pytest.raises(UserError, match=r"channels: 2 -> 8; style_stream: true -> false") as error:
        compare_options(options, other)
    assert "classes: 4 -> 9" in str(error.value)


def test_stats_after_the_resumed_step_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    cut_stats(path, 3)
    lines = [json.dumps({"step": step}) + "\n" for step in range(1, 6)]
    path.write_text("".join(lines) + '{"step": 6, "lo')
    cut_stats(path, 3)
    assert path.read_text() == "".join(lines[:3])


def test_too_little_space(tmp_path: Path) -> None:
    check_space(tmp_path, 1)
    with pytest.raises(
        UserError, match=r"expected 1000000000\.0 GB of free disk space for checkpoints,"
    ):
        check_space(tmp_path, 10**18)


def test_newest_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run in"):
        newest_run(tmp_path)
    for age, name in enumerate(["new", "old"]):
        pointer = tmp_path / name / "checkpoints" / "latest"
        pointer.parent.mkdir(parents=True)
        pointer.write_text("x")
        os.utime(pointer, (1000 - age, 1000 - age))
    assert newest_run(tmp_path) == "new"
