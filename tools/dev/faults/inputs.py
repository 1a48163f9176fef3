"""Programs on damaged inputs: each case is drawn from a seed, and can be run again alone.

A case copies sound files, damages one or two of them, and runs a program on them in a process of
its own. It fails where the program prints a traceback, hangs, ends with an exit code that is none
of the program's own, ends badly without a line that starts with `error:`, runs code from a file, or
changes a file that it was given.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import runpy
import shutil
import signal
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from options.run import RUN_FIELDS, TestOptions, option_fields
from tools.dev.faults.damage import NUMBERS, damage
from tools.dev.faults.training import ALLOWED_EXITS, HANG_SECONDS, ROOT, TRACEBACK, TinyRun
from training.tensor_file import write_tensors

MEMORY = 12 << 30  # bytes that a program may ask for, so that one that reads too much is found
SHOWN = 700  # characters of a failed case's output
HASHED = 64 << 20  # larger files are compared by size and time
PROGRAMS = {
    "train": "train.py",
    "test": "test.py",
    "convert": "tools.convert_checkpoint",
    "filter": "tools.filter_dataset",
    "demo": "tools.make_demo_data",
}


@dataclass
class Case:
    """One program, its arguments, and what was done to its files."""

    number: int
    kind: str
    program: str
    arguments: list[str] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)
    belongings: list[str] = field(default_factory=list)  # a person's files among the outputs
    fault: str = ""
    seconds: float = 0.0
    code: int | None = None


def build_base(work: Path) -> Path:
    """Sound files of every kind in `work`/base: a dataset, a trained run, weights in each form."""
    base = work / "base"
    if (base / "ready").is_file():
        return base
    shutil.rmtree(base, ignore_errors=True)
    run = TinyRun(base, "I 1 4 total 1e-3", "II 2 4 selection_1 1e-3", minutes=0.001)
    code, output = run.finish(base / "results")
    assert code == 0, output
    shutil.rmtree(base / "results/r/submission")
    weights = max((base / "results/r/checkpoints").glob("generator-*.safetensors"))
    shutil.copy(weights, base / "snapshot.safetensors")
    words = [str(base / "snapshot.safetensors"), str(base / "weights.pth"), "--to", "torch"]
    code, output = _run_alone("convert", words, base)
    assert code == 0, output
    _write_vgg(base / "vgg.safetensors")
    (base / "ready").touch()
    return base


def _write_vgg(path: Path) -> None:
    """Weights of VGG-19's shapes; only the first row of each is not zero."""
    arrays, channels = {}, 3
    widths = {0: 64, 2: 64, 5: 128, 7: 128} | dict.fromkeys((10, 12, 14, 16), 256)
    for index, width in (widths | dict.fromkeys((19, 21, 23, 25, 28), 512)).items():
        weight = np.zeros((width, channels, 3, 3), np.float32)
        weight[0] = 0.1
        arrays[f"features.{index}.weight"] = weight
        arrays[f"features.{index}.bias"] = np.zeros(width, np.float32)
        channels = width
    write_tensors(path, arrays, {})


# --- the cases: each damages files below `place` and sets program and arguments


def _pick(folder: Path, random: random.Random) -> Path:
    return random.choice(sorted(folder.iterdir()))


def _hurt(case: Case, path: Path, kind: str, random: random.Random) -> None:
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
    """Photographs and labels of a dataset, trained on or cleaned."""
    for _ in range(random.choice([1, 1, 3])):
        kind = random.choice(["label", "photo"])
        folder = {"label": "labels", "photo": "imgs"}[kind]
        _hurt(case, _pick(place / "in/data/train" / folder, random), kind, random)
    if random.random() < 0.4:
        case.program = "filter"
        case.arguments = ["--input_path", "in/data", "--output_path", "out/chosen"]
        return
    _train(case, "--bad-pair-limit", random.choice(["0", "0.05", "1"]))


def of_layouts(case: Case, place: Path, random: random.Random) -> None:
    """Layouts and style photographs that a submission is made from."""
    kind = random.choice(["label", "label", "photo"])
    folder = {"label": "val/labels", "photo": "train/imgs"}[kind]
    for _ in range(random.choice([1, 2])):
        _hurt(case, _pick(place / "in/data" / folder, random), kind, random)
    _test(case)


def of_tables(case: Case, place: Path, random: random.Random) -> None:
    """label_to_img.json and the demo dataset's own JSON."""
    _hurt(case, place / "in/data/label_to_img.json", "json", random)
    _test(case)
    if random.random() < 0.2:
        _hurt(case, place / "in/data/demo_data.json", "json", random)
        case.program = "demo"
        case.arguments = ["--output_path", "in/data", "--count", "12", "--size", "32", "48"]


def of_lists(case: Case, place: Path, random: random.Random) -> None:
    """Selections, keep.txt and drop.txt, thresholds.json, what was measured."""
    folder = place / "in/data/selections"
    if random.random() < 0.5:
        _hurt(case, folder / f"{random.choice(['total', 'selection_1'])}.txt", "text", random)
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
        _hurt(case, place / "in/thresholds.json", "json", random)
        case.arguments += ["--thresholds", "in/thresholds.json"]
        return
    path.write_text("\n".join(stems[:4]) + "\n")
    _hurt(case, path, "text", random)


def of_schedules(case: Case, place: Path, random: random.Random) -> None:
    """Schedules, most of them without the training."""
    for _ in range(random.choice([1, 1, 4])):
        _hurt(case, place / "in/schedule.txt", "text", random)
    _train(case, *random.choice([["--dry-run"], ["--dry-run"], ["--epoch-images", "4"]]))


def of_snapshots(case: Case, place: Path, random: random.Random) -> None:
    """A generator's snapshot, drawn with or converted."""
    _hurt(case, place / "in/snapshot.safetensors", "tensors", random)
    _test(case)
    if random.random() < 0.4:
        case.program = "convert"
        case.arguments = ["in/snapshot.safetensors", "out/weights.pth", "--to", "torch"]


def of_states(case: Case, place: Path, random: random.Random) -> None:
    """Files of a run that is resumed."""
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
    _hurt(case, path, kinds[path], random)
    # one epoch more, so that there is something to resume for
    with open(place / "in/schedule.txt", "a") as schedule:
        schedule.write("III 3 4 total 1e-3\n")
    _train(case)


def of_torch_files(case: Case, place: Path, random: random.Random) -> None:
    """Published weights to convert."""
    _hurt(case, place / "in/weights.pth", "torch", random)
    case.program = "convert"
    case.arguments = ["in/weights.pth", "out/converted.safetensors"]


def of_vgg(case: Case, place: Path, random: random.Random) -> None:
    """Weights of the perceptual loss."""
    path = place / "in/vgg.safetensors"
    path.unlink()  # a link to the one of the base
    shutil.copy(place.parents[1] / "base/vgg.safetensors", path)
    _hurt(case, path, "tensors", random)
    _train(case, "--lambda-vgg", "1", "--vgg-weights", str(path.relative_to(place)))


def of_flags(case: Case, place: Path, random: random.Random) -> None:
    """Flags and values that nobody has thought of; nothing is trained."""
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


# What each program writes, relative to a case's folder.
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


def of_belongings(case: Case, place: Path, random: random.Random) -> None:
    """A person's files where a program writes, under the very names that it would write."""
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
            (place / "elsewhere").write_text("a person's")
            path.symlink_to(place / "elsewhere")
            case.belongings.append("elsewhere")
        else:
            path.write_bytes(random.choice([b"", b"a person's\n", random.randbytes(5000)]))
        case.belongings.append(name)
        case.damages.append(f"{name}: was there")


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
    "belongings": (10, of_belongings),
}


# --- running them


def prepare_case(work: Path, number: int, seed: int, kind: str | None = None) -> tuple[Case, Path]:
    """Write the files of case `number` of a seed below `work`; `kind` takes all from one kind."""
    drawn = random.Random(f"{seed} {number}")
    weights = [weight for weight, _ in KINDS.values()]
    (chosen,) = drawn.choices(list(KINDS), weights)
    case = Case(number, kind or chosen, "")
    place = work / "cases" / f"{number:05d}"
    shutil.rmtree(place, ignore_errors=True)
    (place / "out").mkdir(parents=True)
    base = work / "base"
    shutil.copytree(base, place / "in", ignore=shutil.ignore_patterns("vgg*", "*output*"))
    (place / "in/vgg.safetensors").symlink_to(base / "vgg.safetensors")
    KINDS[case.kind][1](case, place, drawn)
    return case, place


def run_case(case: Case, place: Path) -> None:
    """Run a case's program and judge what it did; the answer is in the case."""
    before = _fingerprints(place / "in")
    owned = {name: _fingerprint(place / name) for name in case.belongings}
    started = time.monotonic()
    case.code, output = _run_alone(case.program, case.arguments, place)
    case.seconds = time.monotonic() - started
    case.fault = _fault(case.code, output)
    after = _fingerprints(place / "in")
    changed = [name for name in before if after.get(name) != before[name]]
    changed += [name for name in owned if _fingerprint(place / name) != owned[name]]
    if changed:
        case.fault += f"changed {changed[0]!r}. "
    new = [name for name in after if name not in before and not name.startswith(NEW_INPUTS)]
    if new:
        case.fault += f"wrote {new[0]!r} among the inputs. "
    if any(place.rglob("pwned")):
        case.fault += "ran code from a file. "
    if case.fault:
        case.fault += "Output: " + output[-SHOWN:]


# What a training may write beside a dataset: its selections.
NEW_INPUTS = ("data/selections",)


def _fault(code: int | None, output: str) -> str:
    if code is None:
        return f"hangs for over {HANG_SECONDS:g} s. "
    found = "a traceback. " if TRACEBACK in output else ""
    if code not in ALLOWED_EXITS:
        found += f"exit code {code}. "
    elif code and not any(line.startswith("error: ") for line in output.splitlines()):
        found += f"exit code {code} without a line `error: ...`. "
    return found


def _fingerprints(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): _fingerprint(path) for path in folder.rglob("*")}


def _fingerprint(path: Path) -> str:
    """Kind and content of what a path names; links are not followed."""
    try:
        status = path.lstat()
    except OSError:
        return "missing"
    kind = f"{stat.S_IFMT(status.st_mode):o} "
    if stat.S_ISLNK(status.st_mode):
        return kind + os.readlink(path)
    if not stat.S_ISREG(status.st_mode):
        return kind
    if status.st_size < HASHED:
        return kind + hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{kind}{status.st_size} {status.st_mtime_ns}"


def _run_alone(program: str, arguments: list[str], place: Path) -> tuple[int | None, str]:
    """Run a program in a fork of this process: everything but Jittor is imported there already."""
    sys.stdout.flush()
    sys.stderr.flush()
    log = place / "output.txt"
    child = os.fork()
    if child == 0:
        os.setsid()
        _become(program, arguments, place, log)
    deadline = time.monotonic() + HANG_SECONDS
    code: int | None = None
    while code is None:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > deadline:
            break
        else:
            time.sleep(0.01)
    _end_session(child)
    if code is None:
        os.waitpid(child, 0)
    return code, log.read_text(errors="replace")


def _become(program: str, arguments: list[str], place: Path, log: Path) -> None:
    code = 70
    try:
        os.chdir(place)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        empty = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((empty, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        sys.stdout = open(1, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        name = PROGRAMS[program]
        sys.argv = [name, *arguments]
        if name.endswith(".py"):
            runpy.run_path(str(ROOT / name), run_name="__main__")
        else:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _end_session(session: int) -> None:
    """Kill what a case has left behind: all processes of its session, and no other."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError, ProcessLookupError):
            if int(path.read_text().rpartition(")")[2].split()[3]) == session:
                os.kill(int(path.parent.name), signal.SIGKILL)


def campaign(
    work: Path, numbers: Iterable[int], seed: int, kind: str | None = None
) -> Iterator[Case]:
    """Run the cases of these numbers, and keep the files of those that fail."""
    build_base(work)
    for number in numbers:
        case, place = prepare_case(work, number, seed, kind)
        run_case(case, place)
        if not case.fault:
            shutil.rmtree(place)
        yield case


def count(cases: Iterable[Case]) -> dict[str, Counter[str]]:
    """How many cases of each kind ended how."""
    found: dict[str, Counter[str]] = {}
    for case in cases:
        counter = found.setdefault(case.kind, Counter())
        counter["tried"] += 1
        counter["failed" if case.fault else f"exit {case.code}"] += 1
    return found
