"""Trains a few steps on drawn landscapes in one precision and prints what came of it as JSON.

    python -m tools.benchmarks.short_run --generator spade --precision bfloat16 --steps 200

Two precisions of the same seed start from the same weights and see the same pictures, so that their
losses tell whether the lower one is stable. On the CPU, which has float32 alone, the operands and
results of each product are rounded as a GPU would: slower, but the same arithmetic.

The line: steps, losses (a list for each), seconds (the median step, the first two left out), on a
GPU peak_gpu_mb, in float16 loss_scale; `said` where training broke off. Exit code 1 then.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from options.command_line import parse_train
from options.errors import UserError
from options.run import Precision, RunOptions
from tools.benchmarks.gpu_memory import PeakMemory

PAIRS = 16
CLASSES = 29
LEARNING_RATE = 2e-4
# The first compiles, the second fills the allocator.
UNCOUNTED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Train, print, and return 0; 1 where it broke off, 2 for what the user must mend."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", choices=("spade", "tsit"), default="spade")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=math.inf, help="break off after so long")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(384, 512), metavar=("H", "W"))
    parser.add_argument("--halvings", type=int, default=7)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    arguments = parser.parse_args(argv)
    from tools.start import check_precision, least_capability, start_jittor

    try:
        route = start_jittor(arguments.device)
        if route.device == "cuda":
            check_precision(arguments.precision, route, least_capability())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    flags = ["--schedule", "main", "--generator", arguments.generator, "--lambda-vgg", "0"]
    flags += ["--size", *map(str, arguments.size), "--halvings", str(arguments.halvings)]
    flags += ["--channels", str(arguments.channels), "--precision", arguments.precision]
    flags += ["--discriminator-channels", str(arguments.channels)]
    with PeakMemory() as peak:
        result = run_steps(
            parse_train(flags), arguments.steps, arguments.batch, seconds=arguments.seconds
        )
    if route.device == "cuda":
        result["peak_gpu_mb"] = peak.megabytes
    print(json.dumps(result))
    return 1 if "said" in result else 0


def run_steps(
    options: RunOptions, steps: int, batch: int, *, seconds: float = math.inf
) -> dict[str, Any]:
    """Train so many steps of `batch` pictures, or for so many seconds; what the line holds."""
    import jittor as jt

    from data.synthetic.picture import draw_pair
    from data.transforms import normalise
    from models.layout import Layout
    from models.methods import create_method
    from training.learner import Learner
    from training.loss_scale import GradientOverflow

    pairs = [draw_pair(0, i, options.data.height, options.data.width) for i in range(PAIRS)]
    jt.set_global_seed(options.training.seed)
    learner = Learner(create_method(options, None), options)
    losses: list[dict[str, float]] = []
    times: list[float] = []
    result: dict[str, Any] = {"precision": options.training.precision}
    end = time.monotonic() + seconds
    for step in range(steps):
        chosen = [pairs[(step * batch + k) % PAIRS] for k in range(batch)]
        ids = np.stack([layout for _, layout, _ in chosen]).astype(np.int32)
        pixels = np.stack([normalise(image).transpose(2, 0, 1) for image, _, _ in chosen])
        started = time.perf_counter()
        try:
            values = learner.step(
                Layout(jt.array(ids), CLASSES),
                jt.array(pixels),
                learning_rate=LEARNING_RATE,
                seed=step,
            )
        except GradientOverflow:
            result["said"] = f"step {step + 1}: no finite gradient at any scale of the loss"
            break
        times.append(time.perf_counter() - started)
        if not all(map(math.isfinite, values.values())):
            result["said"] = f"step {step + 1}: {values}"
            break
        losses.append(values)
        if time.monotonic() > end and step + 1 < steps:
            result["said"] = f"stopped at the time limit after {step + 1} of {steps} steps"
            break
    result["steps"] = len(losses)
    result["losses"] = {name: [row[name] for row in losses] for name in losses[0]} if losses else {}
    counted = sorted(times[UNCOUNTED:])
    result["seconds"] = counted[len(counted) // 2] if counted else None
    if learner.scales:
        result["loss_scale"] = {side: scale.value for side, scale in learner.scales.items()}
    return result


if __name__ == "__main__":
    sys.exit(main())
