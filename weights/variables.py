"""Names and values of Jittor variables, and strict loading by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from options.errors import UserError, list_names

if TYPE_CHECKING:
    import jittor as jt


def assign_arrays(
    variables: Mapping[str, jt.Var], arrays: Mapping[str, np.ndarray], source: str
) -> None:
    """Give every variable the array of its name, or change none.

    source: the origin of the arrays, for the error. Raises as `check_arrays`.
    """
    check_arrays(variables, arrays, source)
    import jittor as jt  # late: training.checkpoint is imported before it

    for name, variable in variables.items():
        variable.update(jt.array(np.asarray(arrays[name], dtype=str(variable.dtype))))
    jt.sync(list(variables.values()))


def check_arrays(
    variables: Mapping[str, jt.Var], arrays: Mapping[str, np.ndarray], source: str
) -> None:
    """Raise UserError that counts and names missing, unexpected and misshapen arrays."""
    missing = [name for name in variables if name not in arrays]
    unexpected = [name for name in arrays if name not in variables]
    misshapen = [
        f"{name} {show_shape(array.shape)} for {show_shape(variables[name].shape)}"
        for name, array in arrays.items()
        if name in variables and tuple(array.shape) != tuple(variables[name].shape)
    ]
    faults = [
        f"{len(names)} {kind}: {list_names(names)}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshapen", misshapen),
        )
        if names
    ]
    if faults:
        raise UserError(
            f"{source}: expected the names and shapes of the network, got {'; '.join(faults)}. "
            "Use the options that it was written with"
        )


def load_strict(
    networks: Mapping[str, jt.nn.Module], arrays: Mapping[str, np.ndarray], source: str | Path
) -> None:
    """Load networks by name. Raises as `check_arrays`."""
    assign_arrays(name_variables(networks), arrays, str(source))


def name_variables(networks: Mapping[str, jt.nn.Module]) -> dict[str, jt.Var]:
    """Return `<network>.<name>` -> Var for the state of the networks, buffers included."""
    return {
        f"{network}.{name}": var
        for network, module in networks.items()
        for name, var in module.state_dict().items()
    }


def show_shape(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as 64x3x3x3."""
    return "x".join(map(str, shape)) or "scalar"
