"""train.py and test.py from end to end, as processes: a tiny TSIT on a tiny dataset."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from options.command_line import parse_train
from options.errors import UserError
from options.schedule import load_schedule
from runtime.start import start_jittor
from tests.tiny import write_dataset, write_schedule
from train import main, make_missing_selections
from training.checkpoint import find_state
from training.preflight import check_inputs, describe_run
from weights.safetensors_file import read_tensors
from weights.snapshots import read_snapshot

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pairs and three test layouts, and a schedule of 3 + 3 + 2 steps.

    In the dataset `listed`, the user has written one of the two selections.
    """
    root = tmp_path_factory.mktemp("train")
    write_dataset(root / "data", pairs=6, tests=3)
    shutil.copytree(root / "data", root / "listed")
    (root / "listed/selections").mkdir()
    (root / "listed/selections/selection_1.txt").write_text("p1\n")
    write_schedule(root / "tiny.txt", "I 2 2 total 1e-3", "II 3 3 selection_1 2e-3")
    return root


def command(program: str, *arguments: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / program), *arguments]


def train_command(folder: Path, name: str, *more: str) -> list[str]:
    flags = ["--input_path", "data", "--schedule", "tiny.txt", "--name", name, *more]
    return command("train.py", *flags)


def run(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=900)


def losses_of(folder: Path, name: str) -> list[tuple[int, dict[str, float]]]:
    lines = (folder / "results" / name / "stats.jsonl").read_text().splitlines()
    return [(record["step"], record["losses"]) for record in map(json.loads, lines)]


@pytest.fixture(scope="module")
def trained(folder: Path) -> subprocess.CompletedProcess[str]:
    """The reference: a run without a stop."""
    done = run(folder, train_command(folder, "unbroken"))
    assert done.returncode == 0, done.stderr
    return done


def test_a_run_ends_with_a_submission(
    folder: Path, trained: subprocess.CompletedProcess[str]
) -> None:
    place = Path("results/unbroken/submission")
    assert f"overview:   {place}/overview.png" in trained.stdout
    assert [step for step, _ in losses_of(folder, "unbroken")] == list(range(1, 9))
    with zipfile.ZipFile(folder / place / "submission.zip") as archive:
        assert sorted(archive.namelist()) == ["t0.jpg", "t1.jpg", "t2.jpg"]
        with archive.open("t1.jpg") as file, Image.open(file) as image:
            assert (image.size, image.mode, image.format) == ((512, 384), "RGB", "JPEG")
    with Image.open(folder / place / "overview.png") as overview:
        assert overview.width > 700


def test_missing_selections_are_made(
    folder: Path, trained: subprocess.CompletedProcess[str]
) -> None:
    assert f"cleaning the dataset for selection_1: {folder / 'data'}" in trained.stdout
    assert "selection_1: 6 of 6" in trained.stdout
    made = {path.name for path in (folder / "data/selections").iterdir()}
    assert {"total.txt", "selection_1.txt", "selection_2.txt", "report.html"} <= made
    dry = run(folder, [*train_command(folder, "other", "--dry-run"), "--data", "data"])
    assert dry.returncode == 0 and "would make" not in dry.stdout


def test_selections_of_a_read_only_dataset_are_in_the_run_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = tmp_path / "data"
    shutil.copytree(folder / "data/train", dataset / "train")
    # Not even root can make a folder in the place of a broken link.
    (dataset / "selections").symlink_to(tmp_path / "nowhere/selections")
    flags = ["--data", str(dataset), "--results-path", str(tmp_path / "results"), "--name", "run"]
    options = parse_train([*flags, "--schedule", str(folder / "tiny.txt")])
    schedule = load_schedule(options.training.schedule)
    missing = check_inputs(options, schedule, 1)
    make_missing_selections(options, missing)
    own = tmp_path / "results/run/selections"
    line = f"the dataset is read-only: its selections are written into {own}"
    assert line in capsys.readouterr().out.splitlines()
    assert missing == ["selection_1"] and (own / "selection_1.txt").is_file()
    assert check_inputs(options, schedule, 1) == []
    (own / "selection_1.txt").write_text("p0\np3\np4\n")
    plan = describe_run(options, schedule).splitlines()[-1].split()
    assert plan[3:5] == ["selection_1", "3"]


def test_a_file_of_the_user_in_the_place_of_the_selections(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "selections").write_text("notes")
    flags = ["--data", str(tmp_path), "--results-path", str(tmp_path / "results"), "--name", "run"]
    shutil.copytree(folder / "data/train", tmp_path / "train")
    with pytest.raises(UserError) as error:
        make_missing_selections(parse_train(flags), ["selection_1"])
    text = str(error.value)
    assert str(tmp_path / "selections") in text and "--output_path" in text and "train.py" in text
    assert not (tmp_path / "results").exists()


def test_ctrl_c_and_resume(folder: Path, trained: subprocess.CompletedProcess[str]) -> None:
    arguments = train_command(folder, "stopped")
    stats = folder / "results/stopped/stats.jsonl"
    with subprocess.Popen(
        arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        deadline = time.monotonic() + 600
        while not (stats.is_file() and stats.read_text()) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "is saved, and the same command resumes from it" in output
    assert "Traceback" not in output
    done = len(losses_of(folder, "stopped"))
    assert 1 <= done < 8
    state = find_state(folder / "results/stopped/checkpoints")
    assert state is not None and state.progress.step == done

    again = run(folder, arguments)
    assert again.returncode == 0, again.stderr
    assert f"resuming after step {done} (epoch " in again.stdout
    assert losses_of(folder, "stopped") == losses_of(folder, "unbroken")
    for name in ("generator-0003.safetensors", "state-00000008/state.safetensors"):
        found = read_tensors(folder / "results/stopped/checkpoints" / name)[0]
        expected = read_tensors(folder / "results/unbroken/checkpoints" / name)[0]
        assert list(found) == list(expected)
        for key, array in found.items():
            np.testing.assert_array_equal(array, expected[key], err_msg=f"{name} {key}")
    images = [folder / "results" / run / "submission/t0.jpg" for run in ("stopped", "unbroken")]
    assert images[0].read_bytes() == images[1].read_bytes()


def test_a_finished_run_is_not_trained_again(
    folder: Path, trained: subprocess.CompletedProcess[str]
) -> None:
    state = folder / "results/unbroken/checkpoints/state-00000008/state.safetensors"
    before = state.stat().st_mtime_ns
    done = run(folder, train_command(folder, "unbroken"))
    assert done.returncode == 0, done.stderr
    assert "run unbroken: all phases are done" in done.stdout
    assert state.stat().st_mtime_ns == before


def test_the_flags_of_the_contest(folder: Path, trained: subprocess.CompletedProcess[str]) -> None:
    checkpoint = "results/unbroken/checkpoints/generator-0003.safetensors"
    flags = ["--input_path", "data/val/labels", "--img_path", "data/train/imgs"]
    images = {}
    for name, more in (("a", []), ("b", ["--seed", "3"]), ("raw", ["--weights", "raw"])):
        arguments = [*flags, "--output_path", name, "--checkpoint", checkpoint, *more]
        done = run(folder, command("test.py", *arguments))
        assert done.returncode == 0, done.stderr
        images[name] = {path.name: path.read_bytes() for path in (folder / name).iterdir()}
    assert images["a"] == images["b"]  # the style is a photo, so the seed has no effect
    assert images["a"]["t0.jpg"] != images["raw"]["t0.jpg"]
    own = folder / "results/unbroken/submission/t0.jpg"
    assert own.read_bytes() == images["a"]["t0.jpg"]


def test_a_translation_ends_with_a_submission(folder: Path) -> None:
    for part in ("content", "style", "test/content"):
        place = folder / "unpaired" / part
        place.mkdir(parents=True)
        for index in range(2):
            color = (100 * index, 50, 200 - 90 * len(part.split("/")))
            Image.new("RGB", (48, 32), color).save(place / f"p{index}.jpg")
    schedule = write_schedule(folder / "unpaired.txt", "I 1 1 total 1e-3")
    schedule.write_text(schedule.read_text().replace("--classes 4", "--task translation"))
    flags = ["--data", "unpaired", "--schedule", "unpaired.txt"]
    done = run(folder, command("train.py", *flags, "--name", "translated"))
    assert done.returncode == 0, done.stderr
    assert "2 content photos, batch 1" in done.stdout
    assert [step for step, _ in losses_of(folder, "translated")] == [1, 2]
    made = folder / "results/translated/submission"
    assert f"overview:   {made.relative_to(folder)}/overview.png" in done.stdout
    with zipfile.ZipFile(made / "submission.zip") as archive:
        assert sorted(archive.namelist()) == ["p0.jpg", "p1.jpg"]
    with Image.open(made / "p0.jpg") as image:
        assert (image.size, image.format) == ((48, 32), "JPEG")


@pytest.mark.parametrize(
    ("program", "flags", "parts"),
    [
        ("train.py", ["--generater", "spade"], ["--generater", "id you mean --generator?"]),
        ("train.py", ["--data", "absent"], ["absent: expected a folder, got nothing"]),
        (
            "train.py",
            ["--data", "listed", "--schedule", "main"],
            ["selection_2", "python -m tools.filter_dataset"],
        ),
        (
            "train.py",
            ["--data", "data", "--results-path", "tiny.txt"],
            ["tiny.txt/data-quick-tsit: ", "cannot be written", "--results-path"],
        ),
        (
            "train.py",
            ["--data", "data", "--task", "translation"],
            ["data/content", "--task translation"],
        ),
        (
            "train.py",
            ["--data", "data", "--vgg-weights", "absent.pth"],
            ["--vgg-weights", "absent.pth", "not there", "https://"],
        ),
        ("test.py", ["--name", "absent"], ["--name: expected a run in results, got absent"]),
        ("test.py", ["--checkpoint", "tiny.txt"], ["expected a file of weights, got text"]),
    ],
)
def test_a_user_error_is_one_line(
    folder: Path,
    trained: subprocess.CompletedProcess[str],
    program: str,
    flags: list[str],
    parts: list[str],
) -> None:
    before = sorted(folder.rglob("*"))
    done = run(folder, command(program, *flags))
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and all(part in lines[0] for part in parts), done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in sorted(folder.rglob("*")) if "results" not in path.parts] == [
        path for path in before if "results" not in path.parts
    ]


def test_another_folder_is_refused_before_the_demo_dataset_is_generated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/a.tex").write_text("notes")
    for more in ([], ["--dry-run", "--data", str(tmp_path)]):
        assert main(["--name", "thesis", "--results-path", str(tmp_path), *more]) == 2
        stderr = capsys.readouterr().err
        assert "thesis: expected a new folder, an empty one or a run" in stderr
        assert "a.tex" in stderr and "--name" in stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tex", "thesis"]


def test_other_networks_need_another_run(
    folder: Path, trained: subprocess.CompletedProcess[str]
) -> None:
    done = run(folder, train_command(folder, "unbroken", "--channels", "4"))
    assert done.returncode == 2
    assert "channels: 2 -> 4. Give the run's own values, or another --name" in done.stderr


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    done = run(folder, train_command(folder, "dry", "--dry-run"))
    assert done.returncode == 0, done.stderr
    assert "would check 6 pairs" in done.stdout and "would start a new run" in done.stdout
    assert not (folder / "results/dry").exists()
    assert "jittor" not in done.stderr.lower()


def test_jittor_is_not_needed_for_a_dry_run(folder: Path) -> None:
    code = (
        "import sys, runpy; sys.modules['jittor'] = None; sys.argv = sys.argv[1:]; "
        f"sys.path.insert(0, {str(REPOSITORY)!r}); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = train_command(folder, "dry", "--dry-run")[1:]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", ["train.py", "test.py"])
def test_a_missing_package_is_one_line(program: str, tmp_path: Path) -> None:
    # -S: without site-packages, like a Python without any installed package.
    command = [sys.executable, "-S", program, "--name", "none", "--results_path", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and len(done.stderr.strip().splitlines()) == 1
    assert "requirements.txt" in done.stderr and "bash train.sh" in done.stderr
    assert not list(tmp_path.iterdir())


def test_16_bits_need_a_gpu(folder: Path) -> None:
    flags = ["--data", "listed", "--phase", "I", "--device", "auto", "--precision", "bfloat16"]
    done = subprocess.run(
        train_command(folder, "short", *flags),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 2 and not (folder / "results/short").exists()
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: --precision bfloat16") and "a GPU" in error


def test_a_selection_from_the_snapshots_of_a_run(
    folder: Path, trained: subprocess.CompletedProcess[str]
) -> None:
    """With real networks: segmenters of random weights, and an average with its statistics."""
    start_jittor("cpu")
    import jittor as jt

    from models.networks.segformer import SegFormer, SegFormerShape
    from weights.segmenters import save_segmenter

    network = SegFormer(shape=SegFormerShape((4, 8, 10, 16), (1, 1, 1, 1), 8), classes=4)
    for name in ("a", "b"):
        save_segmenter(folder / f"{name}.safetensors", network)
        bias = network.head.classifier.bias
        bias.update(bias + 0.1 * jt.randn(bias.shape))
    flags = ["--name", "unbroken", "--segmenter", "a.safetensors", "--judge", "b.safetensors"]
    flags += ["--size", "32", "48", "--batches", "2", "--device", "cpu"]
    program = "from tools.select import main; import sys; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, *flags],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    place = folder / "results/unbroken/selected"
    evidence = json.loads((place / "evidence.json").read_text())
    assert [one["candidate"] for one in evidence["candidates"]][:2] == [
        "unbroken, generator-0002, seed 0",
        "unbroken, generator-0003, seed 0",
    ]
    assert "average of" in evidence["candidates"][2]["candidate"]
    assert 0 <= evidence["steps"][0]["mask_accuracy"] <= 1
    with zipfile.ZipFile(place / "submission/submission.zip") as archive:
        assert sorted(archive.namelist()) == ["t0.jpg", "t1.jpg", "t2.jpg"]

    # test.sh makes the same images from the average
    (average,) = (place / ".cache").glob("average-*.safetensors")
    arrays, metadata = read_tensors(average)
    assert metadata["batch_norm"] == "2 batches of 4"
    arguments = ["--checkpoint", str(average), "--size", "32", "48", "--output_path", "averaged"]
    made = run(folder, command("test.py", *arguments))
    assert made.returncode == 0, made.stderr
    image = (folder / "averaged/t0.jpg").read_bytes()
    kept = (place / ".cache").glob(".candidate-*/t0.jpg")
    assert [path.read_bytes() == image for path in kept].count(True) == 1

    # weights are means of the EMA weights; statistics are neither means nor those of a member
    members = [
        read_snapshot(folder / f"results/unbroken/checkpoints/generator-{epoch}.safetensors")
        for epoch in ("0002", "0003")
    ]
    both = [member.weights("ema") for member in members]
    changed = 0
    for name, array in arrays.items():
        values = [one[name.removeprefix("raw.")] for one in both]
        if "running_" in name:
            changed += not any(np.allclose(array, one) for one in [*values, np.mean(values, 0)])
        elif "spectral_norm" not in name:
            mean = np.mean(np.float64(values), axis=0)
            np.testing.assert_array_equal(array, mean.astype(np.float32), err_msg=name)
    assert changed > 10
