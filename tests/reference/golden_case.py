"""A golden in the making: recipes, results, and the checks of its conditioning.

Results are computed in float64 from float32 inputs and weights. Rounding must not carry the
argument of a leaky ReLU, ReLU, maximum, hinge or L1 loss across its kink: the parameter or input
that shifts such an argument is resampled until no argument is near. Each case then runs in float32,
twice, and in float64 on inputs and weights changed by a rounding error. If one of these runs is not
well within the tests' limits, the whole case is resampled. The notes of a file hold the float32
differences.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from . import goldens
from .goldens import Golden, sample_recipe, sample_uniform, seed_of
from .kinks import Near, Search, name_parameters
from .layout import condition
from .vgg import VGG19

Arrays = dict[str, NDArray[Any]]
Tensors = dict[str, torch.Tensor]
Results = dict[str, torch.Tensor]

CLASSES = 5
# Up to this many values an output, or another result, is stored in full.
FULL_OUTPUT = 2048
FULL_RESULT = 64
# Well within the tests' limits: outputs 1e-4 absolute; gradients and states 1e-3, changes 2e-2
# relative.
LIMITS = {"out": 3e-5, "grad": 3e-4, "after": 3e-4, "change": 1e-2}
TRIALS = 2
ATTEMPTS = 60
# Maximum number of resamplings of some channels' parameters until no kink is near, and of seeds
# tried for one bias.
RESAMPLES = 600
CANDIDATES = 50000
# A multiple of float32's rounding: another library rounds sums and variances differently.
ROUNDING = 2.0**-21
# Twice that, for cases that passed, but differed by more than 1e-3 in this project's arithmetic.
COARSE_ROUNDING = 2.0**-20


@dataclass(frozen=True)
class Destination:
    """The folder of the golden files, and a part of the names of the files to write."""

    folder: Path
    only: str = ""


class Case:
    """A new golden: its recipes, its options, and a function that computes results.

    With `has_steps` the passes are training steps of two updates each, and the names of the inputs
    of a step begin with "STEP.".

    `run(inputs, state)` receives float tensors of one precision (integer arrays stay int32) and
    returns results by key; keys of the sections grad, after and change are optional.
    """

    def __init__(
        self,
        name: str,
        options: dict[str, Any] | None = None,
        *,
        rounding: float = ROUNDING,
        has_steps: bool = False,
    ) -> None:
        self.golden = Golden(name=name, options=options or {})
        self.has_steps = has_steps
        self.rounding = rounding

    def recipe(self, key: str, kind: str, shape: Iterable[int], **limits: float) -> None:
        self.golden.recipes[key] = {
            "kind": kind,
            "shape": list(shape),
            "seed": 0,
            **limits,
        }
        self.golden.shapes[key] = list(shape)

    def uniform(self, name: str, shape: Iterable[int], limit: float = 1.0) -> None:
        """An input uniform in [-limit, limit)."""
        self.recipe(f"in/{name}", "uniform", shape, low=-limit, high=limit)

    def normal_like(self, name: str, shape: Iterable[int]) -> None:
        """An input of variance 1, in place of standard normal noise."""
        self.uniform(name, shape, math.sqrt(3.0))

    def ids(self, name: str, shape: Iterable[int], classes: int, **speckles: float) -> None:
        """Ids 0 .. classes - 1 (N, H, W) in rectangles; see `goldens.sample_recipe`."""
        self.recipe(f"in/{name}", "blocks", shape, high=classes, **speckles)

    def state_of(self, network: nn.Module, prefix: str = "", *, classifier: bool = False) -> None:
        """Recipes for the whole state of a network, with its names.

        Weights have the scale of PyTorch's default initialization; biases are not zero, so that a
        relative update of 1e-3 is meaningful for them too. In a `classifier` the scale of features
        stays about the same in an evaluation pass through many layers of convolution, norm, ReLU.
        """
        square = 6.0 if classifier or isinstance(network, VGG19) else 3.0
        for name, value in network.state_dict().items():
            key = f"state/{prefix}{name}"
            shape = list(value.shape)
            last = name.rsplit(".", 1)[-1]
            if last in ("weight_u", "weight_v"):
                self.recipe(key, "unit", shape)
            elif last == "weight" and value.dim() == 1:
                self.recipe(key, "uniform", shape, low=0.5, high=1.5)
            elif last == "running_var":
                # Residual sums grow, and with variances of 1 so would an evaluation pass.
                low, high = (0.5, 1.5) if classifier else (2.0, 6.0)
                self.recipe(key, "uniform", shape, low=low, high=high)
            elif last in ("bias", "running_mean"):
                self.recipe(key, "uniform", shape, low=-0.2, high=0.2)
            elif last == "num_batches_tracked":
                self.golden.arrays[key] = np.zeros((), np.int64)
                self.golden.shapes[key] = []
            else:
                fan_in = math.prod(shape[1:])
                limit = math.sqrt(square / fan_in)
                if name == "conv_img.weight" or name.endswith("last.weight"):
                    # A saturated tanh would hide errors in the layers before it.
                    limit *= 0.25
                self.recipe(key, "uniform", shape, low=-limit, high=limit)

    def finish(self, run: Callable[[Tensors, Tensors], Results], destination: Destination) -> None:
        """Computes the results, checks the conditioning, and writes the file."""
        if destination.only not in self.golden.name:
            return
        for attempt in range(ATTEMPTS):
            self._seed(attempt)
            faults = self._compute(run) if self._clear_kinks(run, attempt) else ["a kink"]
            if not faults:
                _write(self.golden, destination.folder)
                return
            print(f"{self.golden.name}: resampled for {faults[0]} (and {len(faults) - 1} more)")
        raise SystemExit(f"{self.golden.name} is ill-conditioned in {ATTEMPTS} attempts")

    def _seed(self, attempt: int) -> None:
        for key, recipe in self.golden.recipes.items():
            recipe["seed"] = seed_of(f"{self.golden.name} {attempt} {key}")
            recipe.pop("rows", None)

    def _clear_kinks(self, run: Callable[[Tensors, Tensors], Results], attempt: int) -> bool:
        """Resamples until no argument is near its kink; returns whether that succeeded."""
        search = Search()
        for trial in range(RESAMPLES):
            near = search.first(
                lambda: self._results(run, torch.float64),
                lambda: self._results(run, torch.float64, np.random.RandomState(TRIALS)),
            )
            if near is None:
                return True
            text = f"{self.golden.name} {attempt} {trial}"
            step = near.kink.update // 2  # one update of each side
            if self.has_steps and step > 0:
                # A parameter would change the previous steps as well.
                for key, recipe in self.golden.recipes.items():
                    if key.startswith(f"in/{step}."):
                        recipe["seed"] = seed_of(f"{text} {key}")
            elif near.key is None:
                return False
            else:
                self._resample_rows(near, near.key, text)
        return False

    def _resample_rows(self, near: Near, key: str, text: str) -> None:
        """New rows for the channels near a kink; a new bias leaves the arguments clear of 0."""
        recipe = self.golden.recipes[key]
        before = sample_recipe(recipe)
        for channel in near.channels:
            seeds = (seed_of(f"{text} {key} {channel} {k}") for k in range(CANDIDATES))
            if near.shifts:
                sought = partial(_clears, near.gap(channel), recipe, before[channel])
                seed = next(filter(sought, seeds), seed_of(text))
            else:
                seed = next(seeds)
            recipe["axis"] = near.axis
            recipe.setdefault("rows", {})[str(channel)] = seed

    def _compute(self, run: Callable[[Tensors, Tensors], Results]) -> list[str]:
        """Fills in the golden's results; returns the results that are too sensitive to rounding."""
        golden = self.golden
        for key in [key for key in golden.shapes if key.split("/", 1)[0] not in ("in", "state")]:
            del golden.shapes[key]
            for kept in (golden.arrays, golden.sketches, golden.samples):
                kept.pop(key, None)
        golden.free.clear()
        exact = self._results(run, torch.float64)
        scale = max(
            [_root_mean_square(value) for key, value in exact.items() if key.startswith("grad/")]
            or [0.0]
        )
        for key, value in exact.items():
            section, name = key.split("/", 1)
            if section == "grad" and _root_mean_square(value) < 1e-11 * scale:
                golden.free.append(name.removeprefix("state."))
        free = {f"grad/state.{name}" for name in golden.free}
        free |= {f"{section}/{name}" for name in golden.free for section in ("after", "change")}
        for key, value in exact.items():
            if key not in free:
                self._store(key, value)
        worst, faults = self._check(self._results(run, torch.float32))
        golden.notes["float32"] = worst
        if not faults:
            # A second float32 implementation, with another order of sums.
            with torch.backends.mkldnn.flags(enabled=False):
                faults = self._check(self._results(run, torch.float32))[1]
        for trial in range(TRIALS):
            if not faults:
                moved = self._results(run, torch.float64, np.random.RandomState(trial))
                faults = self._check(moved)[1]
        return faults

    def _results(
        self,
        run: Callable[[Tensors, Tensors], Results],
        precision: torch.dtype,
        noise: np.random.RandomState | None = None,
    ) -> Arrays:
        def tensors(section: str) -> Tensors:
            result = {}
            for name in self.golden.keys(section):
                value = np.array(self.golden.get(f"{section}/{name}"))
                if value.dtype.kind == "f" and noise is not None:
                    value = value * (1 + self.rounding * noise.uniform(-1, 1, value.shape))
                tensor = torch.from_numpy(value)
                result[name] = tensor.to(precision) if tensor.is_floating_point() else tensor
            return result

        results = run(tensors("in"), tensors("state"))
        return {key: value.detach().numpy().copy() for key, value in results.items()}

    def _store(self, key: str, value: NDArray[Any]) -> None:
        golden = self.golden
        golden.shapes[key] = list(value.shape)
        is_output = key.startswith("out/")
        if value.size <= (FULL_OUTPUT if is_output else FULL_RESULT):
            golden.arrays[key] = value.astype(np.float32) if value.dtype.kind == "f" else value
            return
        golden.sketches[key] = goldens.sketch(key, value)
        if is_output:
            golden.samples[key] = goldens.subsample(key, value)

    def _check(self, results: Arrays) -> tuple[dict[str, float], list[str]]:
        """The largest difference from the golden per section, and those above the limits."""
        worst: dict[str, float] = {}
        faults = []
        for key in self.golden.shapes:
            section = key.split("/", 1)[0]
            if section in ("in", "state"):
                continue
            found = self.golden.difference(key, results[key])
            error = found.absolute if section == "out" else found.relative
            limit = LIMITS[section]
            if section == "out" and results[key].size:
                # Losses and feature maps are not bounded by 1 as images are.
                limit *= max(1.0, float(np.max(np.abs(results[key]))))
            worst[section] = max(worst.get(section, 0.0), error)
            if not error <= limit:
                faults.append(f"{key}: {error:.1e}, allowed {limit:.1e}")
        return worst, faults


def _clears(
    gap: Callable[[float], float], recipe: dict[str, Any], before: float, seed: int
) -> bool:
    """Whether the bias of a seed leaves a channel's arguments clear of 0."""
    return gap(float(sample_uniform(recipe, seed, ())) - float(before)) > 0


def _root_mean_square(value: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(value)))) if value.size else 0.0


def _write(golden: Golden, folder: Path) -> None:
    meta = {
        "options": golden.options,
        "free": golden.free,
        "notes": golden.notes,
        "recipes": golden.recipes,
        "shapes": golden.shapes,
        "sketched": list(golden.sketches),
        "sampled": list(golden.samples),
    }
    text = json.dumps(meta, separators=(",", ":")).encode()
    columns = goldens.PROJECTIONS + 1
    arrays = {
        "meta": np.frombuffer(text, np.uint8),
        "sketches": np.array(list(golden.sketches.values())).reshape(-1, columns),
        "samples": np.array(list(golden.samples.values()), np.float32).reshape(-1, goldens.SAMPLES),
        **golden.arrays,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{golden.name}.npz"
    temporary = folder / f".{golden.name}.tmp.npz"
    np.savez_compressed(temporary, **arrays)
    os.replace(temporary, path)
    error = ", ".join(
        f"{section} {value:.0e}" for section, value in golden.notes["float32"].items()
    )
    print(f"{golden.name}: {path.stat().st_size / 1024:.0f} KiB (float32: {error})", flush=True)


def load_network(network: nn.Module, state: Tensors, prefix: str = "") -> nn.Module:
    """Loads a state into a network, and converts the network to the precision of the state."""
    own = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    precision = next(value.dtype for value in own.values() if value.is_floating_point())
    network.to(precision)
    network.load_state_dict(own, strict=True)
    name_parameters(network, f"state/{prefix}")
    return network


def weigh(outputs: Tensors, inputs: Tensors) -> torch.Tensor:
    """The scalar whose gradients are stored: the sum of outputs times cotangents."""
    return torch.stack(
        [(value * inputs[f"cotangent.{name}"]).sum() for name, value in outputs.items()]
    ).sum()


def gradients(network: nn.Module, inputs: Tensors, wanted: Iterable[str]) -> Results:
    results: Results = {}
    for name in wanted:
        gradient = inputs[name].grad
        if gradient is not None:
            results[f"grad/in.{name}"] = gradient
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            results[f"grad/state.{name}"] = parameter.grad
    return results


def buffers(network: nn.Module, prefix: str = "") -> Results:
    return {f"after/{prefix}{name}": value.clone() for name, value in network.named_buffers()}


def network_case(
    name: str,
    build: Callable[..., nn.Module],
    options: dict[str, Any],
    prepare: Callable[[Case], None],
    forward: Callable[[nn.Module, Tensors], Tensors],
    *,
    wanted: tuple[str, ...] = (),
    classes: int = 0,
    rounding: float = ROUNDING,
    destination: Destination,
) -> None:
    """A training pass of a network with gradients and buffers, then an evaluation pass.

    `wanted` names the inputs whose gradients are stored. A golden holds the ids of a layout, not
    its planes; the condition is computed here.
    """
    if destination.only not in name:
        return
    case = Case(name, options, rounding=rounding)
    case.state_of(build(**options))
    prepare(case)

    def run(inputs: Tensors, state: Tensors) -> Results:
        network = load_network(build(**options), state)
        tensors = dict(inputs)
        if "ids" in inputs:
            planes = condition(inputs["ids"], classes, inputs.get("instances"))
            tensors["condition"] = planes.to(next(network.parameters()).dtype)
        for key in wanted:
            tensors[key] = tensors[key].clone().requires_grad_()
        network.train()
        outputs = forward(network, tensors)
        weigh(outputs, inputs).backward()
        results: Results = {f"out/train.{key}": value for key, value in outputs.items()}
        results |= gradients(network, tensors, wanted)
        results |= buffers(network)
        network.eval()
        with torch.no_grad():
            evaluated = forward(network, tensors)
        return results | {f"out/eval.{key}": value for key, value in evaluated.items()}

    # The cotangents have the shapes of the outputs, which only a pass gives.
    recipes = case.golden.recipes.items()
    probe = {name: torch.from_numpy(sample_recipe(recipe)) for name, recipe in recipes}
    with torch.no_grad():
        sized = {key.removeprefix("in/"): value for key, value in probe.items()}
        if "ids" in sized:
            sized["condition"] = condition(sized["ids"], classes, sized.get("instances"))
        shapes = {key: value.shape for key, value in forward(build(**options), sized).items()}
    for key, shape in shapes.items():
        # Not centered: gradients of random signs would nearly cancel over a large image.
        case.recipe(f"in/cotangent.{key}", "uniform", shape, low=-0.5, high=1.0)
    if classes:
        case.golden.notes["classes"] = classes
    case.finish(run, destination)
