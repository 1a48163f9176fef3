"""What has to be seen on a GPU before a long run: stages, a JSON and pictures. No network needed.

    python -m tools.gpu_acceptance doctor
    python -m tools.gpu_acceptance phases-tsit              20 steps of every phase of `main`
    python -m tools.gpu_acceptance phases-spade
    python -m tools.gpu_acceptance speed --torch-python P   against PyTorch, a network a call
    python -m tools.gpu_acceptance precision                200 steps in each precision
    python -m tools.gpu_acceptance train --data DIR         a real run, its pictures and curves
    python -m tools.gpu_acceptance resume --data DIR        killed, and gone on with

Each stage is a program of its own and keeps to --minutes; what it finds goes into report.json of
--output_path as it comes, beside that of the others. That folder stays small: report.json,
speed.json, three pictures and two logs; the runs themselves lie in --runs_path. Exit code 1 where a
stage found something wrong.
Flags of train.py stand at the end, after `--`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from PIL import Image, ImageDraw

from data.files import write_text
from data.ownership import check_claim, claim_folder
from options.errors import UserError
from options.run import Precision
from options.schedule import load_schedule
from tools.arguments import ToolParser, exit_codes
from tools.cuda import Driver, ask_driver

ROOT = Path(__file__).resolve().parents[1]
KIND = "report of tools.gpu_acceptance"  # as the marker of its folder calls it
FIX = "name another --output_path"
STAGES = ("doctor", "phases-tsit", "phases-spade", "speed", "precision", "train", "resume")
# not through tools.supervise: what is killed here is the training process itself
TRAIN = "import sys, train; sys.exit(train.main(sys.argv[1:]))"
# Losses of the same step before the kill and after it; sums of a GPU come in no fixed order.
RESUME_LIMIT = 0.05
# Mean losses of the last quarter of the steps against float32's, over the largest of these. Two
# trainings that differ in rounding drift apart; one that is unstable leaves.
DRIFT_LIMIT = 0.25
PRECISIONS = get_args(Precision)
COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189))

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a stage is given: device, sizes, folders, and the moment at which it must end."""

    device: str
    output: Path
    runs: Path
    deadline: float
    size: tuple[int, int]
    halvings: int
    channels: int
    steps: int | None
    rounds: int
    generators: tuple[str, ...]
    torch_python: str | None
    data: str | None
    train_flags: tuple[str, ...]

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()


@exit_codes(stopped="stopped; what is found is in the report")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where something is wrong, 2 for what the user must mend."""
    given = list(sys.argv[1:] if argv is None else argv)
    split = given.index("--") if "--" in given else len(given)
    arguments = parse_arguments(given[:split])
    plan = Plan(
        device=arguments.device,
        output=Path(arguments.output_path).resolve(),
        runs=Path(arguments.runs_path).resolve(),
        deadline=time.monotonic() + 60 * arguments.minutes,
        size=tuple(arguments.size),
        halvings=arguments.halvings,
        channels=arguments.channels,
        steps=arguments.steps,
        rounds=arguments.rounds,
        generators=tuple(arguments.generators),
        torch_python=arguments.torch_python,
        data=arguments.data,
        train_flags=tuple(given[split + 1 :]),
    )
    started = time.monotonic()
    check_claim(plan.output, KIND, FIX)
    try:
        claim_folder(plan.output, KIND)
        result = RUN[arguments.stage](plan)
    except OSError as error:
        raise UserError(str(error)) from None
    result["seconds"] = round(time.monotonic() - started, 1)
    add_to_report(plan.output / "report.json", arguments.stage, plan, result)
    print(f"{arguments.stage}: {'ok' if result['ok'] else 'WRONG'}, {result['seconds']} s")
    return 0 if result["ok"] else 1


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The flags of every stage."""
    parser = ToolParser("gpu_acceptance", __doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--output_path", default="results/gpu_acceptance", metavar="DIR")
    parser.add_argument("--runs_path", default="results/gpu_acceptance_runs", metavar="DIR")
    parser.add_argument("--minutes", type=float, default=9.0, help="the stage stops in time")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--size", type=int, nargs=2, default=(384, 512), metavar=("H", "W"))
    parser.add_argument("--halvings", type=int, default=7)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--steps", type=int, help="of a phase (20) or of a precision (200)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of ours and PyTorch's")
    parser.add_argument(
        "--generators", nargs="+", choices=("spade", "tsit"), default=("spade", "tsit")
    )
    parser.add_argument("--torch-python", help="a Python with torch; default this one")
    parser.add_argument("--data", help="folder of training pairs")
    return parser.parse_args(argv)


def add_to_report(path: Path, stage: str, plan: Plan, result: Row) -> None:
    """Put a stage's result beside those of the other stages."""
    report = json.loads(path.read_text()) if path.is_file() else {}
    entry = {"device": plan.device, "gpu": describe_gpu(), **result}
    write_text(path, json.dumps(report | {stage: entry}, indent=1) + "\n")


def note(plan: Plan, stage: str, rows: Sequence[Row]) -> None:
    """Put down what a stage has found so far: it may be ended from outside."""
    add_to_report(plan.output / "report.json", stage, plan, {"ok": False, "so_far": list(rows)})


def describe_gpu() -> str | None:
    """Name, memory and driver of the card, as nvidia-smi says them; else the driver's names."""
    command = [
        "nvidia-smi",
        "--query-gpu=name,memory.total,driver_version",
        "--format=csv,noheader",
    ]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        answer = ask_driver()
        return ", ".join(answer.devices) if isinstance(answer, Driver) else None
    return said.stdout.strip() or None


def run_doctor(plan: Plan) -> Row:
    """tools.doctor --gpu, as it is."""
    command = [sys.executable, "-m", "tools.doctor", "--gpu", "--json", "--device", plan.device]
    done = run_limited(command, plan.left)
    try:
        report: Row = json.loads(done.stdout)
    except ValueError:
        return {"ok": False, "said": done.text()}
    for finding in report["findings"]:
        if finding["status"] == "fault":
            print(f"fault: {finding['name']}: {finding['value']}")
    return report


def run_phases(plan: Plan, generator: str) -> Row:
    """Steps of every phase of `main`, complete with VGG (random weights) and the average."""
    rows: list[Row] = []
    for phase in load_schedule("main").phases:
        row: Row = {"phase": phase.name, "batch": phase.batch_size}
        same = [old for old in rows if old["batch"] == phase.batch_size]
        # a step does not depend on the subset or the learning rate
        rows.append({**same[0], **row} if same else row | time_steps(plan, generator, phase))
        print(json.dumps(rows[-1]), flush=True)
        note(plan, f"phases-{generator}", rows)
    return {"ok": all("seconds" in row for row in rows), "generator": generator, "rows": rows}


def time_steps(plan: Plan, generator: str, phase: Any) -> Row:
    """Median seconds a step, and the peak memory; `said` where it did not run to its end."""
    command = [sys.executable, "-m", "tools.benchmarks.time_network", "--complete"]
    command += ["--generator", generator, "--pass", "step", "--batch", str(phase.batch_size)]
    command += ["--size", *map(str, plan.size), "--halvings", str(plan.halvings)]
    command += ["--channels", str(plan.channels), "--rounds", str(plan.steps or 20)]
    done = run_limited([*command, "--device", plan.device], plan.left)
    lines = done.stdout.strip().splitlines()
    if done.code != 0 or not lines:
        return {"said": done.text()}
    result = json.loads(lines[-1])
    seconds = sorted(result.pop("seconds"))
    return {"seconds": seconds[len(seconds) // 2], "steps": len(seconds), **result}


def run_speed(plan: Plan) -> Row:
    """Forward and step of each network against PyTorch's, in turns, both in float32."""
    path = plan.output / "speed.json"
    path.unlink(missing_ok=True)
    flags = ["speed", "--device", plan.device, "--size", *map(str, plan.size)]
    flags += ["--halvings", str(plan.halvings), "--channels", str(plan.channels), "--batch", "2"]
    flags += ["--rounds", str(plan.rounds), "--repeats", "10", "--json", str(path)]
    flags += ["--generators", *plan.generators]
    if plan.torch_python:
        flags += ["--torch-python", plan.torch_python]
    # left alone, both would multiply in TF32, by rules of their own
    command = ["env", "NVIDIA_TF32_OVERRIDE=0", sys.executable, "-m", "tools.benchmark", *flags]
    done = run_limited(command, plan.left)
    print(done.stdout, end="")
    if done.code != 0 or not path.is_file():
        return {"ok": False, "said": done.text()}
    rows = json.loads(path.read_text())
    return {"ok": all("ratio" in row for row in rows), "rows": rows}


def run_precision(plan: Plan) -> Row:
    """The same steps in each precision; all finite, and the lower ones near float32's losses."""
    rows: list[Row] = []
    for index, precision in enumerate(PRECISIONS):
        seconds = plan.left / (len(PRECISIONS) - index)
        command = [sys.executable, "-m", "tools.benchmarks.short_run", "--precision", precision]
        command += ["--generator", plan.generators[0], "--steps", str(plan.steps or 200)]
        command += ["--size", *map(str, plan.size), "--halvings", str(plan.halvings)]
        command += ["--channels", str(plan.channels), "--device", plan.device]
        done = run_limited([*command, "--seconds", str(max(1.0, seconds - 15))], seconds)
        lines = done.stdout.strip().splitlines()
        if done.code in (0, 1) and lines and lines[-1].startswith("{"):
            rows.append(json.loads(lines[-1]))
        else:
            # exit code 2: this card or this CUDA has not got it, which is no fault
            refused = done.code == 2 and precision != "float32"
            rows.append({"precision": precision, "refused" if refused else "said": done.text()})
        rows[-1] |= compare_runs(rows[0], rows[-1])
        print(json.dumps({k: v for k, v in rows[-1].items() if k != "losses"}), flush=True)
        note(plan, "precision", rows)
    trained = [row for row in rows if row.get("steps")]
    if trained:
        draw_curves(total_losses(trained), together=True).save(plan.output / "precision.png")
    ok = not any("said" in row or row.get("drift", 0) > DRIFT_LIMIT for row in rows)
    return {"ok": ok, "generator": plan.generators[0], "rows": rows}


def compare_runs(full: Row, other: Row) -> Row:
    """How far the losses of a precision drifted from float32's, and how much faster it was."""
    if not (full.get("seconds") and other.get("seconds")):
        return {}
    # of the same steps, where one of them broke off
    steps = min(full["steps"], other["steps"])
    count = max(1, steps // 4)

    def means(row: Row) -> list[float]:
        return [sum(values[steps - count : steps]) / count for values in row["losses"].values()]

    expected = means(full)
    pairs = zip(expected, means(other), strict=True)
    drift = max(abs(a - b) for a, b in pairs) / max(*map(abs, expected), 1e-6)
    return {"drift": drift, "float32_over_this": full["seconds"] / other["seconds"]}


def total_losses(rows: Sequence[Row]) -> list[Row]:
    """The sum of the generator's and the discriminator's losses of each run, step by step."""
    steps = min(row["steps"] for row in rows)
    totals = {
        r["precision"]: [sum(v) for v in zip(*r["losses"].values(), strict=True)] for r in rows
    }
    return [
        {"step": step + 1, "losses": {name: values[step] for name, values in totals.items()}}
        for step in range(steps)
    ]


def run_training(plan: Plan) -> Row:
    """Train until the time is nearly up, stop as Ctrl-C does; keep curves and sample sheets."""
    folder = plan.runs / "train"
    with training(plan, "train", ["--sample-every", "200", "--log-every", "5"]) as process:
        # a checkpoint and a last sheet take their time
        wait_until(lambda: plan.left < 60, process)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        code = process.wait(timeout=max(30.0, plan.left))
    records = read_stats(folder / "stats.jsonl")
    sheets = sorted((folder / "samples").glob("*.png"))
    if records:
        draw_curves(records).save(plan.output / "losses.png")
    if sheets:
        shutil.copyfile(sheets[-1], plan.output / "samples.png")
    row: Row = {"ok": code in (0, 130) and len(records) > 1, "code": code}
    if not row["ok"]:
        return row | {"said": tail_of(plan.output / "train.log")}
    last = records[-1]
    row |= {"steps": last["step"], "images_per_second": last["images_per_second"]}
    return row | {"first_losses": records[0]["losses"], "last_losses": last["losses"]}


def run_resume(plan: Plan) -> Row:
    """Kill a run after a checkpoint, start it again, and compare the steps that it makes twice."""
    # Anew each time; a run that is there may have a person's files in it by now.
    names = ("resume", *(f"resume-{number}" for number in range(2, 10_000)))
    name = next(name for name in names if not os.path.lexists(plan.runs / name))
    folder = plan.runs / name
    flags = ["--log-every", "1", "--checkpoint-minutes", "0.02"]

    def saved() -> int:
        steps = [int(p.name.removeprefix("state-")) for p in folder.glob("checkpoints/state-*")]
        return max(steps, default=0)

    def seen() -> dict[int, Mapping[str, float]]:
        return {record["step"]: record["losses"] for record in read_stats(folder / "stats.jsonl")}

    with training(plan, name, flags) as process:
        wait_until(lambda: plan.left < 60 or 0 < saved() <= max(seen(), default=0) - 2, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    checkpoint, before = saved(), seen()
    if not 0 < checkpoint <= max(before, default=0) - 2:
        return {"ok": False, "said": tail_of(plan.output / f"{name}.log")}
    last = max(before)
    with training(plan, name, flags) as process:
        wait_until(lambda: plan.left < 30 or max(seen(), default=0) > last, process)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(timeout=max(30.0, plan.left))
    after = seen()
    twice = [step for step in range(checkpoint + 1, last + 1) if step in after]
    off = [compare_losses(before[step], after[step]) for step in twice]
    whole = list(range(1, last + 1)) == [step for step in sorted(after) if step <= last]
    # what differs at first is rounding, which training then lets grow
    ok = bool(off) and off[0] <= RESUME_LIMIT and whole
    row: Row = {"ok": ok, "checkpoint": checkpoint, "killed_after": last, "every_step_once": whole}
    return row | {"differences": dict(zip(twice, off, strict=True))}


def compare_losses(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """The largest difference of two steps' losses, over the largest loss."""
    scale = max(*map(abs, first.values()), 1e-6)
    return max(abs(first[name] - second[name]) for name in first) / scale


class Done:
    """A process that has ended: exit code (None at the limit), stdout and stderr."""

    def __init__(self, code: int | None, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    def text(self) -> str:
        """The end of what it said."""
        end = (self.stderr.strip() or self.stdout.strip())[-1000:]
        return end if self.code is not None else f"stopped at the time limit. {end}"


def run_limited(command: Sequence[str], seconds: float) -> Done:
    """Run a program of the project; it and all that it started end at the limit."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=max(1.0, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            return Done(None, stdout, stderr)
        return Done(process.returncode, stdout, stderr)


@contextlib.contextmanager
def training(plan: Plan, name: str, flags: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A training process of `main`'s network, its words in NAME.log; killed if it is left over."""
    if plan.data is None:
        raise UserError(f"stage {name} trains on a dataset: --data names none; give its folder")
    command = [sys.executable, "-c", TRAIN, "--data", str(Path(plan.data).resolve())]
    command += ["--name", name, "--results-path", str(plan.runs)]
    command += ["--device", plan.device, *flags, *plan.train_flags]
    # written as it comes: what a killed process has said must be there
    with open(plan.output / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for it, or for the end of the process."""
    while process.poll() is None and not condition():
        time.sleep(0.05)


def read_stats(path: Path) -> list[Row]:
    """The whole lines of stats.jsonl; a process may be writing the last one."""
    if not path.is_file():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def tail_of(path: Path) -> str:
    """The end of a log."""
    return path.read_text(errors="replace")[-1000:] if path.is_file() else ""


def draw_curves(records: Sequence[Row], *, together: bool = False) -> Image.Image:
    """The losses over the steps, each scaled to its own largest value, or to that of all."""
    width, height, margin = 960, 480, 40
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((margin, margin, width - margin, height - margin), outline="grey")
    last = max(record["step"] for record in records)
    every = [value for record in records for value in record["losses"].values()]
    draw.text((margin, height - margin + 6), f"step 0 .. {last}", fill="black")
    for index, name in enumerate(records[0]["losses"]):
        values = [record["losses"][name] for record in records]
        shown = every if together else values
        low, high = min(0.0, *shown), max(*shown, 1e-9)
        points = [
            (
                margin + (width - 2 * margin) * record["step"] / last,
                height - margin - (height - 2 * margin) * (value - low) / (high - low),
            )
            for record, value in zip(records, values, strict=True)
        ]
        colour = COLOURS[index % len(COLOURS)]
        draw.line(points, fill=colour, width=2)
        text = f"{name}: {low:.3g} .. {high:.3g}"
        draw.text((margin + 180 * index, 14), text, fill=colour)
    return picture


RUN: dict[str, Callable[[Plan], Row]] = {
    "doctor": run_doctor,
    "phases-tsit": lambda plan: run_phases(plan, "tsit"),
    "phases-spade": lambda plan: run_phases(plan, "spade"),
    "speed": run_speed,
    "precision": run_precision,
    "train": run_training,
    "resume": run_resume,
}


if __name__ == "__main__":
    sys.exit(main())
