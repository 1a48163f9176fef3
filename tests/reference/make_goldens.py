"""Make the golden files again: `python -m tests.reference.make_goldens [NAME ...]`.

Results are computed in float64 from float32 inputs and weights. A case in which rounding may carry
the argument of a leaky ReLU, ReLU, maximum, hinge or L1 loss across its kink would test luck: what
moves that argument is drawn anew, until none is near. Each case then runs again in float32, twice,
and in float64 on inputs and weights moved by a rounding error. Where any of these is not well
within the tests' tolerances all is drawn anew. The float32 differences are in the file's notes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from . import goldens, losses
from .discriminator import MultiscaleDiscriminator
from .encoder import ConvEncoder
from .goldens import Golden, draw, draw_uniform, seed_of
from .kinks import Near, Search, name_parameters
from .layers import parameter_free_norm, spectral
from .layout import condition, instance_edges
from .pix2pix import MultiscaleJudge, UNet
from .pix2pixhd import CoarseToFine, Global
from .spade import SPADE, SPADEGenerator, SPADEResnetBlock
from .train_step import Trainer
from .tsit import (
    FADE,
    FADEResnetBlock,
    Stream,
    StreamResnetBlock,
    TSITGenerator,
    fadain,
)
from .vgg import VGG19, Pyramid

FULL_OUTPUT = 2048
FULL_RESULT = 64

# Well within what the tests allow: 1e-4 absolute; gradients and states 1e-3, changes 2e-2 relative.
LIMITS = {"out": 3e-5, "grad": 3e-4, "after": 3e-4, "change": 1e-2}
TRIALS = 2
ATTEMPTS = 60
# Of some channels' parameters, on the way to a case without a near kink; of a bias, each time.
REDRAWS = 600
CANDIDATES = 50000
# Some times float32's rounding: another library's sums and variances are rounded otherwise.
ROUNDING = 2.0**-21
# Twice that, where a draw that passed was off by more than 1e-3 in this project's arithmetic.
COARSE_ROUNDING = 2.0**-20

# A part of the names of the files to make; set by main.
only = ""

Arrays = dict[str, NDArray[Any]]
Tensors = dict[str, torch.Tensor]
Results = dict[str, torch.Tensor]


class Case:
    """One golden being made: its recipes, its options, and a function that computes results.

    With `has_steps` the passes are training steps of two updates each, and the names of a step's
    inputs begin "STEP.".

    `run(inputs, state)` gets float tensors of one precision (integer arrays stay int32) and
    returns results by key; keys of the sections grad, after and change may be left out.
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
        """An input of variance 1, where the networks take standard normal noise."""
        self.uniform(name, shape, math.sqrt(3.0))

    def ids(self, name: str, shape: Iterable[int], classes: int, **speckles: float) -> None:
        """Ids 0 .. classes - 1 (N, H, W) in rectangles; `speckles` is the share of single ones."""
        self.recipe(f"in/{name}", "blocks", shape, high=classes, **speckles)

    def state_of(self, network: nn.Module, prefix: str = "") -> None:
        """Recipes for a network's whole state, with its names.

        Weights keep the scale of PyTorch's default start; biases are not zero, so that an update
        of relative size 1e-3 means something for them too.
        """
        for name, value in network.state_dict().items():
            key = f"state/{prefix}{name}"
            shape = list(value.shape)
            last = name.rsplit(".", 1)[-1]
            if last in ("weight_u", "weight_v"):
                self.recipe(key, "unit", shape)
            elif last == "weight" and value.dim() == 1:
                self.recipe(key, "uniform", shape, low=0.5, high=1.5)
            elif last == "running_var":
                # Residual sums grow; variances of 1 would let an evaluation pass grow with them.
                self.recipe(key, "uniform", shape, low=2.0, high=6.0)
            elif last in ("bias", "running_mean"):
                self.recipe(key, "uniform", shape, low=-0.2, high=0.2)
            elif last == "num_batches_tracked":
                self.golden.arrays[key] = np.zeros((), np.int64)
                self.golden.shapes[key] = []
            else:
                fan_in = math.prod(shape[1:])
                limit = math.sqrt((6.0 if isinstance(network, VGG19) else 3.0) / fan_in)
                if name == "conv_img.weight" or name.endswith("last.weight"):
                    # A saturated tanh would hide what comes before it.
                    limit *= 0.25
                self.recipe(key, "uniform", shape, low=-limit, high=limit)

    def finish(self, run: Callable[[Tensors, Tensors], Results], folder: Path) -> None:
        """Compute, check the conditioning, write."""
        if only not in self.golden.name:
            return
        for attempt in range(ATTEMPTS):
            self._seed(attempt)
            faults = self._compute(run) if self._clear(run, attempt) else ["a kink"]
            if not faults:
                _write(self.golden, folder)
                return
            print(f"{self.golden.name}: drawn anew for {faults[0]} (and {len(faults) - 1} more)")
        raise SystemExit(f"{self.golden.name} is ill-conditioned in {ATTEMPTS} draws")

    def _seed(self, attempt: int) -> None:
        for key, recipe in self.golden.recipes.items():
            recipe["seed"] = seed_of(f"{self.golden.name} {attempt} {key}")
            recipe.pop("rows", None)

    def _clear(self, run: Callable[[Tensors, Tensors], Results], attempt: int) -> bool:
        """Draw anew what brings an argument near its kink; tells whether none is at last."""
        search = Search()
        for trial in range(REDRAWS):
            near = search.first(
                lambda: self._results(run, torch.float64),
                lambda: self._results(run, torch.float64, np.random.RandomState(TRIALS)),
            )
            if near is None:
                return True
            text = f"{self.golden.name} {attempt} {trial}"
            step = near.kink.update // 2  # one update of each side
            if self.has_steps and step > 0:
                # Parameters would change the steps before as well.
                for key, recipe in self.golden.recipes.items():
                    if key.startswith(f"in/{step}."):
                        recipe["seed"] = seed_of(f"{text} {key}")
            elif near.key is None:
                return False
            else:
                self._draw_rows(near, near.key, text)
        return False

    def _draw_rows(self, near: Near, key: str, text: str) -> None:
        """New rows for the channels that are near; a bias such that its channel's gap is at 0."""
        recipe = self.golden.recipes[key]
        before = draw(recipe)
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
        """Fill the golden's results; returns what is too sensitive to rounding."""
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
            # A second float32 implementation, which sums in another order.
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
        output = key.startswith("out/")
        if value.size <= (FULL_OUTPUT if output else FULL_RESULT):
            golden.arrays[key] = value.astype(np.float32) if value.dtype.kind == "f" else value
            return
        golden.sketches[key] = goldens.sketch(key, value)
        if output:
            golden.samples[key] = goldens.sample(key, value)

    def _check(self, results: Arrays) -> tuple[dict[str, float], list[str]]:
        """The greatest differences from the golden by section, and those above the limits."""
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
                # Losses and feature maps are not bounded by 1 as pictures are.
                limit *= max(1.0, float(np.max(np.abs(results[key]))))
            worst[section] = max(worst.get(section, 0.0), error)
            if not error <= limit:
                faults.append(f"{key}: {error:.1e}, allowed {limit:.1e}")
        return worst, faults


def _clears(
    gap: Callable[[float], float], recipe: dict[str, Any], before: float, seed: int
) -> bool:
    """Whether a bias drawn from a seed leaves a channel's arguments clear of 0."""
    return gap(float(draw_uniform(recipe, seed, ())) - float(before)) > 0


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


def _load(network: nn.Module, state: Tensors, prefix: str = "") -> nn.Module:
    """Put a state into a network and give the network the state's precision."""
    own = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    precision = next(value.dtype for value in own.values() if value.is_floating_point())
    network.to(precision)
    network.load_state_dict(own, strict=True)
    name_parameters(network, f"state/{prefix}")
    return network


def _weigh(outputs: Tensors, inputs: Tensors) -> torch.Tensor:
    """The scalar whose gradients are kept: outputs times their cotangents, summed."""
    return torch.stack(
        [(value * inputs[f"cotangent.{name}"]).sum() for name, value in outputs.items()]
    ).sum()


def _gradients(network: nn.Module, inputs: Tensors, wanted: Iterable[str]) -> Results:
    results: Results = {}
    for name in wanted:
        gradient = inputs[name].grad
        if gradient is not None:
            results[f"grad/in.{name}"] = gradient
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            results[f"grad/state.{name}"] = parameter.grad
    return results


def _buffers(network: nn.Module, prefix: str = "") -> Results:
    return {f"after/{prefix}{name}": value.clone() for name, value in network.named_buffers()}


def _network_case(
    name: str,
    build: Callable[..., nn.Module],
    options: dict[str, Any],
    prepare: Callable[[Case], None],
    forward: Callable[[nn.Module, Tensors], Tensors],
    *,
    wanted: tuple[str, ...] = (),
    classes: int = 0,
    rounding: float = ROUNDING,
    folder: Path,
) -> None:
    """A network's training pass with gradients and new buffers, then an evaluation pass.

    `wanted` are the inputs whose gradients are kept. Where there are ids the condition is made
    of them here, so that a golden holds ids, as layouts travel in this project.
    """
    if only not in name:
        return
    case = Case(name, options, rounding=rounding)
    case.state_of(build(**options))
    prepare(case)

    def run(inputs: Tensors, state: Tensors) -> Results:
        network = _load(build(**options), state)
        tensors = dict(inputs)
        if "ids" in inputs:
            planes = condition(inputs["ids"], classes, inputs.get("instances"))
            tensors["condition"] = planes.to(next(network.parameters()).dtype)
        for key in wanted:
            tensors[key] = tensors[key].clone().requires_grad_()
        network.train()
        outputs = forward(network, tensors)
        _weigh(outputs, inputs).backward()
        results: Results = {f"out/train.{key}": value for key, value in outputs.items()}
        results |= _gradients(network, tensors, wanted)
        results |= _buffers(network)
        network.eval()
        with torch.no_grad():
            evaluated = forward(network, tensors)
        return results | {f"out/eval.{key}": value for key, value in evaluated.items()}

    # The cotangents have the outputs' shapes, known only once the network ran.
    probe = {name: torch.from_numpy(draw(recipe)) for name, recipe in case.golden.recipes.items()}
    with torch.no_grad():
        sized = {key.removeprefix("in/"): value for key, value in probe.items()}
        if "ids" in sized:
            sized["condition"] = condition(sized["ids"], classes, sized.get("instances"))
        shapes = {key: value.shape for key, value in forward(build(**options), sized).items()}
    for key, shape in shapes.items():
        # Not centred: gradients of random signs alone nearly cancel over a large picture.
        case.recipe(f"in/cotangent.{key}", "uniform", shape, low=-0.5, high=1.0)
    if classes:
        case.golden.notes["classes"] = classes
    case.finish(run, folder)


CLASSES = 5


def spectral_norm(folder: Path) -> None:
    """Three training passes with a gradient step of 0.5 after each, then an evaluation pass."""
    case = Case("spectral_norm", {"in_channels": 6, "out_channels": 8, "kernel_size": 3})
    case.state_of(spectral(nn.Conv2d(6, 8, 3, padding=1)))
    for index in range(3):
        case.uniform(f"x.{index}", (2, 6, 7, 9))
        case.uniform(f"cotangent.{index}", (2, 8, 7, 9), 0.1)

    def run(inputs: Tensors, state: Tensors) -> Results:
        layer = _load(spectral(nn.Conv2d(6, 8, 3, padding=1)), state)
        results: Results = {}
        for index in range(3):
            x = inputs[f"x.{index}"].clone().requires_grad_()
            layer.zero_grad()
            output = layer(x)
            (output * inputs[f"cotangent.{index}"]).sum().backward()
            results[f"out/train.{index}"] = output
            results[f"grad/in.x.{index}"] = x.grad
            for name, parameter in layer.named_parameters():
                results[f"grad/state.{name}.{index}"] = parameter.grad.clone()
            for name, buffer in layer.named_buffers():
                results[f"after/{name}.{index}"] = buffer.clone()
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter -= 0.5 * parameter.grad
        layer.eval()
        results["out/eval.after"] = layer(inputs["x.0"])
        return results

    case.finish(run, folder)


def _norm_case(folder: Path, kind: str) -> None:
    """Three training passes in a row on one layer, then an evaluation pass."""
    case = Case(f"{kind}_norm", {"channels": 6})
    case.state_of(parameter_free_norm(kind, 6))
    for index in range(3):
        # Not centred and of unequal scale, or a forgotten mean would go unseen.
        case.recipe(f"in/x.{index}", "uniform", (2, 6, 5, 7), low=-1.0, high=2.0 + index)
        case.uniform(f"cotangent.{index}", (2, 6, 5, 7))

    def run(inputs: Tensors, state: Tensors) -> Results:
        layer = parameter_free_norm(kind, 6).to(inputs["x.0"].dtype)
        layer.load_state_dict(state, strict=True)
        results: Results = {}
        for index in range(3):
            x = inputs[f"x.{index}"].clone().requires_grad_()
            output = layer(x)
            (output * inputs[f"cotangent.{index}"]).sum().backward()
            results[f"out/train.{index}"] = output
            results[f"grad/in.x.{index}"] = x.grad
            for name, buffer in layer.named_buffers():
                results[f"after/{name}.{index}"] = buffer.clone()
        layer.eval()
        results["out/eval"] = layer(inputs["x.0"])
        return results

    case.finish(run, folder)


def batch_norm(folder: Path) -> None:
    _norm_case(folder, "batch")


def instance_norm(folder: Path) -> None:
    _norm_case(folder, "instance")


def spade_layers(folder: Path) -> None:
    """SPADE itself with both norms, and its residual block with both kinds of skip."""

    def prepare(case: Case) -> None:
        case.uniform("x", (2, 6, 8, 12), 2.0)
        case.ids("ids", (2, 16, 24), CLASSES)
        case.ids("instances", (2, 16, 24), 7)

    def forward(network: nn.Module, inputs: Tensors) -> Tensors:
        return {"y": network(inputs["x"], inputs["condition"])}

    common: dict[str, Any] = {
        "prepare": prepare,
        "forward": forward,
        "wanted": ("x",),
        "classes": CLASSES,
        "folder": folder,
    }
    planes = CLASSES + 1
    for norm in ("batch", "instance"):
        options = {"channels": 6, "condition_channels": planes, "norm": norm}
        _network_case(f"spade_layer_{norm}", SPADE, options, **common)
        for skip, wide in (("identity", 6), ("learned", 4), ("widening", 9)):
            block = {
                "in_channels": 6,
                "out_channels": wide,
                "condition_channels": planes,
                "norm": norm,
            }
            _network_case(f"spade_block_{skip}_{norm}", SPADEResnetBlock, block, **common)


def fade_layers(folder: Path) -> None:
    """FADE itself with both norms, and its residual block with both kinds of skip."""

    def prepare(case: Case) -> None:
        case.uniform("x", (2, 6, 8, 12), 2.0)
        case.uniform("feature", (2, 6, 8, 12), 2.0)

    def forward(network: nn.Module, inputs: Tensors) -> Tensors:
        return {"y": network(inputs["x"], inputs["feature"])}

    common: dict[str, Any] = {
        "prepare": prepare,
        "forward": forward,
        "wanted": ("x", "feature"),
        "folder": folder,
    }
    for norm in ("batch", "instance"):
        options = {"channels": 6, "feature_channels": 6, "norm": norm}
        _network_case(f"fade_layer_{norm}", FADE, options, **common)
        for skip, wide in (("identity", 6), ("learned", 4)):
            block = {"in_channels": 6, "out_channels": wide, "norm": norm}
            _network_case(f"fade_block_{skip}_{norm}", FADEResnetBlock, block, **common)


def fadain_layer(folder: Path) -> None:
    """FAdaIN with alpha 1 and 0.6, the style map of another size than x."""
    case = Case("fadain", {})
    case.recipe("in/x", "uniform", (2, 6, 8, 12), low=-1.0, high=3.0)
    case.recipe("in/style", "uniform", (2, 6, 5, 4), low=-3.0, high=1.0)
    case.uniform("cotangent", (2, 6, 8, 12))

    def run(inputs: Tensors, state: Tensors) -> Results:
        del state
        results: Results = {}
        for label, alpha in (("1", 1.0), ("0.6", 0.6)):
            x = inputs["x"].clone().requires_grad_()
            style = inputs["style"].clone().requires_grad_()
            output = fadain(x, style, alpha=alpha)
            (output * inputs["cotangent"]).sum().backward()
            results[f"out/alpha_{label}"] = output
            results[f"grad/in.x.alpha_{label}"] = x.grad
            results[f"grad/in.style.alpha_{label}"] = style.grad
        return results

    case.finish(run, folder)


def streams(folder: Path) -> None:
    """The stream's residual block, and a whole stream with all its features."""

    def forward_block(network: nn.Module, inputs: Tensors) -> Tensors:
        return {"y": network(inputs["x"])}

    for skip, wide in (("identity", 6), ("learned", 9)):
        _network_case(
            f"stream_block_{skip}_instance",
            StreamResnetBlock,
            {"in_channels": 6, "out_channels": wide},
            lambda case: case.uniform("x", (2, 6, 8, 12), 2.0),
            forward_block,
            wanted=("x",),
            folder=folder,
        )

    def forward(network: nn.Module, inputs: Tensors) -> Tensors:
        return {f"feature{level}": value for level, value in enumerate(network(inputs["x"]))}

    _network_case(
        "stream",
        Stream,
        {"in_channels": 3, "channels": 4, "halvings": 5},
        lambda case: case.uniform("x", (2, 3, 64, 96)),
        forward,
        wanted=("x",),
        folder=folder,
    )


def _image(network: nn.Module, inputs: Tensors) -> Tensors:
    if isinstance(network, TSITGenerator):
        content = inputs["condition"] if "condition" in inputs else inputs["content"]
        return {"image": network(content, inputs.get("style"), inputs.get("z"))}
    return {"image": network(inputs["condition"], inputs.get("z"))}


def spade_generators(folder: Path) -> None:
    """Every depth from the layout (with instance edges) and from a latent; both norms."""
    sizes = {"normal": (64, 96), "more": (128, 192), "most": (128, 256)}
    for depth in sizes:
        for start in ("layout", "latent"):
            for norm in ("batch", "instance") if depth == "normal" else ("batch",):
                vae = start == "latent"
                # From a latent, instance norm over 2 x 3 pixels amplifies rounding a hundredfold.
                coarse = vae and norm == "instance"
                size = (128, 192) if coarse else sizes[depth]
                options: dict[str, Any] = {
                    "condition_channels": CLASSES if vae else CLASSES + 1,
                    "size": size,
                    "channels": 4,
                    "halvings": depth,
                    "vae": vae,
                    "latent_size": 16,
                    "norm": norm,
                }

                def prepare(case: Case, size: tuple[int, int] = size, vae: bool = vae) -> None:
                    case.ids("ids", (2, *size), CLASSES)
                    if vae:
                        case.normal_like("z", (2, 16))
                    else:
                        case.ids("instances", (2, *size), 7)

                suffix = "" if norm == "batch" else "_instance"
                _network_case(
                    f"spade_generator_{depth}_{start}{suffix}",
                    SPADEGenerator,
                    options,
                    prepare,
                    _image,
                    wanted=("z",) if vae else (),
                    classes=CLASSES,
                    rounding=COARSE_ROUNDING if coarse else ROUNDING,
                    folder=folder,
                )


def tsit_generators(folder: Path) -> None:
    """Every depth from layout, noise and latent; with and without the style stream.

    "7_layout" and "7_latent" are the published semantic synthesis, "7_translation" (photographs in
    both streams, noise start) the published style transfer.
    """
    sizes = {5: (64, 96), 6: (128, 192), 7: (256, 384), 8: (512, 512)}
    # The streams end in instance norms over the smallest map, of 4 to 6 pixels. Where that made
    # rounding count too much it is wider.
    wider = {"7_latent": (256, 512), "8_layout": (512, 768)}
    variants: dict[str, dict[str, Any]] = {
        "layout": {"start": "layout", "style_stream": False},
        "latent": {"start": "latent", "style_stream": False},
        "style": {"start": "layout", "style_stream": True},
    }
    extra: dict[str, dict[str, Any]] = {
        "noise": {"start": "noise", "style_stream": True, "alpha": 0.6},
        "instance": {"start": "layout", "style_stream": True, "norm": "instance"},
    }
    cases: list[tuple[int, str, dict[str, Any]]] = []
    for halvings in sizes:
        cases += [(halvings, variant, options) for variant, options in variants.items()]
    cases += [(5, variant, options) for variant, options in extra.items()]
    cases.append((7, "translation", {"start": "noise", "style_stream": True}))
    for halvings, variant, chosen in cases:
        size = wider.get(f"{halvings}_{variant}", sizes[halvings])
        translation = variant == "translation"
        start = chosen["start"]
        options = {
            "content_channels": 3 if translation else CLASSES + 1,
            "size": size,
            "channels": 4 if halvings < 7 else 2,
            "halvings": halvings,
            "latent_size": 16,
            **chosen,
        }

        def prepare(
            case: Case,
            size: tuple[int, int] = size,
            chosen: dict[str, Any] = chosen,
            start: str = start,
            halvings: int = halvings,
            translation: bool = translation,
        ) -> None:
            if translation:
                case.uniform("content", (2, 3, *size))
            else:
                case.ids("ids", (2, *size), CLASSES)
                case.ids("instances", (2, *size), 7)
            if chosen["style_stream"]:
                case.uniform("style", (2, 3, *size))
            if start == "latent":
                case.normal_like("z", (2, 16))
            elif start == "noise":
                case.normal_like("z", (2, 3, size[0] >> halvings, size[1] >> halvings))

        wanted: tuple[str, ...] = ("style",) if chosen["style_stream"] else ()
        wanted += () if start == "layout" else ("z",)
        wanted += ("content",) if translation else ()
        _network_case(
            f"tsit_generator_{halvings}_{variant}",
            TSITGenerator,
            options,
            prepare,
            _image,
            wanted=wanted,
            classes=0 if translation else CLASSES,
            folder=folder,
        )


def _photographs(case: Case, size: tuple[int, int]) -> None:
    case.uniform("image", (2, 3, *size))


def encoder(folder: Path) -> None:
    """Mean and log variance of pictures that have to be resized, and of some that have not."""

    def forward(network: nn.Module, inputs: Tensors) -> Tensors:
        mean, log_variance = network(inputs["image"])
        return {"mean": mean, "log_variance": log_variance}

    for name, size in (("encoder", (96, 128)), ("encoder_256", (256, 256))):
        _network_case(
            name,
            ConvEncoder,
            {"channels": 4, "latent_size": 16},
            partial(_photographs, size=size),
            forward,
            wanted=("image",),
            folder=folder,
        )


def pictures(folder: Path) -> None:
    """What a checkpoint of each published kind draws, from ids and a photograph for its style.

    Evaluation passes of settled states, generator and encoder under their prefixes. The condition
    may have more planes than classes, as this design's first version had; three planes are a
    photograph as content.
    """
    spade: dict[str, Any] = {"channels": 4, "latent_size": 256}
    tsit: dict[str, Any] = {"channels": 2, "halvings": 7, "size": (128, 256)}
    cases: dict[str, tuple[type[nn.Module], dict[str, Any], int]] = {
        "spade_normal": (SPADEGenerator, {**spade, "size": (64, 96), "halvings": "normal"}, 6),
        "spade_most": (SPADEGenerator, {**spade, "size": (128, 256), "halvings": "most"}, 5),
        "spade_vae": (
            SPADEGenerator,
            {**spade, "size": (64, 128), "halvings": "more", "vae": True},
            5,
        ),
        "tsit_style": (TSITGenerator, {**tsit, "style_stream": True}, 5),
        "tsit_translation": (TSITGenerator, {**tsit, "style_stream": True, "start": "noise"}, 3),
        "tsit_first_version": (
            TSITGenerator,
            {**tsit, "style_stream": False, "start": "latent"},
            12,
        ),
    }
    for name, (build, options, planes) in cases.items():
        _picture_case(f"picture_{name}", build, options, planes, folder)


def _picture_case(
    name: str, build: type[nn.Module], options: dict[str, Any], planes: int, folder: Path
) -> None:
    key = "condition_channels" if build is SPADEGenerator else "content_channels"
    case = Case(name, {**options, key: planes})
    height, width = options["size"]
    vae = options.get("vae") or options.get("start") == "latent"
    case.state_of(build(**case.golden.options), "generator.")
    if vae:
        case.state_of(ConvEncoder(channels=options["channels"]), "encoder.")
    if vae or options.get("style_stream"):
        # Three planes of numbers 0..255 are a photograph.
        case.ids("photograph", (3, height, width), 256)
    if planes == 3:
        case.ids("content", (3, height, width), 256)
        case.normal_like("z", (1, 3, height >> options["halvings"], width >> options["halvings"]))
    else:
        case.ids("ids", (1, height, width), CLASSES)
    if planes == CLASSES + 1:
        case.ids("instances", (1, height, width), 7)
    case.golden.notes["classes"] = CLASSES

    def run(inputs: Tensors, state: Tensors) -> Results:
        arrays = goldens.settle({name: value.numpy() for name, value in state.items()})
        settled = {n: torch.from_numpy(arrays[n]).to(value.dtype) for n, value in state.items()}
        network = _load(build(**case.golden.options), settled, "generator.").eval()
        precision = next(network.parameters()).dtype
        if "content" in inputs:
            arguments = [inputs["content"].to(precision)[None] / 127.5 - 1.0]
        else:
            lit = condition(inputs["ids"], CLASSES, inputs.get("instances")).to(precision)
            unlit = torch.zeros(1, planes - lit.shape[1], height, width, dtype=precision)
            arguments = [torch.cat([lit, unlit], dim=1)]
        with torch.no_grad():
            if "photograph" in inputs:
                photograph = inputs["photograph"].to(precision)[None] / 127.5 - 1.0
                if vae:
                    encoder = _load(ConvEncoder(channels=options["channels"]), settled, "encoder.")
                    mean, _ = encoder.eval()(photograph)
                    return {"out/eval.image": network(*arguments, z=mean)}
                arguments.append(photograph)
            return {"out/eval.image": network(*arguments, z=inputs.get("z"))}

    case.finish(run, folder)


def discriminators(folder: Path) -> None:
    """All feature maps: the published form, one of three scales, and TSIT's for translation."""
    variants: dict[str, dict[str, Any]] = {
        "published": {"scales": 2, "layers": 4},
        "three_scales": {"scales": 3, "layers": 3},
        "translation": {"scales": 2, "layers": 3, "stride_one_layer": 3},
    }
    for variant, chosen in variants.items():
        _network_case(
            f"discriminator_{variant}",
            MultiscaleDiscriminator,
            {"in_channels": 8, "channels": 4, **chosen},
            lambda case: case.uniform("x", (2, 8, 64, 96)),
            _all_features,
            wanted=("x",),
            folder=folder,
        )


def _all_features(network: nn.Module, inputs: Tensors) -> Tensors:
    return {
        f"scale{scale}.layer{layer}": feature
        for scale, features in enumerate(network(inputs["x"]))
        for layer, feature in enumerate(features)
    }


def pix2pix(folder: Path) -> None:
    """U-Nets with both norms, with and without dropout, and the 70 x 70 discriminator."""
    cases: list[tuple[int, tuple[int, int], str, bool]] = [
        (5, (64, 96), "batch", True),
        (5, (64, 96), "instance", True),
        (7, (256, 384), "batch", False),
    ]
    for halvings, size, norm, dropout in cases:
        options = {
            "condition_channels": CLASSES,
            "channels": 4,
            "halvings": halvings,
            "norm": norm,
        }

        def prepare(
            case: Case,
            size: tuple[int, int] = size,
            halvings: int = halvings,
            dropout: bool = dropout,
        ) -> None:
            case.ids("ids", (2, *size), CLASSES)
            if dropout:
                case.normal_like("noise", (2, _dropout_length(size, 4, halvings)))

        _network_case(
            f"pix2pix_generator_{halvings}_{norm}",
            UNet,
            options,
            prepare,
            lambda network, inputs: {"image": network(inputs["condition"], inputs.get("noise"))},
            classes=CLASSES,
            folder=folder,
        )
    for norm in ("batch", "instance"):
        _network_case(
            f"pix2pix_discriminator_{norm}",
            MultiscaleJudge,
            {"in_channels": 8, "channels": 4, "norm": norm, "padding": 1},
            lambda case: case.uniform("x", (2, 8, 64, 96)),
            _all_features,
            wanted=("x",),
            folder=folder,
        )


def _dropout_length(size: tuple[int, int], channels: int, halvings: int) -> int:
    """Values of the decoder's three coarsest features, each twice the size that it is made from."""
    levels = range(halvings - 3, halvings)
    wide = {level: channels * min(2 ** (level - 1), 8) for level in levels}
    return sum(wide[level] * (size[0] >> level) * (size[1] >> level) for level in levels)


def pix2pixhd(folder: Path) -> None:
    """The global generator alone, both generators, and the three-scale discriminator."""
    cases: list[tuple[str, Callable[..., nn.Module], int, tuple[int, int]]] = [
        ("global", Global, 4, (64, 96)),
        ("4", CoarseToFine, 4, (64, 96)),
        ("5", CoarseToFine, 5, (128, 192)),
    ]
    for name, build, halvings, size in cases:

        def prepare(case: Case, size: tuple[int, int] = size) -> None:
            case.ids("ids", (2, *size), CLASSES)
            case.ids("instances", (2, *size), 7)

        _network_case(
            f"pix2pixhd_generator_{name}",
            build,
            {"condition_channels": CLASSES + 1, "channels": 4, "halvings": halvings},
            prepare,
            lambda network, inputs: {"image": network(inputs["condition"])},
            classes=CLASSES,
            folder=folder,
        )
    _network_case(
        "pix2pixhd_discriminator",
        MultiscaleJudge,
        {"in_channels": 8, "channels": 4, "scales": 3},
        lambda case: case.uniform("x", (2, 8, 128, 192)),
        _all_features,
        wanted=("x",),
        folder=folder,
    )


def vgg19(folder: Path) -> None:
    """The five maps, and the perceptual loss by both distances, of drawn weights."""
    case = Case("vgg19", {})
    case.state_of(VGG19())
    case.uniform("image", (1, 3, 32, 48))
    case.uniform("target", (1, 3, 32, 48))

    def run(inputs: Tensors, state: Tensors) -> Results:
        # Its gradients are not kept; they lead from a kink to what moves it.
        network = _load(VGG19(), state).requires_grad_()
        results: Results = {}
        with torch.no_grad():
            target = network(inputs["target"])
        for distance in ("l1", "cosine"):
            image = inputs["image"].clone().requires_grad_()
            maps = network(image)
            loss = losses.perceptual(maps, target, distance=distance)
            loss.backward()
            results[f"out/{distance}"] = loss
            results[f"grad/in.image.{distance}"] = image.grad
        names = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
        results |= {f"out/{name}": value for name, value in zip(names, maps, strict=True)}
        return results

    case.finish(run, folder)


def loss_functions(folder: Path) -> None:
    """Every adversarial loss for fakes, reals and the generator; feature matching; KL."""
    case = Case("losses", {})
    shapes = {
        "scale0.layer0": (2, 4, 9, 13),
        "scale0.scores": (2, 1, 6, 8),
        "scale1.layer0": (2, 4, 5, 7),
        "scale1.scores": (2, 1, 4, 5),
    }
    for name, shape in shapes.items():
        case.uniform(f"fake.{name}", shape, 2.0)
        case.uniform(f"real.{name}", shape, 2.0)
    case.uniform("mean", (2, 16))
    case.uniform("log_variance", (2, 16))

    def run(inputs: Tensors, state: Tensors) -> Results:
        del state
        results: Results = {}

        def outputs(side: str) -> tuple[Tensors, list[list[torch.Tensor]]]:
            leaves = {name: inputs[f"{side}.{name}"].clone().requires_grad_() for name in shapes}
            values = list(leaves.values())
            return leaves, [values[:2], values[2:]]

        def keep(label: str, loss: torch.Tensor, leaves: Tensors) -> None:
            loss.backward()
            results[f"out/{label}"] = loss
            for name, leaf in leaves.items():
                if leaf.grad is not None:
                    results[f"grad/in.{name}.{label}"] = leaf.grad

        roles = {
            "discriminator_fake": ("fake", False, True),
            "discriminator_real": ("real", True, True),
            "generator": ("fake", True, False),
        }
        for kind in ("hinge", "least_squares", "cross_entropy", "wasserstein"):
            for role, (side, real, for_discriminator) in roles.items():
                leaves, scales = outputs(side)
                loss = losses.gan_loss(scales, kind, real=real, for_discriminator=for_discriminator)
                own = {f"{side}.{name}": leaf for name, leaf in leaves.items()}
                keep(f"{kind}.{role}", loss, own)
        fake_leaves, fake = outputs("fake")
        _, real_outputs = outputs("real")
        keep(
            "feature_matching",
            losses.feature_matching(fake, real_outputs),
            {f"fake.{name}": leaf for name, leaf in fake_leaves.items()},
        )
        latent = {name: inputs[name].clone().requires_grad_() for name in ("mean", "log_variance")}
        keep("kl", losses.kl_divergence(latent["mean"], latent["log_variance"]), latent)
        return results

    case.finish(run, folder)


def edges(folder: Path) -> None:
    """Borders of instances; the ids run above 255, as COCO's do."""
    case = Case("edges", {})
    case.ids("instances", (2, 24, 32), 3000)

    def run(inputs: Tensors, state: Tensors) -> Results:
        del state
        return {"out/edges": instance_edges(inputs["instances"])}

    case.finish(run, folder)


STEPS = 5
# A tenth of the published rate. Without momentum Adam moves every weight by nearly the full rate,
# whatever the size of its gradient, so rounding decides where the weights with the least gradients
# go; at 2e-4 that makes two float32 runs differ by 20% of the change after five steps.
STEPS_RATE = 2e-5


def adam(folder: Path) -> None:
    """Adam alone on given gradients, at the published rates, with TTUR's betas and without."""
    rates = {"generator": 1e-4, "discriminator": 4e-4, "plain": 2e-4}
    betas = {"generator": (0.0, 0.9), "discriminator": (0.0, 0.9), "plain": (0.5, 0.999)}
    case = Case(
        "adam", {"rates": rates, "betas": {key: list(value) for key, value in betas.items()}}
    )
    case.recipe("state/weight", "uniform", (5, 7), low=-0.1, high=0.1)
    for step in range(STEPS):
        # Of very unequal size, so that the denominator's history matters.
        limit = 10.0 ** (-step if step < 3 else step - 5)
        case.uniform(f"gradient.{step}", (5, 7), limit)

    def run(inputs: Tensors, state: Tensors) -> Results:
        results: Results = {}
        for label, rate in rates.items():
            weight = state["weight"].clone().requires_grad_()
            optimizer = torch.optim.Adam([weight], lr=rate, betas=betas[label])
            for step in range(STEPS):
                weight.grad = inputs[f"gradient.{step}"].clone()
                optimizer.step()
                results[f"after/{label}.{step}"] = weight.detach().clone()
            results[f"change/{label}"] = weight.detach() - state["weight"]
        return results

    case.finish(run, folder)


def _steps_case(
    name: str,
    folder: Path,
    generator_options: dict[str, Any],
    build: Callable[..., nn.Module],
    encoder_options: dict[str, Any] | None = None,
    *,
    size: tuple[int, int],
    judge: Callable[..., nn.Module] = MultiscaleDiscriminator,
    noise: tuple[int, ...] = (),
    discriminator: dict[str, Any] | None = None,
    ids: dict[str, float] | None = None,
    **settings: Any,
) -> None:
    """Five updates of G and D, on another batch each time, as `Trainer` makes them.

    `discriminator` and `settings` are what differs from SPADE's discriminator and `Trainer`;
    `noise` is the shape of a picture's, for a generator with noise of its own. State names begin
    with "generator.", "discriminator." or "encoder.". Losses are weighted: out/STEP.NAME. Noise for
    the two passes of a step: in/STEP.generator_noise and in/STEP.discriminator_noise. For
    translation in/STEP.content stands in the place of in/STEP.ids.
    """
    discriminator_options: dict[str, Any] = {
        "in_channels": CLASSES + 3,
        "channels": 2,
        "scales": 2,
        "layers": 4,
        **(discriminator or {}),
    }
    training: dict[str, Any] = {
        "kind": "hinge",
        "lambda_gan": 1.0,
        "lambda_l1": 0.0,
        "lambda_feature": 10.0,
        "lambda_kl": 0.05,
        "learning_rate": STEPS_RATE,
        "betas": [0.0, 0.9],
        "ttur": True,
        "apart": False,
        "translation": False,
        **settings,
    }
    case = Case(
        name,
        {
            "generator": generator_options,
            "discriminator": discriminator_options,
            "encoder": encoder_options,
            "size": size,
            "training": training,
            "steps": STEPS,
        },
        has_steps=True,
    )
    case.golden.notes["classes"] = CLASSES
    builders: dict[str, Callable[[], nn.Module]] = {
        "generator": lambda: build(**generator_options),
        "discriminator": lambda: judge(**discriminator_options),
    }
    if encoder_options is not None:
        builders["encoder"] = lambda: ConvEncoder(**encoder_options)
    for part, make in builders.items():
        case.state_of(make(), f"{part}.")
    for step in range(STEPS):
        if training["translation"]:
            case.uniform(f"{step}.content", (2, 3, *size))
        else:
            case.ids(f"{step}.ids", (2, *size), CLASSES, **(ids or {}))
        case.uniform(f"{step}.image", (2, 3, *size))
        shape = noise if encoder_options is None else (encoder_options["latent_size"],)
        for player in ("generator", "discriminator") if shape else ():
            case.normal_like(f"{step}.{player}_noise", (2, *shape))

    def run(inputs: Tensors, state: Tensors) -> Results:
        parts = {part: _load(make(), state, f"{part}.") for part, make in builders.items()}
        trainer = Trainer(
            parts["generator"],
            parts["discriminator"],
            encoder=parts.get("encoder"),
            vgg=Pyramid() if training["translation"] else None,
            **training,
        )
        results: Results = {}
        for step in range(STEPS):
            image = inputs[f"{step}.image"]
            planes = inputs.get(f"{step}.content")
            if planes is None:
                planes = condition(inputs[f"{step}.ids"], CLASSES).to(image.dtype)
            made = trainer.generator_step(planes, image, inputs.get(f"{step}.generator_noise"))
            if step == 0:
                for part, network in parts.items():
                    if part != "discriminator":
                        for key, parameter in network.named_parameters():
                            if parameter.grad is not None:
                                results[f"grad/state.{part}.{key}"] = parameter.grad.clone()
            made |= trainer.discriminator_step(
                planes, image, inputs.get(f"{step}.discriminator_noise")
            )
            if step == 0:
                for key, parameter in parts["discriminator"].named_parameters():
                    results[f"grad/state.discriminator.{key}"] = parameter.grad.clone()
            results |= {f"out/{step}.{key}": value for key, value in made.items()}
        for part, network in parts.items():
            for key, value in network.state_dict().items():
                full = f"{part}.{key}"
                results[f"after/{full}"] = value.clone()
                if key in dict(network.named_parameters()):
                    results[f"change/{full}"] = value - state[full]
        return results

    case.finish(run, folder)


def steps(folder: Path) -> None:
    """SPADE, SPADE with its VAE, TSIT for both of its tasks, pix2pix and pix2pixHD."""
    # Small: each of the twenty passes must keep clear of the points where gradients jump. SPADE's
    # hidden channels have one argument for each neighbourhood that there is in a layout.
    small = (64, 64)
    ids = {"speckles": 0.01}
    spade: dict[str, Any] = {
        "condition_channels": CLASSES,
        "size": small,
        "channels": 2,
        "halvings": "normal",
        "latent_size": 16,
    }
    tsit: dict[str, Any] = {
        "content_channels": CLASSES,
        "size": small,
        "channels": 2,
        "halvings": 5,
        "style_stream": True,
        "start": "layout",
    }
    _steps_case("steps_spade", folder, {**spade, "vae": False}, SPADEGenerator, size=small, ids=ids)
    _steps_case(
        "steps_spade_vae",
        folder,
        {**spade, "vae": True},
        SPADEGenerator,
        {"channels": 2, "latent_size": 16},
        size=small,
        ids=ids,
    )
    _steps_case("steps_tsit", folder, tsit, TSITGenerator, size=small)
    _steps_case(
        "steps_tsit_translation",
        folder,
        {**tsit, "content_channels": 3, "size": (64, 96), "start": "noise"},
        TSITGenerator,
        size=(64, 96),
        noise=(3, 2, 3),
        discriminator={"in_channels": 3, "layers": 3, "stride_one_layer": 3},
        lambda_feature=1.0,
        lambda_vgg=1.0,
        translation=True,
    )
    _steps_case(
        "steps_spade_least_squares",
        folder,
        {**spade, "vae": False},
        SPADEGenerator,
        size=small,
        ids=ids,
        kind="least_squares",
    )
    published: dict[str, Any] = {"betas": [0.5, 0.999], "ttur": False}
    size = (64, 96)
    _steps_case(
        "steps_pix2pix",
        folder,
        {"condition_channels": CLASSES, "channels": 2, "halvings": 4},
        UNet,
        size=size,
        judge=MultiscaleJudge,
        noise=(_dropout_length(size, 2, 4),),
        discriminator={"scales": 1, "norm": "batch", "padding": 1},
        kind="cross_entropy",
        lambda_l1=100.0,
        lambda_feature=0.0,
        apart=True,
        **published,
    )
    _steps_case(
        "steps_pix2pixhd",
        folder,
        {"condition_channels": CLASSES, "channels": 2, "halvings": 4},
        CoarseToFine,
        size=size,
        judge=MultiscaleJudge,
        discriminator={"scales": 3},
        kind="least_squares",
        lambda_gan=3.0,
        **published,
    )


SUBJECTS: dict[str, Callable[[Path], None]] = {
    function.__name__: function
    for function in (
        spectral_norm,
        batch_norm,
        instance_norm,
        spade_layers,
        fade_layers,
        fadain_layer,
        streams,
        spade_generators,
        tsit_generators,
        pictures,
        encoder,
        discriminators,
        pix2pix,
        pix2pixhd,
        vgg19,
        loss_functions,
        edges,
        adam,
        steps,
    )
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subjects", nargs="*", help=f"of: {', '.join(SUBJECTS)} (all)")
    parser.add_argument("--only", default="", help="files alone whose name has this in it")
    parser.add_argument("--folder", type=Path, default=goldens.FOLDER)
    chosen = parser.parse_args(arguments)
    global only
    only = chosen.only
    unknown = sorted(set(chosen.subjects) - set(SUBJECTS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(SUBJECTS)}")
    torch.set_num_threads(2)
    warnings.filterwarnings("ignore", message="TF32 acceleration")
    for name, make in SUBJECTS.items():
        if not chosen.subjects or name in chosen.subjects:
            make(chosen.folder)
    total = sum(path.stat().st_size for path in chosen.folder.glob("*.npz"))
    print(f"{len(goldens.names(folder=chosen.folder))} files, {total / 2**20:.2f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
