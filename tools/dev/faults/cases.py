"""Numbered cases of damaged inputs: a seed chooses program, flags, files and damage.

A case copies intact files and damages some of them. Each kind of case is a function that damages
files below `place` and sets the program and its arguments.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from options.fields import option_fields
from options.test import TestOptions
from options.train import RUN_FIELDS
from tools.dev.faults.damage import damage
from tools.dev.faults.text_damage import NUMBERS


@dataclass
class Case:
    """One program, its arguments, the damage to its files, and its result."""

    number: int
    kind: str
    program: str
    arguments: list[str] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)
    user_files: list[str] = field(default_factory=list)  # the user's files among the outputs
    fault: str = ""
    seconds: float = 0.0
    code: int | None = None


def _pick(folder: Path, random: random.Random) -> Path:
    return random.choice(sorted(folder.iterdir()))


def _damage(case: Case, path: Path, kind: str, random: random.Random) -> None:
    case.damages.append(f"{path.name}: {damage(path, kind, random)}")


def _train(case: Case, *more: str) -> None:
    case.program = "train"
    case.arguments = ["--data", "in/data", "--schedule", "in/schedule.txt", "--name", "r"]
    case.arguments += ["--results-path", "out", *more]


def _test(case: Case, *more: str) -> None:
    case.program = "test"
    case.arguments = ["--checkpoint", "in/snapshot.safetensors", "--img_path", "in/data/train/imgs"]
    case.arguments += ["--input_path", "in/data/val/labels", "--output_path", "out/images", *more]


def of_pairs(case: Case, place: Path, random: random.Random) -> None:
    """Damage photos and labels of a dataset, then train on it or clean it."""
    for _ in range(random.choice([1, 1, 3])):
        kind = random.choice(["label", "photo"])
        folder = {"label": "labels", "photo": "imgs"}[kind]
        _damage(case, _pick(place / "in/data/train" / folder, random), kind, random)
    if random.random() < 0.4:
        case.program = "filter"
        case.arguments = ["--input_path", "in/data", "--output_path", "out/chosen"]
        return
    _train(case, "--bad-pair-limit", random.choice(["0", "0.05", "1"]))


def of_layouts(case: Case, place: Path, random: random.Random) -> None:
    """Damage layouts and style photos of a submission."""
    kind = random.choice(["label", "label", "photo"])
    folder = {"label": "val/labels", "photo": "train/imgs"}[kind]
    for _ in range(random.choice([1, 2])):
        _damage(case, _pick(place / "in/data" / folder, random), kind, random)
    _test(case)


def of_tables(case: Case, place: Path, random: random.Random) -> None:
    """Damage label_to_img.json and the JSON of the demo dataset."""
    _damage(case, place / "in/data/label_to_img.json", "json", random)
    _test(case)
    if random.random() < 0.2:
        _damage(case, place / "in/data/demo_data.json", "json", random)
        case.program = "demo"
        case.arguments = ["--output_path", "in/data", "--count", "12", "--size", "32", "48"]


def of_lists(case: Case, place: Path, random: random.Random) -> None:
    """Damage selections, keep.txt, drop.txt or thresholds.json."""
    folder = place / "in/data/selections"
    if random.random() < 0.5:
        _damage(case, folder / f"{random.choice(['total', 'selection_1'])}.txt", "text", random)
        _train(case, *random.choice([[], ["--dry-run"]]))
        return
    shutil.copytree(folder, place / "out/chosen")
    stems = sorted(path.stem for path in (place / "in/data/train/imgs").iterdir())
    name = random.choice(["keep.txt", "drop.txt", "thresholds.json"])
    path = place / "out/chosen" / name
    case.program = "filter"
    case.arguments = ["--input_path", "in/data", "--output_path", "out/chosen"]
    if name == "thresholds.json":
        shutil.move(path, place / "in/thresholds.json")
        _damage(case, place / "in/thresholds.json", "json", random)
        case.arguments += ["--thresholds", "in/thresholds.json"]
        return
    path.write_text("\n".join(stems[:4]) + "\n")
    _damage(case, path, "text", random)


def of_schedules(case: Case, place: Path, random: random.Random) -> None:
    """Damage a schedule; most of these cases do not train."""
    for _ in range(random.choice([1, 1, 4])):
        _damage(case, place / "in/schedule.txt", "text", random)
    _train(case, *random.choice([["--dry-run"], ["--dry-run"], ["--epoch-images", "4"]]))


def of_snapshots(case: Case, place: Path, random: random.Random) -> None:
    """Damage a generator snapshot, then generate with it or convert it."""
    _damage(case, place / "in/snapshot.safetensors", "tensors", random)
    _test(case)
    if random.random() < 0.4:
        case.program = "convert"
        case.arguments = ["in/snapshot.safetensors", "out/weights.pth", "--to", "torch"]


def of_states(case: Case, place: Path, random: random.Random) -> None:
    """Damage a file of a run, then resume it."""
    shutil.copytree(place / "in/results/r", place / "out/r")
    checkpoints = place / "out/r/checkpoints"
    state = checkpoints / (checkpoints / "state").read_text().strip()
    kinds = {
        state / "state.safetensors": "tensors",
        state / "progress.json": "json",
        checkpoints / "state": "text",
        checkpoints / "latest": "text",
        place / "out/r/options.json": "json",
        place / "out/r/check_cache.json": "json",
        place / "out/r/stats.jsonl": "text",
        place / "out/r/log.txt": "any",
        place / "out/r/command.txt": "any",
    }
    path = random.choice(sorted(kinds))
    _damage(case, path, kinds[path], random)
    # one more epoch to train
    with open(place / "in/schedule.txt", "a") as schedule:
        schedule.write("III 3 4 total 1e-3\n")
    _train(case)


def of_torch_files(case: Case, place: Path, random: random.Random) -> None:
    """Damage published weights, then convert them."""
    _damage(case, place / "in/weights.pth", "torch", random)
    case.program = "convert"
    case.arguments = ["in/weights.pth", "out/converted.safetensors"]


def of_vgg(case: Case, place: Path, random: random.Random) -> None:
    """Damage the weights of the perceptual loss, then train."""
    path = place / "in/vgg.safetensors"
    path.unlink()  # a link to the file in the base
    shutil.copy(place.parents[1] / "base/vgg.safetensors", path)
    _damage(case, path, "tensors", random)
    _train(case, "--lambda-vgg", "1", "--vgg-weights", str(path.relative_to(place)))


def of_flags(case: Case, place: Path, random: random.Random) -> None:
    """Pass unexpected flags and values; these cases do not train."""
    if random.random() < 0.6:
        flags = [option.flag for option in RUN_FIELDS.values()]
        _train(case, "--dry-run")
    else:
        flags = [option.flag for option in option_fields(TestOptions)]
        _test(case, "--limit", "1")
    for _ in range(random.choice([1, 2, 4])):
        flag = random.choice(flags)
        strange = ["\udcff", "/", "in", "in/data", "\n", "a" * 300, "..", "noise", "spade", "I"]
        value = random.choice([*NUMBERS, *strange, str(random.randrange(-9, 99))])
        case.arguments += random.choice([[flag, value], [f"{flag}={value}"], [flag], [flag[:-2]]])


# Outputs of each program, relative to a case's folder. The order decides the numbered cases.
OUTPUTS = {
    "test": [
        "out/images/overview.png",
        "out/images/submission.zip",
        "out/images/demo_0_000012.jpg",
        "out/images",
    ],
    "convert": ["out/converted.safetensors", "out/weights.pth"],
    "filter": [
        "out/chosen/total.txt",
        "out/chosen/selection_1.txt",
        "out/chosen/report.csv",
        "out/chosen/report.html",
        "out/chosen/thresholds.json",
        "out/chosen",
    ],
    "demo": [
        "out/demo/demo_data.json",
        "out/demo/label_to_img.json",
        "out/demo/train/imgs/demo_0_000000.jpg",
        "out/demo/train",
    ],
    "train": [
        "out/r/options.json",
        "out/r/log.txt",
        "out/r/stats.jsonl",
        "out/r/check.txt",
        "out/r/checkpoints/generator-0001.safetensors",
        "out/r/checkpoints/state",
        "out/r/samples/0001-00000003.png",
        "out/r/submission/overview.png",
        "out/r",
    ],
}


def of_user_files(case: Case, place: Path, random: random.Random) -> None:
    """Put the user's files where a program writes, under the names of its outputs."""
    program = random.choice(sorted(OUTPUTS))
    if program == "train":
        _train(case)
    elif program == "test":
        _test(case)
    elif program == "demo":
        case.arguments = ["--output_path", "out/demo", "--count", "2", "--size", "32", "48"]
    elif program == "filter":
        case.arguments = ["--input_path", "in/data", "--output_path", "out/chosen"]
    else:
        case.arguments = random.choice(
            [
                ["in/weights.pth", "out/converted.safetensors"],
                ["in/snapshot.safetensors", "out/weights.pth", "--to", "torch"],
            ]
        )
    case.program = program
    for name in random.sample(OUTPUTS[program], random.choice([1, 1, 2])):
        path = place / name
        if path.exists() or any(parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if random.random() < 0.2:
            (place / "elsewhere").write_text("the user's")
            path.symlink_to(place / "elsewhere")
            case.user_files.append("elsewhere")
        else:
            path.write_bytes(random.choice([b"", b"the user's\n", random.randbytes(5000)]))
        case.user_files.append(name)
        case.damages.append(f"{name}: existed")


# Weight and function of each kind. The order decides the numbered cases.
KINDS: dict[str, tuple[int, Callable[[Case, Path, random.Random], None]]] = {
    "pairs": (18, of_pairs),
    "layouts": (14, of_layouts),
    "tables": (8, of_tables),
    "lists": (10, of_lists),
    "schedules": (12, of_schedules),
    "snapshots": (12, of_snapshots),
    "states": (12, of_states),
    "torch files": (14, of_torch_files),
    "vgg": (2, of_vgg),
    "flags": (12, of_flags),
    "user files": (10, of_user_files),
}


def prepare_case(work: Path, number: int, seed: int, kind: str | None = None) -> tuple[Case, Path]:
    """Write the files of case `number` of a seed below `work`; `kind` overrides its kind."""
    chance = random.Random(f"{seed} {number}")
    weights = [weight for weight, _ in KINDS.values()]
    (chosen,) = chance.choices(list(KINDS), weights)
    case = Case(number, kind or chosen, "")
    place = work / "cases" / f"{number:05d}"
    shutil.rmtree(place, ignore_errors=True)
    (place / "out").mkdir(parents=True)
    base = work / "base"
    shutil.copytree(base, place / "in", ignore=shutil.ignore_patterns("vgg*", "*output*"))
    (place / "in/vgg.safetensors").symlink_to(base / "vgg.safetensors")
    KINDS[case.kind][1](case, place, chance)
    return case, place
