"""python -m tools.filter_dataset: files, flags, exit codes, and the function train.py calls."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.cleaning.faults import Others, backlit, shifted, speckled
from data.cleaning.pipeline import make_selections
from data.folders import find_pairs
from data.ownership import MARKER
from data.selections import read_selection, unquote
from options.errors import UserError
from runtime import ROOT
from tests.data.cleaning.scenes import make_scene, write_scene, write_scenes
from tools.filter_dataset import main

NO_OTHERS = Others([], np.array([1, 5, 20, 22, 23, 27], np.int32))
WRITTEN = {
    "total.txt", "selection_1.txt", "selection_2.txt", "report.csv", "report.html",
    "thresholds.json", ".measures.sqlite", MARKER,
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 clean pairs, three faulty pairs, a gray one, a copy, and unreadable files."""
    root = tmp_path_factory.mktemp("dataset") / "my set"
    write_scenes(root, 50)
    rng = np.random.default_rng(0)
    planted = {
        "shifted": shifted(*make_scene(60), NO_OTHERS, rng),
        "speckled": speckled(*make_scene(61), NO_OTHERS, rng),
        "backlit": backlit(*make_scene(62), NO_OTHERS, rng),
    }
    image, layout = make_scene(63)
    gray = image.mean(axis=2).astype(np.uint8)
    planted["gray"] = np.stack([gray] * 3, axis=2), layout
    planted["scene 003 again"] = make_scene(3)
    for stem, pair in planted.items():
        assert pair is not None
        write_scene(root, stem, *pair)
    (root / "train/imgs/empty.jpg").write_bytes(b"")
    Image.fromarray(np.zeros((96, 128), np.uint16)).save(root / "train/labels/empty.png")
    Image.fromarray(np.zeros((96, 128), np.uint16)).save(root / "train/labels/alone 湖.png")
    return root


@pytest.fixture(scope="module")
def selected(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("selected") / "out"
    make_selections(dataset, output, workers=1, progress=False)
    return output


@pytest.fixture
def output(selected: Path, tmp_path: Path) -> Path:
    """A copy of finished selections that a test may change."""
    return Path(shutil.copytree(selected, tmp_path / "out"))


def _rows(output: Path) -> dict[str, dict[str, str]]:
    with (output / "report.csv").open(encoding="utf-8", newline="") as file:
        return {row["stem"]: row for row in csv.DictReader(file)}


def _stems(output: Path, subset: str) -> set[str]:
    return set((output / f"{subset}.txt").read_text(encoding="utf-8").splitlines())


def _state(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_faults_are_dropped_with_their_measure(selected: Path) -> None:
    rows = _rows(selected)
    found = {stem: (rows[stem]["selection"], rows[stem]["measure"]) for stem in rows}
    assert found["speckled"][0] == found["shifted"][0] == found["gray"][0] == "0"
    assert found["speckled"][1] in ("border_density", "island_share", "segment_count", "thin_share")
    assert found["shifted"][1] in ("border_support", "shift_gain")
    assert found["gray"][1] == "colorfulness"
    assert found["backlit"] == ("1", "backlight")
    copies = [rows["scene 003"], rows["scene 003 again"]]
    assert sorted(row["selection"] for row in copies) == ["1", "2"]
    assert copies[0]["group"] == copies[1]["group"] != ""
    assert found["empty"] == ("-1", "") and "an empty file" in rows["empty"]["reason"]
    assert "a partner: a photo" in rows["alone 湖"]["reason"]
    clean = [found[f"scene {index:03d}"][0] for index in range(50) if index != 3]
    assert clean.count("2") >= 47


def test_files_agree(selected: Path) -> None:
    assert {path.name for path in selected.iterdir()} == WRITTEN
    rows = _rows(selected)
    with (selected / "report.csv").open(encoding="utf-8") as file:
        head = file.readline().strip().split(",")
    assert head[:7] == ["stem", "selection", "reason", "measure", "value", "threshold", "group"]
    assert {"border_support", "label_outlier_score", "backlight", "layout_similarity"} <= set(
        head[7:]
    )
    for least, subset in enumerate(("total", "selection_1", "selection_2")):
        expected = {stem for stem, row in rows.items() if int(row["selection"]) >= least}
        assert _stems(selected, subset) == expected
    thresholds = json.loads((selected / "thresholds.json").read_text())
    for row in rows.values():
        if row["measure"] in thresholds["measures"]:
            assert row["value"] == row[row["measure"]]
            entry = thresholds["measures"][row["measure"]]
            assert float(row["threshold"]) == pytest.approx(entry["threshold"], rel=1e-5)
            beyond = float(row["value"]) - float(row["threshold"])
            assert beyond > 0 if entry["left_out"] == "above" else beyond < 0


def test_the_default_output_is_what_training_reads(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_scenes(root, 12)
    before = _state(root)
    made = make_selections(root, workers=0, progress=False)
    assert made.total == made.stems == 12 and made.output_path == root / "selections"
    chosen = read_selection(root / "selections", "selection_2")
    assert chosen is not None and len(chosen) == made.selection_2
    shutil.rmtree(root / "selections")
    assert _state(root) == before


def test_the_report_shows_the_command_with_its_flags(tmp_path: Path) -> None:
    write_scenes(tmp_path / "my set", 2)
    out = tmp_path / "out"
    make_selections(tmp_path / "my set", out, classes=40, unknown_label=255, progress=False)
    wanted = f"--input_path &#x27;{tmp_path}/my set&#x27; --output_path {out} --classes 40"
    assert f"{wanted} --unknown_label 255</code>" in (out / "report.html").read_text()


def test_a_second_run_gives_the_same_files(dataset: Path, output: Path) -> None:
    # The report names its folder, and this one is a copy.
    names = WRITTEN - {".measures.sqlite", "report.html", MARKER}
    first = {name: (output / name).read_bytes() for name in names}
    reports = []
    for _ in range(2):
        make_selections(dataset, output, workers=1, progress=False)
        assert {name: (output / name).read_bytes() for name in names} == first
        reports.append((output / "report.html").read_bytes())
    assert reports[0] == reports[1]


def test_decisions_of_the_user_persist(
    dataset: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (output / "keep.txt").write_text("# mine\nspeckled\nnobody\n", encoding="utf-8")
    (output / "drop.txt").write_text("scene 001\r\n\n", encoding="utf-8")
    for _ in range(2):
        assert main(["--input_path", str(dataset), "--output_path", str(output)]) == 0
        rows = _rows(output)
        assert rows["speckled"]["selection"] == "2"
        assert rows["speckled"]["reason"] == "kept by keep.txt"
        assert rows["scene 001"]["selection"] == "0"
        assert "speckled" in _stems(output, "selection_2")
        assert "keep.txt has 1 names of no readable pair" in capsys.readouterr().out
    (output / "drop.txt").write_text("speckled\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"got speckled in keep\.txt and drop\.txt"):
        make_selections(dataset, output, workers=1, progress=False)


def test_targets_and_thresholds(dataset: Path, output: Path) -> None:
    made = make_selections(dataset, output, target=(0.81, 0.73), workers=1, progress=False)
    assert made.stems == 57
    assert abs(made.selection_1 - 0.81 * 57) <= 1 and abs(made.selection_2 - 0.73 * 57) <= 1.5
    mine = output.parent / "mine.json"
    mine.write_text('{"measures": {"colorfulness": 1000}}', encoding="utf-8")
    made = make_selections(dataset, output, thresholds_path=mine, workers=1, progress=False)
    assert made.selection_1 == 0
    with pytest.raises(UserError, match="expected one of them, got both"):
        make_selections(dataset, output, target=(0.8, 0.7), thresholds_path=mine)


def test_the_printed_summary(
    dataset: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(dataset), "--output-path", str(output), "--workers", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "total: 55 of 57 (96.5%)"
    assert lines[1].startswith("selection_1: ") and lines[2].startswith("selection_2: ")
    assert lines[3].startswith("unreadable: 2, such as ")
    assert any(line.startswith("left out of selection_1: ") for line in lines)
    assert any("layout_similarity 1" in line for line in lines)


def _empty(root: Path) -> list[str]:
    return ["--input_path", str(root)]


def _empty_folders(root: Path) -> list[str]:
    for part in ("imgs", "labels"):
        (root / "train" / part).mkdir(parents=True)
    return ["--input_path", str(root)]


def _all_broken(root: Path) -> list[str]:
    for stem in write_scenes(root, 2):
        (root / "train/imgs" / f"{stem}.jpg").write_bytes(b"no image")
    return ["--input_path", str(root)]


def _bad_ids(root: Path) -> list[str]:
    write_scenes(root, 2)
    return ["--input_path", str(root), "--classes", "5"]


def _output_is_a_file(root: Path) -> list[str]:
    write_scenes(root, 2)
    (root / "selections").write_text("mine")
    return ["--input_path", str(root)]


def _damaged_keep(root: Path) -> list[str]:
    write_scenes(root, 2)
    (root / "selections").mkdir()
    (root / "selections/keep.txt").write_bytes(b"\xff\xfe\xff")
    return ["--input_path", str(root)]


def _with(*flags: str) -> Callable[[Path], list[str]]:
    def flags_of(root: Path) -> list[str]:
        write_scenes(root, 2)
        return ["--input_path", str(root), *flags]

    return flags_of


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (_empty, "expected photos and labels in"),
        (_empty_folders, "got none that can be read"),
        (_all_broken, "expected at least one readable pair, got none of 2"),
        (_bad_ids, "expected at least one readable pair"),
        (_output_is_a_file, "expected a folder, "),
        (_damaged_keep, "keep.txt: expected readable UTF-8 text"),
        (_with("--target", "0.5", "0.9"), "--target: expected shares"),
        (_with("--target", "0.5"), "expected 2 arguments"),
        (_with("--workers", "-1"), "--workers: expected 0 or more"),
        (_with("--classes", "0"), "--classes: expected 1..65535, got 0"),
        (_with("--kept", "0"), "--kept: expected 1 or more"),
        (_with("--thresholds", "none.json"), "none.json"),
        (_with("--treshold", "x"), "--treshold"),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    prepare: Callable[[Path], list[str]],
    words: str,
) -> None:
    root = tmp_path / "set"
    root.mkdir()
    assert main(prepare(root)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert words in captured.err
    assert not list(root.rglob("selection_1.txt"))


def test_a_read_only_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scenes(tmp_path / "set", 2)

    # Tests may run as root, who can write into folders of any mode.
    def refuse(path: Path, content: bytes) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(
        UserError, match=r"expected a writable folder for the selections, got: Read-only"
    ):
        make_selections(tmp_path / "set", tmp_path / "out", progress=False)
    assert list((tmp_path / "out").iterdir()) == []


def test_files_are_written_atomically(
    dataset: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (output / "selection_1.txt").read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before_all = _state(output)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="got no space left on the disk"):
        make_selections(dataset, output, target=(0.5, 0.4), workers=1, progress=False)
    assert {path.name for path in output.iterdir()} == WRITTEN
    assert (output / "selection_1.txt").read_bytes() == before
    cache = str(output / ".measures.sqlite")
    assert _state(output) | {cache: (0, b"")} == before_all | {cache: (0, b"")}


@pytest.mark.parametrize("name", sorted(WRITTEN - {".measures.sqlite", MARKER}))
def test_files_of_the_user_are_not_replaced(dataset: Path, output: Path, name: str) -> None:
    """Neither changed files nor files from elsewhere; the error precedes any measurement."""
    (output / ".measures.sqlite").unlink()
    with (output / name).open("a") as file:
        file.write("scene 001\n")
    before = _state(output)
    with pytest.raises(UserError) as error:
        make_selections(dataset, output, workers=1, progress=False)
    text = str(error.value)
    assert f"{output / name} is in the way: it was changed since. Move it away" in text
    assert "--output_path" in text and "keep.txt" in text and "\n" not in text
    assert _state(output) == before
    (output / MARKER).unlink()
    with pytest.raises(UserError, match="this program did not write it"):
        make_selections(dataset, output, workers=1, progress=False)


def test_replaced_lists_of_an_earlier_run_are_reported(dataset: Path, output: Path) -> None:
    line = f"replaced: the selections of an earlier run in {output}"
    made = make_selections(dataset, output, kept=1, workers=1, progress=False)
    assert made.lines[-1] == line
    assert line not in make_selections(dataset, output.parent / "new", progress=False).lines


def test_a_thresholds_file_of_the_user_is_kept(dataset: Path, output: Path) -> None:
    path = output / "thresholds.json"
    numbers = json.loads(path.read_text())
    numbers["measures"]["colorfulness"]["threshold"] = 1000
    path.write_text(json.dumps(numbers))
    before = path.read_bytes()
    for _ in range(2):
        made = make_selections(dataset, output, thresholds_path=path, workers=1, progress=False)
        assert made.selection_1 == 0 and path.read_bytes() == before
    path.unlink()
    with pytest.raises(UserError, match=r"none\.json"):
        make_selections(dataset, output, thresholds_path="none.json", workers=1, progress=False)


def test_the_program_does_not_import_jittor(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set", 3)
    program = (
        "import sys; from tools.filter_dataset import main; "
        f"assert main(['--input_path', {str(tmp_path / 'set')!r}]) == 0; "
        "assert 'jittor' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "total: 3 of 3" in result.stdout


ODD_NAMES = [
    " a ", "# b", "c\nd", "e\rf", "g\r\nh", '"i"', '"j\\n"', "k\u2028l", "m\x85n", "\ufeffo", "p,q",
    "r\udcff\udc80", "s\\t", "湖 u", "v\x0bw", "\u3000x", "été", "#", "'y'", "z\tz",
]  # fmt: skip


def test_every_name_survives_writing_and_reading(tmp_path: Path) -> None:
    root, output = tmp_path / "set", tmp_path / "out"
    stems = write_scenes(root, len(ODD_NAMES) + 2)
    images, labels = root / "train/imgs", root / "train/labels"
    for stem, name in zip(stems, ODD_NAMES, strict=False):
        (images / f"{stem}.jpg").rename(images / f"{name}.jpg")
        (labels / f"{stem}.png").rename(labels / f"{name}.png")
    (images / f"{stems[-1]}.jpg").rename(images / "bro\rken\udcfe.jpg")
    (labels / f"{stems[-1]}.png").rename(labels / "bro\rken\udcfe.png")
    (images / "bro\rken\udcfe.jpg").write_bytes(b"")
    made = make_selections(root, output, workers=1, progress=False)
    good = {pair.stem for pair in find_pairs(root).pairs} - {"bro\rken\udcfe"}
    assert good == {*ODD_NAMES, stems[-2]}
    assert read_selection(output, "total") == good
    assert {unquote(stem) for stem in _rows(output)} == good | {"bro\rken\udcfe"}
    assert all(line.isprintable() for line in made.lines)
    # lines copied from a list into drop.txt drop their pairs
    (output / "drop.txt").write_bytes((output / "total.txt").read_bytes())
    assert make_selections(root, output, workers=1, progress=False).selection_1 == 0


def test_unmatched_names_are_explained(dataset: Path, output: Path) -> None:
    (output / "keep.txt").write_text("Scene 001\nscene 002.jpg\nempty\nnobody\n")
    made = make_selections(dataset, output, workers=1, progress=False)
    (note,) = (line for line in made.lines if "keep.txt" in line)
    assert note.startswith("note: keep.txt has 4 names of no readable pair: ")
    for reason in (
        "1 with another spelling or copy number (Scene 001)",
        "1 with a suffix (scene 002.jpg)",
        "1 of bad pairs (empty)",
        "1 not in this dataset (nobody)",
    ):
        assert reason in note


def test_facades_are_cleaned_with_ids_from_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    for index in range(4):
        image, layout = make_scene(index)
        layout = layout % 12 + 1
        layout[0, :12] = np.arange(1, 13)
        Image.fromarray(image).save(folder / f"b{index}.jpg")
        Image.fromarray(layout.astype(np.uint8)).save(folder / f"b{index}.bmp")
    flags = ["--input_path", str(tmp_path), "--classes", "12"]
    assert main(flags) == 0
    assert "total: 4 of 4" in capsys.readouterr().out
    assert main([*flags, "--first_id", "1"]) == 0
    assert main([*flags, "--first_id", "-1"]) == 2
    assert "--first_id: expected 0..65524, got -1." in capsys.readouterr().err
    assert main([*flags, "--first_id", "0"]) == 2
    assert "The ids count from 1: give --first-id 1." in capsys.readouterr().err
