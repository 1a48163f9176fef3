"""Trainings that are killed or meet disk faults, compared with an unbroken training.

Each function returns a `Row` of the campaign's table: the number of attempts, and the failures.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runtime import ROOT
from tools.dev.faults.processes import HANG_SECONDS
from tools.dev.faults.shim import FaultKind, Shim, end
from training.checkpoint import find_state
from weights.safetensors_file import read_metadata, read_tensors

ALLOWED_EXITS = (0, 1, 2, 130, 143)
TRACEBACK = "Traceback (most recent call last)"
FLAGS = """--size 32 48
--num-downsamples 4
--channels 2
--discriminator-channels 2
--discriminator-layers 2
--lambda-vgg 0
--log-every 1
--sample-every 50
--workers 1
--device cpu
"""
COLUMNS = "phase  last_epoch  batch_size  subset  learning_rate"


@dataclass
class Row:
    """One line of the campaign's table."""

    what: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ""

    def to_dict(self) -> dict[str, object]:
        """JSON form."""
        return {
            "what": self.what,
            "tried": self.tried,
            "failures": self.failures,
            "note": self.note,
        }


class TinyRun:
    """A dataset, a schedule and the command of a training that takes seconds."""

    def __init__(self, work: Path, *phases: str, minutes: float) -> None:
        self.work = work
        self.data = work / "data"
        self.schedule = work / "schedule.txt"
        self.minutes = minutes
        work.mkdir(parents=True, exist_ok=True)
        # A child process renders: OpenCV's threads do not survive the forks of the input cases.
        words = ["--output_path", str(self.data), "--count", "12", "--test-count", "2"]
        command = [sys.executable, "-m", "tools.make_demo_data", *words, "--size", "32", "48"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        self.schedule.write_text("\n".join([FLAGS, COLUMNS, *phases, ""]))

    def command(self, results: Path, seed: int = 0) -> list[str]:
        """The command that starts and resumes the run `r` below `results`."""
        words = [sys.executable, str(ROOT / "train.py"), "--data", str(self.data)]
        words += ["--schedule", str(self.schedule), "--seed", str(seed), "--name", "r"]
        words += ["--results-path", str(results), "--checkpoint-minutes", f"{self.minutes:g}"]
        return words

    def start(
        self, results: Path, seed: int = 0, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start it; its output goes to a file next to the run."""
        results.mkdir(parents=True, exist_ok=True)
        with open(results.with_name(results.name + "-output.txt"), "w") as output:
            return subprocess.Popen(
                self.command(results, seed),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | (environment or {}),
                text=True,
                start_new_session=True,
            )

    def finish(
        self, results: Path, seed: int = 0, environment: dict[str, str] | None = None
    ) -> tuple[int | None, str]:
        """Run it to its end; return the exit code, None if it hangs, and the output."""
        process = self.start(results, seed, environment)
        code: int | None = None
        try:
            code = process.wait(timeout=20 * HANG_SECONDS)
        except subprocess.TimeoutExpired:
            end(process)
        return code, results.with_name(results.name + "-output.txt").read_text(errors="replace")


def differences(results: Path, reference: Path) -> list[str]:
    """How a finished run differs from an unbroken one: in weights, state or losses per step.

    Compares the last snapshot and those that both runs wrote after the same step. Snapshots in the
    middle of an epoch depend on the clock.
    """
    found: list[str] = []
    ours, theirs = results / "r/checkpoints", reference / "r/checkpoints"
    steps, wanted = (
        {path.name: read_metadata(path)["step"] for path in place.glob("generator-*.safetensors")}
        for place in (ours, theirs)
    )
    last = max(wanted)
    names = sorted(name for name in wanted if name == last or steps.get(name) == wanted[name])
    mine, other = find_state(ours), find_state(theirs)
    assert mine is not None and other is not None
    pairs = [(ours / name, theirs / name) for name in names]
    pairs.append((mine.path / "state.safetensors", other.path / "state.safetensors"))
    for path, expected in pairs:
        if not path.is_file():
            found.append(f"{path.name} is missing")
            continue
        one, two = read_tensors(path)[0], read_tensors(expected)[0]
        if one.keys() != two.keys():
            found.append(f"{path.name} has other names")
        unequal = [n for n in one if n in two and not np.array_equal(one[n], two[n])]
        found += [f"{path.name}: {len(unequal)} tensors differ"] if unequal else []
    if _losses(results) != _losses(reference):
        found.append("stats.jsonl: losses differ")
    return found


def _losses(results: Path) -> list[tuple[int, dict[str, float]]]:
    lines = (results / "r/stats.jsonl").read_text().splitlines()
    return [(record["step"], record["losses"]) for record in map(json.loads, lines)]


def kill_at_random(work: Path, kills: int, seed: int) -> Row:
    """SIGKILL a training and all its processes at random moments, and restart it until it ends.

    Repeats this with one run per seed, compared with an unbroken run of that seed, until the number
    of kills is `kills`.
    """
    row = Row("SIGKILL of all processes at a random moment of a training")
    random_moment = random.Random(seed)
    run = TinyRun(work, "I 12 2 total 1e-3", "II 24 4 total 2e-3", minutes=0.01)
    runs = kills_in_training = 0
    while row.tried < kills:
        reference, results = work / f"unbroken-{runs}", work / f"killed-{runs}"
        started = time.monotonic()
        process = run.start(reference, runs)
        while process.poll() is None and not (reference / "r/stats.jsonl").is_file():
            time.sleep(0.05)
        to_first_step = time.monotonic() - started
        if process.wait() != 0:
            output = reference.with_name(reference.name + "-output.txt").read_text()
            row.failures.append(f"unbroken run, seed {runs}: exit {process.returncode}: {output}")
            break
        ended = False
        while not ended:
            process = run.start(results, runs)
            try:
                # half of the moments are in the start, half in steps and checkpoints
                process.wait(timeout=random_moment.uniform(0.0, 2 * to_first_step))
                ended = True
            except subprocess.TimeoutExpired:
                end(process)
                row.tried += 1
                kills_in_training += (results / "r/checkpoints/state").is_file()
        printed = results.with_name(results.name + "-output.txt").read_text()
        if process.returncode != 0 or TRACEBACK in printed:
            row.failures.append(f"seed {runs}: exit {process.returncode}: {printed[-300:]}")
        else:
            row.failures += [f"seed {runs}: {text}" for text in differences(results, reference)]
        runs += 1
    row.note = f"{runs} runs, each bit-equal; {kills_in_training} kills after a first checkpoint"
    return row


def _spread(calls: int, wanted: int) -> Iterator[int]:
    """`wanted` evenly spaced numbers of 1..calls, or all."""
    count = min(wanted, calls)
    return (1 + index * calls // count for index in range(count))


def fault_points(work: Path, wanted: int, kind: FaultKind) -> Row:
    """Inject one fault per training into a change of the file system, at `wanted` calls.

    After each fault the same command must end with the weights of an unbroken run.
    """
    titles = {
        "kill": "SIGKILL before a change of the file system",
        "tear": "SIGKILL in the middle of one",
        "full": "disk full from one change on",
        "error": "one change fails with EIO",
    }
    row = Row(titles[kind])
    run = TinyRun(work, "I 2 4 total 1e-3", minutes=0.0001)
    shim = Shim(work)
    reference, results = work / "unbroken", work / kind
    if not (reference / "r/submission").is_dir():
        shutil.rmtree(reference, ignore_errors=True)
        code, output = run.finish(reference)
        if code != 0:
            row.failures.append(f"unbroken run: exit {code}: {output[-300:]}")
            return row
    shutil.rmtree(results, ignore_errors=True)
    run.finish(results, 0, shim.environment(results, 0, kind))
    calls = shim.calls()
    passed = 0
    for at in _spread(calls, wanted):
        shutil.rmtree(results, ignore_errors=True)
        code, output = run.finish(results, 0, shim.environment(results, at, kind))
        row.tried += 1
        killed = code in (137, -9)
        passed += code == 0
        place = f"call {at} of {calls}"
        if (kind in ("kill", "tear")) != killed and code != 0:
            row.failures.append(f"{place}: exit {code}: {output[-300:]}")
        if TRACEBACK in output or (not killed and code not in ALLOWED_EXITS):
            row.failures.append(f"{place}: exit {code}: {output[-800:]}")
        code, output = run.finish(results)
        if code != 0 or TRACEBACK in output:
            row.failures.append(f"{place}, resumed: exit {code}: {output[-800:]}")
            continue
        row.failures += [f"{place}, resumed: {text}" for text in differences(results, reference)]
    row.note = f"{calls} changes in all; {passed} runs ended normally despite the fault"
    return row
