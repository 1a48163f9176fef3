"""Tests a GPU before a long run: stages that write a JSON report, plots and logs.

    python -m tools.dev.gpu_acceptance doctor
    python -m tools.dev.gpu_acceptance phases-tsit              20 steps of every phase of `main`
    python -m tools.dev.gpu_acceptance phases-spade
    python -m tools.dev.gpu_acceptance speed --torch-python P   comparison with PyTorch
    python -m tools.dev.gpu_acceptance precision                200 steps in each precision
    python -m tools.dev.gpu_acceptance train --data DIR         a real run with samples and curves
    python -m tools.dev.gpu_acceptance resume --data DIR        kill and resume

No stage needs internet access. Each stage ends within --minutes and adds its results to report.json
in --output_path while it runs. That folder stays small: report.json, speed.json, three images and
two logs. The runs are in --runs_path. Exit code 1: the stage found a problem. Flags of train.py
follow after `--`.
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

from data.files import write_text
from data.ownership import check_claim, claim_folder
from options.errors import UserError
from options.groups import Precision
from options.schedule import load_schedule
from runtime import ROOT
from runtime.cuda import Driver, ask_driver
from runtime.program import ToolParser, exit_codes
from tools.dev.acceptance.curves import render_curves, total_losses
from tools.dev.acceptance.processes import read_stats, run_limited, tail_of, wait_until

KIND = "report of tools.dev.gpu_acceptance"  # its name in the folder's marker
FIX = "name another --output_path"
OUTPUT, RUNS = "results/gpu_acceptance", "results/gpu_acceptance_runs"
GENERATORS = ("spade", "tsit")
STAGES = ("doctor", "phases-tsit", "phases-spade", "speed", "precision", "train", "resume")
# Without runtime.supervise: a stage kills the training process itself.
TRAIN = "import sys, train; sys.exit(train.main(sys.argv[1:]))"
# Limit for the losses of a step before the kill and after it: a GPU sums in no fixed order.
RESUME_LIMIT = 0.05
# Limit for the mean losses of the last quarter of the steps against float32's, over the largest of
# these. Trainings that differ in rounding drift apart slowly; an unstable one diverges.
DRIFT_LIMIT = 0.25
PRECISIONS = get_args(Precision)

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Inputs of a stage: device, sizes, folders, and its deadline."""

    device: str
    output: Path
    runs: Path
    deadline: float
    size: tuple[int, int]
    num_downsamples: int
    channels: int
    steps: int | None
    rounds: int
    generators: tuple[str, ...]
    torch_python: str | None
    data: str | None
    train_flags: tuple[str, ...]

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()


@exit_codes(stopped="stopped; the results so far are in the report")
def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0; 1 if the stage found a problem, 2 for a user error."""
    given = list(sys.argv[1:] if argv is None else argv)
    split = given.index("--") if "--" in given else len(given)
    arguments = parse_arguments(given[:split])
    plan = Plan(
        device=arguments.device,
        output=Path(arguments.output_path).resolve(),
        runs=Path(arguments.runs_path).resolve(),
        deadline=time.monotonic() + 60 * arguments.minutes,
        size=tuple(arguments.size),
        num_downsamples=arguments.num_downsamples,
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
    """Parse the flags of every stage."""
    parser = ToolParser("tools.dev.gpu_acceptance", __doc__)
    add = parser.add_argument
    add("stage", choices=STAGES, metavar="STAGE", help=f"one of {', '.join(STAGES)}")
    add("--output_path", default=OUTPUT, metavar="DIR", help=f"the report ({OUTPUT})")
    add("--runs_path", default=RUNS, metavar="DIR", help=f"the runs ({RUNS})")
    add("--minutes", type=float, default=9.0, metavar="M", help="time limit of the stage (9)")
    add("--device", choices=("cpu", "cuda"), default="cuda", help="device of the stage (cuda)")
    add(
        "--size", type=int, nargs=2, default=(384, 512), metavar=("H", "W"),
        help="of the images (384 512)",
    )  # fmt: skip
    add("--num-downsamples", type=int, default=7, metavar="N", help="depth of the generator (7)")
    add("--channels", type=int, default=64, metavar="N", help="base channels (64)")
    add("--steps", type=int, metavar="N", help="steps per phase (20) or per precision (200)")
    add("--rounds", type=int, default=3, metavar="N", help="processes per network and pass (3)")
    add(
        "--generators", nargs="+", choices=GENERATORS, default=GENERATORS,
        help="of speed and precision (spade tsit)",
    )  # fmt: skip
    add("--torch-python", metavar="PYTHON", help="a Python with torch (this one)")
    add("--data", metavar="DIR", help="folder of training pairs, for train and resume")
    return parser.parse_args(argv)


def add_to_report(path: Path, stage: str, plan: Plan, result: Row) -> None:
    """Add the result of a stage to the report."""
    report = json.loads(path.read_text()) if path.is_file() else {}
    entry = {"device": plan.device, "gpu": describe_gpu(), **result}
    write_text(path, json.dumps(report | {stage: entry}, indent=1) + "\n")


def note(plan: Plan, stage: str, rows: Sequence[Row]) -> None:
    """Save the results so far: the stage may be killed."""
    add_to_report(plan.output / "report.json", stage, plan, {"ok": False, "so_far": list(rows)})


def describe_gpu() -> str | None:
    """Name, memory and driver version of the GPU by nvidia-smi; without it, the driver's names."""
    command = [
        "nvidia-smi",
        "--query-gpu=name,memory.total,driver_version",
        "--format=csv,noheader",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        answer = ask_driver()
        return ", ".join(answer.devices) if isinstance(answer, Driver) else None
    return done.stdout.strip() or None


def run_doctor(plan: Plan) -> Row:
    """Run tools.doctor --gpu and keep its report."""
    command = [sys.executable, "-m", "tools.doctor", "--gpu", "--json", "--device", plan.device]
    done = run_limited(command, plan.left)
    try:
        report: Row = json.loads(done.stdout)
    except ValueError:
        return {"ok": False, "message": done.text()}
    for finding in report["findings"]:
        if finding["status"] == "fault":
            print(f"fault: {finding['name']}: {finding['value']}")
    return report


def run_phases(plan: Plan, generator: str) -> Row:
    """Time steps of every phase of `main`, with VGG (random weights) and EMA."""
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
    """Median seconds per step and peak memory; `message` if the program failed."""
    command = [sys.executable, "-m", "tools.dev.benchmarks.time_network", "--complete"]
    command += ["--generator", generator, "--pass", "step", "--batch", str(phase.batch_size)]
    command += ["--size", *map(str, plan.size), "--num-downsamples", str(plan.num_downsamples)]
    command += ["--channels", str(plan.channels), "--rounds", str(plan.steps or 20)]
    done = run_limited([*command, "--device", plan.device], plan.left)
    lines = done.stdout.strip().splitlines()
    if done.code != 0 or not lines:
        return {"message": done.text()}
    result = json.loads(lines[-1])
    seconds = sorted(result.pop("seconds"))
    return {"seconds": seconds[len(seconds) // 2], "steps": len(seconds), **result}


def run_speed(plan: Plan) -> Row:
    """Compare forward pass and step of each network with PyTorch, both in float32."""
    path = plan.output / "speed.json"
    path.unlink(missing_ok=True)
    flags = ["speed", "--device", plan.device, "--size", *map(str, plan.size)]
    flags += ["--num-downsamples", str(plan.num_downsamples)]
    flags += ["--channels", str(plan.channels), "--batch", "2"]
    flags += ["--rounds", str(plan.rounds), "--repeats", "10", "--json", str(path)]
    flags += ["--generators", *plan.generators]
    if plan.torch_python:
        flags += ["--torch-python", plan.torch_python]
    # by default each would use TF32 under different rules
    command = ["env", "NVIDIA_TF32_OVERRIDE=0", sys.executable, "-m", "tools.dev.benchmark", *flags]
    done = run_limited(command, plan.left)
    print(done.stdout, end="")
    if done.code != 0 or not path.is_file():
        return {"ok": False, "message": done.text()}
    rows = json.loads(path.read_text())
    return {"ok": all("ratio" in row for row in rows), "rows": rows}


def run_precision(plan: Plan) -> Row:
    """Run the same steps in each precision; losses must be finite and near float32's."""
    rows: list[Row] = []
    for index, precision in enumerate(PRECISIONS):
        seconds = plan.left / (len(PRECISIONS) - index)
        command = [sys.executable, "-m", "tools.dev.benchmarks.short_run", "--precision", precision]
        command += ["--generator", plan.generators[0], "--steps", str(plan.steps or 200)]
        command += ["--size", *map(str, plan.size), "--num-downsamples", str(plan.num_downsamples)]
        command += ["--channels", str(plan.channels), "--device", plan.device]
        done = run_limited([*command, "--seconds", str(max(1.0, seconds - 15))], seconds)
        lines = done.stdout.strip().splitlines()
        if done.code in (0, 1) and lines and lines[-1].startswith("{"):
            rows.append(json.loads(lines[-1]))
        else:
            # exit code 2: this GPU or CUDA lacks the precision, which is no fault
            refused = done.code == 2 and precision != "float32"
            rows.append({"precision": precision, "refused" if refused else "message": done.text()})
        rows[-1] |= compare_runs(rows[0], rows[-1])
        print(json.dumps({k: v for k, v in rows[-1].items() if k != "losses"}), flush=True)
        note(plan, "precision", rows)
    trained = [row for row in rows if row.get("steps")]
    if trained:
        render_curves(total_losses(trained), together=True).save(plan.output / "precision.png")
    ok = not any("message" in row or row.get("drift", 0) > DRIFT_LIMIT for row in rows)
    return {"ok": ok, "generator": plan.generators[0], "rows": rows}


def compare_runs(full: Row, other: Row) -> Row:
    """The drift of a precision's losses from float32's, and its speed relative to float32."""
    if not (full.get("seconds") and other.get("seconds")):
        return {}
    # over the same steps, if one run stopped early
    steps = min(full["steps"], other["steps"])
    count = max(1, steps // 4)

    def means(row: Row) -> list[float]:
        return [sum(values[steps - count : steps]) / count for values in row["losses"].values()]

    expected = means(full)
    pairs = zip(expected, means(other), strict=True)
    drift = max(abs(a - b) for a, b in pairs) / max(*map(abs, expected), 1e-6)
    return {"drift": drift, "float32_over_this": full["seconds"] / other["seconds"]}


def run_training(plan: Plan) -> Row:
    """Train until shortly before the deadline, stop with SIGINT, keep curves and a sample sheet."""
    folder = plan.runs / "train"
    with training(plan, "train", ["--sample-every", "200", "--log-every", "5"]) as process:
        # the last checkpoint and sample sheet take time
        wait_until(lambda: plan.left < 60, process)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        code = process.wait(timeout=max(30.0, plan.left))
    records = read_stats(folder / "stats.jsonl")
    sheets = sorted((folder / "samples").glob("*.png"))
    if records:
        render_curves(records).save(plan.output / "losses.png")
    if sheets:
        shutil.copyfile(sheets[-1], plan.output / "samples.png")
    row: Row = {"ok": code in (0, 130) and len(records) > 1, "code": code}
    if not row["ok"]:
        return row | {"message": tail_of(plan.output / "train.log")}
    last = records[-1]
    row |= {"steps": last["step"], "images_per_second": last["images_per_second"]}
    return row | {"first_losses": records[0]["losses"], "last_losses": last["losses"]}


def run_resume(plan: Plan) -> Row:
    """Kill a run after a checkpoint, resume it, and compare the steps that it repeats."""
    # A new name each time: the folder of an earlier run may hold the user's files by now.
    names = ("resume", *(f"resume-{number}" for number in range(2, 10_000)))
    name = next(name for name in names if not os.path.lexists(plan.runs / name))
    folder = plan.runs / name
    flags = ["--log-every", "1", "--checkpoint-minutes", "0.02"]

    def saved() -> int:
        steps = [int(p.name.removeprefix("state-")) for p in folder.glob("checkpoints/state-*")]
        return max(steps, default=0)

    def logged() -> dict[int, Mapping[str, float]]:
        return {record["step"]: record["losses"] for record in read_stats(folder / "stats.jsonl")}

    with training(plan, name, flags) as process:
        wait_until(lambda: plan.left < 60 or 0 < saved() <= max(logged(), default=0) - 2, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    checkpoint, before = saved(), logged()
    if not 0 < checkpoint <= max(before, default=0) - 2:
        return {"ok": False, "message": tail_of(plan.output / f"{name}.log")}
    last = max(before)
    with training(plan, name, flags) as process:
        wait_until(lambda: plan.left < 30 or max(logged(), default=0) > last, process)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(timeout=max(30.0, plan.left))
    after = logged()
    repeated = [step for step in range(checkpoint + 1, last + 1) if step in after]
    differences = [compare_losses(before[step], after[step]) for step in repeated]
    complete = list(range(1, last + 1)) == [step for step in sorted(after) if step <= last]
    # the first difference is rounding, which training then amplifies
    ok = bool(differences) and differences[0] <= RESUME_LIMIT and complete
    row: Row = {
        "ok": ok,
        "checkpoint": checkpoint,
        "killed_after": last,
        "every_step_once": complete,
    }
    return row | {"differences": dict(zip(repeated, differences, strict=True))}


def compare_losses(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """The largest difference of two steps' losses, over the largest loss."""
    scale = max(*map(abs, first.values()), 1e-6)
    return max(abs(first[name] - second[name]) for name in first) / scale


@contextlib.contextmanager
def training(plan: Plan, name: str, flags: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a training process that logs to NAME.log; kill it at the end of the block."""
    if plan.data is None:
        raise UserError(
            f"--data: expected a dataset for the stage {name}, got none. Add --data DIR."
        )
    command = [sys.executable, "-c", TRAIN, "--data", str(Path(plan.data).resolve())]
    command += ["--name", name, "--results-path", str(plan.runs)]
    command += ["--device", plan.device, *flags, *plan.train_flags]
    # written directly: the log of a killed process must be complete
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
