"""Trains a few steps on synthetic landscapes in one precision and prints the losses as JSON.

    python -m tools.dev.benchmarks.short_run --generator spade --precision bfloat16 --steps 200

Runs of the same seed start from the same weights and use the same images in every precision, so
their losses show whether the lower precision is stable. The CPU has only float32. There the
operands and results of each product are rounded as on a GPU: slower, but the same arithmetic.

The JSON line has steps, losses (a list per loss) and seconds (the median step without the first
two), on a GPU peak_gpu_mb, in float16 loss_scale. If training stopped early, `message` gives the
reason and the exit code is 1.
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
from options.groups import Precision
from options.train import RunOptions
from tools.dev.benchmarks.gpu_memory import PeakMemory

PAIRS = 16
CLASSES = 29
LEARNING_RATE = 2e-4
# The first step compiles, the second fills the allocator.
UNCOUNTED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Train and print; return 0, 1 if training stopped early, 2 for a user error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--generator", choices=("spade", "tsit"), default="spade", help="the network (spade)")
    add("--precision", choices=get_args(Precision), default="float32", help="(float32)")
    add("--steps", type=int, default=200, metavar="N", help="steps to train (200)")
    add("--seconds", type=float, default=math.inf, metavar="S", help="time limit (none)")
    add("--batch", type=int, default=2, metavar="N", help="images per step (2)")
    add("--size", type=int, nargs=2, default=(384, 512), metavar=("H", "W"), help="(384 512)")
    add("--num-downsamples", type=int, default=7, metavar="N", help="depth of the generator (7)")
    add("--channels", type=int, default=64, metavar="N", help="base channels (64)")
    add("--device", choices=("cpu", "cuda"), default="cuda", help="(cuda)")
    arguments = parser.parse_args(argv)
    from runtime.start import check_precision, least_capability, start_jittor

    try:
        backend = start_jittor(arguments.device)
        if backend.device == "cuda":
            check_precision(arguments.precision, backend, least_capability())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    flags = ["--schedule", "main", "--generator", arguments.generator, "--lambda-vgg", "0"]
    flags += ["--size", *map(str, arguments.size)]
    flags += ["--num-downsamples", str(arguments.num_downsamples)]
    flags += ["--channels", str(arguments.channels), "--precision", arguments.precision]
    flags += ["--discriminator-channels", str(arguments.channels)]
    with PeakMemory() as peak:
        result = run_steps(
            parse_train(flags), arguments.steps, arguments.batch, seconds=arguments.seconds
        )
    if backend.device == "cuda":
        result["peak_gpu_mb"] = peak.megabytes
    print(json.dumps(result))
    return 1 if "message" in result else 0


def run_steps(
    options: RunOptions, steps: int, batch: int, *, seconds: float = math.inf
) -> dict[str, Any]:
    """Train `steps` steps of `batch` images, for at most `seconds`; return the JSON line."""
    import jittor as jt

    from data.synthetic.pair import render_pair
    from data.transforms import normalize
    from models.gans import create_method
    from models.layouts.layout import Layout
    from training.loss_scale import GradientOverflow
    from training.trainer import Trainer

    pairs = [render_pair(0, i, options.data.height, options.data.width) for i in range(PAIRS)]
    jt.set_global_seed(options.training.seed)
    trainer = Trainer(create_method(options, None), options)
    losses: list[dict[str, float]] = []
    times: list[float] = []
    result: dict[str, Any] = {"precision": options.training.precision}
    end = time.monotonic() + seconds
    for step in range(steps):
        chosen = [pairs[(step * batch + k) % PAIRS] for k in range(batch)]
        ids = np.stack([layout for _, layout, _ in chosen]).astype(np.int32)
        pixels = np.stack([normalize(image).transpose(2, 0, 1) for image, _, _ in chosen])
        started = time.perf_counter()
        try:
            values = trainer.step(
                Layout(jt.array(ids), CLASSES),
                jt.array(pixels),
                learning_rate=LEARNING_RATE,
                seed=step,
            )
        except GradientOverflow:
            result["message"] = f"step {step + 1}: no finite gradient at any loss scale"
            break
        times.append(time.perf_counter() - started)
        if not all(map(math.isfinite, values.values())):
            result["message"] = f"step {step + 1}: {values}"
            break
        losses.append(values)
        if time.monotonic() > end and step + 1 < steps:
            result["message"] = f"stopped at the time limit after {step + 1} of {steps} steps"
            break
    result["steps"] = len(losses)
    result["losses"] = {name: [row[name] for row in losses] for name in losses[0]} if losses else {}
    counted = sorted(times[UNCOUNTED:])
    result["seconds"] = counted[len(counted) // 2] if counted else None
    if trainer.scales:
        result["loss_scale"] = {side: scale.value for side, scale in trainer.scales.items()}
    return result


if __name__ == "__main__":
    sys.exit(main())
