"""python -m tools.select: what it chooses, reports and writes, without networks."""

from __future__ import annotations

import json
import shutil
import signal
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.ownership import MARKER
from inference.metric_networks import EFFICIENTNET
from metrics.features import FeatureNetwork
from metrics.predictions import Predictor
from metrics.selection import choosing_half
from tests.inference.selection.fakes import (
    FakeSynthesizer,
    fake_features,
    load,
    predict,
    predict_reversed,
    write_run,
)
from tests.tiny import CLASSES, write_dataset
from tools import select
from tools.select import main
from weights.snapshots import read_snapshot

LAYOUTS = 12


@pytest.fixture(autouse=True)
def without_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segmenters are files whose content names the function."""
    predictors = {"right": predict, "other": predict, "reversed": predict_reversed}

    def load_predictor(path: Path) -> Predictor:
        name, _, classes = path.read_text().partition(" ")
        return Predictor(int(classes or CLASSES), predictors[name], smallest_side=29)

    monkeypatch.setattr(select, "start_jittor", lambda device: None)
    monkeypatch.setattr(select, "load_network", lambda name, weights: fake_features())
    monkeypatch.setattr(select, "load_predictor", load_predictor)
    monkeypatch.setattr(select, "_load", load)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of 12 layouts, segmenters A and B, and no run yet; the current folder."""
    write_dataset(tmp_path / "data", pairs=6, tests=LAYOUTS)
    for path in (tmp_path / "data/train/imgs").iterdir():
        # gray as generated images are, so that better images are nearer to the photos
        layout = np.asarray(Image.open(tmp_path / f"data/train/labels/{path.name}"))
        Image.fromarray((layout * 60).astype(np.uint8)).save(path)
    for name, content in (("A", "right"), ("B", "other"), ("C", "reversed"), ("K", "right 5")):
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_run(folder: Path, name: str, skills: list[Any], **settings: Any) -> Path:
    return write_run(folder / "results", folder / "data", name, skills, **settings)


def run(flags: str, size: str = "--size 32 48") -> dict[str, Any]:
    """Runs the program; returns the evidence."""
    assert main(f"{flags} {size}".split()) == 0
    words = flags.split()
    place = f"results/{words[words.index('--name') + 1]}/selected"
    if "--output-path" in words:
        place = words[words.index("--output-path") + 1]
    evidence: dict[str, Any] = json.loads(Path(place, "evidence.json").read_text())
    return evidence


def fails(capsys: pytest.CaptureFixture[str], flags: str, size: str = "--size 32 48") -> str:
    """The one line of an error with exit code 2."""
    capsys.readouterr()
    assert main(f"{flags} {size}".split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ")
    return error


def submission(place: str = "results/one/selected") -> dict[str, bytes]:
    """The images of the zip, which are those of the folder."""
    with zipfile.ZipFile(Path(place, "submission/submission.zip")) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert sorted(files) == sorted(f"t{number}.jpg" for number in range(LAYOUTS))
    for name, content in files.items():
        assert Path(place, "submission", name).read_bytes() == content
    return files


def shares(files: dict[str, bytes]) -> dict[str, float]:
    """The share of right pixels of each image, by stem."""
    found = {}
    for name in files:
        with Image.open(Path("results/one/selected/submission", name)) as image:
            pixels = np.asarray(image)[..., 0]
        truth = np.asarray(Image.open(f"data/val/labels/{name[:-4]}.png"))
        found[name[:-4]] = float((np.rint(pixels / 60) == truth).mean())
    return found


def test_the_best_checkpoint_is_not_the_last(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(folder, "one", [0.1, 0.6, 0.2])
    evidence = run("--name one --segmenter A --judge B --average 1")
    assert evidence["confirmed"] is True
    assert evidence["recommended"] == "one, generator-0002, seed 0"
    values = [one["mask_accuracy"] for one in evidence["candidates"]]
    assert values == pytest.approx([0.6, 0.9, 0.7], abs=0.02)
    labels = [step["step"] for step in evidence["steps"]]
    assert labels == [
        "last checkpoint: one, generator-0003, seed 0",
        "best checkpoint: one, generator-0002, seed 0",
    ]
    first, last = evidence["steps"]
    assert first["gain"] is None
    assert last["gain"] == pytest.approx(last["mask_accuracy"] - first["mask_accuracy"])
    assert last["layouts"] == LAYOUTS == evidence["layouts"]["choosing"]
    assert np.mean(list(shares(submission()).values())) == pytest.approx(0.9, abs=0.02)
    table = json.loads(Path("results/one/selected/selection.json").read_text())
    assert table["table"] == {f"t{number}": "one" for number in range(LAYOUTS)}
    assert table["seeds"] == {} and table["generators"][0]["epoch"] == 2
    assert evidence["segmenters_on_photos"] == {"photos": 1, "chooser": 1, "judge": 1}
    out = capsys.readouterr().out
    assert "the report confirms an improvement over the last checkpoint" in out
    report = Path("results/one/selected/evidence.md").read_text()
    assert "| one, generator-0002, seed 0 | 0." in report and "A chooses, B reports" in report
    names = {path.name for path in Path("results/one/selected").iterdir()}
    assert names == {MARKER, ".cache", "submission", "selection.json", "evidence.json",
                     "evidence.md"}  # fmt: skip


def test_the_last_checkpoint_is_the_best(folder: Path) -> None:
    make_run(folder, "one", [0.1, 0.5])
    evidence = run("--name one --segmenter A --judge B --average 1")
    assert evidence["confirmed"] is None and len(evidence["steps"]) == 1
    assert evidence["verdict"].startswith("the last checkpoint is the best candidate")


def test_without_confirmation_the_last_checkpoint_is_recommended(folder: Path) -> None:
    make_run(folder, "one", [0.5, 0.1])
    evidence = run("--name one --segmenter A --judge C --average 1")
    assert evidence["confirmed"] is False
    assert evidence["segmenters_on_photos"] == {"photos": 1, "chooser": 1, "judge": 0}
    assert evidence["recommended"] == "one, generator-0002, seed 0"
    assert np.mean(list(shares(submission()).values())) == pytest.approx(0.6, abs=0.02)


def test_averages_are_added_while_they_improve(folder: Path) -> None:
    # best first: 0.8 of the one at 0.3; 0.3 with 0.72: 0.51; three of them: 0.40
    make_run(folder, "one", [0.18, 0.3, 0.72])
    evidence = run("--name one --segmenter A --judge B")
    labels = [one["candidate"] for one in evidence["candidates"]]
    assert labels[3:] == [
        "one, average of generator-0002, generator-0003, seed 0",
        "one, average of generator-0002, generator-0003, generator-0001, seed 0",
    ]
    assert evidence["recommended"] == labels[3]
    path = Path("results/one/selected/average.safetensors")
    snapshot = read_snapshot(path)
    for kind in ("ema", "raw"):
        skill = snapshot.weights(kind)["generator.skill"]
        np.testing.assert_array_equal(skill, np.full(CLASSES, np.float32(0.51)))
    assert (snapshot.epoch, snapshot.step) == (3, 30)
    assert evidence["generators"][0]["average_of"] == ["generator-0002", "generator-0003"]
    # the next selection without averages removes it
    run("--name one --segmenter A --judge B --average 1")
    assert not path.exists()


def test_without_a_judge_the_layouts_are_divided(folder: Path) -> None:
    make_run(folder, "one", [0.5, 0.1])
    evidence = run("--name one --segmenter A --average 1")
    assert evidence["layouts"] == {"all": 12, "choosing": 6, "reporting": 6}
    assert [step["layouts"] for step in evidence["steps"]] == [6, 6]
    assert {one["layouts"] for one in evidence["candidates"]} == {6}
    assert evidence["confirmed"] is True and evidence["settings"]["judge"] is None
    report = Path("results/one/selected/evidence.md").read_text()
    assert "One segmenter, A: 6 layouts choose, the other 6 report" in report


def test_choosing_and_reporting_layouts_are_disjoint(folder: Path) -> None:
    """The report has the numbers of the layouts that no choice saw."""
    make_run(folder, "one", [[0.5, 0.1, 0.5, 0.1], 0.15])
    evidence = run("--name one --segmenter A --average 1")
    stems = sorted(f"t{number}" for number in range(LAYOUTS))
    report = [stem for stem, first in zip(stems, choosing_half(stems), strict=True) if not first]
    files = submission()
    if not evidence["confirmed"]:
        pytest.fail("the fake runs are made so that it is confirmed")
    expected = np.mean([shares(files)[stem] for stem in report])
    assert evidence["steps"][1]["mask_accuracy"] == pytest.approx(expected)


def test_seeds_are_chosen_per_layout(folder: Path) -> None:
    make_run(folder, "one", [0.3], noise=0.2)
    evidence = run("--name one --segmenter A --judge B --seeds 4")
    assert len(evidence["candidates"]) >= 4
    table = json.loads(Path("results/one/selected/selection.json").read_text())
    assert table["seeds"] and set(table["seeds"].values()) <= {1, 2, 3}
    assert evidence["decisions"][0].startswith("one: one snapshot")
    steps = evidence["steps"]
    assert steps[-1]["FD-EffNet"] <= steps[0]["FD-EffNet"]
    # each replaced image is that of its seed
    found = shares(submission())
    for stem, seed in table["seeds"].items():
        noise = np.random.default_rng([seed, *stem.encode()]).uniform(-1, 1, 1)[0]
        assert found[stem] == pytest.approx(min(1, 0.8 + 0.2 * noise), abs=0.03)


def test_seeds_without_noise_are_skipped(folder: Path) -> None:
    make_run(folder, "one", [0.3, 0.4])
    evidence = run("--name one --segmenter A --judge B --seeds 4 --average 1")
    assert evidence["decisions"] == [
        "one: its images depend on no noise, so that --seeds is skipped for it"
    ]
    assert len(evidence["candidates"]) == 2


def test_runs_are_mixed_per_image(folder: Path) -> None:
    """Run `one` is better at layouts that begin with class 0 or 1, `two` at the others."""
    make_run(folder, "one", [[0.5, 0.5, 0.2, 0.2]])
    make_run(folder, "two", [[0.2, 0.2, 0.5, 0.5]])
    flags = "--name one --segmenter A --judge B --with two --average 1"
    evidence = run(flags)
    table = json.loads(Path("results/one/selected/selection.json").read_text())["table"]
    used = {stem: np.asarray(Image.open(f"data/val/labels/{stem}.png"))[0, 0] < 2 for stem in table}
    better = {stem: "one" if first else "two" for stem, first in used.items()}
    assert set(better.values()) == {"one", "two"}
    wrong = [stem for stem, run_of in table.items() if run_of != better[stem]]
    assert len(wrong) < LAYOUTS / 2  # blocks that leave the photos are not taken
    assert "per image" in evidence["steps"][-1]["step"]
    assert evidence["confirmed"] is True


def test_an_edited_table_is_followed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(folder, "one", [0.5], noise=0.1)
    make_run(folder, "two", [0.1])
    flags = "--name one --segmenter A --judge B --with two --average 1"
    run(flags)
    path = Path("results/one/selected/selection.json")
    table = json.loads(path.read_text())
    table["table"]["t3"] = "two"
    table["seeds"]["t5"] = 9
    path.write_text(json.dumps(table))
    assert "selection.json is in the way: it was changed since" in fails(capsys, flags)
    before = shares(submission())
    edited = path.read_bytes()
    evidence = run(f"{flags} --table {path}")
    assert path.read_bytes() == edited
    after = shares(submission())
    changed = {stem for stem in after if after[stem] != before[stem]}
    assert changed <= {"t3", "t5"} and "t3" in changed
    assert after["t3"] == pytest.approx(0.6, abs=0.03)
    assert evidence["confirmed"] is False and "the table is followed" in evidence["verdict"]
    assert evidence["recommended"] == "table, images replaced: 2"


def test_a_plain_table_names_some_layouts(folder: Path) -> None:
    make_run(folder, "one", [0.2])
    make_run(folder, "two", [0.5])
    Path("35.json").write_text('{"t1": "two", "t2": "two"}')
    evidence = run("--name one --segmenter A --with two --table 35.json --average 1")
    found = shares(submission())
    assert {stem for stem, share in found.items() if share > 0.95} == {"t1", "t2"}
    assert [step["mask_accuracy"] for step in evidence["steps"]] == [None, None]
    assert "not measured" in evidence["verdict"] and "--judge" in evidence["verdict"]
    assert "not measured" in Path("results/one/selected/evidence.md").read_text()
    written = json.loads(Path("results/one/selected/selection.json").read_text())["table"]
    assert [stem for stem, name in written.items() if name == "two"] == ["t1", "t2"]


def test_regions_of_another_run(folder: Path) -> None:
    make_run(folder, "one", [0.3])
    make_run(folder, "two", [-0.4], perfect=[2])  # a tenth of the columns, and class 2
    flags = "--name one --segmenter A --with two --regions --average 1 --feather 0"
    evidence = run(flags)
    assert evidence["regions"] == {"class 2": "two"}
    assert evidence["confirmed"] is True
    assert evidence["steps"][-1]["step"] == "regions, class 2 of two"
    for name in submission():
        with Image.open(Path("results/one/selected/submission", name)) as image:
            found = np.rint(np.asarray(image)[..., 0] / 60)
        truth = np.asarray(Image.open(f"data/val/labels/{name[:-4]}.png"))
        assert (found[truth == 2] == 2).mean() > 0.97
        assert (found[truth != 2] == truth[truth != 2]).mean() == pytest.approx(0.8, abs=0.2)
    soft = run(flags.replace("--feather 0", "--feather 1"))
    assert soft["steps"][-1]["mask_accuracy"] < evidence["steps"][-1]["mask_accuracy"]


def test_no_class_is_better_in_another_run(folder: Path) -> None:
    make_run(folder, "one", [0.5])
    make_run(folder, "two", [0.4])
    evidence = run("--name one --segmenter A --with two --regions --average 1")
    assert "regions: no run gains 0.02 or more on a class" in evidence["decisions"]


def test_regions_that_do_not_improve_are_left_out(folder: Path) -> None:
    make_run(folder, "one", [0.3])
    make_run(folder, "two", [-0.4], perfect=[2])
    flags = "--name one --segmenter A --with two --regions --average 1 --feather 20"
    evidence = run(flags)
    assert evidence["decisions"][-1] == "regions: the mixed images are no better; they are left out"
    assert evidence["regions"] == {} and len(evidence["steps"]) == 1


def test_a_table_that_the_judge_confirms(folder: Path) -> None:
    make_run(folder, "one", [0.2])
    make_run(folder, "two", [0.5])
    Path("table.json").write_text('{"t1": "two"}')
    flags = "--name one --segmenter A --judge B --with two --average 1 --table table.json"
    evidence = run(flags)
    assert evidence["confirmed"] is True and len(evidence["steps"]) == 2


def test_a_second_start_generates_no_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(folder, "one", [0.3, 0.72])
    flags = "--name one --segmenter A --judge B"
    first, files = run(flags), submission()
    monkeypatch.setattr(FakeSynthesizer, "synthesize", None)
    monkeypatch.setattr(select, "load_predictor", lambda path: Predictor(CLASSES, None))
    assert run(flags) == first and submission() == files
    # damage in the cache is found, and measured again
    for path in Path("results/one/selected/.cache").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TypeError):
        run(flags)


def test_an_interrupted_start_writes_nothing_and_resumes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(folder, "one", [0.3, 0.4])
    flags = "--name one --segmenter A --judge B --average 1"
    made: list[int] = []
    synthesize = FakeSynthesizer.synthesize

    def counting(self: FakeSynthesizer, layout: np.ndarray, **rest: Any) -> np.ndarray:
        made.append(1)
        if len(made) == 5:
            signal.raise_signal(signal.SIGINT)
        return synthesize(self, layout, **rest)

    monkeypatch.setattr(FakeSynthesizer, "synthesize", counting)
    assert main(f"{flags} --size 32 48".split()) == 130
    assert "5 finished images are kept" in capsys.readouterr().err
    place = Path("results/one/selected")
    assert [path.name for path in place.iterdir()] == [".cache"]
    run(flags)
    assert len(made) == 2 * LAYOUTS and len(submission()) == LAYOUTS


def test_fid_makes_the_score_the_objective(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def network(name: str, weights: str | None) -> Any:
        names.append(name)
        return fake_features()

    monkeypatch.setattr(select, "load_network", network)
    make_run(folder, "one", [0.5, 0.1])
    (folder / "inception.pth").write_text("weights")
    flags = "--name one --segmenter A --judge B --average 1"
    evidence = run(f"{flags} --inception-weights inception.pth")
    assert names and EFFICIENTNET not in names
    for step in [*evidence["steps"], *evidence["candidates"]]:
        term = (100 - min(step["FID"], 100)) / 200
        assert step["objective"] == pytest.approx(step["mask_accuracy"] * term)
        assert step["objective"] > 0


def test_the_mask_accuracy_decides_while_fid_is_above_100(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every score is 0 then."""
    network = fake_features()
    far = FeatureNetwork("far", 3, network.prepare, lambda batch: 1000 * batch)
    monkeypatch.setattr(select, "load_network", lambda name, weights: far)
    make_run(folder, "one", [0.3, 0.5, 0.1])
    (folder / "inception.pth").write_text("weights")
    flags = "--name one --segmenter A --judge B --average 1 --inception-weights inception.pth"
    evidence = run(flags)
    assert {step["objective"] for step in evidence["steps"]} == {0}
    assert evidence["recommended"] == "one, generator-0002, seed 0" and evidence["confirmed"]


def test_files_of_the_user_are_reported_before_the_work(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(folder, "one", [0.5])
    monkeypatch.setattr(select, "start_jittor", None)
    for name in ("evidence.md", "average.safetensors", "submission/t1.jpg", "selection.json"):
        path = Path("out", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
        error = fails(capsys, "--name one --segmenter A --judge B --output-path out")
        assert f"{path} is in the way" in error and "--output_path" in error
        assert path.read_text() == "mine"
        path.unlink()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--name none BOTH", "--name: expected a run in results, got none"),
        ("--name empty BOTH", "empty/checkpoints: expected a snapshot, got none"),
        ("ONE --segmenter gone", "--segmenter: expected a segmenter, got gone, which is no file"),
        ("ONE --segmenter A --judge gone", "--judge: expected a segmenter, got gone"),
        ("ONE --segmenter A --judge COPY", "--judge: expected another segmenter than --segmenter"),
        ("ONE --segmenter K", "--segmenter K: expected a segmenter of 4 classes, got one of 5"),
        ("ONE --segmenter A --judge K", "--judge K: expected a segmenter of 4 classes"),
        ("ONE BOTH --with none", "--with: expected a run in results, got none, which does not"),
        ("ONE BOTH --with two two", "--with: expected other runs, got two twice"),
        ("ONE BOTH --with one", "--with: expected other runs, got one twice"),
        ("ONE BOTH --with wide", "--with wide: expected the size of one, 32 x 48, got 32 x 64"),
        ("ONE BOTH --with many", "--with many: expected the classes of one, 4 from id 0, got 5"),
        ("ONE BOTH --with ../two", "--name: expected a plain file name"),
        ("ONE BOTH --input-path single", "single: expected two layouts or more, got one"),
        ("ONE --segmenter A --input-path three", "expected 2 layouts or more that choose and as"),
        ("ONE --segmenter A --seeds 2", "--seeds: expected --judge FILE"),
        ("ONE BOTH --seeds 0", "--seeds: expected 1..64, got 0"),
        ("ONE BOTH --average 21", "--average: expected 1..20, got 21"),
        ("ONE BOTH --batches 0", "--batches: expected 1..10000, got 0"),
        ("ONE BOTH --regions", "--regions has no effect without --with"),
        ("ONE BOTH --feather 1", "--feather has no effect without --regions"),
        ("ONE BOTH --with two --regions --feather -1", "--feather: expected 0..256, got -1"),
        ("ONE BOTH --with two --seeds 2 --table t", "--seeds has no effect with --table"),
        ("ONE BOTH --table gone.json", "gone.json: expected a table, layout -> run, got nothing"),
        ("--name data-gone BOTH", "expected its training data in"),
        ("--name alone BOTH --input-path data", "expected two photos or more, got 1"),
    ],
)
def test_bad_input_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: str, words: str
) -> None:
    make_run(folder, "one", [0.5, 0.4])
    make_run(folder, "two", [0.5])
    make_run(folder, "wide", [0.5], width=64)
    make_run(folder, "many", [0.5], classes=5)
    make_run(folder, "data-gone", [0.5], input_path="gone")
    (folder / "results/empty/checkpoints").mkdir(parents=True)
    shutil.copy("A", "COPY")
    write_dataset(folder / "lone", pairs=1)
    make_run(folder, "alone", [0.5], input_path=str(folder / "lone"))
    for name, count in (("single", 1), ("three", 3)):
        (folder / name).mkdir()
        for number in range(count):
            shutil.copy(f"data/val/labels/t{number}.png", folder / name)
    words_of = flags.replace("ONE", "--name one").replace("BOTH", "--segmenter A --judge B")
    if "--name data-gone" in flags:
        words_of += " --input-path data"
    assert words in fails(capsys, words_of)


def test_a_translation_has_no_layouts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(
        folder,
        "photos",
        [0.5],
        task="translation",
        classes=29,
        generator={"start": "noise", "num_downsamples": 4},
    )
    for name in ("content", "style", "test/content"):
        (folder / "data" / name).mkdir(parents=True)
        shutil.copy("data/train/imgs/p0.png", folder / "data" / name)
    error = fails(capsys, "--name photos --segmenter A --judge B")
    assert "--name: expected a run with layouts, got --task translation" in error


def test_the_segmenter_of_a_loss_does_not_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy("A", "COPY")
    make_run(folder, "one", [0.5, 0.4], loss={"lambda_segmentation": 1.0, "segmenter": "COPY"})
    for flags in ("--segmenter A", "--segmenter B --judge A"):
        error = fails(capsys, f"--name one {flags}")
        assert "no run was trained against, got --segmenter COPY of one" in error
    run("--name one --segmenter A --judge B --average 1")  # it may choose
    Path("COPY").unlink()
    run("--name one --segmenter A --average 1 --output-path other")


def test_small_images_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(folder, "one", [0.5])
    error = fails(capsys, "--name one --segmenter A --judge B", size="--size 28 48")
    assert "--size: expected sides of 29 pixels or more for the segmenter, got 28 x 48" in error
