"""Runs a network on the inputs of a golden and compares its results with the golden.

    part = Part("encoder")
    check_network(load("encoder"), StyleEncoder(channels=4, latent_size=16), part, forward)

Limits: 1e-4 absolute for outputs (relative for losses above 1), 1e-3 of the norm for gradients and
for the state after updates, 2e-2 of the norm for the change by the updates. The limit of the change
is loose, but shows a wrong rate or rule: without momentum Adam changes a weight by nearly the full
rate whatever the size of its gradient, and rounding decides the sign of the smallest gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn
from numpy.typing import NDArray

from data.transforms import instance_edges
from models.layouts.layout import Layout
from tests.reference.goldens import Golden
from weights.published_names import (
    BATCH_COUNT,
    Family,
    from_published,
    published_names,
    to_published,
)
from weights.variables import assign_arrays

LIMITS = {"out": 1e-4, "grad": 1e-3, "after": 1e-3, "change": 2e-2}

Arrays = dict[str, NDArray[Any]]
Vars = dict[str, jt.Var]
Forward = Callable[[nn.Module, Vars], Vars]


@dataclass(frozen=True)
class Part:
    """A network of a family, or its layer `name`, published as `published`."""

    family: Family
    name: str = ""
    published: str = ""

    def load(self, network: nn.Module, state: Mapping[str, NDArray[Any]]) -> None:
        """Loads a state with published names, strictly."""
        whole = {self.published + name: array for name, array in state.items()}
        own = from_published(self.family, whole)
        arrays = {name.removeprefix(self.name): array for name, array in own.items()}
        assign_arrays(network.state_dict(), arrays, "the golden")

    def state(self, network: nn.Module) -> Arrays:
        """The network's state with published names."""
        whole = {self.name + name: var.numpy() for name, var in network.state_dict().items()}
        published = to_published(self.family, whole)
        return {name.removeprefix(self.published): array for name, array in published.items()}

    def trainable(self, network: nn.Module) -> Vars:
        """The network's trainable parameters with published names."""
        names = published_names(self.family, [self.name + name for name in network.state_dict()])
        return {
            names[self.name + name].removeprefix(self.published): parameter
            for name, parameter in network.named_parameters()
            if not parameter.is_stop_grad()
        }


@dataclass(frozen=True)
class OwnPart:
    """A network whose golden has the project's names, except for the layers of torch.

    Parameters whose names begin with one of `unused` have no gradients and no entries in grad.
    """

    unused: tuple[str, ...] = ()

    def load(self, network: nn.Module, state: Mapping[str, NDArray[Any]]) -> None:
        """Loads a state, strictly."""
        own = {self.name(name): var for name, var in _without_flags(network).items()}
        assign_arrays(own, state, "the golden")

    def state(self, network: nn.Module) -> Arrays:
        """The network's state with the golden's names."""
        return {self.name(name): var.numpy() for name, var in _without_flags(network).items()}

    def trainable(self, network: nn.Module) -> Vars:
        """The network's trainable parameters with the golden's names."""
        return {
            self.name(name): parameter
            for name, parameter in network.named_parameters()
            if not parameter.is_stop_grad() and not name.startswith(self.unused)
        }

    def name(self, name: str) -> str:
        """The golden's name of a variable."""
        return _name_as_torch(name)


@dataclass(frozen=True)
class SpectralPart(OwnPart):
    """An `OwnPart` whose layers all have spectral norm."""

    def name(self, name: str) -> str:
        layer, _, last = name.removesuffix(".u").removesuffix(".v").rpartition(".")
        ending = {"weight": "weight_orig", "bias": "bias", "spectral_norm": f"weight_{name[-1]}"}
        return f"{layer}.{ending[last]}"


def _name_as_torch(name: str) -> str:
    """The golden's name: torch's norms have weight and bias, its convolutions pad by themselves."""
    for ours, theirs in ((".scale", ".weight"), (".shift", ".bias"), (".conv.", ".")):
        name = name.replace(ours, theirs)
    return name


def _without_flags(network: nn.Module) -> Vars:
    return {name: var for name, var in network.state_dict().items() if name != "global_alone"}


class Planes:
    """A layout given by its planes, which may have gradients."""

    def __init__(self, planes: jt.Var) -> None:
        self.planes = planes
        self.size = tuple(planes.shape[2:])

    def feature(self, *, by_image: bool = False) -> jt.Var:
        return self.planes


def layout_of(golden: Golden, prefix: str = "") -> Layout:
    """The layout of a golden's ids, and of its instances if it has any."""
    edges = None
    if f"in/{prefix}instances" in golden.shapes:
        instances = golden.get(f"in/{prefix}instances")
        edges = np.stack([instance_edges(plane) for plane in instances])[:, None]
        edges = jt.array(edges.astype(np.float32))
    return Layout(jt.array(golden.get(f"in/{prefix}ids")), golden.notes["classes"], edges)


def inputs_of(golden: Golden) -> Vars:
    """The floating-point inputs of the golden, cotangents included."""
    arrays = golden.section("in")
    return {name: jt.array(array) for name, array in arrays.items() if array.dtype.kind == "f"}


def gradients(loss: jt.Var, of: Mapping[str, jt.Var]) -> Vars:
    """The gradients of a scalar, as results of the section grad."""
    found = jt.grad(loss, list(of.values()))
    return {f"grad/{name}": gradient for name, gradient in zip(of, found, strict=True)}


def weigh(outputs: Vars, inputs: Vars) -> jt.Var:
    """The scalar whose gradients a golden holds: the sum of outputs times cotangents."""
    terms = [(value * inputs[f"cotangent.{name}"]).sum() for name, value in outputs.items()]
    return sum(terms[1:], start=terms[0])


def check_network(
    golden: Golden,
    network: nn.Module,
    part: Part | OwnPart,
    forward: Forward,
    wanted: Iterable[str] = (),
) -> dict[str, float]:
    """Compares a training pass with its gradients and buffers, and an evaluation pass.

    `wanted` names the inputs whose gradients the golden holds.
    """
    part.load(network, golden.section("state"))
    network.train()
    inputs = inputs_of(golden)
    outputs = forward(network, inputs)
    parameters = {f"state.{name}": value for name, value in part.trainable(network).items()}
    of = parameters | {f"in.{name}": inputs[name] for name in wanted}
    results = {f"out/train.{name}": value for name, value in outputs.items()}
    results |= gradients(weigh(outputs, inputs), of)
    arrays = fetch(results)
    arrays |= {f"after/{name}": array for name, array in part.state(network).items()}
    network.eval()
    with jt.no_grad():
        evaluated = forward(network, inputs)
        arrays |= fetch({f"out/eval.{name}": value for name, value in evaluated.items()})
    return check(golden, arrays)


def fetch(results: Vars) -> Arrays:
    """The values of all results, computed together."""
    return dict(zip(results, jt.fetch_sync(list(results.values())), strict=True))


def check(golden: Golden, results: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Compares results with the golden; returns the largest difference per section.

    Fails with a list of the results that differ, are missing, or are not in the golden.
    """
    worst: dict[str, float] = {}
    expected = [
        key for key in golden.shapes if key.split("/")[0] in LIMITS and BATCH_COUNT not in key
    ]
    faults = [f"{key}: not computed" for key in expected if key not in results]
    for key, array in results.items():
        section, name = key.split("/", 1)
        if key in expected:
            if golden.shapes[key] == []:
                array = array.reshape(())
            difference = golden.difference(key, array)
            error = difference.absolute if section == "out" else difference.relative
            if section == "out" and array.size == 1:
                error /= max(1.0, abs(array.item()))
            worst[section] = max(worst.get(section, 0.0), error)
            if not error <= LIMITS[section]:
                faults.append(f"{key}: {error:.1e}, allowed {LIMITS[section]:.0e}")
        elif section in ("out", "grad") and name.removeprefix("state.") not in golden.free:
            faults.append(f"{key}: not in the golden")
    assert not faults, f"{golden.name}: {len(faults)} faults: " + "; ".join(faults[:20])
    return worst
