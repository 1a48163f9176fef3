"""Runs programs on damaged inputs; a seed and a number identify each case.

A case runs a program in a separate process. It fails if the program prints a traceback, hangs, ends
with an undocumented exit code, ends with an error code but no line that starts with `error:`, runs
code from a file, or changes a file that it was given.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tools.dev.faults import processes
from tools.dev.faults.cases import Case, prepare_case
from tools.dev.faults.processes import run_alone
from tools.dev.faults.training import ALLOWED_EXITS, TRACEBACK, TinyRun
from weights.safetensors_file import write_tensors

SHOWN = 700  # characters of a failed case's output
HASHED = 64 << 20  # larger files are compared by size and time
# Training may write only selections into a dataset.
NEW_INPUTS = ("data/selections",)


def build_base(work: Path) -> Path:
    """Make intact files in `work`/base: a dataset, a trained run, weights in each format."""
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
    code, output = run_alone("convert", words, base)
    assert code == 0, output
    _write_vgg(base / "vgg.safetensors")
    (base / "ready").touch()
    return base


def _write_vgg(path: Path) -> None:
    """Write weights with VGG-19's shapes; only the first row of each is not zero."""
    arrays, channels = {}, 3
    widths = {0: 64, 2: 64, 5: 128, 7: 128} | dict.fromkeys((10, 12, 14, 16), 256)
    for index, width in (widths | dict.fromkeys((19, 21, 23, 25, 28), 512)).items():
        weight = np.zeros((width, channels, 3, 3), np.float32)
        weight[0] = 0.1
        arrays[f"features.{index}.weight"] = weight
        arrays[f"features.{index}.bias"] = np.zeros(width, np.float32)
        channels = width
    write_tensors(path, arrays, {})


def run_case(case: Case, place: Path) -> None:
    """Run the program of a case; record its exit code and its fault in the case."""
    before = fingerprints(place / "in")
    owned = {name: _fingerprint(place / name) for name in case.user_files}
    started = time.monotonic()
    case.code, output = run_alone(case.program, case.arguments, place)
    case.seconds = time.monotonic() - started
    case.fault = _fault(case.code, output)
    after = fingerprints(place / "in")
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


def _fault(code: int | None, output: str) -> str:
    if code is None:
        return f"hangs for over {processes.HANG_SECONDS:g} s. "
    found = "a traceback. " if TRACEBACK in output else ""
    if code not in ALLOWED_EXITS:
        found += f"exit code {code}. "
    elif code and not any(line.startswith("error: ") for line in output.splitlines()):
        found += f"exit code {code} without a line `error: ...`. "
    return found


def fingerprints(folder: Path) -> dict[str, str]:
    """Type and content of everything below a folder, by relative path."""
    return {str(path.relative_to(folder)): _fingerprint(path) for path in folder.rglob("*")}


def _fingerprint(path: Path) -> str:
    """Type and content of a path; links are not followed."""
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


def campaign(
    work: Path, numbers: Iterable[int], seed: int, kind: str | None = None
) -> Iterator[Case]:
    """Run the cases with these numbers; keep the files of failed cases."""
    build_base(work)
    for number in numbers:
        case, place = prepare_case(work, number, seed, kind)
        run_case(case, place)
        if not case.fault:
            shutil.rmtree(place)
        yield case


def count(cases: Iterable[Case]) -> dict[str, Counter[str]]:
    """Count the results of the cases, by kind and exit code."""
    found: dict[str, Counter[str]] = {}
    for case in cases:
        counter = found.setdefault(case.kind, Counter())
        counter["tried"] += 1
        counter["failed" if case.fault else f"exit {case.code}"] += 1
    return found
